//! Taking URLs apart (RFC 3986): `url_parse`.
//!
//! Nothing is changed but the case of scheme and host: no decoding, no default ports, no dot segments removed. Bytes that
//! RFC 3986 does not allow in a path, query or fragment are taken as they are, as browsers do, but for those that could
//! end a line or a word where the parts are used. Where the host ends is read as browsers read it, because a script that
//! judges links has to look at the host that a click leads to.

use std::net::Ipv6Addr;

use angarium_runtime::array::{Array, Key};
use angarium_runtime::native::{Args, Cx, FnDecl, Heavy, Throw};
use angarium_runtime::value::Value;

use crate::heavy;

/// The functions of this family.
pub const FUNCTIONS: &[FnDecl] = &[FnDecl::heavy(
    "url_parse(url: string, options?: array): array|none",
    "Takes a URL apart into those of schema, username, password, hostname, port, path, query and fragment that it has. Schema \
     and hostname are in lower case, an IPv6 address has no brackets, nothing is decoded. Gives none for what is no URL: \
     without a scheme, with white space or control characters, or with a host or port that cannot be.",
    url_parse,
)
.since(">5.5")
.example(
    "url_parse(\"HTTPS://Example.com:8443/a%20b?c=d\") // \
     [\"schema\"=>\"https\",\"hostname\"=>\"example.com\",\"port\"=>8443,\"path\"=>\"/a%20b\",\"query\"=>\"c=d\"]\n\
     url_parse(\"http://user:secret@[::1]/\")[\"hostname\"] // \"::1\"\n\
     url_parse(\"mailto:a@example.com\") // [\"schema\"=>\"mailto\",\"path\"=>\"a@example.com\"]\n\
     url_parse(\"example.com/path\") // none",
)];

/// The parts of a URL that are there.
#[derive(Debug, Default, PartialEq, Eq)]
struct Url<'u> {
    scheme: Vec<u8>,
    username: Option<&'u [u8]>,
    password: Option<&'u [u8]>,
    hostname: Option<Vec<u8>>,
    port: Option<u16>,
    path: Option<&'u [u8]>,
    query: Option<&'u [u8]>,
    fragment: Option<&'u [u8]>,
}

fn url_parse(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Heavy, Throw> {
    let size = args.bytes(0).len();
    cx.reserve(size)?;
    heavy::run(cx, size, &args.values[..1], |values| {
        let text = values.first().and_then(Value::as_bytes).unwrap_or(b"");
        Ok(parse(text).map_or(Value::None, |url| parts_of(&url)))
    })
}

fn parts_of(url: &Url<'_>) -> Value {
    let text = |bytes: Option<&[u8]>| bytes.map(Value::bytes);
    let parts = [
        ("schema", text(Some(&url.scheme))),
        ("username", text(url.username)),
        ("password", text(url.password)),
        ("hostname", text(url.hostname.as_deref())),
        ("port", url.port.map(|port| f64::from(port).into())),
        ("path", text(url.path)),
        ("query", text(url.query)),
        ("fragment", text(url.fragment)),
    ];
    let there = parts
        .into_iter()
        .filter_map(|(name, value)| Some((Key::from(name), value?)));
    there.collect::<Array>().into()
}

/// Takes a URL apart as RFC 3986 appendix B does, and looks at what may not be.
fn parse(text: &[u8]) -> Option<Url<'_>> {
    if text.iter().any(|byte| *byte <= b' ' || *byte == 0x7f) {
        return None;
    }
    let (scheme, rest) = split(text, b":")?;
    let is_scheme = scheme.first().is_some_and(u8::is_ascii_alphabetic)
        && scheme
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(byte));
    if !is_scheme {
        return None;
    }
    let mut url = Url {
        scheme: scheme.to_ascii_lowercase(),
        ..Url::default()
    };
    let (rest, fragment) = optional(rest, b"#");
    let (rest, query) = optional(rest, b"?");
    (url.query, url.fragment) = (query, fragment);
    let path = match rest.strip_prefix(b"//") {
        Some(rest) => {
            let end = memchr::memchr(b'/', rest).unwrap_or(rest.len());
            let (authority, path) = rest.split_at_checked(end)?;
            url.authority(authority)?;
            path
        }
        None => rest,
    };
    // Nobody has an http service without a host (RFC 9110 §4.2.1), with or without an empty authority.
    if url.hostname.is_none() && matches!(url.scheme.as_slice(), b"http" | b"https") {
        return None;
    }
    url.path = (!path.is_empty()).then_some(path);
    Some(url)
}

impl<'u> Url<'u> {
    /// Reads `[username[:password]@][host][:port]`.
    fn authority(&mut self, text: &'u [u8]) -> Option<()> {
        // A backslash there is a path to browsers and a name to others: no reading is right.
        if text.contains(&b'\\') {
            return None;
        }
        let host_and_port = match memchr::memrchr(b'@', text) {
            Some(at) => {
                let (username, password) = optional(text.get(..at)?, b":");
                (self.username, self.password) = (Some(username), password);
                text.get(at + 1..)?
            }
            None => text,
        };
        let (host, port) = match memchr::memchr(b']', host_and_port) {
            Some(end) => {
                let (host, port) = host_and_port.split_at_checked(end + 1)?;
                let address = host.strip_prefix(b"[")?.strip_suffix(b"]")?;
                let address_text = std::str::from_utf8(address).ok()?;
                address_text.parse::<Ipv6Addr>().ok()?;
                (address.to_ascii_lowercase(), port)
            }
            None => {
                let end = memchr::memchr(b':', host_and_port).unwrap_or(host_and_port.len());
                let (host, port) = host_and_port.split_at_checked(end)?;
                (lower_host(host)?, port)
            }
        };
        match port.split_first() {
            None | Some((b':', [])) => {}
            Some((b':', digits)) if digits.iter().all(u8::is_ascii_digit) => {
                self.port = Some(std::str::from_utf8(digits).ok()?.parse().ok()?);
            }
            Some(_) => return None,
        }
        if !host.is_empty() {
            self.hostname = Some(host);
        } else if self.username.is_some() || !port.is_empty() {
            return None;
        }
        Some(())
    }
}

/// A host in lower case, but for the digits of %XX; none when it holds what ends one.
fn lower_host(host: &[u8]) -> Option<Vec<u8>> {
    let mut lower = host.to_vec();
    let mut rest = lower.as_mut_slice();
    while let Some((byte, after)) = rest.split_first_mut() {
        rest = after;
        match byte {
            b'%' => {
                let (digits, after) = rest.split_at_mut_checked(2)?;
                if !digits.iter().all(u8::is_ascii_hexdigit) {
                    return None;
                }
                rest = after;
            }
            b'<' | b'>' | b'[' | b'^' | b'|' => return None,
            _ => byte.make_ascii_lowercase(),
        }
    }
    Some(lower)
}

/// What stands before and after the first `separator`.
fn split<'t>(text: &'t [u8], separator: &[u8; 1]) -> Option<(&'t [u8], &'t [u8])> {
    let at = memchr::memchr(separator[0], text)?;
    Some((text.get(..at)?, text.get(at + 1..)?))
}

/// As [`split`]; all of the text is before a separator that is not there.
fn optional<'t>(text: &'t [u8], separator: &[u8; 1]) -> (&'t [u8], Option<&'t [u8]>) {
    match split(text, separator) {
        Some((before, after)) => (before, Some(after)),
        None => (text, None),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The parts in their order, `-` for one that is not there.
    fn parts(text: &str) -> String {
        let Some(url) = parse(text.as_bytes()) else {
            return "none".to_owned();
        };
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let or = |bytes: Option<&[u8]>| bytes.map_or("-".to_owned(), text);
        [
            text(&url.scheme),
            or(url.username),
            or(url.password),
            or(url.hostname.as_deref()),
            url.port.map_or("-".to_owned(), |port| port.to_string()),
            or(url.path),
            or(url.query),
            or(url.fragment),
        ]
        .join(" ")
    }

    #[test]
    fn the_parts_that_are_there_are_given_as_they_are() {
        for (url, expected) in [
            ("http://a", "http - - a - - - -"),
            ("HTTP://A.Example/B?C#D", "http - - a.example - /B C D"),
            ("ftp://u:p%40:x@h:21/", "ftp u p%40:x h 21 / - -"),
            ("http://@h?#", "http  - h - -  "),
            ("http://h:/", "http - - h - / - -"),
            ("http://h/a?b?c#d#e?f", "http - - h - /a b?c d#e?f"),
            ("http://h?a/b", "http - - h - - a/b -"),
            ("http://a@b@c/", "http a@b - c - / - -"),
            (
                "https://[2001:DB8::1]:443",
                "https - - 2001:db8::1 443 - - -",
            ),
            ("file:///etc/x", "file - - - - /etc/x - -"),
            ("mailto:A@b?subject=x", "mailto - - - - A@b subject=x -"),
            ("urn:ietf:rfc:2648", "urn - - - - ietf:rfc:2648 - -"),
            ("x:", "x - - - - - - -"),
            ("asdf://%7C%c3B/", "asdf - - %7C%c3b - / - -"),
            (
                "http://bücher.example/ü",
                "http - - bücher.example - /ü - -",
            ),
            ("http://h/a|b\\c", "http - - h - /a|b\\c - -"),
        ] {
            assert_eq!(parts(url), expected, "{url}");
        }
    }

    #[test]
    fn what_is_no_url_is_none() {
        for url in [
            "",
            "a",
            "/a",
            "//h/a",
            ":a",
            "1a:b",
            "a_b:c",
            "http:",
            "http:a",
            "http:///a",
            "http://",
            "http://:80",
            "http://u@/",
            "foo://:80",
            "http://h:65536",
            "http://h:+1",
            "http://h:1x",
            "http://[::1",
            "http://::1]/",
            "http://[::g]/",
            "http://[::1]x/",
            "http://a[b]/",
            "http://a%zz/",
            "http://a%2",
            "http://good\\@evil/",
            "http://a b/",
            "http://h/a b",
            "http://h/\r\nX: y",
            "http://h/\0",
            " http://h/",
            "http://h/\n",
            "http://h/\u{7f}",
        ] {
            assert_eq!(parts(url), "none", "{url:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_taken_apart_or_refused(text in "[a-z:/?#@%\\[\\]0-9. \r\n]{0,40}") {
            if let Some(url) = parse(text.as_bytes()) {
                prop_assert!(text.as_bytes()[..url.scheme.len()].eq_ignore_ascii_case(&url.scheme));
                prop_assert!(!text.contains(['\r', '\n', ' ']));
            }
        }
    }
}
