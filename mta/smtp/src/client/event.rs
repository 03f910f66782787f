//! What goes into the machine and what comes out.

use super::config::State;
use super::transaction::Transaction;
use crate::reply::EnhancedStatus;
use crate::session::TransportError;

/// An event for the machine.
#[derive(Debug)]
pub enum Input<'a> {
    /// Bytes of the server.
    Bytes(&'a [u8]),
    /// The handshake after [`Output::StartTls`] is done and good enough for the driver.
    TlsDone,
    /// The handshake failed, for this reason.
    TlsFailed(String),
    /// Send a message; given when the session is ready or reusable.
    Begin(Box<Transaction>),
    /// Ask whether the recipients would be taken, and send nothing; given as [`Input::Begin`] is. An accepted recipient has
    /// the reply to its RCPT as its outcome.
    Probe(Box<Transaction>),
    /// The next piece of the message.
    Content(&'a [u8]),
    /// All of the message was given.
    ContentEnd,
    /// The message cannot be read, for this reason.
    ContentFailed(String),
    /// End the session.
    Quit,
    /// Time has passed.
    Tick,
    /// The server has closed the connection, or the transport failed.
    Gone(Option<TransportError>),
}

/// A request of the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// The server is ready for the handshake.
    StartTls,
    /// A message can be sent.
    Ready,
    /// The server awaits the message.
    Content,
    /// The transaction is over; one outcome for each recipient, in order.
    Done(Vec<Outcome>),
    /// The session did not get ready.
    Failed {
        /// What happened.
        outcome: Outcome,
        /// TLS was optional and is what failed: a new connection without it may work.
        retry_in_clear: bool,
    },
    /// The connection is of no more use. This is the last output.
    Close,
}

/// How an attempt ended: with a reply (`attempt.result`) or without (`attempt.error`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The server said so.
    Reply(PeerReply),
    /// There was no reply, or none that could be understood.
    Error(Failure),
}

impl Outcome {
    /// Whether the message was accepted: any 2xx after its end.
    #[must_use]
    pub fn is_success(&self) -> bool {
        matches!(self, Self::Reply(reply) if reply.code / 100 == 2 && reply.state == State::Eod)
    }

    /// Whether another try may work: 4xx or a temporary error.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Reply(reply) => reply.code / 100 == 4,
            Self::Error(failure) => failure.temporary,
        }
    }
}

/// A reply of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerReply {
    /// Three digits.
    pub code: u16,
    /// The enhanced status, if the text begins with one that fits the code.
    pub enhanced: Option<EnhancedStatus>,
    /// The lines without codes. Control bytes are `?`; what is no UTF-8 is U+FFFD.
    pub reason: Vec<String>,
    /// What it answers.
    pub state: State,
}

/// Why there is no reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Another try may work.
    pub temporary: bool,
    /// For people.
    pub message: String,
    /// Where it happened.
    pub kind: FailureKind,
    /// What a notification should say, where the cause is known that well.
    pub status: Option<EnhancedStatus>,
}

/// `attempt.error.type`. The machine makes Config, Network, Protocol, Smtp and Tls; the others are
/// for what surrounds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// Settings that cannot work.
    Config,
    /// No address found.
    Dns,
    /// Connection refused, lost or silent.
    Network,
    /// TLSA records do not match.
    Dane,
    /// Not SMTP.
    Protocol,
    /// The server lacks what the message needs.
    Smtp,
    /// No TLS where it is required.
    Tls,
    /// A delivery plugin.
    Plugin,
}

impl FailureKind {
    /// The word that scripts see.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Dns => "dns",
            Self::Network => "network",
            Self::Dane => "dane",
            Self::Protocol => "protocol",
            Self::Smtp => "smtp",
            Self::Tls => "tls",
            Self::Plugin => "plugin",
        }
    }
}

impl Failure {
    /// A failure that another try may mend.
    #[must_use]
    pub fn temporary(kind: FailureKind, message: impl Into<String>) -> Self {
        Self {
            temporary: true,
            message: message.into(),
            kind,
            status: None,
        }
    }

    /// A failure for good.
    #[must_use]
    pub fn permanent(kind: FailureKind, message: impl Into<String>) -> Self {
        Self {
            temporary: false,
            ..Self::temporary(kind, message)
        }
    }

    /// Adds the status for notifications.
    #[must_use]
    pub fn with_status(self, class: u8, subject: u16, detail: u16) -> Self {
        Self {
            status: Some(EnhancedStatus::new(class, subject, detail)),
            ..self
        }
    }
}
