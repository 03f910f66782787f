//! The operators of the syntax tree and their spelling.

/// Defines an enum of operators with their spelling.
macro_rules! operators {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $(#[doc = concat!("`", $text, "`")] $(#[$doc])* $variant,)*
        }

        impl $name {
            /// How it is written.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }
        }
    };
}

operators! {
    /// Prefix operators.
    UnaryOp {
        /// Also written `not`.
        Not = "!",
        BitNot = "~",
        Plus = "+",
        Minus = "-",
    }
}

operators! {
    /// Operators that evaluate both operands.
    BinaryOp {
        Eq = "==",
        NotEq = "!=",
        Same = "===",
        NotSame = "!==",
        Matches = "=~",
        NotMatches = "!~",
        Less = "<",
        Greater = ">",
        LessEq = "<=",
        GreaterEq = ">=",
        BitOr = "|",
        BitXor = "^",
        BitAnd = "&",
        Concat = ".",
        ShiftLeft = "<<",
        ShiftRight = ">>",
        ShiftRightZero = ">>>",
        Add = "+",
        Sub = "-",
        Mul = "*",
        Div = "/",
        Rem = "%",
        Pow = "**",
    }
}

operators! {
    /// Operators that may leave out their right operand.
    LogicOp {
        Or = "or",
        And = "and",
    }
}

operators! {
    /// The null coalescing operator.
    CoalesceOp {
        Coalesce = "??",
    }
}

operators! {
    /// Increment and decrement.
    StepOp {
        Increment = "++",
        Decrement = "--",
    }
}

/// Assignment operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AssignOp {
    /// `=`
    Set,
    /// `+=`, `.=`, …; never a comparison.
    Compound(BinaryOp),
    /// `??=`
    Coalesce,
}

impl AssignOp {
    /// How it is written.
    #[must_use]
    pub fn text(self) -> String {
        match self {
            Self::Set => "=".to_owned(),
            Self::Compound(op) => format!("{}=", op.text()),
            Self::Coalesce => "??=".to_owned(),
        }
    }
}

impl BinaryOp {
    /// How tightly it binds: the levels of the language's table of precedence, higher is tighter.
    #[must_use]
    pub const fn level(self) -> u8 {
        match self {
            Self::Eq
            | Self::NotEq
            | Self::Same
            | Self::NotSame
            | Self::Matches
            | Self::NotMatches => 6,
            Self::Less | Self::Greater | Self::LessEq | Self::GreaterEq => 7,
            Self::BitOr => 8,
            Self::BitXor => 9,
            Self::BitAnd => 10,
            Self::Concat => 11,
            Self::ShiftLeft | Self::ShiftRight | Self::ShiftRightZero => 12,
            Self::Add | Self::Sub => 13,
            Self::Mul | Self::Div | Self::Rem => 14,
            Self::Pow => 16,
        }
    }
}

impl LogicOp {
    /// As [`BinaryOp::level`].
    #[must_use]
    pub const fn level(self) -> u8 {
        match self {
            Self::Or => 4,
            Self::And => 5,
        }
    }
}
