//! A disk in memory that keeps exactly what was synced, and of the rest what a seed says.
//!
//! Each file has two contents: what readers see (the page cache) and what is durable, with the list of
//! changes between them. A sync moves the changes over. After a loss of power each 512-byte sector of
//! each change that was not synced is there or not, in any combination; each name that was not synced
//! with its directory likewise. The same seed and the same calls give the same disk.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{DirEntry, Disk, DiskFile, DiskLock, Metadata, OpenMode, Space};

mod tree;

use tree::{Changes, Node, SplitMix, Tree};

/// A simulated disk. Clones are handles to the same disk.
#[derive(Clone)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

/// A failure to inject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// `EIO`. A write leaves any part of its bytes; a sync drops any part of what was not durable and
    /// forgets that it was not.
    Io,
    /// `ENOSPC`, at a write, an allocation, a new file or a new name.
    NoSpace,
    /// A write takes only a part of its bytes.
    ShortWrite,
    /// `EMFILE`, where a descriptor is made.
    NoDescriptors,
}

/// What is lost when a machine stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// The process was killed; the system goes on and loses nothing.
    Process,
    /// The power failed; of what was not synced any part is lost.
    Power,
}

/// How often each kind of call was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// All calls.
    pub calls: u64,
    /// Reads of file contents.
    pub reads: u64,
    /// Writes and appends.
    pub writes: u64,
    /// Syncs of files.
    pub syncs: u64,
    /// Syncs of directories.
    pub directory_syncs: u64,
    /// Files opened or created.
    pub opens: u64,
    /// Names made, changed or removed.
    pub names: u64,
}

struct State {
    tree: Tree,
    random: SplitMix,
    counters: Counters,
    crash_after: Option<u64>,
    crashed: bool,
    faults: Vec<(u64, Fault)>,
    /// Syncs report success and do nothing, as a drive does that lies about its cache.
    sync_lies: bool,
    directory_sync_lies: bool,
    capacity: u64,
    inodes: u64,
    descriptors: u64,
    open: u64,
    locks: BTreeSet<PathBuf>,
}

/// What a call does, which decides the faults that it can meet.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Call {
    Read,
    Write,
    Sync,
    SyncDir,
    Open,
    Create,
    Name,
    Look,
}

impl SimDisk {
    /// Makes an empty disk without limits that never fails by itself.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::with_tree(Tree::new(), SplitMix::new(seed))
    }

    fn with_tree(tree: Tree, random: SplitMix) -> Self {
        let state = State {
            tree,
            random,
            counters: Counters::default(),
            crash_after: None,
            crashed: false,
            faults: Vec::new(),
            sync_lies: false,
            directory_sync_lies: false,
            capacity: u64::MAX,
            inodes: u64::MAX,
            descriptors: u64::MAX,
            open: 0,
            locks: BTreeSet::new(),
        };
        Self {
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// Lets `calls` more calls succeed; the one after them fails half done, and so does every later one.
    pub fn crash_after(&self, calls: u64) {
        let mut state = self.state();
        state.crash_after = Some(state.counters.calls.saturating_add(calls));
    }

    /// Injects `fault` into the first call that can meet it after `calls` more calls.
    pub fn fail_after(&self, calls: u64, fault: Fault) {
        let mut state = self.state();
        let at = state.counters.calls.saturating_add(calls);
        state.faults.push((at, fault));
    }

    /// Removes the faults that have not happened yet.
    pub fn clear_faults(&self) {
        self.state().faults.clear();
    }

    /// Takes [`crash_after`](Self::crash_after) back, if it has not happened yet.
    pub fn call_crash_off(&self) {
        self.state().crash_after = None;
    }

    /// Makes syncs of files, or of directories, do nothing and report success.
    pub fn lie(&self, files: bool, directories: bool) {
        let mut state = self.state();
        state.sync_lies = files;
        state.directory_sync_lies = directories;
    }

    /// Limits the bytes and inodes of the disk.
    pub fn set_capacity(&self, bytes: u64, inodes: u64) {
        let mut state = self.state();
        state.capacity = bytes;
        state.inodes = inodes;
    }

    /// Limits the number of open files.
    pub fn set_descriptors(&self, descriptors: u64) {
        self.state().descriptors = descriptors;
    }

    /// Tells whether the crash asked for has happened.
    #[must_use]
    pub fn has_crashed(&self) -> bool {
        self.state().crashed
    }

    /// Returns the calls made so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.state().counters
    }

    /// Stops this disk for good and returns what is found at the next start. The new disk has no
    /// faults, no limits and no locks; its randomness goes on from this one's.
    #[must_use]
    pub fn crash(&self, loss: Loss) -> Self {
        let mut state = self.state();
        state.crashed = true;
        let mut random = state.random.fork();
        let tree = match loss {
            Loss::Process => state.tree.survivor_of_kill(),
            Loss::Power => state.tree.survivor_of_power_loss(&mut random),
        };
        Self::with_tree(tree, random)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn handle(&self, inode: u64, append: bool) -> Arc<dyn DiskFile> {
        Arc::new(SimFile {
            disk: self.clone(),
            inode,
            append,
        })
    }
}

impl State {
    /// Counts a call. `Ok(Some(_))` is a fault that the call must act on; the second part tells that
    /// the machine stops in the middle of this call.
    fn enter(&mut self, call: Call) -> io::Result<Entered> {
        if self.crashed {
            return Err(stopped());
        }
        let number = self.counters.calls;
        self.counters.calls += 1;
        match call {
            Call::Read => self.counters.reads += 1,
            Call::Write => self.counters.writes += 1,
            Call::Sync => self.counters.syncs += 1,
            Call::SyncDir => self.counters.directory_syncs += 1,
            Call::Open | Call::Create => self.counters.opens += 1,
            Call::Name => self.counters.names += 1,
            Call::Look => {}
        }
        if self.crash_after.is_some_and(|last| number >= last) {
            self.crashed = true;
            return Ok(Entered {
                fault: None,
                stops: true,
            });
        }
        let due = self
            .faults
            .iter()
            .position(|&(at, fault)| at <= number && fault.can_meet(call));
        Ok(Entered {
            fault: due.map(|index| self.faults.remove(index).1),
            stops: false,
        })
    }

    fn room(&self, more: u64) -> bool {
        self.capacity == u64::MAX || self.tree.bytes_used().saturating_add(more) <= self.capacity
    }

    fn need_inode(&self) -> io::Result<()> {
        if self.inodes != u64::MAX && self.tree.inodes_used() >= self.inodes {
            return Err(no_space());
        }
        Ok(())
    }

    fn need_descriptor(&self) -> io::Result<()> {
        if self.open >= self.descriptors {
            Err(no_descriptors())
        } else {
            Ok(())
        }
    }

    fn sync(&mut self, inode: u64, entered: Entered, lies: bool) -> io::Result<()> {
        if entered.stops {
            // Any part may have reached the disk; the rest is where it was, in the page cache.
            self.tree.sync_partly(inode, &mut self.random);
            return entered.finish();
        }
        if entered.fault.is_some() {
            self.tree.fail_sync(inode, &mut self.random);
            return entered.finish();
        }
        if !lies {
            self.tree.sync(inode);
        }
        Ok(())
    }
}

/// The fate of a call.
#[derive(Clone, Copy)]
struct Entered {
    fault: Option<Fault>,
    stops: bool,
}

impl Entered {
    fn finish(self) -> io::Result<()> {
        if self.stops {
            Err(stopped())
        } else {
            self.fault.map_or(Ok(()), |fault| Err(fault.error()))
        }
    }

    /// The fate of a call that does nothing at all when it fails.
    fn check(self) -> io::Result<()> {
        self.finish()
    }
}

impl Fault {
    fn can_meet(self, call: Call) -> bool {
        match self {
            Self::Io => call != Call::Look,
            Self::NoSpace => matches!(call, Call::Write | Call::Create | Call::Name),
            Self::ShortWrite => call == Call::Write,
            Self::NoDescriptors => matches!(call, Call::Open | Call::Create),
        }
    }

    fn error(self) -> io::Error {
        match self {
            Self::Io | Self::ShortWrite => rustix::io::Errno::IO.into(),
            Self::NoSpace => no_space(),
            Self::NoDescriptors => no_descriptors(),
        }
    }
}

fn stopped() -> io::Error {
    io::Error::other("the simulated machine has stopped")
}

fn no_space() -> io::Error {
    rustix::io::Errno::NOSPC.into()
}

fn no_descriptors() -> io::Error {
    rustix::io::Errno::MFILE.into()
}

fn not_found() -> io::Error {
    io::ErrorKind::NotFound.into()
}

/// Splits a path into its names, all paths being taken from the root.
fn names(path: &Path) -> Vec<&OsStr> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => names.push(name),
            Component::ParentDir => {
                names.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    names
}

impl Disk for SimDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state();
        let state = &mut *state;
        let creates = !matches!(mode, OpenMode::Read | OpenMode::ReadWrite);
        let entered = state.enter(if creates { Call::Create } else { Call::Open })?;
        let names = names(path);
        let found = state.tree.find(&names);
        if entered.fault.is_some() {
            entered.check()?;
        }
        state.need_descriptor()?;
        let inode = match (found, mode) {
            (Some(_), OpenMode::CreateNew) => return Err(io::ErrorKind::AlreadyExists.into()),
            (Some(inode), _) => {
                if !state.tree.is_file(inode) {
                    return Err(io::ErrorKind::IsADirectory.into());
                }
                if mode == OpenMode::CreateEmpty {
                    state.tree.change(inode, Changes::Length(0));
                }
                inode
            }
            (None, OpenMode::Read | OpenMode::ReadWrite) => return Err(not_found()),
            (None, _) => {
                state.need_inode()?;
                let (directory, name) = state.tree.parent(&names)?;
                let inode = state.tree.add(Node::file());
                state.tree.set_name(directory, name, inode);
                inode
            }
        };
        entered.finish()?;
        state.open += 1;
        state.tree.opened(inode);
        Ok(self.handle(inode, mode == OpenMode::Append))
    }

    fn open_unnamed(&self, dir: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state();
        state.enter(Call::Create)?.check()?;
        state.need_descriptor()?;
        state.need_inode()?;
        let directory = state.tree.find(&names(dir));
        if directory.is_none_or(|inode| state.tree.is_file(inode)) {
            return Err(not_found());
        }
        let inode = state.tree.add(Node::file());
        state.open += 1;
        state.tree.opened(inode);
        Ok(self.handle(inode, false))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        let entered = state.enter(Call::Name)?;
        if entered.fault.is_some() {
            return entered.check();
        }
        let (from, to) = (names(from), names(to));
        let inode = state.tree.find(&from).ok_or_else(not_found)?;
        let (from_dir, from_name) = state.tree.parent(&from)?;
        let (to_dir, to_name) = state.tree.parent(&to)?;
        state
            .tree
            .rename(from_dir, from_name, to_dir, to_name, inode);
        entered.finish()
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        let entered = state.enter(Call::Name)?;
        if entered.fault.is_some() {
            return entered.check();
        }
        let inode = state.tree.find(&names(from)).ok_or_else(not_found)?;
        state.tree.new_name(&names(to), inode)?;
        entered.finish()
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        let entered = state.enter(Call::Name)?;
        if entered.fault.is_some() {
            return entered.check();
        }
        let names = names(path);
        let inode = state.tree.find(&names).ok_or_else(not_found)?;
        if !state.tree.is_file(inode) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let (directory, name) = state.tree.parent(&names)?;
        state.tree.remove_name(directory, name);
        entered.finish()
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        let entered = state.enter(Call::Name)?;
        if entered.fault.is_some() {
            return entered.check();
        }
        state.need_inode()?;
        let inode = state.tree.add(Node::directory());
        state.tree.new_name(&names(path), inode)?;
        entered.finish()
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        let entered = state.enter(Call::Name)?;
        if entered.fault.is_some() {
            return entered.check();
        }
        let names = names(path);
        let inode = state.tree.find(&names).ok_or_else(not_found)?;
        if !state.tree.entries(inode)?.is_empty() {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        let (directory, name) = state.tree.parent(&names)?;
        state.tree.remove_name(directory, name);
        entered.finish()
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let mut state = self.state();
        state.enter(Call::Read)?.check()?;
        let inode = state.tree.find(&names(path)).ok_or_else(not_found)?;
        let entries = state.tree.entries(inode)?;
        Ok(entries
            .iter()
            .map(|(name, &inode)| DirEntry {
                name: name.clone(),
                kind: state.tree.kind(inode),
            })
            .collect())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        let entered = state.enter(Call::SyncDir)?;
        let inode = state.tree.find(&names(path)).ok_or_else(not_found)?;
        if state.tree.is_file(inode) {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        let lies = state.directory_sync_lies;
        state.sync(inode, entered, lies)
    }

    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        let mut state = self.state();
        state.enter(Call::Look)?.check()?;
        let inode = state.tree.find(&names(path)).ok_or_else(not_found)?;
        Ok(metadata(&state.tree, inode))
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        let mut state = self.state();
        state.enter(Call::Look)?.check()?;
        state.tree.find(&names(path)).ok_or_else(not_found)?;
        Ok(Space {
            bytes: match state.capacity {
                u64::MAX => u64::MAX,
                capacity => capacity.saturating_sub(state.tree.bytes_used()),
            },
            inodes: match state.inodes {
                u64::MAX => u64::MAX,
                inodes => inodes.saturating_sub(state.tree.inodes_used()),
            },
        })
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        let held = path.components().collect::<PathBuf>();
        if self.state().locks.contains(&held) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let mode = match self.metadata(path) {
            Ok(_) => OpenMode::ReadWrite,
            Err(_) => OpenMode::CreateNew,
        };
        let file = self.open(path, mode)?;
        self.state().locks.insert(held.clone());
        Ok(Box::new(SimLock {
            disk: self.clone(),
            path: held,
            _file: file,
        }))
    }
}

fn metadata(tree: &Tree, inode: u64) -> Metadata {
    Metadata {
        kind: tree.kind(inode),
        length: tree.length(inode),
        modified: Duration::ZERO,
    }
}

#[derive(Debug)]
struct SimLock {
    disk: SimDisk,
    path: PathBuf,
    _file: Arc<dyn DiskFile>,
}

impl DiskLock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.disk.state().locks.remove(&self.path);
    }
}

#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    inode: u64,
    append: bool,
}

impl SimFile {
    fn write(&self, bytes: &[u8], offset: Option<u64>) -> io::Result<usize> {
        let mut state = self.disk.state();
        let state = &mut *state;
        let entered = state.enter(Call::Write)?;
        let offset = offset.unwrap_or_else(|| state.tree.length(self.inode));
        let length = match entered.fault {
            Some(Fault::NoSpace) => return entered.finish().map(|()| 0),
            Some(_) => state.random.below(bytes.len() as u64),
            None => bytes.len() as u64,
        };
        let end = offset.saturating_add(length);
        let grows = end.saturating_sub(state.tree.length(self.inode));
        if !state.room(grows) {
            return Err(no_space());
        }
        let taken = usize::try_from(length).unwrap_or(bytes.len());
        let part = bytes.get(..taken).unwrap_or(bytes);
        state
            .tree
            .change(self.inode, Changes::Write(offset, part.to_vec()));
        match entered.fault {
            Some(Fault::ShortWrite) if taken > 0 => Ok(taken),
            // A write of nothing would look like a full disk: let the smallest part through instead.
            Some(Fault::ShortWrite) if !bytes.is_empty() => {
                let first = bytes.get(..1).unwrap_or(bytes).to_vec();
                state.tree.change(self.inode, Changes::Write(offset, first));
                Ok(1)
            }
            _ => entered.finish().map(|()| taken),
        }
    }
}

impl DiskFile for SimFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = self.disk.state();
        state.enter(Call::Read)?.check()?;
        Ok(state.tree.read(self.inode, buffer, offset))
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.write(bytes, Some(offset))
    }

    fn append(&self, bytes: &[u8]) -> io::Result<usize> {
        if !self.append {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        self.write(bytes, None)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        let entered = state.enter(Call::Sync)?;
        let lies = state.sync_lies;
        state.sync(self.inode, entered, lies)
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        let entered = state.enter(Call::Write)?;
        if entered.fault.is_some() {
            return entered.check();
        }
        if !state.room(length.saturating_sub(state.tree.length(self.inode))) {
            return Err(no_space());
        }
        state.tree.change(self.inode, Changes::Length(length));
        entered.finish()
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        let present = self.metadata()?.length;
        self.truncate(length.max(present))
    }

    fn metadata(&self) -> io::Result<Metadata> {
        let mut state = self.disk.state();
        state.enter(Call::Look)?.check()?;
        Ok(metadata(&state.tree, self.inode))
    }

    fn link(&self, path: &Path) -> io::Result<()> {
        let mut state = self.disk.state();
        let entered = state.enter(Call::Name)?;
        if entered.fault.is_some() {
            return entered.check();
        }
        state.tree.new_name(&names(path), self.inode)?;
        entered.finish()
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        state.open = state.open.saturating_sub(1);
        state.tree.closed(self.inode);
    }
}

impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimDisk")
            .field("counters", &self.state().counters)
            .finish_non_exhaustive()
    }
}

/// Directory contents: names and what they stand for.
type Entries = BTreeMap<OsString, u64>;

#[cfg(test)]
mod tests;
