//! The script contexts of the MTA: what each hook sees, may call and causes (the reference calls them phases).
//!
//! [`CONTEXTS`] are the tables of the hooks, beside the core library's. A terminating function ends its script with a
//! verdict of the layer that acts on it: [`angarium_smtp::verdict::Verdict`] for the phases of a session,
//! [`queue::Predelivery`] and [`queue::Postdelivery`] for the queue's hooks.

pub mod auth;
pub mod compat;
pub mod delivery;
pub mod envelope;
pub mod eod;
pub mod eodrcpt;
mod history;
pub mod inline;
pub mod options;
pub mod outbox;
pub mod phase;
pub mod proxy;
pub mod queue;
pub mod queue_variables;
pub mod reply;
pub mod session;
pub mod smtp;
pub mod steering;
pub mod variables;

use angarium_runtime::native::ContextDecl;

/// The hooks' contexts, in the order of a message's way.
pub static CONTEXTS: &[&ContextDecl] = &[
    &smtp::CONNECT,
    &proxy::PROXY,
    &smtp::HELO,
    &auth::AUTH,
    &smtp::MAILFROM,
    &smtp::RCPTTO,
    &eod::EOD,
    &eodrcpt::EODRCPT,
    &smtp::DISCONNECT,
    &queue::PREDELIVERY,
    &queue::POSTDELIVERY,
];
