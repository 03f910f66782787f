//! Every key of the schemas with a good and a bad sample.

use serde_json::json;

use super::*;
use crate::delivery::DeliveryDocument;
use crate::policy::{PolicyDocument, SuspendDocument};
use crate::running::RunningDocument;
use crate::startup::Startup;
use crate::transport::Transport;

/// A value that a schema takes, with everything in it that must be there.
fn good(root: &Json, schema: &Json) -> Json {
    let schema = resolve(root, schema);
    if let Some(branches) = schema.get("anyOf").and_then(Json::as_array) {
        return good(root, &branches[0]);
    }
    if let Some(names) = schema.get("enum").and_then(Json::as_array) {
        return names[0].clone();
    }
    match schema.get("type").and_then(Json::as_str) {
        Some("string") => match schema.get("format").and_then(Json::as_str) {
            Some("version") => json!("6.0"),
            Some("ip" | "ip-or-network" | "ip-port" | "match-address") => json!("192.0.2.1"),
            Some("octal") => json!("0660"),
            Some("header-line") => json!("X-A: b"),
            Some("tls-protocols") => json!("!TLSv1.1"),
            Some("tls-ciphers") => json!("HIGH:!AES"),
            _ => json!("x"),
        },
        Some("boolean") => json!(true),
        Some("integer" | "number") => {
            let least = schema.get("minimum").and_then(Json::as_u64).unwrap_or(0);
            json!(least.max(1))
        }
        Some("array") => json!([good(root, &schema["items"])]),
        Some("object") => {
            let required = schema
                .get("required")
                .and_then(Json::as_array)
                .cloned()
                .unwrap_or_default();
            let names = required.iter().filter_map(Json::as_str);
            let entry = |name: &str| (name.to_owned(), good(root, &schema["properties"][name]));
            Json::Object(names.map(entry).collect())
        }
        _ => json!("anything"),
    }
}

/// A value that no schema of a key takes.
fn bad(schema: &Json) -> Option<Json> {
    match schema.get("type").and_then(Json::as_str) {
        Some("string") => Some(json!({"no": "string"})),
        Some(_) => Some(json!("neither number nor list nor map")),
        None if schema.get("anyOf").is_some() => Some(json!(1.5)),
        None if schema.get("enum").is_some() => Some(json!("no such value")),
        None => None,
    }
}

/// Every key of a schema: how to put a value there, and the schema of the value.
type Wrap<'s> = Box<dyn Fn(Json) -> Json + 's>;

fn keys<'s>(root: &'s Json, schema: &'s Json, depth: usize) -> Vec<(String, Wrap<'s>, &'s Json)> {
    let schema = resolve(root, schema);
    let mut found: Vec<(String, Wrap<'s>, &'s Json)> = Vec::new();
    if depth > 9 {
        return found;
    }
    if let Some(branches) = schema.get("anyOf").and_then(Json::as_array) {
        return branches
            .iter()
            .flat_map(|branch| keys(root, branch, depth + 1))
            .collect();
    }
    if let Some(items) = schema.get("items") {
        for (path, wrap, below) in keys(root, items, depth + 1) {
            found.push((
                format!("[0]{path}"),
                Box::new(move |value| json!([wrap(value)])),
                below,
            ));
        }
    }
    for (key, below) in schema
        .get("properties")
        .and_then(Json::as_object)
        .into_iter()
        .flatten()
    {
        let base = good(root, schema);
        let put = move |value: Json| {
            let mut map = base.clone();
            map[key] = value;
            map
        };
        found.push((format!(".{key}"), Box::new(put.clone()), below));
        for (path, wrap, inner) in keys(root, below, depth + 1) {
            let put = put.clone();
            found.push((
                format!(".{key}{path}"),
                Box::new(move |value| put(wrap(value))),
                inner,
            ));
        }
    }
    found
}

fn errors(file: FileKind, json: &Json, lenient: bool) -> Vec<Found> {
    validate(file, &mut Node::from_json(json), lenient).errors
}

#[test]
fn every_key_takes_its_good_sample_and_refuses_its_bad_one() {
    for file in FileKind::ALL {
        let root = json_schema(file);
        let all = keys(root, root, 0);
        assert!(all.len() > 10, "{}", all.len());
        for (path, wrap, schema) in all {
            let path = path.trim_start_matches('.').to_owned();
            let document = wrap(good(root, schema));
            // A refusal of what is not there yet is no mistake of the value.
            let wrong: Vec<Found> = errors(file, &document, false)
                .into_iter()
                .filter(|found| !matches!(found.problem, Problem::NotYet(_)))
                .collect();
            assert!(wrong.is_empty(), "{path}: {document}: {wrong:?}");
            let typed = match file {
                FileKind::Startup => serde_json::from_value::<Startup>(document.clone()).map(drop),
                FileKind::Running => {
                    serde_json::from_value::<RunningDocument>(document.clone()).map(drop)
                }
                FileKind::Policy => {
                    serde_json::from_value::<PolicyDocument>(document.clone()).map(drop)
                }
                FileKind::Suspend => {
                    serde_json::from_value::<SuspendDocument>(document.clone()).map(drop)
                }
                FileKind::Delivery => {
                    serde_json::from_value::<DeliveryDocument>(document.clone()).map(drop)
                }
            };
            assert!(typed.is_ok(), "{path}: {document}: {typed:?}");

            let Some(sample) = bad(resolve(root, schema)) else {
                continue;
            };
            let document = wrap(sample);
            let found = errors(file, &document, false);
            let named = |found: &Found| path.starts_with(&found.path.to_string());
            assert!(
                found.iter().any(named),
                "{path}: {document} was accepted: {found:?}"
            );
        }
    }
}

#[test]
fn the_settings_of_a_transport_fit_its_type() {
    let root = json_schema(FileKind::Running);
    let pointer = "/properties/transportgroups/items";
    let group = resolve(root, root.pointer(pointer).expect("groups"));
    for (path, wrap, schema) in keys(root, &group["properties"]["transports"]["items"], 2) {
        let typed = serde_json::from_value::<Transport>(wrap(good(root, schema)));
        assert!(typed.is_ok(), "{path}: {typed:?}");
    }
}

#[test]
fn a_misspelt_key_is_refused_everywhere() {
    for file in FileKind::ALL {
        let root = json_schema(file);
        for (path, wrap, schema) in keys(root, root, 0) {
            let schema = resolve(root, schema);
            if schema.get("properties").is_none() {
                continue;
            }
            let mut value = good(root, schema);
            value["certainly-unknown"] = json!(1);
            let found = errors(file, &wrap(value), false);
            let refused = found
                .iter()
                .any(|one| matches!(one.problem, Problem::UnknownKey | Problem::NotYet(_)));
            assert!(refused, "{path}: {found:?}");
        }
    }
}
