//! Writing elements through a path, level by level, without copying what nobody else holds (language.md 7.2, 7.4).

use std::rc::Rc;

use angarium_lang::bytecode::{PathOp, Step};
use smallvec::SmallVec;

use super::element::Range;
use super::{arith, extensible, keyed, room, without_gaps, writable};
use crate::array::{Array, Key, KeyRef, View};
use crate::cell::VarCell;
use crate::instance::{Caller, Hints, Instance};
use crate::native::{Cx, Throw};
use crate::object::Object;
use crate::pieces::{self, LARGE_ENTRIES, Pieces, Work};
use crate::string::Str;
use crate::value::{ArrayRef, Value};
use crate::vm::registers::Registers;

/// A step with its key read from the registers: the base may be in a register too.
pub(in crate::vm) enum Resolved {
    Key(Key),
    /// The key is an array, function, object or resource.
    NoKey,
    Append,
    Property(Str),
    Slice([Value; 3]),
}

pub(in crate::vm) type Steps = SmallVec<[Resolved; 4]>;

/// Reads the keys of a path.
pub(in crate::vm) fn resolve(steps: &[Step], registers: &Registers, constants: &[Value]) -> Steps {
    let constant = |index: u32| constants.get(index as usize).unwrap_or(&Value::None);
    let key = |value: &Value| Key::cast(value).map_or(Resolved::NoKey, Resolved::Key);
    steps
        .iter()
        .map(|step| match step {
            Step::Key(register) => key(&registers[usize::from(*register)]),
            Step::Const(index) => key(constant(*index)),
            Step::Append => Resolved::Append,
            Step::Property(index) => Resolved::Property(crate::convert::to_str(constant(*index))),
            Step::Slice(register) => Resolved::Slice(std::array::from_fn(|part| {
                registers
                    .get(usize::from(*register) + part)
                    .cloned()
                    .unwrap_or_default()
            })),
        })
        .collect()
}

/// The registers and constants that a path names, and what was found for them last time.
#[derive(Clone, Copy)]
pub(in crate::vm) struct Names<'a> {
    pub registers: &'a Registers,
    pub constants: &'a [Value],
    pub hints: &'a [Hints],
}

/// The element of an array that nobody else holds, if both are there: the common case of a write.
#[inline]
pub(in crate::vm) fn element<'v>(base: &'v mut Value, key: &Value) -> Option<&'v mut Value> {
    let Value::Array(array) = base else {
        return None;
    };
    let Some(ArrayRef::Local(array)) = Rc::get_mut(array) else {
        return None;
    };
    array.find_mut(KeyRef::cast(key)?)
}

/// The place that a path leads to when every level is there and nobody else holds it. Changes nothing on the way: where
/// there is none, the path is walked again by [`set`] or [`update`].
#[inline]
fn existing<'v>(
    mut current: &'v mut Value,
    steps: &[Step],
    names: &Names<'_>,
) -> Option<&'v mut Value> {
    for step in steps {
        let key = match step {
            Step::Key(register) => &names.registers[usize::from(*register)],
            Step::Const(index) => names.constants.get(*index as usize)?,
            Step::Append | Step::Property(_) | Step::Slice(_) => return None,
        };
        current = element(current, key)?;
    }
    Some(current)
}

/// Does `change` at the end of a path in the common cases: elements that are there, and properties of instances. None,
/// with everything as it was, in the others.
#[inline]
pub(in crate::vm) fn at_existing<T>(
    base: &mut Value,
    steps: &[Step],
    names: &Names<'_>,
    caller: Caller<'_>,
    change: impl FnOnce(&mut Value) -> T,
) -> Option<T> {
    if let Value::Cell(cell) = base {
        if cell.is_read_only() {
            return None;
        }
        return cell.with(|value| at_plain(value, steps, names, caller, change));
    }
    at_plain(base, steps, names, caller, change)
}

#[inline]
fn at_plain<T>(
    base: &mut Value,
    steps: &[Step],
    names: &Names<'_>,
    caller: Caller<'_>,
    change: impl FnOnce(&mut Value) -> T,
) -> Option<T> {
    let [Step::Property(name), rest @ ..] = steps else {
        return existing(base, steps, names).map(change);
    };
    let Value::Object(object) = base else {
        return None;
    };
    let instance = Instance::of(object)?;
    let Some(Value::String(text)) = names.constants.get(*name as usize) else {
        return None;
    };
    let hint = names.hints.get(*name as usize)?;
    // Without a right to it the long way tells why.
    instance.check_write(text, caller, hint).ok()?;
    if rest.is_empty() {
        return Some(instance.with(text, hint, change));
    }
    instance.with_hinted(text, hint, |slot| existing(slot, rest, names).map(change))?
}

/// slot := slot op value, the sums of numbers at once.
#[inline]
pub(in crate::vm) fn change(
    slot: &mut Value,
    op: PathOp,
    value: &Value,
    cx: &mut Cx<'_>,
) -> Result<(), Throw> {
    if let (Value::Number(old), Value::Number(by)) = (&mut *slot, value) {
        match op {
            PathOp::Add => {
                *old += by;
                return Ok(());
            }
            PathOp::Sub => {
                *old -= by;
                return Ok(());
            }
            PathOp::Mul => {
                *old *= by;
                return Ok(());
            }
            _ => {}
        }
    }
    arith::update(slot, op, value, cx)
}

/// Does `change` with the variable in `register`: the register's own value or that of the cell in it.
pub(in crate::vm) fn variable<T>(
    register: &mut Value,
    change: impl FnOnce(&mut Value) -> Result<T, Throw>,
) -> Result<T, Throw> {
    if let Value::Cell(cell) = register {
        let cell = Rc::clone(cell);
        check_writable(&cell)?;
        return cell.with(change);
    }
    change(register)
}

/// Throws when a variable may only be read.
pub(in crate::vm) fn check_writable(cell: &VarCell) -> Result<(), Throw> {
    if cell.is_read_only() {
        Err(Throw::error("the variable is read-only"))
    } else {
        Ok(())
    }
}

/// Where a walk along a path ends: at its place, or at an object, whose properties are behind a borrow of their own.
enum Walk<'s, T> {
    Done(Result<T, Throw>),
    Object(Rc<Object>, &'s [Resolved]),
}

fn walk<'s, T>(
    mut current: &mut Value,
    mut steps: &'s [Resolved],
    cx: &mut Cx<'_>,
    change: &mut Option<impl FnOnce(&mut Value, &mut Cx<'_>) -> Result<T, Throw>>,
) -> Walk<'s, T> {
    while let Some((step, rest)) = steps.split_first() {
        if let Value::Object(object) = current {
            return Walk::Object(Rc::clone(object), steps);
        }
        current = match child(current, step, cx) {
            Ok(next) => next,
            Err(throw) => return Walk::Done(Err(throw)),
        };
        steps = rest;
    }
    match change.take() {
        Some(change) => Walk::Done(change(current, cx)),
        None => Walk::Done(Err(Throw::error("a place was reached twice"))),
    }
}

/// Does `change` at the place that `steps` lead to from `base`; missing levels become arrays.
fn with_place<T>(
    base: &mut Value,
    steps: &[Resolved],
    caller: Caller<'_>,
    cx: &mut Cx<'_>,
    change: impl FnOnce(&mut Value, &mut Cx<'_>) -> Result<T, Throw>,
) -> Result<T, Throw> {
    let mut change = Some(change);
    let mut reached = walk(base, steps, cx, &mut change);
    loop {
        let (object, rest) = match reached {
            Walk::Done(result) => return result,
            Walk::Object(object, rest) => (object, rest),
        };
        let Some((step, rest)) = rest.split_first() else {
            return Err(not_writable());
        };
        let (Some(instance), Some(name)) = (Instance::of(&object), property_name(step)) else {
            return Err(not_writable());
        };
        let hint = Hints::default();
        instance.check_write(&name, caller, &hint)?;
        reached = instance.with(&name, &hint, |slot| walk(slot, rest, cx, &mut change));
    }
}

#[cold]
fn not_writable() -> Throw {
    Throw::error("the properties of this object cannot be written")
}

/// The property that a step names on an object.
fn property_name(step: &Resolved) -> Option<Str> {
    match step {
        Resolved::Property(name) => Some(name.clone()),
        Resolved::Key(key) => Some(crate::convert::to_str(&key.to_value())),
        Resolved::NoKey | Resolved::Append | Resolved::Slice(_) => None,
    }
}

/// The array at `value`; what is none or a scalar becomes an empty one.
pub(in crate::vm) fn as_array<'v>(
    value: &'v mut Value,
    cx: &mut Cx<'_>,
) -> Result<&'v mut Array, Throw> {
    match value {
        Value::Array(_) => {}
        Value::None
        | Value::Undefined
        | Value::Boolean(_)
        | Value::Number(_)
        | Value::String(_) => {
            *value = Value::from(Array::new());
        }
        Value::Object(_) => {
            return Err(not_writable());
        }
        other => {
            return Err(Throw::error(format!(
                "{} has no elements",
                other.kind().with_article()
            )));
        }
    }
    writable(value, cx)?.ok_or_else(|| Throw::error("not an array"))
}

fn child<'v>(
    value: &'v mut Value,
    step: &Resolved,
    cx: &mut Cx<'_>,
) -> Result<&'v mut Value, Throw> {
    match step {
        Resolved::Key(key) => {
            // What was prepared is found as long as nobody has copied the array.
            let (unkeyed, full) = match value.as_array() {
                Some(View::Local(array)) => {
                    let full = array.is_full_and_large() && !array.contains(key);
                    (array.is_large_list_without(key), full)
                }
                _ => (false, false),
            };
            if unkeyed {
                keyed(value, cx)?;
            } else if full {
                extensible(value, cx)?;
            }
            let array = as_array(value, cx)?;
            if array.len() >= crate::array::MAX_ENTRIES && !array.contains(key) {
                room(array, 1)?;
            }
            Ok(array.slot(key.clone()))
        }
        Resolved::NoKey => {
            as_array(value, cx)?;
            Err(Throw::error("this value cannot be a key"))
        }
        Resolved::Append => {
            extensible(value, cx)?;
            let array = as_array(value, cx)?;
            room(array, 1)?;
            Ok(array.push_slot())
        }
        Resolved::Property(_) => match value {
            Value::Object(_) => Err(not_writable()),
            other => Err(Throw::error(format!(
                "{} has no properties",
                other.kind().with_article()
            ))),
        },
        Resolved::Slice(_) => Err(Throw::error("a slice can only be assigned with `=`")),
    }
}

/// base(steps) := value, which is left where it is on an error
pub(in crate::vm) fn set(
    base: &mut Value,
    steps: &[Resolved],
    value: &mut Value,
    caller: Caller<'_>,
    cx: &mut Cx<'_>,
) -> Result<(), Throw> {
    if let Some((Resolved::Slice(parts), levels)) = steps.split_last() {
        return with_place(base, levels, caller, cx, |target, cx| {
            set_slice(target, parts, value, cx)
        });
    }
    let old = with_place(base, steps, caller, cx, |slot, _| {
        Ok(std::mem::replace(slot, value.take()))
    })?;
    drop(old);
    Ok(())
}

/// base(steps) := base(steps) op value, in place; a missing element counts as none
pub(in crate::vm) fn update(
    base: &mut Value,
    steps: &[Resolved],
    op: PathOp,
    value: &Value,
    caller: Caller<'_>,
    cx: &mut Cx<'_>,
) -> Result<(), Throw> {
    if is_there(base, steps) {
        return with_place(base, steps, caller, cx, |slot, cx| {
            arith::update(slot, op, value, cx)
        });
    }
    // The levels that are missing are made after the operator had its say: it may throw.
    let mut result = read(base, steps)?;
    arith::update(&mut result, op, value, cx)?;
    set(base, steps, &mut result, caller, cx)
}

/// Whether nothing has to be made on the way; what is behind an object is left to the walk.
fn is_there(base: &Value, steps: &[Resolved]) -> bool {
    let mut current = base.clone();
    for step in steps {
        if let Value::Object(_) = current {
            return true;
        }
        let Resolved::Key(key) = step else {
            return false;
        };
        match current.as_array().and_then(|view| view.get(key)) {
            Some(next) => current = next,
            None => return false,
        }
    }
    true
}

/// The value that reading the path gives (7.1).
fn read(base: &Value, steps: &[Resolved]) -> Result<Value, Throw> {
    let mut current = base.clone();
    for step in steps {
        current = match (&current, step) {
            (Value::Array(_), Resolved::Key(key)) => current
                .as_array()
                .and_then(|view| view.get(key))
                .unwrap_or_default(),
            (Value::String(text), Resolved::Key(Key::Integer(at))) => usize::try_from(*at)
                .ok()
                .and_then(|at| text.as_bytes().get(at))
                .map_or(Value::None, |byte| Value::String(Str::byte(*byte))),
            (Value::Function(_) | Value::Resource(_), _) => {
                return Err(Throw::error(format!(
                    "{} has no elements",
                    current.kind().with_article()
                )));
            }
            _ => Value::None,
        };
    }
    Ok(current)
}

/// `base[first:last] = list` (7.4).
fn set_slice(
    base: &mut Value,
    parts: &[Value; 3],
    list: &Value,
    cx: &mut Cx<'_>,
) -> Result<(), Throw> {
    if matches!(base, Value::String(_)) {
        return Err(Throw::error("a slice of a string cannot be assigned"));
    }
    let Some(new) = list.as_array() else {
        return Err(Throw::error("a slice takes an array"));
    };
    let len = match base.as_array() {
        Some(view) => view.len(),
        None => as_array(base, cx)?.len(),
    };
    let range = Range::of([&parts[0], &parts[1], &parts[2]], len)?;
    if !parts[2].is_none() && range.step != 1 {
        return Err(Throw::error("a slice with a step cannot be assigned"));
    }
    if len + new.len() > LARGE_ENTRIES {
        return set_slice_large(base, range, list, cx);
    }
    cx.reserve_entries(len + new.len())?;
    let old = std::mem::take(as_array(base, cx)?);
    let start = usize::try_from(range.start).unwrap_or(0);
    let mut result = Array::with_capacity(old.len() - range.count + new.len());
    let mut add = |key: Key, value: Value| match key {
        Key::String(_) | Key::None => result.insert(key, value),
        _ => result.push(value),
    };
    for (at, (key, value)) in old.iter().enumerate() {
        if at == start {
            new.values().for_each(|value| add(Key::Integer(0), value));
        }
        if !(start..start + range.count).contains(&at) {
            add(key, value.clone());
        }
    }
    if start >= old.len() {
        new.values().for_each(|value| add(Key::Integer(0), value));
    }
    *as_array(base, cx)? = result;
    Ok(())
}

/// The entries of `base` with those of `list` in place of a range, in pieces.
#[cold]
fn set_slice_large(
    base: &mut Value,
    range: Range,
    list: &Value,
    cx: &mut Cx<'_>,
) -> Result<(), Throw> {
    let (first, count) = (Value::from(range.start as f64), Value::from(range.count));
    let operands = [&*base, list, &first, &count];
    if let Some(result) = pieces::prepared(cx, Work::Replace, &operands) {
        *base = result;
        return Ok(());
    }
    let len = |value: &Value| value.as_array().map_or(0, |view| view.len());
    cx.fits_entries(len(base).saturating_add(len(list)))?;
    let start = usize::try_from(range.start).unwrap_or(0);
    let replaced = replaced(base.clone(), start..start + range.count, list.clone());
    Err(pieces::prepare(Work::Replace, &operands, replaced))
}

/// The entries of `old` with the values of `new` in place of those at the positions `range`.
fn replaced(old: Value, range: std::ops::Range<usize>, new: Value) -> impl Pieces {
    let mut result = Array::new();
    let len = |value: &Value| value.as_array().map_or(0, |view| view.len());
    let kept = len(&old).saturating_sub(range.len());
    result.reserve(kept + len(&new));
    // Positions of the order, among which deleted entries count; entries that were seen; the same of the new ones.
    let (mut position, mut seen, mut new_position, mut inserted) = (0, 0, 0, false);
    move |cx: &mut Cx<'_>| {
        let at_place = seen == range.start || position == usize::MAX;
        if !inserted && at_place {
            let behind = pieces::walk(&new, new_position, cx, |_, value| {
                result.push(value);
                Ok(())
            })?;
            inserted = behind.is_none();
            new_position = behind.unwrap_or(0);
            return Ok(None);
        }
        if position == usize::MAX {
            return Ok(Some(std::mem::take(&mut result).into()));
        }
        // Up to the place of the new ones, then to the end.
        let most = if inserted {
            usize::MAX
        } else {
            range.start - seen
        };
        let behind = pieces::walk_most(&old, position, most, cx, |key, value| {
            if !range.contains(&seen) {
                match key {
                    key @ (Key::String(_) | Key::None) => result.insert(key, value),
                    _ => result.push(value),
                }
            }
            seen += 1;
            Ok(())
        })?;
        position = behind.unwrap_or(usize::MAX);
        Ok(None)
    }
}

/// Removes what `steps` lead to; whether it was there (6.7).
pub(in crate::vm) fn unset(
    base: &mut Value,
    steps: &[Resolved],
    caller: Caller<'_>,
    cx: &mut Cx<'_>,
) -> Result<bool, Throw> {
    let mut reached = unset_walk(base, steps, cx);
    loop {
        let (object, rest) = match reached {
            Walk::Done(result) => return result,
            Walk::Object(object, rest) => (object, rest),
        };
        let Some((step, rest)) = rest.split_first() else {
            return Ok(false);
        };
        let (Some(instance), Some(name)) = (Instance::of(&object), property_name(step)) else {
            return Ok(false);
        };
        if rest.is_empty() {
            return instance.unset(&name, caller);
        }
        instance.check_write(&name, caller, &Hints::default())?;
        match instance.with_existing(&name, |value| unset_walk(value, rest, cx)) {
            Some(next) => reached = next,
            None => return Ok(false),
        }
    }
}

fn unset_walk<'s>(base: &mut Value, steps: &'s [Resolved], cx: &mut Cx<'_>) -> Walk<'s, bool> {
    let mut current = base;
    let mut steps = steps;
    loop {
        let Some((step, rest)) = steps.split_first() else {
            return Walk::Done(Ok(false));
        };
        if let Value::Object(object) = current {
            return Walk::Object(Rc::clone(object), steps);
        }
        if rest.is_empty() {
            return Walk::Done(unset_last(current, step, cx));
        }
        let Resolved::Key(key) = step else {
            return Walk::Done(Ok(false));
        };
        // What is not there is not made, and what nobody will change is not copied.
        if current
            .as_array()
            .is_none_or(|view| view.get(key).is_none())
        {
            return Walk::Done(Ok(false));
        }
        current = match writable(current, cx) {
            Ok(Some(array)) => match array.get_mut(key) {
                Some(next) => next,
                None => return Walk::Done(Ok(false)),
            },
            Ok(None) => return Walk::Done(Ok(false)),
            Err(throw) => return Walk::Done(Err(throw)),
        };
        steps = rest;
    }
}

/// The entries of `base` without those of a range, with their keys, in pieces; whether there were any.
#[cold]
fn unset_slice_large(base: &mut Value, range: Range, cx: &mut Cx<'_>) -> Result<bool, Throw> {
    let parts = [range.start as f64, range.step as f64, range.count as f64].map(Value::from);
    let operands = [&*base, &parts[0], &parts[1], &parts[2]];
    if range.count == 0 {
        return Ok(false);
    }
    if let Some(result) = pieces::prepared(cx, Work::Remove, &operands) {
        *base = result;
        return Ok(true);
    }
    let len = base.as_array().map_or(0, |view| view.len());
    cx.fits_entries(len - range.count.min(len))?;
    let old = base.clone();
    // What is left of a list is one when its end goes.
    let is_end = range.step == 1 && range.contains(len.saturating_sub(1));
    let is_list = old.as_array().is_some_and(View::is_packed) && is_end;
    let mut result = if is_list {
        Array::new()
    } else {
        Array::keyed()
    };
    result.reserve(len - range.count.min(len));
    let (mut position, mut seen) = (0, 0);
    let removed = move |cx: &mut Cx<'_>| {
        let behind = pieces::walk(&old, position, cx, |key, value| {
            if !range.contains(seen) {
                result.insert(key, value);
            }
            seen += 1;
            Ok(())
        })?;
        position = behind.unwrap_or(0);
        let whole = behind.is_none();
        Ok(whole.then(|| std::mem::take(&mut result).into()))
    };
    Err(pieces::prepare(Work::Remove, &operands, removed))
}

fn unset_last(current: &mut Value, last: &Resolved, cx: &mut Cx<'_>) -> Result<bool, Throw> {
    match (last, &*current) {
        (_, Value::String(_)) => Err(Throw::error("a part of a string cannot be unset")),
        (Resolved::Key(key), Value::Array(_)) => {
            if current
                .as_array()
                .is_none_or(|view| view.get(key).is_none())
            {
                return Ok(false);
            }
            let len = current.as_array().map_or(0, |view| view.len());
            let last = matches!(key, Key::Integer(at) if *at + 1 == len as i64);
            if len > LARGE_ENTRIES && !last && current.as_array().is_some_and(View::is_packed) {
                keyed(current, cx)?;
            }
            without_gaps(current, cx)?;
            Ok(writable(current, cx)?
                .and_then(|array| array.remove(key))
                .is_some())
        }
        (Resolved::Slice(parts), Value::Array(_)) => {
            let Some(view) = current.as_array() else {
                return Ok(false);
            };
            let range = Range::of([&parts[0], &parts[1], &parts[2]], view.len())?;
            if view.len() > LARGE_ENTRIES {
                return unset_slice_large(current, range, cx);
            }
            cx.charge(view.len());
            let keys: Vec<Key> = view.iter().map(|(key, _)| key).collect();
            let Some(array) = writable(current, cx)? else {
                return Ok(false);
            };
            let mut any = false;
            for at in range.positions() {
                if let Some(key) = keys.get(at) {
                    any |= array.remove(key).is_some();
                }
            }
            Ok(any)
        }
        _ => Ok(false),
    }
}
