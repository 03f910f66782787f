//! Random programs for property tests.
#![allow(dead_code, reason = "not every test uses all of it")]

use proptest::prelude::*;

fn name() -> impl Strategy<Value = String> {
    prop_oneof![Just("f"), Just("Abc"), Just("_x1"), Just("this")].prop_map(str::to_owned)
}

fn variable() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("$a"),
        Just("$b_1"),
        Just("$this"),
        Just("$default"),
        Just("$_")
    ]
    .prop_map(str::to_owned)
}

fn literal() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("none".to_owned()),
        Just("true".to_owned()),
        any::<u32>().prop_map(|n| n.to_string()),
        (0_u32..1000, 0_u32..1000).prop_map(|(a, b)| format!("{a}.{b}")),
        Just("0xfF_00".to_owned()),
        Just("0b1_0".to_owned()),
        Just("0o17".to_owned()),
        "[ -~&&[^\"\\\\$]]{0,6}".prop_map(|text| format!("\"{text}\"")),
        "(\\\\n|\\\\x0f|\\\\\\\\|\\\\\"|\\\\\\$|\\$x|\\$\\{y\\}|\\$|[a-z{ 1]){0,6}"
            .prop_filter("a brace after a dollar sign must be a variable", |text| {
                !text.replace("${y}", "").contains("${")
            })
            .prop_map(|text| format!("\"{text}\"")),
        "[a-z\"$\\\\ é\n]{0,6}".prop_map(|text| format!("'E'{text}'E'")),
        "[a-z\"$\\\\ ]{0,6}".prop_map(|text| format!("''{text}''")),
        ("([a-z^$.]|\\\\/|\\\\d){1,5}", "[imsuxUX]{0,2}")
            .prop_map(|(pattern, modifiers)| format!("#/{pattern}/{modifiers}")),
    ]
}

/// Expressions that can be assigned to.
fn target(inner: BoxedStrategy<String>) -> impl Strategy<Value = String> {
    let link = prop_oneof![
        inner.clone().prop_map(|e| format!("[{e}]")),
        name().prop_map(|n| format!("->{n}")),
        inner.prop_map(|e| format!("->call({e})->p")),
    ];
    let base = prop_oneof![
        variable(),
        (name(), variable()).prop_map(|(c, v)| format!("{c}::{v}")),
        Just("static::$s".to_owned())
    ];
    (base, prop::collection::vec(link, 0..3))
        .prop_map(|(base, links)| format!("{base}{}", links.concat()))
}

/// An expression of any kind.
pub fn expression() -> BoxedStrategy<String> {
    let leaf = prop_oneof![
        literal(),
        variable(),
        name(),
        name().prop_map(|n| format!("builtin {n}")),
        (name(), name()).prop_map(|(c, n)| format!("{c}::{n}")),
    ];
    leaf.prop_recursive(5, 60, 4, |inner| {
        let inner = inner.boxed();
        let op = prop::sample::select(
            &[
                "+", "-", "*", "/", "%", "**", ".", "and", "or", "==", "!=", "===", "!==", "<",
                ">", "<=", ">=", "=~", "!~", "|", "^", "&", "<<", ">>", ">>>", "??", "?:",
            ][..],
        );
        let assign = prop::sample::select(
            &[
                "=", "+=", "-=", "*=", "/=", "%=", "**=", ".=", "??=", "&=", "|=", "^=", "<<=",
                ">>=", ">>>=",
            ][..],
        );
        let prefix = prop::sample::select(&["!", "not ", "-", "+", "~", "- ", "+ "][..]);
        let target = || target(inner.clone());
        let list = |separator: &'static str| {
            prop::collection::vec(inner.clone(), 0..4).prop_map(move |list| list.join(separator))
        };
        // Operands without parentheses make the grammar decide; a prefix sign needs its space.
        prop_oneof![
            (inner.clone(), op, inner.clone()).prop_map(|(a, op, b)| format!("({a}) {op} {b}")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}) - ({b})")),
            (prefix, inner.clone()).prop_map(|(op, a)| format!("{op} {a}")),
            (target(), assign, inner.clone()).prop_map(|(t, op, e)| format!("({t} {op} {e})")),
            (inner.clone(), target(), inner.clone())
                .prop_map(|(a, t, e)| format!("({a}) and {t} = {e}")),
            (target(), prop::sample::select(&["++", "--"][..]))
                .prop_map(|(t, op)| format!("({t}{op})")),
            (target(), prop::sample::select(&["++", "--"][..]))
                .prop_map(|(t, op)| format!("({op}{t})")),
            (inner.clone(), inner.clone(), inner.clone())
                .prop_map(|(a, b, c)| format!("({a}) ? {b} : {c}")),
            list(", ").prop_map(|list| format!("[{list},]").replace("[,]", "[]")),
            list(" => 1, ").prop_map(|list| format!("array({list})")),
            (name(), list(", ...")).prop_map(|(f, list)| format!("{f}({list})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a})[{b}]")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a})[({b}):]")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a})[({a})::({b})]")),
            (inner.clone(), name()).prop_map(|(a, n)| format!("({a})->{n}")),
            inner.clone().prop_map(|e| format!(
                "function ($p, $q = 1, ...$r) closure ($c) {{ return {e}; }}"
            )),
            (inner.clone(), list(", "))
                .prop_map(|(e, list)| format!("cache [\"ttl\" => {e}] f({list})[0]")),
            (inner.clone(), inner.clone(), inner.clone())
                .prop_map(|(a, b, c)| format!("match ({a}) {{ {b}, {c} => {a}, default => {c} }}")),
            (variable(), inner.clone()).prop_map(|(v, e)| format!("isset({v}[{e}]->x)")),
            (variable(), inner.clone()).prop_map(|(v, e)| format!("unset({v}[({e}):])")),
        ]
    })
    .boxed()
}

/// A statement of any kind.
pub fn statement() -> impl Strategy<Value = String> {
    let simple = prop_oneof![
        expression().prop_map(|e| format!("{e};")),
        expression().prop_map(|e| format!("echo {e};")),
        expression().prop_map(|e| format!("return {e};")),
        expression().prop_map(|e| format!("throw {e};")),
        expression().prop_map(
            |e| format!("[$a, [$b, \"x\"->y[0]], $c = {e}, ...$r] = $x;")
                .replace("\"x\"->", "$z->")
        ),
        expression().prop_map(|e| format!("[\"k\" => $v, ({e}) => $w = none] = $x;")),
        Just("return;".to_owned()),
        Just(";".to_owned()),
        Just("include_once ''a/b'';".to_owned()),
    ];
    simple.prop_recursive(4, 30, 3, |inner| {
        let inner = inner.boxed();
        let body = || inner.clone();
        prop_oneof![
            (body(), body()).prop_map(|(a, b)| format!("{{ {a} {b} }}")),
            (expression(), body()).prop_map(|(c, a)| format!("if ({c}) {{ {a} }}")),
            (expression(), body(), expression(), body())
                .prop_map(|(c, a, d, b)| format!("if ({c}) {{ {a} }} else if ({d}) {b}")),
            (expression(), body(), body())
                .prop_map(|(c, a, b)| format!("if ({c}) {{ {a} }} else {b}")),
            (expression(), body()).prop_map(|(c, a)| format!("while ({c}) {a}")),
            body().prop_map(|a| format!("forever {a}")),
            (expression(), body())
                .prop_map(|(e, a)| format!("for ($i = 0, $j = 1; {e}; $i++) {a}")),
            (expression(), body())
                .prop_map(|(e, a)| format!("foreach ({e} as $k => [$v, $w = 2]) {a}")),
            (expression(), body(), body()).prop_map(|(e, a, b)| format!(
                "switch ({e}) {{ case ({e}): {a} break; default: {b} }}"
            )),
            (body(), body()).prop_map(|(a, b)| format!("try {{ {a} }} catch ($e) {{ {b} }}")),
            (expression(), body()).prop_map(|(e, a)| format!("barrier ({e}) => $v {{ {a} }}")),
            body().prop_map(|a| format!(
                "function g($a, $b = [1, \"x\" => none]) {{ global $q; {a} yield 1 => 2; }}"
            )),
            body().prop_map(|a| format!("__debug [\"S\", \"P\"] {a}")),
        ]
    })
}
