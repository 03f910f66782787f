//! Operators and conditions beside the loop's short ways for numbers (language.md 5, 6).

use angarium_lang::bytecode::{Instr, MAX_REGISTERS, Op, Part, PathOp};

use smallvec::SmallVec;

use super::{Here, Next, Stepped, cx};
use crate::convert::{self, to_number};
use crate::native::{Cx, Throw};
use crate::pieces::{self, LARGE_BYTES};
use crate::string::Str;
use crate::value::Value;
use crate::vm::fiber::Fiber;
use crate::vm::ops::compare::{self, Order};
use crate::vm::ops::{arith, is_long_text, number, text};
use crate::vm::registers::{Registers, holds, put, put_bool, r, set, take, window};

/// The operator of an arithmetic instruction.
fn path_op(op: Op) -> PathOp {
    match op {
        Op::Sub | Op::SubI => PathOp::Sub,
        Op::Mul | Op::MulI => PathOp::Mul,
        Op::Div | Op::DivI => PathOp::Div,
        Op::Rem | Op::RemI => PathOp::Rem,
        Op::Pow => PathOp::Pow,
        Op::BitAnd | Op::BitAndI => PathOp::BitAnd,
        Op::BitOr | Op::BitOrI => PathOp::BitOr,
        Op::BitXor | Op::BitXorI => PathOp::BitXor,
        Op::Shl | Op::ShlI => PathOp::Shl,
        Op::Shr | Op::ShrI => PathOp::Shr,
        Op::UShr | Op::UShrI => PathOp::UShr,
        _ => PathOp::Add,
    }
}

/// a := b op right
fn binary(
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
    set(&mut registers[r(instr.a)], left);
    Ok(())
}

/// As [`to_number`]; a long text is read in pieces.
#[inline]
fn number_of(value: &Value, cx: &mut Cx<'_>) -> Result<f64, Throw> {
    if is_long_text(value) {
        return Ok(to_number(&number(value, cx)?));
    }
    Ok(to_number(value))
}

/// a := the c strings of b, b+1 … joined
fn concat(registers: &mut Registers, instr: Instr, cx: &mut Cx<'_>) -> Result<(), Throw> {
    let first = r(instr.b);
    let end = (first + r(instr.c)).min(MAX_REGISTERS);
    let mut total = 0;
    for slot in &mut registers[first..end] {
        if let Value::Array(_) = slot {
            // It may be long, and is made first.
            *slot = Value::String(text(slot, cx)?);
        }
        total += match slot {
            Value::String(string) => string.len(),
            Value::Number(_) => 8,
            _ => 16,
        };
    }
    if total > LARGE_BYTES {
        return concat_large(registers, instr, cx);
    }
    if total > 64 {
        cx.reserve(total)?;
    }
    // The first part grows in place when it is a long string that nobody else holds.
    if let Value::String(string) = &registers[first]
        && string.len() > crate::string::INLINE
        && string.len() * 2 > total
    {
        return append_rest(registers, instr, cx);
    }
    // Short texts are put together on the stack: then only the string itself is allocated, if at all.
    let mut out: SmallVec<[u8; SHORT]> = SmallVec::new();
    if total > SHORT {
        out.reserve_exact(total);
    }
    for slot in &mut registers[first..end] {
        match &*slot {
            Value::String(string) => out.extend_from_slice(string.as_bytes()),
            Value::Number(number) => match convert::whole(*number) {
                Some(whole) => {
                    out.extend_from_slice(itoa::Buffer::new().format(whole).as_bytes());
                }
                None => out.extend_from_slice(text(slot, cx)?.as_bytes()),
            },
            other => out.extend_from_slice(text(other, cx)?.as_bytes()),
        }
        if !matches!(slot, Value::Number(_)) {
            set(slot, Value::Undefined);
        }
    }
    if out.len() > total {
        cx.reserve(out.len())?;
    }
    let joined = if out.spilled() {
        Str::from_vec(out.into_vec())
    } else {
        Str::new(&out)
    };
    set(&mut registers[r(instr.a)], Value::String(joined));
    Ok(())
}

/// Copies the parts of a text that are elsewhere to their places among the others.
fn gather(registers: &mut Registers, instr: Instr, parts: &[Part], here: &Here<'_>) {
    for (place, part) in (r(instr.b)..MAX_REGISTERS).zip(parts) {
        let value = match part {
            Part::Here => continue,
            Part::Register(register) => registers[r(*register)].clone(),
            Part::Const(index) => here.constant(*index).clone(),
        };
        set(&mut registers[place], value);
    }
}

/// Bytes of a text that is put together on the stack.
const SHORT: usize = 96;

/// a := the string b, with those behind it appended
fn append_rest(registers: &mut Registers, instr: Instr, cx: &mut Cx<'_>) -> Result<(), Throw> {
    let first = r(instr.b);
    let end = (first + r(instr.c)).min(MAX_REGISTERS);
    let mut text = take(&mut registers[first]);
    for register in &mut registers[first + 1..end] {
        let part = take(register);
        arith::concat(&mut text, &part, cx)?;
    }
    set(&mut registers[r(instr.a)], text);
    Ok(())
}

/// As [`concat`] where much has to be copied: to a text that only its register holds the others are appended, else they are
/// joined in pieces.
#[cold]
#[inline(never)]
fn concat_large(registers: &mut Registers, instr: Instr, cx: &mut Cx<'_>) -> Result<(), Throw> {
    let first = r(instr.b);
    let end = (first + r(instr.c)).min(MAX_REGISTERS);
    let parts = &mut registers[first..end];
    for slot in &mut *parts {
        *slot = Value::String(convert::to_str(slot));
    }
    let lengths = parts
        .iter()
        .map(|part| part.as_bytes().map_or(0, <[u8]>::len));
    let total = lengths.sum();
    cx.fits(total)?;
    if let Some(Value::String(text)) = parts.first() {
        let more = total - text.len();
        if more <= LARGE_BYTES && text.has_room(more) {
            return append_rest(registers, instr, cx);
        }
    }
    let parts = parts.iter_mut().map(|part| convert::to_str(&take(part)));
    Err(Throw::pieces(pieces::join(parts.collect(), total)))
}

impl Fiber {
    pub(super) fn step_operator(&mut self, instr: Instr, here: &Here<'_>) -> Stepped {
        let regs = window(&mut self.stack, here.base);
        let cx = cx!(self);
        match instr.op {
            Op::AddI
            | Op::SubI
            | Op::MulI
            | Op::DivI
            | Op::RemI
            | Op::BitAndI
            | Op::BitOrI
            | Op::BitXorI
            | Op::ShlI
            | Op::ShrI
            | Op::UShrI => binary(regs, instr, &Value::Number(f64::from(instr.int())), cx)?,
            Op::IntSub | Op::IntMul => {
                put(&mut regs[r(instr.c)], f64::from(instr.int()));
                let right = regs[r(instr.b)].clone();
                let op = match instr.op {
                    Op::IntSub => Op::Sub,
                    _ => Op::Mul,
                };
                let usual = Instr::new(op, instr.a, instr.c, instr.b, 0);
                binary(regs, usual, &right, cx)?;
            }
            Op::Neg => {
                let number = 0.0 - number_of(&regs[r(instr.b)], cx)?;
                put(&mut regs[r(instr.a)], number);
            }
            Op::Number => {
                let number = number_of(&regs[r(instr.b)], cx)?;
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
                let number = !convert::to_int32(number_of(&regs[r(instr.b)], cx)?);
                put(&mut regs[r(instr.a)], f64::from(number));
            }
            Op::Inc => {
                let number = number_of(&regs[r(instr.a)], cx)? + 1.0;
                put(&mut regs[r(instr.a)], number);
            }
            Op::Dec => {
                let number = number_of(&regs[r(instr.a)], cx)? - 1.0;
                put(&mut regs[r(instr.a)], number);
            }
            Op::Concat => concat(regs, instr, cx)?,
            Op::Join => {
                let parts = here.proto.joins.get(instr.d as usize);
                gather(regs, instr, parts.map_or(&[], |parts| parts), here);
                concat(regs, instr, cx)?;
            }
            Op::AppendK => {
                let text = here.constant(instr.d);
                arith::concat(&mut regs[r(instr.a)], text, cx)?;
            }
            Op::Append => {
                if let Ok([slot, text]) = regs.get_disjoint_mut([r(instr.a), r(instr.b)]) {
                    arith::concat(slot, text, cx)?;
                } else {
                    // The text is the variable itself: a handle of its own keeps it as it was.
                    let text = regs[r(instr.b)].clone();
                    arith::concat(&mut regs[r(instr.a)], &text, cx)?;
                }
            }
            Op::Eq | Op::Ne | Op::Same | Op::NotSame | Op::Lt | Op::Le | Op::Gt | Op::Ge => {
                let (left, right) = (&regs[r(instr.b)], &regs[r(instr.c)]);
                let holds = match instr.op {
                    Op::Eq => compare::loose(left, right, cx)?,
                    Op::Ne => !compare::loose(left, right, cx)?,
                    Op::Same => compare::strict(left, right, cx)?,
                    Op::NotSame => !compare::strict(left, right, cx)?,
                    Op::Lt => compare::order(left, right, Order::Less, cx)?,
                    Op::Le => compare::order(left, right, Order::LessEq, cx)?,
                    Op::Gt => compare::order(left, right, Order::Greater, cx)?,
                    _ => compare::order(left, right, Order::GreaterEq, cx)?,
                };
                put_bool(&mut regs[r(instr.a)], holds);
            }
            Op::Match | Op::NoMatch => {
                let wanted = instr.op == Op::Match;
                let (subject, pattern) = (regs[r(instr.b)].clone(), regs[r(instr.c)].clone());
                let matched = self.matches(&subject, &pattern, wanted)?;
                let regs = window(&mut self.stack, here.base);
                put_bool(&mut regs[r(instr.a)], matched);
            }
            _ => {
                // A handle of its own: the register may be the one that is changed.
                let right = regs[r(instr.c)].clone();
                binary(regs, instr, &right, cx)?;
            }
        }
        Ok(Next::Go)
    }

    /// Whether the jump is taken.
    pub(super) fn condition(&mut self, instr: Instr, here: &Here<'_>) -> Result<bool, Throw> {
        let regs = window(&mut self.stack, here.base);
        let cx = cx!(self);
        let (left, right) = (&regs[r(instr.a)], &regs[r(instr.b)]);
        let number = &Value::Number(f64::from(instr.imm()));
        let constant = |instr: Instr| here.constant(u32::from(instr.short()));
        Ok(match instr.op {
            Op::JumpT | Op::LoopT => holds(left),
            Op::JumpF => !holds(left),
            Op::JumpEq => compare::loose(left, right, cx)?,
            Op::JumpNe => !compare::loose(left, right, cx)?,
            Op::JumpSame => compare::strict(left, right, cx)?,
            Op::JumpNotSame => !compare::strict(left, right, cx)?,
            Op::JumpEqK => compare::loose(left, constant(instr), cx)?,
            Op::JumpNeK => !compare::loose(left, constant(instr), cx)?,
            Op::JumpLt | Op::LoopLt => compare::order(left, right, Order::Less, cx)?,
            Op::JumpNotLt => !compare::order(left, right, Order::Less, cx)?,
            Op::JumpLe | Op::LoopLe => compare::order(left, right, Order::LessEq, cx)?,
            Op::JumpNotLe => !compare::order(left, right, Order::LessEq, cx)?,
            Op::JumpLtI | Op::LoopLtI => compare::order(left, number, Order::Less, cx)?,
            Op::JumpNotLtI => !compare::order(left, number, Order::Less, cx)?,
            Op::JumpLeI | Op::LoopLeI => compare::order(left, number, Order::LessEq, cx)?,
            Op::JumpNotLeI => !compare::order(left, number, Order::LessEq, cx)?,
            Op::JumpGtI | Op::LoopGtI => compare::order(left, number, Order::Greater, cx)?,
            Op::JumpNotGtI => !compare::order(left, number, Order::Greater, cx)?,
            Op::JumpGeI | Op::LoopGeI => compare::order(left, number, Order::GreaterEq, cx)?,
            Op::JumpNotGeI => !compare::order(left, number, Order::GreaterEq, cx)?,
            _ => true,
        })
    }
}
