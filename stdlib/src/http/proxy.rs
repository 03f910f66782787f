//! Proxies, as their URLs name them.

use super::url::Url;

/// Who stands between us and the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Proxy {
    /// What it speaks.
    pub kind: ProxyKind,
    /// Where it is, with a user if it wants to know one.
    pub at: Url,
}

/// What a proxy speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProxyKind {
    /// HTTP: whole requests, and CONNECT for https.
    Http,
    /// SOCKS 4: connects to IPv4 addresses.
    Socks4,
    /// SOCKS 4a: connects to names too, which it resolves.
    Socks4a,
    /// SOCKS 5 (RFC 1928); we resolve the names.
    Socks5,
    /// SOCKS 5; the proxy resolves them.
    Socks5h,
}

/// The port of SOCKS.
const SOCKS: u16 = 1080;

impl Proxy {
    /// Reads `[scheme://][user[:password]@]host[:port]`, as curl has it; without a scheme it is an HTTP proxy. None for
    /// what is none.
    pub fn parse(written: &str) -> Option<Proxy> {
        let (scheme, rest) = written.split_once("://").unwrap_or(("http", written));
        let (kind, port) = match scheme.to_ascii_lowercase().as_str() {
            "http" => (ProxyKind::Http, 80),
            "socks4" => (ProxyKind::Socks4, SOCKS),
            "socks4a" => (ProxyKind::Socks4a, SOCKS),
            "socks5" => (ProxyKind::Socks5, SOCKS),
            "socks5h" => (ProxyKind::Socks5h, SOCKS),
            _ => return None,
        };
        let at = Url::after_scheme(rest.as_bytes(), false, port)?;
        Some(Proxy { kind, at })
    }

    /// Whether it reads the requests for http URLs, instead of handing bytes on.
    pub fn reads(&self) -> bool {
        self.kind == ProxyKind::Http
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_are_named_as_curl_names_them() {
        for (written, expected) in [
            ("a", Some((ProxyKind::Http, "a", 80))),
            ("a:3128", Some((ProxyKind::Http, "a", 3128))),
            ("HTTP://u:p@a:1/", Some((ProxyKind::Http, "a", 1))),
            ("socks5://[::1]", Some((ProxyKind::Socks5, "::1", 1080))),
            ("socks5h://a:9050", Some((ProxyKind::Socks5h, "a", 9050))),
            ("socks4://a", Some((ProxyKind::Socks4, "a", 1080))),
            ("socks4a://a", Some((ProxyKind::Socks4a, "a", 1080))),
            ("https://a", None),
            ("ftp://a", None),
            ("a b", None),
            ("a\r\nb", None),
            ("", None),
        ] {
            let proxy = Proxy::parse(written);
            let found = proxy
                .as_ref()
                .map(|proxy| (proxy.kind, proxy.at.host.as_str(), proxy.at.port));
            assert_eq!(found, expected, "{written}");
        }
    }
}
