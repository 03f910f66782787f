//! The handle that everybody uses, and the threads behind it.

use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use angarium_effects::clock::Monotonic;
use angarium_effects::disk::Disk;

use crate::background::{Background, Progress};
use crate::body::{Body, BodyWriter};
use crate::config::Config;
use crate::error::{BodyError, CommitError, OpenError, ReadError, Refusal};
use crate::id::{BodyRef, ItemId};
use crate::large;
use crate::mailbox::Sent;
use crate::reader::{self, BodyReader};
use crate::recovered::Recovered;
use crate::recovery;
use crate::shared::{Request, Shared};
use crate::space;
use crate::ticket::{self, Completer, Ticket};
use crate::transaction::{Transaction, Work};
use crate::unload::{self, LoadedItem, UnloadError};
use crate::writer::Writer;

/// Tells the time of the monotonic clock, from any thread.
pub type Now = Arc<dyn Fn() -> Monotonic + Send + Sync>;

/// The spool. Clones are handles to the same spool.
#[derive(Clone, Debug)]
pub struct Spool {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// Threads that store large bodies.
const LARGE_THREADS: usize = 2;
/// How often the background work looks around when nobody nudges it.
const LOOK_AROUND: Duration = Duration::from_secs(1);

impl Spool {
    /// Opens the spool, creating it if there is none, and starts its threads.
    ///
    /// The items in the spool come with it; see [`Recovered`].
    pub fn open(
        disk: Arc<dyn Disk>,
        config: Config,
        now: Now,
    ) -> Result<(Self, Recovered), OpenError> {
        let path = config.path.clone();
        let (spool, recovered, stepper) = Self::open_stepped(disk, config)?;
        match spool.start(stepper, &now) {
            Ok(()) => Ok((spool, recovered)),
            Err(source) => Err(OpenError::Io {
                action: "start a thread for",
                path,
                source,
            }),
        }
    }

    /// Opens the spool without threads: whoever holds the [`Stepper`] does their work, for a simulation
    /// where every step is in one hand.
    pub fn open_stepped(
        disk: Arc<dyn Disk>,
        config: Config,
    ) -> Result<(Self, Recovered, Stepper), OpenError> {
        let (shared, writer, recovered) = recovery::open(disk, config, recovery::Access::Write)?;
        let background = Background::new(Arc::clone(&shared));
        let stepper = Stepper {
            shared: Arc::clone(&shared),
            writer,
            background,
        };
        let spool = Self {
            inner: Arc::new(Inner {
                shared,
                threads: Mutex::default(),
            }),
        };
        Ok((spool, recovered, stepper))
    }

    /// Begins a body that is being received.
    #[must_use]
    pub fn body_writer(&self) -> BodyWriter {
        let shared = &self.inner.shared;
        BodyWriter::new(
            Arc::clone(&shared.disk),
            shared.config.tmp.clone(),
            Arc::clone(&shared.budget),
        )
    }

    /// Makes a body of bytes that are at hand.
    pub fn body(&self, bytes: &[u8]) -> Result<Body, BodyError> {
        let mut writer = self.body_writer();
        writer.write(bytes)?;
        writer.finish()
    }

    /// Begins a transaction.
    #[must_use]
    pub fn transaction(&self) -> Transaction {
        Transaction::new(Arc::clone(&self.inner.shared))
    }

    /// Makes a transaction durable.
    ///
    /// It is under way when this returns, unless the writer's mailbox is full; then it is when the
    /// result was first waited for. Once it is under way, dropping the result does not stop it.
    pub fn commit(&self, transaction: Transaction) -> Commit {
        let (ticket, completer) = ticket::pair();
        let mut commit = Commit {
            shared: Arc::clone(&self.inner.shared),
            ticket,
            unsent: None,
        };
        match transaction.into_work() {
            Ok(work) => {
                commit.unsent = Some((work, completer));
                commit.send(None);
            }
            Err(error) => completer.complete(Err(error)),
        }
        commit
    }

    /// Replaces an item's bytes durably.
    pub fn update(&self, id: ItemId, blob: Vec<u8>) -> Commit {
        let mut transaction = self.transaction();
        transaction.update_item(id, blob);
        self.commit(transaction)
    }

    /// Removes an item. This never fails and waits for nothing: it is written soon, and a crash before
    /// may bring the item back, never lose another.
    pub fn complete(&self, id: ItemId) {
        self.inner
            .shared
            .mailbox
            .send_always(Request::Complete(id), ItemId::LENGTH as u64);
    }

    /// Makes everything asked for before durable, completions too.
    pub fn sync(&self) -> Commit {
        let (ticket, completer) = ticket::pair();
        self.inner
            .shared
            .mailbox
            .send_always(Request::Sync(completer), 0);
        Commit {
            shared: Arc::clone(&self.inner.shared),
            ticket,
            unsent: None,
        }
    }

    /// Opens a stored body. The reader keeps it readable.
    pub fn read(&self, body: BodyRef) -> Result<BodyReader, ReadError> {
        reader::open(&self.inner.shared, body)
    }

    /// Writes an item with its bodies to a file of its own in the directory `unload` and returns the path.
    /// The item stays; whoever wants it gone completes it after this. Waits for the disk.
    pub fn unload(&self, id: ItemId) -> Result<PathBuf, UnloadError> {
        unload::unload(&self.inner.shared, id)
    }

    /// Reads the file of an item. It is in the spool only when it was committed with a transaction; then
    /// the file can be removed. Waits for the disk.
    pub fn load(&self, path: &Path) -> Result<LoadedItem, UnloadError> {
        unload::load(&self.inner.shared, path, || self.body_writer())
    }

    /// Reads an item from the bytes of such a file, by way of a file that is gone afterwards; `name` tells it
    /// from others. Waits for the disk.
    pub fn load_bytes(&self, bytes: &[u8], name: &str) -> Result<LoadedItem, UnloadError> {
        unload::load_bytes(&self.inner.shared, bytes, name, || self.body_writer())
    }

    /// Tells whether new mail can be taken; asks the file system at most twice a second.
    pub fn accepting(&self, now: Monotonic) -> Result<(), Refusal> {
        match self.inner.shared.unavailable() {
            Some(reason) => Err(Refusal::Unavailable(reason)),
            None => space::check(&self.inner.shared, now),
        }
    }

    /// Returns what the spool did and holds.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats::of(&self.inner.shared)
    }

    /// Writes what waits, makes it durable and stops the threads. The lock is released when the last
    /// handle, transaction and reader is gone.
    pub fn close(&self) -> Result<(), CommitError> {
        self.inner.close()
    }

    fn start(&self, stepper: Stepper, now: &Now) -> io::Result<()> {
        let Stepper {
            shared,
            mut writer,
            mut background,
        } = stepper;
        let mut threads = self
            .inner
            .threads
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut spawn = |name: &str, work: Box<dyn FnOnce() + Send>| -> io::Result<()> {
            threads.push(thread::Builder::new().name(name.to_owned()).spawn(work)?);
            Ok(())
        };
        let (mine, clock) = (Arc::clone(&shared), Arc::clone(now));
        spawn(
            "spool-writer",
            Box::new(move || write_loop(&mine, &mut writer, &clock)),
        )?;
        for _ in 0..LARGE_THREADS {
            let mine = Arc::clone(&shared);
            spawn("spool-bodies", Box::new(move || large_loop(&mine)))?;
        }
        let clock = Arc::clone(now);
        spawn(
            "spool-background",
            Box::new(move || background_loop(&shared, &mut background, &clock)),
        )
    }
}

impl Inner {
    fn close(&self) -> Result<(), CommitError> {
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        if threads.is_empty() {
            return Ok(());
        }
        self.shared.large.close();
        let (bodies, others): (Vec<_>, Vec<_>) = threads
            .into_iter()
            .partition(|thread| thread.thread().name() == Some("spool-bodies"));
        join(bodies);
        let (ticket, completer) = ticket::pair();
        self.shared.mailbox.send_always(Request::Sync(completer), 0);
        let result = ticket.wait();
        self.shared.mailbox.close();
        self.shared.background.close();
        join(others);
        result
    }
}

fn join(threads: Vec<JoinHandle<()>>) {
    for thread in threads {
        // A thread that has panicked has said so already; there is nothing to add here.
        let _ = thread.join();
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Whoever wanted to know the result has called `close`.
        let _ = self.close();
    }
}

fn write_loop(shared: &Shared, writer: &mut Writer, now: &Now) {
    writer.step(now(), Vec::new());
    loop {
        let timeout = writer.due().map(|due| due.since(now()));
        let (requests, closed) = shared.mailbox.wait(shared.config.batch_size, timeout);
        let over = closed && requests.is_empty();
        writer.step(now(), requests);
        if over {
            return;
        }
    }
}

fn large_loop(shared: &Shared) {
    loop {
        let (waiting, closed) = shared.large.wait(0, None);
        if closed && waiting.is_empty() {
            return;
        }
        for (work, completer) in waiting {
            large::store(shared, work, completer);
        }
    }
}

fn background_loop(shared: &Shared, background: &mut Background, now: &Now) {
    loop {
        let progress = background.step(now());
        let timeout = if progress == Progress::Worked {
            Duration::ZERO
        } else {
            LOOK_AROUND
        };
        if shared.background.wait(0, Some(timeout)).1 {
            return;
        }
    }
}

/// A commit under way. Wait for it as a task (`.await`) or as a thread ([`wait`](Self::wait)).
#[derive(Debug)]
#[must_use = "nothing is known to be durable before the result is there"]
pub struct Commit {
    shared: Arc<Shared>,
    ticket: Ticket,
    /// What the full mailbox did not take yet.
    unsent: Option<(Work, Completer)>,
}

impl Commit {
    /// Waits until the transaction is durable or has failed.
    pub fn wait(mut self) -> Result<(), CommitError> {
        if let Some((work, completer)) = self.unsent.take() {
            // A refusal drops the completer, which the ticket reports.
            if work.has_files() {
                let size = work.size();
                self.shared.large.send((work, completer), size);
            } else {
                let size = work.size();
                self.shared
                    .mailbox
                    .send(Request::Commit(work, completer), size);
            }
        }
        self.ticket.wait()
    }

    /// Returns the result if it is there already.
    #[must_use]
    pub fn result(&self) -> Option<Result<(), CommitError>> {
        self.ticket.outcome()
    }

    fn send(&mut self, context: Option<&mut Context<'_>>) {
        let Some((work, completer)) = self.unsent.take() else {
            return;
        };
        let waker = context.map(|context| context.waker().clone());
        let size = work.size();
        self.unsent = if work.has_files() {
            match self
                .shared
                .large
                .try_send((work, completer), size, waker.as_ref())
            {
                Sent::Full(back) => Some(back),
                Sent::Yes | Sent::Closed => None,
            }
        } else {
            match self.shared.mailbox.try_send(
                Request::Commit(work, completer),
                size,
                waker.as_ref(),
            ) {
                Sent::Full(Request::Commit(work, completer)) => Some((work, completer)),
                Sent::Full(_) | Sent::Yes | Sent::Closed => None,
            }
        };
    }
}

impl Future for Commit {
    type Output = Result<(), CommitError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.send(Some(context));
        if self.unsent.is_some() {
            return Poll::Pending;
        }
        self.ticket.poll(context)
    }
}

/// Does the work of the threads when it is told to, for a simulation.
#[derive(Debug)]
pub struct Stepper {
    shared: Arc<Shared>,
    writer: Writer,
    background: Background,
}

impl Stepper {
    /// Stores the large bodies that wait and gives the writer one step. Returns whether anything was
    /// asked for.
    pub fn write(&mut self, now: Monotonic) -> bool {
        for (work, completer) in self.shared.large.take(u64::MAX) {
            large::store(&self.shared, work, completer);
        }
        let requests = self.shared.mailbox.take(self.shared.config.batch_size);
        let asked = !requests.is_empty();
        let due = self.writer.due().is_some_and(|due| due <= now);
        if asked || due {
            self.writer.step(now, requests);
        }
        asked
    }

    /// Does one piece of the background work. Returns whether there was one.
    pub fn background(&mut self, now: Monotonic) -> bool {
        self.background.step(now) == Progress::Worked
    }

    /// Does everything that is due at `now`.
    pub fn run(&mut self, now: Monotonic) {
        while self.write(now) || self.background(now) {}
    }

    /// Returns when [`run`](Self::run) is due though nobody asks for anything.
    #[must_use]
    pub fn due(&self) -> Option<Monotonic> {
        self.writer.due()
    }
}

/// What a spool did since it was opened, and what it holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Live items.
    pub items: u64,
    /// Bytes in segments, large bodies apart.
    pub log_bytes: u64,
    /// Bytes of records that a live item needs.
    pub live_bytes: u64,
    /// Segments.
    pub segments: u64,
    /// Commits that are durable.
    pub commits: u64,
    /// Commits that failed.
    pub failed: u64,
    /// Completions written.
    pub completions: u64,
    /// Writes to the log, one for each batch.
    pub batches: u64,
    /// Syncs of the log.
    pub syncs: u64,
    /// Bytes written to the log.
    pub written: u64,
    /// Bytes that compaction has written again.
    pub moved: u64,
    /// Memory of bodies that are not committed, in bytes.
    pub memory: u64,
}

impl Stats {
    /// What was done and what there is.
    pub(crate) fn of(shared: &Shared) -> Stats {
        let load = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let (mut log_bytes, mut live_bytes, mut segments) = (0u64, 0u64, 0u64);
        for segment in shared.index.segments().values() {
            log_bytes = log_bytes.saturating_add(segment.size());
            live_bytes = live_bytes.saturating_add(segment.live());
            segments = segments.saturating_add(1);
        }
        Stats {
            items: shared.index.items() as u64,
            log_bytes,
            live_bytes,
            segments,
            commits: load(&shared.stats.commits),
            failed: load(&shared.stats.failed),
            completions: load(&shared.stats.completions),
            batches: load(&shared.stats.batches),
            syncs: load(&shared.stats.syncs),
            written: load(&shared.stats.bytes),
            moved: load(&shared.stats.moved),
            memory: shared.budget.used(),
        }
    }
}
