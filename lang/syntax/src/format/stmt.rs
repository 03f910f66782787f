//! Statements, functions and classes.

use super::cursor::Formatter;
use super::doc::{Doc, Node};
use super::expr::Chain;
use super::list::Layout;
use crate::token::TokenKind;

/// Statements in a row.
struct Stmts {
    doc: Doc,
    count: usize,
    /// Whether the last one is an expression or starts with `echo`, `return` and the like.
    simple: bool,
}

impl Formatter<'_> {
    /// The whole text.
    pub(super) fn program(&mut self) -> Option<Doc> {
        let stmts = self.stmts()?;
        if self.peek() != TokenKind::EndOfBlock {
            return None;
        }
        let dangling = self.dangling(None);
        Some(self.docs.concat([stmts.doc, dangling]))
    }

    /// Statements up to the end of their block or case. Empty ones are left out.
    fn stmts(&mut self) -> Option<Stmts> {
        use TokenKind::{Case, Default, EndOfBlock, RBrace, Semi};
        let mut parts = Vec::new();
        let mut count = 0;
        let mut simple = false;
        let mut blank = false;
        while !matches!(self.peek(), RBrace | EndOfBlock | Case | Default) {
            blank |= self.blank();
            if self.peek() == Semi {
                self.leave_out();
                continue;
            }
            if count > 0 {
                parts.push(self.docs.hard(blank));
            }
            blank = false;
            parts.push(self.leading());
            simple = is_simple(self.peek(), self.ahead(1));
            parts.push(self.stmt()?);
            count += 1;
        }
        let doc = self.docs.concat(parts);
        Some(Stmts { doc, count, simple })
    }

    fn stmt(&mut self) -> Option<Doc> {
        match self.peek() {
            TokenKind::LBrace => self.block(false),
            TokenKind::If => self.if_stmt(),
            TokenKind::While => {
                let word = self.token()?;
                let head = self.head()?;
                let head = self.spaced([word, head]);
                self.with_body(head)
            }
            TokenKind::Forever => {
                let word = self.token()?;
                self.with_body(word)
            }
            TokenKind::For => self.for_stmt(),
            TokenKind::Foreach => self.foreach(),
            TokenKind::Switch => self.switch(),
            TokenKind::Try => self.try_stmt(),
            TokenKind::Barrier => {
                let word = self.token()?;
                let name = self.expr(Chain::Indented)?;
                let mut parts = vec![word, name];
                if let Some(arrow) = self.take(TokenKind::FatArrow) {
                    parts.extend([arrow, self.take(TokenKind::Variable)?]);
                }
                parts.push(self.block(false)?);
                Some(self.spaced(parts))
            }
            TokenKind::Function if self.ahead(1) == TokenKind::Name => {
                let word = self.token()?;
                self.function(word)
            }
            TokenKind::Class => self.class(),
            TokenKind::Debug => {
                let word = self.token()?;
                let array = self.array()?;
                let leading = self.leading();
                let body = match self.peek() {
                    TokenKind::Semi => self.token()?,
                    _ => self.stmt()?,
                };
                let body = self.docs.concat([leading, body]);
                Some(self.spaced([word, array, body]))
            }
            TokenKind::Import => self.import(),
            _ => self.simple(),
        }
    }

    /// A statement that ends with `;`, but for imports.
    fn simple(&mut self) -> Option<Doc> {
        use TokenKind::{
            Break, Continue, Echo, EndOfBlock, Global, Include, IncludeOnce, RBrace, Return, Semi,
            Throw, Yield,
        };
        let kind = self.peek();
        let words = [
            Echo,
            Return,
            Throw,
            Yield,
            Global,
            Include,
            IncludeOnce,
            Break,
            Continue,
        ];
        let word = if words.contains(&kind) {
            Some(self.token()?)
        } else {
            None
        };
        let rest = match (kind, self.peek()) {
            (Break | Continue, _) | (Return, Semi | RBrace | EndOfBlock) => None,
            (Global, _) => Some(self.variables()?),
            (Include | IncludeOnce, _) => Some(self.token()?),
            (Yield, _) => {
                let key = self.expr(Chain::Indented)?;
                Some(self.pair(key)?)
            }
            _ => Some(self.expr(Chain::Indented)?),
        };
        let stmt = match (word, rest) {
            (Some(word), Some(mut rest)) => {
                if self.docs.is_hard(word) {
                    rest = self.docs.indent(rest);
                }
                self.spaced([word, rest])
            }
            (Some(only), None) | (None, Some(only)) => only,
            (None, None) => return None,
        };
        let semi = self.semi()?;
        Some(self.docs.concat([stmt, semi]))
    }

    /// The `;` at the end of a statement, which may be missing at the end of a block.
    fn semi(&mut self) -> Option<Doc> {
        match self.peek() {
            TokenKind::Semi => self.token(),
            TokenKind::RBrace | TokenKind::EndOfBlock => Some(self.docs.add(Node::Punct(";"))),
            _ => None,
        }
    }

    /// `$a, $b`
    fn variables(&mut self) -> Option<Doc> {
        let first = self.take(TokenKind::Variable)?;
        let mut rest = Vec::new();
        while let Some(comma) = self.take(TokenKind::Comma) {
            let line = self.docs.line();
            rest.extend([comma, line, self.take(TokenKind::Variable)?]);
        }
        let rest = self.docs.concat(rest);
        let rest = self.docs.indent(rest);
        let all = self.docs.concat([first, rest]);
        Some(self.docs.group(all))
    }

    // ---- Blocks and bodies --------------------------------------------------------------------

    /// `{ … }`. With `inline`, a single simple statement may stand on the line of the braces.
    pub(super) fn block(&mut self, inline: bool) -> Option<Doc> {
        let open = self.take(TokenKind::LBrace)?;
        let stmts = self.stmts()?;
        let commented = self.has_leading();
        let dangling = self.dangling(None);
        let (close, behind) = self.close(TokenKind::RBrace)?;
        let hard = self.docs.is_hard(open) || self.docs.is_hard(stmts.doc);
        if stmts.count == 0 && !commented && !hard {
            return Some(self.docs.concat([open, stmts.doc, close, behind]));
        }
        let line = self.docs.hard(false);
        let inside = if stmts.count == 0 {
            self.docs.concat([stmts.doc, dangling])
        } else {
            self.docs.concat([line, stmts.doc, dangling])
        };
        let inside = self.docs.indent(inside);
        let body = self.docs.concat([inside, line]);
        let block = self.docs.block(open, body, close);
        let one = stmts.count == 1 && stmts.simple && !self.docs.has_block(stmts.doc);
        if !inline || hard || commented || !one {
            return Some(self.before(block, behind));
        }
        let line = self.docs.line();
        let inside = self.docs.concat([line, stmts.doc]);
        let inside = self.docs.indent(inside);
        let all = self.docs.concat([open, inside, line, close]);
        let group = self.docs.group(all);
        self.opened.insert(group, block);
        Some(self.before(group, behind))
    }

    /// `(condition)`
    fn head(&mut self) -> Option<Doc> {
        self.enclosed(true, |this| this.expr(Chain::Flush))
    }

    /// The body of a compound statement behind its head.
    fn with_body(&mut self, head: Doc) -> Option<Doc> {
        match self.peek() {
            TokenKind::LBrace => {
                let body = self.block(false)?;
                Some(self.spaced([head, body]))
            }
            TokenKind::Semi => {
                let semi = self.token()?;
                Some(self.docs.concat([head, semi]))
            }
            _ => {
                let line = self.docs.hard(false);
                let leading = self.leading();
                let body = self.stmt()?;
                let body = self.docs.concat([line, leading, body]);
                let body = self.docs.indent(body);
                Some(self.docs.concat([head, body]))
            }
        }
    }

    /// `else if` and `else` stand behind a `}`, or on lines of their own.
    fn if_stmt(&mut self) -> Option<Doc> {
        let mut parts = Vec::new();
        loop {
            let word = self.take(TokenKind::If)?;
            let condition = self.head()?;
            let head = self.spaced([word, condition]);
            parts.push(self.with_body(head)?);
            if self.peek() != TokenKind::Else {
                break;
            }
            let braces = self.behind(1) == Some(TokenKind::RBrace);
            parts.push(if braces {
                self.docs.space()
            } else {
                self.docs.hard(false)
            });
            let word = self.token()?;
            if self.peek() != TokenKind::If {
                parts.push(self.with_body(word)?);
                break;
            }
            let space = self.docs.space();
            parts.extend([word, space]);
        }
        Some(self.docs.concat(parts))
    }

    fn for_stmt(&mut self) -> Option<Doc> {
        let word = self.token()?;
        let head = self.enclosed(true, |this| {
            let mut parts = Vec::new();
            let mut semis = 0;
            while this.peek() != TokenKind::RParen {
                match this.peek() {
                    TokenKind::Semi => {
                        semis += 1;
                        parts.push(this.token()?);
                        if !matches!(this.peek(), TokenKind::Semi | TokenKind::RParen) {
                            parts.push(this.docs.line());
                        }
                    }
                    TokenKind::Comma => {
                        parts.push(this.token()?);
                        parts.push(this.docs.space());
                    }
                    _ => parts.push(this.expr(Chain::Indented)?),
                }
            }
            (semis == 2).then(|| this.docs.concat(parts))
        })?;
        let head = self.spaced([word, head]);
        self.with_body(head)
    }

    fn foreach(&mut self) -> Option<Doc> {
        let word = self.token()?;
        // An array literal opens rather than the parentheses.
        let head = self.enclosed_or_opened(true, |this| {
            let subject = this.expr(Chain::Indented)?;
            let word = this.take(TokenKind::As)?;
            let key = this.expr(Chain::Indented)?;
            let target = this.pair(key)?;
            let opened = this.opened.get(&subject).copied();
            let opened = opened.map(|opened| this.spaced([opened, word, target]));
            Some((this.spaced([subject, word, target]), opened))
        })?;
        let head = self.spaced([word, head]);
        self.with_body(head)
    }

    fn try_stmt(&mut self) -> Option<Doc> {
        let word = self.token()?;
        let body = self.block(false)?;
        let catch = self.take(TokenKind::Catch)?;
        let variable = self.enclosed(false, |this| this.take(TokenKind::Variable))?;
        let handler = self.block(false)?;
        Some(self.spaced([word, body, catch, variable, handler]))
    }

    fn switch(&mut self) -> Option<Doc> {
        let word = self.token()?;
        let subject = self.head()?;
        let head = self.spaced([word, subject]);
        let open = self.take(TokenKind::LBrace)?;
        let mut parts = Vec::new();
        while matches!(self.peek(), TokenKind::Case | TokenKind::Default) {
            let blank = self.blank() && !parts.is_empty();
            parts.push(self.docs.hard(blank));
            parts.push(self.leading());
            parts.push(self.case()?);
        }
        parts.push(self.dangling(None));
        let close = self.take(TokenKind::RBrace)?;
        let inside = self.docs.concat(parts);
        let inside = self.docs.indent(inside);
        let line = self.docs.hard(false);
        let body = self.docs.concat([inside, line]);
        let block = self.docs.block(open, body, close);
        Some(self.spaced([head, block]))
    }

    /// `case value:` with its statements, and the comments behind them that stand further to the right than `case`.
    fn case(&mut self) -> Option<Doc> {
        let column = self.column();
        let default = self.peek() == TokenKind::Default;
        let word = self.token()?;
        let mut parts = vec![word];
        if !default {
            let space = self.docs.space();
            parts.extend([space, self.expr(Chain::Indented)?]);
        }
        parts.push(self.take(TokenKind::Colon)?);
        if self.is_only_block() && !self.has_leading() {
            let space = self.docs.space();
            parts.extend([space, self.block(false)?]);
        }
        let stmts = self.stmts()?;
        let dangling = self.dangling(Some(column));
        let line = if stmts.count == 0 {
            self.docs.empty()
        } else {
            self.docs.hard(false)
        };
        let body = self.docs.concat([line, stmts.doc, dangling]);
        parts.push(self.docs.indent(body));
        Some(self.docs.concat(parts))
    }

    /// Whether what follows is a block and behind it the end of the case.
    fn is_only_block(&self) -> bool {
        if self.peek() != TokenKind::LBrace {
            return false;
        }
        let mut depth = 0_usize;
        let mut ahead = 0;
        loop {
            match self.ahead(ahead) {
                TokenKind::EndOfBlock => return false,
                kind if kind.is_opener() => depth += 1,
                kind if kind.is_closer() => depth = depth.saturating_sub(1),
                _ => {}
            }
            ahead += 1;
            if depth == 0 {
                let next = self.ahead(ahead);
                return matches!(
                    next,
                    TokenKind::Case | TokenKind::Default | TokenKind::RBrace
                );
            }
        }
    }

    fn import(&mut self) -> Option<Doc> {
        let word = self.token()?;
        let mut parts = vec![word];
        match self.peek() {
            TokenKind::LBrace => parts.push(self.list(Layout::Padded, |this| {
                let mut words = vec![this.token()?];
                if let Some(word) = this.take(TokenKind::As) {
                    words.extend([word, this.token()?]);
                }
                Some(this.spaced(words))
            })?),
            TokenKind::Star => {
                parts.push(self.token()?);
                parts.push(self.take(TokenKind::As)?);
                parts.push(self.take(TokenKind::Name)?);
            }
            _ => parts.push(self.take(TokenKind::Variable)?),
        }
        parts.push(self.take(TokenKind::From)?);
        parts.push(self.token()?);
        if let Some(word) = self.take(TokenKind::With) {
            parts.extend([word, self.array()?]);
        }
        let stmt = self.spaced(parts);
        let semi = self.semi()?;
        Some(self.docs.concat([stmt, semi]))
    }

    // ---- Functions and classes ----------------------------------------------------------------

    /// A declared function behind its keyword: its brace stands on a line of its own.
    fn function(&mut self, word: Doc) -> Option<Doc> {
        let name = self.take(TokenKind::Name)?;
        let params = self.params()?;
        let name = self.docs.concat([name, params]);
        let head = self.spaced([word, name]);
        self.with_own_line(head)
    }

    fn with_own_line(&mut self, head: Doc) -> Option<Doc> {
        let empty = self.ahead(1) == TokenKind::RBrace;
        let space = self.docs.space();
        let line = self.docs.hard(false);
        let body = self.block(false)?;
        // `{}` stays on the line unless there is a comment in it.
        let between = if empty && !self.docs.has_block(body) {
            space
        } else {
            line
        };
        Some(self.docs.concat([head, between, body]))
    }

    fn class(&mut self) -> Option<Doc> {
        let word = self.token()?;
        let name = self.take(TokenKind::Name)?;
        let head = self.spaced([word, name]);
        let open = self.take(TokenKind::LBrace)?;
        let mut parts = Vec::new();
        let mut blank = false;
        while self.peek() != TokenKind::RBrace {
            blank |= self.blank();
            if self.peek() == TokenKind::Semi {
                self.leave_out();
                continue;
            }
            parts.push(self.docs.hard(blank && !parts.is_empty()));
            blank = false;
            parts.push(self.leading());
            parts.push(self.member()?);
        }
        let commented = self.has_leading();
        parts.push(self.dangling(None));
        let close = self.take(TokenKind::RBrace)?;
        let inside = self.docs.concat(parts);
        if !commented && !self.docs.is_hard(inside) && !self.docs.is_hard(open) {
            let block = self.docs.concat([open, inside, close]);
            return Some(self.spaced([head, block]));
        }
        let inside = self.docs.indent(inside);
        let line = self.docs.hard(false);
        let body = self.docs.concat([inside, line]);
        let block = self.docs.block(open, body, close);
        Some(self.docs.concat([head, line, block]))
    }

    fn member(&mut self) -> Option<Doc> {
        let mut words = Vec::new();
        loop {
            match self.peek() {
                TokenKind::Private | TokenKind::Readonly | TokenKind::Static => {
                    words.push(self.token()?);
                }
                TokenKind::Constructor => {
                    let word = self.token()?;
                    let params = self.params()?;
                    let head = self.docs.concat([word, params]);
                    return self.with_own_line(head);
                }
                TokenKind::Function => {
                    words.push(self.token()?);
                    let word = self.spaced(words);
                    return self.function(word);
                }
                _ => break,
            }
        }
        words.push(self.take(TokenKind::Variable)?);
        if let Some(equals) = self.take(TokenKind::Assign) {
            words.extend([equals, self.expr(Chain::Indented)?]);
        }
        let member = self.spaced(words);
        let semi = self.take(TokenKind::Semi)?;
        Some(self.docs.concat([member, semi]))
    }
}

/// Whether a statement that starts with these tokens ends with `;`.
fn is_simple(first: TokenKind, second: TokenKind) -> bool {
    use TokenKind as T;
    match first {
        T::LBrace
        | T::If
        | T::While
        | T::Forever
        | T::For
        | T::Foreach
        | T::Switch
        | T::Try
        | T::Barrier
        | T::Class
        | T::Debug => false,
        T::Function => second != T::Name,
        _ => true,
    }
}
