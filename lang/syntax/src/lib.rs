//! HSL source text to syntax tree: lexer, grammar, diagnostics.
//!
//! Knows nothing of files: it takes bytes and gives a tree and messages. It never fails and never
//! panics; a program with errors gives a tree with [`ast::StmtKind::Error`] nodes and the list of what is wrong.

pub mod ast;
mod brackets;
mod builder;
mod check;
mod depth;
pub mod diagnostic;
pub mod dump;
mod explain;
pub mod format;
mod hints;
pub mod lexer;
mod lines;
mod literal;
mod operands;
mod operator;
pub mod parser;
pub mod print;
mod recover;
pub mod span;
mod target;
pub mod token;
mod units;
mod words;

lalrpop_util::lalrpop_mod!(
    #[allow(
        clippy::all,
        clippy::unwrap_used,
        missing_docs,
        unused,
        rust_2018_idioms,
        unused_qualifications,
        reason = "generated"
    )]
    grammar
);

pub use ast::Program;
pub use diagnostic::{Diagnostic, Severity};
pub use parser::{MAX_ERRORS, is_open, parse, parse_included};
pub use span::{FileId, SourceMap, Span};
