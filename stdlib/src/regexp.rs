//! Regular expressions: the `pcre_*` functions and the engine behind `=~` and `#/…/` (language.md 6.6).

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use angarium_regex::{
    Captures, Modifiers, Outcome as Search, PatternCache, PatternError, RecentPatterns,
    Regex as Pattern,
};
use angarium_runtime::array::{Array, Key};
use angarium_runtime::host::{CompiledRegex, Matched, RegexEngine, StopOnDrop};
use angarium_runtime::native::{
    Args, ClassDecl, Cx, FnDecl, Heavy, Input, Job, LocalFuture, Outcome, Step, Task, Throw, begin,
};
use angarium_runtime::object::Function;
use angarium_runtime::pieces::LongText;
use angarium_runtime::regex::Regex;
use angarium_runtime::string::{Str, hash_bytes};
use angarium_runtime::value::Value;
use smallvec::smallvec;

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
            begin(MatchAll { searcher, groups: Vec::new() }, cx)
        },
    )
    .example("pcre_match_all(\"[0-9]+\", \"1 and 22\") // [0=>[0=>\"1\",1=>\"22\"]]"),
    FnDecl::plain(
        "pcre_quote(string: string): string",
        "Puts a backslash before each character that means something in a pattern.",
        |cx, args| {
            cx.reserve(args.bytes(0).len().saturating_mul(2))?;
            Ok(angarium_regex::quote(args.bytes(0)).into())
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
            begin(Replace { searcher, with, left, out: LongText::default(), whole: false, copied: 0 }, cx)
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
    /// The subject as the pool's threads hold it, copied once.
    shared: Option<Arc<[u8]>>,
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
            search
        } else {
            if std::mem::take(&mut self.given_up) {
                return Ok(self.offload(cx));
            }
            let rest = self.subject.len().saturating_sub(self.start);
            if self.pattern.is_heavy(self.subject.len()) {
                cx.charge(self.pattern.fuel(rest, rest));
                return Ok(self.offload(cx));
            }
            let search =
                self.pattern
                    .captures_at(self.subject.as_bytes(), self.start, &mut self.captures);
            let passed = match search {
                Search::Match(()) => {
                    let found = self.captures.get(0);
                    found.map_or(rest, |found| found.end.saturating_sub(self.start))
                }
                Search::NoMatch | Search::LimitExceeded(_) => rest,
            };
            cx.charge(self.pattern.fuel(passed, rest));
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
        let subject = Arc::clone(
            self.shared
                .get_or_insert_with(|| self.subject.as_bytes().into()),
        );
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
    begin(Match(searcher), cx)
}

/// A match that is looked for on the pool.
struct Match(Searcher);

impl Task for Match {
    fn resume(&mut self, cx: &mut Cx<'_>, _: Input) -> Result<Step, Throw> {
        Ok(match self.0.find(cx)? {
            Found::Match => Step::Done(self.0.match_array()),
            Found::NoMatch => Step::Done(Array::new().into()),
            Found::Wait(future) => Step::Await(future),
        })
    }
}

struct MatchAll {
    searcher: Searcher,
    /// The texts of each group, match by match; empty before the first match.
    groups: Vec<Vec<Value>>,
}

impl Task for MatchAll {
    fn resume(&mut self, cx: &mut Cx<'_>, _: Input) -> Result<Step, Throw> {
        loop {
            match self.searcher.find(cx)? {
                Found::Wait(future) => return Ok(Step::Await(future)),
                Found::Match => {
                    let groups = self.searcher.pattern.groups();
                    self.groups.resize_with(groups, Vec::new);
                    for (index, texts) in self.groups.iter_mut().enumerate() {
                        Value::push_bytes(texts, self.searcher.group(index));
                    }
                    let count = self.groups.first().map_or(0, Vec::len);
                    cx.charge(self.groups.len());
                    if count.is_power_of_two() {
                        cx.fits_entries(count.saturating_mul(2 * self.groups.len()))?;
                    }
                    if self.searcher.advance() {
                        if cx.is_due() {
                            return Ok(Step::Again);
                        }
                        continue;
                    }
                }
                Found::NoMatch => {}
            }
            if self.groups.first().is_none_or(Vec::is_empty) {
                return Ok(Step::Done(Array::new().into()));
            }
            let groups = &mut self.groups;
            let all = by_group(&self.searcher.pattern, |index| {
                Array::from_list(std::mem::take(&mut groups[index])).into()
            });
            return Ok(Step::Done(all.into()));
        }
    }
}

enum With {
    Template(Str),
    Function(Rc<Function>),
}

struct Replace {
    searcher: Searcher,
    with: With,
    left: usize,
    out: LongText,
    /// Whether only the parts of `out` are still to be put together.
    whole: bool,
    /// How much of the subject is in `out`, replaced or not.
    copied: usize,
}

impl Replace {
    /// Appends what lies before the match; the place of the match is replaced next.
    fn copy_to_match(&mut self) {
        if let Some(found) = self.searcher.captures.get(0) {
            let start = found.start.max(self.copied);
            if self.out.is_empty() {
                self.out
                    .part
                    .reserve(self.searcher.subject.len().min(1 << 16));
            }
            self.out
                .part
                .extend_from_slice(&self.searcher.subject.as_bytes()[self.copied..start]);
            self.copied = found.end.max(start);
        }
    }

    fn next(&mut self, cx: &mut Cx<'_>) -> Result<bool, Throw> {
        self.left -= 1;
        self.out.step(cx)?;
        Ok(self.left > 0 && self.searcher.advance())
    }

    fn done(&mut self, cx: &mut Cx<'_>) -> Step {
        if !std::mem::replace(&mut self.whole, true) {
            if self.copied == 0 && self.out.is_empty() {
                return Step::Done(Value::String(self.searcher.subject.clone()));
            }
            let rest = self.searcher.subject.as_bytes().get(self.copied..);
            self.out.part.extend_from_slice(rest.unwrap_or_default());
        }
        self.out.finish(cx).map_or(Step::Again, Step::Done)
    }
}

impl Task for Replace {
    fn resume(&mut self, cx: &mut Cx<'_>, input: Input) -> Result<Step, Throw> {
        if self.whole {
            return Ok(self.done(cx));
        }
        if let (Input::Value(answer), false) = (input, self.searcher.waiting) {
            cx.write_str(&mut self.out.part, &answer)?;
            if !self.next(cx)? {
                return Ok(self.done(cx));
            }
        }
        loop {
            match self.searcher.find(cx)? {
                Found::Wait(future) => return Ok(Step::Await(future)),
                Found::NoMatch => return Ok(self.done(cx)),
                Found::Match => {}
            }
            self.copy_to_match();
            match &self.with {
                With::Function(function) => {
                    let arguments = smallvec![self.searcher.match_array()];
                    return Ok(Step::Call(Rc::clone(function), arguments));
                }
                With::Template(template) => {
                    let subject = self.searcher.subject.as_bytes();
                    let captures = &self.searcher.captures;
                    let more = angarium_regex::expanded_len(template.as_bytes(), subject, captures);
                    cx.fits(self.out.len().saturating_add(more))?;
                    // Fresh memory takes longer than its bytes.
                    cx.charge(more / 16);
                    angarium_regex::expand(
                        template.as_bytes(),
                        subject,
                        captures,
                        &mut self.out.part,
                    );
                }
            }
            if !self.next(cx)? {
                return Ok(self.done(cx));
            }
            if cx.is_due() {
                return Ok(Step::Again);
            }
        }
    }
}
