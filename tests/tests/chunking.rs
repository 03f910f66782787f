//! Messages in chunks from server to server: a client sends by BDAT to one Angarium, that to another, and that to a peer
//! in Python, which counts every octet (RFC 3030).
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "it drives real programs; a failed expectation is a failed test"
)]

use std::io::{BufRead as _, BufReader, Lines};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use angarium_tests::bundle::Bundle;
use angarium_tests::client::Client;
use angarium_tests::program;
use angarium_tests::server::Server;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

/// The peer in Python.
struct Peer {
    program: Child,
    input: Option<ChildStdin>,
    lines: Lines<BufReader<ChildStdout>>,
    port: u16,
}

impl Peer {
    fn start(extensions: &[&str]) -> Peer {
        let mut program = Command::new(program::python())
            .arg(program::python_script("chunking_peer.py"))
            .args(extensions)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 starts");
        let input = program.stdin.take();
        let mut lines = BufReader::new(program.stdout.take().unwrap()).lines();
        let port = lines.next().unwrap().unwrap().parse().unwrap();
        Peer {
            program,
            input,
            lines,
            port,
        }
    }

    /// The next message.
    fn message(&mut self) -> (Value, Vec<u8>) {
        let line = self.lines.next().expect("a message").unwrap();
        let message: Value = serde_json::from_str(&line).unwrap();
        let content = message["content"].as_str();
        let content = content.unwrap_or_else(|| panic!("{message}"));
        let content = BASE64.decode(content).unwrap();
        (message, content)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.program.wait();
    }
}

/// A server that takes chunks and sends chunks to a port.
fn relay(port: u16) -> Bundle {
    let mut bundle = Bundle::relay(port);
    bundle.server()["extensions"] = json!({ "chunking": true, "binarymime": true });
    bundle.transports()["session"] = json!({ "chunking": true });
    bundle.save();
    bundle
}

/// What stands behind the fields that servers put on top.
fn original<'a>(content: &'a [u8], message: &[u8]) -> &'a [u8] {
    &content[content.len().saturating_sub(message.len())..]
}

fn send(server: &Server, mail: &str, message: &[u8], step: usize) {
    let mut client = Client::connect(server.address).unwrap();
    let say = |client: &mut Client, bytes: &[u8]| {
        client.write(bytes).unwrap();
        let reply = client.reply().unwrap();
        assert_eq!(reply.code, 250, "{}", reply.text);
    };
    say(&mut client, b"EHLO client.example\r\n");
    say(&mut client, format!("{mail}\r\n").as_bytes());
    say(&mut client, b"RCPT TO:<b@example.com>\r\n");
    for chunk in message.chunks(step) {
        let command = format!("BDAT {}\r\n", chunk.len());
        say(&mut client, &[command.as_bytes(), chunk].concat());
    }
    say(&mut client, b"BDAT 0 LAST\r\n");
}

#[test]
fn every_octet_passes_two_servers_of_ours_and_is_counted_by_another_program() {
    if !program::installed("python3") {
        return;
    }
    let all = ["PIPELINING", "CHUNKING", "BINARYMIME", "8BITMIME", "SIZE"];
    let stepwise = ["CHUNKING", "BINARYMIME", "8BITMIME"];
    for extensions in [&all[..], &stepwise[..]] {
        let mut peer = Peer::start(extensions);
        let second = relay(peer.port);
        let second_server = Server::start(&second);
        let first = relay(second_server.address.port());
        let server = Server::start(&first);

        let binary = b"\0\xff\r.\n.\r\n.\r\n\r\r\nQUIT\r\n".repeat(20_000);
        let binary = [b"Subject: bytes\r\n\r\n", &binary[..]].concat();
        send(
            &server,
            "MAIL FROM:<a@example.net> BODY=BINARYMIME",
            &binary,
            100_000,
        );
        let (told, content) = peer.message();
        let mail = told["mail"].as_str().unwrap();
        assert!(mail.contains(" BODY=BINARYMIME"), "{mail}");
        assert!(original(&content, &binary) == binary);
        let head = &content[..content.len() - binary.len()];
        let head = String::from_utf8(head.to_vec()).unwrap();
        assert_eq!(head.matches("Received:").count(), 2, "{head}");

        let text =
            "Subject: text\r\n\r\n.dot\r\n.\r\n..\r\n".to_owned() + &"j\u{e5}\r\n".repeat(50_000);
        let mail = "MAIL FROM:<a@example.net> BODY=8BITMIME";
        send(&server, mail, text.as_bytes(), 7000);
        let (told, content) = peer.message();
        let mail = told["mail"].as_str().unwrap();
        assert!(mail.contains(" BODY=8BITMIME"), "{mail}");
        assert!(original(&content, text.as_bytes()) == text.as_bytes());
        let ways = told["ways"].as_array().unwrap();
        let chunks = content.len().div_ceil(65_536);
        assert_eq!(ways.len(), chunks, "{ways:?}");
        assert_eq!(ways[0], "BDAT 65536");
    }
}

#[test]
fn a_binary_message_bounces_where_the_peer_takes_chunks_of_text_alone() {
    if !program::installed("python3") {
        return;
    }
    let mut peer = Peer::start(&["PIPELINING", "CHUNKING"]);
    let mut bundle = relay(peer.port);
    bundle.transports()["dsn"] = json!({ "transport": "sink" });
    bundle.save();
    let server = Server::start(&bundle);
    let mail = "MAIL FROM:<a@example.net> BODY=BINARYMIME";
    send(&server, mail, b"Subject: bytes\r\n\r\n\0secret", 10);
    let (told, content) = peer.message();
    assert_eq!(told["mail"], "MAIL FROM:<>");
    let notice = String::from_utf8(content).unwrap();
    assert!(notice.contains("Status: 5.6.3"), "{notice}");
    assert!(!notice.contains("secret"), "{notice}");
}
