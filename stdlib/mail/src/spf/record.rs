//! The grammar of SPF records (RFC 7208 §4.6.1, §5, §6, §12).

use std::net::{Ipv4Addr, Ipv6Addr};

use super::expand::MacroString;

/// What a mechanism that matches gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Qualifier {
    Pass,
    Fail,
    SoftFail,
    Neutral,
}

/// A mechanism with its arguments (RFC 7208 §5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Mechanism {
    All,
    Include(MacroString),
    A(Option<MacroString>, Lengths),
    Mx(Option<MacroString>, Lengths),
    Ptr(Option<MacroString>),
    Ip4(Ipv4Addr, u8),
    Ip6(Ipv6Addr, u8),
    Exists(MacroString),
}

/// Prefix lengths of a network in either family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lengths {
    pub(super) four: u8,
    pub(super) six: u8,
}

/// A record that obeys the grammar.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) mechanisms: Vec<(Qualifier, Mechanism)>,
    pub(super) redirect: Option<MacroString>,
    pub(super) explanation: Option<MacroString>,
}

/// Whether a TXT record is an SPF record: the version, and then a space or the end.
pub(super) fn is_spf(text: &[u8]) -> bool {
    text.get(..6)
        .is_some_and(|version| version.eq_ignore_ascii_case(b"v=spf1"))
        && matches!(text.get(6), None | Some(b' '))
}

/// Reads a record for which [`is_spf`]; none when it does not obey the grammar.
pub(super) fn parse(text: &[u8]) -> Option<Record> {
    let text = std::str::from_utf8(text)
        .ok()
        .filter(|text| text.is_ascii())?;
    let mut record = Record::default();
    for term in text.get(6..)?.split(' ').filter(|term| !term.is_empty()) {
        match modifier(term) {
            Some((name, value)) => {
                let slot = match name.to_ascii_lowercase().as_str() {
                    "redirect" => &mut record.redirect,
                    "exp" => &mut record.explanation,
                    _ => {
                        MacroString::parse(value, false)?;
                        continue;
                    }
                };
                if slot.replace(domain_spec(value)?).is_some() {
                    return None;
                }
            }
            None => record.mechanisms.push(directive(term)?),
        }
    }
    Some(record)
}

/// `name=value`, when the term is a modifier.
fn modifier(term: &str) -> Option<(&str, &str)> {
    let (name, value) = term.split_once('=')?;
    let mut bytes = name.bytes();
    let named = bytes.next()?.is_ascii_alphabetic()
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
    named.then_some((name, value))
}

fn directive(term: &str) -> Option<(Qualifier, Mechanism)> {
    let (qualifier, rest) = match term.as_bytes().first()? {
        b'+' => (Qualifier::Pass, term.get(1..)?),
        b'-' => (Qualifier::Fail, term.get(1..)?),
        b'~' => (Qualifier::SoftFail, term.get(1..)?),
        b'?' => (Qualifier::Neutral, term.get(1..)?),
        _ => (Qualifier::Pass, term),
    };
    let end = rest.find([':', '/']).unwrap_or(rest.len());
    let (name, arguments) = rest.split_at_checked(end)?;
    let domain = arguments.strip_prefix(':');
    let bare = arguments.is_empty();
    let mechanism = match name.to_ascii_lowercase().as_str() {
        "all" if bare => Mechanism::All,
        "include" => Mechanism::Include(domain_spec(domain?)?),
        "exists" => Mechanism::Exists(domain_spec(domain?)?),
        "ptr" if bare => Mechanism::Ptr(None),
        "ptr" => Mechanism::Ptr(Some(domain_spec(domain?)?)),
        "a" => {
            let (domain, lengths) = domain_and_lengths(arguments)?;
            Mechanism::A(domain, lengths)
        }
        "mx" => {
            let (domain, lengths) = domain_and_lengths(arguments)?;
            Mechanism::Mx(domain, lengths)
        }
        "ip4" => {
            let (address, length) = network(domain?, 32)?;
            Mechanism::Ip4(address.parse().ok()?, length)
        }
        "ip6" => {
            let (address, length) = network(domain?, 128)?;
            Mechanism::Ip6(address.parse().ok()?, length)
        }
        _ => return None,
    };
    Some((qualifier, mechanism))
}

/// `address[/length]`
fn network(text: &str, bits: u8) -> Option<(&str, u8)> {
    match text.split_once('/') {
        None => Some((text, bits)),
        Some((address, digits)) => Some((address, length(digits, bits)?)),
    }
}

/// A prefix length without leading zeros.
fn length(digits: &str, bits: u8) -> Option<u8> {
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit())
        && !digits.is_empty()
        && (digits == "0" || !digits.starts_with('0'));
    let length = digits.parse().ok().filter(|_| plain)?;
    (length <= bits).then_some(length)
}

/// `[:domain-spec][/length][//length]`
fn domain_and_lengths(arguments: &str) -> Option<(Option<MacroString>, Lengths)> {
    let mut lengths = Lengths { four: 32, six: 128 };
    let mut rest = arguments;
    if let Some(at) = digits_after(rest, "//") {
        lengths.six = length(rest.get(at + 2..)?, 128)?;
        rest = rest.get(..at)?;
    }
    if let Some(at) = digits_after(rest, "/") {
        lengths.four = length(rest.get(at + 1..)?, 32)?;
        rest = rest.get(..at)?;
    }
    if rest.is_empty() {
        return Some((None, lengths));
    }
    Some((Some(domain_spec(rest.strip_prefix(':')?)?), lengths))
}

/// Where `separator` stands when nothing but digits follow it.
fn digits_after(text: &str, separator: &str) -> Option<usize> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_digit());
    let head = digits.strip_suffix(separator)?;
    (digits.len() < text.len()).then_some(head.len())
}

/// A macro string that ends in a top label or a macro (RFC 7208 §7.1).
fn domain_spec(text: &str) -> Option<MacroString> {
    let parsed = MacroString::parse(text, false)?;
    if parsed.ends_in_macro() {
        return Some(parsed);
    }
    let name = text.strip_suffix('.').unwrap_or(text);
    let (_, top) = name.rsplit_once('.')?;
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    let top_label = !top.is_empty()
        && top.bytes().all(inner)
        && !top.starts_with('-')
        && !top.ends_with('-')
        && top.bytes().any(|byte| !byte.is_ascii_digit());
    top_label.then_some(parsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good(text: &str) -> bool {
        parse(format!("v=spf1 {text}").as_bytes()).is_some()
    }

    #[test]
    fn the_grammar_is_kept_to() {
        for text in [
            "",
            "  -all  ",
            "a/24 mx//64 a:b.c/8//0 A:foo:bar/baz.example.com",
            "ip4:1.2.3.4/0 ip6:::1/128 ip6:::FFFF:1.2.3.4",
            "exists:%{i}.%{d} ptr ptr:a.b include:%{d1r-}",
            "redirect=a.b exp=%{d} x-y_z.1=%{s}x",
            "a:xn--a.x-y a:b.c. a:_b.c1",
        ] {
            assert!(good(text), "{text}");
        }
        for text in [
            "all.",
            "all:x",
            "-all/8",
            "include",
            "include:",
            "include:a.b/24",
            "a:",
            "a:museum",
            "a:museum.",
            "a:1.2.3.4",
            "a:a.b-",
            "a:example.com:8080",
            "a/33",
            "a/032",
            "a//129",
            "a/8/8",
            "ip4",
            "ip4:1.2.3",
            "ip4:1.2.3.4//32",
            "ip4:1.2.3.4/033",
            "ip6:1.2.3.4",
            "ip6:::CAFE::BABE",
            "ptr/0",
            "ptr:",
            "exists",
            "exists:a.b/8",
            "a:%{a}.b",
            "a:%{d0}",
            "a:%(ir).b",
            "foo:bar.example",
            "-exp=a.b",
            "=a.b",
            "exp= ",
            "exp=a.b exp=a.b",
            "redirect=",
            "x=%abc",
            "redirect:a.b",
            "a\tmx",
            "\u{e4}",
        ] {
            assert!(!good(text), "{text}");
        }
    }

    #[test]
    fn the_version_ends_at_a_space() {
        assert!(is_spf(b"v=spf1") && is_spf(b"V=SPF1 a"));
        assert!(!is_spf(b"v=spf10") && !is_spf(b" v=spf1") && !is_spf(b"v=spf1\t"));
    }
}
