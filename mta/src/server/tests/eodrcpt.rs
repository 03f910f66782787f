//! The older hook at the end of data, for each recipient.

use std::sync::Arc;

use super::bundle::with_scripts;
use super::support::{MemoryStore, simulate};

const MESSAGE: &str = "Received: from a.example (a [192.0.2.9])\r\n by b.example with ESMTP id X;\r\n \
                       Tue, 14 Nov 2023 22:13:20 +0000\r\nSubject: =?utf-8?q?hej_d=C3=A5?=\r\nX-A: 1\r\nX-A: 2\r\n\r\nx\r\n";

/// Sends a message to a@ and b@example.net; gives the reply, what was queued, and what the scripts said.
fn send(script: &str) -> (String, Vec<String>, Vec<String>) {
    let store = Arc::new(MemoryStore::default());
    let (settings, log) = with_scripts(&store, &[("eodrcpt", script)]);
    let mut reply = String::new();
    simulate(settings, async |bench| {
        let mut client = bench.connect().await;
        client.greet().await;
        client
            .command("MAIL FROM:<S@Example.org> BODY=8BITMIME", "250")
            .await;
        client.command("RCPT TO:<A@example.net>", "250").await;
        client.command("RCPT TO:<b@example.net>", "250").await;
        client.command("DATA", "354").await;
        client.send(MESSAGE).await;
        client.send(".\r\n").await;
        reply = client.reply().await.expect("a reply");
        if let Some(at) = reply.find("queued as ") {
            reply.truncate(at + 9);
        }
        client.send("NOOP\r\n").await;
        if client.line().await.is_none() {
            reply.push_str(" | closed");
        }
    });
    let queued = store.queued.lock().expect("the lock");
    let queued = queued.iter().map(|(item, _)| {
        let pairs = item.metadata.iter();
        let metadata: String = pairs
            .map(|(name, value)| format!(" {name}={value}"))
            .collect();
        format!(
            "{} {} > {} {}{}{}{}{}",
            item.id.queue,
            item.sender,
            item.recipient,
            item.transportid,
            if item.hold { " hold" } else { "" },
            if item.retryts.is_some() { " later" } else { "" },
            item.jobid
                .as_ref()
                .map(|job| format!(" job={job}"))
                .unwrap_or_default(),
            metadata,
        )
    });
    let said = log.lines().into_iter();
    let said = said.filter_map(|line| Some(line.split_once("] ")?.1.to_owned()));
    (reply, queued.collect(), said.collect())
}

const FIRST: &str = "$first = $recipient === \"a@example.net\"; ";

#[test]
fn every_action_gives_its_reply_and_keeps_what_it_says() {
    let cases = [
        ("end", "$x = 1;"),
        ("Deliver", "Deliver();"),
        (
            "Deliver with options",
            "Deliver([\"recipient\" => \"c@example.com\", \"transportid\" => \"other\", \"metadata\" => [\"k\" => \"v\"], \
             \"jobid\" => \"j\", \"quotas\" => [\"q\"], \"delay\" => 60, \"reason\" => \"Thanks\", \
             \"reply_codes\" => [\"code\" => 251, \"enhanced\" => [2, 1, 5]]]);",
        ),
        ("Deliver and close", "Deliver([\"disconnect\" => true]);"),
        (
            "Deliver wrong code",
            "Deliver([\"reply_codes\" => [\"code\" => 550]]);",
        ),
        (
            "Deliver elsewhere",
            "Deliver([\"transportid\" => \"nowhere\"]);",
        ),
        (
            "Deliver twice",
            "Deliver([\"done\" => false]); Deliver([\"recipient\" => [\"localpart\" => \"C\", \"domain\" => \"d.test\"]]);",
        ),
        (
            "Deliver, then the end",
            "Deliver([\"done\" => false, \"transportid\" => \"other\"]);",
        ),
        ("Reject", "Reject();"),
        (
            "Reject with options",
            "Reject([\"No\"], [\"reply_codes\" => [\"code\" => 554, \"enhanced\" => []], \"disconnect\" => true]);",
        ),
        ("Reject one", "if ($first) Reject(\"one\"); Deliver();"),
        ("Defer", "Defer();"),
        (
            "Defer one",
            "if ($first) Defer(\"later\", [\"reply_codes\" => [\"code\" => 451]]); Deliver();",
        ),
        ("Defer and Reject", "if ($first) Defer(); Reject();"),
        ("Delete", "Delete();"),
        (
            "Delete one",
            "if ($first) Delete(); Deliver([\"reason\" => \"not said\"]);",
        ),
        ("Quarantine", "Quarantine(\"spam\");"),
        (
            "Quarantine quietly",
            "Quarantine(\"spam\", [\"reject\" => false, \"reason\" => \"Kept\", \"metadata\" => [\"a\" => \"b\"]]);",
        ),
        (
            "Quarantine a copy",
            "Quarantine(\"copies\", [\"reject\" => false, \"done\" => false, \"recipient\" => \"c@d.test\", \"transportid\" => \"other\", \"jobid\" => \"j\"]); Deliver();",
        ),
        (
            "Quarantine with a reply",
            "Quarantine(\"spam\", [\"reason\" => \"Spam\", \"reply_codes\" => [\"code\" => 552, \"enhanced\" => [5, 7, 0]]]);",
        ),
        (
            "Quarantine and Delete",
            "if ($first) Delete(); Quarantine(\"spam\", [\"reject\" => false, \"reason\" => \"wins\"]);",
        ),
        ("Done", "Done();"),
        ("Deliver and Done", "Deliver([\"done\" => false]); Done();"),
        ("Done for one", "if ($first) Done(); Deliver();"),
        ("error", "Deliver([\"done\" => false]); echo 1 % [];"),
        ("error for one", "if ($first) throw 1; Deliver();"),
        ("not caught", "try { Delete(); } catch ($e) { Reject(); }"),
        (
            "routing",
            "echo SetRecipient(\"C@d.test\"); echo SetRecipient(\"nobody\") ?? \"none\"; SetMailTransport(\"other\"); \
             SetDelayedDeliver(60); if ($first) { SetMetaData([\"k\" => \"v\"]); echo SetSender(\"n@new.test\"); } \
             echo json_encode(GetMetaData()); echo $sender;",
        ),
        ("unknown transport", "SetMailTransport(\"nowhere\");"),
        (
            "client",
            "if ($first) { echo SetSenderIP(\"192.0.2.77\"); echo SetSenderIP(\"x\") ?? \"none\"; echo SetSenderHELO(\"h.test\"); } \
             echo $senderip . \" \" . $senderhelo;",
        ),
        (
            "another message",
            "MIME()->setBody(\"other\")->queue(\"\", \"x@y.test\", \"out\"); Defer();",
        ),
    ];
    let mut table = String::new();
    for (name, script) in cases {
        let (reply, queued, said) = send(&format!("{FIRST}{script}"));
        table += &format!("{name}: {reply}\n");
        for line in queued.iter().chain(&said) {
            table += &format!("    {line}\n");
        }
    }
    insta::assert_snapshot!(table);
}

#[test]
fn each_recipient_starts_from_the_message_as_it_came() {
    let script = r#"
        echo GetHeader("subject") . "|" . GetHeader("subject", false) . "|" . GetHeader("nothing");
        echo json_encode([GetHeaders("x-a"), length(GetHeaders(true)), GetHeaders(true)[2]]);
        AddHeader("X-New", "a\r\nBcc: b");
        echo SetHeader("X-A", "new") . SetHeader("X-Other", "added");
        echo PrependHeader("Subject", "[x] ") . PrependHeader("subject", "[y] ") . AppendHeader("X-Third", "t");
        echo AppendHeader("X-A", "!", false) . DelHeader("X-Other");
        echo GetMailMessage()->toString();
        echo GetMailFile(["changes" => true])->read(1000) === GetMailMessage()->toString();
        echo GetMailFile()->read(9);
        echo json_encode(GetRoute());
        echo json_encode(GetRoute(true));
        echo json_encode([GetDSN(), GetDSNHeader("subject"), GetTLS()]);
        echo DiscardMailDataChanges() . DiscardMailDataChanges();
        if ($recipient === "a@example.net") { AddHeader("X-For", "a"); echo $context ?? "none"; $context = "kept"; } else echo $context;
    "#;
    let (reply, queued, said) = send(script);
    assert_eq!(reply, "250 2.0.0 Ok: queued as");
    assert_eq!(queued.len(), 2);
    let half = said.len() / 2;
    // The same again for the second recipient, but what the connection remembers.
    assert_eq!(said[..half - 1], said[half..said.len() - 1]);
    let text = said[..half].join("\n");
    let is_id =
        |word: &&str| word.len() == 36 && word.bytes().filter(|byte| *byte == b'-').count() == 4;
    let mut words = text.split(|c: char| !c.is_ascii_hexdigit() && c != '-');
    let id = words.find(is_id).expect("an id").to_owned();
    let text = text.replace(&id, "ID");
    insta::assert_snapshot!(text);
    assert_eq!(said.last().map(String::as_str), Some("kept"));
}

#[test]
fn the_variables_are_those_of_the_session() {
    let script = "echo json_encode([$senderip, $senderport > 0, $serverip, $serverport, $serverid, $senderhelo, $tlsstarted, \
                  $saslauthed, $saslusername, length($messageid), $sender, $senderlocalpart, $senderdomain, $senderparams, \
                  $recipients, $recipientdomains, $recipient, $recipientlocalpart, $recipientdomain, $transportid, $actionid]);";
    let (_, _, said) = send(script);
    insta::assert_snapshot!(said.join("\n"));
}

#[test]
fn a_notification_is_read() {
    let store = Arc::new(MemoryStore::default());
    let script = "echo json_encode(GetDSN()); echo GetDSNHeader(\"Subject\") . \"|\" . GetDSNHeader(\"subject\", true); \
                  echo GetDSNHeader(\"none\");";
    let (settings, log) = with_scripts(&store, &[("eodrcpt", script)]);
    simulate(settings, async |bench| {
        let mut client = bench.connect().await;
        client.greet().await;
        let report = "Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n--b\r\n\r\nSorry\r\n--b\r\n\
                      Content-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.test\r\n\r\n\
                      Final-Recipient: rfc822; a@b.test\r\nAction: failed\r\nStatus: 5.1.1\r\n--b\r\n\
                      Content-Type: text/rfc822-headers\r\n\r\nSubject: =?utf-8?q?hej_d=C3=A5?=\r\n--b--\r\n";
        client.message(report, "250").await;
    });
    let said = log.lines();
    let said = said
        .iter()
        .filter_map(|line| Some(line.split_once("] ")?.1));
    insta::assert_snapshot!(said.collect::<Vec<_>>().join("\n"));
}
