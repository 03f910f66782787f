//! What a client says of its message in MAIL and RCPT is said to the next server, whichever hook has passed it on: over sockets, to a
//! server that announces everything.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "it drives real programs; a failed expectation is a failed test"
)]

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use angarium_tests::bundle::Bundle;
use angarium_tests::client::Client;
use angarium_tests::server::Server;
use serde_json::json;

/// Tells MAIL and RCPT of each message.
fn converse(stream: TcpStream, tell: &Sender<[String; 2]>) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    stream.get_mut().write_all(b"220 peer.example\r\n")?;
    let (mut mail, mut rcpt, mut content) = (String::new(), String::new(), false);
    loop {
        let mut line = Vec::new();
        if stream.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        let reply = match line.get(..4).unwrap_or_default() {
            _ if content => {
                if line != "." {
                    continue;
                }
                content = false;
                let _ = tell.send([std::mem::take(&mut mail), std::mem::take(&mut rcpt)]);
                "250 2.0.0 ok"
            }
            "EHLO" => "250-peer.example\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 DSN",
            "MAIL" => {
                mail = line;
                "250 2.1.0 ok"
            }
            "RCPT" => {
                rcpt = line;
                "250 2.1.5 ok"
            }
            "DATA" => {
                content = true;
                "354 go on"
            }
            "QUIT" => return stream.get_mut().write_all(b"221 bye\r\n"),
            _ => "250 ok",
        };
        stream
            .get_mut()
            .write_all(format!("{reply}\r\n").as_bytes())?;
    }
}

fn peer() -> (u16, Receiver<[String; 2]>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (tell, told) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let tell = tell.clone();
            std::thread::spawn(move || converse(stream, &tell));
        }
    });
    (port, told)
}

const DSN: &str = r#"Accept(["extensions" => [...$arguments["extensions"] ?? [], "DSN"]]);"#;
const MAIL: &str = "MAIL FROM:<a@example.net> BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=e+2Bid";
const RCPT: &str = "RCPT TO:<b@example.com> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;orig@example.com";

/// Passes a message on by these scripts, and gives MAIL and RCPT as the peer hears them, parameters in the order of the alphabet.
fn passed_on(set: impl FnOnce(&mut Bundle)) -> [Vec<String>; 2] {
    let (port, told) = peer();
    let mut bundle = Bundle::relay(port);
    bundle.hook("helo", DSN);
    bundle.running["scripting"]["compat"] = json!(5);
    set(&mut bundle);
    bundle.save();
    let server = Server::start(&bundle);
    let mut client = Client::connect(server.address).unwrap();
    for (line, code) in [
        ("EHLO client.example", 250),
        (MAIL, 250),
        (RCPT, 250),
        ("DATA", 354),
        ("Subject: \u{e5}\r\n\r\n\u{e5}\r\n.", 250),
    ] {
        client.write(format!("{line}\r\n").as_bytes()).unwrap();
        let reply = client.reply().unwrap();
        assert_eq!(reply.code, code, "{line}: {}\n{}", reply.text, server.log());
    }
    let told = told.recv_timeout(Duration::from_secs(20));
    let told = told.unwrap_or_else(|_| panic!("nothing came: {}", server.log()));
    told.map(|line| {
        let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        if let Some(params) = words.get_mut(2..) {
            params.sort();
        }
        words.retain(|word| !word.starts_with("SIZE="));
        words
    })
}

fn words(line: &str) -> Vec<String> {
    line.split(' ').map(str::to_owned).collect()
}

fn rcpt() -> Vec<String> {
    words("RCPT TO:<b@example.com> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;orig@example.com")
}

#[test]
fn without_a_hook_they_are_those_of_the_client() {
    let [mail, rcpt] = passed_on(|_| {});
    assert_eq!(
        mail,
        words("MAIL FROM:<a@example.net> BODY=8BITMIME ENVID=e+2Bid RET=HDRS SMTPUTF8")
    );
    assert_eq!(rcpt, self::rcpt());
}

#[test]
fn the_hook_for_each_recipient_keeps_them_for_another_sender_too() {
    for deliver in ["Deliver();", "Deliver([\"queue\" => false]);"] {
        let [mail, rcpt] = passed_on(|bundle| {
            let script = format!("SetSender(\"c@example.net\"); {deliver}");
            bundle.hook("eod", &script);
            bundle.server()["phases"]["eod"]["perrecipient"] = json!(true);
        });
        assert_eq!(
            mail,
            words("MAIL FROM:<c@example.net> BODY=8BITMIME ENVID=e+2Bid RET=HDRS SMTPUTF8"),
            "{deliver}"
        );
        assert_eq!(rcpt, self::rcpt(), "{deliver}");
    }
}

#[test]
fn queue_keeps_what_is_said_of_the_content_and_takes_what_it_is_given_of_notifications() {
    let script = r#"
$dsn = ["envid" => "other", "ret" => "FULL", "notify" => "DELAY", "orcpt" => "rfc822;x@example.com"];
$arguments["mail"]->queue("c@example.net", "b@example.com", "sink", ["dsn" => $dsn]);
Accept();
"#;
    let [mail, rcpt] = passed_on(|bundle| bundle.hook("eod", script));
    assert_eq!(
        mail,
        words("MAIL FROM:<c@example.net> BODY=8BITMIME ENVID=other RET=FULL SMTPUTF8")
    );
    assert_eq!(
        rcpt,
        words("RCPT TO:<b@example.com> NOTIFY=DELAY ORCPT=rfc822;x@example.com")
    );
}

#[test]
fn what_setters_and_try_give_is_said_in_their_place() {
    let setters = r#"
SetSender("c@example.net"); SetSenderParams(["envid" => "set", "X-A" => "1"]);
SetRecipientParams(["NOTIFY" => "NEVER", "X-B" => ""]);
"#;
    let tried = r#"
Try(["sender" => ["localpart" => "c", "domain" => "example.net", "params" => ["ENVID" => "set", "x-a" => "1"]],
    "recipient" => ["localpart" => "b", "domain" => "example.com", "params" => ["notify" => "NEVER", "X-B" => ""]]]);
"#;
    for script in [setters, tried] {
        let [mail, rcpt] = passed_on(|bundle| bundle.hook("predelivery", script));
        // They take the place of the client's; what was asked for by DSN stays where they say nothing of it.
        assert_eq!(
            mail,
            words("MAIL FROM:<c@example.net> BODY=8BITMIME ENVID=set RET=HDRS X-A=1"),
            "{script}"
        );
        assert_eq!(
            rcpt,
            words("RCPT TO:<b@example.com> NOTIFY=NEVER ORCPT=rfc822;orig@example.com X-B"),
            "{script}"
        );
    }
}
