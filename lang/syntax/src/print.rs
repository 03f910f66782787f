//! The tree as canonical source text: reading it again gives the same tree, printing that the same text.
//!
//! Four spaces a level, one statement a line, only the parentheses that are needed, except that an
//! assignment inside an operator always has them. Comments and blank lines are not in the tree.

use crate::ast::{
    Arg, Assign, Block, Cache, CacheCallee, Case, Chain, ClassDecl, Element, Expr, ExprKind,
    Function, Import, ImportName, ImportSymbol, ImportWhat, Link, LinkKind, Match, Member,
    MemberKind, Modifiers, ParamKind, Pattern, Postfix, Program, Slice, Static, StaticClass,
    StaticMember, Stmt, StmtKind, Target, TargetKind, TemplatePart, Ternary, UnaryOp, Variable,
};

/// Prints a program. The result holds bytes, because strings do.
#[must_use]
pub fn print(program: &Program) -> Vec<u8> {
    let mut printer = Printer::default();
    for stmt in &program.body {
        printer.stmt(stmt);
    }
    printer.out
}

/// Prints one expression.
#[must_use]
pub fn print_expr(expr: &Expr) -> Vec<u8> {
    let mut printer = Printer::default();
    printer.expr(expr, ANY);
    printer.out
}

// Levels of precedence, as in the language's table; the higher the tighter.
const ANY: u8 = 0;
const ASSIGN: u8 = 1;
const TERNARY: u8 = 2;
const COALESCE: u8 = 3;
const OR: u8 = 4;
const UNARY: u8 = 15;
const STEP: u8 = 17;
const POSTFIX: u8 = 18;
const PRIMARY: u8 = 19;

fn level(expr: &Expr) -> u8 {
    match &expr.kind {
        ExprKind::Assign(_) => ASSIGN,
        ExprKind::Ternary(_) => TERNARY,
        ExprKind::Coalesce(_) => COALESCE,
        ExprKind::Logic(chain) => chain.rest.first().map_or(OR, |link| link.op.level()),
        ExprKind::Binary(chain) => chain.rest.first().map_or(UNARY, |link| link.op.level()),
        ExprKind::Unary(_) => UNARY,
        ExprKind::Step(node) if node.prefix => UNARY,
        ExprKind::Step(_) => STEP,
        ExprKind::Postfix(_) => POSTFIX,
        _ => PRIMARY,
    }
}

#[derive(Default)]
struct Printer {
    out: Vec<u8>,
    indent: usize,
}

impl Printer {
    fn text(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }

    fn line_start(&mut self) {
        for _ in 0..self.indent {
            self.text("    ");
        }
    }

    fn list<T>(&mut self, items: &[T], mut each: impl FnMut(&mut Self, &T)) {
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                self.text(", ");
            }
            each(self, item);
        }
    }

    fn variable(&mut self, variable: &Variable) {
        self.text("$");
        self.text(&variable.name);
    }

    // ---- Statements ---------------------------------------------------------------------------

    /// A statement on lines of its own.
    fn stmt(&mut self, stmt: &Stmt) {
        self.line_start();
        self.stmt_inline(stmt);
        self.text("\n");
    }

    fn stmts(&mut self, stmts: &[Stmt]) {
        self.indent += 1;
        stmts.iter().for_each(|stmt| self.stmt(stmt));
        self.indent -= 1;
    }

    fn block(&mut self, block: &Block) {
        if block.stmts.is_empty() {
            return self.text("{}");
        }
        self.text("{\n");
        self.stmts(&block.stmts);
        self.line_start();
        self.text("}");
    }

    /// The body of a compound statement, behind its head.
    fn body(&mut self, body: &Stmt) {
        match &body.kind {
            StmtKind::Block(block) => {
                self.text(" ");
                self.block(block);
            }
            StmtKind::Empty => self.text(";"),
            _ => {
                self.text("\n");
                self.indent += 1;
                self.line_start();
                self.stmt_inline(body);
                self.indent -= 1;
            }
        }
    }

    /// A statement without the indentation before and the line end behind.
    fn stmt_inline(&mut self, stmt: &Stmt) {
        match &stmt.kind {
            StmtKind::Empty => self.text(";"),
            StmtKind::Expr(expr) => self.simple("", Some(expr)),
            StmtKind::Echo(expr) => self.simple("echo ", Some(expr)),
            StmtKind::Return(None) => self.text("return;"),
            StmtKind::Return(Some(expr)) => self.simple("return ", Some(expr)),
            StmtKind::Break => self.text("break;"),
            StmtKind::Continue => self.text("continue;"),
            StmtKind::Throw(expr) => self.simple("throw ", Some(expr)),
            StmtKind::Global(names) => {
                self.text("global ");
                self.list(names, Self::variable);
                self.text(";");
            }
            StmtKind::Yield(node) => match &node.key {
                None => self.simple("yield ", Some(&node.value)),
                Some(key) => {
                    self.text("yield ");
                    self.expr(key, TERNARY);
                    self.simple(" => ", Some(&node.value));
                }
            },
            StmtKind::Include { once, path } => {
                self.text(if *once { "include_once " } else { "include " });
                self.string(&path.value);
                self.text(";");
            }
            StmtKind::Import(import) => self.import(import),
            StmtKind::Block(block) => self.block(block),
            StmtKind::If { arms, otherwise } => {
                for (index, arm) in arms.iter().enumerate() {
                    if index > 0 {
                        self.else_after(arms.get(index - 1).map(|arm| &arm.body));
                        self.text(" ");
                    }
                    self.head("if", &arm.condition);
                    self.body(&arm.body);
                }
                if let Some(body) = otherwise {
                    self.else_after(arms.last().map(|arm| &arm.body));
                    self.body(body);
                }
            }
            StmtKind::While(node) => {
                self.head("while", &node.condition);
                self.body(&node.body);
            }
            StmtKind::Forever(body) => {
                self.text("forever");
                self.body(body);
            }
            StmtKind::For(node) => {
                self.text("for (");
                self.list(&node.init, |this, expr| this.expr(expr, ANY));
                self.text(";");
                if let Some(condition) = &node.condition {
                    self.text(" ");
                    self.expr(condition, ANY);
                }
                self.text(";");
                if !node.step.is_empty() {
                    self.text(" ");
                }
                self.list(&node.step, |this, expr| this.expr(expr, ANY));
                self.text(")");
                self.body(&node.body);
            }
            StmtKind::ForEach(node) => {
                self.text("foreach (");
                self.expr(&node.subject, TERNARY);
                self.text(" as ");
                if let Some(key) = &node.key {
                    self.target(key);
                    self.text(" => ");
                }
                self.target(&node.value);
                self.text(")");
                self.body(&node.body);
            }
            StmtKind::Switch(node) => {
                self.head("switch", &node.subject);
                self.text(" {\n");
                node.cases.iter().for_each(|case| self.case(case));
                self.line_start();
                self.text("}");
            }
            StmtKind::Try(node) => {
                self.text("try ");
                self.block(&node.body);
                self.text(" catch (");
                self.variable(&node.variable);
                self.text(") ");
                self.block(&node.handler);
            }
            StmtKind::Barrier(node) => {
                self.text("barrier ");
                self.expr(&node.name, TERNARY);
                if let Some(variable) = &node.variable {
                    self.text(" => ");
                    self.variable(variable);
                }
                self.text(" ");
                self.block(&node.body);
            }
            StmtKind::Function(function) => self.function("function", function),
            StmtKind::Class(class) => self.class(class),
            StmtKind::Debug(node) => {
                self.text("__debug [");
                self.string(&node.session.value);
                self.text(", ");
                self.string(&node.point.value);
                self.text("] ");
                self.stmt_inline(&node.body);
            }
            StmtKind::Error(_) => self.text("/* a statement with an error */;"),
        }
    }

    fn simple(&mut self, before: &str, expr: Option<&Expr>) {
        self.text(before);
        if let Some(expr) = expr {
            self.expr(expr, ANY);
        }
        self.text(";");
    }

    fn head(&mut self, word: &str, condition: &Expr) {
        self.text(word);
        self.text(" (");
        self.expr(condition, ANY);
        self.text(")");
    }

    /// `else`, on the line of the `}` before it or on its own.
    fn else_after(&mut self, body: Option<&Stmt>) {
        if matches!(body.map(|body| &body.kind), Some(StmtKind::Block(_))) {
            self.text(" else");
        } else {
            self.text("\n");
            self.line_start();
            self.text("else");
        }
    }

    fn case(&mut self, case: &Case) {
        self.indent += 1;
        self.line_start();
        match &case.value {
            Some(value) => {
                self.text("case ");
                self.expr(value, COALESCE);
            }
            None => self.text("default"),
        }
        self.text(":\n");
        self.stmts(&case.body);
        self.indent -= 1;
    }

    fn import(&mut self, import: &Import) {
        self.text("import ");
        match &import.what {
            ImportWhat::Symbols(symbols) => {
                self.text("{ ");
                self.list(symbols, Self::import_symbol);
                self.text(" }");
            }
            ImportWhat::Namespace(name) => {
                self.text("* as ");
                self.text(&name.text);
            }
            ImportWhat::Data { variable, .. } => self.variable(variable),
        }
        self.text(" from ");
        self.string(&import.path.value);
        if let ImportWhat::Data {
            options: Some(options),
            ..
        } = &import.what
        {
            self.text(" with ");
            self.array(options);
        }
        self.text(";");
    }

    fn import_symbol(&mut self, entry: &ImportSymbol) {
        self.import_name(&entry.symbol);
        if let Some(alias) = &entry.alias {
            self.text(" as ");
            self.import_name(alias);
        }
    }

    fn import_name(&mut self, name: &ImportName) {
        match name {
            ImportName::Name(name) => self.text(&name.text),
            ImportName::Variable(variable) => self.variable(variable),
        }
    }

    // ---- Functions and classes ------------------------------------------------------------------

    fn function(&mut self, word: &str, function: &Function) {
        self.text(word);
        match &function.name {
            Some(name) => {
                self.text(" ");
                self.text(&name.text);
            }
            None if word == "function" => self.text(" "),
            None => {}
        }
        self.text("(");
        self.list(&function.params, |this, param| match &param.kind {
            ParamKind::Required => this.variable(&param.variable),
            ParamKind::Default(value) => {
                this.variable(&param.variable);
                this.text(" = ");
                this.expr(value, ANY);
            }
            ParamKind::Rest => {
                this.text("...");
                this.variable(&param.variable);
            }
        });
        self.text(") ");
        if !function.captures.is_empty() {
            self.text("closure (");
            self.list(&function.captures, Self::variable);
            self.text(") ");
        }
        self.block(&function.body);
    }

    fn class(&mut self, class: &ClassDecl) {
        self.text("class ");
        self.text(&class.name.text);
        if class.members.is_empty() {
            return self.text(" {}");
        }
        self.text(" {\n");
        self.indent += 1;
        class.members.iter().for_each(|member| self.member(member));
        self.indent -= 1;
        self.line_start();
        self.text("}");
    }

    fn member(&mut self, member: &Member) {
        self.line_start();
        match &member.kind {
            MemberKind::Constructor(function) => self.function("constructor", function),
            MemberKind::Variable {
                modifiers,
                variable,
                init,
            } => {
                self.modifiers(modifiers);
                self.variable(variable);
                if let Some(init) = init {
                    self.text(" = ");
                    self.expr(init, ANY);
                }
                self.text(";");
            }
            MemberKind::Method {
                modifiers,
                function,
            } => {
                self.modifiers(modifiers);
                self.function("function", function);
            }
            MemberKind::Error(_) => self.text("/* a member with an error */;"),
        }
        self.text("\n");
    }

    fn modifiers(&mut self, modifiers: &Modifiers) {
        let words = [
            ("private ", modifiers.private),
            ("readonly ", modifiers.readonly),
            ("static ", modifiers.statik),
        ];
        for (word, place) in words {
            if place.is_some() {
                self.text(word);
            }
        }
    }

    // ---- Expressions ------------------------------------------------------------------------------

    /// An expression at a place where nothing looser than `least` can stand without parentheses.
    fn expr(&mut self, expr: &Expr, least: u8) {
        if level(expr) >= least {
            return self.bare(expr);
        }
        self.text("(");
        self.bare(expr);
        self.text(")");
    }

    fn bare(&mut self, expr: &Expr) {
        match &expr.kind {
            ExprKind::None => self.text("none"),
            ExprKind::Bool(true) => self.text("true"),
            ExprKind::Bool(false) => self.text("false"),
            ExprKind::Number(value) => self.number(*value),
            ExprKind::Str(bytes) => self.string(bytes),
            ExprKind::Template(parts) => self.template(parts),
            ExprKind::Regex(regex) => {
                self.text("#/");
                self.out.extend_from_slice(&regex.pattern);
                self.text("/");
                self.text(&regex.modifiers);
            }
            ExprKind::Array(list) => self.array(list),
            ExprKind::Variable(name) => {
                self.text("$");
                self.text(name);
            }
            ExprKind::Name(name) => self.text(name),
            ExprKind::Builtin(name) => {
                self.text("builtin ");
                self.text(&name.text);
            }
            ExprKind::Static(node) => self.statik(node),
            ExprKind::Function(function) => self.function("function", function),
            ExprKind::Cache(node) => self.cache(node),
            ExprKind::Match(node) => self.match_expr(node),
            ExprKind::Isset(target) => self.tested("isset(", target),
            ExprKind::Unset(target) => self.tested("unset(", target),
            ExprKind::Unary(node) => {
                let op = node.op;
                self.text(op.text());
                // `- -1` is not `--1`, and `! ~1` not `!~ 1`.
                let joins = match (&node.operand.kind, op) {
                    (ExprKind::Unary(inner), UnaryOp::Plus | UnaryOp::Minus) => inner.op == op,
                    (ExprKind::Unary(inner), UnaryOp::Not) => inner.op == UnaryOp::BitNot,
                    (ExprKind::Step(node), UnaryOp::Plus | UnaryOp::Minus) => node.prefix,
                    _ => false,
                };
                if joins {
                    self.text(" ");
                }
                self.expr(&node.operand, UNARY);
            }
            ExprKind::Step(node) if node.prefix => {
                self.text(node.op.text());
                self.target(&node.target);
            }
            ExprKind::Step(node) => {
                self.target(&node.target);
                self.text(node.op.text());
            }
            ExprKind::Binary(chain) => {
                let own = level(expr);
                // `**` groups from the right and takes a prefix operator there.
                let (first, rest) = if own > UNARY {
                    (STEP, UNARY)
                } else {
                    (own, own + 1)
                };
                self.chain(chain, first, rest, |op| op.text());
            }
            ExprKind::Logic(chain) => {
                let own = level(expr);
                self.chain(chain, own, own + 1, |op| op.text());
            }
            ExprKind::Coalesce(chain) => self.chain(chain, OR, OR, |op| op.text()),
            ExprKind::Ternary(node) => self.ternary(node),
            ExprKind::Assign(node) => self.assign(node),
            ExprKind::Postfix(node) => self.postfix(node),
            ExprKind::Error => self.text("none /* an expression with an error */"),
        }
    }

    fn chain<Op: Copy>(
        &mut self,
        chain: &Chain<Op>,
        first: u8,
        rest: u8,
        text: impl Fn(Op) -> &'static str,
    ) {
        self.expr(&chain.first, first);
        for link in &chain.rest {
            self.text(" ");
            self.text(text(link.op));
            self.text(" ");
            self.expr(&link.operand, rest);
        }
    }

    fn ternary(&mut self, node: &Ternary) {
        for arm in &node.arms {
            self.expr(&arm.condition, COALESCE);
            match &arm.then {
                Some(then) => {
                    self.text(" ? ");
                    self.expr(then, COALESCE);
                    self.text(" : ");
                }
                None => self.text(" ?: "),
            }
        }
        self.expr(&node.otherwise, COALESCE);
    }

    fn assign(&mut self, node: &Assign) {
        self.target(&node.target);
        self.text(" ");
        self.text(&node.op.text());
        self.text(" ");
        self.expr(&node.value, ANY);
    }

    fn number(&mut self, value: f64) {
        if value.is_finite() {
            self.text(&value.to_string());
        } else {
            // The only other value that a literal can have: one with more digits than a double holds.
            self.text("1");
            self.out.extend(std::iter::repeat_n(b'0', 309));
        }
    }

    fn string(&mut self, bytes: &[u8]) {
        self.text("\"");
        self.escaped(bytes);
        self.text("\"");
    }

    fn escaped(&mut self, bytes: &[u8]) {
        for byte in bytes {
            match byte {
                b'\\' | b'"' | b'$' => self.out.extend([b'\\', *byte]),
                b'\n' => self.text("\\n"),
                b'\r' => self.text("\\r"),
                b'\t' => self.text("\\t"),
                0..=0x1f | 0x7f => self.text(&format!("\\x{byte:02x}")),
                _ => self.out.push(*byte),
            }
        }
    }

    fn template(&mut self, parts: &[TemplatePart]) {
        self.text("\"");
        for (index, part) in parts.iter().enumerate() {
            match part {
                TemplatePart::Text(bytes) => self.escaped(bytes),
                TemplatePart::Variable(variable) => {
                    let next = match parts.get(index + 1) {
                        Some(TemplatePart::Text(bytes)) => bytes.first().copied(),
                        _ => None,
                    };
                    if next.is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
                        self.text("${");
                        self.text(&variable.name);
                        self.text("}");
                    } else {
                        self.variable(variable);
                    }
                }
            }
        }
        self.text("\"");
    }

    fn array(&mut self, elements: &[Element]) {
        self.text("[");
        self.list(elements, |this, element| match element {
            Element::Value(value) => this.expr(value, ANY),
            Element::Pair(pair) => {
                this.expr(&pair.key, TERNARY);
                this.text(" => ");
                this.expr(&pair.value, ANY);
            }
            Element::Spread(spread) => {
                this.text("...");
                this.expr(&spread.value, TERNARY);
            }
        });
        self.text("]");
    }

    fn args(&mut self, args: &[Arg]) {
        self.text("(");
        self.list(args, |this, arg| {
            if arg.spread.is_some() {
                this.text("...");
            }
            this.expr(&arg.value, ANY);
        });
        self.text(")");
    }

    fn class_name(&mut self, class: &StaticClass) {
        match class {
            StaticClass::Name(name) => self.text(&name.text),
            StaticClass::Own(_) => self.text("static"),
        }
    }

    fn statik(&mut self, node: &Static) {
        self.class_name(&node.class);
        self.text("::");
        match &node.member {
            StaticMember::Name(name) => self.text(&name.text),
            StaticMember::Variable(variable) => self.variable(variable),
        }
    }

    fn cache(&mut self, node: &Cache) {
        self.text("cache ");
        self.array(&node.options);
        self.text(" ");
        match &node.callee {
            CacheCallee::Name(name) => self.text(&name.text),
            CacheCallee::Builtin(name) => {
                self.text("builtin ");
                self.text(&name.text);
            }
            CacheCallee::Static { class, name } => {
                self.class_name(class);
                self.text("::");
                self.text(&name.text);
            }
        }
        self.args(&node.args);
    }

    fn match_expr(&mut self, node: &Match) {
        self.head("match", &node.subject);
        self.text(" {");
        self.indent += 1;
        for arm in &node.arms {
            self.text("\n");
            self.line_start();
            if arm.is_default() {
                self.text("default");
            }
            self.list(&arm.patterns, |this, pattern| this.expr(pattern, TERNARY));
            self.text(" => ");
            self.expr(&arm.value, ANY);
            self.text(",");
        }
        self.indent -= 1;
        if !node.arms.is_empty() {
            self.text("\n");
            self.line_start();
        }
        self.text("}");
    }

    fn tested(&mut self, word: &str, target: &Target) {
        self.text(word);
        self.target(target);
        self.text(")");
    }

    fn postfix(&mut self, node: &Postfix) {
        self.expr(&node.base, PRIMARY);
        node.links.iter().for_each(|link| self.link(link));
    }

    fn link(&mut self, link: &Link) {
        match &link.kind {
            LinkKind::Append => self.text("[]"),
            LinkKind::Index(index) => {
                self.text("[");
                self.expr(index, ANY);
                self.text("]");
            }
            LinkKind::Slice(slice) => self.slice(slice),
            LinkKind::Property(name) => {
                self.text("->");
                self.text(&name.text);
            }
            LinkKind::Call(args) => self.args(args),
        }
    }

    fn slice(&mut self, slice: &Slice) {
        self.text("[");
        if let Some(first) = &slice.first {
            self.expr(first, COALESCE);
        }
        self.text(":");
        if let Some(last) = &slice.last {
            self.expr(last, COALESCE);
        }
        if let Some(step) = &slice.step {
            // `name::` would be a class.
            let digit_or_sign = matches!(
                slice.first.as_ref().map(|first| &first.kind),
                None | Some(ExprKind::Number(_) | ExprKind::Variable(_))
            );
            self.text(if slice.last.is_none() && !digit_or_sign {
                " :"
            } else {
                ":"
            });
            self.expr(step, COALESCE);
        }
        self.text("]");
    }

    // ---- Targets ------------------------------------------------------------------------------------

    fn target(&mut self, target: &Target) {
        match &target.kind {
            TargetKind::Variable(name) => {
                self.text("$");
                self.text(name);
            }
            TargetKind::Static(node) => self.statik(node),
            TargetKind::Place(place) => self.postfix(place),
            TargetKind::Pattern(pattern) => self.pattern(pattern),
            TargetKind::Error => self.text("$error"),
        }
    }

    fn pattern(&mut self, pattern: &Pattern) {
        self.text("[");
        self.list(&pattern.entries, |this, entry| {
            if let Some(key) = &entry.key {
                this.expr(key, TERNARY);
                this.text(" => ");
            }
            this.target(&entry.target);
            if let Some(default) = &entry.default {
                this.text(" = ");
                this.expr(default, ANY);
            }
        });
        if let Some(rest) = &pattern.rest {
            if !pattern.entries.is_empty() {
                self.text(", ");
            }
            self.text("...");
            self.target(rest);
        }
        self.text("]");
    }
}
