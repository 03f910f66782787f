//! Looking at policies and suspends, for filters and lists. Nothing here changes anything.

use std::net::IpAddr;

use super::changes::ListedSuspend;
use super::compiled::Suspend;
use super::engine::Policies;
use crate::gate::{Field, Fields};
use crate::matcher::FieldValue;
use crate::text::Text;

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

impl Policies {
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
