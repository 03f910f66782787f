//! What the client hears of the verdicts of scripts.

use std::sync::Arc;

use angarium_effects::system::SystemNet;
use angarium_effects::{Connect, Net as _};
use tokio::io::AsyncWriteExt as _;

use super::bundle::with_scripts;
use super::sockets::{Real, run};
use super::support::{Bench, Client, MemoryStore, settle, simulate};

/// Speaks until the phase has answered; gives its reply lines, and `closed` when the server closed then.
pub(super) async fn answer(bench: &Bench, phase: &str, utf8: bool) -> Vec<String> {
    answer_to(bench.connect().await, phase, utf8).await
}

async fn answer_to(mut client: Client, phase: &str, utf8: bool) -> Vec<String> {
    let mail = match utf8 {
        true => "MAIL FROM:<a@example.org> SMTPUTF8\r\n",
        false => "MAIL FROM:<a@example.org>\r\n",
    };
    let steps: [(&str, &str); 7] = [
        ("connect", ""),
        ("helo", "EHLO c\r\n"),
        ("auth", "AUTH PLAIN AHVzZXIAc2VjcmV0\r\n"),
        ("mailfrom", mail),
        ("rcptto", "RCPT TO:<b@example.net>\r\n"),
        ("data", "DATA\r\n"),
        ("eod", "x\r\n.\r\n"),
    ];
    for (step, text) in steps {
        if step == "auth" && step != phase {
            continue;
        }
        if !text.is_empty() {
            client.send(text).await;
        }
        if step != phase {
            client.reply().await.expect("a reply");
            continue;
        }
        let mut lines = Vec::new();
        while let Some(line) = client.line().await {
            let last = line.as_bytes().get(3) != Some(&b'-');
            lines.push(line);
            if last {
                break;
            }
        }
        settle().await;
        // The server may have closed already.
        let _ = client.connection.write_all(b"NOOP\r\n").await;
        match client.line().await {
            None => lines.push("closed".to_owned()),
            Some(line) => assert!(line.starts_with("250"), "{line}"),
        }
        return lines;
    }
    unreachable!("{phase}")
}

/// Scripts for the matrix: a name and the text.
const VERDICTS: &[(&str, &str)] = &[
    ("Accept", "Accept();"),
    ("Accept reason", "Accept([\"reason\" => \"Welcome\"]);"),
    (
        "Accept code",
        "Accept([\"reply_codes\" => [\"code\" => 251]]);",
    ),
    (
        "Accept enhanced",
        "Accept([\"reply_codes\" => [\"enhanced\" => [2, 3, 4]]]);",
    ),
    (
        "Accept without enhanced",
        "Accept([\"reply_codes\" => [\"enhanced\" => []]]);",
    ),
    ("Accept disconnect", "Accept([\"disconnect\" => true]);"),
    (
        "Accept wrong code",
        "Accept([\"reply_codes\" => [\"code\" => 550]]);",
    ),
    ("Reject", "Reject();"),
    ("Reject none", "Reject(none);"),
    ("Reject empty", "Reject(\"\");"),
    ("Reject empty list", "Reject([]);"),
    ("Reject reason", "Reject(\"No thanks\");"),
    ("Reject list", "Reject([\"No\", \"thanks\"]);"),
    ("Reject lines", "Reject(\"No\\r\\nthanks\\n\");"),
    (
        "Reject code",
        "Reject(\"No\", [\"reply_codes\" => [\"code\" => 599]]);",
    ),
    (
        "Reject enhanced",
        "Reject(\"No\", [\"reply_codes\" => [\"enhanced\" => [5, 1, 1]]]);",
    ),
    (
        "Reject without enhanced",
        "Reject(\"No\", [\"reply_codes\" => [\"enhanced\" => []]]);",
    ),
    (
        "Reject all",
        "Reject([\"No\", \"thanks\"], [\"reply_codes\" => [\"code\" => 550, \"enhanced\" => [5, 7, 1]], \"disconnect\" => true]);",
    ),
    (
        "Reject disconnect",
        "Reject(\"No\", [\"disconnect\" => true]);",
    ),
    (
        "Reject wrong code",
        "Reject(\"No\", [\"reply_codes\" => [\"code\" => 450]]);",
    ),
    (
        "Reject wrong enhanced",
        "Reject(\"No\", [\"reply_codes\" => [\"enhanced\" => [5, 7]]]);",
    ),
    (
        "Reject wrong code, caught",
        "try { Reject(\"No\", [\"reply_codes\" => [\"code\" => 250]]); } catch ($e) { Reject(\"caught\"); }",
    ),
    ("Reject control bytes", "Reject(\"a\\tb\\x00c\\x7f\\rd\");"),
    ("Reject not ASCII", "Reject(\"n\u{e9}\");"),
    ("Reject long", "Reject(str_repeat(\"x\", 600));"),
    ("Defer", "Defer();"),
    (
        "Defer reason",
        "Defer(\"Later\", [\"disconnect\" => true]);",
    ),
    (
        "Defer code",
        "Defer([\"Later\"], [\"reply_codes\" => [\"code\" => 451, \"enhanced\" => [4, 3, 1]]]);",
    ),
    (
        "Defer wrong code",
        "Defer(\"Later\", [\"reply_codes\" => [\"code\" => 550]]);",
    ),
    ("error", "echo 1 % [];"),
    ("throw", "throw \"oops\";"),
    ("end", "$x = 1;"),
    (
        "not caught",
        "try { Reject(\"ended\"); } catch ($e) { Accept(); }",
    ),
    (
        "in a function",
        "function f() { foreach ([1] as $x) { (function () { Reject(\"deep\"); })(); } Accept(); } f(); Accept();",
    ),
];

#[test]
fn every_verdict_of_every_phase_gives_the_reply_of_the_table() {
    let mut table = String::new();
    for phase in ["connect", "helo", "auth", "mailfrom", "rcptto", "eod"] {
        for (name, script) in VERDICTS {
            let store = Arc::new(MemoryStore::default());
            let (settings, _) = with_scripts(&store, &[(phase, script)]);
            let mut replies = Vec::new();
            simulate(settings, async |bench| {
                replies = answer(&bench, phase, false).await;
            });
            table += &row(phase, name, &replies);
        }
        table.push('\n');
    }
    insta::assert_snapshot!("every_verdict_of_every_phase", table);
}

/// A row of the table of verdicts.
fn row(phase: &str, name: &str, replies: &[String]) -> String {
    let longest = replies.iter().map(String::len).max();
    assert!(longest <= Some(510), "{longest:?}");
    let text = replies.join(" | ");
    let text = text.replace(&"x".repeat(100), "(100 x)");
    let id = text
        .find("queued as ")
        .map_or("", |at| &text[at + 10..at + 46]);
    let text = match id {
        "" => text,
        id => text.replace(id, "ID"),
    };
    format!("{phase} {name}: {text}\n")
}

/// The same table over sockets: a server for each phase, whose script tells the cases apart by the client's address.
#[test]
fn every_verdict_gives_the_same_reply_over_sockets() {
    let mut table = String::new();
    for phase in ["connect", "helo", "auth", "mailfrom", "rcptto", "eod"] {
        let cases = VERDICTS.iter().zip(1..).map(|((_, script), number)| {
            format!("if ($client === \"127.0.1.{number}\") {{ {script} return; }}\n")
        });
        let cases: String = cases.collect();
        let script =
            format!("$client = $arguments[\"remoteip\"] ?? $connection[\"remoteip\"];\n{cases}");
        let store = Arc::new(MemoryStore::default());
        let (settings, _) = with_scripts(&store, &[(phase, &script)]);
        let real = Real::start(settings, 1);
        run(async {
            for ((name, _), number) in VERDICTS.iter().zip(1..) {
                let how = Connect {
                    source: Some([127, 0, 1, number].into()),
                    ..Connect::default()
                };
                let connection = SystemNet.connect(real.address, &how).await;
                let client = Client::new(connection.expect("a connection"));
                table += &row(phase, name, &answer_to(client, phase, false).await);
            }
        });
        real.stop();
        table.push('\n');
    }
    insta::assert_snapshot!("every_verdict_of_every_phase", table);
}

/// The proxy hook stands outside of the table of phases: what it says of known, unknown and malformed lines.
#[test]
fn every_verdict_of_the_proxy_hook_gives_its_reply() {
    let codes = "\"reply_codes\" => [\"code\" => 550, \"enhanced\" => [5, 7, 1]]";
    let verdicts = [
        ("Pass", "Pass();".to_owned()),
        ("Pass other", "Pass([\"command\" => \"HELP\"]);".to_owned()),
        ("Pass nothing", "Pass([\"command\" => \"\"]);".to_owned()),
        (
            "Pass two lines",
            "Pass([\"command\" => \"NOOP\\r\\nQUIT\"]);".to_owned(),
        ),
        ("Reply", "Reply();".to_owned()),
        ("Reply empty", "Reply(\"\");".to_owned()),
        ("Reply lines", "Reply([\"a\", \"b\\nc\"]);".to_owned()),
        ("Reply codes", format!("Reply(\"No\", [{codes}]);")),
        (
            "Reply code",
            "Reply(\"No\", [\"reply_codes\" => [\"code\" => 450]]);".to_owned(),
        ),
        (
            "Reply enhanced",
            "Reply(\"Ok\", [\"reply_codes\" => [\"enhanced\" => [2, 0, 0]]]);".to_owned(),
        ),
        (
            "Reply wrong code",
            "Reply(\"No\", [\"reply_codes\" => [\"code\" => 199]]);".to_owned(),
        ),
        (
            "Reply and close",
            format!("Reply(\"No\", [{codes}, \"disconnect\" => true]);"),
        ),
        (
            "Reply injected",
            "Reply(\"a\\r\\n221 b\\r221 c\\x00\");".to_owned(),
        ),
        ("error", "throw 1;".to_owned()),
        ("end", "$x = 1;".to_owned()),
    ];
    let mut table = String::new();
    for (name, script) in &verdicts {
        let store = Arc::new(MemoryStore::default());
        let (settings, _) = with_scripts(&store, &[("proxy", script)]);
        simulate(settings, async |bench| {
            for line in ["VRFY a", "XYZZY", "BREV FR\u{c5}N:<a@b.test>", "QUIT"] {
                let mut client = bench.connect().await;
                client.expect("220").await;
                client.send(&format!("{line}\r\n")).await;
                let mut lines = Vec::new();
                while let Some(reply) = client.line().await {
                    let last = reply.as_bytes().get(3) != Some(&b'-');
                    lines.push(reply);
                    if last {
                        break;
                    }
                }
                settle().await;
                // The server may have closed already.
                let _ = client.connection.write_all(b"NOOP\r\n").await;
                let closed = match client.line().await {
                    None => " | closed",
                    Some(_) => "",
                };
                table += &format!("{name}, {line}: {}{closed}\n", lines.join(" | "));
                drop(client);
                settle().await;
            }
        });
    }
    insta::assert_snapshot!(table);
}

#[test]
fn nothing_that_a_script_gives_ends_a_line_or_a_field() {
    let scripts = [
        (
            "connect",
            "Accept([\"reason\" => \"hi\\r\\n250 ok\\rthere\\x00\", \"remoteptr\" => \"evil\\r\\nX-A: 1\"]);",
        ),
        (
            "helo",
            "Accept([\"host\" => \"evil\\r\\nX-B: 1\", \"reason\" => \"a\\nb\", \"extensions\" => [\"X-1\\r\\n500 no\", \"SIZE\"]]);",
        ),
        (
            "mailfrom",
            "Accept([\"sender\" => \"a@b.test>\\r\\nRCPT TO:<c\"]);",
        ),
        (
            "rcptto",
            "Accept([\"recipient\" => [\"localpart\" => \"a\\r\\nDATA\", \"domain\" => \"b.test\"]]);",
        ),
    ];
    let store = Arc::new(MemoryStore::default());
    let (settings, _) = with_scripts(&store, &scripts[..3]);
    simulate(settings, async |bench| {
        let mut client = bench.connect().await;
        for line in ["220-hi", "220 250 okthere?"] {
            assert_eq!(client.line().await.as_deref(), Some(line));
        }
        client.send("EHLO c\r\n").await;
        for line in ["250-a", "250-b", "250-X-1?500 no", "250 SIZE"] {
            assert_eq!(client.line().await.as_deref(), Some(line));
        }
        client.command("MAIL FROM:<a@example.org>", "450").await;
    });
    let store = Arc::new(MemoryStore::default());
    let (settings, _) = with_scripts(&store, &scripts[3..]);
    simulate(settings, async |bench| {
        let mut client = bench.connect().await;
        client.greet().await;
        client.command("MAIL FROM:<a@example.org>", "250").await;
        client.command("RCPT TO:<a@example.org>", "450").await;
    });
    let eod = "$mail = $arguments[\"mail\"]; $mail->addHeader(\"X-A\", \"a\\r\\nBcc: b\\r\\n\\r\\nbody\"); \
               $mail->setHeader(\"Subject\", \"s\\nX-C: c\", [\"encode\" => false]); \
               try { $mail->addHeader(\"X-B: x\\r\\nBcc\", \"b\"); } catch ($e) { echo \"refused\"; } \
               MailMessage::String($mail->toString())->queue(\"\", \"a@b.test\", \"out\"); Accept(\"ok\\r\\n221 bye\");";
    let store = Arc::new(MemoryStore::default());
    let scripts = [scripts[0], scripts[1], ("eod", eod)];
    let (settings, log) = with_scripts(&store, &scripts);
    simulate(settings, async |bench| {
        let mut client = bench.connect().await;
        client.expect("220").await;
        client.command("EHLO c", "250").await;
        client.begin_message("Subject: x\r\n\r\nx\r\n").await;
        for line in ["250-ok", "250 221 bye"] {
            assert_eq!(client.line().await.as_deref(), Some(line));
        }
    });
    assert!(log.lines().iter().any(|line| line.ends_with("refused")));
    let queued = store.queued.lock().expect("the lock");
    let (_, bytes) = &queued[0];
    let text = String::from_utf8_lossy(bytes);
    let (header, _) = text.split_once("\r\n\r\n").expect("a body");
    for line in header.split("\r\n") {
        let name = line.split(':').next().unwrap_or_default();
        let known = ["Received", "Subject", "X-A"].contains(&name) || line.starts_with(['\t', ' ']);
        assert!(known, "{line}");
    }
}

#[test]
fn a_text_outside_ascii_is_sent_to_clients_that_asked_for_it() {
    for (phase, want) in [
        ("connect", "521 5.7.1 n??"),
        ("helo", "554 n??"),
        ("mailfrom", "554 5.7.1 n\u{e9}"),
        ("rcptto", "554 5.7.1 n\u{e9}"),
        ("eod", "550 5.7.1 n\u{e9}"),
    ] {
        let store = Arc::new(MemoryStore::default());
        let (settings, _) = with_scripts(&store, &[(phase, "Reject(\"n\u{e9}\");")]);
        simulate(settings, async |bench| {
            assert_eq!(answer(&bench, phase, true).await[0], want, "{phase}");
        });
    }
}
