//! Answers that were given before, for as long as they may be kept.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use angarium_effects::{DnsAnswer, DnsError, Monotonic, RecordType};

/// The longest time that anything is kept, whatever its zone says.
const LONGEST: Duration = Duration::from_secs(86_400);

/// A question.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// In lower case without a final dot.
    pub name: Box<str>,
    pub kind: RecordType,
}

impl Key {
    pub(super) fn new(name: &str, kind: RecordType) -> Key {
        Key {
            name: name.into(),
            kind,
        }
    }
}

/// What the cache did and holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheStats {
    /// Entries.
    pub size: usize,
    /// Questions that it answered.
    pub hits: u64,
    /// Questions that it could not answer.
    pub misses: u64,
    /// Entries whose time passed.
    pub expires: u64,
    /// Entries that made room.
    pub evicts: u64,
}

/// A bounded cache; when it is full the entry that would go first anyway makes room.
#[derive(Debug)]
pub(super) struct Cache {
    size: usize,
    entries: HashMap<Key, Entry>,
    by_end: BTreeMap<(Monotonic, u64), Key>,
    next: u64,
    stats: CacheStats,
    /// Of these, what concerns MX records.
    domains: CacheStats,
}

#[derive(Debug)]
struct Entry {
    answer: Result<DnsAnswer, DnsError>,
    end: (Monotonic, u64),
}

impl Cache {
    pub(super) fn new(size: usize) -> Cache {
        Cache {
            size,
            entries: HashMap::new(),
            by_end: BTreeMap::new(),
            next: 0,
            stats: CacheStats::default(),
            domains: CacheStats::default(),
        }
    }

    /// Counts for all, and once more for a domain.
    fn count(&mut self, kind: RecordType, what: impl Fn(&mut CacheStats)) {
        what(&mut self.stats);
        if kind == RecordType::Mx {
            what(&mut self.domains);
        }
    }

    pub(super) fn clear(&mut self, size: usize) {
        self.size = size;
        self.entries.clear();
        self.by_end.clear();
        self.domains.size = 0;
    }

    pub(super) fn get(&mut self, key: &Key, now: Monotonic) -> Option<Result<DnsAnswer, DnsError>> {
        match self.entries.get(key) {
            Some(entry) if entry.end.0 > now => {
                let answer = entry.answer.clone();
                self.count(key.kind, |stats| stats.hits += 1);
                return Some(answer);
            }
            Some(entry) => {
                self.by_end.remove(&entry.end);
                self.entries.remove(key);
                self.leave(key.kind);
                self.count(key.kind, |stats| stats.expires += 1);
            }
            None => {}
        }
        self.count(key.kind, |stats| stats.misses += 1);
        None
    }

    pub(super) fn keep(
        &mut self,
        key: Key,
        answer: Result<DnsAnswer, DnsError>,
        ttl: Duration,
        now: Monotonic,
    ) {
        if ttl.is_zero() || self.size == 0 {
            return;
        }
        let end = (now + ttl.min(LONGEST), self.next);
        self.next += 1;
        match self.entries.insert(key.clone(), Entry { answer, end }) {
            Some(old) => drop(self.by_end.remove(&old.end)),
            None if key.kind == RecordType::Mx => self.domains.size += 1,
            None => {}
        }
        self.by_end.insert(end, key);
        while self.entries.len() > self.size {
            let Some(((end, _), key)) = self.by_end.pop_first() else {
                break;
            };
            self.entries.remove(&key);
            self.leave(key.kind);
            if end <= now {
                self.count(key.kind, |stats| stats.expires += 1);
            } else {
                self.count(key.kind, |stats| stats.evicts += 1);
            }
        }
    }

    /// An entry has gone.
    fn leave(&mut self, kind: RecordType) {
        if kind == RecordType::Mx {
            self.domains.size = self.domains.size.saturating_sub(1);
        }
    }

    /// Forgets a name and those below it, or all.
    pub(super) fn forget(&mut self, domain: Option<&str>) -> usize {
        let before = self.entries.len();
        let is_below = |name: &str, domain: &str| {
            let rest = name.strip_suffix(domain);
            rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        self.entries
            .retain(|key, _| domain.is_some_and(|domain| !is_below(&key.name, domain)));
        let entries = &self.entries;
        self.by_end.retain(|_, key| entries.contains_key(key));
        let domains = self.entries.keys();
        self.domains.size = domains.filter(|key| key.kind == RecordType::Mx).count();
        before - self.entries.len()
    }

    pub(super) fn stats(&self) -> CacheStats {
        CacheStats {
            size: self.entries.len(),
            ..self.stats
        }
    }

    /// The same for MX records: the domains whose servers are known.
    pub(super) fn domain_stats(&self) -> CacheStats {
        self.domains
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Monotonic {
        Monotonic(Duration::from_secs(seconds))
    }

    #[test]
    fn an_answer_is_kept_for_its_time_and_no_longer() {
        let mut cache = Cache::new(2);
        let key = Key::new("a.test", RecordType::A);
        cache.keep(
            key.clone(),
            Err(DnsError::NxDomain),
            Duration::from_secs(10),
            at(0),
        );
        assert_eq!(cache.get(&key, at(9)), Some(Err(DnsError::NxDomain)));
        assert_eq!(cache.get(&key, at(10)), None);
        let stats = cache.stats();
        assert_eq!(
            (stats.size, stats.hits, stats.misses, stats.expires),
            (0, 1, 1, 1)
        );
    }

    #[test]
    fn a_full_cache_drops_what_would_go_first() {
        let mut cache = Cache::new(2);
        for (name, ttl) in [("long", 100), ("short", 10), ("new", 50)] {
            let key = Key::new(name, RecordType::Mx);
            cache.keep(
                key,
                Ok(DnsAnswer::default()),
                Duration::from_secs(ttl),
                at(0),
            );
        }
        assert_eq!(cache.get(&Key::new("short", RecordType::Mx), at(1)), None);
        assert!(
            cache
                .get(&Key::new("long", RecordType::Mx), at(1))
                .is_some()
        );
        assert_eq!(cache.stats().evicts, 1);
        let domains = cache.domain_stats();
        assert_eq!((domains.size, domains.evicts, domains.hits), (2, 1, 1));
        assert_eq!(cache.forget(Some("long")), 1);
        assert_eq!(cache.domain_stats().size, 1);
    }

    #[test]
    fn an_answer_that_comes_again_takes_the_place_of_the_old_one() {
        let mut cache = Cache::new(1);
        let key = Key::new("a.test", RecordType::A);
        for ttl in [10, 20] {
            cache.keep(
                key.clone(),
                Err(DnsError::NoData),
                Duration::from_secs(ttl),
                at(0),
            );
        }
        assert!(cache.get(&key, at(15)).is_some());
        assert_eq!(cache.by_end.len(), 1);
    }
}
