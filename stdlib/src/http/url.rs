//! URLs of HTTP requests (RFC 3986, RFC 9110 §4.2), as far as a client needs them.

use crate::domain;

/// Where a request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Url {
    /// `https`
    pub secure: bool,
    /// User name and password, decoded.
    pub user: Option<(Vec<u8>, Vec<u8>)>,
    /// The host, an IPv6 address without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Path and query, in ASCII.
    pub target: String,
}

impl Url {
    /// Reads an absolute URL; none for another scheme, and for what is none. Control bytes are refused, spaces and bytes
    /// above 127 are escaped.
    pub fn parse(text: &[u8]) -> Option<Url> {
        let scheme = |name: &str| {
            let head = text.get(..name.len())?;
            head.eq_ignore_ascii_case(name.as_bytes())
                .then(|| text.get(name.len()..))?
        };
        let (secure, rest) = match (scheme("https://"), scheme("http://")) {
            (Some(rest), _) => (true, rest),
            (None, Some(rest)) => (false, rest),
            (None, None) => return None,
        };
        Url::after_scheme(rest, secure, if secure { 443 } else { 80 })
    }

    /// Reads what follows the scheme and `://`; `usual` is the port where none stands.
    pub fn after_scheme(rest: &[u8], secure: bool, usual: u16) -> Option<Url> {
        if rest.iter().any(u8::is_ascii_control) {
            return None;
        }
        let end = rest
            .iter()
            .position(|byte| matches!(byte, b'/' | b'?' | b'#'))
            .unwrap_or(rest.len());
        let (authority, rest) = rest.split_at_checked(end)?;
        let (user, place) = match authority.iter().rposition(|byte| *byte == b'@') {
            Some(at) => (authority.get(..at), authority.get(at + 1..)?),
            None => (None, authority),
        };
        let (host, port) = host_and_port(place)?;
        let user = user.map(|user| {
            let colon = user.iter().position(|byte| *byte == b':');
            let (name, password) = user.split_at(colon.unwrap_or(user.len()));
            (decode(name), decode(password.get(1..).unwrap_or_default()))
        });
        Some(Url {
            secure,
            user,
            host,
            port: port.unwrap_or(usual),
            target: target(rest),
        })
    }

    /// What a `Location` means here (RFC 3986 §5.2).
    pub fn join(&self, location: &[u8]) -> Option<Url> {
        let reference = location.trim_ascii();
        if let Some(url) = Url::parse(reference) {
            return Some(url);
        }
        if reference.iter().any(u8::is_ascii_control) || has_scheme(reference) {
            return None;
        }
        if reference.starts_with(b"//") {
            let scheme: &[u8] = if self.secure { b"https:" } else { b"http:" };
            return Url::parse(&[scheme, reference].concat());
        }
        let (path, _) = split_query(&self.target);
        let reference = target_text(reference);
        let (written, query) = split_query(&reference);
        let target = if written.is_empty() {
            match query {
                Some(_) => format!("{path}{reference}"),
                None => self.target.clone(),
            }
        } else {
            let merged = if written.starts_with('/') {
                written.to_owned()
            } else {
                let folder = path.rfind('/').map_or("", |end| &path[..end]);
                format!("{folder}/{written}")
            };
            let path = without_dots(&merged);
            match query {
                Some(query) => format!("{path}?{query}"),
                None => path,
            }
        };
        Some(Url {
            user: None,
            target,
            ..self.clone()
        })
    }

    /// The host as it stands in a URL.
    pub fn written_host(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        }
    }

    /// What the field Host says.
    pub fn authority(&self) -> String {
        let usual = if self.secure { 443 } else { 80 };
        if self.port == usual {
            self.written_host()
        } else {
            format!("{}:{}", self.written_host(), self.port)
        }
    }

    /// Whether both lead to the same server.
    pub fn same_origin(&self, other: &Url) -> bool {
        self.secure == other.secure && self.host == other.host && self.port == other.port
    }
}

fn host_and_port(place: &[u8]) -> Option<(String, Option<u16>)> {
    let text = std::str::from_utf8(place).ok()?;
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            (
                host,
                port.strip_prefix(':')
                    .or_else(|| port.is_empty().then_some(""))?,
            )
        }
        None => text.split_once(':').unwrap_or((text, "")),
    };
    // A name beyond ASCII is asked for by its other form (RFC 5890 §2.3.2.1).
    let host = match host.is_ascii() {
        true => host.to_ascii_lowercase(),
        false => domain::encode(host)?,
    };
    let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':');
    if host.is_empty() || host.len() > 255 || !host.bytes().all(good) {
        return None;
    }
    let port = match port {
        "" => None,
        port if port.bytes().all(|byte| byte.is_ascii_digit()) => Some(port.parse().ok()?),
        _ => return None,
    };
    Some((host, port))
}

fn has_scheme(text: &[u8]) -> bool {
    let end = text
        .iter()
        .position(|byte| matches!(byte, b':' | b'/' | b'?' | b'#'));
    end.is_some_and(|end| end > 0 && text.get(end) == Some(&b':'))
}

/// Path and query with a slash in front and without the fragment.
fn target(rest: &[u8]) -> String {
    let text = target_text(rest);
    if text.starts_with('/') {
        text
    } else {
        format!("/{text}")
    }
}

/// Without the fragment, with escapes for what cannot stand there.
fn target_text(text: &[u8]) -> String {
    let end = text.iter().position(|byte| *byte == b'#');
    let mut out = String::with_capacity(text.len());
    for byte in text.get(..end.unwrap_or(text.len())).unwrap_or_default() {
        match byte {
            b'!' | b'$'..=b';' | b'=' | b'?'..=b'[' | b']' | b'_' | b'a'..=b'z' | b'~' => {
                out.push(char::from(*byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

fn split_query(target: &str) -> (&str, Option<&str>) {
    match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    }
}

/// RFC 3986 §5.2.4.
fn without_dots(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    let mut rest = path.strip_prefix('/').unwrap_or(path).split('/').peekable();
    while let Some(part) = rest.next() {
        let last = rest.peek().is_none();
        match part {
            "." | ".." => {
                if part == ".." {
                    parts.pop();
                }
                if last {
                    parts.push("");
                }
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// Undoes `%XX`.
pub(crate) fn decode(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((byte, after)) = rest.split_first() {
        let digit = |at: usize| char::from(*after.get(at)?).to_digit(16);
        match (byte, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                rest = after.get(2..).unwrap_or_default();
            }
            _ => {
                out.push(*byte);
                rest = after;
            }
        }
    }
    out
}

/// Escapes everything but unreserved bytes (RFC 3986 §2.3).
pub(crate) fn encode(out: &mut Vec<u8>, text: &[u8]) {
    for byte in text {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(*byte);
        } else {
            out.extend_from_slice(format!("%{byte:02X}").as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(url: &Url) -> String {
        let scheme = if url.secure { "https" } else { "http" };
        format!("{scheme} {} {} {}", url.host, url.port, url.target)
    }

    #[test]
    fn urls_are_taken_apart() {
        for (text, expected) in [
            ("http://Example.com", Some("http example.com 80 /")),
            (
                "HTTPS://u:p@example.com:8443/a?b#c",
                Some("https example.com 8443 /a?b"),
            ),
            ("http://[::1]:81?x=1", Some("http ::1 81 /?x=1")),
            ("http://a/\u{e9} b\"<", Some("http a 80 /%C3%A9%20b%22%3C")),
            ("http://a@b@c/", Some("http c 80 /")),
            ("http://a:/", Some("http a 80 /")),
            (
                "http://BÜCHER.example:81/ä",
                Some("http xn--bcher-kva.example 81 /%C3%A4"),
            ),
            ("http://a\u{3002}b/", Some("http a.b 80 /")),
            ("http://a\u{ff0f}b/", None),
            ("http://\u{200b}/", None),
            ("ftp://a/", None),
            ("http://", None),
            ("http://a:b/", None),
            ("http://a:99999/", None),
            ("http://a/\r\nX: y", None),
            ("http://a\0/", None),
            ("http://[::1/", None),
            ("http://a b/", None),
            ("//a/", None),
        ] {
            let url = Url::parse(text.as_bytes());
            assert_eq!(url.as_ref().map(show).as_deref(), expected, "{text}");
        }
        let url = Url::parse(b"http://us%40er:p%3a@h/").expect("a URL");
        assert_eq!(url.user, Some((b"us@er".to_vec(), b"p:".to_vec())));
    }

    #[test]
    fn references_are_resolved_as_in_rfc_3986() {
        let base = Url::parse(b"http://a/b/c/d;p?q").expect("a URL");
        for (reference, expected) in [
            ("g", "/b/c/g"),
            ("./g", "/b/c/g"),
            ("g/", "/b/c/g/"),
            ("/g", "/g"),
            ("?y", "/b/c/d;p?y"),
            ("g?y", "/b/c/g?y"),
            ("g?y/../x", "/b/c/g?y/../x"),
            ("", "/b/c/d;p?q"),
            (".", "/b/c/"),
            ("..", "/b/"),
            ("../g", "/b/g"),
            ("../../..", "/"),
            ("../../../../g", "/g"),
            ("#s", "/b/c/d;p?q"),
        ] {
            let url = base.join(reference.as_bytes()).expect("a URL");
            assert_eq!(url.target, expected, "{reference}");
            assert!(url.same_origin(&base));
        }
        let other = base.join(b"//g:81/x").expect("a URL");
        assert_eq!(show(&other), "http g 81 /x");
        assert!(base.join(b"mailto:a").is_none());
        assert!(base.join(b"ftp://a/").is_none());
        assert!(base.join(b"/a\rb").is_none());
    }
}
