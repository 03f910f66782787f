//! Sockets as a program in C has them: for scripts that speak a protocol of their own.
//!
//! [`Net::connect`](crate::Net::connect) is what everything else uses; here are datagrams, local sockets, binding, peeking and
//! half-closing besides. No call blocks: what has to wait is polled.

mod system;

use std::io;
use std::net::{Shutdown, SocketAddr};
use std::path::PathBuf;
use std::rc::Rc;
use std::task::{Context, Poll};

pub(crate) use system::{adopt, open};

use crate::LocalFuture;

/// The family of a socket's addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    Inet,
    /// IPv6.
    Inet6,
    /// Paths of this machine.
    Unix,
}

/// What a socket carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A stream of bytes.
    Stream,
    /// Single messages.
    Datagram,
}

/// An end of a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// Address and port.
    Inet(SocketAddr),
    /// A path.
    Unix(PathBuf),
}

/// An open socket; it closes when it is dropped.
///
/// Errors are the system's, with its numbers.
pub trait Socket {
    /// Gives it an address of this machine, with `nonlocal` also one that is none of it yet.
    ///
    /// # Errors
    /// As the system reports it.
    fn bind(&self, at: &Address, nonlocal: bool) -> io::Result<()>;

    /// Connects to a peer.
    fn connect(self: Rc<Self>, to: Address) -> LocalFuture<'static, io::Result<()>>;

    /// Receives up to `buffer.len()` bytes, or a datagram; 0 when the peer sends no more. With `peek` they stay to be
    /// received again.
    fn poll_recv(
        &self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
        peek: bool,
    ) -> Poll<io::Result<usize>>;

    /// Receives what is there already.
    ///
    /// # Errors
    /// `WouldBlock` when nothing is there; else as the system reports it.
    fn recv_now(&self, buffer: &mut [u8], peek: bool) -> io::Result<usize>;

    /// Sends as much as the system takes, or a datagram.
    fn poll_send(&self, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>>;

    /// Ends one direction or both.
    ///
    /// # Errors
    /// As the system reports it.
    fn shutdown(&self, how: Shutdown) -> io::Result<()>;
}
