//! Notifications that other systems wrote, from the suites `dsn` and `dsn-sisimai`: what our reader
//! finds in them, compared with tables and with Python's `email`.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "tests stop and report this way, and read their data"
)]

use angarium_mail::dsn::{Action, Group, StatusReport, read};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

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

/// The messages of a folder, by name.
fn messages(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found: Vec<(String, Vec<u8>)> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            let extension = path.extension().unwrap_or_default();
            ["eml", "msg", "txt"]
                .iter()
                .any(|known| extension == *known)
        })
        .map(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, fs::read(&path).unwrap())
        })
        .collect();
    found.sort();
    found
}

fn found(message: &[u8]) -> Option<StatusReport> {
    read(message).unwrap()
}

fn addresses(report: &StatusReport, want: impl Fn(&Group) -> bool) -> BTreeSet<String> {
    let groups = report.recipients.iter().filter(|group| want(group));
    groups
        .flat_map(|group| {
            let names = ["Original-Recipient", "Final-Recipient"];
            names.into_iter().find_map(|name| group.address(name))
        })
        .map(|address| address.to_ascii_lowercase())
        .collect()
}

#[test]
fn the_recipients_of_the_table_are_found() {
    let Some(folder) = suite("dsn") else { return };
    let table = fs::read_to_string(folder.join("flufl-expected.jsonl")).unwrap();
    let (mut good, mut all) = (0, 0);
    for line in table.lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        // The other rows are about texts in the thirty forms that came before the standard.
        if row["detector"] != "dsn" {
            continue;
        }
        all += 1;
        let file = row["file"].as_str().unwrap();
        let message = fs::read(folder.join("flufl").join(file)).unwrap();
        let Some(report) = found(&message) else {
            println!("{file}: no notification");
            continue;
        };
        let want: BTreeSet<String> = row["addresses"]
            .as_array()
            .unwrap()
            .iter()
            .map(|address| address.as_str().unwrap().to_ascii_lowercase())
            .collect();
        let action = match row["temporary"].as_bool().unwrap() {
            true => Action::Delayed,
            false => Action::Failed,
        };
        let got = addresses(&report, |group| group.action() == Some(action));
        if got == want {
            good += 1;
        } else {
            println!("{file}: {got:?}, the table says {want:?}");
        }
    }
    println!("recipients in the table of flufl.bounce: {good} of {all}");
    assert!(all >= 4);
}

const EMAIL: &str = r#"
import email, email.policy, json, re, sys
answers = []
for name in json.load(sys.stdin):
    m = email.message_from_binary_file(open(name, "rb"), policy=email.policy.compat32)
    groups = None
    def walk(part):
        # What lies inside a message that is attached or returned is no part of this one.
        global groups
        kind = part.get_content_type()
        if groups is None and kind in ("message/delivery-status", "message/global-delivery-status"):
            groups = [[[k, re.sub(r"\r?\n", "", v).strip()] for k, v in g.items()] for g in part.get_payload()]
        elif kind.startswith("multipart/") and part.is_multipart():
            for p in part.get_payload(): walk(p)
    walk(m)
    answers.append(None if groups is None else [g for g in groups if g])
print(json.dumps(answers))
"#;

/// The fields of a group.
type Fields = Vec<(String, String)>;

#[test]
fn pythons_email_finds_the_same_fields() {
    let folders = [
        ("dsn", "flufl"),
        ("dsn", "bounceparser"),
        ("dsn-sisimai", "."),
    ];
    let mut files = Vec::new();
    for (name, below) in folders {
        let Some(folder) = suite(name) else { return };
        let folder = folder.join(below);
        for (file, message) in messages(&folder) {
            files.push((folder.join(file).to_string_lossy().into_owned(), message));
        }
    }
    let names: Vec<&String> = files.iter().map(|(name, _)| name).collect();
    let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let child = Command::new(python)
        .args(["-c", EMAIL])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else {
        println!("skipped: python3 is not installed");
        return;
    };
    let list = serde_json::to_vec(&names).unwrap();
    child.stdin.take().unwrap().write_all(&list).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let answers: Vec<Option<Vec<Fields>>> = serde_json::from_slice(&output.stdout).unwrap();
    let (mut good, mut reports, mut nothing) = (0, 0, 0);
    for ((name, message), theirs) in files.iter().zip(answers) {
        let ours = found(message);
        let Some(theirs) = theirs.filter(|groups| !groups.is_empty()) else {
            if ours.is_none_or(|report| report.recipients.is_empty()) {
                nothing += 1;
            } else {
                println!("{name}: a notification to us alone");
                let says = b"message/delivery-status";
                assert!(message.windows(says.len()).any(|bytes| bytes == says));
            }
            continue;
        };
        reports += 1;
        let Some(ours) = ours else {
            println!("{name}: not found");
            continue;
        };
        let all = std::iter::once(&ours.message).chain(&ours.recipients);
        let ours: Vec<Fields> = all
            .map(|group| group.fields.clone())
            .filter(|fields| !fields.is_empty())
            .collect();
        if ours == theirs {
            good += 1;
        } else {
            println!("{name}:\n ours   {ours:?}\n theirs {theirs:?}");
        }
    }
    println!("notifications as Python's email reads them: {good} of {reports}");
    println!(
        "no notification to either: {nothing} of {}",
        files.len() - reports
    );
}

#[test]
fn each_recipient_of_a_report_has_an_action_and_a_status() {
    let Some(folder) = suite("dsn-sisimai") else {
        return;
    };
    let (mut good, mut all) = (0, 0);
    for (name, message) in messages(&folder) {
        let Some(report) = found(&message) else {
            continue;
        };
        all += 1;
        let complete = |group: &Group| {
            group.address("Final-Recipient").is_some()
                && group.action().is_some()
                && group.status().is_some()
        };
        if !report.recipients.is_empty() && report.recipients.iter().all(complete) {
            good += 1;
        } else {
            println!("{name}: {:?}", report.recipients);
        }
    }
    println!("reports with recipient, action and status: {good} of {all}");
    assert!(all >= 40);
}
