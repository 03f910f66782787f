//! The effects over the operating system: the one place that may use what the ban-list forbids.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "this module implements the traits over the system"
)]

use std::cell::RefCell;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::OnceLock;
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant, SystemTime};

use rustix::net::{AddressFamily, SocketFlags, SocketType};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::LocalFuture;
use crate::clock::{Clock, Monotonic};
use crate::local::{self, Bound, LocalError, LocalListener, Rights};
use crate::net::{Accepted, Connect, Connection, Listener, Net};
use crate::random::{Random, uuid_from_time};
use crate::socket::{self, Family, Kind};

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

/// The same, with ids of transactions that are made from time.
#[derive(Clone, Copy, Debug, Default)]
pub struct TimedRandom;

impl Random for TimedRandom {
    fn fill(&self, bytes: &mut [u8]) {
        SystemRandom.fill(bytes);
    }

    fn transaction_uuid(&self) -> [u8; 16] {
        uuid_from_time(SystemClock.unix(), self.next_u64().to_ne_bytes())
    }
}

/// The system's network through tokio.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemNet;

struct Stream<S>(S);

impl<S: AsyncRead + Unpin> AsyncRead for Stream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Stream<S> {
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

impl Connection for Stream<tokio::net::TcpStream> {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.0.peer_addr()
    }
}

impl Connection for Stream<tokio::net::UnixStream> {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        Err(io::ErrorKind::Unsupported.into())
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

/// A descriptor that is given up for a moment when no further one is left.
struct Reserve(RefCell<Option<OwnedFd>>);

impl Reserve {
    fn of(socket: &impl AsFd) -> io::Result<Reserve> {
        let reserve = socket.as_fd().try_clone_to_owned()?;
        Ok(Reserve(RefCell::new(Some(reserve))))
    }

    /// Takes a connection with the descriptor that this gives up, and gets it back from `socket`.
    fn turn_away(
        &self,
        socket: &impl AsFd,
        take: impl FnOnce(&mut Context<'_>) -> Poll<io::Result<()>>,
    ) -> io::Result<bool> {
        self.0.take();
        let outcome = match take(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(outcome) => outcome.map(|()| true),
            Poll::Pending => Ok(false),
        };
        let mut reserve = self.0.borrow_mut();
        if reserve.is_none() {
            *reserve = socket.as_fd().try_clone_to_owned().ok();
        }
        outcome
    }
}

struct TcpListener {
    listener: tokio::net::TcpListener,
    reserve: Reserve,
}

impl TcpListener {
    fn new(listener: tokio::net::TcpListener) -> io::Result<TcpListener> {
        let reserve = Reserve::of(&listener)?;
        Ok(TcpListener { listener, reserve })
    }
}

impl Listener for TcpListener {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    fn accept(&self) -> LocalFuture<'_, io::Result<Box<dyn Accepted>>> {
        Box::pin(async {
            let (socket, peer) = self.listener.accept().await?;
            let socket = socket.into_std()?;
            let accepted: Box<dyn Accepted> = Box::new(Socket { socket, peer });
            Ok(accepted)
        })
    }

    fn turn_away(&self, reply: &[u8]) -> io::Result<bool> {
        self.reserve.turn_away(&self.listener, |context| {
            let accepted = ready!(self.listener.poll_accept(context));
            Poll::Ready(accepted.and_then(|(socket, _)| {
                let mut socket = socket.into_std()?;
                // There is room for this much in a new socket, so it goes out before the close.
                let _ = io::Write::write(&mut socket, reply);
                let _ = socket.shutdown(std::net::Shutdown::Write);
                Ok(())
            }))
        })
    }
}

/// A client on a socket of this machine that no runtime knows yet.
struct LocalSocket {
    socket: std::os::unix::net::UnixStream,
    uid: u32,
}

impl Accepted for LocalSocket {
    fn peer_addr(&self) -> SocketAddr {
        SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0)
    }

    fn peer_uid(&self) -> Option<u32> {
        Some(self.uid)
    }

    fn adopt(self: Box<Self>) -> io::Result<Box<dyn Connection>> {
        let stream = tokio::net::UnixStream::from_std(self.socket)?;
        Ok(Box::new(Stream(stream)))
    }
}

struct UnixListener {
    listener: LocalListener,
    reserve: Reserve,
}

impl Listener for UnixListener {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn accept(&self) -> LocalFuture<'_, io::Result<Box<dyn Accepted>>> {
        Box::pin(async {
            let (socket, _) = self.listener.socket().accept().await?;
            let uid = socket.peer_cred()?.uid();
            let socket = socket.into_std()?;
            let accepted: Box<dyn Accepted> = Box::new(LocalSocket { socket, uid });
            Ok(accepted)
        })
    }

    fn turn_away(&self, reply: &[u8]) -> io::Result<bool> {
        let listener = self.listener.socket();
        self.reserve.turn_away(listener, |context| {
            let accepted = ready!(listener.poll_accept(context));
            Poll::Ready(accepted.and_then(|(socket, _)| {
                let mut socket = socket.into_std()?;
                let _ = io::Write::write(&mut socket, reply);
                let _ = socket.shutdown(std::net::Shutdown::Write);
                Ok(())
            }))
        })
    }
}

/// Accepts on a socket of this machine that is bound already.
///
/// # Errors
/// When it cannot be registered with the calling thread's runtime.
pub fn adopt_local(bound: Bound) -> io::Result<Rc<dyn Listener>> {
    let listener = bound.adopt()?;
    let reserve = Reserve::of(listener.socket())?;
    Ok(Rc::new(UnixListener { listener, reserve }))
}

impl Net for SystemNet {
    fn connect(
        &self,
        to: SocketAddr,
        how: &Connect,
    ) -> LocalFuture<'static, io::Result<Box<dyn Connection>>> {
        let how = how.clone();
        Box::pin(async move {
            let socket = match to {
                SocketAddr::V4(_) => tokio::net::TcpSocket::new_v4()?,
                SocketAddr::V6(_) => tokio::net::TcpSocket::new_v6()?,
            };
            if how.nonlocal {
                match to {
                    SocketAddr::V4(_) => rustix::net::sockopt::set_ip_freebind(&socket, true)?,
                    SocketAddr::V6(_) => rustix::net::sockopt::set_ipv6_freebind(&socket, true)?,
                }
            }
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
        SystemNet::bind(at, backlog)?.adopt()
    }

    fn listen_local(
        &self,
        path: &Path,
        rights: &Rights,
        backlog: Option<u32>,
    ) -> Result<Rc<dyn Listener>, LocalError> {
        let bound = local::listen_with(path, rights, backlog)?;
        adopt_local(bound).map_err(|error| LocalError::System {
            path: path.to_owned(),
            error,
        })
    }

    fn connect_local(&self, path: &Path) -> LocalFuture<'static, io::Result<Box<dyn Connection>>> {
        let path = path.to_owned();
        Box::pin(async move {
            let stream = tokio::net::UnixStream::connect(path).await?;
            let connection: Box<dyn Connection> = Box::new(Stream(stream));
            Ok(connection)
        })
    }

    fn socket(&self, family: Family, kind: Kind) -> io::Result<Rc<dyn socket::Socket>> {
        socket::open(family, kind)
    }

    fn adopt(&self, socket: OwnedFd) -> io::Result<Rc<dyn socket::Socket>> {
        socket::adopt(socket)
    }
}

/// A socket that is listened on and that no runtime knows yet.
#[derive(Debug)]
pub struct BoundTcp(std::net::TcpListener);

impl SystemNet {
    /// Listens as [`Net::listen`] does, where no runtime is needed: a process opens its sockets before it
    /// gives up its rights.
    ///
    /// # Errors
    /// As the system reports it.
    pub fn bind(at: SocketAddr, backlog: Option<u32>) -> io::Result<BoundTcp> {
        let family = match at {
            SocketAddr::V4(_) => AddressFamily::INET,
            SocketAddr::V6(_) => AddressFamily::INET6,
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
        if at.is_ipv6() {
            rustix::net::sockopt::set_ipv6_v6only(&socket, true)?;
        }
        rustix::net::sockopt::set_socket_reuseaddr(&socket, true)?;
        rustix::net::bind(&socket, &at)?;
        // The system cuts a longer one to its own limit.
        let backlog = i32::try_from(backlog.unwrap_or(4096)).unwrap_or(i32::MAX);
        rustix::net::listen(&socket, backlog)?;
        Ok(BoundTcp(socket.into()))
    }
}

impl BoundTcp {
    /// Where it listens.
    ///
    /// # Errors
    /// As the system reports it.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// Binds it to the calling thread's runtime.
    ///
    /// # Errors
    /// When it cannot be registered there.
    pub fn adopt(self) -> io::Result<Rc<dyn Listener>> {
        let listener = tokio::net::TcpListener::from_std(self.0)?;
        Ok(Rc::new(TcpListener::new(listener)?))
    }
}

/// Descriptors that the process has open, and how many it may have; none where the system does not say.
#[must_use]
#[allow(
    clippy::disallowed_methods,
    reason = "this is where the system is asked"
)]
pub fn descriptors() -> Option<(u64, u64)> {
    let most = rustix::process::getrlimit(rustix::process::Resource::Nofile).current?;
    // The listing itself has one.
    let open = std::fs::read_dir("/proc/self/fd").ok()?.count();
    Some((u64::try_from(open).ok()?.saturating_sub(1), most))
}

/// The system's host name.
#[must_use]
pub fn hostname() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}
