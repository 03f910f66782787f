//! What the tests of the programs from outside stand on.
//!
//! Nothing here is built on the product's own crates: the sink, the client and the rule for line ends are
//! witnesses of their own, over blocking sockets and threads.
//!
//! | module | what it holds |
//! |---|---|
//! | [`program`] | where the programs are, and which real clients are installed |
//! | [`bundle`] | a bundle in a folder of its own |
//! | [`server`] | a running `angarium serve` |
//! | [`client`] | a plain SMTP client |
//! | [`sink`] | a strict SMTP sink that can misbehave |
//! | [`corpus`] | messages: the suites' and generated ones, and what must arrive of them |
//! | [`crash`] | rounds of SIGKILL and restart |
//! | [`mailauth`] | dkimpy |
//! | [`wait`] | waiting with a deadline |
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "it drives real programs with real sockets, files and time"
)]
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a failed expectation of the harness is a failed test"
)]

pub mod bundle;
pub mod client;
pub mod corpus;
pub mod crash;
pub mod mailauth;
pub mod program;
pub mod random;
pub mod server;
pub mod sink;
pub mod wait;
