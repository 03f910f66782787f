//! Where received messages go: the store, as the session driver and the hooks use it.
//!
//! ```text
//! begin ──▶ MailWriter ──append…──▶ finish ──▶ StoredMail ──┐
//!                │ dropped: nothing is left                 ├─▶ commit([Queued…]) ──▶ durable
//!                ▼                                mail, change, item of each recipient
//! ```

use std::any::Any;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use angarium_effects::LocalFuture;
use angarium_mail::source::Source;
use angarium_queue::item::Item;
use angarium_smtp::server::StoreFailure;

use crate::worker::Worker;

/// Keeps messages, and makes durable what is queued.
pub trait Store: Send + Sync {
    /// Why no new mail can be taken at present, if so: MAIL answers 452 4.3.1 then. Asked for each
    /// transaction, so it has to be quick.
    fn refusal(&self, worker: &Worker) -> Option<String>;

    /// Begins a message.
    ///
    /// # Errors
    /// [`StoreFailure::Full`] when there is no memory or disk for it.
    fn begin(&self, worker: &Rc<Worker>) -> Result<Box<dyn MailWriter>, StoreFailure>;

    /// Makes the copies durable, all or none, and hands them to the queue. It returns after the sync.
    ///
    /// The same [`StoredMail`] in several copies is stored once. Hooks call it too, for what a script
    /// queues outside eod.
    ///
    /// # Errors
    /// [`StoreFailure::Broken`] when it cannot be written, [`StoreFailure::Full`] when there is no
    /// room. Nothing is queued then.
    fn commit<'a>(
        &'a self,
        worker: &'a Rc<Worker>,
        queued: Vec<Queued>,
    ) -> LocalFuture<'a, Result<(), StoreFailure>>;
}

/// A message on its way in. Dropped before [`MailWriter::finish`] it leaves nothing.
pub trait MailWriter {
    /// Appends bytes. After an error the writer is of no more use.
    ///
    /// # Errors
    /// As [`Store::begin`], or [`StoreFailure::Broken`].
    fn append(&mut self, bytes: Vec<u8>) -> LocalFuture<'_, Result<(), StoreFailure>>;

    /// Ends the message. It is complete, but not durable.
    ///
    /// # Errors
    /// As [`MailWriter::append`].
    fn finish(self: Box<Self>) -> LocalFuture<'static, Result<StoredMail, StoreFailure>>;
}

/// A complete message that the store holds, its Received field included. Clones share the content;
/// with the last one a message that was not committed is gone.
#[derive(Clone)]
pub struct StoredMail(Arc<dyn Content>);

/// The content of a [`StoredMail`]. The store that made it knows its own type behind it.
pub trait Content: Source + Any + Send + Sync {}

impl<T: Source + Any + Send + Sync> Content for T {}

impl StoredMail {
    /// For a store: wraps its content.
    #[must_use]
    pub fn new(content: Arc<dyn Content>) -> StoredMail {
        StoredMail(content)
    }

    /// The content, for parsing and reading.
    #[must_use]
    pub fn source(&self) -> &Arc<dyn Content> {
        &self.0
    }

    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.0.len()
    }

    /// Whether there are no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether both are the same message in the store.
    #[must_use]
    pub fn is(&self, other: &StoredMail) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// For a store: its content, if it made it.
    #[must_use]
    pub fn content<T: Content>(&self) -> Option<&T> {
        let content: &dyn Any = &*self.0;
        content.downcast_ref()
    }
}

impl fmt::Debug for StoredMail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoredMail({} bytes)", self.len())
    }
}

/// One recipient's copy, to be queued.
#[derive(Clone, Debug)]
pub struct Queued {
    /// Envelope and everything else that the queue keeps. The store fills in `content` and `edits`.
    pub item: Item,
    /// The message as received, or one that a script made.
    pub mail: StoredMail,
    /// How this copy differs from it.
    pub change: Change,
}

/// How a copy differs from the message as received.
#[derive(Clone, Debug, Default)]
pub enum Change {
    /// Not at all.
    #[default]
    None,
    /// By these edits (`angarium_mail::edits::Edits::to_bytes`), at most 64 KiB.
    Edits(Arc<[u8]>),
    /// It is this message; the received one is kept beside it.
    Replaced(StoredMail),
}
