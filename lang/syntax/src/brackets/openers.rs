//! Where the opener of a closer without one belongs.

use super::{Brace, MAX_GUESSES, Opener, Pairing};
use crate::diagnostic::Diagnostic;
use crate::token::{Token, TokenKind};

impl Pairing<'_> {
    /// Finds the line to which a closer at the start of a line belongs, as in `if (…)` without its `{`, and
    /// opens the bracket at the end of that line.
    pub(super) fn open_before(&mut self, closer: Token, indent: u32) -> bool {
        let from = self.stack.last().map_or(0, |top| top.index + 1);
        let mut line_end = self.out.tokens.len();
        for index in (from..self.out.tokens.len()).rev() {
            let Some(left) = self.budget.checked_sub(1) else {
                return false;
            };
            self.budget = left;
            let Some(token) = self.out.tokens.get(index).copied() else {
                return false;
            };
            if !self.lines.starts_with(token) {
                continue;
            }
            if self.lines.indent(token.start) > indent {
                line_end = index;
                continue;
            }
            let first = if token.kind == TokenKind::RBrace {
                index + 1
            } else {
                index
            };
            return self.lines.indent(token.start) == indent
                && self.open_at(closer, first, line_end);
        }
        // The line that opened what is open now may have opened more: `f([` without its `[`.
        match self.stack.last().map(|top| top.index) {
            Some(top)
                if self
                    .innermost()
                    .is_some_and(|open| self.lines.indent(open.start) == indent) =>
            {
                self.open_at(closer, top, line_end)
            }
            _ => false,
        }
    }

    /// The same for `function f() return 1; }` on one line.
    pub(super) fn open_on_line(&mut self, closer: Token) -> bool {
        let from = self.stack.last().map_or(0, |top| top.index + 1);
        let mut depth = 0_u32;
        let mut end = None;
        for index in (from..self.out.tokens.len()).rev() {
            let Some(token) = self.out.tokens.get(index).copied() else {
                return false;
            };
            let Some(left) = self.budget.checked_sub(1) else {
                return false;
            };
            self.budget = left;
            if !self.lines.same(token.start, closer.start) {
                return false;
            }
            match token.kind {
                kind if kind.is_closer() => {
                    if kind == TokenKind::RParen && depth == 0 {
                        end = Some(index + 1);
                    }
                    depth += 1;
                }
                kind if kind.is_opener() => depth = depth.saturating_sub(1),
                kind if depth == 0 && opens_block(kind) => {
                    return self.open_at(closer, index, end.unwrap_or(index + 1));
                }
                _ => {}
            }
        }
        false
    }

    /// Opens the partner of `closer` before the token `end`, if the tokens `first..end` can stand before it.
    pub(super) fn open_at(&mut self, closer: Token, first: usize, end: usize) -> bool {
        let line = self.out.tokens.get(first..end).unwrap_or_default();
        let (Some(header), Some(last)) = (line.first().copied(), line.last().copied()) else {
            return false;
        };
        let kind = closer.kind.partner();
        let function = line
            .iter()
            .any(|token| matches!(token.kind, TokenKind::Function | TokenKind::Match));
        let fits = match kind {
            TokenKind::LBrace => {
                (opens_block(header.kind) || function && last.kind == TokenKind::RParen)
                    && !matches!(
                        last.kind,
                        TokenKind::LBrace | TokenKind::Semi | TokenKind::RBrace
                    )
            }
            // An array or a call that goes over several lines.
            _ => {
                last.kind.is_sign() && !last.kind.ends_operand() && last.kind != TokenKind::Semi
                    || last.kind == TokenKind::Name
            }
        };
        if !fits || self.out.errors.len() >= MAX_GUESSES {
            return false;
        }
        let brace = match header.kind {
            TokenKind::Switch => Brace::Switch,
            TokenKind::Class => Brace::Class,
            kind if opens_block(kind) => Brace::Block,
            _ if line.iter().any(|token| token.kind == TokenKind::Match) => Brace::Match,
            _ => Brace::Function,
        };
        self.report_missing(last, kind, closer, end);
        self.insert_opener(closer, last, end, brace);
        true
    }

    /// Reports that `closer` has no opener of the `kind`, which should have stood behind `last`, before the token `end`.
    pub(super) fn report_missing(
        &mut self,
        last: Token,
        kind: TokenKind,
        closer: Token,
        end: usize,
    ) {
        let (opener, closing) = (kind.name(), closer.kind.name());
        // An opener of the kind is there, and another closer has taken it.
        let taken = end.checked_sub(1).filter(|_| last.kind == kind);
        let error = match taken.and_then(|at| self.closer_of(at)) {
            Some(taken) => Diagnostic::error(
                taken.span(self.file),
                format!("`{opener}` is missing before this `{closing}`"),
            )
            .also(
                last.span(self.file),
                format!("without it, it closes this `{opener}`"),
            )
            .hint(format!("put `{opener}` before it, or remove it")),
            None => Diagnostic::error(
                last.span(self.file).after(),
                format!("`{opener}` is missing here"),
            )
            .hint(format!("put `{opener}` here, or remove the `{closing}`")),
        };
        self.report(
            error
                .also(
                    closer.span(self.file),
                    format!("this `{closing}` has no partner"),
                )
                .expected(vec![format!("`{opener}`")]),
        );
    }

    /// What closes the opener at `index` of the output.
    pub(super) fn closer_of(&mut self, index: usize) -> Option<Token> {
        let mut depth = 0_usize;
        for token in self.out.tokens.iter().skip(index) {
            self.budget = self.budget.checked_sub(1)?;
            if token.kind.is_opener() {
                depth += 1;
            } else if token.kind.is_closer() {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return Some(*token);
                }
            }
        }
        None
    }

    /// Puts the opener of `closer` behind `last`, before the token `end` of the output, and closes it.
    pub(super) fn insert_opener(&mut self, closer: Token, last: Token, end: usize, brace: Brace) {
        let kind = closer.kind.partner();
        let open = Token {
            kind,
            start: last.end,
            end: last.end,
        };
        if kind == TokenKind::LBrace {
            self.out.braces.push((open.start, brace));
        }
        self.stack.push(Opener {
            kind,
            brace,
            index: end,
            input: self.at,
            semicolons: 0,
            reported: true,
        });
        self.out.tokens.insert(end, open);
    }

    /// The place of a missing `(`: a word that an operand follows, `if $x)` or `f $x)`, in the statement at hand.
    pub(super) fn open_after_word(&mut self, closer: Token) -> bool {
        if !self.by_indent() || closer.kind != TokenKind::RParen || self.cut.is_some() {
            return false;
        }
        let from = self.stack.last().map_or(0, |top| top.index + 1);
        let mut depth = 0_usize;
        for index in (from..self.out.tokens.len()).rev() {
            let Some(left) = self.budget.checked_sub(1) else {
                return false;
            };
            self.budget = left;
            let Some(word) = self.out.tokens.get(index).copied() else {
                return false;
            };
            match word.kind {
                kind if kind.is_closer() => depth += 1,
                kind if kind.is_opener() => depth = depth.saturating_sub(1),
                TokenKind::Semi | TokenKind::EndOfBlock => return false,
                TokenKind::Name
                | TokenKind::If
                | TokenKind::While
                | TokenKind::Foreach
                | TokenKind::Switch
                | TokenKind::Isset
                | TokenKind::Unset
                    if depth == 0
                        && self
                            .out
                            .tokens
                            .get(index + 1)
                            .is_some_and(|next| next.kind.starts_operand()) =>
                {
                    if self.out.errors.len() >= MAX_GUESSES {
                        return false;
                    }
                    self.report_missing(word, TokenKind::LParen, closer, index + 1);
                    self.insert_opener(closer, word, index + 1, Brace::Other);
                    return true;
                }
                _ => {}
            }
        }
        false
    }
}

/// Words that start a line with a block behind it.
fn opens_block(kind: TokenKind) -> bool {
    matches!(
        kind,
        TokenKind::If
            | TokenKind::Else
            | TokenKind::For
            | TokenKind::Foreach
            | TokenKind::Forever
            | TokenKind::While
            | TokenKind::Switch
            | TokenKind::Function
            | TokenKind::Constructor
            | TokenKind::Class
            | TokenKind::Try
            | TokenKind::Catch
            | TokenKind::Private
            | TokenKind::Static
            | TokenKind::Barrier
    )
}
