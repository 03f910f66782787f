//! The Angarium mail transfer agent.
//!
//! | module | what it holds |
//! |---|---|
//! | [`bundle_loader`] | files that scripts may read |
//! | [`app`] | the server as a whole: start, reload, stop |
//! | [`cli`] | the commands of the program |
//! | [`control`] | the control socket |
//! | [`counts`] | how often each hook ran |
//! | [`delivery`] | the queue as a service, attempts, notifications |
//! | [`hooks`] | scripts at every phase |
//! | [`http`] | HTTP/1.1 towards clients |
//! | [`listing`] | the table of built-ins as data |
//! | [`log`] | one line per event |
//! | [`monitor`] | metrics and health over HTTP |
//! | [`pool`] | threads for work that would hold a worker up |
//! | [`resolver`] | name resolution with one cache for all workers |
//! | [`scripts`] | the scripts of a bundle, compiled and run |
//! | [`server`] | the receiving server: listeners, sessions, and the traits of hooks and store |
//! | [`settings`] | from the configuration to the settings of machines and queue |
//! | [`signing`] | private keys of the configuration, for scripts and notifications |
//! | [`tls`] | TLS towards clients and towards other servers |
//! | [`worker`] | threads that share nothing, each with its own runtime and sessions |

pub mod app;
pub mod bundle_loader;
pub mod cli;
pub mod connections;
pub mod control;
pub mod counts;
pub mod debugger;
pub mod delivery;
pub mod hooks;
pub mod http;
pub mod listing;
pub mod log;
pub mod monitor;
pub mod openmetrics;
pub mod pool;
pub mod resolver;
pub mod scripts;
pub mod server;
pub mod settings;
pub mod signing;
pub mod staging;
pub mod tls;
pub mod worker;
