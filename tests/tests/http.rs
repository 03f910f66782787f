//! Submission over HTTP and the monitor, from outside: with curl, with Python's client, and byte by byte.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "it drives real programs; a failed expectation is a failed test"
)]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Output};
use std::time::Duration;

use angarium_tests::bundle::{Bundle, free_address};
use angarium_tests::server::{self, Server};
use angarium_tests::sink::Sink;
use angarium_tests::wait;
use serde_json::{Value, json};

const KEY: &str = "key-of-the-test";

/// A relay that takes mail over SMTP, HTTP and HTTPS, and is watched.
struct Rig {
    bundle: Bundle,
    sink: Sink,
    http: SocketAddr,
    https: SocketAddr,
    monitor: SocketAddr,
}

impl Rig {
    fn new() -> Rig {
        let sink = Sink::start();
        let mut bundle = Bundle::relay(sink.port());
        let (http, https, monitor) = (free_address(), free_address(), free_address());
        let sockets = |id: &str, at: SocketAddr| json!({ "id": id, "type": id, "listeners": [{ "port": at.port(), "address": "127.0.0.1" }] });
        let servers = bundle.startup["servers"].as_array_mut().unwrap();
        servers.push(sockets("http", http));
        servers.push(sockets("https", https));
        bundle.startup["monitor"] =
            json!({ "listener": { "port": monitor.port(), "address": "127.0.0.1" } });
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        bundle.write("cert.pem", &made.cert.pem());
        bundle.write("key.pem", &made.signing_key.serialize_pem());
        let path = |name: &str| json!({ "path": bundle.path().join(name) });
        bundle.running["pki"] = json!({ "private": [
            { "id": "own", "privatekey": path("key.pem"), "certificate": path("cert.pem") }
        ]});
        let server = |id: &str, tls: Value| {
            json!({ "id": id, "type": id, "hostname": "relay.example", "remoteptr": false,
                "transport": "sink", "apikeys": [KEY], "tls": tls })
        };
        let servers = bundle.running["servers"].as_array_mut().unwrap();
        servers.push(server("http", json!({})));
        servers.push(server("https", json!({ "certs": { "cert": "own" } })));
        bundle.save();
        bundle.write(
            "options.json",
            r#"{"sender": {"localpart": "a", "domain": "example.org"},
                "recipients": [{"localpart": "b", "domain": "example.net"}], "metadata": {"n": 1}}"#,
        );
        bundle.write(
            "mail.eml",
            "Subject: over HTTP\r\n\r\nHello\r\n.\r\nthere\r\n",
        );
        Rig {
            bundle,
            sink,
            http,
            https,
            monitor,
        }
    }

    fn curl(&self, arguments: &[&str]) -> Output {
        Command::new("curl")
            .args(["-sS", "--max-time", "30", "-w", "\n%{http_code}"])
            .args(arguments)
            .current_dir(self.bundle.path())
            .output()
            .unwrap()
    }

    /// What curl was answered: the status and the body.
    fn answer(&self, arguments: &[&str]) -> (u16, String) {
        let output = self.curl(arguments);
        let text = String::from_utf8(output.stdout).unwrap();
        let (body, status) = text.rsplit_once('\n').expect("a status");
        (status.parse().unwrap(), body.to_owned())
    }

    fn get(&self, path: &str, fields: &[&str]) -> (u16, String) {
        let url = format!("http://{}{path}", self.monitor);
        let mut arguments = vec![url.as_str()];
        for field in fields {
            arguments.extend(["-H", field]);
        }
        self.answer(&arguments)
    }
}

fn has(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok();
    if !found {
        println!("skipped: there is no {program}");
    }
    found
}

#[test]
fn curl_and_python_submit_over_http_and_https() {
    if !has("curl") {
        return;
    }
    let rig = Rig::new();
    let server = Server::start(&rig.bundle);
    let key = format!("X-API-Key: {KEY}");
    let form = [
        "-H",
        &key,
        "-F",
        "options=@options.json;type=application/json",
        "-F",
        "rfc822=@mail.eml;type=message/rfc822",
    ];
    let url = format!("http://{}/v1/submission", rig.http);
    let with = |url: &str, more: &[&str]| {
        let all: Vec<&str> = form
            .iter()
            .copied()
            .chain([url])
            .chain(more.iter().copied())
            .collect();
        rig.answer(&all)
    };
    let (status, body) = with(&url, &[]);
    assert_eq!(status, 200, "{body}");
    let json: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(json["result"]["code"], 250);
    let id = json["transaction"]["id"].as_str().unwrap().to_owned();
    // The id is that of the log's lines and of the queue.
    server.wait_log(&[
        &format!("[{id}] message sender=<a@example.org> recipients=1"),
        "action=ACCEPT",
    ]);
    server.wait_log(&[&format!(
        "queue id={id}:1 recipient=b@example.net transportid=sink"
    )]);
    let (status, body) = with(&format!("{url}?pretty=true"), &["--http1.0"]);
    assert_eq!(status, 200, "{body}");
    assert!(body.starts_with("{\n  \"result\""), "{body}");
    let secure = format!("https://localhost:{}/v1/submission", rig.https.port());
    let resolve = format!("localhost:{}:127.0.0.1", rig.https.port());
    let (status, body) = with(&secure, &["--cacert", "cert.pem", "--resolve", &resolve]);
    assert_eq!(status, 200, "{body}");
    // From standard input, whose length nobody knows: in chunks, compressed.
    if has("gzip") {
        let script = format!(
            "gzip -c mail.eml | curl -sS -w '\\n%{{http_code}}' -H '{key}' -F options=@options.json -F 'rfc822.gzip=@-' '{url}'"
        );
        let output = Command::new("sh")
            .args(["-c", &script])
            .current_dir(rig.bundle.path())
            .output()
            .unwrap();
        assert!(output.stdout.ends_with(b"\n200"), "{output:?}");
    }
    if has("python3") {
        let script = format!(
            r#"
import http.client, json, uuid
def form(parts):
    b = uuid.uuid4().hex
    body = b"".join(b"--%s\r\nContent-Disposition: form-data; name=\"%s\"\r\n\r\n%s\r\n" % (b.encode(), n, c) for n, c in parts)
    return b, body + b"--%s--\r\n" % b.encode()
c = http.client.HTTPConnection("127.0.0.1", {port})
seen = set()
for i in range(3):
    b, body = form([(b"rfc822", b"Subject: %d\n\nfrom Python" % i), (b"options", open("options.json", "rb").read())])
    c.request("POST", "/v1/submission", body, {{"X-API-Key": "{KEY}", "Content-Type": "multipart/form-data; boundary=" + b}})
    r = c.getresponse()
    answer = json.load(r)
    assert r.status == 200 and answer["result"]["enhanced"] == [2, 0, 0], answer
    seen.add(answer["transaction"]["id"])
assert len(seen) == 3
c.request("POST", "/v1/submission", b"", {{"X-API-Key": "wrong"}})
r = c.getresponse()
assert r.status == 401 and "message" in json.load(r)
"#,
            port = rig.http.port()
        );
        let output = Command::new("python3")
            .args(["-c", &script])
            .current_dir(rig.bundle.path())
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let arrived = wait::until(wait::SOON, || {
        let mails = rig.sink.messages();
        (mails.len() >= 3).then_some(mails)
    });
    let arrived = arrived.expect("mail at the destination");
    let text =
        |mail: &angarium_tests::sink::Message| String::from_utf8_lossy(&mail.content).into_owned();
    assert!(
        arrived
            .iter()
            .any(|mail| text(mail).contains("with HTTP\r\n"))
    );
    assert!(
        arrived
            .iter()
            .any(|mail| text(mail).contains("with HTTPS\r\n"))
    );
    let (status, body) = rig.answer(&[&url, "-F", "options=@options.json"]);
    assert_eq!(
        (status, body.trim()),
        (401, r#"{"message":"X-API-Key is missing or wrong"}"#)
    );
    server.wait_log(&["request serverid=http remoteip=127.0.0.1 status=401"]);
}

#[test]
fn the_monitor_shows_health_and_metrics() {
    if !has("curl") {
        return;
    }
    let mut rig = Rig::new();
    rig.bundle.running["monitor"] = json!({
        "apikeys": ["reader"],
        "prefix": "own_",
        "metrics": [
            { "name": "mails", "type": "counter", "help": "Mails by tenant" },
            { "name": "sizes", "type": "histogram", "buckets": [10, 1000.5] },
        ],
    });
    rig.bundle.running["environment"] = Value::Null;
    rig.bundle
        .running
        .as_object_mut()
        .unwrap()
        .remove("environment");
    rig.bundle.startup["environment"] =
        json!({ "controlsocket": { "path": rig.bundle.path().join("ctl") } });
    rig.bundle.hook(
        "eod",
        r#"
        metrics_increment("mails", ["tenant" => "a\"b"]);
        metrics_set("sizes", [], 500);
        foreach ($transaction["recipients"] as $r)
            $arguments["mail"]->queue($transaction["senderaddress"], $r["address"], $r["transportid"]);
        Accept();
        "#,
    );
    let mut server = Server::start(&rig.bundle);
    assert_eq!(rig.get("/ready", &[]), (200, "ready\n".to_owned()));
    assert_eq!(rig.get("/healthy", &[]), (200, "healthy\n".to_owned()));
    assert_eq!(rig.get("/metrics", &[]).0, 401);
    assert_eq!(rig.get("/metrics", &["X-API-Key: wrong"]).0, 401);
    assert_eq!(rig.get("/nothing", &[]).0, 404);
    let mut client = angarium_tests::client::Client::connect(rig.bundle.address).unwrap();
    for command in [
        "EHLO c",
        "MAIL FROM:<a@example.org>",
        "RCPT TO:<b@example.net>",
        "DATA",
    ] {
        assert!(client.command(command).unwrap().code < 400, "{command}");
    }
    assert_eq!(
        client.command("Subject: x\r\n\r\ny\r\n.").unwrap().code,
        250
    );
    assert_eq!(client.command("VRFY").unwrap().code, 501);
    server.wait_log(&["refuse command=VRFY code=501 reason=\""]);
    server.wait_log(&["delivery id=", "result=DELIVERED"]);
    let (status, page) = rig.get("/metrics", &["X-API-Key: reader"]);
    assert_eq!(status, 200);
    for line in [
        "# TYPE own_process_pid gauge",
        "own_monitor_ready 1",
        "own_monitor_healthy 1",
        "# TYPE own_smtp_command_seconds histogram",
        "# UNIT own_smtp_command_seconds seconds",
        "own_smtp_command_seconds_count{command=\"RCPT\",serverid=\"default\"} 1",
        "own_smtp_command_seconds_bucket{command=\"EOD\",serverid=\"default\",le=\"+Inf\"} 1",
        "own_delivery_seconds_count 1",
        "# HELP mails Mails by tenant",
        "mails_total{tenant=\"a\\\"b\"} 1",
        "sizes_bucket{le=\"10.0\"} 0",
        "sizes_bucket{le=\"1000.5\"} 1",
        "sizes_sum 500",
    ] {
        assert!(page.lines().any(|of| of == line), "{line}\n{page}");
    }
    assert!(page.trim_end().ends_with("# EOF"));
    // The control socket says the same.
    let socket = rig.bundle.path().join("ctl");
    let output = server::run(&[
        "ctl",
        "--socket",
        socket.to_str().unwrap(),
        "process-stats",
        "--openmetrics",
    ]);
    let other = String::from_utf8(output.stdout).unwrap();
    let names = |page: &str| -> Vec<String> {
        let types = page.lines().filter(|line| line.starts_with("# TYPE"));
        types.map(str::to_owned).collect()
    };
    assert_eq!(names(&page), names(&other));
    assert!(
        other.contains("mails_total{tenant=\"a\\\"b\"} 1\n"),
        "{other}"
    );
    // Slow or hostile, the monitor stays: a head that never ends, and a hundred clients that say nothing.
    let mut silent: Vec<TcpStream> = (0..10)
        .map(|_| TcpStream::connect(rig.monitor).unwrap())
        .collect();
    for stream in &mut silent {
        stream.write_all(b"GET /healthy HTTP/1.1\r\nX: ").unwrap();
    }
    assert_eq!(rig.get("/healthy", &[]).0, 200);
    let mut long = TcpStream::connect(rig.monitor).unwrap();
    long.set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let _ = long.write_all(
        format!(
            "GET /healthy HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n",
            "x".repeat(100_000)
        )
        .as_bytes(),
    );
    let mut start = [0; 12];
    long.read_exact(&mut start).unwrap();
    assert_eq!(&start, b"HTTP/1.1 431");
    drop((silent, client));
    assert!(server.stop().success());
}
