//! Reads replies with bounded memory (RFC 5321 §4.2.1).

use memchr::memchr;

use super::config::State;
use super::event::PeerReply;
use crate::reply::EnhancedStatus;

/// Longest reply line: eight times what the RFC allows, as servers exceed it.
const MAX_LINE: usize = 4096;
/// Most bytes of one reply.
const MAX_REPLY: usize = 64 * 1024;
/// Most lines of one reply.
const MAX_LINES: usize = 512;

/// Why a reply cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum ReplyError {
    /// No three digits, or a code outside 200 to 599.
    #[error("malformed reply line")]
    Malformed,
    /// The lines of one reply carry different codes.
    #[error("reply code changes inside a reply")]
    CodeChanges,
    /// Over a bound.
    #[error("reply is too long")]
    TooLong,
}

/// A reply without the knowledge of what it answers.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RawReply {
    pub(super) code: u16,
    pub(super) lines: Vec<String>,
}

impl RawReply {
    /// Takes the enhanced status off each line that repeats it.
    pub(super) fn answering(self, state: State) -> PeerReply {
        let fitting = |line: &str| {
            EnhancedStatus::split_off(line)
                .map(|(status, _)| status)
                .filter(|status| u16::from(status.class) == self.code / 100)
        };
        let enhanced = self.lines.first().and_then(|line| fitting(line));
        let strip = |line: String| match EnhancedStatus::split_off(&line) {
            Some((status, rest)) if Some(status) == enhanced => rest.to_owned(),
            _ => line,
        };
        PeerReply {
            code: self.code,
            enhanced,
            reason: self.lines.into_iter().map(strip).collect(),
            state,
        }
    }
}

/// Gathers a reply that comes in pieces.
#[derive(Debug, Default)]
pub(super) struct ReplyReader {
    line: Vec<u8>,
    lines: Vec<String>,
    code: Option<u16>,
    bytes: usize,
}

impl ReplyReader {
    /// Reads until a reply is complete or the input ends; returns how many bytes were used.
    pub(super) fn read(&mut self, input: &[u8]) -> Result<(usize, Option<RawReply>), ReplyError> {
        let mut used = 0;
        loop {
            let rest = input.get(used..).unwrap_or_default();
            let end = memchr(b'\n', rest);
            let piece = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
            self.bytes = self.bytes.saturating_add(piece.len());
            if self.line.len().saturating_add(piece.len()) > MAX_LINE
                || self.bytes > MAX_REPLY
                || self.lines.len() >= MAX_LINES
            {
                return Err(ReplyError::TooLong);
            }
            self.line.extend_from_slice(piece);
            let Some(end) = end else {
                // Foreign protocols often send no line end: do not wait for one.
                return match self.line.get(..3) {
                    Some(code) if parse_code(code).is_none() => Err(ReplyError::Malformed),
                    _ => Ok((input.len(), None)),
                };
            };
            used += end + 1;
            let line = std::mem::take(&mut self.line);
            if let Some(reply) = self.line_complete(line.strip_suffix(b"\r").unwrap_or(&line))? {
                return Ok((used, Some(reply)));
            }
        }
    }

    fn line_complete(&mut self, line: &[u8]) -> Result<Option<RawReply>, ReplyError> {
        let (code, text) = line.split_at_checked(3).ok_or(ReplyError::Malformed)?;
        let code = parse_code(code).ok_or(ReplyError::Malformed)?;
        if self.code.is_some_and(|first| first != code) {
            return Err(ReplyError::CodeChanges);
        }
        let (last, text) = match text.split_first() {
            None => (true, text),
            Some((b' ', text)) => (true, text),
            Some((b'-', text)) => (false, text),
            Some(_) => return Err(ReplyError::Malformed),
        };
        self.code = Some(code);
        self.lines.push(clean(text));
        if !last {
            return Ok(None);
        }
        let lines = std::mem::take(&mut self.lines);
        *self = Self::default();
        Ok(Some(RawReply { code, lines }))
    }
}

/// 200 to 599.
fn parse_code(digits: &[u8]) -> Option<u16> {
    match *digits {
        [a @ b'2'..=b'5', b @ b'0'..=b'9', c @ b'0'..=b'9'] => {
            let digit = |byte: u8| u16::from(byte - b'0');
            Some(digit(a) * 100 + digit(b) * 10 + digit(c))
        }
        _ => None,
    }
}

/// What a server says goes to logs, scripts and notifications: no control bytes in it.
fn clean(text: &[u8]) -> String {
    String::from_utf8_lossy(text)
        .chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pieces: &[&[u8]]) -> Result<Vec<PeerReply>, ReplyError> {
        let mut reader = ReplyReader::default();
        let mut replies = Vec::new();
        for piece in pieces {
            let mut rest = *piece;
            while !rest.is_empty() {
                let (used, reply) = reader.read(rest)?;
                replies.extend(reply.map(|reply| reply.answering(State::Mail)));
                rest = &rest[used..];
            }
        }
        Ok(replies)
    }

    #[test]
    fn replies_are_read_however_they_are_split() {
        let text = b"250-2.1.0 one\r\n250-2.1.0 two\r\n250 2.1.0 three\r\n550 no\n";
        let whole = read(&[text]).expect("replies");
        assert_eq!(whole.len(), 2);
        assert_eq!(whole[0].reason, ["one", "two", "three"]);
        assert_eq!(whole[0].enhanced, Some(EnhancedStatus::new(2, 1, 0)));
        assert_eq!((whole[1].code, whole[1].enhanced), (550, None));
        let bytes: Vec<&[u8]> = text.chunks(1).collect();
        assert_eq!(read(&bytes), Ok(whole));
    }

    #[test]
    fn a_status_of_another_class_is_text() {
        let replies = read(&[b"450 5.1.1 odd\r\n"]).expect("a reply");
        assert_eq!(replies[0].enhanced, None);
        assert_eq!(replies[0].reason, ["5.1.1 odd"]);
        assert_eq!(read(&[b"250\r\n"]).expect("a reply")[0].reason, [""]);
    }

    #[test]
    fn garbage_is_an_error_and_memory_is_bounded() {
        for text in [
            &b"SSH-2.0-x"[..],
            b"\r\n",
            b"25\r\n",
            b"199 x\r\n",
            b"600 x\r\n",
            b"250+x\r\n",
            b"\xff\xfe\xfd",
        ] {
            assert_eq!(read(&[text]), Err(ReplyError::Malformed), "{text:?}");
        }
        assert_eq!(read(&[b"250-a\r\n550 b\r\n"]), Err(ReplyError::CodeChanges));
        assert_eq!(read(&[b"250 ", &[b'x'; 5000]]), Err(ReplyError::TooLong));
        assert_eq!(read(&[&b"250-x\r\n".repeat(513)]), Err(ReplyError::TooLong));
    }

    #[test]
    fn control_bytes_are_replaced() {
        let replies = read(&[b"250 a\x1b[31m\xff\r\n"]).expect("a reply");
        assert_eq!(replies[0].reason, ["a?[31m\u{fffd}"]);
    }
}
