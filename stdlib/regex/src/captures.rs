//! Where a match and its groups lie in the subject.

use std::ops::Range;

use regex_automata::util::primitives::NonMaxUsize;

/// Offsets of a match and of its groups, in a buffer that is meant to be used again.
///
/// Group 0 is the whole match. After a search that did not match, every group is unset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Captures {
    /// Start and end of each group in turn: the form that the automata fill in place.
    slots: Vec<Option<NonMaxUsize>>,
}

impl Captures {
    /// Makes an empty buffer; the first search gives it its size.
    pub fn new() -> Captures {
        Captures::default()
    }

    /// Number of groups of the pattern searched last, the whole match included.
    pub fn len(&self) -> usize {
        self.slots.len() / 2
    }

    /// True before the first search.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Byte range of a group; `None` if it took no part in the match or does not exist.
    pub fn get(&self, group: usize) -> Option<Range<usize>> {
        let first = group.checked_mul(2)?;
        let start = (*self.slots.get(first)?)?.get();
        let end = (*self.slots.get(first.checked_add(1)?)?)?.get();
        Some(start..end)
    }

    /// Bytes of a group within the subject that was searched.
    pub fn bytes<'s>(&self, group: usize, subject: &'s [u8]) -> Option<&'s [u8]> {
        subject.get(self.get(group)?)
    }

    /// Unsets every group and gives the buffer room for `groups` of them.
    pub(crate) fn reset(&mut self, groups: usize) {
        self.slots.clear();
        self.slots.resize(groups.saturating_mul(2), None);
    }

    /// Sets a group that [`Captures::reset`] made room for.
    pub(crate) fn set(&mut self, group: usize, range: Range<usize>) {
        let first = group.saturating_mul(2);
        if let Some([start, end]) = self.slots.get_mut(first..first.saturating_add(2)) {
            *start = NonMaxUsize::new(range.start);
            *end = NonMaxUsize::new(range.end);
        }
    }

    /// The raw slots, for the automata.
    pub(crate) fn slots_mut(&mut self) -> &mut [Option<NonMaxUsize>] {
        &mut self.slots
    }

    /// Drops the groups from `groups` on.
    pub(crate) fn truncate(&mut self, groups: usize) {
        self.slots.truncate(groups.saturating_mul(2));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_unset_until_it_is_set() {
        let mut captures = Captures::new();
        assert!(captures.is_empty());
        captures.reset(2);
        assert_eq!(
            (captures.len(), captures.get(1), captures.get(9)),
            (2, None, None)
        );
        captures.set(1, 3..5);
        captures.set(7, 3..5);
        assert_eq!(captures.get(1), Some(3..5));
        assert_eq!(captures.bytes(1, b"abcdef"), Some(&b"de"[..]));
        assert_eq!(captures.get(usize::MAX), None);
    }
}
