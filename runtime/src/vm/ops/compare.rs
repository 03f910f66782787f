//! Comparisons beside numbers (language.md 5).

use std::cmp::Ordering;

use super::unsupported;
use crate::convert;
use crate::native::{Cx, Throw};
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
pub(in crate::vm) fn order(a: &Value, b: &Value, order: Order) -> Result<bool, Throw> {
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
        (Value::String(a), Value::String(b)) => a == b,
        _ => {
            charge(a, b, cx);
            convert::loose_equal(a, b)
        }
    }
}

/// `a === b`
#[inline]
pub(in crate::vm) fn strict(a: &Value, b: &Value, cx: &mut Cx<'_>) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b,
        (Value::String(a), Value::String(b)) => a == b,
        _ => {
            charge(a, b, cx);
            convert::strict_equal(a, b)
        }
    }
}

/// Comparing arrays costs by their length.
fn charge(a: &Value, b: &Value, cx: &mut Cx<'_>) {
    if let (Some(a), Some(b)) = (a.as_array(), b.as_array()) {
        cx.charge(a.len().min(b.len()));
    }
}
