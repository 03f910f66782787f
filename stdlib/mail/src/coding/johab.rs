//! Johab (KS X 1001, annex 3): a syllable is a bit and three numbers of five bits, for its initial, medial and final letter.
//!
//! Everything else is KS X 1001 moved to other bytes.

use encoding_rs::EUC_KR;

use super::writer::double;

/// The letters that begin a syllable, by number; in Johab from 2 on.
const INITIALS: [char; 19] = [
    'ㄱ', 'ㄲ', 'ㄴ', 'ㄷ', 'ㄸ', 'ㄹ', 'ㅁ', 'ㅂ', 'ㅃ', 'ㅅ', 'ㅆ', 'ㅇ', 'ㅈ', 'ㅉ', 'ㅊ', 'ㅋ',
    'ㅌ', 'ㅍ', 'ㅎ',
];

/// The letters that end one, by number from 1 on.
const FINALS: [char; 27] = [
    'ㄱ', 'ㄲ', 'ㄳ', 'ㄴ', 'ㄵ', 'ㄶ', 'ㄷ', 'ㄹ', 'ㄺ', 'ㄻ', 'ㄼ', 'ㄽ', 'ㄾ', 'ㄿ', 'ㅀ', 'ㅁ',
    'ㅂ', 'ㅄ', 'ㅅ', 'ㅆ', 'ㅇ', 'ㅈ', 'ㅊ', 'ㅋ', 'ㅌ', 'ㅍ', 'ㅎ',
];

/// The vowels lie in this order from here on.
const FIRST_VOWEL: u32 = 'ㅏ' as u32;
const VOWELS: u32 = 21;
const FIRST_SYLLABLE: u32 = '가' as u32;
const SYLLABLES: u32 = 19 * VOWELS * 28;

/// The codes that say that a letter is missing.
const NO_INITIAL: u16 = 1;
const NO_MEDIAL: u16 = 2;
const NO_FINAL: u16 = 1;

/// The character of two bytes.
pub(super) fn decode(lead: u8, trail: u8) -> Option<char> {
    match lead {
        0x84..=0xd3 => syllable(u16::from_be_bytes([lead, trail])),
        0xd9..=0xde | 0xe0..=0xf9 => {
            let row = match lead {
                ..0xe0 => 2 * (u16::from(lead) - 0xd9),
                _ => 2 * u16::from(lead) - 0x197,
            };
            let cell = match trail {
                0x31..=0x7e => u16::from(trail) - 0x31,
                0x91..=0xfe => u16::from(trail) - 0x43,
                _ => return None,
            };
            let pair = [row + cell / 94 + 0xa1, cell % 94 + 0xa1].map(|byte| byte as u8);
            let text = EUC_KR.decode_without_bom_handling_and_without_replacement(&pair)?;
            text.chars().next()
        }
        _ => None,
    }
}

fn syllable(code: u16) -> Option<char> {
    let (initial, medial, last) = (code >> 10 & 31, code >> 5 & 31, code & 31);
    let vowel = match medial {
        NO_MEDIAL => None,
        3..=7 => Some(medial - 3),
        10..=15 => Some(medial - 5),
        18..=23 => Some(medial - 7),
        26..=29 => Some(medial - 9),
        _ => return None,
    };
    let end = match last {
        NO_FINAL => 0,
        2..=17 => last - 1,
        19..=29 => last - 2,
        _ => return None,
    };
    match (initial, vowel, end) {
        (NO_INITIAL, Some(vowel), 0) => char::from_u32(FIRST_VOWEL + u32::from(vowel)),
        (NO_INITIAL, None, 1..) => FINALS.get(usize::from(end) - 1).copied(),
        (2..=20, None, 0) => INITIALS.get(usize::from(initial) - 2).copied(),
        (2..=20, Some(vowel), end) => {
            let [initial, vowel, end] = [initial - 2, vowel, end].map(u32::from);
            char::from_u32(FIRST_SYLLABLE + (initial * VOWELS + vowel) * 28 + end)
        }
        _ => None,
    }
}

/// The two bytes of a character beyond ASCII.
pub(super) fn encode(c: char) -> Option<[u8; 2]> {
    let number = u32::from(c);
    let place = |letters: &[char]| letters.iter().position(|letter| *letter == c);
    let syllable = number.wrapping_sub(FIRST_SYLLABLE);
    let vowel = number.wrapping_sub(FIRST_VOWEL);
    if syllable < SYLLABLES {
        let [initial, vowel, end] = [
            syllable / 28 / VOWELS,
            syllable / 28 % VOWELS,
            syllable % 28,
        ]
        .map(|part| part as u16);
        return Some(joined(initial + 2, medial(vowel), last(end)));
    }
    if vowel < VOWELS {
        return Some(joined(NO_INITIAL, medial(vowel as u16), NO_FINAL));
    }
    if let Some(at) = place(&INITIALS) {
        return Some(joined(at as u16 + 2, NO_MEDIAL, NO_FINAL));
    }
    if let Some(at) = place(&FINALS) {
        return Some(joined(NO_INITIAL, NO_MEDIAL, last(at as u16 + 1)));
    }
    let [row, cell] = double(EUC_KR, c)?.map(u16::from);
    let row = match row {
        0x21..=0x2c => row - 0x21 + 0x1b2,
        0x4a..=0x7d => row - 0x21 + 0x197,
        _ => return None,
    };
    let cell = cell - 0x21 + 94 * (row & 1);
    let trail = cell + if cell < 0x4e { 0x31 } else { 0x43 };
    Some([row >> 1, trail].map(|byte| byte as u8))
}

fn joined(initial: u16, medial: u16, last: u16) -> [u8; 2] {
    (0x8000 | initial << 10 | medial << 5 | last).to_be_bytes()
}

/// The code of a vowel: some codes are left out.
fn medial(vowel: u16) -> u16 {
    match vowel {
        ..5 => vowel + 3,
        5..11 => vowel + 5,
        11..17 => vowel + 7,
        _ => vowel + 9,
    }
}

/// The code of a final letter, of which 0 is none.
fn last(end: u16) -> u16 {
    match end {
        ..17 => end + 1,
        _ => end + 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_character_that_is_written_reads_back() {
        let mut count = 0;
        for c in ('\u{80}'..='\u{ffff}').filter(|c| encode(*c).is_some()) {
            let [lead, trail] = encode(c).unwrap();
            assert_eq!(decode(lead, trail), Some(c), "{c}");
            count += 1;
        }
        // All syllables, the letters, the other characters of the standard.
        assert!(count > 11_172 + 51 + 4_888, "{count}");
    }

    #[test]
    fn no_bytes_are_too_odd() {
        for (lead, trail) in (0..=255).flat_map(|lead| (0..=255).map(move |trail| (lead, trail))) {
            let _ = decode(lead, trail);
        }
        assert_eq!(decode(0x88, 0x61), Some('가'));
        assert_eq!(decode(0x88, 0x41), Some('ㄱ'));
        assert_eq!(decode(0xe0, 0x31), Some('伽'));
    }
}
