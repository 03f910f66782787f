//! The bytes of short strings, read and written by words that do not overlap.
//!
//! Such a string lies in the value itself, and is mostly copied right after it was made. A processor gives a read what
//! an earlier write holds only if that write covers it. So all reads and writes are cut at the same places: copied as
//! a whole, or byte by byte, the bytes would be waited for.

/// Longest string that is stored inside the value itself.
pub const INLINE: usize = 14;

/// The bytes, with zeros behind the text.
pub(crate) type Bytes = [u8; INLINE];

/// Bytes 0 to 7, 8 to 11, and 12 and 13.
pub(crate) type Words = (u64, u32, u16);

/// The bytes as words, in the machine's order.
#[inline(always)]
pub(crate) fn words(bytes: &Bytes) -> Words {
    let (first, rest) = bytes.split_at(8);
    let (second, third) = rest.split_at(4);
    (
        u64::from_ne_bytes(first.try_into().unwrap_or_default()),
        u32::from_ne_bytes(second.try_into().unwrap_or_default()),
        u16::from_ne_bytes(third.try_into().unwrap_or_default()),
    )
}

/// The bytes of words.
#[inline(always)]
pub(crate) fn bytes((first, second, third): Words) -> Bytes {
    let mut bytes = [0; INLINE];
    bytes[..8].copy_from_slice(&first.to_ne_bytes());
    bytes[8..12].copy_from_slice(&second.to_ne_bytes());
    bytes[12..].copy_from_slice(&third.to_ne_bytes());
    bytes
}

/// A copy.
#[inline(always)]
pub(crate) fn copy(of: &Bytes) -> Bytes {
    bytes(words(of))
}

/// Whether they are the same.
#[inline(always)]
pub(crate) fn equal(a: &Bytes, b: &Bytes) -> bool {
    words(a) == words(b)
}

/// The words of a text; none when it is too long.
#[inline]
pub(crate) fn of(text: &[u8]) -> Option<Words> {
    let len = text.len();
    let (first, rest) =
        if let (Some(head), Some(tail)) = (text.first_chunk::<8>(), text.last_chunk::<8>()) {
            if len > INLINE {
                return None;
            }
            // What the last eight bytes have beyond the first ones.
            let beyond = (len - 8) as u32 * 8;
            let tail = u64::from_le_bytes(*tail);
            let rest = tail.checked_shr(64 - beyond).unwrap_or(0);
            (u64::from_le_bytes(*head), rest)
        } else if let (Some(head), Some(tail)) = (text.first_chunk::<4>(), text.last_chunk::<4>()) {
            let beyond = (len - 4) as u32 * 8;
            let tail = u64::from(u32::from_le_bytes(*tail)) << beyond >> 32 << 32;
            (u64::from(u32::from_le_bytes(*head)) | tail, 0)
        } else {
            let bytes = text.iter().rev();
            (bytes.fold(0, |word, byte| word << 8 | u64::from(*byte)), 0)
        };
    Some((
        u64::from_ne_bytes(first.to_le_bytes()),
        u32::from_ne_bytes((rest as u32).to_le_bytes()),
        u16::from_ne_bytes(((rest >> 32) as u16).to_le_bytes()),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_of_each_length_comes_back_with_zeros_behind() {
        let text: Vec<u8> = (1..=20).collect();
        for len in 0..=text.len() {
            let found = of(&text[..len]).map(bytes);
            if len > INLINE {
                assert_eq!(found, None);
                continue;
            }
            let mut expected = [0; INLINE];
            expected[..len].copy_from_slice(&text[..len]);
            assert_eq!(found, Some(expected));
            assert_eq!(copy(&expected), expected);
            assert!(equal(&expected, &copy(&expected)));
        }
    }

    #[test]
    fn each_byte_counts() {
        for at in 0..INLINE {
            let mut other = [7; INLINE];
            other[at] = 8;
            assert!(!equal(&[7; INLINE], &other));
        }
    }
}
