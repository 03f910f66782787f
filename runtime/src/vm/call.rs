//! Calls: of functions of the script, of built-ins of every kind, and back from built-ins into the script.

use std::rc::Rc;

use angarium_lang::arity_message;
use angarium_lang::bytecode::Proto;

use crate::array::Array;
use crate::host::Matched;
use crate::native::{Args, Heavy, Imp, Input, NativeFn, Step, Throw};
use crate::object::{Function, Object, UserFunction};
use crate::regex::Regex;
use crate::value::Value;
use crate::vm::execution::Exit;
use crate::vm::fiber::{Fiber, Frame, FrameKind, MAX_DEPTH, Tick};

/// What is called.
pub(crate) enum Callee {
    /// A value, which should be a function.
    Value(Value),
    /// The method of an object; the name is a string.
    Method(Value, Value),
}

/// What became of a call.
pub(crate) enum Called {
    /// It is done.
    Value(Value),
    /// The frames have changed: the running one has to be looked up anew.
    Frame,
    /// The loop is left.
    Exit(Exit),
}

#[cold]
fn too_deep() -> Throw {
    Throw::error("call depth exceeded")
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
            Callee::Method(Value::Object(object), name) => {
                let name = crate::convert::to_str(&name);
                let method = self
                    .library
                    .class_of(&object)
                    .and_then(|class| class.method(&name.to_text()));
                match method {
                    Some(method) => self.call_checked(method, Some(object), first, given, result),
                    None => Err(Throw::error(format!("unknown method {}", name.to_text()))),
                }
            }
            Callee::Method(other, name) => {
                let name = crate::convert::to_str(&name);
                Err(Throw::error(format!(
                    "method {} called on {}",
                    name.to_text(),
                    other.kind().name()
                )))
            }
        }
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
            Function::User(user) => self.enter(user, first, given, result),
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

    /// Makes a frame for a function of a script.
    fn enter(
        &mut self,
        user: &UserFunction,
        first: usize,
        given: usize,
        result: usize,
    ) -> Result<Called, Throw> {
        if self.frames.len() >= MAX_DEPTH {
            return Err(too_deep());
        }
        let instance = self.instance(&user.unit);
        let proto = &user.unit.program.protos[user.proto as usize];
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
        let present = if proto.rest { declared + 1 } else { given };
        let captures = declared + usize::from(proto.rest);
        for register in present..usize::from(proto.variables) {
            self.stack[first + register] = Value::Undefined;
        }
        for (at, cell) in user.captures.iter().enumerate() {
            self.stack[first + captures + at] = Value::Cell(Rc::clone(cell));
        }
        self.frames.push(Frame {
            pc: 0,
            base: first as u32,
            proto: user.proto,
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
        let library = std::sync::Arc::clone(&self.library);
        let declared = library.native(native);
        let args = self.stack.get_mut(first..first + given).unwrap_or_default();
        declared.check_count(given)?;
        declared.accept(args, &library)?;
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
        let library = std::sync::Arc::clone(&self.library);
        let declared = library.native(native);
        let mut cx = crate::native::Cx {
            host: &self.host,
            library: &library,
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
                function(&mut cx, args).map(|future| Called::Exit(Exit::Wait(future)))
            }
            Imp::Heavy(function) => function(&mut cx, args).map(|heavy| match heavy {
                Heavy::Done(value) => Called::Value(value),
                Heavy::Offload(job) => Called::Exit(Exit::Offload(job)),
            }),
            Imp::Task(function) => {
                let task = function(&mut cx, args)?;
                self.clear(first, given);
                if self.frames.len() >= MAX_DEPTH {
                    return Err(too_deep());
                }
                self.frames.push(Frame {
                    pc: 0,
                    base: result as u32,
                    proto: 0,
                    instance: 0,
                    result: result as u32,
                    kind: FrameKind::Task,
                });
                self.tasks.push(task);
                return self.advance(Input::Start);
            }
            Imp::Construct => Err(Throw::error(format!(
                "{} cannot be called",
                declared.signature.name
            ))),
        };
        self.clear(first, given);
        if let Ok(Called::Exit(_)) = &called {
            self.waiting = Some(result);
        }
        called
    }

    fn clear(&mut self, first: usize, count: usize) {
        self.stack
            .get_mut(first..first + count)
            .unwrap_or_default()
            .fill(Value::Undefined);
    }

    /// Goes on with the built-in in the running frame, and with those that called it as they get done.
    pub(crate) fn advance(&mut self, mut input: Input) -> Result<Called, Throw> {
        loop {
            self.quantum -= 1;
            if self.quantum <= 0
                && let Tick::Yield = self.tick()?
            {
                self.pending = Some(input);
                return Ok(Called::Exit(Exit::Slice));
            }
            let Some(frame) = self.frames.last().copied() else {
                return Ok(Called::Exit(Exit::Done));
            };
            let Some(task) = self.tasks.last_mut() else {
                return Err(Throw::error("no built-in to go on with"));
            };
            let mut cx = crate::native::Cx {
                host: &self.host,
                library: &self.library,
                fuel: &mut self.quantum,
            };
            let base = frame.base as usize;
            match task.resume(&mut cx, input)? {
                Step::Done(value) => {
                    let result = frame.result as usize;
                    self.drop_frame();
                    match self.frames.last().map(|frame| frame.kind) {
                        Some(FrameKind::Task) => {
                            input = Input::Value(value);
                            continue;
                        }
                        Some(FrameKind::Script) => {
                            self.grow(result);
                            self.stack[result] = value;
                            return Ok(Called::Frame);
                        }
                        None => {
                            self.stack[result] = value;
                            return Ok(Called::Exit(Exit::Done));
                        }
                    }
                }
                Step::Await(future) => {
                    self.waiting = Some(base);
                    return Ok(Called::Exit(Exit::Wait(future)));
                }
                Step::Call(function, args) => {
                    let first = base + 1;
                    let given = args.len();
                    self.grow(first + given);
                    for (at, value) in args.into_iter().enumerate() {
                        self.stack[first + at] = value;
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
    pub(crate) fn deliver(&mut self, result: usize, value: Value) -> Result<Option<Exit>, Throw> {
        match self.frames.last().map(|frame| frame.kind) {
            None => {
                self.stack[result] = value;
                Ok(Some(Exit::Done))
            }
            Some(FrameKind::Script) => {
                self.stack[result] = value;
                Ok(None)
            }
            Some(FrameKind::Task) => match self.advance(Input::Value(value))? {
                Called::Exit(exit) => Ok(Some(exit)),
                Called::Value(_) | Called::Frame => Ok(None),
            },
        }
    }

    /// `subject =~ pattern`
    pub(crate) fn matches(
        &mut self,
        subject: &Value,
        pattern: &Value,
        wanted: bool,
        result: usize,
    ) -> Result<Called, Throw> {
        let subject = crate::convert::to_str(subject);
        let regex = pattern
            .as_object()
            .and_then(|object| object.downcast::<Regex>());
        let compiled = match (regex, pattern) {
            (Some(regex), _) => std::sync::Arc::clone(&regex.compiled),
            (None, Value::String(text)) => {
                self.host
                    .regex
                    .compile_text(text.as_bytes())
                    .map_err(|(message, at)| {
                        Throw::error(format!("bad regular expression: {message} at byte {at}"))
                    })?
            }
            (None, other) => {
                let kind = other.kind().name();
                return Err(Throw::error(format!("=~: expected a pattern, got {kind}")));
            }
        };
        self.cx().charge(subject.len() / 16);
        match compiled.is_match(subject.as_bytes()) {
            Matched::Yes => Ok(Called::Value(Value::Boolean(wanted))),
            Matched::No => Ok(Called::Value(Value::Boolean(!wanted))),
            Matched::Limit => {
                // Once more with the large limit, on the pool, with the script suspended.
                let subject = subject.as_bytes().to_vec();
                self.waiting = Some(result);
                Ok(Called::Exit(Exit::Offload(Box::new(move || {
                    let matched = compiled.is_match_heavy(&subject);
                    Box::new(move |_| match matched {
                        Matched::Yes => Ok(Value::Boolean(wanted)),
                        Matched::No => Ok(Value::Boolean(!wanted)),
                        Matched::Limit => {
                            Err(Throw::error("regular expression: match limit exceeded"))
                        }
                    })
                }))))
            }
        }
    }
}
