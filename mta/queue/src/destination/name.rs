//! Domain names: U-labels to A-labels, and the patterns that include or exclude mail exchangers.

use crate::text::Text;

/// The domain in the form in which DNS is asked: A-labels (RFC 5891) in lower case, no final dot.
///
/// None if it cannot be a domain name.
pub fn to_ascii(domain: &[u8]) -> Option<String> {
    let domain = std::str::from_utf8(domain).ok()?;
    let ascii = if domain.is_ascii() {
        domain.to_ascii_lowercase()
    } else {
        idna::domain_to_ascii(domain).ok()?
    };
    let name = ascii.strip_suffix('.').unwrap_or(&ascii);
    let valid = name.len() <= 253
        && name.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        });
    valid.then(|| name.to_owned())
}

/// Whether a host name matches a pattern in which `*` stands for any one label.
///
/// So `*.example.com` takes `mx.example.com` but not `a.mx.example.com`, as RFC 8461 §4.1 wants.
pub fn matches_mx(pattern: &Text, host: &str) -> bool {
    let pattern = pattern.to_str();
    let pattern = pattern.strip_suffix('.').unwrap_or(&pattern);
    let mut labels = host.split('.');
    let mut wanted = pattern.split('.');
    loop {
        match (wanted.next(), labels.next()) {
            (None, None) => return true,
            (Some("*"), Some(_)) => {}
            (Some(want), Some(label)) if want.eq_ignore_ascii_case(label) => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_become_a_labels() {
        let long = "a".repeat(64);
        for (domain, want) in [
            ("Example.COM", Some("example.com")),
            ("example.com.", Some("example.com")),
            ("bücher.example", Some("xn--bcher-kva.example")),
            ("xn--bcher-kva.example", Some("xn--bcher-kva.example")),
            ("例え.テスト", Some("xn--r8jz45g.xn--zckzah")),
            ("_dmarc.example", Some("_dmarc.example")),
            ("", None),
            (".", None),
            ("a..b", None),
            ("a b.example", None),
            (&format!("{long}.example"), None),
        ] {
            assert_eq!(to_ascii(domain.as_bytes()).as_deref(), want, "{domain}");
        }
        assert_eq!(to_ascii(b"\xff.example"), None);
    }

    #[test]
    fn a_star_is_one_label() {
        for (pattern, host, want) in [
            ("mx.example.com", "mx.example.com", true),
            ("MX.Example.com.", "mx.example.com", true),
            ("*.example.com", "mx.example.com", true),
            ("*.example.com", "a.mx.example.com", false),
            ("*.example.com", "example.com", false),
            ("*.*.example.com", "a.mx.example.com", true),
            ("example.com", "mx.example.com", false),
        ] {
            assert_eq!(matches_mx(&pattern.into(), host), want, "{pattern} {host}");
        }
    }
}
