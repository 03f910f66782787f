//! What a condition compares a field with: the matchers of policies, suspends, groupings and
//! delivery settings.
//!
//! A [`Pattern`] is one form as it is written; a [`Matcher`] is any number of them, laid out so that
//! exact values and domains cost a hash look-up however many there are, and regular expressions are
//! tried last, all at once. Domains are compared without regard to case.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;

use ipnet::IpNet;
use regex::bytes::{RegexSet, RegexSetBuilder};
use thiserror::Error;

use crate::gate::Field;
use crate::text::Text;

/// One form of a field's value that a condition names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Pattern {
    /// This value; domains in lower case.
    Exact(Text),
    /// `*.example.com`: every host below the domain, not the domain itself.
    Below(Text),
    /// `192.0.2.0/24`, or one address.
    Network(IpNet),
    /// `/…/`: a regular expression, searched for; without the slashes.
    Regex(String),
    /// `#name`: a group that the policy itself defines.
    Group(Text),
    /// `@name`: what `queues.lists` has for the field under the name.
    List(Text),
}

/// A text that is no pattern for its field. The messages complete a sentence that begins with the key.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum PatternError {
    /// Nothing.
    #[error("is empty; leave the field out to match anything")]
    Empty,
    /// An address field with something else.
    #[error(
        "names `{0}`, which is no IP address, network such as 192.0.2.0/24 or list such as @name"
    )]
    Address(String),
    /// A field whose values have no domains.
    #[error("has `{0}`: `*.` works for remotemx, recipientdomain and grouping only")]
    Wildcard(String),
    /// A star elsewhere.
    #[error("has `{0}`: a `*` stands only at the beginning, before a dot")]
    Star(String),
    /// No domain.
    #[error("names `{0}`, which is no domain, `*.` and domain, `/…/` or list such as @name")]
    Domain(String),
    /// One slash.
    #[error(
        "has `{0}`, which begins with `/` as a regular expression does, but does not end with it"
    )]
    Slash(String),
    /// A regular expression that cannot be used.
    #[error("has `/{pattern}/`, which is no regular expression: {reason}")]
    Regex {
        /// It.
        pattern: String,
        /// Why.
        reason: String,
    },
    /// A list that is not configured.
    #[error("names the list `@{0}`, which queues.lists does not have for this field")]
    NoList(String),
    /// A list that names a list.
    #[error("names the list `{0}`, but a list does not contain lists")]
    NestedList(String),
}

/// The greatest size of the compiled regular expressions of one matcher, in bytes.
const REGEX_SIZE: usize = 16 << 20;

impl Field {
    /// Whether the values are IP addresses.
    pub fn is_address(self) -> bool {
        matches!(self, Field::LocalIp | Field::RemoteIp)
    }

    /// Whether the values are domains, or names that are compared like them.
    pub fn is_domain(self) -> bool {
        matches!(
            self,
            Field::RemoteMx | Field::RecipientDomain | Field::Grouping
        )
    }
}

impl Pattern {
    /// Reads a pattern for `field` as the configuration and scripts write it.
    ///
    /// # Errors
    /// The text does not fit the field.
    pub fn parse(field: Field, text: &str) -> Result<Pattern, PatternError> {
        if text.is_empty() {
            return Err(PatternError::Empty);
        }
        if let Some(name) = text.strip_prefix('@') {
            return Ok(Pattern::List(name.into()));
        }
        if let Some(name) = text.strip_prefix('#') {
            return Ok(Pattern::Group(name.into()));
        }
        if field.is_address() {
            let network = text.parse::<IpNet>().map(|network| network.trunc());
            return (network.or_else(|_| text.parse::<IpAddr>().map(IpNet::from)))
                .map(Pattern::Network)
                .map_err(|_| PatternError::Address(text.to_owned()));
        }
        let inner = text.strip_prefix('/').and_then(|t| t.strip_suffix('/'));
        if let Some(pattern) = inner.filter(|pattern| !pattern.is_empty()) {
            set(&[pattern], field)?;
            return Ok(Pattern::Regex(pattern.to_owned()));
        }
        if text.starts_with('/') {
            return Err(PatternError::Slash(text.to_owned()));
        }
        if !field.is_domain() {
            return match text.starts_with("*.") {
                true => Err(PatternError::Wildcard(text.to_owned())),
                false => Ok(Pattern::Exact(text.into())),
            };
        }
        let below = text.strip_prefix("*.");
        let domain = below.unwrap_or(text);
        if domain.contains('*') || domain.is_empty() {
            return Err(PatternError::Star(text.to_owned()));
        }
        if domain.contains(|c: char| c.is_whitespace() || c.is_control() || c == '/') {
            return Err(PatternError::Domain(text.to_owned()));
        }
        let domain = Text::from(domain.trim_end_matches('.').to_ascii_lowercase());
        Ok(match below {
            Some(_) => Pattern::Below(domain),
            None => Pattern::Exact(domain),
        })
    }

    /// The pattern as it is written.
    pub fn written(&self) -> String {
        match self {
            Pattern::Exact(value) => value.to_string(),
            Pattern::Below(domain) => format!("*.{domain}"),
            Pattern::Network(network) if network.prefix_len() == network.max_prefix_len() => {
                network.addr().to_string()
            }
            Pattern::Network(network) => network.to_string(),
            Pattern::Regex(pattern) => format!("/{pattern}/"),
            Pattern::Group(name) => format!("#{name}"),
            Pattern::List(name) => format!("@{name}"),
        }
    }
}

/// The named lists, `queues.lists`: field, then name, then patterns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lists(BTreeMap<(Field, Text), Vec<Pattern>>);

impl Lists {
    /// Adds a list.
    ///
    /// # Errors
    /// An entry is no pattern of the field, or names a list or group.
    pub fn add<'a>(
        &mut self,
        field: Field,
        name: &str,
        entries: impl IntoIterator<Item = &'a str>,
    ) -> Result<(), PatternError> {
        let read = |text: &str| match Pattern::parse(field, text)? {
            Pattern::List(_) | Pattern::Group(_) => Err(PatternError::NestedList(text.to_owned())),
            pattern => Ok(pattern),
        };
        let patterns: Result<Vec<_>, _> = entries.into_iter().map(read).collect();
        self.0.insert((field, name.into()), patterns?);
        Ok(())
    }
}

impl Lists {
    /// The patterns of a list.
    ///
    /// # Errors
    /// There is no list of that name for the field.
    pub fn entries(&self, field: Field, name: &Text) -> Result<&[Pattern], PatternError> {
        let list = self.0.get(&(field, name.clone()));
        list.map(Vec::as_slice)
            .ok_or_else(|| PatternError::NoList(name.to_string()))
    }
}

/// A value of a field, as an item has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldValue<'a> {
    /// A text; domains are compared without regard to case.
    Text(&'a Text),
    /// An address.
    Address(IpAddr),
    /// The name of the group that the policy puts the value into.
    Group(&'a Text),
}

/// Any of a number of patterns for one field.
#[derive(Clone, Debug, Default)]
pub struct Matcher {
    /// The values are domains: case does not count.
    is_domain: bool,
    exact: HashSet<Text>,
    below: HashSet<Text>,
    groups: HashSet<Text>,
    /// By prefix length.
    networks: BTreeMap<(bool, u8), HashSet<IpNet>>,
    regexes: Option<RegexSet>,
}

impl Matcher {
    /// Lays out the patterns for `field`, with the lists that they name.
    ///
    /// # Errors
    /// A list is not there, or the regular expressions are too large together.
    pub fn new(field: Field, patterns: &[Pattern], lists: &Lists) -> Result<Self, PatternError> {
        let mut matcher = Matcher {
            is_domain: field.is_domain(),
            ..Matcher::default()
        };
        let mut regexes = Vec::new();
        for pattern in patterns {
            let Pattern::List(name) = pattern else {
                matcher.add(pattern, &mut regexes);
                continue;
            };
            let list = lists.0.get(&(field, name.clone()));
            let list = list.ok_or_else(|| PatternError::NoList(name.to_string()))?;
            list.iter()
                .for_each(|pattern| matcher.add(pattern, &mut regexes));
        }
        if !regexes.is_empty() {
            matcher.regexes = Some(set(&regexes, field)?);
        }
        Ok(matcher)
    }

    fn add<'a>(&mut self, pattern: &'a Pattern, regexes: &mut Vec<&'a str>) {
        match pattern {
            Pattern::Exact(value) => drop(self.exact.insert(value.clone())),
            Pattern::Below(domain) => drop(self.below.insert(domain.clone())),
            Pattern::Group(name) => drop(self.groups.insert(name.clone())),
            Pattern::Network(network) => {
                let key = (network.addr().is_ipv4(), network.prefix_len());
                self.networks.entry(key).or_default().insert(*network);
            }
            Pattern::Regex(pattern) => regexes.push(pattern),
            // Lists were resolved, and do not contain lists.
            Pattern::List(_) => {}
        }
    }

    /// Whether one of the patterns fits.
    pub fn matches(&self, value: FieldValue<'_>) -> bool {
        match value {
            FieldValue::Group(name) => self.groups.contains(name),
            FieldValue::Address(address) => self.has_address(address),
            FieldValue::Text(text) => {
                let known = match self.is_domain {
                    true => self.has_domain(&text.to_ascii_lowercase()),
                    false => self.exact.contains(text),
                };
                let regexes = self.regexes.as_ref();
                known || regexes.is_some_and(|set| set.is_match(text.as_bytes()))
            }
        }
    }

    fn has_domain(&self, domain: &Text) -> bool {
        let domain = domain.as_bytes();
        let domain = domain.strip_suffix(b".").unwrap_or(domain);
        if self.exact.contains(domain) {
            return true;
        }
        if self.below.is_empty() {
            return false;
        }
        let dots = domain.iter().enumerate().filter(|(_, byte)| **byte == b'.');
        dots.filter_map(|(at, _)| domain.get(at + 1..))
            .any(|parent| self.below.contains(parent))
    }

    fn has_address(&self, address: IpAddr) -> bool {
        // One that came over an IPv6 socket is an IPv4 address all the same.
        let address = address.to_canonical();
        self.networks.iter().any(|((is_v4, length), networks)| {
            *is_v4 == address.is_ipv4()
                && IpNet::new(address, *length)
                    .is_ok_and(|network| networks.contains(&network.trunc()))
        })
    }
}

fn set(patterns: &[&str], field: Field) -> Result<RegexSet, PatternError> {
    RegexSetBuilder::new(patterns)
        .case_insensitive(field.is_domain())
        .size_limit(REGEX_SIZE)
        .build()
        .map_err(|error| PatternError::Regex {
            pattern: patterns.join("/ or /"),
            reason: match error {
                regex::Error::CompiledTooBig(limit) => format!("it needs more than {limit} bytes"),
                // The last line says what is wrong; those before show where.
                error => {
                    let text = error.to_string();
                    let last = text.lines().last().unwrap_or("");
                    last.trim_start_matches("error: ").to_owned()
                }
            },
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matcher(field: Field, patterns: &[&str]) -> Matcher {
        let mut lists = Lists::default();
        lists
            .add(
                Field::RemoteMx,
                "big",
                ["*.big.example", "mx.other.example"],
            )
            .unwrap();
        lists
            .add(Field::RemoteIp, "nets", ["192.0.2.0/24"])
            .unwrap();
        let patterns: Vec<Pattern> = patterns
            .iter()
            .map(|text| Pattern::parse(field, text).unwrap())
            .collect();
        Matcher::new(field, &patterns, &lists).unwrap()
    }

    #[test]
    fn each_form_matches_what_it_says() {
        use Field::{JobId, LocalIp, RecipientDomain, RemoteIp, RemoteMx};
        for (field, patterns, value, want) in [
            (RemoteMx, &["mx.example"][..], "MX.example", true),
            (RemoteMx, &["MX.example."], "mx.example", true),
            (RemoteMx, &["*.example"], "a.b.example", true),
            (RemoteMx, &["*.example"], "example", false),
            (RemoteMx, &["a.example"], "A.example.", true),
            (RemoteMx, &["*.example"], "A.example.", true),
            (RemoteMx, &["*.example"], "badexample", false),
            (RemoteMx, &["/^mx[0-9]/"], "MX1.test", true),
            (RemoteMx, &["x", "/^mx[0-9]/"], "a.mx1.test", false),
            (RemoteMx, &["@big"], "a.big.example", true),
            (RemoteMx, &["@big"], "b.example", false),
            (RecipientDomain, &["a", "b"], "b", true),
            (JobId, &["Job"], "job", false),
            (JobId, &["Job"], "Job", true),
            (JobId, &["job"], "Job", false),
            (JobId, &["/^j/"], "Job", false),
            (RemoteIp, &["192.0.2.0/24"], "192.0.2.77", true),
            (RemoteIp, &["192.0.2.5/24"], "192.0.2.77", true),
            (RemoteIp, &["192.0.2.1"], "192.0.2.2", false),
            (RemoteIp, &["@nets"], "192.0.2.2", true),
            (
                LocalIp,
                &["2001:db8::/32", "0.0.0.0/0"],
                "2001:db8::9",
                true,
            ),
            (LocalIp, &["0.0.0.0/0"], "2001:db8::9", false),
            (RemoteIp, &["192.0.2.0/24"], "::ffff:192.0.2.9", true),
        ] {
            let text = Text::from(value);
            let of = match value.parse() {
                Ok(address) if field.is_address() => FieldValue::Address(address),
                _ => FieldValue::Text(&text),
            };
            let got = matcher(field, patterns).matches(of);
            assert_eq!(got, want, "{field:?} {patterns:?} {value}");
        }
    }

    #[test]
    fn groups_are_matched_by_name_only() {
        let name = Text::from("gsuite");
        let groups = matcher(Field::RemoteMx, &["#gsuite"]);
        assert!(groups.matches(FieldValue::Group(&name)));
        assert!(!groups.matches(FieldValue::Text(&name)));
        assert!(!matcher(Field::RemoteMx, &["gsuite"]).matches(FieldValue::Group(&name)));
    }

    #[test]
    fn what_does_not_fit_a_field_is_said() {
        use Field::{JobId, RemoteIp, RemoteMx};
        let texts: Vec<String> = [
            (RemoteIp, "mx.example"),
            (RemoteIp, ""),
            (JobId, "*.x"),
            (RemoteMx, "a.*.x"),
            (RemoteMx, "*."),
            (RemoteMx, "a b"),
            (RemoteMx, "/a"),
            (JobId, "/a"),
            (RemoteMx, "/(/"),
            (RemoteMx, "/(a{1000}){1000}{1000}/"),
        ]
        .into_iter()
        .map(|(field, text)| Pattern::parse(field, text).unwrap_err().to_string())
        .collect();
        insta::assert_debug_snapshot!(texts);
        let list = [Pattern::List("none".into())];
        let error = Matcher::new(RemoteMx, &list, &Lists::default()).unwrap_err();
        assert_eq!(error, PatternError::NoList("none".into()));
    }

    #[test]
    fn a_pattern_is_written_as_it_was_read() {
        for text in ["a.b", "*.a.b", "/x+/", "#g", "@l"] {
            assert_eq!(
                Pattern::parse(Field::RemoteMx, text).unwrap().written(),
                text
            );
        }
        for text in ["192.0.2.1", "192.0.2.0/24", "2001:db8::/32"] {
            assert_eq!(
                Pattern::parse(Field::RemoteIp, text).unwrap().written(),
                text
            );
        }
    }
}
