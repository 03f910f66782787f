//! The machine itself.

use std::collections::VecDeque;

use super::body::Body;
use super::config::{Config, State, TlsMode};
use super::dialogue::Current;
use super::event::{Failure, FailureKind, Input, Outcome, Output, PeerReply};
use super::peer::Peer;
use super::reply::ReplyReader;
use crate::Time;
use crate::address::is_greeting_name;
use crate::session::{TransportError, TransportErrorKind};

/// One SMTP or LMTP connection of the sending side. See the [module](super) for how to drive it.
pub struct Client {
    pub(super) config: Config,
    pub(super) now: Time,
    pub(super) stage: Stage,
    /// What the next replies answer, in order.
    pub(super) expected: VecDeque<State>,
    /// When the present wait began.
    pub(super) since: Time,
    pub(super) reader: ReplyReader,
    pub(super) requests: Vec<u8>,
    pub(super) outputs: VecDeque<Output>,
    pub(super) peer: Peer,
    pub(super) greeting: Vec<String>,
    pub(super) tls: bool,
    /// STARTTLS was refused and is not tried again.
    pub(super) tls_refused: bool,
    /// XCLIENT was sent, or there was nothing to send.
    pub(super) introduced: bool,
    pub(super) authenticated: bool,
    pub(super) transactions: u32,
    /// The last transaction ended before its message: RSET comes first.
    pub(super) dirty: bool,
}

/// Where the session stands.
pub(super) enum Stage {
    /// Before it is ready.
    Opening,
    /// The handshake is under way.
    Handshake,
    /// Between messages.
    Idle,
    /// RSET is sent before this transaction.
    Resetting(Box<Current>),
    /// Commands are sent.
    Envelope(Box<Current>),
    /// The message is being sent.
    Content(Box<Current>, Body),
    /// The message is sent.
    Ending(Box<Current>),
    /// All is decided, and replies are missing: the envelope failed but the server awaited a message, and an empty one was
    /// sent; or a chunk was refused after others had been sent.
    Draining(Box<Current>),
    /// QUIT is sent.
    Quitting,
    /// Over.
    Closed,
}

impl Client {
    /// Starts a session on a new connection. `tls` says that it is encrypted already.
    #[must_use]
    pub fn new(config: Config, tls: bool, now: Time) -> Self {
        let mut client = Self {
            config,
            now,
            stage: Stage::Opening,
            expected: VecDeque::from([State::Banner]),
            since: now,
            reader: ReplyReader::default(),
            requests: Vec::new(),
            outputs: VecDeque::new(),
            peer: Peer::default(),
            greeting: Vec::new(),
            tls,
            tls_refused: false,
            introduced: false,
            authenticated: false,
            transactions: 0,
            dirty: false,
        };
        if !is_greeting_name(&client.config.helo) {
            let message = format!("`{}` cannot be used as HELO name", client.config.helo);
            client.fail(Outcome::Error(Failure::permanent(
                FailureKind::Config,
                message,
            )));
        }
        client
    }

    /// Feeds one event.
    pub fn handle(&mut self, now: Time, input: Input<'_>) {
        self.now = self.now.max(now);
        match input {
            Input::Bytes(bytes) => self.receive(bytes),
            Input::TlsDone => self.tls_done(),
            Input::TlsFailed(reason) => self.tls_failed(&reason),
            Input::Begin(transaction) => self.begin(*transaction, false),
            Input::Probe(transaction) => self.begin(*transaction, true),
            Input::Content(piece) => self.content(piece),
            Input::ContentEnd => self.content_end(),
            Input::ContentFailed(reason) => {
                let message = format!("cannot read the message: {reason}");
                self.fail(Outcome::Error(Failure::temporary(
                    FailureKind::Smtp,
                    message,
                )));
            }
            Input::Quit => self.quit(),
            Input::Tick => self.tick(),
            Input::Gone(error) => self.gone(error),
        }
    }

    /// Takes the next request, if any.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Bytes that are not yet written.
    #[must_use]
    pub fn requests(&self) -> &[u8] {
        &self.requests
    }

    /// Says that the first `count` bytes of [`Self::requests`] are written.
    pub fn written(&mut self, count: usize) {
        self.requests.drain(..count.min(self.requests.len()));
        // A pooled connection keeps no buffer of its last message.
        if self.requests.is_empty() && self.requests.capacity() > 4096 && self.is_idle() {
            self.requests = Vec::new();
        }
    }

    /// When [`Input::Tick`] is due next. Nothing is due between messages.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        let limit = match &self.stage {
            Stage::Idle | Stage::Closed => return None,
            Stage::Content(_, body) if body.has_room() => self.config.timeouts.block,
            Stage::Content(..) => self.config.timeouts.get(State::Bdat),
            Stage::Handshake => self.config.timeouts.get(State::StartTls),
            _ => self.config.timeouts.get(*self.expected.front()?),
        };
        self.since.checked_add(limit)
    }

    /// What the server announced last.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// The lines of the banner, once it was 220 (`remotegreet`).
    #[must_use]
    pub fn greeting(&self) -> &[String] {
        &self.greeting
    }

    /// Messages begun on this connection.
    #[must_use]
    pub fn transactions(&self) -> u32 {
        self.transactions
    }

    /// Whether [`Input::Begin`] makes sense now: between messages, as long as the server takes
    /// another one (RFC 9422).
    #[must_use]
    pub fn is_reusable(&self) -> bool {
        let full = |max| self.transactions >= max;
        self.is_idle() && !self.peer.mailmax.is_some_and(full)
    }

    /// Whether the session is between messages, so that [`Input::Quit`] is polite.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        matches!(self.stage, Stage::Idle)
    }

    /// What is awaited, for people: the name of a [`State`], or `IDLE` between messages.
    #[must_use]
    pub fn state(&self) -> &'static str {
        match &self.stage {
            Stage::Handshake => State::StartTls.as_str(),
            Stage::Content(_, Body::Data(_)) => State::Data.as_str(),
            Stage::Content(_, Body::Chunks(_)) => State::Bdat.as_str(),
            Stage::Idle => "IDLE",
            Stage::Closed => "CLOSED",
            _ => self.expected.front().map_or("IDLE", |state| state.as_str()),
        }
    }

    /// Whether the next piece of the message makes sense now. If not, the server has to answer first or has refused the
    /// message; what is given all the same is kept in memory.
    #[must_use]
    pub fn wants_content(&self) -> bool {
        matches!(&self.stage, Stage::Content(_, body) if body.has_room())
    }

    /// Whether the message is not all given yet, and the server has not refused it.
    #[must_use]
    pub fn awaits_content(&self) -> bool {
        matches!(&self.stage, Stage::Content(..))
    }

    /// Whether what is to be written is the message, for a log of the dialogue.
    #[must_use]
    pub fn is_sending(&self) -> bool {
        matches!(
            self.stage,
            Stage::Content(..) | Stage::Ending(_) | Stage::Draining(_)
        )
    }

    /// Whether what is to be written may be a secret, for the same log.
    #[must_use]
    pub fn is_secret(&self) -> bool {
        let state = self.expected.front();
        state.is_some_and(|state| state.as_str().starts_with("AUTH"))
    }

    /// Whether the connection is over.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(self.stage, Stage::Closed)
    }

    fn receive(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            // What comes in clear behind the reply to STARTTLS is forged.
            if matches!(self.stage, Stage::Handshake | Stage::Closed) {
                return;
            }
            match self.reader.read(rest) {
                Ok((used, reply)) => {
                    rest = rest.get(used..).unwrap_or_default();
                    if let Some(reply) = reply {
                        let state = self.expected.pop_front();
                        self.since = self.now;
                        match state {
                            Some(state) => self.reply(reply.answering(state)),
                            None => self.unexpected(reply.answering(State::Eod)),
                        }
                    }
                }
                Err(error) => {
                    let to = self
                        .expected
                        .front()
                        .map_or("nothing", |state| state.as_str());
                    return self.protocol_error(&format!("{error} in answer to {to}"));
                }
            }
        }
    }

    /// A reply in its turn.
    fn reply(&mut self, reply: PeerReply) {
        // 421 says that the connection ends, whatever was asked (RFC 5321 §3.8).
        if reply.code == 421 && !matches!(self.stage, Stage::Quitting) {
            return self.fail(Outcome::Reply(reply));
        }
        match reply.state {
            State::Banner => self.banner(reply),
            State::Ehlo | State::Lhlo | State::Helo => self.greeted(reply),
            State::StartTls => self.starttls_reply(reply),
            State::AuthCramMd5
            | State::AuthPlain
            | State::AuthLogin
            | State::AuthLoginUser
            | State::Auth => self.auth_reply(reply),
            State::Rset => self.rset_reply(reply),
            State::Mail => self.mail_reply(reply),
            State::Rcpt => self.rcpt_reply(reply),
            State::Data => self.data_reply(reply),
            State::Eod => self.eod_reply(reply),
            State::Quit => self.close(),
            State::Xclient => self.xclient_reply(reply),
            State::Bdat => self.chunk_reply(reply),
            State::Noop => {
                self.protocol_error("reply to a command that was not sent");
            }
        }
    }

    /// A reply to nothing.
    fn unexpected(&mut self, reply: PeerReply) {
        match &self.stage {
            // Mostly 421 before an idle connection is closed.
            Stage::Idle => self.close(),
            // The server gives up in the middle of the message; it may or may not read the rest.
            Stage::Content(..) if reply.code >= 400 => self.fail(Outcome::Reply(reply)),
            _ => self.protocol_error("reply to a command that was not sent"),
        }
    }

    fn quit(&mut self) {
        if matches!(self.stage, Stage::Idle) {
            self.stage = Stage::Quitting;
            self.command("QUIT", State::Quit);
        } else {
            self.fail(Outcome::Error(Failure::temporary(
                FailureKind::Network,
                "the connection was given up",
            )));
        }
    }

    fn tick(&mut self) {
        if self.deadline().is_none_or(|deadline| deadline > self.now) {
            return;
        }
        let what = match (&self.stage, self.expected.front()) {
            (Stage::Content(_, body), _) if body.has_room() => {
                "timeout while sending the message".to_owned()
            }
            (Stage::Handshake, _) => return self.tls_failed("timeout"),
            (_, Some(State::Banner)) => "timeout waiting for the banner".to_owned(),
            (_, Some(state)) => format!("timeout waiting for the reply to {}", state.as_str()),
            (_, None) => "timeout".to_owned(),
        };
        let failure = Failure::temporary(FailureKind::Network, what);
        self.fail(Outcome::Error(failure.with_status(4, 4, 1)));
    }

    fn gone(&mut self, error: Option<TransportError>) {
        let during = match (&self.stage, self.expected.front()) {
            (Stage::Handshake, _) => return self.tls_failed("connection closed"),
            (Stage::Content(_, body), _) if body.has_room() => {
                "while sending the message".to_owned()
            }
            (_, Some(State::Banner)) => "before the banner".to_owned(),
            (_, Some(state)) => format!("before the reply to {}", state.as_str()),
            (_, None) => "while idle".to_owned(),
        };
        let (kind, what) = match error {
            Some(error) if error.kind == TransportErrorKind::Tls => {
                (FailureKind::Tls, error.reason)
            }
            Some(error) => (FailureKind::Network, error.reason),
            None => (
                FailureKind::Network,
                "connection closed by the server".to_owned(),
            ),
        };
        let failure = Failure::temporary(kind, format!("{what} {during}"));
        self.fail(Outcome::Error(failure.with_status(4, 4, 2)));
    }

    pub(super) fn wrong_reply(&mut self, reply: &PeerReply) {
        self.protocol_error(&format!(
            "unexpected reply {} to {}",
            reply.code,
            reply.state.as_str()
        ));
    }

    pub(super) fn protocol_error(&mut self, message: &str) {
        self.fail(Outcome::Error(Failure::temporary(
            FailureKind::Protocol,
            message,
        )));
    }

    /// Ends the session with this outcome for whatever is under way.
    pub(super) fn fail(&mut self, outcome: Outcome) {
        let handshake = matches!(self.stage, Stage::Handshake);
        match std::mem::replace(&mut self.stage, Stage::Closed) {
            Stage::Closed => return,
            Stage::Opening | Stage::Handshake => self.outputs.push_back(Output::Failed {
                outcome,
                retry_in_clear: handshake && self.config.tls == TlsMode::Optional,
            }),
            Stage::Resetting(mut current)
            | Stage::Envelope(mut current)
            | Stage::Content(mut current, _)
            | Stage::Ending(mut current)
            | Stage::Draining(mut current) => {
                current.settle(&outcome);
                self.report(*current);
            }
            Stage::Idle | Stage::Quitting => {}
        }
        self.outputs.push_back(Output::Close);
    }

    pub(super) fn close(&mut self) {
        if !matches!(
            std::mem::replace(&mut self.stage, Stage::Closed),
            Stage::Closed
        ) {
            self.outputs.push_back(Output::Close);
        }
    }

    /// Queues a command line.
    pub(super) fn command(&mut self, line: &str, state: State) {
        // Lines are built from checked parts; should one slip through, it cannot end a line here.
        let safe = line
            .bytes()
            .map(|byte| if byte.is_ascii_control() { b'?' } else { byte });
        self.requests.extend(safe);
        self.requests.extend_from_slice(b"\r\n");
        if self.expected.is_empty() {
            self.since = self.now;
        }
        self.expected.push_back(state);
    }
}
