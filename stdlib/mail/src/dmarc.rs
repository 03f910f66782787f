//! DMARC: policy records, alignment, and what they come to (RFC 7489).
//!
//! Pure: who evaluates asks the DNS for the record at [`record_name`], checks SPF and DKIM, and hands the outcome in.

use crate::address;
use crate::dkim::signature::is_domain;
use crate::dkim::tags::{TagError, TagList, colons, trim};

/// What the domain asks for (`p=`, `sp=`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Policy {
    /// Nothing.
    None,
    /// To treat the mail as suspicious.
    Quarantine,
    /// To refuse the mail.
    Reject,
}

impl Policy {
    /// The name in a record.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Policy::None => "none",
            Policy::Quarantine => "quarantine",
            Policy::Reject => "reject",
        }
    }

    fn from_name(name: &[u8]) -> Option<Policy> {
        [Policy::None, Policy::Quarantine, Policy::Reject]
            .into_iter()
            .find(|policy| name.eq_ignore_ascii_case(policy.as_str().as_bytes()))
    }
}

/// How close two domains must be (`adkim=`, `aspf=`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Alignment {
    /// They belong to one organisational domain.
    #[default]
    Relaxed,
    /// They are the same.
    Strict,
}

/// A policy record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// `p=`
    pub policy: Policy,
    /// `sp=`; absent: as `p=`.
    pub subdomain_policy: Option<Policy>,
    /// `adkim=`
    pub dkim: Alignment,
    /// `aspf=`
    pub spf: Alignment,
    /// `pct=`
    pub percent: u8,
    /// Whether `rua=` names somebody who wants reports.
    pub reports: bool,
}

/// Why a record cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// It is no list of tags.
    #[error("bad DMARC record: {0}")]
    Tags(#[from] TagError),
    /// It does not begin with `v=DMARC1`.
    #[error("the record is no DMARC record")]
    Version,
    /// It has no policy.
    #[error("the DMARC record has no policy")]
    NoPolicy,
    /// The value of a tag makes no sense.
    #[error("the value of the tag {0}= in the DMARC record is malformed")]
    Malformed(&'static str),
}

/// Whether a TXT record is a DMARC record: others at the same name do not count (RFC 7489 §6.6.3).
#[must_use]
pub fn is_record(text: &[u8]) -> bool {
    let first = text.split(|&byte| byte == b';').next().unwrap_or_default();
    let mut parts = first.splitn(2, |&byte| byte == b'=').map(trim);
    parts.next() == Some(b"v") && parts.next() == Some(b"DMARC1")
}

impl Record {
    /// Reads a record.
    ///
    /// # Errors
    /// [`RecordError`]
    pub fn parse(text: &[u8]) -> Result<Record, RecordError> {
        Self::read(text, true)
    }

    /// Reads a record as it is applied: without a usable policy it stands for the policy `none` if it names somebody who
    /// wants reports, and for nothing at all otherwise (RFC 7489 §6.6.3, step 6).
    #[must_use]
    pub fn applied(text: &[u8]) -> Option<Record> {
        match Self::read(text, true) {
            Ok(record) => Some(record),
            Err(RecordError::NoPolicy | RecordError::Malformed("p" | "sp")) => {
                Self::read(text, false).ok().filter(|record| record.reports)
            }
            Err(_) => None,
        }
    }

    fn read(text: &[u8], policies: bool) -> Result<Record, RecordError> {
        if !is_record(text) {
            return Err(RecordError::Version);
        }
        let tags = TagList::parse(text)?;
        let policy = |name: &'static str| match tags.get(name) {
            Some(value) if policies => Policy::from_name(value)
                .map(Some)
                .ok_or(RecordError::Malformed(name)),
            _ => Ok(None),
        };
        let alignment = |name: &'static str| match tags.get(name) {
            None => Ok(Alignment::Relaxed),
            Some(value) if value.eq_ignore_ascii_case(b"r") => Ok(Alignment::Relaxed),
            Some(value) if value.eq_ignore_ascii_case(b"s") => Ok(Alignment::Strict),
            Some(_) => Err(RecordError::Malformed(name)),
        };
        let number = |name: &'static str, most: u64| match tags.get(name) {
            None => Ok(None),
            Some(value) => std::str::from_utf8(value)
                .ok()
                .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
                .and_then(|text| text.parse::<u64>().ok())
                .filter(|&number| number <= most)
                .map(Some)
                .ok_or(RecordError::Malformed(name)),
        };
        let addresses = |name: &'static str| match tags.get(name) {
            None => Ok(false),
            Some(value) if value.split(|&byte| byte == b',').all(is_uri) => Ok(true),
            Some(_) => Err(RecordError::Malformed(name)),
        };
        let words = |name: &'static str, known: &[&[u8]]| match tags.get(name) {
            Some(value)
                if !colons(value)
                    .all(|word| known.iter().any(|known| word.eq_ignore_ascii_case(known))) =>
            {
                Err(RecordError::Malformed(name))
            }
            _ => Ok(()),
        };
        words("fo", &[b"0", b"1", b"d", b"s"])?;
        words("rf", &[b"afrf"])?;
        number("ri", u32::MAX.into())?;
        addresses("ruf")?;
        let own = policy("p")?;
        let percent = number("pct", 100)?.and_then(|percent| u8::try_from(percent).ok());
        Ok(Record {
            policy: match own {
                Some(policy) => policy,
                None if policies => return Err(RecordError::NoPolicy),
                None => Policy::None,
            },
            subdomain_policy: policy("sp")?,
            dkim: alignment("adkim")?,
            spf: alignment("aspf")?,
            percent: percent.unwrap_or(100),
            reports: addresses("rua")?,
        })
    }

    /// The policy for a domain whose record was found at its organisational domain, or at itself.
    #[must_use]
    pub fn policy_for(&self, at_organisation: bool) -> Policy {
        if at_organisation {
            self.subdomain_policy.unwrap_or(self.policy)
        } else {
            self.policy
        }
    }
}

/// `scheme:rest`, with a size after `!` at most.
fn is_uri(text: &[u8]) -> bool {
    let text = trim(text);
    let Some(colon) = memchr::memchr(b':', text) else {
        return false;
    };
    let (scheme, rest) = text.split_at(colon);
    let mut parts = rest
        .get(1..)
        .unwrap_or_default()
        .split(|&byte| byte == b'!');
    let named = scheme.first().is_some_and(u8::is_ascii_alphabetic)
        && scheme
            .iter()
            .all(|&byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    let path = parts
        .next()
        .is_some_and(|path| !path.is_empty() && path.iter().all(u8::is_ascii_graphic));
    let size = match parts.next() {
        None => true,
        Some(size) => {
            let digits = size.strip_suffix(&[size.last().copied().unwrap_or(0)]);
            let unit = size.last().is_some_and(|unit| b"kmgtKMGT".contains(unit));
            let digits = if unit {
                digits.unwrap_or_default()
            } else {
                size
            };
            !digits.is_empty() && digits.iter().all(u8::is_ascii_digit)
        }
    };
    named && path && size && parts.next().is_none()
}

/// Where the record of a domain is.
#[must_use]
pub fn record_name(domain: &str) -> String {
    format!("_dmarc.{domain}")
}

/// Whether two domains are aligned; `organisation` gives the organisational domain of a name.
#[must_use]
pub fn is_aligned(
    one: &str,
    other: &str,
    mode: Alignment,
    organisation: impl Fn(&str) -> Option<String>,
) -> bool {
    let normal = |name: &str| name.trim_matches('.').to_ascii_lowercase();
    let (one, other) = (normal(one), normal(other));
    if one.is_empty() || one == other {
        return one == other && !one.is_empty();
    }
    mode == Alignment::Relaxed
        && organisation(&one).is_some_and(|found| organisation(&other) == Some(found))
}

/// Why there is no domain in From.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FromError {
    /// There is no From field, or more than one.
    #[error("there is not exactly one From field")]
    Fields,
    /// It has no address, or one without a domain.
    #[error("the From field has no address")]
    NoAddress,
    /// Its addresses are in different domains.
    #[error("the From field has addresses of several domains")]
    Several,
}

/// The domain of the first address in the value of a From field, in lower case.
#[must_use]
pub fn from_domain(value: &[u8]) -> Option<String> {
    domains(value)?.into_iter().next()
}

fn domains(value: &[u8]) -> Option<Vec<String>> {
    let mailboxes = address::parse_list(value)?;
    let mut domains = Vec::with_capacity(mailboxes.len());
    for mailbox in mailboxes {
        let (_, domain) = mailbox.address.rsplit_once('@')?;
        let domain = domain.trim_end_matches('.').to_lowercase();
        if !is_domain(domain.as_bytes()) {
            return None;
        }
        domains.push(domain);
    }
    Some(domains)
}

/// The one domain that a message is from, of the values of all its From fields.
///
/// # Errors
/// [`FromError`]: such a message passes nothing.
pub fn author_domain<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Result<String, FromError> {
    let mut values = values.into_iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(FromError::Fields);
    };
    let mut domains = domains(value).ok_or(FromError::NoAddress)?;
    domains.dedup();
    match domains.pop() {
        None => Err(FromError::NoAddress),
        Some(domain) if domains.is_empty() => Ok(domain),
        Some(_) => Err(FromError::Several),
    }
}

/// What the policy comes to when nothing aligned passed; `chance` is a number from 0 up to 100, drawn for this message
/// (RFC 7489 §6.6.4).
#[must_use]
pub fn disposition(policy: Policy, percent: u8, chance: f64) -> Policy {
    if chance < f64::from(percent) {
        return policy;
    }
    match policy {
        Policy::Reject => Policy::Quarantine,
        Policy::Quarantine | Policy::None => Policy::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Record, RecordError> {
        Record::parse(text.as_bytes())
    }

    #[test]
    fn a_record_has_defaults_and_every_known_tag_is_checked() {
        let record = parse("v=DMARC1; p=Reject").unwrap();
        assert_eq!(record.policy, Policy::Reject);
        assert_eq!(record.policy_for(true), Policy::Reject);
        assert_eq!((record.percent, record.reports), (100, false));
        let record = parse(
            " v = DMARC1 ; p=none; sp=quarantine; adkim=s; aspf=r; pct=5; rf=afrf; ri=60; fo=1:d:s; \
             rua=mailto:a@example.com!10m, https://example.com; x=y",
        );
        let record = record.unwrap();
        assert_eq!(record.policy_for(true), Policy::Quarantine);
        assert_eq!(
            (record.dkim, record.spf),
            (Alignment::Strict, Alignment::Relaxed)
        );
        assert!(record.reports);
        for (bad, tag) in [
            ("p=bob", "p"),
            ("p=none; sp=", "sp"),
            ("p=none; adkim=x", "adkim"),
            ("p=none; pct=101", "pct"),
            ("p=none; pct=-1", "pct"),
            ("p=none; ri=day", "ri"),
            ("p=none; fo=2", "fo"),
            ("p=none; rf=x", "rf"),
            ("p=none; rua=a@example.com", "rua"),
            ("p=none; ruf=mailto:a!1!2", "ruf"),
        ] {
            assert_eq!(
                parse(&format!("v=DMARC1; {bad}")),
                Err(RecordError::Malformed(tag))
            );
        }
        assert_eq!(parse("v=DMARC1"), Err(RecordError::NoPolicy));
        assert_eq!(parse("v=DMARC2; p=none"), Err(RecordError::Version));
        assert_eq!(parse("p=none; v=DMARC1"), Err(RecordError::Version));
    }

    #[test]
    fn a_record_that_wants_reports_only_is_applied() {
        let applied = |text: &str| Record::applied(text.as_bytes()).map(|record| record.policy);
        assert_eq!(
            applied("v=DMARC1; rua=mailto:a@b.example"),
            Some(Policy::None)
        );
        assert_eq!(
            applied("v=DMARC1; p=x; rua=mailto:a@b.example"),
            Some(Policy::None)
        );
        assert_eq!(applied("v=DMARC1; p=x"), None);
        assert_eq!(applied("v=DMARC1"), None);
        assert_eq!(applied("v=DMARC1; p=reject; pct=x"), None);
    }

    #[test]
    fn one_from_with_one_domain_is_needed() {
        let of = |values: &[&str]| author_domain(values.iter().map(|value| value.as_bytes()));
        assert_eq!(of(&["A <a@Example.com>"]), Ok("example.com".to_owned()));
        assert_eq!(
            of(&["a@example.com, b@example.com"]),
            Ok("example.com".to_owned())
        );
        assert_eq!(
            of(&["a@example.com, b@example.org"]),
            Err(FromError::Several)
        );
        assert_eq!(
            of(&["a@example.com", "a@example.com"]),
            Err(FromError::Fields)
        );
        assert_eq!(of(&[]), Err(FromError::Fields));
        assert_eq!(of(&["\"Test User\""]), Err(FromError::NoAddress));
        assert_eq!(of(&["a@[192.0.2.1]"]), Err(FromError::NoAddress));
    }

    #[test]
    fn a_percentage_lets_the_rest_off_more_lightly() {
        assert_eq!(disposition(Policy::Reject, 100, 99.9), Policy::Reject);
        assert_eq!(disposition(Policy::Reject, 20, 19.9), Policy::Reject);
        assert_eq!(disposition(Policy::Reject, 20, 20.0), Policy::Quarantine);
        assert_eq!(disposition(Policy::Quarantine, 0, 0.0), Policy::None);
    }
}
