//! The formatter: what it makes of samples, and that it never changes a program.

#![allow(
    clippy::disallowed_methods,
    reason = "the tests read the scripts of the project"
)]

mod common;

use angarium_syntax::dump::dump;
use angarium_syntax::format::{FormatError, format};
use angarium_syntax::lexer::lex;
use angarium_syntax::{FileId, parse};
use common::generate::statement;
use proptest::prelude::*;
use std::path::{Path, PathBuf};

const FILE: FileId = FileId(0);

fn formatted(text: &[u8]) -> String {
    let out = format(text, FILE).unwrap_or_else(|error| {
        panic!("{error:?}\n{}", String::from_utf8_lossy(text));
    });
    String::from_utf8_lossy(&out).into_owned()
}

/// What is true of every program: the tree and the comments stay, and formatted text stays as it is.
fn keeps_everything(text: &[u8]) -> Result<Vec<u8>, TestCaseError> {
    let shown = String::from_utf8_lossy(text).into_owned();
    let out =
        format(text, FILE).map_err(|error| TestCaseError::fail(format!("{error:?}: {shown}")))?;
    let result = String::from_utf8_lossy(&out).into_owned();
    prop_assert_eq!(tree(text), tree(&out), "{}\n=>\n{}", shown, result);
    prop_assert_eq!(comments(text), comments(&out), "{}\n=>\n{}", shown, result);
    let again =
        format(&out, FILE).map_err(|error| TestCaseError::fail(format!("{error:?}: {result}")))?;
    prop_assert_eq!(
        &result,
        &String::from_utf8_lossy(&again),
        "not stable: {}",
        shown
    );
    prop_assert!(out.is_empty() || out.ends_with(b"\n") && !out.ends_with(b"\n\n"));
    Ok(out)
}

/// The tree, without empty statements.
fn tree(text: &[u8]) -> String {
    let (program, errors) = parse(text, FILE);
    assert!(
        errors.is_empty(),
        "{errors:?}\n{}",
        String::from_utf8_lossy(text)
    );
    dump(&program)
        .replace(" (empty)", "")
        .replace("(empty)\n", "")
}

/// The comments, without the space around their lines.
fn comments(text: &[u8]) -> Vec<String> {
    let lexed = lex(text, FILE);
    let texts = lexed
        .comments
        .iter()
        .map(|comment| String::from_utf8_lossy(comment.text(text)).into_owned());
    texts
        .map(|text| text.lines().map(str::trim).collect::<Vec<_>>().join("\n"))
        .collect()
}

/// The text with other space where there is space. Tokens that touch stay so: they may be one sign (`::`).
fn respaced(plain: &str, mut other: impl FnMut() -> Option<String>) -> Vec<u8> {
    let mut text = String::new();
    let mut end = 0;
    for token in lex(plain.as_bytes(), FILE).tokens {
        let (start, after) = (token.start as usize, token.end as usize);
        let gap = &plain[end..start];
        match other().filter(|_| !gap.is_empty()) {
            Some(other) => text.push_str(&other),
            None => text.push_str(gap),
        }
        text.push_str(&plain[start..after]);
        end = after;
    }
    text.into_bytes()
}

// ---- Samples ------------------------------------------------------------------------------------

fn sample(name: &str) -> String {
    let path = format!("{}/tests/format/{name}.hsl", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read(path).expect("a sample");
    formatted(&keeps_everything(&text).unwrap_or_else(|error| panic!("{error}")))
}

#[test]
fn comments_stay_in_their_place() {
    insta::assert_snapshot!(sample("comments"));
}

#[test]
fn every_construct_has_its_layout() {
    insta::assert_snapshot!(sample("layout"));
}

#[test]
fn small_rules() {
    for (text, expected) in [
        ("", ""),
        ("\n\n", ""),
        (";", ""),
        ("// c", "// c\n"),
        ("\n\n// c\n\n\n\n// d\n\n", "// c\n\n// d\n"),
        ("\u{feff}echo 1", "echo 1;\n"),
        ("echo 1;\r\n\r\n\r\necho 2;\r\n", "echo 1;\n\necho 2;\n"),
        ("/* a\r\n   b */\r\necho 1;", "/* a\n   b */\necho 1;\n"),
        ("echo \"a\r\nb\";", "echo \"a\r\nb\";\n"),
        ("echo 1;  \t // c  \t \n", "echo 1; // c\n"),
        ("echo 0x0F . 1_0 . 007.50;", "echo 0x0F . 1_0 . 007.50;\n"),
        (
            "echo \"\\x41\\$\" . ''\\x'';",
            "echo \"\\x41\\$\" . ''\\x'';\n",
        ),
        ("$a=array(1,2);", "$a = array(1, 2);\n"),
        ("echo (((1)));", "echo (((1)));\n"),
        ("if(1){}else{}", "if (1) {} else {}\n"),
        ("echo 1;;", "echo 1;\n"),
        ("if (1);", "if (1);\n"),
        ("f() ? : 1;", "f() ?: 1;\n"),
        ("$x[f: :];", "$x[f: :];\n"),
        ("$x[$y->f: :2];", "$x[$y->f: :2];\n"),
        ("- - - -1; + ++$x; !!$x;", "- - - -1;\n+ ++$x;\n!!$x;\n"),
        ("$x = not(1);", "$x = not (1);\n"),
        ("return(1);", "return (1);\n"),
        ("[$a,,] = 1;", ""),
    ] {
        if expected.is_empty() && text.contains(",,") {
            assert!(format(text.as_bytes(), FILE).is_err());
        } else {
            assert_eq!(formatted(text.as_bytes()), expected, "{text}");
        }
    }
}

#[test]
fn a_line_is_full_at_a_hundred_characters() {
    // Characters, not bytes.
    for (count, lines) in [(87, 1), (88, 3)] {
        let text = format!("$x = [\"{}\", 1];", "é".repeat(count));
        let whole = 5 + 1 + count + 2 + 5;
        assert_eq!(whole <= 100, lines == 1, "{whole}");
        let out = formatted(text.as_bytes());
        assert_eq!(out.lines().count() == 1, lines == 1, "{out}");
    }
}

#[test]
fn what_is_no_program_is_refused() {
    for text in [
        "echo (1;",
        "$x = \"abc",
        "if (1) {",
        "/* c",
        "echo 1 2;",
        "break 5",
    ] {
        let Err(FormatError::Syntax(errors)) = format(text.as_bytes(), FILE) else {
            panic!("{text}");
        };
        assert!(!errors.is_empty());
    }
}

// ---- All scripts of the project -----------------------------------------------------------------

fn scripts(folder: &Path, found: &mut Vec<PathBuf>) {
    let entries = std::fs::read_dir(folder).expect("a folder");
    for entry in entries {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            scripts(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "hsl") {
            found.push(path);
        }
    }
}

fn below(folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(folder);
    scripts(&root, &mut found);
    assert!(!found.is_empty(), "{folder}");
    found.sort();
    found
}

#[test]
fn the_examples_are_formatted() {
    for path in below("examples") {
        let text = std::fs::read_to_string(&path).expect("a script");
        assert_eq!(
            formatted(text.as_bytes()),
            text,
            "{}: run `angarium fmt examples`",
            path.display()
        );
    }
}

#[test]
fn the_sample_scripts_keep_everything() {
    for (name, text) in common::scripts() {
        keeps_everything(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

#[test]
fn the_cases_of_the_language_keep_everything() {
    let mut done = 0;
    let mut wrong = 0;
    for path in below("runtime/tests/hsl") {
        let text = std::fs::read_to_string(&path).expect("a script");
        // Every `//#` starts a program of its own; some have syntax errors on purpose.
        for case in text.split("//#").map(|case| format!("//{case}")) {
            let (_, errors) = parse(case.as_bytes(), FILE);
            if errors.is_empty() {
                keeps_everything(case.as_bytes())
                    .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                done += 1;
            } else {
                wrong += 1;
            }
        }
    }
    assert!(
        done > 200 && wrong < done / 5,
        "{done} formatted, {wrong} with errors"
    );
}

// ---- Random programs ----------------------------------------------------------------------------

/// What may stand between two tokens.
fn trivia() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        8 => Just(" "),
        2 => prop::sample::select(&["\n", "\n\n\n", "\r\n\t", "  "][..]),
        2 => prop::sample::select(
            &["// one\n", " // two\n", "\n// three\n", "\n\n // four\n\n", "\n//\n// five \n"][..]
        ),
        2 => prop::sample::select(
            &["/* a */", " /* b */ ", "\n/* c */\n", "/* d */\n\n", "\n\n/* e\n   f */ ", "/**\n* g\n  * h\n*/", "/* i */ /* j */ // k\n"][..]
        ),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_random_program_keeps_everything(
        list in prop::collection::vec(statement(), 0..4),
        between in prop::collection::vec(trivia(), 1..60),
        rare in 1_usize..20,
    ) {
        let plain = list.join("\n");
        let mut between = between.iter().cycle();
        let mut count = 0;
        let text = respaced(&plain, || {
            count += 1;
            (count % rare == 0).then(|| format!(" {} ", between.next().expect("endless")))
        });
        keeps_everything(&text)?;
    }

    #[test]
    fn white_space_alone_decides_nothing_but_empty_lines(list in prop::collection::vec(statement(), 0..4)) {
        let plain = list.join("\n");
        let spread = respaced(&plain, || Some("\n".to_owned()));
        prop_assert_eq!(keeps_everything(plain.as_bytes())?, keeps_everything(&spread)?);
    }

    #[test]
    fn any_tokens_never_panic(text in prop::collection::vec(prop::sample::select(TOKENS), 0..60)) {
        let text = text.join(" ");
        if format(text.as_bytes(), FILE).is_ok() {
            keeps_everything(text.as_bytes())?;
        }
    }

    #[test]
    fn any_bytes_never_panic(text in prop::collection::vec(any::<u8>(), 0..200)) {
        if format(&text, FILE).is_ok() {
            keeps_everything(&text)?;
        }
    }
}

const TOKENS: &[&str] = &[
    "$a", "$b", "f", "1", "\"s\"", "(", ")", "[", "]", "{", "}", ";", ";", ",", "=", "+", "-",
    "->x", "=>", "if", "else", "echo", "function", "// c\n", "/* d */", "\n", "\n\n", "?", ":",
    "match", "default", "switch", "case", "for", "while", "return", "not", "!", "class", "static",
    "::", "++", "**", "forever", "yield", "try", "catch",
];

// ---- Limits -------------------------------------------------------------------------------------

/// Formats on a small stack.
fn in_small_stack(text: String) -> String {
    let thread = std::thread::Builder::new().stack_size(2 << 20);
    let work = move || formatted(text.as_bytes());
    thread
        .spawn(work)
        .expect("a thread")
        .join()
        .expect("no overflow and no panic")
}

#[test]
fn long_flat_programs_are_formatted() {
    const LINKS: usize = 100_000;
    const MANY: usize = 5_000;
    for (text, lines) in [
        (format!("$x = 1{};", " + 1".repeat(LINKS)), LINKS),
        (format!("$x = 1{};", " ?? 1".repeat(MANY)), MANY),
        (format!("$x = {}1;", "1 ? 2 : ".repeat(MANY)), MANY),
        (format!("$x = {}1;", "1 ?: ".repeat(MANY)), MANY),
        (
            format!("if (1) echo 1;{}", " else if (1) echo 1;".repeat(MANY)),
            2 * MANY,
        ),
        (format!("$x = [{}];", "1,".repeat(MANY)), MANY),
        (format!("f({}1);", "$a, ".repeat(MANY)), MANY),
        (format!("$x{};", "->a()".repeat(MANY)), MANY),
        (format!("$x{};", "->a".repeat(MANY)), 1),
        (format!("$x{};", "[1]".repeat(LINKS)), 1),
        ("echo 1;".repeat(MANY), MANY),
        (";".repeat(LINKS), 0),
        (
            format!("switch ($x) {{ {} }}", "case 1: break; ".repeat(MANY)),
            2 * MANY,
        ),
        (
            format!("$x = match (1) {{ {} }};", "1 => 2, ".repeat(MANY)),
            MANY,
        ),
        ("// c\n".repeat(LINKS), LINKS),
        (format!("f({} 1);", "/* c */ ".repeat(LINKS)), 1),
    ] {
        let start: String = text.chars().take(40).collect();
        let out = in_small_stack(text);
        assert!(out.lines().count() >= lines, "{start}");
    }
}

#[test]
fn what_nests_up_to_the_limit_is_formatted() {
    let nested = |levels: usize, open: &str, inner: &str, close: &str| {
        format!("{}{inner}{}", open.repeat(levels), close.repeat(levels))
    };
    for (open, inner, close) in [
        ("(", "1", ")"),
        ("[", "1", "]"),
        ("f(", "1", ")"),
        ("f([", "1", "])"),
        ("$x[", "1", "]"),
        ("!", "1", ""),
        ("$a = ", "1", ""),
        ("2 ** ", "1", ""),
        ("1 + (", "1", ")"),
        ("match (1) { 1 => ", "1", " }"),
        ("f(1, function () { return ", "1", "; })"),
    ] {
        let levels = if close.len() > 2 || open.len() > 5 || open == "f([" {
            84
        } else {
            256
        };
        in_small_stack(format!("echo {};", nested(levels, open, inner, close)));
    }
    for (open, inner, close) in [
        ("{ ", "", "}"),
        ("if (1) { ", "", "}"),
        ("if (1) ", ";", ""),
        ("forever ", ";", ""),
        ("function f() { ", "", "}"),
        ("switch (1) { case 1: ", "", "}"),
        ("try { ", "", "} catch ($e) {}"),
        ("__debug [\"a\", \"b\"] ", ";", ""),
    ] {
        in_small_stack(nested(255, open, inner, close));
    }
    let ladder = "(1 ?? 2 or 3 and 4 == 5 < 6 | 7 ^ 8 & 9 . 10 << 11 + 12 * -";
    in_small_stack(format!("echo {};", nested(30, ladder, "1", ")")));
}
