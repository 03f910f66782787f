//! Programs that want to take all time or memory before they run: compiling them ends soon, with a program or an error.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "the test is about real time"
)]

use std::collections::HashMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use angarium_sandbox::script;

/// Most time that one may take here: the machine may be busy and the build is not optimised.
const TIME: Duration = Duration::from_secs(60);

type Files = HashMap<String, Vec<u8>>;

/// A text that repeats what `line` gives.
fn repeated(count: usize, line: impl Fn(usize) -> String) -> String {
    (0..count).map(line).collect()
}

fn nested(count: usize, open: &str, middle: &str, close: &str) -> String {
    format!("{}{middle}{}", open.repeat(count), close.repeat(count))
}

/// The name, the program and its files, and what is said about it: nothing when it compiles.
fn bombs() -> Vec<(&'static str, String, Files, &'static str)> {
    let none = HashMap::new;
    let mut bombs: Vec<(&'static str, String, Files, &'static str)> = Vec::new();
    let many: Files = (0..10_000)
        .map(|at| (format!("f{at}"), format!("$x{at} = {at};\n").into_bytes()))
        .collect();
    let all = repeated(10_000, |at| format!("include \"f{at}\";\n"));
    bombs.push(("ten thousand files", all, many, ""));
    let chain: Files = (0..10_000)
        .map(|at| {
            let next = format!("include \"f{}\";\n", at + 1);
            (format!("f{at}"), next.into_bytes())
        })
        .collect();
    bombs.push((
        "a chain of files",
        "include \"f0\";".into(),
        chain,
        "include",
    ));
    let itself = HashMap::from([("f".to_owned(), b"include \"f\"; include \"f\";".to_vec())]);
    bombs.push((
        "a file that includes itself",
        "include \"f\";".into(),
        itself,
        "include",
    ));
    let doubling: Files = (0..40)
        .map(|at| {
            let twice = format!("include \"f{n}\"; include \"f{n}\";", n = at + 1);
            (format!("f{at}"), twice.into_bytes())
        })
        .chain([("f40".to_owned(), vec![b'\n'; 1 << 20])])
        .collect();
    bombs.push((
        "files that include the next one twice",
        "include \"f0\";".into(),
        doubling,
        "too large altogether",
    ));
    let mut constant = "$a = \"aaaaaaaa\"".to_owned();
    for _ in 0..20 {
        constant.push_str(" * 1000");
    }
    bombs.push((
        "a constant repeated again and again",
        constant + ";",
        none(),
        "",
    ));
    let joined = nested(40, "(", "\"x\"", " . \"x\" * 1000000)");
    bombs.push(("constants joined", format!("$a = {joined};"), none(), ""));
    let arrays = nested(60, "[1] * 1000 + (", "[]", ")");
    bombs.push((
        "constant arrays added up",
        format!("$a = {arrays};"),
        none(),
        "",
    ));
    let list = repeated(200_000, |at| format!("{at},"));
    bombs.push((
        "a constant list of 200,000",
        format!("$a = [{list}];"),
        none(),
        "",
    ));
    let arms = repeated(100_000, |at| format!("case {at}: $y = {at}; break;\n"));
    bombs.push((
        "a switch of 100,000 arms",
        format!("$x = 5; switch ($x) {{ {arms} }}"),
        none(),
        "",
    ));
    let arms = repeated(100_000, |at| format!("{at} => {at},\n"));
    bombs.push((
        "a match of 100,000 arms",
        format!("$x = 5; $y = match ($x) {{ {arms} default => 0 }};"),
        none(),
        "",
    ));
    let functions = repeated(50_000, |at| {
        format!("function f{at}($x) {{ return $x; }}\n")
    });
    bombs.push(("50,000 functions", functions, none(), ""));
    let classes = repeated(20_000, |at| {
        format!("class C{at} {{ function f() {{}} }}\n")
    });
    bombs.push(("20,000 classes", classes, none(), ""));
    let mut variables = String::new();
    for at in 0..30_000 {
        let _ = writeln!(variables, "$v{at} = {at};");
    }
    bombs.push(("30,000 variables", variables, none(), ""));
    for (name, open, middle, close) in [
        ("nested brackets", "(", "1", ")"),
        ("nested arrays", "[", "1", "]"),
        ("nested signs", "- ", "1", ""),
        ("nested calls", "f(", "1", ")"),
        ("nested functions", "function () { return ", "1", "; }"),
    ] {
        let text = format!("$a = {};", nested(100_000, open, middle, close));
        bombs.push((name, text, none(), "deep"));
    }
    let text = nested(100_000, "if (1) {", "", "}");
    bombs.push(("nested blocks", text, none(), "deep"));
    bombs
}

#[test]
fn compiling_ends_soon_whatever_the_program_is() {
    let mut wrong = Vec::new();
    for (name, text, files, said) in bombs() {
        let begin = Instant::now();
        let compiled = script::compile(text.as_bytes(), &files);
        let took = begin.elapsed();
        let error = compiled.err().unwrap_or_default();
        let shown: String = error.chars().take(200).collect();
        println!("{:6} ms  {name}: {shown}", took.as_millis());
        if took > TIME {
            wrong.push(format!("{name}: took {took:?}"));
        }
        let fits = match said {
            "" => error.is_empty(),
            said => error.contains(said),
        };
        if !fits {
            wrong.push(format!("{name}: {shown:?}, expected {said:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
