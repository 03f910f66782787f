//! The register bytecode: instructions, constants, functions, programs. Plain data, `Send + Sync`, no values of the VM.
//!
//! # Instruction format
//!
//! ```text
//!   0        8        16       24       32                              64
//!  ┌────────┬────────┬────────┬────────┬────────────────────────────────┐
//!  │   op   │   a    │   b    │   c    │               d                │
//!  └────────┴────────┴────────┴────────┴────────────────────────────────┘
//! ```
//!
//! `a`, `b`, `c` name registers of the running frame ([`MAX_REGISTERS`] of them), `d` is a jump target, a signed
//! number, or the index of a constant, a function, a path and the like. Where an instruction has a jump *and* a
//! small number, `b` and `c` together hold the number ([`Instr::imm`]).
//!
//! # Registers
//!
//! A frame's registers are its parameters, then the captured variables, then the other variables, then temporaries. A
//! callee's window starts at its first argument, so passing arguments copies nothing. On entry every register that
//! is not an argument is *undefined*; on return they all become so again. A variable that somebody shares (captured
//! by a closure, bound by `global`, a module's exported one) lives in a *cell*, and its register holds the cell.

use crate::Span;
use crate::data::DataImport;
use angarium_syntax::SourceMap;

/// Most registers of one function: what `a`, `b` and `c` can name.
pub const MAX_REGISTERS: usize = 256;

/// Defines the instructions: variant, operand format of the listing, documentation.
macro_rules! ops {
    ($($(#[doc = $doc:literal])+ $name:ident $format:literal,)*) => {
        /// An operation. In the descriptions `a`, `b`, `c` mean the values of these registers.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Op {
            $($(#[doc = $doc])+ $name,)*
        }

        impl Op {
            /// The name in listings.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Op::$name => stringify!($name),)* }
            }

            /// Which operands it has, for listings: `a b c` registers, `d` a number, `k` a constant, `n` a name, `j` a
            /// jump, `i` the number in `b` and `c`, `f` a function, `x` a built-in function, `p` a path, `l` a closure,
            /// `o` the parts of a text, `#` a count in `b`, `%` a count in `c`, `g` a global, `K` a constant in `b` and `c`.
            #[must_use]
            pub const fn format(self) -> &'static str {
                match self { $(Op::$name => $format,)* }
            }
        }
    };
}

ops! {
    // ---- Moves -------------------------------------------------------------------------------
    /// a := none
    LoadNone "a",
    /// a := true
    LoadTrue "a",
    /// a := false
    LoadFalse "a",
    /// a := the signed number d
    LoadInt "ad",
    /// a := constant d
    LoadK "ak",
    /// a := b; both hold it
    Copy "ab",
    /// a := b, then a+1 := c: two arguments of a call
    CopyTwo "abc",
    /// a := b; b becomes undefined
    Move "ab",
    /// a := undefined
    Clear "a",
    /// Throws "undefined variable $d" when a is undefined.
    Check "an",
    /// a := whether variable b was defined; b becomes undefined
    Unset "ab",
    /// a := whether variable b is defined; with c = 1 none does not count
    IsSet "ab",

    // ---- Shared variables --------------------------------------------------------------------
    /// Puts the value of register a into a new cell, which a then holds.
    Wrap "a",
    /// a := the cell of global d
    Global "ag",
    /// `global`: a (a cell) := the cell of global d; throws when the variable exists already as a local one
    BindGlobal "ag",
    /// a := an array of d new cells, for a function with more variables than registers
    NewFar "ad",
    /// a := cell d of b
    Far "abd",
    /// a := the value in cell b; throws "undefined variable $d" when there is none
    LoadCell "abn",
    /// a := the value in cell b, undefined when there is none
    PeekCell "ab",
    /// The value in cell a := b; throws when the cell is read-only
    StoreCell "ab",
    /// As StoreCell; b becomes undefined.
    MoveCell "ab",

    // ---- Arithmetic --------------------------------------------------------------------------
    /// a := b + c (language.md 6.2). With a = b the left operand is changed in place; so for all of these.
    Add "abc",
    /// a := b - c
    Sub "abc",
    /// a := b * c
    Mul "abc",
    /// a := b / c
    Div "abc",
    /// a := b % c
    Rem "abc",
    /// a := b ** c
    Pow "abc",
    /// a := b & c
    BitAnd "abc",
    /// a := b | c
    BitOr "abc",
    /// a := b ^ c
    BitXor "abc",
    /// a := b << c
    Shl "abc",
    /// a := b >> c
    Shr "abc",
    /// a := b >>> c
    UShr "abc",
    /// a := b + the number d
    AddI "abd",
    /// a := b - the number d
    SubI "abd",
    /// a := b * the number d
    MulI "abd",
    /// a := b / the number d
    DivI "abd",
    /// a := b % the number d
    RemI "abd",
    /// a := b & the number d
    BitAndI "abd",
    /// a := b | the number d
    BitOrI "abd",
    /// a := b ^ the number d
    BitXorI "abd",
    /// a := b << the number d
    ShlI "abd",
    /// a := b >> the number d
    ShrI "abd",
    /// a := b >>> the number d
    UShrI "abd",
    /// a := the number d - b; c is a free register
    IntSub "adb",
    /// a := the number d * b; c is a free register
    IntMul "adb",
    /// a := -b
    Neg "ab",
    /// a := number(b)
    Number "ab",
    /// a := whether b is false
    Not "ab",
    /// a := whether b is true
    Bool "ab",
    /// a := ~b
    BitNot "ab",
    /// a := number(a) + 1
    Inc "a",
    /// a := number(a) - 1
    Dec "a",
    /// a := the c strings of b, b+1 … joined; these become undefined
    Concat "ab%",
    /// a := the c strings of b, b+1 … joined, of which list d says where they are; those that are there become undefined
    Join "ab%o",
    /// a .= b, in place
    Append "ab",
    /// a .= constant d, in place
    AppendK "ak",

    // ---- Comparison --------------------------------------------------------------------------
    /// a := b == c
    Eq "abc",
    /// a := b != c
    Ne "abc",
    /// a := b === c
    Same "abc",
    /// a := b !== c
    NotSame "abc",
    /// a := b < c
    Lt "abc",
    /// a := b <= c
    Le "abc",
    /// a := b > c
    Gt "abc",
    /// a := b >= c
    Ge "abc",
    /// a := whether string b matches pattern c
    Match "abc",
    /// a := whether string b does not match pattern c
    NoMatch "abc",

    // ---- Jumps -------------------------------------------------------------------------------
    /// Goes to d.
    Jump "j",
    /// Goes to d if a is true.
    JumpT "aj",
    /// Goes to d if a is false.
    JumpF "aj",
    /// Goes to d if a is none or undefined.
    JumpNone "aj",
    /// Goes to d if a is neither none nor undefined.
    JumpSome "aj",
    /// Goes to d if a is not undefined.
    JumpDef "aj",
    /// Goes to d if a == b.
    JumpEq "abj",
    /// Goes to d if a != b.
    JumpNe "abj",
    /// Goes to d if a === b.
    JumpSame "abj",
    /// Goes to d if a !== b.
    JumpNotSame "abj",
    /// Goes to d if a < b.
    JumpLt "abj",
    /// Goes to d unless a < b.
    JumpNotLt "abj",
    /// Goes to d if a <= b.
    JumpLe "abj",
    /// Goes to d unless a <= b.
    JumpNotLe "abj",
    /// Goes to d if a < imm.
    JumpLtI "aij",
    /// Goes to d unless a < imm.
    JumpNotLtI "aij",
    /// Goes to d if a <= imm.
    JumpLeI "aij",
    /// Goes to d unless a <= imm.
    JumpNotLeI "aij",
    /// Goes to d if a > imm.
    JumpGtI "aij",
    /// Goes to d unless a > imm.
    JumpNotGtI "aij",
    /// Goes to d if a >= imm.
    JumpGeI "aij",
    /// Goes to d unless a >= imm.
    JumpNotGeI "aij",
    /// Goes to d if a == the constant imm.
    JumpEqK "aKj",
    /// Goes to d if a != the constant imm.
    JumpNeK "aKj",
    /// Goes back to d; charges fuel, as all the Loop instructions do.
    Loop "j",
    /// Goes back to d if a is true.
    LoopT "aj",
    /// Goes back to d if a < b.
    LoopLt "abj",
    /// Goes back to d if a <= b.
    LoopLe "abj",
    /// Goes back to d if a < imm.
    LoopLtI "aij",
    /// Goes back to d if a <= imm.
    LoopLeI "aij",
    /// Goes back to d if a > imm.
    LoopGtI "aij",
    /// Goes back to d if a >= imm.
    LoopGeI "aij",

    // ---- Elements ----------------------------------------------------------------------------
    /// a := b[c]; none when missing
    Index "abc",
    /// a := b[constant d]
    IndexK "abk",
    /// a := b[the number d]
    IndexI "abd",
    /// a := b[c], none where Index throws: for `isset` and `??`
    Peek "abc",
    /// a := whether element c of b exists
    IssetIndex "abc",
    /// a := b[c : c+1 : c+2]; a part that is none is missing
    Slice "abc",
    /// a := b->d (d: constant with the name)
    Property "abk",
    /// a := b->d, none where Property throws
    PeekProperty "abk",
    /// a := whether property d of b exists
    IssetProperty "abk",
    /// a[b] := c; a is a variable (or its cell), missing levels become arrays
    SetIndex "abc",
    /// As SetIndex; c becomes undefined.
    MoveIndex "abc",
    /// a[constant d] := b
    SetIndexK "abk",
    /// As SetIndexK; b becomes undefined.
    MoveIndexK "abk",
    /// a[] := b
    Push "ab",
    /// As Push; b becomes undefined.
    MovePush "ab",
    /// a(path d) := b; with c = 1 b becomes undefined
    SetPath "ab%p",
    /// a(path d) := a(path d) op b, in place; c is the [`PathOp`]
    Update "ab%p",
    /// a := whether b(path d) was there, which is removed
    UnsetPath "abp",

    /// a := b(path), and the c instructions behind, which would find it step by step, are left out; nothing when it is
    /// not there, or not in arrays alone
    GetPath "ab%p",

    // ---- Arrays ------------------------------------------------------------------------------
    /// a := an empty array with room for d entries; with b = 1 these will have keys of their own
    NewArray "ad",
    /// a := the list of the c values b, b+1 …; these become undefined
    List "ab%",
    /// Appends the c values b, b+1 … to array a; these become undefined.
    Extend "ab%",
    /// Appends the entries of array (or iterator) b to array a: string keys are kept, others renumbered.
    Spread "ab",
    /// Appends the values of array (or iterator) b to list a: for spread arguments.
    SpreadArgs "ab",
    /// a := the value at position d of array b; when there is none (or b is no array), none or, with c = 1, undefined
    Entry "abd%",
    /// a := the value at key c of array b; when there is none (or b is no array), none or, with d = 1, undefined
    EntryKey "abcd",
    /// a := the list of values of array b from position d on
    Rest "abd",

    // ---- Calls -------------------------------------------------------------------------------
    /// a := the result of function d with the b arguments a, a+1 …
    Call "a#f",
    /// c := the result of built-in function d with the b arguments a, a+1 …
    CallNative "ca#x",
    /// a := the length of text or array b; d is the built-in function that knows the length of all else
    Length "abx",
    /// a := the result of function value a with the b arguments a+1, a+2 …
    CallValue "a#",
    /// a := the result of method d (a name) of object c with the b arguments a+1, a+2 …; where c is not a, a is free
    CallMethod "ca#k",
    /// a := the result of function value a with the values of the list a+1 as arguments
    CallSpread "a",
    /// a := an instance of built-in class d with the b arguments a, a+1 …
    New "a#d",
    /// a := the result of function value a with the list a+2 as arguments, or what the cache d (a constant) has of it; the
    /// options are a+1
    Cached "ak",
    /// a := a pointer to function d
    LoadFunction "af",
    /// a := a pointer to built-in function d
    LoadNative "ax",
    /// a := the built-in class d as a function
    LoadClass "ad",
    /// a := a new closure as described by entry d of the function's closures
    Closure "al",
    /// Leaves the function with a.
    Return "a",
    /// Leaves the function with none.
    ReturnNone "",
    /// Throws a.
    Throw "a",
    /// Throws the Exception of a `match` without a hit for the value a.
    NoArm "a",
    /// Prints a.
    Echo "a",

    // ---- Classes and generators -----------------------------------------------------------------
    /// a := a new instance of class d, made with the b arguments a+1, a+2 …
    NewObject "a#d",
    /// a := class d as a function
    LoadUserClass "ad",
    /// a->d := b for a new instance, whatever the access to the property
    InitProperty "abk",
    /// Throws the Exception with the text of constant d.
    Fail "k",
    /// Hands a to the consumer of this generator and suspends it.
    Yield "a",
    /// Hands the key a and the value b to the consumer of this generator and suspends it.
    YieldPair "ab",

    // ---- Barriers ------------------------------------------------------------------------------
    /// Takes the lock of the name a (made a string), waiting for it.
    Lock "a",
    /// Enters the barrier whose lock was taken: a (its name) := a mark of it, b := the shared value, undefined when
    /// there is none. With c = 1 the barrier has a variable.
    Enter "ab%",
    /// Leaves the barrier a: stores the value b (or that in cell b), removes it when undefined. Nothing when it was left.
    Leave "ab",

    // ---- Iteration ---------------------------------------------------------------------------
    /// a, a+1 := an iteration over b; throws unless b is iterable
    Iterate "ab",
    /// b := the next value of the iteration a; goes to d at its end
    Next "abj",
    /// b, c := the next key and value of the iteration a; goes to d at its end
    NextPair "abcj",
}

/// An instruction: 8 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct Instr {
    /// What it does.
    pub op: Op,
    /// First register.
    pub a: u8,
    /// Second register, or a count, or the low half of [`Instr::imm`].
    pub b: u8,
    /// Third register, or a count, or the high half of [`Instr::imm`].
    pub c: u8,
    /// Jump target, index or number.
    pub d: u32,
}

const _: () = assert!(
    size_of::<Instr>() == 8,
    "the interpreter fetches one word an instruction"
);

impl Instr {
    /// An instruction.
    #[must_use]
    pub const fn new(op: Op, a: u8, b: u8, c: u8, d: u32) -> Instr {
        Instr { op, a, b, c, d }
    }

    /// The register that a call's result goes to.
    #[inline]
    #[must_use]
    pub const fn result(self) -> u8 {
        match self.op {
            Op::CallNative => self.c,
            _ => self.a,
        }
    }

    /// The signed number in `b` and `c`.
    #[inline]
    #[must_use]
    pub const fn imm(self) -> i16 {
        i16::from_le_bytes([self.b, self.c])
    }

    /// The index in `b` and `c`.
    #[inline]
    #[must_use]
    pub const fn short(self) -> u16 {
        u16::from_le_bytes([self.b, self.c])
    }

    /// `d` as a signed number.
    #[inline]
    #[must_use]
    pub const fn int(self) -> i32 {
        self.d as i32
    }
}

/// What [`Op::Update`] does with the old value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum PathOp {
    /// `+=`
    Add,
    /// `-=`
    Sub,
    /// `*=`
    Mul,
    /// `/=`
    Div,
    /// `%=`
    Rem,
    /// `**=`
    Pow,
    /// `.=`
    Concat,
    /// `&=`
    BitAnd,
    /// `|=`
    BitOr,
    /// `^=`
    BitXor,
    /// `<<=`
    Shl,
    /// `>>=`
    Shr,
    /// `>>>=`
    UShr,
    /// `++`
    Inc,
    /// `--`
    Dec,
}

impl PathOp {
    /// All of them; the index is the number in the instruction.
    pub const ALL: [PathOp; 15] = [
        PathOp::Add,
        PathOp::Sub,
        PathOp::Mul,
        PathOp::Div,
        PathOp::Rem,
        PathOp::Pow,
        PathOp::Concat,
        PathOp::BitAnd,
        PathOp::BitOr,
        PathOp::BitXor,
        PathOp::Shl,
        PathOp::Shr,
        PathOp::UShr,
        PathOp::Inc,
        PathOp::Dec,
    ];
}

/// One level of a path that is written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// `[register]`
    Key(u8),
    /// `[constant]`
    Const(u32),
    /// `[]`
    Append,
    /// `->constant`
    Property(u32),
    /// `[register : register+1 : register+2]`, only as the last step.
    Slice(u8),
}

/// Where a part of a text is that [`Op::Join`] puts together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// In its own register among the parts.
    Here,
    /// In a variable.
    Register(u8),
    /// It is a constant.
    Const(u32),
}

/// A constant.
#[derive(Clone, Debug, PartialEq)]
pub enum Const {
    /// `none`
    None,
    /// A boolean.
    Bool(bool),
    /// A number.
    Number(f64),
    /// A string.
    Str(Box<[u8]>),
    /// An array of constants: keys as written, cast when the program is linked.
    Array(Vec<(Option<Const>, Const)>),
    /// A regular expression literal.
    Regex {
        /// Between the slashes.
        pattern: Box<[u8]>,
        /// Modifier letters.
        modifiers: Box<str>,
        /// Where it stands: a bad pattern is a compile error there.
        span: Span,
    },
}

/// What a closure expression makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClosureSite {
    /// The function.
    pub function: u32,
    /// The registers of the enclosing frame that hold the captured cells.
    pub captures: Box<[u8]>,
}

/// A `try` range: a throw from an instruction in `start..end` goes on at `target` with the value in `register`.
///
/// Inner ranges come before the outer ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handler {
    /// First instruction.
    pub start: u32,
    /// After the last instruction.
    pub end: u32,
    /// The handler.
    pub target: u32,
    /// Takes the thrown value.
    pub register: u8,
}

/// A compiled function, or the top level of a module.
#[derive(Clone, Debug, Default)]
pub struct Proto {
    /// Its name; `main` or the path for top levels, `function` for anonymous ones.
    pub name: Box<str>,
    /// Number of parameters that must be given.
    pub required: u8,
    /// Number of parameters besides the rest parameter.
    pub declared: u8,
    /// Whether register `declared` takes the surplus arguments as a list.
    pub rest: bool,
    /// Number of captured variables; their cells come in the registers after the parameters.
    pub captures: u8,
    /// Number of registers that hold variables; they come first.
    pub variables: u16,
    /// Number of registers.
    pub registers: u16,
    /// Whether a call makes an iterator.
    pub generator: bool,
    /// Whether register 0 holds `$this`; the parameters follow it then.
    pub this: bool,
    /// The class whose private members the function may use.
    pub class: Option<u32>,
    /// The instructions; the last one never falls through.
    pub code: Vec<Instr>,
    /// Where throws are caught.
    pub handlers: Vec<Handler>,
    /// From which instruction on which place in the source counts.
    pub places: Vec<(u32, Span)>,
    /// Paths of written elements.
    pub paths: Vec<Box<[Step]>>,
    /// What texts are put together from.
    pub joins: Vec<Box<[Part]>>,
    /// Closure expressions.
    pub closures: Vec<ClosureSite>,
}

impl Proto {
    /// The place in the source of the instruction `pc`.
    #[must_use]
    pub fn place(&self, pc: u32) -> Option<Span> {
        let after = self.places.partition_point(|(start, _)| *start <= pc);
        self.places
            .get(after.checked_sub(1)?)
            .map(|(_, span)| *span)
    }
}

/// A variable that functions or modules share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Global {
    /// Its name without `$`.
    pub name: Box<str>,
    /// Whether the host predefines it, and if so whether scripts may write it.
    pub host: Option<Access>,
}

/// Whether scripts may write a predefined variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reading only.
    ReadOnly,
    /// `$context`
    Writable,
}

/// A class of the script.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Class {
    /// Its name.
    pub name: Box<str>,
    /// The constructor: sets the instance variables, then runs the script's own one.
    pub constructor: u32,
    /// The instance functions.
    pub methods: Vec<(Box<str>, u32)>,
    /// Members that only functions of the class may use.
    pub private: Vec<Box<str>>,
    /// Variables that only functions of the class may write.
    pub readonly: Vec<Box<str>>,
}

impl Proto {
    /// Whether so many arguments fit, and nothing but a frame has to be made for the call.
    #[inline]
    #[must_use]
    pub fn takes(&self, given: usize) -> bool {
        given >= usize::from(self.required)
            && given <= usize::from(self.declared)
            && !self.rest
            && !self.generator
    }
}

/// A compiled program: everything that is independent of a run.
#[derive(Clone, Debug, Default)]
pub struct Program {
    /// The functions. [`Program::main`] is one of them.
    pub protos: Vec<Proto>,
    /// The classes.
    pub classes: Vec<Class>,
    /// The constants.
    pub consts: Vec<Const>,
    /// Names of variables, for messages.
    pub names: Vec<Box<str>>,
    /// The shared variables.
    pub globals: Vec<Global>,
    /// The top level, which runs the imported modules first.
    pub main: u32,
    /// Number of globals that belong to the session and exist already (0 outside sessions).
    pub session_globals: u32,
    /// The data files that it imports.
    pub data: Vec<DataImport>,
    /// The `include` or `import` statement that first brought in each source; none for the main program.
    pub origins: Vec<Option<Span>>,
    /// The source texts, for the places of exceptions.
    pub sources: SourceMap,
}
