//! Log lines of deliveries: an event and its keys with values (mta.md 5.10).
//!
//! A value with a blank, a quote or a control character, and every free text, stands in quotes with
//! escapes, so that no peer can forge a key.

use std::fmt::{self, Display, Write as _};

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line(String);

impl Line {
    /// Begins the line of an event.
    #[must_use]
    pub fn new(event: &str) -> Line {
        Line(event.to_owned())
    }

    /// Adds a value; in quotes if it has to be.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Display) -> Line {
        let text = value.to_string();
        let plain = |c: char| !c.is_whitespace() && !c.is_control() && !matches!(c, '"' | '\\');
        if text.chars().all(plain) {
            // Writing to a string cannot fail.
            let _ = write!(self.0, " {key}={text}");
            return self;
        }
        self.text(key, &text)
    }

    /// Adds a value if there is one.
    #[must_use]
    pub fn maybe<T: Display>(self, key: &str, value: Option<T>) -> Line {
        match value {
            Some(value) => self.with(key, value),
            None => self,
        }
    }

    /// Adds a text for people, always in quotes.
    #[must_use]
    pub fn text(mut self, key: &str, value: &str) -> Line {
        let _ = write!(self.0, " {key}=\"");
        for c in value.chars() {
            match c {
                '"' | '\\' => self.0.extend(['\\', c]),
                '\n' => self.0.push_str("\\n"),
                '\r' => self.0.push_str("\\r"),
                '\t' => self.0.push_str("\\t"),
                c if c.is_control() => {
                    let _ = write!(self.0, "\\u{{{:x}}}", u32::from(c));
                }
                c => self.0.push(c),
            }
        }
        self.0.push('"');
        self
    }

    /// Adds a word without a value.
    #[must_use]
    pub fn flag(mut self, set: bool, word: &str) -> Line {
        if set {
            let _ = write!(self.0, " {word}");
        }
        self
    }

    /// The line.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_value_can_end_its_line_or_its_quotes() {
        let line = Line::new("delivery")
            .with("id", "a:1")
            .with("host", "x y")
            .text("reason", "550 \"no\"\r\n[x] queue id=forged")
            .maybe("none", None::<&str>)
            .flag(true, "hold");
        assert_eq!(
            line.as_str(),
            r#"delivery id=a:1 host="x y" reason="550 \"no\"\r\n[x] queue id=forged" hold"#
        );
    }
}
