//! Messages about source text: the one type that lexer, parser, compiler and linter report with.
//!
//! A [`Diagnostic`] holds spans; a [`SourceMap`] is needed to show it. [`Diagnostic::render`] gives
//! the plain text of the command line and the log, [`Diagnostic::record`] the same facts as data
//! for editors and JSON.

use crate::span::{Position, SourceMap, Span};
use std::fmt::{self, Write as _};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The program is refused.
    Error,
    /// The program runs, and does perhaps not what its author meant.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

/// A marked place with a few words about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// The place.
    pub span: Span,
    /// What is there; may be empty for the primary place.
    pub text: String,
}

/// One error or warning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Error or warning.
    pub severity: Severity,
    /// The whole message on one line, without place and without full stop.
    pub message: String,
    /// The place that the message is about.
    pub primary: Label,
    /// Other places that explain it, for example the first of two definitions.
    pub secondary: Vec<Label>,
    /// What could have stood at the primary place, in the words of the reader (`` `;` ``, `an expression`).
    pub expected: Vec<String>,
    /// What to do about it.
    pub hint: Option<String>,
    /// The `include` and `import` statements that led to the file, innermost first.
    pub included_from: Vec<Span>,
}

impl Diagnostic {
    /// Makes an error at `span`.
    #[must_use]
    pub fn error(span: Span, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, span, message.into())
    }

    /// Makes a warning at `span`.
    #[must_use]
    pub fn warning(span: Span, message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, span, message.into())
    }

    fn new(severity: Severity, span: Span, message: String) -> Self {
        Self {
            severity,
            message,
            primary: Label {
                span,
                text: String::new(),
            },
            secondary: Vec::new(),
            expected: Vec::new(),
            hint: None,
            included_from: Vec::new(),
        }
    }

    /// Puts words beside the caret.
    #[must_use]
    pub fn label(mut self, text: impl Into<String>) -> Self {
        self.primary.text = text.into();
        self
    }

    /// Adds another place.
    #[must_use]
    pub fn also(mut self, span: Span, text: impl Into<String>) -> Self {
        self.secondary.push(Label {
            span,
            text: text.into(),
        });
        self
    }

    /// Says what could have stood there.
    #[must_use]
    pub fn expected(mut self, expected: Vec<String>) -> Self {
        self.expected = expected;
        self
    }

    /// Says what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Whether it is an error.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// The first line alone: `FILE:LINE:COLUMN: MESSAGE`.
    #[must_use]
    pub fn headline(&self, sources: &SourceMap) -> String {
        format!("{}: {}", place(sources, self.primary.span), self.message)
    }

    /// The whole text for people: the headline, the source line, a caret line, the other places,
    /// the hint and the include chain. Ends with a line feed.
    #[must_use]
    pub fn render(&self, sources: &SourceMap) -> String {
        let mut out = self.headline(sources);
        out.push('\n');
        snippet(&mut out, sources, &self.primary);
        for label in &self.secondary {
            // Writing to a string cannot fail.
            let _ = writeln!(out, "{}: {}", place(sources, label.span), label.text);
            let unnamed = Label {
                span: label.span,
                text: String::new(),
            };
            snippet(&mut out, sources, &unnamed);
        }
        if let Some(hint) = &self.hint {
            let _ = writeln!(out, "hint: {hint}");
        }
        for span in &self.included_from {
            let _ = writeln!(out, "included from {}", place(sources, *span));
        }
        out
    }

    /// The same facts as plain data, for JSON and editors.
    #[must_use]
    pub fn record(&self, sources: &SourceMap) -> Record {
        Record {
            severity: self.severity,
            message: self.message.clone(),
            label: self.primary.text.clone(),
            place: Place::of(sources, self.primary.span),
            related: self
                .secondary
                .iter()
                .map(|label| Related {
                    place: Place::of(sources, label.span),
                    message: label.text.clone(),
                })
                .collect(),
            expected: self.expected.clone(),
            hint: self.hint.clone(),
            included_from: self
                .included_from
                .iter()
                .map(|span| Place::of(sources, *span))
                .collect(),
        }
    }
}

/// A [`Diagnostic`] with names, lines and columns in place of spans.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Record {
    /// Error or warning.
    pub severity: Severity,
    /// The message.
    pub message: String,
    /// The words beside the caret.
    pub label: String,
    /// Where it is.
    #[serde(flatten)]
    pub place: Place,
    /// Other places.
    pub related: Vec<Related>,
    /// What could have stood there.
    pub expected: Vec<String>,
    /// What to do.
    pub hint: Option<String>,
    /// The include chain, innermost first.
    pub included_from: Vec<Place>,
}

/// Another place of a [`Record`].
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Related {
    /// Where it is.
    #[serde(flatten)]
    pub place: Place,
    /// What is there.
    pub message: String,
}

/// A range in a named file; lines and columns from 1.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Place {
    /// Name of the file.
    pub file: String,
    /// First line.
    pub line: u32,
    /// First column.
    pub column: u32,
    /// Line of the end.
    pub end_line: u32,
    /// Column after the last character.
    pub end_column: u32,
}

impl Place {
    fn of(sources: &SourceMap, span: Span) -> Self {
        let Position { line, column } = sources.position(span);
        let end = sources.end_position(span);
        Self {
            file: sources.name(span.file).to_owned(),
            line,
            column,
            end_line: end.line,
            end_column: end.column,
        }
    }
}

fn place(sources: &SourceMap, span: Span) -> String {
    let Position { line, column } = sources.position(span);
    // A program without a file name came from standard input.
    let name = match sources.name(span.file) {
        "" => "-",
        name => name,
    };
    format!("{name}:{line}:{column}")
}

/// Lines longer than this are cut around the caret, so that a packed file does not flood the screen.
const LINE_WIDTH: usize = 160;
/// How much of a long line is shown before the caret.
const LINE_BEFORE: usize = 80;

/// Writes the source line of `label` and the carets under it.
fn snippet(out: &mut String, sources: &SourceMap, label: &Label) {
    let Some(file) = sources.file(label.span.file) else {
        return;
    };
    let start = file.position(label.span.start);
    let end = file.position(label.span.end);
    let line: Vec<char> = printable(file.line(start.line));
    let first = (start.column as usize - 1).min(line.len());
    let last = if end.line == start.line {
        end.column as usize - 1
    } else {
        line.len()
    };
    let last = last.clamp(first, line.len().max(first));

    let skipped = if line.len() > LINE_WIDTH {
        first.saturating_sub(LINE_BEFORE)
    } else {
        0
    };
    let shown = line
        .get(skipped..line.len().min(skipped + LINE_WIDTH))
        .unwrap_or_default();
    out.extend(shown);
    out.push('\n');
    // Tabs are repeated so that the caret stands under its character whatever the tab width.
    let lead = first.saturating_sub(skipped);
    out.extend(
        shown
            .iter()
            .take(lead)
            .map(|c| if *c == '\t' { '\t' } else { ' ' }),
    );
    let width = last.min(skipped + LINE_WIDTH).saturating_sub(first).max(1);
    out.extend(std::iter::repeat_n('^', width));
    if !label.text.is_empty() {
        out.push(' ');
        out.push_str(&label.text);
    }
    out.push('\n');
}

/// One character per column: control characters (they could steer a terminal) and invalid bytes
/// become U+FFFD.
fn printable(line: &[u8]) -> Vec<char> {
    let mut chars = Vec::with_capacity(line.len());
    for chunk in line.utf8_chunks() {
        chars.extend(chunk.valid().chars().map(|c| {
            if c.is_control() && c != '\t' {
                '\u{fffd}'
            } else {
                c
            }
        }));
        chars.extend(chunk.invalid().iter().map(|_| '\u{fffd}'));
    }
    chars
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::span::FileId;

    fn render(
        text: &[u8],
        start: u32,
        end: u32,
        make: impl FnOnce(Diagnostic) -> Diagnostic,
    ) -> String {
        let mut sources = SourceMap::new();
        let id = sources.add("t.hsl", text).expect("small");
        make(Diagnostic::error(Span::new(id, start, end), "wrong")).render(&sources)
    }

    #[test]
    fn the_carets_stand_under_the_span() {
        assert_eq!(
            render(b"a\n\tbad x", 3, 6, |d| d.label("here").hint("do better")),
            "t.hsl:2:2: wrong\n\tbad x\n\t^^^ here\nhint: do better\n"
        );
    }

    #[test]
    fn an_empty_span_has_one_caret_even_at_the_end() {
        assert_eq!(render(b"ab", 2, 2, |d| d), "t.hsl:1:3: wrong\nab\n  ^\n");
        assert_eq!(render(b"", 0, 0, |d| d), "t.hsl:1:1: wrong\n\n^\n");
    }

    #[test]
    fn a_span_of_several_lines_marks_its_first() {
        assert_eq!(
            render(b"x(1,\n2)", 1, 7, |d| d),
            "t.hsl:1:2: wrong\nx(1,\n ^^^\n"
        );
    }

    #[test]
    fn control_characters_never_reach_the_terminal() {
        assert_eq!(
            render(b"\"\x1b[2J\xff\"", 0, 1, |d| d),
            "t.hsl:1:1: wrong\n\"\u{fffd}[2J\u{fffd}\"\n^\n"
        );
    }

    #[test]
    fn a_long_line_is_cut_around_the_caret() {
        let text = render(&[b'x'; 10_000], 5_000, 5_001, |d| d);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "t.hsl:1:5001: wrong");
        assert_eq!(lines[1].len(), LINE_WIDTH);
        assert_eq!(lines[2].len(), LINE_BEFORE + 1);
    }

    #[test]
    fn other_places_and_the_include_chain_follow() {
        let text = render(b"one\ntwo", 4, 7, |mut d| {
            d.included_from.push(Span::default());
            d.also(Span::new(FileId(0), 0, 3), "the first is here")
        });
        assert_eq!(
            text,
            "t.hsl:2:1: wrong\ntwo\n^^^\nt.hsl:1:1: the first is here\none\n^^^\nincluded from t.hsl:1:1\n"
        );
    }

    #[test]
    fn a_record_is_flat_json_for_editors() {
        let mut sources = SourceMap::new();
        let id = sources.add("t.hsl", &b"a\nbc"[..]).expect("small");
        let error = Diagnostic::error(Span::new(id, 2, 4), "wrong")
            .expected(vec!["`;`".to_owned()])
            .hint("do better");
        assert_eq!(
            serde_json::to_string(&error.record(&sources)).expect("plain data"),
            r#"{"severity":"error","message":"wrong","label":"","file":"t.hsl","line":2,"column":1,"end_line":2,"end_column":3,"related":[],"expected":["`;`"],"hint":"do better","included_from":[]}"#
        );
    }
}
