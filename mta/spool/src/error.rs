//! What can go wrong, by who has to act.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::id::{BodyId, ItemId};

/// Why a spool cannot be opened. Each is told to the operator and ends the start.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process holds the lock.
    #[error("{} is locked: another server uses this spool", path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// A file or directory cannot be used.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file was written by a newer version.
    #[error("{} has format version {found}; this server knows versions up to {known}", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The newest version that is understood.
        known: u32,
    },
    /// A record is damaged and the configuration asks to stop then (`spool.corrupt: abort`).
    #[error("{0}; spool.corrupt is \"abort\": mend or move the file, or set \"quarantine\"")]
    Corrupt(Corruption),
}

/// A damaged place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} is damaged from byte {start} to {end}: {reason}", path.display())]
pub struct Corruption {
    /// The file.
    pub path: PathBuf,
    /// Where the damage starts.
    pub start: u64,
    /// Where the next good byte is.
    pub end: u64,
    /// What is wrong.
    pub reason: String,
}

/// Why a transaction, or the update of an item, was not made durable. It has no effect on the running
/// server; after a loss of power it may still be found, whole, because the disk may have kept what it
/// said it did not.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CommitError {
    /// The log or the file of a body could not be written: 451.
    #[error("cannot write {}: {source}", path.display())]
    Io {
        /// The segment or body file.
        path: PathBuf,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// No segment can be written at present: 421 or 452.
    #[error("the spool cannot be written: {0}")]
    Unavailable(String),
    /// The item to change is not in the spool.
    #[error("item {0} is not in the spool")]
    UnknownItem(ItemId),
    /// The item to add is in the spool already.
    #[error("item {0} is in the spool already")]
    DuplicateItem(ItemId),
    /// An item refers to a body that is not in the spool.
    #[error("body {0:?} is not in the spool")]
    UnknownBody(BodyId),
    /// A record would be longer than its length field can say.
    #[error("a record of {0} bytes is too long for the spool")]
    TooLong(u64),
    /// The spool has been closed.
    #[error("the spool is closed")]
    Closed,
}

/// Why a body that is being received cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The memory for unfinished bodies (`spool.memory`) is used up: 452 4.3.1.
    #[error("the memory for unfinished messages is used up")]
    Memory,
    /// The temporary file cannot be written. [`io::ErrorKind::StorageFull`] is 452 4.3.1.
    #[error("cannot write a temporary file in {}: {source}", path.display())]
    Io {
        /// The directory of temporary files.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Why a stored body cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The body is not, or no longer, in the spool.
    #[error("body {0:?} is not in the spool")]
    Unknown(BodyId),
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The segment or body file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The bytes are not those that were written.
    #[error("{0}")]
    Corrupt(Corruption),
}

/// Why no new mail can be taken at present. Deliveries go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No segment can be written: 421, or 452 4.3.1 within a session.
    #[error("the spool cannot be written: {0}")]
    Unavailable(String),
    /// There is less free space than `spool.minfree.bytes`: 452 4.3.1.
    #[error("{free} bytes are free on the spool's disk, spool.minfree.bytes is {wanted}")]
    Bytes {
        /// Free bytes.
        free: u64,
        /// The least that must be free.
        wanted: u64,
    },
    /// There are fewer free inodes than `spool.minfree.inodes`: 452 4.3.1.
    #[error("{free} inodes are free on the spool's disk, spool.minfree.inodes is {wanted}")]
    Inodes {
        /// Free inodes.
        free: u64,
        /// The least that must be free.
        wanted: u64,
    },
}
