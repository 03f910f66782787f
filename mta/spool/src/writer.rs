//! The writer: the only one who appends to the log and changes the index.
//!
//! One step takes all requests that wait, appends their records with one write, makes one sync, and
//! only then changes the index and tells the waiting. It holds no thread and no clock, so that the
//! simulator drives the very code that runs in production.
//!
//! Completions are special: they are facts that cannot be refused. They ride along with the next batch,
//! are written soon but never wait for a sync, and only when one has covered them is anything deleted
//! for them; if the segment is given up they are written again into the next.
//!
//! A write or sync that fails gives the segment up: what the disk kept of the batch is unknown, and a
//! sync that is tried again could lie. The next segment's header says where the last good byte is.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use angarium_effects::clock::Monotonic;
use angarium_effects::disk::DiskFile;

use crate::config::Event;
use crate::error::CommitError;
use crate::id::{BodyId, ItemId};
use crate::index::{BodyEntry, ItemEntry, Location};
use crate::payload::{self, BodyIds};
use crate::record::{self, FIRST, Kind, LAST, Mark};
use crate::rotation::{self, Carried, RotationError};
use crate::segment::{End, Header, START, Segment};
use crate::shared::{Move, Moved, Request, Shared, count};
use crate::ticket::Completer;
use crate::transaction::{Operation, Work};

/// How long to wait before a new segment is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// The writer's own state.
#[derive(Debug)]
pub(crate) struct Writer {
    shared: Arc<Shared>,
    active: Option<Active>,
    /// The end of the segment before the one to be begun next.
    previous: Option<End>,
    next_number: u32,
    /// Records at the end of the last run's log that are not known to be synced: the next segment
    /// starts with them.
    carried: Carried,
    /// When to try a new segment again.
    retry_at: Monotonic,
    /// Completions whose items are still in the index.
    requested: Vec<ItemId>,
    /// Completions to be written, with what they free.
    unwritten: Vec<(ItemId, ItemEntry)>,
    /// Completions written and not synced.
    unsynced: Vec<(ItemId, ItemEntry)>,
    unsynced_since: Monotonic,
    buffer: Vec<u8>,
}

/// The segment that is written.
#[derive(Debug)]
struct Active {
    header: Header,
    file: Arc<dyn DiskFile>,
    segment: Arc<Segment>,
    /// Where the next record goes.
    written: u64,
    /// What the disk has for sure.
    synced: u64,
}

type ItemMap = HashMap<ItemId, Option<BodyIds>, BuildHasherDefault<DefaultHasher>>;

/// What a step is about to write, and what becomes true with it.
#[derive(Default)]
struct Batch {
    changes: Vec<Change>,
    /// Those who wait, with the files that go away if the batch fails.
    waiting: Vec<(Completer, Vec<PathBuf>)>,
    /// Bodies that are held until the step is over, so that those the batch refers to stay.
    held: Vec<BodyId>,
    /// Items as they will be: their bodies, or none when they are gone.
    items: ItemMap,
    /// Bodies that the batch brings.
    bodies: HashSet<BodyId, BuildHasherDefault<DefaultHasher>>,
    /// Somebody waits for a sync, if the configuration wants commits to.
    needs_sync: bool,
    /// Somebody asked for a sync in so many words.
    must_sync: bool,
}

#[derive(Debug)]
enum Change {
    Body(BodyId, BodyEntry),
    Item(ItemId, ItemEntry),
    Done(ItemId),
    Moved(Moved, Location, Location),
}

impl Writer {
    pub(crate) fn new(
        shared: Arc<Shared>,
        previous: Option<End>,
        next_number: u32,
        carried: Carried,
    ) -> Self {
        Self {
            shared,
            active: None,
            previous,
            next_number,
            carried,
            retry_at: Monotonic::default(),
            requested: Vec::new(),
            unwritten: Vec::new(),
            unsynced: Vec::new(),
            unsynced_since: Monotonic::default(),
            buffer: Vec::new(),
        }
    }

    /// Returns when the next step is due though nobody asks for anything.
    pub(crate) fn due(&self) -> Option<Monotonic> {
        match &self.active {
            None => Some(self.retry_at),
            Some(_) if !self.requested.is_empty() || !self.unwritten.is_empty() => {
                Some(Monotonic::default())
            }
            Some(active) if active.written > active.synced => {
                Some(self.unsynced_since + self.shared.config.lazy_sync)
            }
            Some(_) => None,
        }
    }

    /// Does everything that `requests` ask for: at most one write and one sync, unless a segment is
    /// full or given up.
    pub(crate) fn step(&mut self, now: Monotonic, requests: Vec<Request>) {
        let size = requests
            .iter()
            .map(Request::size)
            .fold(0, u64::saturating_add);
        self.prepare(now, size);
        let Some(mut active) = self.active.take() else {
            self.refuse(requests);
            return;
        };
        let mut batch = Batch::default();
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        for request in requests {
            let mut page = Page {
                shared: &self.shared,
                active: &active,
                buffer: &mut buffer,
            };
            match request {
                Request::Commit(work, completer) => page.commit(&mut batch, work, completer),
                Request::Complete(id) => self.requested.push(id),
                Request::Move(moves, completer) => page.moves(&mut batch, moves, completer),
                Request::Sync(completer) => {
                    batch.must_sync = true;
                    batch.waiting.push((completer, Vec::new()));
                }
            }
        }
        self.completions(&mut batch, &active, &mut buffer);
        let unsynced = active.written > active.synced;
        let late = unsynced && now >= self.unsynced_since + self.shared.config.lazy_sync;
        let wanted = batch.must_sync || self.shared.config.fsync && (batch.needs_sync || late);
        let result = active.write(&buffer).and_then(|()| {
            let sync = wanted && active.written > active.synced;
            if sync {
                active.sync(&self.shared).map(|()| true)
            } else {
                Ok(active.written == active.synced)
            }
        });
        count(&self.shared.stats.batches, u64::from(!buffer.is_empty()));
        count(&self.shared.stats.bytes, buffer.len() as u64);
        let wrote = !buffer.is_empty();
        self.buffer = buffer;
        match result {
            Ok(synced) => {
                if wrote && !unsynced {
                    self.unsynced_since = now;
                }
                self.active = Some(active);
                self.apply(batch, synced);
            }
            Err(error) => {
                self.give_up(&active, &error);
                let failed = CommitError::Io {
                    path: active.segment.path.clone(),
                    source: Arc::new(error),
                };
                self.fail(batch, &failed);
                self.begin_or_wait(now);
            }
        }
        self.shrink();
    }

    /// Makes sure that there is a segment with room for `size` bytes, if that can be.
    fn prepare(&mut self, now: Monotonic, size: u64) {
        let limit = self.shared.config.segment_size;
        match &mut self.active {
            None => {
                if now >= self.retry_at {
                    self.begin_or_wait(now);
                }
            }
            Some(active)
                if active.written > START && active.written.saturating_add(size) > limit =>
            {
                // A segment is left behind only when all of it is on the disk.
                let closed = if active.written > active.synced {
                    active.sync(&self.shared)
                } else {
                    Ok(())
                };
                let Some(active) = self.active.take() else {
                    return;
                };
                if let Err(error) = closed {
                    self.give_up(&active, &error);
                    self.begin_or_wait(now);
                    return;
                }
                self.release_synced();
                let full = active.written > limit.saturating_mul(2);
                if now < self.retry_at && !full {
                    self.active = Some(active);
                    return;
                }
                self.previous = Some(active.end(&self.shared));
                match self.begin(now) {
                    Ok(()) => {}
                    Err(error) if error.may_exist || full => self.wait(&error),
                    Err(error) => {
                        // Nothing has happened to this segment: it takes more until a new one can be had.
                        let reason = error.to_string();
                        self.shared.tell(Event::Background {
                            action: "begin a new segment",
                            reason,
                        });
                        self.active = Some(active);
                    }
                }
            }
            Some(_) => {}
        }
    }

    fn begin_or_wait(&mut self, now: Monotonic) {
        if let Err(error) = self.begin(now) {
            self.wait(&error);
        }
    }

    /// Stays without a segment for a while.
    fn wait(&mut self, error: &RotationError) {
        self.shared.set_unavailable(Some(error.to_string()));
    }

    /// Begins a new segment behind `self.previous`.
    fn begin(&mut self, now: Monotonic) -> Result<(), RotationError> {
        let header = Header {
            number: self.next_number,
            session: self.shared.session,
            salt: rotation::salt(self.shared.config.seed, self.next_number),
            previous: self.previous,
        };
        match rotation::begin(&self.shared, header, &self.carried) {
            Ok(started) => {
                self.next_number = self.next_number.saturating_add(1);
                for (what, from, to) in started.moved {
                    self.relocate(what, from, to);
                }
                self.carried = Carried::default();
                count(&self.shared.stats.segments, 1);
                self.active = Some(Active {
                    header,
                    file: started.file,
                    segment: started.segment,
                    written: started.end,
                    synced: started.end,
                });
                self.shared.active.store(header.number, Ordering::Release);
                self.shared.rotated.store(true, Ordering::Release);
                self.shared.background.nudge();
                self.shared.set_unavailable(None);
                Ok(())
            }
            Err(error) => {
                self.retry_at = now + RETRY;
                if error.may_exist {
                    // It may be found later, so that its number is used up.
                    self.next_number = self.next_number.saturating_add(1);
                }
                Err(error)
            }
        }
    }

    /// Leaves a segment whose state on the disk is unknown behind the last sync.
    fn give_up(&mut self, active: &Active, error: &io::Error) {
        let end = active.end(&self.shared);
        self.previous = Some(end);
        self.shared.tell(Event::Poisoned {
            path: active.segment.path.clone(),
            reason: error.to_string(),
        });
        let mut again = std::mem::take(&mut self.unsynced);
        again.append(&mut self.unwritten);
        self.unwritten = again;
    }

    /// Answers everybody while no segment can be written. Completions are kept.
    fn refuse(&mut self, requests: Vec<Request>) {
        let reason = self
            .shared
            .unavailable()
            .unwrap_or_else(|| "no segment is open".to_owned());
        let error = CommitError::Unavailable(reason);
        for request in requests {
            match request {
                Request::Complete(id) => self.requested.push(id),
                Request::Commit(work, completer) => {
                    discard_files(&self.shared, &files(&self.shared, &work));
                    count(&self.shared.stats.failed, 1);
                    completer.complete(Err(error.clone()));
                }
                Request::Move(_, completer) | Request::Sync(completer) => {
                    completer.complete(Err(error.clone()))
                }
            }
        }
    }

    /// Appends the completions that wait. One whose item is changed by this very batch waits for the
    /// next: if the batch fails, the item stays as it was and the completion must still be there.
    fn completions(&mut self, batch: &mut Batch, active: &Active, buffer: &mut Vec<u8>) {
        let mut later = Vec::new();
        for id in std::mem::take(&mut self.requested) {
            if batch.items.contains_key(&id) {
                later.push(id);
            } else if let Some(entry) = self.shared.index.remove_item(id) {
                self.unwritten.push((id, entry));
            }
        }
        self.requested = later;
        if self.unwritten.is_empty() {
            return;
        }
        let ids: Vec<ItemId> = self.unwritten.iter().map(|(id, _)| *id).collect();
        for ids in ids.chunks(DONE_MAX) {
            let payload = payload::done(ids);
            let mut page = Page {
                shared: &self.shared,
                active,
                buffer,
            };
            page.append(Kind::Done, FIRST | LAST, &payload, &[], None);
        }
    }

    /// Makes a durable batch true.
    fn apply(&mut self, batch: Batch, synced: bool) {
        let written = self.unwritten.len() as u64;
        self.unsynced.append(&mut self.unwritten);
        count(&self.shared.stats.completions, written);
        let mut held = batch.held;
        for change in batch.changes {
            self.change(change, &mut held);
        }
        for id in held {
            self.release(id);
        }
        if synced || !self.shared.config.fsync {
            self.release_synced();
        }
        for (completer, _) in batch.waiting {
            count(&self.shared.stats.commits, 1);
            completer.complete(Ok(()));
        }
    }

    fn change(&self, change: Change, held: &mut Vec<BodyId>) {
        let index = &self.shared.index;
        match change {
            Change::Body(id, entry) => {
                index.born(entry.location);
                index.set_body(id, entry);
                held.push(id);
            }
            Change::Item(id, entry) => {
                index.born(entry.location);
                for body in distinct(&entry.bodies) {
                    index.retain_body(body);
                }
                if let Some(before) = index.set_item(id, entry) {
                    self.free(before);
                }
            }
            Change::Done(id) => {
                if let Some(entry) = index.remove_item(id) {
                    self.free(entry);
                }
            }
            Change::Moved(what, from, to) => self.relocate(what, from, to),
        }
    }

    fn relocate(&self, what: Moved, from: Location, to: Location) {
        let index = &self.shared.index;
        let moved = match what {
            Moved::Item(id) => match index.item(id) {
                Some(entry) if entry.location == from => {
                    index.set_item(
                        id,
                        ItemEntry {
                            location: to,
                            ..entry
                        },
                    );
                    true
                }
                _ => false,
            },
            Moved::Body(id) => index.move_body(id, from, to),
        };
        if moved {
            index.born(to);
            index.died(from);
        }
    }

    /// Frees what completions have freed, now that a sync has covered them.
    fn release_synced(&mut self) {
        for (_, entry) in std::mem::take(&mut self.unsynced) {
            self.free(entry);
        }
    }

    fn free(&self, entry: ItemEntry) {
        self.shared.index.died(entry.location);
        for body in distinct(&entry.bodies) {
            self.release(body);
        }
    }

    fn release(&self, id: BodyId) {
        if let Some(entry) = self.shared.index.release_body(id) {
            self.shared.index.died(entry.location);
            if entry.file {
                self.shared.discard(self.shared.body_path(id));
            }
        }
    }

    /// Takes back a batch that did not become durable.
    fn fail(&mut self, batch: Batch, error: &CommitError) {
        for id in batch.held {
            self.release(id);
        }
        for (completer, files) in batch.waiting {
            discard_files(&self.shared, &files);
            count(&self.shared.stats.failed, 1);
            completer.complete(Err(error.clone()));
        }
    }

    /// Gives memory back after an uncommonly large batch.
    fn shrink(&mut self) {
        let usual = usize::try_from(self.shared.config.batch_size).unwrap_or(usize::MAX);
        if self.buffer.capacity() > usual.saturating_mul(2) {
            self.buffer = Vec::new();
        }
    }
}

/// Completions in one record.
const DONE_MAX: usize = 4096;

impl Active {
    /// Appends to the segment.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, self.written)?;
        self.written = self.written.saturating_add(bytes.len() as u64);
        self.segment.grown_to(self.written);
        Ok(())
    }

    fn sync(&mut self, shared: &Shared) -> io::Result<()> {
        count(&shared.stats.syncs, 1);
        self.file.sync_data()?;
        self.synced = self.written;
        Ok(())
    }

    /// What counts of the segment if nothing more is written: what somebody was told is durable.
    fn end(&self, shared: &Shared) -> End {
        let offset = if shared.config.fsync {
            self.synced
        } else {
            self.written
        };
        End {
            segment: self.header.number,
            offset,
            synced: offset == self.synced,
        }
    }
}

/// Where records are appended.
struct Page<'a> {
    shared: &'a Shared,
    active: &'a Active,
    buffer: &'a mut Vec<u8>,
}

impl Page<'_> {
    /// Appends a record and returns its place.
    fn append(
        &mut self,
        kind: Kind,
        flags: u8,
        head: &[u8],
        tail: &[u8],
        tail_crc: Option<u32>,
    ) -> Location {
        let offset = self.active.written.saturating_add(self.buffer.len() as u64);
        let mark = Mark {
            kind,
            flags,
            synced: self.active.synced,
        };
        record::append(
            self.buffer,
            self.active.header.seal(),
            offset,
            mark,
            head,
            tail,
            tail_crc,
        );
        let length = head.len().saturating_add(tail.len()) as u64;
        Location::new(self.active.header.number, offset, length)
    }

    /// Appends a transaction, or answers why not.
    fn commit(&mut self, batch: &mut Batch, work: Work, completer: Completer) {
        let files = files(self.shared, &work);
        match self.work(batch, &work) {
            Ok(()) => {
                batch.needs_sync = true;
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
    fn moves(&mut self, batch: &mut Batch, moves: Vec<Move>, completer: Completer) {
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
fn distinct(bodies: &[BodyId]) -> impl Iterator<Item = BodyId> + '_ {
    let first =
        |(index, id): &(usize, &BodyId)| !bodies.iter().take(*index).any(|earlier| earlier == *id);
    bodies.iter().enumerate().filter(first).map(|(_, id)| *id)
}

/// The files of a transaction's large bodies.
fn files(shared: &Shared, work: &Work) -> Vec<PathBuf> {
    let files = work.bodies.iter().filter(|new| new.body.file().is_some());
    files.map(|new| shared.body_path(new.id)).collect()
}

fn discard_files(shared: &Shared, files: &[PathBuf]) {
    for path in files {
        shared.discard(path.clone());
    }
}

impl Request {
    /// An upper bound of what the request takes in the log.
    pub(crate) fn size(&self) -> u64 {
        match self {
            Self::Commit(work, _) => work.size(),
            Self::Complete(_) => ItemId::LENGTH as u64,
            Self::Move(moves, _) => moves
                .iter()
                .map(|m| m.from.size())
                .fold(0, u64::saturating_add),
            Self::Sync(_) => 0,
        }
    }
}
