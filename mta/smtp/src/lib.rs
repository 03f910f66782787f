//! SMTP server and client sessions as state machines, without sockets, clock, timers or async.
//!
//! Bytes and time go in, bytes and events come out. The same code serves the tokio driver, the
//! simulator, the tests and the fuzzers. What both sides share lives at the top of the crate:
//!
//! | module | what it holds | RFC |
//! |---|---|---|
//! | [`address`] | reverse paths, forward paths, mailboxes | 5321 §4.1.2, 6531 |
//! | [`param`] | parameters of MAIL and RCPT | 5321 §4.1.2, 1870, 6152, 3461 |
//! | [`xtext`] | the encoding of ENVID and ORCPT | 3461 §4 |
//! | [`reply`] | replies, enhanced status codes, their wire form | 5321 §4.2, 2034, 3463 |
//! | [`verdict`] | what a hook may answer and the reply that this gives | — |
//! | [`session`] | what is known about a connection and its transaction | — |
//! | [`network`] | address blocks | — |
//! | [`proxy_protocol`] | the header that a proxy puts in front of a connection | — |
//! | [`received`] | the trace field | 5321 §4.4, 3848 |
//! | [`content`] | line ends, dot-stuffing, limits of a header | 5321 §4.5.2, 2.3.8 |
//! | [`server`] | the receiving machine | 5321, 2920, 3207 |
//! | [`client`] | the sending machine | 5321, 2920, 3207, 2033 |
//!
//! # Time
//!
//! A machine never asks what time it is. Every call carries [`Time`], a monotonic reading since
//! any fixed start; a machine says through its `deadline()` when it wants to be called again.

pub mod address;
pub mod client;
pub mod content;
pub mod network;
pub mod param;
pub mod proxy_protocol;
pub mod received;
pub mod reply;
pub mod server;
pub mod session;
pub mod verdict;
pub mod xtext;

/// A monotonic reading: the time since any fixed start that the driver chooses once.
pub type Time = std::time::Duration;
