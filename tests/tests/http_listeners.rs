//! Submission over HTTP where a Unix socket or a proxy stands before it: with curl, and with Python's client for headers
//! of version 2.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "it drives real programs; a failed expectation is a failed test"
)]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use angarium_tests::bundle::{Bundle, free_address};
use angarium_tests::program::{installed, python, python_script};
use angarium_tests::server::Server;
use angarium_tests::sink::Sink;
use angarium_tests::wait;
use serde_json::{Value, json};

/// Tells the client what the hook knows of it.
const TELL: &str = r#"
foreach ($transaction["recipients"] as $r)
    $arguments["mail"]->queue($transaction["senderaddress"], $r["address"], $r["transportid"]);
Accept(["metadata" => [
    "remoteip" => $connection["remoteip"], "remoteport" => $connection["remoteport"],
    "localip" => $connection["localip"], "localport" => $connection["localport"],
    "remoteuid" => $connection["remoteuid"] ?? none, "tls" => $connection["tls"]["protocol"] ?? "",
    "received" => $arguments["mail"]->getHeader("Received"),
]]);
"#;

/// A relay with three servers of HTTP beside it: on a Unix socket, and behind a proxy in clear and under TLS.
struct Rig {
    bundle: Bundle,
    sink: Sink,
    path: PathBuf,
    http: SocketAddr,
    https: SocketAddr,
}

impl Rig {
    /// `more` is added to the settings of the servers of HTTP.
    fn new(more: &Value) -> Rig {
        let sink = Sink::start();
        let mut bundle = Bundle::relay(sink.port());
        let (http, https) = (free_address(), free_address());
        let path = bundle.path().join("http.sock");
        let port = |at: SocketAddr| json!([{ "port": at.port(), "address": "127.0.0.1" }]);
        let sockets = [
            json!({ "id": "local", "type": "http", "listeners": [{ "path": "http.sock", "chmod": "0600" }] }),
            json!({ "id": "http", "type": "http", "proxyprotocol": ["127.0.0.1"], "listeners": port(http) }),
            json!({ "id": "https", "type": "https", "proxyprotocol": ["127.0.0.1"], "listeners": port(https) }),
        ];
        let servers = bundle.startup["servers"].as_array_mut().unwrap();
        servers.extend(sockets);
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        bundle.write("cert.pem", &made.cert.pem());
        bundle.write("key.pem", &made.signing_key.serialize_pem());
        let file = |name: &str| json!({ "path": bundle.path().join(name) });
        bundle.running["pki"] = json!({ "private": [
            { "id": "own", "privatekey": file("key.pem"), "certificate": file("cert.pem") }
        ]});
        let servers = bundle.running["servers"].as_array_mut().unwrap();
        for id in ["local", "http", "https"] {
            let mut server = json!({ "id": id, "type": if id == "https" { "https" } else { "http" },
                "hostname": "relay.example", "remoteptr": false, "transport": "sink",
                "phases": { "eod": { "hook": "default" } } });
            if id == "https" {
                server["tls"] = json!({ "certs": { "cert": "own" } });
            }
            for (key, value) in more.as_object().unwrap() {
                server[key] = value.clone();
            }
            servers.push(server);
        }
        bundle.hook("eod", TELL);
        bundle.write(
            "options.json",
            r#"{"sender": {"localpart": "a", "domain": "example.org"},
                "recipients": [{"localpart": "b", "domain": "example.net"}]}"#,
        );
        bundle.write("mail.eml", "Subject: over HTTP\r\n\r\nHello\r\n");
        Rig {
            bundle,
            sink,
            path,
            http,
            https,
        }
    }

    /// Submits with curl; the status, 0 for no answer, and the body.
    fn curl(&self, arguments: &[&str]) -> (u16, Value) {
        let output = Command::new("curl")
            .args(["-sS", "--max-time", "30", "-w", "\n%{http_code}"])
            .args(["-F", "options=@options.json", "-F", "rfc822=@mail.eml"])
            .args(arguments)
            .current_dir(self.bundle.path())
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let (body, status) = text.rsplit_once('\n').unwrap();
        let body = serde_json::from_str(body).unwrap_or(Value::Null);
        (status.parse().unwrap(), body)
    }

    fn unix(&self, more: &[&str]) -> (u16, Value) {
        let path = self.path.to_str().unwrap();
        let url = ["--unix-socket", path, "http://localhost/v1/submission"];
        self.curl(&[&url, more].concat())
    }

    fn url(at: SocketAddr, scheme: &str) -> String {
        format!("{scheme}://localhost:{}/v1/submission", at.port())
    }
}

#[test]
fn curl_submits_over_a_unix_socket_and_is_a_client_of_this_machine() {
    if !installed("curl") {
        return;
    }
    let rig = Rig::new(&json!({}));
    let server = Server::start(&rig.bundle);
    let (status, answer) = rig.unix(&[]);
    assert_eq!(status, 200, "{answer}");
    let told = &answer["metadata"];
    let uid = rustix::process::getuid().as_raw();
    assert_eq!(
        (&told["remoteip"], &told["remoteport"], &told["remoteuid"]),
        (&json!("127.0.0.1"), &json!(0), &json!(uid))
    );
    assert_eq!(told["localport"], 0);
    let received = told["received"].as_str().unwrap();
    assert!(
        received.contains("[127.0.0.1]") && received.contains("with HTTP"),
        "{received}"
    );
    assert!(rig.sink.wait_for(1, wait::SOON));
    server.wait_log(&["connect remoteip=127.0.0.1 remoteport=0 serverid=local"]);
    // Several requests over one connection.
    let path = rig.path.to_str().unwrap();
    let url = "http://localhost/v1/submission";
    let output = Command::new("curl")
        .args([
            "-sS",
            "--max-time",
            "30",
            "-w",
            "%{http_code} %{num_connects}\n",
            "-o",
            "/dev/null",
            "-o",
            "/dev/null",
        ])
        .args(["-F", "options=@options.json", "-F", "rfc822=@mail.eml"])
        .args(["--unix-socket", path, url, url])
        .current_dir(rig.bundle.path())
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "200 1\n200 0\n");
    // Who has a socket still has no key.
    drop(server);
    let rig = Rig::new(&json!({ "apikeys": ["k"] }));
    let _server = Server::start(&rig.bundle);
    assert_eq!(rig.unix(&[]).0, 401);
    assert_eq!(rig.unix(&["-H", "X-API-Key: k"]).0, 200);
}

#[test]
fn curl_submits_behind_a_proxy_that_speaks_version_1() {
    if !installed("curl") {
        return;
    }
    let rig = Rig::new(&json!({}));
    let server = Server::start(&rig.bundle);
    for (at, scheme, tls) in [(rig.http, "http", ""), (rig.https, "https", "TLSv1.3")] {
        let url = Rig::url(at, scheme);
        // curl names itself as the client.
        let (status, answer) = rig.curl(&["-k", "--haproxy-protocol", "--ipv4", &url]);
        assert_eq!(status, 200, "{answer}");
        let told = &answer["metadata"];
        assert_eq!(told["remoteip"], "127.0.0.1");
        assert_eq!(told["localport"], at.port());
        assert_eq!(told["tls"], tls);
        assert_ne!(told["remoteport"], 0);
        server.wait_log(&[&format!(
            "connect remoteip=127.0.0.1 remoteport={} serverid={scheme} proxyip=127.0.0.1",
            told["remoteport"]
        )]);
        // Without a header nobody is answered, and soon.
        let (status, _) = rig.curl(&["-k", "--ipv4", &url]);
        assert_eq!(status, 0, "{scheme}");
        server.wait_log(&[&format!(
            "proxy serverid={scheme} remoteip=127.0.0.1 error="
        )]);
    }
    assert!(rig.sink.wait_for(2, wait::SOON));
}

/// Submits with Python behind a header of version 2; the status and the answer of each request.
fn behind_version_2(rig: &Rig, scheme: &str, client: &str, requests: usize) -> Vec<(u16, Value)> {
    let at = match scheme {
        "https" => rig.https,
        _ => rig.http,
    };
    let output = Command::new(python())
        .arg(python_script("http_behind_proxy.py"))
        .args([
            scheme,
            &at.port().to_string(),
            client,
            &requests.to_string(),
        ])
        .current_dir(rig.bundle.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines().map(|line| {
        let (status, body) = line.split_once(' ').unwrap();
        (status.parse().unwrap(), serde_json::from_str(body).unwrap())
    });
    lines.collect()
}

#[test]
fn python_submits_behind_a_proxy_that_speaks_version_2() {
    let rig = Rig::new(
        &json!({ "relay": ["192.0.2.0/24", "2001:db8::/32"], "concurrency": { "ip": 1 } }),
    );
    let server = Server::start(&rig.bundle);
    for (scheme, tls) in [("http", ""), ("https", "TLSv1.3")] {
        for client in ["192.0.2.7", "2001:db8::7"] {
            let answers = behind_version_2(&rig, scheme, client, 2);
            assert_eq!(answers.len(), 2);
            for (status, answer) in answers {
                assert_eq!(status, 200, "{answer}");
                let told = &answer["metadata"];
                assert_eq!(told["remoteip"], client);
                assert_eq!(told["remoteport"], 4000);
                assert_eq!(told["tls"], tls);
                assert!(told["received"].as_str().unwrap().contains(client));
            }
        }
        // The proxy may not submit for those who may not.
        let (status, answer) = behind_version_2(&rig, scheme, "198.51.100.7", 1).remove(0);
        assert_eq!(status, 401, "{answer}");
    }
    assert!(rig.sink.wait_for(8, wait::SOON));
    // Connections are counted for the client, not for the proxy.
    let mut open = Vec::new();
    for (client, wanted) in [
        ("192.0.2.7", "200"),
        ("192.0.2.8", "200"),
        ("192.0.2.7", "503"),
    ] {
        let mut stream = TcpStream::connect(rig.http).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        let head = format!("PROXY TCP4 {client} 192.0.2.1 4000 80\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        stream
            .write_all(b"OPTIONS /v1/submission HTTP/1.1\r\nHost: a\r\n\r\n")
            .unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap();
        let status = String::from_utf8_lossy(&answer[9..]).into_owned();
        // What is no POST is refused by the server itself, which has let the client in.
        let status = if status == "405" {
            "200".to_owned()
        } else {
            status
        };
        assert_eq!(status, wanted, "{client}");
        open.push(stream);
    }
    server.wait_log(&["serverid=https proxyip=127.0.0.1"]);
}
