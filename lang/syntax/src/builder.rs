//! Builds the syntax tree for the grammar: flat chains, literals, assignment targets, the depth limit.
//!
//! Nothing here fails. What the grammar accepts and the language does not is reported and replaced by
//! an error node, and the parser goes on.

use crate::ast::{
    Assign, AssignOp, BinaryOp, Block, Case, Chain, ChainLink, ClassDecl, CoalesceOp, Debug,
    Element, Expr, ExprKind, ForEach, Function, IfArm, ImportName, ImportSymbol, ImportWhat, Link,
    LinkKind, LogicOp, MAX_NESTING, Match, MatchArm, Member, MemberKind, Modifiers, Name, Param,
    ParamKind, Postfix, Regex, Step, StepOp, Stmt, StmtKind, StrLit, Switch, Target, TemplatePart,
    Ternary, TernaryArm, Unary, UnaryOp, Variable, While,
};
use crate::depth::Depth;
use crate::diagnostic::Diagnostic;
use crate::literal::{Piece, number_value, pieces};
use crate::operands::Pending;
use crate::span::{FileId, Span};
use crate::token::TokenKind;

/// An operator with its start and end.
pub(crate) type Op<T> = (T, u32, u32);

/// An arm of a `match`: its patterns (none for `default`), its value, its start and end.
pub(crate) type Arm = (Option<Vec<Expr>>, Expr, u32, u32);

/// The parts of an array literal, still without a node.
pub(crate) struct Parts {
    pub list: Vec<Element>,
    pub span: Span,
}

/// The value of a string literal.
pub(crate) enum Text {
    Plain(Box<[u8]>),
    Template(Vec<TemplatePart>),
    /// The lexer has reported it.
    Bad,
}

/// A list with one more item. Most lists in a tree are short, and a tree is large: their room grows with them, not ahead.
pub(crate) fn pushed<T>(mut list: Vec<T>, item: T) -> Vec<T> {
    if list.len() == list.capacity() {
        list.reserve_exact((list.len() / 2).max(1));
    }
    list.push(item);
    list
}

/// No more messages than that are kept; a report shows far fewer.
const MAX_KEPT: usize = 10_000;

pub(crate) struct Builder<'a> {
    source: &'a [u8],
    file: FileId,
    pub(crate) errors: Vec<Diagnostic>,
    /// An empty list that was one before.
    pub(crate) spare: Option<Pending>,
}

impl<'a> Builder<'a> {
    pub(crate) fn new(source: &'a [u8], file: FileId) -> Self {
        Self {
            source,
            file,
            errors: Vec::new(),
            spare: None,
        }
    }

    pub(crate) fn report(&mut self, error: Diagnostic) {
        if self.errors.len() < MAX_KEPT {
            self.errors.push(error);
        }
    }

    pub(crate) fn span(&self, start: u32, end: u32) -> Span {
        // An empty production ends where the token before it ends, which is before it starts.
        Span::new(self.file, start, end.max(start))
    }

    fn text(&self, start: u32, end: u32) -> &'a [u8] {
        self.source
            .get(start as usize..end as usize)
            .unwrap_or_default()
    }

    /// Names are ASCII: the lexer lets nothing else through.
    fn word(&self, start: u32, end: u32) -> Box<str> {
        String::from_utf8_lossy(self.text(start, end)).into()
    }

    // ---- Leaves -----------------------------------------------------------------------------

    pub(crate) fn name(&self, start: u32, end: u32) -> Name {
        Name {
            text: self.word(start, end),
            span: self.span(start, end),
        }
    }

    pub(crate) fn variable(&self, start: u32, end: u32) -> Variable {
        Variable {
            name: self.word(start.saturating_add(1), end),
            span: self.span(start, end),
        }
    }

    /// An expression without parts.
    fn leaf(&self, kind: ExprKind, start: u32, end: u32) -> Expr {
        Expr {
            kind,
            span: self.span(start, end),
            depth: Depth::default().node(),
        }
    }

    pub(crate) fn variable_expr(&self, start: u32, end: u32) -> Expr {
        let name = self.word(start.saturating_add(1), end);
        self.leaf(ExprKind::Variable(name), start, end)
    }

    pub(crate) fn name_expr(&self, start: u32, end: u32) -> Expr {
        self.leaf(ExprKind::Name(self.word(start, end)), start, end)
    }

    pub(crate) fn number(&self, start: u32, end: u32) -> Expr {
        let value = number_value(self.text(start, end));
        self.leaf(ExprKind::Number(value), start, end)
    }

    pub(crate) fn plain_string(&self, start: u32, end: u32) -> Expr {
        let kind = self.string(self.plain_text(start, end));
        self.leaf(kind, start, end)
    }

    pub(crate) fn regex(&self, start: u32, end: u32) -> ExprKind {
        let text = self.text(start, end);
        // The modifiers are letters, so the last slash is the closing one.
        let close = memchr::memrchr(b'/', text).unwrap_or(0);
        let pattern = text.get(2..close).unwrap_or_default().into();
        let modifiers = String::from_utf8_lossy(text.get(close + 1..).unwrap_or_default()).into();
        ExprKind::Regex(Box::new(Regex { pattern, modifiers }))
    }

    pub(crate) fn plain_text(&self, start: u32, end: u32) -> Text {
        Text::Plain(
            self.text(start.saturating_add(1), end.saturating_sub(1))
                .into(),
        )
    }

    pub(crate) fn raw_text(&self, start: u32, end: u32) -> Text {
        let text = self.text(start, end);
        let opener = text
            .iter()
            .skip(1)
            .position(|b| *b == b'\'')
            .map_or(0, |at| at + 2);
        Text::Plain(
            text.get(opener..text.len().saturating_sub(opener))
                .unwrap_or_default()
                .into(),
        )
    }

    pub(crate) fn escaped_text(&self, start: u32, end: u32) -> Text {
        let base = start.saturating_add(1);
        let mut parts = Vec::new();
        let mut text: Vec<u8> = Vec::new();
        for piece in pieces(self.text(base, end.saturating_sub(1))) {
            match piece {
                Piece::Text(bytes) => text.extend_from_slice(bytes),
                Piece::Byte(byte) => text.push(byte),
                Piece::Variable { name, start, end } => {
                    if !text.is_empty() {
                        parts.push(TemplatePart::Text(std::mem::take(&mut text).into()));
                    }
                    let at = |offset: usize| {
                        base.saturating_add(u32::try_from(offset).unwrap_or(u32::MAX))
                    };
                    parts.push(TemplatePart::Variable(Variable {
                        name: String::from_utf8_lossy(name).into(),
                        span: self.span(at(start), at(end)),
                    }));
                }
                Piece::Error(_) => return Text::Bad,
            }
        }
        if parts.is_empty() {
            return Text::Plain(text.into());
        }
        if !text.is_empty() {
            parts.push(TemplatePart::Text(text.into()));
        }
        Text::Template(parts)
    }

    pub(crate) fn string(&self, text: Text) -> ExprKind {
        match text {
            Text::Plain(bytes) => ExprKind::Str(bytes),
            Text::Template(parts) => ExprKind::Template(parts.into()),
            Text::Bad => ExprKind::Error,
        }
    }

    pub(crate) fn path(&mut self, text: Text, start: u32, end: u32) -> StrLit {
        let span = self.span(start, end);
        let value = match text {
            Text::Plain(bytes) => bytes,
            Text::Template(_) => {
                self.report(
                    Diagnostic::error(span, "a path cannot contain variables")
                        .hint("files are found before the script runs; write the whole path"),
                );
                Box::default()
            }
            Text::Bad => Box::default(),
        };
        StrLit { value, span }
    }

    // ---- Nodes and the depth limit ------------------------------------------------------------

    pub(crate) fn expr(&mut self, kind: ExprKind, start: u32, end: u32) -> Expr {
        let expr = Expr::new(kind, self.span(start, end));
        self.limited(expr)
    }

    pub(crate) fn error_expr(&mut self, start: u32, end: u32) -> Expr {
        Expr::new(ExprKind::Error, self.span(start, end))
    }

    /// A pair of parentheses leaves no node, but counts as nesting.
    pub(crate) fn paren(&mut self, mut expr: Expr) -> Expr {
        expr.depth = expr.depth.nested();
        self.limited(expr)
    }

    fn limited(&mut self, expr: Expr) -> Expr {
        if !expr.depth.too_deep() {
            return expr;
        }
        self.report(too_deep(expr.span));
        Expr::new(ExprKind::Error, expr.span)
    }

    pub(crate) fn stmt(&mut self, kind: StmtKind, start: u32, end: u32) -> Stmt {
        let stmt = Stmt::new(kind, self.span(start, end));
        if !stmt.depth.too_deep() {
            return stmt;
        }
        self.report(too_deep(stmt.span));
        Stmt::new(StmtKind::Error(Vec::new()), stmt.span)
    }

    // ---- Statements -----------------------------------------------------------------------------

    pub(crate) fn if_arm(&mut self, condition: Expr, body: Stmt, start: u32, end: u32) -> IfArm {
        let end = end.max(body.span.end);
        IfArm {
            condition,
            body,
            span: self.span(start, end),
        }
    }

    pub(crate) fn if_stmt(
        &mut self,
        arms: Vec<IfArm>,
        otherwise: Option<Stmt>,
        start: u32,
        end: u32,
    ) -> Stmt {
        self.stmt(
            StmtKind::If {
                arms,
                otherwise: otherwise.map(Box::new),
            },
            start,
            end,
        )
    }

    pub(crate) fn foreach(
        &mut self,
        subject: Expr,
        key: Option<(u32, Expr)>,
        value: (u32, Expr),
        body: Stmt,
        start: u32,
        end: u32,
    ) -> Stmt {
        let key = key.map(|key| self.target(key));
        let value = self.target(value);
        self.stmt(
            StmtKind::ForEach(Box::new(ForEach {
                subject,
                key,
                value,
                body,
            })),
            start,
            end,
        )
    }

    /// A loop whose header could not be read; the body keeps its meaning as one.
    pub(crate) fn broken_loop(&mut self, body: Stmt, start: u32, end: u32) -> Stmt {
        let condition = self.error_expr(start, start);
        self.stmt(
            StmtKind::While(Box::new(While { condition, body })),
            start,
            end,
        )
    }

    pub(crate) fn debug(&mut self, strings: Parts, body: Stmt, start: u32, end: u32) -> Stmt {
        let mut constants = strings.list.into_iter().map(|element| match element {
            Element::Value(Expr {
                kind: ExprKind::Str(value),
                span,
                ..
            }) => Some(StrLit { value, span }),
            _ => None,
        });
        if let (Some(Some(session)), Some(Some(point)), None) =
            (constants.next(), constants.next(), constants.next())
        {
            return self.stmt(
                StmtKind::Debug(Box::new(Debug {
                    session,
                    point,
                    body,
                })),
                start,
                end,
            );
        }
        self.report(
            Diagnostic::error(strings.span, "`__debug` needs two constant strings")
                .hint("write `__debug [\"SESSION\", \"POINT\"] statement`"),
        );
        body
    }

    pub(crate) fn switch(&mut self, subject: Expr, cases: Vec<Case>, start: u32, end: u32) -> Stmt {
        let mut defaults = cases.iter().filter(|case| case.value.is_none());
        if let (Some(first), Some(second)) = (defaults.next(), defaults.next()) {
            let error = Diagnostic::error(second.label, "a `switch` has at most one `default`")
                .also(first.label, "the first `default` is here");
            self.report(error);
        }
        self.stmt(
            StmtKind::Switch(Box::new(Switch { subject, cases })),
            start,
            end,
        )
    }

    pub(crate) fn case(
        &self,
        value: Option<Expr>,
        body: Vec<Stmt>,
        start: u32,
        label_end: u32,
        end: u32,
    ) -> Case {
        Case {
            value,
            body,
            span: self.span(start, end),
            label: self.span(start, label_end),
        }
    }

    #[expect(
        clippy::vec_box,
        reason = "they come off the parser's stack, which is kept narrow"
    )]
    pub(crate) fn import_symbols(&mut self, symbols: Vec<Box<ImportSymbol>>) -> ImportWhat {
        for entry in &symbols {
            match (&entry.symbol, &entry.alias) {
                (ImportName::Name(_), Some(ImportName::Variable(alias))) => self.report(
                    Diagnostic::error(
                        alias.span,
                        "a function or class cannot be imported as a variable",
                    )
                    .hint(format!("write `{}`", alias.name)),
                ),
                (ImportName::Variable(_), Some(ImportName::Name(alias))) => self.report(
                    Diagnostic::error(alias.span, "a variable needs a variable as its new name")
                        .hint(format!("write `${}`", alias.text)),
                ),
                _ => {}
            }
        }
        ImportWhat::Symbols(symbols.into_iter().map(|entry| *entry).collect())
    }

    // ---- Functions and classes ----------------------------------------------------------------------

    pub(crate) fn param(&self, variable: Variable, kind: ParamKind, start: u32, end: u32) -> Param {
        Param {
            variable,
            kind,
            span: self.span(start, end),
        }
    }

    pub(crate) fn function(
        &mut self,
        (start, keyword_end): (u32, u32),
        name: Option<Name>,
        params: Vec<Param>,
        captures: Vec<Variable>,
        body: Block,
        end: u32,
    ) -> Function {
        Function {
            keyword: self.span(start, keyword_end),
            name,
            params,
            captures,
            body,
            // The check after parsing finds out.
            generator: false,
            span: self.span(start, end),
        }
    }

    pub(crate) fn class(
        &mut self,
        name: Option<Name>,
        members: Vec<Option<Box<Member>>>,
        start: u32,
        end: u32,
    ) -> Stmt {
        let members = members
            .into_iter()
            .flatten()
            .map(|member| *member)
            .collect();
        let Some(name) = name else {
            let blocks = Vec::new();
            return self.stmt(StmtKind::Error(blocks), start, end);
        };
        self.stmt(
            StmtKind::Class(Box::new(ClassDecl { name, members })),
            start,
            end,
        )
    }

    pub(crate) fn member(&self, kind: MemberKind, start: u32, end: u32) -> Member {
        Member {
            kind,
            span: self.span(start, end),
        }
    }

    pub(crate) fn modifiers(&mut self, list: Vec<Op<TokenKind>>, of_function: bool) -> Modifiers {
        let mut modifiers = Modifiers::default();
        for (kind, start, end) in list {
            let span = self.span(start, end);
            let place = match kind {
                TokenKind::Private => &mut modifiers.private,
                TokenKind::Readonly => &mut modifiers.readonly,
                _ => &mut modifiers.statik,
            };
            let word = kind.name();
            if let Some(first) = place.replace(span) {
                self.report(
                    Diagnostic::error(span, format!("`{word}` is written twice"))
                        .also(first, "the first is here"),
                );
            } else if of_function && kind == TokenKind::Readonly {
                self.report(
                    Diagnostic::error(span, "a function cannot be `readonly`")
                        .hint("functions of a class can never be written; remove the word"),
                );
            }
        }
        modifiers
    }

    // ---- Expressions ---------------------------------------------------------------------------------

    pub(crate) fn binary(
        &mut self,
        mut left: Expr,
        (op, s, e): Op<BinaryOp>,
        right: Expr,
        start: u32,
        end: u32,
    ) -> Expr {
        let op_span = self.span(s, e);
        if let ExprKind::Binary(chain) = &mut left.kind
            && chain
                .rest
                .last()
                .is_some_and(|link| link.op.level() == op.level())
        {
            left.depth = left.depth.max(right.depth.node());
            chain.rest.push(ChainLink {
                op,
                op_span,
                operand: right,
            });
            left.span = self.span(start, end);
            return self.limited(left);
        }
        let chain = Chain {
            first: left,
            rest: vec![ChainLink {
                op,
                op_span,
                operand: right,
            }],
        };
        self.expr(ExprKind::Binary(Box::new(chain)), start, end)
    }

    /// `**` groups from the right: never a link of another chain.
    pub(crate) fn power(
        &mut self,
        base: Expr,
        (op, s, e): Op<BinaryOp>,
        exponent: Expr,
        start: u32,
        end: u32,
    ) -> Expr {
        let link = ChainLink {
            op,
            op_span: self.span(s, e),
            operand: exponent,
        };
        self.expr(
            ExprKind::Binary(Box::new(Chain {
                first: base,
                rest: vec![link],
            })),
            start,
            end,
        )
    }

    pub(crate) fn logic(
        &mut self,
        mut left: Expr,
        (op, s, e): Op<LogicOp>,
        right: Expr,
        start: u32,
        end: u32,
    ) -> Expr {
        let op_span = self.span(s, e);
        if let ExprKind::Logic(chain) = &mut left.kind
            && chain.rest.last().is_some_and(|link| link.op == op)
        {
            left.depth = left.depth.max(right.depth.node());
            chain.rest.push(ChainLink {
                op,
                op_span,
                operand: right,
            });
            left.span = self.span(start, end);
            return self.limited(left);
        }
        let chain = Chain {
            first: left,
            rest: vec![ChainLink {
                op,
                op_span,
                operand: right,
            }],
        };
        self.expr(ExprKind::Logic(Box::new(chain)), start, end)
    }

    /// `heads` are the operands that have a `??` behind them, with its place.
    pub(crate) fn coalesce(
        &mut self,
        heads: Vec<(Expr, u32, u32)>,
        last: Expr,
        start: u32,
        end: u32,
    ) -> Expr {
        let mut heads = heads.into_iter();
        let Some((first, mut s, mut e)) = heads.next() else {
            return last;
        };
        let mut rest = Vec::with_capacity(heads.len() + 1);
        for (operand, next_s, next_e) in heads {
            rest.push(ChainLink {
                op: CoalesceOp::Coalesce,
                op_span: self.span(s, e),
                operand,
            });
            (s, e) = (next_s, next_e);
        }
        rest.push(ChainLink {
            op: CoalesceOp::Coalesce,
            op_span: self.span(s, e),
            operand: last,
        });
        self.expr(
            ExprKind::Coalesce(Box::new(Chain { first, rest })),
            start,
            end,
        )
    }

    pub(crate) fn ternary(
        &mut self,
        arms: Vec<TernaryArm>,
        otherwise: Expr,
        start: u32,
        end: u32,
    ) -> Expr {
        self.expr(
            ExprKind::Ternary(Box::new(Ternary { arms, otherwise })),
            start,
            end,
        )
    }

    pub(crate) fn unary(
        &mut self,
        (op, s, e): Op<UnaryOp>,
        operand: Expr,
        start: u32,
        end: u32,
    ) -> Expr {
        let op_span = self.span(s, e);
        self.expr(
            ExprKind::Unary(Box::new(Unary {
                op,
                op_span,
                operand,
            })),
            start,
            end,
        )
    }

    pub(crate) fn postfix(
        &mut self,
        mut base: Expr,
        kind: LinkKind,
        link_start: u32,
        start: u32,
        end: u32,
    ) -> Expr {
        let link = Link {
            kind,
            span: self.span(link_start, end),
        };
        if let ExprKind::Postfix(node) = &mut base.kind {
            base.depth = base.depth.max(link.depth().node());
            node.links.push(link);
            base.span = self.span(start, end);
            return self.limited(base);
        }
        self.expr(
            ExprKind::Postfix(Box::new(Postfix {
                base,
                links: vec![link],
            })),
            start,
            end,
        )
    }

    pub(crate) fn step(
        &mut self,
        (op, s, e): Op<StepOp>,
        (target_start, target): (u32, Expr),
        prefix: bool,
        start: u32,
        end: u32,
    ) -> Expr {
        let op_span = self.span(s, e);
        let target = self.stepped((target_start, target), op);
        self.expr(
            ExprKind::Step(Box::new(Step {
                target,
                op,
                prefix,
                op_span,
            })),
            start,
            end,
        )
    }

    pub(crate) fn assign(
        &mut self,
        (start, target): (u32, Expr),
        (op, s, e): Op<AssignOp>,
        value: Expr,
        end: u32,
    ) -> Expr {
        let op_span = self.span(s, e);
        let target = self.assigned((start, target), op, op_span);
        self.expr(
            ExprKind::Assign(Box::new(Assign {
                target,
                op,
                op_span,
                value,
            })),
            start,
            end,
        )
    }

    pub(crate) fn match_expr(&mut self, subject: Expr, arms: Vec<Option<Box<Arm>>>) -> ExprKind {
        let arms: Vec<MatchArm> = arms
            .into_iter()
            .flatten()
            .map(|arm| {
                let (patterns, value, start, end) = *arm;
                MatchArm {
                    patterns: patterns.unwrap_or_default(),
                    value,
                    span: self.span(start, end),
                }
            })
            .collect();
        let mut defaults = arms.iter().filter(|arm| arm.is_default());
        if let (Some(first), Some(second)) = (defaults.next(), defaults.next()) {
            let error = Diagnostic::error(second.span, "a `match` has at most one `default`")
                .also(first.span, "the first `default` is here");
            self.report(error);
        }
        ExprKind::Match(Box::new(Match { subject, arms }))
    }

    /// The argument of `isset` or `unset`.
    pub(crate) fn tested(&mut self, word: &str, target: (u32, Expr)) -> Target {
        self.place_only(target, word)
    }
}

pub(crate) fn too_deep(span: Span) -> Diagnostic {
    Diagnostic::error(
        span.before(),
        format!("nested too deeply: more than {MAX_NESTING} levels"),
    )
    .hint("split it: give inner parts to a variable or a function")
}
