//! Re-reads expressions as what can be assigned to (language, 8.1 and 8.3).
//!
//! On the left of an assignment the grammar accepts any operand, because only the operator behind it
//! tells what it was. Here the operand becomes a [`Target`] or is reported.

use crate::ast::{
    AssignOp, Element, Expr, ExprKind, LinkKind, Pair, Pattern, PatternEntry, Postfix, Spread,
    StaticMember, StepOp, Target, TargetKind,
};
use crate::builder::Builder;
use crate::diagnostic::Diagnostic;
use crate::span::Span;

impl Builder<'_> {
    /// A target of `=` or `foreach`. `start` is where its text starts, before any parenthesis.
    pub(crate) fn target(&mut self, (start, expr): (u32, Expr)) -> Target {
        if expr.span.start != start && !matches!(expr.kind, ExprKind::Error) {
            return self.refuse(
                self.span(start, expr.span.end),
                "cannot assign to this",
                "remove the parentheses around the target",
            );
        }
        let span = expr.span;
        let kind = match expr.kind {
            ExprKind::Variable(name) => TargetKind::Variable(name),
            ExprKind::Error => TargetKind::Error,
            ExprKind::Static(node) => match &node.member {
                StaticMember::Variable(_) => TargetKind::Static(node),
                StaticMember::Name(name) => {
                    let hint = format!("a static variable is written `::${}`", name.text);
                    return self.refuse(span, "cannot assign to this", hint);
                }
            },
            ExprKind::Postfix(place) => return self.place(place, span),
            ExprKind::Array(elements) => TargetKind::Pattern(Box::new(self.pattern(elements))),
            ExprKind::Name(name) => {
                let hint = format!("a variable starts with `$`: did you mean `${name}`?");
                return self.refuse(span, "cannot assign to this", hint);
            }
            _ => {
                let hint = "a target is a variable, an element, a property, a slice, a static variable or a pattern like `[$a, $b]`; to compare, write `==`";
                return self.refuse(span, "cannot assign to this", hint);
            }
        };
        Target { kind, span }
    }

    /// A target of an assignment operator.
    pub(crate) fn assigned(&mut self, target: (u32, Expr), op: AssignOp, op_span: Span) -> Target {
        let target = self.target(target);
        match &target.kind {
            TargetKind::Pattern(_) if op != AssignOp::Set => self.refuse(
                op_span,
                format!("`{}` cannot be used with a pattern", op.text()),
                "only `=` takes an array apart",
            ),
            TargetKind::Place(place) => match place.links.last().map(|link| &link.kind) {
                Some(LinkKind::Append) if op != AssignOp::Set => self.refuse(
                    target.span,
                    "`[]` cannot be read",
                    format!("`{}` reads the old value; write `=`", op.text()),
                ),
                Some(LinkKind::Slice(_)) if op != AssignOp::Set => self.refuse(
                    op_span,
                    format!("`{}` cannot be used with a slice", op.text()),
                    "assign a list with `=`",
                ),
                Some(LinkKind::Slice(slice))
                    if slice.step.as_ref().is_some_and(|step| !is_one(step)) =>
                {
                    self.refuse(
                        target.span,
                        "a slice with a step cannot be assigned to",
                        "leave the step out",
                    )
                }
                _ => target,
            },
            _ => target,
        }
    }

    /// A target of `++` or `--`.
    pub(crate) fn stepped(&mut self, target: (u32, Expr), op: StepOp) -> Target {
        let (start, expr) = target;
        let span = expr.span;
        let changeable = match &expr.kind {
            ExprKind::Variable(_) | ExprKind::Error => true,
            ExprKind::Static(node) => matches!(node.member, StaticMember::Variable(_)),
            ExprKind::Postfix(node) => {
                matches!(
                    node.links.last().map(|link| &link.kind),
                    Some(LinkKind::Index(_) | LinkKind::Property(_))
                )
            }
            _ => false,
        };
        if changeable {
            return self.target((start, expr));
        }
        let message = format!("`{}` cannot change this", op.text());
        if let ExprKind::Name(name) = &expr.kind {
            let hint = format!("a variable starts with `$`: did you mean `${name}`?");
            return self.refuse(span, message, hint);
        }
        self.refuse(
            span,
            message,
            "it works on a variable, an element, a property or a static variable",
        )
    }

    /// The argument of `isset` or `unset` (`word`): something that can exist or not.
    pub(crate) fn place_only(&mut self, (_, expr): (u32, Expr), word: &str) -> Target {
        let span = expr.span;
        let message = format!("`{word}` cannot be used with this");
        let hint =
            "it takes a variable, or elements and properties that start at one: `$a[\"b\"]->c`";
        let kind = match expr.kind {
            ExprKind::Variable(name) => TargetKind::Variable(name),
            ExprKind::Error => TargetKind::Error,
            ExprKind::Static(node) if matches!(node.member, StaticMember::Variable(_)) => {
                TargetKind::Static(node)
            }
            ExprKind::Postfix(place) => {
                let starts_at_variable = match &place.base.kind {
                    ExprKind::Variable(_) | ExprKind::Error => true,
                    ExprKind::Static(node) => matches!(node.member, StaticMember::Variable(_)),
                    _ => false,
                };
                let bad = place
                    .links
                    .iter()
                    .find(|link| matches!(link.kind, LinkKind::Append | LinkKind::Call(_)));
                if let Some(link) = bad {
                    let message = match link.kind {
                        LinkKind::Append => "`[]` cannot be read".to_owned(),
                        _ => format!("`{word}` cannot be used with the result of a call"),
                    };
                    return self.refuse(link.span, message, hint);
                }
                if !starts_at_variable {
                    return self.refuse(span, message, hint);
                }
                TargetKind::Place(place)
            }
            ExprKind::Name(name) => {
                return self.refuse(
                    span,
                    message,
                    format!("a variable starts with `$`: did you mean `${name}`?"),
                );
            }
            _ => return self.refuse(span, message, hint),
        };
        Target { kind, span }
    }

    /// A target that ends in a postfix operator.
    fn place(&mut self, place: Box<Postfix>, span: Span) -> Target {
        // Only an array that has a home can be written into: going back from the end, indexes and
        // appends must lead to a property or to the start of a variable.
        for (index, link) in place.links.iter().enumerate().rev() {
            let last = index + 1 == place.links.len();
            match &link.kind {
                LinkKind::Property(_) => {
                    return Target {
                        kind: TargetKind::Place(place),
                        span,
                    };
                }
                LinkKind::Index(_) | LinkKind::Append => {}
                LinkKind::Slice(_) if last => {}
                LinkKind::Slice(_) => {
                    return self.refuse(
                        span,
                        "cannot assign into the result of a slice",
                        "assign to the elements of the array itself",
                    );
                }
                LinkKind::Call(_) if last => {
                    return self.refuse(
                        span,
                        "cannot assign to the result of a call",
                        "to compare, write `==`",
                    );
                }
                LinkKind::Call(_) => {
                    return self.refuse(
                        span,
                        "cannot assign into the result of a call",
                        "give the result to a variable first and change that",
                    );
                }
            }
        }
        match &place.base.kind {
            ExprKind::Variable(_) | ExprKind::Error => {}
            ExprKind::Static(node) if matches!(node.member, StaticMember::Variable(_)) => {}
            ExprKind::Name(name) => {
                let hint = format!("a variable starts with `$`: did you mean `${name}`?");
                return self.refuse(span, "cannot assign to this", hint);
            }
            _ => {
                return self.refuse(
                    span,
                    "cannot assign into this value",
                    "only what a variable or a property holds can be changed",
                );
            }
        }
        Target {
            kind: TargetKind::Place(place),
            span,
        }
    }

    fn pattern(&mut self, elements: Vec<Element>) -> Pattern {
        let mut pattern = Pattern::default();
        let count = elements.len();
        for (index, element) in elements.into_iter().enumerate() {
            match element {
                Element::Value(value) => {
                    let span = value.span;
                    let (target, default) = self.pattern_target(value);
                    self.push_entry(
                        &mut pattern,
                        PatternEntry {
                            key: None,
                            target,
                            default,
                        },
                        span,
                    );
                }
                Element::Pair(pair) => {
                    let Pair { key, value, .. } = *pair;
                    let span = key.span.to(value.span);
                    let (target, default) = self.pattern_target(value);
                    self.push_entry(
                        &mut pattern,
                        PatternEntry {
                            key: Some(key),
                            target,
                            default,
                        },
                        span,
                    );
                }
                Element::Spread(spread) => {
                    let Spread { dots, value } = *spread;
                    let span = dots.to(value.span);
                    if index + 1 != count {
                        self.refuse(
                            span,
                            "the rest target must be the last of the pattern",
                            "move it to the end",
                        );
                    } else if pattern.entries.iter().any(|entry| entry.key.is_some()) {
                        self.refuse(
                            span,
                            "a pattern with keys has no rest target",
                            "list the keys that you need",
                        );
                    }
                    let start = value.span.start;
                    pattern.rest = Some(self.target((start, value)));
                }
            }
        }
        pattern
    }

    /// `target` or `target = default`.
    fn pattern_target(&mut self, expr: Expr) -> (Target, Option<Expr>) {
        match expr.kind {
            ExprKind::Assign(node) if node.op == AssignOp::Set => (node.target, Some(node.value)),
            kind => {
                let start = expr.span.start;
                (self.target((start, Expr { kind, ..expr })), None)
            }
        }
    }

    fn push_entry(&mut self, pattern: &mut Pattern, entry: PatternEntry, span: Span) {
        if pattern
            .entries
            .first()
            .is_some_and(|first| first.key.is_some() != entry.key.is_some())
        {
            self.refuse(
                span,
                "entries with and without keys cannot be mixed in a pattern",
                "give every entry a key, or none",
            );
        }
        pattern.entries.push(entry);
    }

    fn refuse(
        &mut self,
        span: Span,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Target {
        self.report(Diagnostic::error(span, message).hint(hint));
        Target {
            kind: TargetKind::Error,
            span,
        }
    }
}

fn is_one(step: &Expr) -> bool {
    match step.kind {
        // Only what can be seen here is an error here.
        ExprKind::Number(value) => value == 1.0,
        _ => true,
    }
}
