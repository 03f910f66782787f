//! The message suites: round trips, edits, and agreement with other parsers.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests stop and report this way"
)]

use angarium_mail::{
    address,
    content_type::ContentType,
    encoded_word,
    field::ValueForm,
    message::Message,
    parts::{PartId, Parts},
    structure::Side,
};
use proptest::{prelude::*, test_runner::TestRunner};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

const MESSAGE_SUITES: [&str; 6] = [
    "mime-mailparser",
    "mime-mime4j",
    "mime-misc",
    "mime-python",
    "dsn",
    "dsn-sisimai",
];

/// The folder of a suite; `None` (and a line that says so) if it is not there.
fn suite(name: &str) -> Option<PathBuf> {
    let root = std::env::var_os("ANGARIUM_SUITES").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/suites"),
        PathBuf::from,
    );
    let folder = root.join(name);
    if !folder.is_dir() {
        println!("skipped: no suite at {}", folder.display());
        return None;
    }
    Some(folder)
}

/// All messages of a suite, by path.
#[allow(clippy::disallowed_methods, reason = "a test reads its data")]
fn messages(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = suite(name).into_iter().collect();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let file = path.file_name().unwrap().to_string_lossy().into_owned();
            let extension = path
                .extension()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            if path.is_dir() {
                folders.push(path);
            } else if ["eml", "msg", "txt", ""].contains(&extension.as_str())
                && !file.contains("_decoded")
                && file != "LICENSE"
            {
                let bytes = std::fs::read(&path).unwrap();
                found.push((path, bytes));
            }
        }
    }
    found.sort();
    found
}

fn all_messages() -> Vec<(PathBuf, Vec<u8>)> {
    MESSAGE_SUITES
        .iter()
        .flat_map(|name| messages(name))
        .collect()
}

#[test]
fn every_message_round_trips_byte_for_byte() {
    let all = all_messages();
    for (path, bytes) in &all {
        let mut message = Message::new(bytes).unwrap();
        message.open_parts().unwrap();
        assert!(message.edits().is_empty());
        assert_eq!(&message.to_vec(0).unwrap(), bytes, "{}", path.display());
    }
    println!("{} of {} messages", all.len(), all.len());
}

#[test]
fn the_fields_of_every_message_cover_its_header() {
    for (path, bytes) in all_messages() {
        let message = Message::new(&bytes).unwrap();
        let header = message.header();
        let joined: Vec<u8> = header.fields().flat_map(|f| f.raw().to_vec()).collect();
        if header.is_bad() || header.insert_offset() > 0 {
            println!("not only fields: {}", path.display());
        } else {
            assert_eq!(joined, header.bytes(), "{}", path.display());
        }
        for name in header.names() {
            for decode in [true, false] {
                assert!(!header.values(name.as_bytes(), decode).is_empty());
            }
        }
    }
}

/// One edit of a script: which field (by number), how.
#[derive(Debug, Clone)]
enum Step {
    Add(String, String),
    Set(usize, String),
    Delete(usize),
    Rename(usize, String),
    Restore,
}

fn step() -> impl Strategy<Value = Step> {
    let value = "[a-zå \r\n:]{0,90}";
    prop_oneof![
        ("X-[a-z]{1,9}", value).prop_map(|(n, v)| Step::Add(n, v)),
        (any::<usize>(), value).prop_map(|(i, v)| Step::Set(i, v)),
        any::<usize>().prop_map(Step::Delete),
        (any::<usize>(), "Y-[a-z]{1,9}").prop_map(|(i, n)| Step::Rename(i, n)),
        Just(Step::Restore),
    ]
}

/// What the edited header must be, apart from what was added and deleted.
struct Model {
    /// Name, and everything after it, of each field of the original.
    fields: Vec<(Vec<u8>, Vec<u8>)>,
}

#[test]
fn random_edits_touch_nothing_else() {
    let all: Vec<_> = all_messages()
        .into_iter()
        .filter(|(_, bytes)| {
            let message = Message::new(bytes).unwrap();
            let header = message.header();
            header.fields().len() > 0 && !header.is_bad()
        })
        .collect();
    if all.is_empty() {
        return;
    }
    let mut runner = TestRunner::new(ProptestConfig {
        cases: 400,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let strategy = (0..all.len(), proptest::collection::vec(step(), 0..8));
    let result = runner.run(&strategy, |(index, steps)| {
        let (_, bytes) = &all[index];
        let mut message = Message::new(bytes).unwrap();
        let original: Vec<(Vec<u8>, Vec<u8>)> = message
            .header()
            .fields()
            .map(|f| (f.name().to_vec(), f.raw().to_vec()))
            .collect();
        let eol = message.header().line_end().as_bytes().to_vec();
        let count = original.len();
        let mut model = Model {
            fields: original
                .iter()
                .map(|(name, raw)| (name.clone(), raw[name.len()..].to_vec()))
                .collect(),
        };
        let mut added: Vec<Vec<u8>> = Vec::new();
        let mut alive = vec![true; count];
        let form = ValueForm::default();
        // The index of a field among those of its name.
        let nth = |i: usize| -> i64 {
            let name = &original[i].0;
            let before = original[..i]
                .iter()
                .filter(|(n, _)| n.eq_ignore_ascii_case(name));
            i64::try_from(before.count()).unwrap()
        };
        for step in steps {
            match step {
                Step::Add(name, value) => {
                    message
                        .add_header(PartId::ROOT, name.as_bytes(), value.as_bytes(), form)
                        .unwrap();
                    let field = angarium_mail::field::compose(
                        name.as_bytes(),
                        value.as_bytes(),
                        form,
                        message.header().line_end(),
                    )
                    .unwrap();
                    added.push(field);
                }
                Step::Set(i, value) => {
                    let i = i % count;
                    let renamed = model.fields[i].0 != original[i].0;
                    if !alive[i] || renamed {
                        continue;
                    }
                    let name = original[i].0.clone();
                    let changed = message
                        .set_header(PartId::ROOT, &name, value.as_bytes(), Some(nth(i)), form)
                        .unwrap();
                    prop_assert_eq!(changed, 1);
                    let field = angarium_mail::field::compose(
                        &name,
                        value.as_bytes(),
                        form,
                        message.header().line_end(),
                    )
                    .unwrap();
                    // White space before the colon is part of the name's spelling.
                    let rest = &original[i].1[name.len()..];
                    let colon = rest.iter().position(|&b| b == b':').unwrap();
                    if colon > 0 {
                        return Err(TestCaseError::reject("spaced colon"));
                    }
                    let mut value = field[name.len()..].to_vec();
                    value.truncate(value.len() - eol.len());
                    let end: &[u8] = if rest.ends_with(b"\r\n") {
                        b"\r\n"
                    } else if rest.ends_with(b"\n") {
                        b"\n"
                    } else {
                        b""
                    };
                    value.extend_from_slice(end);
                    model.fields[i].1 = value;
                }
                Step::Delete(i) => {
                    let i = i % count;
                    let renamed = model.fields[i].0 != original[i].0;
                    if !alive[i] || renamed {
                        continue;
                    }
                    prop_assert_eq!(
                        message
                            .del_header(PartId::ROOT, &original[i].0, Some(nth(i)))
                            .unwrap(),
                        1
                    );
                    alive[i] = false;
                }
                Step::Rename(i, new) => {
                    let now = model.fields[i % count].0.clone();
                    let same =
                        |i: &usize| alive[*i] && model.fields[*i].0.eq_ignore_ascii_case(&now);
                    let hit: Vec<usize> = (0..count).filter(same).collect();
                    let changed = message
                        .rename_header(PartId::ROOT, &now, new.as_bytes())
                        .unwrap();
                    prop_assert_eq!(
                        changed,
                        hit.len()
                            + added
                                .iter()
                                .filter(|f| f.len() > now.len()
                                    && f[now.len()] == b':'
                                    && f[..now.len()].eq_ignore_ascii_case(&now))
                                .count()
                    );
                    if changed != hit.len() {
                        return Err(TestCaseError::reject("also an added field"));
                    }
                    for i in hit {
                        model.fields[i].0 = new.clone().into_bytes();
                    }
                }
                Step::Restore => {
                    let snapshot = message.snapshot();
                    message
                        .add_header(PartId::ROOT, b"X-Gone", b"1", form)
                        .unwrap();
                    message
                        .del_header(PartId::ROOT, &original[0].0, None)
                        .unwrap();
                    prop_assert!(message.restore(snapshot));
                }
            }
        }
        let header = message.header();
        let start = usize::try_from(header.insert_offset()).unwrap();
        let fields_end = header.bytes().len();
        let mut expected = bytes[..start].to_vec();
        added
            .iter()
            .rev()
            .for_each(|f| expected.extend_from_slice(f));
        for (i, (name, rest)) in model.fields.iter().enumerate() {
            if alive[i] {
                expected.extend_from_slice(name);
                expected.extend_from_slice(rest);
            }
        }
        expected.extend_from_slice(&bytes[fields_end..]);
        prop_assert_eq!(message.edits().modified_size(), expected.len() as u64);
        prop_assert_eq!(message.to_vec(0).unwrap(), expected);
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

#[test]
fn random_changes_of_structure_leave_other_parts_alone() {
    let all: Vec<_> = all_messages()
        .into_iter()
        .filter(|(_, bytes)| bytes.len() < 200_000)
        .collect();
    if all.is_empty() {
        return;
    }
    let mut runner = TestRunner::new(ProptestConfig {
        cases: 600,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let steps = proptest::collection::vec((any::<usize>(), 0..7_u8), 1..6);
    let result = runner.run(&(0..all.len(), steps), |(index, steps)| {
        let (path, bytes) = &all[index];
        let mut message = Message::new(bytes).unwrap();
        let parts = message.open_parts().unwrap().clone();
        let count = parts.iter().count();
        let new = b"Content-Type: text/x-new\r\n\r\nnew";
        let form = ValueForm::default();
        // Parts that a change is about, and those that are gone with all that is inside.
        let (mut touched, mut gone) = (vec![false; count], vec![false; count]);
        for (number, (at, what)) in steps.into_iter().enumerate() {
            let part = PartId(at % count);
            let inner = part != PartId::ROOT;
            let random = [number as u8; 16];
            match what {
                0 if inner => {
                    message.remove_part(part).unwrap();
                    gone[part.0] = true;
                }
                1 if inner => {
                    message.replace_part(part, new).unwrap();
                    gone[part.0] = true;
                }
                2 if inner => {
                    message.set_body(part, b"body\n", None).unwrap();
                    gone[part.0] = true;
                }
                3 => message
                    .insert_part(part, Side::Before, new, b"multipart/mixed", &random)
                    .unwrap(),
                4 => message
                    .insert_part(part, Side::After, new, b"multipart/x-all", &random)
                    .unwrap(),
                5 => drop(message.set_around(part, Side::Before, b"pre").unwrap()),
                _ => drop(
                    message
                        .set_header(part, b"X-Set", b"1", None, form)
                        .unwrap(),
                ),
            }
            touched[part.0] = true;
        }
        let out = message.to_vec(0).unwrap();
        prop_assert_eq!(message.edits().modified_size(), out.len() as u64);
        let mut cursor = 0;
        for (id, part) in parts.iter() {
            let mut around = Some(id);
            let mut lost = false;
            while let Some(at) = around {
                lost |= gone[at.0];
                around = parts.get(at).unwrap().parent;
            }
            if lost || touched[id.0] || !part.children.is_empty() || id == PartId::ROOT {
                continue;
            }
            let span = part.span.start as usize..part.span.end as usize;
            let text = &bytes[span];
            let found = memchr::memmem::find(&out[cursor..], text);
            prop_assert!(found.is_some(), "{}: {}", path.display(), parts.path(id));
            cursor += found.unwrap();
        }
        prop_assert!(message.restore(0));
        prop_assert_eq!(&message.to_vec(0).unwrap(), bytes);
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

const PYTHON: &str = r#"
import email, json, sys
def walk(m):
    t = m.get_content_type() if m["content-type"] is not None else None
    if m.get_content_maintype() == "message" or not m.is_multipart():
        return [t, None]
    return [t, [walk(p) for p in m.get_payload()]]
for line in sys.stdin:
    path = line.rstrip("\n")
    m = email.message_from_binary_file(open(path, "rb"))
    print(json.dumps(walk(m)))
"#;

/// The tree in the form that the script above prints.
fn outline(parts: &Parts, id: PartId) -> Value {
    let part = parts.get(id).unwrap();
    let content_type = part.content_type();
    let opened = part.is_multipart() && !part.children.is_empty();
    let children = opened.then(|| {
        part.children
            .iter()
            .map(|&c| outline(parts, c))
            .collect::<Vec<_>>()
    });
    serde_json::json!([content_type, children])
}

/// Whether the trees agree; a type that Python replaces by its default is not compared.
fn same(ours: &Value, theirs: &Value) -> bool {
    let empty = Vec::new();
    let list = |v: &Value| v[1].as_array().unwrap_or(&empty).clone();
    let (a, b) = (list(ours), list(theirs));
    a.len() == b.len()
        && a.iter().zip(&b).all(|(a, b)| same(a, b))
        && (ours[0] == theirs[0]
            || theirs[0] == "text/plain"
            || ours[0].is_null()
            || theirs[0].is_null())
}

#[test]
fn the_part_tree_agrees_with_pythons_email() {
    let all: Vec<_> = all_messages()
        .into_iter()
        .filter(|(path, _)| !path.ends_with("stack-overflow.txt"))
        .collect();
    let child = Command::new("python3")
        .args(["-c", PYTHON])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else {
        println!("skipped: python3 is not installed");
        return;
    };
    let mut input = child.stdin.take().unwrap();
    let paths: Vec<String> = all
        .iter()
        .map(|(path, _)| format!("{}\n", path.display()))
        .collect();
    let writer = std::thread::spawn(move || input.write_all(paths.concat().as_bytes()));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().count(), all.len(), "python failed");
    let mut counts: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    let mut unknown = Vec::new();
    for ((path, bytes), line) in all.iter().zip(text.lines()) {
        let theirs: Value = serde_json::from_str(line).unwrap();
        let mut message = Message::new(bytes).unwrap();
        let ours = outline(message.open_parts().unwrap(), PartId::ROOT);
        let name = path.to_string_lossy();
        let suite = MESSAGE_SUITES
            .iter()
            .find(|suite| name.contains(&format!("/{suite}/")));
        let count = counts.entry(suite.unwrap()).or_default();
        count.1 += 1;
        if same(&ours, &theirs) {
            count.0 += 1;
        } else if !OTHER_TREES.iter().any(|known| name.ends_with(known)) {
            unknown.push(format!("{name}\n  ours   {ours}\n  python {theirs}"));
        }
    }
    for (suite, (agree, total)) in &counts {
        println!("{suite}, part trees as Python's email: {agree} of {total}");
    }
    assert!(unknown.is_empty(), "{}", unknown.join("\n"));
}

/// Messages whose tree is another one than Python's, each with its rule in docs/conformance.md.
const OTHER_TREES: &[&str] = &[
    "malformed/000.eml",
    "malformed/005.eml",
    "malformed/013.eml",
    "mimetools-testmsgs/double-bound.msg",
    "mimetools-testmsgs/multi-simple.msg",
    "mimekit/issue358.txt",
    "testmsgs/ending-boundaries.msg",
    "bounceparser/spam-rejection15.msg",
];

#[allow(clippy::disallowed_methods, reason = "a test reads its data")]
fn rows(name: &str) -> Vec<Value> {
    let Some(folder) = suite("headers-mailparser") else {
        return Vec::new();
    };
    let text = std::fs::read_to_string(folder.join(name)).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Rows that contradict a rule, by what is in their header, with the rule. They are counted apart.
const AGAINST_A_RULE: &[(&str, &str)] = &[
    // A route and white space within an address are obsolete: a reader drops them.
    ("<@node.test:mary@example.net>", "RFC 5322 §4.4"),
    // Addresses are separated by commas, and a name does not stand before an address without brackets.
    ("a@b.c\r\n\tjane@y.z", "RFC 5322 §3.4"),
    ("John Smith john@example.com", "RFC 5322 §3.4"),
    ("Joe <a@b.com> <c@d.com>", "RFC 5322 §3.4"),
    ("John <a@b.c>>", "RFC 5322 §3.4"),
    // A comment ends with a parenthesis.
    ("x (comment", "RFC 5322 §3.2.2"),
    // A reader that does not know a charset shows the word as it is.
    ("=?x?q?a?=", "RFC 2047 §6.2 (a)"),
    // White space between encoded words is not shown.
    ("=?iso-8859-1?B?4Q==?= =?utf-8?B?w6k=?=", "RFC 2047 §6.2"),
    // The sections of a parameter are joined by their numbers.
    ("name*1=\"b\"; name=\"x\"; name*0=\"a\"", "RFC 2231 §3"),
];

/// Counts the rows for which `check` is true; others fail the test.
fn score(name: &str, check: impl Fn(&str, &Value) -> Option<bool>) {
    let (mut good, mut total) = (0, 0);
    let mut wrong = Vec::new();
    for row in rows(name) {
        let header = row["header"].as_str().unwrap();
        if let Some((_, rule)) = AGAINST_A_RULE
            .iter()
            .find(|(part, _)| header.contains(part))
        {
            println!("{name}, apart, against {rule}: {header:?}");
            assert_ne!(check(header, &row["expected"]), Some(true), "{header:?}");
            continue;
        }
        match check(header, &row["expected"]) {
            Some(true) => {
                good += 1;
                total += 1;
            }
            Some(false) => {
                total += 1;
                wrong.push(format!("{header:?} expected {}", row["expected"]));
            }
            None => {}
        }
    }
    println!("{name}: {good} of {total}");
    assert!(wrong.is_empty(), "{name}: {}", wrong.join("\n"));
}

/// The value of the first line of a row: rows end with the next field or a line end.
fn first_value(header: &str) -> Vec<u8> {
    let text = format!("X:{header}");
    let message = Message::new(text.as_bytes()).unwrap();
    message.header().nth(b"X", 0).unwrap().value()
}

fn squeeze(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn unstructured_text_is_decoded_as_others_do() {
    score("unstructured.json", |header, expected| {
        let text = encoded_word::decode(&first_value(header));
        Some(squeeze(&text) == squeeze(expected.as_str()?))
    });
}

#[test]
fn content_types_are_read_as_others_do() {
    score("content_type.json", |header, expected| {
        let parsed = ContentType::parse(&first_value(header));
        let Some(main) = expected["c_type"].as_str() else {
            return Some(parsed.value.is_empty());
        };
        let full = match expected["c_subtype"].as_str() {
            Some(sub) => format!("{main}/{sub}"),
            None => main.to_owned(),
        };
        let attributes = expected["attributes"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        Some(
            parsed.value == full
                && attributes.iter().all(|pair| {
                    // The language tag of RFC 2231 is not part of the interface.
                    if pair[0]
                        .as_str()
                        .is_some_and(|name| name.ends_with("-language"))
                    {
                        return true;
                    }
                    let name = pair[0].as_str().unwrap_or_default();
                    parsed.parameter(name).map(|v| squeeze(&v)) == pair[1].as_str().map(squeeze)
                }),
        )
    });
}

#[test]
fn addresses_are_read_as_others_do() {
    score("address.json", |header, expected| {
        let mut addresses = Vec::new();
        let mut pending: Vec<Value> = expected.as_array().cloned().unwrap_or_default();
        pending.reverse();
        while let Some(item) = pending.pop() {
            if let Some(members) = item["group"]["mailboxes"].as_array() {
                pending.extend(members.iter().rev().cloned());
            } else if let Some(address) = item["mailbox"]["address"]
                .as_str()
                .or(item["address"].as_str())
            {
                addresses.push(address.to_owned());
            }
        }
        // Where there is no address, what cannot be read is as good as an empty list.
        let ours = address::parse_list(&first_value(header)).unwrap_or_default();
        Some(ours.into_iter().map(|m| m.address).collect::<Vec<_>>() == addresses)
    });
}
