//! The beginning of a session: the socket on its worker, the header of a proxy, TLS from the first
//! byte, the client's name, the machine. And the handshake, which STARTTLS shares.

use std::cell::RefCell;
use std::future::poll_fn;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, OnceLock};
use std::task::Poll;

use angarium_effects::random::uuid_text;
use angarium_effects::{Accepted, Monotonic};
use angarium_smtp::proxy_protocol::{Header, Origin};
use angarium_smtp::server::Server;
use angarium_smtp::session::{Connection, TlsInfo, TransportError, TransportErrorKind};
use nix::unistd::{Uid, User};

use super::event::Event;
use super::settings::{LINGER, Seat, Settings, TOO_MANY};
use super::wire::{Stream, Wire};
use super::{name, proxied, submission};
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

/// What comes before the first word of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Prelude {
    /// The header of a proxy.
    pub(super) proxied: bool,
    /// A TLS handshake.
    pub(super) implicit: bool,
}

/// The ends of a connection.
struct Ends {
    remote: SocketAddr,
    local: SocketAddr,
    /// The user of a client on a socket of this machine.
    uid: Option<u32>,
    /// The proxy between us.
    proxy: Option<IpAddr>,
    /// What it says besides, in hex.
    tlvs: Option<String>,
}

impl Ends {
    /// Puts what the header of a proxy says in place of the ends of its own connection.
    fn behind(self, header: &Header) -> Ends {
        let tlvs = header.tlvs.iter().map(|byte| format!("{byte:02x}"));
        let tlvs = (!header.tlvs.is_empty()).then(|| tlvs.collect());
        let proxy = Some(self.remote.ip());
        match header.origin {
            Origin::Proxy => self,
            Origin::Unknown => Ends {
                proxy,
                tlvs,
                ..self
            },
            Origin::Client {
                source,
                destination,
            } => Ends {
                remote: canonical(source),
                local: canonical(destination),
                proxy,
                tlvs,
                ..self
            },
        }
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    (address.ip().to_canonical(), address.port()).into()
}

/// Does everything before the banner. None when the client is gone by then.
pub(super) async fn open(
    worker: Rc<Worker>,
    accepted: Box<dyn Accepted>,
    seat: Seat,
    settings: Arc<Settings>,
    prelude: Prelude,
) -> Option<Opened> {
    let arrived = arrive(worker, accepted, seat, settings, prelude).await?;
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

/// Takes a client over: whom a proxy brings, its place in the lists, TLS from the first byte, its name, a line in the
/// log. None when it is gone by then.
pub(super) async fn arrive(
    worker: Rc<Worker>,
    accepted: Box<dyn Accepted>,
    mut seat: Seat,
    settings: Arc<Settings>,
    prelude: Prelude,
) -> Option<Arrived> {
    let began = worker.effects.clock.monotonic();
    let (remote, uid) = (canonical(accepted.peer_addr()), accepted.peer_uid());
    let connection = accepted.adopt().ok()?;
    let local = match uid {
        // A client on this machine, which shall be told from no other one.
        Some(_) => SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0),
        None => canonical(connection.local_addr().ok()?),
    };
    let mut ends = Ends {
        remote,
        local,
        uid,
        proxy: None,
        tlvs: None,
    };
    let effects = &worker.effects;
    let mut wire = Wire::new(Rc::clone(&effects.clock), Stream::Clear(connection));
    if prelude.proxied {
        let until = began + proxied::LIMIT;
        let read = tokio::select! {
            biased;
            () = worker.stopped() => return None,
            read = proxied::read_header(&mut wire, until) => read,
        };
        match read {
            Ok(header) => ends = ends.behind(&header),
            Err(error) => {
                seat.server.counters.proxy_failed.one();
                seat.server.tell(&Event::ProxyFailed {
                    server: seat.server.id.clone(),
                    peer: ends.remote.ip(),
                    reason: error.to_string(),
                });
                return None;
            }
        }
        if !seat.claim(ends.remote.ip(), &settings) {
            seat.server.counters.refused.one();
            refuse(wire, &settings, prelude).await;
            return None;
        }
    }
    seat.server.counters.connections.one();
    let remote_ip = ends.remote.ip();
    let staged = seat.server.staged(remote_ip, began, &*effects.random);
    let settings = staged.unwrap_or(settings);
    let entry = seat.server.connections.enter(Inbound {
        id: uuid_text(&effects.random.transaction_uuid()),
        remote: ends.remote,
        local: ends.local,
        began,
        remote_ptr: OnceLock::new(),
        transactions: AtomicU32::new(0),
        lever: Lever::default(),
    });
    let user = user_of(&worker, ends.uid);
    let look_up = async {
        if settings.remote_ptr && ends.uid.is_none() {
            let (clock, dns) = (Rc::clone(&effects.clock), Rc::clone(&effects.dns));
            name::look_up(clock, dns, remote_ip).await
        } else {
            name::Found::default()
        }
    };
    let handshake = async {
        if !prelude.implicit {
            return Ok(None);
        }
        let limit = settings.smtp.timeouts.command;
        let until = effects.clock.monotonic() + limit;
        start_tls(&mut wire, &settings, remote_ip, Some(until))
            .await
            .map(Some)
    };
    let (found, tls, user) = tokio::select! {
        biased;
        // There is nobody yet who would understand a reply.
        () = entry.lever.pulled() => return None,
        () = worker.stopped(), if prelude.implicit => return None,
        all = async { tokio::join!(look_up, handshake, user) } => all,
    };
    if prelude.implicit {
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
        remote_port: ends.remote.port(),
        remote_ptr: found.name,
        remote_uid: ends.uid,
        remote_user: user,
        local_ip: ends.local.ip(),
        local_port: ends.local.port(),
        server_id: seat.server.id.clone(),
        proxy_ip: ends.proxy,
        proxy_tlv: ends.tlvs,
        name_lookup: found.lookup,
    };
    seat.server.tell(&Event::Connect {
        connection: connection.id.clone(),
        remoteip: remote_ip,
        remoteport: ends.remote.port(),
        server: seat.server.id.clone(),
        proxyip: connection.proxy_ip,
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

/// The name of a user. The machine may have to ask others for it, so a thread that may wait does that.
async fn user_of(worker: &Worker, uid: Option<u32>) -> Option<String> {
    let uid = Uid::from_raw(uid?);
    let found = worker.pool.call(move || User::from_uid(uid)).await;
    Some(found.ok()?.ok()??.name)
}

/// Tells a client that there are too many. Where TLS starts with the first byte there is nothing to say.
pub(super) async fn refuse(mut wire: Wire, settings: &Settings, prelude: Prelude) {
    if prelude.implicit {
        return;
    }
    wire.push(match settings.web {
        None => TOO_MANY,
        Some(_) => submission::TOO_MANY,
    });
    wire.flush(LINGER).await;
    if wire.broken.is_none() {
        wire.close(LINGER, &RefCell::new(vec![0; 512])).await;
    }
}

/// Does a handshake on the stream with the client at this address. If it fails, the stream is gone.
pub(super) async fn start_tls(
    wire: &mut Wire,
    settings: &Settings,
    client: IpAddr,
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
    let mut handshake = std::pin::pin!(tls.accept(connection, client));
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
