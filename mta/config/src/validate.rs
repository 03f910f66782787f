//! A tree of nodes against a schema: everything that is wrong, each with its path and place.
//!
//! The validator understands what [`crate::schema`] produces and no more. Beyond JSON schema it
//! suggests a key for a misspelt one, applies the table of what is supported, and can turn refusals
//! into warnings, for a bundle that was written for another program.

use serde_json::{Map, Value as Json};

use crate::error::{Problem, one_of};
use crate::path::KeyPath;
use crate::schema::{FileKind, json_schema, resolve};
use crate::support::{Fallback, Status, lookup};
use crate::types::check_format;
use crate::yaml::{Node, Position, Value};

/// Most problems of one file that are reported.
const MAX_PROBLEMS: usize = 200;

/// Spellings that mean another key: pattern of the map, the spelling, the key.
const ALIASES: &[(&str, &str, &str)] = &[("servers[]", "protoprotocol", "proxyprotocol")];

/// One thing that the validator found.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub path: KeyPath,
    pub position: Option<Position>,
    pub problem: Problem,
    pub hint: Option<String>,
}

/// What became of a key, for the report on a foreign bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyUse {
    /// The key works.
    Used,
    /// The key is accepted and changes nothing.
    Ignored(&'static str),
    /// The key is known and refused: what it asks for is not available yet.
    NotYet(&'static str),
    /// The key is not known.
    Unknown,
}

/// What the validator found in a file.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Problems that refuse the file.
    pub errors: Vec<Found>,
    /// Problems that were passed over.
    pub warnings: Vec<Found>,
    /// Every key of the file and what became of it.
    pub uses: Vec<(KeyPath, Option<Position>, KeyUse)>,
}

/// Checks a file. With `lenient`, keys that are unknown or not available yet are marked as dropped
/// and reported as warnings.
pub(crate) fn validate(file: FileKind, root: &mut Node, lenient: bool) -> Outcome {
    let schema = json_schema(file);
    let mut validator = Validator {
        file,
        schema,
        lenient,
        leave_out_item: false,
        outcome: Outcome::default(),
    };
    if root.get("version").is_none() && matches!(root.value, Value::Map(_)) {
        validator.report(
            &KeyPath::root(),
            root.position,
            Problem::MissingVersion,
            None,
        );
    }
    validator.node(root, schema, &KeyPath::root());
    validator.outcome.errors.truncate(MAX_PROBLEMS);
    validator.outcome
}

struct Validator {
    file: FileKind,
    schema: &'static Json,
    lenient: bool,
    /// The list item that is being checked must be left out.
    leave_out_item: bool,
    outcome: Outcome,
}

impl Validator {
    fn report(
        &mut self,
        path: &KeyPath,
        position: Option<Position>,
        problem: Problem,
        hint: Option<String>,
    ) {
        self.outcome.errors.push(Found {
            path: path.clone(),
            position,
            problem,
            hint,
        });
    }

    /// Checks one value. The depth of the tree is bounded, so this may recurse.
    fn node(&mut self, node: &mut Node, schema: &'static Json, path: &KeyPath) {
        if self.outcome.errors.len() >= MAX_PROBLEMS {
            return;
        }
        let schema = resolve(self.schema, schema);
        let Some(rules) = schema.as_object() else {
            return;
        };
        if let Some(Json::Array(branches)) = rules.get("anyOf") {
            let fitting = branches.iter().map(|branch| resolve(self.schema, branch));
            let Some(branch) = fitting.clone().find(|branch| is_of_type(node, branch)) else {
                let expected: Vec<String> = fitting.map(describe).collect();
                return self.wrong_type(node, one_of(&expected), path);
            };
            return self.node(node, branch, path);
        }
        if !is_of_type(node, schema) {
            return self.wrong_type(node, describe(schema), path);
        }
        if let Some(Json::Array(allowed)) = rules.get("enum") {
            return self.one_of_values(node, allowed, path);
        }
        let position = node.position;
        let invalid = match &mut node.value {
            Value::Map(_) => {
                self.map(node, rules, path);
                None
            }
            Value::List(items) => {
                let least = rules.get("minItems").and_then(Json::as_u64).unwrap_or(0);
                if let Some(item_schema) = rules.get("items") {
                    let around = std::mem::take(&mut self.leave_out_item);
                    for (index, item) in items.iter_mut().enumerate() {
                        self.node(item, item_schema, &path.index(index));
                        item.dropped |= std::mem::take(&mut self.leave_out_item);
                    }
                    self.leave_out_item = around;
                }
                let too_few = u64::try_from(items.len()).is_ok_and(|count| count < least);
                too_few.then(|| {
                    format!(
                        "must have at least {least} item{}",
                        if least == 1 { "" } else { "s" }
                    )
                })
            }
            Value::Number(number) => out_of_range(number, rules),
            Value::Text(text) => {
                let format = rules
                    .get("format")
                    .and_then(Json::as_str)
                    .unwrap_or_default();
                let shown = Value::Text(text.clone());
                if format == "version" && check_format(format, text).is_err() {
                    let problem = Problem::UnknownVersion(shown.to_string());
                    return self.report(&KeyPath::root(), position, problem, None);
                }
                // What has the text in it need not say it again.
                let says = |reason: &str| reason.contains(text.as_str()) && !text.is_empty();
                check_format(format, text)
                    .err()
                    .map(|reason| match says(&reason) {
                        true => reason,
                        false => format!("{reason} (it is {shown})"),
                    })
            }
            Value::Null | Value::Bool(_) => None,
        };
        if let Some(reason) = invalid {
            self.report(path, position, Problem::Invalid(reason), None);
        }
    }

    fn wrong_type(&mut self, node: &Node, expected: String, path: &KeyPath) {
        let hint = match &node.value {
            Value::Number(_) | Value::Bool(_) if expected.contains("a string") => {
                Some("put it in quotes to make it a string".to_owned())
            }
            Value::Null => Some("give a value, or take the key out".to_owned()),
            _ => None,
        };
        let found = node.value.to_string();
        self.report(
            path,
            node.position,
            Problem::WrongType { expected, found },
            hint,
        );
    }

    fn one_of_values(&mut self, node: &Node, allowed: &[Json], path: &KeyPath) {
        let value = node.to_json();
        if allowed.contains(&value) {
            return;
        }
        let names: Vec<String> = allowed
            .iter()
            .map(|name| format!("`{}`", plain_text(name)))
            .collect();
        let texts = allowed.iter().filter_map(Json::as_str);
        let hint = value
            .as_str()
            .and_then(|text| nearest(text, texts))
            .map(|name| format!("did you mean `{name}`?"));
        let problem = Problem::NotAllowed {
            allowed: one_of(&names),
            found: node.value.to_string(),
        };
        self.report(path, node.position, problem, hint);
    }

    fn map(&mut self, node: &mut Node, rules: &'static Map<String, Json>, path: &KeyPath) {
        let position = node.position;
        let Value::Map(entries) = &mut node.value else {
            return;
        };
        let properties = rules.get("properties").and_then(Json::as_object);
        let others = rules.get("additionalProperties");
        let pattern = path.pattern();
        for entry in entries.iter_mut() {
            let alias = ALIASES
                .iter()
                .find(|(map, name, _)| *map == pattern && *name == entry.key);
            if let Some((_, _, key)) = alias {
                entry.key = (*key).to_owned();
            }
            let path = path.key(&entry.key);
            let at = entry.position.or(entry.node.position);
            let known = properties.and_then(|known| known.get(&entry.key));
            match (known, others) {
                (Some(schema), _) => self.entry(&mut entry.node, schema, &path, at),
                (None, Some(Json::Object(_))) => {
                    self.outcome.uses.push((path.clone(), at, KeyUse::Used));
                    if let Some(schema) = others {
                        self.node(&mut entry.node, schema, &path);
                    }
                }
                (None, Some(Json::Bool(false))) => {
                    self.outcome.uses.push((path.clone(), at, KeyUse::Unknown));
                    let hint = properties.map(|known| unknown_hint(&entry.key, known));
                    let found = Found {
                        path,
                        position: at,
                        problem: Problem::UnknownKey,
                        hint,
                    };
                    entry.node.dropped = true;
                    if self.lenient {
                        self.outcome.warnings.push(found);
                    } else {
                        self.outcome.errors.push(found);
                    }
                }
                // A free-form map, whose content nobody here reads.
                (None, _) => self.outcome.uses.push((path, at, KeyUse::Used)),
            }
        }
        let required = rules
            .get("required")
            .and_then(Json::as_array)
            .map_or(&[][..], Vec::as_slice);
        for key in required.iter().filter_map(Json::as_str) {
            if node.get(key).is_none() && !(path.steps().is_empty() && key == "version") {
                self.report(&path.key(key), position, Problem::Missing, None);
            }
        }
    }

    /// Checks the value of a known key.
    fn entry(
        &mut self,
        node: &mut Node,
        schema: &'static Json,
        path: &KeyPath,
        at: Option<Position>,
    ) {
        let text = match &node.value {
            Value::Text(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        };
        let (status, fallback) = lookup(self.file, &path.pattern(), text.as_deref());
        match status {
            Status::Works => self.outcome.uses.push((path.clone(), at, KeyUse::Used)),
            Status::Ignored(reason) => {
                self.outcome
                    .uses
                    .push((path.clone(), at, KeyUse::Ignored(reason)))
            }
            Status::NotYet(_) if asks_for_nothing(node, resolve(self.schema, schema)) => {
                self.outcome.uses.push((path.clone(), at, KeyUse::Used));
            }
            Status::NotYet(what) => {
                self.outcome
                    .uses
                    .push((path.clone(), at, KeyUse::NotYet(what)));
                return self.refuse(node, path, at, what, fallback);
            }
        }
        self.node(node, schema, path);
    }

    fn refuse(
        &mut self,
        node: &mut Node,
        path: &KeyPath,
        at: Option<Position>,
        what: &str,
        fallback: Fallback,
    ) {
        let problem = Problem::NotYet(what.to_owned());
        // What is refused is passed over in any case, so that the checks behind can go on.
        let hint = match fallback {
            Fallback::LeaveOut => {
                node.dropped = true;
                "the key is ignored".to_owned()
            }
            Fallback::LeaveOutEntry => {
                self.leave_out_item = true;
                "the whole entry is ignored".to_owned()
            }
            Fallback::Instead(value) => {
                node.value = match value.parse::<u64>() {
                    Ok(number) => Value::Number(number.into()),
                    Err(_) => Value::Text(value.to_owned()),
                };
                format!("`{value}` is used instead")
            }
        };
        if self.lenient {
            let found = Found {
                path: path.clone(),
                position: at,
                problem,
                hint: Some(hint),
            };
            return self.outcome.warnings.push(found);
        }
        let hint = "take it out, or start with --ignore-unknown to do without".to_owned();
        self.report(path, at, problem, Some(hint));
    }
}

/// Says whether a value is of the type that a schema names; a schema without a type takes all.
fn is_of_type(node: &Node, schema: &Json) -> bool {
    let Some(kind) = schema.get("type").and_then(Json::as_str) else {
        return true;
    };
    match &node.value {
        Value::Null => kind == "null",
        Value::Bool(_) => kind == "boolean",
        Value::Number(number) => kind == "number" || (kind == "integer" && !number.is_f64()),
        Value::Text(_) => kind == "string",
        Value::List(_) => kind == "array",
        Value::Map(_) => kind == "object",
    }
}

/// Names what a schema takes.
fn describe(schema: &Json) -> String {
    let kind = schema
        .get("type")
        .and_then(Json::as_str)
        .unwrap_or_default();
    if let Some(Json::Array(allowed)) = schema.get("enum") {
        let names: Vec<String> = allowed
            .iter()
            .map(|name| format!("`{}`", plain_text(name)))
            .collect();
        return one_of(&names);
    }
    match kind {
        "string" => "a string".to_owned(),
        "boolean" => "`true` or `false`".to_owned(),
        "array" => "a list".to_owned(),
        "object" => "a map".to_owned(),
        "number" if schema.get("format").and_then(Json::as_str) == Some("seconds") => {
            let above = schema.get("exclusiveMinimum").is_some();
            format!(
                "a number of seconds{}",
                if above { " above 0" } else { ", 0 or more" }
            )
        }
        "integer" => format!(
            "a whole number{}",
            schema.as_object().map(range).unwrap_or_default()
        ),
        _ => format!(
            "a number{}",
            schema.as_object().map(range).unwrap_or_default()
        ),
    }
}

/// The bounds of a number: inclusive least and greatest, and an exclusive least.
fn bounds(rules: &Map<String, Json>) -> (Option<f64>, Option<f64>, Option<f64>) {
    let number = |key: &str| rules.get(key).and_then(Json::as_f64);
    (
        number("minimum"),
        number("maximum"),
        number("exclusiveMinimum"),
    )
}

/// The greatest number that the type of a key holds, where it is not stated.
fn type_bound(rules: &Map<String, Json>) -> Option<f64> {
    match rules.get("format").and_then(Json::as_str) {
        Some("uint8") => Some(f64::from(u8::MAX)),
        Some("uint16") => Some(f64::from(u16::MAX)),
        Some("uint32") => Some(f64::from(u32::MAX)),
        _ => None,
    }
}

/// The bounds in words, to stand behind "a number".
pub(crate) fn range(rules: &Map<String, Json>) -> String {
    let (least, most, above) = bounds(rules);
    match (above.or(least), most) {
        (Some(_), Some(most)) if above.is_some() => format!(" above 0, at most {most}"),
        (Some(least), Some(most)) => format!(" from {least} to {most}"),
        (Some(_), None) if above.is_some() => " above 0".to_owned(),
        (Some(least), None) => format!(", {least} or more"),
        (None, Some(most)) => format!(", at most {most}"),
        (None, None) => String::new(),
    }
}

fn out_of_range(number: &serde_json::Number, rules: &Map<String, Json>) -> Option<String> {
    let (least, most, above) = bounds(rules);
    let value = number.as_f64()?;
    if let Some(bound) = type_bound(rules).filter(|bound| value > *bound) {
        return Some(format!("must be at most {bound}, not {number}"));
    }
    let fits = least.is_none_or(|least| value >= least)
        && most.is_none_or(|most| value <= most)
        && above.is_none_or(|above| value > above)
        // A signed key holds what an i64 holds; 2^63 itself does not fit.
        && (rules.get("format").and_then(Json::as_str) != Some("int64") || number.as_i64().is_some());
    (!fits).then(|| {
        format!(
            "must be {}, not {number}",
            describe(&Json::Object(rules.clone()))
        )
    })
}

/// Says whether a value asks for nothing that is not done anyway.
fn asks_for_nothing(node: &Node, schema: &Json) -> bool {
    if schema
        .get("default")
        .is_some_and(|default| *default == node.to_json())
    {
        return true;
    }
    match (&node.value, schema.get("properties")) {
        (Value::List(items), _) => items.is_empty(),
        (Value::Map(entries), Some(properties)) => entries.iter().all(|entry| {
            let below = properties.get(&entry.key);
            below.is_some_and(|below| asks_for_nothing(&entry.node, below))
        }),
        (Value::Map(entries), None) => entries.is_empty(),
        _ => false,
    }
}

fn plain_text(value: &Json) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

fn unknown_hint(key: &str, known: &Map<String, Json>) -> String {
    if let Some(name) = nearest(key, known.keys().map(String::as_str)) {
        return format!("did you mean `{name}`?");
    }
    let names: Vec<&str> = known.keys().map(String::as_str).collect();
    format!("known keys here: {}", names.join(", "))
}

/// The name that `text` most likely stands for.
pub(crate) fn nearest<'a>(text: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    if text.chars().count() > 64 {
        return None;
    }
    let text = text.to_lowercase();
    let near = names.map(|name| {
        (
            strsim::damerau_levenshtein(&text, &name.to_lowercase()),
            name,
        )
    });
    let (distance, name) = near.min_by_key(|(distance, _)| *distance)?;
    (distance <= (text.chars().count().max(3) / 3).min(3)).then_some(name)
}

#[cfg(test)]
mod tests;
