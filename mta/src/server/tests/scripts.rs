//! Scripts at the phases of a session: what they may do, and what comes of it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use angarium_smtp::network::Network;
use angarium_smtp::server::{Hook, ProxyCommands};
use angarium_smtp::verdict::Verdict;

use super::bundle::{Bundle, with_scripts};
use super::support::{MemoryStore, Scripted, scripted, simulate};
use super::verdicts::answer;
use crate::scripts::{NoRoot, Scripts};

#[test]
fn what_a_hook_must_not_write_is_refused_before_it_runs() {
    for (phase, script) in [
        ("connect", "$arguments[\"remoteip\"] = \"192.0.2.1\";"),
        ("helo", "$connection = [];"),
        ("rcptto", "$transaction[\"sender\"] = \"a@b.test\";"),
        ("eod", "unset($transaction[\"id\"]);"),
    ] {
        let config = Bundle::config(&[(phase, script)], 6);
        let compiled = Scripts::compile(&config.startup, &config.running, Arc::new(NoRoot));
        let Err(errors) = compiled else {
            panic!("{phase} takes {script}");
        };
        assert!(errors.to_string().contains("read-only"), "{errors}");
    }
}

#[test]
fn a_hook_that_is_not_there_for_a_domain_makes_no_open_relay() {
    let store = Arc::new(MemoryStore::default());
    let hooks = Scripted::new(|_, hook| match hook {
        Hook::RcptTo { .. } => (Duration::ZERO, Verdict::NoHook),
        _ => (Duration::ZERO, Verdict::accept()),
    });
    let mut settings = scripted(&store, hooks);
    Arc::make_mut(&mut settings.smtp).relay = Network::loopback();
    simulate(settings, async |bench| {
        let mut client = bench.connect().await;
        client.greet().await;
        client.command("MAIL FROM:<a@example.org>", "250").await;
        client.command("RCPT TO:<b@example.net>", "550 5.7.1").await;
        client.command("DATA", "554").await;
    });
    assert!(store.messages().is_empty());
}

/// Runs this dialogue, `command` for each line, and shows it with what the script printed.
fn dialogue(scripts: &[(&str, &str)], lines: &[&str]) -> String {
    let store = Arc::new(MemoryStore::default());
    let (settings, log) = with_scripts(&store, scripts);
    let mut text = String::new();
    simulate(settings, async |bench| {
        let mut client = bench.connect().await;
        client.reply().await.expect("a banner");
        for line in lines {
            client.send(&format!("{line}\r\n")).await;
            let reply = client.reply().await.unwrap_or_else(|| "closed".to_owned());
            text += &format!("C: {line}\nS: {reply}\n");
        }
    });
    for line in log.lines() {
        let said = line.split_once("] ").map_or("", |(_, said)| said);
        text += &format!("{said}\n");
    }
    text
}

#[test]
fn the_auth_hook_decides_who_a_client_is() {
    let auth = r#"
        echo json_encode($arguments);
        if ($arguments["mechanism"] === "X-ASK") {
            if ($arguments["state"] == 0) Reply("who?\nnow");
            if ($arguments["state"] == 1) Reply();
            Accept(["username" => "asked", "reason" => "Hello"]);
        }
        if ($arguments["username"] === "user" and $arguments["password"] === "secret") Accept();
        if ($arguments["username"] === "later") Defer();
    "#;
    let mailfrom = "echo json_encode($connection[\"auth\"] ?? \"nobody\"); Accept();";
    let scripts = [("auth", auth), ("mailfrom", mailfrom)];
    let mut text = String::new();
    for lines in [
        &[
            "EHLO c",
            "AUTH PLAIN AHVzZXIAc2VjcmV0",
            "AUTH PLAIN AHVzZXIAc2VjcmV0",
            "MAIL FROM:<>",
        ][..],
        &[
            "EHLO c",
            "AUTH LOGIN",
            "dXNlcg==",
            "c2VjcmV0",
            "MAIL FROM:<>",
        ],
        &["EHLO c", "AUTH X-ASK", "bWU=", "", "MAIL FROM:<>"],
        &["EHLO c", "AUTH X-ASK =", "*", "MAIL FROM:<>"],
        &[
            "EHLO c",
            "AUTH PLAIN AHVzZXIAd3Jvbmc=",
            "AUTH PLAIN AGxhdGVyAHg=",
            "MAIL FROM:<>",
        ],
    ] {
        text += &dialogue(&scripts, lines);
        text.push('\n');
    }
    insta::assert_snapshot!(text);
}

#[test]
fn the_proxy_hook_sees_changes_and_answers_lines() {
    let proxy = r#"
        echo json_encode([$arguments, $transaction["sender"] ?? "none yet"]);
        switch ($arguments["command"]) {
            case "PASS": Pass(["command" => "NOOP"]);
            case "REPLY": Reply();
            case "LINES": Reply(["one", "two"], ["reply_codes" => ["code" => 299, "enhanced" => [2, 0, 1]]]);
            case "WRONG": Reply("x", ["reply_codes" => ["code" => 600]]);
            case "SPLIT": Pass(["command" => "NOOP\r\nQUIT"]);
            case "BYE": Reply("Bye", ["reply_codes" => ["code" => 221, "enhanced" => [2, 0, 0]], "disconnect" => true]);
        }
    "#;
    let lines = [
        "EHLO c",
        "PASS",
        "REPLY",
        "LINES",
        "WRONG",
        "SPLIT",
        "MAIL FROM:<a@example.org>",
        "REPLY",
        "NOOP",
        "BYE",
        "NOOP",
    ];
    insta::assert_snapshot!(dialogue(&[("proxy", proxy)], &lines));
}

#[test]
fn a_line_that_is_not_named_reaches_the_proxy_hook_when_the_last_one_asked_for_it() {
    let store = Arc::new(MemoryStore::default());
    let script =
        "echo $arguments[\"command\"]; Pass([\"next\" => $arguments[\"command\"] === \"XSTART\"]);";
    let (mut settings, log) = with_scripts(&store, &[("proxy", script)]);
    let verbs = vec!["xstart".to_owned()];
    Arc::make_mut(&mut settings.smtp).hooks.proxy = ProxyCommands::Starting(verbs);
    simulate(settings, async |bench| {
        let mut client = bench.connect().await;
        client.expect("220").await;
        for line in ["NOOP", "XSTART", "VRFY a", "HELP"] {
            client.send(&format!("{line}\r\n")).await;
            client.reply().await.expect("a reply");
        }
    });
    let seen = log.lines();
    let seen: Vec<&str> = seen
        .iter()
        .filter_map(|line| line.split_once("] ").map(|(_, said)| said))
        .collect();
    assert_eq!(seen, ["XSTART", "VRFY a"]);
}

#[test]
fn the_message_of_eod_has_parts_and_other_messages_share_its_commit() {
    for (end, committed) in [
        ("Accept();", 3),
        ("Reject();", 3),
        ("Defer();", 0),
        ("throw 1;", 0),
    ] {
        let store = Arc::new(MemoryStore::default());
        let script = format!(
            r#"
            $mail = $arguments["mail"];
            echo json_encode([$mail->getType(), $mail->getSize() > 0, $mail->getID(), length($mail->getParts())]);
            $mail->setHeader("Subject", "changed");
            $mail->appendPart(MIME()->setBody("more"));
            $mail->queue("", "a@b.test", "out");
            MIME()->setBody("other")->queue("", "c@d.test", "other");
            MailMessage::String($mail->toString())->queue("", "e@f.test", "out");
            {end}
            "#
        );
        let (settings, log) = with_scripts(&store, &[("eod", &script)]);
        simulate(settings, async |bench| {
            answer(&bench, "eod", false).await;
        });
        let lines = log.lines().join("\n");
        assert!(lines.contains("[null,true,\"0\",0]"), "{lines}");
        let queued = store.queued.lock().expect("the lock");
        assert_eq!(queued.len(), committed, "{end} {lines}");
        if committed > 0 {
            let transactions: BTreeSet<_> = queued.iter().map(|(item, _)| item.id).collect();
            assert_eq!(transactions.len(), 3);
            let text = |at: usize| String::from_utf8_lossy(&queued[at].1).into_owned();
            assert!(text(1).ends_with("\r\n\r\nother"), "{}", text(1));
            assert!(
                text(2).contains("Subject: changed\r\n") && text(2).contains("\r\nmore\r\n--="),
                "{}",
                text(2)
            );
            assert_eq!(&*queued[1].0.transportid.to_str(), "other");
        }
    }
}
