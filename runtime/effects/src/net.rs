//! The network: stream connections and listeners.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};

use crate::LocalFuture;
use crate::local::{LocalError, Rights};
use crate::socket::{Family, Kind, Socket};

/// Both directions of a stream.
pub trait Connection: AsyncRead + AsyncWrite + Unpin {
    /// The address of this end.
    ///
    /// # Errors
    /// As the system reports it.
    fn local_addr(&self) -> io::Result<SocketAddr>;
    /// The address of the other end.
    ///
    /// # Errors
    /// As the system reports it.
    fn peer_addr(&self) -> io::Result<SocketAddr>;
}

/// How to connect.
#[derive(Clone, Debug, Default)]
pub struct Connect {
    /// Local address to bind first.
    pub source: Option<IpAddr>,
    /// Bind it even if it is not an address of this machine.
    pub nonlocal: bool,
    /// Give up after this time.
    pub timeout: Option<Duration>,
}

/// A connection that was accepted and belongs to no thread yet.
pub trait Accepted: Send {
    /// The address of the other end; of one on a socket of this machine, which has none, loopback.
    fn peer_addr(&self) -> SocketAddr;
    /// The user id of the process at the other end, if it is on a socket of this machine.
    fn peer_uid(&self) -> Option<u32> {
        None
    }
    /// Binds it to the calling thread's runtime.
    ///
    /// # Errors
    /// When it cannot be registered there.
    fn adopt(self: Box<Self>) -> io::Result<Box<dyn Connection>>;
}

/// Accepts connections.
pub trait Listener {
    /// The bound address.
    ///
    /// # Errors
    /// As the system reports it.
    fn local_addr(&self) -> io::Result<SocketAddr>;

    /// The next connection.
    ///
    /// # Errors
    /// As the system reports it, `EMFILE` among others; the caller decides whether to go on.
    fn accept(&self) -> LocalFuture<'_, io::Result<Box<dyn Accepted>>>;

    /// Takes a waiting connection when no descriptor is left for it, by means of one that is held
    /// in reserve, sends it `reply` and closes it. Says whether one was waiting.
    ///
    /// # Errors
    /// When the reserve is gone too.
    fn turn_away(&self, reply: &[u8]) -> io::Result<bool>;
}

/// Opens connections and listeners.
pub trait Net {
    /// Connects to `to`.
    fn connect(
        &self,
        to: SocketAddr,
        how: &Connect,
    ) -> LocalFuture<'static, io::Result<Box<dyn Connection>>>;

    /// Listens on `at`; port 0 takes a free one. An IPv6 listener takes IPv6 alone. `backlog` none: the
    /// system's.
    ///
    /// # Errors
    /// As the system reports it.
    fn listen(&self, at: SocketAddr, backlog: Option<u32>) -> io::Result<Rc<dyn Listener>>;

    /// Listens on the socket of this machine at `path`, replacing one that nobody listens on any more.
    ///
    /// # Errors
    /// Somebody listens there, it is no socket, or the system refuses.
    fn listen_local(
        &self,
        path: &Path,
        rights: &Rights,
        backlog: Option<u32>,
    ) -> Result<Rc<dyn Listener>, LocalError> {
        let _ = (rights, backlog);
        Err(LocalError::System {
            path: path.to_owned(),
            error: io::ErrorKind::Unsupported.into(),
        })
    }

    /// Connects to the socket of this machine at `path`. Its ends have no addresses.
    fn connect_local(&self, path: &Path) -> LocalFuture<'static, io::Result<Box<dyn Connection>>> {
        let _ = path;
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }

    /// Opens a socket for a script.
    ///
    /// # Errors
    /// As the system reports it; `Unsupported` on a network that has none.
    fn socket(&self, family: Family, kind: Kind) -> io::Result<Rc<dyn Socket>> {
        let _ = (family, kind);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Takes a socket that somebody else has opened.
    ///
    /// # Errors
    /// As [`Net::socket`].
    fn adopt(&self, socket: OwnedFd) -> io::Result<Rc<dyn Socket>> {
        let _ = socket;
        Err(io::ErrorKind::Unsupported.into())
    }
}
