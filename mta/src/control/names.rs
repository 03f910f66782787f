//! `resolver query` and `resolver cache clear`.

use angarium_control::proto::{
    ResolverCacheClearRequest, ResolverCacheClearResponse, ResolverQueryRequest,
    ResolverQueryResponse,
};
use angarium_effects::dns::{Dns as _, Query};
use angarium_effects::{RecordData, RecordType};

use crate::resolver::Resolver;

fn there(resolver: Option<&Resolver>) -> Result<&Resolver, String> {
    resolver.ok_or_else(|| "There is no resolver".to_owned())
}

/// Looks a name up as deliveries do: local records, cache, servers.
pub(super) async fn query(
    resolver: Option<&Resolver>,
    wanted: &ResolverQueryRequest,
) -> Result<ResolverQueryResponse, String> {
    let resolver = there(resolver)?;
    let name = match wanted.r#type.as_str() {
        "" => "A",
        name => name,
    };
    let kind = RecordType::from_name(name);
    let kind = kind.ok_or_else(|| format!("There is no record type {name}"))?;
    let answer = resolver.query(&wanted.name, kind, &Query::default()).await;
    let answer = answer.map_err(|error| error.to_string())?;
    Ok(ResolverQueryResponse {
        records: answer
            .records
            .iter()
            .map(|record| shown(&record.data))
            .collect(),
        secure: answer.authenticated,
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A record in the form of zone files.
fn shown(data: &RecordData) -> String {
    match data {
        RecordData::A(address) => address.to_string(),
        RecordData::Aaaa(address) => address.to_string(),
        RecordData::Mx {
            preference,
            exchange,
        } => format!("{preference} {exchange}."),
        RecordData::Txt(text) => format!("{:?}", String::from_utf8_lossy(text)),
        RecordData::Cname(name) | RecordData::Ns(name) | RecordData::Ptr(name) => {
            format!("{name}.")
        }
        RecordData::Soa {
            mname,
            rname,
            serial,
            refresh,
            retry,
            expire,
            minimum,
        } => format!("{mname}. {rname}. {serial} {refresh} {retry} {expire} {minimum}"),
        RecordData::Srv {
            priority,
            weight,
            port,
            target,
        } => format!("{priority} {weight} {port} {target}."),
        RecordData::Tlsa {
            usage,
            selector,
            matching,
            data,
        } => format!("{usage} {selector} {matching} {}", hex(data)),
        RecordData::Caa { flags, tag, value } => {
            format!("{flags} {tag} {:?}", String::from_utf8_lossy(value))
        }
    }
}

/// Forgets answers.
pub(super) fn clear(
    resolver: Option<&Resolver>,
    wanted: &ResolverCacheClearRequest,
) -> Result<ResolverCacheClearResponse, String> {
    let domain = wanted.domain.as_ref().map(|domain| domain.value.as_str());
    let affected = there(resolver)?.forget(domain) as u64;
    Ok(ResolverCacheClearResponse { affected })
}
