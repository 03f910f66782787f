//! Why an item is still here, and the search for items that nothing will move.

use super::{Scheduler, Work};
use crate::gate::{Blocked, Gate};
use crate::index::State;
use crate::item::ItemId;
use crate::text::Text;
use crate::time::Timestamp;

/// Why an item has not left yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// It waits for its turn to run predelivery.
    Loader {
        /// Items before it.
        before: usize,
    },
    /// Something runs for it: the name of the step.
    Running(&'static str),
    /// It waits for its turn to run postdelivery.
    Finisher {
        /// Items before it.
        before: usize,
    },
    /// A write failed and is tried again then.
    WriteFailed {
        /// When.
        at: Timestamp,
    },
    /// It waits for its retry time.
    Deferred {
        /// When.
        at: Timestamp,
        /// Attempts so far.
        retrycount: u32,
        /// Why the last one failed.
        reason: Option<Text>,
    },
    /// It may be picked up at once, after the items before it.
    Ready {
        /// Items before it in its sub-queue.
        before: usize,
        /// Whether the limit of all deliveries is reached.
        at_total_limit: bool,
        /// Whether the process stops and starts nothing more.
        draining: bool,
    },
    /// A policy or suspend blocks its sub-queue.
    Blocked {
        /// By what.
        by: Blocked,
        /// Items before it in its sub-queue.
        before: usize,
    },
    /// It is on hold.
    Held {
        /// Since when.
        since: Timestamp,
    },
    /// It is frozen by an update or unload.
    Frozen,
}

/// An item that [`Scheduler::audit`] reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The item.
    pub id: ItemId,
    /// Its state.
    pub state: State,
    /// What is wrong.
    pub what: &'static str,
}

impl<G: Gate> Scheduler<G> {
    /// Why an item has not left yet; none if it is not in the queue.
    pub fn why(&self, id: ItemId) -> Option<Why> {
        let slot = self.index.slot(id)?;
        let item = self.index.item(slot);
        Some(match (self.index.state(slot), self.work.get(slot)) {
            (State::Hold, _) => Why::Held {
                since: item.held_since.unwrap_or(item.received),
            },
            (State::Update, _) => Why::Frozen,
            (State::Defer, _) => Why::Deferred {
                at: item.retryts.unwrap_or(Timestamp::ZERO),
                retrycount: item.retrycount,
                reason: item.retryreason.clone(),
            },
            (State::Active, _) => match self.index.standing(slot) {
                (Some(by), before) => Why::Blocked { by, before },
                (None, before) => Why::Ready {
                    before,
                    at_total_limit: self.running.deliveries >= self.limits.deliveries,
                    draining: self.draining,
                },
            },
            (State::Sending, _) => Why::Running("delivery"),
            (State::Unknown, work) => match work {
                Some(Work::Arriving(turn)) => Why::Loader {
                    before: self.loader.range(..*turn).count(),
                },
                Some(Work::Predelivery(_)) => Why::Running("predelivery"),
                Some(Work::Resolving(_)) => Why::Running("resolving"),
                Some(Work::Ended(_)) => Why::Finisher {
                    before: self
                        .finisher
                        .values()
                        .take_while(|other| **other != slot)
                        .count(),
                },
                Some(Work::Postdelivery(_)) => Why::Running("postdelivery"),
                Some(Work::Writing(writing)) => match writing.again_at {
                    Some(at) => Why::WriteFailed { at },
                    None => Why::Running("writing"),
                },
                // `audit` reports it.
                Some(Work::Routed(_)) | None => Why::Running("nothing"),
            },
        })
    }

    /// Finds items that nothing will move, and those that are older than their greatest age.
    ///
    /// An empty list is the rule: age ends every wait but HOLD. An item that is too old is in a
    /// task that does not end.
    pub fn audit(&self, now: Timestamp) -> Vec<Finding> {
        let mut findings = Vec::new();
        for (slot, item) in self.index.iter() {
            let state = self.index.state(slot);
            let mut find = |what| {
                findings.push(Finding {
                    id: item.id,
                    state,
                    what,
                })
            };
            if let Some(what) = self.misplaced(slot, state) {
                find(what);
            }
            let deadline = self.transport(&item.transportid).retry.deadline(item);
            if state != State::Hold && now > deadline {
                find("is older than its greatest age");
            }
        }
        findings
    }

    /// Fails if there is an item that nothing will move. Every item is looked at once in as many events
    /// as keep the cost of an event the same however many there are.
    #[cfg(debug_assertions)]
    pub(super) fn assert_none_forgotten(&mut self) {
        self.events += 1;
        if self.events < 64 + 4 * self.index.len() {
            return;
        }
        self.events = 0;
        for (slot, item) in self.index.iter() {
            let what = self.misplaced(slot, self.index.state(slot));
            debug_assert_eq!(what, None, "{}", item.id);
        }
    }

    /// Why nothing will move the item, if so.
    fn misplaced(&self, slot: crate::index::Slot, state: State) -> Option<&'static str> {
        let work = self.work.get(slot);
        let fits = match (state, work) {
            (State::Defer | State::Hold | State::Update, work) => work.is_none(),
            (State::Active, Some(Work::Routed(route))) => route.grant.is_none(),
            (State::Sending, Some(Work::Routed(route))) => route.grant.is_some(),
            (State::Unknown, Some(Work::Arriving(turn))) => self.loader.get(turn) == Some(&slot),
            (State::Unknown, Some(Work::Writing(writing))) => writing
                .again_at
                .is_none_or(|at| self.rewrites.contains(&(at, slot))),
            (State::Unknown, Some(Work::Ended(_))) => true,
            (
                State::Unknown,
                Some(Work::Predelivery(_) | Work::Resolving(_) | Work::Postdelivery(_)),
            ) => true,
            (State::Active | State::Sending | State::Unknown, _) => false,
        };
        (!fits).then_some("is in a state that nothing will end")
    }

    /// Finds what must not be: for tests and debug builds, it looks at every item.
    ///
    /// # Errors
    /// What was found.
    pub fn check(&self) -> Result<(), String> {
        self.index.check()?;
        let mut seen = super::Running::default();
        for (slot, item) in self.index.iter() {
            if let Some(what) = self.misplaced(slot, self.index.state(slot)) {
                return Err(format!("{} {what}", item.id));
            }
            match self.work.get(slot) {
                None => {}
                Some(Work::Arriving(_)) => seen.loader += 1,
                Some(Work::Predelivery(_)) => seen.preparing += 1,
                Some(Work::Resolving(_)) => seen.resolving += 1,
                Some(Work::Routed(route)) => seen.deliveries += usize::from(route.grant.is_some()),
                Some(Work::Ended(_)) => seen.finisher += 1,
                Some(Work::Postdelivery(_)) => seen.finishing += 1,
                Some(Work::Writing(_)) => seen.writing += 1,
            }
        }
        if seen != self.running() {
            return Err(format!(
                "{seen:?} run, but {:?} are counted",
                self.running()
            ));
        }
        let limits = self.limits;
        if seen.deliveries > limits.deliveries || seen.finishing > limits.finishing {
            return Err("a limit is exceeded".into());
        }
        let may_start = !self.draining && seen.deliveries < limits.deliveries;
        if may_start && self.index.nodes().has_ready() {
            return Err("a sub-queue is ready and there is room, but nothing is picked up".into());
        }
        if !self.draining && seen.loader > 0 && seen.preparing < limits.preparing {
            return Err("an item waits for predelivery although there is room".into());
        }
        if seen.finisher > 0 && seen.finishing < limits.finishing {
            return Err("an item waits for postdelivery although there is room".into());
        }
        Ok(())
    }
}
