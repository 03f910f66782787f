//! HSL regular expressions: the PCRE dialect over bytes.
//!
//! The crate knows nothing of script values: a pattern and a subject are bytes, an answer is a set
//! of offsets. A pattern whose meaning is surely the same for a finite automaton runs on one, in
//! linear time; every other pattern runs on PCRE2 under limits. Which of the two runs is never
//! visible in the answers, only in the time (`docs/decisions/0006-regex-engines.md`).
//!
//! ```text
//!  pattern ── classify ──┬── regular ──────── Automaton   (regex-automata)
//!                        └── anything else ── Backtracker (PCRE2, limits as a pattern prefix)
//! ```
//!
//! A search that a caller may run on its event loop is bounded: it answers
//! [`Outcome::LimitExceeded`] with [`Stage::Loop`] when it would take long, and the caller repeats
//! it with [`Regex::captures_heavy`] on a thread that may be busy for a while.

mod automaton;
mod backtracker;
mod cache;
mod captures;
mod charset;
mod classify;
mod modifiers;
mod pattern_text;
mod regex;
mod replace;
mod shortcut;

pub use cache::{PatternCache, RecentPatterns};
pub use captures::Captures;
pub use modifiers::{Modifiers, parse_source};
pub use regex::{Outcome, PatternError, Regex, Stage};
pub use replace::{Expansion, expand, quote};
