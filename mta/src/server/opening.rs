//! The beginning of a session: the socket on its worker, TLS from the first byte, the client's name,
//! the machine. And the handshake, which STARTTLS shares.

use std::future::poll_fn;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, OnceLock};
use std::task::Poll;

use angarium_effects::random::uuid_text;
use angarium_effects::{Accepted, Monotonic};
use angarium_smtp::server::Server;
use angarium_smtp::session::{Connection, TlsInfo, TransportError, TransportErrorKind};

use super::event::Event;
use super::name;
use super::settings::{Seat, Settings};
use super::wire::{Stream, Wire};
use crate::connections::{Entry, Inbound, Lever};
use crate::worker::Worker;

/// A session whose machine is about to speak.
pub(super) struct Opened {
    pub(super) worker: Rc<Worker>,
    pub(super) settings: Arc<Settings>,
    pub(super) seat: Seat,
    pub(super) machine: Server,
    pub(super) wire: Wire,
    /// Its place in the list of connections.
    pub(super) entry: Entry<Inbound>,
    /// When the client was accepted.
    pub(super) began: Monotonic,
}

/// A client that has come in and has not been spoken to, whatever the protocol.
pub(super) struct Arrived {
    pub(super) worker: Rc<Worker>,
    pub(super) settings: Arc<Settings>,
    pub(super) seat: Seat,
    pub(super) wire: Wire,
    pub(super) entry: Entry<Inbound>,
    pub(super) began: Monotonic,
    /// Both ends.
    pub(super) connection: Connection,
    /// TLS, where it starts with the first byte.
    pub(super) tls: Option<TlsInfo>,
}

/// Does everything before the banner. None when the client is gone by then.
pub(super) async fn open(
    worker: Rc<Worker>,
    accepted: Box<dyn Accepted>,
    seat: Seat,
    settings: Arc<Settings>,
    implicit: bool,
) -> Option<Opened> {
    let arrived = arrive(worker, accepted, seat, settings, implicit).await?;
    let Arrived {
        worker,
        settings,
        seat,
        wire,
        entry,
        began,
        connection,
        tls,
    } = arrived;
    let effects = &worker.effects;
    let random = Rc::clone(&effects.random);
    let machine = Server::new(
        Arc::clone(&settings.smtp),
        connection,
        tls,
        Box::new(move || uuid_text(&random.transaction_uuid())),
        effects.clock.monotonic().0,
    );
    Some(Opened {
        worker,
        settings,
        seat,
        machine,
        wire,
        entry,
        began,
    })
}

/// Takes a client over: its place in the lists, TLS from the first byte, its name, a line in the log. None when it is gone
/// by then.
pub(super) async fn arrive(
    worker: Rc<Worker>,
    accepted: Box<dyn Accepted>,
    seat: Seat,
    settings: Arc<Settings>,
    implicit: bool,
) -> Option<Arrived> {
    seat.server.counters.connections.one();
    let peer = accepted.peer_addr();
    let began = worker.effects.clock.monotonic();
    let connection = accepted.adopt().ok()?;
    let local = connection.local_addr().ok()?;
    let remote_ip = peer.ip().to_canonical();
    let effects = &worker.effects;
    let entry = seat.server.connections.enter(Inbound {
        id: uuid_text(&effects.random.transaction_uuid()),
        remote: (remote_ip, peer.port()).into(),
        local: (local.ip().to_canonical(), local.port()).into(),
        began,
        remote_ptr: OnceLock::new(),
        transactions: AtomicU32::new(0),
        lever: Lever::default(),
    });
    let mut wire = Wire::new(Rc::clone(&effects.clock), Stream::Clear(connection));
    let look_up = async {
        if settings.remote_ptr {
            let (clock, dns) = (Rc::clone(&effects.clock), Rc::clone(&effects.dns));
            name::look_up(clock, dns, remote_ip).await
        } else {
            name::Found::default()
        }
    };
    let handshake = async {
        if !implicit {
            return Ok(None);
        }
        let limit = settings.smtp.timeouts.command;
        let until = effects.clock.monotonic() + limit;
        start_tls(&mut wire, &settings, Some(until)).await.map(Some)
    };
    let (found, tls) = tokio::select! {
        biased;
        // There is nobody yet who would understand a reply.
        () = entry.lever.pulled() => return None,
        both = async { tokio::join!(look_up, handshake) } => both,
    };
    if implicit {
        note_handshake(&seat, remote_ip, tls.as_ref().err());
    }
    let tls = tls.ok()?;
    if let Some(name) = &found.name {
        // It is set only here.
        let _ = entry.remote_ptr.set(name.clone());
    }
    let connection = Connection {
        id: entry.id.clone(),
        priority: 0,
        remote_ip,
        remote_port: peer.port(),
        remote_ptr: found.name,
        remote_uid: None,
        local_ip: local.ip().to_canonical(),
        local_port: local.port(),
        server_id: seat.server.id.clone(),
        proxy_ip: None,
        proxy_tlv: None,
        name_lookup: found.lookup,
    };
    seat.server.tell(&Event::Connect {
        connection: connection.id.clone(),
        remoteip: remote_ip,
        remoteport: peer.port(),
        server: seat.server.id.clone(),
        ptr: connection.remote_ptr.clone(),
    });
    Some(Arrived {
        worker,
        settings,
        seat,
        wire,
        entry,
        began,
        connection,
        tls,
    })
}

/// Does a handshake on the stream. If it fails, the stream is gone.
pub(super) async fn start_tls(
    wire: &mut Wire,
    settings: &Settings,
    until: Option<Monotonic>,
) -> Result<TlsInfo, TransportError> {
    let failed = |reason: &str| TransportError {
        kind: TransportErrorKind::Tls,
        reason: reason.to_owned(),
        code: None,
    };
    let (Some(tls), Stream::Clear(connection)) = (
        &settings.tls,
        std::mem::replace(&mut wire.stream, Stream::Gone),
    ) else {
        return Err(failed("this server has no certificate"));
    };
    let mut handshake = std::pin::pin!(tls.accept(connection));
    let timer = &mut wire.timer;
    let outcome = poll_fn(|cx| match (handshake.as_mut().poll(cx), until) {
        (Poll::Ready(outcome), _) => Poll::Ready(Some(outcome)),
        (Poll::Pending, Some(until)) => timer.poll(until, cx).map(|()| None),
        (Poll::Pending, None) => Poll::Pending,
    })
    .await;
    let (stream, info) = outcome.ok_or_else(|| failed("timeout during the handshake"))??;
    wire.stream = Stream::Tls(Box::new(stream));
    Ok(info)
}

/// Counts a handshake, and tells of one that failed.
pub(super) fn note_handshake(seat: &Seat, client: IpAddr, error: Option<&TransportError>) {
    match error {
        None => seat.server.counters.tls.one(),
        Some(error) => {
            seat.server.counters.tls_failed.one();
            seat.server.tell(&Event::TlsFailed {
                server: seat.server.id.clone(),
                peer: client,
                reason: error.reason.clone(),
            });
        }
    }
}
