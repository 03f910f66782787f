//! What an operator wants to know of the receiving server, and what is counted.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Receives [`Event`]s, on the thread where they happen; it must not wait.
pub type Observer = Arc<dyn Fn(&Event) + Send + Sync>;

/// Something worth a line in the log. Its text is that line.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Event {
    /// A listener is ready.
    #[error("server {server}: listening on {address}")]
    Listening {
        /// Id of the server.
        server: String,
        /// The bound address.
        address: SocketAddr,
    },
    /// No descriptor is left for a connection. Told once a second while it lasts.
    #[error(
        "server {server}: out of file descriptors, {turned_away} connections turned away with 421; \
         raise the limit (environment.rlimit.nofile, ulimit -n) or lower servers[].concurrency.total"
    )]
    OutOfDescriptors {
        /// Id of the server.
        server: String,
        /// Connections turned away since the last time.
        turned_away: u64,
    },
    /// A connection could not be accepted for another reason. Told once a second at most.
    #[error("server {server}: cannot accept connections: {reason}")]
    AcceptFailed {
        /// Id of the server.
        server: String,
        /// What the system said.
        reason: String,
    },
    /// A TLS handshake failed.
    #[error("server {server}: TLS with {peer} failed: {reason}")]
    TlsFailed {
        /// Id of the server.
        server: String,
        /// The client.
        peer: IpAddr,
        /// What broke it.
        reason: String,
    },
    /// A message could not be stored and the client was told to try again.
    #[error("transaction {transaction}: not stored, the client was told to try again ({reason})")]
    NotStored {
        /// Id of the transaction.
        transaction: String,
        /// Why.
        reason: &'static str,
    },
}

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// The present value.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Counts one.
    pub(super) fn one(&self) {
        self.add(1);
    }

    /// Counts several.
    pub(super) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }
}

/// What one virtual server has seen since the start.
#[derive(Debug, Default)]
pub struct Counters {
    /// Connections accepted, those refused at once not included.
    pub connections: Counter,
    /// Connections refused because of `concurrency`.
    pub refused: Counter,
    /// Connections turned away for want of descriptors.
    pub turned_away: Counter,
    /// TLS handshakes done.
    pub tls: Counter,
    /// TLS handshakes failed.
    pub tls_failed: Counter,
    /// Messages that reached their end and were answered 2xx.
    pub accepted: Counter,
    /// Messages that reached their end and were answered otherwise.
    pub rejected: Counter,
    /// Recipients' copies made durable.
    pub queued: Counter,
    /// Bytes of content received.
    pub bytes: Counter,
}
