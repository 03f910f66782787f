//! The formatter's place in the tokens, and how tokens and comments become documents.

use super::doc::{Doc, Docs, Node};
use super::source::{Comment, Tokens};
use crate::token::TokenKind;
use std::collections::HashMap;

/// Reads tokens and builds the document. The methods give none when the tokens are not what the grammar says,
/// which cannot happen to a text that the parser has accepted.
pub(super) struct Formatter<'a> {
    pub docs: Docs,
    /// For a list or function that may stand on one line: the same, opened.
    pub opened: HashMap<Doc, Doc>,
    /// The empty statements and members that are left out, as indexes of their tokens in rising order.
    pub needless: Vec<usize>,
    tokens: Tokens,
    source: &'a [u8],
    at: usize,
}

impl<'a> Formatter<'a> {
    pub(super) fn new(tokens: Tokens, source: &'a [u8]) -> Self {
        Self {
            docs: Docs::default(),
            opened: HashMap::new(),
            needless: Vec::new(),
            tokens,
            source,
            at: 0,
        }
    }

    // ---- Looking -----------------------------------------------------------------------------

    /// The kind of the next token; [`TokenKind::EndOfBlock`] at the end.
    pub(super) fn peek(&self) -> TokenKind {
        self.ahead(0)
    }

    /// The kind of the token `count` behind the next one.
    pub(super) fn ahead(&self, count: usize) -> TokenKind {
        let item = self.tokens.items.get(self.at + count);
        item.map_or(TokenKind::EndOfBlock, |item| item.kind)
    }

    /// The kind of the token `count` before the next one, from 1.
    pub(super) fn behind(&self, count: usize) -> Option<TokenKind> {
        let index = self.at.checked_sub(count)?;
        self.tokens.items.get(index).map(|item| item.kind)
    }

    /// Whether an empty line stands before the next token and its comments.
    pub(super) fn blank(&self) -> bool {
        let Some(item) = self.tokens.items.get(self.at) else {
            return false;
        };
        match self.tokens.comments.get(item.leading.clone()) {
            Some([first, ..]) => first.blank,
            _ => item.blank,
        }
    }

    /// The column where the next token stands in the source.
    pub(super) fn column(&self) -> usize {
        let start = self.tokens.items.get(self.at).map_or(0, |item| item.start);
        Tokens::column(self.source, start)
    }

    /// Whether the next token has comments before it.
    pub(super) fn has_leading(&self) -> bool {
        let item = self.tokens.items.get(self.at);
        item.is_some_and(|item| !item.leading.is_empty())
    }

    // ---- Taking ------------------------------------------------------------------------------

    /// The next token with its comments, if it is of this kind.
    pub(super) fn take(&mut self, kind: TokenKind) -> Option<Doc> {
        if self.peek() == kind {
            self.token()
        } else {
            None
        }
    }

    /// The next token with its comments.
    pub(super) fn token(&mut self) -> Option<Doc> {
        let leading = self.leading();
        let item = self.tokens.items.get(self.at)?.clone();
        let text = match item.kind {
            TokenKind::Comma => self.docs.add(Node::Punct(",")),
            TokenKind::Semi => self.docs.add(Node::Punct(";")),
            TokenKind::EndOfBlock => return None,
            _ => self.docs.add(Node::Source {
                start: item.start,
                end: item.end,
            }),
        };
        self.at += 1;
        let trailing = self.behind_line(item.trailing);
        Some(self.docs.concat([leading, text, trailing]))
    }

    /// The closing bracket that comes next, and the comments behind it on its line, which are outside.
    pub(super) fn close(&mut self, kind: TokenKind) -> Option<(Doc, Doc)> {
        let item = self.tokens.items.get_mut(self.at)?;
        let trailing = std::mem::replace(&mut item.trailing, 0..0);
        let bracket = self.take(kind)?;
        let trailing = self.behind_line(trailing);
        Some((bracket, trailing))
    }

    /// `doc` and what is behind it, if anything.
    pub(super) fn before(&mut self, doc: Doc, behind: Doc) -> Doc {
        match self.docs.node(behind) {
            Node::Text("") => doc,
            Node::Concat { first, end } if first == end => doc,
            _ => self.docs.concat([doc, behind]),
        }
    }

    /// Leaves out the next token, an empty statement or member.
    pub(super) fn leave_out(&mut self) {
        self.needless.push(self.at);
        self.at += 1;
    }

    /// Takes the next token and leaves its text out, but not its comments.
    pub(super) fn skip(&mut self) -> Option<Doc> {
        let leading = self.leading();
        let item = self.tokens.items.get(self.at)?.clone();
        self.at += 1;
        let trailing = self.behind_line(item.trailing);
        Some(self.docs.concat([leading, trailing]))
    }

    /// The comments before the next token, which then has none any more.
    pub(super) fn leading(&mut self) -> Doc {
        let Some(item) = self.tokens.items.get_mut(self.at) else {
            return self.docs.empty();
        };
        let range = std::mem::replace(&mut item.leading, 0..0);
        let (fresh, blank) = (item.fresh, item.blank);
        let mut parts = Vec::new();
        let comments: Vec<Comment> = self.slice(range);
        for (index, comment) in comments.iter().enumerate() {
            if comment.own {
                parts.push(self.docs.add(Node::Fresh));
            } else if index == 0 && !self.behind(1).is_some_and(TokenKind::is_opener) {
                parts.push(self.docs.space());
            }
            parts.push(self.comment(*comment));
            let next = comments.get(index + 1);
            let (fresh, blank) = next.map_or((fresh, blank), |next| (next.fresh, next.blank));
            parts.push(if fresh || comment.line {
                self.docs.hard(blank)
            } else {
                self.docs.space()
            });
        }
        self.docs.concat(parts)
    }

    /// The comments before a closing bracket or the end: on the line of the last token, or on lines of their own.
    /// With `deeper` only those that stand further to the right than that column.
    pub(super) fn dangling(&mut self, deeper: Option<usize>) -> Doc {
        let Some(item) = self.tokens.items.get(self.at) else {
            return self.docs.empty();
        };
        let all = item.leading.clone();
        let mut parts = Vec::new();
        let mut taken = 0;
        for comment in self.slice(all.clone()) {
            let inside =
                deeper.is_none_or(|least| Tokens::column(self.source, comment.start) > least);
            if comment.fresh && deeper.is_some() && !(inside && comment.own) {
                break;
            }
            if comment.own {
                // An empty line is kept, except right behind the opening bracket.
                let blank = comment.blank && !(taken == 0 && self.behind(1).is_some_and(opens));
                parts.push(self.docs.hard(blank));
                parts.push(self.comment(comment));
            } else {
                parts.push(self.docs.space());
                parts.push(self.on_line(comment));
            }
            taken += 1;
        }
        if let Some(item) = self.tokens.items.get_mut(self.at) {
            item.leading = all.start + taken..all.end;
        }
        self.docs.concat(parts)
    }

    /// The comments before a closing bracket that has nothing else before it, all of them on its line.
    pub(super) fn inline_comments(&mut self) -> Doc {
        let range = match self.tokens.items.get_mut(self.at) {
            Some(item) => std::mem::replace(&mut item.leading, 0..0),
            None => 0..0,
        };
        let parts: Vec<Doc> = self
            .slice(range)
            .into_iter()
            .map(|comment| self.comment(comment))
            .collect();
        self.spaced(parts)
    }

    /// Whether all comments before the next token are blocks on the line of the token before.
    pub(super) fn dangling_inline(&self) -> bool {
        let item = self.tokens.items.get(self.at);
        let comments = item.map(|item| self.slice(item.leading.clone()));
        comments.is_none_or(|list| list.iter().all(|comment| !comment.own && !comment.line))
    }

    fn slice(&self, range: std::ops::Range<usize>) -> Vec<Comment> {
        let comments = self.tokens.comments.get(range);
        comments.unwrap_or_default().to_vec()
    }

    /// Comments behind a token on its line.
    fn behind_line(&mut self, range: std::ops::Range<usize>) -> Doc {
        let mut parts = Vec::new();
        for comment in self.slice(range) {
            parts.push(self.docs.space());
            parts.push(self.on_line(comment));
        }
        self.docs.concat(parts)
    }

    fn on_line(&mut self, comment: Comment) -> Doc {
        if comment.line {
            let Comment { start, end, .. } = comment;
            self.docs.add(Node::Suffix { start, end })
        } else {
            self.comment(comment)
        }
    }

    fn comment(&mut self, comment: Comment) -> Doc {
        let Comment {
            start, end, line, ..
        } = comment;
        let text = self.source.get(start as usize..end as usize);
        let hard = line || text.is_some_and(|text| text.contains(&b'\n'));
        self.docs.add(Node::Comment {
            start,
            end,
            line,
            hard,
        })
    }
}

fn opens(kind: TokenKind) -> bool {
    kind.is_opener() || kind == TokenKind::Colon
}
