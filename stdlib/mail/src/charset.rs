//! From the charsets of mail to UTF-8 (RFC 2978 names, through the Encoding Standard's tables and those of [`coding`]).
//!
//! [`coding`]: crate::coding

use crate::coding::Coding;
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
    /// One that the Encoding Standard lacks.
    Coded(Coding),
}

/// Finds a charset by its name. Case does not count, nor do white space and quotes around it; what names differ in by
/// habit (`Latin-1`, `iso8859_2`, `win-1251`) is tried when the name as such is unknown.
#[must_use]
pub fn for_label(label: &[u8]) -> Option<Charset> {
    let label = label.trim_ascii();
    let quote = |byte: &u8| matches!(byte, b'"' | b'\'');
    let start = label
        .iter()
        .position(|byte| !quote(byte))
        .unwrap_or_default();
    let end = label
        .iter()
        .rposition(|byte| !quote(byte))
        .map_or(0, |at| at + 1);
    let lower = label.get(start..end)?.trim_ascii().to_ascii_lowercase();
    named(&lower).or_else(|| named(&usual_name(&lower)?))
}

/// A charset by a name in lower case.
fn named(lower: &[u8]) -> Option<Charset> {
    let known: &[u8] = match lower {
        b"us-ascii" | b"ascii" | b"ansi_x3.4-1968" | b"iso646-us" | b"iso_646.irv:1991"
        | b"iso-ir-6" | b"csascii" | b"cp367" | b"ibm367" | b"us" | b"7bit" => {
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
        _ => lower,
    };
    if let Some(coding) = Coding::own(known) {
        return Some(Charset::Coded(coding));
    }
    let encoding = Encoding::for_label(known)?;
    (encoding != encoding_rs::REPLACEMENT && encoding != encoding_rs::X_USER_DEFINED)
        .then_some(Charset::Other(encoding))
}

/// The registered form of a name that is written with other signs or none between its parts.
fn usual_name(lower: &[u8]) -> Option<Vec<u8>> {
    let name: String = lower
        .iter()
        .filter(|byte| byte.is_ascii_alphanumeric())
        .map(|&byte| char::from(byte))
        .collect();
    let name = name.strip_prefix('x').unwrap_or(&name);
    let usual = match name {
        "utf8" | "utf8sig" | "utf8mb4" => "utf-8",
        "shiftjis" => "shift_jis",
        "eucjp" => "euc-jp",
        "euckr" => "euc-kr",
        "big5hkscs" => "big5-hkscs",
        "iso2022jp" => "iso-2022-jp",
        "iso2022kr" => "iso-2022-kr",
        "koi8r" => "koi8-r",
        "koi8u" => "koi8-u",
        "macroman" => "macintosh",
        "usascii" => "us-ascii",
        _ => "",
    };
    if !usual.is_empty() {
        return Some(usual.as_bytes().to_vec());
    }
    let number = |prefixes: &[&str], form: &str| {
        let number = prefixes
            .iter()
            .find_map(|prefix| name.strip_prefix(prefix))?;
        let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| format!("{form}{number}").into_bytes())
    };
    number(&["isolatin", "latin"], "latin")
        .or_else(|| number(&["iso8859", "8859"], "iso-8859-"))
        .or_else(|| number(&["windows", "win", "mswin", "cp", "ibm", "dos"], "cp"))
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
            Self::Coded(coding) => Cow::Owned(coding.read_lossy(bytes)),
        }
    }

    /// Whether every byte string is text in this charset, so that success proves nothing.
    fn accepts_anything(self) -> bool {
        match self {
            Self::Ascii | Self::Coded(_) => true,
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
        Some(Charset::Coded(coding @ Coding::Single(_))) => Cow::Owned(coding.read_lossy(bytes)),
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
        for name in [
            "",
            "x-unknown",
            "''",
            "cp",
            "latin",
            "8bit",
            "latin99",
            "windows-9999",
        ] {
            assert_eq!(for_label(name.as_bytes()), None, "{name}");
        }
        for (name, usual) in [
            ("latin-1", "iso-8859-1"),
            ("ISO-Latin-2", "iso-8859-2"),
            ("iso8859_15", "iso-8859-15"),
            ("'UTF_8'", "utf-8"),
            ("win-1251", "windows-1251"),
            ("Windows1252", "cp1252"),
            ("x-koi8_r", "koi8-r"),
            ("cp-850", "ibm850"),
        ] {
            let found = for_label(name.as_bytes());
            assert!(
                found.is_some() && found == for_label(usual.as_bytes()),
                "{name}"
            );
        }
        assert_eq!(
            for_label(b"iso-2022-kr"),
            Some(Charset::Coded(Coding::Iso2022Kr))
        );
        assert_eq!(
            for_label(b"utf-7").unwrap().decode(b"J+APw-rgen +"),
            "Jürgen \u{fffd}"
        );
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
