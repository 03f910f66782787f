//! As much of DER as public keys need (X.690 §8, RFC 5280 §4.1, RFC 8017 §A.1.1).

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OBJECT: u8 = 0x06;
const SEQUENCE: u8 = 0x30;

/// rsaEncryption, 1.2.840.113549.1.1.1.
const RSA_ENCRYPTION: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01";

/// What a text is that may be a `SubjectPublicKeyInfo`.
pub(crate) enum Spki<'a> {
    /// One with this `RSAPublicKey`.
    Rsa(&'a [u8]),
    /// One with another kind of key.
    Other,
    /// Something else.
    None,
}

/// The contents of the element that `input` starts with, if it has this tag, and what follows it.
fn element(input: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = input.split_first()?;
    let (&first, mut rest) = rest.split_first()?;
    let length = if first < 0x80 {
        usize::from(first)
    } else {
        let count = usize::from(first & 0x7f);
        // Longer than 4 GiB is no key.
        if !(1..=4).contains(&count) {
            return None;
        }
        let (bytes, after) = rest.split_at_checked(count)?;
        rest = after;
        bytes
            .iter()
            .fold(0_usize, |length, &byte| (length << 8) | usize::from(byte))
    };
    let (contents, rest) = rest.split_at_checked(length)?;
    (found == tag).then_some((contents, rest))
}

/// Takes a `SubjectPublicKeyInfo` apart.
pub(crate) fn rsa_in_spki(der: &[u8]) -> Spki<'_> {
    let parts = || {
        let (outer, _) = element(der, SEQUENCE)?;
        let (algorithm, rest) = element(outer, SEQUENCE)?;
        let (object, _) = element(algorithm, OBJECT)?;
        let (bits, _) = element(rest, BIT_STRING)?;
        // The first byte counts unused bits.
        Some((object, bits.strip_prefix(b"\0")?))
    };
    match parts() {
        Some((RSA_ENCRYPTION, key)) => Spki::Rsa(key),
        Some(_) => Spki::Other,
        None => Spki::None,
    }
}

/// The two positive integers of a sequence, without leading zeros: modulus and exponent of an `RSAPublicKey`.
pub(crate) fn two_integers(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (outer, _) = element(der, SEQUENCE)?;
    let (first, rest) = element(outer, INTEGER)?;
    let (second, _) = element(rest, INTEGER)?;
    Some((positive(first)?, positive(second)?))
}

fn positive(integer: &[u8]) -> Option<&[u8]> {
    if *integer.first()? >= 0x80 {
        return None;
    }
    let zeros = integer.iter().take_while(|&&byte| byte == 0).count();
    let digits = integer.get(zeros..)?;
    (!digits.is_empty()).then_some(digits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lengths_beyond_the_input_are_no_elements() {
        assert_eq!(
            element(b"\x02\x01\x05", INTEGER),
            Some((&b"\x05"[..], &b""[..]))
        );
        assert_eq!(
            element(b"\x02\x81\x01\x05x", INTEGER),
            Some((&b"\x05"[..], &b"x"[..]))
        );
        for bad in [
            &b"\x02\x02\x05"[..],
            b"\x02\x80",
            b"\x02\x85\0\0\0\0\x01\x05",
            b"\x02",
        ] {
            assert_eq!(element(bad, INTEGER), None);
        }
        assert_eq!(two_integers(b"\x30\x06\x02\x01\x00\x02\x01\x03"), None);
        assert_eq!(two_integers(b"\x30\x06\x02\x01\x80\x02\x01\x03"), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = rsa_in_spki(&bytes);
            let _ = two_integers(&bytes);
        }
    }
}
