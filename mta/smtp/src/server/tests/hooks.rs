//! Hooks: requests, verdicts, what is carried over.

use insta::assert_snapshot;

use crate::address::{Mailbox, ReversePath};
use crate::reply::EnhancedStatus;
use crate::server::testing::{Bench, open_config};
use crate::server::{Config, Hook, Hooks, Input, ProxyCommands};
use crate::verdict::{Accept, EnhancedChoice, ReplyOptions, Verdict};

fn config() -> Config {
    Config {
        hooks: Hooks {
            connect: true,
            helo: true,
            mailfrom: true,
            rcptto: true,
            proxy: ProxyCommands::None,
        },
        ..open_config()
    }
}

const SESSION: &[&str] = &[
    "EHLO client.example",
    "MAIL FROM:<A@Example.com>",
    "RCPT TO:<b@example.net>",
    "DATA",
    "x\r\n.",
];

/// The dialogue in which the hook named `phase` gives `verdict` and the others accept.
fn with(phase: &'static str, verdict: Verdict) -> String {
    let mut bench = Bench::answering(config(), move |hook, _| {
        if format!("{hook:?}").starts_with(phase) {
            verdict.clone()
        } else {
            Verdict::accept()
        }
    });
    let text = bench.dialogue(SESSION);
    text.lines()
        .filter(|line| !line.starts_with("S: 250-"))
        .map(|line| format!("{line}\n"))
        .collect()
}

#[test]
fn every_phase_gets_its_arguments() {
    let mut bench = Bench::answering(config(), |_, _| Verdict::accept());
    bench.dialogue(SESSION);
    assert_snapshot!(bench.events.join("\n"), @r#"
    Connect
    Helo { verb: Ehlo, host: "client.example", extensions: Some(["PIPELINING", "SIZE 52428800", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "STARTTLS"]) }
    MailFrom { sender: Mailbox(Mailbox { localpart: "A", domain: "Example.com" }), params: Params([]) }
    RcptTo { recipient: Mailbox { localpart: "b", domain: "example.net" }, params: Params([]), transport_id: "" }
    OpenBody
    Eod { size: 3 }
    "#);
}

#[test]
fn connect_refusals_take_the_place_of_the_banner_and_close() {
    assert_snapshot!(with("Connect", Verdict::Reject(ReplyOptions::default())).lines().take(1).collect::<String>(), @"S: 521 5.7.1 Rejected");
    let mut bench = Bench::answering(config(), |_, _| Verdict::Error);
    assert_eq!(
        bench.replies(),
        "421 4.3.2 Internal error, try again later\r\n"
    );
    assert!(bench.closing.is_some());
}

#[test]
fn defaults_of_reject() {
    let reject = || Verdict::Reject(ReplyOptions::default());
    assert_snapshot!(with("Helo", reject()), @r"
    S: 220 mx.example ESMTP
    C: EHLO client.example
    S: 554 Rejected
    C: MAIL FROM:<A@Example.com>
    S: 250 2.1.0 Ok
    C: RCPT TO:<b@example.net>
    S: 250 2.1.5 Ok
    C: DATA
    S: 354 End data with <CR><LF>.<CR><LF>
    C: x
    C: .
    S: 250 2.0.0 Ok: queued as T1
    ");
    assert_snapshot!(with("RcptTo", reject()), @r"
    S: 220 mx.example ESMTP
    C: EHLO client.example
    S: 250 STARTTLS
    C: MAIL FROM:<A@Example.com>
    S: 250 2.1.0 Ok
    C: RCPT TO:<b@example.net>
    S: 554 5.7.1 Rejected
    C: DATA
    S: 554 5.5.1 No valid recipients
    C: x
    C: .
    S: 500 5.5.2 Command not recognized
    S: 500 5.5.2 Command not recognized
    ");
    assert!(
        with("MailFrom", reject())
            .contains("S: 554 5.7.1 Rejected\nC: RCPT TO:<b@example.net>\nS: 503")
    );
    assert!(with("Eod", reject()).ends_with("S: 550 5.7.1 Rejected\n"));
}

#[test]
fn implicit_ends_and_errors_follow_the_table() {
    assert!(with("Helo", Verdict::End).contains("S: 250 STARTTLS"));
    assert!(with("RcptTo", Verdict::End).contains("S: 250 2.1.5 Ok"));
    assert!(with("Eod", Verdict::End).ends_with("S: 421 4.3.0 Try again later\n"));
    assert!(with("Helo", Verdict::Error).contains("S: 450 Internal error, try again later"));
    assert!(
        with("MailFrom", Verdict::Error).contains("S: 450 4.7.1 Internal error, try again later")
    );
    assert!(
        with("RcptTo", Verdict::Error).contains("S: 450 4.7.1 Internal error, try again later")
    );
    assert!(
        with("Eod", Verdict::Error).ends_with("S: 421 4.3.0 Internal error, try again later\n")
    );
}

#[test]
fn a_421_closes_only_with_disconnect() {
    let defer = |disconnect| {
        Verdict::Defer(ReplyOptions {
            disconnect,
            ..ReplyOptions::default()
        })
    };
    assert!(!with("Eod", defer(false)).contains("(closed)"));
    assert!(with("Eod", defer(true)).ends_with("(closed)\n"));
    assert!(with("RcptTo", defer(true)).ends_with("C: x\nC: .\n(closed)\n"));
}

#[test]
fn a_reply_is_the_scripts_to_choose() {
    let options = ReplyOptions {
        reason: vec![b"No".to_vec(), b"tha\nnks".to_vec()],
        code: Some(550),
        enhanced: EnhancedChoice::Code(EnhancedStatus::new(5, 2, 1)),
        disconnect: true,
    };
    let text = with("RcptTo", Verdict::Reject(options));
    assert!(
        text.contains("S: 550-5.2.1 No\nS: 550 5.2.1 tha?nks\n"),
        "{text}"
    );
}

#[test]
fn what_accept_changes_is_carried_over() {
    let mut bench = Bench::answering(config(), |hook, session| {
        let mut accept = Accept::default();
        match hook {
            Hook::Connect => {
                accept.remote_ip = Some([203, 0, 113, 9].into());
                accept.remote_ptr = Some("ptr.example".to_owned());
                accept.reply.reason = vec![b"welcome".to_vec()];
            }
            Hook::Helo { .. } => {
                accept.host = Some("other.example".to_owned());
                accept.extensions = Some(vec![
                    b"SMTPUTF8".to_vec(),
                    b"DSN".to_vec(),
                    b"X-\r\nY".to_vec(),
                ]);
                accept.reply.reason = vec![b"hello".to_vec()];
            }
            Hook::MailFrom { .. } => {
                assert_eq!(
                    session.helo.as_ref().map(|helo| helo.host.as_str()),
                    Some("other.example")
                );
                assert_eq!(session.connection.remote_ip.to_string(), "203.0.113.9");
                accept.sender = Some(ReversePath::Null);
            }
            Hook::RcptTo { .. } => {
                accept.recipient = Mailbox::parse("c@d.example").ok();
                accept.transport_id = Some("other".to_owned());
            }
            _ => {}
        }
        Verdict::Accept(Box::new(accept))
    });
    assert_snapshot!(bench.dialogue(&[
        "EHLO client.example",
        "MAIL FROM:<a@b> RET=HDRS",
        "RSET",
        "MAIL FROM:<a@b> BODY=8BITMIME",
        "MAIL FROM:<a@b>",
        "RCPT TO:<b@example.net> NOTIFY=NEVER",
        "STARTTLS",
    ]), @r"
    S: 220 welcome
    C: EHLO client.example
    S: 250-hello
    S: 250-SMTPUTF8
    S: 250-DSN
    S: 250 X-?Y
    C: MAIL FROM:<a@b> RET=HDRS
    S: 250 Ok
    C: RSET
    S: 250 Ok
    C: MAIL FROM:<a@b> BODY=8BITMIME
    S: 555 Parameter not recognized
    C: MAIL FROM:<a@b>
    S: 250 Ok
    C: RCPT TO:<b@example.net> NOTIFY=NEVER
    S: 250 Ok
    C: STARTTLS
    S: 502 TLS is not available
    ");
    let transaction = &bench.server.session().transaction;
    let envelope = transaction.envelope.as_ref().expect("an envelope");
    assert_eq!(envelope.sender, ReversePath::Null);
    assert_eq!(envelope.recipients[0].address.to_string(), "c@d.example");
    assert_eq!(envelope.recipients[0].transport_id, "other");
    let params: Vec<_> = envelope.recipients[0].params.pairs().collect();
    assert_eq!(params, [("NOTIFY", "NEVER")]);
}

#[test]
fn transaction_ids_are_renewed_by_greeting_rset_and_message() {
    let mut bench = Bench::new(open_config());
    let mut ids = vec![bench.server.session().transaction.id.clone()];
    for lines in [
        &["NOOP"][..],
        &["EHLO c"],
        &["RSET"],
        &["MAIL FROM:<>", "RCPT TO:<a@b>"],
        &["DATA", "."],
        &["HELO c"],
    ] {
        bench.dialogue(lines);
        ids.push(bench.server.session().transaction.id.clone());
    }
    assert_eq!(ids, ["T1", "T1", "T2", "T3", "T3", "T4", "T5"]);
}

#[test]
fn non_ascii_reasons_are_sent_under_smtputf8_only() {
    let mut bench = Bench::answering(config(), |hook, _| match hook {
        Hook::MailFrom { .. } | Hook::RcptTo { .. } => {
            let mut accept = Accept::default();
            accept.reply.reason = vec!["på".as_bytes().to_vec()];
            Verdict::Accept(Box::new(accept))
        }
        _ => Verdict::accept(),
    });
    bench.feed(b"EHLO c\r\n");
    bench.replies();
    bench.feed(b"MAIL FROM:<> SMTPUTF8\r\nRCPT TO:<a@b>\r\nRSET\r\nMAIL FROM:<>\r\n");
    assert_eq!(
        bench.replies(),
        "250 2.1.0 på\r\n250 2.1.5 på\r\n250 2.0.0 Ok\r\n250 2.1.0 p??\r\n"
    );
}

#[test]
fn while_a_hook_runs_nothing_is_read() {
    let mut bench = Bench::answering(config(), |_, _| Verdict::accept());
    bench.feed(b"EHLO c\r\n");
    let used = bench
        .server
        .handle(bench.now, Input::Bytes(b"MAIL FROM:<>\r\nRSET\r\n"));
    assert_eq!(used, 14);
    assert!(!bench.server.wants_input());
    assert_eq!(bench.server.deadline(), None);
    assert_eq!(bench.server.handle(bench.now, Input::Bytes(b"RSET\r\n")), 0);
    assert!(bench.server.poll().is_some());
    assert!(
        !bench.server.wants_input(),
        "the request is taken, the verdict is not there"
    );
    bench.event(Input::Verdict(Verdict::accept()));
    assert!(bench.server.wants_input());
    bench.event(Input::Verdict(Verdict::Error));
    assert!(
        bench.replies().ends_with("250 2.1.0 Ok\r\n"),
        "a verdict out of turn is ignored"
    );
}

#[test]
fn the_proxy_hook_sees_lines_before_the_machine() {
    let config = Config {
        hooks: Hooks {
            proxy: ProxyCommands::Starting(vec!["brev från:".to_owned(), "HEJDÅ".to_owned()]),
            ..Hooks::default()
        },
        ..open_config()
    };
    let mut bench = Bench::answering(config, |hook, _| match hook {
        Hook::Proxy { command } if command.starts_with("BREV FRÅN".as_bytes()) => Verdict::Pass {
            command: Some(b"MAIL FROM:<a@b>".to_vec()),
            next: true,
        },
        Hook::Proxy { command } if command == b"NOOP" => Verdict::Reply {
            reply: ReplyOptions::reason(b"seen"),
            next: false,
        },
        Hook::Proxy { .. } => Verdict::Reply {
            reply: ReplyOptions {
                code: Some(221),
                enhanced: EnhancedChoice::Code(EnhancedStatus::new(2, 0, 0)),
                disconnect: true,
                ..ReplyOptions::default()
            },
            next: false,
        },
        _ => Verdict::NoHook,
    });
    bench.replies();
    assert_snapshot!(bench.dialogue(&["BREV FRÅN:<x>", "NOOP", "NOOP", "Hejdå"]), @r"
    C: BREV FRÅN:<x>
    S: 250 2.1.0 Ok
    C: NOOP
    S: 250 seen
    C: NOOP
    S: 250 2.0.0 Ok
    C: Hejdå
    S: 221 2.0.0 Ok
    (closed)
    ");
}
