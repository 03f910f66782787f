//! The receiving side: one SMTP session as a machine (RFC 5321, 1870, 2034, 2920, 3030,
//! 3207, 4954, 6152, 6531, 6710, 8689, 9422).
//!
//! ```text
//! connect ──▶ Command ──▶ [hook] ──▶ Command ──DATA──▶ Opening ──▶ Data ──▶ [eod] ──▶ Command
//!    │           │ └──STARTTLS──▶ Tls ──▶ Command
//!    │ refused   │ QUIT, 421
//!    └───────────┴──▶ Closed
//! ```
//!
//! # Contract with the driver
//!
//! The driver owns the socket, its read buffer, the timers, the hooks and the store. The machine
//! owns the session, a partial command line (bounded by `limits.line`), the replies that are not
//! yet written and at most one chunk of content.
//!
//! 1. Make a [`Server`] when the connection is accepted, after any PROXY header and, on an
//!    implicit-TLS port, after the handshake (pass its [`TlsInfo`](crate::session::TlsInfo)).
//! 2. Repeat:
//!    - Drain [`Server::poll`]. Each [`Output`] but the last kinds has one answer:
//!
//!      | output | what to do | answer |
//!      |---|---|---|
//!      | [`Output::Hook`] | run the script with [`Server::session`] and the request | [`Input::Verdict`] |
//!      | [`Output::OpenBody`] | open a spool file, write the Received field | [`Input::Stored`] or [`Input::StoreFailed`] |
//!      | [`Output::Body`] | append to it | [`Input::Stored`] or [`Input::StoreFailed`] |
//!      | [`Output::AbortBody`] | drop it | none |
//!      | [`Output::StartTls`] | write all replies, drop what was read, handshake | [`Input::TlsDone`] or [`Input::Gone`] |
//!      | [`Output::Close`] | write all replies, close, run the disconnect hook | none; the machine is done |
//!
//!    - Write [`Server::replies`] and report with [`Server::written`]. Replies gather, so that a
//!      pipelined group is answered in one write: write them before waiting for anything, that is
//!      before reading from the socket, before a handshake or a close, and while a hook or the
//!      store does not answer at once.
//!    - While [`Server::wants_input`] hold bytes out through [`Input::Bytes`]; what the call does
//!      not use stays in the driver's buffer. While it is false do not feed and, once the buffer
//!      is full, do not read: that is the back-pressure of a slow hook.
//!    - Wake at [`Server::deadline`] with [`Input::Tick`]. Nothing is due while a hook runs, the
//!      script's own budget bounds it. A reply that the client does not take within
//!      `timeouts.command` is the driver's to give up on, with [`Input::Gone`].
//! 3. At the end of the stream feed what is buffered, then say [`Input::Gone`]. While an eod hook
//!    runs keep `Gone` back until the verdict is given: a message that the script accepted is kept
//!    even when its client did not wait for the reply.
//!
//! The end of data is `Body` (the last chunk), then [`Hook::Eod`], whether or not a script is
//! bound: the store has to commit before the verdict. Answer [`Verdict::NoHook`] after queueing
//! every recipient. For other phases the machine asks only when [`Hooks`] says that one is bound;
//! answer [`Verdict::NoHook`] for a recipient domain without one.
//!
//! Anything fed out of turn (a verdict without hook, bytes after the close) is ignored.
//!
//! [`Verdict::NoHook`]: crate::verdict::Verdict::NoHook

mod auth;
mod body;
mod chunk;
mod command;
mod config;
mod envelope;
mod event;
mod greeting;
mod line;
mod machine;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod xclient;

pub use config::{AuthConfig, Config, Hooks, Limits, ProxyCommands, Timeouts};
pub use event::{AuthArguments, Closing, Hook, Input, Output, StoreFailure};
pub use machine::{Answered, IdSource, Refusal, Server};
