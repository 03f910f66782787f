//! Comparisons beside numbers (language.md 5).

use std::cmp::Ordering;

use super::unsupported;
use crate::convert;
use crate::convert::Comparison;
use crate::native::{Cx, Throw};
use crate::pieces::{self, Work};
use crate::string::Str;
use crate::value::Value;

/// Units of fuel that comparing takes at once.
const MOST: usize = 2048;

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
pub(in crate::vm) fn loose(a: &Value, b: &Value, cx: &mut Cx<'_>) -> Result<bool, Throw> {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => Ok(a == b),
        (Value::String(x), Value::String(y)) if are_quick(x, y) => Ok(x == y),
        (Value::String(_), Value::String(_)) | (Value::Array(_), Value::Array(_)) => {
            strictly(a, b, cx)
        }
        _ => {
            let mut work = 0;
            let equal = convert::loose_equal_counted(a, b, &mut work);
            cx.charge(work);
            Ok(equal)
        }
    }
}

/// `a === b`
#[inline]
pub(in crate::vm) fn strict(a: &Value, b: &Value, cx: &mut Cx<'_>) -> Result<bool, Throw> {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => Ok(a == b),
        (Value::String(x), Value::String(y)) if are_quick(x, y) => Ok(x == y),
        _ => strictly(a, b, cx),
    }
}

/// Comparing long strings of one length costs by it.
#[inline]
fn are_quick(a: &Str, b: &Str) -> bool {
    a.len() <= 4096 || a.len() != b.len()
}

/// Strict equality of what may be large: in pieces then.
#[inline(never)]
fn strictly(a: &Value, b: &Value, cx: &mut Cx<'_>) -> Result<bool, Throw> {
    if let Some(Value::Boolean(equal)) = pieces::prepared(cx, Work::Equal, &[a, b]) {
        return Ok(equal);
    }
    let mut comparison = Comparison::new(a, b);
    let mut work = 0;
    let equal = comparison.go_on(&mut work, MOST);
    cx.charge(work);
    if let Some(equal) = equal {
        return Ok(equal);
    }
    let rest = move |cx: &mut Cx<'_>| {
        let mut work = 0;
        let equal = comparison.go_on(&mut work, MOST);
        cx.charge(work);
        Ok(equal.map(Value::from))
    };
    Err(pieces::prepare(Work::Equal, &[a, b], rest))
}
