//! Reading JSON a piece at a time.
//!
//! A reader of the library world recurses, so that it can neither pause nor be bounded in depth but by counting. This one keeps
//! the arrays that it is in in a list of its own, and goes on wherever it was.

use angarium_runtime::array::{Array, Key};
use angarium_runtime::memory;
use angarium_runtime::value::Value;

use super::MAX_DEPTH;

/// What is wrong with a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The byte where it is wrong.
    pub offset: usize,
    /// What is wrong.
    pub message: &'static str,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at byte {}", self.message, self.offset)
    }
}

impl std::error::Error for Fault {}

/// The message of a decoder that gives up because of the budget.
pub const OUT_OF_MEMORY: &str = "the memory budget is used up";

/// A text that is being read.
pub struct Decoder {
    /// How far it has been read.
    at: usize,
    expected: Expected,
    /// The arrays that are being read, from the outermost one.
    open: Vec<Open>,
    /// The values of all of these arrays, one array's behind the other's, and the keys of those that are no lists: an array is
    /// made at its end, of the right size. Values are written where they lie here, not moved.
    list: Vec<Value>,
    keys: Vec<Key>,
    /// A string whose escapes were taken away.
    unescaped: Vec<u8>,
    /// How many values there were: the budget is looked at once in a thousand.
    values: usize,
    /// Where the scan of a long string has come to.
    scanned: usize,
}

struct Open {
    is_list: bool,
    /// Where its values begin, and its keys.
    start: usize,
    keys: usize,
    /// The array, when it has many of them.
    long: Option<Box<Array>>,
}

/// How many values wait for the end of their array.
const WAITING: usize = 128;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Expected {
    Value,
    /// A value or `]`.
    FirstValue,
    Key,
    /// A key or `}`.
    FirstKey,
    /// `,` or the end of the array.
    Separator,
}

impl Decoder {
    /// A decoder at the beginning of a text.
    pub fn new() -> Decoder {
        Decoder {
            at: 0,
            expected: Expected::Value,
            open: Vec::new(),
            list: Vec::new(),
            keys: Vec::new(),
            unescaped: Vec::new(),
            values: 0,
            scanned: 0,
        }
    }

    /// Reads on for about `most` bytes of `text`, which is the same each time. Gives the value at the end of it.
    ///
    /// # Errors
    /// Where and why it is not JSON.
    pub fn go_on(&mut self, text: &[u8], most: usize) -> Result<Option<Value>, Fault> {
        let stop = self.at.saturating_add(most);
        loop {
            self.skip_space(text);
            if self.at >= stop {
                return Ok(None);
            }
            let byte = text.get(self.at).copied();
            let read = match (self.expected, byte) {
                (Expected::FirstValue, Some(b']')) => self.close(),
                (Expected::Value | Expected::FirstValue, Some(byte)) => {
                    self.value(text, byte, stop)?
                }
                (Expected::FirstKey, Some(b'}')) => self.close(),
                (Expected::Key | Expected::FirstKey, Some(b'"')) => self.key(text, stop)?,
                (Expected::Separator, Some(byte)) => self.separator(byte)?,
                (Expected::Key | Expected::FirstKey, Some(_)) => {
                    return Err(self.fault("key must be a string"));
                }
                (_, None) => return Err(self.fault("EOF while parsing a value")),
            };
            match read {
                Read::Value => {}
                Read::Part => continue,
                Read::Later => return Ok(None),
            }
            if self.open.is_empty() {
                self.skip_space(text);
                return match text.get(self.at) {
                    None => Ok(self.list.pop()),
                    Some(_) => Err(self.fault("trailing characters")),
                };
            }
            self.added()?;
        }
    }

    fn fault(&self, message: &'static str) -> Fault {
        Fault {
            offset: self.at,
            message,
        }
    }

    fn skip_space(&mut self, text: &[u8]) {
        while let Some(b' ' | b'\t' | b'\r' | b'\n') = text.get(self.at) {
            self.at += 1;
        }
    }

    /// Takes a `,`, or the end of the array.
    fn separator(&mut self, byte: u8) -> Result<Read, Fault> {
        let is_list = self.open.last().is_some_and(|open| open.is_list);
        match (byte, is_list) {
            (b',', _) => {
                self.at += 1;
                self.expected = match is_list {
                    true => Expected::Value,
                    false => Expected::Key,
                };
                Ok(Read::Part)
            }
            (b']', true) | (b'}', false) => Ok(self.close()),
            (_, true) => Err(self.fault("expected `,` or `]`")),
            (_, false) => Err(self.fault("expected `,` or `}`")),
        }
    }

    /// Takes the end of an array, which is a value then.
    fn close(&mut self) -> Read {
        self.at += 1;
        let Some(open) = self.open.pop() else {
            return Read::Part;
        };
        let array = match open.long {
            Some(array) => *array,
            None => gathered(&mut self.list, &mut self.keys, &open),
        };
        self.list.push(array.into());
        Read::Value
    }

    /// Puts the value that was read last where it belongs.
    fn added(&mut self) -> Result<(), Fault> {
        if let Some(open) = self.open.last_mut() {
            if let Some(array) = &mut open.long {
                let value = self.list.pop().unwrap_or_default();
                if open.is_list {
                    array.push(value);
                } else {
                    array.insert(self.keys.pop().unwrap_or(Key::None), value);
                }
            } else if self.list.len() - open.start >= WAITING {
                let array = gathered(&mut self.list, &mut self.keys, open);
                open.long = Some(Box::new(array));
            }
        }
        self.expected = Expected::Separator;
        self.values += 1;
        if self.values.is_multiple_of(1024) && memory::exceeded() {
            return Err(self.fault(OUT_OF_MEMORY));
        }
        Ok(())
    }

    /// Reads a scalar, or the beginning of an array.
    fn value(&mut self, text: &[u8], byte: u8, stop: usize) -> Result<Read, Fault> {
        match byte {
            b'{' | b'[' => {
                if self.open.len() >= MAX_DEPTH {
                    return Err(self.fault("nested too deep"));
                }
                let is_list = byte == b'[';
                self.open.push(Open {
                    is_list,
                    start: self.list.len(),
                    keys: self.keys.len(),
                    long: None,
                });
                self.expected = match is_list {
                    true => Expected::FirstValue,
                    false => Expected::FirstKey,
                };
                self.at += 1;
                Ok(Read::Part)
            }
            b'"' => {
                let Some(string) = self.string(text, stop)? else {
                    return Ok(Read::Later);
                };
                let bytes = string.unwrap_or(&self.unescaped);
                Value::push_bytes(&mut self.list, bytes);
                Ok(Read::Value)
            }
            b'-' | b'0'..=b'9' => {
                let number = self.number(text)?;
                self.list.push(Value::Number(number));
                Ok(Read::Value)
            }
            b't' => self.word(text, b"true", true.into()),
            b'f' => self.word(text, b"false", false.into()),
            b'n' => self.word(text, b"null", Value::None),
            _ => Err(self.fault("expected value")),
        }
    }

    fn word(&mut self, text: &[u8], word: &[u8], value: Value) -> Result<Read, Fault> {
        let rest = text.get(self.at..).unwrap_or_default();
        if !rest.starts_with(word) {
            let same = rest.iter().zip(word).take_while(|(a, b)| a == b).count();
            self.at += same;
            return Err(self.fault("expected ident"));
        }
        self.at += word.len();
        self.list.push(value);
        Ok(Read::Value)
    }

    /// Reads a key and the colon behind it.
    fn key(&mut self, text: &[u8], stop: usize) -> Result<Read, Fault> {
        let Some(key) = self.string(text, stop)? else {
            return Ok(Read::Later);
        };
        let bytes = key.unwrap_or(&self.unescaped);
        Key::push_bytes(&mut self.keys, bytes);
        self.skip_space(text);
        if text.get(self.at) != Some(&b':') {
            return Err(self.fault("expected `:`"));
        }
        self.at += 1;
        self.expected = Expected::Value;
        Ok(Read::Part)
    }

    /// Reads a string, at whose quote it stands: gives its bytes, or leaves them in `unescaped` and gives none inside. A long
    /// one is looked through in several goes: none before the last.
    fn string<'t>(
        &mut self,
        text: &'t [u8],
        stop: usize,
    ) -> Result<Option<Option<&'t [u8]>>, Fault> {
        let start = self.at + 1;
        let mut at = start.max(self.scanned);
        loop {
            let rest = text.get(at..).unwrap_or_default();
            let window = rest.get(..WINDOW).unwrap_or(rest);
            let plain = super::plain_len::<false>(window);
            at += plain;
            if plain < window.len() {
                break;
            }
            if window.len() < WINDOW {
                self.at = text.len();
                return Err(self.fault("EOF while parsing a string"));
            }
            if at >= stop {
                self.scanned = at;
                return Ok(None);
            }
        }
        // Up to here there is neither escape nor control character.
        let end = match text.get(at) {
            Some(b'"') => at,
            Some(b'\\') => match self.end_of_escaped(text, at)? {
                Some(end) => {
                    self.unescape(text, start, end)?;
                    return Ok(Some(None));
                }
                None => return Err(self.fault("EOF while parsing a string")),
            },
            _ => {
                self.at = at;
                return Err(self.fault("control character found while parsing a string"));
            }
        };
        self.scanned = 0;
        self.at = end + 1;
        let bytes = text.get(start..end).unwrap_or_default();
        self.checked(bytes, start)?;
        Ok(Some(Some(bytes)))
    }

    /// The closing quote of a string with escapes, from the first of them on.
    fn end_of_escaped(&mut self, text: &[u8], from: usize) -> Result<Option<usize>, Fault> {
        let mut at = from;
        while let Some(byte) = text.get(at) {
            match byte {
                b'"' => return Ok(Some(at)),
                b'\\' => at += 2,
                0..0x20 => {
                    self.at = at;
                    return Err(self.fault("control character found while parsing a string"));
                }
                _ => at += 1,
            }
        }
        self.at = text.len();
        Ok(None)
    }

    fn checked<'t>(&self, bytes: &'t [u8], start: usize) -> Result<&'t str, Fault> {
        std::str::from_utf8(bytes).map_err(|error| Fault {
            offset: start + error.valid_up_to(),
            message: "invalid UTF-8",
        })
    }

    /// The text of a string with escapes between `start` and `end`.
    fn unescape(&mut self, text: &[u8], start: usize, end: usize) -> Result<(), Fault> {
        self.scanned = 0;
        let raw = text.get(start..end).unwrap_or_default();
        self.checked(raw, start)?;
        let mut out = std::mem::take(&mut self.unescaped);
        out.clear();
        let mut rest = raw;
        while let Some(escape) = memchr::memchr(b'\\', rest) {
            let (plain, escaped) = rest.split_at(escape);
            out.extend_from_slice(plain);
            self.at = end - escaped.len();
            let (c, length) = match escaped.get(1) {
                Some(b'"') => ('"', 2),
                Some(b'\\') => ('\\', 2),
                Some(b'/') => ('/', 2),
                Some(b'b') => ('\u{8}', 2),
                Some(b'f') => ('\u{c}', 2),
                Some(b'n') => ('\n', 2),
                Some(b'r') => ('\r', 2),
                Some(b't') => ('\t', 2),
                Some(b'u') => unicode(escaped).ok_or_else(|| self.fault("invalid escape"))?,
                _ => return Err(self.fault("invalid escape")),
            };
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            rest = escaped.get(length..).unwrap_or_default();
        }
        out.extend_from_slice(rest);
        self.at = end + 1;
        self.unescaped = out;
        Ok(())
    }

    /// Reads a number.
    fn number(&mut self, text: &[u8]) -> Result<f64, Fault> {
        let start = self.at;
        let rest = text.get(start..).unwrap_or_default();
        let digits = |from: usize| {
            let rest = rest.get(from..).unwrap_or_default();
            rest.iter().take_while(|byte| byte.is_ascii_digit()).count()
        };
        let sign = usize::from(rest.first() == Some(&b'-'));
        let whole = digits(sign);
        let mut length = sign + whole;
        if whole == 0 || (whole > 1 && rest.get(sign) == Some(&b'0')) {
            self.at += sign;
            return Err(self.fault("invalid number"));
        }
        let mut is_integer = true;
        if rest.get(length) == Some(&b'.') {
            is_integer = false;
            let fraction = digits(length + 1);
            length += 1 + fraction;
            if fraction == 0 {
                self.at += length;
                return Err(self.fault("invalid number"));
            }
        }
        if let Some(b'e' | b'E') = rest.get(length) {
            is_integer = false;
            let sign = usize::from(matches!(rest.get(length + 1), Some(b'+' | b'-')));
            let exponent = digits(length + 1 + sign);
            length += 1 + sign + exponent;
            if exponent == 0 {
                self.at += length;
                return Err(self.fault("invalid number"));
            }
        }
        self.at += length;
        let written = rest.get(..length).unwrap_or_default();
        if is_integer && whole <= 15 {
            let digits = written.get(sign..).unwrap_or_default();
            let number = digits
                .iter()
                .fold(0_u64, |sum, digit| sum * 10 + u64::from(digit - b'0'))
                as f64;
            return Ok(if sign == 1 { -number } else { number });
        }
        let number = std::str::from_utf8(written)
            .ok()
            .and_then(|text| text.parse::<f64>().ok());
        match number {
            Some(number) if number.is_finite() => Ok(number),
            _ => {
                self.at = start;
                Err(self.fault("number out of range"))
            }
        }
    }
}

/// What was read.
enum Read {
    /// A value: the last one of the list.
    Value,
    /// The beginning of an array, a key, or a comma.
    Part,
    /// It needs more than there was time for.
    Later,
}

/// The array that is being read, of the values and keys that wait for its end.
fn gathered(list: &mut Vec<Value>, keys: &mut Vec<Key>, open: &Open) -> Array {
    let values = list.drain(open.start..);
    if open.is_list {
        Array::from_list(values.collect())
    } else {
        Array::from_entries(keys.drain(open.keys..).zip(values))
    }
}

/// Bytes of a string that are looked through before the time is looked at.
const WINDOW: usize = 16 * 1024;

/// The character of `\uXXXX`, or of two of them that are a surrogate pair, and how many bytes they are.
fn unicode(escaped: &[u8]) -> Option<(char, usize)> {
    let unit = |at: usize| {
        let digits = escaped.get(at..at + 4)?;
        digits.iter().try_fold(0_u32, |unit, digit| {
            Some(unit << 4 | u32::from(crate::encoding::hex_value(*digit)?))
        })
    };
    let first = unit(2)?;
    if !(0xd800..0xdc00).contains(&first) {
        return Some((char::from_u32(first)?, 6));
    }
    let second = escaped
        .get(6..8)
        .filter(|head| *head == b"\\u")
        .and_then(|_| unit(8))?;
    let low = second.checked_sub(0xdc00).filter(|low| *low < 0x400)?;
    Some((
        char::from_u32(0x10000 + ((first - 0xd800) << 10) + low)?,
        12,
    ))
}
