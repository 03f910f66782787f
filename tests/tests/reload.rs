//! Stop and reload under traffic.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "it drives real programs; a failed expectation is a failed test"
)]

use std::collections::HashSet;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use angarium_tests::bundle::Bundle;
use angarium_tests::client::Client;
use angarium_tests::program;
use angarium_tests::server::Server;
use angarium_tests::sink::{Behaviour, Sink, Stage};
use angarium_tests::wait;
use rustix::process::Signal;
use serde_json::json;

const CONTENT: &[u8] = b"Subject: hello\r\n\r\nHello!\r\n";

/// A connect script that shows its version in the greeting.
fn greeting(version: &str) -> String {
    format!("Accept([\"reason\" => \"relay.example {version}\"]);\n")
}

/// What a new connection is greeted with.
fn version(address: SocketAddr) -> String {
    let mut client = Client::connect(address).expect("a greeting of 220");
    let text = client.greeting.text.clone();
    client.command("QUIT").expect("a reply to QUIT");
    text
}

fn wait_version(address: SocketAddr, expected: &str) -> bool {
    wait::until_true(wait::SOON, || version(address).ends_with(expected))
}

#[test]
fn a_hundred_reloads_under_twenty_sessions_give_no_client_an_error() {
    let sink = Sink::start();
    let mut bundle = Bundle::relay(sink.port());
    bundle.hook("connect", &greeting("v0"));
    bundle.hook("rcptto", "Accept([\"transportid\" => \"sink\"]);\n");
    let mut server = Server::start(&bundle);
    let stop = AtomicBool::new(false);
    let sent = AtomicUsize::new(0);
    let errors = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for session in 0..20 {
            let (stop, sent, errors, address) = (&stop, &sent, &errors, bundle.address);
            // Some sessions live through many reloads, some are short.
            let length = [5, 50, usize::MAX][session % 3];
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    if let Err(error) = one_session(address, length, stop, sent) {
                        errors.lock().unwrap().push(error);
                    }
                }
            });
        }
        for number in 1..=100 {
            let before = sent.load(Ordering::Relaxed);
            bundle.write(
                "src/hooks/connect/default.hsl",
                &greeting(&format!("v{number}")),
            );
            server.signal(Signal::HUP);
            if !wait_version(bundle.address, &format!(" v{number}")) {
                errors
                    .lock()
                    .unwrap()
                    .push(format!("version {number} never came"));
                break;
            }
            // The sessions are busy between any two reloads.
            wait::until_true(wait::SOON, || sent.load(Ordering::Relaxed) >= before + 20);
        }
        stop.store(true, Ordering::Relaxed);
    });
    let errors = errors.into_inner().unwrap();
    let sent = sent.into_inner();
    println!(
        "reloads without an error at any client: {} of 100",
        100 - errors.len().min(100)
    );
    assert!(errors.is_empty(), "{errors:?}");
    assert!(sent >= 2000, "only {sent} messages were sent");
    assert!(
        sink.wait_for(sent, Duration::from_secs(120)),
        "{} of {sent} arrived",
        sink.count()
    );
    assert!(server.stop().success());
    assert_eq!(sink.count(), sent);
}

fn one_session(
    address: SocketAddr,
    length: usize,
    stop: &AtomicBool,
    sent: &AtomicUsize,
) -> Result<(), String> {
    let mut client = Client::connect(address).map_err(|error| format!("connect: {error}"))?;
    let reply = client
        .command("EHLO client.example")
        .map_err(|error| format!("EHLO: {error}"))?;
    if reply.code != 250 {
        return Err(reply.text);
    }
    for _ in 0..length {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let reply = client
            .send("from@example.net", "to@example.com", CONTENT)
            .map_err(|error| format!("message: {error}"))?;
        if reply.code != 250 {
            return Err(reply.text);
        }
        sent.fetch_add(1, Ordering::Relaxed);
    }
    let reply = client
        .command("QUIT")
        .map_err(|error| format!("QUIT: {error}"))?;
    if reply.code == 221 {
        Ok(())
    } else {
        Err(reply.text)
    }
}

#[test]
fn a_broken_script_is_named_with_its_place_and_the_old_one_stays() {
    let sink = Sink::start();
    let mut bundle = Bundle::relay(sink.port());
    bundle.hook("connect", &greeting("good"));
    let server = Server::start(&bundle);
    let mut before = Client::connect(server.address).unwrap();
    bundle.write(
        "src/hooks/connect/default.hsl",
        "// first line\n\n  Accept( ;\n",
    );
    server.signal(Signal::HUP);
    let line = server.wait_log(&["src/hooks/connect/default.hsl:3:"]);
    let place = line.split("default.hsl:3:").nth(1).unwrap();
    assert!(
        place.starts_with(|c: char| c.is_ascii_digit()),
        "a column: {line}"
    );
    assert!(
        version(server.address).ends_with(" good"),
        "the old script stays"
    );
    assert_eq!(before.command("NOOP").unwrap().code, 250);

    bundle.write("src/hooks/connect/default.hsl", &greeting("mended"));
    server.signal(Signal::HUP);
    assert!(
        wait_version(server.address, " mended"),
        "the next reload takes the mended one"
    );
}

#[test]
fn a_broken_configuration_is_named_with_its_key_and_the_old_one_stays() {
    let sink = Sink::start();
    let mut bundle = Bundle::relay(sink.port());
    bundle.hook("connect", &greeting("good"));
    let server = Server::start(&bundle);
    bundle.hook("connect", &greeting("unused"));
    bundle.server()["timeot"] = serde_json::json!({ "idle": 1 });
    bundle.save();
    server.signal(Signal::HUP);
    server.wait_log(&["timeot"]);
    assert!(
        version(server.address).ends_with(" good"),
        "all or nothing: the new script is not taken"
    );
    bundle.server().as_object_mut().unwrap().remove("timeot");
    bundle.save();
    server.signal(Signal::HUP);
    assert!(wait_version(server.address, " unused"));
}

#[test]
fn a_reload_changes_settings_for_new_connections() {
    let sink = Sink::start();
    let mut bundle = Bundle::relay(sink.port());
    let server = Server::start(&bundle);
    let mut old = Client::connect(server.address).unwrap();
    bundle.server()["hostname"] = serde_json::json!("renamed.example");
    bundle.server()["phases"]["data"]["maxsize"] = serde_json::json!(1000);
    bundle.save();
    server.signal(Signal::HUP);
    let new = wait::until(wait::SOON, || {
        let mut client = Client::connect(server.address).ok()?;
        client
            .greeting
            .text
            .contains("renamed.example")
            .then(|| client.command("EHLO me").unwrap())
    });
    assert!(new.expect("the new name").text.contains("SIZE 1000"));
    let ehlo = old.command("EHLO me").unwrap();
    assert!(
        !ehlo.text.contains("renamed.example"),
        "an open session keeps its settings: {}",
        ehlo.text
    );
}

#[test]
fn a_graceful_stop_loses_nothing_and_tells_idle_sessions() {
    let sink = Sink::start();
    let bundle = Bundle::relay(sink.port());
    let mut server = Server::start(&bundle);
    let mut idle: Vec<Client> = (0..5)
        .map(|_| Client::connect(server.address).unwrap())
        .collect();
    for client in &mut idle {
        assert_eq!(client.command("EHLO client.example").unwrap().code, 250);
    }
    let answered = Mutex::new(Vec::new());
    let surprises = Mutex::new(Vec::new());
    let status = std::thread::scope(|scope| {
        for session in 0..20 {
            let (answered, surprises, address) = (&answered, &surprises, server.address);
            scope.spawn(move || {
                let Ok(mut client) = Client::connect(address) else {
                    return;
                };
                for number in 0.. {
                    let to = format!("s{session}.n{number}@example.com");
                    match client.send("from@example.net", &to, CONTENT) {
                        Ok(reply) if reply.code == 250 => answered.lock().unwrap().push(to),
                        Ok(reply) if reply.code == 421 => return,
                        Ok(reply) => return surprises.lock().unwrap().push(reply.text),
                        // The 421 met a command that was under way.
                        Err(_) => return,
                    }
                }
            });
        }
        wait::until_true(wait::SOON, || answered.lock().unwrap().len() > 200);
        server.stop()
    });
    assert!(status.success(), "the server ends with {status}");
    for client in &mut idle {
        assert_eq!(client.reply().expect("a last reply").code, 421);
        assert!(client.is_closed());
    }
    assert_eq!(surprises.into_inner().unwrap(), [""; 0]);
    // What was still in the queue goes out after the next start.
    let mut server = Server::start(&bundle);
    let answered = answered.into_inner().unwrap();
    assert!(
        wait::until_true(Duration::from_secs(60), || sink.with_messages(|messages| {
            let arrived: HashSet<&String> =
                messages.iter().flat_map(|message| &message.to).collect();
            answered.iter().all(|to| arrived.contains(to))
        })),
        "{} answered, {} arrived",
        answered.len(),
        sink.count()
    );
    println!(
        "arrived after a graceful stop: {} of {}",
        answered.len(),
        answered.len()
    );
    assert_eq!(
        sink.count(),
        answered.len(),
        "a graceful stop makes no duplicates"
    );
    server.stop();
}

#[test]
fn a_second_signal_stops_at_once() {
    let sink = Sink::behaving(Behaviour::Hang(Stage::End));
    let bundle = Bundle::relay(sink.port());
    let mut server = Server::start(&bundle);
    let mut client = Client::connect(server.address).unwrap();
    let reply = client
        .send("from@example.net", "to@example.com", CONTENT)
        .unwrap();
    assert_eq!(reply.code, 250);
    assert!(
        wait::until_true(wait::SOON, || sink.misdeeds() > 0),
        "an attempt hangs"
    );
    server.signal(Signal::TERM);
    assert!(
        wait::until_true(wait::SOON, || Client::connect(server.address).is_err()),
        "nobody is let in any more"
    );
    assert!(server.is_running(), "the attempt may finish");
    let second = Instant::now();
    server.signal(Signal::TERM);
    server.wait_end(Duration::from_secs(10));
    assert!(second.elapsed() < Duration::from_secs(10));
    sink.behave(Behaviour::Accept);
    let _server = Server::start(&bundle);
    assert!(sink.wait_for(1, wait::SOON), "the message is still there");
}

/// A certificate for this name and its key, as `FILE.pem` and `FILE.key` in the bundle, each written in one step.
fn certificate(bundle: &Bundle, file: &str, name: &str) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec![format!("{name}.example")]).unwrap();
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, name);
    let own = params.self_signed(&key).unwrap();
    bundle.write(&format!("{file}.pem"), &own.pem());
    bundle.write(&format!("{file}.key"), &key.serialize_pem());
}

/// The common names of the certificates that a new client is shown: by default, and for mx.example.com.
fn shown(server: &Server) -> (String, String) {
    let ask = |name: &str| {
        let output = Command::new("openssl")
            .args([
                "s_client",
                "-starttls",
                "smtp",
                "-brief",
                "-servername",
                name,
            ])
            .args(["-connect", &server.address.to_string()])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let name = text.lines().find_map(|line| {
            let (_, name) = line.strip_prefix("Peer certificate:")?.split_once('=')?;
            Some(name.trim().to_owned())
        });
        name.unwrap_or(text)
    };
    (ask("relay.example"), ask("mx.example.com"))
}

/// Sends messages under STARTTLS over connections that live long or short, until its input ends; then says how many were
/// sent and what went wrong.
const SENDERS: &str = r#"
import smtplib, ssl, sys, threading
port, stop, sent, errors = int(sys.argv[1]), threading.Event(), [0] * 4, []
def run(number):
    context = ssl._create_unverified_context()
    while not stop.is_set():
        try:
            s = smtplib.SMTP('127.0.0.1', port, local_hostname='client.example', timeout=60)
            s.starttls(context=context)
            for _ in range(3 if number % 2 else 60):
                if stop.is_set(): break
                s.sendmail('from@example.net', ['to@example.com'], b'Subject: x\r\n\r\nx\r\n')
                sent[number] += 1
                stop.wait(0.01)
            s.quit()
        except Exception as e:
            errors.append(repr(e))
            return
threads = [threading.Thread(target=run, args=(number,)) for number in range(len(sent))]
for thread in threads: thread.start()
sys.stdin.read()
stop.set()
for thread in threads: thread.join()
print(sum(sent), errors)
"#;

#[test]
fn a_hundred_reloads_of_certificates_under_load_disturb_no_session() {
    if !program::installed("openssl") || !program::installed("python3") {
        return;
    }
    let sink = Sink::start();
    let mut bundle = Bundle::relay(sink.port());
    for name in ["default", "byname"] {
        certificate(&bundle, name, &format!("{name}0"));
    }
    let pair = |name: &str| {
        json!({
            "id": name,
            "privatekey": { "path": format!("{name}.key") },
            "certificate": { "path": format!("{name}.pem") },
        })
    };
    bundle.startup["pki"] = json!({ "private": [pair("default"), pair("byname")] });
    bundle.server()["tls"] = json!({ "certs": {
        "cert": "default",
        "sni": [{ "hostname": "*.example.com", "cert": "byname" }],
    } });
    bundle.hook("connect", &greeting("v0"));
    let server = Server::start(&bundle);
    let first = ("default0".to_owned(), "byname0".to_owned());
    assert_eq!(shown(&server), first);
    let mut senders = Command::new(program::python())
        .args(["-c", SENDERS, &server.address.port().to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut good = 0;
    for number in 1..=100 {
        let script = greeting(&format!("v{number}"));
        bundle.write("src/hooks/connect/default.hsl", &script);
        certificate(&bundle, "default", &format!("default{number}"));
        certificate(&bundle, "byname", &format!("byname{number}"));
        // Every tenth time something in it is wrong, and so nothing of it counts.
        match number % 20 {
            0 => bundle.write("byname.key", "no key\n"),
            10 => certificate(&bundle, "unused", "unused"),
            _ => {}
        }
        if number % 20 == 10 {
            // The key of another certificate.
            let other = std::fs::read_to_string(bundle.path().join("unused.key")).unwrap();
            bundle.write("default.key", &other);
        }
        let refusals = || {
            let log = server.log();
            let is_refusal =
                |line: &&str| line.contains("reload file=") && line.contains(" error=");
            log.lines().filter(is_refusal).count()
        };
        let before = refusals();
        server.signal(Signal::HUP);
        if number % 10 == 0 {
            let refused = wait::until_true(wait::SOON, || refusals() > before);
            assert!(refused, "{number} was not refused");
        } else {
            good = number;
            let taken = wait_version(server.address, &format!(" v{good}"));
            assert!(taken, "version {number} never came");
        }
        let wanted = (format!("default{good}"), format!("byname{good}"));
        assert_eq!(shown(&server), wanted, "after {number}");
        assert!(version(server.address).ends_with(&format!(" v{good}")));
    }
    drop(senders.stdin.take());
    let output = senders.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let (sent, errors) = told.trim().split_once(' ').unwrap();
    assert_eq!(errors, "[]", "{told}");
    let sent: usize = sent.parse().unwrap();
    println!("messages under TLS during a hundred reloads of certificates: {sent}");
    assert!(sent >= 100, "only {sent} messages were sent");
    assert!(sink.wait_for(sent, Duration::from_secs(120)));
    let log = server.log();
    assert!(log.contains("the key pair byname of server default cannot be used"));
    assert!(log.contains("the private key does not belong to the certificate"));
}
