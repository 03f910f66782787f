//! Sender Policy Framework (RFC 7208).
//!
//! [`check`] asks a [`Resolver`] and is otherwise pure. Its future waits wherever the DNS is asked, so that a script can
//! be suspended there.

mod expand;
mod record;

use std::cell::Cell;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;

use expand::{MacroString, Values};
use record::{Lengths, Mechanism, Qualifier, Record};

/// The outcome of a check (RFC 7208 §2.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the registered ones")]
pub enum SpfResult {
    None,
    Neutral,
    Pass,
    Fail,
    SoftFail,
    TempError,
    PermError,
}

impl SpfResult {
    /// The registered name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            SpfResult::None => "none",
            SpfResult::Neutral => "neutral",
            SpfResult::Pass => "pass",
            SpfResult::Fail => "fail",
            SpfResult::SoftFail => "softfail",
            SpfResult::TempError => "temperror",
            SpfResult::PermError => "permerror",
        }
    }
}

/// The record types that a check asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the registered ones")]
pub enum Kind {
    A,
    Aaaa,
    Mx,
    Ptr,
    Txt,
}

/// A record of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Data {
    /// Of A and AAAA.
    Address(IpAddr),
    /// Of MX (the exchange) and PTR.
    Name(String),
    /// Of TXT: the strings joined.
    Text(Vec<u8>),
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoAnswer {
    /// There is no such name or no such record.
    Absent,
    /// Nobody could tell.
    Failed,
}

/// Asks the DNS.
pub trait Resolver {
    /// The records of a type at a name, at least one, MX by preference.
    fn query(&self, name: &str, kind: Kind) -> impl Future<Output = Result<Vec<Data>, NoAnswer>>;
}

/// Terms that ask the DNS in one check (RFC 7208 §4.6.4).
const MAX_LOOKUPS: u32 = 10;
/// Terms whose question has no answer.
const MAX_VOID: u32 = 2;
/// Exchanges of a domain and names of an address that are looked at.
const MAX_NAMES: usize = 10;
/// The longest name (RFC 1035 §2.3.4), as text.
const MAX_NAME: usize = 253;

/// Who sends, and to whom.
#[derive(Debug, Clone)]
pub struct Client<'a> {
    /// The address that the mail comes from.
    pub ip: IpAddr,
    /// What it calls itself.
    pub helo: &'a str,
    /// The reverse-path: an address, a domain, or empty.
    pub sender: &'a str,
    /// The name of the host that checks, for explanations.
    pub receiver: &'a str,
    /// Unix seconds, for explanations.
    pub now: u64,
}

/// A result, and of a fail the explanation that the domain gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// The result.
    pub result: SpfResult,
    /// The explanation.
    pub explanation: Option<String>,
}

/// Checks whether a client may send for a domain.
pub async fn check<R: Resolver>(resolver: &R, client: &Client<'_>) -> Checked {
    let sender = if client.sender.is_empty() {
        client.helo
    } else {
        client.sender
    };
    let (local, domain) = sender.rsplit_once('@').unwrap_or(("", sender));
    let local = if local.is_empty() {
        "postmaster"
    } else {
        local
    };
    let check = Check {
        resolver,
        client,
        // An IPv4 address in IPv6 form is an IPv4 address (RFC 7208 §5).
        ip: client.ip.to_canonical(),
        local,
        sender_domain: domain,
        lookups: Cell::new(0),
        voids: Cell::new(0),
    };
    let (result, explanation) = match check.host(domain.to_owned()).await {
        Ok(found) => found,
        Err(error) => (error.0, None),
    };
    Checked {
        explanation: match (result, explanation) {
            (SpfResult::Fail, Some((domain, text))) => check.explain(&domain, &text).await,
            _ => None,
        },
        result,
    }
}

/// What ends a check early.
struct Ended(SpfResult);

const PERMANENT: Ended = Ended(SpfResult::PermError);
const TEMPORARY: Ended = Ended(SpfResult::TempError);

/// A result and, with the domain whose record gave it, where its explanation is.
type Found = (SpfResult, Option<(String, MacroString)>);

struct Check<'a, R> {
    resolver: &'a R,
    client: &'a Client<'a>,
    ip: IpAddr,
    local: &'a str,
    sender_domain: &'a str,
    lookups: Cell<u32>,
    voids: Cell<u32>,
}

impl<R: Resolver> Check<'_, R> {
    /// check_host() of RFC 7208 §4. Calls nest no deeper than [`MAX_LOOKUPS`].
    fn host(&self, domain: String) -> Pin<Box<dyn Future<Output = Result<Found, Ended>> + '_>> {
        Box::pin(async move {
            let mut domain = domain;
            let mut redirected = false;
            loop {
                let record = match self.record(&domain).await? {
                    Some(record) => record,
                    None if redirected => return Err(PERMANENT),
                    None => return Ok((SpfResult::None, None)),
                };
                for (qualifier, mechanism) in &record.mechanisms {
                    if self.matches(mechanism, &domain).await? {
                        return Ok(match qualifier {
                            Qualifier::Pass => (SpfResult::Pass, None),
                            Qualifier::SoftFail => (SpfResult::SoftFail, None),
                            Qualifier::Neutral => (SpfResult::Neutral, None),
                            Qualifier::Fail => {
                                let explanation = record.explanation.clone();
                                (SpfResult::Fail, explanation.map(|text| (domain, text)))
                            }
                        });
                    }
                }
                let Some(redirect) = &record.redirect else {
                    return Ok((SpfResult::Neutral, None));
                };
                self.count()?;
                domain = self.target(Some(redirect), &domain).await;
                redirected = true;
            }
        })
    }

    /// The record of a domain; none when it has none.
    async fn record(&self, domain: &str) -> Result<Option<Record>, Ended> {
        // A name that cannot be asked for, and a single label, have no record (RFC 7208 §4.3).
        let name = domain.strip_suffix('.').unwrap_or(domain);
        if !is_name(name) || !name.contains('.') {
            return Ok(None);
        }
        let texts = match self.resolver.query(name, Kind::Txt).await {
            Ok(records) => records,
            Err(NoAnswer::Absent) => return Ok(None),
            Err(NoAnswer::Failed) => return Err(TEMPORARY),
        };
        let mut records = texts.iter().filter_map(|data| match data {
            Data::Text(text) if record::is_spf(text) => Some(text),
            _ => None,
        });
        match (records.next(), records.next()) {
            (None, _) => Ok(None),
            (Some(text), None) => record::parse(text).map(Some).ok_or(PERMANENT),
            (Some(_), Some(_)) => Err(PERMANENT),
        }
    }

    async fn matches(&self, mechanism: &Mechanism, domain: &str) -> Result<bool, Ended> {
        match mechanism {
            Mechanism::All => Ok(true),
            Mechanism::Ip4(network, length) => Ok(match self.ip {
                IpAddr::V4(ip) => within(ip.into(), (*network).into(), *length),
                IpAddr::V6(_) => false,
            }),
            Mechanism::Ip6(network, length) => Ok(match self.ip {
                IpAddr::V6(ip) => within(ip.into(), (*network).into(), *length),
                IpAddr::V4(_) => false,
            }),
            Mechanism::Include(target) => {
                self.count()?;
                let target = self.target(Some(target), domain).await;
                match self.host(target).await?.0 {
                    SpfResult::Pass => Ok(true),
                    SpfResult::Fail | SpfResult::SoftFail | SpfResult::Neutral => Ok(false),
                    SpfResult::TempError => Err(TEMPORARY),
                    SpfResult::PermError | SpfResult::None => Err(PERMANENT),
                }
            }
            Mechanism::Exists(target) => {
                self.count()?;
                let target = self.target(Some(target), domain).await;
                Ok(!self.term_query(&target, Kind::A).await?.is_empty())
            }
            Mechanism::A(target, lengths) => {
                self.count()?;
                let target = self.target(target.as_ref(), domain).await;
                let found = self.term_query(&target, self.address_kind()).await?;
                Ok(self.is_among(&found, *lengths))
            }
            Mechanism::Mx(target, lengths) => {
                self.count()?;
                let target = self.target(target.as_ref(), domain).await;
                let exchanges = self.term_query(&target, Kind::Mx).await?;
                if exchanges.len() > MAX_NAMES {
                    return Err(PERMANENT);
                }
                for exchange in &exchanges {
                    let Data::Name(name) = exchange else { continue };
                    let found = self.query(name, self.address_kind()).await;
                    match found {
                        Ok(found) if self.is_among(&found, *lengths) => return Ok(true),
                        Err(NoAnswer::Failed) => return Err(TEMPORARY),
                        Ok(_) | Err(NoAnswer::Absent) => {}
                    }
                }
                Ok(false)
            }
            Mechanism::Ptr(target) => {
                self.count()?;
                let target = self
                    .target(target.as_ref(), domain)
                    .await
                    .to_ascii_lowercase();
                let names = self.validated(true).await?;
                Ok(names
                    .iter()
                    .any(|name| crate::dkim::signature::is_within(name, &target)))
            }
        }
    }

    /// Counts a term that asks the DNS.
    fn count(&self) -> Result<(), Ended> {
        self.lookups.set(self.lookups.get() + 1);
        if self.lookups.get() > MAX_LOOKUPS {
            return Err(PERMANENT);
        }
        Ok(())
    }

    /// The name that a term names, without the final dot: the current domain when it names none.
    async fn target(&self, target: Option<&MacroString>, domain: &str) -> String {
        let Some(target) = target else {
            return domain.to_owned();
        };
        let expanded = self.expand(target, domain).await;
        let mut name = expanded.strip_suffix('.').unwrap_or(&expanded);
        while name.len() > MAX_NAME {
            match name.split_once('.') {
                Some((_, rest)) => name = rest,
                None => break,
            }
        }
        name.to_owned()
    }

    async fn expand(&self, text: &MacroString, domain: &str) -> String {
        let validated = if text.uses_validated() {
            self.client_name(domain).await
        } else {
            String::new()
        };
        text.expand(&Values {
            sender_local: self.local,
            sender_domain: self.sender_domain,
            domain,
            ip: self.ip,
            validated: &validated,
            helo: self.client.helo,
            receiver: self.client.receiver,
            now: self.client.now,
        })
    }

    /// The text for who is refused; none when there is no single one that obeys the grammar (RFC 7208 §6.2).
    async fn explain(&self, domain: &str, target: &MacroString) -> Option<String> {
        let name = self.target(Some(target), domain).await;
        let found = self.query(&name, Kind::Txt).await.ok()?;
        let [Data::Text(text)] = found.as_slice() else {
            return None;
        };
        let text = std::str::from_utf8(text)
            .ok()
            .filter(|text| text.is_ascii())?;
        let text = MacroString::parse(text, true)?;
        Some(self.expand(&text, domain).await)
    }

    fn address_kind(&self) -> Kind {
        match self.ip {
            IpAddr::V4(_) => Kind::A,
            IpAddr::V6(_) => Kind::Aaaa,
        }
    }

    async fn query(&self, name: &str, kind: Kind) -> Result<Vec<Data>, NoAnswer> {
        let name = name.strip_suffix('.').unwrap_or(name);
        if !is_name(name) {
            return Err(NoAnswer::Absent);
        }
        self.resolver.query(name, kind).await
    }

    /// The question of a term: those without an answer are counted.
    async fn term_query(&self, name: &str, kind: Kind) -> Result<Vec<Data>, Ended> {
        match self.query(name, kind).await {
            Ok(found) => Ok(found),
            Err(NoAnswer::Failed) => Err(TEMPORARY),
            Err(NoAnswer::Absent) => {
                self.count_void()?;
                Ok(Vec::new())
            }
        }
    }

    fn count_void(&self) -> Result<(), Ended> {
        self.voids.set(self.voids.get() + 1);
        if self.voids.get() > MAX_VOID {
            return Err(PERMANENT);
        }
        Ok(())
    }

    fn is_among(&self, found: &[Data], lengths: Lengths) -> bool {
        found.iter().any(|data| match (data, self.ip) {
            (Data::Address(IpAddr::V4(found)), IpAddr::V4(ip)) => {
                within(ip.into(), (*found).into(), lengths.four)
            }
            (Data::Address(IpAddr::V6(found)), IpAddr::V6(ip)) => {
                within(ip.into(), (*found).into(), lengths.six)
            }
            _ => false,
        })
    }

    /// The names of the client that lead back to its address, in lower case (RFC 7208 §5.5). A failing DNS is as good as
    /// no name; `count` those that have no answer.
    async fn validated(&self, count: bool) -> Result<Vec<String>, Ended> {
        let names = match self.query(&reverse_name(self.ip), Kind::Ptr).await {
            Ok(names) => names,
            Err(NoAnswer::Failed) => return Ok(Vec::new()),
            Err(NoAnswer::Absent) => {
                if count {
                    self.count_void()?;
                }
                return Ok(Vec::new());
            }
        };
        let mut validated = Vec::new();
        for name in names.iter().take(MAX_NAMES) {
            let Data::Name(name) = name else { continue };
            let found = self.query(name, self.address_kind()).await;
            if self.is_among(&found.unwrap_or_default(), Lengths { four: 32, six: 128 }) {
                let name = name.strip_suffix('.').unwrap_or(name);
                validated.push(name.to_ascii_lowercase());
            }
        }
        Ok(validated)
    }

    /// The value of `%{p}`: a validated name, the domain itself or one below it if there is one (RFC 7208 §7.3).
    async fn client_name(&self, domain: &str) -> String {
        let names = self.validated(false).await.unwrap_or_default();
        let domain = domain.to_ascii_lowercase();
        let below = |name: &&String| crate::dkim::signature::is_within(name, &domain);
        names
            .iter()
            .find(|name| **name == domain)
            .or_else(|| names.iter().find(below))
            .or_else(|| names.first())
            .map_or_else(|| "unknown".to_owned(), Clone::clone)
    }
}

/// Whether a name can be asked for: labels of 1 to 63 bytes.
fn is_name(name: &str) -> bool {
    name.len() <= MAX_NAME && name.split('.').all(|label| (1..=63).contains(&label.len()))
}

/// Whether an address lies in a network of its own family.
fn within(address: IpAddr, network: IpAddr, length: u8) -> bool {
    let (address, network, bits) = match (address, network) {
        (IpAddr::V4(address), IpAddr::V4(network)) => (
            u128::from(u32::from(address)),
            u128::from(u32::from(network)),
            32,
        ),
        (IpAddr::V6(address), IpAddr::V6(network)) => {
            (u128::from(address), u128::from(network), 128)
        }
        _ => return false,
    };
    let host_bits = 128_u32.min(u32::saturating_sub(bits, length.into()));
    (address ^ network).checked_shr(host_bits).unwrap_or(0) == 0
}

/// Where the names of an address are.
fn reverse_name(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, c, d] = ip.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        IpAddr::V6(ip) => {
            let octets = ip.octets();
            let mut name = String::new();
            for byte in octets.iter().rev() {
                name.push_str(&format!("{:x}.{:x}.", byte & 15, byte >> 4));
            }
            name + "ip6.arpa"
        }
    }
}

#[cfg(test)]
mod tests;
