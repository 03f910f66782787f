//! The difference between a message as it came and as it goes out.
//!
//! [`Edits`] is a sorted list of spans of the original, each with the bytes that take its
//! place. It is small, can be stored beside the spooled message, and is applied while the
//! message is read: no copy of the body is ever made, and a byte outside the spans cannot
//! change.

use crate::{date, source::Source};
use std::{io, ops::Range, sync::Arc};

/// What takes the place of a span of the original.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replacement {
    /// These bytes.
    Bytes(Vec<u8>),
    /// The date of delivery as RFC 5322 has it (always [`date::LENGTH`] bytes).
    DeliveryDate,
}

impl Replacement {
    fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::DeliveryDate => date::LENGTH as u64,
        }
    }
}

/// A span of the original and what takes its place. An empty span inserts; an empty
/// replacement deletes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// The bytes of the original that go.
    pub span: Range<u64>,
    /// The bytes that come.
    pub with: Replacement,
}

/// A list of edits over one original: sorted, without overlap, inside the original.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Edits {
    original_len: u64,
    list: Vec<Edit>,
}

/// Edits that cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EditsError {
    /// Two edits touch the same byte.
    #[error("changes overlap at byte {0} of the message")]
    Overlap(u64),
    /// An edit lies beyond the end of the message.
    #[error("a change lies beyond the end of the message")]
    OutOfRange,
    /// Stored bytes that are no edit list.
    #[error("a stored list of changes is damaged")]
    Damaged,
    /// A stored list of a version that this program does not know.
    #[error("a stored list of changes has the unknown version {0}")]
    Version(u8),
    /// The edits belong to a message of another length.
    #[error("the changes are for a message of {expected} bytes, this one has {found}")]
    OtherMessage {
        /// Length of the message that the edits were made for.
        expected: u64,
        /// Length of the message that they were to be applied to.
        found: u64,
    },
}

/// A stretch of the edited message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Bytes of the original.
    Original(Range<u64>),
    /// New bytes.
    New(&'a [u8]),
    /// The date of delivery.
    DeliveryDate,
}

/// First byte of the stored form.
const VERSION: u8 = 1;

impl Edits {
    /// No change of a message of `original_len` bytes.
    #[must_use]
    pub fn none(original_len: u64) -> Self {
        Self {
            original_len,
            list: Vec::new(),
        }
    }

    /// Sorts edits by place; edits that insert at one place keep their order.
    ///
    /// # Errors
    /// [`EditsError::Overlap`] or [`EditsError::OutOfRange`].
    pub fn new(original_len: u64, mut list: Vec<Edit>) -> Result<Self, EditsError> {
        list.retain(|edit| !edit.span.is_empty() || edit.with.len() > 0);
        // An insertion comes before a replacement that starts at the same byte.
        list.sort_by_key(|edit| (edit.span.start, !edit.span.is_empty()));
        let mut end = 0;
        for edit in &list {
            if edit.span.start > edit.span.end || edit.span.end > original_len {
                return Err(EditsError::OutOfRange);
            }
            if edit.span.start < end {
                return Err(EditsError::Overlap(edit.span.start));
            }
            end = edit.span.end;
        }
        Ok(Self { original_len, list })
    }

    /// The edits in order of place.
    #[must_use]
    pub fn list(&self) -> &[Edit] {
        &self.list
    }

    /// Whether nothing changes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Length of the message that the edits are for.
    #[must_use]
    pub fn original_size(&self) -> u64 {
        self.original_len
    }

    /// Length of the message after the edits.
    #[must_use]
    pub fn modified_size(&self) -> u64 {
        self.list.iter().fold(self.original_len, |size, edit| {
            size.saturating_add(edit.with.len())
                .saturating_sub(edit.span.end - edit.span.start)
        })
    }

    /// The edited message, stretch by stretch; stretches are never empty.
    pub fn pieces(&self) -> impl Iterator<Item = Piece<'_>> {
        let mut at = 0;
        let gaps = self.list.iter().flat_map(move |edit| {
            let before = at..edit.span.start;
            at = edit.span.end;
            let with = match &edit.with {
                Replacement::Bytes(bytes) => Piece::New(bytes),
                Replacement::DeliveryDate => Piece::DeliveryDate,
            };
            [Piece::Original(before), with]
        });
        let end = self.list.last().map_or(0, |edit| edit.span.end);
        gaps.chain([Piece::Original(end..self.original_len)])
            .filter(|piece| match piece {
                Piece::Original(range) => !range.is_empty(),
                Piece::New(bytes) => !bytes.is_empty(),
                Piece::DeliveryDate => true,
            })
    }

    /// The stored form: a version byte, then variable-length integers and the new bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        put_int(self.original_len, &mut out);
        put_int(self.list.len() as u64, &mut out);
        let mut at = 0;
        for edit in &self.list {
            put_int(edit.span.start - at, &mut out);
            put_int(edit.span.end - edit.span.start, &mut out);
            at = edit.span.end;
            match &edit.with {
                // 0 marks the date, so a length is stored plus one.
                Replacement::DeliveryDate => put_int(0, &mut out),
                Replacement::Bytes(bytes) => {
                    put_int((bytes.len() as u64).saturating_add(1), &mut out);
                    out.extend_from_slice(bytes);
                }
            }
        }
        out
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// [`EditsError`] for bytes that [`Edits::to_bytes`] did not write.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, EditsError> {
        let (&version, mut rest) = bytes.split_first().ok_or(EditsError::Damaged)?;
        if version != VERSION {
            return Err(EditsError::Version(version));
        }
        let original_len = take_int(&mut rest)?;
        let count = take_int(&mut rest)?;
        let mut list = Vec::new();
        let mut at = 0_u64;
        for _ in 0..count {
            let add = |a: u64, b: u64| a.checked_add(b).ok_or(EditsError::Damaged);
            let start = add(at, take_int(&mut rest)?)?;
            at = add(start, take_int(&mut rest)?)?;
            let with = match take_int(&mut rest)? {
                0 => Replacement::DeliveryDate,
                len => {
                    let len = usize::try_from(len - 1).map_err(|_| EditsError::Damaged)?;
                    let (new, tail) = rest.split_at_checked(len).ok_or(EditsError::Damaged)?;
                    rest = tail;
                    Replacement::Bytes(new.to_vec())
                }
            };
            list.push(Edit {
                span: start..at,
                with,
            });
        }
        if !rest.is_empty() {
            return Err(EditsError::Damaged);
        }
        Self::new(original_len, list)
    }
}

/// LEB128.
fn put_int(mut value: u64, out: &mut Vec<u8>) {
    loop {
        let low = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

fn take_int(rest: &mut &[u8]) -> Result<u64, EditsError> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, tail) = rest.split_first().ok_or(EditsError::Damaged)?;
        *rest = tail;
        let bits = u64::from(byte & 0x7f);
        if bits << shift >> shift != bits {
            return Err(EditsError::Damaged);
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(EditsError::Damaged)
}

/// The edited message as a [`Source`]: reads go to the original or to the new bytes.
///
/// The SMTP client reads a message through it, `toString` collects it, and it can be parsed
/// again as a message.
#[derive(Debug, Clone)]
pub struct Modified<S> {
    original: S,
    edits: Arc<Edits>,
    date: String,
    /// Where each piece starts in the edited message; ascending.
    pieces: Vec<(u64, Segment)>,
    len: u64,
}

#[derive(Debug, Clone)]
enum Segment {
    Original(Range<u64>),
    /// Index into the edit list.
    New(usize),
}

impl<S: Source> Modified<S> {
    /// Applies `edits` to `original`. `now` (Unix seconds) is the date of delivery.
    ///
    /// # Errors
    /// [`EditsError::OtherMessage`] if the lengths do not agree.
    pub fn new(original: S, edits: Arc<Edits>, now: i64) -> Result<Self, EditsError> {
        if original.len() != edits.original_len {
            return Err(EditsError::OtherMessage {
                expected: edits.original_len,
                found: original.len(),
            });
        }
        let mut pieces = Vec::with_capacity(edits.list.len() * 2 + 1);
        let (mut at, mut len) = (0, 0_u64);
        for (index, edit) in edits.list.iter().enumerate() {
            if edit.span.start > at {
                pieces.push((len, Segment::Original(at..edit.span.start)));
                len += edit.span.start - at;
            }
            if edit.with.len() > 0 {
                pieces.push((len, Segment::New(index)));
                len = len.saturating_add(edit.with.len());
            }
            at = edit.span.end;
        }
        if edits.original_len > at {
            pieces.push((len, Segment::Original(at..edits.original_len)));
            len = len.saturating_add(edits.original_len - at);
        }
        Ok(Self {
            original,
            edits,
            date: date::format_utc(now),
            pieces,
            len,
        })
    }

    /// The bytes of one edit.
    fn new_bytes(&self, index: usize) -> &[u8] {
        match self.edits.list.get(index).map(|edit| &edit.with) {
            Some(Replacement::Bytes(bytes)) => bytes,
            Some(Replacement::DeliveryDate) => self.date.as_bytes(),
            None => &[],
        }
    }

    /// The whole edited message.
    ///
    /// # Errors
    /// What the original's medium reports.
    pub fn to_vec(&self) -> io::Result<Vec<u8>> {
        let size =
            usize::try_from(self.len).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
        let mut out = Vec::with_capacity(size);
        for (_, segment) in &self.pieces {
            match segment {
                Segment::New(index) => out.extend_from_slice(self.new_bytes(*index)),
                Segment::Original(range) => match self.original_slice(range) {
                    Some(bytes) => out.extend_from_slice(bytes),
                    None => out.extend(self.original.read_range(range.clone())?),
                },
            }
        }
        Ok(out)
    }

    fn original_slice(&self, range: &Range<u64>) -> Option<&[u8]> {
        let start = usize::try_from(range.start).ok()?;
        let end = usize::try_from(range.end).ok()?;
        self.original.as_bytes()?.get(start..end)
    }

    /// The edited message as slices, if the original lies in memory. Nothing is copied.
    pub fn slices(&self) -> Option<impl Iterator<Item = &[u8]>> {
        self.original.as_bytes()?;
        Some(self.pieces.iter().map(|(_, segment)| match segment {
            Segment::New(index) => self.new_bytes(*index),
            Segment::Original(range) => self.original_slice(range).unwrap_or_default(),
        }))
    }
}

impl<S: Source> Source for Modified<S> {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let index = self.pieces.partition_point(|&(start, _)| start <= offset);
        let Some((start, segment)) = index.checked_sub(1).and_then(|i| self.pieces.get(i)) else {
            return Ok(0);
        };
        let skip = offset - start;
        match segment {
            Segment::New(index) => self.new_bytes(*index).read_at(skip, buf),
            Segment::Original(range) => {
                let left = (range.end - range.start).saturating_sub(skip);
                let size = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len());
                let buf = buf.get_mut(..size).unwrap_or_default();
                if buf.is_empty() {
                    return Ok(0);
                }
                self.original.read_at(range.start + skip, buf)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::tests::Slow;
    use proptest::prelude::*;

    fn edit(span: Range<u64>, with: &str) -> Edit {
        Edit {
            span,
            with: Replacement::Bytes(with.as_bytes().to_vec()),
        }
    }

    fn apply(original: &str, list: Vec<Edit>) -> String {
        let edits = Edits::new(original.len() as u64, list).unwrap();
        let modified = Modified::new(original.as_bytes(), Arc::new(edits.clone()), 0).unwrap();
        let text = modified.to_vec().unwrap();
        assert_eq!(text.len() as u64, edits.modified_size());
        assert_eq!(
            modified.slices().unwrap().collect::<Vec<_>>().concat(),
            text
        );
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn edits_insert_replace_and_delete() {
        assert_eq!(apply("abcdef", vec![]), "abcdef");
        assert_eq!(
            apply(
                "abcdef",
                vec![edit(6..6, "Z"), edit(0..0, "A"), edit(2..4, "")]
            ),
            "AabefZ"
        );
        assert_eq!(
            apply(
                "abc",
                vec![edit(1..2, "X"), edit(1..1, "1"), edit(1..1, "2")]
            ),
            "a12Xc"
        );
        assert_eq!(apply("", vec![edit(0..0, "x")]), "x");
    }

    #[test]
    fn overlap_and_excess_are_refused() {
        let new = |list| Edits::new(10, list).map(|_| ());
        assert_eq!(
            new(vec![edit(0..3, ""), edit(2..4, "")]),
            Err(EditsError::Overlap(2))
        );
        assert_eq!(
            new(vec![edit(0..3, "x"), edit(2..2, "y")]),
            Err(EditsError::Overlap(2))
        );
        assert_eq!(new(vec![edit(0..3, ""), edit(3..4, "")]), Ok(()));
        assert_eq!(new(vec![edit(9..11, "")]), Err(EditsError::OutOfRange));
        let edits = Arc::new(Edits::none(3));
        assert!(Modified::new(b"ab".as_slice(), edits, 0).is_err());
    }

    #[test]
    fn the_date_is_that_of_delivery() {
        let list = vec![Edit {
            span: 0..0,
            with: Replacement::DeliveryDate,
        }];
        assert_eq!(apply("x", list), "Thu, 01 Jan 1970 00:00:00 +0000x");
    }

    #[test]
    fn a_stored_list_of_another_version_is_refused() {
        assert_eq!(Edits::from_bytes(&[9, 0, 0]), Err(EditsError::Version(9)));
        assert_eq!(Edits::from_bytes(&[]), Err(EditsError::Damaged));
        assert_eq!(
            Edits::from_bytes(&[1, 5, 200, 200]),
            Err(EditsError::Damaged)
        );
    }

    prop_compose! {
        fn message_and_edits()(
            original in proptest::collection::vec(any::<u8>(), 0..300),
            cuts in proptest::collection::vec((0..20_u64, 0..9_u64, proptest::option::of("[a-z]{0,12}")), 0..12),
        ) -> (Vec<u8>, Vec<Edit>) {
            let mut at = 0;
            let mut list = Vec::new();
            for (gap, size, with) in cuts {
                let start = at + gap;
                let end = start + size;
                if end > original.len() as u64 { break }
                at = end;
                let with = with.map_or(Replacement::DeliveryDate, |s| Replacement::Bytes(s.into_bytes()));
                list.push(Edit { span: start..end, with });
            }
            (original, list)
        }
    }

    proptest! {
        #[test]
        fn a_stored_list_reads_back_and_applies_alike((original, list) in message_and_edits()) {
            let edits = Edits::new(original.len() as u64, list).unwrap();
            let stored = Edits::from_bytes(&edits.to_bytes()).unwrap();
            prop_assert_eq!(&stored, &edits);
            let expected: Vec<u8> = edits.pieces().flat_map(|piece| match piece {
                Piece::Original(r) => original[r.start as usize..r.end as usize].to_vec(),
                Piece::New(b) => b.to_vec(),
                Piece::DeliveryDate => date::format_utc(77).into_bytes(),
            }).collect();
            let edits = Arc::new(edits);
            prop_assert_eq!(edits.modified_size(), expected.len() as u64);
            let memory = Modified::new(&original, edits.clone(), 77).unwrap();
            prop_assert_eq!(&memory.to_vec().unwrap(), &expected);
            let slow = Modified::new(Slow(&original), edits, 77).unwrap();
            prop_assert_eq!(&slow.to_vec().unwrap(), &expected);
            prop_assert_eq!(&slow.read_range(0..slow.len()).unwrap(), &expected);
            let third = slow.len() / 3;
            prop_assert_eq!(&slow.read_range(third..slow.len()).unwrap()[..], &expected[third as usize..]);
        }

        #[test]
        fn any_bytes_are_read_or_refused(data in proptest::collection::vec(any::<u8>(), 0..60)) {
            let mut data = data;
            if let Some(first) = data.first_mut() { *first %= 2; }
            if let Ok(edits) = Edits::from_bytes(&data) {
                prop_assert!(edits.original_size() >= edits.list().last().map_or(0, |e| e.span.end));
            }
        }
    }
}
