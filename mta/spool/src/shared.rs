//! What the handles, the writer and the background work share.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use angarium_effects::disk::{Disk, DiskFile, DiskLock};

use crate::body::Budget;
use crate::config::{Config, Event};
use crate::id::{BodyId, ItemId};
use crate::index::{Index, Location};
use crate::mailbox::Mailbox;
use crate::record::Kind;
use crate::space::SpaceCheck;
use crate::ticket::Completer;
use crate::transaction::Work;

/// Requests beyond this many make their senders wait.
const MAILBOX: usize = 4096;
/// Transactions with large bodies beyond this many make their senders wait.
const LARGE_MAILBOX: usize = 256;

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) config: Config,
    pub(crate) index: Index,
    pub(crate) budget: Arc<Budget>,
    pub(crate) space: SpaceCheck,
    pub(crate) stats: Stats,
    /// To the writer.
    pub(crate) mailbox: Mailbox<Request>,
    /// To whoever stores large bodies.
    pub(crate) large: Mailbox<(Work, Completer)>,
    /// To the background work; carries nothing but nudges.
    pub(crate) background: Mailbox<()>,
    /// Files of bodies that nobody needs any more.
    pub(crate) garbage: Mutex<Vec<PathBuf>>,
    /// The segment that is written.
    pub(crate) active: AtomicU32,
    /// Whether the file [`RESERVE`] lies ready.
    pub(crate) reserve: AtomicBool,
    spare: Mutex<Option<Spare>>,
    next_spare: AtomicU64,
    /// Why no segment can be written.
    unavailable: Mutex<Option<String>>,
    pub(crate) session: u32,
    next_body: AtomicU64,
    _lock: Box<dyn DiskLock>,
}

/// A file that is ready to become a segment.
#[derive(Debug)]
pub(crate) struct Spare {
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<dyn DiskFile>,
}

/// What the writer is asked to do.
#[derive(Debug)]
pub(crate) enum Request {
    Commit(Work, Completer),
    Complete(ItemId),
    /// Compaction: append these records again, if they still are where they were.
    Move(Vec<Move>, Completer),
    /// Make everything before this durable, completions too.
    Sync(Completer),
}

impl Request {
    /// An upper bound of what the request takes in the log.
    pub(crate) fn size(&self) -> u64 {
        match self {
            Self::Commit(work, _) => work.size(),
            Self::Complete(_) => ItemId::LENGTH as u64,
            Self::Move(moves, _) => moves
                .iter()
                .map(|m| m.from.size())
                .fold(0, u64::saturating_add),
            Self::Sync(_) => 0,
        }
    }
}

/// A record to be moved.
#[derive(Debug)]
pub(crate) struct Move {
    pub(crate) what: Moved,
    pub(crate) from: Location,
    pub(crate) kind: Kind,
    pub(crate) payload: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Moved {
    Item(ItemId),
    Body(BodyId),
}

/// Counters since the start.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    pub(crate) commits: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) completions: AtomicU64,
    pub(crate) batches: AtomicU64,
    pub(crate) syncs: AtomicU64,
    pub(crate) bytes: AtomicU64,
    pub(crate) moved: AtomicU64,
}

impl Shared {
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        config: Config,
        lock: Box<dyn DiskLock>,
        session: u32,
        index: Index,
    ) -> Self {
        Self {
            budget: Arc::new(Budget::new(config.memory)),
            space: SpaceCheck::default(),
            stats: Stats::default(),
            mailbox: Mailbox::new(MAILBOX),
            large: Mailbox::new(LARGE_MAILBOX),
            background: Mailbox::new(1),
            garbage: Mutex::default(),
            active: AtomicU32::new(0),
            reserve: AtomicBool::new(false),
            spare: Mutex::default(),
            next_spare: AtomicU64::new(0),
            unavailable: Mutex::default(),
            session,
            next_body: AtomicU64::new(1),
            _lock: lock,
            disk,
            config,
            index,
        }
    }

    pub(crate) fn new_body_id(&self) -> BodyId {
        BodyId::new(self.session, self.next_body.fetch_add(1, Ordering::Relaxed))
    }

    pub(crate) fn tell(&self, event: Event) {
        (self.config.observer)(event);
    }

    pub(crate) fn body_path(&self, id: BodyId) -> PathBuf {
        self.config.bodies().join(id.file_name())
    }

    /// Hands a file over to be removed.
    pub(crate) fn discard(&self, path: PathBuf) {
        self.garbage().push(path);
        self.background.nudge();
    }

    pub(crate) fn garbage(&self) -> MutexGuard<'_, Vec<PathBuf>> {
        self.garbage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn spare(&self) -> MutexGuard<'_, Option<Spare>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a path for a new spare that nobody uses.
    pub(crate) fn spare_path(&self) -> PathBuf {
        let number = self.next_spare.fetch_add(1, Ordering::Relaxed);
        self.config.log().join(format!("{SPARE}{number}"))
    }

    pub(crate) fn reserve_path(&self) -> PathBuf {
        self.config.log().join(RESERVE)
    }

    /// Tells why no segment can be written.
    pub(crate) fn unavailable(&self) -> Option<String> {
        self.unavailable
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Changes whether segments can be written, and reports the change.
    pub(crate) fn set_unavailable(&self, reason: Option<String>) {
        let before = {
            let mut state = self
                .unavailable
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *state, reason.clone())
        };
        match (before, reason) {
            (None, Some(reason)) => self.tell(Event::Unavailable { reason }),
            (Some(_), None) => self.tell(Event::Available),
            _ => {}
        }
    }
}

/// The names of spares start with this.
pub(crate) const SPARE: &str = "spare.";
/// The name of the room that is kept for a full disk.
pub(crate) const RESERVE: &str = "reserve";

/// Adds to a counter.
pub(crate) fn count(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}
