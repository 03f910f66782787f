//! What is wrong with a configuration, said so that it can be mended.
//!
//! A message begins `FILE:LINE:COLUMN: `, names the key by its path and says what is allowed; the
//! source line with a caret and a hint follow.

use std::fmt;

use thiserror::Error;

use crate::path::KeyPath;
use crate::yaml::Position;

/// What is wrong, as the end of a sentence that begins with the key's path.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Problem {
    /// The file cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(String),
    /// The file is no YAML, or YAML that is not allowed here.
    #[error("{0}")]
    Syntax(String),
    /// There is no `version`.
    #[error("Missing version: the file must say `version: \"6.0\"`")]
    MissingVersion,
    /// The `version` is none of those that this program knows.
    #[error("Unknown version {0}: it must be \"5.0\" to \"6.99\"")]
    UnknownVersion(String),
    /// Nobody knows this key.
    #[error("is not a known key")]
    UnknownKey,
    /// The key or value asks for what this program cannot do yet.
    #[error("asks for {0}: not available yet")]
    NotYet(String),
    /// A key that must be there is not.
    #[error("must be given")]
    Missing,
    /// The value is of another kind.
    #[error("must be {expected}, not {found}")]
    WrongType {
        /// What is allowed.
        expected: String,
        /// What stands there.
        found: String,
    },
    /// The value is none of those that are allowed.
    #[error("must be {allowed}, not {found}")]
    NotAllowed {
        /// What is allowed.
        allowed: String,
        /// What stands there.
        found: String,
    },
    /// The value is of the right kind but does not fit; the text completes the sentence.
    #[error("{0}")]
    Invalid(String),
    /// The id stands twice.
    #[error("names {id:?} a second time; {what} must differ")]
    Duplicate {
        /// The id.
        id: String,
        /// The kind of thing.
        what: &'static str,
    },
    /// The value refers to what does not exist.
    #[error("names the {what} {id:?}, which does not exist")]
    Unresolved {
        /// The kind of thing.
        what: &'static str,
        /// The id.
        id: String,
    },
}

/// One thing that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// Name of the file.
    pub file: String,
    /// Place in the file, if it can be told.
    pub position: Option<Position>,
    /// Path of the key; empty if the whole file is meant.
    pub path: String,
    /// What is wrong.
    pub problem: Problem,
    /// What to do about it.
    pub hint: Option<String>,
    /// The line of the file at `position`.
    pub source_line: Option<String>,
}

impl ConfigError {
    /// A problem with a whole file.
    #[must_use]
    pub fn of_file(file: impl Into<String>, problem: Problem) -> Self {
        Self {
            file: file.into(),
            position: None,
            path: String::new(),
            problem,
            hint: None,
            source_line: None,
        }
    }

    /// The same with a hint.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same with the path of the key.
    #[must_use]
    pub fn with_path(mut self, path: &KeyPath) -> Self {
        self.path = path.to_string();
        self
    }

    /// The message on one line, without source line and hint.
    #[must_use]
    pub fn summary(&self) -> String {
        let mut text = self.file.clone();
        if let Some(Position { line, column }) = self.position {
            text.push_str(&format!(":{line}:{column}"));
        }
        text.push_str(": ");
        if !self.path.is_empty() {
            text.push_str(&format!("`{}` ", self.path));
        }
        text.push_str(&self.problem.to_string());
        text
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.summary())?;
        if let (Some(position), Some(line)) = (self.position, &self.source_line) {
            let (line, column) = excerpt(line, position.column);
            let number = position.line.to_string();
            let gap = number.len();
            write!(f, "\n{number} | {line}\n{:gap$} | {:column$}^", "", "")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\nhint: {hint}")?;
        }
        Ok(())
    }
}

/// Cuts a line to what fits a screen around a column (from 1), and gives the caret's offset in it.
fn excerpt(line: &str, column: usize) -> (String, usize) {
    const WIDTH: usize = 100;
    let at = column.saturating_sub(1);
    let start = if at < WIDTH * 3 / 4 {
        0
    } else {
        at - WIDTH / 2
    };
    let shown = line.chars().skip(start).take(WIDTH);
    let text: String = shown
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    (text.trim_end().to_owned(), at - start)
}

/// Everything that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n\n")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

impl ConfigErrors {
    /// The errors file by file and, in each, from top to bottom.
    pub(crate) fn sorted(mut errors: Vec<ConfigError>) -> Self {
        let mut files: Vec<String> = Vec::new();
        for error in &errors {
            if !files.contains(&error.file) {
                files.push(error.file.clone());
            }
        }
        errors.sort_by_key(|error| {
            (
                files.iter().position(|file| *file == error.file),
                error.position,
            )
        });
        Self(errors)
    }
}

impl From<ConfigError> for ConfigErrors {
    fn from(error: ConfigError) -> Self {
        Self(vec![error])
    }
}

/// Names `items` in a sentence: `a`, `a or b`, `a, b or c`.
pub(crate) fn one_of(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}
