//! Frames: what goes over the control socket, byte by byte.
//!
//! ```text
//! client   major minor             two bytes, once
//!          letter                  a command without a body
//!          letter length body      length: eight bytes, the lowest first
//! server   kind length data        kind: `+` done, `E` failed, `=` a record of the log
//! ```
//!
//! A client sends its next request after the answer to the last one. [`Requests`] and [`Answers`]
//! take the bytes as they come and give what is whole; memory grows with what has arrived, not with
//! what a length promises.

use thiserror::Error;

/// The version that our client speaks.
pub const VERSION: [u8; 2] = [5, 15];
/// The greatest length of a body, in bytes.
pub const LIMIT: u64 = 1 << 30;

/// Bytes that are no frame. The connection cannot go on after it.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum FrameError {
    /// The client speaks another major version.
    #[error("Unsupported protocol version {0}.{1}, this server speaks 5 and 6")]
    Version(u8, u8),
    /// A body is longer than [`LIMIT`].
    #[error("A body of {0} bytes is longer than the limit of {LIMIT}")]
    TooLong(u64),
    /// The server answered with something else than an answer.
    #[error("The server answered with the byte {0:#04x}, which begins no answer")]
    Kind(u8),
}

/// A request as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The command.
    pub letter: u8,
    /// The message; empty for a command without one.
    pub body: Vec<u8>,
}

/// What an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The command was carried out; the data is its message.
    Done,
    /// It was not; the data is the reason.
    Failed,
    /// A record of the log, before the answer.
    Record,
}

impl Kind {
    /// The byte that stands for it.
    pub fn byte(self) -> u8 {
        match self {
            Kind::Done => b'+',
            Kind::Failed => b'E',
            Kind::Record => b'=',
        }
    }

    fn of(byte: u8) -> Option<Kind> {
        [Kind::Done, Kind::Failed, Kind::Record]
            .into_iter()
            .find(|kind| kind.byte() == byte)
    }
}

/// An answer as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What it is.
    pub kind: Kind,
    /// Its data.
    pub data: Vec<u8>,
}

/// The head of an answer with so many bytes of data.
pub fn answer_head(kind: Kind, length: usize) -> [u8; 9] {
    head(kind.byte(), length)
}

/// A request as bytes; a command without a body has none.
pub fn request(letter: u8, body: Option<&[u8]>) -> Vec<u8> {
    let Some(body) = body else {
        return vec![letter];
    };
    let mut bytes = Vec::with_capacity(9 + body.len());
    bytes.extend_from_slice(&head(letter, body.len()));
    bytes.extend_from_slice(body);
    bytes
}

fn head(first: u8, length: usize) -> [u8; 9] {
    let mut head = [first; 9];
    // A length in memory always fits.
    let length = u64::try_from(length).unwrap_or(u64::MAX).to_le_bytes();
    for (to, byte) in head.iter_mut().skip(1).zip(length) {
        *to = byte;
    }
    head
}

/// What has arrived and was not given out yet.
#[derive(Debug, Default)]
struct Buffer {
    bytes: Vec<u8>,
    /// Where the next frame begins.
    at: usize,
}

impl Buffer {
    fn feed(&mut self, bytes: &[u8]) {
        if self.at == self.bytes.len() {
            self.bytes.clear();
            self.at = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    fn rest(&self) -> &[u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// The first byte and the body after it, once both are there.
    fn framed(&mut self) -> Result<Option<(u8, Vec<u8>)>, FrameError> {
        let Some((head, rest)) = self.rest().split_first_chunk::<9>() else {
            return Ok(None);
        };
        let [first, length @ ..] = *head;
        let length = u64::from_le_bytes(length);
        if length > LIMIT {
            return Err(FrameError::TooLong(length));
        }
        let length = usize::try_from(length).map_err(|_| FrameError::TooLong(length))?;
        let Some(body) = rest.get(..length).map(<[u8]>::to_vec) else {
            return Ok(None);
        };
        self.skip(9 + length);
        Ok(Some((first, body)))
    }

    fn skip(&mut self, count: usize) {
        self.at = self.at.saturating_add(count).min(self.bytes.len());
        if self.at > 64 << 10 {
            self.bytes.drain(..self.at);
            self.at = 0;
        }
    }
}

/// The server's end: requests as they arrive.
#[derive(Debug, Default)]
pub struct Requests {
    buffer: Buffer,
    greeted: bool,
}

impl Requests {
    /// Takes bytes.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buffer.feed(bytes);
    }

    /// The next request that is whole; `has_body` knows which commands bring a message.
    ///
    /// # Errors
    /// The bytes are no request; the connection is to be closed.
    pub fn take(&mut self, has_body: impl Fn(u8) -> bool) -> Result<Option<Request>, FrameError> {
        if !self.greeted {
            let Some(&[major, minor]) = self.buffer.rest().first_chunk::<2>() else {
                return Ok(None);
            };
            if !matches!(major, 5 | 6) {
                return Err(FrameError::Version(major, minor));
            }
            self.buffer.skip(2);
            self.greeted = true;
        }
        let Some(letter) = self.buffer.rest().first().copied() else {
            return Ok(None);
        };
        if !has_body(letter) {
            self.buffer.skip(1);
            let body = Vec::new();
            return Ok(Some(Request { letter, body }));
        }
        let framed = self.buffer.framed()?;
        Ok(framed.map(|(letter, body)| Request { letter, body }))
    }

    /// Whether something of a request is there.
    pub fn is_inside(&self) -> bool {
        !self.buffer.rest().is_empty()
    }
}

/// The client's end: answers as they arrive.
#[derive(Debug, Default)]
pub struct Answers(Buffer);

impl Answers {
    /// Takes bytes.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.0.feed(bytes);
    }

    /// The next answer that is whole.
    ///
    /// # Errors
    /// The bytes are no answer.
    pub fn take(&mut self) -> Result<Option<Answer>, FrameError> {
        if let Some(byte) = self.0.rest().first()
            && Kind::of(*byte).is_none()
        {
            return Err(FrameError::Kind(*byte));
        }
        let Some((first, data)) = self.0.framed()? else {
            return Ok(None);
        };
        let kind = Kind::of(first).ok_or(FrameError::Kind(first))?;
        Ok(Some(Answer { kind, data }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn with_body(letter: u8) -> bool {
        letter.is_ascii_uppercase()
    }

    #[test]
    fn a_request_is_a_letter_a_length_and_a_body() {
        assert_eq!(request(b'q', None), b"q");
        assert_eq!(request(b'F', Some(b"abc")), b"F\x03\0\0\0\0\0\0\0abc");
        assert_eq!(answer_head(Kind::Failed, 258), *b"E\x02\x01\0\0\0\0\0\0");
    }

    #[test]
    fn other_major_versions_are_refused() {
        for major in [0, 4, 7, b'G', 255] {
            let mut requests = Requests::default();
            requests.feed(&[major, 3, b'q']);
            assert_eq!(
                requests.take(with_body),
                Err(FrameError::Version(major, 3)),
                "{major}"
            );
        }
    }

    #[test]
    fn a_length_beyond_the_limit_is_refused_before_its_body() {
        let mut requests = Requests::default();
        requests.feed(b"\x05\x03F");
        requests.feed(&(LIMIT + 1).to_le_bytes());
        assert_eq!(
            requests.take(with_body),
            Err(FrameError::TooLong(LIMIT + 1))
        );
        let mut answers = Answers::default();
        answers.feed(b"?");
        assert_eq!(answers.take(), Err(FrameError::Kind(b'?')));
    }

    proptest! {
        #[test]
        fn requests_come_out_as_they_went_in_however_they_are_cut(
            list in prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u8>(), 0..40)), 0..8),
            cuts in prop::collection::vec(1_usize..9, 1..9),
        ) {
            let mut bytes = VERSION.to_vec();
            let mut want = Vec::new();
            for (letter, body) in list {
                let body = if with_body(letter) { body } else { Vec::new() };
                bytes.extend(request(letter, with_body(letter).then_some(&body[..])));
                want.push(Request { letter, body });
            }
            let mut requests = Requests::default();
            let mut got = Vec::new();
            let mut cuts = cuts.into_iter().cycle();
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let (head, tail) = rest.split_at(cuts.next().unwrap().min(rest.len()));
                requests.feed(head);
                rest = tail;
                while let Some(request) = requests.take(with_body).unwrap() {
                    got.push(request);
                }
            }
            prop_assert_eq!(got, want);
            prop_assert!(!requests.is_inside());
        }

        #[test]
        fn no_bytes_make_the_parsers_fall_over(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut requests = Requests::default();
            requests.feed(&bytes);
            while let Ok(Some(_)) = requests.take(with_body) {}
            let mut answers = Answers::default();
            answers.feed(&bytes);
            while let Ok(Some(_)) = answers.take() {}
        }
    }
}
