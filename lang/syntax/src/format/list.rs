//! Lists in brackets: entries on one line, or each on its own with a comma behind.

use super::cursor::Formatter;
use super::doc::{Doc, Node};
use crate::token::TokenKind;

/// How a list is laid out.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// `[a, b]` when it fits.
    Tight,
    /// `{ a, b }` when it fits.
    Padded,
    /// As `Tight`, where the grammar allows no comma behind the last entry.
    Bare,
    /// Never on one line.
    Broken,
    /// As `Tight`, and one entry may open while the list stays on its line.
    Call,
}

#[derive(Clone, Copy)]
struct Entry {
    doc: Doc,
    /// The comma and what is behind it on its line.
    comma: Doc,
    /// Whether an empty line stands before it.
    blank: bool,
    /// The kind of its first token.
    first: TokenKind,
}

impl Formatter<'_> {
    /// A list from its opening to its closing bracket. A comma behind the last entry keeps it broken.
    pub(super) fn list(
        &mut self,
        layout: Layout,
        mut entry: impl FnMut(&mut Self) -> Option<Doc>,
    ) -> Option<Doc> {
        let close = self.peek().partner();
        let open = self.token()?;
        let mut entries: Vec<Entry> = Vec::new();
        let mut broken = layout == Layout::Broken;
        while self.peek() != close {
            let blank = self.blank() && !entries.is_empty();
            let (first, bare) = (self.peek(), !self.has_leading());
            let leading = self.leading();
            let mut doc = entry(self)?;
            if !bare {
                doc = self.docs.concat([leading, doc]);
            }
            let last = self.ahead(usize::from(self.peek() == TokenKind::Comma)) == close;
            let comma = if last {
                let comma = match layout {
                    Layout::Bare => self.docs.empty(),
                    _ => self.docs.add(Node::BrokenComma),
                };
                match self.peek() {
                    TokenKind::Comma => {
                        broken = true;
                        let comments = self.skip()?;
                        self.docs.concat([comma, comments])
                    }
                    _ => comma,
                }
            } else {
                self.take(TokenKind::Comma)?
            };
            entries.push(Entry {
                doc,
                comma,
                blank,
                first,
            });
        }
        if entries.is_empty() && self.dangling_inline() && !self.docs.is_hard(open) {
            let comments = self.inline_comments();
            let (end, behind) = self.close(close)?;
            return Some(self.docs.concat([open, comments, end, behind]));
        }
        let dangling = self.dangling(None);
        let (end, behind) = self.close(close)?;

        let pad = if layout == Layout::Padded {
            self.docs.line()
        } else {
            self.docs.soft()
        };
        let mut parts = vec![pad];
        for (index, entry) in entries.iter().enumerate() {
            if index > 0 {
                parts.push(self.docs.add(Node::Line {
                    space: true,
                    blank: entry.blank,
                }));
            }
            parts.extend([entry.doc, entry.comma]);
        }
        parts.push(dangling);
        let inside = self.docs.concat(parts);
        let blocks = entries
            .iter()
            .filter(|entry| self.docs.has_block(entry.doc))
            .count();
        // Two opened entries on one line would be hard to read; a call may open one of several.
        broken |= blocks > 1 || blocks == 1 && entries.len() > 1 && layout != Layout::Call;
        broken |= self.docs.is_hard(open) || self.docs.is_hard(inside);
        let inside = self.docs.indent(inside);
        let body = self.docs.concat([inside, pad]);
        let block = self.docs.block(open, body, end);
        if layout == Layout::Broken {
            return Some(self.before(block, behind));
        }
        let inner = self.docs.concat([open, body, end]);
        if layout == Layout::Call
            && !broken
            && let Some(opened) = self.with_one_opened(open, &entries, end)
        {
            let call = self.docs.add(Node::Hug {
                flat: inner,
                opened,
                broken: block,
            });
            return Some(self.before(call, behind));
        }
        let group = self.docs.add(Node::Group { inner, broken });
        if layout == Layout::Tight {
            self.opened.insert(group, block);
        }
        Some(self.before(group, behind))
    }

    /// The arguments of a call on one line, but for the last one or a function in the first place, which is opened.
    fn with_one_opened(&mut self, open: Doc, entries: &[Entry], end: Doc) -> Option<Doc> {
        let opened = |entry: &Entry| self.opened.get(&entry.doc).copied();
        let count = entries.len();
        let last = entries.last().and_then(opened);
        let before = count
            .checked_sub(2)
            .and_then(|index| entries.get(index))
            .and_then(opened);
        let (index, doc) = match (last, before) {
            (Some(doc), None) => (count - 1, doc),
            (Some(_), Some(_)) => return None,
            (None, _) => {
                let first = entries.first()?;
                let function = first.first == TokenKind::Function;
                (0, opened(first).filter(|_| function)?)
            }
        };
        let others = entries.iter().enumerate();
        if others
            .into_iter()
            .filter(|(at, _)| *at != index)
            .map(|(_, entry)| self.docs.flags(entry.doc))
            .any(|flags| flags.block || flags.breaks())
        {
            return None;
        }
        let mut parts = vec![open];
        for (at, entry) in entries.iter().enumerate() {
            if at > 0 {
                parts.push(self.docs.space());
            }
            parts.push(if at == index { doc } else { entry.doc });
            parts.push(entry.comma);
        }
        parts.push(end);
        Some(self.docs.concat(parts))
    }

    /// One thing in brackets: on lines of its own when it does not fit and `breaks` allows it.
    /// A comment that ends a line breaks it in any case.
    pub(super) fn enclosed(
        &mut self,
        breaks: bool,
        inner: impl FnOnce(&mut Self) -> Option<Doc>,
    ) -> Option<Doc> {
        self.enclosed_or_opened(breaks, |this| Some((inner(this)?, None)))
    }

    /// As [`Self::enclosed`]; `inner` also gives how it is laid out behind the bracket, opened, when it does not fit.
    pub(super) fn enclosed_or_opened(
        &mut self,
        breaks: bool,
        inner: impl FnOnce(&mut Self) -> Option<(Doc, Option<Doc>)>,
    ) -> Option<Doc> {
        let close = self.peek().partner();
        let open = self.token()?;
        let leading = self.leading();
        let (inner, opened) = inner(self)?;
        let dangling = self.dangling(None);
        let (end, behind) = self.close(close)?;
        let around = |inner| [leading, inner, dangling];
        let inside = self.docs.concat(around(inner));
        let hard = self.docs.is_hard(open) || self.docs.is_hard(inside);
        if !hard && !breaks {
            return Some(self.docs.concat([open, inside, end, behind]));
        }
        let soft = self.docs.soft();
        let body = self.docs.concat([soft, inside]);
        let body = self.docs.indent(body);
        let body = self.docs.concat([body, soft]);
        let block = self.docs.block(open, body, end);
        if hard {
            return Some(self.before(block, behind));
        }
        let flat = self.docs.concat([open, body, end]);
        let Some(opened) = opened else {
            let group = self.docs.group(flat);
            return Some(self.before(group, behind));
        };
        let opened = self.docs.concat(around(opened));
        let opened = self.docs.concat([open, opened, end]);
        let head = self.docs.add(Node::Hug {
            flat,
            opened,
            broken: block,
        });
        Some(self.before(head, behind))
    }
}
