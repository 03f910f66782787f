//! Splits tokens into the units that errors are counted and repaired by: simple statements, headers of
//! compound statements, case labels, class members, match arms.
//!
//! This is a rough reading that works on broken text too. It knows brackets (which are paired already),
//! the words that start statements, and that two operands in a row on two lines are two statements.

use crate::brackets::Brace;
use crate::token::{Token, TokenKind};

/// What a [`Unit`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UnitKind {
    /// A statement without a body of its own.
    Simple,
    /// The head of a statement, up to its body; the keyword.
    Header(TokenKind),
    /// `case e:`, `default:`
    Label,
    /// A member of a class, without the body of a function.
    Member,
    /// An arm of a `match`, with its comma.
    Arm,
    /// The `{` of a block that is a statement.
    Block,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Unit {
    pub kind: UnitKind,
    /// Index of its first token.
    pub first: usize,
    /// Index after its last token. Units of inner functions may lie between.
    pub end: usize,
}

/// The result of [`split`].
pub(crate) struct Units {
    pub units: Vec<Unit>,
    /// The unit of each token. A `}` and what stands in its place belong to what they end.
    pub of: Vec<usize>,
    /// For each `{` the index of its `}`; for all others 0.
    pub closer: Vec<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Inside {
    Stmts,
    Members,
    Arms,
    /// Braces that are only a part of an expression.
    Opaque,
}

struct Frame {
    inside: Inside,
    /// The unit that is being read.
    unit: Option<usize>,
    /// The unit that was read last, or that the frame belongs to.
    last: usize,
    /// Index of the `{`.
    opener: usize,
    /// Whether the unit outside goes on after the `}`.
    resumes: bool,
    parens: u32,
    questions: u32,
    arrow: bool,
}

impl Frame {
    fn new(inside: Inside, last: usize, opener: usize, resumes: bool) -> Self {
        Self {
            inside,
            unit: None,
            last,
            opener,
            resumes,
            parens: 0,
            questions: 0,
            arrow: false,
        }
    }
}

pub(crate) fn split(tokens: &[Token], braces: &[(u32, Brace)], source: &[u8]) -> Units {
    let units = Units {
        units: Vec::new(),
        of: Vec::with_capacity(tokens.len()),
        closer: vec![0; tokens.len()],
    };
    let mut splitter = Splitter {
        tokens,
        braces,
        source,
        out: units,
        frames: Vec::new(),
        frame: Frame::new(Inside::Stmts, 0, 0, false),
    };
    // So that there is a unit for an empty file, too.
    splitter.out.units.push(Unit {
        kind: UnitKind::Simple,
        first: 0,
        end: 0,
    });
    for index in 0..tokens.len() {
        splitter.token(index);
    }
    splitter.finish(tokens.len());
    splitter.out
}

struct Splitter<'a> {
    tokens: &'a [Token],
    braces: &'a [(u32, Brace)],
    source: &'a [u8],
    out: Units,
    frames: Vec<Frame>,
    frame: Frame,
}

impl Splitter<'_> {
    fn kind(&self, index: usize) -> Option<TokenKind> {
        self.tokens.get(index).map(|token| token.kind)
    }

    fn token(&mut self, index: usize) {
        let Some(kind) = self.kind(index) else { return };
        match kind {
            TokenKind::LBrace => return self.open(index),
            TokenKind::RBrace => return self.close(index),
            _ => {}
        }
        if self.frame.inside == Inside::Opaque {
            self.out.of.push(self.frame.last);
            return;
        }
        if self.frame.unit.is_some() && self.frame.parens == 0 && self.is_boundary(index, kind) {
            self.finish(index);
        }
        if kind == TokenKind::EndOfBlock {
            self.finish(index + 1);
            self.out.of.push(self.frame.last);
            return;
        }
        let unit = match self.frame.unit {
            Some(unit) => unit,
            None => self.start(index, kind),
        };
        self.out.of.push(unit);
        match kind {
            TokenKind::LParen | TokenKind::LBracket => self.frame.parens += 1,
            TokenKind::RParen | TokenKind::RBracket => {
                self.frame.parens = self.frame.parens.saturating_sub(1)
            }
            _ => {}
        }
        if self.frame.parens == 0 && self.ends_unit(unit, index, kind) {
            self.finish(index + 1);
        }
    }

    fn start(&mut self, index: usize, kind: TokenKind) -> usize {
        let unit_kind = match self.frame.inside {
            Inside::Members => UnitKind::Member,
            Inside::Arms => UnitKind::Arm,
            Inside::Stmts | Inside::Opaque => match kind {
                TokenKind::If
                | TokenKind::Else
                | TokenKind::While
                | TokenKind::For
                | TokenKind::Foreach
                | TokenKind::Forever
                | TokenKind::Switch
                | TokenKind::Try
                | TokenKind::Catch
                | TokenKind::Barrier
                | TokenKind::Class
                | TokenKind::Debug => UnitKind::Header(kind),
                TokenKind::Function if self.kind(index + 1) != Some(TokenKind::LParen) => {
                    UnitKind::Header(kind)
                }
                TokenKind::Case => UnitKind::Label,
                TokenKind::Default if self.kind(index + 1) == Some(TokenKind::Colon) => {
                    UnitKind::Label
                }
                _ => UnitKind::Simple,
            },
        };
        let unit = self.out.units.len();
        self.out.units.push(Unit {
            kind: unit_kind,
            first: index,
            end: index + 1,
        });
        self.frame.unit = Some(unit);
        self.frame.last = unit;
        self.frame.questions = 0;
        self.frame.arrow = false;
        unit
    }

    /// Ends the unit at hand before the token `end`.
    fn finish(&mut self, end: usize) {
        if let Some(unit) = self.frame.unit.take()
            && let Some(unit) = self.out.units.get_mut(unit)
        {
            unit.end = end;
        }
        self.frame.parens = 0;
    }

    /// Whether the token at `index` must belong to the next unit although this one has no end.
    fn is_boundary(&self, index: usize, kind: TokenKind) -> bool {
        let Some(before) = index
            .checked_sub(1)
            .and_then(|before| self.tokens.get(before))
        else {
            return false;
        };
        let Some(token) = self.tokens.get(index) else {
            return false;
        };
        let between = self
            .source
            .get(before.end as usize..token.start as usize)
            .unwrap_or_default();
        let new_line = memchr::memchr(b'\n', between).is_some();
        let after_operand = before.kind.ends_operand();
        match self.frame.inside {
            Inside::Stmts | Inside::Opaque => {
                kind.starts_stmt_only()
                    || matches!(kind, TokenKind::Else | TokenKind::Catch)
                    || kind == TokenKind::Default && self.kind(index + 1) == Some(TokenKind::Colon)
                    // `cache [] f()` is the one place where an operand follows a bracket.
                    || new_line && after_operand && kind.starts_operand() && !self.in_cache(index)
            }
            Inside::Members => {
                new_line
                    && (matches!(
                        kind,
                        TokenKind::Private
                            | TokenKind::Readonly
                            | TokenKind::Static
                            | TokenKind::Constructor
                    ) && !is_modifier(before.kind)
                        || matches!(kind, TokenKind::Function | TokenKind::Variable)
                            && after_operand)
            }
            Inside::Arms => {
                new_line
                    && self.frame.arrow
                    && after_operand
                    && (kind.starts_operand() || kind == TokenKind::Default)
            }
        }
    }

    /// Whether the token at `index` follows the options of a `cache`.
    fn in_cache(&self, index: usize) -> bool {
        let mut depth = 0_u32;
        for before in (0..index).rev() {
            match self.kind(before) {
                Some(TokenKind::RBracket) => depth += 1,
                Some(TokenKind::LBracket) => {
                    depth = depth.saturating_sub(1);
                    if depth == 0 {
                        return before.checked_sub(1).and_then(|word| self.kind(word))
                            == Some(TokenKind::Cache);
                    }
                }
                Some(TokenKind::Semi | TokenKind::LBrace | TokenKind::RBrace) | None => {
                    return false;
                }
                _ if depth == 0 => return false,
                _ => {}
            }
        }
        false
    }

    /// Whether the unit ends with the token at `index`.
    fn ends_unit(&mut self, unit: usize, index: usize, kind: TokenKind) -> bool {
        let Some(unit) = self.out.units.get(unit) else {
            return false;
        };
        let first = unit.first == index;
        match (unit.kind, kind) {
            (UnitKind::Header(TokenKind::Else | TokenKind::Try | TokenKind::Forever), _) => true,
            (
                UnitKind::Header(
                    TokenKind::If | TokenKind::While | TokenKind::For | TokenKind::Foreach,
                ),
                TokenKind::RParen,
            )
            | (UnitKind::Header(TokenKind::Debug), TokenKind::RBracket) => true,
            (UnitKind::Label, TokenKind::Question) => {
                self.frame.questions += 1;
                false
            }
            (UnitKind::Label, TokenKind::Colon) => {
                let ends = self.frame.questions == 0;
                self.frame.questions = self.frame.questions.saturating_sub(1);
                ends
            }
            (UnitKind::Arm, TokenKind::FatArrow) => {
                self.frame.arrow = true;
                false
            }
            (UnitKind::Arm, TokenKind::Comma) => self.frame.arrow || first,
            (_, TokenKind::Semi | TokenKind::ErrorEnd) => true,
            _ => false,
        }
    }

    fn open(&mut self, index: usize) {
        let start = self.tokens.get(index).map_or(0, |token| token.start);
        let brace = self
            .braces
            .binary_search_by_key(&start, |(start, _)| *start)
            .ok();
        let brace = brace
            .and_then(|at| self.braces.get(at))
            .map_or(Brace::Other, |(_, brace)| *brace);
        let in_parens = self.frame.parens > 0;
        let (inside, resumes) = match brace {
            _ if self.frame.inside == Inside::Opaque => (Inside::Opaque, true),
            Brace::Block | Brace::Switch if !in_parens => (Inside::Stmts, false),
            Brace::Class if !in_parens => (Inside::Members, false),
            Brace::Function => (Inside::Stmts, true),
            Brace::Match => (Inside::Arms, true),
            _ => (Inside::Opaque, true),
        };
        if self.frame.unit.is_none() {
            if resumes {
                self.start(index, TokenKind::LBrace);
            } else if !self.opens_body(index) {
                let unit = self.out.units.len();
                self.out.units.push(Unit {
                    kind: UnitKind::Block,
                    first: index,
                    end: index + 1,
                });
                self.frame.last = unit;
            }
        }
        let owner = self.frame.unit.unwrap_or(self.frame.last);
        if !resumes {
            self.finish(index);
        }
        self.out.of.push(owner);
        let frame = Frame::new(inside, owner, index, resumes);
        self.frames.push(std::mem::replace(&mut self.frame, frame));
    }

    /// Whether the `{` at `index` follows a header that has ended before it, as that of an `if` does.
    fn opens_body(&self, index: usize) -> bool {
        self.out.units.get(self.frame.last).is_some_and(|unit| {
            unit.end == index
                && index > 0
                && matches!(unit.kind, UnitKind::Header(_) | UnitKind::Label)
        })
    }

    fn close(&mut self, index: usize) {
        self.finish(index);
        let last = self.frame.last;
        let Some(outer) = self.frames.pop() else {
            self.out.of.push(last);
            return;
        };
        if let Some(closer) = self.out.closer.get_mut(self.frame.opener) {
            *closer = index;
        }
        let resumes = self.frame.resumes;
        self.frame = outer;
        self.out.of.push(if resumes {
            self.frame.unit.unwrap_or(last)
        } else {
            last
        });
    }
}

fn is_modifier(kind: TokenKind) -> bool {
    matches!(
        kind,
        TokenKind::Private | TokenKind::Readonly | TokenKind::Static
    )
}

impl Units {
    /// A number for the unit at the byte `offset`. What has been left out between two tokens belongs to the
    /// token on its line, else it is a unit of its own.
    pub(crate) fn key(&self, tokens: &[Token], source: &[u8], offset: u32) -> (usize, u32) {
        let next = tokens.partition_point(|token| token.start <= offset);
        let joined = |from: u32, to: u32| {
            let between = source.get(from as usize..to as usize).unwrap_or_default();
            memchr::memchr(b'\n', between).is_none()
        };
        let unit = |index: usize| self.of.get(index).map(|unit| (*unit, 0));
        let before = next
            .checked_sub(1)
            .and_then(|index| tokens.get(index).map(|token| (index, *token)));
        match (before, tokens.get(next)) {
            (Some((index, token)), _) if offset < token.end.max(token.start + 1) => unit(index),
            (_, Some(token)) if joined(offset, token.start) => unit(next),
            (Some((index, token)), _) if joined(token.end, offset) => unit(index),
            _ => None,
        }
        .unwrap_or((usize::MAX, offset))
    }
}
