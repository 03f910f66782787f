//! What to do about a syntax error, guessed from the tokens around it.

use crate::explain::{Scene, is_operator};
use crate::token::TokenKind as Kind;
use crate::words::instead_of_word;

impl Scene<'_> {
    /// What to do about it, if that can be guessed.
    pub(crate) fn hint(&self) -> Option<String> {
        self.hint_words()
            .or_else(|| self.hint_combinations())
            .or_else(|| self.hint_signs())
            .or_else(|| self.hint_operands())
    }

    /// Words of other languages, and misspelt ones: at the error or before it.
    pub(crate) fn hint_words(&self) -> Option<String> {
        [0, -1]
            .into_iter()
            .filter(|distance| self.kind(*distance) == Some(Kind::Name))
            .find_map(|distance| instead_of_word(self.text(distance)))
    }

    /// Whether the error is in the parentheses of `isset` or `unset`.
    fn in_isset(&self) -> bool {
        let word = self
            .open_bracket(self.at)
            .and_then(|opener| opener.checked_sub(1));
        let word = word
            .and_then(|index| self.token(index))
            .map(|token| token.kind);
        matches!(word, Some(Kind::Isset | Kind::Unset))
    }

    /// Signs of other languages that are made of several tokens.
    fn hint_combinations(&self) -> Option<String> {
        let kind = self.kind(0)?;
        let before = self.kind(-1);
        let joined = self.adjacent(-1, 0);
        let hint = match (before, kind) {
            (Some(Kind::Less), Kind::Greater) if joined => "write `!=` for \"not equal\"",
            (Some(Kind::Assign), Kind::Less) if joined => "write `<=` for \"less or equal\"",
            (Some(Kind::LessEq), Kind::Greater) if joined => {
                "there is no `<=>`; compare with `<` and `==`"
            }
            (_, Kind::ShiftLeft) if self.kind(1) == Some(Kind::Less) && self.adjacent(0, 1) => {
                "a text of several lines is written 'EOT'…'EOT'"
            }
            (Some(Kind::Same | Kind::NotSame | Kind::Eq), Kind::Assign) => {
                "the operators are `==`, `===`, `!=` and `!==`"
            }
            (_, Kind::Colon) if self.kind(1) == Some(Kind::Assign) && self.adjacent(0, 1) => {
                "assign with `=`"
            }
            (Some(Kind::Question), Kind::Arrow) => {
                "there is no `?->`; a missing property gives none"
            }
            (Some(Kind::Matches | Kind::NotMatches), Kind::Slash) => {
                "a pattern is a literal #/…/ or a string ''/…/''"
            }
            (Some(Kind::Variable), Kind::LBrace) if joined => "elements are read with `[…]`",
            (Some(Kind::Static), Kind::Variable) => {
                "functions have no static variables; in a class write `static $x = …;`"
            }
            (Some(Kind::RParen), kind) if kind.starts_operand() && self.is_cast() => {
                "there are no casts; call number(…), string(…) or boolean(…)"
            }
            (Some(Kind::RParen), kind)
                if self.expected.starts_stmt() && is_operator(kind.name()) =>
            {
                "put the whole condition in one pair of parentheses"
            }
            (Some(Kind::RParen), Kind::Colon) => "functions have no return types",
            (Some(Kind::RParen), Kind::FatArrow) => {
                "there are no arrow functions; write `function ($x) { return …; }`"
            }
            (Some(Kind::LParen | Kind::Comma), Kind::Question) => "parameters have no types",
            (Some(Kind::Arrow), Kind::Variable) => {
                "the name of a property follows `->`; for a computed name write `$object[$name]`"
            }
            (Some(Kind::Dot), Kind::Number) if joined => "a number starts with a digit: `0.5`",
            (_, Kind::Dot) if self.kind(1) == Some(Kind::Number) && self.adjacent(0, 1) => {
                "a number starts with a digit: `0.5`"
            }
            (Some(Kind::Dot), Kind::Semi | Kind::EndOfBlock | Kind::RParen)
                if self.kind(-2) == Some(Kind::Number) && self.adjacent(-2, -1) =>
            {
                "a number does not end in a point: write `5` or `5.0`"
            }
            (_, Kind::Colon) if self.kind(1) == Some(Kind::Colon) && self.adjacent(0, 1) => {
                "`::` follows the name of a class or `static`; use `->` for an object"
            }
            (Some(Kind::Cache), _) => "write the options first: `cache [\"ttl\" => 60] f(…)`",
            _ => return None,
        };
        Some(hint.to_owned())
    }

    /// `(int)` and the like before the error.
    fn is_cast(&self) -> bool {
        self.kind(-3) == Some(Kind::LParen)
            && matches!(
                self.text(-2),
                b"int"
                    | b"integer"
                    | b"float"
                    | b"double"
                    | b"number"
                    | b"string"
                    | b"bool"
                    | b"boolean"
                    | b"array"
                    | b"object"
            )
    }

    /// The keyword at the start of the broken statement or label.
    fn keyword(&self) -> Option<Kind> {
        self.token(self.first).map(|token| token.kind)
    }

    fn hint_signs(&self) -> Option<String> {
        let kind = self.kind(0)?;
        let before = self.kind(-1);
        let operand_expected = self.expected.starts_expr();
        let hint = match kind {
            Kind::FatArrow if matches!(self.keyword(), Some(Kind::If | Kind::While)) => {
                "to compare write `>=`"
            }
            Kind::FatArrow => {
                "`=>` stands only in arrays, `foreach`, `match`, `barrier` and `yield`"
            }
            Kind::LBrace if operand_expected && !self.expected.starts_stmt() => {
                "arrays are written `[\"key\" => value]`"
            }
            Kind::LBrace if before == Some(Kind::RParen) => {
                "a block follows `if`, `while`, `for`, `foreach`, `switch`, `function` …: is such a word missing at the start?"
            }
            Kind::LParen if self.keyword() == Some(Kind::Class) => {
                "the parameters belong to the `constructor` inside the class"
            }
            Kind::Closure => {
                "only anonymous functions capture variables; in a named one use `global` or a parameter"
            }
            Kind::Comma if self.in_isset() => {
                "it takes one argument; join several calls with `and`"
            }
            Kind::Comma if self.keyword() == Some(Kind::Echo) => {
                "`echo` takes one value; join text with `.`"
            }
            Kind::Comma if self.keyword() == Some(Kind::Case) => {
                "a label has one value; write `case 1: case 2:`"
            }
            Kind::Comma if self.keyword() == Some(Kind::Foreach) => {
                "write `foreach ($list as $key => $value)`"
            }
            Kind::Colon if self.expected.has("=>") => "write `=>` between key and value",
            Kind::Assign => "assign with `=` to a variable, compare with `==`",
            Kind::Amp if operand_expected || self.expected.has("VAR") => {
                "there are no references: values are copied"
            }
            Kind::Scope => "`::` follows a class name or `static`",
            Kind::Semi | Kind::RParen
                if self.expected.has(":")
                    && !operand_expected
                    && self.keyword() != Some(Kind::Case) =>
            {
                "`? … :` needs both values; with one write `??` or `?:`"
            }
            Kind::Semi if operand_expected && !self.expected.after_operand() => {
                "something is missing before the `;`"
            }
            _ if self.expected.has("builtin") && !operand_expected => {
                "only functions and static methods can be cached: `cache […] f(…)`"
            }
            _ => return None,
        };
        Some(hint.to_owned())
    }

    /// A name where a variable belongs, and two operands in a row.
    fn hint_operands(&self) -> Option<String> {
        let kind = self.kind(0)?;
        let before = self.kind(-1)?;
        if kind == Kind::Name && self.expected.has("VAR") && !self.expected.starts_expr() {
            if self.kind(1) == Some(Kind::Variable) {
                if self.kind(-2) == Some(Kind::Catch) {
                    return Some("every exception is caught: write `catch ($e)`".to_owned());
                }
                return Some("parameters have no types".to_owned());
            }
            return Some(format!(
                "a variable starts with `$`: did you mean `${}`?",
                self.word(0)
            ));
        }
        if before.is_string() && kind.starts_operand() || kind.is_string() && before.ends_operand()
        {
            return Some(match (self.expected.has(";"), self.expected.has(",")) {
                (false, true) => "separate them with `,`, or join text with `.`".to_owned(),
                _ => "join text with `.`".to_owned(),
            });
        }
        if before.ends_operand() && kind.starts_operand() && self.expected.has(",") {
            return Some("separate them with `,`".to_owned());
        }
        if self.expected.has(";") && (kind.starts_operand() || kind.starts_stmt_only()) {
            return Some("is a `;` or an operator missing before it?".to_owned());
        }
        if matches!(
            before,
            Kind::If | Kind::While | Kind::Switch | Kind::Foreach | Kind::For
        ) && kind != Kind::LParen
        {
            return Some(format!(
                "put the condition in parentheses: `{} (…)`",
                before.name()
            ));
        }
        None
    }
}
