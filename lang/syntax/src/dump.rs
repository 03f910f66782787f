//! The tree as a compact S-expression without spans: for snapshots and for comparing trees.

use crate::ast::{
    Arg, Block, CacheCallee, Chain, Element, Expr, ExprKind, Function, ImportName, ImportWhat,
    Link, LinkKind, MemberKind, Modifiers, ParamKind, Postfix, Program, Static, StaticClass,
    StaticMember, Stmt, StmtKind, Target, TargetKind, TemplatePart, Variable,
};

/// Dumps a program, one statement of the top level a line.
#[must_use]
pub fn dump(program: &Program) -> String {
    let mut dumper = Dumper { out: String::new() };
    for stmt in &program.body {
        dumper.stmt(stmt);
        dumper.out.push('\n');
    }
    dumper.out
}

/// Dumps one expression.
#[must_use]
pub fn dump_expr(expr: &Expr) -> String {
    let mut dumper = Dumper { out: String::new() };
    dumper.expr(expr);
    dumper.out
}

struct Dumper {
    out: String,
}

impl Dumper {
    /// Something that starts a new part: a space before it unless a parenthesis opens there.
    fn part(&mut self, text: &str) {
        if !self.out.is_empty() && !self.out.ends_with(['(', '\n']) {
            self.out.push(' ');
        }
        self.out.push_str(text);
    }

    fn node(&mut self, head: &str, inside: impl FnOnce(&mut Self)) {
        self.part("(");
        self.out.push_str(head);
        inside(self);
        self.out.push(')');
    }

    fn variable(&mut self, variable: &Variable) {
        self.part("$");
        self.out.push_str(&variable.name);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        let text = bytes.escape_ascii().to_string();
        self.part(&format!("\"{text}\""));
    }

    fn block(&mut self, block: &Block) {
        self.node("block", |this| {
            block.stmts.iter().for_each(|stmt| this.stmt(stmt))
        });
    }

    fn maybe(&mut self, expr: Option<&Expr>) {
        match expr {
            Some(expr) => self.expr(expr),
            None => self.part("_"),
        }
    }

    fn stmt(&mut self, stmt: &Stmt) {
        match &stmt.kind {
            StmtKind::Empty => self.part("(empty)"),
            StmtKind::Expr(expr) => self.expr(expr),
            StmtKind::Echo(expr) => self.node("echo", |this| this.expr(expr)),
            StmtKind::Return(value) => self.node("return", |this| {
                value.iter().for_each(|value| this.expr(value))
            }),
            StmtKind::Break => self.part("(break)"),
            StmtKind::Continue => self.part("(continue)"),
            StmtKind::Throw(expr) => self.node("throw", |this| this.expr(expr)),
            StmtKind::Global(names) => self.node("global", |this| {
                names.iter().for_each(|name| this.variable(name))
            }),
            StmtKind::Yield(node) => self.node("yield", |this| {
                node.key.iter().for_each(|key| this.expr(key));
                this.expr(&node.value);
            }),
            StmtKind::Include { once, path } => {
                self.node(if *once { "include_once" } else { "include" }, |this| {
                    this.bytes(&path.value)
                });
            }
            StmtKind::Import(import) => self.node("import", |this| {
                match &import.what {
                    ImportWhat::Symbols(symbols) => {
                        for entry in symbols {
                            this.node("symbol", |this| {
                                this.import_name(&entry.symbol);
                                entry.alias.iter().for_each(|alias| this.import_name(alias));
                            });
                        }
                    }
                    ImportWhat::Namespace(name) => this.node("all", |this| this.part(&name.text)),
                    ImportWhat::Data { variable, options } => {
                        this.variable(variable);
                        if let Some(options) = options {
                            this.elements("with", options);
                        }
                    }
                }
                this.bytes(&import.path.value);
            }),
            StmtKind::Block(block) => self.block(block),
            StmtKind::If { arms, otherwise } => self.node("if", |this| {
                for arm in arms {
                    this.expr(&arm.condition);
                    this.stmt(&arm.body);
                }
                otherwise
                    .iter()
                    .for_each(|body| this.node("else", |this| this.stmt(body)));
            }),
            StmtKind::While(node) => self.node("while", |this| {
                this.expr(&node.condition);
                this.stmt(&node.body);
            }),
            StmtKind::Forever(body) => self.node("forever", |this| this.stmt(body)),
            StmtKind::For(node) => self.node("for", |this| {
                this.node("init", |this| {
                    node.init.iter().for_each(|expr| this.expr(expr))
                });
                this.maybe(node.condition.as_ref());
                this.node("step", |this| {
                    node.step.iter().for_each(|expr| this.expr(expr))
                });
                this.stmt(&node.body);
            }),
            StmtKind::ForEach(node) => self.node("foreach", |this| {
                this.expr(&node.subject);
                node.key.iter().for_each(|key| this.target(key));
                this.target(&node.value);
                this.stmt(&node.body);
            }),
            StmtKind::Switch(node) => self.node("switch", |this| {
                this.expr(&node.subject);
                for case in &node.cases {
                    this.node(
                        if case.value.is_some() {
                            "case"
                        } else {
                            "default"
                        },
                        |this| {
                            case.value.iter().for_each(|value| this.expr(value));
                            case.body.iter().for_each(|stmt| this.stmt(stmt));
                        },
                    );
                }
            }),
            StmtKind::Try(node) => self.node("try", |this| {
                this.block(&node.body);
                this.variable(&node.variable);
                this.block(&node.handler);
            }),
            StmtKind::Barrier(node) => self.node("barrier", |this| {
                this.expr(&node.name);
                node.variable
                    .iter()
                    .for_each(|variable| this.variable(variable));
                this.block(&node.body);
            }),
            StmtKind::Function(function) => self.function("function", function),
            StmtKind::Class(class) => self.node("class", |this| {
                this.part(&class.name.text);
                class
                    .members
                    .iter()
                    .for_each(|member| this.member(&member.kind));
            }),
            StmtKind::Debug(node) => self.node("debug", |this| {
                this.bytes(&node.session.value);
                this.bytes(&node.point.value);
                this.stmt(&node.body);
            }),
            StmtKind::Error(blocks) => self.node("error", |this| {
                blocks.iter().for_each(|block| this.block(block))
            }),
        }
    }

    fn import_name(&mut self, name: &ImportName) {
        match name {
            ImportName::Name(name) => self.part(&name.text),
            ImportName::Variable(variable) => self.variable(variable),
        }
    }

    fn function(&mut self, head: &str, function: &Function) {
        self.node(head, |this| {
            if function.generator {
                this.part("generator");
            }
            if let Some(name) = &function.name {
                this.part(&name.text);
            }
            this.node("params", |this| {
                for param in &function.params {
                    match &param.kind {
                        ParamKind::Required => this.variable(&param.variable),
                        ParamKind::Default(value) => this.node("=", |this| {
                            this.variable(&param.variable);
                            this.expr(value);
                        }),
                        ParamKind::Rest => this.node("...", |this| this.variable(&param.variable)),
                    }
                }
            });
            if !function.captures.is_empty() {
                this.node("closure", |this| {
                    function
                        .captures
                        .iter()
                        .for_each(|name| this.variable(name))
                });
            }
            this.block(&function.body);
        });
    }

    fn member(&mut self, member: &MemberKind) {
        match member {
            MemberKind::Constructor(function) => self.function("constructor", function),
            MemberKind::Variable {
                modifiers,
                variable,
                init,
            } => self.node("var", |this| {
                this.modifiers(modifiers);
                this.variable(variable);
                init.iter().for_each(|init| this.expr(init));
            }),
            MemberKind::Method {
                modifiers,
                function,
            } => self.node("method", |this| {
                this.modifiers(modifiers);
                this.function("function", function);
            }),
            MemberKind::Error(blocks) => self.node("error", |this| {
                blocks.iter().for_each(|block| this.block(block))
            }),
        }
    }

    fn modifiers(&mut self, modifiers: &Modifiers) {
        let words = [
            ("private", modifiers.private),
            ("readonly", modifiers.readonly),
            ("static", modifiers.statik),
        ];
        for (word, place) in words {
            if place.is_some() {
                self.part(word);
            }
        }
    }

    fn elements(&mut self, head: &str, elements: &[Element]) {
        self.node(head, |this| {
            for element in elements {
                match element {
                    Element::Value(value) => this.expr(value),
                    Element::Pair(pair) => this.node("=>", |this| {
                        this.expr(&pair.key);
                        this.expr(&pair.value);
                    }),
                    Element::Spread(spread) => {
                        this.node("...", |this| this.expr(&spread.value));
                    }
                }
            }
        });
    }

    fn args(&mut self, args: &[Arg]) {
        for arg in args {
            if arg.spread.is_some() {
                self.node("...", |this| this.expr(&arg.value));
            } else {
                self.expr(&arg.value);
            }
        }
    }

    fn chain<Op: Copy>(&mut self, chain: &Chain<Op>, text: impl Fn(Op) -> &'static str) {
        self.part("(");
        self.expr(&chain.first);
        for link in &chain.rest {
            self.part(text(link.op));
            self.expr(&link.operand);
        }
        self.out.push(')');
    }

    fn class(&mut self, class: &StaticClass) {
        match class {
            StaticClass::Name(name) => self.part(&name.text),
            StaticClass::Own(_) => self.part("static"),
        }
    }

    fn statik(&mut self, node: &Static) {
        self.class(&node.class);
        self.out.push_str("::");
        match &node.member {
            StaticMember::Name(name) => self.out.push_str(&name.text),
            StaticMember::Variable(variable) => {
                self.out.push('$');
                self.out.push_str(&variable.name);
            }
        }
    }

    fn postfix(&mut self, node: &Postfix) {
        self.part("(");
        self.expr(&node.base);
        node.links.iter().for_each(|link| self.link(link));
        self.out.push(')');
    }

    fn link(&mut self, link: &Link) {
        match &link.kind {
            LinkKind::Append => self.part("[]"),
            LinkKind::Index(index) => self.node("index", |this| this.expr(index)),
            LinkKind::Slice(slice) => self.node("slice", |this| {
                for part in [&slice.first, &slice.last, &slice.step] {
                    this.maybe(part.as_ref());
                }
            }),
            LinkKind::Property(name) => {
                self.part("->");
                self.out.push_str(&name.text);
            }
            LinkKind::Call(args) => self.node("call", |this| this.args(args)),
        }
    }

    fn expr(&mut self, expr: &Expr) {
        match &expr.kind {
            ExprKind::None => self.part("none"),
            ExprKind::Bool(value) => self.part(if *value { "true" } else { "false" }),
            ExprKind::Number(value) => self.part(&value.to_string()),
            ExprKind::Str(bytes) => self.bytes(bytes),
            ExprKind::Template(parts) => self.node("template", |this| {
                for part in parts {
                    match part {
                        TemplatePart::Text(bytes) => this.bytes(bytes),
                        TemplatePart::Variable(variable) => this.variable(variable),
                    }
                }
            }),
            ExprKind::Regex(regex) => self.node("regex", |this| {
                this.bytes(&regex.pattern);
                if !regex.modifiers.is_empty() {
                    this.part(&regex.modifiers);
                }
            }),
            ExprKind::Array(list) => self.elements("array", list),
            ExprKind::Variable(name) => {
                self.part("$");
                self.out.push_str(name);
            }
            ExprKind::Name(name) => self.part(name),
            ExprKind::Builtin(name) => self.node("builtin", |this| this.part(&name.text)),
            ExprKind::Static(node) => self.statik(node),
            ExprKind::Function(function) => self.function("function", function),
            ExprKind::Cache(node) => self.node("cache", |this| {
                this.elements("options", &node.options);
                match &node.callee {
                    CacheCallee::Name(name) => this.part(&name.text),
                    CacheCallee::Builtin(name) => {
                        this.node("builtin", |this| this.part(&name.text))
                    }
                    CacheCallee::Static { class, name } => {
                        this.class(class);
                        this.out.push_str("::");
                        this.out.push_str(&name.text);
                    }
                }
                this.node("call", |this| this.args(&node.args));
            }),
            ExprKind::Match(node) => self.node("match", |this| {
                this.expr(&node.subject);
                for arm in &node.arms {
                    this.node(if arm.is_default() { "default" } else { "arm" }, |this| {
                        arm.patterns.iter().for_each(|pattern| this.expr(pattern));
                        this.expr(&arm.value);
                    });
                }
            }),
            ExprKind::Isset(target) => self.node("isset", |this| this.target(target)),
            ExprKind::Unset(target) => self.node("unset", |this| this.target(target)),
            ExprKind::Unary(node) => {
                self.node(node.op.text(), |this| this.expr(&node.operand));
            }
            ExprKind::Step(node) if node.prefix => {
                self.node(node.op.text(), |this| this.target(&node.target))
            }
            ExprKind::Step(node) => {
                self.part("(");
                self.target(&node.target);
                self.part(node.op.text());
                self.out.push(')');
            }
            ExprKind::Binary(chain) => self.chain(chain, |op| op.text()),
            ExprKind::Logic(chain) => self.chain(chain, |op| op.text()),
            ExprKind::Coalesce(chain) => self.chain(chain, |op| op.text()),
            ExprKind::Ternary(node) => self.node("?", |this| {
                for arm in &node.arms {
                    this.expr(&arm.condition);
                    this.maybe(arm.then.as_ref());
                }
                this.expr(&node.otherwise);
            }),
            ExprKind::Assign(node) => self.node(&node.op.text(), |this| {
                this.target(&node.target);
                this.expr(&node.value);
            }),
            ExprKind::Postfix(node) => self.postfix(node),
            ExprKind::Error => self.part("<error>"),
        }
    }

    fn target(&mut self, target: &Target) {
        match &target.kind {
            TargetKind::Variable(name) => {
                self.part("$");
                self.out.push_str(name);
            }
            TargetKind::Static(node) => self.statik(node),
            TargetKind::Place(place) => self.postfix(place),
            TargetKind::Pattern(pattern) => self.node("pattern", |this| {
                for entry in &pattern.entries {
                    this.node("entry", |this| {
                        this.maybe(entry.key.as_ref());
                        this.target(&entry.target);
                        entry.default.iter().for_each(|default| this.expr(default));
                    });
                }
                pattern
                    .rest
                    .iter()
                    .for_each(|rest| this.node("...", |this| this.target(rest)));
            }),
            TargetKind::Error => self.part("<error>"),
        }
    }
}
