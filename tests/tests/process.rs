//! What the process is given and gives up: the control socket's port and certificates, rights, limits.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "it drives real programs; a failed expectation is a failed test"
)]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use angarium_tests::bundle::{Bundle, free_address};
use angarium_tests::client::Client;
use angarium_tests::program;
use angarium_tests::server::{Server, run};
use angarium_tests::sink::Sink;
use angarium_tests::wait;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

const CONTENT: &[u8] = b"From: <a@example.net>\r\nSubject: hello\r\n\r\nHello!\r\n";
const SOON: Duration = Duration::from_secs(30);

/// An authority with certificates for these names, each `NAME.pem` and `NAME.key` in a folder; `ca.pem` is its own.
fn authority(folder: &Path, file: &str, names: &[(&str, &str)]) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let own = params.self_signed(&key).unwrap().pem();
    fs::write(folder.join(format!("{file}.pem")), &own).unwrap();
    let issuer = Issuer::new(params, key);
    for (file, name) in names {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![(*name).to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &issuer).unwrap().pem();
        fs::write(
            folder.join(format!("{file}.pem")),
            format!("{certificate}{own}"),
        )
        .unwrap();
        fs::write(folder.join(format!("{file}.key")), key.serialize_pem()).unwrap();
    }
}

fn error(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_control_socket_with_a_port_takes_only_clients_with_a_good_certificate() {
    let sink = Sink::start();
    let mut bundle = Bundle::relay(sink.port());
    let folder = bundle.path().to_owned();
    authority(
        &folder,
        "ca",
        &[
            ("server", "127.0.0.1"),
            ("admin", "admin.example"),
            ("guest", "guest.example"),
        ],
    );
    authority(&folder, "wrong", &[("stranger", "admin.example")]);
    let address = free_address();
    bundle.startup["environment"] = json!({ "controlsocket": {
        "port": address.port(),
        "address": "127.0.0.1",
        "tls": {
            "server": {
                "certificate": { "path": "server.pem" },
                "privatekey": { "path": "server.key" },
                "verifyname": "admin.example",
            },
            "client": {
                "certificate": { "path": "admin.pem" },
                "privatekey": { "path": "admin.key" },
            },
        },
    } });
    bundle.save();
    let server = Server::start(&bundle);
    let port = address.port().to_string();
    let file = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let ask = |options: &[&str]| {
        let mut line = vec!["ctl", "--port", &port];
        line.extend(options);
        line.push("process-stats");
        run(&line)
    };
    let shown = |name: &str, ca: &str, more: &[&str]| {
        let (cert, key) = (file(&format!("{name}.pem")), file(&format!("{name}.key")));
        let ca = file(ca);
        let own = [
            "--tls",
            "--tls-cert",
            &cert,
            "--tls-key",
            &key,
            "--tls-ca",
            &ca,
        ];
        ask(&[&own[..], more].concat())
    };
    let good = || {
        let output = shown("admin", "ca.pem", &[]);
        output.status.success() && String::from_utf8_lossy(&output.stdout).contains("process.pid")
    };
    assert!(wait::until_true(SOON, good));
    // By the configuration of the server, which has a section for the client.
    let output = run(&["ctl", "-c", folder.to_str().unwrap(), "process-stats"]);
    assert!(output.status.success(), "{}", error(&output));
    // And by a configuration of the client alone.
    let own = json!({ "environment": { "controlsocket": {
        "port": address.port(),
        "tls": { "client": {
            "certificate": { "path": "admin.pem" },
            "privatekey": { "path": "admin.key" },
        } },
    } } });
    fs::write(folder.join("halonctl.yaml"), own.to_string()).unwrap();
    let output = run(&["ctl", "-c", &file("halonctl.yaml"), "process-stats"]);
    assert!(output.status.success(), "{}", error(&output));

    let refused = |output: Output, words: &str| {
        assert_eq!(output.status.code(), Some(2), "{words}: {output:?}");
        assert!(
            error(&output).contains(words),
            "{words}: {}",
            error(&output)
        );
    };
    let ca = file("ca.pem");
    refused(ask(&["--tls", "--tls-ca", &ca]), "CertificateRequired");
    refused(shown("stranger", "ca.pem", &[]), "alert");
    refused(shown("guest", "ca.pem", &[]), "has gone");
    refused(shown("admin", "wrong.pem", &[]), "certificate");
    refused(
        shown("admin", "ca.pem", &["--tls-name", "other.example"]),
        "not valid for name",
    );
    assert!(
        shown("admin", "wrong.pem", &["--tls-insecure"])
            .status
            .success()
    );
    // Without TLS there is no answer, and nobody is held up by who says nothing.
    refused(ask(&[]), "wants TLS");
    let mut silent = TcpStream::connect(address).unwrap();
    assert!(good());
    silent.write_all(b"\x05\x03q").unwrap();
    silent.set_read_timeout(Some(SOON)).unwrap();
    let mut answer = Vec::new();
    let _ = silent.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"+"), "{answer:?}");
    server.wait_log(&["control socket", "was refused"]);
}

#[test]
fn a_control_socket_with_a_port_and_no_tls_speaks_the_same() {
    let sink = Sink::start();
    let mut bundle = Bundle::relay(sink.port());
    let address = free_address();
    bundle.startup["environment"] = json!({ "controlsocket": { "port": address.port() } });
    bundle.save();
    let _server = Server::start(&bundle);
    let port = address.port().to_string();
    for host in ["127.0.0.1", "localhost"] {
        let line = ["ctl", "--address", host, "--port", &port, "process-stats"];
        let answers = || run(&line).status.success();
        assert!(wait::until_true(SOON, answers), "{host}");
    }
    // The frames are those of the Unix socket: two requests, one after the other.
    let mut client = TcpStream::connect(address).unwrap();
    client.write_all(b"\x05\x03q").unwrap();
    for _ in 0..2 {
        let mut head = [0; 9];
        client.read_exact(&mut head).unwrap();
        assert_eq!(head[0], b'+');
        let length = u64::from_le_bytes(head[1..].try_into().unwrap());
        let mut body = vec![0; usize::try_from(length).unwrap()];
        client.read_exact(&mut body).unwrap();
        client.write_all(b"q").unwrap();
    }
}

#[test]
fn what_of_a_control_socket_does_not_go_together_is_said_before_the_start() {
    let sink = Sink::start();
    let mut bundle = Bundle::relay(sink.port());
    let folder = bundle.path().to_owned();
    let mut check = |socket: serde_json::Value, words: &[&str]| {
        bundle.startup["environment"] = json!({ "controlsocket": socket });
        bundle.save();
        let output = run(&["serve", "--check", folder.to_str().unwrap()]);
        assert!(!output.status.success());
        for word in words {
            assert!(error(&output).contains(word), "{word}: {}", error(&output));
        }
    };
    check(
        json!({ "path": "a", "port": 4711 }),
        &["environment.controlsocket.port", "leave one out"],
    );
    check(
        json!({ "address": "127.0.0.1" }),
        &["environment.controlsocket.address", "needs a `port`"],
    );
    let server =
        json!({ "certificate": { "path": "none.pem" }, "privatekey": { "path": "none.key" } });
    check(
        json!({ "tls": { "server": server } }),
        &["controlsocket.tls", "needs a `port`"],
    );
    check(
        json!({ "port": 4711, "tls": { "server": {} } }),
        &["tls.server", "must have `certificate` and `privatekey`"],
    );
    check(
        json!({ "port": 4711, "tls": { "server": server } }),
        &["tls.server", "none.pem"],
    );
}

#[test]
fn the_process_has_its_limits_and_new_files_their_mode() {
    let sink = Sink::start();
    let mut bundle = Bundle::relay(sink.port());
    bundle.startup["environment"] = json!({
        "controlsocket": { "path": "angarium.ctl" },
        "rlimit": { "nofile": 512 },
        "umask": "0027",
        "uuid": { "version": 1 },
    });
    bundle.save();
    let server = Server::start(&bundle);
    let limits = fs::read_to_string(format!("/proc/{}/limits", server.pid())).unwrap();
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"))
        .unwrap();
    assert_eq!(line.split_whitespace().nth(3), Some("512"), "{line}");
    let spool = bundle.path().join("spool/queue");
    let segment = fs::read_dir(spool)
        .unwrap()
        .flatten()
        .find(|entry| entry.path().is_file());
    let mode = segment.unwrap().metadata().unwrap().mode();
    assert_eq!(mode & 0o027, 0, "{mode:o}");
    // Transactions are named by time.
    let mut client = Client::connect(server.address).unwrap();
    let reply = client
        .send("a@example.net", "b@example.org", CONTENT)
        .unwrap();
    let id = reply.text.rsplit(' ').next().unwrap().trim();
    assert_eq!(id.as_bytes().get(14), Some(&b'1'), "{id}");
    assert!(sink.wait_for(1, SOON));
}

#[test]
fn the_log_is_a_file_of_json_too_which_can_be_moved_away() {
    let sink = Sink::start();
    let mut bundle = Bundle::relay(sink.port());
    bundle.startup["logging"] = json!({ "json": { "path": "log.json" } });
    bundle.save();
    let server = Server::start(&bundle);
    let send = || {
        let mut client = Client::connect(server.address).unwrap();
        let reply = client.send("a@example.net", "b@example.org", CONTENT);
        assert_eq!(reply.unwrap().code, 250);
    };
    let read = |name: &str| -> Vec<serde_json::Value> {
        let text = fs::read_to_string(bundle.path().join(name)).unwrap_or_default();
        let whole = text.lines().map(serde_json::from_str);
        whole.collect::<Result<_, _>>().unwrap()
    };
    let delivered = |name: &str| {
        let found = read(name)
            .into_iter()
            .find(|line| line["event"] == "delivery");
        found.filter(|line| line["result"] == "DELIVERED" && line["recipient"] == "b@example.org")
    };
    send();
    let line = wait::until(SOON, || delivered("log.json")).expect("a line of the delivery");
    assert_eq!(
        (&line["code"], &line["severity"]),
        (&json!("250"), &json!("info"))
    );
    assert!(line["reason"].as_str().unwrap().contains("Ok"), "{line}");
    let (log, old) = (
        bundle.path().join("log.json"),
        bundle.path().join("old.json"),
    );
    fs::rename(&log, &old).unwrap();
    server.signal(Signal::USR1);
    assert!(wait::until_true(SOON, || log.exists()));
    send();
    assert!(wait::until(SOON, || delivered("log.json")).is_some());
    assert_eq!(
        read("log.json")
            .iter()
            .filter(|line| line["event"] == "delivery")
            .count(),
        1
    );
}

#[test]
fn more_open_files_than_the_system_allows_are_refused() {
    let sink = Sink::start();
    let mut bundle = Bundle::relay(sink.port());
    // Not even root may have more than the kernel allows.
    bundle.startup["environment"] = json!({ "rlimit": { "nofile": 1_u64 << 40 } });
    bundle.save();
    let output = run(&["serve", bundle.path().to_str().unwrap()]);
    assert!(!output.status.success());
    assert!(
        error(&output).contains("environment.rlimit.nofile is 1099511627776"),
        "{}",
        error(&output)
    );
}

#[test]
fn rights_are_given_up_once_the_sockets_are_open() {
    if !program::is_root() {
        println!("skipped: only root can drop privileges");
        return;
    }
    let sink = Sink::start();
    let mut bundle = Bundle::relay(sink.port());
    let folder = bundle.path().to_owned();
    authority(&folder, "ca", &[("own", "relay.example")]);
    let (spool, run_folder) = (folder.join("spool"), folder.join("run"));
    for path in [&spool, &run_folder] {
        fs::create_dir_all(path).unwrap();
    }
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
    let key = folder.join("own.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    std::os::unix::fs::chown(&spool, Some(65534), Some(65534)).unwrap();
    bundle.startup["environment"] = json!({
        "controlsocket": { "path": "run/angarium.ctl" },
        "privdrop": { "user": "nobody" },
    });
    bundle.startup["pki"] = json!({ "private": [{
        "id": "own",
        "privatekey": { "path": "own.key" },
        "certificate": { "path": "own.pem" },
    }] });
    // A port that only root may open.
    let address = (1..1024).rev().find_map(|port| {
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
        std::net::TcpListener::bind(address)
            .is_ok()
            .then_some(address)
    });
    let address = address.expect("a free port");
    bundle.address = address;
    bundle.startup["servers"][0]["listeners"][0]["port"] = json!(address.port());
    bundle.server()["tls"] = json!({ "certs": { "cert": "own" } });
    bundle.save();
    let mut server = Server::start(&bundle);
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let ids = |name: &str| {
        let line = status
            .lines()
            .find(|line| line.starts_with(name))
            .unwrap()
            .to_owned();
        line.split_whitespace()
            .skip(1)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(ids("Uid:"), ["65534"; 4]);
    assert_eq!(ids("Gid:"), ["65534"; 4]);
    // Every thread has given them up.
    for thread in fs::read_dir(format!("/proc/{}/task", server.pid()))
        .unwrap()
        .flatten()
    {
        assert_eq!(thread.metadata().unwrap().uid(), 65534);
    }
    let mut client = Client::connect(server.address).unwrap();
    let reply = client
        .send("a@example.net", "b@example.org", CONTENT)
        .unwrap();
    assert_eq!(reply.code, 250, "{}", reply.text);
    assert!(sink.wait_for(1, SOON));
    let segment = fs::read_dir(spool.join("queue"))
        .unwrap()
        .flatten()
        .next()
        .unwrap();
    assert_eq!(segment.metadata().unwrap().uid(), 65534);
    // The key, which nobody may read, is still there for a reload.
    let socket = run_folder.join("angarium.ctl");
    let output = run(&[
        "ctl",
        "--socket",
        socket.to_str().unwrap(),
        "config",
        "reload",
    ]);
    assert!(output.status.success(), "{}", error(&output));
    assert!(server.stop().success());
}

#[test]
fn nobody_else_reads_the_spool() {
    let sink = Sink::start();
    let bundle = Bundle::relay(sink.port());
    let server = Server::start(&bundle);
    let mut client = Client::connect(server.address).unwrap();
    let reply = client.send("a@example.net", "b@example.org", CONTENT);
    assert_eq!(reply.unwrap().code, 250);
    for name in ["spool/queue", "spool/tmp"] {
        let folder = bundle.path().join(name);
        let mode = fs::metadata(&folder).unwrap().mode();
        assert_eq!(mode & 0o777, 0o700, "{name}: {mode:o}");
        for entry in fs::read_dir(&folder).unwrap().flatten() {
            let mode = entry.metadata().unwrap().mode();
            assert_eq!(mode & 0o077, 0, "{}: {mode:o}", entry.path().display());
        }
    }
}

#[test]
fn the_unit_for_systemd_exposes_little() {
    if !program::installed("systemd-analyze") {
        return;
    }
    let unit = program::root().join("packaging/systemd/angarium.service");
    let output = Command::new("systemd-analyze")
        .args(["security", "--offline=true", "--no-pager"])
        .arg(&unit)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let level = text
        .lines()
        .filter_map(|line| line.split_once("Overall exposure level for angarium.service:"))
        .find_map(|(_, rest)| rest.split_whitespace().next()?.parse::<f64>().ok());
    let level = level.unwrap_or_else(|| panic!("no level in {text}{}", error(&output)));
    println!("exposure of the unit for systemd: {level}");
    assert!(level < 2.0, "{level}");
}

#[test]
fn whoever_started_it_is_told_when_it_is_ready_and_when_it_stops() {
    let bundle = Bundle::relay(1);
    let path = bundle.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    let mut server = Command::new(program::angarium())
        .arg("serve")
        .arg(bundle.path())
        .env("NOTIFY_SOCKET", &path)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let told = || {
        let mut bytes = [0; 512];
        let count = socket.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..count]).into_owned()
    };
    assert_eq!(told(), "READY=1");
    assert!(Client::connect(bundle.address).is_ok(), "ready is ready");
    let pid = Pid::from_child(&server);
    kill_process(pid, Signal::HUP).unwrap();
    let reloading = told();
    assert!(
        reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="),
        "{reloading}"
    );
    assert_eq!(told(), "READY=1");
    kill_process(pid, Signal::TERM).unwrap();
    assert_eq!(told(), "STOPPING=1");
    assert!(server.wait().unwrap().success());
}
