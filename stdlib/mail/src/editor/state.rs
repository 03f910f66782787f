//! The journal's entries, and what they come to when they are played.

use super::view::View;
use crate::{
    edits::{Edit, Replacement},
    header::{FieldSpan, LineEnd},
    parts::{PartId, Parts},
    structure::{self, PartChange, Structures},
};
use std::{collections::BTreeMap, ops::Range};

/// One call of a script, with its targets resolved.
#[derive(Debug, Clone)]
pub(super) enum Change {
    Add(Added),
    SetValue(Vec<(Target, Value)>),
    Delete(Vec<Target>),
    Rename(Vec<Target>, Vec<u8>),
    Replace(Edit),
    Part(PartId, PartChange),
    /// One call that changes a part and its header.
    Body(PartId, PartChange, Box<Change>),
}

/// A field that a change is about.
#[derive(Debug, Clone, Copy)]
pub(super) enum Target {
    Original(PartId, FieldSpan),
    /// Index into [`State::added`].
    Added(usize),
}

/// What stands between colon and line end, leading space included.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Text(Vec<u8>),
    DeliveryDate,
}

impl Value {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::DeliveryDate => 1 + crate::date::LENGTH,
        }
    }

    /// Emits the value in place of `span`.
    pub(super) fn emit(&self, span: Range<u64>, out: &mut Vec<Edit>) {
        match self {
            Self::Text(text) => out.push(bytes(span, text)),
            Self::DeliveryDate => {
                out.push(bytes(span.start..span.start, b" "));
                out.push(Edit {
                    span,
                    with: Replacement::DeliveryDate,
                });
            }
        }
    }
}

pub(super) fn bytes(span: Range<u64>, with: &[u8]) -> Edit {
    Edit {
        span,
        with: Replacement::Bytes(with.to_vec()),
    }
}

/// A new field on top of a header block.
#[derive(Debug, Clone)]
pub(super) struct Added {
    pub(super) part: PartId,
    pub(super) at: u64,
    pub(super) name: Vec<u8>,
    pub(super) value: Value,
    pub(super) line_end: LineEnd,
    /// The block has neither fields nor a blank line after them: one must follow.
    pub(super) blank_line: bool,
    pub(super) deleted: bool,
}

/// What became of a field of the original.
#[derive(Debug, Clone)]
pub(super) struct Touched {
    pub(super) part: PartId,
    pub(super) span: FieldSpan,
    pub(super) name: Option<Vec<u8>>,
    pub(super) value: Option<Value>,
    pub(super) deleted: bool,
}

/// The journal, played.
#[derive(Debug, Clone, Default)]
pub(super) struct State {
    /// By offset of the field.
    pub(super) touched: BTreeMap<u64, Touched>,
    /// In the order of adding.
    pub(super) added: Vec<Added>,
    pub(super) replaced: Vec<Edit>,
    pub(super) structures: Structures,
    pub(super) new_bytes: usize,
}

impl State {
    pub(super) fn play(&mut self, change: &Change) {
        let cost = match change {
            Change::Add(added) => {
                self.added.push(added.clone());
                added.name.len().saturating_add(added.value.len())
            }
            Change::SetValue(set) => {
                for (target, value) in set {
                    match *target {
                        Target::Original(part, span) => {
                            self.touch(part, span).value = Some(value.clone());
                        }
                        Target::Added(i) => self.with_added(i, |added| added.value = value.clone()),
                    }
                }
                set.iter()
                    .fold(0, |sum, (_, value)| value.len().saturating_add(sum))
            }
            Change::Delete(targets) => {
                for target in targets {
                    match *target {
                        Target::Original(part, span) => self.touch(part, span).deleted = true,
                        Target::Added(i) => self.with_added(i, |added| added.deleted = true),
                    }
                }
                0
            }
            Change::Rename(targets, name) => {
                for target in targets {
                    match *target {
                        Target::Original(part, span) => {
                            self.touch(part, span).name = Some(name.clone());
                        }
                        Target::Added(i) => self.with_added(i, |added| added.name = name.clone()),
                    }
                }
                name.len().saturating_mul(targets.len())
            }
            Change::Replace(edit) => {
                self.replaced.push(edit.clone());
                match &edit.with {
                    Replacement::Bytes(bytes) => bytes.len(),
                    Replacement::DeliveryDate => 0,
                }
            }
            Change::Part(part, change) => {
                self.structures.play(*part, change);
                change.len()
            }
            Change::Body(part, body, header) => {
                self.structures.play(*part, body);
                self.play(header);
                body.len()
            }
        };
        self.new_bytes = self.new_bytes.saturating_add(cost);
    }

    fn touch(&mut self, part: PartId, span: FieldSpan) -> &mut Touched {
        self.touched.entry(span.start).or_insert(Touched {
            part,
            span,
            name: None,
            value: None,
            deleted: false,
        })
    }

    fn with_added(&mut self, index: usize, change: impl FnOnce(&mut Added)) {
        if let Some(added) = self.added.get_mut(index) {
            change(added);
        }
    }

    pub(super) fn edits(&self, parts: &Parts) -> Vec<Edit> {
        let view = View { state: self, parts };
        let mut out = if self.structures.is_empty() {
            view.all()
        } else {
            structure::emit(parts, &self.structures, &view, PartId::ROOT, false)
        };
        out.extend(self.replaced.iter().cloned());
        out
    }
}
