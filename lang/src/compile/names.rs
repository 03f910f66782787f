//! What names mean: functions, classes, static members; and functions as values.

use std::rc::Rc;

use angarium_syntax::ast::{self, Static, StaticClass, StaticMember};

use crate::builtins::Builtin;
use crate::bytecode::{Const, Op};
use crate::compile::{ClassInfo, Compiler, Named, Role};
use crate::modules::Loading;
use crate::{Diagnostic, Span};

/// Words that are written as calls are.
const LIKE_FUNCTIONS: [&str; 3] = ["array", "isset", "unset"];

/// Words of statements that start like a call: `word (…) statement`.
const HEADERS: [&str; 5] = ["if", "while", "for", "foreach", "switch"];

impl Compiler<'_> {
    /// What the name of a function or class means; an unknown one is reported.
    pub(super) fn named(&mut self, name: &str, span: Span) -> Option<Named> {
        let named = self.lookup(name);
        if named.is_none() && !self.modules[self.module].broken.contains(name) {
            let mut error = Diagnostic::error(span, format!("unknown function `{name}`"));
            if let Some(import) = self.import_that_has(name, span) {
                error = error
                    .also(import, format!("this module has a function `{name}`"))
                    .hint(format!("import it: `import {{ {name} }} from …`"));
            } else {
                error.hint = self.builtins.elsewhere(name).or_else(|| {
                    let headers = HEADERS.iter().filter(|_| self.is_header(span)).copied();
                    let words = LIKE_FUNCTIONS.into_iter().chain(headers);
                    let known = self.known_names().into_iter().chain(words);
                    let near = crate::suggest::nearest(name, known)?;
                    Some(format!("did you mean `{near}`?"))
                });
            }
            self.report(error);
        }
        named
    }

    /// Whether a statement follows the parentheses behind a name, which itself starts one: then it was no call.
    pub(super) fn is_header(&self, name: Span) -> bool {
        let Some(file) = self.sources.file(name.file) else {
            return false;
        };
        let Some((before, after)) = file.text().split_at_checked(name.start as usize) else {
            return false;
        };
        let line = before
            .rsplit(|byte| *byte == b'\n')
            .next()
            .unwrap_or_default();
        let starts = match line.trim_ascii_end().last() {
            Some(byte) => b";{})".contains(byte),
            None => true,
        };
        let mut depth = 0_usize;
        let close = after.iter().position(|byte| {
            match byte {
                b'(' => depth += 1,
                b')' => depth = depth.saturating_sub(1),
                _ => {}
            }
            *byte == b')' && depth == 0
        });
        let next = close.and_then(|close| after.get(close + 1..)?.trim_ascii_start().first());
        starts && next.is_some_and(|byte| byte.is_ascii_alphanumeric() || b"_${".contains(byte))
    }

    /// The import in the same file as `span` whose module has a function of that name.
    pub(super) fn import_that_has(&self, name: &str, span: Span) -> Option<Span> {
        let modules = self.module_files.iter();
        let mut imports: Vec<Span> = modules
            .filter_map(|(path, loading)| match loading {
                Loading::Done(module) => {
                    self.modules.get(*module)?.functions.get(name)?;
                    let source = self.paths.iter().position(|source| source == path)?;
                    self.origins.get(source).copied().flatten()
                }
                Loading::Open | Loading::Failed => None,
            })
            .filter(|import| import.file == span.file)
            .collect();
        imports.sort();
        imports.first().copied()
    }

    /// `builtin name`
    pub(super) fn builtin(&mut self, name: &ast::Name) -> Option<Named> {
        let found = self.builtins.lookup(&name.text);
        if found.is_none() {
            let hint = crate::suggest::nearest(&name.text, self.builtins.names().into_iter());
            let hint = hint.map(|near| format!("did you mean `{near}`?"));
            self.error(
                name.span,
                format!("unknown built-in function `{}`", name.text),
                hint,
            );
        }
        found.map(Named::Builtin)
    }

    /// The class that stands before `::`, if it is one of the script's.
    pub(super) fn class_before(&mut self, class: &StaticClass) -> Option<Rc<ClassInfo>> {
        match class {
            StaticClass::Own(_) => self.class.clone(),
            StaticClass::Name(name) => match self.lookup(&name.text) {
                Some(
                    Named::Class(info)
                    | Named::Shared {
                        class: Some(info), ..
                    },
                ) => Some(info),
                _ => None,
            },
        }
    }

    /// Lets the use of a private member from outside of its class throw.
    pub(super) fn check_private(
        &mut self,
        info: &ClassInfo,
        member: &str,
        private: bool,
        span: Span,
    ) {
        if private && self.f.proto.class != Some(info.index) {
            self.at(span);
            let message = format!("{}::{member} is private", info.name);
            let message = self.constant(Const::Str(message.into_bytes().into()));
            self.emit(Op::Fail, 0, 0, 0, message);
        }
    }

    pub(super) fn unknown_member(
        &mut self,
        span: Span,
        message: String,
        name: &str,
        sigil: &str,
        known: &[Box<str>],
    ) {
        let near = crate::suggest::nearest(name, known.iter().map(|name| &**name));
        let hint = near.map(|near| format!("did you mean `{sigil}{near}`?"));
        self.error(span, message, hint);
    }

    pub(super) fn unknown_class(&mut self, class: &StaticClass) {
        match class {
            StaticClass::Own(own) => self.error(*own, "`static` outside of a class", None),
            StaticClass::Name(name) if self.modules[self.module].broken.contains(&name.text) => {}
            StaticClass::Name(name) if self.lookup(&name.text).is_some() => {
                self.error(name.span, format!("`{}` is not a class", name.text), None);
            }
            StaticClass::Name(name) => {
                let names = self.modules[self.module]
                    .namespaces
                    .keys()
                    .map(|name| &**name);
                let near = crate::suggest::nearest(&name.text, names.chain(self.known_names()));
                let hint = near.map(|near| format!("did you mean `{near}`?"));
                self.error(
                    name.span,
                    format!("unknown class or namespace `{}`", name.text),
                    hint,
                );
            }
        }
    }

    /// `ns::name`, `Class::name`
    pub(super) fn static_named(&mut self, node: &Static, span: Span) -> Option<Named> {
        let StaticMember::Name(member) = &node.member else {
            return None;
        };
        if let StaticClass::Name(class) = &node.class
            && let Some(module) = self.modules[self.module]
                .namespaces
                .get(&class.text)
                .copied()
        {
            let found = self.modules[module].functions.get(&member.text).cloned();
            if found.is_none() {
                let known: Vec<Box<str>> = self.modules[module].functions.keys().cloned().collect();
                let message = format!("the module has no `{}`", member.text);
                self.unknown_member(member.span, message, &member.text, "", &known);
            }
            return found;
        }
        if let Some(info) = self.class_before(&node.class) {
            let Some((named, private)) = info.functions.get(&member.text).cloned() else {
                let known: Vec<Box<str>> = info.functions.keys().cloned().collect();
                let message = format!(
                    "class `{}` has no static function `{}`",
                    info.name, member.text
                );
                self.unknown_member(member.span, message, &member.text, "", &known);
                return None;
            };
            self.check_private(&info, &member.text, private, span);
            return Some(named);
        }
        if let StaticClass::Name(class) = &node.class
            && let Some(Named::Builtin(Builtin::Class(index))) = self.lookup(&class.text)
        {
            let method = self.builtins.static_method(index, &member.text);
            if method.is_none() {
                let message = format!(
                    "class `{}` has no static function `{}`",
                    class.text, member.text
                );
                let known = self.builtins.static_names(index);
                let near = crate::suggest::nearest(&member.text, known.into_iter());
                let hint = near.map(|near| format!("did you mean `{near}`?"));
                self.error(member.span, message, hint);
            }
            return method.map(Named::BuiltinStatic);
        }
        self.unknown_class(&node.class);
        None
    }

    /// Whether a static variable is private to another class, so that `isset` and `??` do not see it.
    pub(super) fn is_hidden(&mut self, node: &Static) -> bool {
        let StaticMember::Variable(variable) = &node.member else {
            return false;
        };
        let own = self.f.proto.class;
        self.class_before(&node.class).is_some_and(|info| {
            own != Some(info.index)
                && info
                    .variables
                    .get(&variable.name)
                    .is_some_and(|found| found.private)
        })
    }

    /// The global behind `ns::$name`, `Class::$name` that is written.
    pub(super) fn static_target(&mut self, node: &Static, span: Span) -> Option<(u32, Box<str>)> {
        let found = self.static_variable(node, span)?;
        if let Some(info) = self.class_before(&node.class)
            && self.f.proto.class != Some(info.index)
            && info
                .variables
                .get(&found.1)
                .is_some_and(|variable| variable.readonly && !variable.private)
        {
            self.at(span);
            let message = format!("{}::${} is read-only", info.name, found.1);
            let message = self.constant(Const::Str(message.into_bytes().into()));
            self.emit(Op::Fail, 0, 0, 0, message);
        }
        Some(found)
    }

    /// The global behind `ns::$name`, `Class::$name`.
    pub(super) fn static_variable(&mut self, node: &Static, span: Span) -> Option<(u32, Box<str>)> {
        let StaticMember::Variable(variable) = &node.member else {
            return None;
        };
        if let StaticClass::Name(name) = &node.class
            && let Some(module) = self.modules[self.module]
                .namespaces
                .get(&name.text)
                .copied()
        {
            let found = self.modules[module].variables.get(&variable.name).copied();
            if found.is_none() {
                let known: Vec<Box<str>> = self.modules[module].variables.keys().cloned().collect();
                let message = format!("the module has no `${}`", variable.name);
                self.unknown_member(variable.span, message, &variable.name, "$", &known);
            }
            return found.map(|global| (global, variable.name.clone()));
        }
        if let Some(info) = self.class_before(&node.class) {
            let Some(found) = info.variables.get(&variable.name).copied() else {
                let known: Vec<Box<str>> = info.variables.keys().cloned().collect();
                let message = format!(
                    "class `{}` has no static variable `${}`",
                    info.name, variable.name
                );
                self.unknown_member(variable.span, message, &variable.name, "$", &known);
                return None;
            };
            self.check_private(&info, &format!("${}", variable.name), found.private, span);
            return Some((found.global, variable.name.clone()));
        }
        self.unknown_class(&node.class);
        None
    }

    pub(super) fn static_value(&mut self, node: &Static, span: Span, dst: u8) {
        if matches!(node.member, StaticMember::Name(_)) {
            if let Some(named) = self.static_named(node, span) {
                self.at(span);
                self.function_value(&named, dst);
            }
        } else if let Some((global, name)) = self.static_variable(node, span) {
            self.at(span);
            let name = self.name(&name);
            let cell = self.temp();
            self.emit(Op::Global, cell, 0, 0, global);
            self.emit(Op::LoadCell, dst, cell, 0, name);
        }
    }

    /// A function or class as a value.
    pub(super) fn function_value(&mut self, named: &Named, dst: u8) {
        let mark = self.mark();
        match named {
            Named::User(proto) => {
                self.emit(Op::LoadFunction, dst, 0, 0, *proto);
            }
            Named::Shared { global, .. } => {
                let name = self.globals[*global as usize].name.clone();
                let name = self.name(&name);
                let cell = self.temp();
                self.emit(Op::Global, cell, 0, 0, *global);
                self.emit(Op::LoadCell, dst, cell, 0, name);
            }
            Named::Builtin(Builtin::Function(index)) | Named::BuiltinStatic(index) => {
                self.emit(Op::LoadNative, dst, 0, 0, *index);
            }
            Named::Builtin(Builtin::Class(index)) => {
                self.emit(Op::LoadClass, dst, 0, 0, *index);
            }
            Named::Class(info) => {
                self.emit(Op::LoadUserClass, dst, 0, 0, info.index);
            }
        }
        self.reset(mark);
    }

    pub(super) fn closure(&mut self, function: &ast::Function, dst: u8) {
        let Some(index) = self.compile_function(function, &function.captures, Role::Plain, &[])
        else {
            return;
        };
        self.at(function.keyword);
        let mut registers = Vec::with_capacity(function.captures.len());
        for capture in &function.captures {
            if let Some(variable) = self.f.variable(&capture.name) {
                registers.push(self.cell(variable));
            }
        }
        if registers.is_empty() {
            // Each evaluation makes a function of its own, captured variables or not.
            let site = self.closure_site(index, Vec::new());
            self.emit(Op::Closure, dst, 0, 0, site);
            return;
        }
        let site = self.closure_site(index, registers);
        self.emit(Op::Closure, dst, 0, 0, site);
    }
}
