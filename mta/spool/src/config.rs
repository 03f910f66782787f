//! The settings of a spool, and what it tells its owner.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::error::Corruption;
use crate::id::ItemId;
use crate::segment::START;

/// The settings of a spool (the section `spool` of the start-up configuration).
#[derive(Clone)]
pub struct Config {
    /// `spool.path`: the directory that holds the log and the large bodies. Created with mode 0700.
    pub path: PathBuf,
    /// `spool.tmp`: where large bodies are collected, on the same file system as `path`.
    pub tmp: PathBuf,
    /// `spool.fsync`: whether a commit waits until it is on the disk. Without, a loss of power loses
    /// what was accepted shortly before; the end of the process alone loses nothing.
    pub fsync: bool,
    /// `spool.memory`: bytes of memory for bodies that are not committed yet.
    pub memory: u64,
    /// `spool.minfree.bytes`.
    pub minfree_bytes: u64,
    /// `spool.minfree.inodes`.
    pub minfree_inodes: u64,
    /// `spool.corrupt`.
    pub corrupt: OnCorrupt,
    /// The size of a segment in bytes; one batch may make a segment longer.
    pub segment_size: u64,
    /// How many bytes one write and sync covers at most.
    pub batch_size: u64,
    /// How long a completion may wait for a sync that nobody else asked for.
    pub lazy_sync: Duration,
    /// Whether the next segment is filled with zeros ahead of its use: twice the bytes written, for
    /// syncs that need no change of the file system's metadata.
    pub prepare_segments: bool,
    /// A random number, fresh at each start. A sender who does not know it cannot forge records that
    /// a search for intact records behind a damaged one would believe.
    pub seed: u64,
    /// Who hears of events.
    pub observer: Observer,
}

impl Config {
    /// The defaults, for a spool at `path` with temporary files in `tmp`.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>, tmp: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            tmp: tmp.into(),
            fsync: true,
            memory: 256 << 20,
            minfree_bytes: 1 << 30,
            minfree_inodes: 1000,
            corrupt: OnCorrupt::Quarantine,
            segment_size: 64 << 20,
            batch_size: 8 << 20,
            lazy_sync: Duration::from_secs(1),
            prepare_segments: true,
            seed: 0,
            observer: Arc::new(|_| {}),
        }
    }

    /// The size of a segment that is begun with the room kept for a full disk.
    pub(crate) fn short_segment(&self) -> u64 {
        START.saturating_add(self.segment_size / 16)
    }

    /// The room kept for a full disk: a short segment, and as much for the checkpoint without which no old
    /// segment can go.
    pub(crate) fn reserve(&self) -> u64 {
        self.short_segment().saturating_mul(2)
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.path.join("log")
    }

    pub(crate) fn bodies(&self) -> PathBuf {
        self.path.join("bodies")
    }

    pub(crate) fn lock(&self) -> PathBuf {
        self.path.join(".lock")
    }

    pub(crate) fn quarantine(&self) -> PathBuf {
        self.path.parent().unwrap_or(&self.path).join("corrupt")
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("path", &self.path)
            .field("fsync", &self.fsync)
            .finish_non_exhaustive()
    }
}

/// What to do with a damaged record at start (`spool.corrupt`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnCorrupt {
    /// Copy it to the directory `corrupt` beside the spool, report it, go on.
    Quarantine,
    /// Report it, go on.
    Ignore,
    /// Do not start.
    Abort,
}

/// Receives [`Event`]s, on the thread where they happen; it must not wait.
pub type Observer = Arc<dyn Fn(Event) + Send + Sync>;

/// Something an operator wants to know. Its text is a complete log line.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Event {
    /// A record is damaged; `quarantined` tells where a copy is.
    #[error("spool: {corruption}{}", copy_of(quarantined))]
    Corrupt {
        /// The place.
        corruption: Corruption,
        /// Where a copy was put.
        quarantined: Option<PathBuf>,
    },
    /// The end of the newest segment was not written completely when the machine stopped. Nobody was
    /// told that it was.
    #[error("spool: dropped {bytes} bytes of unfinished writes at the end of {}", path.display())]
    TornTail {
        /// The segment.
        path: PathBuf,
        /// How much was dropped.
        bytes: u64,
    },
    /// An item cannot be delivered because its record or body is gone.
    #[error("spool: item {id} is lost: {reason}")]
    ItemLost {
        /// The item.
        id: ItemId,
        /// Why.
        reason: String,
    },
    /// A segment could not be written or synced; it will not be written again.
    #[error("spool: gave up {}: {reason}", path.display())]
    Poisoned {
        /// The segment.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// No segment can be written.
    #[error("spool: no new mail is taken: {reason}")]
    Unavailable {
        /// What the system said.
        reason: String,
    },
    /// Segments can be written again.
    #[error("spool: new mail is taken again")]
    Available,
    /// Work in the background failed and will be tried again.
    #[error("spool: cannot {action}: {reason}")]
    Background {
        /// What was tried.
        action: &'static str,
        /// What the system said.
        reason: String,
    },
}

fn copy_of(path: &Option<PathBuf>) -> String {
    path.as_ref().map_or_else(String::new, |path| {
        format!("; a copy is in {}", path.display())
    })
}
