//! The begin of a segment.
//!
//! A segment is written under another name, with its header and whatever must be in it from the start,
//! synced, renamed, and its directory synced; only then is it written by the writer. So a segment that
//! is found by its name has a header, and a header that ends the segment before it never exists
//! without what is to be kept of that segment's end.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use angarium_effects::disk::{DiskFile, OpenMode};

use crate::index::Location;
use crate::record::{self, FIRST, Kind, LAST, Mark};
use crate::segment::{self, Header, START, Segment};
use crate::shared::{Moved, Shared, Spare};

/// Records to be written again at the start of the next segment, in order.
#[derive(Debug, Default)]
pub(crate) struct Carried {
    pub(crate) records: Vec<CarriedRecord>,
}

#[derive(Debug)]
pub(crate) struct CarriedRecord {
    pub(crate) kind: Kind,
    pub(crate) payload: Vec<u8>,
    /// What the index knows at this record's old place.
    pub(crate) known: Option<(Moved, Location)>,
}

/// A segment ready to be written.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) segment: Arc<Segment>,
    /// The end of the carried records.
    pub(crate) end: u64,
    /// How long the segment may get.
    pub(crate) limit: u64,
    /// Old and new places of what was carried.
    pub(crate) moved: Vec<(Moved, Location, Location)>,
}

/// Why no segment was begun.
#[derive(Debug, thiserror::Error)]
#[error("cannot begin {}: {error}", path.display())]
pub(crate) struct RotationError {
    pub(crate) error: io::Error,
    pub(crate) path: PathBuf,
    /// The segment may be found at the next start all the same.
    pub(crate) may_exist: bool,
}

/// What to do when the disk has no room for a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnFull {
    /// Fail.
    Fail,
    /// Begin a short one, in the room that was kept for this. It is for what makes room: completions.
    Shorten,
}

/// Begins the segment that `header` describes.
pub(crate) fn begin(
    shared: &Shared,
    header: Header,
    carried: &Carried,
    on_full: OnFull,
) -> Result<Started, RotationError> {
    let path = segment::path(&shared.config.log(), header.number);
    let mut bytes = header.encode();
    let mut moved = Vec::new();
    for carried in &carried.records {
        // Each stands alone: all of them are durable before the segment has its name.
        let mark = Mark {
            kind: carried.kind,
            flags: FIRST | LAST,
            synced: START,
        };
        let offset = bytes.len() as u64;
        let (head, tail) = carried
            .payload
            .split_at(record::head_length(carried.kind).min(carried.payload.len()));
        record::append(&mut bytes, header.seal(), offset, mark, head, tail, None);
        if let Some((what, from)) = carried.known {
            moved.push((
                what,
                from,
                Location::new(header.number, offset, carried.payload.len() as u64),
            ));
        }
    }
    let fail = |may_exist: bool| {
        let path = path.clone();
        move |error| RotationError {
            error,
            path,
            may_exist,
        }
    };
    let (spare, limit) = match take_spare(shared) {
        Ok(spare) => (spare, shared.config.segment_size),
        Err(error) if on_full == OnFull::Shorten && error.kind() == io::ErrorKind::StorageFull => {
            let short = take_short(shared).map_err(fail(false))?;
            (
                short.ok_or(error).map_err(fail(false))?,
                shared.config.short_segment(),
            )
        }
        Err(error) => return Err(fail(false)(error)),
    };
    let written = spare
        .file
        .write_all_at(&bytes, 0)
        .and_then(|()| spare.file.sync_all());
    if let Err(error) = written {
        // The name is only in the way; whatever stays of it is removed at the next start.
        let _ = shared.disk.unlink(&spare.path);
        return Err(fail(false)(error));
    }
    let named = shared
        .disk
        .rename(&spare.path, &path)
        .and_then(|()| shared.disk.sync_dir(&shared.config.log()));
    let end = bytes.len() as u64;
    let segment = Arc::new(Segment::new(
        path.clone(),
        header.seal(),
        end.max(limit),
        end,
    ));
    shared
        .index
        .segments()
        .insert(header.number, Arc::clone(&segment));
    if let Err(error) = named {
        return Err(fail(true)(error));
    }
    segment.share(&spare.file);
    Ok(Started {
        file: spare.file,
        segment,
        end,
        limit,
        moved,
    })
}

/// Returns the file that was made ready, or makes one now.
fn take_spare(shared: &Shared) -> io::Result<Spare> {
    if let Some(spare) = shared.spare().take() {
        return Ok(spare);
    }
    let path = shared.spare_path();
    let file = shared.disk.open(&path, OpenMode::CreateNew)?;
    if let Err(error) = file.allocate(shared.config.segment_size) {
        let _ = shared.disk.unlink(&path);
        return Err(error);
    }
    Ok(Spare { path, file })
}

/// Returns a file for a short segment: room that the disk still has, or else a part of the reserve, the
/// rest of which is given back.
fn take_short(shared: &Shared) -> io::Result<Option<Spare>> {
    let length = shared.config.short_segment();
    let path = shared.spare_path();
    let file = match shared.disk.open(&path, OpenMode::CreateNew) {
        Ok(file) => file,
        // Not even a name can be had.
        Err(error) if error.kind() == io::ErrorKind::StorageFull => {
            return take_reserve(shared, path);
        }
        Err(error) => return Err(error),
    };
    match file.allocate(length) {
        Ok(()) => Ok(Some(Spare { path, file })),
        Err(error) => {
            let _ = shared.disk.unlink(&path);
            if error.kind() == io::ErrorKind::StorageFull {
                take_reserve(shared, path)
            } else {
                Err(error)
            }
        }
    }
}

fn take_reserve(shared: &Shared, path: PathBuf) -> io::Result<Option<Spare>> {
    if !shared.reserve.swap(false, Ordering::AcqRel) {
        return Ok(None);
    }
    shared.disk.rename(&shared.reserve_path(), &path)?;
    let file = shared.disk.open(&path, OpenMode::ReadWrite)?;
    file.truncate(shared.config.short_segment())?;
    Ok(Some(Spare { path, file }))
}

/// Keeps room for a full disk.
pub(crate) fn make_reserve(shared: &Shared) -> io::Result<()> {
    let path = shared.reserve_path();
    let made = shared
        .disk
        .open(&path, OpenMode::CreateNew)
        .and_then(|file| {
            file.allocate(shared.config.reserve())?;
            file.sync_all()
        });
    if let Err(error) = made {
        let _ = shared.disk.unlink(&path);
        return Err(error);
    }
    shared.reserve.store(true, Ordering::Release);
    Ok(())
}

/// Fills a new file with zeros, so that writing it later changes no metadata of the file system: a sync
/// is then one flush of the disk and no commit of its journal.
pub(crate) fn make_spare(shared: &Shared) -> io::Result<()> {
    let path = shared.spare_path();
    let file = shared.disk.open(&path, OpenMode::CreateNew)?;
    let zeros = vec![0; FILL.min(usize::try_from(shared.config.segment_size).unwrap_or(FILL))];
    let mut at = 0;
    let filled = file.allocate(shared.config.segment_size).and_then(|()| {
        while at < shared.config.segment_size {
            let length = shared
                .config
                .segment_size
                .saturating_sub(at)
                .min(FILL as u64);
            let piece = zeros
                .get(..usize::try_from(length).unwrap_or(FILL))
                .unwrap_or_default();
            file.write_all_at(piece, at)?;
            at = at.saturating_add(length);
            // In small portions: the writer's next sync waits for the disk behind this one.
            file.sync_data()?;
        }
        file.sync_all()
    });
    if let Err(error) = filled {
        let _ = shared.disk.unlink(&path);
        return Err(error);
    }
    *shared.spare() = Some(Spare { path, file });
    Ok(())
}

const FILL: usize = 4 << 20;

/// Returns the secret of a segment.
pub(crate) fn salt(seed: u64, number: u32) -> u64 {
    let mut hasher = DefaultHasher::new();
    (seed, number).hash(&mut hasher);
    hasher.finish()
}
