//! One configuration file: its tree, and errors that point into it.

use std::path::Path;

use crate::error::{ConfigError, Problem};
use crate::path::{KeyPath, Step};
use crate::schema::FileKind;
use crate::source::{FileSource, unreadable};
use crate::validate::{Found, Outcome, validate};
use crate::yaml::{Entry, Node, Position, Value, parse};

/// A configuration file that has been read.
#[derive(Debug, Clone)]
pub(crate) struct Document {
    pub kind: FileKind,
    /// The name for messages.
    pub file: String,
    pub root: Node,
    text: String,
}

/// Policies and suspends may be written as a bare list, as older releases had them.
fn wrapped(kind: FileKind, root: Node) -> Node {
    let list = match kind {
        FileKind::Policy => "policies",
        FileKind::Suspend => "suspends",
        _ => return root,
    };
    if !matches!(root.value, Value::List(_)) {
        return root;
    }
    let position = root.position;
    let entry = |key: &str, node: Node| Entry {
        key: key.to_owned(),
        position,
        node,
    };
    let version = Node::from_json(&"6.0".into());
    let mut map: Node = Value::Map(vec![entry("version", version), entry(list, root)]).into();
    map.position = position;
    map
}

impl Document {
    /// Reads and parses a file.
    pub fn read(
        files: &dyn FileSource,
        path: &Path,
        kind: FileKind,
    ) -> Result<Self, Vec<ConfigError>> {
        let bytes = files
            .read(path)
            .map_err(|error| vec![unreadable(path, &error)])?;
        Self::parse(&bytes, path, kind)
    }

    /// Parses the text of a file.
    pub fn parse(bytes: &[u8], path: &Path, kind: FileKind) -> Result<Self, Vec<ConfigError>> {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let file = path.display().to_string();
        let parsed = parse(bytes);
        let mut document = Self {
            kind,
            file,
            root: Node::map(),
            text,
        };
        match parsed {
            Ok(root) => document.root = wrapped(kind, root),
            Err(faults) => {
                let error = |fault: crate::yaml::Fault| {
                    document.error_at(
                        &KeyPath::root(),
                        fault.position,
                        Problem::Syntax(fault.message),
                    )
                };
                return Err(faults.into_iter().map(error).collect());
            }
        }
        if !matches!(document.root.value, Value::Map(_)) {
            let problem = Problem::WrongType {
                expected: "a map of keys".to_owned(),
                found: document.root.value.to_string(),
            };
            return Err(vec![document.error_at(
                &KeyPath::root(),
                document.root.position,
                problem,
            )]);
        }
        Ok(document)
    }

    /// Checks the file against its schema.
    pub fn validate(&mut self, lenient: bool) -> Outcome {
        validate(self.kind, &mut self.root, lenient)
    }

    /// The error for something that the validator found.
    pub fn found(&self, found: Found) -> ConfigError {
        let mut error = self.error_at(&found.path, found.position, found.problem);
        error.hint = found.hint;
        error
    }

    /// The error for the value at a path. Indexes count the items that are not dropped.
    pub fn error(&self, path: &KeyPath, problem: Problem) -> ConfigError {
        let (shown, position) = self.locate(path);
        self.error_at(&shown, position, problem)
    }

    fn error_at(
        &self,
        path: &KeyPath,
        position: Option<Position>,
        problem: Problem,
    ) -> ConfigError {
        let line = position.and_then(|at| self.text.lines().nth(at.line.saturating_sub(1)));
        ConfigError {
            file: self.file.clone(),
            position,
            path: path.to_string(),
            problem,
            hint: None,
            source_line: line.map(str::to_owned),
        }
    }

    /// The value at a path. Indexes count the items that are not dropped.
    pub fn at(&self, path: &KeyPath) -> Option<&Node> {
        let mut node = &self.root;
        for step in path.steps() {
            node = match step {
                Step::Key(key) => node.get(key)?,
                Step::Index(index) => node.items().nth(*index)?,
            };
        }
        Some(node)
    }

    /// Where a value stands: the file's name and the line.
    pub fn place(&self, path: &KeyPath) -> String {
        let name = Path::new(&self.file).file_name();
        let name = name.map_or(self.file.as_str().into(), |name| name.to_string_lossy());
        match self.locate(path).1 {
            Some(at) => format!("{name}:{}", at.line),
            None => name.into_owned(),
        }
    }

    /// Says whether the file has a key at a path, passed over or not.
    pub fn has(&self, path: &KeyPath) -> bool {
        let (shown, _) = self.locate(path);
        let below = |node: &'_ Node, step: &Step| match (step, &node.value) {
            (Step::Key(key), Value::Map(entries)) => {
                entries.iter().position(|entry| entry.key == *key)
            }
            (Step::Index(index), Value::List(items)) => (*index < items.len()).then_some(*index),
            _ => None,
        };
        let mut node = &self.root;
        for step in shown.steps() {
            let Some(at) = below(node, step) else {
                return false;
            };
            let next = match &node.value {
                Value::Map(entries) => entries.get(at).map(|entry| &entry.node),
                Value::List(items) => items.get(at),
                _ => None,
            };
            let Some(next) = next else { return false };
            node = next;
        }
        true
    }

    /// All items of a list at the top of the file, passed over or not.
    pub fn all(&self, list: &str) -> impl Iterator<Item = &Node> {
        let items = match self.root.get(list).map(|node| &node.value) {
            Some(Value::List(items)) => items.as_slice(),
            _ => &[],
        };
        items.iter()
    }

    /// The path with the indexes of the file, and the place of the value or of the nearest thing
    /// around it that has one.
    fn locate(&self, path: &KeyPath) -> (KeyPath, Option<Position>) {
        let mut shown = KeyPath::root();
        let mut node = Some(&self.root);
        let mut position = None;
        for step in path.steps() {
            match step {
                Step::Key(key) => {
                    node = node.and_then(|node| node.get(key));
                    shown = shown.key(key);
                }
                Step::Index(index) => {
                    let (real, item) = match node.map(|node| &node.value) {
                        Some(Value::List(items)) => {
                            let mut kept =
                                items.iter().enumerate().filter(|(_, item)| !item.dropped);
                            kept.nth(*index)
                                .map_or((*index, None), |(real, item)| (real, Some(item)))
                        }
                        _ => (*index, None),
                    };
                    node = item;
                    shown = shown.index(real);
                }
            }
            position = node.and_then(|node| node.position).or(position);
        }
        (shown, position)
    }

    /// Sets the value at a path, making the maps that lead to it. An index may be one past the end
    /// of its list.
    ///
    /// # Errors
    /// The path leads through something that is no map or list.
    pub fn set(&mut self, path: &KeyPath, value: &serde_json::Value) -> Result<(), String> {
        let mut node = &mut self.root;
        for (number, step) in path.steps().iter().enumerate() {
            let below = match path.steps().get(number + 1) {
                Some(Step::Index(_)) => Value::List(Vec::new()),
                _ => Value::Map(Vec::new()),
            };
            node = match step {
                Step::Key(key) => node.get_or_insert(key, below),
                Step::Index(index) => match &mut node.value {
                    Value::List(items) => {
                        if *index == items.len() {
                            items.push(below.into());
                        }
                        items.get_mut(*index)
                    }
                    _ => None,
                },
            }
            .ok_or_else(|| {
                "leads through something that is no map, or past the end of a list".to_owned()
            })?;
        }
        *node = Node::from_json(value);
        Ok(())
    }
}
