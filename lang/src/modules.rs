//! `include` and `import`: paths, texts and the scopes of modules (language.md 16).

use std::rc::Rc;
use std::sync::Arc;

use angarium_syntax::ast::{self, Import, ImportName, ImportWhat, Name, StrLit};

use crate::builtins::Builtin;
use crate::compile::{Arity, Compiler, Hoist, Named};
use crate::hash::{HashMap, HashSet};
use crate::resolve::{Body, Where};
use crate::{FileId, Span};

/// How deep includes and imports may nest (language.md 13.5).
const MAX_DEPTH: usize = 64;

/// Gives the texts that `include` and `import` name. The host implements it over a bundle or a folder.
pub trait Loader {
    /// The text of the file at `path`, which is below the root, has no `.` or `..` and no leading slash; none if
    /// there is no such file (or it is a link out of the root).
    fn load(&self, path: &str) -> Option<Arc<[u8]>>;

    /// What messages call the file at `path`: a path that can be opened from where they are read.
    fn display(&self, path: &str) -> String {
        path.to_owned()
    }

    /// The source of the module `extras://NAME`; none if there is none.
    fn extra(&self, name: &str) -> Option<Arc<[u8]>> {
        let _ = name;
        None
    }
}

/// A loader without files.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoFiles;

impl Loader for NoFiles {
    fn load(&self, _path: &str) -> Option<Arc<[u8]>> {
        None
    }
}

impl Loader for std::collections::HashMap<String, Vec<u8>> {
    fn load(&self, path: &str) -> Option<Arc<[u8]>> {
        self.get(path).map(|text| text.as_slice().into())
    }
}

/// The path below the root that `written` names in the file at `from`; none if it leaves the root.
#[must_use]
pub fn resolve_path(written: &str, from: &str) -> Option<String> {
    let rest = written
        .strip_prefix("file:")
        .map(|rest| rest.strip_prefix("//").unwrap_or(rest))
        .unwrap_or(written);
    let mut parts: Vec<&str> = Vec::new();
    if rest.starts_with("./") || rest.starts_with("../") {
        parts.extend(from.split('/').filter(|part| !part.is_empty()));
        parts.pop();
    }
    for part in rest.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    if parts.is_empty() {
        None
    } else {
        Some(parts.join("/"))
    }
}

/// The scope of a module: the main program or an imported file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Module {
    /// Functions and classes, imported ones too.
    pub functions: HashMap<Box<str>, Named>,
    /// Shared variables by name: bound by `global`, imported, exported, or the host's.
    pub variables: HashMap<Box<str>, u32>,
    /// `import * as` names.
    pub namespaces: HashMap<Box<str>, usize>,
    /// Functions and namespaces that should have come from a module which has errors of its own.
    pub broken: HashSet<Box<str>>,
    /// The variables that imports bound.
    pub imported: HashSet<Box<str>>,
    /// Whether every top-level variable is shared: all but the main program.
    pub exported: bool,
    /// Where functions were declared, for messages.
    pub places: HashMap<Box<str>, Span>,
}

/// What is known of an import's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loading {
    /// Its imports are being compiled.
    Open,
    /// Compiled, the index of its scope.
    Done(usize),
    /// It had errors.
    Failed,
}

/// A file that was found.
struct Found {
    path: String,
    text: Arc<[u8]>,
}

impl Compiler<'_> {
    /// Finds the file that a path literal names, or reports why not.
    fn find(&mut self, literal: &StrLit) -> Option<Found> {
        let Ok(written) = std::str::from_utf8(&literal.value) else {
            self.error(literal.span, "a path must be UTF-8", None);
            return None;
        };
        if let Some(name) = written.strip_prefix("extras://") {
            let Some(text) = self.loader.extra(name) else {
                self.error(
                    literal.span,
                    format!("there is no module `extras://{name}`"),
                    None,
                );
                return None;
            };
            return Some(Found {
                path: format!("extras:/{name}/main.hsl"),
                text,
            });
        }
        let from = self.source_path(literal.span);
        // A file of an extra module includes others of the same module only by `./`; the prefix keeps them apart.
        let Some(path) = resolve_path(written, &from) else {
            self.error(
                literal.span,
                format!("`{written}` leaves the root folder"),
                None,
            );
            return None;
        };
        // A folder stands for the `main.hsl` in it.
        let candidates = [
            path.clone(),
            format!("{path}.hsl"),
            format!("{path}/main.hsl"),
        ];
        for path in candidates {
            if let Some(text) = self.loader.load(&path) {
                return Some(Found { path, text });
            }
        }
        self.error(literal.span, format!("file not found: `{written}`"), None);
        None
    }

    /// The path below the root of the file that `span` stands in; empty when it has none.
    pub(crate) fn source_path(&self, span: Span) -> String {
        let path = self.paths.get(span.file.0 as usize);
        path.cloned().unwrap_or_default()
    }

    fn add_source(&mut self, found: &Found, span: Span) -> Option<FileId> {
        let name = if found.path.starts_with("extras:") {
            found.path.clone()
        } else {
            self.loader.display(&found.path)
        };
        match self.sources.add(name, Arc::clone(&found.text)) {
            Ok(file) => {
                self.paths.resize(file.0 as usize, String::new());
                self.paths.push(found.path.clone());
                self.origins.resize(file.0 as usize, None);
                self.origins.push(Some(span));
                Some(file)
            }
            Err(error) => {
                self.error(span, format!("`{}`: {error}", found.path), None);
                None
            }
        }
    }

    /// The tree of an included file. The caller calls [`Compiler::leave_include`] after walking it.
    pub(crate) fn include(&mut self, once: bool, literal: &StrLit) -> Option<Rc<ast::Program>> {
        let found = self.find(literal)?;
        if once && self.included.contains(&found.path) {
            return None;
        }
        if self.open_includes.contains(&found.path) {
            self.error(
                literal.span,
                format!("`{}` includes itself", found.path),
                None,
            );
            return None;
        }
        if self.chain.len() >= MAX_DEPTH {
            self.error(
                literal.span,
                format!("includes are nested more than {MAX_DEPTH} deep"),
                None,
            );
            return None;
        }
        // Text inclusion multiplies: a bound on the whole keeps sixty-four doublings away.
        self.included_bytes = self.included_bytes.saturating_add(found.text.len() + 16);
        if self.included_bytes > MAX_INCLUDED {
            self.error(
                literal.span,
                "the included text is too large altogether",
                None,
            );
            return None;
        }
        self.included.insert(found.path.clone());
        let program = match self.trees.get(&found.path) {
            Some(program) => Rc::clone(program),
            None => {
                let file = self.add_source(&found, literal.span)?;
                self.included_files.insert(file);
                self.chain.push(literal.span);
                let program = Rc::new(self.parse(file, &found.text));
                self.chain.pop();
                self.trees.insert(found.path.clone(), Rc::clone(&program));
                program
            }
        };
        self.open_includes.push(found.path);
        Some(program)
    }

    pub(crate) fn leave_include(&mut self) {
        self.open_includes.pop();
    }

    /// Binds what an `import` names; compiles the module the first time.
    pub(crate) fn import(&mut self, import: &Import) {
        if let ImportWhat::Data { variable, options } = &import.what {
            self.import_data(&import.path, variable, options.as_deref());
            return;
        }
        let Some(index) = self.load_module(&import.path) else {
            self.import_broken(&import.what);
            return;
        };
        match &import.what {
            ImportWhat::Namespace(name) => self.bind_namespace(name, index),
            ImportWhat::Symbols(symbols) => {
                for symbol in symbols {
                    let alias = symbol.alias.as_ref().unwrap_or(&symbol.symbol);
                    match (&symbol.symbol, alias) {
                        (ImportName::Name(name), ImportName::Name(alias)) => {
                            self.bind_function(index, name, alias)
                        }
                        (ImportName::Variable(name), ImportName::Variable(alias)) => {
                            self.bind_variable(index, name, alias);
                        }
                        _ => self.error(
                            symbol.span,
                            "a function cannot be imported as a variable",
                            None,
                        ),
                    }
                }
            }
            ImportWhat::Data { .. } => {}
        }
    }

    /// Takes note of the names that are missing because their module could not be compiled: that is said already.
    fn import_broken(&mut self, what: &ImportWhat) {
        let names: Vec<&ImportName> = match what {
            ImportWhat::Namespace(name) => {
                self.module_mut().broken.insert(name.text.clone());
                return;
            }
            ImportWhat::Symbols(symbols) => symbols
                .iter()
                .map(|symbol| symbol.alias.as_ref().unwrap_or(&symbol.symbol))
                .collect(),
            ImportWhat::Data { .. } => return,
        };
        for name in names {
            match name {
                ImportName::Name(name) => {
                    self.module_mut().broken.insert(name.text.clone());
                }
                ImportName::Variable(variable) => {
                    self.share_global(&variable.name);
                }
            }
        }
    }

    fn bind_namespace(&mut self, name: &Name, index: usize) {
        let module = self.module_mut();
        match module.namespaces.get(&name.text) {
            Some(before) if *before != index => {
                let message = format!("the name `{}` exists already", name.text);
                self.error(name.span, message, None);
            }
            _ => {
                module.namespaces.insert(name.text.clone(), index);
            }
        }
    }

    fn bind_function(&mut self, index: usize, name: &Name, alias: &Name) {
        let Some(named) = self.modules[index].functions.get(&name.text).cloned() else {
            self.unknown_import(index, &name.text, name.span, "");
            return;
        };
        let module = self.module_mut();
        match module.functions.get(&alias.text).cloned() {
            Some(before) if before != named && !self.may_redefine(&before) => {
                self.duplicate(alias, &before)
            }
            _ => {
                let module = self.module_mut();
                module.functions.insert(alias.text.clone(), named);
                module.places.insert(alias.text.clone(), alias.span);
            }
        }
    }

    fn bind_variable(&mut self, index: usize, name: &ast::Variable, alias: &ast::Variable) {
        let Some(global) = self.modules[index].variables.get(&name.name).copied() else {
            self.unknown_import(index, &name.name, name.span, "$");
            return;
        };
        let host = self.host_variables.contains_key(&alias.name);
        if self.bound_data(&alias.name).is_some() {
            let message = format!("the variable ${} exists already", alias.name);
            self.error(alias.span, message, None);
            return;
        }
        let module = self.module_mut();
        match module.variables.get(&alias.name) {
            Some(before) if *before != global => {
                let message = format!("the variable ${} exists already", alias.name);
                self.error(alias.span, message, None);
            }
            None if host => {
                let message = format!("the variable ${} is predefined", alias.name);
                self.error(alias.span, message, None);
            }
            _ => {
                module.variables.insert(alias.name.clone(), global);
                module.imported.insert(alias.name.clone());
            }
        }
    }

    fn unknown_import(&mut self, index: usize, name: &str, span: Span, sigil: &str) {
        let module = &self.modules[index];
        let names: Vec<&str> = if sigil.is_empty() {
            module.functions.keys().map(|name| &**name).collect()
        } else {
            module.variables.keys().map(|name| &**name).collect()
        };
        let hint = crate::suggest::nearest(name, names.into_iter())
            .map(|near| format!("did you mean `{sigil}{near}`?"));
        self.error(span, format!("the module has no `{sigil}{name}`"), hint);
    }

    /// The scope of the module that `literal` names.
    fn load_module(&mut self, literal: &StrLit) -> Option<usize> {
        let found = self.find(literal)?;
        match self.module_files.get(&found.path) {
            Some(Loading::Done(index)) => return Some(*index),
            Some(Loading::Failed) => return None,
            Some(Loading::Open) => {
                self.error(
                    literal.span,
                    format!("import cycle: `{}` is being imported", found.path),
                    None,
                );
                return None;
            }
            None => {}
        }
        if self.chain.len() >= MAX_DEPTH {
            self.error(
                literal.span,
                format!("imports are nested more than {MAX_DEPTH} deep"),
                None,
            );
            return None;
        }
        let file = self.add_source(&found, literal.span)?;
        self.module_files.insert(found.path.clone(), Loading::Open);
        self.chain.push(literal.span);
        let errors = self.error_count();
        let program = self.parse(file, &found.text);
        let index = self.compile_module(&program, &found.path, true);
        self.chain.pop();
        // An import of a broken module gives no second error about its names.
        let state = if self.error_count() > errors {
            Loading::Failed
        } else {
            Loading::Done(index)
        };
        self.module_files.insert(found.path, state);
        if state == Loading::Failed {
            None
        } else {
            Some(index)
        }
    }

    /// Compiles a top level in a scope of its own; gives the scope's index.
    pub(crate) fn compile_module(
        &mut self,
        program: &ast::Program,
        name: &str,
        imported: bool,
    ) -> usize {
        let index = self.modules.len();
        let module = match self.session {
            Some(session) if !imported => session.start(),
            _ => Module {
                exported: imported,
                ..Module::default()
            },
        };
        self.modules.push(module);
        let outer = std::mem::replace(&mut self.module, index);
        let open_includes = std::mem::take(&mut self.open_includes);
        let mut body = Body::default();
        self.resolve(&program.body, &mut body, Where::MODULE);
        let proto = self.new_proto(
            program.span,
            Arity {
                required: 0,
                most: Some(0),
            },
        );
        self.compile_top(program, body, proto, name);
        if imported {
            self.initial_runs.push(proto);
        } else {
            self.main = proto;
        }
        self.module = outer;
        self.open_includes = open_includes;
        index
    }

    /// The shared variable `name` of the current module, made when it is new.
    pub(crate) fn share_global(&mut self, name: &str) -> u32 {
        if let Some(index) = self.module_mut().variables.get(name) {
            return *index;
        }
        let index = match self.host_variables.get(name) {
            Some(index) => *index,
            None => self.new_global(name),
        };
        self.module_mut().variables.insert(name.into(), index);
        index
    }

    /// Declares a top-level function of the current module.
    pub(crate) fn declare_function(&mut self, name: &Name, named: Named) {
        let named = self.session_named(name, named);
        let module = self.module_mut();
        module.functions.insert(name.text.clone(), named);
        module.places.insert(name.text.clone(), name.span);
    }

    /// In a session functions and classes go to globals, so that they can be defined anew.
    fn session_named(&mut self, name: &Name, named: Named) -> Named {
        if self.session.is_none() {
            return named;
        }
        let (hoist, class) = match &named {
            Named::User(proto) => (Hoist::Function(*proto), None),
            Named::Class(info) => (Hoist::Class(info.index), Some(Rc::clone(info))),
            _ => return named,
        };
        let arity = self.arity(&named);
        let global = match self.module_mut().functions.get(&name.text) {
            Some(Named::Shared { global, .. }) => *global,
            _ => self.new_global(&name.text),
        };
        self.hoist(hoist, global);
        Named::Shared {
            global,
            arity,
            class,
        }
    }

    /// Lets the module's top level put a function or class into a global before everything else.
    pub(crate) fn hoist(&mut self, hoist: Hoist, global: u32) {
        self.hoisted
            .entry(self.module)
            .or_default()
            .push((hoist, global));
    }

    /// Whether a name may be declared again: in a session, functions may.
    pub(crate) fn may_redefine(&self, before: &Named) -> bool {
        self.session.is_some() && matches!(before, Named::Shared { .. })
    }

    pub(crate) fn duplicate(&mut self, name: &Name, _before: &Named) {
        let message = format!("`{}` is defined twice", name.text);
        let first = self.module_mut().places.get(&name.text).copied();
        let mut diagnostic = crate::Diagnostic::error(name.span, message);
        if let Some(first) = first {
            diagnostic = diagnostic.also(first, "the first definition is here");
        }
        self.report(diagnostic);
    }

    /// A function or class by name: own functions first, built-ins last.
    pub(crate) fn lookup(&self, name: &str) -> Option<Named> {
        for scope in self.scopes.iter().rev() {
            if let Some(named) = scope.get(name) {
                return Some(named.clone());
            }
        }
        if let Some(named) = self.modules[self.module].functions.get(name) {
            return Some(named.clone());
        }
        self.builtins.lookup(name).map(Named::Builtin)
    }

    /// All names that [`Compiler::lookup`] finds.
    pub(crate) fn known_names(&self) -> Vec<&str> {
        let own = self
            .scopes
            .iter()
            .flat_map(|scope| scope.keys())
            .chain(self.modules[self.module].functions.keys());
        own.map(|name| &**name)
            .chain(self.builtins.names())
            .collect()
    }

    /// The signature that a call of `named` must fit.
    pub(crate) fn arity(&self, named: &Named) -> Arity {
        match named {
            Named::User(proto) => self.arities[*proto as usize],
            Named::Shared { arity, .. } => *arity,
            Named::Class(info) => info.arity,
            Named::Builtin(builtin) => self.builtin_arity(*builtin),
            Named::BuiltinStatic(index) => {
                let signature = self.builtins.function_signature(*index);
                Arity {
                    required: signature.required(),
                    most: signature.most(),
                }
            }
        }
    }

    fn builtin_arity(&self, builtin: Builtin) -> Arity {
        let signature = self.builtins.signature(builtin);
        Arity {
            required: signature.required(),
            most: signature.most(),
        }
    }
}

/// Most bytes of text that one program may include, repeated includes counted each time.
const MAX_INCLUDED: usize = 64 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_below_the_root() {
        for (written, from, expected) in [
            ("a.hsl", "x/main.hsl", Some("a.hsl")),
            ("file:a/b", "", Some("a/b")),
            ("file://a/b", "", Some("a/b")),
            ("./b", "x/y.hsl", Some("x/b")),
            ("../b", "x/y.hsl", Some("b")),
            ("../../b", "x/y.hsl", None),
            ("a/../../b", "", None),
            ("/etc/x", "", Some("etc/x")),
            ("1", "", Some("1")),
            ("", "", None),
        ] {
            assert_eq!(
                resolve_path(written, from).as_deref(),
                expected,
                "{written} in {from}"
            );
        }
    }
}
