//! Groups of destinations: `queues.grouping`, ready to be asked.
//!
//! A destination is in the first group of which one of its fields names it. Policies, settings by
//! destination and the reuse of connections see the group's id with `&` in front.

use std::net::IpAddr;

use angarium_queue::gate::Field;
use angarium_queue::matcher::{FieldValue, Lists, Matcher};
use angarium_queue::text::Text;

use crate::check::Checker;
use crate::error::Problem;
use crate::path::KeyPath;
use crate::running::{Grouping, GroupingDefault};

/// The groups in force.
#[derive(Debug, Clone, Default)]
pub struct Groupings {
    groups: Vec<Group>,
    fallback: GroupingDefault,
}

#[derive(Debug, Clone)]
struct Group {
    /// The id with `&` in front.
    name: Text,
    matchers: Vec<(Field, Matcher)>,
}

impl Groupings {
    /// The value of the field `grouping` for a destination.
    #[must_use]
    pub fn of(&self, remotemx: &Text, remoteip: IpAddr, recipientdomain: &Text) -> Option<Text> {
        let is_in = |(field, matcher): &(Field, Matcher)| {
            matcher.matches(match field {
                Field::RemoteIp => FieldValue::Address(remoteip),
                Field::RemoteMx => FieldValue::Text(remotemx),
                _ => FieldValue::Text(recipientdomain),
            })
        };
        let mut groups = self.groups.iter();
        if let Some(group) = groups.find(|group| group.matchers.iter().any(is_in)) {
            return Some(group.name.clone());
        }
        match self.fallback {
            GroupingDefault::None => None,
            GroupingDefault::RemoteMx => Some(remotemx.to_ascii_lowercase()),
            GroupingDefault::RecipientDomain => Some(recipientdomain.to_ascii_lowercase()),
        }
    }

    /// Whether no destination has a group.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty() && self.fallback == GroupingDefault::None
    }
}

impl Checker<'_, '_> {
    /// The groups in force, for what `queues.grouping` says.
    pub fn groupings(&mut self, written: &Grouping, lists: &Lists) -> Groupings {
        let path = KeyPath::root().keys(&["queues", "grouping", "groupings"]);
        let mut groups = Vec::new();
        for (index, entry) in written.groupings.iter().enumerate() {
            let path = path.index(index);
            let fields = [
                self.matcher(&path, "remotemx", Field::RemoteMx, &entry.remotemx, lists),
                self.matcher(
                    &path,
                    "recipientdomain",
                    Field::RecipientDomain,
                    &entry.recipientdomain,
                    lists,
                ),
                self.matcher(&path, "remoteip", Field::RemoteIp, &entry.remoteip, lists),
            ];
            let matchers: Vec<_> = fields.into_iter().flatten().collect();
            if matchers.is_empty() {
                let text = "has nobody in it: give `remotemx`, `recipientdomain` or `remoteip`";
                self.error(&path, Problem::Invalid(text.to_owned()));
            }
            groups.push(Group {
                name: Text::from(format!("&{}", entry.id)),
                matchers,
            });
        }
        Groupings {
            groups,
            fallback: written.fallback,
        }
    }
}
