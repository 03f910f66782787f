//! Domain names: the Public Suffix List and internationalised names (UTS #46).

use angarium_runtime::native::FnDecl;
use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};

/// The functions of this family.
pub const FUNCTIONS: &[FnDecl] = &[
    FnDecl::plain(
        "domain_publicsuffix(domain: string): string|none",
        "Gives the public suffix of a domain by the Public Suffix List, in lower case: the part below which anybody can \
         register names. None when no rule of the list is about it.",
        |cx, args| {
            cx.charge(args.bytes(0).len().min(MAX_TEXT) / 16);
            Ok(text(args.bytes(0)).and_then(public_suffix).into())
        },
    )
    .since(">5.5")
    .example(r#"domain_publicsuffix("a.b.co.uk") // "co.uk""#),
    FnDecl::plain(
        "idna_encode(domain: string): string|none",
        "Gives the form of a domain name that the DNS knows, in lower case, its labels beyond ASCII encoded. None for a name \
         that is not allowed, for a label of more than 63 and a name of more than 253 bytes.",
        |cx, args| {
            cx.charge(args.bytes(0).len().min(MAX_TEXT));
            Ok(text(args.bytes(0)).and_then(encode).into())
        },
    )
    .example(r#"idna_encode("fußball.example") // "xn--fuball-cta.example""#),
    FnDecl::plain(
        "idna_decode(domain: string): string|none",
        "Gives the form of a domain name that people read, in lower case and UTF-8. None for a name that is not allowed.",
        |cx, args| {
            cx.charge(args.bytes(0).len().min(MAX_TEXT));
            Ok(text(args.bytes(0)).and_then(decode).into())
        },
    )
    .example(r#"idna_decode("xn--fuball-cta.example") // "fußball.example""#),
];

/// Longer texts are no domain names: the longest one has 253 bytes in ASCII, and its text no more than four times that.
const MAX_TEXT: usize = 2048;

fn text(bytes: &[u8]) -> Option<&str> {
    if bytes.len() > MAX_TEXT {
        return None;
    }
    std::str::from_utf8(bytes).ok()
}

/// The public suffix of a domain, in lower case, by a rule that the list has for its top-level domain.
#[must_use]
pub fn public_suffix(domain: &str) -> Option<String> {
    let lower = domain.strip_suffix('.').unwrap_or(domain).to_lowercase();
    if lower.is_empty() || lower.split('.').any(str::is_empty) {
        return None;
    }
    let suffix = psl::suffix(lower.as_bytes()).filter(psl::Suffix::is_known)?;
    String::from_utf8(suffix.as_bytes().to_vec()).ok()
}

/// The organisational domain: the public suffix and one label more; of a name without a rule its last two labels.
#[must_use]
pub fn registrable(domain: &str) -> Option<String> {
    let lower = domain.strip_suffix('.').unwrap_or(domain).to_lowercase();
    if lower.is_empty() || lower.split('.').any(str::is_empty) {
        return None;
    }
    let found = psl::domain(lower.as_bytes())?;
    String::from_utf8(found.as_bytes().to_vec()).ok()
}

/// What no label may hold: all of ASCII but letters, digits and `-`, and `_`, which names in the DNS have.
const DENIED: AsciiDenyList = AsciiDenyList::new(true, "!\"#$%&'()*+,/:;<=>?@[\\]^`{|}~");

/// A name of ASCII letters alone, in lower case: there is nothing to convert.
fn plain(domain: &str) -> Option<String> {
    let lower = domain.to_ascii_lowercase();
    let plain = lower.is_ascii() && !lower.split('.').any(|label| label.starts_with("xn--"));
    plain.then_some(lower)
}

/// Whether the DNS takes a name so long.
fn fits(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    name.len() <= 253 && name.split('.').all(|label| (1..=63).contains(&label.len()))
}

/// The A-label form of a domain.
#[must_use]
pub fn encode(domain: &str) -> Option<String> {
    let encoded = match plain(domain) {
        Some(name) => name,
        None => Uts46::new()
            .to_ascii(domain.as_bytes(), DENIED, Hyphens::Check, DnsLength::Ignore)
            .ok()?
            .into_owned(),
    };
    (fits(&encoded) && encoded.bytes().all(|byte| byte.is_ascii_graphic())).then_some(encoded)
}

/// The U-label form of a domain.
#[must_use]
pub fn decode(domain: &str) -> Option<String> {
    if let Some(name) = plain(domain) {
        let graphic = |name: &String| name.bytes().all(|byte| byte.is_ascii_graphic());
        return Some(name).filter(|name| fits(name) && graphic(name));
    }
    let (decoded, outcome) = Uts46::new().to_unicode(domain.as_bytes(), DENIED, Hyphens::Check);
    outcome.ok().map(|()| decoded.into_owned()).filter(|name| {
        let name = name.strip_suffix('.').unwrap_or(name);
        !name.split('.').any(str::is_empty)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_as_long_as_the_dns_allows() {
        let label = "a".repeat(63);
        assert!(encode(&label).is_some());
        assert!(encode(&format!("{label}a")).is_none());
        let long = [label.as_str(); 3].join(".");
        assert!(encode(&format!("{long}.{}", "a".repeat(61))).is_some());
        assert!(encode(&format!("{long}.{}", "a".repeat(62))).is_none());
        assert!(encode("").is_none() && encode("a..b").is_none());
        assert!(encode("a b").is_none() && encode("a\r\nb").is_none());
        assert!(decode("a b").is_none() && decode("a\r\nb").is_none() && decode("a\0").is_none());
        assert_eq!(
            encode("_dmarc.BÜCHER.example.").unwrap(),
            "_dmarc.xn--bcher-kva.example."
        );
        assert!(encode("xn--a").is_none());
        assert!(encode(&"ü".repeat(2000)).is_none());
    }

    #[test]
    fn suffixes_are_those_of_the_list_in_either_form() {
        let suffix = |name: &str| public_suffix(name);
        assert_eq!(suffix("A.B.co.UK").as_deref(), Some("co.uk"));
        assert_eq!(suffix("x.github.io.").as_deref(), Some("github.io"));
        assert_eq!(suffix("com").as_deref(), Some("com"));
        assert_eq!(suffix("example.example"), None);
        for bad in ["", ".", "a..com", ".com"] {
            assert_eq!(suffix(bad), None, "{bad}");
            assert_eq!(registrable(bad), None, "{bad}");
        }
        assert_eq!(suffix("食狮.公司.cn").as_deref(), Some("公司.cn"));
        assert_eq!(
            suffix("xn--85x722f.xn--55qx5d.cn").as_deref(),
            Some("xn--55qx5d.cn")
        );
        assert_eq!(
            registrable("a.b.example.co.uk").as_deref(),
            Some("example.co.uk")
        );
        assert_eq!(registrable("co.uk"), None);
    }
}
