//! Which execution waits for which: circles are found here, whatever the executions wait for.
//!
//! An execution waits for one other at most, for the lock of a key of shared memory or for an entry of a cache that the other
//! computes. So the chain that begins at it has no branches, and a wait that would close it is refused.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use crate::shared::{Deadlock, ExecutionId};

static WAITS: LazyLock<Mutex<HashMap<ExecutionId, ExecutionId>>> = LazyLock::new(Mutex::default);

fn waits() -> MutexGuard<'static, HashMap<ExecutionId, ExecutionId>> {
    // Nothing panics while the map is half changed.
    WAITS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Notes that `waiter` waits for `owner` from here on.
///
/// # Errors
/// When `owner`, directly or through others, waits for `waiter`: then nothing is noted.
pub(crate) fn begin(waiter: ExecutionId, owner: ExecutionId) -> Result<(), Deadlock> {
    let mut waits = waits();
    let mut at = owner;
    for _ in 0..=waits.len() {
        if at == waiter {
            return Err(Deadlock);
        }
        match waits.get(&at) {
            Some(next) => at = *next,
            None => break,
        }
    }
    waits.insert(waiter, owner);
    Ok(())
}

/// Notes that what `waiter` waits for has a new owner, who has just stopped waiting for the same thing.
pub(crate) fn hand_on(waiter: ExecutionId, owner: ExecutionId) {
    if let Some(of) = waits().get_mut(&waiter) {
        *of = owner;
    }
}

/// Notes that `waiter` waits no longer.
pub(crate) fn end(waiter: ExecutionId) {
    waits().remove(&waiter);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_circle_is_refused_and_a_chain_is_not() {
        let ids: Vec<ExecutionId> = (0..4).map(|_| ExecutionId::next()).collect();
        assert_eq!(begin(ids[0], ids[1]), Ok(()));
        assert_eq!(begin(ids[1], ids[2]), Ok(()));
        assert_eq!(begin(ids[3], ids[1]), Ok(()));
        assert_eq!(begin(ids[2], ids[0]), Err(Deadlock));
        assert_eq!(begin(ids[2], ids[2]), Err(Deadlock), "a circle of one");
        end(ids[1]);
        assert_eq!(begin(ids[2], ids[0]), Ok(()));
        assert_eq!(begin(ids[1], ids[3]), Err(Deadlock));
        ids.iter().for_each(|id| end(*id));
    }
}
