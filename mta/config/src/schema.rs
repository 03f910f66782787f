//! The JSON schemas (draft-07) of the configuration files, made from the typed structs.
//!
//! [`schemars`] does the work; what is changed afterwards makes the schema say exactly what a file
//! may hold: no `null` for a key that can be left out, no unknown key anywhere, the variants of an
//! enum as a plain list, and no default for a whole section.

use std::sync::OnceLock;

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::delivery::DeliveryDocument;
use crate::policy::{PolicyDocument, SuspendDocument};
use crate::running::RunningDocument;
use crate::startup::Startup;

/// A configuration file that has a schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileKind {
    /// `smtpd.yaml`.
    Startup,
    /// `smtpd-app.yaml`.
    Running,
    /// `smtpd-policy.yaml`.
    Policy,
    /// `smtpd-suspend.yaml`.
    Suspend,
    /// `smtpd-delivery.yaml`.
    Delivery,
}

impl FileKind {
    /// All files.
    pub const ALL: [Self; 5] = [
        Self::Startup,
        Self::Running,
        Self::Policy,
        Self::Suspend,
        Self::Delivery,
    ];

    /// The name of the file.
    #[must_use]
    pub const fn file_name(self) -> &'static str {
        match self {
            Self::Startup => "smtpd.yaml",
            Self::Running => "smtpd-app.yaml",
            Self::Policy => "smtpd-policy.yaml",
            Self::Suspend => "smtpd-suspend.yaml",
            Self::Delivery => "smtpd-delivery.yaml",
        }
    }
}

/// The JSON schema of a file, for editors and for validation.
#[must_use]
pub fn json_schema(file: FileKind) -> &'static Value {
    static STARTUP: OnceLock<Value> = OnceLock::new();
    static RUNNING: OnceLock<Value> = OnceLock::new();
    static POLICY: OnceLock<Value> = OnceLock::new();
    static SUSPEND: OnceLock<Value> = OnceLock::new();
    static DELIVERY: OnceLock<Value> = OnceLock::new();
    match file {
        FileKind::Startup => STARTUP.get_or_init(|| generate::<Startup>(file)),
        FileKind::Running => RUNNING.get_or_init(|| generate::<RunningDocument>(file)),
        FileKind::Policy => POLICY.get_or_init(|| generate::<PolicyDocument>(file)),
        FileKind::Suspend => SUSPEND.get_or_init(|| generate::<SuspendDocument>(file)),
        FileKind::Delivery => DELIVERY.get_or_init(|| generate::<DeliveryDocument>(file)),
    }
}

fn generate<T: schemars::JsonSchema>(file: FileKind) -> Value {
    let mut settings = SchemaSettings::draft07();
    settings.inline_subschemas = true;
    let mut schema: Value = settings.into_generator().into_root_schema_for::<T>().into();
    tidy(&mut schema);
    if let Some(top) = schema.as_object_mut() {
        top.insert("title".to_owned(), file.file_name().into());
    }
    schema
}

/// Brings a schema and all below it into the form that the module's documentation describes.
///
/// The depth is that of the structs, so recursion is bounded.
fn tidy(schema: &mut Value) {
    let Some(object) = schema.as_object_mut() else {
        return;
    };
    drop_null(object);
    collapse_enum(object);
    if object
        .get("default")
        .is_some_and(|value| value.is_null() || value.is_object())
    {
        object.remove("default");
    }
    // A key that must be given has no default.
    let required = object
        .get("required")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    if let Some(Value::Object(properties)) = object.get_mut("properties") {
        for key in required.iter().filter_map(Value::as_str) {
            properties
                .get_mut(key)
                .and_then(Value::as_object_mut)
                .map(|below| below.remove("default"));
        }
    }
    if object.contains_key("properties") {
        object.insert("additionalProperties".to_owned(), false.into());
        object.remove("unevaluatedProperties");
    }
    for (key, value) in object.iter_mut() {
        match (key.as_str(), value) {
            ("properties" | "definitions", Value::Object(below)) => {
                below.values_mut().for_each(tidy)
            }
            ("anyOf" | "oneOf" | "allOf", Value::Array(below)) => below.iter_mut().for_each(tidy),
            ("items" | "additionalProperties", below) => tidy(below),
            _ => {}
        }
    }
}

/// An optional key is left out, never written as `null`.
fn drop_null(object: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            object.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(names)) = object.get_mut("enum") {
        names.retain(|name| !name.is_null());
    }
    let Some(Value::Array(branches)) = object.get_mut("anyOf") else {
        return;
    };
    branches.retain(|branch| branch.get("type") != Some(&json!("null")));
    let [Value::Object(only)] = branches.as_slice() else {
        return;
    };
    let only = only.clone();
    object.remove("anyOf");
    for (key, value) in only {
        object.entry(key).or_insert(value);
    }
}

/// Documented variants come as `oneOf` of constants; a plain `enum` reads better.
fn collapse_enum(object: &mut Map<String, Value>) {
    let Some(Value::Array(branches)) = object.get("oneOf") else {
        return;
    };
    let mut names = Vec::new();
    let mut texts = Vec::new();
    for branch in branches {
        let text = branch
            .get("description")
            .cloned()
            .unwrap_or_else(|| "".into());
        match (branch.get("const"), branch.get("enum")) {
            (Some(name), _) => {
                names.push(name.clone());
                texts.push(text);
            }
            (None, Some(Value::Array(several))) => {
                texts.extend(several.iter().map(|_| Value::from("")));
                names.extend(several.iter().cloned());
            }
            _ => return,
        }
    }
    object.remove("oneOf");
    object.insert("type".to_owned(), "string".into());
    object.insert("enum".to_owned(), names.into());
    object.insert("enumDescriptions".to_owned(), texts.into());
}

/// Follows a reference into the definitions of the schema `root`.
pub(crate) fn resolve<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    let target = schema.get("$ref").and_then(Value::as_str);
    let target = target.and_then(|reference| root.pointer(reference.strip_prefix('#')?));
    target.unwrap_or(schema)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Calls `visit` with every schema below `schema` that is not a reference.
    fn walk(schema: &Value, visit: &mut dyn FnMut(&Map<String, Value>)) {
        let Some(object) = schema.as_object() else {
            return;
        };
        visit(object);
        for (key, value) in object {
            match (key.as_str(), value) {
                ("properties" | "definitions", Value::Object(below)) => {
                    below.values().for_each(|one| walk(one, visit))
                }
                ("anyOf" | "oneOf" | "allOf", Value::Array(below)) => {
                    below.iter().for_each(|one| walk(one, visit))
                }
                ("items" | "additionalProperties", below) => walk(below, visit),
                _ => {}
            }
        }
    }

    #[test]
    fn no_object_takes_unknown_keys_and_no_key_takes_null() {
        for file in FileKind::ALL {
            walk(json_schema(file), &mut |object| {
                if object.contains_key("properties") {
                    assert_eq!(
                        object.get("additionalProperties"),
                        Some(&json!(false)),
                        "{object:?}"
                    );
                }
                assert_ne!(object.get("type"), Some(&json!("null")), "{object:?}");
                assert!(!object.contains_key("oneOf"), "{object:?}");
            });
        }
    }

    #[test]
    fn every_key_has_a_description() {
        for file in FileKind::ALL {
            walk(json_schema(file), &mut |object| {
                let Some(Value::Object(properties)) = object.get("properties") else {
                    return;
                };
                for (key, value) in properties {
                    assert!(
                        value.get("description").is_some_and(Value::is_string),
                        "{file:?}: {key}: {value}"
                    );
                }
            });
        }
    }
}
