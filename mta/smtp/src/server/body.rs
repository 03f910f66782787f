//! DATA and what it has in common with BDAT: content in, pieces out (RFC 5321 §4.1.1.4).
//!
//! Between two chunks of BDAT the machine holds no content: what a client has sent is the store's,
//! whose memory is bounded for all sessions together.

use std::mem;
use std::time::Duration;

use super::command::has_none;
use super::config::Config;
use super::event::{Hook, Output, StoreFailure};
use super::machine::{Pending, Server, State};
use crate::Time;
use crate::content::{Decoder, HeaderLimits, HeaderScan};
use crate::param::BodyType;
use crate::reply::Reply;
use crate::session::CloseBy;
use crate::verdict::{Function, Phase, Verdict, compose};

/// Size of a chunk, and of the block that `timeouts.data` bounds.
const CHUNK: usize = 64 * 1024;
/// `limits.min_rate` is measured over this time.
const RATE_WINDOW: Duration = Duration::from_secs(60);

/// How the client marks the end of content.
#[derive(Debug, Clone, Copy)]
pub(super) enum Framing {
    /// DATA: a line of one dot.
    Dot,
    /// BDAT: a count of octets.
    Chunk { left: u64, last: bool },
}

/// A message that is being received.
pub(super) struct Body {
    framing: Framing,
    decoder: Decoder,
    scan: HeaderScan,
    chunk: Vec<u8>,
    /// Bytes of normalised content.
    size: u64,
    failure: Option<Failure>,
    /// Since when the message is refused: its rest is thrown away, and not for ever.
    failed_since: Option<Time>,
    /// Since when the store works on a piece; the client is not to blame for this time.
    storing_since: Option<Time>,
    /// Since when a chunk is complete and the next one is not announced.
    parked_since: Option<Time>,
    block: Span,
    window: Span,
}

/// Bytes received since a moment.
struct Span {
    since: Time,
    bytes: u64,
}

/// Why a message is refused after its end.
#[derive(Debug, Clone, Copy)]
enum Failure {
    Size,
    Header,
    Hops,
    Store(StoreFailure),
}

impl Body {
    fn new(framing: Framing, body: BodyType, config: &Config, now: Time) -> Self {
        let span = || Span {
            since: now,
            bytes: 0,
        };
        Self {
            framing,
            decoder: match (framing, body) {
                (Framing::Dot, _) => Decoder::new(),
                (Framing::Chunk { .. }, BodyType::BinaryMime) => Decoder::binary(),
                (Framing::Chunk { .. }, _) => Decoder::counted(),
            },
            scan: HeaderScan::new(HeaderLimits {
                field: config.limits.header,
                total: config.limits.headers,
            }),
            chunk: Vec::new(),
            size: 0,
            failure: None,
            failed_since: None,
            storing_since: None,
            parked_since: None,
            block: span(),
            window: span(),
        }
    }

    pub(super) fn is_storing(&self) -> bool {
        self.storing_since.is_some()
    }

    /// Whether the store holds a message that nobody has dropped yet.
    pub(super) fn is_open(&self) -> bool {
        self.failure.is_none()
    }

    /// Bytes of normalised content so far.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Goes on with another chunk; the time between chunks does not count, which is what
    /// `timeouts.idle` bounds.
    pub(super) fn next_chunk(&mut self, framing: Framing, now: Time) {
        self.framing = framing;
        if let Some(since) = self.parked_since.take() {
            self.pause(since, now);
        }
    }

    /// Takes the time from `since` to `now` out of all measures.
    fn pause(&mut self, since: Time, now: Time) {
        let pause = now.saturating_sub(since);
        self.block.since = self.block.since.saturating_add(pause);
        self.window.since = self.window.since.saturating_add(pause);
        if let Some(since) = &mut self.failed_since {
            *since = since.saturating_add(pause);
        }
    }

    /// Whether all that the present command brings has come.
    fn is_received(&self) -> bool {
        match self.framing {
            Framing::Dot => self.decoder.is_done(),
            Framing::Chunk { left, .. } => left == 0,
        }
    }

    pub(super) fn deadline(&self, config: &Config) -> Option<Time> {
        if self.is_storing() {
            return None;
        }
        let limit = config.timeouts.data;
        let block = self.block.since.checked_add(limit);
        let refused = self.failed_since.map(|since| since.saturating_add(limit));
        let window = match config.limits.min_rate {
            0 => None,
            _ => self.window.since.checked_add(RATE_WINDOW),
        };
        [block, refused, window].into_iter().flatten().min()
    }

    /// Decodes up to a chunk; returns how many bytes were used.
    fn decode(&mut self, bytes: &[u8], config: &Config, now: Time) -> usize {
        let mut room = CHUNK.saturating_sub(self.chunk.len()).max(1);
        if let Framing::Chunk { left, .. } = self.framing {
            room = usize::try_from(left).map_or(room, |left| left.min(room));
        }
        let bytes = bytes.get(..room).unwrap_or(bytes);
        let before = self.chunk.len();
        let used = self.decoder.decode(bytes, &mut self.chunk);
        let content = self.chunk.get(before..).unwrap_or_default();
        self.scan.feed(content);
        self.size = self.size.saturating_add(as_u64(content.len()));
        if let Framing::Chunk { left, .. } = &mut self.framing {
            *left = left.saturating_sub(as_u64(used));
        }
        self.block.bytes = self.block.bytes.saturating_add(as_u64(used));
        self.window.bytes = self.window.bytes.saturating_add(as_u64(used));
        if self.block.bytes >= as_u64(CHUNK) {
            self.block = Span {
                since: now,
                bytes: self.block.bytes % as_u64(CHUNK),
            };
        }
        // Looked at anew each time: which of two faults is named must not depend on how the bytes came in.
        if !matches!(self.failure, Some(Failure::Store(_))) {
            self.failure = self.check(config);
        }
        if self.failure.is_some() {
            self.failed_since.get_or_insert(now);
        }
        used
    }

    fn check(&self, config: &Config) -> Option<Failure> {
        let limits = &config.limits;
        if limits.size > 0 && self.size > limits.size {
            Some(Failure::Size)
        } else if self.scan.too_big() {
            Some(Failure::Header)
        } else if self.scan.hops() > limits.hops {
            Some(Failure::Hops)
        } else {
            None
        }
    }

    /// Says whether the client is too slow; starts the next window when one is over.
    pub(super) fn too_slow(&mut self, config: &Config, now: Time) -> bool {
        let over = |since: Time| since.saturating_add(config.timeouts.data) <= now;
        if over(self.block.since) || self.failed_since.is_some_and(over) {
            return true;
        }
        if config.limits.min_rate > 0 && self.window.since.saturating_add(RATE_WINDOW) <= now {
            if self.window.bytes < config.limits.min_rate.saturating_mul(RATE_WINDOW.as_secs()) {
                return true;
            }
            self.window = Span {
                since: now,
                bytes: 0,
            };
        }
        false
    }

    /// The store has answered: its time does not count against the client.
    fn resume(&mut self, now: Time) {
        if let Some(since) = self.storing_since.take() {
            self.pause(since, now);
        }
    }
}

fn as_u64(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

impl Server {
    /// DATA
    pub(super) fn data(&mut self, arguments: &str) {
        let envelope = self.session.transaction.envelope.as_ref();
        let binary = envelope.is_some_and(|envelope| envelope.body == BodyType::BinaryMime);
        match envelope.map(|envelope| envelope.recipients.len()) {
            _ if !has_none(arguments) => self.fault(501, (5, 5, 4), "DATA takes no argument"),
            None => self.fault(503, (5, 5, 1), "MAIL comes first"),
            Some(_) if self.partial.is_some() => self.fault(503, (5, 5, 1), "DATA after BDAT"),
            Some(0) if self.refused > 0 => self.fault(554, (5, 5, 1), "No valid recipients"),
            Some(0) => self.fault(503, (5, 5, 1), "RCPT comes first"),
            // RFC 3030 §3: what is binary has no line of one dot to end at.
            Some(_) if binary => self.fault(503, (5, 5, 1), "BINARYMIME is sent with BDAT"),
            Some(_) => {
                self.state = State::Opening(Framing::Dot);
                self.outputs.push_back(Output::OpenBody);
            }
        }
    }

    /// Takes content; the state is `Data`.
    pub(super) fn read_content(&mut self, bytes: &[u8]) -> usize {
        let State::Data(body) = &mut self.state else {
            return 0;
        };
        if body.too_slow(&self.config, self.now) {
            self.overdue();
            return 0;
        }
        let was_open = body.is_open();
        let used = body.decode(bytes, &self.config, self.now);
        if was_open && !body.is_open() {
            self.outputs.push_back(Output::AbortBody);
        }
        self.advance();
        used
    }

    /// Gives a full chunk away and ends what has ended.
    pub(super) fn advance(&mut self) {
        let State::Data(body) = &mut self.state else {
            return;
        };
        if !body.is_open() {
            body.chunk = Vec::new();
        }
        if body.chunk.len() >= CHUNK {
            return self.emit_chunk();
        }
        if !body.is_received() {
            return;
        }
        if let (Framing::Chunk { last: false, .. }, None) = (body.framing, body.failure) {
            return match body.chunk.is_empty() {
                true => self.park(),
                // A client that waits between chunks holds none of this machine's memory.
                false => self.emit_chunk(),
            };
        }
        if body.is_open() {
            body.decoder.finish(&mut body.chunk);
        }
        if body.chunk.is_empty() {
            self.content_done();
        } else {
            self.emit_chunk();
        }
    }

    /// A chunk that is not the last one is complete.
    fn park(&mut self) {
        if let State::Data(mut body) = mem::replace(&mut self.state, State::Command) {
            body.parked_since = Some(self.now);
            body.chunk = Vec::new();
            self.partial = Some(body);
            self.reply(250, (2, 0, 0), "Ok, chunk received");
        }
    }

    fn emit_chunk(&mut self) {
        if let State::Data(body) = &mut self.state {
            body.storing_since = Some(self.now);
            self.outputs
                .push_back(Output::Body(mem::take(&mut body.chunk)));
        }
    }

    /// The end of data was read and all of it is stored, or refused.
    fn content_done(&mut self) {
        let State::Data(body) = &self.state else {
            return;
        };
        let last = !matches!(body.framing, Framing::Chunk { last: false, .. });
        self.begun = self.now;
        self.verb = if last { "EOD" } else { "BDAT" };
        let size = body.size;
        match body.failure {
            None => {
                self.state = State::Hook(Pending::Eod);
                self.outputs.push_back(Output::Hook(Hook::Eod { size }));
            }
            Some(failure) => {
                self.state = State::Command;
                self.chunk_refused = !last;
                self.failure_reply(failure);
                self.renew_transaction();
            }
        }
    }

    fn failure_reply(&mut self, failure: Failure) {
        match failure {
            Failure::Size => self.reply(552, (5, 3, 4), "Message size exceeds limit"),
            Failure::Header => self.reply(552, (5, 3, 4), "Message header exceeds limit"),
            Failure::Hops => self.reply(554, (5, 4, 6), "Too many hops"),
            Failure::Store(failure) => self.store_reply(failure),
        }
    }

    /// The reply before a close for want of time: to a message that is refused anyway, why.
    pub(super) fn late_reply(&mut self) {
        let failure = match &self.state {
            State::Data(body) => body.failure,
            _ => None,
        };
        match failure {
            Some(failure) => self.failure_reply(failure),
            None => self.reply(421, (4, 4, 2), "Timeout while receiving the message"),
        }
    }

    /// The driver has opened a message or stored a chunk.
    pub(super) fn stored(&mut self) {
        match &mut self.state {
            State::Opening(framing) => {
                let framing = *framing;
                let envelope = self.session.transaction.envelope.as_ref();
                let kind = envelope.map_or(BodyType::SevenBit, |envelope| envelope.body);
                let body = Body::new(framing, kind, &self.config, self.now);
                self.state = State::Data(Box::new(body));
                match framing {
                    Framing::Dot => {
                        let text = "End data with <CR><LF>.<CR><LF>";
                        self.send(Reply::fixed(354, None, text), false);
                    }
                    Framing::Chunk { .. } => self.advance(),
                }
            }
            State::Data(body) if body.is_storing() => {
                body.resume(self.now);
                self.advance();
            }
            _ => {}
        }
    }

    /// The driver could not; it holds nothing of the message any more.
    pub(super) fn store_failed(&mut self, failure: StoreFailure) {
        match &mut self.state {
            State::Opening(framing) => {
                let framing = *framing;
                self.state = State::Command;
                self.store_reply(failure);
                self.renew_transaction();
                if let Framing::Chunk { left, last } = framing {
                    self.chunk_refused = !last;
                    self.skip(left);
                }
            }
            State::Data(body) if body.is_storing() => {
                body.failure = Some(Failure::Store(failure));
                body.failed_since.get_or_insert(self.now);
                self.stored();
            }
            _ => {}
        }
    }

    fn store_reply(&mut self, failure: StoreFailure) {
        match failure {
            StoreFailure::Full => self.reply(452, (4, 3, 1), "Insufficient system storage"),
            StoreFailure::Broken => self.reply(451, (4, 3, 0), "Local error, try again later"),
        }
    }

    pub(super) fn eod_verdict(&mut self, verdict: Verdict) {
        let utf8 = self.session.utf8();
        let text = format!("Ok: queued as {}", self.session.transaction.id);
        if let Some(accept) = self.refusal(Phase::Eod, verdict, utf8) {
            let disconnect = accept.reply.disconnect;
            self.send(
                compose(Phase::Eod, Function::Accept, accept.reply, Some(text)),
                utf8,
            );
            if disconnect {
                self.close(CloseBy::Local, None);
            }
        }
        if !self.is_closed() {
            self.renew_transaction();
        }
    }
}
