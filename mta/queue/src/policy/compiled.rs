//! Policies laid out for pick-up: keys of counters, and the limits that apply to a key.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use thiserror::Error;

use super::spec::{
    Block, ConditionSpec, FieldSpec, Limits, PolicySpec, Property, SuspendSpec, When,
};
use super::table::{Choose, Resolved, Table, resolved};
use crate::gate::{Field, FieldSet, Fields};
use crate::matcher::{FieldValue, Lists, Matcher, Pattern, PatternError};
use crate::text::Text;
use crate::time::Timestamp;

/// A policy or suspend that cannot be used.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum PolicyError {
    /// A matcher.
    #[error("{field}: {error}")]
    Pattern {
        /// Of this field.
        field: Field,
        /// What is wrong.
        error: PatternError,
    },
    /// A condition on a field that does not name the counter.
    #[error("{0}: is no field of the policy, and a condition may only use those")]
    NotAField(Field),
    /// A field that stands twice.
    #[error("{0}: stands twice among the fields")]
    Twice(Field),
    /// A group that the policy does not define.
    #[error("{field}: names the group `#{name}`, which the policy does not define")]
    NoGroup {
        /// Of this field.
        field: Field,
        /// Its name.
        name: Text,
    },
    /// A group in a suspend.
    #[error("{0}: names a group `#…` of a policy; a suspend knows groupings `&…` and patterns")]
    GroupOutside(Field),
    /// More than may be set at run time.
    #[error("there are {0} already, the most that may be set at run time")]
    TooMany(usize),
}

/// The value of a field as it names a counter.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyPart {
    /// The item has no value.
    None,
    /// A text; domains in lower case.
    Text(Text),
    /// An address.
    Address(IpAddr),
    /// The group that the policy puts the value into.
    Group(Text),
}

impl KeyPart {
    pub(super) fn value(&self) -> Option<FieldValue<'_>> {
        match self {
            KeyPart::None => None,
            KeyPart::Text(text) => Some(FieldValue::Text(text)),
            KeyPart::Address(address) => Some(FieldValue::Address(*address)),
            KeyPart::Group(name) => Some(FieldValue::Group(name)),
        }
    }
}

impl std::fmt::Display for KeyPart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            KeyPart::None => Ok(()),
            KeyPart::Text(text) => text.fmt(f),
            KeyPart::Address(address) => address.fmt(f),
            KeyPart::Group(name) => write!(f, "#{name}"),
        }
    }
}

/// The value of `field` among `fields`, sent from `local`.
pub(super) fn part(field: Field, fields: &Fields, local: Option<IpAddr>) -> KeyPart {
    let text = |text: &Option<Text>| text.clone().map_or(KeyPart::None, KeyPart::Text);
    let domain = |text: &Option<Text>| match text {
        Some(text) => KeyPart::Text(text.to_ascii_lowercase()),
        None => KeyPart::None,
    };
    let address = |address: Option<IpAddr>| address.map_or(KeyPart::None, KeyPart::Address);
    match field {
        Field::TenantId => text(&fields.tenantid),
        Field::JobId => text(&fields.jobid),
        Field::TransportId => KeyPart::Text(fields.transportid.clone()),
        Field::LocalIp => address(local),
        Field::Grouping => text(&fields.grouping),
        Field::RemoteIp => address(fields.remoteip),
        Field::RemoteMx => domain(&fields.remotemx),
        Field::RecipientDomain => domain(&fields.recipientdomain),
    }
}

/// What a policy does to a pick-up, as scripts and operators see it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Applied {
    /// The policy's name.
    pub name: Option<Text>,
    /// The fields that name the counter.
    pub fields: Vec<Field>,
    /// Fields whose value the policy put into a group.
    pub groups: Vec<(Field, Text)>,
    /// The limits.
    pub limits: Limits,
    /// The labels.
    pub tags: Vec<Text>,
    /// Values for scripts.
    pub properties: Arc<[(Text, Property)]>,
    /// Whether later policies are left out.
    pub stop: bool,
    /// Conditions in force that were set at run time: id and label.
    pub dynamic: Vec<(Text, Option<Text>)>,
    /// Where the limits were set.
    pub origins: Vec<Text>,
    /// When a condition of these ends by itself.
    pub expires: Option<Timestamp>,
}

/// A condition that was set at run time.
#[derive(Clone, Debug)]
pub(super) struct Dynamic {
    pub id: Text,
    /// The fields of its policy.
    pub fields: Vec<Field>,
    /// As it was given, to find it again.
    pub when: When,
    /// As it was laid out when it was set: in force where a reload takes away what it names.
    pub laid_out: Resolved,
    pub block: Block,
    /// A label for its kind.
    pub kind: Option<Text>,
    pub expires: Option<Timestamp>,
}

/// A policy, laid out.
#[derive(Clone, Debug)]
pub(super) struct Policy {
    /// Names its counters, also after a reload that leaves its fields alone.
    pub id: u64,
    pub name: Option<Text>,
    pub fields: Vec<Grouped>,
    pub field_set: FieldSet,
    conditions: Vec<Block>,
    /// By their places in `conditions`.
    fixed: Table,
    default: Option<Block>,
    /// By number: the newest comes last.
    pub dynamics: BTreeMap<u64, Arc<Dynamic>>,
    /// By the same numbers.
    dynamic: Table,
    /// Whether a condition limits or limited new connections.
    pub has_connect_interval: bool,
    /// Rises with every change of the dynamic conditions.
    pub version: u64,
    /// What was laid out at this version: thousands of counters share it.
    shared: BTreeMap<Choice, Arc<Applied>>,
}

/// What tells everything that applies to a counter: the place of a condition (none: the default), the number of a
/// dynamic one, and the groups that its values fall into.
type Choice = (Option<u64>, Option<u64>, Vec<(Field, Text)>);

#[derive(Clone, Debug)]
pub(super) struct Grouped {
    pub field: Field,
    groups: Vec<(Text, Matcher)>,
    /// As it was given, to see whether a reload changed it, and for lists.
    pub written: Vec<(Text, Vec<Pattern>)>,
}

impl Policy {
    pub fn new(id: u64, spec: &PolicySpec, lists: &Lists) -> Result<Self, PolicyError> {
        let mut policy = Policy {
            id,
            name: spec.name.clone(),
            fields: Vec::with_capacity(spec.fields.len()),
            field_set: FieldSet::default(),
            conditions: Vec::with_capacity(spec.conditions.len()),
            fixed: Table::default(),
            default: spec.default.clone(),
            dynamics: BTreeMap::new(),
            dynamic: Table::default(),
            has_connect_interval: limits_connections(spec.default.iter()),
            version: 0,
            shared: BTreeMap::new(),
        };
        for FieldSpec { field, groups } in &spec.fields {
            if policy.field_set.has(*field) {
                return Err(PolicyError::Twice(*field));
            }
            policy.field_set = policy.field_set.with(*field);
            let matcher = |(name, patterns): &(Text, Vec<Pattern>)| {
                Ok((name.clone(), matcher(*field, patterns, lists)?))
            };
            policy.fields.push(Grouped {
                field: *field,
                groups: groups.iter().map(matcher).collect::<Result<_, _>>()?,
                written: groups.clone(),
            });
        }
        for (number, ConditionSpec { when, then }) in (0..).zip(&spec.conditions) {
            let when = policy.lay_out(when, lists)?;
            policy.fixed.insert(number, &when)?;
            policy.conditions.push(then.clone());
            policy.has_connect_interval |= limits_connections([then]);
        }
        Ok(policy)
    }

    /// A policy that exists only for conditions set at run time.
    pub fn only_dynamic(id: u64, fields: &[Field]) -> Result<Self, PolicyError> {
        let grouped = |field: &Field| FieldSpec {
            field: *field,
            groups: Vec::new(),
        };
        let spec = PolicySpec {
            fields: fields.iter().map(grouped).collect(),
            ..PolicySpec::default()
        };
        Policy::new(id, &spec, &Lists::default())
    }

    /// Whether the counters of both have the same names.
    pub fn has_same_counters(&self, other: &Policy) -> bool {
        let written = |policy: &Policy| -> Vec<_> {
            let fields = policy.fields.iter();
            fields.map(|of| (of.field, of.written.clone())).collect()
        };
        written(self) == written(other)
    }

    /// Lays out a condition. An exact value that falls into a group stands for the group.
    pub fn lay_out(
        &self,
        when: &[(Field, Vec<Pattern>)],
        lists: &Lists,
    ) -> Result<Resolved, PolicyError> {
        let mut rolled_up = Vec::with_capacity(when.len());
        for (field, patterns) in when {
            let grouped = self.fields.iter().find(|of| of.field == *field);
            let grouped = grouped.ok_or(PolicyError::NotAField(*field))?;
            let patterns: Result<Vec<Pattern>, _> = patterns
                .iter()
                .map(|pattern| grouped.rolled_up(pattern))
                .collect();
            rolled_up.push((*field, patterns?));
        }
        let when = resolved(&rolled_up, lists)?;
        // What cannot be used is found before anything changes.
        Table::default().insert(0, &when)?;
        Ok(when)
    }

    /// Adds a condition that was set at run time.
    pub fn add(&mut self, number: u64, dynamic: &Arc<Dynamic>, lists: &Lists) {
        let when = self.lay_out(&dynamic.when, lists);
        let when = when.unwrap_or_else(|_| dynamic.laid_out.clone());
        if self.dynamic.insert(number, &when).is_ok() {
            self.dynamics.insert(number, Arc::clone(dynamic));
            self.has_connect_interval |= limits_connections([&dynamic.block]);
            self.change();
        }
    }

    /// Takes a condition away that was set at run time.
    pub fn take_away(&mut self, number: u64) {
        if self.dynamics.remove(&number).is_some() {
            self.dynamic.remove(number);
            self.change();
        }
    }

    fn change(&mut self) {
        self.version += 1;
        self.shared.clear();
    }

    /// The name of the counter for these values.
    pub fn key(&self, fields: &Fields, local: Option<IpAddr>) -> Box<[KeyPart]> {
        self.fields
            .iter()
            .map(|of| of.rolled_up_value(part(of.field, fields, local)))
            .collect()
    }

    /// What applies to the counter with this name; none: the policy does not limit it.
    pub fn apply(&self, key: &[KeyPart], now: Timestamp) -> Option<Applied> {
        self.choice(key, now)
            .map(|choice| self.lay_out_all(&choice))
    }

    /// The same, in one copy for all counters that it applies to.
    pub fn shared(&mut self, key: &[KeyPart], now: Timestamp) -> Option<Arc<Applied>> {
        let choice = self.choice(key, now)?;
        if let Some(applied) = self.shared.get(&choice) {
            return Some(Arc::clone(applied));
        }
        let applied = Arc::new(self.lay_out_all(&choice));
        self.shared.insert(choice, Arc::clone(&applied));
        Some(applied)
    }

    /// What tells everything that applies; none: nothing does.
    fn choice(&self, key: &[KeyPart], now: Timestamp) -> Option<Choice> {
        let fields = self.fields.iter().map(|of| of.field);
        let values: Vec<(Field, &KeyPart)> = fields.zip(key).collect();
        let fixed = self.fixed.find(&values, Choose::First, |_| true);
        let live = |number: u64| {
            let dynamic = self.dynamics.get(&number);
            dynamic.is_some_and(|of| of.expires.is_none_or(|at| at > now))
        };
        let dynamic = self.dynamic.find(&values, Choose::Last, live);
        if fixed.is_none() && self.default.is_none() && dynamic.is_none() {
            return None;
        }
        Some((fixed, dynamic, groups(&self.fields, key)))
    }

    fn lay_out_all(&self, (fixed, dynamic, groups): &Choice) -> Applied {
        let fixed = fixed.and_then(|place| self.conditions.get(usize::try_from(place).ok()?));
        let fixed = fixed.or(self.default.as_ref());
        let dynamic = dynamic.and_then(|number| self.dynamics.get(&number));
        let blocks = [fixed, dynamic.map(|dynamic| &dynamic.block)];
        let mut applied = Applied {
            name: self.name.clone(),
            fields: self.fields.iter().map(|of| of.field).collect(),
            groups: groups.clone(),
            dynamic: dynamic
                .map(|dynamic| (dynamic.id.clone(), dynamic.block.tag.clone()))
                .into_iter()
                .collect(),
            expires: dynamic.and_then(|dynamic| dynamic.expires),
            ..Applied::default()
        };
        for block in blocks.into_iter().flatten() {
            let (limits, over) = (&mut applied.limits, &block.limits);
            limits.concurrency = over.concurrency.or(limits.concurrency);
            limits.rate = over.rate.or(limits.rate);
            limits.connect_interval = over.connect_interval.or(limits.connect_interval);
            applied.stop = block.stop.unwrap_or(applied.stop);
            applied.tags.extend(block.tag.clone());
            applied.origins.push(block.origin.clone());
            if !block.properties.is_empty() {
                applied.properties = merged(&applied.properties, &block.properties);
            }
        }
        applied
    }
}

impl Grouped {
    pub fn group_of(&self, value: FieldValue<'_>) -> Option<&Text> {
        let mut groups = self.groups.iter();
        groups
            .find(|(_, matcher)| matcher.matches(value))
            .map(|(name, _)| name)
    }

    fn rolled_up_value(&self, part: KeyPart) -> KeyPart {
        let group = part.value().and_then(|value| self.group_of(value));
        match group {
            Some(name) => KeyPart::Group(name.clone()),
            None => part,
        }
    }

    fn rolled_up(&self, pattern: &Pattern) -> Result<Pattern, PolicyError> {
        let group = match pattern {
            Pattern::Exact(value) => self.group_of(FieldValue::Text(value)),
            Pattern::Network(network) if network.prefix_len() == network.max_prefix_len() => {
                self.group_of(FieldValue::Address(network.addr()))
            }
            Pattern::Group(name) => {
                let known = self.groups.iter().any(|(group, _)| group == name);
                return known
                    .then(|| pattern.clone())
                    .ok_or_else(|| PolicyError::NoGroup {
                        field: self.field,
                        name: name.clone(),
                    });
            }
            _ => None,
        };
        Ok(group.map_or_else(|| pattern.clone(), |name| Pattern::Group(name.clone())))
    }
}

fn limits_connections<'a>(blocks: impl IntoIterator<Item = &'a Block>) -> bool {
    let mut blocks = blocks.into_iter();
    blocks.any(|block| block.limits.connect_interval.is_some())
}

fn groups(fields: &[Grouped], key: &[KeyPart]) -> Vec<(Field, Text)> {
    let parts = fields.iter().zip(key);
    parts
        .filter_map(|(of, part)| match part {
            KeyPart::Group(name) => Some((of.field, name.clone())),
            _ => None,
        })
        .collect()
}

fn merged(under: &[(Text, Property)], over: &[(Text, Property)]) -> Arc<[(Text, Property)]> {
    let kept = under
        .iter()
        .filter(|(name, _)| over.iter().all(|(other, _)| other != name));
    kept.chain(over).cloned().collect()
}

pub(super) fn matcher(
    field: Field,
    patterns: &[Pattern],
    lists: &Lists,
) -> Result<Matcher, PolicyError> {
    Matcher::new(field, patterns, lists).map_err(|error| PolicyError::Pattern { field, error })
}

/// A suspend, laid out.
#[derive(Clone, Debug)]
pub(super) struct Suspend {
    /// The name of the limit that it is.
    pub number: u64,
    /// Its id, if it was set at run time.
    pub id: Option<Text>,
    pub spec: SuspendSpec,
    matchers: Vec<(Field, Matcher)>,
    pub expires: Option<Timestamp>,
    /// With the lists that there were when it was set.
    laid_out: Resolved,
}

impl Suspend {
    pub fn new(number: u64, spec: SuspendSpec, lists: &Lists) -> Result<Self, PolicyError> {
        let lay_out = |(field, patterns): &(Field, Vec<Pattern>)| {
            if patterns.iter().any(|p| matches!(p, Pattern::Group(_))) {
                return Err(PolicyError::GroupOutside(*field));
            }
            Ok((*field, matcher(*field, patterns, lists)?))
        };
        Ok(Suspend {
            number,
            id: None,
            matchers: spec.when.iter().map(lay_out).collect::<Result<_, _>>()?,
            laid_out: resolved(&spec.when, lists)?,
            spec,
            expires: None,
        })
    }

    /// Its values with the lists as they are now, or as they were if one has gone.
    pub fn resolved(&self, lists: &Lists) -> Resolved {
        resolved(&self.spec.when, lists).unwrap_or_else(|_| self.laid_out.clone())
    }

    /// Whether it keeps what has these values.
    pub fn covers(&self, fields: &Fields, local: Option<IpAddr>) -> bool {
        self.matchers.iter().all(|(field, matcher)| {
            let part = part(*field, fields, local);
            part.value().is_some_and(|value| matcher.matches(value))
        })
    }
}
