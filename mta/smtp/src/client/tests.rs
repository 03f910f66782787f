//! The client against scripted servers and against our own server machine.

use std::time::Duration;

use insta::assert_snapshot;
use proptest::prelude::*;

use super::*;
use crate::address::{Mailbox, ReversePath};
use crate::param::Params;
use crate::server;

/// What the scripted server does instead of a good reply.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    Temporary,
    Permanent,
    Shutdown,
    Close,
    Silence,
    Garbage,
}

const FAULTS: [Fault; 6] = [
    Fault::Temporary,
    Fault::Permanent,
    Fault::Shutdown,
    Fault::Close,
    Fault::Silence,
    Fault::Garbage,
];

/// A server in memory that answers each command, and the driver of the client.
struct Bench {
    client: Client,
    now: Duration,
    /// EHLO lines.
    announce: &'static str,
    /// Command prefix (`BANNER`, `EOD`) and what happens there.
    fault: Option<(&'static str, Fault)>,
    /// Replies to commands that are not the usual ones.
    replies: Vec<(&'static str, &'static str)>,
    transactions: Vec<Transaction>,
    message: Vec<u8>,
    /// What the client wrote.
    dialogue: String,
    content: Vec<u8>,
    done: Vec<String>,
    pending: Vec<u8>,
    in_data: bool,
    gone: bool,
    tls_ok: bool,
}

impl Bench {
    fn new(config: Config) -> Self {
        Self {
            client: Client::new(config, false, Duration::ZERO),
            now: Duration::ZERO,
            announce: "PIPELINING\nSIZE 1000\n8BITMIME\nSMTPUTF8\nDSN\nSTARTTLS\nAUTH PLAIN LOGIN",
            fault: None,
            replies: Vec::new(),
            transactions: vec![transaction(&["b@example.net"])],
            message: b"Subject: x\r\n\r\n.x\r\n".to_vec(),
            dialogue: String::new(),
            content: Vec::new(),
            done: Vec::new(),
            pending: Vec::new(),
            in_data: false,
            gone: false,
            tls_ok: true,
        }
    }

    /// Runs the connection to its end.
    fn run(&mut self) -> String {
        self.answer("BANNER", "220 mx.example ESMTP\r\n");
        for _ in 0..100 {
            while let Some(output) = self.client.poll() {
                self.output(output);
            }
            if self.client.is_closed() {
                return self.done.join("\n");
            }
            let written = self.client.requests().to_vec();
            self.client.written(written.len());
            if written.is_empty() || self.gone {
                let deadline = self.client.deadline().expect("something is due");
                self.now = self.now.max(deadline);
                self.client.handle(self.now, Input::Tick);
            }
            self.pending.extend_from_slice(&written);
            self.serve();
        }
        panic!("the dialogue does not end: {}", self.dialogue);
    }

    fn output(&mut self, output: Output) {
        match output {
            Output::StartTls if self.tls_ok => self.client.handle(self.now, Input::TlsDone),
            Output::StartTls => self
                .client
                .handle(self.now, Input::TlsFailed("bad certificate".to_owned())),
            Output::Ready => self.next(),
            Output::Content => {
                for piece in self.message.clone().chunks(7) {
                    self.client.handle(self.now, Input::Content(piece));
                }
                self.client.handle(self.now, Input::ContentEnd);
            }
            Output::Done(outcomes) => {
                self.done.extend(outcomes.iter().map(show));
                if self.client.is_reusable() {
                    self.next();
                }
            }
            Output::Failed {
                outcome,
                retry_in_clear,
            } => {
                let hint = if retry_in_clear {
                    " (retry in clear)"
                } else {
                    ""
                };
                self.done.push(format!("failed: {}{hint}", show(&outcome)));
            }
            Output::Close => {}
        }
    }

    fn next(&mut self) {
        let input = if self.transactions.is_empty() {
            Input::Quit
        } else {
            Input::Begin(Box::new(self.transactions.remove(0)))
        };
        self.client.handle(self.now, input);
    }

    /// Answers what the client has written.
    fn serve(&mut self) {
        while !self.gone {
            if self.in_data {
                let mut decoder = crate::content::Decoder::new();
                let mut content = Vec::new();
                let used = decoder.decode(&self.pending, &mut content);
                if !decoder.is_done() {
                    return;
                }
                self.pending.drain(..used);
                self.dialogue.push_str("(message)\n");
                self.content = content;
                self.in_data = false;
                self.answer("EOD", "250 2.0.0 queued\r\n");
                continue;
            }
            let Some(end) = self.pending.iter().position(|byte| *byte == b'\n') else {
                return;
            };
            let line: Vec<u8> = self.pending.drain(..=end).collect();
            let line = String::from_utf8(line).expect("UTF-8");
            let line = line.strip_suffix("\r\n").expect("CRLF").to_owned();
            self.dialogue.push_str(&format!("{line}\n"));
            let good = match line.split(' ').next() {
                Some("EHLO" | "LHLO") => {
                    let lines: String = self
                        .announce
                        .lines()
                        .map(|line| format!("250-{line}\r\n"))
                        .collect();
                    format!("250-mx.example\r\n{lines}250 HELP\r\n")
                }
                Some("STARTTLS") => {
                    self.announce = "PIPELINING\n8BITMIME";
                    "220 go\r\n".to_owned()
                }
                Some("AUTH") => "235 2.7.0 ok\r\n".to_owned(),
                Some("DATA") => "354 go\r\n".to_owned(),
                Some("QUIT") => "221 bye\r\n".to_owned(),
                _ => "250 ok\r\n".to_owned(),
            };
            let special = self
                .replies
                .iter()
                .find(|(start, _)| line.starts_with(start));
            let good = special.map_or(good, |(_, reply)| format!("{reply}\r\n"));
            self.in_data = good.starts_with("354") && line == "DATA" && !self.faulty("DATA");
            self.answer(&line, &good);
        }
    }

    fn faulty(&self, line: &str) -> bool {
        self.fault.is_some_and(|(at, _)| line.starts_with(at))
    }

    fn answer(&mut self, line: &str, good: &str) {
        let fault = self
            .fault
            .filter(|_| self.faulty(line))
            .map(|(_, fault)| fault);
        let text: &[u8] = match fault {
            None => good.as_bytes(),
            Some(Fault::Temporary) => b"450 4.2.0 busy\r\n",
            Some(Fault::Permanent) => b"550-5.7.1 no\r\n550 5.7.1 way\r\n",
            Some(Fault::Shutdown) => b"421 4.3.2 going down\r\n",
            Some(Fault::Garbage) => b"\x15\x03\x01\0\x02",
            Some(Fault::Silence) => {
                self.gone = true;
                return;
            }
            Some(Fault::Close) => {
                self.gone = true;
                return self.client.handle(self.now, Input::Gone(None));
            }
        };
        self.client.handle(self.now, Input::Bytes(text));
    }
}

fn transaction(recipients: &[&str]) -> Transaction {
    Transaction {
        sender: ReversePath::parse("a@example.com").expect("an address"),
        params: Params::default(),
        recipients: recipients
            .iter()
            .map(|address| Rcpt {
                address: Mailbox::parse(address).expect("an address"),
                params: Params::default(),
                dsn: DsnRcpt::default(),
            })
            .collect(),
        size: Some(17),
        eight_bit: false,
        utf8: false,
        dsn: DsnMail::default(),
    }
}

fn show(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Reply(reply) => {
            let enhanced = reply
                .enhanced
                .map(|status| format!(" {status}"))
                .unwrap_or_default();
            format!(
                "{} {}{enhanced} {:?}",
                reply.state.as_str(),
                reply.code,
                reply.reason
            )
        }
        Outcome::Error(failure) => {
            let time = if failure.temporary {
                "temporary"
            } else {
                "permanent"
            };
            format!("{} {time}: {}", failure.kind.as_str(), failure.message)
        }
    }
}

fn plain() -> Config {
    Config {
        helo: "me.example".to_owned(),
        tls: TlsMode::Disabled,
        ..Config::default()
    }
}

fn auth() -> Option<Credentials> {
    Some(Credentials {
        username: "user".to_owned(),
        password: "secret".to_owned(),
    })
}

#[test]
fn a_message_is_sent_in_one_write_and_arrives_unchanged() {
    let mut bench = Bench::new(plain());
    assert_snapshot!(bench.run(), @r#"EOD 250 2.0.0 ["queued"]"#);
    assert_snapshot!(bench.dialogue, @r"
    EHLO me.example
    MAIL FROM:<a@example.com> SIZE=17
    RCPT TO:<b@example.net>
    DATA
    (message)
    QUIT
    ");
    assert_eq!(bench.content, bench.message);
    assert_eq!(bench.client.greeting(), ["mx.example ESMTP"]);
}

#[test]
fn tls_and_auth_come_before_the_message() {
    let mut bench = Bench::new(Config {
        auth: auth(),
        tls: TlsMode::Required,
        ..plain()
    });
    bench.replies = vec![
        ("AUTH LOGIN", "334 VXNlcm5hbWU6"),
        ("dXNlcg==", "334 UGFzc3dvcmQ6"),
        ("c2VjcmV0", "235 ok"),
    ];
    bench.announce = "STARTTLS";
    // The list after the handshake has no AUTH.
    assert_snapshot!(bench.run(), @"failed: smtp temporary: no known AUTH mechanism is offered");

    let mut bench = Bench::new(Config {
        auth: auth(),
        ..plain()
    });
    assert!(bench.run().starts_with("EOD 250"));
    assert!(
        bench.dialogue.contains("AUTH PLAIN AHVzZXIAc2VjcmV0\n"),
        "{}",
        bench.dialogue
    );

    let mut bench = Bench::new(Config {
        auth: auth(),
        ..plain()
    });
    bench.announce = "AUTH LOGIN";
    bench.replies = vec![
        ("AUTH LOGIN", "334 VXNlcm5hbWU6"),
        ("dXNlcg==", "334 UGFzc3dvcmQ6"),
        ("c2VjcmV0", "235 ok"),
    ];
    assert!(bench.run().starts_with("EOD 250"), "{}", bench.dialogue);
}

#[test]
fn optional_tls_goes_on_in_clear_where_it_can() {
    let optional = || Config {
        tls: TlsMode::Optional,
        ..plain()
    };
    let mut bench = Bench::new(optional());
    assert!(bench.run().starts_with("EOD 250"));
    assert_eq!(
        bench.dialogue.matches("EHLO").count(),
        2,
        "it greets again under TLS"
    );

    let mut refused = Bench::new(optional());
    refused.replies = vec![("STARTTLS", "454 4.7.0 not now")];
    assert!(refused.run().starts_with("EOD 250"));

    let mut broken = Bench::new(optional());
    broken.tls_ok = false;
    assert_snapshot!(broken.run(), @"failed: tls temporary: TLS handshake failed: bad certificate (retry in clear)");

    let mut required = Bench::new(Config {
        tls: TlsMode::Required,
        ..plain()
    });
    required.announce = "PIPELINING";
    assert_snapshot!(required.run(), @"failed: tls temporary: STARTTLS is not offered");
}

#[test]
fn what_follows_the_reply_to_starttls_in_clear_is_dropped() {
    let mut client = Client::new(
        Config {
            tls: TlsMode::Required,
            ..plain()
        },
        false,
        Duration::ZERO,
    );
    let now = Duration::ZERO;
    client.handle(
        now,
        Input::Bytes(b"220 a\r\n250-a\r\n250 STARTTLS\r\n220 go\r\n250-evil\r\n250 AUTH PLAIN\r\n"),
    );
    // The replies came before their commands were written: the machine takes them in order.
    assert_eq!(client.poll(), Some(Output::StartTls));
    client.handle(now, Input::Bytes(b"250 evil\r\n"));
    client.handle(now, Input::TlsDone);
    assert_eq!(client.poll(), None);
    assert!(client.peer().auth.is_empty());
    assert!(
        client
            .requests()
            .ends_with(b"STARTTLS\r\nEHLO me.example\r\n")
    );
}

#[test]
fn helo_is_the_fallback_unless_extensions_are_needed() {
    let mut bench = Bench::new(plain());
    bench.replies = vec![("EHLO", "502 5.5.1 what")];
    assert!(bench.run().starts_with("EOD 250"));
    assert!(
        bench
            .dialogue
            .starts_with("EHLO me.example\nHELO me.example\nMAIL FROM:<a@example.com>\n")
    );

    let mut bench = Bench::new(Config {
        auth: auth(),
        ..plain()
    });
    bench.replies = vec![("EHLO", "502 5.5.1 what")];
    assert_snapshot!(bench.run(), @r#"failed: EHLO 502 5.5.1 ["what"]"#);
}

/// One line for every state and fault.
fn matrix(config: &Config) -> String {
    let mut table = String::new();
    for at in [
        "BANNER", "EHLO", "STARTTLS", "AUTH", "MAIL", "RCPT", "DATA", "EOD",
    ] {
        for fault in FAULTS {
            let mut bench = Bench::new(config.clone());
            bench.announce = "PIPELINING\nSTARTTLS\nAUTH PLAIN";
            bench.fault = Some((at, fault));
            let result = bench.run();
            if !(at == "STARTTLS" && config.tls == TlsMode::Disabled
                || at == "AUTH" && config.auth.is_none())
            {
                table.push_str(&format!("{at} {fault:?}: {result}\n"));
            }
        }
    }
    table
}

#[test]
fn every_state_meets_every_fault() {
    let config = Config {
        auth: auth(),
        ..plain()
    };
    assert_snapshot!(matrix(&config), @r#"
    BANNER Temporary: failed: BANNER 450 4.2.0 ["busy"]
    BANNER Permanent: failed: BANNER 550 5.7.1 ["no", "way"]
    BANNER Shutdown: failed: BANNER 421 4.3.2 ["going down"]
    BANNER Close: failed: network temporary: connection closed by the server before the banner
    BANNER Silence: failed: network temporary: timeout waiting for the banner
    BANNER Garbage: failed: protocol temporary: malformed reply line in answer to BANNER
    EHLO Temporary: failed: EHLO 450 4.2.0 ["busy"]
    EHLO Permanent: failed: EHLO 550 5.7.1 ["no", "way"]
    EHLO Shutdown: failed: EHLO 421 4.3.2 ["going down"]
    EHLO Close: failed: network temporary: connection closed by the server before the reply to EHLO
    EHLO Silence: failed: network temporary: timeout waiting for the reply to EHLO
    EHLO Garbage: failed: protocol temporary: malformed reply line in answer to EHLO
    AUTH Temporary: failed: AUTH-PLAIN 450 4.2.0 ["busy"]
    AUTH Permanent: failed: AUTH-PLAIN 550 5.7.1 ["no", "way"]
    AUTH Shutdown: failed: AUTH-PLAIN 421 4.3.2 ["going down"]
    AUTH Close: failed: network temporary: connection closed by the server before the reply to AUTH-PLAIN
    AUTH Silence: failed: network temporary: timeout waiting for the reply to AUTH-PLAIN
    AUTH Garbage: failed: protocol temporary: malformed reply line in answer to AUTH-PLAIN
    MAIL Temporary: MAIL 450 4.2.0 ["busy"]
    MAIL Permanent: MAIL 550 5.7.1 ["no", "way"]
    MAIL Shutdown: MAIL 421 4.3.2 ["going down"]
    MAIL Close: network temporary: connection closed by the server before the reply to MAIL
    MAIL Silence: network temporary: timeout waiting for the reply to MAIL
    MAIL Garbage: protocol temporary: malformed reply line in answer to MAIL
    RCPT Temporary: RCPT 450 4.2.0 ["busy"]
    RCPT Permanent: RCPT 550 5.7.1 ["no", "way"]
    RCPT Shutdown: RCPT 421 4.3.2 ["going down"]
    RCPT Close: network temporary: connection closed by the server before the reply to RCPT
    RCPT Silence: network temporary: timeout waiting for the reply to RCPT
    RCPT Garbage: protocol temporary: malformed reply line in answer to RCPT
    DATA Temporary: DATA 450 4.2.0 ["busy"]
    DATA Permanent: DATA 550 5.7.1 ["no", "way"]
    DATA Shutdown: DATA 421 4.3.2 ["going down"]
    DATA Close: network temporary: connection closed by the server before the reply to DATA
    DATA Silence: network temporary: timeout waiting for the reply to DATA
    DATA Garbage: protocol temporary: malformed reply line in answer to DATA
    EOD Temporary: EOD 450 4.2.0 ["busy"]
    EOD Permanent: EOD 550 5.7.1 ["no", "way"]
    EOD Shutdown: EOD 421 4.3.2 ["going down"]
    EOD Close: network temporary: connection closed by the server before the reply to EOD
    EOD Silence: network temporary: timeout waiting for the reply to EOD
    EOD Garbage: protocol temporary: malformed reply line in answer to EOD
    "#);
    let stepwise = Config {
        pipelining: false,
        ..config
    };
    assert_eq!(
        matrix(&stepwise),
        matrix(&Config {
            auth: auth(),
            ..plain()
        })
    );
    let tls = matrix(&Config {
        tls: TlsMode::Required,
        ..plain()
    });
    let starttls: Vec<&str> = tls
        .lines()
        .filter(|line| line.starts_with("STARTTLS"))
        .collect();
    assert_snapshot!(starttls.join("\n"), @r#"
    STARTTLS Temporary: failed: STARTTLS 450 4.2.0 ["busy"]
    STARTTLS Permanent: failed: STARTTLS 550 5.7.1 ["no", "way"]
    STARTTLS Shutdown: failed: STARTTLS 421 4.3.2 ["going down"]
    STARTTLS Close: failed: network temporary: connection closed by the server before the reply to STARTTLS
    STARTTLS Silence: failed: network temporary: timeout waiting for the reply to STARTTLS
    STARTTLS Garbage: failed: protocol temporary: malformed reply line in answer to STARTTLS
    "#);
}

#[test]
fn an_unwanted_354_gets_an_empty_message() {
    for (at, reply, first) in [
        ("MAIL", "550 5.7.1 no", "MAIL"),
        ("RCPT", "550 5.1.1 who", "RCPT"),
    ] {
        let mut bench = Bench::new(plain());
        bench.replies = vec![(at, reply)];
        bench.transactions.push(transaction(&["c@example.net"]));
        let result = bench.run();
        let lines: Vec<&str> = result.lines().collect();
        assert_eq!(lines.len(), 2);
        assert!(
            lines
                .iter()
                .all(|line| line.starts_with(&format!("{first} 550"))),
            "{result}"
        );
        assert!(bench.content.is_empty());
        assert_eq!(
            bench.dialogue.matches("(message)").count(),
            2,
            "{}",
            bench.dialogue
        );
    }
}

#[test]
fn a_failed_envelope_is_followed_by_rset_when_the_connection_is_used_again() {
    let mut bench = Bench::new(plain());
    bench.replies = vec![
        ("RCPT TO:<b@", "550 5.1.1 who"),
        ("DATA", "554 5.5.1 no valid recipients"),
    ];
    bench.transactions.push(transaction(&["c@example.net"]));
    // DATA is refused both times; the second recipient was good, so it gets that reply.
    assert_snapshot!(bench.run(), @r#"
    RCPT 550 5.1.1 ["who"]
    DATA 554 5.5.1 ["no valid recipients"]
    "#);
    assert_snapshot!(bench.dialogue, @r"
    EHLO me.example
    MAIL FROM:<a@example.com> SIZE=17
    RCPT TO:<b@example.net>
    DATA
    RSET
    MAIL FROM:<a@example.com> SIZE=17
    RCPT TO:<c@example.net>
    DATA
    QUIT
    ");
    for fault in FAULTS {
        let mut bench = Bench::new(plain());
        bench.replies = vec![("RCPT TO:<b@", "550 5.1.1 who"), ("DATA", "554 no")];
        bench.transactions.push(transaction(&["c@example.net"]));
        bench.fault = Some(("RSET", fault));
        let result = bench.run();
        let expected = match fault {
            Fault::Temporary => "RSET 450",
            Fault::Permanent => "RSET 550",
            Fault::Shutdown => "RSET 421",
            Fault::Close => {
                "network temporary: connection closed by the server before the reply to RSET"
            }
            Fault::Silence => "network temporary: timeout waiting for the reply to RSET",
            Fault::Garbage => "protocol temporary: malformed reply line in answer to RSET",
        };
        assert!(
            result
                .lines()
                .nth(1)
                .is_some_and(|line| line.starts_with(expected)),
            "{result}"
        );
    }
}

#[test]
fn some_recipients_may_fail() {
    for pipelining in [true, false] {
        let mut bench = Bench::new(Config {
            pipelining,
            ..plain()
        });
        bench.transactions = vec![transaction(&["a@x", "b@x", "c@x"])];
        bench.replies = vec![("RCPT TO:<b@", "450 4.2.1 later")];
        let queued = "EOD 250 2.0.0 [\"queued\"]";
        assert_eq!(
            bench.run(),
            format!("{queued}\nRCPT 450 4.2.1 [\"later\"]\n{queued}")
        );
    }
}

#[test]
fn lmtp_has_a_reply_for_each_recipient() {
    let mut bench = Bench::new(Config {
        protocol: Protocol::Lmtp,
        ..plain()
    });
    bench.transactions = vec![transaction(&["a@x", "b@x", "c@x"])];
    bench.replies = vec![("RCPT TO:<b@", "550 no")];
    // The bench answers once; the second reply comes by hand.
    bench.fault = Some(("EOD", Fault::Silence));
    bench.answer("BANNER", "220 x\r\n");
    for _ in 0..4 {
        while let Some(output) = bench.client.poll() {
            bench.output(output);
        }
        let written = bench.client.requests().to_vec();
        bench.client.written(written.len());
        bench.pending.extend_from_slice(&written);
        bench.serve();
    }
    let now = bench.now;
    bench
        .client
        .handle(now, Input::Bytes(b"250 one\r\n452 full\r\n"));
    let Some(Output::Done(outcomes)) = bench.client.poll() else {
        panic!("not done: {}", bench.dialogue);
    };
    let lines: Vec<String> = outcomes.iter().map(show).collect();
    assert_eq!(
        lines,
        [
            r#"EOD 250 ["one"]"#,
            r#"RCPT 550 ["no"]"#,
            r#"EOD 452 ["full"]"#
        ]
    );
    assert!(bench.dialogue.starts_with("LHLO me.example\n"));
}

#[test]
fn smtputf8_is_needed_and_not_offered() {
    let mut bench = Bench::new(plain());
    bench.announce = "PIPELINING";
    bench.transactions = vec![
        transaction(&["é@example.net"]),
        transaction(&["b@example.net"]),
    ];
    assert_snapshot!(bench.run(), @r#"
    smtp permanent: the message needs SMTPUTF8, which the server does not offer
    EOD 250 2.0.0 ["queued"]
    "#);
    let mut bench = Bench::new(plain());
    bench.transactions = vec![transaction(&["é@example.net"])];
    assert!(bench.run().starts_with("EOD 250"));
    assert!(
        bench
            .dialogue
            .contains("MAIL FROM:<a@example.com> SIZE=17 SMTPUTF8\nRCPT TO:<é@example.net>\n")
    );
}

#[test]
fn a_server_may_refuse_in_the_middle_of_the_message() {
    let start = || {
        let mut client = Client::new(plain(), false, Duration::ZERO);
        let now = Duration::ZERO;
        client.handle(now, Input::Bytes(b"220 a\r\n250 a\r\n"));
        assert_eq!(client.poll(), Some(Output::Ready));
        client.handle(now, Input::Begin(Box::new(transaction(&["b@x"]))));
        client.handle(now, Input::Bytes(b"250 a\r\n250 a\r\n354 a\r\n"));
        assert_eq!(client.poll(), Some(Output::Content));
        client.handle(now, Input::Content(b"half a line"));
        client
    };
    let outcome = |client: &mut Client| {
        let Some(Output::Done(outcomes)) = client.poll() else {
            panic!("not done");
        };
        assert_eq!(client.poll(), Some(Output::Close));
        assert!(client.is_closed());
        outcomes.iter().map(show).collect::<String>()
    };
    let mut client = start();
    client.handle(Duration::ZERO, Input::Bytes(b"552 5.3.4 too big\r\n"));
    assert_eq!(outcome(&mut client), r#"EOD 552 5.3.4 ["too big"]"#);

    let mut client = start();
    client.handle(Duration::ZERO, Input::Bytes(b"250 early\r\n"));
    assert!(outcome(&mut client).starts_with("protocol temporary"));

    let mut client = start();
    client.handle(Duration::from_secs(179), Input::Tick);
    assert_eq!(client.poll(), None);
    client.handle(Duration::from_secs(180), Input::Tick);
    assert_eq!(
        outcome(&mut client),
        "network temporary: timeout while sending the message"
    );

    let mut client = start();
    let before = client.requests().len();
    client.handle(
        Duration::ZERO,
        Input::ContentFailed("read error".to_owned()),
    );
    assert_eq!(client.requests().len(), before, "no end of data is written");
    assert_eq!(
        outcome(&mut client),
        "smtp temporary: cannot read the message: read error"
    );
}

#[test]
fn an_idle_connection_that_speaks_or_ends_is_of_no_use() {
    for input in [
        Input::Bytes(b"421 4.4.2 idle\r\n"),
        Input::Gone(None),
        Input::Bytes(b"\0\0\0\0"),
    ] {
        let mut client = Client::new(plain(), false, Duration::ZERO);
        client.handle(Duration::ZERO, Input::Bytes(b"220 a\r\n250 a\r\n"));
        assert_eq!(client.poll(), Some(Output::Ready));
        assert_eq!(client.deadline(), None);
        client.handle(Duration::ZERO, input);
        assert_eq!(client.poll(), Some(Output::Close));
        assert!(!client.is_reusable());
        client.handle(
            Duration::ZERO,
            Input::Begin(Box::new(transaction(&["b@x"]))),
        );
        assert!(matches!(client.poll(), Some(Output::Done(outcomes)) if !outcomes[0].is_success()));
    }
}

#[test]
fn states_have_names_and_limits() {
    assert_eq!("CONNECT".parse(), Ok(State::Banner));
    assert_eq!("AUTH-LOGIN-USER".parse(), Ok(State::AuthLoginUser));
    assert!("mail".parse::<State>().is_err());
    let mut timeouts = Timeouts::default();
    assert_eq!(timeouts.get(State::Eod), Duration::from_secs(600));
    timeouts.set(State::Eod, Duration::from_secs(5));
    assert_eq!(timeouts.get(State::Eod), Duration::from_secs(5));
}

#[test]
fn a_helo_name_that_breaks_the_line_is_refused() {
    let mut client = Client::new(
        Config {
            helo: "a\r\nQUIT".to_owned(),
            ..plain()
        },
        false,
        Duration::ZERO,
    );
    assert!(
        matches!(client.poll(), Some(Output::Failed { outcome, .. }) if !outcome.is_temporary())
    );
    assert!(client.requests().is_empty());
}

/// Sends messages with our client to our server, `step` bytes at a time in both directions.
fn relay(messages: &[Vec<u8>], pipelining: bool, step: usize) -> Vec<Vec<u8>> {
    let mut sink = server::testing::Bench::new(server::testing::open_config());
    let mut client = Client::new(
        Config {
            pipelining,
            tls: TlsMode::Required,
            ..plain()
        },
        false,
        Duration::ZERO,
    );
    let now = Duration::ZERO;
    let mut messages_left = messages.iter();
    let mut current: &[u8] = &[];
    let mut sent = 0;
    while !client.is_closed() {
        while let Some(output) = client.poll() {
            match output {
                Output::StartTls => client.handle(now, Input::TlsDone),
                Output::Content => {
                    for piece in current.chunks(step.max(1)) {
                        client.handle(now, Input::Content(piece));
                    }
                    client.handle(now, Input::ContentEnd);
                }
                Output::Ready | Output::Done(_) => {
                    if let Output::Done(outcomes) = &output {
                        assert!(outcomes.iter().all(Outcome::is_success), "{outcomes:?}");
                        sent += 1;
                    }
                    match messages_left.next() {
                        Some(message) => {
                            current = message;
                            client
                                .handle(now, Input::Begin(Box::new(transaction(&["b@x", "c@x"]))));
                        }
                        None => client.handle(now, Input::Quit),
                    }
                }
                Output::Failed { outcome, .. } => panic!("{}", show(&outcome)),
                Output::Close => {}
            }
        }
        let written = client.requests().to_vec();
        client.written(written.len());
        for piece in written.chunks(step) {
            sink.feed(piece);
        }
        let replies = sink.replies();
        for piece in replies.as_bytes().chunks(step) {
            client.handle(now, Input::Bytes(piece));
        }
    }
    assert_eq!(sent, messages.len());
    sink.messages
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn what_the_client_sends_the_server_stores(
        messages in proptest::collection::vec(
            proptest::collection::vec(prop_oneof![
                Just(b'\r'), Just(b'\n'), Just(b'.'), any::<u8>()], 0..200), 0..4),
        pipelining: bool,
        step in 1usize..100,
    ) {
        let stored = relay(&messages, pipelining, step);
        prop_assert_eq!(stored.len(), messages.len());
        for (message, stored) in messages.iter().zip(&stored) {
            // Normalising what is normal changes nothing: a second hop sees the same bytes.
            let again = relay(std::slice::from_ref(stored), pipelining, step);
            prop_assert_eq!(&again[0], stored);
            let bytes = |text: &[u8]| text.iter().filter(|b| !b" \r\n".contains(b)).copied().collect::<Vec<u8>>();
            prop_assert_eq!(bytes(message), bytes(stored));
        }
    }

    #[test]
    fn no_server_makes_the_client_hang_or_panic(
        pieces in proptest::collection::vec(
            prop_oneof![
                Just(b"220 a\r\n".to_vec()), Just(b"250 a\r\n".to_vec()), Just(b"250-PIPELINING\r\n".to_vec()),
                Just(b"354 a\r\n".to_vec()), Just(b"450 a\r\n".to_vec()), Just(b"550 a\r\n".to_vec()),
                Just(b"421 a\r\n".to_vec()), Just(b"334 a\r\n".to_vec()),
                proptest::collection::vec(any::<u8>(), 0..20),
            ], 0..30),
    ) {
        let mut client = Client::new(plain(), false, Duration::ZERO);
        let now = Duration::ZERO;
        let mut results = 0;
        let mut begun = 0;
        let mut drain = |client: &mut Client| {
            while let Some(output) = client.poll() {
                match output {
                    Output::Ready => {
                        begun += 1;
                        client.handle(now, Input::Begin(Box::new(transaction(&["b@x"]))));
                    }
                    Output::Content => {
                        client.handle(now, Input::Content(b"x"));
                        client.handle(now, Input::ContentEnd);
                    }
                    Output::Done(outcomes) => {
                        assert_eq!(outcomes.len(), 1);
                        results += 1;
                    }
                    _ => {}
                }
            }
        };
        for piece in &pieces {
            client.handle(now, Input::Bytes(piece));
            drain(&mut client);
        }
        client.handle(now, Input::Gone(None));
        drain(&mut client);
        prop_assert_eq!(results, begun);
        prop_assert!(client.is_closed());
    }
}
