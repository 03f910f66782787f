//! The receiving server around the SMTP machine of `angarium_smtp::server`: sockets, time, hooks and
//! store.
//!
//! | module | what it holds |
//! |---|---|
//! | [`hooks`] | the trait that decides: scripts, or [`hooks::NoHooks`] |
//! | [`store`] | the trait that keeps messages and makes them durable |
//! | [`queued`] | from a transaction to queue items |

pub mod hooks;
pub mod queued;
pub mod store;

pub use hooks::{Decision, HookContext, Hooks, NoHooks};
pub use store::{Change, MailWriter, Queued, Store, StoredMail};
