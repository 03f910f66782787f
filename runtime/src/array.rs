//! Arrays: ordered maps with a packed form for lists.
//!
//! A list (keys 0…n−1 in order) stores its values only; the first other key or hole turns it into a [`Dict`].

mod key;
mod view;

pub(crate) use key::mix;
pub use key::{Key, KeyHash, KeyHasher, KeyRef, canonical_integer};
pub use view::{Iter, Values, View};

use crate::dict::Dict;
use crate::frozen::{FrozenArray, Pin};
use crate::graveyard;
use crate::memory;
use crate::pieces::LARGE_ENTRIES;
use crate::value::Value;

/// Most entries of one array (language.md 13.5).
pub const MAX_ENTRIES: usize = 16_777_216;

#[derive(Clone)]
enum Form {
    List(Vec<Value>),
    Hash {
        dict: Dict,
        /// The next automatic key: the highest integer key + 1, at least 0 (language.md 3.1); [`STALE`] when the highest
        /// one was removed, found again by a scan when somebody asks.
        next: i64,
    },
}

/// See [`Form::Hash`].
const STALE: i64 = i64::MIN;

/// Bytes of an array without entries: itself, the counts of its holders, what an allocator adds.
const BASE: usize = size_of::<Array>() + 48;

/// An array: keys in insertion order.
pub struct Array {
    form: Form,
    /// Bytes reported to the memory account.
    charged: usize,
}

impl Default for Array {
    fn default() -> Array {
        Array::new()
    }
}

impl Clone for Array {
    fn clone(&self) -> Array {
        let mut copy = Array {
            form: self.form.clone(),
            charged: 0,
        };
        copy.recharge();
        copy
    }
}

impl Drop for Array {
    fn drop(&mut self) {
        memory::credit(self.charged);
        // Nested containers are taken apart by a loop, so that depth is bounded by memory and not by the stack.
        match &mut self.form {
            Form::List(values) => {
                if !values.is_empty() {
                    graveyard::bury_list(std::mem::take(values));
                }
            }
            Form::Hash { dict, .. } if dict.len() > graveyard::LARGE_ENTRIES => {
                graveyard::bury_entries(dict.take().into_iter().map(|(_, value)| value));
            }
            Form::Hash { dict, .. } => {
                graveyard::bury(dict.values_mut());
                dict.clear();
            }
        }
    }
}

impl Array {
    /// An empty array.
    #[must_use]
    pub fn new() -> Array {
        Array::from_list(Vec::new())
    }

    /// An empty array with room for `capacity` values.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Array {
        Array::from_list(Vec::with_capacity(capacity))
    }

    /// An empty array with room for `capacity` entries with keys of their own.
    pub(crate) fn keyed_with_capacity(capacity: usize) -> Array {
        let mut array = Array {
            form: Form::Hash {
                dict: Dict::with_capacity(capacity),
                next: 0,
            },
            charged: 0,
        };
        array.recharge();
        array
    }

    /// An empty array whose entries have keys of their own.
    pub(crate) fn keyed() -> Array {
        let mut array = Array::new();
        array.make_hash();
        array
    }

    /// An array of these entries, of the right size at once. Of a repeated key the last value counts.
    #[must_use]
    pub fn from_entries(entries: impl ExactSizeIterator<Item = (Key, Value)>) -> Array {
        let count = entries.len();
        let mut entries = entries.peekable();
        let mut array = match entries.peek() {
            // It may be a list.
            None | Some((Key::Integer(0), _)) => Array::with_capacity(count),
            Some(_) => Array::keyed_with_capacity(count),
        };
        for (key, value) in entries {
            *array.slot(key) = value;
        }
        array
    }

    /// A list of `values` under the keys 0…n−1.
    #[must_use]
    pub fn from_list(values: Vec<Value>) -> Array {
        let mut array = Array {
            form: Form::List(values),
            charged: 0,
        };
        array.recharge();
        array
    }

    /// A local copy of a frozen array; its elements stay frozen until they are written.
    #[must_use]
    pub fn thaw(frozen: &FrozenArray, pin: &Pin) -> Array {
        let view = View::Frozen(frozen, pin);
        if frozen.is_list() {
            return Array::from_list(view.values().collect());
        }
        let mut array = Array::new();
        for (key, value) in view.iter() {
            array.insert(key, value);
        }
        array
    }

    /// Number of entries.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.form {
            Form::List(values) => values.len(),
            Form::Hash { dict, .. } => dict.len(),
        }
    }

    /// Whether there are no entries.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The values when this is a packed list.
    #[inline]
    #[must_use]
    pub fn as_list(&self) -> Option<&[Value]> {
        match &self.form {
            Form::List(values) => Some(values),
            Form::Hash { .. } => None,
        }
    }

    /// Write access to the values of a packed list; their number cannot change.
    #[inline]
    pub fn as_list_mut(&mut self) -> Option<&mut [Value]> {
        match &mut self.form {
            Form::List(values) => Some(values),
            Form::Hash { .. } => None,
        }
    }

    /// The value at `key`.
    #[inline]
    #[must_use]
    pub fn get(&self, key: &Key) -> Option<&Value> {
        self.find(key.borrow())
    }

    /// The value at an integer key.
    #[inline]
    #[must_use]
    pub fn get_index(&self, index: i64) -> Option<&Value> {
        match &self.form {
            Form::List(values) => values.get(usize::try_from(index).ok()?),
            Form::Hash { dict, .. } => found(dict, KeyRef::Integer(index)),
        }
    }

    /// As [`Array::get_index`], for a change in place.
    #[inline]
    #[must_use]
    pub fn get_index_mut(&mut self, index: i64) -> Option<&mut Value> {
        match &mut self.form {
            Form::List(values) => values.get_mut(usize::try_from(index).ok()?),
            Form::Hash { dict, .. } => found_mut(dict, KeyRef::Integer(index)),
        }
    }

    /// The value at a borrowed key.
    #[inline]
    #[must_use]
    pub fn find(&self, key: KeyRef<'_>) -> Option<&Value> {
        match (&self.form, key) {
            (Form::List(values), KeyRef::Integer(index)) => {
                values.get(usize::try_from(index).ok()?)
            }
            (Form::List(_), _) => None,
            (Form::Hash { dict, .. }, key) => found(dict, key),
        }
    }

    /// Write access to the value at a borrowed key.
    #[inline]
    pub fn find_mut(&mut self, key: KeyRef<'_>) -> Option<&mut Value> {
        match (&mut self.form, key) {
            (Form::List(values), KeyRef::Integer(index)) => {
                values.get_mut(usize::try_from(index).ok()?)
            }
            (Form::List(_), _) => None,
            (Form::Hash { dict, .. }, key) => found_mut(dict, key),
        }
    }

    /// The value at the key that `text` is cast to.
    #[must_use]
    pub fn get_str(&self, text: &str) -> Option<&Value> {
        self.get(&Key::from(text))
    }

    /// Write access to the value at `key`.
    #[inline]
    pub fn get_mut(&mut self, key: &Key) -> Option<&mut Value> {
        self.find_mut(key.borrow())
    }

    /// Whether `key` exists.
    #[must_use]
    pub fn contains(&self, key: &Key) -> bool {
        self.get(key).is_some()
    }

    /// Writes `value` at `key`: an existing key keeps its place, a new one goes to the end.
    #[inline]
    pub fn insert(&mut self, key: Key, value: Value) {
        if let (Form::List(values), Key::Integer(index)) = (&mut self.form, &key)
            && usize::try_from(*index) == Ok(values.len())
            && values.len() < values.capacity()
        {
            values.push(value);
            return;
        }
        *self.slot(key) = value;
    }

    /// The place of `key`, made with `none` at the end when it is missing.
    pub fn slot(&mut self, key: Key) -> &mut Value {
        if let Form::List(values) = &self.form {
            match key {
                Key::Integer(index) if index == values.len() as i64 => return self.push_slot(),
                Key::Integer(index) if (0..values.len() as i64).contains(&index) => {}
                _ => self.make_hash(),
            }
        }
        match &mut self.form {
            Form::List(values) => {
                let Key::Integer(index) = key else {
                    unreachable!("other keys made the hash form above")
                };
                &mut values[index as usize]
            }
            Form::Hash { dict, next } => {
                let at = match dict.find(key.borrow()) {
                    Some(at) => at,
                    None => {
                        if let Key::Integer(index) = key
                            && *next != STALE
                        {
                            *next = (*next).max(index.saturating_add(1));
                        }
                        let at = dict.add(key, Value::None);
                        let bytes = BASE + dict.bytes();
                        if bytes > self.charged {
                            memory::charge(bytes - self.charged);
                            self.charged = bytes;
                        }
                        at
                    }
                };
                match dict.value_mut(at) {
                    Some(value) => value,
                    None => unreachable!("the entry was found or added"),
                }
            }
        }
    }

    /// Appends `value` under the next automatic key.
    #[inline]
    pub fn push(&mut self, value: Value) {
        if let Form::List(values) = &mut self.form
            && values.len() < values.capacity()
        {
            values.push(value);
            return;
        }
        *self.push_slot() = value;
    }

    /// The place of a new entry under the next automatic key.
    pub fn push_slot(&mut self) -> &mut Value {
        let index = self.next_index();
        if let Form::Hash { next, .. } = &mut self.form {
            *next = index;
            return self.slot(Key::Integer(index));
        }
        match &mut self.form {
            Form::List(values) => {
                let before = values.capacity();
                values.push(Value::None);
                if values.capacity() != before {
                    let bytes = (values.capacity() - before) * size_of::<Value>();
                    memory::charge(bytes);
                    self.charged += bytes;
                }
                let last = values.len() - 1;
                &mut values[last]
            }
            Form::Hash { .. } => unreachable!("the hash form returned above"),
        }
    }

    /// Whether this is a long packed list in which an entry for `key` cannot be made.
    pub(crate) fn is_large_list_without(&self, key: &Key) -> bool {
        match &self.form {
            Form::List(values) if values.len() >= LARGE_ENTRIES => {
                !matches!(key, Key::Integer(at) if (0..=values.len() as i64).contains(at))
            }
            _ => false,
        }
    }

    /// Whether taking an entry out moves the others, and that takes long.
    pub(crate) fn is_sparse_and_large(&self) -> bool {
        match &self.form {
            Form::Hash { dict, .. } => {
                dict.places().len() > LARGE_ENTRIES && dict.is_almost_sparse()
            }
            Form::List(_) => false,
        }
    }

    /// Whether one more entry makes the array move, or be searched for the next automatic key, and that takes long.
    #[inline]
    pub(crate) fn is_full_and_large(&self) -> bool {
        match &self.form {
            Form::List(values) => {
                values.len() == values.capacity() && values.len() >= LARGE_ENTRIES
            }
            Form::Hash { dict, next } => {
                (dict.is_full() || *next == STALE) && dict.places().len() >= LARGE_ENTRIES
            }
        }
    }

    /// How many entries can be added before the array has to move.
    pub(crate) fn room(&self) -> usize {
        match &self.form {
            Form::List(values) => values.capacity() - values.len(),
            Form::Hash { dict, .. } => dict.room(),
        }
    }

    /// Makes room for `more` entries besides those that are there.
    pub fn reserve(&mut self, more: usize) {
        match &mut self.form {
            Form::List(values) => values.reserve(more),
            Form::Hash { dict, .. } => dict.reserve(more),
        }
        self.recharge();
    }

    /// Removes the last entry and gives its value; keys of the others stay.
    pub fn pop(&mut self) -> Option<Value> {
        if let Form::List(values) = &mut self.form {
            return values.pop();
        }
        let key = self.iter().next_back()?.0;
        self.remove(&key)
    }

    /// Removes `key`, keeping the order and the keys of the others; the value it had.
    pub fn remove(&mut self, key: &Key) -> Option<Value> {
        if let Form::List(values) = &mut self.form {
            let Key::Integer(index) = key else {
                return None;
            };
            let index = usize::try_from(*index)
                .ok()
                .filter(|index| *index < values.len())?;
            if index + 1 == values.len() {
                return values.pop();
            }
            self.make_hash();
        }
        let Form::Hash { dict, next } = &mut self.form else {
            return None;
        };
        let at = dict.find(key.borrow())?;
        if let Key::Integer(removed) = key
            && *removed >= 0
            && *next != STALE
            && removed + 1 == *next
        {
            // Taking entries off the end of a run is common: then no scan is needed.
            let below = *removed == 0 || dict.find(KeyRef::Integer(removed - 1)).is_some();
            *next = if below { *removed } else { STALE };
        }
        dict.remove(at)
    }

    /// The next automatic key.
    #[must_use]
    pub fn next_index(&self) -> i64 {
        match &self.form {
            Form::List(values) => values.len() as i64,
            Form::Hash { next, .. } if *next != STALE => *next,
            Form::Hash { dict, .. } => {
                memory::owe(dict.places().len() / 16);
                let after = |(key, _): &(Key, Value)| match key {
                    Key::Integer(key) => Some(key.saturating_add(1)),
                    _ => None,
                };
                dict.places().iter().filter_map(after).fold(0, i64::max)
            }
        }
    }

    /// The entries in order.
    #[must_use]
    pub fn iter(&self) -> Iter<'_> {
        match &self.form {
            Form::List(values) => Iter::List(values.iter().enumerate()),
            Form::Hash { dict, .. } => Iter::Hash(dict.places().iter()),
        }
    }

    /// The entry at position `position` of the order, for iteration that survives suspension: the first live
    /// entry at or after it, with the position after that.
    #[must_use]
    pub fn entry_at(&self, position: usize) -> Option<(Key, &Value, usize)> {
        let (key, value, next) = self.entry_ref(position)?;
        Some((key.to_key(), value, next))
    }

    /// As [`Array::entry_at`], without taking a copy of the key.
    #[inline]
    #[must_use]
    pub fn entry_ref(&self, position: usize) -> Option<(KeyRef<'_>, &Value, usize)> {
        match &self.form {
            Form::List(values) => values
                .get(position)
                .map(|value| (KeyRef::Integer(position as i64), value, position + 1)),
            Form::Hash { dict, .. } => {
                let (place, (key, value)) = dict.entry_from(position)?;
                Some((key.borrow(), value, place + 1))
            }
        }
    }

    /// The values in order.
    pub fn values(&self) -> impl Iterator<Item = &Value> {
        let mut position = 0;
        std::iter::from_fn(move || {
            let (_, value, next) = self.entry_ref(position)?;
            position = next;
            Some(value)
        })
    }

    /// Whether the keys are 0…n−1 in order.
    #[must_use]
    pub fn is_list(&self) -> bool {
        match &self.form {
            Form::List(_) => true,
            Form::Hash { dict, .. } => {
                let keys = dict.places().iter().filter(|(key, _)| *key != Key::Gap);
                keys.zip(0..)
                    .all(|((key, _), at)| matches!(key, Key::Integer(own) if *own == at))
            }
        }
    }

    fn make_hash(&mut self) {
        let Form::List(values) = &mut self.form else {
            return;
        };
        let dict = Dict::from_list(std::mem::take(values));
        let next = dict.len() as i64;
        self.form = Form::Hash { dict, next };
        self.recharge();
    }

    fn capacity_bytes(&self) -> usize {
        let entries = match &self.form {
            Form::List(values) => values.capacity() * size_of::<Value>(),
            Form::Hash { dict, .. } => dict.bytes(),
        };
        BASE + entries
    }

    fn recharge(&mut self) {
        let bytes = self.capacity_bytes();
        memory::charge(bytes);
        memory::credit(self.charged);
        self.charged = bytes;
    }
}

#[inline]
fn found<'a>(dict: &'a Dict, key: KeyRef<'_>) -> Option<&'a Value> {
    dict.value(dict.find(key)?)
}

#[inline]
fn found_mut<'a>(dict: &'a mut Dict, key: KeyRef<'_>) -> Option<&'a mut Value> {
    let at = dict.find(key)?;
    dict.value_mut(at)
}

impl FromIterator<Value> for Array {
    fn from_iter<I: IntoIterator<Item = Value>>(values: I) -> Array {
        Array::from_list(values.into_iter().collect())
    }
}

impl FromIterator<(Key, Value)> for Array {
    fn from_iter<I: IntoIterator<Item = (Key, Value)>>(entries: I) -> Array {
        let mut array = Array::new();
        for (key, value) in entries {
            array.insert(key, value);
        }
        array
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(value: f64) -> Value {
        Value::Number(value)
    }

    #[test]
    fn a_list_becomes_a_hash_at_the_first_other_key_and_keeps_its_order() {
        let mut array = Array::from_list(vec![number(1.0), number(2.0)]);
        array.insert(Key::from("x"), number(3.0));
        array.push(number(4.0));
        assert_eq!(
            format!("{:?}", Value::from(array)),
            r#"[0=>1,1=>2,"x"=>3,2=>4]"#
        );
    }

    #[test]
    fn deleting_keeps_order_and_writing_again_moves_to_the_end() {
        let mut array = Array::from_list((0..6).map(|n| number(f64::from(n))).collect());
        assert!(array.remove(&Key::from(0)).is_some());
        assert!(array.remove(&Key::from(3)).is_some());
        assert!(array.remove(&Key::from(3)).is_none());
        array.insert(Key::from(0), number(9.0));
        assert_eq!(array.len(), 5);
        assert_eq!(
            format!("{:?}", Value::from(array)),
            "[1=>1,2=>2,4=>4,5=>5,0=>9]"
        );
    }

    #[test]
    fn automatic_keys_follow_the_highest_and_start_at_zero_after_negative_ones() {
        let mut array = Array::new();
        array.insert(Key::Integer(-5), number(1.0));
        array.push(number(2.0));
        array.insert(Key::Integer(10), number(3.0));
        array.push(number(4.0));
        assert_eq!(
            format!("{:?}", Value::from(array)),
            "[-5=>1,0=>2,10=>3,11=>4]"
        );
    }

    #[test]
    fn popping_a_list_does_not_reuse_its_highest_key() {
        let mut array = Array::from_list(vec![number(1.0), number(2.0)]);
        array.remove(&Key::from(1));
        array.push(number(3.0));
        assert_eq!(
            format!("{:?}", Value::from(array)),
            "[0=>1,1=>3]",
            "3.1: the highest key is 0 again"
        );
    }

    #[test]
    fn deep_nesting_is_dropped_without_recursion() {
        let mut value = Value::None;
        for _ in 0..1_000_000 {
            value = Value::from(Array::from_list(vec![value]));
        }
        drop(value);
    }
}
