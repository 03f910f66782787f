//! Time: a monotonic clock for durations and timers, the calendar clock for dates.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use crate::LocalFuture;

/// A point of the monotonic clock: time since an arbitrary start (boot, for the system's clock).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Monotonic(pub Duration);

impl Monotonic {
    /// The time from `earlier` to this; zero if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Monotonic) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl std::ops::Add<Duration> for Monotonic {
    type Output = Monotonic;
    fn add(self, duration: Duration) -> Monotonic {
        Monotonic(self.0.saturating_add(duration))
    }
}

/// Tells the time and waits for it.
pub trait Clock {
    /// The monotonic clock.
    fn monotonic(&self) -> Monotonic;

    /// Time since 1970-01-01T00:00:00Z.
    fn unix(&self) -> Duration;

    /// Seconds to add to UTC for the local time zone at `unix`, and the zone's abbreviation.
    fn local_offset(&self, unix: i64) -> (i32, String);

    /// Waits until the monotonic clock shows `at`.
    fn sleep_until(&self, at: Monotonic) -> LocalFuture<'static, ()>;

    /// Waits for `duration`.
    fn sleep(&self, duration: Duration) -> LocalFuture<'static, ()> {
        self.sleep_until(self.monotonic() + duration)
    }
}

/// Gives the future's result, or none when `duration` passes first.
pub async fn timeout<T>(
    clock: &dyn Clock,
    duration: Duration,
    future: impl Future<Output = T>,
) -> Option<T> {
    let mut sleep = clock.sleep(duration);
    let mut future = std::pin::pin!(future);
    poll_fn(|context| {
        if let Poll::Ready(value) = future.as_mut().poll(context) {
            return Poll::Ready(Some(value));
        }
        sleep.as_mut().poll(context).map(|()| None)
    })
    .await
}

/// Gives every other task of the executor its turn, and lets it look at sockets and timers.
///
/// A future that only wakes itself has its next turn before that: an executor looks at sockets and timers once in some sixty
/// turns, as long as any task is awake. Outside of tokio that is all that this does.
pub async fn yield_now() {
    tokio::task::yield_now().await;
}

/// A clock that stands still until a test or the simulator moves it. Zone UTC.
#[derive(Clone, Default)]
pub struct VirtualClock {
    state: Rc<VirtualState>,
}

#[derive(Default)]
struct VirtualState {
    now: Cell<Duration>,
    /// Unix time at monotonic zero.
    epoch: Cell<Duration>,
    sleepers: RefCell<BTreeMap<(Duration, u64), Waker>>,
    next_id: Cell<u64>,
}

impl VirtualClock {
    /// A clock that shows `unix` since 1970.
    #[must_use]
    pub fn new(unix: Duration) -> VirtualClock {
        let clock = VirtualClock::default();
        clock.state.epoch.set(unix);
        clock
    }

    /// Moves the clock on and wakes whoever waited for a time that has come.
    pub fn advance(&self, duration: Duration) {
        self.state.now.set(self.state.now.get() + duration);
        let now = self.state.now.get();
        let due = {
            let mut sleepers = self.state.sleepers.borrow_mut();
            let later = sleepers.split_off(&(now + Duration::from_nanos(1), 0));
            std::mem::replace(&mut *sleepers, later)
        };
        for waker in due.into_values() {
            waker.wake();
        }
    }

    /// The next time that somebody waits for.
    #[must_use]
    pub fn next_timer(&self) -> Option<Monotonic> {
        self.state
            .sleepers
            .borrow()
            .keys()
            .next()
            .map(|(at, _)| Monotonic(*at))
    }
}

impl Clock for VirtualClock {
    fn monotonic(&self) -> Monotonic {
        Monotonic(self.state.now.get())
    }

    fn unix(&self) -> Duration {
        self.state.epoch.get() + self.state.now.get()
    }

    fn local_offset(&self, _unix: i64) -> (i32, String) {
        (0, "UTC".to_owned())
    }

    fn sleep_until(&self, at: Monotonic) -> LocalFuture<'static, ()> {
        let state = Rc::clone(&self.state);
        let id = state.next_id.replace(state.next_id.get() + 1);
        let guard = Sleeper {
            state,
            key: (at.0, id),
        };
        Box::pin(poll_fn(move |context| {
            if guard.state.now.get() >= at.0 {
                return Poll::Ready(());
            }
            guard
                .state
                .sleepers
                .borrow_mut()
                .insert(guard.key, context.waker().clone());
            Poll::Pending
        }))
    }
}

/// Takes its timer out when the future is dropped.
struct Sleeper {
    state: Rc<VirtualState>,
    key: (Duration, u64),
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        self.state.sleepers.borrow_mut().remove(&self.key);
    }
}
