//! The items of a sub-queue in their order.
//!
//! Nearly all come at the end and leave from the front, so they lie in a row: the first is one look away, however many
//! sub-queues there are. Who leaves from the middle leaves a gap, and gaps are closed when they are more than the rest.
//! Who comes into the middle, because it went to another destination first, waits in a tree. So nothing takes longer
//! than a look into a tree, but for work that is paid for by as many items that left.

use std::collections::{BTreeMap, VecDeque};

/// The items, each with its number in the order of arrival.
#[derive(Debug, Default)]
pub(super) struct Items {
    /// By number; none: a gap. There is no gap at either end.
    row: VecDeque<(u64, Option<u32>)>,
    gaps: usize,
    /// Those that came into the middle.
    #[allow(
        clippy::box_collection,
        reason = "seldom there, and a sub-queue is to be two lines of the cache"
    )]
    late: Option<Box<BTreeMap<u64, u32>>>,
}

/// Room below this is not given back.
const SMALL: usize = 16;

impl Items {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.row.is_empty() && self.late.is_none()
    }

    /// Adds an item at the place that its number says.
    pub fn insert(&mut self, seq: u64, slot: u32) {
        let before = |other: Option<&(u64, _)>| other.is_none_or(|(other, _)| seq < *other);
        if self.row.back().is_none_or(|(last, _)| *last < seq) {
            self.row.push_back((seq, Some(slot)));
        } else if before(self.row.front()) {
            self.row.push_front((seq, Some(slot)));
        } else if let Some(gap) = self.find(seq).filter(|(_, slot)| slot.is_none()) {
            gap.1 = Some(slot);
            self.gaps -= 1;
        } else {
            self.late.get_or_insert_default().insert(seq, slot);
        }
    }

    /// Takes an item out.
    pub fn remove(&mut self, seq: u64) {
        if let Some((_, slot)) = self.find(seq)
            && slot.take().is_some()
        {
            self.gaps += 1;
            self.close_gaps();
        } else if let Some(late) = &mut self.late {
            late.remove(&seq);
            self.late.take_if(|late| late.is_empty());
        }
    }

    /// Takes the first item out.
    pub fn pop_first(&mut self) -> Option<(u64, u32)> {
        if let Some(late) = &mut self.late {
            let row = self.row.front().map(|(seq, _)| *seq);
            let first = late.first_entry();
            if let Some(first) = first.filter(|of| row.is_none_or(|row| *of.key() < row)) {
                let first = first.remove_entry();
                self.late.take_if(|late| late.is_empty());
                return Some(first);
            }
        }
        let (seq, slot) = self.row.pop_front()?;
        self.close_gaps();
        Some((seq, slot?))
    }

    /// How many items are before this number.
    pub fn before(&self, seq: u64) -> usize {
        let row = self.row.iter().take_while(|(other, _)| *other < seq);
        let late = self.late.iter().flat_map(|late| late.range(..seq));
        row.filter(|(_, slot)| slot.is_some()).count() + late.count()
    }

    /// Every item.
    pub fn iter(&self) -> impl Iterator<Item = (u64, u32)> {
        let row = self.row.iter();
        let row = row.filter_map(|(seq, slot)| slot.map(|slot| (*seq, slot)));
        let late = self.late.iter().flat_map(|late| late.iter());
        row.chain(late.map(|(seq, slot)| (*seq, *slot)))
    }

    fn find(&mut self, seq: u64) -> Option<&mut (u64, Option<u32>)> {
        let place = self.row.binary_search_by_key(&seq, |(seq, _)| *seq);
        self.row.get_mut(place.ok()?)
    }

    /// Keeps both ends free of gaps, and gaps and unused room within bounds.
    fn close_gaps(&mut self) {
        while self.gaps > 0 && self.row.front().is_some_and(|(_, slot)| slot.is_none()) {
            self.row.pop_front();
            self.gaps -= 1;
        }
        while self.gaps > 0 && self.row.back().is_some_and(|(_, slot)| slot.is_none()) {
            self.row.pop_back();
            self.gaps -= 1;
        }
        if self.gaps > SMALL && self.gaps * 2 > self.row.len() {
            self.row.retain(|(_, slot)| slot.is_some());
            self.gaps = 0;
        }
        let room = self.row.capacity();
        if room > SMALL && self.row.len() < room / 4 {
            self.row.shrink_to(room / 2);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::btree_map::Entry;

    #[derive(Clone, Debug)]
    enum Step {
        /// At the end.
        Come(u64),
        /// At any place.
        Insert(u64),
        Remove(u64),
        Pop,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (1u64..4).prop_map(Step::Come),
            2 => (0u64..200).prop_map(Step::Insert),
            4 => (0u64..200).prop_map(Step::Remove),
            1 => Just(Step::Pop),
        ]
    }

    proptest! {
        #[test]
        fn the_row_with_its_gaps_holds_what_a_tree_would(
            steps in prop::collection::vec(step(), 0..400)
        ) {
            let mut items = Items::default();
            let mut tree = BTreeMap::new();
            let mut last = 0;
            for (slot, step) in (0..).zip(steps) {
                match step {
                    Step::Come(more) => {
                        let highest = tree.last_key_value().map_or(0, |(seq, _)| *seq);
                        last = highest.max(last) + more;
                        tree.insert(last, slot);
                        items.insert(last, slot);
                    }
                    Step::Insert(seq) => {
                        if let Entry::Vacant(place) = tree.entry(seq) {
                            place.insert(slot);
                            items.insert(seq, slot);
                        }
                    }
                    Step::Remove(seq) => {
                        tree.remove(&seq);
                        items.remove(seq);
                    }
                    Step::Pop => prop_assert_eq!(items.pop_first(), tree.pop_first()),
                }
                prop_assert_eq!(items.is_empty(), tree.is_empty());
                let mut all: Vec<_> = items.iter().collect();
                all.sort_unstable();
                let want: Vec<_> = tree.iter().map(|(seq, slot)| (*seq, *slot)).collect();
                prop_assert_eq!(all, want);
                prop_assert_eq!(items.before(100), tree.range(..100).count());
                prop_assert!(items.gaps <= SMALL.max(items.row.len() / 2));
            }
            while let Some(first) = tree.pop_first() {
                prop_assert_eq!(items.pop_first(), Some(first));
            }
            prop_assert!(items.is_empty());
        }
    }

    #[test]
    fn room_is_given_back_and_gaps_are_closed() {
        let mut items = Items::default();
        for seq in 0..100_000 {
            items.insert(seq, 0);
        }
        // Every item but the first and the last goes, from the middle outwards.
        for step in 1..50_000 {
            items.remove(50_000 - step);
            items.remove(49_999 + step);
        }
        assert_eq!(
            items.iter().map(|(seq, _)| seq).collect::<Vec<_>>(),
            [0, 99_999]
        );
        assert!(items.row.len() <= 2 + 2 * SMALL, "{}", items.row.len());
        assert!(items.row.capacity() <= 200, "{}", items.row.capacity());
        assert!(items.late.is_none());
    }
}
