//! The frame around every record of the log.
//!
//! ```text
//!  0        4        8        12   13   14   16            20           24
//!  ┌────────┬────────┬────────┬────┬────┬────┬─────────────┬────────────┬─────────┬─────────┐
//!  │ "ANGR" │ length │ synced │kind│flag│ 0  │ payload CRC │ header CRC │ payload │ 0 to 7 0│
//!  └────────┴────────┴────────┴────┴────┴────┴─────────────┴────────────┴─────────┴─────────┘
//! ```
//!
//! Numbers are little-endian; records start at multiples of 8. `synced` says, in units of 8 bytes, how
//! much of the segment was known to be on the disk when the record was written: so every intact record
//! proves that all before that mark was once intact, and a damaged place before the mark is corruption,
//! one behind it only an unfinished write. Both checksums are CRC32C; the header's also covers the
//! segment's number and secret and the record's offset, so that nothing inside a message, and no stale
//! block, passes for a record.

use memchr::memmem;

use crate::id::BodyId;

/// The length of the frame's header.
pub(crate) const HEADER: u64 = 24;
const HEADER_LENGTH: usize = 24;
const MAGIC: [u8; 4] = *b"ANGR";
/// Records start at multiples of this.
pub(crate) const ALIGNMENT: u64 = 8;

/// The first record of a transaction.
pub(crate) const FIRST: u8 = 1;
/// The last record of a transaction.
pub(crate) const LAST: u8 = 2;

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A body: id, bytes.
    Body = 1,
    /// A body in its own file: id, length, CRC32C of the content.
    File = 2,
    /// An item, new or in a new state: id, bodies, the owner's bytes.
    Item = 3,
    /// Items that are gone: ids.
    Done = 4,
    /// A part of a body in the file of an unloaded item: id, bytes.
    Part = 5,
    /// Parts of a checkpoint.
    Checkpoint = 16,
}

impl Kind {
    fn from_code(code: u8) -> Option<Self> {
        const ALL: [Kind; 6] = [
            Kind::Body,
            Kind::File,
            Kind::Item,
            Kind::Done,
            Kind::Part,
            Kind::Checkpoint,
        ];
        ALL.into_iter().find(|&kind| kind as u8 == code)
    }
}

/// What ties records to their file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seal {
    /// The segment's number.
    pub(crate) segment: u32,
    /// The segment's secret.
    pub(crate) salt: u64,
}

/// An intact record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    pub(crate) kind: Kind,
    pub(crate) flags: u8,
    /// Bytes of the segment that were on the disk when this was written.
    pub(crate) synced: u64,
    pub(crate) payload: &'a [u8],
}

/// Why there is no intact record at an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Damage {
    /// There is no header.
    Header,
    /// The header is good and says how long the record is; the payload is not what was written.
    Payload { size: u64 },
    /// The record is whole but of a kind that this version does not know.
    Kind { size: u64 },
}

impl Damage {
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::Header => "no record starts there",
            Self::Payload { .. } => "the checksum of a record is wrong",
            Self::Kind { .. } => "a record is of an unknown kind",
        }
    }
}

/// Returns what a record with a payload of `length` bytes takes.
pub(crate) fn size(length: u64) -> u64 {
    HEADER.saturating_add(length).next_multiple_of(ALIGNMENT)
}

/// Appends a record to `out`, which continues the segment so that the record starts at `offset`.
///
/// The payload is `head` and `tail`; of a body, `head` is the id. `tail_crc` is the CRC32C of `tail` if
/// it is known, as that of a body is, which was summed on the way in.
pub(crate) fn append(
    out: &mut Vec<u8>,
    seal: Seal,
    offset: u64,
    mark: Mark,
    head: &[u8],
    tail: &[u8],
    tail_crc: Option<u32>,
) {
    let length = head.len().saturating_add(tail.len());
    // The tail of a body comes first in the checksum: its id is chosen after it was summed.
    let payload_crc = if head_length(mark.kind) > 0 {
        crc32c::crc32c_append(tail_crc.unwrap_or_else(|| crc32c::crc32c(tail)), head)
    } else {
        crc32c::crc32c_append(crc32c::crc32c(head), tail)
    };
    let mut header = [0; HEADER_LENGTH];
    let fields = [
        u32::from_le_bytes(MAGIC),
        u32::try_from(length).unwrap_or(u32::MAX),
        u32::try_from(mark.synced / ALIGNMENT).unwrap_or(0),
        u32::from_le_bytes([mark.kind as u8, mark.flags, 0, 0]),
        payload_crc,
    ];
    for (to, field) in header.chunks_exact_mut(4).zip(fields) {
        to.copy_from_slice(&field.to_le_bytes());
    }
    let header_crc = header_crc(seal, offset, &header);
    if let Some(to) = header.last_chunk_mut::<4>() {
        *to = header_crc.to_le_bytes();
    }
    out.extend_from_slice(&header);
    out.extend_from_slice(head);
    out.extend_from_slice(tail);
    let padding = size(length as u64)
        .saturating_sub(HEADER)
        .saturating_sub(length as u64);
    out.resize(
        out.len()
            .saturating_add(usize::try_from(padding).unwrap_or(0)),
        0,
    );
}

/// The fields of a header that do not follow from the payload.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    pub(crate) kind: Kind,
    pub(crate) flags: u8,
    pub(crate) synced: u64,
}

/// How many bytes at the front of a payload of `kind` are summed last.
pub(crate) fn head_length(kind: Kind) -> usize {
    if kind == Kind::Body {
        size_of::<BodyId>()
    } else {
        0
    }
}

/// Reads the record that starts at the front of `bytes`, which is at `offset` of its segment.
pub(crate) fn read(bytes: &[u8], seal: Seal, offset: u64) -> Result<Record<'_>, Damage> {
    let (header, rest) = bytes
        .split_first_chunk::<HEADER_LENGTH>()
        .ok_or(Damage::Header)?;
    if !header.starts_with(&MAGIC) {
        return Err(Damage::Header);
    }
    let field = |index: usize| word(header, index);
    if field(5) != header_crc(seal, offset, header) {
        return Err(Damage::Header);
    }
    let length = field(1);
    let size = size(u64::from(length));
    let payload = usize::try_from(length)
        .ok()
        .and_then(|length| rest.get(..length));
    let payload = payload.ok_or(Damage::Payload { size })?;
    let [code, flags, ..] = field(3).to_le_bytes();
    let Some(kind) = Kind::from_code(code) else {
        return Err(Damage::Kind { size });
    };
    let (head, tail) = payload
        .split_at_checked(head_length(kind))
        .ok_or(Damage::Payload { size })?;
    if crc32c::crc32c_append(crc32c::crc32c(tail), head) != field(4) {
        return Err(Damage::Payload { size });
    }
    Ok(Record {
        kind,
        flags,
        synced: u64::from(field(2)).saturating_mul(ALIGNMENT),
        payload,
    })
}

/// A header alone, for reading a long payload piece by piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: Kind,
    /// The length of the payload.
    pub(crate) length: u64,
    payload_crc: u32,
}

impl Frame {
    /// Tells whether the payload of a body, its id and bytes with the given sum, is what was written.
    pub(crate) fn matches_body(&self, id: BodyId, bytes_crc: u32) -> bool {
        crc32c::crc32c_append(bytes_crc, &id.0.to_le_bytes()) == self.payload_crc
    }
}

/// Reads only the header of the record at the front of `bytes`.
pub(crate) fn read_frame(bytes: &[u8], seal: Seal, offset: u64) -> Option<Frame> {
    let header = bytes.first_chunk::<HEADER_LENGTH>()?;
    let word = |index: usize| word(header, index);
    if !header.starts_with(&MAGIC) || word(5) != header_crc(seal, offset, header) {
        return None;
    }
    let kind = Kind::from_code(word(3).to_le_bytes()[0])?;
    Some(Frame {
        kind,
        length: u64::from(word(1)),
        payload_crc: word(4),
    })
}

fn word(header: &[u8; HEADER_LENGTH], index: usize) -> u32 {
    let word = header
        .chunks_exact(4)
        .nth(index)
        .and_then(|word| word.first_chunk::<4>());
    word.map_or(0, |word| u32::from_le_bytes(*word))
}

/// Looks for the next record with a good header at or behind `from`; `bytes` is the segment from its
/// start.
pub(crate) fn find(bytes: &[u8], seal: Seal, from: usize) -> Option<usize> {
    let finder = memmem::Finder::new(&MAGIC);
    let mut at = from;
    loop {
        at = at.saturating_add(finder.find(bytes.get(at..)?)?);
        let rest = bytes.get(at..)?;
        let aligned = at.is_multiple_of(ALIGNMENT as usize);
        if aligned && !matches!(read(rest, seal, at as u64), Err(Damage::Header)) {
            return Some(at);
        }
        at = at.saturating_add(1);
    }
}

fn header_crc(seal: Seal, offset: u64, header: &[u8; HEADER_LENGTH]) -> u32 {
    let crc = crc32c::crc32c(&seal.salt.to_le_bytes());
    let crc = crc32c::crc32c_append(crc, &seal.segment.to_le_bytes());
    let crc = crc32c::crc32c_append(crc, &offset.to_le_bytes());
    crc32c::crc32c_append(crc, header.get(..20).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SEAL: Seal = Seal {
        segment: 7,
        salt: 0x1234_5678_9abc_def0,
    };

    fn encoded(
        kind: Kind,
        flags: u8,
        synced: u64,
        head: &[u8],
        tail: &[u8],
        offset: u64,
    ) -> Vec<u8> {
        let mut out = Vec::new();
        append(
            &mut out,
            SEAL,
            offset,
            Mark {
                kind,
                flags,
                synced,
            },
            head,
            tail,
            Some(crc32c::crc32c(tail)),
        );
        out
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            head in any::<[u8; 8]>(), tail in proptest::collection::vec(any::<u8>(), 0..600),
            synced in 0u64..1 << 30, offset in 0u64..1 << 30, flags in 0u8..4,
        ) {
            let (synced, offset) = (synced * 8, offset * 8);
            let bytes = encoded(Kind::Body, flags, synced, &head, &tail, offset);
            prop_assert_eq!(bytes.len() as u64, size(8 + tail.len() as u64));
            let payload = [&head[..], &tail].concat();
            prop_assert_eq!(
                read(&bytes, SEAL, offset),
                Ok(Record { kind: Kind::Body, flags, synced, payload: &payload })
            );
        }

        #[test]
        fn one_changed_bit_is_noticed(
            payload in proptest::collection::vec(any::<u8>(), 1..200), bit in any::<prop::sample::Index>(),
        ) {
            let mut bytes = encoded(Kind::Item, FIRST, 64, &payload, &[], 64);
            let covered = HEADER_LENGTH + payload.len();
            let bit = bit.index(covered * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(read(&bytes, SEAL, 64).is_err());
        }

        #[test]
        fn any_bytes_can_be_read_and_searched(bytes in proptest::collection::vec(any::<u8>(), 0..300), from in 0usize..400) {
            prop_assert!(read(&bytes, SEAL, 0).is_err());
            prop_assert_eq!(find(&bytes, SEAL, from), None);
        }
    }

    #[test]
    fn a_record_at_another_place_or_of_another_segment_is_none() {
        let bytes = encoded(Kind::Done, FIRST | LAST, 0, b"payload", &[], 64);
        assert!(read(&bytes, SEAL, 64).is_ok());
        assert_eq!(read(&bytes, SEAL, 72), Err(Damage::Header));
        assert_eq!(
            read(&bytes, Seal { segment: 8, ..SEAL }, 64),
            Err(Damage::Header)
        );
        assert_eq!(
            read(&bytes, Seal { salt: 1, ..SEAL }, 64),
            Err(Damage::Header)
        );
    }

    #[test]
    fn a_cut_record_and_a_damaged_payload_tell_where_the_next_record_is() {
        let mut bytes = encoded(Kind::Item, FIRST, 0, b"0123456789", &[], 0);
        assert_eq!(
            read(&bytes[..30], SEAL, 0),
            Err(Damage::Payload { size: 40 })
        );
        bytes[24] ^= 1;
        assert_eq!(read(&bytes, SEAL, 0), Err(Damage::Payload { size: 40 }));
    }

    #[test]
    fn the_search_finds_the_next_record_behind_rubbish() {
        let mut bytes = vec![0xAA; 56];
        append(
            &mut bytes,
            SEAL,
            56,
            Mark {
                kind: Kind::Done,
                flags: 0,
                synced: 0,
            },
            b"x",
            &[],
            None,
        );
        assert_eq!(find(&bytes, SEAL, 1), Some(56));
        assert_eq!(find(&bytes, SEAL, 57), None);
    }
}
