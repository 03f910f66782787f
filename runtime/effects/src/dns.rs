//! Name resolution: questions and answers as data, and the trait that asks.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use crate::LocalFuture;

/// The record types that the product asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names are the registered ones")]
pub enum RecordType {
    A,
    Aaaa,
    Mx,
    Txt,
    Cname,
    Ns,
    Ptr,
    Soa,
    Srv,
    Tlsa,
    Caa,
}

impl RecordType {
    /// The type with this mnemonic, in any case.
    #[must_use]
    pub fn from_name(name: &str) -> Option<RecordType> {
        Some(match name.to_ascii_lowercase().as_str() {
            "a" => RecordType::A,
            "aaaa" => RecordType::Aaaa,
            "mx" => RecordType::Mx,
            "txt" => RecordType::Txt,
            "cname" => RecordType::Cname,
            "ns" => RecordType::Ns,
            "ptr" => RecordType::Ptr,
            "soa" => RecordType::Soa,
            "srv" => RecordType::Srv,
            "tlsa" => RecordType::Tlsa,
            "caa" => RecordType::Caa,
            _ => return None,
        })
    }
}

/// The data of a record. Names are without the final dot.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "the fields are those of the record types' RFCs"
)]
pub enum RecordData {
    A(Ipv4Addr),
    Aaaa(Ipv6Addr),
    Mx {
        preference: u16,
        exchange: String,
    },
    /// The character-strings joined.
    Txt(Vec<u8>),
    Cname(String),
    Ns(String),
    Ptr(String),
    Soa {
        mname: String,
        rname: String,
        serial: u32,
        refresh: i32,
        retry: i32,
        expire: i32,
        minimum: u32,
    },
    Srv {
        priority: u16,
        weight: u16,
        port: u16,
        target: String,
    },
    Tlsa {
        usage: u8,
        selector: u8,
        matching: u8,
        data: Vec<u8>,
    },
    Caa {
        flags: u8,
        tag: String,
        value: Vec<u8>,
    },
}

/// One record of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Seconds that it may be kept.
    pub ttl: u32,
    /// Its data.
    pub data: RecordData,
}

/// A positive answer: at least one record of the asked type, CNAMEs followed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DnsAnswer {
    /// The records, MX by preference.
    pub records: Vec<Record>,
    /// The answer's AD flag as the resolver sent it.
    pub authenticated: bool,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DnsError {
    /// The name does not exist.
    #[error("NXDOMAIN")]
    NxDomain,
    /// The name exists without such a record.
    #[error("NO_DATA")]
    NoData,
    /// The server failed.
    #[error("SERVFAIL")]
    ServFail,
    /// The server refused.
    #[error("REFUSED")]
    Refused,
    /// The server did not understand.
    #[error("FORMERR")]
    FormErr,
    /// The server does not do that.
    #[error("NOTIMP")]
    NotImp,
    /// No server answered in time.
    #[error("TRY_AGAIN")]
    TryAgain,
    /// The name cannot be asked for.
    #[error("NO_RECOVERY")]
    NoRecovery,
}

impl DnsError {
    /// Whether asking later may give another answer.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        matches!(
            self,
            DnsError::ServFail | DnsError::Refused | DnsError::TryAgain
        )
    }
}

/// How to ask, beyond the configured way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// Ask these servers instead of the configured ones.
    pub servers: Vec<SocketAddr>,
    /// Give up after this time.
    pub timeout: Option<Duration>,
}

/// Asks the resolver.
pub trait Dns {
    /// The records of type `kind` at `name` (A-labels; a final dot is optional).
    fn query(
        &self,
        name: &str,
        kind: RecordType,
        query: &Query,
    ) -> LocalFuture<'static, Result<DnsAnswer, DnsError>>;
}

/// Answers from a table: for tests, the simulator, `demo` and `resolver.local`.
///
/// A name in the table without the asked type has no data, any other name does not exist. CNAMEs are followed.
#[derive(Clone, Default)]
pub struct TableDns {
    names: Rc<RefCell<HashMap<String, Types>>>,
}

/// The answers of one name.
type Types = HashMap<RecordType, Result<DnsAnswer, DnsError>>;

impl TableDns {
    /// Adds a record.
    pub fn add(&self, name: &str, kind: RecordType, data: RecordData) {
        let mut names = self.names.borrow_mut();
        let answer = names
            .entry(normal(name))
            .or_default()
            .entry(kind)
            .or_insert_with(|| Ok(DnsAnswer::default()));
        if let Ok(answer) = answer {
            answer.records.push(Record { ttl: 60, data });
        }
    }

    /// Adds an A or AAAA record.
    pub fn add_address(&self, name: &str, address: IpAddr) {
        match address {
            IpAddr::V4(address) => self.add(name, RecordType::A, RecordData::A(address)),
            IpAddr::V6(address) => self.add(name, RecordType::Aaaa, RecordData::Aaaa(address)),
        }
    }

    /// Makes a question fail.
    pub fn fail(&self, name: &str, kind: RecordType, error: DnsError) {
        self.names
            .borrow_mut()
            .entry(normal(name))
            .or_default()
            .insert(kind, Err(error));
    }

    fn answer(&self, name: &str, kind: RecordType) -> Result<DnsAnswer, DnsError> {
        let names = self.names.borrow();
        let mut name = normal(name);
        // As many links as resolvers commonly follow.
        for _ in 0..8 {
            let Some(types) = names.get(&name) else {
                return Err(DnsError::NxDomain);
            };
            if let Some(answer) = types.get(&kind) {
                let mut answer = answer.clone()?;
                answer.records.sort_by_key(|record| match record.data {
                    RecordData::Mx { preference, .. } => preference,
                    _ => 0,
                });
                return Ok(answer);
            }
            match types.get(&RecordType::Cname) {
                Some(Ok(answer)) if kind != RecordType::Cname => match answer.records.first() {
                    Some(Record {
                        data: RecordData::Cname(target),
                        ..
                    }) => name = normal(target),
                    _ => return Err(DnsError::NoData),
                },
                _ => return Err(DnsError::NoData),
            }
        }
        Err(DnsError::ServFail)
    }
}

fn normal(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

impl Dns for TableDns {
    fn query(
        &self,
        name: &str,
        kind: RecordType,
        _query: &Query,
    ) -> LocalFuture<'static, Result<DnsAnswer, DnsError>> {
        let answer = self.answer(name, kind);
        Box::pin(async move { answer })
    }
}
