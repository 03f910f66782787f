//! The virtual machine: runs the bytecode of `angarium_lang`.
//!
//! * [`unit`]: a program linked with a library; exists once per process.
//! * [`fiber`]: the state of one execution: registers, frames, fuel. Everything is on the heap, so a script can
//!   be suspended at any built-in call and costs a few kilobytes while it waits.
//! * [`interp`]: the loop, with the short ways of the instructions; [`short`]: those that are too long for it.
//!   [`step`]: one instruction in general. [`ops`]: what operators and paths do. [`registers`]: how registers are
//!   read and written. [`notes`]: what is taken apart at the end.
//! * [`call`]: calls of functions, built-ins, methods; built-ins that call back are frames ([`crate::native::Task`]).
//! * [`throw`]: exceptions and unwinding. [`trace`]: the calls that were going on when nobody caught one.
//! * [`execution`]: the way in, synchronous ([`execution::Execution::run`]) and as a future
//!   ([`execution::Execution::drive`]). [`session`]: programs entered piece by piece.
//!
//! Invariant: no Rust function calls itself or another one to the depth of a script's data or calls.

mod barrier;
pub mod call;
pub mod execution;
pub mod fiber;
mod generators;
mod interp;
mod matching;
pub(crate) mod notes;
mod ops;
mod registers;
pub mod session;
mod short;
mod step;
pub mod throw;
pub mod trace;
pub mod unit;

use crate::native::{Cx, Throw, Thrown};
use crate::value::Value;

/// slot := slot + right, as the `+` operator does; on an error the slot is as it was.
///
/// # Errors
/// Operands that `+` does not take, or a result beyond the limits.
pub(crate) fn add_values(slot: &mut Value, right: &Value, cx: &mut Cx<'_>) -> Result<(), Throw> {
    loop {
        let added = ops::arith::update(slot, angarium_lang::bytecode::PathOp::Add, right, cx);
        match added.map_err(Throw::into_inner) {
            Ok(()) => return Ok(()),
            // A built-in cannot be done again: large values are added at once.
            Err(Thrown::Later(later)) => later.finish(cx)?,
            Err(thrown) => return Err(thrown.into()),
        }
    }
}
