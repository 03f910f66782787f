//! Extensions that EHLO announces by configuration: what they are worth in each state of a session.

use insta::assert_snapshot;

use crate::param::{BodyType, Extensions};
use crate::server::testing::{Bench, open_config};
use crate::server::{Config, Hook};
use crate::verdict::{Accept, EnhancedChoice, ReplyOptions, Verdict};

/// Everything that can be announced.
fn config() -> Config {
    let mut config = open_config();
    config.extensions = Extensions {
        chunking: true,
        binarymime: true,
        requiretls: true,
        mtpriority: true,
        limits: true,
        ..config.extensions
    };
    config.limits.messages = 7;
    config.xclient = vec!["192.0.2.1".parse().expect("a network")];
    config
}

fn announced(bench: &mut Bench) -> String {
    bench.feed(b"EHLO c\r\n");
    let replies = bench.replies();
    replies
        .lines()
        .filter_map(|line| line.get(4..))
        .collect::<Vec<_>>()
        .join("|")
}

#[test]
fn what_is_configured_is_announced_where_it_has_a_meaning() {
    let mut bench = Bench::new(config());
    bench.replies();
    assert_eq!(
        announced(&mut bench),
        "mx.example|PIPELINING|SIZE 52428800|8BITMIME|SMTPUTF8|ENHANCEDSTATUSCODES|STARTTLS|\
         CHUNKING|BINARYMIME|MT-PRIORITY|LIMITS MAILMAX=7 RCPTMAX=1000|\
         XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT"
    );
    bench.feed(b"STARTTLS\r\n");
    bench.replies();
    let under_tls = announced(&mut bench);
    assert!(under_tls.contains("|REQUIRETLS|"), "{under_tls}");
    assert!(!under_tls.contains("STARTTLS"), "{under_tls}");

    let mut config = config();
    config.extensions.chunking = false;
    config.limits.messages = 0;
    config.xclient = vec!["198.51.100.0/24".parse().expect("a network")];
    let announced = announced(&mut Bench::new(config));
    assert!(
        announced.ends_with("|STARTTLS|MT-PRIORITY|LIMITS RCPTMAX=1000"),
        "{announced}"
    );
}

#[test]
fn a_parameter_of_what_is_not_announced_is_unknown() {
    let mut bench = Bench::new(open_config());
    bench.feed(b"EHLO c\r\n");
    bench.replies();
    for parameter in ["BODY=BINARYMIME", "REQUIRETLS", "MT-PRIORITY=1"] {
        bench.feed(format!("MAIL FROM:<a@b> {parameter}\r\n").as_bytes());
        assert!(bench.replies().starts_with("555 5.5.4"), "{parameter}");
    }
    // In clear REQUIRETLS is not announced.
    let mut bench = Bench::new(config());
    bench.feed(b"EHLO c\r\nMAIL FROM:<a@b> REQUIRETLS\r\n");
    assert!(bench.replies().contains("\r\n555 5.5.4"));
    bench.feed(b"STARTTLS\r\n");
    bench.feed(b"EHLO c\r\nMAIL FROM:<a@b> REQUIRETLS\r\n");
    assert!(bench.replies().ends_with("\r\n250 2.1.0 Ok\r\n"));
    let envelope = bench.server.session().transaction.envelope.as_ref();
    assert!(envelope.is_some_and(|envelope| envelope.requiretls));
}

#[test]
fn help_names_the_commands_that_there_are() {
    let help = |bench: &mut Bench| {
        bench.feed(b"HELP\r\n");
        bench.replies()
    };
    let mut bench = Bench::new(config());
    bench.replies();
    assert_eq!(
        help(&mut bench),
        "214 2.0.0 Commands: EHLO HELO MAIL RCPT DATA BDAT RSET NOOP VRFY HELP STARTTLS XCLIENT QUIT\r\n"
    );
    bench.feed(b"STARTTLS\r\n");
    bench.replies();
    assert!(!help(&mut bench).contains("STARTTLS"));
    let mut bench = Bench::new(Config::default());
    bench.replies();
    assert_eq!(
        help(&mut bench),
        "214 2.0.0 Commands: EHLO HELO MAIL RCPT DATA RSET NOOP VRFY HELP QUIT\r\n"
    );
}

#[test]
fn a_helo_hook_takes_an_extension_away() {
    let mut config = config();
    config.hooks.helo = true;
    let mut bench = Bench::answering(config, |hook, _| match hook {
        Hook::Helo { extensions, .. } => {
            let taken = ["CHUNKING", "MT-PRIORITY", "XCLIENT"];
            let kept = extensions
                .iter()
                .flatten()
                .filter(|line| !taken.contains(&line.split(' ').next().unwrap_or_default()));
            Verdict::Accept(Box::new(Accept {
                extensions: Some(kept.map(|line| line.clone().into_bytes()).collect()),
                ..Accept::default()
            }))
        }
        _ => Verdict::NoHook,
    });
    bench.feed(b"EHLO c\r\n");
    bench.replies();
    assert_snapshot!(bench.dialogue(&[
        "MAIL FROM:<a@b> MT-PRIORITY=1",
        "MAIL FROM:<a@b> BODY=BINARYMIME",
        "MAIL FROM:<a@b>",
        "BDAT 0 LAST",
        "RSET",
        "XCLIENT ADDR=192.0.2.7",
    ]), @r"
    C: MAIL FROM:<a@b> MT-PRIORITY=1
    S: 555 5.5.4 Parameter not recognized
    C: MAIL FROM:<a@b> BODY=BINARYMIME
    S: 555 5.5.4 Parameter not recognized
    C: MAIL FROM:<a@b>
    S: 250 2.1.0 Ok
    C: BDAT 0 LAST
    S: 502 5.5.1 Command not implemented
    C: RSET
    S: 250 2.0.0 Ok
    C: XCLIENT ADDR=192.0.2.7
    S: 550 5.7.0 You may not speak for others
    ");
}

#[test]
fn a_binary_message_is_kept_byte_for_byte_and_comes_in_chunks() {
    let mut bench = Bench::new(config());
    bench.feed(b"EHLO c\r\nMAIL FROM:<a@b> BODY=binarymime\r\nRCPT TO:<a@b>\r\n");
    bench.replies();
    bench.feed(b"DATA\r\n");
    assert_eq!(
        bench.replies(),
        "503 5.5.1 BINARYMIME is sent with BDAT\r\n"
    );
    let body = bench.server.session().transaction.envelope.as_ref();
    assert_eq!(
        body.map(|envelope| envelope.body),
        Some(BodyType::BinaryMime)
    );
    bench.feed(b"BDAT 10\r\nA: b\r\n\r\n\n\rBDAT 9 LAST\r\n\0\xff\n.\r\n\r\r\n");
    assert_eq!(
        bench.replies(),
        "250 2.0.0 Ok, chunk received\r\n250 2.0.0 Ok: queued as T2\r\n"
    );
    assert_eq!(bench.messages, [b"A: b\r\n\r\n\n\r\0\xff\n.\r\n\r\r\n"]);
    // The next message is none.
    bench.feed(b"MAIL FROM:<a@b>\r\nRCPT TO:<a@b>\r\nBDAT 3 LAST\r\na\nb");
    assert_eq!(
        bench.messages.last().map(Vec::as_slice),
        Some(&b"a\r\nb"[..])
    );
}

#[test]
fn only_who_is_known_may_overtake_others() {
    let mut config = config();
    config.relay = vec!["198.51.100.0/24".parse().expect("a network")];
    config.hooks.mailfrom = true;
    config.hooks.rcptto = true;
    let priority = |bench: &Bench| {
        let envelope = bench.server.session().transaction.envelope.as_ref();
        envelope.and_then(|envelope| envelope.priority)
    };
    let mut bench = Bench::answering(config.clone(), |_, _| Verdict::accept());
    bench.feed(b"EHLO c\r\n");
    bench.replies();
    for (asked, reply, granted) in [
        ("9", "250 2.3.6 0 is the new priority\r\n", 0),
        ("0", "250 2.1.0 Ok\r\n", 0),
        ("-4", "250 2.1.0 Ok\r\n", -4),
    ] {
        bench.feed(format!("MAIL FROM:<a@b> MT-PRIORITY={asked}\r\n").as_bytes());
        assert_eq!(bench.replies(), reply, "{asked}");
        assert_eq!(priority(&bench), Some(granted), "{asked}");
        bench.feed(b"RSET\r\n");
        bench.replies();
    }
    // The words of a script stay.
    let mut bench = Bench::answering(config.clone(), |hook, _| match hook {
        Hook::MailFrom { .. } => Verdict::Accept(Box::new(Accept {
            reply: ReplyOptions {
                enhanced: EnhancedChoice::Off,
                ..ReplyOptions::reason(b"fine")
            },
            ..Accept::default()
        })),
        _ => Verdict::accept(),
    });
    bench.feed(b"EHLO c\r\nMAIL FROM:<a@b> MT-PRIORITY=9\r\n");
    assert!(bench.replies().ends_with("\r\n250 fine\r\n"));

    config.relay = vec!["192.0.2.0/24".parse().expect("a network")];
    let mut bench = Bench::answering(config, |_, _| Verdict::accept());
    bench.feed(b"EHLO c\r\nMAIL FROM:<a@b> MT-PRIORITY=9\r\n");
    assert!(bench.replies().ends_with("\r\n250 2.1.0 Ok\r\n"));
    assert_eq!(priority(&bench), Some(9));
}
