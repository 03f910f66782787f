//! Files: the one door to the file system.
//!
//! Everything that reads or writes a file does it through [`Disk`] and [`DiskFile`], so that the whole
//! MTA can run on [`SimDisk`], a disk in memory that loses, tears and reorders what was not synced and
//! fails on command. [`SystemDisk`] is the real one.
//!
//! The interface is synchronous and positioned: a file has no cursor, so that one handle serves many
//! readers, and the caller decides on which thread it waits. It is object-safe; one virtual call
//! beside a system call cannot be measured.
//!
//! What a caller may rely on after a loss of power, and what the simulator takes away from whoever
//! relies on more (POSIX.1-2024, `fsync`):
//! - bytes and length of a file after a successful [`DiskFile::sync_data`];
//! - names (create, link, rename, unlink) in a directory after a successful [`Disk::sync_dir`] on it;
//!   syncing a new file does not sync its name;
//! - after a failed sync nothing: the system may have dropped the changes and forgotten about them, so
//!   a second sync that succeeds proves nothing.

use std::ffi::OsString;
use std::fmt::Debug;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

mod sim;
mod system;

pub use sim::{Counters, Fault, Loss, SimDisk};
pub use system::SystemDisk;

/// A file system.
pub trait Disk: Debug + Send + Sync {
    /// Opens the file `path`. Files are created with mode 0600 (less the umask).
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens a file without a name in the file system that holds `dir`. It vanishes with its last
    /// handle unless [`DiskFile::link`] names it first.
    fn open_unnamed(&self, dir: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Renames `from` to `to`, replacing what `to` named, in one step.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Gives the file `from` the second name `to`, which must not exist.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes the name of a file. Open handles go on working.
    fn unlink(&self, path: &Path) -> io::Result<()>;

    /// Creates a directory with mode 0700 (less the umask). Its parent must exist.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// Removes an empty directory.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;

    /// Lists a directory, sorted by name, without `.` and `..`.
    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>>;

    /// Makes the names in a directory durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// Looks a path up, following symbolic links.
    fn metadata(&self, path: &Path) -> io::Result<Metadata>;

    /// Tells how much room the file system that holds `path` has for this process.
    fn space(&self, path: &Path) -> io::Result<Space>;

    /// Creates the file `path` if needed and locks it against every other process and handle, until
    /// the result is dropped. Fails at once with [`io::ErrorKind::WouldBlock`] if somebody holds it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>>;
}

/// An open file. Handles are shared between threads; all access names its offset.
pub trait DiskFile: Debug + Send + Sync {
    /// Reads at `offset` and tells how much was read: less than asked for near the end, 0 at the end.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes at `offset` and tells how much was written, which may be less than asked for.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;

    /// Writes at the end of a file opened with [`OpenMode::Append`].
    fn append(&self, bytes: &[u8]) -> io::Result<usize>;

    /// Makes the bytes and the length durable (`fdatasync`).
    fn sync_data(&self) -> io::Result<()>;

    /// Makes the bytes and all metadata durable (`fsync`).
    fn sync_all(&self) -> io::Result<()>;

    /// Sets the length, cutting or filling with zeros.
    fn truncate(&self, length: u64) -> io::Result<()>;

    /// Reserves room for the first `length` bytes and makes the file at least that long. A system
    /// that cannot reserve only sets the length.
    fn allocate(&self, length: u64) -> io::Result<()>;

    /// Returns what is known about the file.
    fn metadata(&self) -> io::Result<Metadata>;

    /// Names a file from [`Disk::open_unnamed`]; `path` must not exist and must lie in the same file
    /// system. [`io::ErrorKind::Unsupported`] where the file system has no such files; the caller then
    /// copies.
    fn link(&self, path: &Path) -> io::Result<()>;

    /// Fills `buffer` from `offset`, or fails with [`io::ErrorKind::UnexpectedEof`].
    fn read_exact_at(&self, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
        while !buffer.is_empty() {
            match self.read_at(buffer, offset) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => {
                    buffer = buffer.get_mut(read..).unwrap_or_default();
                    offset = offset.saturating_add(read as u64);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Writes all of `bytes` at `offset`, going on after short writes.
    fn write_all_at(&self, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.write_at(bytes, offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    bytes = bytes.get(written..).unwrap_or_default();
                    offset = offset.saturating_add(written as u64);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// A held lock; dropping it releases it.
pub trait DiskLock: Debug + Send + Sync {}

/// How [`Disk::open`] opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// An existing file, for reading.
    Read,
    /// An existing file, for reading and writing.
    ReadWrite,
    /// A file that must not exist yet, for reading and writing.
    CreateNew,
    /// A file, emptied if it exists and created if not, for reading and writing.
    CreateEmpty,
    /// A file, created if it does not exist, for [`DiskFile::append`].
    Append,
}

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    /// The name, without the directory.
    pub name: OsString,
    /// What it names.
    pub kind: FileKind,
}

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// Anything else: a socket, a device, a symbolic link in a listing.
    Other,
}

/// What is known about a file or directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// What it is.
    pub kind: FileKind,
    /// The length in bytes.
    pub length: u64,
    /// When its content last changed, since the Unix epoch.
    pub modified: Duration,
}

/// The room in a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Bytes that this process may still use.
    pub bytes: u64,
    /// Files that this process may still create; [`u64::MAX`] where the file system does not count.
    pub inodes: u64,
}

/// Reads a whole file of at most `limit` bytes.
///
/// A longer file fails with [`io::ErrorKind::FileTooLarge`].
pub fn read_file(disk: &dyn Disk, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let file = disk.open(path, OpenMode::Read)?;
    let length = file.metadata()?.length;
    if length > limit {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    // The length is a hint: files in /proc say 0, and a file may grow while it is read.
    let mut bytes = Vec::new();
    let mut chunk = vec![0; usize::try_from(length.clamp(4096, 1 << 20)).unwrap_or(4096)];
    loop {
        match file.read_at(&mut chunk, bytes.len() as u64) {
            Ok(0) => return Ok(bytes),
            Ok(read) => bytes.extend_from_slice(chunk.get(..read).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if bytes.len() as u64 > limit {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
    }
}

/// Creates `path` and every missing directory above it, so that the names of all of them survive a loss of power.
///
/// The names of directories that are there are synced as well: whoever made them may have ended, or failed, before. Only
/// where this process may not, or the file system cannot, they are left to those who made them.
pub fn create_dir_all(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    let mut missing = Vec::new();
    let named = || {
        path.ancestors()
            .take_while(|ancestor| !ancestor.as_os_str().is_empty())
    };
    for ancestor in named() {
        match disk.metadata(ancestor) {
            Ok(found) if found.kind == FileKind::Directory => break,
            Ok(_) => return Err(io::ErrorKind::NotADirectory.into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => missing.push(ancestor),
            Err(error) => return Err(error),
        }
    }
    for directory in missing.iter().rev() {
        match disk.create_dir(directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    let above: Vec<_> = named()
        .filter_map(|directory| Some((directory, directory.parent()?)))
        .collect();
    for (directory, parent) in above.into_iter().rev() {
        let parent = if parent.as_os_str().is_empty() {
            Path::new(".")
        } else {
            parent
        };
        let is_new = missing.contains(&directory);
        match disk.sync_dir(parent) {
            Err(error) if !is_new && cannot_be_synced(&error) => {}
            synced => synced?,
        }
    }
    Ok(())
}

fn cannot_be_synced(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidInput, PermissionDenied, Unsupported};
    matches!(error.kind(), PermissionDenied | InvalidInput | Unsupported)
}
