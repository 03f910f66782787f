use super::*;
use crate::{body::Encoding, editor::EditError, message::Message, parts::Limits};
use proptest::prelude::*;

fn open(text: &str) -> Message<&[u8]> {
    let mut message = Message::new(text.as_bytes()).unwrap();
    message.open_parts().unwrap();
    message
}

fn id(message: &mut Message<&[u8]>, path: &str) -> PartId {
    message.open_parts().unwrap().by_path(path).unwrap()
}

fn written(message: &Message<&[u8]>) -> String {
    String::from_utf8(message.to_vec(0).unwrap()).unwrap()
}

/// Paths and bodies of the changed message.
fn outline(text: &str) -> Vec<(String, String)> {
    let parts = Parts::parse(text.as_bytes(), Limits::default()).unwrap();
    let list = parts.iter().map(|(id, part)| {
        let body = part.read_body(text.as_bytes(), true).unwrap();
        let body = body.map_or("-".to_owned(), |b| String::from_utf8_lossy(&b).into_owned());
        (parts.path(id), body)
    });
    list.collect()
}

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    let list = list.iter();
    list.map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
        .collect()
}

const MIXED: &str = "Subject: s\r\nContent-Type: multipart/mixed; boundary=a\r\n\r\npre\r\n--a\r\n\r\none\r\n\
    --a\r\nContent-Type: text/html\r\n\r\ntwo\r\n--a--\r\nepi\r\n";

const PLAIN: &str =
    "From: a\r\ncontent-type: text/plain;\r\n charset=utf-8\r\nSubject: s\r\n\r\nbody\r\n";

#[test]
fn a_removed_part_takes_its_boundary_line_along() {
    let mut m = open(MIXED);
    let one = id(&mut m, "0.1");
    m.remove_part(one).unwrap();
    assert_eq!(written(&m), MIXED.replace("--a\r\n\r\none\r\n", ""));
    let two = id(&mut m, "0.2");
    m.remove_part(two).unwrap();
    assert_eq!(
        written(&m),
        MIXED.replace(
            "--a\r\n\r\none\r\n--a\r\nContent-Type: text/html\r\n\r\ntwo\r\n",
            ""
        )
    );
    assert_eq!(m.remove_part(PartId::ROOT), Err(EditError::Root));
    assert!(m.restore(1));
    assert_eq!(written(&m), MIXED.replace("--a\r\n\r\none\r\n", ""));
    assert_eq!(m.reset(), 1);
    assert_eq!(written(&m), MIXED);
}

#[test]
fn changes_inside_what_is_removed_are_gone_with_it() {
    let mut m = open(MIXED);
    let (one, two) = (id(&mut m, "0.1"), id(&mut m, "0.2"));
    m.set_header(two, b"X", b"1", None, ValueForm::default())
        .unwrap();
    m.set_body(two, b"new", None).unwrap();
    m.add_header(one, b"Y", b"1", ValueForm::default()).unwrap();
    m.remove_part(one).unwrap();
    m.remove_part(two).unwrap();
    assert!(!written(&m).contains("new") && !written(&m).contains("X:"));
    m.set_body(PartId::ROOT, b"all\r\n", None).unwrap();
    let head = MIXED.find("pre").unwrap();
    assert_eq!(written(&m), format!("{}all\r\n", &MIXED[..head]));
}

#[test]
fn a_new_body_keeps_the_encoding_or_says_another() {
    let text = "Content-Transfer-Encoding: BASE64\r\nContent-Type: image/png\r\n\r\nAAAA\r\n";
    let mut m = open(text);
    m.set_body(PartId::ROOT, b"abc", None).unwrap();
    assert_eq!(written(&m), text.replace("AAAA\r\n", "YWJj"));
    m.set_body(PartId::ROOT, b"a=", Some(Encoding::QuotedPrintable))
        .unwrap();
    assert_eq!(
        written(&m),
        text.replace("BASE64", "quoted-printable")
            .replace("AAAA\r\n", "a=3D")
    );
    let mut m = open(MIXED);
    let two = id(&mut m, "0.2");
    m.set_body(two, "f\u{e5}r\n--a\n".as_bytes(), None).unwrap();
    let expected = MIXED.replace("two", "f=C3=A5r\r\n=2D-a\r\n").replace(
        "Content-Type: text/html",
        "Content-Transfer-Encoding: quoted-printable\r\nContent-Type: text/html",
    );
    assert_eq!(written(&m), expected);
    let one = id(&mut m, "0.1");
    m.set_body(one, b"plain", None).unwrap();
    assert_eq!(written(&m), expected.replace("one", "plain"));
    assert_eq!(
        m.set_body(one, b"x\r\n--a--", Some(Encoding::EightBit)),
        Err(EditError::Boundary)
    );
    assert_eq!(
        m.set_body(PartId::ROOT, b"x", Some(Encoding::Base64)),
        Err(EditError::Composite("base64"))
    );
}

#[test]
fn a_body_comes_to_a_part_that_has_no_blank_line() {
    for (text, expected) in [
        ("", "\r\nnew"),
        ("A: 1", "A: 1\r\n\r\nnew"),
        ("A: 1\r\n", "A: 1\r\n\r\nnew"),
        ("A: 1\n", "A: 1\n\nnew"),
        ("A: 1\n\n", "A: 1\n\nnew"),
    ] {
        let mut m = open(text);
        m.set_body(PartId::ROOT, b"new", None).unwrap();
        assert_eq!(written(&m), expected, "{text:?}");
    }
    let text = "Content-Type: multipart/mixed; boundary=a\n\n--a\nX: 1\n--a\n--a--";
    let mut m = open(text);
    let (one, two) = (id(&mut m, "0.1"), id(&mut m, "0.2"));
    m.set_body(one, b"one", None).unwrap();
    m.set_body(two, b"two", None).unwrap();
    assert_eq!(
        outline(&written(&m)),
        pairs(&[("0", "-"), ("0.1", "one"), ("0.2", "two")])
    );
}

#[test]
fn preamble_and_epilogue_are_set_where_there_is_a_multipart() {
    let mut m = open(MIXED);
    assert_eq!(
        m.set_around(PartId::ROOT, Side::Before, b"new pre"),
        Ok(true)
    );
    assert_eq!(
        m.set_around(PartId::ROOT, Side::After, b"new epi"),
        Ok(true)
    );
    assert_eq!(
        written(&m),
        MIXED
            .replace("pre", "new pre")
            .replace("epi\r\n", "new epi")
    );
    assert_eq!(m.set_around(PartId(1), Side::After, b"x"), Ok(false));
    assert_eq!(
        m.set_around(PartId::ROOT, Side::Before, b"--a"),
        Err(EditError::Boundary)
    );
    for text in [
        "Content-Type: multipart/mixed; boundary=a\n\n--a\n\nx\n--a--",
        "Content-Type: multipart/mixed; boundary=a\n\n--a\n\nx",
        "Content-Type: multipart/mixed; boundary=a\n--a\n\nx\n--a--\n",
        "Content-Type: multipart/mixed; boundary=a",
    ] {
        let mut m = open(text);
        m.set_around(PartId::ROOT, Side::Before, b"PRE").unwrap();
        m.set_around(PartId::ROOT, Side::After, b"EPI").unwrap();
        let out = written(&m);
        let parts = Parts::parse(out.as_bytes(), Limits::default()).unwrap();
        let root = parts.get(PartId::ROOT).unwrap();
        let at = |range: Option<std::ops::Range<u64>>| {
            range.map(|r| out[r.start as usize..r.end as usize].to_owned())
        };
        assert_eq!(
            at(root.preamble()).as_deref(),
            Some("PRE"),
            "{text:?} {out:?}"
        );
        assert_eq!(
            at(root.epilogue()).as_deref(),
            Some("EPI"),
            "{text:?} {out:?}"
        );
    }
}

#[test]
fn a_part_comes_beside_another_or_into_a_new_multipart() {
    let new = |text: &str| format!("Content-Type: text/x\r\n\r\n{text}").into_bytes();
    let mut m = open(MIXED);
    let two = id(&mut m, "0.2");
    let insert = |m: &mut Message<&[u8]>, part, side, text: &str, kind: &[u8]| {
        let random = [text.len() as u8; 16];
        m.insert_part(part, side, &new(text), kind, &random)
            .unwrap();
    };
    insert(&mut m, two, Side::Before, "b1", b"Multipart/Mixed");
    insert(&mut m, two, Side::Before, "b2", b"multipart/mixed");
    insert(&mut m, two, Side::After, "a1", b"multipart/mixed");
    insert(&mut m, two, Side::After, "a2", b"multipart/mixed");
    insert(&mut m, two, Side::After, "alt", b"multipart/alternative");
    assert_eq!(
        outline(&written(&m)),
        pairs(&[
            ("0", "-"),
            ("0.1", "one"),
            ("0.2", "b2"),
            ("0.3", "b1"),
            ("0.4", "-"),
            ("0.4.1", "two"),
            ("0.4.2", "alt"),
            ("0.5", "a1"),
            ("0.6", "a2"),
        ])
    );
    let mut m = open(PLAIN);
    insert(
        &mut m,
        PartId::ROOT,
        Side::After,
        "file",
        b"multipart/mixed",
    );
    insert(
        &mut m,
        PartId::ROOT,
        Side::After,
        "file 2",
        b"multipart/mixed; x=y",
    );
    insert(
        &mut m,
        PartId::ROOT,
        Side::Before,
        "first",
        b"multipart/mixed",
    );
    insert(
        &mut m,
        PartId::ROOT,
        Side::After,
        "sig",
        b"multipart/signed; micalg=\"sha-256\";",
    );
    let out = written(&m);
    insta::assert_snapshot!(out.replace("\r\n", "\n"), @r#"
    From: a
    MIME-Version: 1.0
    Content-Type: multipart/signed; micalg="sha-256";
     boundary="=_03030303030303030303030303030303"
    Subject: s

    --=_03030303030303030303030303030303
    Content-Type: multipart/mixed; boundary="=_04040404040404040404040404040404"

    --=_04040404040404040404040404040404
    Content-Type: text/x

    first
    --=_04040404040404040404040404040404
    content-type: text/plain;
     charset=utf-8

    body

    --=_04040404040404040404040404040404
    Content-Type: text/x

    file
    --=_04040404040404040404040404040404
    Content-Type: text/x

    file 2
    --=_04040404040404040404040404040404--
    --=_03030303030303030303030303030303
    Content-Type: text/x

    sig
    --=_03030303030303030303030303030303--
    "#);
    assert_eq!(
        m.insert_part(PartId::ROOT, Side::After, b"", b"text/plain", &[7; 16]),
        Err(EditError::Kind)
    );
    assert_eq!(
        m.insert_part(
            PartId::ROOT,
            Side::After,
            b"",
            b"multipart/a; x=\r\nX: y",
            &[7; 16]
        ),
        Err(EditError::Kind)
    );
    assert!(m.restore(0));
    assert_eq!(written(&m), PLAIN);
}

#[test]
fn a_part_comes_in_the_place_of_another() {
    let mut m = open(MIXED);
    let one = id(&mut m, "0.1");
    m.replace_part(one, b"X: y\r\n\r\nnew").unwrap();
    assert_eq!(
        written(&m),
        MIXED.replace("\r\n\r\none", "\r\nX: y\r\n\r\nnew")
    );
    assert_eq!(m.part_to_vec(one, 0).unwrap(), b"X: y\r\n\r\nnew");
    let mut m = open(PLAIN);
    m.replace_part(PartId::ROOT, b"Content-Type: text/html\r\nX: y\r\n\r\n<p>")
        .unwrap();
    assert_eq!(
        written(&m),
        "From: a\r\nMIME-Version: 1.0\r\nContent-Type: text/html\r\nX: y\r\nSubject: s\r\n\r\n<p>"
    );
}

#[test]
fn a_part_can_be_taken_with_its_changes() {
    let mut m = open(MIXED);
    let (one, two) = (id(&mut m, "0.1"), id(&mut m, "0.2"));
    m.set_header(two, b"content-type", b"text/x", None, ValueForm::default())
        .unwrap();
    m.insert_part(
        two,
        Side::After,
        b"\r\nx",
        b"multipart/alternative",
        &[1; 16],
    )
    .unwrap();
    m.set_body(one, b"ONE", None).unwrap();
    assert_eq!(
        m.part_to_vec(two, 0).unwrap(),
        b"Content-Type: text/x\r\n\r\ntwo"
    );
    assert_eq!(m.part_to_vec(one, 0).unwrap(), b"\r\nONE");
    assert_eq!(
        m.part_to_vec(PartId::ROOT, 0).unwrap(),
        m.to_vec(0).unwrap()
    );
}

#[test]
fn one_line_end_may_serve_two_boundary_lines() {
    let inner = "Content-Type: multipart/mixed; boundary=b";
    let text = format!(
        "Content-Type: multipart/mixed; boundary=a\n\np\n--a\n{inner}\n\n--b\n\nx\n--b--\n--a\n--a\n\nlast\n--a--\n"
    );
    for (path, rest) in [
        ("0.1", vec![("0", "-"), ("0.1", ""), ("0.2", "last")]),
        (
            "0.2",
            vec![("0", "-"), ("0.1", "-"), ("0.1.1", "x"), ("0.2", "last")],
        ),
        (
            "0.3",
            vec![("0", "-"), ("0.1", "-"), ("0.1.1", "x"), ("0.2", "")],
        ),
    ] {
        let mut m = open(&text);
        let part = id(&mut m, path);
        m.remove_part(part).unwrap();
        assert_eq!(outline(&written(&m)), pairs(&rest), "{path}");
    }
    let mut m = open(&text);
    for path in ["0.1", "0.2", "0.3"] {
        let part = id(&mut m, path);
        m.replace_part(part, format!("\n{path}").as_bytes())
            .unwrap();
        m.insert_part(
            part,
            Side::Before,
            b"\nbefore",
            b"multipart/mixed",
            &[1; 16],
        )
        .unwrap();
        m.insert_part(part, Side::After, b"\nafter", b"multipart/mixed", &[1; 16])
            .unwrap();
    }
    let bodies: Vec<String> = outline(&written(&m))
        .into_iter()
        .map(|(_, body)| body)
        .collect();
    assert_eq!(
        bodies,
        [
            "-", "before", "0.1", "after", "before", "0.2", "after", "before", "0.3", "after"
        ]
    );
}

proptest! {
    /// Any changes of any text make edits that fit, and can be undone.
    #[test]
    fn any_changes_of_any_structure_fit_together(
        words in proptest::collection::vec(
            prop_oneof![
                Just("--a\n"), Just("--a--\n"), Just("--b\r\n"), Just("--b--\r\n"), Just("\n"), Just("\r\n"),
                Just("Content-Type: multipart/x; boundary=b\r\n"), Just("text\n"), Just("X: y\n"), Just("--"), Just(" "),
                Just("Content-Type: multipart/x; boundary=a\n"), Just("--a"), Just("Content-Transfer-Encoding: base64\n"),
            ], 0..30),
        steps in proptest::collection::vec((any::<usize>(), 0..9_u8), 0..8))
    {
        let text = "Content-Type: multipart/mixed; boundary=a\n".to_owned() + &words.concat();
        let mut m = open(&text);
        let count = m.open_parts().unwrap().iter().count();
        let form = ValueForm::default();
        for (index, what) in steps {
            let part = PartId(index % count);
            let before = m.to_vec(0).unwrap();
            let snapshot = m.snapshot();
            let new = b"Content-Type: text/new\n\nnew";
            match what {
                0 if part != PartId::ROOT => m.remove_part(part).unwrap(),
                1 => m.set_body(part, b"body\n", None).unwrap(),
                2 => m.replace_part(part, new).unwrap(),
                3 => m.insert_part(part, Side::Before, new, b"multipart/mixed", &[3; 16]).unwrap(),
                4 => m.insert_part(part, Side::After, new, b"multipart/x", &[4; 16]).unwrap(),
                5 => drop(m.set_around(part, Side::Before, b"pre").unwrap()),
                6 => drop(m.set_around(part, Side::After, b"epi").unwrap()),
                7 => drop(m.set_header(part, b"X", b"changed", None, form).unwrap()),
                _ => drop(m.del_header(part, b"X", None).unwrap()),
            }
            drop(m.part_to_vec(part, 0).unwrap());
            let edits = m.edits();
            prop_assert_eq!(edits.modified_size(), m.to_vec(0).unwrap().len() as u64);
            let mut copy = m.clone();
            prop_assert!(copy.restore(snapshot));
            prop_assert_eq!(copy.to_vec(0).unwrap(), before);
        }
        m.reset();
        prop_assert_eq!(m.to_vec(0).unwrap(), text.into_bytes());
    }

    /// What is put into a well-formed message is found there again, and the rest as it was.
    #[test]
    fn structure_follows_a_model(
        bodies in proptest::collection::vec("[a-z]{1,5}", 1..6),
        steps in proptest::collection::vec((any::<usize>(), 0..5_u8, "[A-Z]{1,5}"), 0..10),
        crlf in any::<bool>(), preamble in any::<bool>())
    {
        let eol = if crlf { "\r\n" } else { "\n" };
        let mut text = format!("Content-Type: multipart/mixed; boundary=a{eol}{eol}");
        if preamble {
            text += &format!("pre{eol}");
        }
        for body in &bodies {
            text += &format!("--a{eol}Content-Type: text/x{eol}{eol}{body}{eol}");
        }
        text += &format!("--a--{eol}epi");
        let mut m = open(&text);
        // For each part: what stands before it, itself, what stands after it.
        let mut model: Vec<(Vec<String>, Option<String>, Vec<String>)> =
            bodies.iter().map(|body| (vec![], Some(body.clone()), vec![])).collect();
        let mut replaced = vec![false; bodies.len()];
        for (index, what, word) in steps {
            let at = index % bodies.len();
            let part = PartId(at + 1);
            let new = format!("Content-Type: text/x{eol}{eol}{word}");
            match what {
                0 => {
                    m.remove_part(part).unwrap();
                    model[at].1 = None;
                }
                1 => {
                    m.set_body(part, word.as_bytes(), None).unwrap();
                    if model[at].1.is_some() && !replaced[at] {
                        model[at].1 = Some(word);
                    }
                }
                2 => {
                    m.replace_part(part, new.as_bytes()).unwrap();
                    replaced[at] = true;
                    if model[at].1.is_some() {
                        model[at].1 = Some(word);
                    }
                }
                3 => {
                    m.insert_part(part, Side::Before, new.as_bytes(), b"multipart/mixed", &[1; 16]).unwrap();
                    model[at].0.insert(0, word);
                }
                _ => {
                    m.insert_part(part, Side::After, new.as_bytes(), b"multipart/mixed", &[1; 16]).unwrap();
                    model[at].2.push(word);
                }
            }
        }
        let out = written(&m);
        let mut expected = format!("Content-Type: multipart/mixed; boundary=a{eol}{eol}");
        if preamble {
            expected += &format!("pre{eol}");
        }
        let mut first = true;
        for (before, own, after) in &model {
            for body in before.iter().chain(own).chain(after) {
                expected += &format!("--a{eol}Content-Type: text/x{eol}{eol}{body}{eol}");
                first = false;
            }
        }
        expected += &format!("--a--{eol}epi");
        // Without a preamble the line end of the first boundary line may stay when it goes.
        if preamble || (model[0].1.is_some() && !first) {
            prop_assert_eq!(out, expected);
        } else {
            prop_assert_eq!(out.replace(&format!("{eol}{eol}{eol}--a"), &format!("{eol}{eol}--a")), expected);
        }
    }
}
