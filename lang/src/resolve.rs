//! The first pass over a body: which variables it has, which of them are shared, which functions it declares, and
//! what its `include` statements bring in.
//!
//! A body is a module's top level or a function. The pass descends into nested functions as well, because a `global`
//! in any of them makes a variable of the top level a shared one. The second pass ([`crate::compile`]) walks the same
//! tree and asks [`Body`] what was found at a node, by the node's address: included trees are kept in the body, so
//! no node moves or goes away between the passes.

use std::collections::VecDeque;
use std::rc::Rc;

use angarium_syntax::ast::{
    self, Arg, Block, Element, Expr, ExprKind, ImportWhat, LinkKind, ParamKind, Stmt, StmtKind,
    Target, TargetKind, TemplatePart, Variable,
};

use crate::Span;
use crate::compile::{Arity, Compiler, Named, Role};
use crate::hash::{HashMap, IndexMap};

/// How a body uses a variable.
#[derive(Clone, Debug, Default)]
pub(crate) struct VarUse {
    /// A closure captures it or `global` binds it: it lives in a cell.
    pub shared: bool,
    /// `unset` may make it undefined again.
    pub unset: bool,
    /// Something assigns it.
    pub assigned: bool,
    /// First place where it is assigned by name.
    pub assigned_at: Option<Span>,
    /// First place where it is read without `isset`, `??` or the like.
    pub read: Option<Span>,
}

/// What an `include` statement brings in: nothing when it failed, or was `include_once` for the second time.
pub(crate) type Included = Option<Rc<ast::Program>>;

/// What the first pass found in a body.
#[derive(Default)]
pub(crate) struct Body {
    /// Variables in the order of their first appearance.
    pub vars: IndexMap<Box<str>, VarUse>,
    /// Functions declared here, blocks included.
    pub functions: HashMap<Box<str>, Named>,
    /// Whether a `yield` stands in it, perhaps in an included text: it is a generator.
    pub yields: bool,
    /// Includes by the address of their path.
    includes: HashMap<usize, VecDeque<Included>>,
    /// Nested functions by the address of their node.
    nested: HashMap<usize, (u32, Option<Box<Body>>)>,
}

impl Body {
    /// What the `include` with this path brings in here.
    pub fn include(&mut self, path: &ast::StrLit) -> Included {
        let queue = self.includes.get_mut(&address(path))?;
        if queue.len() > 1 {
            queue.pop_front()?
        } else {
            queue.front()?.clone()
        }
    }

    /// What the next `include` with this path brings in, without going on to the one after it.
    pub fn peek_include(&self, path: &ast::StrLit) -> Included {
        self.includes.get(&address(path))?.front()?.clone()
    }

    /// The number of a nested function, and its body the first time.
    pub fn function(&mut self, function: &ast::Function) -> Option<(u32, Option<Box<Body>>)> {
        let (index, body) = self.nested.get_mut(&address(function))?;
        Some((*index, body.take()))
    }

    fn var(&mut self, name: &str) -> &mut VarUse {
        let index = match self.vars.get_index_of(name) {
            Some(index) => index,
            None => self.vars.insert_full(name.into(), VarUse::default()).0,
        };
        &mut self.vars[index]
    }

    fn read(&mut self, name: &str, span: Span) {
        self.var(name).read.get_or_insert(span);
    }

    fn assign(&mut self, name: &str, span: Span) {
        let var = self.var(name);
        var.assigned = true;
        var.assigned_at.get_or_insert(span);
    }
}

fn address<T>(node: &T) -> usize {
    std::ptr::from_ref(node).addr()
}

/// Where the walk is.
#[derive(Clone, Copy)]
pub(crate) struct Where {
    /// At the top level of a module, outside blocks: imports may stand here.
    pub open: bool,
    /// At the top level of a module, perhaps in a block.
    pub top: bool,
}

impl Where {
    /// Where the statements of a module start.
    pub const MODULE: Where = Where {
        open: true,
        top: true,
    };
    const FUNCTION: Where = Where {
        open: false,
        top: false,
    };

    fn inside(self) -> Where {
        Where {
            open: false,
            ..self
        }
    }
}

impl Compiler<'_> {
    /// Walks the statements of `body`'s module or function.
    pub(crate) fn resolve(&mut self, stmts: &[Stmt], body: &mut Body, at: Where) {
        for stmt in stmts {
            self.resolve_stmt(stmt, body, at);
        }
    }

    fn resolve_stmt(&mut self, stmt: &Stmt, body: &mut Body, at: Where) {
        match &stmt.kind {
            StmtKind::Empty | StmtKind::Return(None) | StmtKind::Break | StmtKind::Continue => {}
            StmtKind::Expr(e)
            | StmtKind::Echo(e)
            | StmtKind::Return(Some(e))
            | StmtKind::Throw(e) => {
                self.resolve_expr(e, body);
            }
            StmtKind::Global(variables) => {
                if at.top {
                    self.misplaced(
                        stmt.span,
                        "`global` outside a function",
                        "here the variables are global already; remove the statement",
                    );
                }
                for variable in variables {
                    let name = &*variable.name;
                    let var = body.var(name);
                    var.shared = true;
                    var.assigned = true;
                    self.share_global(name);
                }
            }
            StmtKind::Yield(node) => {
                if at.top {
                    self.misplaced(
                        stmt.span,
                        "`yield` outside a function",
                        "only a function can produce values; put the code into one",
                    );
                }
                body.yields = true;
                node.key
                    .iter()
                    .chain([&node.value])
                    .for_each(|e| self.resolve_expr(e, body));
            }
            StmtKind::Include { once, path } => self.resolve_include(*once, path, body, at),
            StmtKind::Import(import) => {
                if !at.open {
                    let hint = Some("move it out of the block or function".to_owned());
                    self.error(stmt.span, "`import` can stand only at the top level", hint);
                } else {
                    self.import(import);
                }
                if let ImportWhat::Data { variable, .. } = &import.what {
                    body.assign(&variable.name, variable.span);
                }
            }
            StmtKind::Block(block) => self.resolve_block(block, body, at),
            StmtKind::If { arms, otherwise } => {
                for arm in arms {
                    self.resolve_expr(&arm.condition, body);
                    self.resolve_stmt(&arm.body, body, at.inside());
                }
                if let Some(otherwise) = otherwise {
                    self.resolve_stmt(otherwise, body, at.inside());
                }
            }
            StmtKind::While(node) => {
                self.resolve_expr(&node.condition, body);
                self.resolve_stmt(&node.body, body, at.inside());
            }
            StmtKind::Forever(inner) => self.resolve_stmt(inner, body, at.inside()),
            StmtKind::For(node) => {
                node.init
                    .iter()
                    .chain(&node.condition)
                    .chain(&node.step)
                    .for_each(|e| self.resolve_expr(e, body));
                self.resolve_stmt(&node.body, body, at.inside());
            }
            StmtKind::ForEach(node) => {
                self.resolve_expr(&node.subject, body);
                node.key
                    .iter()
                    .chain([&node.value])
                    .for_each(|t| self.resolve_target(t, body));
                self.resolve_stmt(&node.body, body, at.inside());
            }
            StmtKind::Switch(node) => {
                self.resolve_expr(&node.subject, body);
                for case in &node.cases {
                    case.value.iter().for_each(|e| self.resolve_expr(e, body));
                    self.resolve(&case.body, body, at.inside());
                }
            }
            StmtKind::Try(node) => {
                self.resolve_block(&node.body, body, at);
                body.assign(&node.variable.name, node.variable.span);
                self.resolve_block(&node.handler, body, at);
            }
            StmtKind::Barrier(node) => {
                self.resolve_expr(&node.name, body);
                if let Some(variable) = &node.variable {
                    let var = body.var(&variable.name);
                    var.assigned = true;
                    var.unset = true;
                }
                self.resolve_block(&node.body, body, at);
            }
            StmtKind::Function(function) => self.resolve_declaration(function, body, at),
            StmtKind::Class(class) => self.declare_class(class, body, at.top),
            // It changes nothing, so that debuggers can put it before any statement.
            StmtKind::Debug(node) => self.resolve_stmt(&node.body, body, at),
            StmtKind::Error(blocks) => blocks
                .iter()
                .for_each(|block| self.resolve_block(block, body, at)),
        }
    }

    fn resolve_block(&mut self, block: &Block, body: &mut Body, at: Where) {
        self.resolve(&block.stmts, body, at.inside());
    }

    fn resolve_include(&mut self, once: bool, path: &ast::StrLit, body: &mut Body, at: Where) {
        let program = self.include(once, path);
        body.includes
            .entry(address(path))
            .or_default()
            .push_back(program.clone());
        if let Some(program) = program {
            self.chain.push(path.span);
            self.resolve(&program.body, body, at);
            self.chain.pop();
            self.leave_include();
        }
    }

    fn resolve_declaration(&mut self, function: &ast::Function, body: &mut Body, at: Where) {
        let index = self.resolve_function(function, body, &[], Role::Plain);
        let Some(name) = &function.name else { return };
        self.warn_reserved(name);
        let named = Named::User(index);
        let before = if at.top {
            self.module_mut().functions.get(&name.text)
        } else {
            body.functions.get(&name.text)
        };
        match before.cloned() {
            Some(before) if before != named && !(at.top && self.may_redefine(&before)) => {
                self.duplicate(name, &before);
            }
            _ if at.top => self.declare_function(name, named),
            _ => {
                body.functions.insert(name.text.clone(), named);
            }
        }
    }

    /// Gives a nested function its number and walks its body.
    pub(crate) fn resolve_function(
        &mut self,
        function: &ast::Function,
        body: &mut Body,
        captures: &[Variable],
        role: Role,
    ) -> u32 {
        let key = address(function);
        if let Some((index, _)) = body.nested.get(&key) {
            // The same file included twice in one body: the function is the same one.
            return *index;
        }
        let index = self.new_proto(function.span, Arity::of(function));
        let mut inner = Box::<Body>::default();
        if role.has_this() {
            inner.assign("this", function.span);
        }
        for param in &function.params {
            inner.assign(&param.variable.name, param.variable.span);
            if let ParamKind::Default(value) = &param.kind {
                self.check_constant(value);
                self.resolve_expr(value, &mut inner);
            }
        }
        for capture in captures {
            if inner.vars.contains_key(&capture.name) {
                // The parser has said so.
                continue;
            }
            let var = inner.var(&capture.name);
            var.shared = true;
            var.assigned = true;
            // The outer side: shared from now on, and perhaps assigned by the closure.
            let outer = body.var(&capture.name);
            outer.shared = true;
            outer.assigned = true;
        }
        self.resolve(&function.body.stmts, &mut inner, Where::FUNCTION);
        body.nested.insert(key, (index, Some(inner)));
        index
    }

    pub(crate) fn resolve_expr(&mut self, expr: &Expr, body: &mut Body) {
        match &expr.kind {
            ExprKind::None
            | ExprKind::Bool(_)
            | ExprKind::Number(_)
            | ExprKind::Str(_)
            | ExprKind::Regex(_)
            | ExprKind::Name(_)
            | ExprKind::Builtin(_)
            | ExprKind::Static(_)
            | ExprKind::Error => {}
            ExprKind::Template(parts) => {
                for part in parts {
                    if let TemplatePart::Variable(variable) = part {
                        body.read(&variable.name, variable.span);
                    }
                }
            }
            ExprKind::Array(elements) => self.resolve_elements(elements, body),
            ExprKind::Variable(name) => body.read(name, expr.span),
            ExprKind::Function(function) => {
                self.resolve_function(function, body, &function.captures, Role::Plain);
            }
            ExprKind::Cache(node) => {
                self.resolve_elements(&node.options, body);
                self.resolve_args(&node.args, body);
            }
            ExprKind::Match(node) => {
                self.resolve_expr(&node.subject, body);
                for arm in &node.arms {
                    arm.patterns
                        .iter()
                        .chain([&arm.value])
                        .for_each(|e| self.resolve_expr(e, body));
                }
            }
            ExprKind::Isset(target) => self.resolve_quiet(target, body),
            ExprKind::Unset(target) => {
                self.resolve_quiet(target, body);
                if let TargetKind::Variable(name) = &target.kind {
                    body.var(name).unset = true;
                }
            }
            ExprKind::Unary(node) => self.resolve_expr(&node.operand, body),
            ExprKind::Step(node) => {
                if let TargetKind::Variable(name) = &node.target.kind {
                    body.read(name, node.target.span);
                }
                self.resolve_quiet(&node.target, body);
            }
            ExprKind::Binary(chain) => {
                self.resolve_expr(&chain.first, body);
                chain
                    .rest
                    .iter()
                    .for_each(|link| self.resolve_expr(&link.operand, body));
            }
            ExprKind::Logic(chain) => {
                self.resolve_expr(&chain.first, body);
                chain
                    .rest
                    .iter()
                    .for_each(|link| self.resolve_expr(&link.operand, body));
            }
            ExprKind::Coalesce(chain) => {
                let last = chain.rest.len();
                let operands = std::iter::once(&chain.first)
                    .chain(chain.rest.iter().map(|link| &link.operand));
                for (at, operand) in operands.enumerate() {
                    if at == last {
                        self.resolve_expr(operand, body)
                    } else {
                        self.resolve_coalesced(operand, body)
                    }
                }
            }
            ExprKind::Ternary(node) => {
                for arm in &node.arms {
                    self.resolve_expr(&arm.condition, body);
                    arm.then.iter().for_each(|e| self.resolve_expr(e, body));
                }
                self.resolve_expr(&node.otherwise, body);
            }
            ExprKind::Assign(node) => {
                match (&node.target.kind, node.op) {
                    // It reads the variable, which must be there already.
                    (TargetKind::Variable(name), ast::AssignOp::Compound(_)) => {
                        body.read(name, node.target.span);
                    }
                    _ => self.resolve_target(&node.target, body),
                }
                self.resolve_expr(&node.value, body);
            }
            ExprKind::Postfix(node) => {
                self.resolve_expr(&node.base, body);
                self.resolve_links(&node.links, body);
            }
        }
    }

    /// An operand of `??`: a variable at its start need not exist.
    fn resolve_coalesced(&mut self, expr: &Expr, body: &mut Body) {
        match &expr.kind {
            ExprKind::Variable(name) => {
                body.var(name);
            }
            ExprKind::Postfix(node) if matches!(node.base.kind, ExprKind::Variable(_)) => {
                self.resolve_coalesced(&node.base, body);
                self.resolve_links(&node.links, body);
            }
            _ => self.resolve_expr(expr, body),
        }
    }

    /// The parts of a target of `isset` or `unset`, which may be missing.
    fn resolve_quiet(&mut self, target: &Target, body: &mut Body) {
        match &target.kind {
            TargetKind::Variable(name) => {
                body.var(name);
            }
            TargetKind::Place(place) => {
                self.resolve_coalesced(&place.base, body);
                self.resolve_links(&place.links, body);
            }
            TargetKind::Static(_) | TargetKind::Pattern(_) | TargetKind::Error => {}
        }
    }

    fn resolve_target(&mut self, target: &Target, body: &mut Body) {
        match &target.kind {
            TargetKind::Variable(name) => body.assign(name, target.span),
            TargetKind::Place(place) => {
                // Writing an element creates the variable at the start of the chain.
                match &place.base.kind {
                    ExprKind::Variable(name) => body.assign(name, place.base.span),
                    _ => self.resolve_expr(&place.base, body),
                }
                for link in &place.links {
                    if let LinkKind::Property(name) = &link.kind {
                        self.members.insert(name.text.clone());
                    }
                }
                self.resolve_links(&place.links, body);
            }
            TargetKind::Pattern(pattern) => {
                for entry in &pattern.entries {
                    entry
                        .key
                        .iter()
                        .chain(&entry.default)
                        .for_each(|e| self.resolve_expr(e, body));
                    self.resolve_target(&entry.target, body);
                }
                pattern
                    .rest
                    .iter()
                    .for_each(|target| self.resolve_target(target, body));
            }
            TargetKind::Static(_) | TargetKind::Error => {}
        }
    }

    fn resolve_links(&mut self, links: &[ast::Link], body: &mut Body) {
        for link in links {
            match &link.kind {
                LinkKind::Append | LinkKind::Property(_) => {}
                LinkKind::Index(index) => self.resolve_expr(index, body),
                LinkKind::Slice(slice) => {
                    slice
                        .first
                        .iter()
                        .chain(&slice.last)
                        .chain(&slice.step)
                        .for_each(|e| self.resolve_expr(e, body));
                }
                LinkKind::Call(args) => self.resolve_args(args, body),
            }
        }
    }

    fn resolve_args(&mut self, args: &[Arg], body: &mut Body) {
        args.iter()
            .for_each(|arg| self.resolve_expr(&arg.value, body));
    }

    fn resolve_elements(&mut self, elements: &[Element], body: &mut Body) {
        for element in elements {
            match element {
                Element::Value(value) => self.resolve_expr(value, body),
                Element::Spread(spread) => self.resolve_expr(&spread.value, body),
                Element::Pair(pair) => {
                    self.resolve_expr(&pair.key, body);
                    self.resolve_expr(&pair.value, body);
                }
            }
        }
    }
}
