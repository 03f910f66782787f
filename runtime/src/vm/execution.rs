//! Executions: one run of a unit, step by step or as a future, under the limits of the host.

use std::any::Any;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use angarium_effects::{Monotonic, yield_now};

use crate::cell::take_thawed;
use crate::dump::{ShortDump, dump_short};
use crate::exception::{Exception, Place};
use crate::graveyard::{self, Graveyard, PIECE};
use crate::host::Host;
use crate::memory::{self, Account};
use crate::native::{Job, LocalFuture, Outcome, Throw, Thrown};
use crate::value::Value;
use crate::vm::fiber::{Fiber, FrameKind, SLICE_TIME, hold};
use crate::vm::trace::Trace;
use crate::vm::unit::Unit;

/// Most turns of others that a slice which took too long is made up for with: some two tenths of a second.
const MOST_TURNS: u32 = 4096;

/// Slices after which an execution makes up for those that took too long: some ten milliseconds. A slice takes long too when the
/// system runs another program meanwhile, for which a short script is not to stand back behind a long one.
const YOUNG: u32 = 256;

/// What an execution may use. `None` means without limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Instructions at loops and calls, and what built-ins charge.
    pub fuel: Option<u64>,
    /// Live bytes.
    pub memory: Option<usize>,
    /// Time from the start, waiting included.
    pub time: Option<Duration>,
}

/// Why the loop was left.
pub(crate) enum Exit {
    /// The main program returned.
    Done,
    /// The slice is used up.
    Slice,
    /// A built-in waits.
    Wait(LocalFuture<Outcome>),
    /// A built-in goes to the pool.
    Offload(Job),
    /// Nobody caught this.
    Thrown(Throw),
}

/// What an execution wants from whoever runs it.
pub enum Suspend {
    /// It is done; the value that the main program returned.
    Done(Value),
    /// It ended otherwise.
    Ended(Ended),
    /// Its slice of fuel is used up: run it again after others had their turn.
    Yield,
    /// Resume it with the result of this future.
    Wait(LocalFuture<Outcome>),
    /// Resume it with what this job's result finishes to.
    Offload(Job),
}

/// How an execution ended when it did not run to its end.
#[derive(Debug)]
pub enum Ended {
    /// An exception that nobody caught.
    Uncaught(Uncaught),
    /// The script ended itself through the host (`Accept()`, `Try()` …).
    Verdict(Box<dyn Any>),
    /// Fuel, memory or time is used up.
    Limit(&'static str),
}

/// An exception that nobody caught.
#[derive(Debug)]
pub struct Uncaught {
    /// The value that was thrown.
    pub value: Value,
    /// `toString()` of an Exception, the dump form of any other value (language.md 13.4).
    pub text: Vec<u8>,
    /// The place, for errors of the language and of built-ins.
    pub place: Option<Place>,
}

impl Ended {
    fn from_throw(throw: Throw) -> Ended {
        match throw.into_inner() {
            Thrown::Value(value) => {
                let exception = value
                    .as_object()
                    .and_then(|object| object.downcast::<Exception>());
                let text = exception.map_or_else(|| dump_short(&value), Exception::short_text);
                let place = exception.and_then(|exception| exception.place.clone());
                Ended::Uncaught(Uncaught { text, place, value })
            }
            Thrown::Error(message) => Ended::Uncaught(Uncaught {
                value: Value::None,
                text: message.into_bytes(),
                place: None,
            }),
            Thrown::End(verdict) => Ended::Verdict(verdict),
            Thrown::Limit(what) => Ended::Limit(what),
            // Whoever calls a built-in outside of the loop cannot go on with it.
            Thrown::Later(_) => Ended::Limit("time"),
        }
    }
}

impl std::fmt::Display for Ended {
    /// One line for logs: `Uncaught exception: TEXT`, `script limit exceeded: fuel`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Ended::Uncaught(uncaught) => {
                write!(
                    f,
                    "Uncaught exception: {}",
                    String::from_utf8_lossy(&uncaught.text)
                )
            }
            Ended::Verdict(_) => f.write_str("the script ended itself"),
            Ended::Limit(what) => write!(f, "script limit exceeded: {what}"),
        }
    }
}

/// One run of a unit.
pub struct Execution {
    fiber: Fiber,
    account: Account,
    /// When time is up.
    deadline: Option<Monotonic>,
    /// An end that came while the execution was suspended.
    ended: Option<Ended>,
    /// What nobody caught, whose text is being written.
    last_words: Option<(Value, ShortDump)>,
    /// What waits to be freed; the execution goes on when nothing is left.
    graveyard: Graveyard,
    /// Turns that others have before this one, because its last slice took as long as that many.
    turns: u32,
    /// Counts the times that others had theirs.
    turn: u32,
    /// Counts the slices, long ones as several.
    age: u32,
}

impl Execution {
    /// Prepares a run of `unit` with these predefined variables (names without `$`).
    #[must_use]
    pub fn new(
        unit: &Arc<Unit>,
        host: Rc<Host>,
        variables: Vec<(&str, Value)>,
        limits: Limits,
    ) -> Execution {
        let mut execution = Execution::idle(unit.library(), host, limits);
        execution.enter(|fiber| {
            for global in &unit.program.globals {
                let Some(access) = global.host else { continue };
                let value = variables.iter().find(|(name, _)| **name == *global.name);
                let value = value.map_or(Value::Undefined, |(_, value)| value.clone());
                fiber.predefine(&global.name, value, access);
            }
            let instance = fiber.add_instance(hold(unit), Vec::new());
            fiber.start(instance, unit.program.main);
        });
        execution
    }

    /// An execution without a program: a session, or one that only calls functions.
    pub(crate) fn idle(
        library: &Arc<crate::library::Library>,
        host: Rc<Host>,
        limits: Limits,
    ) -> Execution {
        let deadline = limits.time.map(|time| host.clock.monotonic() + time);
        let mut fiber = Fiber::new(host, Arc::clone(library));
        fiber.left = limits
            .fuel
            .map_or(i64::MAX, |fuel| i64::try_from(fuel).unwrap_or(i64::MAX));
        let account = Account {
            used: 0,
            limit: limits.memory.unwrap_or(0),
            ..Account::default()
        };
        Execution {
            fiber,
            account,
            deadline,
            ended: None,
            last_words: None,
            graveyard: Graveyard::patient(),
            turns: 0,
            turn: 0,
            age: 0,
        }
    }

    /// Does something with the fiber under the account of this execution.
    pub(crate) fn enter<T>(&mut self, work: impl FnOnce(&mut Fiber) -> T) -> T {
        let outside = memory::swap(self.account);
        let others = graveyard::swap(std::mem::take(&mut self.graveyard));
        memory::set_fuel_left(self.fiber.left);
        memory::take_owed();
        let result = work(&mut self.fiber);
        self.fiber.adopt(take_thawed());
        self.graveyard = graveyard::swap(others);
        self.account = memory::swap(outside);
        result
    }

    /// Runs until the script is done, waits, or used up its slice.
    pub fn run(&mut self) -> Suspend {
        if let Some(ended) = self.ended.take() {
            return Suspend::Ended(ended);
        }
        if let Some((value, text)) = self.last_words.take() {
            return self.speak(value, text);
        }
        if let (Some(deadline), clock) = (self.deadline, &self.fiber.host.clock)
            && clock.monotonic() >= deadline
        {
            self.enter(Fiber::stop);
            return Suspend::Ended(Ended::Limit("time"));
        }
        // What executions left that ended before is freed beside the others.
        // Whoever is young makes few values, and has other things to do.
        graveyard::free_orphans(if self.age > YOUNG { PIECE } else { PIECE / 8 });
        let exit = self.enter(|fiber| {
            fiber.begin_slice();
            fiber.unpark();
            if graveyard::go_on() {
                return Exit::Slice;
            }
            fiber.run()
        });
        let late = self.fiber.host.clock.monotonic();
        let late = late.since(self.fiber.slice_end).as_micros() / SLICE_TIME.as_micros();
        let late = u32::try_from(late).map_or(MOST_TURNS, |turns| turns.min(MOST_TURNS));
        self.turns = if self.age > YOUNG { late } else { 0 };
        self.age = self.age.saturating_add(1 + late);
        match exit {
            Exit::Done => Suspend::Done(self.enter(|fiber| {
                let value = fiber
                    .stack
                    .first_mut()
                    .map(std::mem::take)
                    .unwrap_or_default();
                fiber.finish();
                value
            })),
            Exit::Slice => Suspend::Yield,
            Exit::Wait(future) => Suspend::Wait(future),
            Exit::Offload(job) => Suspend::Offload(job),
            Exit::Thrown(throw) => match throw.into_inner() {
                Thrown::Value(value @ (Value::Array(_) | Value::String(_))) => {
                    let text = ShortDump::new(&value);
                    self.speak(value, text)
                }
                other => Suspend::Ended(Ended::from_throw(Throw::from(other))),
            },
        }
    }

    /// Goes on with the text of a value that nobody caught.
    fn speak(&mut self, value: Value, mut text: ShortDump) -> Suspend {
        match text.go_on() {
            Some(text) => Suspend::Ended(Ended::Uncaught(Uncaught {
                value,
                text,
                place: None,
            })),
            None => {
                self.last_words = Some((value, text));
                Suspend::Yield
            }
        }
    }

    /// Hands over the result that a [`Suspend::Wait`] or [`Suspend::Offload`] asked for; then [`Execution::run`] goes on.
    pub fn resume(&mut self, outcome: Outcome) {
        let result = self.enter(|fiber| {
            fiber.unpark();
            let slot = fiber.waiting.take();
            match outcome {
                Ok(value) => {
                    match fiber.frames.last().map(|frame| frame.kind) {
                        Some(FrameKind::Task) => {
                            fiber.pending = Some(crate::native::Input::Value(value))
                        }
                        Some(FrameKind::Script | FrameKind::Generator) => {
                            if let Some(slot) = slot.and_then(|slot| fiber.stack.get_mut(slot)) {
                                *slot = value;
                            }
                        }
                        None => {}
                    }
                    Ok(())
                }
                Err(throw) => fiber.go_on(throw, slot.unwrap_or(0)),
            }
        });
        if let Err(throw) = result {
            self.ended = Some(Ended::from_throw(throw));
        }
    }

    /// Runs to the end: awaits what built-ins wait for, gives the executor its turn after each slice of fuel, and ends
    /// the script when its time is up. A slice that took longer than it should, because a single step did, is made up for
    /// with as many turns.
    ///
    /// # Errors
    /// How the execution ended, when the main program did not return.
    pub async fn drive(&mut self) -> Result<Value, Ended> {
        self.drive_watched(|_| {}).await
    }

    /// As [`Execution::drive`]; `watch` is called after each slice, for measurements.
    ///
    /// # Errors
    /// As [`Execution::drive`].
    pub async fn drive_watched(
        &mut self,
        mut watch: impl FnMut(&Execution),
    ) -> Result<Value, Ended> {
        let host = Rc::clone(&self.fiber.host);
        loop {
            let suspend = self.run();
            watch(self);
            match suspend {
                Suspend::Done(value) => {
                    self.pay().await;
                    return Ok(value);
                }
                Suspend::Ended(ended) => {
                    self.pay().await;
                    return Err(ended);
                }
                Suspend::Yield => {
                    self.give_way().await;
                    self.pay().await;
                }
                Suspend::Wait(future) => {
                    let outcome = self.wait(future).await?;
                    self.resume(outcome);
                }
                Suspend::Offload(job) => {
                    let finish = self.wait(host.pool.run(job)).await?;
                    let outcome = self.enter(|fiber| finish(&mut fiber.cx()));
                    self.resume(outcome);
                }
            }
        }
    }

    /// Gives others the turns that this execution owes them.
    async fn pay(&mut self) {
        for _ in 0..std::mem::take(&mut self.turns) {
            self.give_way().await;
        }
    }

    /// Gives others their turn. Only now and then the executor is made to look at sockets and timers too, which costs about a
    /// microsecond.
    async fn give_way(&mut self) {
        self.turn = self.turn.wrapping_add(1);
        if self.turn.is_multiple_of(4) {
            yield_now().await;
        } else {
            step_aside().await;
        }
    }

    /// Frees what the execution holds, in pieces between which others have their turn. Dropping it frees a piece at once, and
    /// leaves the rest to the executions of the thread that run next.
    pub async fn close(mut self) {
        self.enter(Fiber::finish);
        while self.enter(|fiber| {
            let begun = fiber.host.clock.monotonic();
            loop {
                let more = fiber.release() | graveyard::go_on();
                if !more || fiber.host.clock.monotonic().since(begun) >= SLICE_TIME {
                    return more;
                }
            }
        }) {
            self.give_way().await;
        }
    }

    /// Awaits `future` until time is up.
    async fn wait<T>(&mut self, mut future: LocalFuture<T>) -> Result<T, Ended> {
        // A future that is ready needs no parking.
        let ready = std::future::poll_fn(|context| match future.as_mut().poll(context) {
            Poll::Ready(value) => Poll::Ready(Some(value)),
            Poll::Pending => Poll::Ready(None),
        });
        if let Some(value) = ready.await {
            return Ok(value);
        }
        self.enter(Fiber::park);
        let Some(deadline) = self.deadline else {
            return Ok(future.await);
        };
        let clock = Rc::clone(&self.fiber.host.clock);
        let left = deadline.since(clock.monotonic());
        match angarium_effects::clock::timeout(&*clock, left, future).await {
            Some(value) => Ok(value),
            None => {
                self.enter(Fiber::stop);
                Err(Ended::Limit("time"))
            }
        }
    }

    /// The value of a predefined variable (`context`), as the script left it; none when it is undefined.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<Value> {
        self.fiber.predefined(name)
    }

    /// Where the script ended itself, was ended by a limit, or threw what nobody caught; none while it runs or when it
    /// ran to its end.
    #[must_use]
    pub fn ended_at(&self) -> Option<Place> {
        self.fiber.ended_at.clone()
    }

    /// The calls that were going on at [`Execution::ended_at`].
    #[must_use]
    pub fn trace(&self) -> &Trace {
        &self.fiber.trace
    }

    /// What the last slice ended with, for measurements: an instruction, a built-in, a task, or what is being freed.
    #[must_use]
    pub fn last_step(&self) -> String {
        let freeing = if self.graveyard.is_empty() {
            ""
        } else {
            ", freeing"
        };
        format!("{}{freeing}", self.fiber.last_step())
    }

    /// Fuel used so far.
    #[must_use]
    pub fn fuel_used(&self) -> u64 {
        self.fiber.used()
    }

    /// Live bytes.
    #[must_use]
    pub fn memory_used(&self) -> usize {
        self.account.used
    }

    pub(crate) fn fiber(&mut self) -> &mut Fiber {
        &mut self.fiber
    }

    /// Starts the time anew, and sets what may be used from here on.
    pub(crate) fn renew(&mut self, limits: Limits) {
        self.deadline = limits
            .time
            .map(|time| self.fiber.host.clock.monotonic() + time);
        self.fiber.left = limits
            .fuel
            .map_or(i64::MAX, |fuel| i64::try_from(fuel).unwrap_or(i64::MAX));
        self.fiber.quantum = 0;
        self.account.limit = limits.memory.unwrap_or(0);
        self.ended = None;
        self.last_words = None;
    }
}

impl Drop for Execution {
    fn drop(&mut self) {
        // Values are released under the account that they were charged to.
        let last_words = self.last_words.take();
        self.enter(|fiber| {
            drop(last_words);
            let (host, library) = (Rc::clone(&fiber.host), Arc::clone(&fiber.library));
            let mut held = fiber.take_held();
            *fiber = Fiber::new(host, library);
            // What is much is left to others.
            for _ in 0..4 {
                if !held.release() {
                    return;
                }
            }
            graveyard::leave(Box::new(move || held.release()));
        });
        graveyard::bequeath(std::mem::take(&mut self.graveyard));
    }
}

/// Lets the tasks run that wait for their turn already.
async fn step_aside() {
    let mut aside = false;
    std::future::poll_fn(|context| {
        if aside {
            return Poll::Ready(());
        }
        aside = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
