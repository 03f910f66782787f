//! The queue as scripts see it: limits and suspends that end by themselves, and quotas.
//!
//! The functions read their arguments and hand a wish to the host's [`Queue`], which knows fields,
//! patterns and limits. A wish that cannot be carried out gives none, and the host logs why: a script
//! that slows a destination down must not lose its message over a mistake in a limit.

use std::rc::Rc;
use std::time::Duration;

use angarium_runtime::array::{Array, Key, View};
use angarium_runtime::convert::{to_number, to_str, truthy};
use angarium_runtime::host::Host;
use angarium_runtime::native::{
    Args, Cx, FnDecl, LocalFuture, OptDecl, Options, Outcome, Throw, opt,
};
use angarium_runtime::value::{Kind, Value};

/// The queue of the process, as an extension of the [`Host`].
pub struct QueueService(pub Rc<dyn Queue>);

/// What a queue does for scripts. An error is a sentence for the log.
pub trait Queue {
    /// Sets a condition of the pick-up policies; gives its id.
    fn set_policy(&self, policy: Policy) -> LocalFuture<Result<Vec<u8>, String>>;

    /// Takes a condition away; whether there was one. An error: there is no queue any more.
    fn delete_policy(&self, id: Vec<u8>) -> LocalFuture<Result<bool, String>>;

    /// Suspends what fits; gives the suspend's id.
    fn set_suspend(&self, suspend: Suspend) -> LocalFuture<Result<Vec<u8>, String>>;

    /// Messages and bytes that are tied to a quota.
    fn quota(&self, name: Vec<u8>) -> LocalFuture<Result<(u64, u64), String>>;

    /// Connections to a server, or those of them from an address or network; none: no such server.
    fn server_concurrency(&self, server: &str, address: Option<&str>) -> Option<usize>;

    /// Hears why a call gave none.
    fn refused(&self, function: &'static str, why: &str, origin: &str);
}

/// Fields with the patterns of which one must fit.
pub type Values = Vec<(String, Vec<String>)>;

/// A condition of the pick-up policies to be set at run time.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Names of the fields that name the counter.
    pub fields: Vec<String>,
    /// Values of some of them.
    pub condition: Values,
    /// Deliveries at once.
    pub concurrency: Option<u32>,
    /// Messages in a time.
    pub rate: Option<(u32, Duration)>,
    /// The least time between new connections.
    pub connectinterval: Option<Duration>,
    /// A label.
    pub tag: Option<Vec<u8>>,
    /// Whether later policies are left out.
    pub stop: Option<bool>,
    /// Values for postdelivery.
    pub properties: Vec<(String, Property)>,
    /// How it is set.
    pub how: How,
}

/// A suspend to be set at run time.
#[derive(Clone, Debug, PartialEq)]
pub struct Suspend {
    /// All of these must fit; without any, everything is suspended.
    pub fields: Values,
    /// A label.
    pub tag: Option<Vec<u8>>,
    /// Values for postdelivery.
    pub properties: Vec<(String, Property)>,
    /// How it is set.
    pub how: How,
}

/// A value for postdelivery and operators.
#[derive(Clone, Debug, PartialEq)]
pub enum Property {
    /// A string.
    Text(Vec<u8>),
    /// A number.
    Number(f64),
    /// True or false.
    Boolean(bool),
}

/// How something is set.
#[derive(Clone, Debug, PartialEq)]
pub struct How {
    /// How long it lasts; zero: until it is deleted.
    pub ttl: Duration,
    /// Its own id.
    pub id: Option<Vec<u8>>,
    /// Whether one that is alike is brought up to date.
    pub update: bool,
    /// A label for its kind.
    pub kind: Option<Vec<u8>>,
    /// The file and line of the call.
    pub origin: String,
}

const POLICY_OPTIONS: &[OptDecl] = &[
    opt(
        "update",
        "boolean",
        "true",
        "give one with the same fields and condition these limits and this ttl",
    ),
    opt("id", "string", "", "its own identifier"),
    opt(
        "type",
        "string",
        "",
        "a label for its kind, such as backoff",
    ),
    opt("policy.concurrency", "number", "", "deliveries at once"),
    opt(
        "policy.rate",
        "array",
        "",
        "messages, and in how many seconds",
    ),
    opt(
        "policy.connectinterval",
        "number",
        "",
        "seconds from one new connection to the next",
    ),
    opt("policy.tag", "string", "", "a label, shown to postdelivery"),
    opt("policy.properties", "array", "", "values for postdelivery"),
    opt("policy.stop", "boolean", "", "leave later policies out"),
    opt(
        "policy.cluster",
        "boolean",
        "true",
        "share the limits in a cluster; a host alone has them whole",
    ),
];

const SUSPEND_OPTIONS: &[OptDecl] = &[
    opt("tag", "string", "", "a label"),
    opt(
        "update",
        "boolean",
        "true",
        "give one with the same fields this ttl",
    ),
    opt("id", "string", "", "its own identifier"),
    opt("properties", "array", "", "values for operators"),
];

/// The functions of this family.
pub const FUNCTIONS: &[FnDecl] = &[
    FnDecl::waiting(
        "queue_policy(fields: array, condition: array, policy: array, ttl: number, options?: array): array|none",
        "Limits deliveries for `ttl` seconds (0: until it is deleted). `fields` are the names of the fields that name \
         the counter, `condition` gives values for some of them, `policy` has the limits. A limit that a configured \
         policy with these fields sets is kept where this one does not name it. Gives `id`, or none when a field, \
         value or limit cannot be used; the log says why.",
        queue_policy,
    )
    .example(r#"queue_policy(["remotemx"], ["remotemx" => "mx.example.org"], ["rate" => [10, 60]], 300)["id"] // "p1""#)
    .since("5.3 (5.2 PickupPolicy)")
    .options(POLICY_OPTIONS),
    FnDecl::waiting(
        "queue_policy_delete(id: string): boolean|none",
        "Takes a limit away that was set by queue_policy; tells whether there was one.",
        queue_policy_delete,
    )
    .example(r#"queue_policy_delete("p1") // true"#)
    .since(">5.5"),
    FnDecl::waiting(
        "queue_quota(name: string): array",
        "Counts the messages in the queue that are tied to a quota: `count` and `bytes`.",
        queue_quota,
    )
    .example(r#"queue_quota("customer#1") // ["count"=>2,"bytes"=>8192]"#)
    .since("5.3"),
    FnDecl::waiting(
        "queue_suspend(fields: array, ttl: number, options?: array): array|none",
        "Stops deliveries for `ttl` seconds (0: until it is deleted) for which every value in `fields` fits. Gives \
         `id`, or none when a field or value cannot be used; the log says why.",
        queue_suspend,
    )
    .example(r#"queue_suspend(["remotemx" => "mx.example.org"], 3600)["id"] // "s1""#)
    .since("5.3 (5.2 PickupSuspend)")
    .options(SUSPEND_OPTIONS),
    FnDecl::plain(
        "server_concurrency(serverid: string, address?: string): number|none",
        "Counts the open connections to a server, or those from one address or network. Gives none for an unknown \
         server.",
        server_concurrency,
    )
    .example(r#"server_concurrency("default") // 12"#)
    .since(">5.5"),
    FnDecl::waiting(
        "PickupPolicy(fields: array, condition: array, policy: array, ttl: number, options?: array): array|none",
        "Older name of queue_policy.",
        queue_policy,
    )
    .legacy()
    .options(POLICY_OPTIONS),
    FnDecl::waiting(
        "PickupSuspend(fields: array, ttl: number, options?: array): array|none",
        "Older name of queue_suspend.",
        queue_suspend,
    )
    .legacy()
    .options(SUSPEND_OPTIONS),
];

/// The greatest length of a tag, in bytes.
const TAG: usize = 32;
/// The greatest length of an id, in bytes.
const ID: usize = 255;
/// The most bytes of names and values of properties.
const PROPERTIES: usize = 64 * 1024;

fn queue_policy(cx: &mut Cx<'_>, args: Args<'_>) -> Result<LocalFuture<Outcome>, Throw> {
    let service = service(cx.host, "queue_policy")?;
    let origin = origin(cx.host);
    match read_policy(&args, &origin) {
        Ok(policy) => Ok(Box::pin(async move {
            let set = service.0.set_policy(policy).await;
            Ok(stored(&service, "queue_policy", &origin, set))
        })),
        Err(why) => Ok(refused(&service, "queue_policy", &why, &origin)),
    }
}

fn queue_suspend(cx: &mut Cx<'_>, args: Args<'_>) -> Result<LocalFuture<Outcome>, Throw> {
    let service = service(cx.host, "queue_suspend")?;
    let origin = origin(cx.host);
    match read_suspend(&args, &origin) {
        Ok(suspend) => Ok(Box::pin(async move {
            let set = service.0.set_suspend(suspend).await;
            Ok(stored(&service, "queue_suspend", &origin, set))
        })),
        Err(why) => Ok(refused(&service, "queue_suspend", &why, &origin)),
    }
}

fn queue_policy_delete(cx: &mut Cx<'_>, args: Args<'_>) -> Result<LocalFuture<Outcome>, Throw> {
    let service = service(cx.host, "queue_policy_delete")?;
    let id = args.bytes(0).to_vec();
    Ok(Box::pin(async move {
        let found = service.0.delete_policy(id).await;
        Ok(found.map_or(Value::None, Value::from))
    }))
}

fn queue_quota(cx: &mut Cx<'_>, args: Args<'_>) -> Result<LocalFuture<Outcome>, Throw> {
    let service = service(cx.host, "queue_quota")?;
    let name = args.bytes(0).to_vec();
    Ok(Box::pin(async move {
        let (count, bytes) = service.0.quota(name).await.map_err(Throw::error)?;
        Ok(map([
            ("count", Value::from(count as f64)),
            ("bytes", Value::from(bytes as f64)),
        ]))
    }))
}

fn server_concurrency(cx: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    let service = service(cx.host, "server_concurrency")?;
    let server = String::from_utf8_lossy(args.bytes(0)).into_owned();
    let address = args
        .has(1)
        .then(|| String::from_utf8_lossy(args.bytes(1)).into_owned());
    let count = service.0.server_concurrency(&server, address.as_deref());
    Ok(count.map_or(Value::None, |count| Value::from(count as f64)))
}

fn service(host: &Host, function: &str) -> Result<Rc<QueueService>, Throw> {
    host.extension()
        .ok_or_else(|| Throw::error(format!("{function}: there is no queue here")))
}

fn origin(host: &Host) -> String {
    match host.called_at() {
        Some(place) => {
            let file = place.file.as_deref().unwrap_or("script");
            format!("{file}:{}", place.line)
        }
        None => "script".to_owned(),
    }
}

fn stored(
    service: &QueueService,
    function: &'static str,
    origin: &str,
    set: Result<Vec<u8>, String>,
) -> Value {
    match set {
        Ok(id) => map([("id", Value::bytes(&id))]),
        Err(why) => {
            service.0.refused(function, &why, origin);
            Value::None
        }
    }
}

fn map<const N: usize>(entries: [(&'static str, Value); N]) -> Value {
    let entries = entries.into_iter();
    entries
        .map(|(name, value)| (Key::from(name), value))
        .collect::<Array>()
        .into()
}

fn refused(
    service: &QueueService,
    function: &'static str,
    why: &str,
    origin: &str,
) -> LocalFuture<Outcome> {
    service.0.refused(function, why, origin);
    Box::pin(std::future::ready(Ok(Value::None)))
}

fn read_policy(args: &Args<'_>, origin: &str) -> Result<Policy, String> {
    let names = args.get(0).as_array();
    let fields = names
        .iter()
        .flat_map(|names| names.values())
        .map(|name| text(&name).ok_or("a name of a field is no string".to_owned()))
        .collect::<Result<Vec<String>, String>>()?;
    let policy = args.get(2);
    let limits = args.options(2);
    Ok(Policy {
        fields,
        condition: values(args.get(1))?,
        concurrency: limits
            .get("concurrency")
            .map(|value| count(&value, "concurrency"))
            .transpose()?,
        rate: limits.get("rate").map(|value| rate(&value)).transpose()?,
        connectinterval: limits
            .get("connectinterval")
            .map(|value| seconds(&value, "connectinterval"))
            .transpose()?,
        tag: tag(limits)?,
        stop: limits.get("stop").map(|value| truthy(&value)),
        properties: properties(policy.as_array())?,
        how: how(args, 3, 4, origin)?,
    })
}

fn read_suspend(args: &Args<'_>, origin: &str) -> Result<Suspend, String> {
    Ok(Suspend {
        fields: values(args.get(0))?,
        tag: tag(args.options(2))?,
        properties: properties(args.get(2).as_array())?,
        how: how(args, 1, 2, origin)?,
    })
}

fn how(args: &Args<'_>, ttl: usize, options: usize, origin: &str) -> Result<How, String> {
    let options = args.options(options);
    let bytes = |name: &str| options.string(name).map(|text| text.as_bytes().to_vec());
    let id = bytes("id").filter(|id| !id.is_empty());
    if id.as_ref().is_some_and(|id| id.len() > ID) {
        return Err(format!("id: is longer than {ID} bytes"));
    }
    Ok(How {
        ttl: seconds(args.get(ttl), "ttl")?,
        id,
        update: options.boolean("update", true),
        kind: bytes("type").filter(|kind| !kind.is_empty()),
        origin: origin.to_owned(),
    })
}

fn tag(options: Options<'_>) -> Result<Option<Vec<u8>>, String> {
    let Some(tag) = options.string("tag").filter(|tag| !tag.is_empty()) else {
        return Ok(None);
    };
    if tag.len() > TAG {
        return Err(format!("tag: is longer than {TAG} bytes"));
    }
    Ok(Some(tag.as_bytes().to_vec()))
}

/// Fields and values: one value, or a list of which one must fit.
fn values(value: &Value) -> Result<Values, String> {
    let mut all = Vec::new();
    for (field, value) in value.as_array().into_iter().flat_map(|array| array.iter()) {
        let field = text(&field.to_value()).unwrap_or_default();
        let wrong = || format!("{field}: is no string");
        let list = match value.as_array() {
            Some(list) => list
                .values()
                .map(|one| text(&one).ok_or_else(wrong))
                .collect::<Result<Vec<String>, String>>()?,
            None => vec![text(&value).ok_or_else(wrong)?],
        };
        if list.is_empty() {
            return Err(format!("{field}: is an empty list, which nothing fits"));
        }
        all.push((field, list));
    }
    Ok(all)
}

fn text(value: &Value) -> Option<String> {
    matches!(value.kind(), Kind::String | Kind::Number)
        .then(|| to_str(value).to_text().into_owned())
}

/// A number, or a string that is one from end to end.
fn number(value: &Value) -> Option<f64> {
    match value.kind() {
        Kind::Number => Some(to_number(value)),
        Kind::String => to_str(value).to_text().trim().parse().ok(),
        _ => None,
    }
}

fn count(value: &Value, what: &str) -> Result<u32, String> {
    let wrong = || format!("{what}: must be a number from 0");
    let number = number(value).ok_or_else(wrong)?;
    if !(0.0..=f64::from(u32::MAX)).contains(&number) {
        return Err(wrong());
    }
    Ok(number as u32)
}

fn seconds(value: &Value, what: &str) -> Result<Duration, String> {
    let wrong = || format!("{what}: must be a number of seconds");
    let number = number(value).ok_or_else(wrong)?;
    if !number.is_finite() || number < 0.0 {
        return Err(wrong());
    }
    // A century is more than any plan needs and keeps all sums in range.
    Ok(Duration::from_secs_f64(number.min(3_153_600_000.0)))
}

/// `[count, seconds]`, a count for each second, or `count/seconds`.
fn rate(value: &Value) -> Result<(u32, Duration), String> {
    let wrong = || "rate: must be [messages, seconds]".to_owned();
    let (messages, interval) = if let Some(list) = value.as_array() {
        let mut list = list.values();
        match (list.next(), list.next(), list.next()) {
            (Some(messages), Some(interval), None) => (messages, interval),
            _ => return Err(wrong()),
        }
    } else {
        let written = to_str(value).to_text().into_owned();
        let (messages, interval) = written.split_once('/').unwrap_or((&written, "1"));
        (Value::from(messages), Value::from(interval))
    };
    let messages = count(&messages, "rate").map_err(|_| wrong())?;
    let interval = seconds(&interval, "rate").map_err(|_| wrong())?;
    if interval < Duration::from_micros(1) {
        return Err("rate: the time must be more than 0 seconds".to_owned());
    }
    Ok((messages, interval))
}

/// `properties`: names with strings, numbers or booleans.
fn properties(array: Option<View<'_>>) -> Result<Vec<(String, Property)>, String> {
    let Some(value) = array.and_then(|array| array.get_str("properties")) else {
        return Ok(Vec::new());
    };
    let mut list = Vec::new();
    let mut size = 0usize;
    for (name, value) in value.as_array().into_iter().flat_map(|array| array.iter()) {
        let name = to_str(&name.to_value()).to_text().into_owned();
        let property = match value.kind() {
            Kind::String => Property::Text(to_str(&value).into_vec()),
            Kind::Number => Property::Number(to_number(&value)),
            Kind::Boolean => Property::Boolean(truthy(&value)),
            kind => {
                let kind = kind.name();
                return Err(format!(
                    "properties: {name} must be a string, number or boolean, not {kind}"
                ));
            }
        };
        let bytes = match &property {
            Property::Text(text) => text.len(),
            Property::Number(_) | Property::Boolean(_) => 8,
        };
        size = size.saturating_add(name.len()).saturating_add(bytes);
        if size > PROPERTIES {
            return Err(format!("properties: are more than {PROPERTIES} bytes"));
        }
        list.push((name, property));
    }
    Ok(list)
}
