//! Connections that wait for another request to the same server (RFC 9112 §9.3).
//!
//! They are kept by thread, and belong to the network on which they were opened. Nobody looks at them while they wait:
//! those that are too old are dropped with the next request of the thread, of which there are few enough to wait for it.

use std::cell::RefCell;
use std::future::poll_fn;
use std::net::IpAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use angarium_effects::{Monotonic, Net};
use hyper::client::conn::http1;

use super::exchange::{Outside, Tap, Wire};
use super::outgoing::Outgoing;
use super::proxy::Proxy;
use super::request::Request;
use crate::tls::TlsOptions;

/// Connections of a thread that wait.
const MOST: usize = 32;
/// Those of them that lead to one server.
const MOST_ALIKE: usize = 4;
/// The longest wait.
const LONGEST: Duration = Duration::from_secs(30);
/// The longest wait before a request that must not be made twice: servers hang up after five seconds and more, and a
/// request that meets the hanging up is lost.
pub(super) const SAFE: Duration = Duration::from_secs(2);

thread_local! {
    static IDLE: RefCell<Vec<Idle>> = const { RefCell::new(Vec::new()) };
}

/// A connection with hyper's hands on both of its ends.
pub(super) struct Session {
    pub sender: http1::SendRequest<Outgoing>,
    pub connection: Pin<Box<http1::Connection<Wire, Outgoing>>>,
    /// Sees what is received.
    pub tap: Rc<Tap>,
}

struct Idle {
    net: Weak<dyn Net>,
    key: Key,
    since: Monotonic,
    session: Session,
}

/// All that a connection was made with.
#[derive(Clone)]
pub(super) struct Key {
    secure: bool,
    host: String,
    port: u16,
    proxy: Option<Proxy>,
    path: Option<PathBuf>,
    source: Option<IpAddr>,
    verify_host: bool,
    tls: TlsOptions,
}

impl Key {
    /// That of a request.
    pub fn of(request: &Request) -> Key {
        Key {
            secure: request.url.secure,
            host: request.url.host.clone(),
            port: request.url.port,
            proxy: request.proxy.clone(),
            path: request.path.clone(),
            source: request.source,
            verify_host: request.verify_host,
            tls: request.tls.clone(),
        }
    }

    fn fits(&self, other: &Key) -> bool {
        let Key {
            secure,
            host,
            port,
            proxy,
            path,
            source,
            verify_host,
            tls,
        } = self;
        (*secure, host, port, proxy, path, source)
            == (
                other.secure,
                &other.host,
                &other.port,
                &other.proxy,
                &other.path,
                &other.source,
            )
            && (!secure || (*verify_host == other.verify_host && same_tls(tls, &other.tls)))
    }
}

fn same_tls(one: &TlsOptions, other: &TlsOptions) -> bool {
    let TlsOptions {
        protocols,
        ciphers,
        verify_chain,
        system_roots,
        names,
        certificate,
    } = one;
    let same_certificate = match (certificate, &other.certificate) {
        (None, None) => true,
        (Some(one), Some(other)) => Arc::ptr_eq(one, other) || one.cert == other.cert,
        _ => false,
    };
    same_certificate
        && (protocols, ciphers, verify_chain, system_roots, names)
            == (
                &other.protocols,
                &other.ciphers,
                &other.verify_chain,
                &other.system_roots,
                &other.names,
            )
}

/// A connection that can be used again, if one waits that is still open. `longest` is how long it may have waited.
pub(super) async fn take(outside: &Outside, key: &Key, longest: Duration) -> Option<Session> {
    loop {
        let now = outside.clock.monotonic();
        let found = IDLE.with_borrow_mut(|idle| {
            idle.retain(|idle| idle.net.strong_count() > 0 && now.since(idle.since) < LONGEST);
            let fits = |idle: &Idle| {
                std::ptr::addr_eq(idle.net.as_ptr(), Rc::as_ptr(&outside.net))
                    && now.since(idle.since) < longest
                    && idle.key.fits(key)
            };
            // The one that waited least is most likely open.
            let at = idle.iter().rposition(fits)?;
            Some(idle.remove(at).session)
        });
        let mut session = found?;
        if is_ready(&mut session).await {
            return Some(session);
        }
    }
}

/// Keeps a connection whose answer has been read, if the server leaves it open.
pub(super) async fn keep(outside: &Outside, key: Key, mut session: Session) {
    if !is_ready(&mut session).await {
        return;
    }
    let kept = Idle {
        net: Rc::downgrade(&outside.net),
        since: outside.clock.monotonic(),
        key,
        session,
    };
    IDLE.with_borrow_mut(|idle| {
        let alike = idle.iter().filter(|idle| idle.key.fits(&kept.key)).count();
        let oldest = match alike >= MOST_ALIKE {
            true => idle.iter().position(|idle| idle.key.fits(&kept.key)),
            false => (idle.len() >= MOST).then_some(0),
        };
        if let Some(oldest) = oldest {
            idle.remove(oldest);
        }
        idle.push(kept);
    });
}

/// Whether a request can be sent; lets the connection see what has come without waiting for more.
async fn is_ready(session: &mut Session) -> bool {
    poll_fn(|context| {
        let over = session.connection.as_mut().poll(context).is_ready();
        Poll::Ready(!over && session.sender.is_ready())
    })
    .await
}
