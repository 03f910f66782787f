//! Changes that a script makes to a message, in the order in which it makes them.
//!
//! The [`Editor`] keeps a journal of changes, so that `snapshot`, `restore` and `reset` are
//! exact, and turns it into [`Edits`] over the original. Each change is resolved when it is
//! made: a field that is changed twice has the last value, a field that was added can be
//! changed, renamed and deleted like any other. An index always counts the fields of the
//! original, for that is what the getters show.

mod parts;
mod state;
#[cfg(test)]
mod tests;
mod view;

use crate::{
    edits::{Edits, EditsError},
    field::{self, NameError, ValueForm},
    parts::{PartId, Parts},
};
use state::{Added, Change, State, Target, Value, bytes};
use std::ops::Range;

/// A change that cannot be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// The header name cannot be written.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The change overlaps another one or lies outside the message.
    #[error(transparent)]
    Place(#[from] EditsError),
    /// The script made more than [`MAX_CHANGES`] changes.
    #[error("more than {MAX_CHANGES} changes to one message")]
    TooMany,
    /// The new bytes exceed [`MAX_NEW_BYTES`].
    #[error("the changes to one message exceed {MAX_NEW_BYTES} bytes")]
    TooLarge,
    /// The message itself cannot be removed.
    #[error("the message itself cannot be removed")]
    Root,
    /// New content holds a line that would be taken for the boundary of a multipart around it.
    #[error("the content holds a boundary line of the multipart around it")]
    Boundary,
    /// A multipart or a message cannot be encoded (RFC 2045 §6.4).
    #[error("a part of this type cannot be encoded in {0}")]
    Composite(&'static str),
    /// The type of a new multipart is none.
    #[error("the type of a multipart must be multipart/ and a name, with parameters in ASCII")]
    Kind,
}

/// Changes that one message can take.
pub const MAX_CHANGES: usize = 100_000;
/// Bytes that the changes of one message can bring.
pub const MAX_NEW_BYTES: usize = 256 * 1024 * 1024;

/// The changes of one message.
#[derive(Debug, Clone, Default)]
pub struct Editor {
    original_len: u64,
    journal: Vec<Change>,
    state: State,
}

impl Editor {
    /// An editor for a message of `original_len` bytes.
    #[must_use]
    pub fn new(original_len: u64) -> Self {
        Self {
            original_len,
            ..Self::default()
        }
    }

    /// Adds a field on top of `block`, above everything added before (`addHeader`).
    ///
    /// # Errors
    /// [`EditError`]; nothing is changed then.
    pub fn add_header(
        &mut self,
        parts: &Parts,
        part: PartId,
        name: &[u8],
        value: &[u8],
        form: ValueForm,
    ) -> Result<(), EditError> {
        field::check_name(name)?;
        let Some(line_end) = parts.get(part).map(|part| part.header.line_end()) else {
            return Ok(());
        };
        let value = field::compose_value(name, name.len() + 1, value, form, line_end);
        match Self::added(parts, part, name, Value::Text(value)) {
            Some(added) => self.change(parts, added),
            None => Ok(()),
        }
    }

    fn added(parts: &Parts, part: PartId, name: &[u8], value: Value) -> Option<Change> {
        let block = &parts.get(part)?.header;
        Some(Change::Add(Added {
            part,
            at: block.insert_offset(),
            name: name.to_vec(),
            value,
            line_end: block.line_end(),
            blank_line: block.fields().len() == 0 && !block.has_blank_line(),
            deleted: false,
        }))
    }

    /// Gives the fields called `name` a new value, or only the `index`-th one of the original
    /// (`setHeader`). The name keeps its spelling. Without such a field one is added on top.
    ///
    /// Returns how many fields were changed; 0 means that one was added.
    ///
    /// # Errors
    /// [`EditError`]; nothing is changed then.
    pub fn set_header(
        &mut self,
        parts: &Parts,
        part: PartId,
        name: &[u8],
        value: &[u8],
        index: Option<i64>,
        form: ValueForm,
    ) -> Result<usize, EditError> {
        field::check_name(name)?;
        let targets = self.targets(parts, part, name, index);
        let Some(block) = parts.get(part).map(|part| &part.header) else {
            return Ok(0);
        };
        if targets.is_empty() {
            self.add_header(parts, part, name, value, form)?;
            return Ok(0);
        }
        let line_end = block.line_end();
        let mut size = self.state.new_bytes;
        let mut set = Vec::with_capacity(targets.len());
        for target in targets {
            let column = match target {
                Target::Original(_, span) => usize::try_from(span.value - span.start).unwrap_or(0),
                Target::Added(_) => name.len() + 1,
            };
            let value = field::compose_value(name, column, value, form, line_end);
            size = size.saturating_add(value.len());
            if size > MAX_NEW_BYTES {
                return Err(EditError::TooLarge);
            }
            set.push((target, Value::Text(value)));
        }
        let count = set.len();
        self.change(parts, Change::SetValue(set))?;
        Ok(count)
    }

    /// Has the `Date` field written at delivery (`setDateLater`); counts as
    /// [`Editor::set_header`].
    ///
    /// # Errors
    /// [`EditError`]; nothing is changed then.
    pub fn set_date_later(&mut self, parts: &Parts, part: PartId) -> Result<usize, EditError> {
        let targets = self.targets(parts, part, b"Date", None);
        let count = targets.len();
        if count > 0 {
            let set = targets.into_iter().map(|t| (t, Value::DeliveryDate));
            self.change(parts, Change::SetValue(set.collect()))?;
        } else if let Some(added) = Self::added(parts, part, b"Date", Value::DeliveryDate) {
            self.change(parts, added)?;
        }
        Ok(count)
    }

    /// Deletes the fields called `name`, or only the `index`-th one of the original
    /// (`delHeader`). Returns how many there were.
    ///
    /// # Errors
    /// [`EditError`]; nothing is changed then.
    pub fn del_header(
        &mut self,
        parts: &Parts,
        part: PartId,
        name: &[u8],
        index: Option<i64>,
    ) -> Result<usize, EditError> {
        let targets = self.targets(parts, part, name, index);
        let count = targets.len();
        if count > 0 {
            self.change(parts, Change::Delete(targets))?;
        }
        Ok(count)
    }

    /// Renames the fields called `name`; their values keep every byte (`renameHeader`).
    /// Returns how many there were.
    ///
    /// # Errors
    /// [`EditError`]; nothing is changed then.
    pub fn rename_header(
        &mut self,
        parts: &Parts,
        part: PartId,
        name: &[u8],
        new_name: &[u8],
    ) -> Result<usize, EditError> {
        field::check_name(new_name)?;
        let targets = self.targets(parts, part, name, None);
        let count = targets.len();
        if count > 0 {
            if new_name.len().saturating_mul(count) > MAX_NEW_BYTES {
                return Err(EditError::TooLarge);
            }
            self.change(parts, Change::Rename(targets, new_name.to_vec()))?;
        }
        Ok(count)
    }

    /// Replaces a span of the original (`modifyContent`).
    ///
    /// # Errors
    /// [`EditsError::Overlap`] with another change, [`EditsError::OutOfRange`].
    pub fn replace(
        &mut self,
        parts: &Parts,
        span: Range<u64>,
        with: &[u8],
    ) -> Result<(), EditError> {
        self.change(parts, Change::Replace(bytes(span, with)))
    }

    /// How many changes were made; an id for [`Editor::restore`].
    #[must_use]
    pub fn snapshot(&self) -> usize {
        self.journal.len()
    }

    /// Undoes all changes after the snapshot `id`; false if there is no such snapshot.
    pub fn restore(&mut self, id: usize) -> bool {
        if id > self.journal.len() {
            return false;
        }
        if id < self.journal.len() {
            self.journal.truncate(id);
            self.state = State::default();
            for change in &self.journal {
                self.state.play(change);
            }
        }
        true
    }

    /// Undoes all changes and returns how many there were.
    pub fn reset(&mut self) -> usize {
        self.state = State::default();
        std::mem::take(&mut self.journal).len()
    }

    /// Bytes that the changes hold: what they cost in memory, roughly.
    #[must_use]
    pub fn new_bytes(&self) -> usize {
        self.state.new_bytes
    }

    /// The changes as edits over the original.
    #[must_use]
    pub fn edits(&self, parts: &Parts) -> Edits {
        // Every change was checked when it was made.
        self.build(parts)
            .unwrap_or_else(|_| Edits::none(self.original_len))
    }

    /// Whether a change is checked against all that were made before it: header changes alone never
    /// overlap each other.
    #[must_use]
    pub fn checks_all(&self) -> bool {
        !self.state.replaced.is_empty() || !self.state.structures.is_empty()
    }

    fn build(&self, parts: &Parts) -> Result<Edits, EditsError> {
        Edits::new(self.original_len, self.state.edits(parts))
    }

    fn change(&mut self, parts: &Parts, change: Change) -> Result<(), EditError> {
        if self.journal.len() >= MAX_CHANGES {
            return Err(EditError::TooMany);
        }
        self.state.play(&change);
        self.journal.push(change);
        let check = self.checks_all();
        let error = if self.state.new_bytes > MAX_NEW_BYTES {
            EditError::TooLarge
        } else if let Some(Err(error)) = check.then(|| self.build(parts)) {
            error.into()
        } else {
            return Ok(());
        };
        self.restore(self.journal.len() - 1);
        Err(error)
    }

    /// The fields that a change of `name` is about, as the message stands now.
    fn targets(&self, parts: &Parts, part: PartId, name: &[u8], index: Option<i64>) -> Vec<Target> {
        let Some(block) = parts.get(part).map(|part| &part.header) else {
            return Vec::new();
        };
        if let Some(index) = index {
            let field = block.nth(name, index).map(|field| field.span());
            let there = field.filter(|span| {
                self.state.touched.get(&span.start).is_none_or(|touched| {
                    let renamed = touched.name.as_deref();
                    !touched.deleted && renamed.is_none_or(|now| now.eq_ignore_ascii_case(name))
                })
            });
            return there
                .map(|span| Target::Original(part, span))
                .into_iter()
                .collect();
        }
        let mut targets = Vec::new();
        for field in block.fields() {
            let span = field.span();
            let touched = self.state.touched.get(&span.start);
            let now = touched
                .and_then(|t| t.name.as_deref())
                .unwrap_or(field.name());
            if touched.is_none_or(|t| !t.deleted) && now.eq_ignore_ascii_case(name) {
                targets.push(Target::Original(part, span));
            }
        }
        for (i, added) in self.state.added.iter().enumerate() {
            if added.part == part && !added.deleted && added.name.eq_ignore_ascii_case(name) {
                targets.push(Target::Added(i));
            }
        }
        targets
    }
}
