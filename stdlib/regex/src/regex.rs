//! A compiled regular expression, whichever engine runs it.

use std::fmt;
use std::ops::Range;

use crate::automaton::Automaton;
use crate::backtracker::{Backtracker, LOOP_SUBJECT};
use crate::captures::Captures;
use crate::classify::classify;
use crate::modifiers::{Modifiers, parse_source};
use crate::shortcut::Shortcut;

/// A compiled regular expression. It can be shared by threads behind an `Arc`.
#[derive(Debug)]
pub struct Regex {
    pattern: Box<[u8]>,
    modifiers: Modifiers,
    engine: Engine,
    groups: usize,
    names: Box<[(Box<str>, usize)]>,
    utf8: bool,
    shortcut: Shortcut,
}

/// What runs a pattern.
#[derive(Debug)]
enum Engine {
    Automaton(Automaton),
    Backtracker(Box<Backtracker>),
}

/// What is wrong with a pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message} at offset {offset} of the pattern")]
pub struct PatternError {
    /// The fault, as PCRE2 words it.
    pub message: String,
    /// Byte of the pattern near which it was found.
    pub offset: usize,
}

/// The answer to a search.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome<T = ()> {
    /// The pattern matches.
    Match(T),
    /// It does not, or the subject is not UTF-8 under the `u` modifier.
    NoMatch,
    /// The search was given up.
    LimitExceeded(Stage),
}

impl<T> Outcome<T> {
    /// The same outcome with what a match carries put through `with`.
    pub fn map<U>(self, with: impl FnOnce(T) -> U) -> Outcome<U> {
        match self {
            Outcome::Match(value) => Outcome::Match(with(value)),
            Outcome::NoMatch => Outcome::NoMatch,
            Outcome::LimitExceeded(stage) => Outcome::LimitExceeded(stage),
        }
    }
}

/// Where a search was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It would keep an event loop too long: repeat it with [`Regex::captures_heavy`].
    Loop,
    /// It was too much even for [`Regex::captures_heavy`]: an Exception.
    Heavy,
}

/// Longest pattern in bytes. What PCRE2 compiles is limited to about as much.
const MAX_PATTERN: usize = 64 * 1024;
/// An automaton's size in bytes times the length of a subject, above which a search is heavy.
const HEAVY_WORK: usize = 1 << 30;

impl Regex {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// A pattern that PCRE2 refuses, one longer than 64 KiB, or one that is not UTF-8 with `u`.
    pub fn new(pattern: &[u8], modifiers: Modifiers) -> Result<Regex, PatternError> {
        check_length(pattern)?;
        if let Some(regular) = classify(pattern, modifiers) {
            let groups = regular.groups + 1;
            let names = regular.names.clone().into_boxed_slice();
            if let Some(automaton) = Automaton::new(regular) {
                return Ok(Regex {
                    pattern: pattern.into(),
                    modifiers,
                    engine: Engine::Automaton(automaton),
                    groups,
                    names,
                    utf8: modifiers.has(b'u'),
                    shortcut: Shortcut::default(),
                });
            }
        }
        Regex::on_pcre2(pattern, modifiers)
    }

    /// Compiles a pattern in its string form, with modifiers if it is of the form
    /// `/pattern/modifiers` (see [`parse_source`]).
    ///
    /// # Errors
    /// Those of [`Regex::new`].
    pub fn from_source(text: &[u8]) -> Result<Regex, PatternError> {
        let (pattern, modifiers) = parse_source(text);
        Regex::new(pattern, modifiers)
    }

    /// Compiles a pattern for PCRE2 even if it is regular: for tests that compare the engines.
    ///
    /// # Errors
    /// Those of [`Regex::new`].
    pub fn on_pcre2(pattern: &[u8], modifiers: Modifiers) -> Result<Regex, PatternError> {
        check_length(pattern)?;
        let backtracker = Backtracker::new(pattern, modifiers)?;
        Ok(Regex {
            pattern: pattern.into(),
            modifiers,
            groups: backtracker.groups(),
            names: backtracker.names().into(),
            utf8: backtracker.utf8(),
            shortcut: Shortcut::default(),
            engine: Engine::Backtracker(Box::new(backtracker)),
        })
    }

    /// The pattern without slashes and modifiers.
    pub fn pattern(&self) -> &[u8] {
        &self.pattern
    }

    /// The modifiers of the pattern.
    pub fn modifiers(&self) -> Modifiers {
        self.modifiers
    }

    /// The text `/pattern/modifiers`.
    pub fn source(&self) -> Vec<u8> {
        let modifiers = self.modifiers.to_string();
        [b"/", &*self.pattern, b"/", modifiers.as_bytes()].concat()
    }

    /// Number of groups, the whole match included.
    pub fn groups(&self) -> usize {
        self.groups
    }

    /// Names of groups with their numbers, in the order of the numbers. A name that `(?J)` allows
    /// twice is listed twice.
    pub fn names(&self) -> impl Iterator<Item = (&str, usize)> {
        self.names.iter().map(|(name, group)| (&**name, *group))
    }

    /// True if the pattern runs in linear time.
    pub fn is_linear(&self) -> bool {
        matches!(self.engine, Engine::Automaton(_))
    }

    /// Tells whether a search in a subject of this length belongs on a thread of its own.
    ///
    /// For a pattern that is not linear [`Regex::captures_at`] refuses such a subject anyway; for a
    /// linear one the search just takes longer than an event loop should wait.
    pub fn is_heavy(&self, subject_len: usize) -> bool {
        match &self.engine {
            Engine::Automaton(automaton) => {
                subject_len.saturating_mul(automaton.memory()) > HEAVY_WORK
            }
            Engine::Backtracker(_) => subject_len > LOOP_SUBJECT,
        }
    }

    /// Units of fuel, of the order of one instruction of a virtual machine, that a search is worth
    /// that passed over so many bytes, up to the end of its match, of so many that there were. Before
    /// it settles on a match an engine may look further, at all of them in the worst case, and do so
    /// again with the next search.
    pub fn fuel(&self, passed: usize, bytes: usize) -> usize {
        match &self.engine {
            Engine::Automaton(_) => 8 + passed / 8 + bytes / 64,
            Engine::Backtracker(_) => 32 + passed + bytes / 8,
        }
    }

    /// Units of fuel that compiling a pattern of this length is worth.
    pub fn compile_fuel(pattern_len: usize) -> u64 {
        1_000
            + u64::try_from(pattern_len)
                .unwrap_or(u64::MAX)
                .saturating_mul(100)
    }

    /// Bytes of memory that the compiled pattern takes, with an estimate for its searches.
    pub fn memory(&self) -> usize {
        // PCRE2 does not tell through the binding: a block of frames for each form, and code of
        // a few times the size of the pattern.
        let engine = match &self.engine {
            Engine::Automaton(automaton) => automaton.memory() + 16 * 1024,
            Engine::Backtracker(_) => 32 * 1024 + 16 * self.pattern.len() + 64 * self.groups,
        };
        size_of::<Regex>() + self.pattern.len() + 64 * self.names.len() + engine
    }

    /// Tells whether the pattern matches anywhere.
    pub fn is_match(&self, subject: &[u8]) -> Outcome {
        if !self.accepts(subject, 0) {
            return Outcome::NoMatch;
        }
        match &self.engine {
            Engine::Automaton(automaton) => found(automaton.is_match_at(subject, 0)),
            Engine::Backtracker(backtracker) => backtracker.find_at(subject, 0).map(drop),
        }
    }

    /// Finds the first match that starts at or after byte `start`.
    ///
    /// What lies before `start` counts as context for assertions. With `u` a subject is checked
    /// to be UTF-8 when its search begins, at 0; a later `start` is for going on in it.
    pub fn find_at(&self, subject: &[u8], start: usize) -> Outcome<Range<usize>> {
        if !self.accepts(subject, start) {
            return Outcome::NoMatch;
        }
        match &self.engine {
            Engine::Automaton(automaton) => match automaton.find_at(subject, start) {
                Some(range) => Outcome::Match(range),
                None => Outcome::NoMatch,
            },
            Engine::Backtracker(backtracker) => backtracker.find_at(subject, start),
        }
    }

    /// Finds the first match that starts at or after byte `start`, and its groups.
    ///
    /// The rest is as with [`Regex::find_at`].
    pub fn captures_at(&self, subject: &[u8], start: usize, captures: &mut Captures) -> Outcome {
        if !self.accepts(subject, start) {
            captures.reset(self.groups);
            return Outcome::NoMatch;
        }
        match &self.engine {
            Engine::Automaton(automaton) => {
                if !self.utf8
                    && let Some(outcome) = self.shortcut.captures_at(
                        &self.pattern,
                        self.modifiers,
                        subject,
                        start,
                        captures,
                        self.groups,
                    )
                {
                    return outcome;
                }
                found(automaton.captures_at(subject, start, captures))
            }
            Engine::Backtracker(backtracker) => backtracker.captures_at(subject, start, captures),
        }
    }

    /// As [`Regex::captures_at`] with limits a hundred times as high, for a thread that may be
    /// busy for seconds.
    ///
    /// `keep_going` is asked from time to time; when it answers false the search is given up with
    /// [`Stage::Heavy`]. A linear pattern runs to its end without asking.
    pub fn captures_heavy(
        &self,
        subject: &[u8],
        start: usize,
        captures: &mut Captures,
        keep_going: &mut dyn FnMut() -> bool,
    ) -> Outcome {
        match &self.engine {
            Engine::Backtracker(backtracker) if self.accepts(subject, start) => {
                backtracker.captures_heavy(subject, start, captures, keep_going)
            }
            _ => self.captures_at(subject, start, captures),
        }
    }

    /// Where to look for the next match after one that a search from `start` found at `found`.
    ///
    /// That is its end; after an empty match one byte further, with `u` one character. `None` at
    /// the end of the subject.
    pub fn next_start(&self, subject: &[u8], start: usize, found: &Range<usize>) -> Option<usize> {
        // `\K` in a look-behind can end a match where the search began, or before.
        if found.end > found.start && found.end > start {
            return (found.end <= subject.len()).then_some(found.end);
        }
        let mut next = found.end.max(start).checked_add(1)?;
        while self.utf8 && subject.get(next).is_some_and(|byte| byte & 0xc0 == 0x80) {
            next += 1;
        }
        (next <= subject.len()).then_some(next)
    }

    /// Whether a search may start here at all.
    fn accepts(&self, subject: &[u8], start: usize) -> bool {
        if !self.utf8 {
            return start <= subject.len();
        }
        match start {
            0 => std::str::from_utf8(subject).is_ok(),
            _ => {
                start == subject.len() || subject.get(start).is_some_and(|byte| byte & 0xc0 != 0x80)
            }
        }
    }
}

/// Prints `/pattern/modifiers`, with what is not UTF-8 replaced.
impl fmt::Display for Regex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.source()))
    }
}

fn found(yes: bool) -> Outcome {
    if yes {
        Outcome::Match(())
    } else {
        Outcome::NoMatch
    }
}

fn check_length(pattern: &[u8]) -> Result<(), PatternError> {
    if pattern.len() > MAX_PATTERN {
        let message = format!("the pattern is longer than {MAX_PATTERN} bytes");
        return Err(PatternError {
            message,
            offset: MAX_PATTERN,
        });
    }
    Ok(())
}
