//! From the charsets of mail to UTF-8 (RFC 2978 names, through the Encoding Standard's tables).

use encoding_rs::{Encoding, ISO_2022_JP};
use std::borrow::Cow;

/// A charset that this crate can decode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Charset {
    /// US-ASCII: bytes above 127 are somebody's mistake.
    Ascii,
    /// Any other one. As on the web, ISO-8859-1 is read as windows-1252, which differs only
    /// where Latin-1 has control characters.
    Other(&'static Encoding),
}

/// Finds a charset by its name, case and surrounding white space ignored.
///
/// `None` for names that are unknown and for encodings that nobody can decode safely
/// (ISO-2022-KR, HZ: the Encoding Standard maps them to "replacement").
#[must_use]
pub fn for_label(label: &[u8]) -> Option<Charset> {
    let label = label.trim_ascii();
    let lower = label.to_ascii_lowercase();
    let known: &[u8] = match lower.as_slice() {
        b"us-ascii" | b"ascii" | b"ansi_x3.4-1968" | b"iso646-us" | b"7bit" => {
            return Some(Charset::Ascii);
        }
        // Names of Microsoft's and IANA's lists that the Encoding Standard lacks.
        b"cp932" | b"ms932" => b"shift_jis",
        // Python names GB 2312 so in the headers that it writes.
        b"cp936" | b"ms936" | b"eucgb2312_cn" => b"gbk",
        b"cp949" | b"ms949" | b"ks_c_5601" => b"euc-kr",
        b"cp950" | b"ms950" => b"big5",
        b"cp874" => b"windows-874",
        b"cp65001" => b"utf-8",
        b"cp50220" | b"cp50221" | b"cp50222" | b"iso-2022-jp-1" | b"iso-2022-jp-2"
        | b"iso-2022-jp-ms" => b"iso-2022-jp",
        b"eucjp-ms" | b"cp51932" => b"euc-jp",
        _ => label,
    };
    let encoding = Encoding::for_label(known)?;
    (encoding != encoding_rs::REPLACEMENT && encoding != encoding_rs::X_USER_DEFINED)
        .then_some(Charset::Other(encoding))
}

impl Charset {
    /// Decodes `bytes`; what the charset does not define becomes U+FFFD.
    #[must_use]
    pub fn decode(self, bytes: &[u8]) -> Cow<'_, str> {
        match self {
            Self::Ascii => header_text(bytes, None),
            Self::Other(encoding) if encoding == ISO_2022_JP => {
                let bytes = without_empty_segments(bytes);
                let text = encoding.decode_without_bom_handling(&bytes).0;
                Cow::Owned(text.into_owned())
            }
            Self::Other(encoding) => encoding.decode_without_bom_handling(bytes).0,
        }
    }

    /// Whether every byte string is text in this charset, so that success proves nothing.
    fn accepts_anything(self) -> bool {
        match self {
            Self::Ascii => true,
            Self::Other(encoding) => encoding.is_single_byte(),
        }
    }
}

/// ISO-2022-JP without the escape sequences that another one follows at once. RFC 1468 allows segments without
/// characters, and texts that are put together of several have them; the Encoding Standard takes them for errors.
#[must_use]
pub fn without_empty_segments(bytes: &[u8]) -> Cow<'_, [u8]> {
    const ESCAPE: u8 = 0x1b;
    let mut out = Vec::new();
    let mut kept = 0;
    for at in memchr::memchr_iter(ESCAPE, bytes) {
        let sequence = bytes.get(at..at + 4);
        if at >= kept && matches!(sequence, Some([_, b'(' | b'$', _, ESCAPE])) {
            out.extend_from_slice(bytes.get(kept..at).unwrap_or_default());
            kept = at + 3;
        }
    }
    if kept == 0 {
        return Cow::Borrowed(bytes);
    }
    out.extend_from_slice(bytes.get(kept..).unwrap_or_default());
    Cow::Owned(out)
}

/// Text of a header that carries raw 8-bit bytes, as UTF-8.
///
/// A multi-byte charset of the part decides if the bytes are valid in it. A single-byte one
/// accepts all bytes, so there UTF-8 (RFC 6532) is tried first. What nothing explains is
/// read as Latin-1.
#[must_use]
pub fn header_text(bytes: &[u8], part: Option<Charset>) -> Cow<'_, str> {
    if let Some(Charset::Other(encoding)) = part.filter(|c| !c.accepts_anything()) {
        let decoded = encoding.decode_without_bom_handling_and_without_replacement(bytes);
        if let Some(text) = decoded {
            return text;
        }
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        return Cow::Borrowed(text);
    }
    match part {
        Some(Charset::Other(encoding)) if encoding.is_single_byte() => {
            encoding.decode_without_bom_handling(bytes).0
        }
        _ => encoding_rs::mem::decode_latin1(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_whatever_their_case() {
        for name in [
            "UTF-8",
            " utf8 ",
            "ISO-8859-15",
            "CP932",
            "Windows-1252",
            "gb2312",
        ] {
            assert!(for_label(name.as_bytes()).is_some(), "{name}");
        }
        assert_eq!(for_label(b"x-unknown"), None);
        assert_eq!(for_label(b"iso-2022-kr"), None);
        assert_eq!(for_label(b"us-ascii"), Some(Charset::Ascii));
    }

    #[test]
    fn segments_without_characters_are_no_error() {
        let charset = for_label(b"iso-2022-jp").unwrap();
        for (bytes, text) in [
            (&b"\x1b$BF|\x1b(B\x1b$BK\\\x1b(Ba"[..], "日本a"),
            (b"\x1b(B\x1b(J\x1b$BF|\x1b(B", "日"),
            (b"\x1b$BF|", "日"),
            (b"a", "a"),
        ] {
            assert_eq!(charset.decode(bytes), text, "{bytes:?}");
        }
    }

    #[test]
    fn the_parts_charset_decides_then_utf8_then_latin1() {
        let gbk = for_label(b"gbk");
        assert_eq!(header_text(b"\xc4\xe3\xba\xc3", gbk), "你好");
        assert_eq!(header_text("é".as_bytes(), for_label(b"iso-8859-1")), "é");
        assert_eq!(header_text(b"\xe9", for_label(b"iso-8859-1")), "é");
        assert_eq!(header_text(b"\xe9", Some(Charset::Ascii)), "é");
        assert_eq!(header_text(b"\xe9\xff", gbk), "éÿ");
    }
}
