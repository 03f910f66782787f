//! What the grammar cannot say: where statements may stand, and what must not occur twice.

use crate::ast::{
    Arg, Block, Case, Chain, Element, Expr, ExprKind, Function, ImportWhat, LinkKind, Member,
    MemberKind, ParamKind, Pattern, Postfix, Program, Stmt, StmtKind, Target, TargetKind,
};
use crate::diagnostic::Diagnostic;
use crate::span::Span;
use std::collections::HashMap;

/// Checks a program and marks its generator functions. Of `included` text nobody knows here what stands around it.
pub(crate) fn check(program: &mut Program, included: bool) -> Vec<Diagnostic> {
    let mut checker = Checker {
        errors: Vec::new(),
        place: Place {
            included,
            ..Place::top()
        },
    };
    for stmt in &mut program.body {
        checker.stmt(stmt);
    }
    checker.errors
}

/// Where a statement stands.
#[derive(Clone, Copy)]
struct Place {
    /// Directly in the file, not in a block or a body.
    top: bool,
    in_function: bool,
    in_loop: bool,
    in_switch: bool,
    in_barrier: bool,
    /// In an included text outside its functions: what is around it is known only where it is included.
    included: bool,
    /// Inside a region that could not be read, where nothing is known about the place.
    unknown: bool,
    /// Whether a `yield` was seen in the function.
    yields: bool,
}

impl Place {
    const fn top() -> Self {
        Self {
            top: true,
            in_function: false,
            in_loop: false,
            in_switch: false,
            in_barrier: false,
            included: false,
            unknown: false,
            yields: false,
        }
    }

    const fn function() -> Self {
        Self {
            top: false,
            in_function: true,
            ..Self::top()
        }
    }
}

struct Checker {
    errors: Vec<Diagnostic>,
    place: Place,
}

impl Checker {
    fn error(&mut self, span: Span, message: &str, hint: &str) {
        if !self.place.unknown {
            self.errors
                .push(Diagnostic::error(span, message).hint(hint));
        }
    }

    /// Runs `body` at another place of the same function.
    fn within(&mut self, change: impl FnOnce(&mut Place), body: impl FnOnce(&mut Self)) {
        let outer = self.place;
        self.place.top = false;
        change(&mut self.place);
        body(self);
        self.place = Place {
            yields: self.place.yields,
            ..outer
        };
    }

    fn stmts(&mut self, stmts: &mut [Stmt]) {
        for stmt in stmts {
            self.stmt(stmt);
        }
    }

    fn block(&mut self, block: &mut Block) {
        self.within(|_| {}, |this| this.stmts(&mut block.stmts));
    }

    fn body(&mut self, body: &mut Stmt) {
        self.within(|_| {}, |this| this.stmt(body));
    }

    fn loop_body(&mut self, body: &mut Stmt) {
        self.within(|place| place.in_loop = true, |this| this.stmt(body));
    }

    fn stmt(&mut self, stmt: &mut Stmt) {
        let span = stmt.span;
        match &mut stmt.kind {
            StmtKind::Empty | StmtKind::Return(None) | StmtKind::Include { .. } => {}
            StmtKind::Expr(expr)
            | StmtKind::Echo(expr)
            | StmtKind::Return(Some(expr))
            | StmtKind::Throw(expr) => self.expr(expr),
            StmtKind::Break
                if !self.place.in_loop && !self.place.in_switch && !self.place.included =>
            {
                self.error(
                    span,
                    "`break` outside a loop or `switch`",
                    "to leave a function use `return`",
                );
            }
            StmtKind::Continue if !self.place.in_loop && !self.place.included => {
                self.error(
                    span,
                    "`continue` outside a loop",
                    "to leave a function use `return`, a `switch` `break`",
                );
            }
            StmtKind::Break | StmtKind::Continue => {}
            StmtKind::Global(_) => {
                if !self.place.in_function && !self.place.included {
                    self.error(
                        span,
                        "`global` outside a function",
                        "here the variables are global already; remove the statement",
                    );
                }
            }
            StmtKind::Yield(node) => {
                if !self.place.in_function && !self.place.included {
                    self.error(
                        span,
                        "`yield` outside a function",
                        "only a function can produce values; put the code into one",
                    );
                } else if self.place.in_barrier {
                    self.error(
                        span,
                        "`yield` in a `barrier` block",
                        "nobody knows how long the consumer waits; leave the block first",
                    );
                }
                self.place.yields = true;
                node.key.iter_mut().for_each(|key| self.expr(key));
                self.expr(&mut node.value);
            }
            StmtKind::Import(import) => {
                if !self.place.top {
                    self.error(
                        span,
                        "`import` can stand only at the top level",
                        "move it out of the block or function",
                    );
                }
                if let ImportWhat::Data {
                    options: Some(options),
                    ..
                } = &mut import.what
                {
                    self.elements(options);
                }
            }
            StmtKind::Block(block) => self.block(block),
            StmtKind::If { arms, otherwise } => {
                for arm in arms {
                    self.expr(&mut arm.condition);
                    self.body(&mut arm.body);
                }
                otherwise.iter_mut().for_each(|body| self.body(body));
            }
            StmtKind::While(node) => {
                self.expr(&mut node.condition);
                self.loop_body(&mut node.body);
            }
            StmtKind::Forever(body) => self.loop_body(body),
            StmtKind::For(node) => {
                node.init
                    .iter_mut()
                    .chain(&mut node.condition)
                    .chain(&mut node.step)
                    .for_each(|expr| self.expr(expr));
                self.loop_body(&mut node.body);
            }
            StmtKind::ForEach(node) => {
                self.expr(&mut node.subject);
                node.key.iter_mut().for_each(|key| self.target(key));
                self.target(&mut node.value);
                self.loop_body(&mut node.body);
            }
            StmtKind::Switch(node) => {
                self.expr(&mut node.subject);
                self.within(
                    |place| place.in_switch = true,
                    |this| node.cases.iter_mut().for_each(|case| this.case(case)),
                );
            }
            StmtKind::Try(node) => {
                self.block(&mut node.body);
                self.block(&mut node.handler);
            }
            StmtKind::Barrier(node) => {
                self.expr(&mut node.name);
                self.within(
                    |place| place.in_barrier = true,
                    |this| this.stmts(&mut node.body.stmts),
                );
            }
            StmtKind::Function(function) => self.function(function),
            StmtKind::Class(class) => {
                if !self.place.top {
                    let span = class.name.span;
                    self.error(
                        span,
                        "a class can be declared only at the top level",
                        "move it out of the block or function",
                    );
                }
                self.members(&mut class.members);
            }
            // Debuggers put it before any statement, so it changes nothing.
            StmtKind::Debug(node) => self.stmt(&mut node.body),
            StmtKind::Error(blocks) => {
                self.within(
                    |place| place.unknown = true,
                    |this| blocks.iter_mut().for_each(|block| this.block(block)),
                );
            }
        }
    }

    fn case(&mut self, case: &mut Case) {
        case.value.iter_mut().for_each(|value| self.expr(value));
        self.stmts(&mut case.body);
    }

    fn members(&mut self, members: &mut [Member]) {
        let mut seen: HashMap<Box<str>, Span> = HashMap::new();
        for member in members {
            let name = match &member.kind {
                MemberKind::Constructor(function) => Some(("constructor".into(), function.keyword)),
                MemberKind::Variable { variable, .. } => {
                    Some((variable.name.clone(), variable.span))
                }
                MemberKind::Method { function, .. } => function
                    .name
                    .as_ref()
                    .map(|name| (name.text.clone(), name.span)),
                MemberKind::Error(_) => None,
            };
            if let Some((name, span)) = name {
                if let Some(first) = seen.get(&name) {
                    let message = format!("the class has two members named `{name}`");
                    self.errors.push(
                        Diagnostic::error(span, message)
                            .also(*first, "the first is here")
                            .hint("functions and variables share one set of names; rename or remove one"),
                    );
                } else {
                    seen.insert(name, span);
                }
            }
            match &mut member.kind {
                MemberKind::Constructor(function) | MemberKind::Method { function, .. } => {
                    for param in &function.params {
                        if *param.variable.name == *"this" {
                            let message = "`$this` is the object and cannot be a parameter";
                            self.errors
                                .push(Diagnostic::error(param.variable.span, message));
                        }
                    }
                    self.function(function)
                }
                MemberKind::Variable { init, .. } => {
                    init.iter_mut().for_each(|init| self.expr(init))
                }
                MemberKind::Error(blocks) => {
                    self.within(
                        |place| place.unknown = true,
                        |this| blocks.iter_mut().for_each(|block| this.block(block)),
                    );
                }
            }
        }
    }

    fn function(&mut self, function: &mut Function) {
        self.params(function);
        let outer = std::mem::replace(&mut self.place, Place::function());
        for param in &mut function.params {
            if let ParamKind::Default(value) = &mut param.kind {
                self.expr(value);
            }
        }
        self.stmts(&mut function.body.stmts);
        function.generator = self.place.yields;
        self.place = outer;
    }

    fn params(&mut self, function: &Function) {
        let mut seen: HashMap<&str, Span> = HashMap::new();
        let mut default: Option<Span> = None;
        let mut rest: Option<Span> = None;
        for param in &function.params {
            let name = &*param.variable.name;
            if let Some(first) = seen.insert(name, param.variable.span) {
                let message = format!("two parameters are named `${name}`");
                self.errors.push(
                    Diagnostic::error(param.variable.span, message)
                        .also(first, "the first is here"),
                );
            }
            if let Some(rest) = rest {
                let error = Diagnostic::error(rest, "the rest parameter must be the last")
                    .also(param.span, "this one follows it")
                    .hint("it takes all remaining arguments; move it to the end");
                self.errors.push(error);
                break;
            }
            match (&param.kind, default) {
                (ParamKind::Required, Some(default)) => {
                    let error = Diagnostic::error(
                        param.span,
                        "a parameter without default value follows one that has one",
                    )
                    .also(default, "this one has a default value")
                    .hint("required parameters come first");
                    self.errors.push(error);
                }
                (ParamKind::Default(_), None) => default = Some(param.span),
                (ParamKind::Rest, _) => rest = Some(param.span),
                _ => {}
            }
        }
        let mut captured: HashMap<&str, Span> = HashMap::new();
        for capture in &function.captures {
            if let Some(first) = captured.insert(&capture.name, capture.span) {
                let message = format!("`${}` is captured twice", capture.name);
                self.errors.push(
                    Diagnostic::error(capture.span, message).also(first, "the first is here"),
                );
            }
            if let Some(param) = seen.get(&*capture.name) {
                let message = format!(
                    "`${}` is a parameter and cannot be captured too",
                    capture.name
                );
                self.errors.push(
                    Diagnostic::error(capture.span, message).also(*param, "the parameter is here"),
                );
            }
        }
    }

    // ---- Expressions, for the functions in them --------------------------------------------------

    fn elements(&mut self, elements: &mut [Element]) {
        for element in elements {
            match element {
                Element::Value(value) => self.expr(value),
                Element::Spread(spread) => self.expr(&mut spread.value),
                Element::Pair(pair) => {
                    self.expr(&mut pair.key);
                    self.expr(&mut pair.value);
                }
            }
        }
    }

    fn args(&mut self, args: &mut [Arg]) {
        args.iter_mut().for_each(|arg| self.expr(&mut arg.value));
    }

    fn chain<Op>(&mut self, chain: &mut Chain<Op>) {
        self.expr(&mut chain.first);
        chain
            .rest
            .iter_mut()
            .for_each(|link| self.expr(&mut link.operand));
    }

    fn postfix(&mut self, node: &mut Postfix, target: bool) {
        self.expr(&mut node.base);
        for link in &mut node.links {
            match &mut link.kind {
                LinkKind::Append if !target => {
                    self.error(
                        link.span,
                        "`[]` cannot be read",
                        "it appends, on the left of `=` only; to read write an index",
                    );
                }
                LinkKind::Append | LinkKind::Property(_) => {}
                LinkKind::Index(index) => self.expr(index),
                LinkKind::Slice(slice) => {
                    slice
                        .first
                        .iter_mut()
                        .chain(&mut slice.last)
                        .chain(&mut slice.step)
                        .for_each(|part| self.expr(part));
                }
                LinkKind::Call(args) => self.args(args),
            }
        }
    }

    fn target(&mut self, target: &mut Target) {
        match &mut target.kind {
            TargetKind::Variable(_) | TargetKind::Static(_) | TargetKind::Error => {}
            TargetKind::Place(place) => self.postfix(place, true),
            TargetKind::Pattern(pattern) => self.pattern(pattern),
        }
    }

    fn pattern(&mut self, pattern: &mut Pattern) {
        for entry in &mut pattern.entries {
            entry
                .key
                .iter_mut()
                .chain(&mut entry.default)
                .for_each(|expr| self.expr(expr));
            self.target(&mut entry.target);
        }
        pattern.rest.iter_mut().for_each(|rest| self.target(rest));
    }

    fn expr(&mut self, expr: &mut Expr) {
        match &mut expr.kind {
            ExprKind::None
            | ExprKind::Bool(_)
            | ExprKind::Number(_)
            | ExprKind::Str(_)
            | ExprKind::Template(_)
            | ExprKind::Regex(_)
            | ExprKind::Variable(_)
            | ExprKind::Name(_)
            | ExprKind::Builtin(_)
            | ExprKind::Static(_)
            | ExprKind::Error => {}
            ExprKind::Array(list) => self.elements(list),
            ExprKind::Function(function) => self.function(function),
            ExprKind::Cache(node) => {
                self.elements(&mut node.options);
                self.args(&mut node.args);
            }
            ExprKind::Match(node) => {
                self.expr(&mut node.subject);
                for arm in &mut node.arms {
                    arm.patterns
                        .iter_mut()
                        .for_each(|pattern| self.expr(pattern));
                    self.expr(&mut arm.value);
                }
            }
            ExprKind::Isset(target) | ExprKind::Unset(target) => self.target(target),
            ExprKind::Unary(node) => self.expr(&mut node.operand),
            ExprKind::Step(node) => self.target(&mut node.target),
            ExprKind::Binary(chain) => self.chain(chain),
            ExprKind::Logic(chain) => self.chain(chain),
            ExprKind::Coalesce(chain) => self.chain(chain),
            ExprKind::Ternary(node) => {
                for arm in &mut node.arms {
                    self.expr(&mut arm.condition);
                    arm.then.iter_mut().for_each(|then| self.expr(then));
                }
                self.expr(&mut node.otherwise);
            }
            ExprKind::Assign(node) => {
                self.target(&mut node.target);
                self.expr(&mut node.value);
            }
            ExprKind::Postfix(node) => self.postfix(node, false),
        }
    }
}
