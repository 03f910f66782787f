//! CSV (RFC 4180): `csv_encode`, `csv_decode`, and the loader of data imports (language.md 16.3).
//!
//! The reader is our own: readers of the library world take what they get, here an open quote or text after a closing
//! one is an error with its place.

use std::borrow::Cow;

use angarium_runtime::array::{Array, Key, View};
use angarium_runtime::convert::{parse_number, to_str, truthy, write_number, write_str_while};
use angarium_runtime::memory;
use angarium_runtime::native::{Args, Cx, FnDecl, Heavy, Throw, opt};
use angarium_runtime::string::Str;
use angarium_runtime::value::Value;
use smallvec::SmallVec;

use crate::heavy::{self, Failure};
use crate::scratch;

/// The functions of this family.
pub const FUNCTIONS: &[FnDecl] = &[
    FnDecl::heavy(
        "csv_encode(values: array, options?: array): string",
        "Gives one CSV record without line end. Fields with a delimiter, a quote, a line break or a space are quoted.",
        csv_encode,
    )
    .options(&[opt("delimiter", "string", "\",\"", "what separates fields")])
    .example("csv_encode([\"Hello\", \"World\", \"Hello World\"]) // ''Hello,World,\"Hello World\"''"),
    FnDecl::heavy(
        "csv_decode(string: string, options?: array): array|none",
        "Gives the records of a CSV text: keyed by column when the first one names the columns, else as lists. Blank \
         lines are skipped; missing fields are none, surplus ones are dropped. A text that is no CSV, or does not fit \
         its schema, gives none.",
        csv_decode,
    )
    .options(&[
        opt("delimiter", "string", "\",\"", "what separates fields"),
        opt("header", "boolean", "true", "the first record names the columns"),
        opt(
            "schema",
            "array",
            "",
            "column => [\"type\" => \"string\"|\"number\"|\"boolean\", \"nullable\" => boolean or list, \"true\" => list, \
             \"false\" => list]",
        ),
    ])
    .example("csv_decode(\"a,b\\n1,2\\n\") // [0=>[\"a\"=>\"1\",\"b\"=>\"2\"]]"),
    FnDecl::heavy(
        "csv_explode(string: string): array",
        "Takes one CSV record apart: the first of the text, which is empty when the text is no CSV.",
        csv_explode,
    )
    .legacy()
    .example("csv_explode(''a,\"b c\"'') // [0=>\"a\",1=>\"b c\"]"),
];

/// How a text is read.
#[derive(Clone, Debug)]
pub struct Form {
    delimiter: Vec<u8>,
    header: bool,
    schema: Vec<(Key, Column)>,
}

impl Default for Form {
    fn default() -> Form {
        Form {
            delimiter: b",".to_vec(),
            header: true,
            schema: Vec::new(),
        }
    }
}

/// What a schema says about a column.
#[derive(Clone, Debug)]
struct Column {
    kind: ColumnKind,
    /// Texts that stand for none.
    null: Vec<Vec<u8>>,
}

#[derive(Clone, Debug)]
enum ColumnKind {
    String,
    Number,
    Boolean { yes: Vec<Vec<u8>>, no: Vec<Vec<u8>> },
}

/// What is wrong with a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The byte where it is wrong.
    pub offset: usize,
    /// What is wrong.
    pub message: String,
}

impl Form {
    /// Reads the options of `csv_decode` and of imports.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn parse(options: Option<View<'_>>) -> Result<Form, String> {
        let mut form = Form::default();
        let get = |name: &str| {
            let value = options?.get_str(name)?;
            (!value.is_none()).then_some(value)
        };
        if let Some(delimiter) = get("delimiter") {
            form.delimiter = checked_delimiter(&to_str(&delimiter))?;
        }
        if let Some(header) = get("header") {
            form.header = truthy(&header);
        }
        if let Some(schema) = get("schema") {
            let schema = schema.as_array().ok_or("option schema: expected array")?;
            for (key, column) in schema.iter() {
                let name = to_str(&key.to_value()).to_text().into_owned();
                let column = column.as_array().and_then(|view| Column::parse(view));
                let column =
                    column.ok_or_else(|| format!("option schema: bad entry for column {name}"))?;
                form.schema.push((key, column));
            }
        }
        Ok(form)
    }

    fn column(&self, key: &Key) -> Option<&Column> {
        let found = self.schema.iter().find(|(column, _)| column == key);
        found.map(|(_, column)| column)
    }
}

fn checked_delimiter(delimiter: &Str) -> Result<Vec<u8>, String> {
    let bytes = delimiter.as_bytes();
    if bytes.is_empty()
        || bytes
            .iter()
            .any(|byte| matches!(byte, b'"' | b'\r' | b'\n'))
    {
        return Err("option delimiter: neither empty, nor a quote or line break".to_owned());
    }
    Ok(bytes.to_vec())
}

impl Column {
    fn parse(entry: View<'_>) -> Option<Column> {
        let texts = |name: &str, default: &[u8]| match entry.get_str(name) {
            None | Some(Value::None) => Some(vec![default.to_vec()]),
            Some(list) => list.as_array().map(list_of_texts),
        };
        let kind = match entry.get_str("type") {
            None | Some(Value::None) => ColumnKind::String,
            Some(kind) => match kind.as_bytes()? {
                b"string" => ColumnKind::String,
                b"number" => ColumnKind::Number,
                b"boolean" => ColumnKind::Boolean {
                    yes: texts("true", b"true")?,
                    no: texts("false", b"false")?,
                },
                _ => return None,
            },
        };
        let null = match entry.get_str("nullable") {
            None => Vec::new(),
            Some(list @ Value::Array(_)) => list.as_array().map(list_of_texts)?,
            Some(other) if truthy(&other) => vec![Vec::new()],
            Some(_) => Vec::new(),
        };
        Some(Column { kind, null })
    }

    fn convert(&self, text: &[u8]) -> Result<Value, String> {
        let is_in = |list: &[Vec<u8>]| list.iter().any(|known| known == text);
        if is_in(&self.null) {
            return Ok(Value::None);
        }
        match &self.kind {
            ColumnKind::String => Ok(Value::from(text)),
            ColumnKind::Number => match parse_number(text) {
                Some(number) => Ok(Value::Number(number)),
                None => Err(format!("{:?} is no number", String::from_utf8_lossy(text))),
            },
            ColumnKind::Boolean { yes, .. } if is_in(yes) => Ok(Value::Boolean(true)),
            ColumnKind::Boolean { no, .. } if is_in(no) => Ok(Value::Boolean(false)),
            ColumnKind::Boolean { .. } => Err(format!(
                "{:?} is neither true nor false",
                String::from_utf8_lossy(text)
            )),
        }
    }
}

fn list_of_texts(list: View<'_>) -> Vec<Vec<u8>> {
    list.values().map(|text| to_str(&text).into_vec()).collect()
}

/// The records of a text.
///
/// # Errors
/// The first thing that is wrong, and where.
pub fn decode(text: &[u8], form: &Form) -> Result<Value, Fault> {
    let mut records = Records::at(text, start(text), &form.delimiter);
    let mut fields = Fields::new();
    let columns = match form.header {
        true if !records.next(&mut fields)? => return Ok(Array::new().into()),
        true => Some(columns(&fields)),
        false => None,
    };
    let mut rows = Array::new();
    let mut values: usize = 0;
    while records.next(&mut fields)? {
        let row = row(form, columns.as_deref(), &fields)?;
        let before = values;
        values += row.len() + 1;
        rows.push(row.into());
        if before >> 10 != values >> 10 && memory::exceeded() {
            break;
        }
    }
    Ok(rows.into())
}

/// Where the records begin: behind a mark of byte order.
fn start(text: &[u8]) -> usize {
    if text.starts_with(b"\xef\xbb\xbf") {
        3
    } else {
        0
    }
}

/// The names of columns.
fn columns(fields: &Fields<'_>) -> Vec<Key> {
    let names = fields
        .iter()
        .map(|(_, name)| Key::from_string(Str::new(name)));
    names.collect()
}

/// A record as it is given: by column, or as a list.
fn row(form: &Form, columns: Option<&[Key]>, fields: &Fields<'_>) -> Result<Array, Fault> {
    let convert = |key: &Key, offset: usize, text: &[u8]| match form.column(key) {
        Some(column) => column
            .convert(text)
            .map_err(|message| Fault { offset, message }),
        None => Ok(Value::from(text)),
    };
    let mut row = Array::with_capacity(columns.map_or(fields.len(), |_| 0));
    match columns {
        Some(columns) => {
            let mut fields = fields.iter();
            for column in columns {
                let value = match fields.next() {
                    Some((offset, text)) => convert(column, *offset, text)?,
                    None => Value::None,
                };
                row.insert(column.clone(), value);
            }
        }
        None => {
            for (index, (offset, text)) in fields.iter().enumerate() {
                let key = Key::Integer(i64::try_from(index).unwrap_or(i64::MAX));
                row.push(convert(&key, *offset, text)?);
            }
        }
    }
    Ok(row)
}

/// Reads a text record by record, in as many pieces as it takes.
pub struct Rows {
    form: Form,
    columns: Option<Vec<Key>>,
    /// Where the next record begins; none before the first.
    at: Option<usize>,
}

impl Rows {
    /// From the beginning.
    #[must_use]
    pub fn new(form: Form) -> Rows {
        Rows {
            form,
            columns: None,
            at: None,
        }
    }

    /// The next record of `text`, which is the same each time, and how many bytes it took; none at the end.
    ///
    /// # Errors
    /// What is wrong with the record, and where.
    pub fn next(&mut self, text: &[u8]) -> Result<Option<(Value, usize)>, Fault> {
        let begin = self.at.unwrap_or(start(text));
        let mut records = Records::at(text, begin, &self.form.delimiter);
        let mut fields = Fields::new();
        if self.at.is_none() && self.form.header && records.next(&mut fields)? {
            self.columns = Some(columns(&fields));
        }
        let found = records.next(&mut fields)?;
        self.at = Some(records.at);
        if !found {
            return Ok(None);
        }
        let row = row(&self.form, self.columns.as_deref(), &fields)?;
        Ok(Some((row.into(), records.at.saturating_sub(begin))))
    }
}

/// Fields with the offset of their first byte.
type Fields<'a> = Vec<(usize, Cow<'a, [u8]>)>;

/// Takes a text apart, a record at a time.
struct Records<'a> {
    text: &'a [u8],
    at: usize,
    delimiter: &'a [u8],
}

impl<'a> Records<'a> {
    fn at(text: &'a [u8], at: usize, delimiter: &'a [u8]) -> Records<'a> {
        Records {
            text,
            at,
            delimiter,
        }
    }

    /// Reads the next record, if there is one. Blank lines are no records.
    fn next(&mut self, fields: &mut Fields<'a>) -> Result<bool, Fault> {
        fields.clear();
        while let Some(length) = self.line_end() {
            self.at += length;
        }
        if self.at >= self.text.len() {
            return Ok(false);
        }
        loop {
            let start = self.at;
            let field = if self.text.get(self.at) == Some(&b'"') {
                self.quoted()?
            } else {
                Cow::Borrowed(self.plain())
            };
            fields.push((start, field));
            if fields.len().is_multiple_of(1024)
                && memory::would_exceed(size_of_val(fields.as_slice()).saturating_mul(2))
            {
                return Err(Fault {
                    offset: start,
                    message: OUT_OF_MEMORY.to_owned(),
                });
            }
            if self.rest().starts_with(self.delimiter) {
                self.at += self.delimiter.len();
                continue;
            }
            match self.line_end() {
                Some(length) => self.at += length,
                None if self.at >= self.text.len() => {}
                None => {
                    return Err(Fault {
                        offset: self.at,
                        message: "text after a closing quote".to_owned(),
                    });
                }
            }
            return Ok(true);
        }
    }

    fn rest(&self) -> &'a [u8] {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// The length of the line end that stands here.
    fn line_end(&self) -> Option<usize> {
        match self.rest() {
            [b'\n', ..] => Some(1),
            [b'\r', b'\n', ..] => Some(2),
            _ => None,
        }
    }

    fn plain(&mut self) -> &'a [u8] {
        let start = self.at;
        let first = self.delimiter[0];
        loop {
            match memchr::memchr3(first, b'\n', b'\r', self.rest()) {
                None => self.at = self.text.len(),
                Some(ahead) => {
                    self.at += ahead;
                    // A lone CR, or the first byte of a longer delimiter, is text.
                    if self.line_end().is_none() && !self.rest().starts_with(self.delimiter) {
                        self.at += 1;
                        continue;
                    }
                }
            }
            return &self.text[start..self.at];
        }
    }

    fn quoted(&mut self) -> Result<Cow<'a, [u8]>, Fault> {
        let open = self.at;
        self.at += 1;
        let mut field: Cow<'a, [u8]> = Cow::Borrowed(b"");
        loop {
            let rest = self.rest();
            let Some(ahead) = memchr::memchr(b'"', rest) else {
                return Err(Fault {
                    offset: open,
                    message: "this quote is never closed".to_owned(),
                });
            };
            let part = &rest[..ahead];
            if field.is_empty() {
                field = Cow::Borrowed(part);
            } else {
                field.to_mut().extend_from_slice(part);
            }
            self.at += ahead + 1;
            if self.rest().first() != Some(&b'"') {
                return Ok(field);
            }
            field.to_mut().push(b'"');
            self.at += 1;
        }
    }
}

/// What is wrong with a text that is too much for the budget.
const OUT_OF_MEMORY: &str = "out of memory";

/// About how many values a text of records can give: each has all the columns that the first one names.
fn cells(text: &[u8], args: &Args<'_>) -> usize {
    let options = args.options(1);
    if !options.boolean("header", true) {
        return 0;
    }
    let delimiter = options.string("delimiter");
    let delimiter = delimiter.and_then(|text| text.as_bytes().first().copied());
    let lines = memchr::memchr_iter(b'\n', text).count() + 1;
    let first = memchr::memchr(b'\n', text).and_then(|end| text.get(..end));
    let delimiters = memchr::memchr_iter(delimiter.unwrap_or(b','), first.unwrap_or_default());
    lines.saturating_mul(delimiters.count() + 1)
}

fn csv_decode(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Heavy, Throw> {
    let text = args.bytes(0);
    let size = if text.len() <= heavy::INLINE_BYTES {
        text.len().max(cells(text, &args) * 8)
    } else {
        text.len()
    };
    heavy::run(cx, size, args.values, move |values| {
        let text = values.first().and_then(Value::as_bytes).unwrap_or(b"");
        let options = values.get(1).and_then(Value::as_array);
        let form = Form::parse(options)
            .map_err(|message| Failure::Error(format!("csv_decode: {message}")))?;
        let rows = decode(text, &form);
        if memory::exceeded() || matches!(&rows, Err(fault) if fault.message == OUT_OF_MEMORY) {
            return Err(Failure::Memory);
        }
        Ok(rows.unwrap_or_default())
    })
}

fn csv_explode(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Heavy, Throw> {
    heavy::run(cx, args.bytes(0).len(), args.values, |values| {
        let mut records = Records {
            text: values.first().and_then(Value::as_bytes).unwrap_or(b""),
            at: 0,
            delimiter: b",",
        };
        let mut fields = Fields::new();
        match records.next(&mut fields) {
            Ok(_) => {}
            Err(fault) if fault.message == OUT_OF_MEMORY => return Err(Failure::Memory),
            Err(_) => fields.clear(),
        }
        heavy::fits_entries(fields.len())?;
        let values = fields.iter().map(|(_, field)| Value::bytes(field));
        Ok(Array::from_list(values.collect()).into())
    })
}

/// Arrays of more values are encoded on the pool.
const FEW: usize = 1024;

fn csv_encode(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Heavy, Throw> {
    let delimiter: SmallVec<[u8; 8]> = match args.options(1).string("delimiter") {
        Some(delimiter) => checked_delimiter(&delimiter)
            .map_err(|message| Throw::error(format!("csv_encode: {message}")))?
            .into(),
        None => SmallVec::from_slice(b","),
    };
    let view = args.get(0).as_array();
    let size = view.map_or(0, |view| {
        let of = |value: Value| value.as_bytes().map_or(16, <[u8]>::len);
        match view.len() {
            ..=FEW => view.values().map(of).sum(),
            many => many.saturating_mul(64),
        }
    });
    heavy::run(cx, size, &args.values[..1], move |values| {
        let view = values.first().and_then(Value::as_array);
        let mut out = scratch::buffer();
        out.reserve(size.min(heavy::INLINE_BYTES) + size / 4);
        let mut text = Vec::new();
        // No byte of a number has to be quoted then.
        let plain_numbers = !delimiter
            .first()
            .is_some_and(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(byte));
        for (index, value) in view.into_iter().flat_map(View::values).enumerate() {
            if index > 0 {
                out.extend_from_slice(&delimiter);
            }
            let before = out.len();
            match &value {
                Value::String(text) => write_field(&mut out, text.as_bytes(), &delimiter),
                Value::Number(number) if plain_numbers => write_number(&mut out, *number),
                _ => {
                    text.clear();
                    // Arrays share parts, so that their text can be far longer than they are.
                    let mut over = None;
                    write_str_while(&mut text, &value, |length| {
                        over = heavy::fits(length.saturating_mul(2)).err();
                        over.is_none()
                    });
                    if let Some(failure) = over {
                        return Err(failure);
                    }
                    write_field(&mut out, &text, &delimiter);
                }
            }
            if before >> 12 != out.len() >> 12 {
                heavy::fits(out.len())?;
            }
        }
        Ok(scratch::finish(out))
    })
}

fn write_field(out: &mut Vec<u8>, text: &[u8], delimiter: &[u8]) {
    // A longer delimiter could also begin within the field and end behind it: its first byte decides.
    let first = delimiter.first().copied().unwrap_or(b',');
    let special = |byte: &u8| matches!(byte, b'"' | b'\r' | b'\n' | b' ') || *byte == first;
    if !text.iter().any(special) {
        out.extend_from_slice(text);
        return;
    }
    out.push(b'"');
    let mut rest = text;
    while let Some(quote) = memchr::memchr(b'"', rest) {
        let (before, after) = rest.split_at(quote + 1);
        out.extend_from_slice(before);
        out.push(b'"');
        rest = after;
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use angarium_runtime::convert::dump;
    use proptest::prelude::*;

    use super::*;

    fn rows(text: &str, form: &Form) -> String {
        match decode(text.as_bytes(), form) {
            Ok(value) => String::from_utf8(dump(&value)).unwrap(),
            Err(fault) => format!("{}: {}", fault.offset, fault.message),
        }
    }

    fn lists() -> Form {
        Form {
            header: false,
            ..Form::default()
        }
    }

    #[test]
    fn fields_and_records_are_taken_apart() {
        for (text, expected) in [
            ("", "[]"),
            ("a,b", "[0=>[0=>\"a\",1=>\"b\"]]"),
            ("a,\r\n\r\n\"\"\n", "[0=>[0=>\"a\",1=>\"\"],1=>[0=>\"\"]]"),
            ("a\rb,c\"d", "[0=>[0=>''a\rb'',1=>''c\"d'']]"),
            ("\"a,\nb\"\"\",c", "[0=>[0=>''a,\nb\"'',1=>\"c\"]]"),
            ("a,\"b", "2: this quote is never closed"),
            ("\"a\"b", "3: text after a closing quote"),
            ("\u{feff}a", "[0=>[0=>\"a\"]]"),
        ] {
            assert_eq!(rows(text, &lists()), expected, "{text:?}");
        }
    }

    #[test]
    fn the_header_names_the_columns_and_rows_fit_it() {
        let form = Form::default();
        assert_eq!(
            rows("a,b\n1\n1,2,3\n", &form),
            "[0=>[\"a\"=>\"1\",\"b\"=>none],1=>[\"a\"=>\"1\",\"b\"=>\"2\"]]"
        );
        assert_eq!(rows("a,b\n", &form), "[]");
    }

    proptest! {
        #[test]
        fn records_survive_encoding_and_decoding(
            rows in prop::collection::vec(prop::collection::vec("[a,;|\" \r\n\u{e5}]{0,6}", 1..4), 1..5),
            delimiter in prop_oneof![Just(","), Just(";"), Just("||"), Just(" |")],
        ) {
            // A record of one empty field looks like a blank line.
            let rows: Vec<_> = rows.into_iter().filter(|row| *row != [""]).collect();
            let mut text = Vec::new();
            for row in &rows {
                for (at, field) in row.iter().enumerate() {
                    if at > 0 {
                        text.extend_from_slice(delimiter.as_bytes());
                    }
                    write_field(&mut text, field.as_bytes(), delimiter.as_bytes());
                }
                text.extend_from_slice(b"\r\n");
            }
            let form = Form { delimiter: delimiter.as_bytes().to_vec(), ..lists() };
            let found = decode(&text, &form).unwrap();
            let found: Vec<Vec<String>> = found.as_array().unwrap().values().map(|row| {
                row.as_array().unwrap().values().map(|field| to_str(&field).to_text().into_owned()).collect()
            }).collect();
            prop_assert_eq!(found, rows);
        }
    }

    #[test]
    fn fields_are_quoted_where_they_must() {
        for (text, delimiter, expected) in [
            ("a", ",", "a"),
            ("", ",", ""),
            ("a,b", ",", "\"a,b\""),
            ("a,b", ";", "a,b"),
            ("a b", ",", "\"a b\""),
            ("a\"b", ",", "\"a\"\"b\""),
            ("a\rb", ",", "\"a\rb\""),
            ("a|", "||", "\"a|\""),
            ("a||b", "||", "\"a||b\""),
            ("a|\nb", "||", "\"a|\nb\""),
        ] {
            let mut out = Vec::new();
            write_field(&mut out, text.as_bytes(), delimiter.as_bytes());
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }

    #[test]
    fn longer_delimiters_are_found() {
        let form = Form {
            delimiter: b"||".to_vec(),
            ..lists()
        };
        assert_eq!(rows("a|b||c", &form), "[0=>[0=>\"a|b\",1=>\"c\"]]");
    }

    #[test]
    fn a_schema_converts_columns() {
        let column = |entries: &[(&str, Value)]| {
            let entries = entries
                .iter()
                .map(|(key, value)| (Key::from(*key), value.clone()));
            Value::from(entries.collect::<Array>())
        };
        let list = |texts: &[&str]| {
            Value::from(Array::from_list(
                texts.iter().map(|text| Value::from(*text)).collect(),
            ))
        };
        let schema: Array = [
            (
                Key::from("n"),
                column(&[("type", "number".into()), ("nullable", true.into())]),
            ),
            (
                Key::from("b"),
                column(&[("type", "boolean".into()), ("true", list(&["yes", "1"]))]),
            ),
            (Key::from("s"), column(&[("nullable", list(&["-", "NA"]))])),
        ]
        .into_iter()
        .collect();
        let options: Array = [(Key::from("schema"), Value::from(schema))]
            .into_iter()
            .collect();
        let form = Form::parse(Value::from(options).as_array()).unwrap();
        assert_eq!(
            rows("n,b,s\n1.5,yes,NA\n,false,x\n", &form),
            "[0=>[\"n\"=>1.5,\"b\"=>true,\"s\"=>none],1=>[\"n\"=>none,\"b\"=>false,\"s\"=>\"x\"]]"
        );
        assert_eq!(rows("n,b,s\nx,yes,\n", &form), "6: \"x\" is no number");
        assert_eq!(
            rows("n,b,s\n1,true,\n", &form),
            "8: \"true\" is neither true nor false"
        );
    }
}
