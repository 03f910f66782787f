//! TLS: STARTTLS and TLS from the first byte, in memory and with OpenSSL's client.

use std::sync::Arc;
use std::time::Duration;

use angarium_config::server::Implicit;
use angarium_effects::Connection;
use angarium_smtp::verdict::Verdict;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};

use super::super::{Event, Settings};
use super::support::{Client, MemoryStore, Scripted, scripted, settings, settle, simulate};
use crate::tls::{ClientTls, KeyPair, ServerTls, TlsStream, Versions, self_signed};

pub(super) fn with_tls(mut settings: Settings) -> Settings {
    let made = self_signed(&["mx.example"]).expect("a pair");
    let pair = KeyPair::from_pem(made.certificate.as_bytes(), made.key.as_bytes()).expect("a pair");
    settings.tls = Some(ServerTls::new(&pair, [], Versions::default()).expect("TLS"));
    Arc::make_mut(&mut settings.smtp).extensions.starttls = true;
    settings
}

/// The client's side of TLS as a connection.
struct Secure(TlsStream<Box<dyn Connection>>);

impl AsyncRead for Secure {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Secure {
    fn poll_write(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        buf: &[u8],
    ) -> std::task::Poll<std::io::Result<usize>> {
        std::pin::Pin::new(&mut self.0).poll_write(cx, buf)
    }
    fn poll_flush(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.0).poll_flush(cx)
    }
    fn poll_shutdown(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

impl Connection for Secure {
    fn local_addr(&self) -> std::io::Result<std::net::SocketAddr> {
        self.0.get_ref().0.local_addr()
    }
    fn peer_addr(&self) -> std::io::Result<std::net::SocketAddr> {
        self.0.get_ref().0.peer_addr()
    }
}

pub(super) async fn secure(client: Client) -> Client {
    let tls = ClientTls::new(Versions::default(), true).expect("TLS");
    let address = client.connection.peer_addr().expect("an address").ip();
    let (stream, _) = tls
        .connect(client.connection, "mx.example", address)
        .await
        .expect("TLS");
    Client::new(Box::new(Secure(stream)))
}

#[test]
fn starttls_drops_what_came_in_clear_behind_it_and_forgets_the_greeting() {
    let store = Arc::new(MemoryStore::default());
    let hooks = Scripted::new(|session, _| {
        let tls = session.tls.as_ref().map(|tls| tls.protocol.clone());
        let verdict = match tls.as_deref() {
            None | Some("TLSv1.3") => Verdict::accept(),
            _ => Verdict::Error,
        };
        (Duration::ZERO, verdict)
    });
    simulate(with_tls(scripted(&store, hooks)), async |bench| {
        let mut client = bench.connect().await;
        client.greet().await;
        client
            .send("STARTTLS\r\nMAIL FROM:<injected@example.org>\r\n")
            .await;
        client.expect("220").await;
        let mut client = secure(client).await;
        client.command("RCPT TO:<a@b.example>", "503").await;
        client.command("EHLO client.example", "250 ").await;
        client.message("x\r\n", "250").await;
        let queued = store.queued.lock().expect("the lock").clone();
        assert!(String::from_utf8_lossy(&queued[0].1).contains("with ESMTPS"));
        client.command("QUIT", "221").await;
        client.expect_end().await;
        assert_eq!(bench.server.counters.tls.get(), 1);
    });
}

#[test]
fn tls_from_the_first_byte_comes_before_the_banner() {
    let store = Arc::new(MemoryStore::default());
    let mut settings = with_tls(settings(&store));
    settings.implicit = Implicit::All(true);
    simulate(settings, async |bench| {
        let mut client = secure(bench.connect().await).await;
        client.greet().await;
        client.message("x\r\n", "250").await;
    });
}

#[test]
fn a_record_that_is_malformed_ends_the_session_with_its_reason() {
    let store = Arc::new(MemoryStore::default());
    let hooks = Scripted::new(|_, _| (Duration::ZERO, Verdict::accept()));
    let mut settings = with_tls(scripted(&store, hooks));
    settings.implicit = Implicit::All(true);
    let records: [&[u8]; 4] = [
        b"NOOP in clear\r\n",
        // Data that nobody has encrypted, a record that is too long, and a handshake out of turn.
        b"\x17\x03\x03\x00\x20xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        b"\x17\x03\x03\xff\xff",
        b"\x16\x03\x01\x00\x04\x01\x00\x00\x00",
    ];
    simulate(settings, async |bench| {
        for record in records {
            let connection = bench.connect().await.connection;
            let tls = ClientTls::new(Versions::default(), true).expect("TLS");
            let address = connection.peer_addr().expect("an address").ip();
            let shaken = tls.connect(connection, "mx.example", address).await;
            let (mut stream, _) = shaken.expect("TLS");
            // The session has begun: until then it would be a handshake that fails.
            settle().await;
            let below = stream.get_mut().0;
            below.write_all(record).await.expect("sent");
            settle().await;
            assert_eq!(bench.server.open(), 0, "{record:?}");
        }
        let events = bench.events.lock().expect("the lock");
        let ends: Vec<String> = events
            .iter()
            .filter(|event| matches!(event, Event::Disconnect { .. }))
            .map(ToString::to_string)
            .collect();
        assert_eq!(ends.len(), records.len());
        assert!(ends[0].contains("corrupt message"), "{}", ends[0]);
        assert!(ends[1].contains("decrypt"), "{}", ends[1]);
        assert!(ends[2].contains("corrupt message"), "{}", ends[2]);
    });
}

#[test]
fn a_handshake_that_fails_or_takes_too_long_ends_the_session_and_is_told() {
    let store = Arc::new(MemoryStore::default());
    let hooks = Scripted::new(|_, _| (Duration::ZERO, Verdict::accept()));
    let seen = Arc::clone(&hooks.seen);
    simulate(with_tls(scripted(&store, hooks)), async |bench| {
        let mut client = bench.connect().await;
        client.greet().await;
        client.command("STARTTLS", "220").await;
        client.send("EHLO in clear\r\n").await;
        settle().await;
        assert_eq!(bench.server.open(), 0);
        let mut client = bench.connect().await;
        client.greet().await;
        client.command("STARTTLS", "220").await;
        bench.advance(Duration::from_secs(300)).await;
        assert_eq!(bench.server.open(), 0);
        let seen = seen.lock().expect("the lock");
        let ends: Vec<&String> = seen
            .iter()
            .filter(|text| text.starts_with("closed"))
            .collect();
        assert!(
            ends[0].starts_with("closed by remote 220 after STARTTLS ("),
            "{ends:?}"
        );
        assert_eq!(ends[1], "closed by local 220 after STARTTLS");
        let events = bench.events.lock().expect("the lock");
        let failed = events
            .iter()
            .filter(|event| matches!(event, Event::TlsFailed { .. }))
            .count();
        assert_eq!(failed, 2);
    });
}
