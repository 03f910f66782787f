//! Long flat programs compile, deep ones are refused, and neither costs stack or more than linear time.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "this test measures time"
)]

mod common;

use angarium_syntax::dump::dump;
use angarium_syntax::print::print;
use std::time::{Duration, Instant};

const LINKS: usize = 100_000;

/// Parses on a small stack and gives the messages.
fn messages(text: String) -> Vec<String> {
    let work = move || {
        let (program, errors, sources) = common::parsed(text.as_bytes());
        // Walking, cloning and dropping must not overflow the stack either.
        if text.len() < 100_000 {
            let copy = program.clone();
            assert!(!dump(&copy).is_empty() || program.body.is_empty());
            let _ = print(&copy);
        }
        drop(program);
        errors
            .iter()
            .map(|error| error.headline(&sources))
            .collect()
    };
    let thread = std::thread::Builder::new()
        .stack_size(2 << 20)
        .spawn(work)
        .expect("a thread");
    thread.join().expect("no overflow and no panic")
}

fn compiles(text: String) {
    assert_eq!(messages(text), Vec::<String>::new());
}

/// Refused with exactly one message, which is about the nesting.
fn too_deep(text: String) {
    let messages = messages(text);
    assert_eq!(messages.len(), 1, "{messages:?}");
    assert!(messages[0].contains("nested too deeply"), "{messages:?}");
}

#[test]
fn a_chain_of_a_left_associative_operator_is_flat() {
    for op in ["+", "-", ".", "*", "|", "and", "or", "==", "<", "<<", "??"] {
        compiles(format!(
            "$x = 1{};",
            format!(" {op} 1").repeat(if op == "+" { LINKS } else { LINKS / 10 })
        ));
    }
}

#[test]
fn else_if_chains_and_ternary_chains_are_flat() {
    compiles(format!(
        "if (1) echo 1;{} else echo 2;",
        " else if (1) echo 1;".repeat(LINKS)
    ));
    compiles(format!("if (1) {{}}{}", " else if (1) {}".repeat(LINKS)));
    compiles(format!("$x = {}1;", "1 ? 2 : ".repeat(LINKS)));
    compiles(format!("$x = {}1;", "1 ?: ".repeat(LINKS)));
}

#[test]
fn postfix_chains_are_flat() {
    compiles(format!("$x{};", "->a".repeat(LINKS)));
    compiles(format!("$x{} = 1;", "[1]".repeat(LINKS)));
    compiles(format!("echo $x{};", "(1)->b[2][1:2]".repeat(LINKS / 4)));
}

#[test]
fn long_lists_are_flat() {
    compiles(format!("$x = [{}];", "1, ".repeat(LINKS)));
    compiles(format!("f({});", "$a, ".repeat(LINKS)));
    compiles("echo 1;\n".repeat(LINKS));
    compiles(format!(
        "switch ($x) {{ {} }}",
        "case 1: break; ".repeat(LINKS)
    ));
    compiles(format!(
        "$x = match (1) {{ {} }};",
        "1 => 2, ".repeat(LINKS)
    ));
    compiles(format!(
        "class A {{ {} }}",
        (0..LINKS).map(|n| format!("$a{n};")).collect::<String>()
    ));
}

/// `levels` times `open`, then `inner`, then as many `close`.
fn nested(levels: usize, open: &str, inner: &str, close: &str) -> String {
    format!("{}{inner}{}", open.repeat(levels), close.repeat(levels))
}

/// Everything that nests: what opens a level, what is inside, what closes it.
const NESTING: &[(&str, &str, &str)] = &[
    ("(", "1", ")"),
    ("[", "1", "]"),
    ("f(", "1", ")"),
    ("$x[", "1", "]"),
    ("!", "1", ""),
    ("- ", "1", ""),
    ("~", "1", ""),
    ("$a = ", "1", ""),
    ("2 ** ", "1", ""),
    ("(1 + ", "1", ")"),
];

const NESTING_STATEMENTS: &[(&str, &str, &str)] = &[
    ("{ ", "", "}"),
    ("if (1) { ", "", "}"),
    ("if (1) ", ";", ""),
    ("while (1) ", ";", ""),
    ("forever ", ";", ""),
    ("foreach ($a as $b) ", ";", ""),
    ("function f() { ", "", "}"),
    ("switch (1) { case 1: ", "", "}"),
    ("try { ", "", "} catch ($e) {}"),
    ("__debug [\"a\", \"b\"] ", ";", ""),
];

#[test]
fn what_nests_up_to_the_limit_compiles() {
    for (open, inner, close) in NESTING {
        compiles(format!("echo {};", nested(256, open, inner, close)));
    }
    for (open, inner, close) in NESTING_STATEMENTS {
        compiles(nested(255, open, inner, close));
    }
    compiles(format!(
        "echo {};",
        nested(128, "function () { return ", "1", "; }")
    ));
    compiles(format!("echo {};", nested(200, "(1 + 2 * ", "1", ")")));
}

#[test]
fn what_nests_deeper_is_refused() {
    for levels in [257, 300, 1_000, 50_000] {
        for (open, inner, close) in NESTING {
            too_deep(format!("echo {};", nested(levels, open, inner, close)));
        }
    }
    for levels in [257, 1_000, 20_000] {
        for (open, inner, close) in NESTING_STATEMENTS {
            let messages = messages(nested(levels, open, inner, close));
            assert!(
                messages
                    .iter()
                    .any(|message| message.contains("nested too deeply")),
                "{open}: {messages:?}"
            );
        }
    }
}

#[test]
fn the_ladder_of_operators_cannot_multiply_the_depth() {
    let ladder = "(1 ?? 2 or 3 and 4 == 5 < 6 | 7 ^ 8 & 9 . 10 << 11 + 12 * -";
    let messages = messages(format!("echo {};", nested(250, ladder, "1", ")")));
    assert!(
        messages
            .iter()
            .all(|message| message.contains("nested too deeply")),
        "{messages:?}"
    );
    assert!(!messages.is_empty());
}

/// Hostile texts: no overflow, no quadratic time. The limit is generous, for slow machines.
#[test]
fn repeated_anything_takes_linear_time() {
    let pieces = [
        "(",
        "[",
        "{",
        ")",
        "]",
        "}",
        "!",
        "-",
        "- ",
        "~",
        "f(",
        "$x->",
        "$x[",
        "1 ? ",
        "a ?: ",
        "->a",
        "[1]",
        "{}",
        ";",
        ",",
        "'a",
        "'a' ",
        "\"",
        "\"\n",
        "#/a",
        "/*",
        "if (1) ",
        "else ",
        "case ",
        "function () {",
        "match (1) {",
        "class A {",
        "1 + ",
        "$a = ",
        "echo 1\n",
        "$a $b;\n",
        "\n}",
        "\n]",
        "\n)",
        "if (\n",
        "x\n",
        "}\n{",
        "($a {\n",
        "[(",
        "))",
        "\u{a0}",
        "«",
        "${",
        "1_",
        "::",
        "...",
        "return ",
        "cache [] ",
        "f() {\n",
        "2 ** ",
        "$x = [\n",
        "\t}\n",
        "$a ?? ",
        "=> ",
        "\\",
    ];
    for piece in pieces {
        let text = piece.repeat((1 << 16) / piece.len());
        let start = Instant::now();
        let messages = messages(text);
        let time = start.elapsed();
        assert!(messages.len() <= 20, "{piece:?}: {}", messages.len());
        assert!(time < Duration::from_secs(20), "{piece:?} took {time:?}");
        println!("{piece:?}: {time:?}, {:?}", messages.first());
    }
}
