//! The effects over the operating system: the one place that may use what the ban-list forbids.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "this module implements the traits over the system"
)]

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::OnceLock;
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};

use rustix::net::SocketFlags;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};

use crate::LocalFuture;
use crate::clock::{Clock, Monotonic};
use crate::net::{Accepted, Connect, Connection, Listener, Net};
use crate::random::Random;

/// The system's clocks; timers are tokio's.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

fn start() -> (Instant, Duration) {
    static START: OnceLock<(Instant, Duration)> = OnceLock::new();
    *START.get_or_init(|| (Instant::now(), uptime()))
}

/// Time since boot where the system tells it, so that `uptime()` means what it says.
fn uptime() -> Duration {
    std::fs::read_to_string("/proc/uptime")
        .ok()
        .and_then(|text| text.split(' ').next()?.parse::<f64>().ok())
        .map_or(Duration::ZERO, Duration::from_secs_f64)
}

impl Clock for SystemClock {
    fn monotonic(&self) -> Monotonic {
        let (instant, offset) = start();
        Monotonic(offset + instant.elapsed())
    }

    fn unix(&self) -> Duration {
        SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default()
    }

    fn local_offset(&self, unix: i64) -> (i32, String) {
        let zone = jiff::tz::TimeZone::system();
        let Ok(timestamp) = jiff::Timestamp::from_second(unix) else {
            return (0, "UTC".to_owned());
        };
        let info = zone.to_offset_info(timestamp);
        (info.offset().seconds(), info.abbreviation().to_owned())
    }

    fn sleep_until(&self, at: Monotonic) -> LocalFuture<'static, ()> {
        let (instant, offset) = start();
        let at = instant + at.0.saturating_sub(offset);
        Box::pin(tokio::time::sleep_until(at.into()))
    }
}

/// The operating system's random numbers.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemRandom;

impl Random for SystemRandom {
    fn fill(&self, bytes: &mut [u8]) {
        // Without random numbers no identifier and no key is safe: there is nothing better than to stop.
        getrandom::fill(bytes).expect("the operating system has no random numbers");
    }
}

/// The system's network through tokio.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemNet;

struct Stream(tokio::net::TcpStream);

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, bufs)
    }
    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

impl Connection for Stream {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.0.peer_addr()
    }
}

/// A socket that no runtime knows yet.
struct Socket {
    socket: std::net::TcpStream,
    peer: SocketAddr,
}

impl Accepted for Socket {
    fn peer_addr(&self) -> SocketAddr {
        self.peer
    }

    fn adopt(self: Box<Self>) -> io::Result<Box<dyn Connection>> {
        self.socket.set_nodelay(true)?;
        let stream = tokio::net::TcpStream::from_std(self.socket)?;
        Ok(Box::new(Stream(stream)))
    }
}

struct TcpListener {
    listener: AsyncFd<std::net::TcpListener>,
    /// A second descriptor of the listener, given up for a moment when no other is left.
    reserve: RefCell<Option<OwnedFd>>,
}

impl TcpListener {
    fn new(listener: std::net::TcpListener) -> io::Result<TcpListener> {
        let reserve = OwnedFd::from(listener.try_clone()?);
        Ok(TcpListener {
            listener: AsyncFd::try_with_interest(listener, Interest::READABLE)
                .map_err(io::Error::from)?,
            reserve: RefCell::new(Some(reserve)),
        })
    }

    /// One system call: the new socket does not block and is not handed to child processes.
    fn accept_now(listener: &std::net::TcpListener) -> io::Result<Socket> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let (socket, peer) = rustix::net::acceptfrom_with(listener, flags)?;
        let peer = peer
            .and_then(|peer| SocketAddr::try_from(peer).ok())
            .ok_or(io::ErrorKind::ConnectionAborted)?;
        Ok(Socket {
            socket: socket.into(),
            peer,
        })
    }

    fn take_reserve(&self) {
        let mut reserve = self.reserve.borrow_mut();
        if reserve.is_none() {
            *reserve = self.listener.get_ref().try_clone().ok().map(OwnedFd::from);
        }
    }
}

impl Listener for TcpListener {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.get_ref().local_addr()
    }

    fn accept(&self) -> LocalFuture<'_, io::Result<Box<dyn Accepted>>> {
        Box::pin(async {
            let socket = self
                .listener
                .async_io(Interest::READABLE, |listener| Self::accept_now(listener))
                .await?;
            let accepted: Box<dyn Accepted> = Box::new(socket);
            Ok(accepted)
        })
    }

    fn turn_away(&self, reply: &[u8]) -> io::Result<bool> {
        self.reserve.take();
        let accepted = self
            .listener
            .try_io(Interest::READABLE, |listener| Self::accept_now(listener));
        let outcome = match accepted {
            Ok(mut socket) => {
                // There is room for this much in a new socket, so it is sent before the close.
                let _ = io::Write::write(&mut socket.socket, reply);
                let _ = socket.socket.shutdown(std::net::Shutdown::Write);
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        };
        self.take_reserve();
        outcome
    }
}

impl Net for SystemNet {
    fn connect(
        &self,
        to: SocketAddr,
        how: &Connect,
    ) -> LocalFuture<'static, io::Result<Box<dyn Connection>>> {
        let how = how.clone();
        Box::pin(async move {
            if how.nonlocal {
                return Err(io::Error::new(
                    io::ErrorKind::Unsupported,
                    "binding a non-local address is not available",
                ));
            }
            let socket = match to {
                SocketAddr::V4(_) => tokio::net::TcpSocket::new_v4()?,
                SocketAddr::V6(_) => tokio::net::TcpSocket::new_v6()?,
            };
            if let Some(source) = how.source {
                socket.bind(SocketAddr::new(source, 0))?;
            }
            let connecting = socket.connect(to);
            let stream = match how.timeout {
                Some(limit) => tokio::time::timeout(limit, connecting)
                    .await
                    .map_err(|_| {
                        io::Error::new(io::ErrorKind::TimedOut, "connection timed out")
                    })??,
                None => connecting.await?,
            };
            stream.set_nodelay(true)?;
            let connection: Box<dyn Connection> = Box::new(Stream(stream));
            Ok(connection)
        })
    }

    fn listen(&self, at: SocketAddr, backlog: Option<u32>) -> io::Result<Rc<dyn Listener>> {
        let socket = match at {
            SocketAddr::V4(_) => tokio::net::TcpSocket::new_v4()?,
            SocketAddr::V6(_) => tokio::net::TcpSocket::new_v6()?,
        };
        if at.is_ipv6() {
            rustix::net::sockopt::set_ipv6_v6only(&socket, true)?;
        }
        socket.set_reuseaddr(true)?;
        socket.bind(at)?;
        // The system cuts a longer one to its own limit.
        let listener = socket.listen(backlog.unwrap_or(4096))?.into_std()?;
        Ok(Rc::new(TcpListener::new(listener)?))
    }
}

/// The system's host name.
#[must_use]
pub fn hostname() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}
