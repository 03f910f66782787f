//! Reads the rows of PCRE2's test data.
#![allow(dead_code, reason = "each test uses some of the fields")]
#![allow(clippy::print_stdout, reason = "a test that is skipped says so")]

use angarium_regex::Modifiers;
use serde_json::Value;

/// A pattern, a subject and the groups of its match.
pub struct Row {
    /// Name of the row.
    pub id: String,
    /// The pattern.
    pub pattern: Vec<u8>,
    /// Its modifiers.
    pub modifiers: Modifiers,
    /// The subject.
    pub subject: Vec<u8>,
    /// Groups with the unset ones at the end left out; `None` for no match.
    pub expect: Option<Vec<Option<Vec<u8>>>>,
    /// The row uses nothing beyond regular expressions.
    pub regular: bool,
}

/// The rows, or `None` with a word on standard output if the suite is absent.
pub fn rows() -> Option<Vec<Row>> {
    let folder = std::env::var("ANGARIUM_SUITES")
        .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/suites").into());
    let path = format!("{folder}/pcre2/cases.jsonl");
    #[allow(clippy::disallowed_methods, reason = "test data is read from the disk")]
    let Ok(text) = std::fs::read(&path) else {
        println!("skipped: the suite pcre2 is not at {path}");
        return None;
    };
    let text = String::from_utf8(text).expect("JSON lines");
    Some(text.lines().map(row).collect())
}

fn row(line: &str) -> Row {
    let row: Value = serde_json::from_str(line).expect("JSON");
    let bytes = |value: &Value| base64(value.as_str().expect("base64"));
    let mut modifiers = row["mods"].as_str().expect("letters").to_owned();
    if row["utf"].as_bool() == Some(true) {
        modifiers.push('u');
    }
    let mut pattern = bytes(&row["pattern_b64"]);
    // Scripts have no letter for it, but the pattern can say it.
    if modifiers.contains("xx") {
        pattern.splice(0..0, *b"(?xx)");
    }
    Row {
        id: row["id"].as_str().expect("id").to_owned(),
        pattern,
        modifiers: Modifiers::parse(modifiers.as_bytes()).expect("known letters"),
        subject: bytes(&row["subject_b64"]),
        expect: row["expect"].as_array().map(|groups| {
            groups
                .iter()
                .map(|group| (!group.is_null()).then(|| bytes(group)))
                .collect()
        }),
        regular: row["features"].as_array().expect("list").is_empty(),
    }
}

fn base64(text: &str) -> Vec<u8> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bytes = Vec::new();
    let (mut bits, mut count) = (0u32, 0);
    for byte in text.bytes().filter(|byte| *byte != b'=') {
        let digit = DIGITS
            .iter()
            .position(|digit| *digit == byte)
            .expect("base64 digit");
        bits = bits << 6 | digit as u32;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    bytes
}
