//! Items in files of their own: taken out of the spool on one host, put in on another.
//!
//! The file has the frames of the log: the item, the parts of its bodies, and a last record that
//! repeats the id, without which the file is not whole. It carries no number or secret of a spool.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use angarium_effects::disk::{DiskFile, OpenMode, create_dir_all};

use crate::batch::distinct;
use crate::body::{Body, BodyWriter, INLINE_MAX};
use crate::error::{BodyError, Corruption, ReadError};
use crate::id::{BodyId, BodyRef, ItemId};
use crate::payload::{self, Payload, number};
use crate::reader;
use crate::record::{self, FIRST, HEADER, Kind, LAST, Mark, Seal};
use crate::shared::Shared;

const SEAL: Seal = Seal {
    segment: 0,
    salt: 0x6974_656d_6669_6c65,
};
const MAGIC: &[u8; 8] = b"ANGITEM\x01";

/// An item read from a file.
#[derive(Debug)]
pub struct LoadedItem {
    /// The item.
    pub id: ItemId,
    /// Its bodies, in the order in which they were given; they get new references when they are added
    /// to a transaction.
    pub bodies: Vec<Body>,
    /// Its owner's bytes.
    pub blob: Vec<u8>,
}

/// Why an item cannot be written to, or read from, a file of its own.
#[derive(Debug, thiserror::Error)]
pub enum UnloadError {
    /// The item is not in the spool.
    #[error("item {0} is not in the spool")]
    UnknownItem(ItemId),
    /// Its record or a body cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// There is no room for the bodies of an item that is being read.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// The file cannot be written or read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is not what was written.
    #[error("{0}")]
    Corrupt(Corruption),
}

/// Writes an item with all its bodies to a file and returns its path. The item stays in the spool.
pub(crate) fn unload(shared: &Shared, id: ItemId) -> Result<PathBuf, UnloadError> {
    let entry = shared.index.item(id).ok_or(UnloadError::UnknownItem(id))?;
    let segment = shared
        .index
        .segment(entry.location.segment)
        .ok_or(UnloadError::UnknownItem(id))?;
    let (_, record) = reader::read_record(shared, &segment, entry.location)?;
    let directory = shared.config.path.join("unload");
    let name = id.to_string().replace(':', "-");
    let path = directory.join(format!("{name}.item"));
    let new = directory.join(format!("{name}.new"));
    let failed = |source| UnloadError::Io {
        path: new.clone(),
        source,
    };

    create_dir_all(&*shared.disk, &directory).map_err(failed)?;
    let file = shared
        .disk
        .open(&new, OpenMode::CreateEmpty)
        .map_err(failed)?;
    let mut out = Out {
        file,
        at: 0,
        buffer: MAGIC.to_vec(),
    };
    out.write(Kind::Item, FIRST, &[], &record).map_err(failed)?;
    let mut chunk = vec![0; INLINE_MAX];
    for body in distinct(&entry.bodies) {
        let stored = shared.index.body(body).ok_or(ReadError::Unknown(body))?;
        let mut reader = reader::open(
            shared,
            BodyRef {
                id: body,
                length: stored.length,
            },
        )?;
        loop {
            let read = reader.read(&mut chunk).map_err(|source| UnloadError::Io {
                path: segment.path.clone(),
                source,
            })?;
            let part = chunk.get(..read).unwrap_or_default();
            if part.is_empty() {
                break;
            }
            out.write(Kind::Part, 0, &body.0.to_le_bytes(), part)
                .map_err(failed)?;
        }
    }
    out.write(Kind::Done, LAST, &[], &payload::done(&[id]))
        .map_err(failed)?;
    out.file.sync_all().map_err(failed)?;
    shared
        .disk
        .rename(&new, &path)
        .and_then(|()| shared.disk.sync_dir(&directory))
        .map_err(failed)?;
    Ok(path)
}

/// Reads an item from a file that [`unload`] has written, here or elsewhere.
pub(crate) fn load(
    shared: &Shared,
    path: &Path,
    writer: impl Fn() -> BodyWriter,
) -> Result<LoadedItem, UnloadError> {
    let failed = |source| UnloadError::Io {
        path: path.to_owned(),
        source,
    };
    let file = shared.disk.open(path, OpenMode::Read).map_err(failed)?;
    let mut input = In {
        file,
        path,
        at: MAGIC.len() as u64,
    };
    let mut magic = [0; MAGIC.len()];
    input
        .file
        .read_exact_at(&mut magic, 0)
        .map_err(|_| input.corrupt("this is not the file of an item"))?;
    if magic != *MAGIC {
        return Err(input.corrupt("this is not the file of an item, or one of a newer version"));
    }
    let (kind, record) = input.record()?;
    let Some(Payload::Item { id, bodies, blob }) = Payload::decode(kind, &record) else {
        return Err(input.corrupt("the item is missing"));
    };
    let mut writers: Vec<(BodyId, BodyWriter)> =
        bodies.iter().map(|body| (*body, writer())).collect();
    loop {
        let (kind, part) = input.record()?;
        match kind {
            Kind::Part => {
                let (body, bytes) =
                    number(&part).ok_or_else(|| input.corrupt("a part of a body is cut"))?;
                for (_, writer) in writers.iter_mut().filter(|(id, _)| id.0 == body) {
                    writer.write(bytes)?;
                }
            }
            Kind::Done if part == payload::done(&[id]) => break,
            _ => return Err(input.corrupt("another record is there")),
        }
    }
    let bodies = writers
        .into_iter()
        .map(|(_, writer)| writer.finish())
        .collect::<Result<_, _>>()?;
    Ok(LoadedItem {
        id,
        bodies,
        blob: blob.to_vec(),
    })
}

/// Reads an item from the bytes of a file that [`unload`] has written.
pub(crate) fn load_bytes(
    shared: &Shared,
    bytes: &[u8],
    name: &str,
    writer: impl Fn() -> BodyWriter,
) -> Result<LoadedItem, UnloadError> {
    let directory = shared.config.path.join("unload");
    let path = directory.join(format!("{name}.load"));
    let failed = |source| UnloadError::Io {
        path: path.clone(),
        source,
    };
    create_dir_all(&*shared.disk, &directory).map_err(failed)?;
    let written = shared
        .disk
        .open(&path, OpenMode::CreateEmpty)
        .and_then(|file| file.write_all_at(bytes, 0))
        .map_err(failed);
    let loaded = written.and_then(|()| load(shared, &path, writer));
    // What is left by a crash is no item of the queue.
    let _ = shared.disk.unlink(&path);
    loaded
}

struct Out {
    file: Arc<dyn DiskFile>,
    at: u64,
    buffer: Vec<u8>,
}

impl Out {
    fn write(&mut self, kind: Kind, flags: u8, head: &[u8], tail: &[u8]) -> io::Result<()> {
        let offset = self.at.saturating_add(self.buffer.len() as u64);
        record::append(
            &mut self.buffer,
            SEAL,
            offset,
            Mark {
                kind,
                flags,
                synced: 0,
            },
            head,
            tail,
            None,
        );
        self.file.write_all_at(&self.buffer, self.at)?;
        self.at = self.at.saturating_add(self.buffer.len() as u64);
        self.buffer.clear();
        Ok(())
    }
}

struct In<'a> {
    file: Arc<dyn DiskFile>,
    path: &'a Path,
    at: u64,
}

impl In<'_> {
    /// Reads the next record.
    fn record(&mut self) -> Result<(Kind, Vec<u8>), UnloadError> {
        let length = self
            .file
            .metadata()
            .map_err(|source| self.failed(source))?
            .length;
        let mut bytes = vec![0; HEADER as usize];
        self.read(&mut bytes, length)?;
        let frame = record::read_frame(&bytes, SEAL, self.at)
            .ok_or_else(|| self.corrupt("no record starts there"))?;
        // The length is believed only as far as there is a file.
        let size = record::size(frame.length).min(length.saturating_sub(self.at));
        bytes.resize(usize::try_from(size).unwrap_or(0), 0);
        self.read(&mut bytes, length)?;
        let found =
            record::read(&bytes, SEAL, self.at).map_err(|damage| self.corrupt(damage.reason()))?;
        let (kind, payload) = (found.kind, found.payload.to_vec());
        self.at = self.at.saturating_add(size);
        Ok((kind, payload))
    }

    fn read(&self, bytes: &mut [u8], length: u64) -> Result<(), UnloadError> {
        if self.at.saturating_add(bytes.len() as u64) > length {
            return Err(self.corrupt("the file is too short"));
        }
        self.file
            .read_exact_at(bytes, self.at)
            .map_err(|source| self.failed(source))
    }

    fn failed(&self, source: io::Error) -> UnloadError {
        UnloadError::Io {
            path: self.path.to_owned(),
            source,
        }
    }

    fn corrupt(&self, reason: &str) -> UnloadError {
        let (path, reason) = (self.path.to_owned(), reason.to_owned());
        UnloadError::Corrupt(Corruption {
            path,
            start: self.at,
            end: self.at,
            reason,
        })
    }
}
