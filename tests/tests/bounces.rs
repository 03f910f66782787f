//! Notifications of a running server, as Python's `email` and flufl.bounce read them.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "it drives real programs; a failed expectation is a failed test"
)]

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use angarium_tests::bundle::{Bundle, free_address};
use angarium_tests::client::Client;
use angarium_tests::mailauth;
use angarium_tests::program::{installed, python, python_script};
use angarium_tests::server::Server;
use angarium_tests::sink::{Behaviour, Message, Sink, Stage};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

const CONTENT: &[u8] = "From: <a@example.net>\r\nSubject: =?utf-8?Q?H=C3=A5llo?=\r\n\
    Message-ID: <one@example.net>\r\n\r\nH\u{e5}llo!\r\n"
    .as_bytes();

const SOON: Duration = Duration::from_secs(60);

/// A server, the sink that its messages go to, and the one for notifications.
struct Post {
    bundle: Bundle,
    far: Sink,
    home: Sink,
}

impl Post {
    /// Messages go to `far`, which answers as told; notifications to `home`.
    fn new(behaviour: Behaviour) -> Post {
        let (far, home) = (Sink::behaving(behaviour), Sink::start());
        let mut bundle = Bundle::relay(far.port());
        let transport = |id: &str, port: u16| json!({ "id": id, "connection": { "server": "127.0.0.1", "port": port, "timeout": 5 } });
        bundle.transports()["transports"] = json!([
            transport("sink", far.port()),
            transport("home", home.port()),
            transport("nobody", free_address().port()),
        ]);
        bundle.transports()["retry"] = json!({ "count": 3, "intervals": [{ "interval": 3600 }] });
        bundle.transports()["dsn"] = json!({ "transport": "home" });
        bundle.save();
        Post { bundle, far, home }
    }

    fn start(&self) -> Server {
        Server::start(&self.bundle)
    }

    /// The first `count` notifications, with their envelopes, as other programs read them.
    fn notices(&self, count: usize) -> Vec<(Message, Value)> {
        assert!(
            self.home.wait_for(count, SOON),
            "{} came",
            self.home.count()
        );
        assert_eq!(self.home.violations(), [""; 0]);
        let messages = self.home.messages();
        let read = read(&messages);
        messages.into_iter().zip(read).collect()
    }

    /// The only notification.
    fn notice(&self) -> (Message, Value) {
        let mut all = self.notices(1);
        assert_eq!(all.len(), 1);
        all.remove(0)
    }
}

fn send(server: &Server, from: &str, to: &str) {
    let mut client = Client::connect(server.address).unwrap();
    let reply = client.send(from, to, CONTENT).unwrap();
    assert_eq!(reply.code, 250, "{}", reply.text);
}

/// What Python finds in the messages. Without Python: what is wrong cannot be found, and that is said.
fn read(messages: &[Message]) -> Vec<Value> {
    let encoded: Vec<String> = messages.iter().map(|m| BASE64.encode(&m.content)).collect();
    let mut child = Command::new(python())
        .arg(python_script("dsn.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let list = serde_json::to_vec(&encoded).unwrap();
    child.stdin.take().unwrap().write_all(&list).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let read: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    for one in &read {
        assert_eq!(one["defects"], json!([]), "{one}");
        assert_eq!(one["type"], "multipart/report");
        assert_eq!(one["report"], "delivery-status");
    }
    read
}

fn field<'a>(notice: &'a Value, name: &str) -> Option<&'a str> {
    let header = notice["header"].as_array().unwrap();
    let found = header
        .iter()
        .find(|field| field[0].as_str().unwrap().eq_ignore_ascii_case(name));
    found.and_then(|field| field[1].as_str())
}

/// flufl.bounce finds these; nothing is checked where it is not installed, and that is said.
fn flufl(notice: &Value, want: &Value) {
    match notice["flufl"].is_null() {
        true => println!("skipped: flufl.bounce is not installed"),
        false => assert_eq!(&notice["flufl"], want),
    }
}

/// The example with which the notes of release 5.4 show the options.
#[test]
fn the_train_is_delayed_for_an_hour() {
    if !installed("python3") {
        return;
    }
    let post = Post::new(Behaviour::Reply(Stage::Rcpt, "450 4.2.0 Not now"));
    post.bundle.write(
        "src/hooks/queue/postdelivery.hsl",
        r#"
        if (($arguments["action"] ?? "") === "QUEUE")
            Queue([
                "delay" => 3600,
                "dsn_delayed" => true,
                "dsn" => [
                    "readable_mimepart" => "Content-Type: text/html; charset=utf-8\r\n\r\n<h1>choo choo train is delayed</h1>\r\n",
                    "original_headers" => false,
                    "subject_prepend" => "Oh no! ",
                    "headers" => ["Foo: Bar"],
                ],
            ]);
        Default();
        "#,
    );
    let mut server = post.start();
    send(&server, "a@example.net", "b@example.com");
    let (message, notice) = post.notice();
    server.wait_log(&["delivery", "result=QUEUE", "delay=3600"]);
    assert_eq!(
        (message.from.as_str(), &*message.to),
        ("", &["a@example.net".to_owned()][..])
    );
    assert_eq!(
        notice["types"],
        json!(["text/html", "message/delivery-status"])
    );
    assert_eq!(
        notice["texts"][0].as_str().unwrap().trim(),
        "<h1>choo choo train is delayed</h1>"
    );
    assert_eq!(field(&notice, "Subject"), Some("Oh no! Delayed: Hållo"));
    assert_eq!(field(&notice, "Foo"), Some("Bar"));
    assert_eq!(field(&notice, "Auto-Submitted"), Some("auto-replied"));
    assert_eq!(field(&notice, "In-Reply-To"), Some("<one@example.net>"));
    assert_eq!(field(&notice, "References"), Some("<one@example.net>"));
    let recipient = &notice["status"][1];
    assert_eq!(recipient["action"], "delayed");
    assert_eq!(recipient["status"], "4.2.0");
    assert_eq!(recipient["final-recipient"], "rfc822; b@example.com");
    assert_eq!(recipient["diagnostic-code"], "smtp; 450 4.2.0 Not now");
    assert_eq!(recipient["remote-mta"], "dns; [127.0.0.1]");
    assert!(recipient["will-retry-until"].is_string());
    flufl(&notice, &json!([["b@example.com"], []]));
    assert_eq!(server.stop().code(), Some(0));
}

#[test]
fn a_script_says_everything_about_a_bounce() {
    if !installed("python3") {
        return;
    }
    // Only the transport that the script names leads home.
    let mut post = Post::new(Behaviour::Reply(
        Stage::End,
        "554-5.6.0 Not\r\n554 5.6.0 that",
    ));
    post.bundle.transports()["dsn"] = json!({ "transport": "nobody" });
    post.bundle.save();
    post.bundle.write(
        "src/hooks/queue/postdelivery.hsl",
        r#"
        if (($arguments["action"] ?? "") !== "BOUNCE") Default();
        echo "ANNOUNCED " . json_encode($arguments["dsn"]);
        Bounce([
            "reason" => "det gick inte",
            "dsn" => [
                "transportid" => "home",
                "recipient" => ["localpart" => "owner", "domain" => "example.org"],
                "from" => "post@example.org",
                "from_name" => "Pöst, the office",
                "metadata" => ["colour" => "blue"],
                "jobid" => "notices",
                "tenantid" => "tenant",
                "readable_mimepart" => "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n" . base64_encode("配達できませんでした"),
                "original_message" => true,
                "subject" => "失敗",
                "subject_prepend" => "[1] ",
                "headers" => ["X-Note: på svenska", "auto-submitted: auto-generated"],
            ],
        ]);
        "#,
    );
    post.bundle.write(
        "src/hooks/queue/predelivery.hsl",
        r#"
        $about = $message;
        unset($about["file"]);
        if ($message["sender"] === "") echo "NOTICE " . json_encode([$about, GetMetaData()]);
        Try();
        "#,
    );
    let mut server = post.start();
    let mut client = Client::connect(server.address).unwrap();
    let reply = client
        .send("A@Example.net", "b@example.com", CONTENT)
        .unwrap();
    let (_, id) = reply.text.rsplit_once("queued as ").unwrap();
    let id = id.trim();
    let (message, notice) = post.notice();
    assert_eq!(
        (message.from.as_str(), &*message.to),
        ("", &["owner@example.org".to_owned()][..])
    );
    assert_eq!(
        field(&notice, "From"),
        Some("\"Pöst, the office\" <post@example.org>")
    );
    assert_eq!(field(&notice, "To"), Some("owner@example.org"));
    assert_eq!(field(&notice, "Subject"), Some("[1] 失敗"));
    assert_eq!(field(&notice, "X-Note"), Some("på svenska"));
    assert_eq!(field(&notice, "Auto-Submitted"), Some("auto-generated"));
    let types = ["text/plain", "message/delivery-status", "message/rfc822"];
    assert_eq!(notice["types"], json!(types));
    assert_eq!(notice["texts"][0], "配達できませんでした");
    assert_eq!(notice["texts"][2], "Hållo");
    let recipient = &notice["status"][1];
    assert_eq!(recipient["status"], "5.6.0");
    assert_eq!(
        recipient["diagnostic-code"],
        "smtp; 554 5.6.0 det gick inte"
    );
    flufl(&notice, &json!([[], ["b@example.com"]]));

    let line = server.wait_log(&["NOTICE "]);
    for part in [
        r#""jobid":"notices""#,
        r#""tenantid":"tenant""#,
        r#""transportid":"home""#,
        r#""colour":"blue""#,
        &format!(r#""_original_message_id":"{id}""#),
        r#""_original_queue_id":"1""#,
    ] {
        assert!(line.contains(part), "{part} is not in {line}");
    }
    let announced = server.wait_log(&["ANNOUNCED "]);
    let (_, announced) = announced.split_once("ANNOUNCED ").unwrap();
    let announced: Value = serde_json::from_str(announced).unwrap();
    assert_eq!(announced["action"], "failed");
    assert_eq!(announced["status"], json!([5, 6, 0]));
    assert_eq!(announced["diagnostictype"], "smtp");
    assert_eq!(announced["diagnosticcode"], "554 5.6.0 Not that");
    let own = announced["id"]["transaction"].as_str().unwrap();
    assert!(line.contains(own), "{own} is not in {line}");
    server.wait_log(&["dsn ", own, "action=failed", "to=owner@example.org"]);
    assert_eq!(server.stop().code(), Some(0));
}

#[test]
fn a_transport_has_a_form_of_its_own_and_a_script_wins_over_it() {
    if !installed("python3") {
        return;
    }
    let mut post = Post::new(Behaviour::Reply(Stage::Rcpt, "550 5.1.1 Nobody"));
    post.bundle.transports()["dsn"] = json!({
        "transport": "home",
        "from": "bounces@example.org",
        "from_name": "Bounces",
        "subject": "It did not work",
        "subject_prepend": "Sorry: ",
        "headers": ["X-Site: one"],
        "original_headers": false,
    });
    post.bundle.save();
    post.bundle.write(
        "src/hooks/queue/postdelivery.hsl",
        r#"
        if ($message["recipientaddress"]["localpart"] === "plain") Default();
        if (isset($arguments["action"]))
            Bounce(["dsn" => ["from_name" => "Script", "subject" => "No", "original_headers" => true]]);
        "#,
    );
    let server = post.start();
    send(&server, "a@example.net", "plain@example.com");
    let (_, plain) = post.notice();
    assert_eq!(field(&plain, "From"), Some("Bounces <bounces@example.org>"));
    assert_eq!(field(&plain, "Subject"), Some("Sorry: It did not work"));
    assert_eq!(field(&plain, "X-Site"), Some("one"));
    assert_eq!(
        plain["types"],
        json!(["text/plain", "message/delivery-status"])
    );
    let text = plain["texts"][0].as_str().unwrap();
    for part in [
        "<plain@example.com>",
        "127.0.0.1",
        "in reply to RCPT",
        "5.1.1 Nobody",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    send(&server, "a@example.net", "script@example.com");
    let notices = post.notices(2);
    let script = &notices[1].1;
    assert_eq!(field(script, "From"), Some("Script <bounces@example.org>"));
    assert_eq!(field(script, "Subject"), Some("Sorry: No"));
    assert_eq!(script["types"][2], "text/rfc822-headers");
}

/// Queues with what the sender asks for, in the local part of the recipient: `success`, `failure+delay`, `never`.
const ASK: &str = r#"
foreach ($transaction["recipients"] as $recipient) {
    $local = $recipient["address"]["localpart"];
    $dsn = ["envid" => "ticket + 7", "ret" => "FULL", "orcpt" => "rfc822;Old+" . $local . "@example.com"];
    if ($local !== "silent") $dsn["notify"] = str_replace("+", ",", str_upper($local));
    $arguments["mail"]->queue($transaction["senderaddress"], $recipient["address"], $recipient["transportid"], ["dsn" => $dsn]);
}
Accept();
"#;

#[test]
fn success_is_passed_on_or_reported() {
    if !installed("python3") {
        return;
    }
    let mut post = Post::new(Behaviour::Accept);
    post.bundle.hook("eod", ASK);
    post.bundle.write(
        "src/hooks/queue/predelivery.hsl",
        r#"
        if ($message["senderaddress"]["domain"] === "final.example") Try(["dsn" => ["success" => "delivered"]]);
        if ($message["senderaddress"]["domain"] === "quiet.example") Try(["dsn" => ["notify" => "NEVER"]]);
        Try();
        "#,
    );
    let server = post.start();
    // Nobody is told of a success who did not ask.
    for local in ["never", "failure", "delay", "silent"] {
        send(&server, "a@example.net", &format!("{local}@example.com"));
    }
    send(&server, "a@quiet.example", "success@example.com");
    send(&server, "", "success@example.com");
    assert!(post.far.wait_for(6, SOON));
    send(&server, "a@example.net", "success@example.com");
    send(&server, "a@final.example", "success+failure@example.com");
    let mut notices = post.notices(2);
    notices.sort_by_key(|(message, _)| message.to.clone());
    assert_eq!(notices.len(), 2);
    for ((message, notice), (to, action)) in notices.iter().zip([
        ("a@example.net", "relayed"),
        ("a@final.example", "delivered"),
    ]) {
        assert_eq!(
            (message.from.as_str(), &*message.to),
            ("", &[to.to_owned()][..])
        );
        assert_eq!(
            notice["types"][2], "text/rfc822-headers",
            "RET is about failures"
        );
        assert_eq!(notice["status"][0]["original-envelope-id"], "ticket + 7");
        let recipient = &notice["status"][1];
        assert_eq!(recipient["action"], action);
        assert_eq!(recipient["status"], "2.0.0");
        assert!(
            recipient["original-recipient"]
                .as_str()
                .unwrap()
                .starts_with("rfc822; Old+success")
        );
        flufl(notice, &json!([[], []]));
    }
    // Who understands them gets the parameters, and the duty to report.
    post.far.announce_dsn();
    let before = post.far.count();
    send(&server, "a@example.net", "success+delay@example.com");
    assert!(post.far.wait_for(before + 1, SOON));
    let last = post.far.messages().pop().unwrap();
    assert!(
        last.parameters[0].contains("RET=FULL ENVID=ticket+20+2B+207"),
        "{:?}",
        last.parameters
    );
    assert_eq!(
        last.parameters[1],
        "NOTIFY=SUCCESS,DELAY ORCPT=rfc822;Old+2Bsuccess+2Bdelay@example.com"
    );
    server.wait_log(&[
        "delivery",
        "recipient=success+delay@example.com",
        "result=DELIVERED",
    ]);
    assert_eq!(post.far.violations(), [""; 0]);
    assert_eq!(post.home.count(), 2);
}

#[test]
fn failures_and_delays_are_reported_to_who_wants_to_know() {
    if !installed("python3") {
        return;
    }
    let mut post = Post::new(Behaviour::Reply(Stage::Rcpt, "550 5.1.1 Nobody"));
    post.bundle.hook("eod", ASK);
    let server = post.start();
    for local in ["never", "success", "delay", "success+delay"] {
        send(&server, "a@example.net", &format!("{local}@example.com"));
    }
    send(&server, "a@example.net", "failure@example.com");
    send(&server, "a@example.net", "silent@example.com");
    let notices = post.notices(2);
    for (message, notice) in &notices {
        let recipient = &notice["status"][1];
        assert_eq!(recipient["action"], "failed");
        assert_eq!(
            notice["types"][2], "message/rfc822",
            "RET=FULL: {message:?}"
        );
        assert!(String::from_utf8_lossy(&message.content).contains("\r\nH\u{e5}llo!\r\n"));
        assert!(
            message.parameters[0].contains("BODY=8BITMIME"),
            "{:?}",
            message.parameters
        );
    }
    assert_eq!(server.log().matches(" dsn ").count(), 2);

    post.far
        .behave(Behaviour::Reply(Stage::Rcpt, "450 4.2.0 Later"));
    post.bundle.transports()["retry"]["intervals"] = json!([{ "interval": 3600, "notify": true }]);
    post.bundle.save();
    drop(server);
    let server = post.start();
    for local in ["never", "success", "failure"] {
        send(&server, "a@example.net", &format!("{local}@example.com"));
    }
    send(&server, "a@example.net", "delay@example.com");
    send(&server, "a@example.net", "silent@example.com");
    for (_, notice) in post.notices(4).split_off(2) {
        let recipient = &notice["status"][1];
        assert_eq!(recipient["action"], "delayed");
        assert_eq!(notice["types"][2], "text/rfc822-headers");
        let name = recipient["original-recipient"].as_str().unwrap();
        let name = name.trim_start_matches("rfc822; ");
        assert!(
            ["Old+delay@example.com", "Old+silent@example.com"].contains(&name),
            "{name}"
        );
        flufl(&notice, &json!([[name], []]));
    }
    assert_eq!(server.log().matches(" dsn ").count(), 2);
}

#[test]
fn the_retry_table_says_when_a_delay_is_told_and_when_it_ends() {
    if !installed("python3") {
        return;
    }
    let mut post = Post::new(Behaviour::Reply(Stage::Rcpt, "450 4.2.0 Later"));
    post.bundle.transports()["retry"] = json!({
        "count": 4,
        "intervals": [{ "interval": 0.2 }, { "interval": 0.2, "notify": true }, { "interval": 0.3 }],
    });
    post.bundle.save();
    let server = post.start();
    send(&server, "a@example.net", "b@example.com");
    let notices = post.notices(2);
    let (delayed, failed) = (&notices[0].1["status"][1], &notices[1].1["status"][1]);
    assert_eq!(
        (&delayed["action"], &failed["action"]),
        (&json!("delayed"), &json!("failed"))
    );
    assert!(delayed["will-retry-until"].is_string() && failed["will-retry-until"].is_null());
    flufl(&notices[0].1, &json!([["b@example.com"], []]));
    flufl(&notices[1].1, &json!([[], ["b@example.com"]]));
    let log = server.log();
    let told: Vec<&str> = log
        .lines()
        .filter(|line| line.contains(" dsn ") || line.contains("recipient=b@example.com retry="))
        .map(|line| match line.split_once("retry=") {
            Some((_, rest)) => rest.split(' ').next().unwrap(),
            None => "told",
        })
        .collect();
    assert_eq!(told, ["0", "1", "told", "2", "3", "4", "told"], "{log}");
}

#[test]
fn a_bounce_of_a_bounce_is_never_made() {
    let mut post = Post::new(Behaviour::Reply(Stage::Rcpt, "550 5.1.1 Nobody"));
    post.home.behave(Behaviour::Reply(
        Stage::Rcpt,
        "550 5.1.1 Nobody there either",
    ));
    // Not even if a script insists.
    post.bundle.hook("eod", ASK);
    post.bundle.write(
        "src/hooks/queue/postdelivery.hsl",
        r#"
        if (isset($arguments["action"])) Bounce(["dsn" => ["recipient" => "x@example.org", "transportid" => "sink"]]);
        "#,
    );
    let server = post.start();
    send(&server, "a@example.net", "failure@example.com");
    server.wait_log(&[
        "delivery",
        "recipient=x@example.org",
        "code=550",
        "result=BOUNCE",
    ]);
    send(&server, "", "failure+delay@example.com");
    server.wait_log(&[
        "delivery",
        "recipient=failure+delay@example.com",
        "code=550",
    ]);
    let connections = post.far.connections();
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(post.far.connections(), connections);
    assert_eq!(server.log().matches(" dsn ").count(), 1);
    assert_eq!(post.home.connections(), 0);
}

#[test]
fn addresses_beyond_ascii_are_reported_in_their_own_forms() {
    if !installed("python3") {
        return;
    }
    let mut post = Post::new(Behaviour::Reply(Stage::Rcpt, "550 5.1.1 \u{e5}-nej"));
    post.bundle
        .hook("eod", &ASK.replace("rfc822;Old+", "utf-8;gammal-å+"));
    let server = post.start();
    let mut client = Client::connect(server.address).unwrap();
    client.command("EHLO client.example").unwrap();
    for (line, code) in [
        (
            "MAIL FROM:<\u{e4}nn@example.net> SMTPUTF8 BODY=8BITMIME",
            250,
        ),
        ("RCPT TO:<failure@ex\u{e4}mple.com>", 250),
        ("DATA", 354),
    ] {
        let reply = client.command(line).unwrap();
        assert_eq!(reply.code, code, "{line}: {}", reply.text);
    }
    client
        .write(
            "From: <\u{e4}nn@example.net>\r\nSubject: H\u{e5}llo\r\n\r\nhello\r\n.\r\n".as_bytes(),
        )
        .unwrap();
    assert_eq!(client.reply().unwrap().code, 250);
    let (message, notice) = post.notice();
    assert_eq!(
        (message.from.as_str(), &*message.to),
        ("", &["\u{e4}nn@example.net".to_owned()][..])
    );
    assert!(
        message.parameters[0].contains("SMTPUTF8"),
        "{:?}",
        message.parameters
    );
    let types = [
        "text/plain",
        "message/global-delivery-status",
        "message/global",
    ];
    assert_eq!(notice["types"], json!(types));
    assert_eq!(field(&notice, "To"), Some("\u{e4}nn@example.net"));
    let recipient = &notice["status"][1];
    assert_eq!(
        recipient["final-recipient"],
        "utf-8; failure@ex\u{e4}mple.com"
    );
    assert_eq!(
        recipient["original-recipient"],
        "utf-8; gammal-\u{e5}+failure@example.com"
    );
    assert_eq!(recipient["diagnostic-code"], "smtp; 550 5.1.1 \u{e5}-nej");
}

#[test]
fn what_no_notification_can_have_is_an_exception_in_the_script() {
    let post = Post::new(Behaviour::Reply(Stage::Rcpt, "550 5.1.1 Nobody"));
    post.bundle.write(
        "src/hooks/queue/postdelivery.hsl",
        r#"
        $bad = [
            ["headers" => ["no colon"]],
            ["headers" => ["Content-Type: text/html"]],
            ["headers" => ["Bad Name: x"]],
            ["headers" => "Foo: Bar"],
            ["recipient" => "nobody"],
            ["transportid" => "nowhere"],
            ["from" => ["localpart" => "a"]],
            ["metadata" => ["a" => []]],
            ["readable_mimepart" => []],
            ["dkim" => ["selector" => "s"]],
            ["dkim" => ["selector" => "s", "domain" => "example.com", "key" => "nobody"]],
            ["dkim" => ["selector" => "s\r\nX: y", "domain" => "example.com", "key" => "own", "id" => true]],
        ];
        foreach ($bad as $dsn) {
            try {
                Bounce(["dsn" => $dsn]);
            } catch ($error) {
                echo "REFUSED " . $error->message();
            }
        }
        Delete();
        "#,
    );
    let server = post.start();
    send(&server, "a@example.net", "b@example.com");
    server.wait_log(&["delivery", "result=DELETE"]);
    let log = server.log();
    let refused: Vec<&str> = log
        .lines()
        .filter_map(|line| Some(line.split_once("REFUSED ")?.1))
        .collect();
    insta::assert_snapshot!(refused.join("\n"));
    assert_eq!(post.home.connections(), 0);
}

/// The public half of the key that signs here, as a key record.
fn key_record(private: &str) -> String {
    let output = Command::new("openssl")
        .args(["rsa", "-in", private, "-pubout"])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let body: String = text
        .lines()
        .filter(|line| !line.starts_with("-----"))
        .collect();
    format!("v=DKIM1; p={body}")
}

#[test]
fn notifications_are_signed_as_transport_or_script_says() {
    if !installed("openssl") || !installed("python3") {
        return;
    }
    let mut post = Post::new(Behaviour::Reply(Stage::Rcpt, "550 5.1.1 Nobody"));
    let key = post.bundle.path().join("dkim.pem");
    let key = key.to_str().unwrap();
    let made = Command::new("openssl")
        .args([
            "genpkey",
            "-algorithm",
            "RSA",
            "-pkeyopt",
            "rsa_keygen_bits:2048",
            "-out",
            key,
        ])
        .output()
        .unwrap();
    assert!(made.status.success());
    // A key that signs mail has no certificate.
    post.bundle.startup["pki"] =
        json!({ "private": [{ "id": "own", "privatekey": { "path": key } }] });
    let transports = post.bundle.transports();
    transports["dsn"]["dkim"] =
        json!({ "selector": "conf", "domain": "relay.example", "key": "own" });
    post.bundle.write(
        "src/hooks/queue/postdelivery.hsl",
        r#"
        if ($message["recipientaddress"]["localpart"] === "script")
            Bounce(["dsn" => ["dkim" => [
                "selector" => "script", "domain" => "example.org", "key" => "pki:own", "timestamp" => 1700000000,
                "canonicalization_header" => "simple", "canonicalization_body" => "simple"
            ]]]);
        "#,
    );
    post.bundle.save();
    let server = post.start();
    send(&server, "a@example.net", "conf@example.com");
    send(&server, "a@example.net", "script@example.com");
    let record = key_record(key);
    let records = json!({
        "conf._domainkey.relay.example": record,
        "script._domainkey.example.org": record,
    });
    let mut seen = Vec::new();
    for (message, notice) in post.notices(2) {
        let signature = field(&notice, "DKIM-Signature").unwrap().replace('\t', " ");
        let by_script = signature.contains("d=example.org; s=script;");
        assert_eq!(
            by_script,
            signature.contains("c=simple/simple"),
            "{signature}"
        );
        assert_eq!(by_script, signature.contains("t=1700000000"), "{signature}");
        assert!(
            by_script || signature.contains("d=relay.example; s=conf;"),
            "{signature}"
        );
        seen.push(by_script);
        let jobs = [json!({
            "do": "verify",
            "message": BASE64.encode(&message.content),
            "records": records,
        })];
        if let Some(outcomes) = mailauth::outcomes(&jobs) {
            assert_eq!(outcomes, [json!([true])], "{signature}");
        }
    }
    seen.sort_unstable();
    assert_eq!(seen, [false, true]);
}
