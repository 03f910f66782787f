//! How often each hook ran, and how long things took, for operators.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use angarium_config::HookType;

/// Counts of all hooks since the start; a reload does not touch them. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct ScriptCounters(Arc<RwLock<Table>>);

/// By server (none for the queue's hooks) and hook.
type Table = BTreeMap<Box<str>, BTreeMap<HookType, Arc<Counter>>>;

#[derive(Debug, Default)]
struct Counter {
    running: AtomicU64,
    suspended: AtomicU64,
    finished: AtomicU64,
    errors: AtomicU64,
    resumed: AtomicU64,
}

/// Counts of one hook.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScriptCount {
    /// Runs under way that wait for nothing but their turn.
    pub running: u64,
    /// Runs under way that wait: for the network, a lock, a time, or for others to have their turn.
    pub suspended: u64,
    /// Runs that ended, those with an error included.
    pub finished: u64,
    /// Runs that ended with an error.
    pub errors: u64,
    /// How often runs went on after a wait.
    pub resumed: u64,
}

impl std::ops::AddAssign for ScriptCount {
    fn add_assign(&mut self, other: ScriptCount) {
        self.running += other.running;
        self.suspended += other.suspended;
        self.finished += other.finished;
        self.errors += other.errors;
        self.resumed += other.resumed;
    }
}

/// A run under way. Dropped without [`RunCount::end`] it was given up, which is an error.
#[derive(Debug)]
pub struct RunCount {
    counter: Arc<Counter>,
    failed: bool,
    suspended: bool,
}

impl ScriptCounters {
    /// Counts a run of `hook` at `server`.
    #[must_use]
    pub fn begin(&self, server: &str, hook: HookType) -> RunCount {
        let counter = self.find(server, hook).unwrap_or_else(|| {
            let mut table = self.0.write().unwrap_or_else(PoisonError::into_inner);
            let hooks = table.entry(Box::from(server)).or_default();
            Arc::clone(hooks.entry(hook).or_default())
        });
        counter.running.fetch_add(1, Ordering::Relaxed);
        RunCount {
            counter,
            failed: true,
            suspended: false,
        }
    }

    /// The counts of a hook.
    #[must_use]
    pub fn of(&self, server: &str, hook: HookType) -> ScriptCount {
        let counter = self.find(server, hook);
        counter.map_or_else(ScriptCount::default, |counter| counter.read())
    }

    fn find(&self, server: &str, hook: HookType) -> Option<Arc<Counter>> {
        let table = self.0.read().unwrap_or_else(PoisonError::into_inner);
        table.get(server)?.get(&hook).map(Arc::clone)
    }

    /// The counts of all hooks together.
    #[must_use]
    pub fn total(&self) -> ScriptCount {
        let table = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut total = ScriptCount::default();
        for counter in table.values().flat_map(BTreeMap::values) {
            total += counter.read();
        }
        total
    }
}

impl Counter {
    fn read(&self) -> ScriptCount {
        ScriptCount {
            running: self.running.load(Ordering::Relaxed),
            suspended: self.suspended.load(Ordering::Relaxed),
            finished: self.finished.load(Ordering::Relaxed),
            errors: self.errors.load(Ordering::Relaxed),
            resumed: self.resumed.load(Ordering::Relaxed),
        }
    }
}

impl RunCount {
    /// The run ended.
    pub fn end(mut self, failed: bool) {
        self.failed = failed;
    }

    /// Awaits the run, and counts when it waits.
    pub async fn watch<T>(&mut self, run: impl Future<Output = T>) -> T {
        let mut run = std::pin::pin!(run);
        std::future::poll_fn(|cx| {
            self.wake();
            let polled = run.as_mut().poll(cx);
            if polled.is_pending() {
                self.suspended = true;
                self.counter.running.fetch_sub(1, Ordering::Relaxed);
                self.counter.suspended.fetch_add(1, Ordering::Relaxed);
            }
            polled
        })
        .await
    }

    fn wake(&mut self) {
        if std::mem::take(&mut self.suspended) {
            self.counter.suspended.fetch_sub(1, Ordering::Relaxed);
            self.counter.running.fetch_add(1, Ordering::Relaxed);
            self.counter.resumed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Drop for RunCount {
    fn drop(&mut self) {
        let place = match self.suspended {
            true => &self.counter.suspended,
            false => &self.counter.running,
        };
        place.fetch_sub(1, Ordering::Relaxed);
        self.counter.finished.fetch_add(1, Ordering::Relaxed);
        self.counter
            .errors
            .fetch_add(u64::from(self.failed), Ordering::Relaxed);
    }
}

/// Upper bounds of a histogram's buckets, in microseconds.
const BOUNDS: [u64; 15] = [
    1_000,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    300_000_000,
];

/// Threads that count without getting in each other's way; others share.
const SHARDS: usize = 8;

/// How long something took, in buckets. Counting is two additions to memory that no other thread uses.
#[derive(Debug, Default)]
pub struct Histogram([Shard; SHARDS]);

/// One thread's part, on cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard {
    buckets: [AtomicU64; BOUNDS.len() + 1],
    micros: AtomicU64,
}

/// What a histogram has counted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Distribution {
    /// How many there were.
    pub count: u64,
    /// Their sum in seconds.
    pub sum: f64,
    /// How many took at most so many seconds.
    pub buckets: Vec<(f64, u64)>,
}

impl Histogram {
    /// Counts one, on the thread of this worker.
    pub fn observe(&self, worker: usize, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let place = BOUNDS.partition_point(|bound| *bound < micros);
        let Some(shard) = self.0.get(worker % SHARDS) else {
            return;
        };
        if let Some(bucket) = shard.buckets.get(place) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        shard.micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// What was counted so far.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "for people and tools")]
    pub fn read(&self) -> Distribution {
        let mut count = 0_u64;
        let of = |place: usize| {
            let shards = self.0.iter().filter_map(|shard| shard.buckets.get(place));
            shards.fold(0_u64, |sum, bucket| {
                sum.saturating_add(bucket.load(Ordering::Relaxed))
            })
        };
        let mut buckets = Vec::with_capacity(BOUNDS.len());
        for (place, bound) in BOUNDS.iter().enumerate() {
            count = count.saturating_add(of(place));
            buckets.push((*bound as f64 / 1e6, count));
        }
        count = count.saturating_add(of(BOUNDS.len()));
        let micros = self.0.iter().fold(0_u64, |sum, shard| {
            sum.saturating_add(shard.micros.load(Ordering::Relaxed))
        });
        Distribution {
            count,
            sum: micros as f64 / 1e6,
            buckets,
        }
    }
}

/// The commands of SMTP whose times are kept apart.
const VERBS: [&str; 16] = [
    "CONNECT", "HELO", "EHLO", "AUTH", "STARTTLS", "XCLIENT", "MAIL", "RCPT", "DATA", "BDAT",
    "EOD", "RSET", "NOOP", "VRFY", "HELP", "QUIT",
];

/// How long the commands of a server took.
#[derive(Debug, Default)]
pub struct CommandTimes(Box<[Histogram; VERBS.len()]>);

impl CommandTimes {
    /// Counts a command; what is none is left out.
    pub fn observe(&self, worker: usize, verb: &str, took: Duration) {
        if let Some((_, histogram)) = VERBS.iter().zip(&*self.0).find(|(of, _)| **of == verb) {
            histogram.observe(worker, took);
        }
    }

    /// The commands that were used, with their times.
    pub fn read(&self) -> impl Iterator<Item = (&'static str, Distribution)> + '_ {
        let all = VERBS.into_iter().zip(&*self.0);
        let read = all.map(|(verb, histogram)| (verb, histogram.read()));
        read.filter(|(_, times)| times.count > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_counts_what_every_thread_saw() {
        let times = CommandTimes::default();
        for (worker, millis) in [(0, 0), (1, 1), (9, 2), (3, 400_000)] {
            times.observe(worker, "RCPT", Duration::from_millis(millis));
        }
        times.observe(0, "BOGUS", Duration::ZERO);
        let all: Vec<_> = times.read().collect();
        let (verb, rcpt) = &all[0];
        assert_eq!(
            (all.len(), *verb, rcpt.count, rcpt.sum),
            (1, "RCPT", 4, 400.003)
        );
        assert_eq!(rcpt.buckets[..2], [(0.001, 2), (0.005, 3)]);
        assert_eq!(rcpt.buckets.last(), Some(&(300.0, 3)));
    }

    #[test]
    fn runs_are_counted_by_server_and_hook() {
        let counters = ScriptCounters::default();
        let first = counters.begin("a", HookType::Eod);
        let second = counters.begin("a", HookType::Eod);
        counters.begin("b", HookType::Eod).end(false);
        first.end(false);
        assert_eq!(counters.of("a", HookType::Eod).running, 1);
        drop(second);
        let count = counters.of("a", HookType::Eod);
        assert_eq!((count.running, count.finished, count.errors), (0, 2, 1));
        assert_eq!(counters.of("b", HookType::Eod).errors, 0);
        assert_eq!(counters.of("a", HookType::Auth), ScriptCount::default());
        assert_eq!(counters.total().finished, 3);
    }

    #[test]
    fn a_run_that_waits_is_suspended_until_it_goes_on() {
        use futures_util::FutureExt as _;
        let counters = ScriptCounters::default();
        let mut count = counters.begin("a", HookType::Eod);
        let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
        let mut run = Box::pin(count.watch(receiver));
        let seen = || {
            let of = counters.of("a", HookType::Eod);
            (of.running, of.suspended, of.resumed)
        };
        assert_eq!(seen(), (1, 0, 0));
        assert!(run.as_mut().now_or_never().is_none());
        assert_eq!(seen(), (0, 1, 0));
        sender.send(()).unwrap();
        assert!(run.as_mut().now_or_never().is_some());
        assert_eq!(seen(), (1, 0, 1));
        drop(run);
        // Given up while it waits.
        let mut other = counters.begin("a", HookType::Eod);
        let waits = other.watch(std::future::pending::<()>()).now_or_never();
        assert!(waits.is_none());
        drop((count, other));
        assert_eq!(seen(), (0, 0, 1));
        assert_eq!(counters.of("a", HookType::Eod).errors, 2);
    }
}
