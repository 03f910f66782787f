//! The second pass: syntax tree to bytecode.
//!
//! * this module: the compiler's state, declarations, the start of a body;
//! * [`code`]: emitting instructions, registers, what is known to be defined;
//! * [`body`]: modules and functions;
//! * [`stmt`], [`expr`], [`operators`], [`condition`], [`quiet`], [`call`], [`names`], [`assign`], [`class`]: the parts of
//!   the grammar;
//! * [`debug`]: where debuggers may stop;
//! * [`effects`]: what an expression may read and write.

mod assign;
mod body;
mod call;
mod class;
mod code;
mod condition;
pub(crate) mod debug;
pub(crate) mod effects;
mod expr;
mod names;
mod operators;
mod quiet;
mod stmt;

use std::rc::Rc;

use angarium_syntax::ast::{self, Expr, ExprKind, ParamKind};

use crate::builtins::{Builtin, Builtins};
use crate::bytecode::{Access, Const, Global, Instr, Op, Program, Proto};
use crate::data::{DataBinding, DataImport};
use crate::hash::{HashMap, HashSet};
use crate::modules::{Loader, Loading, Module};
use crate::session::Scope;
use crate::warnings::MethodCall;
use crate::{Compiled, Diagnostic, FileId, Rejected, Severity, Source, SourceMap, Span};

use code::Function;

/// Most errors that are reported at once.
const MAX_ERRORS: usize = 20;

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
}
