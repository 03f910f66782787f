//! Single-byte charsets that the Encoding Standard lacks or makes supersets of: what their bytes from 128 on stand for.

/// The characters of the bytes from 128 to 255; U+FFFD where there is none.
pub type Upper = [char; 128];

/// `table` with other characters for some bytes.
const fn with(mut table: Upper, changes: &[(u8, char)]) -> Upper {
    let mut next = 0;
    while next < changes.len() {
        let (byte, character) = changes[next];
        table[byte as usize - 128] = character;
        next += 1;
    }
    table
}

/// ISO-8859-1: every byte is the character of its number.
const LATIN_1: Upper = {
    let mut table = ['\0'; 128];
    let mut byte = 128_u8;
    loop {
        table[byte as usize - 128] = byte as char;
        if byte == 255 {
            break table;
        }
        byte += 1;
    }
};

/// ISO-8859-9, Turkish.
pub static LATIN_5: Upper = with(
    LATIN_1,
    &[
        (0xd0, '\u{11e}'),
        (0xdd, '\u{130}'),
        (0xde, '\u{15e}'),
        (0xf0, '\u{11f}'),
        (0xfd, '\u{131}'),
        (0xfe, '\u{15f}'),
    ],
);

/// ISO-8859-11 and TIS-620: the block of Thai from 161 on, where it has characters.
pub static THAI: Upper = {
    let mut table = LATIN_1;
    let mut byte = 0xa1_u8;
    loop {
        table[byte as usize - 128] = match (byte, char::from_u32(0xe01 - 0xa1 + byte as u32)) {
            (0xa1..=0xda | 0xdf..=0xfb, Some(character)) => character,
            _ => char::REPLACEMENT_CHARACTER,
        };
        if byte == 255 {
            break table;
        }
        byte += 1;
    }
};

/// code page 437 of DOS.
#[rustfmt::skip]
pub static DOS_437: Upper = [
    '\u{c7}', '\u{fc}', '\u{e9}', '\u{e2}', '\u{e4}', '\u{e0}', '\u{e5}', '\u{e7}',
    '\u{ea}', '\u{eb}', '\u{e8}', '\u{ef}', '\u{ee}', '\u{ec}', '\u{c4}', '\u{c5}',
    '\u{c9}', '\u{e6}', '\u{c6}', '\u{f4}', '\u{f6}', '\u{f2}', '\u{fb}', '\u{f9}',
    '\u{ff}', '\u{d6}', '\u{dc}', '\u{a2}', '\u{a3}', '\u{a5}', '\u{20a7}', '\u{192}',
    '\u{e1}', '\u{ed}', '\u{f3}', '\u{fa}', '\u{f1}', '\u{d1}', '\u{aa}', '\u{ba}',
    '\u{bf}', '\u{2310}', '\u{ac}', '\u{bd}', '\u{bc}', '\u{a1}', '\u{ab}', '\u{bb}',
    '\u{2591}', '\u{2592}', '\u{2593}', '\u{2502}', '\u{2524}', '\u{2561}', '\u{2562}', '\u{2556}',
    '\u{2555}', '\u{2563}', '\u{2551}', '\u{2557}', '\u{255d}', '\u{255c}', '\u{255b}', '\u{2510}',
    '\u{2514}', '\u{2534}', '\u{252c}', '\u{251c}', '\u{2500}', '\u{253c}', '\u{255e}', '\u{255f}',
    '\u{255a}', '\u{2554}', '\u{2569}', '\u{2566}', '\u{2560}', '\u{2550}', '\u{256c}', '\u{2567}',
    '\u{2568}', '\u{2564}', '\u{2565}', '\u{2559}', '\u{2558}', '\u{2552}', '\u{2553}', '\u{256b}',
    '\u{256a}', '\u{2518}', '\u{250c}', '\u{2588}', '\u{2584}', '\u{258c}', '\u{2590}', '\u{2580}',
    '\u{3b1}', '\u{df}', '\u{393}', '\u{3c0}', '\u{3a3}', '\u{3c3}', '\u{b5}', '\u{3c4}',
    '\u{3a6}', '\u{398}', '\u{3a9}', '\u{3b4}', '\u{221e}', '\u{3c6}', '\u{3b5}', '\u{2229}',
    '\u{2261}', '\u{b1}', '\u{2265}', '\u{2264}', '\u{2320}', '\u{2321}', '\u{f7}', '\u{2248}',
    '\u{b0}', '\u{2219}', '\u{b7}', '\u{221a}', '\u{207f}', '\u{b2}', '\u{25a0}', '\u{a0}',
];

/// code page 850 of DOS, Western European.
#[rustfmt::skip]
pub static DOS_850: Upper = [
    '\u{c7}', '\u{fc}', '\u{e9}', '\u{e2}', '\u{e4}', '\u{e0}', '\u{e5}', '\u{e7}',
    '\u{ea}', '\u{eb}', '\u{e8}', '\u{ef}', '\u{ee}', '\u{ec}', '\u{c4}', '\u{c5}',
    '\u{c9}', '\u{e6}', '\u{c6}', '\u{f4}', '\u{f6}', '\u{f2}', '\u{fb}', '\u{f9}',
    '\u{ff}', '\u{d6}', '\u{dc}', '\u{f8}', '\u{a3}', '\u{d8}', '\u{d7}', '\u{192}',
    '\u{e1}', '\u{ed}', '\u{f3}', '\u{fa}', '\u{f1}', '\u{d1}', '\u{aa}', '\u{ba}',
    '\u{bf}', '\u{ae}', '\u{ac}', '\u{bd}', '\u{bc}', '\u{a1}', '\u{ab}', '\u{bb}',
    '\u{2591}', '\u{2592}', '\u{2593}', '\u{2502}', '\u{2524}', '\u{c1}', '\u{c2}', '\u{c0}',
    '\u{a9}', '\u{2563}', '\u{2551}', '\u{2557}', '\u{255d}', '\u{a2}', '\u{a5}', '\u{2510}',
    '\u{2514}', '\u{2534}', '\u{252c}', '\u{251c}', '\u{2500}', '\u{253c}', '\u{e3}', '\u{c3}',
    '\u{255a}', '\u{2554}', '\u{2569}', '\u{2566}', '\u{2560}', '\u{2550}', '\u{256c}', '\u{a4}',
    '\u{f0}', '\u{d0}', '\u{ca}', '\u{cb}', '\u{c8}', '\u{131}', '\u{cd}', '\u{ce}',
    '\u{cf}', '\u{2518}', '\u{250c}', '\u{2588}', '\u{2584}', '\u{a6}', '\u{cc}', '\u{2580}',
    '\u{d3}', '\u{df}', '\u{d4}', '\u{d2}', '\u{f5}', '\u{d5}', '\u{b5}', '\u{fe}',
    '\u{de}', '\u{da}', '\u{db}', '\u{d9}', '\u{fd}', '\u{dd}', '\u{af}', '\u{b4}',
    '\u{ad}', '\u{b1}', '\u{2017}', '\u{be}', '\u{b6}', '\u{a7}', '\u{f7}', '\u{b8}',
    '\u{b0}', '\u{a8}', '\u{b7}', '\u{b9}', '\u{b3}', '\u{b2}', '\u{25a0}', '\u{a0}',
];

/// code page 852 of DOS, Central European.
#[rustfmt::skip]
pub static DOS_852: Upper = [
    '\u{c7}', '\u{fc}', '\u{e9}', '\u{e2}', '\u{e4}', '\u{16f}', '\u{107}', '\u{e7}',
    '\u{142}', '\u{eb}', '\u{150}', '\u{151}', '\u{ee}', '\u{179}', '\u{c4}', '\u{106}',
    '\u{c9}', '\u{139}', '\u{13a}', '\u{f4}', '\u{f6}', '\u{13d}', '\u{13e}', '\u{15a}',
    '\u{15b}', '\u{d6}', '\u{dc}', '\u{164}', '\u{165}', '\u{141}', '\u{d7}', '\u{10d}',
    '\u{e1}', '\u{ed}', '\u{f3}', '\u{fa}', '\u{104}', '\u{105}', '\u{17d}', '\u{17e}',
    '\u{118}', '\u{119}', '\u{ac}', '\u{17a}', '\u{10c}', '\u{15f}', '\u{ab}', '\u{bb}',
    '\u{2591}', '\u{2592}', '\u{2593}', '\u{2502}', '\u{2524}', '\u{c1}', '\u{c2}', '\u{11a}',
    '\u{15e}', '\u{2563}', '\u{2551}', '\u{2557}', '\u{255d}', '\u{17b}', '\u{17c}', '\u{2510}',
    '\u{2514}', '\u{2534}', '\u{252c}', '\u{251c}', '\u{2500}', '\u{253c}', '\u{102}', '\u{103}',
    '\u{255a}', '\u{2554}', '\u{2569}', '\u{2566}', '\u{2560}', '\u{2550}', '\u{256c}', '\u{a4}',
    '\u{111}', '\u{110}', '\u{10e}', '\u{cb}', '\u{10f}', '\u{147}', '\u{cd}', '\u{ce}',
    '\u{11b}', '\u{2518}', '\u{250c}', '\u{2588}', '\u{2584}', '\u{162}', '\u{16e}', '\u{2580}',
    '\u{d3}', '\u{df}', '\u{d4}', '\u{143}', '\u{144}', '\u{148}', '\u{160}', '\u{161}',
    '\u{154}', '\u{da}', '\u{155}', '\u{170}', '\u{fd}', '\u{dd}', '\u{163}', '\u{b4}',
    '\u{ad}', '\u{2dd}', '\u{2db}', '\u{2c7}', '\u{2d8}', '\u{a7}', '\u{f7}', '\u{b8}',
    '\u{b0}', '\u{a8}', '\u{2d9}', '\u{171}', '\u{158}', '\u{159}', '\u{25a0}', '\u{a0}',
];

/// code page 850 with the euro sign.
pub static DOS_858: Upper = with(DOS_850, &[(0xd5, '\u{20ac}')]);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_that_are_made_of_others_differ_where_they_should() {
        let at = |table: &Upper, byte: usize| table[byte - 128];
        assert_eq!([at(&LATIN_5, 0x80), at(&LATIN_5, 0xff)], ['\u{80}', 'ÿ']);
        assert_eq!([at(&LATIN_5, 0xd0), at(&LATIN_5, 0xfe)], ['Ğ', 'ş']);
        assert_eq!([at(&THAI, 0xa0), at(&THAI, 0xa1)], ['\u{a0}', 'ก']);
        assert_eq!([at(&THAI, 0xdb), at(&THAI, 0xdf)], ['\u{fffd}', '฿']);
        assert_eq!([at(&THAI, 0xfb), at(&THAI, 0xff)], ['๛', '\u{fffd}']);
        assert_eq!([at(&DOS_850, 0xd5), at(&DOS_858, 0xd5)], ['ı', '€']);
        assert_eq!(at(&DOS_858, 0xff), at(&DOS_850, 0xff));
    }
}
