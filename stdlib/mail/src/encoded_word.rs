//! Encoded words: text beyond ASCII in header fields (RFC 2047, RFC 2231 §5).

use crate::{
    charset::{self, Charset},
    transfer,
};
use memchr::memmem;

/// How the bytes of a new encoded word are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WordEncoding {
    /// `Q`: readable where the text is mostly ASCII. The option value `quoted-printable`.
    #[default]
    Quoted,
    /// `B`. The option value `base64`.
    Base64,
}

/// Longest encoded word (RFC 2047 §2).
const MAX_WORD: usize = 75;
const MAX_PAYLOAD: usize = MAX_WORD - "=?utf-8?Q??=".len();

/// Encodes a text as `mimeword_encode` does.
///
/// Printable ASCII that cannot be taken for an encoded word is returned as it is; anything else
/// becomes words of at most 75 bytes, cut between characters and joined by one space. Bytes
/// that are not UTF-8 are read as Latin-1.
#[must_use]
pub fn encode(text: &[u8]) -> String {
    let text = charset::header_text(text, None);
    if text.bytes().all(|b| matches!(b, b' '..=b'~')) && !text.contains("=?") {
        return text.into_owned();
    }
    let mut out = String::with_capacity(text.len() * 2);
    let mut rest: &str = &text;
    while !rest.is_empty() {
        if !out.is_empty() {
            out.push(' ');
        }
        rest = encode_one(rest, WordEncoding::Quoted, MAX_WORD, &mut out);
    }
    out
}

/// Appends one encoded word of at most `room` bytes (at least one character, at most 75
/// bytes) and returns the text that is left.
pub(crate) fn encode_one<'t>(
    text: &'t str,
    encoding: WordEncoding,
    room: usize,
    out: &mut String,
) -> &'t str {
    let payload = room.saturating_sub(MAX_WORD - MAX_PAYLOAD).min(MAX_PAYLOAD);
    let mut used = 0;
    let mut cut = 0;
    for (at, c) in text.char_indices() {
        let end = at + c.len_utf8();
        let size = match encoding {
            WordEncoding::Base64 => end.div_ceil(3) * 4,
            WordEncoding::Quoted => used + quoted_len(c),
        };
        if size > payload && cut > 0 {
            break;
        }
        used = size;
        cut = end;
    }
    let (head, rest) = text.split_at_checked(cut).unwrap_or((text, ""));
    match encoding {
        WordEncoding::Quoted => {
            out.push_str("=?utf-8?Q?");
            for byte in head.bytes() {
                match byte {
                    b' ' => out.push('_'),
                    _ if is_plain(byte) => out.push(char::from(byte)),
                    _ => {
                        out.push('=');
                        out.push(hex_digit(byte >> 4));
                        out.push(hex_digit(byte & 15));
                    }
                }
            }
        }
        WordEncoding::Base64 => {
            out.push_str("=?utf-8?B?");
            transfer::base64_encode(head.as_bytes(), out);
        }
    }
    out.push_str("?=");
    rest
}

/// Bytes that stand for themselves in a `Q` word wherever it is allowed (RFC 2047 §5 rule 3).
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'!' | b'*' | b'+' | b'-' | b'/')
}

fn quoted_len(c: char) -> usize {
    match u8::try_from(c) {
        Ok(byte) if byte == b' ' || is_plain(byte) => 1,
        _ => c.len_utf8() * 3,
    }
}

pub(crate) fn hex_digit(nibble: u8) -> char {
    char::from_digit(u32::from(nibble), 16)
        .unwrap_or('0')
        .to_ascii_uppercase()
}

/// Decodes the encoded words of a value to UTF-8, as `mimeword_decode` does.
///
/// White space between adjacent words is dropped. A word with an unknown charset or a broken
/// encoding stays as it is. Tolerated: words that touch other text, spaces inside a word,
/// words over 75 bytes, and a character that is split between two words.
#[must_use]
pub fn decode(value: &[u8]) -> String {
    decode_with(value, None)
}

/// As [`decode`]; raw 8-bit text is read with [`charset::header_text`] and `part`.
#[must_use]
pub(crate) fn decode_with(value: &[u8], part: Option<Charset>) -> String {
    let mut out = String::with_capacity(value.len());
    let mut text_from = 0;
    let mut run: Option<(Charset, Vec<u8>)> = None;
    let mut words = Words::new(value);
    while let Some(word) = words.next_word() {
        let between = value.get(text_from..word.start).unwrap_or_default();
        text_from = word.end;
        match &mut run {
            Some((charset, bytes)) if is_space(between) && *charset == word.charset => {
                bytes.extend_from_slice(&word.bytes);
                continue;
            }
            Some((charset, bytes)) if is_space(between) => out.push_str(&charset.decode(bytes)),
            _ => {
                if let Some((charset, bytes)) = run.take() {
                    out.push_str(&charset.decode(&bytes));
                }
                out.push_str(&charset::header_text(between, part));
            }
        }
        run = Some((word.charset, word.bytes));
    }
    if let Some((charset, bytes)) = run {
        out.push_str(&charset.decode(&bytes));
    }
    let tail = value.get(text_from..).unwrap_or_default();
    out.push_str(&charset::header_text(tail, part));
    out
}

fn is_space(text: &[u8]) -> bool {
    text.iter()
        .all(|b| matches!(b, b' ' | b'\t' | b'\r' | b'\n'))
}

/// A decodable encoded word and where it stands.
struct Word {
    start: usize,
    end: usize,
    charset: Charset,
    bytes: Vec<u8>,
}

/// Finds the encoded words of a value in linear time.
struct Words<'a> {
    value: &'a [u8],
    at: usize,
    /// The nearest `?=` that was found and where its search began.
    close: Option<usize>,
}

impl<'a> Words<'a> {
    fn new(value: &'a [u8]) -> Self {
        Self {
            value,
            at: 0,
            close: None,
        }
    }

    fn next_word(&mut self) -> Option<Word> {
        loop {
            let rest = self.value.get(self.at..)?;
            let start = self.at + memmem::find(rest, b"=?")?;
            self.at = start + 2;
            let Some((charset, base64, text)) = self.prologue(start + 2) else {
                continue;
            };
            // Every later candidate needs a `?=` too: without one there are no more words.
            if self.close.is_none_or(|close| close < text) {
                let rest = self.value.get(text..)?;
                self.close = Some(text + memmem::find(rest, b"?=")?);
            }
            let close = self.close?;
            let payload = self.value.get(text..close)?;
            let bytes = if base64 {
                transfer::base64_decode_strict(payload)
            } else {
                q_decode(payload)
            };
            if let Some(bytes) = bytes {
                self.at = close + 2;
                return Some(Word {
                    start,
                    end: close + 2,
                    charset,
                    bytes,
                });
            }
        }
    }

    /// Reads `charset[*language]?encoding?`; gives the offset of the text after it.
    fn prologue(&self, at: usize) -> Option<(Charset, bool, usize)> {
        let rest = self.value.get(at..)?;
        let name_len = rest.iter().take(80).position(|&b| b == b'?')?;
        let name = rest.get(..name_len)?;
        let name = name.split(|&b| b == b'*').next()?;
        let charset = charset::for_label(name)?;
        let base64 = match rest.get(name_len + 1..name_len + 3)? {
            [b'B' | b'b', b'?'] => true,
            [b'Q' | b'q', b'?'] => false,
            _ => return None,
        };
        Some((charset, base64, at + name_len + 3))
    }
}

fn q_decode(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.iter();
    while let Some(&byte) = bytes.next() {
        out.push(match byte {
            b'_' => b' ',
            b'=' => {
                let high = char::from(*bytes.next()?).to_digit(16)?;
                let low = char::from(*bytes.next()?).to_digit(16)?;
                u8::try_from(high * 16 + low).ok()?
            }
            _ => byte,
        });
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn plain_text_is_not_touched() {
        assert_eq!(encode(b"Hello, world."), "Hello, world.");
        assert_eq!(encode(b""), "");
    }

    #[test]
    fn other_text_becomes_words() {
        assert_eq!(
            encode("Räksmörgås 1".as_bytes()),
            "=?utf-8?Q?R=C3=A4ksm=C3=B6rg=C3=A5s_1?="
        );
        assert_eq!(encode(b"=?x"), "=?utf-8?Q?=3D=3Fx?=");
        assert_eq!(encode(b"a\r\nb"), "=?utf-8?Q?a=0D=0Ab?=");
        let long = encode("å".repeat(40).as_bytes());
        assert!(long.split(' ').count() > 1 && long.split(' ').all(|w| w.len() <= 75));
    }

    #[test]
    fn words_are_decoded_as_rfc_2047_section_8_shows() {
        for (from, to) in [
            ("=?ISO-8859-1?Q?a?=", "a"),
            ("=?ISO-8859-1?Q?a?= b", "a b"),
            ("=?ISO-8859-1?Q?a?= =?ISO-8859-1?Q?b?=", "ab"),
            ("=?ISO-8859-1?Q?a?=  =?ISO-8859-1?Q?b?=", "ab"),
            ("=?ISO-8859-1?Q?a_b?=", "a b"),
            ("=?ISO-8859-1?Q?a?= =?ISO-8859-2?Q?_b?=", "a b"),
            (
                "=?ISO-8859-1?B?SWYgeW91IGNhbiByZWFkIHRoaXMgeW8=?=",
                "If you can read this yo",
            ),
            (
                "=?US-ASCII*EN?Q?Keith_Moore?= <moore@cs.utk.edu>",
                "Keith Moore <moore@cs.utk.edu>",
            ),
            ("=?utf-8?B?w6XDpMO2?=", "åäö"),
            ("=?utf-8?B?w6XDp?=", "=?utf-8?B?w6XDp?="),
            (
                "=?x-no?Q?a?= =?utf-8?Q?=C3?= =?utf-8?Q?=A5?=",
                "=?x-no?Q?a?= å",
            ),
            ("=?utf-8?Q?a=ZZ?= x", "=?utf-8?Q?a=ZZ?= x"),
            ("=?iso-2022-jp?B?GyRCRnxLXBsoQg==?=", "日本"),
            ("a=?utf-8?q?b?=c", "abc"),
            ("=?utf-8?Q??=", ""),
            ("=?", "=?"),
        ] {
            assert_eq!(decode(from.as_bytes()), to, "{from}");
        }
    }

    #[test]
    fn many_openings_without_an_end_cost_linear_time() {
        let attack = "=?utf-8?B?".repeat(200_000) + "?=";
        assert!(decode(attack.as_bytes()).starts_with("=?utf-8"));
    }

    proptest! {
        #[test]
        fn what_is_encoded_decodes_to_itself(text in "\\PC{0,80}|[ -~åß€😀\r\n\t=?_]{0,200}") {
            let encoded = encode(text.as_bytes());
            prop_assert!(encoded.bytes().all(|b| (32..127).contains(&b)));
            prop_assert_eq!(decode(encoded.as_bytes()), text);
        }

        #[test]
        fn decoding_never_panics(data in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&data);
        }
    }
}
