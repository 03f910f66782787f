//! Stop and reload under traffic.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "it drives real programs; a failed expectation is a failed test"
)]

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use angarium_tests::bundle::Bundle;
use angarium_tests::client::Client;
use angarium_tests::server::Server;
use angarium_tests::sink::{Behaviour, Sink, Stage};
use angarium_tests::wait;
use rustix::process::Signal;

const CONTENT: &[u8] = b"Subject: hello\r\n\r\nHello!\r\n";

/// A connect script that shows its version in the greeting.
fn greeting(version: &str) -> String {
    format!("Accept([\"reason\" => \"relay.example {version}\"]);\n")
}

/// What a new connection is greeted with.
fn version(address: SocketAddr) -> String {
    let mut client = Client::connect(address).expect("a greeting of 220");
    let text = client.greeting.text.clone();
    client.command("QUIT").expect("a reply to QUIT");
    text
}

fn wait_version(address: SocketAddr, expected: &str) -> bool {
    wait::until_true(wait::SOON, || version(address).ends_with(expected))
}

#[test]
fn a_hundred_reloads_under_twenty_sessions_give_no_client_an_error() {
    let sink = Sink::start();
    let mut bundle = Bundle::relay(sink.port());
    bundle.hook("connect", &greeting("v0"));
    bundle.hook("rcptto", "Accept([\"transportid\" => \"sink\"]);\n");
    let mut server = Server::start(&bundle);
    let stop = AtomicBool::new(false);
    let sent = AtomicUsize::new(0);
    let errors = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for session in 0..20 {
            let (stop, sent, errors, address) = (&stop, &sent, &errors, bundle.address);
            // Some sessions live through many reloads, some are short.
            let length = [5, 50, usize::MAX][session % 3];
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    if let Err(error) = one_session(address, length, stop, sent) {
                        errors.lock().unwrap().push(error);
                    }
                }
            });
        }
        for number in 1..=100 {
            let before = sent.load(Ordering::Relaxed);
            bundle.write(
                "src/hooks/connect/default.hsl",
                &greeting(&format!("v{number}")),
            );
            server.signal(Signal::HUP);
            if !wait_version(bundle.address, &format!(" v{number}")) {
                errors
                    .lock()
                    .unwrap()
                    .push(format!("version {number} never came"));
                break;
            }
            // The sessions are busy between any two reloads.
            wait::until_true(wait::SOON, || sent.load(Ordering::Relaxed) >= before + 20);
        }
        stop.store(true, Ordering::Relaxed);
    });
    let errors = errors.into_inner().unwrap();
    let sent = sent.into_inner();
    println!(
        "reloads without an error at any client: {} of 100",
        100 - errors.len().min(100)
    );
    assert!(errors.is_empty(), "{errors:?}");
    assert!(sent >= 2000, "only {sent} messages were sent");
    assert!(
        sink.wait_for(sent, Duration::from_secs(120)),
        "{} of {sent} arrived",
        sink.count()
    );
    assert!(server.stop().success());
    assert_eq!(sink.count(), sent);
}

fn one_session(
    address: SocketAddr,
    length: usize,
    stop: &AtomicBool,
    sent: &AtomicUsize,
) -> Result<(), String> {
    let mut client = Client::connect(address).map_err(|error| format!("connect: {error}"))?;
    let reply = client
        .command("EHLO client.example")
        .map_err(|error| format!("EHLO: {error}"))?;
    if reply.code != 250 {
        return Err(reply.text);
    }
    for _ in 0..length {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let reply = client
            .send("from@example.net", "to@example.com", CONTENT)
            .map_err(|error| format!("message: {error}"))?;
        if reply.code != 250 {
            return Err(reply.text);
        }
        sent.fetch_add(1, Ordering::Relaxed);
    }
    let reply = client
        .command("QUIT")
        .map_err(|error| format!("QUIT: {error}"))?;
    if reply.code == 221 {
        Ok(())
    } else {
        Err(reply.text)
    }
}

#[test]
fn a_broken_script_is_named_with_its_place_and_the_old_one_stays() {
    let sink = Sink::start();
    let mut bundle = Bundle::relay(sink.port());
    bundle.hook("connect", &greeting("good"));
    let server = Server::start(&bundle);
    let mut before = Client::connect(server.address).unwrap();
    bundle.write(
        "src/hooks/connect/default.hsl",
        "// first line\n\n  Accept( ;\n",
    );
    server.signal(Signal::HUP);
    let line = server.wait_log(&["src/hooks/connect/default.hsl:3:"]);
    let place = line.split("default.hsl:3:").nth(1).unwrap();
    assert!(
        place.starts_with(|c: char| c.is_ascii_digit()),
        "a column: {line}"
    );
    assert!(
        version(server.address).ends_with(" good"),
        "the old script stays"
    );
    assert_eq!(before.command("NOOP").unwrap().code, 250);

    bundle.write("src/hooks/connect/default.hsl", &greeting("mended"));
    server.signal(Signal::HUP);
    assert!(
        wait_version(server.address, " mended"),
        "the next reload takes the mended one"
    );
}

#[test]
fn a_broken_configuration_is_named_with_its_key_and_the_old_one_stays() {
    let sink = Sink::start();
    let mut bundle = Bundle::relay(sink.port());
    bundle.hook("connect", &greeting("good"));
    let server = Server::start(&bundle);
    bundle.hook("connect", &greeting("unused"));
    bundle.server()["timeot"] = serde_json::json!({ "idle": 1 });
    bundle.save();
    server.signal(Signal::HUP);
    server.wait_log(&["timeot"]);
    assert!(
        version(server.address).ends_with(" good"),
        "all or nothing: the new script is not taken"
    );
    bundle.server().as_object_mut().unwrap().remove("timeot");
    bundle.save();
    server.signal(Signal::HUP);
    assert!(wait_version(server.address, " unused"));
}

#[test]
fn a_reload_changes_settings_for_new_connections() {
    let sink = Sink::start();
    let mut bundle = Bundle::relay(sink.port());
    let server = Server::start(&bundle);
    let mut old = Client::connect(server.address).unwrap();
    bundle.server()["hostname"] = serde_json::json!("renamed.example");
    bundle.server()["phases"]["data"]["maxsize"] = serde_json::json!(1000);
    bundle.save();
    server.signal(Signal::HUP);
    let new = wait::until(wait::SOON, || {
        let mut client = Client::connect(server.address).ok()?;
        client
            .greeting
            .text
            .contains("renamed.example")
            .then(|| client.command("EHLO me").unwrap())
    });
    assert!(new.expect("the new name").text.contains("SIZE 1000"));
    let ehlo = old.command("EHLO me").unwrap();
    assert!(
        !ehlo.text.contains("renamed.example"),
        "an open session keeps its settings: {}",
        ehlo.text
    );
}

#[test]
fn a_graceful_stop_loses_nothing_and_tells_idle_sessions() {
    let sink = Sink::start();
    let bundle = Bundle::relay(sink.port());
    let mut server = Server::start(&bundle);
    let mut idle: Vec<Client> = (0..5)
        .map(|_| Client::connect(server.address).unwrap())
        .collect();
    for client in &mut idle {
        assert_eq!(client.command("EHLO client.example").unwrap().code, 250);
    }
    let answered = Mutex::new(Vec::new());
    let surprises = Mutex::new(Vec::new());
    let status = std::thread::scope(|scope| {
        for session in 0..20 {
            let (answered, surprises, address) = (&answered, &surprises, server.address);
            scope.spawn(move || {
                let Ok(mut client) = Client::connect(address) else {
                    return;
                };
                for number in 0.. {
                    let to = format!("s{session}.n{number}@example.com");
                    match client.send("from@example.net", &to, CONTENT) {
                        Ok(reply) if reply.code == 250 => answered.lock().unwrap().push(to),
                        Ok(reply) if reply.code == 421 => return,
                        Ok(reply) => return surprises.lock().unwrap().push(reply.text),
                        // The 421 met a command that was under way.
                        Err(_) => return,
                    }
                }
            });
        }
        wait::until_true(wait::SOON, || answered.lock().unwrap().len() > 200);
        server.stop()
    });
    assert!(status.success(), "the server ends with {status}");
    for client in &mut idle {
        assert_eq!(client.reply().expect("a last reply").code, 421);
        assert!(client.is_closed());
    }
    assert_eq!(surprises.into_inner().unwrap(), [""; 0]);
    // What was still in the queue goes out after the next start.
    let mut server = Server::start(&bundle);
    let answered = answered.into_inner().unwrap();
    assert!(
        wait::until_true(Duration::from_secs(60), || sink.with_messages(|messages| {
            let arrived: HashSet<&String> =
                messages.iter().flat_map(|message| &message.to).collect();
            answered.iter().all(|to| arrived.contains(to))
        })),
        "{} answered, {} arrived",
        answered.len(),
        sink.count()
    );
    println!(
        "arrived after a graceful stop: {} of {}",
        answered.len(),
        answered.len()
    );
    assert_eq!(
        sink.count(),
        answered.len(),
        "a graceful stop makes no duplicates"
    );
    server.stop();
}

#[test]
fn a_second_signal_stops_at_once() {
    let sink = Sink::behaving(Behaviour::Hang(Stage::End));
    let bundle = Bundle::relay(sink.port());
    let mut server = Server::start(&bundle);
    let mut client = Client::connect(server.address).unwrap();
    let reply = client
        .send("from@example.net", "to@example.com", CONTENT)
        .unwrap();
    assert_eq!(reply.code, 250);
    assert!(
        wait::until_true(wait::SOON, || sink.misdeeds() > 0),
        "an attempt hangs"
    );
    server.signal(Signal::TERM);
    assert!(
        wait::until_true(wait::SOON, || Client::connect(server.address).is_err()),
        "nobody is let in any more"
    );
    assert!(server.is_running(), "the attempt may finish");
    let second = Instant::now();
    server.signal(Signal::TERM);
    server.wait_end(Duration::from_secs(10));
    assert!(second.elapsed() < Duration::from_secs(10));
    sink.behave(Behaviour::Accept);
    let _server = Server::start(&bundle);
    assert!(sink.wait_for(1, wait::SOON), "the message is still there");
}
