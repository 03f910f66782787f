//! The door between ACTIVE and SENDING: groups of destinations, and the policies over them.

use std::net::IpAddr;
use std::sync::Arc;

use angarium_config::condition;
use angarium_config::delivery::Delivery;
use angarium_config::grouping::Groupings;
use angarium_config::transport::RetryInterval;
use angarium_queue::destination::Candidate;
use angarium_queue::gate::{
    self, Blocked, FieldSet, Fields, Grant, LimitId, Memo, Release, Ticket,
};
use angarium_queue::policy::{Policies, Setup};
use angarium_queue::retry::{Interval, RetryChange};
use angarium_queue::text::Text;
use angarium_queue::time::Timestamp;

/// Knows the groups and the policies.
#[derive(Debug, Default)]
pub struct Gate {
    groupings: Arc<Groupings>,
    policies: Policies,
    by_destination: Arc<Delivery>,
    /// Whether any destination says something of retries.
    has_retry: bool,
}

impl Gate {
    pub(super) fn new(
        groupings: Arc<Groupings>,
        policies: Policies,
        by_destination: Arc<Delivery>,
    ) -> Gate {
        Gate {
            groupings,
            policies,
            has_retry: has_retry(&by_destination),
            by_destination,
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
    pub(super) fn reload(
        &mut self,
        groupings: Arc<Groupings>,
        policies: &Setup,
        by_destination: Arc<Delivery>,
    ) -> bool {
        self.has_retry = has_retry(&by_destination);
        self.by_destination = by_destination;
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

    fn has_retry(&self) -> bool {
        self.has_retry
    }

    fn retry(&self, fields: &Fields, local: Option<IpAddr>) -> RetryChange {
        let nowhere = Text::default();
        let settings = self.by_destination.settings(&condition::Fields {
            tenantid: fields.tenantid.as_ref(),
            jobid: fields.jobid.as_ref(),
            transportid: &fields.transportid,
            localip: local,
            grouping: fields.grouping.as_ref(),
            remoteip: fields.remoteip,
            remotemx: fields.remotemx.as_ref(),
            recipientdomain: fields.recipientdomain.as_ref().unwrap_or(&nowhere),
        });
        let interval = |written: &RetryInterval| Interval {
            delay: *written.interval,
            notify: written.notify,
        };
        let intervals = settings.retry.intervals;
        RetryChange {
            count: settings.retry.count,
            intervals: intervals.map(|list| list.iter().map(interval).collect()),
        }
    }

    fn next_end(&self) -> Option<Timestamp> {
        self.policies.next_end()
    }

    fn pass_time(&mut self, now: Timestamp) {
        self.policies.pass_time(now);
    }

    fn has_new_limits(&mut self) -> bool {
        self.policies.has_new_limits()
    }

    fn goes_on(&mut self, ticket: Ticket, fields: &Fields, local: Option<IpAddr>, now: Timestamp) {
        self.policies.goes_on(ticket, fields, local, now);
    }

    fn admit(&mut self, fields: &Fields, now: Timestamp) -> Result<Grant, Blocked> {
        self.policies.admit(fields, now)
    }

    fn admit_known(
        &mut self,
        fields: &Fields,
        memo: &mut Memo,
        now: Timestamp,
    ) -> Result<Grant, Blocked> {
        self.policies.admit_known(fields, memo, now)
    }

    fn release(&mut self, ticket: Ticket, how: Release, now: Timestamp, freed: &mut Vec<LimitId>) {
        self.policies.release(ticket, how, now, freed);
    }
}

fn has_retry(by_destination: &Delivery) -> bool {
    let mut all = by_destination.all();
    all.any(|of| of.retry.count.is_some() || of.retry.intervals.is_some())
}
