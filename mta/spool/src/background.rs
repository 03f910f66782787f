//! What can wait: removing files, preparing the next segment, checkpoints, compaction.
//!
//! Like the writer this is a state machine without a thread: each step does one thing. Nothing here
//! is needed for a commit, and nothing here changes the index; compaction reads the live records of a
//! segment and asks the writer to append them again.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use angarium_effects::clock::Monotonic;
use angarium_effects::disk::read_file;

use crate::checkpoint::{self, Position};
use crate::config::Event;
use crate::index::Location;
use crate::payload::Payload;
use crate::rotation;
use crate::scan;
use crate::segment::Segment;
use crate::shared::{Move, Moved, Request, Shared};
use crate::ticket::{self, Ticket};

/// How long to wait after a failure.
const RETRY: Duration = Duration::from_secs(10);
/// How many files are removed in one step.
const REMOVALS: usize = 64;
/// How many bytes of records the writer is asked to move at a time.
const MOVE_SIZE: u64 = 1 << 20;

#[derive(Debug)]
pub(crate) struct Background {
    shared: Arc<Shared>,
    /// The segment that the durable checkpoint names; 0 before the first of this run.
    checkpointed: u32,
    /// Bytes written to the log before that checkpoint, and its length.
    checkpoint_at: u64,
    checkpoint_size: u64,
    retry_at: Monotonic,
    spare_retry_at: Monotonic,
    reserve_retry_at: Monotonic,
    compaction: Option<Compaction>,
    /// Segments that cannot be compacted, because a live record cannot be read.
    stuck: BTreeSet<u32>,
}

/// A segment whose live records are on their way to the end of the log.
#[derive(Debug)]
struct Compaction {
    number: u32,
    moves: std::vec::IntoIter<Move>,
    waiting: Option<Ticket>,
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Something was done; there may be more.
    Worked,
    /// Nothing is to be done now.
    Idle,
}

impl Background {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            checkpointed: 0,
            checkpoint_at: 0,
            checkpoint_size: 0,
            retry_at: Monotonic::default(),
            spare_retry_at: Monotonic::default(),
            reserve_retry_at: Monotonic::default(),
            compaction: None,
            stuck: BTreeSet::new(),
        }
    }

    /// Does one thing that is due.
    pub(crate) fn step(&mut self, now: Monotonic) -> Progress {
        // Before the first segment of this run, what was found at the end of the last one's log is not
        // known to be durable: nothing may be removed for it.
        if self.shared.active.load(Ordering::Acquire) == 0 {
            return Progress::Idle;
        }
        if self.remove_garbage()
            || self.keep_reserve(now)
            || self.prepare_segment(now)
            || now < self.retry_at
        {
            return Progress::Worked.unless(now < self.retry_at);
        }
        let result = match self.checkpoint() {
            Ok(true) => Ok(true),
            Ok(false) => self.remove_segment(),
            // On a full disk there is no room for a checkpoint before an old segment has gone.
            Err(error) => match self.remove_segment() {
                Ok(true) => Ok(true),
                Ok(false) | Err(_) => Err(error),
            },
        };
        match result {
            Ok(true) => Progress::Worked,
            Ok(false) => self.compact(now),
            Err(error) => {
                self.failed("write a checkpoint or remove a segment", &error, now);
                Progress::Idle
            }
        }
    }

    fn failed(&mut self, action: &'static str, error: &io::Error, now: Monotonic) {
        self.retry_at = now + RETRY;
        self.shared.tell(Event::Background {
            action,
            reason: error.to_string(),
        });
    }

    /// Removes files of bodies that nobody needs.
    fn remove_garbage(&self) -> bool {
        let paths = {
            let mut garbage = self.shared.garbage();
            let some = garbage.len().min(REMOVALS);
            garbage.drain(..some).collect::<Vec<_>>()
        };
        for path in &paths {
            match self.shared.disk.unlink(path) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                // The next start finds it without an item and tries again.
                Err(error) => self.shared.tell(Event::Background {
                    action: "remove the file of a body",
                    reason: format!("{}: {error}", path.display()),
                }),
            }
        }
        !paths.is_empty()
    }

    /// Keeps room for a full disk, if there is more than that.
    fn keep_reserve(&mut self, now: Monotonic) -> bool {
        let shared = &self.shared;
        if shared.reserve.load(Ordering::Acquire) || now < self.reserve_retry_at {
            return false;
        }
        let wanted = shared.config.reserve().saturating_mul(2);
        let room = shared
            .disk
            .space(&shared.config.path)
            .is_ok_and(|space| space.bytes >= wanted);
        let made = room.then(|| rotation::make_reserve(shared));
        if !matches!(made, Some(Ok(()))) {
            self.reserve_retry_at = now + RETRY;
        }
        if let Some(Err(error)) = made {
            shared.tell(Event::Background {
                action: "keep room for a full disk",
                reason: error.to_string(),
            });
        }
        room
    }

    /// Makes the next segment ready, if there is plenty of room.
    fn prepare_segment(&mut self, now: Monotonic) -> bool {
        let config = &self.shared.config;
        if !config.prepare_segments || now < self.spare_retry_at || self.shared.spare().is_some() {
            return false;
        }
        let wanted = config.minfree_bytes.saturating_add(config.segment_size);
        let room = self
            .shared
            .disk
            .space(&config.path)
            .is_ok_and(|space| space.bytes >= wanted);
        let made = if room {
            rotation::make_spare(&self.shared)
        } else {
            Ok(())
        };
        if !room || made.is_err() {
            self.spare_retry_at = now + RETRY;
        }
        if let Err(error) = made {
            self.shared.tell(Event::Background {
                action: "prepare a segment",
                reason: error.to_string(),
            });
        }
        room
    }

    /// Writes a checkpoint if a segment was begun and enough was written since the last one to be
    /// worth it: checkpoints at most double what is written.
    fn checkpoint(&mut self) -> io::Result<bool> {
        let shared = &self.shared;
        let active = shared.active.load(Ordering::Acquire);
        let written = shared.stats.bytes.load(Ordering::Relaxed);
        let enough = written.saturating_sub(self.checkpoint_at) >= self.checkpoint_size;
        if active == self.checkpointed || !(enough || self.checkpointed == 0) {
            return Ok(false);
        }
        // The numbers of segments that could not be begun are beyond the active one, but those have no
        // records; the next start looks at what is there besides.
        let position = Position {
            replay_from: active,
            next_number: active.saturating_add(1),
            session: shared.session,
        };
        if !shared.config.fsync {
            // Entries may point to what was never synced.
            let segments: Vec<Arc<Segment>> = shared.index.segments().values().cloned().collect();
            for segment in segments
                .iter()
                .filter(|segment| segment.seal.segment >= self.checkpointed)
            {
                segment.open(&*shared.disk)?.sync_data()?;
            }
        }
        let size = checkpoint::write(&*shared.disk, &shared.config.log(), position, &shared.index)?;
        self.checkpointed = active;
        self.checkpoint_at = written;
        self.checkpoint_size = size;
        Ok(true)
    }

    /// Removes one segment that nobody needs: it has no live record, and the log is not read from it.
    fn remove_segment(&mut self) -> io::Result<bool> {
        let dead = {
            let segments = self.shared.index.segments();
            let mut old = segments.range(..self.checkpointed);
            old.find(|(_, segment)| segment.live() == 0)
                .map(|(number, segment)| (*number, Arc::clone(segment)))
        };
        let Some((number, segment)) = dead else {
            return Ok(false);
        };
        match self.shared.disk.unlink(&segment.path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        self.shared.index.segments().remove(&number);
        self.stuck.remove(&number);
        Ok(true)
    }

    /// Moves the live records of the segment that has the fewest, if more than half of it is dead.
    fn compact(&mut self, now: Monotonic) -> Progress {
        let Some(compaction) = &mut self.compaction else {
            return self.begin_compaction(now);
        };
        if let Some(ticket) = &compaction.waiting {
            match ticket.outcome() {
                None => return Progress::Idle,
                Some(Ok(())) => compaction.waiting = None,
                Some(Err(_)) => {
                    // The writer has told why.
                    self.compaction = None;
                    self.retry_at = now + RETRY;
                    return Progress::Idle;
                }
            }
        }
        let mut size = 0u64;
        let mut moves = Vec::new();
        while size < MOVE_SIZE {
            let Some(next) = compaction.moves.next() else {
                break;
            };
            size = size.saturating_add(next.from.size());
            moves.push(next);
        }
        if moves.is_empty() {
            let number = compaction.number;
            self.compaction = None;
            if self
                .shared
                .index
                .segment(number)
                .is_some_and(|segment| segment.live() > 0)
            {
                // Completions that wait for their sync keep records alive for a moment; what is still
                // alive after them could not be read, and stays where it is.
                self.stuck.insert(number);
            }
            return Progress::Worked;
        }
        let (ticket, completer) = ticket::pair();
        compaction.waiting = Some(ticket);
        self.shared
            .mailbox
            .send_always(Request::Move(moves, completer), size);
        Progress::Worked
    }

    fn begin_compaction(&mut self, now: Monotonic) -> Progress {
        let candidate = {
            let segments = self.shared.index.segments();
            segments
                .range(..self.checkpointed)
                .filter(|(number, _)| !self.stuck.contains(number))
                .map(|(number, segment)| (segment.live(), segment.records(), *number))
                .filter(|(live, records, _)| live.saturating_mul(2) < *records)
                .min()
                .and_then(|(_, _, number)| segments.get(&number).cloned())
        };
        let Some(segment) = candidate else {
            return Progress::Idle;
        };
        match live_records(&self.shared, &segment) {
            Ok(moves) => {
                let number = segment.seal.segment;
                self.compaction = Some(Compaction {
                    number,
                    moves: moves.into_iter(),
                    waiting: None,
                });
                Progress::Worked
            }
            Err(error) => {
                self.stuck.insert(segment.seal.segment);
                self.failed("compact a segment", &error, now);
                Progress::Idle
            }
        }
    }
}

impl Progress {
    fn unless(self, idle: bool) -> Self {
        if idle { Self::Idle } else { self }
    }
}

/// Reads the records of a segment that the index still points to.
fn live_records(shared: &Shared, segment: &Segment) -> io::Result<Vec<Move>> {
    let bytes = read_file(&*shared.disk, &segment.path, u64::from(u32::MAX))?;
    let (records, _) = scan::intact(&bytes, segment.seal);
    let mut moves = Vec::new();
    for (offset, record) in records {
        let from = Location::new(segment.seal.segment, offset, record.payload.len() as u64);
        let what = match Payload::decode(record.kind, record.payload) {
            Some(Payload::Item { id, .. })
                if shared
                    .index
                    .item(id)
                    .is_some_and(|entry| entry.location == from) =>
            {
                Moved::Item(id)
            }
            Some(Payload::Body { id, .. } | Payload::File { id, .. })
                if shared
                    .index
                    .body(id)
                    .is_some_and(|entry| entry.location == from) =>
            {
                Moved::Body(id)
            }
            _ => continue,
        };
        moves.push(Move {
            what,
            from,
            kind: record.kind,
            payload: record.payload.to_vec(),
        });
    }
    Ok(moves)
}
