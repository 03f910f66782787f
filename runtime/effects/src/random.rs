//! Random numbers.

use std::cell::Cell;

/// A source of random bytes fit for keys and identifiers.
pub trait Random {
    /// Fills `bytes`.
    fn fill(&self, bytes: &mut [u8]);

    /// A uniform 64-bit number.
    fn next_u64(&self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// A uniform number below `bound` (at least 1), without bias.
    fn below(&self, bound: u64) -> u64 {
        let bound = bound.max(1);
        // Numbers in the incomplete last copy of 0..bound are drawn again.
        let zone = u64::MAX - (u64::MAX % bound + 1) % bound;
        loop {
            let number = self.next_u64();
            if number <= zone {
                return number % bound;
            }
        }
    }

    /// A uniform number in [0, 1).
    fn unit(&self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A random (version 4) UUID.
    fn uuid(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        self.fill(&mut bytes);
        bytes[6] = (bytes[6] & 0x0f) | 0x40;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        bytes
    }
}

/// The text form of a UUID, lower case.
#[must_use]
pub fn uuid_text(bytes: &[u8; 16]) -> String {
    let mut text = String::with_capacity(36);
    for (at, byte) in bytes.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        for nibble in [byte >> 4, byte & 15] {
            text.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0'));
        }
    }
    text
}

/// The bytes of a UUID in text form, any case.
#[must_use]
pub fn uuid_bytes(text: &str) -> Option<[u8; 16]> {
    let mut bytes = [0; 16];
    let text = text.as_bytes();
    if text.len() != 36 {
        return None;
    }
    let mut at = 0;
    for (index, c) in text.iter().enumerate() {
        if matches!(index, 8 | 13 | 18 | 23) {
            if *c != b'-' {
                return None;
            }
            continue;
        }
        let nibble = char::from(*c).to_digit(16)? as u8;
        bytes[at / 2] |= if at % 2 == 0 { nibble << 4 } else { nibble };
        at += 1;
    }
    Some(bytes)
}

/// Reproducible numbers for tests and the simulator (SplitMix64); not for keys.
#[derive(Debug)]
pub struct SeededRandom(Cell<u64>);

impl SeededRandom {
    /// The sequence of `seed`.
    #[must_use]
    pub fn new(seed: u64) -> SeededRandom {
        SeededRandom(Cell::new(seed))
    }
}

impl Random for SeededRandom {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let state = self.0.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
            self.0.set(state);
            let mut word = state;
            word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            word ^= word >> 31;
            chunk.copy_from_slice(&word.to_le_bytes()[..chunk.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_survive_their_text_form() {
        let random = SeededRandom::new(1);
        let uuid = random.uuid();
        let text = uuid_text(&uuid);
        assert_eq!(text.len(), 36);
        assert_eq!(text.as_bytes()[14], b'4');
        assert_eq!(uuid_bytes(&text), Some(uuid));
        assert_eq!(uuid_bytes(&text.to_uppercase()), Some(uuid));
        assert_eq!(uuid_bytes("not a uuid"), None);
    }

    #[test]
    fn bounded_numbers_stay_below_their_bound() {
        let random = SeededRandom::new(2);
        for bound in [1, 2, 3, 7, u64::MAX] {
            for _ in 0..100 {
                assert!(random.below(bound) < bound);
            }
        }
        assert!((0.0..1.0).contains(&random.unit()));
    }
}
