//! Pairs of brackets: finds them, repairs what does not pair, and tells what each `{` opens.
//!
//! This runs before the grammar, so that one missing bracket costs one message at the place where it
//! belongs and not a message at the end of the file. It also puts the token [`TokenKind::EndOfBlock`]
//! where the `;` of a last statement may be left out.
//!
//! How a mistake is found: a `;`, a word that only starts statements or a `{` that opens a block cannot
//! stand inside `(` or `[`, so an opener that is still open there is not closed. For braces the
//! text gives no such sign; when they do not come out even, the indentation of their lines decides.
//! Where a missing opener belongs is guessed in [`openers`].

mod openers;

use crate::ast::MAX_NESTING;
use crate::builder::too_deep;
use crate::diagnostic::Diagnostic;
use crate::lines::Lines;
use crate::span::FileId;
use crate::token::{Token, TokenKind};
use crate::words;
use std::collections::BTreeSet;

/// What a `{` opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Brace {
    /// Statements, as part of a statement.
    Block,
    /// Statements, as the body of an anonymous function.
    Function,
    /// The cases of a `switch`.
    Switch,
    /// The members of a class.
    Class,
    /// The arms of a `match`.
    Match,
    /// The names of an import.
    Import,
    /// Nothing that HSL knows; most probably an object literal of another language.
    Other,
}

/// So often the place of a missing opener is guessed.
const MAX_GUESSES: usize = 40;
/// No more errors than that are kept; a report shows far fewer.
const MAX_KEPT: usize = 1000;

/// The result of [`pair`].
#[derive(Debug, Default)]
pub(crate) struct Paired {
    /// The tokens, with every bracket paired.
    pub tokens: Vec<Token>,
    /// What each `{` opens, by the offset of its start.
    pub braces: Vec<(u32, Brace)>,
    pub errors: Vec<Diagnostic>,
}

/// Pairs the brackets of `tokens`.
pub(crate) fn pair(tokens: &[Token], source: &[u8], file: FileId) -> Paired {
    let no_lines = Lines::new(b"");
    let (paired, _) = Pairing::new(tokens, source, file, &no_lines, Guess::Nothing).run();
    if paired.errors.is_empty() {
        return paired;
    }
    // With an error somewhere it pays to look at the indentation.
    let lines = Lines::new(source);
    let (paired, open) = Pairing::new(tokens, source, file, &lines, Guess::ByIndent).run();
    if open.is_empty() {
        return paired;
    }
    // A brace that is open at the end has swallowed statements that stand further to the left.
    Pairing::new(tokens, source, file, &lines, Guess::ByDedent(open))
        .run()
        .0
}

/// What is used to find the place of a missing bracket.
enum Guess {
    Nothing,
    /// The indentation of closers.
    ByIndent,
    /// The indentation of closers, and of what follows these `{` (indexes in the input).
    ByDedent(BTreeSet<usize>),
}

struct Opener {
    kind: TokenKind,
    brace: Brace,
    /// Its index in the output.
    index: usize,
    /// Its index in the input.
    input: usize,
    /// How many `;` may still follow directly inside: two for the header of a `for`.
    semicolons: u8,
    /// Whether the statement that it belongs to has been reported.
    reported: bool,
}

struct Pairing<'a> {
    tokens: &'a [Token],
    source: &'a [u8],
    file: FileId,
    lines: &'a Lines,
    guess: Guess,
    /// How many tokens may still be looked at again; keeps the time linear.
    budget: usize,
    out: Paired,
    stack: Vec<Opener>,
    /// The index in the input of the token at hand.
    at: usize,
    /// The index in the input of the opener that was closed last.
    closed: usize,
    /// How many openers lie outside the one at the depth limit, while the text is inside that one.
    cut: Option<usize>,
}

impl<'a> Pairing<'a> {
    fn new(
        tokens: &'a [Token],
        source: &'a [u8],
        file: FileId,
        lines: &'a Lines,
        guess: Guess,
    ) -> Self {
        let mut out = Paired::default();
        out.tokens.reserve(tokens.len() + tokens.len() / 16 + 1);
        Self {
            tokens,
            source,
            file,
            lines,
            guess,
            budget: tokens.len().saturating_mul(4),
            out,
            stack: Vec::new(),
            at: 0,
            closed: 0,
            cut: None,
        }
    }

    fn by_indent(&self) -> bool {
        !matches!(self.guess, Guess::Nothing)
    }

    /// Gives also the `{` that were open at the end, by their index in the input.
    fn run(mut self) -> (Paired, BTreeSet<usize>) {
        for index in 0..self.tokens.len() {
            let Some(token) = self.tokens.get(index).copied() else {
                break;
            };
            self.at = index;
            self.close_left_of(token);
            match token.kind {
                TokenKind::LParen | TokenKind::LBracket => self.open(token, Brace::Other),
                TokenKind::LBrace => {
                    let brace = self.classify();
                    if brace == Brace::Block {
                        self.close_open_parens(token);
                    }
                    self.open(token, brace);
                }
                TokenKind::RParen | TokenKind::RBracket => self.close_paren(token),
                TokenKind::RBrace => self.close_brace(token),
                TokenKind::Semi => {
                    match self.stack.last_mut() {
                        Some(top) if top.kind == TokenKind::LParen && top.semicolons > 0 => {
                            top.semicolons -= 1
                        }
                        _ => self.close_open_parens(token),
                    }
                    self.push(token);
                }
                kind if kind.starts_stmt_only() => {
                    self.close_open_parens(token);
                    self.push(token);
                }
                _ => self.push(token),
            }
        }
        self.finish()
    }

    fn finish(mut self) -> (Paired, BTreeSet<usize>) {
        let braces = self
            .stack
            .iter()
            .filter(|open| open.kind == TokenKind::LBrace);
        let open = braces.map(|open| open.input).collect();
        let end = self.tokens.last().map_or(0, |token| token.end);
        self.at = self.tokens.len();
        while let Some(top) = self.stack.last() {
            let closer = Token {
                kind: top.kind.partner(),
                start: end,
                end,
            };
            self.report_unclosed(None);
            self.close(closer);
        }
        if !self.ends_statement() {
            self.push(Token {
                kind: TokenKind::EndOfBlock,
                start: end,
                end,
            });
        }
        self.out.braces.sort_by_key(|(start, _)| *start);
        (self.out, open)
    }

    /// Adds a token to the output, unless it lies below the depth limit.
    fn push(&mut self, token: Token) {
        if self.cut.is_none() {
            self.out.tokens.push(token);
        }
    }

    fn report(&mut self, error: Diagnostic) {
        if self.out.errors.len() < MAX_KEPT {
            self.out.errors.push(error);
        }
    }

    /// Whether nothing before stands without its `;`.
    fn ends_statement(&self) -> bool {
        matches!(
            self.out.tokens.last().map(|token| token.kind),
            None | Some(
                TokenKind::Semi | TokenKind::Colon | TokenKind::LBrace | TokenKind::EndOfBlock
            )
        )
    }

    fn open(&mut self, token: Token, brace: Brace) {
        let for_header = token.kind == TokenKind::LParen
            && match self.last_kind(0) {
                Some(TokenKind::For) => true,
                Some(TokenKind::Name) => self
                    .input(1)
                    .is_some_and(|word| words::resembles_for(word.text(self.source))),
                _ => false,
            };
        let index = self.out.tokens.len();
        if token.kind == TokenKind::LBrace {
            self.out.braces.push((token.start, brace));
        }
        if self.stack.len() == usize::from(MAX_NESTING) && self.cut.is_none() {
            self.report(too_deep(token.span(self.file)));
            // All of it is one unknown thing from here on.
            let kind = if brace == Brace::Block {
                TokenKind::Semi
            } else {
                TokenKind::ErrorExpr
            };
            self.push(Token { kind, ..token });
            self.cut = Some(self.stack.len());
        } else {
            self.push(token);
        }
        self.stack.push(Opener {
            kind: token.kind,
            brace,
            index,
            input: self.at,
            semicolons: if for_header { 2 } else { 0 },
            reported: false,
        });
    }

    /// Closes the innermost opener with `closer`, which is of its kind.
    fn close(&mut self, closer: Token) {
        let Some(top) = self.stack.pop() else { return };
        self.closed = top.input;
        if self.cut == Some(self.stack.len()) {
            self.cut = None;
            return;
        }
        let statements = matches!(top.brace, Brace::Block | Brace::Function | Brace::Switch);
        if statements && !self.ends_statement() {
            self.push(Token {
                kind: TokenKind::EndOfBlock,
                start: closer.start,
                end: closer.start,
            });
        }
        self.push(closer);
    }

    fn close_paren(&mut self, token: Token) {
        let wanted = token.kind.partner();
        self.close_right_of(token);
        // Only down to the next brace: what is outside a block cannot end in it.
        let found = self
            .stack
            .iter()
            .rev()
            .take_while(|open| open.kind != TokenKind::LBrace)
            .position(|open| open.kind == wanted);
        match found {
            Some(between) => {
                for _ in 0..between {
                    self.report_unclosed(Some(token));
                    self.close_virtually(token.start);
                }
                self.close(token);
            }
            None => match self.stack.last().map(|top| (top.kind, top.index)) {
                Some((top_kind, top_index))
                    if top_kind != TokenKind::LBrace
                        && !self.has_partner_ahead(top_kind, token) =>
                {
                    // `(1, 2]`: the wrong bracket.
                    let kind = top_kind.partner();
                    let opener = top_index;
                    let right = kind.name();
                    let open = self.out.tokens.get(opener).copied().unwrap_or(token);
                    self.report(
                        Diagnostic::error(
                            token.span(self.file),
                            format!(
                                "`{}` does not close `{}`",
                                token.kind.name(),
                                top_kind.name()
                            ),
                        )
                        .also(open.span(self.file), "opened here")
                        .expected(vec![format!("`{right}`")])
                        .hint(format!("write `{right}`")),
                    );
                    self.close(Token { kind, ..token });
                }
                _ if self.by_indent()
                    && self.lines.starts_with(token)
                    && self.open_before(token, self.lines.indent(token.start)) =>
                {
                    self.close(token);
                }
                _ if self.open_after_word(token) => self.close(token),
                _ => self.report_stray(token),
            },
        }
    }

    /// A closer at the start of a line belongs to the line that is as far left. What lines further right have opened since is
    /// not closed.
    fn close_right_of(&mut self, token: Token) {
        if !self.by_indent() || !self.lines.starts_with(token) {
            return;
        }
        let indent = self.lines.indent(token.start);
        let mut between = 0;
        for open in self.stack.iter().rev() {
            let Some(start) = self.out.tokens.get(open.index).map(|open| open.start) else {
                return;
            };
            let at = self.lines.indent(start);
            if open.kind == token.kind.partner()
                && at == indent
                && !self.lines.same(start, token.start)
            {
                break;
            }
            if open.kind == TokenKind::LBrace || at <= indent {
                return;
            }
            between += 1;
        }
        if between == self.stack.len() {
            return;
        }
        for _ in 0..between {
            let end = self.out.tokens.last().map_or(token.start, |last| last.end);
            self.report_unclosed(None);
            self.close_virtually(end);
        }
    }

    /// Whether the innermost opener is closed before its statement ends, so that `stray` is one too many.
    fn has_partner_ahead(&self, opener: TokenKind, stray: Token) -> bool {
        let start = self
            .tokens
            .partition_point(|token| token.start <= stray.start);
        let mut depth = 0_u32;
        for token in self.tokens.iter().skip(start).take(200) {
            match token.kind {
                TokenKind::Semi | TokenKind::LBrace | TokenKind::RBrace => return false,
                kind if kind == opener => depth += 1,
                kind if kind == opener.partner() => {
                    if depth == 0 {
                        return true;
                    }
                    depth -= 1;
                }
                _ => {}
            }
        }
        false
    }

    fn close_brace(&mut self, token: Token) {
        self.close_open_parens(token);
        if self.by_indent() && self.lines.starts_with(token) {
            let indent = self.lines.indent(token.start);
            // Openers further to the right are not closed: this brace belongs to one further out.
            while self.stack.len() > 1 {
                let Some(top) = self.stack.last() else { break };
                let open = self.out.tokens.get(top.index).copied().unwrap_or(token);
                if self.lines.same(open.start, token.start)
                    || self.lines.indent(open.start) <= indent
                {
                    break;
                }
                self.report_unclosed(None);
                self.close_virtually(token.start);
                self.close_open_parens(token);
            }
            // An opener further to the left has its own brace still to come: the one of this is missing.
            let outer = self.innermost().map(|open| self.lines.indent(open.start));
            if outer.is_none_or(|outer| outer < indent) && self.open_before(token, indent) {
                return self.close(token);
            }
        } else if self.by_indent()
            && self
                .innermost()
                .is_none_or(|open| !self.lines.same(open.start, token.start))
            && self.open_on_line(token)
        {
            return self.close(token);
        }
        if self
            .stack
            .last()
            .is_some_and(|top| top.kind == TokenKind::LBrace)
        {
            return self.close(token);
        }
        self.report_stray(token);
    }

    /// Closes braces that are never closed before a statement that stands no further right than their line.
    fn close_left_of(&mut self, token: Token) {
        let Guess::ByDedent(unclosed) = &self.guess else {
            return;
        };
        if token.kind.is_closer()
            || token.kind == TokenKind::LBrace
            || !self.lines.starts_with(token)
        {
            return;
        }
        let indent = self.lines.indent(token.start);
        let mut ends = 0;
        for open in self.stack.iter().rev() {
            let (Some(opener), Some(first)) =
                (self.tokens.get(open.input), self.tokens.get(open.input + 1))
            else {
                break;
            };
            let outer = self.lines.indent(opener.start);
            // A body that is not indented tells nothing.
            let indented = self.lines.starts_with(*first) && self.lines.indent(first.start) > outer;
            if !unclosed.contains(&open.input) || indent > outer || !indented {
                break;
            }
            ends += 1;
        }
        for _ in 0..ends {
            self.report_unclosed(None);
            let end = self.out.tokens.last().map_or(token.start, |last| last.end);
            self.close_virtually(end);
        }
    }

    fn innermost(&self) -> Option<Token> {
        self.out.tokens.get(self.stack.last()?.index).copied()
    }

    /// Closes the parentheses and square brackets that are open where `token` cannot stand in them.
    fn close_open_parens(&mut self, token: Token) {
        let mut first = true;
        while self
            .stack
            .last()
            .is_some_and(|top| top.kind != TokenKind::LBrace)
        {
            if first {
                self.report_unclosed(Some(token));
                first = false;
            }
            let end = self.out.tokens.last().map_or(token.start, |last| last.end);
            self.close_virtually(end);
        }
    }

    fn close_virtually(&mut self, at: u32) {
        if let Some(top) = self.stack.last() {
            let kind = top.kind.partner();
            self.close(Token {
                kind,
                start: at,
                end: at,
            });
        }
    }

    /// Reports that the innermost opener has no closer; `before` is where that was seen.
    fn report_unclosed(&mut self, before: Option<Token>) {
        let cut = self.cut.is_some();
        let Some(top) = self.stack.last_mut() else {
            return;
        };
        if cut || std::mem::replace(&mut top.reported, true) {
            return;
        }
        let Some(open) = self.out.tokens.get(top.index).copied() else {
            return;
        };
        let (opener, closer) = (top.kind.name(), top.kind.partner().name());
        let mut error = Diagnostic::error(
            open.span(self.file),
            format!("this `{opener}` is not closed"),
        )
        .expected(vec![format!("`{closer}`")])
        .hint(format!("add `{closer}`"));
        if let Some(token) = before {
            let last = self.out.tokens.last().copied().unwrap_or(open);
            error = error.also(
                last.span(self.file).after(),
                format!("`{closer}` is expected before `{}`", token.kind.name()),
            );
        }
        self.report(error);
    }

    fn report_stray(&mut self, token: Token) {
        if self.cut.is_some() {
            return;
        }
        let (closer, opener) = (token.kind.name(), token.kind.partner().name());
        self.report(
            Diagnostic::error(
                token.span(self.file),
                format!("unexpected `{closer}`: there is no open `{opener}`"),
            )
            .hint(format!("remove it, or add the missing `{opener}` before")),
        );
    }

    /// What the `{` that comes next opens.
    fn classify(&self) -> Brace {
        match self.last_kind(0) {
            Some(TokenKind::Import) => Brace::Import,
            Some(TokenKind::Class) => Brace::Class,
            Some(TokenKind::Name) if self.last_kind(1) == Some(TokenKind::Class) => Brace::Class,
            Some(TokenKind::RParen) => self.classify_after_parens(),
            // Where an operand is expected, a `{` is no block; except after these words and signs.
            Some(
                TokenKind::LParen
                | TokenKind::LBracket
                | TokenKind::Comma
                | TokenKind::FatArrow
                | TokenKind::Assign
                | TokenKind::Question
                | TokenKind::Return
                | TokenKind::Echo
                | TokenKind::Throw,
            ) => Brace::Other,
            Some(TokenKind::Colon)
                if self
                    .stack
                    .last()
                    .is_some_and(|top| top.kind != TokenKind::LBrace) =>
            {
                Brace::Other
            }
            _ => Brace::Block,
        }
    }

    fn classify_after_parens(&self) -> Brace {
        let before = |back: usize| {
            let index = self.closed.checked_sub(back)?;
            self.tokens.get(index).copied()
        };
        let word = before(1);
        match word.map(|token| token.kind) {
            Some(TokenKind::Switch) => Brace::Switch,
            Some(TokenKind::Match) => Brace::Match,
            Some(TokenKind::Function | TokenKind::Closure) => Brace::Function,
            // A misspelt word inside an expression is better taken for what it resembles.
            Some(TokenKind::Name)
                if self
                    .stack
                    .last()
                    .is_some_and(|top| top.kind != TokenKind::LBrace)
                    || before(2).is_some_and(|token| expects_operand(token.kind)) =>
            {
                let text = word.map_or(&b""[..], |token| token.text(self.source));
                match words::instead_of_function(text) {
                    Some("match") => Brace::Match,
                    Some(_) => Brace::Function,
                    None => Brace::Block,
                }
            }
            _ => Brace::Block,
        }
    }

    /// The kind of the input token `back + 1` places before the one at hand.
    fn last_kind(&self, back: usize) -> Option<TokenKind> {
        self.input(back + 1).map(|token| token.kind)
    }

    /// The input token `back` places before the one at hand.
    fn input(&self, back: usize) -> Option<Token> {
        self.tokens.get(self.at.checked_sub(back)?).copied()
    }
}

/// Whether an operand must follow the token, so that what follows is inside an expression.
fn expects_operand(kind: TokenKind) -> bool {
    let statement_may_follow =
        matches!(kind, TokenKind::Semi | TokenKind::Colon | TokenKind::LBrace);
    kind == TokenKind::Return || kind.is_sign() && !kind.ends_operand() && !statement_may_follow
}
