//! Envelopes, messages, and every state with every fault.

use insta::assert_snapshot;

use super::*;

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
fn a_probe_ends_after_the_last_recipient() {
    for announce in ["PIPELINING", ""] {
        let mut bench = Bench::new(plain());
        bench.announce = announce;
        bench.probe = true;
        bench.transactions = vec![
            transaction(&["b@example.net", "no@example.net"]),
            transaction(&["c@example.net"]),
        ];
        bench.replies = vec![
            ("RCPT TO:<b@", "251 5.0.0 forwarded"),
            ("RCPT TO:<no@", "550 5.1.1 nobody"),
        ];
        assert_eq!(
            bench.run(),
            "RCPT 251 [\"5.0.0 forwarded\"]\nRCPT 550 5.1.1 [\"nobody\"]\nRCPT 250 [\"ok\"]"
        );
        let commands = bench
            .dialogue
            .lines()
            .map(|line| line.split([' ', ':']).next());
        let commands: Vec<&str> = commands.flatten().collect();
        assert_eq!(
            commands,
            [
                "EHLO", "MAIL", "RCPT", "RCPT", "RSET", "MAIL", "RCPT", "QUIT"
            ]
        );
    }
}

#[test]
fn a_probe_whose_sender_is_refused_has_that_reply() {
    for announce in ["PIPELINING", ""] {
        let mut bench = Bench::new(plain());
        bench.announce = announce;
        bench.probe = true;
        bench.replies = vec![("MAIL", "550 5.7.1 not you"), ("RCPT", "503 no MAIL")];
        assert_eq!(bench.run(), "MAIL 550 5.7.1 [\"not you\"]");
        assert!(!bench.dialogue.contains("DATA"));
    }
}

#[test]
fn a_message_that_demands_what_the_server_lacks_is_not_sent() {
    let sent = |announce: &'static str, tls: bool, sender: &str, demands: Demands| {
        let mut bench = Bench::new(plain());
        bench.client = Client::new(plain(), tls, Duration::ZERO);
        bench.announce = announce;
        let transaction = &mut bench.transactions[0];
        transaction.demands = demands;
        transaction.sender = ReversePath::parse(sender).expect("an address");
        transaction.size = None;
        let result = bench.run();
        let mail = bench.dialogue.lines().find(|line| line.starts_with("MAIL"));
        format!("{result} | {}", mail.unwrap_or("nothing sent"))
    };
    let requiretls = Demands {
        requiretls: true,
        ..Demands::default()
    };
    let binary = Demands {
        binary: true,
        ..Demands::default()
    };
    let offered = "REQUIRETLS\nCHUNKING\nBINARYMIME";
    let rows = [
        ("", false, "a@b.example", requiretls),
        (offered, false, "a@b.example", requiretls),
        ("", true, "a@b.example", requiretls),
        (offered, true, "a@b.example", requiretls),
        ("", false, "", requiretls),
        (offered, false, "", requiretls),
        (offered, true, "", requiretls),
        ("CHUNKING", true, "a@b.example", binary),
        ("BINARYMIME", true, "a@b.example", binary),
        (offered, true, "a@b.example", binary),
    ];
    let table: Vec<String> = rows
        .into_iter()
        .map(|(announce, tls, sender, demands)| sent(announce, tls, sender, demands))
        .collect();
    assert_snapshot!(table.join("\n"), @r#"
    tls permanent: the message requires TLS, and the connection has none | nothing sent
    tls permanent: the message requires TLS, and the connection has none | nothing sent
    smtp permanent: the message needs REQUIRETLS, which the server does not offer | nothing sent
    EOD 250 2.0.0 ["queued"] | MAIL FROM:<a@b.example> REQUIRETLS
    EOD 250 2.0.0 ["queued"] | MAIL FROM:<>
    EOD 250 2.0.0 ["queued"] | MAIL FROM:<>
    EOD 250 2.0.0 ["queued"] | MAIL FROM:<> REQUIRETLS
    smtp permanent: the message is BINARYMIME, which the server does not take | nothing sent
    smtp permanent: the message is BINARYMIME, which the server does not take | nothing sent
    EOD 250 2.0.0 ["queued"] | MAIL FROM:<a@b.example> BODY=BINARYMIME
    "#);
}

#[test]
fn the_limits_of_the_server_are_kept() {
    let mut bench = Bench::new(plain());
    bench.announce = "LIMITS MAILMAX=2 RCPTMAX=1";
    bench.transactions = vec![
        transaction(&["b@example.net", "c@example.net"]),
        transaction(&["d@example.net"]),
    ];
    bench.answer("BANNER", "220 mx.example ESMTP\r\n");
    for _ in 0..40 {
        while let Some(output) = bench.client.poll() {
            bench.output(output);
        }
        let written = bench.client.requests().to_vec();
        bench.client.written(written.len());
        bench.pending.extend_from_slice(&written);
        bench.serve();
    }
    assert_snapshot!(bench.done.join("\n"), @r#"
    EOD 250 2.0.0 ["queued"]
    smtp temporary: the server takes no more than 1 recipients at once
    EOD 250 2.0.0 ["queued"]
    "#);
    assert!(!bench.client.is_reusable() && bench.client.is_idle());
    bench.client.handle(Duration::ZERO, Input::Quit);
    assert_eq!(bench.client.requests(), b"QUIT\r\n");
}
