//! HSL values, virtual machine, fibers and limits.
//!
//! `lang` turns text into bytecode; this crate runs it. It knows no mail, no network and no files: what a
//! script reaches outside itself is a built-in function of the [`native::Library`] that the host supplies.
//!
//! * [`value`]: the 16-byte [`value::Value`], strings, arrays and keys; copy on write, counted without atomics.
//! * [`frozen`]: immutable values that threads share; reading one costs one atomic count per root.
//! * [`convert`]: the conversions of the language (number, string, boolean, text form), equality and order.
//! * [`shared`]: the process-wide store of `memory_*` and `barrier`, with its locks.
//! * [`memory`]: the memory budget of the execution that runs on this thread.
//! * [`library`]: the indexed table of all built-ins; [`host`]: what an execution reaches outside itself.
//! * [`data`]: how the files of data imports become values.
//! * [`native`]: how built-in functions and classes are declared and called.

pub mod accept;
pub mod array;
pub mod cache;
mod cell;
pub mod convert;
pub mod data;
pub mod debugger;
mod dict;
mod dump;
pub mod exception;
pub mod frozen;
pub mod generator;
mod graveyard;
pub mod host;
mod inline;
pub mod instance;
pub mod library;
pub mod map_set;
pub mod memory;
pub mod native;
mod number_text;
pub mod object;
pub mod pieces;
pub mod regex;
pub mod scalars;
pub mod shared;
pub mod string;
pub mod value;
pub mod vm;
mod waits;
mod words;

pub use vm::execution::{Ended, Execution, Limits, Suspend};
pub use vm::session::Session;
pub use vm::unit::Unit;
