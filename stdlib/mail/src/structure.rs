//! Changes of a message's structure: parts removed, replaced and added, bodies, preambles and epilogues set.
//!
//! [`Structures`] is what became of each part, by the calls of a script; [`emit`] writes it as edits over the
//! original, together with the changes of header fields. What lies inside something that was removed or replaced is gone, so
//! its changes are left out. Boundary lines of the original stay as they are, broken ones too.

use crate::{
    edits::{Edit, Replacement},
    field::{self, ValueForm},
    header::{HeaderBlock, LineEnd},
    parts::{BoundaryLine, Part, PartId, Parts},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// New bytes, shared by the journal and the state.
pub(crate) type Bytes = Arc<[u8]>;

/// On which side of a part something new is put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// `prependPart`
    Before,
    /// `appendPart`
    After,
}

/// Where a new part goes.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    /// Beside the part, in the multipart around it.
    Sibling,
    /// Into the outermost multipart that was put around it.
    Wrap,
    /// Into a new multipart around it.
    NewWrap {
        kind: String,
        content_type: Bytes,
        boundary: Bytes,
    },
}

/// One change of a part.
#[derive(Debug, Clone)]
pub(crate) enum PartChange {
    Remove,
    /// The part is this one now: header, blank line and body.
    Replace(Bytes),
    /// Its body, encoded.
    Body(Bytes),
    Preamble(Bytes),
    Epilogue(Bytes),
    Insert(Side, Place, Bytes),
}

impl PartChange {
    /// The bytes that it brings.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Remove => 0,
            Self::Replace(bytes)
            | Self::Body(bytes)
            | Self::Preamble(bytes)
            | Self::Epilogue(bytes)
            | Self::Insert(_, Place::Sibling | Place::Wrap, bytes) => bytes.len(),
            Self::Insert(_, Place::NewWrap { content_type, .. }, bytes) => {
                bytes.len().saturating_add(content_type.len())
            }
        }
    }
}

/// What became of a part.
#[derive(Debug, Clone, Default)]
struct Structure {
    removed: bool,
    replaced: Option<Bytes>,
    body: Option<Bytes>,
    preamble: Option<Bytes>,
    epilogue: Option<Bytes>,
    around: Around,
    /// Multiparts around the part, the innermost first.
    wraps: Vec<Wrap>,
}

/// New parts before and after something, in their order in the message.
#[derive(Debug, Clone, Default)]
struct Around {
    before: Vec<Bytes>,
    after: Vec<Bytes>,
}

impl Around {
    /// Puts a part at the outer end of its side.
    fn insert(&mut self, side: Side, part: &Bytes) {
        match side {
            Side::Before => self.before.insert(0, Arc::clone(part)),
            Side::After => self.after.push(Arc::clone(part)),
        }
    }
}

#[derive(Debug, Clone)]
struct Wrap {
    /// Type and subtype.
    kind: String,
    /// The value of its Content-Type, boundary included.
    content_type: Bytes,
    boundary: Bytes,
    parts: Around,
}

/// What became of the parts that were changed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Structures(BTreeMap<PartId, Structure>);

impl Structures {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The type of the multipart that was put around a part last.
    pub(crate) fn outermost_wrap(&self, part: PartId) -> Option<&str> {
        Some(self.0.get(&part)?.wraps.last()?.kind.as_str())
    }

    pub(crate) fn play(&mut self, part: PartId, change: &PartChange) {
        let at = self.0.entry(part).or_default();
        match change {
            PartChange::Remove => at.removed = true,
            PartChange::Replace(new) => at.replaced = Some(Arc::clone(new)),
            PartChange::Body(body) => at.body = Some(Arc::clone(body)),
            PartChange::Preamble(text) => at.preamble = Some(Arc::clone(text)),
            PartChange::Epilogue(text) => at.epilogue = Some(Arc::clone(text)),
            PartChange::Insert(side, place, new) => match place {
                Place::Sibling => at.around.insert(*side, new),
                Place::Wrap => {
                    if let Some(wrap) = at.wraps.last_mut() {
                        wrap.parts.insert(*side, new);
                    }
                }
                Place::NewWrap {
                    kind,
                    content_type,
                    boundary,
                } => {
                    let mut parts = Around::default();
                    parts.insert(*side, new);
                    at.wraps.push(Wrap {
                        kind: kind.clone(),
                        content_type: Arc::clone(content_type),
                        boundary: Arc::clone(boundary),
                        parts,
                    });
                }
            },
        }
    }
}

/// A field of a header as it stands after the changes.
#[derive(Debug, Clone)]
pub(crate) struct CurrentField {
    pub(crate) name: Vec<u8>,
    /// The whole field with its line end.
    pub(crate) text: Vec<u8>,
    /// Where it begins in the original; none for a field that was added.
    pub(crate) original: Option<u64>,
}

/// The changes of one header.
#[derive(Debug, Clone, Default)]
pub(crate) struct HeaderEdits {
    pub(crate) edits: Vec<Edit>,
    /// A blank line that has to follow the added fields.
    pub(crate) blank_line: Option<Edit>,
}

/// What the emitter asks about headers.
pub(crate) trait Headers {
    /// The edits of the header of `part`; without those of fields that are in `without`, if it is given.
    fn edits(&self, part: PartId, without: Option<&dyn Fn(&[u8]) -> bool>) -> HeaderEdits;
    /// The fields of the header of `part` as they stand now.
    fn current(&self, part: PartId, block: &HeaderBlock) -> Vec<CurrentField>;
    /// Whether the last field of the original header of `part` was deleted.
    fn last_is_deleted(&self, part: PartId, block: &HeaderBlock) -> bool;
}

fn bytes(span: std::ops::Range<u64>, with: impl Into<Vec<u8>>) -> Edit {
    Edit {
        span,
        with: Replacement::Bytes(with.into()),
    }
}

fn insertion(at: u64, with: impl Into<Vec<u8>>) -> Edit {
    bytes(at..at, with)
}

/// Writes the changes of the part `top` and all that is below it. With `inside` only those of its content, not
/// what was put around it.
pub(crate) fn emit(
    parts: &Parts,
    structures: &Structures,
    headers: &dyn Headers,
    top: PartId,
    inside: bool,
) -> Vec<Edit> {
    let mut emitter = Emitter {
        parts,
        structures,
        headers,
        eol: parts
            .get(PartId::ROOT)
            .map_or(LineEnd::CrLf, |root| root.header.line_end()),
        top: inside.then_some(top),
        out: Vec::new(),
    };
    // No recursion: messages may be deep.
    let mut visits = vec![Visit::Enter(top)];
    while let Some(visit) = visits.pop() {
        match visit {
            Visit::Enter(id) => {
                let Some(part) = parts.get(id) else { continue };
                visits.push(Visit::Leave(id));
                if emitter.enter(id, part) {
                    let children = part.children.iter().rev();
                    visits.extend(children.map(|&child| Visit::Enter(child)));
                }
            }
            Visit::Leave(id) => {
                if let Some(part) = parts.get(id) {
                    emitter.leave(id, part);
                }
            }
        }
    }
    emitter.out
}

enum Visit {
    Enter(PartId),
    Leave(PartId),
}

struct Emitter<'a> {
    parts: &'a Parts,
    structures: &'a Structures,
    headers: &'a dyn Headers,
    eol: LineEnd,
    /// The part of which only the content counts.
    top: Option<PartId>,
    out: Vec<Edit>,
}

impl Emitter<'_> {
    fn eol(&self) -> &'static [u8] {
        self.eol.as_bytes()
    }

    /// The line that opens a part of the multipart around `part`.
    fn dashes(&self, part: &Part) -> Vec<u8> {
        let around = part.parent.and_then(|parent| self.parts.get(parent));
        let boundary = around
            .and_then(Part::multipart)
            .map(|m| m.boundary.as_slice());
        [b"--", boundary.unwrap_or_default()].concat()
    }

    /// Writes what comes before the children of a part; whether the children are still there.
    fn enter(&mut self, id: PartId, part: &Part) -> bool {
        let Some(structure) = self.structures.0.get(&id) else {
            let header = self.headers.edits(id, None);
            self.out.extend(header.edits);
            self.out.extend(header.blank_line);
            return true;
        };
        let outside = self.top != Some(id);
        if outside {
            if let Some(line) = part.delimiter {
                self.before(structure, part, &line);
            }
            if structure.removed {
                self.remove(part);
                return false;
            }
        }
        let wraps: &[Wrap] = if outside { &structure.wraps } else { &[] };
        if id == PartId::ROOT {
            return self.enter_root(structure, wraps, part);
        }
        let prefix = self.prefix(wraps, None);
        self.out.push(insertion(part.span.start, prefix));
        if let Some(new) = &structure.replaced {
            let span = part.span.start..part.span.end;
            self.out.push(bytes(span, &**new));
            return false;
        }
        let header = self.headers.edits(id, None);
        self.out.extend(header.edits);
        let Some(body) = &structure.body else {
            self.out.extend(header.blank_line);
            self.preamble(id, structure, part);
            return true;
        };
        let gap = self.gap(id, part);
        self.out.push(bytes(part.body(), [&gap, &**body].concat()));
        false
    }

    /// The message itself: what describes its content moves into the part that takes its place inside.
    fn enter_root(&mut self, structure: &Structure, wraps: &[Wrap], part: &Part) -> bool {
        let (id, eol) = (PartId::ROOT, self.eol());
        if wraps.is_empty() && structure.replaced.is_none() {
            let header = self.headers.edits(id, None);
            self.out.extend(header.edits);
            let Some(body) = &structure.body else {
                self.out.extend(header.blank_line);
                self.preamble(id, structure, part);
                return true;
            };
            let gap = self.gap(id, part);
            self.out.push(bytes(part.body(), [&gap, &**body].concat()));
            return false;
        }
        self.out
            .extend(self.headers.edits(id, Some(&is_about_content)).edits);
        let current = self.headers.current(id, &part.header);
        let (moved, kept): (Vec<_>, Vec<_>) = current
            .into_iter()
            .partition(|field| is_about_content(&field.name));
        let mut at = None;
        let mut last_moved = false;
        let starts: BTreeSet<u64> = moved.iter().filter_map(|field| field.original).collect();
        for field in part.header.fields() {
            let span = field.span();
            last_moved = starts.contains(&span.start);
            if last_moved {
                at.get_or_insert(span.start);
                self.out.push(bytes(span.start..span.end, b""));
            }
        }
        let new = structure.replaced.as_deref();
        let block = new.map(|new| HeaderBlock::read(new).unwrap_or_default());
        let content: Vec<u8> = match &block {
            // The new part's fields end with a line end each.
            Some(block) => block
                .fields()
                .flat_map(|f| whole_field(f.raw(), eol))
                .collect(),
            None => moved.into_iter().flat_map(|field| field.text).collect(),
        };
        let has = |name: &[u8]| {
            kept.iter()
                .any(|field| field.name.eq_ignore_ascii_case(name))
                || (wraps.is_empty()
                    && block
                        .as_ref()
                        .is_some_and(|block| block.nth(name, 0).is_some()))
        };
        let mut fields = Vec::new();
        if !has(b"MIME-Version") {
            fields.extend_from_slice(b"MIME-Version: 1.0");
            fields.extend_from_slice(eol);
        }
        match wraps.last() {
            Some(wrap) => fields.extend(content_type_field(&wrap.content_type, self.eol)),
            None => fields.extend_from_slice(&content),
        }
        let end = part.header.start() + part.header.bytes().len() as u64;
        let last_is_gone = last_moved || self.headers.last_is_deleted(id, &part.header);
        let lacks_end = lacks_line_end(&part.header) && !last_is_gone;
        let lead: &[u8] = if lacks_end { eol } else { b"" };
        let mut prefix = Vec::new();
        match at {
            Some(at) => {
                self.out.push(insertion(at, fields));
                if !part.header.has_blank_line() {
                    prefix.extend_from_slice(lead);
                }
            }
            None => {
                let at = end.max(part.header.insert_offset());
                self.out.push(insertion(at, [lead, &fields].concat()));
            }
        }
        if !part.header.has_blank_line() {
            prefix.extend_from_slice(eol);
        }
        if !wraps.is_empty() {
            prefix.extend(self.prefix(wraps, Some(&content)));
        }
        let body = part.body();
        self.out.push(insertion(body.start, prefix));
        let new_body = match (&block, new, &structure.body) {
            (Some(block), Some(new), _) => {
                let from = usize::try_from(block.body_offset()).unwrap_or(usize::MAX);
                Some(new.get(from..).unwrap_or_default())
            }
            (_, _, Some(body)) => Some(&**body),
            _ => None,
        };
        match new_body {
            Some(new) => {
                self.out.push(bytes(body, new));
                false
            }
            None => {
                self.preamble(id, structure, part);
                true
            }
        }
    }

    /// Writes what comes after the children of a part.
    fn leave(&mut self, id: PartId, part: &Part) {
        let Some(structure) = self.structures.0.get(&id) else {
            return;
        };
        let outside = self.top != Some(id);
        let gone = structure.removed && outside;
        if !gone && structure.replaced.is_none() && structure.body.is_none() {
            self.epilogue(structure, part);
        }
        if !outside {
            return;
        }
        if !gone && !structure.wraps.is_empty() {
            let mut suffix = self.suffix(&structure.wraps);
            if id == PartId::ROOT {
                suffix.extend_from_slice(self.eol());
            }
            self.out.push(insertion(part.span.end, suffix));
        }
        let filled = structure.replaced.is_some()
            || structure.body.is_some()
            || structure
                .epilogue
                .as_ref()
                .is_some_and(|text| !text.is_empty());
        if part.shares_line_end && !gone && (filled || !structure.wraps.is_empty()) {
            self.out.push(insertion(part.span.end, self.eol()));
        }
        if part.delimiter.is_none() {
            return;
        }
        let (eol, dashes) = (self.eol(), self.dashes(part));
        let mut text = Vec::new();
        for new in &structure.around.after {
            text.extend(match part.shares_line_end {
                false => [eol, &dashes, eol, new].concat(),
                true => [&*dashes, eol, new, eol].concat(),
            });
        }
        self.out.push(insertion(part.span.end, text));
    }

    fn before(&mut self, structure: &Structure, part: &Part, line: &BoundaryLine) {
        let (eol, dashes) = (self.eol(), self.dashes(part));
        let mut text = Vec::new();
        let last = structure.around.before.len();
        for (number, new) in (1..).zip(&structure.around.before) {
            // Where this part goes, the boundary line after it brings the line end.
            let stands = !structure.removed || part.shares_line_end || number < last;
            let tail: &[u8] = if stands { eol } else { b"" };
            text.extend(match line.has_line_end() {
                true => [eol, &dashes, eol, new].concat(),
                false => [&*dashes, eol, new, tail].concat(),
            });
        }
        self.out.push(insertion(line.start, text));
    }

    /// Takes a part out with the boundary line before it. The next boundary line keeps or inherits a line end.
    fn remove(&mut self, part: &Part) {
        if let Some(line) = part.delimiter {
            let start = if part.shares_line_end {
                line.dash
            } else {
                line.start
            };
            self.out.push(bytes(start..part.span.end, b""));
        }
    }

    /// What opens the multiparts around a part, the outermost first. The message itself has its Content-Type in its own
    /// header and gives the fields that stand in the part inside.
    fn prefix(&self, wraps: &[Wrap], content: Option<&[u8]>) -> Vec<u8> {
        let eol = self.eol();
        let mut out = Vec::new();
        for (index, wrap) in wraps.iter().rev().enumerate() {
            if index > 0 || content.is_none() {
                out.extend(content_type_field(&wrap.content_type, self.eol));
                out.extend_from_slice(eol);
            }
            let dashes = [b"--", &*wrap.boundary, eol].concat();
            for part in &wrap.parts.before {
                out.extend([&*dashes, part, eol].concat());
            }
            out.extend_from_slice(&dashes);
        }
        if let Some(content) = content {
            out.extend_from_slice(content);
            out.extend_from_slice(eol);
        }
        out
    }

    /// What closes the multiparts around a part, the innermost first.
    fn suffix(&self, wraps: &[Wrap]) -> Vec<u8> {
        let eol = self.eol();
        let mut out = Vec::new();
        for wrap in wraps {
            let dashes = [eol, b"--", &*wrap.boundary].concat();
            for part in &wrap.parts.after {
                out.extend([&*dashes, eol, part].concat());
            }
            out.extend([&*dashes, b"--"].concat());
        }
        out
    }

    fn preamble(&mut self, id: PartId, structure: &Structure, part: &Part) {
        let (Some(text), Some(multipart)) = (&structure.preamble, part.multipart()) else {
            return;
        };
        let eol = self.eol();
        let first = part
            .children
            .first()
            .and_then(|first| self.parts.get(*first));
        let line = first.and_then(|first| first.delimiter).or(multipart.close);
        let body = part.body();
        let end = line.map_or(body.end, |line| line.start.clamp(body.start, body.end));
        let gap = self.gap(id, part);
        let tail: &[u8] = match line {
            Some(line) if !line.has_line_end() && !text.is_empty() => eol,
            _ => b"",
        };
        self.out
            .push(bytes(body.start..end, [&gap, &**text, tail].concat()));
    }

    fn epilogue(&mut self, structure: &Structure, part: &Part) {
        let (Some(text), Some(multipart)) = (&structure.epilogue, part.multipart()) else {
            return;
        };
        let eol = self.eol();
        let end = part.span.end;
        let edit = match (&multipart.close, &multipart.epilogue) {
            (Some(close), Some(epilogue)) => {
                let lead: &[u8] = if close.ended || text.is_empty() {
                    b""
                } else {
                    eol
                };
                bytes(epilogue.start..epilogue.end.min(end), [lead, text].concat())
            }
            // There is no closing line: without one there is no place for an epilogue.
            _ => {
                let close = [eol, b"--", &multipart.boundary, b"--", eol].concat();
                insertion(end, [&*close, text].concat())
            }
        };
        self.out.push(edit);
    }

    /// What separates the header of a part from a new body, if nothing does.
    fn gap(&self, id: PartId, part: &Part) -> Vec<u8> {
        let header = &part.header;
        if header.has_blank_line() {
            return Vec::new();
        }
        let eol = self.eol();
        let end = header.start().saturating_add(header.bytes().len() as u64);
        // The line end of the last field may belong to the boundary line that follows.
        let lacks = lacks_line_end(header) || end > part.span.end;
        let lacks = lacks && header.fields().len() > 0 && !self.headers.last_is_deleted(id, header);
        match lacks {
            true => [eol, eol].concat(),
            false => eol.to_vec(),
        }
    }
}

/// Fields that describe the content and go with it.
fn is_about_content(name: &[u8]) -> bool {
    let head = name.get(..8).unwrap_or_default();
    head.eq_ignore_ascii_case(b"content-")
}

fn lacks_line_end(header: &HeaderBlock) -> bool {
    !header.bytes().is_empty() && !header.bytes().ends_with(b"\n")
}

/// A field with a line end, whatever it had.
fn whole_field(raw: &[u8], eol: &[u8]) -> Vec<u8> {
    match raw.ends_with(b"\n") {
        true => raw.to_vec(),
        false => [raw, eol].concat(),
    }
}

fn content_type_field(value: &[u8], eol: LineEnd) -> Vec<u8> {
    // The name can be written, and the value was checked to be ASCII.
    field::compose(b"Content-Type", value, ValueForm::default(), eol).unwrap_or_default()
}

/// Whether `data` holds a line that is one of `boundaries`.
pub(crate) fn holds_boundary(data: &[u8], boundaries: &[&[u8]]) -> bool {
    let mut lines = memchr::memmem::find_iter(data, b"--")
        .filter(|&at| at == 0 || data.get(at - 1) == Some(&b'\n'));
    lines.any(|at| {
        let line = data.get(at + 2..).unwrap_or_default();
        let end = memchr::memchr(b'\n', line).unwrap_or(line.len());
        let line = line.get(..end).unwrap_or_default();
        boundaries.iter().any(|boundary| {
            line.strip_prefix(*boundary).is_some_and(|tail| {
                let tail = tail.strip_prefix(b"--").unwrap_or(tail);
                tail.trim_ascii().is_empty()
            })
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{body::Encoding, editor::EditError, message::Message, parts::Limits};
    use proptest::prelude::*;

    fn open(text: &str) -> Message<&[u8]> {
        let mut message = Message::new(text.as_bytes()).unwrap();
        message.open_parts().unwrap();
        message
    }

    fn id(message: &mut Message<&[u8]>, path: &str) -> PartId {
        message.open_parts().unwrap().by_path(path).unwrap()
    }

    fn written(message: &Message<&[u8]>) -> String {
        String::from_utf8(message.to_vec(0).unwrap()).unwrap()
    }

    /// Paths and bodies of the changed message.
    fn outline(text: &str) -> Vec<(String, String)> {
        let parts = Parts::parse(text.as_bytes(), Limits::default()).unwrap();
        let list = parts.iter().map(|(id, part)| {
            let body = part.read_body(text.as_bytes(), true).unwrap();
            let body = body.map_or("-".to_owned(), |b| String::from_utf8_lossy(&b).into_owned());
            (parts.path(id), body)
        });
        list.collect()
    }

    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        let list = list.iter();
        list.map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
            .collect()
    }

    const MIXED: &str = "Subject: s\r\nContent-Type: multipart/mixed; boundary=a\r\n\r\npre\r\n--a\r\n\r\none\r\n\
        --a\r\nContent-Type: text/html\r\n\r\ntwo\r\n--a--\r\nepi\r\n";

    const PLAIN: &str =
        "From: a\r\ncontent-type: text/plain;\r\n charset=utf-8\r\nSubject: s\r\n\r\nbody\r\n";

    #[test]
    fn a_removed_part_takes_its_boundary_line_along() {
        let mut m = open(MIXED);
        let one = id(&mut m, "0.1");
        m.remove_part(one).unwrap();
        assert_eq!(written(&m), MIXED.replace("--a\r\n\r\none\r\n", ""));
        let two = id(&mut m, "0.2");
        m.remove_part(two).unwrap();
        assert_eq!(
            written(&m),
            MIXED.replace(
                "--a\r\n\r\none\r\n--a\r\nContent-Type: text/html\r\n\r\ntwo\r\n",
                ""
            )
        );
        assert_eq!(m.remove_part(PartId::ROOT), Err(EditError::Root));
        assert!(m.restore(1));
        assert_eq!(written(&m), MIXED.replace("--a\r\n\r\none\r\n", ""));
        assert_eq!(m.reset(), 1);
        assert_eq!(written(&m), MIXED);
    }

    #[test]
    fn changes_inside_what_is_removed_are_gone_with_it() {
        let mut m = open(MIXED);
        let (one, two) = (id(&mut m, "0.1"), id(&mut m, "0.2"));
        m.set_header(two, b"X", b"1", None, ValueForm::default())
            .unwrap();
        m.set_body(two, b"new", None).unwrap();
        m.add_header(one, b"Y", b"1", ValueForm::default()).unwrap();
        m.remove_part(one).unwrap();
        m.remove_part(two).unwrap();
        assert!(!written(&m).contains("new") && !written(&m).contains("X:"));
        m.set_body(PartId::ROOT, b"all\r\n", None).unwrap();
        let head = MIXED.find("pre").unwrap();
        assert_eq!(written(&m), format!("{}all\r\n", &MIXED[..head]));
    }

    #[test]
    fn a_new_body_keeps_the_encoding_or_says_another() {
        let text = "Content-Transfer-Encoding: BASE64\r\nContent-Type: image/png\r\n\r\nAAAA\r\n";
        let mut m = open(text);
        m.set_body(PartId::ROOT, b"abc", None).unwrap();
        assert_eq!(written(&m), text.replace("AAAA\r\n", "YWJj"));
        m.set_body(PartId::ROOT, b"a=", Some(Encoding::QuotedPrintable))
            .unwrap();
        assert_eq!(
            written(&m),
            text.replace("BASE64", "quoted-printable")
                .replace("AAAA\r\n", "a=3D")
        );
        let mut m = open(MIXED);
        let two = id(&mut m, "0.2");
        m.set_body(two, "f\u{e5}r\n--a\n".as_bytes(), None).unwrap();
        let expected = MIXED.replace("two", "f=C3=A5r\r\n=2D-a\r\n").replace(
            "Content-Type: text/html",
            "Content-Transfer-Encoding: quoted-printable\r\nContent-Type: text/html",
        );
        assert_eq!(written(&m), expected);
        let one = id(&mut m, "0.1");
        m.set_body(one, b"plain", None).unwrap();
        assert_eq!(written(&m), expected.replace("one", "plain"));
        assert_eq!(
            m.set_body(one, b"x\r\n--a--", Some(Encoding::EightBit)),
            Err(EditError::Boundary)
        );
        assert_eq!(
            m.set_body(PartId::ROOT, b"x", Some(Encoding::Base64)),
            Err(EditError::Composite("base64"))
        );
    }

    #[test]
    fn a_body_comes_to_a_part_that_has_no_blank_line() {
        for (text, expected) in [
            ("", "\r\nnew"),
            ("A: 1", "A: 1\r\n\r\nnew"),
            ("A: 1\r\n", "A: 1\r\n\r\nnew"),
            ("A: 1\n", "A: 1\n\nnew"),
            ("A: 1\n\n", "A: 1\n\nnew"),
        ] {
            let mut m = open(text);
            m.set_body(PartId::ROOT, b"new", None).unwrap();
            assert_eq!(written(&m), expected, "{text:?}");
        }
        let text = "Content-Type: multipart/mixed; boundary=a\n\n--a\nX: 1\n--a\n--a--";
        let mut m = open(text);
        let (one, two) = (id(&mut m, "0.1"), id(&mut m, "0.2"));
        m.set_body(one, b"one", None).unwrap();
        m.set_body(two, b"two", None).unwrap();
        assert_eq!(
            outline(&written(&m)),
            pairs(&[("0", "-"), ("0.1", "one"), ("0.2", "two")])
        );
    }

    #[test]
    fn preamble_and_epilogue_are_set_where_there_is_a_multipart() {
        let mut m = open(MIXED);
        assert_eq!(
            m.set_around(PartId::ROOT, Side::Before, b"new pre"),
            Ok(true)
        );
        assert_eq!(
            m.set_around(PartId::ROOT, Side::After, b"new epi"),
            Ok(true)
        );
        assert_eq!(
            written(&m),
            MIXED
                .replace("pre", "new pre")
                .replace("epi\r\n", "new epi")
        );
        assert_eq!(m.set_around(PartId(1), Side::After, b"x"), Ok(false));
        assert_eq!(
            m.set_around(PartId::ROOT, Side::Before, b"--a"),
            Err(EditError::Boundary)
        );
        for text in [
            "Content-Type: multipart/mixed; boundary=a\n\n--a\n\nx\n--a--",
            "Content-Type: multipart/mixed; boundary=a\n\n--a\n\nx",
            "Content-Type: multipart/mixed; boundary=a\n--a\n\nx\n--a--\n",
            "Content-Type: multipart/mixed; boundary=a",
        ] {
            let mut m = open(text);
            m.set_around(PartId::ROOT, Side::Before, b"PRE").unwrap();
            m.set_around(PartId::ROOT, Side::After, b"EPI").unwrap();
            let out = written(&m);
            let parts = Parts::parse(out.as_bytes(), Limits::default()).unwrap();
            let root = parts.get(PartId::ROOT).unwrap();
            let at = |range: Option<std::ops::Range<u64>>| {
                range.map(|r| out[r.start as usize..r.end as usize].to_owned())
            };
            assert_eq!(
                at(root.preamble()).as_deref(),
                Some("PRE"),
                "{text:?} {out:?}"
            );
            assert_eq!(
                at(root.epilogue()).as_deref(),
                Some("EPI"),
                "{text:?} {out:?}"
            );
        }
    }

    #[test]
    fn a_part_comes_beside_another_or_into_a_new_multipart() {
        let new = |text: &str| format!("Content-Type: text/x\r\n\r\n{text}").into_bytes();
        let mut m = open(MIXED);
        let two = id(&mut m, "0.2");
        let insert = |m: &mut Message<&[u8]>, part, side, text: &str, kind: &[u8]| {
            let random = [text.len() as u8; 16];
            m.insert_part(part, side, &new(text), kind, &random)
                .unwrap();
        };
        insert(&mut m, two, Side::Before, "b1", b"Multipart/Mixed");
        insert(&mut m, two, Side::Before, "b2", b"multipart/mixed");
        insert(&mut m, two, Side::After, "a1", b"multipart/mixed");
        insert(&mut m, two, Side::After, "a2", b"multipart/mixed");
        insert(&mut m, two, Side::After, "alt", b"multipart/alternative");
        assert_eq!(
            outline(&written(&m)),
            pairs(&[
                ("0", "-"),
                ("0.1", "one"),
                ("0.2", "b2"),
                ("0.3", "b1"),
                ("0.4", "-"),
                ("0.4.1", "two"),
                ("0.4.2", "alt"),
                ("0.5", "a1"),
                ("0.6", "a2"),
            ])
        );
        let mut m = open(PLAIN);
        insert(
            &mut m,
            PartId::ROOT,
            Side::After,
            "file",
            b"multipart/mixed",
        );
        insert(
            &mut m,
            PartId::ROOT,
            Side::After,
            "file 2",
            b"multipart/mixed; x=y",
        );
        insert(
            &mut m,
            PartId::ROOT,
            Side::Before,
            "first",
            b"multipart/mixed",
        );
        insert(
            &mut m,
            PartId::ROOT,
            Side::After,
            "sig",
            b"multipart/signed; micalg=\"sha-256\";",
        );
        let out = written(&m);
        insta::assert_snapshot!(out.replace("\r\n", "\n"), @r#"
        From: a
        MIME-Version: 1.0
        Content-Type: multipart/signed; micalg="sha-256";
         boundary="=_03030303030303030303030303030303"
        Subject: s

        --=_03030303030303030303030303030303
        Content-Type: multipart/mixed; boundary="=_04040404040404040404040404040404"

        --=_04040404040404040404040404040404
        Content-Type: text/x

        first
        --=_04040404040404040404040404040404
        content-type: text/plain;
         charset=utf-8

        body

        --=_04040404040404040404040404040404
        Content-Type: text/x

        file
        --=_04040404040404040404040404040404
        Content-Type: text/x

        file 2
        --=_04040404040404040404040404040404--
        --=_03030303030303030303030303030303
        Content-Type: text/x

        sig
        --=_03030303030303030303030303030303--
        "#);
        assert_eq!(
            m.insert_part(PartId::ROOT, Side::After, b"", b"text/plain", &[7; 16]),
            Err(EditError::Kind)
        );
        assert_eq!(
            m.insert_part(
                PartId::ROOT,
                Side::After,
                b"",
                b"multipart/a; x=\r\nX: y",
                &[7; 16]
            ),
            Err(EditError::Kind)
        );
        assert!(m.restore(0));
        assert_eq!(written(&m), PLAIN);
    }

    #[test]
    fn a_part_comes_in_the_place_of_another() {
        let mut m = open(MIXED);
        let one = id(&mut m, "0.1");
        m.replace_part(one, b"X: y\r\n\r\nnew").unwrap();
        assert_eq!(
            written(&m),
            MIXED.replace("\r\n\r\none", "\r\nX: y\r\n\r\nnew")
        );
        assert_eq!(m.part_to_vec(one, 0).unwrap(), b"X: y\r\n\r\nnew");
        let mut m = open(PLAIN);
        m.replace_part(PartId::ROOT, b"Content-Type: text/html\r\nX: y\r\n\r\n<p>")
            .unwrap();
        assert_eq!(
            written(&m),
            "From: a\r\nMIME-Version: 1.0\r\nContent-Type: text/html\r\nX: y\r\nSubject: s\r\n\r\n<p>"
        );
    }

    #[test]
    fn a_part_can_be_taken_with_its_changes() {
        let mut m = open(MIXED);
        let (one, two) = (id(&mut m, "0.1"), id(&mut m, "0.2"));
        m.set_header(two, b"content-type", b"text/x", None, ValueForm::default())
            .unwrap();
        m.insert_part(
            two,
            Side::After,
            b"\r\nx",
            b"multipart/alternative",
            &[1; 16],
        )
        .unwrap();
        m.set_body(one, b"ONE", None).unwrap();
        assert_eq!(
            m.part_to_vec(two, 0).unwrap(),
            b"Content-Type: text/x\r\n\r\ntwo"
        );
        assert_eq!(m.part_to_vec(one, 0).unwrap(), b"\r\nONE");
        assert_eq!(
            m.part_to_vec(PartId::ROOT, 0).unwrap(),
            m.to_vec(0).unwrap()
        );
    }

    #[test]
    fn one_line_end_may_serve_two_boundary_lines() {
        let inner = "Content-Type: multipart/mixed; boundary=b";
        let text = format!(
            "Content-Type: multipart/mixed; boundary=a\n\np\n--a\n{inner}\n\n--b\n\nx\n--b--\n--a\n--a\n\nlast\n--a--\n"
        );
        for (path, rest) in [
            ("0.1", vec![("0", "-"), ("0.1", ""), ("0.2", "last")]),
            (
                "0.2",
                vec![("0", "-"), ("0.1", "-"), ("0.1.1", "x"), ("0.2", "last")],
            ),
            (
                "0.3",
                vec![("0", "-"), ("0.1", "-"), ("0.1.1", "x"), ("0.2", "")],
            ),
        ] {
            let mut m = open(&text);
            let part = id(&mut m, path);
            m.remove_part(part).unwrap();
            assert_eq!(outline(&written(&m)), pairs(&rest), "{path}");
        }
        let mut m = open(&text);
        for path in ["0.1", "0.2", "0.3"] {
            let part = id(&mut m, path);
            m.replace_part(part, format!("\n{path}").as_bytes())
                .unwrap();
            m.insert_part(
                part,
                Side::Before,
                b"\nbefore",
                b"multipart/mixed",
                &[1; 16],
            )
            .unwrap();
            m.insert_part(part, Side::After, b"\nafter", b"multipart/mixed", &[1; 16])
                .unwrap();
        }
        let bodies: Vec<String> = outline(&written(&m))
            .into_iter()
            .map(|(_, body)| body)
            .collect();
        assert_eq!(
            bodies,
            [
                "-", "before", "0.1", "after", "before", "0.2", "after", "before", "0.3", "after"
            ]
        );
    }

    proptest! {
        /// Any changes of any text make edits that fit, and can be undone.
        #[test]
        fn any_changes_of_any_structure_fit_together(
            words in proptest::collection::vec(
                prop_oneof![
                    Just("--a\n"), Just("--a--\n"), Just("--b\r\n"), Just("--b--\r\n"), Just("\n"), Just("\r\n"),
                    Just("Content-Type: multipart/x; boundary=b\r\n"), Just("text\n"), Just("X: y\n"), Just("--"), Just(" "),
                    Just("Content-Type: multipart/x; boundary=a\n"), Just("--a"), Just("Content-Transfer-Encoding: base64\n"),
                ], 0..30),
            steps in proptest::collection::vec((any::<usize>(), 0..9_u8), 0..8))
        {
            let text = "Content-Type: multipart/mixed; boundary=a\n".to_owned() + &words.concat();
            let mut m = open(&text);
            let count = m.open_parts().unwrap().iter().count();
            let form = ValueForm::default();
            for (index, what) in steps {
                let part = PartId(index % count);
                let before = m.to_vec(0).unwrap();
                let snapshot = m.snapshot();
                let new = b"Content-Type: text/new\n\nnew";
                match what {
                    0 if part != PartId::ROOT => m.remove_part(part).unwrap(),
                    1 => m.set_body(part, b"body\n", None).unwrap(),
                    2 => m.replace_part(part, new).unwrap(),
                    3 => m.insert_part(part, Side::Before, new, b"multipart/mixed", &[3; 16]).unwrap(),
                    4 => m.insert_part(part, Side::After, new, b"multipart/x", &[4; 16]).unwrap(),
                    5 => drop(m.set_around(part, Side::Before, b"pre").unwrap()),
                    6 => drop(m.set_around(part, Side::After, b"epi").unwrap()),
                    7 => drop(m.set_header(part, b"X", b"changed", None, form).unwrap()),
                    _ => drop(m.del_header(part, b"X", None).unwrap()),
                }
                drop(m.part_to_vec(part, 0).unwrap());
                let edits = m.edits();
                prop_assert_eq!(edits.modified_size(), m.to_vec(0).unwrap().len() as u64);
                let mut copy = m.clone();
                prop_assert!(copy.restore(snapshot));
                prop_assert_eq!(copy.to_vec(0).unwrap(), before);
            }
            m.reset();
            prop_assert_eq!(m.to_vec(0).unwrap(), text.into_bytes());
        }

        /// What is put into a well-formed message is found there again, and the rest as it was.
        #[test]
        fn structure_follows_a_model(
            bodies in proptest::collection::vec("[a-z]{1,5}", 1..6),
            steps in proptest::collection::vec((any::<usize>(), 0..5_u8, "[A-Z]{1,5}"), 0..10),
            crlf in any::<bool>(), preamble in any::<bool>())
        {
            let eol = if crlf { "\r\n" } else { "\n" };
            let mut text = format!("Content-Type: multipart/mixed; boundary=a{eol}{eol}");
            if preamble {
                text += &format!("pre{eol}");
            }
            for body in &bodies {
                text += &format!("--a{eol}Content-Type: text/x{eol}{eol}{body}{eol}");
            }
            text += &format!("--a--{eol}epi");
            let mut m = open(&text);
            // For each part: what stands before it, itself, what stands after it.
            let mut model: Vec<(Vec<String>, Option<String>, Vec<String>)> =
                bodies.iter().map(|body| (vec![], Some(body.clone()), vec![])).collect();
            let mut replaced = vec![false; bodies.len()];
            for (index, what, word) in steps {
                let at = index % bodies.len();
                let part = PartId(at + 1);
                let new = format!("Content-Type: text/x{eol}{eol}{word}");
                match what {
                    0 => {
                        m.remove_part(part).unwrap();
                        model[at].1 = None;
                    }
                    1 => {
                        m.set_body(part, word.as_bytes(), None).unwrap();
                        if model[at].1.is_some() && !replaced[at] {
                            model[at].1 = Some(word);
                        }
                    }
                    2 => {
                        m.replace_part(part, new.as_bytes()).unwrap();
                        replaced[at] = true;
                        if model[at].1.is_some() {
                            model[at].1 = Some(word);
                        }
                    }
                    3 => {
                        m.insert_part(part, Side::Before, new.as_bytes(), b"multipart/mixed", &[1; 16]).unwrap();
                        model[at].0.insert(0, word);
                    }
                    _ => {
                        m.insert_part(part, Side::After, new.as_bytes(), b"multipart/mixed", &[1; 16]).unwrap();
                        model[at].2.push(word);
                    }
                }
            }
            let out = written(&m);
            let mut expected = format!("Content-Type: multipart/mixed; boundary=a{eol}{eol}");
            if preamble {
                expected += &format!("pre{eol}");
            }
            let mut first = true;
            for (before, own, after) in &model {
                for body in before.iter().chain(own).chain(after) {
                    expected += &format!("--a{eol}Content-Type: text/x{eol}{eol}{body}{eol}");
                    first = false;
                }
            }
            expected += &format!("--a--{eol}epi");
            // Without a preamble the line end of the first boundary line may stay when it goes.
            if preamble || (model[0].1.is_some() && !first) {
                prop_assert_eq!(out, expected);
            } else {
                prop_assert_eq!(out.replace(&format!("{eol}{eol}{eol}--a"), &format!("{eol}{eol}--a")), expected);
            }
        }
    }
}
