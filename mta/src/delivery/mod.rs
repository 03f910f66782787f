//! The sending half: the queue as a service, attempts on the workers, notifications.
//!
//! ```text
//!  session ─ commit ─▶ store ─▶ spool ──(synced)──▶ service: owns the Scheduler
//!                                                     │ predelivery, look-ups, attempt, postdelivery
//!                                                     ▼ as jobs, each answered by a message
//!                                                  worker: scripts, DNS, SMTP client, idle connections
//! ```
//!
//! | module | what it holds |
//! |---|---|
//! | [`service`], `owner`, `jobs` | the owner of the queue and what it has done |
//! | [`gate`] | the groups of destinations |
//! | [`handle`] | the way to it: hand-over of new mail, control, stop |
//! | [`policies`] | what scripts and operators change in policies and suspends while the queue runs |
//! | [`settings`] | what of the configuration delivery works by |
//! | [`hooks`] | the trait of the queue's scripts |
//! | [`probe`] | questions of scripts to other servers |
//! | `attempt`, `link`, `plan`, `resolve` | one attempt: its settings, destination, connection |
//! | `desk`, `idle` | what a worker keeps: `$context`, idle connections |
//! | [`inline`] | messages that scripts send at once |
//! | [`server`] | servers that scripts name |
//! | [`dial`], `proxy_header`, [`tls_settings`] | how a connection is opened, and its TLS |
//! | [`content`] | where an item's message lies, and how it is read |
//! | [`bounce`] | notifications |
//! | [`trace`] | a live view of what is said |
//! | [`log`] | the lines of the log |
//!
//! # What a delivered message costs
//!
//! Syncs: one commit of the spool for the message, shared with all that wait at the same moment, and
//! none for its completion, which rides on the next sync. A retry costs one more commit, a
//! notification one that also carries the change to its message.
//!
//! System calls of an attempt over a pooled connection to a server with PIPELINING, message up to
//! 64 KiB: one read of the spool's segment, two writes to the socket (envelope, message) and two to
//! four reads, beside the runtime's waits. A new connection adds `socket`, `connect`, two socket
//! options, a name, and a write and read each for greeting and EHLO; leaving it adds QUIT.
//!
//! Hops between threads: one to the worker and one back for each of predelivery (only with a
//! script), look-ups (only with names to look up), the attempt, postdelivery (only with a script).

mod attempt;
pub mod bounce;
pub mod content;
mod desk;
pub mod dial;
pub mod gate;
pub mod handle;
pub mod hooks;
mod idle;
pub mod inline;
mod jobs;
mod link;
pub mod log;
mod owner;
mod plan;
pub mod policies;
pub mod probe;
mod proxy_header;
mod resolve;
pub mod server;
pub mod service;
pub mod settings;
#[cfg(test)]
mod tests;
pub mod tls_settings;
pub mod trace;

use std::sync::Arc;

use angarium_spool::Spool;

use crate::connections::{Outbound, Registry};
use crate::counts::Histogram;

pub use handle::{ControlError, Counts, Handle, Stopped};
pub use hooks::{After, Before, Ended, NoQueueHooks, QueueHook, QueueHooks};
pub use idle::IdleCounts;
pub use log::Line;
pub use policies::SetError;
pub use service::{Crew, Service, Start};
pub use settings::Settings;

/// The outbound connections of a process as operators see them: listed, and followed.
#[derive(Clone, Debug, Default)]
pub struct Switchboard {
    pub(crate) connections: Registry<Outbound>,
    pub(crate) traces: Arc<trace::Traces>,
}

/// What a reload replaces.
pub struct Live {
    /// The settings.
    pub settings: Settings,
    /// The scripts.
    pub hooks: Arc<dyn QueueHooks>,
}

/// What every attempt needs.
pub(crate) struct Core {
    pub spool: Spool,
    /// The idle connections of all workers.
    pub idle: Arc<idle::Ledger>,
    /// All open connections.
    pub connections: Registry<Outbound>,
    /// How long attempts took.
    pub times: Histogram,
    /// Who follows deliveries.
    pub traces: Arc<trace::Traces>,
}
