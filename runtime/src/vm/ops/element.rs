//! Reading elements, properties and slices (language.md 7).

use std::rc::Rc;

use crate::array::{Array, KeyRef};
use crate::convert::to_integer;
use crate::instance::{Caller, Hints, Instance};
use crate::library::Library;
use crate::native::{Cx, Throw};
use crate::object::{Function, Object};
use crate::pieces::{LARGE_BYTES, LARGE_ENTRIES, PIECE_BYTES, PIECE_ENTRIES, Pieces};
use crate::string::Str;
use crate::value::Value;

/// `base[key]` (7.1).
pub(in crate::vm) fn index(
    base: &Value,
    key: &Value,
    caller: Caller<'_>,
    cx: &mut Cx<'_>,
) -> Result<Value, Throw> {
    match base {
        Value::Array(_) => Ok(lookup(base, key).unwrap_or_default()),
        Value::String(string) => Ok(byte(string, key).unwrap_or_default()),
        Value::Object(object) => property(
            object,
            &crate::convert::to_str(key),
            caller,
            cx.library,
            &Hints::default(),
        ),
        Value::Function(_) | Value::Resource(_) => Err(Throw::error(format!(
            "{} has no elements",
            base.kind().with_article()
        ))),
        _ => Ok(Value::None),
    }
}

#[inline]
fn lookup(base: &Value, key: &Value) -> Option<Value> {
    base.as_array()?.find(KeyRef::cast(key)?)
}

/// The one-byte string at an integer position from 0 on.
fn byte(string: &Str, key: &Value) -> Option<Value> {
    let KeyRef::Integer(position) = KeyRef::cast(key)? else {
        return None;
    };
    let byte = string.as_bytes().get(usize::try_from(position).ok()?)?;
    Some(Value::String(Str::byte(*byte)))
}

/// `base[key]` for `isset` and `??`: none where [`index`] throws.
pub(in crate::vm) fn peek(base: &Value, key: &Value, caller: Caller<'_>, cx: &mut Cx<'_>) -> Value {
    index(base, key, caller, cx).unwrap_or_default()
}

/// `isset(base[key])` (6.7).
pub(in crate::vm) fn isset(
    base: &Value,
    key: &Value,
    caller: Caller<'_>,
    library: &Library,
) -> bool {
    match base {
        Value::Array(_) => match (base.as_array(), KeyRef::cast(key)) {
            (Some(view), Some(key)) => view.has(key),
            _ => false,
        },
        Value::String(string) => byte(string, key).is_some(),
        Value::Object(object) => {
            isset_property(object, &crate::convert::to_str(key), caller, library)
        }
        _ => false,
    }
}

/// `object->name`: a method is given as a function bound to the object, what is missing as none.
pub(in crate::vm) fn property(
    object: &Rc<Object>,
    name: &Str,
    caller: Caller<'_>,
    library: &Library,
    hint: &Hints,
) -> Result<Value, Throw> {
    if let Some(instance) = Instance::of(object) {
        return instance.get(object, name, caller, hint);
    }
    let method = library
        .class_of(object)
        .and_then(|class| class.method(&name.to_text()));
    Ok(method.map_or(Value::None, |method| {
        Value::Function(Rc::new(Function::BoundMethod(Rc::clone(object), method)))
    }))
}

pub(in crate::vm) fn isset_property(
    object: &Rc<Object>,
    name: &Str,
    caller: Caller<'_>,
    library: &Library,
) -> bool {
    if let Some(instance) = Instance::of(object) {
        return instance.isset(name, caller);
    }
    library
        .class_of(object)
        .is_some_and(|class| class.method(&name.to_text()).is_some())
}

/// `base->name`
pub(in crate::vm) fn get_property(
    base: &Value,
    name: &Value,
    caller: Caller<'_>,
    cx: &mut Cx<'_>,
    hint: &Hints,
) -> Result<Value, Throw> {
    match (base, name) {
        (Value::Object(object), Value::String(name)) => {
            property(object, name, caller, cx.library, hint)
        }
        (Value::Function(_) | Value::Resource(_), _) => Err(Throw::error(format!(
            "{} has no properties",
            base.kind().with_article()
        ))),
        _ => Ok(Value::None),
    }
}

/// The selected positions of a slice (7.3): Python's rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::vm) struct Range {
    pub start: i64,
    pub step: i64,
    pub count: usize,
}

impl Range {
    /// The range of `parts` (first, last, step; none is missing) in something of `len` entries.
    pub(in crate::vm) fn of(parts: [&Value; 3], len: usize) -> Result<Range, Throw> {
        let len = i64::try_from(len).unwrap_or(i64::MAX);
        let [first, last, step] = parts.map(|part| {
            if part.is_none() {
                None
            } else {
                Some(to_integer(part))
            }
        });
        let step = step.unwrap_or(1);
        if step == 0 {
            return Err(Throw::error("slice step is 0"));
        }
        let clamp = |position: i64, low: i64, high: i64| {
            let position = if position < 0 {
                position.saturating_add(len)
            } else {
                position
            };
            position.clamp(low, high)
        };
        let (start, end) = if step > 0 {
            (
                first.map_or(0, |at| clamp(at, 0, len)),
                last.map_or(len, |at| clamp(at, 0, len)),
            )
        } else {
            (
                first.map_or(len - 1, |at| clamp(at, -1, len - 1)),
                last.map_or(-1, |at| clamp(at, -1, len - 1)),
            )
        };
        let distance = if step > 0 {
            end.saturating_sub(start)
        } else {
            start.saturating_sub(end)
        };
        let count = if distance <= 0 {
            0
        } else {
            (distance - 1) / step.saturating_abs() + 1
        };
        Ok(Range {
            start,
            step,
            count: usize::try_from(count).unwrap_or(0),
        })
    }

    /// Whether a position is one of the slice's.
    pub(in crate::vm) fn contains(self, position: usize) -> bool {
        let from_start = i64::try_from(position).unwrap_or(i64::MAX) - self.start;
        let at = from_start.checked_div(self.step).unwrap_or(-1);
        from_start.checked_rem(self.step) == Some(0)
            && usize::try_from(at).is_ok_and(|at| at < self.count)
    }

    /// What is left of it without the first `done` positions.
    fn behind(self, done: usize) -> Range {
        let ahead = i64::try_from(done)
            .unwrap_or(i64::MAX)
            .saturating_mul(self.step);
        Range {
            start: self.start.saturating_add(ahead),
            step: self.step,
            count: self.count.saturating_sub(done),
        }
    }

    /// The positions in the order of the slice.
    pub(in crate::vm) fn positions(self) -> impl Iterator<Item = usize> {
        (0..self.count as i64).map(move |at| {
            let position = self.start.saturating_add(at.saturating_mul(self.step));
            usize::try_from(position).unwrap_or(0)
        })
    }
}

/// `base[first:last:step]`
pub(in crate::vm) fn slice(
    base: &Value,
    parts: [&Value; 3],
    cx: &mut Cx<'_>,
) -> Result<Value, Throw> {
    match base {
        Value::None | Value::Undefined => Ok(Value::None),
        Value::String(string) => {
            let bytes = string.as_bytes();
            let range = Range::of(parts, bytes.len())?;
            if range.count > LARGE_BYTES {
                cx.fits(range.count)?;
                return Err(Throw::pieces(picked_bytes(string.clone(), range)));
            }
            cx.reserve(range.count)?;
            if range.step == 1 {
                let start = usize::try_from(range.start).unwrap_or(0);
                return Ok(Value::bytes(
                    bytes.get(start..start + range.count).unwrap_or_default(),
                ));
            }
            cx.charge(range.count / 8);
            let picked: Vec<u8> = range
                .positions()
                .filter_map(|at| bytes.get(at).copied())
                .collect();
            Ok(Value::from(picked))
        }
        Value::Array(_) => {
            let Some(view) = base.as_array() else {
                return Ok(Value::None);
            };
            let range = Range::of(parts, view.len())?;
            if view.len() > LARGE_ENTRIES && range.count > PIECE_ENTRIES {
                cx.fits_entries(range.count)?;
                let reads_all = range.step == 1 || view.as_list().is_some();
                if reads_all {
                    return Err(Throw::pieces(picked_range(base.clone(), range)));
                }
            }
            cx.reserve_entries(range.count)?;
            if let crate::array::View::Local(array) = view
                && let Some(values) = array.as_list()
            {
                let picked = range
                    .positions()
                    .filter_map(|at| values.get(at).cloned())
                    .collect();
                return Ok(Value::from(Array::from_list(picked)));
            }
            cx.charge(view.len());
            let mut picked: Vec<Value> = Vec::with_capacity(range.count);
            if range.step == 1 {
                let start = usize::try_from(range.start).unwrap_or(0);
                picked.extend(view.values().skip(start).take(range.count));
            } else {
                let values: Vec<Value> = view.values().collect();
                picked.extend(range.positions().filter_map(|at| values.get(at).cloned()));
            }
            Ok(Value::from(Array::from_list(picked)))
        }
        other => Err(Throw::error(format!(
            "{} cannot be sliced",
            other.kind().with_article()
        ))),
    }
}

/// The bytes of a slice, in pieces.
fn picked_bytes(text: Str, range: Range) -> impl Pieces {
    let mut out = Vec::with_capacity(range.count);
    let start = usize::try_from(range.start).unwrap_or(0);
    move |cx: &mut Cx<'_>| {
        let (done, bytes) = (out.len(), text.as_bytes());
        let end = range.count.min(done + PIECE_BYTES);
        if range.step == 1 {
            out.extend_from_slice(bytes.get(start + done..start + end).unwrap_or_default());
            cx.charge((end - done) / 64);
        } else {
            let positions = range.behind(done).positions().take((end - done) / 8 + 1);
            out.extend(positions.filter_map(|at| bytes.get(at)));
            cx.charge((end - done) / 64);
        }
        let whole = out.len() >= range.count || out.len() == done;
        Ok(whole.then(|| std::mem::take(&mut out).into()))
    }
}

/// `count` values of an array from position `start` of its order on, in pieces.
pub(in crate::vm) fn picked(array: Value, start: usize, count: usize) -> impl Pieces {
    let range = Range {
        start: i64::try_from(start).unwrap_or(i64::MAX),
        step: 1,
        count,
    };
    picked_range(array, range)
}

/// The values of a slice, in pieces. Without the packed form the step is 1.
fn picked_range(array: Value, range: Range) -> impl Pieces {
    let mut picked: Vec<Value> = Vec::with_capacity(range.count);
    let start = usize::try_from(range.start).unwrap_or(0);
    let (mut seen, mut position) = (0, 0);
    move |cx: &mut Cx<'_>| {
        let Some(view) = array.as_array() else {
            return Ok(Some(Value::None));
        };
        let mut whole = false;
        if let Some(list) = view.as_list() {
            let done = picked.len();
            let positions = range.behind(done).positions().take(PIECE_ENTRIES);
            picked.extend(positions.filter_map(|at| list.get(at).cloned()));
            cx.charge(PIECE_ENTRIES);
            whole = picked.len() == done;
        } else {
            let behind = crate::pieces::walk(&array, position, cx, |_, value| {
                if seen >= start && picked.len() < range.count {
                    picked.push(value);
                }
                seen += 1;
                Ok(())
            })?;
            match behind {
                Some(behind) => position = behind,
                None => whole = true,
            }
        }
        whole |= picked.len() >= range.count;
        Ok(whole.then(|| Value::from(Array::from_list(std::mem::take(&mut picked)))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn positions(
        first: Option<f64>,
        last: Option<f64>,
        step: Option<f64>,
        len: usize,
    ) -> Vec<usize> {
        let value = |part: Option<f64>| part.map_or(Value::None, Value::from);
        let (first, last, step) = (value(first), value(last), value(step));
        Range::of([&first, &last, &step], len)
            .unwrap()
            .positions()
            .collect()
    }

    #[test]
    fn ranges_follow_python() {
        assert_eq!(positions(None, None, None, 3), [0, 1, 2]);
        assert_eq!(positions(Some(1.0), Some(-1.0), None, 4), [1, 2]);
        assert_eq!(positions(None, None, Some(-1.0), 3), [2, 1, 0]);
        assert_eq!(
            positions(Some(-100.0), Some(100.0), Some(2.0), 5),
            [0, 2, 4]
        );
        assert_eq!(positions(Some(2.0), Some(0.0), Some(-1.0), 3), [2, 1]);
        assert_eq!(
            positions(Some(100.0), Some(-100.0), Some(-2.0), 5),
            [4, 2, 0]
        );
        assert_eq!(positions(Some(3.0), Some(1.0), None, 5), [] as [usize; 0]);
        assert_eq!(positions(Some(0.0), Some(1e300), Some(1e300), 5), [0]);
    }
}
