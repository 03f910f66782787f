//! The encoding of ENVID and ORCPT values (RFC 3461 §4): `+` and two upper-case hex digits stand
//! for a byte that is not printable or would break the parameter.

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

    proptest! {
        #[test]
        fn any_bytes_survive(bytes: Vec<u8>) {
            prop_assert_eq!(decode(&encode(&bytes)), Some(bytes));
        }
    }
}
