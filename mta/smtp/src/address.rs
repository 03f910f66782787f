//! Mailboxes and paths of the envelope (RFC 5321 §4.1.2 and §4.1.3, RFC 6531 §3.3).
//!
//! An address is parsed once, at the edge. A [`Mailbox`] keeps the local part without its quotes
//! and both parts in their original case; [`Mailbox::lower`] gives the lower-cased form that
//! scripts and look-ups use and `Display` the form that goes over the wire.
//!
//! Choices where the RFC leaves room: a source route is checked and dropped; an underscore is
//! accepted in a domain label, because such host names send mail; a local part may be longer than
//! 64 octets (VERP and SRS make such), a domain not longer than 255; U-labels stay as they are.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Why an address was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// The text does not follow the grammar.
    #[error("malformed address")]
    Syntax,
    /// The address holds non-ASCII characters but SMTPUTF8 was not asked for.
    #[error("non-ASCII address without SMTPUTF8")]
    NeedsUtf8,
}

/// Whether non-ASCII characters are allowed (RFC 6531).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Charset {
    /// ASCII only.
    Ascii,
    /// UTF-8 under SMTPUTF8.
    Utf8,
}

/// A local part and a domain (RFC 5321 `Mailbox`).
///
/// The domain is empty only for the recipient `postmaster` without domain.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Mailbox {
    localpart: String,
    domain: String,
}

impl Mailbox {
    /// Makes a mailbox of an unquoted local part and a domain, as scripts give them.
    ///
    /// # Errors
    ///
    /// Refuses control characters in the local part and a malformed domain. Non-ASCII is allowed.
    pub fn new(localpart: &str, domain: &str) -> Result<Self, AddressError> {
        if localpart.chars().any(char::is_control) {
            return Err(AddressError::Syntax);
        }
        let whole = Scanner::new(domain, Charset::Utf8).domain()?;
        let bare_postmaster = domain.is_empty() && localpart.eq_ignore_ascii_case("postmaster");
        if whole.len() != domain.len() || (domain.is_empty() && !bare_postmaster) {
            return Err(AddressError::Syntax);
        }
        Ok(Self {
            localpart: localpart.to_owned(),
            domain: domain.to_owned(),
        })
    }

    /// Parses `local@domain` without angle brackets. Non-ASCII is allowed.
    ///
    /// # Errors
    ///
    /// [`AddressError::Syntax`] when the text is no mailbox.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let mut scanner = Scanner::new(text, Charset::Utf8);
        let mailbox = scanner.mailbox()?;
        if scanner.rest.is_empty() {
            Ok(mailbox)
        } else {
            Err(AddressError::Syntax)
        }
    }

    /// The local part, unquoted, in its original case.
    #[must_use]
    pub fn localpart(&self) -> &str {
        &self.localpart
    }

    /// The domain or address literal, in its original case.
    #[must_use]
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The whole address in lower case, quoted where it has to be.
    #[must_use]
    pub fn lower(&self) -> String {
        self.to_string().to_lowercase()
    }

    /// Whether the address can be written without SMTPUTF8.
    #[must_use]
    pub fn is_ascii(&self) -> bool {
        self.localpart.is_ascii() && self.domain.is_ascii()
    }
}

impl fmt::Display for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if is_dot_string(&self.localpart) {
            f.write_str(&self.localpart)?;
        } else {
            f.write_str("\"")?;
            for character in self.localpart.chars() {
                if matches!(character, '"' | '\\') {
                    f.write_str("\\")?;
                }
                write!(f, "{character}")?;
            }
            f.write_str("\"")?;
        }
        if self.domain.is_empty() {
            return Ok(());
        }
        write!(f, "@{}", self.domain)
    }
}

/// The argument of MAIL FROM: where notifications go.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ReversePath {
    /// `<>`: nowhere.
    Null,
    /// A mailbox.
    Mailbox(Mailbox),
}

impl ReversePath {
    /// Parses what a script gives as sender: `""` (or `<>`) is the null path.
    ///
    /// # Errors
    ///
    /// [`AddressError::Syntax`] when the text is neither empty nor a mailbox.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        match text {
            "" | "<>" => Ok(Self::Null),
            _ => Mailbox::parse(text).map(Self::Mailbox),
        }
    }

    /// The mailbox, unless this is the null path.
    #[must_use]
    pub fn mailbox(&self) -> Option<&Mailbox> {
        match self {
            Self::Null => None,
            Self::Mailbox(mailbox) => Some(mailbox),
        }
    }

    /// The address in lower case, `""` for the null path.
    #[must_use]
    pub fn lower(&self) -> String {
        self.mailbox().map(Mailbox::lower).unwrap_or_default()
    }

    /// The local part, `""` for the null path.
    #[must_use]
    pub fn localpart(&self) -> &str {
        self.mailbox().map_or("", Mailbox::localpart)
    }

    /// The domain, `""` for the null path.
    #[must_use]
    pub fn domain(&self) -> &str {
        self.mailbox().map_or("", Mailbox::domain)
    }
}

impl fmt::Display for ReversePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => Ok(()),
            Self::Mailbox(mailbox) => mailbox.fmt(f),
        }
    }
}

/// Parses a path in angle brackets and returns it with the text that follows.
///
/// `<>` gives `None`. Source routes are checked and dropped (RFC 5321 appendix C).
///
/// # Errors
///
/// Says whether the grammar or the charset was violated.
pub fn path(text: &str, charset: Charset) -> Result<(Option<Mailbox>, &str), AddressError> {
    let mut scanner = Scanner::new(text, charset);
    scanner.expect('<')?;
    if scanner.take('>') {
        return Ok((None, scanner.rest));
    }
    scanner.source_route()?;
    let mailbox = scanner.mailbox()?;
    scanner.expect('>')?;
    Ok((Some(mailbox), scanner.rest))
}

/// The text between the angle brackets, before its charset is known to be allowed: SMTPUTF8
/// stands behind the path, so the end of the path is found first.
///
/// Returns the path with its brackets and the rest of the line.
#[must_use]
pub fn split_path(text: &str) -> Option<(&str, &str)> {
    if !text.starts_with('<') {
        return None;
    }
    let mut quoted = false;
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'>' if !quoted => return text.split_at_checked(at + 1),
            _ => {}
        }
    }
    None
}

/// Whether a local part can stand without quotes (RFC 5321 `Dot-string`, RFC 6531 `atext`).
fn is_dot_string(text: &str) -> bool {
    text.split('.')
        .all(|atom| !atom.is_empty() && atom.chars().all(is_atext))
}

fn is_atext(character: char) -> bool {
    character.is_ascii_alphanumeric()
        || "!#$%&'*+-/=?^_`{|}~".contains(character)
        || is_utf8_non_ascii(character)
}

/// RFC 6531 `UTF8-non-ascii`, without the C1 controls, which have no place in an address.
fn is_utf8_non_ascii(character: char) -> bool {
    !character.is_ascii() && !character.is_control()
}

/// Reads one path from left to right; each method takes what it recognises off `rest`.
struct Scanner<'a> {
    rest: &'a str,
    charset: Charset,
}

impl<'a> Scanner<'a> {
    fn new(rest: &'a str, charset: Charset) -> Self {
        Self { rest, charset }
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let mut characters = self.rest.chars();
        let first = characters.next();
        self.rest = characters.as_str();
        first
    }

    fn take(&mut self, wanted: char) -> bool {
        match self.rest.strip_prefix(wanted) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, wanted: char) -> Result<(), AddressError> {
        if self.take(wanted) {
            Ok(())
        } else {
            Err(AddressError::Syntax)
        }
    }

    /// Takes the longest prefix whose characters all pass.
    fn take_while(&mut self, pass: impl Fn(char) -> bool) -> Result<&'a str, AddressError> {
        let end = self.rest.find(|c| !pass(c)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at_checked(end).unwrap_or((self.rest, ""));
        if self.charset == Charset::Ascii && !taken.is_ascii() {
            return Err(AddressError::NeedsUtf8);
        }
        self.rest = rest;
        Ok(taken)
    }

    /// `@a.example,@b.example:`, dropped.
    fn source_route(&mut self) -> Result<(), AddressError> {
        if !self.rest.starts_with('@') {
            return Ok(());
        }
        loop {
            self.expect('@')?;
            if self.domain()?.is_empty() {
                return Err(AddressError::Syntax);
            }
            if self.take(':') {
                return Ok(());
            }
            self.expect(',')?;
        }
    }

    fn mailbox(&mut self) -> Result<Mailbox, AddressError> {
        let localpart = if self.take('"') {
            self.quoted_string()?
        } else {
            let dotted = self.take_while(|c| c == '.' || is_atext(c))?;
            if !is_dot_string(dotted) {
                return Err(AddressError::Syntax);
            }
            dotted.to_owned()
        };
        if localpart.eq_ignore_ascii_case("postmaster") && !self.rest.starts_with('@') {
            return Ok(Mailbox {
                localpart,
                domain: String::new(),
            });
        }
        self.expect('@')?;
        let domain = self.domain()?;
        if domain.is_empty() {
            return Err(AddressError::Syntax);
        }
        Ok(Mailbox {
            localpart,
            domain: domain.to_owned(),
        })
    }

    /// The rest of a quoted string whose opening quote is already taken, unquoted.
    fn quoted_string(&mut self) -> Result<String, AddressError> {
        let mut text = String::new();
        loop {
            let mut character = self.next().ok_or(AddressError::Syntax)?;
            if character == '"' {
                return Ok(text);
            }
            if character == '\\' {
                character = self.next().ok_or(AddressError::Syntax)?;
                // quoted-pairSMTP: only graphics and space may be escaped.
                if !matches!(character, ' '..='~') {
                    return Err(AddressError::Syntax);
                }
            } else if !matches!(character, ' '..='~') && !is_utf8_non_ascii(character) {
                return Err(AddressError::Syntax);
            }
            if !character.is_ascii() && self.charset == Charset::Ascii {
                return Err(AddressError::NeedsUtf8);
            }
            text.push(character);
        }
    }

    /// A domain or an address literal; the caller decides whether an empty one is an error.
    fn domain(&mut self) -> Result<&'a str, AddressError> {
        if self.peek() == Some('[') {
            return self.address_literal();
        }
        let domain = self.take_while(|c| {
            c.is_ascii_alphanumeric()
                || matches!(c, '-' | '_' | '.')
                || (is_utf8_non_ascii(c) && !c.is_whitespace())
        })?;
        let well_formed = |label: &str| {
            !label.is_empty()
                && label.len() <= 63
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        if !domain.is_empty() && (domain.len() > 255 || !domain.split('.').all(well_formed)) {
            return Err(AddressError::Syntax);
        }
        Ok(domain)
    }

    /// `[192.0.2.1]` or `[IPv6:2001:db8::1]` (RFC 5321 §4.1.3); no other tag is registered.
    fn address_literal(&mut self) -> Result<&'a str, AddressError> {
        let end = self.rest.find(']').ok_or(AddressError::Syntax)?;
        let (literal, rest) = self
            .rest
            .split_at_checked(end + 1)
            .ok_or(AddressError::Syntax)?;
        let inner = literal
            .strip_prefix('[')
            .and_then(|text| text.strip_suffix(']'))
            .ok_or(AddressError::Syntax)?;
        let is_v6 = inner
            .get(..5)
            .is_some_and(|tag| tag.eq_ignore_ascii_case("IPv6:"))
            && inner
                .get(5..)
                .is_some_and(|text| text.parse::<Ipv6Addr>().is_ok());
        if !is_v6 && inner.parse::<Ipv4Addr>().is_err() {
            return Err(AddressError::Syntax);
        }
        self.rest = rest;
        Ok(literal)
    }
}

/// Whether a HELO name can be told apart from garbage: a domain, an address literal, or any
/// word of printable characters (many clients greet with a name that is no domain).
#[must_use]
pub fn is_greeting_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| !c.is_control() && !c.is_whitespace())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Option<String>, AddressError> {
        path(text, Charset::Ascii).map(|(mailbox, rest)| {
            assert_eq!(rest, "", "all of {text} is read");
            mailbox.map(|mailbox| mailbox.to_string())
        })
    }

    #[test]
    fn well_formed_paths_give_their_mailbox() {
        for (text, mailbox) in [
            ("<a@example.com>", "a@example.com"),
            ("<A.b+c@Example.COM>", "A.b+c@Example.COM"),
            ("<\"a b\"@example.com>", "\"a b\"@example.com"),
            ("<\"plain\"@example.com>", "plain@example.com"),
            ("<\"a\\\"b\"@example.com>", "\"a\\\"b\"@example.com"),
            ("<\"a@b\"@example.com>", "\"a@b\"@example.com"),
            ("<\"\"@example.com>", "\"\"@example.com"),
            ("<a@[192.0.2.1]>", "a@[192.0.2.1]"),
            ("<a@[IPv6:2001:db8::1]>", "a@[IPv6:2001:db8::1]"),
            ("<@hosta.int,@jkl.org:userc@d.bar.org>", "userc@d.bar.org"),
            ("<Postmaster>", "Postmaster"),
            ("<a@my_host.example>", "a@my_host.example"),
            ("<a@localhost>", "a@localhost"),
        ] {
            assert_eq!(parse(text), Ok(Some(mailbox.to_owned())), "{text}");
        }
        assert_eq!(parse("<>"), Ok(None));
    }

    #[test]
    fn malformed_paths_are_refused() {
        for text in [
            "",
            "a@example.com",
            "<a@example.com",
            "<a>",
            "<a@>",
            "<@example.com>",
            "<a..b@example.com>",
            "<.a@example.com>",
            "<a.@example.com>",
            "<a@example.com.>",
            "<a@.example.com>",
            "<a@exa..mple>",
            "<a@-example.com>",
            "<a@exam ple.com>",
            "<\"ab@example.com>",
            "<\"a\u{1}b\"@example.com>",
            "<a b@example.com>",
            "<a@[300.1.1.1]>",
            "<a@[IPv6:zz]>",
            "<a@[x400:foo]>",
            "<a@[192.0.2.1>",
            "<@a.example:>",
            "<a@b@c>",
        ] {
            assert_eq!(parse(text), Err(AddressError::Syntax), "{text}");
        }
        let long = format!("<a@{}.example>", "x".repeat(64));
        assert_eq!(parse(&long), Err(AddressError::Syntax));
    }

    #[test]
    fn non_ascii_needs_smtputf8() {
        for text in [
            "<é@example.com>",
            "<a@bücher.example>",
            "<\"é\"@example.com>",
        ] {
            assert_eq!(parse(text), Err(AddressError::NeedsUtf8), "{text}");
            assert!(path(text, Charset::Utf8).is_ok(), "{text}");
        }
    }

    #[test]
    fn lower_case_is_a_copy_and_the_parts_keep_theirs() {
        let mailbox = Mailbox::parse("\"John Doe\"@Example.COM").expect("a mailbox");
        assert_eq!(mailbox.lower(), "\"john doe\"@example.com");
        assert_eq!(mailbox.localpart(), "John Doe");
        assert_eq!(mailbox.domain(), "Example.COM");
    }

    #[test]
    fn script_parts_cannot_carry_line_ends() {
        assert!(Mailbox::new("a\r\nRCPT TO:<x@y>", "example.com").is_err());
        assert!(Mailbox::new("a", "example.com>\r\nDATA").is_err());
        assert!(Mailbox::new("a", "").is_err());
        assert!(Mailbox::new("postmaster", "").is_ok());
        assert_eq!(ReversePath::parse(""), Ok(ReversePath::Null));
    }

    #[test]
    fn the_end_of_a_path_is_found_behind_quotes() {
        assert_eq!(
            split_path("<\"a>\\\"b\"@c> SIZE=1"),
            Some(("<\"a>\\\"b\"@c>", " SIZE=1"))
        );
        assert_eq!(split_path("<a"), None);
        assert_eq!(split_path("a>"), None);
    }

    mod properties {
        use super::super::*;
        use proptest::prelude::*;

        proptest! {
            #[test]
            fn a_mailbox_survives_writing_and_reading(local in "\\PC{0,20}", domain in "[a-z]{1,8}(\\.[a-z0-9]{1,8}){0,3}") {
                if let Ok(mailbox) = Mailbox::new(&local, &domain) {
                    let text = format!("<{mailbox}>");
                    let (back, rest) = path(&text, Charset::Utf8).expect("reads back");
                    prop_assert_eq!(rest, "");
                    prop_assert_eq!(back, Some(mailbox));
                    prop_assert!(split_path(&text).is_some());
                }
            }

            #[test]
            fn no_text_makes_the_parser_panic(text in "\\PC{0,60}") {
                let _ = path(&text, Charset::Ascii);
                let _ = path(&text, Charset::Utf8);
                let _ = Mailbox::parse(&text);
            }
        }
    }
}
