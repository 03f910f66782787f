//! Sockets of the operating system, watched by tokio.

use std::cell::RefCell;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use rustix::net::{
    self, AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, sockopt,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::{Address, Family, Kind, Socket};
use crate::LocalFuture;

/// A socket, watched once something has to wait for it.
///
/// tokio never forgets that a direction was closed, which a stream that is not connected yet also reports. So nothing is
/// watched before the system has said that it would block, and anew for each connection.
struct SystemSocket {
    socket: Rc<OwnedFd>,
    watch: RefCell<Option<Rc<Watch>>>,
}

type Watch = AsyncFd<Rc<OwnedFd>>;

/// Opens a socket.
pub(crate) fn open(family: Family, kind: Kind) -> io::Result<Rc<dyn Socket>> {
    let family = match family {
        Family::Inet => AddressFamily::INET,
        Family::Inet6 => AddressFamily::INET6,
        Family::Unix => AddressFamily::UNIX,
    };
    let kind = match kind {
        Kind::Stream => SocketType::STREAM,
        Kind::Datagram => SocketType::DGRAM,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = net::socket_with(family, kind, flags, None)?;
    Ok(Rc::new(SystemSocket::new(socket)))
}

/// Takes a socket that somebody else has opened.
pub(crate) fn adopt(socket: OwnedFd) -> io::Result<Rc<dyn Socket>> {
    rustix::io::ioctl_fionbio(&socket, true)?;
    Ok(Rc::new(SystemSocket::new(socket)))
}

impl SystemSocket {
    fn new(socket: OwnedFd) -> SystemSocket {
        SystemSocket {
            socket: Rc::new(socket),
            watch: RefCell::default(),
        }
    }

    fn begin_connect(&self, to: &Address) -> rustix::io::Result<()> {
        match to {
            Address::Inet(address) => net::connect(&self.socket, address),
            Address::Unix(path) => {
                net::connect(&self.socket, &SocketAddrUnix::new(path.as_path())?)
            }
        }
    }

    fn watch(&self) -> io::Result<Rc<Watch>> {
        let mut watch = self.watch.borrow_mut();
        if let Some(watch) = &*watch {
            return Ok(Rc::clone(watch));
        }
        #[allow(
            deprecated,
            reason = "the call that replaces it is unsafe, for descriptors that may close; this one is owned"
        )]
        let made = AsyncFd::new(Rc::clone(&self.socket))?;
        let made = Rc::new(made);
        Ok(Rc::clone(watch.insert(made)))
    }

    fn send_now(&self, data: &[u8]) -> io::Result<usize> {
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        Ok(net::send(&self.socket, data, flags)?)
    }
}

fn would_block<T>(result: &io::Result<T>) -> bool {
    matches!(result, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
}

impl Socket for SystemSocket {
    fn bind(&self, at: &Address, nonlocal: bool) -> io::Result<()> {
        match at {
            Address::Inet(address) => {
                if nonlocal {
                    match address {
                        SocketAddr::V4(_) => sockopt::set_ip_freebind(&self.socket, true)?,
                        SocketAddr::V6(_) => sockopt::set_ipv6_freebind(&self.socket, true)?,
                    }
                }
                net::bind(&self.socket, address)?;
            }
            Address::Unix(path) => {
                net::bind(&self.socket, &SocketAddrUnix::new(path.as_path())?)?;
            }
        }
        Ok(())
    }

    fn connect(self: Rc<Self>, to: Address) -> LocalFuture<'static, io::Result<()>> {
        Box::pin(async move {
            self.watch.take();
            match self.begin_connect(&to) {
                Ok(()) => return Ok(()),
                Err(rustix::io::Errno::INPROGRESS) => {}
                Err(error) => return Err(error.into()),
            }
            let watch = self.watch()?;
            loop {
                let mut guard = watch.ready(Interest::WRITABLE).await?;
                sockopt::socket_error(&self.socket)??;
                if net::getpeername(&self.socket).is_ok() {
                    return Ok(());
                }
                guard.clear_ready();
            }
        })
    }

    fn poll_recv(
        &self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
        peek: bool,
    ) -> Poll<io::Result<usize>> {
        let first = self.recv_now(buffer, peek);
        if !would_block(&first) {
            return Poll::Ready(first);
        }
        let watch = self.watch()?;
        loop {
            let mut guard = ready!(watch.poll_read_ready(context))?;
            if let Ok(result) = guard.try_io(|_| self.recv_now(buffer, peek)) {
                return Poll::Ready(result);
            }
        }
    }

    fn recv_now(&self, buffer: &mut [u8], peek: bool) -> io::Result<usize> {
        let mut flags = RecvFlags::DONTWAIT;
        if peek {
            flags |= RecvFlags::PEEK;
        }
        let (received, _) = net::recv(&self.socket, buffer, flags)?;
        Ok(received)
    }

    fn poll_send(&self, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let first = self.send_now(data);
        if !would_block(&first) {
            return Poll::Ready(first);
        }
        let watch = self.watch()?;
        loop {
            let mut guard = ready!(watch.poll_write_ready(context))?;
            if let Ok(result) = guard.try_io(|_| self.send_now(data)) {
                return Poll::Ready(result);
            }
        }
    }

    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        let how = match how {
            Shutdown::Read => net::Shutdown::Read,
            Shutdown::Write => net::Shutdown::Write,
            Shutdown::Both => net::Shutdown::Both,
        };
        Ok(net::shutdown(&self.socket, how)?)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::net::Ipv4Addr;

    use super::*;
    use crate::net::Net as _;
    use crate::system::SystemNet;

    async fn receive(socket: &dyn Socket, peek: bool) -> Vec<u8> {
        let mut buffer = [0; 64];
        let count = poll_fn(|context| socket.poll_recv(context, &mut buffer, peek))
            .await
            .expect("received");
        buffer[..count].to_vec()
    }

    #[tokio::test]
    async fn datagrams_go_both_ways_between_local_paths() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| Address::Unix(folder.path().join(name));
        let (one, other) = (
            open(Family::Unix, Kind::Datagram).expect("a socket"),
            open(Family::Unix, Kind::Datagram).expect("a socket"),
        );
        one.bind(&at("one"), false).expect("bound");
        other.bind(&at("other"), false).expect("bound");
        Rc::clone(&one)
            .connect(at("other"))
            .await
            .expect("connected");
        Rc::clone(&other)
            .connect(at("one"))
            .await
            .expect("connected");
        let sent = poll_fn(|context| one.poll_send(context, b"ping")).await;
        assert_eq!(sent.expect("sent"), 4);
        assert_eq!(receive(&*other, true).await, b"ping");
        assert_eq!(receive(&*other, false).await, b"ping");
        let error = other.recv_now(&mut [0; 8], false).expect_err("nothing");
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }

    #[tokio::test]
    async fn a_connection_that_is_refused_has_the_number_of_the_system() {
        let socket = open(Family::Inet, Kind::Stream).expect("a socket");
        // A port that was free a moment ago.
        let free = {
            let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            let listener = SystemNet.listen(any, None).expect("a listener");
            listener.local_addr().expect("an address")
        };
        let error = socket
            .connect(Address::Inet(free))
            .await
            .expect_err("refused");
        assert_eq!(error.raw_os_error(), Some(111));
    }
}
