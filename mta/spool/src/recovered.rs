//! The items found at start, handed over one by one in the order of the log.

use std::sync::Arc;

use crate::config::{Event, OnCorrupt};
use crate::error::{Corruption, OpenError, ReadError};
use crate::id::{BodyRef, ItemId};
use crate::index::Location;
use crate::payload::Payload;
use crate::quarantine;
use crate::record::{self, Kind};
use crate::segment::Segment;
use crate::shared::{Request, Shared};

/// An item found at start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveredItem {
    /// The item.
    pub id: ItemId,
    /// Its bodies, in the order in which they were given.
    pub bodies: Vec<BodyRef>,
    /// Its owner's bytes, of its newest state.
    pub blob: Vec<u8>,
}

/// Yields the live items of the spool.
///
/// After [`OpenError::Io`] (no descriptors, say) the next call tries the same item again; with
/// `spool.corrupt: abort` a damaged item is another error, which should end the start. Otherwise it is
/// reported, kept in quarantine if so configured, removed from the spool, and skipped. The spool can be used while items
/// are still being yielded; one that is completed meanwhile is not yielded.
#[derive(Debug)]
pub struct Recovered {
    shared: Arc<Shared>,
    items: std::vec::IntoIter<(Location, ItemId)>,
    /// The item that could not be read.
    again: Option<(Location, ItemId)>,
    window: Option<Window>,
}

/// A piece of a segment, read at once because the next items are likely to be in it.
#[derive(Debug)]
struct Window {
    segment: u32,
    start: u64,
    bytes: Vec<u8>,
}

const WINDOW: u64 = 128 << 10;
/// The disk cannot read the place, on every system that we know.
pub(crate) const EIO: i32 = 5;

impl Recovered {
    pub(crate) fn new(shared: Arc<Shared>, items: Vec<(Location, ItemId)>) -> Self {
        Self {
            shared,
            items: items.into_iter(),
            again: None,
            window: None,
        }
    }

    fn read(&mut self, segment: &Segment, location: Location) -> Result<Vec<u8>, ReadError> {
        let fits = self.window.as_ref().is_some_and(|window| {
            window.segment == location.segment
                && location.offset() >= window.start
                && location.offset().saturating_add(location.size())
                    <= window.start.saturating_add(window.bytes.len() as u64)
        });
        if !fits {
            self.window = None;
            let io = |source| ReadError::Io {
                path: segment.path.clone(),
                source,
            };
            let file = segment.open(&*self.shared.disk).map_err(io)?;
            let mut bytes = vec![0; usize::try_from(location.size().max(WINDOW)).unwrap_or(0)];
            let mut filled = 0usize;
            while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
                match file
                    .read_at(rest, location.offset().saturating_add(filled as u64))
                    .map_err(io)?
                {
                    0 => break,
                    read => filled = filled.saturating_add(read),
                }
            }
            bytes.truncate(filled);
            self.window = Some(Window {
                segment: location.segment,
                start: location.offset(),
                bytes,
            });
        }
        let damaged = |reason: &str| {
            let start = location.offset();
            let end = start.saturating_add(location.size());
            let reason = reason.to_owned();
            ReadError::Corrupt(Corruption {
                path: segment.path.clone(),
                start,
                end,
                reason,
            })
        };
        let rest = self.window.as_ref().and_then(|window| {
            let at = usize::try_from(location.offset().saturating_sub(window.start)).ok()?;
            window.bytes.get(at..)
        });
        match record::read(rest.unwrap_or_default(), segment.seal, location.offset()) {
            Ok(found) if found.kind == Kind::Item => Ok(found.payload.to_vec()),
            Ok(_) => Err(damaged("another record is there")),
            Err(damage) => Err(damaged(damage.reason())),
        }
    }

    fn item(&mut self, id: ItemId, location: Location) -> Result<RecoveredItem, ReadError> {
        let Some(segment) = self.shared.index.segment(location.segment) else {
            let path = self.shared.config.log();
            return Err(ReadError::Corrupt(Corruption {
                path,
                start: 0,
                end: 0,
                reason: "the segment is gone".into(),
            }));
        };
        let payload = self.read(&segment, location)?;
        match Payload::decode(Kind::Item, &payload) {
            Some(Payload::Item {
                id: found,
                bodies,
                blob,
            }) if found == id => {
                let length = |body| self.shared.index.body(body).map_or(0, |entry| entry.length);
                let bodies = bodies
                    .iter()
                    .map(|&id| BodyRef {
                        id,
                        length: length(id),
                    })
                    .collect();
                Ok(RecoveredItem {
                    id,
                    bodies,
                    blob: blob.to_vec(),
                })
            }
            _ => Err(ReadError::Corrupt(Corruption {
                path: segment.path.clone(),
                start: location.offset(),
                end: location.offset().saturating_add(location.size()),
                reason: "another item is there".to_owned(),
            })),
        }
    }

    /// Deals with an item that cannot be read.
    fn damaged(&mut self, id: ItemId, error: ReadError) -> Result<(), OpenError> {
        let config = &self.shared.config;
        let corruption = match error {
            ReadError::Corrupt(corruption) => corruption,
            ReadError::Io { path, source }
                if source.raw_os_error() == Some(EIO) && config.corrupt != OnCorrupt::Abort =>
            {
                Corruption {
                    path,
                    start: 0,
                    end: 0,
                    reason: source.to_string(),
                }
            }
            // No descriptors, no memory: nothing is wrong with the item. What the disk cannot read now it may
            // read later.
            ReadError::Io { path, source } => {
                return Err(OpenError::Io {
                    action: "read",
                    path,
                    source,
                });
            }
            ReadError::Unknown(body) => Corruption {
                path: config.log(),
                start: 0,
                end: 0,
                reason: format!("body {body:?} is missing"),
            },
        };
        if config.corrupt == OnCorrupt::Abort {
            return Err(OpenError::Corrupt(corruption));
        }
        let reason = corruption.reason.clone();
        let place = self.window.as_ref().and_then(|window| {
            let at = usize::try_from(corruption.start.checked_sub(window.start)?).ok()?;
            let length = usize::try_from(corruption.end.saturating_sub(corruption.start)).ok()?;
            let rest = window.bytes.get(at..)?;
            rest.get(..length.min(rest.len()))
        });
        let kept = place.is_some() && config.corrupt == OnCorrupt::Quarantine;
        quarantine::keep(
            &*self.shared.disk,
            config,
            corruption,
            Some(place.unwrap_or_default()),
        );
        self.shared.tell(Event::ItemLost { id, reason });
        // Without a copy the record stays, in case somebody can mend the file or the disk.
        if kept {
            self.shared
                .mailbox
                .send_always(Request::Complete(id), ItemId::LENGTH as u64);
        }
        Ok(())
    }
}

impl Iterator for Recovered {
    type Item = Result<RecoveredItem, OpenError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (mut location, id) = match self.again.take() {
                Some(again) => again,
                None => self.items.next()?,
            };
            // The record may have been moved since the list was made, or the item completed.
            let result = loop {
                let result = self.item(id, location);
                match self.shared.index.item(id) {
                    None => break None,
                    Some(entry) if entry.location == location => break Some(result),
                    Some(entry) => location = entry.location,
                }
            };
            let Some(result) = result else {
                continue;
            };
            match result {
                Ok(item) => return Some(Ok(item)),
                Err(error) => {
                    if let Err(error) = self.damaged(id, error) {
                        let again = matches!(error, OpenError::Io { .. });
                        self.again = again.then_some((location, id));
                        return Some(Err(error));
                    }
                }
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let again = usize::from(self.again.is_some());
        (0, Some(self.items.len().saturating_add(again)))
    }
}
