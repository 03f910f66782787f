//! Whether the disk has room for more mail.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use angarium_effects::clock::Monotonic;
use angarium_effects::disk::Space;

use crate::error::Refusal;
use crate::shared::Shared;

/// How long an answer of the file system is believed.
const FRESH: Duration = Duration::from_millis(500);

/// The last answer of the file system.
#[derive(Debug)]
pub(crate) struct SpaceCheck {
    /// When to ask again, in milliseconds of the monotonic clock; 0 for now.
    ask_at: AtomicU64,
    bytes: AtomicU64,
    inodes: AtomicU64,
}

impl Default for SpaceCheck {
    fn default() -> Self {
        Self {
            ask_at: AtomicU64::new(0),
            bytes: AtomicU64::new(u64::MAX),
            inodes: AtomicU64::new(u64::MAX),
        }
    }
}

/// Tells whether there is room, asking the file system at most twice a second.
///
/// A file system that does not answer is taken to have room: the write itself will tell.
pub(crate) fn check(shared: &Shared, now: Monotonic) -> Result<(), Refusal> {
    let cache = &shared.space;
    let now = u64::try_from(now.0.as_millis()).unwrap_or(u64::MAX);
    let ask_at = cache.ask_at.load(Ordering::Relaxed);
    let next = now.saturating_add(FRESH.as_millis() as u64);
    // Of several who come at the same time one asks and the others take the last answer.
    let mine = now >= ask_at
        && cache
            .ask_at
            .compare_exchange(ask_at, next, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok();
    if mine {
        let full = Space {
            bytes: u64::MAX,
            inodes: u64::MAX,
        };
        let space = shared.disk.space(&shared.config.path).unwrap_or(full);
        cache.bytes.store(space.bytes, Ordering::Relaxed);
        cache.inodes.store(space.inodes, Ordering::Relaxed);
    }
    let (bytes, inodes) = (
        cache.bytes.load(Ordering::Relaxed),
        cache.inodes.load(Ordering::Relaxed),
    );
    if bytes < shared.config.minfree_bytes {
        return Err(Refusal::Bytes {
            free: bytes,
            wanted: shared.config.minfree_bytes,
        });
    }
    if inodes < shared.config.minfree_inodes {
        return Err(Refusal::Inodes {
            free: inodes,
            wanted: shared.config.minfree_inodes,
        });
    }
    Ok(())
}
