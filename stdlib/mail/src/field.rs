//! Makes header fields out of a name and a value that a script or an operator gave.
//!
//! Whatever the value holds, the result is one field: it never ends early, starts another one
//! or ends the header (RFC 5322 §2.2). Lines are folded at 78 characters where white space
//! allows and never exceed 998 when the value is encoded (RFC 5322 §2.1.1).

use crate::{
    charset,
    encoded_word::{self, WordEncoding},
    header::{self, LineEnd},
};

/// A field name that cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// There is no name.
    #[error("a header name must not be empty")]
    Empty,
    /// The name holds a byte that RFC 5322 §3.6.8 excludes; CR, LF and NUL among them.
    #[error("a header name must not hold the byte 0x{0:02x}")]
    Byte(u8),
    /// The name and a value would not fit into a line of 998 bytes.
    #[error("a header name must not be longer than {MAX_NAME} bytes")]
    Long,
}

/// Longest field name that is written.
pub const MAX_NAME: usize = 900;

/// Checks a field name.
///
/// # Errors
/// [`NameError`] says what is wrong.
pub fn check_name(name: &[u8]) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    if name.len() > MAX_NAME {
        return Err(NameError::Long);
    }
    match name.iter().find(|&&b| !header::is_name_byte(b)) {
        Some(&byte) => Err(NameError::Byte(byte)),
        None => Ok(()),
    }
}

/// How a value is written: the options `encode` and `encoding` of `addHeader` and `setHeader`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueForm {
    /// Text: encoded words where needed, refolded; CR, LF and NUL become spaces.
    Encoded(WordEncoding),
    /// As given. Folding is kept; a line break that is no folding becomes a space.
    Verbatim,
}

impl Default for ValueForm {
    fn default() -> Self {
        Self::Encoded(WordEncoding::Quoted)
    }
}

/// Writes a whole field, line end included.
///
/// # Errors
/// For a name that cannot be written.
pub fn compose(
    name: &[u8],
    value: &[u8],
    form: ValueForm,
    line_end: LineEnd,
) -> Result<Vec<u8>, NameError> {
    check_name(name)?;
    let mut field = name.to_vec();
    field.push(b':');
    field.extend(compose_value(name, name.len() + 1, value, form, line_end));
    field.extend_from_slice(line_end.as_bytes());
    Ok(field)
}

/// Writes what stands between the colon and the closing line end of the field `name`;
/// `column` bytes (name and colon) are on the line already.
pub(crate) fn compose_value(
    name: &[u8],
    column: usize,
    value: &[u8],
    form: ValueForm,
    line_end: LineEnd,
) -> Vec<u8> {
    match form {
        ValueForm::Verbatim => verbatim(value, line_end),
        ValueForm::Encoded(encoding) => {
            let text: String = charset::header_text(value, None)
                .chars()
                .map(|c| {
                    if matches!(c, '\r' | '\n' | '\0') {
                        ' '
                    } else {
                        c
                    }
                })
                .collect();
            let text = text.trim_matches([' ', '\t']);
            let tokens = if is_address_field(name) && !text.is_ascii() {
                address_tokens(text)
            } else {
                text_tokens(text, longest_token(column))
            };
            fold(&tokens, column, encoding, line_end)
        }
    }
}

fn verbatim(value: &[u8], line_end: LineEnd) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len() + 1);
    out.push(b' ');
    let value: Vec<u8> = value
        .iter()
        .map(|&b| if b == 0 { b' ' } else { b })
        .collect();
    let value = value.trim_ascii_end();
    let mut lines = value.split(|&b| matches!(b, b'\n' | b'\r')).peekable();
    let mut blank = true;
    while let Some(line) = lines.next() {
        blank &= line.trim_ascii().is_empty();
        out.extend_from_slice(line);
        // CRLF gives an empty line between CR and LF.
        while lines.next_if(|next| next.is_empty()).is_some() {}
        match lines.peek() {
            // A folded line of white space alone could be taken for the end of the header.
            Some([b' ' | b'\t', rest @ ..]) if !rest.trim_ascii().is_empty() && !blank => {
                out.extend_from_slice(line_end.as_bytes());
            }
            Some([b' ' | b'\t', ..]) | None => {}
            Some(_) => out.push(b' '),
        }
    }
    if blank {
        out.clear();
    }
    out
}

/// Fields whose value is a list of addresses (RFC 5322 §3.6.2, §3.6.3, §3.6.6; RFC 8098).
fn is_address_field(name: &[u8]) -> bool {
    const NAMES: [&str; 16] = [
        "from",
        "sender",
        "reply-to",
        "to",
        "cc",
        "bcc",
        "resent-from",
        "resent-sender",
        "resent-reply-to",
        "resent-to",
        "resent-cc",
        "resent-bcc",
        "disposition-notification-to",
        "return-receipt-to",
        "errors-to",
        "mail-followup-to",
    ];
    NAMES
        .iter()
        .any(|n| name.eq_ignore_ascii_case(n.as_bytes()))
}

/// A stretch of the value between two places where a line may be folded.
#[derive(Debug)]
struct Token<'t> {
    /// White space before it; a fold goes in front of it.
    space: &'t str,
    text: std::borrow::Cow<'t, str>,
    encode: bool,
}

/// Longest token that fits on a line beside the name.
fn longest_token(column: usize) -> usize {
    MAX_LINE.saturating_sub(column + 2)
}

/// Longest line, without its end (RFC 5322 §2.1.1).
const MAX_LINE: usize = 998;
/// Length that lines keep where they can.
const NICE_LINE: usize = 78;
/// White space longer than this is encoded, for a fold inside it could leave an empty line.
const MAX_SPACE: usize = 60;

fn split_space(text: &str) -> (&str, &str) {
    let end = text.find(|c| c != ' ' && c != '\t').unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, ""))
}

/// Splits unstructured text at white space; neighbours that need encoding become one token,
/// with the white space between them, which decoders would drop.
fn text_tokens(text: &str, longest: usize) -> Vec<Token<'_>> {
    let mut tokens: Vec<Token<'_>> = Vec::new();
    let mut at = 0;
    // Start in `text` of the last token, while it needs encoding.
    let mut open: Option<usize> = None;
    while at < text.len() {
        let rest = text.get(at..).unwrap_or_default();
        let (space, after) = split_space(rest);
        let len = after.find([' ', '\t']).unwrap_or(after.len());
        let word = after.get(..len).unwrap_or_default();
        let start = at + space.len();
        at = start + len;
        let long_space = space.len() > MAX_SPACE;
        let encode = long_space
            || len > longest
            || word.contains("=?")
            || !word.bytes().all(|b| matches!(b, b'!'..=b'~'));
        match (open, tokens.last_mut()) {
            (Some(from), Some(last)) if encode => {
                last.text = text.get(from..at).unwrap_or_default().into();
            }
            _ => {
                // Long white space: its first byte separates, the rest is encoded.
                let (space, start) = match space.get(..1) {
                    Some(first) if long_space => (first, start - space.len() + 1),
                    _ => (space, start),
                };
                tokens.push(Token {
                    space,
                    text: text.get(start..at).unwrap_or_default().into(),
                    encode,
                });
                open = encode.then_some(start);
                continue;
            }
        }
    }
    tokens
}

/// Splits a list of addresses so that names are encoded and addresses are left alone
/// (RFC 2047 §5 rule 3; RFC 6532 for addresses beyond ASCII).
fn address_tokens(text: &str) -> Vec<Token<'_>> {
    let mut tokens: Vec<Token<'_>> = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (mut space, after) = split_space(rest);
        let len = match after.bytes().next() {
            Some(b'"') => quoted_len(after),
            Some(b'<') => after.find('>').map_or(after.len(), |at| at + 1),
            Some(b',' | b';' | b':' | b'(' | b')' | b'>') => 1,
            _ => after
                .find([' ', '\t', '"', '<', '>', ',', ';', ':', '(', ')'])
                .unwrap_or(after.len()),
        };
        let (mut word, mut left) = after.split_at_checked(len).unwrap_or((after, ""));
        let quoted = word.starts_with('"');
        if quoted && left.starts_with('@') {
            // A quoted local part and its domain stay together.
            let end = left.find([' ', '\t', ',', ';', '>']).unwrap_or(left.len());
            word = after.get(..len + end).unwrap_or(after);
            left = left.get(end..).unwrap_or_default();
        }
        let encode = !word.is_ascii() && !word.starts_with('<') && !word.contains('@');
        let glue = |text: &str| matches!(text, "(" | ")");
        if space.is_empty()
            && tokens
                .last()
                .is_some_and(|last| (last.encode && !glue(word)) || (encode && !glue(&last.text)))
        {
            space = " ";
        }
        tokens.push(Token {
            space,
            text: if quoted && encode {
                unquote(word).into()
            } else {
                word.into()
            },
            encode,
        });
        rest = left;
    }
    merge_encoded(tokens)
}

/// Joins neighbours that are encoded: the white space between them would be lost.
fn merge_encoded(tokens: Vec<Token<'_>>) -> Vec<Token<'_>> {
    let mut out: Vec<Token<'_>> = Vec::with_capacity(tokens.len());
    for token in tokens {
        match out.last_mut() {
            Some(last) if last.encode && token.encode => {
                let text = last.text.to_mut();
                text.push_str(token.space);
                text.push_str(&token.text);
            }
            _ => out.push(token),
        }
    }
    out
}

/// Length of the quoted string that `text` starts with.
fn quoted_len(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            b'"' if !escaped => return at + 1,
            b'\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    text.len()
}

fn unquote(word: &str) -> String {
    let inner = word.strip_prefix('"').unwrap_or(word);
    let inner = inner.strip_suffix('"').unwrap_or(inner);
    let mut out = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => out.extend(chars.next()),
            _ => out.push(c),
        }
    }
    out
}

/// Joins tokens into lines.
fn fold(tokens: &[Token<'_>], column: usize, encoding: WordEncoding, end: LineEnd) -> Vec<u8> {
    let eol = match end {
        LineEnd::CrLf => "\r\n",
        LineEnd::Lf => "\n",
    };
    let mut out = String::new();
    let mut column = column;
    for (i, token) in tokens.iter().enumerate() {
        let space = if i == 0 { " " } else { token.space };
        if token.encode {
            let mut rest: &str = &token.text;
            let mut space = space;
            loop {
                // A word of a few characters is not worth starting on this line.
                let room = NICE_LINE.saturating_sub(column + space.len());
                if room < 30 && !(i == 0 && out.is_empty()) && !space.is_empty() {
                    out.push_str(eol);
                    column = 0;
                }
                out.push_str(space);
                let from = out.len();
                let room = NICE_LINE.saturating_sub(column + space.len()).max(30);
                rest = encoded_word::encode_one(rest, encoding, room, &mut out);
                column += space.len() + out.len() - from;
                space = " ";
                if rest.is_empty() {
                    break;
                }
            }
        } else {
            let size = space.len() + token.text.len();
            if i > 0 && !space.is_empty() && column + size > NICE_LINE {
                out.push_str(eol);
                column = 0;
            }
            out.push_str(space);
            out.push_str(&token.text);
            column += size;
        }
    }
    out.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::header::HeaderBlock;
    use proptest::prelude::*;

    fn field(name: &str, value: &str) -> String {
        let field = compose(
            name.as_bytes(),
            value.as_bytes(),
            ValueForm::default(),
            LineEnd::CrLf,
        );
        String::from_utf8(field.unwrap()).unwrap()
    }

    fn raw(value: &str) -> String {
        let field = compose(b"X", value.as_bytes(), ValueForm::Verbatim, LineEnd::CrLf);
        String::from_utf8(field.unwrap()).unwrap()
    }

    #[test]
    fn names_that_could_break_the_header_are_refused() {
        for (name, error) in [
            ("", NameError::Empty),
            ("A\r\nB", NameError::Byte(b'\r')),
            ("A\0", NameError::Byte(0)),
            ("A B", NameError::Byte(b' ')),
            ("A:", NameError::Byte(b':')),
            ("Å", NameError::Byte(0xc3)),
        ] {
            assert_eq!(check_name(name.as_bytes()), Err(error));
        }
        assert_eq!(check_name(&[b'a'; MAX_NAME + 1]), Err(NameError::Long));
        assert_eq!(check_name(b"X-Spam_Score"), Ok(()));
    }

    #[test]
    fn a_plain_value_is_written_as_it_is() {
        assert_eq!(
            field("Subject", "Hello  world"),
            "Subject: Hello  world\r\n"
        );
        assert_eq!(field("Subject", ""), "Subject:\r\n");
    }

    #[test]
    fn line_breaks_in_text_become_spaces() {
        assert_eq!(field("X", "a\r\nBcc: b"), "X: a  Bcc: b\r\n");
        assert_eq!(field("X", "a\0b\n"), "X: a b\r\n");
    }

    #[test]
    fn only_words_that_need_it_are_encoded() {
        assert_eq!(
            field("Subject", "Hej på dig och åka hem"),
            "Subject: Hej =?utf-8?Q?p=C3=A5?= dig och =?utf-8?Q?=C3=A5ka?= hem\r\n"
        );
        assert_eq!(
            field("Subject", "å ä"),
            "Subject: =?utf-8?Q?=C3=A5_=C3=A4?=\r\n"
        );
        assert_eq!(field("Subject", "=?a"), "Subject: =?utf-8?Q?=3D=3Fa?=\r\n");
    }

    #[test]
    fn addresses_stay_addresses() {
        assert_eq!(
            field("From", "Jörg Müller <j@x.test>, a@b.test"),
            "From: =?utf-8?Q?J=C3=B6rg_M=C3=BCller?= <j@x.test>, a@b.test\r\n"
        );
        assert_eq!(
            field("To", "\"Müller, Jörg\" <j@x.test>"),
            "To: =?utf-8?Q?M=C3=BCller=2C_J=C3=B6rg?= <j@x.test>\r\n"
        );
        assert_eq!(
            field("To", "Å <å@ä.test>"),
            "To: =?utf-8?Q?=C3=85?= <å@ä.test>\r\n"
        );
        assert_eq!(
            field("To", "a@b.test (Åke)"),
            "To: a@b.test (=?utf-8?Q?=C3=85ke?=)\r\n"
        );
        assert_eq!(
            field("To", "Å: a@b.test;"),
            "To: =?utf-8?Q?=C3=85?= : a@b.test;\r\n"
        );
    }

    #[test]
    fn long_lines_are_folded_at_white_space() {
        let text = field("Subject", &"word ".repeat(40));
        assert!(text.lines().all(|l| l.len() <= 78), "{text}");
        assert_eq!(
            text.replace("\r\n ", " ").trim_end(),
            format!("Subject: {}", "word ".repeat(40).trim_end())
        );
        let text = field("Subject", &"x".repeat(3000));
        assert!(text.lines().all(|l| l.len() <= 78), "{text}");
    }

    #[test]
    fn verbatim_values_keep_folding_and_nothing_else() {
        assert_eq!(raw("a\r\n\tb"), "X: a\r\n\tb\r\n");
        assert_eq!(raw("a\n b\r\n"), "X: a\r\n b\r\n");
        assert_eq!(raw("a\r\nBcc: b"), "X: a Bcc: b\r\n");
        assert_eq!(raw("a\r\n\r\nbody"), "X: a body\r\n");
        assert_eq!(raw("a\r\n \r\nBcc: b"), "X: a  Bcc: b\r\n");
        assert_eq!(raw("a\r\n \r\n b"), "X: a \r\n b\r\n");
        assert_eq!(raw("a\rb\0c"), "X: a b c\r\n");
        assert_eq!(raw("a\r\n \0\r\n b"), "X: a  \r\n b\r\n");
        assert_eq!(raw("\r\n"), "X:\r\n");
    }

    proptest! {
        #[test]
        fn any_value_makes_one_field_that_reads_back(
            value in "[a-zåß\"<>@,:;()= \t?_\r\n\0]{0,120}|\\PC{0,60}",
            name in "Subject|From|X",
            base64 in any::<bool>())
        {
            let encoding = if base64 { WordEncoding::Base64 } else { WordEncoding::Quoted };
            for form in [ValueForm::Encoded(encoding), ValueForm::Verbatim] {
                let field = compose(name.as_bytes(), value.as_bytes(), form, LineEnd::CrLf).unwrap();
                let message = [b"A: 1\r\n".as_slice(), &field, b"Z: 2\r\n\r\nbody"].concat();
                let block = HeaderBlock::read(&message).unwrap();
                prop_assert_eq!(block.fields().len(), 3);
                prop_assert!(!block.is_bad());
                prop_assert_eq!(block.body_offset() as usize, message.len() - 4);
                if form == ValueForm::Encoded(encoding) && name != "From" {
                    let expected: String = value.chars()
                        .map(|c| if matches!(c, '\r' | '\n' | '\0') { ' ' } else { c }).collect();
                    let read = block.value(name.as_bytes(), 0, true).unwrap();
                    prop_assert_eq!(read, expected.trim_matches([' ', '\t']));
                    prop_assert!(field.is_ascii());
                    for line in field.split_inclusive(|&b| b == b'\n') {
                        prop_assert!(line.len() <= 1000 && !line.trim_ascii().is_empty());
                    }
                }
            }
        }
    }
}
