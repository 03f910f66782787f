//! How built-in functions and classes are declared and called: the one table (docs/decisions/0001).
//!
//! A [`FnDecl`] holds everything that is to be said of a function: its signature in the notation of the
//! reference, its options, its doc text and the Rust function. From the table come the checks of the compiler and
//! the linter, REPL help and completion, the reference manual and the listing `angarium functions --json`.
//! Arguments are checked and converted by the signature before the Rust function sees them (language.md 10.4), and
//! missing optional ones are left out of [`Args`].
//!
//! Three kinds ([`Imp`]): *plain* functions are bounded and run in the VM's loop; *waiting* ones return a future
//! and suspend the script; *heavy* ones run in the loop below a size and on the host's thread pool, or step by step, above it. A
//! function that calls back into the script is a *task*: a state machine that asks for one call at a time, so
//! that the callback may suspend and no Rust frame lies between two script frames.

use std::any::Any;
use std::future::Future;
use std::pin::Pin as StdPin;
use std::rc::Rc;
use std::sync::Arc;

use smallvec::SmallVec;

use angarium_lang::builtins::Signature;

use crate::host::Host;
use crate::library::Library;
use crate::object::{Function, Object};
use crate::value::Value;

/// The result of most natives.
pub type Outcome = Result<Value, Throw>;

/// A future of this thread.
pub type LocalFuture<T> = StdPin<Box<dyn Future<Output = T>>>;

/// Work for the thread pool; gives what the worker thread then turns into a value.
pub type Job = Box<dyn FnOnce() -> Finish + Send>;

/// Turns the result of a [`Job`] into a value, back on the worker thread.
pub type Finish = Box<dyn FnOnce(&mut Cx<'_>) -> Outcome + Send>;

/// What ends a call other than a value. One word wide: results stay small.
#[derive(Debug)]
pub struct Throw(Box<Thrown>);

/// See [`Throw`].
#[derive(Debug)]
pub enum Thrown {
    /// A value thrown by a script.
    Value(Value),
    /// An error of the language or of a built-in: becomes an Exception with the place of the call.
    Error(String),
    /// The script ends here by its own wish (`Accept()`, `Try()` …); it cannot be caught.
    End(Box<dyn Any>),
    /// The host's limits on time, fuel or memory; it cannot be caught.
    Limit(&'static str),
    /// No end at all: what was asked for is much work, and goes on as a task, in pieces.
    Later(Later),
}

/// Work that is too much for one step.
pub struct Later {
    pub(crate) task: Box<dyn Task>,
    /// Whether the instruction is done again when the task has prepared what it needs; otherwise the task's value is its
    /// result.
    pub(crate) again: bool,
}

impl Later {
    /// Does the work at once.
    pub(crate) fn finish(mut self, cx: &mut Cx<'_>) -> Result<(), Throw> {
        loop {
            match self.task.resume(cx, Input::Start)? {
                Step::Again => cx.spend(0)?,
                Step::Done(_) => return Ok(()),
                Step::Call(..) | Step::CallRest(..) | Step::Await(_) => {
                    return Err(Throw::error("the work was interrupted"));
                }
            }
        }
    }
}

impl std::fmt::Debug for Later {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Later")
    }
}

impl Throw {
    /// An Exception with this message and the place of the call.
    #[cold]
    #[must_use]
    pub fn error(message: impl Into<String>) -> Throw {
        Throw(Box::new(Thrown::Error(message.into())))
    }

    /// A thrown value.
    #[cold]
    #[must_use]
    pub fn value(value: Value) -> Throw {
        Throw(Box::new(Thrown::Value(value)))
    }

    /// Ends the script with `verdict` for the host.
    #[cold]
    #[must_use]
    pub fn end(verdict: impl Any) -> Throw {
        Throw(Box::new(Thrown::End(Box::new(verdict))))
    }

    /// Ends the script because `what` ran out.
    #[cold]
    #[must_use]
    pub fn limit(what: &'static str) -> Throw {
        Throw(Box::new(Thrown::Limit(what)))
    }

    /// Goes on with a call as a task, in pieces between which others have their turn: for a plain built-in that sees that
    /// it was given much to do. The task's value is the result of the call.
    #[cold]
    #[must_use]
    pub fn later(task: impl Task + 'static) -> Throw {
        let task = Box::new(task);
        Throw(Box::new(Thrown::Later(Later { task, again: false })))
    }

    /// As [`Throw::later`] for a task that has been made.
    #[cold]
    pub(crate) fn goes_on(task: Box<dyn Task>) -> Throw {
        Throw(Box::new(Thrown::Later(Later { task, again: false })))
    }

    /// As [`Throw::later`] for an instruction: it is done again when the task is done.
    #[cold]
    pub(crate) fn again(task: impl Task + 'static) -> Throw {
        let task = Box::new(task);
        Throw(Box::new(Thrown::Later(Later { task, again: true })))
    }

    /// What was thrown.
    #[must_use]
    pub fn into_inner(self) -> Thrown {
        *self.0
    }
}

impl From<Thrown> for Throw {
    fn from(thrown: Thrown) -> Throw {
        Throw(Box::new(thrown))
    }
}

/// The arguments of one call, already checked and converted by the signature.
pub struct Args<'a> {
    /// The object of a method call.
    pub this: Option<&'a Rc<Object>>,
    /// The arguments given; optional ones may be missing at the end.
    pub values: &'a mut [Value],
}

impl Args<'_> {
    /// Argument `index`, or none when it was not given.
    #[inline]
    #[must_use]
    pub fn get(&self, index: usize) -> &Value {
        const NONE: &Value = &Value::None;
        self.values.get(index).unwrap_or(NONE)
    }

    /// Whether argument `index` was given.
    #[must_use]
    pub fn has(&self, index: usize) -> bool {
        index < self.values.len()
    }

    /// Takes argument `index`, so that a sole holder can change it in place.
    #[inline]
    pub fn take(&mut self, index: usize) -> Value {
        self.values.get_mut(index).map_or(Value::None, Value::take)
    }

    /// The bytes of a string argument; empty when it was not given.
    #[inline]
    #[must_use]
    pub fn bytes(&self, index: usize) -> &[u8] {
        self.get(index).as_bytes().unwrap_or(b"")
    }

    /// A number argument, or `default` when it was not given.
    #[inline]
    #[must_use]
    pub fn number(&self, index: usize, default: f64) -> f64 {
        self.get(index).as_number().unwrap_or(default)
    }

    /// A number argument as an integer: truncated, NaN gives 0, saturated to 64 bits.
    #[inline]
    #[must_use]
    pub fn integer(&self, index: usize, default: i64) -> i64 {
        self.get(index)
            .as_number()
            .map_or(default, |number| number as i64)
    }

    /// The options array at `index`.
    #[must_use]
    pub fn options(&self, index: usize) -> Options<'_> {
        Options {
            array: self.get(index).as_array(),
        }
    }

    /// The data of the object of a method call.
    ///
    /// # Errors
    /// An Exception when the object is of another class.
    pub fn this<T: 'static>(&self) -> Result<&T, Throw> {
        self.this
            .and_then(|object| object.downcast())
            .ok_or_else(|| Throw::error("method called on a wrong object"))
    }
}

/// An options array, checked against the declared options before the native runs: a key that holds `none` counts as
/// absent, unknown keys are ignored (stdlib.md G5).
#[derive(Clone, Copy)]
pub struct Options<'a> {
    array: Option<crate::array::View<'a>>,
}

impl<'a> Options<'a> {
    /// The options in `value`; anything but an array counts as none.
    #[must_use]
    pub fn of(value: &'a Value) -> Options<'a> {
        Options {
            array: value.as_array(),
        }
    }

    /// The option's value, converted as declared; none when absent.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Value> {
        self.array?.get_str(name).filter(|value| !value.is_none())
    }

    /// A boolean option by truthiness, or `default`.
    #[must_use]
    pub fn boolean(&self, name: &str, default: bool) -> bool {
        self.get(name)
            .map_or(default, |value| crate::convert::truthy(&value))
    }

    /// A number option, or `default`.
    #[must_use]
    pub fn number(&self, name: &str, default: f64) -> f64 {
        self.get(name)
            .map_or(default, |value| crate::convert::to_number(&value))
    }

    /// A string option.
    #[must_use]
    pub fn string(&self, name: &str) -> Option<crate::string::Str> {
        self.get(name).map(|value| crate::convert::to_str(&value))
    }
}

/// What a native may use beside its arguments.
pub struct Cx<'a> {
    /// The outside world and the services of this execution.
    pub host: &'a Rc<Host>,
    /// The table that the running unit was linked with: classes are found there by name.
    pub library: &'a Arc<Library>,
    /// Fuel left until the VM looks again; below zero it is a debt, which the VM takes off the rest.
    pub fuel: &'a mut i64,
}

impl Cx<'_> {
    /// Charges `units` of fuel, about one per element or per 64 bytes touched. The VM ends the script when it is used up.
    #[inline]
    pub fn charge(&mut self, units: usize) {
        *self.fuel = self.fuel.saturating_sub_unsigned(units as u64);
    }

    /// As [`Cx::charge`], for steps inside one call: ends the script at once when its fuel is used up.
    ///
    /// # Errors
    /// The end of the script.
    pub fn spend(&mut self, units: usize) -> Result<(), Throw> {
        self.charge(units);
        if *self.fuel < 0 && self.fuel.saturating_neg() > crate::memory::fuel_left() {
            return Err(Throw::limit("fuel"));
        }
        Ok(())
    }

    /// Makes sure that a result of `bytes` may be built: within the string limit and the memory budget.
    ///
    /// # Errors
    /// An Exception beyond the limit of the language, the end of the script beyond its budget.
    pub fn reserve(&mut self, bytes: usize) -> Result<(), Throw> {
        fits(bytes)?;
        self.charge(bytes / 64);
        Ok(())
    }

    /// Makes sure that a result under construction may have `bytes` in all, without charging for it: for results that
    /// grow step by step, whose steps are charged for one by one.
    ///
    /// # Errors
    /// As [`Cx::reserve`].
    pub fn fits(&self, bytes: usize) -> Result<(), Throw> {
        fits(bytes)
    }

    /// Appends `bytes` to a result under construction, and charges for them.
    ///
    /// # Errors
    /// As [`Cx::reserve`].
    #[inline]
    pub fn append(&mut self, out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), Throw> {
        let total = out.len().saturating_add(bytes.len());
        // Looking at the budget once in 4 KiB is enough: it is an estimate.
        if total >> 12 != out.len() >> 12 {
            fits(total)?;
        }
        self.charge(bytes.len() / 64);
        out.extend_from_slice(bytes);
        Ok(())
    }

    /// Appends the string conversion of `value`, as long as the limits allow: arrays share parts, so that their text can be
    /// exponentially longer than they are.
    ///
    /// # Errors
    /// As [`Cx::reserve`].
    pub fn write_str(&mut self, out: &mut Vec<u8>, value: &Value) -> Result<(), Throw> {
        if let Value::String(string) = value {
            return self.append(out, string.as_bytes());
        }
        let start = out.len();
        let whole = crate::convert::write_str_while(out, value, |len| self.fits_growing(len));
        self.charge(out.len().saturating_sub(start) / 32);
        if whole { Ok(()) } else { Err(self.over()) }
    }

    /// Whether a text that grows by doubling may have `len` bytes.
    pub(crate) fn fits_growing(&self, len: usize) -> bool {
        len <= crate::string::MAX_STRING
            && (len <= 1 << 12 || !crate::memory::would_exceed(len.saturating_mul(2)))
    }

    /// Why a text ended that [`Cx::fits_growing`] did not let grow: the budget, which is looked at first because its end is
    /// not to be caught, or the limit of texts.
    pub(crate) fn over(&self) -> Throw {
        if crate::memory::would_exceed(crate::string::MAX_STRING) {
            Throw::limit("memory")
        } else {
            Throw::error("string too long")
        }
    }

    /// Whether the VM should look at the budgets soon: work of many steps asks this to know when to pause.
    #[inline]
    #[must_use]
    pub fn is_due(&self) -> bool {
        *self.fuel < -DUE
    }

    /// Makes sure that an array of `entries` may be built.
    ///
    /// # Errors
    /// As [`Cx::reserve`].
    pub fn reserve_entries(&mut self, entries: usize) -> Result<(), Throw> {
        self.fits_entries(entries)?;
        self.charge(entries);
        Ok(())
    }

    /// Makes sure that an array under construction may have `entries` in all, without charging for them.
    ///
    /// # Errors
    /// As [`Cx::reserve`].
    pub fn fits_entries(&self, entries: usize) -> Result<(), Throw> {
        if entries > crate::array::MAX_ENTRIES {
            return Err(Throw::error("array too large"));
        }
        if crate::memory::would_exceed(entries.saturating_mul(size_of::<Value>())) {
            return Err(Throw::limit("memory"));
        }
        Ok(())
    }
}

/// Debt of fuel after which work pauses.
const DUE: i64 = 4096;

fn fits(bytes: usize) -> Result<(), Throw> {
    if bytes > crate::string::MAX_STRING {
        return Err(Throw::error("string too long"));
    }
    if crate::memory::would_exceed(bytes) {
        return Err(Throw::limit("memory"));
    }
    Ok(())
}

/// See [`Imp::Plain`].
pub type PlainFn = fn(&mut Cx<'_>, Args<'_>) -> Outcome;
/// See [`Imp::Waiting`].
pub type WaitingFn = fn(&mut Cx<'_>, Args<'_>) -> Result<LocalFuture<Outcome>, Throw>;
/// See [`Imp::Heavy`].
pub type HeavyFn = fn(&mut Cx<'_>, Args<'_>) -> Result<Heavy, Throw>;
/// See [`Imp::Task`].
pub type TaskFn = fn(&mut Cx<'_>, Args<'_>) -> Result<Box<dyn Task>, Throw>;

/// The Rust side of a built-in.
#[derive(Clone, Copy)]
pub enum Imp {
    /// Bounded, never waits.
    Plain(PlainFn),
    /// Suspends the script until the future is done.
    Waiting(WaitingFn),
    /// Cost grows with its input: decides by size whether to run here, on the pool or step by step.
    Heavy(HeavyFn),
    /// Calls functions of the script, one at a time.
    Task(TaskFn),
    /// Part of the grammar (`isset`, `array`): in the table for its documentation only.
    Construct,
}

/// Where a heavy built-in runs.
pub enum Heavy {
    /// It was small and is done.
    Done(Value),
    /// It goes to the pool with the script suspended.
    Offload(Job),
    /// It goes on step by step, or calls back: what could be done at once is done.
    Task(Box<dyn Task>),
}

/// Does what a task can do without waiting and without calling back; only one that has to do either is put on the heap.
///
/// # Errors
/// What the task throws.
pub fn begin(mut task: impl Task + 'static, cx: &mut Cx<'_>) -> Result<Heavy, Throw> {
    Ok(match task.resume(cx, Input::Start)? {
        Step::Done(value) => Heavy::Done(value),
        step => Heavy::Task(Box::new(Begun {
            step: Some(step),
            task,
        })),
    })
}

/// A task that has a step to be taken already.
struct Begun<T> {
    step: Option<Step>,
    task: T,
}

impl<T: Task> Task for Begun<T> {
    fn resume(&mut self, cx: &mut Cx<'_>, input: Input) -> Result<Step, Throw> {
        match self.step.take() {
            Some(step) => Ok(step),
            None => self.task.resume(cx, input),
        }
    }

    fn again(&mut self, cx: &mut Cx<'_>, answer: &mut Value, arguments: &mut [Value]) -> Again {
        self.task.again(cx, answer, arguments)
    }
}

/// A native that calls functions of the script.
pub trait Task {
    /// Goes on with what the last step asked for; `Input::Start` the first time.
    ///
    /// An exception of the callback is not seen here: it drops the task and goes on to the caller.
    ///
    /// # Errors
    /// What the native itself throws.
    fn resume(&mut self, cx: &mut Cx<'_>, input: Input) -> Result<Step, Throw>;

    /// The short way from the answer of a callback to its next call: the same function, with as many arguments as the
    /// last time, which are written to `arguments`. Whoever cannot tell them at once leaves it to [`Task::resume`].
    fn again(&mut self, _: &mut Cx<'_>, _answer: &mut Value, _arguments: &mut [Value]) -> Again {
        Again::Answer
    }

    /// What does this, for measurements.
    fn name(&self) -> &'static str {
        std::any::type_name::<Self>()
    }
}

/// What became of a short way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// The arguments of the next call are there.
    Call,
    /// Nothing was done: the task is resumed with the answer.
    Answer,
    /// The answer was taken: the task is resumed with [`Input::Start`].
    Taken,
}

/// What a task is resumed with.
pub enum Input {
    /// The first call.
    Start,
    /// The result of the function or future that the last step named.
    Value(Value),
}

/// What a task wants next.
pub enum Step {
    /// Call this function with these arguments.
    Call(Rc<Function>, SmallVec<[Value; 2]>),
    /// Call this function of a script with a value for each of its parameters, and this list for the last one.
    CallRest(Rc<Function>, SmallVec<[Value; 2]>, Value),
    /// Wait for this.
    Await(LocalFuture<Outcome>),
    /// Resume it again with [`Input::Start`] after a look at the budgets, and others' turn if it is theirs: for work that is
    /// done in pieces.
    Again,
    /// The native's result.
    Done(Value),
}

/// An option of an options array.
#[derive(Clone, Copy, Debug)]
pub struct OptDecl {
    /// The key.
    pub name: &'static str,
    /// The types it takes, as in a signature: `string|array`.
    pub types: &'static str,
    /// The default as the reference prints it; empty for none.
    pub default: &'static str,
    /// One sentence.
    pub doc: &'static str,
}

/// Declares an option.
#[must_use]
pub const fn opt(
    name: &'static str,
    types: &'static str,
    default: &'static str,
    doc: &'static str,
) -> OptDecl {
    OptDecl {
        name,
        types,
        default,
        doc,
    }
}

/// The declaration of a function or method.
#[derive(Clone, Copy)]
pub struct FnDecl {
    /// `name(param: type, optional?: type = default, ...rest: type): type`
    pub signature: &'static str,
    /// Options of its options array, in the order of the reference.
    pub options: &'static [OptDecl],
    /// Named option groups that it takes besides (`DKIM`, `SERVER` …).
    pub groups: &'static [&'static str],
    /// First release of the reference product that had it; empty when it always had.
    pub since: &'static str,
    /// What it does, in full sentences; the first one stands alone in listings.
    pub doc: &'static str,
    /// An expression and, after `// `, its dump form; run as a test. Several are separated by newlines.
    pub example: &'static str,
    /// Another name for an older function of the same meaning, or an older form kept for old scripts.
    pub legacy: bool,
    /// The Rust function.
    pub imp: Imp,
}

impl FnDecl {
    const fn new(signature: &'static str, doc: &'static str, imp: Imp) -> FnDecl {
        FnDecl {
            signature,
            options: &[],
            groups: &[],
            since: "",
            doc,
            example: "",
            legacy: false,
            imp,
        }
    }

    /// Declares a plain function.
    #[must_use]
    pub const fn plain(signature: &'static str, doc: &'static str, function: PlainFn) -> FnDecl {
        FnDecl::new(signature, doc, Imp::Plain(function))
    }

    /// Declares a waiting function.
    #[must_use]
    pub const fn waiting(
        signature: &'static str,
        doc: &'static str,
        function: WaitingFn,
    ) -> FnDecl {
        FnDecl::new(signature, doc, Imp::Waiting(function))
    }

    /// Declares a heavy function.
    #[must_use]
    pub const fn heavy(signature: &'static str, doc: &'static str, function: HeavyFn) -> FnDecl {
        FnDecl::new(signature, doc, Imp::Heavy(function))
    }

    /// Declares a function that calls back into the script.
    #[must_use]
    pub const fn task(signature: &'static str, doc: &'static str, function: TaskFn) -> FnDecl {
        FnDecl::new(signature, doc, Imp::Task(function))
    }

    /// Declares a language construct that the reference lists as a function.
    #[must_use]
    pub const fn construct(signature: &'static str, doc: &'static str) -> FnDecl {
        FnDecl::new(signature, doc, Imp::Construct)
    }

    /// With these options.
    #[must_use]
    pub const fn options(mut self, options: &'static [OptDecl]) -> FnDecl {
        self.options = options;
        self
    }

    /// With these option groups.
    #[must_use]
    pub const fn groups(mut self, groups: &'static [&'static str]) -> FnDecl {
        self.groups = groups;
        self
    }

    /// With the first release.
    #[must_use]
    pub const fn since(mut self, since: &'static str) -> FnDecl {
        self.since = since;
        self
    }

    /// With an example.
    #[must_use]
    pub const fn example(mut self, example: &'static str) -> FnDecl {
        self.example = example;
        self
    }

    /// Marked as an older name.
    #[must_use]
    pub const fn legacy(mut self) -> FnDecl {
        self.legacy = true;
        self
    }
}

/// The declaration of a class.
#[derive(Clone, Copy)]
pub struct ClassDecl {
    /// The constructor; its name is the class's. A class that scripts cannot construct has [`Imp::Construct`].
    pub constructor: FnDecl,
    /// The class whose methods it has besides its own (MailMessage extends MIMEPart).
    pub extends: Option<&'static str>,
    /// Methods.
    pub methods: &'static [FnDecl],
    /// Static methods.
    pub statics: &'static [FnDecl],
}

/// The declaration of a predefined variable.
#[derive(Clone, Copy, Debug)]
pub struct VarDecl {
    /// `$arguments.remoteip`: the variable and, after points, the keys.
    pub path: &'static str,
    /// Types, as in a signature.
    pub types: &'static str,
    /// When it is there: `always`, `(not always)`, `EHLO only` …
    pub available: &'static str,
    /// One sentence.
    pub doc: &'static str,
    /// Whether scripts may write it.
    pub writable: bool,
}

/// The names of one script context: the core library or one hook.
#[derive(Clone, Copy)]
pub struct ContextDecl {
    /// `core`, `connect`, `eod` …
    pub name: &'static str,
    /// Functions, family by family.
    pub functions: &'static [&'static [FnDecl]],
    /// Classes.
    pub classes: &'static [ClassDecl],
    /// Predefined variables.
    pub variables: &'static [VarDecl],
}

/// Index of a built-in function or method in its [`Library`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NativeFn(pub u32);

/// Index of a built-in class in its [`Library`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClassId(pub u32);

/// A declared function with its signature taken apart.
pub struct Native {
    /// The declaration.
    pub decl: FnDecl,
    /// The parsed signature.
    pub signature: Signature,
    /// What its arguments are checked with.
    pub accepts: crate::accept::Accepts,
    /// The method of Map or Set that it is, if the VM knows a short way for it.
    pub(crate) quick: Option<crate::map_set::Quick>,
}
