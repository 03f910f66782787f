//! The queue as a service: one owner of the [`Scheduler`], reached by messages.
//!
//! [`Service::start`] runs it on a thread of its own, [`serve`] on the caller's (the simulator, tests).
//! Everything that the scheduler asks for becomes a job on a worker or a write of the spool, each
//! answered by a message. An answer is sent however a job ends: one that is dropped, because its
//! worker stopped or its code panicked, sends a fallback.
//!
//! The mailbox is bounded: who has new mail or an answer waits while it is full. The service itself
//! waits only for workers' mailboxes, which their loops empty at any time, so nobody waits in a ring.

use std::io;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use angarium_queue::scheduler::Scheduler;
use angarium_spool::{Recovered, Spool};
use tokio::task::LocalSet;

use super::gate::Gate;
use super::handle::{Handle, channel};
use super::owner::Owner;
use super::{Live, jobs};
use crate::log::Log;
use crate::pool::HeavyPool;
use crate::worker::{MakeEffects, Worker, WorkerHandle};

/// The queue that this service owns.
pub type Queue = Scheduler<Gate>;

/// What the service is made of.
pub struct Start {
    /// The spool, open.
    pub spool: Spool,
    /// What was found in it.
    pub recovered: Recovered,
    /// Settings and scripts.
    pub live: Arc<Live>,
    /// Threads for reading large messages and building notifications.
    pub pool: Arc<HeavyPool>,
    /// The log.
    pub log: Arc<dyn Log>,
}

/// Who runs the jobs.
#[derive(Clone)]
pub enum Crew {
    /// Workers on their threads.
    Workers(Vec<WorkerHandle>),
    /// One worker on the service's own thread.
    Alone(Rc<Worker>),
}

impl Crew {
    pub(super) fn len(&self) -> usize {
        match self {
            Crew::Workers(handles) => handles.len().max(1),
            Crew::Alone(_) => 1,
        }
    }

    /// Has a job run. One that no worker takes is dropped, which answers for it; false says so.
    pub(super) async fn run(&self, index: usize, job: impl jobs::Job) -> bool {
        match self {
            Crew::Workers(handles) => match handles.get(index) {
                Some(handle) => handle.run(job).await.is_ok(),
                None => false,
            },
            Crew::Alone(worker) => {
                let task = job(Rc::clone(worker));
                worker.spawn(task);
                true
            }
        }
    }
}

/// A running service.
pub struct Service {
    handle: Handle,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Service {
    /// Starts the service on a thread of its own. `make` gives that thread its clock and chance; it
    /// is asked for the number after the last worker's. `greet` is given the way to the service before
    /// it does anything.
    ///
    /// # Errors
    /// The system refuses a thread or what a runtime needs.
    pub fn start(
        start: Start,
        workers: Vec<WorkerHandle>,
        make: &MakeEffects,
        greet: impl FnOnce(&Handle),
    ) -> io::Result<Service> {
        let (handle, inbox) = channel();
        greet(&handle);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (mine, make, index) = (handle.clone(), Arc::clone(make), workers.len());
        let thread = thread::Builder::new()
            .name("angarium-queue".to_owned())
            .spawn(move || {
                let main = async {
                    let effects = make(index);
                    let crew = Crew::Workers(workers);
                    Owner::new(start, mine, effects, crew).run(inbox).await;
                };
                LocalSet::new().block_on(&runtime, main);
            })?;
        Ok(Service {
            handle,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// The way to it.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Waits, on the calling thread, until it has stopped.
    pub fn join(&self) {
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread {
            // A service that panicked has ended too.
            let _ = thread.join();
        }
    }
}

/// The service on the caller's thread with one worker: the future runs it, on the caller's
/// [`LocalSet`], until it is stopped.
pub fn serve(start: Start, worker: Rc<Worker>) -> (Handle, impl Future<Output = ()>) {
    let (handle, inbox) = channel();
    let effects = worker.effects.clone();
    let owner = Owner::new(start, handle.clone(), effects, Crew::Alone(worker));
    (handle, owner.run(inbox))
}
