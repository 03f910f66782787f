//! Byte strings: up to 14 bytes inline, longer ones counted with copy on write, or a pinned frozen string.

use std::cell::Cell;
use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::fast::FixedState;
use smallvec::SmallVec;

use crate::frozen::Pin;
use crate::inline;
use crate::memory;
use crate::pieces::LARGE_BYTES;

pub use crate::inline::INLINE;

/// Longest string that a script may build (language.md 13.5).
pub const MAX_STRING: usize = 256 * 1024 * 1024;

/// A byte string, 16 bytes wide.
///
/// Cloning copies at most the inline bytes or counts a reference up. [`Str::push`] appends in place while nobody
/// else holds the buffer.
pub enum Str {
    /// A counted buffer of this thread.
    Heap(Rc<StrBuf>),
    /// The same of a fixed size.
    Block(Rc<Block>),
    /// String `0` of a pinned frozen tree.
    Frozen(u32, Pin),
    /// Bytes stored in place. Last, so that it is the neighbour of the kinds of values that need no drop either.
    Inline(u8, [u8; INLINE]),
}

/// Longest text that is stored in the buffer itself: with the counts of its holders it takes 64 bytes.
const HELD: usize = 32;

/// Longest text of a [`Block`], which takes 128 bytes with the counts of its holders.
const BLOCK: usize = 103;

/// A text of middle length, in one block of memory: lines and addresses are mostly longer than what [`StrBuf`] holds, and a
/// buffer of their own would be a second allocation for each.
pub struct Block {
    hash: Cell<u64>,
    len: u8,
    bytes: [u8; BLOCK],
}

const _: () = assert!(
    size_of::<Block>() == 112,
    "a block with its counts fills two lines"
);

impl Block {
    /// A counted block of up to [`BLOCK`] bytes, the parts one after the other.
    #[inline]
    fn with(parts: [&[u8]; 2]) -> Rc<Block> {
        let mut block = Rc::new(Block {
            hash: Cell::new(0),
            len: 0,
            bytes: [0; BLOCK],
        });
        if let Some(block) = Rc::get_mut(&mut block) {
            parts.iter().for_each(|part| block.append(part));
        }
        memory::charge(Block::SIZE);
        block
    }

    /// Bytes of memory.
    const SIZE: usize = size_of::<Block>() + 32;

    #[inline]
    fn text(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len).min(BLOCK)]
    }

    /// Appends what has room.
    #[inline]
    fn append(&mut self, more: &[u8]) {
        let len = usize::from(self.len);
        if let Some(place) = self.bytes.get_mut(len..len + more.len()) {
            place.copy_from_slice(more);
            self.len = (len + more.len()) as u8;
            self.hash.set(0);
        }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        memory::credit(Block::SIZE);
    }
}

/// A heap buffer that reports its size to the memory account and caches its hash.
pub struct StrBuf {
    hash: Cell<u64>,
    bytes: SmallVec<[u8; HELD]>,
}

/// Bytes of a buffer besides a text of its own: itself, the counts of its holders, what an allocator adds.
const BASE: usize = size_of::<StrBuf>() + 32;

impl StrBuf {
    fn new(bytes: SmallVec<[u8; HELD]>) -> StrBuf {
        let buffer = StrBuf {
            hash: Cell::new(0),
            bytes,
        };
        memory::charge(buffer.size());
        buffer
    }

    /// A counted buffer with room for `capacity` bytes. It is filled where it lies: bytes that are put together in one
    /// place and then moved to another are read back before they were written.
    #[inline]
    fn with(capacity: usize, fill: impl FnOnce(&mut SmallVec<[u8; HELD]>)) -> Rc<StrBuf> {
        let mut buffer = Rc::new(StrBuf {
            hash: Cell::new(0),
            bytes: SmallVec::new(),
        });
        if let Some(StrBuf { bytes, .. }) = Rc::get_mut(&mut buffer) {
            bytes.reserve_exact(capacity);
            fill(bytes);
        }
        memory::charge(buffer.size());
        buffer
    }

    /// Bytes of memory.
    fn size(&self) -> usize {
        if self.bytes.spilled() {
            BASE + self.bytes.capacity()
        } else {
            BASE
        }
    }

    fn append(&mut self, more: &[u8]) {
        let before = self.size();
        self.bytes.extend_from_slice(more);
        self.hash.set(0);
        let after = self.size();
        if after != before {
            memory::charge(after - before);
        }
    }
}

impl Drop for StrBuf {
    fn drop(&mut self) {
        memory::credit(self.size());
    }
}

impl Str {
    /// The empty string.
    pub const EMPTY: Str = Str::Inline(0, [0; INLINE]);

    /// A string with a copy of `bytes`.
    #[must_use]
    #[inline]
    pub fn new(bytes: &[u8]) -> Str {
        match inline::of(bytes) {
            Some(words) => Str::Inline(bytes.len() as u8, inline::bytes(words)),
            None if in_block(bytes.len()) => Str::Block(Block::with([bytes, b""])),
            None => Str::Heap(StrBuf::with(bytes.len(), |buffer| {
                buffer.extend_from_slice(bytes);
            })),
        }
    }

    /// A string that takes over `bytes` without copying when they are many.
    #[must_use]
    pub fn from_vec(bytes: Vec<u8>) -> Str {
        if bytes.len() <= BLOCK {
            Str::new(&bytes)
        } else {
            Str::Heap(Rc::new(StrBuf::new(SmallVec::from_vec(bytes))))
        }
    }

    /// The string of one byte.
    #[inline]
    #[must_use]
    pub fn byte(byte: u8) -> Str {
        let mut inline = [0; INLINE];
        inline[0] = byte;
        Str::Inline(1, inline)
    }

    /// The bytes.
    #[inline]
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Str::Inline(len, bytes) => &bytes[..usize::from(*len).min(INLINE)],
            Str::Heap(buffer) => &buffer.bytes,
            Str::Block(block) => block.text(),
            Str::Frozen(index, pin) => pin.string(*index),
        }
    }

    /// Number of bytes.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Str::Inline(len, _) => usize::from(*len),
            Str::Heap(buffer) => buffer.bytes.len(),
            Str::Block(block) => usize::from(block.len),
            Str::Frozen(index, pin) => pin.string(*index).len(),
        }
    }

    /// Appends the bytes to `out`.
    #[inline]
    pub fn append_to(&self, out: &mut Vec<u8>) {
        if let Str::Inline(len, bytes) = self {
            // All of them, and those behind the text off again: a copy of fixed size is no call.
            let end = out.len() + usize::from(*len);
            out.extend_from_slice(bytes);
            out.truncate(end);
        } else {
            out.extend_from_slice(self.as_bytes());
        }
    }

    /// Whether there are no bytes.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends `more`, in place when this is the only holder of the buffer.
    pub fn push(&mut self, more: &[u8]) {
        if let Str::Heap(buffer) = self
            && let Some(buffer) = Rc::get_mut(buffer)
        {
            buffer.append(more);
            return;
        }
        let total = self.len() + more.len();
        if let Str::Block(block) = self
            && total <= BLOCK
            && let Some(block) = Rc::get_mut(block)
        {
            block.append(more);
            return;
        }
        let old = self.as_bytes();
        if total <= INLINE {
            let mut inline = [0; INLINE];
            inline[..old.len()].copy_from_slice(old);
            inline[old.len()..total].copy_from_slice(more);
            *self = Str::Inline(total as u8, inline);
        } else if in_block(total) {
            *self = Str::Block(Block::with([old, more]));
        } else {
            // Twice the size: a string that is appended to once is usually appended to again.
            let capacity = if total <= HELD { total } else { total * 2 };
            let joined = StrBuf::with(capacity, |buffer| {
                buffer.extend_from_slice(old);
                buffer.extend_from_slice(more);
            });
            *self = Str::Heap(joined);
        }
    }

    /// Whether `more` bytes can be appended in place without moving a large text.
    #[inline]
    pub(crate) fn has_room(&self, more: usize) -> bool {
        match self {
            Str::Heap(buffer) if Rc::strong_count(buffer) == 1 => {
                let capacity = buffer.bytes.capacity();
                capacity - buffer.bytes.len() >= more || capacity <= 4 * LARGE_BYTES
            }
            _ => false,
        }
    }

    /// The bytes as an owned vector; moves the buffer out when this is its only holder.
    #[must_use]
    pub fn into_vec(self) -> Vec<u8> {
        match self {
            Str::Heap(buffer) => match Rc::try_unwrap(buffer) {
                Ok(mut buffer) => {
                    let before = buffer.size();
                    let bytes = std::mem::take(&mut buffer.bytes);
                    memory::credit(before - buffer.size());
                    bytes.into_vec()
                }
                Err(shared) => shared.bytes.to_vec(),
            },
            other => other.as_bytes().to_vec(),
        }
    }

    /// The string with its bytes changed by `change`; in place when this is the only holder of its buffer.
    #[must_use]
    pub fn map(mut self, change: impl FnOnce(&mut [u8])) -> Str {
        if let Str::Heap(buffer) = &mut self
            && let Some(StrBuf { hash, bytes }) = Rc::get_mut(buffer)
        {
            hash.set(0);
            change(bytes);
            return self;
        }
        if let Str::Block(block) = &mut self
            && let Some(block) = Rc::get_mut(block)
        {
            block.hash.set(0);
            let len = usize::from(block.len).min(BLOCK);
            change(&mut block.bytes[..len]);
            return self;
        }
        let mut bytes = SmallVec::<[u8; HELD]>::from_slice(self.as_bytes());
        change(&mut bytes);
        if bytes.len() > BLOCK {
            Str::Heap(Rc::new(StrBuf::new(bytes)))
        } else {
            Str::new(&bytes)
        }
    }

    /// The text with invalid UTF-8 replaced, for messages that people read.
    #[must_use]
    pub fn to_text(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(self.as_bytes())
    }
}

impl Clone for Str {
    #[inline]
    fn clone(&self) -> Str {
        match self {
            Str::Inline(length, bytes) => Str::Inline(*length, inline::copy(bytes)),
            Str::Heap(buffer) => Str::Heap(Rc::clone(buffer)),
            Str::Block(block) => Str::Block(Rc::clone(block)),
            Str::Frozen(index, pin) => Str::Frozen(*index, pin.clone()),
        }
    }
}

impl Default for Str {
    fn default() -> Str {
        Str::EMPTY
    }
}

impl From<&str> for Str {
    fn from(text: &str) -> Str {
        Str::new(text.as_bytes())
    }
}

impl From<String> for Str {
    fn from(text: String) -> Str {
        Str::from_vec(text.into_bytes())
    }
}

impl Str {
    /// Whether two strings are equal, if that is told by their lengths or by bytes stored in place; none when longer
    /// texts have to be read.
    #[inline(always)]
    pub(crate) fn short_equal(&self, other: &Str) -> Option<bool> {
        match (self, other) {
            (Str::Inline(a_len, a), Str::Inline(b_len, b)) => {
                Some(a_len == b_len && inline::equal(a, b))
            }
            (Str::Inline(..), _) | (_, Str::Inline(..)) => Some(false),
            _ if self.len() != other.len() => Some(false),
            _ => None,
        }
    }

    /// Whether two strings are equal and that is told without reading long texts.
    #[inline(always)]
    pub(crate) fn quick_equal(&self, other: &Str) -> bool {
        self.short_equal(other) == Some(true)
    }
}

impl PartialEq for Str {
    #[inline]
    fn eq(&self, other: &Str) -> bool {
        match (self, other) {
            // Bytes beyond the length are 0 in every inline string.
            (Str::Inline(a_len, a), Str::Inline(b_len, b)) => a_len == b_len && inline::equal(a, b),
            (Str::Heap(a), Str::Heap(b)) => Rc::ptr_eq(a, b) || a.bytes == b.bytes,
            (Str::Block(a), Str::Block(b)) => Rc::ptr_eq(a, b) || a.text() == b.text(),
            _ => self.as_bytes() == other.as_bytes(),
        }
    }
}

impl Eq for Str {}

impl Hash for Str {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash_code());
    }
}

impl Str {
    /// [`hash_bytes`] of the bytes; a longer string remembers it.
    #[inline]
    #[must_use]
    pub fn hash_code(&self) -> u64 {
        match self {
            Str::Inline(len, bytes) => hash_short(*len, inline::words(bytes)),
            Str::Heap(buffer) => match buffer.hash.get() {
                0 => {
                    let hash = hash_bytes(&buffer.bytes);
                    buffer.hash.set(hash);
                    hash
                }
                hash => hash,
            },
            Str::Block(block) => match block.hash.get() {
                0 => {
                    let hash = hash_bytes(block.text());
                    block.hash.set(hash);
                    hash
                }
                hash => hash,
            },
            Str::Frozen(..) => hash_bytes(self.as_bytes()),
        }
    }
}

impl fmt::Debug for Str {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.to_text(), f)
    }
}

/// Whether a text of this length goes into a [`Block`].
#[inline]
fn in_block(len: usize) -> bool {
    len > HELD && len <= BLOCK
}

/// The hash of a string's bytes, the same for every representation; never 0, which means "not computed yet".
///
/// Seeded per process, so that a peer cannot choose keys that collide.
#[must_use]
pub fn hash_bytes(bytes: &[u8]) -> u64 {
    if let Some(words) = inline::of(bytes) {
        return hash_short(bytes.len() as u8, words);
    }
    // The bytes are all there is: no length has to tell them from what follows.
    let mut hasher = FixedState::with_seed(hash_seed()).build_hasher();
    hasher.write(bytes);
    hasher.finish().max(1)
}

/// The hash of up to [`INLINE`] bytes, with zeros behind them.
#[inline]
fn hash_short(len: u8, (head, middle, tail): inline::Words) -> u64 {
    let seed = hash_seed();
    let head = head ^ seed;
    // The two bytes that are free tell texts apart that end in zeros.
    let tail = u64::from(middle) | u64::from(tail) << 32;
    let tail = tail ^ u64::from(len) << 56 ^ seed.rotate_left(32);
    let product = u128::from(head) * u128::from(tail);
    ((product >> 64) as u64 ^ product as u64).max(1)
}

/// The seed of all hashes of this process: random, never 0.
#[inline]
pub(crate) fn hash_seed() -> u64 {
    match SEED.load(Ordering::Relaxed) {
        0 => make_seed(),
        seed => seed,
    }
}

static SEED: AtomicU64 = AtomicU64::new(0);

#[cold]
fn make_seed() -> u64 {
    let random = foldhash::quality::RandomState::default().hash_one(1_u8) | 1;
    match SEED.compare_exchange(0, random, Ordering::Relaxed, Ordering::Relaxed) {
        Ok(_) => random,
        Err(first) => first,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn appending_is_in_place_for_the_only_holder_and_copies_for_others() {
        let mut a = Str::from("fifteen bytes!!");
        a.push(b" and more");
        let b = a.clone();
        a.push(b"!");
        assert_eq!(a.as_bytes(), b"fifteen bytes!! and more!");
        assert_eq!(b.as_bytes(), b"fifteen bytes!! and more");
    }

    #[test]
    fn a_text_is_the_same_whatever_it_is_made_of() {
        let text: Vec<u8> = (0..=255).cycle().take(300).collect();
        for len in [
            0, 1, 13, 14, 15, 31, 32, 33, 34, 64, 102, 103, 104, 150, 206, 300,
        ] {
            let whole = &text[..len];
            let made = [
                Str::new(whole),
                Str::from_vec(whole.to_vec()),
                text[..len].iter().fold(Str::EMPTY, |mut text, byte| {
                    text.push(&[*byte]);
                    text
                }),
                Str::new(&whole.iter().map(|byte| byte ^ 1).collect::<Vec<u8>>())
                    .map(|bytes| bytes.iter_mut().for_each(|byte| *byte ^= 1)),
            ];
            for one in &made {
                assert_eq!(one.as_bytes(), whole);
                assert_eq!(one.len(), len);
                assert_eq!(one.clone().into_vec(), whole);
                assert_eq!(one.hash_code(), hash_bytes(whole));
                let mut out = b"x".to_vec();
                one.append_to(&mut out);
                assert_eq!(out[1..], *whole);
                for other in &made {
                    assert!(one == other);
                }
                // A second holder keeps its text.
                let (kept, mut longer) = (one.clone(), one.clone());
                longer.push(b"more");
                assert_eq!(longer.as_bytes(), [whole, b"more"].concat());
                assert_eq!(kept.as_bytes(), whole);
                assert!(kept != longer);
            }
        }
    }

    #[test]
    fn what_texts_take_is_given_back() {
        let before = memory::swap(memory::Account::default());
        for len in 0..300 {
            let mut text = Str::new(&vec![b'a'; len]);
            text.push(b"and more");
            let text = text.map(<[u8]>::make_ascii_uppercase);
            drop((text.clone(), text));
        }
        assert_eq!(memory::swap(before).used, 0);
    }

    #[test]
    fn equal_strings_hash_alike_in_every_representation() {
        let long = b"0123456789abcdef";
        assert_eq!(
            hash_bytes(long),
            hash_bytes(&[long.as_slice(), b""].concat())
        );
        let mut inline = Str::from("ab");
        inline.push(b"cd");
        assert_eq!(inline, Str::from("abcd"));
    }
}
