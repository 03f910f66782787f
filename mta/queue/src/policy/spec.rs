//! Policies and suspends as they are written, by files, scripts and the control socket.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::rate::Rate;
use crate::gate::Field;
use crate::matcher::Pattern;
use crate::text::Text;

/// A policy: which fields name the counter, and which limits apply.
#[derive(Clone, Debug, Default)]
pub struct PolicySpec {
    /// A name for people.
    pub name: Option<Text>,
    /// The fields; none: one counter for everything.
    pub fields: Vec<FieldSpec>,
    /// Limits for some values; the first that fits counts.
    pub conditions: Vec<ConditionSpec>,
    /// Limits if no condition fits; none: unlimited.
    pub default: Option<Block>,
}

/// A field of a policy, with the groups that the policy puts its values into.
#[derive(Clone, Debug)]
pub struct FieldSpec {
    /// The field.
    pub field: Field,
    /// Groups by name; the first that fits counts.
    pub groups: Vec<(Text, Vec<Pattern>)>,
}

/// Limits for some values of a policy's fields.
#[derive(Clone, Debug)]
pub struct ConditionSpec {
    /// The values: all fields must fit, each by one of its patterns.
    pub when: When,
    /// The limits.
    pub then: Block,
}

/// Values of fields: all must fit, each by one of its patterns.
pub type When = Vec<(Field, Vec<Pattern>)>;

/// What applies together: limits, and what goes with them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Block {
    /// The limits.
    pub limits: Limits,
    /// A label.
    pub tag: Option<Text>,
    /// Whether later policies are left out.
    pub stop: Option<bool>,
    /// Values for scripts.
    pub properties: Arc<[(Text, Property)]>,
    /// Where this was set: file and line, hook, control socket.
    pub origin: Text,
}

/// Limits; what is none is not limited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Deliveries at once; zero: none at all.
    pub concurrency: Option<u32>,
    /// Pick-ups in a time.
    pub rate: Option<Rate>,
    /// The least time between new connections.
    pub connect_interval: Option<Duration>,
}

/// A value for scripts.
#[derive(Clone, Debug, PartialEq)]
pub enum Property {
    /// A text.
    Text(Text),
    /// A number.
    Number(f64),
    /// True or false.
    Boolean(bool),
}

/// A suspend: nothing with these values is picked up.
#[derive(Clone, Debug, Default)]
pub struct SuspendSpec {
    /// The values; without any, everything is suspended.
    pub when: When,
    /// A label.
    pub tag: Option<Text>,
    /// Values for scripts.
    pub properties: Arc<[(Text, Property)]>,
    /// Where this was set.
    pub origin: Text,
}

impl Field {
    /// All fields, in the order of the reference product's lists.
    pub const ALL: [Field; 8] = [
        Field::TransportId,
        Field::LocalIp,
        Field::RemoteIp,
        Field::RemoteMx,
        Field::RecipientDomain,
        Field::TenantId,
        Field::JobId,
        Field::Grouping,
    ];

    /// The name in files and scripts.
    pub fn name(self) -> &'static str {
        match self {
            Field::TenantId => "tenantid",
            Field::JobId => "jobid",
            Field::TransportId => "transportid",
            Field::LocalIp => "localip",
            Field::Grouping => "grouping",
            Field::RemoteIp => "remoteip",
            Field::RemoteMx => "remotemx",
            Field::RecipientDomain => "recipientdomain",
        }
    }

    /// The field with this name.
    pub fn named(name: &str) -> Option<Field> {
        Field::ALL.into_iter().find(|field| field.name() == name)
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
