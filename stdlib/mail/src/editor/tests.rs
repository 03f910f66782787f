use super::*;
use crate::edits::Modified;
use std::sync::Arc;

struct Mail {
    text: &'static str,
    parts: Parts,
    editor: Editor,
}

fn mail(text: &'static str) -> Mail {
    Mail {
        text,
        parts: Parts::parse(text.as_bytes(), crate::parts::Limits::default()).unwrap(),
        editor: Editor::new(text.len() as u64),
    }
}

impl Mail {
    fn add(&mut self, name: &str, value: &str) {
        let form = ValueForm::default();
        self.editor
            .add_header(
                &self.parts,
                PartId::ROOT,
                name.as_bytes(),
                value.as_bytes(),
                form,
            )
            .unwrap();
    }
    fn set(&mut self, name: &str, value: &str, index: Option<i64>) -> usize {
        let form = ValueForm::default();
        self.editor
            .set_header(
                &self.parts,
                PartId::ROOT,
                name.as_bytes(),
                value.as_bytes(),
                index,
                form,
            )
            .unwrap()
    }
    fn del(&mut self, name: &str, index: Option<i64>) -> usize {
        self.editor
            .del_header(&self.parts, PartId::ROOT, name.as_bytes(), index)
            .unwrap()
    }
    fn rename(&mut self, name: &str, new: &str) -> usize {
        self.editor
            .rename_header(&self.parts, PartId::ROOT, name.as_bytes(), new.as_bytes())
            .unwrap()
    }
    fn text(&self) -> String {
        let edits = Arc::new(self.editor.edits(&self.parts));
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
    assert!(
        m.editor
            .rename_header(&m.parts, PartId::ROOT, b"y", b"a b")
            .is_err()
    );
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
    m.editor.replace(&m.parts, body..body + 4, b"BODY").unwrap();
    assert_eq!(m.text(), MAIL.replace("body", "BODY"));
    let overlap = m.editor.replace(&m.parts, body + 1..body + 2, b"");
    assert!(matches!(
        overlap,
        Err(EditError::Place(EditsError::Overlap(_)))
    ));
    m.set("Subject", "y", None);
    let subject = MAIL.find("sUb").unwrap() as u64;
    assert!(
        m.editor
            .replace(&m.parts, subject..subject + 20, b"")
            .is_err()
    );
    assert!(m.editor.replace(&m.parts, 0..1000, b"").is_err());
    assert_eq!(m.editor.snapshot(), 2);
    assert_eq!(m.text(), MAIL.replace("body", "BODY").replace("  x", " y"));
}

#[test]
fn the_date_can_be_left_to_the_delivery() {
    let mut m = mail("Date: old\r\nA: 1\r\n\r\n");
    assert_eq!(m.editor.set_date_later(&m.parts, PartId::ROOT).unwrap(), 1);
    assert_eq!(
        m.text(),
        "Date: Thu, 01 Jan 1970 00:00:00 +0000\r\nA: 1\r\n\r\n"
    );
    let mut m = mail("A: 1\r\n\r\n");
    assert_eq!(m.editor.set_date_later(&m.parts, PartId::ROOT).unwrap(), 0);
    assert_eq!(
        m.text(),
        "Date: Thu, 01 Jan 1970 00:00:00 +0000\r\nA: 1\r\n\r\n"
    );
}
