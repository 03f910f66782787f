//! What must hold.
//!
//! - An item whose addition was acknowledged, and whose removal was not asked for, is there, with the
//!   bytes and bodies of its last acknowledged change, or of one that was asked for after it.
//! - An item whose removal was acknowledged, or asked for before an acknowledged sync, is not there.
//! - An item that was asked for and not acknowledged is there as it was asked for, or not; of one
//!   transaction all items or none.
//! - Nothing else is there, and what was seen to be gone after one start does not come back at the next.

use std::collections::BTreeMap;

use angarium_spool::ItemId;

/// A state of an item: its owner's bytes and the contents of its bodies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    pub blob: Vec<u8>,
    pub bodies: Vec<Content>,
}

/// The content of a body, told by a number and a length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content {
    pub number: u64,
    pub length: usize,
}

impl Content {
    /// Each sector differs from those of other bodies and from its neighbours.
    pub fn bytes(self) -> Vec<u8> {
        let mut bytes = vec![self.number as u8; self.length];
        for (index, sector) in bytes.chunks_mut(512).enumerate() {
            let mark = [self.number.to_le_bytes(), (index as u64).to_le_bytes()].concat();
            let length = mark.len().min(sector.len());
            sector[..length].copy_from_slice(&mark[..length]);
        }
        bytes
    }
}

#[derive(Clone, Debug, Default)]
pub struct Item {
    /// What was acknowledged last; none before the addition is.
    acknowledged: Option<Version>,
    /// What was asked for since.
    asked: Vec<Version>,
    removal: Removal,
    /// The transaction that adds it, as long as it is not acknowledged.
    transaction: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Removal {
    #[default]
    No,
    /// Asked for in a transaction, which may fail, or has failed: it may have happened all the same.
    Perhaps,
    Asked,
    Acknowledged,
}

#[derive(Clone, Debug, Default)]
pub struct Model {
    items: BTreeMap<ItemId, Item>,
}

impl Model {
    /// An addition, or a change, is asked for.
    pub fn ask(&mut self, id: ItemId, version: Version, transaction: u64) {
        let item = self.items.entry(id).or_insert_with(|| Item {
            transaction,
            ..Item::default()
        });
        item.asked.push(version);
    }

    pub fn ask_removal(&mut self, id: ItemId) {
        self.removal(id, Removal::Asked);
    }

    /// The removal is a part of a transaction.
    pub fn ask_removal_with_others(&mut self, id: ItemId) {
        self.removal(id, Removal::Perhaps);
    }

    fn removal(&mut self, id: ItemId, removal: Removal) {
        if let Some(item) = self.items.get_mut(&id) {
            item.removal = item.removal.max(removal);
        }
    }

    /// The change that was asked for as `version` is acknowledged.
    pub fn acknowledge(&mut self, id: ItemId, version: &Version) {
        let Some(item) = self.items.get_mut(&id) else {
            return;
        };
        if let Some(at) = item.asked.iter().position(|asked| asked == version) {
            item.acknowledged = item.asked.drain(..=at).next_back();
        }
    }

    pub fn acknowledge_removal(&mut self, id: ItemId) {
        self.removal(id, Removal::Acknowledged);
    }

    /// Items that certainly are in the spool, in their acknowledged state.
    pub fn live(&self) -> impl Iterator<Item = (ItemId, &Version)> {
        self.items
            .iter()
            .filter(|(_, item)| item.removal == Removal::No && item.asked.is_empty())
            .filter_map(|(id, item)| Some((*id, item.acknowledged.as_ref()?)))
    }

    /// Items whose removal was asked for and is not acknowledged.
    pub fn leaving(&self) -> Vec<ItemId> {
        self.items
            .iter()
            .filter(|(_, item)| item.removal == Removal::Asked)
            .map(|(id, _)| *id)
            .collect()
    }

    /// Compares what was found after a start, and goes on from it.
    pub fn check(&mut self, found: &BTreeMap<ItemId, Version>) -> Result<(), String> {
        for (id, version) in found {
            let Some(item) = self.items.get(id) else {
                return Err(format!("{id} was never asked for, or came back"));
            };
            if item.removal == Removal::Acknowledged {
                return Err(format!(
                    "{id} came back though its removal was acknowledged"
                ));
            }
            if item.acknowledged.as_ref() != Some(version) && !item.asked.contains(version) {
                return Err(format!(
                    "{id} is in a state that it never had, or no longer may have: {version:?}, {item:?}"
                ));
            }
        }
        let mut partly: BTreeMap<u64, (usize, usize)> = BTreeMap::new();
        for (id, item) in &self.items {
            let there = found.contains_key(id);
            if item.acknowledged.is_some() && item.removal == Removal::No && !there {
                return Err(format!("{id} is lost: {item:?}"));
            }
            if item.acknowledged.is_none() && item.removal == Removal::No {
                let counts = partly.entry(item.transaction).or_default();
                *(if there { &mut counts.0 } else { &mut counts.1 }) += 1;
            }
        }
        if let Some((transaction, counts)) =
            partly.iter().find(|(_, (there, gone))| there * gone > 0)
        {
            return Err(format!(
                "transaction {transaction} is torn: {counts:?} of its items are there and gone"
            ));
        }
        self.items = found
            .iter()
            .map(|(id, version)| {
                (
                    *id,
                    Item {
                        acknowledged: Some(version.clone()),
                        ..Item::default()
                    },
                )
            })
            .collect();
        Ok(())
    }
}
