//! XCLIENT: who may use it, what it changes, and what it must not change.

use insta::assert_snapshot;

use crate::server::testing::{Bench, open_config};
use crate::server::{Config, Hook};
use crate::session::HeloVerb;
use crate::verdict::{ReplyOptions, Verdict};

fn trusting() -> Config {
    Config {
        xclient: vec!["192.0.2.0/24".parse().expect("a network")],
        ..open_config()
    }
}

#[test]
fn the_session_begins_anew_for_the_client_that_is_named() {
    let mut config = trusting();
    config.hooks.connect = true;
    let mut bench = Bench::answering(config, |hook, session| match hook {
        Hook::Connect if session.connection.remote_ip.is_ipv6() => {
            assert_eq!(
                session.connection.remote_ptr.as_deref(),
                Some("client.example")
            );
            Verdict::accept()
        }
        _ => Verdict::NoHook,
    });
    assert_snapshot!(bench.dialogue(&[
        "EHLO proxy.example",
        "XCLIENT NAME=client.example ADDR=IPV6:2001:db8::7 PORT=4711 LOGIN=us+65r DESTPORT=587",
        "MAIL FROM:<a@example.com> SIZE=1",
        "EHLO client.example",
        "MAIL FROM:<a@example.com> SIZE=1",
        "XCLIENT ADDR=192.0.2.7",
    ]), @r"
    S: 220 mx.example ESMTP
    C: EHLO proxy.example
    S: 250-mx.example
    S: 250-PIPELINING
    S: 250-SIZE 52428800
    S: 250-8BITMIME
    S: 250-SMTPUTF8
    S: 250-ENHANCEDSTATUSCODES
    S: 250-STARTTLS
    S: 250 XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT
    C: XCLIENT NAME=client.example ADDR=IPV6:2001:db8::7 PORT=4711 LOGIN=us+65r DESTPORT=587
    S: 220 mx.example ESMTP
    C: MAIL FROM:<a@example.com> SIZE=1
    S: 555 5.5.4 Parameter not recognized
    C: EHLO client.example
    S: 250-mx.example
    S: 250-PIPELINING
    S: 250-SIZE 52428800
    S: 250-8BITMIME
    S: 250-SMTPUTF8
    S: 250-ENHANCEDSTATUSCODES
    S: 250-STARTTLS
    S: 250 XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT
    C: MAIL FROM:<a@example.com> SIZE=1
    S: 250 2.1.0 Ok
    C: XCLIENT ADDR=192.0.2.7
    S: 503 5.5.1 XCLIENT inside a transaction
    ");
    assert_eq!(bench.events, ["Connect", "Introduced", "Connect"]);
    let session = bench.server.session();
    let connection = &session.connection;
    assert_eq!(connection.remote_ip.to_string(), "2001:db8::7");
    assert_eq!((connection.remote_port, connection.local_port), (4711, 587));
    assert_eq!(connection.local_ip.to_string(), "192.0.2.25");
    let auth = session.auth.as_ref().expect("a login");
    assert_eq!(auth.username.as_deref(), Some("user"));
    assert_eq!(session.with_keyword(), "ESMTPA");
}

#[test]
fn a_client_that_greeted_its_proxy_need_not_be_greeted_for_again() {
    let mut config = trusting();
    config.helo_required = true;
    let mut bench = Bench::new(config);
    bench.feed(b"XCLIENT HELO=client.example PROTO=ESMTP ADDR=192.0.2.200\r\n");
    bench.feed(b"MAIL FROM:<a@example.com> SIZE=1\r\n");
    assert!(bench.replies().ends_with("\r\n250 2.1.0 Ok\r\n"));
    let helo = bench.server.session().helo.as_ref().expect("a greeting");
    assert_eq!(
        (helo.verb, helo.host.as_str()),
        (HeloVerb::Ehlo, "client.example")
    );
    bench.feed(b"RSET\r\nXCLIENT HELO=old.example PROTO=SMTP\r\n");
    bench.feed(b"MAIL FROM:<a@example.com> SIZE=1\r\n");
    assert!(
        bench
            .replies()
            .ends_with("\r\n555 5.5.4 Parameter not recognized\r\n")
    );
    // Nothing is left of the last client.
    bench.feed(b"XCLIENT PORT=1\r\nMAIL FROM:<a@example.com>\r\n");
    assert!(
        bench
            .replies()
            .ends_with("\r\n503 5.5.1 Say HELO or EHLO first\r\n")
    );
}

#[test]
fn a_name_and_a_login_do_not_outlive_their_client() {
    let mut bench = Bench::new(trusting());
    bench.feed(b"XCLIENT ADDR=192.0.2.7 NAME=one.example LOGIN=one\r\n");
    assert!(bench.server.session().auth.is_some());
    bench.feed(b"XCLIENT ADDR=192.0.2.8\r\n");
    let session = bench.server.session();
    assert_eq!(session.connection.remote_ip.to_string(), "192.0.2.8");
    assert_eq!(
        (&session.connection.remote_ptr, &session.auth),
        (&None, &None)
    );
}

#[test]
fn the_named_client_is_judged_and_the_proxy_keeps_its_right() {
    let mut config = trusting();
    config.hooks.connect = true;
    config.relay = vec!["192.0.2.0/24".parse().expect("a network")];
    let mut bench = Bench::answering(config, |hook, session| match hook {
        Hook::Connect if session.connection.remote_ip.to_string() == "203.0.113.66" => {
            Verdict::Reject(ReplyOptions::default())
        }
        _ => Verdict::NoHook,
    });
    bench.feed(b"XCLIENT ADDR=203.0.113.7\r\nMAIL FROM:<>\r\nRCPT TO:<a@b>\r\n");
    assert!(
        bench
            .replies()
            .ends_with("\r\n550 5.7.1 Relaying denied\r\n")
    );
    bench.feed(b"RSET\r\nXCLIENT ADDR=203.0.113.66\r\n");
    assert!(bench.replies().ends_with("\r\n521 5.7.1 Rejected\r\n"));
    assert!(bench.closing.is_some());
}

#[test]
fn others_are_refused_and_a_bad_value_changes_nothing() {
    let mut config = trusting();
    config.xclient = vec!["198.51.100.0/24".parse().expect("a network")];
    let mut bench = Bench::new(config);
    bench.feed(b"EHLO c\r\n");
    bench.replies();
    bench.feed(b"XCLIENT ADDR=198.51.100.7\r\nXCLIENT ADDR=198.51.100.7\r\n");
    assert_eq!(
        bench.replies(),
        "550 5.7.0 You may not speak for others\r\n".repeat(2)
    );
    let mut bench = Bench::new(open_config());
    bench.replies();
    bench.feed(b"XCLIENT ADDR=198.51.100.7\r\n");
    assert_eq!(bench.replies(), "502 5.5.1 Command not implemented\r\n");

    let mut bench = Bench::new(trusting());
    bench.replies();
    bench.feed(b"XCLIENT ADDR=192.0.2.7 HELO=a+0D+0AX:+20y\r\n");
    assert_eq!(
        bench.replies(),
        "501 5.5.4 Syntax: XCLIENT attribute=value\r\n"
    );
    assert_eq!(
        bench.server.session().connection.remote_ip.to_string(),
        "192.0.2.1"
    );
}
