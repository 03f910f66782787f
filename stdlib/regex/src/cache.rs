//! Compiled patterns that scripts compute at run time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::regex::{PatternError, Regex};

/// A bounded store of compiled patterns, shared by the threads of a process.
///
/// Patterns are found by their string form (see [`crate::parse_source`]). When the store holds more
/// than its share of memory, the patterns that were used longest ago go. A pattern that is still in
/// use lives on outside.
#[derive(Debug)]
pub struct PatternCache {
    shards: [Mutex<Shard>; SHARDS],
    /// Bytes for each shard.
    share: usize,
}

/// Parts with a lock each, so that threads seldom wait for each other.
const SHARDS: usize = 8;

#[derive(Debug, Default)]
struct Shard {
    entries: BTreeMap<Arc<[u8]>, Entry>,
    /// Keys by the time of last use.
    by_use: BTreeMap<u64, Arc<[u8]>>,
    clock: u64,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    regex: Arc<Regex>,
    used: u64,
    bytes: usize,
}

impl PatternCache {
    /// Makes an empty store for compiled patterns of about `bytes` bytes altogether.
    pub fn new(bytes: usize) -> PatternCache {
        PatternCache {
            shards: Default::default(),
            share: bytes / SHARDS,
        }
    }

    /// Returns the compiled form of `source`, and whether it had to be compiled.
    ///
    /// # Errors
    /// Those of [`Regex::new`]; a bad pattern is not stored.
    pub fn get(&self, source: &[u8]) -> Result<(Arc<Regex>, bool), PatternError> {
        let shard = &self.shards[shard_of(source)];
        let lock = || shard.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(regex) = lock().touch(source) {
            return Ok((regex, false));
        }
        // Compiled outside the lock: the same work twice at worst.
        let regex = Arc::new(Regex::from_source(source)?);
        lock().insert(source, &regex, self.share);
        Ok((regex, true))
    }

    /// Bytes of memory that the stored patterns take, by estimate.
    pub fn bytes(&self) -> usize {
        let shards = self.shards.iter();
        shards
            .map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner).bytes)
            .sum()
    }
}

impl Shard {
    /// The pattern stored under `source`, which counts as used now.
    fn touch(&mut self, source: &[u8]) -> Option<Arc<Regex>> {
        let entry = self.entries.get_mut(source)?;
        self.clock += 1;
        if let Some(key) = self.by_use.remove(&entry.used) {
            entry.used = self.clock;
            self.by_use.insert(self.clock, key);
        }
        Some(Arc::clone(&entry.regex))
    }

    fn insert(&mut self, source: &[u8], regex: &Arc<Regex>, share: usize) {
        // Both the key and a pattern that is mostly the key are counted.
        let bytes = regex.memory() + source.len() + size_of::<Entry>();
        if bytes > share || self.touch(source).is_some() {
            return;
        }
        while self.bytes + bytes > share {
            let Some((_, key)) = self.by_use.pop_first() else {
                break;
            };
            if let Some(old) = self.entries.remove(&key) {
                self.bytes = self.bytes.saturating_sub(old.bytes);
            }
        }
        self.clock += 1;
        let key: Arc<[u8]> = source.into();
        self.by_use.insert(self.clock, Arc::clone(&key));
        self.entries.insert(
            key,
            Entry {
                regex: Arc::clone(regex),
                used: self.clock,
                bytes,
            },
        );
        self.bytes += bytes;
    }
}

/// The patterns that one thread used last, before the store of all threads: finding one takes neither a lock nor a walk
/// through a tree.
///
/// It keeps no pattern alive: what the store drops is found no more when nobody uses it.
#[derive(Debug)]
pub struct RecentPatterns {
    places: Box<[Option<Recent>; PLACES]>,
}

/// Patterns that a thread remembers, each at the place that its hash tells.
const PLACES: usize = 64;
/// Longest text that is remembered.
const LONGEST: usize = 4096;
/// After so many uses the store hears of one: it drops what was used longest ago.
const REPORTED: u32 = 64;

#[derive(Debug)]
struct Recent {
    hash: u64,
    source: Box<[u8]>,
    regex: Weak<Regex>,
    uses: u32,
}

impl Default for RecentPatterns {
    fn default() -> RecentPatterns {
        RecentPatterns {
            places: Box::new([const { None }; PLACES]),
        }
    }
}

impl RecentPatterns {
    /// As [`PatternCache::get`] of `store`, for a text whose hash is known: equal texts have equal ones.
    ///
    /// # Errors
    /// Those of [`Regex::new`].
    pub fn get(
        &mut self,
        store: &PatternCache,
        source: &[u8],
        hash: u64,
    ) -> Result<(Arc<Regex>, bool), PatternError> {
        // The remainder is below the number of places.
        let at = usize::try_from(hash % PLACES as u64).unwrap_or(0);
        if let Some(Some(recent)) = self.places.get_mut(at)
            && recent.hash == hash
            && *recent.source == *source
            && recent.uses < REPORTED
            && let Some(regex) = recent.regex.upgrade()
        {
            recent.uses += 1;
            return Ok((regex, false));
        }
        let (regex, compiled) = store.get(source)?;
        if source.len() <= LONGEST
            && let Some(place) = self.places.get_mut(at)
        {
            *place = Some(Recent {
                hash,
                source: source.into(),
                regex: Arc::downgrade(&regex),
                uses: 0,
            });
        }
        Ok((regex, compiled))
    }
}

/// The shard for a key: FNV-1a, which only has to spread.
fn shard_of(source: &[u8]) -> usize {
    let hash = source.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    });
    // The remainder is below the number of shards.
    usize::try_from((hash >> 32) % SHARDS as u64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_compiled_once_while_it_is_kept() {
        let cache = PatternCache::new(8 << 20);
        let (first, compiled) = cache.get(b"/a+/i").expect("good pattern");
        assert!(compiled);
        let (second, compiled) = cache.get(b"/a+/i").expect("good pattern");
        assert!(!compiled && Arc::ptr_eq(&first, &second));
        assert!(cache.bytes() >= first.memory());
        assert!(cache.get(b"(").is_err());
    }

    #[test]
    fn the_store_stays_within_its_bytes_and_drops_the_oldest() {
        let cache = PatternCache::new(4 << 20);
        let keep = b"keep me(?<!x)";
        let (kept, _) = cache.get(keep).expect("good pattern");
        for number in 0..2000 {
            let source = format!("pattern number {number}(?<!x)");
            assert!(cache.get(source.as_bytes()).expect("good pattern").1);
            let (again, compiled) = cache.get(keep).expect("good pattern");
            assert!(!compiled && Arc::ptr_eq(&again, &kept));
            assert!(cache.bytes() <= 4 << 20);
        }
        assert!(
            cache
                .get(b"pattern number 0(?<!x)")
                .expect("good pattern")
                .1
        );
    }

    #[test]
    fn what_a_thread_used_last_is_found_by_text_and_reported_to_the_store() {
        let store = PatternCache::new(4 << 20);
        let mut recent = RecentPatterns::default();
        let (first, compiled) = recent.get(&store, b"a+", 7).expect("good pattern");
        assert!(compiled);
        let (again, compiled) = recent.get(&store, b"a+", 7).expect("good pattern");
        assert!(!compiled && Arc::ptr_eq(&first, &again));
        // Another text of the same hash is another pattern.
        let (other, _) = recent.get(&store, b"b+", 7).expect("good pattern");
        assert_eq!(other.pattern(), b"b+");
        assert!(recent.get(&store, b"(", 7).is_err());
        drop((first, again, other));
        // Used again and again, it stays in a store that others fill.
        for number in 0..2000 {
            let source = format!("pattern number {number}(?<!x)");
            store.get(source.as_bytes()).expect("good pattern");
            for _ in 0..3 {
                let (_, compiled) = recent.get(&store, b"b+", 7).expect("good pattern");
                assert!(!compiled);
            }
        }
    }

    #[test]
    fn what_the_store_drops_is_compiled_anew() {
        let store = PatternCache::new(0);
        let mut recent = RecentPatterns::default();
        for _ in 0..3 {
            assert!(recent.get(&store, b"a", 1).expect("good pattern").1);
        }
    }

    #[test]
    fn a_pattern_beyond_the_share_is_compiled_but_not_kept() {
        let cache = PatternCache::new(16);
        assert!(cache.get(b"a").expect("good pattern").1);
        assert!(cache.get(b"a").expect("good pattern").1);
        assert_eq!(cache.bytes(), 0);
    }
}
