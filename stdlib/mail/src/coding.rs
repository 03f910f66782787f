//! Conversion between charsets as iconv does it: strict, in both directions, and what to do with characters that the
//! target does not have.
//!
//! The large tables are those of the Encoding Standard (encoding_rs). What it lacks because the web has no use for it is
//! here: plain US-ASCII and ISO-8859-1, which the standard takes for windows-1252, UTF-16 and UTF-32 in both directions,
//! UTF-7 (RFC 2152), ISO-2022-KR (RFC 1557), HZ (RFC 1843), Johab, and code pages of DOS.

mod johab;
mod tables;
mod utf7;
mod writer;

use encoding_rs::{
    Decoder, DecoderResult, EUC_KR, Encoding, GBK, ISO_2022_JP, UTF_16BE, UTF_16LE, WINDOWS_874,
    WINDOWS_1252, WINDOWS_1254,
};

use crate::charset::{self, Charset};
use tables::Upper;
pub use writer::Writer;

/// A charset that can be read and written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    /// One of the Encoding Standard's.
    Standard(&'static Encoding),
    /// Seven bits, nothing else.
    Ascii,
    /// ISO-8859-1: every byte is the character of its number.
    Latin1,
    /// ASCII and a table for the upper half.
    Single(&'static Upper),
    /// UTF-16 in this order of bytes.
    Utf16(Order),
    /// UTF-32 in this order of bytes.
    Utf32(Order),
    /// ISO-2022-KR: KS X 1001 between SO and SI.
    Iso2022Kr,
    /// HZ: GB 2312 between `~{` and `~}`.
    Hz,
    /// Johab: KS X 1001 with syllables made of letters.
    Johab,
    /// UTF-7: UTF-16 in base64 between `+` and `-`.
    Utf7,
}

/// The order of the bytes of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Most significant byte first.
    Big,
    /// Least significant byte first.
    Little,
    /// As a byte order mark says, else little; written little with a mark. This is what iconv does on common machines.
    Marked,
}

/// What is wrong with the text to convert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Bytes that mean nothing, or a character that the target does not have (EILSEQ).
    Invalid,
    /// The text ends within a character (EINVAL).
    Incomplete,
}

/// What becomes of what cannot be converted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// A character that the target lacks is written as something like it, or as `?` (`//TRANSLIT`).
    pub translit: bool,
    /// What is invalid, and what the target lacks, is left out (`//IGNORE`).
    pub ignore: bool,
}

impl Coding {
    /// Finds a charset by its name, in any case.
    #[must_use]
    pub fn named(name: &[u8]) -> Option<Coding> {
        let lower = name.to_ascii_lowercase();
        Coding::own(&lower).or_else(|| Coding::standard(&lower))
    }

    /// A charset that the Encoding Standard lacks or takes for another one; the name is in lower case.
    pub(crate) fn own(lower: &[u8]) -> Option<Coding> {
        Some(match lower {
            b"iso-2022-kr" | b"csiso2022kr" | b"iso2022kr" => Coding::Iso2022Kr,
            b"hz" | b"hz-gb-2312" => Coding::Hz,
            b"johab" | b"cp1361" | b"ms1361" => Coding::Johab,
            b"utf-7" | b"utf7" | b"unicode-1-1-utf-7" | b"unicode-2-0-utf-7"
            | b"csunicode11utf7" => Coding::Utf7,
            b"utf-16" | b"utf16" => Coding::Utf16(Order::Marked),
            b"utf-16le" | b"utf16le" | b"ucs-2" | b"ucs2" | b"ucs-2le" | b"unicode"
            | b"iso-10646-ucs-2" => Coding::Utf16(Order::Little),
            b"utf-16be" | b"utf16be" | b"ucs-2be" | b"unicodefffe" => Coding::Utf16(Order::Big),
            b"utf-32" | b"utf32" => Coding::Utf32(Order::Marked),
            b"utf-32le" | b"utf32le" | b"ucs-4le" => Coding::Utf32(Order::Little),
            b"utf-32be" | b"utf32be" | b"ucs-4" | b"ucs4" | b"ucs-4be" | b"iso-10646-ucs-4" => {
                Coding::Utf32(Order::Big)
            }
            b"cp437" | b"ibm437" | b"437" => Coding::Single(&tables::DOS_437),
            b"cp850" | b"ibm850" | b"850" => Coding::Single(&tables::DOS_850),
            b"cp852" | b"ibm852" | b"852" => Coding::Single(&tables::DOS_852),
            b"cp858" | b"ibm858" | b"ibm00858" | b"858" => Coding::Single(&tables::DOS_858),
            _ => return None,
        })
    }

    /// A charset that the Encoding Standard knows by this name, or what the name means outside the web.
    fn standard(lower: &[u8]) -> Option<Coding> {
        let encoding = match charset::for_label(lower)? {
            Charset::Ascii => return Some(Coding::Ascii),
            Charset::Coded(coding) => return Some(coding),
            Charset::Other(encoding) => encoding,
        };
        let is_windows = lower.starts_with(b"win")
            || lower.starts_with(b"cp1")
            || lower.starts_with(b"cp8")
            || lower.starts_with(b"x-cp")
            || lower.starts_with(b"dos-");
        let is_latin1 = !is_windows || lower == b"cp819";
        Some(match encoding {
            // The standard writes UTF-8 where it reads UTF-16.
            _ if encoding == UTF_16LE => Coding::Utf16(Order::Little),
            _ if encoding == UTF_16BE => Coding::Utf16(Order::Big),
            _ if encoding == WINDOWS_1252 && is_latin1 => Coding::Latin1,
            _ if encoding == WINDOWS_1254 && !is_windows => Coding::Single(&tables::LATIN_5),
            _ if encoding == WINDOWS_874 && !is_windows => Coding::Single(&tables::THAI),
            _ => Coding::Standard(encoding),
        })
    }
}

/// Reads text of a charset piece by piece.
pub struct Reader {
    state: Reading,
    /// The beginning of a character whose rest has not come yet.
    held: Vec<u8>,
    ignore: bool,
}

enum Reading {
    Standard(Decoder),
    Own(Coding, Mode),
}

/// What a reader or writer has to know of what went before.
#[derive(Clone, Copy, Default)]
struct Mode {
    /// Within the double-byte part (ISO-2022-KR, HZ).
    shifted: bool,
    /// The order that a byte order mark has told.
    order: Option<Order>,
    /// Whether anything has come yet.
    begun: bool,
    /// Bits of UTF-7 that do not make up a unit yet, and half a pair of units.
    bits: utf7::Bits,
}

/// What stands at the beginning of the bytes to read.
enum Step {
    /// So many bytes are this character, or none at all.
    Taken(usize, Option<char>),
    /// So many bytes are invalid.
    Bad(usize),
    /// More bytes have to come.
    Short,
}

impl Reader {
    /// A reader in its initial state; `ignore` skips what is invalid.
    #[must_use]
    pub fn new(coding: Coding, ignore: bool) -> Reader {
        let state = match coding {
            Coding::Standard(encoding) => {
                Reading::Standard(encoding.new_decoder_without_bom_handling())
            }
            own => Reading::Own(own, Mode::default()),
        };
        Reader {
            state,
            held: Vec::new(),
            ignore,
        }
    }

    /// Reads more bytes.
    ///
    /// # Errors
    /// [`Fault::Invalid`]
    pub fn read(&mut self, bytes: &[u8], out: &mut String) -> Result<(), Fault> {
        let (coding, mode) = match &mut self.state {
            Reading::Standard(decoder) if decoder.encoding() == ISO_2022_JP => {
                let mut joined = std::mem::take(&mut self.held);
                joined.extend_from_slice(bytes);
                // An escape sequence at the end may be one that another follows.
                let from = joined.len().saturating_sub(3);
                let tail = joined.get(from..).unwrap_or_default();
                if let Some(escape) = memchr::memchr(ESCAPE, tail) {
                    self.held = joined.split_off(from + escape);
                }
                let joined = charset::without_empty_segments(&joined);
                return decode(decoder, &joined, out, false, self.ignore);
            }
            Reading::Standard(decoder) => return decode(decoder, bytes, out, false, self.ignore),
            Reading::Own(coding, mode) => (*coding, mode),
        };
        let joined;
        let mut rest = if self.held.is_empty() {
            bytes
        } else {
            self.held.extend_from_slice(bytes);
            joined = std::mem::take(&mut self.held);
            joined.as_slice()
        };
        while !rest.is_empty() {
            let taken = match coding.step(rest, mode) {
                Step::Taken(count, c) => {
                    out.extend(c);
                    count
                }
                Step::Bad(count) if self.ignore => count,
                Step::Bad(_) => return Err(Fault::Invalid),
                Step::Short => {
                    self.held = rest.to_vec();
                    return Ok(());
                }
            };
            rest = rest.get(taken.max(1)..).unwrap_or_default();
        }
        Ok(())
    }

    /// The end of the text.
    ///
    /// # Errors
    /// [`Fault::Incomplete`] within a character.
    pub fn finish(mut self, out: &mut String) -> Result<(), Fault> {
        match &mut self.state {
            Reading::Standard(decoder) => {
                let held = charset::without_empty_segments(&self.held);
                decode(decoder, &held, out, true, false).map_err(|_| Fault::Incomplete)
            }
            Reading::Own(..) if self.held.is_empty() => Ok(()),
            Reading::Own(..) => Err(Fault::Incomplete),
        }
    }
}

fn decode(
    decoder: &mut Decoder,
    bytes: &[u8],
    out: &mut String,
    last: bool,
    ignore: bool,
) -> Result<(), Fault> {
    let mut rest = bytes;
    loop {
        let room = decoder.max_utf8_buffer_length_without_replacement(rest.len());
        out.reserve(room.unwrap_or(rest.len()).max(16));
        let (result, read) = decoder.decode_to_string_without_replacement(rest, out, last);
        rest = rest.get(read..).unwrap_or_default();
        match result {
            DecoderResult::InputEmpty => return Ok(()),
            DecoderResult::OutputFull => {}
            DecoderResult::Malformed(..) if ignore => {}
            DecoderResult::Malformed(..) => return Err(Fault::Invalid),
        }
    }
}

impl Coding {
    /// What stands at the beginning of `bytes`, which are not empty.
    fn step(self, bytes: &[u8], mode: &mut Mode) -> Step {
        let first = bytes.first().copied().unwrap_or_default();
        match self {
            Coding::Latin1 => Step::Taken(1, Some(char::from(first))),
            _ if first < 0x80
                && matches!(self, Coding::Ascii | Coding::Single(_) | Coding::Johab) =>
            {
                Step::Taken(1, Some(char::from(first)))
            }
            Coding::Johab => match bytes.get(1) {
                None => Step::Short,
                Some(trail) => match johab::decode(first, *trail) {
                    Some(c) => Step::Taken(2, Some(c)),
                    None => Step::Bad(1),
                },
            },
            Coding::Single(upper) => match upper.get(usize::from(first & 0x7f)) {
                None | Some('\u{fffd}') => Step::Bad(1),
                Some(c) => Step::Taken(1, Some(*c)),
            },
            Coding::Utf16(order) => utf16(bytes, order, mode),
            Coding::Utf32(order) => utf32(bytes, order, mode),
            Coding::Iso2022Kr => iso2022_kr(bytes, first, mode),
            Coding::Hz => hz(bytes, first, mode),
            Coding::Utf7 => utf7::step(bytes, first, mode),
            Coding::Ascii | Coding::Standard(_) => Step::Bad(1),
        }
    }

    /// Reads a whole text; what is invalid or cut off becomes U+FFFD.
    pub(crate) fn read_lossy(self, bytes: &[u8]) -> String {
        if let Coding::Standard(encoding) = self {
            return encoding.decode_without_bom_handling(bytes).0.into_owned();
        }
        let mut mode = Mode::default();
        let mut out = String::with_capacity(bytes.len());
        let mut rest = bytes;
        while !rest.is_empty() {
            let taken = match self.step(rest, &mut mode) {
                Step::Taken(count, c) => {
                    out.extend(c);
                    count
                }
                Step::Bad(count) => {
                    out.push(char::REPLACEMENT_CHARACTER);
                    count
                }
                Step::Short => {
                    out.push(char::REPLACEMENT_CHARACTER);
                    break;
                }
            };
            rest = rest.get(taken.max(1)..).unwrap_or_default();
        }
        out
    }
}

/// The order to read in; the second value tells that a byte order mark of `size` bytes stands here.
fn order(bytes: &[u8], size: usize, order: Order, mode: &mut Mode) -> (Order, bool) {
    if order != Order::Marked {
        return (order, false);
    }
    if let Some(known) = mode.order {
        return (known, false);
    }
    let head = bytes.get(..size).unwrap_or_default();
    let (known, marked) = match head {
        [0xff, 0xfe] | [0xff, 0xfe, 0, 0] => (Order::Little, true),
        [0xfe, 0xff] | [0, 0, 0xfe, 0xff] => (Order::Big, true),
        _ => (Order::Little, false),
    };
    mode.order = Some(known);
    (known, marked)
}

fn utf16(bytes: &[u8], wanted: Order, mode: &mut Mode) -> Step {
    let Some([a, b]) = bytes.first_chunk::<2>() else {
        return Step::Short;
    };
    let (order, marked) = order(bytes, 2, wanted, mode);
    if marked {
        return Step::Taken(2, None);
    }
    let unit = |pair: [u8; 2]| match order {
        Order::Big => u16::from_be_bytes(pair),
        Order::Little | Order::Marked => u16::from_le_bytes(pair),
    };
    let first = unit([*a, *b]);
    match first {
        0xd800..=0xdbff => {
            let Some([_, _, c, d]) = bytes.first_chunk::<4>() else {
                return Step::Short;
            };
            match char::decode_utf16([first, unit([*c, *d])]).next() {
                Some(Ok(c)) => Step::Taken(4, Some(c)),
                _ => Step::Bad(2),
            }
        }
        _ => match char::from_u32(first.into()) {
            Some(c) => Step::Taken(2, Some(c)),
            None => Step::Bad(2),
        },
    }
}

fn utf32(bytes: &[u8], wanted: Order, mode: &mut Mode) -> Step {
    let Some(unit) = bytes.first_chunk::<4>() else {
        return Step::Short;
    };
    let (order, marked) = order(bytes, 4, wanted, mode);
    if marked {
        return Step::Taken(4, None);
    }
    let number = match order {
        Order::Big => u32::from_be_bytes(*unit),
        Order::Little | Order::Marked => u32::from_le_bytes(*unit),
    };
    match char::from_u32(number) {
        Some(c) => Step::Taken(4, Some(c)),
        None => Step::Bad(4),
    }
}

const ESCAPE: u8 = 0x1b;
const SHIFT_OUT: u8 = 0x0e;
const SHIFT_IN: u8 = 0x0f;
/// Says that SO leads to KS X 1001.
const KR_HEADER: &[u8] = b"\x1b$)C";

fn iso2022_kr(bytes: &[u8], first: u8, mode: &mut Mode) -> Step {
    match first {
        SHIFT_OUT | SHIFT_IN => {
            mode.shifted = first == SHIFT_OUT;
            Step::Taken(1, None)
        }
        ESCAPE if bytes.starts_with(KR_HEADER) => Step::Taken(KR_HEADER.len(), None),
        ESCAPE if KR_HEADER.starts_with(bytes) => Step::Short,
        ESCAPE => Step::Bad(1),
        b'\n' => {
            // Every line begins in ASCII.
            mode.shifted = false;
            Step::Taken(1, Some('\n'))
        }
        0..=0x20 | 0x7f => Step::Taken(1, Some(char::from(first))),
        0x21..=0x7e if mode.shifted => pair(EUC_KR, bytes),
        0x21..=0x7e => Step::Taken(1, Some(char::from(first))),
        0x80.. => Step::Bad(1),
    }
}

fn hz(bytes: &[u8], first: u8, mode: &mut Mode) -> Step {
    match (first, bytes.get(1)) {
        (b'~', None) => Step::Short,
        (b'~', Some(b'{')) if !mode.shifted => {
            mode.shifted = true;
            Step::Taken(2, None)
        }
        (b'~', Some(b'}')) if mode.shifted => {
            mode.shifted = false;
            Step::Taken(2, None)
        }
        (b'~', Some(b'~')) if !mode.shifted => Step::Taken(2, Some('~')),
        (b'~', Some(b'\n')) if !mode.shifted => Step::Taken(2, None),
        (b'\n', _) => {
            mode.shifted = false;
            Step::Taken(1, Some('\n'))
        }
        (0x21..=0x7d, _) if mode.shifted => pair(GBK, bytes),
        (0x80.., _) | (b'~', _) => Step::Bad(1),
        _ => Step::Taken(1, Some(char::from(first))),
    }
}

/// Two bytes of a set of 94 by 94 characters, whose `encoding` has them with the upper bit set.
fn pair(encoding: &'static Encoding, bytes: &[u8]) -> Step {
    let Some([a, b]) = bytes.first_chunk::<2>() else {
        return Step::Short;
    };
    if !(0x21..=0x7e).contains(b) {
        return Step::Bad(1);
    }
    let both = [a | 0x80, b | 0x80];
    let text = encoding.decode_without_bom_handling_and_without_replacement(&both);
    match text.and_then(|text| text.chars().next()) {
        Some(c) => Step::Taken(2, Some(c)),
        None => Step::Bad(2),
    }
}

/// Converts a whole text.
///
/// # Errors
/// The first fault that the policy does not cover.
pub fn convert(bytes: &[u8], from: Coding, to: Coding, policy: Policy) -> Result<Vec<u8>, Fault> {
    let mut out = Vec::with_capacity(bytes.len());
    convert_while(bytes, from, to, policy, &mut out, |_| true)?;
    Ok(out)
}

/// Bytes that are read before they are written: the text between the charsets never gets longer than some times this.
const PIECE: usize = 16 * 1024;

/// As [`convert`], as long as `goes_on` takes the length that the result has; it tells whether it always did.
///
/// # Errors
/// As [`convert`].
pub fn convert_while(
    bytes: &[u8],
    from: Coding,
    to: Coding,
    policy: Policy,
    out: &mut Vec<u8>,
    mut goes_on: impl FnMut(usize) -> bool,
) -> Result<bool, Fault> {
    let mut reader = Reader::new(from, policy.ignore);
    let mut writer = Writer::new(to, policy);
    let mut text = String::new();
    for piece in bytes.chunks(PIECE) {
        text.clear();
        reader.read(piece, &mut text)?;
        writer.write(&text, out)?;
        if !goes_on(out.len()) {
            return Ok(false);
        }
    }
    text.clear();
    reader.finish(&mut text)?;
    writer.write(&text, out)?;
    writer.finish(out);
    Ok(true)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn named(name: &str) -> Coding {
        Coding::named(name.as_bytes()).unwrap()
    }

    fn converted(bytes: &[u8], from: &str, to: &str) -> Result<Vec<u8>, Fault> {
        convert(bytes, named(from), named(to), Policy::default())
    }

    #[test]
    fn charsets_are_what_their_names_say_outside_the_web() {
        for (bytes, from, text) in [
            (&b"a\xe9\x80"[..], "ISO-8859-1", "aé\u{80}"),
            (b"\x80", "windows-1252", "€"),
            (b"\xf0\x85", "iso-8859-9", "ğ\u{85}"),
            (b"\xa1\xfb", "TIS-620", "ก๛"),
            (b"\x82\xd5", "cp858", "é€"),
            (b"\xe5\x00", "utf-16le", "å"),
            (b"\xd8\x3d\xde\x00", "UTF-16BE", "😀"),
            (b"\xfe\xff\x00a", "utf-16", "a"),
            (b"a\0", "utf-16", "a"),
            (b"\0\x01\xf6\0", "UCS-4", "😀"),
            (b"\x1b$)CA\x0e0!\x0f\n", "ISO-2022-KR", "A가\n"),
            (b"x~{VPND~}y~~", "HZ", "x中文y~"),
            (b"\xd6\xd0", "GB2312", "中"),
            (b"\xa4\xa4", "Big5", "中"),
            (b"\x1b$BF|\x1b(B\x1b$BK\\\x1b(B", "ISO-2022-JP", "日本"),
            // RFC 2152 gives the first three of these.
            (b"Hi Mom -+Jjo--!", "UTF-7", "Hi Mom -☺-!"),
            (b"+ZeVnLIqe-", "UTF-7", "日本語"),
            (b"Item 3 is +AKM-1.", "UTF-7", "Item 3 is £1."),
            (b"1+-1 +AOQ b +2D3eAA.", "UTF-7", "1+1 ä b 😀."),
        ] {
            assert_eq!(
                converted(bytes, from, "UTF-8"),
                Ok(text.as_bytes().to_vec()),
                "{from}"
            );
        }
        for name in ["", "x-unknown", "utf-9", "replacement", "x-user-defined"] {
            assert!(Coding::named(name.as_bytes()).is_none(), "{name}");
        }
    }

    #[test]
    fn text_is_written_back_as_it_was() {
        for (text, charset) in [
            ("aé\u{80}", "latin1"),
            ("ğ", "latin5"),
            ("😀a", "utf-16"),
            ("😀a", "utf-32"),
            ("가A가\n가", "iso-2022-kr"),
            ("中~a\n文", "hz"),
            ("日本", "iso-2022-jp"),
            ("ÇüÉ", "cp437"),
            ("中", "gb18030"),
            ("a+b ~å😀é-x中", "utf-7"),
        ] {
            let written = converted(text.as_bytes(), "utf-8", charset).unwrap();
            let read = converted(&written, charset, "utf-8");
            assert_eq!(read, Ok(text.as_bytes().to_vec()), "{charset}");
        }
        assert_eq!(
            converted("日a".as_bytes(), "utf-8", "iso-2022-jp"),
            Ok(b"\x1b$BF|\x1b(Ba".to_vec())
        );
    }

    #[test]
    fn invalid_and_incomplete_text_are_told_apart() {
        for (bytes, from, fault) in [
            (&b"a\xff"[..], "utf-8", Fault::Invalid),
            (b"a\xc3", "utf-8", Fault::Incomplete),
            (b"a\xe2\x82", "utf-8", Fault::Incomplete),
            (b"\xc3a", "utf-8", Fault::Invalid),
            (b"\x80", "us-ascii", Fault::Invalid),
            (b"\x00\xd8\x41\x00", "utf-16le", Fault::Invalid),
            (b"\x00\xd8", "utf-16le", Fault::Incomplete),
            (b"a", "utf-16le", Fault::Incomplete),
            (b"\0\x11\0\0", "ucs-4", Fault::Invalid),
            (b"\x88", "shift_jis", Fault::Incomplete),
            (b"\x0e0", "iso-2022-kr", Fault::Incomplete),
            (b"~", "hz", Fault::Incomplete),
            (b"+", "utf-7", Fault::Incomplete),
            (b"+2D0-", "utf-7", Fault::Invalid),
            (b"+AA-", "utf-7", Fault::Invalid),
            (b"+!", "utf-7", Fault::Invalid),
            (b"\xe5", "utf-7", Fault::Invalid),
        ] {
            assert_eq!(
                converted(bytes, from, "utf-8"),
                Err(fault),
                "{bytes:?} {from}"
            );
        }
        assert_eq!(
            converted("€".as_bytes(), "utf-8", "iso-8859-1"),
            Err(Fault::Invalid)
        );
    }

    #[test]
    fn what_cannot_be_converted_is_left_out_or_replaced() {
        let with = |text: &[u8], to: &str, translit: bool, ignore: bool| {
            let policy = Policy { translit, ignore };
            convert(text, named("utf-8"), named(to), policy)
                .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        };
        let ok = |text: &str| Ok(text.to_owned());
        assert_eq!(with("a€b中".as_bytes(), "ascii", false, true), ok("ab"));
        assert_eq!(with(b"a\xffb", "utf-8", false, true), ok("ab"));
        assert_eq!(with(b"a\xc3", "utf-8", false, true), Err(Fault::Incomplete));
        assert_eq!(
            with("“Åse—½ﬁ” €中".as_bytes(), "ascii", true, false),
            ok("\"Ase-1/2fi\" EUR?")
        );
        assert_eq!(with(b"a\xff", "ascii", true, false), Err(Fault::Invalid));
        assert_eq!(
            with("ń日".as_bytes(), "iso-2022-jp", true, false),
            ok("n\u{1b}$BF|\u{1b}(B")
        );
    }

    proptest! {
        #[test]
        fn every_unicode_form_takes_every_text(text in "\\PC{0,60}") {
            for charset in ["utf-8", "utf-16", "utf-16be", "utf-16le", "utf-32", "utf-32be", "utf-7", "gb18030"] {
                let written = converted(text.as_bytes(), "utf-8", charset).unwrap();
                prop_assert_eq!(converted(&written, charset, "utf-8").unwrap(), text.as_bytes());
            }
        }

        #[test]
        fn pieces_read_as_the_whole(bytes in prop::collection::vec(any::<u8>(), 0..60), at in 0..60_usize) {
            for charset in ["utf-8", "utf-16", "shift_jis", "iso-2022-kr", "iso-2022-jp", "hz", "gb18030", "utf-32le", "utf-7"] {
                let mut whole = String::new();
                let mut reader = Reader::new(named(charset), true);
                let result = reader.read(&bytes, &mut whole).and_then(|()| reader.finish(&mut whole));
                let mut parts = String::new();
                let mut reader = Reader::new(named(charset), true);
                let (head, tail) = bytes.split_at(at.min(bytes.len()));
                reader.read(head, &mut parts).unwrap();
                reader.read(tail, &mut parts).unwrap();
                prop_assert_eq!(reader.finish(&mut parts), result);
                prop_assert_eq!(parts, whole);
            }
        }
    }
}
