//! The headers of a message with their changes.

use super::state::{Added, State, Touched, Value, bytes};
use crate::{
    edits::Edit,
    header::{HeaderBlock, LineEnd},
    parts::{PartId, Parts},
    structure::{CurrentField, HeaderEdits, Headers, LeaveOut},
};
use std::collections::BTreeMap;

/// The headers with their changes.
pub(super) struct View<'a> {
    pub(super) state: &'a State,
    pub(super) parts: &'a Parts,
}

impl View<'_> {
    /// The changes of all headers.
    pub(super) fn all(&self) -> Vec<Edit> {
        let mut out = Vec::new();
        for touched in self.state.touched.values() {
            self.touched(touched, &mut out);
        }
        let mut blank_lines = BTreeMap::new();
        for added in self.state.added.iter().rev().filter(|added| !added.deleted) {
            added.emit(&mut out);
            if added.blank_line {
                blank_lines.insert(added.at, added.line_end);
            }
        }
        let blank_line = |(at, end): (u64, LineEnd)| bytes(at..at, end.as_bytes());
        out.extend(blank_lines.into_iter().map(blank_line));
        out
    }

    fn touched(&self, touched: &Touched, out: &mut Vec<Edit>) {
        // The line end of the last field may be that of the boundary line after it.
        let end = self
            .parts
            .get(touched.part)
            .map_or(u64::MAX, |part| part.span.end);
        let span = touched.span;
        if touched.deleted {
            out.push(bytes(span.start..span.end.min(end).max(span.start), b""));
            return;
        }
        if let Some(name) = &touched.name {
            out.push(bytes(span.start..span.name_end, name));
        }
        if let Some(value) = &touched.value {
            value.emit(span.value..span.value_end, out);
        }
    }
}

impl Added {
    fn emit(&self, out: &mut Vec<Edit>) {
        let here = self.at..self.at;
        let mut head = self.name.clone();
        head.push(b':');
        out.push(bytes(here.clone(), &head));
        self.value.emit(here.clone(), out);
        out.push(bytes(here, self.line_end.as_bytes()));
    }
}

impl Headers for View<'_> {
    fn edits(&self, part: PartId, without: Option<LeaveOut<'_>>) -> HeaderEdits {
        let left_out = |name: &[u8]| without.is_some_and(|without| without(name));
        let mut found = HeaderEdits::default();
        let Some(block) = self.parts.get(part).map(|part| &part.header) else {
            return found;
        };
        let end = block.start().saturating_add(block.bytes().len() as u64);
        for touched in self
            .state
            .touched
            .range(block.start()..=end)
            .map(|(_, t)| t)
        {
            if touched.part != part {
                continue;
            }
            let name = match &touched.name {
                Some(name) => name.as_slice(),
                None => block.name_at(touched.span),
            };
            if touched.deleted || !left_out(name) {
                self.touched(touched, &mut found.edits);
            }
        }
        for added in self.state.added.iter().rev() {
            if added.part == part && !added.deleted && !left_out(&added.name) {
                added.emit(&mut found.edits);
                if added.blank_line {
                    let here = added.at..added.at;
                    found.blank_line = Some(bytes(here, added.line_end.as_bytes()));
                }
            }
        }
        found
    }

    fn current(&self, part: PartId, block: &HeaderBlock) -> Vec<CurrentField> {
        let line_end = block.line_end().as_bytes();
        let value_text = |value: &Value| match value {
            Value::Text(text) => text.clone(),
            // Only Date has it, which is no field of the content.
            Value::DeliveryDate => Vec::new(),
        };
        let added = self.state.added.iter().rev();
        let added = added.filter(|added| added.part == part && !added.deleted);
        let mut fields: Vec<CurrentField> = added
            .map(|added| CurrentField {
                name: added.name.clone(),
                text: [&*added.name, b":", &value_text(&added.value), line_end].concat(),
                original: None,
            })
            .collect();
        for field in block.fields() {
            let start = field.span().start;
            let touched = self.state.touched.get(&start);
            if touched.is_some_and(|touched| touched.deleted) {
                continue;
            }
            let name = touched.and_then(|touched| touched.name.clone());
            let value = touched.and_then(|touched| touched.value.as_ref());
            let name = name.unwrap_or_else(|| field.name().to_vec());
            let between = field.raw().get(field.name().len()..).unwrap_or_default();
            let colon = memchr::memchr(b':', between).map_or(0, |at| at + 1);
            let text = match value {
                Some(value) => {
                    let colon = between.get(..colon).unwrap_or_default();
                    [&*name, colon, &value_text(value), line_end].concat()
                }
                None if between.ends_with(b"\n") => [&*name, between].concat(),
                None => [&*name, between, line_end].concat(),
            };
            fields.push(CurrentField {
                name,
                text,
                original: Some(start),
            });
        }
        fields
    }

    fn last_is_deleted(&self, _part: PartId, block: &HeaderBlock) -> bool {
        block.fields().next_back().is_some_and(|last| {
            let touched = self.state.touched.get(&last.span().start);
            touched.is_some_and(|touched| touched.deleted)
        })
    }
}
