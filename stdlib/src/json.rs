//! JSON (RFC 8259): decoding and encoding by loops that no depth overflows and that can pause anywhere.

mod decoder;

use std::borrow::Cow;
use std::rc::Rc;

use angarium_runtime::array::{Key, KeyRef, View};
use angarium_runtime::convert::write_number;
use angarium_runtime::memory;
use angarium_runtime::native::{Args, Cx, FnDecl, Heavy, Throw, opt};
use angarium_runtime::pieces::LongText;
use angarium_runtime::string::Str;
use angarium_runtime::value::{ArrayRef, Value};

use crate::heavy::{self, Failure};
use crate::scratch;

use decoder::Decoder;
pub use decoder::Fault;

/// The functions of this family.
pub const FUNCTIONS: &[FnDecl] = &[
    FnDecl::heavy(
        "json_encode(value: any, options?: array): string|none",
        "Encodes a value as JSON. A list becomes an array, another array an object, none becomes null. NaN, \
         infinities, functions, objects, resources and text that is not UTF-8 cannot be encoded: the result is none.",
        json_encode,
    )
    .options(&[
        opt("ensure_ascii", "boolean", "true", "write characters beyond ASCII as \\uXXXX"),
        opt("pretty_print", "boolean", "false", "indent by four spaces"),
    ])
    .example("json_encode([1 => \"a\"]) // ''{\"1\":\"a\"}''\njson_encode([1, none]) // \"[1,null]\""),
    FnDecl::heavy(
        "json_decode(string: string, options?: array): any|none",
        "Decodes JSON: objects become arrays, null becomes none. Of repeated keys the last one counts. An error, also \
         nesting deeper than 256, gives none.",
        json_decode,
    )
    .options(&[opt("allow_comments", "boolean", "false", "skip // and /* */ comments")])
    .example("json_decode(''{\"a\": [1, true]}'') // [\"a\"=>[0=>1,1=>true]]"),
];

/// Deepest nesting that is decoded.
const MAX_DEPTH: usize = 256;

fn json_decode(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Heavy, Throw> {
    let comments = args.options(1).boolean("allow_comments", false);
    let size = args.bytes(0).len();
    // A long text may hold one long string, which is looked at as a whole; and comments are found in the whole text.
    if size > MOST_IN_PIECES || (comments && size > heavy::INLINE_BYTES) {
        return heavy::run(cx, size, &args.values[..1], move |values| {
            let text = values.first().and_then(Value::as_bytes).unwrap_or(b"");
            let stripped = match comments {
                true => strip_comments(text),
                false => Some(text.into()),
            };
            stripped.map_or(Ok(Value::None), |text| or_none(decode(&text)))
        });
    }
    let stripped = match comments {
        true => strip_comments(args.bytes(0)),
        false => Some(args.bytes(0).into()),
    };
    let Some(text) = stripped else {
        return Ok(Heavy::Done(Value::None));
    };
    let mut decoder = Decoder::new();
    let read = decoder.go_on(&text, heavy::INLINE_BYTES.saturating_add(1));
    cx.charge(size.min(heavy::INLINE_BYTES) / 16);
    match read {
        Ok(Some(value)) => return Ok(Heavy::Done(value)),
        Ok(None) => {}
        Err(fault) => return Ok(Heavy::Done(or_none(Err(fault))?)),
    }
    let text = args.get(0).clone();
    Err(Throw::pieces(move |cx: &mut Cx<'_>| {
        cx.charge(PIECE / 16);
        match decoder.go_on(text.as_bytes().unwrap_or_default(), PIECE) {
            Ok(value) => Ok(value),
            Err(fault) => Ok(Some(or_none(Err(fault))?)),
        }
    }))
}

/// Longer texts are decoded on the pool.
const MOST_IN_PIECES: usize = 4 * 1024 * 1024;

/// What is no JSON is none; what is too much for the budget ends the script.
fn or_none(decoded: Result<Value, Fault>) -> Result<Value, Failure> {
    match decoded {
        Ok(value) => Ok(value),
        Err(fault) if fault.message == decoder::OUT_OF_MEMORY => Err(Failure::Memory),
        Err(_) => Ok(Value::None),
    }
}

/// Decodes one JSON text.
///
/// # Errors
/// Where and why it is not JSON.
pub fn decode(text: &[u8]) -> Result<Value, Fault> {
    let mut decoder = Decoder::new();
    loop {
        // Whatever is left is read in one go.
        if let Some(value) = decoder.go_on(text, usize::MAX)? {
            return Ok(value);
        }
    }
}

/// Replaces comments outside strings by spaces; none when a block comment has no end.
pub(crate) fn strip_comments(text: &[u8]) -> Option<Cow<'_, [u8]>> {
    let mut out = text.to_vec();
    let mut at = 0;
    let mut in_string = false;
    while at < text.len() {
        match (in_string, text[at], text.get(at + 1)) {
            (true, b'\\', _) => at += 1,
            (_, b'"', _) => in_string = !in_string,
            (false, b'/', Some(b'/')) => {
                let end = memchr::memchr2(b'\n', b'\r', &text[at..])
                    .map_or(text.len(), |length| at + length);
                out[at..end].fill(b' ');
                at = end;
                continue;
            }
            (false, b'/', Some(b'*')) => {
                let end = at + 2 + memchr::memmem::find(&text[at + 2..], b"*/")? + 2;
                out[at..end].fill(b' ');
                at = end;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    Some(out.into())
}

fn json_encode(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Heavy, Throw> {
    let options = args.options(1);
    let form = Form {
        ascii: options.boolean("ensure_ascii", true),
        pretty: options.boolean("pretty_print", false),
    };
    let mut text = LongText::default();
    text.part = scratch::buffer();
    let begun = Encoder::begin(args.get(0), form, &mut text.part);
    let Ok(mut encoder) = begun else {
        return Ok(Heavy::Done(Value::None));
    };
    let whole = encoder.go_on(&mut text.part, heavy::INLINE_BYTES);
    cx.charge(text.len() / 32);
    match whole {
        Ok(true) => return Ok(Heavy::Done(scratch::finish(std::mem::take(&mut text.part)))),
        Ok(false) => {}
        Err(_) => return Ok(Heavy::Done(Value::None)),
    }
    // Arrays share parts: how long the text gets is known only when it is written.
    let mut whole = false;
    Err(Throw::pieces(move |cx: &mut Cx<'_>| {
        if whole {
            return Ok(text.finish(cx));
        }
        let before = text.part.len();
        match encoder.go_on(&mut text.part, before + PIECE) {
            Ok(end) => whole = end,
            Err(_) => return Ok(Some(Value::None)),
        }
        cx.charge((text.part.len() - before) / 32 + encoder.take_spent());
        text.step(cx)?;
        Ok(None)
    }))
}

/// Bytes that are written at once: some hundred microseconds.
const PIECE: usize = 32 * 1024;

/// How JSON is written.
#[derive(Clone, Copy, Debug)]
pub struct Form {
    /// Characters beyond ASCII as `\uXXXX`.
    pub ascii: bool,
    /// Four spaces a level, a line an entry.
    pub pretty: bool,
}

/// Why a value has no JSON text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncodeError {
    /// It holds something that JSON has no word for.
    NotEncodable,
    /// The text would be too large.
    Memory,
}

/// Encodes `value`.
///
/// # Errors
/// See [`EncodeError`].
pub fn encode(value: &Value, form: Form) -> Result<Vec<u8>, EncodeError> {
    let mut out = Vec::with_capacity(64);
    let mut encoder = Encoder::begin(value, form, &mut out)?;
    loop {
        let more = out.len() + PIECE;
        if encoder.go_on(&mut out, more)? {
            return Ok(out);
        }
        if out.len() > angarium_runtime::string::MAX_STRING || memory::would_exceed(out.len()) {
            return Err(EncodeError::Memory);
        }
    }
}

/// A value that is being encoded, a piece at a time. It holds no part of the machine stack, however deep the value is.
struct Encoder {
    form: Form,
    /// The arrays whose entries are being written, from the outermost one.
    open: Vec<Open>,
    /// A long text that is being written, and how much of it has been.
    long: Option<(Str, usize)>,
    /// Values that were written since somebody asked.
    spent: usize,
}

/// An array whose entries are being written.
struct Open {
    array: Value,
    position: usize,
    list: bool,
    first: bool,
}

/// Where an array has come to.
enum Reached {
    /// An entry that is an array too.
    Array(Rc<ArrayRef>),
    /// An entry that is a long text.
    Long(Box<Str>),
    /// Enough for now.
    Enough,
    /// Its end.
    End,
}

/// What a value counts at least: the time is not in the bytes alone.
const VALUE: usize = 16;

impl Encoder {
    /// Writes the beginning of `value`.
    fn begin(value: &Value, form: Form, out: &mut Vec<u8>) -> Result<Encoder, EncodeError> {
        let mut encoder = Encoder {
            form,
            open: Vec::new(),
            long: None,
            spent: 0,
        };
        let reached = write_value(out, value, form)?;
        encoder.enter(reached, out);
        Ok(encoder)
    }

    fn enter(&mut self, reached: Option<Reached>, out: &mut Vec<u8>) {
        match reached {
            Some(Reached::Array(array)) => {
                let array = Value::Array(array);
                let list = array.as_array().is_some_and(View::is_list);
                out.push(if list { b'[' } else { b'{' });
                self.open.push(Open {
                    array,
                    position: 0,
                    list,
                    first: true,
                });
            }
            Some(Reached::Long(text)) => self.long = Some((*text, 0)),
            _ => {}
        }
    }

    /// The values that were written since this was last asked; deep ones count several times.
    fn take_spent(&mut self) -> usize {
        std::mem::take(&mut self.spent)
    }

    /// Goes on until there are `enough` bytes in `out`, or many values; whether the value is whole then.
    fn go_on(&mut self, out: &mut Vec<u8>, enough: usize) -> Result<bool, EncodeError> {
        let most = enough.saturating_sub(out.len()) / VALUE;
        let mut values = most;
        let whole = self.write(out, enough, &mut values);
        self.spent += most - values;
        whole
    }

    fn write(
        &mut self,
        out: &mut Vec<u8>,
        enough: usize,
        values: &mut usize,
    ) -> Result<bool, EncodeError> {
        loop {
            if let Some((text, at)) = &mut self.long {
                let bytes = text.as_bytes();
                let mut end = bytes.len().min(*at + PIECE);
                // Not within a character; what has no beginning for so long is no UTF-8 anyway.
                while end < bytes.len() && end > *at + PIECE - 4 && bytes[end] & 0xc0 == 0x80 {
                    end -= 1;
                }
                write_escaped(out, &bytes[*at..end], self.form.ascii)?;
                *at = end;
                if end < bytes.len() {
                    return Ok(false);
                }
                out.push(b'"');
                self.long = None;
            }
            let depth = self.open.len();
            let Some(top) = self.open.last_mut() else {
                return Ok(true);
            };
            match top.go_on(out, self.form, depth, enough, values)? {
                Reached::Enough => return Ok(false),
                Reached::End => {
                    if self.form.pretty {
                        indent(out, depth - 1);
                    }
                    out.push(if top.list { b']' } else { b'}' });
                    self.open.pop();
                    // Little text, and as much time as several values.
                    *values = values.saturating_sub(2);
                }
                inner => {
                    *values = values.saturating_sub(4);
                    self.enter(Some(inner), out);
                }
            }
        }
    }
}

impl Open {
    /// Writes entries up to one that takes longer.
    fn go_on(
        &mut self,
        out: &mut Vec<u8>,
        form: Form,
        depth: usize,
        enough: usize,
        values: &mut usize,
    ) -> Result<Reached, EncodeError> {
        let Some(view) = self.array.as_array() else {
            return Err(EncodeError::NotEncodable);
        };
        loop {
            if out.len() >= enough || *values == 0 {
                return Ok(Reached::Enough);
            }
            *values -= 1;
            let reached = match view {
                View::Local(array) => {
                    let Some((key, value, position)) = array.entry_ref(self.position) else {
                        return Ok(Reached::End);
                    };
                    self.position = position;
                    separate(out, std::mem::take(&mut self.first), form, depth);
                    if !self.list {
                        write_key(out, key, form)?;
                    }
                    write_value(out, value, form)?
                }
                View::Frozen(..) => {
                    let Some((key, value, position)) = view.entry_at(self.position) else {
                        return Ok(Reached::End);
                    };
                    self.position = position;
                    separate(out, std::mem::take(&mut self.first), form, depth);
                    if !self.list {
                        let key = match &key {
                            Key::String(string) => KeyRef::String(string),
                            Key::Integer(number) => KeyRef::Integer(*number),
                            Key::None | Key::Gap => KeyRef::None,
                        };
                        write_key(out, key, form)?;
                    }
                    write_value(out, &value, form)?
                }
            };
            if let Some(reached) = reached {
                return Ok(reached);
            }
        }
    }
}

/// What stands before an entry.
fn separate(out: &mut Vec<u8>, first: bool, form: Form, depth: usize) {
    if !first {
        out.push(b',');
    }
    if form.pretty {
        indent(out, depth);
    }
}

/// Writes a value, or tells that it takes longer: then a long text has its opening quote, and an array has nothing.
fn write_value(
    out: &mut Vec<u8>,
    value: &Value,
    form: Form,
) -> Result<Option<Reached>, EncodeError> {
    match value {
        Value::None => out.extend_from_slice(b"null"),
        Value::Boolean(boolean) => out.extend_from_slice(if *boolean { b"true" } else { b"false" }),
        Value::Number(number) if number.is_finite() => write_number(out, *number),
        Value::String(string) if string.len() > PIECE => {
            out.push(b'"');
            return Ok(Some(Reached::Long(Box::new(string.clone()))));
        }
        Value::String(string) => write_string(out, string.as_bytes(), form.ascii)?,
        Value::Array(array) => {
            if value.as_array().is_some_and(|view| !view.is_empty()) {
                return Ok(Some(Reached::Array(Rc::clone(array))));
            }
            out.extend_from_slice(b"[]");
        }
        _ => return Err(EncodeError::NotEncodable),
    }
    Ok(None)
}

fn write_key(out: &mut Vec<u8>, key: KeyRef<'_>, form: Form) -> Result<(), EncodeError> {
    match key {
        KeyRef::String(string) => write_string(out, string.as_bytes(), form.ascii)?,
        KeyRef::Integer(number) => {
            out.push(b'"');
            out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
            out.push(b'"');
        }
        KeyRef::None => out.extend_from_slice(b"\"\""),
    }
    out.extend_from_slice(if form.pretty { b": " } else { b":" });
    Ok(())
}

fn indent(out: &mut Vec<u8>, depth: usize) {
    out.push(b'\n');
    out.resize(out.len() + depth * 4, b' ');
}

fn write_string(out: &mut Vec<u8>, bytes: &[u8], ascii: bool) -> Result<(), EncodeError> {
    out.reserve(bytes.len() + 2);
    out.push(b'"');
    write_escaped(out, bytes, ascii)?;
    out.push(b'"');
    Ok(())
}

/// How many bytes at the beginning stand for themselves between quotes: neither quote, backslash nor control character, and with
/// `ASCII` none beyond it.
#[inline]
fn plain_len<const ASCII: bool>(bytes: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let (words, rest) = bytes.as_chunks::<8>();
    let mut at = 0;
    for word in words {
        let word = u64::from_le_bytes(*word);
        let (quote, backslash) = (word ^ (ONES * 0x22), word ^ (ONES * 0x5c));
        // The high bit of each byte that is below 0x20, or 0 after a mark is taken off. A borrow may set more of them, behind
        // the first one only.
        let control = word.wrapping_sub(ONES * 0x20) & !word;
        let marks =
            (quote.wrapping_sub(ONES) & !quote) | (backslash.wrapping_sub(ONES) & !backslash);
        let beyond = if ASCII { word } else { 0 };
        let ends = (control | marks | beyond) & HIGH;
        if ends != 0 {
            return at + ends.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let is_plain = |byte: &u8| PLAIN[usize::from(*byte)] || (!ASCII && *byte >= 0x80);
    at + rest
        .iter()
        .position(|byte| !is_plain(byte))
        .unwrap_or(rest.len())
}

/// The bytes of ASCII that stand for themselves in a text.
const PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = b' ';
    while byte < 0x80 {
        plain[byte as usize] = byte != b'"' && byte != b'\\';
        byte += 1;
    }
    plain
};

fn write_escaped(out: &mut Vec<u8>, bytes: &[u8], ascii: bool) -> Result<(), EncodeError> {
    let mut rest = bytes;
    loop {
        let count = plain_len::<true>(rest);
        let (plain, special) = rest.split_at(count);
        out.extend_from_slice(plain);
        let Some((byte, after)) = special.split_first() else {
            return Ok(());
        };
        rest = after;
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0c => out.extend_from_slice(b"\\f"),
            0..0x80 => write_unit(out, u16::from(*byte)),
            0x80.. => {
                let count = special
                    .iter()
                    .position(u8::is_ascii)
                    .unwrap_or(special.len());
                let (run, after) = special.split_at(count);
                rest = after;
                let text = std::str::from_utf8(run).map_err(|_| EncodeError::NotEncodable)?;
                if ascii {
                    text.encode_utf16().for_each(|unit| write_unit(out, unit));
                } else {
                    out.extend_from_slice(run);
                }
            }
        }
    }
}

/// Writes `\uXXXX`.
fn write_unit(out: &mut Vec<u8>, unit: u16) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |shift: u16| DIGITS[usize::from(unit >> shift & 15)];
    out.extend_from_slice(&[b'\\', b'u', digit(12), digit(8), digit(4), digit(0)]);
}

#[cfg(test)]
mod tests {
    use angarium_runtime::array::Array;
    use proptest::prelude::*;

    use super::*;

    const COMPACT: Form = Form {
        ascii: true,
        pretty: false,
    };

    fn round(text: &str) -> String {
        String::from_utf8(encode(&decode(text.as_bytes()).unwrap(), COMPACT).unwrap()).unwrap()
    }

    #[test]
    fn values_survive_decoding_and_encoding() {
        for text in [
            "null",
            "true",
            "-1.5",
            "\"a\\u0001\\n\"",
            "[]",
            "[1,[2,{\"a\":null}]]",
            "{\"1\":2,\"b\":[true,false]}",
        ] {
            assert_eq!(round(text), text);
        }
        assert_eq!(round("{}"), "[]", "an empty array has no kind");
        assert_eq!(round("{\"a\":1,\"a\":2}"), "{\"a\":2}");
        assert_eq!(round("\"\u{20ac}\u{1f600}\""), "\"\\u20ac\\ud83d\\ude00\"");
    }

    #[test]
    fn plain_bytes_are_counted_alike_by_words_and_alone() {
        let mut bytes: Vec<u8> = (0..=255).collect();
        bytes.extend((0..=255).rev());
        bytes.extend(
            b"no mark in here at all, nothing to be seen! \x7f\xff\x80\x20\x21\x23\x5b\x5d\"",
        );
        for start in 0..bytes.len() {
            let rest = &bytes[start..];
            let alone = |ends: &dyn Fn(u8) -> bool| {
                rest.iter()
                    .position(|byte| ends(*byte))
                    .unwrap_or(rest.len())
            };
            let is_mark = |byte: u8| byte < 0x20 || byte == b'"' || byte == b'\\';
            assert_eq!(plain_len::<false>(rest), alone(&is_mark));
            assert_eq!(
                plain_len::<true>(rest),
                alone(&|byte| is_mark(byte) || byte >= 0x80)
            );
        }
    }

    #[test]
    fn nesting_ends_at_256() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(decode(nested(256).as_bytes()).is_ok());
        assert!(decode(nested(257).as_bytes()).is_err());
        assert!(decode("[".repeat(1_000_000).as_bytes()).is_err());
    }

    #[test]
    fn what_is_not_json_is_refused() {
        for text in [
            "",
            "[1,]",
            "{a:1}",
            "01",
            "\"\\ud800\"",
            "1 2",
            "nul",
            "\"\u{1}\"",
            "[1 /* x */]",
        ] {
            assert!(decode(text.as_bytes()).is_err(), "{text:?}");
        }
        assert!(decode(b"\"\xff\"").is_err());
    }

    #[test]
    fn faults_have_places() {
        for (text, offset) in [
            ("", 0),
            ("[1,]", 3),
            ("{\"a\" 1}", 5),
            ("{\"a\":1,}", 7),
            ("[1 2]", 3),
            ("[1}", 2),
            ("[tru]", 4),
            ("-", 1),
            ("1.e1", 2),
            ("[1e+]", 4),
            ("[\"ab\u{1}\"]", 4),
            ("\"a\\x\"", 2),
            ("\"a", 2),
            ("1 2", 2),
            ("[1e999]", 1),
        ] {
            assert_eq!(
                decode(text.as_bytes()).err().map(|fault| fault.offset),
                Some(offset),
                "{text}"
            );
        }
    }

    #[test]
    fn a_long_string_is_looked_at_in_pieces() {
        for escape in ["", "\\n", "\\ud83d\\ude00"] {
            let text = format!("[\"{}{escape}{}\"]", "å".repeat(60_000), "x".repeat(60_000));
            let mut decoder = Decoder::new();
            let mut goes = 0;
            let value = loop {
                goes += 1;
                if let Some(value) = decoder.go_on(text.as_bytes(), 100).unwrap() {
                    break value;
                }
            };
            assert!(goes > 5);
            let theirs: serde_json::Value = serde_json::from_str(&text).unwrap();
            let ours = value.as_array().unwrap().get(&Key::Integer(0)).unwrap();
            assert_eq!(ours.as_bytes(), theirs[0].as_str().map(str::as_bytes));
        }
    }

    proptest! {
        #[test]
        fn texts_are_taken_and_refused_as_serde_does(
            text in "[\\[\\]{},:\"\\\\0-9.eE+\\-truefalsn u/b \n\ta\u{e5}]{0,24}",
            whole in "\\PC{0,12}",
            number in any::<f64>(),
        ) {
            let list = serde_json::json!([whole, {whole.clone(): number}, [], number as i64]).to_string();
            for text in [text.clone(), format!("[{text}]"), format!("{{\"k\":{text}}}"), format!("\"{text}\""), list] {
                let theirs: Result<serde_json::Value, _> = serde_json::from_str(&text);
                let ours = decode(text.as_bytes());
                prop_assert_eq!(ours.is_ok(), theirs.is_ok(), "{}", text);
                if let (Ok(ours), Ok(theirs)) = (ours, theirs) {
                    let through = decode(theirs.to_string().as_bytes()).unwrap();
                    prop_assert!(angarium_runtime::convert::strict_equal(&ours, &through), "{}", text);
                }
                // However it is cut.
                let mut decoder = Decoder::new();
                let cut = loop {
                    match decoder.go_on(text.as_bytes(), 1) {
                        Ok(None) => {}
                        Ok(Some(_)) => break true,
                        Err(_) => break false,
                    }
                };
                prop_assert_eq!(cut, decode(text.as_bytes()).is_ok());
            }
        }
    }

    #[test]
    fn comments_are_blanked_outside_strings_only() {
        let text = b"{\"a//b\": /* x */ 1, // end\n \"c\\\"/*\": 2}";
        let stripped = strip_comments(text).unwrap();
        assert_eq!(
            String::from_utf8(encode(&decode(&stripped).unwrap(), COMPACT).unwrap()).unwrap(),
            "{\"a//b\":1,\"c\\\"/*\":2}"
        );
        assert!(strip_comments(b"1 /* open").is_none());
    }

    #[test]
    fn pretty_printing_indents_by_four() {
        let value = decode(b"{\"a\":[1,{}],\"b\":2}").unwrap();
        let text = encode(
            &value,
            Form {
                ascii: true,
                pretty: true,
            },
        )
        .unwrap();
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "{\n    \"a\": [\n        1,\n        []\n    ],\n    \"b\": 2\n}"
        );
    }

    #[test]
    fn a_text_written_in_pieces_is_the_same() {
        let long = "å\u{1f600}\"x\n".repeat(PIECE / 4);
        let text = serde_json::json!([long, {"a": [1, [], {"b": long.clone() + "y"}], "c": -0.5}, "z", "€"]);
        let value = decode(text.to_string().as_bytes()).unwrap();
        for (ascii, pretty) in [(true, false), (false, false), (true, true)] {
            let form = Form { ascii, pretty };
            let mut out = Vec::new();
            let mut encoder = Encoder::begin(&value, form, &mut out).unwrap();
            loop {
                let more = out.len() + 40;
                if encoder.go_on(&mut out, more).unwrap() {
                    break;
                }
            }
            assert_eq!(out, encode(&value, form).unwrap());
            let again: serde_json::Value = serde_json::from_slice(&out).unwrap();
            assert_eq!(again, text);
        }
        let broken = Value::from([b"a".repeat(PIECE), b"\xff".to_vec()].concat());
        assert_eq!(encode(&broken, COMPACT), Err(EncodeError::NotEncodable));
    }

    #[test]
    fn deep_arrays_are_encoded_without_recursion() {
        let deep = (0..100_000).fold(Value::None, |value, _| {
            Value::from(Array::from_list(vec![value]))
        });
        assert_eq!(encode(&deep, COMPACT).unwrap().len(), 200_004);
    }
}
