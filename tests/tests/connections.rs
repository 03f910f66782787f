//! Open connections and deliveries as operators see them: lists, closing, the live trace, counters.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "it drives real programs; a failed expectation is a failed test"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use angarium_tests::bundle::Bundle;
use angarium_tests::client::Client;
use angarium_tests::program;
use angarium_tests::server::{Server, run};
use angarium_tests::sink::{Behaviour, Sink, Stage};
use angarium_tests::wait;
use serde_json::{Value, json};

const CONTENT: &[u8] = b"From: <a@example.net>\r\nSubject: hello\r\n\r\nHello!\r\n";
const SOON: Duration = Duration::from_secs(30);

fn relay(sink: &Sink, delivery: &Value) -> (Bundle, PathBuf) {
    let mut bundle = Bundle::relay(sink.port());
    bundle.startup["environment"] = json!({ "controlsocket": { "path": "angarium.ctl" } });
    bundle.write("src/config/smtpd-delivery.yaml", &format!("{delivery:#}"));
    bundle.save();
    let path = bundle.path().join("angarium.ctl");
    (bundle, path)
}

fn start(bundle: &Bundle, socket: &Path) -> Server {
    let server = Server::start(bundle);
    let answers = || ctl(socket, &["process-stats"]).status.success();
    assert!(wait::until_true(SOON, answers));
    server
}

fn ctl(socket: &Path, arguments: &[&str]) -> Output {
    let mut line = vec!["ctl", "--socket", socket.to_str().unwrap()];
    line.extend(arguments);
    run(&line)
}

fn told(socket: &Path, arguments: &[&str]) -> String {
    let output = ctl(socket, arguments);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

fn asked(socket: &Path, arguments: &[&str]) -> Value {
    let mut line = arguments.to_vec();
    line.push("--json");
    serde_json::from_str(&told(socket, &line)).unwrap()
}

/// The only connection of a list, once it is there and looks so.
fn only(socket: &Path, side: &str, looks: impl Fn(&Value) -> bool) -> Value {
    let found = wait::until(SOON, || {
        let list = asked(socket, &[side, "connections", "list"]);
        let connections = list["connections"].as_array()?.clone();
        connections.into_iter().find(&looks)
    });
    found.unwrap_or_else(|| panic!("{}", told(socket, &[side, "connections", "list"])))
}

fn send(server: &Server, to: &str) {
    let mut client = Client::connect(server.address).unwrap();
    let reply = client.send("a@example.net", to, CONTENT).unwrap();
    assert_eq!(reply.code, 250, "{}", reply.text);
}

#[test]
fn clients_are_listed_and_told_to_go() {
    let sink = Sink::start();
    let (bundle, socket) = relay(&sink, &json!({ "version": "6.0" }));
    let server = start(&bundle, &socket);
    let mut idle = Client::connect(server.address).unwrap();
    let mut busy = Client::connect(server.address).unwrap();
    busy.send("a@example.net", "b@example.org", CONTENT)
        .unwrap();
    busy.command("MAIL FROM:<a@example.net>").unwrap();
    busy.command("RCPT TO:<b@example.org>").unwrap();
    assert_eq!(busy.command("DATA").unwrap().code, 354);
    busy.write(b"half a mes").unwrap();
    let port = |client: &Client| u64::from(client.socket().local_addr().unwrap().port());
    let of = |client: &Client| {
        let port = port(client);
        only(&socket, "server", |of| of["remoteport"] == port)
    };
    let (first, second) = (of(&idle), of(&busy));
    assert_eq!(second["transactions"], 1);
    for connection in [&first, &second] {
        assert_eq!(connection["serverid"], "default");
        assert_eq!(connection["remoteip"], "127.0.0.1");
        assert_eq!(connection["localport"], server.address.port());
        assert!(connection["duration"].as_f64().unwrap() > 0.0);
    }
    let table = told(
        &socket,
        &["server", "connections", "list", "--remoteip", "127.0.0.0/8"],
    );
    assert_eq!(table.lines().count(), 3, "{table}");
    let none = ["server", "connections", "list", "--serverid", "other"];
    assert_eq!(told(&socket, &none).lines().count(), 1);

    // In the middle of a message, with a reply of the operator's.
    let id = second["connectionid"].as_str().unwrap();
    let close = ["server", "connections", "close", "--connectionid", id];
    let words = ["--code", "554", "--reason", "5.7.1 Not today"];
    let done = told(&socket, &[&close[..], &words[..]].concat());
    assert_eq!(done, "1 connection closed\n");
    let reply = busy.reply().unwrap();
    assert_eq!(
        (reply.code, reply.text.contains("5.7.1 Not today")),
        (554, true)
    );
    assert!(busy.is_closed());
    assert!(wait::until_true(SOON, || {
        let list = asked(&socket, &["server", "connections", "list"]);
        list["connections"]
            .as_array()
            .is_some_and(|list| list.len() == 1)
    }));
    assert_eq!(ctl(&socket, &close).status.code(), Some(1), "it has gone");
    assert!(server.log().contains("554 Not today"), "{}", server.log());

    // All of them only if that is said; the reply is 421 then.
    let everybody = ["server", "connections", "close"];
    assert_eq!(ctl(&socket, &everybody).status.code(), Some(1));
    assert_eq!(idle.command("NOOP").unwrap().code, 250);
    told(&socket, &[&everybody[..], &["--all"]].concat());
    assert_eq!(idle.reply().unwrap().code, 421);
    assert!(idle.is_closed());
    // The message that was cut was never accepted.
    assert!(sink.wait_for(1, SOON));
    assert_eq!(sink.count(), 1);
}

#[test]
fn deliveries_are_listed_by_what_they_wait_for_and_closed() {
    let sink = Sink::behaving(Behaviour::Hang(Stage::Mail));
    let kept =
        json!({ "version": "6.0", "delivery": { "default": { "pooling": { "enabled": true } } } });
    let (bundle, socket) = relay(&sink, &kept);
    let server = start(&bundle, &socket);
    send(&server, "b@example.org");
    let hangs = only(&socket, "queue", |of| of["state"] == "MAIL");
    assert_eq!(hangs["remoteip"], "127.0.0.1");
    assert_eq!(hangs["remoteport"], sink.port());
    assert_eq!(hangs["transactions"], 1);
    assert!(hangs["localport"].as_u64().unwrap() > 0);
    let item = format!(
        "{}:{}",
        hangs["id"]["transaction"].as_str().unwrap(),
        hangs["id"]["queue"]
    );
    let listed = told(&socket, &["queue", "connections", "list", "--id", &item]);
    assert_eq!(listed.lines().count(), 2, "{listed}");
    let top = told(&socket, &["top", "--count", "1"]);
    assert!(top.contains("CONNECTIONS BY STATE"), "{top}");

    // The delivery fails for a time and is tried again.
    sink.behave(Behaviour::Accept);
    told(&socket, &["queue", "connections", "close", "--id", &item]);
    server.wait_log(&["closed by the administrator", "result=QUEUE"]);
    assert!(sink.wait_for(1, SOON));

    // A connection that is kept is left politely.
    let idle = only(&socket, "queue", |of| of["state"] == "IDLE");
    assert!(idle.get("id").is_none(), "it carries nothing: {idle}");
    let id = idle["connectionid"].as_str().unwrap();
    told(
        &socket,
        &["queue", "connections", "close", "--connectionid", id],
    );
    assert!(wait::until_true(SOON, || {
        asked(&socket, &["queue", "connections", "list"])
            .get("connections")
            .is_none()
    }));
    assert_eq!(
        ctl(&socket, &["queue", "connections", "close", "--all"])
            .status
            .code(),
        Some(1)
    );
    assert!(sink.violations().is_empty(), "{:?}", sink.violations());
}

#[test]
fn a_trace_shows_what_is_said_as_it_is_said() {
    let sink = Sink::start();
    let (bundle, socket) = relay(&sink, &json!({ "version": "6.0" }));
    let server = start(&bundle, &socket);
    let trace = |arguments: &[&str]| {
        Command::new(program::angarium())
            .args(["ctl", "--socket", socket.to_str().unwrap(), "trace", "smtp"])
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let first = trace(&[
        "--recipientdomain",
        "*.seen.example",
        "--nopipelining",
        "--count",
        "60",
    ]);
    // Nobody says that a trace has begun: messages are sent until it has seen one.
    let ended = |mut child: std::process::Child, to: &str| {
        let seen = wait::until_true(SOON, || {
            send(&server, "b@unseen.example");
            send(&server, to);
            child.try_wait().unwrap().is_some()
        });
        if !seen {
            let _ = child.kill();
        }
        String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
    };
    let text = ended(first, "b@a.seen.example");
    // Several deliveries go on at once: the first of them.
    let (first, _) = text.split_once("] ").unwrap();
    let of_first = text
        .lines()
        .filter_map(|line| line.strip_prefix(first)?.strip_prefix("] "));
    let lines: Vec<&str> = of_first.collect();
    assert!(lines[0].starts_with("* connecting to 127.0.0.1"), "{text}");
    assert!(
        lines[1].starts_with("* connected from 127.0.0.1:"),
        "{text}"
    );
    assert!(lines[2].starts_with("< 220"), "{text}");
    let has = |words: &str| {
        assert!(
            lines.iter().any(|line| line.starts_with(words)),
            "{words}: {text}"
        )
    };
    has("> EHLO ");
    has("> MAIL FROM:<a@example.net>");
    has("> RCPT TO:<b@a.seen.example>");
    has("> DATA");
    assert!(!text.contains("unseen"), "{text}");
    let at = |words: &str| {
        lines
            .iter()
            .position(|line| line.starts_with(words))
            .unwrap()
    };
    let after = |words: &str| lines[at(words) + 1].starts_with("< ");
    assert!(
        after("> MAIL") && after("> RCPT"),
        "one command at a time: {text}"
    );

    let dump = trace(&["--hexdump", "--json", "--count", "40"]);
    let text = ended(dump, "b@other.example");
    let record: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert!(
        record["id"].is_string() && record["text"].is_string(),
        "{record}"
    );
    assert_eq!(told(&socket, &["queue", "audit"]).lines().count(), 1);
}

#[test]
fn counters_are_complete_and_openmetrics() {
    let sink = Sink::start();
    let (mut bundle, socket) = relay(&sink, &json!({ "version": "6.0" }));
    bundle.hook("eod", "sleep(0.1); $arguments[\"mail\"]->queue($transaction[\"senderaddress\"], $transaction[\"recipients\"][0][\"address\"], \"sink\"); Accept();");
    bundle.save();
    let server = start(&bundle, &socket);
    send(&server, "b@example.org");
    assert!(sink.wait_for(1, SOON));
    let stats = asked(&socket, &["process-stats"]);
    let eod = &stats["servers"][0]["scripts"]["eod"];
    assert_eq!(
        (&eod["finished"], &eod["threadid"]),
        (&json!(1), &json!("_default"))
    );
    assert!(eod["threads"].as_u64().unwrap() > 0);
    let pools = stats["threads"]["scripts"].as_array().unwrap();
    assert_eq!(pools.len(), 2);
    assert!(pools[0]["rescheduled"].as_u64().unwrap() >= 1, "{pools:?}");
    assert!(stats["resolver"]["domain"]["cache"].is_object());
    assert_eq!(
        stats["monitor"],
        json!({ "ready": true, "healthy": true, "prefix": "mta_" })
    );
    let page = told(&socket, &["process-stats", "--openmetrics"]);
    for name in [
        "mta_process_pid ",
        "mta_monitor_healthy 1",
        "mta_resolver_domain_cache_size ",
        "mta_servers_connections_concurrent{serverid=\"default\"} ",
        "mta_servers_scripts_eod_finished_total{serverid=\"default\",threadid=\"_default\"} 1",
        "mta_queue_scripts_predelivery_suspended{threadid=\"_default\"} 0",
        "mta_queue_queue_active_priorities_size{priority=\"1\"} 0",
        "mta_queue_delivery_delivered_total 1",
        "mta_threads_scripts_running{id=\"_heavy\"} ",
    ] {
        assert!(
            page.lines().any(|line| line.starts_with(name)),
            "{name}: {page}"
        );
    }
    assert!(page.ends_with("# EOF\n"));
}
