//! The process-wide store behind `memory_*` and `barrier`: values by key, and one lock per key.
//!
//! Values are frozen trees, so a fetch costs one count. A lock belongs to an execution, which may take it again;
//! others wait without holding their thread, first come first served. A wait that would close a circle fails at once.

use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use crate::frozen::Tree;
use crate::memory;
use crate::native::{LocalFuture, Throw};
use crate::waits;

/// Names one execution of a script; unique in the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ExecutionId(u64);

impl ExecutionId {
    /// The next unused id.
    #[must_use]
    pub fn next() -> ExecutionId {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        ExecutionId(NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// The id as a part of a key.
    pub(crate) fn to_bytes(self) -> [u8; 8] {
        self.0.to_le_bytes()
    }
}

/// Waiting for this lock would close a circle of waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlock;

/// The store. Clones share it.
#[derive(Clone, Default)]
pub struct SharedMemory {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    values: HashMap<Box<[u8]>, Arc<Tree>>,
    locks: HashMap<Box<[u8]>, Lock>,
    /// Bytes of all keys and values, about.
    bytes: usize,
}

/// Most bytes that all values may take together: what scripts store stays until they remove it.
const MAX_BYTES: usize = 1 << 30;

/// Longest key of a value and name of a barrier: the table copies and compares them.
const MAX_KEY: usize = 1 << 16;

/// Whether the store takes `key`.
///
/// # Errors
/// An Exception when it is longer than 64 KiB.
pub fn check_key(key: &[u8]) -> Result<(), Throw> {
    if key.len() > MAX_KEY {
        return Err(Throw::error("a key of shared memory has at most 64 KiB"));
    }
    Ok(())
}

/// Why a value was not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// All values together would take too much.
    #[error("shared memory is full")]
    Full,
    /// What the running execution has stored would exceed its memory budget.
    #[error("the memory budget is used up")]
    Budget,
}

impl From<StoreError> for Throw {
    fn from(error: StoreError) -> Throw {
        match error {
            StoreError::Full => Throw::error(error.to_string()),
            StoreError::Budget => Throw::limit("memory"),
        }
    }
}

struct Lock {
    owner: ExecutionId,
    depth: u32,
    waiters: VecDeque<Waiter>,
}

struct Waiter {
    execution: ExecutionId,
    waker: Waker,
}

/// A held lock; released when dropped, also when its script is ended.
pub struct Guard {
    memory: SharedMemory,
    key: Box<[u8]>,
    execution: ExecutionId,
}

impl SharedMemory {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while the state is half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The value at `key`.
    #[must_use]
    pub fn get(&self, key: &[u8]) -> Option<Arc<Tree>> {
        self.state().values.get(key).cloned()
    }

    /// Stores or removes the value at `key`; gives the one that was there. What the running execution stores counts towards
    /// its memory budget, until it removes as much again.
    ///
    /// # Errors
    /// When there is no room: then nothing has changed.
    pub fn set(
        &self,
        key: &[u8],
        value: Option<Arc<Tree>>,
    ) -> Result<Option<Arc<Tree>>, StoreError> {
        /// A key, its place in the table, and the tree around a value.
        const ENTRY: usize = 256;
        let mut state = self.state();
        let size = |tree: &Arc<Tree>| tree.bytes().saturating_add(key.len() + ENTRY);
        let before = state.values.get(key).map_or(0, size);
        let after = value.as_ref().map_or(0, size);
        let bytes = state.bytes.saturating_sub(before).saturating_add(after);
        if after > before {
            if bytes > MAX_BYTES {
                return Err(StoreError::Full);
            }
            if memory::would_exceed(after - before) {
                return Err(StoreError::Budget);
            }
        }
        state.bytes = bytes;
        memory::stored(before, after);
        Ok(match value {
            Some(value) => match state.values.get_mut(key) {
                Some(slot) => Some(std::mem::replace(slot, value)),
                None => state.values.insert(key.into(), value),
            },
            None => state.values.remove(key),
        })
    }

    /// All keys, in no order.
    #[must_use]
    pub fn keys(&self) -> Vec<Box<[u8]>> {
        self.state().values.keys().cloned().collect()
    }

    /// Takes the lock of `key` if that needs no wait.
    #[must_use]
    pub fn try_lock(&self, key: &[u8], execution: ExecutionId) -> Option<Guard> {
        let mut state = self.state();
        match state.locks.get_mut(key) {
            None => {
                let lock = Lock {
                    owner: execution,
                    depth: 1,
                    waiters: VecDeque::new(),
                };
                state.locks.insert(key.into(), lock);
            }
            Some(lock) if lock.owner == execution => lock.depth += 1,
            Some(_) => return None,
        }
        Some(Guard {
            memory: self.clone(),
            key: key.into(),
            execution,
        })
    }

    /// Takes the lock of `key`, waiting for its turn.
    ///
    /// The future fails with [`Deadlock`] when the owner, directly or through others, waits for this execution.
    #[must_use]
    pub fn lock(&self, key: &[u8], execution: ExecutionId) -> LocalFuture<Result<Guard, Deadlock>> {
        let memory = self.clone();
        let key: Box<[u8]> = key.into();
        let mut waiting: Option<Waiting> = None;
        Box::pin(poll_fn(move |context| {
            if waiting.is_none()
                && let Some(guard) = memory.try_lock(&key, execution)
            {
                return Poll::Ready(Ok(guard));
            }
            let mut state = memory.state();
            let owned = state
                .locks
                .get(&key)
                .is_some_and(|lock| lock.owner == execution);
            if owned && let Some(mut waiting) = waiting.take() {
                // The one who released it made us the owner.
                waiting.done = true;
                drop(state);
                return Poll::Ready(Ok(Guard {
                    memory: memory.clone(),
                    key: key.clone(),
                    execution,
                }));
            }
            let waker = context.waker().clone();
            let Some(lock) = state.locks.get_mut(&key) else {
                // Released between the two looks.
                drop(state);
                context.waker().wake_by_ref();
                return Poll::Pending;
            };
            match lock
                .waiters
                .iter_mut()
                .find(|waiter| waiter.execution == execution)
            {
                Some(waiter) => waiter.waker = waker,
                None => {
                    if waits::begin(execution, lock.owner).is_err() {
                        return Poll::Ready(Err(Deadlock));
                    }
                    lock.waiters.push_back(Waiter { execution, waker });
                    waiting = Some(Waiting {
                        memory: memory.clone(),
                        key: key.clone(),
                        execution,
                        done: false,
                    });
                }
            }
            Poll::Pending
        }))
    }
}

impl State {
    /// Gives the lock to the first waiter, or removes it.
    fn hand_on(&mut self, key: &[u8]) {
        let Some(lock) = self.locks.get_mut(key) else {
            return;
        };
        match lock.waiters.pop_front() {
            Some(waiter) => {
                lock.owner = waiter.execution;
                lock.depth = 1;
                waits::end(waiter.execution);
                for other in &lock.waiters {
                    waits::hand_on(other.execution, lock.owner);
                }
                waiter.waker.wake();
            }
            None => {
                self.locks.remove(key);
            }
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut state = self.memory.state();
        let Some(lock) = state.locks.get_mut(&self.key) else {
            return;
        };
        if lock.owner != self.execution {
            return;
        }
        lock.depth -= 1;
        if lock.depth == 0 {
            state.hand_on(&self.key);
        }
    }
}

/// A place in a queue of waiters; given up when the waiting script is ended.
struct Waiting {
    memory: SharedMemory,
    key: Box<[u8]>,
    execution: ExecutionId,
    done: bool,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let mut state = self.memory.state();
        waits::end(self.execution);
        let Some(lock) = state.locks.get_mut(&self.key) else {
            return;
        };
        if lock.owner == self.execution {
            // The lock came while nobody looked any more.
            state.hand_on(&self.key);
        } else {
            lock.waiters
                .retain(|waiter| waiter.execution != self.execution);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Context;

    use super::*;

    fn poll<T>(future: &mut LocalFuture<T>) -> Poll<T> {
        future
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn a_lock_is_reentrant_and_passes_to_waiters_in_order() {
        let memory = SharedMemory::default();
        let (a, b, c) = (
            ExecutionId::next(),
            ExecutionId::next(),
            ExecutionId::next(),
        );
        let first = memory.try_lock(b"k", a).unwrap();
        let again = memory.try_lock(b"k", a).unwrap();
        assert!(memory.try_lock(b"k", b).is_none());
        let mut wait_b = memory.lock(b"k", b);
        let mut wait_c = memory.lock(b"k", c);
        assert!(poll(&mut wait_b).is_pending());
        assert!(poll(&mut wait_c).is_pending());
        drop(first);
        assert!(poll(&mut wait_b).is_pending(), "held once more");
        drop(again);
        assert!(poll(&mut wait_c).is_pending(), "first come, first served");
        let Poll::Ready(Ok(held)) = poll(&mut wait_b) else {
            panic!("b is next")
        };
        drop(held);
        assert!(matches!(poll(&mut wait_c), Poll::Ready(Ok(_))));
        drop(wait_c);
        assert!(memory.try_lock(b"k", a).is_some(), "all released");
    }

    #[test]
    fn a_circle_of_waits_is_refused() {
        let memory = SharedMemory::default();
        let (a, b) = (ExecutionId::next(), ExecutionId::next());
        let _x = memory.try_lock(b"x", a).unwrap();
        let _y = memory.try_lock(b"y", b).unwrap();
        let mut a_waits = memory.lock(b"y", a);
        assert!(poll(&mut a_waits).is_pending());
        let mut b_waits = memory.lock(b"x", b);
        assert!(matches!(poll(&mut b_waits), Poll::Ready(Err(Deadlock))));
    }

    #[test]
    fn an_ended_waiter_leaves_the_queue_even_after_the_lock_came_to_it() {
        let memory = SharedMemory::default();
        let (a, b, c) = (
            ExecutionId::next(),
            ExecutionId::next(),
            ExecutionId::next(),
        );
        let held = memory.try_lock(b"k", a).unwrap();
        let mut wait_b = memory.lock(b"k", b);
        assert!(poll(&mut wait_b).is_pending());
        drop(held);
        drop(wait_b);
        assert!(memory.try_lock(b"k", c).is_some());
    }
}
