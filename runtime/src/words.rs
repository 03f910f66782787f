//! Entries found by words, in the order in which they came: Maps and Sets of numbers or booleans.
//!
//! Keys are mostly small whole numbers that lie close together. Up to [`DENSE`] their places stand in a list, which
//! needs no hash; all other keys are found by a table.

use hashbrown::HashTable;

use crate::array::mix;
use crate::value::Value;

/// The list never has more places than this: making it longer stays a short step.
const DENSE: u32 = 1 << 16;
/// The list has at most so many times as many places as there are entries.
const SPARSE: usize = 4;

/// See the module.
#[derive(Default)]
pub(crate) struct Words {
    entries: Vec<(u64, Value)>,
    /// One more than the place of each whole number below its length, 0 for those that are not there.
    dense: Vec<u32>,
    /// The places of the other keys.
    index: HashTable<u32>,
}

/// The whole number that a key is, if it is small.
#[inline]
fn small(word: u64) -> Option<usize> {
    let number = f64::from_bits(word) as u32;
    (f64::from(number).to_bits() == word && number < DENSE).then_some(number as usize)
}

impl Words {
    /// An empty one, with room for twice what `self` has.
    pub fn with_twice_the_room(&self) -> Words {
        Words {
            entries: Vec::with_capacity(self.entries.len() * 2),
            dense: vec![0; self.dense.len()],
            index: HashTable::with_capacity(self.index.len() * 2),
        }
    }

    #[inline]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no room for one more.
    pub fn is_full(&self) -> bool {
        let (used, room) = (self.index.len(), self.index.capacity());
        self.entries.len() == self.entries.capacity() || (used > 0 && used == room)
    }

    /// Bytes that the entries and their places take.
    pub fn bytes(&self) -> usize {
        self.entries.capacity() * size_of::<(u64, Value)>()
            + self.dense.capacity() * size_of::<u32>()
            + self.index.capacity() * 6
    }

    /// The place of a key.
    #[inline]
    pub fn find(&self, word: u64) -> Option<usize> {
        if let Some(place) = small(word).and_then(|number| self.dense.get(number)) {
            return (*place as usize).checked_sub(1);
        }
        if self.index.is_empty() {
            return None;
        }
        let found = self
            .index
            .find(mix(word), |at| self.is_at(*at as usize, word));
        found.map(|at| *at as usize)
    }

    /// Whether a key is at a place.
    #[inline]
    pub fn is_at(&self, at: usize, word: u64) -> bool {
        self.entries.get(at).is_some_and(|(own, _)| *own == word)
    }

    #[inline]
    pub fn value(&self, at: usize) -> Option<&Value> {
        self.entries.get(at).map(|(_, value)| value)
    }

    #[inline]
    pub fn value_mut(&mut self, at: usize) -> Option<&mut Value> {
        self.entries.get_mut(at).map(|(_, value)| value)
    }

    /// Adds or replaces an entry.
    pub fn insert(&mut self, word: u64, value: Value) {
        match self.find(word).and_then(|at| self.entries.get_mut(at)) {
            Some((_, old)) => *old = value,
            None => self.add(word, value),
        }
    }

    /// Adds an entry for a key that is not there.
    pub fn add(&mut self, word: u64, value: Value) {
        let at = self.entries.len();
        self.entries.push((word, value));
        if let Some(number) = small(word)
            && number >= self.dense.len()
            && number < SPARSE * at + 64
        {
            self.widen(number);
        }
        self.set_place(word, at);
    }

    /// Makes the list long enough for `number`; what it has then is no longer in the table.
    fn widen(&mut self, number: usize) {
        let before = self.dense.len();
        self.dense
            .resize((number + 1).next_power_of_two().max(64), 0);
        if self.index.is_empty() {
            return;
        }
        for (at, (word, _)) in self.entries.iter().enumerate() {
            if let Some(number) = small(*word)
                && number >= before
                && let Some(place) = self.dense.get_mut(number)
                && let Ok(found) = self.index.find_entry(mix(*word), |own| *own as usize == at)
            {
                found.remove();
                *place = at as u32 + 1;
            }
        }
    }

    /// Writes down where a key is that is not known yet.
    fn set_place(&mut self, word: u64, at: usize) {
        match small(word).and_then(|number| self.dense.get_mut(number)) {
            Some(place) => *place = at as u32 + 1,
            None => {
                let entries = &self.entries;
                let hash_of = |at: &u32| entries.get(*at as usize).map_or(0, |(own, _)| mix(*own));
                self.index.insert_unique(mix(word), at as u32, hash_of);
            }
        }
    }

    /// Takes an entry out; the last one takes its place.
    pub fn swap_remove(&mut self, word: u64) -> Option<Value> {
        let at = self.find(word)?;
        self.forget(word, at);
        let last = self.entries.len() - 1;
        if at != last {
            let moved = self.entries.get(last)?.0;
            self.forget(moved, last);
            let (_, value) = self.entries.swap_remove(at);
            self.set_place(moved, at);
            return Some(value);
        }
        self.entries.pop().map(|(_, value)| value)
    }

    /// Takes the place of a key back.
    fn forget(&mut self, word: u64, at: usize) {
        if let Some(place) = small(word).and_then(|number| self.dense.get_mut(number)) {
            *place = 0;
        } else if let Ok(found) = self.index.find_entry(mix(word), |own| *own as usize == at) {
            found.remove();
        }
    }

    pub fn keys(&self) -> impl Iterator<Item = u64> {
        self.entries.iter().map(|(word, _)| *word)
    }

    /// The key at a place.
    pub fn key(&self, at: usize) -> Option<u64> {
        self.entries.get(at).map(|(word, _)| *word)
    }

    pub fn values(&self) -> impl Iterator<Item = &Value> {
        self.entries.iter().map(|(_, value)| value)
    }

    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut Value> {
        self.entries.iter_mut().map(|(_, value)| value)
    }
}

impl IntoIterator for Words {
    type Item = (u64, Value);
    type IntoIter = std::vec::IntoIter<(u64, Value)>;

    fn into_iter(self) -> Self::IntoIter {
        self.entries.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn keys() -> impl Strategy<Value = f64> {
        prop_oneof![
            (0..40_u32).prop_map(f64::from),
            (0..400_u32).prop_map(f64::from),
            (0..80_000_u32).prop_map(f64::from),
            (-3..3_i32).prop_map(|number| f64::from(number) / 2.0),
            Just(f64::NAN),
            Just(f64::INFINITY),
            Just(f64::from(u32::MAX)),
        ]
    }

    proptest! {
        #[test]
        fn it_finds_what_a_map_finds(work in proptest::collection::vec((keys(), 0..3_u8), 0..600)) {
            let mut words = Words::default();
            let mut model: HashMap<u64, f64> = HashMap::new();
            for (step, (key, what)) in work.into_iter().enumerate() {
                let word = key.to_bits();
                let number = step as f64;
                if what == 0 {
                    let removed = words.swap_remove(word).map(|value| value.as_number());
                    prop_assert_eq!(removed, model.remove(&word).map(Some));
                } else {
                    words.insert(word, Value::Number(number));
                    model.insert(word, number);
                }
                prop_assert_eq!(words.len(), model.len());
            }
            for (word, number) in &model {
                let at = words.find(*word).expect("it is there");
                prop_assert!(words.is_at(at, *word));
                prop_assert_eq!(words.value(at).and_then(Value::as_number), Some(*number));
            }
            let twice = words.with_twice_the_room();
            prop_assert!(twice.find(0).is_none());
            prop_assert!(words.keys().all(|word| model.contains_key(&word)));
        }
    }
}
