//! Lists of addresses in header fields (RFC 5322 §3.4, RFC 6532).
//!
//! Reads what real mail has: `;` between addresses, empty elements, comments anywhere, routes,
//! groups that are not ended, display names with raw text or behind the address. Refuses what has no single reading.

use crate::{charset, encoded_word};
use std::iter::Peekable;
use std::str::CharIndices;

/// One address of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mailbox {
    /// The display name, decoded, if there is one.
    pub name: Option<String>,
    /// The address without brackets, white space and comments; a quoted local part keeps its
    /// quotes.
    pub address: String,
}

/// Reads a list of addresses (`header_addresslist_extract`). Members of groups are included.
///
/// An empty value is an empty list; `None` means that the value cannot be read: an open quote,
/// bracket or comment, or two words that are no address.
#[must_use]
pub fn parse_list(value: &[u8]) -> Option<Vec<Mailbox>> {
    let text = charset::header_text(value, None);
    let mut lexer = Lexer {
        text: &text,
        chars: text.char_indices().peekable(),
    };
    let mut list = Vec::new();
    let mut words: Vec<Word<'_>> = Vec::new();
    // The address in brackets of this element, and how many words stand before it.
    let mut bracketed: Option<(usize, String)> = None;
    // This element began with the name of a group.
    let mut named = false;
    loop {
        match lexer.next_token()? {
            Some(Token::Word(word)) => words.push(word),
            Some(Token::Colon) => {
                if named || bracketed.is_some() {
                    return None;
                }
                named = true;
                words.clear();
            }
            Some(Token::Angle(content)) => {
                if bracketed.is_some() {
                    return None;
                }
                bracketed = Some((words.len(), address_in_brackets(content)?));
            }
            end @ (None | Some(Token::Separator(_))) => {
                match bracketed.take() {
                    Some((before, address)) => {
                        // A name may stand behind the address, but not another address.
                        let behind = words.get(before..).unwrap_or_default();
                        if behind.iter().any(|word| word.raw.contains('@')) {
                            return None;
                        }
                        list.push(Mailbox {
                            name: display_name(&words),
                            address,
                        });
                    }
                    None => list.extend(bare_address(&words)?),
                }
                words.clear();
                named = false;
                if end.is_none() {
                    return Some(list);
                }
            }
        }
    }
}

/// Writes a list of addresses (`header_addresslist_compile`): `Name <a@b>, c@d`.
pub fn compile_list<'a>(mailboxes: impl IntoIterator<Item = (Option<&'a str>, &'a str)>) -> String {
    let list: Vec<String> = mailboxes
        .into_iter()
        .map(|(name, address)| compile(name, address))
        .collect();
    list.join(", ")
}

/// Writes one address: the name quoted if it holds specials, encoded if it is not ASCII.
/// Bytes that could end the field or the address are left out.
#[must_use]
pub fn compile(name: Option<&str>, address: &str) -> String {
    let address = clean_address(address);
    let name: String = name
        .unwrap_or_default()
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    let name = name.trim();
    if name.is_empty() {
        // Without a name the brackets are only needed where nothing is in them.
        return if address.is_empty() {
            "<>".to_owned()
        } else {
            address
        };
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~ ".contains(c);
    if !name.is_ascii() || name.contains("=?") {
        format!("{} <{address}>", encoded_word::encode(name.as_bytes()))
    } else if name.chars().all(plain) {
        format!("{name} <{address}>")
    } else {
        let escaped = name.replace('\\', "\\\\").replace('"', "\\\"");
        format!("\"{escaped}\" <{address}>")
    }
}

fn clean_address(address: &str) -> String {
    let mut quoted = false;
    let mut escaped = false;
    address
        .trim()
        .chars()
        .filter(|&c| {
            if c == '"' && !escaped {
                quoted = !quoted;
            }
            escaped = c == '\\' && !escaped;
            !c.is_control() && (quoted || !matches!(c, '<' | '>' | ',' | ';' | ' '))
        })
        .collect()
}

/// A run of text, a quoted string or a domain literal.
struct Word<'t> {
    raw: &'t str,
    /// White space or a comment stands before it.
    spaced: bool,
}

enum Token<'t> {
    Word(Word<'t>),
    /// `,` or `;`.
    Separator(char),
    Colon,
    /// What stands between `<` and `>`.
    Angle(&'t str),
}

struct Lexer<'t> {
    text: &'t str,
    chars: Peekable<CharIndices<'t>>,
}

impl<'t> Lexer<'t> {
    fn offset(&mut self) -> usize {
        self.chars.peek().map_or(self.text.len(), |&(at, _)| at)
    }

    fn since(&mut self, start: usize) -> &'t str {
        let end = self.offset();
        self.text.get(start..end).unwrap_or_default()
    }

    /// The next token; `None` if the text cannot be read, `Some(None)` at its end.
    #[allow(clippy::option_option, reason = "the outer one is the error, for `?`")]
    fn next_token(&mut self) -> Option<Option<Token<'t>>> {
        let mut spaced = false;
        loop {
            let Some(&(start, c)) = self.chars.peek() else {
                return Some(None);
            };
            let token = match c {
                ' ' | '\t' | '\r' | '\n' | '\0' => {
                    self.chars.next();
                    spaced = true;
                    continue;
                }
                '(' => {
                    self.comment()?;
                    spaced = true;
                    continue;
                }
                ')' | '>' => return None,
                ',' | ';' => {
                    self.chars.next();
                    Token::Separator(c)
                }
                ':' => {
                    self.chars.next();
                    Token::Colon
                }
                '<' => {
                    self.chars.next();
                    Token::Angle(self.angle()?)
                }
                '"' => {
                    self.delimited('"')?;
                    Token::Word(Word {
                        raw: self.since(start),
                        spaced,
                    })
                }
                '[' => {
                    self.delimited(']')?;
                    Token::Word(Word {
                        raw: self.since(start),
                        spaced,
                    })
                }
                _ => {
                    let stop = |c: char| " \t\r\n\0()<>,;:\"[".contains(c);
                    while self.chars.next_if(|&(_, c)| !stop(c)).is_some() {}
                    Token::Word(Word {
                        raw: self.since(start),
                        spaced,
                    })
                }
            };
            return Some(Some(token));
        }
    }

    /// Skips an opening character and everything up to its `close`.
    fn delimited(&mut self, close: char) -> Option<()> {
        self.chars.next();
        loop {
            match self.chars.next()?.1 {
                '\\' => {
                    self.chars.next()?;
                }
                c if c == close => return Some(()),
                _ => {}
            }
        }
    }

    fn comment(&mut self) -> Option<()> {
        let mut depth = 0_u32;
        loop {
            match self.chars.next()?.1 {
                '(' => depth = depth.saturating_add(1),
                ')' if depth == 1 => return Some(()),
                ')' => depth -= 1,
                '\\' => {
                    self.chars.next()?;
                }
                _ => {}
            }
        }
    }

    fn angle(&mut self) -> Option<&'t str> {
        let start = self.offset();
        loop {
            match self.chars.peek()?.1 {
                '>' => {
                    let content = self.since(start);
                    self.chars.next();
                    return Some(content);
                }
                '"' => self.delimited('"')?,
                '(' => self.comment()?,
                '<' => return None,
                _ => {
                    self.chars.next();
                }
            }
        }
    }
}

/// The address that stands without brackets; `Some(None)` if there are no words.
#[allow(clippy::option_option, reason = "the outer one is the error, for `?`")]
fn bare_address(words: &[Word<'_>]) -> Option<Option<Mailbox>> {
    if words.is_empty() {
        return Some(None);
    }
    let mut address = String::new();
    for word in words {
        if word.spaced && !address.is_empty() && !joins(&address, word.raw) {
            return None;
        }
        push_unescaped(word.raw, &mut address);
    }
    Some(Some(Mailbox {
        name: None,
        address,
    }))
}

/// Whether white space between two pieces of an address does not part them (RFC 5322 §4.4).
fn joins(before: &str, after: &str) -> bool {
    before.ends_with(['.', '@']) || after.starts_with(['.', '@'])
}

/// Cleans what stands in angle brackets: white space, comments and a route (obsolete, RFC 5322
/// §4.4) go.
fn address_in_brackets(content: &str) -> Option<String> {
    let content = match content.trim_start().strip_prefix('@') {
        Some(route) => route.split_once(':')?.1,
        None => content,
    };
    let mut out = String::with_capacity(content.len());
    let mut lexer = Lexer {
        text: content,
        chars: content.char_indices().peekable(),
    };
    while let Some(token) = lexer.next_token()? {
        match token {
            Token::Word(word) => {
                if word.spaced && !out.is_empty() && !joins(&out, word.raw) {
                    return None;
                }
                push_unescaped(word.raw, &mut out);
            }
            // Broken, but it has one reading only.
            Token::Separator(c) => out.push(c),
            Token::Colon => out.push(':'),
            Token::Angle(_) => return None,
        }
    }
    Some(out)
}

/// Appends a word of an address. A backslash before a character that needs none is what RFC 821 let stand there: it goes.
fn push_unescaped(word: &str, out: &mut String) {
    if word.starts_with(['"', '[']) {
        // A fold leaves its white space; the line end is none of the address.
        return out.extend(word.chars().filter(|c| !matches!(c, '\r' | '\n' | '\0')));
    }
    let mut chars = word.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '\\' || !chars.peek().is_some_and(|next| next.is_alphanumeric()) {
            out.push(c);
        }
    }
}

fn display_name(words: &[Word<'_>]) -> Option<String> {
    let mut name = String::new();
    for word in words {
        if !name.is_empty() && word.spaced {
            name.push(' ');
        }
        match word.raw.strip_prefix('"') {
            Some(quoted) => {
                let mut chars = quoted.strip_suffix('"').unwrap_or(quoted).chars();
                while let Some(c) = chars.next() {
                    match c {
                        '\\' => name.extend(chars.next()),
                        '\r' | '\n' | '\0' => {}
                        _ => name.push(c),
                    }
                }
            }
            None => name.push_str(word.raw),
        }
    }
    let name = encoded_word::decode(name.as_bytes());
    let name = name.trim();
    (!name.is_empty()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn list(value: &str) -> Option<Vec<(String, String)>> {
        let list = parse_list(value.as_bytes())?;
        Some(
            list.into_iter()
                .map(|m| (m.name.unwrap_or_default(), m.address))
                .collect(),
        )
    }

    fn pairs(list: &[(&str, &str)]) -> Option<Vec<(String, String)>> {
        Some(
            list.iter()
                .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
                .collect(),
        )
    }

    #[test]
    fn lists_of_real_mail_are_read() {
        for (value, expected) in [
            ("", &[][..]),
            ("a@b.test", &[("", "a@b.test")]),
            ("a@b, c@d; e@f", &[("", "a@b"), ("", "c@d"), ("", "e@f")]),
            ("Joe Q. Public <j@x>", &[("Joe Q. Public", "j@x")]),
            ("\"Doe, John\" <j@x>", &[("Doe, John", "j@x")]),
            ("\"a \\\"b\\\"\" <j@x>", &[("a \"b\"", "j@x")]),
            (
                "Pete(A nice \\) chap) <pete(his account)@silly.test(his host)>",
                &[("Pete", "pete@silly.test")],
            ),
            (
                "Mary <@n.test,@m.test:mary@x.test>, , jdoe@test  . example",
                &[("Mary", "mary@x.test"), ("", "jdoe@test.example")],
            ),
            (
                "A Group:Ed Jones <joe@a>,joe@b;, x@y",
                &[("Ed Jones", "joe@a"), ("", "joe@b"), ("", "x@y")],
            ),
            ("undisclosed recipients:;", &[]),
            (
                "=?utf-8?Q?J=C3=B6rg?= =?utf-8?Q?_M?= <j@x>",
                &[("Jörg M", "j@x")],
            ),
            ("\"a b\"@x.test", &[("", "\"a b\"@x.test")]),
            (
                "<u@[IPv6:::1]>, v@[127.0.0.1]",
                &[("", "u@[IPv6:::1]"), ("", "v@[127.0.0.1]")],
            ),
            ("Åke <å@ä.test>", &[("Åke", "å@ä.test")]),
            ("<>", &[("", "")]),
            ("postmaster", &[("", "postmaster")]),
            (
                "<a@b> (c) =?utf-8?q?Doe?=, D <e@f> E",
                &[("Doe", "a@b"), ("D E", "e@f")],
            ),
            ("one: a@b, two: C <d@e>", &[("", "a@b"), ("C", "d@e")]),
            (" :;, (x):; f@g", &[("", "f@g")]),
            (
                "<a\\b@c>, d\\e@f, \"g\\h\"@i",
                &[("", "ab@c"), ("", "de@f"), ("", "\"g\\h\"@i")],
            ),
        ] {
            assert_eq!(list(value), pairs(expected), "{value}");
        }
    }

    #[test]
    fn lists_without_a_single_reading_are_refused() {
        for value in [
            "\"a <b@c>",
            "<a@b",
            "(a",
            "a@b)",
            "a b",
            "<a@b> <c@d>",
            "A <a b@c>",
            "<a@b> c@d",
            "<a@b>: c@d;",
            "a: b: c@d;",
            "<a<b>>",
            ">",
        ] {
            assert_eq!(list(value), None, "{value}");
        }
    }

    #[test]
    fn names_are_quoted_or_encoded_where_needed() {
        assert_eq!(
            compile_list([
                (Some("A B"), "a@b"),
                (None, "c@d"),
                (Some("Doe, \"J\""), "e@f"),
                (Some("Å"), "g@h")
            ]),
            "A B <a@b>, c@d, \"Doe, \\\"J\\\"\" <e@f>, =?utf-8?Q?=C3=85?= <g@h>"
        );
        assert_eq!(
            compile(Some("a\r\nBcc: x"), "a@b\r\n>, <c@d"),
            "\"a  Bcc: x\" <a@bc@d>"
        );
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(name in "[ -~åß€]{0,60}", local in "[a-z.]{1,10}") {
            let address = format!("{local}@x.test");
            let text = compile(Some(&name), &address);
            let list = parse_list(text.as_bytes()).unwrap();
            prop_assert_eq!(list.len(), 1);
            prop_assert_eq!(&list[0].address, &address);
            prop_assert_eq!(list[0].name.as_deref().unwrap_or_default(), name.trim());
        }

        #[test]
        fn any_text_is_read_or_refused(value in "[a-z@<>(),;:\"\\\\\\[\\]. å]{0,60}") {
            let _ = list(&value);
        }
    }
}
