//! What a notification looks like, and that nothing in its input can change its structure.

use super::*;
use crate::{
    message::Message,
    parts::{Limits, PartId, Parts},
};
use proptest::prelude::*;

const HEADER: &str = "Received: from client.test (unknown [192.0.2.7])\r\n\tby mx.test with ESMTP\r\n\
    From: Ann <ann@sender.test>\r\nTo: bob@rcpt.test\r\nSubject: =?utf-8?Q?Lunch_p=C3=A5_fredag?=\r\n\
    Message-ID: <original.1@sender.test>\r\n\r\n";

fn recipient() -> Recipient<'static> {
    Recipient {
        address: "bob@rcpt.test",
        original: Some("rfc822;bob@alias.test"),
        status: [5, 1, 1],
        diagnostic: Some((DiagnosticType::Smtp, "550 5.1.1 no such user")),
        remote_mta: Some("mx.rcpt.test"),
        command: Some("RCPT"),
        last_attempt: Some(1_700_000_300),
        will_retry_until: Some(1_700_432_000),
    }
}

fn report<'a>(action: Action, recipients: &'a [Recipient<'a>]) -> Report<'a> {
    Report {
        action,
        recipients,
        original: Original {
            header: HEADER.as_bytes(),
            message: None,
            ret_full: false,
            smtputf8: false,
            envelope_id: Some("QQ314159"),
            arrival: Some(1_700_000_000),
            received_from: Some(("client.test", "192.0.2.7")),
        },
        to: "ann@sender.test",
        hostname: "mx.test",
        now: 1_700_000_400,
        random: [0xab; 16],
        options: Options::default(),
    }
}

fn text(report: &Report<'_>) -> String {
    let message = report.build().message;
    let text = String::from_utf8(message).unwrap();
    assert!(
        text.split_inclusive("\r\n")
            .all(|line| line.ends_with("\r\n") && line.len() <= 1000)
    );
    assert!(!text.replace("\r\n", "").contains(['\r', '\n']));
    text.replace("\r\n", "\n")
}

#[test]
fn a_failure_names_recipient_host_reply_and_command() {
    insta::assert_snapshot!(text(&report(Action::Failed, &[recipient()])));
}

#[test]
fn a_delay_says_until_when_attempts_go_on() {
    let recipient = Recipient {
        status: [4, 4, 1],
        diagnostic: Some((DiagnosticType::XError, "connection timed out")),
        command: None,
        ..recipient()
    };
    insta::assert_snapshot!(text(&report(Action::Delayed, &[recipient])));
}

#[test]
fn successes_are_reported_as_delivered_or_relayed() {
    let recipient = Recipient {
        status: [2, 0, 0],
        diagnostic: Some((DiagnosticType::Smtp, "250 2.0.0 queued")),
        command: None,
        ..recipient()
    };
    insta::assert_snapshot!("delivered", text(&report(Action::Delivered, &[recipient])));
    insta::assert_snapshot!("relayed", text(&report(Action::Relayed, &[recipient])));
}

#[test]
fn what_was_answered_is_named_for_people() {
    for (command, words) in [
        ("RCPT", "in reply to RCPT:"),
        ("EOD", "in reply to the message:"),
        ("BANNER", "in reply to the connection:"),
    ] {
        let recipients = [Recipient {
            command: Some(command),
            ..recipient()
        }];
        assert!(text(&report(Action::Failed, &recipients)).contains(words));
    }
}

#[test]
fn the_full_message_is_returned_when_ret_asks_for_it() {
    let message = format!("{HEADER}The body, at length.\r\n");
    let recipients = [recipient()];
    let mut report = report(Action::Failed, &recipients);
    report.original.message = Some(message.as_bytes());
    assert!(text(&report).contains("text/rfc822-headers"));
    report.original.ret_full = true;
    insta::assert_snapshot!(text(&report));
    report.action = Action::Delayed;
    assert!(text(&report).contains("text/rfc822-headers"));
    report.options.original_message = Some(true);
    assert!(text(&report).contains("message/rfc822"));
    report.options.original_message = Some(false);
    report.options.original_headers = Some(false);
    let without = text(&report);
    assert!(!without.contains("rfc822-headers") && !without.contains("message/rfc822"));
}

#[test]
fn addresses_beyond_ascii_take_the_global_forms() {
    let header = "From: å@ä.test\r\nSubject: på\r\n\r\n";
    let recipients = [Recipient {
        address: "jörg@exämple.test",
        original: Some("utf-8;jörg@exämple.test"),
        ..recipient()
    }];
    let mut report = report(Action::Failed, &recipients);
    report.original.header = header.as_bytes();
    report.to = "å@ä.test";
    let built = report.build();
    assert!(built.smtputf8 && built.eight_bit);
    insta::assert_snapshot!(text(&report));
}

#[test]
fn text_beyond_ascii_alone_keeps_the_ordinary_forms() {
    let header = b"Subject: caf\xe9\r\n\r\n";
    let recipients = [Recipient {
        diagnostic: Some((DiagnosticType::Smtp, "550 användaren finns inte")),
        ..recipient()
    }];
    let mut report = report(Action::Failed, &recipients);
    report.original.header = header;
    let built = report.build();
    assert!(!built.smtputf8 && !built.eight_bit);
    insta::assert_snapshot!(text(&report));
}

#[test]
fn options_change_the_look() {
    let headers = [
        ExtraHeader::parse(b"Foo: Bar").unwrap(),
        ExtraHeader::parse("X-Note: på svenska".as_bytes()).unwrap(),
        ExtraHeader::parse(b"auto-submitted: auto-generated").unwrap(),
    ];
    let recipients = [recipient()];
    let mut report = report(Action::Failed, &recipients);
    report.options = Options {
        from: Some("bounces@mx.test"),
        from_name: Some("Post, \"the\" office"),
        subject_prepend: Some("[x] "),
        headers: &headers,
        readable_mimepart: Some(b"Content-Type: text/html\n\n<p>Sorry.</p>\n"),
        original_headers: Some(false),
        ..Options::default()
    };
    insta::assert_snapshot!(text(&report));
    report.options.subject = Some("Own subject");
    assert!(text(&report).contains("\nSubject: [x] Own subject\n"));
}

#[test]
fn structural_headers_are_refused() {
    for (line, part) in [
        ("Content-Type: x", "sets the header"),
        ("mime-version: 2", "sets the header"),
        ("no colon", "Name: value"),
        ("a b: c", "0x20"),
        (": c", "empty"),
    ] {
        let error = ExtraHeader::parse(line.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn a_readable_part_without_header_is_text() {
    let recipients = [recipient()];
    let mut report = report(Action::Failed, &recipients);
    for (part, body) in [
        ("Sorry, no.\nReally.", "Sorry, no.\r\nReally."),
        ("\nHi", "Hi"),
    ] {
        report.options.readable_mimepart = Some(part.as_bytes());
        let built = report.build().message;
        let parts = Parts::parse(&built, Limits::default()).unwrap();
        let first = parts.get(parts.by_path("0.1").unwrap()).unwrap();
        assert_eq!(first.header.fields().len(), 0);
        assert_eq!(
            first.read_body(&built, true).unwrap().unwrap(),
            body.as_bytes()
        );
    }
}

#[test]
fn spaces_inside_an_address_are_kept_and_hosts_without_a_name_stand_in_brackets() {
    let recipients = [Recipient {
        address: "\"a  b\"@rcpt.test",
        original: Some("rfc822;\"a   b\"@alias.test"),
        remote_mta: Some("192.0.2.1"),
        ..recipient()
    }];
    let mut report = report(Action::Failed, &recipients);
    report.hostname = "2001:db8::1";
    report.original.envelope_id = Some(" two  spaces ");
    let text = text(&report);
    for line in [
        "Final-Recipient: rfc822; \"a  b\"@rcpt.test",
        "Original-Recipient: rfc822; \"a   b\"@alias.test",
        "Original-Envelope-Id: two  spaces",
        "Remote-MTA: dns; [192.0.2.1]",
        "Reporting-MTA: dns; [IPv6:2001:db8::1]",
    ] {
        assert!(
            text.contains(&format!("{line}\n")),
            "{line} is not in {text}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Addresses as they are, whatever their length: our own reader finds them again.
    #[test]
    fn what_is_reported_is_read_back(
        address in "[a-z0-9+.\\-]{1,64}@[a-zåß]{1,200}\\.test", quoted in "\"[a-z ]{0,60}[a-z]\"@x\\.test",
        envid in "[!-~]{1,100}", diagnostic in "[ -~]{0,1200}", status in (4u16..=5, 0u16..8, 0u16..80))
    {
        let orcpt = format!("rfc822;{quoted}");
        let recipients = [Recipient {
            address: &address,
            original: Some(&orcpt),
            status: [status.0, status.1, status.2],
            diagnostic: Some((DiagnosticType::XError, &diagnostic)),
            ..recipient()
        }];
        let mut report = report(Action::Delayed, &recipients);
        report.original.envelope_id = Some(&envid);
        let built = report.build().message;
        let found = read(&built[..]).unwrap().unwrap();
        prop_assert_eq!(found.message.get("Original-Envelope-Id"), Some(&*envid));
        prop_assert_eq!(found.recipients.len(), 1);
        let one = &found.recipients[0];
        prop_assert_eq!(one.address("Final-Recipient").unwrap(), address);
        prop_assert_eq!(one.address("Original-Recipient").unwrap(), quoted);
        prop_assert_eq!(one.action(), Some(Action::Delayed));
        prop_assert_eq!(one.status(), Some([status.0, status.1, status.2]));
    }

    /// A readable part and a returned message in any bytes stay inside their parts, and no line that
    /// a script gives as a header makes another one.
    #[test]
    fn bytes_of_scripts_and_senders_stay_in_their_place(
        readable in proptest::collection::vec(any::<u8>(), 0..300), returned in proptest::collection::vec(any::<u8>(), 0..300),
        line in proptest::collection::vec(any::<u8>(), 0..120), diagnostic in proptest::collection::vec(any::<u8>(), 0..2500))
    {
        let diagnostic = String::from_utf8_lossy(&diagnostic);
        let header: Vec<ExtraHeader> = ExtraHeader::parse(&line).into_iter().collect();
        let recipients = [Recipient {
            diagnostic: Some((DiagnosticType::Smtp, &diagnostic)),
            ..recipient()
        }];
        let mut report = report(Action::Failed, &recipients);
        report.original.message = Some(&returned);
        report.options.original_message = Some(true);
        report.options.readable_mimepart = Some(&readable);
        report.options.headers = &header;
        let built = report.build();
        let parts = Parts::parse(&built.message[..], Limits::default()).unwrap();
        let root = parts.get(PartId::ROOT).unwrap();
        prop_assert_eq!(root.children.len(), 3);
        prop_assert!(root.errors().is_empty());
        prop_assert!(!root.header.is_bad());
        let own = ["from", "to", "subject", "date", "message-id", "in-reply-to", "references",
            "auto-submitted", "mime-version", "content-type"];
        let given = header.iter().map(|header| header.name.to_ascii_lowercase());
        for name in root.header.names() {
            prop_assert!(own.contains(&&*name) || given.clone().any(|g| g == name), "{}", name);
        }
        let found = read(&built.message[..]).unwrap().unwrap();
        prop_assert_eq!(found.recipients.len(), 1);
        prop_assert_eq!(found.recipients[0].status(), Some([5, 1, 1]));
        prop_assert_eq!(found.original, Some(root.children[2]));
        prop_assert_eq!(built.eight_bit, !built.message.is_ascii());
    }
}

const EVIL: &str = "[a-zåß<>@:;,\"()\\\\ \r\n\t\0=?-]{0,40}|x\r\n\r\nBcc: y|[a-z]{900,1500}";

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_input_changes_the_structure(
        address in EVIL, orcpt in EVIL, diagnostic in EVIL, mta in EVIL, command in EVIL, envid in EVIL,
        helo in EVIL, to in EVIL, host in EVIL, from in EVIL, name in EVIL, subject in EVIL, prepend in EVIL,
        value in EVIL, header in proptest::collection::vec(any::<u8>(), 0..200), flags in any::<[bool; 4]>())
    {
        let headers = [ExtraHeader::parse(format!("X-Extra:{value}").as_bytes()).unwrap()];
        let recipients = [Recipient {
            address: &address,
            original: Some(&orcpt),
            diagnostic: Some((DiagnosticType::Smtp, &diagnostic)),
            remote_mta: Some(&mta),
            command: Some(&command),
            ..recipient()
        }];
        let mut report = report(if flags[0] { Action::Failed } else { Action::Delayed }, &recipients);
        report.original.header = &header;
        report.original.message = Some(&header);
        report.original.smtputf8 = flags[1];
        report.original.envelope_id = Some(&envid);
        report.original.received_from = Some((&helo, &mta));
        report.to = &to;
        report.hostname = &host;
        report.options = Options {
            from: flags[3].then_some(&from),
            from_name: Some(&name),
            subject: flags[2].then_some(&subject),
            subject_prepend: Some(&prepend),
            headers: &headers,
            original_message: flags[3].then_some(flags[2]),
            ..Options::default()
        };
        let built = report.build().message;
        let mut message = Message::new(&built).unwrap();
        let mut names = message.header().names();
        names.retain(|name| name != "in-reply-to" && name != "references");
        prop_assert_eq!(names, [
            "from", "to", "subject", "date", "message-id", "auto-submitted", "mime-version",
            "x-extra", "content-type",
        ]);
        prop_assert!(!message.header().is_bad());
        let parts = message.open_parts().unwrap();
        let root = parts.get(PartId::ROOT).unwrap();
        prop_assert_eq!(root.children.len(), 3);
        prop_assert!(root.errors().is_empty());
        let status = parts.get(PartId(2)).unwrap();
        let body = status.read_body(&built, false).unwrap().unwrap();
        let text = String::from_utf8(body).unwrap();
        let groups: Vec<&str> = text.split("\r\n\r\n").collect();
        prop_assert_eq!(groups.len(), 2, "{}", text);
        for group in groups {
            let block = HeaderBlock::read(group.as_bytes()).unwrap();
            prop_assert!(!block.is_bad() && block.body_offset() == group.len() as u64);
            prop_assert!(group.lines().all(|line| line.len() <= 998 && !line.trim().is_empty()));
        }
        prop_assert_eq!(text.matches("\nStatus:").count(), 1);
        prop_assert_eq!(text.matches("\nAction:").count(), 1);
    }
}
