//! Whole sessions against the machine.

mod auth;
mod chunking;
mod dialogue;
mod extensions;
mod hooks;
mod hostile;
mod limits;
mod split;
mod suites;
mod xclient;
