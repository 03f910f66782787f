//! Real messages by real clients through the server to a sink: every byte arrives.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "it drives real programs; a failed expectation is a failed test"
)]

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use angarium_tests::bundle::Bundle;
use angarium_tests::corpus::{self, Sample};
use angarium_tests::program;
use angarium_tests::server::Server;
use angarium_tests::sink::Sink;

/// A script at every step, so that scripts are part of what is proved; none of them touches the message.
fn scripted(sink: u16) -> Bundle {
    let mut bundle = Bundle::relay(sink);
    bundle.hook("connect", "Accept();\n");
    bundle.hook("helo", "Accept();\n");
    bundle.hook("mailfrom", "Accept();\n");
    bundle.hook("rcptto", "Accept([\"transportid\" => \"sink\"]);\n");
    bundle.hook(
        "eod",
        "$mail = $arguments[\"mail\"];\n\
         foreach ($transaction[\"recipients\"] as $recipient)\n    \
         $mail->queue($transaction[\"senderaddress\"], $recipient[\"address\"], $recipient[\"transportid\"]);\n\
         Accept();\n",
    );
    bundle.hook("predelivery", "Try();\n");
    bundle.hook("postdelivery", "Default();\n");
    bundle
}

/// Sends all samples by smtplib, 20 sessions at a time, and compares what arrives.
fn relay(name: &str, samples: &[Sample]) {
    let sink = Sink::start();
    let bundle = scripted(sink.port());
    let mut server = Server::start(&bundle);
    let folder = bundle.path().join("messages");
    fs::create_dir(&folder).unwrap();
    let mut manifest = String::new();
    for (number, sample) in samples.iter().enumerate() {
        let path = folder.join(number.to_string());
        fs::write(&path, &sample.bytes).unwrap();
        writeln!(
            manifest,
            "{}\tfrom@example.net\tm{number}@example.com",
            path.display()
        )
        .unwrap();
    }
    let replies = send(&server, &manifest);
    assert_eq!(replies.len(), samples.len(), "an answer for each message");
    let mut problems = Vec::new();
    for (number, sample) in samples.iter().enumerate() {
        let reply = &replies[&format!("m{number}@example.com")];
        if !reply.starts_with("250\t") {
            problems.push(format!("{}: answered {reply}", sample.name));
        }
    }
    let accepted = samples.len() - problems.len();
    if !sink.wait_for(accepted, Duration::from_secs(120)) {
        problems.push(format!("{} of {accepted} arrived", sink.count()));
    }
    let status = server.stop();
    let mut arrived: HashMap<String, Vec<Vec<u8>>> = HashMap::new();
    for message in sink.messages() {
        assert_eq!(
            (message.from.as_str(), message.to.len()),
            ("from@example.net", 1)
        );
        arrived
            .entry(message.to.concat())
            .or_default()
            .push(message.content);
    }
    let mut good = 0;
    for (number, sample) in samples.iter().enumerate() {
        let expected = corpus::delivered(&corpus::smtplib_wire(&sample.bytes));
        match arrived
            .get(&format!("m{number}@example.com"))
            .map(Vec::as_slice)
        {
            None => problems.push(format!("{}: did not arrive", sample.name)),
            Some([content]) => match corpus::trace(content, &expected) {
                Ok(_) => good += 1,
                Err(why) => problems.push(format!("{}: {why}", sample.name)),
            },
            Some(copies) => {
                problems.push(format!("{}: arrived {} times", sample.name, copies.len()))
            }
        }
    }
    println!("{name}: {good} of {}", samples.len());
    assert!(
        problems.is_empty(),
        "{} problems:\n{}",
        problems.len(),
        problems.join("\n")
    );
    assert_eq!(sink.violations(), [""; 0], "what went out is clean SMTP");
    assert!(status.success(), "the server ends with {status}");
}

/// Runs `send.py` and returns code and text by recipient.
fn send(server: &Server, manifest: &str) -> HashMap<String, String> {
    let mut child = Command::new(program::python())
        .arg(program::python_script("send.py"))
        .args(["127.0.0.1", &server.address.port().to_string(), "20", "25"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 starts");
    let mut input = child.stdin.take().unwrap();
    input.write_all(manifest.as_bytes()).unwrap();
    drop(input);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .filter_map(|line| line.split_once('\t'))
        .map(|(recipient, reply)| (recipient.to_owned(), reply.to_owned()))
        .collect()
}

#[test]
fn every_message_of_the_suites_arrives_byte_for_byte() {
    let samples = corpus::suites();
    if samples.is_empty() || !program::installed("python3") {
        return;
    }
    assert!(
        samples.len() > 350,
        "only {} messages in the suites",
        samples.len()
    );
    relay("suite messages by smtplib", &samples);
}

#[test]
fn two_thousand_generated_messages_arrive_byte_for_byte() {
    if !program::installed("python3") {
        return;
    }
    relay(
        "generated messages by smtplib",
        &corpus::generated(2000, 20_250_101),
    );
}

#[test]
fn messages_by_swaks_arrive_byte_for_byte() {
    if !program::installed("swaks") {
        return;
    }
    let sink = Sink::start();
    let bundle = scripted(sink.port());
    let server = Server::start(&bundle);
    let samples = corpus::generated(60, 4);
    let samples = samples.iter().filter(|sample| sample.bytes.len() < 100_000);
    let mut expected = HashMap::new();
    for (number, sample) in samples.enumerate() {
        let wire = corpus::smtplib_wire(&sample.bytes);
        let path = bundle.path().join("message");
        // Without its own repairs swaks sends the file as it is, the last line included.
        fs::write(&path, [&wire, &b"."[..]].concat()).unwrap();
        let to = format!("m{number}@example.com");
        let output = swaks(&server, &to, &path);
        assert!(output.status.success(), "{}: {output:?}", sample.name);
        expected.insert(to, corpus::delivered(&wire));
    }
    assert!(sink.wait_for(expected.len(), Duration::from_secs(60)));
    let mut good = 0;
    for message in sink.messages() {
        let why = corpus::trace(&message.content, &expected[&message.to.concat()]);
        assert!(why.is_ok(), "{}: {why:?}", message.to.concat());
        good += 1;
    }
    println!("messages by swaks: {good} of {}", expected.len());
    assert_eq!(sink.violations(), [""; 0]);
}

fn swaks(server: &Server, to: &str, message: &Path) -> std::process::Output {
    Command::new("swaks")
        .args([
            "--server",
            "127.0.0.1",
            "--port",
            &server.address.port().to_string(),
        ])
        .args([
            "--helo",
            "client.example",
            "--from",
            "from@example.net",
            "--to",
            to,
        ])
        .args(["--no-data-fixup", "--suppress-data", "--data"])
        .arg(format!("@{}", message.display()))
        .stdin(Stdio::null())
        .output()
        .expect("swaks starts")
}

#[test]
fn twenty_sessions_of_smtp_source_all_arrive() {
    if !program::installed("smtp-source") {
        return;
    }
    let sink = Sink::start();
    let bundle = scripted(sink.port());
    let server = Server::start(&bundle);
    let output = Command::new("smtp-source")
        .args(["-s", "20", "-m", "500", "-l", "4096", "-N"])
        .args(["-f", "from@example.net", "-t", "to@example.com"])
        .arg(format!("127.0.0.1:{}", server.address.port()))
        .output()
        .expect("smtp-source starts");
    assert!(output.status.success(), "{output:?}");
    let arrived = sink.wait_for(500, Duration::from_secs(60));
    println!("messages by smtp-source: {} of 500", sink.count());
    assert!(arrived && sink.count() == 500);
    assert_eq!(sink.violations(), [""; 0]);
}
