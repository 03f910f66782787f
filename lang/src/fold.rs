//! Constant folding: what an expression without variables and calls yields.
//!
//! Only what cannot throw and whose result is the same bit for bit at run time is folded: number arithmetic,
//! joined strings, logic. Anything else is left to the VM, errors included.

use angarium_syntax::ast::{BinaryOp, Element, Expr, ExprKind, LogicOp, UnaryOp};

use crate::bytecode::Const;

/// Longest string that folding builds.
const MAX_FOLDED: usize = 4096;

/// The value of `expr` if it is known now.
pub(crate) fn fold(expr: &Expr) -> Option<Const> {
    Some(match &expr.kind {
        ExprKind::None => Const::None,
        ExprKind::Bool(boolean) => Const::Bool(*boolean),
        ExprKind::Number(number) => Const::Number(*number),
        ExprKind::Str(bytes) => Const::Str(bytes.clone()),
        ExprKind::Array(elements) => return array(elements),
        ExprKind::Unary(node) => match (node.op, fold(&node.operand)?) {
            // 0 - x: the minus of zero is plain zero.
            (UnaryOp::Minus, Const::Number(number)) => Const::Number(0.0 - number),
            (UnaryOp::Plus, Const::Number(number)) => Const::Number(number),
            (UnaryOp::Not, value) => Const::Bool(!truthy(&value)),
            _ => return None,
        },
        ExprKind::Binary(chain) => {
            let mut value = fold(&chain.first)?;
            for link in &chain.rest {
                value = binary(link.op, value, fold(&link.operand)?)?;
            }
            value
        }
        ExprKind::Logic(chain) => {
            let mut value = truthy(&fold(&chain.first)?);
            for link in &chain.rest {
                let operand = truthy(&fold(&link.operand)?);
                value = if link.op == LogicOp::And {
                    value && operand
                } else {
                    value || operand
                };
            }
            Const::Bool(value)
        }
        ExprKind::Ternary(node) => {
            for arm in &node.arms {
                let condition = fold(&arm.condition)?;
                if truthy(&condition) {
                    return match &arm.then {
                        Some(then) => fold(then),
                        None => Some(condition),
                    };
                }
            }
            return fold(&node.otherwise);
        }
        _ => return None,
    })
}

/// Truthiness (language.md 5.3).
pub(crate) fn truthy(value: &Const) -> bool {
    match value {
        Const::None => false,
        Const::Bool(boolean) => *boolean,
        Const::Number(number) => *number != 0.0,
        Const::Str(bytes) => !bytes.is_empty(),
        Const::Array(entries) => !entries.is_empty(),
        Const::Regex { .. } => true,
    }
}

/// `a op b`, if it can be known now.
pub(crate) fn binary(op: BinaryOp, a: Const, b: Const) -> Option<Const> {
    if op == BinaryOp::Concat {
        let (mut text, more) = (string(&a)?, string(&b)?);
        text.extend_from_slice(&more);
        return (text.len() <= MAX_FOLDED).then(|| Const::Str(text.into()));
    }
    let (Const::Number(a), Const::Number(b)) = (a, b) else {
        return None;
    };
    Some(match op {
        BinaryOp::Add => Const::Number(a + b),
        BinaryOp::Sub => Const::Number(a - b),
        BinaryOp::Mul => Const::Number(a * b),
        BinaryOp::Div => Const::Number(a / b),
        BinaryOp::Rem => Const::Number(a % b),
        BinaryOp::Pow => Const::Number(a.powf(b)),
        BinaryOp::Less => Const::Bool(a < b),
        BinaryOp::Greater => Const::Bool(a > b),
        BinaryOp::LessEq => Const::Bool(a <= b),
        BinaryOp::GreaterEq => Const::Bool(a >= b),
        BinaryOp::Eq | BinaryOp::Same => Const::Bool(a == b),
        BinaryOp::NotEq | BinaryOp::NotSame => Const::Bool(a != b),
        _ => return None,
    })
}

/// The text of a constant where it is plain: strings, small integers, booleans, none.
fn string(value: &Const) -> Option<Vec<u8>> {
    match value {
        Const::Str(bytes) => Some(bytes.to_vec()),
        Const::None => Some(Vec::new()),
        Const::Bool(boolean) => Some(boolean.to_string().into_bytes()),
        Const::Number(number)
            if number.fract() == 0.0 && number.abs() < 9_007_199_254_740_992.0 =>
        {
            Some((*number as i64).to_string().into_bytes())
        }
        _ => None,
    }
}

fn array(elements: &[Element]) -> Option<Const> {
    let mut entries = Vec::with_capacity(elements.len());
    for element in elements {
        match element {
            Element::Value(value) => entries.push((None, fold(value)?)),
            Element::Pair(pair) => {
                let key = fold(&pair.key)?;
                if matches!(key, Const::Array(_)) {
                    return None;
                }
                entries.push((Some(key), fold(&pair.value)?));
            }
            Element::Spread(_) => return None,
        }
    }
    Some(Const::Array(entries))
}
