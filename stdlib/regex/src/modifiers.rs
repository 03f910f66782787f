//! Modifiers of a pattern and the text form `/pattern/modifiers`.

use std::fmt;

/// Letters that may follow the closing slash, in the order of the language reference.
const LETTERS: &[u8; 7] = b"imusxUX";

/// A set of modifier letters that remembers the order in which they were written.
///
/// | letter | meaning |
/// |---|---|
/// | `i` | caseless |
/// | `m` | `^` and `$` match at every line |
/// | `u` | pattern and subject are UTF-8; without it they are bytes |
/// | `s` | `.` matches a line feed |
/// | `x` | white space and comments in the pattern are ignored |
/// | `U` | quantifiers are lazy unless followed by `?` |
/// | `X` | accepted without effect |
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Modifiers {
    /// Distinct letters in the order written; unused places are zero.
    letters: [u8; LETTERS.len()],
}

impl Modifiers {
    /// Reads modifier letters; a repeated letter counts once. `None` if any other byte occurs.
    pub fn parse(letters: &[u8]) -> Option<Modifiers> {
        let mut modifiers = Modifiers::default();
        for &letter in letters {
            if !LETTERS.contains(&letter) {
                return None;
            }
            if modifiers.has(letter) {
                continue;
            }
            // There are as many places as letters, so a new letter always finds a free one.
            if let Some(free) = modifiers.letters.iter_mut().find(|place| **place == 0) {
                *free = letter;
            }
        }
        Some(modifiers)
    }

    /// Tells whether `letter` is in the set.
    pub fn has(self, letter: u8) -> bool {
        letter != 0 && self.letters.contains(&letter)
    }
}

/// Prints the letters in the order in which they were written.
impl fmt::Display for Modifiers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for &letter in self.letters.iter().take_while(|letter| **letter != 0) {
            write!(f, "{}", char::from(letter))?;
        }
        Ok(())
    }
}

/// Splits the string form of a pattern.
///
/// `/pattern/letters` carries modifiers; any other text is the pattern itself. The last slash must
/// not be the first one, and must not be escaped: a pattern cannot end in a lone backslash.
pub fn parse_source(text: &[u8]) -> (&[u8], Modifiers) {
    let bare = (text, Modifiers::default());
    let Some(inner) = text.strip_prefix(b"/") else {
        return bare;
    };
    let Some(close) = memchr::memrchr(b'/', inner) else {
        return bare;
    };
    let (pattern, rest) = inner.split_at(close);
    let backslashes = pattern.iter().rev().take_while(|b| **b == b'\\').count();
    match rest.strip_prefix(b"/").and_then(Modifiers::parse) {
        Some(modifiers) if backslashes % 2 == 0 => (pattern, modifiers),
        _ => bare,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str) -> (String, String) {
        let (pattern, modifiers) = parse_source(text.as_bytes());
        (
            String::from_utf8_lossy(pattern).into_owned(),
            modifiers.to_string(),
        )
    }

    fn pair(pattern: &str, modifiers: &str) -> (String, String) {
        (pattern.to_owned(), modifiers.to_owned())
    }

    #[test]
    fn slashes_with_modifier_letters_carry_modifiers() {
        assert_eq!(split("/abc/i"), pair("abc", "i"));
        assert_eq!(split("/abc/"), pair("abc", ""));
        assert_eq!(split("//"), pair("", ""));
        assert_eq!(split("/a/b/siU"), pair("a/b", "siU"));
        assert_eq!(split(r"/a\/b/iii"), pair(r"a\/b", "i"));
    }

    #[test]
    fn any_other_text_is_the_pattern_itself() {
        for text in [
            "abc", "", "/", "/abc", "/abc/q", "a/b/i", r"/a\/", r"/a\/i", "/a/i ",
        ] {
            assert_eq!(split(text), pair(text, ""), "{text}");
        }
    }

    #[test]
    fn an_escaped_backslash_before_the_last_slash_does_not_escape_it() {
        assert_eq!(split(r"/a\\/i"), pair(r"a\\", "i"));
    }

    #[test]
    fn modifiers_keep_their_order_and_refuse_other_letters() {
        let all = Modifiers::parse(b"XUxsumi").expect("known letters");
        assert_eq!(all.to_string(), "XUxsumi");
        assert!(all.has(b'u') && all.has(b'U') && !Modifiers::default().has(0));
        assert_eq!(Modifiers::parse(b"g"), None);
        assert_eq!(Modifiers::parse(b"\0"), None);
    }
}
