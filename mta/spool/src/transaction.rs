//! What becomes durable together, or not at all.

use std::sync::Arc;

use crate::body::Body;
use crate::error::CommitError;
use crate::id::{BodyId, BodyRef, ItemId};
use crate::payload::BodyIds;
use crate::record;
use crate::shared::Shared;

/// Changes of the spool that happen together: new bodies and items, new states of items, completions.
///
/// [`Spool::commit`](crate::Spool::commit) makes them durable. Dropped uncommitted it leaves nothing.
#[derive(Debug)]
pub struct Transaction {
    shared: Arc<Shared>,
    work: Work,
    refused: Option<CommitError>,
}

/// The content of a transaction.
#[derive(Debug, Default)]
pub(crate) struct Work {
    pub(crate) bodies: Vec<NewBody>,
    pub(crate) operations: Vec<Operation>,
}

#[derive(Debug)]
pub(crate) struct NewBody {
    pub(crate) id: BodyId,
    pub(crate) body: Body,
    /// An item of the transaction needs it.
    pub(crate) needed: bool,
}

#[derive(Debug)]
pub(crate) enum Operation {
    Add {
        id: ItemId,
        bodies: BodyIds,
        blob: Vec<u8>,
    },
    /// Without bodies, those of before stay.
    Update {
        id: ItemId,
        bodies: Option<BodyIds>,
        blob: Vec<u8>,
    },
    Complete {
        id: ItemId,
    },
}

impl Transaction {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            work: Work::default(),
            refused: None,
        }
    }

    /// Adds a body and returns the reference for the items of this and later transactions. A body that
    /// no item of this transaction needs is not stored.
    pub fn add_body(&mut self, body: &Body) -> BodyRef {
        let id = self.shared.new_body_id();
        self.work.bodies.push(NewBody {
            id,
            body: body.clone(),
            needed: false,
        });
        BodyRef {
            id,
            length: body.length(),
        }
    }

    /// Adds an item with the bodies it needs, of this transaction or of items in the spool, and its
    /// owner's bytes. At most 255 bodies. A body of another item can be relied on only as long as that
    /// item stays until this transaction is durable.
    pub fn add_item(&mut self, id: ItemId, bodies: &[BodyRef], blob: Vec<u8>) {
        let bodies = self.need(bodies, &blob);
        self.work
            .operations
            .push(Operation::Add { id, bodies, blob });
    }

    /// Replaces an item's bytes; its bodies stay.
    pub fn update_item(&mut self, id: ItemId, blob: Vec<u8>) {
        self.need(&[], &blob);
        self.work.operations.push(Operation::Update {
            id,
            bodies: None,
            blob,
        });
    }

    /// Replaces an item's bodies and bytes.
    pub fn replace_item(&mut self, id: ItemId, bodies: &[BodyRef], blob: Vec<u8>) {
        let bodies = Some(self.need(bodies, &blob));
        self.work
            .operations
            .push(Operation::Update { id, bodies, blob });
    }

    /// Removes an item, together with the rest: for a bounce that takes the place of its message.
    pub fn complete_item(&mut self, id: ItemId) {
        self.work.operations.push(Operation::Complete { id });
    }

    fn need(&mut self, bodies: &[BodyRef], blob: &[u8]) -> BodyIds {
        if blob.len() > RECORD_MAX || bodies.len() > usize::from(u8::MAX) {
            self.refused = Some(CommitError::TooLong(blob.len() as u64));
        }
        for body in bodies {
            if let Some(new) = self.work.bodies.iter_mut().find(|new| new.id == body.id) {
                new.needed = true;
            }
        }
        bodies.iter().map(|body| body.id).collect()
    }

    /// Returns what is to be done, without bodies that nobody needs.
    pub(crate) fn into_work(mut self) -> Result<Work, CommitError> {
        if let Some(refused) = self.refused {
            return Err(refused);
        }
        self.work.bodies.retain(|new| new.needed);
        Ok(self.work)
    }
}

/// The longest item: the length field of a record has 32 bits, and nobody needs more than this.
const RECORD_MAX: usize = 256 << 20;

impl Work {
    /// Returns an upper bound of the bytes that this takes in the log.
    pub(crate) fn size(&self) -> u64 {
        let mut size = 0u64;
        for new in &self.bodies {
            let length = if new.body.file().is_some() {
                0
            } else {
                new.body.length()
            };
            size = size.saturating_add(record::size(length.saturating_add(32)));
        }
        for operation in &self.operations {
            let length = match operation {
                Operation::Add { bodies, blob, .. } => 64 + 8 * bodies.len() + blob.len(),
                Operation::Update { bodies, blob, .. } => {
                    64 + 8 * bodies.as_ref().map_or(255, |bodies| bodies.len()) + blob.len()
                }
                Operation::Complete { .. } => ItemId::LENGTH,
            };
            size = size.saturating_add(record::size(length as u64));
        }
        size
    }

    pub(crate) fn has_files(&self) -> bool {
        self.bodies.iter().any(|new| new.body.file().is_some())
    }
}
