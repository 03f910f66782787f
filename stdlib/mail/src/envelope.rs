//! Addresses of the envelope as text (RFC 5321 §4.1.2 `Mailbox`, RFC 6531 §3.3).
//!
//! Strict where a header's list is lenient: there are no comments, no folding and no obsolete forms in an envelope. An
//! underscore may stand in a domain label, because such hosts send mail.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Most bytes of a local part as written (RFC 5321 §4.5.3.1.1).
const MAX_LOCALPART: usize = 64;

/// Most bytes of an address: a path of 256 (RFC 5321 §4.5.3.1.3) without its brackets.
const MAX_ADDRESS: usize = 254;

/// Most bytes of a label (RFC 1035 §2.3.4).
const MAX_LABEL: usize = 63;

/// A local part without quotes, and a domain or an address literal with its brackets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// What the quoted or bare text says.
    pub localpart: String,
    /// As written.
    pub domain: String,
}

/// Reads an address, which may stand in angle brackets (`envelope_address_parse`).
///
/// `None` for what is no `Mailbox`: also for an empty text, and without a domain.
#[must_use]
pub fn parse(text: &[u8]) -> Option<Address> {
    let text = match text.strip_prefix(b"<") {
        Some(inner) => inner.strip_suffix(b">")?,
        None => text,
    };
    if text.len() > MAX_ADDRESS {
        return None;
    }
    let text = std::str::from_utf8(text).ok()?;
    let (localpart, written, domain) = match text.strip_prefix('"') {
        Some(quoted) => {
            let (localpart, rest) = unquote(quoted)?;
            (localpart, text.len() - rest.len(), rest.strip_prefix('@')?)
        }
        None => {
            let (localpart, domain) = text.split_once('@')?;
            if !is_dot_string(localpart) {
                return None;
            }
            (localpart.to_owned(), localpart.len(), domain)
        }
    };
    (written <= MAX_LOCALPART && is_domain(domain)).then(|| Address {
        localpart,
        domain: domain.to_owned(),
    })
}

/// Writes a local part so that it can stand before `@` (`envelope_localpart_escape`): as it is, or quoted.
///
/// `None` when it holds a control character: nothing in an envelope can carry one.
#[must_use]
pub fn escape_localpart(localpart: &[u8]) -> Option<Vec<u8>> {
    if localpart.iter().any(u8::is_ascii_control) {
        return None;
    }
    if std::str::from_utf8(localpart).is_ok_and(is_dot_string) {
        return Some(localpart.to_vec());
    }
    let mut out = Vec::with_capacity(localpart.len() + 2);
    out.push(b'"');
    for byte in localpart {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(*byte);
    }
    out.push(b'"');
    Some(out)
}

/// The text of a quoted string whose opening quote is gone, and what follows the closing one.
fn unquote(quoted: &str) -> Option<(String, &str)> {
    let mut text = String::new();
    let mut chars = quoted.chars();
    loop {
        let c = match chars.next()? {
            '"' => return Some((text, chars.as_str())),
            // quoted-pairSMTP: graphics and the space only.
            '\\' => chars.next().filter(|c| matches!(c, ' '..='~'))?,
            c if matches!(c, ' '..='~') || is_beyond_ascii(c) => c,
            _ => return None,
        };
        text.push(c);
    }
}

/// `Dot-string`: atoms with dots between them.
fn is_dot_string(text: &str) -> bool {
    let is_atext = |c: char| {
        c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c) || is_beyond_ascii(c)
    };
    text.split('.')
        .all(|atom| !atom.is_empty() && atom.chars().all(is_atext))
}

/// RFC 6531's `UTF8-non-ascii`, without the C1 controls.
fn is_beyond_ascii(c: char) -> bool {
    !c.is_ascii() && !c.is_control()
}

fn is_domain(domain: &str) -> bool {
    if let Some(literal) = domain.strip_prefix('[') {
        return literal.strip_suffix(']').is_some_and(is_address);
    }
    let is_label_char = |c: char| {
        c.is_ascii_alphanumeric()
            || matches!(c, '-' | '_')
            || (is_beyond_ascii(c) && !c.is_whitespace())
    };
    domain.split('.').all(|label| {
        (1..=MAX_LABEL).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(is_label_char)
    })
}

/// What may stand in an address literal (RFC 5321 §4.1.3); no tag but `IPv6` is registered.
fn is_address(literal: &str) -> bool {
    match literal.split_at_checked("IPv6:".len()) {
        Some((tag, address)) if tag.eq_ignore_ascii_case("IPv6:") => {
            address.parse::<Ipv6Addr>().is_ok()
        }
        _ => literal.parse::<Ipv4Addr>().is_ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parsed(text: &str) -> Option<(String, String)> {
        parse(text.as_bytes()).map(|address| (address.localpart, address.domain))
    }

    #[test]
    fn mailboxes_are_taken_apart() {
        for (text, localpart, domain) in [
            ("a@b.test", "a", "b.test"),
            ("<A.b+c@Example.TEST>", "A.b+c", "Example.TEST"),
            ("\"a b\"@b.test", "a b", "b.test"),
            ("\"a\\\"\\\\@\"@b.test", "a\"\\@", "b.test"),
            ("\"\"@b.test", "", "b.test"),
            ("a@[192.0.2.1]", "a", "[192.0.2.1]"),
            ("a@[ipv6:::1]", "a", "[ipv6:::1]"),
            ("å@ä.test", "å", "ä.test"),
            ("a@mail_out.test", "a", "mail_out.test"),
        ] {
            let expected = Some((localpart.to_owned(), domain.to_owned()));
            assert_eq!(parsed(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_mailbox_is_refused() {
        for text in [
            "",
            "<>",
            "a",
            "postmaster",
            "@b.test",
            "a@",
            "<a@b.test",
            "a@b.test>",
            " a@b.test",
            "a@b.test\r\n",
            "a\0@b.test",
            "a..b@c.test",
            "a@b.test.",
            "a@b@c.test",
            "\"a@b.test",
            "\"a\"b@c.test",
            "\"a\tb\"@c.test",
            "a@[300.1.1.1]",
            "a@[x:1]",
            "a@(c)b.test",
        ] {
            assert_eq!(parsed(text), None, "{text:?}");
        }
        assert_eq!(parse(b"\xe5@b.test"), None);
        assert_eq!(parsed(&format!("{}@b.test", "x".repeat(65))), None);
        assert_eq!(parsed(&format!("a@{}.test", "x".repeat(64))), None);
    }

    #[test]
    fn local_parts_are_quoted_where_they_must() {
        for (localpart, written) in [
            ("a.b", "a.b"),
            ("email address", "\"email address\""),
            ("a\"\\", "\"a\\\"\\\\\""),
            ("", "\"\""),
            (".a", "\".a\""),
            ("a@b", "\"a@b\""),
            ("å", "å"),
        ] {
            assert_eq!(
                escape_localpart(localpart.as_bytes()),
                Some(written.into()),
                "{localpart}"
            );
        }
        assert_eq!(escape_localpart(b"\xe5"), Some(b"\"\xe5\"".to_vec()));
        for bad in ["a\rb", "a\nb", "a\0b", "\u{7f}"] {
            assert_eq!(escape_localpart(bad.as_bytes()), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_escaped_reads_back(localpart in "[ -~åß€]{0,20}") {
            let mut address = escape_localpart(localpart.as_bytes()).unwrap();
            address.extend_from_slice(b"@x.test");
            prop_assert_eq!(parse(&address).map(|a| a.localpart), Some(localpart));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[a-z@<>\"\\\\\\[\\]:. å\r\n]{0,40}") {
            if let Some(address) = parse(text.as_bytes()) {
                prop_assert!(!address.localpart.bytes().any(|b| b.is_ascii_control()));
            }
        }
    }
}
