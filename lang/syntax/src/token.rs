//! The tokens of HSL.

use crate::span::{FileId, Span};
use logos::Logos;

/// A token with its place in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// What it is.
    pub kind: TokenKind,
    /// Offset of its first byte.
    pub start: u32,
    /// Offset after its last byte.
    pub end: u32,
}

impl Token {
    /// Its place in `file`.
    #[must_use]
    pub fn span(self, file: FileId) -> Span {
        Span::new(file, self.start, self.end)
    }

    /// Its bytes in `source`.
    #[must_use]
    pub fn text(self, source: &[u8]) -> &[u8] {
        source
            .get(self.start as usize..self.end as usize)
            .unwrap_or_default()
    }
}

/// Defines the token kinds: the words and signs with their one spelling, then the others with the
/// pattern that logos looks for and the words that messages call them by.
macro_rules! token_kinds {
    (
        keywords { $($keyword:ident $word:literal,)* }
        signs { $($sign:ident $text:literal,)* }
        others { $($(#[$attr:meta])* $other:ident $name:literal,)* }
    ) => {
        /// The kinds of [`Token`].
        #[derive(Logos, Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[logos(utf8 = false, skip b"[ \t\r\n]+")]
        #[repr(u8)]
        pub enum TokenKind {
            $(#[token($word)] #[doc = concat!("`", $word, "`")] $keyword,)*
            $(#[token($text)] #[doc = concat!("`", $text, "`")] $sign,)*
            $($(#[$attr])* $other,)*
        }

        impl TokenKind {
            /// Its spelling if it has only one, or the words for its kind.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$keyword => $word,)*
                    $(Self::$sign => $text,)*
                    $(Self::$other => $name,)*
                }
            }

            /// Whether it is a reserved word.
            #[must_use]
            pub const fn is_keyword(self) -> bool {
                matches!(self, $(Self::$keyword)|*)
            }

            /// Whether it is an operator or punctuation.
            #[must_use]
            pub const fn is_sign(self) -> bool {
                matches!(self, $(Self::$sign)|*)
            }
        }

        /// The reserved words.
        pub const KEYWORDS: &[&str] = &[$($word),*];
    };
}

token_kinds! {
    keywords {
        And "and",
        Array "array",
        As "as",
        Barrier "barrier",
        Break "break",
        Builtin "builtin",
        Cache "cache",
        Case "case",
        Catch "catch",
        Class "class",
        Closure "closure",
        Constructor "constructor",
        Continue "continue",
        Default "default",
        Echo "echo",
        Else "else",
        False "false",
        For "for",
        Foreach "foreach",
        Forever "forever",
        From "from",
        Function "function",
        Global "global",
        If "if",
        Import "import",
        Include "include",
        IncludeOnce "include_once",
        Isset "isset",
        Match "match",
        None "none",
        Not "not",
        Object "object",
        Or "or",
        Private "private",
        Readonly "readonly",
        Return "return",
        Static "static",
        Switch "switch",
        Throw "throw",
        True "true",
        Try "try",
        Unset "unset",
        While "while",
        With "with",
        Yield "yield",
        Debug "__debug",
    }
    signs {
        LParen "(",
        RParen ")",
        LBracket "[",
        RBracket "]",
        LBrace "{",
        RBrace "}",
        Comma ",",
        Semi ";",
        Colon ":",
        Scope "::",
        Arrow "->",
        FatArrow "=>",
        Question "?",
        Coalesce "??",
        Ellipsis "...",
        Assign "=",
        AddAssign "+=",
        SubAssign "-=",
        MulAssign "*=",
        DivAssign "/=",
        RemAssign "%=",
        PowAssign "**=",
        ConcatAssign ".=",
        CoalesceAssign "??=",
        BitAndAssign "&=",
        BitOrAssign "|=",
        BitXorAssign "^=",
        ShiftLeftAssign "<<=",
        ShiftRightAssign ">>=",
        ShiftRightZeroAssign ">>>=",
        Eq "==",
        NotEq "!=",
        Same "===",
        NotSame "!==",
        Less "<",
        Greater ">",
        LessEq "<=",
        GreaterEq ">=",
        Matches "=~",
        NotMatches "!~",
        Plus "+",
        Minus "-",
        Star "*",
        Slash "/",
        Percent "%",
        StarStar "**",
        Dot ".",
        Increment "++",
        Decrement "--",
        Amp "&",
        Pipe "|",
        Caret "^",
        Tilde "~",
        ShiftLeft "<<",
        ShiftRight ">>",
        ShiftRightZero ">>>",
        Bang "!",
        AmpAmp "&&",
        PipePipe "||",
    }
    others {
        /// A function, class, namespace or member.
        #[regex("[A-Za-z_][A-Za-z0-9_]*")]
        Name "a name",
        /// `$name`
        #[regex(r"\$[A-Za-z_][A-Za-z0-9_]*")]
        Variable "a variable",
        /// A number; logos finds its first digit.
        #[regex("[0-9]")]
        Number "a number",
        /// A double-quoted string without escapes and interpolation; logos finds the quote.
        #[token("\"")]
        Str "a string",
        /// A double-quoted string with a backslash or a dollar sign in it.
        EscapedStr "a string",
        /// A raw string; logos finds the first quote.
        #[token("'")]
        RawStr "a string",
        /// A string with an error that is reported; its value is not known.
        BadStr "a string",
        /// `#/pattern/modifiers`; logos finds its start.
        #[token("#/")]
        Regex "a regular expression",
        /// A regex literal with an error that is reported.
        BadRegex "a regular expression",
        /// `// …`; only between lexer and caller.
        #[token("//")]
        LineComment "a comment",
        /// `/* … */`; only between lexer and caller.
        #[token("/*")]
        BlockComment "a comment",
        /// Stands before the `}` of a block and at the end of the file, where a `;` may be left out.
        EndOfBlock "the end of the block",
        /// Stands for a broken statement.
        ErrorStmt "a statement",
        /// Ends what belongs to a broken statement or member.
        ErrorEnd "the end of a statement",
        /// Stands for a broken expression.
        ErrorExpr "an expression",
        /// Stands for broken parentheses after a keyword.
        ErrorParens "parentheses",
        /// Stands for a broken class member.
        ErrorMember "a class member",
        /// Stands for a broken match arm.
        ErrorArm "a match arm",
        /// Stands for the broken name of a class.
        ErrorName "a name",
    }
}

impl TokenKind {
    /// Whether an expression can end with it.
    #[must_use]
    pub const fn ends_operand(self) -> bool {
        self.is_literal()
            || matches!(
                self,
                Self::Name
                    | Self::Variable
                    | Self::RParen
                    | Self::RBracket
                    | Self::RBrace
                    | Self::Increment
                    | Self::Decrement
                    | Self::ErrorExpr
            )
    }

    /// Whether it starts an operand and can never follow one directly, so that between it and an
    /// operand before it something is missing.
    #[must_use]
    pub const fn starts_operand(self) -> bool {
        self.is_literal()
            || matches!(
                self,
                Self::Name
                    | Self::Variable
                    | Self::Function
                    | Self::Array
                    | Self::Builtin
                    | Self::Cache
                    | Self::Match
                    | Self::Isset
                    | Self::Unset
                    | Self::ErrorExpr
            )
    }

    /// Whether it is a literal of one token.
    #[must_use]
    pub const fn is_literal(self) -> bool {
        matches!(
            self,
            Self::Number
                | Self::Str
                | Self::EscapedStr
                | Self::RawStr
                | Self::BadStr
                | Self::Regex
                | Self::BadRegex
                | Self::True
                | Self::False
                | Self::None
        )
    }

    /// Whether it is a string of any kind.
    #[must_use]
    pub const fn is_string(self) -> bool {
        matches!(
            self,
            Self::Str | Self::EscapedStr | Self::RawStr | Self::BadStr
        )
    }

    /// Whether it can stand nowhere but at the start of a statement (or of a `case`), so that an
    /// unfinished statement before it must end there.
    #[must_use]
    pub const fn starts_stmt_only(self) -> bool {
        matches!(
            self,
            Self::Barrier
                | Self::Break
                | Self::Case
                | Self::Class
                | Self::Continue
                | Self::Echo
                | Self::For
                | Self::Foreach
                | Self::Forever
                | Self::Global
                | Self::If
                | Self::Import
                | Self::Include
                | Self::IncludeOnce
                | Self::Object
                | Self::Return
                | Self::Switch
                | Self::Throw
                | Self::Try
                | Self::While
                | Self::Yield
                | Self::Debug
        )
    }

    /// Whether recovery has put it in for something broken.
    #[must_use]
    pub const fn is_placeholder(self) -> bool {
        matches!(
            self,
            Self::ErrorStmt
                | Self::ErrorEnd
                | Self::ErrorExpr
                | Self::ErrorParens
                | Self::ErrorMember
                | Self::ErrorArm
                | Self::ErrorName
        )
    }

    /// Whether it is `(`, `[` or `{`.
    #[must_use]
    pub const fn is_opener(self) -> bool {
        matches!(self, Self::LParen | Self::LBracket | Self::LBrace)
    }

    /// Whether it is `)`, `]` or `}`.
    #[must_use]
    pub const fn is_closer(self) -> bool {
        matches!(self, Self::RParen | Self::RBracket | Self::RBrace)
    }

    /// The closing bracket for an opening one, and the other way round.
    #[must_use]
    pub const fn partner(self) -> Self {
        match self {
            Self::LParen => Self::RParen,
            Self::LBracket => Self::RBracket,
            Self::LBrace => Self::RBrace,
            Self::RParen => Self::LParen,
            Self::RBracket => Self::LBracket,
            Self::RBrace => Self::LBrace,
            other => other,
        }
    }
}
