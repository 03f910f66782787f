//! Broken scripts, configurations and protocol: a clear error or the right reply, and the server goes on.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "it drives real programs; a failed expectation is a failed test"
)]

use std::net::TcpListener;
use std::process::Output;
use std::time::Duration;

use angarium_tests::bundle::Bundle;
use angarium_tests::client::Client;
use angarium_tests::server::{self, Server};
use angarium_tests::sink::Sink;
use serde_json::json;

const CONTENT: &[u8] = b"Subject: hello\r\n\r\nHello!\r\n";

fn serve(bundle: &Bundle, check: bool) -> Output {
    let folder = bundle.path().to_str().unwrap();
    match check {
        true => server::run(&["serve", "--check", folder]),
        false => server::run(&["serve", folder]),
    }
}

/// The error of a server that must not start: every part is in it, and it is no panic.
fn error_of(output: &Output, parts: &[&str]) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let code = output.status.code();
    assert!(
        code.is_some_and(|code| code != 0 && code != 101),
        "{:?}\n{text}",
        output.status
    );
    assert!(!text.contains("panicked"), "{text}");
    for part in parts {
        assert!(text.contains(part), "no {part:?} in:\n{text}");
    }
    text
}

#[test]
fn a_broken_script_is_shown_with_place_line_and_caret() {
    let mut bundle = Bundle::relay(1);
    bundle.hook("eod", "$a = 1;\n$b = [1, 2;\nAccept();\n");
    for check in [true, false] {
        let text = error_of(
            &serve(&bundle, check),
            &["src/hooks/eod/default.hsl:2:6: ", "$b = [1, 2;", "^"],
        );
        assert!(
            text.lines()
                .any(|line| line.trim_end().ends_with('^') || line.contains("^ ")),
            "{text}"
        );
    }
}

#[test]
fn a_broken_file_that_a_hook_imports_is_named() {
    let mut bundle = Bundle::relay(1);
    bundle.write(
        "src/files/list.hsl",
        "function f()\n{\n    return 1 +;\n}\n",
    );
    bundle.hook("eod", "import { f } from \"list.hsl\";\nAccept();\n");
    error_of(
        &serve(&bundle, true),
        &["list.hsl:3:15: ", "src/hooks/eod/default.hsl:1:19"],
    );
}

#[test]
fn what_is_not_there_is_an_error_that_names_it() {
    let mut bundle = Bundle::relay(1);
    bundle.hook("eod", "no_such_function();\nAccept();\n");
    error_of(
        &serve(&bundle, true),
        &["src/hooks/eod/default.hsl:1:1", "no_such_function"],
    );
    bundle.hook("eod", "import { f } from \"missing.hsl\";\nAccept();\n");
    error_of(&serve(&bundle, true), &["missing.hsl"]);
    bundle.hook("eod", "Accept();\n");
    bundle.server()["phases"]["mailfrom"]["hook"] = json!("nowhere");
    bundle.save();
    error_of(&serve(&bundle, true), &["nowhere"]);
}

#[test]
fn a_broken_configuration_is_refused_with_the_path_of_the_key() {
    type Change = fn(&mut Bundle);
    let cases: [(&str, Change, &[&str]); 7] = [
        (
            "unknown key",
            |b| b.server()["phazes"] = json!({}),
            &["servers[0].phazes", "phases"],
        ),
        (
            "wrong type",
            |b| b.server()["concurrency"] = json!({ "total": "many" }),
            &["servers[0].concurrency.total"],
        ),
        (
            "wrong value",
            |b| b.startup["servers"][0]["listeners"][0]["port"] = json!(70_000),
            &["servers[0].listeners[0].port"],
        ),
        (
            "not there yet",
            |b| b.startup["cluster"] = json!({ "address": "c.example" }),
            &["cluster"],
        ),
        (
            "no version",
            |b| drop(b.startup.as_object_mut().unwrap().remove("version")),
            &["version"],
        ),
        (
            "unknown transport",
            |b| b.server()["transport"] = json!("nowhere"),
            &["nowhere"],
        ),
        (
            "server of another name",
            |b| b.server()["id"] = json!("other"),
            &["default"],
        ),
    ];
    let mut good = 0;
    for (name, change, parts) in cases {
        let mut bundle = Bundle::relay(1);
        change(&mut bundle);
        bundle.save();
        let output = serve(&bundle, true);
        let text = error_of(&output, parts);
        assert!(text.contains("smtpd"), "{name}: it names the file:\n{text}");
        error_of(&serve(&bundle, false), parts);
        good += 1;
    }
    println!("broken configurations: {good} of 7");
}

#[test]
fn yaml_that_is_none_is_refused_with_line_and_column() {
    let bundle = Bundle::relay(1);
    bundle.write(
        "src/config/smtpd-app.yaml",
        "version: \"6.0\"\nservers:\n  - id: [default\n",
    );
    error_of(&serve(&bundle, true), &["smtpd-app.yaml:"]);
    bundle.write("src/config/smtpd-app.yaml", "");
    error_of(&serve(&bundle, true), &["smtpd-app.yaml", "version"]);
}

#[test]
fn a_missing_folder_and_a_busy_port_say_what_to_do() {
    let output = server::run(&["serve", "/nonexistent/bundle"]);
    error_of(&output, &["/nonexistent/bundle"]);

    let bundle = Bundle::relay(1);
    let _busy = TcpListener::bind(bundle.address).unwrap();
    let address = bundle.address.to_string();
    error_of(
        &serve(&bundle, false),
        &[&address, "another program uses this port"],
    );
}

#[test]
fn a_spool_that_another_server_uses_is_refused() {
    let first = Bundle::relay(1);
    let _server = Server::start(&first);
    let mut second = Bundle::relay(1);
    second.startup["spool"] = json!({
        "path": first.path().join("spool/queue"),
        "tmp": first.path().join("spool/tmp"),
    });
    second.save();
    error_of(&serve(&second, false), &["spool/queue"]);
}

#[test]
fn an_error_in_a_running_script_defers_and_is_logged_with_its_place() {
    let sink = Sink::start();
    let mut bundle = Bundle::relay(sink.port());
    bundle.hook("mailfrom", "if ($arguments[\"sender\"] == \"throw@example.net\")\n    throw Exception(\"on purpose\");\nAccept();\n");
    bundle.hook(
        "eod",
        "$arguments[\"mail\"]->queue($transaction[\"senderaddress\"], $transaction[\"recipients\"][0][\"address\"], \"sink\");\n\
         if ($transaction[\"sender\"] == \"loop@example.net\")\n    while (true) $n = 1;\n\
         if ($transaction[\"sender\"] == \"eat@example.net\")\n    { $all = [\"x\"]; while (true) $all[] = str_repeat(\"x\", 100000) . length($all); }\n\
         if ($transaction[\"sender\"] == \"end@example.net\")\n    return;\n\
         Accept();\n",
    );
    bundle.startup["scripting"] = json!({ "limits": { "fuel": 200_000, "memory": 8_388_608 } });
    bundle.save();
    let server = Server::start(&bundle);
    let mut client = Client::connect(server.address).unwrap();
    client.command("EHLO client.example").unwrap();
    let reply = client.command("MAIL FROM:<throw@example.net>").unwrap();
    assert!(reply.text.starts_with("450 4.7.1 "), "{}", reply.text);
    assert!(
        !reply.text.contains("on purpose"),
        "the client does not see what is inside"
    );
    server.wait_log(&[
        "mailfrom",
        "on purpose",
        "src/hooks/mailfrom/default.hsl:2:",
    ]);
    for sender in ["loop@example.net", "eat@example.net", "end@example.net"] {
        let reply = client.send(sender, "to@example.com", CONTENT).unwrap();
        assert!(
            reply.text.starts_with("421 4.3.0 "),
            "{sender}: {}",
            reply.text
        );
    }
    server.wait_log(&["eod error", "fuel", "src/hooks/eod/default.hsl:3:"]);
    server.wait_log(&["eod error", "memory", "src/hooks/eod/default.hsl:5:"]);
    // What these scripts had queued is gone; the session and the server go on.
    let reply = client
        .send("from@example.net", "to@example.com", CONTENT)
        .unwrap();
    assert_eq!(reply.code, 250, "{}", reply.text);
    assert!(sink.wait_for(1, Duration::from_secs(30)));
    let froms: Vec<String> = sink
        .messages()
        .into_iter()
        .map(|message| message.from)
        .collect();
    assert_eq!(froms, ["from@example.net"]);
}

/// What a client sends in one piece, and how each reply starts. `*` stands for any number of replies.
const BROKEN: &[(&str, &[u8], &[&str])] = &[
    ("unknown verb", b"FOO bar\r\n", &["500"]),
    ("no verb", b"\r\n", &["500"]),
    (
        "verbs without support",
        b"ETRN x\r\nEXPN x\r\nTURN\r\n",
        &["502", "502", "502"],
    ),
    ("binary", b"\x00\xff\xfe\x01\x02\r\n", &["500"]),
    ("NUL in a command", b"NO\x00OP\r\n", &["500"]),
    ("RCPT before MAIL", b"RCPT TO:<a@example.com>\r\n", &["503"]),
    (
        "DATA before RCPT",
        b"MAIL FROM:<a@example.net>\r\nDATA\r\n",
        &["250", "503"],
    ),
    (
        "MAIL twice",
        b"MAIL FROM:<a@example.net>\r\nMAIL FROM:<a@example.net>\r\n",
        &["250", "503"],
    ),
    ("no path", b"MAIL FROM:a@@\r\n", &["501"]),
    ("no keyword", b"MAIL <a@example.net>\r\n", &["501"]),
    ("open bracket", b"MAIL FROM:<a@example.net\r\n", &["501"]),
    ("bad domain", b"MAIL FROM:<a@-example..net>\r\n", &["501"]),
    ("bad literal", b"MAIL FROM:<a@[300.1.1.1]>\r\n", &["501"]),
    (
        "unknown parameter",
        b"MAIL FROM:<a@example.net> FOO=1\r\n",
        &["555"],
    ),
    (
        "bad size",
        b"MAIL FROM:<a@example.net> SIZE=x\r\n",
        &["501"],
    ),
    (
        "too big",
        b"MAIL FROM:<a@example.net> SIZE=99999999999\r\n",
        &["552"],
    ),
    (
        "bad body",
        b"MAIL FROM:<a@example.net> BODY=9BIT\r\n",
        &["501"],
    ),
    (
        "bad DSN",
        b"MAIL FROM:<a@example.net> RET=ALL\r\n",
        &["555"],
    ),
    (
        "null recipient",
        b"MAIL FROM:<>\r\nRCPT TO:<>\r\n",
        &["250", "501"],
    ),
    ("EHLO without a name", b"EHLO\r\n", &["501"]),
    ("STARTTLS without a certificate", b"STARTTLS\r\n", &["502"]),
    (
        "AUTH that is not announced",
        b"AUTH PLAIN AGEAYg==\r\n",
        &["50"],
    ),
    ("BDAT that is not announced", b"BDAT 3 LAST\r\n", &["50"]),
];

#[test]
fn broken_protocol_gets_its_reply_and_the_session_goes_on() {
    let sink = Sink::start();
    let bundle = Bundle::relay(sink.port());
    let server = Server::start(&bundle);
    let mut missed = Vec::new();
    for (name, bytes, expected) in BROKEN {
        let mut client = Client::connect(server.address).unwrap();
        client.command("EHLO client.example").unwrap();
        client.write(bytes).unwrap();
        let replies: Vec<String> = expected
            .iter()
            .map(|_| {
                client
                    .reply()
                    .map_or_else(|error| error.to_string(), |reply| reply.text)
            })
            .collect();
        let good = replies
            .iter()
            .zip(*expected)
            .all(|(reply, code)| reply.starts_with(code));
        let alive = client.command("NOOP").is_ok_and(|reply| reply.code == 250);
        if !good || !alive {
            missed.push(format!("{name}: {replies:?}, alive: {alive}"));
        }
    }
    println!(
        "broken protocol: {} of {}",
        BROKEN.len() - missed.len(),
        BROKEN.len()
    );
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

#[test]
fn lines_without_end_take_one_reply_and_no_memory() {
    let bundle = Bundle::relay(1);
    let server = Server::start(&bundle);
    let mut client = Client::connect(server.address).unwrap();
    client.command("EHLO client.example").unwrap();
    let before = resident(server.pid());
    for _ in 0..1024 {
        client.write(&[b'x'; 65_536]).unwrap();
    }
    let reply = client.command("").unwrap();
    assert!(reply.text.starts_with("500 5.5.2"), "{}", reply.text);
    assert_eq!(client.command("NOOP").unwrap().code, 250);
    let grown = resident(server.pid()).saturating_sub(before);
    assert!(grown < 16 << 20, "64 MiB of one line took {grown} bytes");
}

/// Bytes of memory that a process has in use.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
    kib * 1024
}

#[test]
fn a_bare_lf_ends_no_command_and_the_session() {
    let bundle = Bundle::relay(1);
    let server = Server::start(&bundle);
    let mut client = Client::connect(server.address).unwrap();
    client
        .write(b"EHLO client.example\nMAIL FROM:<a@example.net>\r\n")
        .unwrap();
    let reply = client.reply().unwrap();
    assert!(reply.text.starts_with("500 5.5.2"), "{}", reply.text);
    assert!(client.is_closed());
}

#[test]
fn other_protocols_are_told_once_and_left() {
    let sink = Sink::start();
    let bundle = Bundle::relay(sink.port());
    let server = Server::start(&bundle);
    let mail =
        "MAIL FROM:<forged@example.net>\r\nRCPT TO:<victim@example.com>\r\nDATA\r\nx\r\n.\r\n";
    for first in [
        "POST / HTTP/1.1\r\nHost: mx.example\r\nContent-Length: 99\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "SSH-2.0-OpenSSH_9.6\r\n",
        "\x16\x03\x01\x02\0\x01\0",
    ] {
        let mut client = Client::connect(server.address).unwrap();
        client.write(format!("{first}{mail}").as_bytes()).unwrap();
        let reply = client.reply().unwrap();
        assert!(
            reply.text.starts_with("500 5.5.2"),
            "{first:?}: {}",
            reply.text
        );
        assert!(client.is_closed(), "{first:?}");
    }
    assert_eq!(sink.count(), 0);
}

#[test]
fn too_many_errors_end_the_session() {
    let bundle = Bundle::relay(1);
    let server = Server::start(&bundle);
    let mut client = Client::connect(server.address).unwrap();
    for _ in 0..20 {
        assert_eq!(client.command("FOO").unwrap().code, 500);
    }
    assert_eq!(client.command("FOO").unwrap().code, 421);
    assert!(client.is_closed());
}

#[test]
fn a_fake_end_of_data_smuggles_no_second_message() {
    let sink = Sink::start();
    let bundle = Bundle::relay(sink.port());
    let server = Server::start(&bundle);
    let fakes: [&[u8]; 11] = [
        b"\n.\n",
        b"\n.\r",
        b"\n.\r\n",
        b"\r.\r",
        b"\r.\n",
        b"\r.\r\n",
        b"\r\n.\n",
        b"\r\n.\r",
        b"\r\n\0.\r\n",
        b"\r\n.\0\r\n",
        b"\r\r\n.\r\r\n",
    ];
    for (number, fake) in fakes.iter().enumerate() {
        let mut client = Client::connect(server.address).unwrap();
        client.command("EHLO client.example").unwrap();
        client.command("MAIL FROM:<from@example.net>").unwrap();
        client
            .command(&format!("RCPT TO:<m{number}@example.com>"))
            .unwrap();
        assert_eq!(client.command("DATA").unwrap().code, 354);
        client.write(b"Subject: x\r\n\r\nbody").unwrap();
        client.write(fake).unwrap();
        client
            .write(b"MAIL FROM:<smuggled@example.net>\r\nRCPT TO:<victim@example.com>\r\nDATA\r\nSubject: y\r\n\r\ny\r\n.\r\n")
            .unwrap();
        assert_eq!(client.reply().unwrap().code, 250, "{}", fake.escape_ascii());
        assert_eq!(
            client.command("QUIT").unwrap().code,
            221,
            "{}",
            fake.escape_ascii()
        );
    }
    assert!(sink.wait_for(fakes.len(), Duration::from_secs(30)));
    assert!(sink.with_messages(|messages| {
        messages
            .iter()
            .all(|message| message.from == "from@example.net")
    }));
    assert_eq!(sink.violations(), [""; 0]);
    println!("smuggling: {} of {}", fakes.len(), fakes.len());
}

#[test]
fn a_client_that_leaves_in_the_middle_leaves_nothing_behind() {
    let sink = Sink::start();
    let bundle = Bundle::relay(sink.port());
    let mut server = Server::start(&bundle);
    let steps: [&[u8]; 5] = [
        b"EHLO cl",
        b"EHLO client.example\r\nMAIL FROM:<gone@example.net>\r\n",
        b"EHLO client.example\r\nMAIL FROM:<gone@example.net>\r\nRCPT TO:<to@example.com>\r\nDATA\r\n",
        b"EHLO client.example\r\nMAIL FROM:<gone@example.net>\r\nRCPT TO:<to@example.com>\r\nDATA\r\nSubject: x\r\n\r\nx\r\n",
        b"EHLO client.example\r\nMAIL FROM:<gone@example.net>\r\nRCPT TO:<to@example.com>\r\nDATA\r\nSubject: x\r\n\r\nx\r\n.",
    ];
    for step in steps {
        let mut client = Client::connect(server.address).unwrap();
        client.write(step).unwrap();
        drop(client);
    }
    let mut client = Client::connect(server.address).unwrap();
    assert_eq!(
        client
            .send("from@example.net", "to@example.com", CONTENT)
            .unwrap()
            .code,
        250
    );
    assert!(sink.wait_for(1, Duration::from_secs(30)));
    assert!(server.stop().success());
    assert_eq!(sink.count(), 1);
}
