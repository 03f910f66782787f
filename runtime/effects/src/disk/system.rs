//! The real file system.

// This module is the one place that may touch files directly: it implements the trait that everybody
// else uses.
#![allow(clippy::disallowed_types, clippy::disallowed_methods)]

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs as system;

use super::{DirEntry, Disk, DiskFile, DiskLock, FileKind, Metadata, OpenMode, Space};

/// The disk of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemDisk;

impl Disk for SystemDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true).mode(0o600);
        match mode {
            OpenMode::Read => {}
            OpenMode::ReadWrite => {
                options.write(true);
            }
            OpenMode::CreateNew => {
                options.write(true).create_new(true);
            }
            OpenMode::CreateEmpty => {
                options.write(true).create(true).truncate(true);
            }
            OpenMode::Append => {
                options.append(true).create(true);
            }
        }
        Ok(Arc::new(SystemFile {
            file: options.open(path)?,
            unnamed: false,
        }))
    }

    fn open_unnamed(&self, dir: &Path) -> io::Result<Arc<dyn DiskFile>> {
        open_unnamed(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to)
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        fs::DirBuilder::new().mode(0o700).create(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            entries.push(DirEntry {
                name: entry.file_name(),
                kind: kind(entry.file_type()?),
            });
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        Ok(metadata(&fs::metadata(path)?))
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        let found = system::statvfs(path)?;
        Ok(Space {
            bytes: found.f_bavail.saturating_mul(found.f_frsize),
            // File systems that allocate inodes as they need them (btrfs, some network ones) say 0 of 0.
            inodes: if found.f_files == 0 {
                u64::MAX
            } else {
                found.f_favail
            },
        })
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)?;
        system::flock(&file, system::FlockOperation::NonBlockingLockExclusive)?;
        Ok(Box::new(SystemLock { _file: file }))
    }
}

/// The lock lives as long as its descriptor (`flock(2)`).
#[derive(Debug)]
struct SystemLock {
    _file: File,
}

impl DiskLock for SystemLock {}

#[derive(Debug)]
struct SystemFile {
    file: File,
    /// Opened with `O_TMPFILE`, so that `link` can still name it.
    unnamed: bool,
}

impl DiskFile for SystemFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        match self.file.read_at(buffer, offset) {
            // A pipe or a terminal has no offsets: it is read in the order in which it comes.
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::SPIPE.raw_os_error()) => {
                io::Read::read(&mut &self.file, buffer)
            }
            read => read,
        }
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.file.write_at(bytes, offset)
    }

    fn append(&self, bytes: &[u8]) -> io::Result<usize> {
        io::Write::write(&mut &self.file, bytes)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.file.set_len(length)
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        allocate(&self.file, length)
    }

    fn metadata(&self) -> io::Result<Metadata> {
        Ok(metadata(&self.file.metadata()?))
    }

    fn link(&self, path: &Path) -> io::Result<()> {
        if !self.unnamed {
            return Err(io::ErrorKind::Unsupported.into());
        }
        link(&self.file, path)
    }
}

#[cfg(target_os = "linux")]
fn open_unnamed(dir: &Path) -> io::Result<Arc<dyn DiskFile>> {
    use rustix::io::Errno;
    use system::{Mode, OFlags};
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    match system::open(dir, flags, Mode::RUSR | Mode::WUSR) {
        Ok(descriptor) => Ok(Arc::new(SystemFile {
            file: File::from(descriptor),
            unnamed: true,
        })),
        // The file system (or, for EISDIR, the kernel) does not know such files.
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => open_then_unlink(dir),
        Err(error) => Err(error.into()),
    }
}

#[cfg(not(target_os = "linux"))]
fn open_unnamed(dir: &Path) -> io::Result<Arc<dyn DiskFile>> {
    open_then_unlink(dir)
}

/// Makes a file that loses its name at once, where there is no way to make one without.
fn open_then_unlink(dir: &Path) -> io::Result<Arc<dyn DiskFile>> {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    loop {
        let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = dir.join(format!(".unnamed-{}-{number}", std::process::id()));
        match OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
        {
            Ok(file) => {
                fs::remove_file(&path)?;
                return Ok(Arc::new(SystemFile {
                    file,
                    unnamed: false,
                }));
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
}

/// Names an `O_TMPFILE` file the way that needs no privilege (`open(2)`).
#[cfg(target_os = "linux")]
fn link(file: &File, path: &Path) -> io::Result<()> {
    use std::os::fd::AsRawFd as _;
    let source = format!("/proc/self/fd/{}", file.as_raw_fd());
    match system::linkat(
        system::CWD,
        source,
        system::CWD,
        path,
        system::AtFlags::SYMLINK_FOLLOW,
    ) {
        // No /proc here, or an id mapping that forbids it.
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::PERM)
            if path.parent().is_some_and(|parent| parent.is_dir()) =>
        {
            Err(io::ErrorKind::Unsupported.into())
        }
        other => Ok(other?),
    }
}

#[cfg(not(target_os = "linux"))]
fn link(_: &File, _: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(target_os = "linux")]
fn allocate(file: &File, length: u64) -> io::Result<()> {
    match system::fallocate(file, system::FallocateFlags::empty(), 0, length) {
        Err(rustix::io::Errno::OPNOTSUPP) => extend(file, length),
        other => Ok(other?),
    }
}

#[cfg(not(target_os = "linux"))]
fn allocate(file: &File, length: u64) -> io::Result<()> {
    extend(file, length)
}

fn extend(file: &File, length: u64) -> io::Result<()> {
    if file.metadata()?.len() < length {
        file.set_len(length)
    } else {
        Ok(())
    }
}

fn metadata(found: &fs::Metadata) -> Metadata {
    let seconds = u64::try_from(found.mtime()).unwrap_or(0);
    let nanoseconds = u32::try_from(found.mtime_nsec()).unwrap_or(0);
    Metadata {
        kind: kind(found.file_type()),
        length: found.len(),
        modified: Duration::new(seconds, nanoseconds),
    }
}

fn kind(found: fs::FileType) -> FileKind {
    if found.is_file() {
        FileKind::File
    } else if found.is_dir() {
        FileKind::Directory
    } else {
        FileKind::Other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_is_read_to_its_end() {
        let (reader, mut writer) = io::pipe().expect("a pipe");
        let text = vec![b'x'; 10_000];
        let sent = text.clone();
        let sender = std::thread::spawn(move || io::Write::write_all(&mut writer, &sent));
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&reader));
        let read = super::super::read_file(&SystemDisk, Path::new(&path), 20_000).expect("read");
        assert_eq!(read, text);
        sender.join().expect("a thread").expect("written");
    }

    #[test]
    fn an_unnamed_file_leaves_nothing_until_it_is_linked() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let disk = SystemDisk;
        let file = disk.open_unnamed(dir.path()).expect("unnamed file");
        file.write_all_at(b"body", 0).expect("write");
        assert!(disk.list(dir.path()).expect("list").is_empty());
        let path = dir.path().join("named");
        match file.link(&path) {
            Ok(()) => {
                assert_eq!(
                    super::super::read_file(&disk, &path, 100).expect("read"),
                    b"body"
                );
                assert_eq!(
                    file.link(&path).expect_err("taken").kind(),
                    io::ErrorKind::AlreadyExists
                );
            }
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::Unsupported),
        }
    }

    #[test]
    fn a_held_lock_refuses_the_second_holder_until_it_is_dropped() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join(".lock");
        let held = SystemDisk.lock(&path).expect("first lock");
        let second = SystemDisk.lock(&path).expect_err("second lock");
        assert_eq!(second.kind(), io::ErrorKind::WouldBlock);
        drop(held);
        SystemDisk.lock(&path).expect("third lock");
    }

    #[test]
    fn allocate_extends_and_never_cuts() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let file = SystemDisk
            .open(&dir.path().join("f"), OpenMode::CreateNew)
            .expect("create");
        file.allocate(8192).expect("allocate");
        file.allocate(100).expect("allocate less");
        assert_eq!(file.metadata().expect("metadata").length, 8192);
        assert!(SystemDisk.space(dir.path()).expect("space").bytes > 0);
    }
}
