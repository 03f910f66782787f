//! The durable spool: an append-only log with group commit.

pub mod config;
pub mod error;
pub mod id;
mod payload;
mod record;
mod scan;
mod segment;
