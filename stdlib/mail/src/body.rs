//! Writes bodies: which transfer encoding suits a content, and the content in that encoding
//! (RFC 2045 §6, RFC 2046 §4.1.1).

use crate::{
    header::LineEnd,
    transfer::{self, TransferEncoding},
};
use mail_builder::encoders::Base64Encoder;

/// A Content-Transfer-Encoding that can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// `7bit`
    SevenBit,
    /// `8bit`
    EightBit,
    /// `binary`
    Binary,
    /// `quoted-printable`
    QuotedPrintable,
    /// `base64`
    Base64,
}

impl Encoding {
    /// The encoding that `name` names, ignoring case.
    #[must_use]
    pub fn from_name(name: &[u8]) -> Option<Self> {
        [
            Self::SevenBit,
            Self::EightBit,
            Self::Binary,
            Self::QuotedPrintable,
            Self::Base64,
        ]
        .into_iter()
        .find(|encoding| name.eq_ignore_ascii_case(encoding.as_str().as_bytes()))
    }

    /// The name in the header field.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SevenBit => "7bit",
            Self::EightBit => "8bit",
            Self::Binary => "binary",
            Self::QuotedPrintable => "quoted-printable",
            Self::Base64 => "base64",
        }
    }
}

/// How a type's content is treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nature {
    /// `text/*`, or no type: lines, whose ends follow the message.
    Text,
    /// `message/*`: lines that must not be encoded (RFC 2046 §5.2).
    Message,
    /// `multipart/*`: parts, which are left as they are.
    Multipart,
    /// Anything else: bytes.
    Data,
}

impl Nature {
    /// The nature of the type `kind` (in lower case).
    #[must_use]
    pub fn of(kind: Option<&str>) -> Self {
        match kind.and_then(|kind| kind.split_once('/')) {
            None | Some(("text", _)) => Self::Text,
            Some(("message", _)) => Self::Message,
            Some(("multipart", _)) => Self::Multipart,
            Some(_) => Self::Data,
        }
    }

    fn has_lines(self) -> bool {
        self != Self::Data
    }
}

/// Longest line of a body that is not encoded (RFC 5322 §2.1.1).
const MAX_LINE: usize = 998;
/// Longest line of an encoded body (RFC 2045 §6.7, §6.8).
const MAX_ENCODED: usize = 76;

/// What a content needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Needs {
    eight_bit: bool,
    /// NUL, or a CR or LF that is no line end: only base64 and quoted-printable carry it.
    binary: bool,
    long_lines: bool,
}

impl Needs {
    fn of(data: &[u8], nature: Nature) -> Self {
        let mut needs = Self {
            eight_bit: !data.is_ascii(),
            binary: memchr::memchr(0, data).is_some(),
            long_lines: false,
        };
        for line in data.split_inclusive(|&b| b == b'\n') {
            let (content, crlf) = match line {
                [content @ .., b'\r', b'\n'] => (content, true),
                [content @ .., b'\n'] => (content, false),
                _ => (line, true),
            };
            needs.long_lines |= content.len() > MAX_LINE;
            // A lone LF of text becomes a line end, one of other data must stay what it is.
            needs.binary |= !crlf && !nature.has_lines();
            needs.binary |= memchr::memchr(b'\r', content).is_some();
        }
        needs
    }
}

/// The encoding that keeps `data` best readable, for a new part.
///
/// 7bit where that is possible, else quoted-printable for text and base64 for other data. Messages and
/// multiparts are never encoded.
#[must_use]
pub fn best(data: &[u8], nature: Nature) -> Encoding {
    let needs = Needs::of(data, nature);
    match nature {
        Nature::Message | Nature::Multipart if needs.binary || needs.long_lines => Encoding::Binary,
        Nature::Message | Nature::Multipart if needs.eight_bit => Encoding::EightBit,
        Nature::Message | Nature::Multipart => Encoding::SevenBit,
        _ if !needs.eight_bit && !needs.binary && !needs.long_lines => Encoding::SevenBit,
        Nature::Text => Encoding::QuotedPrintable,
        Nature::Data => Encoding::Base64,
    }
}

/// The encoding for `data` in a part that has `current`: it is kept where it can carry the data.
/// `None`: there is no need to say one.
#[must_use]
pub fn keeping(data: &[u8], nature: Nature, current: Option<&[u8]>) -> Option<Encoding> {
    let needs = Needs::of(data, nature);
    let current = current.map(<[u8]>::trim_ascii).unwrap_or_default();
    let kept = match TransferEncoding::from_value(current) {
        TransferEncoding::QuotedPrintable => {
            (nature == Nature::Text || !is_mostly_binary(data)).then_some(Encoding::QuotedPrintable)
        }
        TransferEncoding::Base64 => Some(Encoding::Base64),
        TransferEncoding::Identity => {
            let fits = !needs.eight_bit && !needs.binary && !needs.long_lines;
            match Encoding::from_name(current) {
                Some(Encoding::Binary) => Some(Encoding::Binary),
                Some(Encoding::EightBit) if !needs.binary && !needs.long_lines => {
                    Some(Encoding::EightBit)
                }
                _ if fits && current.is_empty() => return None,
                _ if fits => Some(Encoding::SevenBit),
                _ => None,
            }
        }
        TransferEncoding::Unknown => None,
    };
    let composite = matches!(nature, Nature::Message | Nature::Multipart);
    let kept = kept
        .filter(|kept| !composite || !matches!(kept, Encoding::QuotedPrintable | Encoding::Base64));
    Some(kept.unwrap_or_else(|| best(data, nature)))
}

fn is_mostly_binary(data: &[u8]) -> bool {
    let odd = |b: &&u8| !matches!(b, b' '..=b'~' | b'\t' | b'\r' | b'\n');
    data.iter().filter(odd).count() > data.len() / 3
}

/// `data` in an encoding that a script named: what is in base64 or quoted-printable already is taken as it is.
#[must_use]
pub fn encode_unless_encoded(
    data: &[u8],
    encoding: Encoding,
    nature: Nature,
    eol: LineEnd,
) -> Vec<u8> {
    let is_encoded = match encoding {
        Encoding::QuotedPrintable => is_quoted_printable(data),
        Encoding::Base64 => is_base64(data),
        Encoding::SevenBit | Encoding::EightBit | Encoding::Binary => false,
    };
    match is_encoded {
        true => data.to_vec(),
        false => encode(data, encoding, nature, eol),
    }
}

/// `data` in `encoding`. The last line of base64 has no line end.
#[must_use]
pub fn encode(data: &[u8], encoding: Encoding, nature: Nature, eol: LineEnd) -> Vec<u8> {
    match encoding {
        Encoding::SevenBit | Encoding::EightBit => match nature.has_lines() {
            true => with_line_ends(data, eol),
            false => data.to_vec(),
        },
        Encoding::Binary => data.to_vec(),
        Encoding::QuotedPrintable => match nature {
            Nature::Text | Nature::Message => quoted_printable(data, true, eol),
            Nature::Data | Nature::Multipart => quoted_printable(data, false, eol),
        },
        Encoding::Base64 => {
            // The canonical form of text has CRLF (RFC 2045 §6.8).
            match nature.has_lines() {
                true => base64(&with_line_ends(data, LineEnd::CrLf), eol),
                false => base64(data, eol),
            }
        }
    }
}

/// `data` with every line end (CRLF or LF) written as `eol`.
#[must_use]
pub fn with_line_ends(data: &[u8], eol: LineEnd) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len() + data.len() / 32);
    for line in data.split_inclusive(|&b| b == b'\n') {
        let (content, end) = match line {
            [content @ .., b'\r', b'\n'] | [content @ .., b'\n'] => (content, eol.as_bytes()),
            _ => (line, b"".as_slice()),
        };
        out.extend_from_slice(content);
        out.extend_from_slice(end);
    }
    out
}

fn base64(data: &[u8], eol: LineEnd) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len() / 54 * 74 + 78);
    Base64Encoder::new()
        .wrap_lines()
        .encode_into(data, &mut out);
    if eol == LineEnd::Lf {
        out.retain(|&b| b != b'\r');
    }
    let end = out.trim_ascii_end().len();
    out.truncate(end);
    out
}

/// Whether `data` is base64 and nothing else, with lines that can be sent.
fn is_base64(data: &[u8]) -> bool {
    let clean = data
        .iter()
        .all(|&b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=' | b'\r' | b'\n'));
    if !clean || has_long_line(data) {
        return false;
    }
    let digits = data.iter().filter(|b| !matches!(b, b'\r' | b'\n'));
    let count = digits.clone().count();
    let padding = digits.rev().take_while(|&&b| b == b'=').count();
    let all_padding = data.iter().filter(|&&b| b == b'=').count();
    count > 0 && count % 4 == 0 && padding == all_padding && padding <= 2
}

/// Whether `data` is quoted-printable and nothing else, with lines that can be sent.
fn is_quoted_printable(data: &[u8]) -> bool {
    if has_long_line(data) {
        return false;
    }
    let mut rest = data;
    while let [byte, tail @ ..] = rest {
        rest = match (byte, tail) {
            (b'=', [b'\r', b'\n', tail @ ..] | [b'\n', tail @ ..]) => tail,
            (b'=', [high, low, tail @ ..])
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                tail
            }
            (b'=', _) => return false,
            (b'\r', [b'\n', tail @ ..]) => tail,
            (b'\r', _) => return false,
            (b'\n' | b'\t' | b' '..=b'~', tail) => tail,
            _ => return false,
        };
    }
    true
}

fn has_long_line(data: &[u8]) -> bool {
    data.split(|&b| b == b'\n')
        .any(|line| line.strip_suffix(b"\r").unwrap_or(line).len() > MAX_LINE)
}

/// Writes quoted-printable. With `lines` the line ends of the data are line ends, else they are content.
///
/// What could be taken for a boundary (`--`), an mbox line or the end of a dialogue at the start of a line is
/// written in hex (RFC 2049 §3).
fn quoted_printable(data: &[u8], lines: bool, eol: LineEnd) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len() + data.len() / 4);
    let mut column = 0;
    let mut rest = data;
    while let [byte, tail @ ..] = rest {
        let line_end = match rest {
            [b'\r', b'\n', tail @ ..] | [b'\n', tail @ ..] if lines => Some(tail),
            _ => None,
        };
        if let Some(tail) = line_end {
            out.extend_from_slice(eol.as_bytes());
            column = 0;
            rest = tail;
            continue;
        }
        let at_end =
            tail.is_empty() || (lines && (tail.starts_with(b"\n") || tail.starts_with(b"\r\n")));
        let plain = |column: usize| match byte {
            b' ' | b'\t' => !at_end,
            b'=' => false,
            b'-' | b'.' => column > 0,
            b'F' => column > 0 || !rest.starts_with(b"From "),
            b'!'..=b'~' => true,
            _ => false,
        };
        // One column is kept for the `=` of a soft line break.
        let width = if plain(column) { 1 } else { 3 };
        if column + width > MAX_ENCODED - usize::from(!at_end) {
            out.push(b'=');
            out.extend_from_slice(eol.as_bytes());
            column = 0;
        }
        if plain(column) {
            out.push(*byte);
            column += 1;
        } else {
            out.push(b'=');
            for nibble in [byte >> 4, byte & 15] {
                out.push(
                    b"0123456789ABCDEF"
                        .get(usize::from(nibble))
                        .copied()
                        .unwrap_or(b'0'),
                );
            }
            column += 3;
        }
        rest = tail;
    }
    out
}

/// What `data` in `encoding` is decoded: for tests and comparisons.
#[must_use]
pub fn decode(data: &[u8], encoding: Encoding) -> Vec<u8> {
    match encoding {
        Encoding::SevenBit | Encoding::EightBit | Encoding::Binary => data.to_vec(),
        Encoding::QuotedPrintable => transfer::quoted_printable_decode(data),
        Encoding::Base64 => transfer::base64_decode(data),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(data: &str) -> (Encoding, String) {
        let encoding = best(data.as_bytes(), Nature::Text);
        let out = encode(data.as_bytes(), encoding, Nature::Text, LineEnd::CrLf);
        (encoding, String::from_utf8(out).unwrap())
    }

    #[test]
    fn text_is_sent_as_it_is_where_that_is_possible() {
        assert_eq!(text("a\nb\r\n"), (Encoding::SevenBit, "a\r\nb\r\n".into()));
        assert_eq!(
            text("f\u{e5}=r \n"),
            (Encoding::QuotedPrintable, "f=C3=A5=3Dr=20\r\n".into())
        );
        let (encoding, out) = text(&"x".repeat(999));
        assert_eq!(encoding, Encoding::QuotedPrintable);
        assert!(out.lines().all(|line| line.len() <= 76));
        assert_eq!(text("a\rb\0").1, "a=0Db=00");
        assert_eq!(
            text("\u{e5}\n--b\n.\nFrom x").1,
            "=C3=A5\r\n=2D-b\r\n=2E\r\n=46rom x"
        );
    }

    #[test]
    fn other_data_is_base64_unless_it_is_plain_lines() {
        let of = |data: &[u8]| best(data, Nature::Data);
        assert_eq!(of(b"a\r\nb"), Encoding::SevenBit);
        assert_eq!(of(b"a\nb"), Encoding::Base64);
        assert_eq!(of(b"\x00"), Encoding::Base64);
        assert_eq!(
            best("\u{e5}\n".as_bytes(), Nature::Message),
            Encoding::EightBit
        );
        assert_eq!(best(b"\0", Nature::Multipart), Encoding::Binary);
    }

    #[test]
    fn an_encoding_is_kept_where_it_fits() {
        let of = |data: &[u8], current: &str| keeping(data, Nature::Text, Some(current.as_bytes()));
        assert_eq!(keeping(b"a", Nature::Text, None), None);
        assert_eq!(of(b"a", "7bit"), Some(Encoding::SevenBit));
        assert_eq!(of(b"a", "8bit"), Some(Encoding::EightBit));
        assert_eq!(of(b"\xe5", "7BIT"), Some(Encoding::QuotedPrintable));
        assert_eq!(of(b"\xe5", "8bit"), Some(Encoding::EightBit));
        assert_eq!(of(b"a", "Base64"), Some(Encoding::Base64));
        assert_eq!(
            of(b"a", "quoted-printable"),
            Some(Encoding::QuotedPrintable)
        );
        assert_eq!(of(b"a", "x-uuencode"), Some(Encoding::SevenBit));
        assert_eq!(
            keeping(b"\0\x01\xff", Nature::Data, Some(b"quoted-printable")),
            Some(Encoding::Base64)
        );
        assert_eq!(
            keeping(b"a: b", Nature::Message, Some(b"base64")),
            Some(Encoding::SevenBit)
        );
    }

    #[test]
    fn what_is_encoded_already_is_taken_as_it_is() {
        let of = |data: &str, encoding| {
            let data = data.as_bytes();
            let out = encode_unless_encoded(data, encoding, Nature::Data, LineEnd::CrLf);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(of("YWJj", Encoding::Base64), "YWJj");
        assert_eq!(of("YWJj\r\nYQ==\r\n", Encoding::Base64), "YWJj\r\nYQ==\r\n");
        assert_eq!(of("YQ=a", Encoding::Base64), "WVE9YQ==");
        assert_eq!(of("abc", Encoding::Base64), "YWJj");
        assert_eq!(of("a=3Db", Encoding::QuotedPrintable), "a=3Db");
        assert_eq!(of("a=b", Encoding::QuotedPrintable), "a=3Db");
        assert_eq!(of("a\nb=", Encoding::QuotedPrintable), "a=0Ab=3D");
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(
            data in proptest::collection::vec(
                prop_oneof![Just(b'\n'), Just(b'\r'), Just(b' '), Just(b'='), Just(b'-'), any::<u8>()], 0..300),
            lf in any::<bool>())
        {
            let eol = if lf { LineEnd::Lf } else { LineEnd::CrLf };
            for encoding in [Encoding::QuotedPrintable, Encoding::Base64] {
                let out = encode(&data, encoding, Nature::Data, eol);
                prop_assert_eq!(&decode(&out, encoding), &data);
                prop_assert!(out.is_ascii());
                for line in out.split(|&b| b == b'\n') {
                    prop_assert!(line.strip_suffix(b"\r").unwrap_or(line).len() <= 76);
                    prop_assert!(!line.starts_with(b"--"));
                }
                // A lone CR before a line end would be read as part of one if that is LF.
                if eol == LineEnd::CrLf {
                    let out = encode(&data, encoding, Nature::Text, eol);
                    let decoded = decode(&out, encoding);
                    prop_assert_eq!(with_line_ends(&decoded, eol), with_line_ends(&data, eol));
                }
            }
        }
    }
}
