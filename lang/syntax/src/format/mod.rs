//! The formatter: source text in the one canonical style (docs/decisions/0024-formatter.md).
//!
//! It walks the tokens by the grammar, which the parser has already accepted, and builds a layout document; the
//! tokens, and so the meaning, stay what they are. Only these come and go: the `;` that may be left out, empty
//! statements between others, the comma behind the last entry of a list. Comments stand where they stood.
//!
//! The result is parsed again and compared: should the formatter be wrong, it says so and changes nothing.

mod cursor;
mod doc;
mod expr;
mod list;
mod render;
mod source;
mod stmt;

use crate::diagnostic::Diagnostic;
use crate::dump::dump;
use crate::lexer::lex;
use crate::parser::parse;
use crate::span::FileId;
use crate::token::Token;
use cursor::Formatter;
use source::Tokens;
use std::fmt;

/// Why a text was not formatted.
#[derive(Clone, Debug)]
pub enum FormatError {
    /// It is no program; these are its errors.
    Syntax(Vec<Diagnostic>),
    /// The formatter would have changed the program: a bug of the formatter.
    Changed,
}

impl fmt::Display for FormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax(errors) => match errors.first() {
                Some(error) => f.write_str(&error.message),
                None => f.write_str("the text is not a program"),
            },
            Self::Changed => f.write_str("the formatter would change the meaning of this text"),
        }
    }
}

impl std::error::Error for FormatError {}

/// Formats a source text. The errors of a text that is no program are those of [`parse`], with spans in `file`.
///
/// # Errors
/// When the text has syntax errors.
pub fn format(source: &[u8], file: FileId) -> Result<Vec<u8>, FormatError> {
    let (program, errors) = parse(source, file);
    if !errors.is_empty() {
        return Err(FormatError::Syntax(errors));
    }
    let mut lexed = lex(source, file);
    let mut formatter = Formatter::new(Tokens::new(&lexed, source), source);
    let mut doc = formatter.program().ok_or(FormatError::Changed)?;
    if !formatter.needless.is_empty() {
        // Once more without them, so that their comments find other tokens to belong to.
        let mut needless = std::mem::take(&mut formatter.needless)
            .into_iter()
            .peekable();
        let mut index = 0..;
        lexed.tokens.retain(|_| {
            needless
                .next_if_eq(&index.next().unwrap_or_default())
                .is_none()
        });
        formatter = Formatter::new(Tokens::new(&lexed, source), source);
        doc = formatter.program().ok_or(FormatError::Changed)?;
    }
    let out = render::render(&formatter.docs, source, doc);
    drop(formatter);

    let (again, errors) = parse(&out, file);
    let same_tree =
        errors.is_empty() && without_empty(&dump(&program)) == without_empty(&dump(&again));
    let same_comments =
        comments(source, &lexed.comments) == comments(&out, &lex(&out, file).comments);
    if same_tree && same_comments {
        Ok(out)
    } else {
        Err(FormatError::Changed)
    }
}

/// A dump without the empty statements, which come and go.
fn without_empty(dump: &str) -> String {
    dump.replace(" (empty)", "").replace("(empty)\n", "")
}

/// The texts of comments, without the space around their lines.
fn comments<'a>(source: &'a [u8], comments: &[Token]) -> Vec<Vec<&'a [u8]>> {
    let texts = comments.iter().map(|comment| comment.text(source));
    texts
        .map(|text| {
            text.split(|byte| *byte == b'\n')
                .map(<[u8]>::trim_ascii)
                .collect()
        })
        .collect()
}
