//! The suite mime-mime4j: part trees and decoded leaves, those of embedded messages too.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "tests read their data, stop and report this way"
)]

use std::path::{Path, PathBuf};

use angarium_mail::message::Message;
use angarium_mail::parts::{PartId, Parts};

/// The messages of the suite, by path; none, with a line that says so, when it is absent.
fn messages() -> Vec<PathBuf> {
    let root = std::env::var_os("ANGARIUM_SUITES").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/suites"),
        PathBuf::from,
    );
    let folder = root.join("mime-mime4j");
    if !folder.is_dir() {
        println!("skipped: no suite at {}", folder.display());
        return Vec::new();
    }
    let mut found = Vec::new();
    for folder in ["mimetools-testmsgs", "testmsgs"].map(|name| folder.join(name)) {
        let files = std::fs::read_dir(folder).unwrap();
        found.extend(files.map(|entry| entry.unwrap().path()));
    }
    found.retain(|path| path.extension().is_some_and(|extension| extension == "msg"));
    found.sort();
    found
}

/// What a message or part consists of.
#[derive(Debug, PartialEq, Eq)]
enum Content {
    Leaf,
    Multipart(Vec<Entity>),
    Message(Box<Entity>),
}

/// A message or part: the names of its fields, and its content.
#[derive(Debug, PartialEq, Eq)]
struct Entity {
    fields: Vec<String>,
    content: Content,
}

/// The tree that the suite's XML describes. Text is escaped there, so that `<` begins a tag.
fn described(xml: &str) -> Entity {
    let mut stack = vec![Entity {
        fields: Vec::new(),
        content: Content::Leaf,
    }];
    for piece in xml.split('<').skip(1) {
        let (tag, text) = piece.split_once('>').unwrap();
        match tag {
            "message" | "body-part" => stack.push(Entity {
                fields: Vec::new(),
                content: Content::Leaf,
            }),
            "field" => {
                let name = text.trim_start().split(':').next().unwrap().trim_end();
                stack.last_mut().unwrap().fields.push(name.to_owned());
            }
            "multipart" => stack.last_mut().unwrap().content = Content::Multipart(Vec::new()),
            "/message" => {
                let done = stack.pop().unwrap();
                stack.last_mut().unwrap().content = Content::Message(Box::new(done));
            }
            "/body-part" => {
                let done = stack.pop().unwrap();
                if let Content::Multipart(parts) = &mut stack.last_mut().unwrap().content {
                    parts.push(done);
                }
            }
            _ => {}
        }
    }
    match stack.remove(0).content {
        Content::Message(message) => *message,
        other => panic!("no message: {other:?}"),
    }
}

/// The tree of a message as it is read here, and its leaves with the suite's name for their place: `1_2`.
struct Reading {
    leaves: Vec<(String, Vec<u8>)>,
}

impl Reading {
    fn message(&mut self, bytes: &[u8], place: &str) -> Entity {
        let mut message = Message::new(bytes).unwrap();
        let parts = message.open_parts().unwrap().clone();
        self.part(bytes, &parts, PartId::ROOT, place)
    }

    fn part(&mut self, bytes: &[u8], parts: &Parts, id: PartId, place: &str) -> Entity {
        let part = parts.get(id).unwrap();
        let content = if part.is_multipart() {
            let children = part.children.iter().zip(1..);
            Content::Multipart(
                children
                    .map(|(&child, number)| {
                        self.part(bytes, parts, child, &format!("{place}_{number}"))
                    })
                    .collect(),
            )
        } else {
            let body = part.read_body(bytes, true).unwrap().unwrap();
            if part.content_type().as_deref() == Some("message/rfc822") {
                Content::Message(Box::new(self.message(&body, &format!("{place}_1"))))
            } else {
                self.leaves.push((place.to_owned(), body));
                Content::Leaf
            }
        };
        let name = |field: angarium_mail::header::FieldRef<'_>| {
            String::from_utf8_lossy(field.name()).into_owned()
        };
        Entity {
            fields: part.header.fields().map(name).collect(),
            content,
        }
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let stem = path.file_stem().unwrap().to_string_lossy();
    path.with_file_name(format!("{stem}{suffix}"))
}

fn read(path: &Path) -> (Vec<u8>, Entity, Reading) {
    let bytes = std::fs::read(path).unwrap();
    let mut reading = Reading { leaves: Vec::new() };
    let tree = reading.message(&bytes, "1");
    (bytes, tree, reading)
}

#[test]
fn part_trees_and_fields_are_those_of_mime4j() {
    let (mut good, mut total) = (0, 0);
    let mut wrong = Vec::new();
    for path in messages() {
        let xml = std::fs::read(path.with_extension("xml")).unwrap();
        let theirs = described(&String::from_utf8_lossy(&xml));
        let (_, ours, _) = read(&path);
        total += 1;
        if ours == theirs {
            good += 1;
        } else {
            wrong.push(format!(
                "{}\n  ours   {ours:?}\n  theirs {theirs:?}",
                path.display()
            ));
        }
    }
    println!("mime-mime4j, part trees: {good} of {total}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The row that contradicts RFC 5322 §2.1: what is no header is body. Here all lines are none; mime4j has no body then.
const ALL_BODY: &str = "malformedHeader-noheader";

/// The base64 of an image is cut off; mime4j leaves out the last two bytes, whose bits are all there (RFC 2045 §6.8).
const CUT_OFF: &str = "frag";

#[test]
fn decoded_leaves_are_those_of_mime4j() {
    let (mut good, mut total, mut apart) = (0, 0, 0);
    let mut wrong = Vec::new();
    let lines = |b: &[u8]| String::from_utf8_lossy(b).replace("\r\n", "\n");
    for path in messages() {
        let (bytes, _, reading) = read(&path);
        let found = |suffix: &str| std::fs::read(with_suffix(&path, suffix)).ok();
        for (place, ours) in &reading.leaves {
            let theirs = found(&format!("_decoded_{place}.txt"))
                .or_else(|| found(&format!("_decoded_{place}.bin")));
            let theirs = theirs.unwrap_or_default();
            if path.file_stem().is_some_and(|stem| stem == ALL_BODY) {
                assert_eq!(ours, &bytes);
                apart += 1;
                continue;
            }
            total += 1;
            if lines(ours) == lines(&theirs) {
                good += 1;
            } else if path.file_stem().is_none_or(|stem| stem != CUT_OFF) {
                let (ours, theirs) = (ours.len(), theirs.len());
                wrong.push(format!(
                    "{} {place}: {ours} bytes instead of {theirs}",
                    path.display()
                ));
            }
        }
    }
    println!("mime-mime4j, decoded leaves: {good} of {total}");
    println!("apart, against RFC 5322 §2.1: {apart}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
