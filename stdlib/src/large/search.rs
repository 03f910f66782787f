//! Finding a text in a long one, a piece at a time.
//!
//! What is searched for may be long itself, and preparing a search takes as long as that is. So only [`KNOWN`] of its bytes are
//! searched for; the others are compared where those are found, in pieces too.

use angarium_runtime::native::Cx;
use angarium_runtime::pieces::{PIECE_ENTRIES, PIECE_READ};
use angarium_runtime::string::Str;
use memchr::memmem::{Finder, FinderRev};

/// Bytes that are searched for: the first ones, or the last ones on the way back.
const KNOWN: usize = 1 << 14;

/// A search for a text that is not empty.
pub(super) struct Search {
    needle: Str,
    known: Known,
    /// Where the needle may begin, and up to which of its bytes it is known to be there.
    candidate: Option<(usize, usize)>,
}

enum Known {
    Byte(u8),
    First(Box<Finder<'static>>),
    Last(Box<FinderRev<'static>>),
}

/// What a piece of a search tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// The needle begins here.
    Here(usize),
    /// It begins nowhere before; on the way back: ends nowhere behind.
    Clear(usize),
}

impl Search {
    /// From left to right.
    pub(super) fn forward(needle: &Str) -> Search {
        let bytes = needle.as_bytes();
        let known = match bytes {
            [byte] => Known::Byte(*byte),
            _ => {
                let first = bytes.get(..KNOWN).unwrap_or(bytes);
                Known::First(Box::new(Finder::new(first).into_owned()))
            }
        };
        Search {
            needle: needle.clone(),
            known,
            candidate: None,
        }
    }

    /// From right to left.
    pub(super) fn backward(needle: &Str) -> Search {
        let bytes = needle.as_bytes();
        let last = bytes.get(bytes.len().saturating_sub(KNOWN)..);
        let finder = FinderRev::new(last.unwrap_or_default()).into_owned();
        Search {
            needle: needle.clone(),
            known: Known::Last(Box::new(finder)),
            candidate: None,
        }
    }

    /// What is searched for, when it is a single byte.
    pub(super) fn byte(&self) -> Option<u8> {
        match self.known {
            Known::Byte(byte) => Some(byte),
            Known::First(_) | Known::Last(_) => None,
        }
    }

    /// Bytes of what is searched for.
    pub(super) fn len(&self) -> usize {
        self.needle.len()
    }

    /// Looks at a piece of `text` from `start` to `end`, and charges for it. After [`Seen::Clear`] the search goes on there, with the
    /// same text.
    pub(super) fn look(&mut self, text: &[u8], start: usize, end: usize, cx: &mut Cx<'_>) -> Seen {
        let length = self.needle.len();
        if let Some((at, known)) = self.candidate {
            return self.compare(text, at, known, cx);
        }
        let forwards = !matches!(self.known, Known::Last(_));
        let known = length.min(KNOWN);
        let wide = PIECE_READ + known - 1;
        let (from, to) = if forwards {
            (start, end.min(start.saturating_add(wide)))
        } else {
            (start.max(end.saturating_sub(wide)), end)
        };
        let window = text.get(from..to).unwrap_or_default();
        let found = match &self.known {
            Known::Byte(byte) => memchr::memchr(*byte, window),
            Known::First(finder) => finder.find(window),
            Known::Last(finder) => finder.rfind(window),
        };
        let Some(offset) = found else {
            cx.charge(1 + window.len() / 64);
            return Seen::Clear(match forwards {
                true if to == end => end,
                true => start + PIECE_READ,
                false if from == start => start,
                false => end - PIECE_READ,
            });
        };
        let seen = from + offset;
        let read = if forwards { offset } else { to - seen };
        cx.charge(1 + read / 64);
        if length == known {
            return Seen::Here(seen);
        }
        // The whole has to fit in.
        if forwards {
            if end - seen < length {
                return Seen::Clear(end);
            }
            self.candidate = Some((seen, known));
            Seen::Clear(seen)
        } else {
            let behind = seen + known;
            if behind - start < length {
                return Seen::Clear(start);
            }
            self.candidate = Some((behind - length, 0));
            Seen::Clear(behind)
        }
    }

    /// Compares a piece of the needle with the text at a place where `known` of its bytes are.
    fn compare(&mut self, text: &[u8], at: usize, known: usize, cx: &mut Cx<'_>) -> Seen {
        let needle = self.needle.as_bytes();
        let backwards = matches!(self.known, Known::Last(_));
        let all = if backwards {
            needle.len() - KNOWN
        } else {
            needle.len()
        };
        let to = all.min(known + PIECE_READ);
        cx.charge(1 + (to - known) / 64);
        self.candidate = None;
        if text.get(at + known..at + to) != needle.get(known..to) {
            return Seen::Clear(if backwards {
                at + needle.len() - 1
            } else {
                at + 1
            });
        }
        if to == all {
            return Seen::Here(at);
        }
        self.candidate = Some((at, to));
        Seen::Clear(if backwards { at + needle.len() } else { at })
    }

    /// How often the needle is in a piece of `text` from `start` on, and where the next piece begins.
    pub(super) fn count(&mut self, text: &[u8], start: usize, cx: &mut Cx<'_>) -> (usize, usize) {
        if let Known::Byte(byte) = self.known {
            let end = text.len().min(start + PIECE_READ);
            let window = text.get(start..end).unwrap_or_default();
            cx.charge(1 + window.len() / 64);
            return (memchr::memchr_iter(byte, window).count(), end);
        }
        let (mut at, mut count) = (start, 0);
        while at < text.len() && count < PIECE_ENTRIES && !cx.is_due() {
            match self.look(text, at, text.len(), cx) {
                Seen::Here(place) => (at, count) = (place + self.len(), count + 1),
                Seen::Clear(place) => at = place,
            }
        }
        (count, at)
    }
}
