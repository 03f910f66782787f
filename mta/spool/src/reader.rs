//! Stored bodies, read.
//!
//! A reader holds the file, so that its bytes stay readable when compaction moves the body or the item
//! is completed meanwhile.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use angarium_effects::disk::{DiskFile, OpenMode};

use crate::body::read_slice;
use crate::error::{Corruption, ReadError};
use crate::id::{BodyId, BodyRef};
use crate::index::{BodyEntry, Location};
use crate::payload::Payload;
use crate::record::{self, Frame, HEADER};
use crate::segment::Segment;
use crate::shared::Shared;

/// Bodies up to this length are read and checked at once.
const WHOLE: u64 = 64 << 10;

/// A stored body.
///
/// [`io::Read`] reads it from the start and checks the checksum at the end: damage is an error of kind
/// [`io::ErrorKind::InvalidData`] in place of the last bytes' successor, the end. A reader that passes
/// the body on must treat it like any other broken source, and never end the message.
/// [`read_at`](Self::read_at) reads anywhere; of bodies above 64 KiB it does not check what it reads.
pub struct BodyReader {
    source: Source,
    length: u64,
    position: u64,
    crc: u32,
}

enum Source {
    /// Read and checked.
    Memory(Vec<u8>),
    /// In a segment.
    Segment {
        file: Arc<dyn DiskFile>,
        path: PathBuf,
        start: u64,
        id: BodyId,
        frame: Frame,
    },
    /// A file of its own.
    File {
        file: Arc<dyn DiskFile>,
        path: PathBuf,
        crc: u32,
    },
}

impl BodyReader {
    /// Returns the length in bytes.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Reads at `offset` and returns how much was read, 0 at the end.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let left = usize::try_from(self.length.saturating_sub(offset)).unwrap_or(usize::MAX);
        let wanted = left.min(buffer.len());
        let buffer = buffer.get_mut(..wanted).unwrap_or_default();
        match &self.source {
            Source::Memory(bytes) => Ok(read_slice(bytes, buffer, offset)),
            Source::Segment { file, start, .. } => {
                file.read_at(buffer, start.saturating_add(offset))
            }
            Source::File { file, .. } => file.read_at(buffer, offset),
        }
    }

    /// Returns the whole body if it was short enough to be read at once.
    #[must_use]
    pub fn in_memory(&self) -> Option<&[u8]> {
        match &self.source {
            Source::Memory(bytes) => Some(bytes),
            Source::Segment { .. } | Source::File { .. } => None,
        }
    }

    /// Compares the checksum after the last byte.
    fn check(&self) -> io::Result<()> {
        let (good, path) = match &self.source {
            Source::Memory(_) => return Ok(()),
            Source::Segment {
                id, frame, path, ..
            } => (frame.matches_body(*id, self.crc), path),
            Source::File { crc, path, .. } => (*crc == self.crc, path),
        };
        if good {
            Ok(())
        } else {
            Err(io::Error::new(
                io::ErrorKind::InvalidData,
                whole(path, self.length),
            ))
        }
    }
}

impl io::Read for BodyReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.read_at(buffer, self.position)?;
        let bytes = buffer.get(..read).unwrap_or_default();
        if !matches!(self.source, Source::Memory(_)) {
            self.crc = crc32c::crc32c_append(self.crc, bytes);
        }
        self.position = self.position.saturating_add(read as u64);
        if read == 0 && !buffer.is_empty() {
            if self.position < self.length {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.check()?;
        }
        Ok(read)
    }
}

impl fmt::Debug for BodyReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BodyReader")
            .field("length", &self.length)
            .finish_non_exhaustive()
    }
}

/// Opens a stored body.
pub(crate) fn open(shared: &Shared, body: BodyRef) -> Result<BodyReader, ReadError> {
    // Compaction may move the record and remove the segment between the look-up and the opening.
    let mut attempts = 0;
    loop {
        attempts += 1;
        let entry = shared
            .index
            .body(body.id)
            .ok_or(ReadError::Unknown(body.id))?;
        let opened = match shared.index.segment(entry.location.segment) {
            Some(segment) => open_entry(shared, body.id, entry, &segment),
            None => Err(ReadError::Unknown(body.id)),
        };
        let moved = shared
            .index
            .body(body.id)
            .is_none_or(|now| now.location != entry.location);
        match opened {
            Err(_) if moved && attempts < 5 => {}
            other => return other,
        }
    }
}

fn open_entry(
    shared: &Shared,
    id: BodyId,
    entry: BodyEntry,
    segment: &Segment,
) -> Result<BodyReader, ReadError> {
    let source = if entry.file {
        let (_, payload) = read_record(shared, segment, entry.location)?;
        let Some(Payload::File { crc, .. }) = Payload::decode(record::Kind::File, &payload) else {
            return Err(damaged(
                segment,
                entry.location,
                "the record is not that of a large body",
            ));
        };
        let path = shared.body_path(id);
        let file = shared.disk.open(&path, OpenMode::Read);
        let file = file.map_err(|source| ReadError::Io {
            path: path.clone(),
            source,
        })?;
        Source::File { file, path, crc }
    } else if entry.length <= WHOLE {
        let (_, mut payload) = read_record(shared, segment, entry.location)?;
        payload.drain(..size_of::<BodyId>().min(payload.len()));
        Source::Memory(payload)
    } else {
        let file = open_segment(shared, segment)?;
        let mut header = [0; HEADER as usize];
        let offset = entry.location.offset();
        file.read_exact_at(&mut header, offset)
            .map_err(|source| ReadError::Io {
                path: segment.path.clone(),
                source,
            })?;
        let frame = record::read_frame(&header, segment.seal, offset).filter(|frame| {
            frame.length == entry.length.saturating_add(size_of::<BodyId>() as u64)
        });
        let frame =
            frame.ok_or_else(|| damaged(segment, entry.location, "no record starts there"))?;
        let start = offset
            .saturating_add(HEADER)
            .saturating_add(size_of::<BodyId>() as u64);
        Source::Segment {
            file,
            path: segment.path.clone(),
            start,
            id,
            frame,
        }
    };
    Ok(BodyReader {
        source,
        length: entry.length,
        position: 0,
        crc: 0,
    })
}

fn open_segment(shared: &Shared, segment: &Segment) -> Result<Arc<dyn DiskFile>, ReadError> {
    let opened = segment.open(&*shared.disk);
    opened.map_err(|source| ReadError::Io {
        path: segment.path.clone(),
        source,
    })
}

/// Reads and checks the record at `location` of `segment`.
pub(crate) fn read_record(
    shared: &Shared,
    segment: &Segment,
    location: Location,
) -> Result<(record::Kind, Vec<u8>), ReadError> {
    let file = open_segment(shared, segment)?;
    let mut bytes = vec![0; usize::try_from(location.size()).unwrap_or(0)];
    match file.read_exact_at(&mut bytes, location.offset()) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            return Err(damaged(segment, location, "the file is too short"));
        }
        Err(source) => {
            return Err(ReadError::Io {
                path: segment.path.clone(),
                source,
            });
        }
    }
    match record::read(&bytes, segment.seal, location.offset()) {
        Ok(found) if found.payload.len() as u64 == u64::from(location.length) => {
            Ok((found.kind, found.payload.to_vec()))
        }
        Ok(_) => Err(damaged(segment, location, "another record is there")),
        Err(damage) => Err(damaged(segment, location, damage.reason())),
    }
}

fn damaged(segment: &Segment, location: Location, reason: &str) -> ReadError {
    ReadError::Corrupt(Corruption {
        path: segment.path.clone(),
        start: location.offset(),
        end: location.offset().saturating_add(location.size()),
        reason: reason.to_owned(),
    })
}

fn whole(path: &std::path::Path, length: u64) -> Corruption {
    Corruption {
        path: path.to_owned(),
        start: 0,
        end: length,
        reason: "the checksum of a body is wrong".to_owned(),
    }
}
