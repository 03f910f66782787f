//! Conditions: expressions that decide a jump, with comparison and jump in one instruction.

use angarium_syntax::ast::{BinaryOp, Expr, ExprKind, LogicOp, UnaryOp};

use crate::Span;
use crate::bytecode::{Const, Op};
use crate::compile::Compiler;
use crate::compile::code::small;
use crate::compile::expr::Operand;
use crate::fold::{fold, truthy};

impl Compiler<'_> {
    /// Jumps if the truth of `expr` is `when`, else goes on. Gives the jumps to patch.
    pub(super) fn jump_if(&mut self, expr: &Expr, when: bool) -> Vec<usize> {
        let mut jumps = Vec::new();
        self.jump_into(expr, when, &mut jumps);
        jumps
    }

    fn jump_into(&mut self, expr: &Expr, when: bool, jumps: &mut Vec<usize>) {
        if !self.plain
            && let Some(value) = fold(expr)
        {
            if truthy(&value) == when {
                jumps.push(self.emit(Op::Jump, 0, 0, 0, 0));
            }
            return;
        }
        let mark = self.mark();
        match &expr.kind {
            ExprKind::Unary(node) if node.op == UnaryOp::Not && !self.plain => {
                self.jump_into(&node.operand, !when, jumps)
            }
            ExprKind::Logic(chain) => {
                // `a and b` is false as soon as one is, `a or b` true as soon as one is.
                let operands: Vec<&Expr> = std::iter::once(&chain.first)
                    .chain(chain.rest.iter().map(|link| &link.operand))
                    .collect();
                let settles = chain
                    .rest
                    .first()
                    .is_some_and(|link| link.op == LogicOp::Or);
                let mut over = Vec::new();
                let mut after_first = None;
                for (at, operand) in operands.iter().enumerate() {
                    if at + 1 == operands.len() || settles == when {
                        self.jump_into(operand, when, jumps);
                    } else {
                        self.jump_into(operand, settles, &mut over);
                    }
                    if at == 0 {
                        after_first = Some(self.state());
                    }
                }
                self.patch_all(over);
                if let Some(state) = after_first {
                    self.set_state(state);
                }
            }
            ExprKind::Binary(chain)
                if chain.rest.len() == 1 && compares(chain.rest[0].op) && !self.plain =>
            {
                let link = &chain.rest[0];
                let left = self.operand(&chain.first, &[&link.operand]);
                jumps.push(self.comparison(link.op, left, &link.operand, when, link.op_span));
            }
            _ => {
                let register = self.expr(expr);
                self.at(expr.span);
                jumps.push(self.emit(if when { Op::JumpT } else { Op::JumpF }, register, 0, 0, 0));
            }
        }
        self.reset(mark);
    }

    /// Compares and jumps if the result is `when`.
    fn comparison(
        &mut self,
        op: BinaryOp,
        left: Operand,
        right: &Expr,
        when: bool,
        span: Span,
    ) -> usize {
        let constant = fold(right);
        if let (None, Operand::Const(Const::Number(number))) = (&constant, &left)
            && let (Some(number), Some(op)) = (small(*number), swapped(op))
        {
            // 5 < $x is $x > 5.
            let register = self.expr(right);
            self.at(span);
            let [b, c] = number.to_le_bytes();
            return self.emit(immediate(op, when), register, b, c, 0);
        }
        let left = self.in_register(left);
        if let Some(value) = constant {
            self.at(span);
            if let (Const::Number(number), Some(_)) = (&value, swapped(op))
                && let Some(number) = small(*number)
            {
                let [b, c] = number.to_le_bytes();
                return self.emit(immediate(op, when), left, b, c, 0);
            }
            return self.compare_const(op, left, value, when);
        }
        let right = self.expr(right);
        self.at(span);
        self.compare_registers(op, left, right, when)
    }

    fn compare_const(&mut self, op: BinaryOp, left: u8, value: Const, when: bool) -> usize {
        if matches!(op, BinaryOp::Eq | BinaryOp::NotEq) {
            let index = self.constant(value.clone());
            if let Ok(short) = u16::try_from(index) {
                let [b, c] = short.to_le_bytes();
                let op = if (op == BinaryOp::Eq) == when {
                    Op::JumpEqK
                } else {
                    Op::JumpNeK
                };
                return self.emit(op, left, b, c, 0);
            }
        }
        let right = self.in_register(Operand::Const(value));
        self.compare_registers(op, left, right, when)
    }

    fn compare_registers(&mut self, op: BinaryOp, left: u8, right: u8, when: bool) -> usize {
        let (op, a, b) = match op {
            BinaryOp::Eq => (if when { Op::JumpEq } else { Op::JumpNe }, left, right),
            BinaryOp::NotEq => (if when { Op::JumpNe } else { Op::JumpEq }, left, right),
            BinaryOp::Same => (
                if when { Op::JumpSame } else { Op::JumpNotSame },
                left,
                right,
            ),
            BinaryOp::NotSame => (
                if when { Op::JumpNotSame } else { Op::JumpSame },
                left,
                right,
            ),
            BinaryOp::Less => (if when { Op::JumpLt } else { Op::JumpNotLt }, left, right),
            BinaryOp::LessEq => (if when { Op::JumpLe } else { Op::JumpNotLe }, left, right),
            BinaryOp::Greater => (if when { Op::JumpLt } else { Op::JumpNotLt }, right, left),
            _ => (if when { Op::JumpLe } else { Op::JumpNotLe }, right, left),
        };
        self.emit(op, a, b, 0, 0)
    }

    /// Jumps if the value in `subject` equals that of `pattern`.
    pub(super) fn jump_equal(&mut self, subject: u8, pattern: &Expr) -> usize {
        match fold(pattern).filter(|_| !self.plain) {
            Some(value) => {
                self.at(pattern.span);
                self.compare_const(BinaryOp::Eq, subject, value, true)
            }
            None => {
                let register = self.expr(pattern);
                self.at(pattern.span);
                self.emit(Op::JumpEq, subject, register, 0, 0)
            }
        }
    }

    /// Goes back to `start` if `expr` is true: the bottom of a loop.
    pub(super) fn loop_if(&mut self, expr: &Expr, start: u32) {
        let mut over = self.jump_if(expr, false);
        // The last jump out of the loop becomes the jump back, if there is an instruction for it and it stands last.
        if !self.plain
            && let Some(last) = over.last().copied()
            && last + 1 == self.here() as usize
            && let Some(instr) = self.f.proto.code.get_mut(last)
            && let Some(op) = backward(instr.op)
        {
            instr.op = op;
            instr.d = start;
            over.pop();
            self.patch_all(over);
            return;
        }
        self.emit(Op::Loop, 0, 0, 0, start);
        self.patch_all(over);
    }

    /// dst := the boolean of `a and b …`
    pub(super) fn logic_into(&mut self, expr: &Expr, dst: u8) {
        let jumps = self.jump_if(expr, false);
        self.emit(Op::LoadTrue, dst, 0, 0, 0);
        let end = self.emit(Op::Jump, 0, 0, 0, 0);
        self.patch_all(jumps);
        self.emit(Op::LoadFalse, dst, 0, 0, 0);
        self.patch(end);
    }
}

fn compares(op: BinaryOp) -> bool {
    matches!(
        op,
        BinaryOp::Eq
            | BinaryOp::NotEq
            | BinaryOp::Same
            | BinaryOp::NotSame
            | BinaryOp::Less
            | BinaryOp::LessEq
            | BinaryOp::Greater
            | BinaryOp::GreaterEq
    )
}

/// The operator with its operands exchanged, for orders.
fn swapped(op: BinaryOp) -> Option<BinaryOp> {
    Some(match op {
        BinaryOp::Less => BinaryOp::Greater,
        BinaryOp::Greater => BinaryOp::Less,
        BinaryOp::LessEq => BinaryOp::GreaterEq,
        BinaryOp::GreaterEq => BinaryOp::LessEq,
        _ => return None,
    })
}

/// The instruction for an order with a small number on the right.
fn immediate(op: BinaryOp, when: bool) -> Op {
    match (op, when) {
        (BinaryOp::Less, true) => Op::JumpLtI,
        (BinaryOp::Less, false) => Op::JumpNotLtI,
        (BinaryOp::LessEq, true) => Op::JumpLeI,
        (BinaryOp::LessEq, false) => Op::JumpNotLeI,
        (BinaryOp::Greater, true) => Op::JumpGtI,
        (BinaryOp::Greater, false) => Op::JumpNotGtI,
        (_, true) => Op::JumpGeI,
        (_, false) => Op::JumpNotGeI,
    }
}

/// The loop instruction that goes back exactly when `op` does not jump.
fn backward(op: Op) -> Option<Op> {
    Some(match op {
        Op::JumpF => Op::LoopT,
        Op::JumpNotLt => Op::LoopLt,
        Op::JumpNotLe => Op::LoopLe,
        Op::JumpNotLtI => Op::LoopLtI,
        Op::JumpNotLeI => Op::LoopLeI,
        Op::JumpNotGtI => Op::LoopGtI,
        Op::JumpNotGeI => Op::LoopGeI,
        _ => return None,
    })
}
