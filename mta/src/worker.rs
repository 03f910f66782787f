//! Workers: threads that share nothing, each with one runtime, its sessions and their scripts
//! (docs/decisions, design decision 8).
//!
//! Whoever has work for a worker sends it a [`Job`], which makes a future that then lives and dies
//! on the worker's thread, so that sessions, scripts and their values need neither locks nor atomic
//! counts. The mailbox is bounded: a worker that cannot keep up slows its senders down.

use std::any::{Any, TypeId};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use angarium_effects::clock::timeout;
use angarium_effects::{Clock, Dns, LocalFuture, Net, Random};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::LocalSet;

use crate::pool::HeavyPool;

/// Jobs beyond this many make their senders wait.
const MAILBOX: usize = 1024;

/// Work for a worker: called on its thread, gives the task to run there.
pub type Job = Box<dyn FnOnce(Rc<Worker>) -> LocalFuture<'static, ()> + Send>;

/// The outside as one thread sees it.
#[derive(Clone)]
pub struct Effects {
    /// Time and timers.
    pub clock: Rc<dyn Clock>,
    /// Random numbers fit for keys and identifiers.
    pub random: Rc<dyn Random>,
    /// Name resolution.
    pub dns: Rc<dyn Dns>,
    /// Connections and listeners.
    pub net: Rc<dyn Net>,
}

/// Makes the effects of a worker, on its thread and inside its runtime; the argument is its index.
pub type MakeEffects = Arc<dyn Fn(usize) -> Effects + Send + Sync>;

/// What runs on a worker's thread sees of it.
pub struct Worker {
    /// The number of the worker, from 0.
    pub index: usize,
    /// The outside.
    pub effects: Effects,
    /// Threads for heavy work, shared by all workers.
    pub pool: Arc<HeavyPool>,
    load: Arc<Load>,
    stop: watch::Receiver<bool>,
    tasks: Tasks,
    locals: RefCell<HashMap<TypeId, Rc<dyn Any>>>,
}

/// Tasks under way, so that a stop can wait for them.
#[derive(Default)]
struct Tasks {
    running: Cell<usize>,
    ended: Notify,
}

/// What the acceptor chooses by.
#[derive(Debug, Default)]
struct Load {
    sessions: AtomicUsize,
}

/// Counts a session for as long as it lives.
#[derive(Debug)]
pub struct SessionCount(Arc<Load>);

impl SessionCount {
    fn new(load: &Arc<Load>) -> SessionCount {
        load.sessions.fetch_add(1, Ordering::Relaxed);
        SessionCount(Arc::clone(load))
    }
}

impl Drop for SessionCount {
    fn drop(&mut self) {
        self.0.sessions.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Asks a worker that was made by [`Worker::alone`] to stop.
#[derive(Debug)]
pub struct Stopper(watch::Sender<bool>);

impl Stopper {
    /// Tells everything on the worker that it stops.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }
}

impl Worker {
    /// A worker on the calling thread: for the simulator, tests and one-shot tools. Tasks are
    /// spawned on the caller's [`LocalSet`].
    #[must_use]
    pub fn alone(effects: Effects, pool: Arc<HeavyPool>) -> (Rc<Worker>, Stopper) {
        let (sender, stop) = watch::channel(false);
        (
            Worker::new(0, effects, pool, Arc::default(), stop),
            Stopper(sender),
        )
    }

    fn new(
        index: usize,
        effects: Effects,
        pool: Arc<HeavyPool>,
        load: Arc<Load>,
        stop: watch::Receiver<bool>,
    ) -> Rc<Worker> {
        Rc::new(Worker {
            index,
            effects,
            pool,
            load,
            stop,
            tasks: Tasks::default(),
            locals: RefCell::default(),
        })
    }

    /// Runs `task` on this worker. A graceful stop waits for it.
    pub fn spawn(self: &Rc<Self>, task: impl Future<Output = ()> + 'static) {
        struct Running(Rc<Worker>);
        impl Drop for Running {
            fn drop(&mut self) {
                let tasks = &self.0.tasks;
                tasks.running.set(tasks.running.get().saturating_sub(1));
                tasks.ended.notify_one();
            }
        }
        let tasks = &self.tasks;
        tasks.running.set(tasks.running.get().saturating_add(1));
        let running = Running(Rc::clone(self));
        tokio::task::spawn_local(async move {
            let _running = running;
            task.await;
        });
    }

    /// Counts one more session here until the result is dropped.
    #[must_use]
    pub fn count_session(&self) -> SessionCount {
        SessionCount::new(&self.load)
    }

    /// Whether the worker has been told to stop.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        *self.stop.borrow()
    }

    /// Ends when the worker is told to stop.
    pub fn stopped(&self) -> impl Future<Output = ()> + 'static {
        let mut stop = self.stop.clone();
        async move {
            // An error means that the sender is gone, and with it whoever wanted this worker.
            let _ = stop.wait_for(|stop| *stop).await;
        }
    }

    /// This worker's one value of type `T`, made when first asked for: caches and pools that
    /// belong to a thread.
    pub fn local<T: 'static>(&self, make: impl FnOnce() -> T) -> Rc<T> {
        let key = TypeId::of::<T>();
        if let Some(found) = self.locals.borrow().get(&key)
            && let Ok(found) = Rc::clone(found).downcast()
        {
            return found;
        }
        // Not borrowed meanwhile: `make` may ask for other values.
        let made = Rc::new(make());
        self.locals
            .borrow_mut()
            .insert(key, Rc::clone(&made) as Rc<dyn Any>);
        made
    }

    /// Waits until no task is left.
    async fn idle(&self) {
        while self.tasks.running.get() > 0 {
            self.tasks.ended.notified().await;
        }
    }
}

/// The worker has stopped and takes no more jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the worker has stopped")]
pub struct Stopped;

/// Reaches a worker from any thread.
#[derive(Clone)]
pub struct WorkerHandle {
    index: usize,
    mailbox: mpsc::Sender<Job>,
    load: Arc<Load>,
}

impl WorkerHandle {
    /// The number of the worker.
    #[must_use]
    pub fn index(&self) -> usize {
        self.index
    }

    /// Sessions on the worker, those on their way to it included.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.load.sessions.load(Ordering::Relaxed)
    }

    /// Jobs that wait for the worker to begin them.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.mailbox
            .max_capacity()
            .saturating_sub(self.mailbox.capacity())
    }

    /// Counts one more session there until the result is dropped.
    #[must_use]
    pub fn count_session(&self) -> SessionCount {
        SessionCount::new(&self.load)
    }

    /// Has `job` run there; waits while the mailbox is full.
    ///
    /// # Errors
    /// [`Stopped`]; the job is dropped then.
    pub async fn run(
        &self,
        job: impl FnOnce(Rc<Worker>) -> LocalFuture<'static, ()> + Send + 'static,
    ) -> Result<(), Stopped> {
        self.mailbox.send(Box::new(job)).await.map_err(|_| Stopped)
    }

    /// Has `job` run there without waiting: for what a start gives to a worker that has nothing to do yet. False when
    /// its mailbox is full, or it has stopped.
    pub fn try_run(
        &self,
        job: impl FnOnce(Rc<Worker>) -> LocalFuture<'static, ()> + Send + 'static,
    ) -> bool {
        self.mailbox.try_send(Box::new(job)).is_ok()
    }
}

/// All workers.
pub struct Workers {
    handles: Vec<WorkerHandle>,
    stop: watch::Sender<bool>,
    /// Set when no more jobs are taken: after the stop, when the queue has ended too.
    end: watch::Sender<bool>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Workers {
    /// Starts `count` workers. After [`Workers::stop`] each lets its tasks finish for `grace`.
    ///
    /// # Errors
    /// When the system refuses a thread or what a runtime needs.
    pub fn start(
        count: usize,
        make: &MakeEffects,
        pool: &Arc<HeavyPool>,
        grace: Duration,
    ) -> io::Result<Workers> {
        let (stop, stopped) = watch::channel(false);
        let (end, ended) = watch::channel(false);
        let mut workers = Workers {
            handles: Vec::new(),
            stop,
            end,
            threads: Mutex::default(),
        };
        for index in 0..count.max(1) {
            let (sender, mailbox) = mpsc::channel(MAILBOX);
            let load = Arc::<Load>::default();
            workers.handles.push(WorkerHandle {
                index,
                mailbox: sender,
                load: Arc::clone(&load),
            });
            let (make, pool, stopped) = (Arc::clone(make), Arc::clone(pool), stopped.clone());
            let ended = ended.clone();
            // Made here, so that a refusal is an error of the start and not of a thread.
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            let thread = thread::Builder::new()
                .name(format!("angarium-worker-{index}"))
                .spawn(move || {
                    let main = async {
                        let worker = Worker::new(index, make(index), pool, load, stopped);
                        run(&worker, mailbox, ended, grace).await;
                    };
                    LocalSet::new().block_on(&runtime, main);
                })?;
            workers
                .threads
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(thread);
        }
        Ok(workers)
    }

    /// The workers, by index.
    #[must_use]
    pub fn handles(&self) -> &[WorkerHandle] {
        &self.handles
    }

    /// The worker with the fewest sessions.
    #[must_use]
    pub fn least_loaded(&self) -> Option<&WorkerHandle> {
        self.handles.iter().min_by_key(|handle| handle.sessions())
    }

    /// Tells all workers to stop: sessions between transactions say 421, others finish first. Jobs are
    /// still taken, for what is under way may need more of them, until [`Workers::join`].
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Ends all workers, which were told to stop, and waits for it on the calling thread.
    pub fn join(&self) {
        self.end.send_replace(true);
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            // A worker that panicked has ended too.
            let _ = thread.join();
        }
    }
}

/// Runs jobs until the end, then waits for what is under way.
async fn run(
    worker: &Rc<Worker>,
    mut mailbox: mpsc::Receiver<Job>,
    mut ended: watch::Receiver<bool>,
    grace: Duration,
) {
    // An error means that the owner is gone.
    let mut ended = std::pin::pin!(async move {
        let _ = ended.wait_for(|end| *end).await;
    });
    loop {
        let job = tokio::select! {
            job = mailbox.recv() => job,
            () = &mut ended => break,
        };
        let Some(job) = job else { break };
        spawn(worker, job);
    }
    // What was sent before the stop is taken and learns of it.
    mailbox.close();
    while let Some(job) = mailbox.recv().await {
        spawn(worker, job);
    }
    timeout(&*worker.effects.clock, grace, worker.idle()).await;
}

/// Calls the job inside its task, so that a panic in it ends nothing else.
fn spawn(worker: &Rc<Worker>, job: Job) {
    let own = Rc::clone(worker);
    worker.spawn(async move { job(own).await });
}

#[cfg(test)]
mod tests {
    use super::*;
    use angarium_effects::SeededRandom;
    use angarium_effects::dns::TableDns;
    use angarium_effects::system::{SystemClock, SystemNet};

    fn effects() -> MakeEffects {
        Arc::new(|index| Effects {
            clock: Rc::new(SystemClock),
            random: Rc::new(SeededRandom::new(index as u64)),
            dns: Rc::new(TableDns::default()),
            net: Rc::new(SystemNet),
        })
    }

    fn start(count: usize, grace: Duration) -> Workers {
        Workers::start(count, &effects(), &HeavyPool::inline(), grace).expect("threads")
    }

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime")
            .block_on(future)
    }

    #[test]
    fn a_stop_waits_for_tasks_under_way_and_refuses_new_jobs() {
        let workers = start(2, Duration::from_secs(30));
        let (sender, results) = std::sync::mpsc::channel();
        block_on(async {
            for handle in workers.handles() {
                let sender = sender.clone();
                let job = handle.run(move |worker| {
                    Box::pin(async move {
                        worker.stopped().await;
                        worker.effects.clock.sleep(Duration::from_millis(20)).await;
                        let _ = sender.send(worker.index);
                    })
                });
                job.await.expect("running");
            }
        });
        workers.stop();
        workers.join();
        drop(sender);
        let mut seen: Vec<usize> = results.iter().collect();
        seen.sort_unstable();
        assert_eq!(seen, [0, 1]);
        let late = workers.handles()[0].run(|_| Box::pin(async {}));
        assert_eq!(block_on(late), Err(Stopped));
    }

    #[test]
    fn a_stop_does_not_wait_longer_than_its_grace() {
        let workers = start(1, Duration::from_millis(10));
        block_on(async {
            let job = workers.handles()[0].run(|_| Box::pin(std::future::pending()));
            job.await.expect("running");
        });
        workers.stop();
        workers.join();
    }

    #[test]
    fn a_panic_in_a_task_leaves_the_worker_and_its_counts_intact() {
        let workers = start(1, Duration::from_secs(30));
        let handle = &workers.handles()[0];
        let (sender, result) = std::sync::mpsc::channel();
        block_on(async {
            let count = handle.count_session();
            let job = handle.run(move |_| {
                Box::pin(async move {
                    let _count = count;
                    panic!("on purpose");
                })
            });
            job.await.expect("running");
            let job = handle.run(move |_| {
                Box::pin(async move {
                    let _ = sender.send(1);
                })
            });
            job.await.expect("running");
        });
        assert_eq!(result.recv(), Ok(1));
        workers.stop();
        workers.join();
        assert_eq!(handle.sessions(), 0);
    }

    #[test]
    fn the_least_loaded_worker_is_the_one_with_the_fewest_sessions() {
        let workers = start(2, Duration::ZERO);
        let first = workers.least_loaded().expect("a worker").count_session();
        assert_eq!(workers.least_loaded().map(WorkerHandle::index), Some(1));
        let second = workers.least_loaded().expect("a worker").count_session();
        drop(first);
        assert_eq!(workers.least_loaded().map(WorkerHandle::index), Some(0));
        drop(second);
        workers.stop();
        workers.join();
    }

    #[test]
    fn a_local_value_is_made_once() {
        let make = effects();
        let (worker, _stopper) = Worker::alone(make(0), HeavyPool::inline());
        let first = worker.local(|| Cell::new(1));
        first.set(2);
        assert_eq!(worker.local(|| Cell::new(1)).get(), 2);
    }
}
