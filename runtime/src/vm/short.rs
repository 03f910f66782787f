//! Short ways that are too long for the loop itself: elements that are there, texts that are short, entries of `foreach`.
//!
//! Each function does an instruction as a whole and says so, or leaves everything as it was for the long way.

use std::rc::Rc;

use angarium_lang::bytecode::{Instr, MAX_REGISTERS, Op, Part, PathOp, Step};

use crate::array::{Array, KeyRef, MAX_ENTRIES};
use crate::frozen::FrozenValue;
use crate::host::Matched;
use crate::inline;
use crate::instance::{Caller, Hints, Instance};
use crate::map_set::{Answer, Quick};
use crate::value::{ArrayRef, Value};
use crate::vm::ops::path::element;
use crate::vm::registers::{
    Registers, clear, copy, copy_value, put, put_short, put_text, r, set, take, wipe,
};

/// a := b[key] where b is an array.
#[inline(never)]
pub(super) fn index(regs: &mut Registers, instr: Instr, constants: &[Value]) -> bool {
    let key = match instr.op {
        Op::IndexK => constants.get(instr.d as usize),
        _ => regs.get(r(instr.c)),
    };
    // The element of a list that is there.
    if let (Some(Value::Number(at)), Value::Array(array)) = (key, &regs[r(instr.b)])
        && let ArrayRef::Local(array) = &**array
        && let Some(found) = array.get_index(*at as i64)
    {
        copy_value!(found, &mut regs[r(instr.a)]);
        return true;
    }
    let (Some(key), Value::Array(array)) = (key.and_then(KeyRef::cast), &regs[r(instr.b)]) else {
        return false;
    };
    match &**array {
        ArrayRef::Local(array) => {
            let Some(found) = array.find(key) else {
                set(&mut regs[r(instr.a)], Value::None);
                return true;
            };
            copy_value!(found, &mut regs[r(instr.a)]);
        }
        ArrayRef::Frozen(index, pin) => match pin.array(*index).find(key) {
            None => set(&mut regs[r(instr.a)], Value::None),
            Some(FrozenValue::Number(number)) => put(&mut regs[r(instr.a)], number),
            Some(FrozenValue::Short(len, bytes)) => {
                put_short(&mut regs[r(instr.a)], len, inline::words(&bytes));
            }
            Some(found) => {
                let value = pin.value(found);
                set(&mut regs[r(instr.a)], value);
            }
        },
    }
    true
}

/// a := b[the number d] where b is an array of this thread that has it.
#[inline(never)]
pub(super) fn index_int(regs: &mut Registers, instr: Instr) -> bool {
    if let Value::Array(array) = &regs[r(instr.b)]
        && let ArrayRef::Local(array) = &**array
        && let Some(found) = array.get_index(i64::from(instr.int()))
    {
        copy_value!(found, &mut regs[r(instr.a)]);
        return true;
    }
    false
}

/// Whether `isset(b[c])` where b is an array.
#[inline(never)]
pub(super) fn isset(regs: &Registers, instr: Instr) -> Option<bool> {
    let (Value::Array(array), Some(key)) = (&regs[r(instr.b)], KeyRef::cast(&regs[r(instr.c)]))
    else {
        return None;
    };
    Some(match &**array {
        ArrayRef::Local(array) => array.find(key).is_some(),
        ArrayRef::Frozen(index, pin) => pin.array(*index).find(key).is_some(),
    })
}

/// The array that a value is, if nobody else holds it.
#[inline]
fn own(value: &mut Value) -> Option<&mut Array> {
    let Value::Array(array) = value else {
        return None;
    };
    match Rc::get_mut(array) {
        Some(ArrayRef::Local(array)) => Some(array),
        _ => None,
    }
}

/// The place that one or two steps lead to from register `a`, if all is there.
#[inline]
fn place<'r>(
    regs: &'r mut Registers,
    a: u8,
    steps: &[Step],
    constants: &[Value],
) -> Option<&'r mut Value> {
    let constant = |index: u32| constants.get(index as usize);
    match *steps {
        [Step::Const(key)] => element(&mut regs[r(a)], constant(key)?),
        [Step::Const(first), Step::Const(second)] => element(
            element(&mut regs[r(a)], constant(first)?)?,
            constant(second)?,
        ),
        [Step::Key(key)] => {
            let [base, key] = regs.get_disjoint_mut([r(a), r(key)]).ok()?;
            element(base, key)
        }
        [Step::Key(key), Step::Const(second)] => {
            let [base, key] = regs.get_disjoint_mut([r(a), r(key)]).ok()?;
            element(element(base, key)?, constant(second)?)
        }
        [Step::Const(first), Step::Key(key)] => {
            let [base, key] = regs.get_disjoint_mut([r(a), r(key)]).ok()?;
            element(element(base, constant(first)?)?, key)
        }
        [Step::Key(first), Step::Key(second)] => {
            let places = [r(a), r(first), r(second)];
            let [base, first, second] = regs.get_disjoint_mut(places).ok()?;
            element(element(base, first)?, second)
        }
        _ => None,
    }
}

/// What an operator makes of two numbers: the four that scripts mostly use.
#[inline]
fn combine(op: Option<PathOp>, old: f64, by: f64) -> Option<f64> {
    match op? {
        PathOp::Add => Some(old + by),
        PathOp::Sub => Some(old - by),
        PathOp::Mul => Some(old * by),
        PathOp::Div => Some(old / by),
        _ => None,
    }
}

/// a := b(path), if all of it is there.
#[inline(never)]
pub(super) fn get_path(
    regs: &mut Registers,
    instr: Instr,
    steps: &[Step],
    constants: &[Value],
) -> bool {
    let mut found = &regs[r(instr.b)];
    for step in steps {
        let Value::Array(array) = found else {
            return false;
        };
        let ArrayRef::Local(array) = &**array else {
            return false;
        };
        let key = match step {
            Step::Const(key) => constants.get(*key as usize),
            Step::Key(key) => regs.get(r(*key)),
            _ => None,
        };
        let next = match key {
            Some(Value::Number(at)) => array.get_index(*at as i64),
            Some(key) => KeyRef::cast(key).and_then(|key| array.find(key)),
            None => None,
        };
        let Some(next) = next else {
            return false;
        };
        found = next;
    }
    if let Value::Number(number) = *found {
        put(&mut regs[r(instr.a)], number);
    } else {
        let value = found.clone();
        set(&mut regs[r(instr.a)], value);
    }
    true
}

/// a(path) := a(path) op b for numbers.
#[inline(never)]
pub(super) fn update(
    regs: &mut Registers,
    instr: Instr,
    steps: &[Step],
    constants: &[Value],
) -> bool {
    let Value::Number(by) = regs[r(instr.b)] else {
        return false;
    };
    let op = PathOp::ALL.get(r(instr.c)).copied();
    if let (Value::Cell(cell), []) = (&regs[r(instr.a)], steps) {
        let old = match *cell.borrow() {
            Value::Number(old) => old,
            _ => return false,
        };
        return combine(op, old, by).is_some_and(|new| cell.put(new));
    }
    let Some(Value::Number(number)) = place(regs, instr.a, steps, constants) else {
        return false;
    };
    match combine(op, *number, by) {
        Some(new) => {
            *number = new;
            true
        }
        None => false,
    }
}

/// a(path) := b
#[inline(never)]
pub(super) fn set_path(
    regs: &mut Registers,
    instr: Instr,
    steps: &[Step],
    constants: &[Value],
) -> bool {
    let moved = instr.c == 1;
    if let Value::Number(number) = regs[r(instr.b)] {
        let Some(slot) = place(regs, instr.a, steps, constants) else {
            return false;
        };
        put(slot, number);
        return true;
    }
    let value = if moved {
        take(&mut regs[r(instr.b)])
    } else {
        regs[r(instr.b)].clone()
    };
    match place(regs, instr.a, steps, constants) {
        Some(slot) => {
            set(slot, value);
            true
        }
        None => {
            if moved {
                set(&mut regs[r(instr.b)], value);
            }
            false
        }
    }
}

/// a->name := b, a->name := a->name op b: for a property that is where it was found last time, and numbers.
#[inline(never)]
pub(super) fn property(
    regs: &mut Registers,
    instr: Instr,
    (name, caller): (u32, Caller<'_>),
    constants: &[Value],
    hints: &[Hints],
) -> bool {
    let (Value::Object(object), Some(Value::String(text)), Some(hints)) = (
        &regs[r(instr.a)],
        constants.get(name as usize),
        hints.get(name as usize),
    ) else {
        return false;
    };
    let (Some(instance), Value::Number(number)) = (Instance::of(object), &regs[r(instr.b)]) else {
        return false;
    };
    let (number, op) = (*number, PathOp::ALL.get(r(instr.c)).copied());
    let written = instance.with_known(text, caller, hints, |slot| {
        if instr.op == Op::SetPath {
            if let Value::Number(old) = slot {
                *old = number;
                return true;
            }
            return false;
        }
        let Value::Number(old) = slot else {
            return false;
        };
        match combine(op, *old, number) {
            Some(new) => {
                *old = new;
                true
            }
            None => false,
        }
    });
    match written {
        Some(done) => done,
        None => instr.op == Op::SetPath && instance.add_known(text, caller, hints, number),
    }
}

/// a[key] := value
#[inline(never)]
pub(super) fn set_index(regs: &mut Registers, instr: Instr, constants: &[Value]) -> bool {
    let (from, moved) = match instr.op {
        Op::SetIndex => (instr.c, false),
        Op::MoveIndex => (instr.c, true),
        Op::SetIndexK => (instr.b, false),
        _ => (instr.b, true),
    };
    let keyed = matches!(instr.op, Op::SetIndex | Op::MoveIndex);
    // The value may be the array itself, and is not to be lost when the short way is none.
    if from == instr.a || (keyed && instr.b == instr.a) || own(&mut regs[r(instr.a)]).is_none() {
        return false;
    }
    let value = if moved {
        take(&mut regs[r(from)])
    } else {
        regs[r(from)].clone()
    };
    let stored = if keyed {
        match regs.get_disjoint_mut([r(instr.a), r(instr.b)]) {
            Ok([base, key]) => store(base, key, value),
            Err(_) => Err(value),
        }
    } else {
        match constants.get(instr.d as usize) {
            Some(key) => store(&mut regs[r(instr.a)], key, value),
            None => Err(value),
        }
    };
    match stored {
        Ok(()) => true,
        Err(value) => {
            if moved {
                set(&mut regs[r(from)], value);
            }
            false
        }
    }
}

#[inline]
fn store(base: &mut Value, key: &Value, value: Value) -> Result<(), Value> {
    let (Some(array), Some(key)) = (own(base), KeyRef::cast(key)) else {
        return Err(value);
    };
    let full = array.len() >= MAX_ENTRIES || array.is_full_and_large();
    if let Some(slot) = array.find_mut(key) {
        set(slot, value);
    } else if full {
        return Err(value);
    } else {
        array.insert(key.to_key(), value);
    }
    Ok(())
}

/// a[] := b
#[inline(never)]
pub(super) fn push(regs: &mut Registers, instr: Instr) -> bool {
    let Ok([base, from]) = regs.get_disjoint_mut([r(instr.a), r(instr.b)]) else {
        return false;
    };
    match own(base) {
        Some(array) if array.len() < MAX_ENTRIES && !array.is_full_and_large() => {
            let value = if instr.op == Op::MovePush {
                take(from)
            } else {
                from.clone()
            };
            array.push(value);
            true
        }
        _ => false,
    }
}

/// What method d of the Map or Set c answers to the b arguments a+1, a+2 …, which become undefined.
#[inline(never)]
pub(super) fn table_method(regs: &mut Registers, instr: Instr, quick: Quick) -> Option<Answer> {
    let first = r(instr.a) + 1;
    let end = (first + r(instr.b)).min(MAX_REGISTERS);
    let (Value::Object(object), Some(args)) = (&regs[r(instr.c)], regs.get(first..end)) else {
        return None;
    };
    let answer = quick.answer(object.as_table()?, args)?;
    wipe(regs.get_mut(first..end).unwrap_or_default());
    Some(answer)
}

/// Up to this length of a text appending to it needs no look at the budgets.
const CHEAP: usize = 1 << 16;

/// a := a . b, or the constant `text`, when that is short.
#[inline(never)]
pub(super) fn append(regs: &mut Registers, instr: Instr, text: Option<&Value>) -> bool {
    let (left, right) = match text {
        Some(text) => (&mut regs[r(instr.a)], text),
        None => match regs.get_disjoint_mut([r(instr.a), r(instr.b)]) {
            Ok([left, right]) => (left, &*right),
            Err(_) => return false,
        },
    };
    let Value::String(left) = left else {
        return false;
    };
    if left.len() > CHEAP {
        return false;
    }
    match right {
        Value::String(right) if right.len() <= 64 => left.push(right.as_bytes()),
        Value::Number(number) => match crate::convert::whole(*number) {
            Some(whole) => left.push(itoa::Buffer::new().format(whole).as_bytes()),
            None => return false,
        },
        _ => return false,
    }
    true
}

/// a := the c texts and whole numbers b, b+1 … joined, when that is short; `parts` tells which of them are elsewhere.
#[inline(never)]
pub(super) fn concat(
    regs: &mut Registers,
    instr: Instr,
    parts: &[Part],
    constants: &[Value],
) -> bool {
    let mut out = [0; JOINED];
    let mut len = 0;
    let (first, count) = (r(instr.b), r(instr.c));
    for at in 0..count {
        let value = match parts.get(at) {
            None | Some(Part::Here) => regs.get(first + at),
            Some(Part::Register(register)) => regs.get(r(*register)),
            Some(Part::Const(index)) => constants.get(*index as usize),
        };
        let mut digits = itoa::Buffer::new();
        let bytes = match value {
            Some(Value::String(text)) => text.as_bytes(),
            Some(Value::Number(number)) => match crate::convert::whole(*number) {
                Some(whole) => digits.format(whole).as_bytes(),
                None => return false,
            },
            _ => return false,
        };
        let end = len + bytes.len();
        let Some(to) = out.get_mut(len..end) else {
            return false;
        };
        to.copy_from_slice(bytes);
        len = end;
    }
    for (at, slot) in regs.iter_mut().skip(first).take(count).enumerate() {
        if matches!(parts.get(at), None | Some(Part::Here)) {
            clear(slot);
        }
    }
    let joined = out.get(..len).unwrap_or_default();
    put_text(&mut regs[r(instr.a)], joined);
    true
}

/// Longest text that is put together on the stack.
const JOINED: usize = 96;

/// Whether text b matches the compiled pattern c, or not; and the fuel that it took.
#[inline(never)]
pub(super) fn matches(regs: &Registers, instr: Instr) -> Option<(bool, i64)> {
    let (Value::String(subject), Value::Object(pattern)) = (&regs[r(instr.b)], &regs[r(instr.c)])
    else {
        return None;
    };
    let matched = match pattern.as_regex()?.compiled.is_match(subject.as_bytes()) {
        Matched::Yes => true,
        Matched::No => false,
        Matched::Limit => return None,
    };
    let fuel = i64::try_from(subject.len() / 16).ok()?;
    Some((matched == (instr.op == Op::Match), fuel))
}

/// What became of [`next`].
pub(super) enum Advance {
    /// The entry is in its registers.
    Entry,
    /// There is none.
    End,
    /// The long way is to be taken.
    Long,
}

/// The next entry of array a, whose position is in the register behind it: key and value to b and c, or the value to b.
#[inline(never)]
pub(super) fn next(regs: &mut Registers, instr: Instr) -> Advance {
    let (subject, state) = (r(instr.a), r(instr.a.saturating_add(1)));
    let pair = instr.op == Op::NextPair;
    let (key, value) = if pair {
        (Some(r(instr.b)), r(instr.c))
    } else {
        (None, r(instr.b))
    };
    let (Value::Array(array), Value::Number(at)) = (&regs[subject], &regs[state]) else {
        return Advance::Long;
    };
    let at = *at as usize;
    match &**array {
        ArrayRef::Local(_) => {
            // Only the registers that are written are taken apart from that of the array.
            let Ok([from, to]) = regs.get_disjoint_mut([subject, value]) else {
                return Advance::Long;
            };
            let Value::Array(array) = from else {
                return Advance::Long;
            };
            let ArrayRef::Local(array) = &**array else {
                return Advance::Long;
            };
            let Some((name, found, next)) = array.entry_ref(at) else {
                return Advance::End;
            };
            copy(to, found);
            let name = key.map(|_| match name {
                KeyRef::None => Value::None,
                KeyRef::Integer(number) => Value::Number(number as f64),
                KeyRef::String(text) => Value::String(text.clone()),
            });
            put(&mut regs[state], next as f64);
            if let (Some(key), Some(name)) = (key, name) {
                set(&mut regs[key], name);
            }
        }
        ArrayRef::Frozen(index, pin) => {
            let array = pin.array(*index);
            let Some(found) = array.value_at(at) else {
                return Advance::End;
            };
            let found = pin.value(found);
            let name = match key {
                Some(_) => array.entry_at(at).map(|(name, _)| name.to_value()),
                None => None,
            };
            set(&mut regs[value], found);
            put(&mut regs[state], (at + 1) as f64);
            if let (Some(key), Some(name)) = (key, name) {
                set(&mut regs[key], name);
            }
        }
    }
    Advance::Entry
}
