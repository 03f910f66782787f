//! Classes (language.md 12).

use std::rc::Rc;

use angarium_syntax::ast::{ClassDecl, Member, MemberKind, Name, Stmt, StmtKind};

use crate::bytecode::{Class, Const, Op};
use crate::compile::code::{Function, Place};
use crate::compile::{Arity, ClassInfo, Compiler, Hoist, Named, Role, StaticVariable};
use crate::hash::HashMap;
use crate::resolve::Body;

impl Compiler<'_> {
    /// First pass: gives the class its number and its members, and walks its functions.
    pub(crate) fn declare_class(&mut self, class: &ClassDecl, body: &mut Body, top: bool) {
        if !top {
            self.misplaced(
                class.name.span,
                "a class can be declared only at the top level",
                "move it out of the block or function",
            );
            return;
        }
        self.warn_reserved(&class.name);
        let index = self.classes.len() as u32;
        let mut compiled = Class {
            name: class.name.text.clone(),
            ..Class::default()
        };
        self.classes.push(Class::default());
        let mut variables = HashMap::default();
        let mut functions = HashMap::default();
        let mut constructor = None;
        for member in &class.members {
            match &member.kind {
                MemberKind::Variable { variable, .. } => {
                    self.members.insert(variable.name.clone());
                }
                MemberKind::Method { function, .. } => {
                    let name = function.name.as_ref();
                    self.members.extend(name.map(|name| name.text.clone()));
                }
                MemberKind::Constructor(_) | MemberKind::Error(_) => {}
            }
            match &member.kind {
                MemberKind::Constructor(function) => {
                    let proto = self.resolve_function(function, body, &[], Role::Constructor);
                    constructor = Some((proto, Arity::of(function)));
                }
                MemberKind::Variable {
                    modifiers,
                    variable,
                    init,
                } => {
                    init.iter().for_each(|init| self.check_constant(init));
                    if modifiers.statik.is_some() {
                        let global = self.new_global(&variable.name);
                        let found = StaticVariable {
                            global,
                            private: modifiers.private.is_some(),
                            readonly: modifiers.readonly.is_some(),
                        };
                        variables.insert(variable.name.clone(), found);
                        continue;
                    }
                    if modifiers.private.is_some() {
                        compiled.private.push(variable.name.clone());
                    }
                    if modifiers.readonly.is_some() {
                        compiled.readonly.push(variable.name.clone());
                    }
                }
                MemberKind::Method {
                    modifiers,
                    function,
                } => {
                    let Some(name) = &function.name else { continue };
                    let private = modifiers.private.is_some();
                    if modifiers.statik.is_some() {
                        let proto = self.resolve_function(function, body, &[], Role::Static);
                        let named = self.static_function(name, proto, Arity::of(function));
                        functions.insert(name.text.clone(), (named, private));
                        continue;
                    }
                    let proto = self.resolve_function(function, body, &[], Role::Method);
                    compiled.methods.push((name.text.clone(), proto));
                    if private {
                        compiled.private.push(name.text.clone());
                    }
                }
                MemberKind::Error(_) => {}
            }
        }
        let none = Arity {
            required: 0,
            most: Some(0),
        };
        let (proto, arity) =
            constructor.unwrap_or_else(|| (self.new_proto(class.name.span, none), none));
        compiled.constructor = proto;
        self.classes[index as usize] = compiled;
        let name = class.name.text.clone();
        let info = Rc::new(ClassInfo {
            name,
            index,
            arity,
            variables,
            functions,
        });
        let before = self.module_mut().functions.get(&class.name.text).cloned();
        match before {
            // The same file included twice declares the same class twice.
            Some(before) if !self.may_redefine(&before) => self.duplicate(&class.name, &before),
            _ => self.declare_function(&class.name, Named::Class(info)),
        }
    }

    /// A static function: in a session it goes to a global as all functions do.
    fn static_function(&mut self, name: &Name, proto: u32, arity: Arity) -> Named {
        if self.session.is_none() {
            return Named::User(proto);
        }
        let global = self.new_global(&name.text);
        self.hoist(Hoist::Function(proto), global);
        Named::Shared {
            global,
            arity,
            class: None,
        }
    }

    fn class_info(&mut self, class: &ClassDecl) -> Option<Rc<ClassInfo>> {
        match self.module_mut().functions.get(&class.name.text).cloned()? {
            Named::Class(info)
            | Named::Shared {
                class: Some(info), ..
            } => Some(info),
            _ => None,
        }
    }

    /// Second pass: compiles the functions of a class.
    pub(super) fn compile_class(&mut self, class: &ClassDecl) {
        let Some(info) = self.class_info(class) else {
            return;
        };
        let outer = self.class.replace(Rc::clone(&info));
        let properties: Vec<&Member> = class
            .members
            .iter()
            .filter(|member| {
                matches!(&member.kind, MemberKind::Variable { modifiers, .. } if modifiers.statik.is_none())
            })
            .collect();
        let mut constructed = false;
        for member in &class.members {
            match &member.kind {
                MemberKind::Constructor(function) => {
                    constructed = true;
                    self.compile_function(function, &[], Role::Constructor, &properties);
                }
                MemberKind::Method {
                    modifiers,
                    function,
                } => {
                    let role = if modifiers.statik.is_some() {
                        Role::Static
                    } else {
                        Role::Method
                    };
                    self.compile_function(function, &[], role, &[]);
                }
                MemberKind::Variable { .. } | MemberKind::Error(_) => {}
            }
        }
        if !constructed {
            self.compile_plain_constructor(&info, class, &properties);
        }
        self.class = outer;
    }

    /// The constructor of a class that declares none: it takes nothing and sets the instance variables.
    fn compile_plain_constructor(
        &mut self,
        info: &ClassInfo,
        class: &ClassDecl,
        properties: &[&Member],
    ) {
        let Some(index) = self
            .classes
            .get(info.index as usize)
            .map(|class| class.constructor)
        else {
            return;
        };
        let mut function = Function::new(Body::default(), false);
        function.add("this".into(), Place::Register(0), false);
        function.start_temporaries(1);
        function.define(0);
        function.constructor = true;
        function.proto.name = info.name.clone();
        function.proto.this = true;
        function.proto.class = Some(info.index);
        let outer = std::mem::replace(&mut self.f, function);
        self.at(class.name.span);
        self.init_properties(properties);
        self.finish_function(index, outer);
    }

    /// Sets the instance variables of `$this` to their initial values.
    pub(super) fn init_properties(&mut self, properties: &[&Member]) {
        for member in properties {
            let MemberKind::Variable { variable, init, .. } = &member.kind else {
                continue;
            };
            let value = self.temp();
            self.at(member.span);
            match init {
                Some(init) => self.expr_into(init, value),
                None => self.load(value, Const::None),
            }
            let this = self.f.variable("this").map_or(0, |index| self.cell(index));
            let name = self.constant(Const::Str(variable.name.as_bytes().into()));
            self.emit(Op::InitProperty, this, value, 0, name);
            self.free(value);
        }
    }

    /// Sets the static variables of the classes among `stmts` to their initial values, before anything runs.
    pub(super) fn init_statics(&mut self, stmts: &[Stmt]) {
        // Classes stand at the top level, but perhaps in a block or an included file.
        let mut pending: Vec<&Stmt> = stmts.iter().rev().collect();
        while let Some(stmt) = pending.pop() {
            match &stmt.kind {
                StmtKind::Class(class) => self.init_class(class),
                StmtKind::Block(block) => pending.extend(block.stmts.iter().rev()),
                StmtKind::Include { path, .. } => {
                    if let Some(program) = self.f.body.peek_include(path) {
                        self.init_statics(&program.body);
                    }
                }
                _ => {}
            }
        }
    }

    fn init_class(&mut self, class: &ClassDecl) {
        let Some(info) = self.class_info(class) else {
            return;
        };
        for member in &class.members {
            let MemberKind::Variable {
                variable,
                init,
                modifiers,
            } = &member.kind
            else {
                continue;
            };
            let (Some(found), Some(_)) = (info.variables.get(&variable.name), modifiers.statik)
            else {
                continue;
            };
            let (value, cell) = (self.temp(), self.temp());
            self.at(member.span);
            match init {
                Some(init) => self.expr_into(init, value),
                None => self.load(value, Const::None),
            }
            self.emit(Op::Global, cell, 0, 0, found.global);
            self.emit(Op::MoveCell, cell, value, 0, 0);
            self.free(value);
        }
    }

    /// Leaves the function: a constructor with its object, all others with none.
    pub(super) fn leave(&mut self) {
        if !self.f.constructor {
            self.emit(Op::ReturnNone, 0, 0, 0, 0);
            return;
        }
        let this = self.temp();
        let cell = self.f.variable("this").map_or(0, |index| self.cell(index));
        self.emit(Op::PeekCell, this, cell, 0, 0);
        self.emit(Op::Return, this, 0, 0, 0);
        self.free(this);
    }
}
