//! Registers: how values are read, written and cleared without more work than their kind needs.
//!
//! A value is written kind by kind: one that is made as a whole and then moved is read back before its parts have
//! reached memory, and the processor waits.

use angarium_lang::bytecode::MAX_REGISTERS;

use crate::convert::truthy;
use crate::inline;
use crate::string::Str;
use crate::value::Value;

/// The window of a running function: of fixed size, so that no access is checked.
pub(super) type Registers = [Value; MAX_REGISTERS];

/// The registers of the frame at `base`. Every frame's window was made when it was entered.
#[inline]
pub(super) fn window(stack: &mut [Value], base: usize) -> &mut Registers {
    match stack
        .get_mut(base..base + MAX_REGISTERS)
        .and_then(|window| window.try_into().ok())
    {
        Some(window) => window,
        None => unreachable!("frames are entered through `grow`"),
    }
}

/// Writes a number.
#[inline]
pub(super) fn put(slot: &mut Value, number: f64) {
    if is_plain(slot) {
        put_plain(slot, Value::Number(number));
    } else {
        put_cold(slot, number);
    }
}

/// Out of line, so that nothing has to be kept over the call that drops what was there.
#[inline(never)]
pub(super) fn put_cold(slot: &mut Value, number: f64) {
    *slot = Value::Number(number);
}

/// Writes a boolean, by its parts too.
#[inline]
pub(super) fn put_bool(slot: &mut Value, boolean: bool) {
    if is_plain(slot) {
        put_plain(slot, Value::Boolean(boolean));
    } else {
        put_bool_cold(slot, boolean);
    }
}

#[inline(never)]
pub(super) fn put_bool_cold(slot: &mut Value, boolean: bool) {
    *slot = Value::Boolean(boolean);
}

/// Writes over what needs no drop.
#[inline]
pub(super) fn put_plain(slot: &mut Value, value: Value) {
    std::mem::forget(std::mem::replace(slot, value));
}

/// Drops what is in a register.
#[inline(never)]
pub(super) fn clear_cold(slot: &mut Value) {
    *slot = Value::Undefined;
}

/// Writes a copy of a value that is somewhere else. Kind by kind: a copy that is made in one place and then moved to
/// another as a whole is read back before it was written, and the processor waits. Numbers are the commonest.
macro_rules! copy_value {
    ($from:expr, $to:expr) => {
        match $from {
            $crate::value::Value::Number(number) => {
                let number = *number;
                $crate::vm::registers::put($to, number);
            }
            $crate::value::Value::Boolean(boolean) => {
                let boolean = *boolean;
                $crate::vm::registers::put_bool($to, boolean);
            }
            $crate::value::Value::String($crate::string::Str::Heap(text)) => {
                let text = ::std::rc::Rc::clone(text);
                $crate::vm::registers::put_made($to, || {
                    $crate::value::Value::String($crate::string::Str::Heap(text))
                });
            }
            $crate::value::Value::String($crate::string::Str::Block(text)) => {
                let text = ::std::rc::Rc::clone(text);
                $crate::vm::registers::put_made($to, || {
                    $crate::value::Value::String($crate::string::Str::Block(text))
                });
            }
            $crate::value::Value::String($crate::string::Str::Inline(length, bytes)) => {
                let (length, words) = (*length, $crate::inline::words(bytes));
                $crate::vm::registers::put_short($to, length, words);
            }
            $crate::value::Value::Array(array) => {
                let array = ::std::rc::Rc::clone(array);
                $crate::vm::registers::put_made($to, || $crate::value::Value::Array(array));
            }
            $crate::value::Value::Object(object) => {
                let object = ::std::rc::Rc::clone(object);
                $crate::vm::registers::put_made($to, || $crate::value::Value::Object(object));
            }
            other => {
                let value = other.clone();
                $crate::vm::registers::set($to, value);
            }
        }
    };
}

pub(super) use copy_value;

/// As [`copy_value`] from a place that is no register of this window: bytes of short strings go there at once.
#[inline]
pub(super) fn copy(to: &mut Value, from: &Value) {
    if let Value::String(Str::Inline(length, bytes)) = from {
        put_short(to, *length, inline::words(bytes));
    } else {
        copy_value!(from, to);
    }
}

/// Takes a value out of a register. Numbers go by their two parts: a register is written so, and reading it back as
/// a whole would wait for the writes.
#[inline]
pub(super) fn take(slot: &mut Value) -> Value {
    if let Value::Number(number) = *slot {
        std::mem::forget(std::mem::replace(slot, Value::Undefined));
        return Value::Number(number);
    }
    std::mem::replace(slot, Value::Undefined)
}

/// Moves a value to where there is none. Numbers go by their parts, as in [`take`].
#[inline]
pub(super) fn shift(from: &mut Value, to: &mut Value) {
    match *from {
        Value::Undefined if matches!(to, Value::Undefined) => {}
        Value::Number(number) if is_plain(to) => {
            put_plain(from, Value::Undefined);
            put_plain(to, Value::Number(number));
        }
        _ => std::mem::swap(from, to),
    }
}

/// Whether dropping the value does nothing.
#[inline]
pub(super) fn is_plain(value: &Value) -> bool {
    value.is_plain()
}

/// Writes a register; the drop of what was there is left out where it would do nothing, and out of line where it does
/// something: so the value goes straight to its place.
#[inline(always)]
pub(super) fn set(slot: &mut Value, value: Value) {
    if !is_plain(slot) {
        clear_cold(slot);
    }
    std::mem::forget(std::mem::replace(slot, value));
}

/// Writes a register with what `make` puts together, after what was there is dropped: so its parts go straight to their
/// place.
#[inline(always)]
pub(super) fn put_made(slot: &mut Value, make: impl FnOnce() -> Value) {
    if !is_plain(slot) {
        clear_cold(slot);
    }
    put_plain(slot, make());
}

/// Writes a short string.
#[inline(always)]
pub(super) fn put_short(slot: &mut Value, length: u8, words: inline::Words) {
    put_made(slot, || {
        Value::String(Str::Inline(length, inline::bytes(words)))
    });
}

/// Moves the value of a register, which is no number, to another one, by the parts that its kind has, as in [`take`].
#[inline(never)]
pub(super) fn move_to(from: &mut Value, to: &mut Value) {
    match from {
        Value::String(Str::Inline(length, bytes)) => {
            put_short(to, *length, inline::words(bytes));
            put_plain(from, Value::Undefined);
        }
        Value::Object(_) => {
            if let Value::Object(object) = std::mem::replace(from, Value::Undefined) {
                put_made(to, || Value::Object(object));
            }
        }
        Value::Array(_) => {
            if let Value::Array(array) = std::mem::replace(from, Value::Undefined) {
                put_made(to, || Value::Array(array));
            }
        }
        Value::String(Str::Heap(_)) => {
            if let Value::String(Str::Heap(text)) = std::mem::replace(from, Value::Undefined) {
                put_made(to, || Value::String(Str::Heap(text)));
            }
        }
        Value::String(Str::Block(_)) => {
            if let Value::String(Str::Block(text)) = std::mem::replace(from, Value::Undefined) {
                put_made(to, || Value::String(Str::Block(text)));
            }
        }
        _ => {
            clear(to);
            std::mem::swap(from, to);
        }
    }
}

/// Whether a value counts as true: the common kinds at once.
#[inline(always)]
pub(super) fn holds(value: &Value) -> bool {
    match value {
        Value::Boolean(boolean) => *boolean,
        Value::Number(number) => *number != 0.0,
        other => truthy(other),
    }
}

/// Undefines a register.
#[inline]
pub(super) fn clear(slot: &mut Value) {
    if is_plain(slot) {
        put_plain(slot, Value::Undefined);
    } else {
        clear_cold(slot);
    }
}

/// Writes a text, made in place.
#[inline]
pub(super) fn put_text(slot: &mut Value, text: &[u8]) {
    match inline::of(text) {
        Some(words) => put_short(slot, text.len() as u8, words),
        None => set(slot, Value::bytes(text)),
    }
}

/// Undefines registers.
#[inline]
pub(super) fn wipe(registers: &mut [Value]) {
    for register in registers {
        if !is_plain(register) {
            clear_cold(register);
        } else if !matches!(register, Value::Undefined) {
            put_plain(register, Value::Undefined);
        }
    }
}

#[inline]
pub(super) fn r(index: u8) -> usize {
    usize::from(index)
}

/// Writes a string of one byte.
#[inline]
pub(super) fn put_byte(slot: &mut Value, byte: u8) {
    put_made(slot, || Value::String(Str::byte(byte)));
}

/// The truth of a boolean or number; none for the other kinds, whose truth takes longer. The two are asked for one
/// after the other: a table of jumps would be slower.
#[inline(always)]
pub(super) fn short_truth(value: &Value) -> Option<bool> {
    match value {
        Value::Boolean(boolean) => Some(*boolean),
        Value::Number(number) => Some(*number != 0.0),
        _ => None,
    }
}

/// Writes what a built-in gave, kind by kind as well; leaves the short ways with what it threw.
macro_rules! result {
    ($result:expr, $to:expr, $thrown:lifetime) => {
        match $result {
            Ok($crate::value::Value::Number(number)) => $crate::vm::registers::put($to, number),
            Ok($crate::value::Value::Boolean(boolean)) => {
                $crate::vm::registers::put_bool($to, boolean);
            }
            Ok($crate::value::Value::String($crate::string::Str::Inline(length, bytes))) => {
                let words = $crate::inline::words(&bytes);
                $crate::vm::registers::put_short($to, length, words);
            }
            Ok($crate::value::Value::String($crate::string::Str::Heap(text))) => {
                $crate::vm::registers::put_made($to, || {
                    $crate::value::Value::String($crate::string::Str::Heap(text))
                });
            }
            Ok($crate::value::Value::String($crate::string::Str::Block(text))) => {
                $crate::vm::registers::put_made($to, || {
                    $crate::value::Value::String($crate::string::Str::Block(text))
                });
            }
            Ok($crate::value::Value::Array(array)) => {
                $crate::vm::registers::put_made($to, || $crate::value::Value::Array(array));
            }
            Ok(value) => $crate::vm::registers::set($to, value),
            Err(throw) => break $thrown throw,
        }
    };
}
pub(super) use result;
