//! What instructions do beyond the fast paths of the loop.

pub(super) mod arith;
pub(super) mod array;
pub(super) mod compare;
pub(super) mod element;
pub(super) mod format;
pub(super) mod path;

use std::rc::Rc;

use crate::array::{Array, MAX_ENTRIES};
use crate::native::{Cx, Throw};
use crate::value::Value;

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
        && Rc::strong_count(array) > 1
    {
        cx.reserve_entries(value.as_array().map_or(0, |view| view.len()))?;
    }
    Ok(value.array_mut())
}

/// The string conversion of `value`, within the limit of strings and the budgets.
pub(super) fn text(value: &Value, cx: &mut Cx<'_>) -> Result<Vec<u8>, Throw> {
    let mut out = Vec::new();
    cx.write_str(&mut out, value)?;
    Ok(out)
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
