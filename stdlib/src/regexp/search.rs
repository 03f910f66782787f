//! One search after the other in a subject, on the loop or on the pool, and the groups that they find.

use std::cell::Cell;
use std::sync::{Arc, Mutex, PoisonError};

use angarium_regex::{Captures, Outcome as Search, Regex as Pattern};
use angarium_runtime::array::{Array, Key};
use angarium_runtime::host::StopOnDrop;
use angarium_runtime::native::{Args, Cx, Job, LocalFuture, Outcome, Throw};
use angarium_runtime::pieces::{LARGE_BYTES, PIECE_BYTES, Pieces};
use angarium_runtime::string::Str;
use angarium_runtime::value::Value;

use super::{Compiled, cached};
use crate::large::{self, Made};

/// The answer of a search on the pool, on its way back.
type Slot = Arc<Mutex<Option<(Search, Captures)>>>;

/// Searches one subject again and again, on the loop or, where that would take long, on the pool.
pub(super) struct Searcher {
    pub(super) pattern: Arc<Pattern>,
    pub(super) subject: Str,
    start: usize,
    pub(super) captures: Captures,
    /// The subject as the pool's threads hold it, copied once, in pieces.
    shared: Option<Arc<Vec<u8>>>,
    copy: Vec<u8>,
    /// Where the pool leaves its answer; made when it is asked.
    slot: Option<Slot>,
    waiting: bool,
    /// Whether the loop gave the search up already.
    pub(super) given_up: bool,
}

pub(super) enum Found {
    /// The captures hold a match.
    Match,
    /// There is none, or no more.
    NoMatch,
    /// Resume when this is done.
    Wait(LocalFuture<Outcome>),
    /// Resume after the others.
    Later,
}

thread_local! {
    /// A buffer for captures that waits for the next search.
    pub(super) static SPARE: Cell<Captures> = Cell::default();
}

impl Drop for Searcher {
    fn drop(&mut self) {
        // While the thread ends there is no place for it any more.
        let _ = SPARE.try_with(|spare| spare.set(std::mem::take(&mut self.captures)));
    }
}

impl Searcher {
    pub(super) fn new(
        cx: &mut Cx<'_>,
        args: &Args<'_>,
        pattern: usize,
        subject: usize,
    ) -> Result<Searcher, Throw> {
        Ok(Searcher {
            pattern: pattern_of(cx, args.get(pattern))?,
            subject: args.get(subject).as_str().cloned().unwrap_or_default(),
            start: 0,
            captures: SPARE.take(),
            shared: None,
            copy: Vec::new(),
            slot: None,
            waiting: false,
            given_up: false,
        })
    }

    /// Looks for the next match; after [`Found::Wait`] it is called again.
    pub(super) fn find(&mut self, cx: &mut Cx<'_>) -> Result<Found, Throw> {
        let search = if std::mem::take(&mut self.waiting) {
            let slot = self.slot.get_or_insert_default();
            let answer = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
            let Some((search, captures)) = answer else {
                return Err(Throw::error("the search was interrupted"));
            };
            self.captures = captures;
            cx.charge(self.price(&search));
            search
        } else {
            if std::mem::take(&mut self.given_up) {
                return Ok(self.offload(cx));
            }
            if self.pattern.is_heavy(self.subject.len()) {
                return Ok(self.offload(cx));
            }
            let subject = self.subject.as_bytes();
            let search = self
                .pattern
                .captures_at(subject, self.start, &mut self.captures);
            cx.charge(self.price(&search));
            match search {
                Search::LimitExceeded(_) => return Ok(self.offload(cx)),
                search => search,
            }
        };
        match search {
            Search::Match(()) => Ok(Found::Match),
            Search::NoMatch => Ok(Found::NoMatch),
            Search::LimitExceeded(_) => Err(Throw::error("regex backtrack limit")),
        }
    }

    /// What a search is charged for: what it passed over, and a little of what is left.
    fn price(&self, search: &Search) -> usize {
        let rest = self.subject.len().saturating_sub(self.start);
        let passed = match search {
            Search::Match(()) => self.captures.get(0).map(|found| found.end),
            Search::NoMatch | Search::LimitExceeded(_) => None,
        };
        let passed = passed.map_or(rest, |end| end.saturating_sub(self.start));
        self.pattern.fuel(passed, rest)
    }

    /// Moves on behind the match; false at the end of the subject.
    pub(super) fn advance(&mut self) -> bool {
        let next = self.captures.get(0).and_then(|found| {
            self.pattern
                .next_start(self.subject.as_bytes(), self.start, &found)
        });
        match next {
            Some(next) => {
                self.start = next;
                true
            }
            None => false,
        }
    }

    fn offload(&mut self, cx: &mut Cx<'_>) -> Found {
        let Some(shared) = &self.shared else {
            let (at, bytes) = (self.copy.len(), self.subject.as_bytes());
            let end = bytes.len().min(at + PIECE_BYTES);
            let piece = bytes.get(at..end).unwrap_or_default();
            cx.charge(piece.len() / 64);
            self.copy.reserve_exact(bytes.len() - at);
            self.copy.extend_from_slice(piece);
            if end == bytes.len() {
                self.shared = Some(Arc::new(std::mem::take(&mut self.copy)));
            }
            self.given_up = true;
            return Found::Later;
        };
        let subject = Arc::clone(shared);
        let (pattern, slot, start) = (
            Arc::clone(&self.pattern),
            Arc::clone(self.slot.get_or_insert_default()),
            self.start,
        );
        let stop = StopOnDrop::default();
        let mut go_on = stop.go_on();
        let job: Job = Box::new(move || {
            let mut captures = Captures::new();
            let search = pattern.captures_heavy(&subject, start, &mut captures, &mut go_on);
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some((search, captures));
            Box::new(|_| Ok(Value::None))
        });
        self.waiting = true;
        let run = cx.host.pool.run(job);
        // A script that is ended while it waits drops the future, and the search with it.
        Found::Wait(Box::pin(async move {
            let _stop = stop;
            let _finish = run.await;
            Ok(Value::None)
        }))
    }

    /// The bytes of a group; a group that took no part is empty.
    pub(super) fn group(&self, index: usize) -> &[u8] {
        self.captures
            .bytes(index, self.subject.as_bytes())
            .unwrap_or_default()
    }

    /// Whether the groups of the match are long together.
    pub(super) fn has_long_groups(&self) -> bool {
        are_long(&self.pattern, self.subject.len(), &self.captures)
    }

    /// The array that `pcre_match` gives.
    pub(super) fn match_array(&self) -> Value {
        match_array(&self.pattern, self.subject.as_bytes(), &self.captures)
    }
}

/// The pattern of an argument.
pub(super) fn pattern_of(cx: &mut Cx<'_>, value: &Value) -> Result<Arc<Pattern>, Throw> {
    match value {
        Value::Object(object) => object
            .as_regex()
            .and_then(|regex| regex.compiled.as_any().downcast_ref::<Compiled>())
            .map(|compiled| Arc::clone(&compiled.pattern))
            .ok_or_else(|| Throw::error("a Regex or string is needed")),
        text => cached(cx, text.as_str().unwrap_or(&Str::EMPTY)),
    }
}

/// Whether the groups of a match are long together: they may lie in each other.
pub(super) fn are_long(pattern: &Pattern, subject_len: usize, captures: &Captures) -> bool {
    let groups = pattern.groups();
    if subject_len.saturating_mul(groups) <= LARGE_BYTES {
        return false;
    }
    let lengths = (0..groups).filter_map(|index| captures.get(index).map(|group| group.len()));
    lengths.fold(0, usize::saturating_add) > LARGE_BYTES
}

/// The texts of the groups of a match, made in pieces.
#[derive(Default)]
pub(super) struct Groups {
    pub(super) texts: Vec<Value>,
    /// A long one that is being copied.
    copying: Option<Box<dyn Pieces>>,
}

impl Groups {
    /// Makes a piece of them; whether there are no more.
    pub(super) fn go_on(&mut self, searcher: &Searcher, cx: &mut Cx<'_>) -> Result<bool, Throw> {
        if let Some(work) = &mut self.copying {
            if let Some(text) = work(cx)? {
                self.texts.push(text);
                self.copying = None;
            }
            return Ok(false);
        }
        let index = self.texts.len();
        if index >= searcher.pattern.groups() {
            return Ok(true);
        }
        cx.charge(1);
        let group = searcher.captures.get(index).unwrap_or(0..0);
        match large::part(&searcher.subject, group.start, group.end, cx)? {
            Made::Now(text) => self.texts.push(text),
            Made::Later(work) => self.copying = Some(work),
        }
        Ok(false)
    }

    /// The array that `pcre_match` gives.
    pub(super) fn array(&mut self, pattern: &Pattern) -> Array {
        by_group(pattern, |index| {
            self.texts
                .get_mut(index)
                .map(Value::take)
                .unwrap_or_default()
        })
    }
}

/// The array that `pcre_match` gives.
pub(super) fn match_array(pattern: &Pattern, subject: &[u8], captures: &Captures) -> Value {
    let group = |index| captures.bytes(index, subject).unwrap_or_default();
    if pattern.names().next().is_some() {
        return by_group(pattern, |index| Value::bytes(group(index))).into();
    }
    let mut list = Vec::with_capacity(pattern.groups());
    for index in 0..pattern.groups() {
        Value::push_bytes(&mut list, group(index));
    }
    Array::from_list(list).into()
}

/// An array with an entry for each group, a named one first under its name.
pub(super) fn by_group(pattern: &Pattern, mut value: impl FnMut(usize) -> Value) -> Array {
    if pattern.names().next().is_none() {
        return Array::from_list((0..pattern.groups()).map(value).collect());
    }
    let mut array = Array::new();
    for index in 0..pattern.groups() {
        let value = value(index);
        if let Some((name, _)) = pattern.names().find(|(_, of)| *of == index) {
            array.insert(Key::from(name), value.clone());
        }
        array.insert(Key::from(index), value);
    }
    array
}
