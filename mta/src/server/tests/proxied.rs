//! The header of a proxy before the session.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use angarium_config::server::Implicit;
use angarium_smtp::server::Hook;
use angarium_smtp::verdict::{ReplyOptions, Verdict};
use tokio::io::AsyncWriteExt as _;

use super::super::Event;
use super::support::{
    MemoryStore, Scripted, scripted, settings, settle, simulate, simulate_behind,
};
use super::tls::{secure, with_tls};

const PROXY: &str = "192.0.2.1";
const HEADER: &str = "PROXY TCP4 198.51.100.7 203.0.113.1 4711 2525\r\n";

#[test]
fn hooks_and_the_list_see_the_client_that_the_proxy_brings() {
    let store = Arc::new(MemoryStore::default());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&seen);
    let hooks = Scripted::new(move |session, hook| {
        if matches!(hook, Hook::Connect) {
            let of = &session.connection;
            noted.lock().expect("the lock").push(format!(
                "{}:{} to {}:{} by {:?} {:?}",
                of.remote_ip, of.remote_port, of.local_ip, of.local_port, of.proxy_ip, of.proxy_tlv
            ));
        }
        (Duration::ZERO, Verdict::accept())
    });
    simulate_behind(&[PROXY], scripted(&store, hooks), async |bench| {
        let mut client = bench.connect().await;
        client.send(HEADER).await;
        client.greet().await;
        let listed = &bench.server.connections.list()[0];
        assert_eq!(listed.remote, ([198, 51, 100, 7], 4711).into());
        assert_eq!(listed.local, ([203, 0, 113, 1], 2525).into());
        assert_eq!(
            bench
                .server
                .open_from(|from| from.to_string() == "198.51.100.7"),
            1
        );
        client.message("x\r\n", "250").await;
        let queued = store.queued.lock().expect("the lock").clone();
        let text = String::from_utf8_lossy(&queued[0].1).into_owned();
        assert!(text.contains("[198.51.100.7]"), "{text}");
        client.command("QUIT", "221").await;
        client.expect_end().await;

        // In one piece with what follows, and byte by byte.
        let mut client = bench.connect().await;
        client
            .send(&format!("{HEADER}EHLO client.example\r\n"))
            .await;
        client.expect("220").await;
        client.expect("250 ").await;
        let mut client = bench.connect().await;
        for byte in HEADER.chars() {
            client.send(&byte.to_string()).await;
            settle().await;
        }
        client.greet().await;

        let mut client = bench.connect().await;
        let tlvs = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x11\x0a\0\0\x01\x0a\0\0\x02\0\x07\0\x19\xe0\0\x02\xab\xcd";
        client.connection.write_all(tlvs).await.expect("sent");
        client.greet().await;
        let mut client = bench.connect().await;
        client.send("PROXY UNKNOWN\r\n").await;
        client.greet().await;
        let mut client = bench.connect().await;
        let local = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
        client.connection.write_all(local).await.expect("sent");
        client.greet().await;
    });
    let seen = seen.lock().expect("the lock");
    let by_proxy = "by Some(192.0.2.1)";
    let brought = format!("198.51.100.7:4711 to 203.0.113.1:2525 {by_proxy} None");
    assert_eq!(seen[..3], [brought.clone(), brought.clone(), brought]);
    assert_eq!(
        seen[3],
        format!("10.0.0.1:7 to 10.0.0.2:25 {by_proxy} Some(\"e00002abcd\")")
    );
    assert!(seen[4].starts_with("192.0.2.1:") && seen[4].ends_with("by Some(192.0.2.1) None"));
    assert!(seen[5].starts_with("192.0.2.1:") && seen[5].ends_with("by None None"));
}

#[test]
fn without_a_good_header_in_time_there_is_no_session_and_no_hook() {
    let store = Arc::new(MemoryStore::default());
    let hooks = Scripted::new(|_, _| (Duration::ZERO, Verdict::accept()));
    let asked = Arc::clone(&hooks.seen);
    simulate_behind(&["192.0.2.0/24"], scripted(&store, hooks), async |bench| {
        let mut client = bench.connect().await;
        client.send("EHLO client.example\r\n").await;
        client.expect_end().await;
        let mut client = bench.connect().await;
        client
            .send("PROXY TCP4 198.51.100.7 203.0.113.1 4711 99999\r\n")
            .await;
        client.expect_end().await;
        // Byte by byte is no way to stay.
        let mut client = bench.connect().await;
        for byte in HEADER.bytes().take(4) {
            client.connection.write_all(&[byte]).await.expect("sent");
            bench.advance(Duration::from_secs(1)).await;
        }
        assert_eq!(bench.server.open(), 1);
        bench.advance(Duration::from_secs(1)).await;
        client.expect_end().await;
        let mut client = bench.connect().await;
        client.send("PROXY ").await;
        client.connection.shutdown().await.expect("closed");
        client.expect_end().await;
        settle().await;
        assert_eq!(bench.server.open(), 0);
        assert_eq!(bench.server.counters.proxy_failed.get(), 4);
        assert_eq!(bench.server.counters.connections.get(), 0);
        let events = bench.events.lock().expect("the lock");
        let told: Vec<String> = events.iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "proxy serverid=default remoteip=192.0.2.1 error=\"there is no PROXY header\"",
                "proxy serverid=default remoteip=192.0.2.1 error=\"the PROXY line is malformed: a \
                 port is a number of 0 to 65535 without leading zeros\"",
                "proxy serverid=default remoteip=192.0.2.1 error=\"the PROXY header is not \
                 complete after 5 seconds\"",
                "proxy serverid=default remoteip=192.0.2.1 error=\"the connection ended within \
                 the PROXY header\"",
            ]
        );
    });
    assert!(asked.lock().expect("the lock").is_empty());
}

#[test]
fn who_is_no_proxy_cannot_speak_for_others() {
    let store = Arc::new(MemoryStore::default());
    simulate_behind(&[PROXY], settings(&store), async |bench| {
        let mut client = bench.connect_from([192, 0, 2, 2]).await;
        client.send(HEADER).await;
        client.expect("220").await;
        client.expect("500").await;
        let listed = &bench.server.connections.list()[0];
        assert_eq!(listed.remote.ip().to_string(), "192.0.2.2");
    });
    simulate(settings(&store), async |bench| {
        let mut client = bench.connect().await;
        client.greet().await;
        client.command("PROXY UNKNOWN", "500").await;
    });
}

#[test]
fn limits_are_those_of_the_clients_address_and_not_of_the_proxys() {
    let store = Arc::new(MemoryStore::default());
    let hooks = Scripted::new(|_, _| (Duration::ZERO, Verdict::accept()));
    let asked = Arc::clone(&hooks.seen);
    let mut settings = scripted(&store, hooks);
    settings.per_ip = 1;
    settings.total = 3;
    simulate_behind(&[PROXY], settings, async |bench| {
        let mut first = bench.connect().await;
        first.send(HEADER).await;
        first.greet().await;
        let hooks = asked.lock().expect("the lock").len();
        let mut second = bench.connect().await;
        second.send(HEADER).await;
        second.expect("421 4.7.0").await;
        second.expect_end().await;
        drop(second);
        bench.advance(Duration::from_secs(3)).await;
        assert_eq!(asked.lock().expect("the lock").len(), hooks, "no hook ran");
        assert_eq!(bench.server.counters.refused.get(), 1);
        let mut other = bench.connect().await;
        other
            .send("PROXY TCP4 198.51.100.8 203.0.113.1 4711 2525\r\n")
            .await;
        other.greet().await;
        // A proxy that says nothing takes a place too.
        let _silent = bench.connect().await;
        let mut fourth = bench.connect().await;
        fourth.expect("421 4.7.0").await;
        first.command("QUIT", "221").await;
        first.expect_end().await;
        drop(first);
        bench.advance(Duration::from_secs(6)).await;
        let mut again = bench.connect().await;
        again.send(HEADER).await;
        again.greet().await;
    });
}

#[test]
fn the_log_says_for_whom_xclient_speaks_before_the_hook_decides() {
    let store = Arc::new(MemoryStore::default());
    let hooks = Scripted::new(|session, hook| {
        let verdict = match hook {
            Hook::Connect if session.connection.remote_ip.is_ipv6() => {
                Verdict::Reject(ReplyOptions::reason(b"not from there"))
            }
            _ => Verdict::accept(),
        };
        (Duration::ZERO, verdict)
    });
    let mut settings = scripted(&store, hooks);
    Arc::make_mut(&mut settings.smtp).xclient = vec![PROXY.parse().expect("a network")];
    simulate(settings, async |bench| {
        let mut client = bench.connect().await;
        client.expect("220").await;
        let first = "XCLIENT ADDR=198.51.100.7 PORT=4711 NAME=c.example HELO=x+20y LOGIN=us+65r";
        // What follows in the same write is not what the line is about.
        client
            .send(&format!("{first}\r\nXCLIENT ADDR=IPV6:2001:db8::7\r\n"))
            .await;
        client.expect("220").await;
        client.expect("521").await;
        client.expect_end().await;
        settle().await;
        let events = bench.events.lock().expect("the lock");
        let told = events
            .iter()
            .filter(|event| matches!(event, Event::Xclient { .. }))
            .map(ToString::to_string);
        assert_eq!(
            told.collect::<Vec<_>>(),
            [
                "xclient remoteip=198.51.100.7 remoteport=4711 serverid=default \
                 proxyip=192.0.2.1 ptr=c.example helo=\"x y\" sasl=user",
                "xclient remoteip=2001:db8::7 remoteport=4711 serverid=default \
                 proxyip=192.0.2.1",
            ]
        );
    });
}

#[test]
fn tls_from_the_first_byte_comes_behind_the_header() {
    let store = Arc::new(MemoryStore::default());
    let mut settings = with_tls(settings(&store));
    settings.implicit = Implicit::All(true);
    simulate_behind(&[PROXY], settings, async |bench| {
        let mut client = bench.connect().await;
        client.send(HEADER).await;
        let mut client = secure(client).await;
        client.greet().await;
        client.message("x\r\n", "250").await;
        // A header under TLS is none.
        let mut client = bench.connect().await;
        client.send("\u{16}\u{3}\u{1}").await;
        client.expect_end().await;
        let events = bench.events.lock().expect("the lock");
        let failed = |event: &&Event| matches!(event, Event::ProxyFailed { .. });
        assert_eq!(events.iter().filter(failed).count(), 1);
    });
}
