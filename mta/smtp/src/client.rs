//! The sending side: one connection to a mail server as a machine (RFC 5321, 2920, 3207, 2033, 4954, 3030).
//!
//! ```text
//! Banner ─▶ EHLO (─▶ HELO) ─▶ STARTTLS ─▶ EHLO ─▶ AUTH ─▶ Idle ─▶ QUIT ─▶ closed
//!                                                          │  ▲
//!                         [RSET ─▶] MAIL ─▶ RCPT… ─▶ DATA ─▶ content ─▶ EOD
//!                                                └▶ BDAT… ─▶ BDAT LAST ┘
//! ```
//!
//! # Contract with the driver
//!
//! The driver owns the socket, TLS, the timers, the choice of the address and the message. The
//! machine owns the dialogue and everything that is said about it afterwards.
//!
//! 1. Connect (and, for implicit TLS, do the handshake), then make a [`Client`].
//! 2. Repeat:
//!    - Drain [`Client::poll`]:
//!
//!      | output | what to do |
//!      |---|---|
//!      | [`Output::StartTls`] | write all, handshake; answer [`Input::TlsDone`] or [`Input::TlsFailed`] |
//!      | [`Output::Ready`] | the session is open: give [`Input::Begin`] or [`Input::Quit`] |
//!      | [`Output::Content`] | give the message in pieces as [`Input::Content`] while [`Client::wants_content`], then [`Input::ContentEnd`] |
//!      | [`Output::Done`] | one outcome for each recipient; if [`Client::is_reusable`], begin again, pool or quit |
//!      | [`Output::Failed`] | the session never got ready; try the next candidate, or the same in clear |
//!      | [`Output::Close`] | write what is left if possible, then close |
//!
//!    - Write [`Client::requests`] and report with [`Client::written`]; always before the next
//!      [`Input::Content`], which keeps memory to one piece. Go on reading while writing: a server
//!      may refuse in the middle of a message.
//!    - Give everything that is read as [`Input::Bytes`]; nothing is left over.
//!    - Wake at [`Client::deadline`] with [`Input::Tick`].
//! 3. A message that turns out to be unreadable is [`Input::ContentFailed`]: the connection is cut,
//!    because there is no other way to make the server forget what it has.
//!
//! Whatever the message holds, no lone CR or LF and no early end of data is ever written (see
//! [`crate::content`]), but for messages that are BINARYMIME, in chunks; command lines are built from parsed addresses and parameters only.

mod body;
mod config;
mod dialogue;
mod event;
mod machine;
mod opening;
mod peer;
mod reply;
#[cfg(test)]
mod tests;
mod transaction;

pub use config::{
    Config, Credentials, Mechanism, Protocol, State, Timeouts, TlsMode, UnknownState,
};
pub use event::{Failure, FailureKind, Input, Outcome, Output, PeerReply};
pub use machine::Client;
pub use peer::Peer;
pub use transaction::{Demands, DsnMail, DsnRcpt, Rcpt, Ret, Transaction};
