//! Random programs do the same with the machine's short cuts and without them.
//!
//! Each program is written twice. Once as it is: constants are folded and stand in instructions, comparisons are joined
//! with jumps, variables are registers, elements are written in place. And once so that none of this applies: every
//! literal comes out of a call, every variable is shared with a closure and lives in a cell.
#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::collections::HashMap;
use std::fmt::Write as _;

use angarium_runtime::Limits;
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

const ASSIGN: [&str; 8] = ["=", "=", "+=", "-=", "*=", ".=", "%=", "&="];

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
            1 => inner.prop_map(|a| Expr::Call(Box::new(a))),
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
    ];
    simple.prop_recursive(2, 8, 3, |inner| {
        let block = || prop::collection::vec(inner.clone(), 0..3);
        prop_oneof![
            (expr(), block(), block()).prop_map(|(test, yes, no)| Statement::If(test, yes, no)),
            (1..4_u8, block()).prop_map(|(times, body)| Statement::Repeat(times, body)),
            (0..4_u8, block()).prop_map(|(variable, body)| Statement::Each(variable, body)),
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
            Expr::Call(value) => {
                self.text.push_str("change(");
                self.expr(value);
                self.text.push(')');
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

fn text(program: &[Statement], plain: bool) -> String {
    let mut writer = Writer {
        text: "function id($x) { return $x; }
function change($x) { $x[\"key\"] = 2; return $x; }
function list($x) { if (type(id($x)) == \"array\") return $x; return [$x]; }
$a = 1; $b = [1, [2, 3], \"x\"]; $c = \"text\"; $d = [\"key\" => [\"12\" => 5]];
"
        .to_owned(),
        plain,
        loops: 0,
    };
    if plain {
        writer
            .text
            .push_str("$share = function () closure ($a, $b, $c, $d) { return $a; };\n");
    }
    for statement in program {
        writer.text.push_str("try {\n");
        writer.statement(statement);
        writer
            .text
            .push_str("} catch ($e) { echo $e->message(); }\n");
    }
    writer.text.push_str("return [$a, $b, $c, $d];\n");
    writer.text
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn short_cuts_change_nothing(program in prop::collection::vec(statement(), 1..8)) {
        let limits = Limits { fuel: Some(1_000_000), ..Limits::default() };
        let quick = support::run(&text(&program, false), &HashMap::new(), limits);
        let plain = support::run(&text(&program, true), &HashMap::new(), limits);
        // A constant that is not possible is refused when it is compiled; only its program tells so.
        if let (Ok(quick), Ok(plain)) = (quick, plain) {
            prop_assert_eq!(quick.lines, plain.lines);
            prop_assert_eq!(quick.result, plain.result);
        }
    }
}
