//! Bodies: the top level of a module, functions with their parameters and variables.

use angarium_syntax::ast::{self, ExprKind, ParamKind};

use crate::bytecode::Op;
use crate::resolve::{Body, Included};

use crate::compile::code::{Function, Place};
use crate::compile::{Arity, Compiler, Hoist, Role};

/// Most variables of a function that get a register of their own; the rest live in cells behind one register.
const MAX_VARIABLE_REGISTERS: usize = 150;

/// Most parameters of a function.
const MAX_PARAMETERS: usize = 100;

impl Compiler<'_> {
    /// Compiles the top level of a module.
    pub(crate) fn compile_top(
        &mut self,
        program: &ast::Program,
        body: Body,
        proto: u32,
        name: &str,
    ) {
        let exported = self.module_mut().exported || self.session.is_some();
        let mut function = Function::new(body, true);
        let names: Vec<Box<str>> = function.body.vars.keys().cloned().collect();
        let mut registers = 0;
        for name in names {
            let var = function.body.vars[&name].clone();
            let known = self.module_mut().variables.get(&name).copied();
            let known = known.or_else(|| self.host_variables.get(&name).copied());
            let crowded = registers >= MAX_VARIABLE_REGISTERS;
            let global = match known {
                Some(global) => Some(global),
                None if exported || crowded => Some(self.new_global(&name)),
                None => None,
            };
            if let Some(global) = global {
                self.module_mut().variables.insert(name.clone(), global);
            }
            let place = match global {
                Some(global) if crowded => Place::FarGlobal(global),
                Some(_) => Place::Cell(registers as u8),
                None if var.shared => Place::Cell(registers as u8),
                None => Place::Register(registers as u8),
            };
            if !crowded {
                registers += 1;
            }
            function.add(name, place, var.unset);
        }
        function.proto.name = name.into();
        function.start_temporaries(registers);
        self.warn_never_assigned(&function.body, true);
        let outer = std::mem::replace(&mut self.f, function);
        self.at(program.span.before());
        for index in 0..self.f.variable_count() {
            if let Place::Cell(register) = self.f.place(index) {
                let name = self.f.variable_name(index).to_owned();
                match self.modules[self.module].variables.get(&*name).copied() {
                    Some(global) => self.emit(Op::Global, register, 0, 0, global),
                    None => self.emit(Op::Wrap, register, 0, 0, 0),
                };
            }
        }
        for (function, global) in self.hoisted.remove(&self.module).unwrap_or_default() {
            let (value, cell) = (self.temp(), self.temp());
            match function {
                Hoist::Function(index) => self.emit(Op::LoadFunction, value, 0, 0, index),
                Hoist::Class(index) => self.emit(Op::LoadUserClass, value, 0, 0, index),
            };
            self.emit(Op::Global, cell, 0, 0, global);
            self.emit(Op::MoveCell, cell, value, 0, 0);
            self.free(value);
        }
        for binding in self.data_bindings.remove(&self.module).unwrap_or_default() {
            let value = self.temp();
            self.at(binding.variable.span);
            self.emit(Op::LoadK, value, 0, 0, binding.constant);
            let target = ast::Target {
                kind: ast::TargetKind::Variable(binding.variable.name),
                span: binding.variable.span,
            };
            self.store(&target, value, None);
            self.free(value);
        }
        self.init_statics(&program.body);
        match program.body.split_last() {
            // What a session shows after a piece.
            Some((last, before)) if self.session.is_some() && is_shown(last) => {
                self.stmts(before);
                self.shown(last);
            }
            _ => self.stmts(&program.body),
        }
        self.finish_function(proto, outer);
    }

    /// Compiles a nested function that the first pass numbered.
    pub(crate) fn compile_function(
        &mut self,
        node: &ast::Function,
        captures: &[ast::Variable],
        role: Role,
        prologue: &[&ast::Member],
    ) -> Option<u32> {
        let (index, body) = self.f.body.function(node)?;
        let Some(body) = body else { return Some(index) };
        let mut function = Function::new(*body, false);
        if node.params.len() + captures.len() > MAX_PARAMETERS {
            let message = format!(
                "a function has at most {MAX_PARAMETERS} parameters and captured variables"
            );
            self.error(node.span, message, None);
            return Some(index);
        }
        let this = usize::from(role.has_this());
        let params = this + node.params.len();
        let mut names: Vec<Box<str>> = function.body.vars.keys().cloned().collect();
        // Parameters and captures come first in the table of variables, in their order.
        let fixed = params + captures.len();
        if names.len() < fixed {
            // A name stands twice, which the check after parsing has reported.
            return Some(index);
        }
        let crowded = names.len() > MAX_VARIABLE_REGISTERS;
        let limit = if crowded {
            MAX_VARIABLE_REGISTERS - 1
        } else {
            MAX_VARIABLE_REGISTERS
        };
        if crowded {
            // `global` binds variables in registers.
            let vars = &function.body.vars;
            names[fixed..].sort_by_key(|name| !vars[name].shared);
        }
        let far_register = limit as u8;
        for (at, name) in names.iter().enumerate() {
            let var = function.body.vars[name].clone();
            let place = if at >= limit {
                Place::Far {
                    list: far_register,
                    index: (at - limit) as u32,
                }
            } else if var.shared {
                Place::Cell(at as u8)
            } else {
                Place::Register(at as u8)
            };
            function.add(name.clone(), place, var.unset);
        }
        function.start_temporaries(if crowded { limit + 1 } else { names.len() });
        let rest = node
            .params
            .last()
            .is_some_and(|param| matches!(param.kind, ParamKind::Rest));
        let arity = Arity::of(node);
        function.proto.name = node
            .name
            .as_ref()
            .map_or("function", |name| &name.text)
            .into();
        function.proto.required = arity.required as u8;
        function.proto.declared = (node.params.len() - usize::from(rest)) as u8;
        function.proto.rest = rest;
        function.proto.captures = captures.len() as u8;
        function.proto.generator = node.generator || function.body.yields;
        function.proto.this = role.has_this();
        // A closure that captured `$this` may do what the function around it may.
        let captured_this = captures.iter().any(|capture| *capture.name == *"this");
        function.proto.class = match role {
            Role::Plain if captured_this => self.f.proto.class,
            Role::Plain => None,
            _ => self.class.as_ref().map(|class| class.index),
        };
        function.constructor = role == Role::Constructor;
        self.warn_never_assigned(&function.body, false);
        let functions = std::mem::take(&mut function.body.functions);
        self.scopes.push(functions);
        let outer = std::mem::replace(&mut self.f, function);
        self.at(node.keyword);
        if crowded {
            self.emit(Op::NewFar, far_register, 0, 0, (names.len() - limit) as u32);
        }
        if role.has_this() {
            self.f.define(0);
        }
        for (at, param) in node.params.iter().enumerate() {
            let at = at + this;
            if let ParamKind::Default(value) = &param.kind {
                let skip = self.emit(Op::JumpDef, at as u8, 0, 0, 0);
                self.expr_into(value, at as u8);
                self.patch(skip);
            }
            self.f.define(at);
        }
        for at in 0..names.len().min(limit) {
            let captured = (params..fixed).contains(&at);
            if matches!(self.f.place(at), Place::Cell(_)) && !captured {
                self.emit(Op::Wrap, at as u8, 0, 0, 0);
            }
        }
        self.init_properties(prologue);
        self.block(&node.body);
        self.finish_function(index, outer);
        self.scopes.pop();
        Some(index)
    }

    pub(super) fn finish_function(&mut self, index: u32, outer: Function) {
        self.leave();
        let function = std::mem::replace(&mut self.f, outer);
        let mut proto = function.finish();
        if let Some(slot) = self.protos.get_mut(index as usize) {
            if proto.places.is_empty() {
                proto.places = std::mem::take(&mut slot.places);
            }
            *slot = proto;
        }
    }

    /// What an `include` statement brings in at this place.
    pub(super) fn included(&mut self, path: &ast::StrLit) -> Included {
        self.f.body.include(path)
    }
}

/// Whether a session shows the value of a statement: that of an expression which is no assignment.
fn is_shown(stmt: &ast::Stmt) -> bool {
    match &stmt.kind {
        ast::StmtKind::Expr(expr) => !matches!(expr.kind, ExprKind::Assign(_) | ExprKind::Step(_)),
        _ => false,
    }
}
