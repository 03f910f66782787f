//! Sessions, the driver and the budgets from outside.
#![allow(clippy::unwrap_used, reason = "what fails here is a broken test")]

mod support;

use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use angarium_effects::VirtualClock;
use angarium_lang::modules::NoFiles;
use angarium_runtime::convert::dump;
use angarium_runtime::value::Value;
use angarium_runtime::vm::session::SessionError;
use angarium_runtime::{Ended, Execution, Limits, Session, Suspend};

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(future)
}

struct Repl {
    session: Session,
    lines: Rc<support::Lines>,
}

impl Repl {
    fn new() -> Repl {
        let lines = Rc::new(support::Lines::default());
        let host = support::host(&lines, &VirtualClock::new(Duration::from_secs(1)));
        let session = Session::new(&support::library(), "core", host, Limits::default());
        Repl { session, lines }
    }

    fn eval(&mut self, text: &str) -> String {
        match block_on(self.session.eval(text.as_bytes(), &NoFiles)) {
            Ok(evaluated) => String::from_utf8(dump(&evaluated.value)).unwrap(),
            Err(SessionError::Rejected(rejected)) => rejected.render(),
            Err(SessionError::Link(error)) => error.render(),
            Err(SessionError::Ended(ended)) => ended.to_string(),
        }
    }
}

#[test]
fn variables_and_functions_survive_and_functions_can_be_redefined() {
    let mut repl = Repl::new();
    assert_eq!(repl.eval("$x = 5;"), "none");
    assert_eq!(repl.eval("$x + 1"), "6");
    assert_eq!(
        repl.eval("function f($n) { return g($n) * 2; } function g($n) { return $n + 1; }"),
        "none"
    );
    assert_eq!(repl.eval("f($x)"), "12");
    assert_eq!(repl.eval("function g($n) { return 100; }"), "none");
    assert_eq!(repl.eval("f(1)"), "200", "older functions call the new one");
    assert_eq!(
        repl.eval("function h() { global $x; return ++$x; }"),
        "none"
    );
    assert_eq!(repl.eval("h()"), "6");
    assert_eq!(repl.eval("$x"), "6");
    assert_eq!(
        repl.eval("$c = function () closure ($x) { return $x; }; $x = 7;"),
        "none"
    );
    assert_eq!(repl.eval("$c()"), "7");
    assert_eq!(repl.eval("foreach ([1, 2] as $v) echo $v;"), "none");
    assert_eq!(repl.lines.0.borrow().len(), 2);
    let names: Vec<String> = repl
        .session
        .variables()
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    assert_eq!(names, ["c", "v", "x"]);
    assert_eq!(repl.session.functions(), ["f", "g", "h"]);
}

#[test]
fn an_error_keeps_the_session() {
    let mut repl = Repl::new();
    repl.eval("$x = 1; function f() { return 1; }");
    assert!(
        repl.eval("$x = ;").contains(":1:6:"),
        "{}",
        repl.eval("$x = ;")
    );
    assert!(repl.eval("nope()").contains("unknown function"));
    assert!(
        repl.eval("$x = 2; throw \"t\";")
            .contains("Uncaught exception: \"t\"")
    );
    assert!(
        repl.eval("f(1, 2)")
            .contains("f() takes exactly 0 arguments")
    );
    assert_eq!(repl.eval("$x + f()"), "3");
}

#[test]
fn a_piece_has_a_budget_of_its_own() {
    let lines = Rc::new(support::Lines::default());
    let host = support::host(&lines, &VirtualClock::new(Duration::from_secs(1)));
    let limits = Limits {
        fuel: Some(10_000),
        ..Limits::default()
    };
    let mut repl = Repl {
        session: Session::new(&support::library(), "core", host, limits),
        lines,
    };
    assert!(repl.eval("forever {}").contains("fuel"));
    assert_eq!(repl.eval("1 + 1"), "2");
}

fn execution(text: &str, limits: Limits, clock: &VirtualClock) -> Execution {
    let (unit, _) = support::unit(text, &HashMap::new()).unwrap();
    let lines = Rc::new(support::Lines::default());
    Execution::new(
        &unit,
        support::host(&lines, clock),
        vec![("context", Value::from(1.0))],
        limits,
    )
}

#[test]
fn time_is_up_in_a_loop_and_in_a_waiting_built_in() {
    let clock = VirtualClock::new(Duration::from_secs(1));
    let limits = Limits {
        time: Some(Duration::from_secs(5)),
        ..Limits::default()
    };
    for text in [
        "forever {}",
        "sleep(1000);",
        "try { sleep(1000); } catch ($e) {}",
    ] {
        let mut execution = execution(text, limits, &clock);
        let ended = block_on(async {
            let mut drive = std::pin::pin!(execution.drive());
            std::future::poll_fn(|context| {
                clock.advance(Duration::from_millis(50));
                context.waker().wake_by_ref();
                drive.as_mut().poll(context)
            })
            .await
        });
        assert!(
            matches!(ended, Err(Ended::Limit("time"))),
            "{text}: {ended:?}"
        );
    }
}

#[test]
fn a_slice_of_fuel_gives_the_executor_its_turn_and_loses_nothing() {
    let clock = VirtualClock::new(Duration::from_secs(1));
    let text = "$n = 0; for ($i = 0; $i < 100000; $i++) { $n += array_map(function ($x) { return $x; }, [1])[0]; } return $n;";
    let mut execution = execution(text, Limits::default(), &clock);
    let mut turns = 0;
    let value = loop {
        match execution.run() {
            Suspend::Done(value) => break value,
            Suspend::Yield => turns += 1,
            _ => panic!("neither waits nor ends"),
        }
    };
    assert_eq!(value.as_number(), Some(100_000.0));
    assert!(turns > 10, "{turns} turns");
}

#[test]
fn the_writable_variable_is_read_back_after_an_exception_too() {
    let clock = VirtualClock::new(Duration::from_secs(1));
    let mut execution = execution(
        "$context = [$context, \"new\"]; throw 1;",
        Limits::default(),
        &clock,
    );
    assert!(block_on(execution.drive()).is_err());
    let context = execution.variable("context").unwrap();
    assert_eq!(dump(&context), br#"[0=>1,1=>"new"]"#);
}

#[test]
fn memory_is_given_back_when_an_execution_ends() {
    let before = angarium_runtime::memory::swap(angarium_runtime::memory::Account::default());
    angarium_runtime::memory::swap(before);
    let clock = VirtualClock::new(Duration::from_secs(1));
    let text = "$a = []; for ($i = 0; $i < 1000; $i++) $a[] = \"a string on the heap $i\"; $f = none; $f = function () closure ($f, $a) {}; return 1;";
    let mut execution = execution(text, Limits::default(), &clock);
    assert!(block_on(execution.drive()).is_ok());
    assert!(
        execution.memory_used() > 16_000,
        "{}",
        execution.memory_used()
    );
}

/// Runs programs side by side, each an execution of its own, and gives what they printed.
fn side_by_side(texts: &[&str]) -> Vec<String> {
    let lines = Rc::new(support::Lines::default());
    let clock = VirtualClock::new(Duration::from_secs(1));
    let mut executions: Vec<Execution> = texts
        .iter()
        .map(|text| {
            let (unit, _) = support::unit(text, &HashMap::new()).unwrap();
            Execution::new(
                &unit,
                support::host(&lines, &clock),
                Vec::new(),
                Limits::default(),
            )
        })
        .collect();
    block_on(async {
        let mut drives: Vec<_> = executions
            .iter_mut()
            .map(|execution| Some(Box::pin(execution.drive())))
            .collect();
        std::future::poll_fn(|context| {
            clock.advance(Duration::from_millis(10));
            for slot in &mut drives {
                if let Some(drive) = slot
                    && let std::task::Poll::Ready(result) = drive.as_mut().poll(context)
                {
                    result.unwrap();
                    *slot = None;
                }
            }
            context.waker().wake_by_ref();
            if drives.iter().all(Option::is_none) {
                std::task::Poll::Ready(())
            } else {
                std::task::Poll::Pending
            }
        })
        .await;
    });
    lines
        .0
        .borrow()
        .iter()
        .map(|line| String::from_utf8(line.clone()).unwrap())
        .collect()
}

#[test]
fn one_execution_at_a_time_is_in_a_barrier() {
    let text = "for ($i = 0; $i < 5; $i++) { barrier \"side\" => $v { $n = $v ?? 0; sleep(0.05); $v = $n + 1; } } \
                barrier \"side\" => $v { if ($v == 15) echo \"all\"; }";
    let lines = side_by_side(&[text, text, text]);
    assert!(
        lines.contains(&"all".to_owned()),
        "no update is lost: {lines:?}"
    );
}

#[test]
fn a_circle_of_barriers_throws_in_one_of_them() {
    let first = "try { barrier \"x\" { sleep(0.1); barrier \"y\" { sleep(0.1); } } echo \"done\"; } catch ($e) { echo $e->message(); }";
    let second = first
        .replace("\"x\"", "\"z\"")
        .replace("\"y\"", "\"x\"")
        .replace("\"z\"", "\"y\"");
    let mut lines = side_by_side(&[first, &second]);
    lines.sort();
    assert_eq!(lines.len(), 2);
    assert!(
        lines[0].starts_with("deadlock on ") && lines[1] == "done",
        "{lines:?}"
    );
}

#[test]
fn an_entry_of_a_cache_is_computed_once_while_others_wait() {
    let text = "function slow($x) { echo \"computed\"; sleep(0.2); return $x; } echo cache [\"namespace\" => \"once\"] slow(7);";
    assert_eq!(
        side_by_side(&[text, text, text]),
        ["computed", "7", "7", "7"]
    );
}

#[test]
fn when_the_one_that_computes_throws_the_next_one_computes() {
    let text = "function slow() { echo \"try\"; sleep(0.1); throw \"t\"; } \
                try { cache [\"namespace\" => \"throws\"] slow(); } catch ($e) { echo $e; }";
    assert_eq!(side_by_side(&[text, text]), ["try", "t", "try", "t"]);
}

#[test]
fn what_objects_and_classes_offer_is_listed_without_what_is_private() {
    let mut repl = Repl::new();
    repl.eval(
        "class A { $x = 1; private $y = 2; static $s = 3; private static $t = 4; \
         function m() { } private function p() { } static function f() { } } $a = A(); $a->added = 1;",
    );
    let value = repl.session.variables()[0].1.clone();
    let shown = |name: &str, function| (name.to_owned(), function);
    assert_eq!(
        repl.session.members(&value),
        [shown("added", false), shown("m", true), shown("x", false)]
    );
    assert_eq!(repl.session.statics("A"), ["$s", "f"]);
    assert!(repl.session.statics("nothing").is_empty());
    assert!(repl.session.members(&Value::None).is_empty());
}

#[test]
fn a_circle_of_a_barrier_and_a_cache_entry_ends() {
    let slow = "function slow() { sleep(0.1); barrier \"mixed\" { return 1; } } ";
    let first = format!(
        "{slow} try {{ cache [\"namespace\" => \"mixed\"] slow(); echo \"done\"; }} catch ($e) {{ echo $e->message(); }}"
    );
    let second = format!(
        "{slow} try {{ barrier \"mixed\" {{ sleep(0.05); cache [\"namespace\" => \"mixed\"] slow(); }} echo \"done\"; }} \
         catch ($e) {{ echo $e->message(); }}"
    );
    let mut lines = side_by_side(&[&first, &second]);
    lines.sort();
    assert!(
        lines.len() == 2 && lines[0].starts_with("deadlock on ") && lines[1] == "done",
        "{lines:?}"
    );
}
