//! The effects over the operating system: the one place that may use what the ban-list forbids.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "this module implements the traits over the system"
)]

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::OnceLock;
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::LocalFuture;
use crate::clock::{Clock, Monotonic};
use crate::net::{Connect, Connection, Listener, Net};
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

/// Wraps a socket that was accepted elsewhere (the acceptor hands sockets to workers).
///
/// # Errors
/// When the socket cannot be registered with this thread's runtime.
pub fn adopt(socket: std::net::TcpStream) -> io::Result<Box<dyn Connection>> {
    socket.set_nonblocking(true)?;
    socket.set_nodelay(true)?;
    Ok(Box::new(Stream(tokio::net::TcpStream::from_std(socket)?)))
}

struct TcpListener(tokio::net::TcpListener);

impl Listener for TcpListener {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    fn accept(&self) -> LocalFuture<'_, io::Result<(Box<dyn Connection>, SocketAddr)>> {
        Box::pin(async {
            let (socket, peer) = self.0.accept().await?;
            socket.set_nodelay(true)?;
            let connection: Box<dyn Connection> = Box::new(Stream(socket));
            Ok((connection, peer))
        })
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
        socket.set_reuseaddr(true)?;
        socket.bind(at)?;
        Ok(Rc::new(TcpListener(
            socket.listen(backlog.unwrap_or(1024))?,
        )))
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
