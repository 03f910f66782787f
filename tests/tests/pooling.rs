//! Connections that are kept for the next message: counted at a real sink.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "it drives real programs; a failed expectation is a failed test"
)]

use std::time::Duration;

use angarium_tests::bundle::Bundle;
use angarium_tests::client::Client;
use angarium_tests::server::Server;
use angarium_tests::sink::{Behaviour, Sink, Stage};
use angarium_tests::wait;
use rustix::process::Signal;
use serde_json::{Value, json};

const CONTENT: &[u8] =
    b"From: <a@example.net>\r\nMessage-ID: <one@example.net>\r\nSubject: hello\r\n\r\nHello!\r\n";

/// A relay that delivers one message at a time, with these settings by destination.
fn relay(sink: &Sink, delivery: Value) -> Bundle {
    let mut bundle = Bundle::relay(sink.port());
    bundle.running["queues"] = json!({ "concurrency": { "total": 1 } });
    bundle.save();
    settings(&bundle, delivery);
    bundle
}

fn settings(bundle: &Bundle, delivery: Value) {
    let file = json!({ "version": "6.0", "delivery": delivery });
    bundle.write("src/config/smtpd-delivery.yaml", &format!("{file:#}"));
}

/// Sends so many messages and waits until the sink has them all.
fn send(server: &Server, sink: &Sink, count: usize) {
    let before = sink.count();
    let mut client = Client::connect(server.address).unwrap();
    for number in 0..count {
        let to = format!("b{number}@example.com");
        let reply = client.send("a@example.net", &to, CONTENT).unwrap();
        assert_eq!(reply.code, 250, "{}", reply.text);
    }
    assert!(
        sink.wait_for(before + count, Duration::from_secs(60)),
        "{} of {count} arrived",
        sink.count() - before
    );
}

#[test]
fn kept_connections_carry_many_messages_and_a_reload_changes_how_many() {
    const MESSAGES: usize = 60;
    let sink = Sink::start();
    let by_host = json!({ "remotemx": "127.0.0.1", "remoteip": ["127.0.0.0/8"] });
    let bundle = relay(
        &sink,
        json!({ "conditions": [{
            "if": by_host,
            "then": { "pooling": { "enabled": true, "transactions": 20 } },
        }] }),
    );
    let mut server = Server::start(&bundle);
    send(&server, &sink, MESSAGES);
    let kept = sink.connections();
    // One delivery at a time: three connections, each on one worker for all of them.
    assert_eq!(kept, MESSAGES / 20, "connections for {MESSAGES} messages");

    settings(
        &bundle,
        json!({ "default": { "pooling": { "enabled": false } } }),
    );
    server.signal(Signal::HUP);
    server.wait_log(&["reload file=", " ok"]);
    send(&server, &sink, MESSAGES);
    let alone = sink.connections() - kept;
    println!("{MESSAGES} messages: {kept} connections kept, {alone} not kept");
    assert_eq!(alone, MESSAGES);
    assert_eq!(sink.violations(), [""; 0]);
    assert!(server.stop().success());
}

#[test]
fn a_kept_connection_that_the_peer_closes_is_replaced_within_the_attempt() {
    let sink = Sink::start();
    let bundle = relay(
        &sink,
        json!({ "default": { "pooling": { "enabled": true } } }),
    );
    let mut server = Server::start(&bundle);
    send(&server, &sink, 3);
    assert_eq!(sink.connections(), 1);
    // From now on the sink closes whatever connection brings a message: the kept one, and then the
    // one that takes its place in the same attempt.
    sink.behave(Behaviour::Close(Stage::Mail));
    let mut client = Client::connect(server.address).unwrap();
    let reply = client.send("a@example.net", "c@example.com", CONTENT);
    assert_eq!(reply.unwrap().code, 250);
    server.wait_log(&["delivery ", "c@example.com", "retry=0", "result=QUEUE"]);
    assert_eq!(sink.connections(), 2);
    sink.behave(Behaviour::Accept);
    server.wait_log(&["delivery ", "c@example.com", "result=DELIVERED"]);
    assert_eq!(sink.count(), 4);
    assert!(server.stop().success());
    assert_eq!(sink.violations(), [""; 0]);
}

#[test]
fn a_wrong_delivery_file_is_refused_with_its_key_and_the_old_one_stays() {
    let sink = Sink::start();
    let bundle = relay(
        &sink,
        json!({ "default": { "pooling": { "enabled": true } } }),
    );
    let mut server = Server::start(&bundle);
    settings(
        &bundle,
        json!({ "conditions": [{ "then": { "pooling": { "enabled": "yes" } } }] }),
    );
    server.signal(Signal::HUP);
    server.wait_log(&["delivery.conditions[0].then.pooling.enabled"]);
    send(&server, &sink, 5);
    assert_eq!(sink.connections(), 1);
    assert!(server.stop().success());
}

#[test]
fn a_full_queue_refuses_mail_until_there_is_room() {
    let sink = Sink::behaving(Behaviour::Reply(Stage::Mail, "451 4.3.0 Not now"));
    let mut bundle = Bundle::relay(sink.port());
    bundle.startup["queues"] = json!({ "maxmessages": 3 });
    bundle.save();
    let mut server = Server::start(&bundle);
    let mut client = Client::connect(server.address).unwrap();
    assert_eq!(client.command("EHLO client.example").unwrap().code, 250);
    for number in 0..3 {
        let to = format!("b{number}@example.com");
        let reply = client.send("a@example.net", &to, CONTENT).unwrap();
        assert_eq!(reply.code, 250, "{}", reply.text);
    }
    // At once, not when the queue has looked at what it got.
    let refused = client.command("MAIL FROM:<a@example.net>").unwrap();
    assert_eq!(refused.code, 452, "{}", refused.text);
    assert!(refused.text.contains("4.3.1"), "{}", refused.text);
    sink.behave(Behaviour::Accept);
    assert!(sink.wait_for(3, wait::SOON));
    assert!(
        wait::until_true(wait::SOON, || {
            let reply = client.send("a@example.net", "b@example.com", CONTENT);
            reply.unwrap().code == 250
        }),
        "there is room again"
    );
    assert!(sink.wait_for(4, wait::SOON));
    assert!(server.stop().success());
}
