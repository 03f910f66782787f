//! Mail out of scripts: sent at once, and queued.

use super::bundle::transports;
use super::*;

#[test]
fn scripts_send_at_once_and_hear_what_became_of_it() {
    run(|dir| async move {
        let sink = Sink::accepting();
        let port = sink.port();
        let app = transports(port, "");
        let before = format!(
            r##"
$to = $message["recipient"];
if ($to == "send@a.test") {{
    $mail = MailMessage::String("Subject: s\n\nf\xc3\xa5r\n.dot\n");
    $mail->addHeader("X-New", "1");
    $server = ["host" => "127.0.0.1", "port" => {port}, "helo" => "me.test"];
    $sent = $mail->send(["localpart" => "s", "domain" => "x.test", "params" => ["X-P" => "1"]], ["one@y.test", "two@y.test"], $server);
    echo json_encode([$sent["result"]["code"], $sent["result"]["state"], isset($sent["error"]), $sent["tls"]["started"],
        $sent["connection"]["remoteip"]]);
    echo json_encode(MIME()->setBody("x")->send("", ["three@a.test"], "out")["result"]["code"]);
    echo json_encode(MIME()->send("", [], $server)["error"]["temporary"]);
    $server["port"] = 1;
    echo json_encode(MIME()->send("", ["a@b.test"], $server)["error"]["temporary"]);
}}
if ($to == "wrong@a.test") {{
    foreach ([
        ["port" => 25], ["host" => "x", "tls" => "dane"], ["host" => "x", "tls_client_cert" => "none"], ["host" => "x", "xclient" => ["A B" => "1"]],
        ["host" => "x", "port" => 70000], ["host" => "x", "helo" => "a\r\nb"], ["host" => "x", "sourceip" => "lo"],
        ["host" => "x", "protocol" => "http"], ["host" => "x", "timeout" => ["NEVER" => 1]], "nowhere",
    ] as $server) {{
        try {{ MIME()->send("", ["a@b.test"], $server); echo "sent"; }} catch ($e) {{ echo "refused: " . $e->message(); }}
    }}
    foreach ([["a b", ["a@b.test"]], ["", ["a\r\nb@c.test"]], ["", [["localpart" => "a", "domain" => "b.test", "params" => ["X" => "a b"]]]]] as $e) {{
        try {{ MIME()->send($e[0], $e[1], "out"); echo "sent"; }} catch ($e) {{ echo "refused: " . $e->message(); }}
    }}
}}
"##
        );
        let mut rig = Setup::bundle(&[
            ("config/smtpd-app.yaml", &app),
            ("hooks/queue/predelivery.hsl", &before),
        ])
        .domains(&["a.test"])
        .start(dir.path());
        rig.submit("send@a.test", MESSAGE, Change::None).await;
        rig.deliveries(1).await;
        rig.lines_of(&[
            "[250,\"EOD\",false,false,\"127.0.0.1\"]",
            "] 250",
            "] false",
            "] true",
        ]);
        let received = sink.received();
        assert_eq!(received.len(), 3);
        assert_eq!(
            received[0].mail,
            "MAIL FROM:<s@x.test> SIZE=36 BODY=8BITMIME X-P=1"
        );
        assert_eq!(
            received[0].data,
            "X-New: 1\r\nSubject: s\r\n\r\nf\u{e5}r\r\n.dot\r\n".as_bytes()
        );
        assert_eq!(received[0].helo, "me.test");
        assert!(received[1].rcpt.contains("three@a.test"));

        rig.submit("wrong@a.test", MESSAGE, Change::None).await;
        rig.deliveries(2).await;
        assert_eq!(rig.lines("refused: ").len(), 13, "{:#?}", rig.lines("] "));
        rig.stop().await;
    });
}

#[test]
fn what_scripts_queue_is_durable_and_delivered() {
    run(|dir| async move {
        let sink = Sink::accepting();
        let app = transports(sink.port(), "");
        let before = r##"
if ($message["recipient"] == "first@a.test") {
    $queued = MIME()->addHeader("Subject", "made")->setBody("x")->queue("s@x.test", "second@a.test", "out", ["jobid" => "j"]);
    echo json_encode([length($queued["transaction"]), $queued["queue"]]);
    $mail = MailMessage::String("Subject: edited\n\nbody\n");
    $mail->setHeader("Subject", "changed");
    $mail->queue("", "third@a.test", "out");
    echo length(mail("s@x.test", "fourth@a.test", "Subj", "text", "out"));
    try { MIME()->queue("", "a@b.test", "nowhere"); } catch ($e) { echo "refused: " . $e->message(); }
    try { MIME()->queue("", "a@b.test", "out", ["priority" => 7]); } catch ($e) { echo "refused: " . $e->message(); }
}
"##;
        let mut rig = Setup::bundle(&[
            ("config/smtpd-app.yaml", &app),
            ("hooks/queue/predelivery.hsl", before),
        ])
        .domains(&["a.test"])
        .start(dir.path());
        rig.submit("first@a.test", MESSAGE, Change::None).await;
        rig.deliveries(4).await;
        rig.lines_of(&[
            "[36,1]",
            "] 36",
            "unknown transport \"nowhere\"",
            "option priority",
        ]);
        let received = sink.received();
        let of = |name: &str| {
            let found = received.iter().find(|message| message.rcpt.contains(name));
            String::from_utf8_lossy(&found.expect(name).data).into_owned()
        };
        let made = of("second@");
        assert!(
            made.starts_with("Subject: made\r\nDate: ") && made.ends_with("\r\n\r\nx\r\n"),
            "{made}"
        );
        assert!(made.contains("\r\nMessage-ID: <"));
        assert_eq!(of("third@"), "Subject: changed\r\n\r\nbody\r\n");
        assert!(
            of("fourth@").starts_with("From: s@x.test\r\nTo: fourth@a.test\r\nSubject: Subj\r\n")
        );
        rig.stop().await;
    });
}

#[test]
fn a_script_says_who_logs_in_and_what_the_server_is_told() {
    run(|dir| async move {
        let offers = |_, phase: &str| match phase {
            "EHLO" => Some(Act::Say(
                "250-sink.test\r\n250-XCLIENT ADDR NAME\r\n250 AUTH PLAIN",
            )),
            "OTHER" => Some(Act::Say("235 ok")),
            _ => None,
        };
        let sink = Sink::start(local(1, 0), Offer::Nothing, script(offers));
        let app = transports(sink.port(), "");
        let before = r##"
if ($message["recipient"] == "bad@a.test")
    try { Try(["xclient" => ["A B" => "1"]]); } catch ($e) { echo "refused: " . $e->message(); }
Try(["saslusername" => "user", "saslpassword" => "secret", "xclient" => ["addr" => "192.0.2.9", "LOGIN" => "x"]]);
"##;
        let mut rig = Setup::bundle(&[
            ("config/smtpd-app.yaml", &app),
            ("hooks/queue/predelivery.hsl", before),
        ])
        .domains(&["a.test"])
        .start(dir.path());
        rig.submit("bad@a.test", MESSAGE, Change::None).await;
        rig.deliveries(1).await;
        assert_eq!(sink.received().len(), 1);
        let commands = sink.commands();
        assert_eq!(
            commands[1..4],
            [
                "XCLIENT ADDR=192.0.2.9",
                commands[0].as_str(),
                "AUTH PLAIN AHVzZXIAc2VjcmV0"
            ]
        );
        rig.lines_of(&["refused: Try: option xclient: \"A B\" is no name of an attribute"]);
        rig.stop().await;
    });
}

#[test]
fn a_script_chooses_among_the_ciphers() {
    run(|dir| async move {
        let sink = Sink::start(local(1, 0), Offer::SelfSigned, script(|_, _| None));
        let app = transports(sink.port(), "");
        let before = r#"
$ciphers = $message["recipient"] == "good@a.test" ? "ECDHE-ECDSA-AES128-GCM-SHA256" : "RC4-MD5";
Try(["tls" => "require", "tls_protocols" => "TLSv1.2", "tls_ciphers" => $ciphers]);
"#;
        let after =
            r#"echo "used " . ($arguments["attempt"]["connection"]["tls"]["cipher"] ?? "none");"#;
        let mut rig = Setup::bundle(&[
            ("config/smtpd-app.yaml", &app),
            ("hooks/queue/predelivery.hsl", before),
            ("hooks/queue/postdelivery.hsl", after),
        ])
        .domains(&["a.test"])
        .start(dir.path());
        rig.submit("good@a.test", MESSAGE, Change::None).await;
        rig.deliveries(1).await;
        rig.lines_of(&["used ECDHE-ECDSA-AES128-GCM-SHA256"]);
        rig.submit("bad@a.test", MESSAGE, Change::None).await;
        let lines = rig.deliveries(2).await;
        assert!(
            lines.iter().any(|line| line.contains("error=config")),
            "{lines:#?}"
        );
        assert_eq!(sink.received().len(), 1);
        rig.stop().await;
    });
}

impl Rig {
    /// Each of these is in a line of the log.
    fn lines_of(&self, wanted: &[&str]) {
        for want in wanted {
            assert!(
                !self.lines(want).is_empty(),
                "{want}: {:#?}",
                self.lines("] ")
            );
        }
    }
}
