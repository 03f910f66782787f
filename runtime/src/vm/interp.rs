//! The loop.
//!
//! It holds the short ways: what instructions do with the values that they mostly meet. Whatever does not fit one is
//! left to [`Fiber::step`], one instruction at a time, so that the loop stays small and the state of the running
//! frame (code, counter, registers) stays in the machine's registers. Whatever may change the frames sets it anew.

#![allow(
    clippy::collapsible_match,
    reason = "an arm whose short way does not fit falls out of the match, to the long way behind it"
)]

use std::rc::Rc;
use std::sync::Arc;

use angarium_lang::bytecode::{MAX_REGISTERS, Op, Step};

use crate::convert::exact_int32;
use crate::generator::Generator;
use crate::instance::{Caller, Hint, Hints, Instance};
use crate::library::Library;
use crate::map_set::Answer;
use crate::native::{Again, Args, Cx, Heavy, Imp, Input, Native, NativeFn, PlainFn, Throw};
use crate::object::{Function, Object};
use crate::value::{ArrayRef, Value};
use crate::vm::call::Called;
use crate::vm::execution::Exit;
use crate::vm::fiber::{Fiber, Frame, FrameKind, MAX_DEPTH, Tick};
use crate::vm::ops::arith;
use crate::vm::registers::{
    copy, move_to, put, put_bool, put_byte, put_made, put_plain, r, result, set, short_truth, take,
    window, wipe,
};
use crate::vm::short::{self, Advance};
use crate::vm::step::{Here, Next};

impl Fiber {
    /// Runs until the script is done, has to wait, or used up its slice.
    pub(crate) fn run(&mut self) -> Exit {
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
                    Ok(Called::Exit(exit)) => return *exit,
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
            let protos = unit.program.protos.as_slice();
            'frame: loop {
                // By reference: of what was written by its parts nothing is read as a whole.
                let Some(top) = self.frames.last() else {
                    return Exit::Done;
                };
                if top.kind == FrameKind::Task || top.instance as usize != instance {
                    continue 'instance;
                }
                let mut proto = &protos[top.proto as usize];
                let mut code = proto.code.as_slice();
                let mut pc = top.pc as usize;
                let mut base = top.base as usize;
                self.grow(base);
                let mut regs = window(&mut self.stack, base);

                macro_rules! save {
                    () => {
                        if let Some(top) = self.frames.last_mut() {
                            top.pc = pc as u32;
                        }
                    };
                }
                // Enters a function of this instance, its arguments being in place.
                macro_rules! enter {
                    ($proto:expr, $callee:expr, $first:expr, $result:expr, $given:expr) => {
                        self.quantum -= 1;
                        save!();
                        self.frames.push(Frame {
                            pc: 0,
                            base: $first as u32,
                            proto: $proto,
                            instance: instance as u32,
                            result: $result as u32,
                            kind: FrameKind::Script,
                        });
                        base = $first;
                        self.grow(base);
                        regs = window(&mut self.stack, base);
                        // What the caller left behind in the registers of our variables.
                        wipe(
                            regs.get_mut($given..usize::from($callee.variables))
                                .unwrap_or_default(),
                        );
                        proto = $callee;
                        code = proto.code.as_slice();
                        pc = 0;
                    };
                }
                // Leaves the short ways with a throw.
                let thrown: Throw = 'op: loop {
                    macro_rules! arithmetic {
                        ($instr:expr, $x:ident, $y:ident, $result:expr) => {
                            if let (Value::Number($x), Value::Number($y)) =
                                (&regs[r($instr.b)], &regs[r($instr.c)])
                            {
                                let result = $result;
                                put(&mut regs[r($instr.a)], result);
                                continue 'op;
                            }
                        };
                    }
                    macro_rules! arithmetic_int {
                        ($instr:expr, $x:ident, $y:ident, $result:expr) => {
                            if let Value::Number($x) = &regs[r($instr.b)] {
                                let $y = f64::from($instr.int());
                                let result = $result;
                                put(&mut regs[r($instr.a)], result);
                                continue 'op;
                            }
                        };
                    }
                    macro_rules! bits {
                        ($instr:expr, $x:ident, $y:ident, $result:expr) => {
                            if let (Value::Number(x), Value::Number(y)) =
                                (&regs[r($instr.b)], &regs[r($instr.c)])
                                && let (Some($x), Some($y)) = (exact_int32(*x), exact_int32(*y))
                            {
                                let result = $result;
                                put(&mut regs[r($instr.a)], f64::from(result));
                                continue 'op;
                            }
                        };
                    }
                    macro_rules! bits_int {
                        ($instr:expr, $x:ident, $y:ident, $result:expr) => {
                            if let Value::Number(x) = &regs[r($instr.b)]
                                && let Some($x) = exact_int32(*x)
                            {
                                let $y = $instr.int();
                                let result = $result;
                                put(&mut regs[r($instr.a)], f64::from(result));
                                continue 'op;
                            }
                        };
                    }
                    // a := whether b stands so to c
                    macro_rules! compare {
                        ($instr:expr, $op:tt) => {
                            if let (Value::Number(x), Value::Number(y)) =
                                (&regs[r($instr.b)], &regs[r($instr.c)])
                            {
                                let holds = x $op y;
                                put_bool(&mut regs[r($instr.a)], holds);
                                continue 'op;
                            }
                        };
                    }
                    macro_rules! jump_if {
                        ($instr:expr, $condition:expr) => {{
                            if $condition {
                                pc = $instr.d as usize;
                            }
                            continue 'op;
                        }};
                    }
                    macro_rules! jump_compare {
                        ($instr:expr, $op:tt, $wanted:expr) => {
                            if let (Value::Number(x), Value::Number(y)) =
                                (&regs[r($instr.a)], &regs[r($instr.b)])
                            {
                                jump_if!($instr, (x $op y) == $wanted);
                            }
                        };
                    }
                    macro_rules! jump_compare_int {
                        ($instr:expr, $op:tt, $wanted:expr) => {
                            if let Value::Number(x) = &regs[r($instr.a)] {
                                jump_if!($instr, (*x $op f64::from($instr.imm())) == $wanted);
                            }
                        };
                    }
                    // a := a truth; a jump that asks for it is taken at once.
                    macro_rules! decide {
                        ($a:expr, $truth:expr) => {{
                            let (a, truth): (u8, bool) = ($a, $truth);
                            put_bool(&mut regs[r(a)], truth);
                            ask!(a, truth);
                        }};
                    }
                    // Takes the jump that comes next at once if it asks for a, whose truth is known.
                    macro_rules! ask {
                        ($a:expr, $truth:expr) => {{
                            let (a, truth): (u8, bool) = ($a, $truth);
                            if let Some(next) = code.get(pc)
                                && next.a == a
                                && let Some(wanted) = jump_on(next.op)
                            {
                                pc = if truth == wanted {
                                    next.d as usize
                                } else {
                                    pc + 1
                                };
                            }
                            continue 'op;
                        }};
                    }
                    // Jumps back, counted; not when it is time to look at the budgets.
                    macro_rules! loop_if {
                        ($instr:expr, $condition:expr) => {{
                            let taken: bool = $condition;
                            if !taken {
                                continue 'op;
                            }
                            if self.quantum > 1 {
                                self.quantum -= 1;
                                pc = $instr.d as usize;
                                continue 'op;
                            }
                        }};
                    }
                    macro_rules! loop_compare {
                        ($instr:expr, $op:tt) => {
                            if let (Value::Number(x), Value::Number(y)) =
                                (&regs[r($instr.a)], &regs[r($instr.b)])
                            {
                                loop_if!($instr, x $op y);
                            }
                        };
                    }
                    macro_rules! loop_compare_int {
                        ($instr:expr, $op:tt) => {
                            if let Value::Number(x) = &regs[r($instr.a)] {
                                loop_if!($instr, *x $op f64::from($instr.imm()));
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
                        Op::LoadNone => {
                            set(&mut regs[r(instr.a)], Value::None);
                            continue 'op;
                        }
                        Op::LoadTrue => {
                            put_bool(&mut regs[r(instr.a)], true);
                            continue 'op;
                        }
                        Op::LoadFalse => {
                            put_bool(&mut regs[r(instr.a)], false);
                            continue 'op;
                        }
                        Op::LoadInt => {
                            put(&mut regs[r(instr.a)], f64::from(instr.int()));
                            continue 'op;
                        }
                        Op::LoadK => {
                            let value = constants.get(instr.d as usize).unwrap_or(&Value::None);
                            copy(&mut regs[r(instr.a)], value);
                            continue 'op;
                        }
                        Op::Copy => {
                            if let Value::Number(number) = regs[r(instr.b)] {
                                put(&mut regs[r(instr.a)], number);
                                continue 'op;
                            }
                            if let Ok([to, from]) = regs.get_disjoint_mut([r(instr.a), r(instr.b)])
                            {
                                copy(to, from);
                            }
                            continue 'op;
                        }
                        Op::CopyTwo => {
                            let to = r(instr.a);
                            for (to, from) in [(to, r(instr.b)), (to + 1, r(instr.c))] {
                                if let Value::Number(number) = regs[from] {
                                    put(&mut regs[to % MAX_REGISTERS], number);
                                } else if let Ok([to, from]) =
                                    regs.get_disjoint_mut([to % MAX_REGISTERS, from])
                                {
                                    copy(to, from);
                                }
                            }
                            continue 'op;
                        }
                        Op::Move => {
                            if let Value::Number(number) = regs[r(instr.b)] {
                                put(&mut regs[r(instr.a)], number);
                                put_plain(&mut regs[r(instr.b)], Value::Undefined);
                            } else if let Ok([to, from]) =
                                regs.get_disjoint_mut([r(instr.a), r(instr.b)])
                            {
                                move_to(from, to);
                            }
                            continue 'op;
                        }
                        Op::Clear => {
                            set(&mut regs[r(instr.a)], Value::Undefined);
                            continue 'op;
                        }
                        Op::Check => match &regs[r(instr.a)] {
                            Value::Undefined | Value::Cell(_) => {}
                            _ => continue 'op,
                        },
                        Op::LoadCell => {
                            if let Ok([to, Value::Cell(cell)]) =
                                regs.get_disjoint_mut([r(instr.a), r(instr.b)])
                            {
                                let value = cell.borrow();
                                if !matches!(*value, Value::Undefined) {
                                    copy(to, &value);
                                    continue 'op;
                                }
                            }
                        }
                        Op::PeekCell => {
                            if let Ok([to, from]) = regs.get_disjoint_mut([r(instr.a), r(instr.b)])
                                && !matches!(from, Value::Cell(_))
                            {
                                copy(to, from);
                                continue 'op;
                            }
                        }
                        Op::StoreCell | Op::MoveCell => {
                            if let (Value::Cell(cell), Value::Number(number)) =
                                (&regs[r(instr.a)], &regs[r(instr.b)])
                                && cell.put(*number)
                            {
                                continue 'op;
                            }
                        }

                        Op::Add => arithmetic!(instr, x, y, x + y),
                        Op::Sub => arithmetic!(instr, x, y, x - y),
                        Op::Mul => arithmetic!(instr, x, y, x * y),
                        Op::Div => arithmetic!(instr, x, y, x / y),
                        Op::Rem => arithmetic!(instr, x, y, arith::remainder(*x, *y)),
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
                        Op::IntSub => arithmetic_int!(instr, x, y, y - x),
                        Op::IntMul => arithmetic_int!(instr, x, y, y * x),
                        Op::RemI => {
                            if let Value::Number(number) = &regs[r(instr.b)] {
                                let result = arith::remainder_int(*number, instr.int());
                                put(&mut regs[r(instr.a)], result);
                                continue 'op;
                            }
                        }
                        Op::BitAndI => {
                            if let Value::Number(x) = &regs[r(instr.b)]
                                && let Some(x) = exact_int32(*x)
                            {
                                let bits = x & instr.int();
                                put(&mut regs[r(instr.a)], f64::from(bits));
                                ask!(instr.a, bits != 0);
                            }
                        }
                        Op::BitOrI => bits_int!(instr, x, y, x | y),
                        Op::BitXorI => bits_int!(instr, x, y, x ^ y),
                        Op::ShlI => bits_int!(instr, x, y, x.wrapping_shl(y as u32)),
                        Op::ShrI => bits_int!(instr, x, y, x.wrapping_shr(y as u32)),
                        Op::UShrI => bits_int!(instr, x, y, (x as u32).wrapping_shr(y as u32)),
                        Op::Neg => {
                            if let Value::Number(number) = regs[r(instr.b)] {
                                put(&mut regs[r(instr.a)], 0.0 - number);
                                continue 'op;
                            }
                        }
                        Op::Not => {
                            if let Some(truth) = short_truth(&regs[r(instr.b)]) {
                                put_bool(&mut regs[r(instr.a)], !truth);
                                continue 'op;
                            }
                        }
                        Op::Bool => {
                            if let Some(truth) = short_truth(&regs[r(instr.b)]) {
                                put_bool(&mut regs[r(instr.a)], truth);
                                continue 'op;
                            }
                        }
                        Op::Inc => {
                            if let Value::Number(number) = &mut regs[r(instr.a)] {
                                *number += 1.0;
                                let count = *number;
                                // Mostly the end of a loop follows, which asks for the same number.
                                if let Some(next) = code.get(pc)
                                    && next.a == instr.a
                                {
                                    let bound = match (next.op, &regs[r(next.b)]) {
                                        (Op::LoopLtI, _) => f64::from(next.imm()),
                                        (Op::LoopLt, Value::Number(bound)) => *bound,
                                        _ => continue 'op,
                                    };
                                    if count < bound {
                                        if self.quantum > 1 {
                                            self.quantum -= 1;
                                            pc = next.d as usize;
                                        }
                                    } else {
                                        pc += 1;
                                    }
                                }
                                continue 'op;
                            }
                        }
                        Op::Dec => {
                            if let Value::Number(number) = &mut regs[r(instr.a)] {
                                *number -= 1.0;
                                continue 'op;
                            }
                        }

                        Op::Eq | Op::Same => compare!(instr, ==),
                        Op::Ne | Op::NotSame => compare!(instr, !=),
                        Op::Lt => compare!(instr, <),
                        Op::Le => compare!(instr, <=),
                        Op::Gt => compare!(instr, >),
                        Op::Ge => compare!(instr, >=),

                        Op::Jump => {
                            pc = instr.d as usize;
                            continue 'op;
                        }
                        Op::JumpT => {
                            if let Some(truth) = short_truth(&regs[r(instr.a)]) {
                                jump_if!(instr, truth);
                            }
                        }
                        Op::JumpF => {
                            if let Some(truth) = short_truth(&regs[r(instr.a)]) {
                                jump_if!(instr, !truth);
                            }
                        }
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
                        Op::JumpEq | Op::JumpSame => jump_compare!(instr, ==, true),
                        Op::JumpNe | Op::JumpNotSame => jump_compare!(instr, !=, true),
                        Op::JumpLt => jump_compare!(instr, <, true),
                        Op::JumpNotLt => jump_compare!(instr, <, false),
                        Op::JumpLe => jump_compare!(instr, <=, true),
                        Op::JumpNotLe => jump_compare!(instr, <=, false),
                        Op::JumpLtI => jump_compare_int!(instr, <, true),
                        Op::JumpNotLtI => jump_compare_int!(instr, <, false),
                        Op::JumpLeI => jump_compare_int!(instr, <=, true),
                        Op::JumpNotLeI => jump_compare_int!(instr, <=, false),
                        Op::JumpGtI => jump_compare_int!(instr, >, true),
                        Op::JumpNotGtI => jump_compare_int!(instr, >, false),
                        Op::JumpGeI => jump_compare_int!(instr, >=, true),
                        Op::JumpNotGeI => jump_compare_int!(instr, >=, false),
                        Op::JumpEqK | Op::JumpNeK => {
                            let at = usize::from(instr.short());
                            let constant = constants.get(at).unwrap_or(&Value::None);
                            let equal = match (&regs[r(instr.a)], constant) {
                                (Value::Number(x), Value::Number(y)) => Some(x == y),
                                (Value::String(x), Value::String(y)) => x.short_equal(y),
                                _ => None,
                            };
                            if let Some(equal) = equal {
                                jump_if!(instr, equal == (instr.op == Op::JumpEqK));
                            }
                        }
                        Op::Loop => loop_if!(instr, true),
                        Op::LoopT => {
                            if let Some(truth) = short_truth(&regs[r(instr.a)]) {
                                loop_if!(instr, truth);
                            }
                        }
                        Op::LoopLt => loop_compare!(instr, <),
                        Op::LoopLe => loop_compare!(instr, <=),
                        Op::LoopLtI => loop_compare_int!(instr, <),
                        Op::LoopLeI => loop_compare_int!(instr, <=),
                        Op::LoopGtI => loop_compare_int!(instr, >),
                        Op::LoopGeI => loop_compare_int!(instr, >=),

                        Op::Index => {
                            match (&regs[r(instr.b)], &regs[r(instr.c)]) {
                                (Value::Array(array), Value::Number(at)) => {
                                    if let ArrayRef::Local(array) = &**array
                                        && let Some(list) = array.as_list()
                                    {
                                        match list.get(*at as i64 as usize) {
                                            Some(Value::Number(number)) => {
                                                let number = *number;
                                                put(&mut regs[r(instr.a)], number);
                                                continue 'op;
                                            }
                                            Some(Value::Boolean(truth)) => decide!(instr.a, *truth),
                                            _ => {}
                                        }
                                    }
                                }
                                (Value::String(text), Value::Number(at)) if *at >= 0.0 => {
                                    if let Some(byte) = text.as_bytes().get(*at as usize) {
                                        let byte = *byte;
                                        put_byte(&mut regs[r(instr.a)], byte);
                                        continue 'op;
                                    }
                                }
                                _ => {}
                            }
                            if short::index(regs, *instr, &constants) {
                                continue 'op;
                            }
                        }
                        Op::IndexK => {
                            if short::index(regs, *instr, &constants) {
                                continue 'op;
                            }
                        }
                        Op::Peek => {
                            if short::index(regs, *instr, &constants) {
                                continue 'op;
                            }
                        }
                        Op::Length => {
                            let length = match &regs[r(instr.b)] {
                                Value::String(text) => Some(text.len()),
                                Value::Array(array) => match &**array {
                                    ArrayRef::Local(array) => Some(array.len()),
                                    ArrayRef::Frozen(..) => None,
                                },
                                _ => None,
                            };
                            if let Some(length) = length {
                                put(&mut regs[r(instr.a)], length as f64);
                                continue 'op;
                            }
                        }
                        Op::IssetIndex => {
                            if let Some(has) = short::isset(regs, *instr) {
                                decide!(instr.a, has);
                            }
                        }
                        Op::Update | Op::SetPath => {
                            if let Some(steps) = proto.paths.get(instr.d as usize) {
                                let caller = Caller {
                                    unit: &unit,
                                    class: proto.class,
                                };
                                let done = match (instr.op, &**steps) {
                                    (_, [Step::Property(name)]) => {
                                        let place = (*name, caller);
                                        short::property(regs, *instr, place, &constants, &hints)
                                    }
                                    (Op::Update, steps) => {
                                        short::update(regs, *instr, steps, &constants)
                                    }
                                    (_, steps) => short::set_path(regs, *instr, steps, &constants),
                                };
                                if done {
                                    continue 'op;
                                }
                            }
                        }
                        Op::GetPath => {
                            if let Some(steps) = proto.paths.get(instr.d as usize)
                                && short::get_path(regs, *instr, steps, &constants)
                            {
                                pc += r(instr.c);
                            }
                            continue 'op;
                        }
                        Op::SetIndexK | Op::MoveIndexK => {
                            if short::set_index(regs, *instr, &constants) {
                                continue 'op;
                            }
                        }
                        Op::Append => {
                            if short::append(regs, *instr, None) {
                                continue 'op;
                            }
                        }
                        Op::AppendK => {
                            let text = constants.get(instr.d as usize);
                            if short::append(regs, *instr, text) {
                                continue 'op;
                            }
                        }
                        Op::Concat => {
                            if short::concat(regs, *instr, &[], &constants) {
                                continue 'op;
                            }
                        }
                        Op::Join => {
                            if let Some(parts) = proto.joins.get(instr.d as usize)
                                && short::concat(regs, *instr, parts, &constants)
                            {
                                continue 'op;
                            }
                        }
                        Op::Match | Op::NoMatch => {
                            if let Some((holds, fuel)) = short::matches(regs, *instr) {
                                self.quantum -= fuel;
                                decide!(instr.a, holds);
                            }
                        }
                        Op::NextPair => match short::next(regs, *instr) {
                            Advance::Entry => continue 'op,
                            Advance::End => {
                                pc = instr.d as usize;
                                continue 'op;
                            }
                            Advance::Long => {}
                        },
                        Op::IndexI => {
                            if short::index_int(regs, *instr) {
                                continue 'op;
                            }
                        }
                        Op::Property => {
                            if let (Value::Object(object), Value::String(name)) = (
                                &regs[r(instr.b)],
                                constants.get(instr.d as usize).unwrap_or(&Value::None),
                            ) && let Some(instance_of) = Instance::of(object)
                                && let caller = (Caller {
                                    unit: &unit,
                                    class: proto.class,
                                })
                                && let Some(hints) = hints.get(instr.d as usize)
                                && let Some(value) =
                                    instance_of.hinted(name, caller, hints, number_or)
                            {
                                match value {
                                    Ok(number) => put(&mut regs[r(instr.a)], number),
                                    Err(value) => set(&mut regs[r(instr.a)], value),
                                }
                                continue 'op;
                            }
                        }
                        Op::Push | Op::MovePush => {
                            if let Value::Number(number) = regs[r(instr.b)]
                                && instr.a != instr.b
                                && let Value::Array(array) = &mut regs[r(instr.a)]
                                && let Some(ArrayRef::Local(array)) = Rc::get_mut(array)
                                && array.len() < crate::array::MAX_ENTRIES
                                && !array.is_full_and_large()
                            {
                                array.push(Value::Number(number));
                                if instr.op == Op::MovePush {
                                    put_plain(&mut regs[r(instr.b)], Value::Undefined);
                                }
                                continue 'op;
                            }
                            if short::push(regs, *instr) {
                                continue 'op;
                            }
                        }
                        Op::SetIndex | Op::MoveIndex => {
                            if let (Value::Number(at), Value::Boolean(truth)) =
                                (&regs[r(instr.b)], &regs[r(instr.c)])
                            {
                                let (at, truth) = (*at as i64, *truth);
                                if let Value::Array(array) = &mut regs[r(instr.a)]
                                    && let Some(ArrayRef::Local(array)) = Rc::get_mut(array)
                                    && let Some(slot) = array.get_index_mut(at)
                                {
                                    put_bool(slot, truth);
                                    if instr.op == Op::MoveIndex {
                                        put_plain(&mut regs[r(instr.c)], Value::Undefined);
                                    }
                                    continue 'op;
                                }
                            } else if let (Value::Number(at), Value::Number(number)) =
                                (&regs[r(instr.b)], &regs[r(instr.c)])
                            {
                                let (at, number) = (*at as i64, *number);
                                if let Value::Array(array) = &mut regs[r(instr.a)]
                                    && let Some(ArrayRef::Local(array)) = Rc::get_mut(array)
                                    && let Some(slot) = array.get_index_mut(at)
                                {
                                    put(slot, number);
                                    if instr.op == Op::MoveIndex {
                                        put_plain(&mut regs[r(instr.c)], Value::Undefined);
                                    }
                                    continue 'op;
                                }
                            }
                            if short::set_index(regs, *instr, &constants) {
                                continue 'op;
                            }
                        }
                        Op::Next => {
                            let state = r(instr.a.saturating_add(1));
                            if let (Value::Array(array), Value::Number(at)) =
                                (&regs[r(instr.a)], &regs[state])
                                && let ArrayRef::Local(array) = &**array
                                && let Some(list) = array.as_list()
                            {
                                let at = *at as usize;
                                match list.get(at) {
                                    Some(Value::Number(number)) => {
                                        let number = *number;
                                        put(&mut regs[r(instr.b)], number);
                                        put(&mut regs[state], (at + 1) as f64);
                                        continue 'op;
                                    }
                                    Some(_) => {}
                                    None => {
                                        pc = instr.d as usize;
                                        continue 'op;
                                    }
                                }
                            }
                            match short::next(regs, *instr) {
                                Advance::Entry => continue 'op,
                                Advance::End => {
                                    pc = instr.d as usize;
                                    continue 'op;
                                }
                                Advance::Long => {}
                            }
                        }

                        Op::Call => {
                            let callee = &protos[instr.d as usize];
                            if self.quantum > 1
                                && !callee.rest
                                && !callee.generator
                                && self.frames.len() < MAX_DEPTH
                            {
                                let first = base + r(instr.a);
                                enter!(instr.d, callee, first, first, r(instr.b));
                                continue 'op;
                            }
                        }
                        Op::NewObject => {
                            if self.quantum > 1
                                && self.frames.len() < MAX_DEPTH
                                && let Some(class) = unit.classes.get(instr.d as usize)
                                && let callee = &protos[class.constructor as usize]
                                && callee.takes(r(instr.b))
                                && callee.this
                            {
                                let object = Instance::object(&unit, instr.d);
                                self.note(&object);
                                // Noting it may have dropped others, but no register has moved.
                                regs = window(&mut self.stack, base);
                                put_made(&mut regs[r(instr.a)], || Value::Object(object));
                                let first = base + r(instr.a);
                                enter!(class.constructor, callee, first, first, r(instr.b) + 1);
                                continue 'op;
                            }
                        }
                        Op::CallMethod => {
                            if self.quantum > 1
                                && let Value::Object(object) = &regs[r(instr.c)]
                            {
                                let hints = hints.get(instr.d as usize).unwrap_or(&spare);
                                if let Some(instance_of) = Instance::of(object) {
                                    let caller = Caller {
                                        unit: &unit,
                                        class: proto.class,
                                    };
                                    let given = r(instr.b);
                                    if self.frames.len() < MAX_DEPTH
                                        && let Some(method) =
                                            instance_of.hinted_method(caller, hints)
                                        && let callee = &protos[method as usize]
                                        && callee.takes(given)
                                        && callee.this
                                    {
                                        if instr.c != instr.a {
                                            let object = Rc::clone(object);
                                            put_made(&mut regs[r(instr.a)], || {
                                                Value::Object(object)
                                            });
                                        }
                                        let first = base + r(instr.a);
                                        enter!(method, callee, first, first, given + 1);
                                        continue 'op;
                                    }
                                } else if let Some((function, native)) =
                                    plain_method(object, hints, &library)
                                {
                                    if let Some(quick) = native.quick {
                                        match short::table_method(regs, *instr, quick) {
                                            Some(Answer::Truth(truth)) => {
                                                self.quantum -= 1;
                                                decide!(instr.a, truth);
                                            }
                                            Some(Answer::Number(number)) => {
                                                self.quantum -= 1;
                                                put(&mut regs[r(instr.a)], number);
                                                continue 'op;
                                            }
                                            None => {}
                                        }
                                    }
                                    // No frame is needed.
                                    let object = if instr.c == instr.a {
                                        take(&mut regs[r(instr.a)])
                                    } else {
                                        regs[r(instr.c)].clone()
                                    };
                                    let first = r(instr.a) + 1;
                                    let end = (first + r(instr.b)).min(MAX_REGISTERS);
                                    let args = &mut regs[first.min(end)..end];
                                    let checked = native
                                        .check_count(args.len())
                                        .and_then(|()| native.accept(args, &library));
                                    if let Err(throw) = checked {
                                        break 'op throw;
                                    }
                                    self.quantum -= 1;
                                    let cx = &mut Cx {
                                        host: &self.host,
                                        library: &library,
                                        fuel: &mut self.quantum,
                                    };
                                    let values = &mut *args;
                                    let this = object.as_object();
                                    let given = function(cx, Args { this, values });
                                    wipe(args);
                                    result!(given, &mut regs[r(instr.a)], 'op);
                                    continue 'op;
                                }
                            }
                        }
                        Op::CallValue => {
                            if self.quantum > 1
                                && self.frames.len() < MAX_DEPTH
                                && let Value::Function(function) = &regs[r(instr.a)]
                                && let Function::User(user) = &**function
                                && user.this.is_none()
                                && user.unit.same(&unit)
                                && let callee = &protos[user.proto as usize]
                                && callee.takes(r(instr.b))
                                && !callee.this
                            {
                                let (index, given) = (user.proto, r(instr.b));
                                let function = Rc::clone(function);
                                set(&mut regs[r(instr.a)], Value::Undefined);
                                let result = base + r(instr.a);
                                enter!(index, callee, result + 1, result, given);
                                if let Function::User(user) = &*function {
                                    let first = usize::from(callee.declared);
                                    let places = regs.get_mut(first..).unwrap_or_default();
                                    for (slot, cell) in places.iter_mut().zip(&user.captures) {
                                        set(slot, Value::Cell(Rc::clone(cell)));
                                    }
                                }
                                continue 'op;
                            }
                        }
                        Op::CallNative => {
                            let native = library.native(NativeFn(instr.d));
                            if let Imp::Plain(_) | Imp::Heavy(_) = native.decl.imp {
                                let end = (r(instr.a) + r(instr.b)).min(MAX_REGISTERS);
                                let args = &mut regs[r(instr.a)..end];
                                if let Err(throw) = native.accept(args, &library) {
                                    break 'op throw;
                                }
                                self.quantum -= 1;
                                let cx = &mut Cx {
                                    host: &self.host,
                                    library: &library,
                                    fuel: &mut self.quantum,
                                };
                                let values = &mut *args;
                                let values = Args { this: None, values };
                                let given = match native.decl.imp {
                                    Imp::Plain(function) => function(cx, values),
                                    Imp::Heavy(function) => match function(cx, values) {
                                        Ok(Heavy::Done(value)) => Ok(value),
                                        Ok(Heavy::Task(task)) => Err(Throw::goes_on(task)),
                                        Ok(Heavy::Offload(job)) => {
                                            wipe(args);
                                            save!();
                                            self.waiting = Some(base + r(instr.c));
                                            return Exit::Offload(job);
                                        }
                                        Err(throw) => Err(throw),
                                    },
                                    _ => unreachable!("looked at above"),
                                };
                                wipe(args);
                                result!(given, &mut regs[r(instr.c)], 'op);
                                // Fuel and budget are looked at after every built-in.
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
                                continue 'op;
                            }
                        }
                        Op::Return | Op::ReturnNone => {
                            // A function that another one of the same instance called, or a built-in.
                            if let [.., caller, done] = self.frames.as_slice()
                                && done.kind == FrameKind::Script
                                && caller.kind == FrameKind::Task
                            {
                                let mut answer = match instr.op {
                                    Op::Return => take(&mut regs[r(instr.a)]),
                                    _ => Value::None,
                                };
                                let mut again = Again::Answer;
                                if self.quantum > 1
                                    && !proto.rest
                                    && !proto.this
                                    && let Some(task) = self.tasks.last_mut()
                                {
                                    let cx = &mut Cx {
                                        host: &self.host,
                                        library: &library,
                                        fuel: &mut self.quantum,
                                    };
                                    let declared = usize::from(proto.declared);
                                    let places = regs.get_mut(..declared).unwrap_or_default();
                                    // Parameters that are not given again are undefined.
                                    wipe(places);
                                    again = task.again(cx, &mut answer, places);
                                    if again == Again::Call {
                                        // The frame stays, and so do the cells of captured variables.
                                        let kept = declared + usize::from(proto.captures);
                                        let used = kept..usize::from(proto.registers);
                                        wipe(regs.get_mut(used).unwrap_or_default());
                                        self.quantum -= 1;
                                        pc = 0;
                                        continue 'op;
                                    }
                                }
                                self.frames.pop();
                                wipe(&mut regs[..usize::from(proto.registers)]);
                                let input = match again {
                                    Again::Taken => Input::Start,
                                    _ => Input::Value(answer),
                                };
                                match self.advance(input) {
                                    Ok(Called::Value(_) | Called::Frame) => continue 'frame,
                                    Ok(Called::Exit(exit)) => return *exit,
                                    Err(throw) => match self.unwind(throw) {
                                        Ok(()) => continue 'frame,
                                        Err(throw) => return Exit::Thrown(throw),
                                    },
                                }
                            }
                            if let [.., caller, done] = self.frames.as_slice()
                                && done.kind == FrameKind::Script
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
                                    // What is returned stays until the others are undefined: its place may be one of
                                    // theirs.
                                    let at = r(instr.a);
                                    wipe(regs.get_mut(..at).unwrap_or_default());
                                    wipe(regs.get_mut(at + 1..used).unwrap_or_default());
                                    let places = [result, base + at];
                                    if let Ok([to, from]) = self.stack.get_disjoint_mut(places) {
                                        move_to(from, to);
                                    }
                                } else {
                                    wipe(&mut regs[..used]);
                                    set(&mut self.stack[result], Value::None);
                                }
                                proto = &protos[caller.proto as usize];
                                code = proto.code.as_slice();
                                pc = caller.pc as usize;
                                base = caller.base as usize;
                                regs = window(&mut self.stack, base);
                                continue 'op;
                            }
                        }
                        _ => {}
                    }

                    // The long way.
                    save!();
                    let here = &Here {
                        unit: &unit,
                        constants: &constants,
                        hints: &hints,
                        spare: &spare,
                        instance,
                        proto,
                        base,
                    };
                    match self.step(*instr, here) {
                        Ok(Next::Go) => {}
                        Ok(Next::Jump(target)) => pc = target as usize,
                        Ok(Next::Frame) => continue 'frame,
                        Ok(Next::Exit(exit)) => return *exit,
                        Err(throw) => match self.go_on(throw, base + r(instr.result())) {
                            Ok(()) => continue 'frame,
                            Err(throw) => return Exit::Thrown(throw),
                        },
                    }
                    regs = window(&mut self.stack, base);
                };
                save!();
                let result = code
                    .get(pc.wrapping_sub(1))
                    .map_or(0, |instr| r(instr.result()));
                match self.go_on(thrown, base + result) {
                    Ok(()) => {}
                    Err(throw) => return Exit::Thrown(throw),
                }
            }
        }
    }
}

/// A number, or a copy of another value.
#[inline]
fn number_or(value: &Value) -> Result<f64, Value> {
    match value {
        Value::Number(number) => Ok(*number),
        other => Err(other.clone()),
    }
}

/// The truth at which a jump is taken.
#[inline]
fn jump_on(op: Op) -> Option<bool> {
    match op {
        Op::JumpT => Some(true),
        Op::JumpF => Some(false),
        _ => None,
    }
}

/// The method of an object of the library that was found last time, if it fits and neither waits nor calls back.
#[inline]
fn plain_method<'l>(
    object: &Object,
    hints: &Hints,
    library: &'l Library,
) -> Option<(PlainFn, &'l Native)> {
    let class = object.class();
    let hint = hints.of(class.0).get();
    if hint.class != class.0 | Hint::NATIVE || Generator::is(object) {
        return None;
    }
    let native = library.native(NativeFn(hint.target));
    match native.decl.imp {
        Imp::Plain(function) => Some((function, native)),
        _ => None,
    }
}
