//! Calls: of functions of the script, of built-ins of every kind, and back from built-ins into the script.

use std::rc::Rc;

use smallvec::SmallVec;

use angarium_lang::arity_message;
use angarium_lang::bytecode::Proto;

use crate::array::Array;
use crate::cell::VarCell;
use crate::instance::{Caller, Hint, Hints, Instance};
use crate::library::Class;
use crate::native::{Args, Cx, Heavy, Imp, Input, NativeFn, Step, Task, Throw, Thrown};
use crate::object::{Function, Object};
use crate::pieces::Pieces;
use crate::string::Str;
use crate::value::Value;
use crate::vm::execution::Exit;
use crate::vm::fiber::{Consumer, Fiber, Frame, FrameKind, MAX_DEPTH, Tick};
use crate::vm::ops::element;
use crate::vm::registers::{set, wipe};
use crate::vm::unit::{Member, UnitRef};

/// What is called.
pub(crate) enum Callee {
    /// A value, which should be a function.
    Value(Value),
}

/// The object that a function is called on.
pub(crate) enum This {
    None,
    Object(Rc<Object>),
    /// It is in its register already.
    InPlace,
}

impl This {
    fn of(object: Option<&Rc<Object>>) -> This {
        object.map_or(This::None, |object| This::Object(Rc::clone(object)))
    }
}

/// What became of a call.
pub(crate) enum Called {
    /// It is done.
    Value(Value),
    /// The frames have changed: the running one has to be looked up anew.
    Frame,
    /// The loop is left.
    Exit(Box<Exit>),
}

/// The counter of a task's frame after which the instruction of the frame below is done again.
pub(crate) const AGAIN: u32 = 1;

impl Called {
    pub(crate) fn exit(exit: Exit) -> Called {
        Called::Exit(Box::new(exit))
    }
}

#[cold]
pub(super) fn too_deep() -> Throw {
    Throw::error("call depth exceeded")
}

fn unknown_method<'a>(name: &Str, class: &str, members: impl Iterator<Item = &'a str>) -> Throw {
    let name = name.to_text();
    let near = angarium_lang::suggest::nearest(&name, members);
    let hint = near.map_or_else(String::new, |near| format!("; did you mean {near}?"));
    Throw::error(format!("unknown method {name} of {class}{hint}"))
}

impl Fiber {
    /// Calls `callee` with the `given` arguments from register `first` of the stack on; the result goes to `result`.
    pub(crate) fn call(
        &mut self,
        callee: Callee,
        first: usize,
        given: usize,
        result: usize,
    ) -> Result<Called, Throw> {
        match callee {
            Callee::Value(Value::Function(function)) => {
                self.call_function(&function, first, given, result)
            }
            Callee::Value(other) => Err(Throw::error(format!(
                "not a function: {}",
                other.kind().name()
            ))),
        }
    }

    /// Calls a method of the object in register `at` of the stack with the arguments behind it; the result goes there.
    /// The name is a constant of the running unit.
    pub(crate) fn call_method(
        &mut self,
        name: usize,
        at: usize,
        given: usize,
    ) -> Result<Called, Throw> {
        let (first, result) = (at + 1, at);
        let Some((running, class)) = self.frames.last().map(|frame| {
            let class = (frame.kind != FrameKind::Task).then(|| self.proto(frame).class);
            (frame.instance as usize, class.flatten())
        }) else {
            return Err(Throw::error("no code runs"));
        };
        let here = &self.instances[running];
        let Some(Value::String(text)) = here.constants.get(name) else {
            return Err(Throw::error("a method has no name"));
        };
        let spare = Hints::default();
        let hint = here.hints.get(name).unwrap_or(&spare);
        let object = match self.stack.get(at) {
            Some(Value::Object(object)) => Rc::clone(object),
            other => {
                let kind = other.map_or(crate::value::Kind::None, Value::kind);
                return Err(Throw::error(format!(
                    "method {} called on {}",
                    text.to_text(),
                    kind.name()
                )));
            }
        };
        let Some(instance) = Instance::of(&object) else {
            let method = self.library_method(&object, text, hint)?;
            return self.call_checked(method, Some(object), first, given, result);
        };
        let caller = Caller {
            unit: &here.unit,
            class,
        };
        if let Some(proto) = instance.method(text, caller, hint)? {
            let unit = instance.unit().clone();
            return self.enter(&unit, proto, &[], This::InPlace, first, given, result);
        }
        match instance.get(&object, text, caller, hint)? {
            Value::Function(function) => self.call_function(&function, first, given, result),
            Value::None => {
                let table = instance.table();
                let members = table.into_iter().flat_map(|table| table.members.iter());
                let methods = members.filter(|(_, member)| member.method.is_some());
                let methods = methods.filter_map(|(name, _)| std::str::from_utf8(name).ok());
                Err(unknown_method(text, instance.class_name(), methods))
            }
            other => Err(Throw::error(format!(
                "not a function: {}",
                other.kind().name()
            ))),
        }
    }

    /// The method `name` of an object of the library.
    #[inline]
    pub(crate) fn library_method(
        &self,
        object: &Object,
        name: &Str,
        hints: &Hints,
    ) -> Result<NativeFn, Throw> {
        let hint = hints.of(object.class().0);
        let known = hint.get();
        let class = object.class().0 | Hint::NATIVE;
        if known.class == class {
            return Ok(NativeFn(known.target));
        }
        let method = self
            .library
            .class_of(object)
            .and_then(|class| class.method(&name.to_text()));
        let Some(method) = method else {
            let class = self.library.class_of(object);
            let members = class.into_iter().flat_map(Class::member_names);
            let of = class.map_or("", |class| class.name);
            return Err(unknown_method(name, of, members));
        };
        hint.set(Hint {
            class,
            target: method.0,
            member: Member::default(),
            ..known
        });
        Ok(method)
    }

    /// Makes an instance and runs the constructor; register `first - 1` takes `$this`.
    pub(crate) fn construct(
        &mut self,
        unit: &UnitRef,
        class: u32,
        first: usize,
        given: usize,
        result: usize,
    ) -> Result<Called, Throw> {
        let Some(table) = unit.classes.get(class as usize) else {
            return Err(Throw::error("no such class"));
        };
        let object = Instance::object(unit, class);
        self.note(&object);
        self.enter(
            unit,
            table.constructor,
            &[],
            This::Object(object),
            first,
            given,
            result,
        )
    }

    /// Calls a function value.
    pub(crate) fn call_function(
        &mut self,
        function: &Rc<Function>,
        first: usize,
        given: usize,
        result: usize,
    ) -> Result<Called, Throw> {
        match &**function {
            Function::User(user) => self.enter(
                &user.unit,
                user.proto,
                &user.captures,
                This::of(user.this.as_ref()),
                first,
                given,
                result,
            ),
            Function::UserClass(unit, class) => self.construct(unit, *class, first, given, result),
            Function::Native(native) => self.call_checked(*native, None, first, given, result),
            Function::NativeClass(class) => {
                let constructor = self.library.class(*class).constructor;
                self.call_checked(constructor, None, first, given, result)
            }
            Function::BoundMethod(object, method) => {
                self.call_checked(*method, Some(Rc::clone(object)), first, given, result)
            }
        }
    }

    /// Makes a frame for a function of a script, or the iterator for a generator function. A function that has `$this`
    /// takes it in register `first - 1`, before its arguments.
    #[expect(
        clippy::too_many_arguments,
        reason = "the parts of a call, taken apart by four callers"
    )]
    pub(crate) fn enter(
        &mut self,
        unit: &UnitRef,
        proto_index: u32,
        captures: &[Rc<VarCell>],
        this: This,
        first: usize,
        given: usize,
        result: usize,
    ) -> Result<Called, Throw> {
        if self.frames.len() >= MAX_DEPTH {
            return Err(too_deep());
        }
        let proto = &unit.program.protos[proto_index as usize];
        let (required, declared) = (usize::from(proto.required), usize::from(proto.declared));
        if given < required || (given > declared && !proto.rest) {
            let most = (!proto.rest).then_some(declared);
            return Err(Throw::error(arity_message(
                &format!("{}()", proto.name),
                required,
                most,
                given,
            )));
        }
        self.grow(first);
        if proto.rest {
            self.collect_rest(proto, first, given)?;
        }
        self.enter_bound(unit, proto_index, captures, this, first, given, result)
    }

    /// As [`Fiber::enter`], with the arguments in the registers of their parameters.
    #[expect(clippy::too_many_arguments, reason = "as for `enter`")]
    fn enter_bound(
        &mut self,
        unit: &UnitRef,
        proto_index: u32,
        captures: &[Rc<VarCell>],
        this: This,
        first: usize,
        given: usize,
        result: usize,
    ) -> Result<Called, Throw> {
        let instance = self.instance(unit);
        let proto = &unit.program.protos[proto_index as usize];
        let declared = usize::from(proto.declared);
        let base = if proto.this {
            first.saturating_sub(1)
        } else {
            first
        };
        let present = first - base + if proto.rest { declared + 1 } else { given };
        let captured = first - base + declared + usize::from(proto.rest);
        let variables = base..base + usize::from(proto.variables);
        let variables = self.stack.get_mut(variables).unwrap_or_default();
        wipe(variables.get_mut(present..).unwrap_or_default());
        if !captures.is_empty() {
            let places = variables.get_mut(captured..).unwrap_or_default();
            for (slot, cell) in places.iter_mut().zip(captures) {
                set(slot, Value::Cell(Rc::clone(cell)));
            }
        }
        if proto.this {
            match this {
                This::None => self.stack[base] = Value::Undefined,
                This::Object(object) => self.stack[base] = Value::Object(object),
                This::InPlace => {}
            }
        }
        if proto.generator {
            let value = self.make_generator(unit, proto_index, base);
            return Ok(Called::Value(value));
        }
        self.frames.push(Frame {
            pc: 0,
            base: base as u32,
            proto: proto_index,
            instance,
            result: result as u32,
            kind: FrameKind::Script,
        });
        Ok(Called::Frame)
    }

    /// Puts the surplus arguments into the list of the rest parameter.
    pub(crate) fn collect_rest(
        &mut self,
        proto: &Proto,
        first: usize,
        given: usize,
    ) -> Result<(), Throw> {
        if !proto.rest {
            return Ok(());
        }
        let declared = usize::from(proto.declared);
        for missing in given..declared {
            self.stack[first + missing] = Value::Undefined;
        }
        let start = first + declared;
        let end = first + given.max(declared);
        let surplus = self.stack.get_mut(start..end).unwrap_or_default();
        let list: Vec<Value> = surplus
            .iter_mut()
            .map(|slot| std::mem::replace(slot, Value::Undefined))
            .collect();
        self.stack[start] = Value::from(Array::from_list(list));
        Ok(())
    }

    /// Calls a function with more arguments than it has parameters: `rest` is the list for the last one.
    fn call_with_rest(
        &mut self,
        function: &Function,
        args: SmallVec<[Value; 2]>,
        rest: Value,
        first: usize,
        result: usize,
    ) -> Result<Called, Throw> {
        if self.frames.len() >= MAX_DEPTH {
            return Err(too_deep());
        }
        self.grow(first);
        let places = self.stack.get_mut(first..).unwrap_or_default();
        for (slot, value) in places.iter_mut().zip(args.into_iter().chain([rest])) {
            set(slot, value);
        }
        let (unit, proto, captures, this) = match function {
            Function::User(user) => (
                &user.unit,
                user.proto,
                &*user.captures,
                This::of(user.this.as_ref()),
            ),
            Function::UserClass(unit, class) => {
                let Some(table) = unit.classes.get(*class as usize) else {
                    return Err(Throw::error("no such class"));
                };
                let object = Instance::object(unit, *class);
                self.note(&object);
                (unit, table.constructor, &[][..], This::Object(object))
            }
            _ => return Err(Throw::error("not a function of a script")),
        };
        let given = usize::from(unit.program.protos[proto as usize].declared);
        self.enter_bound(unit, proto, captures, this, first, given, result)
    }

    /// Calls `callee` with the values of a long list: those that have no parameter of their own become a list in pieces.
    #[cold]
    pub(crate) fn call_with_many(
        &mut self,
        callee: Value,
        list: Value,
        result: usize,
    ) -> Result<Called, Throw> {
        let given = list.as_array().map_or(0, |view| view.len());
        let proto = match &callee {
            Value::Function(function) => match &**function {
                Function::User(user) => user.unit.program.protos.get(user.proto as usize),
                Function::UserClass(unit, class) => {
                    let table = unit.classes.get(*class as usize);
                    table.and_then(|table| unit.program.protos.get(table.constructor as usize))
                }
                _ => None,
            },
            _ => None,
        };
        let declared = proto.filter(|proto| proto.rest).map(|proto| proto.declared);
        match (&callee, declared) {
            (Value::Function(function), Some(declared)) => {
                self.cx().fits_entries(given)?;
                let task = Spread::new(Rc::clone(function), list, usize::from(declared));
                self.start_task(Box::new(task), result, result)
            }
            // No function takes so many: it says so.
            _ => self.call(Callee::Value(callee), result + 1, given, result),
        }
    }

    /// Puts the values of a list into the stack as arguments; gives their number.
    pub(crate) fn place_arguments(&mut self, list: &Value, first: usize) -> Result<usize, Throw> {
        let Some(view) = list.as_array() else {
            return Err(Throw::error("arguments must be a list"));
        };
        let count = view.len();
        self.cx().reserve_entries(count)?;
        self.grow(first + count);
        for (at, value) in view.values().enumerate() {
            self.stack[first + at] = value;
        }
        Ok(count)
    }

    /// Calls a built-in that was not checked by the compiler.
    fn call_checked(
        &mut self,
        native: NativeFn,
        this: Option<Rc<Object>>,
        first: usize,
        given: usize,
        result: usize,
    ) -> Result<Called, Throw> {
        self.grow(first);
        let declared = self.library.native(native);
        let args = self.stack.get_mut(first..first + given).unwrap_or_default();
        declared.check_count(given)?;
        declared.accept(args, &self.library)?;
        self.call_native(native, this, first, given, result)
    }

    /// Calls a built-in with arguments that fit.
    pub(crate) fn call_native(
        &mut self,
        native: NativeFn,
        this: Option<Rc<Object>>,
        first: usize,
        given: usize,
        result: usize,
    ) -> Result<Called, Throw> {
        if let Some(object) = &this
            && object.as_generator().is_some()
        {
            // Of an iterator's functions there is only `next`.
            return self.resume_generator(object, Consumer::Method, first, result);
        }
        let declared = self.library.native(native);
        if matches!(declared.decl.imp, Imp::Waiting(_)) {
            self.host.set_called_at(self.place());
            if self.host.debugger().is_some() {
                self.host.set_calls(self.calls());
            }
        }
        let mut cx = Cx {
            host: &self.host,
            library: &self.library,
            fuel: &mut self.quantum,
        };
        let values = self.stack.get_mut(first..first + given).unwrap_or_default();
        let args = Args {
            this: this.as_ref(),
            values,
        };
        let called = match declared.decl.imp {
            Imp::Plain(function) => function(&mut cx, args).map(Called::Value),
            Imp::Waiting(function) => {
                function(&mut cx, args).map(|future| Called::exit(Exit::Wait(future)))
            }
            Imp::Heavy(function) => match function(&mut cx, args) {
                Ok(Heavy::Done(value)) => Ok(Called::Value(value)),
                Ok(Heavy::Offload(job)) => Ok(Called::exit(Exit::Offload(job))),
                Ok(Heavy::Task(task)) => {
                    self.clear(first, given);
                    return self.start_task(task, first, result);
                }
                Err(throw) => Err(throw),
            },
            Imp::Task(function) => {
                let task = function(&mut cx, args)?;
                self.clear(first, given);
                return self.start_task(task, first, result);
            }
            Imp::Construct => Err(Throw::error(format!(
                "{} cannot be called",
                declared.signature.name
            ))),
        };
        self.clear(first, given);
        match called {
            Ok(Called::Exit(exit)) => {
                self.waiting = Some(result);
                Ok(Called::Exit(exit))
            }
            Err(throw) => self.later(throw, result),
            called => called,
        }
    }

    /// Goes on with what a built-in left for later.
    #[cold]
    fn later(&mut self, throw: Throw, result: usize) -> Result<Called, Throw> {
        match throw.into_inner() {
            Thrown::Later(later) => {
                self.start_later(later, result);
                Ok(Called::Frame)
            }
            other => Err(Throw::from(other)),
        }
    }

    /// Runs a built-in that calls back, in a frame of its own from register `base` of the stack on. That is where its
    /// arguments were: `result` may be a variable, and those behind it are not to be touched.
    pub(crate) fn start_task(
        &mut self,
        task: Box<dyn Task>,
        base: usize,
        result: usize,
    ) -> Result<Called, Throw> {
        if self.frames.len() >= MAX_DEPTH {
            return Err(too_deep());
        }
        self.frames.push(Frame {
            pc: 0,
            base: base as u32,
            proto: 0,
            instance: 0,
            result: result as u32,
            kind: FrameKind::Task,
        });
        self.tasks.push(task);
        self.advance(Input::Start)
    }

    fn clear(&mut self, first: usize, count: usize) {
        wipe(self.stack.get_mut(first..first + count).unwrap_or_default());
    }

    /// Goes on with the built-in in the running frame, and with those that called it as they get done.
    pub(crate) fn advance(&mut self, mut input: Input) -> Result<Called, Throw> {
        loop {
            self.quantum -= 1;
            if self.quantum <= 0
                && let Tick::Yield = self.tick()?
            {
                self.pending = Some(input);
                return Ok(Called::exit(Exit::Slice));
            }
            let Some(frame) = self.frames.last().copied() else {
                return Ok(Called::exit(Exit::Done));
            };
            let Some(task) = self.tasks.last_mut() else {
                return Err(Throw::error("no built-in to go on with"));
            };
            let mut cx = Cx {
                host: &self.host,
                library: &self.library,
                fuel: &mut self.quantum,
            };
            let base = frame.base as usize;
            let step = match task.resume(&mut cx, input) {
                Ok(step) => step,
                Err(throw) => match throw.into_inner() {
                    // It goes on when that is done, and finds what was prepared.
                    Thrown::Later(later) => {
                        self.start_later(later, base);
                        input = Input::Start;
                        continue;
                    }
                    other => return Err(Throw::from(other)),
                },
            };
            match step {
                Step::Done(value) => {
                    let result = frame.result as usize;
                    // Whoever was called has taken its arguments off: nothing is left to undefine.
                    self.frames.pop();
                    self.tasks.pop();
                    if frame.pc == AGAIN
                        && let Some(frame) = self.frames.last_mut()
                    {
                        // The instruction or built-in has what it needs now.
                        if frame.kind == FrameKind::Task {
                            input = Input::Start;
                            continue;
                        }
                        frame.pc = frame.pc.saturating_sub(1);
                        return Ok(Called::Frame);
                    }
                    match self.frames.last().map(|frame| frame.kind) {
                        Some(FrameKind::Task) => {
                            input = Input::Value(value);
                            continue;
                        }
                        Some(FrameKind::Script | FrameKind::Generator) => {
                            self.grow(result);
                            self.stack[result] = value;
                            return Ok(Called::Frame);
                        }
                        None => {
                            self.stack[result] = value;
                            return Ok(Called::exit(Exit::Done));
                        }
                    }
                }
                Step::Again => {
                    input = Input::Start;
                    // Pieces cost less fuel than a slice has, and some take longer than others.
                    if self.host.clock.monotonic() >= self.slice_end {
                        self.pending = Some(input);
                        return Ok(Called::exit(Exit::Slice));
                    }
                }
                Step::CallRest(function, args, rest) => {
                    match self.call_with_rest(&function, args, rest, base + 1, base)? {
                        Called::Value(value) => input = Input::Value(value),
                        called => return Ok(called),
                    }
                }
                Step::Await(future) => {
                    self.waiting = Some(base);
                    return Ok(Called::exit(Exit::Wait(future)));
                }
                Step::Call(function, args) => {
                    let first = base + 1;
                    let given = args.len();
                    self.grow(first + given);
                    let places = self.stack.get_mut(first..).unwrap_or_default();
                    for (slot, value) in places.iter_mut().zip(args) {
                        set(slot, value);
                    }
                    match self.call_function(&function, first, given, base)? {
                        Called::Value(value) => input = Input::Value(value),
                        // A script's function, or a built-in whose own callback is running now.
                        called => return Ok(called),
                    }
                }
            }
        }
    }

    /// Hands the result of a finished call on when the caller is no function of the same unit.
    pub(crate) fn deliver(
        &mut self,
        result: usize,
        value: Value,
    ) -> Result<Option<Box<Exit>>, Throw> {
        match self.frames.last().map(|frame| frame.kind) {
            None => {
                self.stack[result] = value;
                Ok(Some(Box::new(Exit::Done)))
            }
            Some(FrameKind::Script | FrameKind::Generator) => {
                self.stack[result] = value;
                Ok(None)
            }
            Some(FrameKind::Task) => match self.advance(Input::Value(value))? {
                Called::Exit(exit) => Ok(Some(exit)),
                Called::Value(_) | Called::Frame => Ok(None),
            },
        }
    }
}

/// A call with the values of a long list, whose function takes the surplus as a list.
struct Spread {
    function: Rc<Function>,
    list: Value,
    declared: usize,
    rest: Box<dyn Pieces>,
}

impl Spread {
    fn new(function: Rc<Function>, list: Value, declared: usize) -> Spread {
        let count = list.as_array().map_or(0, |view| view.len());
        let rest = element::picked(list.clone(), declared, count.saturating_sub(declared));
        Spread {
            function,
            list,
            declared,
            rest: Box::new(rest),
        }
    }
}

impl Task for Spread {
    fn resume(&mut self, cx: &mut Cx<'_>, input: Input) -> Result<Step, Throw> {
        if let Input::Value(answer) = input {
            return Ok(Step::Done(answer));
        }
        let Some(rest) = (self.rest)(cx)? else {
            return Ok(Step::Again);
        };
        let list = self.list.take();
        let values = list.as_array().into_iter().flat_map(|view| view.values());
        let args = values.take(self.declared).collect();
        Ok(Step::CallRest(Rc::clone(&self.function), args, rest))
    }
}
