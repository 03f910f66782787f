//! The two engines give the same answers for every pattern that both can run.

mod common;

use std::collections::BTreeMap;
use std::ops::Range;

use angarium_regex::{Captures, Modifiers, Outcome, Regex};
use common::rows;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

type Groups = Vec<Option<Range<usize>>>;

/// All matches with all their groups; the subject may be searched with either stage.
fn all_matches(regex: &Regex, subject: &[u8]) -> Result<Vec<Groups>, String> {
    let mut matches = Vec::new();
    let mut captures = Captures::new();
    let mut start = 0;
    loop {
        let mut outcome = regex.captures_at(subject, start, &mut captures);
        if matches!(outcome, Outcome::LimitExceeded(_)) {
            outcome = regex.captures_heavy(subject, start, &mut captures, &mut || true);
        }
        match outcome {
            Outcome::Match(()) => {}
            Outcome::NoMatch => return Ok(matches),
            Outcome::LimitExceeded(stage) => return Err(format!("limit {stage:?}")),
        }
        let found = captures.get(0).expect("a match");
        if !matches!(regex.find_at(subject, start), Outcome::Match(range) if range == found) {
            return Err(format!("find_at differs from captures_at at {start}"));
        }
        matches.push(
            (0..captures.len())
                .map(|group| captures.get(group))
                .collect(),
        );
        match regex.next_start(subject, start, &found) {
            Some(next) => start = next,
            None => return Ok(matches),
        }
    }
}

/// Compares the engines; false if the pattern does not run on both.
fn compare(pattern: &[u8], modifiers: Modifiers, subjects: &[&[u8]]) -> bool {
    let Ok(automaton) = Regex::new(pattern, modifiers) else {
        return false;
    };
    if !automaton.is_linear() {
        return false;
    }
    let pcre2 = match Regex::on_pcre2(pattern, modifiers) {
        Ok(regex) => regex,
        Err(error) => panic!("{automaton}: PCRE2 refuses it: {error}"),
    };
    assert_eq!(automaton.groups(), pcre2.groups(), "{automaton}");
    assert_eq!(
        automaton.names().collect::<Vec<_>>(),
        pcre2.names().collect::<Vec<_>>(),
        "{automaton}"
    );
    for subject in subjects {
        let shown = String::from_utf8_lossy(subject);
        let ours = all_matches(&automaton, subject);
        if let Ok(theirs) = all_matches(&pcre2, subject) {
            assert_eq!(ours, Ok(theirs), "{automaton} on {shown:?}");
            let matched = matches!(automaton.is_match(subject), Outcome::Match(()));
            assert_eq!(
                Ok(matched),
                ours.map(|m| !m.is_empty()),
                "{automaton} on {shown:?}"
            );
        }
    }
    true
}

const LINES: &[&[u8]] = &[
    b"",
    b"\n",
    b"a\n",
    b"a\nb",
    b"a\nb\n",
    b"\n\n",
    b"abc ABC\r\nkK sS_-[]&&--~~\n",
    b"\xc3\xa9\xe2\x84\xaa\xc5\xbf k",
    b"\xe9\xff\x85\xa0 a",
    b"aaaaabbbbb0123",
    b"\x0b\x0c\t \x1c\0",
];

#[test]
fn they_agree_on_the_rows_of_pcre2() {
    let Some(rows) = rows() else { return };
    let mut patterns: BTreeMap<(Vec<u8>, String), Vec<Vec<u8>>> = BTreeMap::new();
    for row in rows {
        let key = (row.pattern, row.modifiers.to_string());
        patterns.entry(key).or_default().push(row.subject);
    }
    let mut compared = 0;
    for ((pattern, letters), subjects) in &patterns {
        let mut subjects: Vec<&[u8]> = subjects.iter().map(Vec::as_slice).collect();
        subjects.extend(LINES);
        for more in ["", "m", "s", "i", "U", "x", "u"] {
            let letters = format!("{letters}{more}");
            let modifiers = Modifiers::parse(letters.as_bytes()).expect("known letters");
            compared += usize::from(compare(pattern, modifiers, &subjects));
        }
    }
    println!(
        "{compared} of {} patterns with modifiers run on both engines",
        patterns.len() * 7
    );
    assert!(
        compared > patterns.len(),
        "the classifier gives up nearly everything: {compared}"
    );
}

#[test]
fn they_agree_where_dialects_differ() {
    let patterns = [
        "a$",
        r"b\Z",
        r"\z",
        "$",
        "(a|(b))$",
        "(?:a(\n)?|b)$",
        r"\s*$",
        r"(\s?)$",
        "(?m)^a$",
        "(?m)$",
        "[[a]+",
        "[&&a]",
        "[a--]?",
        "[~~]",
        "[]a]+",
        "[^]a]+",
        "[a-]",
        "[-a]",
        r"[\]\-\\]",
        "[a^]",
        r"\w+",
        r"\W+",
        r"\s",
        r"\S+",
        r"\d",
        r"\D+",
        r"\h",
        r"\H",
        r"\v",
        r"\V",
        r"\N+",
        ".",
        r"\b\w",
        r"\B.",
        "[.]",
        "[:a]+b]*",
        "[[.]+",
        "[=]]",
        "[[:a]+",
        "[[:lower:]]+",
        "[[:^upper:]]+",
        "[[:punct:]]",
        "[[:space:][:cntrl:]]",
        "k",
        "[k]+",
        "[^s]",
        "[j-l]+",
        "[[:word:]]",
        "(?i)k(?-i)s",
        "(?s).(?-s).",
        "a(?i)b|C",
        "(a(?i)b|c)B",
        "(?U)a+?",
        "(?U:a+)(b+?)",
        "(a|ab)(c|bcd)?",
        "(a)|(b)|c",
        "(?:(a)|b)+",
        "((a)|(b))+",
        "(a*)?b",
        "(|a)b",
        "(a|)b",
        "a{2}",
        "a{1,2}?",
        "(ab?){1,3}",
        r"\x61\x{62}\0141?",
        "a{x}",
        "}",
        "x{",
        r"\-\_\/",
        r"\a|\e|\f|\n|\r|\t",
        "(?<n>a)(?P<m>b)?(?'o'c)?",
        "()",
        "(?-)a",
        "(?)a",
        r"[\b]",
        "a|b|",
        r"\x00",
        "(?:a|a\n)$",
        "(a\n|a)$",
        r"a.*?$",
        "a??",
        "(?:a{2,3}){1,2}",
        "[^\\x00-\\xff]",
        r"[\x{0}-\x{ff}]",
    ];
    for pattern in patterns {
        for letters in ["", "i", "m", "s", "U", "u", "iu", "mu", "su", "imsuU", "x"] {
            let modifiers = Modifiers::parse(letters.as_bytes()).expect("known letters");
            compare(pattern.as_bytes(), modifiers, LINES);
        }
    }
    let extended = [
        "a b",
        "[a b]+",
        "a # c\n +",
        "a + b",
        r"a\ b",
        r"a\#",
        "( a ) { 2 }",
        "a {2} b ?",
    ];
    for pattern in extended {
        let modifiers = Modifiers::parse(b"x").expect("known letter");
        compare(pattern.as_bytes(), modifiers, LINES);
    }
}

/// Regular patterns, most of which run on both engines.
fn pattern() -> impl Strategy<Value = String> {
    let piece = select(vec![
        "a",
        "b",
        "c",
        "k",
        "s",
        "K",
        " ",
        "#",
        "é",
        "ſ",
        ".",
        r"\w",
        r"\W",
        r"\s",
        r"\d",
        r"\D",
        r"\h",
        r"\v",
        r"\n",
        "\n",
        r"\b",
        "^",
        r"\A",
        "[ab]",
        "[^a]",
        "[a-c]",
        "[^\\n]",
        "[[:alpha:]]",
        "[.a]",
        "[[:c]",
        "[j-t_]",
        r"[\w.]",
        r"\x61",
        r"\.",
        "-",
        "{",
        "}",
        "]",
        "(?i)",
        "(?m)",
        "(?s)",
        "(?-i)",
        "(?U)",
    ]);
    let leaf = piece.prop_map(str::to_owned);
    let repeat = select(vec![
        "*", "+", "?", "*?", "+?", "??", "{2}", "{1,2}", "{0,2}?", "{1,}", "",
    ]);
    leaf.prop_recursive(5, 40, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..4).prop_map(|parts| parts.concat()),
            prop::collection::vec(inner.clone(), 2..4).prop_map(|parts| parts.join("|")),
            (inner.clone(), repeat.clone()).prop_map(|(part, count)| format!("({part}){count}")),
            (inner.clone(), repeat.clone()).prop_map(|(part, count)| format!("(?:{part}){count}")),
            (inner.clone(), select(vec!["$", r"\Z", r"\z", "$|b", ""]))
                .prop_map(|(p, end)| p + end),
            inner.prop_map(|part| format!("(?i:{part})")),
        ]
    })
}

/// The generated comparison is worth something only if most patterns run on both engines.
#[test]
fn half_of_the_generated_patterns_run_on_both_engines() {
    let mut runner = TestRunner::deterministic();
    let compared = (0..400).filter(|_| {
        let pattern = pattern()
            .new_tree(&mut runner)
            .expect("a pattern")
            .current();
        compare(pattern.as_bytes(), Modifiers::default(), LINES)
    });
    let compared = compared.count();
    println!("{compared} of 400 generated patterns run on both engines");
    assert!(compared >= 200, "{compared} of 400");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..Default::default() })]

    #[test]
    fn they_agree_on_generated_patterns(
        pattern in pattern(),
        letters in "[imsxUu]{0,2}",
        subjects in prop::collection::vec("[abckKs \n.\u{e9}\u{17f}\u{212a}_0-]{0,12}", 4),
    ) {
        let modifiers = Modifiers::parse(letters.as_bytes()).expect("known letters");
        let subjects: Vec<&[u8]> = subjects.iter().map(String::as_bytes).collect();
        compare(pattern.as_bytes(), modifiers, &subjects);
    }

    #[test]
    fn no_pattern_and_no_subject_panics(
        pattern in prop_oneof![
            "[a-c()\\[\\]{}*+?|^$.\\\\QEkRxu#:<>=!0-9,-]{0,16}".prop_map(String::into_bytes),
            prop::collection::vec(any::<u8>(), 0..16),
        ],
        letters in "[imsxUuX]{0,3}",
        subject in prop::collection::vec(any::<u8>(), 0..24),
    ) {
        let modifiers = Modifiers::parse(letters.as_bytes()).expect("known letters");
        compare(&pattern, modifiers, &[&subject]);
        match Regex::new(&pattern, modifiers) {
            Ok(regex) => {
                let _ = all_matches(&regex, &subject);
            }
            Err(error) => prop_assert!(error.offset <= pattern.len(), "{error}"),
        }
    }
}
