//! Assignment, increment, destructuring, `unset`.

use angarium_syntax::ast::{
    Assign, AssignOp, BinaryOp, Expr, ExprKind, Link, LinkKind, Pattern, Static, Step as StepNode,
    StepOp, Target, TargetKind,
};

use crate::Span;
use crate::bytecode::{Const, Op, PathOp, Step};
use crate::compile::Compiler;
use crate::compile::code::Place;
use crate::compile::effects::writes_variables;
use crate::compile::expr::Operand;

/// An element that is written: where the chain starts, and its steps.
struct Path {
    /// The variable's register (or that of its cell), or a temporary with an object.
    base: u8,
    steps: Vec<Step>,
    span: Span,
}

impl Compiler<'_> {
    /// An assignment; its value goes to `dst` if anybody wants it.
    pub(super) fn assign(&mut self, node: &Assign, dst: Option<u8>) {
        match node.op {
            AssignOp::Set => self.assign_set(node, dst),
            AssignOp::Compound(op) => self.assign_compound(node, op, dst),
            AssignOp::Coalesce => self.assign_coalesce(node, dst),
        }
    }

    fn assign_set(&mut self, node: &Assign, dst: Option<u8>) {
        let mark = self.mark();
        match &node.target.kind {
            TargetKind::Variable(name) => self.assign_variable(name, node, dst),
            TargetKind::Static(_) | TargetKind::Error => {
                let value = self.expr(&node.value);
                self.store(&node.target, value, dst);
            }
            TargetKind::Place(place) => {
                // The parts of the target are evaluated before the right side.
                let path =
                    self.path_of(&place.base, &place.links, node.target.span, &[&node.value]);
                let value = self.expr(&node.value);
                self.at(node.op_span);
                self.give(value, dst, mark);
                self.write_path(path, value, self.is_temp(value));
            }
            TargetKind::Pattern(pattern) => {
                let value = self.temp();
                self.expr_into(&node.value, value);
                self.destructure(pattern, value);
                self.give(value, dst, mark);
            }
        }
        self.reset(mark);
    }

    /// Hands the value of an assignment on, before it is moved to its target.
    fn give(&mut self, value: u8, dst: Option<u8>, _mark: usize) {
        if let Some(dst) = dst
            && dst != value
        {
            self.emit(Op::Copy, dst, value, 0, 0);
        }
    }

    /// Refuses a write to one of the host's variables where the top level shows it (language.md 9).
    fn check_writable(&mut self, name: &str, span: Span) {
        if name == "this" && self.f.proto.class.is_some() {
            self.error(span, "`$this` cannot be assigned", None);
        }
        let host = self
            .host_variables
            .get(name)
            .copied()
            .filter(|_| self.f.top);
        let access = host
            .and_then(|global| self.globals.get(global as usize))
            .and_then(|global| global.host);
        if access == Some(crate::bytecode::Access::ReadOnly) {
            let hint = "copy it to a variable of your own to change it".to_owned();
            self.error(
                span,
                format!("the variable ${name} is read-only"),
                Some(hint),
            );
        }
    }

    fn assign_variable(&mut self, name: &str, node: &Assign, dst: Option<u8>) {
        self.check_writable(name, node.target.span);
        let Some(index) = self.f.variable(name) else {
            return;
        };
        if let Place::Register(register) = self.f.place(index) {
            if self.plain || !self.append_in_place(name, register, node) {
                let dying = self.let_die(name, &node.value);
                if !self.plain && writes_last(&node.value) && !writes_variables(&node.value) {
                    self.f.dying = dying;
                    self.expr_into(&node.value, register);
                    self.f.dying = None;
                } else {
                    let value = self.expr(&node.value);
                    self.at(node.op_span);
                    let op = if self.is_temp(value) {
                        Op::Move
                    } else {
                        Op::Copy
                    };
                    if value != register {
                        self.emit(op, register, value, 0, 0);
                    }
                }
            }
            self.f.define(index);
            if let Some(dst) = dst {
                self.emit(Op::Copy, dst, register, 0, 0);
            }
            return;
        }
        let value = self.expr(&node.value);
        self.at(node.op_span);
        let temp = self.is_temp(value);
        let cell = self.cell(index);
        if let Some(dst) = dst {
            self.emit(Op::Copy, dst, value, 0, 0);
        }
        self.emit(
            if temp { Op::MoveCell } else { Op::StoreCell },
            cell,
            value,
            0,
            0,
        );
        self.f.define(index);
    }

    /// `$s = $s . a . b` as `$s .= a . b`: nobody sees the difference, and the string grows in place.
    fn append_in_place(&mut self, name: &str, register: u8, node: &Assign) -> bool {
        let ExprKind::Binary(chain) = &node.value.kind else {
            return false;
        };
        if !matches!(&chain.first.kind, ExprKind::Variable(first) if **first == *name)
            || chain
                .rest
                .iter()
                .any(|link| link.op != BinaryOp::Concat || writes_variables(&link.operand))
        {
            return false;
        }
        let Some(link) = chain.rest.first() else {
            return false;
        };
        if self.variable_register(name, chain.first.span).is_none() {
            return false;
        }
        let mark = self.mark();
        let text = if let [only] = chain.rest.as_slice() {
            self.operand(&only.operand, &[])
        } else {
            let text = self.temp();
            self.concat(
                chain.rest.iter().map(|link| &link.operand),
                link.op_span,
                text,
            );
            Operand::Register(text)
        };
        self.at(link.op_span);
        self.compound(BinaryOp::Concat, register, text);
        self.reset(mark);
        true
    }

    fn assign_compound(&mut self, node: &Assign, op: BinaryOp, dst: Option<u8>) {
        let mark = self.mark();
        match &node.target.kind {
            TargetKind::Variable(name) => {
                self.check_writable(name, node.target.span);
                let Some(index) = self.f.variable(name) else {
                    return;
                };
                if let Some(register) = self.variable_register(name, node.target.span) {
                    if self.plain || writes_variables(&node.value) {
                        // The old value is read before the right side is evaluated.
                        let old = self.temp();
                        self.emit(Op::Copy, old, register, 0, 0);
                        let value = self.operand(&node.value, &[]);
                        self.at(node.op_span);
                        self.compound(op, old, value);
                        self.emit(Op::Move, register, old, 0, 0);
                    } else {
                        let value = self.operand(&node.value, &[]);
                        self.at(node.op_span);
                        self.compound(op, register, value);
                    }
                    if let Some(dst) = dst {
                        self.emit(Op::Copy, dst, register, 0, 0);
                    }
                } else {
                    let cell = self.cell(index);
                    let number = self.name(name);
                    if self.plain
                        || writes_variables(&node.value)
                        || calls(&node.value)
                        || dst.is_some()
                    {
                        let old = self.temp();
                        self.at(node.target.span);
                        self.emit(Op::LoadCell, old, cell, 0, number);
                        let value = self.operand(&node.value, &[]);
                        self.at(node.op_span);
                        self.compound(op, old, value);
                        self.give(old, dst, mark);
                        self.emit(Op::MoveCell, cell, old, 0, 0);
                    } else {
                        let value = self.operand(&node.value, &[]);
                        let value = self.in_register(value);
                        self.at(node.op_span);
                        self.emit(Op::Check, cell, 0, 0, number);
                        self.update(
                            Path {
                                base: cell,
                                steps: Vec::new(),
                                span: node.target.span,
                            },
                            op,
                            value,
                        );
                    }
                }
            }
            TargetKind::Place(place) => {
                let path =
                    self.path_of(&place.base, &place.links, node.target.span, &[&node.value]);
                if matches!(path.steps.last(), Some(Step::Slice(_))) {
                    self.error(node.op_span, "a slice can only be assigned with `=`", None);
                    return;
                }
                if self.plain
                    || writes_variables(&node.value)
                    || calls(&node.value)
                    || dst.is_some()
                {
                    let old = self.temp();
                    self.read_path(&path, old);
                    let value = self.operand(&node.value, &[]);
                    self.at(node.op_span);
                    self.compound(op, old, value);
                    self.give(old, dst, mark);
                    self.write_path(path, old, true);
                } else {
                    let value = self.operand(&node.value, &[]);
                    let value = self.in_register(value);
                    self.at(node.op_span);
                    self.update(path, op, value);
                }
            }
            TargetKind::Static(target) => {
                let Some((global, name)) = self.static_target(target, node.target.span) else {
                    return;
                };
                let (cell, old) = (self.temp(), self.temp());
                let name = self.name(&name);
                self.emit(Op::Global, cell, 0, 0, global);
                self.emit(Op::LoadCell, old, cell, 0, name);
                let value = self.operand(&node.value, &[]);
                self.at(node.op_span);
                self.compound(op, old, value);
                self.give(old, dst, mark);
                self.emit(Op::MoveCell, cell, old, 0, 0);
            }
            TargetKind::Pattern(_) | TargetKind::Error => {}
        }
        self.reset(mark);
    }

    /// register := register op value, in place
    fn compound(&mut self, op: BinaryOp, register: u8, value: Operand) {
        if op == BinaryOp::Concat {
            match value {
                Operand::Const(value) => {
                    let text = self.constant(value);
                    self.emit(Op::AppendK, register, 0, 0, text);
                }
                Operand::Register(value) => {
                    self.emit(Op::Append, register, value, 0, 0);
                }
            }
            return;
        }
        self.binary(op, register, register, value);
    }

    fn update(&mut self, path: Path, op: BinaryOp, value: u8) {
        let steps = self.path(path.steps);
        let number = path_op(op) as u8;
        self.emit(Op::Update, path.base, value, number, steps);
    }

    fn assign_coalesce(&mut self, node: &Assign, dst: Option<u8>) {
        let mark = self.mark();
        let value = self.temp();
        match &node.target.kind {
            TargetKind::Variable(_) | TargetKind::Static(_) => {
                let read = match &node.target.kind {
                    TargetKind::Variable(name) => ExprKind::Variable(name.clone()),
                    TargetKind::Static(target) => ExprKind::Static(target.clone()),
                    _ => return,
                };
                self.quiet_into(&Expr::new(read, node.target.span), value);
                let skip = self.emit(Op::JumpSome, value, 0, 0, 0);
                let state = self.state();
                self.expr_into(&node.value, value);
                self.at(node.op_span);
                self.store(&node.target, value, dst.map(|_| value));
                self.set_state(state);
                self.patch(skip);
                if let TargetKind::Variable(name) = &node.target.kind
                    && let Some(index) = self.f.variable(name)
                {
                    // Either it had a value or it has one now.
                    self.f.define(index);
                }
            }
            TargetKind::Place(place) => {
                let path =
                    self.path_of(&place.base, &place.links, node.target.span, &[&node.value]);
                self.read_path(&path, value);
                let skip = self.emit(Op::JumpSome, value, 0, 0, 0);
                let state = self.state();
                self.expr_into(&node.value, value);
                self.at(node.op_span);
                match dst {
                    Some(_) => self.write_path(path, value, false),
                    None => self.write_path(path, value, true),
                }
                self.set_state(state);
                self.patch(skip);
            }
            TargetKind::Pattern(_) | TargetKind::Error => {}
        }
        if let Some(dst) = dst {
            self.emit(Op::Copy, dst, value, 0, 0);
        }
        self.reset(mark);
    }

    /// `++`, `--`; the value goes to `dst` if anybody wants it.
    pub(super) fn step(&mut self, node: &StepNode, dst: Option<u8>) {
        let mark = self.mark();
        let op = if node.op == StepOp::Increment {
            Op::Inc
        } else {
            Op::Dec
        };
        match &node.target.kind {
            TargetKind::Variable(name) => {
                self.check_writable(name, node.target.span);
                let Some(index) = self.f.variable(name) else {
                    return;
                };
                if let Some(register) = self.variable_register(name, node.target.span) {
                    self.at(node.op_span);
                    self.step_register(op, node.prefix, register, dst);
                } else {
                    let cell = self.cell(index);
                    let name = self.name(name);
                    self.step_cell(op, node, cell, name, dst);
                }
            }
            TargetKind::Static(target) => {
                let Some((global, name)) = self.static_target(target, node.target.span) else {
                    return;
                };
                let cell = self.temp();
                self.emit(Op::Global, cell, 0, 0, global);
                let name = self.name(&name);
                self.step_cell(op, node, cell, name, dst);
            }
            TargetKind::Place(place) => {
                let path = self.path_of(&place.base, &place.links, node.target.span, &[]);
                self.at(node.op_span);
                if dst.is_none() && !self.plain {
                    let number = if node.op == StepOp::Increment {
                        PathOp::Inc
                    } else {
                        PathOp::Dec
                    };
                    let steps = self.path(path.steps);
                    self.emit(Op::Update, path.base, 0, number as u8, steps);
                } else {
                    let value = self.temp();
                    self.read_path(&path, value);
                    self.at(node.op_span);
                    self.step_register(op, node.prefix, value, dst);
                    self.write_path(path, value, true);
                }
            }
            TargetKind::Pattern(_) | TargetKind::Error => {}
        }
        self.reset(mark);
    }

    fn step_register(&mut self, op: Op, prefix: bool, register: u8, dst: Option<u8>) {
        match dst {
            Some(dst) if !prefix => {
                self.emit(Op::Number, dst, register, 0, 0);
                self.emit(op, register, 0, 0, 0);
            }
            Some(dst) => {
                self.emit(op, register, 0, 0, 0);
                self.emit(Op::Copy, dst, register, 0, 0);
            }
            None => {
                self.emit(op, register, 0, 0, 0);
            }
        }
    }

    fn step_cell(&mut self, op: Op, node: &StepNode, cell: u8, name: u32, dst: Option<u8>) {
        let value = self.temp();
        self.at(node.target.span);
        self.emit(Op::LoadCell, value, cell, 0, name);
        self.at(node.op_span);
        self.step_register(op, node.prefix, value, dst);
        self.emit(Op::MoveCell, cell, value, 0, 0);
    }

    // ---- Targets -------------------------------------------------------------------------------

    /// Writes the value of a register to a target; `dst` gets a copy.
    pub(super) fn store(&mut self, target: &Target, value: u8, dst: Option<u8>) {
        let mark = self.mark();
        match &target.kind {
            TargetKind::Variable(name) => {
                self.check_writable(name, target.span);
                let Some(index) = self.f.variable(name) else {
                    return;
                };
                self.give(value, dst, mark);
                let keep = dst == Some(value) || !self.is_temp(value);
                match self.f.place(index) {
                    Place::Register(register) if register == value => {}
                    Place::Register(register) => {
                        self.emit(
                            if keep { Op::Copy } else { Op::Move },
                            register,
                            value,
                            0,
                            0,
                        );
                    }
                    _ => {
                        let cell = self.cell(index);
                        self.emit(
                            if keep { Op::StoreCell } else { Op::MoveCell },
                            cell,
                            value,
                            0,
                            0,
                        );
                    }
                }
                self.f.define(index);
            }
            TargetKind::Static(node) => {
                if let Some((global, _)) = self.static_target(node, target.span) {
                    self.at(target.span);
                    self.give(value, dst, mark);
                    let cell = self.temp();
                    self.emit(Op::Global, cell, 0, 0, global);
                    self.emit(Op::StoreCell, cell, value, 0, 0);
                }
            }
            TargetKind::Place(place) => {
                let path = self.path_of(&place.base, &place.links, target.span, &[]);
                self.at(target.span);
                self.give(value, dst, mark);
                let keep = dst == Some(value) || !self.is_temp(value);
                self.write_path(path, value, !keep);
            }
            TargetKind::Pattern(pattern) => {
                self.destructure(pattern, value);
                self.give(value, dst, mark);
            }
            TargetKind::Error => {}
        }
        self.reset(mark);
    }

    /// Spreads the value in a register over the targets of a pattern.
    pub(super) fn destructure(&mut self, pattern: &Pattern, value: u8) {
        let mark = self.mark();
        for (position, entry) in pattern.entries.iter().enumerate() {
            let part = self.temp();
            let defaulted = entry.default.is_some();
            match &entry.key {
                Some(key) => {
                    let register = self.expr(key);
                    self.at(entry.target.span);
                    self.emit(Op::EntryKey, part, value, register, u32::from(defaulted));
                }
                None => {
                    self.at(entry.target.span);
                    self.emit(Op::Entry, part, value, u8::from(defaulted), position as u32);
                }
            }
            if let Some(default) = &entry.default {
                let skip = self.emit(Op::JumpDef, part, 0, 0, 0);
                let state = self.state();
                self.expr_into(default, part);
                self.set_state(state);
                self.patch(skip);
            }
            self.store(&entry.target, part, None);
            self.reset(mark);
        }
        if let Some(rest) = &pattern.rest {
            let part = self.temp();
            self.at(rest.span);
            self.emit(Op::Rest, part, value, 0, pattern.entries.len() as u32);
            self.store(rest, part, None);
        }
        self.reset(mark);
    }

    /// The static variable at the start of what is written. A property is written in the object that it holds, not
    /// in the variable.
    fn static_base(
        &mut self,
        node: &Static,
        span: Span,
        links: &[Link],
    ) -> Option<(u32, Box<str>)> {
        match links.first().map(|link| &link.kind) {
            Some(LinkKind::Property(_)) => self.static_variable(node, span),
            _ => self.static_target(node, span),
        }
    }

    /// Evaluates the parts of an element that is written later, after `others`.
    fn path_of(&mut self, base: &Expr, links: &[Link], span: Span, others: &[&Expr]) -> Path {
        // What comes before the last call is only read; the call's result is an object, or the write is lost.
        let start = links
            .iter()
            .rposition(|link| matches!(link.kind, LinkKind::Call(_)))
            .map_or(0, |at| at + 1);
        let register = match &base.kind {
            ExprKind::Variable(name) if start == 0 => {
                if **name != *"this" {
                    self.check_writable(name, base.span);
                }
                let Some(index) = self.f.variable(name) else {
                    return Path {
                        base: 0,
                        steps: Vec::new(),
                        span,
                    };
                };
                let register = self.cell(index);
                self.f.define(index);
                register
            }
            ExprKind::Static(node) if start == 0 => {
                match self.static_base(node, base.span, links) {
                    Some((global, _)) => {
                        let cell = self.temp();
                        self.at(base.span);
                        self.emit(Op::Global, cell, 0, 0, global);
                        cell
                    }
                    None => {
                        return Path {
                            base: 0,
                            steps: Vec::new(),
                            span,
                        };
                    }
                }
            }
            _ => {
                let register = self.temp();
                if start == 0 {
                    self.expr_into(base, register);
                } else {
                    self.postfix_links(base, &links[..start], register);
                }
                register
            }
        };
        let mut steps = Vec::with_capacity(links.len() - start);
        let links = &links[start..];
        for (at, link) in links.iter().enumerate() {
            steps.push(match &link.kind {
                LinkKind::Append => Step::Append,
                LinkKind::Property(name) => {
                    Step::Property(self.constant(Const::Str(name.text.as_bytes().into())))
                }
                LinkKind::Index(index) => {
                    let mut later: Vec<&Expr> = others.to_vec();
                    later.extend(links[at + 1..].iter().flat_map(super::effects::link_exprs));
                    match self.operand(index, &later) {
                        Operand::Const(key) => Step::Const(self.constant(key)),
                        // The variable may become an array before its key is read: `$a[$a] = 1`.
                        Operand::Register(key) if key == register => {
                            let copy = self.temp();
                            self.emit(Op::Copy, copy, key, 0, 0);
                            Step::Key(copy)
                        }
                        Operand::Register(key) => Step::Key(key),
                    }
                }
                LinkKind::Slice(slice) => Step::Slice(self.slice_parts(slice)),
                LinkKind::Call(_) => continue,
            });
        }
        Path {
            base: register,
            steps,
            span,
        }
    }

    /// Writes `value` to a path; with `moved` the register is free afterwards.
    fn write_path(&mut self, path: Path, value: u8, moved: bool) {
        match (path.steps.as_slice(), moved) {
            _ if self.plain => {
                let steps = self.path(path.steps);
                self.emit(Op::SetPath, path.base, value, u8::from(moved), steps)
            }
            ([Step::Key(key)], false) => self.emit(Op::SetIndex, path.base, *key, value, 0),
            ([Step::Key(key)], true) => self.emit(Op::MoveIndex, path.base, *key, value, 0),
            ([Step::Const(key)], false) => self.emit(Op::SetIndexK, path.base, value, 0, *key),
            ([Step::Const(key)], true) => self.emit(Op::MoveIndexK, path.base, value, 0, *key),
            ([Step::Append], false) => self.emit(Op::Push, path.base, value, 0, 0),
            ([Step::Append], true) => self.emit(Op::MovePush, path.base, value, 0, 0),
            _ => {
                let steps = self.path(path.steps);
                self.emit(Op::SetPath, path.base, value, u8::from(moved), steps)
            }
        };
    }

    /// Reads the element that a path names; none when it is missing.
    fn read_path(&mut self, path: &Path, dst: u8) {
        self.at(path.span);
        self.emit(Op::PeekCell, dst, path.base, 0, 0);
        for step in &path.steps {
            match step {
                Step::Key(key) => self.emit(Op::Index, dst, dst, *key, 0),
                Step::Const(key) => self.emit(Op::IndexK, dst, dst, 0, *key),
                Step::Property(name) => self.emit(Op::Property, dst, dst, 0, *name),
                Step::Append | Step::Slice(_) => self.emit(Op::LoadNone, dst, 0, 0, 0),
            };
        }
    }

    /// dst := whether the target of `unset` was there
    pub(super) fn unset(&mut self, target: &Target, dst: u8) {
        self.at(target.span);
        match &target.kind {
            TargetKind::Variable(name) => {
                self.check_writable(name, target.span);
                let Some(index) = self.f.variable(name) else {
                    return;
                };
                let register = self.cell(index);
                self.emit(Op::Unset, dst, register, 0, 0);
            }
            TargetKind::Static(node) => {
                let namespace = matches!(&node.class, angarium_syntax::ast::StaticClass::Name(name)
                    if self.modules[self.module].namespaces.contains_key(&name.text));
                if let Some((global, name)) = self.static_variable(node, target.span) {
                    if !namespace {
                        let message = format!("the static variable ${name} cannot be unset");
                        let message = self.constant(Const::Str(message.into_bytes().into()));
                        self.emit(Op::Fail, 0, 0, 0, message);
                    }
                    self.emit(Op::Global, dst, 0, 0, global);
                    self.emit(Op::Unset, dst, dst, 0, 0);
                }
            }
            TargetKind::Place(place) => {
                let path = self.path_of_unset(&place.base, &place.links, target.span);
                let steps = self.path(path.steps);
                self.at(target.span);
                self.emit(Op::UnsetPath, dst, path.base, 0, steps);
            }
            TargetKind::Pattern(_) | TargetKind::Error => {}
        }
    }

    /// As [`Compiler::path_of`], without making the variable at its start.
    fn path_of_unset(&mut self, base: &Expr, links: &[Link], span: Span) -> Path {
        let state = self.state();
        let path = self.path_of(base, links, span, &[]);
        self.set_state(state);
        path
    }
}

fn path_op(op: BinaryOp) -> PathOp {
    match op {
        BinaryOp::Sub => PathOp::Sub,
        BinaryOp::Mul => PathOp::Mul,
        BinaryOp::Div => PathOp::Div,
        BinaryOp::Rem => PathOp::Rem,
        BinaryOp::Pow => PathOp::Pow,
        BinaryOp::Concat => PathOp::Concat,
        BinaryOp::BitAnd => PathOp::BitAnd,
        BinaryOp::BitOr => PathOp::BitOr,
        BinaryOp::BitXor => PathOp::BitXor,
        BinaryOp::ShiftLeft => PathOp::Shl,
        BinaryOp::ShiftRight => PathOp::Shr,
        BinaryOp::ShiftRightZero => PathOp::UShr,
        _ => PathOp::Add,
    }
}

/// Whether the code for `expr` writes its target register by its very last instruction, so that the expression may
/// still read the variable there.
fn writes_last(expr: &Expr) -> bool {
    match &expr.kind {
        ExprKind::None
        | ExprKind::Bool(_)
        | ExprKind::Number(_)
        | ExprKind::Str(_)
        | ExprKind::Template(_)
        | ExprKind::Regex(_)
        | ExprKind::Variable(_)
        | ExprKind::Name(_)
        | ExprKind::Builtin(_)
        | ExprKind::Function(_)
        | ExprKind::Unary(_)
        | ExprKind::Binary(_)
        | ExprKind::Postfix(_) => true,
        // A list in one piece.
        ExprKind::Array(elements) => {
            elements.len() <= 32
                && elements
                    .iter()
                    .all(|e| matches!(e, angarium_syntax::ast::Element::Value(_)))
        }
        _ => crate::fold::fold(expr).is_some(),
    }
}

/// Whether evaluating `expr` may call something, and so change a variable that is shared.
fn calls(expr: &Expr) -> bool {
    match &expr.kind {
        ExprKind::Variable(_) | ExprKind::Template(_) => false,
        ExprKind::Binary(chain) => {
            calls(&chain.first) || chain.rest.iter().any(|link| calls(&link.operand))
        }
        ExprKind::Unary(node) => calls(&node.operand),
        ExprKind::Postfix(node) => {
            calls(&node.base)
                || node.links.iter().any(|link| match &link.kind {
                    LinkKind::Index(index) => calls(index),
                    LinkKind::Property(_) => false,
                    _ => true,
                })
        }
        _ => crate::fold::fold(expr).is_none(),
    }
}
