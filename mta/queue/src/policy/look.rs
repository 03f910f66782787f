//! Looking at policies and suspends, for filters and lists. Nothing here changes anything.

use std::net::IpAddr;
use std::sync::Arc;

use super::changes::ListedSuspend;
use super::compiled::{Applied, Suspend};
use super::engine::{Policies, TOGETHER, parts_of};
use crate::gate::{BlockKind, Field, Fields, LimitId};
use crate::matcher::FieldValue;
use crate::text::Text;
use crate::time::Timestamp;

/// A group that a policy puts values of a field into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The fields of the policy.
    pub fields: Vec<Field>,
    /// The field.
    pub field: Field,
    /// The name, without `#`.
    pub name: Text,
    /// The values, as they are written.
    pub values: Vec<String>,
}

/// A limit that is in the way, for people.
#[derive(Clone, Debug, PartialEq)]
pub struct Limited {
    /// Its kind.
    pub kind: BlockKind,
    /// The policy; none: a suspend.
    pub applied: Option<Arc<Applied>>,
    /// The values that name the counter, or that the suspend names.
    pub values: Vec<(Field, String)>,
    /// Deliveries that go on under the counter.
    pub in_use: u32,
    /// The id of a suspend that was set at run time.
    pub suspend: Option<Text>,
    /// Where it was set.
    pub origin: Text,
}

/// Counters of policies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CountersInUse {
    /// All of them; each counts deliveries at once.
    pub all: usize,
    /// Those with a rate.
    pub rates: usize,
    /// Those with a time between new connections.
    pub intervals: usize,
}

impl Policies {
    /// The policies that apply to these values, in order.
    pub fn describe(&self, fields: &Fields, local: Option<IpAddr>, now: Timestamp) -> Vec<Applied> {
        let mut list = Vec::new();
        for policy in &self.policies {
            if let Some(applied) = policy.apply(&policy.key(fields, local), now) {
                let stop = applied.stop;
                list.push(applied);
                if stop {
                    break;
                }
            }
        }
        list
    }

    /// What a limit is that an answer named; none if it has gone.
    pub fn explain(&self, limit: LimitId) -> Option<Limited> {
        let (number, kind) = parts_of(limit)?;
        if matches!(kind, BlockKind::Suspend | BlockKind::DynamicSuspend) {
            let suspend = self.suspends.get(number)?;
            let values = suspend.spec.when.iter().map(|(field, patterns)| {
                let texts: Vec<String> = patterns.iter().map(|p| p.written()).collect();
                (*field, texts.join(", "))
            });
            return Some(Limited {
                kind,
                applied: None,
                values: values.collect(),
                in_use: 0,
                suspend: suspend.id.clone(),
                origin: suspend.spec.origin.clone(),
            });
        }
        let counter = self.counters.numbered(number)?;
        let applied = counter.applied.clone()?;
        let parts = applied.fields.iter().zip(&counter.name.1);
        Some(Limited {
            kind,
            values: parts
                .map(|(field, part)| (*field, part.to_string()))
                .collect(),
            in_use: counter.in_use,
            suspend: None,
            origin: applied.origins.last().cloned().unwrap_or_default(),
            applied: Some(applied),
        })
    }

    /// The limits that a name for several stands for; the limit itself if it is one.
    pub fn limits_behind(&self, limit: LimitId) -> Vec<LimitId> {
        if limit.0 & TOGETHER == 0 {
            return vec![limit];
        }
        let mut list: Vec<LimitId> = (self.together.iter())
            .filter(|(_, names)| names.contains(&limit))
            .map(|(limit, _)| *limit)
            .collect();
        list.sort_unstable();
        list
    }

    /// How many counters there are.
    pub fn counters(&self) -> CountersInUse {
        let mut counted = CountersInUse {
            all: self.counters.len(),
            rates: 0,
            intervals: 0,
        };
        for counter in self.counters.iter() {
            let limits = counter.applied.as_ref().map(|applied| applied.limits);
            let interval = limits.and_then(|limits| limits.connect_interval);
            counted.rates += usize::from(counter.meter.is_some());
            counted.intervals += usize::from(interval.is_some());
        }
        counted
    }

    /// The group that the first policy which has one for it puts a value of `field` into.
    pub fn group_of(&self, field: Field, value: FieldValue<'_>) -> Option<&Text> {
        let grouped = self.policies.iter().flat_map(|policy| &policy.fields);
        grouped
            .filter(|of| of.field == field)
            .find_map(|of| of.group_of(value))
    }

    /// Whether any policy puts values into groups.
    pub fn has_groups(&self) -> bool {
        let mut grouped = self.policies.iter().flat_map(|policy| &policy.fields);
        grouped.any(|of| !of.written.is_empty())
    }

    /// The groups of all policies, in order.
    pub fn groups(&self) -> Vec<Group> {
        let mut groups = Vec::new();
        for policy in &self.policies {
            for of in &policy.fields {
                groups.extend(of.written.iter().map(|(name, patterns)| Group {
                    fields: policy.fields.iter().map(|of| of.field).collect(),
                    field: of.field,
                    name: name.clone(),
                    values: patterns.iter().map(|pattern| pattern.written()).collect(),
                }));
            }
        }
        groups
    }

    /// The suspends that keep items with these values; several source addresses: those that keep any.
    pub fn suspends_of(&self, fields: &Fields, locals: &[IpAddr]) -> Vec<ListedSuspend> {
        let covers = |suspend: &&Suspend| match locals {
            [] => suspend.covers(fields, None),
            list => list
                .iter()
                .any(|local| suspend.covers(fields, Some(*local))),
        };
        let suspends = self.suspends.iter().filter(covers);
        suspends
            .map(|suspend| ListedSuspend {
                id: suspend.id.clone(),
                spec: suspend.spec.clone(),
                expires: suspend.expires,
            })
            .collect()
    }
}
