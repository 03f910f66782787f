//! Places in source text: files, byte ranges, lines and columns.
//!
//! A [`Span`] is three numbers and cheap to copy; only a [`SourceMap`] can turn it into a file
//! name, a line and a column, so the tree and the bytecode carry spans and nothing else.
//!
//! Lines and columns count from 1. A column counts characters: every UTF-8 character is one column,
//! and so is every byte that is not part of a valid one. A tab is one column.

use std::fmt;
use std::sync::Arc;

/// The number of a file in a [`SourceMap`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId(pub u32);

/// A range of bytes in one source file; `end` is not included.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Span {
    /// The file.
    pub file: FileId,
    /// Offset of the first byte.
    pub start: u32,
    /// Offset after the last byte.
    pub end: u32,
}

impl Span {
    /// Makes a span of the bytes `start..end` of `file`.
    #[must_use]
    pub const fn new(file: FileId, start: u32, end: u32) -> Self {
        Self { file, start, end }
    }

    /// The smallest span that covers `self` and `other`, which lie in one file.
    #[must_use]
    pub fn to(self, other: Self) -> Self {
        Self {
            file: self.file,
            start: self.start.min(other.start),
            end: self.end.max(other.end),
        }
    }

    /// The empty span just before `self`.
    #[must_use]
    pub const fn before(self) -> Self {
        Self {
            file: self.file,
            start: self.start,
            end: self.start,
        }
    }

    /// The empty span just after `self`.
    #[must_use]
    pub const fn after(self) -> Self {
        Self {
            file: self.file,
            start: self.end,
            end: self.end,
        }
    }

    /// Whether `other` lies inside `self`.
    #[must_use]
    pub fn contains(self, other: Self) -> bool {
        self.file == other.file && self.start <= other.start && other.end <= self.end
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}..{}", self.file.0, self.start, self.end)
    }
}

/// A line and a column, both from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position {
    /// Line number.
    pub line: u32,
    /// Column, in characters (see the module's text).
    pub column: u32,
}

/// A source text is longer than the 4 GiB that a [`Span`] can address, or there are too many files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceTooLarge;

impl fmt::Display for SourceTooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("source text is too large")
    }
}

impl std::error::Error for SourceTooLarge {}

/// One source text with its name.
#[derive(Clone, Debug)]
pub struct SourceFile {
    name: Arc<str>,
    text: Arc<[u8]>,
    /// Offset of the first byte of each line.
    lines: Arc<[u32]>,
}

impl SourceFile {
    fn new(name: Arc<str>, text: Arc<[u8]>) -> Result<Self, SourceTooLarge> {
        u32::try_from(text.len()).map_err(|_| SourceTooLarge)?;
        let ends = memchr::memchr_iter(b'\n', &text);
        let lines = std::iter::once(0).chain(ends.map(|end| end as u32 + 1));
        let lines = lines.collect();
        Ok(Self { name, text, lines })
    }

    /// The name that messages show.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The bytes of the file.
    #[must_use]
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// The line and column of the byte at `offset`; beyond the end counts as the end.
    #[must_use]
    pub fn position(&self, offset: u32) -> Position {
        let line = self.lines.partition_point(|start| *start <= offset).max(1);
        let start = self.lines.get(line - 1).copied().unwrap_or(0) as usize;
        let end = (offset as usize).clamp(start, self.text.len().max(start));
        let before = self.text.get(start..end).unwrap_or_default();
        // A byte order mark at the start is not part of the first line.
        let before = if start == 0 {
            before.strip_prefix(BOM).unwrap_or(before)
        } else {
            before
        };
        Position {
            line: u32::try_from(line).unwrap_or(u32::MAX),
            column: u32::try_from(columns(before))
                .unwrap_or(u32::MAX)
                .saturating_add(1),
        }
    }

    /// The bytes of a line (from 1) without its line end; empty if there is no such line.
    #[must_use]
    pub fn line(&self, line: u32) -> &[u8] {
        let index = (line as usize).wrapping_sub(1);
        let Some(start) = self.lines.get(index) else {
            return &[];
        };
        let end = self
            .lines
            .get(index.saturating_add(1))
            .map_or(self.text.len(), |next| *next as usize);
        let text = self.text.get(*start as usize..end).unwrap_or_default();
        let text = text.strip_suffix(b"\n").unwrap_or(text);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        if line == 1 {
            text.strip_prefix(BOM).unwrap_or(text)
        } else {
            text
        }
    }

    /// The number of lines; a final line feed does not start another one.
    #[must_use]
    pub fn line_count(&self) -> u32 {
        let count =
            self.lines.len() - usize::from(self.text.last().is_none_or(|byte| *byte == b'\n'));
        u32::try_from(count).unwrap_or(u32::MAX)
    }
}

/// The UTF-8 byte order mark, which is skipped at the start of a file.
pub(crate) const BOM: &[u8] = b"\xef\xbb\xbf";

/// The number of columns that `text` fills.
pub(crate) fn columns(text: &[u8]) -> usize {
    text.utf8_chunks()
        .map(|chunk| chunk.valid().chars().count() + chunk.invalid().len())
        .sum()
}

/// All source files of one compilation.
#[derive(Clone, Debug, Default)]
pub struct SourceMap {
    files: Vec<SourceFile>,
}

impl SourceMap {
    /// Makes an empty map.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a file under the name that messages show.
    ///
    /// # Errors
    /// [`SourceTooLarge`] if a [`Span`] could not address it.
    pub fn add(
        &mut self,
        name: impl Into<Arc<str>>,
        text: impl Into<Arc<[u8]>>,
    ) -> Result<FileId, SourceTooLarge> {
        let id = u32::try_from(self.files.len()).map_err(|_| SourceTooLarge)?;
        self.files.push(SourceFile::new(name.into(), text.into())?);
        Ok(FileId(id))
    }

    /// The file with that number.
    #[must_use]
    pub fn file(&self, id: FileId) -> Option<&SourceFile> {
        self.files.get(id.0 as usize)
    }

    /// The name of a file; `?` if there is none with that number.
    #[must_use]
    pub fn name(&self, id: FileId) -> &str {
        self.file(id).map_or("?", SourceFile::name)
    }

    /// Where `span` starts.
    #[must_use]
    pub fn position(&self, span: Span) -> Position {
        self.file(span.file)
            .map_or(Position { line: 1, column: 1 }, |file| {
                file.position(span.start)
            })
    }

    /// Where `span` ends (the place after its last byte).
    #[must_use]
    pub fn end_position(&self, span: Span) -> Position {
        self.position(span.after())
    }

    /// The source text of `span`.
    #[must_use]
    pub fn text(&self, span: Span) -> &[u8] {
        self.file(span.file)
            .and_then(|file| file.text().get(span.start as usize..span.end as usize))
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &[u8]) -> SourceFile {
        SourceFile::new("t.hsl".into(), text.into()).expect("small")
    }

    fn at(text: &[u8], offset: u32) -> (u32, u32) {
        let position = file(text).position(offset);
        (position.line, position.column)
    }

    #[test]
    fn lines_and_columns_count_from_one() {
        assert_eq!(at(b"ab\ncd", 0), (1, 1));
        assert_eq!(at(b"ab\ncd", 2), (1, 3));
        assert_eq!(at(b"ab\ncd", 3), (2, 1));
        assert_eq!(at(b"ab\ncd", 5), (2, 3));
        assert_eq!(at(b"ab\ncd", 99), (2, 3));
        assert_eq!(at(b"", 0), (1, 1));
    }

    #[test]
    fn a_column_is_a_character_or_an_invalid_byte() {
        assert_eq!(at("åäö x".as_bytes(), 7), (1, 5));
        assert_eq!(at(b"\xff\xfe x", 3), (1, 4));
        assert_eq!(at(b"\tx", 1), (1, 2));
    }

    #[test]
    fn a_byte_order_mark_has_no_column() {
        assert_eq!(at(b"\xef\xbb\xbfx", 3), (1, 1));
        assert_eq!(file(b"\xef\xbb\xbfx\n").line(1), b"x");
    }

    #[test]
    fn a_line_comes_without_its_end() {
        let file = file(b"a\r\nb\n\nc");
        assert_eq!(file.line(1), b"a");
        assert_eq!(file.line(2), b"b");
        assert_eq!(file.line(3), b"");
        assert_eq!(file.line(4), b"c");
        assert_eq!(file.line(5), b"");
        assert_eq!(file.line(0), b"");
        assert_eq!(file.line_count(), 4);
    }
}
