//! `angarium spool check` and `spool export` on the spool of a server that was stopped.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "it drives real programs on real files; a failed expectation is a failed test"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use angarium_tests::bundle::Bundle;
use angarium_tests::client::Client;
use angarium_tests::program::angarium;
use angarium_tests::server::Server;
use angarium_tests::sink::{Behaviour, Sink, Stage};
use serde_json::{Value, json};

/// Adds a field, so that the queue keeps edits beside the message as it was received.
const EOD: &str = r#"
$mail = $arguments["mail"];
$mail->addHeader("X-Added", "yes");
foreach ($transaction["recipients"] as $recipient)
    $mail->queue($transaction["senderaddress"], $recipient["address"], $recipient["transportid"],
        ["metadata" => ["colour" => "blue"], "jobid" => "job", "dsn" => ["notify" => "never"]]);
Accept();
"#;

fn small(number: usize) -> String {
    format!("Subject: {number}\r\n\r\nmessage {number}\r\n")
}

fn large() -> String {
    format!("Subject: large\r\n\r\n{}", "0123456789\r\n".repeat(40_000))
}

/// A spool with three small messages and one that has a file of its own.
fn spool() -> Bundle {
    let later = Sink::behaving(Behaviour::Reply(Stage::Rcpt, "450 4.2.0 Later"));
    let mut bundle = Bundle::relay(later.port());
    bundle.transports()["retry"] = json!({ "count": 3, "intervals": [{ "interval": 3600 }] });
    bundle.hook("eod", EOD);
    let mut server = Server::start(&bundle);
    for number in 0..4 {
        let mut client = Client::connect(server.address).unwrap();
        let content = if number == 3 { large() } else { small(number) };
        let reply = client
            .send(
                "a@example.net",
                &format!("{number}@example.com"),
                content.as_bytes(),
            )
            .unwrap();
        assert_eq!(reply.code, 250, "{}", reply.text);
        server.wait_log(&["delivery", &format!("{number}@example.com"), "result=QUEUE"]);
    }
    let running = run(&["spool", "check", folder(&bundle)]);
    assert_eq!(running.status.code(), Some(1));
    let said = String::from_utf8_lossy(&running.stderr).into_owned();
    assert!(
        said.contains("is locked: another server uses this spool"),
        "{said}"
    );
    assert_eq!(server.stop().code(), Some(0));
    bundle
}

fn folder(bundle: &Bundle) -> &str {
    bundle.path().to_str().unwrap()
}

fn run(arguments: &[&str]) -> Output {
    Command::new(angarium()).args(arguments).output().unwrap()
}

/// The output of a command that works.
fn good(arguments: &[&str]) -> Vec<u8> {
    let output = run(arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    output.stdout
}

fn report(arguments: &[&str], status: i32) -> Value {
    let output = run(arguments);
    assert_eq!(output.status.code(), Some(status));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect();
    found.sort();
    found
}

#[test]
fn a_stopped_spool_is_checked_and_taken_out() {
    let bundle = spool();
    let whole = report(&["spool", "check", folder(&bundle), "--json", "--list"], 0);
    assert_eq!(whole["items"], 4);
    assert_eq!(whole["bodies"], 4);
    assert_eq!(whole["problems"], json!([]));
    let list = whole["list"].as_array().unwrap();
    let mut recipients: Vec<&str> = list
        .iter()
        .map(|item| item["recipient"].as_str().unwrap())
        .collect();
    recipients.sort_unstable();
    assert_eq!(recipients[0], "0@example.com");
    for item in list {
        assert_eq!(item["metadata"], json!({ "colour": "blue" }));
        assert_eq!((&item["retry"], &item["jobid"]), (&json!(1), &json!("job")));
        assert_eq!(item["dsn"], json!({ "notify": "NEVER" }));
        assert_eq!(item["retryreason"], "450 4.2.0 Later");
    }
    let text = String::from_utf8(good(&["spool", "check", folder(&bundle), "-l"])).unwrap();
    assert!(text.contains(" DEFER retry=1 "), "{text}");
    assert!(
        text.contains("4 to deliver, 0 of them on hold; 4 bodies"),
        "{text}"
    );
    assert!(text.ends_with("everything can be read\n"), "{text}");

    let out = bundle.path().join("out");
    let path = bundle.path().join("spool/queue");
    let target = ["--path", path.to_str().unwrap()];
    good(&[
        "spool",
        "export",
        target[0],
        target[1],
        "--to",
        out.to_str().unwrap(),
    ]);
    let messages = files(&out, "eml");
    assert_eq!((messages.len(), files(&out, "json").len()), (4, 4));
    let mut seen = 0;
    for path in &messages {
        let envelope: Value =
            serde_json::from_slice(&fs::read(path.with_extension("json")).unwrap()).unwrap();
        let number = envelope["recipient"].as_str().unwrap().as_bytes()[0] - b'0';
        let original = if number == 3 {
            large()
        } else {
            small(number.into())
        };
        let message = String::from_utf8(fs::read(path).unwrap()).unwrap();
        assert!(
            message.starts_with("X-Added: yes\r\nReceived: "),
            "{number}"
        );
        assert!(message.ends_with(&original), "{number}");
        assert_eq!(envelope["size"], message.len());
        // One of them alone, on standard output, and as it came.
        let id = format!(
            "{}:{}",
            envelope["id"]["transaction"].as_str().unwrap(),
            envelope["id"]["queue"]
        );
        assert!(good(&["spool", "export", folder(&bundle), "--id", &id]) == message.as_bytes());
        let transaction = id.split(':').next().unwrap();
        let plain = good(&[
            "spool",
            "export",
            folder(&bundle),
            "--id",
            transaction,
            "--original",
        ]);
        assert!(plain.starts_with(b"Received: ") && message.as_bytes().ends_with(&plain));
        seen += 1;
    }
    assert_eq!(seen, 4);

    let nobody = run(&["spool", "export", folder(&bundle), "--id", "nobody"]);
    assert_eq!(nobody.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&nobody.stderr).contains("there is no message nobody in"));
    assert_eq!(
        run(&["spool", "export", folder(&bundle)]).status.code(),
        Some(2)
    );
    // It was only looked at: the next start has everything.
    let after = report(&["spool", "check", folder(&bundle), "--json", "--list"], 0);
    assert_eq!(after, whole);
    let mut server = Server::start(&bundle);
    assert_eq!(server.stop().code(), Some(0));
    assert_eq!(
        report(&["spool", "check", folder(&bundle), "--json"], 0)["items"],
        4
    );
}

#[test]
fn what_is_damaged_is_named_and_the_rest_is_taken_out() {
    let bundle = spool();
    // A byte of a small message, and one of the large message's file.
    let queue = bundle.path().join("spool/queue");
    let mut hit = 0;
    for segment in files(&queue.join("log"), "seg") {
        let mut bytes = fs::read(&segment).unwrap();
        let text = b"message 1\r\n";
        if let Some(at) = bytes.windows(text.len()).position(|found| found == text) {
            bytes[at] ^= 1;
            fs::write(&segment, &bytes).unwrap();
            hit += 1;
        }
    }
    assert_eq!(hit, 1);
    let body = fs::read_dir(queue.join("bodies"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let mut bytes = fs::read(&body).unwrap();
    let last = bytes.len() - 5;
    bytes[last] ^= 1;
    fs::write(&body, &bytes).unwrap();

    let found = report(&["spool", "check", folder(&bundle), "--json"], 1);
    let problems = found["problems"].as_array().unwrap();
    let says = |part: &str| {
        problems
            .iter()
            .any(|problem| problem.as_str().unwrap().contains(part))
    };
    assert!(says(".seg is damaged from byte"), "{problems:?}");
    assert!(
        says(body.file_name().unwrap().to_str().unwrap()),
        "{problems:?}"
    );

    let out = bundle.path().join("out");
    let export = run(&[
        "spool",
        "export",
        folder(&bundle),
        "--to",
        out.to_str().unwrap(),
    ]);
    assert_eq!(export.status.code(), Some(1));
    let said = String::from_utf8_lossy(&export.stderr).into_owned();
    assert!(said.contains("damaged: "), "{said}");
    assert_eq!(files(&out, "eml").len(), 2, "{said}");
    assert_eq!(files(&out, "new").len(), 0);
    let again = report(&["spool", "check", folder(&bundle), "--json"], 1);
    assert_eq!(
        again["problems"], found["problems"],
        "nothing was mended or removed"
    );
}

#[test]
fn a_folder_that_is_no_bundle_is_told_of_the_option_for_a_spool() {
    let bundle = spool();
    let queue = bundle.path().join("spool/queue");
    let queue = queue.to_str().unwrap();
    let refused = run(&["spool", "check", queue]);
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    let hint = "is no bundle, there is no folder src/config in it; --path names the folder of a spool itself";
    assert!(said.contains(&format!("{queue} {hint}")), "{said}");
    // What the hint says is so.
    let by_path = report(&["spool", "check", "--path", queue, "--json"], 0);
    assert_eq!(
        by_path,
        report(&["spool", "check", folder(&bundle), "--json"], 0)
    );
}
