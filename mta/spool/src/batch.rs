//! What one step of the writer is about to write, and what becomes true with it.
//!
//! Each transaction is checked against the index and against those before it in the batch; one that
//! cannot be is answered at once and leaves no record.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::path::PathBuf;

use crate::error::CommitError;
use crate::id::{BodyId, ItemId};
use crate::index::{BodyEntry, ItemEntry, Location};
use crate::payload::{self, BodyIds};
use crate::record::{self, FIRST, Kind, LAST, Mark, Seal};
use crate::shared::{Move, Moved, Shared, count};
use crate::ticket::Completer;
use crate::transaction::{Operation, Work};

type ItemMap = HashMap<ItemId, Option<BodyIds>, BuildHasherDefault<DefaultHasher>>;

/// What a step is about to write, and what becomes true with it.
#[derive(Default)]
pub(crate) struct Batch {
    pub(crate) changes: Vec<Change>,
    /// Those who wait, with the files that go away if the batch fails.
    pub(crate) waiting: Vec<(Completer, Vec<PathBuf>)>,
    /// Bodies that are held until the step is over, so that those the batch refers to stay.
    pub(crate) held: Vec<BodyId>,
    /// Items as they will be: their bodies, or none when they are gone.
    pub(crate) items: ItemMap,
    /// Bodies that the batch brings.
    pub(crate) bodies: HashSet<BodyId, BuildHasherDefault<DefaultHasher>>,
    /// Somebody waits for a sync, if the configuration wants commits to.
    pub(crate) needs_sync: bool,
    /// How many of the completions that wait are in the batch.
    pub(crate) completions: usize,
    /// Transactions among those who wait.
    pub(crate) commits: u64,
    /// Somebody asked for a sync in so many words.
    pub(crate) must_sync: bool,
}

#[derive(Debug)]
pub(crate) enum Change {
    Body(BodyId, BodyEntry),
    Item(ItemId, ItemEntry),
    Done(ItemId),
    Moved(Moved, Location, Location),
}

/// Where records are appended.
pub(crate) struct Page<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) seal: Seal,
    /// Where the buffer will be written.
    pub(crate) start: u64,
    /// How much of the segment is on the disk.
    pub(crate) synced: u64,
    pub(crate) buffer: &'a mut Vec<u8>,
}

impl Page<'_> {
    /// Appends a record and returns its place.
    pub(crate) fn append(
        &mut self,
        kind: Kind,
        flags: u8,
        head: &[u8],
        tail: &[u8],
        tail_crc: Option<u32>,
    ) -> Location {
        let offset = self.start.saturating_add(self.buffer.len() as u64);
        let mark = Mark {
            kind,
            flags,
            synced: self.synced,
        };
        record::append(self.buffer, self.seal, offset, mark, head, tail, tail_crc);
        let length = head.len().saturating_add(tail.len()) as u64;
        Location::new(self.seal.segment, offset, length)
    }

    /// Appends a transaction, or answers why not.
    pub(crate) fn commit(&mut self, batch: &mut Batch, work: Work, completer: Completer) {
        let files = files(self.shared, &work);
        match self.work(batch, &work) {
            Ok(()) => {
                batch.needs_sync = true;
                batch.commits += 1;
                batch.waiting.push((completer, files));
            }
            Err(error) => {
                discard_files(self.shared, &files);
                count(&self.shared.stats.failed, 1);
                completer.complete(Err(error));
            }
        }
    }

    fn work(&mut self, batch: &mut Batch, work: &Work) -> Result<(), CommitError> {
        let plans = Plan::all(self.shared, batch, work)?;
        let total = work.bodies.len().saturating_add(plans.len());
        let mut written = 0usize;
        let mut flags = || {
            written = written.saturating_add(1);
            let first = if written == 1 { FIRST } else { 0 };
            let last = if written == total { LAST } else { 0 };
            first | last
        };
        for new in &work.bodies {
            let file = new.body.file().is_some();
            let location = if file {
                let payload = payload::file(new.id, new.body.length(), new.body.crc());
                self.append(Kind::File, flags(), &payload, &[], None)
            } else {
                let bytes = new.body.bytes().unwrap_or_default();
                self.append(
                    Kind::Body,
                    flags(),
                    &new.id.0.to_le_bytes(),
                    bytes,
                    Some(new.body.crc()),
                )
            };
            let entry = BodyEntry {
                location,
                length: new.body.length(),
                file,
                references: 1,
            };
            batch.changes.push(Change::Body(new.id, entry));
            batch.bodies.insert(new.id);
        }
        for plan in plans {
            match plan {
                Plan::Item { id, bodies, blob } => {
                    let head = payload::item_head(id, &bodies);
                    let location = self.append(Kind::Item, flags(), &head, blob, None);
                    batch.changes.push(Change::Item(
                        id,
                        ItemEntry {
                            location,
                            bodies: bodies.clone(),
                        },
                    ));
                    batch.items.insert(id, Some(bodies));
                }
                Plan::Done { id } => {
                    self.append(Kind::Done, flags(), &payload::done(&[id]), &[], None);
                    batch.changes.push(Change::Done(id));
                    batch.items.insert(id, None);
                }
            }
        }
        Ok(())
    }

    /// Appends the records that compaction moves, but for those that are gone or elsewhere meanwhile.
    pub(crate) fn moves(&mut self, batch: &mut Batch, moves: Vec<Move>, completer: Completer) {
        for Move {
            what,
            from,
            kind,
            payload,
        } in moves
        {
            let still_there = match what {
                Moved::Item(id) => {
                    !batch.items.contains_key(&id)
                        && self
                            .shared
                            .index
                            .item(id)
                            .is_some_and(|entry| entry.location == from)
                }
                Moved::Body(id) => self
                    .shared
                    .index
                    .body(id)
                    .is_some_and(|entry| entry.location == from),
            };
            if still_there {
                let (head, tail) = payload.split_at(record::head_length(kind).min(payload.len()));
                let to = self.append(kind, FIRST | LAST, head, tail, None);
                count(&self.shared.stats.moved, to.size());
                batch.changes.push(Change::Moved(what, from, to));
            }
        }
        batch.needs_sync = true;
        batch.waiting.push((completer, Vec::new()));
    }
}

/// An operation that has been checked.
enum Plan<'a> {
    Item {
        id: ItemId,
        bodies: BodyIds,
        blob: &'a [u8],
    },
    Done {
        id: ItemId,
    },
}

impl<'a> Plan<'a> {
    /// Checks all operations of a transaction against the index and the batch so far, and takes the
    /// holds on bodies of earlier transactions. Nothing has changed if it fails.
    fn all(shared: &Shared, batch: &mut Batch, work: &'a Work) -> Result<Vec<Self>, CommitError> {
        let mut plans = Vec::with_capacity(work.operations.len());
        let mut items = ItemMap::default();
        let mut held = Vec::new();
        for operation in &work.operations {
            match Self::one(shared, batch, work, operation, &mut items, &mut held) {
                Ok(plan) => plans.push(plan),
                Err(error) => {
                    for id in held {
                        // Never the last reference: the body was needed when it was held.
                        shared.index.release_body(id);
                    }
                    return Err(error);
                }
            }
        }
        batch.held.append(&mut held);
        Ok(plans)
    }

    fn one(
        shared: &Shared,
        batch: &Batch,
        work: &'a Work,
        operation: &'a Operation,
        items: &mut ItemMap,
        held: &mut Vec<BodyId>,
    ) -> Result<Self, CommitError> {
        let present = |id: &ItemId| match items.get(id).or_else(|| batch.items.get(id)) {
            Some(bodies) => bodies.clone(),
            None => shared.index.item(*id).map(|entry| entry.bodies),
        };
        match operation {
            Operation::Add { id, bodies, blob } => {
                if present(id).is_some() {
                    return Err(CommitError::DuplicateItem(*id));
                }
                hold(shared, batch, work, bodies, held)?;
                items.insert(*id, Some(bodies.clone()));
                Ok(Plan::Item {
                    id: *id,
                    bodies: bodies.clone(),
                    blob,
                })
            }
            Operation::Update { id, bodies, blob } => {
                let before = present(id).ok_or(CommitError::UnknownItem(*id))?;
                let bodies = match bodies {
                    None => before,
                    Some(bodies) => {
                        hold(shared, batch, work, bodies, held)?;
                        bodies.clone()
                    }
                };
                items.insert(*id, Some(bodies.clone()));
                Ok(Plan::Item {
                    id: *id,
                    bodies,
                    blob,
                })
            }
            Operation::Complete { id } => {
                if present(id).is_none() {
                    return Err(CommitError::UnknownItem(*id));
                }
                items.insert(*id, None);
                Ok(Plan::Done { id: *id })
            }
        }
    }
}

/// Holds the bodies that the transaction refers to and does not bring.
fn hold(
    shared: &Shared,
    batch: &Batch,
    work: &Work,
    bodies: &[BodyId],
    held: &mut Vec<BodyId>,
) -> Result<(), CommitError> {
    for id in distinct(bodies) {
        if work.bodies.iter().any(|new| new.id == id) {
            continue;
        }
        // A body that another transaction of this batch brings may still fail with the batch, but then
        // this one fails too.
        if shared.index.retain_body(id) {
            held.push(id);
        } else if !batch.bodies.contains(&id) {
            return Err(CommitError::UnknownBody(id));
        }
    }
    Ok(())
}

/// Each body once.
pub(crate) fn distinct(bodies: &[BodyId]) -> impl Iterator<Item = BodyId> + '_ {
    let first =
        |(index, id): &(usize, &BodyId)| !bodies.iter().take(*index).any(|earlier| earlier == *id);
    bodies.iter().enumerate().filter(first).map(|(_, id)| *id)
}

/// The files of a transaction's large bodies.
pub(crate) fn files(shared: &Shared, work: &Work) -> Vec<PathBuf> {
    let files = work.bodies.iter().filter(|new| new.body.file().is_some());
    files.map(|new| shared.body_path(new.id)).collect()
}

pub(crate) fn discard_files(shared: &Shared, files: &[PathBuf]) {
    for path in files {
        shared.discard(path.clone());
    }
}
