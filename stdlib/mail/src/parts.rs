//! The tree of MIME parts (RFC 2045, RFC 2046 §5.1).
//!
//! Found in one pass over the message, with spans instead of copies. The parser never fails on
//! content: an unclosed boundary ends where an outer one goes on or where the message ends. A
//! `message/rfc822` part is a leaf.
//!
//! On a boundary line nothing but white space follows the boundary. RFC 2046 (§5.1.1, note to implementors) lets a reader
//! take every line that begins with it, but then one boundary may be the beginning of another. So that is done for
//! multiparts only whose boundary stands on no line alone; who has such a one is read once more.

use crate::{
    content_type::ContentType,
    header::HeaderBlock,
    source::{Source, Window},
    transfer::TransferEncoding,
};
use memchr::memmem;
use std::{collections::BTreeSet, io, ops::Range};

/// A part of a message: its index in document order, 0 being the message itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct PartId(pub usize);

impl PartId {
    /// The message itself.
    pub const ROOT: Self = Self(0);
}

/// What the parser stops at.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// A multipart this deep is not opened any more.
    pub depth: usize,
    /// Once there are so many parts, what follows belongs to the last one.
    pub parts: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            depth: 100,
            parts: 10_000,
        }
    }
}

/// One part.
#[derive(Debug, Clone)]
pub struct Part {
    /// Its header.
    pub header: HeaderBlock,
    /// Where header and body lie, without the line end that belongs to the next boundary.
    pub span: Range<u64>,
    /// The multipart around it; `None` for the message itself.
    pub parent: Option<PartId>,
    /// The parts directly below it.
    pub children: Vec<PartId>,
    multipart: Option<Multipart>,
    /// The boundary line before it; none for the message itself.
    pub(crate) delimiter: Option<BoundaryLine>,
    /// The next boundary line has no line end of its own: that before it is the end of a boundary line inside the part
    /// or directly before it.
    pub(crate) shares_line_end: bool,
}

/// A body as it lies in the message.
#[derive(Debug, Clone)]
pub struct EncodedBody {
    /// Its bytes.
    pub range: Range<u64>,
    /// What they are to be decoded with.
    pub encoding: TransferEncoding,
}

/// The text around the parts of a multipart.
#[derive(Debug, Clone)]
pub(crate) struct Multipart {
    pub(crate) boundary: Vec<u8>,
    pub(crate) preamble: Range<u64>,
    pub(crate) epilogue: Option<Range<u64>>,
    /// The closing boundary line.
    pub(crate) close: Option<BoundaryLine>,
    /// Something follows the boundary on its lines.
    pub(crate) lax: bool,
}

/// A boundary line as it lies in the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BoundaryLine {
    /// Where the line end before it begins, if that is its own; else the same as `dash`.
    pub(crate) start: u64,
    /// The first of the two dashes.
    pub(crate) dash: u64,
    /// The first byte after its line end.
    pub(crate) end: u64,
    /// It has a line end.
    pub(crate) ended: bool,
}

impl BoundaryLine {
    /// Whether the line end before the line belongs to it.
    pub(crate) fn has_line_end(&self) -> bool {
        self.start < self.dash
    }
}

/// Names that `getErrors` gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartError {
    /// The header holds lines that are no fields, or does not end.
    BadHeader,
    /// The closing boundary of the multipart is missing.
    UnclosedBoundary,
}

impl PartError {
    /// The name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadHeader => "bad_header",
            Self::UnclosedBoundary => "unclosed_boundary",
        }
    }
}

impl Part {
    /// Where the body lies.
    #[must_use]
    pub fn body(&self) -> Range<u64> {
        self.header.body_offset().min(self.span.end)..self.span.end
    }

    /// Bytes of header and body (`getSize`).
    #[must_use]
    pub fn size(&self) -> u64 {
        self.span.end.saturating_sub(self.span.start)
    }

    /// The type and subtype in lower case; `None` without a Content-Type field and for one that has no type (`getType`).
    #[must_use]
    pub fn content_type(&self) -> Option<String> {
        let value = self.header.content_type()?.value;
        (!value.is_empty()).then_some(value)
    }

    /// A parameter of the Content-Type as UTF-8 (`getTypeParameter`).
    #[must_use]
    pub fn type_parameter(&self, name: &str) -> Option<String> {
        self.header
            .content_type()?
            .parameter(&name.to_ascii_lowercase())
    }

    /// The file name: of the Content-Disposition, else the Content-Type (`getFileName`).
    #[must_use]
    pub fn file_name(&self) -> Option<String> {
        let disposition = self.header.nth(b"Content-Disposition", 0);
        disposition
            .and_then(|field| ContentType::parse(&field.value()).parameter("filename"))
            .or_else(|| self.type_parameter("name"))
    }

    /// Whether the part was opened as a multipart.
    #[must_use]
    pub fn is_multipart(&self) -> bool {
        self.multipart.is_some()
    }

    /// What makes the part a multipart, if it is one.
    pub(crate) fn multipart(&self) -> Option<&Multipart> {
        self.multipart.as_ref()
    }

    /// The text before the first part of a multipart.
    #[must_use]
    pub fn preamble(&self) -> Option<Range<u64>> {
        self.multipart.as_ref().map(|m| m.preamble.clone())
    }

    /// The text after the closing boundary of a multipart.
    #[must_use]
    pub fn epilogue(&self) -> Option<Range<u64>> {
        self.multipart.as_ref().and_then(|m| m.epilogue.clone())
    }

    /// What is wrong with the part.
    #[must_use]
    pub fn errors(&self) -> Vec<PartError> {
        let unclosed = self
            .multipart
            .as_ref()
            .is_some_and(|m| m.epilogue.is_none());
        let mut errors = Vec::new();
        if self.header.is_bad() {
            errors.push(PartError::BadHeader);
        }
        if unclosed {
            errors.push(PartError::UnclosedBoundary);
        }
        errors
    }

    /// Where the body lies and how it is encoded.
    #[must_use]
    pub fn encoded_body(&self) -> EncodedBody {
        let encoding = self.header.nth(b"Content-Transfer-Encoding", 0);
        EncodedBody {
            range: self.body(),
            encoding: encoding.map_or(TransferEncoding::Identity, |field| {
                TransferEncoding::from_value(&field.value())
            }),
        }
    }

    /// Whether the part stands for its parts. A multipart whose boundary is nowhere does not: it is read as a leaf.
    #[must_use]
    pub fn has_parts(&self) -> bool {
        self.is_multipart() && !self.children.is_empty()
    }

    /// The body; with `decode` its transfer encoding is undone and a multipart has none
    /// (`getBody`).
    ///
    /// # Errors
    /// What the medium reports.
    pub fn read_body<S: Source + ?Sized>(
        &self,
        source: &S,
        decode: bool,
    ) -> io::Result<Option<Vec<u8>>> {
        if decode && self.has_parts() {
            return Ok(None);
        }
        let EncodedBody { range, encoding } = self.encoded_body();
        let body = source.read_range(range)?;
        Ok(Some(match (decode, encoding) {
            (false, _) | (_, TransferEncoding::Identity) => body,
            (true, encoding) => encoding.decode(&body),
        }))
    }
}

/// All parts of a message in document order.
#[derive(Debug, Clone)]
pub struct Parts {
    list: Vec<Part>,
}

impl Parts {
    /// A tree of the message itself only, not opened.
    pub(crate) fn root(header: HeaderBlock, len: u64) -> Self {
        let root = Part {
            header,
            span: 0..len,
            parent: None,
            children: Vec::new(),
            multipart: None,
            delimiter: None,
            shares_line_end: false,
        };
        Self { list: vec![root] }
    }

    /// Finds all parts.
    ///
    /// # Errors
    /// Only what the medium reports.
    pub fn parse<S: Source + ?Sized>(source: &S, limits: Limits) -> io::Result<Self> {
        let mut this = Self::root(HeaderBlock::read(source)?, source.len());
        this.open(source, limits)?;
        Ok(this)
    }

    /// Finds the parts below the root, whose header is known.
    pub(crate) fn open<S: Source + ?Sized>(
        &mut self,
        source: &S,
        limits: Limits,
    ) -> io::Result<()> {
        let mut lax = BTreeSet::new();
        for _ in 0..MAX_READINGS {
            let Some(root) = self.list.first_mut() else {
                return Ok(());
            };
            root.children.clear();
            self.list.truncate(1);
            let parser = Parser {
                window: Window::new(source),
                end: source.len(),
                limits,
                parts: &mut self.list,
                open: Vec::new(),
                lax: &lax,
                candidates: BTreeSet::new(),
            };
            let found = parser.run()?;
            let known = lax.len();
            lax.extend(found);
            if lax.len() == known {
                break;
            }
        }
        Ok(())
    }

    /// How many parts are known, the message included.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "there is always the message")]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// The part `id`.
    #[must_use]
    pub fn get(&self, id: PartId) -> Option<&Part> {
        self.list.get(id.0)
    }

    /// All parts in document order, the message first.
    pub fn iter(&self) -> impl Iterator<Item = (PartId, &Part)> {
        self.list
            .iter()
            .enumerate()
            .map(|(i, part)| (PartId(i), part))
    }

    /// The parts below `id`, depth first, in document order; not `id` itself.
    pub fn descendants(&self, id: PartId) -> impl Iterator<Item = (PartId, &Part)> {
        self.iter()
            .skip(id.0.saturating_add(1))
            .take_while(move |(_, part)| part.parent >= Some(id))
    }

    /// The id that scripts see: `0` for the message, `0.2.1` for the first part of the second.
    #[must_use]
    pub fn path(&self, id: PartId) -> String {
        let mut numbers = Vec::new();
        let mut at = id;
        while let Some(parent) = self.get(at).and_then(|part| part.parent) {
            let siblings = self.get(parent).map(|p| p.children.as_slice());
            let number = siblings.and_then(|list| list.iter().position(|&child| child == at));
            numbers.push(number.map_or(0, |n| n + 1).to_string());
            at = parent;
        }
        numbers.push("0".to_owned());
        numbers.reverse();
        numbers.join(".")
    }

    /// The part whose [`Parts::path`] is `path`.
    #[must_use]
    pub fn by_path(&self, path: &str) -> Option<PartId> {
        let mut numbers = path.split('.');
        if numbers.next() != Some("0") {
            return None;
        }
        numbers.try_fold(PartId::ROOT, |id, number| {
            // Only the form that `path` writes.
            let n: usize = number
                .parse()
                .ok()
                .filter(|n: &usize| n.to_string() == number)?;
            self.get(id)?.children.get(n.checked_sub(1)?).copied()
        })
    }
}

/// A boundary longer than this is taken for damage (RFC 2046 allows 70).
const MAX_BOUNDARY: usize = 1000;

/// Of a longer line only the beginning is looked at.
const MAX_LINE: usize = MAX_BOUNDARY + 100;

/// How often a message is read at most; each reading after the first one opens multiparts inside others.
const MAX_READINGS: usize = 4;

/// A multipart whose end is not found yet.
struct Open {
    part: usize,
    boundary: Vec<u8>,
    /// Something may follow the boundary.
    lax: bool,
    /// The closing boundary was seen; what follows is epilogue.
    closed: bool,
}

struct Parser<'a, 's, S: ?Sized> {
    window: Window<'s, S>,
    end: u64,
    limits: Limits,
    parts: &'a mut Vec<Part>,
    open: Vec<Open>,
    /// Where the multiparts begin whose boundary stands on no line alone, as far as that is known.
    lax: &'a BTreeSet<u64>,
    /// Multiparts with a line that begins with their boundary and goes on.
    candidates: BTreeSet<usize>,
}

/// A boundary line.
struct Delimiter {
    /// Index into [`Parser::open`].
    level: usize,
    close: bool,
    /// First byte of the line and of what follows it.
    line: Range<u64>,
    /// It has a line end.
    ended: bool,
}

impl<S: Source + ?Sized> Parser<'_, '_, S> {
    /// Finds the parts. Gives the beginnings of multiparts that have none, but lines that begin with their boundary.
    fn run(mut self) -> io::Result<Vec<u64>> {
        let mut at = self.begin_multipart(0);
        while let Some(delimiter) = self.next_delimiter(at)? {
            at = delimiter.line.end;
            let content_end = self.before_line_end(delimiter.line.start)?;
            self.close_above(delimiter.level, content_end);
            let Some(open) = self.open.get_mut(delimiter.level) else {
                break;
            };
            let parent = open.part;
            open.closed = delimiter.close;
            let line = self.boundary_line(parent, content_end, &delimiter);
            if delimiter.close {
                if let Some(Part {
                    multipart: Some(m), ..
                }) = self.parts.get_mut(parent)
                {
                    m.epilogue = Some(at..at);
                    m.close = Some(line);
                }
            } else if self.parts.len() >= self.limits.parts {
                break;
            } else {
                at = self.begin_part(parent, line)?;
            }
        }
        self.close_all();
        let part = |id: &usize| self.parts.get(*id);
        let without_parts = self
            .candidates
            .iter()
            .filter_map(part)
            .filter(|part| part.children.is_empty());
        Ok(without_parts.map(|part| part.span.start).collect())
    }

    /// A boundary line of the multipart `parent`; before it content ends at `content_end`.
    fn boundary_line(&self, parent: usize, content_end: u64, found: &Delimiter) -> BoundaryLine {
        let line = &found.line;
        let floor = self.parts.get(parent).map_or(0, |part| {
            let last = part.children.last().and_then(|last| self.parts.get(last.0));
            last.map_or(part.header.body_offset(), |last| last.span.end)
        });
        BoundaryLine {
            start: if content_end >= floor {
                content_end
            } else {
                line.start
            },
            dash: line.start,
            end: line.end,
            ended: found.ended,
        }
    }

    /// Reads the header of a new part and returns where its body starts.
    fn begin_part(&mut self, parent: usize, delimiter: BoundaryLine) -> io::Result<u64> {
        let start = delimiter.end;
        let open = &self.open;
        let header = HeaderBlock::read_part(&mut self.window, start..self.end, |line| {
            match_boundary(open, line).is_some()
        })?;
        let id = self.parts.len();
        self.parts.push(Part {
            header,
            span: start..self.end,
            parent: Some(PartId(parent)),
            children: Vec::new(),
            multipart: None,
            delimiter: Some(delimiter),
            shares_line_end: false,
        });
        if let Some(part) = self.parts.get_mut(parent) {
            part.children.push(PartId(id));
        }
        Ok(self.begin_multipart(id))
    }

    /// Opens the part if it is a multipart; returns where its body starts.
    fn begin_multipart(&mut self, id: usize) -> u64 {
        let depth = self.open.len();
        let Some(part) = self.parts.get_mut(id) else {
            return self.end;
        };
        let body = part.header.body_offset();
        if depth >= self.limits.depth {
            return body;
        }
        let boundary = part
            .header
            .content_type()
            .filter(ContentType::is_multipart)
            .and_then(|t| {
                let raw = t.raw_parameter("boundary").map(<[u8]>::to_vec);
                raw.or_else(|| t.parameter("boundary").map(String::into_bytes))
            });
        if let Some(boundary) = boundary {
            let boundary = boundary.trim_ascii_end().to_vec();
            if !boundary.is_empty() && boundary.len() <= MAX_BOUNDARY {
                let lax = self.lax.contains(&part.span.start);
                part.multipart = Some(Multipart {
                    boundary: boundary.clone(),
                    preamble: body..self.end,
                    epilogue: None,
                    close: None,
                    lax,
                });
                self.open.push(Open {
                    part: id,
                    boundary,
                    lax,
                    closed: false,
                });
            }
        }
        body
    }

    /// The next boundary line of any open multipart. `at` is the start of a line.
    fn next_delimiter(&mut self, at: u64) -> io::Result<Option<Delimiter>> {
        let mut at = at;
        if self.open.iter().all(|open| open.closed) {
            return Ok(None);
        }
        let mut line_start = true;
        while at < self.end {
            let view = self.window.at(at, 4096)?;
            let dashes = if line_start && view.starts_with(b"--") {
                0
            } else if let Some(found) = memmem::find(view, b"\n--") {
                found as u64 + 1
            } else {
                // A line end and dashes may straddle two views.
                let seen = (view.len() as u64).saturating_sub(2).max(1);
                at += seen;
                line_start = false;
                continue;
            };
            let start = at + dashes;
            let line = self.window.line(start, self.end, MAX_LINE)?;
            let found = match_boundary(&self.open, line);
            if found.is_none() {
                let begun = self.open.iter().rev().find(|open| {
                    !open.closed
                        && !open.lax
                        && after_boundary(open, line).is_some_and(|(close, _)| !close)
                });
                self.candidates.extend(begun.map(|open| open.part));
            }
            if let Some((level, close)) = found {
                let end = start + line.len() as u64;
                let ended = line.ends_with(b"\n");
                return Ok(Some(Delimiter {
                    level,
                    close,
                    line: start..end,
                    ended,
                }));
            }
            at = start + 2;
            line_start = false;
        }
        Ok(None)
    }

    /// The offset of the line end before a line: it belongs to the boundary (RFC 2046 §5.1.1).
    fn before_line_end(&mut self, line: u64) -> io::Result<u64> {
        let from = line.saturating_sub(2);
        let size = line - from;
        let before = self.window.at(from, 2)?;
        let before = before
            .get(..usize::try_from(size).unwrap_or(0))
            .unwrap_or_default();
        Ok(match before {
            b"\r\n" => line - 2,
            [.., b'\n'] => line - 1,
            _ => line,
        })
    }

    /// Ends what is open inside the multipart at `level`, and its own last part or preamble.
    fn close_above(&mut self, level: usize, content_end: u64) {
        let mut end = content_end;
        while self.open.len() > level + 1 {
            if let Some(inner) = self.open.pop() {
                end = self.end_multipart(inner.part, end, content_end);
            }
        }
        if let Some(part) = self.open.get(level).map(|open| open.part) {
            self.end_last_child(part, end, content_end);
        }
    }

    fn close_all(&mut self) {
        let mut end = self.end;
        while let Some(open) = self.open.pop() {
            end = self.end_multipart(open.part, end, self.end);
        }
    }

    /// Ends a multipart that an outer boundary or the end of the message cuts off. Returns the
    /// end that it got.
    ///
    /// The line end before the outer boundary may also be that of a boundary line before it.
    /// The part or epilogue that starts there is empty, and what is around it still covers it.
    fn end_multipart(&mut self, id: usize, end: u64, content_end: u64) -> u64 {
        let epilogue = self.parts.get_mut(id).and_then(|part| {
            let epilogue = part.multipart.as_mut()?.epilogue.as_mut()?;
            epilogue.end = end.max(epilogue.start);
            Some(epilogue.end)
        });
        let end = match epilogue {
            Some(end) => end,
            None => self.end_last_child(id, end, content_end),
        };
        if let Some(part) = self.parts.get_mut(id) {
            part.span.end = end;
        }
        end
    }

    /// The last part of a multipart ends, or its preamble if it has no part yet. Returns the
    /// end that it got. What the next boundary's line end leaves of the content ends at `content_end`.
    fn end_last_child(&mut self, id: usize, end: u64, content_end: u64) -> u64 {
        let last = self
            .parts
            .get(id)
            .and_then(|part| part.children.last().copied());
        if let Some(child) = last.and_then(|last| self.parts.get_mut(last.0)) {
            child.span.end = end.max(child.span.start);
            child.shares_line_end = content_end < child.span.end;
            return child.span.end;
        }
        let multipart = self.parts.get_mut(id).and_then(|p| p.multipart.as_mut());
        let Some(preamble) = multipart.map(|m| &mut m.preamble) else {
            return end;
        };
        preamble.end = end.max(preamble.start);
        preamble.end
    }
}

/// What follows the boundary of a multipart on a line that begins with it, and whether that is a closing line.
fn after_boundary<'l>(open: &Open, line: &'l [u8]) -> Option<(bool, &'l [u8])> {
    let tail = line
        .strip_prefix(b"--")?
        .strip_prefix(open.boundary.as_slice())?;
    Some(match tail.strip_prefix(b"--") {
        Some(tail) => (true, tail),
        None => (false, tail),
    })
}

/// The innermost open multipart whose boundary `line` is, and whether it is the closing one.
fn match_boundary(open: &[Open], line: &[u8]) -> Option<(usize, bool)> {
    if !line.starts_with(b"--") {
        return None;
    }
    let find = |lax: bool| {
        open.iter().enumerate().rev().find_map(|(level, open)| {
            let (close, tail) = after_boundary(open, line)?;
            // The end of a longer line is not known.
            let fits = tail.trim_ascii().is_empty() || lax && line.len() < MAX_LINE;
            (!open.closed && open.lax >= lax && fits).then_some((level, close))
        })
    };
    find(false).or_else(|| find(true))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::tests::Slow;
    use proptest::prelude::*;

    fn tree(text: &str) -> Parts {
        Parts::parse(text.as_bytes(), Limits::default()).unwrap()
    }

    fn outline(text: &str) -> Vec<(String, String)> {
        let parts = tree(text);
        parts
            .iter()
            .map(|(id, part)| {
                let body = part.read_body(text.as_bytes(), true).unwrap();
                let body =
                    body.map_or("-".to_owned(), |b| String::from_utf8_lossy(&b).into_owned());
                (parts.path(id), body)
            })
            .collect()
    }

    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter()
            .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
            .collect()
    }

    const NESTED: &str = "Content-Type: multipart/mixed; boundary=a\r\n\r\npre\r\n--a\r\n\r\none\r\n\
        --a\r\nContent-Type: multipart/alternative; boundary=\"b b\"\r\n\r\n--b b\r\nX: y\r\n\r\ntwo\r\n\
        --b b\r\nContent-Type: Text/HTML; name=\"x.html\"\r\nContent-Transfer-Encoding: base64\r\n\r\ndGhyZWU=\r\n--b b--\r\nepi b\r\n\
        --a--\r\nepi";

    #[test]
    fn a_nested_message_has_its_parts_in_order() {
        assert_eq!(
            outline(NESTED),
            pairs(&[
                ("0", "-"),
                ("0.1", "one"),
                ("0.2", "-"),
                ("0.2.1", "two"),
                ("0.2.2", "three")
            ])
        );
        let parts = tree(NESTED);
        let text =
            |range: Option<Range<u64>>| range.map(|r| &NESTED[r.start as usize..r.end as usize]);
        let root = parts.get(PartId::ROOT).unwrap();
        assert_eq!(text(root.preamble()), Some("pre"));
        assert_eq!(text(root.epilogue()), Some("epi"));
        let inner = parts.get(parts.by_path("0.2").unwrap()).unwrap();
        assert_eq!(text(inner.preamble()), Some(""));
        assert_eq!(text(inner.epilogue()), Some("epi b"));
        assert!(parts.iter().all(|(_, part)| part.errors().is_empty()));
        let html = parts.get(parts.by_path("0.2.2").unwrap()).unwrap();
        assert_eq!(html.content_type().as_deref(), Some("text/html"));
        assert_eq!(html.file_name().as_deref(), Some("x.html"));
        assert_eq!(parts.by_path("0.3"), None);
        assert_eq!(parts.by_path("0.02"), None);
        assert_eq!(parts.descendants(PartId::ROOT).count(), 4);
        assert_eq!(parts.descendants(PartId(2)).count(), 2);
        assert_eq!(parts.descendants(PartId(1)).count(), 0);
    }

    #[test]
    fn an_unclosed_boundary_is_reported_where_it_is() {
        let text = "Content-Type: multipart/mixed; boundary=a\n\n--a\n\
            Content-Type: multipart/mixed; boundary=b\n\n--b\n\nx\n--a\n\ny\n--a--\n";
        assert_eq!(
            outline(text),
            pairs(&[("0", "-"), ("0.1", "-"), ("0.1.1", "x"), ("0.2", "y")])
        );
        let parts = tree(text);
        let errors: Vec<_> = parts.iter().map(|(_, p)| p.errors()).collect();
        assert_eq!(
            errors,
            [vec![], vec![PartError::UnclosedBoundary], vec![], vec![]]
        );
    }

    #[test]
    fn a_boundary_inside_a_header_ends_it() {
        let text =
            "Content-Type: multipart/mixed; boundary=\"a:b\"\n\n--a:b\nX: 1\n--a:b\n\nz\n--a:b--";
        assert_eq!(
            outline(text),
            pairs(&[("0", "-"), ("0.1", ""), ("0.2", "z")])
        );
    }

    #[test]
    fn something_may_follow_a_boundary_that_stands_on_no_line_alone() {
        let text = "Content-Type: multipart/mixed; boundary=a\n\n--a junk\n\none\n--ab\n\ntwo\n--a-- end\nepi\n--a--\n";
        assert_eq!(
            outline(text),
            pairs(&[("0", "-"), ("0.1", "one"), ("0.2", "two")])
        );
        // A boundary that begins with another one stays its own.
        let text = "Content-Type: multipart/mixed; boundary=a\n\n--a\n\
            Content-Type: multipart/mixed; boundary=ab\n\n--ab\n\nx\n--ab--\n--ac\n--a--\n";
        assert_eq!(
            outline(text),
            pairs(&[("0", "-"), ("0.1", "-"), ("0.1.1", "x")])
        );
        // Both at once, one inside the other.
        let text = "Content-Type: multipart/mixed; boundary=a\n\n--a x\n\
            Content-Type: multipart/mixed; boundary=b\n\n--b x\n\ny\n--b--\n--a--\n";
        assert_eq!(
            outline(text),
            pairs(&[("0", "-"), ("0.1", "-"), ("0.1.1", "y")])
        );
        // No part at all: the text is the body.
        let text = "Content-Type: multipart/mixed; boundary=a\n\nbody\n--a--\n";
        assert_eq!(outline(text), pairs(&[("0", "body\n--a--\n")]));
    }

    #[test]
    fn depth_and_number_of_parts_are_bounded() {
        let mut deep = String::new();
        for i in 0..3000 {
            deep += &format!("Content-Type: multipart/mixed; boundary=b{i}\n\n--b{i}\n");
        }
        let limits = Limits {
            depth: 50,
            parts: 10_000,
        };
        assert_eq!(
            Parts::parse(deep.as_bytes(), limits)
                .unwrap()
                .iter()
                .count(),
            51
        );
        let wide =
            "Content-Type: multipart/mixed; boundary=b\n".to_owned() + &"\n--b\n".repeat(500);
        let limits = Limits {
            depth: 50,
            parts: 100,
        };
        assert_eq!(
            Parts::parse(wide.as_bytes(), limits)
                .unwrap()
                .iter()
                .count(),
            100
        );
    }

    proptest! {
        #[test]
        fn any_text_gives_parts_inside_their_parents(words in proptest::collection::vec(
            prop_oneof![
                Just("--a\n"), Just("--a--\n"), Just("--b\r\n"), Just("--b--\r\n"), Just("\n"), Just("\r\n"),
                Just("Content-Type: multipart/x; boundary=b\r\n"), Just("text\n"), Just("X: y\n"), Just("--"), Just(" "),
                Just("Content-Type: multipart/x; boundary=a\n"),
            ], 0..40))
        {
            let text = "Content-Type: multipart/mixed; boundary=a\n".to_owned() + &words.concat();
            let parts = tree(&text);
            let slow = Parts::parse(&Slow(text.as_bytes()), Limits::default()).unwrap();
            prop_assert_eq!(parts.iter().count(), slow.iter().count());
            let mut last = 0;
            for ((id, part), (_, other)) in parts.iter().zip(slow.iter()) {
                prop_assert_eq!(&part.span, &other.span);
                prop_assert!(part.span.start >= last && part.span.end <= text.len() as u64);
                last = part.span.start;
                prop_assert!(part.body().end <= part.span.end);
                if let Some(line) = part.delimiter {
                    prop_assert!(line.start <= line.dash && line.dash < line.end);
                    prop_assert_eq!(line.end, part.span.start);
                }
                if let Some(parent) = part.parent {
                    let parent = parts.get(parent).unwrap();
                    prop_assert!(parent.span.start <= part.span.start && part.span.end <= parent.span.end);
                }
                prop_assert_eq!(parts.by_path(&parts.path(id)), Some(id));
            }
        }
    }
}
