//! Comparisons beside numbers (language.md 5).

use std::cmp::Ordering;

use super::{is_long_text, number, unsupported};
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
    if is_long_text(a) || is_long_text(b) {
        return order_long(a, b, order, cx);
    }
    // Long texts are read whole, to see whether they are numbers.
    for value in [a, b] {
        cx.charge(value.as_bytes().map_or(0, <[u8]>::len) / 64);
    }
    let ordering = convert::compare(a, b).map_err(|_| unsupported())?;
    Ok(order.holds(ordering))
}

impl Order {
    fn holds(self, ordering: Option<Ordering>) -> bool {
        match (self, ordering) {
            (_, None) => false,
            (Order::Less, Some(ordering)) => ordering == Ordering::Less,
            (Order::LessEq, Some(ordering)) => ordering != Ordering::Greater,
            (Order::Greater, Some(ordering)) => ordering == Ordering::Greater,
            (Order::GreaterEq, Some(ordering)) => ordering != Ordering::Less,
        }
    }
}

/// As [`order`] where a text is long: it is read and compared in pieces.
fn order_long(a: &Value, b: &Value, order: Order, cx: &mut Cx<'_>) -> Result<bool, Throw> {
    let (x, y) = (number(a, cx)?, number(b, cx)?);
    // A text that is short is read here, to see whether it is a number.
    let is_number = |value: &Value| match value {
        Value::String(text) => convert::parse_number(text.as_bytes()).is_some(),
        value => !value.is_none(),
    };
    let (Value::String(s), Value::String(t)) = (a, b) else {
        let ordering = convert::compare(&x, &y).map_err(|_| unsupported())?;
        return Ok(order.holds(ordering));
    };
    if is_number(&x) && is_number(&y) {
        let (x, y) = (convert::to_number(&x), convert::to_number(&y));
        return Ok(order.holds(x.partial_cmp(&y)));
    }
    if let Some(Value::Number(ordering)) = pieces::prepared(cx, Work::Order, &[a, b]) {
        return Ok(order.holds(ordering.partial_cmp(&0.0)));
    }
    let ordering = pieces::order_of(s.clone(), t.clone());
    Err(pieces::prepare(Work::Order, &[a, b], ordering))
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
        (Value::Number(n), text) | (text, Value::Number(n)) if is_long_text(text) => {
            Ok(convert::to_number(&number(text, cx)?) == *n)
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
