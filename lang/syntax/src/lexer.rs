//! Bytes to tokens (language, chapter 1).
//!
//! logos finds words, signs and the first characters of literals; the literals themselves, whose ends
//! need more than a regular expression or deserve a better error, are read here. Two rules look at
//! the token before: a keyword after `->` is a name, and `::` is one token only after a class.

use crate::diagnostic::Diagnostic;
use crate::literal::{LiteralError, Piece, name_len, pieces, scan_number};
use crate::span::{BOM, FileId, Span};
use crate::token::{Token, TokenKind};
use logos::Logos;
use memchr::{memchr, memchr2, memmem};

/// The result of [`lex`].
#[derive(Clone, Debug, Default)]
pub struct Lexed {
    /// The tokens, without comments. Erroneous characters are left out.
    pub tokens: Vec<Token>,
    /// The comments, for tools that keep them.
    pub comments: Vec<Token>,
    /// What is wrong.
    pub errors: Vec<Diagnostic>,
    /// Whether a string has no end, so that it is a guess which tokens are text.
    pub unclosed_string: bool,
}

/// The lexer stops after that many errors: the text is something else than a script.
pub(crate) const MAX_ERRORS: usize = 20;

/// Splits a source text into tokens. Never fails: what cannot be read is reported and left out.
#[must_use]
pub fn lex(source: &[u8], file: FileId) -> Lexed {
    // A string without an end swallows the rest of the file, or turns text and code around up to the
    // next quote. Then the text is read again with that string ended at its line end.
    let mut unclosed: Vec<u32> = Vec::new();
    loop {
        let mut lexer = Lexer::new(source, file, &unclosed);
        let open = lexer.run();
        let suspect = suspect(source, &lexer.out.tokens, open);
        match suspect {
            Some(start) if !unclosed.contains(&start) && unclosed.len() < MAX_ERRORS => {
                unclosed.push(start)
            }
            _ => return lexer.out,
        }
    }
}

/// Whether the text ends inside a string or a comment.
pub(crate) fn ends_in_literal(source: &[u8]) -> bool {
    let mut lexer = Lexer::new(source, FileId::default(), &[]);
    if lexer.run().is_some() {
        return true;
    }
    let Some(last) = lexer.out.errors.last() else {
        return false;
    };
    // Most probably `'text'` was meant as a string when the line goes on like code behind it.
    let code = source.trim_ascii_end().ends_with(b";");
    match last.expected.first().map(String::as_str) {
        Some("`*/`") => true,
        Some(delimiter) => delimiter.starts_with('\'') && (delimiter == "''" || !code),
        None => false,
    }
}

/// The string that probably lacks its closing quote. `open` is the start of a string that has none up to
/// the end of the file; the mistake may lie before, as every quote after it has changed its meaning.
fn suspect(source: &[u8], tokens: &[Token], open: Option<u32>) -> Option<u32> {
    for pair in tokens.windows(2) {
        let [string, next] = pair else { continue };
        if !matches!(
            string.kind,
            TokenKind::Str | TokenKind::EscapedStr | TokenKind::BadStr
        ) {
            continue;
        }
        let text = string.text(source);
        let inner = text
            .get(1..text.len().saturating_sub(1))
            .unwrap_or_default();
        let Some(line_end) = memchr(b'\n', inner) else {
            continue;
        };
        // Code ends lines like this; and two operands in a row are never right.
        let first_line = inner.get(..line_end).unwrap_or_default().trim_ascii_end();
        let code_like = matches!(first_line.last(), Some(b';' | b'{' | b',' | b')'));
        let last_line = inner.rsplit(|b| *b == b'\n').next().unwrap_or_default();
        let opens_string = matches!(
            last_line.last(),
            Some(b' ' | b'(' | b'[' | b',' | b'=' | b'.')
        );
        let text_follows = next.start == string.end && next.kind.starts_operand();
        let certain = code_like && text_follows;
        if certain || open.is_some() && (text_follows || code_like && opens_string) {
            return Some(string.start);
        }
    }
    open
}

struct Lexer<'a> {
    source: &'a [u8],
    file: FileId,
    logos: logos::Lexer<'a, TokenKind>,
    /// Starts of strings that end at their line end.
    unclosed: &'a [u32],
    /// The kinds of the last two tokens.
    last: [Option<TokenKind>; 2],
    out: Lexed,
}

impl<'a> Lexer<'a> {
    fn new(source: &'a [u8], file: FileId, unclosed: &'a [u32]) -> Self {
        let mut logos = TokenKind::lexer(source);
        if source.starts_with(BOM) {
            logos.bump(BOM.len());
        }
        let tokens = Vec::with_capacity(source.len() / 4);
        let out = Lexed {
            tokens,
            ..Lexed::default()
        };
        Self {
            source,
            file,
            logos,
            unclosed,
            last: [None; 2],
            out,
        }
    }

    /// Reads everything; gives the start of a double-quoted string without an end.
    fn run(&mut self) -> Option<u32> {
        while self.out.errors.len() < MAX_ERRORS {
            match self.logos.next() {
                None => break,
                Some(Ok(kind)) => {
                    let start = self.logos.span().start;
                    let rest = self.logos.remainder();
                    match kind {
                        TokenKind::Str => {
                            if self.string(start, rest) {
                                return Some(offset(start));
                            }
                        }
                        TokenKind::RawStr => self.raw_string(start, rest),
                        TokenKind::Regex => self.regex(start, rest),
                        TokenKind::Number => self.number(start),
                        TokenKind::LineComment => {
                            let len = memchr(b'\n', rest).unwrap_or(rest.len());
                            let len = len
                                - usize::from(rest.get(..len).unwrap_or_default().ends_with(b"\r"));
                            self.logos.bump(len);
                            self.comment(kind, start);
                        }
                        TokenKind::BlockComment => self.block_comment(start, rest),
                        TokenKind::AmpAmp => self.wrong_operator(start, TokenKind::And),
                        TokenKind::PipePipe => self.wrong_operator(start, TokenKind::Or),
                        TokenKind::Scope => self.colons(start),
                        kind if kind.is_keyword() && self.last[1] == Some(TokenKind::Arrow) => {
                            self.push(TokenKind::Name, start);
                        }
                        kind => self.push(kind, start),
                    }
                }
                Some(Err(())) => self.unexpected(self.logos.span().start),
            }
        }
        None
    }

    fn push(&mut self, kind: TokenKind, start: usize) {
        let token = Token {
            kind,
            start: offset(start),
            end: offset(self.logos.span().end),
        };
        self.out.tokens.push(token);
        self.last = [self.last[1], Some(kind)];
    }

    fn comment(&mut self, kind: TokenKind, start: usize) {
        let end = self.logos.span().end;
        self.out.comments.push(Token {
            kind,
            start: offset(start),
            end: offset(end),
        });
    }

    fn error(&mut self, start: usize, end: usize, message: impl Into<String>) -> &mut Diagnostic {
        let span = Span::new(self.file, offset(start), offset(end));
        self.out.errors.push(Diagnostic::error(span, message));
        // The list was just added to.
        let last = self.out.errors.len() - 1;
        &mut self.out.errors[last]
    }

    fn literal_error(&mut self, base: usize, error: LiteralError) {
        let hint = error.hint.map(std::borrow::Cow::into_owned);
        self.error(base + error.start, base + error.end, error.message)
            .hint = hint;
    }

    /// `::` after a class, else two `:` of a slice. After `->` a name is a property, not a class.
    fn colons(&mut self, start: usize) {
        let scope = match self.last {
            [Some(TokenKind::Arrow), Some(TokenKind::Name)] => false,
            [_, Some(TokenKind::Name | TokenKind::Static)] => true,
            _ => false,
        };
        if scope {
            self.push(TokenKind::Scope, start);
            return;
        }
        self.push(TokenKind::Colon, start);
        if let Some(first) = self.out.tokens.last_mut() {
            first.end -= 1;
        }
        self.push(TokenKind::Colon, start + 1);
    }

    fn wrong_operator(&mut self, start: usize, right: TokenKind) {
        let end = self.logos.span().end;
        let written = if right == TokenKind::And { "&&" } else { "||" };
        self.error(
            start,
            end,
            format!("`{written}` is not an operator, use `{}`", right.name()),
        )
        .hint = Some("use `and` / `or`".to_owned());
        self.push(right, start);
    }

    fn number(&mut self, start: usize) {
        let (len, error) = scan_number(self.source.get(start..).unwrap_or_default());
        self.logos.bump(len.saturating_sub(1));
        if let Some(error) = error {
            self.literal_error(start, error);
        }
        self.push(TokenKind::Number, start);
    }

    /// Reads a double-quoted string whose quote is already read. True if it has no end.
    fn string(&mut self, start: usize, rest: &[u8]) -> bool {
        if self.unclosed.contains(&offset(start)) {
            self.unclosed_string(start, rest);
            return false;
        }
        let mut at = 0;
        let mut plain = true;
        let len = loop {
            let tail = rest.get(at..).unwrap_or_default();
            match memchr2(b'"', b'\\', tail) {
                None => return true,
                Some(next) if tail.get(next) == Some(&b'"') => break at + next,
                Some(next) => {
                    plain = false;
                    at += next + 2;
                }
            }
        };
        let inner = rest.get(..len).unwrap_or_default();
        plain = plain && memchr(b'$', inner).is_none();
        self.logos.bump(len + 1);
        if plain {
            self.push(TokenKind::Str, start);
            return false;
        }
        let errors_before = self.out.errors.len();
        for piece in pieces(inner) {
            if let Piece::Error(error) = piece {
                self.literal_error(start + 1, error);
                // One message for a string is enough.
                break;
            }
        }
        let bad = self.out.errors.len() > errors_before;
        self.push(
            if bad {
                TokenKind::BadStr
            } else {
                TokenKind::EscapedStr
            },
            start,
        );
        false
    }

    fn unclosed_string(&mut self, start: usize, rest: &[u8]) {
        let mut len = memchr(b'\n', rest).unwrap_or(rest.len());
        // What ends the statement is most probably not meant as text.
        let line = rest.get(..len).unwrap_or_default().trim_ascii_end();
        len = line.len()
            - line
                .iter()
                .rev()
                .take_while(|b| matches!(b, b';' | b')' | b']' | b',' | b'{'))
                .count();
        self.logos.bump(len);
        self.out.unclosed_string = true;
        let error = self.error(start, start + 1, "this string has no closing quote");
        error.expected = vec!["`\"`".to_owned()];
        error.hint =
            Some("close it with `\"`; inside a string a quote is written `\\\"`".to_owned());
        self.push(TokenKind::BadStr, start);
    }

    fn raw_string(&mut self, start: usize, rest: &[u8]) {
        let delimiter = rest
            .iter()
            .take_while(|b| matches!(b, 0x21..=0x26 | 0x28..=0x7e))
            .count();
        if rest.get(delimiter) != Some(&b'\'') {
            return self.single_quote(start, rest);
        }
        let opener = self
            .source
            .get(start..start + delimiter + 2)
            .unwrap_or_default();
        let body = rest.get(delimiter + 1..).unwrap_or_default();
        if let Some(len) = memmem::find(body, opener) {
            self.logos.bump(delimiter + 1 + len + opener.len());
            return self.push(TokenKind::RawStr, start);
        }
        let text = String::from_utf8_lossy(opener).into_owned();
        let inside =
            String::from_utf8_lossy(rest.get(..delimiter).unwrap_or_default()).into_owned();
        self.logos.bump(delimiter + 1);
        let error = self.error(
            start,
            start + opener.len(),
            format!("this raw string is not closed: {text} does not follow again"),
        );
        error.expected = vec![text.clone()];
        error.hint = Some(if inside.is_empty() {
            "a raw string ends with the same quotes that it starts with: ''text''".to_owned()
        } else {
            format!(
                "single quotes make no string; write \"{inside}\", or close the raw string with {text}"
            )
        });
        self.push(TokenKind::BadStr, start);
    }

    /// A `'` that starts no raw string.
    fn single_quote(&mut self, start: usize, rest: &[u8]) {
        let line = rest
            .get(..memchr(b'\n', rest).unwrap_or(rest.len()))
            .unwrap_or_default();
        let close = memchr(b'\'', line);
        let len = close.map_or(0, |at| at + 1);
        self.logos.bump(len);
        let message = "single quotes make no string";
        let error = self.error(start, start + 1 + len, message);
        error.hint = Some("strings are written \"text\" or, without escapes, ''text''".to_owned());
        if close.is_some() {
            self.push(TokenKind::BadStr, start);
        }
    }

    fn regex(&mut self, start: usize, rest: &[u8]) {
        let mut len = 0;
        let closed = loop {
            match rest.get(len) {
                None | Some(b'\n') => break false,
                Some(b'/') => break true,
                Some(b'\\') if rest.get(len + 1).is_some() => len += 2,
                Some(_) => len += 1,
            }
        };
        if !closed {
            self.logos.bump(len.min(rest.len()));
            let error = self.error(
                start,
                start + 2,
                "this regular expression has no closing `/`",
            );
            error.expected = vec!["`/`".to_owned()];
            error.hint = Some("a regex literal is written #/pattern/modifiers on one line; comments start with `//`".to_owned());
            return self.push(TokenKind::BadRegex, start);
        }
        let modifiers = rest.get(len + 1..).unwrap_or_default();
        let count = modifiers
            .iter()
            .take_while(|b| b.is_ascii_alphanumeric() || **b == b'_')
            .count();
        let unknown = modifiers
            .iter()
            .take(count)
            .position(|b| !b"imsuxUX".contains(b));
        self.logos.bump(len + 1 + count);
        if len == 0 {
            let error = self.error(start, start + 3, "this regular expression is empty");
            error.hint = Some("to match the empty string write `#/(?:)/`".to_owned());
            return self.push(TokenKind::BadRegex, start);
        }
        if let Some(at) = unknown {
            let letter = modifiers
                .get(at)
                .copied()
                .map(char::from)
                .unwrap_or_default();
            let place = start + 2 + len + 1 + at;
            let error = self.error(
                place,
                place + 1,
                format!("unknown regex modifier `{letter}`"),
            );
            error.hint = Some("known are i, m, s, u, x, U and X".to_owned());
            return self.push(TokenKind::BadRegex, start);
        }
        self.push(TokenKind::Regex, start);
    }

    fn block_comment(&mut self, start: usize, rest: &[u8]) {
        if let Some(len) = memmem::find(rest, b"*/") {
            self.logos.bump(len + 2);
            return self.comment(TokenKind::BlockComment, start);
        }
        self.logos.bump(rest.len());
        let error = self.error(start, start + 2, "this comment has no end");
        error.expected = vec!["`*/`".to_owned()];
        error.hint = Some("close it with `*/`; comments do not nest".to_owned());
        self.comment(TokenKind::BlockComment, start);
    }

    /// A byte at `start` that starts no token.
    fn unexpected(&mut self, start: usize) {
        let text = self.source.get(start..).unwrap_or_default();
        // logos may have taken more than one byte; go on right behind the character.
        let character = text
            .utf8_chunks()
            .next()
            .and_then(|chunk| chunk.valid().chars().next());
        let len = character.map_or(1, char::len_utf8);
        let taken = self.logos.span().end - start;
        self.logos.bump(len.saturating_sub(taken));
        let end = start + len;
        let Some(character) = character else {
            let byte = text.first().copied().unwrap_or_default();
            self.error(
                start,
                end,
                format!("byte 0x{byte:02X} is not allowed outside strings and comments"),
            );
            return;
        };
        match character {
            '$' => {
                let hint = match text.get(1) {
                    Some(b'$' | b'{') => "there are no variable variables; use an array",
                    _ => "a variable is `$` and a letter or `_`, then letters, digits and `_`",
                };
                self.error(start, end, "a name must follow `$`").hint = Some(hint.to_owned());
            }
            '#' => {
                self.error(start, end, "`#` starts nothing here").hint =
                    Some("a comment starts with `//`; a regex literal is #/pattern/".to_owned());
            }
            '@' | '`' | '\\' => {
                self.error(start, end, format!("unexpected character `{character}`"));
            }
            '\u{201c}' | '\u{201d}' => self.curly_quote(start, character),
            _ => {
                let name = format!("{} U+{:04X}", name_of(character), u32::from(character));
                let error = self.error(
                    start,
                    end,
                    format!("{name} is not allowed outside strings and comments"),
                );
                error.hint = Some(advice(character).to_owned());
            }
        }
    }

    /// A curly quote is most probably the start of a string that a word processor has touched.
    fn curly_quote(&mut self, start: usize, character: char) {
        let first = start + character.len_utf8();
        let rest = self.source.get(first..).unwrap_or_default();
        let line = rest
            .get(..memchr(b'\n', rest).unwrap_or(rest.len()))
            .unwrap_or_default();
        let close = memmem::find(line, "\u{201d}".as_bytes());
        let name = format!("{} U+{:04X}", name_of(character), u32::from(character));
        self.error(
            start,
            first,
            format!("{name} is not allowed outside strings and comments"),
        )
        .hint = Some("write straight quotes: \"…\"".to_owned());
        if let Some(len) = close {
            self.logos.bump(len + '\u{201d}'.len_utf8());
            self.push(TokenKind::BadStr, start);
        }
    }
}

/// Characters that come in from word processors and web pages.
fn name_of(character: char) -> &'static str {
    match character {
        '\u{a0}' => "no-break space",
        '\u{2018}' => "left single quotation mark",
        '\u{2019}' => "right single quotation mark",
        '\u{201c}' => "left double quotation mark",
        '\u{201d}' => "right double quotation mark",
        '\u{2013}' => "en dash",
        '\u{2014}' => "em dash",
        '\u{2026}' => "horizontal ellipsis",
        '\u{200b}' => "zero width space",
        '\u{202f}' => "narrow no-break space",
        '\u{3000}' => "ideographic space",
        '\u{feff}' => "byte order mark",
        '\u{0}' => "NUL",
        character if character.is_control() => "control character",
        _ => "character",
    }
}

fn advice(character: char) -> &'static str {
    match character {
        '\u{2018}' | '\u{2019}' => "write straight quotes: \"…\"",
        '\u{2013}' | '\u{2014}' => "write `-`",
        '\u{2026}' => "write `...`",
        character if character.is_whitespace() => "write a plain space",
        '\u{200b}' | '\u{feff}' => "remove it; editors do not show it",
        character if character.is_control() => "remove it",
        _ => "names are made of the letters a to z, A to Z, digits and `_`",
    }
}

/// Sources of 4 GiB and more are refused before they come here.
fn offset(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

/// Whether `text` is a name that is not a reserved word.
#[must_use]
pub fn is_name(text: &str) -> bool {
    name_len(text.as_bytes()) == text.len()
        && !text.is_empty()
        && !crate::token::KEYWORDS.contains(&text)
}
