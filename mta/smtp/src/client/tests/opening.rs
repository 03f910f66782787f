//! Greeting, STARTTLS and AUTH.

use insta::assert_snapshot;

use super::*;

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
fn cram_md5_is_taken_first_and_signs_the_challenge() {
    let mut bench = Bench::new(Config {
        auth: Some(Credentials {
            username: "tim".to_owned(),
            password: "tanstaaftanstaaf".to_owned(),
            mechanism: None,
        }),
        ..plain()
    });
    bench.announce = "AUTH LOGIN PLAIN CRAM-MD5";
    // The example of RFC 2195.
    let challenge = "334 PDE4OTYuNjk3MTcwOTUyQHBvc3RvZmZpY2UucmVzdG9uLm1jaS5uZXQ+";
    let response = "dGltIGI5MTNhNjAyYzdlZGE3YTQ5NWI0ZTZlNzMzNGQzODkw";
    bench.replies = vec![("AUTH CRAM-MD5", challenge), (response, "235 ok")];
    assert!(bench.run().starts_with("EOD 250"), "{}", bench.dialogue);
    bench.client = Client::new(bench.client.config.clone(), false, bench.now);
    bench.replies = vec![("AUTH CRAM-MD5", "334 !")];
    bench.done.clear();
    assert_snapshot!(bench.run(), @"failed: protocol temporary: AUTH challenge is no base64");
}

#[test]
fn a_mechanism_that_is_asked_for_is_used_or_nothing_is() {
    for (mechanism, announce, expected) in [
        (
            Mechanism::Plain,
            "AUTH CRAM-MD5 PLAIN",
            "AUTH PLAIN AHVzZXIAc2VjcmV0",
        ),
        (Mechanism::Login, "AUTH PLAIN LOGIN", "AUTH LOGIN"),
        (Mechanism::CramMd5, "AUTH PLAIN LOGIN", "QUIT"),
    ] {
        let auth = auth().map(|auth| Credentials {
            mechanism: Some(mechanism),
            ..auth
        });
        let mut bench = Bench::new(Config { auth, ..plain() });
        bench.announce = announce;
        bench.replies = vec![("AUTH LOGIN", "535 no"), ("AUTH PLAIN", "535 no")];
        let result = bench.run();
        if expected == "QUIT" {
            assert_eq!(
                result,
                "failed: smtp temporary: AUTH CRAM-MD5 is not offered"
            );
        } else {
            assert_eq!(bench.dialogue.lines().nth(1), Some(expected));
        }
    }
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

#[test]
fn xclient_tells_what_the_server_wants_to_know_before_auth() {
    let config = Config {
        xclient: vec![
            ("ADDR".to_owned(), "192.0.2.1".to_owned()),
            ("NAME".to_owned(), "a b=\u{e4}\r\n".to_owned()),
            ("LOGIN".to_owned(), "x".to_owned()),
        ],
        auth: auth(),
        ..plain()
    };
    let mut bench = Bench::new(config.clone());
    bench.announce = "xclient NAME ADDR PROTO\nAUTH PLAIN";
    bench.replies = vec![("XCLIENT", "220 mx.example ESMTP")];
    assert!(bench.run().starts_with("EOD 250"));
    assert!(
        bench.dialogue.contains(
            "EHLO me.example\n\
             XCLIENT ADDR=192.0.2.1 NAME=a+20b+3D+C3+A4+0D+0A\n\
             EHLO me.example\n\
             AUTH PLAIN"
        ),
        "{}",
        bench.dialogue
    );

    let mut bench = Bench::new(config.clone());
    bench.announce = "AUTH PLAIN";
    assert!(bench.run().starts_with("EOD 250"));
    assert!(!bench.dialogue.contains("XCLIENT"), "{}", bench.dialogue);

    let mut bench = Bench::new(config);
    bench.announce = "XCLIENT ADDR";
    bench.replies = vec![("XCLIENT", "550 5.7.0 no")];
    assert_snapshot!(bench.run(), @r#"failed: XCLIENT 550 5.7.0 ["no"]"#);
}
