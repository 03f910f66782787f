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

/// Says of a field's name whether it is left out.
pub(crate) type LeaveOut<'a> = &'a dyn Fn(&[u8]) -> bool;

/// What the emitter asks about headers.
pub(crate) trait Headers {
    /// The edits of the header of `part`; without those of fields that are in `without`, if it is given.
    fn edits(&self, part: PartId, without: Option<LeaveOut<'_>>) -> HeaderEdits;
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
        let Some(multipart) = around.and_then(Part::multipart) else {
            return b"--".to_vec();
        };
        // The boundary alone would make the other lines those of no boundary.
        let rest: &[u8] = if multipart.lax { b" -" } else { b"" };
        [b"--", multipart.boundary.as_slice(), rest].concat()
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
mod tests;
