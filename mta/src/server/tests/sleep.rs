//! Scripts that sleep hold up nobody else.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;

use super::bundle::with_scripts;
use super::sockets::{Real, connect, run};
use super::support::{MemoryStore, settle, simulate};

const SLEEP: &str = "sleep(1); Accept([\"reason\" => \"awake\"]);";

#[test]
fn two_thousand_sleeping_sessions_wake_at_the_same_moment() {
    let store = Arc::new(MemoryStore::default());
    let (settings, _) = with_scripts(&store, &[("rcptto", SLEEP)]);
    simulate(settings, async |bench| {
        let mut clients = Vec::new();
        for _ in 0..2000 {
            let mut client = bench.connect().await;
            client.send("EHLO c\r\nMAIL FROM:<>\r\n").await;
            client.expect("220").await;
            client.expect("250 ").await;
            client.expect("250 2.1.0").await;
            clients.push(client);
        }
        for client in &mut clients {
            client.send("RCPT TO:<a@b.test>\r\nNOOP\r\n").await;
        }
        // Each turn of the loop serves some tens of tasks.
        for _ in 0..50 {
            settle().await;
        }
        bench.clock.advance(Duration::from_millis(999));
        for _ in 0..50 {
            settle().await;
        }
        for client in &mut clients {
            let mut byte = [0];
            let read = client.connection.read(&mut byte);
            let waits = futures_util::future::poll_immediate(std::pin::pin!(read)).await;
            assert!(waits.is_none(), "an answer before its time");
        }
        bench.clock.advance(Duration::from_millis(1));
        for client in &mut clients {
            client.expect("250 2.1.5 awake").await;
            client.expect("250 2.0.0").await;
        }
    });
}

#[test]
#[expect(clippy::disallowed_methods, reason = "real sessions take real time")]
fn two_thousand_sleeping_sessions_hold_no_thread() {
    const COUNT: usize = 2000;
    if !descriptors(2 * COUNT as u64 + 200) {
        println!("skipped: this system gives a process too few descriptors");
        return;
    }
    let store = Arc::new(MemoryStore::default());
    let (settings, _) = with_scripts(&store, &[("rcptto", SLEEP)]);
    let real = Real::start(settings, 1);
    run(async {
        let mut clients = Vec::new();
        for _ in 0..COUNT {
            let mut client = connect(real.address).await;
            client.send("EHLO c\r\nMAIL FROM:<>\r\n").await;
            client.expect("220").await;
            client.expect("250 ").await;
            client.expect("250 2.1.0").await;
            clients.push(client);
        }
        let began = std::time::Instant::now();
        for client in &mut clients {
            client.send("RCPT TO:<a@b.test>\r\n").await;
        }
        for client in &mut clients {
            client.expect("250 2.1.5 awake").await;
        }
        let took = began.elapsed();
        println!("{COUNT} sessions slept a second on one worker and answered after {took:?}");
        // One after another they would take half an hour. How soon all are answered is measured by tests/bench/sessions.py;
        // here other work may keep the processor for long.
        let bounds = Duration::from_secs(1)..Duration::from_secs(120);
        assert!(bounds.contains(&took), "{took:?}");
    });
    real.stop();
}

/// Whether the process may have so many descriptors.
fn descriptors(count: u64) -> bool {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= count) {
        return true;
    }
    let wider = Rlimit {
        current: Some(count),
        maximum: limit.maximum,
    };
    limit.maximum.is_none_or(|most| most >= count) && setrlimit(Resource::Nofile, wider).is_ok()
}
