//! Exceptions: from what a built-in or an instruction throws to the handler that catches it.

use crate::debugger;
use crate::exception::{Exception, Place};
use crate::native::{Input, Later, Throw, Thrown};
use crate::string::Str;
use crate::value::Value;
use crate::vm::call::AGAIN;
use crate::vm::fiber::{Fiber, Frame, FrameKind};

impl Fiber {
    /// Goes on after a throw of the instruction that runs: at its handler, or with the work that it left for later, whose
    /// value goes to register `result` of the stack.
    ///
    /// # Errors
    /// As [`Fiber::unwind`].
    pub(crate) fn go_on(&mut self, throw: Throw, result: usize) -> Result<(), Throw> {
        match throw.into_inner() {
            Thrown::Later(later) => {
                self.start_later(later, result);
                Ok(())
            }
            other => self.unwind(Throw::from(other)),
        }
    }

    /// Makes a frame for work that was left for later; it begins when the loop looks at the frames.
    pub(crate) fn start_later(&mut self, later: Later, result: usize) {
        let above = self
            .frames
            .last()
            .map_or(0, |frame| frame.base as usize + self.registers_of(frame));
        // What an instruction needs before it is done again is no value of a register.
        let result = if later.again { above } else { result };
        self.grow(above.max(result));
        self.frames.push(Frame {
            pc: if later.again { AGAIN } else { 0 },
            base: above as u32,
            proto: 0,
            instance: 0,
            result: result as u32,
            kind: FrameKind::Task,
        });
        self.tasks.push(later.task);
        self.pending = Some(Input::Start);
    }

    /// Finds the handler of a throw and makes its frame the running one.
    ///
    /// # Errors
    /// What nobody catches: a value, the end of the script or a limit. All frames are gone then.
    pub(crate) fn unwind(&mut self, throw: Throw) -> Result<(), Throw> {
        let value = match throw.into_inner() {
            Thrown::Value(value) => value,
            Thrown::Error(message) => self.exception(&message),
            uncatchable @ (Thrown::End(_) | Thrown::Limit(_) | Thrown::Later(_)) => {
                self.note_end("");
                self.finish();
                return Err(Throw::from(uncatchable));
            }
        };
        let caught = self.is_caught();
        if let Some(debugger) = self.host.debugger() {
            debugger.thrown(debugger::Thrown {
                value: &value,
                uncaught: !caught,
                place: self.place(),
                calls: self.calls(),
            });
        }
        if !caught {
            let exception = value
                .as_object()
                .and_then(|object| object.downcast::<Exception>());
            // No message that has a hint is long.
            let message = exception.map(|exception| &exception.message);
            let message = message.filter(|message| message.len() <= 4096);
            let message = message.map(|message| message.to_text().into_owned());
            self.note_end(&message.unwrap_or_default());
        }
        while let Some(frame) = self.frames.last().copied() {
            if frame.kind != FrameKind::Task {
                // The saved counter is behind the instruction that threw.
                let at = frame.pc.saturating_sub(1);
                let proto = self.proto(&frame);
                let handler = proto
                    .handlers
                    .iter()
                    .find(|handler| (handler.start..handler.end).contains(&at))
                    .copied();
                if let Some(handler) = handler {
                    let register = frame.base as usize + usize::from(handler.register);
                    self.grow(frame.base as usize);
                    self.stack[register] = value;
                    if let Some(frame) = self.frames.last_mut() {
                        frame.pc = handler.target;
                    }
                    return Ok(());
                }
            }
            self.drop_frame();
        }
        Err(Throw::value(value))
    }

    /// Whether one of the frames has a handler for a throw at its instruction.
    fn is_caught(&self) -> bool {
        self.frames.iter().rev().any(|frame| {
            let at = frame.pc.saturating_sub(1);
            frame.kind != FrameKind::Task
                && self
                    .proto(frame)
                    .handlers
                    .iter()
                    .any(|handler| (handler.start..handler.end).contains(&at))
        })
    }

    /// Keeps the place and the calls of the end, as nothing will be left of them.
    pub(crate) fn note_end(&mut self, message: &str) {
        self.ended_at = self.place();
        self.trace = self.trace(message);
    }

    /// Removes the running frame and undefines its registers.
    pub(crate) fn drop_frame(&mut self) {
        let Some(frame) = self.frames.last().copied() else {
            return;
        };
        let count = self.registers_of(&frame);
        let base = frame.base as usize;
        let end = (base + count).min(self.stack.len());
        if let Some(registers) = self.stack.get_mut(base..end) {
            registers.fill(Value::Undefined);
        }
        self.frames.pop();
        match frame.kind {
            FrameKind::Script => {}
            FrameKind::Task => {
                self.tasks.pop();
            }
            FrameKind::Generator => {
                // It threw, and is finished.
                if let Some(running) = self.generators.pop()
                    && let Some(generator) = running.object.as_generator()
                {
                    generator.finish();
                }
            }
        }
    }

    /// An Exception for an error at the instruction that runs.
    pub(crate) fn exception(&self, message: &str) -> Value {
        let place = self.place();
        Exception {
            message: Str::from(message),
            place,
        }
        .into_value(&self.library)
    }

    /// The place of the instruction that runs: in a built-in that calls back, that of its call.
    pub(crate) fn place(&self) -> Option<Place> {
        self.place_in(self.code_frame()?)
    }

    /// The frame of the code that runs.
    fn code_frame(&self) -> Option<&Frame> {
        let mut frames = self.frames.iter().rev();
        frames.find(|frame| frame.kind != FrameKind::Task)
    }

    pub(crate) fn place_in(&self, frame: &Frame) -> Option<Place> {
        let span = self.proto(frame).place(frame.pc.saturating_sub(1))?;
        let sources = &self.instances[frame.instance as usize].unit.program.sources;
        Some(Place::of(sources, span))
    }
}
