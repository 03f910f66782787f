//! Runs tasks until none can go on without time passing.
//!
//! There is no runtime, no reactor and no timer of tokio here: a [`LocalSet`] is polled by hand, so that the order of
//! everything follows from the order of wake-ups alone.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake, Waker};

use tokio::task::LocalSet;

/// Polls at one moment of the virtual clock after which something is taken to run in circles.
const MOST: usize = 100_000;

/// Polls sets of tasks.
pub struct Executor {
    woken: Arc<Flag>,
    waker: Waker,
}

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Executor {
    pub fn new() -> Executor {
        let woken = Arc::new(Flag(AtomicBool::new(true)));
        let waker = Waker::from(Arc::clone(&woken));
        Executor { woken, waker }
    }

    /// Polls the sets in turn until nothing is woken or `halt` says that it is enough. An error: something goes
    /// round in circles.
    pub fn settle(
        &self,
        sets: &mut [&mut LocalSet],
        halt: impl Fn() -> bool,
    ) -> Result<(), String> {
        // Every set at least once: tasks may have been added to it.
        for _ in 0..MOST {
            self.woken.0.store(false, Ordering::Relaxed);
            for set in sets.iter_mut() {
                let mut context = Context::from_waker(&self.waker);
                let _ = Pin::new(&mut **set).poll(&mut context);
                if halt() {
                    return Ok(());
                }
            }
            if !self.woken.0.load(Ordering::Relaxed) {
                return Ok(());
            }
        }
        Err("tasks wake each other without end while no time passes".to_owned())
    }
}
