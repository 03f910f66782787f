//! The stream as hyper sees it, and the course of its requests.
//!
//! hyper is given the head of a request as a whole, then its body, then nothing until the answer is made. So the head
//! that was checked is the head that hyper reads, and what follows a request is not looked at before its turn, however it
//! was sent. A closed or broken connection is noticed when the answer is written, and never cuts a request short that is
//! under way.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use angarium_effects::{Clock, Monotonic};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::head::{self, Fault, Framing};

/// Bytes that are read at once.
const PIECE: usize = 8 * 1024;
/// A sender's rate is measured over this much time of waiting for it.
const WINDOW: Duration = Duration::from_secs(60);
/// Bytes that `data` bounds the wait for.
const BLOCK: u64 = 64 * 1024;

/// How long a client may take.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// Between requests.
    pub idle: Duration,
    /// For a head, from its first byte on, and for taking some of an answer.
    pub head: Duration,
    /// For each 64 KiB of a body.
    pub data: Duration,
    /// Bytes a second of a body, over a minute; 0 is no bound.
    pub min_rate: u64,
}

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing of a request has come.
    Idle,
    /// A part of a head has come.
    Head,
    /// A head and its body are on their way to hyper: so many bytes, or as many as there are.
    Request(Option<u64>),
    /// All of a request was read; the answer is being made.
    Answering,
}

/// Bytes received while the client was waited for.
#[derive(Clone, Copy, Debug, Default)]
struct Span {
    waited: Duration,
    bytes: u64,
}

/// The course of the requests on a connection.
pub(super) struct Course {
    phase: Phase,
    /// When an idle client was last answered, or a head began.
    since: Monotonic,
    /// Read and not given to hyper.
    held: Vec<u8>,
    fault: Option<Fault>,
    /// A read waits for the client since then.
    reading: Option<Monotonic>,
    /// A write waits for the client since then.
    writing: Option<Monotonic>,
    block: Span,
    window: Span,
    /// The phase was changed behind hyper's back.
    changed: bool,
}

impl Course {
    pub(super) fn new(now: Monotonic) -> Course {
        Course {
            phase: Phase::Idle,
            since: now,
            held: Vec::new(),
            fault: None,
            reading: None,
            writing: None,
            block: Span::default(),
            window: Span::default(),
            changed: false,
        }
    }

    pub(super) fn phase(&self) -> Phase {
        self.phase
    }

    /// What is wrong with the head of the request under way.
    pub(super) fn fault(&self) -> Option<Fault> {
        self.fault
    }

    /// The answer of the request under way is made. Says whether another request may follow: not behind one whose
    /// end is not known for certain.
    pub(super) fn answered(&mut self, now: Monotonic) -> bool {
        let whole = self.phase == Phase::Answering && self.fault.is_none();
        if whole {
            self.phase = match self.held.is_empty() {
                true => Phase::Idle,
                false => Phase::Head,
            };
            self.since = now;
            self.changed = true;
        }
        whole
    }

    /// Whether the connection can end now without cutting short what is being done.
    pub(super) fn is_idle(&self) -> bool {
        matches!(self.phase, Phase::Idle | Phase::Head) || self.reading.is_some()
    }

    /// Whether hyper has to be asked again, since the phase was changed.
    pub(super) fn take_change(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// When the client will have taken too long; none while nothing is awaited of it.
    pub(super) fn deadline(&self, terms: &Terms) -> Option<Monotonic> {
        let writing = self.writing.map(|since| since + terms.head);
        let reading = match self.phase {
            Phase::Idle => Some(self.since + terms.idle),
            Phase::Head => Some(self.since + terms.head),
            Phase::Request(_) => self.reading.map(|since| {
                let block = since + terms.data.saturating_sub(self.block.waited);
                let window = since + WINDOW.saturating_sub(self.window.waited);
                match terms.min_rate {
                    0 => block,
                    _ => block.min(window),
                }
            }),
            Phase::Answering => None,
        };
        [writing, reading].into_iter().flatten().min()
    }

    /// Says whether the client takes too long, now that a deadline has come.
    pub(super) fn is_late(&mut self, terms: &Terms, now: Monotonic) -> bool {
        if self.writing.is_some_and(|since| since + terms.head <= now) {
            return true;
        }
        match self.phase {
            Phase::Idle => self.since + terms.idle <= now,
            Phase::Head => self.since + terms.head <= now,
            Phase::Answering => false,
            Phase::Request(_) => {
                self.count(0, now);
                let slow = terms.min_rate.saturating_mul(WINDOW.as_secs());
                if self.block.waited >= terms.data {
                    return true;
                }
                if terms.min_rate > 0 && self.window.waited >= WINDOW {
                    if self.window.bytes < slow {
                        return true;
                    }
                    self.window = Span::default();
                }
                false
            }
        }
    }

    /// So many bytes of a request have come.
    fn count(&mut self, bytes: usize, now: Monotonic) {
        let waited = self
            .reading
            .map_or(Duration::ZERO, |since| now.since(since));
        if self.reading.is_some() {
            self.reading = Some(now);
        }
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        for span in [&mut self.block, &mut self.window] {
            span.waited = span.waited.saturating_add(waited);
            span.bytes = span.bytes.saturating_add(bytes);
        }
        if self.block.bytes >= BLOCK {
            self.block = Span::default();
        }
    }

    /// Goes on to the request whose head is held, once it is.
    fn take_head(&mut self) -> bool {
        let Some(end) = head::end(&self.held) else {
            // hyper answers what is too long.
            let too_long = self.held.len() > head::MOST;
            if too_long {
                self.begin(None, None);
            }
            return too_long;
        };
        if end > head::MOST {
            self.begin(None, None);
            return true;
        }
        let whole = u64::try_from(end).unwrap_or(u64::MAX);
        match head::read(self.held.get(..end).unwrap_or_default()) {
            Ok(Framing::Length(length)) => self.begin(Some(whole.saturating_add(length)), None),
            Ok(Framing::Chunked) => self.begin(None, None),
            Err(fault) => self.begin(None, Some(fault)),
        }
        true
    }

    fn begin(&mut self, left: Option<u64>, fault: Option<Fault>) {
        self.phase = Phase::Request(left);
        self.fault = fault;
        self.reading = None;
        (self.block, self.window) = (Span::default(), Span::default());
    }

    /// How many of so many bytes may go to hyper.
    fn room(&self, most: usize) -> usize {
        match self.phase {
            Phase::Request(Some(left)) => usize::try_from(left).map_or(most, |left| left.min(most)),
            _ => most,
        }
    }

    /// So many went there.
    fn given(&mut self, count: usize) {
        if let Phase::Request(Some(left)) = self.phase {
            let left = left.saturating_sub(u64::try_from(count).unwrap_or(u64::MAX));
            self.phase = match left {
                0 => Phase::Answering,
                left => Phase::Request(Some(left)),
            };
        }
    }
}

/// A stream as hyper takes it.
pub(super) struct Wire<S> {
    pub(super) stream: S,
    course: Rc<RefCell<Course>>,
    clock: Rc<dyn Clock>,
}

impl<S> Wire<S> {
    pub(super) fn new(stream: S, course: Rc<RefCell<Course>>, clock: Rc<dyn Clock>) -> Wire<S> {
        Wire {
            stream,
            course,
            clock,
        }
    }
}

impl<S: AsyncRead + Unpin> hyper::rt::Read for Wire<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buffer: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let mut course = this.course.borrow_mut();
        let course = &mut *course;
        let mut piece = [0; PIECE];
        loop {
            match course.phase {
                Phase::Answering => return Poll::Pending,
                Phase::Idle | Phase::Head => {
                    if course.take_head() {
                        continue;
                    }
                    let mut read = ReadBuf::new(&mut piece);
                    ready!(Pin::new(&mut this.stream).poll_read(cx, &mut read))?;
                    if read.filled().is_empty() {
                        // hyper knows what to make of a part of a head.
                        course.begin(None, None);
                        continue;
                    }
                    if course.phase == Phase::Idle {
                        course.phase = Phase::Head;
                        course.since = this.clock.monotonic();
                    }
                    course.held.extend_from_slice(read.filled());
                }
                Phase::Request(_) => {
                    let room = course.room(buffer.remaining().min(PIECE));
                    if !course.held.is_empty() {
                        let count = room.min(course.held.len());
                        buffer.put_slice(course.held.get(..count).unwrap_or_default());
                        course.held.drain(..count);
                        if course.held.is_empty() {
                            course.held = Vec::new();
                        }
                        course.given(count);
                        return Poll::Ready(Ok(()));
                    }
                    let mut read = ReadBuf::new(piece.get_mut(..room).unwrap_or_default());
                    if Pin::new(&mut this.stream)
                        .poll_read(cx, &mut read)?
                        .is_pending()
                    {
                        let now = this.clock.monotonic();
                        course.reading.get_or_insert(now);
                        return Poll::Pending;
                    }
                    let count = read.filled().len();
                    if course.reading.is_some() {
                        course.count(count, this.clock.monotonic());
                        course.reading = None;
                    } else {
                        course.count(count, Monotonic::default());
                    }
                    buffer.put_slice(read.filled());
                    course.given(count);
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> Wire<S> {
    /// Notes whether a write waits for the client.
    fn note<T>(&self, polled: Poll<T>) -> Poll<T> {
        let mut course = self.course.borrow_mut();
        match polled {
            Poll::Ready(_) => course.writing = None,
            Poll::Pending => {
                let now = self.clock.monotonic();
                course.writing.get_or_insert(now);
            }
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> hyper::rt::Write for Wire<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, data);
        self.note(polled)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(cx);
        self.note(polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
