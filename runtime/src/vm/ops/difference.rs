//! `A - B` and `A - x`: removing values by strict equality (language.md 6.3).

use super::{unsupported, writable};
use crate::array::Key;
use crate::convert::Comparison;
use crate::native::{Cx, Throw};
use crate::pieces::{self, LARGE_ENTRIES, LongArray, PIECE_ENTRIES, PIECE_KEYS, Work};
use crate::scalars::Scalars;
use crate::value::Value;

/// Removes the values of `right` from the array in `slot`; keys stay.
pub(super) fn remove_values(slot: &mut Value, right: &Value, cx: &mut Cx<'_>) -> Result<(), Throw> {
    let right = right.clone();
    let len = |value: &Value| value.as_array().map_or(1, |view| view.len());
    if len(slot).saturating_add(len(&right)) > LARGE_ENTRIES {
        return remove_many(slot, &right, cx);
    }
    let mut scalars = Scalars::default();
    let all_scalars = match right.as_array() {
        Some(view) => view.values().all(|value| scalars.add(&value).is_some()),
        None => scalars.add(&right).is_some(),
    };
    if !all_scalars {
        // Comparing others may take long.
        return remove_many(slot, &right, cx);
    }
    let Some(view) = slot.as_array() else {
        return Err(unsupported());
    };
    cx.charge(view.len());
    let doomed: Vec<Key> = view
        .iter()
        .filter(|(_, value)| scalars.has(value) == Some(true))
        .map(|(key, _)| key)
        .collect();
    if doomed.is_empty() {
        return Ok(());
    }
    let Some(array) = writable(slot, cx)? else {
        return Err(unsupported());
    };
    for key in &doomed {
        array.remove(key);
    }
    Ok(())
}

/// As [`remove_values`], in pieces.
#[cold]
fn remove_many(slot: &mut Value, right: &Value, cx: &mut Cx<'_>) -> Result<(), Throw> {
    if let Some(rest) = pieces::prepared(cx, Work::Subtract, &[slot, right]) {
        *slot = rest;
        return Ok(());
    }
    let mut state = Difference {
        left: slot.clone(),
        right: right.clone(),
        scalars: Scalars::default(),
        others: Vec::new(),
        read: Some(0),
        position: 0,
        entry: None,
        rest: LongArray::default(),
        whole: false,
    };
    let difference = move |cx: &mut Cx<'_>| state.go_on(cx);
    Err(pieces::prepare(Work::Subtract, &[slot, right], difference))
}

/// What the difference is made of so far.
struct Difference {
    left: Value,
    right: Value,
    /// What is to be removed, and how far it was read; none: as a whole.
    scalars: Scalars,
    others: Vec<Value>,
    read: Option<usize>,
    /// The next entry of the left side.
    position: usize,
    /// The entry that is being compared, with the next of the others, and the comparison that goes on.
    entry: Option<(Key, Value, usize, Option<Comparison>)>,
    rest: LongArray,
    whole: bool,
}

impl Difference {
    fn go_on(&mut self, cx: &mut Cx<'_>) -> Result<Option<Value>, Throw> {
        if !self.scalars.make_ready(cx)? {
            return Ok(None);
        }
        if let Some(at) = self.read {
            self.read = self.read_right(at, cx);
            return Ok(None);
        }
        if !self.rest.make_ready(cx)? {
            return Ok(None);
        }
        if self.whole {
            return self.rest.finish(cx);
        }
        let (mut work, mut entries) = (0, 0);
        while work < PIECE_ENTRIES && entries < PIECE_KEYS && self.rest.is_ready() {
            let Some((key, value, next, mut comparison)) = self.entry.take() else {
                work += 1;
                entries += 1;
                self.whole = !self.next_entry();
                if self.whole {
                    break;
                }
                continue;
            };
            let Some(other) = self.others.get(next) else {
                self.rest.insert(key, value);
                continue;
            };
            let going_on = comparison.get_or_insert_with(|| Comparison::new(&value, other));
            work += 1;
            match going_on.go_on(&mut work, PIECE_ENTRIES) {
                Some(true) => {}
                Some(false) => self.entry = Some((key, value, next + 1, None)),
                None => self.entry = Some((key, value, next, comparison)),
            }
        }
        cx.charge(work);
        Ok(None)
    }

    /// Takes the next entry of the left side; whether there is one.
    fn next_entry(&mut self) -> bool {
        let view = self.left.as_array();
        let Some((key, value, behind)) = view.and_then(|view| view.entry_at(self.position)) else {
            return false;
        };
        self.position = behind;
        match self.scalars.has(&value) {
            Some(true) => {}
            Some(false) => self.rest.insert(key, value),
            None => self.entry = Some((key, value, 0, None)),
        }
        true
    }

    /// Reads a piece of what is to be removed, from `at` on; where it goes on.
    fn read_right(&mut self, at: usize, cx: &mut Cx<'_>) -> Option<usize> {
        let (scalars, others) = (&mut self.scalars, &mut self.others);
        let mut sort = |value: Value| {
            if scalars.add(&value).is_none() {
                others.push(value);
            }
            scalars.is_ready()
        };
        let mut at = at;
        cx.charge(PIECE_KEYS);
        let Some(view) = self.right.as_array() else {
            sort(self.right.clone());
            return None;
        };
        for _ in 0..PIECE_KEYS {
            let (_, value, behind) = view.entry_at(at)?;
            at = behind;
            if !sort(value) {
                break;
            }
        }
        Some(at)
    }
}

impl Drop for Difference {
    fn drop(&mut self) {
        pieces::discard(std::mem::take(&mut self.others).into_iter());
    }
}
