//! Puts a layout document on lines.
//!
//! A loop with a stack of its own: documents may be deep. To decide about a group it looks ahead no further
//! than the width of a line, so that the time is linear.

use super::doc::{Doc, Docs, Node};
use memchr::{memchr, memrchr};

/// Lines are broken to be no longer, where they can be broken.
pub(super) const WIDTH: usize = 100;
/// Spaces a level.
const STEP: usize = 4;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Flat,
    Broken,
}

/// A node to print, or the rest of a [`Node::Concat`].
#[derive(Clone, Copy)]
struct Job {
    doc: Doc,
    /// How many parts of it are done.
    done: u32,
    mode: Mode,
    indent: usize,
}

/// Prints `doc`.
pub(super) fn render(docs: &Docs, source: &[u8], doc: Doc) -> Vec<u8> {
    let mut printer = Printer {
        docs,
        source,
        out: Vec::with_capacity(source.len() + source.len() / 8),
        column: 0,
        breaks: 0,
        space: false,
        comment: false,
        suffix: None,
    };
    printer.run(doc);
    printer.finish()
}

struct Printer<'a> {
    docs: &'a Docs,
    source: &'a [u8],
    out: Vec<u8>,
    column: usize,
    /// Line ends that are due before the next text: 0, 1 or 2.
    breaks: u8,
    /// Whether a space is due before the next text.
    space: bool,
    /// Whether a block comment was written last.
    comment: bool,
    /// The comment that goes to the end of the present line.
    suffix: Option<(u32, u32)>,
}

impl<'a> Printer<'a> {
    fn run(&mut self, doc: Doc) {
        let mut stack = vec![Job {
            doc,
            done: 0,
            mode: Mode::Broken,
            indent: 0,
        }];
        while let Some(job) = stack.pop() {
            let Job { mode, indent, .. } = job;
            let with = |doc, mode, indent| Job {
                doc,
                done: 0,
                mode,
                indent,
            };
            match self.docs.node(job.doc) {
                Node::Source { start, end } => self.text(self.slice(start, end), indent),
                Node::Text(text) => self.text(text.as_bytes(), indent),
                Node::Punct(text) => self.punct(text, indent),
                Node::Space => self.space = true,
                Node::Comment {
                    start, end, line, ..
                } => self.comment(start, end, line, indent),
                Node::Suffix { start, end } => {
                    if self.suffix.is_some() {
                        self.new_line(false);
                        self.comment(start, end, true, indent);
                    } else {
                        self.suffix = Some((start, end));
                    }
                }
                Node::Line { blank, .. } if mode == Mode::Broken => self.new_line(blank),
                Node::Line { space, .. } => self.space |= space,
                Node::Hard { blank } => self.new_line(blank),
                Node::Fresh => {
                    if !self.out.is_empty() {
                        self.new_line(false);
                    }
                }
                Node::BrokenComma if mode == Mode::Broken => self.punct(",", indent),
                Node::BrokenComma => {}
                Node::Concat { first, end } => {
                    let next = first + job.done;
                    if next < end
                        && let Some(child) = self.docs.child(next)
                    {
                        stack.push(Job {
                            done: job.done + 1,
                            ..job
                        });
                        stack.push(with(child, mode, indent));
                    }
                }
                Node::Indent(inner) => stack.push(with(inner, mode, deeper(indent, mode))),
                Node::Group { inner, broken } => {
                    let broken = broken || self.docs.flags(inner).breaks();
                    let flat = mode == Mode::Flat
                        || !broken && self.fits(with(inner, Mode::Flat, indent), &stack);
                    let mode = if flat { Mode::Flat } else { Mode::Broken };
                    stack.push(with(inner, mode, indent));
                }
                Node::Block { head, body, tail } => {
                    stack.push(with(tail, Mode::Flat, indent));
                    stack.push(with(body, Mode::Broken, indent));
                    stack.push(with(head, Mode::Flat, indent));
                }
                Node::Hug {
                    flat,
                    opened,
                    broken,
                } => {
                    let fits = |doc| self.fits(with(doc, Mode::Flat, indent), &stack);
                    let (doc, mode) =
                        if mode == Mode::Flat || !self.docs.flags(flat).breaks() && fits(flat) {
                            (flat, Mode::Flat)
                        } else if fits(opened) {
                            (opened, Mode::Flat)
                        } else {
                            (broken, Mode::Broken)
                        };
                    stack.push(with(doc, mode, indent));
                }
            }
        }
    }

    /// Whether `first` and what follows up to the next line end fit on the present line.
    fn fits(&self, first: Job, rest: &[Job]) -> bool {
        let at_start = self.breaks > 0 || self.out.is_empty();
        let column = if at_start { first.indent } else { self.column };
        let Some(mut left) = WIDTH.checked_sub(column) else {
            return false;
        };
        let mut space = self.space && !at_start;
        let mut comment = self.comment && !at_start;
        let mut rest = rest.iter().rev();
        let mut stack = vec![first];
        // For each block whose head is being measured: the height of the stack below, and its indentation.
        let mut ends: Vec<(usize, usize)> = Vec::new();
        loop {
            while let Some((depth, indent)) = ends.last().copied()
                && stack.len() <= depth
            {
                // The head of a block is behind us; its tail starts a line.
                ends.pop();
                left = WIDTH.saturating_sub(indent);
                (space, comment) = (false, false);
            }
            let Some(job) = stack.pop().or_else(|| rest.next().copied()) else {
                return true;
            };
            let Job { mode, indent, .. } = job;
            let with = |doc, indent| Job {
                doc,
                done: 0,
                mode,
                indent,
            };
            let mut is_comment = false;
            let text = match self.docs.node(job.doc) {
                Node::Source { start, end } => self.slice(start, end),
                // The lines of a comment are indented anew, but for the first.
                Node::Comment {
                    start, end, hard, ..
                } => {
                    let text = self.slice(start, end);
                    if hard {
                        let first = text.split(|byte| *byte == b'\n').next();
                        let width = columns(first.unwrap_or_default().trim_ascii_end());
                        return width + usize::from(space) <= left;
                    }
                    is_comment = true;
                    text
                }
                Node::Text(text) | Node::Punct(text) => text.as_bytes(),
                Node::BrokenComma if mode == Mode::Broken => b",",
                Node::BrokenComma => b"",
                Node::Space => {
                    space = true;
                    continue;
                }
                Node::Line { space: wanted, .. } if mode == Mode::Flat => {
                    space |= wanted;
                    continue;
                }
                Node::Line { .. } | Node::Hard { .. } | Node::Fresh | Node::Suffix { .. } => {
                    return true;
                }
                Node::Concat { first, end } => {
                    let next = first + job.done;
                    if next < end
                        && let Some(child) = self.docs.child(next)
                    {
                        stack.push(Job {
                            done: job.done + 1,
                            ..job
                        });
                        stack.push(with(child, indent));
                    }
                    continue;
                }
                Node::Indent(inner) => {
                    stack.push(with(inner, deeper(indent, mode)));
                    continue;
                }
                // A group behind the one in question may break when its turn comes.
                Node::Group { inner, .. } => {
                    stack.push(with(inner, indent));
                    continue;
                }
                Node::Block { head, body, .. } if mode == Mode::Broken => {
                    stack.push(with(body, indent));
                    stack.push(with(head, indent));
                    continue;
                }
                Node::Block { head, tail, .. } => {
                    stack.push(with(tail, indent));
                    ends.push((stack.len(), indent));
                    stack.push(with(head, indent));
                    continue;
                }
                Node::Hug { flat, opened, .. } => {
                    let doc = if mode == Mode::Broken { opened } else { flat };
                    stack.push(with(doc, indent));
                    continue;
                }
            };
            if text.is_empty() {
                continue;
            }
            space |= comment && !tight(text);
            match left.checked_sub(usize::from(space)) {
                Some(now) => left = now,
                None => return false,
            }
            (space, comment) = (false, is_comment);
            match measure(text, left) {
                Width::TooLong => return false,
                Width::Line(width) => left = left.saturating_sub(width),
                Width::Lines(last) => left = WIDTH.saturating_sub(last),
            }
        }
    }

    fn slice(&self, start: u32, end: u32) -> &'a [u8] {
        let range = start as usize..end as usize;
        self.source.get(range).unwrap_or_default()
    }

    fn new_line(&mut self, blank: bool) {
        self.breaks = self.breaks.max(if blank { 2 } else { 1 });
    }

    /// Writes what is due before a text.
    fn prepare(&mut self, indent: usize) {
        if self.suffix.is_some() {
            self.new_line(false);
        }
        if self.breaks > 0 {
            self.end_line();
            if !self.out.is_empty() {
                let count = usize::from(self.breaks);
                self.out.extend(std::iter::repeat_n(b'\n', count));
            }
            self.out.extend(std::iter::repeat_n(b' ', indent));
            self.column = indent;
        } else if self.space && !self.out.is_empty() {
            self.out.push(b' ');
            self.column += 1;
        }
        self.breaks = 0;
        self.space = false;
        self.comment = false;
    }

    /// Writes the comment that waits for the end of the line.
    fn end_line(&mut self) {
        if let Some((start, end)) = self.suffix.take() {
            if !self.out.is_empty() {
                self.out.push(b' ');
            }
            let text = self.slice(start, end).trim_ascii_end();
            self.out.extend_from_slice(text);
        }
    }

    fn text(&mut self, text: &[u8], indent: usize) {
        if text.is_empty() {
            return;
        }
        self.space |= self.comment && !tight(text);
        self.prepare(indent);
        self.write(text);
    }

    fn punct(&mut self, text: &str, indent: usize) {
        if self.suffix.is_some() && self.breaks == 0 {
            self.space = false;
            self.write(text.as_bytes());
        } else {
            self.text(text.as_bytes(), indent);
        }
    }

    fn write(&mut self, text: &[u8]) {
        self.out.extend_from_slice(text);
        match memrchr(b'\n', text) {
            Some(at) => self.column = columns(text.get(at + 1..).unwrap_or_default()),
            None => self.column += columns(text),
        }
    }

    /// Writes a comment. The lines of one whose lines start with `*` are aligned, those of others stay.
    fn comment(&mut self, start: u32, end: u32, line: bool, indent: usize) {
        self.prepare(indent);
        let text = self.slice(start, end).trim_ascii_end();
        let mut lines = text.split(|byte| *byte == b'\n');
        if let Some(first) = lines.next() {
            self.write(first.trim_ascii_end());
        }
        let starred = lines
            .clone()
            .all(|line| line.trim_ascii().starts_with(b"*"));
        for line in lines {
            self.out.push(b'\n');
            self.column = 0;
            if starred {
                self.out.extend(std::iter::repeat_n(b' ', indent + 1));
                self.column = indent + 1;
                self.write(line.trim_ascii());
            } else {
                self.write(line.trim_ascii_end());
            }
        }
        if line {
            self.new_line(false);
        }
        self.comment = true;
    }

    fn finish(mut self) -> Vec<u8> {
        self.end_line();
        if !self.out.is_empty() {
            self.out.push(b'\n');
        }
        self.out
    }
}

/// Whether no space is needed between a comment and this text.
fn tight(text: &[u8]) -> bool {
    matches!(text.first(), Some(b')' | b']' | b',' | b';'))
}

/// What stands on one line is not indented: a block in it starts from the line's own indentation.
fn deeper(indent: usize, mode: Mode) -> usize {
    match mode {
        Mode::Flat => indent,
        Mode::Broken => indent + STEP,
    }
}

/// How much room a text takes.
enum Width {
    /// It is on one line.
    Line(usize),
    /// It has several lines; the first fits, the last has this width.
    Lines(usize),
    /// Its first line does not fit.
    TooLong,
}

fn measure(text: &[u8], left: usize) -> Width {
    // A character has at most four bytes, so nothing beyond can matter.
    let start = text.get(..text.len().min(left * 4 + 4)).unwrap_or_default();
    match memchr(b'\n', start) {
        Some(at) => {
            if columns(start.get(..at).unwrap_or_default()) > left {
                return Width::TooLong;
            }
            let last = memrchr(b'\n', text).map_or(0, |at| at + 1);
            Width::Lines(columns(text.get(last..).unwrap_or_default()))
        }
        None if columns(start) > left => Width::TooLong,
        None => Width::Line(columns(start)),
    }
}

/// Characters, or bytes where they are none.
fn columns(text: &[u8]) -> usize {
    text.iter().filter(|byte| **byte & 0xc0 != 0x80).count()
}
