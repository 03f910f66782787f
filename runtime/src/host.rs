//! What an execution reaches outside itself: effects, shared services and the host's own state.

use std::any::{Any, TypeId};
use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use angarium_effects::{Clock, Dns, Monotonic, Random};

use crate::debugger::Debugger;
use crate::exception::Place;
use crate::native::{Finish, Job, LocalFuture};
use crate::pieces::Prepared;
use crate::shared::ExecutionId;
use crate::string::hash_bytes;

/// Runs [`Job`]s on a bounded pool of threads.
pub trait Pool: Send + Sync {
    /// Runs `job` and gives its result; a full queue makes the future wait, never fail.
    fn run(&self, job: Job) -> LocalFuture<Finish>;
}

/// Runs jobs at once, on the calling thread: for tests and one-shot tools.
pub struct Inline;

impl Pool for Inline {
    fn run(&self, job: Job) -> LocalFuture<Finish> {
        Box::pin(async move { job() })
    }
}

/// Where `echo`, warnings of built-ins and `syslog()` go.
pub trait Output {
    /// One `echo`: the bytes, without line end.
    fn echo(&self, text: &[u8]);
    /// One line for the system log; `priority` as in syslog(3), 0 to 7 plus a facility.
    fn syslog(&self, priority: u32, message: &[u8]);
}

/// Files that scripts may read: the bundle's virtual files and what lies below the script root.
pub trait Files {
    /// Opens `name` (`NAME`, `file:NAME`, `file://NAME`); none when it is missing or outside the
    /// root.
    fn open(&self, name: &str) -> Option<Arc<dyn FileData>>;

    /// A number that is another one when the content of `name` has changed; none when it is missing.
    fn stamp(&self, name: &str) -> Option<u64> {
        let file = self.open(name)?;
        Some(file.bytes().map_or(file.length(), hash_bytes))
    }
}

/// The message that a script handles: `cache` keeps what is `per_message` apart by it.
pub struct MessageScope(pub String);

/// No files at all.
pub struct NoFiles;

impl Files for NoFiles {
    fn open(&self, _name: &str) -> Option<Arc<dyn FileData>> {
        None
    }
}

/// An open file. It has no position, so that any thread may read it; dropping it closes it.
pub trait FileData: Send + Sync {
    /// Length in bytes, as far as it is known: a file on the disk may grow, and some say 0.
    fn length(&self) -> u64;

    /// Reads at `offset` and tells how much was read, 0 at the end.
    ///
    /// # Errors
    /// What the medium reports.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// All bytes, when they lie in memory. A file without them holds a descriptor of the system.
    fn bytes(&self) -> Option<&[u8]> {
        None
    }

    /// Where the file lies on the machine; none for files in memory.
    fn path(&self) -> Option<&Path> {
        None
    }
}

/// A file in memory.
impl FileData for Box<[u8]> {
    fn length(&self) -> u64 {
        self.len() as u64
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        Ok(read_slice(self, buffer, offset))
    }

    fn bytes(&self) -> Option<&[u8]> {
        Some(self)
    }
}

/// A file in memory that others hold too.
impl FileData for Arc<[u8]> {
    fn length(&self) -> u64 {
        self.len() as u64
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        Ok(read_slice(self, buffer, offset))
    }

    fn bytes(&self) -> Option<&[u8]> {
        Some(self)
    }
}

/// Copies what `bytes` has at `offset` into `buffer`.
fn read_slice(bytes: &[u8], buffer: &mut [u8], offset: u64) -> usize {
    let rest = usize::try_from(offset)
        .ok()
        .and_then(|start| bytes.get(start..))
        .unwrap_or_default();
    let length = rest.len().min(buffer.len());
    if let (Some(to), Some(from)) = (buffer.get_mut(..length), rest.get(..length)) {
        to.copy_from_slice(from);
    }
    length
}

/// The services of one execution. Cheap to make: everything in it is shared.
pub struct Host {
    /// Names this execution where locks are held.
    pub execution: ExecutionId,
    /// When this execution began, for `executiontime()`.
    pub started: Monotonic,
    /// Time and timers.
    pub clock: Rc<dyn Clock>,
    /// Random numbers fit for keys.
    pub random: Rc<dyn Random>,
    /// Name resolution.
    pub dns: Rc<dyn Dns>,
    /// Threads for heavy built-ins.
    pub pool: Arc<dyn Pool>,
    /// `echo` and the system log.
    pub output: Rc<dyn Output>,
    /// Readable files.
    pub files: Rc<dyn Files>,
    /// The regular expression engine (language.md 6.6); the language has operators for it, the library brings it.
    pub regex: &'static dyn RegexEngine,
    /// The system's host name.
    pub hostname: Rc<str>,
    /// Services that the library and the MTA add, by type (shared memory, the message of eod, the queue …).
    extensions: RefCell<HashMap<TypeId, Rc<dyn Any>>>,
    /// Where the last waiting built-in was called.
    called_at: RefCell<Option<Place>>,
    /// Who watches the scripts.
    debugger: RefCell<Option<Rc<dyn Debugger>>>,
    /// The functions that were called, for whoever watches.
    calls: RefCell<Vec<String>>,
    /// What was done in pieces for the instruction that runs.
    pub(crate) prepared: RefCell<Vec<Prepared>>,
}

impl Host {
    /// A host over these services, without extensions.
    #[must_use]
    #[expect(
        clippy::too_many_arguments,
        reason = "one argument a service; called in two places"
    )]
    pub fn new(
        clock: Rc<dyn Clock>,
        random: Rc<dyn Random>,
        dns: Rc<dyn Dns>,
        pool: Arc<dyn Pool>,
        output: Rc<dyn Output>,
        files: Rc<dyn Files>,
        regex: &'static dyn RegexEngine,
        hostname: Rc<str>,
    ) -> Host {
        let (execution, started) = (ExecutionId::next(), clock.monotonic());
        Host {
            execution,
            started,
            clock,
            random,
            dns,
            pool,
            output,
            files,
            regex,
            hostname,
            extensions: RefCell::default(),
            called_at: RefCell::default(),
            debugger: RefCell::default(),
            calls: RefCell::default(),
            prepared: RefCell::default(),
        }
    }

    /// Where the waiting built-in that runs was called; none when no script called it.
    #[must_use]
    pub fn called_at(&self) -> Option<Place> {
        self.called_at.borrow().clone()
    }

    /// Tells waiting built-ins where they are called.
    pub(crate) fn set_called_at(&self, place: Option<Place>) {
        *self.called_at.borrow_mut() = place;
    }

    /// Has `debugger` watch the scripts.
    pub fn watch(&self, debugger: Rc<dyn Debugger>) {
        *self.debugger.borrow_mut() = Some(debugger);
    }

    /// Who watches the scripts.
    #[must_use]
    pub fn debugger(&self) -> Option<Rc<dyn Debugger>> {
        self.debugger.borrow().clone()
    }

    /// The functions that were called when the waiting built-in was that runs; empty when nobody watches.
    #[must_use]
    pub fn calls(&self) -> Vec<String> {
        self.calls.borrow().clone()
    }

    pub(crate) fn set_calls(&self, calls: Vec<String>) {
        *self.calls.borrow_mut() = calls;
    }

    /// Adds or replaces the service of type `T`.
    pub fn extend<T: 'static>(&self, service: Rc<T>) {
        self.extensions
            .borrow_mut()
            .insert(TypeId::of::<T>(), service);
    }

    /// The service of type `T`.
    #[must_use]
    pub fn extension<T: 'static>(&self) -> Option<Rc<T>> {
        let service = Rc::clone(self.extensions.borrow().get(&TypeId::of::<T>())?);
        service.downcast().ok()
    }
}

/// A compiled regular expression, shared by threads.
pub trait CompiledRegex: Send + Sync {
    /// Access to the engine's own type.
    fn as_any(&self) -> &dyn Any;
    /// `/pattern/modifiers`
    fn text(&self) -> &[u8];
    /// Estimated bytes that it takes.
    fn memory(&self) -> usize {
        self.text().len()
    }
    /// Whether it matches somewhere in `subject`, within the small match limit.
    fn is_match(&self, subject: &[u8]) -> Matched;
    /// The same with the large limit, for the thread pool. `go_on` is asked from time to time; when it says no the search is
    /// given up with [`Matched::Limit`].
    fn is_match_heavy(&self, subject: &[u8], go_on: &mut dyn FnMut() -> bool) -> Matched;
}

/// The answer of [`CompiledRegex::is_match`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Matched {
    /// It matches.
    Yes,
    /// It does not.
    No,
    /// The limit was hit before an answer was found.
    Limit,
}

/// Ends work on another thread when it is dropped: held by the future that waits for it, because a script that is ended
/// drops what it waits for.
#[derive(Default)]
pub struct StopOnDrop(Arc<AtomicBool>);

impl StopOnDrop {
    /// Says, on the other thread, whether somebody still waits.
    pub fn go_on(&self) -> impl FnMut() -> bool + Send + 'static {
        let stopped = Arc::clone(&self.0);
        move || !stopped.load(Ordering::Relaxed)
    }
}

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Compiles regular expressions.
pub trait RegexEngine: Sync {
    /// Compiles a pattern with modifiers (a literal `#/…/mods`).
    ///
    /// # Errors
    /// What is wrong with the pattern and the byte offset in it.
    fn compile(
        &self,
        pattern: &[u8],
        modifiers: &[u8],
    ) -> Result<Arc<dyn CompiledRegex>, (String, usize)>;

    /// Compiles a string used as a pattern: `/…/mods` or a bare pattern; may cache.
    ///
    /// # Errors
    /// As [`RegexEngine::compile`].
    fn compile_text(&self, text: &[u8]) -> Result<Arc<dyn CompiledRegex>, (String, usize)>;
}
