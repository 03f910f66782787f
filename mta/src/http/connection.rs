//! One connection from its first byte to its last.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use angarium_effects::clock::timeout;
use angarium_effects::{Clock, LocalFuture};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, StatusCode};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::Answer;
use super::head::{Fault, MOST, MOST_FIELDS};
pub use super::wire::Terms;
use super::wire::{Course, Phase, Wire};
use crate::server::Timer;

/// Bytes that hyper reads ahead, and of an answer that it gathers.
const BUFFER: usize = 64 * 1024;
/// How long a connection that is over is listened to, so that the last answer arrives.
const LINGER: Duration = Duration::from_secs(2);

/// Who may end a connection besides its client.
pub trait Ending {
    /// Ready once no further request is wanted.
    fn poll_stop(&mut self, cx: &mut Context<'_>) -> Poll<()>;

    /// Ready once somebody wants it to end at the next chance.
    fn poll_dismissed(&mut self, cx: &mut Context<'_>) -> Poll<()>;
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// In an orderly way, by either side.
    Closed,
    /// What the client sent was no HTTP, or its connection broke.
    Broken,
    /// The client was too slow.
    TimedOut,
    /// Somebody ended it.
    Dismissed,
}

impl Ended {
    /// The reason for the log.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Ended::Closed => "closed",
            Ended::Broken => "no HTTP, or the connection broke",
            Ended::TimedOut => "timeout",
            Ended::Dismissed => "closed by the administrator",
        }
    }
}

/// A request's answer, when it is made.
pub type Answering = LocalFuture<'static, Answer>;

/// Serves a client until it goes, takes too long, or is not wanted any more. `handle` is called for each request, one at
/// a time, and is not given up while it works, unless the task is.
pub async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    clock: Rc<dyn Clock>,
    terms: Terms,
    mut ending: impl Ending,
    handle: impl Fn(Request<Incoming>) -> Answering,
) -> Ended {
    let course = Rc::new(RefCell::new(Course::new(clock.monotonic())));
    // After the stop an answer says that it is the last one.
    let last = Rc::new(Cell::new(false));
    let service = service_fn(|request| {
        let fault = course.borrow().fault();
        let answering = match fault {
            Some(fault) => {
                let answer = refused(fault);
                Box::pin(std::future::ready(answer)) as Answering
            }
            None => handle(request),
        };
        let (course, clock, last) = (Rc::clone(&course), Rc::clone(&clock), Rc::clone(&last));
        Box::pin(async move {
            let answer = answering.await;
            let whole = course.borrow_mut().answered(clock.monotonic());
            let last = last.get() || !whole;
            Ok::<_, Infallible>(answer.into_response(clock.unix(), last))
        }) as LocalFuture<'static, _>
    });
    let wire = Wire::new(stream, Rc::clone(&course), Rc::clone(&clock));
    let mut connection = http1::Builder::new()
        // A request is carried out even if its client does not wait for the answer, as SMTP does it.
        .half_close(true)
        .max_headers(MOST_FIELDS)
        .max_header_size(MOST)
        .max_buf_size(BUFFER)
        .auto_date_header(false)
        .serve_connection(wire, service);
    let mut timer = Timer::new(Rc::clone(&clock));
    let ended = poll_fn(|cx| {
        loop {
            if !last.get() && ending.poll_stop(cx).is_ready() {
                last.set(true);
                Pin::new(&mut connection).graceful_shutdown();
            }
            match connection.poll_without_shutdown(cx) {
                Poll::Ready(Ok(())) => return Poll::Ready(Ended::Closed),
                Poll::Ready(Err(_)) => return Poll::Ready(Ended::Broken),
                Poll::Pending => {}
            }
            let mut course = course.borrow_mut();
            if course.take_change() {
                continue;
            }
            if course.is_idle() && ending.poll_dismissed(cx).is_ready() {
                return Poll::Ready(Ended::Dismissed);
            }
            let Some(deadline) = course.deadline(&terms) else {
                return Poll::Pending;
            };
            if timer.poll(deadline, cx).is_pending() {
                return Poll::Pending;
            }
            if course.is_late(&terms, clock.monotonic()) {
                return Poll::Ready(Ended::TimedOut);
            }
        }
    })
    .await;
    let phase = course.borrow().phase();
    let mut stream = connection.into_parts().io.stream;
    // Nothing has been answered yet to what was begun.
    let begun = matches!(phase, Phase::Head | Phase::Request(_));
    if ended == Ended::TimedOut && begun {
        let _ = timeout(&*clock, LINGER, stream.write_all(TIMEOUT)).await;
    }
    linger(&*clock, stream).await;
    ended
}

/// The answer to a client that takes too long for its request.
const TIMEOUT: &[u8] =
    b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

fn refused(fault: Fault) -> Answer {
    let status = match fault {
        Fault::Coding => StatusCode::NOT_IMPLEMENTED,
        _ => StatusCode::BAD_REQUEST,
    };
    Answer::refused(status, &fault.to_string())
}

/// Ends a stream in an orderly way: what the client has under way is read for a while, since a system that gets data for a
/// closed socket resets the connection, and with it the answer.
async fn linger(clock: &dyn Clock, mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let farewell = async {
        if stream.shutdown().await.is_err() {
            return;
        }
        let mut piece = [0; 8 * 1024];
        while matches!(stream.read(&mut piece).await, Ok(count) if count > 0) {}
    };
    let _ = timeout(clock, LINGER, farewell).await;
}
