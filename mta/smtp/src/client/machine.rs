//! The machine itself.

use std::collections::VecDeque;

use super::config::{Config, Protocol, State, TlsMode};
use super::event::{Failure, FailureKind, Input, Outcome, Output, PeerReply};
use super::peer::Peer;
use super::reply::ReplyReader;
use super::transaction::Transaction;
use crate::Time;
use crate::address::is_greeting_name;
use crate::content::Encoder;
use crate::session::{TransportError, TransportErrorKind};

/// One SMTP or LMTP connection of the sending side. See the [module](super) for how to drive it.
pub struct Client {
    config: Config,
    now: Time,
    stage: Stage,
    /// What the next replies answer, in order.
    expected: VecDeque<State>,
    /// When the present wait began.
    since: Time,
    reader: ReplyReader,
    requests: Vec<u8>,
    outputs: VecDeque<Output>,
    peer: Peer,
    greeting: Vec<String>,
    tls: bool,
    /// STARTTLS was refused and is not tried again.
    tls_refused: bool,
    authenticated: bool,
    transactions: u32,
    /// The last transaction ended before its message: RSET comes first.
    dirty: bool,
}

/// Where the session stands.
enum Stage {
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
    Content(Box<Current>, Encoder),
    /// The message is sent.
    Ending(Box<Current>),
    /// The envelope failed but the server awaits a message: an empty one was sent.
    Draining(Box<Current>),
    /// QUIT is sent.
    Quitting,
    /// Over.
    Closed,
}

/// A transaction under way.
struct Current {
    transaction: Transaction,
    /// One for each recipient; `None` as long as it is not decided.
    results: Vec<Option<Outcome>>,
    /// RCPT replies seen.
    answered: usize,
    /// EOD replies seen (LMTP).
    ended: usize,
    /// Recipients that RCPT accepted.
    accepted: Vec<usize>,
    mail_accepted: bool,
}

impl Current {
    fn new(transaction: Transaction) -> Self {
        Self {
            results: vec![None; transaction.recipients.len()],
            transaction,
            answered: 0,
            ended: 0,
            accepted: Vec::new(),
            mail_accepted: false,
        }
    }

    /// Decides all that is open.
    fn settle(&mut self, outcome: &Outcome) {
        for result in &mut self.results {
            result.get_or_insert_with(|| outcome.clone());
        }
    }

    fn decide(&mut self, recipient: usize, outcome: Outcome) {
        if let Some(result) = self.results.get_mut(recipient) {
            result.get_or_insert(outcome);
        }
    }
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
            Input::Begin(transaction) => self.begin(*transaction),
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
    }

    /// When [`Input::Tick`] is due next. Nothing is due between messages.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        let limit = match &self.stage {
            Stage::Idle | Stage::Closed => return None,
            Stage::Content(..) => self.config.timeouts.block,
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

    /// Whether [`Input::Begin`] makes sense now.
    #[must_use]
    pub fn is_reusable(&self) -> bool {
        matches!(self.stage, Stage::Idle)
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
            State::AuthPlain | State::AuthLogin | State::AuthLoginUser | State::Auth => {
                self.auth_reply(reply)
            }
            State::Rset => self.rset_reply(reply),
            State::Mail => self.mail_reply(reply),
            State::Rcpt => self.rcpt_reply(reply),
            State::Data => self.data_reply(reply),
            State::Eod => self.eod_reply(reply),
            State::Quit => self.close(),
            State::AuthCramMd5 | State::Xclient | State::Bdat | State::Noop => {
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

    fn banner(&mut self, reply: PeerReply) {
        match reply.code {
            220 => {
                self.greeting = reply.reason;
                self.greet();
            }
            400.. => self.fail(Outcome::Reply(reply)),
            _ => self.wrong_reply(&reply),
        }
    }

    fn greet(&mut self) {
        let (verb, state) = match self.config.protocol {
            Protocol::Smtp => ("EHLO", State::Ehlo),
            Protocol::Lmtp => ("LHLO", State::Lhlo),
        };
        let line = format!("{verb} {}", self.config.helo);
        self.command(&line, state);
    }

    fn greeted(&mut self, reply: PeerReply) {
        let needs_extensions =
            self.config.auth.is_some() || (self.config.tls == TlsMode::Required && !self.tls);
        match reply.code {
            200..=299 => {
                self.peer = if reply.state == State::Helo {
                    Peer::default()
                } else {
                    Peer::from_lines(&reply.reason)
                };
                self.proceed();
            }
            500.. if reply.state == State::Ehlo && !needs_extensions => {
                let line = format!("HELO {}", self.config.helo);
                self.command(&line, State::Helo);
            }
            400.. => self.fail(Outcome::Reply(reply)),
            _ => self.wrong_reply(&reply),
        }
    }

    /// After a greeting: TLS, AUTH or ready.
    fn proceed(&mut self) {
        let wants_tls = !self.tls && !self.tls_refused && self.config.tls != TlsMode::Disabled;
        if wants_tls && self.peer.starttls {
            return self.command("STARTTLS", State::StartTls);
        }
        if wants_tls && self.config.tls == TlsMode::Required {
            let failure = Failure::temporary(FailureKind::Tls, "STARTTLS is not offered");
            return self.fail(Outcome::Error(failure.with_status(4, 7, 5)));
        }
        if self.config.auth.is_some() && !self.authenticated {
            return self.start_auth();
        }
        self.stage = Stage::Idle;
        self.outputs.push_back(Output::Ready);
    }

    fn starttls_reply(&mut self, reply: PeerReply) {
        match reply.code {
            220 => {
                self.stage = Stage::Handshake;
                self.outputs.push_back(Output::StartTls);
            }
            400.. if self.config.tls == TlsMode::Required => self.fail(Outcome::Reply(reply)),
            400.. => {
                self.tls_refused = true;
                self.proceed();
            }
            _ => self.wrong_reply(&reply),
        }
    }

    fn tls_done(&mut self) {
        if matches!(self.stage, Stage::Handshake) {
            self.tls = true;
            self.stage = Stage::Opening;
            self.reader = ReplyReader::default();
            self.peer = Peer::default();
            self.greet();
        }
    }

    fn tls_failed(&mut self, reason: &str) {
        if matches!(self.stage, Stage::Handshake) {
            let failure =
                Failure::temporary(FailureKind::Tls, format!("TLS handshake failed: {reason}"));
            self.fail(Outcome::Error(failure.with_status(4, 7, 5)));
        }
    }

    fn start_auth(&mut self) {
        let offers = |name: &str| self.peer.auth.iter().any(|mechanism| mechanism == name);
        if offers("PLAIN") {
            let line = format!("AUTH PLAIN {}", self.plain_response());
            self.command(&line, State::AuthPlain);
        } else if offers("LOGIN") {
            self.command("AUTH LOGIN", State::AuthLogin);
        } else {
            let failure =
                Failure::temporary(FailureKind::Smtp, "no known AUTH mechanism is offered");
            self.fail(Outcome::Error(failure));
        }
    }

    /// RFC 4616.
    fn plain_response(&self) -> String {
        let (username, password) = self.credentials();
        base64(&[b"\0", username.as_bytes(), b"\0", password.as_bytes()].concat())
    }

    fn credentials(&self) -> (&str, &str) {
        self.config.auth.as_ref().map_or(("", ""), |auth| {
            (auth.username.as_str(), auth.password.as_str())
        })
    }

    fn auth_reply(&mut self, reply: PeerReply) {
        let (username, password) = self.credentials();
        match (reply.code, reply.state) {
            (200..=299, State::AuthPlain | State::Auth) => {
                self.authenticated = true;
                self.proceed();
            }
            (334, State::AuthPlain) => {
                let line = self.plain_response();
                self.command(&line, State::Auth);
            }
            (334, State::AuthLogin) => {
                let line = base64(username.as_bytes());
                self.command(&line, State::AuthLoginUser);
            }
            (334, State::AuthLoginUser) => {
                let line = base64(password.as_bytes());
                self.command(&line, State::Auth);
            }
            (400.., _) => self.fail(Outcome::Reply(reply)),
            _ => self.wrong_reply(&reply),
        }
    }

    fn begin(&mut self, transaction: Transaction) {
        let mut current = Box::new(Current::new(transaction));
        if !matches!(self.stage, Stage::Idle) {
            let failure = Failure::temporary(FailureKind::Network, "the connection is not ready");
            current.settle(&Outcome::Error(failure));
            return self.report(*current);
        }
        if current.transaction.needs_utf8() && !self.peer.smtputf8 {
            let message = "the message needs SMTPUTF8, which the server does not offer";
            let failure = Failure::permanent(FailureKind::Smtp, message).with_status(5, 6, 7);
            current.settle(&Outcome::Error(failure));
            return self.report(*current);
        }
        self.transactions = self.transactions.saturating_add(1);
        if std::mem::take(&mut self.dirty) {
            self.stage = Stage::Resetting(current);
            self.command("RSET", State::Rset);
        } else {
            self.envelope(current);
        }
    }

    fn rset_reply(&mut self, reply: PeerReply) {
        match (std::mem::replace(&mut self.stage, Stage::Idle), reply.code) {
            (Stage::Resetting(current), 200..=299) => self.envelope(current),
            (stage, 400..) => {
                self.stage = stage;
                self.fail(Outcome::Reply(reply));
            }
            (stage, _) => {
                self.stage = stage;
                self.wrong_reply(&reply);
            }
        }
    }

    /// Sends MAIL, and the rest at once where the server takes it.
    fn envelope(&mut self, mut current: Box<Current>) {
        let transaction = &current.transaction;
        let mail = transaction.mail(&self.peer);
        let rcpts: Result<Vec<String>, _> = transaction
            .recipients
            .iter()
            .map(|rcpt| rcpt.rcpt(&self.peer))
            .collect();
        let (mail, rcpts) = match (mail, rcpts) {
            (Ok(mail), Ok(rcpts)) if !rcpts.is_empty() => (mail, rcpts),
            _ => {
                let failure = Failure::permanent(
                    FailureKind::Config,
                    "the envelope cannot be written as commands",
                );
                current.settle(&Outcome::Error(failure));
                self.stage = Stage::Idle;
                return self.report(*current);
            }
        };
        self.stage = Stage::Envelope(current);
        self.command(&mail, State::Mail);
        if self.pipelines() {
            for rcpt in rcpts {
                self.command(&rcpt, State::Rcpt);
            }
            self.command("DATA", State::Data);
        }
    }

    fn pipelines(&self) -> bool {
        self.config.pipelining && self.peer.pipelining
    }

    fn mail_reply(&mut self, reply: PeerReply) {
        let pipelines = self.pipelines();
        let Stage::Envelope(current) = &mut self.stage else {
            return self.wrong_reply(&reply);
        };
        match reply.code {
            200..=299 => {
                current.mail_accepted = true;
                if !pipelines {
                    self.next_rcpt();
                }
            }
            400.. => {
                current.settle(&Outcome::Reply(reply));
                if !pipelines {
                    self.finish();
                }
            }
            _ => self.wrong_reply(&reply),
        }
    }

    fn rcpt_reply(&mut self, reply: PeerReply) {
        let pipelines = self.pipelines();
        let Stage::Envelope(current) = &mut self.stage else {
            return self.wrong_reply(&reply);
        };
        let recipient = current.answered;
        current.answered += 1;
        match reply.code {
            200..=299 => current.accepted.push(recipient),
            400.. => current.decide(recipient, Outcome::Reply(reply)),
            _ => return self.wrong_reply(&reply),
        }
        if !pipelines {
            self.next_rcpt();
        }
    }

    /// The next command of an envelope that goes step by step.
    fn next_rcpt(&mut self) {
        let Stage::Envelope(current) = &self.stage else {
            return;
        };
        match current.transaction.recipients.get(current.answered) {
            // `envelope` has built all of them once, so this cannot fail.
            Some(rcpt) => match rcpt.rcpt(&self.peer) {
                Ok(line) => self.command(&line, State::Rcpt),
                Err(error) => self.protocol_error(&error.to_string()),
            },
            None if current.accepted.is_empty() => self.finish(),
            None => self.command("DATA", State::Data),
        }
    }

    fn data_reply(&mut self, reply: PeerReply) {
        let Stage::Envelope(mut current) = std::mem::replace(&mut self.stage, Stage::Idle) else {
            return self.wrong_reply(&reply);
        };
        let usable = current.mail_accepted && !current.accepted.is_empty();
        match reply.code {
            300..=399 if reply.code != 354 => {
                self.stage = Stage::Envelope(current);
                self.wrong_reply(&reply);
            }
            354 if usable => {
                self.stage = Stage::Content(current, Encoder::new());
                self.outputs.push_back(Output::Content);
            }
            // The server wants a message although nobody is left to get it (RFC 2920 §3.1).
            354 => {
                self.stage = Stage::Draining(current);
                Encoder::new().finish(&mut self.requests);
                self.expected.push_back(State::Eod);
                self.since = self.now;
            }
            400.. => {
                current.settle(&Outcome::Reply(reply));
                self.stage = Stage::Envelope(current);
                self.finish();
            }
            _ => {
                self.stage = Stage::Envelope(current);
                self.wrong_reply(&reply);
            }
        }
    }

    fn content(&mut self, piece: &[u8]) {
        if let Stage::Content(_, encoder) = &mut self.stage {
            encoder.encode(piece, &mut self.requests);
            self.since = self.now;
        }
    }

    fn content_end(&mut self) {
        match std::mem::replace(&mut self.stage, Stage::Idle) {
            Stage::Content(current, encoder) => {
                encoder.finish(&mut self.requests);
                let replies = match self.config.protocol {
                    Protocol::Smtp => 1,
                    Protocol::Lmtp => current.accepted.len(),
                };
                self.expected
                    .extend(std::iter::repeat_n(State::Eod, replies));
                self.since = self.now;
                self.stage = Stage::Ending(current);
            }
            other => self.stage = other,
        }
    }

    fn eod_reply(&mut self, reply: PeerReply) {
        if (300..400).contains(&reply.code) {
            return self.wrong_reply(&reply);
        }
        match &mut self.stage {
            Stage::Ending(current) => match self.config.protocol {
                Protocol::Smtp => current.settle(&Outcome::Reply(reply)),
                Protocol::Lmtp => {
                    if let Some(recipient) = current.accepted.get(current.ended).copied() {
                        current.decide(recipient, Outcome::Reply(reply));
                    }
                    current.ended += 1;
                }
            },
            Stage::Draining(_) => {}
            _ => return self.wrong_reply(&reply),
        }
        if self.expected.is_empty() {
            self.finish();
        }
    }

    /// The transaction is over and the connection goes on.
    fn finish(&mut self) {
        match std::mem::replace(&mut self.stage, Stage::Idle) {
            Stage::Envelope(current) => {
                self.dirty = true;
                self.report(*current);
            }
            Stage::Ending(current) | Stage::Draining(current) => self.report(*current),
            other => self.stage = other,
        }
    }

    fn report(&mut self, mut current: Current) {
        // Every path decides every recipient; if one did not, the message is tried again.
        let failure = Failure::temporary(
            FailureKind::Protocol,
            "the server gave no answer for this recipient",
        );
        current.settle(&Outcome::Error(failure));
        self.outputs.push_back(Output::Done(
            current.results.into_iter().flatten().collect(),
        ));
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
            (Stage::Content(..), _) => "timeout while sending the message".to_owned(),
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
            (Stage::Content(..), _) => "while sending the message".to_owned(),
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

    fn wrong_reply(&mut self, reply: &PeerReply) {
        self.protocol_error(&format!(
            "unexpected reply {} to {}",
            reply.code,
            reply.state.as_str()
        ));
    }

    fn protocol_error(&mut self, message: &str) {
        self.fail(Outcome::Error(Failure::temporary(
            FailureKind::Protocol,
            message,
        )));
    }

    /// Ends the session with this outcome for whatever is under way.
    fn fail(&mut self, outcome: Outcome) {
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

    fn close(&mut self) {
        if !matches!(
            std::mem::replace(&mut self.stage, Stage::Closed),
            Stage::Closed
        ) {
            self.outputs.push_back(Output::Close);
        }
    }

    /// Queues a command line.
    fn command(&mut self, line: &str, state: State) {
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

/// RFC 4648 §4.
fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
