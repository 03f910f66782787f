//! Sessions over real sockets on loopback, with workers and acceptor as they run in production.

use std::collections::HashSet;
use std::io::Write as _;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use angarium_effects::dns::TableDns;
use angarium_effects::system::{SystemClock, SystemNet, SystemRandom};
use angarium_effects::{Clock, Connect, Net};
use futures_util::future::join_all;
use tokio::task::LocalSet;

use super::super::listener::{Acceptor, BindError, Endpoint};
use super::super::settings::{Settings, VirtualServer};
use super::support::{Client, MemoryStore, settings};
use super::tls::{secure, with_tls};
use crate::pool::HeavyPool;
use crate::worker::{Effects, MakeEffects, Workers};

pub(super) fn effects() -> MakeEffects {
    Arc::new(|_| Effects {
        clock: Rc::new(SystemClock),
        random: Rc::new(SystemRandom),
        dns: Rc::new(TableDns::default()),
        net: Rc::new(SystemNet),
    })
}

/// A server on a free port of loopback.
pub(super) struct Real {
    pub(super) server: Arc<VirtualServer>,
    pub(super) workers: Arc<Workers>,
    pub(super) acceptor: Acceptor,
    pub(super) address: SocketAddr,
}

impl Real {
    pub(super) fn start(settings: Settings, count: usize) -> Real {
        let server = VirtualServer::new("default", settings, Arc::new(|_| {}));
        let pool = HeavyPool::start(1, 8).expect("a thread");
        let workers = Workers::start(count, &effects(), &pool, Duration::from_secs(30));
        let workers = Arc::new(workers.expect("threads"));
        let endpoint = Endpoint {
            server: Arc::clone(&server),
            id: None,
            address: Some([127, 0, 0, 1].into()),
            port: 0,
            backlog: None,
            local: None,
            proxies: [].into(),
        };
        let acceptor = Acceptor::start(&effects(), vec![endpoint], &workers).expect("a free port");
        let address = acceptor.addresses()[0].1;
        Real {
            server,
            workers,
            acceptor,
            address,
        }
    }

    /// Stops in the order of production, and waits.
    pub(super) fn stop(self) {
        self.acceptor.stop();
        self.workers.stop();
        self.workers.join();
    }
}

pub(super) fn run(clients: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    LocalSet::new().block_on(&runtime, clients);
}

pub(super) async fn connect(address: SocketAddr) -> Client {
    let connection = SystemNet.connect(address, &Connect::default()).await;
    Client::new(connection.expect("a connection"))
}

#[test]
fn a_hundred_sessions_at_once_lose_and_mix_nothing() {
    let store = Arc::new(MemoryStore::default());
    let real = Real::start(settings(&store), 2);
    let spread = Arc::new(Mutex::new(Vec::new()));
    run(async {
        let mut clients = Vec::new();
        for _ in 0..100 {
            let mut client = connect(real.address).await;
            client.greet().await;
            clients.push(client);
        }
        let sessions = real
            .workers
            .handles()
            .iter()
            .map(|handle| handle.sessions());
        *spread.lock().expect("the lock") = sessions.collect();
        join_all(
            clients
                .into_iter()
                .enumerate()
                .map(async |(number, mut client)| {
                    for message in 0..3 {
                        let body = format!("{number} {message}\r\n").repeat(200);
                        client.message(&body, "250 2.0.0").await;
                    }
                    client.command("QUIT", "221").await;
                    client.expect_end().await;
                }),
        )
        .await;
    });
    assert_eq!(*spread.lock().expect("the lock"), [50, 50]);
    real.stop();
    let messages: HashSet<String> = store.messages().into_iter().collect();
    assert_eq!(messages.len(), 300);
    for message in messages {
        let first = message.lines().next().expect("a line");
        assert_eq!(message, format!("{first}\r\n").repeat(200));
    }
}

#[test]
fn a_writer_of_single_bytes_and_a_long_line_are_taken() {
    let store = Arc::new(MemoryStore::default());
    let real = Real::start(settings(&store), 1);
    let long = "x".repeat(3 << 20);
    run(async {
        let mut client = connect(real.address).await;
        let text = "EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\nDATA\r\n..\r\nx\r\n.\r\n";
        for byte in text.chars() {
            client.send(&byte.to_string()).await;
        }
        for start in ["220", "250 ", "250", "250", "354", "250 2.0.0"] {
            client.expect(start).await;
        }
        client.message(&format!("{long}\r\n"), "250").await;
        client.command("QUIT", "221").await;
        client.expect_end().await;
    });
    assert_eq!(
        store.messages(),
        [".\r\nx\r\n".to_owned(), format!("{long}\r\n")]
    );
    assert!(real.server.counters.bytes.get() > 3 << 20);
    real.stop();
}

#[test]
fn a_stop_under_load_loses_no_acknowledged_message() {
    let store = Arc::new(MemoryStore {
        delay: Duration::from_millis(2),
        ..MemoryStore::default()
    });
    let real = Real::start(settings(&store), 2);
    let (address, workers) = (real.address, Arc::clone(&real.workers));
    let acknowledged = Mutex::new(Vec::new());
    let count = AtomicUsize::new(0);
    run(async {
        let client = async |number: usize| {
            let mut client = connect(address).await;
            client.greet().await;
            for message in 0.. {
                let body = format!("{number} {message}\r\n");
                let text = format!("MAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\nDATA\r\n{body}.\r\n");
                // The server may close while this is written.
                if tokio::io::AsyncWriteExt::write_all(&mut client.connection, text.as_bytes())
                    .await
                    .is_err()
                {
                    return;
                }
                for start in ["250 2.1.0", "250 2.1.5", "354", "250 2.0.0"] {
                    match client.reply().await {
                        Some(reply) if reply.starts_with(start) => {}
                        Some(reply) => {
                            assert!(reply.starts_with("421 4.3.2"), "{reply}");
                            return;
                        }
                        None => return,
                    }
                }
                acknowledged.lock().expect("the lock").push(body);
                // In the middle of things, from the thread of the clients.
                if count.fetch_add(1, Ordering::Relaxed) == 200 {
                    workers.stop();
                }
            }
        };
        join_all((0..20).map(client)).await;
    });
    real.stop();
    let stored: HashSet<String> = store.messages().into_iter().collect();
    let acknowledged = acknowledged.into_inner().expect("the lock");
    assert!(acknowledged.len() > 200);
    for body in acknowledged {
        assert!(stored.contains(&body), "{body}");
    }
}

#[test]
fn a_hundred_reloads_under_twenty_busy_sessions_disturb_nobody() {
    let store = Arc::new(MemoryStore::default());
    let real = Real::start(with_tls(settings(&store)), 2);
    let running = AtomicUsize::new(20);
    run(async {
        let client = async |number: usize| {
            for session in 0..5 {
                let mut client = connect(real.address).await;
                client.greet().await;
                if (number + session).is_multiple_of(4) {
                    client.command("STARTTLS", "220").await;
                    client = secure(client).await;
                    client.command("EHLO client.example", "250 ").await;
                }
                for message in 0..5 {
                    let body = format!("{number} {session} {message}\r\n");
                    client.message(&body, "250 2.0.0").await;
                }
                client.command("QUIT", "221").await;
                client.expect_end().await;
            }
            running.fetch_sub(1, Ordering::Relaxed);
        };
        let reloads = async {
            let mut reloads = 0;
            while running.load(Ordering::Relaxed) > 0 || reloads < 100 {
                // A new certificate each time.
                real.server.reload(with_tls(settings(&store)));
                reloads += 1;
                SystemClock.sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::join!(join_all((0..20).map(client)), reloads);
    });
    real.stop();
    assert_eq!(store.messages().len(), 20 * 5 * 5);
}

#[test]
fn starttls_works_with_our_client_and_with_openssl() {
    let store = Arc::new(MemoryStore::default());
    let real = Real::start(with_tls(settings(&store)), 1);
    run(async {
        let mut client = connect(real.address).await;
        client.greet().await;
        client.command("STARTTLS", "220").await;
        let mut client = secure(client).await;
        client.command("EHLO client.example", "250 ").await;
        client
            .message(
                &"y".repeat(200_000).replace("yyyyyyyyyy", "yyyyyyyy\r\n"),
                "250",
            )
            .await;
        client.command("QUIT", "221").await;
        client.expect_end().await;
    });
    for version in ["-tls1_2", "-tls1_3"] {
        let child = Command::new("openssl")
            .args([
                "s_client",
                "-starttls",
                "smtp",
                "-quiet",
                version,
                "-connect",
            ])
            .arg(real.address.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let Ok(mut child) = child else {
            println!("skipped: openssl is not installed");
            break;
        };
        let text = "EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\nDATA\r\nx\r\n.\r\nQUIT\r\n";
        let mut stdin = child.stdin.take().expect("a pipe");
        stdin.write_all(text.as_bytes()).expect("sent");
        let output = child.wait_with_output().expect("an end");
        drop(stdin);
        let output = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.contains("250 2.0.0 Ok: queued as"),
            "{version}: {output}"
        );
        assert!(output.contains("221 2.0.0"), "{version}: {output}");
    }
    real.stop();
}

#[test]
fn a_busy_port_is_a_sentence_that_says_what_to_do() {
    let store = Arc::new(MemoryStore::default());
    let real = Real::start(settings(&store), 1);
    let endpoint = |address: Option<std::net::IpAddr>, port| Endpoint {
        local: None,
        proxies: [].into(),
        server: Arc::clone(&real.server),
        id: None,
        address,
        port,
        backlog: Some(10),
    };
    let start = |endpoint| Acceptor::start(&effects(), vec![endpoint], &real.workers);
    let port = real.address.port();
    let error = start(endpoint(Some(real.address.ip()), port))
        .err()
        .expect("busy");
    assert!(matches!(error, BindError::Busy { .. }));
    insta::assert_snapshot!(error.to_string().replace(&port.to_string(), "PORT"), @"server default cannot listen on 127.0.0.1:PORT: another program uses this port; stop it (`ss -ltnp` shows which one it is) or choose another servers[].listeners[].port");
    let error = start(endpoint(Some([192, 0, 2, 1].into()), 0))
        .err()
        .expect("not ours");
    assert!(matches!(error, BindError::NoSuchAddress { .. }), "{error}");
    // Without an address both families get the same port, as far as the system has them.
    let both = start(endpoint(None, 0)).expect("a free port");
    let ports: HashSet<u16> = both
        .addresses()
        .iter()
        .map(|(_, address)| address.port())
        .collect();
    assert_eq!(ports.len(), 1);
    run(async {
        for (_, address) in both.addresses() {
            let loopback = match address {
                SocketAddr::V4(_) => SocketAddr::new([127, 0, 0, 1].into(), address.port()),
                SocketAddr::V6(_) => {
                    SocketAddr::new(std::net::Ipv6Addr::LOCALHOST.into(), address.port())
                }
            };
            connect(loopback).await.greet().await;
        }
    });
    both.stop();
    real.stop();
}
