//! Random numbers.

use std::cell::Cell;
use std::time::Duration;

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

    /// The UUID of a transaction or connection: random, unless the process wants those made from time.
    fn transaction_uuid(&self) -> [u8; 16] {
        self.uuid()
    }
}

/// A UUID made from time (version 1 of RFC 9562): `unix` is the time, `random` stands for clock sequence and node.
#[must_use]
pub fn uuid_from_time(unix: Duration, random: [u8; 8]) -> [u8; 16] {
    /// From the beginning of the Gregorian calendar to 1970, in units of 100 ns.
    const GREGORIAN: u64 = 0x01b2_1dd2_1381_4000;
    // 60 bits last until the year 5236.
    let ticks = u64::try_from(unix.as_nanos() / 100).unwrap_or(u64::MAX);
    let ticks = GREGORIAN.saturating_add(ticks).to_be_bytes();
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&ticks[4..]);
    bytes[4..6].copy_from_slice(&ticks[2..4]);
    bytes[6..8].copy_from_slice(&ticks[..2]);
    bytes[6] = (bytes[6] & 0x0f) | 0x10;
    bytes[8..].copy_from_slice(&random);
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    // A node that is no network card's address says so (RFC 9562 section 6.10).
    bytes[10] |= 1;
    bytes
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
    fn a_uuid_made_from_time_is_that_of_the_rfc() {
        // RFC 9562, appendix A.1: 2022-02-22 14:22:22 -05:00.
        let random = [0xb3, 0xc8, 0x9f, 0x6b, 0xde, 0xce, 0xd8, 0x46];
        let made = uuid_from_time(Duration::from_secs(1_645_557_742), random);
        assert_eq!(uuid_text(&made), "c232ab00-9414-11ec-b3c8-9f6bdeced846");
        let odd = uuid_from_time(Duration::MAX, [0; 8]);
        assert_eq!((odd[6] >> 4, odd[8] >> 6, odd[10] & 1), (1, 2, 1));
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
