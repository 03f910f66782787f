//! Entries in the order in which they came, found by their keys: the arrays that are no lists.
//!
//! Few entries are compared one after the other, which needs neither a hash nor a table. From [`FEW`] on a table tells
//! where each key is. Taking an entry out leaves a gap, so that the places of the others stay; with more gaps than
//! entries they are closed.

use hashbrown::HashTable;

use crate::array::{Key, KeyRef, mix};
use crate::inline;
use crate::memory;
use crate::string::Str;
use crate::value::Value;

/// Up to how many places are searched without a table.
const FEW: usize = 8;

/// See the module.
#[derive(Clone, Default)]
pub(crate) struct Dict {
    entries: Vec<(Key, Value)>,
    /// The place of each key, when there are more than [`FEW`] places.
    index: Option<Box<HashTable<u32>>>,
    gaps: u32,
    /// The place of the first entry that is no gap: entries are often taken out from the front.
    first: u32,
}

#[inline]
fn hash(key: KeyRef<'_>) -> u64 {
    match key {
        KeyRef::None => mix(1),
        KeyRef::Integer(number) => mix(number as u64),
        KeyRef::String(text) => text.hash_code(),
    }
}

impl Dict {
    /// An empty one with room for `capacity` entries.
    pub fn with_capacity(capacity: usize) -> Dict {
        Dict {
            entries: Vec::with_capacity(capacity),
            ..Dict::default()
        }
    }

    /// The entries of a list.
    pub fn from_list(values: Vec<Value>) -> Dict {
        let mut entries = Vec::with_capacity(values.capacity().max(4));
        let keys = values.into_iter().enumerate();
        entries.extend(keys.map(|(index, value)| (Key::from(index), value)));
        let mut dict = Dict {
            entries,
            ..Dict::default()
        };
        if dict.entries.len() > FEW {
            dict.reindex();
        }
        dict
    }

    /// Number of entries.
    #[inline]
    pub fn len(&self) -> usize {
        self.entries.len() - self.gaps as usize
    }

    /// Bytes that the entries and their table take.
    pub fn bytes(&self) -> usize {
        let index = self.index.as_ref();
        self.entries.capacity() * size_of::<(Key, Value)>()
            + index.map_or(0, |index| index.capacity() * 6 + 48)
    }

    /// The place of a key.
    #[inline]
    pub fn find(&self, key: KeyRef<'_>) -> Option<usize> {
        match &self.index {
            None => self.search(key),
            Some(index) => {
                let is_it = |at: &u32| self.is_at(*at, key);
                index.find(hash(key), is_it).map(|at| *at as usize)
            }
        }
    }

    #[inline]
    fn is_at(&self, at: u32, key: KeyRef<'_>) -> bool {
        let entry = self.entries.get(at as usize);
        entry.is_some_and(|(own, _)| key.is(own))
    }

    /// Looks at one key after the other.
    #[inline]
    fn search(&self, key: KeyRef<'_>) -> Option<usize> {
        let mut keys = self.entries.iter().map(|(key, _)| key);
        match key {
            KeyRef::String(Str::Inline(len, bytes)) => {
                let words = inline::words(bytes);
                keys.position(|own| {
                    matches!(own, Key::String(Str::Inline(l, b)) if l == len && inline::words(b) == words)
                })
            }
            KeyRef::String(text) => {
                keys.position(|own| matches!(own, Key::String(own) if own == text))
            }
            KeyRef::Integer(number) => {
                keys.position(|own| matches!(own, Key::Integer(own) if *own == number))
            }
            KeyRef::None => keys.position(|own| matches!(own, Key::None)),
        }
    }

    /// The value at a place.
    #[inline]
    pub fn value(&self, at: usize) -> Option<&Value> {
        self.entries.get(at).map(|(_, value)| value)
    }

    /// Write access to the value at a place.
    #[inline]
    pub fn value_mut(&mut self, at: usize) -> Option<&mut Value> {
        self.entries.get_mut(at).map(|(_, value)| value)
    }

    /// The places in order, those of entries that were taken out included, with a [`Key::Gap`].
    #[inline]
    pub fn places(&self) -> &[(Key, Value)] {
        &self.entries
    }

    /// Write access to the values, in order.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut Value> {
        self.entries.iter_mut().map(|(_, value)| value)
    }

    /// Adds an entry for a key that is not there; gives its place.
    pub fn add(&mut self, key: Key, value: Value) -> usize {
        let at = self.entries.len();
        if let Some(index) = &mut self.index {
            let entries = &self.entries;
            let hash_of = |at: &u32| hash(entries[*at as usize].0.borrow());
            index.insert_unique(hash(key.borrow()), at as u32, hash_of);
        }
        self.entries.push((key, value));
        if self.index.is_none() && self.entries.len() > FEW {
            self.reindex();
        }
        at
    }

    /// Takes the entry at a place out. The order of the others stays, their places may change.
    pub fn remove(&mut self, at: usize) -> Option<Value> {
        let (key, value) = self.entries.get_mut(at)?;
        let key = std::mem::replace(key, Key::Gap);
        let value = std::mem::take(value);
        if let Some(index) = &mut self.index
            && let Ok(place) = index.find_entry(hash(key.borrow()), |own| *own as usize == at)
        {
            place.remove();
        }
        self.gaps += 1;
        let is_gap = |entry: Option<&(Key, Value)>| matches!(entry, Some((Key::Gap, _)));
        while is_gap(self.entries.last()) {
            self.entries.pop();
            self.gaps -= 1;
        }
        while is_gap(self.entries.get(self.first as usize)) {
            self.first += 1;
        }
        // Nothing may be left behind it.
        self.first = self.first.min(self.entries.len() as u32);
        if self.is_sparse() {
            self.close_gaps();
        }
        Some(value)
    }

    /// Whether there are more gaps than entries.
    fn is_sparse(&self) -> bool {
        self.gaps as usize > self.entries.len() / 2
    }

    /// Whether one gap more makes the others move.
    #[inline]
    pub fn is_almost_sparse(&self) -> bool {
        self.gaps as usize + 1 > self.entries.len() / 2
    }

    /// The first entry at or behind a place that is no gap, and its place.
    #[inline]
    pub fn entry_from(&self, place: usize) -> Option<(usize, &(Key, Value))> {
        let place = place.max(self.first as usize);
        let entry = self.entries.get(place)?;
        if matches!(entry.0, Key::Gap) {
            self.behind_gaps(place)
        } else {
            Some((place, entry))
        }
    }

    #[cold]
    fn behind_gaps(&self, place: usize) -> Option<(usize, &(Key, Value))> {
        let rest = self.entries.get(place..)?;
        let gaps = rest.iter().take_while(|(key, _)| matches!(key, Key::Gap));
        let gaps = gaps.count();
        memory::owe(gaps / 16);
        Some((place + gaps, rest.get(gaps)?))
    }

    /// All entries, gaps included; none are left.
    pub fn take(&mut self) -> Vec<(Key, Value)> {
        self.index = None;
        (self.gaps, self.first) = (0, 0);
        std::mem::take(&mut self.entries)
    }

    /// Drops the entries. What needs no drop is only left: that is told here quicker than where each is dropped.
    pub fn clear(&mut self) {
        while let Some((key, value)) = self.entries.pop() {
            if value.is_plain() {
                std::mem::forget(value);
            } else {
                drop(value);
            }
            match key {
                Key::String(Str::Inline(..)) | Key::Integer(_) => std::mem::forget(key),
                key => drop(key),
            }
        }
        self.index = None;
        (self.gaps, self.first) = (0, 0);
    }

    /// Whether there is no room for one more.
    #[inline]
    pub fn is_full(&self) -> bool {
        let index = self.index.as_ref();
        self.entries.len() == self.entries.capacity()
            || index.is_some_and(|index| index.len() == index.capacity())
    }

    /// How many entries can be added before something has to move.
    pub fn room(&self) -> usize {
        let places = self.entries.capacity() - self.entries.len();
        let index = self.index.as_ref();
        index.map_or(places, |index| places.min(index.capacity() - index.len()))
    }

    /// Makes room for `more` entries.
    pub fn reserve(&mut self, more: usize) {
        self.entries.reserve(more);
        if let Some(index) = &mut self.index {
            let entries = &self.entries;
            index.reserve(more, |at| hash(entries[*at as usize].0.borrow()));
        }
    }

    fn close_gaps(&mut self) {
        self.entries.retain(|(key, _)| !matches!(key, Key::Gap));
        (self.gaps, self.first) = (0, 0);
        if self.index.is_some() {
            self.reindex();
        }
    }

    /// Makes the table anew. It is kept when few entries are left: there may be more again.
    fn reindex(&mut self) {
        let entries = &self.entries;
        let hash_of = |at: &u32| hash(entries[*at as usize].0.borrow());
        let index = self.index.get_or_insert_default();
        index.clear();
        index.reserve(entries.capacity(), hash_of);
        for (at, (key, _)) in entries.iter().enumerate() {
            index.insert_unique(hash(key.borrow()), at as u32, hash_of);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_found_whatever_was_added_and_removed() {
        let mut dict = Dict::default();
        let mut model: Vec<(i64, f64)> = Vec::new();
        let mut state = 12_345_u64;
        for step in 0..20_000 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            // Few keys at times, so that all are taken out again and again.
            let key = (state >> 33) as i64 % if step % 1000 < 300 { 3 } else { 40 };
            let text = Str::from(format!("a key of some length {key}"));
            let key_ref = if key % 3 == 0 {
                KeyRef::Integer(key)
            } else {
                KeyRef::String(&text)
            };
            let found = dict.find(key_ref);
            let known = model.iter().position(|(own, _)| *own == key);
            assert_eq!(found.is_some(), known.is_some());
            match (found, known) {
                (Some(at), Some(known)) => {
                    assert_eq!(
                        dict.value(at).and_then(Value::as_number),
                        Some(model[known].1)
                    );
                    if (state >> 20) % 5 < 3 {
                        assert!(dict.remove(at).is_some());
                        model.remove(known);
                    }
                }
                _ => {
                    dict.add(key_ref.to_key(), Value::Number(f64::from(step)));
                    model.push((key, f64::from(step)));
                }
            }
            assert_eq!(dict.len(), model.len());
            let mut place = 0;
            for (_, value) in &model {
                let (at, (_, own)) = dict.entry_from(place).unwrap();
                assert_eq!(own.as_number(), Some(*value));
                place = at + 1;
            }
            assert!(dict.entry_from(place).is_none());
        }
    }
}
