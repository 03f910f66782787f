//! Chapter 2 of the language: what parses, and to which tree.

mod common;

use angarium_syntax::dump::dump;

fn tree(text: &str) -> String {
    let (program, errors, sources) = common::parsed(text.as_bytes());
    let messages: String = errors.iter().map(|error| error.render(&sources)).collect();
    assert_eq!(messages, "", "{text}");
    dump(&program).trim_end().to_owned()
}

/// Checks a table of texts and trees.
fn trees(table: &[(&str, &str)]) {
    for (text, expected) in table {
        assert_eq!(tree(text), *expected, "{text}");
    }
}

#[test]
fn operators_group_by_precedence() {
    trees(&[
        ("1 + 2 * 3 - 4;", "(1 + (2 * 3) - 4)"),
        ("\"n=\" . 1 + 2;", "(\"n=\" . (1 + 2))"),
        ("-2 ** 2;", "(- (2 ** 2))"),
        ("2 ** 3 ** 4;", "(2 ** (3 ** 4))"),
        ("2 ** -1;", "(2 ** (- 1))"),
        (
            "1 | 2 ^ 3 & 4 . 5 << 6 + 7 * 8;",
            "(1 | (2 ^ (3 & (4 . (5 << (6 + (7 * 8)))))))",
        ),
        (
            "$a or $b and $c == $d < $e;",
            "($a or ($b and ($c == ($d < $e))))",
        ),
        ("$a ?? $b or $c;", "($a ?? ($b or $c))"),
        ("$a ?? $b ?? $c;", "($a ?? $b ?? $c)"),
        ("$a ? $b : $c ? $d : $e;", "(? $a $b $c $d $e)"),
        ("$a ?: $b;", "(? $a _ $b)"),
        ("f() ? : \"\";", "(? (f (call)) _ \"\")"),
        ("($a ? $b : $c) ? $d : $e;", "(? (? $a $b $c) $d $e)"),
        ("$a ? $b ? 1 : 2 : 3;", "(? $a (? $b 1 2) 3)"),
        ("!$a == $b;", "((! $a) == $b)"),
        ("not $a and $b;", "((! $a) and $b)"),
        ("- -$a;", "(- (- $a))"),
        ("$a - --$b;", "($a - (-- $b))"),
        ("$i++ + ++$j;", "(($i ++) + (++ $j))"),
        ("$s =~ #/a/ == true;", "($s =~ (regex \"a\") == true)"),
        ("1 - (2 - 3);", "(1 - (2 - 3))"),
        ("1 << 2 >> 3 >>> 4;", "(1 << 2 >> 3 >>> 4)"),
    ]);
}

#[test]
fn an_assignment_may_be_the_last_operand() {
    trees(&[
        ("!$m = f();", "(! (= $m (f (call))))"),
        ("$c ? 1 : $x = 2;", "(? $c 1 (= $x 2))"),
        ("$a and $b = $c or $d;", "($a and (= $b ($c or $d)))"),
        ("$a = $b = 1;", "(= $a (= $b 1))"),
        ("1 + $a += 2;", "(1 + (+= $a 2))"),
        ("-$a **= 2 . 3;", "(- (**= $a (2 . 3)))"),
        ("2 ** $a = 3;", "(2 ** (= $a 3))"),
        ("$a ?? $b ??= 4;", "($a ?? (??= $b 4))"),
        ("$a ? $b = 1 : 2;", "(? $a (= $b 1) 2)"),
    ]);
}

#[test]
fn every_assignment_operator_has_its_node() {
    for op in [
        "=", "+=", "-=", "*=", "/=", "%=", "**=", ".=", "??=", "&=", "|=", "^=", "<<=", ">>=",
        ">>>=",
    ] {
        assert_eq!(tree(&format!("$a {op} 1;")), format!("({op} $a 1)"));
    }
}

#[test]
fn postfix_operators_chain() {
    trees(&[
        (
            "$a[1][\"b\"]->c(1, ...$d);",
            "($a (index 1) (index \"b\") ->c (call 1 (... $d)))",
        ),
        ("$a[][\"x\"] = 1;", "(= ($a [] (index \"x\")) 1)"),
        (
            "$s[1:2:3] . $s[:] . $s[::2] . $s[1::2] . $s[:-1];",
            "(($s (slice 1 2 3)) . ($s (slice _ _ _)) . ($s (slice _ _ 2)) . ($s (slice 1 _ 2)) . ($s (slice _ (- 1) _)))",
        ),
        ("$x[$a ? $b : $c : $d];", "($x (slice (? $a $b $c) $d _))"),
        ("\"abc\"[1];", "(\"abc\" (index 1))"),
        ("f()[0];", "(f (call) (index 0))"),
        (
            "function ($x) { return $x; } (5);",
            "((function (params $x) (block (return $x))) (call 5))",
        ),
        ("$x->default()->match;", "($x ->default (call) ->match)"),
        (
            "A::f(1) . A::$x[2] . static::g();",
            "((A::f (call 1)) . (A::$x (index 2)) . (static::g (call)))",
        ),
        ("builtin f(1,);", "((builtin f) (call 1))"),
        (
            "cache [\"ttl\" => 5] f(1)[\"x\"];",
            "((cache (options (=> \"ttl\" 5)) f (call 1)) (index \"x\"))",
        ),
        (
            "cache [] builtin f(); cache [] A::f(); cache [] static::f();",
            "(cache (options) (builtin f) (call))\n(cache (options) A::f (call))\n(cache (options) static::f (call))",
        ),
    ]);
}

#[test]
fn primaries() {
    trees(&[
        ("none; true; false;", "none\ntrue\nfalse"),
        (
            "[]; [1,]; [1, \"a\" => 2, ...$b];",
            "(array)\n(array 1)\n(array 1 (=> \"a\" 2) (... $b))",
        ),
        ("array(); array(1, 2 => 3,);", "(array)\n(array 1 (=> 2 3))"),
        (
            "match ($x) { 1, 2 => 3, default => 4 };",
            "(match $x (arm 1 2 3) (default 4))",
        ),
        ("match ($x) { default => 1, };", "(match $x (default 1))"),
        ("match (1) { };", "(match 1)"),
        (
            "isset($a[\"b\"]->c); unset(A::$b);",
            "(isset ($a (index \"b\") ->c))\n(unset A::$b)",
        ),
        (
            "function ($a, $b = 1, ...$c) closure ($d, $e) { };",
            "(function (params $a (= $b 1) (... $c)) (closure $d $e) (block))",
        ),
        ("function () closure () { };", "(function (params) (block))"),
    ]);
}

#[test]
fn destructuring_patterns() {
    trees(&[
        (
            "[$a, $b = 5, ...$c] = $d;",
            "(= (pattern (entry _ $a) (entry _ $b 5) (... $c)) $d)",
        ),
        (
            "[\"k\" => $v, \"n\" => $w = none] = $d;",
            "(= (pattern (entry \"k\" $v) (entry \"n\" $w none)) $d)",
        ),
        (
            "[[$a, $b], A::$c, $x->y, $z[]] = $d;",
            "(= (pattern (entry _ (pattern (entry _ $a) (entry _ $b))) (entry _ A::$c) (entry _ ($x ->y)) (entry _ ($z []))) $d)",
        ),
        (
            "foreach ($x as $k => [$a, $b]) ;",
            "(foreach $x $k (pattern (entry _ $a) (entry _ $b)) (empty))",
        ),
        (
            "foreach ($x as $a[0]) ;",
            "(foreach $x ($a (index 0)) (empty))",
        ),
    ]);
}

#[test]
fn statements() {
    trees(&[
        (
            "echo 1; return; return 2; throw 3;",
            "(echo 1)\n(return)\n(return 2)\n(throw 3)",
        ),
        (
            "while (1) { break; continue; }",
            "(while 1 (block (break) (continue)))",
        ),
        ("forever break;", "(forever (break))"),
        ("for (;;) ;", "(for (init) _ (step) (empty))"),
        (
            "for ($i = 0, $j = 1; $i < 1; $i++, $j--) break;",
            "(for (init (= $i 0) (= $j 1)) ($i < 1) (step ($i ++) ($j --)) (break))",
        ),
        ("foreach ($a as $v) { }", "(foreach $a $v (block))"),
        (
            "switch ($x) { case 1: case 2: echo 1; default: }",
            "(switch $x (case 1) (case 2 (echo 1)) (default))",
        ),
        (
            "switch ($x) { case $a ? 1 : 2: break; }",
            "(switch $x (case (? $a 1 2) (break)))",
        ),
        ("try { } catch ($e) { }", "(try (block) $e (block))"),
        (
            "barrier \"x\" { } barrier $a . 1 => $v { }",
            "(barrier \"x\" (block))\n(barrier ($a . 1) $v (block))",
        ),
        ("{ ; } ;", "(block (empty))\n(empty)"),
        (
            "function f() { global $a, $b; yield 1; yield 1 => 2; }",
            "(function generator f (params) (block (global $a $b) (yield 1) (yield 1 2)))",
        ),
        (
            "include \"a\"; include_once ''b'';",
            "(include \"a\")\n(include_once \"b\")",
        ),
        (
            "import { a, b as c, $x, $y as $z, } from \"m\";",
            "(import (symbol a) (symbol b c) (symbol $x) (symbol $y $z) \"m\")",
        ),
        ("import * as ns from \"m\";", "(import (all ns) \"m\")"),
        (
            "import $v from \"f.csv\" with [\"a\" => 1]; import $w from \"g\";",
            "(import $v (with (=> \"a\" 1)) \"f.csv\")\n(import $w \"g\")",
        ),
        (
            "__debug [\"S\", \"P\"] if (1) ; else ;",
            "(debug \"S\" \"P\" (if 1 (empty) (else (empty))))",
        ),
    ]);
}

#[test]
fn an_else_belongs_to_the_nearest_if() {
    trees(&[
        (
            "if (1) if (2) ; else ;",
            "(if 1 (if 2 (empty) (else (empty))))",
        ),
        (
            "if (1) ; else if (2) ; else ;",
            "(if 1 (empty) 2 (empty) (else (empty)))",
        ),
        ("if (1) { } else if (2) { }", "(if 1 (block) 2 (block))"),
        (
            "if (1) while (2) if (3) ; else ; else ;",
            "(if 1 (while 2 (if 3 (empty) (else (empty)))) (else (empty)))",
        ),
        (
            "if (1) ; else while (2) if (3) ;",
            "(if 1 (empty) (else (while 2 (if 3 (empty)))))",
        ),
        (
            "if (1) foreach ($a as $b) __debug [\"s\", \"p\"] if (2) ; else ;",
            "(if 1 (foreach $a $b (debug \"s\" \"p\" (if 2 (empty) (else (empty))))))",
        ),
    ]);
}

#[test]
fn the_last_semicolon_may_be_left_out() {
    trees(&[
        ("echo 1", "(echo 1)"),
        ("", ""),
        ("return", "(return)"),
        (
            "function f($x) { return $x * 2 }",
            "(function f (params $x) (block (return ($x * 2))))",
        ),
        (
            "$f = function ($x) { return $x }",
            "(= $f (function (params $x) (block (return $x))))",
        ),
        (
            "{ $f = function () { } }",
            "(block (= $f (function (params) (block))))",
        ),
        ("if (1) echo 2", "(if 1 (echo 2))"),
        (
            "{ if (1) echo 2; else echo 3 }",
            "(block (if 1 (echo 2) (else (echo 3))))",
        ),
        (
            "switch (1) { case 1: echo 2 }",
            "(switch 1 (case 1 (echo 2)))",
        ),
        ("echo 1 // comment", "(echo 1)"),
        ("forever break", "(forever (break))"),
    ]);
    for bad in [
        "if (1)",
        "{ if (1) }",
        "if (1) echo 1 else echo 2;",
        "class A { $x }",
        "echo 1 echo 2",
        "else",
        "while (1) }",
    ] {
        assert_ne!(common::rendered(bad.as_bytes()), "", "{bad}");
    }
}

#[test]
fn classes() {
    trees(&[
        ("class A { }", "(class A)"),
        (
            "class A { ; constructor($a) { } $x; private static $y = 1; readonly $z = []; private function f() { } static function g() { } };",
            "(class A (constructor (params $a) (block)) (var $x) (var private static $y 1) (var readonly $z (array)) (method private (function f (params) (block))) (method static (function g (params) (block))))\n(empty)",
        ),
    ]);
}

#[test]
fn generators_are_marked_by_their_own_yield_only() {
    trees(&[
        (
            "function f() { function () { yield 1; }; }",
            "(function f (params) (block (function generator (params) (block (yield 1)))))",
        ),
        (
            "function f() { if (1) { yield 1; } }",
            "(function generator f (params) (block (if 1 (block (yield 1)))))",
        ),
    ]);
}

#[test]
fn a_prefix_for_debuggers_changes_no_rule() {
    trees(&[
        (
            "__debug [\"s\", \"p\"] import { a } from \"m\";",
            "(debug \"s\" \"p\" (import (symbol a) \"m\"))",
        ),
        (
            "__debug [\"s\", \"p\"] class A { }",
            "(debug \"s\" \"p\" (class A))",
        ),
    ]);
}

#[test]
fn printing_keeps_neighbouring_operators_apart() {
    use angarium_syntax::print::print;
    for (text, expected) in [
        ("- -$a;", "- -$a;\n"),
        ("- --$a;", "- --$a;\n"),
        ("-+$a;", "-+$a;\n"),
        ("! ~$a;", "! ~$a;\n"),
        ("~!$a;", "~!$a;\n"),
        ("$x[f::2];", ""),
    ] {
        let (program, errors, _) = common::parsed(text.as_bytes());
        if expected.is_empty() {
            // `f::` is a class here, so this is no slice.
            assert!(!errors.is_empty());
            continue;
        }
        assert_eq!(String::from_utf8_lossy(&print(&program)), expected);
    }
    let (program, errors, _) = common::parsed(b"$x[(f)::2];");
    assert!(errors.is_empty());
    assert_eq!(print(&program), b"$x[f: :2];\n");
}
