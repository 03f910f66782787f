//! Warnings (language.md 13.6): found on the way through the two passes, never in the way of a program.

use angarium_syntax::ast::{BinaryOp, Expr, ExprKind, Name, Stmt, StmtKind};

use crate::Diagnostic;
use crate::bytecode::Const;
use crate::compile::Compiler;
use crate::fold::fold;
use crate::resolve::Body;

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
            }
            warnings.push(warning);
        }
        warnings.into_iter().for_each(|warning| self.warn(warning));
    }

    /// A statement that computes something and drops it.
    pub(crate) fn warn_no_effect(&mut self, expr: &Expr) {
        if self.session.is_none() && has_no_effect(expr) {
            self.warn(Diagnostic::warning(
                expr.span,
                "this statement has no effect",
            ));
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
    pub(crate) fn warn_operands(
        &mut self,
        op: BinaryOp,
        left: &Expr,
        right: &Expr,
        span: crate::Span,
    ) {
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

fn is_number(value: &Const) -> bool {
    matches!(value, Const::Number(_) | Const::Bool(_) | Const::None)
}

/// Whether evaluating `expr` can be noticed at most by an Exception.
fn has_no_effect(expr: &Expr) -> bool {
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
        | ExprKind::Isset(_) => true,
        ExprKind::Unary { operand, .. } => has_no_effect(operand),
        ExprKind::Binary(chain) => {
            has_no_effect(&chain.first) && chain.rest.iter().all(|l| has_no_effect(&l.operand))
        }
        _ => false,
    }
}
