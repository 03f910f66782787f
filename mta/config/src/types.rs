//! The values of single keys: ids, networks, durations, octal numbers, host names and the like.
//!
//! Each type is parsed once, here, and is from then on what it says. A type that is written as a
//! string carries a `format` in the JSON schema; [`check_format`] is the one place that says what a
//! format accepts, so validation, deserialisation and the reference pages cannot differ.

use std::borrow::Borrow;
use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

pub use crate::matcher::{AddressMatcher, DomainMatcher, TextMatcher};
pub use crate::policy_values::{RateText, Tag};
pub use crate::sni::SniName;
pub use crate::tls_ciphers::TlsCiphers;
pub use crate::tls_protocols::TlsProtocols;

use ipnet::IpNet;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Longest duration a key accepts: a hundred years of 365 days, in seconds.
pub const LONGEST_SECONDS: f64 = 3_153_600_000.0;

/// Says whether `text` is a value of the string format `format`, and if not, what is wrong.
///
/// A format that is not in the table accepts every string.
///
/// # Errors
/// A sentence without a subject ("must be …") that completes "`key` …".
pub fn check_format(format: &str, text: &str) -> Result<(), String> {
    match format {
        "id" => text.parse::<Id>().map(drop),
        "file-id" => text.parse::<FileId>().map(drop),
        "version" => text.parse::<Version>().map(drop),
        "ip" => parse_ip(text).map(drop),
        "ip-or-network" => text.parse::<Network>().map(drop),
        "ip-port" => text.parse::<SocketTarget>().map(drop),
        "octal" => text.parse::<Octal>().map(drop),
        "host" => text.parse::<Host>().map(drop),
        "host-name" => text.parse::<HostName>().map(drop),
        "path" => text.parse::<FilePath>().map(drop),
        "tls-ciphers" => text.parse::<TlsCiphers>().map(drop),
        "metric-name" => text.parse::<MetricName>().map(drop),
        "tls-protocols" => text.parse::<TlsProtocols>().map(drop),
        "sni-name" => text.parse::<SniName>().map(drop),
        "one-line" => text.parse::<OneLine>().map(drop),
        "header-line" => text.parse::<HeaderLine>().map(drop),
        "rate" => text.parse::<RateText>().map(drop),
        "tag" => text.parse::<Tag>().map(drop),
        "match-text" => text.parse::<TextMatcher>().map(drop),
        "match-domain" => text.parse::<DomainMatcher>().map(drop),
        "match-address" => text.parse::<AddressMatcher>().map(drop),
        _ => Ok(()),
    }
}

fn parse_ip(text: &str) -> Result<IpAddr, String> {
    text.parse::<IpAddr>()
        .map_err(|_| "must be an IPv4 or IPv6 address such as 192.0.2.1 or 2001:db8::1".to_owned())
}

/// Gives a string type its conversions, its serde form and its JSON schema.
macro_rules! text_type {
    ($name:ident, $format:literal) => {
        impl TryFrom<String> for $name {
            type Error = String;
            fn try_from(text: String) -> Result<Self, String> {
                text.parse()
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
                let text = Cow::<'de, str>::deserialize(input)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, output: S) -> Result<S::Ok, S::Error> {
                output.collect_str(self)
            }
        }
        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }
            fn inline_schema() -> bool {
                true
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "format": $format })
            }
        }
    };
}

pub(crate) use text_type;

/// Gives a newtype over a `String` its `Deref`, `Display` and `Borrow`.
macro_rules! text_newtype {
    ($name:ident) => {
        impl Deref for $name {
            type Target = str;
            fn deref(&self) -> &str {
                &self.0
            }
        }
        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

pub(crate) use text_newtype;
/// The name of a metric, or what such names begin with: letters, digits and `_`, no digit first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct MetricName(String);

text_type!(MetricName, "metric-name");
text_newtype!(MetricName);

impl FromStr for MetricName {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let letters = text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let first = text
            .bytes()
            .next()
            .is_some_and(|byte| !byte.is_ascii_digit());
        if !letters || !first || text.len() > 200 {
            return Err(
                "must consist of letters, digits and `_`, at most 200, and not begin with a digit"
                    .to_owned(),
            );
        }
        Ok(Self(text.to_owned()))
    }
}

/// The name of a server, hook, transport, address, key pair or file.
///
/// Letters, digits and `_ . : @ / -`, one to 255 bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Id(String);

text_type!(Id, "id");
text_newtype!(Id);

impl FromStr for Id {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("must not be empty".to_owned());
        }
        if text.len() > 255 {
            return Err(format!(
                "must be at most 255 bytes long, this has {}",
                text.len()
            ));
        }
        match text
            .chars()
            .find(|c| !c.is_ascii_alphanumeric() && !"_.:@/-".contains(*c))
        {
            Some(bad) => Err(format!(
                "must consist of letters, digits and `_.:@/-`, {bad:?} is none of these"
            )),
            None => Ok(Self(text.to_owned())),
        }
    }
}

/// The path of a file inside the bundle: parts with `/` between, none of them empty, `.` or `..`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct FileId(String);

text_type!(FileId, "file-id");
text_newtype!(FileId);

impl FromStr for FileId {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if text.len() > 1024 {
            return Err("must be at most 1024 bytes long".to_owned());
        }
        if text.chars().any(|c| c.is_control() || c == '\\') {
            return Err("must not hold control characters or `\\`".to_owned());
        }
        if !is_inside(text) {
            return Err(
                "must be a path such as `lists/domains.txt`, without empty, `.` or `..` parts"
                    .to_owned(),
            );
        }
        Ok(Self(text.to_owned()))
    }
}

/// Says whether a relative path with `/` between its parts stays inside its folder and is written
/// in its one plain form.
#[must_use]
pub fn is_inside(path: &str) -> bool {
    path.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

/// The `version` of a configuration file, `5.0` to `6.99`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Version {
    /// The number before the dot.
    pub major: u8,
    /// The number after the dot.
    pub minor: u8,
}

text_type!(Version, "version");

impl FromStr for Version {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let unknown = || "must be \"5.0\" to \"6.99\"".to_owned();
        let number = |part: &str| {
            let plain =
                !part.is_empty() && part.len() <= 2 && part.bytes().all(|b| b.is_ascii_digit());
            if plain {
                part.parse::<u8>().map_err(|_| unknown())
            } else {
                Err(unknown())
            }
        };
        let text = text.strip_suffix("-stable").unwrap_or(text);
        let (major, minor) = text.split_once('.').ok_or_else(unknown)?;
        let version = Self {
            major: number(major)?,
            minor: number(minor)?,
        };
        if matches!(version.major, 5 | 6) {
            Ok(version)
        } else {
            Err(unknown())
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// One IP address or a network in CIDR form, such as `192.0.2.1`, `10.0.0.0/8` or `2001:db8::/32`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network(IpNet);

text_type!(Network, "ip-or-network");

impl Network {
    /// Says whether `address` lies in this network.
    ///
    /// An IPv4 address that came in over an IPv6 socket (`::ffff:192.0.2.1`) counts as IPv4.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }
}

impl FromStr for Network {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self(IpNet::from(address)));
        }
        let net = text.parse::<IpNet>().map_err(|_| {
            "must be an IP address or a network such as 192.0.2.1, 10.0.0.0/8 or 2001:db8::/32"
                .to_owned()
        })?;
        if net.trunc() != net {
            return Err(format!(
                "has bits set behind its prefix; the network is {}",
                net.trunc()
            ));
        }
        Ok(Self(net))
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.prefix_len() == self.0.max_prefix_len() {
            write!(f, "{}", self.0.addr())
        } else {
            write!(f, "{}", self.0)
        }
    }
}

/// Says whether one of `networks` contains `address`.
#[must_use]
pub fn any_contains(networks: &[Network], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(address))
}

/// An IP address with an optional port: `192.0.2.53`, `192.0.2.53:5353`, `[2001:db8::1]:53`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SocketTarget {
    /// The address.
    pub address: IpAddr,
    /// The port, if one is given.
    pub port: Option<u16>,
}

text_type!(SocketTarget, "ip-port");

impl FromStr for SocketTarget {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self {
                address,
                port: None,
            });
        }
        if let Ok(both) = text.parse::<std::net::SocketAddr>()
            && both.port() != 0
        {
            return Ok(Self {
                address: both.ip(),
                port: Some(both.port()),
            });
        }
        let bare = text
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        if let Some(address) = bare.and_then(|inner| inner.parse::<std::net::Ipv6Addr>().ok()) {
            return Ok(Self {
                address: address.into(),
                port: None,
            });
        }
        Err("must be an IP address with or without a port, such as 192.0.2.53, 192.0.2.53:53 or [2001:db8::1]:53"
            .to_owned())
    }
}

impl fmt::Display for SocketTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => write!(f, "{}", std::net::SocketAddr::new(self.address, port)),
            None => write!(f, "{}", self.address),
        }
    }
}

/// File mode bits written as an octal string, such as `"0027"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Octal(pub u32);

text_type!(Octal, "octal");

impl FromStr for Octal {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let digits =
            (3..=4).contains(&text.len()) && text.bytes().all(|b| (b'0'..=b'7').contains(&b));
        match u32::from_str_radix(text, 8) {
            Ok(bits) if digits => Ok(Self(bits)),
            _ => Err(
                "must be an octal number of three or four digits in quotes, such as \"0027\""
                    .to_owned(),
            ),
        }
    }
}

impl fmt::Display for Octal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

/// A host name of this machine or of a peer, as it may stand in a greeting.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostName(String);

text_type!(HostName, "host-name");
text_newtype!(HostName);

impl FromStr for HostName {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let label = |label: &str| {
            !label.is_empty()
                && label.len() <= 63
                && label
                    .chars()
                    .all(|c| c.is_alphanumeric() || c == '-' || c == '_')
        };
        let literal = text
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        let good = match literal {
            Some(inner) => inner
                .strip_prefix("IPv6:")
                .unwrap_or(inner)
                .parse::<IpAddr>()
                .is_ok(),
            None => text.len() <= 253 && text.split('.').all(label),
        };
        if good {
            Ok(Self(text.to_owned()))
        } else {
            Err("must be a host name such as mx.example.com, or an address in brackets".to_owned())
        }
    }
}

/// Where to connect to: an address, or a name that is resolved by A and AAAA only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// An address, written bare or in brackets.
    Address(IpAddr),
    /// A host name.
    Name(HostName),
}

text_type!(Host, "host");

impl FromStr for Host {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let inner = text
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .unwrap_or(text);
        if let Ok(address) = inner.strip_prefix("IPv6:").unwrap_or(inner).parse() {
            return Ok(Self::Address(address));
        }
        text.parse()
            .map(Self::Name)
            .map_err(|_| "must be a host name or an IP address".to_owned())
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

/// A path of a file or folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FilePath(PathBuf);

text_type!(FilePath, "path");

impl FilePath {
    /// The path itself.
    #[must_use]
    pub fn as_path(&self) -> &Path {
        &self.0
    }

    /// The same path seen from `base`, if it is relative.
    #[must_use]
    pub fn below(&self, base: &Path) -> Self {
        Self(base.join(&self.0))
    }
}

impl Deref for FilePath {
    type Target = Path;
    fn deref(&self) -> &Path {
        &self.0
    }
}

impl From<PathBuf> for FilePath {
    fn from(path: PathBuf) -> Self {
        Self(path)
    }
}

impl FromStr for FilePath {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() || text.chars().any(char::is_control) {
            return Err("must be a path: not empty and without control characters".to_owned());
        }
        Ok(Self(PathBuf::from(text)))
    }
}

impl fmt::Display for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}

/// Text that may stand in a header, a reply or an SMTP parameter: one line, no control characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OneLine(String);

text_type!(OneLine, "one-line");
text_newtype!(OneLine);

impl FromStr for OneLine {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if text.chars().any(char::is_control) {
            return Err("must be one line without control characters".to_owned());
        }
        Ok(Self(text.to_owned()))
    }
}

/// A whole header field, `Name: value`, on one line (RFC 5322 §2.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderLine(String);

text_type!(HeaderLine, "header-line");
text_newtype!(HeaderLine);

impl FromStr for HeaderLine {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let name = text.split_once(':').map_or("", |(name, _)| name);
        let named = !name.is_empty() && name.bytes().all(|b| (33..=126).contains(&b));
        if !named || text.chars().any(char::is_control) {
            return Err(
                "must be a header field on one line, such as \"X-Sent-By: example\"".to_owned(),
            );
        }
        Ok(Self(text.to_owned()))
    }
}

/// A duration written as a number of seconds, fractions allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Seconds(pub Duration);

impl Seconds {
    /// A duration of whole seconds.
    #[must_use]
    pub const fn new(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }
}

impl Deref for Seconds {
    type Target = Duration;
    fn deref(&self) -> &Duration {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let seconds = f64::deserialize(input)?;
        let bounded = (0.0..=LONGEST_SECONDS).contains(&seconds);
        match Duration::try_from_secs_f64(seconds) {
            Ok(duration) if bounded => Ok(Self(duration)),
            _ => Err(serde::de::Error::custom(
                "must be a number of seconds, 0 or more",
            )),
        }
    }
}

impl Serialize for Seconds {
    fn serialize<S: Serializer>(&self, output: S) -> Result<S::Ok, S::Error> {
        if self.0.subsec_nanos() == 0 {
            output.serialize_u64(self.0.as_secs())
        } else {
            output.serialize_f64(self.0.as_secs_f64())
        }
    }
}

impl JsonSchema for Seconds {
    fn schema_name() -> Cow<'static, str> {
        "Seconds".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "number", "format": "seconds", "minimum": 0, "maximum": LONGEST_SECONDS })
    }
}

/// An IP address of this machine or of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address(pub IpAddr);

text_type!(Address, "ip");

impl FromStr for Address {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        parse_ip(text).map(Self)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(format: &str, good: &[&str], bad: &[&str]) {
        for text in good {
            assert_eq!(check_format(format, text), Ok(()), "{format}: {text:?}");
        }
        for text in bad {
            assert!(
                check_format(format, text).is_err(),
                "{format}: {text:?} was accepted"
            );
        }
    }

    #[test]
    fn every_format_takes_its_good_and_refuses_its_bad_samples() {
        let long = "a".repeat(256);
        rows(
            "id",
            &["default", "a.b/c:d@e_f-1", "X"],
            &["", "a b", "é", "a\n", &long],
        );
        rows(
            "version",
            &["5.0", "5.6", "6.99", "6.1-stable"],
            &["", "5", "4.9", "7.0", "5.100", "6.", "5.-1", "v5.6"],
        );
        rows(
            "ip",
            &["192.0.2.1", "::1"],
            &["", "192.0.2", "localhost", "192.0.2.1/32"],
        );
        rows(
            "ip-or-network",
            &["192.0.2.1", "10.0.0.0/8", "2001:db8::/32", "::1"],
            &["10.0.0.1/8", "10.0.0.0/33", "x"],
        );
        rows(
            "ip-port",
            &["192.0.2.1", "192.0.2.1:53", "[::1]:53", "[::1]", "::1"],
            &["192.0.2.1:0", "ns.example.com", ":53"],
        );
        rows(
            "octal",
            &["0027", "660", "0660"],
            &["27", "0o27", "0098", "00277", "-027"],
        );
        rows(
            "host",
            &[
                "mx.example.com",
                "192.0.2.1",
                "[192.0.2.1]",
                "[IPv6:2001:db8::1]",
                "localhost",
            ],
            &["", "a b", "a..b", "[x]"],
        );
        rows(
            "host-name",
            &["mx.example.com", "[192.0.2.1]", "blåbär.example"],
            &["", "a\r\nb", "a b", "-.".repeat(200).as_str()],
        );
        rows("path", &["/var/spool", "spool"], &["", "a\0b", "a\nb"]);
        rows(
            "tls-protocols",
            &[
                "!SSLv2,!SSLv3",
                "TLSv1.3",
                "!TLSv1.2",
                "",
                "TLSv1.2, TLSv1.3",
            ],
            &["TLSv1", "!TLSv1.2,!TLSv1.3", "TLSv9"],
        );
        rows(
            "sni-name",
            &["mx.example.com", "*.example.com", "Blåbär.example."],
            &[
                "",
                "*",
                "*.",
                "a.*.example",
                "**.example",
                "[192.0.2.1]",
                "a b",
            ],
        );
        rows("tls-ciphers", &["HIGH:MEDIUM"], &["", "NONSENSE"]);
        rows(
            "one-line",
            &["", "Mail Delivery System"],
            &["a\r\nb", "a\0"],
        );
        rows(
            "header-line",
            &["Foo: Bar", "X-A:"],
            &["Foo", ": x", "Foo : x\r\nBar: y", "F oo: x"],
        );
    }

    #[test]
    fn a_mapped_address_lies_in_its_ipv4_network() {
        let network: Network = "127.0.0.0/8".parse().unwrap();
        assert!(network.contains("::ffff:127.0.0.1".parse().unwrap()));
        assert!(!network.contains("::1".parse().unwrap()));
    }

    #[test]
    fn protocols_are_chosen_by_name_and_by_exclusion() {
        let only13: TlsProtocols = "TLSv1.3".parse().unwrap();
        assert!((only13.tls12, only13.tls13) == (false, true));
        let only12: TlsProtocols = "!TLSv1.3".parse().unwrap();
        assert!((only12.tls12, only12.tls13) == (true, false));
    }
}
