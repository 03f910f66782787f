//! HSL syntax tree to register bytecode: resolver, compiler, linter.
//!
//! ```text
//!  text ─ syntax ─> tree ─ resolve ─> variables, functions, includes ─ compile ─> Program (bytecode)
//! ```
//!
//! [`compile`] is the way in. It reads no file: [`modules::Loader`] gives it the texts that `include` and `import`
//! name, and [`builtins::Builtins`] the functions and variables of the host. What comes out is plain data that the
//! `runtime` crate links and runs.

pub mod builtins;
pub mod bytecode;
mod compile;
pub mod data;
mod fold;
mod hash;
pub mod listing;
pub mod modules;
mod resolve;
pub mod session;
pub mod suggest;
mod warnings;

pub use angarium_syntax::{Diagnostic, FileId, Severity, SourceMap, Span};
pub use compile::arity_message;
pub use compile::debug::HOOK as DEBUG_HOOK;

use builtins::Builtins;
use bytecode::Program;
use compile::Mode;
use modules::Loader;

/// A program to compile.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// What messages call it.
    pub name: &'a str,
    /// Its path below the root, for `./` and `../` in it; empty when it has none.
    pub path: &'a str,
    /// Its bytes.
    pub text: &'a [u8],
}

/// A compiled program and what is to be said about it.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// The bytecode.
    pub program: Program,
    /// Warnings (language.md 13.6), in the order of the text.
    pub warnings: Vec<Diagnostic>,
}

/// Why a program was refused.
#[derive(Clone, Debug)]
pub struct Rejected {
    /// Errors and warnings; at least one error.
    pub diagnostics: Vec<Diagnostic>,
    /// The texts they are about.
    pub sources: SourceMap,
}

impl Rejected {
    /// The diagnostics as text for people, one after the other.
    #[must_use]
    pub fn render(&self) -> String {
        self.diagnostics
            .iter()
            .map(|diagnostic| diagnostic.render(&self.sources))
            .collect()
    }
}

/// Compiles `source` and everything that it includes and imports.
///
/// # Errors
/// All compile errors, with the warnings found on the way.
pub fn compile(
    source: Source<'_>,
    builtins: &dyn Builtins,
    loader: &dyn Loader,
) -> Result<Compiled, Rejected> {
    compile::compile(source, builtins, loader, None, Mode::Quick)
}

/// As [`compile`], every construct in its general form: nothing is computed in advance, no instructions are joined, every
/// operand is copied before it is used. Tests compare what both programs do.
///
/// # Errors
/// As [`compile`].
pub fn compile_plain(
    source: Source<'_>,
    builtins: &dyn Builtins,
    loader: &dyn Loader,
) -> Result<Compiled, Rejected> {
    compile::compile(source, builtins, loader, None, Mode::Plain)
}
