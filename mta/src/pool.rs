//! A bounded pool of threads for heavy work: what would hold up all sessions of a worker if it ran there.
//!
//! A pool that is busy makes its callers wait and never fails: scripts, large bodies and their
//! clients are slowed down, nothing piles up.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use angarium_runtime::host::Pool;
use angarium_runtime::native::{Finish, Job, LocalFuture, Throw};
use tokio::sync::{Semaphore, oneshot};

/// A job that panicked; the pool goes on without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a job on the thread pool failed unexpectedly")]
pub struct Panicked;

/// Threads with a bounded queue. Dropping the pool lets the queued jobs finish and ends the threads.
pub struct HeavyPool {
    /// None: jobs run at once on the calling thread.
    threads: Option<Threads>,
}

struct Threads {
    shared: Arc<Shared>,
    /// One permit for each job that runs or waits.
    room: Arc<Semaphore>,
    count: usize,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    filled: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Box<dyn FnOnce() + Send>>,
    /// Jobs that threads do now.
    running: usize,
    /// Jobs that were done.
    done: u64,
    closed: bool,
}

/// What a pool does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolActivity {
    /// Jobs that wait for a thread.
    pub pending: usize,
    /// Jobs that are done now.
    pub running: usize,
    /// Threads.
    pub threads: usize,
    /// Jobs that were done.
    pub done: u64,
}

impl HeavyPool {
    /// Starts `threads` threads; up to `queue` jobs wait for one, further callers wait for room.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub fn start(threads: usize, queue: usize) -> io::Result<Arc<HeavyPool>> {
        let threads = threads.max(1);
        let shared = Arc::new(Shared::default());
        let room = threads.saturating_add(queue).min(Semaphore::MAX_PERMITS);
        // Made first, so that threads already started end when a later one is refused.
        let pool = HeavyPool {
            threads: Some(Threads {
                shared: Arc::clone(&shared),
                room: Arc::new(Semaphore::new(room)),
                count: threads,
            }),
        };
        for index in 0..threads {
            let shared = Arc::clone(&shared);
            thread::Builder::new()
                .name(format!("angarium-heavy-{index}"))
                .spawn(move || shared.work())?;
        }
        Ok(Arc::new(pool))
    }

    /// A pool without threads that runs each job at once: for the simulator, where the order of
    /// things must not depend on threads.
    #[must_use]
    pub fn inline() -> Arc<HeavyPool> {
        Arc::new(HeavyPool { threads: None })
    }

    /// What it does now.
    #[must_use]
    pub fn activity(&self) -> PoolActivity {
        let Some(threads) = &self.threads else {
            return PoolActivity::default();
        };
        let state = threads.shared.state();
        PoolActivity {
            pending: state.jobs.len(),
            running: state.running,
            threads: threads.count,
            done: state.done,
        }
    }

    /// Runs `job` on one of the threads. Waits for room in the queue; if the future is dropped
    /// before a thread has taken the job, the job does not run.
    ///
    /// # Errors
    /// [`Panicked`] when the job panicked.
    pub fn call<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> impl Future<Output = Result<T, Panicked>> + 'static {
        let threads = self
            .threads
            .as_ref()
            .map(|threads| (Arc::clone(&threads.shared), Arc::clone(&threads.room)));
        async move {
            let Some((shared, room)) = threads else {
                return guarded(job);
            };
            // The semaphore is never closed.
            let permit = room.acquire_owned().await.map_err(|_| Panicked)?;
            let (sender, receiver) = oneshot::channel();
            shared.push(Box::new(move || {
                if !sender.is_closed() {
                    let _ = sender.send(guarded(job));
                }
                drop(permit);
            }));
            receiver.await.map_err(|_| Panicked)?
        }
    }
}

fn guarded<T>(job: impl FnOnce() -> T) -> Result<T, Panicked> {
    catch_unwind(AssertUnwindSafe(job)).map_err(|_| Panicked)
}

impl Pool for HeavyPool {
    fn run(&self, job: Job) -> LocalFuture<Finish> {
        let call = self.call(job);
        Box::pin(async move {
            match call.await {
                Ok(finish) => finish,
                Err(panicked) => {
                    let finish: Finish = Box::new(move |_| Err(Throw::error(panicked.to_string())));
                    finish
                }
            }
        })
    }
}

impl Drop for HeavyPool {
    fn drop(&mut self) {
        if let Some(threads) = &self.threads {
            threads.shared.state().closed = true;
            threads.shared.filled.notify_all();
        }
    }
}

impl Shared {
    fn push(&self, job: Box<dyn FnOnce() + Send>) {
        self.state().jobs.push_back(job);
        self.filled.notify_one();
    }

    fn work(&self) {
        let mut state = self.state();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                state.running += 1;
                drop(state);
                job();
                state = self.state();
                state.running -= 1;
                state.done += 1;
            } else if state.closed {
                return;
            } else {
                state = self
                    .filled
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime")
            .block_on(future)
    }

    #[test]
    fn more_jobs_than_room_all_run_and_never_more_at_once_than_threads() {
        let pool = HeavyPool::start(2, 1).expect("threads");
        let running = Arc::new(AtomicUsize::new(0));
        let most = Arc::new(AtomicUsize::new(0));
        let jobs = (0..50).map(|number| {
            let (running, most) = (Arc::clone(&running), Arc::clone(&most));
            pool.call(move || {
                most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                thread::yield_now();
                running.fetch_sub(1, Ordering::SeqCst);
                number
            })
        });
        let results = block_on(futures_util::future::join_all(jobs));
        let expected: Vec<Result<i32, Panicked>> = (0..50).map(Ok).collect();
        assert_eq!(results, expected);
        assert!(most.load(Ordering::SeqCst) <= 2);
    }

    #[test]
    fn a_panic_is_an_error_and_the_thread_lives_on() {
        let pool = HeavyPool::start(1, 1).expect("a thread");
        assert_eq!(
            block_on(pool.call(|| panic!("on purpose"))),
            Err::<(), _>(Panicked)
        );
        assert_eq!(block_on(pool.call(|| 7)), Ok(7));
        // The thread counts a job after it has given the result.
        while pool.activity().running > 0 {
            thread::yield_now();
        }
        let done = PoolActivity {
            threads: 1,
            done: 2,
            ..PoolActivity::default()
        };
        assert_eq!(pool.activity(), done);
    }

    #[test]
    fn a_job_that_nobody_waits_for_any_more_does_not_run() {
        let pool = HeavyPool::start(1, 4).expect("a thread");
        let (release, held) = std::sync::mpsc::channel::<()>();
        let ran = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&ran);
        block_on(async {
            let mut first = Box::pin(pool.call(move || held.recv()));
            let mut second = Box::pin(pool.call(move || counter.fetch_add(1, Ordering::SeqCst)));
            // Both are queued, the second behind the first.
            assert!(futures_util::poll!(first.as_mut()).is_pending());
            assert!(futures_util::poll!(second.as_mut()).is_pending());
            drop(second);
            release.send(()).expect("the job waits");
            assert!(first.await.is_ok());
            assert_eq!(pool.call(|| 1).await, Ok(1));
        });
        assert_eq!(ran.load(Ordering::SeqCst), 0);
    }
}
