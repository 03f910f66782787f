//! Printing a tree and reading it again gives the same tree; and no text of any kind makes the parser panic.

mod common;

use angarium_syntax::dump::dump;
use angarium_syntax::print::print;
use common::generate::statement;
use proptest::prelude::*;

/// Reads, prints, reads and prints: the trees and the texts must agree.
fn round_trip(text: &[u8]) -> Result<(), TestCaseError> {
    let (tree, errors, sources) = common::parsed(text);
    let messages: String = errors.iter().map(|error| error.render(&sources)).collect();
    prop_assert!(
        errors.is_empty(),
        "{}\n{messages}",
        String::from_utf8_lossy(text)
    );
    let printed = print(&tree);
    let (again, errors, sources) = common::parsed(&printed);
    let messages: String = errors.iter().map(|error| error.render(&sources)).collect();
    prop_assert!(
        errors.is_empty(),
        "{}\n{messages}",
        String::from_utf8_lossy(&printed)
    );
    prop_assert_eq!(
        dump(&tree),
        dump(&again),
        "{}",
        String::from_utf8_lossy(&printed)
    );
    prop_assert_eq!(&printed, &print(&again));
    Ok(())
}

#[test]
fn the_sample_scripts_survive_printing() {
    for (name, text) in common::scripts() {
        round_trip(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_generated_program_survives_printing(list in prop::collection::vec(statement(), 0..4)) {
        round_trip(list.join("\n").as_bytes())?;
    }

    #[test]
    fn any_bytes_never_panic(text in prop::collection::vec(any::<u8>(), 0..200)) {
        let (program, errors, sources) = common::parsed(&text);
        prop_assert!(errors.len() <= 20);
        let _ = (dump(&program), print(&program));
        for error in &errors {
            let _ = (error.render(&sources), error.record(&sources));
        }
    }

    #[test]
    fn any_tokens_never_panic(text in prop::collection::vec(prop::sample::select(TOKENS), 0..60)) {
        let text = text.join(" ");
        let (program, errors, sources) = common::parsed(text.as_bytes());
        prop_assert!(errors.len() <= 20);
        let _ = (dump(&program), print(&program));
        let mut last = 0;
        for error in &errors {
            prop_assert!(error.primary.span.start >= last, "not in order");
            last = error.primary.span.start;
            prop_assert!(error.primary.span.end as usize <= text.len());
            let _ = (error.render(&sources), error.record(&sources));
        }
        // A program without a message is a program.
        if errors.is_empty() {
            prop_assert!(!dump(&program).contains("error"));
            round_trip(text.as_bytes())?;
        }
    }
}

const TOKENS: &[&str] = &[
    "and",
    "array",
    "as",
    "barrier",
    "break",
    "builtin",
    "cache",
    "case",
    "catch",
    "class",
    "closure",
    "constructor",
    "continue",
    "default",
    "echo",
    "else",
    "false",
    "for",
    "foreach",
    "forever",
    "from",
    "function",
    "global",
    "if",
    "import",
    "include",
    "isset",
    "match",
    "none",
    "not",
    "object",
    "or",
    "private",
    "readonly",
    "return",
    "static",
    "switch",
    "throw",
    "true",
    "try",
    "unset",
    "while",
    "with",
    "yield",
    "__debug",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ",",
    ";",
    ";",
    ";",
    "\n",
    "\n",
    ":",
    "::",
    "->",
    "=>",
    "?",
    "??",
    "...",
    "=",
    "+=",
    "==",
    "<",
    "+",
    "-",
    "*",
    "**",
    ".",
    "++",
    "!",
    "&&",
    "$a",
    "$b",
    "$a",
    "f",
    "g",
    "1",
    "2.5",
    "\"s\"",
    "\"$a\"",
    "''r''",
    "'",
    "\"",
    "#/a/",
    "//",
    "/*",
];

/// Messages must be true: the one about a later statement stays when an earlier statement is mended.
#[test]
fn no_message_vanishes_when_an_earlier_one_is_mended() {
    let broken = [
        ("echo 1 2;", "echo 1;"),
        ("$x = foo(1, 2;", "$x = foo(1, 2);"),
        ("if ($a == 1 { echo 1; }", "if ($a == 1) { echo 1; }"),
        ("whlie (1) { echo 2; }", "while (1) { echo 2; }"),
        ("$y = [1, 2;", "$y = [1, 2];"),
        ("f() = 1;", "f() == 1;"),
        ("try { echo 1; }", "try { echo 1; } catch ($e) { }"),
        ("function g( { return 1; }", "function g() { return 1; }"),
        (
            "switch ($x) { case 1 2: echo 1; }",
            "switch ($x) { case 1: echo 1; }",
        ),
        ("class A { foo; $x; }", "class A { $foo; $x; }"),
        (
            "$z = match (1) { 1 = > 2, default => 3 };",
            "$z = match (1) { 1 => 2, default => 3 };",
        ),
        ("$s = \"\\q\";", "$s = \"q\";"),
        ("break;", ";"),
        ("if (1) { } elseif (2) { }", "if (1) { } else if (2) { }"),
        (
            "$f = function () { echo 1 2; } 5;",
            "$f = function () { echo 1; };",
        ),
    ];
    for first in 0..broken.len() {
        for second in 0..broken.len() {
            let both = format!("{}\necho 0;\n{}\n", broken[first].0, broken[second].0);
            let mended = format!("{}\necho 0;\n{}\n", broken[first].1, broken[second].0);
            let lines = |text: &str| -> Vec<String> {
                let (_, errors, sources) = common::parsed(text.as_bytes());
                let errors = errors.iter().map(|error| {
                    (
                        sources.position(error.primary.span).line,
                        error.message.clone(),
                    )
                });
                errors
                    .filter(|(line, _)| *line > 1)
                    .map(|(line, message)| format!("{line}: {message}"))
                    .collect()
            };
            let (before, after) = (lines(&both), lines(&mended));
            assert!(!after.is_empty(), "{mended}");
            assert_eq!(before, after, "{both}");
        }
    }
}
