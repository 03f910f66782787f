//! Internet addresses and domain names as text.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use angarium_runtime::native::{Args, Cx, FnDecl, Outcome};
use angarium_runtime::value::Value;

use crate::string::is_large;

/// The functions of this family.
pub const FUNCTIONS: &[FnDecl] = &[
    FnDecl::plain(
        "domain_includes(subdomain: string, domain: string, options?: array): boolean",
        "Tells whether a domain is another one or lies below it, in any case of letters. With a leading dot in `domain` \
         it must lie below. One final dot on either side does not count.",
        domain_includes,
    )
    .example("domain_includes(\"a.example.com\", \"Example.com\") // true\ndomain_includes(\"example.com\", \".example.com\") // false"),
    FnDecl::plain(
        "inet_includes(ip: string, network: string): boolean|none",
        "Tells whether an address lies in a network: an address, ADDRESS/LENGTH, or a range FIRST-LAST. False for another \
         address family, none for text that is no address or network.",
        inet_includes,
    )
    .example("inet_includes(\"192.0.2.7\", \"192.0.2.0/24\") // true"),
    FnDecl::plain(
        "inet_ntop(ip: string): string|none",
        "Gives the text of an address of 4 or 16 bytes; none for another length.",
        |_, args| Ok(from_bytes(args.bytes(0)).map(|address| address.to_string()).into()),
    )
    .example(r#"inet_ntop("\x7f\x00\x00\x01") // "127.0.0.1""#),
    FnDecl::plain(
        "inet_pton(ip: string): string|none",
        "Gives the 4 or 16 bytes of an address; none when the text is no address.",
        |_, args| {
            Ok(match address(args.bytes(0)) {
                Some(IpAddr::V4(address)) => Value::bytes(&address.octets()),
                Some(IpAddr::V6(address)) => Value::bytes(&address.octets()),
                None => Value::None,
            })
        },
    )
    .example("length(inet_pton(\"::1\")) // 16"),
    FnDecl::plain(
        "inet_reverse(ip: string, zone?: string): string|none",
        "Gives the name under which an address is looked up: its parts in reverse order below `zone`, or below \
         in-addr.arpa or ip6.arpa. With an empty `zone` it is the parts alone. Gives none for text that is no address and for a \
         zone with control characters or of more than 64 KiB.",
        inet_reverse,
    )
    .example(r#"inet_reverse("12.34.56.78", "example.com") // "78.56.34.12.example.com""#),
];

fn domain_includes(cx: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    cx.charge(args.bytes(1).len() / 64);
    let name = |index: usize| {
        let bytes = args.bytes(index);
        bytes.strip_suffix(b".").unwrap_or(bytes)
    };
    Ok(includes(name(0), name(1)).into())
}

/// Whether `subdomain` is `domain` or lies below it; below it when `domain` begins with a dot. Neither ends with one.
fn includes(subdomain: &[u8], domain: &[u8]) -> bool {
    let (below, domain) = match domain.strip_prefix(b".") {
        Some(domain) => (true, domain),
        None => (false, domain),
    };
    if domain.is_empty() {
        return false;
    }
    let start = subdomain.len().checked_sub(domain.len());
    let Some((head, tail)) = start.and_then(|start| subdomain.split_at_checked(start)) else {
        return false;
    };
    let is_head = match head {
        [] | [b'.'] if below => false,
        [] => true,
        head => head.ends_with(b"."),
    };
    is_head && tail.eq_ignore_ascii_case(domain)
}

/// Longer texts are neither addresses nor networks.
const MAX_TEXT: usize = 1024;

fn text(bytes: &[u8]) -> Option<&str> {
    if bytes.len() > MAX_TEXT {
        return None;
    }
    std::str::from_utf8(bytes).ok()
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    text(bytes)?.parse().ok()
}

fn from_bytes(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(octets) = <[u8; 4]>::try_from(bytes) {
        return Some(Ipv4Addr::from(octets).into());
    }
    <[u8; 16]>::try_from(bytes)
        .ok()
        .map(|octets| Ipv6Addr::from(octets).into())
}

/// The address as a number, and the bits of its family.
fn number(address: IpAddr) -> (u128, u32) {
    match address {
        IpAddr::V4(address) => (u32::from(address).into(), 32),
        IpAddr::V6(address) => (address.into(), 128),
    }
}

/// First and last address of a network, and the bits of its family.
fn network(bytes: &[u8]) -> Option<(u128, u128, u32)> {
    let text = text(bytes)?;
    if let Some((first, last)) = text.split_once('-') {
        let ((first, bits), (last, last_bits)) = (
            number(first.trim().parse().ok()?),
            number(last.trim().parse().ok()?),
        );
        return (bits == last_bits && first <= last).then_some((first, last, bits));
    }
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (text, None),
    };
    let (address, bits) = number(address.parse().ok()?);
    let length = match length {
        Some(length) if !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit()) => {
            length.parse().ok()?
        }
        Some(_) => return None,
        None => bits,
    };
    let host_bits = bits.checked_sub(length)?;
    let mask = 1_u128
        .checked_shl(host_bits)
        .map_or(u128::MAX, |power| power - 1);
    Some((address & !mask, address | mask, bits))
}

fn inet_includes(_: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    let (Some(address), Some((first, last, bits))) =
        (address(args.bytes(0)), network(args.bytes(1)))
    else {
        return Ok(Value::None);
    };
    let (address, family) = number(address);
    Ok((family == bits && (first..=last).contains(&address)).into())
}

fn inet_reverse(cx: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    let zone = args.has(1).then(|| args.bytes(1));
    if zone.is_some_and(is_large) {
        return Ok(Value::None);
    }
    cx.reserve(args.bytes(1).len())?;
    Ok(reverse(args.bytes(0), zone).map_or(Value::None, Value::from))
}

/// The name under which an address is looked up below `zone`, or below its own; none for what is no address.
pub(crate) fn reverse(ip: &[u8], zone: Option<&[u8]>) -> Option<Vec<u8>> {
    let (labels, own): (Vec<String>, &str) = match address(ip)? {
        IpAddr::V4(address) => (
            address
                .octets()
                .iter()
                .rev()
                .map(ToString::to_string)
                .collect(),
            "in-addr.arpa",
        ),
        IpAddr::V6(address) => {
            let nibbles = address
                .octets()
                .into_iter()
                .rev()
                .flat_map(|byte| [byte & 15, byte >> 4]);
            (
                nibbles.map(|nibble| format!("{nibble:x}")).collect(),
                "ip6.arpa",
            )
        }
    };
    let zone = zone.unwrap_or(own.as_bytes());
    // The result is looked up and logged: a zone that could end a line is no zone.
    if zone.iter().any(|byte| byte.is_ascii_control()) {
        return None;
    }
    let mut name = labels.join(".").into_bytes();
    if !zone.is_empty() {
        name.push(b'.');
        name.extend_from_slice(zone);
    }
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::{includes, network};

    #[test]
    fn domains_are_below_others_from_a_dot_on() {
        for (subdomain, domain, expected) in [
            ("a.example", "example", true),
            ("A.EXAMPLE", "example", true),
            ("example", "example", true),
            ("example", ".example", false),
            (".example", ".example", false),
            (".example", "example", true),
            ("a.example", ".example", true),
            ("notexample", "example", false),
            ("le", "example", false),
            ("a", "", false),
            ("", "", false),
            ("", "a", false),
            ("a", ".", false),
        ] {
            assert_eq!(
                includes(subdomain.as_bytes(), domain.as_bytes()),
                expected,
                "{subdomain} {domain}"
            );
        }
    }

    #[test]
    fn networks_are_addresses_prefixes_and_ranges() {
        assert_eq!(
            network(b"10.1.2.3/8").map(|(first, last, _)| last - first),
            Some((1 << 24) - 1)
        );
        assert_eq!(
            network(b"::/0").map(|(first, last, _)| (first, last)),
            Some((0, u128::MAX))
        );
        assert_eq!(
            network(b"10.0.0.1-10.0.0.9").map(|(first, last, _)| last - first),
            Some(8)
        );
        for bad in [
            "10.0.0.0/33",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "10.0.0.9-10.0.0.1",
            "x",
            "1.2.3.4-::1",
            "::/129",
        ] {
            assert_eq!(network(bad.as_bytes()), None, "{bad}");
        }
    }
}
