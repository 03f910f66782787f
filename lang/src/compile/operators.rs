//! Operators of one level, and strings that are joined.

use angarium_syntax::ast::{BinaryOp, Chain, Expr};

use crate::Span;
use crate::bytecode::{Const, Op};
use crate::compile::Compiler;
use crate::compile::code::int;
use crate::compile::expr::{CHUNK, Operand};
use crate::fold::{self, fold};

impl Compiler<'_> {
    /// A chain of operators of one level.
    pub(super) fn chain(&mut self, chain: &Chain<BinaryOp>, dst: u8) {
        if chain.rest.iter().all(|link| link.op == BinaryOp::Concat) {
            let operands =
                std::iter::once(&chain.first).chain(chain.rest.iter().map(|link| &link.operand));
            let span = chain
                .rest
                .first()
                .map_or(chain.first.span, |link| link.op_span);
            self.concat(operands, span, dst);
            return;
        }
        let mark = self.mark();
        if let Some(link) = chain.rest.first() {
            self.warn_operands(link.op, &chain.first, &link.operand, link.op_span);
        }
        let others: Vec<&Expr> = chain.rest.iter().map(|link| &link.operand).collect();
        let mut left = self.operand(&chain.first, &others);
        let last = chain.rest.len() - 1;
        for (at, link) in chain.rest.iter().enumerate() {
            let right = match fold(&link.operand).filter(|_| !self.plain) {
                Some(value) => {
                    if let Operand::Const(a) = &left
                        && let Some(value) = fold::binary(link.op, a.clone(), value.clone())
                    {
                        left = Operand::Const(value);
                        continue;
                    }
                    Operand::Const(value)
                }
                None => Operand::Register(0),
            };
            let left_register = self.in_register(left);
            let right = match right {
                Operand::Register(_) => Operand::Register(self.expr(&link.operand)),
                known => known,
            };
            self.at(link.op_span);
            let target = if at == last {
                dst
            } else if self.is_temp(left_register) && usize::from(left_register) >= mark {
                left_register
            } else {
                self.temp()
            };
            self.binary(link.op, target, left_register, right);
            if at < last {
                self.reset(usize::from(target) + 1);
            }
            left = Operand::Register(target);
        }
        if let Operand::Const(value) = left {
            self.load(dst, value);
        }
        self.reset(mark);
    }

    /// dst := left op right
    pub(super) fn binary(&mut self, op: BinaryOp, dst: u8, left: u8, right: Operand) {
        if let Operand::Const(Const::Number(number)) = &right
            && let Some(number) = int(*number)
        {
            let immediate = match op {
                BinaryOp::Add => Some(Op::AddI),
                BinaryOp::Sub => Some(Op::SubI),
                BinaryOp::Mul => Some(Op::MulI),
                BinaryOp::Div => Some(Op::DivI),
                BinaryOp::Rem => Some(Op::RemI),
                BinaryOp::BitAnd => Some(Op::BitAndI),
                BinaryOp::BitOr => Some(Op::BitOrI),
                BinaryOp::BitXor => Some(Op::BitXorI),
                BinaryOp::ShiftLeft => Some(Op::ShlI),
                BinaryOp::ShiftRight => Some(Op::ShrI),
                BinaryOp::ShiftRightZero => Some(Op::UShrI),
                _ => None,
            };
            if let Some(immediate) = immediate {
                self.emit(immediate, dst, left, 0, number as u32);
                return;
            }
        }
        let right = match (op, right) {
            (BinaryOp::Matches | BinaryOp::NotMatches, Operand::Const(Const::Str(text))) => {
                // A literal pattern is compiled once, and a bad one is a compile error.
                let (pattern, modifiers) = split_pattern(&text);
                let span = self.span();
                Operand::Const(Const::Regex {
                    pattern: pattern.into(),
                    modifiers: modifiers.into(),
                    span,
                })
            }
            (_, right) => right,
        };
        let right = self.in_register(right);
        let op = binary_op(op);
        self.emit(op, dst, left, right, 0);
    }

    /// dst := the operands joined
    pub(super) fn concat<'e>(
        &mut self,
        operands: impl Iterator<Item = &'e Expr>,
        span: Span,
        dst: u8,
    ) {
        let mark = self.mark();
        let mut first = None;
        let mut count = 0;
        let mut pending: Option<Const> = None;
        let mut operands = operands.peekable();
        while let Some(operand) = operands.next() {
            // Neighbouring constants are joined now.
            if !self.plain
                && let Some(value) = fold(operand)
            {
                let joined = match pending.take() {
                    None => Some(value.clone()),
                    Some(before) => {
                        match fold::binary(BinaryOp::Concat, before.clone(), value.clone()) {
                            Some(joined) => Some(joined),
                            None => {
                                pending = Some(before);
                                None
                            }
                        }
                    }
                };
                match joined {
                    Some(joined) => pending = Some(joined),
                    None => {
                        self.concat_part(&mut first, &mut count, span, pending.take(), None);
                        pending = Some(value);
                    }
                }
                if operands.peek().is_some() {
                    continue;
                }
                self.concat_part(&mut first, &mut count, span, pending.take(), None);
                continue;
            }
            if let Some(value) = pending.take() {
                self.concat_part(&mut first, &mut count, span, Some(value), None);
            }
            self.concat_part(&mut first, &mut count, span, None, Some(operand));
        }
        self.at(span);
        if let Some(first) = first {
            self.emit(Op::Concat, dst, first, count, 0);
        }
        self.reset(mark);
    }

    pub(super) fn concat_part(
        &mut self,
        first: &mut Option<u8>,
        count: &mut u8,
        span: Span,
        value: Option<Const>,
        operand: Option<&Expr>,
    ) {
        let register = self.temp();
        let start = *first.get_or_insert(register);
        if let Some(value) = value {
            self.load(register, value);
        }
        if let Some(operand) = operand {
            self.expr_into(operand, register);
        }
        *count += 1;
        if usize::from(*count) == CHUNK {
            self.at(span);
            self.emit(Op::Concat, start, start, CHUNK as u8, 0);
            self.reset(usize::from(start) + 1);
            *count = 1;
        }
    }
}

/// The instruction for an operator with registers on both sides.
fn binary_op(op: BinaryOp) -> Op {
    match op {
        BinaryOp::Eq => Op::Eq,
        BinaryOp::NotEq => Op::Ne,
        BinaryOp::Same => Op::Same,
        BinaryOp::NotSame => Op::NotSame,
        BinaryOp::Matches => Op::Match,
        BinaryOp::NotMatches => Op::NoMatch,
        BinaryOp::Less => Op::Lt,
        BinaryOp::Greater => Op::Gt,
        BinaryOp::LessEq => Op::Le,
        BinaryOp::GreaterEq => Op::Ge,
        BinaryOp::BitOr => Op::BitOr,
        BinaryOp::BitXor => Op::BitXor,
        BinaryOp::BitAnd => Op::BitAnd,
        // Chains of `.` are joined by one instruction; a single one is a chain too.
        BinaryOp::Concat => Op::Append,
        BinaryOp::ShiftLeft => Op::Shl,
        BinaryOp::ShiftRight => Op::Shr,
        BinaryOp::ShiftRightZero => Op::UShr,
        BinaryOp::Add => Op::Add,
        BinaryOp::Sub => Op::Sub,
        BinaryOp::Mul => Op::Mul,
        BinaryOp::Div => Op::Div,
        BinaryOp::Rem => Op::Rem,
        BinaryOp::Pow => Op::Pow,
    }
}

/// A pattern given as a string: `/…/modifiers`, or the pattern itself (language.md 6.6).
fn split_pattern(text: &[u8]) -> (&[u8], &str) {
    if text.first() == Some(&b'/')
        && let Some(end) = text.iter().rposition(|byte| *byte == b'/')
        && end > 0
        && let Ok(modifiers) = std::str::from_utf8(&text[end + 1..])
        && modifiers.bytes().all(|byte| b"imsuxUX".contains(&byte))
    {
        return (&text[1..end], modifiers);
    }
    (text, "")
}
