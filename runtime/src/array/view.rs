//! Reading arrays, of this thread or frozen, in one way.

use super::{Array, Form, Key, KeyRef};
use crate::frozen::{FrozenArray, Pin};
use crate::value::Value;

/// Iterates over the entries of a local array.
pub enum Iter<'a> {
    #[doc(hidden)]
    List(std::iter::Enumerate<std::slice::Iter<'a, Value>>),
    #[doc(hidden)]
    Hash(std::slice::Iter<'a, (Key, Value)>),
}

impl<'a> Iterator for Iter<'a> {
    type Item = (Key, &'a Value);

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Iter::List(values) => values
                .next()
                .map(|(index, value)| (Key::from(index), value)),
            Iter::Hash(entries) => entries
                .find(|(key, _)| !matches!(key, Key::Gap))
                .map(|(key, value)| (key.clone(), value)),
        }
    }
}

impl DoubleEndedIterator for Iter<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        match self {
            Iter::List(values) => values
                .next_back()
                .map(|(index, value)| (Key::from(index), value)),
            Iter::Hash(entries) => entries
                .rfind(|(key, _)| !matches!(key, Key::Gap))
                .map(|(key, value)| (key.clone(), value)),
        }
    }
}

/// A read-only view of an array, local or frozen. Elements come out as values of their own.
#[derive(Clone, Copy)]
pub enum View<'a> {
    /// An array of this thread.
    Local(&'a Array),
    /// An array of a pinned frozen tree.
    Frozen(&'a FrozenArray, &'a Pin),
}

impl<'a> View<'a> {
    /// Number of entries.
    #[must_use]
    pub fn len(self) -> usize {
        match self {
            View::Local(array) => array.len(),
            View::Frozen(array, _) => array.len(),
        }
    }

    /// Whether there are no entries.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The value at `key`.
    #[must_use]
    pub fn get(self, key: &Key) -> Option<Value> {
        match self {
            View::Local(array) => array.get(key).cloned(),
            View::Frozen(array, pin) => array.get(key).map(|value| pin.value(value)),
        }
    }

    /// The value at a borrowed key.
    #[inline]
    #[must_use]
    pub fn find(self, key: KeyRef<'_>) -> Option<Value> {
        match self {
            View::Local(array) => array.find(key).cloned(),
            View::Frozen(array, pin) => array.find(key).map(|value| pin.value(value)),
        }
    }

    /// Whether a borrowed key exists.
    #[inline]
    #[must_use]
    pub fn has(self, key: KeyRef<'_>) -> bool {
        match self {
            View::Local(array) => array.find(key).is_some(),
            View::Frozen(array, _) => array.find(key).is_some(),
        }
    }

    /// The value at the key that `text` is cast to.
    #[must_use]
    pub fn get_str(self, text: &str) -> Option<Value> {
        self.get(&Key::from(text))
    }

    /// The entry at or after `position` of the order, and the position after it ([`Array::entry_at`]).
    #[must_use]
    pub fn entry_at(self, position: usize) -> Option<(Key, Value, usize)> {
        match self {
            View::Local(array) => array
                .entry_at(position)
                .map(|(key, value, next)| (key, value.clone(), next)),
            View::Frozen(array, pin) => array
                .entry_at(position)
                .map(|(key, value)| (key, pin.value(value), position + 1)),
        }
    }

    /// The entries in order.
    pub fn iter(self) -> impl Iterator<Item = (Key, Value)> + 'a {
        let mut position = 0;
        std::iter::from_fn(move || {
            let (key, value, next) = self.entry_at(position)?;
            position = next;
            Some((key, value))
        })
    }

    /// The values in order.
    #[must_use]
    pub fn values(self) -> Values<'a> {
        match self {
            View::Local(array) => match &array.form {
                Form::List(values) => Values::List(values.iter()),
                Form::Hash { dict, .. } => Values::Hash(dict.places().iter()),
            },
            View::Frozen(array, pin) => Values::Frozen(0, array, pin),
        }
    }

    /// Whether this is a packed list.
    pub(crate) fn is_packed(self) -> bool {
        match self {
            View::Local(array) => array.as_list().is_some(),
            View::Frozen(array, _) => array.is_list(),
        }
    }

    /// The values when this is a packed list of this thread.
    #[must_use]
    pub fn as_list(self) -> Option<&'a [Value]> {
        match self {
            View::Local(array) => array.as_list(),
            View::Frozen(..) => None,
        }
    }

    /// Whether the keys are 0…n−1 in order.
    #[must_use]
    pub fn is_list(self) -> bool {
        match self {
            View::Local(array) => array.is_list(),
            View::Frozen(array, _) => array.is_list(),
        }
    }

    /// An array of its own with the same entries.
    #[must_use]
    pub fn to_array(self) -> Array {
        match self {
            View::Local(array) => array.clone(),
            View::Frozen(array, pin) => Array::thaw(array, pin),
        }
    }
}

/// Iterates over the values of an array.
pub enum Values<'a> {
    #[doc(hidden)]
    List(std::slice::Iter<'a, Value>),
    #[doc(hidden)]
    Hash(std::slice::Iter<'a, (Key, Value)>),
    #[doc(hidden)]
    Frozen(usize, &'a FrozenArray, &'a Pin),
}

impl Iterator for Values<'_> {
    type Item = Value;

    #[inline]
    fn next(&mut self) -> Option<Value> {
        match self {
            Values::List(values) => values.next().cloned(),
            Values::Hash(entries) => entries
                .find(|(key, _)| !matches!(key, Key::Gap))
                .map(|(_, value)| value.clone()),
            Values::Frozen(position, array, pin) => {
                let value = array.value_at(*position)?;
                *position += 1;
                Some(pin.value(value))
            }
        }
    }
}
