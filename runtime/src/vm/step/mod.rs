//! One instruction, done in general: what the loop ([`super::interp`]) has no short way for, or whose short way did
//! not fit the values at hand.

mod calls;
mod elements;
mod iteration;
mod operators;
mod variables;

use angarium_lang::bytecode::{Instr, Op, Proto};

use super::execution::Exit;
use super::fiber::{Fiber, Tick};
use super::unit::UnitRef;
use crate::instance::{Caller, Hints};
use crate::native::Throw;
use crate::value::Value;

/// Where the loop goes on.
pub(super) enum Next {
    /// Behind the instruction.
    Go,
    /// At this one, in the same frame.
    Jump(u32),
    /// In the frame that runs now, wherever its counter stands.
    Frame,
    /// Nowhere: the loop is left.
    Exit(Box<Exit>),
}

pub(super) type Stepped = Result<Next, Throw>;

/// What the running frame knows beside its registers.
#[derive(Clone, Copy)]
pub(super) struct Here<'a> {
    pub unit: &'a UnitRef,
    pub constants: &'a [Value],
    pub hints: &'a [Hints],
    /// What stands in for a hint that is not there.
    pub spare: &'a Hints,
    pub instance: usize,
    pub proto: &'a Proto,
    /// The frame's first register.
    pub base: usize,
}

impl<'a> Here<'a> {
    pub(super) fn caller(&self) -> Caller<'a> {
        Caller {
            unit: self.unit,
            class: self.proto.class,
        }
    }

    pub(super) fn hint(&self, name: u32) -> &'a Hints {
        self.hints.get(name as usize).unwrap_or(self.spare)
    }

    fn constant(&self, index: u32) -> &'a Value {
        self.constants.get(index as usize).unwrap_or(&Value::None)
    }
}

/// What a built-in may use, of a fiber whose stack is borrowed.
macro_rules! cx {
    ($fiber:ident) => {
        &mut $crate::native::Cx {
            host: &$fiber.host,
            library: &$fiber.library,
            fuel: &mut $fiber.quantum,
        }
    };
}
use cx;

impl Fiber {
    /// Does `instr`. The frame's counter stands behind it.
    pub(super) fn step(&mut self, instr: Instr, here: &Here<'_>) -> Stepped {
        match instr.op {
            Op::LoadNone
            | Op::LoadTrue
            | Op::LoadFalse
            | Op::LoadInt
            | Op::LoadK
            | Op::Copy
            | Op::CopyTwo
            | Op::Move
            | Op::Clear
            | Op::Jump
            | Op::JumpNone
            | Op::JumpSome
            | Op::JumpDef => unreachable!("the loop does {} itself", instr.op.name()),

            Op::Check
            | Op::Unset
            | Op::IsSet
            | Op::Wrap
            | Op::Global
            | Op::BindGlobal
            | Op::NewFar
            | Op::Far
            | Op::LoadCell
            | Op::PeekCell
            | Op::StoreCell
            | Op::MoveCell => self.step_variable(instr, here),

            Op::Add
            | Op::Sub
            | Op::Mul
            | Op::Div
            | Op::Rem
            | Op::Pow
            | Op::BitAnd
            | Op::BitOr
            | Op::BitXor
            | Op::Shl
            | Op::Shr
            | Op::UShr
            | Op::AddI
            | Op::SubI
            | Op::MulI
            | Op::DivI
            | Op::RemI
            | Op::BitAndI
            | Op::BitOrI
            | Op::BitXorI
            | Op::ShlI
            | Op::ShrI
            | Op::UShrI
            | Op::IntSub
            | Op::IntMul
            | Op::Neg
            | Op::Number
            | Op::Not
            | Op::Bool
            | Op::BitNot
            | Op::Inc
            | Op::Dec
            | Op::Concat
            | Op::Join
            | Op::Append
            | Op::AppendK
            | Op::Eq
            | Op::Ne
            | Op::Same
            | Op::NotSame
            | Op::Lt
            | Op::Le
            | Op::Gt
            | Op::Ge
            | Op::Match
            | Op::NoMatch => self.step_operator(instr, here),

            Op::JumpT
            | Op::JumpF
            | Op::JumpEq
            | Op::JumpNe
            | Op::JumpSame
            | Op::JumpNotSame
            | Op::JumpLt
            | Op::JumpNotLt
            | Op::JumpLe
            | Op::JumpNotLe
            | Op::JumpLtI
            | Op::JumpNotLtI
            | Op::JumpLeI
            | Op::JumpNotLeI
            | Op::JumpGtI
            | Op::JumpNotGtI
            | Op::JumpGeI
            | Op::JumpNotGeI
            | Op::JumpEqK
            | Op::JumpNeK => {
                let taken = self.condition(instr, here)?;
                Ok(if taken { Next::Jump(instr.d) } else { Next::Go })
            }
            Op::Loop
            | Op::LoopT
            | Op::LoopLt
            | Op::LoopLe
            | Op::LoopLtI
            | Op::LoopLeI
            | Op::LoopGtI
            | Op::LoopGeI => {
                if !self.condition(instr, here)? {
                    return Ok(Next::Go);
                }
                // A place that is named meanwhile is that of the jump: inside the loop.
                self.charge_or_yield(instr.d)
                    .map(|exit| exit.map_or(Next::Jump(instr.d), Next::Exit))
            }

            Op::Index
            | Op::IndexK
            | Op::IndexI
            | Op::Peek
            | Op::IssetIndex
            | Op::Slice
            | Op::Property
            | Op::PeekProperty
            | Op::IssetProperty
            | Op::SetIndex
            | Op::MoveIndex
            | Op::SetIndexK
            | Op::MoveIndexK
            | Op::Push
            | Op::MovePush
            | Op::UnsetPath
            | Op::NewArray
            | Op::List
            | Op::Extend
            | Op::Entry
            | Op::EntryKey
            | Op::Rest
            | Op::InitProperty => self.step_element(instr, here),

            Op::SetPath | Op::Update => self.step_path(instr, here),
            // The instructions behind it do the same.
            Op::GetPath => Ok(Next::Go),

            Op::Spread | Op::SpreadArgs | Op::Iterate => self.step_iteration(instr, here),
            Op::Next | Op::NextPair => self.step_next(instr, here),

            Op::Call
            | Op::CallValue
            | Op::CallMethod
            | Op::CallSpread
            | Op::NewObject
            | Op::Cached
            | Op::Lock => {
                // The executor has its turn first: then the instruction is done when the script goes on.
                let again = self.frames.last().map_or(0, |frame| frame.pc - 1);
                match self.charge_or_yield(again)? {
                    Some(exit) => Ok(Next::Exit(exit)),
                    None => self.step_call(instr, here),
                }
            }
            Op::CallNative
            | Op::Length
            | Op::New
            | Op::LoadFunction
            | Op::LoadNative
            | Op::LoadClass
            | Op::LoadUserClass
            | Op::Closure
            | Op::Return
            | Op::ReturnNone
            | Op::Throw
            | Op::NoArm
            | Op::Echo
            | Op::Fail
            | Op::Enter
            | Op::Leave => self.step_call(instr, here),
            Op::Yield | Op::YieldPair => self.step_yield(instr),
        }
    }

    /// Counts an instruction; when it is the executor's turn, the script goes on at `pc` afterwards.
    fn charge_or_yield(&mut self, pc: u32) -> Result<Option<Box<Exit>>, Throw> {
        self.quantum -= 1;
        if self.quantum <= 0
            && let Tick::Yield = self.tick()?
        {
            if let Some(frame) = self.frames.last_mut() {
                frame.pc = pc;
            }
            return Ok(Some(Box::new(Exit::Slice)));
        }
        Ok(None)
    }
}
