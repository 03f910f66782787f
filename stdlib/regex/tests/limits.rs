//! Nothing that a script writes as a pattern takes unbounded time or memory.

use std::time::Duration;

use angarium_regex::{Captures, Modifiers, Outcome, Regex, Stage};

fn regex(pattern: &str, letters: &str) -> Regex {
    let modifiers = Modifiers::parse(letters.as_bytes()).expect("known letters");
    Regex::new(pattern.as_bytes(), modifiers).expect("good pattern")
}

fn fault(pattern: &str, letters: &str) -> String {
    let modifiers = Modifiers::parse(letters.as_bytes()).expect("known letters");
    Regex::new(pattern.as_bytes(), modifiers)
        .expect_err("bad pattern")
        .to_string()
}

#[allow(clippy::disallowed_methods, reason = "the test is about real time")]
fn within(limit: Duration, what: &str, run: impl FnOnce()) {
    let begin = std::time::Instant::now();
    run();
    let took = begin.elapsed();
    assert!(took < limit, "{what} took {took:?}");
}

#[test]
fn catastrophic_patterns_give_up_quickly_in_both_stages() {
    let line = [&b"a".repeat(60)[..], b"!"].concat();
    let mut captures = Captures::new();
    for pattern in [
        r"^(a+)+$(?<!x)",
        r"(a|a)*\1b",
        r"(?=(a+)+b)a",
        r"^(?:(?:a*)*)*b\1?()",
    ] {
        let regex = regex(pattern, "");
        assert!(!regex.is_linear(), "{pattern}");
        within(Duration::from_secs(2), pattern, || {
            let outcome = regex.captures_at(&line, 0, &mut captures);
            assert_ne!(outcome, Outcome::Match(()), "{pattern}");
        });
    }
    let regex = regex(r"^(a+)+$(?<!x)", "");
    assert_eq!(
        regex.captures_at(&line, 0, &mut captures),
        Outcome::LimitExceeded(Stage::Loop)
    );
    assert_eq!(regex.is_match(&line), Outcome::LimitExceeded(Stage::Loop));
    assert_eq!(regex.find_at(&line, 0), Outcome::LimitExceeded(Stage::Loop));
    within(Duration::from_secs(20), "a heavy search", || {
        let outcome = regex.captures_heavy(&line, 0, &mut captures, &mut || true);
        assert_eq!(outcome, Outcome::LimitExceeded(Stage::Heavy));
    });
}

#[test]
fn a_search_on_the_event_loop_gives_up_at_once_whatever_the_length() {
    for pattern in [
        r"(?=(a+)+b)a",
        r"(a|a)*\1b",
        r"(?<!x)(?:a*)*b",
        r"(?:(?!a*c)a)*d",
    ] {
        let regex = regex(pattern, "");
        for length in [120, 1000, 4000, 16_000] {
            let line = [&b"a".repeat(length)[..], b"!bcd"].concat();
            // Compiled for this length before it counts.
            let _ = regex.is_match(&line);
            // Some milliseconds, and much for a busy machine and an unoptimised build.
            within(Duration::from_millis(300), pattern, || {
                regex.is_match(&line);
            });
        }
    }
}

#[test]
fn the_same_pattern_is_linear_when_it_is_regular() {
    let line = [&b"a".repeat(100_000)[..], b"!"].concat();
    let regex = regex("^(a+)+$", "");
    assert!(regex.is_linear());
    assert_eq!(regex.is_match(&line), Outcome::NoMatch);
}

#[test]
fn a_script_cannot_lift_the_limits() {
    let line = [&b"a".repeat(60)[..], b"!"].concat();
    for pattern in [
        "(*LIMIT_MATCH=4000000000)^(a+)+$(?<!x)",
        "(*LIMIT_MATCH=4000000000)(*LIMIT_DEPTH=4000000000)(*LIMIT_HEAP=4000000000)^(a+)+$(?<!x)",
        "(*UTF)(*LIMIT_MATCH=4000000000)^(a+)+$(?<!x)",
    ] {
        let outcome = regex(pattern, "").is_match(&line);
        assert_eq!(outcome, Outcome::LimitExceeded(Stage::Loop), "{pattern}");
    }
    // Behind something else the item is no limit but a fault.
    let late = fault("a(*LIMIT_MATCH=4000000000)", "");
    assert!(late.contains("(*VERB)"), "{late}");
    // A lower limit of the script holds in the heavy search as well.
    let own = regex(r"(*LIMIT_MATCH=3)(?<!x)a+?b\z", "");
    let mut captures = Captures::new();
    let outcome = own.captures_heavy(b"aaaaaaaaab", 0, &mut captures, &mut || true);
    assert_eq!(outcome, Outcome::LimitExceeded(Stage::Heavy));
}

#[test]
fn long_subjects_of_pcre2_belong_to_the_heavy_stage_and_match_there() {
    let mut subject = b"line\r\n".repeat(40_000);
    subject.extend_from_slice(b"bare\nend");
    let regex = regex(r"(?<!\r)\n", "");
    let mut captures = Captures::new();
    assert!(regex.is_heavy(subject.len()) && !regex.is_heavy(998));
    assert_eq!(
        regex.captures_at(&subject, 0, &mut captures),
        Outcome::LimitExceeded(Stage::Loop)
    );
    within(Duration::from_secs(10), "a heavy search", || {
        let outcome = regex.captures_heavy(&subject, 0, &mut captures, &mut || true);
        assert_eq!(outcome, Outcome::Match(()));
    });
    assert_eq!(captures.get(0), Some(240_004..240_005));
    let mut asked = 0;
    let outcome = regex.captures_heavy(&subject, 0, &mut captures, &mut || {
        asked += 1;
        asked < 3
    });
    assert_eq!((outcome, asked), (Outcome::LimitExceeded(Stage::Heavy), 3));
}

#[test]
fn scans_inside_a_loop_count_in_a_heavy_search() {
    let regex = regex("(?:(?!a*c)a)*d", "");
    let mut captures = Captures::new();
    within(Duration::from_secs(10), "a quadratic search", || {
        let subject = b"a".repeat(1 << 20);
        let outcome = regex.captures_heavy(&subject, 0, &mut captures, &mut || true);
        assert_eq!(outcome, Outcome::LimitExceeded(Stage::Heavy));
    });
}

#[test]
fn windows_of_a_heavy_search_leave_no_place_out() {
    let mut captures = Captures::new();
    for (letters, filler) in [("", "x"), ("u", "é"), ("xUi", "x")] {
        let regex = regex(r"(?<=(.))b(c|$)(?<!q)", letters);
        for at in [1, 510, 511, 512, 513, 1023, 1024, 1025] {
            let before = filler.repeat(at);
            for after in ["", "c", "\n", "cd"] {
                let subject = format!("{before}b{after}");
                let mut small = Captures::new();
                let light = regex.captures_at(subject.as_bytes(), 0, &mut small);
                let outcome =
                    regex.captures_heavy(subject.as_bytes(), 0, &mut captures, &mut || true);
                assert_eq!(outcome, Outcome::Match(()), "{at} {letters}");
                assert!(matches!(
                    light,
                    Outcome::Match(()) | Outcome::LimitExceeded(_)
                ));
                if light == Outcome::Match(()) {
                    assert_eq!(captures, small, "{at} {letters}");
                }
                assert_eq!(captures.get(0).map(|m| m.start), Some(before.len()));
            }
        }
        let nothing = filler.repeat(1024);
        let outcome = regex.captures_heavy(nothing.as_bytes(), 0, &mut captures, &mut || true);
        assert_eq!(outcome, Outcome::NoMatch);
    }
}

#[test]
fn verbs_and_recursion_of_the_whole_pattern_work_in_a_heavy_search() {
    let mut captures = Captures::new();
    let mut heavy = |pattern: &str, subject: &[u8]| {
        let outcome = regex(pattern, "").captures_heavy(subject, 0, &mut captures, &mut || true);
        (outcome, captures.get(0))
    };
    let padded = [&b" ".repeat(20_000)[..], b"((a)(b))"].concat();
    assert_eq!(
        heavy(r"\((?:[^()]|(?R))*\)", &padded),
        (Outcome::Match(()), Some(20_000..20_008))
    );
    assert_eq!(heavy("a(*COMMIT)b|c", b"acab"), (Outcome::NoMatch, None));
    assert_eq!(
        heavy("a(*SKIP)(*F)|b", b"aab"),
        (Outcome::Match(()), Some(2..3))
    );
}

#[test]
fn huge_patterns_are_refused_and_not_built() {
    within(Duration::from_secs(5), "refusing", || {
        assert!(fault("((a{1000}){1000}){1000}", "").contains("too large"));
        assert!(fault("(((a{1,100}){1,100}){1,100}){1,100}", "").contains("too large"));
        assert!(fault(&"(".repeat(60_000), "").contains("nested"));
        assert!(fault(&"a".repeat(70_000), "").contains("longer than"));
    });
    // Beyond the automaton's size, within PCRE2's.
    assert!(
        !regex(
            "[ab]{1000}[cd]{1000}[ef]{1000}[gh]{1000}[ij]{1000}[kl]{1000}[mn]{1000}",
            ""
        )
        .is_linear()
    );
}

#[test]
fn faults_of_a_pattern_tell_what_and_where() {
    assert_eq!(
        fault("a(b", ""),
        "missing closing parenthesis at offset 3 of the pattern"
    );
    assert_eq!(
        fault("é(b", "u"),
        "missing closing parenthesis at offset 4 of the pattern"
    );
    assert_eq!(
        fault("é(b", ""),
        "missing closing parenthesis at offset 4 of the pattern"
    );
    assert_eq!(
        fault("a)", "U"),
        "unmatched closing parenthesis at offset 1 of the pattern"
    );
    assert!(fault("*a", "").starts_with("quantifier does not follow a repeatable item at offset"));
    assert!(fault("[z-a]", "").starts_with("range out of order in character class at offset"));
    assert!(fault(r"\cé", "").contains("printable ASCII"));
    assert!(fault(r"[\w-.]", "").contains("invalid range"));
    assert!(fault(r"(?<n>a)\k<m>", "").contains("reference to non-existent subpattern"));
}

#[test]
fn a_subject_that_is_not_utf8_does_not_match_under_u() {
    for pattern in ["a", "(?<!b)a", "(*UTF)(?<!b)a"] {
        for letters in ["u", "iu"] {
            let regex = regex(pattern, letters);
            assert_eq!(regex.is_match(b"a\xff"), Outcome::NoMatch, "{pattern}");
            assert_eq!(
                regex.is_match("aé".as_bytes()),
                Outcome::Match(()),
                "{pattern}"
            );
            assert_eq!(
                regex.find_at("éa".as_bytes(), 1),
                Outcome::NoMatch,
                "{pattern}"
            );
        }
    }
    assert_eq!(
        regex("(*UTF)(?<!b)a", "").is_match(b"a\xff"),
        Outcome::NoMatch
    );
    assert_eq!(regex("(?<!b)a", "").is_match(b"a\xff"), Outcome::Match(()));
}

#[test]
fn a_pattern_can_be_shared_by_threads_and_printed() {
    fn shared<T: Send + Sync>(value: T) -> T {
        value
    }
    assert_eq!(shared(regex("a(?=b)", "si")).to_string(), "/a(?=b)/si");
    assert_eq!(
        Regex::from_source(b"/a/Ui").expect("good pattern").source(),
        b"/a/Ui"
    );
    assert_eq!(
        Regex::from_source(b"/etc").expect("good pattern").source(),
        b"//etc/"
    );
}

#[test]
fn empty_matches_advance_by_a_byte_or_a_character() {
    let count = |letters: &str, pattern: &str, subject: &str| {
        let regex = regex(pattern, letters);
        let (mut start, mut places) = (0, Vec::new());
        while let Outcome::Match(found) = regex.find_at(subject.as_bytes(), start) {
            places.push((found.start, found.end));
            match regex.next_start(subject.as_bytes(), start, &found) {
                Some(next) => start = next,
                None => break,
            }
        }
        places
    };
    for empty in ["x*", "(?=)x*"] {
        assert_eq!(count("u", empty, "éx"), [(0, 0), (2, 3), (3, 3)], "{empty}");
        assert_eq!(
            count("", empty, "éx"),
            [(0, 0), (1, 1), (2, 3), (3, 3)],
            "{empty}"
        );
    }
    assert_eq!(count("", "$", "a\n"), [(1, 1), (2, 2)]);
}
