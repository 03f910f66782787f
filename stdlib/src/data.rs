//! The loaders of data imports (language.md 16.3).

use std::sync::Arc;

use angarium_lang::data::DataLoader;
use angarium_runtime::array::Array;
use angarium_runtime::convert::truthy;
use angarium_runtime::data::{DataFault, DataFormats};
use angarium_runtime::library::Library;
use angarium_runtime::value::Value;

use crate::{csv, json, message, yaml};

/// The formats for [`Library::with_data`].
pub static FORMATS: Formats = Formats;

/// See [`FORMATS`].
pub struct Formats;

impl DataFormats for Formats {
    fn decode(
        &self,
        loader: DataLoader,
        text: &Arc<[u8]>,
        options: &Value,
        library: &Library,
    ) -> Result<Value, DataFault> {
        let options = options.as_array();
        match loader {
            DataLoader::Json => json_file(text),
            DataLoader::Yaml => yaml::decode(text, Some(library)),
            DataLoader::Csv => {
                let form = csv::Form::parse(options).map_err(DataFault::option)?;
                csv::decode(text, &form).map_err(|fault| DataFault::at(fault.offset, fault.message))
            }
            DataLoader::Txt => {
                let array = options.and_then(|options| options.get_str("array"));
                Ok(if array.is_some_and(|array| truthy(&array)) {
                    lines(text)
                } else {
                    Value::bytes(text)
                })
            }
            DataLoader::Eml => Ok(message::message(text, library)),
            DataLoader::Crt | DataLoader::Key => Err(DataFault::option(format!(
                "the loader `{}` is not available yet",
                loader.name()
            ))),
        }
    }
}

fn json_file(text: &[u8]) -> Result<Value, DataFault> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let Some(plain) = json::strip_comments(text) else {
        let start = memchr::memmem::rfind(text, b"/*").unwrap_or(0);
        return Err(DataFault::at(start, "this comment is never closed"));
    };
    json::decode(&plain).map_err(|fault| {
        DataFault::at(fault.offset, format!("this is not JSON: {}", fault.message))
    })
}

/// The lines of a text without their ends.
fn lines(text: &[u8]) -> Value {
    let mut list = Array::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (line, after) = match memchr::memchr(b'\n', rest) {
            Some(end) => (&rest[..end], &rest[end + 1..]),
            None => (rest, &rest[rest.len()..]),
        };
        list.push(Value::bytes(line.strip_suffix(b"\r").unwrap_or(line)));
        rest = after;
    }
    list.into()
}

#[cfg(test)]
mod tests {
    use angarium_runtime::convert::dump;

    use super::*;

    #[test]
    fn lines_end_with_lf_or_crlf() {
        let dumped = |text: &[u8]| String::from_utf8(dump(&lines(text))).unwrap();
        assert_eq!(
            dumped(b"a\r\nb\n\nc"),
            "[0=>\"a\",1=>\"b\",2=>\"\",3=>\"c\"]"
        );
        assert_eq!(dumped(b"a\n"), "[0=>\"a\"]");
        assert_eq!(dumped(b""), "[]");
    }

    #[test]
    fn json_files_may_have_comments_and_errors_have_places() {
        assert_eq!(
            dump(&json_file(b"// x\n{\"a\": 1 /* y */}").unwrap()),
            b"[\"a\"=>1]"
        );
        let fault = json_file(b"{\n  \"a\": x\n}").unwrap_err();
        assert_eq!(fault.message, "this is not JSON: expected value");
        assert_eq!(fault.offset, Some(9));
        assert_eq!(json_file(b"[tru\n]").unwrap_err().offset, Some(4));
        assert_eq!(json_file(b"1 /* x").unwrap_err().offset, Some(2));
    }
}
