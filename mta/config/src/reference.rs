//! The reference page of the configuration, written from the schemas and the table of support.

use serde_json::Value as Json;

use crate::error::one_of;
use crate::schema::{FileKind, json_schema, resolve};
use crate::support::{Status, lookup, values_of};
use crate::validate::range;

/// The text of `docs/reference/configuration.md`.
#[must_use]
pub fn configuration_page() -> String {
    let mut page = Page {
        text: INTRODUCTION.to_owned(),
    };
    for file in FileKind::ALL {
        page.file(file);
    }
    page.text
}

const INTRODUCTION: &str = "\
# Configuration

<!-- Written by `cargo run -p angarium-config --example reference`; do not edit. -->

The server reads YAML files. `smtpd.yaml` is read once, when it starts; `smtpd-app.yaml` and, if they are there, \
`smtpd-policy.yaml`, `smtpd-suspend.yaml` and `smtpd-delivery.yaml` again at every reload, together with all scripts. \
A reload takes everything or, if anything is wrong, nothing.

- A key that is not in these tables is refused, with its path and what was probably meant. So is a key \
that asks for what is marked *not available yet*, unless it says what is done anyway. `--ignore-unknown` \
turns both into warnings.
- Durations are numbers of seconds, fractions allowed; sizes are numbers of bytes.
- An *id* has one to 255 letters, digits and `_ . : @ / -`.
- Relative paths are seen from the folder of the bundle, or of the file for a packed configuration.
- A key or certificate is given as `path` or as `data`.
- A *matcher* of a domain is a domain, `*.domain` (all below it), `/pattern/` or `@list`; of another name the same \
without `*.domain`; of an address an address, a network or `@list`. `@list` names a list of `queues.lists`, a list \
of matchers means any of them.
- JSON schemas for editors come from `angarium schema FILE`.

The minimal configuration is in `examples/quickstart`.
";

struct Page {
    text: String,
}

impl Page {
    fn file(&mut self, file: FileKind) {
        let root = json_schema(file);
        let what = match file {
            FileKind::Startup => "read once, when the server starts",
            FileKind::Running => "read again at every reload",
            FileKind::Policy | FileKind::Suspend | FileKind::Delivery => {
                "read again at every reload; need not be there"
            }
        };
        self.text
            .push_str(&format!("\n## `{}`: {what}\n", file.file_name()));
        let Some(Json::Object(properties)) = root.get("properties") else {
            return;
        };
        let mut sections = Vec::new();
        self.table_head();
        for (key, schema) in properties {
            let schema = resolve(root, schema);
            if has_keys(root, schema) {
                sections.push((key, schema));
            } else {
                self.row(file, key, key, schema, is_required(root, key));
            }
        }
        for (key, schema) in sections {
            let list = if schema.get("items").is_some() {
                "[]"
            } else {
                ""
            };
            self.text
                .push_str(&format!("\n### `{key}{list}`\n\n{}\n", description(schema)));
            match (file, key.as_str()) {
                (FileKind::Running, "transportgroups") => self.transport_groups(file, root, schema),
                (FileKind::Delivery, "delivery") => self.delivery(file, root, schema),
                _ => {
                    if let (Status::NotYet(_), _) = lookup(file, key, None) {
                        self.text.push_str("\n*Not available yet.*\n");
                    }
                    self.table_head();
                    self.below(file, root, schema, key, key);
                }
            }
        }
    }

    /// Groups and transports share their settings, so these are printed once.
    fn transport_groups(&mut self, file: FileKind, root: &'static Json, schema: &'static Json) {
        let group = schema.get("items").map(|items| resolve(root, items));
        let properties = group
            .and_then(|group| group.get("properties"))
            .and_then(Json::as_object);
        let Some(properties) = properties else { return };
        let structure = ["id", "transports", "transportgroups"];
        self.table_head();
        for key in structure {
            if let Some(schema) = properties.get(key) {
                let id_text = (key == "id").then_some("Name of the group.");
                let shown = format!("transportgroups[].{key}");
                self.row_with(file, (&shown, &shown), schema, id_text, key == "id");
            }
        }
        if let Some(id) = properties
            .get("transports")
            .and_then(|list| list.pointer("/items/properties/id"))
        {
            self.row(
                file,
                "transportgroups[].transports[].id",
                "transports[].id",
                id,
                true,
            );
        }
        self.text.push_str(
            "\nThe settings below may stand in a transport and in a group. What a transport leaves out it takes \
             from its group, a group from the group around it, and in the end from the defaults here.\n",
        );
        self.table_head();
        for (key, schema) in properties
            .iter()
            .filter(|(key, _)| !structure.contains(&key.as_str()))
        {
            self.key(
                file,
                root,
                schema,
                (key, &format!("transports[].{key}")),
                false,
            );
        }
    }

    /// The settings have two places and are printed once.
    fn delivery(&mut self, file: FileKind, root: &'static Json, schema: &'static Json) {
        let property = |key: &str| schema.get("properties").and_then(|keys| keys.get(key));
        let list = property("conditions");
        let fields = list.and_then(|list| list.pointer("/items/properties/if"));
        let (Some(list), Some(fields), Some(settings)) = (list, fields, property("default")) else {
            return;
        };
        self.table_head();
        let (list_path, if_path) = ("delivery.conditions", "delivery.conditions[].if");
        self.row(file, list_path, list_path, list, false);
        self.key(file, root, fields, (if_path, if_path), false);
        for (key, text) in [
            (
                "conditions[].then",
                "Settings of the deliveries that `if` means.",
            ),
            ("default", description(settings)),
        ] {
            let shown = format!("delivery.{key}");
            self.row_with(file, (&shown, &shown), settings, Some(text), false);
        }
        self.text.push_str(
            "\nThe settings below may stand in `conditions[].then` and in `default`. What none of them gives is \
             taken from the transport.\n",
        );
        self.table_head();
        let properties = settings.get("properties").and_then(Json::as_object);
        for (key, schema) in properties.into_iter().flatten() {
            let pattern = format!("delivery.settings.{key}");
            self.key(file, root, schema, (key, &pattern), false);
        }
    }

    fn table_head(&mut self) {
        self.text
            .push_str("\n| Key | Value | Default | Meaning |\n|---|---|---|---|\n");
    }

    /// The keys of a section, which is a map or a list of maps.
    fn below(
        &mut self,
        file: FileKind,
        root: &'static Json,
        schema: &'static Json,
        shown: &str,
        pattern: &str,
    ) {
        let schema = resolve(root, schema);
        let (schema, list) = match schema.get("items") {
            Some(items) => (resolve(root, items), "[]"),
            None => (schema, ""),
        };
        let maps = std::iter::once(schema).chain(branches(schema));
        for map in maps {
            let Some(Json::Object(properties)) = resolve(root, map).get("properties") else {
                continue;
            };
            for (key, schema) in properties {
                let paths = (
                    format!("{shown}{list}.{key}"),
                    format!("{pattern}{list}.{key}"),
                );
                self.key(
                    file,
                    root,
                    schema,
                    (&paths.0, &paths.1),
                    is_required(resolve(root, map), key),
                );
            }
        }
    }

    /// One key and the keys below it.
    fn key(
        &mut self,
        file: FileKind,
        root: &'static Json,
        schema: &'static Json,
        (shown, pattern): (&str, &str),
        required: bool,
    ) {
        let schema = resolve(root, schema);
        self.row(file, shown, pattern, schema, required);
        if has_keys(root, schema) {
            self.below(file, root, schema, shown, pattern);
        }
    }

    fn row(&mut self, file: FileKind, shown: &str, pattern: &str, schema: &Json, required: bool) {
        self.row_with(file, (shown, pattern), schema, None, required);
    }

    fn row_with(
        &mut self,
        file: FileKind,
        (shown, pattern): (&str, &str),
        schema: &Json,
        text: Option<&str>,
        required: bool,
    ) {
        let mut meaning = text.unwrap_or_else(|| description(schema)).to_owned();
        if let (Some(Json::Array(names)), Some(Json::Array(texts))) =
            (schema.get("enum"), schema.get("enumDescriptions"))
        {
            for (name, text) in names.iter().zip(texts) {
                let text = text.as_str().filter(|text| !text.is_empty());
                if let Some(text) = text {
                    meaning.push_str(&format!(" `{}`: {text}", plain(name)));
                }
            }
        }
        match lookup(file, pattern, None).0 {
            Status::Works => {}
            Status::Ignored(reason) => {
                meaning.push_str(&format!(" *Accepted without effect: {reason}.*"))
            }
            Status::NotYet(_) => meaning.push_str(" *Not available yet.*"),
        }
        let missing: Vec<String> = values_of(file, pattern)
            .filter(|(_, status)| matches!(status, Status::NotYet(_)))
            .map(|(value, _)| format!("`{value}`"))
            .collect();
        if !missing.is_empty() {
            meaning.push_str(&format!(" *Not available yet: {}.*", missing.join(", ")));
        }
        let default = match schema.get("default") {
            _ if required => "must be given".to_owned(),
            Some(Json::String(text)) if text.is_empty() => "empty".to_owned(),
            Some(value) => format!("`{}`", plain(value)),
            None => String::new(),
        };
        self.text.push_str(&format!(
            "| `{shown}` | {} | {} | {} |\n",
            cell(&value_name(schema)),
            cell(&default),
            cell(&meaning),
        ));
    }
}

fn branches(schema: &'static Json) -> impl Iterator<Item = &'static Json> {
    schema
        .get("anyOf")
        .and_then(Json::as_array)
        .map_or(&[][..], Vec::as_slice)
        .iter()
}

/// Says whether a schema, or the items of its list, has keys of its own.
fn has_keys(root: &'static Json, schema: &'static Json) -> bool {
    let inner = schema
        .get("items")
        .map_or(schema, |items| resolve(root, items));
    inner.get("properties").is_some()
        || branches(inner).any(|branch| resolve(root, branch).get("properties").is_some())
}

fn is_required(map: &Json, key: &str) -> bool {
    let required = map.get("required").and_then(Json::as_array);
    required.is_some_and(|required| required.iter().any(|name| name.as_str() == Some(key)))
}

fn description(schema: &Json) -> &str {
    schema
        .get("description")
        .and_then(Json::as_str)
        .unwrap_or_default()
}

fn plain(value: &Json) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

/// A text that may stand in a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

/// Names the values that a schema takes.
fn value_name(schema: &Json) -> String {
    if let Some(Json::Array(names)) = schema.get("enum") {
        let names: Vec<String> = names
            .iter()
            .map(|name| format!("`{}`", plain(name)))
            .collect();
        return one_of(&names);
    }
    if let Some(Json::Array(branches)) = schema.get("anyOf") {
        let names: Vec<String> = branches.iter().map(value_name).collect();
        return one_of(&names);
    }
    let format = schema
        .get("format")
        .and_then(Json::as_str)
        .unwrap_or_default();
    let bounds = schema.as_object().map(range).unwrap_or_default();
    match (
        schema
            .get("type")
            .and_then(Json::as_str)
            .unwrap_or_default(),
        format,
    ) {
        ("string", "id") => "id".to_owned(),
        ("string", "ip") => "IP address".to_owned(),
        ("string", "ip-or-network") => "IP address or network".to_owned(),
        ("string", "ip-port") => "IP address with or without port".to_owned(),
        ("string", "octal") => "octal string".to_owned(),
        ("string", "host") => "host name or IP address".to_owned(),
        ("string", "host-name") => "host name".to_owned(),
        ("string", "sni-name") => "host name or `*.domain`".to_owned(),
        ("string", "tls-ciphers") => "list of ciphers".to_owned(),
        ("string", "metric-name") => "name of a metric".to_owned(),
        ("string", "path" | "file-id") => "path".to_owned(),
        ("string", "one-line") => "string on one line".to_owned(),
        ("string", "header-line") => "header field".to_owned(),
        ("string", "match-text") => "matcher of a name".to_owned(),
        ("string", "match-domain") => "matcher of a domain".to_owned(),
        ("string", "match-address") => "matcher of an address".to_owned(),
        ("string", _) => "string".to_owned(),
        ("boolean", _) => "`true` or `false`".to_owned(),
        ("integer", _) => format!("whole number{bounds}"),
        ("number", "seconds") if schema.get("exclusiveMinimum").is_some() => {
            "seconds above 0".to_owned()
        }
        ("number", "seconds") => "seconds".to_owned(),
        ("number", _) => format!("number{bounds}"),
        ("array", _) => match schema.get("items") {
            Some(items) if items.get("properties").is_some() || items.get("$ref").is_some() => {
                "list of maps".to_owned()
            }
            Some(items) => format!("list of: {}", value_name(items)),
            None => "list".to_owned(),
        },
        ("object", _) => match schema.get("additionalProperties") {
            Some(values @ Json::Object(_)) => format!("map to: {}", value_name(values)),
            _ => "map".to_owned(),
        },
        _ => "anything".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_page_is_what_the_schemas_say() {
        let committed = include_str!("../../../docs/reference/configuration.md");
        assert!(
            committed == configuration_page(),
            "run: cargo run -p angarium-config --example reference > docs/reference/configuration.md"
        );
    }
}
