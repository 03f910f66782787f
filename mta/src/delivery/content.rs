//! The message of an item: where it lies in the spool, and how it is read to be sent.
//!
//! [`SpoolStore`](crate::server::SpoolStore) writes what is read here. An item's [`ContentRef`]s are opaque to the queue. `content` names the body as it was received;
//! `edits` is either a list of edits or the name of a changed copy:
//!
//! ```text
//! content = body (16 bytes)
//! edits   = 0 list of edits | 1 body (16 bytes)
//! ```

use std::io::{self, Read as _};
use std::sync::Arc;

use angarium_mail::date;
use angarium_mail::edits::{Edits, EditsError, Piece};
use angarium_mail::header::HeaderBlock;
use angarium_mail::source::Source;
use angarium_queue::item::{ContentRef, Item};
use angarium_spool::{BodyReader, BodyRef, Inspection, ReadError, Spool};

use crate::pool::HeavyPool;

/// Why the message of an item cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ContentError {
    /// The item does not say where its message is.
    #[error("the item's reference to its message is damaged")]
    Reference,
    /// The spool cannot give it.
    #[error(transparent)]
    Spool(#[from] ReadError),
    /// Its changes do not fit it.
    #[error(transparent)]
    Edits(#[from] EditsError),
    /// It broke off while it was read.
    #[error("the stored message cannot be read: {0}")]
    Io(#[from] io::Error),
}

/// A spool to read from, at work or stopped.
pub trait Bodies {
    /// Opens a stored body.
    ///
    /// # Errors
    /// The spool cannot give it.
    fn body(&self, body: BodyRef) -> Result<BodyReader, ReadError>;
}

impl Bodies for Spool {
    fn body(&self, body: BodyRef) -> Result<BodyReader, ReadError> {
        self.read(body)
    }
}

impl Bodies for Inspection {
    fn body(&self, body: BodyRef) -> Result<BodyReader, ReadError> {
        self.read(body)
    }
}

/// Where the parts of an item's message are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stored {
    /// As received.
    Plain(BodyRef),
    /// With edits to apply.
    Edited(BodyRef, Arc<Edits>),
    /// A changed copy beside the one received.
    Replaced {
        /// The message as received.
        original: BodyRef,
        /// The message to send.
        copy: BodyRef,
    },
}

const LIST: u8 = 0;
const COPY: u8 = 1;

impl Stored {
    /// Reads an item's references.
    ///
    /// # Errors
    /// They are damaged.
    pub fn of(item: &Item) -> Result<Stored, ContentError> {
        Stored::from_references(&item.content, item.edits.as_ref())
    }

    /// Reads the two references of an item.
    ///
    /// # Errors
    /// They are damaged.
    pub fn from_references(
        content: &ContentRef,
        edits: Option<&ContentRef>,
    ) -> Result<Stored, ContentError> {
        let original = BodyRef::from_bytes(&content.0).ok_or(ContentError::Reference)?;
        let Some(edits) = edits else {
            return Ok(Stored::Plain(original));
        };
        match edits.0.split_first() {
            Some((&LIST, list)) => {
                let edits = Edits::from_bytes(list)?;
                Ok(Stored::Edited(original, Arc::new(edits)))
            }
            Some((&COPY, copy)) => {
                let copy = BodyRef::from_bytes(copy).ok_or(ContentError::Reference)?;
                Ok(Stored::Replaced { original, copy })
            }
            _ => Err(ContentError::Reference),
        }
    }

    /// The bodies that the item needs, for the spool.
    #[must_use]
    pub fn bodies(&self) -> Vec<BodyRef> {
        match self {
            Stored::Plain(body) | Stored::Edited(body, _) => vec![*body],
            Stored::Replaced { original, copy } => vec![*original, *copy],
        }
    }

    /// The message as received.
    #[must_use]
    pub fn original(&self) -> BodyRef {
        match self {
            Stored::Plain(body)
            | Stored::Edited(body, _)
            | Stored::Replaced { original: body, .. } => *body,
        }
    }

    /// The message to send, its size in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        match self {
            Stored::Plain(body) | Stored::Replaced { copy: body, .. } => body.length,
            Stored::Edited(_, edits) => edits.modified_size(),
        }
    }
}

/// The reference to a body.
#[must_use]
pub fn body_ref(body: BodyRef) -> ContentRef {
    ContentRef(Box::new(body.to_bytes()))
}

/// Has an item refer to other bodies with the same content, in the order of [`Stored::bodies`].
///
/// # Errors
/// Its references are damaged, or there are not as many bodies as it needs.
pub fn set_bodies(item: &mut Item, bodies: &[BodyRef]) -> Result<(), ContentError> {
    let Some((original, rest)) = bodies.split_first() else {
        return Err(ContentError::Reference);
    };
    let copied = (item.edits.as_ref()).is_some_and(|edits| edits.0.first() == Some(&COPY));
    match (copied, rest) {
        (false, []) => {}
        (true, [copy]) => {
            let mut reference = vec![COPY];
            reference.extend_from_slice(&copy.to_bytes());
            item.edits = Some(ContentRef(reference.into()));
        }
        _ => return Err(ContentError::Reference),
    }
    item.content = body_ref(*original);
    Ok(())
}

/// A stored body as a source for parsing.
pub struct BodySource(BodyReader);

impl BodySource {
    /// Opens a body.
    ///
    /// # Errors
    /// The spool cannot give it.
    pub fn open(spool: &impl Bodies, body: BodyRef) -> Result<BodySource, ReadError> {
        Ok(BodySource(spool.body(body)?))
    }
}

impl Source for BodySource {
    fn len(&self) -> u64 {
        self.0.length()
    }
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read_at(buffer, offset)
    }
    fn as_bytes(&self) -> Option<&[u8]> {
        self.0.in_memory()
    }
}

/// The spool's form of an item's id.
#[must_use]
pub fn spool_id(id: angarium_queue::item::ItemId) -> angarium_spool::ItemId {
    angarium_spool::ItemId {
        transaction: *id.transaction.as_bytes(),
        queue: id.queue,
    }
}

/// Bytes of one piece of the message.
const PIECE: usize = 128 << 10;

/// A message being read to be sent, from the first byte to the last.
///
/// A body in the log or in a file is read in order, so that the spool checks its checksum at the
/// end: damage is an error instead of the end, and the message is never ended for the peer.
/// Bodies that are not in memory are read on the thread pool.
pub struct Outgoing {
    reader: Option<BodyReader>,
    /// What remains to be given, in reverse.
    plan: Vec<Part>,
    /// How far the body was read.
    at: u64,
    checked: bool,
}

/// One stretch of the message.
enum Part {
    /// Up to this offset of the body.
    UpTo(u64),
    /// Go on from this offset.
    From(u64),
    /// These bytes.
    New(Vec<u8>),
    /// What follows from this offset of a message that does not lie in the spool.
    Other(Arc<dyn Source + Send + Sync>, u64),
}

impl Outgoing {
    /// Opens the message of an item; `now` (Unix seconds) is the date of delivery.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open(spool: &impl Bodies, stored: &Stored, now: i64) -> Result<Outgoing, ContentError> {
        let (body, edits) = match stored {
            Stored::Plain(body) | Stored::Replaced { copy: body, .. } => (*body, None),
            Stored::Edited(body, edits) => (*body, Some(edits)),
        };
        let reader = spool.body(body)?;
        let length = reader.length();
        let mut plan = Vec::new();
        match edits {
            None => plan.push(Part::UpTo(length)),
            Some(edits) => {
                if edits.original_size() != length {
                    return Err(ContentError::Edits(EditsError::OtherMessage {
                        expected: edits.original_size(),
                        found: length,
                    }));
                }
                for piece in edits.pieces() {
                    match piece {
                        Piece::Original(range) => {
                            plan.push(Part::From(range.start));
                            plan.push(Part::UpTo(range.end));
                        }
                        Piece::New(bytes) => plan.push(Part::New(bytes.to_vec())),
                        Piece::DeliveryDate => {
                            plan.push(Part::New(date::format_utc(now).into_bytes()));
                        }
                    }
                }
                // What is deleted at the end is read for the checksum's sake.
                plan.push(Part::From(length));
                plan.reverse();
            }
        }
        Ok(Outgoing {
            reader: Some(reader),
            plan,
            at: 0,
            checked: false,
        })
    }

    /// A message that does not lie in the spool.
    #[must_use]
    pub fn of(source: Arc<dyn Source + Send + Sync>) -> Outgoing {
        Outgoing {
            reader: None,
            plan: vec![Part::Other(source, 0)],
            at: 0,
            // There is no checksum.
            checked: true,
        }
    }

    /// Whether the message has bytes above 127, and whether its header may have: known at once for
    /// a body in memory. What edits take away is looked at too, which does no harm.
    #[must_use]
    pub fn charset(&self) -> Option<(bool, bool)> {
        let bytes = self.reader.as_ref()?.in_memory()?;
        let new = |part: &Part| matches!(part, Part::New(bytes) if !bytes.is_ascii());
        let added = self.plan.iter().any(new);
        if bytes.is_ascii() {
            return Some((added, added));
        }
        let end = HeaderEnd::default().find(bytes);
        let header = bytes.get(..end).unwrap_or_default();
        Some((true, added || !header.is_ascii()))
    }

    /// The same for any body, by reading it. The second reading is served by the system's cache.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn find_charset(mut self, pool: &HeavyPool) -> Result<(bool, bool), ContentError> {
        let (mut eight_bit, mut in_header) = (false, false);
        let mut header = HeaderEnd::default();
        while let Some(piece) = self.next(pool).await? {
            let ascii = piece.is_ascii();
            eight_bit |= !ascii;
            if !header.over {
                let end = header.find(&piece);
                in_header |= !ascii && !piece.get(..end).unwrap_or(&piece).is_ascii();
            }
            if header.over && eight_bit {
                break;
            }
        }
        Ok((eight_bit, in_header))
    }

    /// The next piece, none at the end.
    ///
    /// # Errors
    /// It cannot be read, or is not what was written.
    pub async fn next(&mut self, pool: &HeavyPool) -> Result<Option<Vec<u8>>, ContentError> {
        loop {
            match self.plan.pop() {
                Some(Part::New(bytes)) => return Ok(Some(bytes)),
                Some(Part::Other(source, at)) => {
                    let end = at.saturating_add(PIECE as u64).min(source.len());
                    if at >= end {
                        continue;
                    }
                    self.plan.push(Part::Other(Arc::clone(&source), end));
                    if source.as_bytes().is_some() {
                        return Ok(Some(source.read_range(at..end)?));
                    }
                    let read = pool.call(move || source.read_range(at..end));
                    return Ok(Some(read.await.map_err(io::Error::other)??));
                }
                Some(Part::UpTo(end)) => {
                    let left = usize::try_from(end.saturating_sub(self.at)).unwrap_or(usize::MAX);
                    if left == 0 {
                        continue;
                    }
                    if left > PIECE {
                        self.plan.push(Part::UpTo(end));
                    }
                    return self.read(pool, left.min(PIECE)).await.map(Some);
                }
                Some(Part::From(start)) => {
                    let skip = usize::try_from(start.saturating_sub(self.at)).unwrap_or(usize::MAX);
                    if skip > 0 {
                        if skip > PIECE {
                            self.plan.push(Part::From(start));
                        }
                        self.read(pool, skip.min(PIECE)).await?;
                    }
                }
                None if self.checked => return Ok(None),
                None => {
                    self.checked = true;
                    self.check(pool).await?;
                }
            }
        }
    }

    async fn read(&mut self, pool: &HeavyPool, length: usize) -> Result<Vec<u8>, ContentError> {
        let bytes = self
            .with_reader(pool, move |reader| {
                let mut bytes = vec![0; length];
                reader.read_exact(&mut bytes).map(|()| bytes)
            })
            .await?;
        self.at = self.at.saturating_add(bytes.len() as u64);
        Ok(bytes)
    }

    /// Reads the end, which is where the spool compares the checksum.
    async fn check(&mut self, pool: &HeavyPool) -> Result<(), ContentError> {
        self.with_reader(pool, |reader| reader.read(&mut [0; 1]).map(drop))
            .await
    }

    async fn with_reader<T: Send + 'static>(
        &mut self,
        pool: &HeavyPool,
        work: impl FnOnce(&mut BodyReader) -> io::Result<T> + Send + 'static,
    ) -> Result<T, ContentError> {
        let broken = || io::Error::other("an earlier read failed");
        let mut reader = self.reader.take().ok_or_else(broken)?;
        if reader.in_memory().is_some() {
            let result = work(&mut reader);
            self.reader = Some(reader);
            return Ok(result?);
        }
        let call = pool.call(move || {
            let result = work(&mut reader);
            (reader, result)
        });
        let (reader, result) = call.await.map_err(io::Error::other)?;
        self.reader = Some(reader);
        Ok(result?)
    }
}

/// Looks for the empty line after the header, however the message is cut.
#[derive(Default)]
pub(super) struct HeaderEnd {
    /// It was found.
    pub(super) over: bool,
    /// The line so far has a byte other than CR; the first line begins as one without.
    filled: bool,
}

impl HeaderEnd {
    /// How many bytes of `piece` belong to the header.
    pub(super) fn find(&mut self, piece: &[u8]) -> usize {
        for (at, byte) in piece.iter().enumerate() {
            match byte {
                b'\n' if !self.filled => {
                    self.over = true;
                    return at;
                }
                b'\n' => self.filled = false,
                b'\r' => {}
                _ => self.filled = true,
            }
        }
        piece.len()
    }
}

/// The header of a message as it was received, with at most this many bytes read for it.
///
/// # Errors
/// It cannot be read.
pub fn original_header(spool: &Spool, stored: &Stored) -> Result<Vec<u8>, ContentError> {
    let source = BodySource::open(spool, stored.original())?;
    Ok(HeaderBlock::read(&source)?.bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use angarium_effects::disk::SimDisk;
    use angarium_effects::{Monotonic, disk::Disk};
    use angarium_mail::edits::{Edit, Replacement};
    use angarium_queue::item::{Address, ItemId};
    use angarium_queue::time::Timestamp;
    use angarium_spool::{Config, Stepper};

    fn store(bytes: &[u8]) -> (Spool, Stepper, BodyRef) {
        let disk = SimDisk::new(1);
        disk.create_dir("/spool".as_ref()).expect("a directory");
        disk.create_dir("/spool/tmp".as_ref()).expect("a directory");
        let config = Config::new("/spool/queue", "/spool/tmp");
        let (spool, _, mut stepper) = Spool::open_stepped(Arc::new(disk), config).expect("a spool");
        let body = spool.body(bytes).expect("a body");
        let mut transaction = spool.transaction();
        let reference = transaction.add_body(&body);
        let id = angarium_spool::ItemId {
            transaction: [1; 16],
            queue: 1,
        };
        transaction.add_item(id, &[reference], vec![1]);
        let commit = spool.commit(transaction);
        stepper.run(Monotonic::default());
        assert!(matches!(commit.result(), Some(Ok(()))));
        (spool, stepper, reference)
    }

    fn read_all(spool: &Spool, stored: &Stored) -> Vec<u8> {
        let pool = HeavyPool::inline();
        let mut outgoing = Outgoing::open(spool, stored, 0).expect("open");
        let mut all = Vec::new();
        futures_util::future::FutureExt::now_or_never(async {
            while let Some(piece) = outgoing.next(&pool).await.expect("read") {
                all.extend_from_slice(&piece);
            }
        })
        .expect("inline");
        all
    }

    fn reference(kind: u8, bytes: &[u8]) -> ContentRef {
        ContentRef([&[kind], bytes].concat().into())
    }

    fn edits(length: u64, list: &[(std::ops::Range<u64>, &str)]) -> Arc<Edits> {
        let list = list
            .iter()
            .map(|(span, with)| Edit {
                span: span.clone(),
                with: Replacement::Bytes(with.as_bytes().to_vec()),
            })
            .collect();
        Arc::new(Edits::new(length, list).expect("edits"))
    }

    #[test]
    fn a_message_is_read_with_its_edits_whatever_its_size() {
        for size in [100, 70_000, 300_000] {
            let bytes: Vec<u8> = (0..size).map(|n| (n % 251) as u8).collect();
            let (spool, _stepper, body) = store(&bytes);
            assert_eq!(read_all(&spool, &Stored::Plain(body)), bytes, "{size}");
            let length = bytes.len() as u64;
            let edits = edits(
                length,
                &[(0..0, "first"), (10..50, "x"), (length - 20..length, "")],
            );
            let stored = Stored::Edited(body, edits);
            let want = [b"first", &bytes[..10], b"x", &bytes[50..size - 20]].concat();
            assert_eq!(stored.size(), want.len() as u64);
            assert_eq!(read_all(&spool, &stored), want, "{size}");
        }
    }

    #[test]
    fn bytes_above_127_are_found_in_header_and_body() {
        for (text, want) in [
            ("A: b\r\n\r\nc\r\n", (false, false)),
            ("A: b\r\n\r\n\u{e9}\r\n", (true, false)),
            ("A: \u{e9}\r\n\r\nc\r\n", (true, true)),
            ("\r\n\u{e9}", (true, false)),
            ("A: \u{e9}", (true, true)),
        ] {
            let (spool, _stepper, body) = store(text.as_bytes());
            let pool = HeavyPool::inline();
            let open = || Outgoing::open(&spool, &Stored::Plain(body), 0).expect("open");
            assert_eq!(open().charset(), Some(want), "{text:?}");
            let found = futures_util::future::FutureExt::now_or_never(open().find_charset(&pool));
            assert_eq!(found.expect("inline").expect("read"), want, "{text:?}");
        }
    }

    #[test]
    fn references_survive_their_stored_form_and_damage_is_an_error() {
        let (_spool, _stepper, body) = store(b"A: b\r\n\r\n");
        let id = ItemId {
            transaction: uuid::Uuid::nil(),
            queue: 1,
        };
        let address = Address::new("a", "b.test");
        let mut item = Item::new(id, Timestamp::ZERO, address.clone(), address, "t".into());
        assert!(matches!(Stored::of(&item), Err(ContentError::Reference)));
        item.content = body_ref(body);
        assert_eq!(Stored::of(&item).expect("a reference"), Stored::Plain(body));
        let list = edits(8, &[(0..1, "X")]);
        item.edits = Some(reference(LIST, &list.to_bytes()));
        assert_eq!(
            Stored::of(&item).expect("a reference"),
            Stored::Edited(body, list)
        );
        item.edits = Some(reference(COPY, &body.to_bytes()));
        let replaced = Stored::of(&item).expect("a reference");
        assert_eq!(replaced.bodies(), [body, body]);
        item.edits = Some(ContentRef([7].into()));
        assert!(Stored::of(&item).is_err());
    }
}
