//! Conditions on a delivery: which values of its fields a rule is for.
//!
//! [`ConditionFields`] is what stands in a file, [`Condition`] what it becomes with the lists of
//! `queues.lists`, and [`Fields`] what it is asked about.

use std::collections::BTreeMap;
use std::net::IpAddr;

use angarium_queue::gate::Field;
use angarium_queue::matcher::{FieldValue, Lists, Matcher, Pattern, PatternError};
use angarium_queue::text::Text;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::check::Checker;
use crate::error::Problem;
use crate::matcher::{AddressMatcher, DomainMatcher, OneOrMore, TextMatcher};
use crate::path::KeyPath;

/// The fields of a condition, each with the values that it may have. All that are given must match.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ConditionFields {
    /// The tenant of the message.
    pub tenantid: Option<OneOrMore<TextMatcher>>,
    /// The job of the message.
    pub jobid: Option<OneOrMore<TextMatcher>>,
    /// The transport.
    pub transportid: Option<OneOrMore<TextMatcher>>,
    /// The address of this machine, if one was chosen.
    pub localip: Option<OneOrMore<AddressMatcher>>,
    /// The destination's group, with `&` in front of its id.
    pub grouping: Option<OneOrMore<DomainMatcher>>,
    /// The address of the peer.
    pub remoteip: Option<OneOrMore<AddressMatcher>>,
    /// The host name of the peer.
    pub remotemx: Option<OneOrMore<DomainMatcher>>,
    /// The domain of the recipient.
    pub recipientdomain: Option<OneOrMore<DomainMatcher>>,
}

impl ConditionFields {
    /// The fields that are given: name, patterns, and whether they are written as a list.
    pub(crate) fn given(&self) -> Vec<(Named, Vec<Pattern>, bool)> {
        let mut given = Vec::new();
        for (named, field) in FIELDS.iter().zip([
            patterns(&self.tenantid),
            patterns(&self.jobid),
            patterns(&self.transportid),
            patterns(&self.localip),
            patterns(&self.grouping),
            patterns(&self.remoteip),
            patterns(&self.remotemx),
            patterns(&self.recipientdomain),
        ]) {
            if let Some((patterns, list)) = field {
                given.push((*named, patterns, list));
            }
        }
        given
    }
}

fn patterns<M: AsRef<Pattern>>(matchers: &Option<OneOrMore<M>>) -> Option<(Vec<Pattern>, bool)> {
    let matchers = matchers.as_ref()?;
    let patterns = matchers.as_slice().iter().map(AsRef::as_ref).cloned();
    Some((patterns.collect(), matches!(matchers, OneOrMore::More(_))))
}

/// A field by its name in files.
type Named = (&'static str, Field);

/// The fields, in the order of [`ConditionFields`].
const FIELDS: [Named; 8] = [
    ("tenantid", Field::TenantId),
    ("jobid", Field::JobId),
    ("transportid", Field::TransportId),
    ("localip", Field::LocalIp),
    ("grouping", Field::Grouping),
    ("remoteip", Field::RemoteIp),
    ("remotemx", Field::RemoteMx),
    ("recipientdomain", Field::RecipientDomain),
];

/// A delivery, as conditions see it.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs, reason = "the fields are those of conditions")]
pub struct Fields<'a> {
    pub tenantid: Option<&'a Text>,
    pub jobid: Option<&'a Text>,
    pub transportid: &'a Text,
    pub localip: Option<IpAddr>,
    pub grouping: Option<&'a Text>,
    pub remoteip: Option<IpAddr>,
    pub remotemx: Option<&'a Text>,
    pub recipientdomain: &'a Text,
}

impl<'a> Fields<'a> {
    fn value(&self, field: Field) -> Option<FieldValue<'a>> {
        match field {
            Field::TenantId => self.tenantid.map(FieldValue::Text),
            Field::JobId => self.jobid.map(FieldValue::Text),
            Field::TransportId => Some(FieldValue::Text(self.transportid)),
            Field::LocalIp => self.localip.map(FieldValue::Address),
            Field::Grouping => self.grouping.map(FieldValue::Text),
            Field::RemoteIp => self.remoteip.map(FieldValue::Address),
            Field::RemoteMx => self.remotemx.map(FieldValue::Text),
            Field::RecipientDomain => Some(FieldValue::Text(self.recipientdomain)),
        }
    }
}

/// A condition, ready to be asked.
#[derive(Debug, Clone, Default)]
pub struct Condition(Vec<(Field, Matcher)>);

impl Condition {
    /// Whether a delivery is meant. A field that the delivery does not have matches nothing.
    #[must_use]
    pub fn matches(&self, fields: &Fields<'_>) -> bool {
        self.0.iter().all(|(field, matcher)| {
            let value = fields.value(*field);
            value.is_some_and(|value| matcher.matches(value))
        })
    }
}

impl Checker<'_, '_> {
    /// Takes `queues.lists`: field to name to values.
    pub fn lists(&mut self, written: &BTreeMap<String, BTreeMap<String, Vec<String>>>) -> Lists {
        let mut lists = Lists::default();
        for (field, named) in written {
            let path = KeyPath::root().keys(&["queues", "lists", field]);
            let Some((_, field)) = FIELDS.iter().find(|(name, _)| name == field) else {
                let known = FIELDS.map(|(name, _)| name).join(", ");
                let text = format!("names no field: lists are for {known}");
                self.error(&path, Problem::Invalid(text));
                continue;
            };
            for (name, values) in named {
                let path = path.key(name);
                let mut good = Vec::new();
                for (index, value) in values.iter().enumerate() {
                    let wrong = match Pattern::parse(*field, value) {
                        Ok(Pattern::List(_) | Pattern::Group(_)) => {
                            PatternError::NestedList(value.clone())
                        }
                        Ok(_) => {
                            good.push(value.as_str());
                            continue;
                        }
                        Err(error) => error,
                    };
                    let problem = Problem::Invalid(wrong.to_string());
                    self.error(&path.index(index), problem);
                }
                if let Err(error) = lists.add(*field, name, good) {
                    self.error(&path, Problem::Invalid(error.to_string()));
                }
            }
        }
        lists
    }

    /// Makes a condition of what stands at `path`.
    pub fn condition(
        &mut self,
        path: &KeyPath,
        written: &ConditionFields,
        lists: &Lists,
    ) -> Condition {
        let mut condition = Condition::default();
        for ((name, field), patterns, is_list) in written.given() {
            let matcher = self.patterns(&path.key(name), field, &patterns, is_list, lists);
            condition.0.extend(matcher.map(|matcher| (field, matcher)));
        }
        condition
    }

    /// The matcher of the key `name` below `path`, which holds a list; none if it is empty.
    pub fn matcher<M: AsRef<Pattern>>(
        &mut self,
        path: &KeyPath,
        name: &str,
        field: Field,
        written: &[M],
        lists: &Lists,
    ) -> Option<(Field, Matcher)> {
        if written.is_empty() {
            return None;
        }
        let patterns: Vec<Pattern> = written.iter().map(AsRef::as_ref).cloned().collect();
        let matcher = self.patterns(&path.key(name), field, &patterns, true, lists);
        // What is wrong was said; another complaint about an empty entry would not help.
        Some((field, matcher.unwrap_or_default()))
    }

    /// Makes a matcher of what stands at `path`; none if something is wrong with it.
    fn patterns(
        &mut self,
        path: &KeyPath,
        field: Field,
        patterns: &[Pattern],
        is_list: bool,
        lists: &Lists,
    ) -> Option<Matcher> {
        let before = self.loader.errors.len();
        for (index, pattern) in patterns.iter().enumerate() {
            let text = match pattern {
                // Each by itself first, so that the one that is missing is named.
                Pattern::List(_) => {
                    let one = Matcher::new(field, std::slice::from_ref(pattern), lists);
                    one.err().map(|error| error.to_string())
                }
                Pattern::Group(group) => Some(format!(
                    "names `#{group}`: such a group is defined by a policy for itself, there are none here"
                )),
                _ => None,
            };
            if let Some(text) = text {
                let at = if is_list {
                    path.index(index)
                } else {
                    path.clone()
                };
                self.error(&at, Problem::Invalid(text));
            }
        }
        if self.loader.errors.len() > before {
            return None;
        }
        match Matcher::new(field, patterns, lists) {
            Ok(matcher) => Some(matcher),
            Err(error) => {
                self.error(path, Problem::Invalid(error.to_string()));
                None
            }
        }
    }
}
