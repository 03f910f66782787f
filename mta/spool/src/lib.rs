//! The durable spool: an append-only log with group commit.
//!
//! A [`Transaction`] brings bodies and items, changes items and removes them. [`Spool::commit`] makes
//! it durable: one writer gathers all transactions that wait, appends them to the newest segment with
//! one write, makes one sync, and then answers all of them. What the items mean is their owner's
//! business; the spool keeps their bytes, in memory only where they lie.
//!
//! ```text
//!  path/.lock                one server at a time
//!       log/0000002a.seg     segments: bodies up to 256 KiB, items, completions
//!       log/checkpoint       where everything alive lies, so that a start reads only the newest segments
//!       bodies/0000…         larger bodies, one file each
//!       unload/              items in files of their own, on their way to another host
//!  path/../corrupt/          copies of damaged places
//! ```
//!
//! Invariants:
//! - A commit is answered with success only after a sync that covers its records, and for large bodies
//!   after the syncs of file and directory, which come before the record.
//! - A transaction is found wholly or not at all, whatever the disk did with the last write.
//! - Nothing is written to a segment, and no sync of it believed, after one write or sync of it failed.
//! - Nothing is removed for a completion or a replaced item before a sync has covered the record that
//!   says so.
//! - A completion is never lost while the process lives, and may be lost with it: then an item comes
//!   back, and its recipient may see the message twice, never not at all.
//!
//! System calls of a commit: none of its own. Of a batch, whatever its size: one `pwrite`, one
//! `fdatasync`. Of a segment (64 MiB): about 40, nearly all to fill the next one with zeros in the
//! background, so that those syncs change no metadata. Of a large body: `fdatasync`, `linkat` and the
//! directory's `open`, `fsync`, `close`.

mod background;
mod batch;
mod body;
mod checkpoint;
mod config;
mod error;
mod id;
mod index;
mod inspect;
mod large;
mod mailbox;
mod payload;
mod quarantine;
mod reader;
mod record;
mod recovered;
mod recovery;
mod rotation;
mod scan;
mod segment;
mod shared;
mod space;
mod spool;
mod ticket;
mod transaction;
mod unload;
mod writer;

pub use body::{Body, BodyWriter, EDITS_MAX, INLINE_MAX};
pub use config::{Config, Event, Observer, OnCorrupt};
pub use error::{BodyError, CommitError, Corruption, OpenError, ReadError, Refusal};
pub use id::{BodyId, BodyRef, ItemId};
pub use inspect::Inspection;
pub use reader::BodyReader;
pub use recovered::{Recovered, RecoveredItem};
pub use spool::{Commit, Now, Spool, Stats, Stepper};
pub use transaction::Transaction;
pub use unload::{LoadedItem, UnloadError};
