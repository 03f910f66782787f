//! What one phase leaves to the next, and what ends it: the values of `Accept`, `$context`, the transaction's id, and what
//! RSET, a new greeting and STARTTLS take away.

use std::sync::Arc;

use super::bundle::with_scripts;
use super::support::{MemoryStore, settle, simulate};
use super::tls::{secure, with_tls};
use crate::log::Memory;

/// Says what is carried when the hook begins.
const TELL: &str = r#"
echo "PHASE " . json_encode([
    "id" => $transaction["id"] ?? "-",
    "client" => $connection["remoteip"] ?? "-", "ptr" => $connection["remoteptr"] ?? "-",
    "helo" => $connection["helo"]["host"] ?? "-", "tls" => isset($connection["tls"]),
    "auth" => $connection["auth"]["username"] ?? "-", "sender" => $transaction["sender"] ?? "-",
    "recipients" => count($transaction["recipients"] ?? []),
    "hits" => $context == none ? "-" : $context["box"]->hit(), "list" => $context["list"] ?? [],
]);
"#;

/// The log's lines of the hooks, with ids as numbers in the order in which they came.
fn told(log: &Memory) -> String {
    let mut ids: Vec<String> = Vec::new();
    let mut text = String::new();
    for line in log.lines() {
        let Some((_, told)) = line.split_once("] TELL ") else {
            continue;
        };
        let mut told = told.to_owned();
        let id = told
            .split("\"id\":\"")
            .nth(1)
            .and_then(|rest| rest.get(..36));
        // The disconnect hook has no transaction.
        if let Some(id) = id.filter(|id| !id.contains('"')).map(str::to_owned) {
            let number = ids.iter().position(|known| *known == id);
            let number = number.unwrap_or_else(|| {
                ids.push(id.clone());
                ids.len() - 1
            });
            told = told.replace(&id, &format!("T{number}"));
        }
        text += &told;
        text.push('\n');
    }
    text
}

fn tell(phase: &str) -> String {
    TELL.replace("PHASE", &format!("TELL {phase:<8}"))
}

#[test]
fn every_phase_finds_what_those_before_it_left_and_nothing_that_has_ended() {
    let scripts = [
        (
            "connect",
            "class Box { constructor() { $this->hits = 0; } function hit() { $this->hits += 1; return $this->hits; } }\n\
             $context = [\"box\" => Box(), \"list\" => [1]];\n\
             Accept([\"remoteip\" => \"2001:DB8::1\", \"remoteptr\" => \"client.test\"]);",
        ),
        // A change of the copy that a hook has is kept, one that it makes of a copy of its own is not.
        (
            "helo",
            "$context[\"list\"][] = 2; $own = $context; $own[\"list\"][] = 3; Accept([\"host\" => \"named.test\"]);",
        ),
        ("auth", "Accept([\"username\" => \"joe\"]);"),
        (
            "mailfrom",
            "if ($arguments[\"sender\"] == \"no@a.test\") Reject();\n\
             if ($arguments[\"sender\"] == \"odd@a.test\") Accept([\"sender\" => \"no address\"]);\n\
             Accept([\"sender\" => [\"localpart\" => \"New\", \"domain\" => \"A.test\"]]);",
        ),
        ("rcptto", "Accept([\"recipient\" => \"Other@B.test\"]);"),
        (
            "eod",
            "if ($transaction[\"recipients\"][0][\"transportid\"] == \"out\") $context[\"list\"][] = \"eod\"; Defer();",
        ),
        ("disconnect", ""),
    ];
    let scripts: Vec<(&str, String)> = scripts
        .iter()
        .map(|(phase, text)| (*phase, format!("{}\n{text}", tell(phase))))
        .collect();
    let scripts: Vec<(&str, &str)> = scripts
        .iter()
        .map(|(phase, text)| (*phase, text.as_str()))
        .collect();
    let store = Arc::new(MemoryStore::default());
    let (settings, log) = with_scripts(&store, &scripts);
    simulate(with_tls(settings), async |bench| {
        let mut client = bench.connect().await;
        client.expect("220").await;
        client.command("EHLO c.test", "250").await;
        // A refused sender begins nothing, and what is no address is an error of the script.
        client.command("MAIL FROM:<no@a.test>", "554").await;
        client.command("MAIL FROM:<odd@a.test>", "450").await;
        client.command("RCPT TO:<b@b.test>", "503").await;
        client.command("MAIL FROM:<a@a.test>", "250").await;
        client.command("RCPT TO:<b@b.test>", "250").await;
        client.command("RCPT TO:<c@b.test>", "250").await;
        client.command("RSET", "250").await;
        client.command("RCPT TO:<b@b.test>", "503").await;
        client.command("MAIL FROM:<a@a.test>", "250").await;
        // A greeting ends the transaction; a name that nobody gave is gone with it.
        client.command("EHLO again.test", "250").await;
        client.command("RCPT TO:<b@b.test>", "503").await;
        client.command("AUTH PLAIN AHVzZXIAc2VjcmV0", "235").await;
        client.command("MAIL FROM:<a@a.test>", "250").await;
        client.command("RCPT TO:<b@b.test>", "250").await;
        client.command("DATA", "354").await;
        client.send("x\r\n.\r\n").await;
        client.expect("421").await;
        // The message has failed: the next one is another transaction.
        client.command("MAIL FROM:<a@a.test>", "250").await;
        client.command("STARTTLS", "220").await;
        let mut client = secure(client).await;
        client.command("MAIL FROM:<a@a.test>", "250").await;
        client.command("HELO tls.test", "250").await;
        client.command("QUIT", "221").await;
        client.expect_end().await;
        drop(client);
        settle().await;
    });
    insta::assert_snapshot!(told(&log));
}

#[test]
fn an_empty_name_of_a_client_is_none() {
    let store = Arc::new(MemoryStore::default());
    let helo = tell("helo");
    let scripts = [
        ("connect", "Accept([\"remoteptr\" => \"\"]);"),
        ("helo", helo.as_str()),
        (
            "eod",
            "echo \"TELL \" . isset($connection[\"remoteptr\"]) . $arguments[\"mail\"]->getHeader(\"Received\"); Accept();",
        ),
    ];
    let (settings, log) = with_scripts(&store, &scripts);
    simulate(settings, async |bench| {
        let mut client = bench.connect().await;
        client.greet().await;
        client.message("x\r\n", "250").await;
    });
    let told = told(&log);
    assert!(told.contains(r#""ptr":"-""#), "{told}");
    assert!(
        told.contains("from client.example (unknown [192.0.2.1])"),
        "{told}"
    );
}

#[test]
fn the_helo_hook_announces_words_and_nothing_else() {
    let store = Arc::new(MemoryStore::default());
    let helo =
        "Accept([\"extensions\" => [\"\", \"SIZE 5\", \" \", \"X-A\\r\\n250 X-B\", \"dsn\", 17]]);";
    let (settings, _) = with_scripts(&store, &[("helo", helo)]);
    simulate(settings, async |bench| {
        let mut client = bench.connect().await;
        client.expect("220").await;
        client.send("EHLO c\r\n").await;
        let mut lines = Vec::new();
        for _ in 0..5 {
            lines.extend(client.line().await);
        }
        assert_eq!(
            lines,
            [
                "250-mx.example",
                "250-SIZE 5",
                "250-X-A?250 X-B",
                "250-dsn",
                "250 17"
            ]
        );
        // What is announced besides what there is has no effect, but DSN, in whatever case.
        client.command("MAIL FROM:<> RET=HDRS", "250").await;
        client.command("RSET", "250").await;
        client.command("MAIL FROM:<> BODY=8BITMIME", "555").await;
    });
}
