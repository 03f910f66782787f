//! Warnings (language.md 13.6): found on the way through the two passes, never in the way of a program.

use angarium_syntax::ast::{Arg, BinaryOp, Element, Expr, ExprKind, Name, Stmt, StmtKind};

use crate::builtins::Builtin;
use crate::bytecode::Const;
use crate::compile::Compiler;
use crate::compile::effects::is_without_effect;
use crate::fold::fold;
use crate::resolve::Body;
use crate::{Diagnostic, Span};

/// Words that editors take for keywords, though the language has no such ones (language.md 1.3).
const RESERVED_BY_EDITORS: [&str; 22] = [
    "this",
    "self",
    "public",
    "protected",
    "struct",
    "clone",
    "final",
    "const",
    "goto",
    "namespace",
    "new",
    "interface",
    "in",
    "extends",
    "print",
    "trait",
    "assert",
    "finally",
    "lambda",
    "pass",
    "destroy",
    "export",
];

impl Compiler<'_> {
    fn warn(&mut self, warning: Diagnostic) {
        self.report(warning);
    }

    /// A function that is called like a word that editors flag.
    pub(crate) fn warn_reserved(&mut self, name: &Name) {
        if RESERVED_BY_EDITORS.contains(&&*name.text) || &*name.text == "use" {
            let message = format!("`{}` looks like a keyword to editors", name.text);
            self.warn(Diagnostic::warning(name.span, message));
        }
    }

    /// Variables that are read and never assigned in their function.
    pub(crate) fn warn_never_assigned(&mut self, body: &Body, top: bool) {
        let mut warnings = Vec::new();
        for (name, var) in &body.vars {
            let Some(span) = var.read else { continue };
            let known = top
                && (self.host_variables.contains_key(name)
                    || self.modules[self.module].variables.contains_key(name)
                    || self.session.is_some());
            if var.assigned || known {
                continue;
            }
            let mut warning =
                Diagnostic::warning(span, format!("${name} is read but never assigned here"));
            let assigned = body
                .vars
                .iter()
                .filter(|(_, var)| var.assigned)
                .map(|(name, _)| &**name);
            let hosts = self.host_variables.keys().map(|name| &**name);
            if !top && self.host_variables.contains_key(name) {
                warning = warning.hint(format!(
                    "write `global ${name};` to use the global variable"
                ));
            } else if let Some(near) = crate::suggest::nearest(name, assigned.chain(hosts)) {
                warning = warning.hint(format!("did you mean `${near}`?"));
                // Perhaps it is the other one that is misspelt.
                let other = body.vars.get(near).filter(|var| var.read.is_none());
                if let Some(at) = other.and_then(|var| var.assigned_at) {
                    warning = warning.also(at, format!("${near} is assigned here and never read"));
                }
            }
            warnings.push(warning);
        }
        warnings.into_iter().for_each(|warning| self.warn(warning));
    }

    /// Options of a built-in that it does not know (stdlib.md G5).
    pub(crate) fn warn_options(&mut self, builtin: Builtin, name: &str, args: &[Arg]) {
        let signature = self.builtins.signature(builtin);
        let position = signature
            .params
            .iter()
            .position(|param| param.name == "options");
        let Some(arg) = position.and_then(|position| args.get(position)) else {
            return;
        };
        let Some(known) = self.builtins.option_names(builtin) else {
            return;
        };
        for (option, span) in option_keys(&arg.value) {
            if !known.contains(&&*option) {
                let warning = unknown_option(&option, span, &format!("{name}()"), &known);
                self.warn(warning);
            }
        }
    }

    /// Takes note of a call of a method; whether there is such a method is known when all classes are.
    pub(crate) fn note_method_call(&mut self, name: &Name, args: &[Arg]) {
        let call = MethodCall {
            name: name.text.clone(),
            span: name.span,
            options: args
                .iter()
                .enumerate()
                .flat_map(|(place, arg)| {
                    let keys = option_keys(&arg.value).into_iter();
                    keys.map(move |(name, span)| (place, name, span))
                })
                .collect(),
            chain: self.chain.clone(),
        };
        self.method_calls.push(call);
    }

    /// Methods that no class has, though one has a similar one, and options that no method of the name takes.
    pub(crate) fn warn_methods(&mut self) {
        let calls = std::mem::take(&mut self.method_calls);
        if self.session.is_some() {
            return;
        }
        let known = self.builtins.methods();
        for call in calls {
            if self.members.contains(&call.name) {
                continue;
            }
            let mut warnings = Vec::new();
            if known.contains(&&*call.name) {
                for (place, option, span) in &call.options {
                    let options = self.builtins.method_options(&call.name, *place);
                    let unknown = options.filter(|options| !options.contains(&&**option));
                    warnings.extend(unknown.map(|options| {
                        unknown_option(option, *span, &format!("{}()", call.name), &options)
                    }));
                }
            } else {
                let own = self.members.iter().map(|name| &**name);
                let near = crate::suggest::nearest(&call.name, known.iter().copied().chain(own));
                warnings.extend(near.map(|near| {
                    Diagnostic::warning(call.span, format!("no class has a method `{}`", call.name))
                        .hint(format!("did you mean `{near}`?"))
                }));
            }
            let chain = std::mem::replace(&mut self.chain, call.chain);
            warnings.into_iter().for_each(|warning| self.warn(warning));
            self.chain = chain;
        }
    }

    /// A statement that computes something and drops it.
    pub(crate) fn warn_no_effect(&mut self, expr: &Expr) {
        if self.session.is_none() && is_without_effect(expr) {
            let mut warning = Diagnostic::warning(expr.span, "this statement has no effect");
            if let ExprKind::Name(name) = &expr.kind {
                warning = warning.hint(format!("to call the function write `{name}()`"));
            }
            self.warn(warning);
        }
    }

    /// A statement that is never reached; the first of a run is enough.
    pub(crate) fn warn_unreachable(&mut self, stmt: &Stmt) {
        if self.unreachable_from_here()
            && !matches!(
                stmt.kind,
                StmtKind::Function(_) | StmtKind::Class(_) | StmtKind::Empty
            )
        {
            self.warn(Diagnostic::warning(
                stmt.span,
                "this statement is never reached",
            ));
            self.mark_reported();
        }
    }

    /// An operator on literals whose types it does not take.
    pub(crate) fn warn_operands(&mut self, op: BinaryOp, left: &Expr, right: &Expr, span: Span) {
        let arithmetic = matches!(
            op,
            BinaryOp::Sub | BinaryOp::Mul | BinaryOp::Div | BinaryOp::Rem | BinaryOp::Pow
        );
        let (Some(left), Some(right)) = (fold(left), fold(right)) else {
            return;
        };
        let array = |value: &Const| matches!(value, Const::Array(_));
        let bad = match op {
            // string % array formats, array * number repeats, array - anything removes.
            BinaryOp::Rem => array(&left) || (array(&right) && !matches!(left, Const::Str(_))),
            BinaryOp::Mul => {
                (array(&left) && !is_number(&right)) || (array(&right) && !is_number(&left))
            }
            BinaryOp::Sub => array(&right) && !array(&left),
            BinaryOp::Less | BinaryOp::Greater | BinaryOp::LessEq | BinaryOp::GreaterEq => {
                array(&left) || array(&right)
            }
            _ => arithmetic && (array(&left) || array(&right)),
        };
        if bad {
            self.warn(Diagnostic::warning(
                span,
                format!("`{}` does not take these operands", op.text()),
            ));
        }
    }
}

/// A call of a method.
pub(crate) struct MethodCall {
    name: Box<str>,
    span: Span,
    /// The string keys of arrays among the arguments, with the places of those.
    options: Vec<(usize, String, Span)>,
    /// The `include` and `import` statements on the way to it.
    chain: Vec<Span>,
}

/// The string keys of an array literal.
fn option_keys(expr: &Expr) -> Vec<(String, Span)> {
    let ExprKind::Array(elements) = &expr.kind else {
        return Vec::new();
    };
    let keys = elements.iter().filter_map(|element| match element {
        Element::Pair(pair) => match &pair.key.kind {
            ExprKind::Str(name) => {
                Some((String::from_utf8_lossy(name).into_owned(), pair.key.span))
            }
            _ => None,
        },
        Element::Value(_) | Element::Spread(_) => None,
    });
    keys.collect()
}

fn unknown_option(option: &str, span: Span, callee: &str, known: &[&str]) -> Diagnostic {
    let warning = Diagnostic::warning(span, format!("{callee} has no option `{option}`"));
    match crate::suggest::nearest(option, known.iter().copied()) {
        Some(near) => warning.hint(format!("did you mean `{near}`?")),
        None => warning,
    }
}

fn is_number(value: &Const) -> bool {
    matches!(value, Const::Number(_) | Const::Bool(_) | Const::None)
}
