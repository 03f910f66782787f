//! Replies and enhanced status codes (RFC 5321 §4.2, RFC 2034, RFC 3463).
//!
//! [`Reply::write`] is the only place where reply bytes are made, so nothing that a script or a
//! peer supplies can end a line early: line ends were split off before, other control bytes
//! become `?`, and a line is cut at 510 bytes before its CRLF.

use std::borrow::Cow;
use std::fmt;

/// Longest reply line without CRLF (RFC 5321 §4.5.3.1.5).
pub const MAX_REPLY_LINE: usize = 510;
/// Longest challenge of AUTH without CRLF (RFC 4954 §4).
const MAX_CHALLENGE_LINE: usize = 12_286;

/// A status code of three numbers such as `5.7.1` (RFC 3463).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EnhancedStatus {
    /// 2 success, 4 transient failure, 5 permanent failure.
    pub class: u8,
    /// What the status is about, 0 to 999.
    pub subject: u16,
    /// The precise condition, 0 to 999.
    pub detail: u16,
}

impl EnhancedStatus {
    /// Makes a code; the caller vouches for the ranges.
    #[must_use]
    pub const fn new(class: u8, subject: u16, detail: u16) -> Self {
        Self {
            class,
            subject,
            detail,
        }
    }

    /// Checks three numbers: the class is 2, 4 or 5, the others are at most 999.
    #[must_use]
    pub fn checked(class: i64, subject: i64, detail: i64) -> Option<Self> {
        let part = |number: i64| u16::try_from(number).ok().filter(|number| *number <= 999);
        Some(Self {
            class: u8::try_from(class)
                .ok()
                .filter(|class| matches!(class, 2 | 4 | 5))?,
            subject: part(subject)?,
            detail: part(detail)?,
        })
    }

    /// Reads a code at the start of a reply text and returns what follows it.
    #[must_use]
    pub fn split_off(text: &str) -> Option<(Self, &str)> {
        let (code, rest) = text.split_once(' ').unwrap_or((text, ""));
        let mut parts = code.split('.');
        let mut number = || {
            let part = parts.next()?;
            let plain = (1..=3).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
            plain.then(|| part.parse::<i64>().ok()).flatten()
        };
        let (class, subject, detail) = (number()?, number()?, number()?);
        if parts.next().is_some() {
            return None;
        }
        Some((Self::checked(class, subject, detail)?, rest))
    }
}

impl fmt::Display for EnhancedStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.class, self.subject, self.detail)
    }
}

/// A reply before it becomes bytes. The lines have no code in front.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Three digits, 200 to 599.
    pub code: u16,
    /// Written in front of the text of each line.
    pub enhanced: Option<EnhancedStatus>,
    /// At least one line; none is written as one empty line.
    pub lines: Vec<Cow<'static, [u8]>>,
}

impl Reply {
    /// A reply of one fixed line.
    #[must_use]
    pub fn fixed(code: u16, enhanced: Option<EnhancedStatus>, text: &'static str) -> Self {
        Self {
            code,
            enhanced,
            lines: vec![Cow::Borrowed(text.as_bytes())],
        }
    }

    /// A reply of one line made at run time.
    #[must_use]
    pub fn line(code: u16, enhanced: Option<EnhancedStatus>, text: String) -> Self {
        Self {
            code,
            enhanced,
            lines: vec![Cow::Owned(text.into_bytes())],
        }
    }

    /// Appends the wire form, a `?` in place of each byte outside ASCII unless `utf8`.
    pub fn write(&self, out: &mut Vec<u8>, utf8: bool) {
        static EMPTY: [Cow<'static, [u8]>; 1] = [Cow::Borrowed(b"")];
        let lines = if self.lines.is_empty() {
            &EMPTY[..]
        } else {
            &self.lines
        };
        let last = lines.len() - 1;
        for (index, line) in lines.iter().enumerate() {
            let start = out.len();
            push_code(out, self.code);
            out.push(if index == last { b' ' } else { b'-' });
            if let Some(enhanced) = self.enhanced {
                push_enhanced(out, enhanced);
                if !line.is_empty() {
                    out.push(b' ');
                }
            }
            push_text(out, line, utf8);
            cut(
                out,
                start,
                if self.code == 334 {
                    MAX_CHALLENGE_LINE
                } else {
                    MAX_REPLY_LINE
                },
            );
            out.extend_from_slice(b"\r\n");
        }
    }
}

fn push_code(out: &mut Vec<u8>, code: u16) {
    let digit = |number: u16| b'0' + u8::try_from(number % 10).unwrap_or(0);
    out.extend_from_slice(&[digit(code / 100), digit(code / 10), digit(code)]);
}

fn push_enhanced(out: &mut Vec<u8>, code: EnhancedStatus) {
    let small = |number: u16| {
        u8::try_from(number)
            .ok()
            .filter(|n| *n < 10)
            .map(|n| b'0' + n)
    };
    match (
        small(u16::from(code.class)),
        small(code.subject),
        small(code.detail),
    ) {
        // Nearly every code; no formatting machinery on the hot path.
        (Some(class), Some(subject), Some(detail)) => {
            out.extend_from_slice(&[class, b'.', subject, b'.', detail]);
        }
        _ => out.extend_from_slice(code.to_string().as_bytes()),
    }
}

fn push_text(out: &mut Vec<u8>, line: &[u8], utf8: bool) {
    if line.iter().all(|byte| matches!(byte, b' '..=b'~')) {
        out.extend_from_slice(line);
        return;
    }
    // Bytes that are no UTF-8 are not sent even where UTF-8 may be.
    let utf8 = utf8 && std::str::from_utf8(line).is_ok();
    out.extend(
        line.iter()
            .filter(|byte| **byte != b'\r')
            .map(|&byte| match byte {
                b' '..=b'~' => byte,
                0x80.. if utf8 => byte,
                _ => b'?',
            }),
    );
}

/// Cuts the line that begins at `start` to its limit, never inside a UTF-8 character.
fn cut(out: &mut Vec<u8>, start: usize, limit: usize) {
    let mut end = start + limit;
    if out.len() <= end {
        return;
    }
    while end > start && out.get(end).is_some_and(|byte| byte & 0xC0 == 0x80) {
        end -= 1;
    }
    out.truncate(end);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(reply: &Reply, utf8: bool) -> String {
        let mut out = Vec::new();
        reply.write(&mut out, utf8);
        String::from_utf8(out).expect("UTF-8")
    }

    fn lines(lines: &[&[u8]]) -> Reply {
        Reply {
            code: 550,
            enhanced: Some(EnhancedStatus::new(5, 7, 1)),
            lines: lines.iter().map(|line| Cow::Owned(line.to_vec())).collect(),
        }
    }

    #[test]
    fn each_line_repeats_code_and_status() {
        assert_eq!(
            wire(&lines(&[b"No", b"", b"thanks"]), false),
            "550-5.7.1 No\r\n550-5.7.1\r\n550 5.7.1 thanks\r\n"
        );
        assert_eq!(wire(&lines(&[]), false), "550 5.7.1\r\n");
        assert_eq!(wire(&Reply::fixed(220, None, "Hi"), false), "220 Hi\r\n");
    }

    #[test]
    fn control_bytes_cannot_break_a_line() {
        assert_eq!(
            wire(&lines(&[b"a\r\nb\tc\0d\x7f"]), false),
            "550 5.7.1 a?b?c?d?\r\n"
        );
    }

    #[test]
    fn non_ascii_is_sent_only_under_smtputf8_and_only_when_valid() {
        assert_eq!(wire(&lines(&["hå".as_bytes()]), false), "550 5.7.1 h??\r\n");
        assert_eq!(wire(&lines(&["hå".as_bytes()]), true), "550 5.7.1 hå\r\n");
        assert_eq!(wire(&lines(&[b"h\xff"]), true), "550 5.7.1 h?\r\n");
    }

    #[test]
    fn a_line_is_cut_at_510_bytes_between_characters() {
        let long = wire(&lines(&["x".repeat(600).as_bytes()]), false);
        assert_eq!(long.len(), 512);
        let long = wire(&lines(&["å".repeat(300).as_bytes()]), true);
        assert!(long.len() == 512 || long.len() == 511, "{}", long.len());
    }

    #[test]
    fn a_status_is_read_off_a_text() {
        let split = EnhancedStatus::split_off;
        assert_eq!(
            split("5.1.1 no"),
            Some((EnhancedStatus::new(5, 1, 1), "no"))
        );
        assert_eq!(split("4.7.512"), Some((EnhancedStatus::new(4, 7, 512), "")));
        for text in [
            "",
            "5.1",
            "5.1.1.1 x",
            "3.0.0 x",
            "5.1.1000 x",
            "5..1 x",
            "+5.1.1 x",
        ] {
            assert_eq!(split(text), None, "{text}");
        }
    }
}
