//! Runs the grammar over the tokens, and again with the broken region cut out after an error.
//!
//! The generated parser stops at its first error. What it had read up to there is right, so the repair
//! only has to find out how far the damage goes: the unit (statement, header, label, member, arm)
//! around the error is replaced by one token that the grammar knows as broken, its inner blocks are kept,
//! and the parser starts again. An error right behind a repair is a consequence of it and not reported.

use crate::ast::Stmt;
use crate::brackets::{Brace, Paired};
use crate::builder::Builder;
use crate::diagnostic::Diagnostic;
use crate::explain::{Expected, explain};
use crate::grammar::ProgramParser;
use crate::span::{FileId, Span};
use crate::token::{Token, TokenKind};
use crate::units::{UnitKind, Units, split};
use lalrpop_util::ParseError;
use std::borrow::Cow;
use std::cell::Cell;
use std::collections::BTreeSet;

/// The result of [`parse_tokens`].
pub(crate) struct Outcome {
    pub body: Vec<Stmt>,
    /// Errors of the grammar, in the order of the text.
    pub syntax: Vec<Diagnostic>,
    /// Errors that the tree builder has found.
    pub tree: Vec<Diagnostic>,
}

/// More repairs than a report has errors: some errors are consequences. The work is bounded by so many
/// readings of the file.
const MAX_REPAIRS: usize = 60;
/// After so many reported errors the rest of the file is not read any more.
const MAX_REPORTED: usize = 25;

/// Parses tokens whose brackets are paired.
pub(crate) fn parse_tokens(paired: &Paired, source: &[u8], file: FileId) -> Outcome {
    let mut recovery = Recovery {
        tokens: Cow::Borrowed(&paired.tokens),
        braces: &paired.braces,
        source,
        file,
        errors: Vec::new(),
        behind: BTreeSet::new(),
    };
    let parser = ProgramParser::new();
    for _ in 0..MAX_REPAIRS {
        let mut builder = Builder::new(source, file);
        let read = Cell::new(0_usize);
        let tokens = recovery.tokens.iter().map(|token| {
            read.set(read.get() + 1);
            Ok((token.start, token.kind, token.end))
        });
        let (at, expected) = match parser.parse(&mut builder, tokens) {
            Ok(body) => {
                return Outcome {
                    body,
                    syntax: recovery.errors,
                    tree: builder.errors,
                };
            }
            Err(ParseError::UnrecognizedToken { expected, .. }) => (read.get() - 1, expected),
            Err(ParseError::UnrecognizedEof { expected, .. }) => (recovery.tokens.len(), expected),
            Err(
                ParseError::InvalidToken { .. }
                | ParseError::ExtraToken { .. }
                | ParseError::User { .. },
            ) => (read.get().saturating_sub(1), Vec::new()),
        };
        recovery.repair(at, &Expected::new(expected));
        if recovery.errors.len() >= MAX_REPORTED {
            break;
        }
    }
    Outcome {
        body: Vec::new(),
        syntax: recovery.errors,
        tree: Vec::new(),
    }
}

/// Tokens `start..end` are replaced by `new`.
#[derive(Debug)]
struct Edit {
    start: usize,
    end: usize,
    new: Vec<Token>,
}

struct Recovery<'a> {
    tokens: Cow<'a, [Token]>,
    braces: &'a [(u32, Brace)],
    source: &'a [u8],
    file: FileId,
    errors: Vec<Diagnostic>,
    /// Starts of the tokens behind repairs: an error there may be a consequence.
    behind: BTreeSet<u32>,
}

impl Recovery<'_> {
    fn repair(&mut self, at: usize, expected: &Expected) {
        let units = split(&self.tokens, self.braces, self.source);
        let broken = self.broken_unit(at, expected, &units);
        let edit = if self.is_consequence(at, expected) {
            self.force(at, expected, &units)
        } else {
            let first = units.units.get(broken).map_or(0, |unit| unit.first);
            let error = explain(&self.tokens, at, first, expected, self.source, self.file);
            self.errors.push(error);
            let edit = self.plan(at, broken, expected, &units);
            let old = self.tokens.get(edit.start..edit.end).unwrap_or_default();
            if old == edit.new {
                self.force(at, expected, &units)
            } else {
                edit
            }
        };
        let inserted_semicolon = edit.start == edit.end
            && matches!(
                edit.new.as_slice(),
                [Token {
                    kind: TokenKind::Semi,
                    ..
                }]
            );
        if !inserted_semicolon {
            let behind = self.tokens.get(edit.end);
            self.behind
                .insert(behind.map_or(u32::MAX, |token| token.start));
        }
        self.tokens.to_mut().splice(edit.start..edit.end, edit.new);
    }

    /// Whether the error at `at` comes from an earlier repair that did not fit.
    fn is_consequence(&self, at: usize, expected: &Expected) -> bool {
        let Some(token) = self.tokens.get(at) else {
            return self.behind.contains(&u32::MAX);
        };
        let kind = token.kind;
        if kind.is_placeholder() {
            return true;
        }
        let belongs_before = kind.is_closer()
            || matches!(
                kind,
                TokenKind::Else | TokenKind::Catch | TokenKind::LBrace | TokenKind::EndOfBlock
            );
        self.behind.contains(&token.start) && (belongs_before || !expected.starts_stmt())
    }

    /// The unit to blame for an error at `at`.
    fn broken_unit(&self, at: usize, expected: &Expected, units: &Units) -> usize {
        let unit = units.of.get(at).or(units.of.last()).copied().unwrap_or(0);
        let fits = expected.starts_stmt()
            || expected.starts_member()
            || expected.starts_arm()
            || expected.has("case");
        // The first token of a unit is wrong only where a unit can start; elsewhere the one before lacks its end.
        if !fits && self.starts_unit(at, units) && at > 0 {
            return units.of.get(at - 1).copied().unwrap_or(unit);
        }
        unit
    }

    fn starts_unit(&self, at: usize, units: &Units) -> bool {
        let ends = matches!(
            self.kind(at),
            None | Some(TokenKind::EndOfBlock | TokenKind::RBrace)
        );
        let unit = units.of.get(at).and_then(|unit| units.units.get(*unit));
        !ends && unit.is_some_and(|unit| unit.first == at)
    }

    fn kind(&self, index: usize) -> Option<TokenKind> {
        self.tokens.get(index).map(|token| token.kind)
    }

    fn plan(&self, at: usize, broken: usize, expected: &Expected, units: &Units) -> Edit {
        if expected.has("catch") {
            let handler = [
                TokenKind::Catch,
                TokenKind::ErrorParens,
                TokenKind::LBrace,
                TokenKind::RBrace,
            ];
            return self.insert(at, &handler);
        }
        if self.starts_unit(at, units) && at > 0 {
            if expected.has("case") {
                // A statement where only cases can stand.
                return self.remove_unit(broken, units);
            }
            if expected.has(";") && !expected.starts_stmt() && !expected.starts_member() {
                return self.insert(at, &[TokenKind::Semi]);
            }
        }
        self.replace(broken, units)
    }

    /// Makes the parser go on at any price: takes a token away, or puts in what it asks for.
    fn force(&self, at: usize, expected: &Expected, units: &Units) -> Edit {
        match self.kind(at) {
            Some(kind) if kind.is_opener() => Edit {
                start: at,
                end: self.group_end(at, units),
                new: Vec::new(),
            },
            Some(kind) if !kind.is_closer() && kind != TokenKind::EndOfBlock => Edit {
                start: at,
                end: at + 1,
                new: Vec::new(),
            },
            // A bracket must keep its partner.
            _ => {
                let filler: &[TokenKind] = if expected.starts_stmt() {
                    &[TokenKind::ErrorStmt, TokenKind::ErrorEnd]
                } else if expected.has("ERROR_EXPR") {
                    &[TokenKind::ErrorExpr]
                } else if expected.has("ERROR_PARENS") {
                    &[TokenKind::ErrorParens]
                } else if expected.has("catch") {
                    &[TokenKind::Catch]
                } else if expected.has("{") {
                    &[TokenKind::LBrace, TokenKind::RBrace]
                } else if expected.has(";") {
                    &[TokenKind::Semi]
                } else if expected.has("NAME") {
                    &[TokenKind::Name]
                } else if expected.has("VAR") {
                    &[TokenKind::Variable]
                } else if expected.has("=>") {
                    &[TokenKind::FatArrow]
                } else if expected.has(":") {
                    &[TokenKind::Colon]
                } else if expected.has("from") {
                    &[TokenKind::From]
                } else if expected.has("STR") {
                    &[TokenKind::BadStr]
                } else if expected.has("as") {
                    &[TokenKind::As]
                } else {
                    // Nothing fits: the rest cannot be read.
                    return Edit {
                        start: at,
                        end: self.tokens.len(),
                        new: Vec::new(),
                    };
                };
                self.insert(at, filler)
            }
        }
    }

    fn insert(&self, at: usize, kinds: &[TokenKind]) -> Edit {
        let place = match at.checked_sub(1).and_then(|before| self.tokens.get(before)) {
            Some(before) => before.end,
            None => 0,
        };
        let new = kinds
            .iter()
            .map(|kind| Token {
                kind: *kind,
                start: place,
                end: place,
            })
            .collect();
        Edit {
            start: at,
            end: at,
            new,
        }
    }

    fn remove_unit(&self, unit: usize, units: &Units) -> Edit {
        let Some(unit) = units.units.get(unit) else {
            return Edit {
                start: 0,
                end: 0,
                new: Vec::new(),
            };
        };
        let end = self.block_after(unit.end, units).unwrap_or(unit.end);
        Edit {
            start: unit.first,
            end,
            new: Vec::new(),
        }
    }

    /// Index after the block whose `{` is at `index`, if there is one.
    fn block_after(&self, index: usize, units: &Units) -> Option<usize> {
        (self.kind(index) == Some(TokenKind::LBrace)).then(|| self.group_end(index, units))
    }

    /// Index after the partner of the opening bracket at `index`.
    fn group_end(&self, index: usize, units: &Units) -> usize {
        if self.kind(index) == Some(TokenKind::LBrace)
            && let Some(closer) = units.closer.get(index).filter(|closer| **closer > index)
        {
            return closer + 1;
        }
        let mut depth = 0_usize;
        for (at, token) in self.tokens.iter().enumerate().skip(index) {
            if token.kind.is_opener() {
                depth += 1;
            } else if token.kind.is_closer() {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return at + 1;
                }
            }
        }
        self.tokens.len()
    }

    fn brace(&self, index: usize) -> Option<Brace> {
        let start = self.tokens.get(index)?.start;
        let at = self
            .braces
            .binary_search_by_key(&start, |(start, _)| *start)
            .ok()?;
        self.braces.get(at).map(|(_, brace)| *brace)
    }

    /// Replaces a unit by what stands for a broken one.
    fn replace(&self, unit: usize, units: &Units) -> Edit {
        let Some(unit) = units.units.get(unit).copied() else {
            return Edit {
                start: 0,
                end: self.tokens.len(),
                new: Vec::new(),
            };
        };
        let (start, mut end) = (unit.first, unit.end);
        let region = self.region(start, end);
        let mark = |kind: TokenKind| Token {
            kind,
            start: region.start,
            end: region.end,
        };
        let keyword = self
            .tokens
            .get(start)
            .copied()
            .unwrap_or(mark(TokenKind::Semi));
        let block = self.block_after(end, units);
        let mut new = Vec::new();
        match unit.kind {
            UnitKind::Header(
                TokenKind::If | TokenKind::While | TokenKind::For | TokenKind::Foreach,
            ) => {
                new.extend([keyword, mark(TokenKind::ErrorParens)]);
                self.push_missing_body(end, region, &mut new);
            }
            UnitKind::Header(TokenKind::Forever) => {
                new.push(keyword);
                self.push_missing_body(end, region, &mut new);
            }
            UnitKind::Header(TokenKind::Else | TokenKind::Debug) => {}
            UnitKind::Header(TokenKind::Switch | TokenKind::Catch) if block.is_some() => {
                new.extend([keyword, mark(TokenKind::ErrorParens)]);
            }
            UnitKind::Header(TokenKind::Catch) => {
                new.extend([
                    keyword,
                    mark(TokenKind::ErrorParens),
                    mark(TokenKind::LBrace),
                    mark(TokenKind::RBrace),
                ]);
            }
            UnitKind::Header(TokenKind::Barrier) if block.is_some() => {
                new.extend([keyword, mark(TokenKind::ErrorExpr)]);
            }
            UnitKind::Header(TokenKind::Class) if block.is_some() => {
                new.extend([keyword, mark(TokenKind::ErrorName)]);
            }
            UnitKind::Label => {
                let colon = Token {
                    kind: TokenKind::Colon,
                    start: region.end,
                    end: region.end,
                };
                new.extend([
                    Token {
                        kind: TokenKind::Case,
                        ..keyword
                    },
                    mark(TokenKind::ErrorExpr),
                    colon,
                ]);
            }
            UnitKind::Arm => {
                new.push(mark(TokenKind::ErrorArm));
                if self.kind(end) != Some(TokenKind::RBrace)
                    || self.kind(end - 1) == Some(TokenKind::Comma)
                {
                    new.push(mark(TokenKind::Comma));
                }
            }
            UnitKind::Simple | UnitKind::Member | UnitKind::Block | UnitKind::Header(_) => {
                let broken = if unit.kind == UnitKind::Member {
                    TokenKind::ErrorMember
                } else {
                    TokenKind::ErrorStmt
                };
                new.push(mark(broken));
                self.push_inner_blocks(start, end, units, &mut new);
                if let Some(after) = block {
                    self.push_block(end, after, &mut new);
                    end = after;
                }
                new.push(Token {
                    kind: TokenKind::ErrorEnd,
                    start: region.end,
                    end: region.end,
                });
            }
        }
        Edit { start, end, new }
    }

    fn region(&self, start: usize, end: usize) -> Span {
        let from = self.tokens.get(start).map_or(0, |token| token.start);
        let to = end
            .checked_sub(1)
            .and_then(|last| self.tokens.get(last))
            .map_or(from, |token| token.end);
        Span::new(self.file, from, to.max(from))
    }

    /// A statement in place of a body that is not there.
    fn push_missing_body(&self, end: usize, region: Span, new: &mut Vec<Token>) {
        let missing = match self.kind(end) {
            None => true,
            Some(kind) => {
                kind.is_closer()
                    || matches!(
                        kind,
                        TokenKind::EndOfBlock
                            | TokenKind::Else
                            | TokenKind::Catch
                            | TokenKind::Case
                            | TokenKind::Default
                    )
            }
        };
        if missing {
            for kind in [TokenKind::ErrorStmt, TokenKind::ErrorEnd] {
                new.push(Token {
                    kind,
                    start: region.end,
                    end: region.end,
                });
            }
        }
    }

    /// The bodies of functions in `start..end`, so that errors in them are found.
    fn push_inner_blocks(&self, start: usize, end: usize, units: &Units, new: &mut Vec<Token>) {
        let mut index = start;
        while index < end {
            if self.kind(index) != Some(TokenKind::LBrace) {
                index += 1;
                continue;
            }
            let after = self.group_end(index, units);
            if after <= end {
                self.push_block(index, after, new);
            }
            index = after;
        }
    }

    fn push_block(&self, start: usize, after: usize, new: &mut Vec<Token>) {
        if matches!(self.brace(start), Some(Brace::Block | Brace::Function)) {
            new.extend_from_slice(self.tokens.get(start..after).unwrap_or_default());
        }
    }
}
