//! The tree of located nodes.
//!
//! The depth of a tree is bounded by the parser, so its functions may recurse.

use std::fmt;

/// A place in a file. Both numbers start at 1; the column counts characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Line.
    pub line: usize,
    /// Column.
    pub column: usize,
}

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Where the value begins; `None` for a value that did not come out of a file.
    pub position: Option<Position>,
    /// The value.
    pub value: Value,
    /// The node is passed over: it stays in the tree only to keep the numbering of its list.
    pub dropped: bool,
}

/// A value of the core schema.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "the variants are the kinds of the core schema")]
pub enum Value {
    Null,
    Bool(bool),
    Number(serde_json::Number),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A key and its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Where the key begins.
    pub position: Option<Position>,
    /// The value.
    pub node: Node,
}

impl From<Value> for Node {
    fn from(value: Value) -> Self {
        Self {
            position: None,
            value,
            dropped: false,
        }
    }
}

impl From<&str> for Node {
    fn from(text: &str) -> Self {
        Value::Text(text.to_owned()).into()
    }
}

impl Node {
    /// An empty map.
    #[must_use]
    pub fn map() -> Self {
        Value::Map(Vec::new()).into()
    }

    /// The entry of a map. `None` also for anything but a map.
    #[must_use]
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        match &self.value {
            Value::Map(entries) => entries
                .iter()
                .find(|entry| entry.key == key && !entry.node.dropped),
            _ => None,
        }
    }

    /// The value of a key of a map. `None` also for anything but a map.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.entry(key).map(|entry| &entry.node)
    }

    /// The value at the end of a chain of keys.
    #[must_use]
    pub fn at(&self, keys: &[&str]) -> Option<&Self> {
        keys.iter().try_fold(self, |node, key| node.get(key))
    }

    /// The value of a key, which is made if it is not there. `None` for anything but a map.
    pub fn get_or_insert(&mut self, key: &str, default: Value) -> Option<&mut Self> {
        let Value::Map(entries) = &mut self.value else {
            return None;
        };
        if !entries.iter().any(|entry| entry.key == key) {
            entries.push(Entry {
                key: key.to_owned(),
                position: None,
                node: default.into(),
            });
        }
        entries
            .iter_mut()
            .find(|entry| entry.key == key)
            .map(|entry| &mut entry.node)
    }

    /// Sets the value of a key of a map; anything but a map is left alone.
    pub fn set(&mut self, key: &str, value: Self) {
        if let Some(node) = self.get_or_insert(key, Value::Null) {
            *node = value;
        }
    }

    /// Takes a key out of a map.
    pub fn remove(&mut self, key: &str) -> Option<Self> {
        let Value::Map(entries) = &mut self.value else {
            return None;
        };
        let index = entries.iter().position(|entry| entry.key == key)?;
        Some(entries.remove(index).node)
    }

    /// The text of a string.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The items of a list that are not dropped; nothing for anything but a list.
    pub fn items(&self) -> impl Iterator<Item = &Self> {
        let list = match &self.value {
            Value::List(items) => items.as_slice(),
            _ => &[],
        };
        list.iter().filter(|node| !node.dropped)
    }

    /// Says whether this is an empty list or map, or null.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match &self.value {
            Value::Null => true,
            Value::List(items) => items.is_empty(),
            Value::Map(entries) => entries.is_empty(),
            _ => false,
        }
    }

    /// The same value without places, dropped nodes left out.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(truth) => (*truth).into(),
            Value::Number(number) => serde_json::Value::Number(number.clone()),
            Value::Text(text) => text.clone().into(),
            Value::List(_) => self.items().map(Self::to_json).collect(),
            Value::Map(entries) => {
                let kept = entries.iter().filter(|entry| !entry.node.dropped);
                kept.map(|entry| (entry.key.clone(), entry.node.to_json()))
                    .collect()
            }
        }
    }

    /// A tree without places.
    #[must_use]
    pub fn from_json(json: &serde_json::Value) -> Self {
        match json {
            serde_json::Value::Null => Value::Null.into(),
            serde_json::Value::Bool(truth) => Value::Bool(*truth).into(),
            serde_json::Value::Number(number) => Value::Number(number.clone()).into(),
            serde_json::Value::String(text) => Value::Text(text.clone()).into(),
            serde_json::Value::Array(items) => {
                Value::List(items.iter().map(Self::from_json).collect()).into()
            }
            serde_json::Value::Object(entries) => {
                let entry = |(key, value): (&String, &serde_json::Value)| Entry {
                    key: key.clone(),
                    position: None,
                    node: Self::from_json(value),
                };
                Value::Map(entries.iter().map(entry).collect()).into()
            }
        }
    }

    /// Bytes and nodes of the whole tree, the measure of [`super::MAX_COPIED`].
    pub(super) fn weight(&self) -> usize {
        let below: usize = match &self.value {
            Value::Text(text) => text.len(),
            Value::List(items) => items.iter().map(Self::weight).sum(),
            Value::Map(entries) => entries
                .iter()
                .map(|entry| entry.key.len() + entry.node.weight())
                .sum(),
            _ => 0,
        };
        below + 32
    }

    /// Nodes of the whole tree.
    pub(super) fn count(&self) -> usize {
        1 + match &self.value {
            Value::List(items) => items.iter().map(Self::count).sum(),
            Value::Map(entries) => entries.iter().map(|entry| entry.node.count()).sum(),
            _ => 0_usize,
        }
    }

    /// Levels of lists and maps.
    pub(super) fn depth(&self) -> usize {
        match &self.value {
            Value::List(items) => 1 + items.iter().map(Self::depth).max().unwrap_or(0),
            Value::Map(entries) => {
                1 + entries
                    .iter()
                    .map(|entry| entry.node.depth())
                    .max()
                    .unwrap_or(0)
            }
            _ => 0,
        }
    }
}

impl fmt::Display for Value {
    /// Names the value for a message, cut to a length that fits a line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("nothing"),
            Self::Bool(truth) => truth.fmt(f),
            Self::Number(number) => number.fmt(f),
            Self::Text(text) if text.chars().count() > 60 => {
                write!(f, "{:?}…", text.chars().take(60).collect::<String>())
            }
            Self::Text(text) => write!(f, "{text:?}"),
            Self::List(_) => f.write_str("a list"),
            Self::Map(_) => f.write_str("a map"),
        }
    }
}
