//! The network: stream connections and listeners.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};

use crate::LocalFuture;

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
    fn accept(&self) -> LocalFuture<'_, io::Result<(Box<dyn Connection>, SocketAddr)>>;
}

/// Opens connections and listeners.
pub trait Net {
    /// Connects to `to`.
    fn connect(
        &self,
        to: SocketAddr,
        how: &Connect,
    ) -> LocalFuture<'static, io::Result<Box<dyn Connection>>>;

    /// Listens on `at`; port 0 takes a free one. `backlog` none: the system's.
    ///
    /// # Errors
    /// As the system reports it.
    fn listen(&self, at: SocketAddr, backlog: Option<u32>) -> io::Result<Rc<dyn Listener>>;
}
