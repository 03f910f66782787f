//! The grammars for editors (`editors/`) agree with the lexer and the parser about every script of the project.
//!
//! TextMate: Node with the packages of `editors/test`. Tree-sitter: a C compiler, and Python with `tree_sitter`.
//! `.ci/run` installs them.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "it starts other programs on the project's own files"
)]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use angarium_syntax::lexer::lex;
use angarium_syntax::token::TokenKind;
use angarium_syntax::{FileId, parse};
use angarium_tests::program::{installed, python, root};
use base64::Engine as _;
use serde_json::{Value, json};

/// A script, or a part of one.
struct Sample {
    name: String,
    text: Vec<u8>,
}

impl Sample {
    fn is_program(&self) -> bool {
        parse(&self.text, FileId(0)).1.is_empty()
    }

    /// Whether it is refused for what the grammar does not say: targets, places of statements, parameters and the like.
    fn is_refused_later(&self) -> bool {
        let (_, errors) = parse(&self.text, FileId(0));
        let by_grammar = |message: &str| message.starts_with("unexpected");
        !errors.is_empty() && !errors.iter().any(|error| by_grammar(&error.message))
    }

    /// With the class of every token.
    fn to_json(&self) -> Value {
        let lexed = lex(&self.text, FileId(0));
        let tokens = lexed.tokens.iter().chain(&lexed.comments);
        let mut tokens: Vec<(&str, u32, u32)> = tokens
            .map(|token| (class(token.kind), token.start, token.end))
            .collect();
        tokens.sort_by_key(|token| token.1);
        json!({
            "name": self.name,
            "text": base64(&self.text),
            "ok": self.is_program(),
            "tokens": tokens,
        })
    }
}

fn class(kind: TokenKind) -> &'static str {
    match kind {
        TokenKind::Name => "name",
        TokenKind::Variable => "variable",
        TokenKind::Number => "number",
        TokenKind::Regex => "regex",
        TokenKind::LineComment | TokenKind::BlockComment => "comment",
        kind if kind.is_string() => "string",
        kind if kind.is_keyword() => "keyword",
        _ => "sign",
    }
}

fn base64(text: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(text)
}

fn scripts(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            scripts(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "hsl") {
            found.push(path);
        }
    }
}

/// The scripts of the project, those of the language's test suite case by case (some have errors on purpose).
fn samples() -> Vec<Sample> {
    let mut paths = Vec::new();
    for folder in ["examples", "runtime/tests/hsl", "lang/syntax/tests"] {
        scripts(&root().join(folder), &mut paths);
    }
    paths.sort();
    let mut samples = Vec::new();
    for path in paths {
        let name = path.strip_prefix(root()).unwrap().display().to_string();
        let text = std::fs::read_to_string(&path).unwrap();
        for (index, case) in text.split("//#").enumerate() {
            samples.push(Sample {
                name: format!("{name} {index}"),
                text: format!("//{case}").into_bytes(),
            });
        }
    }
    assert!(samples.len() > 200, "{}", samples.len());
    samples
}

/// Has every kind of token.
const SHOWN: &str = r##"/** Doc. */
import { f as g, $x } from "m.hsl"; // line
class A
{
    private static $n = 0x1f;
    constructor($a, ...$rest) { $this->default($a)->n = A::$n; }
}
function f($s = 'E'it's'E')
{
    return match (true) { $s =~ #/^a\/b/i, none => "x ${s} $s\n", default => cache ["ttl" => 1.5] builtin length($s[1::2]) };
}
"##;

/// Gives `input` to a program and reads its answer.
fn answer(command: &mut Command, input: &Value) -> Value {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.to_string().as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{command:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn nothing_is_wrong(answer: &Value) {
    let wrong: Vec<&str> = answer["wrong"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| line.as_str().unwrap())
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(
        answer["tokens"].as_u64().unwrap() > 5_000,
        "{}",
        answer["tokens"]
    );
}

#[test]
fn textmate_scopes_agree_with_the_lexer() {
    if !installed("node") {
        return;
    }
    let folder = root().join("editors/test");
    if !folder.join("node_modules/vscode-textmate").is_dir() {
        println!("skipped: npm packages are not installed: npm ci --prefix editors/test");
        return;
    }
    let samples: Vec<Value> = samples()
        .iter()
        .filter(|sample| sample.is_program())
        .map(Sample::to_json)
        .collect();
    let input = json!({ "samples": samples, "show": base64(SHOWN.as_bytes()) });
    let answer = answer(
        Command::new("node").arg(folder.join("textmate.mjs")),
        &input,
    );
    nothing_is_wrong(&answer);
    insta::assert_snapshot!(answer["shown"].as_str().unwrap());
}

#[test]
fn tree_sitter_agrees_with_the_parser() {
    if !installed("cc") {
        return;
    }
    let importable = Command::new(python())
        .args(["-c", "import tree_sitter"])
        .stderr(Stdio::null())
        .status();
    if !importable.is_ok_and(|status| status.success()) {
        println!("skipped: Python has no package tree_sitter");
        return;
    }
    let grammar = root().join("editors/tree-sitter-hsl");
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("hsl.so");
    let compiled = Command::new("cc")
        .args(["-shared", "-fPIC", "-O0", "-Wall", "-Werror", "-I"])
        .arg(grammar.join("src"))
        .args([grammar.join("src/parser.c"), grammar.join("src/scanner.c")])
        .arg("-o")
        .arg(&library)
        .status();
    assert!(compiled.unwrap().success());
    let mut all = samples();
    let mut mistaken = Vec::new();
    for (text, ok) in CASES {
        let sample = Sample {
            name: (*text).to_owned(),
            text: text.as_bytes().to_vec(),
        };
        if sample.is_program() != *ok {
            mistaken.push(*text);
        }
        all.push(sample);
    }
    assert_eq!(mistaken, [""; 0]);
    all.retain(|sample| !sample.is_refused_later());
    let samples: Vec<Value> = all.iter().map(Sample::to_json).collect();
    let input = json!({ "samples": samples, "show": base64(SHOWN.as_bytes()) });
    let answer = answer(
        Command::new(python())
            .arg(root().join("editors/test/treesitter.py"))
            .arg(&library)
            .arg(&grammar),
        &input,
    );
    nothing_is_wrong(&answer);
    insta::assert_snapshot!(answer["shown"].as_str().unwrap().replace(" (", "\n("));
}

/// What the grammars are most likely to get wrong: text, and whether it is a program.
const CASES: &[(&str, bool)] = &[
    ("$x = $a and $b = $c or $d", true),
    ("$c ? 1 : $x = 2; -2 ** -2; 2 ** !$a == 3;", true),
    (
        "$x[::2]; $x[1::2]; \"abc\"[::-1]; $x[:]; $x[$a ? $b : $c : $d]; $x[$y->f::2];",
        true,
    ),
    ("f() ? : \"\"; $a ?? $b ?: $c;", true),
    ("$x->default()->match->if[1];", true),
    (
        "''C:\\new''; 'EOT'it's ''quoted'' text'EOT'; '#'a'#b'#';",
        true,
    ),
    (
        "echo \"// no comment $5 $x ${x} \\x41 \\\" /* \"; // comment\n",
        true,
    ),
    ("#/a[\\/]\\#/x =~ #/b/;", true),
    ("$s =~ #/a[\\/]\\#/x;", true),
    ("if (1) if (2) echo 1; else echo 2; else echo 3;", true),
    ("{ return $x * 2 }", true),
    (
        "function () { }(); function f() { } static::f(); A::$b;",
        true,
    ),
    (
        "class A { private static $x = 1; ; readonly $y; constructor() { } static function f() { } }",
        true,
    ),
    ("switch (1) { case A::b: case 2: break; default: }", true),
    (
        "yield 1 => 2; barrier \"x\" => $v { } barrier $x { }",
        false,
    ),
    (
        "function f() { yield 1 => 2; barrier \"x\" => $v { } barrier $x { } }",
        true,
    ),
    (
        "match (1) { 1, 2 => 3, default => 4, }; match (1) { };",
        true,
    ),
    (
        "import { a, b as c, $x as $y, } from \"m\"; import * as n from \"m\"; import $d from ''f.csv'' with [\"a\" => 1];",
        true,
    ),
    ("[$a, [\"k\" => $b], $c = 1, ...$d] = f(...$x, 1,);", true),
    ("0x1_f + 0o17 . 0b1 . 1_000.5;", true),
    ("if = 1;", false),
    ("function if() { }", false),
    ("$x = ;", false),
    ("echo 1 echo 2;", false),
    ("f(1 2);", false),
    ("$x = [1, 2;", false),
    ("while (1) }", false),
    ("for (1; 2) { }", false),
    ("$x = \"\\q\";", false),
    ("1 = = 2;", false),
    ("class A { foo; }", false),
    ("try { } echo 1;", false),
    ("$a $b;", false),
    ("else { }", false),
    ("array[1];", false),
    ("", true),
];
