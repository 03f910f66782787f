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

mod items;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use slab::Slab;

use self::items::Items;
use crate::gate::{BlockKind, Blocked, Fields, Gate, Grant, LimitId, Memo};
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
    pub node: u32,
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

/// A sub-queue. Where there are many, a pick-up meets one that was not looked at for long, and waits for each line of
/// the cache: two for a node, one for what all its items have in common.
#[derive(Debug)]
#[repr(align(64))]
struct Node {
    items: Items,
    state: NodeState,
    /// The turn that woke the node and is owed to the next one.
    woken_by: Option<Box<Turn>>,
    class: Priority,
    /// What the gate found for the node.
    memo: Memo,
    key: Arc<NodeKey>,
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

#[derive(Debug)]
enum NodeState {
    /// In the ring.
    Ready(Neighbours),
    /// Behind a limit.
    Blocked(Box<Waiting>),
}

/// The nodes before and behind one in the ring, or [`NO_NODE`].
#[derive(Clone, Copy, Debug)]
struct Neighbours {
    before: u32,
    behind: u32,
}

/// Not the index of a node: each has an item, and there are fewer of those.
const NO_NODE: u32 = u32::MAX;

/// What a node waits for.
#[derive(Debug)]
struct Waiting {
    blocked: Blocked,
    /// The place behind the limit.
    place: u64,
}

/// Ready nodes, each of which knows its neighbours.
#[derive(Clone, Copy, Debug)]
struct Ring {
    first: u32,
    last: u32,
}

impl Default for Ring {
    fn default() -> Self {
        Ring {
            first: NO_NODE,
            last: NO_NODE,
        }
    }
}

#[derive(Debug, Default)]
struct Waiters {
    /// By class: place to node.
    nodes: [BTreeMap<u64, u32>; 2],
    /// When the limit is asked again.
    until: Option<Timestamp>,
}

/// The sub-queues.
#[derive(Debug, Default)]
pub(crate) struct Nodes {
    nodes: Slab<Node>,
    /// Never walked through, so that its order does not matter.
    by_key: HashMap<Arc<NodeKey>, u32>,
    /// Ready nodes by class.
    rings: [Ring; 2],
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
                let key = Arc::new(key);
                let node = self.nodes.insert(Node {
                    items: Items::default(),
                    state: NodeState::Ready(Neighbours::NONE),
                    woken_by: None,
                    class: key.class,
                    memo: Memo::default(),
                    key: Arc::clone(&key),
                }) as u32;
                self.by_key.insert(key, node);
                self.make_ready(node);
                node
            }
        };
        self.nodes[node as usize].items.insert(seq, slot);
        NodePlace { node, seq }
    }

    /// Takes an item out of its node.
    pub fn remove(&mut self, place: NodePlace) {
        let Some(node) = self.nodes.get_mut(place.node as usize) else {
            return;
        };
        node.items.remove(place.seq);
        if node.items.is_empty() {
            let owed = node.woken_by.as_ref().map(|turn| turn.limit);
            self.drop_node(place.node);
            owed.into_iter().for_each(|limit| self.wake(limit));
        }
    }

    /// Picks up the next item that the gate lets pass.
    pub fn pick(&mut self, gate: &mut impl Gate, now: Timestamp) -> Option<Picked> {
        // Looked for anew each time: a node that is blocked may pass a wake-up on to a class that
        // was found empty before.
        while let Some(index) = self.pop_ready() {
            let node = &mut self.nodes[index as usize];
            let woken_by = node.woken_by.take();
            match gate.admit_known(&node.key.fields, &mut node.memo, now) {
                Err(blocked) => {
                    self.skips += 1;
                    self.block(index, blocked, woken_by);
                }
                Ok(grant) => {
                    // A node in the ring had items.
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
    fn pop_ready(&mut self) -> Option<u32> {
        let [normal, high] = self.rings.map(|ring| ring.first);
        let first = if high == NO_NODE { normal } else { high };
        self.leave_ring(first);
        (first != NO_NODE).then_some(first)
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
        let first = |of: &mut BTreeMap<u64, u32>| {
            let early = of.first_key_value().is_some_and(|(place, _)| *place < end);
            early.then(|| of.pop_first()).flatten()
        };
        let [normal, high] = &mut waiters.nodes;
        let Some((place, index)) = first(high).or_else(|| first(normal)) else {
            return;
        };
        self.drop_waiters_if_empty(limit);
        self.nodes[index as usize].woken_by = Some(Box::new(Turn {
            limit,
            place,
            end,
            asked,
        }));
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
        self.rings.iter().any(|ring| ring.first != NO_NODE)
    }

    /// The number of nodes.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// What blocks the node of an item, and how many items are before it in the node.
    pub fn standing(&self, place: NodePlace) -> (Option<Blocked>, usize) {
        let Some(node) = self.nodes.get(place.node as usize) else {
            return (None, 0);
        };
        let blocked = match &node.state {
            NodeState::Ready(_) => None,
            NodeState::Blocked(waiting) => Some(waiting.blocked),
        };
        (blocked, node.items.before(place.seq))
    }

    /// Puts a node at the end of its ring.
    fn make_ready(&mut self, index: u32) {
        let node = &mut self.nodes[index as usize];
        let ring = &mut self.rings[node.class as usize];
        let before = std::mem::replace(&mut ring.last, index);
        if before == NO_NODE {
            ring.first = index;
        }
        let behind = NO_NODE;
        node.state = NodeState::Ready(Neighbours { before, behind });
        if let Some(before) = self.neighbours(before) {
            before.behind = index;
        }
    }

    /// Takes a node out of its ring, if it is in one. Its state is to be set.
    fn leave_ring(&mut self, index: u32) {
        let Some(own) = self.neighbours(index) else {
            return;
        };
        let Neighbours { before, behind } = std::mem::replace(own, Neighbours::NONE);
        let ring = &mut self.rings[self.nodes[index as usize].class as usize];
        if ring.first == index {
            ring.first = behind;
        }
        if ring.last == index {
            ring.last = before;
        }
        if let Some(before) = self.neighbours(before) {
            before.behind = behind;
        }
        if let Some(behind) = self.neighbours(behind) {
            behind.before = before;
        }
    }

    fn neighbours(&mut self, index: u32) -> Option<&mut Neighbours> {
        match &mut self.nodes.get_mut(index as usize)?.state {
            NodeState::Ready(neighbours) => Some(neighbours),
            NodeState::Blocked(_) => None,
        }
    }

    fn block(&mut self, index: u32, blocked: Blocked, woken_by: Option<Box<Turn>>) {
        let limit = blocked.limit;
        let woken_by = woken_by.map(|turn| *turn);
        let again = woken_by.filter(|turn| turn.limit == limit);
        // A node that the same limit stops again keeps its place behind it.
        let place = match again {
            Some(turn) if blocked.kind != BlockKind::ConnectInterval => turn.place,
            _ => next(&mut self.next_place),
        };
        let node = &mut self.nodes[index as usize];
        node.state = NodeState::Blocked(Box::new(Waiting { blocked, place }));
        let class = node.class as usize;
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

    fn drop_node(&mut self, index: u32) {
        self.leave_ring(index);
        let Some(node) = self.nodes.try_remove(index as usize) else {
            return;
        };
        if let NodeState::Blocked(waiting) = node.state {
            let limit = waiting.blocked.limit;
            if let Some(waiters) = self.waiting.get_mut(&limit) {
                waiters.nodes[node.class as usize].remove(&waiting.place);
            }
            self.drop_waiters_if_empty(limit);
        }
        self.by_key.remove(&node.key);
    }

    /// The values that the items of a node have in common.
    pub fn fields(&self, place: NodePlace) -> Option<&Fields> {
        let node = self.nodes.get(place.node as usize)?;
        Some(&node.key.fields)
    }

    /// Every item with its place, for the check of the whole.
    pub fn each(&self) -> impl Iterator<Item = (NodePlace, u32)> {
        self.nodes.iter().flat_map(|(node, of)| {
            let node = node as u32;
            let items = of.items.iter();
            items.map(move |(seq, slot)| (NodePlace { node, seq }, slot))
        })
    }

    /// Follows a ring from its first node; gives their number.
    fn check_ring(&self, class: Priority, ring: Ring, most: usize) -> Result<usize, String> {
        let (mut count, mut last, mut index) = (0, NO_NODE, ring.first);
        while index != NO_NODE && count <= most {
            let node = self.nodes.get(index as usize);
            match node.map(|node| (node.class, &node.state)) {
                Some((own, NodeState::Ready(of))) if own == class && of.before == last => {
                    count += 1;
                    last = std::mem::replace(&mut index, of.behind);
                }
                _ => return Err(format!("node {index} is not where a ring has it")),
            }
        }
        if ring.last == last && index == NO_NODE {
            Ok(count)
        } else {
            Err("a ring does not end where it says".into())
        }
    }

    /// Finds what must not be: see the module's picture.
    pub fn check(&self) -> Result<(), String> {
        let mut ready = 0;
        let mut blocked = 0;
        for (index, node) in &self.nodes {
            let index = index as u32;
            if node.items.is_empty() {
                return Err(format!("node {index} is empty"));
            }
            if self.by_key.get(&node.key) != Some(&index) || node.class != node.key.class {
                return Err(format!("node {index} is not found by its key"));
            }
            match &node.state {
                NodeState::Ready(_) => ready += 1,
                NodeState::Blocked(waiting) => {
                    blocked += 1;
                    let waiters = self.waiting.get(&waiting.blocked.limit);
                    let class = node.class as usize;
                    let listed = waiters.and_then(|of| of.nodes[class].get(&waiting.place));
                    if listed != Some(&index) {
                        return Err(format!("node {index} is not where it says"));
                    }
                }
            }
        }
        let mut in_rings = 0;
        for (class, ring) in [Priority::Normal, Priority::High]
            .into_iter()
            .zip(self.rings)
        {
            in_rings += self.check_ring(class, ring, ready)?;
        }
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

impl Neighbours {
    const NONE: Neighbours = Neighbours {
        before: NO_NODE,
        behind: NO_NODE,
    };
}

fn next(counter: &mut u64) -> u64 {
    let value = *counter;
    *counter += 1;
    value
}
