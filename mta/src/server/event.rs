//! What an operator wants to know of the receiving server, and what is counted.
//!
//! The wording of the lines is that of mta.md 5.10; tools and tests read it.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use angarium_smtp::server::StoreFailure;

use crate::counts::CommandTimes;
use crate::delivery::log::Line;
use crate::log::Severity;

/// Receives [`Event`]s, on the thread where they happen; it must not wait.
pub type Observer = Arc<dyn Fn(&Event) + Send + Sync>;

/// Something worth a line in the log. Its text is the body of that line.
#[derive(Clone, Debug)]
#[expect(
    missing_docs,
    reason = "the fields are the keys of the lines; what is not obvious has a text"
)]
pub enum Event {
    /// A listener is ready.
    Listening { server: String, at: String },
    /// No descriptor is left for a connection. Told once a second while it lasts; `turned_away`
    /// counts since the last time.
    OutOfDescriptors { server: String, turned_away: u64 },
    /// A connection could not be accepted for another reason. Told once a second at most.
    AcceptFailed { server: String, reason: String },
    /// A session begins.
    Connect {
        connection: String,
        remoteip: IpAddr,
        remoteport: u16,
        server: String,
        proxyip: Option<IpAddr>,
        ptr: Option<String>,
    },
    /// A client that may has said by XCLIENT for whom it speaks: the session begins anew.
    Xclient {
        connection: String,
        remoteip: IpAddr,
        remoteport: u16,
        server: String,
        /// Who said it.
        proxyip: IpAddr,
        ptr: Option<String>,
        helo: Option<String>,
        sasl: Option<String>,
    },
    /// A session has ended.
    Disconnect {
        connection: String,
        reason: String,
        /// Messages that reached their end.
        transactions: u32,
        duration: Duration,
    },
    /// A TLS handshake failed.
    TlsFailed {
        server: String,
        peer: IpAddr,
        reason: String,
    },
    /// A proxy did not say whom its connection is for.
    ProxyFailed {
        server: String,
        peer: IpAddr,
        reason: String,
    },
    /// The end of a message was answered.
    Message {
        transaction: String,
        sender: String,
        recipients: usize,
        /// Bytes of content; none if it was refused before its end.
        size: Option<u64>,
        helo: Option<String>,
        sasl: Option<String>,
        code: u16,
        reason: String,
    },
    /// A command was refused, and not by a hook, which has a line of its own.
    Refused {
        transaction: String,
        command: &'static str,
        code: u16,
        reason: String,
    },
    /// A message could not be stored and the client was told to try again.
    NotStored {
        transaction: String,
        reason: &'static str,
    },
    /// A request over HTTP was refused before its message was one.
    Request {
        connection: String,
        server: String,
        remoteip: IpAddr,
        status: u16,
        reason: String,
    },
    /// The spool could not be written, and why; [`Event::NotStored`] follows.
    SpoolFailed { reason: String },
    /// A command or a reply, if `logging.verbose` is on.
    Dialogue {
        connection: String,
        /// The client said it.
        client: bool,
        line: String,
    },
}

impl Event {
    /// A message that could not be stored.
    #[must_use]
    pub fn not_stored(transaction: &str, failure: StoreFailure) -> Event {
        Event::NotStored {
            transaction: transaction.to_owned(),
            reason: match failure {
                StoreFailure::Full => "no room in the spool, or in the memory for messages",
                StoreFailure::Broken => "the spool could not be written",
            },
        }
    }

    /// The connection or transaction that it is about; empty for none.
    #[must_use]
    pub fn id(&self) -> &str {
        match self {
            Event::Listening { .. }
            | Event::OutOfDescriptors { .. }
            | Event::AcceptFailed { .. }
            | Event::SpoolFailed { .. }
            | Event::TlsFailed { .. }
            | Event::ProxyFailed { .. } => "",
            Event::Connect { connection, .. }
            | Event::Xclient { connection, .. }
            | Event::Disconnect { connection, .. }
            | Event::Request { connection, .. }
            | Event::Dialogue { connection, .. } => connection,
            Event::Message { transaction, .. }
            | Event::Refused { transaction, .. }
            | Event::NotStored { transaction, .. } => transaction,
        }
    }

    /// How bad it is.
    #[must_use]
    pub fn severity(&self) -> Severity {
        match self {
            Event::OutOfDescriptors { .. }
            | Event::AcceptFailed { .. }
            | Event::SpoolFailed { .. }
            | Event::NotStored { .. } => Severity::Warning,
            Event::Listening { .. }
            | Event::TlsFailed { .. }
            | Event::ProxyFailed { .. }
            | Event::Request { .. } => Severity::Notice,
            _ => Severity::Info,
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = match self {
            Event::Listening { server, at } => {
                return write!(f, "server {server}: listening on {at}");
            }
            Event::OutOfDescriptors {
                server,
                turned_away,
            } => {
                return write!(
                    f,
                    "server {server}: out of file descriptors, {turned_away} connections turned \
                     away with 421; raise the limit (ulimit -n) or lower \
                     servers[].concurrency.total"
                );
            }
            Event::AcceptFailed { server, reason } => {
                return write!(f, "server {server}: cannot accept connections: {reason}");
            }
            Event::Dialogue { client, line, .. } => {
                return write!(f, "{} {line}", if *client { '<' } else { '>' });
            }
            Event::SpoolFailed { reason } => return write!(f, "spool: {reason}"),
            Event::NotStored { reason, .. } => {
                return write!(f, "not stored, the client was told to try again: {reason}");
            }
            Event::Connect {
                remoteip,
                remoteport,
                server,
                proxyip,
                ptr,
                ..
            } => Line::new("connect")
                .with("remoteip", remoteip)
                .with("remoteport", remoteport)
                .with("serverid", server)
                .maybe("proxyip", proxyip.as_ref())
                .maybe("ptr", ptr.as_ref()),
            Event::Xclient {
                remoteip,
                remoteport,
                server,
                proxyip,
                ptr,
                helo,
                sasl,
                ..
            } => Line::new("xclient")
                .with("remoteip", remoteip)
                .with("remoteport", remoteport)
                .with("serverid", server)
                .with("proxyip", proxyip)
                .maybe("ptr", ptr.as_ref())
                .maybe("helo", helo.as_ref())
                .maybe("sasl", sasl.as_ref()),
            Event::Disconnect {
                reason,
                transactions,
                duration,
                ..
            } => Line::new("disconnect")
                .text("reason", reason)
                .with("transactions", transactions)
                .with("duration", format_args!("{:.3}", duration.as_secs_f64())),
            Event::TlsFailed {
                server,
                peer,
                reason,
            } => Line::new("tls")
                .with("serverid", server)
                .with("remoteip", peer)
                .text("error", reason),
            Event::Request {
                server,
                remoteip,
                status,
                reason,
                ..
            } => Line::new("request")
                .with("serverid", server)
                .with("remoteip", remoteip)
                .with("status", status)
                .text("reason", reason),
            Event::ProxyFailed {
                server,
                peer,
                reason,
            } => Line::new("proxy")
                .with("serverid", server)
                .with("remoteip", peer)
                .text("error", reason),
            Event::Message {
                transaction,
                sender,
                recipients,
                size,
                helo,
                sasl,
                code,
                reason,
            } => Line::new("message")
                .with("sender", format_args!("<{sender}>"))
                .with("recipients", recipients)
                .maybe("size", size.as_ref())
                .maybe("helo", helo.as_ref())
                .maybe("sasl", sasl.as_ref())
                .with("action", action(*code))
                .with("code", code)
                .text("reason", reason)
                .with("transactionid", transaction),
            Event::Refused {
                command,
                code,
                reason,
                ..
            } => Line::new("refuse")
                .with("command", if command.is_empty() { "-" } else { command })
                .with("code", code)
                .text("reason", reason),
        };
        line.fmt(f)
    }
}

/// What a reply to a message means for it.
fn action(code: u16) -> &'static str {
    match code {
        200..=299 => "ACCEPT",
        400..=499 => "DEFER",
        _ => "REJECT",
    }
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
    /// Connections of proxies that began without a good PROXY header.
    pub proxy_failed: Counter,
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
    /// From the end of each command to its reply.
    pub commands: CommandTimes,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_fixed_keys_and_no_peer_can_forge_one() {
        let message = Event::Message {
            transaction: "T1".to_owned(),
            sender: "a@example.org".to_owned(),
            recipients: 2,
            size: Some(1234),
            helo: Some("x code=250".to_owned()),
            sasl: None,
            code: 550,
            reason: "5.7.1 \"no\"\ncode=250".to_owned(),
        };
        let connect = Event::Connect {
            connection: "C1".to_owned(),
            remoteip: [192, 0, 2, 1].into(),
            remoteport: 1025,
            server: "default".to_owned(),
            proxyip: Some([192, 0, 2, 9].into()),
            ptr: None,
        };
        let disconnect = Event::Disconnect {
            connection: "C1".to_owned(),
            reason: "221 2.0.0 Bye".to_owned(),
            transactions: 1,
            duration: Duration::from_millis(1500),
        };
        insta::assert_snapshot!(format!("{connect}\n{message}\n{disconnect}"), @r#"
        connect remoteip=192.0.2.1 remoteport=1025 serverid=default proxyip=192.0.2.9
        message sender=<a@example.org> recipients=2 size=1234 helo="x code=250" action=REJECT code=550 reason="5.7.1 \"no\"\ncode=250" transactionid=T1
        disconnect reason="221 2.0.0 Bye" transactions=1 duration=1.500
        "#);
        assert_eq!(message.id(), "T1");
    }
}
