//! `smtpd-policy.yaml` and `smtpd-suspend.yaml`: which deliveries are held back, and how much.
//!
//! What is written here is laid out by [`angarium_queue::policy`], which also says what it means.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use angarium_queue::gate::Field;
use angarium_queue::matcher::{Lists, Pattern};
use angarium_queue::policy::rate::{Algorithm, Rate};
use angarium_queue::policy::spec::{
    Block, ConditionSpec, FieldSpec, Limits, PolicySpec, Property, SuspendSpec, When,
};
use angarium_queue::policy::{Policies, PolicyError, Setup};
use angarium_queue::text::Text;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::check::Checker;
use crate::condition::ConditionFields;
use crate::document::Document;
use crate::error::Problem;
use crate::matcher::{AddressMatcher, DomainMatcher, OneOrMore, TextMatcher};
use crate::path::KeyPath;
use crate::types::{Id, OneLine, RateText, Seconds, Tag, Version};
use crate::yaml::Value;

/// Everything that `smtpd-policy.yaml` says, as it is written.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["version"]))]
pub struct PolicyDocument {
    /// Version of the configuration language, `"5.0"` to `"6.99"`. All are treated alike.
    pub version: Version,
    /// How rates are counted.
    pub rate: RateSection,
    /// Policies. Those that apply to a delivery must all let it pass.
    pub policies: Vec<PolicyEntry>,
}

/// How rates are counted.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RateSection {
    /// A bucket that is refilled all the time, or at most so many in each window.
    pub algorithm: RateAlgorithm,
}

/// How rates are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RateAlgorithm {
    /// A bucket of as many messages as the rate names, refilled all the time.
    #[default]
    TokenBucket,
    /// At most so many messages in a window that begins with the first of them.
    FixedWindow,
}

/// A policy: one counter for each tuple of values of its fields.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PolicyEntry {
    /// A name for people.
    pub name: Option<OneLine>,
    /// The same.
    pub id: Option<Id>,
    /// Fields that name the counter, each by its name, or as a map from its name to groups of its values. Empty: one counter for everything.
    pub fields: Vec<PolicyField>,
    /// Limits for some values of the fields; the first that matches counts.
    pub conditions: Vec<PolicyCondition>,
    /// Limits if no condition matches. Absent: none.
    #[serde(rename = "default")]
    pub fallback: Option<PolicyLimits>,
}

/// A field of a policy.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum PolicyField {
    /// By its name.
    Plain(FieldName),
    /// With groups of its values.
    Grouped(Box<GroupedField>),
}

/// The name of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FieldName {
    /// The tenant of the message.
    TenantId,
    /// The job of the message.
    JobId,
    /// The transport.
    TransportId,
    /// The address of this machine.
    LocalIp,
    /// The destination's group.
    Grouping,
    /// The address of the peer.
    RemoteIp,
    /// The host name of the peer.
    RemoteMx,
    /// The domain of the recipient.
    RecipientDomain,
}

/// Groups of values by name.
type Groups<M> = Option<BTreeMap<String, Vec<M>>>;

/// A field with groups of its values: one key. Values of a group share a counter, which conditions call `#name`; of groups that overlap the first counts.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GroupedField {
    /// Groups of tenants.
    pub tenantid: Groups<TextMatcher>,
    /// Groups of jobs.
    pub jobid: Groups<TextMatcher>,
    /// Groups of transports.
    pub transportid: Groups<TextMatcher>,
    /// Groups of addresses of this machine.
    pub localip: Groups<AddressMatcher>,
    /// Groups of destinations' groups.
    pub grouping: Groups<DomainMatcher>,
    /// Groups of peers' addresses.
    pub remoteip: Groups<AddressMatcher>,
    /// Groups of peers' host names.
    pub remotemx: Groups<DomainMatcher>,
    /// Groups of recipients' domains.
    pub recipientdomain: Groups<DomainMatcher>,
}

/// Limits for some values of a policy's fields.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PolicyCondition {
    /// The values: every field that is given must match.
    #[serde(rename = "if")]
    pub fields: ConditionFields,
    /// The limits.
    pub then: PolicyLimits,
}

/// Limits of a counter, and what goes with them.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PolicyLimits {
    /// Deliveries at once; 0 for none at all. Absent: any number.
    pub concurrency: Option<u32>,
    /// Messages in a time: a number for each second, or `count/seconds`. Absent: any number.
    pub rate: Option<RateLimit>,
    /// Seconds from one new connection to the next. Absent: none.
    pub connectinterval: Option<Seconds>,
    /// A label, shown to postdelivery and in lists.
    pub tag: Option<Tag>,
    /// Leave later policies out where this applies.
    pub stop: bool,
    /// Divide the limits among the hosts of a cluster; a host alone has them whole.
    pub cluster: Option<bool>,
    /// Values that postdelivery sees.
    pub properties: BTreeMap<String, PropertyValue>,
}

/// Messages in a time.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum RateLimit {
    /// For each second.
    PerSecond(u32),
    /// `count/seconds`.
    Written(RateText),
}

/// A value for scripts.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum PropertyValue {
    /// True or false.
    Boolean(bool),
    /// A number.
    Number(f64),
    /// A text.
    Text(String),
}

/// Everything that `smtpd-suspend.yaml` says, as it is written.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["version"]))]
pub struct SuspendDocument {
    /// Version of the configuration language, `"5.0"` to `"6.99"`. All are treated alike.
    pub version: Version,
    /// Suspends. A delivery that one of them matches waits.
    pub suspends: Vec<SuspendEntry>,
}

/// A suspend: every field that is given must match. Without any everything waits.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SuspendEntry {
    /// The tenant of the message.
    pub tenantid: Option<OneOrMore<TextMatcher>>,
    /// The job of the message.
    pub jobid: Option<OneOrMore<TextMatcher>>,
    /// The transport.
    pub transportid: Option<OneOrMore<TextMatcher>>,
    /// The address of this machine. A delivery with several waits if each is suspended.
    pub localip: Option<OneOrMore<AddressMatcher>>,
    /// The destination's group, with `&` in front of its id.
    pub grouping: Option<OneOrMore<DomainMatcher>>,
    /// The address of the peer.
    pub remoteip: Option<OneOrMore<AddressMatcher>>,
    /// The host name of the peer.
    pub remotemx: Option<OneOrMore<DomainMatcher>>,
    /// The domain of the recipient.
    pub recipientdomain: Option<OneOrMore<DomainMatcher>>,
    /// A label, shown in lists.
    pub tag: Option<Tag>,
    /// Values for scripts and operators.
    pub properties: BTreeMap<String, PropertyValue>,
}

/// Reads `count` or `count/seconds`.
///
/// # Errors
/// A sentence without a subject.
pub fn parse_rate(text: &str) -> Result<Rate, String> {
    let wrong = || "must be a number for each second, or `count/seconds` such as 100/60".to_owned();
    let (count, interval) = text.split_once('/').unwrap_or((text, "1"));
    let count = count.trim().parse().map_err(|_| wrong())?;
    let interval: f64 = interval.trim().parse().map_err(|_| wrong())?;
    match Duration::try_from_secs_f64(interval) {
        Ok(interval) if !interval.is_zero() => Ok(Rate { count, interval }),
        _ => Err(wrong()),
    }
}

impl RateLimit {
    fn rate(&self) -> Rate {
        match self {
            RateLimit::PerSecond(count) => Rate {
                count: *count,
                interval: Duration::from_secs(1),
            },
            RateLimit::Written(text) => text.rate(),
        }
    }
}

impl FieldName {
    fn field(self) -> Field {
        match self {
            FieldName::TenantId => Field::TenantId,
            FieldName::JobId => Field::JobId,
            FieldName::TransportId => Field::TransportId,
            FieldName::LocalIp => Field::LocalIp,
            FieldName::Grouping => Field::Grouping,
            FieldName::RemoteIp => Field::RemoteIp,
            FieldName::RemoteMx => Field::RemoteMx,
            FieldName::RecipientDomain => Field::RecipientDomain,
        }
    }
}

type NamedGroups = BTreeMap<String, Vec<Pattern>>;

impl GroupedField {
    /// The keys that are given.
    fn given(&self) -> Vec<(Field, NamedGroups)> {
        fn patterns<M: AsRef<Pattern>>(groups: &Groups<M>) -> Option<NamedGroups> {
            let groups = groups.as_ref()?.iter();
            let each = groups.map(|(name, list)| {
                let patterns = list.iter().map(AsRef::as_ref).cloned();
                (name.clone(), patterns.collect())
            });
            Some(each.collect())
        }
        let all = [
            (Field::TenantId, patterns(&self.tenantid)),
            (Field::JobId, patterns(&self.jobid)),
            (Field::TransportId, patterns(&self.transportid)),
            (Field::LocalIp, patterns(&self.localip)),
            (Field::Grouping, patterns(&self.grouping)),
            (Field::RemoteIp, patterns(&self.remoteip)),
            (Field::RemoteMx, patterns(&self.remotemx)),
            (Field::RecipientDomain, patterns(&self.recipientdomain)),
        ];
        let given = all.into_iter();
        given
            .filter_map(|(field, groups)| Some((field, groups?)))
            .collect()
    }
}

impl SuspendEntry {
    fn fields(&self) -> ConditionFields {
        let entry = self.clone();
        ConditionFields {
            tenantid: entry.tenantid,
            jobid: entry.jobid,
            transportid: entry.transportid,
            localip: entry.localip,
            grouping: entry.grouping,
            remoteip: entry.remoteip,
            remotemx: entry.remotemx,
            recipientdomain: entry.recipientdomain,
        }
    }
}

fn properties(written: &BTreeMap<String, PropertyValue>) -> Vec<(Text, Property)> {
    let each = written.iter().map(|(name, value)| {
        let value = match value {
            PropertyValue::Boolean(value) => Property::Boolean(*value),
            PropertyValue::Number(value) => Property::Number(*value),
            PropertyValue::Text(value) => Property::Text(value.as_str().into()),
        };
        (Text::from(name.as_str()), value)
    });
    each.collect()
}

fn text(value: &Option<impl fmt::Display>) -> Option<Text> {
    value.as_ref().map(|value| Text::from(value.to_string()))
}

impl Checker<'_, '_> {
    /// The policies, for what the file says.
    pub fn policies(&mut self, written: &PolicyDocument, lists: &Lists) -> Vec<PolicySpec> {
        let path = KeyPath::root().key("policies");
        let entries = written.policies.iter().enumerate();
        entries
            .map(|(index, entry)| self.policy(&path.index(index), entry, lists))
            .collect()
    }

    fn policy(&mut self, path: &KeyPath, written: &PolicyEntry, lists: &Lists) -> PolicySpec {
        let mut spec = PolicySpec {
            name: text(&written.name).or_else(|| text(&written.id)),
            default: (written.fallback.as_ref())
                .map(|limits| block(self.document, &path.key("default"), limits)),
            ..PolicySpec::default()
        };
        for (index, field) in written.fields.iter().enumerate() {
            let path = path.key("fields").index(index);
            let field = match field {
                PolicyField::Plain(name) => FieldSpec {
                    field: name.field(),
                    groups: Vec::new(),
                },
                PolicyField::Grouped(groups) => match self.grouped(&path, groups) {
                    Some(field) => field,
                    None => continue,
                },
            };
            spec.fields.push(field);
            if let Err(error) = usable(&spec, lists) {
                self.error(&path, Problem::Invalid(predicate(&error)));
                spec.fields.pop();
            }
        }
        for (index, condition) in written.conditions.iter().enumerate() {
            let path = path.key("conditions").index(index);
            let condition = ConditionSpec {
                when: when(&condition.fields),
                then: block(self.document, &path.key("then"), &condition.then),
            };
            let alone = PolicySpec {
                fields: spec.fields.clone(),
                conditions: vec![condition.clone()],
                ..PolicySpec::default()
            };
            match usable(&alone, lists) {
                Ok(()) => spec.conditions.push(condition),
                Err(error) => self.unusable(&path.key("if"), &error),
            }
        }
        spec
    }

    /// A field with groups, in the order in which the file has them.
    fn grouped(&mut self, path: &KeyPath, written: &GroupedField) -> Option<FieldSpec> {
        let mut given = written.given();
        let (1, Some((field, mut groups))) = (given.len(), given.pop()) else {
            let text = "must be the name of a field, or a map with one key: the name of a field";
            self.error(path, Problem::Invalid(text.to_owned()));
            return None;
        };
        let order = self.document.at(&path.key(field.name()));
        let order = match order.map(|node| &node.value) {
            Some(Value::Map(entries)) => entries.iter().map(|entry| entry.key.clone()).collect(),
            _ => Vec::new(),
        };
        let groups = order
            .into_iter()
            .filter_map(|name| Some((Text::from(name.as_str()), groups.remove(&name)?)));
        Some(FieldSpec {
            field,
            groups: groups.collect(),
        })
    }

    /// The suspends, for what the file says.
    pub fn suspends(&mut self, written: &SuspendDocument, lists: &Lists) -> Vec<SuspendSpec> {
        let mut suspends = Vec::new();
        for (index, entry) in written.suspends.iter().enumerate() {
            let path = KeyPath::root().key("suspends").index(index);
            let suspend = SuspendSpec {
                when: when(&entry.fields()),
                tag: text(&entry.tag),
                properties: properties(&entry.properties).into(),
                origin: Text::from(self.document.place(&path)),
            };
            let alone = Policies::new(Setup {
                suspends: vec![suspend.clone()],
                lists: lists.clone(),
                ..Setup::default()
            });
            match alone {
                Ok(_) => suspends.push(suspend),
                Err(error) => self.unusable(&path, &error),
            }
        }
        suspends
    }

    /// Reports what is wrong with a condition, at the field that it is about.
    fn unusable(&mut self, path: &KeyPath, error: &PolicyError) {
        let field = match error {
            PolicyError::Pattern { field, .. } | PolicyError::NoGroup { field, .. } => Some(field),
            PolicyError::NotAField(field) | PolicyError::GroupOutside(field) => Some(field),
            PolicyError::Twice(_) | PolicyError::TooMany(_) => None,
        };
        let path = field.map_or_else(|| path.clone(), |field| path.key(field.name()));
        self.error(&path, Problem::Invalid(predicate(error)));
    }
}

/// What is wrong, without the field: the path names it already.
fn predicate(error: &PolicyError) -> String {
    let text = error.to_string();
    match text.split_once(": ") {
        Some((_, rest)) => rest.to_owned(),
        None => text,
    }
}

fn when(fields: &ConditionFields) -> When {
    let given = fields.given().into_iter();
    given
        .map(|((_, field), patterns, _)| (field, patterns))
        .collect()
}

fn block(document: &Document, path: &KeyPath, written: &PolicyLimits) -> Block {
    Block {
        limits: Limits {
            concurrency: written.concurrency,
            rate: written.rate.as_ref().map(RateLimit::rate),
            connect_interval: written.connectinterval.map(|interval| *interval),
        },
        tag: text(&written.tag),
        stop: Some(written.stop),
        properties: properties(&written.properties).into(),
        origin: Text::from(document.place(path)),
    }
}

fn usable(spec: &PolicySpec, lists: &Lists) -> Result<(), PolicyError> {
    Policies::new(Setup {
        policies: vec![spec.clone()],
        lists: lists.clone(),
        ..Setup::default()
    })
    .map(drop)
}

impl From<RateAlgorithm> for Algorithm {
    fn from(from: RateAlgorithm) -> Self {
        match from {
            RateAlgorithm::TokenBucket => Algorithm::TokenBucket,
            RateAlgorithm::FixedWindow => Algorithm::FixedWindow,
        }
    }
}
