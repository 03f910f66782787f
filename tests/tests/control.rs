//! The control socket: a client in Python that shares nothing with ours, and `angarium ctl`.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "it drives real programs; a failed expectation is a failed test"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use angarium_tests::bundle::Bundle;
use angarium_tests::client::Client;
use angarium_tests::program;
use angarium_tests::server::{Server, run};
use angarium_tests::sink::{Behaviour, Sink, Stage};
use angarium_tests::wait;
use serde_json::{Value, json};

const CONTENT: &[u8] =
    b"From: <a@example.net>\r\nMessage-ID: <one@example.net>\r\nSubject: hello\r\n\r\nHello!\r\n";
const SOON: Duration = Duration::from_secs(30);

/// A relay with a control socket.
fn relay(sink: &Sink) -> (Bundle, PathBuf) {
    let mut bundle = Bundle::relay(sink.port());
    bundle.startup["environment"] = json!({
        "controlsocket": { "path": "angarium.ctl", "chmod": "0600" },
    });
    bundle.save();
    let path = bundle.path().join("angarium.ctl");
    (bundle, path)
}

/// Starts a server, whose control socket answers.
fn start(bundle: &Bundle, socket: &Path) -> Server {
    let server = Server::start(bundle);
    let answers = || ctl(socket, &["process-stats"]).status.success();
    assert!(wait::until_true(SOON, answers));
    server
}

fn write(bundle: &Bundle, file: &str, content: &Value) {
    bundle.write(&format!("src/config/{file}"), &format!("{content:#}"));
}

fn send(server: &Server, to: &str) {
    let mut client = Client::connect(server.address).unwrap();
    let reply = client.send("a@example.net", to, CONTENT).unwrap();
    assert_eq!(reply.code, 250, "{}", reply.text);
}

fn ctl(socket: &Path, arguments: &[&str]) -> Output {
    let socket = socket.to_str().unwrap();
    let mut line = vec!["ctl", "--socket", socket];
    line.extend(arguments);
    run(&line)
}

/// The output of a command that has to work.
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

/// Waits until the only message of the queue is in this state, and gives its id.
fn wait_state(socket: &Path, state: &str) -> String {
    let found = wait::until(SOON, || {
        let list = told(socket, &["queue", "list", "-F", "id", "-F", "state"]);
        let mut rows = list.lines().skip(1).map(str::to_owned);
        let row = rows.find(|row| row.ends_with(state))?;
        row.split_whitespace().next().map(str::to_owned)
    });
    found.unwrap_or_else(|| {
        panic!(
            "no message is in {state}: {}",
            told(socket, &["queue", "list"])
        )
    })
}

#[test]
fn a_client_in_python_speaks_the_protocol() {
    let python = program::python();
    let ready = Command::new(&python)
        .args(["-c", "import google.protobuf, grpc_tools"])
        .output();
    if !ready.is_ok_and(|output| output.status.success()) {
        println!("skipped: protobuf and grpcio-tools are not installed");
        return;
    }
    let sink = Sink::start();
    let (bundle, socket) = relay(&sink);
    let suspends = json!([{ "recipientdomain": "held.example", "tag": "maintenance" }]);
    write(
        &bundle,
        "smtpd-suspend.yaml",
        &json!({ "version": "6.0", "suspends": suspends }),
    );
    let mut server = start(&bundle, &socket);
    for number in 0..3 {
        send(&server, &format!("b{number}@held.example"));
    }
    let output = Command::new(&python)
        .arg(program::python_script("control.py"))
        .arg(&socket)
        .arg(program::root().join("mta/control/proto"))
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "passed\n",
        "{error}"
    );
    // All that hung on has not kept the server from its work, nor does it from its end.
    send(&server, "c@quick.example");
    assert!(sink.wait_for(1, SOON));
    assert!(server.stop().success());
    assert!(!socket.exists(), "the socket goes with the server");
}

#[test]
fn the_socket_has_its_rights_and_a_killed_server_leaves_nothing_in_the_way() {
    let sink = Sink::start();
    let (bundle, socket) = relay(&sink);
    let mut server = start(&bundle, &socket);
    let mode = fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    server.kill();
    assert!(socket.exists());
    // Nobody answers there.
    assert_eq!(ctl(&socket, &["process-stats"]).status.code(), Some(2));
    let server = start(&bundle, &socket);
    assert!(told(&socket, &["process-stats"]).contains("process.pid"));
    // A second server does not take it away.
    let mut other = Bundle::relay(sink.port());
    other.startup["environment"] = json!({ "controlsocket": { "path": socket } });
    other.save();
    let mut second = Server::spawn(&other);
    assert_eq!(second.wait_end(SOON).code(), Some(1));
    assert!(
        second.log().contains("another process listens on"),
        "{}",
        second.log()
    );
    assert!(told(&socket, &["process-stats"]).contains("process.pid"));
    drop(server);
}

#[test]
fn every_waiting_state_says_what_keeps_the_message_and_without_that_it_goes() {
    let sink = Sink::start();
    let (mut bundle, socket) = relay(&sink);
    bundle.hook(
        "predelivery",
        "if ($message[\"recipientaddress\"][\"localpart\"] == \"script\")\n  if ($arguments[\"retry\"] == 0)\n    Queue([\"delay\" => 3600, \"reason\" => \"later\"]);",
    );
    bundle.save();
    let policies = |list: Value| json!({ "version": "6.0", "policies": list });
    let mut server = start(&bundle, &socket);
    let mut arrived = 0;
    let mut goes = |what: &str| {
        arrived += 1;
        assert!(
            sink.wait_for(arrived, SOON),
            "{what}: the message does not go"
        );
    };
    let why = |id: &str| asked(&socket, &["queue", "why", id]);
    let origin = |why: &Value| why["origin"].as_str().unwrap_or_default().to_owned();

    // A suspend set over the socket.
    let suspend = told(
        &socket,
        &["queue", "suspend", "add", "--recipientdomain", "s.example"],
    );
    send(&server, "b@s.example");
    let id = wait_state(&socket, "ACTIVE");
    let said = why(&id);
    assert_eq!(
        (said["reason"].as_str(), &*origin(&said)),
        (Some("SUSPEND"), "control socket")
    );
    assert_eq!(said["limits"][0]["id"], suspend.trim());
    assert_eq!(said["limits"][0]["values"]["recipientdomain"], "s.example");
    told(&socket, &["queue", "suspend", "delete", suspend.trim()]);
    goes("a suspend");

    // A suspend of the file.
    let suspends = json!([{ "recipientdomain": "f.example" }]);
    write(
        &bundle,
        "smtpd-suspend.yaml",
        &json!({ "version": "6.0", "suspends": suspends }),
    );
    told(&socket, &["queue", "suspend", "reload"]);
    send(&server, "b@f.example");
    let id = wait_state(&socket, "ACTIVE");
    let said = why(&id);
    assert!(origin(&said).contains("smtpd-suspend.yaml:"), "{said}");
    write(
        &bundle,
        "smtpd-suspend.yaml",
        &json!({ "version": "6.0", "suspends": [] }),
    );
    told(&socket, &["queue", "suspend", "reload"]);
    goes("a suspend of the file");

    // Limits of the policy file.
    write(
        &bundle,
        "smtpd-policy.yaml",
        &policies(json!([
            { "fields": ["recipientdomain"], "conditions": [
                { "if": { "recipientdomain": "none.example" }, "then": { "concurrency": 0, "tag": "none" } },
                { "if": { "recipientdomain": "rate.example" }, "then": { "rate": "1/86400" } },
            ] },
        ])),
    );
    told(&socket, &["queue", "policy", "reload"]);
    send(&server, "b@none.example");
    let id = wait_state(&socket, "ACTIVE");
    let said = why(&id);
    assert_eq!(said["reason"], "CONCURRENCY", "{said}");
    assert!(origin(&said).contains("smtpd-policy.yaml:"), "{said}");
    assert_eq!(said["limits"][0]["tags"], json!(["none"]));
    let text = told(&socket, &["queue", "why", &id]);
    assert!(
        text.contains("0 of 0 deliveries at once") && text.contains("smtpd-policy.yaml:"),
        "{text}"
    );
    // A condition set at run time counts before that of the file.
    let add = [
        "queue",
        "policy",
        "add",
        "--field",
        "recipientdomain",
        "--if",
        "recipientdomain=none.example",
        "--concurrency",
        "5",
        "--id",
        "more",
    ];
    told(&socket, &add);
    goes("a concurrency");
    told(&socket, &["queue", "policy", "delete", "more"]);

    send(&server, "b1@rate.example");
    goes("the first of a rate");
    send(&server, "b2@rate.example");
    let id = wait_state(&socket, "ACTIVE");
    let said = why(&id);
    assert_eq!(said["reason"], "RATE", "{said}");
    assert!(
        said["delay"]["value"].as_f64().unwrap() > 80_000.0,
        "{said}"
    );
    let refilled = told(
        &socket,
        &[
            "queue",
            "policy",
            "refill",
            "1",
            "--recipientdomain",
            "rate.example",
        ],
    );
    assert_eq!(refilled, "1 buckets refilled\n");
    goes("a rate");

    // Retries: the script's own delay, and a failure of the peer.
    send(&server, "script@x.example");
    let id = wait_state(&socket, "DEFER");
    let said = why(&id);
    assert_eq!(said["reason"], "RETRY", "{said}");
    assert!(origin(&said).contains("predelivery.hsl:3"), "{said}");
    assert_eq!(said["retryreason"], "later");
    assert!(said["delay"]["value"].as_f64().unwrap() > 3000.0, "{said}");
    told(
        &socket,
        &[
            "queue",
            "update",
            "--id",
            &id,
            "--set-retrycount",
            "1",
            "--active",
        ],
    );
    goes("a delay by the script");

    sink.behave(Behaviour::Reply(Stage::Rcpt, "450 4.2.0 not now"));
    send(&server, "b@retry.example");
    let id = wait_state(&socket, "DEFER");
    let said = why(&id);
    assert_eq!(
        (said["reason"].as_str(), &*origin(&said)),
        (Some("RETRY"), "retry of transport sink")
    );
    sink.behave(Behaviour::Accept);
    goes("a retry, by itself");

    // Hold, freeze.
    told(
        &socket,
        &["queue", "suspend", "add", "--all", "--id", "all"],
    );
    send(&server, "b@hold.example");
    let id = wait_state(&socket, "ACTIVE");
    told(&socket, &["queue", "update", "--id", &id, "--hold"]);
    wait_state(&socket, "HOLD");
    told(&socket, &["queue", "suspend", "delete", "all"]);
    let said = why(&id);
    assert_eq!(
        (said["reason"].as_str(), &*origin(&said)),
        (Some("HOLD"), "queue update (control socket)")
    );
    told(&socket, &["queue", "update", "--state", "HOLD", "--active"]);
    goes("a hold");

    told(
        &socket,
        &["queue", "suspend", "add", "--all", "--id", "all"],
    );
    send(&server, "b@freeze.example");
    let id = wait_state(&socket, "ACTIVE");
    told(&socket, &["queue", "update", "--id", &id, "--freeze"]);
    wait_state(&socket, "UPDATE");
    told(&socket, &["queue", "suspend", "delete", "all"]);
    assert_eq!(why(&id)["reason"], "UPDATE");
    assert!(told(&socket, &["queue", "audit"]).starts_with("1 messages, none"));
    told(
        &socket,
        &["queue", "update", "--state", "UPDATE", "--active"],
    );
    goes("a freeze");

    // A place in the row behind others, and the limit of all deliveries.
    sink.behave(Behaviour::Hang(Stage::Rcpt));
    bundle.running["queues"] = json!({ "concurrency": { "total": 1 } });
    bundle.save();
    told(&socket, &["config", "reload"]);
    for number in 0..3 {
        send(&server, &format!("b{number}@row.example"));
    }
    wait_state(&socket, "SENDING");
    let waiting = wait::until(SOON, || {
        let list = asked(&socket, &["queue", "list", "--state", "ACTIVE"]);
        let items = list["items"].as_array()?.clone();
        (items.len() == 2).then_some(items)
    });
    let places: Vec<Value> = waiting
        .unwrap()
        .iter()
        .map(|item| {
            let (transaction, queue) = (&item["id"]["transaction"], &item["id"]["queue"]);
            let said = why(&format!("{}:{queue}", transaction.as_str().unwrap()));
            assert_eq!(
                (said["reason"].as_str(), &*origin(&said)),
                (Some("TOTAL"), "queues.concurrency.total")
            );
            said["before"]["value"].clone()
        })
        .collect();
    assert!(places.contains(&json!(1)), "{places:?}");
    let text = told(
        &socket,
        &[
            "queue",
            "list",
            "--state",
            "SENDING",
            "--view",
            "connections",
        ],
    );
    assert!(text.contains("127.0.0.1"), "{text}");
    server.kill();
}

#[test]
fn messages_leave_as_files_and_come_back_here_or_elsewhere() {
    let sink = Sink::start();
    let (bundle, socket) = relay(&sink);
    let server = start(&bundle, &socket);
    told(
        &socket,
        &["queue", "suspend", "add", "--all", "--id", "all"],
    );
    // One message with two recipients, which is two copies.
    let mut client = Client::connect(server.address).unwrap();
    for line in [
        "EHLO c",
        "MAIL FROM:<a@example.net>",
        "RCPT TO:<one@x.example>",
        "RCPT TO:<two@x.example>",
        "DATA",
    ] {
        client.command(line).unwrap();
    }
    let mut content = CONTENT.to_vec();
    content.extend_from_slice(b".\r\n");
    client.write(&content).unwrap();
    assert_eq!(client.reply().unwrap().code, 250);
    let count = |state: &str| {
        asked(&socket, &["queue", "list", "--state", state])["paging"]["total"].clone()
    };
    assert!(wait::until_true(SOON, || count("ACTIVE") == json!(2)));
    let list = told(
        &socket,
        &[
            "queue",
            "list",
            "-F",
            "id",
            "-F",
            "recipient",
            "--sort",
            "recipient.localpart",
        ],
    );
    let ids: Vec<&str> = list
        .lines()
        .skip(1)
        .map(|line| line.split_whitespace().next().unwrap())
        .collect();
    let exported = told(&socket, &["queue", "export", ids[0]]);
    assert!(
        exported.ends_with("Subject: hello\r\n\r\nHello!\r\n"),
        "{exported}"
    );
    assert!(exported.starts_with("Received:"), "{exported}");

    // One copy alone is left, unless that is wanted; both together go.
    let partial = ctl(&socket, &["queue", "unload", "--id", ids[0]]);
    assert!(partial.stdout.is_empty(), "{partial:?}");
    assert_eq!(count("ACTIVE"), json!(2));
    let paths = told(
        &socket,
        &["queue", "unload", "--recipientdomain", "x.example"],
    );
    let paths: Vec<&str> = paths.lines().collect();
    assert_eq!(paths.len(), 2, "{paths:?}");
    assert!(wait::until_true(SOON, || asked(
        &socket,
        &["queue", "list"]
    )
    .get("items")
    .is_none()));

    // Back under the same id; a second time it is refused, or gets a new one.
    let transaction = ids[0].split(':').next().unwrap();
    assert_eq!(
        told(&socket, &["queue", "load", paths[0]]).trim(),
        transaction
    );
    assert!(wait::until_true(SOON, || count("ACTIVE") == json!(1)));
    assert_eq!(
        ctl(&socket, &["queue", "load", paths[0]]).status.code(),
        Some(1)
    );
    let other = told(
        &socket,
        &["queue", "load", paths[0], "--reset-transactionid"],
    );
    assert_ne!(other.trim(), transaction);
    let damaged = bundle.path().join("damaged");
    let mut bytes = fs::read(paths[0]).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&damaged, &bytes).unwrap();
    assert_eq!(
        ctl(&socket, &["queue", "load", damaged.to_str().unwrap()])
            .status
            .code(),
        Some(1)
    );
    let eml = bundle.path().join("plain.eml");
    fs::write(&eml, "From: <x@example.net>\nSubject: by hand\n\nbody\n").unwrap();
    let line = [
        "queue",
        "load",
        eml.to_str().unwrap(),
        "--sender",
        "x@example.net",
        "--recipient",
        "hand@y.example",
        "--transportid",
        "sink",
    ];
    told(&socket, &line);
    assert!(wait::until_true(SOON, || count("ACTIVE") == json!(3)));
    // A copy to somebody else; the original stays as it is.
    let copied = told(
        &socket,
        &[
            "queue",
            "update",
            "--recipient",
            "hand@y.example",
            "--duplicate",
            "--set-recipient",
            "copy@z.example",
        ],
    );
    assert_eq!(copied, "1 messages changed\n");
    assert!(wait::until_true(SOON, || count("ACTIVE") == json!(4)));
    let top = told(&socket, &["top", "--count", "2", "--interval", "0.1"]);
    assert!(
        top.matches("QUEUES").count() == 2 && top.contains("4 (by priority 4, 0)"),
        "{top}"
    );
    told(&socket, &["queue", "suspend", "delete", "all"]);
    assert!(sink.wait_for(4, SOON), "{} arrived", sink.count());
    let mut recipients: Vec<String> = sink
        .messages()
        .into_iter()
        .flat_map(|message| message.to)
        .collect();
    recipients.sort();
    let one = if paths[0].is_empty() {
        ""
    } else {
        recipients[2].as_str()
    };
    assert_eq!(recipients, ["copy@z.example", "hand@y.example", one, one]);
    let by_hand = sink
        .messages()
        .into_iter()
        .find(|message| message.to == ["hand@y.example"])
        .unwrap();
    assert!(
        by_hand
            .content
            .ends_with(b"Subject: by hand\r\n\r\nbody\r\n")
    );
    drop(server);
}

#[test]
fn tables_json_and_requests_are_printed_as_asked() {
    let sink = Sink::start();
    let (bundle, socket) = relay(&sink);
    let server = start(&bundle, &socket);
    told(
        &socket,
        &[
            "queue", "suspend", "add", "--all", "--tag", "night", "--id", "one", "--ttl", "600",
        ],
    );
    for number in 0..4 {
        send(&server, &format!("b{number}@d{}.example", number % 2));
    }
    let settled =
        || asked(&socket, &["queue", "list", "--state", "ACTIVE"])["paging"]["total"] == json!(4);
    assert!(wait::until_true(SOON, settled));
    let request = told(
        &socket,
        &[
            "queue",
            "update",
            "--bounce",
            "--state",
            "DEFER",
            "--jobid",
            "foobar",
            "--json-request",
        ],
    );
    let (json, rest) = request.split_at(request.rfind('}').unwrap() + 1);
    let want = json!({
        "conditions": { "queues": [{ "queue": "DEFER" }], "jobids": [{ "value": "foobar" }] },
        "actiontype": "BOUNCE",
    });
    assert_eq!(serde_json::from_str::<Value>(json).unwrap(), want);
    assert_eq!(rest, "\n0 messages changed\n");
    let table = told(
        &socket,
        &[
            "queue",
            "list",
            "-F",
            "recipient",
            "-F",
            "transportid",
            "--sort",
            "recipient.localpart",
        ],
    );
    let rows: Vec<Vec<&str>> = table
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(rows[0], ["recipient", "transportid"]);
    assert_eq!(rows[1], ["b0@d0.example", "sink"]);
    assert_eq!(rows.len(), 5);
    let shape = told(&socket, &["queue", "groupby", "--qshape"]);
    let mut rows = shape
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    assert_eq!(rows.next().unwrap().last(), Some(&"total"));
    assert_eq!(rows.next().unwrap()[..3], ["d0.example", "2", "0"]);
    let suspends = told(&socket, &["queue", "suspend", "list"]);
    assert!(
        suspends.contains("DYNAMIC") && suspends.contains("night"),
        "{suspends}"
    );
    // A message of somebody else cannot drive the terminal, and nothing is changed by mistake.
    let refused = ctl(&socket, &["queue", "update", "--delete"]);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert_eq!(ctl(&socket, &["queue", "nonsense"]).status.code(), Some(1));
    assert_eq!(
        ctl(Path::new("/nonexistent/ctl"), &["queue", "list"])
            .status
            .code(),
        Some(2)
    );
    // Shared memory, and the configuration by its folder.
    told(&socket, &["hsl", "memory", "store", "k", "{\"a\": [1]}"]);
    assert_eq!(
        told(&socket, &["hsl", "memory", "fetch", "k"]),
        "{\"a\":[1]}\n"
    );
    assert_eq!(
        told(&socket, &["hsl", "memory", "delete", "k", "--return"]),
        "{\"a\":[1]}\n"
    );
    assert_eq!(
        ctl(&socket, &["hsl", "memory", "fetch", "k"]).status.code(),
        Some(1)
    );
    let folder = bundle.path().to_str().unwrap();
    let startup = bundle.path().join("src/config/smtpd.yaml");
    let app = bundle.path().join("src/config/smtpd-app.yaml");
    let good = fs::read(&app).unwrap();
    // What is wrong in the rest of the configuration keeps nobody from asking the server.
    fs::write(&app, "what: ever").unwrap();
    for config in [folder, startup.to_str().unwrap()] {
        let found = run(&["ctl", "-c", config, "queue", "quota", "q"]);
        assert!(found.status.success(), "{config}: {found:?}");
    }
    fs::write(&app, good).unwrap();
    // Counters that are 0 are shown too, each in a row of its own.
    let counters = told(&socket, &["process-stats"]);
    let row = |name: &str| {
        let mut rows = counters
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>());
        rows.find(|row| row[0] == name).map(|row| row[1].to_owned())
    };
    assert_eq!(row("queue.freeze.hold.size").as_deref(), Some("0"));
    assert_eq!(
        row("process.version").as_deref(),
        Some(env!("CARGO_PKG_VERSION"))
    );
    assert!(row("delivery_seconds.count").is_some(), "{counters}");
    assert!(!counters.contains("histograms"), "{counters}");
    let bad = bundle.path().join("bad.yaml");
    fs::write(
        &bad,
        "version: '6.0'\nservers: [{id: default, colour: red}]\n",
    )
    .unwrap();
    let checked = ctl(&socket, &["config", "check", bad.to_str().unwrap()]);
    let error = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert!(
        !checked.status.success() && error.contains("colour"),
        "{error}"
    );
    drop(server);
}

#[test]
fn wrong_arguments_are_told_without_a_server() {
    let folder = tempfile::tempdir().unwrap();
    let nobody = folder.path().join("nobody");
    let file = folder.path().join("message.eml");
    fs::write(&file, "Subject: hello\r\n\r\nHello!\r\n").unwrap();
    let file = file.to_str().unwrap();
    let cases: &[(&[&str], &str)] = &[
        (&["queue", "why", "nonsense"], "`nonsense` is no id"),
        (&["queue", "export", "1234:x"], "`1234:x` is no id"),
        (&["queue", "list", "--id", "12"], "`12` is no id"),
        (
            &["queue", "list", "--sort", "colour"],
            "cannot sort by `colour`",
        ),
        (&["queue", "list", "--size", "big"], "big"),
        (
            &["queue", "groupby", "--groupby", "colour"],
            "cannot group by `colour`",
        ),
        (&["queue", "update", "--hold"], "--all"),
        (
            &["queue", "update", "--all", "--defer"],
            "--defer needs --delay or --at",
        ),
        (
            &["queue", "update", "--all", "--bounce", "--status", "5.1"],
            "must be X.Y.Z",
        ),
        (&["queue", "unload"], "--all"),
        (&["queue", "load", file], "--recipient"),
        (&["queue", "suspend", "add"], "--all"),
        (&["queue", "suspend", "update", "id"], "--ttl or --tag"),
    ];
    for (arguments, says) in cases {
        let output = ctl(&nobody, arguments);
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {told}");
        assert!(told.contains(says), "{arguments:?}: {told}");
        assert!(!told.contains("cannot reach"), "{arguments:?}: {told}");
    }
    // What is right needs a server.
    let output = ctl(&nobody, &["queue", "list"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot reach a server"));
}

#[test]
fn hits_of_rate_are_listed_and_forgotten() {
    let sink = Sink::start();
    let (mut bundle, socket) = relay(&sink);
    bundle.hook(
        "rcptto",
        "$to = $arguments[\"address\"][\"localpart\"];\n\
         if (!rate(\"to\", $to, 2, 3600)) Reject(\"too many\");\n\
         Accept([\"transportid\" => \"sink\"]);\n",
    );
    let server = start(&bundle, &socket);
    let rejected = |to: &str| {
        let mut client = Client::connect(server.address).unwrap();
        client.send("a@example.net", to, CONTENT).unwrap().code >= 500
    };
    send(&server, "one@d.example");
    send(&server, "two@d.example");
    send(&server, "two@d.example");
    assert!(rejected("two@d.example"));
    let rows = |table: &str| -> Vec<Vec<String>> {
        let rows = table.lines().skip(1);
        let row = |line: &str| line.split_whitespace().take(3).map(str::to_owned).collect();
        rows.map(row).collect()
    };
    let all = rows(&told(&socket, &["hsl", "rate", "list"]));
    assert_eq!(all, [["to", "one", "1"], ["to", "two", "2"]]);
    let many = rows(&told(&socket, &["hsl", "rate", "list", "--count", "2"]));
    assert_eq!(many, [["to", "two", "2"]]);
    let none = told(&socket, &["hsl", "rate", "list", "--namespace", "from"]);
    assert_eq!(rows(&none).len(), 0);
    let json = asked(&socket, &["hsl", "rate", "list", "--entry", "tw"]);
    assert_eq!(json["items"][0]["local"], 2);
    assert_eq!(json["paging"]["total"], 1);
    assert_eq!(
        ctl(&socket, &["hsl", "rate", "clear"]).status.code(),
        Some(1)
    );
    let cleared = told(&socket, &["hsl", "rate", "clear", "--entry", "two"]);
    assert_eq!(cleared, "1 entries forgotten\n");
    assert!(!rejected("two@d.example"));
    // What is not there is refused by the server, by name.
    for (command, what) in [
        (&["plugin", "command", "x"][..], "plugins"),
        (&["history", "list"], "past"),
    ] {
        let refused = ctl(&socket, command);
        let error = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(1), "{error}");
        assert!(
            error.contains("Not supported") && error.contains(what),
            "{error}"
        );
    }
}

#[test]
fn local_records_take_the_place_of_dns_and_are_read_again() {
    let sink = Sink::start();
    let (mut bundle, socket) = relay(&sink);
    bundle.running["transportgroups"][0]["transports"][0]["connection"] =
        json!({ "port": sink.port() });
    let local = |preference: u8| {
        json!({ "local": [
            { "name": "d.example", "type": "MX", "data": format!("{preference} mx.d.example"), "ttl": 60 },
            { "name": "mx.d.example", "type": "A", "data": "127.0.0.1" },
        ] })
    };
    bundle.running["resolver"] = local(10);
    bundle.save();
    let server = start(&bundle, &socket);
    assert_eq!(
        told(&socket, &["resolver", "query", "D.example", "MX"]),
        "10 mx.d.example.\n"
    );
    send(&server, "a@d.example");
    assert!(sink.wait_for(1, SOON));
    bundle.running["resolver"] = local(20);
    bundle.save();
    told(&socket, &["resolver", "reload"]);
    assert_eq!(
        told(&socket, &["resolver", "query", "d.example", "MX"]),
        "20 mx.d.example.\n"
    );
    bundle.running["resolver"] =
        json!({ "local": [{ "name": "d.example", "type": "MX", "data": "mx" }] });
    bundle.save();
    let refused = ctl(&socket, &["resolver", "reload"]);
    let error = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(error.contains("resolver.local[0].data"), "{error}");
}

#[test]
fn files_of_the_queue_are_read_again_one_by_one() {
    let sink = Sink::start();
    let (bundle, socket) = relay(&sink);
    let server = start(&bundle, &socket);
    let status = |arguments: &[&str]| {
        let output = ctl(&socket, arguments);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.success(), error)
    };
    // Somebody is at work on two files; the third is read all the same.
    let app = fs::read_to_string(bundle.path().join("src/config/smtpd-app.yaml")).unwrap();
    bundle.write("src/config/smtpd-app.yaml", "half: a file");
    bundle.write("src/config/smtpd-suspend.yaml", "suspends: [{tagg: x}]");
    let policy = json!({ "version": "6.0", "policies": [{ "fields": ["remotemx"], "default": { "tag": "new", "concurrency": 1 } }] });
    write(&bundle, "smtpd-policy.yaml", &policy);
    let (good, error) = status(&["queue", "policy", "reload"]);
    assert!(good, "{error}");
    let matched = told(
        &socket,
        &["queue", "policy", "match", "--remotemx", "a.example"],
    );
    assert!(matched.contains("new"), "{matched}");
    let (good, error) = status(&["queue", "suspend", "reload"]);
    assert!(
        !good && error.contains("smtpd-suspend.yaml") && error.contains("tagg"),
        "{error}"
    );
    let (good, error) = status(&["config", "reload"]);
    assert!(!good && error.contains("smtpd-app.yaml"), "{error}");
    // A file that was not there counts from the moment on that it is read.
    bundle.write("src/config/smtpd-app.yaml", &app);
    let suspend = json!({ "version": "6.0", "suspends": [{ "recipientdomain": "d.example", "tag": "night" }] });
    write(&bundle, "smtpd-suspend.yaml", &suspend);
    let (good, error) = status(&["queue", "delivery", "reload"]);
    assert!(good, "{error}");
    assert!(!told(&socket, &["queue", "suspend", "list"]).contains("night"));
    told(&socket, &["queue", "suspend", "reload"]);
    assert!(told(&socket, &["queue", "suspend", "list"]).contains("night"));
    // The policy that was read before is still in force.
    told(&socket, &["queue", "delivery", "reload"]);
    let matched = told(
        &socket,
        &["queue", "policy", "match", "--remotemx", "a.example"],
    );
    assert!(matched.contains("new"), "{matched}");
    drop(server);
}
