//! Rows of PCRE2's own test data on which Perl agrees: match or no match, and every group.

mod common;

use angarium_regex::{Captures, Outcome, Regex};
use common::{Row, rows};

/// Regular rows must all pass; of the others a few may miss.
#[test]
fn the_rows_of_pcre2_pass() {
    let Some(rows) = rows() else { return };
    for (kind, regular, least) in [("regular", true, 1.0), ("other", false, 0.98)] {
        let rows: Vec<&Row> = rows.iter().filter(|row| row.regular == regular).collect();
        let misses: Vec<String> = rows.iter().filter_map(|row| miss(row)).collect();
        let passed = rows.len() - misses.len();
        println!("{kind}: {passed} of {}", rows.len());
        misses.iter().for_each(|miss| println!("{miss}"));
        assert!(
            passed as f64 >= rows.len() as f64 * least,
            "{kind}: {passed} of {}",
            rows.len()
        );
    }
}

/// How a row fails, if it does.
fn miss(row: &Row) -> Option<String> {
    let regex = match Regex::new(&row.pattern, row.modifiers) {
        Ok(regex) => regex,
        Err(error) => return Some(format!("{}: {error}", row.id)),
    };
    let mut captures = Captures::new();
    let mut outcome = regex.captures_at(&row.subject, 0, &mut captures);
    if matches!(outcome, Outcome::LimitExceeded(_)) {
        outcome = regex.captures_heavy(&row.subject, 0, &mut captures, &mut || true);
    }
    let found = match outcome {
        Outcome::Match(()) => {
            let groups = 0..captures.len();
            let mut groups: Vec<Option<Vec<u8>>> = groups
                .map(|g| captures.bytes(g, &row.subject).map(<[u8]>::to_vec))
                .collect();
            while let Some(None) = groups.last() {
                groups.pop();
            }
            Some(groups)
        }
        Outcome::NoMatch => None,
        Outcome::LimitExceeded(stage) => return Some(format!("{}: limit {stage:?}", row.id)),
    };
    (found != row.expect).then(|| format!("{}: {regex}: {found:?}, not {:?}", row.id, row.expect))
}
