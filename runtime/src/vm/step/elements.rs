//! Elements, properties and arrays (language.md 7).

use angarium_lang::bytecode::{Instr, MAX_REGISTERS, Op, PathOp};

use super::{Here, Next, Stepped, cx};
use crate::array::{Array, Key};
use crate::instance::Instance;
use crate::native::{Cx, Throw};
use crate::value::Value;
use crate::vm::fiber::Fiber;
use crate::vm::ops::{array, element, extensible, path, room};
use crate::vm::registers::{Registers, put_bool, r, set, take, window};

impl Fiber {
    pub(super) fn step_element(&mut self, instr: Instr, here: &Here<'_>) -> Stepped {
        let regs = window(&mut self.stack, here.base);
        let cx = cx!(self);
        match instr.op {
            Op::Index | Op::IndexK | Op::IndexI => {
                let number;
                let key = match instr.op {
                    Op::Index => &regs[r(instr.c)],
                    Op::IndexK => here.constant(instr.d),
                    _ => {
                        number = Value::Number(f64::from(instr.int()));
                        &number
                    }
                };
                let value = element::index(&regs[r(instr.b)], key, here.caller(), cx)?;
                set(&mut regs[r(instr.a)], value);
            }
            Op::Peek => {
                let (base, key) = (&regs[r(instr.b)], &regs[r(instr.c)]);
                let value = element::peek(base, key, here.caller(), cx);
                set(&mut regs[r(instr.a)], value);
            }
            Op::IssetIndex => {
                let (base, key) = (&regs[r(instr.b)], &regs[r(instr.c)]);
                let isset = element::isset(base, key, here.caller(), &self.library);
                put_bool(&mut regs[r(instr.a)], isset);
            }
            Op::Slice => {
                let parts: [&Value; 3] =
                    std::array::from_fn(|at| regs.get(r(instr.c) + at).unwrap_or(&Value::None));
                let value = element::slice(&regs[r(instr.b)], parts, cx)?;
                set(&mut regs[r(instr.a)], value);
            }
            Op::Property | Op::PeekProperty => {
                let (base, name) = (&regs[r(instr.b)], here.constant(instr.d));
                let hint = here.hint(instr.d);
                let value = match element::get_property(base, name, here.caller(), cx, hint) {
                    Err(_) if instr.op == Op::PeekProperty => Value::None,
                    value => value?,
                };
                set(&mut regs[r(instr.a)], value);
            }
            Op::IssetProperty => {
                let isset = match (&regs[r(instr.b)], here.constant(instr.d)) {
                    (Value::Object(object), Value::String(name)) => {
                        element::isset_property(object, name, here.caller(), &self.library)
                    }
                    _ => false,
                };
                put_bool(&mut regs[r(instr.a)], isset);
            }
            Op::InitProperty => {
                let value = take(&mut regs[r(instr.b)]);
                let this = match &regs[r(instr.a)] {
                    Value::Cell(cell) => cell.get(),
                    this => this.clone(),
                };
                if let (Value::Object(object), Value::String(name)) =
                    (&this, here.constant(instr.d))
                    && let Some(instance) = Instance::of(object)
                {
                    instance.init(name, value);
                }
            }
            Op::SetIndex | Op::MoveIndex | Op::SetIndexK | Op::MoveIndexK => {
                let (key, from) = match instr.op {
                    Op::SetIndex | Op::MoveIndex => (None, instr.c),
                    _ => (Some(here.constant(instr.d)), instr.b),
                };
                let mut value = match instr.op {
                    Op::MoveIndex | Op::MoveIndexK => take(&mut regs[r(from)]),
                    _ => regs[r(from)].clone(),
                };
                // The array leaves its register meanwhile, because the key may be in another one.
                let mut array = take(&mut regs[r(instr.a)]);
                if let Some(slot) = path::element(&mut array, key.unwrap_or(&regs[r(instr.b)])) {
                    let old = std::mem::replace(slot, value);
                    set(&mut regs[r(instr.a)], array);
                    drop(old);
                } else {
                    set(&mut regs[r(instr.a)], array);
                    // The key may be the variable itself.
                    let key = Key::cast(key.unwrap_or(&regs[r(instr.b)]));
                    let step = [key.map_or(path::Resolved::NoKey, path::Resolved::Key)];
                    let done = path::variable(&mut regs[r(instr.a)], |base| {
                        path::set(base, &step, &mut value, here.caller(), cx)
                    });
                    put_back(done, &mut regs[r(from)], value)?;
                }
            }
            Op::Push | Op::MovePush => {
                let mut value = match instr.op {
                    Op::MovePush => take(&mut regs[r(instr.b)]),
                    _ => regs[r(instr.b)].clone(),
                };
                let slot = &mut regs[r(instr.a)];
                let done = if let Value::Array(_) = slot {
                    push(slot, &mut value, cx)
                } else {
                    path::variable(slot, |base| {
                        let end = &[path::Resolved::Append];
                        path::set(base, end, &mut value, here.caller(), cx)
                    })
                };
                put_back(done, &mut regs[r(instr.b)], value)?;
            }
            Op::UnsetPath => {
                let steps = path::resolve(steps_of(instr, here), regs, here.constants);
                let was = path::variable(&mut regs[r(instr.b)], |base| {
                    path::unset(base, &steps, here.caller(), cx)
                })?;
                put_bool(&mut regs[r(instr.a)], was);
            }
            Op::NewArray => {
                // Few entries are mostly to have keys of their own: then room for a list is not needed.
                let array = if instr.b == 1 {
                    Array::keyed_with_capacity(instr.d as usize)
                } else if instr.d <= 8 {
                    Array::new()
                } else {
                    Array::with_capacity(instr.d as usize)
                };
                set(&mut regs[r(instr.a)], Value::from(array));
            }
            Op::List => {
                let list: Vec<Value> = operands(instr, regs).iter_mut().map(take).collect();
                set(&mut regs[r(instr.a)], Value::from(Array::from_list(list)));
            }
            Op::Extend => {
                let mut list = take(&mut regs[r(instr.a)]);
                let done = array::extend(&mut list, operands(instr, regs), cx);
                set(&mut regs[r(instr.a)], list);
                done?;
            }
            Op::Entry => {
                let missing = absent(instr.c == 1);
                let value = array::entry(&regs[r(instr.b)], instr.d as usize).unwrap_or(missing);
                set(&mut regs[r(instr.a)], value);
            }
            Op::EntryKey => {
                let key = Key::cast(&regs[r(instr.c)]);
                let value = regs[r(instr.b)]
                    .as_array()
                    .and_then(|view| view.get(&key?))
                    .unwrap_or(absent(instr.d == 1));
                set(&mut regs[r(instr.a)], value);
            }
            _ => {
                let value = array::rest(&regs[r(instr.b)], instr.d as usize, cx)?;
                set(&mut regs[r(instr.a)], value);
            }
        }
        Ok(Next::Go)
    }

    /// Writes to a place that a path leads to.
    pub(super) fn step_path(&mut self, instr: Instr, here: &Here<'_>) -> Stepped {
        let regs = window(&mut self.stack, here.base);
        let cx = cx!(self);
        let steps = steps_of(instr, here);
        let update = instr.op == Op::Update;
        let op = PathOp::ALL.get(r(instr.c)).copied().unwrap_or(PathOp::Add);
        let mut value = if !update && instr.c == 1 {
            take(&mut regs[r(instr.b)])
        } else {
            regs[r(instr.b)].clone()
        };
        // The variable leaves its register meanwhile, because keys are in others.
        let mut target = take(&mut regs[r(instr.a)]);
        let names = &path::Names {
            registers: regs,
            constants: here.constants,
            hints: here.hints,
        };
        let done = path::at_existing(&mut target, steps, names, here.caller(), |slot| {
            if update {
                path::change(slot, op, &value, cx)
            } else {
                std::mem::swap(slot, &mut value);
                Ok(())
            }
        });
        set(&mut regs[r(instr.a)], target);
        if let Some(done) = done {
            return done.map(|()| Next::Go);
        }
        let steps = path::resolve(steps, regs, here.constants);
        let done = path::variable(&mut regs[r(instr.a)], |base| {
            if update {
                path::update(base, &steps, op, &value, here.caller(), cx)
            } else {
                path::set(base, &steps, &mut value, here.caller(), cx)
            }
        });
        put_back(done, &mut regs[r(instr.b)], value)?;
        Ok(Next::Go)
    }
}

/// Appends a value to an array.
#[inline]
fn push(slot: &mut Value, value: &mut Value, cx: &mut Cx<'_>) -> Result<(), Throw> {
    if let Some(array) = extensible(slot, cx)? {
        room(array, 1)?;
        array.push(value.take());
    }
    Ok(())
}

/// Puts a value that was taken and not written back: the instruction may be done again. What was only copied is there still,
/// and may be another by now: a variable can be written into itself.
#[inline]
fn put_back(done: Result<(), Throw>, register: &mut Value, value: Value) -> Result<(), Throw> {
    if done.is_err() && matches!(register, Value::Undefined) {
        set(register, value);
    }
    done
}

fn steps_of<'a>(instr: Instr, here: &Here<'a>) -> &'a [angarium_lang::bytecode::Step] {
    let path = here.proto.paths.get(instr.d as usize);
    path.map_or(&[][..], |steps| &**steps)
}

/// The registers b, b+1 … of an instruction with a count in c.
fn operands(instr: Instr, regs: &mut Registers) -> &mut [Value] {
    let end = (r(instr.b) + r(instr.c)).min(MAX_REGISTERS);
    &mut regs[r(instr.b)..end]
}

/// What stands for an entry that is not there.
fn absent(undefined: bool) -> Value {
    if undefined {
        Value::Undefined
    } else {
        Value::None
    }
}
