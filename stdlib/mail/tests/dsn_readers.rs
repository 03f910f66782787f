//! Programs that others wrote read the notifications that we write: Python's `email` and
//! flufl.bounce (PyPI). `PYTHON` names the interpreter, default `python3`.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests stop and report this way"
)]

use angarium_mail::dsn::{Action, DiagnosticType, Options, Original, Recipient, Report};
use serde_json::{Value, json};
use std::{
    io::Write,
    process::{Command, Stdio},
};

const EMAIL: &str = r#"
import email, email.policy, json, sys
m = email.message_from_bytes(sys.stdin.buffer.read(), policy=email.policy.SMTP)
parts = m.get_payload()
status = [dict((k.lower(), str(v)) for k, v in b.items()) for b in parts[1].get_payload()] \
    if parts[1].get_content_type() == "message/delivery-status" else []
third = None
if len(parts) > 2:
    p = parts[2]
    third = p.get_payload()[0]["subject"] if p.is_multipart() else p.get_payload(decode=True).decode("utf-8", "replace")
print(json.dumps({
    "type": m.get_content_type(), "report": m.get_param("report-type"),
    "subject": str(m["subject"]), "from": str(m["from"].addresses[0].addr_spec), "name": str(m["from"].addresses[0].display_name),
    "in_reply_to": str(m["in-reply-to"]), "auto": str(m["auto-submitted"]), "date": m["date"].datetime.timestamp(),
    "types": [p.get_content_type() for p in parts], "status": status, "third": third,
    "text": parts[0].get_content(), "defects": [str(d) for p in m.walk() for d in p.defects],
}))
"#;

const FLUFL: &str = r#"
import email, json, sys
try:
    from flufl.bounce import all_failures
except ImportError:
    print("null"); sys.exit()
temporary, permanent = all_failures(email.message_from_bytes(sys.stdin.buffer.read()))
names = lambda found: sorted(a.decode() for a in found)
print(json.dumps([names(temporary), names(permanent)]))
"#;

/// Runs a script with the message as its input; `None` if there is no Python.
fn read(script: &str, message: &[u8]) -> Option<Value> {
    let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let child = Command::new(python)
        .args(["-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else {
        println!("skipped: python3 is not installed");
        return None;
    };
    // A script that needs no input may be gone already.
    let _ = child.stdin.take().unwrap().write_all(message);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

const HEADER: &str = "From: Ann <ann@sender.test>\r\nSubject: =?utf-8?Q?Lunch_p=C3=A5_fredag?=\r\n\
    Message-ID: <original.1@sender.test>\r\n\r\n";

#[test]
fn pythons_email_finds_every_field_of_every_action() {
    for action in [
        Action::Failed,
        Action::Delayed,
        Action::Delivered,
        Action::Relayed,
    ] {
        for full in [false, true] {
            let message = format!("{HEADER}The bödy.\r\n");
            let diagnostic = "550 5.1.1 no such user ".repeat(12);
            let recipients = [Recipient {
                address: "bob@rcpt.test",
                original: Some("rfc822;bob@alias.test"),
                status: [5, 1, 1],
                diagnostic: Some((DiagnosticType::Smtp, &diagnostic)),
                remote_mta: Some("mx.rcpt.test"),
                command: Some("RCPT"),
                last_attempt: Some(1_700_000_300),
                will_retry_until: Some(1_700_432_000),
            }];
            let report = Report {
                action,
                recipients: &recipients,
                original: Original {
                    header: HEADER.as_bytes(),
                    message: Some(message.as_bytes()),
                    envelope_id: Some("QQ314159"),
                    arrival: Some(1_700_000_000),
                    received_from: Some(("client.test", "192.0.2.7")),
                    ..Original::default()
                },
                to: "ann@sender.test",
                hostname: "mx.test",
                now: 1_700_000_400,
                random: [3; 16],
                options: Options {
                    original_message: Some(full),
                    ..Options::default()
                },
            };
            let built = report.build();
            assert_eq!(built.eight_bit, full);
            let Some(read) = read(EMAIL, &built.message) else {
                return;
            };
            assert_eq!(read["defects"], json!([]));
            assert_eq!(read["type"], "multipart/report");
            assert_eq!(read["report"], "delivery-status");
            assert_eq!(read["from"], "MAILER-DAEMON@mx.test");
            assert_eq!(read["name"], "Mail Delivery System");
            assert_eq!(read["in_reply_to"], "<original.1@sender.test>");
            assert_eq!(read["auto"], "auto-replied");
            assert_eq!(read["date"], 1_700_000_400.0);
            assert!(
                read["subject"]
                    .as_str()
                    .unwrap()
                    .ends_with(": Lunch på fredag")
            );
            let third = if full {
                "message/rfc822"
            } else {
                "text/rfc822-headers"
            };
            let types = json!(["text/plain", "message/delivery-status", third]);
            assert_eq!(read["types"], types);
            let text = read["text"].as_str().unwrap();
            assert!(text.contains("<bob@rcpt.test>") && text.contains("mx.rcpt.test"));
            assert!(text.contains("Subject: Lunch på fredag"));
            let (message, recipient) = (&read["status"][0], &read["status"][1]);
            assert_eq!(read["status"].as_array().unwrap().len(), 2);
            assert_eq!(message["reporting-mta"], "dns; mx.test");
            assert_eq!(message["original-envelope-id"], "QQ314159");
            assert_eq!(
                message["received-from-mta"],
                "smtp; client.test (192.0.2.7)"
            );
            assert!(
                message["arrival-date"]
                    .as_str()
                    .unwrap()
                    .starts_with("Tue, 14 Nov 2023")
            );
            assert_eq!(recipient["original-recipient"], "rfc822; bob@alias.test");
            assert_eq!(recipient["final-recipient"], "rfc822; bob@rcpt.test");
            assert_eq!(recipient["action"], action.as_str());
            assert_eq!(recipient["status"], "5.1.1");
            assert_eq!(recipient["remote-mta"], "dns; mx.rcpt.test");
            let code = recipient["diagnostic-code"].as_str().unwrap();
            assert_eq!(code, format!("smtp; {}", diagnostic.trim_end()));
            let delayed = action == Action::Delayed;
            assert_eq!(!recipient["will-retry-until"].is_null(), delayed);
        }
    }
}

#[test]
fn flufl_bounce_finds_the_recipient_and_the_class() {
    for (action, status) in [
        (Action::Failed, [5, 1, 1]),
        (Action::Delayed, [4, 4, 1]),
        (Action::Delivered, [2, 0, 0]),
        (Action::Relayed, [2, 0, 0]),
    ] {
        let recipients = [Recipient {
            address: "bob@rcpt.test",
            original: None,
            status,
            diagnostic: Some((DiagnosticType::Smtp, "a reply")),
            remote_mta: Some("mx.rcpt.test"),
            command: Some("RCPT"),
            last_attempt: Some(1_700_000_300),
            will_retry_until: Some(1_700_432_000),
        }];
        let report = Report {
            action,
            recipients: &recipients,
            original: Original {
                header: HEADER.as_bytes(),
                ..Original::default()
            },
            to: "ann@sender.test",
            hostname: "mx.test",
            now: 1_700_000_400,
            random: [3; 16],
            options: Options::default(),
        };
        let Some(found) = read(FLUFL, &report.build().message) else {
            return;
        };
        if found.is_null() {
            println!("skipped: flufl.bounce is not installed");
            return;
        }
        let expected = match action {
            Action::Failed => json!([[], ["bob@rcpt.test"]]),
            Action::Delayed => json!([["bob@rcpt.test"], []]),
            _ => json!([[], []]),
        };
        assert_eq!(found, expected, "{action:?}");
    }
}
