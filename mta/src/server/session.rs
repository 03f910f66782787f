//! The driver of one session: feeds the machine of `angarium_smtp::server` from the socket and does
//! what it asks for.
//!
//! # Cost
//!
//! An idle session takes about 2.5 KiB, its task, machine and stream together, beside the socket's
//! registration, and no read buffer: bytes are read into a buffer that all sessions of the worker
//! share, fed to the machine at once, and only what it does not take (pipelined commands behind one
//! whose hook waits) is kept, at most one buffer. Replies gather until the session is about to wait,
//! so that a pipelined group costs one read and one write. The timer is moved without being set anew
//! (`Timer` in `wire`).
//!
//! System calls of a message of 4 KiB on an open connection, counted with `strace -f -c` (the
//! spool's own are not in it): 2 `recvfrom`, 2 `sendto`, 2 `epoll_wait` and 1 `getrandom` (the next
//! transaction's id) when the envelope is pipelined, 2 more of each of the first three when it is
//! not. A connection costs `accept4`, two registrations, `setsockopt`, two `fcntl`, `getsockname`,
//! `shutdown`, `close`, a wake-up of the worker, and a read and a write each for greeting and end.
//! Allocations of such a message, counted with heaptrack: about 50, half of them for the queue item.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use angarium_effects::{Accepted, LocalFuture, Monotonic};
use angarium_smtp::received;
use angarium_smtp::reply::EnhancedStatus;
use angarium_smtp::server::{
    Answered, Closing, Hook, Input, Output, Refusal, Server, StoreFailure,
};
use angarium_smtp::session::{CloseBy, TransportError, TransportErrorKind};
use angarium_smtp::verdict::{EnhancedChoice, ReplyOptions, Verdict};
use tokio::io::{AsyncRead, ReadBuf};

use super::dialogue::{Lines, first_reply};
use super::event::Event;
use super::hooks::{Decision, HookContext};
use super::opening::{Opened, Prelude, note_handshake, open, start_tls};
use super::settings::{LINGER, Seat, Settings};
use super::store::MailWriter;
use super::wire::{Stream, Wire, socket_error};
use crate::connections::{Entry, Inbound};
use crate::worker::Worker;

/// The read buffer of all sessions of a worker.
struct Scratch(RefCell<Vec<u8>>);

/// As much as the machine takes for one chunk of content.
const SCRATCH: usize = 64 << 10;

/// Serves a client from accept to close.
pub(super) async fn serve(
    worker: Rc<Worker>,
    accepted: Box<dyn Accepted>,
    seat: Seat,
    settings: Arc<Settings>,
    prelude: Prelude,
) {
    // What only the beginning needs is no part of the task of an idle session.
    let opening = Box::pin(async {
        let opened = open(worker, accepted, seat, settings, prelude).await?;
        Some(Box::new(Session::new(opened)))
    });
    if let Some(mut session) = opening.await {
        let closing = session.run().await;
        session.close(closing).await;
    }
}

/// What the log says of a transaction.
struct Summary {
    id: String,
    sender: String,
    recipients: usize,
}

struct Session {
    worker: Rc<Worker>,
    settings: Arc<Settings>,
    seat: Seat,
    machine: Server,
    wire: Wire,
    entry: Entry<Inbound>,
    /// An operator has ended it.
    dismissed: bool,
    scratch: Rc<Scratch>,
    /// What was read and the machine did not take yet.
    pending: Vec<u8>,
    /// The client sends nothing more.
    ended: bool,
    /// The message under way.
    mail: Option<Box<dyn MailWriter>>,
    context: HookContext,
    began: Monotonic,
    /// Messages that reached their end.
    messages: u32,
    /// What the log will say of the message under way.
    open: Option<Box<Summary>>,
    /// A message that is refused before its end, until the client has been told.
    refused: Option<Box<Summary>>,
    /// Commands and replies as lines, if the log wants them.
    dialogue: Option<Box<(Lines, Lines)>>,
    /// Ends with the worker; none when the machine knows.
    stopped: Option<LocalFuture<'static, ()>>,
}

impl Session {
    fn new(opened: Opened) -> Session {
        let Opened {
            worker,
            settings,
            seat,
            machine,
            wire,
            entry,
            began,
        } = opened;
        Session {
            stopped: Some(Box::pin(worker.stopped())),
            scratch: worker.local(|| Scratch(RefCell::new(vec![0; SCRATCH]))),
            dialogue: settings.verbose.then(Box::default),
            worker,
            settings,
            seat,
            machine,
            wire,
            entry,
            dismissed: false,
            pending: Vec::new(),
            ended: false,
            mail: None,
            context: HookContext::default(),
            began,
            messages: 0,
            open: None,
            refused: None,
        }
    }

    /// Serves the client until its session is over; says how it ended.
    async fn run(&mut self) -> Closing {
        loop {
            if let Some(reply) = self.entry.lever.take() {
                self.dismissed = true;
                self.input(Input::Dismiss(reply));
            }
            if let Some(output) = self.machine.poll() {
                match output {
                    Output::Hook(Hook::Eod { size }) => self.end_of_data(size).await,
                    Output::Hook(hook) => self.hook(&hook).await,
                    Output::OpenBody => self.open_body().await,
                    Output::Body(chunk) => self.append(chunk).await,
                    Output::AbortBody => self.abort(),
                    Output::StartTls => self.upgrade().await,
                    Output::Introduced => self.tell_introduced(),
                    Output::Close(closing) => return closing,
                }
            } else if !self.pending.is_empty() {
                self.feed();
            } else if let Some(error) = self.wire.broken.clone() {
                self.input(Input::Gone(Some(error)));
            } else if self.ended {
                self.input(Input::Gone(None));
            } else {
                self.gather();
                tokio::select! {
                    biased;
                    () = self.entry.lever.pulled() => continue,
                    () = self.wire.flush(self.settings.smtp.timeouts.command) => {}
                }
                if self.wire.broken.is_none() {
                    self.wait().await;
                }
            }
        }
    }

    /// Gives the machine an event.
    fn input(&mut self, input: Input<'_>) -> usize {
        let now = self.worker.effects.clock.monotonic().0;
        self.machine.handle(now, input)
    }

    /// Takes the machine's replies over.
    fn gather(&mut self) {
        let replies = self.machine.replies();
        if replies.is_empty() {
            return;
        }
        let session = self.machine.session();
        if let Some(dialogue) = &mut self.dialogue {
            dialogue.1.feed(replies, |line| {
                self.seat.server.tell(&Event::Dialogue {
                    connection: session.connection.id.clone(),
                    client: false,
                    line,
                });
            });
        }
        let ended = self
            .refused
            .take_if(|refused| refused.id != session.transaction.id);
        let count = replies.len();
        self.wire.push(replies);
        self.machine.written(count);
        let answered = self.machine.take_answered();
        if let Some(ended) = ended {
            // What ended the message bears its id. A client that gave it up itself (RSET) has no answer for it.
            let mut latest = answered.iter().rev();
            let answer = latest.find_map(|answered| {
                let refusal = answered.refusal.as_ref()?;
                (refusal.transaction == ended.id).then(|| (answered.code, refusal.reason.clone()))
            });
            if let Some((code, reason)) = answer {
                self.tell_message(*ended, None, code, reason);
            }
        }
        for answered in answered {
            self.note(answered);
        }
    }

    /// Counts a command that was answered, and tells of a refusal that nothing else tells of.
    fn note(&self, answered: Answered) {
        let server = &self.seat.server;
        let Answered {
            verb,
            took,
            code,
            by_hook,
            refusal,
        } = answered;
        let commands = &server.counters.commands;
        commands.observe(self.worker.index, verb, took);
        if let Some(Refusal {
            transaction,
            reason,
        }) = refusal
            && !by_hook
            && verb != "EOD"
        {
            server.tell(&Event::Refused {
                transaction,
                command: verb,
                code,
                reason,
            });
        }
    }

    /// Tells for whom a proxy speaks from now on.
    fn tell_introduced(&self) {
        let session = self.machine.session();
        let client = &session.connection;
        self.seat.server.tell(&Event::Xclient {
            connection: client.id.clone(),
            remoteip: client.remote_ip,
            remoteport: client.remote_port,
            server: client.server_id.clone(),
            proxyip: self.entry.remote.ip(),
            ptr: client.remote_ptr.clone(),
            helo: session.helo.as_ref().map(|helo| helo.host.clone()),
            sasl: session.auth.as_ref().and_then(|auth| auth.username.clone()),
        });
    }

    /// The message under way will not be finished.
    fn abort(&mut self) {
        self.mail = None;
        self.refused = self.open.take();
    }

    /// What the log says of the present transaction, which the machine forgets with its answer.
    fn summary(&self) -> Summary {
        let transaction = &self.machine.session().transaction;
        let envelope = transaction.envelope.as_ref();
        Summary {
            id: transaction.id.clone(),
            sender: envelope.map_or_else(String::new, |envelope| envelope.sender.to_string()),
            recipients: envelope.map_or(0, |envelope| envelope.recipients.len()),
        }
    }

    /// Tells how a message was answered.
    fn tell_message(&self, summary: Summary, size: Option<u64>, code: u16, reason: String) {
        let session = self.machine.session();
        self.seat.server.tell(&Event::Message {
            transaction: summary.id,
            sender: summary.sender,
            recipients: summary.recipients,
            size,
            helo: session.helo.as_ref().map(|helo| helo.host.clone()),
            sasl: session.auth.as_ref().and_then(|auth| auth.username.clone()),
            code,
            reason,
        });
    }

    /// Gives the machine bytes of the client; returns how many it took.
    fn receive(&mut self, bytes: &[u8]) -> usize {
        let full = self.settings.store.refusal(&self.worker).is_some();
        self.machine.set_storage_full(full);
        let private = self.machine.is_private();
        let used = self.input(Input::Bytes(bytes));
        if let Some(dialogue) = &mut self.dialogue
            && !private
            && !self.machine.is_private()
            && !self.machine.took_secret()
        {
            let said = bytes.get(..used).unwrap_or_default();
            dialogue.0.feed(said, |line| {
                self.seat.server.tell(&Event::Dialogue {
                    connection: self.machine.session().connection.id.clone(),
                    client: true,
                    line,
                });
            });
        }
        used
    }

    /// Feeds what is left of an earlier read.
    fn feed(&mut self) {
        let mut pending = std::mem::take(&mut self.pending);
        let used = self.receive(&pending);
        // The machine asks for nothing more now, so it takes something, or is about to close.
        if used == 0 && !self.machine.wants_input() {
            self.pending = pending;
            return;
        }
        pending.drain(..used.min(pending.len()));
        if !pending.is_empty() {
            self.pending = pending;
        }
    }

    /// Waits for the client, the deadline or the end of the worker.
    async fn wait(&mut self) {
        let deadline = self.machine.deadline().map(Monotonic);
        poll_fn(|cx| self.poll_wait(deadline, cx)).await;
    }

    fn poll_wait(&mut self, deadline: Option<Monotonic>, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(stopped) = &mut self.stopped
            && stopped.as_mut().poll(cx).is_ready()
        {
            self.stopped = None;
            self.input(Input::Shutdown);
            return Poll::Ready(());
        }
        if self.entry.lever.poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let scratch = Rc::clone(&self.scratch);
        let mut bytes = scratch.0.borrow_mut();
        let mut buffer = ReadBuf::new(&mut bytes);
        match Pin::new(&mut self.wire.stream).poll_read(cx, &mut buffer) {
            Poll::Ready(Ok(())) => {
                let bytes = buffer.filled();
                if bytes.is_empty() {
                    self.ended = true;
                } else {
                    let used = self.receive(bytes);
                    let rest = bytes.get(used..).unwrap_or_default();
                    self.pending.extend_from_slice(rest);
                }
            }
            // Many clients close under TLS without saying so; commands cannot be cut short unseen.
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                self.ended = true;
            }
            Poll::Ready(Err(error)) => self.wire.fail(self.read_error(&error)),
            Poll::Pending => {
                let Some(at) = deadline else {
                    return Poll::Pending;
                };
                if self.wire.timer.poll(at, cx).is_pending() {
                    return Poll::Pending;
                }
                self.input(Input::Tick);
            }
        }
        Poll::Ready(())
    }

    fn read_error(&self, error: &io::Error) -> TransportError {
        let mut failed = socket_error(error);
        let under_tls = matches!(self.wire.stream, Stream::Tls(_));
        if under_tls && error.raw_os_error().is_none() && error.get_ref().is_some() {
            failed.kind = TransportErrorKind::Tls;
        }
        failed
    }

    /// Runs the hook of a phase.
    async fn hook(&mut self, hook: &Hook) {
        self.gather();
        let verdict = self
            .wire
            .beside(self.settings.hooks.run(
                &self.worker,
                self.machine.session(),
                hook,
                &mut self.context,
            ))
            .await;
        self.input(Input::Verdict(verdict));
    }

    /// Begins a message with its Received field.
    async fn open_body(&mut self) {
        self.open = Some(Box::new(self.summary()));
        match self.settings.store.begin(&self.worker) {
            Ok(writer) => {
                let unix = self.worker.effects.clock.unix().as_secs();
                let field = received::field(
                    self.machine.session(),
                    &self.settings.smtp.hostname,
                    &self.settings.product,
                    i64::try_from(unix).unwrap_or(i64::MAX),
                );
                self.mail = Some(writer);
                self.append(field.into_bytes()).await;
            }
            Err(failure) => self.not_stored(failure),
        }
    }

    /// Appends to the message under way.
    async fn append(&mut self, bytes: Vec<u8>) {
        self.gather();
        let count = bytes.len();
        let Some(mail) = &mut self.mail else {
            return self.not_stored(StoreFailure::Broken);
        };
        match self.wire.beside(mail.append(bytes)).await {
            Ok(()) => {
                let count = u64::try_from(count).unwrap_or(u64::MAX);
                self.seat.server.counters.bytes.add(count);
                self.input(Input::Stored);
            }
            Err(failure) => self.not_stored(failure),
        }
    }

    fn not_stored(&mut self, failure: StoreFailure) {
        self.abort();
        self.tell_not_stored(failure);
        self.input(Input::StoreFailed(failure));
    }

    fn tell_not_stored(&self, failure: StoreFailure) {
        let transaction = &self.machine.session().transaction.id;
        self.seat
            .server
            .tell(&Event::not_stored(transaction, failure));
    }

    /// Lets the eod hook decide, and makes what it queued durable before the client hears of it.
    async fn end_of_data(&mut self, size: u64) {
        self.gather();
        self.messages = self.messages.saturating_add(1);
        self.entry
            .transactions
            .store(self.messages, Ordering::Relaxed);
        let verdict = match self.decide().await {
            Ok(verdict) => verdict,
            Err(failure) => {
                self.tell_not_stored(failure);
                refusal(failure)
            }
        };
        let counters = &self.seat.server.counters;
        match verdict {
            Verdict::Accept(_) | Verdict::NoHook => counters.accepted.one(),
            _ => counters.rejected.one(),
        }
        let summary = self.open.take();
        self.input(Input::Verdict(verdict));
        if let Some(summary) = summary
            && let Some((code, reason)) = first_reply(self.machine.replies())
        {
            self.tell_message(*summary, Some(size), code, reason);
        }
    }

    async fn decide(&mut self) -> Result<Verdict, StoreFailure> {
        let writer = self.mail.take().ok_or(StoreFailure::Broken)?;
        let mail = self.wire.beside(writer.finish()).await?;
        let Decision {
            verdict, queued, ..
        } = self
            .wire
            .beside(self.settings.hooks.eod(
                &self.worker,
                self.machine.session(),
                &mail,
                &mut self.context,
            ))
            .await;
        // A Reject keeps what was queued (a copy for quarantine); a Defer asks for the message again.
        let keeps = matches!(
            verdict,
            Verdict::Accept(_) | Verdict::NoHook | Verdict::Reject(_)
        );
        if keeps && !queued.is_empty() {
            let count = u64::try_from(queued.len()).unwrap_or(u64::MAX);
            self.wire
                .beside(self.settings.store.commit(&self.worker, queued))
                .await?;
            self.seat.server.counters.queued.add(count);
        }
        Ok(verdict)
    }

    /// STARTTLS: the reply in clear, then the handshake. What came in behind the command is dropped:
    /// it was not under TLS and must not be taken for what is (RFC 3207 §6).
    async fn upgrade(&mut self) {
        self.pending = Vec::new();
        self.gather();
        self.wire.flush(self.settings.smtp.timeouts.command).await;
        if self.wire.broken.is_some() {
            return;
        }
        let until = self.machine.deadline().map(Monotonic);
        // A connect script may show another address; this is the one that it came with.
        let client = self.entry.remote.ip();
        let handshake = start_tls(&mut self.wire, &self.settings, client, until);
        let outcome = tokio::select! {
            biased;
            () = self.entry.lever.pulled() => return,
            outcome = Box::pin(handshake) => outcome,
        };
        note_handshake(&self.seat, client, outcome.as_ref().err());
        match outcome {
            Ok(info) => self.input(Input::TlsDone(info)),
            Err(error) => {
                self.wire.fail(error.clone());
                let now = self.worker.effects.clock.monotonic();
                if until.is_some_and(|until| until <= now) {
                    self.input(Input::Tick)
                } else {
                    self.input(Input::Gone(Some(error)))
                }
            }
        };
    }

    /// The last replies, the close, and the disconnect hook.
    async fn close(mut self: Box<Self>, closing: Closing) {
        self.mail = None;
        self.gather();
        let limit = match self.dismissed {
            true => LINGER,
            false => self.settings.smtp.timeouts.command,
        };
        self.wire.flush(limit).await;
        if self.wire.broken.is_none() && closing.by == CloseBy::Local {
            self.wire.close(LINGER, &self.scratch.0).await;
        }
        self.seat.server.tell(&Event::Disconnect {
            connection: self.machine.session().connection.id.clone(),
            reason: reason(&closing),
            transactions: self.messages,
            duration: self.worker.effects.clock.monotonic().since(self.began),
        });
        let Session {
            worker,
            settings,
            machine,
            mut context,
            seat,
            entry,
            wire,
            ..
        } = *self;
        // The client is gone: its place is free, however long the hook takes.
        drop((wire, seat, entry));
        settings
            .hooks
            .disconnect(&worker, machine.session(), &closing, &mut context)
            .await;
    }
}

/// Why a session ended, for the log.
fn reason(closing: &Closing) -> String {
    match (&closing.error, closing.by, &closing.reply) {
        (Some(error), _, _) => error.reason.clone(),
        (None, CloseBy::Remote, _) => "closed by the client".to_owned(),
        (None, CloseBy::Local, Some(reply)) => {
            let text = reply
                .reason
                .first()
                .map(|line| String::from_utf8_lossy(line));
            format!("{} {}", reply.code, text.unwrap_or_default())
        }
        (None, CloseBy::Local, None) => "closed".to_owned(),
    }
}

/// The reply in place of a verdict when the message could not be kept.
pub(super) fn refusal(failure: StoreFailure) -> Verdict {
    let (code, detail, text) = match failure {
        StoreFailure::Full => (452, (4, 3, 1), "Insufficient system storage"),
        StoreFailure::Broken => (451, (4, 3, 0), "Local error, try again later"),
    };
    let (class, subject, detail) = detail;
    Verdict::Defer(ReplyOptions {
        code: Some(code),
        enhanced: EnhancedChoice::Code(EnhancedStatus::new(class, subject, detail)),
        ..ReplyOptions::reason(text.as_bytes())
    })
}
