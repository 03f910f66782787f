//! Patterns on PCRE2, under limits.
//!
//! PCRE2 limits the steps of a search for each start of a match anew, and does not count what a
//! single step reads. So that a search on a caller's event loop takes some ten milliseconds at the
//! very worst, subjects there are short, and the longer the subject the lower the limit: one
//! compiled form of the pattern for each of [`LOOP_STAGES`], made when first used. A heavy search
//! runs in windows of start positions, each with one count of steps for all of its starts; between
//! two windows the caller says whether to go on.

use std::ops::Range;
use std::sync::{Mutex, OnceLock};

use pcre2::bytes::{CaptureLocations, Regex, RegexBuilder};

use crate::captures::Captures;
use crate::modifiers::Modifiers;
use crate::pattern_text::{Limits, PatternText};
use crate::regex::{Outcome, PatternError, Stage};

/// A compiled pattern.
#[derive(Debug)]
pub(crate) struct Backtracker {
    text: PatternText,
    modifiers: Modifiers,
    stages: [OnceLock<Option<Compiled>>; LOOP_STAGES.len()],
    window: OnceLock<Option<Compiled>>,
    /// Number of groups, the whole match included.
    groups: usize,
    names: Vec<(Box<str>, usize)>,
}

/// Longest subject in bytes, and steps for each start of a match in such a subject.
const LOOP_STAGES: [(usize, u32); 4] = [
    (128, 10_000),
    (1024, 1_200),
    (4096, 300),
    (LOOP_SUBJECT, 80),
];
/// Longest subject in bytes that is searched on the event loop.
pub(crate) const LOOP_SUBJECT: usize = 16 * 1024;
/// KiB of heap for a search on the event loop.
const LOOP_HEAP: u32 = 4_000;
/// Limits of one window of a heavy search.
const HEAVY: Limits = Limits {
    steps: 10_000_000,
    heap: 20_000,
};
/// Bytes that the steps of one window may read where each may read the whole subject: some seconds' work.
const SKIMMED: usize = 1 << 33;
/// Fewest steps of such a window.
const FEWEST: usize = 256;
/// Start positions in a window after its first.
const WINDOW: u16 = 511;
/// Match blocks that a compiled form keeps, one for each thread that searches at once.
const KEPT_BLOCKS: usize = 4;

/// One form of the pattern, with the match blocks that wait for the next search.
pub(crate) struct Compiled {
    regex: Regex,
    #[expect(
        clippy::vec_box,
        reason = "a block of several words is taken out and put back for each search"
    )]
    blocks: Mutex<Vec<Box<CaptureLocations>>>,
}

impl Backtracker {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// What PCRE2 finds wrong with it, and where.
    pub(crate) fn new(pattern: &[u8], modifiers: Modifiers) -> Result<Backtracker, PatternError> {
        let text = PatternText::new(pattern, modifiers)?;
        let limits = loop_limits(0);
        let compiled = Compiled::new(&text.limited(limits), &text, modifiers)
            .map_err(|error| pattern_error(&error, |at| text.source_offset(limits, at)))?;
        let groups = compiled.regex.captures_len();
        let names = compiled
            .regex
            .capture_names()
            .iter()
            .enumerate()
            .filter_map(|(group, name)| Some((name.clone()?.into_boxed_str(), group)))
            .collect();
        let stages = [const { OnceLock::new() }; LOOP_STAGES.len()];
        if let Some(first) = stages.first() {
            // The cell is new, so it is empty.
            let _ = first.set(Some(compiled));
        }
        Ok(Backtracker {
            text,
            modifiers,
            stages,
            window: OnceLock::new(),
            groups,
            names,
        })
    }

    /// Number of groups, the whole match included.
    pub(crate) fn groups(&self) -> usize {
        self.groups
    }

    /// Named groups with their numbers, in the order of the numbers.
    pub(crate) fn names(&self) -> &[(Box<str>, usize)] {
        &self.names
    }

    /// True if pattern and subject are UTF-8.
    pub(crate) fn utf8(&self) -> bool {
        self.text.utf8
    }

    /// Finds the first match that starts at or after `start`, if that takes little time.
    pub(crate) fn captures_at(
        &self,
        subject: &[u8],
        start: usize,
        captures: &mut Captures,
    ) -> Outcome {
        captures.reset(self.groups);
        self.search(subject, start, Some(captures)).map(drop)
    }

    /// As [`Backtracker::captures_at`] without the groups.
    pub(crate) fn find_at(&self, subject: &[u8], start: usize) -> Outcome<Range<usize>> {
        self.search(subject, start, None)
    }

    fn search(
        &self,
        subject: &[u8],
        start: usize,
        captures: Option<&mut Captures>,
    ) -> Outcome<Range<usize>> {
        let place = LOOP_STAGES
            .iter()
            .position(|(longest, _)| subject.len() <= *longest);
        let Some((place, stage)) = place.and_then(|p| Some((p, self.stages.get(p)?))) else {
            return Outcome::LimitExceeded(Stage::Loop);
        };
        let compiled = stage.get_or_init(|| {
            Compiled::new(
                &self.text.limited(loop_limits(place)),
                &self.text,
                self.modifiers,
            )
            .ok()
        });
        match compiled {
            Some(compiled) => compiled.search(subject, start, captures, Stage::Loop),
            None => Outcome::LimitExceeded(Stage::Loop),
        }
    }

    /// Finds the first match that starts at or after `start`, on a thread that has time.
    ///
    /// `keep_going` is asked before each window of start positions.
    pub(crate) fn captures_heavy(
        &self,
        subject: &[u8],
        start: usize,
        captures: &mut Captures,
        keep_going: &mut dyn FnMut() -> bool,
    ) -> Outcome {
        captures.reset(self.groups);
        let compile = |limits| {
            let text = self.text.window(limits, WINDOW)?;
            Compiled::new(&text, &self.text, self.modifiers).ok()
        };
        // Nothing can stop PCRE2 within a window, so that a window must not take long.
        let steps = SKIMMED / subject.len().max(1);
        let own = if self.text.skims && steps < HEAVY.steps as usize {
            compile(Limits {
                steps: u32::try_from(steps.max(FEWEST)).unwrap_or(HEAVY.steps),
                ..HEAVY
            })
        } else {
            None
        };
        let window = match &own {
            Some(own) => Some(own),
            None => self.window.get_or_init(|| compile(HEAVY)).as_ref(),
        };
        let Some(window) = window else {
            return self.captures_whole(subject, start, captures, keep_going);
        };
        let mut start = start;
        loop {
            if !keep_going() {
                return Outcome::LimitExceeded(Stage::Heavy);
            }
            match window.search(subject, start, Some(captures), Stage::Heavy) {
                Outcome::NoMatch => {}
                found => return found.map(drop),
            }
            match self.after_window(subject, start) {
                Some(next) => start = next,
                None => return Outcome::NoMatch,
            }
        }
    }

    /// The first start position that the window at `start` leaves out.
    fn after_window(&self, subject: &[u8], start: usize) -> Option<usize> {
        let starts = usize::from(WINDOW) + 1;
        if !self.text.utf8 {
            return start
                .checked_add(starts)
                .filter(|next| *next <= subject.len());
        }
        let rest = std::str::from_utf8(subject.get(start..)?).ok()?;
        let ends = rest.char_indices().map(|(at, _)| at).chain([rest.len()]);
        ends.skip(starts).map(|at| start + at).next()
    }

    /// A heavy search in one go, for patterns that would notice windows. The steps for each start
    /// go down with the length of the subject: nothing can stop the search once it has begun.
    fn captures_whole(
        &self,
        subject: &[u8],
        start: usize,
        captures: &mut Captures,
        keep_going: &mut dyn FnMut() -> bool,
    ) -> Outcome {
        if !keep_going() {
            return Outcome::LimitExceeded(Stage::Heavy);
        }
        let kilobytes = u32::try_from(subject.len() / 1024)
            .unwrap_or(u32::MAX)
            .max(1);
        let limits = Limits {
            steps: (HEAVY.steps / kilobytes / if self.text.skims { 64 } else { 4 }).max(256),
            ..HEAVY
        };
        match Compiled::new(&self.text.limited(limits), &self.text, self.modifiers) {
            Ok(compiled) => compiled
                .search(subject, start, Some(captures), Stage::Heavy)
                .map(drop),
            Err(_) => Outcome::LimitExceeded(Stage::Heavy),
        }
    }
}

impl Compiled {
    pub(crate) fn new(
        text: &str,
        pattern: &PatternText,
        modifiers: Modifiers,
    ) -> Result<Compiled, pcre2::Error> {
        Compiled::with(text, pattern, modifiers, false)
    }

    /// As [`Compiled::new`], as machine code where the system allows it: for patterns that are known to be harmless, since
    /// machine code counts steps in its own way. Its stack is 32 KiB.
    pub(crate) fn quick(
        text: &str,
        pattern: &PatternText,
        modifiers: Modifiers,
    ) -> Result<Compiled, pcre2::Error> {
        Compiled::with(text, pattern, modifiers, true)
    }

    fn with(
        text: &str,
        pattern: &PatternText,
        modifiers: Modifiers,
        machine_code: bool,
    ) -> Result<Compiled, pcre2::Error> {
        let regex = RegexBuilder::new()
            .jit_if_available(machine_code)
            .caseless(modifiers.has(b'i'))
            .multi_line(modifiers.has(b'm'))
            .dotall(modifiers.has(b's'))
            .extended(modifiers.has(b'x'))
            .utf(pattern.utf8)
            .build(text)?;
        Ok(Compiled {
            regex,
            blocks: Mutex::new(Vec::new()),
        })
    }

    pub(crate) fn search(
        &self,
        subject: &[u8],
        start: usize,
        captures: Option<&mut Captures>,
        stage: Stage,
    ) -> Outcome<Range<usize>> {
        if start > subject.len() {
            return Outcome::NoMatch;
        }
        let kept = self.blocks.lock().ok().and_then(|mut blocks| blocks.pop());
        let mut block = kept.unwrap_or_else(|| Box::new(self.regex.capture_locations()));
        match self.regex.captures_read_at(&mut block, subject, start) {
            Ok(None) => {
                self.keep(block, subject);
                Outcome::NoMatch
            }
            Ok(Some(found)) => {
                if let Some(captures) = captures {
                    for group in 0..block.len() {
                        if let Some((from, to)) = block.get(group) {
                            captures.set(group, ordered(from, to, subject.len()));
                        }
                    }
                }
                self.keep(block, subject);
                Outcome::Match(ordered(found.start(), found.end(), subject.len()))
            }
            // The block may have grown up to the heap limit: it is dropped.
            Err(error) if is_bad_subject(error.code()) => Outcome::NoMatch,
            Err(_) => Outcome::LimitExceeded(stage),
        }
    }

    /// Keeps a match block for the next search. Its memory grows with the depth of the search, which
    /// grows with the subject, so only blocks of short subjects are kept.
    fn keep(&self, block: Box<CaptureLocations>, subject: &[u8]) {
        if subject.len() <= LOOP_SUBJECT
            && let Ok(mut blocks) = self.blocks.lock()
            && blocks.len() < KEPT_BLOCKS
        {
            blocks.push(block);
        }
    }
}

impl std::fmt::Debug for Compiled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.regex.fmt(f)
    }
}

fn loop_limits(place: usize) -> Limits {
    let steps = LOOP_STAGES.get(place).map_or(0, |(_, steps)| *steps);
    Limits {
        steps,
        heap: LOOP_HEAP,
    }
}

/// A range in order and within the subject: `\K` in a subroutine can put the start after the end.
fn ordered(from: usize, to: usize, length: usize) -> Range<usize> {
    let to = to.min(length);
    from.min(to)..to
}

/// Whether PCRE2 refused the subject, or the place to start in it, as UTF-8: the codes of
/// `PCRE2_ERROR_UTF8_ERR21` to `PCRE2_ERROR_UTF8_ERR1` and `PCRE2_ERROR_BADUTFOFFSET`.
fn is_bad_subject(code: i32) -> bool {
    matches!(code, -23..=-3 | -36)
}

/// PCRE2's message without the binding's preface.
fn pattern_error(error: &pcre2::Error, source: impl Fn(usize) -> usize) -> PatternError {
    let text = error.to_string();
    let offset = error.offset().unwrap_or(0);
    let preface = format!("offset {offset}: ");
    let message = text
        .split_once(&preface)
        .map_or(text.as_str(), |(_, message)| message);
    PatternError {
        message: message.to_owned(),
        offset: source(offset),
    }
}
