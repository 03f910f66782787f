//! Reading the number that a long text spells (language.md 4.1), a piece at a time.
//!
//! No digit behind the 800th changes the nearest double, but that any of them is not 0 may break a tie. So what is read is kept in
//! short: the first digits, whether others followed, where the point is and the exponent.

/// Digits that count.
const KEPT: usize = 800;
/// An exponent that is larger than all that matters.
const MOST: i64 = 1 << 40;

/// Where the reading is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Start,
    Whole,
    Fraction,
    /// Behind the `e`.
    Sign,
    Exponent,
    Hex,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct NumberText {
    at: usize,
    stage: Stage,
    negative: bool,
    /// Whether there was a digit, of the number or of its exponent.
    some: bool,
    /// The first digits from the first one on that is not 0.
    digits: Vec<u8>,
    /// Whether another one that is not 0 followed.
    cut: bool,
    /// Digits before the point; below 0: zeros behind it. Of hexadecimal digits those that follow the kept ones.
    point: i64,
    exponent: i64,
    exponent_is_negative: bool,
}

/// How many bytes at the start of `text` are of a kind; many are looked at at once.
fn run(text: &[u8], is: impl Fn(&u8) -> bool) -> usize {
    let chunks = text.chunks_exact(64);
    let whole = chunks.take_while(|chunk| chunk.iter().fold(true, |all, byte| all & is(byte)));
    let at = whole.count() * 64;
    let rest = text.get(at..).unwrap_or_default();
    at + rest.iter().take_while(|byte| is(byte)).count()
}

impl NumberText {
    /// Reads up to `most` bytes more of `text`, which is the same each time. At the end, or where no number goes on: the number
    /// that the whole text spells, if it is one.
    pub(crate) fn go_on(&mut self, text: &[u8], most: usize) -> Option<Option<f64>> {
        let end = text.len().min(self.at.saturating_add(most));
        loop {
            let rest = text.get(self.at..end).unwrap_or_default();
            if self.stage == Stage::Start {
                self.start(text);
                continue;
            }
            let Some(next) = rest.first() else {
                return (end == text.len()).then(|| self.number());
            };
            let count = match self.stage {
                Stage::Hex => run(rest, u8::is_ascii_hexdigit),
                Stage::Sign => 0,
                _ => run(rest, u8::is_ascii_digit),
            };
            if count > 0 {
                self.some = true;
                self.take(rest.get(..count).unwrap_or_default());
                self.at += count;
                continue;
            }
            match (self.stage, next) {
                (Stage::Whole, b'.') => self.stage = Stage::Fraction,
                (Stage::Whole | Stage::Fraction, b'e' | b'E') if self.some => {
                    (self.stage, self.some) = (Stage::Sign, false);
                }
                (Stage::Sign, b'+' | b'-') => {
                    self.exponent_is_negative = *next == b'-';
                    self.stage = Stage::Exponent;
                }
                (Stage::Sign, _) => {
                    self.stage = Stage::Exponent;
                    continue;
                }
                _ => return Some(None),
            }
            self.at += 1;
        }
    }

    /// The sign, and whether the digits are hexadecimal.
    fn start(&mut self, text: &[u8]) {
        self.negative = text.first() == Some(&b'-');
        self.at = usize::from(matches!(text.first(), Some(b'-' | b'+')));
        self.stage = if text
            .get(self.at..)
            .is_some_and(|rest| rest.starts_with(b"0x"))
        {
            self.at += 2;
            Stage::Hex
        } else {
            Stage::Whole
        };
    }

    fn take(&mut self, digits: &[u8]) {
        if self.stage == Stage::Exponent {
            for digit in digits {
                self.exponent = (self.exponent * 10 + i64::from(digit - b'0')).min(MOST);
            }
            return;
        }
        let zeros = if self.digits.is_empty() {
            run(digits, |digit| *digit == b'0')
        } else {
            0
        };
        let length = |count: usize| i64::try_from(count).unwrap_or(MOST);
        let significant = digits.get(zeros..).unwrap_or_default();
        let kept = if self.stage == Stage::Hex { 16 } else { KEPT };
        let room = kept - self.digits.len();
        let (head, tail) = significant.split_at(significant.len().min(room));
        self.digits.extend_from_slice(head);
        self.cut |= run(tail, |digit| *digit == b'0') < tail.len();
        match self.stage {
            Stage::Whole => self.point += length(significant.len()),
            Stage::Hex => self.point += length(tail.len()),
            _ => self.point -= length(zeros),
        }
    }

    /// The number that was read.
    fn number(&self) -> Option<f64> {
        if !self.some {
            return None;
        }
        let sign = if self.negative { -1.0 } else { 1.0 };
        if self.stage == Stage::Hex {
            let digit = |digit: &u8| u64::from(char::from(*digit).to_digit(16).unwrap_or(0));
            let mantissa = self.digits.iter();
            let mantissa = mantissa.fold(0_u64, |sum, next| (sum << 4) | digit(next));
            // What was cut off must still break a tie: the low bit is far below the 53 kept ones.
            let mantissa = mantissa | u64::from(self.cut);
            let scale = i32::try_from(self.point.saturating_mul(4)).unwrap_or(i32::MAX);
            return Some(sign * (mantissa as f64 * 2_f64.powi(scale)));
        }
        if self.digits.is_empty() {
            return Some(sign * 0.0);
        }
        let mut text = String::from_utf8(self.digits.clone()).ok()?;
        if self.cut {
            text.push('1');
        }
        let exponent = if self.exponent_is_negative {
            -self.exponent
        } else {
            self.exponent
        };
        let exponent = self.point - i64::try_from(text.len()).ok()? + exponent;
        text.push_str(&format!("e{exponent}"));
        Some(sign * text.parse::<f64>().ok()?)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::NumberText;
    use crate::convert::parse_number;

    /// The number of a text, read so many bytes at a time.
    fn read(text: &str, most: usize) -> Option<f64> {
        let mut reader = NumberText::default();
        loop {
            if let Some(number) = reader.go_on(text.as_bytes(), most) {
                return number;
            }
        }
    }

    fn bits(number: Option<f64>) -> Option<u64> {
        number.map(f64::to_bits)
    }

    #[test]
    fn short_texts_are_read_as_ever_in_pieces_of_every_length() {
        for text in [
            "",
            "-",
            "+",
            ".",
            "0",
            "-0",
            "+5",
            "5.",
            ".5",
            "1e",
            "1e+",
            "e5",
            ".e5",
            "1.5e3",
            "1e-400",
            "-1e400",
            "0x",
            "0xfF",
            "-0x10",
            "0xg",
            "0x123456789abcdef01",
            "1.2.3",
            "1 ",
            " 1",
            "000123.4500",
            "0.000e5",
            "1e0000000000000000005",
            "1e99999999999999999999",
            "--1",
            "1e+-5",
            "9007199254740993",
            "0x20000000000001000000000000001",
            "0x1.5",
            "1x",
        ] {
            for most in [1, 2, 3, 100] {
                let expected = bits(parse_number(text.as_bytes()));
                assert_eq!(bits(read(text, most)), expected, "{text:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn texts_are_read_as_ever(text in "[+-]?[0-9]{0,30}\\.?[0-9]{0,30}([eE][+-]?[0-9]{0,3})?", most in 1..20_usize) {
            prop_assert_eq!(bits(read(&text, most)), bits(parse_number(text.as_bytes())));
        }

        #[test]
        fn long_texts_are_the_nearest_double(
            zeros in 0..50_usize, head in "[0-9]{700,900}", middle in "0{0,3000}", tail in "[0-9]{0,5}",
            point in 0..4000_usize, exponent in -4000..400_i32,
        ) {
            let mut digits = format!("{}{head}{middle}{tail}", "0".repeat(zeros));
            digits.insert(point.min(digits.len()), '.');
            let text = format!("{digits}e{exponent}");
            // Rust reads all digits.
            let expected: f64 = text.parse().unwrap();
            prop_assert_eq!(read(&text, 64), Some(expected));
        }
    }
}
