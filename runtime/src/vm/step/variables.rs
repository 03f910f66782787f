//! Variables that are shared, and those that may be undefined.

use std::rc::Rc;

use angarium_lang::bytecode::{Instr, Op};

use super::{Here, Next, Stepped};
use crate::array::Array;
use crate::native::Throw;
use crate::value::Value;
use crate::vm::fiber::Fiber;
use crate::vm::ops::{array, path};
use crate::vm::registers::{put_bool, r, set, take, window};

#[cold]
fn undefined(names: &[Box<str>], index: u32) -> Throw {
    let name = names.get(index as usize).map_or("?", |name| name);
    Throw::error(format!("undefined variable ${name}"))
}

impl Fiber {
    pub(super) fn step_variable(&mut self, instr: Instr, here: &Here<'_>) -> Stepped {
        let regs = window(&mut self.stack, here.base);
        let names = &here.unit.program.names;
        match instr.op {
            Op::Check => {
                let missing = match &regs[r(instr.a)] {
                    Value::Undefined => true,
                    Value::Cell(cell) => matches!(cell.get(), Value::Undefined),
                    _ => false,
                };
                if missing {
                    return Err(undefined(names, instr.d));
                }
            }
            Op::Unset => {
                let was = match &mut regs[r(instr.b)] {
                    Value::Cell(cell) => {
                        path::check_writable(cell)?;
                        let was = !matches!(cell.get(), Value::Undefined);
                        cell.set(Value::Undefined);
                        was
                    }
                    slot => !matches!(take(slot), Value::Undefined),
                };
                put_bool(&mut regs[r(instr.a)], was);
            }
            Op::IsSet => {
                let isset = match &regs[r(instr.b)] {
                    Value::Undefined => false,
                    Value::None => instr.c == 0,
                    Value::Cell(cell) => !matches!(cell.get(), Value::Undefined),
                    _ => true,
                };
                put_bool(&mut regs[r(instr.a)], isset);
            }
            Op::Wrap => {
                let value = take(&mut regs[r(instr.a)]);
                let cell = self.new_cell(value);
                let regs = window(&mut self.stack, here.base);
                set(&mut regs[r(instr.a)], Value::Cell(cell));
            }
            Op::Global => {
                let cell = Rc::clone(&self.instances[here.instance].globals[instr.d as usize]);
                set(&mut regs[r(instr.a)], Value::Cell(cell));
            }
            Op::BindGlobal => {
                let cell = Rc::clone(&self.instances[here.instance].globals[instr.d as usize]);
                if let Value::Cell(own) = &regs[r(instr.a)]
                    && !Rc::ptr_eq(own, &cell)
                    && !matches!(own.get(), Value::Undefined)
                {
                    let global = here.unit.program.globals.get(instr.d as usize);
                    let name = global.map_or("?", |global| &global.name);
                    return Err(Throw::error(format!("the variable ${name} exists already")));
                }
                set(&mut regs[r(instr.a)], Value::Cell(cell));
            }
            Op::NewFar => {
                let mut list = Array::with_capacity(instr.d as usize);
                for _ in 0..instr.d {
                    list.push(Value::Cell(self.new_cell(Value::Undefined)));
                }
                let regs = window(&mut self.stack, here.base);
                set(&mut regs[r(instr.a)], Value::from(list));
            }
            Op::Far => {
                let cell = array::entry(&regs[r(instr.b)], instr.d as usize);
                set(&mut regs[r(instr.a)], cell.unwrap_or_default());
            }
            Op::LoadCell => {
                if let Value::Cell(cell) = &regs[r(instr.b)] {
                    let value = cell.get();
                    if matches!(value, Value::Undefined) {
                        return Err(undefined(names, instr.d));
                    }
                    set(&mut regs[r(instr.a)], value);
                }
            }
            Op::PeekCell => {
                let value = match &regs[r(instr.b)] {
                    Value::Cell(cell) => cell.get(),
                    value => value.clone(),
                };
                set(&mut regs[r(instr.a)], value);
            }
            _ => {
                let value = match instr.op {
                    Op::MoveCell => take(&mut regs[r(instr.b)]),
                    _ => regs[r(instr.b)].clone(),
                };
                if let Value::Cell(cell) = &regs[r(instr.a)] {
                    path::check_writable(cell)?;
                    cell.set(value);
                }
            }
        }
        Ok(Next::Go)
    }
}
