//! Places of regular patterns in short subjects, by PCRE2 where it takes few steps.
//!
//! Whether there is a match the automata say quickest; where its groups lie takes them several times as long if the
//! pattern is not "one-pass". PCRE2 reads a simple repeat in one go. It is given so few steps that giving up costs next to
//! nothing, and a pattern that needed more once is left to the automata for good.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::backtracker::Compiled;
use crate::captures::Captures;
use crate::modifiers::Modifiers;
use crate::pattern_text::{Limits, PatternText};
use crate::regex::{Outcome, Stage};

/// Longest subject in bytes.
const SUBJECT: usize = 256;
/// Steps for each start of a match, and KiB of heap.
const LIMITS: Limits = Limits {
    steps: 400,
    heap: 100,
};
/// Searches of a pattern before it is compiled a second time.
const FIRST: u32 = 8;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Shortcut {
    searches: AtomicU32,
    closed: AtomicBool,
    compiled: OnceLock<Option<Compiled>>,
}

impl Shortcut {
    /// Finds the first match at or after `start`, and its groups; `None` if the automata have to.
    pub(crate) fn captures_at(
        &self,
        pattern: &[u8],
        modifiers: Modifiers,
        subject: &[u8],
        start: usize,
        captures: &mut Captures,
        groups: usize,
    ) -> Option<Outcome> {
        if subject.len() > SUBJECT || self.closed.load(Ordering::Relaxed) {
            return None;
        }
        if self.compiled.get().is_none() && self.searches.fetch_add(1, Ordering::Relaxed) < FIRST {
            return None;
        }
        let compiled = self.compiled.get_or_init(|| {
            let text = PatternText::new(pattern, modifiers).ok()?;
            Compiled::quick(&text.limited(LIMITS), &text, modifiers).ok()
        });
        captures.reset(groups);
        let outcome = match compiled {
            Some(compiled) => compiled.search(subject, start, Some(captures), Stage::Loop),
            None => Outcome::LimitExceeded(Stage::Loop),
        };
        if let Outcome::LimitExceeded(_) = outcome {
            self.closed.store(true, Ordering::Relaxed);
            return None;
        }
        Some(outcome.map(drop))
    }
}

#[cfg(test)]
mod tests {
    use crate::{Captures, Modifiers, Outcome, Regex};

    fn groups(regex: &Regex, subject: &str) -> Option<Vec<Option<std::ops::Range<usize>>>> {
        let mut captures = Captures::new();
        let outcome = regex.captures_at(subject.as_bytes(), 0, &mut captures);
        (outcome == Outcome::Match(()))
            .then(|| (0..captures.len()).map(|g| captures.get(g)).collect())
    }

    #[test]
    fn groups_are_the_same_before_and_after_the_shortcut_is_taken() {
        let subjects = [
            "Subject:  a b \n",
            "X-y:",
            "no colon",
            "",
            ":\n",
            "a-b: c: d",
        ];
        for pattern in [
            r"^([A-Za-z-]+):\s*(.*)$",
            r"(\w)|(:)",
            r"(a*)(b?)(c|$)",
            "(a|ab)(c|bcd)?(d*)",
        ] {
            let regex = Regex::new(pattern.as_bytes(), Modifiers::default()).expect("good pattern");
            assert!(regex.is_linear());
            let first = subjects.map(|subject| groups(&regex, subject));
            for _ in 0..5 {
                assert_eq!(
                    subjects.map(|subject| groups(&regex, subject)),
                    first,
                    "{pattern}"
                );
            }
        }
    }

    #[test]
    fn a_pattern_that_takes_many_steps_is_left_to_the_automata() {
        let regex = Regex::new(b"^((x+x+)+)y", Modifiers::default()).expect("good pattern");
        let (no, yes) = ("x".repeat(200), "x".repeat(200) + "y");
        for _ in 0..30 {
            assert_eq!(groups(&regex, &no), None);
            assert_eq!(
                groups(&regex, &yes).and_then(|groups| groups[1].clone()),
                Some(0..200)
            );
        }
    }
}
