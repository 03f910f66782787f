//! Expressions.

use angarium_syntax::ast::{self, Element, Expr, ExprKind, Match, TemplatePart, Ternary, UnaryOp};

use crate::Span;
use crate::bytecode::{Const, Op};
use crate::compile::Compiler;
use crate::compile::code::{Defined, Place};
use crate::compile::effects::writes_variables;
use crate::compile::operators::Join;
use crate::fold::fold;

/// Most values that one `List` or `Concat` takes; longer ones go in pieces.
pub(super) const CHUNK: usize = 32;

/// An operand: known now, or in a register.
pub(super) enum Operand {
    Const(Const),
    Register(u8),
}

impl Compiler<'_> {
    /// The value of `expr` in a register: a variable's own one, or a new temporary.
    pub(super) fn expr(&mut self, expr: &Expr) -> u8 {
        if !self.plain
            && let ExprKind::Variable(name) = &expr.kind
            && let Some(register) = self.variable_register(name, expr.span)
        {
            return register;
        }
        let dst = self.temp();
        self.expr_into(expr, dst);
        dst
    }

    /// The value of `expr` if it is known now; without short cuts that of a literal alone.
    pub(super) fn known(&self, expr: &Expr) -> Option<Const> {
        let literal = matches!(
            expr.kind,
            ExprKind::None | ExprKind::Bool(_) | ExprKind::Number(_) | ExprKind::Str(_)
        );
        (literal || !self.plain).then(|| fold(expr)).flatten()
    }

    /// The register of a variable that has one, after making sure that it is defined.
    pub(super) fn variable_register(&mut self, name: &str, span: Span) -> Option<u8> {
        let index = self.f.variable(name)?;
        let Place::Register(register) = self.f.place(index) else {
            return None;
        };
        if self.plain || !self.f.is_defined(index) {
            self.at(span);
            let name = self.name(name);
            self.emit(Op::Check, register, 0, 0, name);
            self.f.define(index);
        }
        Some(register)
    }

    /// The value of `expr` as an operand beside `others`, which are evaluated after it.
    pub(super) fn operand(&mut self, expr: &Expr, others: &[&Expr]) -> Operand {
        if !self.plain
            && let Some(value) = fold(expr)
        {
            return Operand::Const(value);
        }
        let register = self.expr(expr);
        if !self.is_temp(register) && others.iter().any(|other| writes_variables(other)) {
            // The operand is read now, whatever the others do to the variable.
            let copy = self.temp();
            self.emit(Op::Copy, copy, register, 0, 0);
            return Operand::Register(copy);
        }
        Operand::Register(register)
    }

    /// An operand in a register.
    pub(super) fn in_register(&mut self, operand: Operand) -> u8 {
        match operand {
            Operand::Register(register) => register,
            Operand::Const(value) => {
                let dst = self.temp();
                self.load(dst, value);
                dst
            }
        }
    }

    /// Evaluates `expr` for its effects alone.
    pub(super) fn discard(&mut self, expr: &Expr) {
        let mark = self.mark();
        match &expr.kind {
            ExprKind::Assign(node) => self.assign(node, None),
            ExprKind::Step(node) => self.step(node, None),
            _ => {
                self.expr(expr);
            }
        }
        self.reset(mark);
    }

    /// Puts the value of `expr` into `dst`, which is a temporary, or a variable that only the last instruction may
    /// write ([`writes_last`]).
    pub(super) fn expr_into(&mut self, expr: &Expr, dst: u8) {
        if let Some(value) = self.known(expr) {
            self.at(expr.span);
            self.load(dst, value);
            return;
        }
        let mark = self.mark();
        match &expr.kind {
            ExprKind::None
            | ExprKind::Bool(_)
            | ExprKind::Number(_)
            | ExprKind::Str(_)
            | ExprKind::Error => {}
            ExprKind::Template(parts) => self.template(parts, dst),
            ExprKind::Regex(regex) => {
                self.at(expr.span);
                let value = Const::Regex {
                    pattern: regex.pattern.clone(),
                    modifiers: regex.modifiers.clone(),
                    span: expr.span,
                };
                self.load(dst, value);
            }
            ExprKind::Array(elements) => self.array(elements, dst),
            ExprKind::Variable(name) => self.variable(name, expr.span, dst),
            ExprKind::Name(name) => {
                if let Some(named) = self.named(name, expr.span) {
                    self.at(expr.span);
                    self.function_value(&named, dst);
                }
            }
            ExprKind::Builtin(name) => {
                if let Some(named) = self.builtin(name) {
                    self.at(expr.span);
                    self.function_value(&named, dst);
                }
            }
            ExprKind::Static(node) => self.static_value(node, expr.span, dst),
            ExprKind::Function(function) => self.closure(function, dst),
            ExprKind::Cache(node) => self.cache(node, expr.span, dst),
            ExprKind::Match(node) => self.match_into(node, expr.span, dst),
            ExprKind::Isset(target) => self.isset(target, dst),
            ExprKind::Unset(target) => self.unset(target, dst),
            ExprKind::Unary(node) => {
                let register = self.expr(&node.operand);
                self.at(node.op_span);
                let op = match node.op {
                    UnaryOp::Not => Op::Not,
                    UnaryOp::BitNot => Op::BitNot,
                    UnaryOp::Plus => Op::Number,
                    UnaryOp::Minus => Op::Neg,
                };
                self.emit(op, dst, register, 0, 0);
            }
            ExprKind::Step(node) => self.step(node, Some(dst)),
            ExprKind::Binary(chain) => self.chain(chain, dst),
            ExprKind::Logic(_) => self.logic_into(expr, dst),
            ExprKind::Coalesce(chain) => {
                let mut ends = Vec::new();
                let last = chain.rest.len();
                let operands = std::iter::once(&chain.first)
                    .chain(chain.rest.iter().map(|link| &link.operand));
                let mut state = None;
                for (at, operand) in operands.enumerate() {
                    if at == last {
                        self.expr_into(operand, dst);
                    } else {
                        self.quiet_into(operand, dst);
                        ends.push(self.emit(Op::JumpSome, dst, 0, 0, 0));
                        if at == 0 {
                            state = Some(self.state());
                        }
                    }
                    self.reset(mark);
                }
                self.patch_all(ends);
                if let Some(state) = state {
                    self.set_state(state);
                }
            }
            ExprKind::Ternary(node) => self.ternary(node, dst),
            ExprKind::Assign(node) => self.assign(node, Some(dst)),
            ExprKind::Postfix(node) => self.postfix(node, dst),
        }
        self.reset(mark);
    }

    pub(super) fn variable(&mut self, name: &str, span: Span, dst: u8) {
        if let Some(register) = self.variable_register(name, span) {
            self.at(span);
            // The last reading of a variable moves its value, so that the callee may change it in place.
            let op = if self.f.dying == Some(register) {
                Op::Move
            } else {
                Op::Copy
            };
            self.emit(op, dst, register, 0, 0);
            return;
        }
        let Some(index) = self.f.variable(name) else {
            return;
        };
        self.at(span);
        let mark = self.mark();
        let cell = self.cell(index);
        let name = self.name(name);
        self.emit(Op::LoadCell, dst, cell, 0, name);
        self.reset(mark);
    }

    /// The register that holds the cell of a variable.
    pub(super) fn cell(&mut self, index: usize) -> u8 {
        match self.f.place(index) {
            Place::Register(register) | Place::Cell(register) => register,
            Place::FarGlobal(global) => {
                let cell = self.temp();
                self.emit(Op::Global, cell, 0, 0, global);
                cell
            }
            Place::Far { list, index } => {
                let cell = self.temp();
                self.emit(Op::Far, cell, list, 0, index);
                cell
            }
        }
    }

    // ---- Strings and arrays --------------------------------------------------------------------

    fn template(&mut self, parts: &[TemplatePart], dst: u8) {
        let mark = self.mark();
        let mut join = Join::new(self.span());
        for part in parts {
            match part {
                TemplatePart::Text(bytes) => self.join_const(&mut join, Const::Str(bytes.clone())),
                TemplatePart::Variable(variable) => {
                    self.join_variable(&mut join, &variable.name, variable.span)
                }
            }
        }
        self.end_join(join, dst);
        self.reset(mark);
    }

    pub(super) fn array(&mut self, elements: &[Element], dst: u8) {
        let mut at = 0;
        let mut started = false;
        while at < elements.len() || !started {
            // A run of plain values goes in by one instruction.
            let run = elements[at..]
                .iter()
                .take(CHUNK)
                .take_while(|e| matches!(e, Element::Value(_)))
                .count();
            if !self.plain && (run > 1 || (run == 1 && !started)) {
                let mark = self.mark();
                let mut first = 0;
                for (offset, element) in elements[at..at + run].iter().enumerate() {
                    if let Element::Value(value) = element {
                        let register = self.temp();
                        if offset == 0 {
                            first = register;
                        }
                        self.expr_into(value, register);
                    }
                }
                let op = if started { Op::Extend } else { Op::List };
                self.emit(op, dst, first, run as u8, 0);
                self.reset(mark);
                started = true;
                at += run;
                continue;
            }
            if !started {
                let keyed = matches!(elements.first(), Some(Element::Pair(pair))
                    if matches!(self.known(&pair.key), Some(Const::Str(_))));
                let count = elements.len().min(1 << 16) as u32;
                self.emit(Op::NewArray, dst, u8::from(keyed), 0, count);
                started = true;
                continue;
            }
            let mark = self.mark();
            match &elements[at] {
                Element::Value(value) => {
                    let register = self.expr(value);
                    let op = if self.is_temp(register) {
                        Op::MovePush
                    } else {
                        Op::Push
                    };
                    self.emit(op, dst, register, 0, 0);
                }
                Element::Pair(pair) => match self.operand(&pair.key, &[&pair.value]) {
                    Operand::Const(key) => {
                        let register = self.expr(&pair.value);
                        self.at(pair.arrow);
                        let key = self.constant(key);
                        let op = if self.is_temp(register) {
                            Op::MoveIndexK
                        } else {
                            Op::SetIndexK
                        };
                        self.emit(op, dst, register, 0, key);
                    }
                    Operand::Register(key) => {
                        let register = self.expr(&pair.value);
                        self.at(pair.arrow);
                        let op = if self.is_temp(register) {
                            Op::MoveIndex
                        } else {
                            Op::SetIndex
                        };
                        self.emit(op, dst, key, register, 0);
                    }
                },
                Element::Spread(spread) => {
                    let register = self.expr(&spread.value);
                    self.at(spread.dots);
                    self.emit(Op::Spread, dst, register, 0, 0);
                }
            }
            self.reset(mark);
            at += 1;
        }
    }

    fn ternary(&mut self, node: &Ternary, dst: u8) {
        let mark = self.mark();
        let mut ends = Vec::new();
        let mut after: Option<Defined> = None;
        for arm in &node.arms {
            match &arm.then {
                Some(then) => {
                    let skips = self.jump_if(&arm.condition, false);
                    let state = self.state();
                    self.expr_into(then, dst);
                    self.reset(mark);
                    ends.push(self.emit(Op::Jump, 0, 0, 0, 0));
                    self.join(&mut after);
                    self.set_state(state);
                    self.patch_all(skips);
                }
                None => {
                    self.expr_into(&arm.condition, dst);
                    self.reset(mark);
                    ends.push(self.emit(Op::JumpT, dst, 0, 0, 0));
                    self.join(&mut after);
                }
            }
        }
        self.expr_into(&node.otherwise, dst);
        self.reset(mark);
        if let Some(after) = after {
            self.meet(&after);
        }
        self.patch_all(ends);
    }

    /// Adds the current state to those that meet later.
    pub(super) fn join(&self, after: &mut Option<Defined>) {
        match after {
            Some(_) => {
                let mut state = self.state();
                if let Some(after) = after.take() {
                    state.meet_with(&after);
                }
                *after = Some(state);
            }
            None => *after = Some(self.state()),
        }
    }

    fn match_into(&mut self, node: &Match, span: Span, dst: u8) {
        let subject = self.temp();
        self.expr_into(&node.subject, subject);
        let start = self.state();
        let mark = self.mark();
        let mut arms: Vec<Vec<usize>> = Vec::new();
        for arm in &node.arms {
            let mut jumps = Vec::new();
            for pattern in &arm.patterns {
                jumps.push(self.jump_equal(subject, pattern));
                self.reset(mark);
            }
            arms.push(jumps);
        }
        let start_of_arms = {
            let mut state = self.state();
            state.meet_with(&start);
            state
        };
        let no_hit = self.emit(Op::Jump, 0, 0, 0, 0);
        let mut ends = Vec::new();
        let mut after = None;
        let mut has_default = false;
        for (arm, jumps) in node.arms.iter().zip(arms) {
            self.set_state(start_of_arms.clone());
            self.patch_all(jumps);
            if arm.is_default() {
                self.patch(no_hit);
                has_default = true;
            }
            self.expr_into(&arm.value, dst);
            self.reset(mark);
            ends.push(self.emit(Op::Jump, 0, 0, 0, 0));
            self.join(&mut after);
        }
        if !has_default {
            self.patch(no_hit);
            self.at(span);
            self.emit(Op::NoArm, subject, 0, 0, 0);
        }
        self.patch_all(ends);
        self.set_state(after.unwrap_or(start_of_arms));
    }

    /// Three registers with the parts of a slice; none for a missing one.
    pub(super) fn slice_parts(&mut self, slice: &ast::Slice) -> u8 {
        let parts = [&slice.first, &slice.last, &slice.step];
        let registers: [u8; 3] = std::array::from_fn(|_| self.temp());
        for (part, register) in parts.into_iter().zip(registers) {
            match part {
                Some(part) => self.expr_into(part, register),
                None => self.load(register, Const::None),
            }
        }
        registers[0]
    }
}
