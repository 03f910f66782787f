//! `foreach` and spreading.

use std::rc::Rc;

use angarium_lang::bytecode::{Instr, Op};

use super::{Here, Next, Stepped, cx};
use crate::generator::Generator;
use crate::value::Value;
use crate::vm::call::Called;
use crate::vm::fiber::{Consumer, Fiber};
use crate::vm::ops::array;
use crate::vm::registers::{put, r, set, window};

impl Fiber {
    pub(super) fn step_iteration(&mut self, instr: Instr, here: &Here<'_>) -> Stepped {
        let regs = window(&mut self.stack, here.base);
        let above = here.base + usize::from(here.proto.registers);
        match instr.op {
            Op::Iterate => {
                let subject = regs[r(instr.b)].clone();
                let source = array::iterable(&subject, cx!(self))?;
                set(&mut regs[r(instr.a)], source);
                put(&mut regs[r(instr.a.saturating_add(1))], 0.0);
            }
            Op::Spread | Op::SpreadArgs => {
                let from = regs[r(instr.b)].clone();
                if let Some(generator) = Generator::of(&from) {
                    let list = here.base + r(instr.a);
                    let called = self.resume_generator(generator, Consumer::Spread, above, list)?;
                    return Ok(resumed(called));
                }
                let keyed = instr.op == Op::Spread;
                array::spread(&mut regs[r(instr.a)], &from, keyed, cx!(self))?;
            }
            _ => unreachable!("{} is no instruction of these", instr.op.name()),
        }
        Ok(Next::Go)
    }

    /// The next round of a `foreach`.
    pub(super) fn step_next(&mut self, instr: Instr, here: &Here<'_>) -> Stepped {
        let regs = window(&mut self.stack, here.base);
        if let Some(generator) = Generator::of(&regs[r(instr.a)]) {
            let generator = Rc::clone(generator);
            let above = here.base + usize::from(here.proto.registers);
            let called = self.resume_generator(&generator, Consumer::ForEach, above, above)?;
            return Ok(resumed(called));
        }
        let state = r(instr.a.saturating_add(1));
        let position = regs[state].as_number().unwrap_or(0.0) as usize;
        let found = match &regs[r(instr.a)] {
            subject @ Value::Array(_) => subject
                .as_array()
                .and_then(|view| view.entry_at(position))
                .map(|(key, value, next)| (key.to_value(), value, next)),
            iterator => array::advance(iterator).map(|(key, value)| (key, value, position + 1)),
        };
        let Some((key, value, next)) = found else {
            return Ok(Next::Jump(instr.d));
        };
        put(&mut regs[state], next as f64);
        if instr.op == Op::NextPair {
            set(&mut regs[r(instr.b)], key);
            set(&mut regs[r(instr.c)], value);
        } else {
            set(&mut regs[r(instr.b)], value);
        }
        Ok(Next::Go)
    }
}

fn resumed(called: Called) -> Next {
    match called {
        Called::Exit(exit) => Next::Exit(exit),
        Called::Value(_) | Called::Frame => Next::Frame,
    }
}
