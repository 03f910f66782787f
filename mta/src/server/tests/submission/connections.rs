//! Connections with HTTP: times, limits, ends, what comes before the first request.

use std::sync::Arc;
use std::time::Duration;

use angarium_config::server::Implicit;
use tokio::io::AsyncWriteExt as _;

use super::super::super::Web;
use super::super::support::{MemoryStore, settle, simulate, simulate_behind};
use super::super::tls::{secure, with_tls};
use super::{request, usual, web};

#[test]
fn slow_clients_are_let_go() {
    let store = Arc::new(MemoryStore::default());
    let mut settings = web(&store);
    {
        let smtp = Arc::make_mut(&mut settings.smtp);
        smtp.timeouts.idle = Duration::from_secs(100);
        smtp.timeouts.command = Duration::from_secs(30);
        smtp.timeouts.data = Duration::from_secs(600);
        smtp.limits.min_rate = 10;
    }
    simulate(settings, async |bench| {
        let bytes = request("", &usual());
        // Says nothing.
        let mut silent = bench.connect().await;
        bench.advance(Duration::from_secs(99)).await;
        assert_eq!(silent.ask(&bytes).await.status, 200);
        bench.advance(Duration::from_secs(101)).await;
        assert_eq!(silent.line().await, None);
        // A byte of the head each second: the time is that of the whole head.
        let mut slow = bench.connect().await;
        for byte in &bytes[..40] {
            if slow.connection.write_all(&[*byte]).await.is_err() {
                break;
            }
            bench.advance(Duration::from_secs(1)).await;
        }
        assert_eq!(slow.answer().await.unwrap().status, 408);
        assert_eq!(slow.line().await, None);
        // A byte of the body each second: too few in a minute.
        let head = bytes
            .windows(4)
            .position(|four| four == b"\r\n\r\n")
            .unwrap()
            + 4;
        let mut slow = bench.connect().await;
        slow.say(&bytes[..head]).await;
        for byte in bytes[head..].iter().take(72) {
            if slow.connection.write_all(&[*byte]).await.is_err() {
                break;
            }
            bench.advance(Duration::from_secs(1)).await;
        }
        assert_eq!(slow.answer().await.unwrap().status, 408);
        assert_eq!(slow.line().await, None);
        // Ten bytes a second are enough, however long it takes.
        let mut steady = bench.connect().await;
        steady.say(&bytes[..head]).await;
        for piece in bytes[head..].chunks(20) {
            steady.say(piece).await;
            bench.advance(Duration::from_secs(2)).await;
        }
        assert_eq!(steady.answer().await.unwrap().status, 200);
        assert_eq!(store.messages().len(), 4);
        let events = bench.events.lock().unwrap();
        let timeouts = events
            .iter()
            .filter(|event| event.to_string().contains("reason=\"timeout\""));
        assert_eq!(timeouts.count(), 3);
    });
}

#[test]
fn a_client_that_goes_does_not_undo_its_message_and_a_stop_waits_for_it() {
    let store = Arc::new(MemoryStore {
        delay: Duration::from_secs(5),
        ..MemoryStore::default()
    });
    simulate(web(&store), async |bench| {
        let bytes = request("", &usual());
        let mut gone = bench.connect().await;
        gone.say(&bytes).await;
        settle().await;
        drop(gone);
        bench.advance(Duration::from_secs(6)).await;
        assert_eq!(store.messages().len(), 2);
        // A stop lets idle clients go and answers who is being served.
        let mut idle = bench.connect().await;
        let mut half = bench.connect().await;
        half.say(&bytes[..30]).await;
        let mut busy = bench.connect().await;
        busy.say(&bytes).await;
        settle().await;
        bench.stopper.stop();
        settle().await;
        assert_eq!(idle.line().await, None);
        assert_eq!(half.line().await, None);
        bench.advance(Duration::from_secs(6)).await;
        let answer = busy.answer().await.expect("an answer");
        assert_eq!((answer.status, answer.closes()), (200, true));
        assert_eq!(busy.line().await, None);
    });
}

#[test]
fn clients_beyond_the_limit_hear_so_in_http() {
    let store = Arc::new(MemoryStore::default());
    let mut settings = web(&store);
    settings.total = 1;
    simulate(settings, async |bench| {
        let mut first = bench.connect().await;
        settle().await;
        let mut second = bench.connect().await;
        let answer = second.answer().await.expect("an answer");
        assert_eq!(
            (answer.status, answer.message().as_str()),
            (503, "too many connections")
        );
        assert_eq!(second.line().await, None);
        assert_eq!(first.ask(&request("", &usual())).await.status, 200);
    });
}

#[test]
fn an_operator_ends_idle_connections() {
    let store = Arc::new(MemoryStore::default());
    simulate(web(&store), async |bench| {
        let mut client = bench.connect().await;
        assert_eq!(client.ask(&request("", &usual())).await.status, 200);
        let open = bench.server.connections.list();
        assert_eq!(open.len(), 1);
        assert_eq!(
            open[0]
                .transactions
                .load(std::sync::atomic::Ordering::Relaxed),
            1
        );
        let reply = angarium_smtp::reply::Reply::fixed(421, None, "bye");
        assert!(open[0].lever.pull(reply));
        settle().await;
        assert_eq!(client.line().await, None);
        drop(client);
        settle().await;
        assert!(bench.server.connections.list().is_empty());
        let events = bench.events.lock().unwrap();
        let last = events.last().unwrap().to_string();
        assert!(
            last.starts_with("disconnect reason=\"closed by the administrator\" transactions=1"),
            "{last}"
        );
    });
}

#[test]
fn https_speaks_tls_from_the_first_byte() {
    let store = Arc::new(MemoryStore::default());
    let mut settings = with_tls(web(&store));
    settings.implicit = Implicit::All(true);
    simulate(settings, async |bench| {
        let mut client = secure(bench.connect().await).await;
        assert_eq!(client.ask(&request("", &usual())).await.status, 200);
        let queued = store.queued.lock().unwrap();
        let text = String::from_utf8_lossy(&queued[0].1).into_owned();
        assert!(text.contains(" with HTTPS\r\n"), "{text}");
    });
}

#[test]
fn who_may_submit_is_decided_by_the_client_that_a_proxy_brings() {
    let store = Arc::new(MemoryStore::default());
    let mut settings = web(&store);
    settings.web = Some(Web::default());
    Arc::make_mut(&mut settings.smtp).relay = vec!["198.51.100.7".parse().unwrap()];
    simulate_behind(&["192.0.2.1"], settings, async |bench| {
        for (client, status) in [("198.51.100.7", 200), ("198.51.100.8", 401)] {
            let header = format!("PROXY TCP4 {client} 203.0.113.1 4711 80\r\n");
            let bytes = [header.as_bytes(), &request("", &usual())].concat();
            let answer = bench.connect().await.ask(&bytes).await;
            assert_eq!(answer.status, status, "{client}");
        }
        // The proxy itself may not, and without a header nobody is answered.
        let mut bare = bench.connect().await;
        bare.say(&request("", &usual())).await;
        assert_eq!(bare.line().await, None);
        let queued = store.queued.lock().unwrap();
        let text = String::from_utf8_lossy(&queued[0].1).into_owned();
        assert!(text.contains("[198.51.100.7]"), "{text}");
    });
}
