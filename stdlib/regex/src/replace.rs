//! Replacement texts and the quoting of literal text.

use crate::captures::Captures;

/// Appends `template` to `out` with `$0` and `$1` to `$99` replaced by groups of a match.
///
/// The longest number that names a group of the pattern is taken: with three groups `$12` is group
/// 1 followed by `2`. A leading zero counts as a digit. A group that took no part gives nothing. A
/// `$` that no such number follows stays.
pub fn expand(template: &[u8], subject: &[u8], captures: &Captures, out: &mut Vec<u8>) {
    let mut room = usize::MAX;
    Expansion::default().write(template, subject, captures, out, &mut room);
}

/// How far a template is expanded: it may be long, or name a long group many times.
#[derive(Debug, Default)]
pub struct Expansion {
    /// What of the template is expanded.
    at: usize,
    /// How much of the group that stands there is written.
    written: usize,
}

impl Expansion {
    /// Goes on with what [`expand`] does, as long as there is `room`; whether that was all. What is
    /// written takes its bytes off the room, and a little at least.
    pub fn write(
        &mut self,
        template: &[u8],
        subject: &[u8],
        captures: &Captures,
        out: &mut Vec<u8>,
        room: &mut usize,
    ) -> bool {
        const LEAST: usize = 16;
        loop {
            let rest = template.get(self.at..).unwrap_or_default();
            if rest.is_empty() || *room == 0 {
                return rest.is_empty();
            }
            let before = rest.get(..*room).unwrap_or(rest);
            let before = memchr::memchr(b'$', before).map_or(before, |dollar| &before[..dollar]);
            out.extend_from_slice(before);
            *room -= before.len();
            self.at += before.len();
            let Some(after) = rest.get(before.len() + 1..).filter(|_| *room > 0) else {
                continue;
            };
            let (text, length) = match reference(after, captures.len()) {
                Some((group, digits)) => {
                    let text = captures.bytes(group, subject).unwrap_or_default();
                    (text.get(self.written..).unwrap_or_default(), 1 + digits)
                }
                None => (&b"$"[..], 1),
            };
            let piece = text.get(..*room).unwrap_or(text);
            out.extend_from_slice(piece);
            *room = room.saturating_sub(piece.len().max(LEAST));
            if piece.len() == text.len() {
                (self.at, self.written) = (self.at + length, 0);
            } else {
                self.written += piece.len();
            }
        }
    }
}

/// The group that the digits at the start of `text` name, and how many digits that takes.
fn reference(text: &[u8], groups: usize) -> Option<(usize, usize)> {
    let digit = |at: usize| {
        text.get(at)
            .filter(|b| b.is_ascii_digit())
            .map(|b| usize::from(b - b'0'))
    };
    let first = digit(0)?;
    let two = digit(1).map(|second| (first * 10 + second, 2));
    [two, Some((first, 1))]
        .into_iter()
        .flatten()
        .find(|(group, _)| *group < groups)
}

/// Puts a backslash before every byte that has a meaning in a pattern; NUL becomes `\000`.
pub fn quote(text: &[u8]) -> Vec<u8> {
    let mut quoted = Vec::with_capacity(text.len());
    for &byte in text {
        match byte {
            0 => quoted.extend_from_slice(br"\000"),
            b'.' | b'\\' | b'+' | b'*' | b'?' | b'[' | b'^' | b']' | b'$' | b'(' | b')' | b'{'
            | b'}' | b'=' | b'!' | b'<' | b'>' | b'|' | b':' | b'-' | b'#' | b'/' => {
                quoted.extend_from_slice(&[b'\\', byte]);
            }
            _ => quoted.push(byte),
        }
    }
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Modifiers, Outcome, Regex};

    fn expanded(pattern: &str, subject: &str, template: &str) -> String {
        let regex = Regex::new(pattern.as_bytes(), Modifiers::default()).expect("good pattern");
        let mut captures = Captures::new();
        let outcome = regex.captures_at(subject.as_bytes(), 0, &mut captures);
        assert_eq!(outcome, Outcome::Match(()));
        let mut out = Vec::new();
        expand(template.as_bytes(), subject.as_bytes(), &captures, &mut out);
        let (mut pieces, mut expansion) = (Vec::new(), Expansion::default());
        let write = |expansion: &mut Expansion, pieces: &mut Vec<u8>| {
            let (template, subject) = (template.as_bytes(), subject.as_bytes());
            expansion.write(template, subject, &captures, pieces, &mut 2)
        };
        while !write(&mut expansion, &mut pieces) {}
        assert_eq!(pieces, out);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn dollars_name_groups_and_the_longest_existing_number_wins() {
        assert_eq!(expanded("(a)(b)(c)", "abc", "[$0|$1|$3]"), "[abc|a|c]");
        assert_eq!(expanded("(a)(b)(c)", "abc", "$12"), "a2");
        let ten = "(a)(b)(c)(d)(e)(f)(g)(h)(i)(j)";
        assert_eq!(expanded(ten, "abcdefghij", "$10$1$100$02"), "jaj0b");
    }

    #[test]
    fn other_dollars_are_literal_and_unset_groups_are_empty() {
        assert_eq!(expanded("(a)|(b)", "b", "$1<$2>$3$$x$"), "<b>$3$$x$");
        assert_eq!(expanded("a", "a", r"$1\1${1}"), r"$1\1${1}");
    }

    #[test]
    fn quoted_text_matches_itself_on_either_engine() {
        let text: Vec<u8> = (0..=255).collect();
        let regex = Regex::new(&quote(&text), Modifiers::default()).expect("good pattern");
        assert_eq!(regex.find_at(&text, 0), Outcome::Match(0..256));
        let other = Regex::on_pcre2(&quote(&text), Modifiers::default()).expect("good pattern");
        assert_eq!(other.find_at(&text, 0), Outcome::Match(0..256));
        assert_eq!(quote(b"a.b\0/#"), br"a\.b\000\/\#");
    }
}
