//! More bundles of `examples` at work: another language, a command of one's own, a filter, log-ins.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "it drives real programs; a failed expectation is a failed test"
)]

use std::io::Write;
use std::net::TcpStream;
use std::process::{Child, Command, Output, Stdio};

use angarium_tests::bundle::{Bundle, free_address};
use angarium_tests::client::Client;
use angarium_tests::program::{self, installed};
use angarium_tests::server::{self, Server};
use angarium_tests::sink::{Message, Sink};
use angarium_tests::wait;

fn run(program: &str, arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("an installed program starts");
    // It may end without reading everything.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn text(message: &Message) -> String {
    String::from_utf8_lossy(&message.content).into_owned()
}

/// What the client says, and the last line of each answer; `closed` when there is none.
fn talk(client: &mut Client, lines: &[&str]) -> String {
    let mut said = String::new();
    for line in lines {
        let reply = match client.command(line) {
            Ok(reply) => reply.text,
            Err(_) => "closed".to_owned(),
        };
        said += &format!("C: {line}\nS: {}\n", reply.replace('\n', "\n   "));
    }
    said
}

#[test]
fn the_bundles_pass_the_check() {
    for name in ["smtp-lang", "xclient", "spam-filter", "sasl"] {
        let bundle = Bundle::example(name, 2526);
        let output = server::run(&["serve", "--check", bundle.path().to_str().unwrap()]);
        let complaints = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            output.status.success() && complaints.is_empty(),
            "{name}: {complaints}"
        );
    }
}

#[test]
fn a_conversation_in_swedish() {
    let sink = Sink::start();
    let bundle = Bundle::example("smtp-lang", sink.port());
    let server = Server::start(&bundle);
    let mut client = Client::connect(server.address).unwrap();
    let host = client
        .greeting
        .text
        .replace("220 ", "")
        .replace(" ESMTP, talar svenska", "");
    let body = ["Subject: hej", "", "Hej då!"].join("\r\n");
    let content = format!("{body}\r\n.");
    let mut said = talk(
        &mut client,
        &[
            "HEJ klient.example",
            "vänta",
            "BREV FRÅN:<anna@example.org>",
            "BREV TILL:<bo@elsewhere.example>",
            "BREV TILL:<bo@example.com>",
            "ÅNGRA",
            "brev från:<anna@example.org> SMTPUTF8",
            "brev till:<bo@elsewhere.example>",
            "Brev Till:<bo@example.com>",
            "INNEHÅLL",
            &content,
            "HEJDÅ",
            "VÄNTA",
        ],
    );
    // Who speaks English is answered in English, until they ask for Swedish.
    let mut client = Client::connect(server.address).unwrap();
    said += &talk(
        &mut client,
        &[
            "EHLO klient.example",
            "MAIL FROM:<anna@example.org>",
            "LANG SE",
            "RCPT TO:<bo@example.com>",
            "LANG EN",
            "RCPT TO:<bo@example.com>",
            "HEJSAN",
            "QUIT",
        ],
    );
    assert!(sink.wait_for(1, wait::SOON));
    let messages = sink.messages();
    assert_eq!(messages[0].from, "anna@example.org");
    assert!(
        text(&messages[0]).ends_with("Subject: hej\r\n\r\nHej då!\r\n"),
        "{}",
        text(&messages[0])
    );
    let at = said.find("mottaget som ").unwrap() + "mottaget som ".len();
    let id = said[at..at + 36].to_owned();
    let said = said
        .replace(&id, "ID")
        .replace(&format!("250-{host} "), "250-HOST ");
    let said = said.replace(&content, "Subject: hej / Hej då!");
    insta::assert_snapshot!(said);
}

#[test]
fn a_proxy_says_who_its_client_is() {
    let sink = Sink::start();
    let bundle = Bundle::example("xclient", sink.port());
    let server = Server::start(&bundle);
    let mut client = Client::connect(server.address).unwrap();
    let greeting = client.command("EHLO proxy.example").unwrap().text;
    assert!(
        greeting.ends_with("250 XCLIENT ADDR NAME HELO"),
        "{greeting}"
    );
    for (line, start) in [
        ("XCLIENT", "501 5.5.4"),
        ("XCLIENT PORT=1", "501 5.5.4"),
        ("XCLIENT ADDR=nowhere", "501 5.5.4"),
        ("XCLIENT NAME=a+0D+0Ab", "501 5.5.4"),
        ("XCLIENT NAME=a+zz", "501 5.5.4"),
        ("xclient addr=198.51.100.7 name=[UNAVAILABLE]", "220 "),
        ("EHLO proxy.example", "250"),
        ("MAIL FROM:<a@example.org>", "250"),
        ("XCLIENT ADDR=192.0.2.7", "503 5.5.1"),
        (
            "RCPT TO:<bob@example.com>",
            "554 5.7.1 Your network is blocked",
        ),
        ("RSET", "250"),
        (
            "XCLIENT ADDR=IPV6:2001:db8::7 NAME=mail+2Bx.example HELO=mx.example",
            "220 ",
        ),
        ("EHLO proxy.example", "250"),
    ] {
        let reply = client.command(line).unwrap().text;
        assert!(reply.starts_with(start), "{line}: {reply}");
    }
    let reply = client.send(
        "a@example.org",
        "bob@example.com",
        b"X-Client: forged\r\n\r\nx\r\n",
    );
    assert_eq!(reply.unwrap().code, 250);
    assert!(sink.wait_for(1, wait::SOON));
    // A real client's use of it.
    if installed("swaks") {
        let address = server.address.to_string();
        let output = run(
            "swaks",
            &[
                "--server",
                &address,
                "--to",
                "bob@example.com",
                "--xclient",
                "ADDR=192.0.2.7",
                "--xclient",
                "NAME=mail.example.org",
            ],
            "",
        );
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stdout)
        );
        assert!(sink.wait_for(2, wait::SOON));
        assert!(
            text(&sink.messages()[1]).starts_with("X-Client: 192.0.2.7 (mail.example.org), HELO ")
        );
    }
    let first = text(&sink.messages()[0]);
    assert!(
        first.starts_with("X-Client: 2001:db8::7 (mail+x.example), HELO mx.example\r\n"),
        "{first}"
    );
    assert!(!first.contains("forged"));
}

/// A `spamd` with the rules of the example. It goes with its children.
struct Spamd(Child);

impl Spamd {
    fn start(bundle: &Bundle, port: u16) -> Spamd {
        let rules = bundle.path().join("spamassassin");
        let port_text = port.to_string();
        let child = Command::new("spamd")
            .args([
                "--local",
                "--port",
                &port_text,
                "--listen",
                "127.0.0.1",
                "--max-children",
                "1",
                "--syslog",
                "stderr",
            ])
            .arg("--siteconfigpath")
            .arg(&rules)
            .arg("--configpath")
            .arg(&rules)
            .arg("--nouser-config")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("spamd starts");
        let spamd = Spamd(child);
        let up = wait::until_true(wait::SOON, || {
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        assert!(up, "spamd does not listen");
        spamd
    }
}

impl Drop for Spamd {
    fn drop(&mut self) {
        // TERM lets it end its children; it is waited for.
        let pid = rustix::process::Pid::from_child(&self.0);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.0.wait();
    }
}

#[test]
fn spamassassin_decides_at_the_end_of_data() {
    if !installed("spamd") {
        return;
    }
    let sink = Sink::start();
    let bundle = Bundle::example("spam-filter", sink.port());
    let port = free_address().port();
    bundle.edit("src/hooks/eod/filter.hsl", "7783", &port.to_string());
    let server = Server::start(&bundle);
    let mut client = Client::connect(server.address).unwrap();
    client.command("EHLO client.example").unwrap();
    let mut send = |message: &str| {
        let message = format!("From: a@example.org\r\n{message}");
        let reply = client.send("a@example.org", "bob@example.com", message.as_bytes());
        reply.unwrap().text
    };
    // Without the filter nothing gets through, and nothing is lost.
    assert!(send("Subject: x\r\n\r\nx\r\n").starts_with("451 4.3.0"));
    let spamd = Spamd::start(&bundle, port);
    assert!(send("X-Spam-Flag: NO\r\nSubject: hello\r\n\r\nHello\r\n").starts_with("250"));
    assert!(send("Subject: A special offer\r\n\r\nHello\r\n").starts_with("250"));
    let gtube = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X";
    let refused = send(&format!("Subject: x\r\n\r\n{gtube}\r\n"));
    assert_eq!(refused, "550 5.7.1 This looks like spam");
    assert!(
        send(&format!(
            "Subject: large\r\n\r\n{}\r\n",
            "x\r\n".repeat(200_000)
        ))
        .starts_with("250")
    );
    assert!(sink.wait_for(3, wait::SOON));
    let messages = sink.messages();
    let header = |at: usize| {
        let text = text(&messages[at]);
        text.split_once("\r\n\r\n").unwrap().0.to_owned()
    };
    assert!(
        header(0).contains("X-Spam-Status: No, score=0 required=5 tests="),
        "{}",
        header(0)
    );
    assert!(!header(0).contains("X-Spam-Flag"));
    assert!(header(1).contains("X-Spam-Flag: YES\r\n"), "{}", header(1));
    assert!(
        header(1).contains("X-Spam-Status: Yes, score=6 required=5 tests=EXAMPLE_OFFER"),
        "{}",
        header(1)
    );
    assert!(!header(2).contains("X-Spam"));
    drop(spamd);
    assert!(send("Subject: x\r\n\r\nx\r\n").starts_with("451 4.3.0"));
}

/// Logs in with Python's smtplib and its own mechanisms; prints the reply.
const SMTPLIB: &str = r#"
import base64, hashlib, hmac, os, smtplib, sys
port, mechanism, user, password = sys.argv[1:]
client = smtplib.SMTP("127.0.0.1", int(port))
client.ehlo()
client.user, client.password = user, password
def scram(challenge=None):
    global first, nonce, expected
    if not challenge:
        nonce = base64.b64encode(os.urandom(12)).decode()
        first = f"n={user},r={nonce}"
        return "n,," + first
    challenge = challenge.decode() if isinstance(challenge, bytes) else challenge
    if challenge.startswith("v="):
        assert base64.b64decode(challenge[2:]) == expected, "the server does not know the password"
        return ""
    parts = dict(part.split("=", 1) for part in challenge.split(","))
    assert parts["r"].startswith(nonce)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(parts["s"]), int(parts["i"]))
    key = hmac.digest(salted, b"Client Key", "sha256")
    last = "c=biws,r=" + parts["r"]
    signed = ",".join([first, challenge, last]).encode()
    signature = hmac.digest(hashlib.sha256(key).digest(), signed, "sha256")
    expected = hmac.digest(hmac.digest(salted, b"Server Key", "sha256"), signed, "sha256")
    return last + ",p=" + base64.b64encode(bytes(a ^ b for a, b in zip(key, signature))).decode()
methods = {
    "PLAIN": client.auth_plain, "LOGIN": client.auth_login, "CRAM-MD5": client.auth_cram_md5, "SCRAM-SHA-256": scram,
    "XOAUTH2": lambda challenge=None: "" if challenge else f"user={user}\1auth=Bearer {password}\1\1",
    "OAUTHBEARER": lambda challenge=None: "\1" if challenge else f"n,a={user},\1auth=Bearer {password}\1\1",
}
try:
    code, text = client.auth(mechanism, methods[mechanism], initial_response_ok=mechanism != "CRAM-MD5")
except smtplib.SMTPAuthenticationError as error:
    code, text = error.smtp_code, error.smtp_error
print(code, text.decode())
"#;

#[test]
fn clients_log_in_by_every_mechanism() {
    let sink = Sink::start();
    let bundle = Bundle::example("sasl", sink.port());
    let server = Server::start(&bundle);
    let mut client = Client::connect(server.address).unwrap();
    let greeting = client.command("EHLO client.example").unwrap().text;
    assert!(
        greeting.ends_with("AUTH SCRAM-SHA-256 CRAM-MD5 OAUTHBEARER XOAUTH2 PLAIN LOGIN"),
        "{greeting}"
    );
    client.command("MAIL FROM:<a@example.org>").unwrap();
    let refused = client.command("RCPT TO:<carol@example.net>").unwrap().text;
    assert_eq!(refused, "530 5.7.0 Log in first");
    let port = server.address.port().to_string();
    let python = program::python();
    let python = python.to_str().unwrap();
    if installed(python) {
        for (mechanism, user, password, reply) in [
            ("PLAIN", "alice", "wonderland", "235 2.7.0"),
            ("PLAIN", "bob", "looking-glass", "235 2.7.0"),
            ("PLAIN", "bob", "wonderland", "535 5.7.8"),
            ("LOGIN", "alice", "wonderland", "235 2.7.0"),
            ("LOGIN", "nobody", "x", "535 5.7.8"),
            ("CRAM-MD5", "alice", "wonderland", "235 2.7.0"),
            ("CRAM-MD5", "alice", "wrong", "535 5.7.8"),
            ("CRAM-MD5", "bob", "looking-glass", "535 5.7.8"),
            ("SCRAM-SHA-256", "alice", "wonderland", "235 2.7.0"),
            ("SCRAM-SHA-256", "bob", "looking-glass", "235 2.7.0"),
            ("SCRAM-SHA-256", "bob", "wrong", "535 5.7.8"),
            ("SCRAM-SHA-256", "nobody", "x", "535 5.7.8"),
            ("XOAUTH2", "alice", "token-of-alice", "235 2.7.0"),
            ("XOAUTH2", "alice", "token-of-bob", "535 5.7.8"),
            ("OAUTHBEARER", "alice", "token-of-alice", "235 2.7.0"),
            ("OAUTHBEARER", "bob", "token-of-alice", "535 5.7.8"),
        ] {
            let output = run(
                python,
                &["-c", SMTPLIB, &port, mechanism, user, password],
                "",
            );
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            let complaints = String::from_utf8_lossy(&output.stderr);
            assert!(
                said.starts_with(reply),
                "{mechanism} {user}: {said} {complaints}"
            );
        }
    }
    // curl and swaks have mechanisms of their own.
    let url = format!("smtp://127.0.0.1:{port}");
    let curl = |mechanism: &str, user: &str| {
        let output = run(
            "curl",
            &[
                "-sS",
                &url,
                "--user",
                user,
                "--login-options",
                &format!("AUTH={mechanism}"),
                "--mail-from",
                "bob@example.com",
                "--mail-rcpt",
                "carol@example.net",
                "--crlf",
                "-T",
                "-",
            ],
            "Subject: hello\n\nHello!\n",
        );
        output.status.success()
    };
    for mechanism in ["PLAIN", "LOGIN", "CRAM-MD5"] {
        assert!(curl(mechanism, "alice:wonderland"), "{mechanism}");
        assert!(!curl(mechanism, "alice:wrong"), "{mechanism}");
    }
    if installed("swaks") {
        for (mechanism, password, good) in [
            ("PLAIN", "wonderland", true),
            ("LOGIN", "wonderland", true),
            ("PLAIN", "wrong", false),
        ] {
            let address = server.address.to_string();
            let output = run(
                "swaks",
                &[
                    "--server",
                    &address,
                    "--to",
                    "carol@example.net",
                    "--auth",
                    mechanism,
                    "--auth-user",
                    "alice",
                    "--auth-password",
                    password,
                ],
                "",
            );
            assert_eq!(output.status.success(), good, "swaks {mechanism}");
        }
    }
    assert!(sink.wait_for(3, wait::SOON));
    let first = text(&sink.messages()[0]);
    assert!(first.contains("with ESMTPA\r\n"), "{first}");
}

#[test]
fn older_scripts_deliver_in_line_before_the_reply() {
    let sink = Sink::start();
    let mut bundle = Bundle::relay(sink.port());
    bundle.hook(
        "eod",
        "if ($recipientlocalpart === \"queued\") Deliver(); Deliver([\"queue\" => false]);",
    );
    bundle.server()["phases"]["eod"]["perrecipient"] = true.into();
    bundle.save();
    let server = Server::start(&bundle);
    let mut client = Client::connect(server.address).unwrap();
    client.command("EHLO client.example").unwrap();
    let mut send = |to: &str| {
        client
            .send("a@example.org", to, b"Subject: x\r\n\r\nx\r\n")
            .unwrap()
            .text
    };
    let reply = send("now@example.com");
    // The message is there already.
    assert_eq!(sink.count(), 1, "{reply}");
    assert!(reply.starts_with("250"), "{reply}");
    sink.behave(angarium_tests::sink::Behaviour::Reply(
        angarium_tests::sink::Stage::End,
        "552 5.2.2 Full",
    ));
    assert!(
        send("now@example.com").starts_with("552 5.2.2"),
        "the codes of the peer"
    );
    sink.behave(angarium_tests::sink::Behaviour::Reply(
        angarium_tests::sink::Stage::Rcpt,
        "550 5.1.1 Unknown",
    ));
    let reply = send("now@example.com");
    assert!(
        reply.starts_with("550 5.7.1") && reply.contains("Unknown"),
        "{reply}"
    );
    sink.behave(angarium_tests::sink::Behaviour::Close(
        angarium_tests::sink::Stage::Data,
    ));
    assert!(send("now@example.com").starts_with("421"));
    sink.behave(angarium_tests::sink::Behaviour::Accept);
    assert!(send("queued@example.com").starts_with("250"));
    assert!(sink.wait_for(2, wait::SOON));
}

#[test]
fn older_scripts_set_what_try_has_as_options() {
    let (sink, other) = (Sink::start(), Sink::start());
    let mut bundle = Bundle::relay(sink.port());
    bundle.running["scripting"] = serde_json::json!({ "compat": 5 });
    bundle.save();
    let pre = format!(
        r#"
        echo json_encode([$sender, $recipient, $destination, $destinationport, $retry, $retries, $transportid, $senderhelo, $queueid]);
        if ($recipientlocalpart === "held") {{
            if (CurrentConnections("space", "entry", 0)) echo "a place too many";
            Reschedule(3600, ["reason" => "full", "increment_retry" => false]);
        }}
        if (!CurrentConnections("space", "entry", 10)) echo "no place";
        $context = GetMailFile()->readline() . "|" . GetMailFile(["changes" => true])->readline();
        SetDestination("127.0.0.1", {});
        SetHELO("older.example");
        SetSender("new@example.org");
        SetSenderParams(["BODY" => "8BITMIME"]);
        SetRecipient(["localpart" => "other", "domain" => "example.com"]);
        if ($recipientlocalpart === "said") Try(["recipient" => "said@example.com"]);
        "#,
        other.port()
    );
    bundle.hook("predelivery", &pre);
    bundle.hook(
        "postdelivery",
        "echo json_encode([$action, $errorcode, $errormsg, $errorndr, $transfertime >= 0, $serverip, $sourceip, GetTLS(), $context]);",
    );
    let server = Server::start(&bundle);
    let mut client = Client::connect(server.address).unwrap();
    client.command("EHLO client.example").unwrap();
    for to in ["a", "said", "held"] {
        let to = format!("{to}@example.com");
        let reply = client
            .send("a@example.org", &to, b"Subject: x\r\n\r\nx\r\n")
            .unwrap();
        assert_eq!(reply.code, 250);
        server.wait_log(&[&to, "\"127.0.0.1\""]);
    }
    assert!(other.wait_for(2, wait::SOON));
    assert_eq!(sink.count(), 0);
    let mut messages = other.messages();
    messages.sort_by(|a, b| a.to.cmp(&b.to));
    assert_eq!(messages[0].to, ["other@example.com"]);
    assert_eq!(messages[1].to, ["said@example.com"]);
    for message in &messages {
        assert_eq!(message.from, "new@example.org");
    }
    let log = server.log();
    assert!(
        log.contains(r#"["a@example.org","a@example.com","127.0.0.1","#),
        "{log}"
    );
    assert!(log.contains("Received: from client.example"), "{log}");
    assert!(
        !log.contains("no place") && !log.contains("a place too many"),
        "{log}"
    );
}
