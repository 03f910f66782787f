//! Splits the input into command lines with bounded memory.

use memchr::memchr;

use crate::Time;

/// Gathers a command line that comes in pieces.
#[derive(Debug, Default)]
pub(super) struct LineReader {
    buffer: Vec<u8>,
    /// The line is too long already; only its end is looked for.
    skipping: bool,
    /// The last byte read, to know a CRLF that is split.
    last: u8,
    /// When the first byte of an unfinished line came.
    pub(super) started: Option<Time>,
}

/// What a read gave.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    /// No line end yet.
    Partial,
    /// A line without its end.
    Complete(&'a [u8]),
    /// A line over the limit; nothing of it is kept.
    TooLong,
    /// A line that ends in a bare LF, which is not allowed.
    BareLf,
}

impl LineReader {
    /// Reads up to the next line end; returns how many bytes were used.
    pub(super) fn read<'a>(
        &'a mut self,
        input: &'a [u8],
        limit: usize,
        bare_lf: bool,
    ) -> (usize, Line<'a>) {
        let Some(end) = memchr(b'\n', input) else {
            self.last = input.last().copied().unwrap_or(self.last);
            // One byte more than the limit may be the CR.
            if !self.skipping && self.buffer.len() + input.len() <= limit + 1 {
                self.buffer.extend_from_slice(input);
            } else {
                self.skipping = true;
                self.buffer = Vec::new();
            }
            return (input.len(), Line::Partial);
        };
        let piece = input.get(..end).unwrap_or_default();
        let bare = piece.last().copied().unwrap_or(self.last) != b'\r';
        let used = end + 1;
        if bare && !bare_lf {
            return (used, Line::BareLf);
        }
        let line = if self.buffer.is_empty() {
            piece
        } else {
            // Not more than the limit and a piece of the driver's buffer, and only for a moment.
            self.buffer.extend_from_slice(piece);
            &self.buffer
        };
        let line = if bare {
            line
        } else {
            line.strip_suffix(b"\r").unwrap_or(line)
        };
        if self.skipping || line.len() > limit {
            return (used, Line::TooLong);
        }
        (used, Line::Complete(line))
    }

    /// Whether the line under way starts so, in any case.
    pub(super) fn starts_with(&self, input: &[u8], prefix: &[u8]) -> bool {
        let mut bytes = self.buffer.iter().chain(input);
        prefix.iter().all(|wanted| {
            bytes
                .next()
                .is_some_and(|byte| byte.eq_ignore_ascii_case(wanted))
        })
    }

    /// Whether a line is under way.
    pub(super) fn is_partial(&self) -> bool {
        self.started.is_some()
    }

    /// Forgets the line.
    pub(super) fn reset(&mut self) {
        // An idle session keeps no buffer that one long line made big.
        if self.buffer.capacity() > 512 {
            self.buffer = Vec::new();
        }
        self.buffer.clear();
        self.skipping = false;
        self.last = 0;
        self.started = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pieces: &[&str], limit: usize) -> Vec<String> {
        let mut reader = LineReader::default();
        let mut lines = Vec::new();
        for piece in pieces {
            let mut rest = piece.as_bytes();
            while !rest.is_empty() {
                let (used, line) = reader.read(rest, limit, false);
                let done = line != Line::Partial;
                match line {
                    Line::Partial => {}
                    Line::Complete(line) => lines.push(String::from_utf8_lossy(line).into_owned()),
                    other => lines.push(format!("{other:?}")),
                }
                rest = &rest[used..];
                if done {
                    reader.reset();
                }
                assert!(reader.buffer.len() <= limit + 1, "memory is bounded");
            }
        }
        lines
    }

    #[test]
    fn lines_are_found_however_they_are_split() {
        assert_eq!(read(&["NOOP\r\nQUIT\r\n"], 10), ["NOOP", "QUIT"]);
        assert_eq!(
            read(&["NO", "OP", "\r", "\nQUIT\r", "\n"], 10),
            ["NOOP", "QUIT"]
        );
        assert_eq!(read(&["\r\n"], 10), [""]);
    }

    #[test]
    fn the_limit_counts_without_crlf() {
        assert_eq!(read(&["12345\r\n"], 5), ["12345"]);
        assert_eq!(read(&["123456\r\nA\r\n"], 5), ["TooLong", "A"]);
        assert_eq!(read(&["12345", "\r", "\n"], 5), ["12345"]);
        assert_eq!(read(&["12345", "6", "\r\n"], 5), ["TooLong"]);
        assert_eq!(
            read(&["123456789", "0123", "x\r", "\nA\r\n"], 5),
            ["TooLong", "A"]
        );
    }

    #[test]
    fn a_bare_lf_is_told_apart() {
        assert_eq!(read(&["NOOP\n"], 10), ["BareLf"]);
        assert_eq!(read(&["NO\rOP\n"], 10), ["BareLf"]);
        assert_eq!(read(&["1234567890123\n"], 10), ["BareLf"]);
        let mut reader = LineReader::default();
        assert_eq!(
            reader.read(b"NOOP\n", 10, true),
            (5, Line::Complete(b"NOOP"))
        );
    }
}
