//! Decoding of data imports (language.md 16.3).
//!
//! The language knows where a data file comes from and when it is read; what JSON, YAML, CSV and mail are, the library
//! knows. It implements [`DataFormats`] and hands it to [`crate::library::Library::with_data`].

use std::sync::Arc;

use angarium_lang::data::{DataImport, DataLoader};
use angarium_lang::{Diagnostic, SourceMap, Span};

use crate::library::Library;
use crate::value::Value;
use crate::vm::unit::constant;

/// Knows the formats of data files.
pub trait DataFormats: Send + Sync {
    /// The value of a file; `options` is an array that holds only options which the loader knows.
    ///
    /// # Errors
    /// What is wrong with the text or with an option.
    fn decode(
        &self,
        loader: DataLoader,
        text: &Arc<[u8]>,
        options: &Value,
        library: &Library,
    ) -> Result<Value, DataFault>;
}

/// Why a data file has no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataFault {
    /// What is wrong.
    pub message: String,
    /// The byte of the text where it was seen; none when the options are at fault.
    pub offset: Option<usize>,
}

impl DataFault {
    /// A fault in the text.
    #[must_use]
    pub fn at(offset: usize, message: impl Into<String>) -> DataFault {
        DataFault {
            message: message.into(),
            offset: Some(offset),
        }
    }

    /// A fault in the text at a line and a column in characters, both from 1.
    #[must_use]
    pub fn at_line(
        text: &[u8],
        line: usize,
        column: usize,
        message: impl Into<String>,
    ) -> DataFault {
        let mut offset = 0;
        for _ in 1..line {
            match memchr::memchr(b'\n', text.get(offset..).unwrap_or_default()) {
                Some(end) => offset += end + 1,
                None => break,
            }
        }
        let rest = text.get(offset..).unwrap_or_default();
        let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
        let line = String::from_utf8_lossy(&rest[..end]);
        let before = line.chars().take(column.saturating_sub(1));
        let width = before.map(char::len_utf8).sum::<usize>().min(end);
        DataFault::at(offset + width, message)
    }

    /// A fault in the options.
    #[must_use]
    pub fn option(message: impl Into<String>) -> DataFault {
        DataFault {
            message: message.into(),
            offset: None,
        }
    }
}

/// The value of a data import, or what to say about it.
pub(crate) fn load(
    import: &mut DataImport,
    library: &Library,
    sources: &mut SourceMap,
) -> Result<Value, Box<Diagnostic>> {
    // The value is what stays.
    let text = std::mem::take(&mut import.text);
    let statement = import.chain.first().copied().unwrap_or_default();
    let Some(formats) = library.data() else {
        let error = Diagnostic::error(statement, "data imports are not available here");
        return Err(Box::new(error));
    };
    let options = constant(&import.options);
    formats
        .decode(import.loader, &text, &options, library)
        .map_err(|fault| {
            let place = fault.offset.and_then(|offset| {
                let file = sources.add(import.name.as_str(), text).ok()?;
                let offset = u32::try_from(offset).ok()?;
                Some(Span::new(file, offset, offset))
            });
            let (span, chain) = match place {
                Some(span) => (span, import.chain.as_slice()),
                None => (statement, import.chain.get(1..).unwrap_or_default()),
            };
            let mut diagnostic = Diagnostic::error(span, fault.message);
            diagnostic.included_from = chain.to_vec();
            Box::new(diagnostic)
        })
}

#[cfg(test)]
mod tests {
    use super::DataFault;

    #[test]
    fn lines_and_columns_become_offsets() {
        let text = "ab\n\u{e4}c\n".as_bytes();
        for (line, column, offset) in [(1, 1, 0), (1, 2, 1), (2, 2, 5), (2, 9, 6), (9, 1, 7)] {
            let fault = DataFault::at_line(text, line, column, "x");
            assert_eq!(fault.offset, Some(offset), "{line}:{column}");
        }
    }
}
