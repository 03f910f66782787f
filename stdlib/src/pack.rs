//! `pack` and `unpack`: values to bytes and back, by a format of one-letter codes.
//!
//! A code is a letter and how often: a number, `*`, or nothing for once. `number` codes take an argument for each time, the
//! others one argument whose length the repeater tells.

use angarium_runtime::array::Array;
use angarium_runtime::convert::{to_number, to_str};
use angarium_runtime::native::{Args, Cx, FnDecl, Heavy, Throw};
use angarium_runtime::value::{Kind, Value};

use crate::encoding::hex_value;
use crate::heavy::{self, Failure};
use crate::scratch;

/// The functions of this family.
pub const FUNCTIONS: &[FnDecl] = &[
    FnDecl::heavy(
        "pack(format: string, ...args: any): string|none",
        "Writes values as bytes. `format` is made of codes, each with a number or `*` behind it, or neither for 1: `a` a string \
         of so many bytes, filled with NUL (`*` all of it); `Z` the same with a NUL at its end; `H` hexadecimal digits, high \
         one first; `C` 8 bits; `n` and `N` 16 and 32 bits, most significant byte first; `v` and `V` the same, least \
         significant byte first; `e` and `E` a double, least and most significant byte first; `x` a NUL byte. Numbers \
         take an argument for each time, `*` all that are left; integers are reduced to their bits. Gives none for an unknown \
         code, too few or too many arguments, bad digits, and for arguments that are no scalars.",
        pack,
    )
    .example(
        "pack(\"Z*C3\", \"ab\", 1, 2, 3) === \"ab\\x00\\x01\\x02\\x03\" // true\n\
         pack(\"nH*a4\", 16961, \"4344\", \"EF\") === \"BACDEF\\x00\\x00\" // true\n\
         pack(\"n\") // none",
    ),
    FnDecl::heavy(
        "unpack(format: string, data: string, offset?: number = 0): array|none",
        "Reads a list of values from bytes by the codes of pack, and `c` for a signed byte. `Z` ends at the first NUL, with `*` \
         behind it; `x` skips bytes; `*` takes what is left, of numbers as many as are whole. Gives none for an unknown code, \
         when the bytes are too few, and when `offset` lies outside of them.",
        unpack,
    )
    .example(
        "unpack(\"V\", \"\\x05\\x00\\x00\\x00\") // [0=>5]\n\
         unpack(\"Z*H2c\", \"ab\\x00\\x1f\\xff\") // [0=>\"ab\",1=>\"1f\",2=>-1]\n\
         unpack(\"N\", \"abc\") // none",
    ),
];

/// How often a code stands, or how long it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Count {
    One,
    Times(usize),
    All,
}

impl Count {
    /// The number, of which `*` means `all`.
    fn or(self, all: usize) -> usize {
        match self {
            Count::One => 1,
            Count::Times(times) => times,
            Count::All => all,
        }
    }
}

/// The next code of a format.
fn next_code(format: &mut &[u8]) -> Option<(u8, Count)> {
    let (code, rest) = format.split_first()?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, after) = rest.split_at_checked(digits)?;
    *format = after;
    if !number.is_empty() {
        let digit = |sum: usize, digit: &u8| {
            let digit = usize::from(digit.wrapping_sub(b'0'));
            sum.saturating_mul(10).saturating_add(digit)
        };
        return Some((*code, Count::Times(number.iter().fold(0, digit))));
    }
    if let Some(rest) = after.strip_prefix(b"*") {
        *format = rest;
        return Some((*code, Count::All));
    }
    Some((*code, Count::One))
}

/// A number as bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Number {
    Byte { signed: bool },
    Short { big: bool },
    Long { big: bool },
    Double { big: bool },
}

impl Number {
    fn of(code: u8) -> Option<Number> {
        Some(match code {
            b'C' => Number::Byte { signed: false },
            b'c' => Number::Byte { signed: true },
            b'n' => Number::Short { big: true },
            b'v' => Number::Short { big: false },
            b'N' => Number::Long { big: true },
            b'V' => Number::Long { big: false },
            b'E' => Number::Double { big: true },
            b'e' => Number::Double { big: false },
            _ => return None,
        })
    }

    fn size(self) -> usize {
        match self {
            Number::Byte { .. } => 1,
            Number::Short { .. } => 2,
            Number::Long { .. } => 4,
            Number::Double { .. } => 8,
        }
    }

    fn write(self, number: f64, out: &mut Vec<u8>) {
        let long = modulo_32_bits(number);
        let short = long as u16;
        match self {
            Number::Byte { .. } => out.push(long as u8),
            Number::Short { big: true } => out.extend_from_slice(&short.to_be_bytes()),
            Number::Short { big: false } => out.extend_from_slice(&short.to_le_bytes()),
            Number::Long { big: true } => out.extend_from_slice(&long.to_be_bytes()),
            Number::Long { big: false } => out.extend_from_slice(&long.to_le_bytes()),
            Number::Double { big: true } => out.extend_from_slice(&number.to_be_bytes()),
            Number::Double { big: false } => out.extend_from_slice(&number.to_le_bytes()),
        }
    }

    /// The number at the beginning of `bytes`, which has at least [`Number::size`] of them.
    fn read(self, bytes: &[u8]) -> f64 {
        fn first<const N: usize>(bytes: &[u8]) -> [u8; N] {
            bytes.first_chunk().copied().unwrap_or([0; N])
        }
        match self {
            Number::Byte { signed: true } => i8::from_le_bytes(first(bytes)).into(),
            Number::Byte { signed: false } => u8::from_le_bytes(first(bytes)).into(),
            Number::Short { big: true } => u16::from_be_bytes(first(bytes)).into(),
            Number::Short { big: false } => u16::from_le_bytes(first(bytes)).into(),
            Number::Long { big: true } => u32::from_be_bytes(first(bytes)).into(),
            Number::Long { big: false } => u32::from_le_bytes(first(bytes)).into(),
            Number::Double { big: true } => f64::from_be_bytes(first(bytes)),
            Number::Double { big: false } => f64::from_le_bytes(first(bytes)),
        }
    }
}

/// A number without its fraction, modulo 2^32, of which 2^16 and 2^8 are parts. What is not finite is an integer as
/// everywhere: 0, or the largest one.
fn modulo_32_bits(number: f64) -> u32 {
    const I64_END: f64 = 9_223_372_036_854_775_808.0;
    if number.is_finite() && number.abs() >= I64_END {
        number.rem_euclid(4_294_967_296.0) as u32
    } else {
        number as i64 as u32
    }
}

fn is_scalar(value: &Value) -> bool {
    matches!(value.kind(), Kind::String | Kind::Number | Kind::Boolean)
}

fn pack(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Heavy, Throw> {
    // Values other than scalars cannot be packed; they need not go to the pool to find that out.
    if !args.values.iter().all(is_scalar) {
        return Ok(Heavy::Done(Value::None));
    }
    let length = |value: &Value| value.as_bytes().map_or(8, <[u8]>::len);
    let given: usize = args.values.iter().map(length).sum();
    let size = given.saturating_add(fixed_size(args.bytes(0), args.values.len()));
    cx.reserve(size)?;
    heavy::run(cx, size, args.values, |values| {
        let format = values.first().and_then(Value::as_bytes).unwrap_or(b"");
        let mut out = scratch::buffer();
        let whole = packed(format, values.get(1..).unwrap_or_default(), &mut out);
        if whole.is_none() {
            scratch::keep(out);
            return Ok(Value::None);
        }
        Ok(scratch::finish(out))
    })
}

/// The bytes that the repeaters of a format ask for. Numbers cannot be more than there are arguments.
fn fixed_size(mut format: &[u8], arguments: usize) -> usize {
    let mut size: usize = 0;
    while let Some((code, count)) = next_code(&mut format) {
        let more = match Number::of(code) {
            Some(number) => count.or(1).min(arguments) * number.size(),
            None => count.or(1),
        };
        size = size.saturating_add(more);
    }
    size
}

/// Writes what `format` makes of the arguments; none when it cannot.
fn packed(mut format: &[u8], args: &[Value], out: &mut Vec<u8>) -> Option<()> {
    let mut args = args.iter();
    while let Some((code, count)) = next_code(&mut format) {
        match code {
            b'x' => out.resize(out.len() + count.or(0), 0),
            b'a' | b'Z' => {
                let text = to_str(args.next()?);
                let text = text.as_bytes();
                let ended = usize::from(code == b'Z');
                let length = count.or(text.len() + ended);
                let kept = text.len().min(length.saturating_sub(ended));
                let end = out.len() + length;
                out.extend_from_slice(text.get(..kept).unwrap_or_default());
                out.resize(end, 0);
            }
            b'H' => {
                let text = to_str(args.next()?);
                let length = count.or(text.len());
                let end = out.len() + length.div_ceil(2);
                for digits in text.as_bytes().get(..length.min(text.len()))?.chunks(2) {
                    let high = hex_value(*digits.first()?)?;
                    let low = digits.get(1).map_or(Some(0), |digit| hex_value(*digit))?;
                    out.push(high << 4 | low);
                }
                // Digits that are missing are 0, as the bytes of `a` are.
                out.resize(end, 0);
            }
            _ => {
                let number = Number::of(code).filter(|_| code != b'c')?;
                // More times than there are arguments end the loop at the first one that is missing.
                for _ in 0..count.or(args.len()) {
                    number.write(to_number(args.next()?), out);
                }
            }
        }
    }
    args.next().is_none().then_some(())
}

fn unpack(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Heavy, Throw> {
    let offset = args.integer(2, 0);
    // Each byte may be a value.
    let size = (args.bytes(0).len() + args.bytes(1).len()).saturating_mul(8);
    heavy::run(cx, size, &args.values[..2], move |values| {
        let bytes = |index: usize| values.get(index).and_then(Value::as_bytes).unwrap_or(b"");
        let data = usize::try_from(offset)
            .ok()
            .and_then(|offset| bytes(1).get(offset..));
        Ok(match data {
            Some(data) => unpacked(bytes(0), data)?.into(),
            None => Value::None,
        })
    })
}

/// The values that `format` reads from `data`; none when it cannot.
fn unpacked(mut format: &[u8], mut data: &[u8]) -> Result<Option<Array>, Failure> {
    let mut list = Array::new();
    while let Some((code, count)) = next_code(&mut format) {
        let taken = match code {
            b'x' => data.get(count.or(data.len())..),
            b'a' | b'Z' | b'H' => text(code, count, data).map(|(value, rest)| {
                list.push(value);
                rest
            }),
            _ => match Number::of(code) {
                Some(number) => numbers(number, count, data, &mut list)?,
                None => None,
            },
        };
        match taken {
            Some(rest) => data = rest,
            None => return Ok(None),
        }
        heavy::fits_entries(list.len())?;
    }
    Ok(Some(list))
}

/// The text at the beginning of `data`, and what follows it.
fn text(code: u8, count: Count, data: &[u8]) -> Option<(Value, &[u8])> {
    let nul = |bytes: &[u8]| memchr::memchr(0, bytes);
    match code {
        b'Z' if count == Count::All => {
            let end = nul(data).unwrap_or(data.len());
            let rest = data.get(end + 1..).unwrap_or_default();
            Some((Value::bytes(data.get(..end)?), rest))
        }
        b'H' => {
            let digits = count.or(data.len().saturating_mul(2));
            let (bytes, rest) = data.split_at_checked(digits.div_ceil(2))?;
            let mut hex = crate::hash::hex(bytes);
            hex.truncate(digits);
            Some((hex.into(), rest))
        }
        _ => {
            let (bytes, rest) = data.split_at_checked(count.or(data.len()))?;
            let end = match code {
                b'Z' => nul(bytes).unwrap_or(bytes.len()),
                _ => bytes.len(),
            };
            Some((Value::bytes(bytes.get(..end)?), rest))
        }
    }
}

/// Adds numbers to `list`; gives what follows them, or none when there are too few.
fn numbers<'d>(
    number: Number,
    count: Count,
    data: &'d [u8],
    list: &mut Array,
) -> Result<Option<&'d [u8]>, Failure> {
    let size = number.size();
    let times = count.or(data.len() / size);
    let Some((bytes, rest)) = data.split_at_checked(times.saturating_mul(size)) else {
        return Ok(None);
    };
    heavy::fits_entries(list.len().saturating_add(times))?;
    for bytes in bytes.chunks_exact(size) {
        list.push(Value::Number(number.read(bytes)));
    }
    Ok(Some(rest))
}

#[cfg(test)]
mod tests {
    use angarium_runtime::convert::dump;
    use proptest::prelude::*;

    use super::*;

    fn bytes(format: &str, args: &[Value]) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        packed(format.as_bytes(), args, &mut out).map(|()| out)
    }

    fn values(format: &str, data: &[u8]) -> String {
        let list = unpacked(format.as_bytes(), data).unwrap();
        String::from_utf8_lossy(&dump(&list.into())).into_owned()
    }

    #[test]
    fn every_code_writes_its_bytes() {
        let text = || Value::from("abc");
        let number = Value::Number;
        for (format, args, expected) in [
            ("a", vec![text()], &b"a"[..]),
            ("a5", vec![text()], b"abc\0\0"),
            ("a2", vec![text()], b"ab"),
            ("a0", vec![text()], b""),
            ("a*", vec![text()], b"abc"),
            ("a*", vec![number(12.0)], b"12"),
            ("Z", vec![text()], b"\0"),
            ("Z3", vec![text()], b"ab\0"),
            ("Z5", vec![text()], b"abc\0\0"),
            ("Z0", vec![text()], b""),
            ("Z*", vec![text()], b"abc\0"),
            ("H", vec!["1f".into()], b"\x10"),
            ("H3", vec!["1fA".into()], b"\x1f\xa0"),
            ("H*", vec!["1fa".into()], b"\x1f\xa0"),
            ("H6", vec!["1f".into()], b"\x1f\0\0"),
            ("C", vec![number(255.9)], b"\xff"),
            ("C2", vec![number(-1.0), number(257.0)], b"\xff\x01"),
            ("C*", vec![true.into(), "0x10".into()], b"\x01\x10"),
            ("C*", vec![], b""),
            ("n", vec![number(258.0)], b"\x01\x02"),
            ("v", vec![number(258.0)], b"\x02\x01"),
            ("N", vec![number(-2.0)], b"\xff\xff\xff\xfe"),
            ("V", vec![number(4_294_967_297.0)], b"\x01\0\0\0"),
            ("E", vec![number(1.0)], b"\x3f\xf0\0\0\0\0\0\0"),
            ("e", vec![number(1.0)], b"\0\0\0\0\0\0\xf0\x3f"),
            ("x", vec![], b"\0"),
            ("x3", vec![], b"\0\0\0"),
            ("x*", vec![], b""),
            ("", vec![], b""),
        ] {
            assert_eq!(bytes(format, &args), Some(expected.to_vec()), "{format}");
        }
    }

    #[test]
    fn what_cannot_be_packed_is_none() {
        for (format, args) in [
            ("q", vec!["a".into()]),
            ("c", vec![Value::Number(1.0)]),
            ("C C", vec![Value::Number(1.0), Value::Number(2.0)]),
            ("C2", vec![Value::Number(1.0)]),
            ("C99999999999999999999999", vec![Value::Number(1.0)]),
            ("a", vec![]),
            ("C", vec![Value::Number(1.0), Value::Number(2.0)]),
            ("", vec!["a".into()]),
            ("H*", vec!["1g".into()]),
            ("5", vec![]),
            ("*", vec![]),
        ] {
            assert_eq!(bytes(format, &args), None, "{format}");
        }
    }

    #[test]
    fn every_code_reads_its_bytes() {
        for (format, data, expected) in [
            ("aa*", &b"abc"[..], "[0=>\"a\",1=>\"bc\"]"),
            ("a2", b"a\0", "[0=>''a\0'']"),
            ("Z3a", b"a\0bc", "[0=>\"a\",1=>\"c\"]"),
            ("Z*Z*", b"ab\0cd", "[0=>\"ab\",1=>\"cd\"]"),
            ("Z*a*", b"", "[0=>\"\",1=>\"\"]"),
            ("H3H*", b"\x1f\xa5\xff", "[0=>\"1fa\",1=>\"ff\"]"),
            ("cC", b"\xff\xff", "[0=>-1,1=>255]"),
            (
                "nvN",
                b"\x01\x02\x01\x02\xff\xff\xff\xfe",
                "[0=>258,1=>513,2=>4294967294]",
            ),
            ("V*a*", b"\x01\0\0\0\x02\0\0\0xy", "[0=>1,1=>2,2=>\"xy\"]"),
            (
                "eE",
                b"\0\0\0\0\0\0\xf0\x3f\x3f\xf0\0\0\0\0\0\0",
                "[0=>1,1=>1]",
            ),
            ("x2C", b"abc", "[0=>99]"),
            ("x*a*", b"abc", "[0=>\"\"]"),
            ("C0", b"", "[]"),
            ("", b"abc", "[]"),
        ] {
            assert_eq!(values(format, data), expected, "{format}");
        }
        for (format, data) in [
            ("a2", &b"a"[..]),
            ("Z2", b"a"),
            ("H3", b"a"),
            ("C2", b"a"),
            ("N", b"abc"),
            ("x4", b"abc"),
            ("q", b"abc"),
            ("C C", b"abc"),
            ("C99999999999999999999", b"abc"),
        ] {
            assert_eq!(values(format, data), "none", "{format}");
        }
    }

    proptest! {
        #[test]
        fn what_is_packed_unpacks(text in prop::collection::vec(1_u8.., 0..30), byte: u8, short: u16, long: u32, double: f64) {
            prop_assume!(!double.is_nan());
            let args = [
                Value::bytes(&text), f64::from(byte).into(), f64::from(short).into(), f64::from(short).into(),
                f64::from(long).into(), f64::from(long).into(), double.into(), double.into(), Value::bytes(&text),
            ];
            let data = bytes("Z*CnvNVeEa*", &args).unwrap();
            let list = Value::from(unpacked(b"Z*CnvNVeEa*", &data).unwrap());
            let all = Value::from(Array::from_list(args.to_vec()));
            prop_assert!(angarium_runtime::convert::strict_equal(&list, &all));
        }

        #[test]
        fn any_format_reads_any_bytes_or_refuses(format in "[aZHcCnNvVeEx*0-9 ]{0,12}", data in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = unpacked(format.as_bytes(), &data);
        }
    }
}
