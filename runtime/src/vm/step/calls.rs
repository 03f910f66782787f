//! Calls, returns, functions and classes as values, and what leaves a frame.

use std::rc::Rc;

use angarium_lang::bytecode::{Instr, MAX_REGISTERS, Op};

use super::{Here, Next, Stepped, cx};
use crate::cache::CachedCall;
use crate::cell::VarCell;
use crate::convert;
use crate::native::{ClassId, NativeFn, Throw};
use crate::object::{Function, UserFunction};
use crate::pieces::LARGE_ENTRIES;
use crate::value::Value;
use crate::vm::call::{Called, Callee, This};
use crate::vm::fiber::{Fiber, FrameKind};
use crate::vm::registers::{r, set, take, window, wipe};

impl Fiber {
    pub(super) fn step_call(&mut self, instr: Instr, here: &Here<'_>) -> Stepped {
        let (base, at) = (here.base, here.base + r(instr.a));
        let regs = window(&mut self.stack, base);
        let called = match instr.op {
            Op::Call => {
                let given = r(instr.b);
                self.enter(here.unit, instr.d, &[], This::None, at, given, at)?
            }
            Op::CallValue => {
                let callee = take(&mut regs[r(instr.a)]);
                self.call(Callee::Value(callee), at + 1, r(instr.b), at)?
            }
            Op::CallMethod => {
                if instr.c != instr.a {
                    let object = regs[r(instr.c)].clone();
                    set(&mut regs[r(instr.a)], object);
                }
                self.call_method(instr.d as usize, at, r(instr.b))?
            }
            Op::CallSpread => {
                let callee = take(&mut regs[r(instr.a)]);
                let list = take(&mut regs[r(instr.a.saturating_add(1))]);
                if list
                    .as_array()
                    .is_some_and(|view| view.len() > LARGE_ENTRIES)
                {
                    self.call_with_many(callee, list, at)?
                } else {
                    let count = self.place_arguments(&list, at + 1)?;
                    self.call(Callee::Value(callee), at + 1, count, at)?
                }
            }
            Op::CallNative => {
                self.quantum -= 1;
                let end = (r(instr.a) + r(instr.b)).min(MAX_REGISTERS);
                let native = self.library.native(NativeFn(instr.d));
                native.accept(&mut regs[r(instr.a)..end], &self.library)?;
                self.call_native(NativeFn(instr.d), None, at, r(instr.b), base + r(instr.c))?
            }
            Op::Length => {
                self.quantum -= 1;
                let mut subject = regs[r(instr.b)].clone();
                let native = self.library.native(NativeFn(instr.d));
                // A variable in `a` stays as it is when there is no length.
                native.accept(std::slice::from_mut(&mut subject), &self.library)?;
                set(&mut regs[r(instr.a)], subject);
                self.call_native(NativeFn(instr.d), None, at, 1, at)?
            }
            Op::New => {
                let constructor = self.library.class(ClassId(instr.d)).constructor;
                let end = (r(instr.a) + r(instr.b)).min(MAX_REGISTERS);
                let native = self.library.native(constructor);
                native.accept(&mut regs[r(instr.a)..end], &self.library)?;
                self.call_native(constructor, None, at, r(instr.b), at)?
            }
            Op::NewObject => self.construct(here.unit, instr.d, at + 1, r(instr.b), at)?,
            Op::Cached => {
                let name = here.constant(instr.d).clone();
                let name = name.as_bytes().unwrap_or_default();
                let callee = take(&mut regs[r(instr.a)]);
                let options = take(&mut regs[r(instr.a.saturating_add(1))]);
                let args = take(&mut regs[r(instr.a.saturating_add(2))]);
                let Value::Function(function) = callee else {
                    return Err(Throw::error("not a function"));
                };
                let task = CachedCall::new(&self.host, name, function, &options, &args)?;
                self.start_task(Box::new(task), at, at)?
            }
            Op::Lock => {
                let name = regs[r(instr.a)].clone();
                self.lock_barrier(&name, at)?
            }
            _ => return self.step_other(instr, here),
        };
        Ok(match called {
            Called::Value(value) => {
                self.grow(base);
                let regs = window(&mut self.stack, base);
                set(&mut regs[r(instr.result())], value);
                Next::Go
            }
            Called::Frame => Next::Frame,
            Called::Exit(exit) => Next::Exit(exit),
        })
    }

    fn step_other(&mut self, instr: Instr, here: &Here<'_>) -> Stepped {
        let regs = window(&mut self.stack, here.base);
        match instr.op {
            Op::LoadFunction | Op::Closure => {
                let site = match instr.op {
                    Op::Closure => here.proto.closures.get(instr.d as usize),
                    _ => None,
                };
                let captures: Box<[Rc<VarCell>]> = site.map_or_else(Default::default, |site| {
                    let cells = site
                        .captures
                        .iter()
                        .map(|register| match &regs[r(*register)] {
                            Value::Cell(cell) => Rc::clone(cell),
                            value => VarCell::new(value.clone()),
                        });
                    cells.collect()
                });
                let function = Function::User(UserFunction {
                    unit: here.unit.clone(),
                    proto: site.map_or(instr.d, |site| site.function),
                    _charge: UserFunction::charge(captures.len()),
                    captures,
                    anonymous: site.is_some(),
                    this: None,
                });
                set(&mut regs[r(instr.a)], Value::Function(Rc::new(function)));
            }
            Op::LoadNative | Op::LoadClass | Op::LoadUserClass => {
                let function = match instr.op {
                    Op::LoadNative => Function::Native(NativeFn(instr.d)),
                    Op::LoadClass => Function::NativeClass(ClassId(instr.d)),
                    _ => Function::UserClass(here.unit.clone(), instr.d),
                };
                set(&mut regs[r(instr.a)], Value::Function(Rc::new(function)));
            }
            Op::Return | Op::ReturnNone => return self.step_return(instr, here),
            Op::Throw => return Err(Throw::value(regs[r(instr.a)].clone())),
            Op::NoArm => {
                let value = convert::dump_short(&regs[r(instr.a)]);
                let value = String::from_utf8_lossy(&value);
                return Err(Throw::error(format!("match: no arm for {value}")));
            }
            Op::Fail => {
                let text = convert::to_str(here.constant(instr.d));
                return Err(Throw::error(text.to_text().into_owned()));
            }
            Op::Echo => match &regs[r(instr.a)] {
                Value::String(text) => {
                    self.quantum -= (text.len() / 64) as i64;
                    self.host.output.echo(text.as_bytes());
                }
                value => {
                    let text = crate::vm::ops::text(value, cx!(self))?;
                    self.host.output.echo(text.as_bytes());
                }
            },
            Op::Enter => {
                let name = regs[r(instr.a)].clone();
                let (mark, value) = self.enter_barrier(&name, instr.c == 1)?;
                let regs = window(&mut self.stack, here.base);
                set(&mut regs[r(instr.a)], mark);
                set(&mut regs[r(instr.b)], value);
            }
            _ => {
                let mark = regs[r(instr.a)].clone();
                let value = match &regs[r(instr.b)] {
                    Value::Cell(cell) => cell.get(),
                    value => value.clone(),
                };
                self.leave_barrier(&mark, &value)?;
            }
        }
        Ok(Next::Go)
    }

    /// Hands a value to the consumer of the running generator.
    pub(super) fn step_yield(&mut self, instr: Instr) -> Stepped {
        let (key, value) = match instr.op {
            Op::Yield => (None, instr.a),
            _ => (Some(instr.a), instr.b),
        };
        Ok(match self.yielded(key, value)? {
            Called::Exit(exit) => Next::Exit(exit),
            Called::Value(_) | Called::Frame => Next::Frame,
        })
    }

    /// Leaves the running frame for whatever called it.
    fn step_return(&mut self, instr: Instr, here: &Here<'_>) -> Stepped {
        let regs = window(&mut self.stack, here.base);
        let value = match instr.op {
            Op::Return => take(&mut regs[r(instr.a)]),
            _ => Value::None,
        };
        wipe(&mut regs[..usize::from(here.proto.registers)]);
        let Some(done) = self.frames.pop() else {
            return Err(Throw::error("no frame to return from"));
        };
        let result = done.result as usize;
        if done.kind == FrameKind::Generator {
            return Ok(match self.generator_done(result)? {
                Called::Exit(exit) => Next::Exit(exit),
                Called::Value(_) | Called::Frame => Next::Frame,
            });
        }
        Ok(match self.deliver(result, value)? {
            None => Next::Frame,
            Some(exit) => Next::Exit(exit),
        })
    }
}
