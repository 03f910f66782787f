//! Statements.

use angarium_syntax::ast::{
    self, Block, Expr, ExprKind, For, ForEach, Stmt, StmtKind, Switch, Target, TargetKind, Try,
};

use crate::bytecode::{Handler, Op};
use crate::compile::code::{Barrier, Place};
use crate::compile::effects::writes_variables;
use crate::compile::{Compiler, Role};

impl Compiler<'_> {
    pub(super) fn block(&mut self, block: &Block) {
        self.stmts(&block.stmts);
    }

    pub(super) fn stmts(&mut self, stmts: &[Stmt]) {
        for stmt in stmts {
            self.warn_unreachable(stmt);
            self.stmt(stmt);
        }
    }

    /// The last statement of a piece of a session: its value is the result.
    pub(super) fn shown(&mut self, stmt: &Stmt) {
        if let StmtKind::Expr(expr) = &stmt.kind {
            let value = self.expr(expr);
            self.emit(Op::Return, value, 0, 0, 0);
        }
    }

    fn stmt(&mut self, stmt: &Stmt) {
        let mark = self.mark();
        match &stmt.kind {
            StmtKind::Empty | StmtKind::Import(_) => {}
            StmtKind::Class(class) => self.compile_class(class),
            StmtKind::Expr(expr) => {
                self.warn_no_effect(expr);
                self.discard(expr);
            }
            StmtKind::Echo(expr) => {
                let value = self.expr(expr);
                self.at(stmt.span);
                self.emit(Op::Echo, value, 0, 0, 0);
            }
            StmtKind::Return(value) => self.return_stmt(value.as_ref(), stmt),
            StmtKind::Break => self.break_stmt(stmt),
            StmtKind::Continue => self.continue_stmt(stmt),
            StmtKind::Throw(expr) => {
                let value = self.expr(expr);
                self.at(stmt.span);
                self.emit(Op::Throw, value, 0, 0, 0);
                self.dead();
            }
            StmtKind::Global(variables) => {
                for variable in variables {
                    let global = self.share_global(&variable.name);
                    let Some(index) = self.f.variable(&variable.name) else {
                        continue;
                    };
                    self.at(variable.span);
                    match self.f.place(index) {
                        Place::Cell(register) => self.emit(Op::BindGlobal, register, 0, 0, global),
                        _ => {
                            self.error(
                                variable.span,
                                "too many variables in this function for `global`",
                                None,
                            );
                            continue;
                        }
                    };
                }
            }
            StmtKind::Yield(_) if !self.f.barriers.is_empty() => self.misplaced(
                stmt.span,
                "`yield` in a `barrier` block",
                "nobody knows how long the consumer waits; leave the block first",
            ),
            StmtKind::Yield(node) => {
                let key = node.key.as_ref().map(|key| {
                    let key = self.operand(key, &[&node.value]);
                    self.in_register(key)
                });
                let value = self.expr(&node.value);
                self.at(stmt.span);
                match key {
                    Some(key) => self.emit(Op::YieldPair, key, value, 0, 0),
                    None => self.emit(Op::Yield, value, 0, 0, 0),
                };
            }
            StmtKind::Include { path, .. } => {
                if let Some(program) = self.included(path) {
                    self.chain.push(path.span);
                    self.stmts(&program.body);
                    self.chain.pop();
                }
            }
            StmtKind::Block(block) => self.block(block),
            StmtKind::If { arms, otherwise } => {
                let mut ends = Vec::new();
                let mut after = None;
                for (at, arm) in arms.iter().enumerate() {
                    let skips = self.jump_if(&arm.condition, false);
                    let state = self.state();
                    self.stmt(&arm.body);
                    self.join(&mut after);
                    if (at + 1 < arms.len() || otherwise.is_some()) && !self.is_dead() {
                        ends.push(self.emit(Op::Jump, 0, 0, 0, 0));
                    }
                    self.set_state(state);
                    self.patch_all(skips);
                }
                if let Some(otherwise) = otherwise {
                    self.stmt(otherwise);
                }
                if let Some(after) = after {
                    self.meet(&after);
                }
                self.patch_all(ends);
            }
            StmtKind::While(node) => self.while_stmt(Some(&node.condition), &[], &node.body),
            StmtKind::Forever(body) => self.while_stmt(None, &[], body),
            StmtKind::For(node) => self.for_stmt(node),
            StmtKind::ForEach(node) => self.foreach_stmt(node),
            StmtKind::Switch(node) => self.switch_stmt(node),
            StmtKind::Try(node) => self.try_stmt(node),
            StmtKind::Barrier(node) => self.barrier_stmt(node, stmt),
            StmtKind::Function(function) => {
                self.compile_function(function, &[], Role::Plain, &[]);
            }
            StmtKind::Debug(node) => {
                self.debug_point(node);
                self.stmt(&node.body);
            }
            StmtKind::Error(blocks) => blocks.iter().for_each(|block| self.block(block)),
        }
        self.reset(mark);
    }

    /// `barrier name => $v { … }`: the block is left through `Leave` on every way, a throw included.
    fn barrier_stmt(&mut self, node: &ast::Barrier, stmt: &Stmt) {
        let mark = self.temp();
        self.expr_into(&node.name, mark);
        let shared = self.temp();
        self.at(node.name.span);
        self.emit(Op::Lock, mark, 0, 0, 0);
        self.emit(
            Op::Enter,
            mark,
            shared,
            u8::from(node.variable.is_some()),
            0,
        );
        let variable = node
            .variable
            .as_ref()
            .and_then(|variable| self.f.variable(&variable.name));
        if let Some(variable) = &node.variable {
            // Without a shared value the variable becomes undefined.
            let state = self.state();
            let target = Target {
                kind: TargetKind::Variable(variable.name.clone()),
                span: variable.span,
            };
            self.store(&target, shared, None);
            self.set_state(state);
        }
        let before = self.state();
        let barrier = Barrier {
            mark,
            variable,
            targets: self.f.targets.len(),
        };
        self.f.barriers.push(barrier);
        self.f.tries += 1;
        let start = self.here();
        self.block(&node.body);
        self.f.tries -= 1;
        self.f.barriers.pop();
        let after = self.state();
        let end = self.here();
        self.at(stmt.span);
        if !self.is_dead() {
            self.leave_barrier(barrier);
        }
        if end > start {
            let over = self.emit(Op::Jump, 0, 0, 0, 0);
            let target = self.here();
            let value = self.temp();
            self.handler(Handler {
                start,
                end,
                target,
                register: value,
            });
            self.set_state(before);
            self.leave_barrier(barrier);
            self.emit(Op::Throw, value, 0, 0, 0);
            self.patch(over);
        }
        self.set_state(after);
    }

    fn leave_barrier(&mut self, barrier: Barrier) {
        let mark = self.mark();
        let variable = match barrier.variable {
            Some(variable) => self.cell(variable),
            None => barrier.mark,
        };
        self.emit(Op::Leave, barrier.mark, variable, 0, 0);
        self.reset(mark);
    }

    /// Leaves the barriers inside of the outermost `targets` loops, innermost first.
    fn leave_barriers(&mut self, targets: usize) {
        let open: Vec<Barrier> = self
            .f
            .barriers
            .iter()
            .rev()
            .take_while(|barrier| barrier.targets >= targets)
            .copied()
            .collect();
        for barrier in open {
            self.leave_barrier(barrier);
        }
    }

    fn return_stmt(&mut self, value: Option<&Expr>, stmt: &Stmt) {
        if self.f.constructor {
            if let Some(expr) = value {
                self.discard(expr);
            }
            self.at(stmt.span);
            self.leave_barriers(0);
            self.leave();
            self.dead();
            return;
        }
        match value {
            Some(expr) => {
                // A call in a return may take over the variables that it is given.
                if let Some(name) = sole_argument(expr) {
                    self.f.dying = self.let_die(name, expr);
                }
                let mut register = self.expr(expr);
                self.f.dying = None;
                self.at(stmt.span);
                if !self.f.barriers.is_empty() {
                    if !self.is_temp(register) {
                        let copy = self.temp();
                        self.emit(Op::Copy, copy, register, 0, 0);
                        register = copy;
                    }
                    self.leave_barriers(0);
                }
                self.emit(Op::Return, register, 0, 0, 0);
            }
            None => {
                self.at(stmt.span);
                self.leave_barriers(0);
                self.emit(Op::ReturnNone, 0, 0, 0, 0);
            }
        }
        self.dead();
    }

    fn break_stmt(&mut self, stmt: &Stmt) {
        if self.f.targets.is_empty() {
            self.misplaced(
                stmt.span,
                "`break` outside a loop or `switch`",
                "to leave a function use `return`",
            );
            return;
        }
        self.at(stmt.span);
        self.leave_barriers(self.f.targets.len());
        let jump = self.emit(Op::Jump, 0, 0, 0, 0);
        let state = self.state();
        if let Some(target) = self.f.targets.last_mut() {
            target.breaks.push(jump);
            target.at_breaks.meet_with(&state);
        }
        self.dead();
    }

    fn continue_stmt(&mut self, stmt: &Stmt) {
        if !self
            .f
            .targets
            .iter()
            .any(|target| target.continues.is_some())
        {
            self.misplaced(
                stmt.span,
                "`continue` outside a loop",
                "to leave a function use `return`, a `switch` `break`",
            );
            return;
        }
        self.at(stmt.span);
        let innermost = self
            .f
            .targets
            .iter()
            .rposition(|target| target.continues.is_some());
        self.leave_barriers(innermost.map_or(0, |at| at + 1));
        let jump = self.emit(Op::Jump, 0, 0, 0, 0);
        let innermost = self
            .f
            .targets
            .iter_mut()
            .rev()
            .find_map(|target| target.continues.as_mut());
        if let Some(continues) = innermost {
            continues.push(jump);
        }
        self.dead();
    }

    /// `while`, `forever` and the loop of `for`: the condition stands at the bottom, entered by a jump.
    fn while_stmt(&mut self, condition: Option<&Expr>, steps: &[Expr], body: &Stmt) {
        // A condition that assigns must come first, so that what it assigns is known to be defined in the body.
        let first = condition.is_some_and(|condition| self.plain || writes_variables(condition));
        let before = self.state();
        self.open_target(true);
        if let (true, Some(condition)) = (first, condition) {
            let start = self.here();
            let exits = self.jump_if(condition, false);
            let after = self.state();
            self.stmt(body);
            self.land_continues();
            self.set_state(after.clone());
            for step in steps {
                self.discard(step);
            }
            self.at(condition.span);
            self.emit(Op::Loop, 0, 0, 0, start);
            self.set_state(after);
            self.patch_all(exits);
            self.close_target();
            return;
        }
        let entry = condition.map(|_| self.emit(Op::Jump, 0, 0, 0, 0));
        let start = self.here();
        self.stmt(body);
        self.land_continues();
        self.set_state(before);
        for step in steps {
            self.discard(step);
        }
        if let Some(entry) = entry {
            self.patch(entry);
        }
        match condition {
            Some(condition) => self.loop_if(condition, start),
            None => {
                self.emit(Op::Loop, 0, 0, 0, start);
                self.dead();
            }
        }
        self.close_target();
    }

    fn for_stmt(&mut self, node: &For) {
        for init in &node.init {
            self.discard(init);
        }
        self.while_stmt(node.condition.as_ref(), &node.step, &node.body);
    }

    fn foreach_stmt(&mut self, node: &ForEach) {
        let iteration = self.temp();
        let _position = self.temp();
        let subject = self.expr(&node.subject);
        self.at(node.subject.span);
        self.emit(Op::Iterate, iteration, subject, 0, 0);
        self.free(subject);
        let before = self.state();
        self.open_target(true);
        let mark = self.mark();
        let start = self.here();
        let key = node.key.as_ref().map(|key| self.target_register(key));
        let value = self.target_register(&node.value);
        self.at(node.value.span);
        let exit = match key {
            Some(key) => self.emit(Op::NextPair, iteration, key, value, 0),
            None => self.emit(Op::Next, iteration, value, 0, 0),
        };
        if let (Some(target), Some(register)) = (&node.key, key) {
            self.store(target, register, None);
        }
        self.store(&node.value, value, None);
        self.reset(mark);
        self.stmt(&node.body);
        self.land_continues();
        self.at(node.value.span);
        self.emit(Op::Loop, 0, 0, 0, start);
        self.set_state(before);
        self.patch(exit);
        self.close_target();
        // The array is released, so that the variable it came from can be changed in place again.
        self.emit(Op::Clear, iteration, 0, 0, 0);
    }

    /// The register that `foreach` writes for a target: the variable's own one where it has one.
    fn target_register(&mut self, target: &Target) -> u8 {
        if let TargetKind::Variable(name) = &target.kind
            && let Some(index) = self.f.variable(name)
            && let Place::Register(register) = self.f.place(index)
        {
            return register;
        }
        self.temp()
    }

    fn switch_stmt(&mut self, node: &Switch) {
        let subject = self.temp();
        self.expr_into(&node.subject, subject);
        let mark = self.mark();
        let first = self.state();
        let mut jumps = Vec::new();
        for case in &node.cases {
            jumps.push(case.value.as_ref().map(|value| {
                let jump = self.jump_equal(subject, value);
                self.reset(mark);
                jump
            }));
        }
        let mut start = self.state();
        start.meet_with(&first);
        let no_hit = self.emit(Op::Jump, 0, 0, 0, 0);
        self.open_target(false);
        self.dead();
        let mut has_default = false;
        for (case, jump) in node.cases.iter().zip(jumps) {
            self.meet(&start);
            match jump {
                Some(jump) => self.patch(jump),
                None => {
                    self.patch(no_hit);
                    has_default = true;
                }
            }
            self.stmts(&case.body);
        }
        if !has_default {
            self.patch(no_hit);
            self.meet(&start);
        }
        self.close_target();
    }

    fn try_stmt(&mut self, node: &Try) {
        let before = self.state();
        let start = self.here();
        self.f.tries += 1;
        self.block(&node.body);
        self.f.tries -= 1;
        let end = self.here();
        let after = self.state();
        let over = if self.is_dead() {
            None
        } else {
            Some(self.emit(Op::Jump, 0, 0, 0, 0))
        };
        self.set_state(before);
        let value = self.temp();
        if end > start {
            let target = self.here();
            self.handler(Handler {
                start,
                end,
                target,
                register: value,
            });
        } else {
            self.dead();
        }
        let variable = Target {
            kind: TargetKind::Variable(node.variable.name.clone()),
            span: node.variable.span,
        };
        self.at(node.variable.span);
        self.store(&variable, value, None);
        self.block(&node.handler);
        self.meet(&after);
        if let Some(over) = over {
            self.patch(over);
        }
    }
}

/// The variable that is an argument of a call, for `return f($v)`.
fn sole_argument(expr: &Expr) -> Option<&str> {
    let ExprKind::Postfix(node) = &expr.kind else {
        return None;
    };
    let ast::LinkKind::Call(args) = &node.links.first()?.kind else {
        return None;
    };
    args.iter().find_map(|arg| match &arg.value.kind {
        ExprKind::Variable(name) => Some(&**name),
        _ => None,
    })
}
