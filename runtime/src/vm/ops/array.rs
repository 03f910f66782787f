//! Building, spreading, destructuring and iterating arrays.

use std::rc::Rc;

use smallvec::SmallVec;

use super::{element, room, writable};
use crate::array::{Array, Key};
use crate::library::Library;
use crate::map_set::Iteration;
use crate::native::{Cx, Throw};
use crate::object::NativeIterator;
use crate::pieces::{self, Keys, LARGE_ENTRIES};
use crate::value::Value;

/// Appends the values of registers to an array and leaves them undefined.
pub(in crate::vm) fn extend(
    array: &mut Value,
    values: &mut [Value],
    cx: &mut Cx<'_>,
) -> Result<(), Throw> {
    let Some(array) = writable(array, cx)? else {
        return Err(Throw::error("not an array"));
    };
    room(array, values.len())?;
    for value in values {
        array.push(std::mem::replace(value, Value::Undefined));
    }
    Ok(())
}

/// `...from` in an array literal (`keys`) or in a call.
pub(in crate::vm) fn spread(
    into: &mut Value,
    from: &Value,
    keys: bool,
    cx: &mut Cx<'_>,
) -> Result<(), Throw> {
    if let Some(view) = from.as_array()
        && view.len() > LARGE_ENTRIES
    {
        let len = into.as_array().map_or(0, |view| view.len());
        let total = len.saturating_add(view.len());
        cx.fits_entries(total)?;
        let keys = if keys { Keys::Named } else { Keys::None };
        // The register of the literal gets the result.
        let all = SmallVec::from_iter([(from.clone(), keys)]);
        return Err(Throw::pieces(pieces::extend(into.take(), all)));
    }
    let Some(array) = writable(into, cx)? else {
        return Err(Throw::error("not an array"));
    };
    if let Some(view) = from.as_array() {
        cx.reserve_entries(view.len())?;
        room(array, view.len())?;
        for (key, value) in view.iter() {
            match key {
                Key::Integer(_) => array.push(value),
                key if keys => array.insert(key, value),
                _ => array.push(value),
            }
        }
        return Ok(());
    }
    let Some(iterator) = native_iterator(from) else {
        return Err(Throw::error(format!(
            "a {} cannot be spread",
            from.kind().name()
        )));
    };
    let keyed = keys && iterator.keyed();
    while let Some((key, value)) = iterator.next() {
        cx.charge(1);
        if crate::memory::exceeded() {
            return Err(Throw::limit("memory"));
        }
        room(array, 1)?;
        match Key::cast(&key) {
            Some(key @ Key::String(_)) if keyed => array.insert(key, value),
            _ => array.push(value),
        }
    }
    Ok(())
}

/// Adds one value that was spread: a string key is kept.
pub(in crate::vm) fn append(
    into: &mut Value,
    key: Option<Key>,
    value: Value,
    cx: &mut Cx<'_>,
) -> Result<(), Throw> {
    let Some(array) = writable(into, cx)? else {
        return Err(Throw::error("not an array"));
    };
    room(array, 1)?;
    match key {
        Some(key @ Key::String(_)) => array.insert(key, value),
        _ => array.push(value),
    }
    Ok(())
}

fn native_iterator(value: &Value) -> Option<Rc<dyn NativeIterator>> {
    let object = value.as_object()?;
    match object.downcast::<Iteration>() {
        Some(iteration) => Some(Rc::clone(&iteration.source)),
        None => object.iterate(),
    }
}

/// What `foreach` keeps of its subject: the array itself, or an iterator object.
pub(in crate::vm) fn iterable(subject: &Value, library: &Library) -> Result<Value, Throw> {
    match subject {
        Value::Array(_) => return Ok(subject.clone()),
        Value::Object(object) => {
            if object.downcast::<Iteration>().is_some() || object.as_generator().is_some() {
                return Ok(subject.clone());
            }
            if let Some(source) = object.iterate() {
                return Ok(Iteration::value(source, library));
            }
        }
        _ => {}
    }
    Err(Throw::error(format!(
        "foreach: a {} cannot be iterated",
        subject.kind().name()
    )))
}

/// The next key and value of an iterator object.
pub(in crate::vm) fn advance(iterator: &Value) -> Option<(Value, Value)> {
    iterator.as_object()?.downcast::<Iteration>()?.source.next()
}

/// The entry of `array` at position `at` of its order, for destructuring.
pub(in crate::vm) fn entry(array: &Value, at: usize) -> Option<Value> {
    let view = array.as_array()?;
    if let crate::array::View::Local(array) = view
        && let Some(list) = array.as_list()
    {
        return list.get(at).cloned();
    }
    view.values().nth(at)
}

/// The list of values from position `at` on.
pub(in crate::vm) fn rest(array: &Value, at: usize, cx: &mut Cx<'_>) -> Result<Value, Throw> {
    let Some(view) = array.as_array() else {
        return Ok(Value::from(Array::new()));
    };
    let count = view.len().saturating_sub(at);
    if count > LARGE_ENTRIES {
        cx.fits_entries(count)?;
        return Err(Throw::pieces(element::picked(array.clone(), at, count)));
    }
    cx.reserve_entries(count)?;
    Ok(Value::from(Array::from_list(
        view.values().skip(at).collect(),
    )))
}
