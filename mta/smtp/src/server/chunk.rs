//! BDAT (RFC 3030): content in counted pieces.
//!
//! Line ends are normalised as after DATA, so that what is stored has one form, unless the message
//! was announced as BINARYMIME; a dot has no meaning here. Whatever is refused, the octets that were
//! announced are taken and thrown away, so that they never run as commands.

use super::body::Framing;
use super::event::Output;
use super::machine::{Server, State};

/// The arguments of BDAT.
struct Bdat {
    /// Octets that follow; `None` when the number cannot be read.
    size: Option<u64>,
    /// LAST; `None` when the rest is malformed.
    last: Option<bool>,
}

impl Bdat {
    fn parse(arguments: &str) -> Self {
        let mut words = arguments.split(' ').filter(|word| !word.is_empty());
        let size = words
            .next()
            .filter(|word| word.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|word| word.parse().ok());
        let last = match (words.next(), words.next()) {
            (None, None) => Some(false),
            (Some(word), None) if word.eq_ignore_ascii_case("LAST") => Some(true),
            _ => None,
        };
        Self { size, last }
    }
}

impl Server {
    /// BDAT. Whatever the answer, the octets that follow are not commands.
    pub(super) fn bdat(&mut self, arguments: &str) {
        if !self.session.extensions.chunking {
            return self.fault(502, (5, 5, 1), "Command not implemented");
        }
        let Bdat { size, last } = Bdat::parse(arguments);
        let Some(size) = size else {
            return self.fault(501, (5, 5, 4), "Syntax: BDAT size [LAST]");
        };
        let envelope = self.session.transaction.envelope.as_ref();
        let recipients = envelope.map(|envelope| envelope.recipients.len());
        let received = self.partial.as_ref().map_or(0, |body| body.size());
        let limit = self.config.limits.size;
        match (recipients, last) {
            (_, None) => self.fault(501, (5, 5, 4), "Syntax: BDAT size [LAST]"),
            // A client that pipelines has sent the rest of its chunks before it read of the refusal:
            // this is no error of its own (RFC 3030 §4.1).
            _ if self.chunk_refused => self.reply(503, (5, 5, 1), "The message was refused"),
            (None, _) => self.fault(503, (5, 5, 1), "MAIL comes first"),
            (Some(0), _) if self.refused > 0 => self.fault(554, (5, 5, 1), "No valid recipients"),
            (Some(0), _) => self.fault(503, (5, 5, 1), "RCPT comes first"),
            _ if limit > 0 && received.saturating_add(size) > limit => {
                self.reply(552, (5, 3, 4), "Message size exceeds limit");
                self.renew_transaction();
            }
            (Some(_), Some(last)) => {
                let framing = Framing::Chunk { left: size, last };
                match self.partial.take() {
                    Some(mut body) => {
                        body.next_chunk(framing, self.now);
                        self.state = State::Data(body);
                        self.advance();
                    }
                    None => {
                        self.state = State::Opening(framing);
                        self.outputs.push_back(Output::OpenBody);
                    }
                }
                return;
            }
        }
        self.chunk_refused = last == Some(false);
        self.skip(size);
    }

    /// Throws away the octets of a refused chunk.
    pub(super) fn skip(&mut self, octets: u64) {
        if octets > 0 && !self.is_closed() {
            self.state = State::Skip(octets);
        }
    }

    pub(super) fn read_skipped(&mut self, bytes: &[u8]) -> usize {
        let State::Skip(left) = &mut self.state else {
            return 0;
        };
        let used = usize::try_from(*left).map_or(bytes.len(), |left| left.min(bytes.len()));
        *left = left.saturating_sub(u64::try_from(used).unwrap_or(u64::MAX));
        if *left == 0 {
            self.state = State::Command;
            self.waiting_since = self.now;
        }
        used
    }
}
