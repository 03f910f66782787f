//! HSL functions and classes, declared in one table.
