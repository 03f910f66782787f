//! Conversions, equality and order of values (language.md 4 and 5), without recursion on the machine stack.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::rc::Rc;

use crate::array::View;
use crate::dump::write_dump_while;
pub use crate::dump::{dump, dump_short, write_dump, write_quoted};
use crate::number_text::NumberText;
use crate::object::Function;
use crate::pieces::{LARGE_BYTES, LARGE_ENTRIES, PIECE_BYTES};
use crate::string::{MAX_STRING, Str};
use crate::value::{ArrayRef, Value};

/// Truthiness (5.3).
#[inline]
#[must_use]
pub fn truthy(value: &Value) -> bool {
    match value {
        Value::None | Value::Undefined | Value::Cell(_) => false,
        Value::Boolean(boolean) => *boolean,
        // NaN is not 0, hence true.
        Value::Number(number) => *number != 0.0,
        Value::String(string) => !string.is_empty(),
        Value::Array(_) => value.as_array().is_some_and(|view| !view.is_empty()),
        Value::Function(_) | Value::Object(_) | Value::Resource(_) => true,
    }
}

/// Conversion to number (4.1): never fails, 0 for what is no number.
#[inline]
#[must_use]
pub fn to_number(value: &Value) -> f64 {
    match value {
        Value::Number(number) => *number,
        Value::Boolean(boolean) => f64::from(u8::from(*boolean)),
        Value::String(string) => parse_number(string.as_bytes()).unwrap_or(0.0),
        _ => 0.0,
    }
}

/// The number that the whole of `text` spells (4.1): decimal with optional point and exponent, or `0x` hexadecimal.
#[must_use]
pub fn parse_number(text: &[u8]) -> Option<f64> {
    if text.len() > 1024 {
        crate::memory::owe(text.len() / 16);
    }
    if text.len() > LONG {
        return NumberText::default().go_on(text, usize::MAX).flatten();
    }
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    let sign = if negative { -1.0 } else { 1.0 };
    if let [b'0', b'x', hex @ ..] = digits {
        if hex.is_empty() || !hex.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        return Some(sign * parse_hex(hex));
    }
    if !is_decimal(digits) {
        return None;
    }
    // Rust reads every such text as the nearest double, "5." and ".5" included.
    let number: f64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(sign * number)
}

/// Longer texts are read by [`NumberText`].
const LONG: usize = 2048;

/// `digits (. digits?)? | . digits`, then an optional exponent.
fn is_decimal(text: &[u8]) -> bool {
    let skip = |at: usize| {
        let rest = text.get(at..).unwrap_or_default();
        at + rest.iter().take_while(|byte| byte.is_ascii_digit()).count()
    };
    let whole = skip(0);
    let mut at = whole;
    if text.get(at) == Some(&b'.') {
        at = skip(at + 1);
        if whole == 0 && at == 1 {
            return false;
        }
    } else if whole == 0 {
        return false;
    }
    if matches!(text.get(at), Some(b'e' | b'E')) {
        at += 1;
        if matches!(text.get(at), Some(b'+' | b'-')) {
            at += 1;
        }
        let end = skip(at);
        if end == at {
            return false;
        }
        at = end;
    }
    at == text.len()
}

/// Hexadecimal digits to the nearest double, however many there are.
fn parse_hex(digits: &[u8]) -> f64 {
    let significant = &digits[digits.iter().take_while(|digit| **digit == b'0').count()..];
    let (head, tail) = significant.split_at(significant.len().min(16));
    let mut mantissa = head
        .iter()
        .fold(0_u64, |sum, digit| (sum << 4) | hex_digit(*digit));
    if tail.iter().any(|digit| *digit != b'0') {
        // Sticky bit: what was cut off must still break a tie. The low bit is far below the 53 kept ones.
        mantissa |= 1;
    }
    let scale = i32::try_from(tail.len())
        .unwrap_or(i32::MAX)
        .saturating_mul(4);
    mantissa as f64 * 2_f64.powi(scale)
}

fn hex_digit(digit: u8) -> u64 {
    u64::from(char::from(digit).to_digit(16).unwrap_or(0))
}

/// Conversion to integer for indexes, counts and lengths: truncated, NaN gives 0, saturated to 64 bits (G8).
#[inline]
#[must_use]
pub fn to_integer(value: &Value) -> i64 {
    to_number(value) as i64
}

/// Conversion to a 32-bit integer for the bitwise operators (6.5): truncated and wrapped modulo 2^32.
#[inline]
#[must_use]
pub fn to_int32(number: f64) -> i32 {
    const TWO_32: f64 = 4_294_967_296.0;
    if number.abs() < 2_147_483_648.0 {
        return number as i32;
    }
    if !number.is_finite() {
        return 0;
    }
    let wrapped = number.trunc() % TWO_32;
    (if wrapped < 0.0 {
        wrapped + TWO_32
    } else {
        wrapped
    }) as u32 as i32
}

/// [`to_int32`] of a number that is whole and below 2^51 in magnitude; none for others, and for -0.
///
/// Adding 1.5 * 2^52 leaves the integer in two's complement in the low bits of the sum.
#[inline]
pub(crate) fn exact_int32(number: f64) -> Option<i32> {
    const SHIFT: f64 = 6_755_399_441_055_744.0;
    const LIMIT: f64 = 2_251_799_813_685_248.0;
    let shifted = number + SHIFT;
    // Bits are compared: one branch, where a comparison of numbers takes two because of NaN.
    (number.abs() < LIMIT && (shifted - SHIFT).to_bits() == number.to_bits())
        .then(|| shifted.to_bits() as i32)
}

/// A whole number from 0 up to 2^32 - 1; none for others, and for -0. Works as [`exact_int32`] does: whatever is too
/// large for it changes the exponent of the sum, and with it the difference.
#[inline]
pub(crate) fn exact_u32(number: f64) -> Option<u32> {
    const SHIFT: f64 = 6_755_399_441_055_744.0;
    let shifted = number + SHIFT;
    let whole = shifted.to_bits().wrapping_sub(SHIFT.to_bits());
    (whole >> 32 == 0 && (shifted - SHIFT).to_bits() == number.to_bits()).then_some(whole as u32)
}

/// The integer that a number is, if it is one below 2^53 in magnitude: its text is that of the integer.
#[inline]
pub(crate) fn whole(number: f64) -> Option<i64> {
    let whole = number as i64;
    (whole as f64 == number && whole.unsigned_abs() < 1 << 53).then_some(whole)
}

/// Appends the text of a number (4.2): the shortest that reads back, in ECMAScript's layout.
pub fn write_number(out: &mut Vec<u8>, number: f64) {
    if let Some(whole) = whole(number) {
        let mut buffer = itoa::Buffer::new();
        out.extend_from_slice(buffer.format(whole).as_bytes());
    } else if number.is_nan() {
        out.extend_from_slice(b"NaN");
    } else if number.is_infinite() {
        out.extend_from_slice(if number < 0.0 {
            b"-Infinity"
        } else {
            b"Infinity"
        });
    } else {
        let mut buffer = ryu_js::Buffer::new();
        out.extend_from_slice(buffer.format_finite(number).as_bytes());
    }
}

/// Conversion to string (4.2).
#[must_use]
pub fn to_str(value: &Value) -> Str {
    match value {
        Value::String(string) => string.clone(),
        Value::None => Str::EMPTY,
        Value::Boolean(true) => Str::from("true"),
        Value::Boolean(false) => Str::from("false"),
        other => {
            let mut out = Vec::new();
            // Where a text may be long its reader asks for the budget first (`Cx::write_str`).
            write_str_while(&mut out, other, |length| length <= MAX_STRING);
            Str::from_vec(out)
        }
    }
}

/// Appends the string conversion of `value` (4.2).
pub fn write_str(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::None | Value::Undefined | Value::Cell(_) => {}
        Value::Boolean(boolean) => out.extend_from_slice(if *boolean { b"true" } else { b"false" }),
        Value::Number(number) => write_number(out, *number),
        Value::String(string) => out.extend_from_slice(string.as_bytes()),
        Value::Array(_) => write_dump(out, value),
        Value::Function(_) => out.extend_from_slice(b"function"),
        Value::Object(object) => out.extend_from_slice(&object.to_text()),
        Value::Resource(_) => out.extend_from_slice(b"resource"),
    }
}

/// As [`write_str`], as long as `go_on` holds for the number of bytes written so far: arrays share parts, so that
/// a text can be exponentially longer than the value. Gives whether the text is whole.
pub fn write_str_while(out: &mut Vec<u8>, value: &Value, go_on: impl FnMut(usize) -> bool) -> bool {
    match value {
        Value::Array(_) => write_dump_while(out, value, go_on),
        other => {
            write_str(out, other);
            true
        }
    }
}

/// Strict equality, `===` (5.1).
#[must_use]
pub fn strict_equal(a: &Value, b: &Value) -> bool {
    strict_equal_counted(a, b, &mut 0)
}

/// As [`strict_equal`]; adds to `work` what the comparison is worth in units of fuel.
#[must_use]
pub fn strict_equal_counted(a: &Value, b: &Value, work: &mut usize) -> bool {
    Comparison::new(a, b).go_on(work, usize::MAX) == Some(true)
}

/// A pair that is still to be compared.
enum Pair {
    /// Two arrays, from a position of the order of the first.
    Arrays(Value, Value, usize),
    /// Two long texts of one length, from a byte on.
    Texts(Str, Str, usize),
}

/// A comparison by strict equality, in parts if need be.
pub struct Comparison {
    pending: Vec<Pair>,
    /// Arrays share parts: a pair that was compared once is not compared again, or the time could be exponential.
    seen: HashSet<[(*const (), u32); 2]>,
    /// The addresses stay in use as long as they are remembered.
    held: Vec<(Value, Value)>,
    steps: u32,
    /// They were found to differ.
    differ: bool,
}

impl Comparison {
    /// Of two values.
    #[must_use]
    pub fn new(a: &Value, b: &Value) -> Comparison {
        let mut comparison = Comparison {
            pending: Vec::new(),
            seen: HashSet::new(),
            held: Vec::new(),
            steps: 0,
            differ: false,
        };
        comparison.differ = !strict_leaf(a, b, &mut comparison.pending, &mut 0);
        comparison
    }

    /// Goes on until the answer is known or about `most` units of fuel are spent, which are added to `work`.
    pub fn go_on(&mut self, work: &mut usize, most: usize) -> Option<bool> {
        let end = work.saturating_add(most);
        while !self.differ {
            let Some(pair) = self.pending.pop() else {
                return Some(true);
            };
            if *work >= end {
                self.pending.push(pair);
                return None;
            }
            match pair {
                Pair::Texts(a, b, at) => {
                    let (x, y) = (a.as_bytes(), b.as_bytes());
                    let next = x.len().min(at.saturating_add(PIECE_BYTES));
                    *work = work.saturating_add((next - at) / 64);
                    self.differ = x.get(at..next) != y.get(at..next);
                    if next < x.len() {
                        self.pending.push(Pair::Texts(a, b, next));
                    }
                }
                Pair::Arrays(a, b, position) => self.arrays(a, b, position, work, end),
            }
        }
        Some(false)
    }

    fn arrays(&mut self, a: Value, b: Value, position: usize, work: &mut usize, end: usize) {
        if position == 0 {
            self.steps = self.steps.saturating_add(1);
            if self.steps > 64
                && may_recur(&a, &b)
                && let (Value::Array(x), Value::Array(y)) = (&a, &b)
                && !self.seen.insert([x.identity(), y.identity()])
            {
                return;
            }
        }
        let (Some(x), Some(y)) = (a.as_array(), b.as_array()) else {
            self.differ = true;
            return;
        };
        let mut next = position;
        // The rest is looked at before what is found on the way: its place is below theirs.
        let place = self.pending.len();
        while *work < end {
            let Some((key, value, behind)) = x.entry_at(next) else {
                if self.steps > 64 && may_recur(&a, &b) {
                    self.held.push((a, b));
                }
                return;
            };
            next = behind;
            *work = work.saturating_add(1);
            let equal = y
                .get(&key)
                .is_some_and(|other| strict_leaf(&value, &other, &mut self.pending, work));
            if !equal {
                self.differ = true;
                return;
            }
        }
        self.pending.insert(place, Pair::Arrays(a, b, next));
    }
}

/// Whether a pair can be met again: not when each has one holder besides the pair, which are a pair that was met once.
fn may_recur(a: &Value, b: &Value) -> bool {
    [a, b].into_iter().any(|value| match value {
        Value::Array(array) => match &**array {
            ArrayRef::Local(_) => Rc::strong_count(array) > 2,
            ArrayRef::Frozen(..) => true,
        },
        _ => false,
    })
}

fn strict_leaf(a: &Value, b: &Value, pending: &mut Vec<Pair>, work: &mut usize) -> bool {
    match (a, b) {
        (Value::None, Value::None) => true,
        (Value::Boolean(a), Value::Boolean(b)) => a == b,
        (Value::Number(a), Value::Number(b)) => a == b,
        (Value::String(a), Value::String(b)) => {
            if let (Str::Heap(x), Str::Heap(y)) = (a, b)
                && Rc::ptr_eq(x, y)
            {
                return true;
            }
            if a.len() > LARGE_BYTES && a.len() == b.len() {
                pending.push(Pair::Texts(a.clone(), b.clone(), 0));
                return true;
            }
            *work = work.saturating_add(a.len().min(b.len()) / 64);
            a == b
        }
        (Value::Function(a), Value::Function(b)) => same_function(a, b),
        (Value::Object(a), Value::Object(b)) => Rc::ptr_eq(a, b),
        (Value::Resource(a), Value::Resource(b)) => Rc::ptr_eq(a, b) || a.same(b),
        (Value::Array(x), Value::Array(y)) if x.identity() == y.identity() => {
            *work = work.saturating_add(a.as_array().map_or(0, |view| view.len()) / 8);
            if may_hold_nan(a) {
                pending.push(Pair::Arrays(a.clone(), b.clone(), 0));
            }
            true
        }
        _ => match (a.as_array(), b.as_array()) {
            (Some(x), Some(y)) if x.len() == y.len() => {
                pending.push(Pair::Arrays(a.clone(), b.clone(), 0));
                true
            }
            _ => false,
        },
    }
}

/// Whether a shared array can differ from itself: only a NaN (or a nested array, which may hold one) can do that.
fn may_hold_nan(array: &Value) -> bool {
    array.as_array().is_some_and(|view| {
        // A long one is looked at in parts.
        view.len() > LARGE_ENTRIES
            || view.values().any(|value| match value {
                Value::Number(number) => number.is_nan(),
                Value::Array(_) => true,
                _ => false,
            })
    })
}

fn same_function(a: &Rc<Function>, b: &Rc<Function>) -> bool {
    Rc::ptr_eq(a, b)
        || match (&**a, &**b) {
            (Function::Native(a), Function::Native(b)) => a == b,
            (Function::NativeClass(a), Function::NativeClass(b)) => a == b,
            (Function::BoundMethod(a, m), Function::BoundMethod(b, n)) => {
                Rc::ptr_eq(a, b) && m == n
            }
            (Function::User(a), Function::User(b)) => a.same(b),
            (Function::UserClass(a, x), Function::UserClass(b, y)) => a.same(b) && x == y,
            _ => false,
        }
}

/// Loose equality, `==` (5.2).
#[must_use]
pub fn loose_equal(a: &Value, b: &Value) -> bool {
    loose_equal_counted(a, b, &mut 0)
}

/// As [`loose_equal`]; adds to `work` what the comparison is worth in units of fuel.
#[must_use]
pub fn loose_equal_counted(a: &Value, b: &Value, work: &mut usize) -> bool {
    use Value::{Boolean, None, Number, String};
    match (a, b) {
        (None, None) => true,
        (None, _) | (_, None) => false,
        (Boolean(a), Boolean(b)) => a == b,
        (Boolean(a), Number(b)) | (Number(b), Boolean(a)) => f64::from(u8::from(*a)) == *b,
        (Boolean(a), other) | (other, Boolean(a)) => *a == truthy(other),
        (Number(a), Number(b)) => a == b,
        (Number(a), String(text)) | (String(text), Number(a)) => {
            *work = work.saturating_add(text.len() / 64);
            Some(*a) == parse_number(text.as_bytes()).or(Some(0.0))
        }
        // An array, function, object or resource counts as its truth here.
        (Number(a), other) | (other, Number(a)) => *a == f64::from(u8::from(truthy(other))),
        (a, b) => a.kind() == b.kind() && strict_equal_counted(a, b, work),
    }
}

/// The operands of a comparison have no order: one is an array, function, object or resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoOrder;

/// Order for `<`, `>`, `<=`, `>=` (5.4): none when the operands have no order (NaN).
///
/// # Errors
/// When an operand is an array, function, object or resource.
pub fn compare(a: &Value, b: &Value) -> Result<Option<Ordering>, NoOrder> {
    if let (Value::Number(a), Value::Number(b)) = (a, b) {
        return Ok(a.partial_cmp(b));
    }
    for value in [a, b] {
        if !matches!(
            value,
            Value::None | Value::Boolean(_) | Value::Number(_) | Value::String(_)
        ) {
            return Err(NoOrder);
        }
    }
    if let (Value::String(a), Value::String(b)) = (a, b) {
        let (x, y) = (parse_number(a.as_bytes()), parse_number(b.as_bytes()));
        if let (Some(x), Some(y)) = (x, y) {
            return Ok(x.partial_cmp(&y));
        }
        return Ok(Some(a.as_bytes().cmp(b.as_bytes())));
    }
    Ok(to_number(a).partial_cmp(&to_number(b)))
}

/// The entries of a view as strings joined: a helper for messages.
#[must_use]
pub fn join(view: View<'_>, separator: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for (at, value) in view.values().enumerate() {
        if at > 0 {
            out.extend_from_slice(separator);
        }
        write_str(&mut out, &value);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::array::Array;

    fn text(number: f64) -> String {
        String::from_utf8(to_str(&Value::Number(number)).into_vec()).unwrap()
    }

    #[test]
    fn numbers_print_in_ecmascripts_layout() {
        for (number, expected) in [
            (1.0, "1"),
            (0.1, "0.1"),
            (-0.0, "0"),
            (1e21, "1e+21"),
            (1e20, "100000000000000000000"),
            (123456789012345680000.0, "123456789012345680000"),
            (1e-6, "0.000001"),
            (1e-7, "1e-7"),
            (-1.5e-9, "-1.5e-9"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "Infinity"),
            (f64::NEG_INFINITY, "-Infinity"),
            (9007199254740993.0, "9007199254740992"),
            (5e-324, "5e-324"),
        ] {
            assert_eq!(text(number), expected);
        }
    }

    #[test]
    fn strings_read_as_numbers_only_when_wholly_numeric() {
        for (input, expected) in [
            ("12", Some(12.0)),
            ("-1.5e3", Some(-1500.0)),
            ("5.", Some(5.0)),
            (".5", Some(0.5)),
            ("+7", Some(7.0)),
            ("007", Some(7.0)),
            ("0x1f", Some(31.0)),
            ("-0x1F", Some(-31.0)),
            ("0X1F", None),
            ("0x", None),
            (" 1", None),
            ("1 ", None),
            ("1_0", None),
            ("0b1", None),
            (".", None),
            ("", None),
            ("-", None),
            ("1e", None),
            ("inf", None),
            ("NaN", None),
        ] {
            assert_eq!(parse_number(input.as_bytes()), expected, "{input:?}");
        }
        assert_eq!(
            parse_number(b"0x20000000000001"),
            Some(9007199254740992.0),
            "ties go to even"
        );
        assert_eq!(
            parse_number(b"0xfffffffffffffffffff"),
            Some(75557863725914323419135.0)
        );
    }

    #[test]
    fn long_numbers_are_read_as_short_ones() {
        let nines = "9".repeat(3000);
        let zeros = "0".repeat(3000);
        // Half way between 1 and the next double, to the last digit, and a little more.
        let half = "1.00000000000000011102230246251565404236316680908203125";
        for (text, expected) in [
            (format!("{zeros}12.5"), Some(12.5)),
            (format!("-{zeros}12.5{zeros}"), Some(-12.5)),
            (format!("0.{zeros}5e3001"), Some(5.0)),
            (format!("0.{zeros}5e+{zeros}3001"), Some(5.0)),
            (format!(".{zeros}"), Some(0.0)),
            (format!("1{zeros}e-3000"), Some(1.0)),
            (format!("1{zeros}"), Some(f64::INFINITY)),
            (format!("1{zeros}e-{nines}"), Some(0.0)),
            (format!("0.{zeros}1e{nines}"), Some(f64::INFINITY)),
            (format!("0{zeros}e{nines}"), Some(0.0)),
            (format!("{half}{zeros}"), Some(1.0)),
            (format!("{half}{zeros}1"), Some(1.000_000_000_000_000_2)),
            (format!("0x{zeros}ff"), Some(255.0)),
            (format!("{nines}x"), None),
            (format!("{nines}."), Some(f64::INFINITY)),
            (format!("{nines}.e"), None),
            (format!("{nines}e5 "), None),
            (format!("0x{zeros}g"), None),
        ] {
            assert_eq!(parse_number(text.as_bytes()), expected, "{}", &text[..8]);
        }
    }

    #[test]
    fn loose_equality_follows_the_table() {
        let f = Value::Boolean(false);
        let t = Value::Boolean(true);
        let empty = Value::from("");
        assert!(!loose_equal(&Value::None, &f));
        assert!(loose_equal(&Value::from(0.0), &Value::from("abc")));
        assert!(loose_equal(&empty, &f));
        assert!(!loose_equal(&Value::from(2.0), &t));
        assert!(loose_equal(
            &Value::from(1.0),
            &Value::from(Array::from_list(vec![Value::None]))
        ));
        assert!(!loose_equal(&Value::from("x"), &Value::from(Array::new())));
    }

    #[test]
    fn order_compares_numeric_strings_as_numbers_and_others_by_bytes() {
        let less = |a: &str, b: &str| {
            compare(&Value::from(a), &Value::from(b)) == Ok(Some(Ordering::Less))
        };
        assert!(less("9", "10"));
        assert!(less("10", "9a"));
        assert_eq!(
            compare(&Value::None, &Value::from(400.0)),
            Ok(Some(Ordering::Less))
        );
        assert!(compare(&Value::from(Array::new()), &Value::from(1.0)).is_err());
    }

    #[test]
    fn bitwise_operands_wrap_like_ecmascript() {
        assert_eq!(to_int32(4294967296.0 + 5.0), 5);
        assert_eq!(to_int32(2147483648.0), i32::MIN);
        assert_eq!(to_int32(-1.9), -1);
        assert_eq!(to_int32(f64::NAN), 0);
        assert_eq!(to_int32(-4294967297.0), -1);
    }

    #[test]
    fn deep_arrays_are_compared_and_dumped_without_recursion() {
        let deep = || {
            (0..200_000).fold(Value::None, |value, _| {
                Value::from(Array::from_list(vec![value]))
            })
        };
        let (a, b) = (deep(), deep());
        assert!(strict_equal(&a, &b));
        assert_eq!(dump(&a).len(), 200_000 * 5 + 4);
    }
}
