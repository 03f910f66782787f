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

impl Inner {
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
    fn parts_of_a_name_do_not_run_into_each_other() {
        assert_ne!(name(true, b"ab", b"c"), name(true, b"a", b"bc"));
        assert_ne!(name(true, b"a", b"b"), name(false, b"a", b"b"));
        let long = vec![b'x'; 100_000];
        assert!(name(true, &long, &long).len() < 100);
    }
}
