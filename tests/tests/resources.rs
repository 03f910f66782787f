//! A full disk, a read-only spool, no file descriptors left: the right reply, a clear log, nothing accepted is lost, and
//! no restart needed.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "it drives real programs; a failed expectation is a failed test"
)]

use std::fs::{self, File};
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use angarium_tests::bundle::Bundle;
use angarium_tests::client::{Client, Reply};
use angarium_tests::program;
use angarium_tests::server::{self, Server};
use angarium_tests::sink::{Behaviour, Sink, Stage};
use angarium_tests::wait;
use serde_json::json;

/// A mounted file system; it goes with the value.
struct Mount(PathBuf);

impl Mount {
    /// A small disk at a folder; `None`, with a printed reason, where that is not allowed.
    fn small(folder: &Path, size: &str) -> Option<Mount> {
        fs::create_dir_all(folder).unwrap();
        Mount::new(
            &["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"],
            folder,
        )
    }

    /// Shows a folder in its own place so that nothing in it can be written by its path.
    fn read_only(folder: &Path) -> Option<Mount> {
        let mount = Mount::new(&["--bind", folder.to_str().unwrap()], folder)?;
        let status = Command::new("mount")
            .args(["-o", "remount,bind,ro"])
            .arg(folder)
            .status();
        assert!(status.unwrap().success());
        Some(mount)
    }

    fn new(arguments: &[&str], folder: &Path) -> Option<Mount> {
        if !program::is_root() {
            println!("skipped: mounting needs root");
            return None;
        }
        let output = Command::new("mount").args(arguments).arg(folder).output();
        match output {
            Ok(output) if output.status.success() => Some(Mount(folder.to_owned())),
            Ok(output) => {
                println!(
                    "skipped: mount: {}",
                    String::from_utf8_lossy(&output.stderr).trim()
                );
                None
            }
            Err(error) => {
                println!("skipped: mount: {error}");
                None
            }
        }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily: a server that still runs when a test fails must not keep the folder.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// A message with a body of so many bytes.
fn content(length: usize) -> Vec<u8> {
    let line = [&[b'x'; 76][..], b"\r\n"].concat();
    let mut content = b"Subject: hello\r\n\r\n".to_vec();
    content.extend(line.repeat(length / line.len() + 1));
    content
}

fn send(address: SocketAddr, to: &str, length: usize) -> Reply {
    let mut client = Client::connect(address).unwrap();
    client
        .send("from@example.net", to, &content(length))
        .unwrap()
}

/// Fills the disk under a file to its last byte.
fn fill(path: &Path) {
    let mut file = File::create(path).unwrap();
    let mut piece = vec![0; 1 << 20];
    while !piece.is_empty() {
        while file.write_all(&piece).is_ok() {}
        piece.truncate(piece.len() / 16);
    }
}

/// A destination that is down, so that the queue keeps what it has.
const DOWN: Behaviour = Behaviour::Reply(Stage::Banner, "421 4.3.2 Down");

fn down() -> Sink {
    Sink::behaving(DOWN)
}

/// Opens the destination and waits until all these recipients have got their message.
fn all_arrive(sink: &Sink, accepted: &[String]) {
    sink.behave(Behaviour::Accept);
    let missing = || -> Vec<&String> {
        sink.with_messages(|messages| {
            accepted
                .iter()
                .filter(|to| !messages.iter().any(|message| message.to.contains(to)))
                .collect()
        })
    };
    let all = wait::until_true(Duration::from_secs(60), || missing().is_empty());
    assert!(all, "lost: {:?}", missing());
}

#[test]
fn with_too_little_free_space_mail_is_answered_452() {
    let sink = Sink::start();
    let mut bundle = Bundle::relay(sink.port());
    let Some(_mount) = Mount::small(&bundle.path().join("spool"), "256m") else {
        return;
    };
    bundle.startup["spool"]["minfree"]["bytes"] = json!(16 << 20);
    bundle.save();
    let server = Server::start(&bundle);
    let address = server.address;
    assert_eq!(send(address, "before@example.com", 10).code, 250);
    let filler = bundle.path().join("spool/filler");
    fill(&filler);
    let refused = wait::until(wait::SOON, || {
        let reply = send(address, "refused@example.com", 10);
        (reply.code != 250).then_some(reply)
    });
    let reply = refused.expect("a refusal");
    assert!(reply.text.starts_with("452 4.3.1 "), "{}", reply.text);
    fs::remove_file(filler).unwrap();
    let accepted = wait::until_true(wait::SOON, || {
        send(address, "after@example.com", 10).code == 250
    });
    assert!(accepted, "it takes mail again without a restart");
}

#[test]
fn a_full_disk_refuses_and_recovers_without_a_restart() {
    let sink = Sink::checking(|message| message.content.ends_with(b"xxx\r\n"));
    sink.behave(DOWN);
    let bundle = Bundle::relay(sink.port());
    let Some(_mount) = Mount::small(&bundle.path().join("spool"), "256m") else {
        return;
    };
    let mut server = Server::start(&bundle);
    let address = server.address;
    let mut accepted = Vec::new();
    let mut offer = |number: usize, length: usize| {
        let to = format!("n{number}.l{length}@example.com");
        let reply = send(address, &to, length);
        match reply.code {
            250 => accepted.push(to),
            451 | 452 => assert!(
                reply.text.starts_with("451 4.3.") || reply.text.starts_with("452 4.3.1"),
                "{}",
                reply.text
            ),
            _ => panic!("{}", reply.text),
        }
        reply.code
    };
    for number in 0..20 {
        assert_eq!(offer(number, 2000), 250);
    }
    let filler = bundle.path().join("spool/filler");
    fill(&filler);
    // Big ones become files of their own and find no room at once; small ones go on until the log needs more.
    let (mut big, mut small) = (0, 0);
    for number in 20..3000 {
        if number % 100 == 0 {
            big += usize::from(offer(number, 1 << 20) != 250);
        } else {
            small += usize::from(offer(number, 200_000) != 250);
        }
        if big > 0 && small > 5 {
            break;
        }
    }
    assert!(big > 0 && small > 5, "a full disk refuses: {big}, {small}");
    assert!(server.is_running());
    server.wait_log(&["No space left"]);
    fs::remove_file(&filler).unwrap();
    let mut number = 1000;
    let again = wait::until_true(wait::SOON, || {
        number += 1;
        offer(number, 20_000) == 250
    });
    assert!(again, "it takes mail again without a restart");
    number += 1;
    assert_eq!(offer(number, 1 << 20), 250);
    // As after a crash: what was accepted is on disk.
    server.kill();
    let _server = Server::start(&bundle);
    all_arrive(&sink, &accepted);
    println!(
        "accepted around a full disk and arrived: {} of {}",
        accepted.len(),
        accepted.len()
    );
}

#[test]
fn a_read_only_spool_is_refused_at_start_by_name() {
    let bundle = Bundle::relay(1);
    let spool = bundle.path().join("spool");
    fs::create_dir_all(spool.join("queue")).unwrap();
    fs::create_dir_all(spool.join("tmp")).unwrap();
    let Some(_mount) = Mount::read_only(&spool) else {
        return;
    };
    let output = server::run(&["serve", bundle.path().to_str().unwrap()]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        output
            .status
            .code()
            .is_some_and(|code| code != 0 && code != 101),
        "{text}"
    );
    assert!(
        text.contains("spool") && text.to_lowercase().contains("read-only"),
        "{text}"
    );
}

#[test]
fn a_spool_that_becomes_read_only_refuses_and_recovers_without_a_restart() {
    let sink = down();
    let bundle = Bundle::relay(sink.port());
    let server = Server::start(&bundle);
    let address = server.address;
    let mut accepted = Vec::new();
    let mut offer = |to: &str, length: usize| {
        let reply = send(address, to, length);
        if reply.code == 250 {
            accepted.push(to.to_owned());
        }
        reply
    };
    assert_eq!(offer("before@example.com", 1 << 20).code, 250);
    let Some(mount) = Mount::read_only(&bundle.path().join("spool")) else {
        return;
    };
    // A big message is a file of its own, which cannot be made now.
    let reply = offer("during@example.com", 1 << 20);
    assert!(
        reply.text.starts_with("451 4.3.") || reply.text.starts_with("452 4.3.1"),
        "{}",
        reply.text
    );
    server.wait_log(&["ead-only"]);
    drop(mount);
    let mut number = 0;
    let again = wait::until_true(wait::SOON, || {
        number += 1;
        offer(&format!("after{number}@example.com"), 1 << 20).code == 250
    });
    assert!(again, "it takes mail again without a restart");
    all_arrive(&sink, &accepted);
}

#[test]
fn without_file_descriptors_it_answers_421_and_recovers_without_a_restart() {
    if !program::installed("prlimit") {
        return;
    }
    let sink = down();
    let bundle = Bundle::relay(sink.port());
    let server = Server::start(&bundle);
    let address = server.address;
    let mut accepted = Vec::new();
    assert_eq!(send(address, "before@example.com", 100).code, 250);
    accepted.push("before@example.com".to_owned());
    let used = fs::read_dir(format!("/proc/{}/fd", server.pid()))
        .unwrap()
        .count();
    limit(&server, used + 10);
    let mut busy = Client::connect(address).expect("there is room for one");
    let mut open = Vec::new();
    let mut refused = None;
    for _ in 0..100 {
        match Client::open(address) {
            Ok(client) if client.greeting.code == 220 => open.push(client),
            Ok(client) => {
                refused = Some(client.greeting);
                break;
            }
            // Closed without a word.
            Err(error) => panic!("after {} connections: {error}", open.len()),
        }
    }
    let refused = refused.expect("connections beyond the limit are refused");
    assert!(refused.text.starts_with("421 "), "{}", refused.text);
    server.wait_log(&["descriptor"]);
    // A session that is open goes on: a small message needs no descriptor.
    let reply = busy
        .send("from@example.net", "during@example.com", &content(100))
        .unwrap();
    match reply.code {
        250 => accepted.push("during@example.com".to_owned()),
        code => assert!((400..500).contains(&code), "{}", reply.text),
    }
    drop(open);
    let again = wait::until_true(wait::SOON, || {
        let Ok(mut client) = Client::connect(address) else {
            return false;
        };
        let reply = client.send("from@example.net", "after@example.com", &content(100));
        reply.is_ok_and(|reply| reply.code == 250)
    });
    assert!(again, "it takes mail again without a restart");
    accepted.push("after@example.com".to_owned());
    let lines = server
        .log()
        .lines()
        .filter(|line| line.contains("descriptor"))
        .count();
    assert!(lines < 60, "the log is not flooded: {lines} lines");
    limit(&server, 1024);
    all_arrive(&sink, &accepted);
}

fn limit(server: &Server, descriptors: usize) {
    let status = Command::new("prlimit")
        .arg(format!("--pid={}", server.pid()))
        .arg(format!("--nofile={descriptors}:"))
        .status();
    assert!(status.unwrap().success());
}
