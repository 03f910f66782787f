//! The checkpoint: where everything alive lies, so that a start need not read the whole log.
//!
//! A checkpoint names a segment; what lies before that segment is known from the checkpoint alone, and
//! the log is read from that segment on. It is written while the writer goes on: an entry may be newer
//! than the segment named, and reading the log again from there leads to the same state. Since the
//! records before that segment are no longer read, those that only say that something is gone are
//! not needed any more, and a segment without live records can be removed.
//!
//! The file is written under another name, synced and renamed. Its records have the frame of the log.

use std::io;
use std::path::Path;
use std::sync::Arc;

use angarium_effects::disk::{Disk, DiskFile, OpenMode, read_file};

use crate::id::{BodyId, ItemId};
use crate::index::{BodyEntry, Index, ItemEntry, Location};
use crate::payload::{BodyIds, number};
use crate::record::{self, FIRST, Kind, LAST, Mark, Seal};
use crate::segment::VERSION;

/// The name of the checkpoint in the directory of the log.
pub(crate) const NAME: &str = "checkpoint";
/// The name while it is written.
pub(crate) const NEW: &str = "checkpoint.new";

const SEAL: Seal = Seal {
    segment: 0,
    salt: 0x6368_6563_6b70_6f69,
};
/// Bytes in one record of entries.
const CHUNK: usize = 256 << 10;
/// The largest file that is taken for a checkpoint: a hundred million items.
const MAX: u64 = 8 << 30;

const START: u8 = b'S';
const ITEMS: u8 = b'I';
const BODIES: u8 = b'B';
const END: u8 = b'E';

/// What a checkpoint says beside the entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Position {
    /// The log is read from this segment on.
    pub(crate) replay_from: u32,
    /// No segment has had this number or a higher one.
    pub(crate) next_number: u32,
    /// The number of the server's start that wrote it.
    pub(crate) session: u32,
}

/// A checkpoint that was read.
#[derive(Debug)]
pub(crate) struct Checkpoint {
    pub(crate) position: Position,
    pub(crate) items: Vec<(ItemId, ItemEntry)>,
    pub(crate) bodies: Vec<(BodyId, BodyEntry)>,
}

/// Why a checkpoint cannot be used.
#[derive(Debug)]
pub(crate) enum Unusable {
    Io(io::Error),
    Version(u32),
    Damaged(&'static str),
}

/// Writes a checkpoint of `index` and puts it in the place of the last one. Returns its length.
pub(crate) fn write(
    disk: &dyn Disk,
    log: &Path,
    position: Position,
    index: &Index,
) -> io::Result<u64> {
    let new = log.join(NEW);
    let file = disk.open(&new, OpenMode::CreateEmpty)?;
    let mut out = Out {
        file,
        at: 0,
        chunk: Vec::new(),
        buffer: Vec::new(),
    };
    let mut counts = (0u64, 0u64);

    let start = [
        VERSION,
        position.replay_from,
        position.next_number,
        position.session,
    ];
    out.chunk.push(START);
    out.chunk
        .extend(start.iter().flat_map(|field| field.to_le_bytes()));
    out.flush()?;
    for shard in 0..index.shard_count() {
        // Items first: a body is dropped only after a record that is durable has dropped its items,
        // so that a body missing here belongs to no item that the log will leave alive.
        let items: Vec<(ItemId, ItemEntry)> = index.with_shard(shard, |shard| {
            shard
                .items
                .iter()
                .map(|(id, entry)| (*id, entry.clone()))
                .collect()
        });
        for (id, entry) in items {
            out.room(ITEMS)?;
            id.encode(&mut out.chunk);
            location(&mut out.chunk, entry.location);
            out.chunk
                .push(u8::try_from(entry.bodies.len()).unwrap_or(u8::MAX));
            out.chunk.extend(
                entry
                    .bodies
                    .iter()
                    .take(255)
                    .flat_map(|body| body.0.to_le_bytes()),
            );
            counts.0 += 1;
        }
    }
    out.flush()?;
    for shard in 0..index.shard_count() {
        let bodies: Vec<(BodyId, BodyEntry)> = index.with_shard(shard, |shard| {
            shard
                .bodies
                .iter()
                .map(|(id, entry)| (*id, *entry))
                .collect()
        });
        for (id, entry) in bodies {
            out.room(BODIES)?;
            out.chunk.extend_from_slice(&id.0.to_le_bytes());
            location(&mut out.chunk, entry.location);
            out.chunk.extend_from_slice(&entry.length.to_le_bytes());
            out.chunk.push(u8::from(entry.file));
            counts.1 += 1;
        }
    }
    out.flush()?;
    out.chunk.push(END);
    out.chunk.extend_from_slice(&counts.0.to_le_bytes());
    out.chunk.extend_from_slice(&counts.1.to_le_bytes());
    out.flush()?;
    out.file.sync_all()?;
    disk.rename(&new, &log.join(NAME))?;
    disk.sync_dir(log)?;
    Ok(out.at)
}

/// Reads the checkpoint at `path`; none if there is none.
pub(crate) fn read(disk: &dyn Disk, path: &Path) -> Result<Option<Checkpoint>, Unusable> {
    match read_file(disk, path, MAX) {
        Ok(bytes) => decode(&bytes).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Unusable::Io(error)),
    }
}

fn decode(bytes: &[u8]) -> Result<Checkpoint, Unusable> {
    let damaged = || Unusable::Damaged("a record of the checkpoint is not intact");
    let mut found = Checkpoint {
        position: Position::default(),
        items: Vec::new(),
        bodies: Vec::new(),
    };
    let mut at = 0u64;
    let mut first = true;
    loop {
        let rest = usize::try_from(at)
            .ok()
            .and_then(|at| bytes.get(at..))
            .unwrap_or_default();
        let record = record::read(rest, SEAL, at).map_err(|_| damaged())?;
        at = at.saturating_add(record::size(record.payload.len() as u64));
        let (&tag, mut rest) = record.payload.split_first().ok_or_else(damaged)?;
        if first != (tag == START) {
            return Err(damaged());
        }
        first = false;
        match tag {
            START => {
                let mut field = || word(&mut rest).ok_or_else(damaged);
                let version = field()?;
                if version != VERSION {
                    return Err(Unusable::Version(version));
                }
                found.position = Position {
                    replay_from: field()?,
                    next_number: field()?,
                    session: field()?,
                };
            }
            ITEMS => {
                while !rest.is_empty() {
                    found.items.push(item(&mut rest).ok_or_else(damaged)?);
                }
            }
            BODIES => {
                while !rest.is_empty() {
                    found.bodies.push(body(&mut rest).ok_or_else(damaged)?);
                }
            }
            END => {
                let counts = long(&mut rest).zip(long(&mut rest));
                if counts != Some((found.items.len() as u64, found.bodies.len() as u64)) {
                    return Err(damaged());
                }
                return Ok(found);
            }
            _ => return Err(damaged()),
        }
    }
}

/// Where a checkpoint is written to.
struct Out {
    file: Arc<dyn DiskFile>,
    at: u64,
    chunk: Vec<u8>,
    buffer: Vec<u8>,
}

impl Out {
    /// Makes sure that the chunk is one with `tag` and has room.
    fn room(&mut self, tag: u8) -> io::Result<()> {
        if self.chunk.len() >= CHUNK {
            self.flush()?;
        }
        if self.chunk.is_empty() {
            self.chunk.push(tag);
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.chunk.is_empty() {
            return Ok(());
        }
        self.buffer.clear();
        let mark = Mark {
            kind: Kind::Checkpoint,
            flags: FIRST | LAST,
            synced: 0,
        };
        record::append(
            &mut self.buffer,
            SEAL,
            self.at,
            mark,
            &self.chunk,
            &[],
            None,
        );
        self.file.write_all_at(&self.buffer, self.at)?;
        self.at = self.at.saturating_add(self.buffer.len() as u64);
        self.chunk.clear();
        Ok(())
    }
}

fn location(out: &mut Vec<u8>, location: Location) {
    out.extend_from_slice(&location.segment.to_le_bytes());
    out.extend_from_slice(&location.offset().to_le_bytes());
    out.extend_from_slice(&location.length.to_le_bytes());
}

fn item(rest: &mut &[u8]) -> Option<(ItemId, ItemEntry)> {
    let (id, after) = ItemId::decode(rest)?;
    *rest = after;
    let location = read_location(rest)?;
    let count = byte(rest)?;
    let bodies = (0..count)
        .map(|_| long(rest).map(BodyId))
        .collect::<Option<BodyIds>>()?;
    Some((id, ItemEntry { location, bodies }))
}

fn body(rest: &mut &[u8]) -> Option<(BodyId, BodyEntry)> {
    let id = BodyId(long(rest)?);
    let location = read_location(rest)?;
    let length = long(rest)?;
    let file = byte(rest)? != 0;
    Some((
        id,
        BodyEntry {
            location,
            length,
            file,
            references: 0,
        },
    ))
}

fn read_location(rest: &mut &[u8]) -> Option<Location> {
    Some(Location::new(
        word(rest)?,
        long(rest)?,
        u64::from(word(rest)?),
    ))
}

fn byte(rest: &mut &[u8]) -> Option<u8> {
    let (&byte, after) = rest.split_first()?;
    *rest = after;
    Some(byte)
}

fn word(rest: &mut &[u8]) -> Option<u32> {
    let (word, after) = rest.split_first_chunk::<4>()?;
    *rest = after;
    Some(u32::from_le_bytes(*word))
}

fn long(rest: &mut &[u8]) -> Option<u64> {
    let (long, after) = number(rest)?;
    *rest = after;
    Some(long)
}

#[cfg(test)]
mod tests {
    use super::*;
    use angarium_effects::disk::SimDisk;
    use proptest::prelude::*;

    fn an_index(items: u64) -> Index {
        let index = Index::new();
        for n in 0..items {
            let location = Location::new(3, 8192 + n * 64, 50);
            let entry = ItemEntry {
                location,
                bodies: [BodyId(n), BodyId(n + 1)].into_iter().collect(),
            };
            index.set_item(
                ItemId {
                    transaction: [7; 16],
                    queue: n,
                },
                entry,
            );
            let file = n % 2 == 0;
            index.set_body(
                BodyId(n),
                BodyEntry {
                    location,
                    length: n * 1000,
                    file,
                    references: 2,
                },
            );
        }
        index
    }

    fn written(items: u64) -> (SimDisk, Vec<u8>) {
        let disk = SimDisk::new(1);
        let position = Position {
            replay_from: 4,
            next_number: 9,
            session: 2,
        };
        write(&disk, Path::new("/"), position, &an_index(items)).expect("write");
        let bytes = read_file(&disk, Path::new("/checkpoint"), MAX).expect("read");
        (disk, bytes)
    }

    #[test]
    fn a_checkpoint_is_read_back_with_all_entries() {
        let (disk, _) = written(20_000);
        let found = read(&disk, Path::new("/checkpoint"))
            .expect("usable")
            .expect("there");
        assert_eq!(
            found.position,
            Position {
                replay_from: 4,
                next_number: 9,
                session: 2
            }
        );
        let index = an_index(20_000);
        assert_eq!((found.items.len(), found.bodies.len()), (20_000, 20_000));
        for (id, entry) in found.items {
            assert_eq!(index.item(id), Some(entry));
        }
        for (id, entry) in found.bodies {
            assert_eq!(
                index.body(id),
                Some(BodyEntry {
                    references: 2,
                    ..entry
                })
            );
        }
    }

    #[test]
    fn no_checkpoint_is_not_an_error() {
        assert!(
            read(&SimDisk::new(1), Path::new("/checkpoint"))
                .expect("usable")
                .is_none()
        );
    }

    proptest! {
        #[test]
        fn a_damaged_or_cut_checkpoint_is_refused(at in any::<prop::sample::Index>(), cut in any::<bool>()) {
            let (_, mut bytes) = written(3);
            let end = bytes.len() - 8;
            let at = at.index(end);
            if cut {
                bytes.truncate(at);
                prop_assert!(decode(&bytes).is_err());
            } else {
                bytes[at] ^= 0x40;
                // Padding between records is not covered.
                let entries = decode(&bytes).map(|found| (found.items.len(), found.bodies.len()));
                prop_assert!(entries.is_err() || entries.is_ok_and(|counts| counts == (3, 3)));
            }
        }

        #[test]
        fn any_bytes_can_be_decoded(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(decode(&bytes).is_err());
        }
    }
}
