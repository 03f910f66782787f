//! Building, spreading, destructuring and iterating arrays.

use std::rc::Rc;

use smallvec::SmallVec;

use super::{element, room, writable};
use crate::array::{Array, Key, View};
use crate::map_set::Iteration;
use crate::native::{Cx, Throw};
use crate::object::NativeIterator;
use crate::pieces::{
    self, Keys, LARGE_ENTRIES, LongArray, PIECE_ENTRIES, PIECE_KEYS, Pieces, Work,
};
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
        let room = match into.as_array() {
            Some(View::Local(array)) => array.room(),
            _ => 0,
        };
        let mut into = into.take();
        let mut all: SmallVec<[_; 2]> = SmallVec::new();
        if len > LARGE_ENTRIES && room < view.len() {
            // It would be moved as a whole.
            all.push((into, Keys::All));
            into = Array::new().into();
        }
        all.push((from.clone(), keys));
        return Err(Throw::pieces(pieces::extend(into, all)));
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
    let Some(iterator) = native_iterator(from, cx)? else {
        return Err(Throw::error(format!(
            "{} cannot be spread",
            from.kind().with_article()
        )));
    };
    let keyed = keys && iterator.keyed();
    for _ in 0..PIECE_ENTRIES {
        let Some((key, value)) = iterator.next() else {
            return Ok(());
        };
        cx.charge(1);
        room(array, 1)?;
        match Key::cast(&key) {
            Some(key @ Key::String(_)) if keyed => array.insert(key, value),
            _ => array.push(value),
        }
    }
    Err(Throw::pieces(spread_iterator(into.take(), iterator, keyed)))
}

/// The entries of `into` and those that an iterator gives, in pieces.
fn spread_iterator(mut into: Value, iterator: Rc<dyn NativeIterator>, keyed: bool) -> impl Pieces {
    let mut result = LongArray::from(into.array_mut().map(std::mem::take).unwrap_or_default());
    let mut whole = false;
    move |cx: &mut Cx<'_>| {
        if !result.make_ready(cx)? {
            return Ok(None);
        }
        if whole {
            return result.finish(cx);
        }
        for _ in 0..PIECE_KEYS {
            let Some((key, value)) = iterator.next() else {
                whole = true;
                return Ok(None);
            };
            room(result.array(), 1)?;
            match Key::cast(&key) {
                Some(key @ Key::String(_)) if keyed => result.insert(key, value),
                _ => result.push(value),
            }
        }
        cx.charge(PIECE_KEYS);
        Ok(None)
    }
}

/// `into`, which is full, with room for more and with one more value, in pieces ([`append`]).
#[cold]
pub(in crate::vm) fn grown(
    into: &Value,
    key: Option<Key>,
    value: Value,
    cx: &mut Cx<'_>,
) -> Result<impl Pieces, Throw> {
    let len = into.as_array().map_or(0, |view| view.len());
    let capacity = if cx.fits_entries(len * 2).is_ok() {
        len * 2
    } else {
        len + len / 8
    };
    cx.fits_entries(capacity)?;
    let mut copy = pieces::copy(into, capacity, false);
    let mut entry = Some((key, value));
    Ok(move |cx: &mut Cx<'_>| {
        let Some(mut grown) = copy(cx)? else {
            return Ok(None);
        };
        if let Some((key, value)) = entry.take() {
            append(&mut grown, key, value, cx)?;
        }
        Ok(Some(grown))
    })
}

/// Whether one more entry makes an array move, and that takes long.
pub(in crate::vm) fn is_full_and_large(value: &Value) -> bool {
    match value.as_array() {
        Some(View::Local(array)) => array.is_full_and_large(),
        _ => false,
    }
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

/// The source of an iterator, or of what can be iterated.
fn native_iterator(
    value: &Value,
    cx: &mut Cx<'_>,
) -> Result<Option<Rc<dyn NativeIterator>>, Throw> {
    let source = |value: &Value| {
        let iteration = value.as_object()?.downcast::<Iteration>()?;
        Some(Rc::clone(&iteration.source))
    };
    let Some(object) = value.as_object() else {
        return Ok(None);
    };
    if let Some(source) = source(value) {
        return Ok(Some(source));
    }
    match large_table(value, cx)? {
        Some(iterator) => Ok(source(&iterator)),
        None => Ok(object.iterate()),
    }
}

/// An Iterator over a large Map or Set, whose keys are noted in pieces; the instruction is done again then.
fn large_table(value: &Value, cx: &mut Cx<'_>) -> Result<Option<Value>, Throw> {
    let table = value.as_object().and_then(|object| object.as_table());
    let Some(table) = table.filter(|table| table.is_large()) else {
        return Ok(None);
    };
    if let Some(iterator) = pieces::prepared(cx, Work::Walk, &[value]) {
        return Ok(Some(iterator));
    }
    let iterator = table.iterator(cx)?;
    Err(pieces::prepare(Work::Walk, &[value], iterator))
}

/// What `foreach` keeps of its subject: the array itself, or an iterator object.
pub(in crate::vm) fn iterable(subject: &Value, cx: &mut Cx<'_>) -> Result<Value, Throw> {
    match subject {
        Value::Array(_) => return Ok(subject.clone()),
        Value::Object(object) => {
            if object.downcast::<Iteration>().is_some() || object.as_generator().is_some() {
                return Ok(subject.clone());
            }
            if let Some(iterator) = large_table(subject, cx)? {
                return Ok(iterator);
            }
            if let Some(source) = object.iterate() {
                return Ok(Iteration::value(source, cx.library));
            }
        }
        _ => {}
    }
    Err(Throw::error(format!(
        "foreach: {} cannot be iterated",
        subject.kind().with_article()
    )))
}

/// The next key and value of an iterator object.
pub(in crate::vm) fn advance(iterator: &Value) -> Option<(Value, Value)> {
    iterator.as_object()?.downcast::<Iteration>()?.source.next()
}

/// The entry of `array` at position `at` of its order, for destructuring.
pub(in crate::vm) fn entry(array: &Value, at: usize) -> Option<Value> {
    let view = array.as_array()?;
    if let View::Local(array) = view
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
