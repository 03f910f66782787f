//! How deep a syntax tree is, measured while it is built.
//!
//! The parser builds bottom-up and refuses a node that gets too deep, so no deeper tree than
//! [`MAX_TREE_DEPTH`] ever exists, not even for the moment in which it is dropped.

use crate::ast::{
    Arg, BinaryOp, Block, Chain, CoalesceOp, Element, Expr, ExprKind, Function, ImportWhat, Link,
    LinkKind, LogicOp, MAX_NESTING, MAX_TREE_DEPTH, MemberKind, ParamKind, Postfix, Stmt, StmtKind,
    Target, TargetKind,
};

/// How deep a tree is below a node; the parser measures it while it builds, bottom-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Depth {
    /// Levels of [`Expr`] and [`Stmt`] nodes, this one included.
    pub tree: u16,
    /// Levels of nesting in the source: brackets, blocks, prefix operators and the like.
    pub nesting: u16,
}

impl Depth {
    pub(crate) fn max(self, other: Self) -> Self {
        Self {
            tree: self.tree.max(other.tree),
            nesting: self.nesting.max(other.nesting),
        }
    }

    /// One level of brackets further out.
    pub(crate) fn nested(self) -> Self {
        Self {
            nesting: self.nesting.saturating_add(1),
            ..self
        }
    }

    /// The node above.
    pub(crate) fn node(self) -> Self {
        Self {
            tree: self.tree.saturating_add(1),
            ..self
        }
    }

    pub(crate) fn too_deep(self) -> bool {
        self.tree > MAX_TREE_DEPTH || self.nesting > MAX_NESTING
    }
}

impl Stmt {
    /// The depth of a statement that is the body of another: braces count themselves.
    fn as_body(&self) -> Depth {
        if matches!(self.kind, StmtKind::Block(_)) {
            self.depth
        } else {
            self.depth.nested()
        }
    }
}

fn deepest(depths: impl IntoIterator<Item = Depth>) -> Depth {
    depths.into_iter().fold(Depth::default(), Depth::max)
}

fn exprs<'a>(exprs: impl IntoIterator<Item = &'a Expr>) -> Depth {
    deepest(exprs.into_iter().map(|expr| expr.depth))
}

fn stmts(stmts: &[Stmt]) -> Depth {
    deepest(stmts.iter().map(|stmt| stmt.depth))
}

fn args(args: &[Arg]) -> Depth {
    exprs(args.iter().map(|arg| &arg.value)).nested()
}

fn elements(elements: &[Element]) -> Depth {
    deepest(elements.iter().map(|element| match element {
        Element::Value(value) => value.depth,
        Element::Spread(spread) => spread.value.depth,
        Element::Pair(pair) => pair.key.depth.max(pair.value.depth),
    }))
    .nested()
}

impl StmtKind {
    pub(crate) fn depth(&self) -> Depth {
        match self {
            Self::Empty
            | Self::Return(None)
            | Self::Break
            | Self::Continue
            | Self::Global(_)
            | Self::Include { .. } => Depth::default(),
            Self::Expr(expr) | Self::Echo(expr) | Self::Return(Some(expr)) | Self::Throw(expr) => {
                expr.depth
            }
            Self::Yield(node) => exprs(node.key.iter().chain([&node.value])),
            Self::Import(import) => match &import.what {
                ImportWhat::Data {
                    options: Some(options),
                    ..
                } => elements(options),
                _ => Depth::default(),
            },
            Self::Block(block) => block.depth(),
            Self::If { arms, otherwise } => deepest(
                arms.iter()
                    .map(|arm| arm.condition.depth.nested().max(arm.body.as_body())),
            )
            .max(deepest(otherwise.iter().map(|body| body.as_body()))),
            Self::While(node) => node.condition.depth.nested().max(node.body.as_body()),
            Self::Forever(body) => body.as_body(),
            Self::For(node) => exprs(node.init.iter().chain(&node.condition).chain(&node.step))
                .nested()
                .max(node.body.as_body()),
            Self::ForEach(node) => node
                .subject
                .depth
                .max(deepest(node.key.iter().map(Target::depth)))
                .max(node.value.depth())
                .nested()
                .max(node.body.as_body()),
            Self::Switch(node) => deepest(
                node.cases
                    .iter()
                    .map(|case| exprs(&case.value).max(stmts(&case.body))),
            )
            .max(node.subject.depth)
            .nested(),
            Self::Try(node) => node.body.depth().max(node.handler.depth()),
            Self::Barrier(node) => node.name.depth.max(node.body.depth()),
            Self::Function(function) => function.depth(),
            Self::Class(class) => deepest(class.members.iter().map(|member| match &member.kind {
                MemberKind::Constructor(function) | MemberKind::Method { function, .. } => {
                    function.depth()
                }
                MemberKind::Variable { init, .. } => exprs(init),
                MemberKind::Error(blocks) => deepest(blocks.iter().map(Block::depth)),
            }))
            .nested(),
            Self::Debug(node) => node.body.depth.nested(),
            Self::Error(blocks) => deepest(blocks.iter().map(Block::depth)),
        }
    }
}

impl Block {
    fn depth(&self) -> Depth {
        stmts(&self.stmts).nested()
    }
}

impl Function {
    fn depth(&self) -> Depth {
        deepest(self.params.iter().map(|param| match &param.kind {
            ParamKind::Default(value) => value.depth.nested(),
            ParamKind::Required | ParamKind::Rest => Depth::default(),
        }))
        .max(self.body.depth())
    }
}

impl ExprKind {
    pub(crate) fn depth(&self) -> Depth {
        match self {
            Self::None
            | Self::Bool(_)
            | Self::Number(_)
            | Self::Str(_)
            | Self::Template(_)
            | Self::Regex(_)
            | Self::Variable(_)
            | Self::Name(_)
            | Self::Builtin(_)
            | Self::Static(_)
            | Self::Error => Depth::default(),
            Self::Array(list) => elements(list),
            Self::Function(function) => function.depth(),
            Self::Cache(node) => elements(&node.options).max(args(&node.args)),
            Self::Match(node) => deepest(
                node.arms
                    .iter()
                    .map(|arm| exprs(&arm.patterns).max(arm.value.depth)),
            )
            .max(node.subject.depth)
            .nested(),
            Self::Isset(target) | Self::Unset(target) => target.depth().nested(),
            Self::Unary(node) => node.operand.depth.nested(),
            Self::Step(node) => node.target.depth().nested(),
            Self::Binary(chain) => chain.depth(),
            Self::Logic(chain) => chain.depth(),
            Self::Coalesce(chain) => chain.depth(),
            Self::Ternary(node) => deepest(
                node.arms
                    .iter()
                    .map(|arm| arm.condition.depth.max(exprs(&arm.then))),
            )
            .max(node.otherwise.depth),
            Self::Assign(node) => node.target.depth().max(node.value.depth.nested()),
            Self::Postfix(node) => node.depth(),
        }
    }
}

impl Chain<BinaryOp> {
    fn depth(&self) -> Depth {
        let operands =
            exprs(std::iter::once(&self.first).chain(self.rest.iter().map(|link| &link.operand)));
        // `**` groups from the right, so each one is a level.
        if self.rest.iter().any(|link| link.op == BinaryOp::Pow) {
            operands.nested()
        } else {
            operands
        }
    }
}

impl Chain<LogicOp> {
    fn depth(&self) -> Depth {
        exprs(std::iter::once(&self.first).chain(self.rest.iter().map(|link| &link.operand)))
    }
}

impl Chain<CoalesceOp> {
    fn depth(&self) -> Depth {
        exprs(std::iter::once(&self.first).chain(self.rest.iter().map(|link| &link.operand)))
    }
}

impl Postfix {
    fn depth(&self) -> Depth {
        self.base
            .depth
            .max(deepest(self.links.iter().map(Link::depth)))
    }
}

impl Link {
    pub(crate) fn depth(&self) -> Depth {
        match &self.kind {
            LinkKind::Append | LinkKind::Property(_) => Depth::default(),
            LinkKind::Index(index) => index.depth.nested(),
            LinkKind::Slice(slice) => {
                exprs(slice.first.iter().chain(&slice.last).chain(&slice.step)).nested()
            }
            LinkKind::Call(list) => args(list),
        }
    }
}

impl Target {
    pub(crate) fn depth(&self) -> Depth {
        match &self.kind {
            TargetKind::Variable(_) | TargetKind::Static(_) | TargetKind::Error => Depth::default(),
            TargetKind::Place(place) => place.depth(),
            TargetKind::Pattern(pattern) => deepest(pattern.entries.iter().map(|entry| {
                exprs(entry.key.iter().chain(&entry.default)).max(entry.target.depth())
            }))
            .max(deepest(pattern.rest.iter().map(Target::depth)))
            .nested()
            // A pattern takes the place of an array literal, which is a node.
            .node(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_stay_small() {
        // The parser moves them about a lot; whoever makes them larger should do it on purpose.
        assert!(size_of::<Expr>() <= 40, "{}", size_of::<Expr>());
        assert!(size_of::<Stmt>() <= 64, "{}", size_of::<Stmt>());
        assert!(size_of::<Target>() <= 40, "{}", size_of::<Target>());
    }
}
