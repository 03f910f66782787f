//! Questions to the domain name system.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use angarium_effects::dns::{DnsAnswer, DnsError, Query, Record, RecordData, RecordType};
use angarium_runtime::array::{Array, Key};
use angarium_runtime::convert::to_str;
use angarium_runtime::native::{Args, Cx, FnDecl, LocalFuture, Options, Task, Throw, opt};
use angarium_runtime::value::Value;

use crate::hash::hex;
use crate::wait::then;

/// The functions of this family.
pub const FUNCTIONS: &[FnDecl] = &[
    FnDecl::task(
        "dns_query(host: string, options?: array): array",
        "Asks for the records of a name and follows CNAMEs. Gives `result`, a list, or `error`: NXDOMAIN, NO_DATA, \
         SERVFAIL, REFUSED, FORMERR, NOTIMP, TRY_AGAIN (no answer in time) or NO_RECOVERY (a name that cannot be \
         asked for); `dnssec` tells whether the answer was authenticated, and is false beside an error. Addresses, names (MX ordered by preference) \
         and texts are strings; with `extended_result` each entry is an array with `value`, `ttl` and the parts of \
         its type. For `ptr` the host is the reversed name that inet_reverse gives. An unknown type raises an \
         Exception.",
        dns_query,
    )
    .since("5.1 (as array result; before: dns() and friends)")
    .options(&[
        opt("type", "string", "a", "a, aaaa, mx, txt, cname, ns, ptr, soa, srv, tlsa or caa"),
        opt("timeout", "number", "5", "seconds for the whole question"),
        opt("servers", "array", "", "addresses of resolvers to ask instead of the configured ones"),
        opt("port", "number", "53", "port of those resolvers"),
        opt("extended_result", "boolean", "false", "give arrays with ttl and parts instead of strings"),
    ])
    .example(r#"dns_query("")["error"] // "NO_RECOVERY""#),
];

fn dns_query(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Box<dyn Task>, Throw> {
    let asked = Asked::read("dns_query", &args.options(1))?;
    let kind = asked.kind.unwrap_or(RecordType::A);
    let extended = asked.extended;
    let answer = ask(cx, args.bytes(0), kind, &asked.query);
    Ok(then(answer, move |cx, answer| {
        charge(cx, &answer)?;
        Ok(result(answer, extended))
    }))
}

/// What the options of a question say.
pub(crate) struct Asked {
    /// The type, if one is named.
    pub kind: Option<RecordType>,
    /// Whom to ask, and for how long.
    pub query: Query,
    /// `extended_result`
    pub extended: bool,
}

impl Asked {
    /// Reads them.
    ///
    /// # Errors
    /// An unknown type, a server that is no address, a time that is none.
    pub fn read(function: &str, options: &Options<'_>) -> Result<Asked, Throw> {
        let kind = match options.string("type") {
            None => None,
            Some(name) => Some(RecordType::from_name(&name.to_text()).ok_or_else(|| {
                let name = name.to_text();
                Throw::error(format!("{function}: unknown record type \"{name}\""))
            })?),
        };
        let port = options.number("port", 53.0);
        if !(1.0..=65535.0).contains(&port) {
            return Err(Throw::error(format!("{function}: {port} is no port")));
        }
        let list = options.get("servers");
        Ok(Asked {
            kind,
            query: Query {
                servers: servers(function, list.as_ref(), port as u16)?,
                timeout: Some(seconds(function, options.number("timeout", 5.0))?),
            },
            extended: options.boolean("extended_result", false),
        })
    }
}

/// The resolvers in a list of addresses.
///
/// # Errors
/// One that is no address.
pub(crate) fn servers(
    function: &str,
    list: Option<&Value>,
    port: u16,
) -> Result<Vec<SocketAddr>, Throw> {
    let mut servers = Vec::new();
    let list = list.and_then(Value::as_array);
    for server in list.into_iter().flat_map(|list| list.values()) {
        let text = to_str(&server);
        let address: IpAddr = text.to_text().parse().map_err(|_| {
            let text = text.to_text();
            Throw::error(format!("{function}: \"{text}\" is no IP address"))
        })?;
        servers.push(SocketAddr::new(address, port));
    }
    Ok(servers)
}

/// The time limit of a question.
///
/// # Errors
/// No number of seconds.
pub(crate) fn seconds(function: &str, timeout: f64) -> Result<Duration, Throw> {
    if !timeout.is_finite() || timeout < 0.0 {
        let message = format!("{function}: timeout must be a number of seconds");
        return Err(Throw::error(message));
    }
    Ok(Duration::from_secs_f64(timeout.min(3600.0)))
}

/// Asks for the records of a name; one that cannot be asked for is answered here.
pub(crate) fn ask(
    cx: &Cx<'_>,
    host: &[u8],
    kind: RecordType,
    query: &Query,
) -> LocalFuture<Result<DnsAnswer, DnsError>> {
    if !is_name(host) {
        return Box::pin(std::future::ready(Err(DnsError::NoRecovery)));
    }
    cx.host
        .dns
        .query(&String::from_utf8_lossy(host), kind, query)
}

/// Whether a name can be asked for (RFC 1035 §2.3.4): labels of 1 to 63 bytes, at most 253 in all.
fn is_name(host: &[u8]) -> bool {
    let host = host.strip_suffix(b".").unwrap_or(host);
    host.len() <= 253
        && host.iter().all(u8::is_ascii_graphic)
        && host
            .split(|byte| *byte == b'.')
            .all(|label| (1..=63).contains(&label.len()))
}

/// Charges for an answer before it becomes a value.
pub(crate) fn charge(cx: &mut Cx<'_>, answer: &Result<DnsAnswer, DnsError>) -> Result<(), Throw> {
    match answer {
        Ok(answer) => cx.reserve_entries(answer.records.len().saturating_mul(8)),
        Err(_) => Ok(()),
    }
}

pub(crate) fn result(answer: Result<DnsAnswer, DnsError>, extended: bool) -> Value {
    let mut array = Array::new();
    let dnssec = match answer {
        Ok(answer) => {
            let show = |record: &Record| {
                if extended {
                    parts(record)
                } else {
                    text(&record.data)
                }
            };
            array.insert(
                Key::from("result"),
                answer.records.iter().map(show).collect::<Array>().into(),
            );
            answer.authenticated
        }
        Err(error) => {
            array.insert(Key::from("error"), error.to_string().into());
            false
        }
    };
    array.insert(Key::from("dnssec"), dnssec.into());
    array.into()
}

/// The plain form of a record.
pub(crate) fn text(data: &RecordData) -> Value {
    match data {
        RecordData::A(address) => address.to_string().into(),
        RecordData::Aaaa(address) => address.to_string().into(),
        RecordData::Mx { exchange, .. } => exchange.as_str().into(),
        RecordData::Txt(text) => Value::bytes(text),
        RecordData::Cname(name) | RecordData::Ns(name) | RecordData::Ptr(name) => {
            name.as_str().into()
        }
        RecordData::Soa {
            mname,
            rname,
            serial,
            refresh,
            retry,
            expire,
            minimum,
        } => format!("{mname} {rname} {serial} {refresh} {retry} {expire} {minimum}").into(),
        RecordData::Srv {
            priority,
            weight,
            port,
            target,
        } => format!("{priority} {weight} {port} {target}").into(),
        RecordData::Tlsa {
            usage,
            selector,
            matching,
            data,
        } => format!(
            "{usage} {selector} {matching} {}",
            String::from_utf8_lossy(&hex(data))
        )
        .into(),
        RecordData::Caa { flags, tag, value } => {
            format!("{flags} {tag} \"{}\"", String::from_utf8_lossy(value)).into()
        }
    }
}

fn parts(record: &Record) -> Value {
    let mut array = Array::new();
    let mut add = |name: &str, value: Value| array.insert(Key::from(name), value);
    add("ttl", record.ttl.into());
    add("value", text(&record.data));
    match &record.data {
        RecordData::Mx {
            preference,
            exchange,
        } => {
            add("preference", u32::from(*preference).into());
            add("exchange", exchange.as_str().into());
        }
        RecordData::Srv {
            priority,
            weight,
            port,
            target,
        } => {
            add("priority", u32::from(*priority).into());
            add("weight", u32::from(*weight).into());
            add("port", u32::from(*port).into());
            add("target", target.as_str().into());
        }
        RecordData::Soa {
            mname,
            rname,
            serial,
            refresh,
            retry,
            expire,
            minimum,
        } => {
            add("mname", mname.as_str().into());
            add("rname", rname.as_str().into());
            add("serial", (*serial).into());
            add("refresh", f64::from(*refresh).into());
            add("retry", f64::from(*retry).into());
            add("expire", f64::from(*expire).into());
            add("minimum", (*minimum).into());
        }
        RecordData::Tlsa {
            usage,
            selector,
            matching,
            data,
        } => {
            add("usage", u32::from(*usage).into());
            add("selector", u32::from(*selector).into());
            add("mtype", u32::from(*matching).into());
            add("data", hex(data).into());
        }
        RecordData::Caa { flags, tag, value } => {
            add("flags", u32::from(*flags).into());
            add("tag", tag.as_str().into());
            add("value", Value::bytes(value));
        }
        _ => {}
    }
    array.into()
}
