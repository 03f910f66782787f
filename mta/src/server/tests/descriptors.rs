//! A server that runs out of descriptors, in a process of its own.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;

use super::sockets::{Real, connect, run};
use super::support::{MemoryStore, settings};

const CHILD: &str = "ANGARIUM_TEST_DESCRIPTORS";
const NAME: &str =
    "server::tests::descriptors::out_of_descriptors_clients_get_421_and_later_ones_are_served";

#[test]
fn out_of_descriptors_clients_get_421_and_later_ones_are_served() {
    if std::env::var_os(CHILD).is_some() {
        return child();
    }
    let program = std::env::current_exe().expect("this program");
    let mut child = Command::new("sh")
        .args(["-c", "ulimit -n 40; exec \"$0\" --exact --nocapture \"$1\""])
        .arg(program)
        .arg(NAME)
        .env(CHILD, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("a shell");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let address = lines
        .find_map(|line| Some(line.ok()?.split_once("LISTENING ")?.1.to_owned()))
        .expect("the address");
    let address = address.parse().expect("an address");
    run(async {
        let (mut served, mut turned_away) = (Vec::new(), 0);
        for _ in 0..60 {
            let mut client = connect(address).await;
            let banner = client.reply().await.expect("a line");
            if banner.starts_with("220") {
                served.push(client);
            } else {
                assert!(banner.starts_with("421 4.3.2"), "{banner}");
                client.expect_end().await;
                turned_away += 1;
            }
        }
        assert!(
            served.len() > 5 && turned_away > 5,
            "{} {turned_away}",
            served.len()
        );
        // Those who were let in are not disturbed, and a place that is free is given again.
        for client in &mut served {
            client.command("EHLO c", "250 ").await;
            client.message("x\r\n", "250").await;
        }
        for mut client in served.drain(..4) {
            client.command("QUIT", "221").await;
            client.expect_end().await;
        }
        let mut client = connect(address).await;
        client.greet().await;
        client.message("x\r\n", "250").await;
    });
    drop(child.stdin.take());
    assert!(child.wait().expect("an end").success());
}

/// The server; it runs until its input ends.
fn child() {
    let store = Arc::new(MemoryStore::default());
    let real = Real::start(settings(&store), 1);
    println!("LISTENING {}", real.address);
    let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
    assert!(real.server.counters.turned_away.get() > 5);
    real.stop();
}
