//! JSON (RFC 8259): decoding through serde_json, encoding by a loop that no depth overflows.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;

use angarium_runtime::array::{Array, Key, KeyRef, View};
use angarium_runtime::convert::write_number;
use angarium_runtime::memory;
use angarium_runtime::native::{Args, Cx, FnDecl, Heavy, Throw, opt};
use angarium_runtime::string::Str;
use angarium_runtime::value::Value;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::heavy::{self, Failure};

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
    heavy::run(cx, size, &args.values[..1], move |values| {
        let text = values.first().and_then(Value::as_bytes).unwrap_or(b"");
        let stripped = if comments {
            strip_comments(text)
        } else {
            Some(text.into())
        };
        let Some(text) = stripped else {
            return Ok(Value::None);
        };
        match decode(&text) {
            Ok(value) => Ok(value),
            // What was decoded so far is dropped by now: the message tells why it ended.
            Err(error) if error.to_string().starts_with(OUT_OF_MEMORY) => Err(Failure::Memory),
            Err(_) => Ok(Value::None),
        }
    })
}

/// What a decoder says that gives up because of the budget.
const OUT_OF_MEMORY: &str = "the memory budget is used up";

/// Decodes one JSON text.
///
/// # Errors
/// Where and why it is not JSON.
pub fn decode(text: &[u8]) -> Result<Value, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    // The depth is bounded by the seed, which counts to 256 where serde_json would stop at 128.
    deserializer.disable_recursion_limit();
    let seed = Seed {
        depth: 0,
        values: &Cell::new(0),
    };
    let value = seed.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(value)
}

#[derive(Clone, Copy)]
struct Seed<'c> {
    depth: usize,
    /// How many values there are, wherever: the budget is looked at once in a thousand.
    values: &'c Cell<u32>,
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Seed<'_> {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth >= MAX_DEPTH {
            return Err(E::custom("nested too deep"));
        }
        Ok(Seed {
            depth: self.depth + 1,
            ..self
        })
    }

    /// Counts a value that was added.
    fn added<E: serde::de::Error>(self) -> Result<(), E> {
        let values = self.values.get().wrapping_add(1);
        self.values.set(values);
        if values.is_multiple_of(1024) && memory::exceeded() {
            return Err(E::custom(OUT_OF_MEMORY));
        }
        Ok(())
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::None)
    }
    fn visit_bool<E>(self, boolean: bool) -> Result<Value, E> {
        Ok(Value::Boolean(boolean))
    }
    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(Value::Number(number as f64))
    }
    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Number(number as f64))
    }
    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Value::Number(number))
    }
    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::from(text))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Array::new();
        let seed = self.deeper()?;
        while let Some(item) = items.next_element_seed(seed)? {
            array.push(item);
            self.added()?;
        }
        Ok(array.into())
    }
    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut array = Array::new();
        let seed = self.deeper()?;
        while let Some(key) = entries.next_key_seed(KeySeed)? {
            let value = entries.next_value_seed(seed)?;
            array.insert(key, value);
            self.added()?;
        }
        Ok(array.into())
    }
}

struct KeySeed;

impl<'de> DeserializeSeed<'de> for KeySeed {
    type Value = Key;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Key, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for KeySeed {
    type Value = Key;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }
    fn visit_str<E>(self, text: &str) -> Result<Key, E> {
        Ok(Key::from_string(Str::from(text)))
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
    let mut size = estimate(args.get(0));
    if size <= heavy::INLINE_BYTES {
        // Arrays share parts: how long the text gets is known only when it is written.
        match encode_within(args.get(0), form, heavy::INLINE_BYTES * 4) {
            Ok(text) => {
                cx.charge(text.len() / 16);
                return Ok(Heavy::Done(text.into()));
            }
            Err(EncodeError::NotEncodable) => return Ok(Heavy::Done(Value::None)),
            Err(EncodeError::Memory) => return Err(Throw::limit("memory")),
            Err(EncodeError::TooLong) => size = heavy::INLINE_BYTES * 4,
        }
    }
    heavy::run(cx, size, &args.values[..1], move |values| {
        match encode(values.first().unwrap_or(&Value::None), form) {
            Ok(text) => Ok(text.into()),
            Err(EncodeError::Memory | EncodeError::TooLong) => Err(Failure::Memory),
            Err(EncodeError::NotEncodable) => Ok(Value::None),
        }
    })
}

/// A rough size, looking at no more than the outermost entries: it only decides where to work.
fn estimate(value: &Value) -> usize {
    match value {
        Value::String(string) => string.len(),
        Value::Array(_) => value.as_array().map_or(0, |array| {
            array
                .values()
                .take(1024)
                .map(|value| value.as_bytes().map_or(16, <[u8]>::len))
                .sum::<usize>()
                + array.len().saturating_sub(1024) * 32
        }),
        _ => 0,
    }
}

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
    /// The text is longer than was asked for.
    TooLong,
}

/// Encodes `value`.
///
/// # Errors
/// See [`EncodeError`].
pub fn encode(value: &Value, form: Form) -> Result<Vec<u8>, EncodeError> {
    encode_within(value, form, usize::MAX)
}

/// A value inside the one that is encoded: a part of it, or one that a shared array handed out.
enum Part<'a> {
    Ref(&'a Value),
    Own(Value),
}

impl Part<'_> {
    fn get(&self) -> &Value {
        match self {
            Part::Ref(value) => value,
            Part::Own(value) => value,
        }
    }
}

/// An array whose entries are being written.
struct Open<'a> {
    array: Part<'a>,
    position: usize,
    list: bool,
}

impl<'a> Open<'a> {
    /// The next entry; the key of an object is written, with `before` before it.
    fn next(
        &mut self,
        out: &mut Vec<u8>,
        form: Form,
        depth: usize,
    ) -> Result<Option<Part<'a>>, EncodeError> {
        let first = self.position == 0 || matches!(out.last(), Some(b'[' | b'{'));
        let before = |out: &mut Vec<u8>| {
            if !first {
                out.push(b',');
            }
            if form.pretty {
                indent(out, depth);
            }
        };
        if let Part::Ref(value) = &self.array
            && let Some(View::Local(array)) = value.as_array()
        {
            let Some((key, value, position)) = array.entry_ref(self.position) else {
                return Ok(None);
            };
            self.position = position;
            before(out);
            if !self.list {
                write_key(out, key, form)?;
            }
            return Ok(Some(Part::Ref(value)));
        }
        let view = self.array.get().as_array();
        let Some((key, value, position)) = view.and_then(|view| view.entry_at(self.position))
        else {
            return Ok(None);
        };
        self.position = position;
        before(out);
        if !self.list {
            let key = match &key {
                Key::String(string) => KeyRef::String(string),
                Key::Integer(number) => KeyRef::Integer(*number),
                Key::None | Key::Gap => KeyRef::None,
            };
            write_key(out, key, form)?;
        }
        Ok(Some(Part::Own(value)))
    }
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

/// What a value counts at least: the time is not in the bytes alone.
const VALUE: usize = 16;

/// Encodes `value` unless the text gets longer than about `most` bytes.
fn encode_within(value: &Value, form: Form, most: usize) -> Result<Vec<u8>, EncodeError> {
    let mut out = Vec::with_capacity(64);
    let mut open: Vec<Open<'_>> = Vec::new();
    let mut next = Part::Ref(value);
    // Looking at the budget once in 4 KiB is enough.
    let mut looked = 0;
    let mut values = 0;
    loop {
        match next.get() {
            Value::None => out.extend_from_slice(b"null"),
            Value::Boolean(boolean) => {
                out.extend_from_slice(if *boolean { b"true" } else { b"false" })
            }
            Value::Number(number) if number.is_finite() => write_number(&mut out, *number),
            Value::String(string) => write_string(&mut out, string.as_bytes(), form.ascii)?,
            value @ Value::Array(_) => {
                let Some(view) = value.as_array() else {
                    return Err(EncodeError::NotEncodable);
                };
                let list = view.is_list();
                if view.is_empty() {
                    out.extend_from_slice(b"[]");
                } else {
                    out.push(if list { b'[' } else { b'{' });
                    open.push(Open {
                        array: next,
                        position: 0,
                        list,
                    });
                }
            }
            _ => return Err(EncodeError::NotEncodable),
        }
        if out.len() >> 12 != looked {
            looked = out.len() >> 12;
            if out.len() > angarium_runtime::string::MAX_STRING || memory::would_exceed(out.len()) {
                return Err(EncodeError::Memory);
            }
        }
        values += 1;
        if out.len() > most || values > most / VALUE {
            return Err(EncodeError::TooLong);
        }
        loop {
            let depth = open.len();
            let Some(top) = open.last_mut() else {
                return Ok(out);
            };
            if let Some(entry) = top.next(&mut out, form, depth)? {
                next = entry;
                break;
            }
            if form.pretty {
                indent(&mut out, depth - 1);
            }
            out.push(if top.list { b']' } else { b'}' });
            open.pop();
        }
    }
}

fn indent(out: &mut Vec<u8>, depth: usize) {
    out.push(b'\n');
    out.resize(out.len() + depth * 4, b' ');
}

fn write_string(out: &mut Vec<u8>, bytes: &[u8], ascii: bool) -> Result<(), EncodeError> {
    let plain = |byte: &u8| matches!(byte, b' '..=b'~') & (*byte != b'"') & (*byte != b'\\');
    if bytes.iter().all(plain) {
        out.reserve(bytes.len() + 2);
        out.push(b'"');
        out.extend_from_slice(bytes);
        out.push(b'"');
        return Ok(());
    }
    let text = std::str::from_utf8(bytes).map_err(|_| EncodeError::NotEncodable)?;
    out.push(b'"');
    let mut plain = 0;
    for (at, c) in text.char_indices() {
        let escape: Option<&[u8]> = match c {
            '"' => Some(b"\\\""),
            '\\' => Some(b"\\\\"),
            '\n' => Some(b"\\n"),
            '\r' => Some(b"\\r"),
            '\t' => Some(b"\\t"),
            '\u{8}' => Some(b"\\b"),
            '\u{c}' => Some(b"\\f"),
            _ => None,
        };
        if escape.is_none()
            && c >= ' '
            && (c < '\u{7f}' || (c > '\u{7f}' && !ascii) || c == '\u{7f}')
        {
            continue;
        }
        out.extend_from_slice(&bytes[plain..at]);
        plain = at + c.len_utf8();
        match escape {
            Some(escape) => out.extend_from_slice(escape),
            None => {
                let mut units = [0; 2];
                for unit in c.encode_utf16(&mut units) {
                    out.extend_from_slice(format!("\\u{unit:04x}").as_bytes());
                }
            }
        }
    }
    out.extend_from_slice(&bytes[plain..]);
    out.push(b'"');
    Ok(())
}

#[cfg(test)]
mod tests {
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
    fn deep_arrays_are_encoded_without_recursion() {
        let deep = (0..100_000).fold(Value::None, |value, _| {
            Value::from(Array::from_list(vec![value]))
        });
        assert_eq!(encode(&deep, COMPACT).unwrap().len(), 200_004);
    }
}
