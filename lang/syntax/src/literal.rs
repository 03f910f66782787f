//! The insides of literals: numbers, escapes and interpolation (language, 1.4 and 1.5).
//!
//! The lexer uses it to find errors, the tree builder to get values.

use std::borrow::Cow;

/// What is wrong with a literal: a range of offsets from its start, a message, a hint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LiteralError {
    pub start: usize,
    pub end: usize,
    pub message: Cow<'static, str>,
    pub hint: Option<Cow<'static, str>>,
}

/// The length of the number at the start of `text`, which starts with a digit, and what is wrong with it.
pub(crate) fn scan_number(text: &[u8]) -> (usize, Option<LiteralError>) {
    if let [b'0', base @ (b'x' | b'o' | b'b'), rest @ ..] = text {
        let (base, name) = match base {
            b'x' => (16, "hexadecimal"),
            b'o' => (8, "octal"),
            _ => (2, "binary"),
        };
        let digits = word(rest);
        return (
            2 + digits,
            check_digits(rest.get(..digits).unwrap_or_default(), 2, base, name),
        );
    }
    let mut len = digits_and_separators(text);
    let mut error = check_digits(text.get(..len).unwrap_or_default(), 0, 10, "decimal");
    let mut points = 0;
    while let [b'.', b'0'..=b'9', ..] = text.get(len..).unwrap_or_default() {
        let start = len + 1;
        len = start + digits_and_separators(text.get(start..).unwrap_or_default());
        points += 1;
        error = error.or_else(|| {
            check_digits(
                text.get(start..len).unwrap_or_default(),
                start,
                10,
                "decimal",
            )
        });
    }
    if points > 1 && error.is_none() {
        error = problem(
            0,
            len,
            "a number has at most one decimal point",
            "put spaces around `.` to join two numbers as text",
        );
    }
    let suffix = word(text.get(len..).unwrap_or_default());
    if suffix > 0 && error.is_none() {
        let tail = text.get(len..len + suffix).unwrap_or_default();
        let digits_follow = text.get(len + suffix..).unwrap_or_default().first();
        let exponent = matches!(tail.first(), Some(b'e' | b'E'))
            && (tail
                .get(1..)
                .unwrap_or_default()
                .iter()
                .all(u8::is_ascii_digit))
            && (tail.len() > 1 || matches!(digits_follow, Some(b'+' | b'-')));
        error = if exponent {
            problem(
                0,
                len + suffix,
                "a number cannot have an exponent",
                "write the digits out, or multiply by a power: `5 * 10 ** 3`",
            )
        } else {
            problem(
                len,
                len + suffix,
                "a letter follows the number directly",
                "a name cannot start with a digit; put a space or an operator between them",
            )
        };
    }
    (len + suffix, error)
}

fn word(text: &[u8]) -> usize {
    text.iter()
        .take_while(|b| b.is_ascii_alphanumeric() || **b == b'_')
        .count()
}

fn digits_and_separators(text: &[u8]) -> usize {
    text.iter()
        .take_while(|b| b.is_ascii_digit() || **b == b'_')
        .count()
}

fn problem(
    start: usize,
    end: usize,
    message: impl Into<Cow<'static, str>>,
    hint: impl Into<Cow<'static, str>>,
) -> Option<LiteralError> {
    Some(LiteralError {
        start,
        end,
        message: message.into(),
        hint: Some(hint.into()),
    })
}

fn check_digits(
    digits: &[u8],
    offset: usize,
    base: u32,
    name: &'static str,
) -> Option<LiteralError> {
    if digits.is_empty() {
        return problem(
            0,
            offset,
            format!("{name} digits are missing"),
            "write at least one digit after the prefix",
        );
    }
    if let Some(at) = digits
        .iter()
        .position(|b| *b != b'_' && !char::from(*b).is_digit(base))
    {
        let digit = digits.get(at).copied().map(char::from).unwrap_or_default();
        return Some(LiteralError {
            start: offset + at,
            end: offset + at + 1,
            message: format!("`{digit}` is not a {name} digit").into(),
            hint: None,
        });
    }
    let separated = digits.split(|b| *b == b'_').all(|group| !group.is_empty());
    if separated {
        return None;
    }
    problem(
        offset,
        offset + digits.len(),
        "`_` may stand only between two digits of a number",
        "remove the `_`",
    )
}

/// The value of a number that [`scan_number`] found no fault with.
pub(crate) fn number_value(text: &[u8]) -> f64 {
    let base = match text {
        [b'0', b'x', ..] => 4,
        [b'0', b'o', ..] => 3,
        [b'0', b'b', ..] => 1,
        _ => {
            let digits: String = text
                .iter()
                .filter(|b| **b != b'_')
                .map(|b| char::from(*b))
                .collect();
            return digits.parse().unwrap_or(0.0);
        }
    };
    let digits = text
        .iter()
        .skip(2)
        .filter_map(|b| char::from(*b).to_digit(16));
    power_of_two_value(digits, base)
}

/// The double nearest to the number with these digits of `bits` bits each.
fn power_of_two_value(digits: impl Iterator<Item = u32>, bits: u32) -> f64 {
    // 64 leading bits decide the result together with "was anything behind them not zero", which goes
    // into the last bit: a double has 53, so that bit only breaks ties.
    let mut head: u64 = 0;
    let mut exponent: i32 = 0;
    for digit in digits {
        for bit in (0..bits).rev() {
            let bit = u64::from(digit >> bit & 1);
            if head >> 63 == 0 {
                head = head << 1 | bit;
            } else {
                head |= bit;
                exponent = exponent.saturating_add(1);
            }
        }
    }
    #[allow(
        clippy::cast_precision_loss,
        reason = "rounding to the nearest double is what is asked for"
    )]
    let head = head as f64;
    head * 2_f64.powi(exponent)
}

/// A piece of the inside of a double-quoted string.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    /// Bytes that stand for themselves.
    Text(&'a [u8]),
    /// The byte that an escape stands for.
    Byte(u8),
    /// `$name` or `${name}`: the name, and the range of the whole.
    Variable {
        name: &'a [u8],
        start: usize,
        end: usize,
    },
    /// Something wrong.
    Error(LiteralError),
}

/// Splits the inside of a double-quoted string; offsets count from the start of `text`.
pub(crate) fn pieces(text: &[u8]) -> Pieces<'_> {
    Pieces { text, at: 0 }
}

pub(crate) struct Pieces<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Iterator for Pieces<'a> {
    type Item = Piece<'a>;

    fn next(&mut self) -> Option<Piece<'a>> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let (len, piece) = match rest {
            [] => return None,
            [b'\\', ..] => escape(rest, self.at),
            [b'$', after @ ..] => dollar(after, self.at),
            _ => plain(rest, 0),
        };
        self.at += len;
        Some(piece)
    }
}

/// Text up to the next backslash or dollar sign, at least `skip` bytes.
fn plain(rest: &[u8], skip: usize) -> (usize, Piece<'_>) {
    let tail = rest.get(skip..).unwrap_or_default();
    let len = memchr::memchr2(b'\\', b'$', tail).map_or(rest.len(), |at| at + skip);
    (len, Piece::Text(rest.get(..len).unwrap_or_default()))
}

fn escape(rest: &[u8], at: usize) -> (usize, Piece<'_>) {
    let byte = match rest.get(1) {
        Some(b'\\') => b'\\',
        Some(b'"') => b'"',
        Some(b'$') => b'$',
        Some(b'n') => b'\n',
        Some(b'r') => b'\r',
        Some(b't') => b'\t',
        Some(b'x') => {
            let digit = |index: usize| rest.get(index).and_then(|b| char::from(*b).to_digit(16));
            return match (digit(2), digit(3)) {
                (Some(high), Some(low)) => {
                    (4, Piece::Byte(u8::try_from(high * 16 + low).unwrap_or(0)))
                }
                _ => (
                    2,
                    Piece::Error(LiteralError {
                        start: at,
                        end: at + 2,
                        message: "unknown escape: `\\x` needs exactly two hexadecimal digits"
                            .into(),
                        hint: Some("write for example `\\x0a`".into()),
                    }),
                ),
            };
        }
        other => {
            // The whole character, so that what follows is not cut in the middle of it.
            let shown = match other {
                Some(b) if b.is_ascii_graphic() => format!("unknown escape `\\{}`", char::from(*b)),
                _ => "unknown escape".to_owned(),
            };
            let len = 1 + usize::from(other.is_some());
            return (len, Piece::Error(LiteralError {
                start: at,
                end: at + len,
                message: shown.into(),
                hint: Some("known are \\\\ \\\" \\$ \\n \\r \\t \\xhh; write `\\\\` for a backslash, or use a raw string ''…''".into()),
            }));
        }
    };
    (2, Piece::Byte(byte))
}

/// `after` is what follows a `$` at offset `at`.
fn dollar(after: &[u8], at: usize) -> (usize, Piece<'_>) {
    if let [b'{', inner @ ..] = after {
        let len = name_len(inner);
        if len > 0 && inner.get(len) == Some(&b'}') {
            let name = inner.get(..len).unwrap_or_default();
            return (
                len + 3,
                Piece::Variable {
                    name,
                    start: at,
                    end: at + len + 3,
                },
            );
        }
        return (2, Piece::Error(LiteralError {
            start: at,
            end: at + 2,
            message: "`${` must be followed by the name of a variable and `}`".into(),
            hint: Some("only a plain variable can be inserted; write `\\${` for the text, or join strings with `.`".into()),
        }));
    }
    let len = name_len(after);
    if len == 0 {
        return (1, Piece::Text(b"$"));
    }
    let name = after.get(..len).unwrap_or_default();
    (
        len + 1,
        Piece::Variable {
            name,
            start: at,
            end: at + len + 1,
        },
    )
}

/// The length of the name at the start of `text`, 0 if there is none.
pub(crate) fn name_len(text: &[u8]) -> usize {
    if text
        .first()
        .is_some_and(|b| b.is_ascii_alphabetic() || *b == b'_')
    {
        word(text)
    } else {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Result<f64, String> {
        let (len, error) = scan_number(text.as_bytes());
        assert_eq!(len, text.len(), "{text}");
        error.map_or_else(
            || Ok(number_value(text.as_bytes())),
            |error| Err(error.message.into_owned()),
        )
    }

    #[test]
    fn every_base_has_its_value() {
        for (text, value) in [
            ("0", 0.0),
            ("007", 7.0),
            ("1_000", 1000.0),
            ("3.25", 3.25),
            ("1_0.0_5", 10.05),
            ("0xfF", 255.0),
            ("0xff_ff", 65535.0),
            ("0o17", 15.0),
            ("0b1010", 10.0),
            ("0b1_1", 3.0),
        ] {
            assert_eq!(number(text), Ok(value), "{text}");
        }
    }

    #[test]
    fn big_numbers_round_to_the_nearest_double() {
        assert_eq!(number("9007199254740993"), Ok(9_007_199_254_740_992.0));
        assert_eq!(number("0x20000000000001"), Ok(9_007_199_254_740_992.0));
        assert_eq!(number("0x20000000000003"), Ok(9_007_199_254_740_996.0));
        assert_eq!(
            number("0x10000000000000000"),
            Ok(18_446_744_073_709_551_616.0)
        );
        // A tie in the first 64 bits that a far digit breaks.
        assert_eq!(
            number("0x200000000000010000000000001"),
            Ok(2_f64.powi(105) * (1.0 + 2_f64.powi(-52)))
        );
        assert_eq!(number(&format!("0x{}", "f".repeat(400))), Ok(f64::INFINITY));
    }

    #[test]
    fn malformed_numbers_are_errors() {
        for text in [
            "1e3", "1E5", "1.5e2", "1_", "1__0", "1_.5", "1.2.3", "1.2.3.4", "5x", "5_x", "0x",
            "0xg", "0b2", "0o8", "0b", "0x_1", "0x1_", "1.5_", "0X1",
        ] {
            let (_, error) = scan_number(text.as_bytes());
            assert!(error.is_some(), "{text}");
        }
    }

    #[test]
    fn a_point_belongs_to_a_number_only_before_a_digit() {
        assert_eq!(scan_number(b"5.\"b\""), (1, None));
        assert_eq!(scan_number(b"5."), (1, None));
        assert_eq!(scan_number(b"1.0 . 2"), (3, None));
    }

    #[test]
    fn escapes_and_variables_are_found() {
        use Piece::{Byte, Text, Variable};
        let all: Vec<Piece<'_>> = pieces(br"a\n\x41$x1-${y}$5$\$z$").collect();
        assert_eq!(
            all,
            vec![
                Text(b"a"),
                Byte(b'\n'),
                Byte(b'A'),
                Variable {
                    name: b"x1",
                    start: 7,
                    end: 10
                },
                Text(b"-"),
                Variable {
                    name: b"y",
                    start: 11,
                    end: 15
                },
                Text(b"$"),
                Text(b"5"),
                Text(b"$"),
                Byte(b'$'),
                Text(b"z"),
                Text(b"$"),
            ]
        );
    }

    #[test]
    fn bad_escapes_are_errors() {
        for text in [
            r"\q", r"\x4", r"\xzz", r"\", r"${", r"${}", r"${1}", r"${a", r"${a.b}", r"\'", r"\0",
        ] {
            assert!(
                pieces(text.as_bytes()).any(|piece| matches!(piece, Piece::Error(_))),
                "{text}"
            );
        }
    }
}
