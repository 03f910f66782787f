//! Text to tree: lexer, bracket pairing, grammar with recovery, checks; and the choice of what is reported.

use crate::ast::Program;
use crate::brackets::pair;
use crate::check::check;
use crate::diagnostic::Diagnostic;
use crate::lexer::{ends_in_literal, lex};
use crate::recover::{Outcome, parse_tokens};
use crate::span::{FileId, Span};
use crate::token::Token;
use crate::units::{Units, split};

/// A report has at most that many errors.
pub const MAX_ERRORS: usize = 20;

/// Parses a source text.
///
/// Always gives a tree. With errors in the list, parts of the tree are error nodes, and the program must
/// not be compiled further; the parts that are whole are good for tools. The list is in the order of the
/// text and has at most one error for a statement and [`MAX_ERRORS`] in all; every one of them stays when
/// another is mended.
#[must_use]
pub fn parse(source: &[u8], file: FileId) -> (Program, Vec<Diagnostic>) {
    parse_as(source, file, false)
}

/// Parses the text of an `include`, which may stand in a loop or a function: that `break`, `continue`, `global` and
/// `yield` stand where they may is for the caller to check.
#[must_use]
pub fn parse_included(source: &[u8], file: FileId) -> (Program, Vec<Diagnostic>) {
    parse_as(source, file, true)
}

fn parse_as(source: &[u8], file: FileId, included: bool) -> (Program, Vec<Diagnostic>) {
    let Ok(length) = u32::try_from(source.len()) else {
        let span = Span::new(file, 0, 0);
        let error = Diagnostic::error(span, "the file is too large: 4 GiB or more");
        return (
            Program {
                body: Vec::new(),
                span,
            },
            vec![error],
        );
    };
    let mut lexed = lex(source, file);
    let paired = pair(&lexed.tokens, source, file);
    // The tree takes much memory, and these are done with.
    lexed.tokens = Vec::new();
    let Outcome { body, syntax, tree } = parse_tokens(&paired, source, file);
    let span = Span::new(file, 0, length);
    let mut program = Program { body, span };
    let late = check(&mut program, included);
    // Brackets that a string has swallowed are not missing.
    let brackets = if lexed.unclosed_string {
        Vec::new()
    } else {
        paired.errors
    };
    let errors = [lexed.errors, brackets, syntax, tree, late];
    let errors: Vec<Diagnostic> = errors.into_iter().flatten().collect();
    if errors.is_empty() {
        return (program, errors);
    }
    let units = split(&paired.tokens, &paired.braces, source);
    (program, select(errors, &paired.tokens, &units, source))
}

/// Whether a text breaks off inside a bracket, a string or a comment, so that an interpreter should ask for
/// another line before it parses.
#[must_use]
pub fn is_open(source: &[u8]) -> bool {
    if ends_in_literal(source) {
        return true;
    }
    let mut depth = 0_usize;
    for token in lex(source, FileId::default()).tokens {
        if token.kind.is_opener() {
            depth += 1;
        } else if token.kind.is_closer() {
            depth = depth.saturating_sub(1);
        }
    }
    depth > 0
}

/// Keeps the first error of every unit, in the order of the text.
fn select(
    errors: Vec<Diagnostic>,
    tokens: &[Token],
    units: &Units,
    source: &[u8],
) -> Vec<Diagnostic> {
    let mut taken = std::collections::BTreeSet::new();
    let mut kept: Vec<Diagnostic> = errors
        .into_iter()
        .filter(|error| {
            let Span { start, end, .. } = error.primary.span;
            // An empty span stands behind the token that it is about.
            let offset = if start == end {
                start.saturating_sub(1)
            } else {
                start
            };
            taken.insert(units.key(tokens, source, offset))
        })
        .collect();
    kept.sort_by_key(|error| (error.primary.span.start, error.primary.span.end));
    kept.truncate(MAX_ERRORS);
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_text_asks_for_more() {
        for text in [
            "f(",
            "if (1) {",
            "$x = [1,",
            "\"abc",
            "\"abc\\\"",
            "''abc",
            "'E'abc",
            "/* abc",
            "f(\")\"",
            "{ ( }",
        ] {
            assert!(is_open(text.as_bytes()), "{text}");
        }
        for text in [
            "", "f()", "echo 1", "echo 1 +", "\"(\"", "// (", ")", "'hello';", "f(]}", "#/(/",
            "echo “",
        ] {
            assert!(!is_open(text.as_bytes()), "{text}");
        }
    }
}
