//! Changes that a script makes to a message, in the order in which it makes them.
//!
//! The [`Editor`] keeps a journal of changes, so that `snapshot`, `restore` and `reset` are
//! exact, and turns it into [`Edits`] over the original. Each change is resolved when it is
//! made: a field that is changed twice has the last value, a field that was added can be
//! changed, renamed and deleted like any other. An index always counts the fields of the
//! original, for that is what the getters show.

use crate::{
    edits::{Edit, Edits, EditsError, Replacement},
    field::{self, NameError, ValueForm},
    header::{FieldSpan, HeaderBlock, LineEnd},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

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

/// One call of a script, with its targets resolved.
#[derive(Debug, Clone)]
enum Change {
    Add(Added),
    SetValue(Vec<(Target, Value)>),
    Delete(Vec<Target>),
    Rename(Vec<Target>, Vec<u8>),
    Replace(Edit),
}

/// A field that a change is about.
#[derive(Debug, Clone, Copy)]
enum Target {
    Original(FieldSpan),
    /// Index into [`State::added`].
    Added(usize),
}

/// What stands between colon and line end, leading space included.
#[derive(Debug, Clone)]
enum Value {
    Text(Vec<u8>),
    DeliveryDate,
}

impl Value {
    fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::DeliveryDate => 1 + crate::date::LENGTH,
        }
    }

    /// Emits the value in place of `span`.
    fn emit(&self, span: Range<u64>, out: &mut Vec<Edit>) {
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

fn bytes(span: Range<u64>, with: &[u8]) -> Edit {
    Edit {
        span,
        with: Replacement::Bytes(with.to_vec()),
    }
}

/// A new field on top of a header block.
#[derive(Debug, Clone)]
struct Added {
    at: u64,
    name: Vec<u8>,
    value: Value,
    line_end: LineEnd,
    /// The block has neither fields nor a blank line after them: one must follow.
    blank_line: bool,
    deleted: bool,
}

/// What became of a field of the original.
#[derive(Debug, Clone)]
struct Touched {
    span: FieldSpan,
    name: Option<Vec<u8>>,
    value: Option<Value>,
    deleted: bool,
}

/// The journal, played.
#[derive(Debug, Clone, Default)]
struct State {
    /// By offset of the field.
    touched: BTreeMap<u64, Touched>,
    /// In the order of adding.
    added: Vec<Added>,
    replaced: Vec<Edit>,
    new_bytes: usize,
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
        block: &HeaderBlock,
        name: &[u8],
        value: &[u8],
        form: ValueForm,
    ) -> Result<(), EditError> {
        field::check_name(name)?;
        let line_end = block.line_end();
        let value = field::compose_value(name, name.len() + 1, value, form, line_end);
        self.add(block, name, Value::Text(value))
    }

    fn add(&mut self, block: &HeaderBlock, name: &[u8], value: Value) -> Result<(), EditError> {
        self.change(Change::Add(Added {
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
        block: &HeaderBlock,
        name: &[u8],
        value: &[u8],
        index: Option<i64>,
        form: ValueForm,
    ) -> Result<usize, EditError> {
        field::check_name(name)?;
        let targets = self.targets(block, name, index);
        if targets.is_empty() {
            self.add_header(block, name, value, form)?;
            return Ok(0);
        }
        let line_end = block.line_end();
        let mut size = self.state.new_bytes;
        let mut set = Vec::with_capacity(targets.len());
        for target in targets {
            let column = match target {
                Target::Original(span) => usize::try_from(span.value - span.start).unwrap_or(0),
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
        self.change(Change::SetValue(set))?;
        Ok(count)
    }

    /// Has the `Date` field written at delivery (`setDateLater`); counts as
    /// [`Editor::set_header`].
    ///
    /// # Errors
    /// [`EditError`]; nothing is changed then.
    pub fn set_date_later(&mut self, block: &HeaderBlock) -> Result<usize, EditError> {
        let targets = self.targets(block, b"Date", None);
        let count = targets.len();
        if count == 0 {
            self.add(block, b"Date", Value::DeliveryDate)?;
        } else {
            let set = targets.into_iter().map(|t| (t, Value::DeliveryDate));
            self.change(Change::SetValue(set.collect()))?;
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
        block: &HeaderBlock,
        name: &[u8],
        index: Option<i64>,
    ) -> Result<usize, EditError> {
        let targets = self.targets(block, name, index);
        let count = targets.len();
        if count > 0 {
            self.change(Change::Delete(targets))?;
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
        block: &HeaderBlock,
        name: &[u8],
        new_name: &[u8],
    ) -> Result<usize, EditError> {
        field::check_name(new_name)?;
        let targets = self.targets(block, name, None);
        let count = targets.len();
        if count > 0 {
            if new_name.len().saturating_mul(count) > MAX_NEW_BYTES {
                return Err(EditError::TooLarge);
            }
            self.change(Change::Rename(targets, new_name.to_vec()))?;
        }
        Ok(count)
    }

    /// Replaces a span of the original (`modifyContent`).
    ///
    /// # Errors
    /// [`EditsError::Overlap`] with another change, [`EditsError::OutOfRange`].
    pub fn replace(&mut self, span: Range<u64>, with: &[u8]) -> Result<(), EditError> {
        self.change(Change::Replace(bytes(span, with)))
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
    pub fn edits(&self) -> Edits {
        // Every change was checked when it was made.
        self.build()
            .unwrap_or_else(|_| Edits::none(self.original_len))
    }

    fn build(&self) -> Result<Edits, EditsError> {
        Edits::new(self.original_len, self.state.edits())
    }

    fn change(&mut self, change: Change) -> Result<(), EditError> {
        if self.journal.len() >= MAX_CHANGES {
            return Err(EditError::TooMany);
        }
        // Header changes never overlap each other: only replaced spans need a check.
        let check = !self.state.replaced.is_empty() || matches!(change, Change::Replace(_));
        self.state.play(&change);
        self.journal.push(change);
        let error = if self.state.new_bytes > MAX_NEW_BYTES {
            EditError::TooLarge
        } else if let Some(Err(error)) = check.then(|| self.build()) {
            error.into()
        } else {
            return Ok(());
        };
        self.restore(self.journal.len() - 1);
        Err(error)
    }

    /// The fields that a change of `name` is about, as the message stands now.
    fn targets(&self, block: &HeaderBlock, name: &[u8], index: Option<i64>) -> Vec<Target> {
        if let Some(index) = index {
            let field = block.nth(name, index).map(|field| field.span());
            let there = field.filter(|span| {
                self.state.touched.get(&span.start).is_none_or(|touched| {
                    let renamed = touched.name.as_deref();
                    !touched.deleted && renamed.is_none_or(|now| now.eq_ignore_ascii_case(name))
                })
            });
            return there.map(Target::Original).into_iter().collect();
        }
        let mut targets = Vec::new();
        for field in block.fields() {
            let span = field.span();
            let touched = self.state.touched.get(&span.start);
            let now = touched
                .and_then(|t| t.name.as_deref())
                .unwrap_or(field.name());
            if touched.is_none_or(|t| !t.deleted) && now.eq_ignore_ascii_case(name) {
                targets.push(Target::Original(span));
            }
        }
        let at = block.insert_offset();
        for (i, added) in self.state.added.iter().enumerate() {
            if added.at == at && !added.deleted && added.name.eq_ignore_ascii_case(name) {
                targets.push(Target::Added(i));
            }
        }
        targets
    }
}

impl State {
    fn play(&mut self, change: &Change) {
        let cost = match change {
            Change::Add(added) => {
                self.added.push(added.clone());
                added.name.len().saturating_add(added.value.len())
            }
            Change::SetValue(set) => {
                for (target, value) in set {
                    match *target {
                        Target::Original(span) => self.touch(span).value = Some(value.clone()),
                        Target::Added(i) => self.with_added(i, |added| added.value = value.clone()),
                    }
                }
                set.iter()
                    .fold(0, |sum, (_, value)| value.len().saturating_add(sum))
            }
            Change::Delete(targets) => {
                for target in targets {
                    match *target {
                        Target::Original(span) => self.touch(span).deleted = true,
                        Target::Added(i) => self.with_added(i, |added| added.deleted = true),
                    }
                }
                0
            }
            Change::Rename(targets, name) => {
                for target in targets {
                    match *target {
                        Target::Original(span) => self.touch(span).name = Some(name.clone()),
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
        };
        self.new_bytes = self.new_bytes.saturating_add(cost);
    }

    fn touch(&mut self, span: FieldSpan) -> &mut Touched {
        self.touched.entry(span.start).or_insert(Touched {
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

    fn edits(&self) -> Vec<Edit> {
        let mut out = Vec::new();
        for touched in self.touched.values() {
            let span = touched.span;
            if touched.deleted {
                out.push(bytes(span.start..span.end, b""));
                continue;
            }
            if let Some(name) = &touched.name {
                out.push(bytes(span.start..span.name_end, name));
            }
            if let Some(value) = &touched.value {
                value.emit(span.value..span.value_end, &mut out);
            }
        }
        // The last one added comes first; a blank line follows the first one added.
        let mut separators = BTreeSet::new();
        for added in self.added.iter().rev().filter(|added| !added.deleted) {
            let here = added.at..added.at;
            let mut head = added.name.clone();
            head.push(b':');
            out.push(bytes(here.clone(), &head));
            added.value.emit(here.clone(), &mut out);
            out.push(bytes(here, added.line_end.as_bytes()));
            if added.blank_line {
                separators.insert((added.at, added.line_end.as_bytes()));
            }
        }
        out.extend(separators.into_iter().map(|(at, end)| bytes(at..at, end)));
        out.extend(self.replaced.iter().cloned());
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edits::Modified;
    use std::sync::Arc;

    struct Mail {
        text: &'static str,
        block: HeaderBlock,
        editor: Editor,
    }

    fn mail(text: &'static str) -> Mail {
        Mail {
            text,
            block: HeaderBlock::read(text.as_bytes()).unwrap(),
            editor: Editor::new(text.len() as u64),
        }
    }

    impl Mail {
        fn add(&mut self, name: &str, value: &str) {
            let form = ValueForm::default();
            self.editor
                .add_header(&self.block, name.as_bytes(), value.as_bytes(), form)
                .unwrap();
        }
        fn set(&mut self, name: &str, value: &str, index: Option<i64>) -> usize {
            let form = ValueForm::default();
            self.editor
                .set_header(&self.block, name.as_bytes(), value.as_bytes(), index, form)
                .unwrap()
        }
        fn del(&mut self, name: &str, index: Option<i64>) -> usize {
            self.editor
                .del_header(&self.block, name.as_bytes(), index)
                .unwrap()
        }
        fn rename(&mut self, name: &str, new: &str) -> usize {
            self.editor
                .rename_header(&self.block, name.as_bytes(), new.as_bytes())
                .unwrap()
        }
        fn text(&self) -> String {
            let edits = Arc::new(self.editor.edits());
            let modified = Modified::new(self.text.as_bytes(), edits, 0).unwrap();
            String::from_utf8(modified.to_vec().unwrap()).unwrap()
        }
    }

    const MAIL: &str = "Received: a\r\n\tb\r\nsUbject :  x\r\nX: 1\r\nx: 2\r\n\r\nbody\r\n";

    #[test]
    fn added_fields_stand_on_top_the_last_one_first() {
        let mut m = mail(MAIL);
        m.add("A", "1");
        m.add("B", "2");
        assert_eq!(m.text(), format!("B: 2\r\nA: 1\r\n{MAIL}"));
    }

    #[test]
    fn a_set_field_keeps_its_place_and_spelling() {
        let mut m = mail(MAIL);
        assert_eq!(m.set("Subject", "new", None), 1);
        assert_eq!(m.text(), MAIL.replace("  x", " new"));
        assert_eq!(m.set("subject", "newer", None), 1);
        assert_eq!(m.text(), MAIL.replace("  x", " newer"));
    }

    #[test]
    fn set_without_index_changes_all_and_with_index_one() {
        let mut m = mail(MAIL);
        assert_eq!(m.set("X", "n", None), 2);
        assert_eq!(
            m.text(),
            MAIL.replace("X: 1", "X: n").replace("x: 2", "x: n")
        );
        assert_eq!(m.editor.reset(), 1);
        assert_eq!(m.set("X", "n", Some(-1)), 1);
        assert_eq!(m.text(), MAIL.replace("x: 2", "x: n"));
        assert_eq!(m.set("X", "top", Some(7)), 0);
        assert!(m.text().starts_with("X: top\r\nReceived"));
    }

    #[test]
    fn a_field_that_was_added_can_be_set_renamed_and_deleted() {
        let mut m = mail(MAIL);
        assert_eq!(m.set("New", "1", None), 0);
        assert_eq!(m.set("New", "2", None), 1);
        assert_eq!(m.text(), format!("New: 2\r\n{MAIL}"));
        assert_eq!(m.rename("new", "Newer"), 1);
        assert_eq!(m.text(), format!("Newer: 2\r\n{MAIL}"));
        assert_eq!(m.del("newer", None), 1);
        assert_eq!(m.text(), MAIL);
    }

    #[test]
    fn deleting_takes_the_whole_field_with_its_folding() {
        let mut m = mail(MAIL);
        assert_eq!(m.del("received", None), 1);
        assert_eq!(m.text(), MAIL.replace("Received: a\r\n\tb\r\n", ""));
        assert_eq!(m.del("received", None), 0);
        assert_eq!(m.del("received", Some(0)), 0);
        assert_eq!(m.del("x", Some(0)), 1);
        assert!(!m.text().contains("X: 1") && m.text().contains("x: 2"));
        assert_eq!(m.set("Received", "c", None), 0);
        assert!(m.text().starts_with("Received: c\r\nsUbject"));
    }

    #[test]
    fn renaming_touches_only_the_name() {
        let mut m = mail(MAIL);
        assert_eq!(m.rename("received", "X-Old-Received"), 1);
        assert_eq!(m.rename("x", "Y"), 2);
        assert_eq!(m.del("x", Some(0)), 0);
        assert_eq!(
            m.text(),
            MAIL.replace("Received", "X-Old-Received")
                .replace("X: 1", "Y: 1")
                .replace("x: 2", "Y: 2")
        );
        assert!(m.editor.rename_header(&m.block, b"y", b"a b").is_err());
    }

    #[test]
    fn restore_undoes_later_changes_only() {
        let mut m = mail(MAIL);
        m.add("A", "1");
        let id = m.editor.snapshot();
        let then = m.text();
        m.add("B", "1");
        m.set("Subject", "y", None);
        m.del("A", None);
        assert!(m.editor.restore(id));
        assert_eq!((m.text(), m.editor.snapshot()), (then, 1));
        assert!(!m.editor.restore(2));
        assert_eq!(m.editor.reset(), 1);
        assert_eq!(m.text(), MAIL);
    }

    #[test]
    fn a_message_without_header_gets_one() {
        for (text, expected) in [
            ("", "A: 1\r\n\r\n"),
            ("\r\nbody", "A: 1\r\n\r\nbody"),
            ("\nbody", "A: 1\r\n\nbody"),
            (
                "just text\r\nand more\r\nX: y\r\n",
                "A: 1\r\n\r\njust text\r\nand more\r\nX: y\r\n",
            ),
            ("B: 2", "A: 1\r\nB: 2"),
            ("B: 2\n\nx", "A: 1\nB: 2\n\nx"),
        ] {
            let mut m = mail(text);
            m.add("A", "1");
            assert_eq!(m.text(), expected);
        }
        let mut m = mail("just text");
        m.add("A", "1");
        m.add("B", "2");
        assert_eq!(m.text(), "B: 2\r\nA: 1\r\n\r\njust text");
    }

    #[test]
    fn replaced_content_must_not_overlap_other_changes() {
        let mut m = mail(MAIL);
        let body = MAIL.find("body").unwrap() as u64;
        m.editor.replace(body..body + 4, b"BODY").unwrap();
        assert_eq!(m.text(), MAIL.replace("body", "BODY"));
        let overlap = m.editor.replace(body + 1..body + 2, b"");
        assert!(matches!(
            overlap,
            Err(EditError::Place(EditsError::Overlap(_)))
        ));
        m.set("Subject", "y", None);
        let subject = MAIL.find("sUb").unwrap() as u64;
        assert!(m.editor.replace(subject..subject + 20, b"").is_err());
        assert!(m.editor.replace(0..1000, b"").is_err());
        assert_eq!(m.editor.snapshot(), 2);
        assert_eq!(m.text(), MAIL.replace("body", "BODY").replace("  x", " y"));
    }

    #[test]
    fn the_date_can_be_left_to_the_delivery() {
        let mut m = mail("Date: old\r\nA: 1\r\n\r\n");
        assert_eq!(m.editor.set_date_later(&m.block).unwrap(), 1);
        assert_eq!(
            m.text(),
            "Date: Thu, 01 Jan 1970 00:00:00 +0000\r\nA: 1\r\n\r\n"
        );
        let mut m = mail("A: 1\r\n\r\n");
        assert_eq!(m.editor.set_date_later(&m.block).unwrap(), 0);
        assert_eq!(
            m.text(),
            "Date: Thu, 01 Jan 1970 00:00:00 +0000\r\nA: 1\r\n\r\n"
        );
    }
}
