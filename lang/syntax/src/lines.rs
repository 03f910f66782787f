//! The lines of a source text and how far they are indented.

use crate::token::Token;

/// One line.
#[derive(Clone, Copy, Debug)]
struct Line {
    start: u32,
    /// Offset of the first byte that is neither space nor tab.
    text: u32,
    /// Width of what is before; a tab counts as four spaces.
    indent: u32,
}

pub(crate) struct Lines {
    lines: Vec<Line>,
}

impl Lines {
    pub(crate) fn new(source: &[u8]) -> Self {
        let mut lines = Vec::new();
        let mut start = 0_u32;
        for line in source.split_inclusive(|byte| *byte == b'\n') {
            let mut text = start;
            let mut indent = 0_u32;
            for byte in line {
                match byte {
                    b' ' => indent += 1,
                    b'\t' => indent += 4,
                    _ => break,
                }
                text += 1;
            }
            lines.push(Line {
                start,
                text,
                indent,
            });
            start = start.saturating_add(u32::try_from(line.len()).unwrap_or(u32::MAX));
        }
        Self { lines }
    }

    fn number(&self, offset: u32) -> usize {
        self.lines
            .partition_point(|line| line.start <= offset)
            .saturating_sub(1)
    }

    fn at(&self, offset: u32) -> Option<Line> {
        self.lines.get(self.number(offset)).copied()
    }

    pub(crate) fn same(&self, first: u32, second: u32) -> bool {
        self.number(first) == self.number(second)
    }

    /// Whether nothing stands before the token on its line.
    pub(crate) fn starts_with(&self, token: Token) -> bool {
        token.start != token.end
            && self
                .at(token.start)
                .is_some_and(|line| line.text == token.start)
    }

    /// How far the line of `offset` is indented.
    pub(crate) fn indent(&self, offset: u32) -> u32 {
        self.at(offset).map_or(0, |line| line.indent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::TokenKind;

    #[test]
    fn indentation_counts_tabs_as_four() {
        let lines = Lines::new(b"a\n  b c\n\td\n\n");
        assert_eq!([0, 4, 6, 9, 11].map(|at| lines.indent(at)), [0, 2, 2, 4, 0]);
        assert!(lines.same(4, 6) && !lines.same(0, 4));
        let token = |start, end| Token {
            kind: TokenKind::Name,
            start,
            end,
        };
        assert!(
            lines.starts_with(token(4, 5))
                && !lines.starts_with(token(6, 7))
                && lines.starts_with(token(9, 10))
        );
    }
}
