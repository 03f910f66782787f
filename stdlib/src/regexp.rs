//! Regular expressions: the `pcre_*` functions and the engine behind `=~` and `#/…/` (language.md 6.6).

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use angarium_regex::{
    Captures, Expansion, Modifiers, Outcome as Search, PatternCache, PatternError, RecentPatterns,
    Regex as Pattern,
};
use angarium_runtime::array::{Array, Key};
use angarium_runtime::host::{CompiledRegex, Matched, RegexEngine, StopOnDrop};
use angarium_runtime::native::{
    Args, ClassDecl, Cx, FnDecl, Heavy, Input, Job, LocalFuture, Outcome, Step, Task, Throw, begin,
};
use angarium_runtime::object::Function;
use angarium_runtime::pieces::{LARGE_BYTES, LongList, LongText, PIECE_BYTES, Pieces};
use angarium_runtime::regex::Regex;
use angarium_runtime::string::{Str, hash_bytes};
use angarium_runtime::value::Value;
use smallvec::smallvec;

use crate::large::{self, Made};
use crate::string;

/// The functions of this family.
pub const FUNCTIONS: &[FnDecl] = &[
    FnDecl::heavy(
        "pcre_match(pattern: Regex|string, subject: string): array",
        "Searches `subject` and gives the match: the whole under 0, each group under its number, a named one under \
         its name too. Groups that took no part are empty strings; without a match the array is empty.",
        pcre_match,
    )
    .example("pcre_match(''^(?<k>\\w+)=(.*)$'', \"a=b\") // [0=>\"a=b\",\"k\"=>\"a\",1=>\"a\",2=>\"b\"]"),
    FnDecl::heavy(
        "pcre_match_all(pattern: Regex|string, subject: string): array",
        "Finds all matches and gives them by group: a list of the whole matches under 0, lists of each group's texts \
         under its number and name. Without a match the array is empty.",
        |cx, args| {
            let searcher = Searcher::new(cx, &args, 0, 1)?;
            begin(MatchAll::new(searcher), cx)
        },
    )
    .example("pcre_match_all(\"[0-9]+\", \"1 and 22\") // [0=>[0=>\"1\",1=>\"22\"]]"),
    FnDecl::plain(
        "pcre_quote(string: string): string",
        "Puts a backslash before each character that means something in a pattern.",
        |cx, args| {
            let bytes = args.bytes(0);
            cx.fits(bytes.len().saturating_mul(2))?;
            if string::is_large(bytes) {
                let quoted = large::coded(string::text(&args, 0), angarium_regex::quote);
                return Err(Throw::pieces(quoted));
            }
            cx.charge(bytes.len() / 16);
            Ok(angarium_regex::quote(bytes).into())
        },
    )
    .example("pcre_quote(\"a.b\") // ''a\\.b''"),
    FnDecl::plain(
        "pcre_compile(string: string): Regex",
        "Compiles a pattern, `/pattern/modifiers` or bare, into a Regex object. A bad pattern raises an Exception.",
        |cx, args| {
            let text = args.get(0).as_str().unwrap_or(&Str::EMPTY);
            let compiled = Compiled::shared(cached(cx, text)?);
            Ok(Regex::value(compiled, cx.library))
        },
    )
    .since(">5.5")
    .example("string(pcre_compile(\"/a/i\")) // \"/a/i\""),
    FnDecl::heavy(
        "pcre_replace(pattern: Regex|string, replace: function|string, subject: string, limit?: number = 0): string",
        "Replaces matches, all or the first `limit`. In a string `$0` is the whole match and `$1` to `$99` its groups; \
         a function is called with the array that pcre_match gives.",
        |cx, args| {
            let searcher = Searcher::new(cx, &args, 0, 2)?;
            let with = match args.get(1) {
                Value::Function(function) => With::Function(Rc::clone(function)),
                template => With::Template(template.as_str().cloned().unwrap_or_default()),
            };
            let limit = usize::try_from(args.integer(3, 0)).ok().filter(|limit| *limit > 0);
            let left = limit.unwrap_or(usize::MAX);
            begin(Replace::new(searcher, with, left), cx)
        },
    )
    .example(
        "pcre_replace(''\\b[a-z]'', function ($m) { return str_upper($m[0]); }, \"hello world\") // \"Hello World\"\n\
         pcre_replace(\"(a)(b)\", ''$2$1'', \"ab\") // \"ba\"",
    ),
];

/// The class of Regex objects; a literal or `pcre_compile` makes them.
pub const REGEX: ClassDecl = ClassDecl {
    constructor: FnDecl::construct(
        "Regex()",
        "A compiled regular expression: `#/pattern/modifiers`, or pcre_compile.",
    ),
    extends: None,
    methods: &[],
    statics: &[],
};

/// The engine for [`angarium_runtime::host::Host::regex`].
pub static ENGINE: Engine = Engine;

/// Bytes of compiled patterns that are kept for strings used as patterns.
const CACHE_BYTES: usize = 16 * 1024 * 1024;

static CACHE: LazyLock<PatternCache> = LazyLock::new(|| PatternCache::new(CACHE_BYTES));

thread_local! {
    static RECENT: RefCell<RecentPatterns> = RefCell::default();
}

/// The compiled form of a pattern's text, and whether it had to be compiled. `hash` is the same for equal texts.
fn stored(text: &[u8], hash: u64) -> Result<(Arc<Pattern>, bool), PatternError> {
    RECENT.with_borrow_mut(|recent| recent.get(&CACHE, text, hash))
}

/// See [`ENGINE`].
pub struct Engine;

/// A compiled pattern as the runtime holds it.
struct Compiled {
    pattern: Arc<Pattern>,
    text: Vec<u8>,
}

impl Compiled {
    fn shared(pattern: Arc<Pattern>) -> Arc<dyn CompiledRegex> {
        let text = [
            b"/",
            pattern.pattern(),
            b"/",
            pattern.modifiers().to_string().as_bytes(),
        ]
        .concat();
        Arc::new(Compiled { pattern, text })
    }
}

fn matched(search: Search) -> Matched {
    match search {
        Search::Match(()) => Matched::Yes,
        Search::NoMatch => Matched::No,
        Search::LimitExceeded(_) => Matched::Limit,
    }
}

impl CompiledRegex for Compiled {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn text(&self) -> &[u8] {
        &self.text
    }

    fn memory(&self) -> usize {
        self.pattern.memory().saturating_add(self.text.len())
    }

    fn is_match(&self, subject: &[u8]) -> Matched {
        if self.pattern.is_heavy(subject.len()) {
            return Matched::Limit;
        }
        matched(self.pattern.is_match(subject))
    }

    fn is_match_heavy(&self, subject: &[u8], go_on: &mut dyn FnMut() -> bool) -> Matched {
        matched(
            self.pattern
                .captures_heavy(subject, 0, &mut Captures::new(), go_on),
        )
    }
}

impl RegexEngine for Engine {
    fn compile(
        &self,
        pattern: &[u8],
        modifiers: &[u8],
    ) -> Result<Arc<dyn CompiledRegex>, (String, usize)> {
        let modifiers = Modifiers::parse(modifiers)
            .ok_or_else(|| ("unknown modifier".to_owned(), pattern.len()))?;
        let pattern =
            Pattern::new(pattern, modifiers).map_err(|error| (error.message, error.offset))?;
        Ok(Compiled::shared(Arc::new(pattern)))
    }

    fn compile_text(&self, text: &[u8]) -> Result<Arc<dyn CompiledRegex>, (String, usize)> {
        let (pattern, compiled) =
            stored(text, hash_bytes(text)).map_err(|error| (error.message, error.offset))?;
        if compiled {
            let fuel = Pattern::compile_fuel(text.len());
            angarium_runtime::memory::owe(usize::try_from(fuel).unwrap_or(usize::MAX));
        }
        Ok(Compiled::shared(pattern))
    }
}

fn bad_pattern(message: &str, offset: usize) -> Throw {
    Throw::error(format!(
        "bad regular expression: {message} at offset {offset}"
    ))
}

fn cached(cx: &mut Cx<'_>, text: &Str) -> Result<Arc<Pattern>, Throw> {
    let (hash, text) = (text.hash_code(), text.as_bytes());
    let (pattern, compiled) =
        stored(text, hash).map_err(|error| bad_pattern(&error.message, error.offset))?;
    if compiled {
        cx.charge(usize::try_from(Pattern::compile_fuel(text.len())).unwrap_or(usize::MAX));
    }
    Ok(pattern)
}

/// The answer of a search on the pool, on its way back.
type Slot = Arc<Mutex<Option<(Search, Captures)>>>;

/// Searches one subject again and again, on the loop or, where that would take long, on the pool.
struct Searcher {
    pattern: Arc<Pattern>,
    subject: Str,
    start: usize,
    captures: Captures,
    /// The subject as the pool's threads hold it, copied once, in pieces.
    shared: Option<Arc<Vec<u8>>>,
    copy: Vec<u8>,
    /// Where the pool leaves its answer; made when it is asked.
    slot: Option<Slot>,
    waiting: bool,
    /// Whether the loop gave the search up already.
    given_up: bool,
}

enum Found {
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
    static SPARE: Cell<Captures> = Cell::default();
}

impl Drop for Searcher {
    fn drop(&mut self) {
        // While the thread ends there is no place for it any more.
        let _ = SPARE.try_with(|spare| spare.set(std::mem::take(&mut self.captures)));
    }
}

impl Searcher {
    fn new(
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
    fn find(&mut self, cx: &mut Cx<'_>) -> Result<Found, Throw> {
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
    fn advance(&mut self) -> bool {
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
    fn group(&self, index: usize) -> &[u8] {
        self.captures
            .bytes(index, self.subject.as_bytes())
            .unwrap_or_default()
    }

    /// Whether the groups of the match are long together.
    fn has_long_groups(&self) -> bool {
        are_long(&self.pattern, self.subject.len(), &self.captures)
    }

    /// The array that `pcre_match` gives.
    fn match_array(&self) -> Value {
        match_array(&self.pattern, self.subject.as_bytes(), &self.captures)
    }
}

/// The pattern of an argument.
fn pattern_of(cx: &mut Cx<'_>, value: &Value) -> Result<Arc<Pattern>, Throw> {
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
fn are_long(pattern: &Pattern, subject_len: usize, captures: &Captures) -> bool {
    let groups = pattern.groups();
    if subject_len.saturating_mul(groups) <= LARGE_BYTES {
        return false;
    }
    let lengths = (0..groups).filter_map(|index| captures.get(index).map(|group| group.len()));
    lengths.fold(0, usize::saturating_add) > LARGE_BYTES
}

/// The texts of the groups of a match, made in pieces.
#[derive(Default)]
struct Groups {
    texts: Vec<Value>,
    /// A long one that is being copied.
    copying: Option<Box<dyn Pieces>>,
}

impl Groups {
    /// Makes a piece of them; whether there are no more.
    fn go_on(&mut self, searcher: &Searcher, cx: &mut Cx<'_>) -> Result<bool, Throw> {
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
    fn array(&mut self, pattern: &Pattern) -> Array {
        by_group(pattern, |index| {
            self.texts
                .get_mut(index)
                .map(Value::take)
                .unwrap_or_default()
        })
    }
}

/// The array that `pcre_match` gives.
fn match_array(pattern: &Pattern, subject: &[u8], captures: &Captures) -> Value {
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
fn by_group(pattern: &Pattern, mut value: impl FnMut(usize) -> Value) -> Array {
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

fn pcre_match(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Heavy, Throw> {
    let pattern = pattern_of(cx, args.get(0))?;
    let subject = args.bytes(1);
    let mut given_up = pattern.is_heavy(subject.len());
    if !given_up {
        cx.charge(pattern.fuel(subject.len(), subject.len()));
        let mut captures = SPARE.take();
        let found = match pattern.captures_at(subject, 0, &mut captures) {
            Search::Match(()) if are_long(&pattern, subject.len(), &captures) => {
                let mut searcher = Searcher::new(cx, &args, 0, 1)?;
                searcher.captures = captures;
                let groups = Some(Groups::default());
                return begin(Match { searcher, groups }, cx);
            }
            Search::Match(()) => Some(match_array(&pattern, subject, &captures)),
            Search::NoMatch => Some(Array::new().into()),
            Search::LimitExceeded(_) => None,
        };
        SPARE.set(captures);
        match found {
            Some(value) => return Ok(Heavy::Done(value)),
            None => given_up = true,
        }
    }
    let mut searcher = Searcher::new(cx, &args, 0, 1)?;
    searcher.given_up = given_up;
    let groups = None;
    begin(Match { searcher, groups }, cx)
}

/// A match that is looked for on the pool, or whose groups are long.
struct Match {
    searcher: Searcher,
    /// The groups of the match, when it is found.
    groups: Option<Groups>,
}

impl Task for Match {
    fn resume(&mut self, cx: &mut Cx<'_>, _: Input) -> Result<Step, Throw> {
        if let Some(groups) = &mut self.groups {
            return Ok(if groups.go_on(&self.searcher, cx)? {
                Step::Done(groups.array(&self.searcher.pattern).into())
            } else {
                Step::Again
            });
        }
        Ok(match self.searcher.find(cx)? {
            Found::Match if self.searcher.has_long_groups() => {
                self.groups = Some(Groups::default());
                Step::Again
            }
            Found::Match => Step::Done(self.searcher.match_array()),
            Found::NoMatch => Step::Done(Array::new().into()),
            Found::Wait(future) => Step::Await(future),
            Found::Later => Step::Again,
        })
    }
}

struct MatchAll {
    searcher: Searcher,
    /// The texts of each group, match by match; empty before the first match.
    groups: Vec<LongList>,
    /// The groups of a match that are long.
    long: Option<Groups>,
    /// The lists of the groups that are put together, when there are no more matches.
    lists: Option<Vec<Value>>,
}

impl MatchAll {
    fn new(searcher: Searcher) -> MatchAll {
        MatchAll {
            searcher,
            groups: Vec::new(),
            long: None,
            lists: None,
        }
    }

    /// Adds the groups of a match; whether they are all there.
    fn add(&mut self, cx: &mut Cx<'_>) -> Result<bool, Throw> {
        let groups = self.searcher.pattern.groups();
        self.groups.resize_with(groups, LongList::default);
        if self.long.is_none() && self.searcher.has_long_groups() {
            self.long = Some(Groups::default());
        }
        match &mut self.long {
            Some(long) => {
                if !long.go_on(&self.searcher, cx)? {
                    return Ok(false);
                }
                for (texts, text) in self.groups.iter_mut().zip(&mut long.texts) {
                    texts.push(text.take());
                }
                self.long = None;
            }
            None => {
                for (index, texts) in self.groups.iter_mut().enumerate() {
                    texts.push_bytes(self.searcher.group(index));
                }
            }
        }
        let count = self.groups.first().map_or(0, LongList::len);
        cx.charge(self.groups.len());
        if count.is_power_of_two() {
            cx.fits_entries(count.saturating_mul(2 * self.groups.len()))?;
        }
        Ok(true)
    }

    /// Puts the lists together, a piece at a time; the array when it is whole.
    fn finish(&mut self, cx: &mut Cx<'_>) -> Option<Array> {
        if self.groups.is_empty() {
            return Some(Array::new());
        }
        let lists = self.lists.get_or_insert_default();
        while let Some(group) = self.groups.get_mut(lists.len()) {
            lists.push(group.finish(false, cx)?);
        }
        Some(by_group(&self.searcher.pattern, |index| {
            lists.get_mut(index).map(Value::take).unwrap_or_default()
        }))
    }
}

impl Task for MatchAll {
    fn resume(&mut self, cx: &mut Cx<'_>, _: Input) -> Result<Step, Throw> {
        while self.lists.is_none() {
            let found = if self.long.is_some() {
                Found::Match
            } else {
                self.searcher.find(cx)?
            };
            let more = match found {
                Found::Wait(future) => return Ok(Step::Await(future)),
                Found::Later => return Ok(Step::Again),
                Found::NoMatch => false,
                Found::Match if !self.add(cx)? => return Ok(Step::Again),
                Found::Match => self.searcher.advance(),
            };
            if !more {
                break;
            }
            if cx.is_due() {
                return Ok(Step::Again);
            }
        }
        let all = self.finish(cx);
        Ok(all.map_or(Step::Again, |all| Step::Done(all.into())))
    }
}

enum With {
    Template(Str),
    Function(Rc<Function>),
}

/// What comes next of a replacement.
enum Stage {
    /// The next match is looked for.
    Search,
    /// What lies before the match is in the result; the place of the match is replaced.
    Place,
    /// The groups for the function are long, and being made.
    Groups(Groups),
    /// The function was called that tells what stands there.
    Answer,
    /// The place of the match is replaced.
    Replaced,
    /// There are no more matches.
    Rest,
    /// All is written.
    Written,
}

struct Replace {
    searcher: Searcher,
    with: With,
    left: usize,
    out: LongText,
    stage: Stage,
    /// A long text that is appended before anything else is done: from where, and up to where.
    appending: Option<(Str, usize, usize)>,
    /// How far the template is written at the place of the match.
    expansion: Expansion,
    /// How much of the subject is in `out`, replaced or not.
    copied: usize,
}

impl Replace {
    fn new(searcher: Searcher, with: With, left: usize) -> Replace {
        Replace {
            searcher,
            with,
            left,
            out: LongText::default(),
            stage: Stage::Search,
            appending: None,
            expansion: Expansion::default(),
            copied: 0,
        }
    }

    /// Appends the subject up to `end`.
    fn copy_to(&mut self, end: usize) {
        let subject = &self.searcher.subject;
        if end.saturating_sub(self.copied) > PIECE_BYTES {
            self.appending = Some((subject.clone(), self.copied, end));
        } else {
            if self.out.is_empty() {
                self.out.part.reserve(subject.len().min(PIECE_BYTES));
            }
            let bytes = subject.as_bytes().get(self.copied..end);
            self.out.part.extend_from_slice(bytes.unwrap_or_default());
        }
        self.copied = end;
    }

    /// Does what comes next, up to what only others can do.
    fn step(&mut self, cx: &mut Cx<'_>) -> Result<Option<Step>, Throw> {
        match &mut self.stage {
            Stage::Search => match self.searcher.find(cx)? {
                Found::Wait(future) => return Ok(Some(Step::Await(future))),
                Found::Later => return Ok(Some(Step::Again)),
                Found::NoMatch => self.stage = Stage::Rest,
                Found::Match => {
                    if let Some(found) = self.searcher.captures.get(0) {
                        self.copy_to(found.start.max(self.copied));
                        self.copied = found.end.max(self.copied);
                    }
                    self.stage = Stage::Place;
                }
            },
            Stage::Place => match &self.with {
                With::Function(_) if self.searcher.has_long_groups() => {
                    self.stage = Stage::Groups(Groups::default());
                }
                With::Function(function) => {
                    self.stage = Stage::Answer;
                    let arguments = smallvec![self.searcher.match_array()];
                    return Ok(Some(Step::Call(Rc::clone(function), arguments)));
                }
                With::Template(template) => {
                    let mut room = PIECE_BYTES;
                    let whole = self.expansion.write(
                        template.as_bytes(),
                        self.searcher.subject.as_bytes(),
                        &self.searcher.captures,
                        &mut self.out.part,
                        &mut room,
                    );
                    cx.charge((PIECE_BYTES - room) / 64);
                    self.out.step(cx)?;
                    if whole {
                        self.expansion = Expansion::default();
                        self.stage = Stage::Replaced;
                    }
                }
            },
            Stage::Groups(groups) => {
                if !groups.go_on(&self.searcher, cx)? {
                    return Ok(Some(Step::Again));
                }
                let array = groups.array(&self.searcher.pattern);
                self.stage = Stage::Answer;
                if let With::Function(function) = &self.with {
                    let arguments = smallvec![array.into()];
                    return Ok(Some(Step::Call(Rc::clone(function), arguments)));
                }
            }
            Stage::Answer => return Err(Throw::error("the function gave no answer")),
            Stage::Replaced => {
                self.left -= 1;
                self.out.step(cx)?;
                self.stage = if self.left > 0 && self.searcher.advance() {
                    Stage::Search
                } else {
                    Stage::Rest
                };
            }
            Stage::Rest => {
                let subject = &self.searcher.subject;
                if self.copied == 0 && self.out.is_empty() {
                    return Ok(Some(Step::Done(Value::String(subject.clone()))));
                }
                self.copy_to(subject.len());
                self.stage = Stage::Written;
            }
            Stage::Written => {
                return Ok(Some(self.out.finish(cx).map_or(Step::Again, Step::Done)));
            }
        }
        Ok(None)
    }
}

impl Task for Replace {
    fn resume(&mut self, cx: &mut Cx<'_>, input: Input) -> Result<Step, Throw> {
        if let (Input::Value(answer), Stage::Answer) = (input, &self.stage) {
            self.stage = Stage::Replaced;
            match answer {
                Value::String(text) if text.len() > PIECE_BYTES => {
                    let end = text.len();
                    self.appending = Some((text, 0, end));
                }
                other => cx.write_str(&mut self.out.part, &other)?,
            }
        }
        let start = self.out.len();
        loop {
            if let Some((text, at, end)) = &mut self.appending {
                let next = (*at + PIECE_BYTES).min(*end);
                let piece = text.as_bytes().get(*at..next).unwrap_or_default();
                cx.append(&mut self.out.part, piece)?;
                self.out.step(cx)?;
                *at = next;
                if next == *end {
                    self.appending = None;
                }
            } else if let Some(step) = self.step(cx)? {
                return Ok(step);
            }
            if cx.is_due() || self.out.len() - start > PIECE_BYTES {
                return Ok(Step::Again);
            }
        }
    }
}
