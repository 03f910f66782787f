//! Whole sessions against the machine.

mod auth;
mod chunking;
mod dialogue;
mod hooks;
mod limits;
mod split;
mod suites;
