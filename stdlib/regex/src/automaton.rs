//! Regular patterns on finite automata: the `meta` engine below the `regex` crate.
//!
//! A `$` that is not of the `m` modifier holds at the end of the subject and before a line feed that
//! ends it. It occurs only at the end of a pattern, so it becomes the choice of "the end" and "a
//! line feed, then the end", with that line feed in a group of its own behind the script's groups.
//! When this group takes part, the match and every group in it end before the line feed.

use std::ops::Range;

use regex_automata::Input;
use regex_automata::meta;
use regex_syntax::hir::{Capture, Hir, Look, Repetition};

use crate::captures::Captures;
use crate::charset::Unit;
use crate::classify::{Node, Regular};

/// A compiled regular pattern.
#[derive(Debug)]
pub(crate) struct Automaton {
    engine: meta::Regex,
    /// Number of groups of the script, the whole match included: the number of the group of `$`.
    groups: usize,
    has_dollar: bool,
    /// What the engine says of its size, which it counts anew each time.
    memory: usize,
}

/// Greatest size in bytes of the compiled automaton; a pattern beyond it goes to PCRE2.
const NFA_LIMIT: usize = 256 * 1024;
/// Bytes that one thread's lazily built automaton may take.
const LAZY_LIMIT: usize = 256 * 1024;

impl Automaton {
    /// Builds the automaton; `None` if it would be too large.
    pub(crate) fn new(regular: Regular) -> Option<Automaton> {
        let groups = regular.groups.checked_add(1)?;
        let marker = u32::try_from(groups).ok()?;
        let config = meta::Config::new()
            .utf8_empty(regular.unit == Unit::Char)
            .nfa_size_limit(Some(NFA_LIMIT))
            .onepass_size_limit(Some(NFA_LIMIT))
            .hybrid_cache_capacity(LAZY_LIMIT);
        let hir = lower(regular.node, marker);
        let engine = meta::Regex::builder()
            .configure(config)
            .build_from_hir(&hir)
            .ok()?;
        let memory = engine.memory_usage();
        Some(Automaton {
            engine,
            memory,
            groups,
            has_dollar: regular.has_dollar,
        })
    }

    /// Tells whether a match starts at or after `start`.
    pub(crate) fn is_match_at(&self, subject: &[u8], start: usize) -> bool {
        self.engine.is_match(Input::new(subject).range(start..))
    }

    /// Finds the first match that starts at or after `start`.
    pub(crate) fn find_at(&self, subject: &[u8], start: usize) -> Option<Range<usize>> {
        let found = self
            .engine
            .search(&Input::new(subject).range(start..))?
            .range();
        // Only here may the match have read a line feed for `$`.
        if self.has_dollar && found.end == subject.len() && subject.ends_with(b"\n") {
            let mut captures = Captures::new();
            self.captures_at(subject, start, &mut captures);
            return captures.get(0);
        }
        Some(found)
    }

    /// Finds the first match and its groups; false if there is none.
    pub(crate) fn captures_at(
        &self,
        subject: &[u8],
        start: usize,
        captures: &mut Captures,
    ) -> bool {
        captures.reset(self.groups + usize::from(self.has_dollar));
        let input = Input::new(subject).range(start..);
        let found = self
            .engine
            .search_slots(&input, captures.slots_mut())
            .is_some();
        if let Some(line_feed) = captures.get(self.groups) {
            for slot in captures.slots_mut() {
                if slot.is_some_and(|at| at.get() > line_feed.start) {
                    *slot = regex_automata::util::primitives::NonMaxUsize::new(line_feed.start);
                }
            }
        }
        captures.truncate(self.groups);
        found
    }

    /// Bytes of memory that the compiled pattern takes, without what its searches keep.
    pub(crate) fn memory(&self) -> usize {
        self.memory
    }
}

/// The node as the engine takes it, with `marker` as the group of a `$`.
fn lower(node: Node, marker: u32) -> Hir {
    match node {
        Node::Empty => Hir::empty(),
        Node::Set(set) => Hir::class(set.into_class()),
        Node::Look(look) => Hir::look(look),
        Node::LineStart => Hir::look(Look::StartLF),
        Node::Dollar => {
            let line_feed = Hir::literal(*b"\n");
            let sub = Box::new(Hir::concat(vec![line_feed, Hir::look(Look::End)]));
            let read = Hir::capture(Capture {
                index: marker,
                name: None,
                sub,
            });
            Hir::alternation(vec![Hir::look(Look::End), read])
        }
        Node::Repeat {
            min,
            max,
            greedy,
            sub,
        } => {
            let sub = Box::new(lower(*sub, marker));
            Hir::repetition(Repetition {
                min,
                max,
                greedy,
                sub,
            })
        }
        Node::Group(index, sub) => {
            let sub = Box::new(lower(*sub, marker));
            Hir::capture(Capture {
                index,
                name: None,
                sub,
            })
        }
        Node::Concat(parts) => Hir::concat(parts.into_iter().map(|n| lower(n, marker)).collect()),
        Node::Alternation(branches) => {
            Hir::alternation(branches.into_iter().map(|n| lower(n, marker)).collect())
        }
    }
}
