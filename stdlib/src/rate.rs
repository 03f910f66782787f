//! `rate()`: how often something happened in the last while (mta.md 6.1).
//!
//! A sliding window over the exact times of the hits. All executions of the process share one [`Rates`]; what it may
//! hold is bounded, and an entry vanishes when its newest hit is older than the largest interval asked for.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use angarium_effects::Monotonic;
use angarium_runtime::native::{Args, Cx, FnDecl, Outcome, opt};
use angarium_runtime::value::Value;
use sha2::{Digest as _, Sha256};

/// Hits that are kept in all: 8 bytes each.
const MAX_HITS: usize = 8_000_000;
/// Entries that are kept in all.
const MAX_ENTRIES: usize = 1_000_000;
/// A longer namespace stands there as its hash.
const NAMESPACE: usize = 64;
/// A longer entry stands there as its hash.
const ENTRY: usize = 512;
/// The longest interval: a century keeps all sums in range.
const LONGEST: f64 = 3_153_600_000.0;
/// Entries that are forgotten at most in one call.
const SWEEP: usize = 64;

/// The hits of a process.
#[derive(Debug)]
pub struct Rates {
    inner: Mutex<Inner>,
    most_hits: usize,
}

/// The hits as an extension of the [`Host`](angarium_runtime::host::Host).
pub struct RateService(pub Arc<Rates>);

type Name = Arc<[u8]>;

#[derive(Debug, Default)]
struct Inner {
    entries: HashMap<Name, Entry>,
    /// When each entry is forgotten.
    due: BTreeSet<(Duration, Name)>,
    hits: usize,
}

#[derive(Debug, Default)]
struct Entry {
    /// When, in order.
    hits: VecDeque<Duration>,
    /// The largest interval asked for.
    interval: Duration,
}

/// What a call of `rate` gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Whether it was within the limit.
    Allowed(bool),
    /// How many hits there are.
    Count(usize),
    /// There is no room for another hit.
    Full,
}

impl Default for Rates {
    fn default() -> Rates {
        Rates::with_room(MAX_HITS)
    }
}

impl Rates {
    /// Room for so many hits.
    #[must_use]
    pub fn with_room(hits: usize) -> Rates {
        Rates {
            inner: Mutex::default(),
            most_hits: hits,
        }
    }

    /// Counts a hit if there were fewer than `count` in the last `interval`; for a `count` of 0 tells how many.
    pub fn rate(&self, name: &[u8], count: u64, interval: Duration, now: Monotonic) -> Answer {
        let now = now.0;
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.forget(now);
        let Some((key, before)) = inner.look(name, interval, now) else {
            if count == 0 {
                return Answer::Count(0);
            }
            return inner.start(name, interval, now, self.most_hits);
        };
        let full = inner.hits >= self.most_hits;
        let Some(entry) = inner.entries.get_mut(&key) else {
            return Answer::Count(0);
        };
        // A hit that is as old as the interval is no longer in it.
        let old = entry
            .hits
            .partition_point(|hit| now.saturating_sub(*hit) >= interval);
        let recent = entry.hits.len().saturating_sub(old);
        if count == 0 {
            return Answer::Count(recent);
        }
        if recent as u64 >= count {
            return Answer::Allowed(false);
        }
        if full {
            return Answer::Full;
        }
        entry.hits.push_back(now);
        let until = now.saturating_add(entry.interval);
        inner.hits += 1;
        inner.due.remove(&(before, Arc::clone(&key)));
        inner.due.insert((until, key));
        Answer::Allowed(true)
    }
}

/// The hits of one entry, for operators.
#[derive(Clone, Debug, PartialEq)]
pub struct Counted {
    /// Its namespace; a long one is the hexadecimal hash that stands for it.
    pub namespace: Vec<u8>,
    /// Its name in the namespace, likewise.
    pub entry: Vec<u8>,
    /// The hits are for this host alone (`sync` off).
    pub is_local: bool,
    /// Hits that are kept, or those of the interval that was asked about.
    pub hits: u64,
    /// How long ago the newest hit was.
    pub age: Duration,
}

impl Rates {
    /// The entries that pass `wanted`, in no order. With `interval` only the hits in it count.
    pub fn list(
        &self,
        interval: Option<Duration>,
        now: Monotonic,
        wanted: impl Fn(&Counted) -> bool,
    ) -> Vec<Counted> {
        let all = self.described(interval, now.0).map(|(_, counted)| counted);
        all.filter(wanted).collect()
    }

    /// Forgets the entries that pass `wanted` and says how many they were.
    pub fn clear(&self, now: Monotonic, wanted: impl Fn(&Counted) -> bool) -> u64 {
        let all = self.described(None, now.0);
        let wanted: Vec<Name> = all
            .filter(|(_, counted)| wanted(counted))
            .map(|(name, _)| name)
            .collect();
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let cleared = wanted.iter().filter(|name| inner.remove(name));
        cleared.count() as u64
    }

    /// Every entry with its name.
    fn described(
        &self,
        interval: Option<Duration>,
        now: Duration,
    ) -> impl Iterator<Item = (Name, Counted)> {
        let counted = self.snapshot(interval, now);
        counted.into_iter().filter_map(|(name, hits, age)| {
            let (is_local, namespace, entry) = parts(&name)?;
            let counted = Counted {
                namespace,
                entry,
                is_local,
                hits,
                age,
            };
            Some((name, counted))
        })
    }

    /// Names, hits and ages, gathered while nobody counts.
    fn snapshot(&self, interval: Option<Duration>, now: Duration) -> Vec<(Name, u64, Duration)> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let entries = inner.entries.iter().filter_map(|(name, entry)| {
            let age = now.saturating_sub(*entry.hits.back()?);
            // What is due is forgotten at the next call.
            let kept = interval.map_or(entry.interval, |interval| interval.min(entry.interval));
            let old = entry
                .hits
                .partition_point(|hit| now.saturating_sub(*hit) >= kept);
            let hits = entry.hits.len().saturating_sub(old) as u64;
            (hits > 0).then(|| (Arc::clone(name), hits, age))
        });
        entries.collect()
    }
}

impl Inner {
    /// Removes an entry.
    fn remove(&mut self, name: &[u8]) -> bool {
        let Some((key, entry)) = self.entries.remove_entry(name) else {
            return false;
        };
        self.hits = self.hits.saturating_sub(entry.hits.len());
        if let Some(newest) = entry.hits.back() {
            self.due
                .remove(&(newest.saturating_add(entry.interval), key));
        }
        true
    }

    /// Forgets some entries whose time has come.
    fn forget(&mut self, now: Duration) {
        for _ in 0..SWEEP {
            match self.due.first() {
                Some((at, _)) if *at <= now => {}
                _ => return,
            }
            if let Some((_, key)) = self.due.pop_first()
                && let Some(entry) = self.entries.remove(&key)
            {
                self.hits = self.hits.saturating_sub(entry.hits.len());
            }
        }
    }

    /// The name of an entry that has a hit, freed of hits that nobody will count, and when it was to be forgotten.
    fn look(&mut self, name: &[u8], interval: Duration, now: Duration) -> Option<(Name, Duration)> {
        let (key, _) = self.entries.get_key_value(name)?;
        let key = Arc::clone(key);
        let entry = self.entries.get_mut(name)?;
        let newest = *entry.hits.back()?;
        let before = newest.saturating_add(entry.interval);
        let old = entry
            .hits
            .partition_point(|hit| now.saturating_sub(*hit) >= entry.interval.max(interval));
        entry.hits.drain(..old);
        self.hits = self.hits.saturating_sub(old);
        entry.interval = entry.interval.max(interval);
        let until = newest.saturating_add(entry.interval);
        if until != before {
            self.due.remove(&(before, Arc::clone(&key)));
            self.due.insert((until, Arc::clone(&key)));
        }
        if entry.hits.is_empty() {
            self.due.remove(&(until, Arc::clone(&key)));
            self.entries.remove(&key);
            return None;
        }
        Some((key, until))
    }

    /// The first hit of an entry.
    fn start(&mut self, name: &[u8], interval: Duration, now: Duration, most: usize) -> Answer {
        if self.hits >= most || self.entries.len() >= MAX_ENTRIES.min(most) {
            return Answer::Full;
        }
        let key = Name::from(name);
        let entry = Entry {
            hits: VecDeque::from([now]),
            interval,
        };
        self.entries.insert(Arc::clone(&key), entry);
        self.due.insert((now.saturating_add(interval), key));
        self.hits += 1;
        Answer::Allowed(true)
    }
}

/// The functions of this family.
pub const FUNCTIONS: &[FnDecl] = &[FnDecl::plain(
    "rate(namespace: string, entry: string, count: number, interval: number, options?: array): boolean|number",
    "Limits how often something happens. If fewer than `count` hits of the entry are in the last `interval` seconds, \
     counts another and gives true, otherwise false. With a `count` of 0 gives the number of hits. All scripts share \
     the hits. Gives none for a count or interval that cannot be, and when there is no room for another hit.",
    rate,
)
.legacy()
.options(&[opt(
    "sync",
    "boolean",
    "true",
    "share the hits in a cluster; others are counted apart. Its older form `local` means the opposite",
)])
.example(r#"rate("doc", "a", 0, 60) // 0"#)];

fn rate(cx: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    let Some(rates) = cx.host.extension::<RateService>() else {
        return Ok(Value::None);
    };
    let (count, interval) = (args.number(2, 0.0), args.number(3, 0.0));
    // NaN is neither.
    if !(count >= 0.0 && interval >= 0.0) {
        return Ok(Value::None);
    }
    let options = args.options(4);
    // Up to 4.6 the option was called `local` and meant the opposite.
    let sync = options.boolean("sync", !options.boolean("local", false));
    cx.charge(50 + (args.bytes(0).len() + args.bytes(1).len()) / 16);
    let interval = Duration::from_secs_f64(interval.min(LONGEST));
    let name = name(sync, args.bytes(0), args.bytes(1));
    let now = cx.host.clock.monotonic();
    Ok(match rates.0.rate(&name, count as u64, interval, now) {
        Answer::Allowed(allowed) => allowed.into(),
        Answer::Count(count) => (count as f64).into(),
        Answer::Full => Value::None,
    })
}

/// One name of the three parts, without ambiguity.
fn name(sync: bool, namespace: &[u8], entry: &[u8]) -> Vec<u8> {
    let mut name = vec![u8::from(sync)];
    for (part, longest) in [(namespace, NAMESPACE), (entry, ENTRY)] {
        if part.len() > longest {
            name.push(1);
            name.extend_from_slice(&Sha256::digest(part));
        } else {
            name.push(0);
            name.extend_from_slice(&(part.len() as u32).to_be_bytes());
            name.extend_from_slice(part);
        }
    }
    name
}

/// What shows that a part of a name is a hash.
const HASHED: &[u8] = b"sha256:";

/// Takes a name apart: whether it is for this host alone, namespace, entry. A hash is shown as such.
fn parts(name: &[u8]) -> Option<(bool, Vec<u8>, Vec<u8>)> {
    let (sync, mut rest) = name.split_first()?;
    let mut take = || -> Option<Vec<u8>> {
        let (kind, after) = rest.split_first()?;
        if *kind == 1 {
            let (hash, after) = after.split_at_checked(32)?;
            rest = after;
            let hex = hash
                .iter()
                .flat_map(|byte| format!("{byte:02x}").into_bytes());
            return Some(HASHED.iter().copied().chain(hex).collect());
        }
        let (length, after) = after.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let (part, after) = after.split_at_checked(length)?;
        rest = after;
        Some(part.to_vec())
    };
    let (namespace, entry) = (take()?, take()?);
    Some((*sync == 0, namespace, entry))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Monotonic {
        Monotonic(Duration::from_secs(seconds))
    }

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn the_window_slides() {
        let rates = Rates::default();
        let hit = |second| rates.rate(b"a", 2, MINUTE, at(second));
        assert_eq!(hit(0), Answer::Allowed(true));
        assert_eq!(hit(30), Answer::Allowed(true));
        assert_eq!(hit(59), Answer::Allowed(false));
        assert_eq!(rates.rate(b"a", 0, MINUTE, at(59)), Answer::Count(2));
        assert_eq!(hit(60), Answer::Allowed(true));
        assert_eq!(hit(89), Answer::Allowed(false));
        assert_eq!(hit(90), Answer::Allowed(true));
        assert_eq!(rates.rate(b"b", 2, MINUTE, at(90)), Answer::Allowed(true));
        assert_eq!(rates.rate(b"c", 0, MINUTE, at(90)), Answer::Count(0));
    }

    #[test]
    fn a_longer_interval_sees_what_a_shorter_one_has_left() {
        let rates = Rates::default();
        let hour = MINUTE * 60;
        assert_eq!(rates.rate(b"a", 9, hour, at(0)), Answer::Allowed(true));
        assert_eq!(rates.rate(b"a", 1, MINUTE, at(100)), Answer::Allowed(true));
        assert_eq!(rates.rate(b"a", 0, hour, at(200)), Answer::Count(2));
        assert_eq!(rates.rate(b"a", 0, MINUTE, at(200)), Answer::Count(0));
    }

    #[test]
    fn what_is_kept_is_bounded_and_forgotten_in_time() {
        let rates = Rates::with_room(3);
        for entry in [b"a", b"b", b"c"] {
            assert_eq!(rates.rate(entry, 5, MINUTE, at(0)), Answer::Allowed(true));
        }
        assert_eq!(rates.rate(b"d", 5, MINUTE, at(1)), Answer::Full);
        assert_eq!(rates.rate(b"a", 5, MINUTE, at(1)), Answer::Full);
        assert_eq!(rates.rate(b"d", 5, MINUTE, at(60)), Answer::Allowed(true));
        let inner = rates.inner.lock().expect("no panic");
        assert_eq!(
            (inner.entries.len(), inner.due.len(), inner.hits),
            (1, 1, 1)
        );
    }

    #[test]
    fn operators_see_the_hits_and_forget_them() {
        let rates = Rates::default();
        let long = vec![b'x'; 600];
        for (sync, namespace, entry) in [
            (true, &b"ns"[..], &b"a"[..]),
            (false, b"ns", b"b"),
            (true, b"", &long),
        ] {
            let name = name(sync, namespace, entry);
            rates.rate(&name, 9, MINUTE, at(0));
            rates.rate(&name, 9, MINUTE, at(10));
        }
        let mut list = rates.list(None, at(20), |_| true);
        list.sort_by(|one, other| {
            one.namespace
                .cmp(&other.namespace)
                .then(one.entry.cmp(&other.entry))
        });
        let [hashed, a, b] = &list[..] else {
            panic!("{list:?}");
        };
        assert!(hashed.entry.starts_with(b"sha256:") && hashed.entry.len() == 7 + 64);
        assert_eq!((&a.entry[..], a.is_local, a.hits), (&b"a"[..], false, 2));
        assert_eq!((&b.entry[..], b.is_local, b.hits), (&b"b"[..], true, 2));
        assert_eq!(a.age, Duration::from_secs(10));
        let recent = rates.list(Some(Duration::from_secs(15)), at(20), |_| true);
        assert!(recent.iter().all(|counted| counted.hits == 1));
        assert_eq!(rates.list(None, at(70), |_| true), []);
        assert_eq!(rates.clear(at(20), |counted| counted.namespace == b"ns"), 2);
        assert_eq!(rates.list(None, at(20), |_| true).len(), 1);
        assert_eq!(rates.clear(at(20), |_| true), 1);
        let inner = rates.inner.lock().expect("no panic");
        assert_eq!(
            (inner.entries.len(), inner.due.len(), inner.hits),
            (0, 0, 0)
        );
    }

    #[test]
    fn parts_of_a_name_do_not_run_into_each_other() {
        assert_ne!(name(true, b"ab", b"c"), name(true, b"a", b"bc"));
        assert_ne!(name(true, b"a", b"b"), name(false, b"a", b"b"));
        let long = vec![b'x'; 100_000];
        assert!(name(true, &long, &long).len() < 100);
    }
}
