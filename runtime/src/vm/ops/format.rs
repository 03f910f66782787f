//! The string format operator (language.md 6.4).

use std::collections::VecDeque;

use smallvec::SmallVec;

use crate::convert::{to_integer, to_number, write_number};
use crate::native::{Cx, Throw};
use crate::pieces::{self, LARGE_BYTES, LongText, PIECE_BYTES, Work};
use crate::string::Str;
use crate::value::Value;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Align {
    Left,
    Right,
    Centre,
    /// Right, but after the sign.
    Sign,
}

/// A directive, as written.
struct Directive {
    argument: Option<usize>,
    fill: u8,
    align: Option<Align>,
    width: usize,
    precision: Option<usize>,
    kind: u8,
}

/// `template % values`
pub(in crate::vm) fn format(
    template: &Str,
    values: &Value,
    cx: &mut Cx<'_>,
) -> Result<Value, Throw> {
    let operands = [&Value::String(template.clone()), values];
    if let Some(text) = pieces::prepared(cx, Work::Format, &operands) {
        return Ok(text);
    }
    let mut formatting = Formatting {
        list: values
            .as_array()
            .map(|view| view.values().collect())
            .unwrap_or_default(),
        out: LongText::default(),
        next: 0,
        at: 0,
        long: VecDeque::new(),
    };
    cx.charge(formatting.list.len() + template.len() / 16);
    formatting
        .out
        .part
        .reserve(template.len().min(LARGE_BYTES) + 16);
    let mut whole = formatting.go_on(template.as_bytes(), cx)?;
    if whole && let Some(text) = formatting.out.finish(cx) {
        return Ok(text);
    }
    let template = template.clone();
    let rest = move |cx: &mut Cx<'_>| {
        if whole {
            return Ok(formatting.out.finish(cx));
        }
        whole = formatting.go_on(template.as_bytes(), cx)?;
        Ok(None)
    };
    Err(pieces::prepare(Work::Format, &operands, rest))
}

/// A text that is being made.
struct Formatting {
    list: Vec<Value>,
    out: LongText,
    /// The value of the next directive.
    next: usize,
    /// How far the template was read.
    at: usize,
    /// What is long of the last directive and not written yet.
    long: VecDeque<Part>,
}

/// A part of what a directive writes.
enum Part {
    /// The bytes of a text from one position to another.
    Text(Str, usize, usize),
    /// A byte so many times.
    Fill(u8, usize),
}

impl Part {
    fn len(&self) -> usize {
        match self {
            Part::Text(_, from, to) => to - from,
            Part::Fill(_, count) => *count,
        }
    }

    /// Writes up to `most` bytes of it.
    fn write(&mut self, out: &mut Vec<u8>, most: usize) {
        let count = self.len().min(most);
        match self {
            Part::Text(text, from, _) => {
                let end = *from + count;
                out.extend_from_slice(text.as_bytes().get(*from..end).unwrap_or_default());
                *from = end;
            }
            Part::Fill(byte, left) => {
                out.extend(std::iter::repeat_n(*byte, count));
                *left -= count;
            }
        }
    }
}

impl Formatting {
    /// Does a piece of it; whether the text is whole.
    fn go_on(&mut self, template: &[u8], cx: &mut Cx<'_>) -> Result<bool, Throw> {
        let start = self.out.len();
        let part = template.len().min(self.at + PIECE_BYTES);
        while self.out.len() - start < PIECE_BYTES {
            if let Some(part) = self.long.front_mut() {
                let before = self.out.part.len();
                part.write(&mut self.out.part, PIECE_BYTES);
                cx.charge((self.out.part.len() - before) / 32);
                if part.len() == 0 {
                    self.long.pop_front();
                }
                self.out.step(cx)?;
                continue;
            }
            let rest = template.get(self.at..part).unwrap_or_default();
            let Some(offset) = memchr::memchr(b'%', rest) else {
                cx.append(&mut self.out.part, rest)?;
                self.at += rest.len();
                return Ok(self.at >= template.len());
            };
            let before = rest.get(..offset).unwrap_or_default();
            self.out.part.extend_from_slice(before);
            self.at += offset;
            self.directive(template, cx)?;
        }
        Ok(false)
    }

    /// Does the directive at the place that was read to. If that ends early, because the text of a value is made in pieces,
    /// everything is as it was.
    fn directive(&mut self, template: &[u8], cx: &mut Cx<'_>) -> Result<(), Throw> {
        let mut at = self.at + 1;
        if template.get(at) == Some(&b'%') {
            self.out.part.push(b'%');
            self.at = at + 1;
            return Ok(());
        }
        let directive = parse(template, &mut at)?;
        let index = directive.argument.unwrap_or(self.next);
        let Some(value) = self.list.get(index) else {
            return Err(Throw::error(format!("format: value {index} is missing")));
        };
        let most = directive
            .width
            .saturating_add(directive.precision.unwrap_or(0));
        cx.fits(self.out.len().saturating_add(most))?;
        let parts = parts(&directive, value, cx)?;
        (self.at, self.next) = (at, index.saturating_add(1));
        cx.charge(4);
        if parts.iter().map(Part::len).sum::<usize>() > PIECE_BYTES {
            self.long.extend(parts);
            return Ok(());
        }
        let before = self.out.part.len();
        for mut part in parts {
            part.write(&mut self.out.part, PIECE_BYTES);
        }
        cx.charge((self.out.part.len() - before) / 32);
        self.out.step(cx)
    }
}

fn parse(template: &[u8], at: &mut usize) -> Result<Directive, Throw> {
    let peek = |at: usize| template.get(at).copied();
    let mut argument = None;
    if peek(*at) == Some(b'[') {
        *at += 1;
        argument = Some(
            digits(template, at)
                .ok_or_else(|| Throw::error("format: digits expected after `%[`"))?,
        );
        if peek(*at) != Some(b']') {
            return Err(Throw::error("format: `]` expected"));
        }
        *at += 1;
    }
    let mut fill = b' ';
    if peek(*at) == Some(b'\'') {
        fill = peek(*at + 1).ok_or_else(|| Throw::error("format: fill byte expected after `'`"))?;
        *at += 2;
    }
    let align = match peek(*at) {
        Some(b'<') => Some(Align::Left),
        Some(b'>') => Some(Align::Right),
        Some(b'^') => Some(Align::Centre),
        Some(b'=') => Some(Align::Sign),
        _ => None,
    };
    *at += usize::from(align.is_some());
    let width = digits(template, at).unwrap_or(0);
    let mut precision = None;
    if peek(*at) == Some(b'.') {
        *at += 1;
        precision = Some(
            digits(template, at)
                .ok_or_else(|| Throw::error("format: digits expected after `.`"))?,
        );
    }
    let kind = peek(*at).filter(|kind| b"sfxcb".contains(kind));
    let Some(kind) = kind else {
        let found = peek(*at).map_or_else(
            || "the end".to_owned(),
            |byte| format!("`{}`", byte.escape_ascii()),
        );
        return Err(Throw::error(format!(
            "format: unknown directive, found {found}"
        )));
    };
    *at += 1;
    Ok(Directive {
        argument,
        fill,
        align,
        width,
        precision,
        kind,
    })
}

fn digits(template: &[u8], at: &mut usize) -> Option<usize> {
    let start = *at;
    let mut number: usize = 0;
    while let Some(digit) = template.get(*at).filter(|byte| byte.is_ascii_digit()) {
        number = number
            .saturating_mul(10)
            .saturating_add(usize::from(digit - b'0'));
        *at += 1;
    }
    (*at > start).then_some(number)
}

/// What a directive writes.
fn parts(
    directive: &Directive,
    value: &Value,
    cx: &mut Cx<'_>,
) -> Result<SmallVec<[Part; 5]>, Throw> {
    let mut number = Vec::new();
    let mut zeros = 0;
    let whole = match directive.kind {
        b's' => Some(super::text(value, cx)?),
        _ => None,
    };
    match directive.kind {
        b's' => {}
        b'f' => match directive.precision {
            Some(precision) => {
                let number_value = to_number(value);
                // No double has more decimals: what follows is zeros.
                let decimals = precision.min(DECIMALS);
                fixed(&mut number, number_value, decimals);
                if number_value.is_finite() {
                    zeros = precision - decimals;
                }
            }
            None => write_number(&mut number, to_number(value)),
        },
        b'x' => integer(&mut number, to_integer(value), 16),
        b'b' => integer(&mut number, to_integer(value), 2),
        _ => number.push(to_integer(value).rem_euclid(256) as u8),
    }
    let text = whole.unwrap_or_else(|| Str::from_vec(number));
    let most = match directive.kind {
        b's' => directive.precision.unwrap_or(usize::MAX),
        _ => usize::MAX,
    };
    let end = text.len().min(most);
    let default = if matches!(directive.kind, b's' | b'c') {
        Align::Left
    } else {
        Align::Right
    };
    let pad = directive.width.saturating_sub(end + zeros);
    let mut sign = 0;
    let (before, after) = match directive.align.unwrap_or(default) {
        Align::Left => (0, pad),
        Align::Centre => (pad / 2, pad - pad / 2),
        Align::Sign
            if matches!(directive.kind, b'f' | b'x' | b'b')
                && text.as_bytes().starts_with(b"-") =>
        {
            sign = 1;
            (pad, 0)
        }
        Align::Right | Align::Sign => (pad, 0),
    };
    Ok(SmallVec::from_buf([
        Part::Text(text.clone(), 0, sign),
        Part::Fill(directive.fill, before),
        Part::Text(text, sign, end),
        Part::Fill(b'0', zeros),
        Part::Fill(directive.fill, after),
    ]))
}

fn integer(text: &mut Vec<u8>, number: i64, radix: u32) {
    let magnitude = number.unsigned_abs();
    if number < 0 {
        text.push(b'-');
    }
    let digits = if radix == 16 {
        format!("{magnitude:x}")
    } else {
        format!("{magnitude:b}")
    };
    text.extend_from_slice(digits.as_bytes());
}

/// No double has more decimals.
const DECIMALS: usize = 1074;

/// An exact number of decimals, rounded half away from zero.
///
/// Rust prints the exact decimal expansion of a double; rounding that text is right for every number.
fn fixed(text: &mut Vec<u8>, number: f64, precision: usize) {
    if !number.is_finite() {
        write_number(text, number);
        return;
    }
    // What follows is zeros.
    let digits = precision.min(DECIMALS);
    let exact = format!("{:.1074}", number.abs());
    let point = exact.len() - DECIMALS;
    let keep = point + digits;
    let mut kept: Vec<u8> = exact.as_bytes()[..keep].to_vec();
    if exact
        .as_bytes()
        .get(keep)
        .is_some_and(|digit| *digit >= b'5')
    {
        let mut at = kept.len();
        loop {
            if at == 0 {
                kept.insert(0, b'1');
                break;
            }
            at -= 1;
            match kept[at] {
                b'.' => {}
                b'9' => kept[at] = b'0',
                _ => {
                    kept[at] += 1;
                    break;
                }
            }
        }
    }
    if precision == 0 {
        kept.pop_if(|byte| *byte == b'.');
    }
    // Minus zero prints as zero, and so does what rounds to it.
    if number < 0.0 && kept.iter().any(|byte| (b'1'..=b'9').contains(byte)) {
        text.push(b'-');
    }
    text.extend_from_slice(&kept);
    text.extend(std::iter::repeat_n(b'0', precision - digits));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_rounded_half_away_from_zero() {
        for (number, precision, expected) in [
            (0.5, 0, "1"),
            (1.5, 0, "2"),
            (2.5, 0, "3"),
            (-2.5, 0, "-3"),
            (0.125, 2, "0.13"),
            (1.005, 2, "1.00"),
            (9.995, 2, "9.99"),
            (9.999, 2, "10.00"),
            (-0.001, 2, "0.00"),
            (1e21, 1, "1000000000000000000000.0"),
            (0.1, 20, "0.10000000000000000555"),
        ] {
            let mut text = Vec::new();
            fixed(&mut text, number, precision);
            assert_eq!(
                String::from_utf8(text).unwrap(),
                expected,
                "{number} with {precision}"
            );
        }
    }
}
