//! Which files of a bundle are left out: the rules of `.halonignore`.
//!
//! One glob a line, seen from the folder of the file that holds it. A glob without `/` matches the
//! name of a file or folder at any depth, one with `/` the path; a `/` at the end matches folders
//! only, `!` in front takes back what an earlier rule left out, `#` begins a comment. The last rule
//! that fits counts, as in the ignore files that everybody knows.

use globset::{GlobBuilder, GlobMatcher};

/// Rules in the order in which they were read.
#[derive(Debug, Default)]
pub(crate) struct IgnoreRules(Vec<Rule>);

#[derive(Debug)]
struct Rule {
    /// The folder that the rule is seen from: empty, or with a `/` at the end.
    folder: String,
    glob: GlobMatcher,
    by_name: bool,
    folders_only: bool,
    takes_back: bool,
}

impl IgnoreRules {
    /// Adds the rules of a text; `folder` is where it stands, empty or with a `/` at the end.
    ///
    /// # Errors
    /// The number of each bad line, from 1, and what is wrong with it.
    pub fn add(&mut self, folder: &str, text: &str) -> Vec<(usize, String)> {
        let mut errors = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim_end();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Err(error) = self.add_rule(folder, line) {
                errors.push((number + 1, error));
            }
        }
        errors
    }

    fn add_rule(&mut self, folder: &str, line: &str) -> Result<(), String> {
        let (takes_back, line) = match line.strip_prefix('!') {
            Some(rest) => (true, rest),
            None => (false, line),
        };
        let (folders_only, line) = match line.strip_suffix('/') {
            Some(rest) => (true, rest),
            None => (false, line),
        };
        let by_name = !line.contains('/');
        let pattern = line.strip_prefix('/').unwrap_or(line);
        let glob = GlobBuilder::new(pattern).literal_separator(true).build();
        let glob = glob.map_err(|error| error.to_string())?.compile_matcher();
        self.0.push(Rule {
            folder: folder.to_owned(),
            glob,
            by_name,
            folders_only,
            takes_back,
        });
        Ok(())
    }

    /// Says whether the file or folder with this path (with `/` between its parts) is left out.
    pub fn leaves_out(&self, path: &str, is_folder: bool) -> bool {
        let fits = |rule: &&Rule| {
            let Some(below) = path.strip_prefix(&rule.folder) else {
                return false;
            };
            let subject = if rule.by_name {
                below.rsplit('/').next().unwrap_or(below)
            } else {
                below
            };
            (is_folder || !rule.folders_only) && rule.glob.is_match(subject)
        };
        self.0
            .iter()
            .rev()
            .find(fits)
            .is_some_and(|rule| !rule.takes_back)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_fit_as_in_other_ignore_files() {
        let mut rules = IgnoreRules::default();
        assert_eq!(
            rules.add(
                "",
                "# comment\n*.bak\n/top.txt\ndocs/*.md\nbuild/\n\n!keep.bak\n"
            ),
            []
        );
        assert_eq!(rules.add("sub/", "/only-here\n"), []);
        let rows = [
            ("a.bak", false, true),
            ("x/a.bak", false, true),
            ("keep.bak", false, false),
            ("top.txt", false, true),
            ("x/top.txt", false, false),
            ("docs/a.md", false, true),
            ("docs/x/a.md", false, false),
            ("build", true, true),
            ("build", false, false),
            ("sub/only-here", false, true),
            ("only-here", false, false),
            ("sub/x/only-here", false, false),
        ];
        for (path, folder, expected) in rows {
            assert_eq!(rules.leaves_out(path, folder), expected, "{path}");
        }
        assert_eq!(
            rules.add("", "ok\n[\n").first().map(|(line, _)| *line),
            Some(2)
        );
    }
}
