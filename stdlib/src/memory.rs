//! Shared memory: `memory_*`, one lock per key, shared with `barrier`.

use std::rc::Rc;
use std::sync::Arc;

use angarium_runtime::frozen::{Freezer, Pin, Tree, freeze};
use angarium_runtime::native::{Args, Cx, FnDecl, Input, Step, Task, Throw};
use angarium_runtime::object::Function;
use angarium_runtime::pieces::PIECE_FREEZING;
use angarium_runtime::shared::{self, Guard, SharedMemory};
use angarium_runtime::string::Str;
use angarium_runtime::value::Value;
use smallvec::{SmallVec, smallvec};

/// The functions of this family.
pub const FUNCTIONS: &[FnDecl] = &[
    FnDecl::task(
        "memory_add(key: string, value: any): boolean",
        "Stores a value unless the key exists; tells whether it did.",
        |cx, mut args| {
            let value = args.take(1);
            start(cx, &mut args, None, Op::Add(None), Some(value))
        },
    )
    .example(r#"memory_add("doc-add", 1) // true"#),
    FnDecl::task(
        "memory_dec(key: string, offset?: number = 1, remove_if_zero?: boolean = false): number|none",
        "Subtracts from a number, which starts at 0, and gives the new value. With `remove_if_zero` the key goes when \
         the result is 0. A value that is no number stays, and the result is none.",
        |cx, mut args| {
            let remove_if_zero = angarium_runtime::convert::truthy(args.get(2));
            let offset = -args.number(1, 1.0);
            start(cx, &mut args, None, Op::Count { offset, remove_if_zero }, None)
        },
    )
    .example(r#"memory_dec("doc-dec", 2) // -2"#),
    FnDecl::task(
        "memory_inc(key: string, offset?: number = 1): number|none",
        "Adds to a number, which starts at 0, and gives the new value. A value that is no number stays, and the \
         result is none.",
        |cx, mut args| {
            let offset = args.number(1, 1.0);
            start(cx, &mut args, None, Op::Count { offset, remove_if_zero: false }, None)
        },
    )
    .example(r#"memory_inc("doc-inc") // 1"#),
    FnDecl::task(
        "memory_delete(key: string, callback?: function): boolean",
        "Removes a key, after calling `callback(key, value)`; tells whether it existed.",
        |cx, mut args| {
            let callback = callback(args.take(1));
            start(cx, &mut args, callback, Op::Delete, None)
        },
    )
    .example(r#"memory_delete("doc-missing") // false"#),
    FnDecl::task(
        "memory_exists(key: string, callback?: function): boolean",
        "Tells whether a key exists; if so, calls `callback(key, value)`.",
        |cx, mut args| {
            let callback = callback(args.take(1));
            start(cx, &mut args, callback, Op::Exists, None)
        },
    )
    .example(r#"memory_exists("doc-missing") // false"#),
    FnDecl::task(
        "memory_fetch(key: string, callback?: function): any",
        "Gives the value of a key. When it is missing, gives the result of `callback(key)`, which is not stored, or \
         none.",
        |cx, mut args| {
            let callback = callback(args.take(1));
            start(cx, &mut args, callback, Op::Fetch, None)
        },
    )
    .example(r#"memory_fetch("doc-missing", function ($k) { return "no " . $k; }) // "no doc-missing""#),
    FnDecl::task(
        "memory_store(key: string, value: any, callback?: function): boolean",
        "Stores a value. When the key existed, calls `callback(key, oldvalue)` first and returns true. A key has at most 64 KiB, \
         in all functions of shared memory.",
        |cx, mut args| {
            let callback = callback(args.take(2));
            let value = args.take(1);
            start(cx, &mut args, callback, Op::Store(None), Some(value))
        },
    )
    .example(r#"memory_store("doc-store", [1]) // false"#),
    FnDecl::task(
        "memory_update(key: string, value: any, callback: function, initial?: any): boolean",
        "Replaces the value by `callback(key, current, value)`; tells whether the key existed. A missing key stays \
         missing, unless there is an `initial` value to take as the current one.",
        |cx, mut args| {
            let callback = callback(args.take(2));
            let initial = args.has(3).then(|| args.take(3));
            let value = args.take(1);
            start(cx, &mut args, callback, Op::Update { value, initial }, None)
        },
    )
    .example(r#"memory_update("doc-list", "x", function ($k, $c, $v) { $c[] = $v; return $c; }, []) // false"#),
];

enum Op {
    Add(Option<Arc<Tree>>),
    Count {
        offset: f64,
        remove_if_zero: bool,
    },
    Delete,
    Exists,
    Fetch,
    Store(Option<Arc<Tree>>),
    Update {
        value: Value,
        initial: Option<Value>,
    },
}

/// One call: takes the lock, looks, asks the callback if there is one, changes the store.
struct Access {
    memory: Rc<SharedMemory>,
    key: Str,
    callback: Option<Rc<Function>>,
    op: Op,
    /// Whether the key existed when the lock was taken.
    existed: bool,
    state: State,
    guard: Option<Guard>,
    /// What is being made ready to be stored, in pieces.
    freezer: Option<Freezer>,
}

enum State {
    Locking,
    Asked,
}

fn callback(value: Value) -> Option<Rc<Function>> {
    if let Value::Function(function) = value {
        Some(function)
    } else {
        None
    }
}

fn store(value: &Value) -> Result<Arc<Tree>, Throw> {
    Ok(freeze(value)?)
}

fn start(
    cx: &mut Cx<'_>,
    args: &mut Args<'_>,
    callback: Option<Rc<Function>>,
    op: Op,
    stored: Option<Value>,
) -> Result<Box<dyn Task>, Throw> {
    let Value::String(key) = args.take(0) else {
        return Err(Throw::error("a key is needed"));
    };
    shared::check_key(key.as_bytes())?;
    let memory = memory_of(cx)?;
    Ok(Box::new(Access {
        memory,
        key,
        callback,
        op,
        existed: false,
        state: State::Locking,
        guard: None,
        freezer: stored.as_ref().map(Freezer::new),
    }))
}

fn memory_of(cx: &Cx<'_>) -> Result<Rc<SharedMemory>, Throw> {
    cx.host
        .extension::<SharedMemory>()
        .ok_or_else(|| Throw::error("there is no shared memory here"))
}

impl Task for Access {
    fn resume(&mut self, cx: &mut Cx<'_>, input: Input) -> Result<Step, Throw> {
        if let Some(freezer) = &mut self.freezer {
            let mut spent = 0;
            let tree = freezer.go_on(&mut spent, PIECE_FREEZING);
            cx.charge(spent);
            let Some(tree) = tree? else {
                return Ok(Step::Again);
            };
            self.freezer = None;
            match &mut self.op {
                Op::Add(new) | Op::Store(new) => *new = Some(tree),
                _ => {
                    self.memory.set(self.key.as_bytes(), Some(tree))?;
                    let existed = self.existed;
                    return self.done(existed);
                }
            }
        }
        match (&self.state, input) {
            (State::Locking, Input::Start) => {
                self.guard = self.memory.try_lock(self.key.as_bytes(), cx.host.execution);
                if self.guard.is_none() {
                    let lock = self.memory.lock(self.key.as_bytes(), cx.host.execution);
                    let key = self.key.clone();
                    // The lock itself cannot travel in a value: it is taken again, now re-entrantly, on resumption
                    // while the future's own hold is still alive inside the value's resource.
                    return Ok(Step::Await(Box::pin(async move {
                        match lock.await {
                            Ok(guard) => Ok(hold(guard)),
                            Err(_) => Err(Throw::error(format!("deadlock on {}", key.to_text()))),
                        }
                    })));
                }
                self.locked()
            }
            (State::Locking, Input::Value(held)) => {
                self.guard = self.memory.try_lock(self.key.as_bytes(), cx.host.execution);
                drop(held);
                self.locked()
            }
            (State::Asked, Input::Value(answer)) => self.answered(answer),
            (State::Asked, Input::Start) => Err(Throw::error("resumed out of order")),
        }
    }
}

/// Carries a lock through a future's result.
fn hold(guard: Guard) -> Value {
    let shared = std::sync::Mutex::new(Some(guard));
    Value::Resource(Rc::new(angarium_runtime::object::Resource::new(
        "Lock",
        Arc::new(shared),
    )))
}

impl Access {
    fn ask(
        &mut self,
        callback: Rc<Function>,
        arguments: SmallVec<[Value; 2]>,
    ) -> Result<Step, Throw> {
        self.state = State::Asked;
        Ok(Step::Call(callback, arguments))
    }

    fn done(&mut self, value: impl Into<Value>) -> Result<Step, Throw> {
        self.guard = None;
        Ok(Step::Done(value.into()))
    }

    fn key_value(&self) -> Value {
        Value::String(self.key.clone())
    }

    /// The lock is held: look and act.
    fn locked(&mut self) -> Result<Step, Throw> {
        let current = self.memory.get(self.key.as_bytes());
        self.existed = current.is_some();
        let value = |tree: &Arc<Tree>| Pin::new(tree).root();
        match (&mut self.op, current) {
            (Op::Add(_), Some(_)) => self.done(false),
            (Op::Add(new), None) => {
                let new = new.take();
                self.memory.set(self.key.as_bytes(), new)?;
                self.done(true)
            }
            (
                Op::Count {
                    offset,
                    remove_if_zero,
                },
                current,
            ) => {
                let number = match current.as_ref().map(value) {
                    None => 0.0,
                    Some(Value::Number(number)) => number,
                    Some(_) => return self.done(Value::None),
                };
                let sum = number + *offset;
                let stored = if *remove_if_zero && sum == 0.0 {
                    None
                } else {
                    Some(store(&Value::Number(sum))?)
                };
                self.memory.set(self.key.as_bytes(), stored)?;
                self.done(sum)
            }
            (Op::Delete | Op::Exists | Op::Store(_), Some(current)) if self.callback.is_some() => {
                let Some(callback) = self.callback.take() else {
                    return self.done(Value::None);
                };
                let arguments = smallvec![self.key_value(), value(&current)];
                self.ask(callback, arguments)
            }
            (Op::Fetch, Some(current)) => {
                let value = value(&current);
                self.done(value)
            }
            (Op::Fetch, None) => match self.callback.take() {
                Some(callback) => {
                    let arguments = smallvec![self.key_value()];
                    self.ask(callback, arguments)
                }
                None => self.done(Value::None),
            },
            (
                Op::Update {
                    value: new,
                    initial,
                },
                current,
            ) => {
                let Some(current) = current.as_ref().map(value).or(initial.take()) else {
                    return self.done(false);
                };
                let Some(callback) = self.callback.take() else {
                    return self.done(false);
                };
                let new = new.take();
                let arguments = smallvec![self.key_value(), current, new];
                self.ask(callback, arguments)
            }
            (Op::Delete | Op::Exists | Op::Store(_), _) => self.answered(Value::None),
        }
    }

    /// The callback has answered, or there was none to ask.
    fn answered(&mut self, answer: Value) -> Result<Step, Throw> {
        let existed = self.existed;
        match &mut self.op {
            Op::Delete => {
                self.memory.set(self.key.as_bytes(), None)?;
            }
            Op::Store(new) => {
                let new = new.take();
                self.memory.set(self.key.as_bytes(), new)?;
            }
            Op::Update { .. } => {
                self.freezer = Some(Freezer::new(&answer));
                return Ok(Step::Again);
            }
            Op::Fetch => return self.done(answer),
            Op::Exists | Op::Add(_) | Op::Count { .. } => {}
        }
        self.done(existed)
    }
}
