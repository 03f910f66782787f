//! The sub-queues of ACTIVE.
//!
//! ```text
//!              last item gone                        insert
//!   (no node) ◄────────────── READY ◄──────────────────────── (no node)
//!                              │  ▲  ▲
//!              gate says no    │  │  └── picked, items left: to the end of the ring
//!                              ▼  │
//!                            BLOCKED   wake: the limit was freed, or its time has come
//! ```
//!
//! A node exists only while it holds items. Ready nodes of a class stand in a ring and take turns;
//! inside a node the order is first in, first out. Blocked nodes stand behind the limit that
//! blocks them.
//!
//! A freed limit wakes one node. When that node has had its turn and was not stopped by the same
//! limit again, it wakes the next one behind it. So a limit that has room for several is used up,
//! a node that another limit stops does not swallow the turn, and no event touches more than two
//! nodes for each item that moves.
//!
//! The time between connections is not the same limit for everybody: an idle connection lets those through
//! for whom it is kept. There a node that is stopped again goes to the end and passes the turn on, to
//! [`MOST_ASKED`] nodes at most; the next turn goes on behind them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use slab::Slab;

use crate::gate::{BlockKind, Blocked, Fields, Gate, Grant, LimitId};
use crate::item::Priority;
use crate::time::Timestamp;

/// How many nodes are asked in one turn whether an idle connection is for them.
const MOST_ASKED: u32 = 256;

/// What all items of a node have in common.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct NodeKey {
    pub class: Priority,
    pub fields: Fields,
}

/// The place of an item: its node and its number in the order of arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NodePlace {
    pub node: usize,
    pub seq: u64,
}

/// An item that was picked up.
#[derive(Debug)]
pub(crate) struct Picked {
    pub slot: u32,
    /// Its number, so that it can be put back where it was.
    pub seq: u64,
    pub grant: Grant,
}

#[derive(Debug)]
struct Node {
    key: Arc<NodeKey>,
    items: BTreeMap<u64, u32>,
    state: NodeState,
    /// The turn that woke the node and is owed to the next one.
    woken_by: Option<Turn>,
}

/// A turn of the nodes behind a limit.
#[derive(Clone, Copy, Debug)]
struct Turn {
    limit: LimitId,
    /// The place of the node that has it.
    place: u64,
    /// Nodes from this place on came, or were asked, after the turn began.
    end: u64,
    /// How many nodes the same limit stopped again.
    asked: u32,
}

#[derive(Clone, Copy, Debug)]
enum NodeState {
    /// At this place in the ring.
    Ready(u64),
    /// At this place behind the limit.
    Blocked(Blocked, u64),
}

#[derive(Debug, Default)]
struct Waiters {
    /// By class: place to node.
    nodes: [BTreeMap<u64, usize>; 2],
    /// When the limit is asked again.
    until: Option<Timestamp>,
}

/// The sub-queues.
#[derive(Debug, Default)]
pub(crate) struct Nodes {
    nodes: Slab<Node>,
    /// Never walked through, so that its order does not matter.
    by_key: HashMap<Arc<NodeKey>, usize>,
    /// Ready nodes by class: place to node.
    rings: [BTreeMap<u64, usize>; 2],
    waiting: BTreeMap<LimitId, Waiters>,
    timers: BTreeSet<(Timestamp, LimitId)>,
    next_place: u64,
    next_seq: u64,
    /// Times that the gate was asked and said no.
    pub skips: u64,
    /// Pick-ups that found nothing.
    pub misses: u64,
}

impl Nodes {
    /// Adds an item at the end of its node, or at the place that it had.
    pub fn insert(&mut self, key: NodeKey, slot: u32, again_at: Option<u64>) -> NodePlace {
        let seq = again_at.unwrap_or_else(|| next(&mut self.next_seq));
        let node = match self.by_key.get(&key) {
            Some(node) => *node,
            None => {
                let place = next(&mut self.next_place);
                let class = key.class;
                let key = Arc::new(key);
                let node = self.nodes.insert(Node {
                    key: Arc::clone(&key),
                    items: BTreeMap::new(),
                    state: NodeState::Ready(place),
                    woken_by: None,
                });
                self.by_key.insert(key, node);
                self.rings[class as usize].insert(place, node);
                node
            }
        };
        self.nodes[node].items.insert(seq, slot);
        NodePlace { node, seq }
    }

    /// Takes an item out of its node.
    pub fn remove(&mut self, place: NodePlace) {
        let Some(node) = self.nodes.get_mut(place.node) else {
            return;
        };
        node.items.remove(&place.seq);
        if node.items.is_empty() {
            let owed = node.woken_by.map(|turn| turn.limit);
            self.drop_node(place.node);
            owed.into_iter().for_each(|limit| self.wake(limit));
        }
    }

    /// Picks up the next item that the gate lets pass.
    pub fn pick(&mut self, gate: &mut impl Gate, now: Timestamp) -> Option<Picked> {
        // Looked for anew each time: a node that is blocked may pass a wake-up on to a class that
        // was found empty before.
        while let Some(index) = self.pop_ready() {
            let node = &mut self.nodes[index];
            let woken_by = node.woken_by.take();
            match gate.admit(&node.key.fields, now) {
                Err(blocked) => {
                    self.skips += 1;
                    self.block(index, blocked, woken_by);
                }
                Ok(grant) => {
                    // A node in the ring has items.
                    let (seq, slot) = node.items.pop_first()?;
                    if node.items.is_empty() {
                        self.drop_node(index);
                    } else {
                        self.make_ready(index);
                    }
                    woken_by.into_iter().for_each(|turn| self.wake(turn.limit));
                    return Some(Picked { slot, seq, grant });
                }
            }
        }
        self.misses += 1;
        None
    }

    /// Takes the next node out of its ring: high priority first.
    fn pop_ready(&mut self) -> Option<usize> {
        let [normal, high] = &mut self.rings;
        let first = high.pop_first().or_else(|| normal.pop_first());
        first.map(|(_, index)| index)
    }

    /// Gives the first node behind `limit` a turn.
    pub fn wake(&mut self, limit: LimitId) {
        self.wake_from(limit, self.next_place, 0);
    }

    /// Gives the first node behind `limit` whose place is before `end` a turn, in which `asked` others were stopped.
    fn wake_from(&mut self, limit: LimitId, end: u64, asked: u32) {
        let Some(waiters) = self.waiting.get_mut(&limit) else {
            return;
        };
        let first = |of: &mut BTreeMap<u64, usize>| {
            let early = of.first_key_value().is_some_and(|(place, _)| *place < end);
            early.then(|| of.pop_first()).flatten()
        };
        let [normal, high] = &mut waiters.nodes;
        let Some((place, index)) = first(high).or_else(|| first(normal)) else {
            return;
        };
        self.drop_waiters_if_empty(limit);
        self.nodes[index].woken_by = Some(Turn {
            limit,
            place,
            end,
            asked,
        });
        self.make_ready(index);
    }

    /// Wakes the limits whose time has come.
    pub fn wake_due(&mut self, now: Timestamp) {
        while let Some((at, limit)) = self.timers.first().copied() {
            if at > now {
                break;
            }
            self.set_timer(limit, None);
            self.wake(limit);
        }
    }

    /// Gives every blocked node a turn: the policies changed.
    pub fn wake_all(&mut self) {
        let waiting = std::mem::take(&mut self.waiting);
        self.timers.clear();
        for waiters in waiting.into_values() {
            for index in waiters.nodes.into_iter().flat_map(BTreeMap::into_values) {
                self.make_ready(index);
            }
        }
    }

    /// When [`Nodes::wake_due`] has something to do.
    pub fn next_timer(&self) -> Option<Timestamp> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Whether a pick-up would ask the gate.
    pub fn has_ready(&self) -> bool {
        self.rings.iter().any(|ring| !ring.is_empty())
    }

    /// The number of nodes.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// What blocks the node of an item, and how many items are before it in the node.
    pub fn standing(&self, place: NodePlace) -> (Option<Blocked>, usize) {
        let Some(node) = self.nodes.get(place.node) else {
            return (None, 0);
        };
        let blocked = match node.state {
            NodeState::Ready(_) => None,
            NodeState::Blocked(blocked, _) => Some(blocked),
        };
        (blocked, node.items.range(..place.seq).count())
    }

    fn make_ready(&mut self, index: usize) {
        let place = next(&mut self.next_place);
        let node = &mut self.nodes[index];
        node.state = NodeState::Ready(place);
        self.rings[node.key.class as usize].insert(place, index);
    }

    fn block(&mut self, index: usize, blocked: Blocked, woken_by: Option<Turn>) {
        let limit = blocked.limit;
        let again = woken_by.filter(|turn| turn.limit == limit);
        // A node that the same limit stops again keeps its place behind it.
        let place = match again {
            Some(turn) if blocked.kind != BlockKind::ConnectInterval => turn.place,
            _ => next(&mut self.next_place),
        };
        let node = &mut self.nodes[index];
        node.state = NodeState::Blocked(blocked, place);
        let class = node.key.class as usize;
        self.waiting.entry(limit).or_default().nodes[class].insert(place, index);
        if blocked.until.is_some() {
            self.set_timer(limit, blocked.until);
        }
        match (again, woken_by) {
            (Some(turn), _)
                if blocked.kind == BlockKind::ConnectInterval && turn.asked < MOST_ASKED =>
            {
                self.wake_from(limit, turn.end, turn.asked + 1);
            }
            (None, Some(turn)) => self.wake(turn.limit),
            _ => {}
        }
    }

    fn set_timer(&mut self, limit: LimitId, until: Option<Timestamp>) {
        if let Some(waiters) = self.waiting.get_mut(&limit) {
            if let Some(old) = std::mem::replace(&mut waiters.until, until) {
                self.timers.remove(&(old, limit));
            }
            self.timers.extend(until.map(|at| (at, limit)));
        }
    }

    fn drop_waiters_if_empty(&mut self, limit: LimitId) {
        let empty = |waiters: &Waiters| waiters.nodes.iter().all(BTreeMap::is_empty);
        if self.waiting.get(&limit).is_some_and(empty) {
            self.set_timer(limit, None);
            self.waiting.remove(&limit);
        }
    }

    fn drop_node(&mut self, index: usize) {
        let Some(node) = self.nodes.try_remove(index) else {
            return;
        };
        let class = node.key.class as usize;
        match node.state {
            NodeState::Ready(place) => {
                self.rings[class].remove(&place);
            }
            NodeState::Blocked(blocked, place) => {
                if let Some(waiters) = self.waiting.get_mut(&blocked.limit) {
                    waiters.nodes[class].remove(&place);
                }
                self.drop_waiters_if_empty(blocked.limit);
            }
        }
        self.by_key.remove(&node.key);
    }

    /// The values that the items of a node have in common.
    pub fn fields(&self, place: NodePlace) -> Option<&Fields> {
        self.nodes.get(place.node).map(|node| &node.key.fields)
    }

    /// Every item with its place, for the check of the whole.
    pub fn each(&self) -> impl Iterator<Item = (NodePlace, u32)> {
        self.nodes.iter().flat_map(|(node, of)| {
            of.items
                .iter()
                .map(move |(seq, slot)| (NodePlace { node, seq: *seq }, *slot))
        })
    }

    /// Finds what must not be: see the module's picture.
    pub fn check(&self) -> Result<(), String> {
        let mut ready = 0;
        let mut blocked = 0;
        for (index, node) in &self.nodes {
            let class = node.key.class as usize;
            if node.items.is_empty() {
                return Err(format!("node {index} is empty"));
            }
            if self.by_key.get(&node.key) != Some(&index) {
                return Err(format!("node {index} is not found by its key"));
            }
            let listed = match &node.state {
                NodeState::Ready(place) => {
                    ready += 1;
                    self.rings[class].get(place)
                }
                NodeState::Blocked(by, place) => {
                    blocked += 1;
                    let waiters = self.waiting.get(&by.limit);
                    waiters.and_then(|waiters| waiters.nodes[class].get(place))
                }
            };
            if listed != Some(&index) {
                return Err(format!("node {index} is not where it says"));
            }
        }
        let in_rings: usize = self.rings.iter().map(BTreeMap::len).sum();
        let waiters = self.waiting.values().flat_map(|waiters| &waiters.nodes);
        let in_waiting: usize = waiters.map(BTreeMap::len).sum();
        let timers = self
            .waiting
            .values()
            .filter(|waiters| waiters.until.is_some())
            .count();
        if (in_rings, in_waiting, timers) != (ready, blocked, self.timers.len()) {
            return Err("the rings, the waiting nodes or the timers name what is not there".into());
        }
        if self.by_key.len() != self.nodes.len() {
            return Err("a key names a node that is not there".into());
        }
        Ok(())
    }
}

fn next(counter: &mut u64) -> u64 {
    let value = *counter;
    *counter += 1;
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::{BlockKind, DestinationGate, FieldSet, OpenGate, Release, Ticket};
    use crate::text::Text;

    fn key(class: Priority, destination: &str) -> NodeKey {
        let remotemx = Some(Text::from(destination));
        NodeKey {
            class,
            fields: Fields {
                remotemx,
                ..Fields::default()
            },
        }
    }

    fn normal(destination: &str) -> NodeKey {
        key(Priority::Normal, destination)
    }

    const NOW: Timestamp = Timestamp::from_secs(1);

    fn picks(nodes: &mut Nodes, gate: &mut impl Gate) -> Vec<u32> {
        let list = std::iter::from_fn(|| nodes.pick(gate, NOW))
            .map(|picked| picked.slot)
            .collect();
        nodes.check().unwrap();
        list
    }

    fn release(nodes: &mut Nodes, gate: &mut impl Gate, ticket: Ticket) {
        let mut freed = Vec::new();
        gate.release(ticket, Release::Finished, NOW, &mut freed);
        freed.into_iter().for_each(|limit| nodes.wake(limit));
    }

    #[test]
    fn nodes_take_turns_and_are_first_in_first_out() {
        let mut nodes = Nodes::default();
        for slot in 0..4 {
            nodes.insert(normal("big"), slot, None);
        }
        nodes.insert(normal("small"), 10, None);
        nodes.insert(key(Priority::High, "big"), 20, None);
        nodes.insert(normal("other"), 11, None);
        assert_eq!(picks(&mut nodes, &mut OpenGate), [20, 0, 10, 11, 1, 2, 3]);
        assert_eq!(nodes.len(), 0, "nodes exist only while they hold something");
    }

    #[test]
    fn an_item_that_is_put_back_keeps_its_place() {
        let mut nodes = Nodes::default();
        for slot in 0..3 {
            nodes.insert(normal("d"), slot, None);
        }
        let first = nodes.pick(&mut OpenGate, NOW).unwrap();
        nodes.insert(normal("d"), first.slot, Some(first.seq));
        assert_eq!(picks(&mut nodes, &mut OpenGate), [0, 1, 2]);
    }

    #[test]
    fn a_blocked_node_is_asked_again_only_when_its_limit_is_freed() {
        let mut nodes = Nodes::default();
        let mut gate = DestinationGate::new(1);
        for slot in 0..3 {
            nodes.insert(normal("full"), slot, None);
        }
        nodes.insert(normal("other"), 10, None);
        let first = nodes.pick(&mut gate, NOW).unwrap();
        assert_eq!((first.slot, picks(&mut nodes, &mut gate)), (0, vec![10]));
        let skips = nodes.skips;
        assert_eq!(picks(&mut nodes, &mut gate), []);
        assert_eq!(nodes.skips, skips, "not asked");
        release(&mut nodes, &mut gate, first.grant.ticket);
        assert_eq!(picks(&mut nodes, &mut gate), [1]);
    }

    #[test]
    fn a_high_priority_node_behind_a_limit_goes_first() {
        let mut nodes = Nodes::default();
        let mut gate = DestinationGate::new(1);
        nodes.insert(normal("d"), 0, None);
        let first = nodes.pick(&mut gate, NOW).unwrap();
        nodes.insert(normal("d"), 1, None);
        assert_eq!(picks(&mut nodes, &mut gate), []);
        nodes.insert(key(Priority::High, "d"), 2, None);
        assert_eq!(picks(&mut nodes, &mut gate), []);
        release(&mut nodes, &mut gate, first.grant.ticket);
        assert_eq!(picks(&mut nodes, &mut gate), [2]);
    }

    /// Two limits: a shared number of slots, and a set of destinations that are shut.
    struct TwoLimits {
        slots: usize,
        shut: Vec<Text>,
        until: Option<Timestamp>,
    }

    impl Gate for TwoLimits {
        fn fields(&self) -> FieldSet {
            FieldSet::default()
        }

        fn admit(&mut self, fields: &Fields, _: Timestamp) -> Result<Grant, Blocked> {
            let no = |limit, until| Blocked {
                limit,
                until,
                kind: BlockKind::Concurrency,
            };
            if self.slots == 0 {
                return Err(no(LimitId(0), self.until));
            }
            if fields
                .remotemx
                .as_ref()
                .is_some_and(|mx| self.shut.contains(mx))
            {
                return Err(no(LimitId(1), None));
            }
            self.slots -= 1;
            Ok(Grant::default())
        }

        fn release(&mut self, _: Ticket, _: Release, _: Timestamp, freed: &mut Vec<LimitId>) {
            self.slots += 1;
            freed.push(LimitId(0));
        }
    }

    #[test]
    fn a_woken_node_that_another_limit_stops_passes_its_turn_on() {
        let mut nodes = Nodes::default();
        let mut gate = TwoLimits {
            slots: 0,
            shut: vec!["a".into()],
            until: None,
        };
        nodes.insert(normal("a"), 0, None);
        nodes.insert(normal("b"), 1, None);
        assert_eq!(picks(&mut nodes, &mut gate), []);
        release(&mut nodes, &mut gate, Ticket(0));
        assert_eq!(picks(&mut nodes, &mut gate), [1]);
        gate.shut.clear();
        gate.slots = 1;
        nodes.wake(LimitId(1));
        assert_eq!(picks(&mut nodes, &mut gate), [0]);
    }

    /// No new connections; whoever an idle one is for may pass.
    struct IdleOnly {
        idle: Text,
        asked: usize,
    }

    impl Gate for IdleOnly {
        fn fields(&self) -> FieldSet {
            FieldSet::default()
        }

        fn admit(&mut self, fields: &Fields, _: Timestamp) -> Result<Grant, Blocked> {
            self.asked += 1;
            if fields.remotemx.as_ref() == Some(&self.idle) {
                return Ok(Grant::default());
            }
            Err(Blocked {
                limit: LimitId(0),
                until: None,
                kind: BlockKind::ConnectInterval,
            })
        }

        fn release(&mut self, _: Ticket, _: Release, _: Timestamp, freed: &mut Vec<LimitId>) {
            freed.push(LimitId(0));
        }
    }

    #[test]
    fn an_idle_connection_is_offered_to_the_nodes_behind_those_it_is_not_for() {
        let mut nodes = Nodes::default();
        let mut gate = IdleOnly {
            idle: "none".into(),
            asked: 0,
        };
        let count = 2 * MOST_ASKED;
        for slot in 0..count {
            nodes.insert(normal(&format!("mx{slot}")), slot, None);
        }
        assert_eq!(picks(&mut nodes, &mut gate), []);
        gate.asked = 0;
        nodes.wake(LimitId(0));
        assert_eq!(picks(&mut nodes, &mut gate), []);
        assert_eq!(gate.asked, MOST_ASKED as usize + 1, "a turn has an end");
        // The next turn goes on where that one ended, and finds the one at the very end.
        gate.idle = format!("mx{}", count - 1).into();
        nodes.wake(LimitId(0));
        assert_eq!(picks(&mut nodes, &mut gate), [count - 1]);
        nodes.check().unwrap();
        // With few nodes each is asked once a turn.
        let mut few = Nodes::default();
        ["a", "b", "c"].iter().zip(0..).for_each(|(mx, slot)| {
            few.insert(normal(mx), slot, None);
        });
        assert_eq!(picks(&mut few, &mut gate), []);
        gate.asked = 0;
        few.wake(LimitId(0));
        assert_eq!(picks(&mut few, &mut gate), []);
        assert_eq!(gate.asked, 3);
    }

    /// Stops each destination by a limit that its name tells.
    struct ByName;

    impl Gate for ByName {
        fn fields(&self) -> FieldSet {
            FieldSet::default()
        }

        fn admit(&mut self, fields: &Fields, now: Timestamp) -> Result<Grant, Blocked> {
            let first = fields.remotemx.as_ref().is_none_or(|mx| *mx == "first");
            // The node of the second destination is stopped by the first limit at first.
            Err(Blocked {
                limit: LimitId(u64::from(!first && now > NOW)),
                until: None,
                kind: BlockKind::Concurrency,
            })
        }

        fn release(&mut self, _: Ticket, _: Release, _: Timestamp, _: &mut Vec<LimitId>) {}
    }

    #[test]
    fn a_wake_up_that_is_passed_on_to_a_higher_class_is_not_left_lying() {
        let mut nodes = Nodes::default();
        nodes.insert(normal("second"), 0, None);
        assert_eq!(picks(&mut nodes, &mut ByName), []);
        nodes.wake(LimitId(0));
        nodes.insert(key(Priority::High, "first"), 1, None);
        // The high one is stopped first, then the other by another limit: its wake-up is passed on.
        let later = NOW.after(std::time::Duration::from_secs(1));
        assert!(nodes.pick(&mut ByName, later).is_none());
        assert!(!nodes.has_ready());
        nodes.check().unwrap();
    }

    #[test]
    fn a_woken_node_that_is_emptied_passes_its_turn_on() {
        let mut nodes = Nodes::default();
        let mut gate = TwoLimits {
            slots: 0,
            shut: Vec::new(),
            until: None,
        };
        let gone = nodes.insert(normal("a"), 0, None);
        nodes.insert(normal("b"), 1, None);
        assert_eq!(picks(&mut nodes, &mut gate), []);
        release(&mut nodes, &mut gate, Ticket(0));
        nodes.remove(gone);
        assert_eq!(picks(&mut nodes, &mut gate), [1]);
    }

    #[test]
    fn one_wake_up_uses_all_the_room_there_is() {
        let mut nodes = Nodes::default();
        let mut gate = TwoLimits {
            slots: 0,
            shut: Vec::new(),
            until: Some(NOW),
        };
        for slot in 0..20 {
            nodes.insert(normal(&format!("d{slot}")), slot, None);
        }
        assert_eq!(picks(&mut nodes, &mut gate), []);
        assert_eq!(nodes.next_timer(), Some(NOW));
        gate.slots = 5;
        let skips = nodes.skips;
        nodes.wake_due(NOW);
        assert_eq!(picks(&mut nodes, &mut gate), [0, 1, 2, 3, 4]);
        assert_eq!(nodes.skips, skips + 1, "the blocked ones are not scanned");
        nodes.wake_all();
        assert_eq!(nodes.next_timer(), None);
        gate.slots = 20;
        assert_eq!(picks(&mut nodes, &mut gate).len(), 15);
    }
}
