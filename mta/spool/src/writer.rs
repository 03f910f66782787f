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

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use angarium_effects::clock::Monotonic;
use angarium_effects::disk::DiskFile;

use crate::batch::{Batch, Change, Page, discard_files, distinct, files};
use crate::config::Event;
use crate::error::CommitError;
use crate::id::{BodyId, ItemId};
use crate::index::{ItemEntry, Location};
use crate::payload;
use crate::record::{self, ALIGNMENT, FIRST, Kind, LAST};
use crate::rotation::{self, Carried, OnFull, RotationError};
use crate::segment::{End, Header, START, Segment};
use crate::shared::{Moved, Request, Shared, count};
use crate::ticket::Completer;

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
    /// The segment is as good as full, and there is no other.
    stuck: bool,
    /// When to try a new segment again.
    retry_at: Monotonic,
    /// Completions whose items are still in the index.
    requested: Vec<ItemId>,
    /// Completions to be written, with what they free.
    unwritten: Vec<(ItemId, ItemEntry)>,
    /// Completions written and not synced.
    unsynced: Vec<(ItemId, ItemEntry)>,
    unsynced_since: Monotonic,
    /// Those who wait until all completions before are synced.
    syncs: Vec<Completer>,
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
    /// How long it may get.
    limit: u64,
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
            stuck: false,
            retry_at: Monotonic::default(),
            requested: Vec::new(),
            unwritten: Vec::new(),
            unsynced: Vec::new(),
            unsynced_since: Monotonic::default(),
            syncs: Vec::new(),
            buffer: Vec::new(),
        }
    }

    /// Returns when the next step is due though nobody asks for anything.
    pub(crate) fn due(&self) -> Option<Monotonic> {
        let Some(active) = &self.active else {
            return Some(self.retry_at);
        };
        if !self.requested.is_empty() || !self.unwritten.is_empty() && !self.stuck {
            return Some(Monotonic::default());
        }
        let config = &self.shared.config;
        let unsynced = config.fsync && active.written > active.synced;
        let sync = unsynced.then(|| self.unsynced_since + config.lazy_sync);
        let retry = self.stuck.then_some(self.retry_at);
        sync.into_iter().chain(retry).min()
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
        let requests = if self.stuck && (size > active.room() || active.is_short(&self.shared)) {
            self.refuse_commits(requests)
        } else {
            requests
        };
        let mut batch = Batch::default();
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        for request in requests {
            let mut page = active.page(&self.shared, &mut buffer);
            match request {
                Request::Commit(work, completer) => page.commit(&mut batch, work, completer),
                Request::Complete(id) => self.requested.push(id),
                Request::Move(moves, completer) => page.moves(&mut batch, moves, completer),
                Request::Sync(completer) => self.syncs.push(completer),
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
    ///
    /// The last part of a segment is for completions: on a full disk, where no other segment can be
    /// had, they are what makes room.
    fn prepare(&mut self, now: Monotonic, size: u64) {
        let Some(mut active) = self.active.take() else {
            if now >= self.retry_at {
                self.begin_or_wait(now);
            }
            return;
        };
        let full = active.written > START && size > active.room();
        if !(full || self.stuck) || now < self.retry_at {
            self.active = Some(active);
            return;
        }
        // A segment is left behind only when all of it is on the disk.
        let closed = if active.written > active.synced {
            active.sync(&self.shared)
        } else {
            Ok(())
        };
        if let Err(error) = closed {
            self.give_up(&active, &error);
            self.begin_or_wait(now);
            return;
        }
        self.release_synced();
        self.previous = Some(active.end(&self.shared));
        // A short segment is for completions: while there is room for some, it brings nothing.
        let on_full = if active.limit > active.written.saturating_add(active.kept() / 2) {
            OnFull::Fail
        } else {
            OnFull::Shorten
        };
        if let Err(error) = self.begin(now, on_full) {
            self.wait(&error);
            // Unless a new header may say that this segment has ended, it takes what it has room for.
            if !error.may_exist {
                self.active = Some(active);
                self.stuck = true;
            }
        }
    }

    fn begin_or_wait(&mut self, now: Monotonic) {
        if let Err(error) = self.begin(now, OnFull::Shorten) {
            self.wait(&error);
        }
    }

    /// Stays without a segment for a while.
    fn wait(&mut self, error: &RotationError) {
        self.shared.set_unavailable(Some(error.to_string()));
    }

    /// Begins a new segment behind `self.previous`.
    fn begin(&mut self, now: Monotonic, on_full: OnFull) -> Result<(), RotationError> {
        let header = Header {
            number: self.next_number,
            session: self.shared.session,
            salt: rotation::salt(self.shared.config.seed, self.next_number),
            previous: self.previous,
        };
        match rotation::begin(&self.shared, header, &self.carried, on_full) {
            Ok(started) => {
                self.next_number = self.next_number.saturating_add(1);
                for (what, from, to) in started.moved {
                    self.relocate(what, from, to);
                }
                self.carried = Carried::default();
                self.active = Some(Active {
                    header,
                    file: started.file,
                    segment: started.segment,
                    written: started.end,
                    synced: started.end,
                    limit: started.limit,
                });
                self.shared.active.store(header.number, Ordering::Release);
                self.stuck = started.limit < self.shared.config.segment_size;
                self.shared.background.nudge();
                if self.stuck {
                    self.retry_at = now + RETRY;
                    self.shared.set_unavailable(Some(FULL.to_owned()));
                } else {
                    self.shared.set_unavailable(None);
                }
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
        self.previous = Some(active.end(&self.shared));
        self.stuck = false;
        active.segment.give_up();
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
        let error = CommitError::Unavailable(self.shared.unavailable().unwrap_or_default());
        for completer in self.syncs.drain(..) {
            completer.complete(Err(error.clone()));
        }
        for request in self.refuse_commits(requests) {
            match request {
                Request::Complete(id) => self.requested.push(id),
                Request::Sync(completer) => completer.complete(Err(error.clone())),
                Request::Commit(..) | Request::Move(..) => {}
            }
        }
    }

    /// Answers those who bring records that there is no room for, and returns the others.
    fn refuse_commits(&mut self, requests: Vec<Request>) -> Vec<Request> {
        let error = CommitError::Unavailable(self.shared.unavailable().unwrap_or_default());
        let mut others = Vec::new();
        for request in requests {
            match request {
                Request::Commit(work, completer) => {
                    discard_files(&self.shared, &files(&self.shared, &work));
                    count(&self.shared.stats.failed, 1);
                    completer.complete(Err(error.clone()));
                }
                Request::Move(_, completer) => completer.complete(Err(error.clone())),
                Request::Complete(_) | Request::Sync(_) => others.push(request),
            }
        }
        others
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
        batch.completions = self.unwritten.len();
        if self.stuck {
            // No other segment can be had: only what this one has room for.
            let used = active.written.saturating_add(buffer.len() as u64);
            let room = active.limit.saturating_sub(used);
            let ids = room.saturating_sub(record::size(0) + ALIGNMENT) / ItemId::LENGTH as u64;
            batch.completions = batch
                .completions
                .min(usize::try_from(ids).unwrap_or(usize::MAX))
                .min(DONE_MAX);
        }
        let ids: Vec<ItemId> = self
            .unwritten
            .iter()
            .take(batch.completions)
            .map(|(id, _)| *id)
            .collect();
        for ids in ids.chunks(DONE_MAX) {
            let payload = payload::done(ids);
            active
                .page(&self.shared, buffer)
                .append(Kind::Done, FIRST | LAST, &payload, &[], None);
        }
        self.answer_syncs(batch);
    }

    /// Lets those who wait for all completions wait for this batch, if it has them all.
    fn answer_syncs(&mut self, batch: &mut Batch) {
        if batch.completions < self.unwritten.len() {
            let error = CommitError::Unavailable(self.shared.unavailable().unwrap_or_default());
            for completer in self.syncs.drain(..) {
                completer.complete(Err(error.clone()));
            }
        } else if self.requested.is_empty() {
            batch.must_sync |= !self.syncs.is_empty();
            batch.waiting.extend(
                self.syncs
                    .drain(..)
                    .map(|completer| (completer, Vec::new())),
            );
        }
    }

    /// Makes a durable batch true.
    fn apply(&mut self, batch: Batch, synced: bool) {
        count(&self.shared.stats.commits, batch.commits);
        self.unsynced
            .extend(self.unwritten.drain(..batch.completions));
        count(&self.shared.stats.completions, batch.completions as u64);
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

/// The part of a segment that commits leave to completions, when segments are not tiny.
const COMPLETIONS: u64 = 64 << 10;
/// Why no mail is taken while a short segment is written.
const FULL: &str = "the disk is full: only what leaves the queue is still written";
/// Completions in one record.
const DONE_MAX: usize = 4096;

impl Active {
    /// Where records for this segment are collected.
    fn page<'a>(&self, shared: &'a Shared, buffer: &'a mut Vec<u8>) -> Page<'a> {
        Page {
            shared,
            seal: self.header.seal(),
            start: self.written,
            synced: self.synced,
            buffer,
        }
    }

    /// The room for all but completions.
    fn room(&self) -> u64 {
        self.limit
            .saturating_sub(self.kept())
            .saturating_sub(self.written)
    }

    /// The room at the end that is for completions only.
    fn kept(&self) -> u64 {
        COMPLETIONS.min(self.limit / 16)
    }

    /// Whether it was begun on a full disk, for completions.
    fn is_short(&self, shared: &Shared) -> bool {
        self.limit < shared.config.segment_size
    }

    /// Appends to the segment.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, self.written)?;
        self.written = self.written.saturating_add(bytes.len() as u64);
        self.segment.written_to(self.written);
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
