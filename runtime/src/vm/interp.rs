//! The loop.
//!
//! The state of the running frame is in locals: code, counter, base, and the window of registers, an array of fixed
//! size so that no register access is checked. Whatever may change the frames (calls, returns, throws) sets them anew.

use std::rc::Rc;
use std::sync::Arc;

use angarium_lang::bytecode::{Instr, MAX_REGISTERS, Op, PathOp};

use crate::array::{Array, Key, KeyRef, View};
use crate::cache::CachedCall;
use crate::cell::VarCell;
use crate::convert::{self, to_number, truthy};
use crate::generator::Generator;
use crate::instance::{Caller, Hint, Hints, Instance};
use crate::library::Library;
use crate::native::{Args, Cx, Imp, Input, Native, NativeFn, PlainFn, Throw};
use crate::object::{Function, UserFunction};
use crate::string::Str;
use crate::value::{ArrayRef, Value};
use crate::vm::call::{Called, Callee};
use crate::vm::execution::Exit;
use crate::vm::fiber::{Consumer, Fiber, Frame, FrameKind, MAX_DEPTH, Tick};
use crate::vm::ops::compare::{self, Order};
use crate::vm::ops::{Registers, arith, array, element, path, room, writable};

/// The registers of the frame at `base`. Every frame's window was made when it was entered.
#[inline]
fn window(stack: &mut [Value], base: usize) -> &mut Registers {
    match stack
        .get_mut(base..base + MAX_REGISTERS)
        .and_then(|window| window.try_into().ok())
    {
        Some(window) => window,
        None => unreachable!("frames are entered through `grow`"),
    }
}

/// Writes a number; most registers that take one hold one already, and then nothing is dropped.
#[inline]
fn put(slot: &mut Value, number: f64) {
    if let Value::Number(old) = slot {
        *old = number;
    } else if is_plain(slot) {
        put_plain(slot, Value::Number(number));
    } else {
        put_cold(slot, number);
    }
}

/// Out of line, so that nothing has to be kept over the call that drops what was there.
#[inline(never)]
fn put_cold(slot: &mut Value, number: f64) {
    *slot = Value::Number(number);
}

/// Writes a boolean, by its parts too.
#[inline]
fn put_bool(slot: &mut Value, boolean: bool) {
    if is_plain(slot) {
        put_plain(slot, Value::Boolean(boolean));
    } else {
        put_bool_cold(slot, boolean);
    }
}

#[inline(never)]
fn put_bool_cold(slot: &mut Value, boolean: bool) {
    *slot = Value::Boolean(boolean);
}

/// Writes over what needs no drop.
#[inline]
fn put_plain(slot: &mut Value, value: Value) {
    std::mem::forget(std::mem::replace(slot, value));
}

/// Drops what is in a register.
#[inline(never)]
fn clear_cold(slot: &mut Value) {
    *slot = Value::Undefined;
}

/// Writes a copy of a value that is somewhere else. Kind by kind: a copy that is made in one place and then moved to
/// another as a whole is read back before it was written, and the processor waits.
macro_rules! copy_value {
    ($from:expr, $to:expr) => {
        match $from {
            Value::Number(number) => {
                let number = *number;
                put($to, number);
            }
            Value::Boolean(boolean) => {
                let boolean = *boolean;
                put_bool($to, boolean);
            }
            Value::String(Str::Heap(text)) => {
                let text = Rc::clone(text);
                set($to, Value::String(Str::Heap(text)));
            }
            Value::String(Str::Inline(length, bytes)) => {
                let (length, bytes) = (*length, *bytes);
                set($to, Value::String(Str::Inline(length, bytes)));
            }
            Value::Array(array) => {
                let array = Rc::clone(array);
                set($to, Value::Array(array));
            }
            Value::Object(object) => {
                let object = Rc::clone(object);
                set($to, Value::Object(object));
            }
            other => {
                let value = other.clone();
                set($to, value);
            }
        }
    };
}

/// As [`copy_value`] from a place that is no register of this window: bytes of short strings go there at once.
#[inline]
fn copy(to: &mut Value, from: &Value) {
    if let Value::String(Str::Inline(length, bytes)) = from {
        if !is_plain(to) {
            clear_cold(to);
        }
        put_plain(to, Value::String(Str::Inline(*length, *bytes)));
    } else {
        copy_value!(from, to);
    }
}

/// Writes what a built-in gave, kind by kind as well; leaves the handlers with what it threw.
macro_rules! result {
    ($result:expr, $to:expr, $thrown:lifetime) => {
        match $result {
            Ok(Value::Number(number)) => put($to, number),
            Ok(Value::Boolean(boolean)) => put_bool($to, boolean),
            Ok(Value::String(Str::Heap(text))) => set($to, Value::String(Str::Heap(text))),
            Ok(Value::String(Str::Inline(length, bytes))) => {
                set($to, Value::String(Str::Inline(length, bytes)));
            }
            Ok(Value::Array(array)) => set($to, Value::Array(array)),
            Ok(value) => set($to, value),
            Err(throw) => break $thrown throw,
        }
    };
}

/// Takes a value out of a register. Numbers go by their two parts: a register is written so, and reading it back as
/// a whole would wait for the writes.
#[inline]
fn take(slot: &mut Value) -> Value {
    if let Value::Number(number) = *slot {
        std::mem::forget(std::mem::replace(slot, Value::Undefined));
        return Value::Number(number);
    }
    std::mem::replace(slot, Value::Undefined)
}

/// Whether dropping the value does nothing.
#[inline]
fn is_plain(value: &Value) -> bool {
    matches!(
        value,
        Value::Undefined | Value::None | Value::Boolean(_) | Value::Number(_)
    )
}

/// Writes a register; the drop of what was there is left out where it would do nothing, and out of line where it does
/// something: so the value goes straight to its place.
#[inline(always)]
fn set(slot: &mut Value, value: Value) {
    if !is_plain(slot) {
        clear_cold(slot);
    }
    std::mem::forget(std::mem::replace(slot, value));
}

/// Whether a value counts as true: the common kinds at once.
#[inline(always)]
fn holds(value: &Value) -> bool {
    match value {
        Value::Boolean(boolean) => *boolean,
        Value::Number(number) => *number != 0.0,
        other => truthy(other),
    }
}

/// Undefines registers.
#[inline]
fn wipe(registers: &mut [Value]) {
    for register in registers {
        if !is_plain(register) {
            clear_cold(register);
        } else if !matches!(register, Value::Undefined) {
            put_plain(register, Value::Undefined);
        }
    }
}

#[inline]
fn r(index: u8) -> usize {
    usize::from(index)
}

/// The operator of an arithmetic instruction.
fn path_op(op: Op) -> PathOp {
    match op {
        Op::Sub | Op::SubI => PathOp::Sub,
        Op::Mul | Op::MulI => PathOp::Mul,
        Op::Div | Op::DivI => PathOp::Div,
        Op::Rem | Op::RemI => PathOp::Rem,
        Op::Pow => PathOp::Pow,
        Op::BitAnd => PathOp::BitAnd,
        Op::BitOr => PathOp::BitOr,
        Op::BitXor => PathOp::BitXor,
        Op::Shl => PathOp::Shl,
        Op::Shr => PathOp::Shr,
        Op::UShr => PathOp::UShr,
        _ => PathOp::Add,
    }
}

/// a := b op c beside the fast path.
#[cold]
#[inline(never)]
fn binary(registers: &mut Registers, instr: Instr, cx: &mut Cx<'_>) -> Result<(), Throw> {
    let right = registers[r(instr.c)].clone();
    binary_with(registers, instr, &right, cx)
}

/// a := b op the number d beside the fast path.
#[cold]
#[inline(never)]
fn binary_int(registers: &mut Registers, instr: Instr, cx: &mut Cx<'_>) -> Result<(), Throw> {
    binary_with(registers, instr, &Value::Number(f64::from(instr.int())), cx)
}

fn binary_with(
    registers: &mut Registers,
    instr: Instr,
    right: &Value,
    cx: &mut Cx<'_>,
) -> Result<(), Throw> {
    let op = path_op(instr.op);
    if instr.a == instr.b {
        return arith::update(&mut registers[r(instr.a)], op, right, cx);
    }
    let mut left = registers[r(instr.b)].clone();
    arith::update(&mut left, op, right, cx)?;
    registers[r(instr.a)] = left;
    Ok(())
}

/// As [`to_number`]; a long text is charged for.
#[inline]
fn number_of(value: &Value, cx: &mut Cx<'_>) -> f64 {
    if let Value::String(text) = value {
        cx.charge(text.len() / 16);
    }
    to_number(value)
}

#[cold]
#[inline(never)]
fn order(
    registers: &Registers,
    a: u8,
    b: u8,
    wanted: Order,
    cx: &mut Cx<'_>,
) -> Result<bool, Throw> {
    compare::order(&registers[r(a)], &registers[r(b)], wanted, cx)
}

#[cold]
#[inline(never)]
fn order_int(
    registers: &Registers,
    a: u8,
    number: i16,
    wanted: Order,
    cx: &mut Cx<'_>,
) -> Result<bool, Throw> {
    compare::order(
        &registers[r(a)],
        &Value::Number(f64::from(number)),
        wanted,
        cx,
    )
}

/// a := the c strings of b, b+1 … joined
fn concat(registers: &mut Registers, instr: Instr, cx: &mut Cx<'_>) -> Result<(), Throw> {
    let first = r(instr.b);
    let end = (first + r(instr.c)).min(MAX_REGISTERS);
    // Two short strings need no detour.
    let mut total = 0;
    for value in &registers[first..end] {
        total += match value {
            Value::String(string) => string.len(),
            Value::Number(_) => 8,
            _ => 16,
        };
    }
    if total > 64 {
        cx.reserve(total)?;
    }
    // The first part grows in place when it is a long string that nobody else holds.
    if let Value::String(string) = &registers[first]
        && string.len() > crate::string::INLINE
        && string.len() * 2 > total
    {
        let mut text = take(&mut registers[first]);
        for register in &mut registers[first + 1..end] {
            let part = take(register);
            arith::concat(&mut text, &part, cx)?;
        }
        registers[r(instr.a)] = text;
        return Ok(());
    }
    let mut text = Vec::with_capacity(total);
    for slot in &mut registers[first..end] {
        if let Value::Array(_) = slot {
            text.extend_from_slice(&crate::vm::ops::text(slot, cx)?);
        } else {
            convert::write_str(&mut text, slot);
        }
        if !matches!(slot, Value::Number(_)) {
            *slot = Value::Undefined;
        }
    }
    if text.len() > total {
        cx.reserve(text.len())?;
    }
    registers[r(instr.a)] = Value::from(text);
    Ok(())
}

/// The method of an object of the library that was found last time, if it fits and neither waits nor calls back.
#[inline]
fn plain_method<'l>(
    object: &Value,
    hints: &Hints,
    library: &'l Library,
) -> Option<(PlainFn, &'l Native)> {
    let Value::Object(object) = object else {
        return None;
    };
    let class = object.class();
    let hint = hints.of(class.0).get();
    if hint.class != class.0 | Hint::NATIVE || object.downcast::<Generator>().is_some() {
        return None;
    }
    let native = library.native(NativeFn(hint.target));
    match native.decl.imp {
        Imp::Plain(function) => Some((function, native)),
        _ => None,
    }
}

#[cold]
fn undefined(names: &[Box<str>], index: u32) -> Throw {
    let name = names.get(index as usize).map_or("?", |name| name);
    Throw::error(format!("undefined variable ${name}"))
}

/// a := b[c] beside the fast path.
fn index(
    registers: &mut Registers,
    instr: Instr,
    caller: Caller<'_>,
    cx: &mut Cx<'_>,
) -> Result<(), Throw> {
    let value = match (&registers[r(instr.b)], &registers[r(instr.c)]) {
        (Value::String(text), Value::Number(at)) if *at >= 0.0 => {
            let Some(byte) = text.as_bytes().get(*at as usize).copied() else {
                set(&mut registers[r(instr.a)], Value::None);
                return Ok(());
            };
            set(&mut registers[r(instr.a)], Value::String(Str::byte(byte)));
            return Ok(());
        }
        (Value::Array(array), key) => {
            if let ArrayRef::Local(array) = &**array
                && let Some(found) = KeyRef::cast(key).and_then(|key| array.find(key))
            {
                copy_value!(found, &mut registers[r(instr.a)]);
                return Ok(());
            }
            element::index(&registers[r(instr.b)], key, caller, cx)?
        }
        (base, key) => element::index(base, key, caller, cx)?,
    };
    set(&mut registers[r(instr.a)], value);
    Ok(())
}

/// a[b] := value
fn set_index(
    registers: &mut Registers,
    a: u8,
    key: Option<Key>,
    value: Value,
    caller: Caller<'_>,
    cx: &mut Cx<'_>,
) -> Result<(), Throw> {
    let step = [key.map_or(path::Resolved::NoKey, path::Resolved::Key)];
    path::variable(&mut registers[r(a)], |base| {
        path::set(base, &step, value, caller, cx)
    })
}

/// a[] := value
#[inline]
fn push(slot: &mut Value, value: Value, caller: Caller<'_>, cx: &mut Cx<'_>) -> Result<(), Throw> {
    if let Value::Array(_) = slot
        && let Some(array) = writable(slot, cx)?
    {
        room(array, 1)?;
        array.push(value);
        return Ok(());
    }
    path::variable(slot, |base| {
        path::set(base, &[path::Resolved::Append], value, caller, cx)
    })
}

impl Fiber {
    /// Runs until the script is done, has to wait, or used up its slice.
    pub(crate) fn run(&mut self) -> Exit {
        let host = Rc::clone(&self.host);
        let library = Arc::clone(&self.library);
        'instance: loop {
            if self
                .frames
                .last()
                .is_some_and(|top| top.kind == FrameKind::Task)
            {
                // A built-in goes on: its future is done, or the executor had its turn.
                let input = self.pending.take().unwrap_or(Input::Value(Value::None));
                match self.advance(input) {
                    Ok(Called::Exit(exit)) => return exit,
                    Ok(Called::Value(_) | Called::Frame) => {}
                    Err(throw) => {
                        if let Err(throw) = self.unwind(throw) {
                            return Exit::Thrown(throw);
                        }
                    }
                }
                continue 'instance;
            }
            let Some(top) = self.frames.last() else {
                return Exit::Done;
            };
            let instance = top.instance as usize;
            let unit = self.instances[instance].unit.clone();
            let constants = Rc::clone(&self.instances[instance].constants);
            let hints = Rc::clone(&self.instances[instance].hints);
            let spare = Hints::default();
            let program = &unit.program;
            'frame: loop {
                let Some(top) = self.frames.last().copied() else {
                    return Exit::Done;
                };
                if top.kind == FrameKind::Task || top.instance as usize != instance {
                    continue 'instance;
                }
                let mut proto = &program.protos[top.proto as usize];
                let mut code = proto.code.as_slice();
                let mut pc = top.pc as usize;
                let mut base = top.base as usize;
                self.grow(base);
                let mut regs = window(&mut self.stack, base);

                macro_rules! hint {
                    ($instr:expr) => {
                        hints.get($instr.d as usize).unwrap_or(&spare)
                    };
                }
                macro_rules! cx {
                    () => {
                        &mut Cx {
                            host: &host,
                            library: &library,
                            fuel: &mut self.quantum,
                        }
                    };
                }
                macro_rules! caller {
                    () => {
                        Caller {
                            unit: &unit,
                            class: proto.class,
                        }
                    };
                }
                // Leaves the handlers with a throw.
                let thrown: Throw = 'op: loop {
                    macro_rules! attempt {
                        ($result:expr) => {
                            match $result {
                                Ok(value) => value,
                                Err(throw) => break 'op throw,
                            }
                        };
                    }
                    macro_rules! save {
                        () => {
                            if let Some(top) = self.frames.last_mut() {
                                top.pc = pc as u32;
                            }
                        };
                    }
                    // Counts an instruction that is done after the executor had its turn.
                    macro_rules! charge_first {
                        () => {
                            self.quantum -= 1;
                            if self.quantum <= 0 {
                                match self.tick() {
                                    Ok(Tick::Go) => {}
                                    Ok(Tick::Yield) => {
                                        pc -= 1;
                                        save!();
                                        return Exit::Slice;
                                    }
                                    Err(throw) => break 'op throw,
                                }
                                regs = window(&mut self.stack, base);
                            }
                        };
                    }
                    // Jumps back, counted.
                    macro_rules! back {
                        ($instr:expr) => {
                            let target = $instr.d as usize;
                            self.quantum -= 1;
                            if self.quantum <= 0 {
                                match self.tick() {
                                    Ok(Tick::Go) => {}
                                    Ok(Tick::Yield) => {
                                        pc = target;
                                        save!();
                                        return Exit::Slice;
                                    }
                                    // The place is that of the jump: inside the loop.
                                    Err(throw) => break 'op throw,
                                }
                                regs = window(&mut self.stack, base);
                            }
                            pc = target;
                        };
                    }
                    macro_rules! arithmetic {
                        ($instr:expr, $x:ident, $y:ident, $result:expr) => {
                            if let (Value::Number($x), Value::Number($y)) =
                                (&regs[r($instr.b)], &regs[r($instr.c)])
                            {
                                let result = $result;
                                put(&mut regs[r($instr.a)], result);
                            } else {
                                attempt!(binary(regs, *$instr, cx!()));
                            }
                        };
                    }
                    macro_rules! arithmetic_int {
                        ($instr:expr, $x:ident, $y:ident, $result:expr) => {
                            if let Value::Number($x) = &regs[r($instr.b)] {
                                let $y = f64::from($instr.int());
                                let result = $result;
                                put(&mut regs[r($instr.a)], result);
                            } else {
                                attempt!(binary_int(regs, *$instr, cx!()));
                            }
                        };
                    }
                    macro_rules! ordered {
                        ($a:expr, $b:expr, $op:tt, $order:expr) => {
                            if let (Value::Number(x), Value::Number(y)) = (&regs[r($a)], &regs[r($b)]) {
                                x $op y
                            } else {
                                attempt!(order(regs, $a, $b, $order, cx!()))
                            }
                        };
                    }
                    macro_rules! ordered_int {
                        ($instr:expr, $op:tt, $order:expr) => {
                            if let Value::Number(x) = &regs[r($instr.a)] {
                                *x $op f64::from($instr.imm())
                            } else {
                                attempt!(order_int(regs, $instr.a, $instr.imm(), $order, cx!()))
                            }
                        };
                    }
                    macro_rules! jump_if {
                        ($instr:expr, $condition:expr) => {
                            if $condition {
                                pc = $instr.d as usize;
                            }
                        };
                    }
                    macro_rules! loop_if {
                        ($instr:expr, $condition:expr) => {
                            if $condition {
                                back!($instr);
                            }
                        };
                    }
                    macro_rules! bits {
                        ($instr:expr, $x:ident, $y:ident, $result:expr) => {
                            if let (Value::Number(x), Value::Number(y)) =
                                (&regs[r($instr.b)], &regs[r($instr.c)])
                            {
                                let ($x, $y) = (convert::to_int32(*x), convert::to_int32(*y));
                                let result = $result;
                                put(&mut regs[r($instr.a)], f64::from(result));
                            } else {
                                attempt!(binary(regs, *$instr, cx!()));
                            }
                        };
                    }

                    // By reference: fields are read where they are used, which keeps machine registers free.
                    let Some(instr) = code.get(pc) else {
                        // Every function ends in a return.
                        break 'op Throw::error("the program ran off its end");
                    };
                    pc += 1;
                    match instr.op {
                        Op::LoadNone => set(&mut regs[r(instr.a)], Value::None),
                        Op::LoadTrue => put_bool(&mut regs[r(instr.a)], true),
                        Op::LoadFalse => put_bool(&mut regs[r(instr.a)], false),
                        Op::LoadInt => put(&mut regs[r(instr.a)], f64::from(instr.int())),
                        Op::LoadK => {
                            let value = constants.get(instr.d as usize).unwrap_or(&Value::None);
                            copy(&mut regs[r(instr.a)], value);
                        }
                        Op::Copy => {
                            if let Ok([to, from]) = regs.get_disjoint_mut([r(instr.a), r(instr.b)])
                            {
                                copy(to, from);
                            }
                        }
                        Op::Move => {
                            if let Value::Number(number) = regs[r(instr.b)] {
                                put(&mut regs[r(instr.a)], number);
                                put_plain(&mut regs[r(instr.b)], Value::Undefined);
                            } else {
                                let value = take(&mut regs[r(instr.b)]);
                                set(&mut regs[r(instr.a)], value);
                            }
                        }
                        Op::Clear => set(&mut regs[r(instr.a)], Value::Undefined),
                        Op::Check => {
                            let missing = match &regs[r(instr.a)] {
                                Value::Undefined => true,
                                Value::Cell(cell) => matches!(cell.get(), Value::Undefined),
                                _ => false,
                            };
                            if missing {
                                break 'op undefined(&program.names, instr.d);
                            }
                        }
                        Op::Unset => {
                            let was = match &mut regs[r(instr.b)] {
                                Value::Cell(cell) => {
                                    attempt!(path::check_writable(cell));
                                    let was = !matches!(cell.get(), Value::Undefined);
                                    cell.set(Value::Undefined);
                                    was
                                }
                                slot => !matches!(take(slot), Value::Undefined),
                            };
                            put_bool(&mut regs[r(instr.a)], was);
                        }
                        Op::IsSet => {
                            let isset = match &regs[r(instr.b)] {
                                Value::Undefined => false,
                                Value::None => instr.c == 0,
                                Value::Cell(cell) => !matches!(cell.get(), Value::Undefined),
                                _ => true,
                            };
                            put_bool(&mut regs[r(instr.a)], isset);
                        }

                        Op::Wrap => {
                            let value = take(&mut regs[r(instr.a)]);
                            let cell = self.new_cell(value);
                            regs = window(&mut self.stack, base);
                            set(&mut regs[r(instr.a)], Value::Cell(cell));
                        }
                        Op::Global => {
                            let cell =
                                Rc::clone(&self.instances[instance].globals[instr.d as usize]);
                            set(&mut regs[r(instr.a)], Value::Cell(cell));
                        }
                        Op::BindGlobal => {
                            let cell =
                                Rc::clone(&self.instances[instance].globals[instr.d as usize]);
                            if let Value::Cell(own) = &regs[r(instr.a)]
                                && !Rc::ptr_eq(own, &cell)
                                && !matches!(own.get(), Value::Undefined)
                            {
                                let name = program
                                    .globals
                                    .get(instr.d as usize)
                                    .map_or("?", |global| &global.name);
                                break 'op Throw::error(format!(
                                    "the variable ${name} exists already"
                                ));
                            }
                            set(&mut regs[r(instr.a)], Value::Cell(cell));
                        }
                        Op::NewFar => {
                            let mut list = Array::with_capacity(instr.d as usize);
                            for _ in 0..instr.d {
                                list.push(Value::Cell(self.new_cell(Value::Undefined)));
                            }
                            regs = window(&mut self.stack, base);
                            set(&mut regs[r(instr.a)], Value::from(list));
                        }
                        Op::Far => {
                            let cell = array::entry(&regs[r(instr.b)], instr.d as usize);
                            set(&mut regs[r(instr.a)], cell.unwrap_or_default());
                        }
                        Op::LoadCell => {
                            if let Value::Cell(cell) = &regs[r(instr.b)] {
                                let value = cell.get();
                                if matches!(value, Value::Undefined) {
                                    break 'op undefined(&program.names, instr.d);
                                }
                                set(&mut regs[r(instr.a)], value);
                            }
                        }
                        Op::PeekCell => {
                            let value = match &regs[r(instr.b)] {
                                Value::Cell(cell) => cell.get(),
                                value => value.clone(),
                            };
                            set(&mut regs[r(instr.a)], value);
                        }
                        Op::StoreCell => {
                            let value = regs[r(instr.b)].clone();
                            if let Value::Cell(cell) = &regs[r(instr.a)] {
                                attempt!(path::check_writable(cell));
                                cell.set(value);
                            }
                        }
                        Op::MoveCell => {
                            let value = take(&mut regs[r(instr.b)]);
                            if let Value::Cell(cell) = &regs[r(instr.a)] {
                                attempt!(path::check_writable(cell));
                                cell.set(value);
                            }
                        }

                        Op::Add => arithmetic!(instr, x, y, x + y),
                        Op::Sub => arithmetic!(instr, x, y, x - y),
                        Op::Mul => arithmetic!(instr, x, y, x * y),
                        Op::Div => arithmetic!(instr, x, y, x / y),
                        Op::Rem => arithmetic!(instr, x, y, arith::remainder(*x, *y)),
                        Op::Pow => arithmetic!(instr, x, y, x.powf(*y)),
                        Op::BitAnd => bits!(instr, x, y, x & y),
                        Op::BitOr => bits!(instr, x, y, x | y),
                        Op::BitXor => bits!(instr, x, y, x ^ y),
                        Op::Shl => bits!(instr, x, y, x.wrapping_shl(y as u32)),
                        Op::Shr => bits!(instr, x, y, x.wrapping_shr(y as u32)),
                        Op::UShr => bits!(instr, x, y, (x as u32).wrapping_shr(y as u32)),
                        Op::AddI => arithmetic_int!(instr, x, y, x + y),
                        Op::SubI => arithmetic_int!(instr, x, y, x - y),
                        Op::MulI => arithmetic_int!(instr, x, y, x * y),
                        Op::DivI => arithmetic_int!(instr, x, y, x / y),
                        Op::RemI => arithmetic_int!(instr, x, y, arith::remainder(*x, y)),
                        Op::Neg => {
                            let number = 0.0 - number_of(&regs[r(instr.b)], cx!());
                            put(&mut regs[r(instr.a)], number);
                        }
                        Op::Number => {
                            let number = number_of(&regs[r(instr.b)], cx!());
                            put(&mut regs[r(instr.a)], number);
                        }
                        Op::Not => {
                            let value = !holds(&regs[r(instr.b)]);
                            put_bool(&mut regs[r(instr.a)], value);
                        }
                        Op::Bool => {
                            let value = holds(&regs[r(instr.b)]);
                            put_bool(&mut regs[r(instr.a)], value);
                        }
                        Op::BitNot => {
                            let number = !convert::to_int32(number_of(&regs[r(instr.b)], cx!()));
                            put(&mut regs[r(instr.a)], f64::from(number));
                        }
                        Op::Inc => {
                            let number = to_number(&regs[r(instr.a)]) + 1.0;
                            put(&mut regs[r(instr.a)], number);
                        }
                        Op::Dec => {
                            let number = to_number(&regs[r(instr.a)]) - 1.0;
                            put(&mut regs[r(instr.a)], number);
                        }
                        Op::Concat => attempt!(concat(regs, *instr, cx!())),
                        Op::Append => {
                            // The text may be the variable itself: a handle of its own keeps it as it was.
                            let text = regs[r(instr.b)].clone();
                            attempt!(arith::concat(&mut regs[r(instr.a)], &text, cx!()));
                        }

                        Op::Eq => {
                            let equal = compare::loose(&regs[r(instr.b)], &regs[r(instr.c)], cx!());
                            put_bool(&mut regs[r(instr.a)], equal);
                        }
                        Op::Ne => {
                            let equal = compare::loose(&regs[r(instr.b)], &regs[r(instr.c)], cx!());
                            put_bool(&mut regs[r(instr.a)], !equal);
                        }
                        Op::Same => {
                            let equal =
                                compare::strict(&regs[r(instr.b)], &regs[r(instr.c)], cx!());
                            put_bool(&mut regs[r(instr.a)], equal);
                        }
                        Op::NotSame => {
                            let equal =
                                compare::strict(&regs[r(instr.b)], &regs[r(instr.c)], cx!());
                            put_bool(&mut regs[r(instr.a)], !equal);
                        }
                        Op::Lt => {
                            let holds = ordered!(instr.b, instr.c, <, Order::Less);
                            put_bool(&mut regs[r(instr.a)], holds);
                        }
                        Op::Le => {
                            let holds = ordered!(instr.b, instr.c, <=, Order::LessEq);
                            put_bool(&mut regs[r(instr.a)], holds);
                        }
                        Op::Gt => {
                            let holds = ordered!(instr.b, instr.c, >, Order::Greater);
                            put_bool(&mut regs[r(instr.a)], holds);
                        }
                        Op::Ge => {
                            let holds = ordered!(instr.b, instr.c, >=, Order::GreaterEq);
                            put_bool(&mut regs[r(instr.a)], holds);
                        }
                        Op::Match | Op::NoMatch => {
                            save!();
                            let wanted = instr.op == Op::Match;
                            let (subject, pattern) =
                                (regs[r(instr.b)].clone(), regs[r(instr.c)].clone());
                            let called =
                                self.matches(&subject, &pattern, wanted, base + r(instr.a));
                            match attempt!(called) {
                                Called::Value(value) => {
                                    regs = window(&mut self.stack, base);
                                    set(&mut regs[r(instr.a)], value);
                                }
                                Called::Frame => continue 'frame,
                                Called::Exit(exit) => return exit,
                            }
                        }

                        Op::Jump => pc = instr.d as usize,
                        Op::JumpT => jump_if!(instr, holds(&regs[r(instr.a)])),
                        Op::JumpF => jump_if!(instr, !holds(&regs[r(instr.a)])),
                        Op::JumpNone => jump_if!(
                            instr,
                            matches!(regs[r(instr.a)], Value::None | Value::Undefined)
                        ),
                        Op::JumpSome => jump_if!(
                            instr,
                            !matches!(regs[r(instr.a)], Value::None | Value::Undefined)
                        ),
                        Op::JumpDef => {
                            jump_if!(instr, !matches!(regs[r(instr.a)], Value::Undefined))
                        }
                        Op::JumpEq => {
                            jump_if!(
                                instr,
                                compare::loose(&regs[r(instr.a)], &regs[r(instr.b)], cx!())
                            );
                        }
                        Op::JumpNe => {
                            jump_if!(
                                instr,
                                !compare::loose(&regs[r(instr.a)], &regs[r(instr.b)], cx!())
                            );
                        }
                        Op::JumpSame => {
                            jump_if!(
                                instr,
                                compare::strict(&regs[r(instr.a)], &regs[r(instr.b)], cx!())
                            );
                        }
                        Op::JumpNotSame => {
                            jump_if!(
                                instr,
                                !compare::strict(&regs[r(instr.a)], &regs[r(instr.b)], cx!())
                            );
                        }
                        Op::JumpLt => jump_if!(instr, ordered!(instr.a, instr.b, <, Order::Less)),
                        Op::JumpNotLt => {
                            jump_if!(instr, !ordered!(instr.a, instr.b, <, Order::Less))
                        }
                        Op::JumpLe => {
                            jump_if!(instr, ordered!(instr.a, instr.b, <=, Order::LessEq))
                        }
                        Op::JumpNotLe => {
                            jump_if!(instr, !ordered!(instr.a, instr.b, <=, Order::LessEq))
                        }
                        Op::JumpLtI => jump_if!(instr, ordered_int!(instr, <, Order::Less)),
                        Op::JumpNotLtI => jump_if!(instr, !ordered_int!(instr, <, Order::Less)),
                        Op::JumpLeI => jump_if!(instr, ordered_int!(instr, <=, Order::LessEq)),
                        Op::JumpNotLeI => jump_if!(instr, !ordered_int!(instr, <=, Order::LessEq)),
                        Op::JumpGtI => jump_if!(instr, ordered_int!(instr, >, Order::Greater)),
                        Op::JumpNotGtI => jump_if!(instr, !ordered_int!(instr, >, Order::Greater)),
                        Op::JumpGeI => jump_if!(instr, ordered_int!(instr, >=, Order::GreaterEq)),
                        Op::JumpNotGeI => {
                            jump_if!(instr, !ordered_int!(instr, >=, Order::GreaterEq))
                        }
                        Op::JumpEqK | Op::JumpNeK => {
                            let constant = constants
                                .get(usize::from(instr.short()))
                                .unwrap_or(&Value::None);
                            let equal = compare::loose(&regs[r(instr.a)], constant, cx!());
                            jump_if!(instr, equal == (instr.op == Op::JumpEqK));
                        }
                        Op::Loop => {
                            back!(instr);
                        }
                        Op::LoopT => loop_if!(instr, holds(&regs[r(instr.a)])),
                        Op::LoopLt => loop_if!(instr, ordered!(instr.a, instr.b, <, Order::Less)),
                        Op::LoopLe => {
                            loop_if!(instr, ordered!(instr.a, instr.b, <=, Order::LessEq))
                        }
                        Op::LoopLtI => loop_if!(instr, ordered_int!(instr, <, Order::Less)),
                        Op::LoopLeI => loop_if!(instr, ordered_int!(instr, <=, Order::LessEq)),
                        Op::LoopGtI => loop_if!(instr, ordered_int!(instr, >, Order::Greater)),
                        Op::LoopGeI => loop_if!(instr, ordered_int!(instr, >=, Order::GreaterEq)),

                        Op::Index => {
                            // The common case: a list and a number in its range.
                            if let (Value::Array(array), Value::Number(at)) =
                                (&regs[r(instr.b)], &regs[r(instr.c)])
                                && let ArrayRef::Local(array) = &**array
                                && let Some(found) = array.get_index(*at as i64)
                            {
                                copy_value!(found, &mut regs[r(instr.a)]);
                                continue 'op;
                            }
                            attempt!(index(regs, *instr, caller!(), cx!()));
                        }
                        Op::IndexK => {
                            let key = constants.get(instr.d as usize).unwrap_or(&Value::None);
                            if let Value::Array(array) = &regs[r(instr.b)]
                                && let ArrayRef::Local(array) = &**array
                                && let Some(found) =
                                    KeyRef::cast(key).and_then(|key| array.find(key))
                            {
                                copy_value!(found, &mut regs[r(instr.a)]);
                                continue 'op;
                            }
                            let value =
                                attempt!(element::index(&regs[r(instr.b)], key, caller!(), cx!()));
                            set(&mut regs[r(instr.a)], value);
                        }
                        Op::IndexI => {
                            if let Value::Array(array) = &regs[r(instr.b)]
                                && let ArrayRef::Local(array) = &**array
                                && let Some(found) = array.get_index(i64::from(instr.int()))
                            {
                                copy_value!(found, &mut regs[r(instr.a)]);
                                continue 'op;
                            }
                            let key = Value::Number(f64::from(instr.int()));
                            let value =
                                attempt!(element::index(&regs[r(instr.b)], &key, caller!(), cx!()));
                            set(&mut regs[r(instr.a)], value);
                        }
                        Op::Peek => {
                            let value = element::peek(
                                &regs[r(instr.b)],
                                &regs[r(instr.c)],
                                caller!(),
                                cx!(),
                            );
                            set(&mut regs[r(instr.a)], value);
                        }
                        Op::IssetIndex => {
                            let isset = element::isset(
                                &regs[r(instr.b)],
                                &regs[r(instr.c)],
                                caller!(),
                                &library,
                            );
                            put_bool(&mut regs[r(instr.a)], isset);
                        }
                        Op::Slice => {
                            let parts: [&Value; 3] = std::array::from_fn(|at| {
                                regs.get(r(instr.c) + at).unwrap_or(&Value::None)
                            });
                            let value = attempt!(element::slice(&regs[r(instr.b)], parts, cx!()));
                            set(&mut regs[r(instr.a)], value);
                        }
                        Op::Property => {
                            let name = constants.get(instr.d as usize).unwrap_or(&Value::None);
                            let value = attempt!(element::get_property(
                                &regs[r(instr.b)],
                                name,
                                caller!(),
                                cx!(),
                                hint!(instr)
                            ));
                            set(&mut regs[r(instr.a)], value);
                        }
                        Op::PeekProperty => {
                            let name = constants.get(instr.d as usize).unwrap_or(&Value::None);
                            let value = element::get_property(
                                &regs[r(instr.b)],
                                name,
                                caller!(),
                                cx!(),
                                hint!(instr),
                            )
                            .unwrap_or_default();
                            set(&mut regs[r(instr.a)], value);
                        }
                        Op::IssetProperty => {
                            let isset = match (&regs[r(instr.b)], constants.get(instr.d as usize)) {
                                (Value::Object(object), Some(Value::String(name))) => {
                                    element::isset_property(object, name, caller!(), &library)
                                }
                                _ => false,
                            };
                            put_bool(&mut regs[r(instr.a)], isset);
                        }
                        Op::SetIndex | Op::MoveIndex => {
                            let value = if instr.op == Op::MoveIndex {
                                take(&mut regs[r(instr.c)])
                            } else {
                                regs[r(instr.c)].clone()
                            };
                            // The common case: an array of our own and an entry that is there. The array leaves its
                            // register meanwhile, because the key is in another one.
                            let mut array = take(&mut regs[r(instr.a)]);
                            if let Some(slot) = path::element(&mut array, &regs[r(instr.b)]) {
                                set(slot, value);
                                set(&mut regs[r(instr.a)], array);
                            } else {
                                set(&mut regs[r(instr.a)], array);
                                let key = Key::cast(&regs[r(instr.b)]);
                                attempt!(set_index(regs, instr.a, key, value, caller!(), cx!()));
                            }
                        }
                        Op::SetIndexK | Op::MoveIndexK => {
                            let value = if instr.op == Op::MoveIndexK {
                                take(&mut regs[r(instr.b)])
                            } else {
                                regs[r(instr.b)].clone()
                            };
                            let key = constants.get(instr.d as usize).unwrap_or(&Value::None);
                            if let Some(slot) = path::element(&mut regs[r(instr.a)], key) {
                                set(slot, value);
                            } else {
                                let key = Key::cast(key);
                                attempt!(set_index(regs, instr.a, key, value, caller!(), cx!()));
                            }
                        }
                        Op::Push | Op::MovePush => {
                            if let Value::Number(number) = regs[r(instr.b)]
                                && instr.a != instr.b
                                && let Value::Array(array) = &mut regs[r(instr.a)]
                                && let Some(ArrayRef::Local(array)) = Rc::get_mut(array)
                                && array.len() < crate::array::MAX_ENTRIES
                            {
                                array.push(Value::Number(number));
                                if instr.op == Op::MovePush {
                                    put_plain(&mut regs[r(instr.b)], Value::Undefined);
                                }
                                continue 'op;
                            }
                            let value = if instr.op == Op::MovePush {
                                take(&mut regs[r(instr.b)])
                            } else {
                                regs[r(instr.b)].clone()
                            };
                            attempt!(push(&mut regs[r(instr.a)], value, caller!(), cx!()));
                        }
                        Op::SetPath => {
                            let steps = proto
                                .paths
                                .get(instr.d as usize)
                                .map_or(&[][..], |steps| &**steps);
                            let mut value = if instr.c == 1 {
                                take(&mut regs[r(instr.b)])
                            } else {
                                regs[r(instr.b)].clone()
                            };
                            let mut target = take(&mut regs[r(instr.a)]);
                            let names = &path::Names {
                                registers: regs,
                                constants: &constants,
                                hints: &hints,
                            };
                            let written =
                                path::at_existing(&mut target, steps, names, caller!(), |slot| {
                                    std::mem::swap(slot, &mut value);
                                });
                            set(&mut regs[r(instr.a)], target);
                            if written.is_none() {
                                let steps = path::resolve(steps, regs, &constants);
                                attempt!(path::variable(&mut regs[r(instr.a)], |base| path::set(
                                    base,
                                    &steps,
                                    value,
                                    caller!(),
                                    cx!()
                                )));
                            }
                        }
                        Op::Update => {
                            let steps = proto
                                .paths
                                .get(instr.d as usize)
                                .map_or(&[][..], |steps| &**steps);
                            let op = PathOp::ALL.get(r(instr.c)).copied().unwrap_or(PathOp::Add);
                            let value = regs[r(instr.b)].clone();
                            let mut target = take(&mut regs[r(instr.a)]);
                            let names = &path::Names {
                                registers: regs,
                                constants: &constants,
                                hints: &hints,
                            };
                            let changed =
                                path::at_existing(&mut target, steps, names, caller!(), |slot| {
                                    path::change(slot, op, &value, cx!())
                                });
                            set(&mut regs[r(instr.a)], target);
                            match changed {
                                Some(result) => attempt!(result),
                                None => {
                                    let steps = path::resolve(steps, regs, &constants);
                                    attempt!(path::variable(&mut regs[r(instr.a)], |base| {
                                        path::update(base, &steps, op, &value, caller!(), cx!())
                                    }));
                                }
                            }
                        }
                        Op::UnsetPath => {
                            let steps = proto
                                .paths
                                .get(instr.d as usize)
                                .map_or(&[][..], |steps| &**steps);
                            let steps = path::resolve(steps, regs, &constants);
                            let was = path::variable(&mut regs[r(instr.b)], |base| {
                                path::unset(base, &steps, caller!(), cx!())
                            });
                            let was = attempt!(was);
                            put_bool(&mut regs[r(instr.a)], was);
                        }

                        Op::NewArray => {
                            set(
                                &mut regs[r(instr.a)],
                                Value::from(Array::with_capacity(instr.d as usize)),
                            );
                        }
                        Op::List => {
                            let end = (r(instr.b) + r(instr.c)).min(MAX_REGISTERS);
                            let list: Vec<Value> =
                                regs[r(instr.b)..end].iter_mut().map(take).collect();
                            set(&mut regs[r(instr.a)], Value::from(Array::from_list(list)));
                        }
                        Op::Extend => {
                            let mut list = take(&mut regs[r(instr.a)]);
                            let end = (r(instr.b) + r(instr.c)).min(MAX_REGISTERS);
                            attempt!(array::extend(&mut list, &mut regs[r(instr.b)..end], cx!()));
                            set(&mut regs[r(instr.a)], list);
                        }
                        Op::Spread | Op::SpreadArgs => {
                            let from = regs[r(instr.b)].clone();
                            if let Some(generator) = Generator::of(&from) {
                                save!();
                                let above = base + usize::from(proto.registers);
                                let at = base + r(instr.a);
                                match attempt!(self.resume_generator(
                                    generator,
                                    Consumer::Spread,
                                    above,
                                    at
                                )) {
                                    Called::Exit(exit) => return exit,
                                    Called::Value(_) | Called::Frame => continue 'frame,
                                }
                            }
                            attempt!(array::spread(
                                &mut regs[r(instr.a)],
                                &from,
                                instr.op == Op::Spread,
                                cx!()
                            ));
                        }
                        Op::Entry => {
                            let missing = if instr.c == 1 {
                                Value::Undefined
                            } else {
                                Value::None
                            };
                            let value = array::entry(&regs[r(instr.b)], instr.d as usize)
                                .unwrap_or(missing);
                            set(&mut regs[r(instr.a)], value);
                        }
                        Op::EntryKey => {
                            let missing = if instr.d == 1 {
                                Value::Undefined
                            } else {
                                Value::None
                            };
                            let key = Key::cast(&regs[r(instr.c)]);
                            let value = regs[r(instr.b)]
                                .as_array()
                                .and_then(|view| view.get(&key?))
                                .unwrap_or(missing);
                            set(&mut regs[r(instr.a)], value);
                        }
                        Op::Rest => {
                            let value =
                                attempt!(array::rest(&regs[r(instr.b)], instr.d as usize, cx!()));
                            set(&mut regs[r(instr.a)], value);
                        }

                        Op::Call => {
                            charge_first!();
                            let callee = &program.protos[instr.d as usize];
                            save!();
                            if self.frames.len() >= MAX_DEPTH {
                                break 'op Throw::error("call depth exceeded");
                            }
                            let first = base + r(instr.a);
                            if callee.rest {
                                self.grow(first);
                                let given = r(instr.b);
                                attempt!(self.collect_rest(callee, first, given));
                            }
                            base = first;
                            self.frames.push(Frame {
                                pc: 0,
                                base: base as u32,
                                proto: instr.d,
                                instance: instance as u32,
                                result: base as u32,
                                kind: FrameKind::Script,
                            });
                            self.grow(base);
                            regs = window(&mut self.stack, base);
                            // What the caller left behind in the registers of our variables.
                            if let Some(rest) =
                                regs.get_mut(r(instr.b)..usize::from(callee.variables))
                                && !callee.rest
                            {
                                wipe(rest);
                            } else if callee.rest {
                                let first = usize::from(callee.declared) + 1;
                                regs.get_mut(first..usize::from(callee.variables))
                                    .unwrap_or_default()
                                    .fill(Value::Undefined);
                            }
                            if callee.generator {
                                // The arguments are bound; the iterator takes them, and nothing runs yet.
                                self.frames.pop();
                                let value = self.make_generator(&unit, instr.d, base);
                                base -= r(instr.a);
                                self.grow(base);
                                regs = window(&mut self.stack, base);
                                set(&mut regs[r(instr.a)], value);
                                continue 'op;
                            }
                            proto = callee;
                            code = proto.code.as_slice();
                            pc = 0;
                        }
                        Op::CallNative => {
                            let native = library.native(NativeFn(instr.d));
                            let end = (r(instr.a) + r(instr.b)).min(MAX_REGISTERS);
                            let args = &mut regs[r(instr.a)..end];
                            attempt!(native.accept(args, &library));
                            self.quantum -= 1;
                            if let Imp::Plain(function) = native.decl.imp {
                                let result = function(
                                    cx!(),
                                    Args {
                                        this: None,
                                        values: args,
                                    },
                                );
                                // Fuel and budget are looked at after every built-in.
                                wipe(args.get_mut(1..).unwrap_or_default());
                                result!(result, &mut regs[r(instr.a)], 'op);
                                if self.quantum <= 0 {
                                    match self.tick() {
                                        Ok(Tick::Go) => {}
                                        Ok(Tick::Yield) => {
                                            save!();
                                            return Exit::Slice;
                                        }
                                        Err(throw) => break 'op throw,
                                    }
                                    regs = window(&mut self.stack, base);
                                }
                            } else {
                                save!();
                                let first = base + r(instr.a);
                                let called = self.call_native(
                                    NativeFn(instr.d),
                                    None,
                                    first,
                                    r(instr.b),
                                    first,
                                );
                                match attempt!(called) {
                                    Called::Value(value) => {
                                        regs = window(&mut self.stack, base);
                                        set(&mut regs[r(instr.a)], value);
                                    }
                                    Called::Frame => continue 'frame,
                                    Called::Exit(exit) => return exit,
                                }
                            }
                        }
                        Op::New => {
                            save!();
                            let class = library.class(crate::native::ClassId(instr.d));
                            let end = (r(instr.a) + r(instr.b)).min(MAX_REGISTERS);
                            attempt!(
                                library
                                    .native(class.constructor)
                                    .accept(&mut regs[r(instr.a)..end], &library)
                            );
                            let first = base + r(instr.a);
                            let called =
                                self.call_native(class.constructor, None, first, r(instr.b), first);
                            match attempt!(called) {
                                Called::Value(value) => {
                                    regs = window(&mut self.stack, base);
                                    set(&mut regs[r(instr.a)], value);
                                }
                                Called::Frame => continue 'frame,
                                Called::Exit(exit) => return exit,
                            }
                        }
                        Op::CallValue | Op::CallMethod | Op::CallSpread => {
                            charge_first!();
                            if instr.op == Op::CallMethod
                                && let Some((function, native)) =
                                    plain_method(&regs[r(instr.a)], hint!(instr), &library)
                            {
                                // The common case for objects of the library: no frame is needed.
                                let object = take(&mut regs[r(instr.a)]);
                                let first = r(instr.a) + 1;
                                let end = (first + r(instr.b)).min(MAX_REGISTERS);
                                let args = &mut regs[first.min(end)..end];
                                attempt!(native.check_count(args.len()));
                                attempt!(native.accept(args, &library));
                                let result = function(
                                    cx!(),
                                    Args {
                                        this: object.as_object(),
                                        values: args,
                                    },
                                );
                                wipe(args);
                                result!(result, &mut regs[r(instr.a)], 'op);
                                continue 'op;
                            }
                            save!();
                            let at = base + r(instr.a);
                            let called = match instr.op {
                                Op::CallValue => {
                                    let callee = take(&mut regs[r(instr.a)]);
                                    self.call(Callee::Value(callee), at + 1, r(instr.b), at)
                                }
                                Op::CallMethod => {
                                    self.call_method(instr.d as usize, at, r(instr.b))
                                }
                                _ => {
                                    let callee = take(&mut regs[r(instr.a)]);
                                    let list = take(&mut regs[r(instr.a.saturating_add(1))]);
                                    match self.place_arguments(&list, at + 1) {
                                        Ok(count) => {
                                            self.call(Callee::Value(callee), at + 1, count, at)
                                        }
                                        Err(throw) => Err(throw),
                                    }
                                }
                            };
                            match attempt!(called) {
                                Called::Value(value) => {
                                    self.grow(base);
                                    regs = window(&mut self.stack, base);
                                    set(&mut regs[r(instr.a)], value);
                                }
                                Called::Frame => continue 'frame,
                                Called::Exit(exit) => return exit,
                            }
                        }
                        Op::LoadFunction | Op::Closure => {
                            let site = match instr.op {
                                Op::Closure => proto.closures.get(instr.d as usize),
                                _ => None,
                            };
                            let captures: Box<[Rc<VarCell>]> =
                                site.map_or_else(Default::default, |site| {
                                    let cells = site.captures.iter().map(|register| {
                                        match &regs[r(*register)] {
                                            Value::Cell(cell) => Rc::clone(cell),
                                            value => VarCell::new(value.clone()),
                                        }
                                    });
                                    cells.collect()
                                });
                            regs[r(instr.a)] =
                                Value::Function(Rc::new(Function::User(UserFunction {
                                    unit: unit.clone(),
                                    proto: site.map_or(instr.d, |site| site.function),
                                    _charge: UserFunction::charge(captures.len()),
                                    captures,
                                    anonymous: site.is_some(),
                                    this: None,
                                })));
                        }
                        Op::LoadNative => {
                            regs[r(instr.a)] =
                                Value::Function(Rc::new(Function::Native(NativeFn(instr.d))));
                        }
                        Op::LoadClass => {
                            let class = crate::native::ClassId(instr.d);
                            regs[r(instr.a)] =
                                Value::Function(Rc::new(Function::NativeClass(class)));
                        }
                        Op::Return | Op::ReturnNone => {
                            // The common case: a function that another one of the same instance called.
                            if let [.., caller, done] = self.frames.as_slice()
                                && done.kind == FrameKind::Script
                                && caller.kind != FrameKind::Task
                                && caller.instance as usize == instance
                            {
                                let (caller, result) = (*caller, done.result as usize);
                                self.frames.pop();
                                let used = usize::from(proto.registers);
                                if let (Op::Return, Value::Number(number)) =
                                    (instr.op, &regs[r(instr.a)])
                                {
                                    let number = *number;
                                    wipe(&mut regs[..used]);
                                    put(&mut self.stack[result], number);
                                } else if instr.op == Op::Return {
                                    let value = take(&mut regs[r(instr.a)]);
                                    wipe(&mut regs[..used]);
                                    set(&mut self.stack[result], value);
                                } else {
                                    wipe(&mut regs[..used]);
                                    set(&mut self.stack[result], Value::None);
                                }
                                proto = &program.protos[caller.proto as usize];
                                code = proto.code.as_slice();
                                pc = caller.pc as usize;
                                base = caller.base as usize;
                                regs = window(&mut self.stack, base);
                                continue 'op;
                            }
                            let value = if instr.op == Op::Return {
                                take(&mut regs[r(instr.a)])
                            } else {
                                Value::None
                            };
                            wipe(&mut regs[..usize::from(proto.registers)]);
                            let Some(done) = self.frames.pop() else {
                                return Exit::Done;
                            };
                            let result = done.result as usize;
                            if done.kind == FrameKind::Generator {
                                match self.generator_done(result) {
                                    Ok(Called::Exit(exit)) => return exit,
                                    Ok(_) => continue 'frame,
                                    Err(throw) => match self.unwind(throw) {
                                        Ok(()) => continue 'frame,
                                        Err(throw) => return Exit::Thrown(throw),
                                    },
                                }
                            }
                            match self.deliver(result, value) {
                                Ok(None) => continue 'frame,
                                Ok(Some(exit)) => return exit,
                                Err(throw) => match self.unwind(throw) {
                                    Ok(()) => continue 'frame,
                                    Err(throw) => return Exit::Thrown(throw),
                                },
                            }
                        }
                        Op::Throw => break 'op Throw::value(regs[r(instr.a)].clone()),
                        Op::NoArm => {
                            let value = convert::dump_short(&regs[r(instr.a)]);
                            let value = String::from_utf8_lossy(&value).into_owned();
                            break 'op Throw::error(format!("match: no arm for {value}"));
                        }
                        Op::Echo => match &regs[r(instr.a)] {
                            Value::String(text) => {
                                self.quantum -= (text.len() / 64) as i64;
                                host.output.echo(text.as_bytes());
                            }
                            value => {
                                let text = attempt!(crate::vm::ops::text(value, cx!()));
                                host.output.echo(&text);
                            }
                        },

                        Op::NewObject => {
                            charge_first!();
                            save!();
                            let at = base + r(instr.a);
                            match attempt!(self.construct(&unit, instr.d, at + 1, r(instr.b), at)) {
                                Called::Value(value) => {
                                    regs = window(&mut self.stack, base);
                                    set(&mut regs[r(instr.a)], value);
                                }
                                Called::Frame => continue 'frame,
                                Called::Exit(exit) => return exit,
                            }
                        }
                        Op::LoadUserClass => {
                            let class = Function::UserClass(unit.clone(), instr.d);
                            set(&mut regs[r(instr.a)], Value::Function(Rc::new(class)));
                        }
                        Op::InitProperty => {
                            let value = take(&mut regs[r(instr.b)]);
                            let this = match &regs[r(instr.a)] {
                                Value::Cell(cell) => cell.get(),
                                this => this.clone(),
                            };
                            if let (Value::Object(object), Some(Value::String(name))) =
                                (&this, constants.get(instr.d as usize))
                                && let Some(instance) = Instance::of(object)
                            {
                                instance.init(name, value);
                            }
                        }
                        Op::Fail => {
                            let text = constants
                                .get(instr.d as usize)
                                .map(convert::to_str)
                                .unwrap_or_default();
                            break 'op Throw::error(text.to_text().into_owned());
                        }
                        Op::Yield | Op::YieldPair => {
                            save!();
                            let (key, value) = if instr.op == Op::Yield {
                                (None, regs[r(instr.a)].clone())
                            } else {
                                (Some(regs[r(instr.a)].clone()), regs[r(instr.b)].clone())
                            };
                            match attempt!(self.yielded(key, value)) {
                                Called::Exit(exit) => return exit,
                                Called::Value(_) | Called::Frame => continue 'frame,
                            }
                        }

                        Op::Cached => {
                            charge_first!();
                            save!();
                            let at = base + r(instr.a);
                            let name = constants.get(instr.d as usize).cloned().unwrap_or_default();
                            let name = name.as_bytes().unwrap_or_default();
                            let callee = take(&mut regs[r(instr.a)]);
                            let options = take(&mut regs[r(instr.a.saturating_add(1))]);
                            let args = take(&mut regs[r(instr.a.saturating_add(2))]);
                            let Value::Function(function) = callee else {
                                break 'op Throw::error("not a function");
                            };
                            let task =
                                attempt!(CachedCall::new(&host, name, function, &options, &args));
                            match attempt!(self.start_task(Box::new(task), at)) {
                                Called::Value(value) => {
                                    regs = window(&mut self.stack, base);
                                    set(&mut regs[r(instr.a)], value);
                                }
                                Called::Frame => continue 'frame,
                                Called::Exit(exit) => return exit,
                            }
                        }
                        Op::Lock => {
                            charge_first!();
                            save!();
                            let name = regs[r(instr.a)].clone();
                            match attempt!(self.lock_barrier(&name, base + r(instr.a))) {
                                Called::Value(value) => {
                                    regs = window(&mut self.stack, base);
                                    set(&mut regs[r(instr.a)], value);
                                }
                                Called::Frame => continue 'frame,
                                Called::Exit(exit) => return exit,
                            }
                        }
                        Op::Enter => {
                            let name = regs[r(instr.a)].clone();
                            let (mark, value) = attempt!(self.enter_barrier(&name, instr.c == 1));
                            regs = window(&mut self.stack, base);
                            set(&mut regs[r(instr.a)], mark);
                            set(&mut regs[r(instr.b)], value);
                        }
                        Op::Leave => {
                            let mark = regs[r(instr.a)].clone();
                            let value = match &regs[r(instr.b)] {
                                Value::Cell(cell) => cell.get(),
                                value => value.clone(),
                            };
                            attempt!(self.leave_barrier(&mark, &value));
                            regs = window(&mut self.stack, base);
                        }

                        Op::Iterate => {
                            let source = attempt!(array::iterable(&regs[r(instr.b)], &library));
                            set(&mut regs[r(instr.a)], source);
                            regs[r(instr.a.saturating_add(1))] = Value::Number(0.0);
                        }
                        Op::Next | Op::NextPair => {
                            // The common case: the values of a list.
                            let state = r(instr.a.saturating_add(1));
                            if let (Value::Array(array), Value::Number(at), Op::Next) =
                                (&regs[r(instr.a)], &regs[state], instr.op)
                                && let ArrayRef::Local(array) = &**array
                                && let Some(list) = array.as_list()
                            {
                                let at = *at as usize;
                                match list.get(at) {
                                    Some(value) => {
                                        copy_value!(value, &mut regs[r(instr.b)]);
                                        put(&mut regs[state], (at + 1) as f64);
                                    }
                                    None => pc = instr.d as usize,
                                }
                                continue 'op;
                            }
                            if let Some(generator) = Generator::of(&regs[r(instr.a)]) {
                                let generator = Rc::clone(generator);
                                save!();
                                let above = base + usize::from(proto.registers);
                                match attempt!(self.resume_generator(
                                    &generator,
                                    Consumer::ForEach,
                                    above,
                                    above
                                )) {
                                    Called::Exit(exit) => return exit,
                                    Called::Value(_) | Called::Frame => continue 'frame,
                                }
                            }
                            let position = regs[r(instr.a.saturating_add(1))]
                                .as_number()
                                .unwrap_or(0.0) as usize;
                            let found = match &regs[r(instr.a)] {
                                Value::Array(subject) => match &**subject {
                                    ArrayRef::Local(list) => View::Local(list)
                                        .entry_at(position)
                                        .map(|(key, value, next)| (key.to_value(), value, next)),
                                    ArrayRef::Frozen(..) => regs[r(instr.a)]
                                        .as_array()
                                        .and_then(|view| view.entry_at(position))
                                        .map(|(key, value, next)| (key.to_value(), value, next)),
                                },
                                iterator => array::advance(iterator)
                                    .map(|(key, value)| (key, value, position + 1)),
                            };
                            match found {
                                Some((key, value, next)) => {
                                    put(&mut regs[r(instr.a.saturating_add(1))], next as f64);
                                    if instr.op == Op::NextPair {
                                        set(&mut regs[r(instr.b)], key);
                                        set(&mut regs[r(instr.c)], value);
                                    } else {
                                        set(&mut regs[r(instr.b)], value);
                                    }
                                }
                                None => pc = instr.d as usize,
                            }
                        }
                    }
                };
                if let Some(top) = self.frames.last_mut()
                    && top.kind != FrameKind::Task
                {
                    top.pc = pc as u32;
                }
                match self.unwind(thrown) {
                    Ok(()) => {}
                    Err(throw) => return Exit::Thrown(throw),
                }
            }
        }
    }
}
