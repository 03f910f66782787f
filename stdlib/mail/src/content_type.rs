//! Fields with parameters: Content-Type and Content-Disposition (RFC 2045 §5.1, RFC 2183),
//! with continuations, charsets (RFC 2231) and the encoded words that programs put there.

use crate::{charset, encoded_word};

/// A parsed `Content-Type` or `Content-Disposition` value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ContentType {
    /// What stands before the first `;`, in lower case, without white space and comments:
    /// `text/plain`, `attachment`. May be anything in broken mail; empty where there is no type.
    pub value: String,
    /// Parameters as they stand: name in lower case, value without quotes.
    parameters: Vec<(String, Vec<u8>)>,
}

/// Parameters beyond this are not looked at.
const MAX_PARAMETERS: usize = 1000;

impl ContentType {
    /// Parses an unfolded field value. Never fails: what is broken is skipped.
    #[must_use]
    pub fn parse(value: &[u8]) -> Self {
        let mut scan = Scanner { rest: value };
        let word = String::from_utf8_lossy(&scan.word(b";", true)).to_ascii_lowercase();
        let mut this = Self {
            value: match word.strip_suffix('/').unwrap_or(&word) {
                // A subtype of nothing is no type.
                subtype if subtype.starts_with('/') => String::new(),
                value => value.to_owned(),
            },
            parameters: Vec::new(),
        };
        while (scan.skip(b';') || scan.at_parameter()) && this.parameters.len() < MAX_PARAMETERS {
            let name = String::from_utf8_lossy(&scan.word(b"=;", false)).to_ascii_lowercase();
            if scan.skip(b'=') {
                let value = scan.parameter_value();
                if !name.is_empty() {
                    this.parameters.push((name, value));
                }
            }
        }
        this
    }

    /// The type and subtype, if the value has both: `("text", "plain")`.
    #[must_use]
    pub fn type_and_subtype(&self) -> Option<(&str, &str)> {
        let (main, sub) = self.value.split_once('/')?;
        (!main.is_empty() && !sub.is_empty()).then_some((main, sub))
    }

    /// Whether it is `multipart/…`.
    #[must_use]
    pub fn is_multipart(&self) -> bool {
        self.value.starts_with("multipart/")
    }

    /// The bytes of a parameter that has no RFC 2231 form; what `boundary` needs.
    #[must_use]
    pub fn raw_parameter(&self, name: &str) -> Option<&[u8]> {
        self.parameters
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.as_slice())
    }

    /// A parameter as UTF-8. `name` is in lower case.
    ///
    /// The RFC 2231 forms (`name*`, `name*0`, `name*0*`) win over a plain one, which is
    /// decoded as encoded words (against RFC 2047 §5, but everywhere in practice).
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<String> {
        self.extended(name)
            .or_else(|| self.raw_parameter(name).map(encoded_word::decode))
    }

    /// The value of the sections of a parameter, in the order of their numbers. Where one is missing (RFC 2231 §3 wants
    /// them all) the others stay: half a file name tells more than none.
    fn extended(&self, name: &str) -> Option<String> {
        let mut sections: Vec<(u32, bool, &[u8])> = self
            .parameters
            .iter()
            .filter_map(|(full, value)| {
                let suffix = full.strip_prefix(name)?.strip_prefix('*')?;
                let (number, encoded) = match suffix.strip_suffix('*') {
                    Some(number) => (number, true),
                    None => (suffix, suffix.is_empty()),
                };
                let number = if number.is_empty() {
                    0
                } else {
                    number.parse().ok()?
                };
                Some((number, encoded, value.as_slice()))
            })
            .collect();
        if sections.is_empty() {
            return None;
        }
        sections.sort_by_key(|&(number, ..)| number);
        sections.dedup_by_key(|section| section.0);
        let mut bytes = Vec::new();
        let mut label: Option<&[u8]> = None;
        for (at, &(_, encoded, value)) in sections.iter().enumerate() {
            if !encoded {
                bytes.extend_from_slice(value);
                continue;
            }
            let text = if at == 0 {
                let (first, text) = charset_and_text(value);
                label = first;
                text
            } else {
                // Only the first section has a charset (§4.1), but some programs write it before each.
                label
                    .and_then(|label| without_charset(value, label))
                    .unwrap_or(value)
            };
            percent_decode(text, &mut bytes);
        }
        Some(match label.and_then(charset::for_label) {
            Some(charset) => charset.decode(&bytes).into_owned(),
            // Split encoded words in plain sections are a habit of some programs.
            None => encoded_word::decode(&bytes),
        })
    }
}

/// Takes `charset'language'text` apart; of `charset'text` too, if the charset is one.
fn charset_and_text(value: &[u8]) -> (Option<&[u8]>, &[u8]) {
    let mut pieces = value.splitn(3, |&b| b == b'\'');
    match (pieces.next(), pieces.next(), pieces.next()) {
        (Some(label), Some(_), Some(text)) => (Some(label), text),
        (Some(label), Some(text), None) if charset::for_label(label).is_some() => {
            (Some(label), text)
        }
        _ => (None, value),
    }
}

/// What follows `label'` or `label'language'` in a section; none when it does not begin so.
fn without_charset<'v>(value: &'v [u8], label: &[u8]) -> Option<&'v [u8]> {
    let (start, rest) = value.split_at_checked(label.len())?;
    let text = rest.strip_prefix(b"'")?;
    if label.is_empty() || !start.eq_ignore_ascii_case(label) {
        return None;
    }
    let language = text
        .iter()
        .position(|b| !(b.is_ascii_alphanumeric() || *b == b'-'));
    Some(match language.and_then(|end| text.split_at_checked(end)) {
        Some((_, [b'\'', after @ ..])) => after,
        _ => text,
    })
}

fn percent_decode(text: &[u8], out: &mut Vec<u8>) {
    let mut rest = text;
    while let [byte, tail @ ..] = rest {
        let hex = |b: u8| char::from(b).to_digit(16);
        let decoded = match tail {
            [high, low, ..] if *byte == b'%' => hex(*high)
                .zip(hex(*low))
                .and_then(|(high, low)| u8::try_from(high * 16 + low).ok()),
            _ => None,
        };
        out.push(decoded.unwrap_or(*byte));
        rest = match decoded {
            Some(_) => tail.get(2..).unwrap_or_default(),
            None => tail,
        };
    }
}

/// Reads the tokens of a structured value.
struct Scanner<'a> {
    rest: &'a [u8],
}

impl Scanner<'_> {
    fn skip(&mut self, byte: u8) -> bool {
        match self.rest {
            [first, tail @ ..] if *first == byte => {
                self.rest = tail;
                true
            }
            _ => false,
        }
    }

    /// Whether white space and then `token=` follow: a parameter whose `;` was forgotten.
    ///
    /// Asked once for each run of white space, so that a long run is not read again and again.
    fn at_parameter(&self) -> bool {
        let token = self.rest.trim_ascii_start();
        let end = token
            .iter()
            .take(100)
            .position(|b| !(b.is_ascii_alphanumeric() || matches!(b, b'*' | b'-' | b'_' | b'.')));
        token.len() < self.rest.len()
            && end.is_some_and(|end| end > 0 && token.get(end) == Some(&b'='))
    }

    /// Takes the white space that follows.
    fn white_space(&mut self) -> &[u8] {
        let rest = self.rest.trim_ascii_start();
        let run = self.rest.len() - rest.len();
        let (space, rest) = self.rest.split_at_checked(run).unwrap_or((&[], rest));
        self.rest = rest;
        space
    }

    /// Everything up to one of `stop`, without white space and comments; with `or_parameter`
    /// up to a parameter whose `;` was forgotten, too.
    fn word(&mut self, stop: &[u8], or_parameter: bool) -> Vec<u8> {
        let mut out = Vec::new();
        while let [byte, tail @ ..] = self.rest {
            if stop.contains(byte) {
                break;
            }
            if byte.is_ascii_whitespace() {
                if or_parameter && self.at_parameter() {
                    // A comma instead of the semicolon.
                    out.pop_if(|last| *last == b',');
                    break;
                }
                self.white_space();
                continue;
            }
            self.rest = tail;
            match byte {
                b'(' => self.comment(),
                _ => out.push(*byte),
            }
        }
        out
    }

    /// Skips the rest of a comment; an unclosed one takes all.
    fn comment(&mut self) {
        let mut depth = 1_u32;
        while let [byte, tail @ ..] = self.rest {
            self.rest = tail;
            match byte {
                b'(' => depth = depth.saturating_add(1),
                b')' => depth = depth.saturating_sub(1),
                b'\\' => self.rest = tail.get(1..).unwrap_or_default(),
                _ => {}
            }
            if depth == 0 {
                return;
            }
        }
    }

    /// A quoted string, or whatever stands before the next `;`.
    fn parameter_value(&mut self) -> Vec<u8> {
        self.white_space();
        let mut out = Vec::new();
        if !self.skip(b'"') {
            // Unquoted values with spaces are common: a comment, `;` or a parameter ends them.
            while let [byte, tail @ ..] = self.rest {
                match byte {
                    b';' => break,
                    b'(' if out.last().is_none_or(u8::is_ascii_whitespace) => {
                        self.rest = tail;
                        self.comment();
                    }
                    _ if byte.is_ascii_whitespace() => {
                        if self.at_parameter() {
                            out.pop_if(|last| *last == b',');
                            break;
                        }
                        out.extend_from_slice(self.white_space());
                    }
                    _ => {
                        out.push(*byte);
                        self.rest = tail;
                    }
                }
            }
            out.truncate(out.trim_ascii_end().len());
            return out;
        }
        while let [byte, tail @ ..] = self.rest {
            self.rest = tail;
            match byte {
                b'"' => break,
                b'\\' => {
                    if let [escaped, tail @ ..] = tail {
                        // Windows paths: a backslash before a name is itself.
                        if escaped.is_ascii_alphanumeric()
                            || matches!(escaped, b'_' | b'.' | 0x80..)
                        {
                            out.push(b'\\');
                        }
                        out.push(*escaped);
                        self.rest = tail;
                    }
                }
                _ => out.push(*byte),
            }
        }
        self.word(b";", true);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parameter(value: &str, name: &str) -> Option<String> {
        ContentType::parse(value.as_bytes()).parameter(name)
    }

    #[test]
    fn types_are_lower_case_without_comments() {
        for (from, to) in [
            ("Text/Plain; charset=x", "text/plain"),
            (" message / rfc822 (c) ", "message/rfc822"),
            ("inline", "inline"),
            ("", ""),
            ("text/;charset=us-ascii", "text"),
            ("text/plain, charset=us-ascii", "text/plain"),
            ("/plain", ""),
            ("/", ""),
            ("(only a comment", ""),
        ] {
            assert_eq!(ContentType::parse(from.as_bytes()).value, to);
        }
        assert_eq!(ContentType::parse(b"text").type_and_subtype(), None);
    }

    #[test]
    fn parameters_may_be_quoted_spaced_or_broken() {
        for (value, expected) in [
            ("a/b; name=x", "x"),
            ("a/b; NAME = \"x y\" ; z=1", "x y"),
            ("a/b; name=\"a\\\"b\"", "a\"b"),
            ("a/b; name=\"C:\\dir\"", "C:\\dir"),
            ("a/b; name=my file.txt; z=1", "my file.txt"),
            ("a/b; name=x (comment)", "x"),
            ("a/b; ; =; name=x", "x"),
            ("a/b charset=y name=x", "x"),
            ("a/b, name=x, charset=y", "x"),
            ("a/b; charset=\"y\" name=x", "x"),
            ("a/b; name=\"unclosed", "unclosed"),
            (
                r#"a/b; name="C:\dir\x\'s \(1\).txt""#,
                r"C:\dir\x's (1).txt",
            ),
            ("a/b; name==?utf-8?Q?=C3=A5?=", "å"),
            ("a/b; name=\"=?utf-8?Q?=C3=A5?=\"", "å"),
        ] {
            assert_eq!(
                parameter(value, "name").as_deref(),
                Some(expected),
                "{value}"
            );
        }
        assert_eq!(parameter("a/b; x=y", "name"), None);
    }

    #[test]
    fn rfc_2231_values_are_joined_and_decoded() {
        for (value, expected) in [
            (
                "a/b; name*=us-ascii'en-us'This%20is%20%2A%2A%2Afun%2A%2A%2A",
                "This is ***fun***",
            ),
            ("a/b; name*=UTF-8''%C3%A5", "å"),
            ("a/b; name*0=a; name*1=b; name*3=d", "abd"),
            ("a/b; name*7=\"x\"; name*9*=%41", "xA"),
            (
                "a/b; name*0*=iso-8859-1'es'%D1and%FA; name*1*=iso-8859-1'%20r%E1pido; name*2*=ISO-8859-1'es'!",
                "Ñandú rápido!",
            ),
            ("a/b; name*0*=a'b; name*1*=a'c", "a'ba'c"),
            ("a/b; name*=utf-8'%C3%A5", "å"),
            ("a/b; name*=''%C3%A5", "å"),
            (
                "a/b; name*1*=%20even%20more; name*0*=iso-8859-1''%E5; name*2=\"%41\"",
                "å even more%41",
            ),
            ("a/b; name=plain; name*=utf-8''better", "better"),
            ("a/b; name*=%41", "A"),
            ("a/b; name*=x-no''%C3%A5", "å"),
        ] {
            assert_eq!(
                parameter(value, "name").as_deref(),
                Some(expected),
                "{value}"
            );
        }
    }

    #[test]
    fn long_white_space_costs_linear_time() {
        let spaces = " ".repeat(1 << 20);
        for value in [
            format!("text/plain{spaces}x"),
            format!("a/b; name=x{spaces}y; z=1"),
        ] {
            assert!(!ContentType::parse(value.as_bytes()).value.is_empty());
        }
    }

    proptest! {
        #[test]
        fn any_value_parses(data in "[a-z*0-9'%;=\"\\\\()/ åß]{0,100}") {
            let parsed = ContentType::parse(data.as_bytes());
            let _ = parsed.parameter("name");
            let _ = parsed.parameter("a");
        }
    }
}
