//! Pairs of brackets: finds them, repairs what does not pair, and tells what each `{` opens.
//!
//! This runs before the grammar, so that one missing bracket costs one message at the place where it
//! belongs and not a message at the end of the file. It also puts the token [`TokenKind::EndOfBlock`]
//! where the `;` of a last statement may be left out.
//!
//! How a mistake is found: a `;`, a word that only starts statements or a `{` that opens a block cannot
//! stand inside `(` or `[`, so an opener that is still open there is not closed. For braces the
//! text gives no such sign; when they do not come out even, the indentation of their lines decides.

use crate::ast::MAX_NESTING;
use crate::builder::too_deep;
use crate::diagnostic::Diagnostic;
use crate::span::FileId;
use crate::token::{Token, TokenKind};
use crate::words;

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
    let first = Pairing::new(tokens, source, file, false).run();
    if first.errors.is_empty() {
        return first;
    }
    // With an error somewhere it pays to look at the indentation.
    Pairing::new(tokens, source, file, true).run()
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
    by_indent: bool,
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
    fn new(tokens: &'a [Token], source: &'a [u8], file: FileId, by_indent: bool) -> Self {
        let mut out = Paired::default();
        out.tokens.reserve(tokens.len() + tokens.len() / 16 + 1);
        Self {
            tokens,
            source,
            file,
            by_indent,
            out,
            stack: Vec::new(),
            at: 0,
            closed: 0,
            cut: None,
        }
    }

    fn run(mut self) -> Paired {
        for index in 0..self.tokens.len() {
            let Some(token) = self.tokens.get(index).copied() else {
                break;
            };
            self.at = index;
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

    fn finish(mut self) -> Paired {
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
        self.out
    }

    /// Adds a token to the output, unless it lies below the depth limit.
    fn push(&mut self, token: Token) {
        if self.cut.is_none() {
            self.out.tokens.push(token);
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
        let for_header =
            token.kind == TokenKind::LParen && self.last_kind(0) == Some(TokenKind::For);
        let index = self.out.tokens.len();
        if token.kind == TokenKind::LBrace {
            self.out.braces.push((token.start, brace));
        }
        if self.stack.len() == usize::from(MAX_NESTING) && self.cut.is_none() {
            self.out.errors.push(too_deep(token.span(self.file)));
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
            None => match self.stack.last() {
                Some(top)
                    if top.kind != TokenKind::LBrace
                        && !self.has_partner_ahead(top.kind, token) =>
                {
                    // `(1, 2]`: the wrong bracket.
                    let kind = top.kind.partner();
                    let opener = top.index;
                    let right = kind.name();
                    let open = self.out.tokens.get(opener).copied().unwrap_or(token);
                    self.out.errors.push(
                        Diagnostic::error(
                            token.span(self.file),
                            format!(
                                "`{}` does not close `{}`",
                                token.kind.name(),
                                top.kind.name()
                            ),
                        )
                        .also(open.span(self.file), "opened here")
                        .expected(vec![format!("`{right}`")])
                        .hint(format!("write `{right}`")),
                    );
                    self.close(Token { kind, ..token });
                }
                _ => self.report_stray(token),
            },
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
        if self.by_indent && self.first_on_line(token) {
            let indent = self.indent(token.start);
            // Openers further to the right are not closed: this brace belongs to one further out.
            while self.stack.len() > 1 {
                let Some(top) = self.stack.last() else { break };
                let open = self.out.tokens.get(top.index).copied().unwrap_or(token);
                if self.same_line(open.start, token.start) || self.indent(open.start) <= indent {
                    break;
                }
                self.report_unclosed(None);
                self.close_virtually(token.start);
                self.close_open_parens(token);
            }
            // An opener further to the left has its own brace still to come: the one of this is missing.
            let outer = self
                .stack
                .last()
                .and_then(|top| self.out.tokens.get(top.index))
                .map(|open| self.indent(open.start));
            if outer.is_none_or(|outer| outer < indent) && self.insert_missing_opener(token, indent)
            {
                return self.close(token);
            }
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

    /// Finds the header to which a `}` at `indent` belongs (`if (…)` without its `{`), and opens it there.
    fn insert_missing_opener(&mut self, closer: Token, indent: usize) -> bool {
        let from = self.stack.last().map_or(0, |top| top.index + 1);
        let mut line_end = self.out.tokens.len();
        for index in (from..self.out.tokens.len()).rev() {
            let Some(token) = self.out.tokens.get(index).copied() else {
                return false;
            };
            if !self.first_on_line(token) {
                continue;
            }
            if self.indent(token.start) < indent {
                return false;
            }
            if self.indent(token.start) == indent && token.start < closer.start {
                let Some(last) = self.out.tokens.get(line_end.wrapping_sub(1)).copied() else {
                    return false;
                };
                let header = match token.kind {
                    TokenKind::RBrace => self.out.tokens.get(index + 1).map(|token| token.kind),
                    kind => Some(kind),
                };
                let opens = matches!(
                    header,
                    Some(
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
                );
                if !opens
                    || matches!(
                        last.kind,
                        TokenKind::LBrace | TokenKind::Semi | TokenKind::RBrace
                    )
                {
                    return false;
                }
                let span = last.span(self.file).after();
                self.out.errors.push(
                    Diagnostic::error(span, "`{` is missing here")
                        .also(closer.span(self.file), "this `}` has no partner")
                        .expected(vec!["`{`".to_owned()])
                        .hint("put `{` behind it, or remove the `}`"),
                );
                let open = Token {
                    kind: TokenKind::LBrace,
                    start: last.end,
                    end: last.end,
                };
                let rest = self.out.tokens.split_off(line_end);
                let brace = match header {
                    Some(TokenKind::Switch) => Brace::Switch,
                    Some(TokenKind::Class) => Brace::Class,
                    _ => Brace::Block,
                };
                self.out.braces.push((open.start, brace));
                self.stack.push(Opener {
                    kind: TokenKind::LBrace,
                    brace,
                    index: line_end,
                    input: self.at,
                    semicolons: 0,
                    reported: true,
                });
                self.out.tokens.push(open);
                self.out.tokens.extend(rest);
                return true;
            }
            line_end = index;
        }
        false
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
        self.out.errors.push(error);
    }

    fn report_stray(&mut self, token: Token) {
        if self.cut.is_some() {
            return;
        }
        let (closer, opener) = (token.kind.name(), token.kind.partner().name());
        self.out.errors.push(
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
                    .is_some_and(|top| top.kind != TokenKind::LBrace) =>
            {
                let text = word.map_or(&b""[..], |token| token.text(self.source));
                match words::similar(text, &["function", "closure", "match"]) {
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
        let index = self.at.checked_sub(back + 1)?;
        self.tokens.get(index).map(|token| token.kind)
    }

    // ---- Lines ----------------------------------------------------------------------------------

    fn line_start(&self, offset: u32) -> usize {
        let before = self.source.get(..offset as usize).unwrap_or_default();
        memchr::memrchr(b'\n', before).map_or(0, |at| at + 1)
    }

    fn same_line(&self, first: u32, second: u32) -> bool {
        self.line_start(first) == self.line_start(second)
    }

    fn first_on_line(&self, token: Token) -> bool {
        let start = self.line_start(token.start);
        let before = self
            .source
            .get(start..token.start as usize)
            .unwrap_or_default();
        token.start != token.end && before.iter().all(|b| matches!(b, b' ' | b'\t'))
    }

    /// How far the line of `offset` is indented; a tab counts as four spaces.
    fn indent(&self, offset: u32) -> usize {
        let line = self
            .source
            .get(self.line_start(offset)..)
            .unwrap_or_default();
        line.iter()
            .map_while(|b| match b {
                b' ' => Some(1),
                b'\t' => Some(4),
                _ => None,
            })
            .sum()
    }
}
