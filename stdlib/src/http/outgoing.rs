//! The body of a request on its way: pieces in memory, files read bit by bit, or what a script hands over.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use angarium_runtime::host::{FileData, Pool};
use angarium_runtime::native::{Finish, LocalFuture};
use angarium_runtime::value::Value;
use hyper::body::{Body, Bytes, Frame, SizeHint};

use super::request::Part;

/// Bytes of a file that are read at once.
const PIECE: usize = 64 * 1024;

/// A body that a script makes piece by piece.
#[derive(Default)]
pub(crate) struct Upload {
    /// The piece that was handed over and not yet taken.
    piece: RefCell<Option<Bytes>>,
    /// The connection waits for a piece.
    wanted: Cell<bool>,
    ended: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Upload {
    /// Whether a piece is wanted, which is thereby known.
    pub fn take_wanted(&self) -> bool {
        self.wanted.replace(false)
    }

    /// Whether a piece is wanted.
    pub fn is_wanted(&self) -> bool {
        self.wanted.get()
    }

    /// Hands a piece over; an empty one is the end.
    pub fn give(&self, piece: Vec<u8>) {
        if piece.is_empty() {
            self.ended.set(true);
        } else {
            self.piece.replace(Some(piece.into()));
        }
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn poll(&self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(piece) = self.piece.take() {
            return Poll::Ready(Some(piece));
        }
        if self.ended.get() {
            return Poll::Ready(None);
        }
        self.wanted.set(true);
        self.waker.replace(Some(context.waker().clone()));
        Poll::Pending
    }
}

/// A body as hyper takes it.
pub(crate) enum Outgoing {
    /// Pieces.
    Parts {
        /// Those that are left.
        left: VecDeque<Part>,
        /// How much of the first of them, a file, has been sent.
        sent: u64,
        /// A read under way.
        reading: Option<LocalFuture<io::Result<Vec<u8>>>>,
        /// Where files are read.
        pool: Arc<dyn Pool>,
    },
    /// A script's.
    Upload(Rc<Upload>),
}

impl Outgoing {
    /// A body of these pieces.
    pub fn new(parts: &[Part], pool: Arc<dyn Pool>) -> Outgoing {
        Outgoing::Parts {
            left: parts
                .iter()
                .filter(|part| !matches!(part, Part::Bytes(bytes) if bytes.is_empty()))
                .cloned()
                .collect(),
            sent: 0,
            reading: None,
            pool,
        }
    }
}

/// Reads a piece of a file on the pool.
fn read(
    pool: &Arc<dyn Pool>,
    file: Arc<dyn FileData>,
    at: u64,
) -> LocalFuture<io::Result<Vec<u8>>> {
    let length = file.length();
    // A file that tells its length is sent up to there, however it grows.
    let room = match length {
        0 => PIECE,
        length => usize::try_from(length.saturating_sub(at)).map_or(PIECE, |left| left.min(PIECE)),
    };
    let came = Arc::new(Mutex::new(None));
    let slot = Arc::clone(&came);
    let run = pool.run(Box::new(move || {
        let mut buffer = vec![0; room];
        let result = loop {
            match file.read_at(&mut buffer, at) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        let result = result.map(|count| {
            buffer.truncate(count);
            buffer
        });
        *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
        let finish: Finish = Box::new(|_| Ok(Value::None));
        finish
    }));
    Box::pin(async move {
        drop(run.await);
        let result = came.lock().unwrap_or_else(PoisonError::into_inner).take();
        result.unwrap_or_else(|| Err(io::ErrorKind::Interrupted.into()))
    })
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let Outgoing::Parts {
            left,
            sent,
            reading,
            pool,
        } = &mut *self
        else {
            let Outgoing::Upload(upload) = &*self else {
                return Poll::Ready(None);
            };
            return upload
                .poll(context)
                .map(|piece| Some(Ok(Frame::data(piece?))));
        };
        loop {
            if let Some(future) = reading {
                let Poll::Ready(result) = future.as_mut().poll(context) else {
                    return Poll::Pending;
                };
                *reading = None;
                let bytes = match result {
                    Ok(bytes) => bytes,
                    Err(error) => return Poll::Ready(Some(Err(error))),
                };
                let length = left.front().and_then(Part::len);
                *sent = sent.saturating_add(bytes.len() as u64);
                let short = length.is_some_and(|length| *sent < length);
                if bytes.is_empty() && short {
                    return Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into())));
                }
                if bytes.is_empty() || length == Some(*sent) {
                    left.pop_front();
                    *sent = 0;
                }
                if !bytes.is_empty() {
                    return Poll::Ready(Some(Ok(Frame::data(bytes.into()))));
                }
            }
            match left.front() {
                None => return Poll::Ready(None),
                Some(Part::Bytes(bytes)) => {
                    let bytes = Bytes::from_owner(Arc::clone(bytes));
                    left.pop_front();
                    return Poll::Ready(Some(Ok(Frame::data(bytes))));
                }
                Some(Part::File(file)) => *reading = Some(read(pool, Arc::clone(file), *sent)),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Outgoing::Parts { left, reading, .. } => left.is_empty() && reading.is_none(),
            Outgoing::Upload(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Outgoing::Parts { left, .. } => {
                let sum = left
                    .iter()
                    .map(Part::len)
                    .try_fold(0u64, |sum, length| Some(sum.saturating_add(length?)));
                sum.map_or_else(SizeHint::default, SizeHint::with_exact)
            }
            Outgoing::Upload(_) => SizeHint::default(),
        }
    }
}
