//! Transcripts of sessions without hooks.

use insta::assert_snapshot;

use crate::reply::{EnhancedStatus, Reply};
use crate::server::testing::{Bench, open_config};
use crate::server::{Config, Input, Refusal, StoreFailure};
use crate::session::{CloseBy, TransportError, TransportErrorKind};

#[test]
fn a_message_is_accepted() {
    let mut bench = Bench::new(open_config());
    assert_snapshot!(bench.dialogue(&[
        "EHLO client.example",
        "MAIL FROM:<A@Example.com> SIZE=20 BODY=8BITMIME",
        "RCPT TO:<b@example.net>",
        "DATA",
        "Subject: x\r\n\r\n..dot\r\nend\r\n.",
        "QUIT",
    ]), @r"
    S: 220 mx.example ESMTP
    C: EHLO client.example
    S: 250-mx.example
    S: 250-PIPELINING
    S: 250-SIZE 52428800
    S: 250-8BITMIME
    S: 250-SMTPUTF8
    S: 250-ENHANCEDSTATUSCODES
    S: 250 STARTTLS
    C: MAIL FROM:<A@Example.com> SIZE=20 BODY=8BITMIME
    S: 250 2.1.0 Ok
    C: RCPT TO:<b@example.net>
    S: 250 2.1.5 Ok
    C: DATA
    S: 354 End data with <CR><LF>.<CR><LF>
    C: Subject: x
    C: 
    C: ..dot
    C: end
    C: .
    S: 250 2.0.0 Ok: queued as T2
    C: QUIT
    S: 221 2.0.0 Bye
    (closed)
    ");
    assert_eq!(bench.messages, [b"Subject: x\r\n\r\n.dot\r\nend\r\n"]);
    assert_eq!(bench.events, ["OpenBody", "Eod { size: 25 }", "Close"]);
    let closing = bench.closing.expect("closed");
    assert_eq!(closing.by, CloseBy::Local);
    let reply = closing.reply.expect("a reply");
    assert_eq!((reply.code, reply.state), (221, "QUIT"));
    assert_eq!(reply.reason, [b"Bye"]);
}

#[test]
fn an_operator_ends_a_session_whatever_goes_on() {
    let farewell = || Reply::fixed(421, Some(EnhancedStatus::new(4, 3, 2)), "Go");
    let mut bench = Bench::new(open_config());
    bench.feed(b"EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<b@c>\r\nDATA\r\nhalf a mes");
    bench.event(Input::Dismiss(farewell()));
    assert!(bench.server.is_closed());
    let said = String::from_utf8_lossy(bench.server.replies()).into_owned();
    assert!(said.ends_with("421 4.3.2 Go\r\n"), "{said}");
    assert!(bench.messages.is_empty());
    let closing = bench.closing.as_ref().expect("closed");
    assert_eq!(closing.by, CloseBy::Local);
    assert_eq!(closing.reply.as_ref().expect("a reply").code, 421);
    // The first end counts.
    bench.event(Input::Dismiss(farewell()));
    assert_eq!(String::from_utf8_lossy(bench.server.replies()), said);
}

#[test]
fn commands_out_of_order_are_503() {
    let mut bench = Bench::new(open_config());
    assert_snapshot!(bench.dialogue(&[
        "RCPT TO:<b@example.net>",
        "DATA",
        "MAIL FROM:<>",
        "MAIL FROM:<a@example.com>",
        "DATA",
        "AUTH PLAIN AGEAYg==",
        "RCPT TO:<b@example.net>",
        "RSET",
        "RCPT TO:<b@example.net>",
        "MAIL FROM:<a@example.com>",
        "EHLO again.example",
        "DATA",
    ]), @r"
    S: 220 mx.example ESMTP
    C: RCPT TO:<b@example.net>
    S: 503 5.5.1 MAIL comes first
    C: DATA
    S: 503 5.5.1 MAIL comes first
    C: MAIL FROM:<>
    S: 250 2.1.0 Ok
    C: MAIL FROM:<a@example.com>
    S: 503 5.5.1 A transaction is already open
    C: DATA
    S: 503 5.5.1 RCPT comes first
    C: AUTH PLAIN AGEAYg==
    S: 503 5.5.1 AUTH inside a transaction
    C: RCPT TO:<b@example.net>
    S: 250 2.1.5 Ok
    C: RSET
    S: 250 2.0.0 Ok
    C: RCPT TO:<b@example.net>
    S: 503 5.5.1 MAIL comes first
    C: MAIL FROM:<a@example.com>
    S: 250 2.1.0 Ok
    C: EHLO again.example
    S: 250-mx.example
    S: 250-PIPELINING
    S: 250-SIZE 52428800
    S: 250-8BITMIME
    S: 250-SMTPUTF8
    S: 250-ENHANCEDSTATUSCODES
    S: 250 STARTTLS
    C: DATA
    S: 503 5.5.1 MAIL comes first
    ");
}

#[test]
fn malformed_commands_get_their_codes() {
    let mut bench = Bench::new(open_config());
    assert_snapshot!(bench.dialogue(&[
        "EHLO",
        "HELO a b",
        "HELO client.example",
        "MAIL FROM:<a@example.com> SIZE=1",
        "EHLO [192.0.2.1]",
        "MAIL",
        "MAIL FROM <a@example.com>",
        "MAIL FROM:a@example.com",
        "MAIL FROM:<postmaster>",
        "MAIL FROM:<é@example.com>",
        "MAIL FROM:<a@example.com> FOO=BAR",
        "MAIL FROM:<a@example.com> SIZE=abc",
        "MAIL FROM:<a@example.com> SIZE=99999999999",
        "MAIL FROM:<a@example.com> RET=FULL",
        "mail from: <a@example.com> smtputf8 ",
        "rcpt to:<é@example.com>",
        "RCPT TO:<>",
        "RCPT TO:<b@example.com.>",
        "RCPT TO:<b@example.com> NOTIFY=NEVER",
        "RCPT TO:<Postmaster>",
    ]), @r"
    S: 220 mx.example ESMTP
    C: EHLO
    S: 501 A greeting takes one host name
    C: HELO a b
    S: 501 A greeting takes one host name
    C: HELO client.example
    S: 250 mx.example
    C: MAIL FROM:<a@example.com> SIZE=1
    S: 555 5.5.4 Parameter not recognized
    C: EHLO [192.0.2.1]
    S: 250-mx.example
    S: 250-PIPELINING
    S: 250-SIZE 52428800
    S: 250-8BITMIME
    S: 250-SMTPUTF8
    S: 250-ENHANCEDSTATUSCODES
    S: 250 STARTTLS
    C: MAIL
    S: 501 5.1.7 Syntax: MAIL FROM:<address>
    C: MAIL FROM <a@example.com>
    S: 501 5.1.7 Syntax: MAIL FROM:<address>
    C: MAIL FROM:a@example.com
    S: 501 5.1.7 Syntax: MAIL FROM:<address>
    C: MAIL FROM:<postmaster>
    S: 501 5.1.7 Bad sender address syntax
    C: MAIL FROM:<é@example.com>
    S: 553 5.6.7 A non-ASCII address needs SMTPUTF8
    C: MAIL FROM:<a@example.com> FOO=BAR
    S: 555 5.5.4 Parameter not recognized
    C: MAIL FROM:<a@example.com> SIZE=abc
    S: 501 5.5.4 Malformed parameter
    C: MAIL FROM:<a@example.com> SIZE=99999999999
    S: 552 5.3.4 Message size exceeds limit
    C: MAIL FROM:<a@example.com> RET=FULL
    S: 555 5.5.4 Parameter not recognized
    C: mail from: <a@example.com> smtputf8 
    S: 250 2.1.0 Ok
    C: rcpt to:<é@example.com>
    S: 250 2.1.5 Ok
    C: RCPT TO:<>
    S: 501 5.1.3 Bad recipient address syntax
    C: RCPT TO:<b@example.com.>
    S: 501 5.1.3 Bad recipient address syntax
    C: RCPT TO:<b@example.com> NOTIFY=NEVER
    S: 555 5.5.4 Parameter not recognized
    C: RCPT TO:<Postmaster>
    S: 250 2.1.5 Ok
    ");
}

#[test]
fn other_commands_are_answered() {
    let mut bench = Bench::new(open_config());
    assert_snapshot!(bench.dialogue(&[
        "NOOP anything at all",
        "HELP",
        "VRFY someone",
        "VRFY",
        "EXPN list",
        "ETRN example.com",
        "TURN",
        "XCLIENT ADDR=1.2.3.4",
        "BDAT 5 LAST",
        "BREV FRÅN:<a@example.com>",
        "",
        "RSET now",
        "DATA now",
        "QUIT now",
        "GET / HTTP/1.1",
    ]), @r"
    S: 220 mx.example ESMTP
    C: NOOP anything at all
    S: 250 2.0.0 Ok
    C: HELP
    S: 214 2.0.0 Commands: EHLO HELO MAIL RCPT DATA RSET NOOP VRFY HELP STARTTLS QUIT
    C: VRFY someone
    S: 252 2.0.0 Cannot verify, but will take a message and try to deliver it
    C: VRFY
    S: 501 5.5.4 VRFY takes an address
    C: EXPN list
    S: 502 5.5.1 Command not implemented
    C: ETRN example.com
    S: 502 5.5.1 Command not implemented
    C: TURN
    S: 502 5.5.1 Command not implemented
    C: XCLIENT ADDR=1.2.3.4
    S: 502 5.5.1 Command not implemented
    C: BDAT 5 LAST
    S: 502 5.5.1 Command not implemented
    C: BREV FRÅN:<a@example.com>
    S: 500 5.5.2 Command not recognized
    S: 500 5.5.2 Command not recognized
    C: RSET now
    S: 501 5.5.4 RSET takes no argument
    C: DATA now
    S: 501 5.5.4 DATA takes no argument
    C: QUIT now
    S: 501 5.5.4 QUIT takes no argument
    C: GET / HTTP/1.1
    S: 500 5.5.2 This is an SMTP server
    (closed)
    ");
}

#[test]
fn strangers_may_not_relay_without_a_hook() {
    let mut bench = Bench::new(Config {
        relay: vec!["198.51.100.0/24".parse().expect("a network")],
        ..open_config()
    });
    assert_snapshot!(bench.dialogue(&["MAIL FROM:<>", "RCPT TO:<b@example.net>", "DATA"]), @r"
    S: 220 mx.example ESMTP
    C: MAIL FROM:<>
    S: 250 2.1.0 Ok
    C: RCPT TO:<b@example.net>
    S: 550 5.7.1 Relaying denied
    C: DATA
    S: 554 5.5.1 No valid recipients
    ");
}

#[test]
fn a_refusal_names_its_own_transaction_however_much_follows_in_the_group() {
    let mut bench = Bench::new(Config {
        relay: Vec::new(),
        ..open_config()
    });
    bench.feed(b"EHLO c\r\nMAIL FROM:<a@example.com>\r\n");
    let transaction = bench.server.session().transaction.id.clone();
    bench.server.take_answered();
    bench.feed(b"RCPT TO:<b@example.net>\r\nRSET\r\n");
    assert_ne!(bench.server.session().transaction.id, transaction);
    let refusals = bench.server.take_answered().into_iter();
    let refusals: Vec<Refusal> = refusals.filter_map(|answered| answered.refusal).collect();
    let reason = "5.7.1 Relaying denied".to_owned();
    assert_eq!(
        refusals,
        [Refusal {
            transaction,
            reason
        }]
    );
}

#[test]
fn a_pipelined_group_is_answered_in_one_write() {
    let mut bench = Bench::new(open_config());
    bench.replies();
    bench.feed(
        b"EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<a@b>\r\nRCPT TO:<bad\r\nRCPT TO:<c@d>\r\nDATA\r\n",
    );
    let replies = bench.replies();
    let codes: Vec<&str> = replies.lines().skip(7).map(|line| &line[..3]).collect();
    assert_eq!(codes, ["250", "250", "501", "250", "354"]);
}

#[test]
fn nothing_in_clear_runs_behind_starttls() {
    let mut bench = Bench::new(open_config());
    bench.replies();
    bench.tls = false;
    bench.feed(b"EHLO c\r\nMAIL FROM:<a@b>\r\nSTARTTLS\r\nNOOP\r\nMAIL FROM:<evil@example>\r\n");
    assert!(bench.replies().ends_with("220 Ready to start TLS\r\n"));
    // What the driver had not read then and feeds by mistake is dropped as well.
    bench.feed(b"RSET\r\n");
    assert_eq!(bench.replies(), "");
    bench.event(Input::TlsDone(Default::default()));
    let session = bench.server.session();
    assert!(session.helo.is_none() && session.transaction.envelope.is_none());
    assert_snapshot!(bench.dialogue(&["RCPT TO:<x@y>", "EHLO c", "STARTTLS"]), @r"
    C: RCPT TO:<x@y>
    S: 503 5.5.1 MAIL comes first
    C: EHLO c
    S: 250-mx.example
    S: 250-PIPELINING
    S: 250-SIZE 52428800
    S: 250-8BITMIME
    S: 250-SMTPUTF8
    S: 250 ENHANCEDSTATUSCODES
    C: STARTTLS
    S: 503 5.5.1 TLS is already active
    ");
}

#[test]
fn starttls_is_refused_where_it_makes_no_sense() {
    let mut bench = Bench::new(open_config());
    bench.replies();
    assert_snapshot!(bench.dialogue(&["STARTTLS x"]), @r"
    C: STARTTLS x
    S: 501 5.5.4 STARTTLS takes no argument
    ");
    let mut bench = Bench::new(Config::default());
    bench.replies();
    assert_snapshot!(bench.dialogue(&["EHLO c", "STARTTLS"]), @r"
    C: EHLO c
    S: 250-localhost
    S: 250-PIPELINING
    S: 250-SIZE 52428800
    S: 250-8BITMIME
    S: 250-SMTPUTF8
    S: 250 ENHANCEDSTATUSCODES
    C: STARTTLS
    S: 502 5.5.1 TLS is not available
    ");
}

#[test]
fn a_client_that_goes_away_in_the_middle_of_data_leaves_no_message() {
    let mut bench = Bench::new(open_config());
    bench.feed(b"MAIL FROM:<>\r\nRCPT TO:<a@b>\r\nDATA\r\nSubject: x\r\n");
    let error = TransportError {
        kind: TransportErrorKind::Socket,
        reason: "connection reset".to_owned(),
        code: Some(104),
    };
    bench.event(Input::Gone(Some(error.clone())));
    assert_eq!(bench.events, ["OpenBody", "AbortBody", "Close"]);
    let closing = bench.closing.take().expect("closed");
    assert_eq!((closing.by, closing.error), (CloseBy::Remote, Some(error)));
    assert_eq!(closing.reply.map(|reply| reply.state), Some("DATA"));
    bench.event(Input::Gone(None));
    assert!(bench.closing.is_none(), "closed once");
}

#[test]
fn a_store_that_fails_makes_a_temporary_reply() {
    for (failure, code) in [
        (StoreFailure::Full, "452 4.3.1"),
        (StoreFailure::Broken, "451 4.3.0"),
    ] {
        let mut bench = Bench::new(open_config());
        bench.feed(b"MAIL FROM:<>\r\nRCPT TO:<a@b>\r\n");
        bench.replies();
        bench.server.handle(bench.now, Input::Bytes(b"DATA\r\n"));
        assert!(bench.server.poll().is_some());
        bench.event(Input::StoreFailed(failure));
        assert!(bench.replies().starts_with(code));
        assert_eq!(
            bench.dialogue(&["DATA"]).lines().last(),
            Some("S: 503 5.5.1 MAIL comes first")
        );
    }
    let mut bench = Bench::new(open_config());
    bench.feed(b"MAIL FROM:<>\r\nRCPT TO:<a@b>\r\nDATA\r\n");
    bench.replies();
    bench.server.handle(bench.now, Input::Bytes(b"x\r\n.\r\n"));
    assert!(bench.server.poll().is_some());
    bench.event(Input::StoreFailed(StoreFailure::Full));
    assert_eq!(bench.replies(), "452 4.3.1 Insufficient system storage\r\n");
    assert!(bench.messages.is_empty());
}

#[test]
fn a_full_store_defers_mail_until_there_is_room() {
    let mut bench = Bench::new(open_config());
    bench.replies();
    bench.server.set_storage_full(true);
    assert_eq!(
        bench.dialogue(&["MAIL FROM:<>"]).lines().last(),
        Some("S: 452 4.3.1 Insufficient system storage")
    );
    bench.server.set_storage_full(false);
    assert_eq!(
        bench.dialogue(&["MAIL FROM:<>"]).lines().last(),
        Some("S: 250 2.1.0 Ok")
    );
}

#[test]
fn a_stopping_server_finishes_the_transaction_first() {
    let mut idle = Bench::new(open_config());
    idle.replies();
    idle.event(Input::Shutdown);
    assert_eq!(idle.replies(), "421 4.3.2 Service is shutting down\r\n");
    assert!(idle.closing.is_some());

    let mut busy = Bench::new(open_config());
    busy.feed(b"MAIL FROM:<>\r\nRCPT TO:<a@b>\r\nDATA\r\nx\r\n");
    busy.event(Input::Shutdown);
    busy.replies();
    busy.feed(b".\r\nMAIL FROM:<>\r\n");
    assert_eq!(
        busy.replies(),
        "250 2.0.0 Ok: queued as T1\r\n421 4.3.2 Service is shutting down\r\n"
    );
    assert_eq!(busy.messages.len(), 1);
}

#[test]
fn helo_can_be_required() {
    let mut bench = Bench::new(Config {
        helo_required: true,
        ..open_config()
    });
    bench.replies();
    assert_snapshot!(bench.dialogue(&["MAIL FROM:<>", "HELO c", "MAIL FROM:<>"]), @r"
    C: MAIL FROM:<>
    S: 503 5.5.1 Say HELO or EHLO first
    C: HELO c
    S: 250 mx.example
    C: MAIL FROM:<>
    S: 250 2.1.0 Ok
    ");
}

#[test]
fn control_bytes_and_broken_utf8_are_no_command() {
    for line in [
        &b"NOOP \x01\r\n"[..],
        b"NOOP a\rb\r\n",
        b"NOOP \0\r\n",
        b"NOOP \xff\r\n",
    ] {
        let mut bench = Bench::new(open_config());
        bench.replies();
        bench.feed(line);
        assert_eq!(
            bench.replies(),
            "500 5.5.2 Invalid character in command\r\n"
        );
    }
}

#[test]
fn a_bare_lf_or_a_tls_record_ends_the_session() {
    for (bytes, reply) in [
        (
            &b"NOOP\nQUIT\r\n"[..],
            "500 5.5.2 Bare LF is not a line end\r\n",
        ),
        (
            b"\x16\x03\x01\x02\r\n",
            "500 5.5.2 This port speaks SMTP in clear\r\n",
        ),
    ] {
        let mut bench = Bench::new(open_config());
        bench.replies();
        bench.feed(bytes);
        assert_eq!(bench.replies(), reply);
        assert!(bench.closing.is_some());
    }
    let mut bench = Bench::new(Config {
        bare_lf: true,
        ..open_config()
    });
    bench.replies();
    bench.feed(b"NOOP\nNOOP\r\n");
    assert_eq!(bench.replies(), "250 2.0.0 Ok\r\n250 2.0.0 Ok\r\n");
}
