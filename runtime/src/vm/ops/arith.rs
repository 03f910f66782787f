//! Arithmetic, concatenation and bitwise operators by operand types (language.md 6.2, 6.5, 7.5).

use angarium_lang::bytecode::PathOp;

use super::{difference, format, is_long_text, number, room, unsupported, writable};
use crate::array::{Array, Key};
use crate::convert::{exact_u32, to_int32, to_number};
use crate::native::{Cx, Throw};
use crate::pieces::{self, Keys, LARGE_BYTES, LARGE_ENTRIES, PIECE_ENTRIES, Pieces, Work};
use crate::string::Str;
use crate::value::Value;

/// slot := slot op right, in place where the slot is the only holder. On an error the slot is as it was.
pub(in crate::vm) fn update(
    slot: &mut Value,
    op: PathOp,
    right: &Value,
    cx: &mut Cx<'_>,
) -> Result<(), Throw> {
    if (is_long_text(slot) || is_long_text(right)) && reads_numbers(op, slot, right) {
        let mut read = |value: &Value| -> Result<Value, Throw> {
            match value {
                Value::String(_) => Ok(Value::Number(to_number(&number(value, cx)?))),
                other => Ok(other.clone()),
            }
        };
        let (mut left, right) = (read(slot)?, read(right)?);
        update(&mut left, op, &right, cx)?;
        *slot = left;
        return Ok(());
    }
    let result = match op {
        PathOp::Add => return add(slot, right, cx),
        PathOp::Concat => return concat(slot, right, cx),
        PathOp::Sub => {
            if matches!(slot, Value::Array(_)) {
                return difference::remove_values(slot, right, cx);
            }
            let (a, b) = scalars(slot, right)?;
            a - b
        }
        PathOp::Mul => return multiply(slot, right, cx),
        PathOp::Div => {
            let (a, b) = scalars(slot, right)?;
            a / b
        }
        PathOp::Rem => {
            if let (Value::String(template), Value::Array(_)) = (&*slot, right) {
                let text = format::format(template, right, cx)?;
                *slot = text;
                return Ok(());
            }
            let (a, b) = scalars(slot, right)?;
            remainder(a, b)
        }
        PathOp::Pow => {
            let (a, b) = scalars(slot, right)?;
            a.powf(b)
        }
        PathOp::BitAnd => f64::from(int(slot) & int(right)),
        PathOp::BitOr => f64::from(int(slot) | int(right)),
        PathOp::BitXor => f64::from(int(slot) ^ int(right)),
        PathOp::Shl => f64::from(int(slot).wrapping_shl(int(right) as u32)),
        PathOp::Shr => f64::from(int(slot).wrapping_shr(int(right) as u32)),
        PathOp::UShr => f64::from((int(slot) as u32).wrapping_shr(int(right) as u32)),
        PathOp::Inc => to_number(slot) + 1.0,
        PathOp::Dec => to_number(slot) - 1.0,
    };
    *slot = Value::Number(result);
    Ok(())
}

/// Whether texts are read as numbers by an operator.
#[cold]
fn reads_numbers(op: PathOp, left: &Value, right: &Value) -> bool {
    let texts = matches!((left, right), (Value::String(_), Value::String(_)));
    match op {
        PathOp::Add | PathOp::Concat => false,
        PathOp::Mul => texts,
        PathOp::Sub | PathOp::Div | PathOp::Rem | PathOp::Pow => {
            texts || is_number(left) || is_number(right)
        }
        _ => true,
    }
}

/// `a % b` with the sign of `a` (C's `fmod`); integers go through the machine's remainder, which is exact too.
#[inline]
pub(in crate::vm) fn remainder(a: f64, b: f64) -> f64 {
    if let (Some(x), Some(y @ 1..)) = (exact_u32(a), exact_u32(b)) {
        return f64::from(x % y);
    }
    remainder_cold(a, b)
}

/// [`remainder`] by a number of the program.
#[inline]
pub(in crate::vm) fn remainder_int(a: f64, b: i32) -> f64 {
    if let (Some(x), y @ 1..) = (exact_u32(a), b) {
        return f64::from(x % y.unsigned_abs());
    }
    remainder_cold(a, f64::from(b))
}

#[inline(never)]
fn remainder_cold(a: f64, b: f64) -> f64 {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let (x, y) = (a as i64, b as i64);
    if x as f64 == a && y as f64 == b && y != 0 && a.abs() < EXACT && b.abs() < EXACT && x > 0 {
        return (x % y) as f64;
    }
    a % b
}

fn int(value: &Value) -> i32 {
    to_int32(to_number(value))
}

/// Both operands as numbers, if they are scalars.
fn scalars(a: &Value, b: &Value) -> Result<(f64, f64), Throw> {
    if is_scalar(a) && is_scalar(b) {
        Ok((to_number(a), to_number(b)))
    } else {
        Err(unsupported())
    }
}

fn is_scalar(value: &Value) -> bool {
    is_number(value) || matches!(value, Value::String(_))
}

/// `N` in the tables of the language: numbers, booleans and none.
fn is_number(value: &Value) -> bool {
    matches!(
        value,
        Value::Number(_) | Value::Boolean(_) | Value::None | Value::Undefined
    )
}

fn add(slot: &mut Value, right: &Value, cx: &mut Cx<'_>) -> Result<(), Throw> {
    match (&*slot, right) {
        (Value::Array(_), Value::Array(_)) => merge(slot, right, cx),
        (Value::Array(_), _) => {
            let Some(array) = writable(slot, cx)? else {
                return Err(unsupported());
            };
            room(array, 1)?;
            array.push(right.clone());
            Ok(())
        }
        (Value::None | Value::Undefined, Value::Array(_)) => {
            *slot = right.clone();
            Ok(())
        }
        (_, Value::Array(_)) => {
            let mut array = Value::from(Array::from_list(vec![slot.clone()]));
            merge(&mut array, right, cx)?;
            *slot = array;
            Ok(())
        }
        (Value::String(_), _) | (_, Value::String(_)) => concat(slot, right, cx),
        (a, b) if is_number(a) && is_number(b) => {
            *slot = Value::Number(to_number(a) + to_number(b));
            Ok(())
        }
        _ => Err(unsupported()),
    }
}

/// slot := slot . right
pub(in crate::vm) fn concat(slot: &mut Value, right: &Value, cx: &mut Cx<'_>) -> Result<(), Throw> {
    if let (Value::String(left), Value::String(right)) = (&mut *slot, right) {
        let total = left.len() + right.len();
        if total > LARGE_BYTES && (right.len() > LARGE_BYTES || !left.has_room(right.len())) {
            return join(slot, right, cx);
        }
        grow(left, right.len(), cx)?;
        left.push(right.as_bytes());
        return Ok(());
    }
    if let (Value::String(left), Value::Number(number)) = (&mut *slot, right)
        && let Some(whole) = crate::convert::whole(*number)
    {
        let mut buffer = itoa::Buffer::new();
        let digits = buffer.format(whole).as_bytes();
        grow(left, digits.len(), cx)?;
        left.push(digits);
        return Ok(());
    }
    let text = super::text(right, cx)?;
    if !matches!(slot, Value::String(_)) {
        let left = super::text(slot, cx)?;
        if left.len() + text.len() > LARGE_BYTES {
            let mut left = Value::String(left);
            join(&mut left, &text, cx)?;
            *slot = left;
            return Ok(());
        }
        *slot = Value::String(left);
    }
    concat(slot, &Value::String(text), cx)
}

/// As [`concat`] where much has to be copied: in pieces.
#[cold]
fn join(slot: &mut Value, right: &Str, cx: &mut Cx<'_>) -> Result<(), Throw> {
    let right = Value::String(right.clone());
    if let Some(joined) = pieces::prepared(cx, Work::Join, &[slot, &right]) {
        *slot = joined;
        return Ok(());
    }
    let (Value::String(left), Value::String(text)) = (&*slot, &right) else {
        return Err(unsupported());
    };
    let total = left.len().saturating_add(text.len());
    cx.fits(total)?;
    // What was appended to is appended to again, as long as there is room for it.
    let capacity = (total * 2).min(crate::string::MAX_STRING).max(total);
    let capacity = if crate::memory::would_exceed(capacity) {
        total
    } else {
        capacity
    };
    let pieces = pieces::join(vec![left.clone(), text.clone()], capacity);
    Err(pieces::prepare(Work::Join, &[slot, &right], pieces))
}

/// Makes sure that `more` bytes can be appended: the limit counts the whole, the charge only what is new.
#[inline]
fn grow(left: &Str, more: usize, cx: &mut Cx<'_>) -> Result<(), Throw> {
    if left.len() + more > crate::string::MAX_STRING {
        return Err(Throw::error("string too long"));
    }
    if more > 64 {
        cx.reserve(more)?;
    }
    // Growing may double the buffer: that is when the budget has to hold both.
    if left.len() > 1 << 16 && crate::memory::would_exceed(left.len()) {
        return Err(Throw::limit("memory"));
    }
    Ok(())
}

/// `A + B`: string keys overwrite or add, integer keys are appended.
fn merge(slot: &mut Value, right: &Value, cx: &mut Cx<'_>) -> Result<(), Throw> {
    let Some(view) = right.as_array() else {
        return Err(unsupported());
    };
    // The right side may be the slot's own array: a copy of the handle keeps it as it was.
    let right = right.clone();
    let count = view.len();
    let kept = slot.as_array().map_or(0, |view| view.len());
    // In place, where that is far less than a copy.
    if count > LARGE_ENTRIES && kept / 8 < count {
        return merge_large(slot, &right, cx);
    }
    cx.reserve_entries(count)?;
    let Some(array) = writable(slot, cx)? else {
        return Err(unsupported());
    };
    room(array, count)?;
    append(array, &right);
    Ok(())
}

/// As [`merge`] with a long right side: in pieces.
#[cold]
fn merge_large(slot: &mut Value, right: &Value, cx: &mut Cx<'_>) -> Result<(), Throw> {
    if let Some(sum) = pieces::prepared(cx, Work::Merge, &[slot, right]) {
        *slot = sum;
        return Ok(());
    }
    let len = |value: &Value| value.as_array().map_or(0, |view| view.len());
    cx.fits_entries(len(slot).saturating_add(len(right)))?;
    let both = [(slot.clone(), Keys::All), (right.clone(), Keys::Named)];
    let sum = pieces::extend(Value::from(Array::new()), both.into());
    Err(pieces::prepare(Work::Merge, &[slot, right], sum))
}

fn append(array: &mut Array, right: &Value) {
    let Some(view) = right.as_array() else { return };
    for (key, value) in view.iter() {
        match key {
            Key::Integer(_) => array.push(value),
            key => array.insert(key, value),
        }
    }
}

fn multiply(slot: &mut Value, right: &Value, cx: &mut Cx<'_>) -> Result<(), Throw> {
    let result = match (&*slot, right) {
        (Value::String(text), count) if is_number(count) => repeat(text, to_number(count), cx)?,
        (count, Value::String(text)) if is_number(count) => repeat(text, to_number(count), cx)?,
        (array @ Value::Array(_), count) if is_number(count) => {
            repeat_array(array, to_number(count), cx)?
        }
        (count, array @ Value::Array(_)) if is_number(count) => {
            repeat_array(array, to_number(count), cx)?
        }
        (a, b) => {
            let (a, b) = scalars(a, b)?;
            Value::Number(a * b)
        }
    };
    *slot = result;
    Ok(())
}

fn repeat(text: &Str, count: f64, cx: &mut Cx<'_>) -> Result<Value, Throw> {
    let count = count as usize;
    let bytes = text.len().saturating_mul(count);
    if bytes == 0 {
        return Ok(Value::from(""));
    }
    if bytes > LARGE_BYTES {
        let operands = [&Value::String(text.clone()), &Value::from(count)];
        return match pieces::prepared(cx, Work::Repeat, &operands) {
            Some(result) => Ok(result),
            None => {
                cx.fits(bytes)?;
                let repeated = pieces::repeat(text, count);
                Err(pieces::prepare(Work::Repeat, &operands, repeated))
            }
        };
    }
    cx.reserve(bytes)?;
    Ok(Value::from(text.as_bytes().repeat(count)))
}

fn repeat_array(value: &Value, count: f64, cx: &mut Cx<'_>) -> Result<Value, Throw> {
    let count = count as usize;
    let Some(view) = value.as_array() else {
        return Err(unsupported());
    };
    if view.is_empty() {
        return Ok(Value::from(Array::new()));
    }
    // String keys occur once: when there are no others, once is enough.
    let integers = view
        .iter()
        .filter(|(key, _)| matches!(key, Key::Integer(_)))
        .count();
    let rounds = if integers == 0 { count.min(1) } else { count };
    let entries = view.len().saturating_mul(rounds);
    if entries > LARGE_ENTRIES {
        let operands = [value, &Value::from(rounds)];
        return match pieces::prepared(cx, Work::Repeat, &operands) {
            Some(result) => Ok(result),
            None => {
                cx.fits_entries(entries)?;
                let repeated = repeat_in_pieces(value.clone(), rounds);
                Err(pieces::prepare(Work::Repeat, &operands, repeated))
            }
        };
    }
    cx.reserve_entries(entries)?;
    let mut array = Array::with_capacity(integers.saturating_mul(rounds));
    for _ in 0..rounds {
        append(&mut array, value);
    }
    Ok(Value::from(array))
}

/// The entries of an array, `rounds` times.
fn repeat_in_pieces(from: Value, rounds: usize) -> impl Pieces {
    let mut array = Array::new();
    let (mut round, mut position) = (0, 0);
    let step = from
        .as_array()
        .map_or(1, |view| view.len())
        .min(PIECE_ENTRIES);
    move |cx: &mut Cx<'_>| {
        let mut work = 0;
        while work < PIECE_ENTRIES {
            if round == rounds {
                return Ok(Some(std::mem::take(&mut array).into()));
            }
            let before = array.len();
            let behind = pieces::walk(&from, position, cx, |key, value| {
                match key {
                    Key::Integer(_) => array.push(value),
                    key => array.insert(key, value),
                }
                Ok(())
            })?;
            // Entries with keys of their own are there already, but looked for.
            work += (array.len() - before).max(step);
            (round, position) = behind.map_or((round + 1, 0), |position| (round, position));
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::remainder;

    #[test]
    fn the_remainder_is_cs_fmod() {
        for (a, b) in [
            (7.5, 2.0),
            (-7.0, 3.0),
            (7.0, -3.0),
            (5.0, 0.0),
            (0.0, 5.0),
            (-0.0, 5.0),
            (1e300, 7.0),
            (6.0, 3.0),
        ] {
            let (ours, c): (f64, f64) = (remainder(a, b), a % b);
            assert!(
                ours.to_bits() == c.to_bits() || (ours.is_nan() && c.is_nan()),
                "{a} % {b}: {ours} {c}"
            );
        }
        assert_eq!(
            remainder(9_007_199_254_740_991.0, 4_294_967_296.0),
            9_007_199_254_740_991.0 % 4_294_967_296.0
        );
    }
}
