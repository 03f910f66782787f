//! The header of a proxy before anything else (`servers[].proxyprotocol`), and what came in behind it.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use angarium_effects::{Connection, Monotonic};
use angarium_smtp::proxy_protocol::{Header, ProxyError, parse};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::wire::{Stream, Wire};

/// How long a proxy may take for its header.
pub(super) const LIMIT: Duration = Duration::from_secs(5);
/// Bytes of one read.
const PIECE: usize = 4096;

/// Why there is no header: what the log says.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoHeader {
    #[error(transparent)]
    Malformed(#[from] ProxyError),
    #[error("the PROXY header is not complete after {} seconds", LIMIT.as_secs())]
    Late,
    #[error("the connection ended within the PROXY header")]
    Cut,
    #[error("the connection broke: {0}")]
    Broken(io::Error),
}

/// Reads the header. What the client has sent behind it is what the stream gives next.
pub(super) async fn read_header(wire: &mut Wire, until: Monotonic) -> Result<Header, NoHeader> {
    let mut read = Vec::new();
    let header = poll_fn(|cx| {
        loop {
            match Pin::new(&mut wire.stream).poll_piece(cx, &mut read) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(NoHeader::Cut)),
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(NoHeader::Broken(error))),
                Poll::Pending => return wire.timer.poll(until, cx).map(|()| Err(NoHeader::Late)),
            }
            if let Some((header, used)) = parse(&read)? {
                read.drain(..used);
                return Poll::Ready(Ok(header));
            }
        }
    })
    .await?;
    if !read.is_empty()
        && let Stream::Clear(connection) = std::mem::replace(&mut wire.stream, Stream::Gone)
    {
        wire.stream = Stream::Clear(Box::new(Behind {
            read,
            done: 0,
            connection,
        }));
    }
    Ok(header)
}

impl Stream {
    /// Appends what is there to `read`; 0 at the end of the stream.
    fn poll_piece(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        read: &mut Vec<u8>,
    ) -> Poll<io::Result<usize>> {
        let mut piece = [0; PIECE];
        let mut buffer = ReadBuf::new(&mut piece);
        std::task::ready!(self.poll_read(cx, &mut buffer))?;
        read.extend_from_slice(buffer.filled());
        Poll::Ready(Ok(buffer.filled().len()))
    }
}

/// A connection of which some bytes have been read already.
struct Behind {
    read: Vec<u8>,
    done: usize,
    connection: Box<dyn Connection>,
}

impl AsyncRead for Behind {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let rest = self.read.get(self.done..).unwrap_or_default();
        if rest.is_empty() {
            self.read = Vec::new();
            return Pin::new(&mut self.connection).poll_read(cx, buf);
        }
        let piece = rest.get(..buf.remaining()).unwrap_or(rest);
        buf.put_slice(piece);
        let count = piece.len();
        self.done = self.done.saturating_add(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Behind {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.connection).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_shutdown(cx)
    }
}

impl Connection for Behind {
    fn local_addr(&self) -> io::Result<std::net::SocketAddr> {
        self.connection.local_addr()
    }

    fn peer_addr(&self) -> io::Result<std::net::SocketAddr> {
        self.connection.peer_addr()
    }
}
