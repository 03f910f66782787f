use super::*;
use crate::{message::Message, parts::PartId};
use proptest::prelude::*;

fn text(mime: &Mime) -> String {
    let out = mime
        .plan()
        .unwrap()
        .render(Role::Message, &[0; 16], LineEnd::CrLf)
        .unwrap();
    String::from_utf8(out).unwrap()
}

fn part(body: &str) -> Mime {
    let mime = Mime::new();
    mime.set_body(body.as_bytes());
    mime
}

#[test]
fn a_text_has_the_fields_that_it_needs() {
    let mime = part("Hello\n");
    let form = ValueForm::default();
    mime.add_header(b"Subject", "Sm\u{f6}rg\u{e5}s".as_bytes(), form)
        .unwrap();
    mime.add_header(b"X", b"a\r\nBcc: b", form).unwrap();
    mime.set_date(0);
    insta::assert_snapshot!(text(&mime).replace("\r\n", "\n"), @r"
    Subject: =?utf-8?Q?Sm=C3=B6rg=C3=A5s?=
    X: a  Bcc: b
    Date: Thu, 01 Jan 1970 00:00:00 +0000
    MIME-Version: 1.0
    Content-Type: text/plain; charset=utf-8

    Hello
    ");
}

#[test]
fn a_multipart_holds_its_parts_by_reference() {
    let all = part("for old programs");
    let html = part("<p>\u{e5}</p>");
    html.set_type(b"text/html").unwrap();
    let file = part("%PDF\0");
    file.set_type(b"application/pdf").unwrap();
    let inner = Mime::new();
    inner.set_type(b"Multipart/Alternative").unwrap();
    inner.set_boundary(b"inner b").unwrap();
    all.append(&inner).unwrap();
    all.append(&file).unwrap();
    inner.append(&part("a")).unwrap();
    inner.append(&html).unwrap();
    file.set_file_name("r\u{e9}sum\u{e9}.pdf".as_bytes());
    all.set_boundary(b"outer").unwrap();
    insta::assert_snapshot!(text(&all).replace("\r\n", "\n"), @r#"
    MIME-Version: 1.0
    Content-Type: multipart/mixed; boundary="outer"

    for old programs
    --outer
    Content-Type: Multipart/Alternative; boundary="inner b"

    --inner b
    Content-Type: text/plain; charset=utf-8

    a
    --inner b
    Content-Type: text/html; charset=utf-8
    Content-Transfer-Encoding: quoted-printable

    <p>=C3=A5</p>
    --inner b--
    --outer
    Content-Type: application/pdf
    Content-Transfer-Encoding: base64
    Content-Disposition: attachment; filename*=UTF-8''r%C3%A9sum%C3%A9.pdf

    JVBERgA=
    --outer--
    "#);
}

#[test]
fn fields_of_the_script_win() {
    let mime = part("abc");
    let form = ValueForm::default();
    mime.set_type(b"text/html").unwrap();
    mime.add_header(b"content-type", b"application/x; a=b", form)
        .unwrap();
    mime.add_header(b"Content-Transfer-Encoding", b"base64", form)
        .unwrap();
    mime.add_header(b"MIME-version", b"1.0 (x)", form).unwrap();
    assert_eq!(
        text(&mime),
        "content-type: application/x; a=b\r\nContent-Transfer-Encoding: base64\r\n\
         MIME-version: 1.0 (x)\r\n\r\nYWJj\r\n"
    );
    mime.set_body(b"YWJj");
    assert!(text(&mime).ends_with("\r\n\r\nYWJj\r\n"));
    let all = part("x");
    all.add_header(b"Content-Type", b"multipart/report; report-type=x", form)
        .unwrap();
    all.append(&mime).unwrap();
    assert!(
        text(&all).starts_with("Content-Type: multipart/report; report-type=x;\r\n boundary=\"=_")
    );
}

#[test]
fn what_would_break_the_message_is_refused() {
    let mime = Mime::new();
    let form = ValueForm::default();
    assert!(matches!(
        mime.add_header(b"A\r\nB", b"", form),
        Err(BuildError::Name(_))
    ));
    for kind in [
        "",
        "text",
        "text/",
        "/x",
        "te xt/a",
        "text/plain\r\nX: y",
        "text/plain; a=\0",
        "a/b/c",
    ] {
        assert!(
            matches!(mime.set_type(kind.as_bytes()), Err(BuildError::Type(_))),
            "{kind:?}"
        );
    }
    for boundary in ["", "a\r\nb", "a\0", "a ", &"x".repeat(71), "\"", "\u{e5}"] {
        assert!(
            mime.set_boundary(boundary.as_bytes()).is_err(),
            "{boundary:?}"
        );
    }
    for kind in ["", "a b", "inline\r\nX: y", "a;b"] {
        assert!(mime.set_disposition(kind.as_bytes()).is_err(), "{kind:?}");
    }
    assert_eq!(mime.append(&mime.clone()), Err(BuildError::Cycle));
    let inner = Mime::new();
    mime.append(&inner).unwrap();
    assert_eq!(inner.append(&mime), Err(BuildError::Cycle));
    mime.set_type(b"text/plain").unwrap();
    let plan = mime.plan().unwrap();
    let eol = LineEnd::CrLf;
    assert_eq!(
        plan.render(Role::Message, &[0; 16], eol),
        Err(BuildError::NotMultipart("text/plain".to_owned()))
    );
    mime.set_type(b"multipart/mixed").unwrap();
    mime.set_boundary(b"b").unwrap();
    inner.set_body(b"x\r\n--b \r\ny");
    assert_eq!(
        mime.plan().unwrap().render(Role::Message, &[0; 16], eol),
        Err(BuildError::BoundaryInside("b".to_owned()))
    );
    let name = Mime::new();
    name.set_file_name(b"a\r\nX: y\0");
    assert!(
        text(&name).contains("filename=\"a  X: y \"\r\n"),
        "{}",
        text(&name)
    );
}

#[test]
fn depth_and_number_are_bounded_and_long_chains_can_be_dropped() {
    let mut top = Mime::new();
    for _ in 0..200_000 {
        let next = Mime::new();
        next.0.children.borrow_mut().push(top);
        top = next;
    }
    assert!(matches!(top.plan(), Err(BuildError::Depth)));
    drop(top);
    // Each level has the one below twice.
    let mut top = Mime::new();
    for _ in 0..20 {
        let next = Mime::new();
        next.append(&top).unwrap();
        next.append(&top).unwrap();
        top = next;
    }
    assert!(matches!(top.plan(), Err(BuildError::Parts)));
}

fn tree() -> impl Strategy<Value = Mime> {
    let leaf = (
        proptest::collection::vec(any::<u8>(), 0..200),
        0..4_u8,
        any::<bool>(),
    )
        .prop_map(|(body, kind, ascii)| {
            let mime = Mime::new();
            let body = if ascii {
                body.iter().map(|b| b & 0x7f).collect()
            } else {
                body
            };
            mime.set_body(&body);
            let kind = ["text/plain", "text/html", "application/x-a", "image/png"]
                .get(usize::from(kind))
                .unwrap();
            mime.set_type(kind.as_bytes()).unwrap();
            mime
        });
    leaf.prop_recursive(4, 24, 5, |inner| {
        proptest::collection::vec(inner, 1..5).prop_map(|children| {
            let mime = Mime::new();
            for child in children {
                mime.append(&child).unwrap();
            }
            mime
        })
    })
}

proptest! {
    #[test]
    fn what_is_built_parses_into_the_same_parts(mime in tree()) {
        let out = mime.plan().unwrap().render(Role::Message, &[9; 16], LineEnd::CrLf).unwrap();
        let mut message = Message::new(&out).unwrap();
        message.open_parts().unwrap();
        let mut pending = vec![(mime, PartId::ROOT)];
        while let Some((mime, id)) = pending.pop() {
            let part = message.part(id).unwrap();
            prop_assert!(part.errors().is_empty());
            prop_assert_eq!(part.children.len(), mime.children());
            let children = mime.0.children.borrow();
            pending.extend(children.iter().cloned().zip(part.children.iter().copied()));
            if mime.children() == 0 {
                let own = mime.0.own.borrow();
                let want = own.body.as_deref().unwrap_or_default();
                let is_text = own.kind.as_ref().unwrap().essence.starts_with("text/");
                let got = part.read_body(&out, true).unwrap().unwrap();
                match is_text {
                    true => prop_assert_eq!(
                        body::with_line_ends(&got, LineEnd::CrLf),
                        body::with_line_ends(want, LineEnd::CrLf)
                    ),
                    false => prop_assert_eq!(got, want),
                }
            }
        }
    }
}
