//! Tells whether a pattern means the same to a finite automaton as to PCRE2, and parses it if so.
//!
//! The parser reads the part of pcre2pattern(3) that is regular and common. It is conservative: at
//! the first construct whose meaning it does not surely know, be it an error, a rare spelling or
//! something that no automaton can do, it gives up, and the pattern goes to PCRE2. So it never
//! reports errors: PCRE2 words them all.
//!
//! Some constructs are regular but differ in the two engines and are given up too:
//!
//! * a repeated group that can match the empty string: PCRE2 ends the loop at an empty iteration;
//! * `$` and `\Z` anywhere but at the end of the pattern: they also hold before a last line feed,
//!   which an automaton can only express by reading that line feed (see [`crate::automaton`]);
//! * `^` of the `m` modifier unless something that is not empty follows: PCRE2 has no line after a
//!   line feed that ends the subject.

use std::ops::Range;

use regex_syntax::hir::Look;

use crate::charset::{CharSet, Unit};
use crate::modifiers::Modifiers;

/// A parsed pattern.
#[derive(Debug)]
pub(crate) struct Regular {
    /// What the pattern matches.
    pub(crate) node: Node,
    /// Number of groups, the whole match not included.
    pub(crate) groups: usize,
    /// Named groups with their numbers, in the order of the pattern.
    pub(crate) names: Vec<(Box<str>, usize)>,
    /// Unit of pattern and subject.
    pub(crate) unit: Unit,
    /// True if a [`Node::Dollar`] occurs.
    pub(crate) has_dollar: bool,
}

/// A part of a pattern.
#[derive(Debug)]
pub(crate) enum Node {
    /// Matches the empty string.
    Empty,
    /// One unit out of a set.
    Set(CharSet),
    /// An assertion that is the same in both engines.
    Look(Look),
    /// `^` of the `m` modifier.
    LineStart,
    /// `$` without the `m` modifier, and `\Z`.
    Dollar,
    /// A quantified part.
    Repeat {
        /// Least number of repetitions.
        min: u32,
        /// Greatest number of repetitions, if there is one.
        max: Option<u32>,
        /// True if more repetitions are tried first.
        greedy: bool,
        /// What is repeated.
        sub: Box<Node>,
    },
    /// A capturing group.
    Group(u32, Box<Node>),
    /// Parts that follow each other.
    Concat(Vec<Node>),
    /// Alternatives in order of preference.
    Alternation(Vec<Node>),
}

/// Deepest nesting of groups that is parsed. The walks over a tree recurse this deep.
const MAX_DEPTH: usize = 40;
/// Greatest count in a quantifier that an automaton is built for.
const MAX_COUNT: u32 = 1000;

/// Parses `pattern`, or gives it up to PCRE2.
pub(crate) fn classify(pattern: &[u8], modifiers: Modifiers) -> Option<Regular> {
    let unit = if modifiers.has(b'u') {
        Unit::Char
    } else {
        Unit::Byte
    };
    let text: Vec<u32> = match unit {
        Unit::Byte => pattern.iter().map(|&byte| u32::from(byte)).collect(),
        Unit::Char => std::str::from_utf8(pattern)
            .ok()?
            .chars()
            .map(u32::from)
            .collect(),
    };
    let flags = Flags {
        caseless: modifiers.has(b'i'),
        multi_line: modifiers.has(b'm'),
        dot_all: modifiers.has(b's'),
        extended: modifiers.has(b'x'),
        ungreedy: modifiers.has(b'U'),
    };
    let mut parser = Parser {
        text,
        at: 0,
        unit,
        groups: 0,
        names: Vec::new(),
        has_dollar: false,
    };
    let node = parser.alternation(flags, 0)?;
    // What is left over is a parenthesis that closes nothing.
    if parser.at < parser.text.len() || !node.agrees(true, 0) {
        return None;
    }
    let Parser {
        groups,
        names,
        has_dollar,
        ..
    } = parser;
    Some(Regular {
        node,
        groups,
        names,
        unit,
        has_dollar,
    })
}

impl Node {
    /// Least number of units that the part reads.
    fn min_len(&self) -> u64 {
        match self {
            Node::Empty | Node::Look(_) | Node::LineStart | Node::Dollar => 0,
            Node::Set(_) => 1,
            Node::Repeat { min, sub, .. } => u64::from(*min).saturating_mul(sub.min_len()),
            Node::Group(_, sub) => sub.min_len(),
            Node::Concat(parts) => parts
                .iter()
                .map(Node::min_len)
                .fold(0, |sum: u64, len| sum.saturating_add(len)),
            Node::Alternation(branches) => branches.iter().map(Node::min_len).min().unwrap_or(0),
        }
    }

    /// Checks the rules of the module for loops, `$` and `^`. `last` tells whether the pattern
    /// ends with this part, `after` how many units at least must follow it.
    fn agrees(&self, last: bool, after: u64) -> bool {
        match self {
            Node::Empty | Node::Look(_) | Node::Set(_) => true,
            Node::LineStart => after > 0,
            Node::Dollar => last,
            Node::Repeat {
                max: Some(1), sub, ..
            } => sub.agrees(last, after),
            Node::Repeat { sub, .. } => sub.min_len() > 0 && sub.agrees(false, 0),
            Node::Group(_, sub) => sub.agrees(last, after),
            Node::Alternation(branches) => branches.iter().all(|branch| branch.agrees(last, after)),
            Node::Concat(parts) => {
                let (mut last, mut after) = (last, after);
                parts.iter().rev().all(|part| {
                    let agrees = part.agrees(last, after);
                    last = false;
                    after = after.saturating_add(part.min_len());
                    agrees
                })
            }
        }
    }
}

/// Options that `(?…)` may change in the middle of a pattern.
#[derive(Clone, Copy)]
struct Flags {
    caseless: bool,
    multi_line: bool,
    dot_all: bool,
    extended: bool,
    ungreedy: bool,
}

/// A backslash sequence.
enum Escape {
    Char(u32),
    Set(CharSet),
    Node(Node),
}

struct Parser {
    /// The pattern in units.
    text: Vec<u32>,
    /// Index of the next unit.
    at: usize,
    unit: Unit,
    groups: usize,
    names: Vec<(Box<str>, usize)>,
    has_dollar: bool,
}

impl Parser {
    /// The unit `ahead` places on, if it is ASCII. Any other unit and the end read as NUL, which
    /// has no meaning in the syntax.
    fn peek(&self, ahead: usize) -> u8 {
        let unit = self
            .text
            .get(self.at.saturating_add(ahead))
            .copied()
            .unwrap_or(0);
        u8::try_from(unit).unwrap_or(0)
    }

    /// Takes the next unit.
    fn next(&mut self) -> Option<u32> {
        let unit = self.text.get(self.at).copied()?;
        self.at += 1;
        Some(unit)
    }

    /// Takes the next unit if it is `expected`.
    fn eat(&mut self, expected: u8) -> bool {
        let found = self.text.get(self.at) == Some(&u32::from(expected));
        self.at += usize::from(found);
        found
    }

    /// Alternatives up to a closing parenthesis, which is left, or to the end.
    fn alternation(&mut self, mut flags: Flags, depth: usize) -> Option<Node> {
        if depth > MAX_DEPTH {
            return None;
        }
        let mut branches = Vec::new();
        let mut parts = Vec::new();
        loop {
            self.skip_ignored(flags);
            if self.at >= self.text.len() || self.peek(0) == b')' {
                break;
            }
            if self.eat(b'|') {
                branches.push(concat(std::mem::take(&mut parts)));
                continue;
            }
            // An option setting lasts to the end of the group, later alternatives included.
            if let Some(part) = self.part(&mut flags, depth)? {
                parts.push(self.quantified(part, flags)?);
            }
        }
        let only = concat(parts);
        if branches.is_empty() {
            return Some(only);
        }
        branches.push(only);
        Some(Node::Alternation(branches))
    }

    /// Passes over what the `x` modifier ignores.
    fn skip_ignored(&mut self, flags: Flags) {
        while flags.extended && self.at < self.text.len() {
            match self.peek(0) {
                b' ' | b'\t'..=b'\r' => self.at += 1,
                b'#' => while !matches!(self.next(), None | Some(0x0a)) {},
                _ => return,
            }
        }
    }

    /// One part before its quantifier; `Some(None)` for an option setting.
    fn part(&mut self, flags: &mut Flags, depth: usize) -> Option<Option<Node>> {
        let unit = self.next()?;
        let node = match u8::try_from(unit).unwrap_or(0) {
            b'(' if self.peek(0) == b'*' => return None,
            b'(' => return self.group(flags, depth),
            b'[' => Node::Set(self.class(*flags)?),
            b'\\' => match self.escape(false)? {
                Escape::Char(unit) => self.literal(unit, *flags)?,
                Escape::Set(set) => Node::Set(set),
                Escape::Node(node) => node,
            },
            b'.' if flags.dot_all => Node::Set(CharSet::of(self.unit, &[(0, self.unit.max())])),
            b'.' => Node::Set(CharSet::escape(self.unit, b'N')?),
            b'^' if flags.multi_line => Node::LineStart,
            b'^' => Node::Look(Look::Start),
            b'$' if flags.multi_line => Node::Look(Look::EndLF),
            b'$' => self.dollar(),
            // A quantifier without anything to repeat.
            b'*' | b'+' | b'?' => return None,
            b'{' => {
                self.at -= 1;
                let Braces::Literal = self.braces() else {
                    return None;
                };
                self.at += 1;
                self.literal(unit, *flags)?
            }
            // PCRE2 ignores some characters beyond ASCII here.
            _ if flags.extended && unit > 0x7f => return None,
            _ => self.literal(unit, *flags)?,
        };
        Some(Some(node))
    }

    fn dollar(&mut self) -> Node {
        self.has_dollar = true;
        Node::Dollar
    }

    fn literal(&self, unit: u32, flags: Flags) -> Option<Node> {
        let mut set = CharSet::empty(self.unit);
        set.add_listed(unit, unit, flags.caseless)?;
        Some(Node::Set(set))
    }

    /// What follows an opening parenthesis, up to and with the closing one.
    fn group(&mut self, flags: &mut Flags, depth: usize) -> Option<Option<Node>> {
        let mut inner = *flags;
        let mut number = None;
        if self.eat(b'?') {
            match (self.peek(0), self.peek(1)) {
                (b'<', b'=' | b'!') => return None,
                (b'P', b'<') => {
                    self.at += 2;
                    number = Some(self.named(b'>')?);
                }
                (b'<', _) => {
                    self.at += 1;
                    number = Some(self.named(b'>')?);
                }
                (b'\'', _) => {
                    self.at += 1;
                    number = Some(self.named(b'\'')?);
                }
                _ => {
                    inner = self.options(*flags)?;
                    if self.eat(b')') {
                        *flags = inner;
                        return Some(None);
                    }
                    if !self.eat(b':') {
                        return None;
                    }
                }
            }
        } else {
            number = Some(self.numbered());
        }
        let body = self.alternation(inner, depth + 1)?;
        if !self.eat(b')') {
            return None;
        }
        Some(Some(match number {
            Some(number) => Node::Group(u32::try_from(number).ok()?, Box::new(body)),
            None => body,
        }))
    }

    fn numbered(&mut self) -> usize {
        self.groups += 1;
        self.groups
    }

    /// Letters between `(?` and `:` or `)`.
    fn options(&mut self, mut flags: Flags) -> Option<Flags> {
        let mut on = true;
        loop {
            match self.peek(0) {
                b'-' if on => on = false,
                b'i' => flags.caseless = on,
                b'm' => flags.multi_line = on,
                b's' => flags.dot_all = on,
                b'U' => flags.ungreedy = on,
                // Doubled, it means something else.
                b'x' if self.peek(1) != b'x' => flags.extended = on,
                b':' | b')' => return Some(flags),
                _ => return None,
            }
            self.at += 1;
        }
    }

    /// A group name up to `close`, and the number of the group.
    fn named(&mut self, close: u8) -> Option<usize> {
        let mut name = String::new();
        while !self.eat(close) {
            let byte = self.peek(0);
            let starts = byte.is_ascii_alphabetic() || byte == b'_';
            if !(starts || byte.is_ascii_digit() && !name.is_empty()) || name.len() >= 32 {
                return None;
            }
            name.push(char::from(byte));
            self.at += 1;
        }
        let taken = self.names.iter().any(|(other, _)| **other == *name);
        if name.is_empty() || taken {
            return None;
        }
        let number = self.numbered();
        self.names.push((name.into_boxed_str(), number));
        Some(number)
    }

    /// `part` with the quantifier that follows, if one does.
    fn quantified(&mut self, part: Node, flags: Flags) -> Option<Node> {
        self.skip_ignored(flags);
        let (min, max) = match self.peek(0) {
            b'*' => (0, None),
            b'+' => (1, None),
            b'?' => (0, Some(1)),
            b'{' => match self.braces() {
                Braces::Literal => return Some(part),
                Braces::Count { min, max, next } => {
                    self.at = next - 1;
                    (min, max)
                }
                Braces::Unsure => return None,
            },
            _ => return Some(part),
        };
        self.at += 1;
        // A quantified assertion has rules of its own.
        if matches!(part, Node::Look(_) | Node::LineStart | Node::Dollar) {
            return None;
        }
        let lazy = self.eat(b'?');
        self.skip_ignored(flags);
        if matches!(self.peek(0), b'*' | b'+' | b'?' | b'{') {
            return None;
        }
        Some(Node::Repeat {
            min,
            max,
            greedy: lazy == flags.ungreedy,
            sub: Box::new(part),
        })
    }

    /// Looks at the brace that comes next.
    fn braces(&self) -> Braces {
        let mut at = self.at + 1;
        let digits = |at: &mut usize| -> Option<u32> {
            let mut value: Option<u32> = None;
            while let Some(digit) = self
                .text
                .get(*at)
                .and_then(|u| char::from_u32(*u))
                .and_then(|c| c.to_digit(10))
            {
                value = Some(value.unwrap_or(0).saturating_mul(10).saturating_add(digit));
                *at += 1;
            }
            value
        };
        let is = |at: usize, byte: u8| self.text.get(at) == Some(&u32::from(byte));
        let Some(min) = digits(&mut at) else {
            let odd = self.text.get(at).is_none() || is(at, b',') || is(at, b' ') || is(at, b'\t');
            return if odd { Braces::Unsure } else { Braces::Literal };
        };
        let mut max = Some(min);
        if is(at, b',') {
            at += 1;
            max = digits(&mut at);
        }
        let greatest = max.unwrap_or(min);
        if !is(at, b'}') || greatest < min || greatest > MAX_COUNT || max == Some(0) {
            return Braces::Unsure;
        }
        Braces::Count {
            min,
            max,
            next: at + 1,
        }
    }

    /// What follows a backslash.
    fn escape(&mut self, in_class: bool) -> Option<Escape> {
        let unit = self.next()?;
        let byte = u8::try_from(unit).ok().filter(u8::is_ascii)?;
        Some(match byte {
            b'a' => Escape::Char(0x07),
            b'e' => Escape::Char(0x1b),
            b'f' => Escape::Char(0x0c),
            b'n' => Escape::Char(0x0a),
            b'r' => Escape::Char(0x0d),
            b't' => Escape::Char(0x09),
            b'0' => {
                let mut value = 0;
                for _ in 0..2 {
                    if let digit @ b'0'..=b'7' = self.peek(0) {
                        value = value * 8 + u32::from(digit - b'0');
                        self.at += 1;
                    }
                }
                Escape::Char(value)
            }
            b'x' => Escape::Char(self.hex()?),
            b'b' if in_class => Escape::Char(0x08),
            b'b' => Escape::Node(Node::Look(Look::WordAscii)),
            // Between the bytes of a character the automata would find it true.
            b'B' if !in_class && self.unit == Unit::Byte => {
                Escape::Node(Node::Look(Look::WordAsciiNegate))
            }
            b'A' if !in_class => Escape::Node(Node::Look(Look::Start)),
            b'z' if !in_class => Escape::Node(Node::Look(Look::End)),
            b'Z' if !in_class => Escape::Node(self.dollar()),
            b'N' if in_class || self.peek(0) == b'{' => return None,
            _ if byte.is_ascii_alphanumeric() => Escape::Set(CharSet::escape(self.unit, byte)?),
            _ => Escape::Char(unit),
        })
    }

    /// The digits of `\xhh` or `\x{h…}`.
    fn hex(&mut self) -> Option<u32> {
        let braced = self.eat(b'{');
        let mut value = 0;
        let mut digits = 0;
        while let Some(digit) = char::from(self.peek(0)).to_digit(16) {
            if digits == if braced { 6 } else { 2 } {
                break;
            }
            value = value * 16 + digit;
            digits += 1;
            self.at += 1;
        }
        let complete = if braced {
            digits > 0 && self.eat(b'}')
        } else {
            digits == 2
        };
        let surrogate = (0xd800..0xe000).contains(&value);
        (complete && value <= self.unit.max() && !surrogate).then_some(value)
    }

    /// What follows `[`, up to and with `]`.
    fn class(&mut self, flags: Flags) -> Option<CharSet> {
        // `[:alpha:]` that is no part of a class is a fault, which PCRE2 words.
        if self.is_posix() {
            return None;
        }
        let negated = self.eat(b'^');
        let mut set = CharSet::empty(self.unit);
        let mut first = true;
        while first || !self.eat(b']') {
            first = false;
            let low = match self.class_item(flags)? {
                Escape::Char(unit) => unit,
                Escape::Set(named) => {
                    set.union(&named);
                    // PCRE2 refuses a range that starts with a set.
                    if self.starts_range().is_some() {
                        return None;
                    }
                    continue;
                }
                Escape::Node(_) => return None,
            };
            let Some(range) = self.starts_range() else {
                set.add_listed(low, low, flags.caseless)?;
                continue;
            };
            self.at = range.end;
            let Escape::Char(high) = self.class_item(flags)? else {
                return None;
            };
            if high < low {
                return None;
            }
            set.add_listed(low, high, flags.caseless)?;
            // A hyphen after a range is odd enough to leave alone.
            if self.starts_range().is_some() {
                return None;
            }
        }
        if negated {
            set.negate();
        }
        Some(set)
    }

    /// The hyphen that comes next, if it stands between two items of a class.
    fn starts_range(&self) -> Option<Range<usize>> {
        let hyphen = self.peek(0) == b'-' && self.peek(1) != b']';
        hyphen.then_some(self.at..self.at + 1)
    }

    /// Whether PCRE2 takes the bracket before this for the beginning of `[:name:]`, `[.name.]` or `[=name=]`: when the mark
    /// comes again with a bracket behind it, before any other bracket. In `[.]` it does not.
    fn is_posix(&self) -> bool {
        let mark = self.peek(0);
        if !matches!(mark, b':' | b'.' | b'=') {
            return false;
        }
        let mut ahead = 1;
        while self.at + ahead + 1 < self.text.len() {
            match (self.peek(ahead), self.peek(ahead + 1)) {
                (b'\\', b']' | b'\\') => ahead += 1,
                (b']', _) => return false,
                (b'[', next) if next == mark => return false,
                (unit, b']') if unit == mark => return true,
                _ => {}
            }
            ahead += 1;
        }
        false
    }

    /// One item of a class: a unit, a set, or something else.
    fn class_item(&mut self, flags: Flags) -> Option<Escape> {
        let unit = self.next()?;
        match u8::try_from(unit).unwrap_or(0) {
            b'\\' => self.escape(true),
            b'[' if self.is_posix() => {
                if !self.eat(b':') {
                    return None;
                }
                let negated = self.eat(b'^');
                let mut name = Vec::new();
                while self.peek(0).is_ascii_lowercase() && name.len() < 8 {
                    name.push(self.peek(0));
                    self.at += 1;
                }
                if !(self.eat(b':') && self.eat(b']')) {
                    return None;
                }
                let set = CharSet::posix(self.unit, &name, flags.caseless)?;
                Some(Escape::Set(if negated { set.negated() } else { set }))
            }
            _ => Some(Escape::Char(unit)),
        }
    }
}

/// What an opening brace outside a class is.
enum Braces {
    /// An ordinary character.
    Literal,
    /// A quantifier that ends before `next`.
    Count {
        min: u32,
        max: Option<u32>,
        next: usize,
    },
    /// Something for PCRE2 to judge.
    Unsure,
}

fn concat(mut parts: Vec<Node>) -> Node {
    match (parts.pop(), parts.is_empty()) {
        (None, _) => Node::Empty,
        (Some(only), true) => only,
        (Some(last), false) => {
            parts.push(last);
            Node::Concat(parts)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn regular(pattern: &str, modifiers: &str) -> bool {
        let modifiers = Modifiers::parse(modifiers.as_bytes()).expect("known letters");
        classify(pattern.as_bytes(), modifiers).is_some()
    }

    #[test]
    fn the_common_subset_is_regular() {
        for pattern in [
            "",
            "abc",
            "a|b|",
            "^a.*b$",
            "(?i)a(?-i:b)",
            r"^(?<k>\w+)=(?P<v>.*?)(?'t';)?$",
            "a{2,3}?",
            "x{y}",
            r"[]a-z\d\-[:alpha:]]",
            r"[^\s<>]+@",
            r"\x41\x{42}\0\012",
            "(a|b)+c",
            "(a*)?",
            r"\A\bfoo\Z",
            "a(?:b$|c)",
            "[[a&&~~b]",
            "a[.]b",
            "[:][=a][.-/]",
            "[:a]b:]",
            "[[.]c",
            "}",
            "]",
            "(?:$)",
            r"(a)\/(b)",
        ] {
            assert!(regular(pattern, ""), "{pattern}");
        }
        assert!(regular("a b # c )\n [ ]", "x"));
        assert!(regular("é[à-ü]+", "u"));
        assert!(regular("(?m)^a$", "") && regular("^a|^b", "m"));
    }

    #[test]
    fn whatever_may_differ_goes_to_pcre2() {
        for pattern in [
            "(a*)*",
            "(a|b*)+",
            "(?:a?){2}",
            "$a",
            "(a$)*",
            r"\Z\n",
            "a++",
            "a*+",
            "(?>a)",
            "(?=a)",
            "(?<!a)b",
            r"(a)\1",
            r"\R",
            r"\K",
            r"\Qa\E",
            r"\G",
            r"\pL",
            r"\12",
            r"\cA",
            "a{,3}",
            "a{2",
            "a{ 2}",
            "a{0}",
            "a{2}{3}",
            "a**",
            "*a",
            "^*",
            r"\b?",
            "(?|a)",
            "(?#c)a",
            "(?R)",
            "(*UTF)a",
            "(*F)",
            "[z-a]",
            r"[\w-a]",
            r"[a-\w]",
            "[a-c-e]",
            "[[.a.]]",
            "[.a.]",
            "[:alpha:]",
            "[==]",
            "[[:foo:]]",
            "[a",
            "(a",
            "a)",
            r"a\",
            "(?<n>a)(?<n>b)",
            "(?n)(a)",
            "(?^)a",
            "(?xx)a",
            r"\x4",
            r"\o{1}",
            "a{1001}",
            r"\x{100}",
            "(?<1>a)",
            r"\é",
        ] {
            assert!(!regular(pattern, ""), "{pattern}");
        }
        assert!(!regular("^", "m") && !regular("(?:^|a)", "m") && !regular("a*^b*", "m"));
        assert!(!regular("é", "ui") && !regular(r"\B", "u") && !regular("a é", "x"));
        assert!(!regular("a+ ?", "x") && !regular("a{2} +", "x"));
    }

    #[test]
    fn nesting_beyond_the_limit_is_given_up() {
        let nested = |depth: usize| "(".repeat(depth) + "a" + &")".repeat(depth);
        assert!(regular(&nested(MAX_DEPTH), ""));
        assert!(!regular(&nested(MAX_DEPTH + 1), ""));
        assert!(!regular(&"(".repeat(60_000), ""));
    }
}
