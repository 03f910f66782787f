//! Conditions on a delivery: which values of its fields a rule is for.
//!
//! The eight fields are those of policies, suspends and delivery settings. [`ConditionFields`] is
//! what stands in a file, [`Condition`] what it becomes with the lists of `queues.lists`, and
//! [`Fields`] what it is asked about.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::check::Checker;
use crate::error::Problem;
use crate::matcher::{
    AddressMatcher, AddressSet, DomainMatcher, NameSet, OneOrMore, Set, TextMatcher,
};
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

/// A delivery, as conditions see it.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs, reason = "the fields are those of conditions")]
pub struct Fields<'a> {
    pub tenantid: Option<&'a str>,
    pub jobid: Option<&'a str>,
    pub transportid: &'a str,
    pub localip: Option<IpAddr>,
    pub grouping: Option<&'a str>,
    pub remoteip: Option<IpAddr>,
    pub remotemx: Option<&'a str>,
    pub recipientdomain: &'a str,
}

/// A condition, ready to be asked.
#[derive(Debug, Clone, Default)]
pub struct Condition {
    tenantid: Option<NameSet>,
    jobid: Option<NameSet>,
    transportid: Option<NameSet>,
    localip: Option<AddressSet>,
    grouping: Option<NameSet>,
    remoteip: Option<AddressSet>,
    remotemx: Option<NameSet>,
    recipientdomain: Option<NameSet>,
}

impl Condition {
    /// Whether a delivery is meant. A field that the delivery does not have matches nothing.
    #[must_use]
    pub fn matches(&self, fields: &Fields<'_>) -> bool {
        text(self.tenantid.as_ref(), fields.tenantid)
            && text(self.jobid.as_ref(), fields.jobid)
            && text(self.transportid.as_ref(), Some(fields.transportid))
            && address(self.localip.as_ref(), fields.localip)
            && address(self.remoteip.as_ref(), fields.remoteip)
            && domain(self.grouping.as_ref(), fields.grouping)
            && domain(self.remotemx.as_ref(), fields.remotemx)
            && domain(self.recipientdomain.as_ref(), Some(fields.recipientdomain))
    }
}

fn text(set: Option<&NameSet>, value: Option<&str>) -> bool {
    set.is_none_or(|set| value.is_some_and(|value| set.contains(value)))
}

fn domain(set: Option<&NameSet>, value: Option<&str>) -> bool {
    set.is_none_or(|set| value.is_some_and(|value| set.contains_domain(value)))
}

fn address(set: Option<&AddressSet>, value: Option<IpAddr>) -> bool {
    set.is_none_or(|set| value.is_some_and(|value| set.contains(value)))
}

/// The named lists of one field.
type Named<S> = BTreeMap<String, Arc<S>>;

/// The lists of `queues.lists`, ready to be used.
#[derive(Debug, Default)]
pub(crate) struct Lists {
    names: BTreeMap<&'static str, Named<NameSet>>,
    addresses: BTreeMap<&'static str, Named<AddressSet>>,
}

/// How the values of a field are compared.
#[derive(Clone, Copy)]
enum Kind {
    Text,
    Domain,
    Address,
}

/// The fields of conditions.
const FIELDS: &[(&str, Kind)] = &[
    ("tenantid", Kind::Text),
    ("jobid", Kind::Text),
    ("transportid", Kind::Text),
    ("localip", Kind::Address),
    ("grouping", Kind::Domain),
    ("remoteip", Kind::Address),
    ("remotemx", Kind::Domain),
    ("recipientdomain", Kind::Domain),
];

impl Checker<'_, '_> {
    /// Takes `queues.lists`: field to name to values.
    pub fn lists(&mut self, written: &BTreeMap<String, BTreeMap<String, Vec<String>>>) -> Lists {
        let mut lists = Lists::default();
        for (field, named) in written {
            let path = KeyPath::root().keys(&["queues", "lists", field]);
            let Some((field, kind)) = FIELDS.iter().find(|(name, _)| name == field) else {
                let known: Vec<&str> = FIELDS.iter().map(|(name, _)| *name).collect();
                let text = format!("names no field: lists are for {}", known.join(", "));
                self.error(&path, Problem::Invalid(text));
                continue;
            };
            for (name, values) in named {
                let path = path.key(name);
                let (texts, domains, addresses) = match kind {
                    Kind::Text => (Some(self.list::<TextMatcher, _>(&path, values)), None, None),
                    Kind::Domain => (
                        None,
                        Some(self.list::<DomainMatcher, _>(&path, values)),
                        None,
                    ),
                    Kind::Address => (None, None, Some(self.list(&path, values))),
                };
                if let Some(set) = texts.or(domains) {
                    let named = lists.names.entry(field).or_default();
                    named.insert(name.clone(), Arc::new(set));
                }
                if let Some(set) = addresses {
                    let named = lists.addresses.entry(field).or_default();
                    named.insert(name.clone(), Arc::new(set));
                }
            }
        }
        lists
    }

    fn list<M: std::str::FromStr<Err = String>, S: Set<M>>(
        &mut self,
        path: &KeyPath,
        values: &[String],
    ) -> S {
        let mut set = S::default();
        for (index, value) in values.iter().enumerate() {
            let wrong = match value.parse::<M>() {
                Ok(matcher) if S::list_of(&matcher).is_none() => {
                    set.add(matcher);
                    continue;
                }
                Ok(_) => "names a list; a list holds values only".to_owned(),
                Err(reason) => format!("{reason} (it is {value:?})"),
            };
            self.error(&path.index(index), Problem::Invalid(wrong));
        }
        set
    }

    /// Makes a condition of what stands at `path`.
    pub fn condition(
        &mut self,
        path: &KeyPath,
        written: &ConditionFields,
        lists: &Lists,
    ) -> Condition {
        let (names, addresses) = (&lists.names, &lists.addresses);
        Condition {
            tenantid: self.field(path, "tenantid", &written.tenantid, names),
            jobid: self.field(path, "jobid", &written.jobid, names),
            transportid: self.field(path, "transportid", &written.transportid, names),
            localip: self.field(path, "localip", &written.localip, addresses),
            grouping: self.field(path, "grouping", &written.grouping, names),
            remoteip: self.field(path, "remoteip", &written.remoteip, addresses),
            remotemx: self.field(path, "remotemx", &written.remotemx, names),
            recipientdomain: self.field(path, "recipientdomain", &written.recipientdomain, names),
        }
    }

    fn field<M: Clone, S: Set<M>>(
        &mut self,
        path: &KeyPath,
        field: &'static str,
        written: &Option<OneOrMore<M>>,
        lists: &BTreeMap<&'static str, Named<S>>,
    ) -> Option<S> {
        let written = written.as_ref()?;
        let lists = lists.get(field);
        let mut set = S::default();
        for (index, matcher) in written.as_slice().iter().enumerate() {
            let Some(name) = S::list_of(matcher) else {
                set.add(matcher.clone());
                continue;
            };
            match lists.and_then(|lists| lists.get(name)) {
                Some(list) => set.add_list(Arc::clone(list)),
                None => {
                    let at = path.key(field);
                    let at = match written {
                        OneOrMore::One(_) => at,
                        OneOrMore::More(_) => at.index(index),
                    };
                    let known = lists.into_iter().flat_map(|lists| lists.keys());
                    self.unresolved(&at, "list", name, known.map(String::as_str));
                }
            }
        }
        Some(set)
    }
}
