//! Codecs beside Python's: JSON, CSV, zlib, base64 and its relatives, percent-encoding, pack, encoded words, charsets.
//!
//! Python makes random cases from a fixed seed, each with what it makes of them; the library's functions have to give the
//! same. What the library encodes is then given back to Python to decode. `$PYTHON` names the program.
#![allow(
    clippy::print_stdout,
    reason = "the test says how many cases there were"
)]
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "it starts a real program"
)]
#![allow(clippy::unwrap_used, reason = "what cannot be run fails the test")]

mod support;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Command, Stdio};

use angarium_runtime::convert::dump;
use angarium_runtime::value::Value;
use angarium_stdlib::encoding::decode_lenient;
use serde_json::{Value as Json, json};
use support::{literal, run};

const PYTHON: &str = include_str!("python_codecs.py");

/// What the script prints in a mode; none when there is no Python.
fn python(mode: &str, input: &str) -> Option<String> {
    let program = std::env::var_os("PYTHON").unwrap_or_else(|| "python3".into());
    let child = Command::new(&program)
        .args(["-c", PYTHON, mode])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else {
        println!("skipped: no {}", program.display());
        return None;
    };
    // It answers while it is still being told: both pipes have to move.
    let (mut pipe, input) = (child.stdin.take().unwrap(), input.to_owned());
    let writer = std::thread::spawn(move || pipe.write_all(input.as_bytes()));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success(), "Python failed");
    Some(String::from_utf8(output.stdout).unwrap())
}

fn unbase(value: &Json) -> Vec<u8> {
    decode_lenient(value.as_str().unwrap().as_bytes(), false)
}

fn base(bytes: &[u8]) -> String {
    let encoded = run(&format!("return base64_encode({});", literal(bytes))).unwrap();
    String::from_utf8(encoded.as_bytes().unwrap().to_vec()).unwrap()
}

/// An expression of the language with `$0`, `$1` … for the arguments of the case.
fn expression(case: &Json) -> String {
    let mut text = case["run"].as_str().unwrap().to_owned();
    for (index, argument) in case["args"].as_array().unwrap().iter().enumerate() {
        text = text.replace(&format!("${index}"), &literal(&unbase(argument)));
    }
    text
}

#[test]
fn codecs_agree_with_pythons() {
    let Some(cases) = python("generate", "") else {
        return;
    };
    let mut counts: BTreeMap<String, (u32, u32)> = BTreeMap::new();
    let mut failures = String::new();
    let mut back = String::new();
    for line in cases.lines() {
        let case: Json = serde_json::from_str(line).unwrap();
        let kind = case["kind"].as_str().unwrap().to_owned();
        let script = format!("return {};", expression(&case));
        let found = run(&script);
        if case["verify"].is_object() {
            let bytes = found.as_ref().ok().and_then(Value::as_bytes).unwrap_or(b"");
            let row = json!({"kind": kind, "verify": case["verify"], "found": base(bytes), "script": script});
            back.push_str(&row.to_string());
            back.push('\n');
            continue;
        }
        let count = counts.entry(kind.clone()).or_default();
        count.1 += 1;
        let right = match &case["want"] {
            Json::Null => matches!(found, Ok(Value::None)),
            want => found
                .as_ref()
                .is_ok_and(|value| value.as_bytes() == Some(unbase(want).as_slice())),
        };
        if right {
            count.0 += 1;
        } else if failures.len() < 4000 {
            let found = found.map(|value| String::from_utf8_lossy(&dump(&value)).into_owned());
            let want = match &case["want"] {
                Json::Null => "none".to_owned(),
                want => String::from_utf8_lossy(&unbase(want)).into_owned(),
            };
            failures.push_str(&format!(
                "{kind}: {script}\n  gives {found:?}\n  want {want:?}\n"
            ));
        }
    }
    for line in python("verify", &back).unwrap().lines() {
        let row: Json = serde_json::from_str(line).unwrap();
        let count = counts
            .entry(row["kind"].as_str().unwrap().to_owned())
            .or_default();
        count.1 += 1;
        if row["right"] == true {
            count.0 += 1;
        } else if failures.len() < 4000 {
            failures.push_str(&format!("{row}\n"));
        }
    }
    for (kind, (good, total)) in &counts {
        println!("{kind}: {good} of {total}");
    }
    assert!(failures.is_empty(), "{failures}");
}
