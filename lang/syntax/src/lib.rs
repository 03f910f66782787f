//! HSL source text to syntax tree: lexer, grammar, diagnostics.
//!
//! Knows nothing of files: it takes bytes and gives a tree and messages. It never fails and never
//! panics; a program with errors gives a tree with [`ast::StmtKind::Error`] nodes and the list of what is wrong.

pub mod ast;
mod depth;
pub mod diagnostic;
mod operator;
pub mod span;

pub use diagnostic::{Diagnostic, Severity};
pub use span::{FileId, SourceMap, Span};
