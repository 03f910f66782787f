//! Whole sessions against the machine.

mod dialogue;
mod hooks;
mod limits;
mod split;
mod suites;
