//! The receiving server around the SMTP machine of `angarium_smtp::server`: sockets, time, hooks and
//! store.
//!
//! | module | what it holds |
//! |---|---|
//! | [`hooks`] | the trait that decides: scripts, or [`hooks::NoHooks`] |
//! | [`store`] | the trait that keeps messages and makes them durable |
//! | [`spooled`] | the store over the spool |
//! | [`queued`] | from a transaction to queue items |
//! | [`settings`] | virtual servers: what stays, what a reload replaces, who is let in |
//! | [`listener`] | sockets, the acceptor, what happens when descriptors run out |
//! | [`event`] | what is logged and counted |
//! | `opening` | the beginning of a session |
//! | `proxied` | the header of a proxy in front of a connection |
//! | `session` | the driver of one session |
//! | `dialogue` | commands and replies as lines |
//! | `submission` | messages over HTTP |
//! | `wire` | its stream, unwritten replies and timer |
//! | `name` | the client's name in DNS |

pub(crate) mod dialogue;
pub mod event;
pub mod hooks;
pub mod listener;
mod name;
mod opening;
mod proxied;
pub mod queued;
mod session;
pub mod settings;
pub mod spooled;
pub mod store;
mod submission;
#[cfg(test)]
mod tests;
mod wire;

pub use event::{Counters, Event, Observer};
pub use hooks::{Decision, HookContext, Hooks, NoHooks, Submission};
pub use listener::{Acceptor, BindError, Endpoint};
pub use settings::{Settings, VirtualServer, Web};
pub use spooled::SpoolStore;
pub use store::{Change, MailWriter, Queued, Store, StoredMail};
pub(crate) use wire::Timer;
