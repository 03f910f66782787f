//! The files of the log.
//!
//! A segment starts with its header, twice, 4 KiB apart, so that one bad block does not take all
//! records with it. The header tells the segment's secret and where the segment before it ends:
//! what lies behind that end was never acknowledged and counts for nothing.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use angarium_effects::disk::{Disk, DiskFile, OpenMode};

use crate::record::Seal;

/// Where the first record of a segment starts.
pub(crate) const START: u64 = 8192;
const COPY: usize = 4096;
const MAGIC: &[u8; 8] = b"ANGSPOOL";
/// The version of the format that this code writes, and the newest that it reads.
pub(crate) const VERSION: u32 = 1;
const ENCODED: usize = 52;

/// The header of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// The number of the segment, which is also its name. Numbers grow and are never used again.
    pub(crate) number: u32,
    /// The number of the server's start that wrote it.
    pub(crate) session: u32,
    /// The secret in the checksums.
    pub(crate) salt: u64,
    /// The end of the segment written before.
    pub(crate) previous: Option<End>,
}

/// How far a segment counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    /// The segment.
    pub(crate) segment: u32,
    /// Nothing at or behind this offset counts.
    pub(crate) offset: u64,
    /// Whether all before the offset was synced.
    pub(crate) synced: bool,
}

/// Why a header cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeaderError {
    /// Written by a newer version.
    Version(u32),
    /// Neither copy is intact.
    Damaged,
}

impl Header {
    pub(crate) fn seal(&self) -> Seal {
        Seal {
            segment: self.number,
            salt: self.salt,
        }
    }

    /// Encodes the header with both copies: the bytes up to [`START`].
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut copy = Vec::with_capacity(COPY);
        copy.extend_from_slice(MAGIC);
        copy.extend_from_slice(&VERSION.to_le_bytes());
        copy.extend_from_slice(&self.number.to_le_bytes());
        copy.extend_from_slice(&self.session.to_le_bytes());
        let flags = u32::from(self.previous.is_some())
            | u32::from(self.previous.is_some_and(|p| p.synced)) << 1;
        copy.extend_from_slice(&flags.to_le_bytes());
        copy.extend_from_slice(&self.salt.to_le_bytes());
        copy.extend_from_slice(&self.previous.map_or(0, |p| p.segment).to_le_bytes());
        copy.extend_from_slice(&self.previous.map_or(0, |p| p.offset).to_le_bytes());
        copy.extend_from_slice(&[0; 4]);
        let crc = crc32c::crc32c(&copy);
        copy.extend_from_slice(&crc.to_le_bytes());
        copy.resize(COPY, 0);
        copy.extend_from_within(..);
        copy
    }

    /// Reads the first intact copy of the header from the front of a segment.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, HeaderError> {
        let first = Self::decode_copy(bytes);
        match bytes.get(COPY..) {
            Some(second) if first.is_err() => Self::decode_copy(second).or(first),
            _ => first,
        }
    }

    fn decode_copy(bytes: &[u8]) -> Result<Self, HeaderError> {
        let bytes = bytes.get(..ENCODED).ok_or(HeaderError::Damaged)?;
        let (covered, crc) = bytes.split_last_chunk::<4>().ok_or(HeaderError::Damaged)?;
        if !covered.starts_with(MAGIC) || crc32c::crc32c(covered) != u32::from_le_bytes(*crc) {
            return Err(HeaderError::Damaged);
        }
        let word = |at: usize| {
            covered
                .get(at..)
                .and_then(|rest| rest.first_chunk::<4>())
                .map_or(0, |word| u32::from_le_bytes(*word))
        };
        let long = |at: usize| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
        if word(8) != VERSION {
            return Err(HeaderError::Version(word(8)));
        }
        let flags = word(20);
        let previous = (flags & 1 != 0).then(|| End {
            segment: word(32),
            offset: long(36),
            synced: flags & 2 != 0,
        });
        Ok(Self {
            number: word(12),
            session: word(16),
            salt: long(24),
            previous,
        })
    }
}

/// Returns the path of segment `number` in the directory `log`.
pub(crate) fn path(log: &Path, number: u32) -> PathBuf {
    log.join(format!("{number:08x}.seg"))
}

/// Returns the number of the segment with this file name.
pub(crate) fn number(name: &str) -> Option<u32> {
    let digits = name.strip_suffix(".seg")?;
    u32::from_str_radix(digits, 16)
        .ok()
        .filter(|number| *name == format!("{number:08x}.seg"))
}

/// A segment as the index knows it. A reader that holds the file keeps its bytes readable whatever
/// becomes of the name.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) path: PathBuf,
    pub(crate) seal: Seal,
    /// The length of the file.
    size: AtomicU64,
    /// How far records were written. Of a segment of an earlier run, the length of the file.
    written: AtomicU64,
    /// Bytes of records that an item still needs.
    live: AtomicU64,
    file: Mutex<Option<Weak<dyn DiskFile>>>,
}

impl Segment {
    pub(crate) fn new(path: PathBuf, seal: Seal, size: u64, written: u64) -> Self {
        Self {
            path,
            seal,
            size: AtomicU64::new(size),
            written: AtomicU64::new(written),
            live: AtomicU64::new(0),
            file: Mutex::new(None),
        }
    }

    /// Opens the segment for reading; readers at the same time share a handle.
    pub(crate) fn open(&self, disk: &dyn Disk) -> io::Result<Arc<dyn DiskFile>> {
        let mut shared = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = shared.as_ref().and_then(Weak::upgrade) {
            return Ok(file);
        }
        let file = disk.open(&self.path, OpenMode::Read)?;
        *shared = Some(Arc::downgrade(&file));
        Ok(file)
    }

    /// Lets readers share a handle that is open already.
    pub(crate) fn share(&self, file: &Arc<dyn DiskFile>) {
        *self.file.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::downgrade(file));
    }

    pub(crate) fn size(&self) -> u64 {
        self.size.load(Ordering::Relaxed)
    }

    /// Bytes of records that were written, dead or alive. Room that was left free does not count as
    /// dead, so that compaction never moves what it has just moved.
    pub(crate) fn records(&self) -> u64 {
        self.written.load(Ordering::Relaxed).saturating_sub(START)
    }

    /// Nothing will be written any more, although there may be room: the room counts as dead.
    pub(crate) fn give_up(&self) {
        self.written_to(self.size());
    }

    /// Records were written up to `end`.
    pub(crate) fn written_to(&self, end: u64) {
        self.size.fetch_max(end, Ordering::Relaxed);
        self.written.fetch_max(end, Ordering::Relaxed);
    }

    pub(crate) fn live(&self) -> u64 {
        self.live.load(Ordering::Acquire)
    }

    pub(crate) fn add_live(&self, bytes: u64) {
        self.live.fetch_add(bytes, Ordering::AcqRel);
    }

    pub(crate) fn remove_live(&self, bytes: u64) {
        let before = self.live.fetch_sub(bytes, Ordering::AcqRel);
        debug_assert!(
            before >= bytes,
            "more bytes of {} died than lived",
            self.path.display()
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(previous: Option<End>) -> Header {
        Header {
            number: 0x1a,
            session: 3,
            salt: u64::MAX - 5,
            previous,
        }
    }

    #[test]
    fn a_header_is_read_back_and_fills_the_space_before_the_records() {
        for previous in [
            None,
            Some(End {
                segment: 0x19,
                offset: 1 << 33,
                synced: true,
            }),
        ] {
            let bytes = header(previous).encode();
            assert_eq!(bytes.len() as u64, START);
            assert_eq!(Header::decode(&bytes), Ok(header(previous)));
        }
    }

    #[test]
    fn either_copy_of_the_header_is_enough() {
        let mut bytes = header(None).encode();
        bytes[10] ^= 1;
        assert_eq!(Header::decode(&bytes), Ok(header(None)));
        bytes[COPY + 30] ^= 1;
        assert_eq!(Header::decode(&bytes), Err(HeaderError::Damaged));
    }

    #[test]
    fn a_newer_version_is_named_not_misread() {
        let mut bytes = header(None).encode();
        bytes[8] = 2;
        let crc = crc32c::crc32c(&bytes[..ENCODED - 4]).to_le_bytes();
        bytes[ENCODED - 4..ENCODED].copy_from_slice(&crc);
        bytes.truncate(COPY);
        assert_eq!(Header::decode(&bytes), Err(HeaderError::Version(2)));
    }

    #[test]
    fn names_of_segments_are_numbers() {
        assert_eq!(number("0000001a.seg"), Some(26));
        for other in ["1a.seg", "0000001a.segx", "checkpoint", "+000001a.seg"] {
            assert_eq!(number(other), None, "{other}");
        }
        assert_eq!(path(Path::new("/s"), 26), Path::new("/s/0000001a.seg"));
    }
}
