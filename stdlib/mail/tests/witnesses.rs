//! Messages that are built, as Python's `email` reads them; messages of a suite, as its parser read them.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "tests read their data, stop and report this way"
)]

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use angarium_mail::builder::{Mime, Role};
use angarium_mail::charset;
use angarium_mail::encoded_word::WordEncoding;
use angarium_mail::field::ValueForm;
use angarium_mail::header::LineEnd;
use angarium_mail::message::Message;
use angarium_mail::parts::PartId;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Value, json};

/// Reads a list of messages in hex, a line each; prints what each is made of.
const PYTHON: &str = r#"
import email, email.policy, json, sys
def walk(m):
    t = m.get_content_type()
    name = m.get_filename()
    if m.is_multipart():
        return {"type": t, "parts": [walk(p) for p in m.iter_parts()], "name": name}
    return {"type": t, "body": m.get_payload(decode=True).hex(), "name": name}
for line in sys.stdin:
    m = email.message_from_bytes(bytes.fromhex(line.strip()), policy=email.policy.default)
    w = walk(m)
    w["subject"] = str(m["Subject"]) if m["Subject"] is not None else None
    w["to"] = [[a.display_name, a.addr_spec] for a in m["To"].addresses] if m["To"] is not None else []
    w["version"] = str(m["MIME-Version"])
    w["defects"] = [type(d).__name__ for p in m.walk() for d in p.defects]
    print(json.dumps(w))
"#;

/// A part and what Python should see of it.
#[derive(Debug, Clone)]
enum Wanted {
    Leaf(String, Vec<u8>, Option<String>),
    Multipart(String, Vec<Wanted>),
}

fn tree() -> impl Strategy<Value = Wanted> {
    let kinds = prop_oneof![
        Just("text/plain"),
        Just("text/html"),
        Just("application/octet-stream"),
        Just("image/png")
    ];
    let body = prop_oneof![
        "[a-z =.\n-]{0,300}".prop_map(String::into_bytes),
        "[a-zåäö€\n]{0,200}".prop_map(String::into_bytes),
        proptest::collection::vec(any::<u8>(), 0..300),
    ];
    let name = proptest::option::of("[a-z]{1,5}[åß€ \"\\\\;.a-z]{0,40}x");
    let leaf = (kinds, body, name)
        .prop_map(|(kind, body, name)| Wanted::Leaf(kind.to_owned(), body, name));
    leaf.prop_recursive(4, 30, 5, |inner| {
        let kind = prop_oneof![Just("multipart/mixed"), Just("multipart/alternative")];
        (kind, proptest::collection::vec(inner, 1..5))
            .prop_map(|(kind, parts)| Wanted::Multipart(kind.to_owned(), parts))
    })
}

fn build(wanted: &Wanted) -> Mime {
    let mime = Mime::new();
    match wanted {
        Wanted::Leaf(kind, body, name) => {
            mime.set_type(kind.as_bytes()).unwrap();
            mime.set_body(body);
            if let Some(name) = name {
                mime.set_file_name(name.as_bytes());
            }
        }
        Wanted::Multipart(kind, parts) => {
            mime.set_type(kind.as_bytes()).unwrap();
            for part in parts {
                mime.append(&build(part)).unwrap();
            }
        }
    }
    mime
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Text with one form of line ends: those are the message's, not the part's.
fn lines(bytes: &[u8], text: bool) -> Vec<u8> {
    match text {
        true => angarium_mail::body::with_line_ends(bytes, LineEnd::Lf),
        false => bytes.to_vec(),
    }
}

fn agrees(wanted: &Wanted, seen: &Value) -> bool {
    match wanted {
        Wanted::Leaf(kind, body, name) => {
            let text = kind.starts_with("text/");
            let hex = seen["body"].as_str().unwrap_or_default();
            let bytes: Vec<u8> = hex
                .as_bytes()
                .chunks(2)
                .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
                .collect();
            // Python takes an empty part apart into nothing, and its name with the white space that folding brings.
            let squeeze = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
            let same_name = seen["name"].as_str().map(squeeze) == name.as_deref().map(squeeze);
            seen["type"] == kind.as_str() && lines(&bytes, text) == lines(body, text) && same_name
        }
        Wanted::Multipart(kind, parts) => {
            let seen_parts = seen["parts"].as_array().cloned().unwrap_or_default();
            seen["type"] == kind.as_str()
                && seen_parts.len() == parts.len()
                && parts
                    .iter()
                    .zip(&seen_parts)
                    .all(|(part, seen)| agrees(part, seen))
        }
    }
}

#[test]
fn python_reads_what_is_built() {
    let config = Config {
        failure_persistence: None,
        ..Config::default()
    };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let subjects = [
        "Hello",
        "Smörgås och mer än så, en lång rubrik som inte får plats på en rad åäö",
        "=?x",
        "a\tb",
        "",
    ];
    let to = "\"Müller, Jörg\" <j@x.test>, Ann <a@b.test>, c@d.test";
    let mut all = Vec::new();
    for number in 0..300 {
        let wanted = tree().new_tree(&mut runner).unwrap().current();
        let mime = build(&wanted);
        let subject = subjects[number % subjects.len()];
        let encoding = if number % 2 == 0 {
            WordEncoding::Quoted
        } else {
            WordEncoding::Base64
        };
        let form = ValueForm::Encoded(encoding);
        mime.add_header(b"Subject", subject.as_bytes(), form)
            .unwrap();
        mime.add_header(b"To", to.as_bytes(), form).unwrap();
        let plan = mime.plan().unwrap();
        let out = plan
            .render(Role::Message, &[number as u8; 16], LineEnd::CrLf)
            .unwrap();
        all.push((wanted, subject, out));
    }
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
    let text: String = all.iter().map(|(_, _, out)| hex(out) + "\n").collect();
    let writer = std::thread::spawn(move || input.write_all(text.as_bytes()));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().count(), all.len(), "python failed");
    for ((wanted, subject, out), line) in all.iter().zip(text.lines()) {
        let seen: Value = serde_json::from_str(line).unwrap();
        let shown = String::from_utf8_lossy(out);
        assert!(agrees(wanted, &seen), "{wanted:?}\n{seen}\n{shown}");
        assert_eq!(seen["subject"].as_str().unwrap(), *subject, "{shown}");
        let people = json!([
            ["Müller, Jörg", "j@x.test"],
            ["Ann", "a@b.test"],
            ["", "c@d.test"]
        ]);
        assert_eq!(seen["to"], people, "{shown}");
        assert_eq!(seen["version"], "1.0");
        assert_eq!(seen["defects"], json!([]), "{shown}");
    }
    println!(
        "built messages as Python's email reads them: {} of {}",
        all.len(),
        all.len()
    );
}

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

/// Messages of the suite that contradict a rule, with the rule. They are counted apart.
const AGAINST_A_RULE: &[(&str, &str)] = &[
    // The last line is a boundary that begins a part.
    ("malformed/013.eml", "RFC 2046 §5.1.1"),
    // The second of two Content-Type fields is taken; there is to be one, and the first has its boundary in the body.
    ("malformed/021.eml", "RFC 2045 §3"),
    // `multipart` without a subtype is no type.
    ("malformed/023.eml", "RFC 2045 §5.2"),
];

#[test]
fn messages_are_taken_apart_as_mail_parser_does() {
    let Some(folder) = suite("mime-mailparser") else {
        return;
    };
    let (mut good, mut total, mut unknown) = (0, 0, BTreeSet::new());
    let folders = std::fs::read_dir(&folder).unwrap();
    let folders = folders
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir());
    for file in folders.flat_map(|folder| std::fs::read_dir(folder).unwrap()) {
        let path = file.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "eml") {
            continue;
        }
        let expected = path.with_extension("json");
        let Ok(expected) = std::fs::read_to_string(expected) else {
            continue;
        };
        let expected: Value = serde_json::from_str(&expected).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let name = path.strip_prefix(&folder).unwrap().display().to_string();
        let result = compare(&bytes, &expected, &serde_json::json!(0));
        if let Some((_, rule)) = AGAINST_A_RULE.iter().find(|(file, _)| *file == name) {
            println!(
                "mime-mailparser, apart, against {rule}: {name}: {}",
                result.unwrap_err()
            );
            continue;
        }
        total += 1;
        match result {
            Ok(()) => good += 1,
            Err(why) => {
                unknown.insert(format!("{name}: {why}"));
            }
        }
    }
    println!("mime-mailparser, structure and content as mail-parser: {good} of {total}");
    let unknown: Vec<String> = unknown.into_iter().collect();
    assert!(unknown.is_empty(), "{}", unknown.join("\n"));
}

/// Compares types, number of children and content of the parts of a message, in document order, and the messages in it.
fn compare(bytes: &[u8], expected: &Value, number: &Value) -> Result<(), String> {
    let mut message = Message::new(bytes).unwrap();
    let parts = message.open_parts().unwrap();
    let theirs: Vec<&Value> = expected["parts"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|part| part["message"] == *number)
        .collect();
    let ours: Vec<PartId> = parts.iter().map(|(id, _)| id).collect();
    if ours.len() != theirs.len() {
        return Err(format!("{} parts instead of {}", ours.len(), theirs.len()));
    }
    for (id, theirs) in ours.into_iter().zip(theirs) {
        let part = parts.get(id).unwrap();
        let place = parts.path(id);
        let children = theirs["children"].as_array().map_or(0, Vec::len);
        let is_multipart = theirs["kind"] == "multipart";
        if is_multipart && part.children.len() != children {
            return Err(format!(
                "{place}: {} children instead of {children}",
                part.children.len()
            ));
        }
        let headers = theirs["headers"].as_array().cloned().unwrap_or_default();
        let field = headers.iter().find(|header| {
            header["name"]
                .as_str()
                .is_some_and(|name| name.eq_ignore_ascii_case("content-type"))
        });
        if let Some(field) = field {
            let kind = &field["value"]["content_type"];
            let main = kind["type"].as_str().unwrap_or_default();
            let want = match kind["subtype"].as_str() {
                Some(sub) => format!("{main}/{sub}"),
                None => main.to_owned(),
            };
            let have = part.content_type().unwrap_or_default();
            if !want.is_empty() && !have.eq_ignore_ascii_case(&want) {
                return Err(format!("{place}: {have} instead of {want}"));
            }
        }
        if let Some(text) = theirs["text"].as_str() {
            let body = part.read_body(bytes, true).unwrap().unwrap_or_default();
            let label = part.type_parameter("charset").unwrap_or_default();
            let have = match charset::for_label(label.as_bytes()) {
                Some(charset) => charset.decode(&body).into_owned(),
                None => String::from_utf8_lossy(&body).into_owned(),
            };
            let squeeze = |text: &str| text.replace("\r\n", "\n").trim_end().to_owned();
            if squeeze(&have) != squeeze(text) {
                return Err(format!(
                    "{place}: text {have:.300?} instead of {text:.300?}"
                ));
            }
        }
        if let Some(data) = theirs["binary"].as_str() {
            let body = part.read_body(bytes, true).unwrap().unwrap_or_default();
            let data = angarium_mail::transfer::base64_decode(data.as_bytes());
            // The suite's parser was given the message with LF as line ends.
            if body != data && angarium_mail::body::with_line_ends(&body, LineEnd::Lf) != data {
                return Err(format!(
                    "{place}: {} bytes instead of {}",
                    body.len(),
                    data.len()
                ));
            }
        }
        if !theirs["nested"].is_null() {
            let body = part.read_body(bytes, true).unwrap().unwrap_or_default();
            compare(&body, expected, &theirs["nested"])
                .map_err(|why| format!("{place}, the message in it: {why}"))?;
        }
    }
    Ok(())
}
