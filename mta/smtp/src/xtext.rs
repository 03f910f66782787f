//! The encoding of ENVID and ORCPT values (RFC 3461 §4): `+` and two upper-case hex digits stand
//! for a byte that is not printable or would break the parameter. Addresses of type `utf-8` have an
//! encoding of their own (RFC 6533 §3): `\x{E5}` stands for a character.

use std::fmt::Write as _;

use angarium_mail::dsn::unescape;

/// Encodes bytes: everything but `!`..`~` without `+` and `=` is written as `+HH`.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for &byte in bytes {
        if matches!(byte, b'!'..=b'~') && byte != b'+' && byte != b'=' {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("+{byte:02X}"));
        }
    }
    text
}

/// Decodes, or returns `None` when the text is no xtext.
#[must_use]
pub fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(hex(rest.next()?)? << 4 | hex(rest.next()?)?),
            b'=' => return None,
            b'!'..=b'~' => bytes.push(byte),
            _ => return None,
        }
    }
    Some(bytes)
}

/// The longest value of ENVID (RFC 3461 §4.4).
pub const ENVID_MAX: usize = 100;
/// The longest address in ORCPT (RFC 3461 §4.2).
pub const ORCPT_MAX: usize = 500;

/// Encodes the value of ORCPT, `type;address`; `None` when it has not that form.
#[must_use]
pub fn encode_orcpt(text: &str) -> Option<String> {
    let (kind, address) = text.split_once(';')?;
    if !is_type(kind) || address.is_empty() {
        return None;
    }
    if !kind.eq_ignore_ascii_case("utf-8") {
        return Some(format!("{kind};{}", encode(address.as_bytes())));
    }
    let mut out = format!("{kind};");
    // Who took it from a parameter as it stood has the escapes in it already.
    for character in unescape(address).chars() {
        match character {
            '!'..='~' if !matches!(character, '\\' | '+' | '=') => out.push(character),
            // Writing to a string cannot fail.
            _ => drop(write!(out, "\\x{{{:02X}}}", u32::from(character))),
        }
    }
    Some(out)
}

/// Decodes the value of ORCPT to `type;address`, or returns `None` when it is none.
#[must_use]
pub fn decode_orcpt(text: &str) -> Option<Vec<u8>> {
    let (kind, address) = text.split_once(';')?;
    if !is_type(kind) || address.is_empty() {
        return None;
    }
    let mut out = format!("{kind};").into_bytes();
    if kind.eq_ignore_ascii_case("utf-8") {
        // xtext as well, which RFC 6533 does not ask for but older clients send.
        let mut bytes = Vec::with_capacity(address.len());
        for run in address.split_inclusive(|character: char| !character.is_ascii()) {
            let ascii = run.trim_end_matches(|character: char| !character.is_ascii());
            bytes.extend(decode(ascii)?);
            bytes.extend_from_slice(run.get(ascii.len()..)?.as_bytes());
        }
        out.extend(unescape(&String::from_utf8(bytes).ok()?).into_bytes());
    } else {
        out.extend(decode(address)?);
    }
    Some(out)
}

/// An address type is an atom of letters, digits and hyphens.
fn is_type(kind: &str) -> bool {
    !kind.is_empty() && kind.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

/// One upper-case hex digit: the RFC allows no lower case.
fn hex(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_upper_case_pairs_are_xtext() {
        assert_eq!(decode("a+2Bb"), Some(b"a+b".to_vec()));
        for text in ["a+ZZ", "a+2b", "a+2", "a+", "a=b", "a b", "é"] {
            assert_eq!(decode(text), None, "{text}");
        }
    }

    #[test]
    fn addresses_beyond_ascii_have_an_encoding_of_their_own() {
        for (text, encoded) in [
            ("rfc822;a+b@c", "rfc822;a+2Bb@c"),
            ("utf-8;jö+x@ä", "utf-8;j\\x{F6}\\x{2B}x@\\x{E4}"),
            ("UTF-8;a\\b@c", "UTF-8;a\\x{5C}b@c"),
        ] {
            assert_eq!(encode_orcpt(text).as_deref(), Some(encoded));
            assert_eq!(decode_orcpt(encoded), Some(text.as_bytes().to_vec()));
        }
        assert_eq!(
            encode_orcpt("utf-8;j\\x{F6}@c").as_deref(),
            Some("utf-8;j\\x{F6}@c"),
            "not twice"
        );
        for (text, decoded) in [
            ("utf-8;jö+2Bx@c", "utf-8;jö+x@c"),
            ("utf-8;\\x{zz@c", "utf-8;\\x{zz@c"),
        ] {
            assert_eq!(decode_orcpt(text), Some(decoded.as_bytes().to_vec()));
        }
        for text in ["a@b", ";a@b", "rfc822;", "a b;c", "rfc822\r\n;c"] {
            assert_eq!(encode_orcpt(text), None, "{text:?}");
            assert_eq!(decode_orcpt(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_address_survives_and_makes_a_value(kind in "rfc822|utf-8|X-400", address in ".{1,40}") {
            let encoded = encode_orcpt(&format!("{kind};{address}")).unwrap();
            prop_assert!(encoded.bytes().all(|b| matches!(b, b'!'..=b'~') && b != b'='));
            let decoded = String::from_utf8(decode_orcpt(&encoded).unwrap()).unwrap();
            if !address.contains("\\x{") {
                prop_assert_eq!(decoded, format!("{};{}", kind, address));
            }
        }

        #[test]
        fn any_bytes_survive(bytes: Vec<u8>) {
            prop_assert_eq!(decode(&encode(&bytes)), Some(bytes));
        }
    }
}
