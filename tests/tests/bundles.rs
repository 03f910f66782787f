//! The bundles of `examples` at work, with real clients.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "it drives real programs; a failed expectation is a failed test"
)]

use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use angarium_tests::bundle::Bundle;
use angarium_tests::client::Client;
use angarium_tests::program;
use angarium_tests::server::{self, Server};
use angarium_tests::sink::{Behaviour, Message, Sink, Stage};

fn run(program: &str, arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("an installed program starts");
    // It may end without reading everything.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

/// Sends as the READMEs of the bundles do.
fn curl(server: &Server, from: &str, to: &str, message: &str) -> Output {
    let url = format!("smtp://{}", server.address);
    run(
        "curl",
        &[
            "-sS",
            "-v",
            &url,
            "--mail-from",
            from,
            "--mail-rcpt",
            to,
            "--crlf",
            "-T",
            "-",
        ],
        message,
    )
}

fn text(message: &Message) -> String {
    String::from_utf8_lossy(&message.content).into_owned()
}

/// The reply to RCPT, or to whatever was refused before.
fn envelope(server: &Server, from: &str, to: &str) -> String {
    let mut client = Client::connect(server.address).unwrap();
    client.command("EHLO client.example").unwrap();
    let mail = client.command(&format!("MAIL FROM:<{from}>")).unwrap();
    if mail.code != 250 {
        return mail.text;
    }
    client.command(&format!("RCPT TO:<{to}>")).unwrap().text
}

#[test]
fn all_bundles_pass_the_check() {
    for name in ["quickstart", "filtering-relay", "authentication"] {
        let bundle = Bundle::example(name, 2526);
        let output = server::run(&["serve", "--check", bundle.path().to_str().unwrap()]);
        assert!(
            output.status.success(),
            "{name}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

#[test]
fn quickstart_takes_mail_for_its_domains_and_adds_its_field() {
    if !program::installed("curl") {
        return;
    }
    let sink = Sink::start();
    let bundle = Bundle::example("quickstart", sink.port());
    let mut server = Server::start(&bundle);
    let output = curl(
        &server,
        "me@example.net",
        "you@example.com",
        "Subject: hello\n\nHello!\n",
    );
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(sink.wait_for(1, Duration::from_secs(30)));
    let message = &sink.messages()[0];
    assert_eq!(message.from, "me@example.net");
    assert_eq!(message.to, ["you@example.com"]);
    let content = text(message);
    assert!(content.ends_with("\r\n\r\nHello!\r\n"), "{content}");
    let header = content.split("\r\n\r\n").next().unwrap();
    assert!(
        header
            .lines()
            .any(|line| line.starts_with("Received: from ")),
        "{content}"
    );
    let seen: Vec<&str> = header
        .lines()
        .filter_map(|line| line.strip_prefix("X-Quickstart: seen "))
        .collect();
    assert_eq!(seen.len(), 1, "{content}");
    // The script's own line in the log.
    server.wait_log(&["queued for 1 recipient(s)"]);
    assert!(server.stop().success());
}

#[test]
fn quickstart_decides_at_each_step() {
    let sink = Sink::start();
    let bundle = Bundle::example("quickstart", sink.port());
    let server = Server::start(&bundle);
    let reply = envelope(&server, "me@somewhere.invalid", "you@example.com");
    assert!(reply.starts_with("550 5.1.8 Nobody lives there"), "{reply}");
    let reply = envelope(&server, "me@example.net", "YOU@EXAMPLE.ORG");
    assert!(reply.starts_with("250 2.1.5"), "{reply}");
    let mut client = Client::connect(server.address).unwrap();
    let reply = client.command("EHLO client.example").unwrap();
    assert!(reply.text.contains("SIZE 26214400"), "{}", reply.text);
    let reply = client
        .command("MAIL FROM:<me@example.net> SIZE=26214401")
        .unwrap();
    assert_eq!(reply.code, 552, "{}", reply.text);
}

#[test]
fn filtering_relay_looks_recipients_up_in_a_table() {
    if !program::installed("swaks") {
        return;
    }
    let sink = Sink::start();
    let bundle = Bundle::example("filtering-relay", sink.port());
    let server = Server::start(&bundle);
    let swaks = |to: &str| {
        let port = server.address.port().to_string();
        let arguments = [
            "--server",
            "127.0.0.1",
            "--port",
            &port,
            "--helo",
            "client.example",
            "--from",
            "me@example.net",
            "--to",
            to,
        ];
        let output = run("swaks", &arguments, "");
        (
            output.status.success(),
            String::from_utf8_lossy(&output.stdout).into_owned(),
        )
    };
    for to in [
        "alice@example.com",
        "BOB@example.com",
        "anything@lists.example.com",
        "anything@LISTS.example.com",
    ] {
        let (sent, dialogue) = swaks(to);
        assert!(sent, "{dialogue}");
    }
    for to in [
        "nobody@example.com",
        "alice@example.net",
        "alice@sub.lists.example.com",
    ] {
        let (sent, dialogue) = swaks(to);
        assert!(
            !sent && dialogue.contains("550 5.1.1 No such user here"),
            "{dialogue}"
        );
    }
    assert!(sink.wait_for(4, Duration::from_secs(30)));
    assert_eq!(sink.count(), 4);
}

#[test]
fn filtering_relay_marks_what_it_lets_through_and_refuses_words() {
    if !program::installed("curl") {
        return;
    }
    let sink = Sink::start();
    let bundle = Bundle::example("filtering-relay", sink.port());
    let server = Server::start(&bundle);
    let output = curl(
        &server,
        "me@example.net",
        "alice@example.com",
        "X-Filtered-By: somebody else\nSubject: hello\n\nHello!\n",
    );
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    for subject in ["You won the Lottery", "=?utf-8?b?Y2FzaW5v?= night"] {
        let message = format!("Subject: {subject}\n\nHello!\n");
        let output = curl(&server, "me@example.net", "alice@example.com", &message);
        let dialogue = String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success() && dialogue.contains("550 5.7.1 We do not want this"),
            "{dialogue}"
        );
    }
    assert!(sink.wait_for(1, Duration::from_secs(30)));
    let content = text(&sink.messages()[0]);
    let marks: Vec<&str> = content
        .lines()
        .filter(|line| line.starts_with("X-Filtered-By:"))
        .collect();
    assert_eq!(marks, ["X-Filtered-By: filtering-relay"], "{content}");
    assert_eq!(sink.count(), 1);
}

#[test]
fn filtering_relay_limits_each_sender_over_all_sessions() {
    if !program::installed("python3") {
        return;
    }
    let sink = Sink::start();
    let bundle = Bundle::example("filtering-relay", sink.port());
    let server = Server::start(&bundle);
    let message = bundle.path().join("message");
    std::fs::write(&message, "Subject: hello\r\n\r\nHello!\r\n").unwrap();
    let window = || {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs()
            / 600
    };
    // Once more if a window ended in between: then the counting began anew.
    for turn in 0..3 {
        let begin = window();
        let manifest: String = (0..150)
            .map(|_| {
                format!(
                    "{}\tsender{turn}@example.net\tn{turn}@lists.example.com\n",
                    message.display()
                )
            })
            .collect();
        let port = server.address.port().to_string();
        let script = program::python_script("send.py");
        let output = run(
            program::python().to_str().unwrap(),
            &[script.to_str().unwrap(), "127.0.0.1", &port, "20", "10"],
            &manifest,
        );
        let replies = String::from_utf8(output.stdout).unwrap();
        let count = |start: &str| {
            replies
                .lines()
                .filter(|line| line.split_once('\t').unwrap().1.starts_with(start))
                .count()
        };
        let (taken, deferred) = (count("250\t"), count("450\t4.7.1 Too many messages"));
        assert_eq!(taken + deferred, 150, "{replies}");
        if window() != begin {
            continue;
        }
        assert_eq!(taken, 100);
        let reply = envelope(&server, "other@example.net", "alice@example.com");
        assert!(
            reply.starts_with("250"),
            "another sender is not concerned: {reply}"
        );
        let reply = envelope(&server, "", "alice@example.com");
        assert!(reply.starts_with("250"), "bounces are not counted: {reply}");
        return;
    }
    panic!("three windows ended");
}

#[test]
fn filtering_relay_shortens_the_first_retry_after_a_450() {
    let sink = Sink::behaving(Behaviour::Reply(Stage::Rcpt, "450 4.2.0 Greylisted"));
    let bundle = Bundle::example("filtering-relay", sink.port());
    let server = Server::start(&bundle);
    let mut client = Client::connect(server.address).unwrap();
    let send = |client: &mut Client, to: &str| {
        let reply = client
            .send("me@example.net", to, b"Subject: hello\r\n\r\nHello!\r\n")
            .unwrap();
        assert_eq!(reply.code, 250, "{}", reply.text);
    };
    send(&mut client, "alice@example.com");
    let line = server.wait_log(&["delivery ", "alice@example.com", "result=QUEUE", "code=450"]);
    assert!(delay(&line) == 30.0, "{line}");
    // Any other temporary refusal waits as the table says.
    sink.behave(Behaviour::Reply(Stage::Rcpt, "451 4.3.0 Not now"));
    send(&mut client, "bob@example.com");
    let line = server.wait_log(&["delivery ", "bob@example.com", "result=QUEUE", "code=451"]);
    assert!(delay(&line) == 60.0, "{line}");
}

fn delay(line: &str) -> f64 {
    let value = line
        .split(" delay=")
        .nth(1)
        .and_then(|rest| rest.split_whitespace().next());
    value
        .and_then(|value| value.parse().ok())
        .unwrap_or(f64::NAN)
}

#[test]
fn filtering_relay_bounces_but_not_bulk_mail() {
    let store = Sink::behaving(Behaviour::Reply(Stage::Rcpt, "550 5.1.1 Gone"));
    let senders = Sink::start();
    let bundle = Bundle::example("filtering-relay", store.port());
    // Notifications go by MX in the example; here is no DNS.
    bundle.edit(
        "src/config/smtpd-app.yaml",
        "      - id: outbound\n",
        &format!(
            "      - id: outbound\n        connection:\n          server: 127.0.0.1\n          port: {}\n",
            senders.port()
        ),
    );
    let mut server = Server::start(&bundle);
    let mut client = Client::connect(server.address).unwrap();
    let bulk = b"List-Id: <news.example.net>\r\nSubject: news\r\n\r\nNews!\r\n";
    let personal = b"Subject: hello\r\nMessage-ID: <p@example.net>\r\n\r\nHello!\r\n";
    assert_eq!(
        client
            .send("bulk@example.net", "alice@example.com", bulk)
            .unwrap()
            .code,
        250
    );
    server.wait_log(&[
        "delivery ",
        "alice@example.com",
        "code=550",
        "result=DELETE",
    ]);
    assert_eq!(
        client
            .send("me@example.net", "bob@example.com", personal)
            .unwrap()
            .code,
        250
    );
    server.wait_log(&["delivery ", "bob@example.com", "code=550", "result=BOUNCE"]);
    assert!(senders.wait_for(1, Duration::from_secs(30)));
    assert!(server.stop().success());
    let messages = senders.messages();
    assert_eq!(messages.len(), 1);
    assert_eq!(
        (messages[0].from.as_str(), messages[0].to.as_slice()),
        ("", &["me@example.net".to_owned()][..])
    );
    let content = text(&messages[0]);
    assert!(
        content.contains("Final-Recipient: rfc822; bob@example.com"),
        "{content}"
    );
    assert!(
        content.contains("In-Reply-To: <p@example.net>"),
        "{content}"
    );
}
