//! Sets of scalars: which values came before, by strict equality (language.md 5.1).

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use crate::array::{Key, KeyRef, mix};
use crate::native::{Cx, Throw};
use crate::pieces::LongArray;
use crate::string::Str;
use crate::value::Value;

/// A set of scalars that are held elsewhere: for so few that the set need not grow in pieces.
#[derive(Default)]
pub struct Seen<'a> {
    none: bool,
    booleans: [bool; 2],
    /// A bit for each small whole number.
    small: Vec<u64>,
    numbers: HashTable<i64>,
    strings: HashTable<&'a Str>,
}

/// Whole numbers below this have a bit.
const SMALL: f64 = 65_536.0;

impl<'a> Seen<'a> {
    /// Adds a value; whether it is new, none for what is no scalar.
    #[inline]
    pub fn add(&mut self, value: &'a Value) -> Option<bool> {
        Some(match value {
            Value::Number(number) => self.add_number(*number),
            Value::String(text) => {
                let hash = text.hash_code();
                let same = |own: &&Str| *own == text;
                match self.strings.entry(hash, same, |own| own.hash_code()) {
                    Entry::Occupied(_) => false,
                    Entry::Vacant(place) => {
                        place.insert(text);
                        true
                    }
                }
            }
            Value::None => !std::mem::replace(&mut self.none, true),
            Value::Boolean(boolean) => {
                !std::mem::replace(&mut self.booleans[usize::from(*boolean)], true)
            }
            _ => return None,
        })
    }

    #[inline]
    fn add_number(&mut self, number: f64) -> bool {
        let whole = number as u32;
        if number < SMALL && f64::from(whole) == number {
            let (word, bit) = (whole as usize / 64, 1 << (whole % 64));
            if word >= self.small.len() {
                self.small.resize(word + 1, 0);
            }
            let is_new = self.small[word] & bit == 0;
            self.small[word] |= bit;
            return is_new;
        }
        // Nothing equals it.
        if number.is_nan() {
            return true;
        }
        let bits = bits(number);
        let hash_of = |bits: &i64| mix(*bits as u64);
        match self
            .numbers
            .entry(hash_of(&bits), |own| *own == bits, hash_of)
        {
            Entry::Occupied(_) => false,
            Entry::Vacant(place) => {
                place.insert(bits);
                true
            }
        }
    }
}

/// A set of scalars that grows in pieces: between two of them [`Scalars::make_ready`] is asked.
pub struct Scalars {
    none: bool,
    booleans: [bool; 2],
    numbers: LongArray,
    strings: LongArray,
}

impl Default for Scalars {
    fn default() -> Scalars {
        Scalars {
            none: false,
            booleans: [false; 2],
            numbers: LongArray::keyed(),
            strings: LongArray::keyed(),
        }
    }
}

/// The bits of a number, both zeros having the same.
fn bits(number: f64) -> i64 {
    (number + 0.0).to_bits() as i64
}

impl Scalars {
    /// Whether a value is in the set; none for what is no scalar.
    #[must_use]
    pub fn has(&self, value: &Value) -> Option<bool> {
        Some(match value {
            Value::None => self.none,
            Value::Boolean(boolean) => self.booleans[usize::from(*boolean)],
            // Nothing equals it.
            Value::Number(number) if number.is_nan() => false,
            Value::Number(number) => {
                let key = KeyRef::Integer(bits(*number));
                self.numbers.array().find(key).is_some()
            }
            Value::String(string) => {
                let key = KeyRef::String(string);
                self.strings.array().find(key).is_some()
            }
            _ => return None,
        })
    }

    /// Adds a value; whether it is new, none for what is no scalar.
    pub fn add(&mut self, value: &Value) -> Option<bool> {
        if self.has(value)? {
            return Some(false);
        }
        match value {
            Value::None => self.none = true,
            Value::Boolean(boolean) => self.booleans[usize::from(*boolean)] = true,
            Value::Number(number) if !number.is_nan() => {
                let key = Key::Integer(bits(*number));
                self.numbers.insert(key, Value::None);
            }
            Value::String(string) => {
                self.strings
                    .insert(Key::String(string.clone()), Value::None);
            }
            _ => {}
        }
        Some(true)
    }

    /// Whether a value can be looked for and added. Otherwise [`Scalars::make_ready`] is to be called.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.numbers.is_ready() && self.strings.is_ready()
    }

    /// Does a piece of what makes the set grow; whether it is done.
    ///
    /// # Errors
    /// When there is no memory for more.
    pub fn make_ready(&mut self, cx: &mut Cx<'_>) -> Result<bool, Throw> {
        Ok(self.numbers.make_ready(cx)? && self.strings.make_ready(cx)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::array::Array;

    #[test]
    fn scalars_are_told_apart_by_strict_equality() {
        let mut scalars = Scalars::default();
        let values = || {
            [
                Value::None,
                Value::from(false),
                Value::from(true),
                Value::from(0.0),
                Value::from(1.0),
                Value::from("1"),
                Value::from(""),
                Value::from("a text that is too long to be in place"),
            ]
        };
        for value in values() {
            assert_eq!(scalars.has(&value), Some(false), "{value:?}");
            assert_eq!(scalars.add(&value), Some(true), "{value:?}");
        }
        for value in values() {
            assert_eq!(scalars.add(&value), Some(false), "{value:?}");
        }
        assert_eq!(scalars.has(&Value::from(-0.0)), Some(true));
        for _ in 0..2 {
            assert_eq!(scalars.add(&Value::from(f64::NAN)), Some(true));
        }
        assert_eq!(scalars.add(&Value::from(Array::new())), None);
    }

    #[test]
    fn both_sets_agree() {
        let long = "a text that is too long to be in place ";
        let numbers = [
            0.0,
            -0.0,
            1.0,
            -1.0,
            0.5,
            65_535.0,
            65_536.0,
            1e300,
            f64::NAN,
            f64::INFINITY,
        ];
        let mut values: Vec<Value> = numbers.map(Value::from).into();
        for text in ["", "1", "0", "abc", long] {
            values.push(text.into());
        }
        values.extend([Value::None, true.into(), false.into()]);
        values.extend((0..200).map(|number| format!("{long}{number}").into()));
        values.extend((0..200).map(|number| Value::from(1e6 + f64::from(number) / 8.0)));
        values.extend(values.clone());
        let (mut scalars, mut seen) = (Scalars::default(), Seen::default());
        for value in &values {
            assert_eq!(seen.add(value), scalars.add(value), "{value:?}");
        }
        let array = Value::from(Array::new());
        assert_eq!(Seen::default().add(&array), None);
    }
}
