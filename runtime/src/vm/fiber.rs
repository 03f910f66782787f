//! The state of one execution.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use angarium_effects::Monotonic;
use angarium_lang::bytecode::{Access, MAX_REGISTERS, Op, Proto};

use crate::cell::VarCell;
use crate::exception::Place;
use crate::frozen::{FreezeError, Tree};
use crate::host::Host;
use crate::instance::{Hints, Instance as ObjectData};
use crate::library::Library;
use crate::memory;
use crate::native::{Cx, Input, NativeFn, Task, Throw};
use crate::object::Object;
use crate::shared::Guard;
use crate::string::Str;
use crate::value::Value;
use crate::vm::notes::Notes;
use crate::vm::trace::Trace;
use crate::vm::unit::{Unit, UnitRef};

/// Most frames of one execution (language.md 13.5): calls of functions and of built-ins that call back.
pub const MAX_DEPTH: usize = 512;

/// Fuel between two looks at the budgets.
const QUANTUM: i64 = 256;

/// Time between two turns of the executor. An executor looks at sockets and timers only once in some sixty turns.
pub(crate) const SLICE_TIME: Duration = Duration::from_micros(50);
/// Fuel between two turns of the executor where the clock stands still, as it does in a simulation while a script runs.
const SLICE: i64 = 8192;

/// What a frame is. As wide as the fields beside it: a frame is copied in words, and a narrower one in a word that
/// was just written would hold the processor up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum FrameKind {
    /// A function of a script.
    Script,
    /// A generator that runs; it and its consumer are the last of [`Fiber::generators`].
    Generator,
    /// A built-in that calls back; its state is the last of [`Fiber::tasks`].
    Task,
}

/// A call that is going on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame {
    /// The next instruction.
    pub pc: u32,
    /// The first register.
    pub base: u32,
    /// The function.
    pub proto: u32,
    /// The instance that the function belongs to.
    pub instance: u32,
    /// The register (of the whole stack) that takes the result.
    pub result: u32,
    pub kind: FrameKind,
}

/// A unit in this execution: its constants and its variables.
pub(crate) struct Instance {
    pub unit: UnitRef,
    pub constants: Rc<[Value]>,
    /// What was found last time for the members that the constants name.
    pub hints: Rc<[Hints]>,
    pub globals: Vec<Rc<VarCell>>,
}

/// The state of one execution.
pub struct Fiber {
    pub(crate) host: Rc<Host>,
    pub(crate) library: Arc<Library>,
    /// The registers of all frames. Above the running one's window everything is undefined.
    pub(crate) stack: Vec<Value>,
    pub(crate) frames: Vec<Frame>,
    pub(crate) tasks: Vec<Box<dyn Task>>,
    pub(crate) generators: Vec<Running>,
    pub(crate) instances: Vec<Instance>,
    /// Variables that the host predefines.
    host_cells: HashMap<Box<str>, Rc<VarCell>>,
    held: Held,
    /// Fuel until the next look at the budgets; below zero it is a debt.
    pub(crate) quantum: i64,
    /// Fuel of the slice that is left; see [`Fiber::begin_slice`].
    slice: i64,
    slice_begin: Monotonic,
    /// When the executor gets its turn.
    pub(crate) slice_end: Monotonic,
    /// Fuel left altogether, `quantum` not included.
    pub(crate) left: i64,
    /// Fuel that was granted so far.
    pub(crate) granted: i64,
    /// The register that takes the result of the built-in that is waited for.
    pub(crate) waiting: Option<usize>,
    /// The barriers that this execution is in.
    pub(crate) barriers: Vec<Barrier>,
    /// The number of the next barrier.
    pub(crate) next_barrier: f64,
    /// The lock that the last `Lock` instruction waited for.
    pub(crate) acquired: Rc<RefCell<Option<Guard>>>,
    /// What the built-in in the running frame is to be resumed with.
    pub(crate) pending: Option<Input>,
    /// Where the script ended itself or was ended by a limit.
    pub(crate) ended_at: Option<Place>,
    /// The calls that were going on there.
    pub(crate) trace: Trace,
}

/// A value in its frozen form, or why it has none.
type Frozen = Result<Arc<Tree>, FreezeError>;

/// A barrier that this execution is in: it holds the lock.
pub(crate) struct Barrier {
    /// What the register of the instruction holds.
    pub mark: f64,
    pub name: Str,
    pub guard: Guard,
    /// Whether it has a variable, whose value is stored when the block is left.
    pub variable: bool,
    /// That value in its frozen form, or why it has none.
    pub frozen: Rc<Cell<Option<Frozen>>>,
    /// Whether it was frozen.
    pub is_frozen: Rc<Cell<bool>>,
}

/// A generator whose frame is on the stack, and who wants its next value.
pub(crate) struct Running {
    pub object: Rc<Object>,
    pub consumer: Consumer,
}

/// Who wants the next value of a generator. A word wide, as [`FrameKind`].
#[derive(Clone, Copy)]
#[repr(u64)]
pub(crate) enum Consumer {
    /// The `foreach` instruction that the frame below has just executed.
    ForEach,
    /// A call of `next()`.
    Method,
    /// The spread instruction that the frame below has just executed.
    Spread,
}

/// What a look at the budgets found.
pub(crate) enum Tick {
    /// Go on.
    Go,
    /// It is the executor's turn.
    Yield,
}

impl Fiber {
    pub(crate) fn new(host: Rc<Host>, library: Arc<Library>) -> Fiber {
        Fiber {
            host,
            library,
            stack: Vec::new(),
            frames: Vec::new(),
            tasks: Vec::new(),
            generators: Vec::new(),
            instances: Vec::new(),
            host_cells: HashMap::new(),
            held: Held::default(),
            quantum: 0,
            slice: 0,
            slice_begin: Monotonic(Duration::ZERO),
            slice_end: Monotonic(Duration::ZERO),
            left: i64::MAX,
            granted: 0,
            waiting: None,
            barriers: Vec::new(),
            next_barrier: 0.0,
            acquired: Rc::default(),
            pending: None,
            ended_at: None,
            trace: Trace::default(),
        }
    }

    /// Predefines a variable.
    pub(crate) fn predefine(&mut self, name: &str, value: Value, access: Access) {
        let cell = match access {
            Access::ReadOnly => VarCell::read_only(value),
            Access::Writable => VarCell::new(value),
        };
        self.register(&cell);
        self.host_cells.insert(name.into(), cell);
    }

    /// The value of a predefined variable; none when it is undefined.
    pub(crate) fn predefined(&self, name: &str) -> Option<Value> {
        let value = self.host_cells.get(name)?.get();
        (!matches!(value, Value::Undefined)).then_some(value)
    }

    /// The instance of `unit`, made when this execution sees it for the first time.
    pub(crate) fn instance(&mut self, unit: &UnitRef) -> u32 {
        if let Some(index) = self
            .instances
            .iter()
            .position(|instance| instance.unit.same(unit))
        {
            return index as u32;
        }
        self.add_instance(unit.clone(), Vec::new())
    }

    /// Adds an instance whose first globals are there already.
    pub(crate) fn add_instance(&mut self, unit: UnitRef, mut globals: Vec<Rc<VarCell>>) -> u32 {
        let known = globals.len();
        for global in unit.program.globals.iter().skip(known) {
            let cell = match global.host {
                None => VarCell::undefined(),
                Some(access) => match self.host_cells.get(&global.name) {
                    Some(cell) => Rc::clone(cell),
                    None if access == Access::ReadOnly => VarCell::read_only(Value::Undefined),
                    None => VarCell::undefined(),
                },
            };
            self.register(&cell);
            globals.push(cell);
        }
        let constants = unit.constants();
        let hints = (0..unit.hints).map(|_| Hints::default()).collect();
        self.instances.push(Instance {
            unit,
            constants,
            hints,
            globals,
        });
        (self.instances.len() - 1) as u32
    }

    /// A new shared variable.
    pub(crate) fn new_cell(&mut self, value: Value) -> Rc<VarCell> {
        let cell = VarCell::new(value);
        self.register(&cell);
        cell
    }

    /// Takes note of variables that came out of shared memory.
    pub(crate) fn adopt(&mut self, cells: Vec<Weak<VarCell>>) {
        self.held.cells.extend(cells);
    }

    /// Takes note of an instance of a class.
    pub(crate) fn note(&mut self, object: &Rc<Object>) {
        self.held.objects.add(object);
    }

    fn end_generators(&mut self) {
        for running in std::mem::take(&mut self.generators) {
            if let Some(generator) = running.object.as_generator() {
                generator.finish();
            }
        }
    }

    fn register(&mut self, cell: &Rc<VarCell>) {
        self.held.cells.add(cell);
    }

    /// Puts the first frame of `proto` on an empty stack.
    pub(crate) fn start(&mut self, instance: u32, proto: u32) {
        self.frames.clear();
        self.tasks.clear();
        self.end_generators();
        self.barriers.clear();
        self.acquired.take();
        self.waiting = None;
        self.stack.clear();
        // Register 0 of the stack takes the result.
        self.frames.push(Frame {
            pc: 0,
            base: 1,
            proto,
            instance,
            result: 0,
            kind: FrameKind::Script,
        });
        self.grow(1);
    }

    /// Makes sure that the window at `base` is there.
    #[inline]
    pub(crate) fn grow(&mut self, base: usize) {
        if self.stack.len() < base + MAX_REGISTERS {
            self.grow_cold(base);
        }
    }

    #[cold]
    fn grow_cold(&mut self, base: usize) {
        self.stack.resize(base + MAX_REGISTERS, Value::Undefined);
    }

    /// Gives back the memory that a suspended execution does not need.
    pub(crate) fn park(&mut self) {
        let top = self
            .frames
            .last()
            .map_or(0, |frame| frame.base as usize + self.registers_of(frame));
        self.stack.truncate(top);
        self.stack.shrink_to_fit();
        self.frames.shrink_to_fit();
        self.instances.shrink_to_fit();
        self.held.cells.shrink();
    }

    /// Takes it again.
    pub(crate) fn unpark(&mut self) {
        let base = self.frames.last().map_or(0, |frame| frame.base as usize);
        self.grow(base);
    }

    /// How many registers a frame uses.
    pub(crate) fn registers_of(&self, frame: &Frame) -> usize {
        match frame.kind {
            FrameKind::Script | FrameKind::Generator => usize::from(self.proto(frame).registers),
            // The place of the result and of the arguments of a callback.
            FrameKind::Task => 64,
        }
    }

    pub(crate) fn proto(&self, frame: &Frame) -> &Proto {
        &self.instances[frame.instance as usize].unit.program.protos[frame.proto as usize]
    }

    /// What a native may use.
    pub(crate) fn cx(&mut self) -> Cx<'_> {
        Cx {
            host: &self.host,
            library: &self.library,
            fuel: &mut self.quantum,
        }
    }

    /// Looks at the budgets, when the quantum is used up.
    ///
    /// # Errors
    /// The end of the script when fuel or memory are used up.
    #[cold]
    pub(crate) fn tick(&mut self) -> Result<Tick, Throw> {
        // An instruction is not done again after a look at the budgets of its own code.
        if !self.host.prepared.borrow().is_empty()
            && self
                .frames
                .last()
                .is_none_or(|frame| frame.kind != FrameKind::Task)
        {
            self.host.prepared.borrow_mut().clear();
        }
        if memory::exceeded() {
            return Err(Throw::limit("memory"));
        }
        let debt = memory::take_owed().saturating_sub(self.quantum);
        self.left = self.left.saturating_sub(debt);
        if self.left <= 0 {
            self.quantum = 0;
            return Err(Throw::limit("fuel"));
        }
        let grant = QUANTUM.min(self.left);
        self.left -= grant;
        memory::set_fuel_left(self.left);
        self.granted = self.granted.saturating_add(grant + debt);
        self.quantum = grant;
        self.slice = self.slice.saturating_sub(grant + debt);
        // Asking for the time costs as much as some instructions: once in four quanta, and after work that took many.
        let look = debt > QUANTUM || self.slice & (3 * QUANTUM) == 0 || self.slice <= 0;
        Ok(
            if look && self.is_slice_over() || crate::graveyard::is_waiting() {
                Tick::Yield
            } else {
                Tick::Go
            },
        )
    }

    /// Begins a slice: what runs between two turns of the executor.
    pub(crate) fn begin_slice(&mut self) {
        self.slice = SLICE;
        self.slice_begin = self.host.clock.monotonic();
        self.slice_end = self.slice_begin + SLICE_TIME;
    }

    /// Whether the slice is over by the clock; by its fuel where the clock stands still.
    fn is_slice_over(&mut self) -> bool {
        let now = self.host.clock.monotonic();
        let over = now >= self.slice_end || self.slice <= 0 && now == self.slice_begin;
        if self.slice <= 0 {
            self.slice = SLICE;
        }
        over
    }

    /// Fuel used so far.
    pub(crate) fn used(&self) -> u64 {
        u64::try_from(self.granted.saturating_sub(self.quantum)).unwrap_or(0)
    }

    /// What was done last.
    pub(crate) fn last_step(&self) -> String {
        let Some(frame) = self.frames.last() else {
            return "the end".into();
        };
        if frame.kind == FrameKind::Task {
            return self
                .tasks
                .last()
                .map_or("a task", |task| task.name())
                .into();
        }
        let code = &self.proto(frame).code;
        let Some(instr) = code.get((frame.pc as usize).saturating_sub(1)) else {
            return "the start".into();
        };
        match instr.op {
            Op::CallNative => {
                let native = self.library.native(NativeFn(instr.d));
                native.signature.name.to_string()
            }
            op => format!("{op:?}"),
        }
    }

    /// Ends the execution from outside.
    pub(crate) fn stop(&mut self) {
        self.note_end("");
        self.finish();
    }

    /// Ends the execution: drops frames and takes cycles among variables apart.
    pub(crate) fn finish(&mut self) {
        self.host.prepared.borrow_mut().clear();
        self.frames.clear();
        self.tasks.clear();
        self.end_generators();
        self.barriers.clear();
        self.acquired.take();
        self.stack.clear();
        self.waiting = None;
    }
}

impl Fiber {
    /// Takes a part of what a finished execution holds apart; whether something is left.
    pub(crate) fn release(&mut self) -> bool {
        self.instances.clear();
        self.held.release()
    }

    /// What is still to be taken apart.
    pub(crate) fn take_held(&mut self) -> Held {
        std::mem::take(&mut self.held)
    }
}

/// Notes of every shared variable and every instance of a class of an execution, so that cycles among them can be taken apart
/// at its end.
#[derive(Default)]
pub(crate) struct Held {
    cells: Notes<VarCell>,
    objects: Notes<Object>,
}

impl Held {
    /// Takes a part of them apart; whether something is left.
    pub(crate) fn release(&mut self) -> bool {
        if let Some(cells) = self.cells.take_part() {
            for cell in cells.iter().filter_map(Weak::upgrade) {
                cell.set(Value::Undefined);
            }
            return true;
        }
        let Some(objects) = self.objects.take_part() else {
            return false;
        };
        for object in objects.iter().filter_map(Weak::upgrade) {
            if let Some(instance) = ObjectData::of(&object) {
                instance.clear();
            }
        }
        true
    }
}

impl Drop for Fiber {
    fn drop(&mut self) {
        self.finish();
        while self.release() {}
    }
}

/// The unit as an instance holds it.
pub(crate) fn hold(unit: &Arc<Unit>) -> UnitRef {
    UnitRef::new(unit)
}
