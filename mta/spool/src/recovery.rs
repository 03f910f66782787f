//! The start: from the files to the index.
//!
//! The checkpoint tells where everything was; the segments from the one it names on are read in order,
//! and the last word on each item counts. What stands at the end of the log behind the last mark that
//! proves a sync may or may not be on the disk. It is taken as it is found, and written again into the
//! first new segment, whose header ends the old one.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use angarium_effects::disk::{Disk, FileKind, OpenMode, create_dir_all};
use rustc_hash::{FxBuildHasher, FxHashSet};

use crate::checkpoint::{self, Checkpoint, Unusable};
use crate::config::{Config, Event, OnCorrupt};
use crate::error::{Corruption, OpenError};
use crate::id::{BodyId, ItemId};
use crate::index::{BodyEntry, Index, ItemEntry, Location};
use crate::payload::Payload;
use crate::quarantine;
use crate::recovered::{EIO, Recovered};
use crate::rotation::{Carried, CarriedRecord};
use crate::scan::{self, Scan};
use crate::segment::{self, End, Header, HeaderError, START, Segment, VERSION};
use crate::shared::{Moved, SPARE, Shared};
use crate::writer::Writer;

/// How much is read at a time, and how much is given up for one bad place.
const READ: usize = 1 << 20;
const BLOCK: usize = 4096;

type Map<K, V> = HashMap<K, V, FxBuildHasher>;
type Set<T> = FxHashSet<T>;

/// Whether a start may change anything on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// A server opens its spool.
    Write,
    /// A tool looks at the spool of a stopped server.
    Look,
}

/// Opens the spool.
pub(crate) fn open(
    disk: Arc<dyn Disk>,
    config: Config,
    access: Access,
) -> Result<(Arc<Shared>, Writer, Recovered), OpenError> {
    if access == Access::Write {
        make_directories(&*disk, &config)?;
    }
    let lock = disk
        .lock(&config.lock())
        .map_err(|source| match source.kind() {
            io::ErrorKind::WouldBlock => OpenError::Locked {
                path: config.lock(),
            },
            _ => OpenError::Io {
                action: "lock",
                path: config.lock(),
                source,
            },
        })?;
    let mut start = Start::new(&*disk, &config, access);
    let numbers = start.list()?;
    let checkpoint = start.checkpoint()?;
    start.headers(&numbers, checkpoint.as_ref())?;
    start.replay(checkpoint)?;
    start.validate()?;
    let garbage = start.orphans()?;

    let session = start.session.saturating_add(1);
    let next_number = start.next_number;
    let previous = start.previous;
    let carried = std::mem::take(&mut start.carried);
    let (index, items) = start.into_index();
    let shared = Arc::new(Shared::new(disk, config, lock, session, index));
    *shared.garbage() = garbage;
    if access == Access::Write {
        adopt_reserve(&shared);
    }
    let writer = Writer::new(Arc::clone(&shared), previous, next_number, carried);
    Ok((Arc::clone(&shared), writer, Recovered::new(shared, items)))
}

/// Keeps the room that an earlier run has kept for a full disk, if all of it is there.
fn adopt_reserve(shared: &Shared) {
    let path = shared.reserve_path();
    match shared.disk.metadata(&path) {
        Ok(found) if found.length == shared.config.reserve() => {
            shared.reserve.store(true, Ordering::Release)
        }
        // A part of it, or not of this size: the background makes a new one.
        Ok(_) => {
            let _ = shared.disk.unlink(&path);
        }
        Err(_) => {}
    }
}

fn make_directories(disk: &dyn Disk, config: &Config) -> Result<(), OpenError> {
    for path in [&config.path, &config.tmp, &config.log(), &config.bodies()] {
        create_dir_all(disk, path).map_err(|source| OpenError::Io {
            action: "create the directory",
            path: path.clone(),
            source,
        })?;
    }
    Ok(())
}

struct Start<'a> {
    disk: &'a dyn Disk,
    config: &'a Config,
    access: Access,
    log: PathBuf,
    headers: BTreeMap<u32, Header>,
    /// The length of each segment's file.
    lengths: BTreeMap<u32, u64>,
    items: Map<ItemId, ItemEntry>,
    bodies: Map<BodyId, BodyEntry>,
    carried: Carried,
    /// Items that come from what is not known to be synced, so that nobody misses them.
    uncertain: Set<ItemId>,
    previous: Option<End>,
    session: u32,
    next_number: u32,
}

impl<'a> Start<'a> {
    fn new(disk: &'a dyn Disk, config: &'a Config, access: Access) -> Self {
        Self {
            disk,
            config,
            access,
            log: config.log(),
            headers: BTreeMap::new(),
            lengths: BTreeMap::new(),
            items: Map::default(),
            bodies: Map::default(),
            carried: Carried::default(),
            uncertain: HashSet::default(),
            previous: None,
            session: 0,
            next_number: 1,
        }
    }

    /// Lists the segments and removes what an unfinished run has left.
    fn list(&self) -> Result<Vec<u32>, OpenError> {
        let entries = self
            .disk
            .list(&self.log)
            .map_err(|error| io_error("list", &self.log, error))?;
        let mut numbers = Vec::new();
        for name in entries
            .iter()
            .filter(|entry| entry.kind == FileKind::File)
            .filter_map(|entry| entry.name.to_str())
        {
            if let Some(number) = segment::number(name) {
                numbers.push(number);
            } else if self.access == Access::Write
                && (name == checkpoint::NEW || name.starts_with(SPARE))
            {
                // Nothing depends on it; if it cannot go now, then at the next start.
                let _ = self.disk.unlink(&self.log.join(name));
            }
        }
        Ok(numbers)
    }

    fn checkpoint(&mut self) -> Result<Option<Checkpoint>, OpenError> {
        let path = self.log.join(checkpoint::NAME);
        let reason = match checkpoint::read(self.disk, &path) {
            Ok(found) => return Ok(found),
            Err(Unusable::Version(found)) => {
                return Err(OpenError::Version {
                    path,
                    found,
                    known: VERSION,
                });
            }
            Err(Unusable::Io(source)) => return Err(io_error("read", &path, source)),
            Err(Unusable::Damaged(reason)) => reason,
        };
        let end = self.disk.metadata(&path).map_or(0, |found| found.length);
        let reason = format!(
            "{reason}; the whole log is read instead, and messages delivered long ago may return"
        );
        self.damaged(
            Corruption {
                path: path.clone(),
                start: 0,
                end,
                reason,
            },
            None,
        )?;
        Ok(None)
    }

    /// Reads the headers of all segments.
    fn headers(
        &mut self,
        numbers: &[u32],
        checkpoint: Option<&Checkpoint>,
    ) -> Result<(), OpenError> {
        if let Some(checkpoint) = checkpoint {
            self.session = checkpoint.position.session;
            self.next_number = checkpoint.position.next_number.max(1);
        }
        for &number in numbers {
            let path = segment::path(&self.log, number);
            self.next_number = self.next_number.max(number.saturating_add(1));
            let failed = |error| io_error("read", &path, error);
            let length = self.disk.metadata(&path).map_err(failed)?.length;
            let header = Header::decode(&self.read_segment(&path, START).map_err(failed)?);
            match header {
                Ok(header) if header.number == number => {
                    self.session = self.session.max(header.session);
                    self.headers.insert(number, header);
                    self.lengths.insert(number, length);
                }
                Err(HeaderError::Version(found)) => {
                    return Err(OpenError::Version {
                        path,
                        found,
                        known: VERSION,
                    });
                }
                Ok(_) | Err(HeaderError::Damaged) => {
                    let reason = "both copies of the segment's header are damaged".to_owned();
                    self.damaged(
                        Corruption {
                            path,
                            start: 0,
                            end: length,
                            reason,
                        },
                        None,
                    )?;
                }
            }
        }
        Ok(())
    }

    /// Reads the log behind the checkpoint.
    fn replay(&mut self, checkpoint: Option<Checkpoint>) -> Result<(), OpenError> {
        let mut from = 0;
        if let Some(checkpoint) = checkpoint {
            from = checkpoint.position.replay_from;
            self.items.extend(checkpoint.items);
            self.bodies.extend(checkpoint.bodies);
        }
        let ends: BTreeMap<u32, End> = self
            .headers
            .values()
            .filter_map(|header| header.previous)
            .map(|end| (end.segment, end))
            .collect();
        let last = self.headers.keys().next_back().copied();
        let to_read: Vec<Header> = self
            .headers
            .range(from..)
            .map(|(_, header)| *header)
            .collect();
        for header in to_read {
            let path = segment::path(&self.log, header.number);
            let bytes = self
                .read_segment(&path, u64::MAX)
                .map_err(|error| io_error("read", &path, error))?;
            let end = ends.get(&header.number).copied();
            let scan = scan::scan(&bytes, &header, end);
            for (range, reason) in &scan.damage {
                let start = usize::try_from(range.start).unwrap_or(usize::MAX);
                let stop = usize::try_from(range.end)
                    .unwrap_or(usize::MAX)
                    .min(bytes.len());
                let piece = bytes.get(start..stop).unwrap_or_default();
                let reason = (*reason).to_owned();
                let corruption = Corruption {
                    path: path.clone(),
                    start: range.start,
                    end: range.end,
                    reason,
                };
                self.damaged(corruption, Some(piece))?;
            }
            if end.is_none() && scan.torn > 0 {
                (self.config.observer)(Event::TornTail {
                    path: path.clone(),
                    bytes: scan.torn,
                });
            }
            let is_last = last == Some(header.number);
            self.take(&header, &scan, is_last);
            if is_last {
                self.previous = Some(End {
                    segment: header.number,
                    offset: scan.synced,
                    synced: true,
                });
            }
        }
        Ok(())
    }

    /// Reads the first `limit` bytes of a segment, with zeros where the disk cannot read them: what was
    /// there counts as damaged.
    fn read_segment(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        let file = self.disk.open(path, OpenMode::Read)?;
        let length = file.metadata()?.length.min(limit);
        let mut bytes = vec![0; usize::try_from(length).map_err(|_| io::ErrorKind::FileTooLarge)?];
        let mut at = 0u64;
        for piece in bytes.chunks_mut(READ) {
            match file.read_exact_at(piece, at) {
                Err(error) if error.raw_os_error() == Some(EIO) => {
                    for (block, offset) in piece.chunks_mut(BLOCK).zip((at..).step_by(BLOCK)) {
                        match file.read_exact_at(block, offset) {
                            Err(error) if error.raw_os_error() == Some(EIO) => {
                                block.fill(0);
                                let (path, end) =
                                    (path.to_owned(), offset.saturating_add(block.len() as u64));
                                let corruption = Corruption {
                                    path,
                                    start: offset,
                                    end,
                                    reason: error.to_string(),
                                };
                                (self.config.observer)(Event::Corrupt {
                                    corruption,
                                    quarantined: None,
                                });
                            }
                            other => other?,
                        }
                    }
                }
                other => other?,
            }
            at = at.saturating_add(piece.len() as u64);
        }
        Ok(bytes)
    }

    /// Applies the records of a segment in their order.
    fn take(&mut self, header: &Header, scan: &Scan<'_>, last: bool) {
        for (offset, record) in &scan.records {
            let location = Location::new(header.number, *offset, record.payload.len() as u64);
            let uncertain = last && *offset >= scan.synced;
            let mut known = None;
            match Payload::decode(record.kind, record.payload) {
                Some(Payload::Body { id, bytes }) => {
                    known = Some(Moved::Body(id));
                    let length = bytes.len() as u64;
                    self.bodies.insert(
                        id,
                        BodyEntry {
                            location,
                            length,
                            file: false,
                            references: 0,
                        },
                    );
                }
                Some(Payload::File { id, length, .. }) => {
                    known = Some(Moved::Body(id));
                    self.bodies.insert(
                        id,
                        BodyEntry {
                            location,
                            length,
                            file: true,
                            references: 0,
                        },
                    );
                }
                Some(Payload::Item { id, bodies, .. }) => {
                    known = Some(Moved::Item(id));
                    self.items.insert(id, ItemEntry { location, bodies });
                    if uncertain {
                        self.uncertain.insert(id);
                    }
                }
                Some(Payload::Done { ids }) => {
                    for id in ids {
                        self.items.remove(&id);
                    }
                }
                // The checksum was good, so this was written so: by a version that knows more kinds,
                // which has left its number in the header, or not at all.
                None => {}
            }
            if uncertain {
                let payload = record.payload.to_vec();
                let known = known.map(|what| (what, location));
                self.carried.records.push(CarriedRecord {
                    kind: record.kind,
                    payload,
                    known,
                });
            }
        }
    }

    /// Drops the items that cannot be delivered because something of them is missing.
    fn validate(&mut self) -> Result<(), OpenError> {
        let files = self.body_files()?;
        let mut lost: Vec<(ItemId, PathBuf, String)> = Vec::new();
        for (id, entry) in &self.items {
            let segment = entry.location.segment;
            if !self.headers.contains_key(&segment) {
                lost.push((
                    *id,
                    segment::path(&self.log, segment),
                    "its segment is missing".to_owned(),
                ));
                continue;
            }
            for body in &entry.bodies {
                // Of a million bodies nearly none has a file or needs a name.
                let name = || body.file_name();
                let reason = match self.bodies.get(body) {
                    None => Some((
                        self.log.clone(),
                        format!("its body {} is not in the log", name()),
                    )),
                    Some(body) if !self.headers.contains_key(&body.location.segment) => {
                        let path = segment::path(&self.log, body.location.segment);
                        let reason = format!("the segment with its body {} is missing", name());
                        Some((path, reason))
                    }
                    Some(body) if body.file && !files.contains(&name()) => {
                        let path = self.config.bodies().join(name());
                        Some((path, "the file with its body is missing".to_owned()))
                    }
                    Some(_) => None,
                };
                if let Some((path, reason)) = reason {
                    lost.push((*id, path, reason));
                    break;
                }
            }
        }
        lost.sort();
        for (id, path, reason) in lost {
            if self.uncertain.contains(&id) {
                // A transaction that failed, whose file was removed; its sender knows.
                self.carried.records.retain(
                    |record| !matches!(record.known, Some((Moved::Item(item), _)) if item == id),
                );
            } else {
                if self.config.corrupt == OnCorrupt::Abort {
                    let reason = format!("item {id}: {reason}");
                    return Err(OpenError::Corrupt(Corruption {
                        path,
                        start: 0,
                        end: 0,
                        reason,
                    }));
                }
                (self.config.observer)(Event::ItemLost {
                    id,
                    reason: format!("{reason} ({})", path.display()),
                });
            }
            self.items.remove(&id);
        }
        Ok(())
    }

    /// The names of the files of large bodies.
    fn body_files(&self) -> Result<Set<String>, OpenError> {
        let path = self.config.bodies();
        let entries = self
            .disk
            .list(&path)
            .map_err(|error| io_error("list", &path, error))?;
        Ok(entries
            .into_iter()
            .filter_map(|entry| entry.name.into_string().ok())
            .collect())
    }

    /// Finds the files of bodies that no item needs.
    fn orphans(&self) -> Result<Vec<PathBuf>, OpenError> {
        let in_file = |body: &&BodyId| self.bodies.get(*body).is_some_and(|entry| entry.file);
        let needed: Set<String> = self
            .items
            .values()
            .flat_map(|entry| &entry.bodies)
            .filter(in_file)
            .map(|body| body.file_name())
            .collect();
        let mut orphans: Vec<String> = self
            .body_files()?
            .into_iter()
            .filter(|name| !needed.contains(name))
            .collect();
        orphans.sort();
        Ok(orphans
            .into_iter()
            .map(|name| self.config.bodies().join(name))
            .collect())
    }

    /// Builds the index and the list of items in the order of the log.
    fn into_index(self) -> (Index, Vec<(Location, ItemId)>) {
        let index = Index::new();
        for (number, header) in &self.headers {
            let path = segment::path(&self.log, *number);
            let length = self.lengths.get(number).copied().unwrap_or(START);
            index.segments().insert(
                *number,
                Arc::new(Segment::new(path, header.seal(), length, length)),
            );
        }
        index.reserve(self.items.len(), self.bodies.len());
        // In the order of the log, in which they are read and handed over next: entries that are used one after
        // the other then lie together.
        let mut items: Vec<(ItemId, ItemEntry)> = self.items.into_iter().collect();
        items.sort_unstable_by_key(|(id, ItemEntry { location, .. })| {
            (location.segment, location.offset(), *id)
        });
        let mut order = Vec::with_capacity(items.len());
        for (id, entry) in items {
            order.push((entry.location, id));
            index.born(entry.location);
            for (position, body) in entry.bodies.iter().enumerate() {
                let repeated = entry
                    .bodies
                    .iter()
                    .take(position)
                    .any(|earlier| earlier == body);
                if repeated || index.retain_body(*body) {
                    continue;
                }
                if let Some(found) = self.bodies.get(body) {
                    index.born(found.location);
                    index.set_body(
                        *body,
                        BodyEntry {
                            references: 1,
                            ..*found
                        },
                    );
                }
            }
            index.set_item(id, entry);
        }
        (index, order)
    }

    /// Reports a damaged place as the configuration says. `bytes` are the place's; without, the whole
    /// file is meant.
    fn damaged(&self, corruption: Corruption, bytes: Option<&[u8]>) -> Result<(), OpenError> {
        if self.config.corrupt == OnCorrupt::Abort {
            return Err(OpenError::Corrupt(corruption));
        }
        quarantine::keep(self.disk, self.config, corruption, bytes);
        Ok(())
    }
}

fn io_error(action: &'static str, path: &Path, source: io::Error) -> OpenError {
    OpenError::Io {
        action,
        path: path.to_owned(),
        source,
    }
}
