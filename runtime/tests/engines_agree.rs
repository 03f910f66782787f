//! Random programs do the same with the machine's short cuts and without them.
//!
//! Each program runs as it is: constants are folded and stand in instructions, comparisons are joined with jumps, variables
//! are registers, elements are written in place. And it runs without that, in two ways:
//!
//! * compiled plainly ([`angarium_lang::compile_plain`]): the same text, so that places of errors are the same as well;
//! * written so that nothing of it applies: every literal comes out of a call, every variable is shared with a closure and
//!   lives in a cell.
#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::rc::Rc;
use std::time::Duration;

use angarium_effects::VirtualClock;
use angarium_lang::modules::NoFiles;
use angarium_runtime::convert::dump;
use angarium_runtime::vm::session::SessionError;
use angarium_runtime::{Limits, Session};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Expr {
    Literal(&'static str),
    List(Vec<Expr>),
    Variable(u8),
    Binary(&'static str, Box<Expr>, Box<Expr>),
    Index(Box<Expr>, Box<Expr>),
    Not(Box<Expr>),
    Call(Box<Expr>),
    Ternary(Box<Expr>, Option<Box<Expr>>, Box<Expr>),
    /// `($a = e)`, `($a[k] += e)`: operands that change variables which other operands read.
    Assign(u8, Option<Box<Expr>>, &'static str, Box<Expr>),
    /// `$a++`, `--$a`
    Step(u8, bool, &'static str),
    Template(u8, u8),
    Pairs(Vec<(Expr, Expr)>),
    Slice(Box<Expr>, Box<Expr>, Box<Expr>),
    Isset(u8, Box<Expr>),
    Match(Box<Expr>, Vec<(Expr, Expr)>, Box<Expr>),
    /// A call of a function with two parameters.
    Apply(Box<Expr>, Box<Expr>),
    /// A call of a built-in that calls back, which throws now and then.
    Mapped(Box<Expr>, Box<Expr>),
    /// A call of a function that changes a variable which it captured.
    Closure(u8, Box<Expr>),
    /// All that a generator gives.
    Generated(Box<Expr>, Box<Expr>),
    /// A call of a method, which keeps a value in its object.
    Method(Box<Expr>),
    /// The result of a built-in that comes later, or that was computed elsewhere.
    Later(&'static str, Box<Expr>),
    /// A call with the values of a list.
    Scattered(Box<Expr>, Box<Expr>),
}

#[derive(Clone, Debug)]
enum Statement {
    Set(u8, Vec<Expr>, &'static str, Expr),
    Push(u8, Expr),
    Step(u8, &'static str),
    Unset(u8, Expr),
    If(Expr, Vec<Statement>, Vec<Statement>),
    Repeat(u8, Vec<Statement>),
    Each(u8, Vec<Statement>),
    /// `while ($n++ < n and e)`
    While(u8, Expr, Vec<Statement>),
    Switch(Expr, Vec<(Expr, Vec<Statement>, bool)>),
    Spread(u8, u8, Expr),
    Break(bool),
    /// With the variable that takes what is thrown.
    Try(Vec<Statement>, u8, Vec<Statement>),
    Throw(Expr),
    /// `foreach (some(e, e) as $k => $v)`, where both are variables of the program.
    Iterate(Expr, Expr, u8, u8, Vec<Statement>),
}

const LITERALS: [&str; 20] = [
    "0",
    "1",
    "2",
    "3",
    "-1",
    "7",
    "2.5",
    "255",
    "1000003",
    "9007199254740993",
    "\"\"",
    "\"a\"",
    "\"12\"",
    "\"key\"",
    "\"a string beyond fourteen bytes\"",
    "true",
    "false",
    "none",
    "[]",
    "[\"key\" => 1, \"12\" => [1, 2]]",
];

const BINARY: [&str; 21] = [
    "+", "-", "*", "/", "%", ".", "==", "!=", "===", "!==", "<", "<=", ">", ">=", "&", "|", "^",
    "<<", ">>", "and", "??",
];

const ASSIGN: [&str; 9] = ["=", "=", "+=", "-=", "*=", ".=", "%=", "&=", "??="];

fn expr() -> impl Strategy<Value = Expr> {
    let leaf = prop_oneof![
        prop::sample::select(&LITERALS[..]).prop_map(Expr::Literal),
        (0..4_u8).prop_map(Expr::Variable),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            4 => (prop::sample::select(&BINARY[..]), inner.clone(), inner.clone())
                .prop_map(|(op, a, b)| Expr::Binary(op, Box::new(a), Box::new(b))),
            2 => (inner.clone(), inner.clone())
                .prop_map(|(a, b)| Expr::Index(Box::new(a), Box::new(b))),
            1 => prop::collection::vec(inner.clone(), 0..3).prop_map(Expr::List),
            1 => inner.clone().prop_map(|a| Expr::Not(Box::new(a))),
            1 => inner.clone().prop_map(|a| Expr::Call(Box::new(a))),
            1 => (inner.clone(), prop::option::of(inner.clone()), inner.clone()).prop_map(|(a, b, c)| {
                Expr::Ternary(Box::new(a), b.map(Box::new), Box::new(c))
            }),
            1 => (0..4_u8, prop::option::of(inner.clone()), prop::sample::select(&ASSIGN[..]), inner.clone())
                .prop_map(|(a, key, op, b)| Expr::Assign(a, key.map(Box::new), op, Box::new(b))),
            1 => (0..4_u8, any::<bool>(), prop::sample::select(&["++", "--"][..]))
                .prop_map(|(a, before, op)| Expr::Step(a, before, op)),
            1 => (0..4_u8, 0..4_u8).prop_map(|(a, b)| Expr::Template(a, b)),
            1 => prop::collection::vec((inner.clone(), inner.clone()), 0..3).prop_map(Expr::Pairs),
            1 => (inner.clone(), inner.clone(), inner.clone())
                .prop_map(|(a, b, c)| Expr::Slice(Box::new(a), Box::new(b), Box::new(c))),
            1 => (0..4_u8, inner.clone()).prop_map(|(a, b)| Expr::Isset(a, Box::new(b))),
            1 => (inner.clone(), prop::collection::vec((inner.clone(), inner.clone()), 1..3), inner.clone())
                .prop_map(|(a, arms, b)| Expr::Match(Box::new(a), arms, Box::new(b))),
            1 => (inner.clone(), inner.clone()).prop_map(|(a, b)| Expr::Apply(Box::new(a), Box::new(b))),
            1 => (inner.clone(), inner.clone()).prop_map(|(a, b)| Expr::Mapped(Box::new(a), Box::new(b))),
            1 => (0..4_u8, inner.clone()).prop_map(|(a, b)| Expr::Closure(a, Box::new(b))),
            1 => (inner.clone(), inner.clone())
                .prop_map(|(a, b)| Expr::Generated(Box::new(a), Box::new(b))),
            1 => inner.clone().prop_map(|a| Expr::Method(Box::new(a))),
            1 => (prop::sample::select(&["wait", "heavy", "string", "number", "type", "length"][..]), inner.clone())
                .prop_map(|(name, a)| Expr::Later(name, Box::new(a))),
            1 => (inner.clone(), inner).prop_map(|(a, b)| Expr::Scattered(Box::new(a), Box::new(b))),
        ]
    })
}

fn statement() -> impl Strategy<Value = Statement> {
    let simple = prop_oneof![
        5 => (0..4_u8, prop::collection::vec(expr(), 0..3), prop::sample::select(&ASSIGN[..]), expr())
            .prop_map(|(variable, keys, op, value)| Statement::Set(variable, keys, op, value)),
        2 => (0..4_u8, expr()).prop_map(|(variable, value)| Statement::Push(variable, value)),
        1 => (0..4_u8, prop::sample::select(&["++", "--"][..]))
            .prop_map(|(variable, op)| Statement::Step(variable, op)),
        1 => (0..4_u8, expr()).prop_map(|(variable, key)| Statement::Unset(variable, key)),
        1 => (0..4_u8, 0..4_u8, expr()).prop_map(|(a, b, value)| Statement::Spread(a, b, value)),
        1 => any::<bool>().prop_map(Statement::Break),
        1 => expr().prop_map(Statement::Throw),
    ];
    simple.prop_recursive(2, 8, 3, |inner| {
        let block = || prop::collection::vec(inner.clone(), 0..3);
        prop_oneof![
            (expr(), block(), block()).prop_map(|(test, yes, no)| Statement::If(test, yes, no)),
            (1..4_u8, block()).prop_map(|(times, body)| Statement::Repeat(times, body)),
            (0..4_u8, block()).prop_map(|(variable, body)| Statement::Each(variable, body)),
            (1..4_u8, expr(), block())
                .prop_map(|(times, test, body)| Statement::While(times, test, body)),
            (
                expr(),
                prop::collection::vec((expr(), block(), any::<bool>()), 1..3)
            )
                .prop_map(|(subject, cases)| Statement::Switch(subject, cases)),
            (block(), 0..4_u8, block())
                .prop_map(|(body, variable, handler)| Statement::Try(body, variable, handler)),
            (expr(), expr(), 0..4_u8, 0..4_u8, block())
                .prop_map(|(a, b, key, value, body)| Statement::Iterate(a, b, key, value, body)),
        ]
    })
}

const NAMES: [&str; 4] = ["$a", "$b", "$c", "$d"];

/// Writes a program as text.
struct Writer {
    text: String,
    /// Without short cuts.
    plain: bool,
    /// For names of loop variables.
    loops: usize,
    /// How many loops are open.
    open: usize,
}

impl Writer {
    fn expr(&mut self, expr: &Expr) {
        match expr {
            Expr::Literal(literal) if self.plain => write!(self.text, "id({literal})").unwrap(),
            Expr::Literal(literal) => write!(self.text, "({literal})").unwrap(),
            Expr::Variable(variable) => self.text.push_str(NAMES[usize::from(*variable)]),
            Expr::List(values) => {
                self.text.push('[');
                for value in values {
                    self.expr(value);
                    self.text.push(',');
                }
                self.text.push(']');
            }
            Expr::Binary(op, a, b) => {
                self.text.push('(');
                self.expr(a);
                write!(self.text, " {op} ").unwrap();
                self.expr(b);
                self.text.push(')');
            }
            Expr::Index(base, key) => {
                self.text.push('(');
                self.expr(base);
                self.text.push_str(")[");
                self.expr(key);
                self.text.push(']');
            }
            Expr::Not(value) => {
                self.text.push_str("(!");
                self.expr(value);
                self.text.push(')');
            }
            Expr::Call(value) => self.parts(&["change(", ")"], &[value]),
            Expr::Ternary(test, Some(then), otherwise) => {
                self.parts(&["(", " ? ", " : ", ")"], &[test, then, otherwise]);
            }
            Expr::Ternary(test, None, otherwise) => {
                self.parts(&["(", " ?: ", ")"], &[test, otherwise])
            }
            Expr::Assign(variable, key, op, value) => {
                write!(self.text, "({}", NAMES[usize::from(*variable)]).unwrap();
                if let Some(key) = key {
                    self.parts(&["[", "]"], &[key]);
                }
                write!(self.text, " {op} ").unwrap();
                self.parts(&["", ")"], &[value]);
            }
            Expr::Step(variable, before, op) => {
                let name = NAMES[usize::from(*variable)];
                let text = if *before {
                    format!("({op}{name})")
                } else {
                    format!("({name}{op})")
                };
                self.text.push_str(&text);
            }
            Expr::Template(a, b) => {
                let (a, b) = (NAMES[usize::from(*a)], NAMES[usize::from(*b)]);
                write!(self.text, "\"<{a}> and {b}\"").unwrap();
            }
            Expr::Pairs(pairs) => {
                self.text.push('[');
                for (key, value) in pairs {
                    self.parts(&["", " => ", ", "], &[key, value]);
                }
                self.text.push(']');
            }
            Expr::Slice(base, from, to) => self.parts(&["(", ")[", ":", "]"], &[base, from, to]),
            Expr::Isset(variable, key) => {
                write!(self.text, "isset({}", NAMES[usize::from(*variable)]).unwrap();
                self.parts(&["[", "])"], &[key]);
            }
            Expr::Match(subject, arms, otherwise) => {
                self.parts(&["match (", ") {"], &[subject]);
                for (pattern, value) in arms {
                    self.parts(&["", " => ", ", "], &[pattern, value]);
                }
                self.parts(&["default => ", "}"], &[otherwise]);
            }
            Expr::Apply(a, b) => self.parts(&["join(", ", ", ")"], &[a, b]),
            Expr::Mapped(a, b) => self.parts(&["array_map(odd, [", ", ", "])"], &[a, b]),
            Expr::Closure(variable, value) => {
                let name = NAMES[usize::from(*variable)];
                let start = format!(
                    "function ($x) closure ({name}) {{ $y = {name}; {name} = $x; return $y; }}("
                );
                self.parts(&[&start, ")"], &[value]);
            }
            Expr::Generated(a, b) => self.parts(&["[...some(", ", ", ")]"], &[a, b]),
            Expr::Method(value) => self.parts(&["$object->exchange(", ")"], &[value]),
            Expr::Later(name, value) => {
                self.text.push_str(name);
                self.parts(&["(", ")"], &[value]);
            }
            Expr::Scattered(a, b) => self.parts(&["join(...[", ", ", "])"], &[a, b]),
        }
    }

    /// Texts with expressions between them.
    fn parts(&mut self, texts: &[&str], exprs: &[&Expr]) {
        for (at, text) in texts.iter().enumerate() {
            self.text.push_str(text);
            if let Some(expr) = exprs.get(at) {
                self.expr(expr);
            }
        }
    }

    fn block(&mut self, body: &[Statement]) {
        self.text.push_str("{\n");
        for statement in body {
            self.statement(statement);
        }
        self.text.push_str("}\n");
    }

    fn statement(&mut self, statement: &Statement) {
        match statement {
            Statement::Set(variable, keys, op, value) => {
                self.text.push_str(NAMES[usize::from(*variable)]);
                for key in keys {
                    self.text.push('[');
                    self.expr(key);
                    self.text.push(']');
                }
                write!(self.text, " {op} ").unwrap();
                self.expr(value);
                self.text.push_str(";\n");
            }
            Statement::Push(variable, value) => {
                write!(self.text, "{}[] = ", NAMES[usize::from(*variable)]).unwrap();
                self.expr(value);
                self.text.push_str(";\n");
            }
            Statement::Step(variable, op) => {
                writeln!(self.text, "{}{op};", NAMES[usize::from(*variable)]).unwrap();
            }
            Statement::Unset(variable, key) => {
                write!(self.text, "unset({}[", NAMES[usize::from(*variable)]).unwrap();
                self.expr(key);
                self.text.push_str("]);\n");
            }
            Statement::If(test, yes, no) => {
                self.text.push_str("if (");
                self.expr(test);
                self.text.push_str(") ");
                self.block(yes);
                self.text.push_str("else ");
                self.block(no);
            }
            Statement::Repeat(times, body) => {
                self.loops += 1;
                let counter = format!("$n{}", self.loops);
                let limit = if self.plain {
                    format!("id({times})")
                } else {
                    times.to_string()
                };
                write!(
                    self.text,
                    "for ({counter} = 0; {counter} < {limit}; {counter}++) "
                )
                .unwrap();
                self.block(body);
            }
            Statement::While(times, test, body) => {
                self.loops += 1;
                let counter = format!("$n{}", self.loops);
                write!(
                    self.text,
                    "{counter} = 0; while ({counter}++ < {times} and "
                )
                .unwrap();
                self.parts(&["", ") "], &[test]);
                self.open += 1;
                self.block(body);
                self.open -= 1;
            }
            Statement::Switch(subject, cases) => {
                self.parts(&["switch (", ") {\n"], &[subject]);
                for (value, body, ends) in cases {
                    self.parts(&["case ", ": "], &[value]);
                    self.block(body);
                    self.text.push_str(if *ends { "break;\n" } else { "" });
                }
                self.text.push_str("default: $d = 1; }\n");
            }
            Statement::Spread(a, b, value) => {
                let (a, b) = (NAMES[usize::from(*a)], NAMES[usize::from(*b)]);
                write!(self.text, "[{a}, {b} = 3] = list(").unwrap();
                self.parts(&["", ");\n"], &[value]);
            }
            Statement::Break(out) if self.open > 0 => {
                self.text
                    .push_str(if *out { "break;\n" } else { "continue;\n" });
            }
            Statement::Break(_) => {}
            Statement::Try(body, variable, handler) => {
                self.text.push_str("try ");
                self.block(body);
                let name = NAMES[usize::from(*variable)];
                // Places of built-in ones are compared where they are caught last.
                write!(self.text, "catch ($caught) {{ {name} = told($caught); ").unwrap();
                self.block(handler);
                self.text.push_str("}\n");
            }
            Statement::Throw(value) => self.parts(&["throw [", "];\n"], &[value]),
            Statement::Iterate(a, b, key, value, body) => {
                let (key, value) = (NAMES[usize::from(*key)], NAMES[usize::from(*value)]);
                self.parts(&["foreach (some(", ", "], &[a]);
                self.parts(&["", ")"], &[b]);
                write!(self.text, " as {key} => {value}) ").unwrap();
                self.open += 1;
                self.block(body);
                self.open -= 1;
            }
            Statement::Each(variable, body) => {
                self.loops += 1;
                let name = NAMES[usize::from(*variable)];
                // What is no array is not walked.
                writeln!(
                    self.text,
                    "foreach (list({name}) as $v{}) {{ echo $v{};",
                    self.loops, self.loops
                )
                .unwrap();
                self.block(body);
                self.text.push_str("}\n");
            }
        }
    }
}

/// Stands before the statements that a session is given one by one.
const NEXT: &str = "// next\n";

/// With `places`, lines and columns of exceptions are printed. The program stands in a function when it is `inside`.
fn text(program: &[Statement], plain: bool, places: bool, inside: bool) -> String {
    let place = if places {
        " . \" \" . $e->line() . \":\" . $e->column()"
    } else {
        ""
    };
    let mut writer = Writer {
        text: "function id($x) { return $x; }
function change($x) { $x[\"key\"] = 2; return $x; }
function join($x, $y) { $x .= \"-\"; $y = [$x, $y]; return $y; }
function odd($x) { $y = [$x]; if ($x === 2) throw \"two\"; return $y; }
function list($x) { if (type(id($x)) == \"array\") return $x; return [$x]; }
function some($x, $y) { yield $x; yield \"k\" => [$y]; if ($y === 2) throw \"end\"; $z = [$x]; yield $z; }
function told($x) { if (type($x) != \"object\") return $x; return $x->message(); }
class Box { $value = 1; function exchange($x) { $old = $this->value; $this->value = $x; return $old; } }
START
$object = Box();
$a = 1; $b = [1, [2, 3], \"x\"]; $c = \"text\"; $d = [\"key\" => [\"12\" => 5]];
"
        .replace(
            "START",
            if inside {
                "function all() {"
            } else {
                ""
            },
        ),
        plain,
        loops: 0,
        open: 0,
    };
    if plain {
        writer
            .text
            .push_str("$share = function () closure ($a, $b, $c, $d) { return $a; };\n");
    }
    for statement in program {
        writer.text.push_str(NEXT);
        writer.text.push_str("try {\n");
        writer.statement(statement);
        writer
            .text
            .push_str(&format!("}} catch ($e) {{ if (type($e) == \"object\") echo $e->message(){place}; else echo $e; }}\n"));
    }
    writer.text.push_str(NEXT);
    // What is thrown here nobody catches.
    if let Some(last) = program.last() {
        writer.statement(last);
    }
    // As text, which the budget bounds: a value may hold another one many times over.
    writer.text.push_str("return \"\" . [$a, $b, $c, $d];\n");
    if inside {
        writer.text.push_str("}\nreturn all();\n");
    }
    writer.text
}

/// Whether a budget ended it: short cuts save fuel and memory.
fn limited(ran: &support::Ran) -> bool {
    matches!(&ran.result, Err(error) if !error.starts_with("Uncaught"))
}

/// The result without the place where it was thrown.
fn without_place(result: Result<String, String>) -> Result<String, String> {
    result.map_err(|error| {
        let words = error.split(" in main.hsl").next().unwrap_or_default();
        let words = words.split(" on line ").next();
        words.unwrap_or_default().to_owned()
    })
}

/// What a session prints that is given the statements one by one, and what it answers to the last ones; none when one of them
/// used up the budget.
fn in_a_session(text: &str, limits: Limits) -> Option<(Vec<String>, String)> {
    let lines = Rc::new(support::Lines::default());
    let host = support::host(&lines, &VirtualClock::new(Duration::from_secs(1)));
    let mut session = Session::new(&support::library(), "core", host, limits);
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = runtime.unwrap();
    let mut last = String::new();
    for piece in text.split(NEXT) {
        let answer = runtime.block_on(session.eval(piece.as_bytes(), &NoFiles));
        last = match answer {
            Ok(evaluated) => String::from_utf8_lossy(&dump(&evaluated.value)).into_owned(),
            Err(SessionError::Ended(ended)) => {
                let text = ended.to_string();
                if !text.starts_with("Uncaught") {
                    return None;
                }
                text
            }
            Err(SessionError::Rejected(rejected)) => rejected.render(),
            Err(SessionError::Link(error)) => error.render(),
        };
    }
    let lines = lines.0.borrow();
    let lines = lines
        .iter()
        .map(|line| String::from_utf8_lossy(line).into_owned());
    Some((lines.collect(), last))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn short_cuts_change_nothing(
        program in prop::collection::vec(statement(), 1..8),
        inside in any::<bool>(),
    ) {
        let limits = Limits { fuel: Some(300_000), memory: Some(32 << 20), ..Limits::default() };
        let quick = support::run(&text(&program, false, false, inside), &HashMap::new(), limits);
        let plain = support::run(&text(&program, true, false, inside), &HashMap::new(), limits);
        // A constant that is not possible is refused when it is compiled; only its program tells so.
        if let (Ok(quick), Ok(plain)) = (quick, plain)
            && !limited(&quick)
            && !limited(&plain)
        {
            prop_assert_eq!(quick.lines, plain.lines);
            prop_assert_eq!(without_place(quick.result), without_place(plain.result));
        }
    }

    #[test]
    fn a_session_does_the_same_statement_by_statement(program in prop::collection::vec(statement(), 1..8)) {
        let limits = Limits { fuel: Some(300_000), memory: Some(32 << 20), ..Limits::default() };
        let text = text(&program, false, false, false);
        let whole = support::run(&text, &HashMap::new(), limits);
        if let Ok(whole) = whole
            && !limited(&whole)
            && let Some((lines, last)) = in_a_session(&text, limits)
        {
            prop_assert_eq!(whole.lines, lines, "{}", text);
            let last = if last.starts_with("Uncaught") { Err(last) } else { Ok(last) };
            prop_assert_eq!(without_place(whole.result), without_place(last), "{}", text);
        }
    }

    #[test]
    fn the_plain_program_does_the_same_in_the_same_places(
        program in prop::collection::vec(statement(), 1..8),
        inside in any::<bool>(),
    ) {
        let limits = Limits { fuel: Some(300_000), memory: Some(32 << 20), ..Limits::default() };
        let text = text(&program, false, true, inside);
        let quick = support::run(&text, &HashMap::new(), limits);
        let plain = support::run_plain(&text, &HashMap::new(), limits);
        if let (Ok(quick), Ok(plain)) = (quick, plain)
            && !limited(&quick)
            && !limited(&plain)
        {
            prop_assert_eq!(quick.lines, plain.lines, "{}", text);
            prop_assert_eq!(quick.result, plain.result, "{}", text);
        }
    }
}

#[test]
fn a_variable_may_be_the_key_of_its_own_element() {
    let text = "$a = 1; $a[$a] = 0; $b = \"k\"; $b[$b][$b] = 2; $c = none; $c[$c] = 3; return [$a, $b, $c];";
    let quick = support::run(text, &HashMap::new(), Limits::default()).unwrap();
    let plain = support::run_plain(text, &HashMap::new(), Limits::default()).unwrap();
    assert_eq!(quick.result, plain.result);
    let keyed = support::run(
        "$a = 1; $a[$a] = 0; return $a;",
        &HashMap::new(),
        Limits::default(),
    );
    assert_eq!(keyed.unwrap().result, Ok("[1=>0]".to_owned()));
}
