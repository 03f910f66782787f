//! Turns "this token does not fit" into a message: what was found, what was expected, what to do.

use crate::diagnostic::Diagnostic;
use crate::span::{FileId, Span};
use crate::token::{Token, TokenKind};
use crate::words::{instead_of_function, instead_of_statement_word};

/// The terminals that the parser could have gone on with.
pub(crate) struct Expected {
    /// As the grammar calls them: `NAME`, and signs and keywords without quotes.
    terminals: Vec<String>,
}

impl Expected {
    /// Takes the list of the generated parser, where signs and keywords stand in quotes.
    pub(crate) fn new(terminals: Vec<String>) -> Self {
        let terminals = terminals
            .into_iter()
            .map(|name| name.trim_matches('"').to_owned())
            .collect();
        Self { terminals }
    }

    pub(crate) fn has(&self, terminal: &str) -> bool {
        self.terminals.iter().any(|name| name == terminal)
    }

    /// Whether a statement can start here.
    pub(crate) fn starts_stmt(&self) -> bool {
        self.has("ERROR_STMT")
    }

    pub(crate) fn starts_expr(&self) -> bool {
        self.has("ERROR_EXPR")
    }

    /// Whether a class member can start here.
    pub(crate) fn starts_member(&self) -> bool {
        self.has("ERROR_MEMBER")
    }

    /// Whether an arm of a `match` can start here.
    pub(crate) fn starts_arm(&self) -> bool {
        self.has("ERROR_ARM")
    }

    /// Whether an operand has just ended, so that an operator or a separator must follow.
    pub(crate) fn after_operand(&self) -> bool {
        self.has("==") || self.has("->")
    }

    /// The list in the reader's words, most specific first.
    pub(crate) fn summary(&self) -> Vec<String> {
        let mut list = Vec::new();
        let stmt = self.starts_stmt();
        let expr = self.starts_expr();
        let operand_done = self.after_operand();
        for terminal in &self.terminals {
            let terminal = terminal.as_str();
            let words = match terminal {
                "NAME" if !expr => Some("a name".to_owned()),
                "VAR" if !expr => Some("a variable".to_owned()),
                "STR" if !expr => Some("a string".to_owned()),
                "NAME" | "VAR" | "STR" | "END" => None,
                _ if terminal
                    .bytes()
                    .all(|b| b.is_ascii_uppercase() || b == b'_') =>
                {
                    None
                }
                // Covered by "a statement", "an expression" or "an operator".
                ";" if stmt => None,
                _ if stmt && !matches!(terminal, "}" | "else" | "case" | "default") => None,
                _ if expr && !stmt && starts_expression(terminal) => None,
                _ if operand_done && is_operator(terminal) => None,
                _ => Some(format!("`{terminal}`")),
            };
            list.extend(words);
        }
        // What ends or separates comes first.
        list.sort_by_key(|words| match words.as_str() {
            "`;`" | "`)`" | "`]`" | "`}`" | "`:`" => 0,
            "`,`" => 1,
            _ => 2,
        });
        if stmt {
            list.insert(0, "a statement".to_owned());
        } else if expr {
            list.insert(0, "an expression".to_owned());
        } else if operand_done {
            list.push("an operator".to_owned());
        }
        list
    }
}

fn starts_expression(terminal: &str) -> bool {
    matches!(
        terminal,
        "(" | "["
            | "!"
            | "not"
            | "~"
            | "+"
            | "-"
            | "++"
            | "--"
            | "true"
            | "false"
            | "none"
            | "array"
            | "builtin"
            | "function"
            | "cache"
            | "match"
            | "isset"
            | "unset"
            | "static"
            | "..."
    )
}

pub(crate) fn is_operator(terminal: &str) -> bool {
    matches!(
        terminal,
        "and" | "or" | "[" | "(" | "->" | "::" | "?" | "??" | "." | "++" | "--"
    ) || terminal.ends_with('=') && terminal != "=>"
        || terminal.bytes().all(|b| b"+-*/%&|^<>=!~".contains(&b)) && terminal != "=>"
}

/// The place of an error in the tokens.
pub(crate) struct Scene<'a> {
    tokens: &'a [Token],
    pub(crate) at: usize,
    /// Index of the first token of the unit.
    pub(crate) first: usize,
    pub(crate) expected: &'a Expected,
    pub(crate) source: &'a [u8],
    file: FileId,
}

/// Explains why the token at `at`, in the unit that starts at `first`, does not fit.
pub(crate) fn explain(
    tokens: &[Token],
    at: usize,
    first: usize,
    expected: &Expected,
    source: &[u8],
    file: FileId,
) -> Diagnostic {
    let scene = Scene {
        tokens,
        at,
        first,
        expected,
        source,
        file,
    };
    scene.special().unwrap_or_else(|| scene.general())
}

impl<'a> Scene<'a> {
    pub(crate) fn token(&self, index: usize) -> Option<Token> {
        self.tokens.get(index).copied()
    }

    /// The token at a distance from the error.
    pub(crate) fn near(&self, distance: isize) -> Option<Token> {
        self.token(self.at.checked_add_signed(distance)?)
    }

    pub(crate) fn kind(&self, distance: isize) -> Option<TokenKind> {
        self.near(distance).map(|token| token.kind)
    }

    pub(crate) fn text(&self, distance: isize) -> &'a [u8] {
        self.near(distance)
            .map_or(&b""[..], |token| token.text(self.source))
    }

    pub(crate) fn word(&self, distance: isize) -> &'a str {
        std::str::from_utf8(self.text(distance)).unwrap_or_default()
    }

    fn span(&self, distance: isize) -> Span {
        match (self.near(distance), self.tokens.last()) {
            (Some(token), _) => token.span(self.file),
            (None, Some(last)) => last.span(self.file).after(),
            (None, None) => Span::new(self.file, 0, 0),
        }
    }

    pub(crate) fn adjacent(&self, left: isize, right: isize) -> bool {
        matches!((self.near(left), self.near(right)), (Some(left), Some(right)) if left.end == right.start)
    }

    fn line_break_before(&self) -> bool {
        let (Some(before), Some(token)) = (self.near(-1), self.near(0)) else {
            return false;
        };
        let between = self
            .source
            .get(before.end as usize..token.start as usize)
            .unwrap_or_default();
        memchr::memchr(b'\n', between).is_some()
    }

    /// What was found, in words.
    fn found(&self) -> String {
        let Some(token) = self.near(0) else {
            return "end of file".to_owned();
        };
        match token.kind {
            TokenKind::EndOfBlock if self.kind(1) == Some(TokenKind::RBrace) => "`}`".to_owned(),
            TokenKind::EndOfBlock => "end of file".to_owned(),
            TokenKind::Name | TokenKind::Variable | TokenKind::Number => {
                format!("`{}`", self.word(0))
            }
            kind if kind.is_keyword() || kind.is_sign() => format!("`{}`", kind.name()),
            kind => kind.name().trim_start_matches("a ").to_owned(),
        }
    }

    fn error(&self, message: impl Into<String>) -> Diagnostic {
        // The end of a block has no width; show the bracket.
        let distance = isize::from(
            self.kind(0) == Some(TokenKind::EndOfBlock) && self.kind(1) == Some(TokenKind::RBrace),
        );
        Diagnostic::error(self.span(distance), message).expected(self.expected.summary())
    }

    fn general(&self) -> Diagnostic {
        let expected = self.expected.summary();
        // Something that should have stood before the line break is missing there, not here.
        let separator = expected.iter().find(|words| match words.as_str() {
            "`;`" | "`,`" | "`:`" | "`=>`" => true,
            "`(`" => expected.len() == 1,
            _ => false,
        });
        if let Some(separator) = separator
            && self.line_break_before()
            && !self.expected.starts_expr()
            && !self.expected.starts_stmt()
            && !self.expected.starts_member()
            && !self.expected.starts_arm()
            && self
                .kind(0)
                .is_some_and(|kind| kind != TokenKind::EndOfBlock && !kind.is_closer())
        {
            let message = format!("expected {}", list(&expected));
            let hint = match separator.as_str() {
                "`;`" => "end the statement with `;`".to_owned(),
                "`,`" => "separate the entries with `,`".to_owned(),
                "`(`" => self.hint().unwrap_or_else(|| "add `(`".to_owned()),
                other => format!("add {other}"),
            };
            let error = Diagnostic::error(self.span(-1).after(), message)
                .label(format!("{separator} is missing here"))
                .expected(expected.clone())
                .hint(self.hint_words().unwrap_or(hint));
            return match self.condition_before() {
                Some(condition) => error.also(condition, "or is an `if` missing before this?"),
                None => error,
            };
        }
        let found = self.found();
        let message = if expected.is_empty() {
            format!("unexpected {found}")
        } else {
            format!("unexpected {found}, expected {}", list(&expected))
        };
        let mut error = self.error(message);
        error.hint = self.hint();
        if let Some(before) = self.near(-1)
            && self.expected.starts_expr()
            && self.line_break_before()
            && is_operator(before.kind.name())
            && !before.kind.is_opener()
            && !before.kind.ends_operand()
        {
            let text = format!("an operand is missing behind this `{}`", before.kind.name());
            error = error.also(before.span(self.file), text);
        }
        error
    }

    /// Mistakes with a message of their own.
    fn special(&self) -> Option<Diagnostic> {
        let kind = self.kind(0)?;
        let first = self.token(self.first)?;
        if kind == TokenKind::Object {
            return Some(
                self.error("object statement was removed, use class")
                    .hint("declare `class Name { … }` and create objects with `Name()`"),
            );
        }
        // A function without a name is an expression that lacks its `;`, far behind its start.
        if first.kind == TokenKind::Function
            && self.expected.has(";")
            && self.kind(-1) == Some(TokenKind::RBrace)
            && self.at > self.first
        {
            let span = first.span(self.file);
            return Some(
                Diagnostic::error(span, "a function declaration needs a name, and an anonymous function a `;` behind it")
                    .expected(vec!["a name".to_owned()])
                    .hint("write `function name(…) { … }`, or `$f = function (…) { … };`"),
            );
        }
        if self.expected.has("catch") {
            let error = if self.line_break_before() || kind == TokenKind::EndOfBlock {
                Diagnostic::error(self.span(-1).after(), "expected `catch` after the block")
                    .label("`catch` is missing here")
            } else {
                self.error(format!("unexpected {}, expected `catch`", self.found()))
            };
            return Some(
                error
                    .expected(vec!["`catch`".to_owned()])
                    .hint("every `try { … }` is followed by `catch ($e) { … }`"),
            );
        }
        if let Some(error) = self
            .wrong_first_word()
            .or_else(|| self.wrong_function_word())
        {
            return Some(error);
        }
        if kind.is_keyword()
            && self.expected.has("NAME")
            && !self.expected.starts_expr()
            && !self.expected.starts_stmt()
        {
            let word = kind.name();
            return Some(
                self.error(format!(
                    "`{word}` is a reserved word and cannot be used as a name"
                ))
                .hint("choose another name"),
            );
        }
        if kind == TokenKind::Else {
            let hint = if self.kind(-1) == Some(TokenKind::Semi) {
                "an `else` follows one statement or one `{ … }`; is there a `;` too many, or are braces missing?"
            } else {
                "write `if (…) { … } else { … }`"
            };
            return self.expected.starts_stmt().then(|| {
                self.error("unexpected `else`: there is no `if` before it")
                    .hint(hint)
            });
        }
        if matches!(kind, TokenKind::Case | TokenKind::Default) && self.expected.starts_stmt() {
            let word = kind.name();
            return Some(self.error(format!(
                "unexpected `{word}`: it can stand only directly in a `switch`"
            )));
        }
        if let Some(before) = self.bracket_on_new_line() {
            return Some(
                Diagnostic::error(before.after(), "expected `;`")
                    .label("`;` is missing here")
                    .expected(vec!["`;`".to_owned()])
                    .hint("without it the `[` on the next line reads an element of what stands before it"),
            );
        }
        if let Some(before) = self.bracket_without_comma() {
            return Some(
                Diagnostic::error(before.after(), "expected `,`")
                    .label("`,` is missing here")
                    .also(self.span(0), "this stands only in an array of its own")
                    .expected(vec!["`,`".to_owned()])
                    .hint("without the `,` the `[` reads an element of what stands before it"),
            );
        }
        if kind == TokenKind::Catch && self.expected.starts_stmt() {
            let error = match self.block_before() {
                Some(block) => Diagnostic::error(block.before(), "`try` is missing here")
                    .also(self.span(0), "this `catch` has no `try`")
                    .expected(vec!["`try`".to_owned()]),
                None => self.error("unexpected `catch`: there is no `try` before it"),
            };
            return Some(error.hint("write `try { … } catch ($e) { … }`"));
        }
        None
    }

    /// The index of the bracket that is open at `end`.
    pub(crate) fn open_bracket(&self, end: usize) -> Option<usize> {
        let mut depth = 0_usize;
        for index in (0..end).rev() {
            match self.token(index)?.kind {
                kind if kind.is_closer() => depth += 1,
                kind if kind.is_opener() && depth == 0 => return Some(index),
                kind if kind.is_opener() => depth -= 1,
                _ => {}
            }
        }
        None
    }

    /// What stands before the `[` around the error, if that is an index only because a `;` is missing.
    fn bracket_on_new_line(&self) -> Option<Span> {
        if !matches!(self.kind(0), Some(TokenKind::Comma | TokenKind::FatArrow))
            || !self.expected.has("]")
        {
            return None;
        }
        let opener = self.open_bracket(self.at)?;
        let (bracket, before) = (self.token(opener)?, self.token(opener.checked_sub(1)?)?);
        let between = self
            .source
            .get(before.end as usize..bracket.start as usize)?;
        let index = bracket.kind == TokenKind::LBracket && before.kind.ends_operand();
        (index && between.contains(&b'\n')).then(|| before.span(self.file))
    }

    /// What stands before the `[` around an unexpected `=>`, if both are entries of one list that lack the `,` between them.
    fn bracket_without_comma(&self) -> Option<Span> {
        if self.kind(0) != Some(TokenKind::FatArrow) || !self.expected.has("]") {
            return None;
        }
        let opener = self.open_bracket(self.at)?;
        let (bracket, before) = (self.token(opener)?, self.token(opener.checked_sub(1)?)?);
        let around = self.token(self.open_bracket(opener)?)?.kind;
        let list = matches!(around, TokenKind::LParen | TokenKind::LBracket);
        (list
            && self.at > opener + 1
            && bracket.kind == TokenKind::LBracket
            && before.kind.ends_operand())
        .then(|| before.span(self.file))
    }

    /// The `(` that starts the unit and is closed right before the error: perhaps a condition.
    fn condition_before(&self) -> Option<Span> {
        let closer = self.at.checked_sub(1)?;
        let opener = self.token(self.first)?;
        (self.token(closer)?.kind == TokenKind::RParen && self.open_bracket(closer)? == self.first)
            .then(|| opener.span(self.file))
    }

    /// The `{` of the plain block that ends right before the error.
    fn block_before(&self) -> Option<Span> {
        let closer = self.at.checked_sub(1)?;
        if self.token(closer)?.kind != TokenKind::RBrace {
            return None;
        }
        let opener = self.open_bracket(closer)?;
        let before = opener.checked_sub(1).and_then(|index| self.token(index));
        let plain = before.is_none_or(|token| {
            matches!(
                token.kind,
                TokenKind::Semi | TokenKind::LBrace | TokenKind::RBrace | TokenKind::Name
            )
        });
        plain
            .then(|| self.token(opener).map(|token| token.span(self.file)))
            .flatten()
    }

    /// A statement that starts with a word which is none: the error shows only behind it.
    fn wrong_first_word(&self) -> Option<Diagnostic> {
        let first = self
            .token(self.first)
            .filter(|token| token.kind == TokenKind::Name)?;
        if self.at <= self.first {
            return None;
        }
        // With parentheses behind it, it may be an ordinary call; not so with a block or a header in them.
        let call = self.token(self.first + 1)?.kind == TokenKind::LParen;
        let inside = self.open_bracket(self.at) == Some(self.first + 1);
        let header = match self.kind(0)? {
            TokenKind::LBrace => self.kind(-1) == Some(TokenKind::RParen),
            TokenKind::As | TokenKind::Semi => inside,
            _ => false,
        };
        if call && !header {
            return None;
        }
        let word = first.text(self.source);
        let hint = instead_of_statement_word(word)?;
        let message = format!("unknown word `{}`", String::from_utf8_lossy(word));
        let expected = vec!["a statement".to_owned()];
        Some(
            Diagnostic::error(first.span(self.file), message)
                .expected(expected)
                .hint(hint),
        )
    }

    /// `functoin (…) {` inside an expression.
    fn wrong_function_word(&self) -> Option<Diagnostic> {
        if self.kind(0)? != TokenKind::LBrace || self.kind(-1)? != TokenKind::RParen {
            return None;
        }
        let opener = self.open_bracket(self.at - 1)?;
        let name = self
            .token(opener.checked_sub(1)?)
            .filter(|token| token.kind == TokenKind::Name)?;
        let text = name.text(self.source);
        let word = instead_of_function(text)?;
        let message = format!("unknown word `{}`", String::from_utf8_lossy(text));
        Some(
            Diagnostic::error(name.span(self.file), message)
                .expected(vec![format!("`{word}`")])
                .hint(format!("did you mean `{word}`?")),
        )
    }
}

/// `a, b or c`; long lists are cut.
fn list(words: &[String]) -> String {
    const SHOWN: usize = 6;
    let shown = words.get(..words.len().min(SHOWN)).unwrap_or_default();
    match shown {
        [] => "something else".to_owned(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}
