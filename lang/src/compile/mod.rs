//! The second pass: syntax tree to bytecode.
//!
//! * this module: the compiler's state, declarations, the start of a body;
//! * [`code`]: emitting instructions, registers, what is known to be defined;
//! * [`stmt`], [`expr`], [`condition`], [`call`], [`assign`]: the parts of the grammar.

mod assign;
mod call;
mod class;
mod code;
mod condition;
mod expr;
mod stmt;

use std::rc::Rc;

use angarium_syntax::ast::{self, Expr, ExprKind, ParamKind};

use crate::builtins::{Builtin, Builtins};
use crate::bytecode::{Access, Const, Global, Instr, Op, Program, Proto};
use crate::data::{DataBinding, DataImport};
use crate::hash::{HashMap, HashSet};
use crate::modules::{Loader, Loading, Module};
use crate::resolve::{Body, Included};
use crate::session::Scope;
use crate::warnings::MethodCall;
use crate::{Compiled, Diagnostic, FileId, Rejected, Severity, Source, SourceMap, Span};

use code::{Function, Place};

/// Most errors that are reported at once.
const MAX_ERRORS: usize = 20;

/// Most variables of a function that get a register of their own; the rest live in cells behind one register.
const MAX_VARIABLE_REGISTERS: usize = 150;

/// Most parameters of a function.
const MAX_PARAMETERS: usize = 100;

/// How many arguments a call takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arity {
    /// Fewest.
    pub required: usize,
    /// Most; none when there is no bound.
    pub most: Option<usize>,
}

impl Arity {
    pub(crate) fn of(function: &ast::Function) -> Arity {
        let count = |kind: fn(&ParamKind) -> bool| {
            function
                .params
                .iter()
                .filter(|param| kind(&param.kind))
                .count()
        };
        let rest = count(|kind| matches!(kind, ParamKind::Rest));
        Arity {
            required: count(|kind| matches!(kind, ParamKind::Required)),
            most: (rest == 0).then_some(function.params.len()),
        }
    }

    fn fits(self, given: usize) -> bool {
        given >= self.required && self.most.is_none_or(|most| given <= most)
    }
}

/// The message for a call with a wrong number of arguments, at compile time and at run time.
#[must_use]
pub fn arity_message(name: &str, required: usize, most: Option<usize>, given: usize) -> String {
    let (word, count) = match most {
        Some(most) if most == required => ("exactly", required),
        Some(most) if given > most => ("at most", most),
        _ => ("at least", required),
    };
    let plural = if count == 1 { "" } else { "s" };
    format!("{name} takes {word} {count} argument{plural}, {given} given")
}

/// What the name of a function or class means.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Named {
    /// A function of this program.
    User(u32),
    /// A class of this program.
    Class(Rc<ClassInfo>),
    /// A function or class that a session keeps in a global, so that it can be redefined.
    Shared {
        /// The global.
        global: u32,
        /// What it took when it was last defined.
        arity: Arity,
        /// The class, if it is one.
        class: Option<Rc<ClassInfo>>,
    },
    /// A function or class of the host.
    Builtin(Builtin),
    /// A static method of a class of the host.
    BuiltinStatic(u32),
}

/// What the compiler knows of a class.
#[derive(Debug, PartialEq)]
pub(crate) struct ClassInfo {
    /// Its name.
    pub name: Box<str>,
    /// Its index in the program (of the piece that declares it, in a session).
    pub index: u32,
    /// What the constructor takes.
    pub arity: Arity,
    /// Static variables.
    pub variables: HashMap<Box<str>, StaticVariable>,
    /// Static functions, and whether they are private.
    pub functions: HashMap<Box<str>, (Named, bool)>,
}

/// A static variable of a class.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct StaticVariable {
    /// Where it lives.
    pub global: u32,
    /// Only the class sees it.
    pub private: bool,
    /// Only the class writes it.
    pub readonly: bool,
}

/// What a session's top level puts into a global before everything else.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Hoist {
    /// A function.
    Function(u32),
    /// A class.
    Class(u32),
}

/// What kind of function it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// A function of its own.
    Plain,
    /// An instance function of the class.
    Method,
    /// The constructor of the class.
    Constructor,
    /// A static function of the class.
    Static,
}

impl Role {
    /// Whether register 0 holds `$this`.
    pub fn has_this(self) -> bool {
        matches!(self, Role::Method | Role::Constructor)
    }
}

/// What code is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// With all short cuts.
    Quick,
    /// Every construct in its general form.
    Plain,
}

/// The compiler's state.
pub(crate) struct Compiler<'a> {
    /// No short cuts ([`Mode::Plain`]).
    plain: bool,
    pub builtins: &'a dyn Builtins,
    pub loader: &'a dyn Loader,
    /// The session that this is a piece of.
    pub session: Option<&'a Scope>,
    pub sources: SourceMap,
    /// The path below the root of each source.
    pub paths: Vec<String>,
    pub diagnostics: Vec<Diagnostic>,

    /// Scopes of the main program (last to be finished) and of the imported modules.
    pub modules: Vec<Module>,
    /// The module that is being compiled.
    pub module: usize,
    pub module_files: HashMap<String, Loading>,
    /// Top levels of the imported modules in the order in which they run.
    pub initial_runs: Vec<u32>,
    pub main: u32,
    /// Members of objects that the program declares or assigns.
    pub members: HashSet<Box<str>>,
    /// Calls of methods, for warnings about names that no class has.
    pub method_calls: Vec<MethodCall>,
    /// The data files that the program imports.
    pub data: Vec<DataImport>,
    /// Data imports of the modules whose top level is not compiled yet.
    pub data_bindings: HashMap<usize, Vec<DataBinding>>,
    /// The statement that brought in each source, if one did.
    pub origins: Vec<Option<Span>>,
    /// Functions of a session's modules and the globals they go to.
    pub hoisted: HashMap<usize, Vec<(Hoist, u32)>>,

    /// The `include` and `import` statements on the way to the text that is walked.
    pub chain: Vec<Span>,
    pub open_includes: Vec<String>,
    /// Files that were included so far, for `include_once`.
    pub included: HashSet<String>,
    pub included_files: HashSet<FileId>,
    pub included_bytes: usize,
    pub trees: HashMap<String, Rc<ast::Program>>,

    pub host_variables: HashMap<Box<str>, u32>,
    pub globals: Vec<Global>,
    protos: Vec<Proto>,
    classes: Vec<crate::bytecode::Class>,
    /// The class whose body is being compiled.
    class: Option<Rc<ClassInfo>>,
    pub arities: Vec<Arity>,
    consts: Vec<Const>,
    const_index: HashMap<ConstKey, u32>,
    names: Vec<Box<str>>,
    name_index: HashMap<Box<str>, u32>,

    /// Functions that the enclosing functions declare.
    pub scopes: Vec<HashMap<Box<str>, Named>>,
    /// The function that is being compiled.
    f: Function,
}

/// Constants that are stored once.
#[derive(PartialEq, Eq, Hash)]
enum ConstKey {
    None,
    Bool(bool),
    Number(u64),
    Str(Box<[u8]>),
}

pub(crate) fn compile(
    source: Source<'_>,
    builtins: &dyn Builtins,
    loader: &dyn Loader,
    session: Option<&mut Scope>,
    mode: Mode,
) -> Result<Compiled, Rejected> {
    let before = session.as_deref().cloned();
    let mut compiler = Compiler::new(builtins, loader, before.as_ref());
    compiler.plain = mode == Mode::Plain;
    let Ok(file) = compiler.sources.add(source.name, source.text) else {
        let sources = SourceMap::new();
        let diagnostics = vec![Diagnostic::error(
            Span::default(),
            format!("`{}` is too large", source.name),
        )];
        return Err(Rejected {
            diagnostics,
            sources,
        });
    };
    compiler.paths.resize(file.0 as usize, String::new());
    compiler.paths.push(source.path.to_owned());
    if !source.path.is_empty() {
        compiler.open_includes.push(source.path.to_owned());
    }
    let program = compiler.parse(file, source.text);
    let top = compiler.compile_module(&program, "main", false);
    compiler.finish(top, session)
}

impl<'a> Compiler<'a> {
    fn new(
        builtins: &'a dyn Builtins,
        loader: &'a dyn Loader,
        session: Option<&'a Scope>,
    ) -> Compiler<'a> {
        let mut compiler = Compiler {
            plain: false,
            builtins,
            loader,
            session,
            sources: SourceMap::new(),
            paths: Vec::new(),
            diagnostics: Vec::new(),
            modules: Vec::new(),
            module: 0,
            module_files: HashMap::default(),
            initial_runs: Vec::new(),
            main: 0,
            members: HashSet::default(),
            method_calls: Vec::new(),
            data: Vec::new(),
            data_bindings: HashMap::default(),
            origins: Vec::new(),
            hoisted: HashMap::default(),
            chain: Vec::new(),
            open_includes: Vec::new(),
            included: HashSet::default(),
            included_files: HashSet::default(),
            included_bytes: 0,
            trees: HashMap::default(),
            host_variables: HashMap::default(),
            globals: Vec::new(),
            protos: Vec::new(),
            classes: Vec::new(),
            class: None,
            arities: Vec::new(),
            consts: Vec::new(),
            const_index: HashMap::default(),
            names: Vec::new(),
            name_index: HashMap::default(),
            scopes: Vec::new(),
            f: Function::default(),
        };
        match session {
            Some(scope) => scope.restore(&mut compiler),
            None => compiler.add_host_variables(),
        }
        compiler
    }

    pub(crate) fn add_host_variables(&mut self) {
        for (name, writable) in self.builtins.variables() {
            let access = if *writable {
                Access::Writable
            } else {
                Access::ReadOnly
            };
            let index = self.globals.len() as u32;
            self.globals.push(Global {
                name: (*name).into(),
                host: Some(access),
            });
            self.host_variables.insert((*name).into(), index);
        }
    }

    fn finish(mut self, top: usize, session: Option<&mut Scope>) -> Result<Compiled, Rejected> {
        // The program's own top level first calls those of its modules.
        self.prepend_initial_runs();
        self.warn_methods();
        self.diagnostics.sort_by_key(|diagnostic| {
            (
                diagnostic.severity == Severity::Warning,
                diagnostic.primary.span.file,
                diagnostic.primary.span.start,
            )
        });
        if self.error_count() > 0 {
            return Err(Rejected {
                diagnostics: self.diagnostics,
                sources: self.sources,
            });
        }
        let known = session
            .as_deref()
            .map_or(0, |scope| scope.globals.len() as u32);
        if let Some(scope) = session {
            scope.save(&mut self, top);
        }
        let program = Program {
            protos: self.protos,
            classes: self.classes,
            consts: self.consts,
            names: self.names,
            globals: self.globals,
            main: self.main,
            session_globals: known,
            data: self.data,
            origins: self.origins,
            sources: self.sources,
        };
        Ok(Compiled {
            program,
            warnings: self.diagnostics,
        })
    }

    fn prepend_initial_runs(&mut self) {
        let main = self.main;
        let runs: Vec<u32> = self
            .initial_runs
            .iter()
            .copied()
            .filter(|proto| *proto != main)
            .collect();
        let Some(proto) = self.protos.get_mut(main as usize) else {
            return;
        };
        let shift = runs.len() as u32;
        if shift == 0 {
            return;
        }
        // Any temporary will do: nothing has run yet. The first register that is no variable is always there.
        let scratch = proto.registers.max(1) as u8;
        proto.registers = proto.registers.max(1) + 1;
        let calls = runs
            .iter()
            .map(|run| Instr::new(Op::Call, scratch, 0, 0, *run));
        let mut code: Vec<Instr> = calls.collect();
        for instr in &proto.code {
            let mut instr = *instr;
            if instr.op.format().contains('j') {
                instr.d += shift;
            }
            code.push(instr);
        }
        proto.code = code;
        for handler in &mut proto.handlers {
            handler.start += shift;
            handler.end += shift;
            handler.target += shift;
        }
        for (pc, _) in proto.places.iter_mut().skip(1) {
            *pc += shift;
        }
    }

    /// The tree of a source; its errors are reported.
    pub(crate) fn parse(&mut self, file: FileId, text: &[u8]) -> ast::Program {
        let (program, diagnostics) = if self.included_files.contains(&file) {
            angarium_syntax::parse_included(text, file)
        } else {
            angarium_syntax::parse(text, file)
        };
        for diagnostic in diagnostics {
            self.report(diagnostic);
        }
        program
    }

    // ---- Diagnostics ---------------------------------------------------------------------------

    pub(crate) fn error(&mut self, span: Span, message: impl Into<String>, hint: Option<String>) {
        let mut diagnostic = Diagnostic::error(span, message);
        diagnostic.hint = hint;
        self.report(diagnostic);
    }

    /// An error about where a statement stands. The parser reports those of whole files; of an included text it does
    /// not know where it is included.
    pub(crate) fn misplaced(&mut self, span: Span, message: &str, hint: &str) {
        if self.included_files.contains(&span.file) {
            self.error(span, message, Some(hint.to_owned()));
        }
    }

    pub(crate) fn report(&mut self, mut diagnostic: Diagnostic) {
        if diagnostic.is_error() && self.error_count() >= MAX_ERRORS {
            return;
        }
        diagnostic.included_from = self.chain.iter().rev().copied().collect();
        if !self.diagnostics.contains(&diagnostic) {
            self.diagnostics.push(diagnostic);
        }
    }

    pub(crate) fn error_count(&self) -> usize {
        self.diagnostics
            .iter()
            .filter(|diagnostic| diagnostic.is_error())
            .count()
    }

    // ---- Tables --------------------------------------------------------------------------------

    pub(crate) fn module_mut(&mut self) -> &mut Module {
        &mut self.modules[self.module]
    }

    pub(crate) fn new_global(&mut self, name: &str) -> u32 {
        let index = self.globals.len() as u32;
        self.globals.push(Global {
            name: name.into(),
            host: None,
        });
        index
    }

    pub(crate) fn new_proto(&mut self, span: Span, arity: Arity) -> u32 {
        let index = self.protos.len() as u32;
        self.protos.push(Proto {
            places: vec![(0, span)],
            ..Proto::default()
        });
        self.arities.push(arity);
        index
    }

    /// The name of the file that a function of the script stands in.
    fn origin(&self, named: &Named) -> String {
        let proto = match named {
            Named::User(proto) => Some(*proto),
            Named::Class(info) => self
                .classes
                .get(info.index as usize)
                .map(|class| class.constructor),
            _ => None,
        };
        let span = proto.and_then(|proto| {
            self.protos
                .get(proto as usize)?
                .places
                .first()
                .map(|(_, span)| *span)
        });
        span.map_or_else(
            || "session".to_owned(),
            |span| self.sources.name(span.file).to_owned(),
        )
    }

    fn constant(&mut self, value: Const) -> u32 {
        let key = match &value {
            Const::None => ConstKey::None,
            Const::Bool(boolean) => ConstKey::Bool(*boolean),
            Const::Number(number) => ConstKey::Number(number.to_bits()),
            Const::Str(bytes) => ConstKey::Str(bytes.clone()),
            Const::Array(_) | Const::Regex { .. } => {
                self.consts.push(value);
                return (self.consts.len() - 1) as u32;
            }
        };
        let consts = &mut self.consts;
        *self.const_index.entry(key).or_insert_with(|| {
            consts.push(value);
            (consts.len() - 1) as u32
        })
    }

    /// A constant of its own, whose value comes when the program is linked.
    pub(crate) fn data_constant(&mut self) -> u32 {
        self.consts.push(Const::None);
        (self.consts.len() - 1) as u32
    }

    fn name(&mut self, name: &str) -> u32 {
        if let Some(index) = self.name_index.get(name) {
            return *index;
        }
        let index = self.names.len() as u32;
        self.names.push(name.into());
        self.name_index.insert(name.into(), index);
        index
    }

    // ---- Declarations --------------------------------------------------------------------------

    /// Checks that a default value is a constant expression (language.md 10.1).
    pub(crate) fn check_constant(&mut self, expr: &Expr) {
        let mut pending = vec![expr];
        while let Some(expr) = pending.pop() {
            match &expr.kind {
                ExprKind::None
                | ExprKind::Bool(_)
                | ExprKind::Number(_)
                | ExprKind::Str(_)
                | ExprKind::Regex(_)
                | ExprKind::Error => {}
                ExprKind::Array(elements) => {
                    for element in elements {
                        match element {
                            ast::Element::Value(value) => pending.push(value),
                            ast::Element::Spread(spread) => pending.push(&spread.value),
                            ast::Element::Pair(pair) => pending.extend([&pair.key, &pair.value]),
                        }
                    }
                }
                ExprKind::Unary(node) => pending.push(&node.operand),
                ExprKind::Binary(chain) => {
                    pending.push(&chain.first);
                    pending.extend(chain.rest.iter().map(|link| &link.operand));
                }
                ExprKind::Logic(chain) => {
                    pending.push(&chain.first);
                    pending.extend(chain.rest.iter().map(|link| &link.operand));
                }
                ExprKind::Ternary(node) => {
                    for arm in &node.arms {
                        pending.push(&arm.condition);
                        pending.extend(&arm.then);
                    }
                    pending.push(&node.otherwise);
                }
                _ => {
                    self.error(
                        expr.span,
                        "a default value must be a constant expression",
                        None,
                    );
                    return;
                }
            }
        }
    }

    // ---- Bodies --------------------------------------------------------------------------------

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

    fn finish_function(&mut self, index: u32, outer: Function) {
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
    fn included(&mut self, path: &ast::StrLit) -> Included {
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
