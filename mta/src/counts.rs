//! How often each hook ran, for operators.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use angarium_config::HookType;

/// Counts of all hooks since the start; a reload does not touch them. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct ScriptCounters(Arc<RwLock<Table>>);

/// By server (none for the queue's hooks) and hook.
type Table = BTreeMap<(Box<str>, HookType), Arc<Counter>>;

#[derive(Debug, Default)]
struct Counter {
    running: AtomicU64,
    finished: AtomicU64,
    errors: AtomicU64,
}

/// Counts of one hook.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScriptCount {
    /// Runs under way.
    pub running: u64,
    /// Runs that ended, those with an error included.
    pub finished: u64,
    /// Runs that ended with an error.
    pub errors: u64,
}

/// A run under way. Dropped without [`RunCount::end`] it was given up, which is an error.
#[derive(Debug)]
pub struct RunCount {
    counter: Arc<Counter>,
    failed: bool,
}

impl ScriptCounters {
    /// Counts a run of `hook` at `server`.
    #[must_use]
    pub fn begin(&self, server: &str, hook: HookType) -> RunCount {
        let key = (Box::from(server), hook);
        let known = {
            let table = self.0.read().unwrap_or_else(PoisonError::into_inner);
            table.get(&key).map(Arc::clone)
        };
        let counter = known.unwrap_or_else(|| {
            let mut table = self.0.write().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(table.entry(key).or_default())
        });
        counter.running.fetch_add(1, Ordering::Relaxed);
        RunCount {
            counter,
            failed: true,
        }
    }

    /// The counts of a hook.
    #[must_use]
    pub fn of(&self, server: &str, hook: HookType) -> ScriptCount {
        let table = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let counter = table.get(&(Box::from(server), hook));
        counter.map_or_else(ScriptCount::default, |counter| ScriptCount {
            running: counter.running.load(Ordering::Relaxed),
            finished: counter.finished.load(Ordering::Relaxed),
            errors: counter.errors.load(Ordering::Relaxed),
        })
    }
}

impl RunCount {
    /// The run ended.
    pub fn end(mut self, failed: bool) {
        self.failed = failed;
    }
}

impl Drop for RunCount {
    fn drop(&mut self) {
        self.counter.running.fetch_sub(1, Ordering::Relaxed);
        self.counter.finished.fetch_add(1, Ordering::Relaxed);
        self.counter
            .errors
            .fetch_add(u64::from(self.failed), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    }
}
