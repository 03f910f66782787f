//! The machine itself: input, output, replies, time.

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use super::auth::{Attempt, Exchange};
use super::body::{Body, Framing};
use super::command::known_verb;
use super::config::Config;
use super::event::{Closing, Hook, Input, Output};
use super::line::{Line, LineReader};
use crate::Time;
use crate::param::Extensions;
use crate::reply::{EnhancedStatus, Reply};
use crate::session::{
    CloseBy, Connection, Envelope, HeloVerb, LastReply, Recipient, Session, TlsInfo, Transaction,
    TransportError,
};
use crate::verdict::{Function, Phase, ReplyOptions, SCRIPT_ERROR, Verdict, compose};

/// Makes the ids of transactions (UUID text). It is the one outside effect that a machine needs
/// at once, so it is handed in.
pub type IdSource = Box<dyn FnMut() -> String>;

/// One SMTP session of the receiving side. See the [module](super) for how to drive it.
pub struct Server {
    pub(super) config: Arc<Config>,
    pub(super) session: Session,
    pub(super) state: State,
    pub(super) now: Time,
    /// The command being answered, for the disconnect hook.
    pub(super) verb: &'static str,
    /// RCPT commands refused in this transaction.
    pub(super) refused: u32,
    /// Accepted MAIL commands.
    pub(super) messages: u32,
    /// A message of which some chunks are received.
    pub(super) partial: Option<Box<Body>>,
    /// A chunk of a message was refused, and its last one has not come.
    pub(super) chunk_refused: bool,
    /// The client may use XCLIENT: who connected, not whom XCLIENT names.
    pub(super) trusted_proxy: bool,
    pub(super) storage_full: bool,
    /// The client may not use enhanced status codes: a helo hook took them away.
    pub(super) plain_codes: bool,
    /// The last bytes held an answer of an AUTH dialogue.
    took_secret: bool,
    /// The proxy hook asked to see the next line.
    pub(super) proxy_next: bool,
    pub(super) outputs: VecDeque<Output>,
    ids: IdSource,
    line: LineReader,
    replies: Vec<u8>,
    last_reply: Option<(Reply, &'static str)>,
    /// When the wait for the next command (or for TLS) began.
    pub(super) waiting_since: Time,
    commands: u32,
    errors: u32,
    stopping: bool,
    /// When the command being answered was complete.
    pub(super) begun: Time,
    /// A hook's verdict is being applied.
    by_hook: bool,
    answered: Vec<Answered>,
}

/// A command that was answered, for counters and the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// The verb; `CONNECT` for the banner, `EOD` for a message, empty for what is no command.
    pub verb: &'static str,
    /// From the end of the command to its reply, hooks and store included.
    pub took: Duration,
    /// The code of the reply.
    pub code: u16,
    /// The reply is a hook's.
    pub by_hook: bool,
    /// A refusal (400 and above).
    pub refusal: Option<Refusal>,
}

/// What a command was refused with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The id of the transaction then; the session may be at the next one.
    pub transaction: String,
    /// The text of the reply.
    pub reason: String,
}

/// Answers that are kept for [`Server::take_answered`].
const MOST_ANSWERED: usize = 1024;

/// Where the session stands.
pub(super) enum State {
    /// A hook runs.
    Hook(Pending),
    /// A command line is awaited.
    Command,
    /// A line of an AUTH dialogue is awaited.
    Auth(Exchange),
    /// The store opens a message.
    Opening(Framing),
    /// Content is awaited or being stored.
    Data(Box<Body>),
    /// So many octets of a refused chunk are awaited.
    Skip(u64),
    /// The handshake is under way.
    Tls,
    /// Over.
    Closed,
}

/// What the verdict of the running hook will complete.
pub(super) enum Pending {
    Connect,
    Proxy(Vec<u8>),
    Helo {
        verb: HeloVerb,
        host: String,
        extensions: Vec<String>,
    },
    Auth(Attempt),
    MailFrom(Box<Envelope>),
    RcptTo(Box<Recipient>),
    Eod,
}

impl Server {
    /// Starts a session. `tls` is set on an implicit-TLS port.
    ///
    /// The first output is the connect hook if there is one, else the banner is ready.
    #[must_use]
    pub fn new(
        config: Arc<Config>,
        connection: Connection,
        tls: Option<TlsInfo>,
        mut ids: IdSource,
        now: Time,
    ) -> Self {
        let id = ids();
        let client = connection.remote_ip;
        let trusted_proxy = config.xclient.iter().any(|from| from.contains(client));
        let mut server = Self {
            config,
            session: Session {
                connection,
                helo: None,
                tls,
                auth: None,
                extensions: Extensions::default(),
                transaction: Transaction { id, envelope: None },
            },
            state: State::Hook(Pending::Connect),
            now,
            verb: "CONNECT",
            refused: 0,
            messages: 0,
            partial: None,
            chunk_refused: false,
            trusted_proxy,
            storage_full: false,
            plain_codes: false,
            took_secret: false,
            proxy_next: false,
            outputs: VecDeque::new(),
            ids,
            line: LineReader::default(),
            replies: Vec::new(),
            last_reply: None,
            waiting_since: now,
            commands: 0,
            errors: 0,
            stopping: false,
            begun: now,
            by_hook: false,
            answered: Vec::new(),
        };
        if server.config.hooks.connect {
            server.outputs.push_back(Output::Hook(Hook::Connect));
        } else {
            server.verdict(Verdict::NoHook);
        }
        server
    }

    /// Feeds one event. For [`Input::Bytes`] returns how many bytes were used; the rest has to be
    /// fed again later. For all other events returns 0.
    pub fn handle(&mut self, now: Time, input: Input<'_>) -> usize {
        self.now = self.now.max(now);
        let used = match input {
            Input::Bytes(bytes) => self.receive(bytes),
            other => {
                self.event(other);
                0
            }
        };
        self.stop_when_idle();
        used
    }

    /// Takes the next request, if any.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Reply bytes that are not yet written.
    #[must_use]
    pub fn replies(&self) -> &[u8] {
        &self.replies
    }

    /// Says that the first `count` bytes of [`Self::replies`] are written.
    pub fn written(&mut self, count: usize) {
        self.replies.drain(..count.min(self.replies.len()));
        // A burst of pipelined commands leaves no big buffer behind.
        if self.replies.is_empty() && self.replies.capacity() > 4096 {
            self.replies = Vec::new();
        }
    }

    /// The commands that were answered since the last call.
    pub fn take_answered(&mut self) -> Vec<Answered> {
        mem::take(&mut self.answered)
    }

    /// Whether bytes of the client can be fed now.
    #[must_use]
    pub fn wants_input(&self) -> bool {
        self.outputs.is_empty()
            && match &self.state {
                State::Hook(_) | State::Opening(_) => false,
                State::Data(body) => !body.is_storing(),
                State::Command | State::Auth(_) | State::Skip(_) | State::Tls | State::Closed => {
                    true
                }
            }
    }

    /// Whether what the client sends now is no command line but content, or a part of AUTH: a log
    /// of the dialogue leaves it out.
    #[must_use]
    pub fn is_private(&self) -> bool {
        matches!(self.state, State::Data(_) | State::Skip(_) | State::Auth(_))
    }

    /// Whether the bytes that were fed last held an answer of an AUTH dialogue, for the same log.
    #[must_use]
    pub fn took_secret(&self) -> bool {
        self.took_secret
    }

    /// When [`Input::Tick`] is due next.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        let timeouts = &self.config.timeouts;
        let (since, limit) = match &self.state {
            State::Hook(_) | State::Opening(_) | State::Closed => return None,
            State::Data(body) => return body.deadline(&self.config),
            State::Tls => (self.waiting_since, timeouts.command),
            State::Skip(_) => (self.waiting_since, timeouts.data),
            State::Command | State::Auth(_) => match self.line.started {
                Some(started) => (started, timeouts.command),
                None => (self.waiting_since, timeouts.idle),
            },
        };
        since.checked_add(limit)
    }

    /// What is known about the connection; the variables of a hook are made of this.
    #[must_use]
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// The configuration that this session runs under.
    #[must_use]
    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// Whether the session is over.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// Says whether the store can take new messages; while it cannot, MAIL answers 452 4.3.1.
    pub fn set_storage_full(&mut self, full: bool) {
        self.storage_full = full;
    }

    fn event(&mut self, input: Input<'_>) {
        match input {
            Input::Bytes(_) => {}
            Input::Verdict(verdict) => self.verdict(verdict),
            Input::Stored => self.stored(),
            Input::StoreFailed(failure) => self.store_failed(failure),
            Input::TlsDone(info) => self.tls_done(info),
            Input::Tick => self.tick(),
            Input::Gone(error) => self.close(CloseBy::Remote, error),
            Input::Shutdown => self.stopping = true,
            Input::Dismiss(reply) => self.dismiss(reply),
        }
    }

    fn tick(&mut self) {
        let due = self.deadline().is_some_and(|deadline| deadline <= self.now);
        let late = match &mut self.state {
            // The end of a rate window is due even when the rate was good.
            State::Data(body) if due => body.too_slow(&self.config, self.now),
            _ => due,
        };
        if late {
            self.overdue();
        }
    }

    fn receive(&mut self, bytes: &[u8]) -> usize {
        let mut used = 0;
        self.took_secret = false;
        while self.wants_input() {
            let rest = bytes.get(used..).unwrap_or_default();
            if rest.is_empty() {
                break;
            }
            used += match self.state {
                State::Command | State::Auth(_) => self.read_line(rest),
                State::Data(_) => self.read_content(rest),
                State::Skip(_) => self.read_skipped(rest),
                // Before the handshake is done whatever comes in clear is thrown away: a command
                // behind STARTTLS must never run under TLS (RFC 3207 §6, CVE-2011-0411).
                State::Tls | State::Closed | State::Hook(_) | State::Opening(_) => rest.len(),
            };
        }
        used
    }

    fn read_line(&mut self, bytes: &[u8]) -> usize {
        let late = |started: Time| started.saturating_add(self.config.timeouts.command) <= self.now;
        if self.line.started.is_some_and(late) {
            self.overdue();
            return 0;
        }
        // A TLS record in place of a command: nobody there will read or send a line.
        if !self.line.is_partial()
            && matches!(self.state, State::Command)
            && bytes.first() == Some(&0x16)
        {
            self.verb = "";
            self.reply(500, (5, 5, 2), "This port speaks SMTP in clear");
            self.close(CloseBy::Local, None);
            return bytes.len();
        }
        let mut reader = mem::take(&mut self.line);
        let limits = &self.config.limits;
        let limit = if matches!(self.state, State::Auth(_)) || reader.starts_with(bytes, b"AUTH ") {
            limits.auth_line
        } else {
            limits.line
        };
        let (used, line) = reader.read(bytes, limit, self.config.bare_lf);
        match line {
            Line::Partial => {
                reader.started.get_or_insert(self.now);
                self.line = reader;
                return used;
            }
            Line::Complete(line) => self.line_complete(line),
            Line::TooLong => {
                self.verb = "";
                self.state = State::Command;
                if self.count_command() {
                    self.fault(500, (5, 5, 2), "Line too long");
                }
            }
            Line::BareLf => {
                self.verb = "";
                self.reply(500, (5, 5, 2), "Bare LF is not a line end");
                self.close(CloseBy::Local, None);
            }
        }
        reader.reset();
        self.line = reader;
        used
    }

    fn line_complete(&mut self, line: &[u8]) {
        self.begun = self.now;
        if !self.count_command() {
            return;
        }
        if let State::Auth(exchange) = &self.state {
            let exchange = exchange.clone();
            self.took_secret = true;
            self.state = State::Command;
            self.auth_line(line, exchange);
        } else if mem::take(&mut self.proxy_next) || self.config.hooks.proxy.applies(line) {
            self.verb = known_verb(line);
            self.state = State::Hook(Pending::Proxy(line.to_vec()));
            self.outputs.push_back(Output::Hook(Hook::Proxy {
                command: line.to_vec(),
            }));
        } else {
            self.command(line);
        }
    }

    fn count_command(&mut self) -> bool {
        self.commands = self.commands.saturating_add(1);
        let allowed = self.commands <= self.config.limits.commands;
        if !allowed {
            self.reply(421, (4, 7, 0), "Too many commands");
            self.close(CloseBy::Local, None);
        }
        allowed
    }

    /// Applies the answer of a hook, or that there is none.
    pub(super) fn verdict(&mut self, verdict: Verdict) {
        self.by_hook = !matches!(verdict, Verdict::NoHook);
        self.apply(verdict);
        self.by_hook = false;
    }

    fn apply(&mut self, verdict: Verdict) {
        match mem::replace(&mut self.state, State::Command) {
            State::Hook(Pending::Connect) => self.connect_verdict(verdict),
            State::Hook(Pending::Proxy(line)) => self.proxy_verdict(verdict, line),
            State::Hook(Pending::Helo {
                verb,
                host,
                extensions,
            }) => self.helo_verdict(verdict, verb, host, extensions),
            State::Hook(Pending::Auth(attempt)) => self.auth_verdict(verdict, attempt),
            State::Hook(Pending::MailFrom(envelope)) => self.mail_verdict(verdict, *envelope),
            State::Hook(Pending::RcptTo(recipient)) => self.rcpt_verdict(verdict, *recipient),
            State::Hook(Pending::Eod) => self.eod_verdict(verdict),
            other => self.state = other,
        }
    }

    /// Answers a verdict that is no acceptance. Returns the options of Accept otherwise.
    pub(super) fn refusal(
        &mut self,
        phase: Phase,
        verdict: Verdict,
        utf8: bool,
    ) -> Option<Box<crate::verdict::Accept>> {
        let (function, options) = match verdict {
            Verdict::Accept(accept) => return Some(accept),
            Verdict::NoHook | Verdict::Pass { .. } => return Some(Box::default()),
            Verdict::End if phase != Phase::Eod => return Some(Box::default()),
            Verdict::End => (Function::Defer, ReplyOptions::default()),
            Verdict::Reject(options) => (Function::Reject, options),
            Verdict::Defer(options) => (Function::Defer, options),
            // Reply exists in proxy and auth only.
            Verdict::Error | Verdict::Reply { .. } => (
                Function::Defer,
                ReplyOptions::reason(SCRIPT_ERROR.as_bytes()),
            ),
        };
        let disconnect = options.disconnect || phase == Phase::Connect;
        self.send(compose(phase, function, options, None), utf8);
        if disconnect {
            self.close(CloseBy::Local, None);
        }
        None
    }

    fn proxy_verdict(&mut self, verdict: Verdict, line: Vec<u8>) {
        match verdict {
            Verdict::Pass { command, next } => {
                self.proxy_next = next;
                self.command(command.as_deref().unwrap_or(&line));
            }
            Verdict::Reply { reply, next } => {
                self.proxy_next = next;
                let disconnect = reply.disconnect;
                let utf8 = self.session.utf8();
                self.send(compose(Phase::Proxy, Function::Reply, reply, None), utf8);
                if disconnect {
                    self.close(CloseBy::Local, None);
                }
            }
            Verdict::Error | Verdict::Reject(_) | Verdict::Defer(_) => {
                let options = ReplyOptions::reason(SCRIPT_ERROR.as_bytes());
                self.send(compose(Phase::Proxy, Function::Defer, options, None), false);
            }
            Verdict::End | Verdict::NoHook | Verdict::Accept(_) => self.command(&line),
        }
    }

    /// Sends a reply of ours that is no error of the client.
    pub(super) fn reply(&mut self, code: u16, enhanced: (u8, u16, u16), text: &'static str) {
        let (class, subject, detail) = enhanced;
        let enhanced = EnhancedStatus::new(class, subject, detail);
        let utf8 = self.session.utf8();
        self.send(Reply::fixed(code, Some(enhanced), text), utf8);
    }

    /// Sends an error reply and counts it; one too many ends the session.
    pub(super) fn fault(&mut self, code: u16, enhanced: (u8, u16, u16), text: &'static str) {
        self.errors = self.errors.saturating_add(1);
        if self.errors > self.config.limits.errors {
            self.reply(421, (4, 7, 0), "Too many errors");
            self.close(CloseBy::Local, None);
        } else {
            self.reply(code, enhanced, text);
        }
    }

    /// Queues a reply for writing.
    pub(super) fn send(&mut self, mut reply: Reply, utf8: bool) {
        // RFC 2034 §4: no status in any reply to a greeting.
        let greeting = matches!(self.verb, "HELO" | "EHLO");
        if greeting || self.plain_codes || !self.config.extensions.enhancedstatuscodes {
            reply.enhanced = None;
        }
        let start = self.replies.len();
        reply.write(&mut self.replies, utf8);
        if self.answered.len() < MOST_ANSWERED {
            let words = self.replies.get(start..).unwrap_or_default();
            self.answered.push(Answered {
                verb: self.verb,
                took: self.now.saturating_sub(self.begun),
                code: reply.code,
                by_hook: self.by_hook,
                refusal: (reply.code >= 400).then(|| Refusal {
                    transaction: self.session.transaction.id.clone(),
                    reason: said(words),
                }),
            });
        }
        self.last_reply = Some((reply, self.verb));
        self.waiting_since = self.now;
    }

    /// Forgets the greeting and all that came of it.
    pub(super) fn forget_greeting(&mut self) {
        self.session.helo = None;
        self.session.auth = None;
        self.session.extensions = Extensions::default();
        self.plain_codes = false;
        self.renew_transaction();
    }

    /// Forgets the transaction and gives the next one its id.
    pub(super) fn renew_transaction(&mut self) {
        self.refused = 0;
        // A parked message has not failed: a failed one ends its transaction at once.
        if self.partial.take().is_some() {
            self.outputs.push_back(Output::AbortBody);
        }
        self.session.transaction = Transaction {
            id: (self.ids)(),
            envelope: None,
        };
    }

    /// STARTTLS was accepted.
    pub(super) fn start_tls(&mut self) {
        self.send(Reply::fixed(220, None, "Ready to start TLS"), false);
        self.state = State::Tls;
        self.outputs.push_back(Output::StartTls);
    }

    /// RFC 3207 §4.2: all knowledge from before the handshake is forgotten.
    fn tls_done(&mut self, info: TlsInfo) {
        if !matches!(self.state, State::Tls) {
            return;
        }
        self.session.tls = Some(info);
        self.forget_greeting();
        self.state = State::Command;
        self.waiting_since = self.now;
    }

    /// A time limit has passed.
    pub(super) fn overdue(&mut self) {
        self.verb = "";
        match &self.state {
            // In the middle of a handshake a reply in clear would be garbage.
            State::Tls => {}
            State::Data(_) | State::Skip(_) => self.late_reply(),
            State::Command if self.line.is_partial() => {
                self.reply(421, (4, 4, 2), "Timeout while receiving a command");
            }
            _ => self.reply(421, (4, 4, 2), "Timeout, closing the connection"),
        }
        self.close(CloseBy::Local, None);
    }

    /// Ends the session; the first call counts.
    pub(super) fn close(&mut self, by: CloseBy, error: Option<TransportError>) {
        let open = match mem::replace(&mut self.state, State::Closed) {
            State::Closed => return,
            State::Opening(_) | State::Hook(Pending::Eod) => true,
            State::Data(body) => body.is_open(),
            _ => self.partial.take().is_some(),
        };
        // A request that nobody has taken yet is void.
        self.outputs.clear();
        if open {
            self.outputs.push_back(Output::AbortBody);
        }
        let reply = self.last_reply.take().map(|(reply, state)| LastReply {
            code: reply.code,
            enhanced: reply.enhanced,
            reason: reply
                .lines
                .into_iter()
                .map(|line| line.into_owned())
                .collect(),
            state,
        });
        self.outputs
            .push_back(Output::Close(Closing { by, reply, error }));
    }

    fn dismiss(&mut self, reply: Reply) {
        self.verb = "";
        // In the middle of a handshake a reply in clear would be garbage.
        if !matches!(self.state, State::Tls | State::Closed) {
            let utf8 = self.session.utf8();
            self.send(reply, utf8);
        }
        self.close(CloseBy::Local, None);
    }

    /// A stopping server lets go of a session between transactions.
    fn stop_when_idle(&mut self) {
        if self.stopping
            && matches!(self.state, State::Command)
            && self.session.transaction.envelope.is_none()
        {
            self.verb = "";
            self.reply(421, (4, 3, 2), "Service is shutting down");
            self.close(CloseBy::Local, None);
        }
    }
}

/// The text of a reply's lines, without their codes.
fn said(reply: &[u8]) -> String {
    let lines = reply.split(|byte| *byte == b'\n');
    let texts = lines.filter_map(|line| line.trim_ascii_end().get(4..));
    let texts: Vec<_> = texts.map(String::from_utf8_lossy).collect();
    texts.join("\n")
}
