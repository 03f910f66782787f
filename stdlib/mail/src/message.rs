//! A received message: what the script classes `MailMessage` and `EODMailMessage` stand on.
//!
//! Getters show the original; changes appear in [`Message::edits`], which the queue stores and
//! the SMTP client applies.

use crate::{
    body::Encoding,
    editor::{EditError, Editor},
    edits::{Edits, EditsError, Modified},
    field::ValueForm,
    header::HeaderBlock,
    parts::{Limits, Part, PartId, Parts},
    source::Source,
    structure::Side,
};
use std::{io, sync::Arc};

/// A message with the changes that a script made to it.
#[derive(Debug, Clone)]
pub struct Message<S> {
    source: S,
    parts: Parts,
    opened: bool,
    editor: Editor,
}

impl<S: Source> Message<S> {
    /// Reads the header of a message. The parts are not looked for before
    /// [`Message::open_parts`].
    ///
    /// # Errors
    /// Only what the medium reports: any bytes are a message.
    pub fn new(source: S) -> io::Result<Self> {
        let header = HeaderBlock::read(&source)?;
        let len = source.len();
        Ok(Self {
            parts: Parts::root(header, len),
            opened: false,
            editor: Editor::new(len),
            source,
        })
    }

    /// The original bytes.
    pub fn source(&self) -> &S {
        &self.source
    }

    /// The header of the message.
    #[must_use]
    pub fn header(&self) -> &HeaderBlock {
        static EMPTY: HeaderBlock = HeaderBlock::EMPTY;
        self.part(PartId::ROOT).map_or(&EMPTY, |part| &part.header)
    }

    /// Bytes of the original (`getSize`).
    #[must_use]
    pub fn size(&self) -> u64 {
        self.source.len()
    }

    /// Finds the MIME parts, once. Costs one pass over the body.
    ///
    /// # Errors
    /// Only what the medium reports.
    pub fn open_parts(&mut self) -> io::Result<&Parts> {
        if !self.opened {
            self.parts.open(&self.source, Limits::default())?;
            self.opened = true;
        }
        Ok(&self.parts)
    }

    /// Whether the parts are known.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.opened
    }

    /// Takes parts that were found elsewhere, in the same source.
    pub fn set_parts(&mut self, parts: Parts) {
        self.parts = parts;
        self.opened = true;
    }

    /// The part `id`; others than the root only after [`Message::open_parts`].
    #[must_use]
    pub fn part(&self, id: PartId) -> Option<&Part> {
        self.parts.get(id)
    }

    /// Adds a field on top of the header of `part` (`addHeader`).
    ///
    /// # Errors
    /// [`EditError`]; the message is as before then. A part that does not exist is ignored.
    pub fn add_header(
        &mut self,
        part: PartId,
        name: &[u8],
        value: &[u8],
        form: ValueForm,
    ) -> Result<(), EditError> {
        self.editor.add_header(&self.parts, part, name, value, form)
    }

    /// Sets the value of fields of `part` (`setHeader`): see [`Editor::set_header`].
    ///
    /// # Errors
    /// As [`Message::add_header`].
    pub fn set_header(
        &mut self,
        part: PartId,
        name: &[u8],
        value: &[u8],
        index: Option<i64>,
        form: ValueForm,
    ) -> Result<usize, EditError> {
        self.editor
            .set_header(&self.parts, part, name, value, index, form)
    }

    /// Deletes fields of `part` (`delHeader`): see [`Editor::del_header`].
    ///
    /// # Errors
    /// As [`Message::add_header`].
    pub fn del_header(
        &mut self,
        part: PartId,
        name: &[u8],
        index: Option<i64>,
    ) -> Result<usize, EditError> {
        self.editor.del_header(&self.parts, part, name, index)
    }

    /// Renames fields of `part` (`renameHeader`): see [`Editor::rename_header`].
    ///
    /// # Errors
    /// As [`Message::add_header`].
    pub fn rename_header(
        &mut self,
        part: PartId,
        name: &[u8],
        new_name: &[u8],
    ) -> Result<usize, EditError> {
        self.editor.rename_header(&self.parts, part, name, new_name)
    }

    /// Leaves the Date field of `part` to the delivery (`setDateLater`).
    ///
    /// # Errors
    /// As [`Message::add_header`].
    pub fn set_date_later(&mut self, part: PartId) -> Result<usize, EditError> {
        self.editor.set_date_later(&self.parts, part)
    }

    /// Takes a part out (`remove`): see [`Editor::remove_part`].
    ///
    /// # Errors
    /// As [`Message::add_header`].
    pub fn remove_part(&mut self, part: PartId) -> Result<(), EditError> {
        self.editor.remove_part(&self.parts, part)
    }

    /// Gives a part a new body (`setBody`): see [`Editor::set_body`]. The parts must be known.
    ///
    /// # Errors
    /// As [`Message::add_header`].
    pub fn set_body(
        &mut self,
        part: PartId,
        data: &[u8],
        encoding: Option<Encoding>,
    ) -> Result<(), EditError> {
        self.editor.set_body(&self.parts, part, data, encoding)
    }

    /// Sets preamble or epilogue (`setPreamble`, `setEpilogue`): see [`Editor::set_around`]. The parts must be
    /// known.
    ///
    /// # Errors
    /// As [`Message::add_header`].
    pub fn set_around(&mut self, part: PartId, side: Side, text: &[u8]) -> Result<bool, EditError> {
        self.editor.set_around(&self.parts, part, side, text)
    }

    /// Puts a new part in the place of another (`replacePart`): see [`Editor::replace_part`].
    ///
    /// # Errors
    /// As [`Message::add_header`].
    pub fn replace_part(&mut self, part: PartId, new: &[u8]) -> Result<(), EditError> {
        self.editor.replace_part(&self.parts, part, new)
    }

    /// Puts a new part before or after another (`prependPart`, `appendPart`): see [`Editor::insert_part`].
    ///
    /// # Errors
    /// As [`Message::add_header`].
    pub fn insert_part(
        &mut self,
        part: PartId,
        side: Side,
        new: &[u8],
        kind: &[u8],
        random: &[u8; 16],
    ) -> Result<(), EditError> {
        self.editor
            .insert_part(&self.parts, part, side, new, kind, random)
    }

    /// A part with its changes: header, blank line and body. `now` is Unix seconds.
    ///
    /// # Errors
    /// What the medium reports.
    pub fn part_to_vec(&self, part: PartId, now: i64) -> io::Result<Vec<u8>> {
        let read = |range| self.source.read_range(range);
        self.editor.part_bytes(&self.parts, part, now, read)
    }

    /// Replaces `count` bytes from `start` of the original (`modifyContent`).
    ///
    /// # Errors
    /// [`EditError`] if the span overlaps another change or leaves the message.
    pub fn modify_content(&mut self, start: u64, count: u64, data: &[u8]) -> Result<(), EditError> {
        let end = start.checked_add(count).ok_or(EditsError::OutOfRange)?;
        self.editor.replace(&self.parts, start..end, data)
    }

    /// The number of changes so far, as an id for [`Message::restore`] (`snapshot`).
    #[must_use]
    pub fn snapshot(&self) -> usize {
        self.editor.snapshot()
    }

    /// Undoes the changes after a snapshot; false if the id is unknown (`restore`).
    pub fn restore(&mut self, id: usize) -> bool {
        self.editor.restore(id)
    }

    /// Undoes all changes and returns how many there were (`reset`).
    pub fn reset(&mut self) -> usize {
        self.editor.reset()
    }

    /// Bytes that the changes hold, for the script's memory budget.
    #[must_use]
    pub fn new_bytes(&self) -> usize {
        self.editor.new_bytes()
    }

    /// The changes, to be stored and applied.
    #[must_use]
    pub fn edits(&self) -> Edits {
        self.editor.edits(&self.parts)
    }

    /// Steps that the next change may cost beside what it is about.
    #[must_use]
    pub fn cost_of_change(&self) -> usize {
        if self.editor.checks_all() {
            self.editor.snapshot() + self.parts.len()
        } else {
            0
        }
    }

    /// The message with its changes, readable piece by piece. `now` is Unix seconds.
    pub fn modified(&self, now: i64) -> io::Result<Modified<&S>> {
        Modified::new(&self.source, Arc::new(self.edits()), now)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }

    /// The whole message with its changes (`toString`).
    ///
    /// # Errors
    /// What the medium reports.
    pub fn to_vec(&self, now: i64) -> io::Result<Vec<u8>> {
        self.modified(now)?.to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_field_added_to_any_bytes_is_the_first_and_changes_nothing_else(
            words in proptest::collection::vec(prop_oneof![
                Just(b"A: 1\r\n".to_vec()), Just(b"B: 2\n".to_vec()), Just(b" more\r\n".to_vec()),
                Just(b"\r\n".to_vec()), Just(b"\n".to_vec()), Just(b"junk\n".to_vec()),
                Just(b"From me\n".to_vec()), Just(b"\tx".to_vec()), Just(b"C :".to_vec()),
                proptest::collection::vec(any::<u8>(), 0..6),
            ], 0..12),
            value in "[a-zå: \r\n\t\0]{0,60}",
            verbatim in any::<bool>())
        {
            let text = words.concat();
            let mut m = Message::new(&text).unwrap();
            let form = if verbatim { ValueForm::Verbatim } else { ValueForm::default() };
            m.add_header(PartId::ROOT, b"X-New", value.as_bytes(), form).unwrap();
            let edited = m.to_vec(0).unwrap();
            let again = Message::new(&edited).unwrap();
            let mut names = vec!["x-new".to_owned()];
            names.extend(m.header().names());
            prop_assert_eq!(again.header().names(), names);
            let fields = |m: &Message<&Vec<u8>>| {
                m.header().fields().map(|f| f.raw().to_vec()).collect::<Vec<_>>()
            };
            prop_assert_eq!(&fields(&again)[1..], &fields(&m)[..]);
            let body = |m: &Message<&Vec<u8>>| m.source()[m.header().body_offset() as usize..].to_vec();
            prop_assert_eq!(body(&again), body(&m));
            prop_assert_eq!(m.reset(), 1);
            prop_assert_eq!(&m.to_vec(0).unwrap(), &text);
        }
    }

    #[test]
    fn getters_show_the_original_whatever_was_changed() {
        let text = b"Subject: one\r\nX: 1\r\n\r\nbody".as_slice();
        let mut m = Message::new(text).unwrap();
        let form = ValueForm::default();
        m.set_header(PartId::ROOT, b"Subject", b"two", None, form)
            .unwrap();
        m.add_header(PartId::ROOT, b"A", b"b", form).unwrap();
        m.del_header(PartId::ROOT, b"X", None).unwrap();
        assert_eq!(
            m.header().value(b"Subject", 0, true).as_deref(),
            Some("one")
        );
        assert_eq!(m.header().names(), ["subject", "x"]);
        assert_eq!((m.size(), m.snapshot()), (text.len() as u64, 3));
        assert_eq!(m.to_vec(0).unwrap(), b"A: b\r\nSubject: two\r\n\r\nbody");
        assert_eq!(m.edits().modified_size(), 26);
        assert_eq!(m.reset(), 3);
        assert_eq!(m.to_vec(0).unwrap(), text);
    }

    #[test]
    fn the_header_of_an_inner_part_can_be_changed() {
        let text = "Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\nX: 1\r\n\r\none\r\n--a\r\ntwo\r\n--a--\r\n";
        let mut m = Message::new(text.as_bytes()).unwrap();
        let id = m.open_parts().unwrap().by_path("0.1").unwrap();
        let form = ValueForm::default();
        assert_eq!(m.set_header(id, b"x", b"2", None, form).unwrap(), 1);
        let last = m.open_parts().unwrap().by_path("0.2").unwrap();
        m.add_header(last, b"Y", b"3", form).unwrap();
        let expected = text
            .replace("X: 1", "X: 2")
            .replace("two", "Y: 3\r\n\r\ntwo");
        assert_eq!(String::from_utf8(m.to_vec(0).unwrap()).unwrap(), expected);
    }
}
