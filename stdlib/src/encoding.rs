//! Base64 and its relatives, and the encoding of URLs.

use angarium_runtime::native::{Args, Cx, FnDecl, Heavy, Throw};
use angarium_runtime::value::Value;
use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::heavy;

/// The functions of this family.
pub const FUNCTIONS: &[FnDecl] = &[
    FnDecl::heavy("base64_encode(string: string): string", "Encodes as base64, padded, in one line.", |cx, args| {
        coded(cx, &args, |bytes| STANDARD.encode(bytes).into())
    })
    .example(r#"base64_encode("hello") // "aGVsbG8=""#),
    FnDecl::heavy(
        "base64_decode(string: string): string",
        "Decodes base64. Bytes outside the alphabet are skipped, `=` ends the data, an incomplete tail is dropped; \
         nothing fails.",
        |cx, args| coded(cx, &args, |bytes| decode_lenient(bytes, false).into()),
    )
    .example("base64_decode(\"aGVs\\r\\nbG8=\") // \"hello\""),
    FnDecl::heavy(
        "base64url_encode(string: string): string",
        "Encodes as base64 with `-` and `_` instead of `+` and `/`, without padding.",
        |cx, args| coded(cx, &args, |bytes| URL_SAFE.encode(bytes).into()),
    )
    .since(">5.5")
    .example(r#"base64url_encode("??>") // "Pz8-""#),
    FnDecl::heavy(
        "base64url_decode(string: string): string",
        "Decodes base64 of either alphabet, as leniently as base64_decode.",
        |cx, args| coded(cx, &args, |bytes| decode_lenient(bytes, true).into()),
    )
    .since(">5.5")
    .example(r#"base64url_decode("Pz8-") // "??>""#),
    FnDecl::heavy(
        "base32_encode(string: string): string",
        "Encodes as base32 in upper case, padded.",
        |cx, args| coded(cx, &args, |bytes| base32_encode(bytes).into()),
    )
    .since("5.5")
    .example(r#"base32_encode("hello") // "NBSWY3DP""#),
    FnDecl::heavy(
        "base32_decode(string: string): string",
        "Decodes base32 in any case. Bytes outside the alphabet are skipped, padding may be missing, incomplete bits are \
         dropped.",
        |cx, args| coded(cx, &args, |bytes| base32_decode(bytes).into()),
    )
    .since("5.5")
    .example(r#"base32_decode("nbswy3dp") // "hello""#),
    FnDecl::heavy(
        "url_encode(string: string): string",
        "Writes every byte but letters, digits and `-._~` as %XX (RFC 3986).",
        |cx, args| coded(cx, &args, |bytes| url_encode(bytes).into()),
    )
    .since("5.5")
    .example(r#"url_encode("a b/c") // "a%20b%2Fc""#),
    FnDecl::heavy(
        "url_decode(string: string): string",
        "Decodes %XX. A `%` without two hexadecimal digits stays, and so does `+`.",
        |cx, args| coded(cx, &args, |bytes| url_decode(bytes).into()),
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

fn base32_decode(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() * 5 / 8);
    let (mut word, mut bits) = (0_u32, 0);
    for byte in bytes {
        let Some(digit) = BASE32
            .iter()
            .position(|known| *known == byte.to_ascii_uppercase())
        else {
            continue;
        };
        word = (word << 5) | digit as u32;
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            out.push((word >> bits) as u8);
            word &= (1 << bits) - 1;
        }
    }
    out
}

fn url_encode(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(*byte),
            _ => out.extend_from_slice(format!("%{byte:02X}").as_bytes()),
        }
    }
    out
}

fn url_decode(bytes: &[u8]) -> Vec<u8> {
    let hex = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match (byte, hex(bytes.get(at + 1)), hex(bytes.get(at + 2))) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 3;
            }
            _ => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    out
}

const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const URL_SAFE: GeneralPurpose =
    GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT.with_encode_padding(false));

fn coded(cx: &mut Cx<'_>, args: &Args<'_>, code: fn(&[u8]) -> Value) -> Result<Heavy, Throw> {
    let size = args.bytes(0).len();
    cx.reserve(size.saturating_mul(3))?;
    heavy::run(cx, size, args.values, move |values| {
        Ok(code(
            values.first().and_then(Value::as_bytes).unwrap_or(b""),
        ))
    })
}

/// Decodes base64, skipping what does not belong to it.
#[must_use]
pub fn decode_lenient(bytes: &[u8], url: bool) -> Vec<u8> {
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
    STANDARD.decode(&clean).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::decode_lenient;

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
