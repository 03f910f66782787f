//! Questions to the domain name system.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use angarium_effects::dns::{DnsAnswer, DnsError, Query, Record, RecordData, RecordType};
use angarium_runtime::array::{Array, Key};
use angarium_runtime::convert::to_str;
use angarium_runtime::native::{Args, Cx, FnDecl, LocalFuture, Outcome, Throw, opt};
use angarium_runtime::value::Value;

use crate::hash::hex;

/// The functions of this family.
pub const FUNCTIONS: &[FnDecl] = &[
    FnDecl::waiting(
        "dns_query(host: string, options?: array): array",
        "Asks for the records of a name and follows CNAMEs. Gives `result`, a list, or `error`: NXDOMAIN, NO_DATA, \
         SERVFAIL, REFUSED, FORMERR, NOTIMP, TRY_AGAIN (no answer in time) or NO_RECOVERY (a name that cannot be \
         asked for); `dnssec` tells whether the answer was authenticated. Addresses, names (MX ordered by preference) \
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

fn dns_query(cx: &mut Cx<'_>, args: Args<'_>) -> Result<LocalFuture<Outcome>, Throw> {
    let options = args.options(1);
    let name = options
        .string("type")
        .map_or_else(|| "a".to_owned(), |name| name.to_text().into_owned());
    let Some(kind) = RecordType::from_name(&name) else {
        return Err(Throw::error(format!(
            "dns_query: unknown record type \"{name}\""
        )));
    };
    let extended = options.boolean("extended_result", false);
    let port = options.number("port", 53.0);
    let mut servers = Vec::new();
    if let Some(list) = options.get("servers") {
        for server in list.as_array().into_iter().flat_map(|list| list.values()) {
            let text = to_str(&server);
            let address: IpAddr = text.to_text().parse().map_err(|_| {
                Throw::error(format!(
                    "dns_query: \"{}\" is no IP address",
                    text.to_text()
                ))
            })?;
            servers.push(SocketAddr::new(address, port as u16));
        }
    }
    let timeout = options.number("timeout", 5.0);
    if !timeout.is_finite() || timeout < 0.0 {
        return Err(Throw::error(
            "dns_query: timeout must be a number of seconds",
        ));
    }
    let query = Query {
        servers,
        timeout: Some(Duration::from_secs_f64(timeout.min(3600.0))),
    };
    let host = args.bytes(0);
    let valid =
        !host.is_empty() && host.len() <= 255 && host.iter().all(|byte| byte.is_ascii_graphic());
    if !valid {
        return Ok(Box::pin(async {
            Ok(result(Err(DnsError::NoRecovery), false))
        }));
    }
    let answer = cx
        .host
        .dns
        .query(&String::from_utf8_lossy(host), kind, &query);
    Ok(Box::pin(async move { Ok(result(answer.await, extended)) }))
}

fn result(answer: Result<DnsAnswer, DnsError>, extended: bool) -> Value {
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
