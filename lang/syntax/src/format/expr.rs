//! Expressions.

use super::cursor::Formatter;
use super::doc::Doc;
use super::list::Layout;
use crate::token::TokenKind;

/// How the broken lines of a chain of operators stand.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Chain {
    /// Further to the right than its first line.
    Indented,
    /// Under each other, as the brackets around it have indented them all.
    Flush,
}

/// A chain whose operands may still become the operand of another one.
struct Links(Vec<Doc>);

impl Formatter<'_> {
    pub(super) fn expr(&mut self, chain: Chain) -> Option<Doc> {
        let condition = self.binary(COALESCE, chain)?;
        if self.peek() != TokenKind::Question {
            return Some(condition);
        }
        self.ternary(condition)
    }

    /// `c ? a : b` with `?` and `:` on lines of their own; of several in a row each with its condition on a line.
    fn ternary(&mut self, condition: Doc) -> Option<Doc> {
        let (line, space) = (self.docs.line(), self.docs.space());
        let mut parts = Vec::new();
        let mut arms = 0;
        let mut first_question = None;
        while self.peek() == TokenKind::Question {
            arms += 1;
            let question = self.token()?;
            if self.peek() == TokenKind::Colon {
                let colon = self.token()?;
                parts.extend([line, question, colon]);
            } else {
                let then = self.expr(Chain::Indented)?;
                first_question.get_or_insert(parts.len());
                let colon = self.take(TokenKind::Colon)?;
                parts.extend([space, question, space, then, line, colon]);
            }
            let otherwise = self.binary(COALESCE, Chain::Indented)?;
            parts.extend([space, otherwise]);
        }
        if arms == 1
            && let Some(index) = first_question
            && let Some(before) = parts.get_mut(index)
        {
            *before = line;
        }
        let rest = self.docs.concat(parts);
        let rest = self.docs.indent(rest);
        let all = self.docs.concat([condition, rest]);
        Some(self.docs.group(all))
    }

    /// Operators of the level `least` and tighter.
    fn binary(&mut self, least: u8, chain: Chain) -> Option<Doc> {
        let mut left = self.unary()?;
        let mut links: Option<Links> = None;
        while let Some(level) = level(self.peek()).filter(|level| *level >= least) {
            if let Some(links) = links.take() {
                left = self.chain(left, links, Chain::Indented);
            }
            let (line, space) = (self.docs.line(), self.docs.space());
            let mut parts = Vec::new();
            while self::level(self.peek()) == Some(level) {
                let op = self.token()?;
                let operand = self.binary(level + 1, Chain::Indented)?;
                parts.extend([line, op, space, operand]);
            }
            links = Some(Links(parts));
        }
        Some(match links {
            Some(links) => self.chain(left, links, chain),
            None => left,
        })
    }

    fn chain(&mut self, first: Doc, links: Links, chain: Chain) -> Doc {
        let mut rest = self.docs.concat(links.0);
        if chain == Chain::Indented {
            rest = self.docs.indent(rest);
        }
        let all = self.docs.concat([first, rest]);
        self.docs.group(all)
    }

    fn unary(&mut self) -> Option<Doc> {
        use TokenKind::{Bang, Decrement, Increment, Minus, Not, Plus, Tilde};
        let kind = self.peek();
        if !matches!(
            kind,
            Bang | Not | Tilde | Plus | Minus | Increment | Decrement
        ) {
            return self.power();
        }
        let op = self.token()?;
        // `- -1` is not `--1`, and `! ~1` not `!~ 1`.
        let apart = match kind {
            Not => true,
            Plus => matches!(self.peek(), Plus | Increment),
            Minus => matches!(self.peek(), Minus | Decrement),
            Bang => self.peek() == Tilde,
            _ => false,
        };
        let between = if apart {
            self.docs.space()
        } else {
            self.docs.empty()
        };
        let operand = self.unary()?;
        Some(self.docs.concat([op, between, operand]))
    }

    /// An operand with the operators that bind tighter than a prefix, or an assignment to it.
    fn power(&mut self) -> Option<Doc> {
        let mut left = self.postfix()?;
        if matches!(self.peek(), TokenKind::Increment | TokenKind::Decrement) {
            let op = self.token()?;
            left = self.docs.concat([left, op]);
        }
        let value = match self.peek() {
            TokenKind::StarStar => Self::unary,
            kind if assigns(kind) => |this: &mut Self| this.expr(Chain::Indented),
            _ => return Some(left),
        };
        let space = self.docs.space();
        let op = self.token()?;
        let mut value = value(self)?;
        if self.docs.is_hard(op) {
            value = self.docs.indent(value);
        }
        Some(self.docs.concat([left, space, op, space, value]))
    }

    fn postfix(&mut self) -> Option<Doc> {
        let base = self.primary()?;
        // Each segment starts with `->`, but for the first, which is what is applied to the base itself.
        let mut segments: Vec<Vec<Doc>> = vec![vec![base]];
        let mut calls = 0;
        let mut called = true;
        loop {
            let link = match self.peek() {
                TokenKind::Arrow => {
                    let arrow = self.token()?;
                    let name = self.take(TokenKind::Name)?;
                    segments.push(Vec::new());
                    called = false;
                    self.docs.concat([arrow, name])
                }
                TokenKind::LBracket => self.index()?,
                TokenKind::LParen => {
                    calls += usize::from(!std::mem::replace(&mut called, true));
                    self.args()?
                }
                _ => break,
            };
            segments.last_mut()?.push(link);
        }
        let count = segments.len();
        let mut segments = segments.into_iter();
        let first = self.docs.concat(segments.next()?);
        if count == 1 {
            return Some(first);
        }
        let soft = self.docs.soft();
        let mut whole = Vec::new();
        let mut broken = Vec::new();
        let mut commented = self.docs.is_hard(first);
        for segment in segments {
            let segment = self.docs.concat(segment);
            commented |= self.docs.is_hard(segment);
            whole.push(segment);
            broken.extend([soft, segment]);
        }
        if calls < CALLS && !commented {
            return Some(self.docs.concat([first].into_iter().chain(whole)));
        }
        let rest = self.docs.concat(broken);
        let rest = self.docs.indent(rest);
        let all = self.docs.concat([first, rest]);
        Some(self.docs.group(all))
    }

    fn args(&mut self) -> Option<Doc> {
        self.list(Layout::Call, |this| {
            let dots = this.take(TokenKind::Ellipsis);
            let value = this.expr(Chain::Indented)?;
            Some(match dots {
                Some(dots) => this.docs.concat([dots, value]),
                None => value,
            })
        })
    }

    /// `[]`, `[e]`, `[a:b:c]`
    fn index(&mut self) -> Option<Doc> {
        if self.ahead(1) == TokenKind::RBracket {
            return self.list(Layout::Tight, |_| None);
        }
        self.enclosed(false, |this| {
            let mut parts = Vec::new();
            let mut colon_before = false;
            while this.peek() != TokenKind::RBracket {
                if this.peek() == TokenKind::Colon {
                    // `name::` would be a class.
                    let name = matches!(this.behind(2), Some(TokenKind::Name | TokenKind::Static));
                    if colon_before && name {
                        parts.push(this.docs.space());
                    }
                    colon_before = true;
                    parts.push(this.token()?);
                } else {
                    colon_before = false;
                    parts.push(this.expr(Chain::Indented)?);
                }
            }
            Some(this.docs.concat(parts))
        })
    }

    fn primary(&mut self) -> Option<Doc> {
        let kind = self.peek();
        match kind {
            TokenKind::LParen => self.enclosed(true, |this| this.expr(Chain::Flush)),
            TokenKind::LBracket => self.array(),
            TokenKind::Array => {
                let word = self.token()?;
                let list = self.array()?;
                Some(self.docs.concat([word, list]))
            }
            TokenKind::Builtin => {
                let word = self.token()?;
                let name = self.take(TokenKind::Name)?;
                Some(self.spaced([word, name]))
            }
            TokenKind::Function => self.function_literal(),
            TokenKind::Cache => {
                let word = self.token()?;
                let options = self.array()?;
                let callee = self.primary()?;
                let args = self.args()?;
                let callee = self.docs.concat([callee, args]);
                Some(self.spaced([word, options, callee]))
            }
            TokenKind::Match => {
                let word = self.token()?;
                let subject = self.enclosed(true, |this| this.expr(Chain::Flush))?;
                let arms = self.list(Layout::Broken, Self::arm)?;
                Some(self.spaced([word, subject, arms]))
            }
            TokenKind::Isset | TokenKind::Unset => {
                let word = self.token()?;
                let target = self.enclosed(false, |this| this.expr(Chain::Indented))?;
                Some(self.docs.concat([word, target]))
            }
            TokenKind::Name | TokenKind::Static => {
                let name = self.token()?;
                if self.peek() != TokenKind::Scope {
                    return (kind == TokenKind::Name).then_some(name);
                }
                let scope = self.token()?;
                let member = self.token()?;
                Some(self.docs.concat([name, scope, member]))
            }
            TokenKind::Variable => self.token(),
            kind if kind.is_literal() => self.token(),
            _ => None,
        }
    }

    /// An array literal, or the brackets of `array(…)`.
    pub(super) fn array(&mut self) -> Option<Doc> {
        self.list(Layout::Tight, |this| {
            if let Some(dots) = this.take(TokenKind::Ellipsis) {
                let value = this.expr(Chain::Indented)?;
                return Some(this.docs.concat([dots, value]));
            }
            let key = this.expr(Chain::Indented)?;
            this.pair(key)
        })
    }

    /// `=> value` behind a key, if it is there.
    pub(super) fn pair(&mut self, key: Doc) -> Option<Doc> {
        let Some(arrow) = self.take(TokenKind::FatArrow) else {
            return Some(key);
        };
        let mut value = self.expr(Chain::Indented)?;
        if self.docs.is_hard(arrow) {
            value = self.docs.indent(value);
        }
        Some(self.spaced([key, arrow, value]))
    }

    /// `a, b => value`, `default => value`
    fn arm(&mut self) -> Option<Doc> {
        let mut patterns = Vec::new();
        if self.peek() == TokenKind::Default {
            patterns.push(self.token()?);
        } else {
            patterns.push(self.expr(Chain::Indented)?);
            while let Some(comma) = self.take(TokenKind::Comma) {
                let line = self.docs.line();
                patterns.extend([comma, line, self.expr(Chain::Indented)?]);
            }
        }
        let patterns = self.docs.concat(patterns);
        let patterns = self.docs.group(patterns);
        self.pair(patterns)
    }

    /// `function (…) closure (…) { … }`
    fn function_literal(&mut self) -> Option<Doc> {
        let word = self.token()?;
        let params = self.params()?;
        let mut parts = vec![word, params];
        if let Some(word) = self.take(TokenKind::Closure) {
            let captures = self.list(Layout::Bare, |this| this.take(TokenKind::Variable))?;
            parts.extend([word, captures]);
        }
        let head = self.spaced(parts);
        let space = self.docs.space();
        let body = self.block(true)?;
        let function = self.docs.concat([head, space, body]);
        if let Some(opened) = self.opened.get(&body).copied() {
            let opened = self.docs.concat([head, space, opened]);
            self.opened.insert(function, opened);
        }
        Some(function)
    }

    pub(super) fn params(&mut self) -> Option<Doc> {
        self.list(Layout::Tight, |this| {
            if let Some(dots) = this.take(TokenKind::Ellipsis) {
                let variable = this.take(TokenKind::Variable)?;
                return Some(this.docs.concat([dots, variable]));
            }
            let variable = this.take(TokenKind::Variable)?;
            let Some(equals) = this.take(TokenKind::Assign) else {
                return Some(variable);
            };
            let value = this.expr(Chain::Indented)?;
            Some(this.spaced([variable, equals, value]))
        })
    }

    /// Parts with spaces between them.
    pub(super) fn spaced(&mut self, parts: impl IntoIterator<Item = Doc>) -> Doc {
        let space = self.docs.space();
        let mut all = Vec::new();
        for part in parts {
            if !all.is_empty() {
                all.push(space);
            }
            all.push(part);
        }
        self.docs.concat(all)
    }
}

/// A chain of that many method calls has each on a line of its own when it does not fit on one.
const CALLS: usize = 3;
/// The level of `??`, the loosest of the operators here.
const COALESCE: u8 = 3;

/// How tight an operator binds that groups from the left (or is a list, `??`), as in the language's table.
fn level(kind: TokenKind) -> Option<u8> {
    use TokenKind as T;
    Some(match kind {
        T::Coalesce => COALESCE,
        T::Or => 4,
        T::And => 5,
        T::Eq | T::NotEq | T::Same | T::NotSame | T::Matches | T::NotMatches => 6,
        T::Less | T::Greater | T::LessEq | T::GreaterEq => 7,
        T::Pipe => 8,
        T::Caret => 9,
        T::Amp => 10,
        T::Dot => 11,
        T::ShiftLeft | T::ShiftRight | T::ShiftRightZero => 12,
        T::Plus | T::Minus => 13,
        T::Star | T::Slash | T::Percent => 14,
        _ => return None,
    })
}

fn assigns(kind: TokenKind) -> bool {
    use TokenKind as T;
    matches!(
        kind,
        T::Assign
            | T::AddAssign
            | T::SubAssign
            | T::MulAssign
            | T::DivAssign
            | T::RemAssign
            | T::PowAssign
            | T::ConcatAssign
            | T::CoalesceAssign
            | T::BitAndAssign
            | T::BitOrAssign
            | T::BitXorAssign
            | T::ShiftLeftAssign
            | T::ShiftRightAssign
            | T::ShiftRightZeroAssign
    )
}
