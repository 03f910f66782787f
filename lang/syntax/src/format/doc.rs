//! Layout documents: text with places where lines may break.
//!
//! The nodes lie in one vector and refer to each other by number, so that layouts share their parts and dropping
//! a document costs no stack.
//!
//! A list that gets a comma behind its last entry because its lines are broken is broken the next time because of
//! that comma. So that formatting twice changes nothing, such a list breaks the groups around it, as they were broken
//! when it did not fit.

use std::ops::Range;

/// The number of a node in a [`Docs`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Doc(u32);

/// A node of a document.
#[derive(Clone, Copy, Debug)]
pub(super) enum Node {
    /// Bytes of the source.
    Source { start: u32, end: u32 },
    /// Other text.
    Text(&'static str),
    /// `,` or `;`: goes before a line comment that waits for the end of its line.
    Punct(&'static str),
    /// A space, unless the line ends here.
    Space,
    /// A comment.
    Comment {
        start: u32,
        end: u32,
        /// It reaches to the end of the line.
        line: bool,
        /// It has a line end in it or behind it.
        hard: bool,
    },
    /// A comment to the end of the line, put at the end of the present line.
    Suffix { start: u32, end: u32 },
    /// A line end when the group around it is broken, else a space or nothing.
    Line { space: bool, blank: bool },
    /// A line end; `blank`: with an empty line behind it.
    Hard { blank: bool },
    /// A line end unless the line is empty.
    Fresh,
    /// A comma, only when the group around it is broken.
    BrokenComma,
    /// Several nodes.
    Concat { first: u32, end: u32 },
    /// One level further to the right.
    Indent(Doc),
    /// On one line if it fits (never if `broken`), else with all its own lines broken.
    Group { inner: Doc, broken: bool },
    /// Brackets whose content is always broken. What stands before and behind may still be on one line.
    Block { head: Doc, body: Doc, tail: Doc },
    /// On one line if it fits, else with one part opened, else with every part on a line of its own.
    Hug { flat: Doc, opened: Doc, broken: Doc },
}

/// What a node asks of those around it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Flags {
    /// A line ends in it because of a comment; brackets around it must be broken.
    pub hard: bool,
    /// A list in it must be broken.
    pub broken: bool,
    /// There is a [`Node::Block`] in it.
    pub block: bool,
}

impl Flags {
    /// Whether it cannot stand on one line.
    pub(super) fn breaks(self) -> bool {
        self.hard || self.broken
    }

    fn or(self, other: Self) -> Self {
        Self {
            hard: self.hard || other.hard,
            broken: self.broken || other.broken,
            block: self.block || other.block,
        }
    }
}

/// All nodes of one text.
#[derive(Debug, Default)]
pub(super) struct Docs {
    nodes: Vec<Node>,
    flags: Vec<Flags>,
    children: Vec<Doc>,
}

impl Docs {
    pub(super) fn node(&self, doc: Doc) -> Node {
        // Every number was given out by `push`.
        self.nodes
            .get(doc.0 as usize)
            .copied()
            .unwrap_or(Node::Text(""))
    }

    /// Whether a comment in it ends a line.
    pub(super) fn is_hard(&self, doc: Doc) -> bool {
        self.flags(doc).hard
    }

    /// Whether there is a [`Node::Block`] in it.
    pub(super) fn has_block(&self, doc: Doc) -> bool {
        self.flags(doc).block
    }

    pub(super) fn flags(&self, doc: Doc) -> Flags {
        self.flags.get(doc.0 as usize).copied().unwrap_or_default()
    }

    /// A part of a [`Node::Concat`].
    pub(super) fn child(&self, index: u32) -> Option<Doc> {
        self.children.get(index as usize).copied()
    }

    pub(super) fn add(&mut self, node: Node) -> Doc {
        let none = Flags::default();
        let flags = match node {
            Node::Source { .. }
            | Node::Text(_)
            | Node::Punct(_)
            | Node::Space
            | Node::Line { .. }
            | Node::BrokenComma => none,
            Node::Comment { hard, .. } => Flags { hard, ..none },
            Node::Suffix { .. } | Node::Hard { .. } | Node::Fresh => Flags { hard: true, ..none },
            Node::Block { .. } => Flags {
                block: true,
                ..none
            },
            Node::Hug { flat, .. } => self.flags(flat),
            Node::Concat { first, end } => {
                let range: Range<usize> = first as usize..end as usize;
                let parts = self.children.get(range).unwrap_or_default();
                parts
                    .iter()
                    .fold(none, |all, part| all.or(self.flags(*part)))
            }
            Node::Indent(inner) => self.flags(inner),
            // What a comment asks of a list is done when the list is broken.
            Node::Group {
                inner,
                broken: true,
            } => Flags {
                hard: false,
                broken: true,
                ..self.flags(inner)
            },
            Node::Group { inner, .. } => self.flags(inner),
        };
        // A source has fewer than 2^32 bytes and a node needs at least one, but for a few per token; memory ends first.
        let number = u32::try_from(self.nodes.len()).unwrap_or(u32::MAX);
        self.nodes.push(node);
        self.flags.push(flags);
        Doc(number)
    }

    pub(super) fn concat(&mut self, parts: impl IntoIterator<Item = Doc>) -> Doc {
        let first = u32::try_from(self.children.len()).unwrap_or(u32::MAX);
        self.children.extend(parts);
        let end = u32::try_from(self.children.len()).unwrap_or(u32::MAX);
        if end == first + 1
            && let Some(only) = self.children.pop()
        {
            return only;
        }
        self.add(Node::Concat { first, end })
    }

    pub(super) fn text(&mut self, text: &'static str) -> Doc {
        self.add(Node::Text(text))
    }

    pub(super) fn space(&mut self) -> Doc {
        self.add(Node::Space)
    }

    pub(super) fn empty(&mut self) -> Doc {
        self.text("")
    }

    pub(super) fn hard(&mut self, blank: bool) -> Doc {
        self.add(Node::Hard { blank })
    }

    /// A line end or nothing.
    pub(super) fn soft(&mut self) -> Doc {
        self.add(Node::Line {
            space: false,
            blank: false,
        })
    }

    /// A line end or a space.
    pub(super) fn line(&mut self) -> Doc {
        self.add(Node::Line {
            space: true,
            blank: false,
        })
    }

    pub(super) fn indent(&mut self, inner: Doc) -> Doc {
        self.add(Node::Indent(inner))
    }

    pub(super) fn group(&mut self, inner: Doc) -> Doc {
        self.add(Node::Group {
            inner,
            broken: false,
        })
    }

    pub(super) fn block(&mut self, head: Doc, body: Doc, tail: Doc) -> Doc {
        self.add(Node::Block { head, body, tail })
    }
}
