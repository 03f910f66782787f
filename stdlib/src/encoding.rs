//! Base64 and its relatives, and the encoding of URLs.

use angarium_runtime::native::{Args, Cx, FnDecl, Heavy, Throw};
use angarium_runtime::value::Value;
use base64_simd::{Base64, Out, STANDARD, URL_SAFE_NO_PAD};

use crate::{heavy, scratch};

/// The functions of this family.
pub const FUNCTIONS: &[FnDecl] = &[
    FnDecl::heavy("base64_encode(string: string): string", "Encodes as base64, padded, in one line.", |cx, args| {
        coded(cx, &args, 2, |bytes| encoded(&STANDARD, bytes))
    })
    .example(r#"base64_encode("hello") // "aGVsbG8=""#),
    FnDecl::heavy(
        "base64_decode(string: string): string",
        "Decodes base64. Bytes outside the alphabet are skipped, `=` ends the data, an incomplete tail is dropped; \
         nothing fails.",
        |cx, args| coded(cx, &args, 1, |bytes| decoded(bytes, false)),
    )
    .example("base64_decode(\"aGVs\\r\\nbG8=\") // \"hello\""),
    FnDecl::heavy(
        "base64url_encode(string: string): string",
        "Encodes as base64 with `-` and `_` instead of `+` and `/`, without padding.",
        |cx, args| coded(cx, &args, 2, |bytes| encoded(&URL_SAFE_NO_PAD, bytes)),
    )
    .since(">5.5")
    .example(r#"base64url_encode("??>") // "Pz8-""#),
    FnDecl::heavy(
        "base64url_decode(string: string): string",
        "Decodes base64 of either alphabet, as leniently as base64_decode.",
        |cx, args| coded(cx, &args, 1, |bytes| decoded(bytes, true)),
    )
    .since(">5.5")
    .example(r#"base64url_decode("Pz8-") // "??>""#),
    FnDecl::heavy(
        "base32_encode(string: string): string",
        "Encodes as base32 in upper case, padded.",
        |cx, args| coded(cx, &args, 2, |bytes| base32_encode(bytes).into()),
    )
    .since("5.5")
    .example(r#"base32_encode("hello") // "NBSWY3DP""#),
    FnDecl::heavy(
        "base32_decode(string: string): string",
        "Decodes base32 in any case. Bytes outside the alphabet are skipped, padding may be missing, incomplete bits are \
         dropped.",
        |cx, args| coded(cx, &args, 1, |bytes| base32_decode(bytes).into()),
    )
    .since("5.5")
    .example(r#"base32_decode("nbswy3dp") // "hello""#),
    FnDecl::heavy(
        "url_encode(string: string): string",
        "Writes every byte but letters, digits and `-._~` as %XX (RFC 3986).",
        |cx, args| coded(cx, &args, 3, |bytes| written(bytes, url_encode)),
    )
    .since("5.5")
    .example(r#"url_encode("a b/c") // "a%20b%2Fc""#),
    FnDecl::heavy(
        "url_decode(string: string): string",
        "Decodes %XX. A `%` without two hexadecimal digits stays, and so does `+`.",
        |cx, args| coded(cx, &args, 1, |bytes| written(bytes, url_decode)),
    )
    .since("5.5")
    .example(r#"url_decode("a%20b+%2") // "a b+%2""#),
];

const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

fn base32_encode(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len().div_ceil(5) * 8);
    for chunk in bytes.chunks(5) {
        let mut group = [0; 5];
        group[..chunk.len()].copy_from_slice(chunk);
        let word = group
            .iter()
            .fold(0_u64, |word, byte| (word << 8) | u64::from(*byte));
        let digits = (chunk.len() * 8).div_ceil(5);
        for at in 0..8 {
            let digit = BASE32[(word >> (35 - at * 5)) as usize & 31];
            out.push(if at < digits { digit } else { b'=' });
        }
    }
    out
}

/// The five bits of each byte of the alphabet, in either case; 255 for other bytes.
const BASE32_DIGITS: [u8; 256] = {
    let mut digits = [255; 256];
    let mut at = 0;
    while at < BASE32.len() {
        digits[BASE32[at] as usize] = at as u8;
        digits[BASE32[at].to_ascii_lowercase() as usize] = at as u8;
        at += 1;
    }
    digits
};

fn base32_decode(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() / 8 * 5 + 5);
    let (mut word, mut bits) = (0_u32, 0);
    for byte in bytes {
        let digit = BASE32_DIGITS[usize::from(*byte)];
        if digit == 255 {
            continue;
        }
        word = (word << 5) | u32::from(digit);
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            out.push((word >> bits) as u8);
            word &= (1 << bits) - 1;
        }
    }
    out
}

fn url_encode(bytes: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    const PLAIN: [bool; 256] = {
        let mut plain = [false; 256];
        let mut byte = 0;
        while byte < 256 {
            let is = byte as u8;
            plain[byte] = is.is_ascii_alphanumeric() || matches!(is, b'-' | b'.' | b'_' | b'~');
            byte += 1;
        }
        plain
    };
    out.reserve(bytes.len() + bytes.len() / 4);
    for byte in bytes {
        if PLAIN[usize::from(*byte)] {
            out.push(*byte);
        } else {
            let digit = |nibble: u8| DIGITS[usize::from(nibble & 15)];
            out.extend_from_slice(&[b'%', digit(byte >> 4), digit(*byte)]);
        }
    }
}

fn url_decode(bytes: &[u8], out: &mut Vec<u8>) {
    out.reserve(bytes.len());
    let mut rest = bytes;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte == b'%'
            && let [high, low, after @ ..] = after
            && let Some((high, low)) = hex_value(*high).zip(hex_value(*low))
        {
            out.push(high << 4 | low);
            rest = after;
        } else {
            out.push(*byte);
        }
    }
}

/// The value of a hexadecimal digit in either case.
pub(crate) fn hex_value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// Texts whose result is this long are made on the stack and copied once.
const SHORT: usize = 256;

/// What `code` writes.
fn written(bytes: &[u8], code: fn(&[u8], &mut Vec<u8>)) -> Value {
    let mut out = scratch::buffer();
    code(bytes, &mut out);
    scratch::finish(out)
}

fn encoded(alphabet: &Base64, bytes: &[u8]) -> Value {
    if alphabet.encoded_length(bytes.len()) <= SHORT {
        let mut buffer = [0; SHORT];
        return Value::bytes(alphabet.encode(bytes, Out::from_slice(&mut buffer)));
    }
    alphabet.encode_type::<Vec<u8>>(bytes).into()
}

fn decoded(bytes: &[u8], url: bool) -> Value {
    if !url && bytes.len() <= SHORT {
        let mut buffer = [0; SHORT];
        if let Ok(decoded) = STANDARD.decode(bytes, Out::from_slice(&mut buffer)) {
            return Value::bytes(decoded);
        }
    }
    decode_lenient(bytes, url).into()
}

/// Does `code` on the argument, which it makes at most about `growth` times as long.
pub(crate) fn coded(
    cx: &mut Cx<'_>,
    args: &Args<'_>,
    growth: usize,
    code: fn(&[u8]) -> Value,
) -> Result<Heavy, Throw> {
    let size = args.bytes(0).len();
    // On the pool there is a copy of the argument too.
    heavy::fits_budget(size.saturating_mul(growth + 1))?;
    cx.charge(size / 64 * growth);
    heavy::run(cx, size, args.values, move |values| {
        let value = code(values.first().and_then(Value::as_bytes).unwrap_or(b""));
        heavy::fits(value.as_bytes().map_or(0, <[u8]>::len))?;
        Ok(value)
    })
}

/// Decodes base64, skipping what does not belong to it.
#[must_use]
pub fn decode_lenient(bytes: &[u8], url: bool) -> Vec<u8> {
    // Most texts have nothing to skip.
    let alphabet = if url { &URL_SAFE_NO_PAD } else { &STANDARD };
    if let Ok(decoded) = alphabet.decode_to_vec(bytes) {
        return decoded;
    }
    let mut clean: Vec<u8> = bytes
        .iter()
        .take_while(|byte| **byte != b'=')
        .filter_map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'+' | b'/' => Some(*byte),
            b'-' if url => Some(b'+'),
            b'_' if url => Some(b'/'),
            _ => None,
        })
        .collect();
    if clean.len() % 4 == 1 {
        clean.pop();
    }
    // Only characters of the alphabet in a possible number are left.
    let length = base64_simd::forgiving_decode_inplace(&mut clean).map_or(0, |bytes| bytes.len());
    clean.truncate(length);
    clean
}

#[cfg(test)]
mod tests {
    use base64_simd::{STANDARD, URL_SAFE_NO_PAD};
    use proptest::prelude::*;

    use super::{decode_lenient, url_decode, url_encode, written};

    #[test]
    fn decoding_never_fails() {
        for (input, expected) in [
            ("aGVsbG8=", "hello"),
            ("aGVsbG8", "hello"),
            ("aGV sb\r\nG8=ignored", "hello"),
            ("a", ""),
            ("aG", "h"),
            ("aGV", "he"),
            ("====", ""),
            ("", ""),
        ] {
            assert_eq!(
                decode_lenient(input.as_bytes(), false),
                expected.as_bytes(),
                "{input:?}"
            );
        }
        assert_eq!(decode_lenient(b"Pz8-", true), b"??>");
        assert_eq!(decode_lenient(b"Pz8-", false), b"??");
    }

    #[test]
    fn url_escapes_are_decoded_where_they_are_whole() {
        let decoded = written(b"%41%4a%4J%%42%4", url_decode);
        assert_eq!(decoded.as_bytes(), Some(&b"AJ%4J%B%4"[..]));
        let encoded = written(b"a~ \xff\r\n\0+", url_encode);
        assert_eq!(encoded.as_bytes(), Some(&b"a~%20%FF%0D%0A%00%2B"[..]));
    }

    proptest! {
        #[test]
        fn every_codec_gives_back_what_it_was_given(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let base64 = STANDARD.encode_to_string(&bytes);
            prop_assert_eq!(&decode_lenient(base64.as_bytes(), false), &bytes);
            let base64 = URL_SAFE_NO_PAD.encode_to_string(&bytes);
            prop_assert!(!base64.contains(['=', '+', '/']));
            prop_assert_eq!(&decode_lenient(base64.as_bytes(), true), &bytes);
            let base32 = super::base32_encode(&bytes);
            prop_assert_eq!(&super::base32_decode(&base32.to_ascii_lowercase()), &bytes);
            let url = written(&bytes, url_encode);
            let url = url.as_bytes().unwrap_or_default();
            prop_assert!(url.is_ascii());
            let decoded = written(url, url_decode);
            prop_assert_eq!(decoded.as_bytes(), Some(&bytes[..]));
        }

        #[test]
        fn base64_is_decoded_the_same_with_noise_in_it(text in "[A-Za-z0-9+/]{0,40}={0,2}", noise in "[ \r\n!]{1,3}", at in 0..40_usize) {
            let at = at.min(text.trim_end_matches('=').len());
            let noisy = format!("{}{noise}{}", &text[..at], &text[at..]);
            prop_assert_eq!(decode_lenient(noisy.as_bytes(), false), decode_lenient(text.as_bytes(), false));
        }
    }

    #[test]
    fn base32_follows_rfc_4648() {
        for (plain, coded) in [
            ("", ""),
            ("f", "MY======"),
            ("fo", "MZXQ===="),
            ("foo", "MZXW6==="),
            ("foob", "MZXW6YQ="),
            ("fooba", "MZXW6YTB"),
            ("foobar", "MZXW6YTBOI======"),
        ] {
            assert_eq!(super::base32_encode(plain.as_bytes()), coded.as_bytes());
            assert_eq!(super::base32_decode(coded.as_bytes()), plain.as_bytes());
        }
    }
}
