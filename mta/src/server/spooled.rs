//! The store over the spool: bodies go to its writers, copies become its items.
//!
//! Below 256 KiB a message is memory and is written on the worker; what is longer goes to a file, and
//! each piece of it is written on the thread pool, so that a slow disk holds no session up but its
//! own.

use std::io;
use std::rc::Rc;
use std::sync::Arc;

use angarium_effects::LocalFuture;
use angarium_mail::source::Source;
use angarium_queue::item::{ContentRef, Item};
use angarium_smtp::server::StoreFailure;
use angarium_spool::{
    Body, BodyError, BodyRef, BodyWriter, CommitError, INLINE_MAX, ItemId, Spool,
};

use super::event::{Event, Observer};
use super::store::{Change, MailWriter, Queued, Store, StoredMail};
use crate::pool::HeavyPool;
use crate::worker::Worker;

/// Takes items that have become durable: the queue. It must not wait.
pub type Sink = Box<dyn Fn(Vec<Item>) + Send + Sync>;

/// Messages in the spool.
pub struct SpoolStore {
    spool: Spool,
    sink: Sink,
    observer: Option<Observer>,
    /// Whether the queue takes new mail.
    room: Option<HasRoom>,
}

/// Says whether the queue takes new mail. It must not wait.
pub type HasRoom = Box<dyn Fn() -> bool + Send + Sync>;

impl SpoolStore {
    /// A store over `spool` that hands what became durable to `sink`.
    #[must_use]
    pub fn new(spool: Spool, sink: Sink) -> SpoolStore {
        SpoolStore {
            spool,
            sink,
            observer: None,
            room: None,
        }
    }

    /// The same store, which takes new mail only while there is room in the queue.
    #[must_use]
    pub fn while_room(self, room: HasRoom) -> SpoolStore {
        SpoolStore {
            room: Some(room),
            ..self
        }
    }

    /// The same store, which tells `observer` why the spool cannot be written.
    #[must_use]
    pub fn observed(self, observer: Observer) -> SpoolStore {
        SpoolStore {
            observer: Some(observer),
            ..self
        }
    }
}

impl Store for SpoolStore {
    fn refusal(&self, worker: &Worker) -> Option<String> {
        if self.room.as_ref().is_some_and(|room| !room()) {
            return Some("the queue is full: queues.maxmessages".to_owned());
        }
        let now = worker.effects.clock.monotonic();
        self.spool
            .accepting(now)
            .err()
            .map(|refusal| refusal.to_string())
    }

    fn begin(&self, worker: &Rc<Worker>) -> Result<Box<dyn MailWriter>, StoreFailure> {
        Ok(Box::new(SpoolWriter {
            writer: Some(self.spool.body_writer()),
            pool: Arc::clone(&worker.pool),
            observer: self.observer.clone(),
        }))
    }

    fn commit<'a>(
        &'a self,
        _worker: &'a Rc<Worker>,
        queued: Vec<Queued>,
    ) -> LocalFuture<'a, Result<(), StoreFailure>> {
        Box::pin(async move {
            let mut transaction = self.spool.transaction();
            let mut stored: Vec<(StoredMail, BodyRef)> = Vec::new();
            let mut items = Vec::with_capacity(queued.len());
            for Queued {
                mut item,
                mail,
                change,
            } in queued
            {
                // A transaction has few messages and many recipients.
                let mut add = |mail: &StoredMail| {
                    if let Some((_, body)) = stored.iter().find(|(known, _)| known.is(mail)) {
                        return Ok(*body);
                    }
                    let content: &SpoolContent = mail.content().ok_or(StoreFailure::Broken)?;
                    let body = transaction.add_body(&content.0);
                    stored.push((mail.clone(), body));
                    Ok(body)
                };
                let body = add(&mail)?;
                let mut bodies = vec![body];
                item.content = ContentRef(body.to_bytes().into());
                item.edits = match &change {
                    Change::None => None,
                    Change::Edits(edits) => Some(reference(EDITS, edits)),
                    Change::Replaced(copy) => {
                        let copy = add(copy)?;
                        bodies.push(copy);
                        Some(reference(COPY, &copy.to_bytes()))
                    }
                };
                let id = ItemId {
                    transaction: item.id.transaction.into_bytes(),
                    queue: item.id.queue,
                };
                let blob = item.encode().map_err(|_| StoreFailure::Broken)?;
                transaction.add_item(id, &bodies, blob);
                items.push(item);
            }
            self.spool
                .commit(transaction)
                .await
                .map_err(|error| commit_failure(error, self.observer.as_ref()))?;
            (self.sink)(items);
            Ok(())
        })
    }
}

/// What begins an item's reference to its changes: the list itself, or the name of a changed copy.
const EDITS: u8 = 0;
const COPY: u8 = 1;

fn reference(kind: u8, bytes: &[u8]) -> ContentRef {
    ContentRef([&[kind], bytes].concat().into())
}

/// A body that is received.
struct SpoolWriter {
    /// None once it has failed.
    writer: Option<BodyWriter>,
    pool: Arc<HeavyPool>,
    observer: Option<Observer>,
}

impl MailWriter for SpoolWriter {
    fn append(&mut self, bytes: Vec<u8>) -> LocalFuture<'_, Result<(), StoreFailure>> {
        let Some(mut writer) = self.writer.take() else {
            return ready(Err(StoreFailure::Broken));
        };
        if in_memory(&writer, bytes.len()) {
            let written = writer
                .write(&bytes)
                .map_err(|error| body_failure(&error, self.observer.as_ref()));
            self.writer = Some(writer);
            return ready(written);
        }
        Box::pin(async move {
            let job = self
                .pool
                .call(move || writer.write(&bytes).map(|()| writer));
            match job.await {
                Ok(Ok(writer)) => {
                    self.writer = Some(writer);
                    Ok(())
                }
                Ok(Err(error)) => Err(body_failure(&error, self.observer.as_ref())),
                Err(_) => Err(StoreFailure::Broken),
            }
        })
    }

    fn finish(mut self: Box<Self>) -> LocalFuture<'static, Result<StoredMail, StoreFailure>> {
        let Some(writer) = self.writer.take() else {
            return ready(Err(StoreFailure::Broken));
        };
        if in_memory(&writer, 0) {
            return ready(stored(writer.finish(), self.observer.as_ref()));
        }
        let job = self.pool.call(move || writer.finish());
        Box::pin(async move {
            job.await.map_or(Err(StoreFailure::Broken), |body| {
                stored(body, self.observer.as_ref())
            })
        })
    }
}

fn ready<T: 'static>(value: T) -> LocalFuture<'static, T> {
    Box::pin(std::future::ready(value))
}

/// Whether the body is still in memory after `more` bytes.
fn in_memory(writer: &BodyWriter, more: usize) -> bool {
    let length = usize::try_from(writer.length()).unwrap_or(usize::MAX);
    length.saturating_add(more) <= INLINE_MAX
}

fn stored(
    body: Result<Body, BodyError>,
    observer: Option<&Observer>,
) -> Result<StoredMail, StoreFailure> {
    match body {
        Ok(body) => Ok(StoredMail::new(Arc::new(SpoolContent(body)))),
        Err(error) => Err(body_failure(&error, observer)),
    }
}

fn body_failure(error: &BodyError, observer: Option<&Observer>) -> StoreFailure {
    tell(error, observer);
    match error {
        BodyError::Memory => StoreFailure::Full,
        BodyError::Io { source, .. } => io_failure(source),
    }
}

fn commit_failure(error: CommitError, observer: Option<&Observer>) -> StoreFailure {
    tell(&error, observer);
    match error {
        CommitError::Io { source, .. } => io_failure(&source),
        // Until a segment can be written again, which the operator has been told.
        CommitError::Unavailable(_) => StoreFailure::Full,
        _ => StoreFailure::Broken,
    }
}

/// The client hears only that it may try again; the operator hears why.
fn tell(error: &dyn std::error::Error, observer: Option<&Observer>) {
    if let Some(observer) = observer {
        let reason = error.to_string();
        observer(&Event::SpoolFailed { reason });
    }
}

fn io_failure(error: &io::Error) -> StoreFailure {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreFailure::Full,
        _ => StoreFailure::Broken,
    }
}

/// A body that is complete and not committed yet.
struct SpoolContent(Body);

impl Source for SpoolContent {
    fn len(&self) -> u64 {
        self.0.length()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read_at(buf, offset)
    }

    fn as_bytes(&self) -> Option<&[u8]> {
        self.0.bytes()
    }
}
