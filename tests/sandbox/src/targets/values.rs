//! Regular expressions and JSON.

use std::ops::Range;

use angarium_regex::{Captures, Modifiers, Outcome, Regex};
use angarium_runtime::convert;
use angarium_runtime::memory::{self, Account};
use angarium_stdlib::json::{self, Form};

/// The first line is modifiers, the second the pattern, the rest the subject. Every search ends; where both engines can run
/// a pattern they agree on every match and every group.
pub fn regex(data: &[u8]) {
    let mut parts = data.splitn(3, |byte| *byte == b'\n');
    let (Some(letters), Some(pattern)) = (parts.next(), parts.next()) else {
        return;
    };
    let subject = parts.next().unwrap_or(b"");
    let Some(modifiers) = Modifiers::parse(letters) else {
        return;
    };
    let Ok(regex) = Regex::new(pattern, modifiers) else {
        assert!(
            Regex::on_pcre2(pattern, modifiers).is_err(),
            "PCRE2 takes what is refused"
        );
        return;
    };
    let found = all_matches(&regex, subject);
    let mut replaced = Vec::new();
    if let Some(matches) = &found {
        for groups in matches {
            for range in groups.iter().flatten() {
                assert!(range.start <= range.end && range.end <= subject.len());
            }
        }
        angarium_regex::expand(b"$0$1${2}", subject, &Captures::new(), &mut replaced);
    }
    if !regex.is_linear() {
        return;
    }
    let other = match Regex::on_pcre2(pattern, modifiers) {
        Ok(other) => other,
        Err(error) => panic!("{regex}: PCRE2 refuses it: {error}"),
    };
    assert_eq!(regex.groups(), other.groups(), "{regex}");
    assert!(regex.names().eq(other.names()), "{regex}");
    if let (Some(ours), Some(theirs)) = (found, all_matches(&other, subject)) {
        assert_eq!(
            ours,
            theirs,
            "{regex} on {:?}",
            String::from_utf8_lossy(subject)
        );
    }
}

/// All matches with all their groups; none when a limit ends the search.
fn all_matches(regex: &Regex, subject: &[u8]) -> Option<Vec<Vec<Option<Range<usize>>>>> {
    let mut matches = Vec::new();
    let mut captures = Captures::new();
    let mut start = 0;
    loop {
        match regex.captures_at(subject, start, &mut captures) {
            Outcome::Match(()) => {}
            Outcome::NoMatch => return Some(matches),
            Outcome::LimitExceeded(_) => return None,
        }
        let found = captures.get(0).expect("a match");
        matches.push(
            (0..captures.len())
                .map(|group| captures.get(group))
                .collect(),
        );
        match regex.next_start(subject, start, &found) {
            Some(next) => {
                assert!(next > start, "{regex}: it stays at {start}");
                start = next;
            }
            None => return Some(matches),
        }
    }
}

/// What is JSON is written and read again as the same value.
pub fn json_decode(data: &[u8]) {
    let outside = memory::swap(Account {
        limit: 16 << 20,
        ..Account::default()
    });
    if let Ok(value) = json::decode(data) {
        for ascii in [false, true] {
            for pretty in [false, true] {
                // A text that is not UTF-8 inside has no JSON form.
                let Ok(text) = json::encode(&value, Form { ascii, pretty }) else {
                    continue;
                };
                let again = json::decode(&text)
                    .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&text)));
                assert_eq!(
                    convert::dump(&again),
                    convert::dump(&value),
                    "{}",
                    String::from_utf8_lossy(&text)
                );
            }
        }
    }
    memory::swap(outside);
}
