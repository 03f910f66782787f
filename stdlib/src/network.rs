//! The network as scripts reach it: what the host lends, and what its configuration knows by name.

use std::cell::Cell;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use angarium_effects::Net;
use angarium_runtime::native::{Cx, Throw};
use rustls::sign::CertifiedKey;

use crate::http::background::Background;

/// Sockets that one execution may have open at once.
const MAX_OPEN: u32 = 128;

/// The network, as an extension of the [`Host`](angarium_runtime::host::Host). Without it functions that need a network
/// raise an Exception.
pub struct Network {
    /// Connections and sockets.
    pub net: Rc<dyn Net>,
    /// What the configuration knows by name.
    pub names: Arc<dyn Names>,
    /// Requests that nobody waits for; none: they cannot be queued here.
    pub background: Option<Arc<Background>>,
}

/// What scripts call by an id of the configuration.
pub trait Names: Send + Sync {
    /// The address of `addresses[]` with this id.
    fn address(&self, id: &str) -> Option<IpAddr>;

    /// The key pair of `pki.private[]` with this id; an error says why it cannot be used.
    fn key_pair(&self, id: &str) -> Option<Result<Arc<CertifiedKey>, String>>;
}

/// A configuration without names.
pub struct NoNames;

impl Names for NoNames {
    fn address(&self, _id: &str) -> Option<IpAddr> {
        None
    }

    fn key_pair(&self, _id: &str) -> Option<Result<Arc<CertifiedKey>, String>> {
        None
    }
}

/// The network of this execution.
///
/// # Errors
/// An Exception where there is none.
pub(crate) fn network(cx: &Cx<'_>, function: &str) -> Result<Rc<Network>, Throw> {
    cx.host
        .extension::<Network>()
        .ok_or_else(|| Throw::error(format!("{function}: there is no network here")))
}

/// How many sockets an execution has open.
#[derive(Default)]
struct OpenSockets(Cell<u32>);

/// One of them.
pub(crate) struct Seat(Rc<OpenSockets>);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.0.set(self.0.0.get().saturating_sub(1));
    }
}

/// A place among the open sockets; none when there are too many.
pub(crate) fn seat(cx: &Cx<'_>) -> Option<Seat> {
    let sockets = cx.host.extension::<OpenSockets>().unwrap_or_else(|| {
        let sockets = Rc::<OpenSockets>::default();
        cx.host.extend(Rc::clone(&sockets));
        sockets
    });
    if sockets.0.get() >= MAX_OPEN {
        return None;
    }
    sockets.0.set(sockets.0.get() + 1);
    Some(Seat(sockets))
}
