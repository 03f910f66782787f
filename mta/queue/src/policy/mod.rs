//! Pick-up policies and suspends: any number of virtual sub-queues, with nothing declared before.
//!
//! A policy names counters by the values of some fields; every tuple of values that occurs has a
//! counter of its own, made when it is needed and forgotten when it says nothing any more. The
//! limits of all policies that apply must hold at once. A suspend is a limit of zero for what it
//! matches. [`Policies`] is the [`Gate`](crate::gate::Gate) of the scheduler: it answers for a whole
//! sub-queue, names the limit that is in the way, and says when to ask again.
//!
//! - [`spec`]: as files, scripts and operators write them.
//! - `compiled`: laid out for pick-up. [`rate`]: the two ways to count a rate.
//! - `table`: which of many conditions fits. `suspends`: the suspends in force.
//! - `counters`: found once, and by their places from then on. `engine`: the gate over them.
//! - `changes`: what scripts and operators change meanwhile.

mod changes;
mod compiled;
mod counters;
mod engine;
mod look;
pub mod rate;
pub mod spec;
mod suspends;
mod table;
#[cfg(test)]
mod tests;

pub use changes::{
    Change, DynamicSpec, DynamicSuspend, EndedBySelf, How, Listed, ListedSuspend, Stored,
};
pub use compiled::{Applied, KeyPart, PolicyError};
pub use engine::{IdleDoor, Policies, Setup};
pub use look::{CountersInUse, Group, Limited};
