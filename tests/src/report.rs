//! The output of `cargo test` read into rows.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

/// What the tests of one binary gave, and the suites that they ran.
#[derive(Debug, Default)]
pub struct Report {
    /// The crate and file of the running test binary.
    binary: String,
    /// The test whose output is being read.
    test: String,
    binaries: BTreeMap<String, Count>,
    suites: BTreeMap<String, Count>,
    skips: BTreeMap<String, String>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Count {
    passed: u64,
    total: u64,
}

impl Report {
    /// Takes one line.
    pub fn read(&mut self, line: &str) {
        let text = line.trim();
        if let Some(binary) = text.strip_prefix("Running ") {
            self.binary = binary_name(binary);
            self.test.clear();
        } else if let Some(name) = text.strip_prefix("Doc-tests ") {
            self.binary = format!("{name} documentation");
            self.test.clear();
        } else if let Some(rest) = text.strip_prefix("---- ") {
            self.test = rest.split(' ').next().unwrap_or_default().to_owned();
        } else if let Some(reason) = text.strip_prefix("skipped: ") {
            let name = if self.test.is_empty() {
                &self.binary
            } else {
                &self.test
            };
            self.skips
                .insert(format!("{} {name}", self.binary), reason.to_owned());
        } else if let Some(result) = text.strip_prefix("test result: ") {
            let number = |what: &str| {
                result
                    .split(['.', ';'])
                    .filter_map(|part| part.trim().strip_suffix(what)?.trim().parse::<u64>().ok())
                    .sum::<u64>()
            };
            let (passed, failed) = (number("passed"), number("failed"));
            if passed + failed > 0 {
                let count = self.binaries.entry(self.binary.clone()).or_default();
                count.passed += passed;
                count.total += passed + failed;
            }
        } else if let Some((name, passed, total)) = suite_line(text) {
            // A test may print a suite's line more than once; the last one stands.
            self.suites
                .insert(format!("{} {name}", self.binary), Count { passed, total });
        }
    }

    /// Tests that passed.
    pub fn passed(&self) -> u64 {
        self.binaries.values().map(|count| count.passed).sum()
    }

    /// Tests that failed.
    pub fn failed(&self) -> u64 {
        self.binaries
            .values()
            .map(|count| count.total - count.passed)
            .sum()
    }

    /// Tests that said that they were skipped.
    pub fn skipped(&self) -> usize {
        self.skips.len()
    }

    /// The numbers of this run.
    ///
    /// A suite that `before` keeps as `all` stays so: its size changes from run to run.
    pub fn to_kept(&self, before: &Kept) -> Kept {
        let passes = self
            .rows()
            .map(|(name, count)| match before.passes.get(name) {
                Some(Passes::All) => (name.clone(), Passes::All),
                _ => (name.clone(), Passes::AtLeast(count.passed)),
            })
            .collect();
        Kept {
            passes,
            skips: self.skips.keys().cloned().collect(),
        }
    }

    fn rows(&self) -> impl Iterator<Item = (&String, &Count)> {
        self.binaries.iter().chain(&self.suites)
    }

    /// What is worse than the kept numbers allow, a sentence each.
    pub fn compare(&self, kept: &Kept) -> Vec<String> {
        let now: BTreeMap<_, _> = self.rows().collect();
        let mut complaints = Vec::new();
        for (name, passes) in &kept.passes {
            let count = now.get(name).map_or(Count::default(), |count| **count);
            let enough = match passes {
                Passes::AtLeast(passes) => count.passed >= *passes,
                Passes::All => count.passed == count.total && count.total > 0,
            };
            if !enough {
                complaints.push(format!(
                    "FEWER: {name}: {} of {} passed, tests/passes.txt keeps {passes}",
                    count.passed, count.total
                ));
            }
        }
        for (name, reason) in &self.skips {
            if !kept.skips.contains(name) {
                complaints.push(format!("SKIPPED: {name}: {reason}"));
            }
        }
        complaints
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self
            .rows()
            .map(|(name, _)| name.len())
            .chain(self.skips.keys().map(String::len))
            .max()
            .unwrap_or(5);
        writeln!(f, "{:width$}  passed", "suite")?;
        for (name, count) in self.rows() {
            writeln!(f, "{name:width$}  {} of {}", count.passed, count.total)?;
        }
        for (name, reason) in &self.skips {
            writeln!(f, "{name:width$}  SKIPPED: {reason}")?;
        }
        Ok(())
    }
}

/// `unittests src/lib.rs (target/debug/deps/angarium_smtp-0123456789abcdef)` to `angarium_smtp src/lib.rs`.
fn binary_name(text: &str) -> String {
    let (source, path) = text.split_once(" (").unwrap_or((text, ""));
    let source = source.trim_start_matches("unittests ");
    let file = path
        .trim_end_matches(')')
        .rsplit('/')
        .next()
        .unwrap_or_default();
    let name = file.rsplit_once('-').map_or(file, |(name, _)| name);
    format!("{name} {source}")
}

/// `NAME: N of M`, with anything behind it.
fn suite_line(text: &str) -> Option<(&str, u64, u64)> {
    let (name, rest) = text.rsplit_once(": ")?;
    let mut words = rest.split(' ');
    let passed = words.next()?.parse().ok()?;
    if words.next()? != "of" {
        return None;
    }
    let total: u64 = words
        .next()?
        .trim_end_matches([',', '.', ';'])
        .parse()
        .ok()?;
    (passed <= total && !name.is_empty()).then_some((name, passed, total))
}

/// What a suite must reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Passes {
    /// As many cases.
    AtLeast(u64),
    /// All of a number of cases that changes from run to run.
    All,
}

impl fmt::Display for Passes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Passes::AtLeast(passes) => write!(f, "{passes}"),
            Passes::All => f.write_str("all"),
        }
    }
}

/// The numbers that a run must reach.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Kept {
    passes: BTreeMap<String, Passes>,
    /// Tests that may be skipped: they were when the numbers were kept.
    skips: BTreeSet<String>,
}

impl FromStr for Kept {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Kept, Self::Err> {
        let mut kept = Kept::default();
        for line in text.lines() {
            match line.rsplit_once(" = ") {
                Some((name, "skipped")) => {
                    kept.skips.insert(name.to_owned());
                }
                Some((name, "all")) => {
                    kept.passes.insert(name.to_owned(), Passes::All);
                }
                Some((name, number)) => {
                    if let Ok(number) = number.parse() {
                        kept.passes.insert(name.to_owned(), Passes::AtLeast(number));
                    }
                }
                None => {}
            }
        }
        Ok(kept)
    }
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "# Passes of each suite: a run with fewer fails. Written by: cargo run -p angarium-tests -- --keep"
        )?;
        for (name, passes) in &self.passes {
            writeln!(f, "{name} = {passes}")?;
        }
        for name in &self.skips {
            writeln!(f, "{name} = skipped")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "\
     Running unittests src/lib.rs (target/debug/deps/angarium_mail-00ff)
test a ... ok

successes:

---- suites::json stdout ----
json must: 95 of 95
---- suites::python stdout ----
skipped: python3 is not installed

test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s
     Running tests/x.rs (target/debug/deps/x-0a)
test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s
";

    fn read(output: &str) -> Report {
        let mut report = Report::default();
        output.lines().for_each(|line| report.read(line));
        report
    }

    #[test]
    fn rows_suites_and_skips_are_found() {
        let report = read(OUTPUT);
        assert_eq!(
            (report.passed(), report.failed(), report.skipped()),
            (3, 2, 1)
        );
        let text = report.to_string();
        assert!(
            text.contains("angarium_mail src/lib.rs json must"),
            "{text}"
        );
        assert!(text.contains("95 of 95"), "{text}");
        assert!(text.contains("SKIPPED: python3 is not installed"), "{text}");
    }

    #[test]
    fn fewer_passes_and_new_skips_are_complaints() {
        let kept = read(OUTPUT).to_kept(&Kept::default());
        let again: Kept = kept.to_string().parse().unwrap();
        assert_eq!(kept, again);
        assert!(read(OUTPUT).compare(&kept).is_empty());
        let worse = OUTPUT
            .replace("95 of 95", "94 of 95")
            .replace("2 passed", "1 passed");
        assert_eq!(read(&worse).compare(&kept).len(), 2);
        assert_eq!(
            read(OUTPUT).compare(&Kept::default()).len(),
            1,
            "a skip that was not kept"
        );
        assert_eq!(read("").compare(&kept).len(), 3, "a suite that is gone");
    }
}
