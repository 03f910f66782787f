//! Sockets that are opened while the process may still do it, and served later.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

use angarium_config::Config;
use angarium_config::startup::{Listener as Listening, Startup};
use angarium_config::types::Address;
use angarium_effects::local::{self, Bound, LocalError, Rights};
use angarium_effects::net::Connect;
use angarium_effects::socket::{Family, Kind, Socket};
use angarium_effects::system::{BoundTcp, SystemNet, adopt_local};
use angarium_effects::{Connection, Listener, LocalFuture, Net};

use crate::control::socket::{self, SocketError};
use crate::server::listener::Local;

/// Sockets that were opened before there was a server to serve them: the process may give up its rights
/// in between.
#[derive(Clone, Debug, Default)]
pub struct Held(Arc<Mutex<HeldSockets>>);

#[derive(Debug, Default)]
struct HeldSockets {
    ports: Vec<(SocketAddr, BoundTcp)>,
    paths: Vec<(PathBuf, Bound)>,
}

impl Held {
    /// Opens every socket on which the configuration takes mail. One that cannot be opened is tried again
    /// by the server, which says why.
    #[must_use]
    pub fn open(config: &Config) -> Held {
        let mut held = HeldSockets::default();
        let listeners = config.startup.servers.iter();
        for listener in listeners.flat_map(|server| &server.listeners) {
            if let Ok(Some(Local { path, rights })) = unix_socket(listener, &config.startup)
                && let Ok(bound) = local::listen_with(&path, &rights, listener.backlog)
            {
                held.paths.push((path, bound));
            }
            held.hold(listener.address, listener.port, listener.backlog);
        }
        let monitor = &config.startup.monitor.listener;
        held.hold(monitor.address, monitor.port, None);
        Held(Arc::new(Mutex::new(held)))
    }

    fn take(&self, at: SocketAddr) -> Option<BoundTcp> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let place = held.ports.iter().position(|(address, _)| *address == at)?;
        Some(held.ports.remove(place).1)
    }

    fn take_local(&self, at: &Path) -> Option<Bound> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let place = held.paths.iter().position(|(path, _)| path == at)?;
        Some(held.paths.remove(place).1)
    }
}

impl HeldSockets {
    /// Opens a port of one address, or of all.
    fn hold(&mut self, address: Option<Address>, port: Option<u16>, backlog: Option<u32>) {
        let Some(port) = port else { return };
        let addresses = match address {
            Some(address) => vec![address.0],
            None => vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()],
        };
        for address in addresses {
            let at = SocketAddr::new(address, port);
            if let Ok(bound) = SystemNet::bind(at, backlog) {
                self.ports.push((at, bound));
            }
        }
    }
}

/// The system's network, with sockets that are open already.
pub(super) struct HeldNet(pub(super) Held);

impl Net for HeldNet {
    fn connect(
        &self,
        to: SocketAddr,
        how: &Connect,
    ) -> LocalFuture<'static, std::io::Result<Box<dyn Connection>>> {
        SystemNet.connect(to, how)
    }

    fn listen(&self, at: SocketAddr, backlog: Option<u32>) -> std::io::Result<Rc<dyn Listener>> {
        match self.0.take(at) {
            Some(bound) => bound.adopt(),
            None => SystemNet.listen(at, backlog),
        }
    }

    fn listen_local(
        &self,
        path: &Path,
        rights: &Rights,
        backlog: Option<u32>,
    ) -> Result<Rc<dyn Listener>, LocalError> {
        let Some(bound) = self.0.take_local(path) else {
            return SystemNet.listen_local(path, rights, backlog);
        };
        adopt_local(bound).map_err(|error| LocalError::System {
            path: path.to_owned(),
            error,
        })
    }

    fn connect_local(
        &self,
        path: &Path,
    ) -> LocalFuture<'static, std::io::Result<Box<dyn Connection>>> {
        SystemNet.connect_local(path)
    }

    fn socket(&self, family: Family, kind: Kind) -> std::io::Result<Rc<dyn Socket>> {
        SystemNet.socket(family, kind)
    }

    fn adopt(&self, socket: OwnedFd) -> std::io::Result<Rc<dyn Socket>> {
        SystemNet.adopt(socket)
    }
}

/// The Unix socket of a listener, if it has one. A socket without an owner belongs to the user that the
/// process will be.
pub(super) fn unix_socket(
    listener: &Listening,
    startup: &Startup,
) -> Result<Option<Local>, SocketError> {
    let Some(path) = &listener.path else {
        return Ok(None);
    };
    let drop = &startup.environment.privdrop;
    let rights = socket::rights(
        "servers[].listeners[]",
        listener.owner.as_deref().or(drop.user.as_deref()),
        listener.group.as_deref().or(drop.group.as_deref()),
        listener.chmod,
    )?;
    Ok(Some(Local {
        path: path.to_path_buf(),
        rights,
    }))
}
