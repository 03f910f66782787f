//! Comparisons beside numbers (language.md 5).

use std::cmp::Ordering;

use super::unsupported;
use crate::convert;
use crate::native::{Cx, Throw};
use crate::string::Str;
use crate::value::Value;

/// The orders that the language has.
#[derive(Clone, Copy)]
pub(in crate::vm) enum Order {
    Less,
    LessEq,
    Greater,
    GreaterEq,
}

/// Whether `a` stands in `order` to `b`.
#[cold]
pub(in crate::vm) fn order(
    a: &Value,
    b: &Value,
    order: Order,
    cx: &mut Cx<'_>,
) -> Result<bool, Throw> {
    // Long texts are read whole, to see whether they are numbers.
    for value in [a, b] {
        cx.charge(value.as_bytes().map_or(0, <[u8]>::len) / 64);
    }
    let ordering = convert::compare(a, b).map_err(|_| unsupported())?;
    Ok(match (order, ordering) {
        (_, None) => false,
        (Order::Less, Some(ordering)) => ordering == Ordering::Less,
        (Order::LessEq, Some(ordering)) => ordering != Ordering::Greater,
        (Order::Greater, Some(ordering)) => ordering == Ordering::Greater,
        (Order::GreaterEq, Some(ordering)) => ordering != Ordering::Less,
    })
}

/// `a == b`
#[inline]
pub(in crate::vm) fn loose(a: &Value, b: &Value, cx: &mut Cx<'_>) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b,
        (Value::String(a), Value::String(b)) => {
            long(a, b, cx);
            a == b
        }
        _ => {
            let mut work = 0;
            let equal = convert::loose_equal_counted(a, b, &mut work);
            cx.charge(work);
            equal
        }
    }
}

/// `a === b`
#[inline]
pub(in crate::vm) fn strict(a: &Value, b: &Value, cx: &mut Cx<'_>) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b,
        (Value::String(a), Value::String(b)) => {
            long(a, b, cx);
            a == b
        }
        _ => {
            let mut work = 0;
            let equal = convert::strict_equal_counted(a, b, &mut work);
            cx.charge(work);
            equal
        }
    }
}

/// Comparing long strings of one length costs by it.
#[inline]
fn long(a: &Str, b: &Str, cx: &mut Cx<'_>) {
    if let (Str::Heap(_) | Str::Frozen(..), Str::Heap(_) | Str::Frozen(..)) = (a, b)
        && a.len() == b.len()
    {
        cx.charge(a.len() / 64);
    }
}
