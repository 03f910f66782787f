//! The keys of arrays: what a value is cast to (language.md 3.1), owned or borrowed, and their hashes.

use std::hash::{BuildHasher, Hash, Hasher};

use crate::frozen::FrozenKey;
use crate::inline;
use crate::string::{Str, hash_bytes, hash_seed};
use crate::value::Value;

/// A cast key (language.md 3.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    /// `none` is a key of its own.
    None,
    /// An integer.
    Integer(i64),
    /// Any string that is not the canonical spelling of an integer.
    String(Str),
    /// The place of a deleted entry; never equal to a key of a script.
    #[doc(hidden)]
    Gap,
}

/// A cast key that borrows its string: for looking up.
#[derive(Clone, Copy, Debug)]
pub enum KeyRef<'a> {
    /// As [`Key::None`].
    None,
    /// As [`Key::Integer`].
    Integer(i64),
    /// As [`Key::String`].
    String(&'a Str),
}

impl<'a> KeyRef<'a> {
    /// The key that `value` is cast to; `None` for arrays, functions, objects and resources.
    #[inline]
    #[must_use]
    pub fn cast(value: &'a Value) -> Option<KeyRef<'a>> {
        Some(match value {
            Value::None => KeyRef::None,
            Value::Boolean(boolean) => KeyRef::Integer(i64::from(*boolean)),
            Value::Number(number) => KeyRef::Integer(*number as i64),
            Value::String(string) => match canonical_integer(string.as_bytes()) {
                Some(number) => KeyRef::Integer(number),
                None => KeyRef::String(string),
            },
            _ => return None,
        })
    }
}

impl KeyRef<'_> {
    /// Whether this is `key`.
    #[inline]
    pub(crate) fn is(&self, key: &Key) -> bool {
        match (self, key) {
            (KeyRef::None, Key::None) => true,
            (KeyRef::Integer(a), Key::Integer(b)) => a == b,
            (KeyRef::String(a), Key::String(b)) => *a == b,
            _ => false,
        }
    }

    /// A key of its own.
    #[must_use]
    pub fn to_key(self) -> Key {
        match self {
            KeyRef::None => Key::None,
            KeyRef::Integer(number) => Key::Integer(number),
            KeyRef::String(text) => Key::String(text.clone()),
        }
    }
}

impl Hash for KeyRef<'_> {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            KeyRef::None => state.write_u64(1),
            KeyRef::Integer(number) => state.write_u64(*number as u64),
            KeyRef::String(string) => string.hash(state),
        }
    }
}

impl indexmap::Equivalent<FrozenKey> for KeyRef<'_> {
    fn equivalent(&self, other: &FrozenKey) -> bool {
        match (self, other) {
            (KeyRef::None, FrozenKey::None) => true,
            (KeyRef::Integer(a), FrozenKey::Integer(b)) => a == b,
            (KeyRef::String(a), FrozenKey::String(b)) => a.as_bytes() == &**b,
            _ => false,
        }
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Key::None => state.write_u64(1),
            Key::Integer(number) => state.write_u64(*number as u64),
            Key::String(string) => string.hash(state),
            Key::Gap => state.write_u64(0x5eed),
        }
    }
}

impl Key {
    /// A look at it; a gap is no key and looks like `none`.
    #[inline]
    pub(crate) fn borrow(&self) -> KeyRef<'_> {
        match self {
            Key::None | Key::Gap => KeyRef::None,
            Key::Integer(number) => KeyRef::Integer(*number),
            Key::String(text) => KeyRef::String(text),
        }
    }

    /// The key that `value` is cast to; `None` for arrays, functions, objects and resources.
    #[must_use]
    pub fn cast(value: &Value) -> Option<Key> {
        Some(match value {
            Value::None => Key::None,
            Value::Boolean(boolean) => Key::Integer(i64::from(*boolean)),
            // `as` truncates towards zero, saturates and maps NaN to 0, which is what 3.1 asks for.
            Value::Number(number) => Key::Integer(*number as i64),
            Value::String(string) => Key::from_string(string.clone()),
            _ => return None,
        })
    }

    /// Casts a string: the canonical spelling of an integer becomes that integer.
    #[must_use]
    pub fn from_string(string: Str) -> Key {
        match canonical_integer(string.as_bytes()) {
            Some(number) => Key::Integer(number),
            None => Key::String(string),
        }
    }

    /// Adds the key that a string of these bytes is cast to to a list, where it is put together.
    #[inline]
    pub fn push_bytes(list: &mut Vec<Key>, bytes: &[u8]) {
        match (canonical_integer(bytes), inline::of(bytes)) {
            (Some(number), _) => list.push(Key::Integer(number)),
            (None, Some(words)) => {
                let string = Str::Inline(bytes.len() as u8, inline::bytes(words));
                list.push(Key::String(string));
            }
            (None, None) => list.push(Key::String(Str::new(bytes))),
        }
    }

    /// The key as a value.
    #[must_use]
    pub fn to_value(&self) -> Value {
        match self {
            Key::None | Key::Gap => Value::None,
            Key::Integer(number) => Value::Number(*number as f64),
            Key::String(string) => Value::String(string.clone()),
        }
    }
}

impl From<&str> for Key {
    fn from(text: &str) -> Key {
        Key::from_string(Str::from(text))
    }
}

impl From<usize> for Key {
    fn from(index: usize) -> Key {
        Key::Integer(index as i64)
    }
}

/// The integer that `bytes` spells canonically: no sign but `-`, no leading zero, within 64 bits.
#[must_use]
#[inline]
pub fn canonical_integer(bytes: &[u8]) -> Option<i64> {
    match bytes {
        [b'0'..=b'9' | b'-', ..] => parse_integer(bytes),
        _ => None,
    }
}

fn parse_integer(bytes: &[u8]) -> Option<i64> {
    let digits = bytes.strip_prefix(b"-").unwrap_or(bytes);
    if digits.is_empty() || digits.len() > 19 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    if digits[0] == b'0' && (digits.len() > 1 || bytes.len() > 1) {
        return None;
    }
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

/// The hash state of every array of the process.
#[derive(Clone, Default)]
pub struct KeyHash;

impl BuildHasher for KeyHash {
    type Hasher = KeyHasher;
    fn build_hasher(&self) -> KeyHasher {
        KeyHasher(0)
    }
}

/// Mixes the one word that a [`Key`] writes; string words are seeded hashes already.
pub struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        self.0 ^= hash_bytes(bytes);
    }
    #[inline]
    fn write_u64(&mut self, word: u64) {
        self.0 = mix(word ^ self.0);
    }
}

/// The hash of one word.
#[inline]
pub(crate) fn mix(word: u64) -> u64 {
    // The multiplier is 2^64 divided by the golden ratio. Both halves of the product are used: words that differ only in
    // their high bits, as the bits of small numbers do, differ in the low bits of the result. The seed keeps a peer
    // from choosing numbers that collide.
    let product = u128::from(word ^ hash_seed()) * 0x9e37_79b9_7f4a_7c15;
    (product >> 64) as u64 ^ product as u64
}

/// The borrowed form of a frozen key, found with a local [`Key`].
impl indexmap::Equivalent<FrozenKey> for Key {
    fn equivalent(&self, other: &FrozenKey) -> bool {
        match (self, other) {
            (Key::None, FrozenKey::None) => true,
            (Key::Integer(a), FrozenKey::Integer(b)) => a == b,
            (Key::String(a), FrozenKey::String(b)) => a.as_bytes() == &**b,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_canonical_spelling_of_an_integer_is_one() {
        for (text, expected) in [
            ("1", Some(1)),
            ("-7", Some(-7)),
            ("0", Some(0)),
            ("-0", None),
            ("01", None),
            ("+1", None),
            ("1.0", None),
            (" 1", None),
            ("", None),
            ("-", None),
            ("9223372036854775807", Some(i64::MAX)),
            ("9223372036854775808", None),
        ] {
            assert_eq!(canonical_integer(text.as_bytes()), expected, "{text:?}");
        }
    }
}
