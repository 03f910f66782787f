//! What an operator may do with one item: the tasks of `queue update`.

use super::{InputError, Scheduler, Work};
use crate::attempt::EnhancedStatus;
use crate::gate::Gate;
use crate::index::{Slot, State, WrongState};
use crate::item::{Address, Item, ItemId, Pairs, Priority};
use crate::outcome::{Cause, Removal};
use crate::text::Text;
use crate::time::Timestamp;

/// An operator's wish for one item.
///
/// An item in transition answers [`InputError::Busy`], except to [`Control::Freeze`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Control {
    /// Move to HOLD.
    Hold,
    /// Move from HOLD or UPDATE to the queue. Time in HOLD does not count as age.
    Release,
    /// Try now.
    Retry,
    /// Try at this time.
    Defer(Timestamp),
    /// Remove and tell the sender.
    Bounce {
        /// The status to tell.
        status: Option<EnhancedStatus>,
        /// The diagnostic to tell.
        diagnostic: Option<Text>,
    },
    /// Remove.
    Delete,
    /// Move to UPDATE, at once or when the running task is over.
    Freeze,
    /// Remove without a word to anybody: a copy was handed out. Only from UPDATE.
    Unload,
    /// Move from UPDATE to where the item belongs, or forget a [`Control::Freeze`] to come.
    Thaw,
    /// Change the item, then put it where it belongs.
    Update(Box<ItemUpdate>),
}

/// Changes to an item; what is none stays.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ItemUpdate {
    /// The transport.
    pub transportid: Option<Text>,
    /// Metadata to merge; an empty value deletes.
    pub metadata: Vec<(Text, Text)>,
    /// The sender's local part.
    pub sender_localpart: Option<Text>,
    /// The sender's domain.
    pub sender_domain: Option<Text>,
    /// The recipient's local part.
    pub recipient_localpart: Option<Text>,
    /// The recipient's domain.
    pub recipient_domain: Option<Text>,
    /// The count of attempts.
    pub retrycount: Option<u32>,
    /// The pick-up class.
    pub priority: Option<Priority>,
    /// The job; empty: none.
    pub jobid: Option<Text>,
    /// The tenant; empty: none.
    pub tenantid: Option<Text>,
    /// Where the item goes after the changes; none: where it belongs.
    pub then: Option<Then>,
}

/// Where an item goes after it was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Then {
    /// To HOLD.
    Hold,
    /// To the next attempt, out of hold and delay.
    Retry,
    /// To an attempt at this time, out of hold.
    Defer(Timestamp),
    /// To UPDATE.
    Freeze,
    /// Away, and the sender is told.
    Bounce {
        /// The status to tell.
        status: Option<EnhancedStatus>,
        /// The diagnostic to tell.
        diagnostic: Option<Text>,
    },
    /// Away.
    Delete,
}

impl Then {
    /// Why the item ends, if it does.
    fn removal(&self) -> Option<Cause> {
        match self {
            Then::Bounce { status, diagnostic } => Some(Cause::Manual {
                removal: Removal::Bounce,
                status: *status,
                diagnostic: diagnostic.clone(),
            }),
            Then::Delete => Some(Cause::Manual {
                removal: Removal::Delete,
                status: None,
                diagnostic: None,
            }),
            Then::Hold | Then::Retry | Then::Defer(_) | Then::Freeze => None,
        }
    }

    fn apply(&self, item: &mut Item, now: Timestamp) {
        match self {
            Then::Hold => hold(item, now),
            Then::Retry => release(item, now),
            Then::Defer(at) => defer(item, *at, now),
            Then::Freeze | Then::Bounce { .. } | Then::Delete => {}
        }
    }
}

impl ItemUpdate {
    /// Whether anything of the item itself changes.
    pub fn changes_item(&self) -> bool {
        let plain = ItemUpdate {
            then: self.then.clone(),
            ..ItemUpdate::default()
        };
        *self != plain
    }

    /// The item with the changes made, where it goes included; none if it could not be stored.
    pub fn made_to(&self, item: &Item, now: Timestamp) -> Option<Item> {
        let mut item = self.applied(item)?;
        if let Some(then) = &self.then {
            then.apply(&mut item, now);
        }
        Some(item)
    }

    /// The item with the changes made; none if it could not be stored.
    fn applied(&self, item: &Item) -> Option<Item> {
        let mut item = item.clone();
        let set = |to: &mut Text, from: &Option<Text>| {
            if let Some(text) = from {
                *to = text.clone();
            }
        };
        let set_optional = |to: &mut Option<Text>, from: &Option<Text>| {
            if let Some(text) = from {
                *to = (!text.is_empty()).then(|| text.clone());
            }
        };
        let path = |to: &mut Address, localpart: &Option<Text>, domain: &Option<Text>| {
            set(&mut to.localpart, localpart);
            set(&mut to.domain, domain);
        };
        set(&mut item.transportid, &self.transportid);
        path(
            &mut item.sender,
            &self.sender_localpart,
            &self.sender_domain,
        );
        path(
            &mut item.recipient,
            &self.recipient_localpart,
            &self.recipient_domain,
        );
        set_optional(&mut item.jobid, &self.jobid);
        set_optional(&mut item.tenantid, &self.tenantid);
        item.retrycount = self.retrycount.unwrap_or(item.retrycount);
        item.priority = self.priority.unwrap_or(item.priority);
        let pair = |(name, value): (&Text, &Text)| (name.clone(), value.clone());
        let merged =
            Pairs::new(item.metadata.iter().map(pair).chain(self.metadata.clone())).ok()?;
        let kept = merged.iter().filter(|(name, value)| {
            !value.is_empty() || !self.metadata.iter().any(|(deleted, _)| deleted == *name)
        });
        item.metadata = Pairs::new(kept.map(pair)).ok()?;
        item.encode().is_ok().then_some(item)
    }
}

impl<G: Gate> Scheduler<G> {
    pub(super) fn control(
        &mut self,
        now: Timestamp,
        id: ItemId,
        action: Control,
    ) -> Result<(), InputError> {
        let slot = self.index.slot(id).ok_or(InputError::NotFound(id))?;
        let wrong = |arrow| {
            let state = self.index.state(slot);
            InputError::WrongState(WrongState { id, state, arrow })
        };
        match action {
            Control::Freeze => return self.freeze(slot),
            Control::Thaw if self.index.state(slot) != State::Update => {
                if !self.index.is_freezing(slot) {
                    return Err(wrong("be thawed"));
                }
                self.index.set_freezing(slot, false);
            }
            Control::Thaw => {
                self.take_waiting(slot)?;
                self.settle(now, slot);
            }
            Control::Unload if self.index.state(slot) != State::Update => {
                return Err(wrong("be unloaded"));
            }
            Control::Unload => {
                self.take_waiting(slot)?;
                self.write(slot, true, None);
            }
            Control::Hold => self.rewrite(slot, |item| hold(item, now))?,
            Control::Release => match self.index.state(slot) {
                State::Hold | State::Update => self.rewrite(slot, |item| release(item, now))?,
                _ => return Err(wrong("be released")),
            },
            Control::Retry => match (self.index.state(slot), self.work.get(slot)) {
                // Already as near to an attempt as it can be.
                (State::Active, _) | (_, Some(Work::Arriving(_))) => {}
                _ => self.rewrite(slot, |item| release(item, now))?,
            },
            Control::Defer(at) => self.rewrite(slot, |item| defer(item, at, now))?,
            Control::Bounce { status, diagnostic } => {
                self.take_waiting(slot)?;
                let removal = Removal::Bounce;
                self.await_postdelivery(
                    slot,
                    Cause::Manual {
                        removal,
                        status,
                        diagnostic,
                    },
                );
            }
            Control::Delete => {
                self.take_waiting(slot)?;
                let removal = Removal::Delete;
                let cause = Cause::Manual {
                    removal,
                    status: None,
                    diagnostic: None,
                };
                self.await_postdelivery(slot, cause);
            }
            Control::Update(update) => {
                let changed = update.made_to(self.index.item(slot), now);
                let changed = changed.ok_or(InputError::TooLarge(id))?;
                match update.then.as_ref().and_then(Then::removal) {
                    None => {
                        self.rewrite(slot, |item| *item = changed)?;
                        if update.then == Some(Then::Freeze) {
                            self.index.set_freezing(slot, true);
                        }
                    }
                    Some(cause) => {
                        self.take_waiting(slot)?;
                        self.index.change(slot, |item| *item = changed)?;
                        self.await_postdelivery(slot, cause);
                    }
                }
            }
        }
        Ok(())
    }

    fn freeze(&mut self, slot: Slot) -> Result<(), InputError> {
        let item = self.index.item(slot);
        let expires = self.transport(&item.transportid).retry.deadline(item);
        match self.take_waiting(slot) {
            Ok(()) => self.index.freeze(slot, expires)?,
            Err(_) => self.index.set_freezing(slot, true),
        }
        Ok(())
    }

    /// Changes a waiting item; it goes where it belongs once that is written.
    fn rewrite(&mut self, slot: Slot, change: impl FnOnce(&mut Item)) -> Result<(), InputError> {
        self.take_waiting(slot)?;
        let interner = &mut self.interner;
        self.index.change(slot, |item| {
            change(item);
            item.share(interner);
        })?;
        self.write_update(slot, None);
        Ok(())
    }
}

/// Who makes an item wait on an operator's wish.
const OPERATOR: &str = "queue update (control socket)";

fn hold(item: &mut Item, now: Timestamp) {
    item.put_on_hold(now);
    item.waits_by = Some(OPERATOR.into());
}

fn defer(item: &mut Item, at: Timestamp, now: Timestamp) {
    release(item, now);
    item.retryts = Some(at);
    item.waits_by = Some(OPERATOR.into());
}

/// Ends hold and delay.
fn release(item: &mut Item, now: Timestamp) {
    item.end_hold(now);
    item.retryts = None;
    item.waits_by = None;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item() -> Item {
        let id = ItemId {
            transaction: uuid::Uuid::nil(),
            queue: 1,
        };
        let (from, to) = (Address::new("a", "a.test"), Address::new("b", "b.test"));
        Item::new(id, Timestamp::from_secs(1000), from, to, "mx".into())
    }

    #[test]
    fn metadata_is_merged_and_an_empty_value_deletes() {
        let pair = |name: &str, value: &str| (Text::from(name), Text::from(value));
        let mut item = item();
        item.metadata = Pairs::new([pair("a", "1"), pair("b", "2"), pair("c", "")]).unwrap();
        let update = ItemUpdate {
            metadata: vec![pair("a", ""), pair("b", "3"), pair("d", "4")],
            recipient_domain: Some("c.test".into()),
            jobid: Some("".into()),
            ..ItemUpdate::default()
        };
        let after = update.applied(&item).unwrap();
        let list: Vec<_> = after
            .metadata
            .iter()
            .map(|(n, v)| format!("{n}={v}"))
            .collect();
        assert_eq!(list, ["b=3", "c=", "d=4"]);
        assert_eq!(after.recipient.to_string(), "b@c.test");
        let huge = ItemUpdate {
            jobid: Some(vec![b'x'; crate::codec::MAX_ENCODED].into()),
            ..ItemUpdate::default()
        };
        assert_eq!(huge.applied(&item), None);
    }
}
