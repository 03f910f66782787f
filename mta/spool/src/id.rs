//! What names a queue item and a body.

use std::fmt;

/// Names a queue item: one recipient's copy of a transaction's message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ItemId {
    /// The UUID of the transaction, in network byte order.
    pub transaction: [u8; 16],
    /// The queue number, unique within the transaction.
    pub queue: u64,
}

impl ItemId {
    /// The length of the encoded form.
    pub(crate) const LENGTH: usize = 24;

    pub(crate) fn encode(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.transaction);
        out.extend_from_slice(&self.queue.to_le_bytes());
    }

    /// Splits an id off the front of `bytes`.
    pub(crate) fn decode(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (transaction, rest) = bytes.split_first_chunk::<16>()?;
        let (queue, rest) = rest.split_first_chunk::<8>()?;
        Some((
            Self {
                transaction: *transaction,
                queue: u64::from_le_bytes(*queue),
            },
            rest,
        ))
    }
}

/// Writes `UUID:N`, the form of logs and tools.
impl fmt::Display for ItemId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.transaction.iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        write!(f, ":{}", self.queue)
    }
}

/// Names a body for as long as an item refers to it, wherever compaction moves it.
///
/// The upper bits number the start of the server, the lower ones the bodies since then, so that no
/// number is ever used twice, even one that a crash has wiped from the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BodyId(pub(crate) u64);

impl BodyId {
    const COUNTER_BITS: u32 = 40;

    pub(crate) fn new(session: u32, counter: u64) -> Self {
        Self(
            (u64::from(session) << Self::COUNTER_BITS)
                | (counter & ((1 << Self::COUNTER_BITS) - 1)),
        )
    }

    /// The name of the file of a body that is too large for the log.
    pub(crate) fn file_name(self) -> String {
        format!("{:016x}", self.0)
    }
}

/// Where an item's content is: the body's name and length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BodyRef {
    /// The body.
    pub id: BodyId,
    /// Its length in bytes.
    pub length: u64,
}

impl BodyRef {
    /// Returns the reference as bytes, for whoever stores it inside an item.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        for (to, from) in bytes.iter_mut().zip(
            self.id
                .0
                .to_le_bytes()
                .into_iter()
                .chain(self.length.to_le_bytes()),
        ) {
            *to = from;
        }
        bytes
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (id, rest) = bytes.split_first_chunk::<8>()?;
        let length = rest.try_into().ok()?;
        Some(Self {
            id: BodyId(u64::from_le_bytes(*id)),
            length: u64::from_le_bytes(length),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_to_a_body_is_read_back_from_its_bytes() {
        let body = BodyRef {
            id: BodyId(77),
            length: 1 << 40,
        };
        assert_eq!(BodyRef::from_bytes(&body.to_bytes()), Some(body));
        assert_eq!(BodyRef::from_bytes(&[0; 15]), None);
    }

    #[test]
    fn an_item_is_written_as_uuid_colon_number_and_read_back_from_its_bytes() {
        let id = ItemId {
            transaction: *b"0123456789abcdef",
            queue: 258,
        };
        assert_eq!(id.to_string(), "30313233-3435-3637-3839-616263646566:258");
        let mut bytes = Vec::new();
        id.encode(&mut bytes);
        bytes.push(9);
        assert_eq!(ItemId::decode(&bytes), Some((id, &[9][..])));
        assert_eq!(ItemId::decode(&bytes[..23]), None);
    }
}
