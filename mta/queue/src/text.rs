//! Shared byte strings and the table that shares them.
//!
//! A script's strings are bytes, so everything that a script can put into an item is bytes too.
//! Host names, transports and job ids repeat in thousands of items; the [`Interner`] keeps one copy.

use std::borrow::{Borrow, Cow};
use std::cmp::Ordering;
use std::collections::HashSet;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::LazyLock;

use triomphe::ThinArc;

/// An immutable byte string whose copies share one buffer.
///
/// A word that points to the count, the length and the bytes: a queued message has more than a dozen of
/// these, and most of them are empty or shared (docs/decisions/0036-a-million-messages.md).
#[derive(Clone)]
pub struct Text(ThinArc<(), u8>);

/// All empty texts are this one.
static EMPTY: LazyLock<Text> = LazyLock::new(|| Text(ThinArc::from_header_and_slice((), &[])));

impl Text {
    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0.slice
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.as_bytes().is_empty()
    }

    /// The number of bytes.
    pub fn len(&self) -> usize {
        self.as_bytes().len()
    }

    /// The text, with each byte sequence that is not UTF-8 replaced by U+FFFD.
    pub fn to_str(&self) -> Cow<'_, str> {
        // Nearly all are UTF-8, which is quicker to check as a whole.
        match std::str::from_utf8(self.as_bytes()) {
            Ok(text) => Cow::Borrowed(text),
            Err(_) => String::from_utf8_lossy(self.as_bytes()),
        }
    }

    /// A copy with ASCII letters in lower case; shares the buffer if nothing changes.
    #[must_use]
    pub fn to_ascii_lowercase(&self) -> Text {
        if self.as_bytes().iter().any(u8::is_ascii_uppercase) {
            Text::from(self.as_bytes().to_ascii_lowercase())
        } else {
            self.clone()
        }
    }

    /// At most the first `len` bytes, cut at a character boundary where the text is UTF-8.
    #[must_use]
    pub fn truncated(&self, len: usize) -> Text {
        let Some(head) = self.as_bytes().get(..len).filter(|_| self.len() > len) else {
            return self.clone();
        };
        let head = match std::str::from_utf8(head) {
            Err(error) if error.error_len().is_none() => {
                head.get(..error.valid_up_to()).unwrap_or(head)
            }
            _ => head,
        };
        Text::from(head)
    }

    /// Whether both share one buffer.
    pub fn same_buffer(&self, other: &Text) -> bool {
        self.address() == other.address()
    }

    /// Bytes on the heap that belong to this buffer: the count, the length and the content.
    pub(crate) fn heap_size(&self) -> usize {
        2 * size_of::<usize>() + self.len()
    }

    pub(crate) fn address(&self) -> usize {
        self.as_bytes().as_ptr() as usize
    }
}

impl Default for Text {
    fn default() -> Self {
        EMPTY.clone()
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        self.same_buffer(other) || self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Text {}

impl PartialOrd for Text {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Text {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

/// As the bytes have it, so that texts are found by them.
impl Hash for Text {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl Borrow<[u8]> for Text {
    fn borrow(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Text::from(text.as_bytes())
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Text::from(text.as_bytes())
    }
}

impl From<&[u8]> for Text {
    fn from(bytes: &[u8]) -> Self {
        match bytes {
            [] => Text::default(),
            _ => Text(ThinArc::from_header_and_slice((), bytes)),
        }
    }
}

impl From<Vec<u8>> for Text {
    fn from(bytes: Vec<u8>) -> Self {
        Text::from(bytes.as_slice())
    }
}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_str())
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.to_str(), f)
    }
}

/// A table of strings in use, so that equal strings share one buffer.
///
/// Strings that nobody else holds any more are swept out when the table has doubled since the last
/// sweep, so its size follows the queue's and a look-up stays O(1) on average.
#[derive(Debug, Default)]
pub struct Interner {
    texts: HashSet<Text>,
    after_sweep: usize,
}

impl Interner {
    /// Makes an empty table.
    pub fn new() -> Self {
        Self::default()
    }

    /// The shared text with these bytes.
    pub fn text(&mut self, bytes: &[u8]) -> Text {
        if let Some(text) = self.texts.get(bytes) {
            return text.clone();
        }
        if self.texts.len() >= (self.after_sweep * 2).max(SWEEP_FROM) {
            self.texts.retain(|text| ThinArc::strong_count(&text.0) > 1);
            self.after_sweep = self.texts.len();
        }
        let text = Text::from(bytes);
        self.texts.insert(text.clone());
        text
    }

    /// Replaces `text` by the shared text with the same bytes.
    pub fn share(&mut self, text: &mut Text) {
        *text = self.text(text.as_bytes());
    }

    /// The number of different strings in the table.
    pub fn len(&self) -> usize {
        self.texts.len()
    }

    /// Whether the table is empty.
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }
}

/// Below this size sweeping saves nothing.
const SWEEP_FROM: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_strings_share_one_buffer() {
        let mut interner = Interner::new();
        let one = interner.text(b"example.com");
        let two = interner.text(b"example.com");
        assert!(one.same_buffer(&two));
        assert_eq!(interner.len(), 1);
    }

    #[test]
    fn strings_that_nobody_holds_are_swept_out() {
        let mut interner = Interner::new();
        let kept = interner.text(b"kept");
        for n in 0..100 * SWEEP_FROM {
            interner.text(format!("{n}").as_bytes());
        }
        assert!(interner.len() <= SWEEP_FROM + 1, "{}", interner.len());
        assert!(interner.text(b"kept").same_buffer(&kept));
    }

    #[test]
    fn cutting_keeps_whole_characters() {
        assert_eq!(Text::from("smörgås").truncated(3), "sm");
        assert_eq!(
            Text::from(&b"\xff\xff\xff"[..]).truncated(2).as_bytes(),
            b"\xff\xff"
        );
        assert_eq!(Text::from("abc").truncated(3), "abc");
    }
}
