//! The door between ACTIVE and SENDING: groups of destinations, and the policies over them.

use std::sync::Arc;

use angarium_config::grouping::Groupings;
use angarium_queue::destination::Candidate;
use angarium_queue::gate::{self, Blocked, FieldSet, Fields, Grant, LimitId, Release, Ticket};
use angarium_queue::policy::{Policies, Setup};
use angarium_queue::text::Text;
use angarium_queue::time::Timestamp;

/// Knows the groups and the policies.
#[derive(Debug, Default)]
pub struct Gate {
    groupings: Arc<Groupings>,
    policies: Policies,
}

impl Gate {
    pub(super) fn new(groupings: Arc<Groupings>, policies: Policies) -> Gate {
        Gate {
            groupings,
            policies,
        }
    }

    /// The policies and suspends in force, with their counters.
    #[must_use]
    pub fn policies(&self) -> &Policies {
        &self.policies
    }

    pub(super) fn policies_mut(&mut self) -> &mut Policies {
        &mut self.policies
    }

    /// Takes what a reload says; whether any item may be in another sub-queue now.
    pub(super) fn reload(&mut self, groupings: Arc<Groupings>, policies: &Setup) -> bool {
        let had_none = self.groupings.is_empty() && self.policies.is_empty();
        self.groupings = groupings;
        // Settings that were made have policies that can be used.
        let _ = self.policies.configure(policies.clone());
        !(had_none && self.groupings.is_empty() && self.policies.is_empty())
    }
}

impl gate::Gate for Gate {
    fn fields(&self) -> FieldSet {
        self.policies.fields()
    }

    fn grouping(&self, candidate: &Candidate, recipientdomain: &Text) -> Option<Text> {
        self.groupings
            .of(&candidate.mx, candidate.ip, recipientdomain)
    }

    fn is_suspended(&self, fields: &Fields) -> bool {
        self.policies.is_suspended(fields)
    }

    fn next_end(&self) -> Option<Timestamp> {
        self.policies.next_end()
    }

    fn pass_time(&mut self, now: Timestamp) {
        self.policies.pass_time(now);
    }

    fn admit(&mut self, fields: &Fields, now: Timestamp) -> Result<Grant, Blocked> {
        self.policies.admit(fields, now)
    }

    fn release(&mut self, ticket: Ticket, how: Release, now: Timestamp, freed: &mut Vec<LimitId>) {
        self.policies.release(ticket, how, now, freed);
    }
}
