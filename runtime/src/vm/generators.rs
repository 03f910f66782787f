//! Generators: making them, going on with them, and what they yield (language.md 11).

use std::rc::Rc;

use angarium_lang::bytecode::Op;

use crate::array::Array;
use crate::generator::{Generator, Status};
use crate::native::{Later, Task, Throw};
use crate::object::Object;
use crate::pieces::Piecewise;
use crate::value::Value;
use crate::vm::call::{Called, too_deep};
use crate::vm::execution::Exit;
use crate::vm::fiber::{Consumer, Fiber, Frame, FrameKind, MAX_DEPTH, Running, Tick};
use crate::vm::ops::array;
use crate::vm::registers::{copy, put, set, shift, take};
use crate::vm::unit::UnitRef;

impl Fiber {
    /// Goes on with a generator for `consumer`, whose frame is the running one.
    pub(crate) fn resume_generator(
        &mut self,
        object: &Rc<Object>,
        consumer: Consumer,
        base: usize,
        result: usize,
    ) -> Result<Called, Throw> {
        let Some(generator) = object.as_generator() else {
            return Err(Throw::error("not a generator"));
        };
        if self.frames.len() >= MAX_DEPTH {
            return Err(too_deep());
        }
        let mut state = generator.state.borrow_mut();
        match state.status {
            Status::Suspended => {}
            Status::Running => return Err(Throw::error("the generator is running already")),
            Status::Done => {
                drop(state);
                return self.exhausted(consumer, result);
            }
        }
        state.status = Status::Running;
        self.grow(base);
        let window = self.stack.get_mut(base..base + state.registers.len());
        let window = window.unwrap_or_default();
        for (slot, value) in window.iter_mut().zip(&mut state.registers) {
            shift(value, slot);
        }
        let pc = state.pc;
        drop(state);
        let instance = self.instance(&generator.unit);
        self.frames.push(Frame {
            pc,
            base: base as u32,
            proto: generator.proto,
            instance,
            result: result as u32,
            kind: FrameKind::Generator,
        });
        self.generators.push(Running {
            object: Rc::clone(object),
            consumer,
        });
        Ok(Called::Frame)
    }

    /// Tells the consumer that there are no more values.
    fn exhausted(&mut self, consumer: Consumer, result: usize) -> Result<Called, Throw> {
        match consumer {
            Consumer::Method => self.hand_over(result, Value::Boolean(false)),
            Consumer::Spread => Ok(Called::Frame),
            Consumer::ForEach => {
                // The instruction before the counter names the end of the loop.
                if let Some(frame) = self.frames.last().copied() {
                    let target = self
                        .proto(&frame)
                        .code
                        .get((frame.pc as usize).wrapping_sub(1))
                        .map(|instr| instr.d);
                    if let (Some(target), Some(frame)) = (target, self.frames.last_mut()) {
                        frame.pc = target;
                    }
                }
                Ok(Called::Frame)
            }
        }
    }

    /// Puts a value where the frame below wants it.
    fn hand_over(&mut self, result: usize, value: Value) -> Result<Called, Throw> {
        match self.deliver(result, value)? {
            Some(exit) => Ok(Called::Exit(exit)),
            None => Ok(Called::Frame),
        }
    }

    /// `yield` in the running generator: takes its frame off and hands register `value` (and `key`) to the consumer.
    pub(crate) fn yielded(&mut self, key: Option<u8>, value: u8) -> Result<Called, Throw> {
        let (Some(frame), Some(running)) = (self.frames.last(), self.generators.pop()) else {
            return Err(Throw::error("no generator runs"));
        };
        // Field by field: the counter was just written, and a copy of the whole would wait for it.
        let (pc, base, result) = (frame.pc, frame.base as usize, frame.result as usize);
        self.frames.truncate(self.frames.len() - 1);
        let value = base + usize::from(value);
        let automatic = match running.object.as_generator() {
            Some(generator) => generator.state.borrow().key,
            None => 0.0,
        };
        let next = if key.is_some() {
            automatic
        } else {
            automatic + 1.0
        };
        let key = key.map(|key| base + usize::from(key));
        match running.consumer {
            Consumer::ForEach => {
                if let Some(consumer) = self.frames.last() {
                    let counter = (consumer.pc as usize).wrapping_sub(1);
                    let window = consumer.base as usize;
                    if let Some(instr) = self.proto(consumer).code.get(counter).copied() {
                        let place = window + usize::from(instr.b);
                        if instr.op == Op::NextPair {
                            match key {
                                Some(key) => self.copy(place, key),
                                None => put(&mut self.stack[place], automatic),
                            }
                            self.copy(window + usize::from(instr.c), value);
                        } else {
                            self.copy(place, value);
                        }
                    }
                }
                self.suspend(&running.object, pc, base, next);
                Ok(Called::Frame)
            }
            Consumer::Method => {
                let value = self.stack[value].clone();
                let value = match key {
                    Some(key) => Array::from_list(vec![self.stack[key].clone(), value]).into(),
                    None => value,
                };
                self.suspend(&running.object, pc, base, next);
                self.hand_over(result, value)
            }
            Consumer::Spread => {
                // The list is in the result register; the generator goes on at once.
                let value = self.stack[value].clone();
                let key = key.and_then(|key| crate::array::Key::cast(&self.stack[key]));
                self.suspend(&running.object, pc, base, next);
                let mut list = take(&mut self.stack[result]);
                if array::is_full_and_large(&list) {
                    // It moves first. Then the instruction is done again, and goes on with the generator.
                    let grown = array::grown(&list, key, value, &mut self.cx())?;
                    drop(list);
                    if let Some(frame) = self.frames.last_mut() {
                        frame.pc = frame.pc.saturating_sub(1);
                    }
                    let task: Box<dyn Task> = Box::new(Piecewise(grown));
                    self.start_later(Later { task, again: false }, result);
                    return Ok(Called::Frame);
                }
                let added = array::append(&mut list, key, value, &mut self.cx());
                set(&mut self.stack[result], list);
                added?;
                if crate::memory::exceeded() {
                    return Err(Throw::limit("memory"));
                }
                self.quantum -= 1;
                if self.quantum <= 0
                    && let Tick::Yield = self.tick()?
                {
                    // Done again, the instruction goes on with the generator.
                    if let Some(frame) = self.frames.last_mut() {
                        frame.pc = frame.pc.saturating_sub(1);
                    }
                    return Ok(Called::exit(Exit::Slice));
                }
                self.resume_generator(&running.object, Consumer::Spread, base, result)
            }
        }
    }

    /// Register `to` of the stack := register `from`
    #[inline]
    fn copy(&mut self, to: usize, from: usize) {
        if let Ok([to, from]) = self.stack.get_disjoint_mut([to, from]) {
            copy(to, from);
        }
    }

    /// Takes the registers of a generator off the stack until it goes on behind its `yield`.
    #[inline]
    fn suspend(&mut self, object: &Object, pc: u32, base: usize, key: f64) {
        let Some(generator) = object.as_generator() else {
            return;
        };
        let mut state = generator.state.borrow_mut();
        state.status = Status::Suspended;
        state.pc = pc;
        state.key = key;
        let window = self.stack.get_mut(base..base + state.registers.len());
        let window = window.unwrap_or_default();
        for (slot, value) in window.iter_mut().zip(&mut state.registers) {
            shift(slot, value);
        }
    }

    /// The return of the running generator, whose frame is off already.
    pub(crate) fn generator_done(&mut self, result: usize) -> Result<Called, Throw> {
        let Some(running) = self.generators.pop() else {
            return Err(Throw::error("no generator runs"));
        };
        if let Some(generator) = running.object.as_generator() {
            generator.finish();
        }
        self.exhausted(running.consumer, result)
    }

    /// Takes the bound arguments of a generator function off the stack into an iterator.
    pub(crate) fn make_generator(
        &mut self,
        unit: &UnitRef,
        proto_index: u32,
        base: usize,
    ) -> Value {
        let proto = &unit.program.protos[proto_index as usize];
        let variables = base..base + usize::from(proto.variables);
        let variables = self.stack.get_mut(variables).unwrap_or_default();
        // Room for all of its registers: they are swapped with the stack's when it runs.
        let mut registers = Vec::with_capacity(usize::from(proto.registers));
        registers.extend(variables.iter_mut().map(take));
        registers.resize(usize::from(proto.registers), Value::Undefined);
        Generator::value(unit, proto_index, registers, &self.library)
    }
}
