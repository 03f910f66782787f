//! HTTP/1.1 towards clients, for the submission of mail and for the monitor.
//!
//! ```text
//!  socket ─▶ wire (one request at a time, checked head) ─▶ hyper ─▶ a handler ─▶ Answer
//!                 └───────────── connection: times, stop ──────────────┘
//! ```
//!
//! | module | what it holds |
//! |---|---|
//! | [`head`] | what a request's head says of its length; what is refused because two readers could differ about it |
//! | `wire` | the stream as hyper sees it: no byte of a request before the one before it is answered |
//! | [`connection`] | one connection from its first byte to its last: times, limits, the orderly end |
//! | [`answer`] | what is answered |
//! | [`keys`] | keys that clients present |
//!
//! hyper reads and writes the protocol (RFC 9112). What it leaves to its user is here: how long a client may take, and that
//! a request has one length only. All clients are strangers until they have shown a key, so that a head is bounded to
//! [`head::MOST`] bytes and [`head::MOST_FIELDS`] fields.

pub mod answer;
pub mod connection;
pub mod head;
pub mod keys;
mod wire;

pub use answer::Answer;
pub use connection::{Terms, serve};
