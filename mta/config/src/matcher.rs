//! Matchers: how policies, suspends and delivery settings say which deliveries they mean.
//!
//! A matcher is a name, `*.domain`, `/pattern/`, an address, a network, or `@list`; a key takes one
//! or a list of them, of which any may match. [`NameSet`] and [`AddressSet`] are what a key's
//! matchers become: names and `*.domain` are found by hashing, patterns are tried last.
//!
//! Domains and groupings are compared without regard to case, other names exactly. Patterns are
//! those of the `regex` crate, whose time is linear in the value whatever the pattern.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use ipnet::IpNet;
use regex::{Regex, RegexBuilder};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::types::{HostName, Network, text_type};

/// Longest matcher, in bytes; names that can match are shorter.
const LONGEST: usize = 4096;

/// One matcher, or a list of which any may match.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum OneOrMore<T> {
    /// One.
    One(T),
    /// Any of these.
    More(Vec<T>),
}

impl<T> OneOrMore<T> {
    /// The matchers.
    pub fn as_slice(&self) -> &[T] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::More(more) => more,
        }
    }
}

/// A matcher of a name that is compared exactly: `tenantid`, `jobid`, `transportid`.
#[derive(Debug, Clone)]
pub struct TextMatcher(Matcher<String>);

text_type!(TextMatcher, "match-text");

/// A matcher of a domain: `remotemx`, `recipientdomain`, and of a `grouping`.
#[derive(Debug, Clone)]
pub struct DomainMatcher(Matcher<String>);

text_type!(DomainMatcher, "match-domain");

/// A matcher of an address: `localip`, `remoteip`.
#[derive(Debug, Clone)]
pub struct AddressMatcher(Matcher<Network>);

text_type!(AddressMatcher, "match-address");

/// What a matcher says.
#[derive(Debug, Clone)]
enum Matcher<T> {
    Exact(T),
    /// Every domain below this one.
    Below(String),
    Pattern(Regex),
    List(String),
}

impl FromStr for TextMatcher {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let special = list(text).or_else(|| pattern(text, false));
        special
            .unwrap_or_else(|| plain(text).map(Matcher::Exact))
            .map(Self)
    }
}

impl FromStr for DomainMatcher {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(special) = list(text).or_else(|| pattern(text, true)) {
            return special.map(Self);
        }
        let name = plain(text)?;
        if let Some(domain) = name.strip_prefix("*.") {
            return Ok(Self(Matcher::Below(domain_name(domain)?)));
        }
        // A grouping's id is written with `&` in front, one made of a policy's own list with `#`.
        match name.strip_prefix(['&', '#']) {
            Some("") => Err("must have the name of a grouping behind the mark".to_owned()),
            Some(_) => Ok(Self(Matcher::Exact(name.to_lowercase()))),
            None => Ok(Self(Matcher::Exact(domain_name(&name)?))),
        }
    }
}

impl FromStr for AddressMatcher {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match list(text) {
            Some(list) => list.map(Self),
            None => text.parse().map(|network| Self(Matcher::Exact(network))),
        }
    }
}

fn list<T>(text: &str) -> Option<Result<Matcher<T>, String>> {
    let name = text.strip_prefix('@')?;
    Some(match name {
        "" => Err("must name a list behind the `@`".to_owned()),
        name => Ok(Matcher::List(name.to_owned())),
    })
}

fn pattern(text: &str, ignore_case: bool) -> Option<Result<Matcher<String>, String>> {
    let inner = text.strip_prefix('/')?;
    Some(match inner.strip_suffix('/') {
        _ if text.len() > LONGEST => Err(format!("must be at most {LONGEST} bytes long")),
        None => Err("begins a pattern with `/` and does not end it with one".to_owned()),
        Some("") => Err("must have a pattern between the slashes".to_owned()),
        Some(inner) => RegexBuilder::new(inner)
            .case_insensitive(ignore_case)
            .build()
            .map(Matcher::Pattern)
            .map_err(|error| {
                // The last line says what is wrong, those above point into the pattern.
                let text = error.to_string();
                let reason = text.lines().last().unwrap_or_default().trim();
                let reason = reason.strip_prefix("error: ").unwrap_or(reason);
                format!("is no pattern: {reason}")
            }),
    })
}

fn plain(text: &str) -> Result<String, String> {
    match text {
        "" => Err("must not be empty".to_owned()),
        _ if text.len() > LONGEST => Err(format!("must be at most {LONGEST} bytes long")),
        _ => Ok(text.to_owned()),
    }
}

fn domain_name(text: &str) -> Result<String, String> {
    let name = text.strip_suffix('.').unwrap_or(text);
    if name.parse::<HostName>().is_err() && name.parse::<IpAddr>().is_err() {
        return Err("must be a domain, `*.domain`, `/pattern/` or `@list`".to_owned());
    }
    Ok(name.to_lowercase())
}

impl<T: fmt::Display> fmt::Display for Matcher<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(value) => value.fmt(f),
            Self::Below(domain) => write!(f, "*.{domain}"),
            Self::Pattern(pattern) => write!(f, "/{pattern}/"),
            Self::List(name) => write!(f, "@{name}"),
        }
    }
}

macro_rules! display {
    ($($name:ident),*) => {
        $(impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        })*
    };
}

display!(TextMatcher, DomainMatcher, AddressMatcher);

/// Takes the matchers of a key or list, each of the type `M`.
pub(crate) trait Set<M>: Default {
    /// The name of the list that a matcher means.
    fn list_of(matcher: &M) -> Option<&str>;

    /// Adds a matcher that means no list.
    fn add(&mut self, matcher: M);

    /// Adds what is in a list.
    fn add_list(&mut self, list: Arc<Self>);
}

/// Names that match. Shared lists are not copied.
#[derive(Debug, Clone, Default)]
pub struct NameSet {
    exact: HashSet<String>,
    below: HashSet<String>,
    patterns: Vec<Regex>,
    lists: Vec<Arc<NameSet>>,
}

impl NameSet {
    /// Whether `name` matches, compared as it is written.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.sets().any(|set| set.exact.contains(name))
            || self.sets().any(|set| set.fits_pattern(name))
    }

    /// Whether a domain or grouping matches, in any case and with or without a dot at the end.
    #[must_use]
    pub fn contains_domain(&self, domain: &str) -> bool {
        let domain = domain.strip_suffix('.').unwrap_or(domain);
        let domain: Cow<'_, str> = match domain.chars().any(char::is_uppercase) {
            true => domain.to_lowercase().into(),
            false => domain.into(),
        };
        let dots = || domain.match_indices('.');
        self.sets().any(|set| {
            set.exact.contains(&*domain)
                || (!set.below.is_empty()
                    && dots().any(|(at, _)| {
                        let parent = domain.get(at + 1..).unwrap_or_default();
                        at > 0 && set.below.contains(parent)
                    }))
        }) || self.sets().any(|set| set.fits_pattern(&domain))
    }

    fn sets(&self) -> impl Iterator<Item = &NameSet> {
        // A list holds no list.
        std::iter::once(self).chain(self.lists.iter().map(|list| &**list))
    }

    fn fits_pattern(&self, name: &str) -> bool {
        self.patterns.iter().any(|pattern| pattern.is_match(name))
    }

    fn add_name(&mut self, matcher: Matcher<String>) {
        match matcher {
            Matcher::Exact(name) => drop(self.exact.insert(name)),
            Matcher::Below(domain) => drop(self.below.insert(domain)),
            Matcher::Pattern(pattern) => self.patterns.push(pattern),
            Matcher::List(_) => {}
        }
    }
}

impl<T> Matcher<T> {
    fn list(&self) -> Option<&str> {
        match self {
            Matcher::List(name) => Some(name),
            _ => None,
        }
    }
}

macro_rules! name_set {
    ($matcher:ident) => {
        impl Set<$matcher> for NameSet {
            fn list_of(matcher: &$matcher) -> Option<&str> {
                matcher.0.list()
            }
            fn add(&mut self, matcher: $matcher) {
                self.add_name(matcher.0);
            }
            fn add_list(&mut self, list: Arc<Self>) {
                self.lists.push(list);
            }
        }
    };
}

name_set!(TextMatcher);
name_set!(DomainMatcher);

/// Addresses that match.
#[derive(Debug, Clone, Default)]
pub struct AddressSet {
    /// By the length of the prefix, so that a long list is as fast as a short one.
    networks: BTreeMap<u8, HashSet<IpNet>>,
    lists: Vec<Arc<AddressSet>>,
}

impl AddressSet {
    /// Whether `address` matches. An IPv4 address that came over an IPv6 socket counts as IPv4.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let sets = std::iter::once(self).chain(self.lists.iter().map(|list| &**list));
        let mut networks = sets.flat_map(|set| &set.networks);
        networks.any(|(length, networks)| {
            IpNet::new(address, *length).is_ok_and(|network| networks.contains(&network.trunc()))
        })
    }
}

impl Set<AddressMatcher> for AddressSet {
    fn list_of(matcher: &AddressMatcher) -> Option<&str> {
        matcher.0.list()
    }
    fn add(&mut self, matcher: AddressMatcher) {
        if let Matcher::Exact(network) = matcher.0 {
            let network = network.net();
            let same = self.networks.entry(network.prefix_len()).or_default();
            same.insert(network);
        }
    }
    fn add_list(&mut self, list: Arc<Self>) {
        self.lists.push(list);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domains(matchers: &[&str]) -> NameSet {
        let mut set = NameSet::default();
        for text in matchers {
            set.add(text.parse::<DomainMatcher>().expect(text));
        }
        set
    }

    #[test]
    fn domains_match_whole_below_and_by_pattern_in_any_case() {
        let set = domains(&[
            "Example.com",
            "*.Example.NET",
            "/^mx[0-9]+\\.example\\.org$/",
        ]);
        for good in [
            "example.com",
            "EXAMPLE.com.",
            "a.example.net",
            "a.b.example.net",
            "MX12.example.org",
        ] {
            assert!(set.contains_domain(good), "{good}");
        }
        for bad in [
            "a.example.com",
            "example.net",
            "badexample.net",
            ".example.net",
            "mx.example.org",
            "",
        ] {
            assert!(!set.contains_domain(bad), "{bad}");
        }
        assert!(domains(&["&Google"]).contains_domain("&google"));
        assert!(!domains(&["&google"]).contains_domain("google"));
        assert!(domains(&["bücher.example"]).contains_domain("BÜCHER.example"));
    }

    #[test]
    fn names_match_as_they_are_written() {
        let mut set = NameSet::default();
        for text in ["Big", "/^job-[0-9]$/", "*.x"] {
            set.add(text.parse::<TextMatcher>().expect(text));
        }
        for (name, matches) in [
            ("Big", true),
            ("big", false),
            ("job-1", true),
            ("Job-1", false),
            ("*.x", true),
            ("a.x", false),
        ] {
            assert_eq!(set.contains(name), matches, "{name}");
        }
    }

    #[test]
    fn addresses_match_by_network() {
        let mut set = AddressSet::default();
        for text in ["192.0.2.0/24", "198.51.100.7", "2001:db8::/32", "0.0.0.0/8"] {
            set.add(text.parse().expect(text));
        }
        for (address, matches) in [
            ("192.0.2.9", true),
            ("::ffff:192.0.2.9", true),
            ("192.0.3.9", false),
            ("198.51.100.7", true),
            ("198.51.100.8", false),
            ("2001:db8:1::1", true),
            ("2001:db9::1", false),
            ("::1", false),
        ] {
            assert_eq!(set.contains(address.parse().unwrap()), matches, "{address}");
        }
    }

    #[test]
    fn what_is_no_matcher_is_refused() {
        for (bad, reason) in [
            ("", "must not be empty"),
            ("@", "must name a list"),
            ("/x", "does not end"),
            ("//", "between the slashes"),
            ("/(/", "is no pattern: unclosed group"),
            ("/(?=x)/", "is no pattern: look-around"),
            ("*.", "must be a domain"),
            ("*", "must be a domain"),
            ("a b", "must be a domain"),
            ("&", "must have the name of a grouping"),
        ] {
            let error = bad.parse::<DomainMatcher>().expect_err(bad);
            assert!(
                error.starts_with(reason) || error.contains(reason),
                "{bad}: {error}"
            );
        }
        assert!("/(/".parse::<TextMatcher>().is_err());
        assert!("192.0.2.1/24".parse::<AddressMatcher>().is_err());
        assert!("example.com".parse::<AddressMatcher>().is_err());
    }

    #[test]
    fn a_matcher_prints_as_it_is_written() {
        for text in [
            "example.com",
            "*.example.com",
            "/^x\\.y$/",
            "@big",
            "&google",
        ] {
            assert_eq!(text.parse::<DomainMatcher>().unwrap().to_string(), text);
        }
        assert_eq!(
            "192.0.2.0/24"
                .parse::<AddressMatcher>()
                .unwrap()
                .to_string(),
            "192.0.2.0/24"
        );
    }
}
