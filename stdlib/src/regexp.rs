//! Regular expressions: the `pcre_*` functions and the engine behind `=~` and `#/…/` (language.md 6.6).

mod search;

use std::any::Any;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, LazyLock};

use angarium_regex::{
    Captures, Expansion, Modifiers, Outcome as Search, PatternCache, PatternError, RecentPatterns,
    Regex as Pattern,
};
use angarium_runtime::array::Array;
use angarium_runtime::host::{CompiledRegex, Matched, RegexEngine};
use angarium_runtime::native::{
    Args, ClassDecl, Cx, FnDecl, Heavy, Input, Step, Task, Throw, begin,
};
use angarium_runtime::object::Function;
use angarium_runtime::pieces::{LongList, LongText, PIECE_BYTES};
use angarium_runtime::regex::Regex;
use angarium_runtime::string::{Str, hash_bytes};
use angarium_runtime::value::Value;
use smallvec::smallvec;

use crate::{large, string};
use search::{Found, Groups, SPARE, Searcher, are_long, by_group, match_array, pattern_of};

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
