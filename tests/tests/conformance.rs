//! The conformance suites of SMTP over a real socket.
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
use angarium_tests::corpus;
use angarium_tests::server::Server;
use angarium_tests::sink::Sink;
use regex::Regex;
use serde_json::{Value, json};

/// The rows of a suite, or `None` with a printed reason.
fn rows(suite: &str) -> Option<Vec<Value>> {
    let path = corpus::suites_folder()?.join(suite).join("cases.jsonl");
    let text = std::fs::read_to_string(&path).expect("the suite is readable");
    Some(
        text.lines()
            .map(|line| serde_json::from_str(line).expect("a row is JSON"))
            .collect(),
    )
}

fn text<'a>(row: &'a Value, key: &str) -> &'a str {
    row[key].as_str().unwrap_or_default()
}

/// Everybody may send to everywhere; all that can be announced in clear is, DSN by a script; waiting is short.
fn open_relay(sink: u16) -> Bundle {
    let mut bundle = Bundle::relay(sink);
    bundle.hook(
        "helo",
        "Accept([\"extensions\" => [...$arguments[\"extensions\"] ?? [], \"DSN\"]]);\n",
    );
    bundle.hook("rcptto", "Accept([\"transportid\" => \"sink\"]);\n");
    bundle.hook("auth", "Reject();\n");
    bundle.server()["phases"]["auth"]["tls"] = json!(false);
    bundle.server()["extensions"] = json!({ "chunking": true, "mtpriority": true, "limits": true });
    bundle.server()["timeout"] = json!({ "idle": 2, "command": 2 });
    bundle.save();
    bundle
}

/// Brings a session to the state of a row; gives what EHLO announced.
fn reach(client: &mut Client, state: &str) -> String {
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
        other => panic!("unknown state {other}"),
    };
    let mut announced = String::new();
    for step in steps {
        let reply = client.command(step).unwrap();
        assert!(reply.code < 400, "{step}: {}", reply.text);
        if step.starts_with("EHLO") {
            announced = reply.text;
        }
    }
    announced
}

/// What a row sends; `None` for rows that describe what to do.
fn bytes(row: &Value) -> Option<Vec<u8>> {
    let send = &row["send"];
    if matches!(text(row, "id"), "idle" | "slow" | "reply-wait") {
        return None;
    }
    match (send.as_str(), send["count"].as_u64()) {
        (Some(text), _) => Some(text.as_bytes().to_vec()),
        (None, Some(count)) => {
            let repeat = text(send, "repeat").repeat(usize::try_from(count).unwrap());
            Some(format!("{}{repeat}{}", text(send, "prefix"), text(send, "suffix")).into_bytes())
        }
        (None, None) => None,
    }
}

#[test]
fn smtp_conformance_over_a_socket() {
    let Some(rows) = rows("smtp-conformance") else {
        return;
    };
    let sink = Sink::start();
    let bundle = open_relay(sink.port());
    let server = Server::start(&bundle);
    let (mut passed, mut counted, mut missed) = (0, 0, Vec::new());
    for row in &rows {
        let (id, state) = (text(row, "id"), text(row, "state"));
        // Without a certificate there is no STARTTLS here, and rows of an extension count where it is announced.
        if state == "tls" {
            continue;
        }
        let mut client = Client::connect(server.address).unwrap();
        let announced = reach(&mut client, state);
        let needs = [
            ("3030", "CHUNKING"),
            ("3207", "STARTTLS"),
            ("CVE-2011-0411", "STARTTLS"),
            ("4954", "AUTH"),
        ];
        let missing = needs
            .iter()
            .any(|(rfc, name)| text(row, "ref").contains(rfc) && !announced.contains(name));
        if missing && !matches!(state, "greet" | "connect") {
            continue;
        }
        counted += 1;
        match (id, bytes(row)) {
            (_, Some(bytes)) => client.write(&bytes).unwrap(),
            ("slow", None) => {
                // A byte now and then keeps no session open.
                for _ in 0..50 {
                    std::thread::sleep(Duration::from_millis(100));
                    if client.write(b"N").is_err() {
                        break;
                    }
                }
            }
            ("reply-wait", None) => client
                .write(b"EHLO c\r\nNOOP\r\nFOO\r\nMAIL FROM:<>\r\n")
                .unwrap(),
            (_, None) => {}
        }
        let patterns = row["expect"].as_array().unwrap();
        let replies: Vec<String> = patterns
            .iter()
            .map(|_| {
                client
                    .reply()
                    .map_or_else(|error| format!("{error}"), |reply| reply.text)
            })
            .collect();
        let matches = |(reply, pattern): (&String, &Value)| {
            // A closed connection may take the reply with it where the pattern allows none.
            let pattern = pattern.as_str().unwrap();
            Regex::new(pattern).unwrap().is_match(reply)
                || (pattern.contains("|$") && client_gone(reply))
        };
        let mut good = replies.iter().zip(patterns).all(matches);
        let closing = ["idle", "slow", "quit"].contains(&id);
        if !closing && state != "data" && id != "reply-wait" {
            let alive = client.command("NOOP");
            good &= alive.as_ref().is_ok_and(|reply| reply.code == 250)
                || replies.last().is_some_and(|reply| reply.starts_with("421"));
        }
        if good {
            passed += 1;
        } else if text(row, "level") == "must" {
            missed.push(format!("{id}: {replies:?}"));
        } else {
            println!("{} row {id}: {replies:?}", text(row, "level"));
        }
    }
    println!("smtp-conformance over a socket: {passed} of {counted}");
    assert!(missed.is_empty(), "{missed:#?}");
}

/// Whether the text is the error of a connection that is closed.
fn client_gone(text: &str) -> bool {
    !text.starts_with(|c: char| c.is_ascii_digit())
}

/// Whether the one message was accepted; there is no second answer.
fn one_answer(client: &mut Client, id: &str) -> bool {
    let reply = client.reply().unwrap();
    let said = &reply.text;
    assert!(reply.code == 250 || reply.code >= 500, "{id}: {said}");
    if let Ok(reply) = client.command("QUIT") {
        assert_eq!(reply.code, 221, "{id}: more than one reply");
    }
    reply.code == 250
}

#[test]
fn smuggling_over_a_socket() {
    let Some(rows) = rows("smtp-smuggling") else {
        return;
    };
    let sink = Sink::start();
    let bundle = open_relay(sink.port());
    let server = Server::start(&bundle);
    let mut accepted = 0;
    let mut counted = 0;
    let second = "MAIL FROM:<smuggled@example.net>\r\nRCPT TO:<victim@example.com>\r\nDATA\r\nSubject: y\r\n\r\ny\r\n";
    // A row of level info is a true end of data behind a lone CR: what follows are commands.
    let must = |row: &&Value| text(row, "direction") == "inbound" && text(row, "level") != "info";
    for row in rows.iter().filter(must) {
        let id = text(row, "id");
        let mut client = Client::connect(server.address).unwrap();
        reach(&mut client, "data");
        client
            .write(format!("Subject: x\r\n\r\nbody{}", text(row, "seq")).as_bytes())
            .unwrap();
        client.write(format!("{second}.\r\n").as_bytes()).unwrap();
        counted += 1;
        accepted += usize::from(one_answer(&mut client, id));
        // The same in a chunk, where a line of one dot is no end at all.
        for fake in [text(row, "seq"), "\r\n.\r\n", "\n.\n"] {
            let mut client = Client::connect(server.address).unwrap();
            reach(&mut client, "rcpt");
            let body = format!("Subject: x\r\n\r\nbody{fake}{second}");
            let chunk = format!("BDAT {} LAST\r\n{body}", body.len());
            client.write(chunk.as_bytes()).unwrap();
            counted += 1;
            accepted += usize::from(one_answer(&mut client, id));
        }
    }
    assert!(sink.wait_for(accepted, Duration::from_secs(30)));
    let senders = sink.messages().into_iter().map(|message| message.from);
    let smuggled = senders.filter(|from| from.starts_with("smuggled")).count();
    println!(
        "smtp-smuggling over a socket: {} of {counted}",
        counted - smuggled
    );
    assert_eq!((smuggled, sink.count()), (0, accepted));
    assert_eq!(sink.violations(), [""; 0]);
}
