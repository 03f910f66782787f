//! A script that is suspended at every call of a built-in does what it does when it runs straight through.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests read their own data; what fails here is a broken test"
)]

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::time::Duration;

use angarium_runtime::Limits;
use angarium_runtime::library::Library;
use angarium_runtime::native::{
    Args, ClassDecl, ContextDecl, Cx, FnDecl, Heavy, Imp, Input, LocalFuture, Outcome, Step, Task,
    TaskFn, Throw, WaitingFn,
};
use angarium_runtime::value::Value;
use angarium_sandbox::script;
use angarium_stdlib::CORE;

/// The declarations as they are; a suspending one knows its place in this list.
static ORIGINALS: OnceLock<Vec<FnDecl>> = OnceLock::new();

fn original<const N: usize>() -> Imp {
    ORIGINALS.get().unwrap()[N].imp
}

/// Gives `outcome` after others had their turn.
fn later(outcome: Outcome) -> LocalFuture<Outcome> {
    let mut outcome = Some(outcome);
    let mut waited = false;
    Box::pin(std::future::poll_fn(move |context| {
        if std::mem::replace(&mut waited, true) {
            return Poll::Ready(outcome.take().unwrap_or(Ok(Value::None)));
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }))
}

fn waiting<const N: usize>(cx: &mut Cx<'_>, args: Args<'_>) -> Result<LocalFuture<Outcome>, Throw> {
    let Imp::Plain(function) = original::<N>() else {
        return Err(Throw::error("not a plain function"));
    };
    Ok(later(function(cx, args)))
}

/// A task that waits before its first step and before its last.
enum Suspending {
    Before(Box<dyn Task>),
    Running(Box<dyn Task>),
    After(Value),
}

impl Task for Suspending {
    fn resume(&mut self, cx: &mut Cx<'_>, input: Input) -> Result<Step, Throw> {
        let input = match std::mem::replace(self, Suspending::After(Value::None)) {
            Suspending::Before(task) => {
                if matches!(input, Input::Start) {
                    *self = Suspending::Before(task);
                    return Ok(Step::Await(later(Ok(Value::None))));
                }
                *self = Suspending::Running(task);
                Input::Start
            }
            Suspending::Running(task) => {
                *self = Suspending::Running(task);
                input
            }
            Suspending::After(value) => return Ok(Step::Done(value)),
        };
        let Suspending::Running(task) = self else {
            return Err(Throw::error("the task is over"));
        };
        Ok(match task.resume(cx, input)? {
            Step::Done(value) => {
                *self = Suspending::After(value);
                Step::Await(later(Ok(Value::None)))
            }
            step => step,
        })
    }
}

fn task<const N: usize>(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Box<dyn Task>, Throw> {
    match original::<N>() {
        Imp::Task(function) => Ok(Box::new(Suspending::Before(function(cx, args)?))),
        Imp::Heavy(function) => {
            let value = match function(cx, args)? {
                Heavy::Done(value) => value,
                Heavy::Offload(job) => job()(cx)?,
                Heavy::Task(task) => return Ok(Box::new(Suspending::Before(task))),
            };
            Ok(Box::new(Suspending::After(value)))
        }
        _ => Err(Throw::error("not a task")),
    }
}

macro_rules! row {
    ($function:ident, $row:expr) => {
        row!($function, $row, 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15)
    };
    ($function:ident, $row:expr, $($column:literal)*) => {
        [$($function::<{ $row * 16 + $column }>),*]
    };
}
macro_rules! table {
    ($function:ident) => {
        table!($function, 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31)
    };
    ($function:ident, $($row:literal)*) => { [$(row!($function, $row)),*] };
}

static WAITING: [[WaitingFn; 16]; 32] = table!(waiting);
static TASKS: [[TaskFn; 16]; 32] = table!(task);

/// The core library with every built-in suspended.
fn suspending() -> Arc<Library> {
    let mut originals = Vec::new();
    let mut wrap = |declarations: &[FnDecl]| -> &'static [FnDecl] {
        let wrapped: Vec<FnDecl> = declarations
            .iter()
            .map(|decl| {
                let (row, column) = (originals.len() / 16, originals.len() % 16);
                originals.push(*decl);
                let imp = match decl.imp {
                    Imp::Plain(_) => Imp::Waiting(WAITING[row][column]),
                    Imp::Task(_) | Imp::Heavy(_) => Imp::Task(TASKS[row][column]),
                    other => other,
                };
                FnDecl { imp, ..*decl }
            })
            .collect();
        wrapped.leak()
    };
    let functions: Vec<&'static [FnDecl]> =
        CORE.functions.iter().map(|family| wrap(family)).collect();
    let classes: Vec<ClassDecl> = CORE
        .classes
        .iter()
        .map(|class| ClassDecl {
            constructor: wrap(std::slice::from_ref(&class.constructor))[0],
            extends: class.extends,
            methods: wrap(class.methods),
            statics: wrap(class.statics),
        })
        .collect();
    ORIGINALS.set(originals).unwrap_or(());
    let context = Box::leak(Box::new(ContextDecl {
        name: CORE.name,
        functions: functions.leak(),
        classes: classes.leak(),
        variables: CORE.variables,
    }));
    Arc::new(Library::new(&[context]).expect("a well-formed table"))
}

const LIMITS: Limits = Limits {
    fuel: Some(2_000_000),
    memory: Some(64 << 20),
    time: Some(Duration::from_secs(600)),
};

/// The programs: every case of the runtime's tests, and the corpus of the fuzzer.
fn programs() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut programs = Vec::new();
    for folder in [
        "../../runtime/tests/hsl",
        "../../fuzz/corpus/compile_and_run",
    ] {
        for entry in std::fs::read_dir(root.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let bytes = std::fs::read(&path).unwrap();
            let text = String::from_utf8_lossy(&bytes).into_owned();
            for (at, case) in text.split("\n//# ").enumerate() {
                let case = case.split_once('\n').map_or("", |(_, case)| case);
                programs.push((format!("{} case {at}", path.display()), case.to_owned()));
            }
        }
    }
    assert!(programs.len() > 200, "{}", programs.len());
    programs
}

#[test]
fn a_script_that_waits_at_every_built_in_gives_the_same_result() {
    let suspending = suspending();
    let (mut compared, mut wrong) = (0, Vec::new());
    for (name, text) in programs() {
        let Ok(straight) = script::run(text.as_bytes(), &HashMap::new(), LIMITS) else {
            continue;
        };
        // The budget is counted a little differently there.
        if straight
            .result
            .as_ref()
            .is_err_and(|end| end.contains("limit exceeded"))
        {
            continue;
        }
        let unit = script::unit_with(&suspending, text.as_bytes(), &HashMap::new());
        let waited = script::run_unit(&unit.expect("it compiled before"), LIMITS);
        compared += 1;
        if (&straight.lines, &straight.result) != (&waited.lines, &waited.result) {
            wrong.push(format!(
                "{name}\n{text}\nstraight: {straight:?}\nwaited: {waited:?}"
            ));
        }
    }
    assert!(compared > 150, "{compared} programs were compared");
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
