//! Destinations that hang, refuse, close in the middle or answer garbage: nothing accepted is lost.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "it drives real programs; a failed expectation is a failed test"
)]

use std::time::Duration;

use angarium_tests::bundle::{Bundle, free_address};
use angarium_tests::client::Client;
use angarium_tests::server::Server;
use angarium_tests::sink::{Behaviour, Sink, Stage};
use angarium_tests::wait;
use serde_json::json;

const CONTENT: &[u8] =
    b"From: <a@example.net>\r\nMessage-ID: <one@example.net>\r\nSubject: hello\r\n\r\nHello!\r\n";

/// A relay whose recipients name their transport: `t3@example.com` goes to the third port.
fn relay_to(ports: &[u16]) -> Bundle {
    let mut bundle = Bundle::relay(1);
    let transports: Vec<_> = ports
        .iter()
        .enumerate()
        .map(|(number, port)| {
            json!({
                "id": format!("t{number}"),
                "connection": { "server": "127.0.0.1", "port": port, "timeout": 2 },
            })
        })
        .collect();
    let states = [
        "BANNER", "EHLO", "HELO", "MAIL", "RCPT", "DATA", "EOD", "RSET", "QUIT",
    ];
    let timeouts: serde_json::Map<_, _> = states
        .map(|state| (state.to_owned(), json!(2)))
        .into_iter()
        .collect();
    bundle.transports()["transports"] = json!(transports);
    bundle.transports()["session"] = json!({ "timeout": timeouts });
    bundle.server()["transport"] = json!("t0");
    bundle.hook(
        "rcptto",
        "Accept([\"transportid\" => $arguments[\"address\"][\"localpart\"]]);\n",
    );
    bundle
}

fn send(server: &Server, to: &str) {
    let mut client = Client::connect(server.address).unwrap();
    let reply = client.send("from@example.net", to, CONTENT).unwrap();
    assert_eq!(reply.code, 250, "{}", reply.text);
}

#[test]
fn a_misbehaving_destination_gets_the_message_once_it_behaves() {
    use Behaviour::{Close, Flood, Garbage, Hang, Reply};
    use Stage::{Banner, Content, Data, Ehlo, End, Mail, Rcpt};
    let mut evils = Vec::new();
    for stage in [Banner, Ehlo, Mail, Rcpt, Data, End] {
        evils.extend([Hang(stage), Close(stage), Garbage(stage), Flood(stage)]);
    }
    evils.push(Close(Content));
    evils.push(Reply(Banner, "421 4.3.2 Not now"));
    for stage in [Mail, Rcpt, Data, End] {
        evils.push(Reply(stage, "451 4.3.0 Not now"));
        evils.push(Reply(stage, "421 4.3.2 Going down"));
    }

    let sinks: Vec<Sink> = evils.iter().map(|evil| Sink::behaving(*evil)).collect();
    let ports: Vec<u16> = sinks.iter().map(Sink::port).collect();
    let bundle = relay_to(&ports);
    let mut server = Server::start(&bundle);
    for number in 0..sinks.len() {
        send(&server, &format!("t{number}@example.com"));
    }
    let mut missed = Vec::new();
    for (number, sink) in sinks.iter().enumerate() {
        let evil = evils[number];
        if !wait::until_true(wait::SOON, || sink.misdeeds() > 0) {
            missed.push(format!("{evil:?}: no attempt"));
            continue;
        }
        let line = server.wait_log(&["delivery ", &format!("t{number}@example.com"), "result="]);
        if !line.contains("result=QUEUE") {
            missed.push(format!("{evil:?}: {line}"));
        }
        sink.behave(Behaviour::Accept);
    }
    for (sink, evil) in sinks.iter().zip(&evils) {
        if !sink.wait_for(1, wait::SOON) {
            missed.push(format!("{evil:?}: never arrived"));
        }
        assert!(sink.with_messages(|messages| {
            messages
                .iter()
                .all(|message| message.content.ends_with(CONTENT))
        }));
        if sink.violations() != [""; 0] {
            missed.push(format!("{evil:?}: {:?}", sink.violations()));
        }
    }
    println!(
        "misbehaving destinations: {} of {}",
        evils.len() - missed.len(),
        evils.len()
    );
    assert!(missed.is_empty(), "{}", missed.join("\n"));
    assert!(server.stop().success());
    for (sink, evil) in sinks.iter().zip(&evils) {
        assert_eq!(sink.count(), 1, "{evil:?}: more than one copy");
    }
}

#[test]
fn a_destination_that_refuses_connections_gets_the_message_once_it_listens() {
    let address = free_address();
    let bundle = relay_to(&[address.port()]);
    let server = Server::start(&bundle);
    send(&server, "t0@example.com");
    let line = server.wait_log(&["delivery ", "t0@example.com", "result=QUEUE"]);
    assert!(line.to_lowercase().contains("refused"), "{line}");
    let sink = Sink::listen(address, Behaviour::Accept);
    assert!(sink.wait_for(1, wait::SOON));
}

#[test]
fn a_permanent_refusal_at_any_stage_comes_back_as_a_notification() {
    let stages = [Stage::Mail, Stage::Rcpt, Stage::Data, Stage::End];
    let sinks: Vec<Sink> = stages
        .iter()
        .map(|stage| Sink::behaving(Behaviour::Reply(*stage, "550 5.7.1 We do not want this")))
        .collect();
    let notifications = Sink::start();
    let mut ports: Vec<u16> = sinks.iter().map(Sink::port).collect();
    ports.push(notifications.port());
    let mut bundle = relay_to(&ports);
    bundle.transports()["dsn"] = json!({ "transport": format!("t{}", stages.len()) });
    bundle.save();
    let mut server = Server::start(&bundle);
    for number in 0..stages.len() {
        send(&server, &format!("t{number}@example.com"));
    }
    assert!(notifications.wait_for(stages.len(), Duration::from_secs(30)));
    assert!(server.stop().success());
    let mut found: Vec<String> = Vec::new();
    for message in notifications.messages() {
        assert_eq!(
            (message.from.as_str(), message.to.as_slice()),
            ("", &["from@example.net".to_owned()][..])
        );
        let text = String::from_utf8_lossy(&message.content).into_owned();
        for part in [
            "multipart/report",
            "Auto-Submitted: auto-replied",
            "In-Reply-To: <one@example.net>",
            "Action: failed",
            "Status: 5.7.1",
            "Diagnostic-Code: smtp; 550 5.7.1 We do not want this",
        ] {
            assert!(text.contains(part), "no {part:?} in\n{text}");
        }
        let recipient = text.split("Final-Recipient: rfc822; ").nth(1).unwrap();
        found.push(recipient.lines().next().unwrap().to_owned());
    }
    found.sort();
    let expected: Vec<String> = (0..stages.len())
        .map(|number| format!("t{number}@example.com"))
        .collect();
    assert_eq!(found, expected);
    assert!(sinks.iter().all(|sink| sink.count() == 0));
    assert_eq!(notifications.violations(), [""; 0]);
}
