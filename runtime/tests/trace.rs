//! What is known about the end of an execution: place, calls, include chain, hint.
#![allow(clippy::unwrap_used, reason = "what fails here is a broken test")]

mod support;

use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use angarium_effects::VirtualClock;
use angarium_runtime::{Execution, Limits};

/// Runs a program that must fail; gives how it ended, the hint, the calls, and the line for logs.
fn ended(text: &str, files: &[(&str, &str)]) -> String {
    let files: HashMap<String, Vec<u8>> = files
        .iter()
        .map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec()))
        .collect();
    let (unit, _) = support::unit(text, &files).unwrap();
    let clock = VirtualClock::new(Duration::from_secs(1));
    let host = support::host(&Rc::new(support::Lines::default()), &clock);
    let limits = Limits {
        fuel: Some(1_000_000),
        ..Limits::default()
    };
    let mut execution = Execution::new(&unit, host, Vec::new(), limits);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let ended = runtime.block_on(execution.drive()).unwrap_err();
    let trace = execution.trace();
    let hint = trace.hint.as_deref().unwrap_or("no hint");
    format!("{ended}\n{hint}\n{}log:{}\n", trace.lines(), trace.line())
}

#[test]
fn exceptions_in_functions_modules_and_included_files_tell_the_way() {
    let files = [
        (
            "lib/m.hsl",
            "import { inner } from \"./n\";\nfunction outer($x) {\n  return inner($x);\n}",
        ),
        ("lib/n.hsl", "function inner($value) {\n  return $vlaue;\n}"),
        ("part", "\n  fail_here();\n"),
    ];
    insta::assert_snapshot!(
        [
            ended("import { outer } from \"lib/m\";\nouter(1);", &files),
            ended(
                "function fail_here() { throw [1]; }\ninclude \"part\";",
                &files
            ),
            ended(
                "class C {\n constructor() { $this->m(); }\n function m() { C::s(); }\n \
                 static function s() { array_map(function ($x) { return $x(); }, [1]); }\n}\nC();",
                &[]
            ),
            ended("echo $nothing_like_it;", &[]),
            ended("function f() { forever {} }\nf();", &[]),
        ]
        .join("\n")
    );
}

#[test]
fn deep_recursion_leaves_the_middle_out() {
    insta::assert_snapshot!(ended(
        "function f($n) {\n  return f($n + 1) + 1;\n}\nf(0);",
        &[]
    ));
}

#[test]
fn what_is_caught_leaves_no_trace() {
    let text = ended(
        "function f() { throw 1; }\ntry { f(); } catch ($e) {}\nthrow 2;",
        &[],
    );
    assert_eq!(text, "Uncaught exception: 2\nno hint\nlog:\n");
}
