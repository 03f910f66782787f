//! Waiting for something to become true, with a deadline.

use std::time::{Duration, Instant};

/// How long something may take that normally takes a moment. Generous, since test machines are busy.
pub const SOON: Duration = Duration::from_secs(30);

/// Asks `ready` again and again until it gives something; `None` when the deadline has passed.
pub fn until<T>(deadline: Duration, mut ready: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + deadline;
    loop {
        if let Some(value) = ready() {
            return Some(value);
        }
        if Instant::now() >= end {
            return None;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Whether `ready` becomes true before the deadline.
pub fn until_true(deadline: Duration, mut ready: impl FnMut() -> bool) -> bool {
    until(deadline, || ready().then_some(())).is_some()
}
