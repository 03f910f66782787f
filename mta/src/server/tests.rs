//! Whole sessions: over sockets with the system's clock, and in memory with a clock that the test moves.

mod bundle;
mod carry;
mod compat;
mod descriptors;
mod eodrcpt;
mod hooks;
mod limits;
mod proxied;
mod scripts;
mod sleep;
mod sockets;
mod spool;
mod submission;
mod support;
mod time;
mod tls;
mod variables;
mod verdicts;
