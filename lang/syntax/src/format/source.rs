//! The tokens of a text with the comments between them.
//!
//! Every comment belongs to the token before it on its line, or else to the token behind it. None belongs before a
//! `,` or `;`, so that those can follow their text directly; and what stands on the line before a closing bracket
//! belongs to the bracket, so that a comma may be added or removed there.

use crate::lexer::Lexed;
use crate::token::{Token, TokenKind};
use std::ops::Range;

/// A comment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Comment {
    pub start: u32,
    pub end: u32,
    /// `// …`
    pub line: bool,
    /// Whether a line ends between what is before it and it.
    pub fresh: bool,
    /// Whether it is on a line of its own, or with other comments only.
    pub own: bool,
    /// Whether an empty line is before it.
    pub blank: bool,
}

/// A token with its comments.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub kind: TokenKind,
    pub start: u32,
    pub end: u32,
    /// The comments before it, as indexes.
    pub leading: Range<usize>,
    /// The comments behind it on its line.
    pub trailing: Range<usize>,
    /// Whether a line ends between the last comment (or token) before it and it.
    pub fresh: bool,
    /// Whether an empty line is there.
    pub blank: bool,
}

/// All tokens, and behind them one of the kind [`TokenKind::EndOfBlock`].
pub(super) struct Tokens {
    pub items: Vec<Item>,
    pub comments: Vec<Comment>,
}

impl Tokens {
    pub(super) fn new(lexed: &Lexed, source: &[u8]) -> Self {
        let mut comments = Vec::with_capacity(lexed.comments.len());
        let mut items: Vec<Item> = Vec::with_capacity(lexed.tokens.len() + 1);
        let end = u32::try_from(source.len()).unwrap_or(u32::MAX);
        let last = Token {
            kind: TokenKind::EndOfBlock,
            start: end,
            end,
        };
        let mut pending = lexed.comments.iter().peekable();
        let mut before = 0;
        for token in lexed.tokens.iter().chain([&last]) {
            let first = comments.len();
            while let Some(comment) = pending.next_if(|comment| comment.start < token.start) {
                let (fresh, blank) = gap(source, before, comment.start);
                comments.push(Comment {
                    start: comment.start,
                    end: comment.end,
                    line: comment.kind == TokenKind::LineComment,
                    fresh,
                    own: false,
                    blank,
                });
                before = comment.end;
            }
            let (fresh, blank) = gap(source, before, token.start);
            before = token.end;
            let mut item = Item {
                kind: token.kind,
                start: token.start,
                end: token.end,
                leading: first..comments.len(),
                trailing: 0..0,
                fresh,
                blank,
            };
            let mut line_ends = item.fresh;
            for comment in comments
                .get_mut(first..)
                .unwrap_or_default()
                .iter_mut()
                .rev()
            {
                line_ends |= comment.line;
                comment.own = comment.fresh && line_ends;
                line_ends |= comment.fresh;
            }
            if let Some(previous) = items.last_mut() {
                settle(previous, &mut item, &mut comments);
            }
            items.push(item);
        }
        Self { items, comments }
    }

    /// The column of an offset, with tabs as four; for comparing the places of comments and words. Far to the right
    /// all columns are the same.
    pub(super) fn column(source: &[u8], offset: u32) -> usize {
        let offset = offset as usize;
        let near = offset.saturating_sub(FAR);
        let before = source.get(near..offset).unwrap_or_default();
        let start = memchr::memrchr(b'\n', before).map_or(0, |at| at + 1);
        let line = before.get(start..).unwrap_or_default();
        line.iter()
            .map(|byte| if *byte == b'\t' { 4 } else { 1 })
            .sum()
    }
}

/// No column beyond matters.
const FAR: usize = 512;

/// Whether a line ends between two offsets, and whether an empty line is there.
fn gap(source: &[u8], start: u32, end: u32) -> (bool, bool) {
    let text = source.get(start as usize..end as usize).unwrap_or_default();
    // What is neither the end of a line nor its start; there may be a token in it that is left out.
    let mut whole = text.split(|byte| *byte == b'\n').skip(1).peekable();
    let fresh = whole.peek().is_some();
    let mut blank = false;
    while let Some(line) = whole.next() {
        blank |= whole.peek().is_some() && line.trim_ascii().is_empty();
    }
    (fresh, blank)
}

/// Divides the comments between two tokens among them.
fn settle(previous: &mut Item, item: &mut Item, comments: &mut [Comment]) {
    // What came to stand behind a `,` or `;` (see below) is before all others.
    let carried = std::mem::take(&mut previous.trailing);
    let range = match carried.is_empty() {
        true => item.leading.clone(),
        false => carried.start..item.leading.end,
    };
    item.leading = range.clone();
    if range.is_empty() {
        return;
    }
    if matches!(item.kind, TokenKind::Comma | TokenKind::Semi) {
        // Kept here until the token behind is known.
        item.leading = 0..0;
        item.trailing = range;
        return;
    }
    let between = comments.get_mut(range.clone()).unwrap_or_default();
    if item.kind.is_closer() || item.kind == TokenKind::EndOfBlock {
        if previous.kind == TokenKind::LBrace
            && between.iter().all(|comment| !comment.line)
            && let Some(first) = between.first_mut()
        {
            first.own = true;
        }
        return;
    }
    let mut on_line = 0;
    for comment in between.iter() {
        if comment.fresh {
            break;
        }
        on_line += 1;
        if comment.line {
            break;
        }
    }
    // Behind an opening bracket a block belongs to what is inside.
    if matches!(previous.kind, TokenKind::LParen | TokenKind::LBracket)
        && between.iter().take(on_line).all(|comment| !comment.line)
    {
        return;
    }
    let last_is_line = between.last().is_some_and(|comment| comment.line);
    if on_line < between.len() || item.fresh || last_is_line {
        let middle = range.start + on_line;
        previous.trailing = range.start..middle;
        item.leading = middle..range.end;
    }
}
