//! The order of pick-up, blocked nodes, and turns.

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

#[test]
fn a_node_is_two_lines_of_the_cache() {
    assert_eq!(size_of::<Node>(), 128);
}
