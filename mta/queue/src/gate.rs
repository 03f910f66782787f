//! The door between ACTIVE and SENDING: where pick-up policies and suspends are asked.
//!
//! The index groups items by the [`Fields`] that the gate looks at, so that all items of a
//! sub-queue get the same answer. A blocked sub-queue is set aside under the [`LimitId`] that
//! blocks it and is not looked at again until the gate frees that limit or its time comes.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::destination::Candidate;
use crate::policy::Applied;
use crate::retry::RetryChange;
use crate::text::Text;
use crate::time::Timestamp;
use crate::transport::{SourceIp, Sources};

/// One of the fields that a policy may limit by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "the names are those of the policy file")]
pub enum Field {
    TenantId,
    JobId,
    TransportId,
    LocalIp,
    Grouping,
    RemoteIp,
    RemoteMx,
    RecipientDomain,
}

/// A set of fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct FieldSet(u8);

impl FieldSet {
    /// The set with `field` added.
    #[must_use]
    pub fn with(self, field: Field) -> Self {
        FieldSet(self.0 | 1 << field as u8)
    }

    /// The fields of both sets.
    #[must_use]
    pub fn union(self, other: FieldSet) -> Self {
        FieldSet(self.0 | other.0)
    }

    /// Whether the set has `field`.
    pub fn has(self, field: Field) -> bool {
        self.0 & 1 << field as u8 != 0
    }
}

/// The values that decide whether an item may be picked up.
///
/// Transport, job and the destination (the grouping, else the MX) are always set, because pick-up
/// takes turns over them; the others only if the gate looks at them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Fields {
    /// The transport.
    pub transportid: Text,
    /// The job.
    pub jobid: Option<Text>,
    /// The grouping.
    pub grouping: Option<Text>,
    /// The host's name.
    pub remotemx: Option<Text>,
    /// The host's address.
    pub remoteip: Option<IpAddr>,
    /// The tenant.
    pub tenantid: Option<Text>,
    /// The recipient's domain in lower case.
    pub recipientdomain: Option<Text>,
    /// The source addresses to choose from.
    pub sources: Sources,
}

impl Fields {
    /// The values with those removed that `looked_at` does not need.
    #[must_use]
    pub fn projected(mut self, looked_at: FieldSet) -> Fields {
        if self.grouping.is_some() && !looked_at.has(Field::RemoteMx) {
            self.remotemx = None;
        }
        if !looked_at.has(Field::RemoteIp) {
            self.remoteip = None;
        }
        if !looked_at.has(Field::TenantId) {
            self.tenantid = None;
        }
        if !looked_at.has(Field::RecipientDomain) {
            self.recipientdomain = None;
        }
        if !looked_at.has(Field::LocalIp) {
            self.sources = Sources::default();
        }
        self
    }
}

/// The name that a gate gives to one limit of one entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LimitId(pub u64);

/// The name that a gate gives to what one pick-up took.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Ticket(pub u64);

/// What a gate found for the values of a sub-queue: it is kept with the sub-queue, so that the gate need not find it
/// again. Of no meaning to anybody else, and good for one gate only.
#[derive(Clone, Debug, Default)]
pub struct Memo {
    /// How often the gate had changed.
    changes: u64,
    /// 0: nothing was found yet; 1: there is no counter; 2 and more: a counter's place and 2.
    found: [u32; Memo::ROOM],
}

impl Memo {
    /// What there is room for; the rest is found anew each time.
    const ROOM: usize = 8;

    /// Forgets what was found before the gate had changed as often as this.
    pub(crate) fn renew(&mut self, changes: u64) {
        if self.changes != changes {
            *self = Memo {
                changes,
                ..Memo::default()
            };
        }
    }

    /// What was found as the `at`th: nothing yet, no counter, or a counter's place.
    pub(crate) fn known(&self, at: usize) -> Option<Option<u32>> {
        let found = *self.found.get(at)?;
        let counter = found.checked_sub(1)?;
        Some(counter.checked_sub(1))
    }

    /// Notes what was found as the `at`th.
    pub(crate) fn note(&mut self, at: usize, counter: Option<u32>) {
        if let Some(found) = self.found.get_mut(at) {
            *found = counter.map_or(1, |place| place.saturating_add(2));
        }
    }
}

/// Leave to pick up one item.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Grant {
    /// To be given back when the delivery is over.
    pub ticket: Ticket,
    /// The source address, if the gate chose one.
    pub source: Option<SourceIp>,
    /// Tags of the policies that apply.
    pub tags: Vec<Text>,
    /// The policies that apply.
    pub policies: Vec<Arc<Applied>>,
    /// Whether an idle connection was set aside for the item.
    pub reuse: Reuse,
}

/// What an idle connection that was set aside is to an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Reuse {
    /// None was set aside; one that suits may be used all the same.
    #[default]
    No,
    /// It is why this source address was chosen. If it is gone, a new one is opened.
    Preferred,
    /// No new connection may be opened. If it is gone, the item is put back.
    Required,
}

/// Which kind of limit blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockKind {
    /// A suspend of the configuration.
    Suspend,
    /// A suspend that was added at run time.
    DynamicSuspend,
    /// A concurrency limit.
    Concurrency,
    /// A rate limit.
    Rate,
    /// The time between new connections.
    ConnectInterval,
}

/// Why an item may not be picked up now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocked {
    /// The limit in the way.
    pub limit: LimitId,
    /// When to ask again; none: the gate will name the limit in [`Gate::release`], or the
    /// scheduler is told that policies changed.
    pub until: Option<Timestamp>,
    /// Its kind.
    pub kind: BlockKind,
}

/// How a pick-up ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// The attempt was made.
    Finished,
    /// The attempt was made on a connection that was open already.
    Reused,
    /// The item goes back; tokens that were taken are returned.
    PutBack,
}

/// The policies, as the scheduler sees them.
pub trait Gate {
    /// The fields that the answer of [`Gate::admit`] depends on.
    fn fields(&self) -> FieldSet;

    /// The grouping of a destination: the value of the field `grouping`.
    fn grouping(&self, _candidate: &Candidate, _recipientdomain: &Text) -> Option<Text> {
        None
    }

    /// Whether a suspend keeps every item with these values: such a candidate is passed over if
    /// there is another.
    fn is_suspended(&self, _fields: &Fields) -> bool {
        false
    }

    /// Whether [`Gate::retry`] ever says anything.
    fn has_retry(&self) -> bool {
        false
    }

    /// What the destination says of retries. Here all values are set that there are.
    fn retry(&self, _fields: &Fields, _local: Option<IpAddr>) -> RetryChange {
        RetryChange::default()
    }

    /// When something in the gate ends by itself; [`Gate::pass_time`] is called then.
    fn next_end(&self) -> Option<Timestamp> {
        None
    }

    /// Takes away what has ended by `now`. What waited for its end has a time of its own.
    fn pass_time(&mut self, _now: Timestamp) {}

    /// Whether there are limits, new since this was last asked, under which deliveries go on that are not
    /// counted there.
    fn has_new_limits(&mut self) -> bool {
        false
    }

    /// Counts a delivery that goes on under the limits that it began without. Here all values are set
    /// that there are.
    fn goes_on(
        &mut self,
        _ticket: Ticket,
        _fields: &Fields,
        _local: Option<IpAddr>,
        _now: Timestamp,
    ) {
    }

    /// Asks for leave to pick up an item with these values; leave takes what it needs.
    ///
    /// # Errors
    /// A limit is in the way.
    fn admit(&mut self, fields: &Fields, now: Timestamp) -> Result<Grant, Blocked>;

    /// The same for a sub-queue, with what was found for it before. The gate must be the same one.
    ///
    /// # Errors
    /// A limit is in the way.
    fn admit_known(
        &mut self,
        fields: &Fields,
        _memo: &mut Memo,
        now: Timestamp,
    ) -> Result<Grant, Blocked> {
        self.admit(fields, now)
    }

    /// Gives back what a pick-up took, and adds to `freed` every limit that may now let another
    /// item pass.
    fn release(&mut self, ticket: Ticket, how: Release, now: Timestamp, freed: &mut Vec<LimitId>);
}

/// A gate without policies.
#[derive(Clone, Copy, Debug, Default)]
pub struct OpenGate;

impl Gate for OpenGate {
    fn fields(&self) -> FieldSet {
        FieldSet::default()
    }

    fn admit(&mut self, _: &Fields, _: Timestamp) -> Result<Grant, Blocked> {
        Ok(Grant::default())
    }

    fn release(&mut self, _: Ticket, _: Release, _: Timestamp, _: &mut Vec<LimitId>) {}
}

/// A gate with one concurrency limit for every destination (grouping or MX) of a transport.
#[derive(Clone, Debug)]
pub struct DestinationGate {
    limit: usize,
    names: BTreeMap<(Text, Option<Text>), u64>,
    in_use: BTreeMap<u64, usize>,
}

impl DestinationGate {
    /// Makes a gate that lets `limit` deliveries to each destination go on at once.
    pub fn new(limit: usize) -> Self {
        DestinationGate {
            limit,
            names: BTreeMap::new(),
            in_use: BTreeMap::new(),
        }
    }

    /// The greatest number of deliveries to one destination that go on now.
    pub fn busiest(&self) -> usize {
        self.in_use.values().copied().max().unwrap_or(0)
    }
}

impl Gate for DestinationGate {
    fn fields(&self) -> FieldSet {
        FieldSet::default()
    }

    fn admit(&mut self, fields: &Fields, _: Timestamp) -> Result<Grant, Blocked> {
        let destination = fields.grouping.clone().or_else(|| fields.remotemx.clone());
        let next = self.names.len() as u64;
        let name = *self
            .names
            .entry((fields.transportid.clone(), destination))
            .or_insert(next);
        let in_use = self.in_use.entry(name).or_default();
        if *in_use >= self.limit {
            let limit = LimitId(name);
            return Err(Blocked {
                limit,
                until: None,
                kind: BlockKind::Concurrency,
            });
        }
        *in_use += 1;
        Ok(Grant {
            ticket: Ticket(name),
            ..Grant::default()
        })
    }

    fn release(&mut self, ticket: Ticket, _: Release, _: Timestamp, freed: &mut Vec<LimitId>) {
        if let Some(in_use) = self.in_use.get_mut(&ticket.0) {
            *in_use = in_use.saturating_sub(1);
            freed.push(LimitId(ticket.0));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_that_nobody_looks_at_do_not_divide_the_queue() {
        let fields = Fields {
            transportid: "mx".into(),
            jobid: Some("job".into()),
            grouping: Some("&big".into()),
            remotemx: Some("mx.test".into()),
            remoteip: Some("192.0.2.1".parse().unwrap()),
            tenantid: Some("t".into()),
            recipientdomain: Some("d.test".into()),
            sources: Sources {
                addresses: [].into(),
                ordered: true,
            },
        };
        let plain = fields.clone().projected(FieldSet::default());
        let want = Fields {
            transportid: "mx".into(),
            jobid: Some("job".into()),
            grouping: Some("&big".into()),
            ..Fields::default()
        };
        assert_eq!(plain, want);
        let all = [
            Field::RemoteMx,
            Field::RemoteIp,
            Field::TenantId,
            Field::RecipientDomain,
        ]
        .into_iter()
        .fold(FieldSet::default().with(Field::LocalIp), FieldSet::with);
        assert_eq!(fields.clone().projected(all), fields);
    }
}
