//! What an execution remembers of the variables and objects that it made, to take cycles among them apart at its end.

use std::collections::VecDeque;
use std::rc::{Rc, Weak};

/// Notes that are looked through at once.
const PART: usize = 256;

/// Notes of values that may be gone. For each part that is added two others are looked through for dead ones, so that the
/// notes stay in proportion to what lives, and no look takes long.
pub(crate) struct Notes<T> {
    full: VecDeque<Vec<Weak<T>>>,
    part: Vec<Weak<T>>,
}

impl<T> Default for Notes<T> {
    fn default() -> Notes<T> {
        Notes {
            full: VecDeque::new(),
            part: Vec::new(),
        }
    }
}

impl<T> Notes<T> {
    /// Takes note of a value.
    #[inline]
    pub fn add(&mut self, value: &Rc<T>) {
        self.extend([Rc::downgrade(value)]);
    }

    /// Takes notes over.
    #[inline]
    pub fn extend(&mut self, notes: impl IntoIterator<Item = Weak<T>>) {
        for note in notes {
            if self.part.len() == PART {
                self.sweep();
            }
            self.part.push(note);
        }
    }

    #[cold]
    fn sweep(&mut self) {
        self.full.push_back(std::mem::take(&mut self.part));
        for _ in 0..2 {
            let Some(mut part) = self.full.pop_front() else {
                break;
            };
            part.retain(|note| note.strong_count() > 0);
            match self.full.back_mut() {
                Some(last) if last.len() + part.len() <= PART => last.append(&mut part),
                _ if part.is_empty() => {}
                _ => self.full.push_back(part),
            }
        }
    }

    /// Gives some notes; none when there are no more.
    pub fn take_part(&mut self) -> Option<Vec<Weak<T>>> {
        let part = self.full.pop_back().or_else(|| {
            let part = std::mem::take(&mut self.part);
            (!part.is_empty()).then_some(part)
        });
        part.or_else(|| {
            self.full = VecDeque::new();
            None
        })
    }

    /// Gives back memory that is not needed.
    pub fn shrink(&mut self) {
        self.full.shrink_to_fit();
        self.part.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_of_what_is_gone_go_and_those_of_what_lives_stay() {
        let mut notes = Notes::default();
        let living: Vec<Rc<usize>> = (0..1000).map(Rc::new).collect();
        for round in 0..100_000 {
            notes.add(&Rc::new(round));
            if let Some(value) = living.get(round) {
                notes.add(value);
            }
        }
        let count = |notes: &Notes<usize>| {
            notes.full.iter().map(Vec::len).sum::<usize>() + notes.part.len()
        };
        assert!(count(&notes) < 4000, "{}", count(&notes));
        let mut found: Vec<usize> = Vec::new();
        while let Some(part) = notes.take_part() {
            found.extend(part.iter().filter_map(Weak::upgrade).map(|value| *value));
        }
        found.sort_unstable();
        assert_eq!(found, (0..1000).collect::<Vec<_>>());
    }
}
