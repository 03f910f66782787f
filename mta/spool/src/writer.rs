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
use crate::record::{FIRST, Kind, LAST};
use crate::rotation::{self, Carried, RotationError};
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
            syncs: Vec::new(),
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
        for completer in self.syncs.drain(..) {
            completer.complete(Err(error.clone()));
        }
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
        if self.requested.is_empty() {
            batch.must_sync |= !self.syncs.is_empty();
            batch.waiting.extend(
                self.syncs
                    .drain(..)
                    .map(|completer| (completer, Vec::new())),
            );
        }
        if self.unwritten.is_empty() {
            return;
        }
        let ids: Vec<ItemId> = self.unwritten.iter().map(|(id, _)| *id).collect();
        for ids in ids.chunks(DONE_MAX) {
            let payload = payload::done(ids);
            active
                .page(&self.shared, buffer)
                .append(Kind::Done, FIRST | LAST, &payload, &[], None);
        }
    }

    /// Makes a durable batch true.
    fn apply(&mut self, batch: Batch, synced: bool) {
        count(&self.shared.stats.commits, batch.commits);
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
