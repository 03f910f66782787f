//! HSL syntax tree to register bytecode: resolver, compiler, linter.

pub mod builtins;
