//! Operators of one level, and strings that are joined.

use angarium_syntax::ast::{BinaryOp, Chain, Expr, ExprKind};

use crate::Span;
use crate::bytecode::{Const, Op, Part};
use crate::compile::Compiler;
use crate::compile::code::int;
use crate::compile::effects::writes_variables;
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
            let target_of = |compiler: &mut Compiler<'_>, left: u8| {
                if at == last {
                    dst
                } else if compiler.is_temp(left) && usize::from(left) >= mark {
                    left
                } else {
                    compiler.temp()
                }
            };
            if let (Operand::Const(Const::Number(number)), Operand::Register(_)) = (&left, &right)
                && let (Some(number), Some(op)) = (int(*number), from_int(link.op))
            {
                let free = self.temp();
                let register = self.expr(&link.operand);
                self.at(link.op_span);
                let target = target_of(self, free);
                self.emit(op, target, register, free, number as u32);
                if at < last {
                    self.reset(usize::from(target) + 1);
                }
                left = Operand::Register(target);
                continue;
            }
            let left_register = self.in_register(left);
            let right = match right {
                Operand::Register(_) => Operand::Register(self.expr(&link.operand)),
                known => known,
            };
            self.at(link.op_span);
            let target = target_of(self, left_register);
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
        let operands: Vec<&Expr> = operands.collect();
        let last_writer = operands.iter().rposition(|other| writes_variables(other));
        let mut join = Join::new(span);
        let mut pending: Option<Const> = None;
        for (at, operand) in operands.iter().enumerate() {
            // Neighbouring constants are joined now.
            if !self.plain
                && let Some(value) = fold(operand)
            {
                let Some(before) = pending.take() else {
                    pending = Some(value);
                    continue;
                };
                match fold::binary(BinaryOp::Concat, before.clone(), value.clone()) {
                    Some(joined) => pending = Some(joined),
                    None => {
                        self.join_const(&mut join, before);
                        pending = Some(value);
                    }
                }
                continue;
            }
            if let Some(value) = pending.take() {
                self.join_const(&mut join, value);
            }
            if let ExprKind::Variable(name) = &operand.kind
                && last_writer.is_none_or(|writer| writer < at)
            {
                self.join_variable(&mut join, name, operand.span);
            } else {
                let register = self.temp();
                self.expr_into(operand, register);
                self.join_part(&mut join, register, Part::Here);
            }
        }
        if let Some(value) = pending {
            self.join_const(&mut join, value);
        }
        self.at(span);
        self.end_join(join, dst);
        self.reset(mark);
    }

    /// Adds a constant to a text.
    pub(super) fn join_const(&mut self, join: &mut Join, value: Const) {
        let register = self.temp();
        if self.plain {
            self.load(register, value);
            self.join_part(join, register, Part::Here);
        } else {
            let part = Part::Const(self.constant(value));
            self.join_part(join, register, part);
        }
    }

    /// Adds a variable to a text, which nothing in the text changes after this.
    pub(super) fn join_variable(&mut self, join: &mut Join, name: &str, span: Span) {
        let register = self.temp();
        let own = if self.plain {
            None
        } else {
            self.variable_register(name, span)
        };
        match own {
            Some(own) => self.join_part(join, register, Part::Register(own)),
            None => {
                self.variable(name, span, register);
                self.join_part(join, register, Part::Here);
            }
        }
    }

    /// Adds a part, whose own register was just taken.
    fn join_part(&mut self, join: &mut Join, register: u8, part: Part) {
        let first = *join.first.get_or_insert(register);
        join.parts.push(part);
        if join.parts.len() == CHUNK {
            self.at(join.span);
            self.emit_join(first, first, std::mem::take(&mut join.parts));
            self.reset(usize::from(first) + 1);
            join.parts.push(Part::Here);
        }
    }

    /// dst := the text
    pub(super) fn end_join(&mut self, join: Join, dst: u8) {
        if let Some(first) = join.first {
            self.emit_join(dst, first, join.parts);
        }
    }

    fn emit_join(&mut self, dst: u8, first: u8, parts: Vec<Part>) {
        let count = parts.len() as u8;
        if parts.iter().all(|part| *part == Part::Here) {
            self.emit(Op::Concat, dst, first, count, 0);
        } else {
            let joins = &mut self.f.proto.joins;
            let index = joins.len() as u32;
            joins.push(parts.into());
            self.emit(Op::Join, dst, first, count, index);
        }
    }
}

/// A text that is being put together.
pub(super) struct Join {
    /// The register of the first part; the others follow.
    first: Option<u8>,
    parts: Vec<Part>,
    span: Span,
}

impl Join {
    pub(super) fn new(span: Span) -> Join {
        Join {
            first: None,
            parts: Vec::new(),
            span,
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

/// The instruction for an operator with a small number on its left.
fn from_int(op: BinaryOp) -> Option<Op> {
    match op {
        BinaryOp::Sub => Some(Op::IntSub),
        BinaryOp::Mul => Some(Op::IntMul),
        _ => None,
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
