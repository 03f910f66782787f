//! HSL source text to syntax tree: lexer, grammar, diagnostics.
