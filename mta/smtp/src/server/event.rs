//! What goes into the machine and what comes out.

use crate::address::{Mailbox, ReversePath};
use crate::param::Params;
use crate::reply::Reply;
use crate::session::{CloseBy, HeloVerb, LastReply, TlsInfo, TransportError};
use crate::verdict::Verdict;

/// An event for the machine.
#[derive(Debug)]
pub enum Input<'a> {
    /// Bytes of the client.
    Bytes(&'a [u8]),
    /// The answer to [`Output::Hook`].
    Verdict(Verdict),
    /// [`Output::OpenBody`] or [`Output::Body`] is done.
    Stored,
    /// [`Output::OpenBody`] or [`Output::Body`] failed; the store has dropped the message.
    StoreFailed(StoreFailure),
    /// The handshake after [`Output::StartTls`] succeeded.
    TlsDone(TlsInfo),
    /// Time has passed.
    Tick,
    /// The client has closed the connection, or the transport failed.
    Gone(Option<TransportError>),
    /// The server stops: finish the transaction under way, then 421.
    Shutdown,
    /// An operator ends the session with this reply, whatever goes on. Not to be given while a hook runs:
    /// its verdict would be lost.
    Dismiss(Reply),
}

/// Why a message could not be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreFailure {
    /// 452 4.3.1: no room.
    Full,
    /// 451 4.3.0: an error of the local system.
    Broken,
}

/// A request of the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Run the hook of a phase.
    Hook(Hook),
    /// DATA was accepted: make room for a message.
    OpenBody,
    /// The next piece of content, normalised; about 64 KiB, the last one less.
    Body(Vec<u8>),
    /// The message that was opened will not be finished.
    AbortBody,
    /// 220 is among the replies: start TLS.
    StartTls,
    /// XCLIENT has said for whom the client speaks, and the session has it. Nothing is to be done.
    Introduced,
    /// The session is over. This is the last output.
    Close(Closing),
}

/// The phase and its `$arguments`; the rest is in the session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hook {
    /// connect; all of it is in the session.
    Connect,
    /// proxy
    Proxy {
        /// The line without CRLF.
        command: Vec<u8>,
    },
    /// helo
    Helo {
        /// The verb.
        verb: HeloVerb,
        /// The name given.
        host: String,
        /// The lines about to be announced; `None` for HELO.
        extensions: Option<Vec<String>>,
    },
    /// auth
    Auth {
        /// Upper case.
        mechanism: String,
        /// What the client sent.
        arguments: AuthArguments,
    },
    /// mailfrom
    MailFrom {
        /// The sender.
        sender: ReversePath,
        /// The parameters.
        params: Params,
    },
    /// rcptto
    RcptTo {
        /// The recipient.
        recipient: Mailbox,
        /// The parameters.
        params: Params,
        /// The transport of the configuration.
        transport_id: String,
    },
    /// eod
    Eod {
        /// Bytes of content, without what the store added.
        size: u64,
    },
}

/// `$arguments` of the auth hook.
#[derive(Clone, PartialEq, Eq)]
pub enum AuthArguments {
    /// PLAIN and LOGIN.
    Credentials {
        /// The user name.
        username: String,
        /// The password.
        password: String,
    },
    /// Other mechanisms.
    Exchange {
        /// 0 on AUTH, one more after each Reply.
        state: u32,
        /// The decoded response; `None` when AUTH had no initial one.
        response: Option<Vec<u8>>,
    },
}

impl std::fmt::Debug for AuthArguments {
    /// Leaves the secrets out.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Credentials { username, .. } => f
                .debug_struct("Credentials")
                .field("username", username)
                .finish_non_exhaustive(),
            Self::Exchange { state, response } => f
                .debug_struct("Exchange")
                .field("state", state)
                .field("response", &response.as_ref().map(Vec::len))
                .finish(),
        }
    }
}

/// How a session ended (`$arguments` of the disconnect hook).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closing {
    /// Who closed.
    pub by: CloseBy,
    /// The last reply, if any was sent.
    pub reply: Option<LastReply>,
    /// What broke the transport.
    pub error: Option<TransportError>,
}
