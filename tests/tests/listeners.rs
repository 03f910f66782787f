//! What comes before a session: headers of proxies, Unix sockets.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "it drives real programs; a failed expectation is a failed test"
)]

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use angarium_tests::bundle::Bundle;
use angarium_tests::client::Client;
use angarium_tests::program;
use angarium_tests::server::{Server, run};
use angarium_tests::sink::Sink;
use angarium_tests::wait;
use serde_json::{Value, json};

/// Shows the client what the connect hook sees of it.
const SHOWN: &str = "Accept([\"reason\" => json_encode($arguments)]);\n";

fn hex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

/// A server that takes 127.0.0.1 for a proxy and shows in its banner what it knows.
fn behind_a_proxy(sink: u16) -> (Bundle, Server) {
    let mut bundle = Bundle::relay(sink);
    bundle.startup["servers"][0]["proxyprotocol"] = json!(["127.0.0.1"]);
    bundle.server()["relay"] = json!(["127.0.0.0/8", "192.0.2.0/24"]);
    bundle.hook("connect", SHOWN);
    let server = Server::spawn(&bundle);
    server.wait_log(&["ready"]);
    (bundle, server)
}

/// How the bytes of a header are sent.
#[derive(Clone, Copy, Debug)]
enum Way {
    Whole,
    ByteByByte,
    /// The last two bytes come with EHLO.
    Glued,
}

/// Sends a header and EHLO; gives what the connect hook saw, or none if the server closed without a word.
fn visit(address: SocketAddr, header: &[u8], way: Way) -> Option<Value> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    let ehlo = b"EHLO client.example\r\n";
    // A server that has seen enough may be gone before the rest.
    let _ = match way {
        Way::Whole => stream
            .write_all(header)
            .and_then(|()| stream.write_all(ehlo)),
        Way::ByteByByte => {
            let mut bytes = header
                .iter()
                .try_for_each(|byte| stream.write_all(&[*byte]));
            if bytes.is_ok() {
                bytes = stream.write_all(ehlo);
            }
            bytes
        }
        Way::Glued => {
            let (first, last) = header.split_at(header.len().saturating_sub(2));
            stream
                .write_all(first)
                .and_then(|()| stream.write_all(&[last, ehlo].concat()))
        }
    };
    let mut reader = BufReader::new(stream);
    let mut banner = String::new();
    match reader.read_line(&mut banner) {
        Ok(0) | Err(_) => return None,
        Ok(_) => {}
    }
    let shown = banner
        .strip_prefix("220 ")
        .unwrap_or_else(|| panic!("{banner}"));
    let mut reply = String::new();
    while reply.as_bytes().get(3) != Some(&b' ') {
        reply.clear();
        reader.read_line(&mut reply).unwrap();
        assert!(reply.starts_with("250"), "{reply}");
    }
    // A banner is cut where a line of a reply must end.
    Some(serde_json::from_str(shown).unwrap_or_default())
}

/// What never becomes a header ends with the stream.
fn visit_and_end(address: SocketAddr, header: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    let _ = stream.write_all(header);
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    answer
}

#[test]
fn the_suite_of_the_proxy_protocol_is_passed_by_a_running_server() {
    let (_bundle, server) = behind_a_proxy(1);
    let Some(folder) = angarium_tests::corpus::suites_folder() else {
        return;
    };
    let text = fs::read_to_string(folder.join("proxy-protocol/cases.jsonl")).unwrap();
    let rows: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let mut passed = 0;
    for row in &rows {
        let header = hex(row["hex"].as_str().unwrap());
        if row["ok"] == json!(false) {
            let answer = visit_and_end(server.address, &header);
            assert_eq!(answer, b"", "{row}");
            passed += 1;
            continue;
        }
        for way in [Way::Whole, Way::ByteByByte, Way::Glued] {
            let seen = visit(server.address, &header, way);
            let Some(seen) = seen else {
                assert_eq!(row["advisory"], json!(true), "{way:?}: {row}");
                continue;
            };
            let wanted = |key: &str| row.get(key).filter(|value| !value.is_null());
            if let Some(source) = wanted("src") {
                assert_eq!(&seen["remoteip"], source, "{way:?}: {row}");
                assert_eq!(seen["proxyip"], json!("127.0.0.1"), "{way:?}: {row}");
            } else if row.get("src").is_some() {
                assert_eq!(seen["remoteip"], json!("127.0.0.1"), "{way:?}: {row}");
            }
            for (key, name) in [
                ("dst", "localip"),
                ("sport", "remoteport"),
                ("dport", "localport"),
            ] {
                if let Some(value) = wanted(key) {
                    assert_eq!(&seen[name], value, "{way:?}: {row}");
                }
            }
        }
        passed += 1;
    }
    println!("rows of the PROXY suite passed: {passed} of {}", rows.len());
    server.wait_log(&["proxy serverid=default remoteip=127.0.0.1 error="]);
}

#[test]
fn what_a_proxy_says_is_what_everything_goes_by() {
    let sink = Sink::start();
    let (_bundle, server) = behind_a_proxy(sink.port());
    let mut stream = TcpStream::connect(server.address).unwrap();
    stream
        .write_all(b"PROXY TCP4 192.0.2.77 198.51.100.1 4711 25\r\n")
        .unwrap();
    let mut reader = BufReader::new(stream);
    let mut told = |line: &str, code: &str| {
        if !line.is_empty() {
            reader.get_mut().write_all(line.as_bytes()).unwrap();
        }
        let mut reply = String::new();
        while reply.as_bytes().get(3) != Some(&b' ') {
            reply.clear();
            reader.read_line(&mut reply).unwrap();
        }
        assert!(reply.starts_with(code), "{line}: {reply}");
    };
    told("", "220");
    told("EHLO client.example\r\n", "250");
    told("MAIL FROM:<a@example.net>\r\n", "250");
    // The client may relay, its proxy may not.
    told("RCPT TO:<b@example.org>\r\n", "250");
    told("DATA\r\n", "354");
    told("Subject: x\r\n\r\nx\r\n.\r\n", "250");
    assert!(sink.wait_for(1, wait::SOON));
    let content = String::from_utf8_lossy(&sink.messages()[0].content).into_owned();
    assert!(content.contains("[192.0.2.77]"), "{content}");
    server.wait_log(&["connect remoteip=192.0.2.77 remoteport=4711"]);
    // From another address a header is no header.
    let other = Ipv4Addr::new(127, 0, 0, 2).into();
    let mut stranger = Client::open_from(other, server.address).unwrap();
    assert!(stranger.greeting.text.contains("\"127.0.0.2\""));
    let reply = stranger.command("PROXY TCP4 192.0.2.77 198.51.100.1 4711 25");
    assert_eq!(reply.unwrap().code, 500);
}

/// A session over a Unix socket.
struct Local(BufReader<UnixStream>);

impl Local {
    fn connect(path: &Path) -> Option<Local> {
        let stream = UnixStream::connect(path).ok()?;
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        Some(Local(BufReader::new(stream)))
    }

    fn reply(&mut self) -> String {
        let mut line = String::new();
        loop {
            line.clear();
            if self.0.read_line(&mut line).unwrap() == 0 {
                return String::new();
            }
            if line.as_bytes().get(3) != Some(&b'-') {
                return line.trim_end().to_owned();
            }
        }
    }

    fn command(&mut self, line: &str) -> String {
        self.0.get_mut().write_all(line.as_bytes()).unwrap();
        self.0.get_mut().write_all(b"\r\n").unwrap();
        self.reply()
    }
}

fn with_unix_socket(sink: u16) -> (Bundle, std::path::PathBuf) {
    let mut bundle = Bundle::relay(sink);
    let port = bundle.startup["servers"][0]["listeners"][0].clone();
    bundle.startup["servers"][0]["listeners"] =
        json!([port, { "path": "smtp.sock", "chmod": "0600", "backlog": 5 }]);
    bundle.hook("connect", SHOWN);
    let path = bundle.path().join("smtp.sock");
    (bundle, path)
}

#[test]
fn mail_is_taken_from_a_unix_socket_and_its_user_is_known() {
    let sink = Sink::start();
    let (bundle, path) = with_unix_socket(sink.port());
    let mut server = Server::start(&bundle);
    let found = fs::symlink_metadata(&path).unwrap();
    assert!(found.file_type().is_socket());
    assert_eq!(found.mode() & 0o7777, 0o600);
    let mut client = Local::connect(&path).unwrap();
    let banner = client.reply();
    let seen: Value = serde_json::from_str(banner.strip_prefix("220 ").unwrap()).unwrap();
    let uid = rustix::process::getuid().as_raw();
    assert_eq!(seen["remoteuid"], json!(uid));
    if uid == 0 {
        assert_eq!(seen["remoteuser"], json!("root"));
    }
    assert_eq!(seen["remoteip"], json!("127.0.0.1"));
    assert_eq!(
        (&seen["remoteport"], &seen["localport"]),
        (&json!(0), &json!(0))
    );
    // A client of the port has none.
    let greeting = Client::connect(server.address).unwrap().greeting.text;
    assert!(!greeting.contains("remoteuid"), "{greeting}");
    assert!(client.command("EHLO client.example").starts_with("250"));
    assert!(
        client
            .command("MAIL FROM:<a@example.net>")
            .starts_with("250")
    );
    assert!(client.command("RCPT TO:<b@example.org>").starts_with("250"));
    assert!(client.command("DATA").starts_with("354"));
    assert!(
        client
            .command("Subject: x\r\n\r\nx\r\n.")
            .starts_with("250")
    );
    assert!(sink.wait_for(1, wait::SOON));
    let content = String::from_utf8_lossy(&sink.messages()[0].content).into_owned();
    assert!(content.contains("[127.0.0.1]"), "{content}");
    server.wait_log(&["listening on", "smtp.sock"]);
    if program::installed("swaks") {
        let output = Command::new("swaks")
            .args([
                "--socket",
                path.to_str().unwrap(),
                "--from",
                "a@example.net",
            ])
            .args([
                "--to",
                "c@example.org",
                "--helo",
                "client.example",
                "--hide-all",
            ])
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        assert!(sink.wait_for(2, wait::SOON));
    }
    // An idle session is told, and the name goes with the server.
    server.signal(rustix::process::Signal::TERM);
    assert!(client.reply().starts_with("421"));
    drop(client);
    assert!(server.wait_end(Duration::from_secs(45)).success());
    assert!(!path.exists());
}

#[test]
fn a_socket_that_was_left_behind_is_taken_over_and_a_live_one_is_not() {
    let (bundle, path) = with_unix_socket(1);
    let mut server = Server::start(&bundle);
    server.kill();
    assert!(path.exists(), "a killed server leaves its socket");
    let mut server = Server::start(&bundle);
    assert!(Local::connect(&path).unwrap().reply().starts_with("220"));
    assert!(server.stop().success());
    // Somebody else listens there.
    let _other = UnixListener::bind(&path).unwrap();
    let output = run(&["serve", bundle.path().to_str().unwrap()]);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success());
    assert!(
        error.contains("another process listens on") && error.contains("smtp.sock"),
        "{error}"
    );
    fs::remove_file(&path).unwrap();
    // Nothing but a socket is ever replaced.
    fs::write(&path, "precious").unwrap();
    let output = run(&["serve", bundle.path().to_str().unwrap()]);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && error.contains("is no socket"),
        "{error}"
    );
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
}

#[test]
fn a_unix_socket_belongs_to_the_user_that_the_process_becomes() {
    if !program::is_root() {
        println!("skipped: only root can drop privileges");
        return;
    }
    let (mut bundle, path) = with_unix_socket(1);
    let spool = bundle.path().join("spool");
    fs::create_dir_all(&spool).unwrap();
    std::os::unix::fs::chown(&spool, Some(65534), Some(65534)).unwrap();
    std::os::unix::fs::chown(bundle.path(), Some(65534), Some(65534)).unwrap();
    bundle.startup["environment"] = json!({ "privdrop": { "user": "nobody" } });
    bundle.startup["servers"][0]["listeners"][1]["group"] = json!("mail");
    bundle.save();
    let mut server = Server::start(&bundle);
    let found = fs::symlink_metadata(&path).unwrap();
    assert_eq!(found.uid(), 65534);
    assert_eq!(found.mode() & 0o7777, 0o600);
    assert!(Local::connect(&path).unwrap().reply().starts_with("220"));
    assert!(server.stop().success());
    assert!(!path.exists());
    bundle.startup["servers"][0]["listeners"][1]["owner"] = json!("nobody-of-that-name");
    bundle.save();
    let output = run(&["serve", "--check", bundle.path().to_str().unwrap()]);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        error.contains("servers[].listeners[].owner is nobody-of-that-name"),
        "{error}"
    );
}
