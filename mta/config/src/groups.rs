//! Transports in groups: what each inherits, and what they refer to.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde_json::{Map, Value as Json};

use crate::check::Checker;
use crate::error::Problem;
use crate::path::KeyPath;
use crate::pki::KeyPair;
use crate::running::RunningDocument;
use crate::transport::Transport;
use crate::types::Id;
use crate::yaml::Node;

impl Checker<'_, '_> {
    /// The transports of all groups, each with what it inherits.
    pub fn transports(&mut self) -> BTreeMap<Id, Transport> {
        let mut found = Vec::new();
        let mut groups = BTreeSet::new();
        let list = self.document.root.get("transportgroups");
        let path = KeyPath::root().key("transportgroups");
        for (index, group) in list.into_iter().flat_map(Node::items).enumerate() {
            self.group(
                group,
                &path.index(index),
                &Map::new(),
                &mut groups,
                &mut found,
            );
        }
        let mut transports = BTreeMap::new();
        for (path, settings) in found {
            match serde_json::from_value::<Transport>(Json::Object(settings)) {
                Ok(transport) => {
                    let id = transport.id.clone();
                    if transports.insert(id.clone(), transport).is_some() {
                        let what = "the ids of transports, in all groups together,";
                        self.error(
                            &path.key("id"),
                            Problem::Duplicate {
                                id: id.to_string(),
                                what,
                            },
                        );
                    }
                }
                Err(error) => self.error(&path, Problem::Invalid(error.to_string())),
            }
        }
        transports
    }

    /// Collects the transports of a group and of the groups in it. The depth of a tree is bounded.
    fn group(
        &mut self,
        group: &Node,
        path: &KeyPath,
        inherited: &Map<String, Json>,
        groups: &mut BTreeSet<String>,
        found: &mut Vec<(KeyPath, Map<String, Json>)>,
    ) {
        if let Some(id) = group.get("id").and_then(Node::text)
            && !groups.insert(id.to_owned())
        {
            let what = "the ids of groups";
            self.error(
                &path.key("id"),
                Problem::Duplicate {
                    id: id.to_owned(),
                    what,
                },
            );
        }
        let common = inherit(inherited, group);
        for (index, transport) in group
            .get("transports")
            .into_iter()
            .flat_map(Node::items)
            .enumerate()
        {
            let mut settings = inherit(&common, transport);
            if let Some(id) = transport.get("id").and_then(Node::text) {
                settings.insert("id".to_owned(), id.into());
            }
            found.push((path.key("transports").index(index), settings));
        }
        let below = path.key("transportgroups");
        for (index, inner) in group
            .get("transportgroups")
            .into_iter()
            .flat_map(Node::items)
            .enumerate()
        {
            self.group(inner, &below.index(index), &common, groups, found);
        }
    }

    /// Everything that groups and transports refer to, each where it is written.
    pub fn transport_references(
        &mut self,
        document: &RunningDocument,
        transports: &BTreeMap<Id, Transport>,
        pki: &BTreeMap<Id, KeyPair>,
    ) {
        let mut open: Vec<(&Node, KeyPath)> = Vec::new();
        let root = &self.document.root;
        children(root, &KeyPath::root(), &["transportgroups"], &mut open);
        while let Some((node, path)) = open.pop() {
            children(node, &path, &["transports", "transportgroups"], &mut open);
            if let Some(id) = node.at(&["dsn", "transport"]).and_then(Node::text)
                && !transports.contains_key(id)
            {
                let at = path.keys(&["dsn", "transport"]);
                self.unresolved(&at, "transport", id, transports.keys().map(|id| &**id));
            }
            let clientcert = ["session", "tls", "clientcert"];
            if let Some(id) = node.at(&clientcert).and_then(Node::text) {
                self.pki_reference(&path.keys(&clientcert), id, pki);
            }
            let dkim = ["dsn", "dkim", "key"];
            if let Some(id) = node.at(&dkim).and_then(Node::text) {
                self.key_reference(&path.keys(&dkim), id, pki);
            }
            let pool = path.keys(&["connection", "sourceip", "addresses"]);
            let sources = node.at(&["connection", "sourceip", "addresses"]);
            for (index, source) in sources.into_iter().flat_map(Node::items).enumerate() {
                let Some(id) = source.text() else { continue };
                let known = document.addresses.iter().any(|address| &*address.id == id);
                if !known && id.parse::<IpAddr>().is_err() {
                    let names = document.addresses.iter().map(|address| &*address.id);
                    self.unresolved(&pool.index(index), "address", id, names);
                }
            }
        }
        for transport in transports.values() {
            let source = &transport.connection.sourceip;
            if !source.ipv4 && !source.ipv6 {
                let text = format!(
                    "leaves transport {:?} no address family: IPv4 and IPv6 are both off",
                    &*transport.id
                );
                self.error(
                    &KeyPath::root().key("transportgroups"),
                    Problem::Invalid(text),
                );
            }
        }
    }
}

/// Adds the items of lists of a node.
fn children<'n>(
    node: &'n Node,
    path: &KeyPath,
    lists: &[&str],
    open: &mut Vec<(&'n Node, KeyPath)>,
) {
    for list in lists {
        for (index, item) in node.get(list).into_iter().flat_map(Node::items).enumerate() {
            open.push((item, path.key(list).index(index)));
        }
    }
}

/// The settings of a group or transport, over those that it inherits.
fn inherit(inherited: &Map<String, Json>, node: &Node) -> Map<String, Json> {
    let mut settings = inherited.clone();
    let Json::Object(own) = node.to_json() else {
        return settings;
    };
    let structure = ["id", "transports", "transportgroups"];
    for (key, value) in own
        .into_iter()
        .filter(|(key, _)| !structure.contains(&key.as_str()))
    {
        // `hold: true` is short for a map, and maps are put together key by key.
        let value = match (key.as_str(), value) {
            ("hold", Json::Bool(on)) => serde_json::json!({ "enabled": on }),
            (_, value) => value,
        };
        overlay(&mut settings, key, value);
    }
    settings
}

fn overlay(settings: &mut Map<String, Json>, key: String, value: Json) {
    match (settings.get_mut(&key), value) {
        (Some(Json::Object(below)), Json::Object(own)) => {
            own.into_iter()
                .for_each(|(key, value)| overlay(below, key, value));
        }
        (_, value) => drop(settings.insert(key, value)),
    }
}
