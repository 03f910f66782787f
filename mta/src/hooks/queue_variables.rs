//! The predefined variables of predelivery and postdelivery: `$message`, and the values of all.

use std::io;
use std::sync::Arc;

use angarium_mail::edits::Modified;
use angarium_queue::attempt::{Attempt, Connection, EnhancedStatus, Outcome, PeerCert, TlsInfo};
use angarium_queue::item::{Address, Item, ItemId};
use angarium_queue::outcome::{Cause, Situation};
use angarium_queue::policy::Applied;
use angarium_queue::policy::spec::Property;
use angarium_queue::text::Text;
use angarium_runtime::array::{Array, Key};
use angarium_runtime::native::VarDecl;
use angarium_runtime::string::Str;
use angarium_runtime::value::Value;
use angarium_spool::{BodyRef, Spool};
use angarium_stdlib::file::{self, SourceData};

use super::variables::{Map, always, sometimes};
use crate::delivery::content::{BodySource, Stored};

/// `$message` of both hooks (group MESSAGE).
pub const MESSAGE: &[VarDecl] = &[
    always("$message.id.transaction", "string", "id of the transaction"),
    always(
        "$message.id.queue",
        "number",
        "queue id within the transaction",
    ),
    always("$message.ts", "number", "Unix time of the transaction"),
    always("$message.serverid", "string", "server that received it"),
    always(
        "$message.sender",
        "string",
        "sender in lower case; empty for the null sender",
    ),
    always(
        "$message.senderaddress.localpart",
        "string",
        "its local part",
    ),
    always("$message.senderaddress.domain", "string", "its domain"),
    always("$message.recipient", "string", "recipient in lower case"),
    always(
        "$message.recipientaddress.localpart",
        "string",
        "its local part",
    ),
    always("$message.recipientaddress.domain", "string", "its domain"),
    always("$message.transportid", "string", "transport"),
    sometimes("$message.tenantid", "string", "tenant"),
    sometimes("$message.jobid", "string", "job"),
    always("$message.priority", "number", "queue priority, 0 or 1"),
    always("$message.size", "number", "bytes, with modifications"),
    always(
        "$message.file.original",
        "FileResource",
        "the message as received, for File()",
    ),
    always(
        "$message.file.modified",
        "FileResource",
        "the message as it will be sent, for File()",
    ),
    sometimes("$message.dsn.envid", "string", "ENVID, decoded"),
    sometimes("$message.dsn.ret", "string", "HDRS or FULL"),
    sometimes(
        "$message.dsn.notify",
        "string",
        "NEVER, or a list of SUCCESS, FAILURE and DELAY",
    ),
    sometimes("$message.dsn.orcpt", "string", "ORCPT, decoded"),
];

fn text(text: &Text) -> Value {
    Value::bytes(text.as_bytes())
}

fn list<'a>(texts: impl IntoIterator<Item = &'a Text>) -> Value {
    texts.into_iter().map(text).collect::<Array>().into()
}

fn numbers(status: EnhancedStatus) -> Value {
    [status.class, status.subject, status.detail]
        .into_iter()
        .map(|number| Value::from(u32::from(number)))
        .collect::<Array>()
        .into()
}

fn address(address: &Address) -> Value {
    Map::default()
        .with("localpart", text(&address.localpart))
        .with("domain", text(&address.domain))
        .into()
}

/// An address as one lower-case string, quoted where it has to be; empty for the null path.
fn lower(address: &Address) -> String {
    if address.is_null() {
        return String::new();
    }
    angarium_smtp::address::Mailbox::new(&address.localpart.to_str(), &address.domain.to_str())
        .map_or_else(
            |_| address.to_string().to_lowercase(),
            |mailbox| mailbox.lower(),
        )
}

/// `transaction` and `queue` of an item.
fn id(id: &ItemId) -> Value {
    Map::default()
        .with("transaction", id.transaction.to_string())
        .with("queue", id.queue as f64)
        .into()
}

fn open(spool: &Spool, body: BodyRef) -> io::Result<BodySource> {
    BodySource::open(spool, body).map_err(io::Error::other)
}

/// The two forms of an item's message, as `FileResource` values.
#[derive(Debug, Clone)]
pub struct Files {
    /// As received.
    pub original: Value,
    /// With its changes.
    pub modified: Value,
}

impl Files {
    /// The message of `item` in the spool; `now` is taken for the date of delivery.
    #[must_use]
    pub fn in_spool(spool: &Spool, item: &Item, now: i64) -> Files {
        // A script that does not look at the message costs two copies of a reference.
        let stored = {
            let (content, edits) = (item.content.clone(), item.edits.clone());
            move || Stored::from_references(&content, edits.as_ref()).map_err(io::Error::other)
        };
        let original = {
            let (spool, stored) = (spool.clone(), stored.clone());
            file::resource(move || Ok(Arc::new(SourceData(open(&spool, stored()?.original())?))))
        };
        let spool = spool.clone();
        let modified = file::resource(move || match stored()? {
            Stored::Plain(body) | Stored::Replaced { copy: body, .. } => {
                Ok(Arc::new(SourceData(open(&spool, body)?)))
            }
            Stored::Edited(body, edits) => {
                let modified = Modified::new(open(&spool, body)?, edits, now);
                Ok(Arc::new(SourceData(modified.map_err(io::Error::other)?)))
            }
        });
        Files { original, modified }
    }

    /// A message without changes in memory, for tools.
    #[must_use]
    pub fn in_memory(message: &[u8]) -> Files {
        let message: Arc<[u8]> = message.into();
        let file = file::resource(move || Ok(Arc::new(Arc::clone(&message))));
        Files {
            original: file.clone(),
            modified: file,
        }
    }
}

/// `$message` (group MESSAGE).
#[must_use]
pub fn message(item: &Item, files: Files) -> Value {
    let dsn = &item.dsn;
    let has_dsn =
        dsn.envid.is_some() || dsn.ret.is_some() || dsn.notify.is_some() || dsn.orcpt.is_some();
    let dsn = has_dsn.then(|| {
        Value::from(
            Map::default()
                .maybe("envid", dsn.envid.as_ref().map(text))
                .maybe("ret", dsn.ret.map(|ret| ret.as_str()))
                .maybe("notify", dsn.notify.map(|notify| notify.to_string()))
                .maybe("orcpt", dsn.orcpt.as_ref().map(text)),
        )
    });
    Map::default()
        .with("id", id(&item.id))
        .with("ts", item.received.as_secs_f64())
        .with("serverid", text(&item.serverid))
        .with("sender", lower(&item.sender))
        .with("senderaddress", address(&item.sender))
        .with("recipient", lower(&item.recipient))
        .with("recipientaddress", address(&item.recipient))
        .with("transportid", text(&item.transportid))
        .maybe("tenantid", item.tenantid.as_ref().map(text))
        .maybe("jobid", item.jobid.as_ref().map(text))
        .with("priority", item.priority.number() as f64)
        .with("size", item.size as f64)
        .with(
            "file",
            Map::default()
                .with("original", files.original)
                .with("modified", files.modified),
        )
        .maybe("dsn", dsn)
        .into()
}

/// `$arguments` of predelivery.
#[must_use]
pub fn predelivery_arguments(item: &Item) -> Value {
    Map::default().with("retry", item.retrycount).into()
}

fn tls(info: &TlsInfo) -> Value {
    Map::default()
        .with("started", info.started)
        .maybe("protocol", info.protocol.as_ref().map(text))
        .maybe("cipher", info.cipher.as_ref().map(text))
        .maybe("keysize", info.keysize.map(u32::from))
        .maybe("peercert", info.peercert.as_deref().and_then(peercert))
        .maybe("tlsrpt", info.tlsrpt)
        .into()
}

/// A certificate that was shown, and those behind it; none if it cannot be read.
pub(super) fn peercert(cert: &PeerCert) -> Option<Value> {
    super::variables::peercert(&cert.chain, cert.error)
}

fn connection(connection: &Connection) -> Value {
    let greeting = (!connection.remotegreet.is_empty()).then(|| list(&connection.remotegreet));
    Map::default()
        .with("id", text(&connection.id))
        .with("transactions", connection.transactions as f64)
        .maybe(
            "localip",
            connection.localip.map(|address| address.to_string()),
        )
        .maybe("localipid", connection.localipid.as_ref().map(text))
        .maybe("helo", connection.helo.as_ref().map(text))
        .maybe(
            "remoteip",
            connection.remoteip.map(|address| address.to_string()),
        )
        .maybe("remotemx", connection.remotemx.as_ref().map(text))
        .maybe("remotegreet", greeting)
        .maybe("tls", connection.tls.as_ref().map(tls))
        .into()
}

fn attempt(attempt: &Attempt) -> Value {
    let map = match &attempt.outcome {
        Outcome::Result(reply) => Map::default().with(
            "result",
            Map::default()
                .with("code", u32::from(reply.code))
                .maybe("enhanced", reply.enhanced.map(numbers))
                .with("reason", list(&reply.reason))
                .with("state", reply.state.as_str()),
        ),
        Outcome::Error(error) => {
            let dns = match &error.kind {
                angarium_queue::attempt::ErrorKind::Dns(dns) => Some(dns.as_str()),
                _ => None,
            };
            Map::default().with(
                "error",
                Map::default()
                    .with("temporary", error.temporary)
                    .with("message", error.message.as_str())
                    .with("type", error.kind.as_str())
                    .maybe("dns", dns),
            )
        }
    };
    map.maybe("connection", attempt.connection.as_ref().map(connection))
        .with("duration", attempt.duration.as_secs_f64())
        .into()
}

/// An entry of `$arguments["policy"]["policies"]`.
fn policy(of: &Applied) -> Value {
    let limits = &of.limits;
    let rate = limits.rate.map(|rate| {
        let pair = [f64::from(rate.count), rate.interval.as_secs_f64()];
        pair.into_iter().map(Value::from).collect::<Array>()
    });
    let groups = of.groups.iter().map(|(field, name)| {
        let name = format!("#{name}");
        (Key::from(field.name()), Value::from(name.as_str()))
    });
    let dynamic = of.dynamic.iter().map(|(id, tag)| {
        let entry = Map::default().with("id", text(id));
        Value::from(entry.maybe("tag", tag.as_ref().map(text)))
    });
    let properties = of.properties.iter().map(|(name, value)| {
        let value = match value {
            Property::Text(value) => text(value),
            Property::Number(value) => Value::from(*value),
            Property::Boolean(value) => Value::from(*value),
        };
        (Key::from_string(Str::new(name.as_bytes())), value)
    });
    let some = |list: Array| (!list.is_empty()).then_some(list);
    let names = of.fields.iter().map(|field| Value::from(field.name()));
    Map::default()
        .maybe("concurrency", limits.concurrency)
        .maybe("rate", rate)
        .maybe(
            "connectinterval",
            limits
                .connect_interval
                .map(|interval| interval.as_secs_f64()),
        )
        .with("fields", names.collect::<Array>())
        .maybe("grouping", some(groups.collect()))
        .maybe("dynamic", some(dynamic.collect()))
        .maybe("tags", some(of.tags.iter().map(text).collect()))
        .maybe("properties", some(properties.collect()))
        .maybe("stop", of.stop.then_some(true))
        .into()
}

/// `$arguments` of postdelivery.
#[must_use]
pub fn postdelivery_arguments(
    item: &Item,
    cause: &Cause,
    situation: &Situation,
    dsn_id: Option<&ItemId>,
    grouping: Option<&Text>,
    tags: &[Text],
    policies: &[Arc<Applied>],
) -> Value {
    let made = match cause {
        Cause::Attempt(attempt) => Some(attempt),
        _ => None,
    };
    let applied = made.map(|_| {
        Value::from(Map::default().with("tags", list(tags)).with(
            "policies",
            policies.iter().map(|of| policy(of)).collect::<Array>(),
        ))
    });
    let dsn = &situation.dsn;
    let has_dsn = dsn.action.is_some() || dsn.status.is_some() || dsn.diagnostic.is_some();
    let dsn = has_dsn.then(|| {
        Value::from(
            Map::default()
                .maybe("action", dsn.action.map(|action| action.as_str()))
                .maybe("id", dsn_id.map(id))
                .maybe("status", dsn.status.map(numbers))
                .maybe(
                    "diagnostictype",
                    dsn.diagnostic.as_ref().map(|diagnostic| diagnostic.kind()),
                )
                .maybe(
                    "diagnosticcode",
                    dsn.diagnostic.as_ref().map(|diagnostic| diagnostic.text()),
                ),
        )
    });
    Map::default()
        .with("retry", item.retrycount)
        .with("expired", situation.expired)
        .maybe("action", situation.action.map(|action| action.as_str()))
        .maybe("grouping", grouping.map(text))
        .maybe("policy", applied)
        .maybe("attempt", made.map(attempt))
        .maybe("dsn", dsn)
        .into()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use angarium_queue::attempt::{AttemptError, DnsError, ErrorKind, Reply, SmtpState};
    use angarium_queue::dsn::{Diagnostic, DsnAction, DsnRequest};
    use angarium_queue::gate::Field;
    use angarium_queue::outcome::{Action, DsnArguments};
    use angarium_queue::policy::rate::Rate;
    use angarium_queue::policy::spec::Limits;
    use angarium_queue::time::Timestamp;
    use angarium_runtime::native::ContextDecl;
    use angarium_stdlib::json::{self, Form};

    use super::*;
    use crate::hooks::queue::{POSTDELIVERY, PREDELIVERY};

    /// An item and an attempt that have everything.
    fn item() -> Item {
        let id = ItemId {
            transaction: uuid::Uuid::from_u128(1),
            queue: 2,
        };
        let mut item = Item::new(
            id,
            Timestamp::from_micros(1_700_000_000_500_000),
            Address::new("S", "Example.org"),
            Address::new("R r", "Example.net"),
            "out".into(),
        );
        item.serverid = "default".into();
        item.tenantid = Some("tenant".into());
        item.jobid = Some("job".into());
        item.size = 123;
        item.dsn = DsnRequest {
            envid: Some("env".into()),
            ret: "FULL".parse().ok(),
            notify: "SUCCESS,DELAY".parse().ok(),
            orcpt: Some("rfc822;r@example.net".into()),
        };
        item
    }

    fn certificate() -> PeerCert {
        let made = rcgen::generate_simple_self_signed(vec!["mx.test".to_owned()]).unwrap();
        PeerCert {
            chain: vec![made.cert.der().to_vec()],
            error: Some(10),
        }
    }

    fn attempt_with(outcome: Outcome) -> Cause {
        let text = |text: &str| Some(Text::from(text));
        Cause::Attempt(Attempt {
            outcome,
            connection: Some(Connection {
                id: "C".into(),
                transactions: 3,
                localip: Some([192, 0, 2, 1].into()),
                localipid: text("ip1"),
                helo: text("mx.example"),
                remoteip: Some([192, 0, 2, 25].into()),
                remotemx: text("mx.example.net"),
                remotegreet: vec!["mx.example.net ESMTP".into()],
                tls: Some(TlsInfo {
                    started: true,
                    protocol: text("TLSv1.3"),
                    cipher: text("TLS_AES_256_GCM_SHA384"),
                    keysize: Some(256),
                    tlsrpt: Some("certificate-expired"),
                    peercert: Some(Arc::new(certificate())),
                    ..TlsInfo::default()
                }),
                ..Connection::default()
            }),
            duration: Duration::from_millis(1500),
            final_delivery: false,
        })
    }

    fn postdelivery(outcome: Outcome) -> Value {
        let status = EnhancedStatus::new(5, 1, 1);
        let situation = Situation {
            expired: true,
            action: Some(Action::Bounce),
            dsn: DsnArguments {
                action: Some(DsnAction::Failed),
                status: Some(status),
                diagnostic: Some(Diagnostic::Smtp("550 5.1.1 no".to_owned())),
            },
        };
        let item = item();
        postdelivery_arguments(
            &item,
            &attempt_with(outcome),
            &situation,
            Some(&item.id),
            Some(&"&google".into()),
            &["tag".into()],
            &[],
        )
    }

    #[test]
    fn a_policy_shows_the_limits_and_labels_that_it_has() {
        let properties = [
            (Text::from("backoff-ttl"), Property::Number(300.0)),
            (Text::from("note"), Property::Text("slow".into())),
            (Text::from("on"), Property::Boolean(true)),
        ];
        let full = Applied {
            fields: vec![Field::LocalIp, Field::RemoteMx],
            groups: vec![(Field::RemoteMx, "gsuite".into())],
            limits: Limits {
                concurrency: Some(5),
                rate: Some(Rate {
                    count: 10,
                    interval: Duration::from_secs(60),
                }),
                connect_interval: Some(Duration::from_millis(500)),
            },
            tags: vec!["backoff".into()],
            properties: properties.into(),
            stop: true,
            dynamic: vec![("id".into(), Some("backoff".into()))],
            ..Applied::default()
        };
        const PLAIN: Form = Form {
            ascii: false,
            pretty: false,
        };
        let shown: Vec<String> = [policy(&full), policy(&Applied::default())]
            .iter()
            .map(|value| json::encode(value, PLAIN).unwrap())
            .map(|text| String::from_utf8(text).unwrap())
            .collect();
        assert_eq!(
            shown,
            [
                concat!(
                    r#"{"concurrency":5,"rate":[10,60],"connectinterval":0.5,"fields":["localip","remotemx"],"#,
                    r##""grouping":{"remotemx":"#gsuite"},"dynamic":[{"id":"id","tag":"backoff"}],"##,
                    r#""tags":["backoff"],"properties":{"backoff-ttl":300,"note":"slow","on":true},"stop":true}"#,
                ),
                r#"{"fields":[]}"#,
            ]
        );
    }

    /// Every path of a value with its type.
    fn paths(name: &str, value: &Value) -> BTreeMap<String, &'static str> {
        let mut paths = BTreeMap::new();
        let mut work = vec![(name.to_owned(), value.clone())];
        while let Some((path, value)) = work.pop() {
            for (key, inner) in value.as_array().into_iter().flat_map(|array| array.iter()) {
                let key = angarium_runtime::convert::to_str(&key.to_value());
                work.push((format!("{path}.{}", key.to_text()), inner));
            }
            let kind = match &value {
                Value::Resource(resource) => resource.name(),
                other => other.kind().name(),
            };
            paths.insert(path, kind);
        }
        paths
    }

    /// What no delivery can have yet, and why.
    const NOT_YET: &[(&str, &str)] = &[
        ("$arguments.queue.plugin.", "there are no plugins"),
        ("$arguments.attempt.plugin.", "there are no plugins"),
        (
            "$arguments.attempt.connection.tls.tlsa.",
            "there is no DANE",
        ),
    ];

    fn check(context: &ContextDecl, found: &BTreeMap<String, &'static str>) {
        for variable in context.variables {
            let (path, want) = (variable.path, variable.types);
            let kind = found.get(path).copied();
            if path == "$context" {
                continue;
            }
            if NOT_YET.iter().any(|(prefix, _)| path.starts_with(prefix)) {
                assert_eq!(kind, None, "{} {path}", context.name);
            } else {
                assert_eq!(kind, Some(want), "{} {path}", context.name);
            }
        }
        for path in found.keys() {
            let declared = context.variables.iter().any(|variable| {
                path == variable.path
                    || path.starts_with(&format!("{}.", variable.path))
                    || variable.path.starts_with(&format!("{path}."))
            });
            assert!(declared, "{} {path} is not in the table", context.name);
        }
    }

    #[test]
    fn every_declared_variable_gets_its_value() {
        let message = paths("$message", &message(&item(), Files::in_memory(b"x")));
        let mut before = paths("$arguments", &predelivery_arguments(&item()));
        before.extend(message.clone());
        check(&PREDELIVERY, &before);
        let reply = Outcome::Result(Reply {
            code: 550,
            enhanced: Some(EnhancedStatus::new(5, 1, 1)),
            reason: vec!["no".into()],
            state: SmtpState::Rcpt,
        });
        let error = AttemptError::new(ErrorKind::Dns(DnsError::NullMx), false, "no mail");
        let (by_reply, by_error) = (postdelivery(reply), postdelivery(Outcome::Error(error)));
        let by_error = paths("$arguments", &by_error);
        let mut after = paths("$arguments", &by_reply);
        // One attempt ends by a reply or an error.
        assert!(!after.contains_key("$arguments.attempt.error"));
        assert!(!by_error.contains_key("$arguments.attempt.result"));
        after.extend(by_error);
        after.extend(message);
        check(&POSTDELIVERY, &after);
    }
}
