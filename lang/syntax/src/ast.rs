//! The syntax tree: what the grammar of HSL says, and nothing that a later pass finds out.
//!
//! # Shape
//!
//! Everything that a script can repeat without nesting is a flat list here: a chain of
//! left-associative operators is one [`Chain`], postfix operators are the links of one [`Postfix`],
//! `else if` is one more [`IfArm`], `a ? b : c ? d : e` one more [`TernaryArm`]. What is left nests
//! at most [`MAX_TREE_DEPTH`] nodes deep, because the parser refuses more. So dropping, cloning and
//! walking a tree by plain recursion is safe; a walker may spend about 2 KiB of stack on a level.
//!
//! Parentheses leave no node. Every node has a span, and every operator its own.
//!
//! Names and texts are owned, so that a tree outlives its source.

use crate::depth::Depth;
pub use crate::operator::{AssignOp, BinaryOp, CoalesceOp, LogicOp, StepOp, UnaryOp};
use crate::span::Span;

/// How deep brackets, blocks, prefix operators and assignments may nest in a source text.
pub const MAX_NESTING: u16 = 256;

/// How many [`Expr`] and [`Stmt`] nodes lie at most on the way from the root to a leaf. Higher than
/// [`MAX_NESTING`], because `(1 + 2 * x)` is two nodes in one pair of brackets.
pub const MAX_TREE_DEPTH: u16 = 512;

/// A whole file.
#[derive(Clone, Debug, Default)]
pub struct Program {
    /// The statements.
    pub body: Vec<Stmt>,
    /// The file's text.
    pub span: Span,
}

/// The name of a function, class, namespace or member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// The word.
    pub text: Box<str>,
    /// Its place.
    pub span: Span,
}

/// A variable: `$name`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// The word after the `$`.
    pub name: Box<str>,
    /// Its place, with the `$`.
    pub span: Span,
}

/// A string without interpolation, where the grammar wants nothing else (paths).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StrLit {
    /// Its bytes.
    pub value: Box<[u8]>,
    /// Its place, with the quotes.
    pub span: Span,
}

// ---------------------------------------------------------------------------------------------
// Statements
// ---------------------------------------------------------------------------------------------

/// A statement.
#[derive(Clone, Debug)]
pub struct Stmt {
    /// What it is.
    pub kind: StmtKind,
    /// From its first token to its `;` or `}`.
    pub span: Span,
    pub(crate) depth: Depth,
}

/// The kinds of [`Stmt`].
#[derive(Clone, Debug)]
pub enum StmtKind {
    /// `;`
    Empty,
    /// `e;`
    Expr(Expr),
    /// `echo e;`
    Echo(Expr),
    /// `return;`, `return e;`
    Return(Option<Expr>),
    /// `break;`
    Break,
    /// `continue;`
    Continue,
    /// `throw e;`
    Throw(Expr),
    /// `global $a, $b;`
    Global(Vec<Variable>),
    /// `yield v;`, `yield k => v;`
    Yield(Box<Yield>),
    /// `include "f";`, `include_once "f";`
    Include {
        /// `include_once`
        once: bool,
        /// `"f"`
        path: StrLit,
    },
    /// `import … from "m";`
    Import(Box<Import>),
    /// `{ … }`
    Block(Block),
    /// `if (c) s else if (c) s else s`
    If {
        /// The `if` and every `else if`; at least one.
        arms: Vec<IfArm>,
        /// The last `else`.
        otherwise: Option<Box<Stmt>>,
    },
    /// `while (c) s`
    While(Box<While>),
    /// `forever s`
    Forever(Box<Stmt>),
    /// `for (init; c; step) s`
    For(Box<For>),
    /// `foreach (e as $k => $v) s`
    ForEach(Box<ForEach>),
    /// `switch (e) { … }`
    Switch(Box<Switch>),
    /// `try { … } catch ($e) { … }`
    Try(Box<Try>),
    /// `barrier e => $v { … }`
    Barrier(Box<Barrier>),
    /// `function name(…) { … }`
    Function(Box<Function>),
    /// `class Name { … }`
    Class(Box<ClassDecl>),
    /// `__debug ["SESSION", "POINT"] s`
    Debug(Box<Debug>),
    /// A statement that could not be read; its error is reported. The blocks inside it that could be
    /// read are kept, so that their errors are found.
    Error(Vec<Block>),
}

/// `{ … }`
#[derive(Clone, Debug)]
pub struct Block {
    /// The statements.
    pub stmts: Vec<Stmt>,
    /// With the braces.
    pub span: Span,
}

/// `if (condition) body`
#[derive(Clone, Debug)]
pub struct IfArm {
    /// The condition.
    pub condition: Expr,
    /// What runs when it holds.
    pub body: Stmt,
    /// From `if` to the end of the body.
    pub span: Span,
}

/// `yield key => value`
#[derive(Clone, Debug)]
pub struct Yield {
    /// The key.
    pub key: Option<Expr>,
    /// The value.
    pub value: Expr,
}

/// `while (condition) body`
#[derive(Clone, Debug)]
pub struct While {
    /// Checked before each round.
    pub condition: Expr,
    /// The body.
    pub body: Stmt,
}

/// `for (init; condition; step) body`
#[derive(Clone, Debug)]
pub struct For {
    /// Evaluated once, before everything else.
    pub init: Vec<Expr>,
    /// Checked before each round; none means always.
    pub condition: Option<Expr>,
    /// Evaluated after each round.
    pub step: Vec<Expr>,
    /// The body.
    pub body: Stmt,
}

/// `foreach (subject as key => value) body`
#[derive(Clone, Debug)]
pub struct ForEach {
    /// What is iterated.
    pub subject: Expr,
    /// Where the key goes.
    pub key: Option<Target>,
    /// Where the value goes.
    pub value: Target,
    /// The body.
    pub body: Stmt,
}

/// `switch (subject) { … }`
#[derive(Clone, Debug)]
pub struct Switch {
    /// What is compared.
    pub subject: Expr,
    /// The cases in their order; at most one is `default`.
    pub cases: Vec<Case>,
}

/// `case value: body`, `default: body`
#[derive(Clone, Debug)]
pub struct Case {
    /// What the subject is compared with; none for `default`.
    pub value: Option<Expr>,
    /// The statements up to the next case.
    pub body: Vec<Stmt>,
    /// From `case` to the end of the body.
    pub span: Span,
    /// The label, from `case` to `:`.
    pub label: Span,
}

/// `try body catch (variable) handler`
#[derive(Clone, Debug)]
pub struct Try {
    /// What is tried.
    pub body: Block,
    /// Takes the thrown value.
    pub variable: Variable,
    /// Runs after a throw.
    pub handler: Block,
}

/// `barrier name => variable body`
#[derive(Clone, Debug)]
pub struct Barrier {
    /// The barrier's name.
    pub name: Expr,
    /// Takes the shared value and gives it back.
    pub variable: Option<Variable>,
    /// What one execution at a time runs.
    pub body: Block,
}

/// `__debug [session, point] body`
#[derive(Clone, Debug)]
pub struct Debug {
    /// The debug session.
    pub session: StrLit,
    /// The point in it.
    pub point: StrLit,
    /// The statement behind it.
    pub body: Stmt,
}

/// `import what from "path"`
#[derive(Clone, Debug)]
pub struct Import {
    /// What is bound.
    pub what: ImportWhat,
    /// The module or data file.
    pub path: StrLit,
}

/// What an [`Import`] binds.
#[derive(Clone, Debug)]
pub enum ImportWhat {
    /// `{ a, $b as $c }`
    Symbols(Vec<ImportSymbol>),
    /// `* as name`
    Namespace(Name),
    /// `$variable from "file" with options`
    Data {
        /// The variable.
        variable: Variable,
        /// The options, an array literal.
        options: Option<Vec<Element>>,
    },
}

/// `symbol as alias` in an import.
#[derive(Clone, Debug)]
pub struct ImportSymbol {
    /// Its name in the module.
    pub symbol: ImportName,
    /// Its name here, if that is another one. Of the same kind as `symbol`.
    pub alias: Option<ImportName>,
    /// The whole entry.
    pub span: Span,
}

/// A symbol of a module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImportName {
    /// A function or class.
    Name(Name),
    /// A variable.
    Variable(Variable),
}

impl ImportName {
    /// Its place.
    #[must_use]
    pub fn span(&self) -> Span {
        match self {
            Self::Name(name) => name.span,
            Self::Variable(variable) => variable.span,
        }
    }
}

// ---------------------------------------------------------------------------------------------
// Functions and classes
// ---------------------------------------------------------------------------------------------

/// A function: declaration, anonymous function, method or constructor.
#[derive(Clone, Debug)]
pub struct Function {
    /// The keyword `function` or `constructor`.
    pub keyword: Span,
    /// Its name; anonymous functions and constructors have none.
    pub name: Option<Name>,
    /// The parameters: required, then defaulted, then at most one rest parameter.
    pub params: Vec<Param>,
    /// The variables after `closure`; only anonymous functions have them. `closure ()` is as none.
    pub captures: Vec<Variable>,
    /// The body.
    pub body: Block,
    /// Whether the body contains `yield` outside nested functions.
    pub generator: bool,
    /// From the keyword to the end of the body.
    pub span: Span,
}

/// A parameter.
#[derive(Clone, Debug)]
pub struct Param {
    /// The variable.
    pub variable: Variable,
    /// Required, defaulted or rest.
    pub kind: ParamKind,
    /// With default value or `...`.
    pub span: Span,
}

/// The kinds of [`Param`].
#[derive(Clone, Debug)]
pub enum ParamKind {
    /// `$x`
    Required,
    /// `$x = constant`; that the expression is constant is not checked by the parser.
    Default(Box<Expr>),
    /// `...$x`
    Rest,
}

/// `class name { members }`
#[derive(Clone, Debug)]
pub struct ClassDecl {
    /// Its name.
    pub name: Name,
    /// Its members, without repeated names.
    pub members: Vec<Member>,
}

/// A member of a class.
#[derive(Clone, Debug)]
pub struct Member {
    /// What it is.
    pub kind: MemberKind,
    /// From the first modifier to `;` or `}`.
    pub span: Span,
}

/// The kinds of [`Member`].
#[derive(Clone, Debug)]
pub enum MemberKind {
    /// `constructor(…) { … }`
    Constructor(Function),
    /// `static $x = e;`
    Variable {
        /// The words before it.
        modifiers: Modifiers,
        /// Its name.
        variable: Variable,
        /// Its initial value.
        init: Option<Expr>,
    },
    /// `private function f(…) { … }`; the function has a name.
    Method {
        /// The words before it; never `readonly`.
        modifiers: Modifiers,
        /// The function.
        function: Function,
    },
    /// A member that could not be read; its error is reported.
    Error(Vec<Block>),
}

/// The words before a member, each with its place when it is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Modifiers {
    /// `private`
    pub private: Option<Span>,
    /// `readonly`
    pub readonly: Option<Span>,
    /// `static`
    pub statik: Option<Span>,
}

// ---------------------------------------------------------------------------------------------
// Expressions
// ---------------------------------------------------------------------------------------------

/// An expression.
#[derive(Clone, Debug)]
pub struct Expr {
    /// What it is.
    pub kind: ExprKind,
    /// Its text, without parentheses around it.
    pub span: Span,
    pub(crate) depth: Depth,
}

/// The kinds of [`Expr`].
#[derive(Clone, Debug)]
pub enum ExprKind {
    /// `none`
    None,
    /// `true`, `false`
    Bool(bool),
    /// `1`, `1.5`, `0xff`
    Number(f64),
    /// A string without interpolation.
    Str(Box<[u8]>),
    /// A string with interpolation; at least one part is a variable.
    Template(Box<[TemplatePart]>),
    /// `#/pattern/modifiers`
    Regex(Box<Regex>),
    /// `[…]`, `array(…)`
    Array(Vec<Element>),
    /// `$name`, the word after the `$`.
    Variable(Box<str>),
    /// A function or class as a value.
    Name(Box<str>),
    /// `builtin name`
    Builtin(Box<Name>),
    /// `Name::$v`, `Name::f`, `static::f`
    Static(Box<Static>),
    /// `function (…) closure (…) { … }`
    Function(Box<Function>),
    /// `cache [options] f(args)`
    Cache(Box<Cache>),
    /// `match (e) { … }`
    Match(Box<Match>),
    /// `isset(e)`; the target is a variable or ends in an index, a slice, a property or `::$v`.
    Isset(Box<Target>),
    /// `unset(e)`; as for `isset`.
    Unset(Box<Target>),
    /// `!e`, `-e`, …
    Unary(Box<Unary>),
    /// `++t`, `t--`, …
    Step(Box<Step>),
    /// Operators of one level, evaluated from left to right: `a + b - c`. `**` is here too, with one
    /// link, as it groups from the right.
    Binary(Box<Chain<BinaryOp>>),
    /// `a and b and c` or `a or b or c`; the operators of one chain are the same.
    Logic(Box<Chain<LogicOp>>),
    /// `a ?? b ?? c`: the value of the first operand that is set and not none, else of the last.
    Coalesce(Box<Chain<CoalesceOp>>),
    /// `a ? b : c ?: d`
    Ternary(Box<Ternary>),
    /// `t = e`, `t += e`, `t ??= e`
    Assign(Box<Assign>),
    /// `e[i]->name(args)`
    Postfix(Box<Postfix>),
    /// An expression that could not be read; its error is reported.
    Error,
}

/// A piece of a string with interpolation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TemplatePart {
    /// Bytes that stand for themselves; never empty.
    Text(Box<[u8]>),
    /// `$name` or `${name}`
    Variable(Variable),
}

/// `#/pattern/modifiers`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Regex {
    /// Between the slashes, as written.
    pub pattern: Box<[u8]>,
    /// Letters of `imsuxUX`.
    pub modifiers: Box<str>,
}

/// A part of an array literal.
#[derive(Clone, Debug)]
pub enum Element {
    /// `e`
    Value(Expr),
    /// `k => v`
    Pair(Box<Pair>),
    /// `...e`
    Spread(Box<Spread>),
}

/// `key => value` in an array literal.
#[derive(Clone, Debug)]
pub struct Pair {
    /// Before the `=>`.
    pub key: Expr,
    /// `=>`
    pub arrow: Span,
    /// After it.
    pub value: Expr,
}

/// `...value` in an array literal.
#[derive(Clone, Debug)]
pub struct Spread {
    /// `...`
    pub dots: Span,
    /// Whose elements are put in.
    pub value: Expr,
}

/// An argument of a call.
#[derive(Clone, Debug)]
pub struct Arg {
    /// `...`, if it is there.
    pub spread: Option<Span>,
    /// The value.
    pub value: Expr,
}

/// `class::member`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Static {
    /// Before the `::`.
    pub class: StaticClass,
    /// After it.
    pub member: StaticMember,
}

/// What stands before `::`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StaticClass {
    /// A class or namespace.
    Name(Name),
    /// `static`: the class that the function belongs to.
    Own(Span),
}

/// What stands after `::`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StaticMember {
    /// A function, or a class of a namespace.
    Name(Name),
    /// A variable.
    Variable(Variable),
}

/// `cache [options] callee(args)`
#[derive(Clone, Debug)]
pub struct Cache {
    /// The array literal.
    pub options: Vec<Element>,
    /// Its place.
    pub options_span: Span,
    /// The function.
    pub callee: CacheCallee,
    /// The arguments.
    pub args: Vec<Arg>,
}

/// What a [`Cache`] calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CacheCallee {
    /// `f`
    Name(Name),
    /// `builtin f`
    Builtin(Name),
    /// `C::f`, `static::f`
    Static {
        /// Before the `::`.
        class: StaticClass,
        /// The function.
        name: Name,
    },
}

/// `match (subject) { arms }`
#[derive(Clone, Debug)]
pub struct Match {
    /// What is compared.
    pub subject: Expr,
    /// The arms; at most one is `default`.
    pub arms: Vec<MatchArm>,
}

/// `a, b => value`, `default => value`
#[derive(Clone, Debug)]
pub struct MatchArm {
    /// What the subject is compared with; empty for `default`.
    pub patterns: Vec<Expr>,
    /// The result.
    pub value: Expr,
    /// The whole arm.
    pub span: Span,
}

impl MatchArm {
    /// Whether it is `default => …`.
    #[must_use]
    pub fn is_default(&self) -> bool {
        self.patterns.is_empty()
    }
}

/// `op operand`
#[derive(Clone, Debug)]
pub struct Unary {
    /// The operator.
    pub op: UnaryOp,
    /// Its place.
    pub op_span: Span,
    /// What it applies to.
    pub operand: Expr,
}

/// Operands joined by operators of one level, in the order of the text.
#[derive(Clone, Debug)]
pub struct Chain<Op> {
    /// The first operand.
    pub first: Expr,
    /// The operators with their right operands; at least one.
    pub rest: Vec<ChainLink<Op>>,
}

/// An operator and what stands to its right.
#[derive(Clone, Debug)]
pub struct ChainLink<Op> {
    /// The operator.
    pub op: Op,
    /// Its place.
    pub op_span: Span,
    /// Its right operand.
    pub operand: Expr,
}

/// `c ? a : d ? b : e`
#[derive(Clone, Debug)]
pub struct Ternary {
    /// The conditions, tried in order; at least one.
    pub arms: Vec<TernaryArm>,
    /// The value when none holds.
    pub otherwise: Expr,
}

/// `condition ? then :`
#[derive(Clone, Debug)]
pub struct TernaryArm {
    /// The condition.
    pub condition: Expr,
    /// `?`
    pub question: Span,
    /// The value; none for `?:`, which yields the condition itself.
    pub then: Option<Expr>,
}

/// `++t`, `--t`, `t++`, `t--`
#[derive(Clone, Debug)]
pub struct Step {
    /// What changes. Not a pattern, not a slice, not an append.
    pub target: Target,
    /// By how much.
    pub op: StepOp,
    /// Whether the operator stands before its target, and so yields the new value.
    pub prefix: bool,
    /// The operator's place.
    pub op_span: Span,
}

/// `target op value`
#[derive(Clone, Debug)]
pub struct Assign {
    /// What changes; a pattern only with `=`.
    pub target: Target,
    /// The operator.
    pub op: AssignOp,
    /// Its place.
    pub op_span: Span,
    /// The right side.
    pub value: Expr,
}

/// An expression with the postfix operators behind it.
#[derive(Clone, Debug)]
pub struct Postfix {
    /// What they apply to; never a [`Postfix`] itself.
    pub base: Expr,
    /// The operators, first applied first; at least one.
    pub links: Vec<Link>,
}

/// A postfix operator.
#[derive(Clone, Debug)]
pub struct Link {
    /// What it is.
    pub kind: LinkKind,
    /// The operator alone, from `[`, `(` or `->`.
    pub span: Span,
}

/// The kinds of [`Link`].
#[derive(Clone, Debug)]
pub enum LinkKind {
    /// `[]`, only in targets.
    Append,
    /// `[e]`
    Index(Expr),
    /// `[a:b:c]`
    Slice(Box<Slice>),
    /// `->name`
    Property(Name),
    /// `(args)`
    Call(Vec<Arg>),
}

/// `[first:last:step]`
#[derive(Clone, Debug)]
pub struct Slice {
    /// Where it starts.
    pub first: Option<Expr>,
    /// Where it ends, not included.
    pub last: Option<Expr>,
    /// The step.
    pub step: Option<Expr>,
}

// ---------------------------------------------------------------------------------------------
// Targets
// ---------------------------------------------------------------------------------------------

/// What can be assigned to.
#[derive(Clone, Debug)]
pub struct Target {
    /// What it is.
    pub kind: TargetKind,
    /// Its place.
    pub span: Span,
}

/// The kinds of [`Target`].
#[derive(Clone, Debug)]
pub enum TargetKind {
    /// `$name`
    Variable(Box<str>),
    /// `Class::$name`; the member is a variable.
    Static(Box<Static>),
    /// `x[k]`, `x[]`, `x[a:b]`, `x->n`: the last link is what is written, never a call. An index, an
    /// append or a slice at the end is not applied to the result of a call, a literal or a slice.
    Place(Box<Postfix>),
    /// `[$a, $b = 5, ...$rest]`, `["k" => $v]`
    Pattern(Box<Pattern>),
    /// Something else; its error is reported.
    Error,
}

/// A destructuring pattern: keyed (all entries have a key) or not (none has one).
#[derive(Clone, Debug, Default)]
pub struct Pattern {
    /// The entries.
    pub entries: Vec<PatternEntry>,
    /// `...$rest`, never with keyed entries.
    pub rest: Option<Target>,
}

/// `key => target = default`
#[derive(Clone, Debug)]
pub struct PatternEntry {
    /// The key.
    pub key: Option<Expr>,
    /// Where the value goes.
    pub target: Target,
    /// What it gets when the entry is missing.
    pub default: Option<Expr>,
}

impl Expr {
    /// Makes an expression.
    #[must_use]
    pub fn new(kind: ExprKind, span: Span) -> Self {
        let depth = kind.depth().node();
        Self { kind, span, depth }
    }
}

impl Stmt {
    /// Makes a statement.
    #[must_use]
    pub fn new(kind: StmtKind, span: Span) -> Self {
        let depth = kind.depth().node();
        Self { kind, span, depth }
    }
}
