//! Older questions to the domain name system, which give plain lists (stdlib.md, legacy names).

use angarium_effects::dns::{DnsAnswer, DnsError, Query, RecordType};
use angarium_runtime::array::Array;
use angarium_runtime::native::{Args, Cx, FnDecl, OptDecl, Outcome, Task, Throw, opt};
use angarium_runtime::value::Value;

use crate::dns::{self, Asked};
use crate::inet;
use crate::wait::{ready, then};

const SERVERS: OptDecl = opt(
    "servers",
    "array",
    "",
    "addresses of resolvers to ask instead of the configured ones",
);
const TIMEOUT: OptDecl = opt("timeout", "number", "5", "seconds for the whole question");
const EXTENDED: OptDecl = opt(
    "extended_result",
    "boolean",
    "false",
    "give an array as dns_query does",
);
const OPTIONS: &[OptDecl] = &[
    opt(
        "type",
        "string",
        "",
        "a, aaaa, mx, txt, cname, ns or ptr; default a and aaaa",
    ),
    TIMEOUT,
    SERVERS,
    EXTENDED,
];
const OF_ONE_TYPE: &[OptDecl] = &[TIMEOUT, SERVERS, EXTENDED];

/// The functions of this family.
pub const FUNCTIONS: &[FnDecl] = &[
    FnDecl::task(
        "dns(host: string, options?: array): array",
        "Older question for records, by default the addresses of both families: a list of strings, which is empty when \
         there is nothing or the question failed. `extended_result` gives what dns_query gives.",
        |cx, args| {
            let asked = Asked::read("dns", &args.options(1))?;
            match asked.kind {
                Some(kind) => one(cx, args.bytes(0), kind, asked),
                None => both(cx, args.bytes(0), asked),
            }
        },
    )
    .options(OPTIONS)
    .legacy()
    .example(r#"dns("") // []"#),
    FnDecl::task("dns4(host: string, options?: array): array", "Older question for IPv4 addresses.", |cx, args| {
        typed(cx, &args, "dns4", RecordType::A)
    })
    .options(OF_ONE_TYPE)
    .legacy(),
    FnDecl::task("dns6(host: string, options?: array): array", "Older question for IPv6 addresses.", |cx, args| {
        typed(cx, &args, "dns6", RecordType::Aaaa)
    })
    .options(OF_ONE_TYPE)
    .legacy(),
    FnDecl::task(
        "dnsmx(host: string, options?: array): array",
        "Older question for mail exchangers, ordered by preference.",
        |cx, args| typed(cx, &args, "dnsmx", RecordType::Mx),
    )
    .options(OF_ONE_TYPE)
    .legacy(),
    FnDecl::task("dnstxt(host: string, options?: array): array", "Older question for texts.", |cx, args| {
        typed(cx, &args, "dnstxt", RecordType::Txt)
    })
    .options(OF_ONE_TYPE)
    .legacy(),
    FnDecl::task("dnscname(host: string, options?: array): array", "Older question for an alias's target.", |cx, args| {
        typed(cx, &args, "dnscname", RecordType::Cname)
    })
    .options(OF_ONE_TYPE)
    .legacy(),
    FnDecl::task("dnsns(host: string, options?: array): array", "Older question for name servers.", |cx, args| {
        typed(cx, &args, "dnsns", RecordType::Ns)
    })
    .options(OF_ONE_TYPE)
    .legacy(),
    FnDecl::task(
        "dnsptr(ip: string, options?: array): array",
        "Older question for the names of an address, which is not reversed.",
        |cx, args| {
            let asked = Asked::read("dnsptr", &args.options(1))?;
            // What is no address has no name to be asked for.
            let name = inet::reverse(args.bytes(0), None).unwrap_or_default();
            one(cx, &name, RecordType::Ptr, asked)
        },
    )
    .options(OF_ONE_TYPE)
    .legacy()
    .example(r#"dnsptr("no address") // []"#),
    FnDecl::task(
        "dnsbl(ip: string, hostname: string, resolvers?: array, timeout?: number = 5): array",
        "Looks an address up in a list of the domain name system: the addresses that the list gives for it, an empty list \
         when it is not in there.",
        dnsbl,
    )
    .legacy()
    .example(r#"dnsbl("192.0.2.1", "bl.example") // []"#),
];

fn typed(
    cx: &mut Cx<'_>,
    args: &Args<'_>,
    function: &str,
    kind: RecordType,
) -> Result<Box<dyn Task>, Throw> {
    let asked = Asked::read(function, &args.options(1))?;
    one(cx, args.bytes(0), kind, asked)
}

fn one(
    cx: &mut Cx<'_>,
    host: &[u8],
    kind: RecordType,
    asked: Asked,
) -> Result<Box<dyn Task>, Throw> {
    let answer = dns::ask(cx, host, kind, &asked.query);
    Ok(then(answer, move |cx, answer| {
        show(cx, answer, asked.extended)
    }))
}

/// Both families; an answer of one is enough.
fn both(cx: &mut Cx<'_>, host: &[u8], asked: Asked) -> Result<Box<dyn Task>, Throw> {
    let four = dns::ask(cx, host, RecordType::A, &asked.query);
    let six = dns::ask(cx, host, RecordType::Aaaa, &asked.query);
    let answers = futures_util::future::join(four, six);
    Ok(then(answers, move |cx, answers| {
        let answer = match answers {
            (Ok(mut four), Ok(six)) => {
                four.authenticated &= six.authenticated;
                four.records.extend(six.records);
                Ok(four)
            }
            (Ok(answer), Err(_)) | (Err(_), Ok(answer)) => Ok(answer),
            (Err(error), Err(_)) => Err(error),
        };
        show(cx, answer, asked.extended)
    }))
}

fn dnsbl(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Box<dyn Task>, Throw> {
    let query = Query {
        servers: dns::servers("dnsbl", args.has(2).then(|| args.get(2)), 53)?,
        timeout: Some(dns::seconds("dnsbl", args.number(3, 5.0))?),
    };
    let Some(name) = inet::reverse(args.bytes(0), Some(args.bytes(1))) else {
        return Ok(ready(Array::new().into()));
    };
    let answer = dns::ask(cx, &name, RecordType::A, &query);
    Ok(then(answer, |cx, answer| show(cx, answer, false)))
}

fn show(cx: &mut Cx<'_>, answer: Result<DnsAnswer, DnsError>, extended: bool) -> Outcome {
    dns::charge(cx, &answer)?;
    if extended {
        return Ok(dns::result(answer, false));
    }
    let records = answer.map(|answer| answer.records).unwrap_or_default();
    let list: Vec<Value> = records
        .iter()
        .map(|record| dns::text(&record.data))
        .collect();
    Ok(Array::from_list(list).into())
}
