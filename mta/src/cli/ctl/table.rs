//! Tables for people.

use crate::cli::Failure;
use crate::cli::terminal::print;

/// A table whose columns are as wide as their content.
#[derive(Debug, Default)]
pub(super) struct Table {
    rows: Vec<Vec<String>>,
    /// Columns whose values stand at the right.
    right: Vec<usize>,
}

impl Table {
    /// A table with these titles.
    pub fn new<T: Into<String>>(titles: impl IntoIterator<Item = T>) -> Table {
        Table {
            rows: vec![titles.into_iter().map(Into::into).collect()],
            right: Vec::new(),
        }
    }

    /// The same with numbers in these columns.
    pub fn right(mut self, columns: impl IntoIterator<Item = usize>) -> Table {
        self.right.extend(columns);
        self
    }

    pub fn row<T: Into<String>>(&mut self, values: impl IntoIterator<Item = T>) {
        self.rows.push(values.into_iter().map(Into::into).collect());
    }

    /// The text. Control characters, which a peer may have sent, never reach a terminal.
    pub fn text(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let clean = |value: &String| -> String {
            let shown = |c: char| if c.is_control() { '\u{fffd}' } else { c };
            value.chars().map(shown).collect()
        };
        let rows: Vec<Vec<String>> = (self.rows.iter())
            .map(|row| row.iter().map(clean).collect())
            .collect();
        let width = |column: usize| {
            let lengths = rows.iter().filter_map(|row| row.get(column));
            lengths
                .map(|value| value.chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = String::new();
        for row in &rows {
            let mut line = String::new();
            for (column, (value, width)) in row.iter().zip(&widths).enumerate() {
                if column > 0 {
                    line.push_str("  ");
                }
                if self.right.contains(&column) {
                    line.push_str(&format!("{value:>width$}"));
                } else {
                    line.push_str(&format!("{value:<width$}"));
                }
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }

    pub fn print(&self) -> Result<(), Failure> {
        print(&self.text())
    }
}

/// A time span in the two largest units that say something.
pub(super) fn span(seconds: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the cast saturates"
    )]
    let whole = seconds.max(0.0).round() as u64;
    let (days, hours) = (whole / 86_400, whole / 3600 % 24);
    let (minutes, seconds) = (whole / 60 % 60, whole % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m{seconds:02}s"),
        (0, _, _) => format!("{hours}h{minutes:02}m"),
        _ => format!("{days}d{hours:02}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_content_and_nothing_drives_the_terminal() {
        let mut table = Table::new(["name", "n"]).right([1]);
        table.row(["äöü", "1000"]);
        table.row(["\x1b[2Jx", "1"]);
        assert_eq!(
            table.text(),
            "name      n\näöü    1000\n\u{fffd}[2Jx     1\n"
        );
    }

    #[test]
    fn spans_have_two_units() {
        let spans = [0.4, 59.0, 61.0, 3661.0, 90_000.0, -1.0].map(span);
        assert_eq!(spans, ["0s", "59s", "1m01s", "1h01m", "1d01h", "0s"]);
    }
}
