//! Properties of compiler and machine on generated programs.
#![allow(clippy::unwrap_used, reason = "what fails here is a broken test")]

mod support;

use std::collections::HashMap;

use angarium_runtime::Limits;
use proptest::prelude::*;

const SMALL: Limits = Limits {
    fuel: Some(20_000),
    memory: Some(16 << 20),
    time: None,
};

/// What a program prints and how it ends; the place of an error does not matter.
fn outcome(text: &str) -> (Vec<String>, Result<String, String>) {
    match support::run(text, &HashMap::new(), SMALL) {
        Ok(ran) => {
            let place = |text: String| {
                text.split(" in main.hsl")
                    .next()
                    .unwrap_or_default()
                    .to_owned()
            };
            (ran.lines, ran.result.map_err(place))
        }
        Err(message) => (Vec::new(), Err(message)),
    }
}

fn literal() -> impl Strategy<Value = String> {
    prop_oneof![
        (-20_i32..20).prop_map(|number| if number < 0 {
            format!("(-{})", -number)
        } else {
            number.to_string()
        }),
        (0_u32..1000, 0_u32..100).prop_map(|(whole, part)| format!("{whole}.{part}")),
        Just("9007199254740993".to_owned()),
        Just("true".to_owned()),
        Just("false".to_owned()),
        Just("none".to_owned()),
        "[a-c0-9]{0,4}".prop_map(|text| format!("\"{text}\"")),
        Just("[]".to_owned()),
        Just("[1, \"x\" => 2]".to_owned()),
    ]
}

/// An expression of literals; `{}` stands where a literal may be wrapped.
fn constant_expression() -> impl Strategy<Value = String> {
    literal()
        .prop_map(|text| format!("«{text}»"))
        .prop_recursive(4, 24, 3, |inner| {
            prop_oneof![
                (
                    inner.clone(),
                    prop::sample::select(vec![
                        "+", "-", "*", "/", "%", "**", ".", "==", "!=", "===", "!==", "<", ">",
                        "<=", ">=", "&", "|", "^", "<<", ">>", ">>>", "and", "or", "??",
                    ]),
                    inner.clone()
                )
                    .prop_map(|(a, op, b)| format!("({a} {op} {b})")),
                (
                    prop::sample::select(vec!["-", "+", "!", "~", "not "]),
                    inner.clone()
                )
                    .prop_map(|(op, a)| format!("({op}{a})")),
                (inner.clone(), inner.clone(), inner.clone())
                    .prop_map(|(a, b, c)| format!("({a} ? {b} : {c})")),
                (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("[{a}, {b}]")),
            ]
        })
}

/// A statement of a small language of assignments to `$a`, `$b`, `$c` and their elements.
fn statement() -> impl Strategy<Value = String> {
    let variable = prop::sample::select(vec!["$a", "$b", "$c"]);
    let key = prop::sample::select(vec![
        "[0]",
        "[1]",
        "[\"k\"]",
        "[\"k\"][0]",
        "[]",
        "[1][\"k\"]",
    ]);
    let value = prop_oneof![
        literal(),
        variable.clone().prop_map(str::to_owned),
        (variable.clone(), 0..3_u8).prop_map(|(v, i)| format!("{v}[{i}]")),
        (variable.clone(), variable.clone()).prop_map(|(a, b)| format!("[{a}, \"k\" => {b}]")),
    ];
    let op = prop::sample::select(vec!["=", "+=", "-=", ".=", "??="]);
    prop_oneof![
        (variable.clone(), value.clone()).prop_map(|(v, x)| format!("{v} = {x};")),
        (variable.clone(), key.clone(), op, value.clone())
            .prop_map(|(v, k, op, x)| format!("{v}{k} {op} {x};")),
        (
            variable.clone(),
            prop::sample::select(vec!["[0]", "[\"k\"]", "[0:1]", "[1][\"k\"]"])
        )
            .prop_map(|(v, k)| format!("unset({v}{k});")),
        (variable.clone(), value.clone()).prop_map(|(v, x)| format!("{v}[0:1] = [{x}];")),
        (variable.clone(), variable.clone())
            .prop_map(|(a, b)| format!("foreach ({a} as $i => $v) {{ {b}[] = $v; }}")),
        (variable.clone(), variable.clone()).prop_map(|(a, b)| format!("[{a}, {b}] = [{b}, {a}];")),
        (variable.clone(), value.clone()).prop_map(|(v, x)| format!("{v} = put({v}, {x});")),
        (variable, value).prop_map(|(v, x)| format!("{v}[\"k\"][] = {x};")),
    ]
}

/// Tokens in any order: mostly nonsense, which must be refused and not more.
fn soup() -> impl Strategy<Value = String> {
    let token = prop::sample::select(vec![
        "$a", "$b", "=", "+=", "[", "]", "(", ")", "{", "}", ";", ",", "1", "\"s\"", "function",
        "f", "return", "if", "else", "while", "for", "foreach", "as", "=>", "try", "catch",
        "throw", "switch", "case", "default", ":", "?", "??", "match", "closure", "global",
        "isset", "unset", "...", "->", "++", "+", ".", "none", "echo", "break", "continue", "and",
        "==",
    ]);
    prop::collection::vec(token, 0..40).prop_map(|tokens| tokens.join(" "))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn folding_agrees_with_evaluation(expression in constant_expression()) {
        let folded = format!("echo {};", expression.replace(['«', '»'], ""));
        let evaluated = format!(
            "function id($x) {{ return $x; }} echo {};",
            expression.replace('«', "id(").replace('»', ")")
        );
        prop_assert_eq!(outcome(&folded), outcome(&evaluated));
    }

    #[test]
    fn a_copy_is_never_changed_by_writes_to_the_original(
        before in prop::collection::vec(statement(), 0..8),
        after in prop::collection::vec(statement(), 1..12),
    ) {
        let wrap = |statements: &[String]| {
            statements.iter().map(|text| format!("try {{ {text} }} catch ($e) {{}}\n")).collect::<String>()
        };
        let text = format!(
            "function put($l, $x) {{ $l[] = $x; return $l; }}\n$a = [1, [2, 3], \"k\" => \"text\"]; $b = []; $c = \"s\";\n{}\
             $kept = [$a, $b, $c]; $copy = $a; $shown = string($kept) . string($copy);\n{}\
             echo $shown === string($kept) . string($copy);",
            wrap(&before),
            wrap(&after),
        );
        let (lines, result) = outcome(&text);
        if result.is_ok() {
            prop_assert_eq!(lines, vec!["true".to_owned()], "{}", text);
        }
    }

    #[test]
    fn waiting_changes_no_result(statements in prop::collection::vec(statement(), 1..10)) {
        let program = |literal_of: &str| {
            let body: String = statements.iter().map(|text| {
                let text = text.replace("\"k\" => ", "\"k\" => W").replace("= [", "= W[").replace('W', literal_of);
                format!("try {{ {text} }} catch ($e) {{}}\n")
            }).collect();
            format!("function put($l, $x) {{ $l[] = {literal_of}$x; return $l; }}\n$a = [1, [2]]; $b = []; $c = 5;\n{body}echo [$a, $b, $c];")
        };
        let (plain, waiting) = (program(""), program(""));
        let waiting = waiting.replace("return $l;", "return wait($l);").replace("put(", "wait(put)(");
        let waiting = waiting.replace("function wait(put)(", "function put(");
        prop_assert_eq!(outcome(&plain), outcome(&waiting));
    }

    #[test]
    fn nonsense_is_refused_and_never_panics(text in soup()) {
        let _ = outcome(&text);
    }

    #[test]
    fn random_programs_stay_within_their_budget(
        statements in prop::collection::vec(statement(), 1..10),
        rounds in 1_u32..100_000,
    ) {
        let body: String = statements.iter().map(|text| format!("try {{ {text} }} catch ($e) {{}} ")).collect();
        let text = format!(
            "function put($l, $x) {{ $l[] = $x; return $l; }} $a = []; $b = \"\"; $c = none; \
             for ($n = 0; $n < {rounds}; $n++) {{ {body} }}"
        );
        let ran = support::run(&text, &HashMap::new(), SMALL);
        if let Ok(ran) = ran {
            // One more built-in or copy than the budget allows may be under way when it ends.
            prop_assert!(ran.fuel < 2_000_000, "{} fuel", ran.fuel);
        }
    }
}
