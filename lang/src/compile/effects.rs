//! What the evaluation of an expression may read and write.

use angarium_syntax::ast::{self, Element, Expr, ExprKind, LinkKind, TargetKind, TemplatePart};

/// Whether evaluating `expr` may assign a variable of the function (other than by a call, which only changes
/// variables that live in cells).
pub(super) fn writes_variables(expr: &Expr) -> bool {
    any(expr, |expr| {
        matches!(
            expr.kind,
            ExprKind::Assign(_) | ExprKind::Step(_) | ExprKind::Unset(_)
        )
    })
}

/// Whether evaluating `expr` may read the variable `name`; what it assigns counts too.
pub(super) fn mentions(expr: &Expr, name: &str) -> bool {
    any(expr, |expr| match &expr.kind {
        ExprKind::Variable(other) => **other == *name,
        ExprKind::Template(parts) => parts.iter().any(
            |part| matches!(part, TemplatePart::Variable(variable) if *variable.name == *name),
        ),
        ExprKind::Assign(_)
        | ExprKind::Step(_)
        | ExprKind::Unset(_)
        | ExprKind::Isset(_)
        | ExprKind::Cache(_) => true,
        _ => false,
    })
}

/// Whether evaluating `expr` can be noticed at most by an Exception.
pub(crate) fn is_without_effect(expr: &Expr) -> bool {
    !any(expr, |expr| match &expr.kind {
        ExprKind::Assign(_)
        | ExprKind::Step(_)
        | ExprKind::Unset(_)
        | ExprKind::Cache(_)
        | ExprKind::Error => true,
        // An iterator moves on.
        ExprKind::Array(elements) => elements
            .iter()
            .any(|element| matches!(element, Element::Spread(_))),
        ExprKind::Postfix(node) => node
            .links
            .iter()
            .any(|link| matches!(link.kind, LinkKind::Append | LinkKind::Call(_))),
        _ => false,
    })
}

/// Whether `test` holds for `expr` or an expression in it, nested functions and targets left out.
fn any(expr: &Expr, test: impl Fn(&Expr) -> bool) -> bool {
    let mut pending = vec![expr];
    while let Some(expr) = pending.pop() {
        if test(expr) {
            return true;
        }
        match &expr.kind {
            ExprKind::Array(elements) => {
                for element in elements {
                    match element {
                        Element::Value(value) => pending.push(value),
                        Element::Spread(spread) => pending.push(&spread.value),
                        Element::Pair(pair) => pending.extend([&pair.key, &pair.value]),
                    }
                }
            }
            ExprKind::Cache(node) => pending.extend(node.args.iter().map(|arg| &arg.value)),
            ExprKind::Match(node) => {
                pending.push(&node.subject);
                for arm in &node.arms {
                    pending.extend(arm.patterns.iter().chain([&arm.value]));
                }
            }
            ExprKind::Unary(node) => pending.push(&node.operand),
            ExprKind::Binary(chain) => {
                pending.push(&chain.first);
                pending.extend(chain.rest.iter().map(|link| &link.operand));
            }
            ExprKind::Logic(chain) => {
                pending.push(&chain.first);
                pending.extend(chain.rest.iter().map(|link| &link.operand));
            }
            ExprKind::Coalesce(chain) => {
                pending.push(&chain.first);
                pending.extend(chain.rest.iter().map(|link| &link.operand));
            }
            ExprKind::Ternary(node) => {
                for arm in &node.arms {
                    pending.push(&arm.condition);
                    pending.extend(&arm.then);
                }
                pending.push(&node.otherwise);
            }
            ExprKind::Postfix(node) => {
                pending.push(&node.base);
                pending.extend(node.links.iter().flat_map(link_exprs));
            }
            ExprKind::Isset(target) => {
                if let TargetKind::Place(place) = &target.kind {
                    pending.extend(place.links.iter().flat_map(link_exprs));
                }
            }
            _ => {}
        }
    }
    false
}

/// The expressions inside a postfix operator.
pub(super) fn link_exprs(link: &ast::Link) -> Vec<&Expr> {
    match &link.kind {
        LinkKind::Append | LinkKind::Property(_) => Vec::new(),
        LinkKind::Index(index) => vec![index],
        LinkKind::Slice(slice) => slice
            .first
            .iter()
            .chain(&slice.last)
            .chain(&slice.step)
            .collect(),
        LinkKind::Call(args) => args.iter().map(|arg| &arg.value).collect(),
    }
}
