//! Looking at caches and clearing them, for tools.

use std::collections::BTreeMap;

use super::{Caches, write_key};
use crate::value::Value;

/// A cache.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CacheInfo {
    /// Its namespace.
    pub namespace: Vec<u8>,
    /// The function.
    pub function: Vec<u8>,
    /// The most entries; none: no call has said.
    pub maxsize: Option<usize>,
    /// The entries.
    pub size: usize,
    /// Calls that found their result.
    pub hits: u64,
    /// Calls that computed it.
    pub misses: u64,
    /// Entries that made room.
    pub evicts: u64,
    /// Calls that waited for another one's result.
    pub waits: u64,
}

impl Caches {
    /// All caches, sorted. Those that belong to one message of a function are one here.
    #[must_use]
    pub fn list(&self) -> Vec<CacheInfo> {
        let mut list: BTreeMap<(Vec<u8>, Vec<u8>), CacheInfo> = BTreeMap::new();
        for (name, cache) in &self.state().caches {
            let Some((namespace, function)) = names(name) else {
                continue;
            };
            let key = (namespace.to_vec(), function.to_vec());
            let info = list.entry(key).or_default();
            info.namespace = namespace.to_vec();
            info.function = function.to_vec();
            info.maxsize = match (info.maxsize, cache.size) {
                (Some(a), Some(b)) => Some(a.max(b)),
                (a, b) => a.or(b),
            };
            info.size += cache.entries.len();
            info.hits += cache.counts.hits;
            info.misses += cache.counts.misses;
            info.evicts += cache.counts.evicts;
            info.waits += cache.counts.waits;
        }
        list.into_values().collect()
    }

    /// Removes the entries that fit everything that is given: namespace, function, and arguments by
    /// their place from 1. Gives their number. What is being computed goes on.
    #[must_use]
    pub fn remove(
        &self,
        namespace: Option<&[u8]>,
        function: Option<&[u8]>,
        arguments: &BTreeMap<u64, Value>,
    ) -> u64 {
        let mut wanted = Vec::new();
        for (place, value) in arguments {
            let mut bytes = Vec::new();
            // Only what has a form as a key can have been an argument of a cached call.
            if !write_key(&mut bytes, value, None) {
                return 0;
            }
            wanted.push((place.checked_sub(1), bytes));
        }
        let fits = |key: &[u8]| {
            let list = segments(key);
            wanted.iter().all(|(place, bytes)| {
                let place = place.and_then(|place| usize::try_from(place).ok());
                place.and_then(|place| list.get(place)).copied() == Some(bytes)
            })
        };
        let mut state = self.state();
        let state = &mut *state;
        let mut removed = 0;
        for (name, cache) in &mut state.caches {
            let Some((its_namespace, its_function)) = names(name) else {
                continue;
            };
            if namespace.is_some_and(|wanted| wanted != its_namespace)
                || function.is_some_and(|wanted| wanted != its_function)
            {
                continue;
            }
            let before = cache.bytes;
            let keys: Vec<Vec<u8>> = cache
                .entries
                .keys()
                .filter(|key| fits(key))
                .cloned()
                .collect();
            removed += keys.len() as u64;
            keys.iter().for_each(|key| cache.remove(key));
            state.bytes = state.bytes + cache.bytes - before;
        }
        removed
    }
}

/// Namespace and function in the name of a cache.
fn names(name: &[u8]) -> Option<(&[u8], &[u8])> {
    let (_message, rest) = counted(name)?;
    counted(rest)
}

/// The bytes that a length stands before, and the rest.
fn counted(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<8>()?;
    rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)
}

/// The arguments in the key of an entry.
fn segments(key: &[u8]) -> Vec<&[u8]> {
    let mut list = Vec::new();
    let mut rest = key;
    while let Some((segment, more)) = segment(rest) {
        list.push(segment);
        rest = more;
    }
    list
}

/// The first value of a key, and the rest.
fn segment(key: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut at = 0_usize;
    // Values that are still to come: one, and the entries of arrays with their keys.
    let mut values = 1_u64;
    // Whether the next thing is a key of an array.
    let mut keys: Vec<u64> = Vec::new();
    loop {
        if let Some(left) = keys.last_mut() {
            if *left == 0 {
                keys.pop();
                continue;
            }
            *left -= 1;
            at = at.checked_add(match key.get(at)? {
                b'i' => 9,
                b's' => 9_usize.checked_add(length(key, at)?)?,
                _ => 1,
            })?;
        } else if values == 0 {
            return key.split_at_checked(at);
        } else {
            values -= 1;
        }
        at = at.checked_add(match key.get(at)? {
            b'b' => 2,
            b'n' => 9,
            b's' => 9_usize.checked_add(length(key, at)?)?,
            b'a' => {
                keys.push(u64::try_from(length(key, at)?).ok()?);
                9
            }
            b'i' => 17,
            _ => 1,
        })?;
    }
}

/// The length that stands after the letter at `at`.
fn length(key: &[u8], at: usize) -> Option<usize> {
    let bytes = key.get(at.checked_add(1)?..)?.first_chunk::<8>()?;
    usize::try_from(u64::from_le_bytes(*bytes)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::array::Array;

    fn key(values: &[Value]) -> (Vec<u8>, Vec<usize>) {
        let (mut bytes, mut lengths) = (Vec::new(), Vec::new());
        for value in values {
            let before = bytes.len();
            assert!(write_key(&mut bytes, value, None));
            lengths.push(bytes.len() - before);
        }
        (bytes, lengths)
    }

    #[test]
    fn a_key_is_taken_apart_into_its_arguments() {
        let mut inner = Array::new();
        inner.push(Value::from("deep"));
        let mut array = Array::new();
        array.push(Value::from(inner));
        array.push(Value::from(1.0));
        array.push(Value::None);
        let values = [
            Value::from("a"),
            Value::from(array),
            Value::None,
            Value::from(true),
            Value::from(2.5),
            Value::from(""),
        ];
        let (bytes, lengths) = key(&values);
        let got: Vec<usize> = segments(&bytes).iter().map(|part| part.len()).collect();
        assert_eq!(got, lengths);
        assert_eq!(segments(b"s\xff"), Vec::<&[u8]>::new(), "damaged");
    }
}
