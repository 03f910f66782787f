//! The spellings of release 5 in the hooks of a session.

use std::sync::Arc;

use super::bundle::{with_compat, with_scripts};
use super::support::{MemoryStore, settle, simulate};

/// Prints flat variables; `none` stands for those that are missing.
fn show(names: &[&str]) -> String {
    let values: Vec<String> = names.iter().map(|name| format!("${name}")).collect();
    format!("echo json_encode([{}]);", values.join(", "))
}

#[test]
fn flat_variables_have_the_values_of_the_arrays() {
    let connect = ["senderip", "serverip", "serverport", "serverid"];
    let helo = ["senderhelo", "senderhelotype", "tlsstarted"];
    let sasl = ["saslauthed", "saslusername"];
    let sender = ["sender", "senderlocalpart", "senderdomain", "senderparams"];
    let recipient = [
        "recipient",
        "recipientlocalpart",
        "recipientdomain",
        "recipientparams",
        "transportid",
        "recipients",
        "recipientdomains",
    ];
    let auth = [
        "saslusername",
        "saslpassword",
        "saslmechanism",
        "saslstate",
        "saslresponse",
    ];
    let same = "echo $messageid === $transaction[\"id\"] and $senderport === ($connection[\"remoteport\"] ?? $arguments[\"remoteport\"]);";
    let script = |parts: &[&[&str]], end: &str| format!("{same}{}{end}", show(&parts.concat()));
    let scripts = [
        ("connect", script(&[&connect], "Accept();")),
        ("proxy", script(&[&connect], "Pass();")),
        ("helo", script(&[&connect, &helo, &sasl], "Accept();")),
        (
            "auth",
            script(
                &[&connect, &helo, &auth],
                "if ($saslstate === 0) Reply(\"?\"); Accept([\"username\" => \"me\"]);",
            ),
        ),
        (
            "mailfrom",
            script(&[&connect, &helo, &sasl, &sender], "Accept();"),
        ),
        (
            "rcptto",
            script(&[&connect, &helo, &sasl, &sender, &recipient], "Accept();"),
        ),
        (
            "eod",
            script(
                &[&connect, &helo, &sasl, &sender],
                "echo json_encode($transaction[\"recipients\"][0]); Accept();",
            ),
        ),
    ];
    let scripts: Vec<(&str, &str)> = scripts
        .iter()
        .map(|(name, text)| (*name, text.as_str()))
        .collect();
    let store = Arc::new(MemoryStore::default());
    let (settings, log) = with_compat(&store, &scripts, 5);
    simulate(settings, async |bench| {
        let mut client = bench.connect().await;
        client.greet().await;
        client.command("AUTH X-ASK", "334").await;
        client.command("AA==", "235").await;
        client
            .command("MAIL FROM:<\"A B\"@Example.ORG> SIZE=1", "250")
            .await;
        client.command("RCPT TO:<C@Example.NET>", "250").await;
        client.command("RCPT TO:<d@example.net>", "250").await;
        client.command("DATA", "354").await;
        client.send("x\r\n.\r\n").await;
        client.expect("250").await;
    });
    let said = log.lines();
    let said = said
        .iter()
        .filter_map(|line| Some(line.split_once("] ")?.1));
    insta::assert_snapshot!(said.collect::<Vec<_>>().join("\n"));
}

#[test]
fn setters_do_what_options_of_accept_do() {
    let after = "echo json_encode([$connection[\"remoteip\"], $connection[\"helo\"][\"host\"] ?? none, $transaction[\"sender\"] ?? none, \
                 $transaction[\"recipients\"] ?? none]);";
    let rcptto = format!(
        "{after} if (SetRecipient(\"x\") === none) echo SetRecipient(\"New@Rcpt.test\"); echo SetSender([\"localpart\" => \"L\", \"domain\" => \"d.test\"]);"
    );
    let eod = format!("{after} Accept();");
    let scripts = [
        (
            "connect",
            "echo SetSenderIP(\"no\") ?? \"none\"; echo SetSenderIP(\"192.0.2.77\"); Accept([\"reason\" => \"Hi\"]);",
        ),
        (
            "helo",
            "echo SetHELO(\"a\\nb\") ?? \"none\"; echo SetHELO(\"new.test\"); echo GetExtensions()[0]; echo json_encode(GetTLS());",
        ),
        (
            "mailfrom",
            "SetSender(\"kept@not.test\"); Accept([\"sender\" => \"said@Accept.test\"]);",
        ),
        ("rcptto", rcptto.as_str()),
        ("eod", eod.as_str()),
    ];
    let store = Arc::new(MemoryStore::default());
    let (settings, log) = with_compat(&store, &scripts, 5);
    simulate(settings, async |bench| {
        let mut client = bench.connect().await;
        client.expect("220 Hi").await;
        client.command("EHLO c", "250").await;
        client.message("x\r\n", "250").await;
    });
    let said = log.lines();
    let said = said
        .iter()
        .filter_map(|line| Some(line.split_once("] ")?.1));
    insta::assert_snapshot!(said.collect::<Vec<_>>().join("\n"));
}

#[test]
fn a_setter_accepts_nothing_that_the_script_refuses() {
    for (script, start) in [
        ("SetSender(\"a@b.test\"); Reject();", "554"),
        ("SetSender(\"a@b.test\"); throw 1;", "450"),
    ] {
        let store = Arc::new(MemoryStore::default());
        let (settings, _) = with_compat(&store, &[("mailfrom", script)], 5);
        simulate(settings, async |bench| {
            let mut client = bench.connect().await;
            client.greet().await;
            client.command("MAIL FROM:<a@example.org>", start).await;
            settle().await;
        });
    }
}

#[test]
#[should_panic(expected = "SetSenderIP")]
fn scripts_of_today_do_not_see_the_older_names() {
    let store = Arc::new(MemoryStore::default());
    let _ = with_scripts(&store, &[("connect", "SetSenderIP(\"192.0.2.1\");")]);
}
