//! The text form of values (language.md 4.3), written in parts if need be, without recursion on the machine stack.

use std::collections::HashSet;

use crate::array::Key;
use crate::convert::write_str;
use crate::pieces::{PIECE_BYTES, PIECE_ENTRIES};
use crate::string::Str;
use crate::value::Value;

/// How far a text was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dumped {
    /// To its end.
    Whole,
    /// As far as it was to go this time.
    Part,
    /// As far as it may get.
    Over,
}

/// Writes the text form of a value, in parts if need be.
pub(crate) struct Dumper {
    start: Option<Value>,
    /// Arrays, and the positions of their next entries.
    open: Vec<(Value, usize)>,
    /// The long string that is being written, and the value behind it when it is a key.
    quoting: Option<(Quoting, Option<Value>)>,
}

impl Dumper {
    pub(crate) fn new(value: &Value) -> Dumper {
        Dumper {
            start: Some(value.clone()),
            open: Vec::new(),
            quoting: None,
        }
    }

    /// Goes on until the text is whole, `out` has `enough` bytes, a piece of entries or of a long string was looked at, or
    /// `fits` does not hold for a number of bytes.
    pub(crate) fn write(
        &mut self,
        out: &mut Vec<u8>,
        enough: usize,
        mut fits: impl FnMut(usize) -> bool,
    ) -> Dumped {
        if let Some(value) = self.start.take() {
            self.leaf(out, value);
        }
        let mut entries = 0;
        loop {
            if let Some((quoting, behind)) = &mut self.quoting {
                if !fits(out.len()) {
                    return Dumped::Over;
                }
                if out.len() >= enough || !quoting.go_on(out) {
                    return Dumped::Part;
                }
                let behind = behind.take();
                self.quoting = None;
                if let Some(value) = behind {
                    out.extend_from_slice(b"=>");
                    self.leaf(out, value);
                }
                continue;
            }
            let Some((array, position)) = self.open.last_mut() else {
                return Dumped::Whole;
            };
            if !fits(out.len()) {
                return Dumped::Over;
            }
            entries += 1;
            if out.len() >= enough || entries > PIECE_ENTRIES {
                return Dumped::Part;
            }
            let entry = array.as_array().and_then(|view| view.entry_at(*position));
            let Some((key, value, next)) = entry else {
                out.push(b']');
                self.open.pop();
                continue;
            };
            if let Value::String(string) = &value
                && string.len() > 4096
                && !fits(out.len().saturating_add(string.len()))
            {
                return Dumped::Over;
            }
            if *position > 0 && out.last() != Some(&b'[') {
                out.push(b',');
            }
            *position = next;
            match key {
                Key::Integer(number) => {
                    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
                }
                Key::String(string) if string.len() > PIECE_BYTES => {
                    self.quoting = Some((Quoting::new(string), Some(value)));
                    continue;
                }
                Key::String(string) => write_quoted(out, string.as_bytes()),
                Key::None | Key::Gap => out.extend_from_slice(b"none"),
            }
            out.extend_from_slice(b"=>");
            self.leaf(out, value);
        }
    }

    /// Writes a value, or opens it when it is an array or a long string.
    #[inline]
    fn leaf(&mut self, out: &mut Vec<u8>, value: Value) {
        match value {
            Value::None => out.extend_from_slice(b"none"),
            Value::String(string) if string.len() > PIECE_BYTES => {
                self.quoting = Some((Quoting::new(string), None));
            }
            Value::String(string) => write_quoted(out, string.as_bytes()),
            Value::Array(_) => {
                out.push(b'[');
                self.open.push((value, 0));
            }
            Value::Object(_) => out.extend_from_slice(b"object"),
            other => write_str(out, &other),
        }
    }
}

/// The dump form for a message: what is longer than a mebibyte is cut off, and ends with `…`.
#[must_use]
pub fn dump_short(value: &Value) -> Vec<u8> {
    let mut dump = ShortDump::new(value);
    loop {
        if let Some(text) = dump.go_on() {
            return text;
        }
    }
}

/// [`dump_short`] in parts.
pub(crate) struct ShortDump {
    dumper: Dumper,
    out: Vec<u8>,
}

impl ShortDump {
    pub(crate) fn new(value: &Value) -> ShortDump {
        ShortDump {
            dumper: Dumper::new(value),
            out: Vec::new(),
        }
    }

    /// Writes up to about [`PIECE_BYTES`]; the text when it is whole.
    pub(crate) fn go_on(&mut self) -> Option<Vec<u8>> {
        const MOST: usize = 1 << 20;
        let out = &mut self.out;
        let enough = out.len() + PIECE_BYTES;
        let dumped = self.dumper.write(out, enough, |length| length <= MOST);
        if dumped == Dumped::Part {
            return None;
        }
        if dumped == Dumped::Over || out.len() > MOST {
            out.truncate(MOST);
            out.extend_from_slice("…".as_bytes());
        }
        Some(std::mem::take(out))
    }
}

/// The dump form of a value: as [`write_dump`].
#[must_use]
pub fn dump(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    write_dump(&mut out, value);
    out
}

/// Appends the text form of 4.3: arrays as `[key=>value,…]`, strings quoted.
pub fn write_dump(out: &mut Vec<u8>, value: &Value) {
    let _ = write_dump_while(out, value, |_| true);
}

/// As [`write_dump`], as long as `go_on` holds for the number of bytes written so far; whether the text is whole.
pub(crate) fn write_dump_while(
    out: &mut Vec<u8>,
    value: &Value,
    mut go_on: impl FnMut(usize) -> bool,
) -> bool {
    let mut dumper = Dumper::new(value);
    loop {
        match dumper.write(out, usize::MAX, &mut go_on) {
            Dumped::Whole => return true,
            Dumped::Over => return false,
            Dumped::Part => {}
        }
    }
}

/// Whether a byte may stand between `"` as it is.
fn is_plain(byte: u8) -> bool {
    matches!(byte, 0x20..=0x7e | 0x80..) && !matches!(byte, b'"' | b'\\' | b'$')
}

/// The shortest run of `#` that no run between quotes is.
fn free_run(taken: &HashSet<usize>) -> usize {
    (0..).find(|run| !taken.contains(run)).unwrap_or(0)
}

/// Writes what a raw string literal begins and ends with.
fn write_mark(out: &mut Vec<u8>, length: usize) {
    out.push(b'\'');
    out.extend(std::iter::repeat_n(b'#', length));
    out.push(b'\'');
}

/// Appends a string literal that reads back as `bytes` (4.3).
pub fn write_quoted(out: &mut Vec<u8>, bytes: &[u8]) {
    if bytes.iter().all(|byte| is_plain(*byte)) {
        out.push(b'"');
        out.extend_from_slice(bytes);
        out.push(b'"');
        return;
    }
    // The shortest run of `#` that does not occur between quotes in the text; none when it has no `''` at all.
    let mut taken = HashSet::new();
    for quote in memchr::memchr_iter(b'\'', bytes) {
        let rest = bytes.get(quote + 1..).unwrap_or_default();
        let run = rest.iter().take_while(|byte| **byte == b'#').count();
        // At the end of the text the run would be closed by the quote of the closing mark.
        if matches!(rest.get(run), None | Some(b'\'')) {
            taken.insert(run);
        }
    }
    let length = free_run(&taken);
    write_mark(out, length);
    out.extend_from_slice(bytes);
    write_mark(out, length);
}

/// [`write_quoted`] for a long text, in parts.
struct Quoting {
    text: Str,
    stage: Stage,
    /// The next byte of the stage.
    at: usize,
}

enum Stage {
    /// Whether all bytes are plain.
    Plain,
    /// Which runs of `#` stand between quotes; the one that goes on.
    Runs(HashSet<usize>, Option<usize>),
    /// Writing, between marks of so many `#`; none: between `"`.
    Write(Option<usize>),
}

impl Quoting {
    fn new(text: Str) -> Quoting {
        Quoting {
            text,
            stage: Stage::Plain,
            at: 0,
        }
    }

    /// Looks at [`PIECE_BYTES`] more, or writes them; whether the literal is whole.
    fn go_on(&mut self, out: &mut Vec<u8>) -> bool {
        let bytes = self.text.as_bytes();
        let end = bytes.len().min(self.at + PIECE_BYTES);
        let piece = bytes.get(self.at..end).unwrap_or_default();
        let last = end == bytes.len();
        match &mut self.stage {
            Stage::Plain => {
                let plain = piece.iter().all(|byte| is_plain(*byte));
                if !plain {
                    (self.stage, self.at) = (Stage::Runs(HashSet::new(), None), 0);
                } else if last {
                    (self.stage, self.at) = (Stage::Write(None), 0);
                } else {
                    self.at = end;
                }
                false
            }
            Stage::Runs(taken, run) => {
                for byte in piece {
                    match (*byte, &mut *run) {
                        (b'#', Some(length)) => *length += 1,
                        (b'\'', length) => {
                            taken.extend(length.replace(0));
                        }
                        (_, length) => *length = None,
                    }
                }
                self.at = end;
                if last {
                    taken.extend(run.take());
                    (self.stage, self.at) = (Stage::Write(Some(free_run(taken))), 0);
                }
                false
            }
            Stage::Write(length) => {
                let mark = |out: &mut Vec<u8>| match *length {
                    Some(length) => write_mark(out, length),
                    None => out.push(b'"'),
                };
                if self.at == 0 {
                    mark(out);
                }
                out.extend_from_slice(piece);
                self.at = end;
                if last {
                    mark(out);
                }
                last
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::array::Array;

    #[test]
    fn arrays_print_with_their_keys_and_quoted_strings() {
        let mut array = Array::from_list(vec![Value::from("how"), Value::from(5.0)]);
        let inner: Array = [(Key::from("x"), Value::from(true))].into_iter().collect();
        array.push(Value::from(inner));
        array.push(Value::from(Array::new()));
        array.push(Value::None);
        assert_eq!(
            dump(&Value::from(array)),
            br#"[0=>"how",1=>5,2=>["x"=>true],3=>[],4=>none]"#
        );
    }

    #[test]
    fn strings_with_specials_are_dumped_raw_with_a_free_delimiter() {
        for (input, expected) in [
            ("plain", "\"plain\""),
            ("a\"b", "''a\"b''"),
            ("a\nb", "''a\nb''"),
            ("cost $5", "''cost $5''"),
            ("it's \\", "''it's \\''"),
            ("\\ends'", "'#'\\ends''#'"),
            ("\\a''b", "'#'\\a''b'#'"),
            ("\\a''b'#'c", "'##'\\a''b'#'c'##'"),
        ] {
            let mut out = Vec::new();
            write_quoted(&mut out, input.as_bytes());
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }

    #[test]
    fn long_strings_are_written_in_parts_as_short_ones_are_at_once() {
        let long = "x".repeat(PIECE_BYTES);
        for special in [
            "",
            "\n",
            "'\n",
            "''",
            "'#'$''",
            "'##\n",
            "\\'#",
            "\\'##''#'#'",
        ] {
            for text in [
                format!("{long}{special}"),
                format!("{special}{long}{special}"),
            ] {
                let text = format!("{text}.{text}");
                let mut expected = b"[".to_vec();
                write_quoted(&mut expected, text.as_bytes());
                expected.extend_from_slice(b"=>");
                write_quoted(&mut expected, text.as_bytes());
                expected.push(b']');
                let value = Value::from(text.as_str());
                let array: Array = [(Key::from(text.as_str()), value)].into_iter().collect();
                let (mut dumper, mut parts) = (Dumper::new(&array.into()), Vec::new());
                while parts.last().map(|(_, dumped)| *dumped) != Some(Dumped::Whole) {
                    let mut out = Vec::new();
                    let dumped = dumper.write(&mut out, PIECE_BYTES, |_| true);
                    assert!(out.len() <= 2 * PIECE_BYTES, "{}", out.len());
                    parts.push((out, dumped));
                }
                let text: Vec<u8> = parts.into_iter().flat_map(|(part, _)| part).collect();
                assert!(text == expected, "{special:?}");
            }
        }
    }

    #[test]
    fn a_message_has_at_most_a_mebibyte_of_a_text() {
        let text = dump_short(&Value::from("x".repeat(3 << 20).as_str()));
        assert_eq!(text.len(), (1 << 20) + 3);
        assert!(text.starts_with(b"\"xxx") && text.ends_with("x…".as_bytes()));
        let short = "x".repeat((1 << 20) - 2);
        assert_eq!(dump_short(&Value::from(short.as_str())).len(), 1 << 20);
    }
}
