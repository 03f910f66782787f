//! Reads a segment from its start: which records count, what is damaged, where the end is.
//!
//! A place without an intact record is *damage* if all of it was once synced, and a *torn tail*
//! otherwise (see [`crate::record`]). Behind damage the scan goes on at the next intact record. The
//! records of a transaction stand together between a first and a last one; in the part that was
//! never known to be synced, only whole transactions count.

use std::ops::Range;

use crate::record::{self, Damage, FIRST, LAST, Record, Seal};
use crate::segment::{End, Header, START};

/// What a segment holds.
#[derive(Debug, Default)]
pub(crate) struct Scan<'a> {
    /// The records that count, in order, with their offsets.
    pub(crate) records: Vec<(u64, Record<'a>)>,
    /// The places that were synced and are not intact.
    pub(crate) damage: Vec<(Range<u64>, &'static str)>,
    /// How much is known to have been synced.
    pub(crate) synced: u64,
    /// The end of the last record that counts.
    pub(crate) end: u64,
    /// How many bytes behind the synced part were begun and not finished.
    pub(crate) torn: u64,
}

/// Scans the segment `bytes`. `end` is what the next segment says of this one's end.
pub(crate) fn scan<'a>(bytes: &'a [u8], header: &Header, end: Option<End>) -> Scan<'a> {
    let length = bytes.len() as u64;
    let limit = end.map_or(length, |end| end.offset.min(length));
    let counted = usize::try_from(limit)
        .ok()
        .and_then(|limit| bytes.get(..limit))
        .unwrap_or(bytes);

    let (records, gaps) = intact(counted, header.seal());
    let proven = records
        .iter()
        .map(|(_, record)| record.synced)
        .max()
        .unwrap_or(START);
    // A mark behind the end of the file would make every gap damage: believe it no further.
    let synced = match end {
        Some(end) if end.synced => end.offset,
        _ => proven.clamp(START, limit.max(START)),
    };

    let mut scan = Scan {
        synced,
        end: START,
        ..Scan::default()
    };
    for (range, reason) in gaps {
        if range.start < synced {
            scan.damage.push((range, reason));
        } else {
            scan.torn = scan.torn.saturating_add(written(counted, range));
        }
    }
    if synced > length.max(START) {
        scan.damage.push((length..synced, "the file is too short"));
    }
    scan.keep(records);
    scan
}

impl<'a> Scan<'a> {
    /// Takes over the records that count.
    fn keep(&mut self, records: Vec<(u64, Record<'a>)>) {
        // The open transaction: where its records begin in `self.records`, and where the next must be.
        let mut open: Option<(usize, u64)> = None;
        for (offset, record) in records {
            let after = offset.saturating_add(record::size(record.payload.len() as u64));
            if record.flags & FIRST != 0 || open.is_some_and(|(_, expected)| expected != offset) {
                self.abandon(open.take());
                if record.flags & FIRST != 0 {
                    open = Some((self.records.len(), after));
                }
            }
            // A piece of a transaction that was acknowledged counts even when other pieces are damaged.
            if open.is_none() && offset >= self.synced {
                self.torn = self.torn.saturating_add(after.saturating_sub(offset));
                continue;
            }
            self.records.push((offset, record));
            if let Some((_, expected)) = &mut open {
                *expected = after;
            }
            if record.flags & LAST != 0 {
                open = None;
                self.end = self.end.max(after);
            }
        }
        self.abandon(open);
        self.end = self.end.max(self.synced);
    }

    /// Drops what an unfinished transaction has left, unless it was synced.
    fn abandon(&mut self, open: Option<(usize, u64)>) {
        let Some((first, expected)) = open else {
            return;
        };
        if let Some(&(offset, _)) = self
            .records
            .get(first)
            .filter(|(offset, _)| *offset >= self.synced)
        {
            self.torn = self.torn.saturating_add(expected.saturating_sub(offset));
            self.records.truncate(first);
        }
    }
}

type Gaps = Vec<(Range<u64>, &'static str)>;

/// Finds all intact records and the gaps between them.
pub(crate) fn intact(bytes: &[u8], seal: Seal) -> (Vec<(u64, Record<'_>)>, Gaps) {
    let mut records = Vec::new();
    let mut gaps: Gaps = Vec::new();
    let mut at = START;
    while let Some(rest) = usize::try_from(at)
        .ok()
        .and_then(|at| bytes.get(at..))
        .filter(|rest| !rest.is_empty())
    {
        match record::read(rest, seal, at) {
            Ok(record) => {
                records.push((at, record));
                at = at.saturating_add(record::size(record.payload.len() as u64));
            }
            Err(damage) => {
                let next = match damage {
                    Damage::Header => None,
                    Damage::Payload { size } | Damage::Kind { size } => {
                        let next = at.saturating_add(size);
                        record_starts(bytes, seal, next).then_some(next)
                    }
                };
                let behind = usize::try_from(at).unwrap_or(usize::MAX).saturating_add(1);
                let next = next
                    .or_else(|| record::find(bytes, seal, behind).map(|next| next as u64))
                    .unwrap_or(bytes.len() as u64);
                if next < bytes.len() as u64 || written(bytes, at..next) > 0 {
                    gaps.push((at..next, damage.reason()));
                }
                at = next;
            }
        }
    }
    (records, gaps)
}

fn record_starts(bytes: &[u8], seal: Seal, at: u64) -> bool {
    let rest = usize::try_from(at).ok().and_then(|at| bytes.get(at..));
    rest.is_some_and(|rest| !matches!(record::read(rest, seal, at), Err(Damage::Header)))
}

/// Counts the bytes of `range` up to the last one that is not zero: segments are filled with zeros
/// before their use.
fn written(bytes: &[u8], range: Range<u64>) -> u64 {
    let start = usize::try_from(range.start).unwrap_or(usize::MAX);
    let end = usize::try_from(range.end).unwrap_or(usize::MAX);
    let place = bytes.get(start..end.min(bytes.len())).unwrap_or_default();
    // Most of a new segment is zeros: look at it in blocks.
    let zeros = [0; 4096];
    let mut kept = place;
    while let Some((rest, _)) = kept
        .split_last_chunk::<4096>()
        .filter(|(_, block)| **block == zeros)
    {
        kept = rest;
    }
    kept.iter()
        .rposition(|&byte| byte != 0)
        .map_or(0, |last| last as u64 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Kind, Mark};
    use proptest::prelude::*;

    const HEADER: Header = Header {
        number: 5,
        session: 1,
        salt: 99,
        previous: None,
    };

    /// Writes a segment: each entry is the mark, the flags and the payload of a record.
    fn segment(records: &[(u64, u8, &str)]) -> Vec<u8> {
        let mut bytes = HEADER.encode();
        for (synced, flags, payload) in records {
            let mark = Mark {
                kind: Kind::Item,
                flags: *flags,
                synced: *synced,
            };
            let offset = bytes.len() as u64;
            let payload = payload.as_bytes();
            record::append(&mut bytes, HEADER.seal(), offset, mark, payload, &[], None);
        }
        bytes
    }

    fn texts(scan: &Scan<'_>) -> Vec<String> {
        scan.records
            .iter()
            .map(|(_, r)| String::from_utf8_lossy(r.payload).into_owned())
            .collect()
    }

    const BOTH: u8 = FIRST | LAST;
    /// The offset of the second record when the first has a payload of at most 8 bytes.
    const SECOND: u64 = START + 32;
    const THIRD: u64 = SECOND + 32;

    #[test]
    fn a_clean_segment_ends_at_its_zeros() {
        let mut bytes = segment(&[
            (START, BOTH, "one"),
            (SECOND, FIRST, "two"),
            (SECOND, LAST, "three"),
        ]);
        let end = bytes.len() as u64;
        bytes.resize(bytes.len() + 5000, 0);
        let scan = scan(&bytes, &HEADER, None);
        assert_eq!(texts(&scan), ["one", "two", "three"]);
        assert_eq!((scan.synced, scan.end, scan.torn), (SECOND, end, 0));
        assert!(scan.damage.is_empty());
    }

    #[test]
    fn a_torn_transaction_at_the_end_is_dropped_as_a_whole() {
        let bytes = segment(&[
            (START, BOTH, "one"),
            (SECOND, FIRST, "two"),
            (SECOND, LAST, "three"),
        ]);
        let mut torn = bytes.clone();
        torn[THIRD as usize + 25] ^= 1;
        let found = scan(&torn, &HEADER, None);
        assert_eq!(texts(&found), ["one"]);
        assert!(found.damage.is_empty());
        assert!(found.torn > 0);
        let mut first_lost = bytes;
        first_lost[SECOND as usize..THIRD as usize].fill(0);
        assert_eq!(texts(&scan(&first_lost, &HEADER, None)), ["one"]);
    }

    #[test]
    fn an_intact_transaction_behind_a_torn_one_counts() {
        let mut bytes = segment(&[
            (START, BOTH, "one"),
            (SECOND, BOTH, "two"),
            (SECOND, BOTH, "three"),
        ]);
        bytes[SECOND as usize] ^= 1;
        let scan = scan(&bytes, &HEADER, None);
        assert_eq!(texts(&scan), ["one", "three"]);
        assert!(scan.damage.is_empty());
    }

    #[test]
    fn a_bad_record_before_the_mark_of_a_later_one_is_damage() {
        let mut bytes = segment(&[
            (START, FIRST, "one"),
            (START, LAST, "two"),
            (THIRD, BOTH, "three"),
        ]);
        bytes[SECOND as usize + 24] ^= 1;
        let scan = scan(&bytes, &HEADER, None);
        assert_eq!(texts(&scan), ["one", "three"]);
        assert_eq!(
            scan.damage,
            [(SECOND..THIRD, "the checksum of a record is wrong")]
        );
    }

    #[test]
    fn the_next_segment_tells_the_end() {
        let bytes = segment(&[(START, BOTH, "one"), (SECOND, BOTH, "never acknowledged")]);
        let end = End {
            segment: 5,
            offset: SECOND,
            synced: true,
        };
        let found = scan(&bytes, &HEADER, Some(end));
        assert_eq!(texts(&found), ["one"]);
        assert!(found.damage.is_empty());
        let cut = &bytes[..START as usize + 10];
        let found = scan(cut, &HEADER, Some(end));
        assert!(texts(&found).is_empty());
        assert!(!found.damage.is_empty());
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_segment(bytes in proptest::collection::vec(any::<u8>(), 0..9000), end in any::<u64>(), known in any::<bool>()) {
            let end = known.then_some(End { segment: 5, offset: end, synced: true });
            prop_assert!(scan(&bytes, &HEADER, end).records.is_empty());
        }

        #[test]
        fn damage_to_a_segment_never_makes_a_record_that_was_not_written(
            changes in proptest::collection::vec((START..START + 200, any::<u8>()), 0..6), cut in START..START + 200,
        ) {
            let written = ["alpha", "beta", "gamma", "delta"];
            let mut bytes = segment(&[(START, BOTH, "alpha"), (START, FIRST, "beta"), (SECOND, LAST, "gamma"), (THIRD, BOTH, "delta")]);
            for (at, value) in changes {
                if let Some(byte) = bytes.get_mut(at as usize) {
                    *byte = value;
                }
            }
            bytes.truncate(cut as usize);
            for text in texts(&scan(&bytes, &HEADER, None)) {
                prop_assert!(written.contains(&text.as_str()));
            }
        }
    }
}
