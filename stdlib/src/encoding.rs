//! Base64 and its relatives.

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
];

const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const URL_SAFE: GeneralPurpose =
    GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT.with_encode_padding(false));

fn coded(cx: &mut Cx<'_>, args: &Args<'_>, code: fn(&[u8]) -> Value) -> Result<Heavy, Throw> {
    let size = args.bytes(0).len();
    cx.reserve(size.saturating_mul(4) / 3)?;
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
}
