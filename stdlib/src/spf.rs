//! SPF for scripts (RFC 7208).

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use angarium_effects::Dns;
use angarium_effects::dns::{DnsError, Query, RecordData, RecordType};
use angarium_mail::spf::{self, Client, Data, Kind, NoAnswer, SpfResult};
use angarium_runtime::array::{Array, Key};
use angarium_runtime::convert::to_str;
use angarium_runtime::native::{
    Args, Cx, FnDecl, LocalFuture, OptDecl, Options, Outcome, Throw, opt,
};
use angarium_runtime::value::Value;

use crate::dkim;

const TIMEOUT: OptDecl = opt("timeout", "number", "5", "seconds for each DNS query");
const SERVERS: OptDecl = opt(
    "servers",
    "array",
    "",
    "addresses of resolvers to ask instead of the configured ones",
);

/// The functions of this family.
pub const FUNCTIONS: &[FnDecl] = &[FnDecl::waiting(
    "spf_query(ip: string, helo: string, sender: string, options?: array): array",
    "Checks by SPF whether the host at an address may send for a domain and gives `result`: pass, fail, softfail, neutral, \
     none, temperror, permerror, or invalid when `ip` is no address. The sender is an address or a domain; when it is empty \
     the name in HELO is checked.",
    spf_query,
)
.options(&[TIMEOUT, SERVERS])
.example(r#"spf_query("no address", "", "") // ["result"=>"invalid"]"#)];

/// The older function.
pub const LEGACY: &[FnDecl] = &[FnDecl::waiting(
    "spf(ip: string, helo: string, domain: string, options?: array): number|array",
    "Checks by SPF like spf_query and gives 0 for pass, 20 for softfail, 100 for fail and 50 for everything else.",
    legacy_spf,
)
.options(&[
    TIMEOUT,
    SERVERS,
    opt(
        "extended_result",
        "boolean",
        "false",
        "give an array with `result` as spf_query does",
    ),
])
.legacy()
.example(r#"spf("no address", "", "") // 50"#)];

/// Asks the execution's resolver.
pub struct HostResolver {
    dns: Rc<dyn Dns>,
    query: Query,
}

impl HostResolver {
    /// A resolver whose queries take `timeout` at most; it asks `servers` if there are any.
    #[must_use]
    pub fn new(cx: &Cx<'_>, timeout: Duration, servers: Vec<SocketAddr>) -> HostResolver {
        HostResolver {
            dns: Rc::clone(&cx.host.dns),
            query: Query {
                servers,
                timeout: Some(timeout),
            },
        }
    }
}

impl spf::Resolver for HostResolver {
    async fn query(&self, name: &str, kind: Kind) -> Result<Vec<Data>, NoAnswer> {
        ask(&*self.dns, name, kind, &self.query).await
    }
}

/// Asks a resolver for what a check needs.
///
/// # Errors
/// That there is nothing, or that nobody could tell.
pub async fn ask(
    dns: &dyn Dns,
    name: &str,
    kind: Kind,
    query: &Query,
) -> Result<Vec<Data>, NoAnswer> {
    let kind = match kind {
        Kind::A => RecordType::A,
        Kind::Aaaa => RecordType::Aaaa,
        Kind::Mx => RecordType::Mx,
        Kind::Ptr => RecordType::Ptr,
        Kind::Txt => RecordType::Txt,
    };
    let answer = dns.query(name, kind, query).await;
    let answer = answer.map_err(|error| match error {
        // A name that cannot be asked for does not exist.
        DnsError::NxDomain | DnsError::NoData | DnsError::NoRecovery => NoAnswer::Absent,
        _ => NoAnswer::Failed,
    })?;
    let records = answer.records.into_iter();
    let data = records.filter_map(|record| match record.data {
        RecordData::A(address) => Some(Data::Address(address.into())),
        RecordData::Aaaa(address) => Some(Data::Address(address.into())),
        RecordData::Mx { exchange, .. } => Some(Data::Name(exchange)),
        RecordData::Ptr(name) => Some(Data::Name(name)),
        RecordData::Txt(text) => Some(Data::Text(text)),
        _ => None,
    });
    Ok(data.collect())
}

/// The addresses of the option `servers`.
///
/// # Errors
/// An Exception for what is no address.
fn servers(function: &str, options: Options<'_>) -> Result<Vec<SocketAddr>, Throw> {
    let list = options.get("servers");
    let list = list.as_ref().and_then(Value::as_array);
    list.into_iter()
        .flat_map(|list| list.values())
        .map(|server| {
            let text = to_str(&server);
            let address: IpAddr = text.to_text().parse().map_err(|_| {
                Throw::error(format!(
                    "{function}: \"{}\" is no IP address",
                    text.to_text()
                ))
            })?;
            Ok(SocketAddr::new(address, 53))
        })
        .collect()
}

/// The name of the result for the arguments ip, helo and sender.
fn check(
    cx: &mut Cx<'_>,
    function: &str,
    args: &Args<'_>,
) -> Result<LocalFuture<&'static str>, Throw> {
    let options = args.options(3);
    let timeout = dkim::timeout(function, options)?;
    let resolver = HostResolver::new(cx, timeout, servers(function, options)?);
    let text = |index: usize| String::from_utf8_lossy(args.bytes(index)).into_owned();
    let (helo, sender) = (text(1), text(2));
    let (receiver, now) = (cx.host.hostname.to_string(), cx.host.clock.unix().as_secs());
    let Ok(ip) = text(0).parse::<IpAddr>() else {
        return Ok(Box::pin(std::future::ready("invalid")));
    };
    Ok(Box::pin(async move {
        let client = Client {
            ip,
            helo: &helo,
            sender: &sender,
            receiver: &receiver,
            now,
        };
        spf::check(&resolver, &client).await.result.as_str()
    }))
}

fn result(name: &str) -> Value {
    let mut array = Array::new();
    array.insert(Key::from("result"), name.into());
    array.into()
}

fn spf_query(cx: &mut Cx<'_>, args: Args<'_>) -> Result<LocalFuture<Outcome>, Throw> {
    let check = check(cx, "spf_query", &args)?;
    Ok(Box::pin(async move { Ok(result(check.await)) }))
}

fn legacy_spf(cx: &mut Cx<'_>, args: Args<'_>) -> Result<LocalFuture<Outcome>, Throw> {
    let extended = args.options(3).boolean("extended_result", false);
    let check = check(cx, "spf", &args)?;
    Ok(Box::pin(async move {
        let name = check.await;
        if extended {
            return Ok(result(name));
        }
        let number = if name == SpfResult::Pass.as_str() {
            0.0
        } else if name == SpfResult::SoftFail.as_str() {
            20.0
        } else if name == SpfResult::Fail.as_str() {
            100.0
        } else {
            50.0
        };
        Ok(Value::Number(number))
    }))
}
