//! The client's end of a session: stream, replies that are not written yet, and a timer.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use angarium_effects::{Clock, Connection, LocalFuture, Monotonic};
use angarium_smtp::session::{TransportError, TransportErrorKind};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A connection in clear, under TLS, or gone.
pub(super) enum Stream {
    Clear(Box<dyn Connection>),
    Tls(Box<tokio_rustls::server::TlsStream<Box<dyn Connection>>>),
    /// A failed handshake has used the connection up.
    Gone,
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Clear(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Gone => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Clear(stream) => Pin::new(stream).poll_write(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
            Stream::Gone => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Clear(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Gone => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Clear(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Gone => Poll::Ready(Ok(())),
        }
    }
}

/// A timer that is moved often and seldom rings: moving it to a later time costs nothing, it is set
/// anew only when the earlier time has come.
pub(crate) struct Timer {
    clock: Rc<dyn Clock>,
    armed: Option<(Monotonic, LocalFuture<'static, ()>)>,
}

impl Timer {
    pub(crate) fn new(clock: Rc<dyn Clock>) -> Timer {
        Timer { clock, armed: None }
    }

    /// Ready once the clock shows `at`.
    pub(crate) fn poll(&mut self, at: Monotonic, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            match &mut self.armed {
                Some((armed, sleep)) if *armed <= at => {
                    if sleep.as_mut().poll(cx).is_pending() {
                        return Poll::Pending;
                    }
                    let reached = *armed >= at;
                    self.armed = None;
                    if reached {
                        return Poll::Ready(());
                    }
                }
                _ => self.armed = Some((at, self.clock.sleep_until(at))),
            }
        }
    }
}

/// The stream with its unwritten replies.
pub(super) struct Wire {
    pub(super) stream: Stream,
    pub(super) timer: Timer,
    clock: Rc<dyn Clock>,
    out: Vec<u8>,
    /// How much of `out` is written.
    done: usize,
    /// Why nothing can be written any more.
    pub(super) broken: Option<TransportError>,
}

impl Wire {
    pub(super) fn new(clock: Rc<dyn Clock>, stream: Stream) -> Wire {
        Wire {
            stream,
            timer: Timer::new(Rc::clone(&clock)),
            clock,
            out: Vec::new(),
            done: 0,
            broken: None,
        }
    }

    /// Adds bytes to be written.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        if self.broken.is_none() {
            self.out.extend_from_slice(bytes);
        }
    }

    /// Writes what is there. Ready when all of it is written, or when the stream is broken.
    fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.out.is_empty() {
            return Poll::Ready(());
        }
        let outcome = loop {
            let rest = self.out.get(self.done..).unwrap_or_default();
            if rest.is_empty() {
                match Pin::new(&mut self.stream).poll_flush(cx) {
                    Poll::Ready(outcome) => break outcome,
                    Poll::Pending => return Poll::Pending,
                }
            }
            match Pin::new(&mut self.stream).poll_write(cx, rest) {
                Poll::Ready(Ok(0)) => break Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(count)) => self.done = self.done.saturating_add(count),
                Poll::Ready(Err(error)) => break Err(error),
                Poll::Pending => return Poll::Pending,
            }
        };
        if let Err(error) = outcome {
            self.fail(socket_error(&error));
        }
        self.clear();
        Poll::Ready(())
    }

    fn clear(&mut self) {
        self.done = 0;
        self.out.clear();
        // An idle session keeps no buffer that a long burst made big.
        if self.out.capacity() > 1024 {
            self.out = Vec::new();
        }
    }

    /// Notes what broke the stream; the first cause counts.
    pub(super) fn fail(&mut self, error: TransportError) {
        self.broken.get_or_insert(error);
        self.clear();
    }

    /// Writes everything; gives up on a client that does not take it within `limit`.
    pub(super) async fn flush(&mut self, limit: Duration) {
        let mut give_up = None;
        std::future::poll_fn(|cx| {
            if self.poll_out(cx).is_ready() {
                return Poll::Ready(());
            }
            let at = *give_up.get_or_insert_with(|| self.clock.monotonic() + limit);
            if self.timer.poll(at, cx).is_pending() {
                return Poll::Pending;
            }
            self.fail(TransportError {
                kind: TransportErrorKind::Socket,
                reason: "the client does not take its replies".to_owned(),
                code: None,
            });
            Poll::Ready(())
        })
        .await;
    }

    /// Awaits `future`. If it is not done at once, writes what is there meanwhile.
    pub(super) async fn beside<T>(&mut self, future: impl Future<Output = T>) -> T {
        let mut future = std::pin::pin!(future);
        std::future::poll_fn(|cx| {
            let result = future.as_mut().poll(cx);
            if result.is_pending() {
                let _ = self.poll_out(cx);
            }
            result
        })
        .await
    }

    /// Ends the stream in an orderly way: says that nothing more comes, then reads for a while what
    /// the client had under way.
    pub(super) async fn close(&mut self, linger: Duration, scratch: &std::cell::RefCell<Vec<u8>>) {
        let end = self.clock.monotonic() + linger;
        let mut shut = false;
        std::future::poll_fn(|cx| {
            if !shut {
                match Pin::new(&mut self.stream).poll_shutdown(cx) {
                    Poll::Ready(Ok(())) => shut = true,
                    Poll::Ready(Err(_)) => return Poll::Ready(()),
                    Poll::Pending => return self.timer.poll(end, cx),
                }
            }
            // What the client sent is thrown away, in clear: to decrypt it would be a waste.
            let scratch = &mut *scratch.borrow_mut();
            loop {
                let mut buffer = ReadBuf::new(scratch);
                let read = match &mut self.stream {
                    Stream::Clear(stream) => Pin::new(stream).poll_read(cx, &mut buffer),
                    Stream::Tls(stream) => Pin::new(stream.get_mut().0).poll_read(cx, &mut buffer),
                    Stream::Gone => return Poll::Ready(()),
                };
                match read {
                    Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {}
                    Poll::Ready(_) => return Poll::Ready(()),
                    Poll::Pending => return self.timer.poll(end, cx),
                }
                // A client that goes on sending does not keep the loop, or the connection, longer.
                if self.clock.monotonic() >= end {
                    return Poll::Ready(());
                }
            }
        })
        .await;
        self.stream = Stream::Gone;
    }
}

/// A failed read or write as the machine takes it.
pub(super) fn socket_error(error: &io::Error) -> TransportError {
    TransportError {
        kind: TransportErrorKind::Socket,
        reason: error.to_string(),
        code: error.raw_os_error().map(i64::from),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use angarium_effects::VirtualClock;
    use std::task::Waker;

    #[test]
    fn a_timer_that_was_moved_rings_at_the_last_time() {
        let clock = VirtualClock::default();
        let mut timer = Timer::new(Rc::new(clock.clone()));
        let mut cx = Context::from_waker(Waker::noop());
        let second = |seconds| Monotonic(Duration::from_secs(seconds));
        assert!(timer.poll(second(10), &mut cx).is_pending());
        assert!(timer.poll(second(20), &mut cx).is_pending());
        clock.advance(Duration::from_secs(15));
        assert!(timer.poll(second(20), &mut cx).is_pending());
        // An earlier time counts at once.
        assert!(timer.poll(second(15), &mut cx).is_ready());
        assert!(timer.poll(second(20), &mut cx).is_pending());
        clock.advance(Duration::from_secs(5));
        assert!(timer.poll(second(20), &mut cx).is_ready());
    }
}
