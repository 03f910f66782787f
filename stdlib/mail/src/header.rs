//! The header block of a message or of a MIME part (RFC 5322 §2.2, §3.5; RFC 6532).
//!
//! Parsing is tolerant and loses nothing: every field keeps its place, its spelling and its
//! folding as spans over the block's own bytes. What is not a field (an mbox `From ` line, a
//! stray line) stays in the bytes and is simply no field.

use crate::{
    charset::{self, Charset},
    content_type::ContentType,
    encoded_word,
    source::{Source, Window},
};
use std::{io, ops::Range};

/// A header block longer than this ends at the limit; the rest counts as body.
///
/// The server's own limit (`servers[].limits.headers`) is lower; this one bounds memory for
/// messages that come from elsewhere.
pub const MAX_HEADER_BLOCK: usize = 8 * 1024 * 1024;

/// The header of a message or of a MIME part.
#[derive(Debug, Clone, Default)]
pub struct HeaderBlock {
    start: u64,
    bytes: Vec<u8>,
    fields: Vec<Field>,
    insert_at: usize,
    body: u64,
    blank: bool,
    bad: bool,
}

/// Offsets of one field, relative to the block.
#[derive(Debug, Clone, Copy)]
struct Field {
    start: usize,
    name_end: usize,
    /// First byte after the colon.
    value: usize,
    /// First byte after the value, before the line end.
    value_end: usize,
    end: usize,
}

/// Where the parts of a field lie in the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FieldSpan {
    /// First byte of the name.
    pub start: u64,
    /// First byte after the name.
    pub name_end: u64,
    /// First byte after the colon.
    pub value: u64,
    /// First byte of the line end that closes the field.
    pub value_end: u64,
    /// First byte of what follows the field.
    pub end: u64,
}

/// How lines end: new lines follow the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LineEnd {
    /// CR LF, the only form on the wire.
    #[default]
    CrLf,
    /// LF alone, in messages that come from files and strings.
    Lf,
}

impl LineEnd {
    /// The bytes.
    #[must_use]
    pub fn as_bytes(self) -> &'static [u8] {
        match self {
            Self::CrLf => b"\r\n",
            Self::Lf => b"\n",
        }
    }
}

/// One field of a block.
#[derive(Debug, Clone, Copy)]
pub struct FieldRef<'a> {
    block: &'a HeaderBlock,
    field: Field,
}

impl<'a> FieldRef<'a> {
    /// The name as it is spelled in the message.
    #[must_use]
    pub fn name(&self) -> &'a [u8] {
        self.block.slice(self.field.start..self.field.name_end)
    }

    /// The whole field as it stands: name, folding and line end.
    #[must_use]
    pub fn raw(&self) -> &'a [u8] {
        self.block.slice(self.field.start..self.field.end)
    }

    /// Everything after the colon with its folding, without the closing line end.
    #[must_use]
    pub fn value_raw(&self) -> &'a [u8] {
        self.block.slice(self.field.value..self.field.value_end)
    }

    /// The value without folding and without white space around it (RFC 5322 §2.2.3).
    #[must_use]
    pub fn value(&self) -> Vec<u8> {
        unfold(self.value_raw())
    }

    /// The whole field as it stands, its last line end being CRLF (added if it is missing).
    #[must_use]
    pub fn field(&self) -> Vec<u8> {
        let mut field = self
            .block
            .slice(self.field.start..self.field.value_end)
            .to_vec();
        field.extend_from_slice(b"\r\n");
        field
    }

    /// Where the field lies in the message.
    #[must_use]
    pub fn span(&self) -> FieldSpan {
        let at = |offset: usize| self.block.start.saturating_add(offset as u64);
        FieldSpan {
            start: at(self.field.start),
            name_end: at(self.field.name_end),
            value: at(self.field.value),
            value_end: at(self.field.value_end),
            end: at(self.field.end),
        }
    }

    /// Whether the name is `name`, ignoring case.
    #[must_use]
    pub fn is(&self, name: &[u8]) -> bool {
        self.name().eq_ignore_ascii_case(name)
    }
}

impl HeaderBlock {
    /// The header of an empty message.
    pub(crate) const EMPTY: Self = Self {
        start: 0,
        bytes: Vec::new(),
        fields: Vec::new(),
        insert_at: 0,
        body: 0,
        blank: false,
        bad: false,
    };

    /// Reads the header of a message that starts at the first byte of `source`.
    ///
    /// # Errors
    /// Only what the source reports; no content is an error.
    pub fn read<S: Source + ?Sized>(source: &S) -> io::Result<Self> {
        let end = source.len();
        Self::read_part(&mut Window::new(source), 0..end, |_| false)
    }

    /// Reads the header of the part that lies in `range`. The block also ends before a line
    /// for which `is_delimiter` answers true (asked only for lines that start with `--`).
    pub(crate) fn read_part<S: Source + ?Sized>(
        window: &mut Window<'_, S>,
        range: Range<u64>,
        is_delimiter: impl Fn(&[u8]) -> bool,
    ) -> io::Result<Self> {
        let mut block = Self {
            start: range.start,
            ..Self::default()
        };
        // Start of lines that are no fields and whose fate the next line decides.
        let mut stray: Option<usize> = None;
        loop {
            let at = block.bytes.len();
            let room = MAX_HEADER_BLOCK.saturating_sub(at);
            let offset = block.start.saturating_add(at as u64);
            let line = window.line(offset, range.end, room)?;
            if line.is_empty() {
                block.bad |= offset < range.end;
                block.end_without_blank(stray);
                break;
            }
            if line.starts_with(b"--") && is_delimiter(line) {
                block.end_without_blank(stray);
                break;
            }
            if matches!(line, b"\n" | b"\r\n") {
                if stray.is_some() && block.fields.is_empty() {
                    block.end_without_blank(stray);
                } else {
                    block.bad |= stray.is_some();
                    block.blank = true;
                    block.body = offset.saturating_add(line.len() as u64);
                }
                break;
            }
            let continuation = matches!(line.first(), Some(b' ' | b'\t'));
            if continuation && (at > block.insert_at || stray.is_some()) {
                block.bytes.extend_from_slice(line);
                if stray.is_none() {
                    block.extend_last_field();
                }
            } else if let Some(colon) = field_colon(line) {
                let name_end = at + line.get(..colon).unwrap_or_default().trim_ascii_end().len();
                block.bad |= stray.take().is_some();
                block.bytes.extend_from_slice(line);
                block.fields.push(Field {
                    start: at,
                    name_end,
                    value: at + colon + 1,
                    value_end: at,
                    end: at,
                });
                block.extend_last_field();
            } else if range.start == 0 && at == 0 && is_mbox_line(line) {
                block.bytes.extend_from_slice(line);
                block.insert_at = block.bytes.len();
            } else if stray.is_some() || line.starts_with(b"--") && !block.fields.is_empty() {
                // The second line that is no field, or a boundary: the blank line was forgotten.
                block.end_without_blank(stray.or(Some(at)));
                break;
            } else {
                stray = Some(at);
                block.bytes.extend_from_slice(line);
            }
        }
        Ok(block)
    }

    /// Ends the block where the stray lines begin, or at its end.
    fn end_without_blank(&mut self, stray: Option<usize>) {
        if let Some(at) = stray {
            self.bad = true;
            self.bytes.truncate(at);
        }
        self.body = self.start.saturating_add(self.bytes.len() as u64);
    }

    /// Moves the end of the last field to the end of the bytes.
    fn extend_last_field(&mut self) {
        let end = self.bytes.len();
        let value_end = end - line_end_len(&self.bytes);
        if let Some(last) = self.fields.last_mut() {
            last.end = end;
            last.value_end = value_end.max(last.value);
        }
    }

    fn slice(&self, range: Range<usize>) -> &[u8] {
        self.bytes.get(range).unwrap_or_default()
    }

    /// The name of the field that lies at `span`.
    pub(crate) fn name_at(&self, span: FieldSpan) -> &[u8] {
        let at =
            |offset: u64| usize::try_from(offset.saturating_sub(self.start)).unwrap_or(usize::MAX);
        self.slice(at(span.start)..at(span.name_end))
    }

    /// Offset of the block in the message.
    #[must_use]
    pub fn start(&self) -> u64 {
        self.start
    }

    /// The bytes of the block as they stand, without the blank line that ends it.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Offset in the message of the first byte of the body.
    #[must_use]
    pub fn body_offset(&self) -> u64 {
        self.body
    }

    /// Whether a blank line separates the block from the body.
    #[must_use]
    pub fn has_blank_line(&self) -> bool {
        self.blank
    }

    /// Whether the block holds lines that are no fields, or lacks its end.
    #[must_use]
    pub fn is_bad(&self) -> bool {
        self.bad
    }

    /// Offset in the message where a field that becomes the first one is put: after an mbox
    /// `From ` line, which must stay first, and after stray lines that would continue it.
    #[must_use]
    pub fn insert_offset(&self) -> u64 {
        let indented = matches!(self.bytes.get(self.insert_at), Some(b' ' | b'\t'));
        let at = match self.fields.first() {
            Some(first) if indented => first.start,
            _ => self.insert_at,
        };
        self.start.saturating_add(at as u64)
    }

    /// How the lines of the block end: as its first one, CRLF when there is none.
    #[must_use]
    pub fn line_end(&self) -> LineEnd {
        match memchr::memchr(b'\n', &self.bytes) {
            Some(at) if at == 0 || self.bytes.get(at - 1) != Some(&b'\r') => LineEnd::Lf,
            _ => LineEnd::CrLf,
        }
    }

    /// The fields from the top.
    pub fn fields(&self) -> impl DoubleEndedIterator<Item = FieldRef<'_>> + ExactSizeIterator {
        self.fields
            .iter()
            .map(|&field| FieldRef { block: self, field })
    }

    /// The fields called `name` (case ignored) from the top.
    pub fn named<'a>(&'a self, name: &'a [u8]) -> impl DoubleEndedIterator<Item = FieldRef<'a>> {
        self.fields().filter(move |field| field.is(name))
    }

    /// The `index`-th field called `name`, from 0 at the top; -1 is the last one.
    #[must_use]
    pub fn nth(&self, name: &[u8], index: i64) -> Option<FieldRef<'_>> {
        let n = usize::try_from(index.checked_abs()?).ok()?;
        let mut named = self.fields().filter(|field| field.is(name));
        match index {
            0.. => named.nth(n),
            _ => named.rev().nth(n - 1),
        }
    }

    /// The value of `getHeader`: unfolded, as UTF-8, with encoded words decoded if `decode`.
    #[must_use]
    pub fn value(&self, name: &[u8], index: i64, decode: bool) -> Option<String> {
        let field = self.nth(name, index)?;
        Some(self.texts([field], decode).concat())
    }

    /// The values of `getHeaders`, from the top; as [`HeaderBlock::value`].
    #[must_use]
    pub fn values(&self, name: &[u8], decode: bool) -> Vec<String> {
        self.texts(self.named(name), decode)
    }

    /// The names of all fields from the top, in lower case.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.fields()
            .map(|field| String::from_utf8_lossy(field.name()).to_ascii_lowercase())
            .collect()
    }

    /// The `Content-Type`, if there is a field of that name.
    #[must_use]
    pub fn content_type(&self) -> Option<ContentType> {
        self.nth(b"Content-Type", 0)
            .map(|field| ContentType::parse(&field.value()))
    }

    /// The values of fields as UTF-8.
    fn texts<'a>(
        &self,
        fields: impl IntoIterator<Item = FieldRef<'a>>,
        decode: bool,
    ) -> Vec<String> {
        // Nearly every field is ASCII: the part's charset is looked up for others, once.
        let mut part = None;
        let text = |field: FieldRef<'_>| {
            let value = field.value();
            let charset = if value.is_ascii() {
                None
            } else {
                *part.get_or_insert_with(|| self.charset())
            };
            if decode {
                encoded_word::decode_with(&value, charset)
            } else {
                charset::header_text(&value, charset).into_owned()
            }
        };
        fields.into_iter().map(text).collect()
    }

    /// The charset that the Content-Type names.
    fn charset(&self) -> Option<Charset> {
        let label = self.content_type()?.parameter("charset")?;
        charset::for_label(label.as_bytes())
    }
}

/// Removes the line ends of a folded value and the white space around it.
#[must_use]
pub fn unfold(value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len());
    for line in value.split_inclusive(|&b| b == b'\n') {
        let keep = line.len() - line_end_len(line);
        out.extend_from_slice(line.get(..keep).unwrap_or_default());
    }
    out.trim_ascii().to_vec()
}

/// Length of the line end that closes `line`: CRLF, LF or none.
fn line_end_len(line: &[u8]) -> usize {
    match line {
        [.., b'\r', b'\n'] => 2,
        [.., b'\n'] => 1,
        _ => 0,
    }
}

/// The position of the colon if `line` starts a field. White space between name and colon is
/// the obsolete syntax of RFC 5322 §4.5.
fn field_colon(line: &[u8]) -> Option<usize> {
    let colon = memchr::memchr(b':', line)?;
    let name = line.get(..colon)?;
    let end = name.iter().rposition(|b| !matches!(b, b' ' | b'\t'))?;
    name.get(..=end)?
        .iter()
        .all(|&b| is_name_byte(b))
        .then_some(colon)
}

/// `ftext` of RFC 5322 §3.6.8.
pub(crate) fn is_name_byte(byte: u8) -> bool {
    matches!(byte, 33..=57 | 59..=126)
}

fn is_mbox_line(line: &[u8]) -> bool {
    (line.starts_with(b"From ") || line.starts_with(b">From ")) && line.ends_with(b"\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::tests::Slow;
    use proptest::prelude::*;

    fn block(text: &str) -> HeaderBlock {
        HeaderBlock::read(text.as_bytes()).unwrap()
    }

    fn raw(block: &HeaderBlock) -> Vec<String> {
        block
            .fields()
            .map(|f| String::from_utf8_lossy(f.raw()).into_owned())
            .collect()
    }

    #[test]
    fn fields_keep_order_spelling_and_folding() {
        let b = block("sUbJect : a\r\n\tb\r\nX:\r\nTo:c\r\n\r\nbody\r\n");
        assert_eq!(raw(&b), ["sUbJect : a\r\n\tb\r\n", "X:\r\n", "To:c\r\n"]);
        assert_eq!(b.names(), ["subject", "x", "to"]);
        assert_eq!(b.value(b"SUBJECT", 0, true).unwrap(), "a\tb");
        assert_eq!(b.value(b"x", 0, true).unwrap(), "");
        assert_eq!(b.body_offset(), 29);
        assert!(!b.is_bad());
    }

    #[test]
    fn a_message_may_lack_header_body_or_both() {
        for text in ["", "\r\n", "\n"] {
            let b = block(text);
            assert_eq!((b.fields().len(), b.body_offset()), (0, text.len() as u64));
        }
        let b = block("A: 1");
        assert_eq!((raw(&b), b.body_offset()), (vec!["A: 1".to_owned()], 4));
        assert_eq!(b.nth(b"a", 0).unwrap().field(), b"A: 1\r\n");
        let b = block("Just text\r\n\r\nmore\r\n");
        assert_eq!(
            (b.fields().len(), b.body_offset(), b.is_bad()),
            (0, 0, true)
        );
    }

    #[test]
    fn a_stray_line_among_fields_is_skipped_and_two_start_the_body() {
        let b = block("A: 1\njunk\nB: 2\n\nbody");
        assert_eq!(
            (b.names(), b.is_bad()),
            (vec!["a".into(), "b".into()], true)
        );
        let b = block("A: 1\nHello there,\nyou all\n\nbody");
        assert_eq!((raw(&b), b.body_offset()), (vec!["A: 1\n".to_owned()], 5));
        let b = block("A: 1\n--a\n\nx\n--a--\n");
        assert_eq!((raw(&b), b.body_offset()), (vec!["A: 1\n".to_owned()], 5));
        assert!(b.is_bad());
        let b = block("A: 1\njunk\n more\nB: 2\n\n");
        assert_eq!(b.names(), ["a", "b"]);
        assert_eq!(raw(&b), ["A: 1\n", "B: 2\n"]);
    }

    #[test]
    fn an_mbox_line_stays_on_top() {
        let b = block("From me Mon Jan  1 00:00:00 2024\nA: 1\n\n");
        assert_eq!(
            (raw(&b), b.insert_offset()),
            (vec!["A: 1\n".to_owned()], 33)
        );
        assert_eq!(b.line_end(), LineEnd::Lf);
    }

    #[test]
    fn a_negative_index_counts_from_the_bottom() {
        let b = block("A: 1\nB: x\nA: 2\nA: 3\n\n");
        let get = |i| b.value(b"a", i, true);
        assert_eq!(get(0).as_deref(), Some("1"));
        assert_eq!(get(-1).as_deref(), Some("3"));
        assert_eq!(get(-3).as_deref(), Some("1"));
        assert_eq!((get(3), get(-4), get(i64::MIN)), (None, None, None));
    }

    #[test]
    fn a_field_of_a_megabyte_is_one_field() {
        let text = format!("A: {}\r\nB: 2\r\n\r\nx", "y".repeat(1 << 20));
        let b = HeaderBlock::read(&Slow(text.as_bytes())).unwrap();
        assert_eq!(b.names(), ["a", "b"]);
        assert_eq!(b.body_offset(), text.len() as u64 - 1);
    }

    #[test]
    fn a_block_over_the_limit_ends_there() {
        let text = "A: 1234567\n".repeat(MAX_HEADER_BLOCK / 11 + 10);
        let b = block(&text);
        assert!(b.is_bad() && b.bytes().len() <= MAX_HEADER_BLOCK);
        assert_eq!(b.body_offset(), b.bytes().len() as u64);
    }

    #[test]
    fn raw_eight_bit_text_becomes_utf8() {
        let get = |m: &[u8]| {
            HeaderBlock::read(m)
                .unwrap()
                .value(b"Subject", 0, true)
                .unwrap()
        };
        assert_eq!(get(b"Subject: caf\xe9\r\n\r\n"), "café");
        assert_eq!(get("Subject: café\r\n\r\n".as_bytes()), "café");
        assert_eq!(
            get(b"Subject: \xcf\xf0\xe8\r\nContent-Type: text/plain; charset=windows-1251\r\n\r\n"),
            "При"
        );
    }

    proptest! {
        #[test]
        fn any_bytes_parse_alike_from_memory_and_disk(data in proptest::collection::vec(
            prop_oneof![Just(b'\n'), Just(b'\r'), Just(b':'), Just(b' '), Just(b'a'), any::<u8>()], 0..200))
        {
            let a = HeaderBlock::read(&data).unwrap();
            let b = HeaderBlock::read(&Slow(&data)).unwrap();
            prop_assert_eq!(a.bytes(), b.bytes());
            prop_assert_eq!(a.body_offset(), b.body_offset());
            prop_assert!(data.starts_with(a.bytes()));
            prop_assert!(a.body_offset() <= data.len() as u64);
            let mut end = 0;
            for f in a.fields() {
                let span = f.span();
                prop_assert!(span.start >= end && span.start < span.name_end);
                prop_assert!(span.name_end < span.value && span.value <= span.value_end);
                prop_assert!(span.value_end <= span.end);
                end = span.end;
                let _ = a.values(f.name(), true);
            }
            prop_assert!(end <= a.body_offset());
        }
    }
}
