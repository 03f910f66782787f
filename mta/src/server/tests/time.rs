//! Time limits, limits of concurrency and the stop, with a clock that the test moves.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use angarium_smtp::server::Hook;
use angarium_smtp::verdict::Verdict;
use tokio::io::AsyncWriteExt;

use super::super::Event;
use super::support::{MemoryStore, SERVER, Scripted, scripted, settings, settle, simulate};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn an_idle_client_is_told_after_the_idle_time() {
    let store = Arc::new(MemoryStore::default());
    simulate(settings(&store), async |bench| {
        let mut client = bench.connect().await;
        client.greet().await;
        bench.advance(299 * SECOND).await;
        client.command("NOOP", "250").await;
        bench.advance(299 * SECOND).await;
        client.command("NOOP", "250").await;
        bench.advance(300 * SECOND).await;
        client.expect("421 4.4.2").await;
        client.expect_end().await;
    });
}

#[test]
fn a_command_that_comes_byte_by_byte_has_one_time_limit() {
    let store = Arc::new(MemoryStore::default());
    simulate(settings(&store), async |bench| {
        let mut client = bench.connect().await;
        client.greet().await;
        for _ in 0..30 {
            client.send("N").await;
            bench.advance(10 * SECOND).await;
        }
        client.expect("421 4.4.2").await;
        client.expect_end().await;
    });
}

#[test]
fn content_that_trickles_is_given_up() {
    let store = Arc::new(MemoryStore::default());
    simulate(settings(&store), async |bench| {
        let mut client = bench.connect().await;
        client.greet().await;
        client.command("MAIL FROM:<>", "250").await;
        client.command("RCPT TO:<a@b.example>", "250").await;
        client.command("DATA", "354").await;
        // 100 bytes a second are the least; after a minute it is clear that this is less.
        for _ in 0..6 {
            client.send("x\r\n").await;
            bench.advance(10 * SECOND).await;
        }
        client.expect("421 4.4.2").await;
        client.expect_end().await;
        assert!(store.messages().is_empty());
    });
}

#[test]
fn a_client_that_does_not_take_its_replies_is_given_up() {
    let store = Arc::new(MemoryStore::default());
    let hooks = Scripted::new(|_, _| (Duration::ZERO, Verdict::accept()));
    let seen = Arc::clone(&hooks.seen);
    simulate(scripted(&store, hooks), async |bench| {
        bench.net.set_window(64);
        let mut client = bench.connect().await;
        settle().await;
        client.send("EHLO c\r\nHELP\r\nHELP\r\nHELP\r\n").await;
        bench.advance(299 * SECOND).await;
        assert_eq!(bench.server.open(), 1);
        bench.advance(SECOND).await;
        assert_eq!(bench.server.open(), 0);
        let seen = seen.lock().expect("the lock");
        let end = seen.last().expect("an end");
        assert!(end.contains("does not take its replies"), "{end}");
    });
}

#[test]
fn a_client_that_goes_on_sending_after_the_close_gets_its_last_reply_and_two_seconds() {
    let store = Arc::new(MemoryStore::default());
    simulate(settings(&store), async |bench| {
        let mut client = bench.connect().await;
        client.greet().await;
        client.send("QUIT\r\n").await;
        settle().await;
        client.send("more\r\n").await;
        client.expect("221").await;
        client.expect_end().await;
        settle().await;
        assert_eq!(bench.server.open(), 1);
        bench.advance(2 * SECOND).await;
        assert_eq!(bench.server.open(), 0);
    });
}

#[test]
fn too_many_connections_are_refused_without_a_hook() {
    let store = Arc::new(MemoryStore::default());
    let hooks = Scripted::new(|_, _| (Duration::ZERO, Verdict::accept()));
    let seen = Arc::clone(&hooks.seen);
    let mut settings = scripted(&store, hooks);
    settings.total = 3;
    settings.per_ip = 2;
    simulate(settings, async |bench| {
        let (mut first, mut second) = (bench.connect().await, bench.connect().await);
        first.greet().await;
        second.greet().await;
        let mut third = bench.connect().await;
        third.expect("421 4.7.0").await;
        third.expect_end().await;
        let mut other = bench.connect_from([192, 0, 2, 2]).await;
        other.greet().await;
        let mut fourth = bench.connect_from([192, 0, 2, 3]).await;
        fourth.expect("421 4.7.0").await;
        fourth.expect_end().await;
        drop(first);
        settle().await;
        let mut again = bench.connect().await;
        again.greet().await;
        assert_eq!(bench.server.counters.refused.get(), 2);
        let connects = seen
            .lock()
            .expect("the lock")
            .iter()
            .filter(|text| text.ends_with("Connect"))
            .count();
        assert_eq!(connects, 4);
    });
}

#[test]
fn a_stop_ends_idle_sessions_at_once_and_others_after_their_transaction() {
    let store = Arc::new(MemoryStore::default());
    let hooks = Scripted::new(|_, hook| match hook {
        Hook::Eod { .. } => (5 * SECOND, Verdict::accept()),
        _ => (Duration::ZERO, Verdict::accept()),
    });
    simulate(scripted(&store, hooks), async |bench| {
        let mut idle = bench.connect().await;
        idle.greet().await;
        let mut busy = bench.connect().await;
        busy.greet().await;
        busy.command("MAIL FROM:<>", "250").await;
        let mut waiting = bench.connect().await;
        waiting.greet().await;
        waiting.begin_message("w\r\n").await;
        settle().await;
        bench.stopper.stop();
        idle.expect("421 4.3.2").await;
        idle.expect_end().await;
        busy.command("RCPT TO:<a@b.example>", "250").await;
        busy.command("DATA", "354").await;
        busy.send("b\r\n.\r\n").await;
        bench.advance(5 * SECOND).await;
        for client in [&mut busy, &mut waiting] {
            client.expect("250 2.0.0").await;
            client.expect("421 4.3.2").await;
            client.expect_end().await;
        }
        assert_eq!(store.messages().len(), 2);
        drop((idle, busy, waiting));
        settle().await;
        assert_eq!(bench.server.open(), 0);
    });
}

#[test]
fn clients_are_turned_away_while_there_are_no_descriptors_and_let_in_afterwards() {
    let store = Arc::new(MemoryStore::default());
    simulate(settings(&store), async |bench| {
        settle().await;
        let exhausted = |number| (0..number).map(|_| io::Error::from_raw_os_error(24));
        bench.net.fail_accept(SERVER, exhausted(3));
        let mut turned_away = 0;
        for _ in 0..3 {
            let mut client = bench.connect().await;
            settle().await;
            if client
                .line()
                .await
                .is_some_and(|line| line.starts_with("421 4.3.2"))
            {
                client.expect_end().await;
                turned_away += 1;
            }
            bench.net.fail_accept(SERVER, exhausted(1));
        }
        assert!(turned_away > 0);
        assert_eq!(bench.net.turned_away(SERVER), turned_away);
        settle().await;
        let mut client = bench.connect().await;
        client.greet().await;
        client.message("x\r\n", "250").await;
        // Everything happened within a second: one line in the log.
        let told = |bench: &super::support::Bench| {
            let events = bench.events.lock().expect("the lock");
            events
                .iter()
                .filter(|event| matches!(event, Event::OutOfDescriptors { .. }))
                .count()
        };
        assert_eq!(told(&bench), 1);
        bench.advance(SECOND).await;
        bench.net.fail_accept(SERVER, exhausted(1));
        settle().await;
        assert_eq!(told(&bench), 2);
    });
}

#[test]
fn an_error_of_one_connection_does_not_stop_the_listener() {
    let store = Arc::new(MemoryStore::default());
    simulate(settings(&store), async |bench| {
        settle().await;
        // ECONNABORTED is the client's; ENOMEM is ours and is waited out.
        let errors = [103, 12].map(io::Error::from_raw_os_error);
        bench.net.fail_accept(SERVER, errors);
        let mut client = bench.connect().await;
        bench.advance(SECOND).await;
        client.greet().await;
        client.connection.shutdown().await.expect("closed");
        client.expect_end().await;
    });
}
