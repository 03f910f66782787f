//! Changes of messages.

use std::collections::BTreeSet;
use std::ops::Range;

use angarium_mail::edits::{Edits, Modified};
use angarium_mail::field::ValueForm;
use angarium_mail::message::Message;
use angarium_mail::parts::{Part, PartId, Parts};
use angarium_mail::structure::Side;

/// Names of fields that steps are about.
const NAMES: [&[u8]; 6] = [
    b"Subject",
    b"X",
    b"Content-Type",
    b"content-transfer-encoding",
    b"Date",
    b"Received",
];

/// What steps put into messages: values, bodies and whole parts.
const NEW: [&[u8]; 6] = [
    b"new",
    b"Content-Type: text/new\r\n\r\nnew\r\n",
    b"",
    b"\xe5\r\n--a\r\n.\r\n",
    b"a\nb\r\n c\0d",
    b"Content-Type: multipart/mixed; boundary=z\n\n--z\n\nz\n--z--\n",
];

/// A message and changes of it. What no change is about stays, byte for byte; what is undone has never been.
///
/// The first byte tells how many steps there are, each of three bytes: which part, what, with what. The message follows.
pub fn message(data: &[u8]) {
    let (count, rest) = data
        .split_first()
        .map_or((0, data), |(n, rest)| (usize::from(n % 16), rest));
    let (steps, text) = rest.split_at(rest.len().min(count * 3));
    let mut message = Message::new(text).expect("bytes in memory can be read");
    let parts = message
        .open_parts()
        .expect("bytes in memory can be read")
        .clone();
    check_tree(&parts, text.len() as u64);
    let mut touched = Touched::default();
    for step in steps.chunks_exact(3) {
        let &[part, what, with] = step else { continue };
        let part = PartId(usize::from(part) % parts.len());
        let (before, snapshot) = (written(&message), message.snapshot());
        touched.step(&mut message, &parts, part, what, with);
        let after = written(&message);
        let edits = message.edits();
        assert_eq!(edits.modified_size(), after.len() as u64);
        for edit in edits.list() {
            assert!(
                touched.holds(&edit.span),
                "{:?} is none of {:?}",
                edit.span,
                touched.spans
            );
        }
        let stored = Edits::from_bytes(&edits.to_bytes()).expect("what was stored can be read");
        assert_eq!(&stored, &edits);
        let applied = Modified::new(text, std::sync::Arc::new(stored), 0).map(|m| m.to_vec());
        assert_eq!(
            applied.expect("edits of this message").expect("in memory"),
            after
        );
        let _ = message
            .part_to_vec(part, 0)
            .expect("bytes in memory can be read");
        let mut undone = message.clone();
        assert!(undone.restore(snapshot));
        assert_eq!(written(&undone), before);
    }
    touched.check_fields(text, &parts, &written(&message));
    message.reset();
    assert_eq!(written(&message), text);
}

fn written(message: &Message<&[u8]>) -> Vec<u8> {
    message.to_vec(0).expect("bytes in memory can be read")
}

/// Parts lie in order, inside the one around them, and are found by their place.
fn check_tree(parts: &Parts, len: u64) {
    for (id, part) in parts.iter() {
        let parent = part.parent.and_then(|parent| parts.get(parent));
        let around = parent.map_or(0..len, |parent| parent.span.clone());
        assert!(around.start <= part.span.start && part.span.end <= around.end);
        assert!(part.span.start <= part.body().start && part.body().end == part.span.end);
        assert_eq!(parts.by_path(&parts.path(id)), Some(id));
    }
}

/// What the steps may change of the original.
#[derive(Default)]
struct Touched {
    spans: Vec<Range<u64>>,
    /// Names of fields of the message itself, in lower case.
    names: BTreeSet<Vec<u8>>,
    /// The message itself got new content, so that fields about the old one move.
    moved: bool,
}

impl Touched {
    fn holds(&self, span: &Range<u64>) -> bool {
        if span.is_empty() {
            return true;
        }
        let mut at = span.start;
        // Spans may touch each other: the next one that goes on from here.
        while let Some(next) = self
            .spans
            .iter()
            .filter(|known| known.start <= at && known.end > at)
            .map(|known| known.end)
            .max()
        {
            at = next;
            if at >= span.end {
                return true;
            }
        }
        false
    }

    fn fields(&mut self, part: &Part, id: PartId, is_meant: impl Fn(&[u8]) -> bool) {
        for field in part.header.fields() {
            let name = field.name().to_ascii_lowercase();
            if is_meant(&name) {
                let span = field.span();
                self.spans.push(span.start..span.end);
            }
        }
        if id == PartId::ROOT {
            let meant = NAMES.iter().map(|name| name.to_ascii_lowercase());
            self.names.extend(meant.filter(|name| is_meant(name)));
        }
    }

    fn step(
        &mut self,
        message: &mut Message<&[u8]>,
        parts: &Parts,
        id: PartId,
        what: u8,
        with: u8,
    ) {
        let Some(part) = parts.get(id) else { return };
        let pick = |list: &[&'static [u8]], n: u8| {
            list.get(usize::from(n) % list.len())
                .copied()
                .unwrap_or_default()
        };
        let (name, new) = (pick(&NAMES, with), pick(&NEW, with / 8));
        let form = if with & 0x80 == 0 {
            ValueForm::default()
        } else {
            ValueForm::Verbatim
        };
        let index = match with & 0x60 {
            0x20 => Some(0),
            0x40 => Some(-1),
            _ => None,
        };
        let random = [with; 16];
        let named = |wanted: &'static [u8]| move |name: &[u8]| name.eq_ignore_ascii_case(wanted);
        let content = |name: &[u8]| name.starts_with(b"content-");
        let side = if with & 1 == 0 {
            Side::Before
        } else {
            Side::After
        };
        match what % 11 {
            0 => drop(message.add_header(id, name, new, form)),
            1 => {
                if message.set_header(id, name, new, index, form).is_ok() {
                    self.fields(part, id, named(name));
                }
            }
            2 => {
                if message.del_header(id, name, index).is_ok() {
                    self.fields(part, id, named(name));
                }
            }
            3 => {
                let to = pick(&NAMES, with / 8);
                if message.rename_header(id, name, to).is_ok() {
                    self.fields(part, id, |field| named(name)(field) || named(to)(field));
                }
            }
            4 => {
                if message.set_date_later(id).is_ok() {
                    self.fields(part, id, named(b"Date"));
                }
            }
            5 => {
                if message.remove_part(id).is_ok() {
                    self.spans.push(with_its_line(parts, part, id));
                }
            }
            6 => {
                if message.set_body(id, new, None).is_ok() {
                    self.spans.push(part.body());
                    self.fields(part, id, named(b"content-transfer-encoding"));
                }
            }
            7 => {
                if message.replace_part(id, new).is_ok() {
                    let inside = if id == PartId::ROOT {
                        part.body()
                    } else {
                        part.span.clone()
                    };
                    self.spans.push(inside);
                    if id == PartId::ROOT {
                        self.fields(part, id, content);
                        self.moved = true;
                    }
                }
            }
            8 => {
                let kind: &[u8] = if with & 2 == 0 {
                    b"multipart/mixed"
                } else {
                    b"multipart/x; a=b"
                };
                if message.insert_part(id, side, new, kind, &random).is_ok() && id == PartId::ROOT {
                    self.fields(part, id, content);
                    self.moved = true;
                }
            }
            9 => {
                if message.set_around(id, side, new) == Ok(true) {
                    let span = match side {
                        Side::Before => part.preamble(),
                        Side::After => part.epilogue(),
                    };
                    self.spans.extend(span);
                }
            }
            _ => {
                let (start, count) = (u64::from(with) * 3, u64::from(with % 7));
                if message.modify_content(start, count, new).is_ok() {
                    self.spans.push(start..start + count);
                    // It may be anything: fields are not looked for any more.
                    self.moved = true;
                }
            }
        }
    }

    /// Fields that no step was about stand in the header as they did, in their order.
    fn check_fields(&self, text: &[u8], parts: &Parts, written: &[u8]) {
        let Some(root) = parts.get(PartId::ROOT) else {
            return;
        };
        // Where the header does not end as it should, what comes after it may belong to it, now or then.
        if self.moved || root.header.is_bad() || !root.header.has_blank_line() {
            return;
        }
        let now = Message::new(written).expect("bytes in memory can be read");
        let mut found = now.header().fields();
        for field in root.header.fields() {
            if self.names.contains(&field.name().to_ascii_lowercase()) {
                continue;
            }
            let raw = field.raw();
            assert!(
                found.any(|other| other.raw() == raw),
                "{:?} of {:?}",
                String::from_utf8_lossy(raw),
                String::from_utf8_lossy(text)
            );
        }
    }
}

/// A part and the boundary line before it, with one line end: what goes when it is removed.
fn with_its_line(parts: &Parts, part: &Part, id: PartId) -> Range<u64> {
    let parent = part.parent.and_then(|parent| parts.get(parent));
    let start = parent.map_or(part.span.start, |parent| {
        let before = parent
            .children
            .iter()
            .take_while(|child| **child < id)
            .last();
        let before = before.and_then(|child| parts.get(*child));
        let preamble = parent
            .preamble()
            .map_or(parent.body().start, |preamble| preamble.end);
        before.map_or(preamble, |before| before.span.end)
    });
    start.min(part.span.start)..part.span.end
}
