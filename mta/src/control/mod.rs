//! The control socket: what an operator asks of a running server and tells it to do.
//!
//! ```text
//!  client ─ frames ─▶ connection ─ command ─▶ dispatch ─▶ queue's thread, in small steps
//!                     (its own thread)                  ─▶ shared memory, caches, resolver
//!                                                       ─▶ configuration: reload, check
//! ```
//!
//! | module | what it holds |
//! |---|---|
//! | [`socket`] | the socket: its name and rights, or its port and TLS; what a killed server left |
//! | [`server`] | connections: one request at a time, limits, time-outs |
//! | `dispatch` | the commands |
//! | `filter`, `scan` | which items are meant, and going over them in steps |
//! | `list`, `groupby`, `update` | the queue |
//! | `files` | unload, load, export, copies |
//! | `names` | the resolver |
//! | `connections` | open connections, inbound and outbound |
//! | `why` | what keeps a message; the audit |
//! | `policies` | suspends and policies |
//! | `hsl` | shared memory and caches |
//! | `trace` | deliveries as they go on |
//! | `stats` | counters of the process |
//! | `convert` | between messages and the queue's types |
//!
//! The wire format and the messages are those of the crate `angarium-control`. Nothing that a client
//! sends ends the thread or blocks the queue: what cannot be read is answered with an error.

mod connections;
mod convert;
mod dispatch;
mod files;
mod filter;
mod groupby;
mod hsl;
mod list;
mod names;
mod policies;
mod scan;
pub mod server;
pub mod socket;
mod stats;
mod trace;
mod update;
mod why;

pub use dispatch::{Admin, Backend, Part, Process};
pub use server::{Alone, Server};
pub(crate) use stats::stats as process_stats;
