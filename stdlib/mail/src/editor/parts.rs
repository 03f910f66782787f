//! Changes of parts: removed, replaced and new ones, bodies, preambles and epilogues.

use super::{
    EditError, Editor,
    state::{Change, Target, Touched, Value},
    view::View,
};
use crate::{
    body::{self, Encoding, Nature},
    content_type::ContentType,
    date,
    edits::{Edit, Edits, Replacement},
    header::{self, LineEnd},
    ident,
    parts::{Part, PartId, Parts},
    structure::{self, PartChange, Place, Side, holds_boundary},
};
use std::ops::Range;

impl Editor {
    /// Takes a part out of the multipart around it (`remove`).
    ///
    /// # Errors
    /// [`EditError::Root`]; nothing is changed then.
    pub fn remove_part(&mut self, parts: &Parts, part: PartId) -> Result<(), EditError> {
        if part == PartId::ROOT {
            return Err(EditError::Root);
        }
        self.change(parts, Change::Part(part, PartChange::Remove))
    }

    /// Gives a part a new body (`setBody`), in `encoding` or in the one that suits it best; the
    /// Content-Transfer-Encoding follows.
    ///
    /// # Errors
    /// [`EditError`]; nothing is changed then.
    pub fn set_body(
        &mut self,
        parts: &Parts,
        part: PartId,
        data: &[u8],
        encoding: Option<Encoding>,
    ) -> Result<(), EditError> {
        let Some(at) = parts.get(part) else {
            return Ok(());
        };
        let kind = self.current_value(parts, part, b"Content-Type");
        let kind = kind.map(|value| ContentType::parse(&value).value);
        let nature = match at.multipart() {
            Some(_) => Nature::Multipart,
            None => Nature::of(kind.as_deref()),
        };
        let composite = matches!(nature, Nature::Multipart | Nature::Message);
        let field = b"Content-Transfer-Encoding".as_slice();
        let current = self.current_value(parts, part, field);
        let chosen = match encoding {
            Some(encoding @ (Encoding::Base64 | Encoding::QuotedPrintable)) if composite => {
                return Err(EditError::Composite(encoding.as_str()));
            }
            Some(encoding) => Some(encoding),
            // What a multipart holds is the script's business, line by line.
            None if nature == Nature::Multipart => None,
            None => body::keeping(data, nature, current.as_deref()),
        };
        let eol = parts
            .get(PartId::ROOT)
            .map_or(LineEnd::CrLf, |root| root.header.line_end());
        let write = |chosen: Option<Encoding>| match (chosen, nature) {
            (None, Nature::Multipart) => data.to_vec(),
            (Some(chosen), _) if encoding.is_some() => {
                body::encode_unless_encoded(data, chosen, nature, eol)
            }
            _ => body::encode(data, chosen.unwrap_or(Encoding::SevenBit), nature, eol),
        };
        let boundaries = boundaries_around(parts, at.parent);
        let mut chosen = chosen;
        let mut written = write(chosen);
        if holds_boundary(&written, &boundaries) {
            // Encoded it cannot be taken for a boundary.
            if encoding.is_some() || composite {
                return Err(EditError::Boundary);
            }
            chosen = Some(match nature {
                Nature::Text => Encoding::QuotedPrintable,
                _ => Encoding::Base64,
            });
            written = write(chosen);
            if holds_boundary(&written, &boundaries) {
                return Err(EditError::Boundary);
            }
        }
        let body = PartChange::Body(written.into());
        let said = current.as_deref().map(<[u8]>::trim_ascii);
        let header = match chosen {
            Some(chosen) if said.is_none_or(|said| Encoding::from_name(said) != Some(chosen)) => {
                let value = Value::Text([b" ", chosen.as_str().as_bytes()].concat());
                let targets = self.targets(parts, part, field, None);
                match targets.is_empty() {
                    true => Self::added(parts, part, field, value),
                    false => Some(Change::SetValue(
                        targets.into_iter().map(|t| (t, value.clone())).collect(),
                    )),
                }
            }
            _ => None,
        };
        self.change(
            parts,
            match header {
                Some(header) => Change::Body(part, body, Box::new(header)),
                None => Change::Part(part, body),
            },
        )
    }

    /// Sets the text before the first part of a multipart (`setPreamble`) or after its last one (`setEpilogue`);
    /// false where there is no multipart.
    ///
    /// # Errors
    /// [`EditError`]; nothing is changed then.
    pub fn set_around(
        &mut self,
        parts: &Parts,
        part: PartId,
        side: Side,
        text: &[u8],
    ) -> Result<bool, EditError> {
        if parts.get(part).and_then(Part::multipart).is_none() {
            return Ok(false);
        }
        if holds_boundary(text, &boundaries_around(parts, Some(part))) {
            return Err(EditError::Boundary);
        }
        let change = match side {
            Side::Before => PartChange::Preamble(text.into()),
            Side::After => PartChange::Epilogue(text.into()),
        };
        self.change(parts, Change::Part(part, change))?;
        Ok(true)
    }

    /// Puts the part `new` (header, blank line and body) in the place of another (`replacePart`). In the place of the
    /// message itself comes what describes its content, and its body.
    ///
    /// # Errors
    /// [`EditError`]; nothing is changed then.
    pub fn replace_part(
        &mut self,
        parts: &Parts,
        part: PartId,
        new: &[u8],
    ) -> Result<(), EditError> {
        let Some(at) = parts.get(part) else {
            return Ok(());
        };
        if holds_boundary(new, &boundaries_around(parts, at.parent)) {
            return Err(EditError::Boundary);
        }
        self.change(parts, Change::Part(part, PartChange::Replace(new.into())))
    }

    /// Puts the part `new` before or after another (`prependPart`, `appendPart`).
    ///
    /// In a multipart of the type `kind` it comes beside it; else a multipart of that type is put around both.
    /// `random` becomes the boundary. What is put beside a part repeatedly goes outwards: the last
    /// one is the first or last of them all.
    ///
    /// # Errors
    /// [`EditError`]; nothing is changed then.
    pub fn insert_part(
        &mut self,
        parts: &Parts,
        part: PartId,
        side: Side,
        new: &[u8],
        kind: &[u8],
        random: &[u8; 16],
    ) -> Result<(), EditError> {
        let Some(at) = parts.get(part) else {
            return Ok(());
        };
        let wanted = ContentType::parse(kind);
        let is_multipart = wanted.is_multipart() && wanted.type_and_subtype().is_some();
        if !is_multipart || !kind.iter().all(|b| matches!(b, b' '..=b'~' | b'\t')) {
            return Err(EditError::Kind);
        }
        let around = at.parent.and_then(|parent| parts.get(parent));
        let sibling = || {
            let kind = around?.content_type()?;
            (kind == wanted.value).then_some(Place::Sibling)
        };
        let wrapped = self.state.structures.outermost_wrap(part);
        let place = match wrapped {
            Some(kind) if kind == wanted.value => Some(Place::Wrap),
            _ => sibling(),
        };
        if holds_boundary(new, &boundaries_around(parts, at.parent)) {
            return Err(EditError::Boundary);
        }
        let place = place.unwrap_or_else(|| {
            let given = wanted.raw_parameter("boundary").map(<[u8]>::to_vec);
            let given = given.filter(|given| !given.is_empty());
            let mut content_type = kind.trim_ascii().to_vec();
            while content_type.ends_with(b";") {
                content_type.truncate(content_type.trim_ascii_end().len() - 1);
            }
            let boundary = given.unwrap_or_else(|| {
                let made = ident::boundary(random, &[new]).into_bytes();
                content_type.extend([b"; boundary=\"", &*made, b"\""].concat());
                made
            });
            Place::NewWrap {
                kind: wanted.value.clone(),
                content_type: content_type.into(),
                boundary: boundary.into(),
            }
        });
        if let Place::NewWrap { boundary, .. } = &place
            && holds_boundary(new, &[boundary])
        {
            return Err(EditError::Boundary);
        }
        let change = PartChange::Insert(side, place, new.into());
        self.change(parts, Change::Part(part, change))
    }

    /// The value of the first field called `name` as it stands now, unfolded.
    fn current_value(&self, parts: &Parts, part: PartId, name: &[u8]) -> Option<Vec<u8>> {
        let targets = self.targets(parts, part, name, None);
        let value = match *targets.first()? {
            Target::Added(i) => self.state.added.get(i).map(|added| &added.value),
            Target::Original(_, span) => match self.state.touched.get(&span.start) {
                Some(Touched {
                    value: Some(value), ..
                }) => Some(value),
                _ => {
                    let mut fields = parts.get(part)?.header.fields();
                    return Some(fields.find(|f| f.span() == span)?.value());
                }
            },
        };
        match value? {
            Value::Text(text) => Some(header::unfold(text)),
            Value::DeliveryDate => None,
        }
    }

    /// The bytes of a part with its changes, without what was put around or beside it: `read` gives bytes of
    /// the original.
    ///
    /// # Errors
    /// What `read` fails with.
    pub fn part_bytes<E>(
        &self,
        parts: &Parts,
        part: PartId,
        now: i64,
        mut read: impl FnMut(Range<u64>) -> Result<Vec<u8>, E>,
    ) -> Result<Vec<u8>, E> {
        let Some(at) = parts.get(part) else {
            return Ok(Vec::new());
        };
        let view = View {
            state: &self.state,
            parts,
        };
        let mut list = structure::emit(parts, &self.state.structures, &view, part, true);
        let range = at.span.start..at.span.end;
        let inside = |edit: &&Edit| range.start <= edit.span.start && edit.span.end <= range.end;
        list.extend(self.state.replaced.iter().filter(inside).cloned());
        let edits =
            Edits::new(self.original_len, list).unwrap_or_else(|_| Edits::none(self.original_len));
        let (mut out, mut from) = (Vec::new(), range.start);
        for edit in edits.list() {
            out.extend(read(from..edit.span.start.max(from))?);
            match &edit.with {
                Replacement::Bytes(bytes) => out.extend_from_slice(bytes),
                Replacement::DeliveryDate => {
                    out.extend_from_slice(date::format_utc(now).as_bytes());
                }
            }
            from = edit.span.end.max(from);
        }
        out.extend(read(from..range.end.max(from))?);
        Ok(out)
    }
}

/// The boundaries of the multipart `part` and of those around it.
fn boundaries_around(parts: &Parts, part: Option<PartId>) -> Vec<&[u8]> {
    let mut boundaries = Vec::new();
    let mut at = part;
    while let Some(part) = at.and_then(|id| parts.get(id)) {
        boundaries.extend(part.multipart().map(|m| m.boundary.as_slice()));
        at = part.parent;
    }
    boundaries
}
