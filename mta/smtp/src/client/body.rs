//! The message on its way to the server: after DATA, or in chunks (RFC 3030 §2).

use crate::content::Encoder;

/// Bytes of one chunk, but for the last. So much of a message is kept until a server that takes no pipelining has
/// answered.
pub(super) const CHUNK: usize = 64 << 10;

/// How the message is being sent.
pub(super) enum Body {
    /// After DATA.
    Data(Encoder),
    /// By BDAT.
    Chunks(Chunks),
}

/// A message in chunks.
pub(super) struct Chunks {
    /// Makes line ends good; none for a binary message, whose bytes are sent as they are.
    encoder: Option<Encoder>,
    /// What is to be sent.
    buffer: Vec<u8>,
    /// All of the message was given.
    ended: bool,
}

impl Body {
    /// Chunks of a message.
    pub(super) const fn chunks(binary: bool) -> Body {
        Body::Chunks(Chunks {
            encoder: if binary { None } else { Some(Encoder::lines()) },
            buffer: Vec::new(),
            ended: false,
        })
    }

    /// Whether it takes more of the message now.
    pub(super) fn has_room(&self) -> bool {
        match self {
            Body::Data(_) => true,
            Body::Chunks(chunks) => !chunks.ended && chunks.buffer.len() < CHUNK,
        }
    }
}

impl Chunks {
    /// Takes the next piece of the message.
    pub(super) fn add(&mut self, piece: &[u8]) {
        match &mut self.encoder {
            Some(encoder) => encoder.encode(piece, &mut self.buffer),
            None => self.buffer.extend_from_slice(piece),
        }
    }

    /// Takes the end of the message.
    pub(super) fn end(&mut self) {
        if let Some(encoder) = self.encoder.take() {
            encoder.finish(&mut self.buffer);
        }
        self.ended = true;
    }

    /// Writes the command and the bytes of the next chunk, if one is full or it is the last; says whether it was the
    /// last.
    pub(super) fn write(&mut self, requests: &mut Vec<u8>) -> Option<bool> {
        let last = self.ended && self.buffer.len() <= CHUNK;
        if !last && self.buffer.len() < CHUNK {
            return None;
        }
        let size = self.buffer.len().min(CHUNK);
        let end = if last { " LAST" } else { "" };
        requests.extend_from_slice(format!("BDAT {size}{end}\r\n").as_bytes());
        requests.extend(self.buffer.drain(..size));
        Some(last)
    }
}
