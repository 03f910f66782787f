//! What is alive and where it lies: all that the spool keeps in memory of each item.
//!
//! Only the writer changes the index, after the change is durable; readers and the checkpoint look at
//! it meanwhile. It is split so that nobody holds all of it at a time.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, Hash};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use indexmap::IndexMap;
use rustc_hash::FxBuildHasher;

use crate::id::{BodyId, ItemId};
use crate::payload::BodyIds;
use crate::record::{self, ALIGNMENT};
use crate::segment::Segment;

/// Where a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Location {
    pub(crate) segment: u32,
    /// The offset in units of [`ALIGNMENT`].
    units: u32,
    /// The length of the payload.
    pub(crate) length: u32,
}

impl Location {
    pub(crate) fn new(segment: u32, offset: u64, length: u64) -> Self {
        Self {
            segment,
            units: u32::try_from(offset / ALIGNMENT).unwrap_or(u32::MAX),
            length: u32::try_from(length).unwrap_or(u32::MAX),
        }
    }

    pub(crate) fn offset(self) -> u64 {
        u64::from(self.units) * ALIGNMENT
    }

    /// Bytes of the segment that the record takes.
    pub(crate) fn size(self) -> u64 {
        record::size(u64::from(self.length))
    }
}

/// A live item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ItemEntry {
    pub(crate) location: Location,
    pub(crate) bodies: BodyIds,
}

/// A body that is in the log or named there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BodyEntry {
    /// The record with the bytes, or the one that names the file.
    pub(crate) location: Location,
    /// The length of the body.
    pub(crate) length: u64,
    /// The body has a file of its own.
    pub(crate) file: bool,
    /// How many items need it.
    pub(crate) references: u32,
}

/// Entries stand close together and the table holds their places: it is half empty at worst, and costs a word there
/// instead of an entry. Nobody outside chooses the names, so that a plain hash does.
pub(crate) type Map<K, V> = IndexMap<K, V, FxBuildHasher>;

/// A part of the index.
#[derive(Debug, Default)]
pub(crate) struct Shard {
    pub(crate) items: Map<ItemId, ItemEntry>,
    pub(crate) bodies: Map<BodyId, BodyEntry>,
}

/// The index.
#[derive(Debug)]
pub(crate) struct Index {
    shards: [Mutex<Shard>; SHARDS],
    segments: Mutex<BTreeMap<u32, Arc<Segment>>>,
}

/// A power of two: a million items make shards of 16,000, which are copied in about a millisecond.
const SHARDS: usize = 64;

impl Index {
    pub(crate) fn new() -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            segments: Mutex::default(),
        }
    }

    /// Makes room for so many entries, evenly spread.
    pub(crate) fn reserve(&self, items: usize, bodies: usize) {
        // A little more than the mean: shards differ.
        let share = |count: usize| count / SHARDS + count / SHARDS / 16;
        for shard in 0..SHARDS {
            self.with_shard(shard, |shard| {
                shard.items.reserve_exact(share(items));
                shard.bodies.reserve_exact(share(bodies));
            });
        }
    }

    pub(crate) fn shard_count(&self) -> usize {
        SHARDS
    }

    /// Looks at a part of the index, which nobody changes meanwhile.
    pub(crate) fn with_shard<T>(&self, number: usize, look: impl FnOnce(&mut Shard) -> T) -> T {
        look(
            &mut self.shards[number % SHARDS]
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }

    fn shard(&self, key: &impl Hash) -> MutexGuard<'_, Shard> {
        // Bits in the middle: the maps themselves use both ends.
        let index = (FxBuildHasher.hash_one(key) >> 32) as usize % SHARDS;
        self.shards[index]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn item(&self, id: ItemId) -> Option<ItemEntry> {
        self.shard(&id).items.get(&id).cloned()
    }

    /// Sets an item and returns what it replaces.
    pub(crate) fn set_item(&self, id: ItemId, entry: ItemEntry) -> Option<ItemEntry> {
        self.shard(&id).items.insert(id, entry)
    }

    pub(crate) fn remove_item(&self, id: ItemId) -> Option<ItemEntry> {
        self.shard(&id).items.swap_remove(&id)
    }

    pub(crate) fn body(&self, id: BodyId) -> Option<BodyEntry> {
        self.shard(&id).bodies.get(&id).copied()
    }

    pub(crate) fn set_body(&self, id: BodyId, entry: BodyEntry) {
        self.shard(&id).bodies.insert(id, entry);
    }

    /// Changes a body's location if it still is at `expected`; the other fields stay.
    pub(crate) fn move_body(&self, id: BodyId, expected: Location, to: Location) -> bool {
        match self.shard(&id).bodies.get_mut(&id) {
            Some(entry) if entry.location == expected => {
                entry.location = to;
                true
            }
            _ => false,
        }
    }

    /// Counts one more item that needs the body, unless nobody needs it any more.
    pub(crate) fn retain_body(&self, id: BodyId) -> bool {
        match self.shard(&id).bodies.get_mut(&id) {
            Some(entry) if entry.references > 0 => {
                entry.references = entry.references.saturating_add(1);
                true
            }
            _ => false,
        }
    }

    /// Counts one item less, and returns the body if that was the last.
    pub(crate) fn release_body(&self, id: BodyId) -> Option<BodyEntry> {
        let mut shard = self.shard(&id);
        let entry = shard.bodies.get_mut(&id)?;
        entry.references = entry.references.saturating_sub(1);
        if entry.references == 0 {
            shard.bodies.swap_remove(&id)
        } else {
            None
        }
    }

    pub(crate) fn segment(&self, number: u32) -> Option<Arc<Segment>> {
        self.segments().get(&number).cloned()
    }

    pub(crate) fn segments(&self) -> MutexGuard<'_, BTreeMap<u32, Arc<Segment>>> {
        self.segments.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a record as needed.
    pub(crate) fn born(&self, location: Location) {
        if let Some(segment) = self.segment(location.segment) {
            segment.add_live(location.size());
        }
    }

    /// Counts a record as needed no more.
    pub(crate) fn died(&self, location: Location) {
        if let Some(segment) = self.segment(location.segment) {
            segment.remove_live(location.size());
        }
    }

    /// The number of live items.
    pub(crate) fn items(&self) -> usize {
        (0..SHARDS)
            .map(|shard| self.with_shard(shard, |shard| shard.items.len()))
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_live_message_costs_at_most_150_bytes() {
        assert_eq!(size_of::<Location>(), 12);
        let per_message = size_of::<(ItemId, ItemEntry)>() + size_of::<(BodyId, BodyEntry)>();
        assert!(per_message <= 112, "{per_message} bytes");
    }

    #[test]
    fn a_body_lives_as_long_as_somebody_needs_it_and_is_not_revived() {
        let index = Index::new();
        let id = BodyId(1);
        let entry = BodyEntry {
            location: Location::new(1, 64, 8),
            length: 0,
            file: false,
            references: 1,
        };
        index.set_body(id, entry);
        assert!(index.retain_body(id));
        assert_eq!(index.release_body(id), None);
        assert!(index.release_body(id).is_some());
        assert!(!index.retain_body(id));
    }
}
