//! Operators and operands to expressions, by the levels of the operators (language, chapter 6).
//!
//! The grammar gives them in the order of the text. What cannot be joined yet waits on a stack: an operator waits for the
//! operand to its right, and that operand may belong to a later operator that binds tighter. From loose to tight: assignment
//! (which takes everything to its right), `? :`, `??`, the levels of [`LogicOp`] and [`BinaryOp`], prefix operators, `**`.

use crate::ast::{AssignOp, BinaryOp, Expr, LogicOp, StepOp, TernaryArm, UnaryOp};
use crate::builder::{Builder, Op};
use crate::span::Span;

const ASSIGNMENT: u8 = 1;
const TERNARY: u8 = 2;
const COALESCE: u8 = 3;
const PREFIX: u8 = 15;
const POWER: u8 = BinaryOp::Pow.level();

/// An operand with its first and last offset, parentheses included.
type Operand = (Expr, u32, u32);

/// What stands before an operand.
#[derive(Clone, Copy)]
pub(crate) enum PreOp {
    Unary(UnaryOp),
    Step(StepOp),
}

/// What stands between two operands, assignments excepted.
pub(crate) enum Infix {
    Logic(LogicOp),
    Binary(BinaryOp),
    Coalesce,
    /// `? then :`
    Question(Box<(Span, Option<Expr>)>),
}

impl Infix {
    fn level(&self) -> u8 {
        match self {
            Self::Logic(op) => op.level(),
            Self::Binary(op) => op.level(),
            Self::Coalesce => COALESCE,
            Self::Question(_) => TERNARY,
        }
    }
}

/// Operators that wait for their right operand, the innermost last.
pub(crate) type Pending = Vec<Waiting>;

/// An operator with all that stands to its left.
pub(crate) enum Waiting {
    Prefix(Op<PreOp>),
    Logic(Operand, Op<LogicOp>),
    Binary(Operand, Op<BinaryOp>),
    /// `a ?? b ??`: the operands with the place of the `??` behind each, and the first offset.
    Coalesce(Vec<(Expr, u32, u32)>, u32),
    /// `a ? b : c ? d :`, and the first offset.
    Ternary(Vec<TernaryArm>, u32),
    Assign((u32, Expr), Op<AssignOp>),
}

impl Waiting {
    fn level(&self) -> u8 {
        match self {
            Self::Prefix(_) => PREFIX,
            Self::Logic(_, (op, ..)) => op.level(),
            Self::Binary(_, (op, ..)) => op.level(),
            Self::Coalesce(..) => COALESCE,
            Self::Ternary(..) => TERNARY,
            Self::Assign(..) => ASSIGNMENT,
        }
    }

    /// Whether it takes the operand to its right when an operator of `level` follows that operand. Operators of one
    /// level group from the left, `**` from the right; `??` and `? :` become one flat node.
    fn binds_before(&self, level: u8) -> bool {
        let own = self.level();
        own > level || own == level && !matches!(level, TERNARY | COALESCE | POWER)
    }
}

impl Builder<'_> {
    pub(crate) fn question(&self, then: Option<Expr>, start: u32, end: u32) -> Infix {
        Infix::Question(Box::new((self.span(start, end), then)))
    }

    pub(crate) fn prefix(&mut self, pending: Option<Pending>, op: Op<PreOp>) -> Pending {
        let mut pending = self.pending(pending);
        pending.push(Waiting::Prefix(op));
        pending
    }

    pub(crate) fn assigning(
        &mut self,
        pending: Option<Pending>,
        target: (u32, Expr),
        op: Op<AssignOp>,
    ) -> Pending {
        let mut pending = self.pending(pending);
        pending.push(Waiting::Assign(target, op));
        pending
    }

    pub(crate) fn infix(
        &mut self,
        pending: Option<Pending>,
        operand: Operand,
        (op, s, e): Op<Infix>,
    ) -> Pending {
        let mut pending = self.pending(pending);
        let left = self.join(&mut pending, operand, op.level());
        match op {
            Infix::Logic(op) => pending.push(Waiting::Logic(left, (op, s, e))),
            Infix::Binary(op) => pending.push(Waiting::Binary(left, (op, s, e))),
            Infix::Coalesce => {
                let (left, start, _) = left;
                if let Some(Waiting::Coalesce(heads, _)) = pending.last_mut() {
                    heads.push((left, s, e));
                } else {
                    pending.push(Waiting::Coalesce(vec![(left, s, e)], start));
                }
            }
            Infix::Question(question) => {
                let (condition, start, _) = left;
                let (question, then) = *question;
                let arm = TernaryArm {
                    condition,
                    question,
                    then,
                };
                if let Some(Waiting::Ternary(arms, _)) = pending.last_mut() {
                    arms.push(arm);
                } else {
                    pending.push(Waiting::Ternary(vec![arm], start));
                }
            }
        }
        pending
    }

    /// The expression that ends with `operand`.
    pub(crate) fn finish(&mut self, mut pending: Pending, operand: Operand) -> Expr {
        let (expr, ..) = self.join(&mut pending, operand, 0);
        self.spare = Some(pending);
        expr
    }

    fn pending(&mut self, pending: Option<Pending>) -> Pending {
        pending.or_else(|| self.spare.take()).unwrap_or_default()
    }

    /// Gives `operand` to the operators that bind it tighter than one of `level` behind it.
    fn join(&mut self, pending: &mut Pending, mut operand: Operand, level: u8) -> Operand {
        while let Some(waiting) = pending.pop_if(|waiting| waiting.binds_before(level)) {
            let (right, right_start, end) = operand;
            operand = match waiting {
                Waiting::Prefix((PreOp::Unary(op), s, e)) => {
                    (self.unary((op, s, e), right, s, end), s, end)
                }
                Waiting::Prefix((PreOp::Step(op), s, e)) => {
                    let target = (right_start, right);
                    (self.step((op, s, e), target, true, s, end), s, end)
                }
                Waiting::Logic((left, start, _), op) => {
                    (self.logic(left, op, right, start, end), start, end)
                }
                Waiting::Binary((left, start, _), op) if op.0 == BinaryOp::Pow => {
                    (self.power(left, op, right, start, end), start, end)
                }
                Waiting::Binary((left, start, _), op) => {
                    (self.binary(left, op, right, start, end), start, end)
                }
                Waiting::Coalesce(heads, start) => {
                    (self.coalesce(heads, right, start, end), start, end)
                }
                Waiting::Ternary(arms, start) => {
                    (self.ternary(arms, right, start, end), start, end)
                }
                Waiting::Assign(target, op) => {
                    let start = target.0;
                    (self.assign(target, op, right, end), start, end)
                }
            };
        }
        operand
    }
}
