//! What instructions do beyond the fast paths of the loop.

pub(super) mod arith;
pub(super) mod array;
pub(super) mod compare;
mod difference;
pub(super) mod element;
pub(super) mod format;
pub(super) mod path;

use std::rc::Rc;

use crate::array::{Array, MAX_ENTRIES, View};
use crate::dump::{Dumped, Dumper};
use crate::native::{Cx, Throw};
use crate::pieces::{self, LARGE_BYTES, LARGE_ENTRIES, Work};
use crate::string::Str;
use crate::value::{ArrayRef, Value};

/// The Exception for operands that an operator does not take (language.md 6.2).
#[cold]
pub(super) fn unsupported() -> Throw {
    Throw::error("unsupported operand types")
}

/// Write access to an array; a copy of a shared one is charged for.
pub(super) fn writable<'v>(
    value: &'v mut Value,
    cx: &mut Cx<'_>,
) -> Result<Option<&'v mut Array>, Throw> {
    if let Value::Array(array) = &*value
        && (Rc::strong_count(array) > 1 || matches!(**array, ArrayRef::Frozen(..)))
    {
        let len = value.as_array().map_or(0, |view| view.len());
        if len > LARGE_ENTRIES {
            copy_large(value, Work::Copy, len, cx)?;
        } else {
            cx.reserve_entries(len)?;
        }
    }
    Ok(value.array_mut())
}

/// Write access to an array that gets one more entry.
#[inline]
pub(super) fn extensible<'v>(
    value: &'v mut Value,
    cx: &mut Cx<'_>,
) -> Result<Option<&'v mut Array>, Throw> {
    if let Value::Array(array) = &*value
        && let ArrayRef::Local(local) = &**array
        && local.is_full_and_large()
    {
        // Twice the size, if that fits: what is written to is written to again.
        let len = local.len();
        let capacity = if cx.fits_entries(len * 2).is_ok() {
            len * 2
        } else {
            len + len / 8
        };
        copy_large(value, Work::Copy, capacity, cx)?;
    }
    writable(value, cx)
}

/// Makes a long list an array whose entries have keys of their own.
#[cold]
pub(super) fn keyed(value: &mut Value, cx: &mut Cx<'_>) -> Result<(), Throw> {
    let len = value.as_array().map_or(0, |view| view.len());
    copy_large(value, Work::Keyed, len + len / 8, cx)
}

/// Closes the gaps of a large array, of which there are many, if there is memory for it.
pub(super) fn without_gaps(value: &mut Value, cx: &mut Cx<'_>) -> Result<(), Throw> {
    let sparse = match value.as_array() {
        Some(View::Local(array)) if array.is_sparse_and_large() => array.len(),
        _ => return Ok(()),
    };
    if cx.fits_entries(sparse * 3).is_err() {
        return Ok(());
    }
    copy_large(value, Work::Copy, sparse, cx)
}

/// Makes a long array one that only its holder sees and that has room for `capacity` entries, in pieces.
#[cold]
fn copy_large(
    value: &mut Value,
    work: Work,
    capacity: usize,
    cx: &mut Cx<'_>,
) -> Result<(), Throw> {
    if let Some(copy) = pieces::prepared(cx, work, &[value]) {
        *value = copy;
        return Ok(());
    }
    cx.fits_entries(capacity)?;
    let copy = pieces::copy(value, capacity, work == Work::Keyed);
    Err(pieces::prepare(work, &[value], copy))
}

/// Whether a value is a text that takes long to be read as a number.
#[inline]
pub(in crate::vm) fn is_long_text(value: &Value) -> bool {
    matches!(value, Value::String(Str::Heap(..) | Str::Frozen(..)) if value.as_bytes().is_some_and(|text| text.len() > LARGE_BYTES))
}

/// A value for arithmetic: of a long text the number that it spells, none when it is no number.
pub(in crate::vm) fn number(value: &Value, cx: &mut Cx<'_>) -> Result<Value, Throw> {
    let Value::String(text) = value else {
        return Ok(value.clone());
    };
    if !is_long_text(value) {
        return Ok(value.clone());
    }
    if let Some(number) = pieces::prepared(cx, Work::Number, &[value]) {
        return Ok(number);
    }
    let number = pieces::number_of(text.clone());
    Err(pieces::prepare(Work::Number, &[value], number))
}

/// The string conversion of `value`, within the limit of strings and the budgets.
pub(super) fn text(value: &Value, cx: &mut Cx<'_>) -> Result<Str, Throw> {
    let Value::Array(_) = value else {
        return Ok(crate::convert::to_str(value));
    };
    if let Some(Value::String(text)) = pieces::prepared(cx, Work::Text, &[value]) {
        return Ok(text);
    }
    let (mut dumper, mut out) = (Dumper::new(value), Vec::new());
    let dumped = dumper.write(&mut out, pieces::PIECE_BYTES, |len| cx.fits_growing(len));
    cx.charge(out.len() / 32);
    match dumped {
        Dumped::Whole => Ok(Str::from_vec(out)),
        Dumped::Part => {
            let rest = pieces::text(dumper, out);
            Err(pieces::prepare(Work::Text, &[value], rest))
        }
        Dumped::Over => Err(cx.over()),
    }
}

/// Makes sure that `more` entries can be added to `array`.
#[inline]
pub(super) fn room(array: &Array, more: usize) -> Result<(), Throw> {
    if array.len().saturating_add(more) > MAX_ENTRIES {
        Err(too_large())
    } else {
        Ok(())
    }
}

#[cold]
fn too_large() -> Throw {
    Throw::error("array too large")
}
