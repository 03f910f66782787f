//! Bodies on their way in.
//!
//! A body stays in memory up to 256 KiB, within a budget that all unfinished bodies share, and goes to
//! a file without a name beyond that.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use angarium_effects::disk::{Disk, DiskFile};

use crate::error::BodyError;

/// The largest body that goes into the log itself; a larger one gets a file of its own.
pub const INLINE_MAX: usize = 256 << 10;

/// The largest list of edits that belongs into an item; beyond it the modified message is stored as a
/// body of its own.
pub const EDITS_MAX: usize = 64 << 10;

/// How much of a large body is collected for one write.
const WRITE_SIZE: usize = 64 << 10;
const FIRST_SIZE: usize = 4 << 10;

/// The memory that unfinished bodies share.
#[derive(Debug)]
pub(crate) struct Budget {
    used: AtomicU64,
    limit: u64,
}

/// A part of the budget, given back when dropped.
#[derive(Debug)]
struct Share {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Budget {
    pub(crate) fn new(limit: u64) -> Self {
        Self {
            used: AtomicU64::new(0),
            limit,
        }
    }

    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }
}

impl Share {
    /// Changes the share to `bytes`; more is refused when the budget is used up.
    fn resize(&mut self, bytes: u64) -> Result<(), BodyError> {
        let more = bytes.saturating_sub(self.bytes);
        let used = self.budget.used.fetch_add(more, Ordering::Relaxed);
        if more > 0 && used.saturating_add(more) > self.budget.limit {
            self.budget.used.fetch_sub(more, Ordering::Relaxed);
            return Err(BodyError::Memory);
        }
        self.budget
            .used
            .fetch_sub(self.bytes.saturating_sub(bytes), Ordering::Relaxed);
        self.bytes = bytes;
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Takes a body in, piece by piece. Dropped unfinished it leaves nothing behind.
#[derive(Debug)]
pub struct BodyWriter {
    disk: Arc<dyn Disk>,
    tmp: PathBuf,
    share: Share,
    /// The whole body so far, or what is not in the file yet.
    buffer: Vec<u8>,
    file: Option<Arc<dyn DiskFile>>,
    /// The length of the file.
    written: u64,
    length: u64,
    crc: u32,
}

impl BodyWriter {
    pub(crate) fn new(disk: Arc<dyn Disk>, tmp: PathBuf, budget: Arc<Budget>) -> Self {
        let share = Share { budget, bytes: 0 };
        Self {
            disk,
            tmp,
            share,
            buffer: Vec::new(),
            file: None,
            written: 0,
            length: 0,
            crc: 0,
        }
    }

    /// Appends bytes. After an error the writer is of no more use.
    ///
    /// A body beyond [`INLINE_MAX`] is written to the page cache of the system here, without a sync.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), BodyError> {
        self.length = self.length.saturating_add(bytes.len() as u64);
        self.crc = crc32c::crc32c_append(self.crc, bytes);
        if self.file.is_none() && self.buffer.len().saturating_add(bytes.len()) > INLINE_MAX {
            self.file = Some(
                self.disk
                    .open_unnamed(&self.tmp)
                    .map_err(|source| self.io(source))?,
            );
        }
        if self.file.is_some() && self.buffer.len().saturating_add(bytes.len()) > WRITE_SIZE {
            self.flush()?;
            if bytes.len() >= WRITE_SIZE {
                return self.write_file(bytes);
            }
        }
        self.reserve(bytes.len())?;
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    /// Returns how much was written so far.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Ends the body.
    pub fn finish(mut self) -> Result<Body, BodyError> {
        if self.file.is_some() {
            self.flush()?;
            self.buffer = Vec::new();
            self.share.resize(0)?;
        }
        let content = match self.file.take() {
            Some(file) => Content::File(file),
            None => Content::Memory(std::mem::take(&mut self.buffer), self.share),
        };
        Ok(Body {
            inner: Arc::new(Inner {
                content,
                length: self.length,
                crc: self.crc,
            }),
        })
    }

    /// Makes room in the buffer, and in the budget first.
    fn reserve(&mut self, more: usize) -> Result<(), BodyError> {
        let wanted = self.buffer.len().saturating_add(more);
        if wanted > self.buffer.capacity() {
            let capacity = wanted.next_power_of_two().max(FIRST_SIZE);
            self.share.resize(capacity as u64)?;
            self.buffer
                .reserve_exact(capacity.saturating_sub(self.buffer.len()));
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), BodyError> {
        let buffer = std::mem::take(&mut self.buffer);
        self.write_file(&buffer)?;
        self.buffer = buffer;
        self.buffer.clear();
        if self.buffer.capacity() > WRITE_SIZE {
            self.buffer = Vec::new();
            self.share.resize(0)?;
        }
        Ok(())
    }

    /// Appends to the file.
    fn write_file(&mut self, bytes: &[u8]) -> Result<(), BodyError> {
        if let Some(file) = &self.file {
            file.write_all_at(bytes, self.written)
                .map_err(|source| self.io(source))?;
            self.written = self.written.saturating_add(bytes.len() as u64);
        }
        Ok(())
    }

    fn io(&self, source: io::Error) -> BodyError {
        BodyError::Io {
            path: self.tmp.clone(),
            source,
        }
    }
}

/// A body that was received and is not stored yet. Clones share the content.
#[derive(Clone, Debug)]
pub struct Body {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    content: Content,
    length: u64,
    crc: u32,
}

#[derive(Debug)]
enum Content {
    Memory(
        Vec<u8>,
        #[allow(dead_code, reason = "held for its drop")] Share,
    ),
    File(Arc<dyn DiskFile>),
}

impl Body {
    /// Returns the length in bytes.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.inner.length
    }

    /// Returns the whole body if it is in memory, which it is up to [`INLINE_MAX`].
    #[must_use]
    pub fn bytes(&self) -> Option<&[u8]> {
        match &self.inner.content {
            Content::Memory(bytes, _) => Some(bytes),
            Content::File(_) => None,
        }
    }

    /// Reads at `offset` and returns how much was read, 0 at the end.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        match &self.inner.content {
            Content::Memory(bytes, _) => Ok(read_slice(bytes, buffer, offset)),
            Content::File(file) => file.read_at(buffer, offset),
        }
    }

    pub(crate) fn file(&self) -> Option<&Arc<dyn DiskFile>> {
        match &self.inner.content {
            Content::Memory(..) => None,
            Content::File(file) => Some(file),
        }
    }

    pub(crate) fn crc(&self) -> u32 {
        self.inner.crc
    }
}

/// Copies what `bytes` has at `offset` into `buffer`.
pub(crate) fn read_slice(bytes: &[u8], buffer: &mut [u8], offset: u64) -> usize {
    let start = usize::try_from(offset)
        .unwrap_or(usize::MAX)
        .min(bytes.len());
    let rest = bytes.get(start..).unwrap_or_default();
    let length = rest.len().min(buffer.len());
    if let (Some(to), Some(from)) = (buffer.get_mut(..length), rest.get(..length)) {
        to.copy_from_slice(from);
    }
    length
}

#[cfg(test)]
mod tests {
    use super::*;
    use angarium_effects::disk::{Fault, SimDisk};

    fn writer(disk: &SimDisk, budget: &Arc<Budget>) -> BodyWriter {
        if disk.metadata("/tmp".as_ref()).is_err() {
            disk.create_dir("/tmp".as_ref()).expect("a directory");
        }
        BodyWriter::new(Arc::new(disk.clone()), "/tmp".into(), Arc::clone(budget))
    }

    fn read_all(body: &Body) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(body.length()).expect("length") + 10];
        let mut at = 0;
        loop {
            match body.read_at(&mut bytes[at..], at as u64).expect("read") {
                0 => break,
                read => at += read,
            }
        }
        bytes.truncate(at);
        bytes
    }

    #[test]
    fn bodies_of_all_lengths_and_cuts_come_back_whole() {
        let disk = SimDisk::new(1);
        let budget = Arc::new(Budget::new(1 << 20));
        for length in [
            0,
            1,
            5000,
            INLINE_MAX - 1,
            INLINE_MAX,
            INLINE_MAX + 1,
            1_000_000,
        ] {
            for cut in [1000, 8192, 70_000, 300_000] {
                let content: Vec<u8> = (0..length).map(|n| (n % 251) as u8).collect();
                let mut writer = writer(&disk, &budget);
                for piece in content.chunks(cut) {
                    writer.write(piece).expect("write");
                }
                let body = writer.finish().expect("finish");
                assert_eq!(
                    body.bytes().is_some(),
                    length <= INLINE_MAX,
                    "{length} bytes by {cut}"
                );
                assert!(read_all(&body) == content, "{length} bytes by {cut}");
                assert_eq!(body.crc(), crc32c::crc32c(&content));
            }
        }
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn the_budget_is_shared_and_given_back() {
        let disk = SimDisk::new(1);
        let budget = Arc::new(Budget::new(300 << 10));
        let mut first = writer(&disk, &budget);
        first.write(&[0; 200 << 10]).expect("within the budget");
        let mut second = writer(&disk, &budget);
        assert!(matches!(
            second.write(&[0; 100 << 10]),
            Err(BodyError::Memory)
        ));
        drop(second);
        let body = first.finish().expect("finish");
        assert_eq!(budget.used(), 256 << 10);
        drop(body);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn a_full_disk_is_an_error_that_says_so() {
        let disk = SimDisk::new(1);
        let budget = Arc::new(Budget::new(1 << 20));
        let mut writer = writer(&disk, &budget);
        disk.fail_after(0, Fault::NoSpace);
        let error = writer.write(&[0; INLINE_MAX + 1]).expect_err("no space");
        assert!(
            matches!(error, BodyError::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull)
        );
    }
}
