//! Text to tree.

use crate::ast::Program;
use crate::brackets::pair;
use crate::builder::Builder;
use crate::diagnostic::Diagnostic;
use crate::grammar::ProgramParser;
use crate::lexer::lex;
use crate::span::{FileId, Span};

/// Parses a source text. Always gives a tree; with errors in the list, parts of it are error nodes.
#[must_use]
pub fn parse(source: &[u8], file: FileId) -> (Program, Vec<Diagnostic>) {
    let lexed = lex(source, file);
    let paired = pair(&lexed.tokens, source, file);
    let mut errors = lexed.errors;
    errors.extend(paired.errors);
    let mut builder = Builder::new(source, file);
    let tokens = paired
        .tokens
        .iter()
        .map(|token| Ok((token.start, token.kind, token.end)));
    let body = match ProgramParser::new().parse(&mut builder, tokens) {
        Ok(body) => body,
        Err(error) => {
            let (start, end) = match error {
                lalrpop_util::ParseError::UnrecognizedToken {
                    token: (l, _, r), ..
                } => (l, r),
                lalrpop_util::ParseError::UnrecognizedEof { location, .. } => (location, location),
                _ => (0, 0),
            };
            errors.push(Diagnostic::error(
                Span::new(file, start, end),
                "syntax error",
            ));
            Vec::new()
        }
    };
    errors.extend(builder.errors);
    let span = Span::new(file, 0, u32::try_from(source.len()).unwrap_or(u32::MAX));
    (Program { body, span }, errors)
}
