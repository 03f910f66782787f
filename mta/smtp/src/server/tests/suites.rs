//! The conformance suites, where they are at hand.

use std::path::PathBuf;

use regex::Regex;
use serde_json::Value;

use crate::server::testing::{Bench, open_config};
use crate::server::{Config, Hook};
use crate::verdict::{Accept, Verdict};

/// The rows of a suite, or `None` with a printed reason.
#[allow(clippy::disallowed_methods, reason = "a test reads its data from disk")]
fn rows(suite: &str) -> Option<Vec<Value>> {
    let folder = std::env::var_os("ANGARIUM_SUITES").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/suites"),
        PathBuf::from,
    );
    let path = folder.join(suite).join("cases.jsonl");
    let Ok(text) = std::fs::read_to_string(&path) else {
        println!("skipped: {} is not there", path.display());
        return None;
    };
    Some(
        text.lines()
            .map(|line| serde_json::from_str(line).expect("a row is JSON"))
            .collect(),
    )
}

fn text<'a>(row: &'a Value, key: &str) -> &'a str {
    row.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// Everybody may relay; the helo hook announces DSN, as a script would.
fn bench() -> Bench {
    let mut config = open_config();
    config.hooks.helo = true;
    config.extensions.chunking = true;
    Bench::answering(config, |hook, _| {
        let mut accept = Accept::default();
        if let Hook::Helo { extensions, .. } = hook {
            let built_in = extensions
                .iter()
                .flatten()
                .map(|line| line.clone().into_bytes());
            accept.extensions = Some(built_in.chain([b"DSN".to_vec()]).collect());
        }
        Verdict::Accept(Box::new(accept))
    })
}

fn reach(bench: &mut Bench, state: &str) {
    let steps: &[&str] = match state {
        "connect" | "greet" => &[],
        "ehlo" => &["EHLO c.example"],
        "mail" => &["EHLO c.example", "MAIL FROM:<a@example.com>"],
        "rcpt" => &[
            "EHLO c.example",
            "MAIL FROM:<a@example.com>",
            "RCPT TO:<b@example.com>",
        ],
        "data" => &[
            "EHLO c.example",
            "MAIL FROM:<a@example.com>",
            "RCPT TO:<b@example.com>",
            "DATA",
        ],
        "sent" => &[
            "EHLO c.example",
            "MAIL FROM:<a@example.com>",
            "RCPT TO:<b@example.com>",
            "DATA",
            "Subject: x\r\n\r\nx\r\n.",
        ],
        "tls" => &["EHLO c.example", "STARTTLS"],
        other => panic!("unknown state {other}"),
    };
    for step in steps {
        bench.feed(format!("{step}\r\n").as_bytes());
        let replies = bench.replies();
        assert!(replies.starts_with(['2', '3']), "{step}: {replies}");
    }
    bench.replies();
}

/// Splits reply text into whole replies.
fn replies(text: &str) -> Vec<String> {
    let mut all = vec![String::new()];
    for line in text.split_inclusive("\r\n") {
        let current = all.last_mut().expect("never empty");
        current.push_str(line);
        if line.as_bytes().get(3) == Some(&b' ') {
            all.push(String::new());
        }
    }
    all.pop();
    all
}

#[test]
fn smtp_conformance() {
    let Some(rows) = rows("smtp-conformance") else {
        return;
    };
    let (mut passed, mut missed) = (0, Vec::new());
    let status = Regex::new(r"^...[ -]([245])\.\d{1,3}\.\d{1,3}( |$)").expect("a regex");
    for row in &rows {
        let id = text(row, "id");
        let mut bench = bench();
        reach(&mut bench, text(row, "state"));
        match (id, row.get("send")) {
            ("idle", _) => bench.pass(300),
            ("slow", _) => {
                for _ in 0..400 {
                    bench.feed(b"N");
                    bench.pass(1);
                }
            }
            ("reply-wait", _) => bench.feed(b"EHLO c\r\nNOOP\r\nFOO\r\nMAIL FROM:<>\r\n"),
            (_, Some(Value::String(send))) => bench.feed(send.as_bytes()),
            (_, Some(send)) => {
                let count = send.get("count").and_then(Value::as_u64).expect("a count");
                let repeat = text(send, "repeat").repeat(usize::try_from(count).expect("fits"));
                bench.feed(
                    format!("{}{repeat}{}", text(send, "prefix"), text(send, "suffix")).as_bytes(),
                );
            }
            (_, None) => panic!("{id} sends nothing"),
        }
        let output = bench.replies();
        let got = replies(&output);
        let expected = row.get("expect").and_then(Value::as_array).expect("a list");
        let mut good = id == "reply-wait" || got.len() == expected.len();
        for (reply, pattern) in got.iter().zip(expected) {
            let pattern = Regex::new(pattern.as_str().expect("a pattern")).expect("a regex");
            good &= pattern.is_match(reply);
        }
        for line in output.lines() {
            let class = line.as_bytes()[0];
            good &= line.len() <= 510;
            if let Some(status) = status.captures(line) {
                good &= status[1].as_bytes()[0] == class;
            }
        }
        // The session is alive, or it was closed with 421 or 5xx (or by QUIT).
        if bench.closing.is_some() {
            good &= got
                .last()
                .is_some_and(|last| last.starts_with(['5', '4']) || id == "quit");
        } else if !matches!(text(row, "state"), "data") && id != "starttls-inject" {
            bench.feed(b"NOOP\r\n");
            let alive = bench.replies();
            good &= alive.starts_with("250 ");
        }
        if good {
            passed += 1;
        } else if text(row, "level") == "must" {
            missed.push(format!("{id}: {output}"));
        } else {
            println!("{} row {id}: {output}", text(row, "level"));
        }
    }
    assert!(missed.is_empty(), "{missed:#?}");
    println!("smtp-conformance: {passed} of {} rows", rows.len());
}

#[test]
fn smtp_smuggling_inbound() {
    let Some(rows) = rows("smtp-smuggling") else {
        return;
    };
    for row in rows
        .iter()
        .filter(|row| text(row, "direction") == "inbound")
    {
        let id = text(row, "id");
        let mut bench = Bench::new(Config {
            relay: vec!["0.0.0.0/0".parse().expect("a network")],
            ..Config::default()
        });
        reach(&mut bench, "data");
        let fake = text(row, "seq");
        bench.feed(format!("Subject: x\r\n\r\nbody{fake}MAIL FROM:<smuggled@example.com>\r\nRCPT TO:<b@example.com>\r\nDATA\r\nSubject: y\r\n\r\ny\r\n.\r\n").as_bytes());
        let output = bench.replies();
        if text(row, "level") == "info" {
            println!(
                "info row {id}: {} messages, {output:?}",
                bench.messages.len()
            );
            continue;
        }
        assert_eq!(bench.messages.len(), 1, "{id}: {output}");
        assert_eq!(replies(&output).len(), 1, "{id}: {output}");
        let message = &bench.messages[0];
        for (at, byte) in message.iter().enumerate() {
            match byte {
                b'\r' => assert_eq!(message.get(at + 1), Some(&b'\n'), "{id}: lone CR"),
                b'\n' => assert_eq!(
                    message.get(at.wrapping_sub(1)),
                    Some(&b'\r'),
                    "{id}: lone LF"
                ),
                _ => {}
            }
        }
    }
}

#[test]
fn smtp_smuggling_outbound() {
    let Some(rows) = rows("smtp-smuggling") else {
        return;
    };
    for row in rows
        .iter()
        .filter(|row| text(row, "direction") == "outbound")
    {
        let body = format!(
            "Subject: x\r\n\r\nbody{}MAIL FROM:<smuggled@example.com>\r\n",
            text(row, "seq")
        );
        let mut wire = Vec::new();
        let mut encoder = crate::content::Encoder::new();
        encoder.encode(body.as_bytes(), &mut wire);
        encoder.finish(&mut wire);
        let wire = String::from_utf8(wire).expect("UTF-8");
        let lines: Vec<&str> = wire.split("\r\n").collect();
        let id = text(row, "id");
        assert!(
            lines.iter().all(|line| !line.contains(['\r', '\n'])),
            "{id}: {wire:?}"
        );
        let dots: Vec<usize> = (0..lines.len()).filter(|at| lines[*at] == ".").collect();
        assert_eq!(dots, [lines.len() - 2], "{id}: {wire:?}");
    }
}
