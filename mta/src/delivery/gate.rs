//! The door between ACTIVE and SENDING: groups of destinations; policies take their place here later.

use std::sync::Arc;

use angarium_config::grouping::Groupings;
use angarium_queue::destination::Candidate;
use angarium_queue::gate::{self, Blocked, FieldSet, Fields, Grant, LimitId, Release, Ticket};
use angarium_queue::text::Text;
use angarium_queue::time::Timestamp;

/// Knows the groups, and lets everything pass.
#[derive(Debug, Default)]
pub struct Gate {
    groupings: Arc<Groupings>,
}

impl Gate {
    pub(super) fn new(groupings: Arc<Groupings>) -> Gate {
        Gate { groupings }
    }

    /// Takes the groups of a reload; says whether any destination may be in another one now.
    pub(super) fn reload(&mut self, groupings: Arc<Groupings>) -> bool {
        let had_none = self.groupings.is_empty();
        self.groupings = groupings;
        !(had_none && self.groupings.is_empty())
    }
}

impl gate::Gate for Gate {
    fn fields(&self) -> FieldSet {
        FieldSet::default()
    }

    fn grouping(&self, candidate: &Candidate, recipientdomain: &Text) -> Option<Text> {
        self.groupings
            .of(&candidate.mx, candidate.ip, recipientdomain)
    }

    fn admit(&mut self, _: &Fields, _: Timestamp) -> Result<Grant, Blocked> {
        Ok(Grant::default())
    }

    fn release(&mut self, _: Ticket, _: Release, _: Timestamp, _: &mut Vec<LimitId>) {}
}
