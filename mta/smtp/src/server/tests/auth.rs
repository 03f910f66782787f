//! AUTH dialogues.

use insta::assert_snapshot;

use crate::param::Extensions;
use crate::server::testing::{Bench, open_config};
use crate::server::{AuthArguments, AuthConfig, Config, Hook};
use crate::verdict::{Accept, ReplyOptions, Verdict};

fn config() -> Config {
    Config {
        auth: Some(AuthConfig {
            mechanisms: vec!["PLAIN".to_owned(), "LOGIN".to_owned(), "X-ASK".to_owned()],
            tls_only: false,
        }),
        extensions: Extensions::standard(),
        ..open_config()
    }
}

/// user/secret is right; X-ASK wants "yes" after two questions.
fn hook(hook: &Hook) -> Verdict {
    let Hook::Auth { arguments, .. } = hook else {
        return Verdict::NoHook;
    };
    match arguments {
        AuthArguments::Credentials { username, password }
            if username == "user" && password == "secret" =>
        {
            Verdict::accept()
        }
        AuthArguments::Credentials { username, .. } if username == "broken" => Verdict::Error,
        AuthArguments::Credentials { .. } => Verdict::End,
        AuthArguments::Exchange { state: 2, response } if response.as_deref() == Some(b"yes") => {
            Verdict::Accept(Box::new(Accept {
                username: Some("asked".to_owned()),
                ..Accept::default()
            }))
        }
        AuthArguments::Exchange { state, .. } if *state < 2 => Verdict::Reply {
            reply: ReplyOptions::reason(format!("question\n{state}").as_bytes()),
            next: false,
        },
        AuthArguments::Exchange { .. } => Verdict::Reject(ReplyOptions::default()),
    }
}

fn bench(config: Config) -> Bench {
    let mut bench = Bench::answering(config, |request, _| hook(request));
    bench.feed(b"EHLO c\r\n");
    assert!(bench.replies().ends_with("250 AUTH PLAIN LOGIN X-ASK\r\n"));
    bench
}

#[test]
fn plain_and_login_reach_the_hook_decoded() {
    let mut plain = bench(config());
    assert_snapshot!(plain.dialogue(&["AUTH plain AHVzZXIAc2VjcmV0", "AUTH PLAIN AHVzZXIAc2VjcmV0"]), @r"
    C: AUTH plain AHVzZXIAc2VjcmV0
    S: 235 2.7.0 Authentication successful
    C: AUTH PLAIN AHVzZXIAc2VjcmV0
    S: 503 5.5.1 Already authenticated
    ");
    let auth = plain.server.session().auth.clone().expect("authenticated");
    assert_eq!(
        (auth.mechanism.as_str(), auth.username.as_deref()),
        ("PLAIN", Some("user"))
    );
    assert_eq!(plain.server.session().with_keyword(), "ESMTPA");

    assert_snapshot!(bench(config()).dialogue(&["AUTH PLAIN", "AHVzZXIAc2VjcmV0"]), @r"
    C: AUTH PLAIN
    S: 334 
    C: AHVzZXIAc2VjcmV0
    S: 235 2.7.0 Authentication successful
    ");
    assert_snapshot!(bench(config()).dialogue(&["AUTH LOGIN", "dXNlcg==", "c2VjcmV0"]), @r"
    C: AUTH LOGIN
    S: 334 VXNlcm5hbWU6
    C: dXNlcg==
    S: 334 UGFzc3dvcmQ6
    C: c2VjcmV0
    S: 235 2.7.0 Authentication successful
    ");
    assert_snapshot!(bench(config()).dialogue(&["AUTH LOGIN dXNlcg==", "d3Jvbmc="]), @r"
    C: AUTH LOGIN dXNlcg==
    S: 334 UGFzc3dvcmQ6
    C: d3Jvbmc=
    S: 535 5.7.8 Rejected
    ");
}

#[test]
fn other_mechanisms_are_a_dialogue_with_the_hook() {
    let mut bench = bench(config());
    assert_snapshot!(bench.dialogue(&["AUTH X-ASK", "bm8=", "eWVz"]), @r"
    C: AUTH X-ASK
    S: 334 cXVlc3Rpb24KMA==
    C: bm8=
    S: 334 cXVlc3Rpb24KMQ==
    C: eWVz
    S: 235 2.7.0 Authentication successful
    ");
    let auth = bench.server.session().auth.clone().expect("authenticated");
    assert_eq!(auth.username.as_deref(), Some("asked"));
    assert_snapshot!(bench.events[1..].join("\n"), @r#"
    Auth { mechanism: "X-ASK", arguments: Exchange { state: 1, response: Some(2) } }
    Auth { mechanism: "X-ASK", arguments: Exchange { state: 2, response: Some(3) } }
    "#);
}

#[test]
fn whatever_is_no_acceptance_lets_nobody_in() {
    for (lines, reply) in [
        (&["AUTH PLAIN AGEAYg=="][..], "535 5.7.8 Rejected"),
        (
            &["AUTH PLAIN AGJyb2tlbgBi"],
            "454 4.7.0 Internal error, try again later",
        ),
        (&["AUTH PLAIN", "*"], "501 5.7.0 Authentication cancelled"),
        (&["AUTH PLAIN ="], "501 5.5.2 Malformed PLAIN message"),
        (
            &["AUTH PLAIN AGEAYgBj"],
            "501 5.5.2 Malformed PLAIN message",
        ),
        (&["AUTH PLAIN AAA="], "501 5.5.2 Malformed PLAIN message"),
        (&["AUTH PLAIN a b c"], "501 5.5.2 Invalid base64 data"),
        (
            &["AUTH LOGIN", "/w=="],
            "501 5.5.2 The user name is not UTF-8 without NUL",
        ),
        (
            &["AUTH LOGIN", "YQBi"],
            "501 5.5.2 The user name is not UTF-8 without NUL",
        ),
        (
            &["AUTH LOGIN dXNlcg==", "c2VjcmV0AA=="],
            "501 5.5.2 The password is not UTF-8 without NUL",
        ),
        (
            &["AUTH"],
            "501 5.5.4 Syntax: AUTH mechanism [initial-response]",
        ),
        (&["AUTH CRAM-MD5"], "504 5.5.4 Unknown AUTH mechanism"),
    ] {
        let mut bench = bench(config());
        let text = bench.dialogue(lines);
        assert_eq!(
            text.lines().last(),
            Some(format!("S: {reply}").as_str()),
            "{lines:?}"
        );
        assert!(bench.server.session().auth.is_none());
        assert_eq!(
            bench.dialogue(&["NOOP"]).lines().last(),
            Some("S: 250 2.0.0 Ok"),
            "{lines:?}"
        );
    }
}

#[test]
fn auth_needs_tls_and_an_announcement() {
    let tls_only = Config {
        auth: Some(AuthConfig::default()),
        ..open_config()
    };
    let mut bench = Bench::answering(tls_only, |request, _| hook(request));
    bench.feed(b"EHLO c\r\n");
    assert!(!bench.replies().contains("AUTH"));
    bench.feed(b"AUTH PLAIN AHVzZXIAc2VjcmV0\r\n");
    assert_eq!(
        bench.replies(),
        "538 5.7.11 Encryption is required for AUTH\r\n"
    );
    bench.feed(b"STARTTLS\r\n");
    bench.feed(b"AUTH PLAIN AHVzZXIAc2VjcmV0\r\n");
    assert!(
        bench
            .replies()
            .ends_with("503 5.5.1 AUTH was not announced\r\n")
    );
    bench.feed(b"EHLO c\r\nAUTH PLAIN AHVzZXIAc2VjcmV0\r\n");
    assert!(
        bench
            .replies()
            .ends_with("250 AUTH PLAIN LOGIN\r\n235 2.7.0 Authentication successful\r\n")
    );
}

#[test]
fn auth_lines_have_their_own_limit() {
    let mut config = config();
    config.limits.line = 20;
    config.limits.auth_line = 40;
    let mut bench = bench(config);
    let reply = |bench: &mut Bench, line: String| {
        bench.dialogue(&[&line]).lines().last().map(str::to_owned)
    };
    assert_eq!(
        reply(&mut bench, format!("AUTH PLAIN {}", "A".repeat(28))),
        Some("S: 501 5.5.2 Malformed PLAIN message".to_owned())
    );
    assert_eq!(
        reply(&mut bench, format!("AUTH PLAIN {}", "A".repeat(32))),
        Some("S: 500 5.5.2 Line too long".to_owned())
    );
    bench.dialogue(&["AUTH PLAIN"]);
    assert_eq!(
        reply(&mut bench, "A".repeat(44)),
        Some("S: 500 5.5.2 Line too long".to_owned())
    );
    assert_eq!(
        reply(&mut bench, "NOOP".to_owned()),
        Some("S: 250 2.0.0 Ok".to_owned())
    );
}
