//! Emitting instructions: registers, jumps, places in the source, and which variables are known to be defined.

use crate::Span;
use crate::bytecode::{ClosureSite, Const, Handler, Instr, MAX_REGISTERS, Op, Proto, Step};
use crate::compile::Compiler;
use crate::hash::HashMap;
use crate::resolve::Body;

/// Where a variable lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In a register.
    Register(u8),
    /// In the cell that a register holds.
    Cell(u8),
    /// In the cell of a global, of a top level with more variables than registers.
    FarGlobal(u32),
    /// In a cell of the list that a register holds, of a function with more variables than registers.
    Far {
        /// The register.
        list: u8,
        /// The index.
        index: u32,
    },
}

struct Variable {
    name: Box<str>,
    place: Place,
    /// `unset` may make it undefined at any time.
    volatile: bool,
}

/// Which variables surely have a value, on every way to the current instruction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Defined {
    bits: Vec<u64>,
    /// The current instruction is never reached.
    pub dead: bool,
}

impl Defined {
    fn get(&self, index: usize) -> bool {
        self.bits
            .get(index / 64)
            .is_some_and(|word| word & (1 << (index % 64)) != 0)
    }

    fn set(&mut self, index: usize) {
        if self.bits.len() <= index / 64 {
            self.bits.resize(index / 64 + 1, 0);
        }
        self.bits[index / 64] |= 1 << (index % 64);
    }

    /// What is known where two ways meet.
    pub(super) fn meet_with(&mut self, other: &Defined) {
        if other.dead {
            return;
        }
        if self.dead {
            self.clone_from(other);
            return;
        }
        for (at, word) in self.bits.iter_mut().enumerate() {
            *word &= other.bits.get(at).copied().unwrap_or(0);
        }
    }
}

/// A loop or `switch` that `break` can leave.
pub(crate) struct Target {
    /// Jumps out of it.
    pub breaks: Vec<usize>,
    /// Jumps to its next round; none for a `switch`.
    pub continues: Option<Vec<usize>>,
    /// What is known at its breaks.
    pub at_breaks: Defined,
}

/// An open `barrier` block.
#[derive(Clone, Copy)]
pub(crate) struct Barrier {
    /// The register with its mark.
    pub mark: u8,
    /// Its variable.
    pub variable: Option<usize>,
    /// How many loops and `switch`es are around it.
    pub targets: usize,
}

/// A function that is being compiled.
#[derive(Default)]
pub(crate) struct Function {
    pub proto: Proto,
    pub body: Body,
    /// Whether it is the top level of a module.
    pub top: bool,
    /// Whether it is a constructor: it gives its object, whatever `return` says.
    pub constructor: bool,
    index: HashMap<Box<str>, usize>,
    variables: Vec<Variable>,
    pub defined: Defined,
    first_temp: usize,
    next: usize,
    most: usize,
    crowded: bool,
    pub targets: Vec<Target>,
    /// The barriers that are open, outermost first.
    pub barriers: Vec<Barrier>,
    /// How many `try` blocks are open.
    pub tries: u32,
    /// A variable whose next reading as an argument is its last.
    pub dying: Option<u8>,
    span: Span,
    /// The unreachable statement that we are in was reported.
    warned: bool,
    paths: HashMap<Box<[Step]>, u32>,
}

impl Function {
    pub fn new(body: Body, top: bool) -> Function {
        Function {
            body,
            top,
            ..Function::default()
        }
    }

    pub fn add(&mut self, name: Box<str>, place: Place, volatile: bool) {
        self.index.insert(name.clone(), self.variables.len());
        self.variables.push(Variable {
            name,
            place,
            volatile,
        });
    }

    pub fn start_temporaries(&mut self, first: usize) {
        self.first_temp = first;
        self.proto.variables = first as u16;
        self.next = first;
        self.most = first;
    }

    pub fn variable_count(&self) -> usize {
        self.variables.len()
    }

    pub fn place(&self, index: usize) -> Place {
        self.variables[index].place
    }

    pub fn variable_name(&self, index: usize) -> &str {
        &self.variables[index].name
    }

    /// The number of a variable. The first pass has seen every one.
    pub fn variable(&self, name: &str) -> Option<usize> {
        self.index.get(name).copied()
    }

    /// Notes that a variable has a value from here on.
    pub fn define(&mut self, index: usize) {
        // A name that two parameters have, which is an error, is one variable.
        let variable = self.variables.get(index);
        if variable.is_some_and(|variable| !variable.volatile) {
            self.defined.set(index);
        }
    }

    /// Whether a variable surely has a value. Cells are always asked at run time.
    pub fn is_defined(&self, index: usize) -> bool {
        self.defined.dead || self.defined.get(index)
    }

    pub fn is_temp(&self, register: u8) -> bool {
        usize::from(register) >= self.first_temp
    }

    /// Whether a cell may change the value of the variable behind this register at any call.
    pub fn finish(mut self) -> Proto {
        self.proto.registers = self.most.max(1) as u16;
        self.proto
    }
}

impl Compiler<'_> {
    /// From here on instructions belong to `span`.
    pub(super) fn at(&mut self, span: Span) {
        self.f.span = span;
    }

    pub(super) fn span(&self) -> Span {
        self.f.span
    }

    /// Emits an instruction; gives its index, for [`Compiler::patch`].
    pub(super) fn emit(&mut self, op: Op, a: u8, b: u8, c: u8, d: u32) -> usize {
        let at = self.f.proto.code.len();
        let span = self.f.span;
        if self
            .f
            .proto
            .places
            .last()
            .is_none_or(|(_, last)| *last != span)
        {
            self.f.proto.places.push((at as u32, span));
        }
        self.f.proto.code.push(Instr::new(op, a, b, c, d));
        at
    }

    pub(super) fn here(&self) -> u32 {
        self.f.proto.code.len() as u32
    }

    /// Makes the jump at `index` go here.
    pub(super) fn patch(&mut self, index: usize) {
        let here = self.here();
        if let Some(instr) = self.f.proto.code.get_mut(index) {
            instr.d = here;
        }
    }

    pub(super) fn patch_all(&mut self, jumps: Vec<usize>) {
        for jump in jumps {
            self.patch(jump);
        }
    }

    // ---- Registers -----------------------------------------------------------------------------

    /// A free register. They are given back in the opposite order with [`Compiler::free`].
    pub(super) fn temp(&mut self) -> u8 {
        if self.f.next >= MAX_REGISTERS {
            if !self.f.crowded {
                self.f.crowded = true;
                let span = self.f.span;
                self.error(
                    span,
                    "this expression needs too many intermediate values",
                    Some("split it up".to_owned()),
                );
            }
            return (MAX_REGISTERS - 1) as u8;
        }
        let register = self.f.next;
        self.f.next += 1;
        self.f.most = self.f.most.max(self.f.next);
        register as u8
    }

    /// The next free register.
    pub(super) fn mark(&self) -> usize {
        self.f.next
    }

    /// Gives back `register` and all temporaries after it.
    pub(super) fn free(&mut self, register: u8) {
        if self.f.is_temp(register) {
            self.f.next = usize::from(register);
        }
    }

    /// Gives back all temporaries from `mark` on.
    pub(super) fn reset(&mut self, mark: usize) {
        self.f.next = mark;
    }

    pub(super) fn is_temp(&self, register: u8) -> bool {
        self.f.is_temp(register)
    }

    // ---- Constants and tables ------------------------------------------------------------------

    /// Loads a constant.
    pub(super) fn load(&mut self, dst: u8, value: Const) {
        match value {
            Const::None => self.emit(Op::LoadNone, dst, 0, 0, 0),
            Const::Bool(true) => self.emit(Op::LoadTrue, dst, 0, 0, 0),
            Const::Bool(false) => self.emit(Op::LoadFalse, dst, 0, 0, 0),
            Const::Number(number) if int(number).is_some() => {
                self.emit(Op::LoadInt, dst, 0, 0, int(number).unwrap_or(0) as u32)
            }
            value => {
                let index = self.constant(value);
                self.emit(Op::LoadK, dst, 0, 0, index)
            }
        };
    }

    pub(super) fn path(&mut self, steps: Vec<Step>) -> u32 {
        let steps = steps.into_boxed_slice();
        if let Some(index) = self.f.paths.get(&steps) {
            return *index;
        }
        let index = self.f.proto.paths.len() as u32;
        self.f.proto.paths.push(steps.clone());
        self.f.paths.insert(steps, index);
        index
    }

    pub(super) fn closure_site(&mut self, function: u32, captures: Vec<u8>) -> u32 {
        self.f.proto.closures.push(ClosureSite {
            function,
            captures: captures.into(),
        });
        (self.f.proto.closures.len() - 1) as u32
    }

    pub(super) fn handler(&mut self, handler: Handler) {
        self.f.proto.handlers.push(handler);
    }

    // ---- Flow ----------------------------------------------------------------------------------

    pub(super) fn state(&self) -> Defined {
        self.f.defined.clone()
    }

    pub(super) fn set_state(&mut self, state: Defined) {
        self.f.defined = state;
    }

    /// The state where the current way and one with `other` meet.
    pub(super) fn meet(&mut self, other: &Defined) {
        self.f.defined.meet_with(other);
    }

    pub(super) fn dead(&mut self) {
        self.f.defined.dead = true;
    }

    pub(super) fn is_dead(&self) -> bool {
        self.f.defined.dead
    }

    /// Whether the next statement is unreachable and nothing was said about it yet.
    pub(crate) fn unreachable_from_here(&mut self) -> bool {
        if !self.is_dead() {
            self.f.warned = false;
        }
        self.is_dead() && !self.f.warned
    }

    pub(crate) fn mark_reported(&mut self) {
        self.f.warned = true;
    }

    /// Opens a loop (or a `switch`).
    pub(super) fn open_target(&mut self, is_loop: bool) {
        let at_breaks = Defined {
            dead: true,
            ..Defined::default()
        };
        self.f.targets.push(Target {
            breaks: Vec::new(),
            continues: is_loop.then(Vec::new),
            at_breaks,
        });
    }

    /// Closes the innermost loop or `switch`: its breaks come here.
    pub(super) fn close_target(&mut self) {
        if let Some(target) = self.f.targets.pop() {
            self.patch_all(target.breaks);
            self.meet(&target.at_breaks);
        }
    }

    /// The `continue`s of the innermost loop come here.
    pub(super) fn land_continues(&mut self) {
        let jumps = self
            .f
            .targets
            .last_mut()
            .and_then(|target| target.continues.as_mut())
            .map(std::mem::take);
        self.patch_all(jumps.unwrap_or_default());
    }
}

/// The number as a 32-bit integer, if it is one. Minus zero is not.
pub(super) fn int(number: f64) -> Option<i32> {
    let int = number as i32;
    (f64::from(int) == number && (number != 0.0 || number.is_sign_positive())).then_some(int)
}

/// The number as a 16-bit integer, if it is one.
pub(super) fn small(number: f64) -> Option<i16> {
    int(number).and_then(|int| i16::try_from(int).ok())
}
