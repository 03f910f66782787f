//! The text of a pattern as PCRE2 gets it.
//!
//! The binding takes patterns as UTF-8 and gives no way to set match limits, so both go through the
//! pattern: limits as a start-of-pattern item, and, without the `u` modifier, every byte beyond
//! ASCII as `\xhh`. For that the text has to be read closely enough to tell literals from classes,
//! comments, quotations and verb names.

use crate::modifiers::Modifiers;
use crate::regex::PatternError;

/// A pattern taken apart for the limits to be put in.
#[derive(Debug)]
pub(crate) struct PatternText {
    /// Items at the start of the pattern, such as `(*UTF)`. PCRE2 honours the last of several
    /// limits, so ours go behind these.
    prologue: String,
    /// The rest, with bytes beyond ASCII written as escapes where necessary.
    body: String,
    /// Length of the whole pattern as given.
    length: usize,
    /// Where body and pattern drift apart: after offset `.0` of the body comes offset `.1` of the
    /// pattern.
    drift: Vec<(usize, usize)>,
    /// The match limit that the pattern sets itself.
    match_limit: Option<u32>,
    /// The heap limit in KiB that the pattern sets itself.
    heap_limit: Option<u32>,
    /// Quantifiers are lazy.
    ungreedy: bool,
    /// Pattern and subject are UTF-8, by the modifier or by a start item.
    pub(crate) utf8: bool,
    /// The end of the pattern lies where white space and comments are ignored.
    extended_end: bool,
    /// No part refers to the pattern as a whole or controls where a match may start.
    self_contained: bool,
    /// A single step may read much of the subject, again and again: a repeat that keeps no way back (possessive, or in an
    /// atomic group or an assertion) counts as one step, however long it is.
    pub(crate) skims: bool,
}

/// Bounds of one search. PCRE2 counts steps for each start of a match anew.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Steps of the matcher.
    pub(crate) steps: u32,
    /// KiB of heap.
    pub(crate) heap: u32,
}

impl PatternText {
    /// Takes a pattern apart.
    ///
    /// # Errors
    /// A pattern of UTF-8 that is not UTF-8.
    pub(crate) fn new(pattern: &[u8], modifiers: Modifiers) -> Result<PatternText, PatternError> {
        let mut text = PatternText {
            prologue: String::new(),
            body: String::new(),
            length: pattern.len(),
            drift: Vec::new(),
            match_limit: None,
            heap_limit: None,
            ungreedy: modifiers.has(b'U'),
            utf8: modifiers.has(b'u'),
            extended_end: false,
            self_contained: true,
            skims: false,
        };
        let rest = text.read_prologue(pattern);
        if text.utf8
            && let Err(error) = std::str::from_utf8(pattern)
        {
            return Err(PatternError {
                message: "the pattern is not valid UTF-8".to_owned(),
                offset: error.valid_up_to(),
            });
        }
        let escape = !text.utf8 && !rest.is_ascii();
        let mut scan = Scan {
            rest,
            at: 0,
            out: Vec::with_capacity(rest.len() + 128),
            drift: Vec::new(),
            utf8: text.utf8,
            escape,
            extended: modifiers.has(b'x'),
            outer: Vec::new(),
            self_contained: true,
            skims: false,
            atomic: 0,
        };
        scan.run();
        text.drift = scan.drift;
        text.extended_end = scan
            .outer
            .first()
            .map_or(scan.extended, |(extended, _)| *extended);
        text.self_contained = scan.self_contained;
        text.skims = scan.skims;
        text.body = String::from_utf8(scan.out).map_err(|_| PatternError {
            message: "the pattern is not valid text".to_owned(),
            offset: 0,
        })?;
        Ok(text)
    }

    /// Reads the items at the start of the pattern and returns what follows them.
    fn read_prologue<'p>(&mut self, pattern: &'p [u8]) -> &'p [u8] {
        let mut rest = pattern;
        while let Some(item) = rest.strip_prefix(b"(*") {
            let Some(end) = memchr::memchr(b')', item) else {
                break;
            };
            let (item, after) = item.split_at(end);
            let Some(item) = std::str::from_utf8(item)
                .ok()
                .filter(|name| is_start_item(name))
            else {
                break;
            };
            match item.split_once('=') {
                Some(("LIMIT_MATCH", value)) => self.match_limit = value.parse().ok(),
                Some(("LIMIT_HEAP", value)) => self.heap_limit = value.parse().ok(),
                _ => self.utf8 |= item == "UTF" || item == "UTF8",
            }
            self.prologue.push_str("(*");
            self.prologue.push_str(item);
            self.prologue.push(')');
            rest = after.get(1..).unwrap_or_default();
        }
        rest
    }

    /// The pattern under limits. Limits that the pattern sets itself hold if they are lower.
    pub(crate) fn limited(&self, limits: Limits) -> String {
        format!(
            "{}{}{}",
            self.prologue,
            self.limit_items(limits),
            self.plain_body()
        )
    }

    /// The pattern under limits that count for `starts` and one start positions together.
    ///
    /// It is tied to the place where the search begins and itself steps forward to where the match
    /// starts. Repeats are not made possessive on the quiet, because what a possessive repeat reads
    /// is not counted. `None` if the pattern could see the difference.
    pub(crate) fn window(&self, limits: Limits, starts: u16) -> Option<String> {
        if !self.self_contained {
            return None;
        }
        // A comment at the end would swallow the parenthesis.
        let newline = if self.extended_end { "\n" } else { "" };
        let (prologue, items, body) = (&self.prologue, self.limit_items(limits), self.plain_body());
        Some(format!(
            r"{prologue}(*NO_AUTO_POSSESS){items}\G(?s:.{{0,{starts}}}?)\K(?:{body}{newline})"
        ))
    }

    fn limit_items(&self, limits: Limits) -> String {
        let steps = self
            .match_limit
            .map_or(limits.steps, |own| own.min(limits.steps));
        let heap = self
            .heap_limit
            .map_or(limits.heap, |own| own.min(limits.heap));
        format!("(*LIMIT_HEAP={heap})(*LIMIT_MATCH={steps})")
    }

    fn plain_body(&self) -> String {
        let mode = if self.ungreedy { "(?U)" } else { "" };
        format!("{mode}{}", self.body)
    }

    /// The offset in the pattern for an offset in the text of [`PatternText::limited`].
    pub(crate) fn source_offset(&self, limits: Limits, offset: usize) -> usize {
        if offset <= self.prologue.len() {
            return offset;
        }
        let mode = if self.ungreedy { "(?U)".len() } else { 0 };
        let inserted = self.prologue.len() + self.limit_items(limits).len() + mode;
        let in_body = offset.saturating_sub(inserted);
        let index = self.drift.partition_point(|(body, _)| *body <= in_body);
        let (body, source) = index
            .checked_sub(1)
            .and_then(|i| self.drift.get(i))
            .copied()
            .unwrap_or((0, 0));
        (self.prologue.len() + source + (in_body - body)).min(self.length)
    }
}

/// Start-of-pattern items of pcre2pattern(3).
fn is_start_item(item: &str) -> bool {
    match item.split_once('=') {
        Some(("LIMIT_HEAP" | "LIMIT_MATCH" | "LIMIT_DEPTH" | "LIMIT_RECURSION", value)) => {
            !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit())
        }
        Some(_) => false,
        None => START_ITEMS.contains(&item),
    }
}

const START_ITEMS: &[&str] = &[
    "UTF",
    "UTF8",
    "UCP",
    "NOTEMPTY",
    "NOTEMPTY_ATSTART",
    "NO_AUTO_POSSESS",
    "NO_DOTSTAR_ANCHOR",
    "NO_JIT",
    "NO_START_OPT",
    "CASELESS_RESTRICT",
    "TURKISH_CASING",
    "CR",
    "LF",
    "CRLF",
    "ANY",
    "NUL",
    "ANYCRLF",
    "BSR_ANYCRLF",
    "BSR_UNICODE",
];

/// One pass over the body of a pattern.
struct Scan<'p> {
    rest: &'p [u8],
    at: usize,
    out: Vec<u8>,
    drift: Vec<(usize, usize)>,
    utf8: bool,
    /// Bytes beyond ASCII occur and must be written as escapes.
    escape: bool,
    /// White space and comments are ignored here.
    extended: bool,
    /// The same outside each group that is open, and whether the group keeps no way back into it.
    outer: Vec<(bool, bool)>,
    /// How many of those groups are open.
    atomic: usize,
    self_contained: bool,
    skims: bool,
}

impl<'p> Scan<'p> {
    fn run(&mut self) {
        while let Some(byte) = self.peek(0) {
            match byte {
                b'\\' => self.backslash(),
                b'[' => self.class(),
                b'(' => self.open(),
                b')' => {
                    if let Some((extended, atomic)) = self.outer.pop() {
                        self.extended = extended;
                        self.atomic -= usize::from(atomic);
                    }
                    self.copy(1);
                }
                b'*' | b'+' | b'{' => self.repeat(),
                b'#' if self.extended => self.opaque_through(b'\n'),
                // PCRE2 takes this byte, NEL in Latin-1, for white space of a pattern.
                0x85 if self.extended && !self.utf8 => self.skip(),
                _ => self.literal(),
            }
        }
    }

    /// A quantifier, or a brace that stands for itself.
    fn repeat(&mut self) {
        let mut length = 1;
        let mut long = true;
        if self.peek(0) == Some(b'{') {
            let digits = |from: usize| {
                let count = (from..).take_while(|at| {
                    self.peek(*at)
                        .is_some_and(|b| b.is_ascii_digit() || b == b' ')
                });
                from + count.count()
            };
            let least = digits(1);
            let most = match self.peek(least) {
                Some(b',') => digits(least + 1),
                _ => least,
            };
            if self.peek(most) != Some(b'}') {
                return self.copy(1);
            }
            let open = most == least + 1;
            // Three digits: a repeat of a hundred at least.
            let hundreds = least > 3;
            long = open || hundreds || most - least > 3;
            self.skims |= hundreds;
            length = most + 1;
        }
        let possessive = self.peek(length) == Some(b'+');
        self.skims |= long && (possessive || self.atomic > 0);
        self.copy(length);
    }

    /// Opens a group.
    fn group(&mut self, atomic: bool) {
        self.outer.push((self.extended, atomic));
        self.atomic += usize::from(atomic);
    }

    fn peek(&self, ahead: usize) -> Option<u8> {
        self.rest.get(self.at + ahead).copied()
    }

    fn starts_with(&self, text: &[u8]) -> bool {
        self.rest
            .get(self.at..)
            .is_some_and(|rest| rest.starts_with(text))
    }

    /// Notes where body and pattern stand after a rewrite.
    fn note(&mut self) {
        self.drift.push((self.out.len(), self.at));
    }

    fn skip(&mut self) {
        self.at += 1;
        self.note();
    }

    /// Copies bytes that are known to be ASCII, or any in UTF-8.
    fn copy(&mut self, count: usize) {
        let end = (self.at + count).min(self.rest.len());
        self.out
            .extend_from_slice(self.rest.get(self.at..end).unwrap_or_default());
        self.at = end;
    }

    /// Writes the next byte as an escape.
    fn hex(&mut self) {
        if let Some(byte) = self.peek(0) {
            const DIGITS: &[u8; 16] = b"0123456789abcdef";
            let digit = |value: u8| DIGITS.get(usize::from(value)).copied().unwrap_or(b'0');
            self.out
                .extend_from_slice(&[b'\\', b'x', digit(byte >> 4), digit(byte & 15)]);
            self.skip();
        }
    }

    /// Copies a byte that stands for itself.
    fn literal(&mut self) {
        if self.escape && self.peek(0).is_some_and(|byte| !byte.is_ascii()) {
            self.hex();
        } else {
            self.copy(1);
        }
    }

    /// Copies text that PCRE2 does not read as a pattern, up to and with `end`.
    ///
    /// Bytes beyond ASCII become the characters of Latin-1, so that different names stay different.
    fn opaque_through(&mut self, end: u8) {
        while let Some(byte) = self.peek(0) {
            if self.escape && !byte.is_ascii() {
                self.out
                    .extend_from_slice(char::from(byte).encode_utf8(&mut [0; 4]).as_bytes());
                self.skip();
            } else {
                self.copy(1);
            }
            if byte == end {
                return;
            }
        }
    }

    fn backslash(&mut self) {
        match self.peek(1) {
            Some(b'Q') => self.quotation(),
            // What `\c` needs is missing: the character makes PCRE2 say so.
            Some(b'c') if self.escape && self.peek(2).is_some_and(|byte| !byte.is_ascii()) => {
                self.copy(2);
                self.out.extend_from_slice("\u{ff}".as_bytes());
                self.skip();
            }
            Some(byte) if self.escape && !byte.is_ascii() => {
                self.at += 1;
                self.hex();
            }
            Some(b'g') => {
                let whole = [&br"\g<0>"[..], br"\g'0'"]
                    .iter()
                    .any(|text| self.starts_with(text));
                self.self_contained &= !whole;
                self.copy(2);
            }
            _ => self.copy(2),
        }
    }

    /// `\Q…\E`: escapes have no meaning inside, so every byte is written as one outside.
    fn quotation(&mut self) {
        if !self.escape {
            self.copy(2);
            while self.at < self.rest.len() && !self.starts_with(br"\E") {
                self.copy(1);
            }
            self.copy(2);
            return;
        }
        self.at += 2;
        self.note();
        while self.at < self.rest.len() && !self.starts_with(br"\E") {
            self.hex();
        }
        self.at = (self.at + 2).min(self.rest.len());
        self.note();
    }

    fn class(&mut self) {
        self.copy(1);
        if self.peek(0) == Some(b'^') {
            self.copy(1);
        }
        if self.peek(0) == Some(b']') {
            self.copy(1);
        }
        while let Some(byte) = self.peek(0) {
            match byte {
                b'\\' => self.backslash(),
                b']' => return self.copy(1),
                b'[' => match self.posix_len() {
                    Some(length) => self.copy(length),
                    None => self.copy(1),
                },
                _ => self.literal(),
            }
        }
    }

    /// Length of the `[:name:]` that comes next, if it is one.
    fn posix_len(&self) -> Option<usize> {
        let mark = self
            .peek(1)
            .filter(|byte| matches!(byte, b':' | b'.' | b'='))?;
        let mut ahead = 2;
        loop {
            match (self.peek(ahead)?, self.peek(ahead + 1)) {
                (b'\\', Some(b']' | b'\\')) => ahead += 2,
                (byte, Some(b']')) if byte == mark => return Some(ahead + 2),
                (b'[', Some(next)) if next == mark => return None,
                (b']', _) => return None,
                (byte, _) if !byte.is_ascii() => return None,
                _ => ahead += 1,
            }
        }
    }

    fn open(&mut self) {
        match (self.peek(1), self.peek(2)) {
            (Some(b'*'), Some(b'A'..=b'Z' | b':')) => {
                self.self_contained = false;
                self.opaque_through(b')');
            }
            (Some(b'?'), Some(b'#')) => self.opaque_through(b')'),
            (Some(b'?'), next) => {
                self.self_contained &= !matches!(next, Some(b'R' | b'0' | b'+'));
                let mut inner = self.extended;
                let mut on = true;
                let mut length = 2;
                while let Some(byte) = self.peek(length) {
                    match byte {
                        b'^' => inner = false,
                        b'-' => on = false,
                        b'x' => inner = on,
                        b'i' | b'm' | b's' | b'n' | b'J' | b'U' | b'r' | b'a' | b'D' | b'S'
                        | b'W' | b'P' | b'T' => {}
                        _ => break,
                    }
                    length += 1;
                }
                match self.peek(length) {
                    // An option setting: the parenthesis that closes it must not pop anything.
                    Some(b')') => {
                        self.extended = inner;
                        self.copy(length + 1);
                    }
                    Some(b':') => {
                        self.group(false);
                        self.extended = inner;
                        self.copy(length + 1);
                    }
                    byte => {
                        // `(?>`, `(?=`, `(?!`, `(?<=`, `(?<!`, and what follows a condition.
                        let behind = byte == Some(b'<')
                            && matches!(self.peek(length + 1), Some(b'=' | b'!'));
                        self.group(behind || matches!(byte, Some(b'>' | b'=' | b'!')));
                        self.copy(2);
                    }
                }
            }
            // `(*atomic:…)`, `(*pla:…)` and their like.
            (next, _) => {
                self.group(next == Some(b'*'));
                self.copy(1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        steps: 100,
        heap: 7,
    };

    fn text(pattern: &[u8], modifiers: &str) -> PatternText {
        let modifiers = Modifiers::parse(modifiers.as_bytes()).expect("known letters");
        PatternText::new(pattern, modifiers).expect("text")
    }

    fn body(pattern: &[u8], modifiers: &str) -> String {
        text(pattern, modifiers).body
    }

    #[test]
    fn bytes_beyond_ascii_become_escapes_wherever_they_stand() {
        assert_eq!(
            body(b"a\xe9+\\\xff[\xe0-\xef]", ""),
            r"a\xe9+\xff[\xe0-\xef]"
        );
        assert_eq!(body(b"\\Qa\xe9*\\E+", ""), r"\x61\xe9\x2a+");
        assert_eq!(body(b"[\\Q]\xe9\\E]", ""), r"[\x5d\xe9]");
        assert_eq!(
            body(b"[[:alpha:]\xe9](?#[\xe9)\xe9", ""),
            "[[:alpha:]\\xe9](?#[\u{e9})\\xe9"
        );
        assert_eq!(body(b"(*MARK:\xe9)\xe9", ""), "(*MARK:\u{e9})\\xe9");
        assert_eq!(
            body(b"\xe9 # [\xe9\n\xe9\x85", "x"),
            "\\xe9 # [\u{e9}\n\\xe9"
        );
        assert_eq!(body(b"(?x:\x85)\x85(?x)\x85", ""), r"(?x:)\x85(?x)");
        assert_eq!(body(br"\Qa\E\\", ""), r"\Qa\E\\");
    }

    #[test]
    fn utf8_is_copied_and_has_to_be_valid() {
        assert_eq!(body("é[à]".as_bytes(), "u"), "é[à]");
        assert_eq!(body("(*UTF)é".as_bytes(), ""), "é");
        let modifiers = Modifiers::parse(b"u").expect("known letter");
        let error = PatternText::new(b"ab\xff", modifiers).expect_err("not UTF-8");
        assert_eq!(error.offset, 2);
    }

    #[test]
    fn our_limits_come_last_and_only_lower_ones_of_the_script_hold() {
        assert_eq!(
            text(b"a", "").limited(LIMITS),
            "(*LIMIT_HEAP=7)(*LIMIT_MATCH=100)a"
        );
        assert_eq!(
            text(b"(*LIMIT_MATCH=4000)(*CRLF)a", "").limited(LIMITS),
            "(*LIMIT_MATCH=4000)(*CRLF)(*LIMIT_HEAP=7)(*LIMIT_MATCH=100)a"
        );
        assert_eq!(
            text(b"(*LIMIT_MATCH=9)(*LIMIT_HEAP=3)a", "U").limited(LIMITS),
            "(*LIMIT_MATCH=9)(*LIMIT_HEAP=3)(*LIMIT_HEAP=3)(*LIMIT_MATCH=9)(?U)a"
        );
        let item = "(*LIMIT_MATCH=99999999999)a";
        assert!(
            text(item.as_bytes(), "")
                .limited(LIMITS)
                .ends_with("(*LIMIT_MATCH=100)a")
        );
    }

    #[test]
    fn a_window_steps_to_the_match_itself_unless_the_pattern_could_tell() {
        let window =
            |pattern: &str, modifiers| text(pattern.as_bytes(), modifiers).window(LIMITS, 9);
        let whole = window("a", "").expect("self-contained");
        assert!(whole.ends_with(r"\G(?s:.{0,9}?)\K(?:a)"), "{whole}");
        assert!(window("a # b", "x").is_some_and(|text| text.ends_with("a # b\n)")));
        assert!(window("(?x) a # b", "").is_some_and(|text| text.ends_with("# b\n)")));
        assert!(window("(?x: a)b", "").is_some_and(|text| text.ends_with("a)b)")));
        for pattern in [
            "a(?R)?b",
            "a(?0)?",
            r"\g<0>",
            "a(*SKIP)b",
            "(*COMMIT)a",
            "(*:n)",
        ] {
            assert_eq!(window(pattern, ""), None, "{pattern}");
        }
    }

    #[test]
    fn offsets_lead_back_to_the_pattern() {
        let text = text(b"(*CRLF)a\xe9\xe9(b", "");
        let limited = text.limited(LIMITS);
        let at = limited.find("(b").expect("part");
        assert_eq!(text.source_offset(LIMITS, at), 10);
        assert_eq!(text.source_offset(LIMITS, limited.len()), 12);
        assert_eq!(text.source_offset(LIMITS, 3), 3);
    }
}
