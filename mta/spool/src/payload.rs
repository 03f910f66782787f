//! What is inside the records: bodies, items, completions.

use smallvec::SmallVec;

use crate::id::{BodyId, ItemId};
use crate::record::Kind;

/// The bodies of an item; nearly always one, or the original and what changes it.
pub(crate) type BodyIds = SmallVec<[BodyId; 2]>;

/// A decoded record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Payload<'a> {
    Body {
        id: BodyId,
        bytes: &'a [u8],
    },
    File {
        id: BodyId,
        length: u64,
        crc: u32,
    },
    Item {
        id: ItemId,
        bodies: BodyIds,
        blob: &'a [u8],
    },
    Done {
        ids: Vec<ItemId>,
    },
}

impl<'a> Payload<'a> {
    /// Decodes a payload; `None` if it is not of the form that its kind asks for.
    pub(crate) fn decode(kind: Kind, payload: &'a [u8]) -> Option<Self> {
        match kind {
            Kind::Body => {
                let (id, bytes) = number(payload)?;
                Some(Self::Body {
                    id: BodyId(id),
                    bytes,
                })
            }
            Kind::File => {
                let (id, rest) = number(payload)?;
                let (length, rest) = number(rest)?;
                let crc = u32::from_le_bytes(rest.try_into().ok()?);
                Some(Self::File {
                    id: BodyId(id),
                    length,
                    crc,
                })
            }
            Kind::Item => {
                let (id, rest) = ItemId::decode(payload)?;
                let (&count, mut rest) = rest.split_first()?;
                let mut bodies = BodyIds::new();
                for _ in 0..count {
                    let (body, after) = number(rest)?;
                    bodies.push(BodyId(body));
                    rest = after;
                }
                Some(Self::Item {
                    id,
                    bodies,
                    blob: rest,
                })
            }
            Kind::Done => {
                let mut ids = Vec::with_capacity(payload.len() / ItemId::LENGTH);
                let mut rest = payload;
                while !rest.is_empty() {
                    let (id, after) = ItemId::decode(rest)?;
                    ids.push(id);
                    rest = after;
                }
                Some(Self::Done { ids })
            }
            Kind::Part | Kind::Checkpoint => None,
        }
    }
}

/// Encodes what stands before the owner's bytes in the record of an item. At most 255 bodies.
pub(crate) fn item_head(id: ItemId, bodies: &[BodyId]) -> Vec<u8> {
    let count = u8::try_from(bodies.len()).unwrap_or(u8::MAX);
    let mut head = Vec::with_capacity(ItemId::LENGTH + 1 + size_of_val(bodies));
    id.encode(&mut head);
    head.push(count);
    for body in bodies.iter().take(usize::from(count)) {
        head.extend_from_slice(&body.0.to_le_bytes());
    }
    head
}

/// Encodes the record of a body in its own file.
pub(crate) fn file(id: BodyId, length: u64, crc: u32) -> Vec<u8> {
    let mut payload = Vec::with_capacity(20);
    payload.extend_from_slice(&id.0.to_le_bytes());
    payload.extend_from_slice(&length.to_le_bytes());
    payload.extend_from_slice(&crc.to_le_bytes());
    payload
}

/// Encodes the record of completions.
pub(crate) fn done(ids: &[ItemId]) -> Vec<u8> {
    let mut payload = Vec::with_capacity(ids.len() * ItemId::LENGTH);
    for id in ids {
        id.encode(&mut payload);
    }
    payload
}

/// Splits a number off the front.
pub(crate) fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (number, rest) = bytes.split_first_chunk::<8>()?;
    Some((u64::from_le_bytes(*number), rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn an_id() -> impl Strategy<Value = ItemId> {
        (any::<[u8; 16]>(), any::<u64>())
            .prop_map(|(transaction, queue)| ItemId { transaction, queue })
    }

    proptest! {
        #[test]
        fn an_item_is_read_back(
            id in an_id(), bodies in proptest::collection::vec(any::<u64>().prop_map(BodyId), 0..5),
            blob in proptest::collection::vec(any::<u8>(), 0..100),
        ) {
            let bytes = [item_head(id, &bodies), blob.clone()].concat();
            prop_assert_eq!(
                Payload::decode(Kind::Item, &bytes),
                Some(Payload::Item { id, bodies: bodies.into(), blob: &blob })
            );
        }

        #[test]
        fn completions_and_files_are_read_back(ids in proptest::collection::vec(an_id(), 0..20), n in any::<u64>(), crc in any::<u32>()) {
            let bytes = done(&ids);
            prop_assert_eq!(Payload::decode(Kind::Done, &bytes), Some(Payload::Done { ids }));
            let file = file(BodyId(n), n, crc);
            prop_assert_eq!(Payload::decode(Kind::File, &file), Some(Payload::File { id: BodyId(n), length: n, crc }));
        }

        #[test]
        fn any_bytes_are_decoded_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            for kind in [Kind::Body, Kind::File, Kind::Item, Kind::Done, Kind::Checkpoint] {
                let _ = Payload::decode(kind, &bytes);
            }
        }
    }
}
