//! `angarium try` from outside: each hook of the quickstart bundle, and what is wrong with the arguments.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "it starts real programs on real files"
)]

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use angarium_tests::program::angarium;

fn run(arguments: &[&str], folder: &Path) -> String {
    let output = Command::new(angarium())
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    // What differs from run to run and from machine to machine.
    let mut text = text;
    for (pattern, name) in [
        ("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "(id)"),
        (r"220 \S+ ESMTP", "220 (host) ESMTP"),
        (r"changed to \d+ bytes", "changed to (some) bytes"),
    ] {
        let pattern = regex::Regex::new(pattern).unwrap();
        text = pattern.replace_all(&text, name).into_owned();
    }
    // Fuel is measured elsewhere; here it must be there, and more than none.
    let lines = text
        .lines()
        .map(|line| match line.strip_prefix("fuel     ") {
            Some(fuel) => {
                assert!(fuel.parse::<u64>().unwrap() > 0, "{text}");
                "fuel     (some)"
            }
            None => line,
        });
    let lines: Vec<&str> = lines.collect();
    format!(
        "# {}: {}\n{}\n",
        arguments.join(" "),
        output.status.code().unwrap_or(-1),
        lines.join("\n")
    )
}

#[test]
fn each_hook_can_be_tried() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    assert!(run(&["init", "b"], here).contains(": 0\n"));
    fs::write(
        here.join("mail.eml"),
        "From: a@example.net\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\n\n.dot\nend\n",
    )
    .unwrap();
    let mut report = String::new();
    for arguments in [
        &["try", "connect", "b"][..],
        &[
            "try",
            "connect",
            "b",
            "--set",
            "connection.remoteip=192.0.2.7",
        ],
        &[
            "try",
            "connect",
            "b",
            "--set",
            "arguments.remoteip=192.0.2.7",
        ],
        &[
            "try",
            "helo",
            "b",
            "--set",
            "arguments.host=localhost",
            "--set",
            "connection.remoteip=203.0.113.9",
        ],
        &[
            "try",
            "mailfrom",
            "b",
            "--set",
            "arguments.sender=a@nowhere.invalid",
        ],
        &["try", "rcptto", "b"],
        &[
            "try",
            "rcptto",
            "b",
            "--set",
            "connection.remoteip=203.0.113.9",
            "--set",
            "arguments.recipient=you@elsewhere.example",
        ],
        &["try", "eod", "b", "--mail", "mail.eml"],
        &["try", "predelivery", "b"],
        &["try", "postdelivery", "b"],
        &[
            "try",
            "postdelivery",
            "b",
            "--set",
            "arguments.attempt.result.code=550",
        ],
        &["try", "disconnect", "b"],
        &["try", "auth", "b"],
        &["try", "nothing", "b"],
        &["try", "connect", "b", "--set", "arguments.remoteip=here"],
        &[
            "try",
            "connect",
            "b",
            "--set",
            "connection.remotip=192.0.2.7",
        ],
        &[
            "try",
            "connect",
            "b",
            "--set",
            "arguments.recipient=a@example.com",
        ],
        &["try", "rcptto", "b", "--set", "arguments.recipient=nobody"],
        &["try", "eod", "b", "--mail", "missing.eml"],
    ] {
        report.push_str(&run(arguments, here));
    }
    insta::assert_snapshot!(report);
}

#[test]
fn a_script_shows_what_it_sees_prints_and_queues() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    run(&["init", "b"], here);
    fs::write(
        here.join("b/src/hooks/eod/default.hsl"),
        "$mail = $arguments[\"mail\"];\n\
         echo $mail->getHeader(\"Subject\") . \" from \" . $transaction[\"sender\"];\n\
         echo $connection[\"auth\"];\n\
         $mail->queue($transaction[\"senderaddress\"], [\"localpart\" => \"x\", \"domain\" => \"example.org\"], \"outbound\", [\"hold\" => true]);\n\
         $mail->addHeader(\"X-A\", \"1\");\n\
         $mail->queue(\"\", \"y@example.org\", \"inbound\", [\"delay\" => 90]);\n\
         if ($context[\"no\"] ?? false) Defer(\"Later\");\n\
         Reject(\"Kept\", [\"disconnect\" => true]);\n",
    )
    .unwrap();
    fs::write(
        here.join("b/src/hooks/queue/postdelivery.hsl"),
        "echo $arguments[\"action\"] ?? \"none\";\necho $arguments[\"attempt\"][\"result\"][\"code\"];\n\
         if ($arguments[\"retry\"] > 1) Bounce();\nQueue([\"delay\" => 30]);\n",
    )
    .unwrap();
    let mut report = String::new();
    for arguments in [
        &[
            "try",
            "eod",
            "b",
            "--set",
            "connection.auth.username=joe",
            "--set",
            "transaction.sender=b@example.net",
        ][..],
        &["try", "eod", "b", "--set", "context={\"no\": true}"],
        &[
            "try",
            "postdelivery",
            "b",
            "--set",
            "arguments.attempt.result.code=451",
        ],
        &[
            "try",
            "postdelivery",
            "b",
            "--set",
            "arguments.attempt.result.code=451",
            "--set",
            "arguments.retry=2",
        ],
    ] {
        report.push_str(&run(arguments, here));
    }
    insta::assert_snapshot!(report);
}
