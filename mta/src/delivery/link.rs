//! A connection to a mail server: the client machine of `angarium_smtp::client` with its socket.
//!
//! The machine decides, [`Link`] moves bytes: it writes what the machine wants to say, gives it what
//! the peer says, wakes it at its deadlines and does the TLS handshake. Reading goes on while
//! writing, so that a refusal in the middle of a message is seen.

use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use angarium_effects::clock::timeout;
use angarium_effects::{Clock, Connection, LocalFuture, Monotonic};
use angarium_smtp::client::{Client, Config, Input, Outcome, Output, Transaction};
use angarium_smtp::session::{TlsInfo, TransportError, TransportErrorKind};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::content::Outgoing;
use super::trace::{Said, Tap};
use crate::connections::{Entry, Outbound};
use crate::pool::HeavyPool;
use crate::tls::{ClientTls, TlsStream};

/// Bytes that one read takes; replies are short.
const READ: usize = 4096;
/// So much of a message is gathered before it is written.
const GATHER: usize = 64 << 10;
/// What is said of a connection that an operator ended.
pub(super) const CLOSED: &str = "closed by the administrator";
/// The longest wait for the end of a connection that is of no more use.
const QUIT: Duration = Duration::from_secs(10);

/// A connection with its machine.
pub(super) struct Link {
    client: Client,
    /// Its place in the list of connections.
    entry: Entry<Outbound>,
    /// What the list says that is awaited.
    shown: &'static str,
    /// Somebody follows what is said.
    tap: Option<Tap>,
    stream: Stream,
    clock: Rc<dyn Clock>,
    /// A timer under way; it may be earlier than the deadline, which moves on with each reply.
    timer: Option<(Monotonic, LocalFuture<'static, ()>)>,
    buffer: Box<[u8]>,
    /// Something was written and not flushed.
    unflushed: bool,
    /// Writing failed; what the peer said before is still read.
    broken: Option<io::Error>,
    /// What the machine said while something was written.
    said: Option<Output>,
    tls: Handshake,
}

enum Stream {
    Plain(Box<dyn Connection>),
    Tls(Box<TlsStream<Box<dyn Connection>>>),
    /// Given to a handshake that failed.
    Gone,
}

/// How TLS went.
#[derive(Clone, Debug, Default)]
pub(super) enum Handshake {
    /// It was not tried.
    #[default]
    None,
    /// It failed.
    Failed,
    /// It succeeded.
    Done(Box<TlsInfo>),
}

/// TLS towards one peer.
pub(super) struct TlsPeer<'a> {
    pub tls: &'a ClientTls,
    /// The name for SNI, or the host's.
    pub name: &'a str,
    pub address: IpAddr,
}

/// A session that did not get ready.
pub(super) struct NotReady {
    pub outcome: Outcome,
    /// A new connection without TLS may work.
    pub retry_in_clear: bool,
}

/// How a transaction ended.
pub(super) struct Sent {
    pub outcome: Outcome,
    /// The outcomes of the other recipients, in order.
    pub others: Vec<Outcome>,
    /// The peer asked for the message, so that it may have it.
    pub after_envelope: bool,
}

enum Event {
    Written(usize),
    Flushed,
    Read(usize),
    Closed,
    Failed(io::Error),
    Tick,
}

impl Link {
    /// Begins a session on a new connection; `implicit` does the handshake first.
    ///
    /// # Errors
    /// The handshake failed.
    pub(super) async fn new(
        (connection, entry): (Box<dyn Connection>, Entry<Outbound>),
        tap: Option<Tap>,
        config: Config,
        implicit: Option<&TlsPeer<'_>>,
        clock: Rc<dyn Clock>,
    ) -> Result<Link, (Link, String)> {
        let limit = config.timeouts.get(angarium_smtp::client::State::StartTls);
        let now = clock.monotonic().0;
        let mut link = Link {
            client: Client::new(config, implicit.is_some(), now),
            entry,
            shown: "",
            tap,
            stream: Stream::Plain(connection),
            clock,
            timer: None,
            buffer: vec![0; READ].into(),
            unflushed: false,
            broken: None,
            said: None,
            tls: Handshake::None,
        };
        link.show();
        match implicit {
            None => Ok(link),
            Some(peer) => match link.handshake(peer, limit).await {
                Ok(()) => Ok(link),
                Err(reason) => Err((link, reason)),
            },
        }
    }

    /// How TLS went.
    pub(super) fn tls(&self) -> &Handshake {
        &self.tls
    }

    /// The machine, to be asked.
    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Somebody follows what is said from now on, or nobody.
    pub(super) fn follow(&mut self, tap: Option<Tap>) {
        self.tap = tap;
    }

    /// Tells who follows that something happened.
    pub(super) fn note(&self, text: impl FnOnce() -> String) {
        if let Some(tap) = &self.tap {
            tap.event(&text());
        }
    }

    /// Its place in the list of connections.
    pub(super) fn entry(&self) -> &Outbound {
        &self.entry
    }

    /// Tells the list what is awaited now.
    fn show(&mut self) {
        let state = self.client.state();
        if state != self.shown {
            self.shown = state;
            let transactions = self.client.transactions();
            self.entry
                .enter(state, transactions, self.clock.monotonic());
        }
    }

    /// Goes on until a message can be sent.
    ///
    /// # Errors
    /// The session did not get ready.
    pub(super) async fn ready(&mut self, tls: Option<&TlsPeer<'_>>) -> Result<(), NotReady> {
        loop {
            match self.turn().await {
                Some(Output::Ready) => return Ok(()),
                Some(Output::StartTls) => self.start_tls(tls).await,
                Some(Output::Failed {
                    outcome,
                    retry_in_clear,
                }) => {
                    return Err(NotReady {
                        outcome,
                        retry_in_clear,
                    });
                }
                Some(Output::Content | Output::Done(_)) => {}
                Some(Output::Close) | None => {
                    let lost = angarium_smtp::client::Failure::temporary(
                        angarium_smtp::client::FailureKind::Network,
                        "the connection ended",
                    );
                    return Err(NotReady {
                        outcome: Outcome::Error(lost),
                        retry_in_clear: false,
                    });
                }
            }
        }
    }

    /// Sends one message to its recipients.
    pub(super) async fn send(
        &mut self,
        transaction: Transaction,
        content: &mut Outgoing,
        pool: &HeavyPool,
    ) -> Sent {
        let mut after_envelope = false;
        self.handle(Input::Begin(Box::new(transaction)));
        loop {
            match self.turn().await {
                Some(Output::Content) => {
                    after_envelope = true;
                    self.content(content, pool).await;
                }
                Some(Output::Done(outcomes)) => {
                    let missing = || {
                        Outcome::Error(angarium_smtp::client::Failure::temporary(
                            angarium_smtp::client::FailureKind::Protocol,
                            "the server gave no answer for this recipient",
                        ))
                    };
                    let mut outcomes = outcomes.into_iter();
                    let outcome = outcomes.next().unwrap_or_else(missing);
                    // A Close that follows is seen by whoever wants to use the connection again.
                    return Sent {
                        outcome,
                        others: outcomes.collect(),
                        after_envelope,
                    };
                }
                Some(Output::Ready | Output::StartTls | Output::Failed { .. }) => {}
                Some(Output::Close) | None => {
                    let lost = angarium_smtp::client::Failure::temporary(
                        angarium_smtp::client::FailureKind::Network,
                        "the connection ended",
                    );
                    return Sent {
                        outcome: Outcome::Error(lost),
                        others: Vec::new(),
                        after_envelope,
                    };
                }
            }
        }
    }

    /// Asks whether the one recipient of a transaction would be taken.
    pub(super) async fn probe(&mut self, transaction: Transaction) -> Outcome {
        self.handle(Input::Probe(Box::new(transaction)));
        let lost = || {
            Outcome::Error(angarium_smtp::client::Failure::temporary(
                angarium_smtp::client::FailureKind::Network,
                "the connection ended",
            ))
        };
        loop {
            match self.turn().await {
                Some(Output::Done(outcomes)) => {
                    return outcomes.into_iter().next().unwrap_or_else(lost);
                }
                Some(
                    Output::Content | Output::Ready | Output::StartTls | Output::Failed { .. },
                ) => {}
                Some(Output::Close) | None => return lost(),
            }
        }
    }

    /// Gives the message to the machine and writes it, until it is all said or the peer objects.
    async fn content(&mut self, content: &mut Outgoing, pool: &HeavyPool) {
        loop {
            match content.next(pool).await {
                Ok(Some(piece)) => {
                    // A piece may be long, and what the machine holds is to stay short.
                    for part in piece.chunks(GATHER) {
                        self.handle(Input::Content(part));
                        let full = self.client.requests().len() >= GATHER;
                        if (full || !self.client.wants_content()) && !self.write_all().await {
                            return;
                        }
                    }
                }
                Ok(None) => return self.handle(Input::ContentEnd),
                Err(error) => return self.handle(Input::ContentFailed(error.to_string())),
            }
        }
    }

    /// Whether the connection can take another message; what the peer has said meanwhile counts.
    pub(super) fn is_reusable(&mut self) -> bool {
        if !self.client.is_reusable() || self.broken.is_some() || self.entry.lever.is_pulled() {
            return false;
        }
        let waker = std::task::Waker::noop();
        let mut context = Context::from_waker(waker);
        let mut buffer = ReadBuf::new(&mut self.buffer);
        match self.stream.poll_read(&mut context, &mut buffer) {
            Poll::Pending => {}
            // The peer has said something that nobody asked for (421, mostly), or is gone.
            Poll::Ready(_) => return false,
        }
        self.client.is_reusable()
    }

    /// Ends the session as the protocol has it, in bounded time.
    pub(super) async fn quit(mut self) {
        let clock = Rc::clone(&self.clock);
        self.entry.carry(None);
        let goodbye = async {
            if self.client.is_idle() {
                self.handle(Input::Quit);
            }
            while !matches!(self.turn().await, Some(Output::Close) | None) {}
            let _ = poll_fn(|context| self.stream.poll_shutdown(context)).await;
        };
        // A peer that does not take its leave is left.
        let _ = timeout(&*clock, QUIT, goodbye).await;
    }

    fn handle(&mut self, input: Input<'_>) {
        self.client.handle(self.clock.monotonic().0, input);
        self.show();
    }

    async fn start_tls(&mut self, peer: Option<&TlsPeer<'_>>) {
        let now = self.clock.monotonic().0;
        let limit = self
            .client
            .deadline()
            .map_or(QUIT, |deadline| deadline.saturating_sub(now));
        let result = match peer {
            Some(peer) => self.handshake(peer, limit).await,
            None => Err("TLS is not set up".to_owned()),
        };
        match result {
            Ok(()) => self.handle(Input::TlsDone),
            Err(reason) => self.handle(Input::TlsFailed(reason)),
        }
    }

    async fn handshake(&mut self, peer: &TlsPeer<'_>, limit: Duration) -> Result<(), String> {
        self.tls = Handshake::Failed;
        let Stream::Plain(plain) = std::mem::replace(&mut self.stream, Stream::Gone) else {
            return Err("TLS is started already".to_owned());
        };
        let handshake = peer.tls.connect(plain, peer.name, peer.address);
        let shaken = tokio::select! {
            biased;
            () = self.entry.lever.pulled() => return Err(CLOSED.to_owned()),
            shaken = timeout(&*self.clock, limit, handshake) => shaken,
        };
        match shaken {
            Some(Ok((stream, info))) => {
                self.note(|| format!("TLS: {} {}", info.protocol, info.cipher));
                self.stream = Stream::Tls(Box::new(stream));
                self.tls = Handshake::Done(Box::new(info));
                Ok(())
            }
            Some(Err(error)) => {
                self.note(|| format!("TLS failed: {}", error.reason));
                Err(error.reason)
            }
            None => {
                self.note(|| "TLS failed: timeout".to_owned());
                Err("timeout".to_owned())
            }
        }
    }

    /// Writes all that the machine wants to say and waits until it takes more of the message; false if it takes no more.
    async fn write_all(&mut self) -> bool {
        loop {
            if self.said.is_none() {
                self.said = self.client.poll();
            }
            if self.said.is_some() || self.client.is_closed() {
                return false;
            }
            if self.client.requests().is_empty() {
                if self.client.wants_content() {
                    return true;
                }
                if !self.client.awaits_content() {
                    return false;
                }
            }
            let event = poll_fn(|context| self.poll_io(context)).await;
            self.take(event);
        }
    }

    /// Moves bytes until the machine says something; none when the connection is over.
    async fn turn(&mut self) -> Option<Output> {
        loop {
            if let Some(output) = self.said.take().or_else(|| self.client.poll()) {
                return Some(output);
            }
            if self.client.is_closed() {
                return None;
            }
            let event = poll_fn(|context| self.poll_io(context)).await;
            self.take(event);
        }
    }

    fn take(&mut self, event: Event) {
        let now = self.clock.monotonic().0;
        match event {
            Event::Written(count) => {
                if let Some(tap) = &mut self.tap {
                    let what = match () {
                        () if self.client.is_sending() => Said::Content,
                        () if self.client.is_secret() => Said::Secret,
                        () => Said::Commands,
                    };
                    let bytes = self.client.requests();
                    tap.said(bytes.get(..count).unwrap_or_default(), what);
                }
                self.client.written(count);
            }
            Event::Flushed => {}
            Event::Read(count) => {
                let bytes = self.buffer.get(..count).unwrap_or_default();
                if let Some(tap) = &mut self.tap {
                    tap.heard(bytes);
                }
                self.client.handle(now, Input::Bytes(bytes));
            }
            Event::Closed => {
                let error = self.broken.take().map(transport_error);
                self.client.handle(now, Input::Gone(error));
            }
            Event::Failed(error) => {
                // The first error says more than what follows from it.
                let error = self.broken.take().unwrap_or(error);
                self.client
                    .handle(now, Input::Gone(Some(transport_error(error))));
            }
            Event::Tick => self.client.handle(now, Input::Tick),
        }
        self.show();
    }

    fn poll_io(&mut self, context: &mut Context<'_>) -> Poll<Event> {
        if self.entry.lever.poll(context).is_ready() {
            self.broken = None;
            let error = io::Error::new(io::ErrorKind::ConnectionAborted, CLOSED);
            return Poll::Ready(Event::Failed(error));
        }
        if self.broken.is_none() {
            if !self.client.requests().is_empty() {
                match self.stream.poll_write(context, self.client.requests()) {
                    Poll::Ready(Ok(0)) => self.broken = Some(io::ErrorKind::WriteZero.into()),
                    Poll::Ready(Ok(count)) => {
                        self.unflushed = true;
                        return Poll::Ready(Event::Written(count));
                    }
                    Poll::Ready(Err(error)) => self.broken = Some(error),
                    Poll::Pending => {}
                }
            } else if self.unflushed {
                match self.stream.poll_flush(context) {
                    Poll::Ready(Ok(())) => {
                        self.unflushed = false;
                        return Poll::Ready(Event::Flushed);
                    }
                    Poll::Ready(Err(error)) => self.broken = Some(error),
                    Poll::Pending => {}
                }
            }
        }
        let mut buffer = ReadBuf::new(&mut self.buffer);
        match self.stream.poll_read(context, &mut buffer) {
            Poll::Ready(Ok(())) => {
                return Poll::Ready(match buffer.filled().len() {
                    0 => Event::Closed,
                    count => Event::Read(count),
                });
            }
            Poll::Ready(Err(error)) => return Poll::Ready(Event::Failed(error)),
            Poll::Pending => {}
        }
        self.poll_timer(context)
    }

    fn poll_timer(&mut self, context: &mut Context<'_>) -> Poll<Event> {
        loop {
            let Some(deadline) = self.client.deadline().map(Monotonic) else {
                return Poll::Pending;
            };
            let clock = &self.clock;
            let (at, timer) = match &mut self.timer {
                Some((at, timer)) if *at <= deadline => (*at, timer),
                slot => {
                    let (at, timer) = slot.insert((deadline, clock.sleep_until(deadline)));
                    (*at, timer)
                }
            };
            if timer.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            self.timer = None;
            if at >= deadline {
                return Poll::Ready(Event::Tick);
            }
        }
    }
}

fn transport_error(error: io::Error) -> TransportError {
    let tls = error
        .get_ref()
        .is_some_and(|inner| inner.is::<rustls::Error>());
    TransportError {
        kind: if tls {
            TransportErrorKind::Tls
        } else {
            TransportErrorKind::Socket
        },
        reason: error.to_string(),
        code: error.raw_os_error().map(i64::from),
    }
}

impl Stream {
    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self {
            Stream::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Stream::Tls(stream) => match Pin::new(stream).poll_read(context, buffer) {
                // A peer that closes without the alert has closed all the same: nothing of what
                // SMTP says is cut unseen, because each reply has its end.
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    Poll::Ready(Ok(()))
                }
                other => other,
            },
            Stream::Gone => Poll::Ready(Ok(())),
        }
    }

    fn poll_write(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Stream::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Stream::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
            Stream::Gone => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(context),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(context),
            Stream::Gone => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(context),
            Stream::Gone => Poll::Ready(Ok(())),
        }
    }
}
