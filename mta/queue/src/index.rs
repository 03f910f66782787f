//! The queue in memory: every item, its state, and the order in which items leave each state.
//!
//! ```text
//!                          insert
//!                            │
//!                            ▼        activate                pick
//!   gone ◄─── remove ──── UNKNOWN ───────────────► ACTIVE ───────────► SENDING
//!                          │ ▲ ▲ ▲ ◄── withdraw ──── │ ▲ ◄── put_back ── │
//!                    defer │ │ │ └────────────────────┼─┴── attempted ◄──┘
//!                          ▼ │ │                      │
//!                        DEFER │ due                  │ freeze
//!                          │   │                      │ (also from DEFER, HOLD, UNKNOWN)
//!                   hold   │   │ release              ▼
//!               UNKNOWN ──► HOLD ──────► UNKNOWN ◄── UPDATE
//!                                               thaw
//! ```
//!
//! One method for each arrow; an arrow that is not there is a [`WrongState`]. An item is in
//! exactly one state, and in the ordered list of that state and no other (`Index::check`).
//! Every item that waits outside a running task also has an expiry, unless its transport sets none
//! (HOLD only).

use std::collections::btree_map::Entry::Vacant;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Bound;

use slab::Slab;
use thiserror::Error;

use crate::gate::{Blocked, Fields, Gate, Grant, LimitId};
use crate::item::{Item, ItemId, Priority};
use crate::nodes::{NodeKey, NodePlace, Nodes};
use crate::text::Text;
use crate::time::Timestamp;

/// The state of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Due, resolved, waiting for pick-up.
    Active,
    /// Waiting for its retry time.
    Defer,
    /// In a delivery attempt.
    Sending,
    /// In transition: being loaded, in a script, being resolved or written.
    Unknown,
    /// On hold until released.
    Hold,
    /// Frozen by an update or unload.
    Update,
}

impl State {
    /// Every state.
    pub const ALL: [State; 6] = [
        State::Active,
        State::Defer,
        State::Sending,
        State::Unknown,
        State::Hold,
        State::Update,
    ];

    /// The name that the control API uses.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Active => "ACTIVE",
            State::Defer => "DEFER",
            State::Sending => "SENDING",
            State::Unknown => "UNKNOWN",
            State::Hold => "HOLD",
            State::Update => "UPDATE",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An arrow that the state diagram does not have.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("{id} is in {state}, so it cannot {arrow}")]
pub struct WrongState {
    /// The item.
    pub id: ItemId,
    /// Its state.
    pub state: State,
    /// What was tried.
    pub arrow: &'static str,
}

/// A short name of an item while it is in the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Slot(u32);

impl Slot {
    /// The place behind this one.
    pub fn next(self) -> u32 {
        self.0.saturating_add(1)
    }
}

/// Something that some of the items have, by their slots.
#[derive(Debug)]
pub(crate) struct PerSlot<T>(Vec<Option<T>>);

impl<T> Default for PerSlot<T> {
    fn default() -> Self {
        PerSlot(Vec::new())
    }
}

impl<T> PerSlot<T> {
    pub fn get(&self, slot: Slot) -> Option<&T> {
        self.0.get(slot.0 as usize)?.as_ref()
    }

    pub fn get_mut(&mut self, slot: Slot) -> Option<&mut T> {
        self.0.get_mut(slot.0 as usize)?.as_mut()
    }

    pub fn insert(&mut self, slot: Slot, value: T) {
        let place = slot.0 as usize;
        if place >= self.0.len() {
            self.0.resize_with(place + 1, || None);
        }
        self.0[place] = Some(value);
    }

    pub fn remove(&mut self, slot: Slot) -> Option<T> {
        self.0.get_mut(slot.0 as usize)?.take()
    }
}

/// What the index adds to an item, in bytes: its entry and its places in the maps by id, state and
/// expiry, each about half filled at worst.
#[cfg(test)]
pub(crate) const OVERHEAD: usize = size_of::<Entry>()
    + 2 * (size_of::<ItemId>() + size_of::<Slot>())
    + 2 * 2 * size_of::<(Timestamp, Slot)>();

#[derive(Debug)]
struct Entry {
    item: Box<Item>,
    place: Place,
    expires: Option<Timestamp>,
    /// Frozen by an operator while a task ran: goes to UPDATE when the task is over.
    freezing: bool,
    /// When it came into its state.
    since: Timestamp,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    Active(NodePlace),
    Defer(Timestamp),
    /// With the number that the item had in its node.
    Sending(u64),
    Unknown,
    Hold,
    Update,
}

impl Place {
    fn state(self) -> State {
        match self {
            Place::Active(_) => State::Active,
            Place::Defer(_) => State::Defer,
            Place::Sending(_) => State::Sending,
            Place::Unknown => State::Unknown,
            Place::Hold => State::Hold,
            Place::Update => State::Update,
        }
    }
}

/// Items and bytes tied to a quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct QuotaUse {
    /// Items.
    pub count: u64,
    /// Their sizes.
    pub bytes: u64,
}

/// The queue in memory.
#[derive(Debug, Default)]
pub(crate) struct Index {
    entries: Slab<Entry>,
    by_id: BTreeMap<ItemId, Slot>,
    defer: BTreeSet<(Timestamp, Slot)>,
    expiry: BTreeSet<(Timestamp, Slot)>,
    nodes: Nodes,
    counts: [usize; 6],
    active_high: usize,
    quotas: BTreeMap<Text, QuotaUse>,
    /// Items that go to UPDATE when their task is over.
    freezing: usize,
    now: Timestamp,
}

impl Index {
    /// Tells the time that is noted for what moves from now on.
    pub fn set_now(&mut self, now: Timestamp) {
        self.now = now;
    }

    /// `insert`: a new item, in UNKNOWN. None if there is one with its id.
    pub fn insert(&mut self, item: Box<Item>) -> Option<Slot> {
        let Vacant(name) = self.by_id.entry(item.id) else {
            return None;
        };
        count_quotas(&mut self.quotas, &item, 1);
        let entry = Entry {
            item,
            place: Place::Unknown,
            expires: None,
            freezing: false,
            since: self.now,
        };
        let slot = Slot(u32::try_from(self.entries.insert(entry)).ok()?);
        name.insert(slot);
        self.counts[State::Unknown as usize] += 1;
        Some(slot)
    }

    /// `remove`: UNKNOWN to gone.
    pub fn remove(&mut self, slot: Slot) -> Result<Box<Item>, WrongState> {
        self.leave(slot, "be removed", |state| state == State::Unknown)?;
        self.counts[State::Unknown as usize] -= 1;
        self.set_freezing(slot, false);
        let entry = self.entries.remove(slot.0 as usize);
        self.by_id.remove(&entry.item.id);
        count_quotas(&mut self.quotas, &entry.item, -1);
        Ok(entry.item)
    }

    /// `activate`: UNKNOWN to ACTIVE, at the end of the sub-queue with these fields.
    pub fn activate(
        &mut self,
        slot: Slot,
        fields: Fields,
        expires: Timestamp,
    ) -> Result<(), WrongState> {
        self.leave(slot, "become active", |state| state == State::Unknown)?;
        self.enter_active(slot, fields, None, expires);
        Ok(())
    }

    /// `pick`: ACTIVE to SENDING for the next item that the gate lets pass.
    pub fn pick(&mut self, gate: &mut impl Gate, now: Timestamp) -> Option<(Slot, Grant)> {
        let picked = self.nodes.pick(gate, now)?;
        let slot = Slot(picked.slot);
        if self.entry(slot).item.priority == Priority::High {
            self.active_high -= 1;
        }
        self.set_expiry(slot, None);
        self.enter(slot, Place::Sending(picked.seq));
        Some((slot, picked.grant))
    }

    /// `put_back`: SENDING to ACTIVE, at the place where the item was.
    pub fn put_back(
        &mut self,
        slot: Slot,
        fields: Fields,
        expires: Timestamp,
    ) -> Result<(), WrongState> {
        let place = self.leave(slot, "be put back", |state| state == State::Sending)?;
        let seq = match place {
            Place::Sending(seq) => Some(seq),
            _ => None,
        };
        self.enter_active(slot, fields, seq, expires);
        Ok(())
    }

    /// `attempted`: SENDING to UNKNOWN.
    pub fn attempted(&mut self, slot: Slot) -> Result<(), WrongState> {
        self.enter_unknown(slot, "end an attempt", State::Sending)
    }

    /// `withdraw`: ACTIVE to UNKNOWN.
    pub fn withdraw(&mut self, slot: Slot) -> Result<(), WrongState> {
        self.enter_unknown(slot, "be withdrawn", State::Active)
    }

    /// `defer`: UNKNOWN to DEFER.
    pub fn defer(
        &mut self,
        slot: Slot,
        at: Timestamp,
        expires: Timestamp,
    ) -> Result<(), WrongState> {
        self.leave(slot, "be deferred", |state| state == State::Unknown)?;
        self.defer.insert((at, slot));
        self.enter(slot, Place::Defer(at));
        self.set_expiry(slot, Some(expires));
        Ok(())
    }

    /// `due`: DEFER to UNKNOWN.
    pub fn due(&mut self, slot: Slot) -> Result<(), WrongState> {
        self.enter_unknown(slot, "become due", State::Defer)
    }

    /// `hold`: UNKNOWN to HOLD.
    pub fn hold(&mut self, slot: Slot, expires: Option<Timestamp>) -> Result<(), WrongState> {
        self.leave(slot, "be held", |state| state == State::Unknown)?;
        self.enter(slot, Place::Hold);
        self.set_expiry(slot, expires);
        Ok(())
    }

    /// `release`: HOLD to UNKNOWN.
    pub fn release(&mut self, slot: Slot) -> Result<(), WrongState> {
        self.enter_unknown(slot, "be released", State::Hold)
    }

    /// `freeze`: any state without a running task, and UNKNOWN, to UPDATE.
    pub fn freeze(&mut self, slot: Slot, expires: Timestamp) -> Result<(), WrongState> {
        self.leave(slot, "be frozen", |state| {
            !matches!(state, State::Sending | State::Update)
        })?;
        self.set_freezing(slot, false);
        self.enter(slot, Place::Update);
        self.set_expiry(slot, Some(expires));
        Ok(())
    }

    /// `thaw`: UPDATE to UNKNOWN.
    pub fn thaw(&mut self, slot: Slot) -> Result<(), WrongState> {
        self.enter_unknown(slot, "be thawed", State::Update)
    }

    /// The slot of an item.
    pub fn slot(&self, id: ItemId) -> Option<Slot> {
        self.by_id.get(&id).copied()
    }

    /// The item.
    pub fn item(&self, slot: Slot) -> &Item {
        &self.entry(slot).item
    }

    /// The state of the item.
    pub fn state(&self, slot: Slot) -> State {
        self.entry(slot).place.state()
    }

    /// Changes an item that is in UNKNOWN. Its id stays.
    pub fn change(&mut self, slot: Slot, change: impl FnOnce(&mut Item)) -> Result<(), WrongState> {
        self.expect(slot, "be changed", |state| state == State::Unknown)?;
        let Some(Entry { item, .. }) = self.entries.get_mut(slot.0 as usize) else {
            return Ok(());
        };
        count_quotas(&mut self.quotas, item, -1);
        let id = item.id;
        change(item);
        item.id = id;
        count_quotas(&mut self.quotas, item, 1);
        Ok(())
    }

    /// Whether the item goes to UPDATE when its task is over.
    pub fn is_freezing(&self, slot: Slot) -> bool {
        self.entry(slot).freezing
    }

    /// Marks an item whose task runs to go to UPDATE afterwards.
    pub fn set_freezing(&mut self, slot: Slot, freezing: bool) {
        let before = std::mem::replace(&mut self.entry_mut(slot).freezing, freezing);
        self.freezing += usize::from(freezing);
        self.freezing -= usize::from(before);
    }

    /// The number of items that go to UPDATE when their task is over.
    pub fn freezing(&self) -> usize {
        self.freezing
    }

    /// When the item came into its state.
    pub fn since(&self, slot: Slot) -> Timestamp {
        self.entry(slot).since
    }

    /// When the item's age ends its wait, if it waits.
    pub fn expires(&self, slot: Slot) -> Option<Timestamp> {
        self.entry(slot).expires
    }

    /// The items after this one in the order of ids, with their slots; none: from the first.
    pub fn after(&self, id: Option<ItemId>) -> impl Iterator<Item = (Slot, &Item)> {
        let from = id.map_or(Bound::Unbounded, Bound::Excluded);
        self.by_id
            .range((from, Bound::Unbounded))
            .map(|(_, slot)| (*slot, self.item(*slot)))
    }

    /// The items from this place on in the order in which they lie in memory, each with its slot. An item
    /// keeps its place as long as it is here.
    pub fn lying_from(&self, place: u32) -> impl Iterator<Item = (Slot, &Item)> {
        let end = u32::try_from(self.entries.capacity()).unwrap_or(u32::MAX);
        (place..end).filter_map(|place| {
            let entry = self.entries.get(place as usize)?;
            Some((Slot(place), &*entry.item))
        })
    }

    /// Sets when an item that waits in UNKNOWN expires.
    pub fn set_expiry(&mut self, slot: Slot, expires: Option<Timestamp>) {
        let old = std::mem::replace(&mut self.entry_mut(slot).expires, expires);
        old.into_iter().for_each(|at| {
            self.expiry.remove(&(at, slot));
        });
        self.expiry.extend(expires.map(|at| (at, slot)));
    }

    /// An item in DEFER whose time has come.
    pub fn next_due(&self, now: Timestamp) -> Option<Slot> {
        self.defer
            .first()
            .filter(|(at, _)| *at <= now)
            .map(|(_, slot)| *slot)
    }

    /// An item whose expiry has come.
    pub fn next_expired(&self, now: Timestamp) -> Option<Slot> {
        self.expiry
            .first()
            .filter(|(at, _)| *at <= now)
            .map(|(_, slot)| *slot)
    }

    /// When the next thing happens by itself.
    pub fn next_timer(&self) -> Option<Timestamp> {
        let first = |set: &BTreeSet<(Timestamp, Slot)>| set.first().map(|(at, _)| *at);
        [
            first(&self.defer),
            first(&self.expiry),
            self.nodes.next_timer(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// The sub-queues.
    pub fn nodes(&self) -> &Nodes {
        &self.nodes
    }

    /// Wakes the sub-queues behind limits whose time has come.
    pub fn wake_due(&mut self, now: Timestamp) {
        self.nodes.wake_due(now);
    }

    /// Gives the first sub-queue behind a limit a turn.
    pub fn wake(&mut self, limit: LimitId) {
        self.nodes.wake(limit);
    }

    /// Puts every active item into the sub-queue that `fields` says, in its order, and gives all a
    /// turn: the policies changed.
    pub fn regroup(&mut self, mut fields: impl FnMut(Slot, &Item) -> Option<Fields>) {
        let mut places: Vec<_> = self.nodes.each().collect();
        places.sort_by_key(|(place, _)| place.seq);
        for (place, slot) in places {
            let slot = Slot(slot);
            let Some(fields) = fields(slot, self.item(slot)) else {
                continue;
            };
            self.nodes.remove(place);
            let key = NodeKey {
                class: self.item(slot).priority,
                fields,
            };
            let place = self.nodes.insert(key, slot.0, Some(place.seq));
            self.entry_mut(slot).place = Place::Active(place);
        }
        self.nodes.wake_all();
    }

    /// Has every blocked sub-queue asked again.
    pub fn wake_all(&mut self) {
        self.nodes.wake_all();
    }

    /// The values that decide on the pick-up of an active item.
    pub fn fields(&self, slot: Slot) -> Option<&Fields> {
        match self.entry(slot).place {
            Place::Active(place) => self.nodes.fields(place),
            _ => None,
        }
    }

    /// For an active item: what blocks its sub-queue, and how many items are before it.
    pub fn standing(&self, slot: Slot) -> (Option<Blocked>, usize) {
        match self.entry(slot).place {
            Place::Active(place) => self.nodes.standing(place),
            _ => (None, 0),
        }
    }

    /// Every item in the order of ids, with its slot.
    pub fn iter(&self) -> impl Iterator<Item = (Slot, &Item)> {
        self.by_id.values().map(|slot| (*slot, self.item(*slot)))
    }

    /// The items of one transaction.
    pub fn of_transaction(&self, transaction: uuid::Uuid) -> impl Iterator<Item = (Slot, &Item)> {
        let first = ItemId {
            transaction,
            queue: 0,
        };
        let last = ItemId {
            transaction,
            queue: u64::MAX,
        };
        self.by_id
            .range(first..=last)
            .map(|(_, slot)| (*slot, self.item(*slot)))
    }

    /// The number of items.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// The number of items in a state.
    pub fn count(&self, state: State) -> usize {
        self.counts[state as usize]
    }

    /// The number of active items of a class.
    pub fn active(&self, class: Priority) -> usize {
        match class {
            Priority::High => self.active_high,
            Priority::Normal => self.count(State::Active) - self.active_high,
        }
    }

    /// What is tied to a quota.
    pub fn quota(&self, name: &[u8]) -> QuotaUse {
        self.quotas.get(name).copied().unwrap_or_default()
    }

    /// The number of quotas in use.
    pub fn quotas(&self) -> usize {
        self.quotas.len()
    }

    fn entry(&self, slot: Slot) -> &Entry {
        // Slots are made by `insert` only and end with `remove`; the scheduler keeps none longer.
        &self.entries[slot.0 as usize]
    }

    fn entry_mut(&mut self, slot: Slot) -> &mut Entry {
        &mut self.entries[slot.0 as usize]
    }

    fn expect(
        &self,
        slot: Slot,
        arrow: &'static str,
        from: impl Fn(State) -> bool,
    ) -> Result<(), WrongState> {
        let Entry { item, place, .. } = self.entry(slot);
        let state = place.state();
        if from(state) {
            Ok(())
        } else {
            Err(WrongState {
                id: item.id,
                state,
                arrow,
            })
        }
    }

    /// Takes the item out of the list of its state.
    fn leave(
        &mut self,
        slot: Slot,
        arrow: &'static str,
        from: impl Fn(State) -> bool,
    ) -> Result<Place, WrongState> {
        self.expect(slot, arrow, from)?;
        let place = self.entry(slot).place;
        match place {
            Place::Active(node) => {
                if self.entry(slot).item.priority == Priority::High {
                    self.active_high -= 1;
                }
                self.nodes.remove(node);
            }
            Place::Defer(at) => {
                self.defer.remove(&(at, slot));
            }
            Place::Sending(_) | Place::Unknown | Place::Hold | Place::Update => {}
        }
        self.set_expiry(slot, None);
        Ok(place)
    }

    fn enter(&mut self, slot: Slot, place: Place) {
        let now = self.now;
        let entry = self.entry_mut(slot);
        entry.since = now;
        let old = std::mem::replace(&mut entry.place, place);
        self.counts[old.state() as usize] -= 1;
        self.counts[place.state() as usize] += 1;
    }

    fn enter_active(&mut self, slot: Slot, fields: Fields, seq: Option<u64>, expires: Timestamp) {
        let class = self.item(slot).priority;
        let place = self.nodes.insert(NodeKey { class, fields }, slot.0, seq);
        if class == Priority::High {
            self.active_high += 1;
        }
        self.enter(slot, Place::Active(place));
        self.set_expiry(slot, Some(expires));
    }

    fn enter_unknown(
        &mut self,
        slot: Slot,
        arrow: &'static str,
        from: State,
    ) -> Result<(), WrongState> {
        self.leave(slot, arrow, |state| state == from)?;
        self.enter(slot, Place::Unknown);
        Ok(())
    }

    /// Finds an item that is in no list, in two, or in a wrong one.
    pub fn check(&self) -> Result<(), String> {
        self.nodes.check()?;
        if self.entries.len() != self.by_id.len() {
            return Err("an id is missing or names nothing".into());
        }
        let mut counts = [0; 6];
        let mut high = 0;
        let mut freezing = 0;
        for (index, entry) in &self.entries {
            let slot = Slot(u32::try_from(index).map_err(|_| "a slot is too large")?);
            let Entry {
                item,
                place,
                expires,
                ..
            } = entry;
            let id = item.id;
            let state = place.state();
            counts[state as usize] += 1;
            freezing += usize::from(entry.freezing);
            if self.by_id.get(&id) != Some(&slot) {
                return Err(format!("{id} is not found by its id"));
            }
            if let Place::Defer(at) = place
                && !self.defer.contains(&(*at, slot))
            {
                return Err(format!("{id} is in DEFER but not in the list by time"));
            }
            if state == State::Active && item.priority == Priority::High {
                high += 1;
            }
            if expires.is_some_and(|at| !self.expiry.contains(&(at, slot))) {
                return Err(format!("{id} is not in the list by expiry"));
            }
            let needs = matches!(state, State::Active | State::Defer | State::Update);
            if needs && expires.is_none() {
                return Err(format!("{id} waits in {state} and never expires"));
            }
        }
        let mut active = 0;
        for (place, slot) in self.nodes.each() {
            active += 1;
            let entry = self.entries.get(slot as usize);
            match entry.map(|entry| entry.place) {
                Some(Place::Active(own)) if own == place => {}
                _ => {
                    return Err(format!(
                        "slot {slot} is in a sub-queue that it does not know"
                    ));
                }
            }
        }
        let expiring = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.expires.is_some())
            .count();
        if counts != self.counts
            || high != self.active_high
            || freezing != self.freezing
            || active != self.count(State::Active)
            || self.defer.len() != self.count(State::Defer)
            || self.expiry.len() != expiring
        {
            return Err("a counter or a list does not fit the items".into());
        }
        Ok(())
    }
}

fn count_quotas(quotas: &mut BTreeMap<Text, QuotaUse>, item: &Item, sign: i8) {
    for name in &item.quotas {
        let used = quotas.entry(name.clone()).or_default();
        if sign > 0 {
            used.count += 1;
            used.bytes = used.bytes.saturating_add(item.size);
        } else {
            used.count = used.count.saturating_sub(1);
            used.bytes = used.bytes.saturating_sub(item.size);
        }
        if used.count == 0 {
            quotas.remove(name);
        }
    }
}

#[cfg(test)]
mod tests;
