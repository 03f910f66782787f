//! Sets of bytes or of characters, as PCRE2 defines its named ones in the C locale.

use regex_syntax::hir::{Class, ClassBytes, ClassBytesRange, ClassUnicode, ClassUnicodeRange};

/// What one unit of pattern and subject is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// A byte: no `u` modifier.
    Byte,
    /// A Unicode character: the `u` modifier.
    Char,
}

impl Unit {
    /// The greatest value of a unit.
    pub(crate) fn max(self) -> u32 {
        match self {
            Unit::Byte => 0xff,
            Unit::Char => 0x10_ffff,
        }
    }
}

/// A set under construction. Named sets are ASCII in either unit: PCRE2 looks at Unicode properties
/// only when a pattern asks for them.
#[derive(Clone, Debug)]
pub(crate) struct CharSet {
    class: Class,
}

impl CharSet {
    /// The empty set.
    pub(crate) fn empty(unit: Unit) -> CharSet {
        let class = match unit {
            Unit::Byte => Class::Bytes(ClassBytes::empty()),
            Unit::Char => Class::Unicode(ClassUnicode::empty()),
        };
        CharSet { class }
    }

    /// A set of some ranges.
    pub(crate) fn of(unit: Unit, ranges: &[(u32, u32)]) -> CharSet {
        let mut set = CharSet::empty(unit);
        for &(low, high) in ranges {
            set.add(low, high);
        }
        set
    }

    /// Adds the units from `low` to `high`; surrogates and values beyond the unit are left out.
    pub(crate) fn add(&mut self, low: u32, high: u32) {
        match &mut self.class {
            Class::Bytes(class) => {
                if let Ok(low) = u8::try_from(low) {
                    let high = u8::try_from(high).unwrap_or(u8::MAX);
                    class.push(ClassBytesRange::new(low, high));
                }
            }
            Class::Unicode(class) => {
                // The ends of a range that fall among the surrogates move outwards of them.
                let low = char::from_u32(low).unwrap_or('\u{e000}');
                let high = char::from_u32(high).unwrap_or('\u{d7ff}');
                if low <= high {
                    class.push(ClassUnicodeRange::new(low, high));
                }
            }
        }
    }

    /// Adds every unit of `other`, which has the same unit.
    pub(crate) fn union(&mut self, other: &CharSet) {
        match (&mut self.class, &other.class) {
            (Class::Bytes(mine), Class::Bytes(theirs)) => mine.union(theirs),
            (Class::Unicode(mine), Class::Unicode(theirs)) => mine.union(theirs),
            _ => {}
        }
    }

    /// Turns the set into its complement.
    pub(crate) fn negate(&mut self) {
        self.class.negate();
    }

    /// The complement.
    pub(crate) fn negated(mut self) -> CharSet {
        self.negate();
        self
    }

    /// The set as the automata take it.
    pub(crate) fn into_class(self) -> Class {
        self.class
    }

    /// `\d`, `\s`, `\w`, `\h`, `\v`, `\N` and their opposites; `None` for another letter.
    pub(crate) fn escape(unit: Unit, letter: u8) -> Option<CharSet> {
        let ranges: &[(u32, u32)] = match letter.to_ascii_lowercase() {
            b'd' => DIGIT,
            b's' => SPACE,
            b'w' => WORD,
            b'h' => HORIZONTAL,
            b'v' => VERTICAL,
            b'n' if letter == b'N' => LINE_FEED,
            _ => return None,
        };
        let set = CharSet::of(unit, ranges);
        Some(if letter.is_ascii_uppercase() {
            set.negated()
        } else {
            set
        })
    }

    /// The POSIX class `name`. Caseless, `lower` and `upper` stand for `alpha`.
    pub(crate) fn posix(unit: Unit, name: &[u8], caseless: bool) -> Option<CharSet> {
        let ranges: &[(u32, u32)] = match name {
            b"lower" | b"upper" if caseless => ALPHA,
            b"alpha" => ALPHA,
            b"lower" => &[(0x61, 0x7a)],
            b"upper" => &[(0x41, 0x5a)],
            b"alnum" => &[(0x30, 0x39), (0x41, 0x5a), (0x61, 0x7a)],
            b"ascii" => &[(0, 0x7f)],
            b"blank" => &[(0x09, 0x09), (0x20, 0x20)],
            b"cntrl" => &[(0, 0x1f), (0x7f, 0x7f)],
            b"digit" => DIGIT,
            b"graph" => &[(0x21, 0x7e)],
            b"print" => &[(0x20, 0x7e)],
            b"punct" => &[(0x21, 0x2f), (0x3a, 0x40), (0x5b, 0x60), (0x7b, 0x7e)],
            b"space" => SPACE,
            b"word" => WORD,
            b"xdigit" => &[(0x30, 0x39), (0x41, 0x46), (0x61, 0x66)],
            _ => return None,
        };
        Some(CharSet::of(unit, ranges))
    }

    /// Adds a range as a class or a literal lists it, with its other cases if `caseless`.
    ///
    /// `None` if that would need case tables beyond ASCII. Two characters beyond ASCII fold to an
    /// ASCII letter: the Kelvin sign to `k` and the long s to `s`.
    pub(crate) fn add_listed(&mut self, low: u32, high: u32, caseless: bool) -> Option<()> {
        self.add(low, high);
        if !caseless {
            return Some(());
        }
        let chars = matches!(self.class, Class::Unicode(_));
        if chars && high > 0x7f {
            return None;
        }
        for (first, last, other) in [(0x41, 0x5a, 0x61), (0x61, 0x7a, 0x41)] {
            let (from, to) = (low.max(first), high.min(last));
            if from <= to {
                self.add(from - first + other, to - first + other);
            }
        }
        let lists = |letter: u8| {
            [letter, letter.to_ascii_uppercase()]
                .into_iter()
                .any(|l| (low..=high).contains(&l.into()))
        };
        if chars && lists(b'k') {
            self.add(0x212a, 0x212a);
        }
        if chars && lists(b's') {
            self.add(0x17f, 0x17f);
        }
        Some(())
    }
}

const DIGIT: &[(u32, u32)] = &[(0x30, 0x39)];
const SPACE: &[(u32, u32)] = &[(0x09, 0x0d), (0x20, 0x20)];
const WORD: &[(u32, u32)] = &[(0x30, 0x39), (0x41, 0x5a), (0x5f, 0x5f), (0x61, 0x7a)];
const ALPHA: &[(u32, u32)] = &[(0x41, 0x5a), (0x61, 0x7a)];
const LINE_FEED: &[(u32, u32)] = &[(0x0a, 0x0a)];
/// pcre2pattern(3), "Generic character types".
const HORIZONTAL: &[(u32, u32)] = &[
    (0x09, 0x09),
    (0x20, 0x20),
    (0xa0, 0xa0),
    (0x1680, 0x1680),
    (0x180e, 0x180e),
    (0x2000, 0x200a),
    (0x202f, 0x202f),
    (0x205f, 0x205f),
    (0x3000, 0x3000),
];
const VERTICAL: &[(u32, u32)] = &[(0x0a, 0x0d), (0x85, 0x85), (0x2028, 0x2029)];
