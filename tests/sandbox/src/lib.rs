//! Scripts in a sandbox, and what the fuzz targets do with their input.
//!
//! The fuzzers of `fuzz/` link against a coverage-guided engine and are built on their own; their bodies are here, in
//! [`targets`], so that the ordinary test command replays every kept input through the very same code. [`script`] runs a
//! program with the whole core library and no outside world, on a virtual clock, under limits.
#![allow(
    clippy::panic,
    clippy::expect_used,
    reason = "a broken promise is a panic: that is how a fuzzer sees it"
)]

pub mod runaways;
pub mod script;
pub mod targets;
