//! What of the configuration works, in one table.
//!
//! Every key that the reference product has is in the schema. A key that is not in this table
//! works. The others are either accepted because there is nothing to set, or refused because what
//! they ask for is not there yet: a configuration is never carried out by half. To turn a key on,
//! take its row out.
//!
//! A key of a missing feature that is written with its default, or as an empty list or map, asks
//! for nothing and is accepted.

use crate::schema::FileKind;

/// What becomes of a key or value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It does what the reference page says.
    Works,
    /// It is accepted and changes nothing; the text says why.
    Ignored(&'static str),
    /// It is refused; the text names what it asks for.
    NotYet(&'static str),
}

/// What takes the place of a refused key or value when refusals are only warnings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fallback {
    /// The key is left out.
    LeaveOut,
    /// The whole entry of the list in which the key stands is left out.
    LeaveOutEntry,
    /// This value.
    Instead(&'static str),
}

struct Row {
    file: FileKind,
    key: &'static str,
    /// The row is about this value only.
    value: Option<&'static str>,
    status: Status,
    fallback: Fallback,
}

const fn key(file: FileKind, key: &'static str, status: Status) -> Row {
    Row {
        file,
        key,
        value: None,
        status,
        fallback: Fallback::LeaveOut,
    }
}

const fn value(
    file: FileKind,
    key: &'static str,
    value: &'static str,
    status: Status,
    fallback: Fallback,
) -> Row {
    Row {
        file,
        key,
        value: Some(value),
        status,
        fallback,
    }
}

use Fallback::{Instead, LeaveOutEntry};
use FileKind::{Delivery, Running, Startup};
use Status::{Ignored, NotYet};

const SHARED_WORKERS: Status = Ignored("hooks and queue run on the shared workers");
const DANE: Status = NotYet("DANE");
const PLUGINS: Status = NotYet("native plugins");

/// The first row that fits counts.
const TABLE: &[Row] = &[
    // smtpd.yaml
    value(Startup, "servers[].type", "plugin", PLUGINS, LeaveOutEntry),
    key(Startup, "servers[].threads.script", SHARED_WORKERS),
    key(Startup, "servers[].threads.stacksize", SHARED_WORKERS),
    key(Startup, "servers[].threads.priority", SHARED_WORKERS),
    key(Startup, "scripting.threads", SHARED_WORKERS),
    key(Startup, "threads", SHARED_WORKERS),
    key(Startup, "scripting.ffi", NotYet("the FFI class")),
    key(Startup, "queues.threads", SHARED_WORKERS),
    key(Startup, "cluster", NotYet("the cluster service")),
    key(Startup, "rated", NotYet("the shared rate service")),
    key(Startup, "plugins", PLUGINS),
    key(
        Startup,
        "environment.licensekey",
        Ignored("there is no licence to check"),
    ),
    key(Startup, "history", NotYet("the store of past messages")),
    // smtpd-app.yaml: servers
    value(Running, "servers[].type", "plugin", PLUGINS, LeaveOutEntry),
    // smtpd-app.yaml: the rest
    key(Running, "plugins", PLUGINS),
    // smtpd-app.yaml: groups and transports
    key(
        Running,
        "transports[].session.tls.mtasts",
        NotYet("MTA-STS without a script (a predelivery hook does it with extras://mta-sts)"),
    ),
    value(
        Running,
        "transports[].session.tls.mode",
        "dane",
        DANE,
        Instead("optional"),
    ),
    value(
        Running,
        "transports[].session.tls.mode",
        "dane_require",
        DANE,
        Instead("require"),
    ),
    value(
        Running,
        "transports[].session.tls.mode",
        "dane_fallback_require",
        DANE,
        Instead("require"),
    ),
    value(
        Running,
        "transports[].session.tls.mode",
        "dane_fallback_require_verify",
        DANE,
        Instead("require_verify"),
    ),
    // smtpd-delivery.yaml
    value(
        Delivery,
        "delivery.settings.tls.mode",
        "dane",
        DANE,
        Instead("optional"),
    ),
    value(
        Delivery,
        "delivery.settings.tls.mode",
        "dane_require",
        DANE,
        Instead("require"),
    ),
    value(
        Delivery,
        "delivery.settings.tls.mode",
        "dane_fallback_require",
        DANE,
        Instead("require"),
    ),
    value(
        Delivery,
        "delivery.settings.tls.mode",
        "dane_fallback_require_verify",
        DANE,
        Instead("require_verify"),
    ),
];

/// Says what becomes of the key with the path pattern `pattern` (as [`crate::path::KeyPath::pattern`]
/// gives it) when its value is `value`, a scalar as text.
///
/// Keys below a refused or ignored one are not asked about.
#[must_use]
pub fn lookup(file: FileKind, pattern: &str, value: Option<&str>) -> (Status, Fallback) {
    let fits = |row: &&Row| {
        row.file == file && row.key == pattern && (row.value.is_none() || row.value == value)
    };
    TABLE
        .iter()
        .find(fits)
        .map_or((Status::Works, Fallback::LeaveOut), |row| {
            (row.status, row.fallback)
        })
}

/// The rows about single values of a key: value and status.
pub(crate) fn values_of(
    file: FileKind,
    pattern: &str,
) -> impl Iterator<Item = (&'static str, Status)> {
    let rows = TABLE
        .iter()
        .filter(move |row| row.file == file && row.key == pattern);
    rows.filter_map(|row| Some((row.value?, row.status)))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::schema::{json_schema, resolve};

    /// The schema of the key with a pattern.
    fn find<'a>(root: &'a Value, pattern: &str) -> Option<&'a Value> {
        let mut schema = root;
        let steps = pattern.replace("[]", ".[]");
        let steps = match steps.strip_prefix("transports.") {
            Some(rest) => format!("transportgroups.{rest}"),
            None => steps.replace("delivery.settings", "delivery.default"),
        };
        for step in steps.split('.') {
            schema = resolve(root, schema);
            let branches = schema
                .get("anyOf")
                .and_then(Value::as_array)
                .map_or(&[][..], Vec::as_slice);
            let below = |one: &'a Value| match step {
                "[]" => one.get("items"),
                key => one
                    .get("properties")
                    .and_then(|properties| properties.get(key)),
            };
            schema = below(schema).or_else(|| branches.iter().find_map(below))?;
        }
        Some(resolve(root, schema))
    }

    #[test]
    fn every_row_is_about_a_key_and_value_of_the_schema() {
        for row in TABLE {
            let root = json_schema(row.file);
            let schema = find(root, row.key).unwrap_or_else(|| panic!("{} is no key", row.key));
            if let Some(value) = row.value {
                let names = schema.get("enum").and_then(Value::as_array).expect(row.key);
                let known = |name: &Value| {
                    name.as_str()
                        .map_or_else(|| name.to_string(), str::to_owned)
                        == value
                };
                assert!(names.iter().any(known), "{} has no value {value}", row.key);
            }
        }
    }
}
