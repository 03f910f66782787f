//! The Angarium mail transfer agent.

pub mod hooks;
pub mod listing;
