//! Generators (language.md 11): a frame that was taken off the stack, with its registers.

use std::any::Any;
use std::cell::RefCell;
use std::rc::Rc;

use crate::library::Library;
use crate::memory;
use crate::native::ClassId;
use crate::object::{NativeObject, Object};
use crate::value::Value;
use crate::vm::unit::UnitRef;

/// The data of the iterator that a call of a generator function gives.
pub struct Generator {
    pub(crate) unit: UnitRef,
    pub(crate) proto: u32,
    pub(crate) state: RefCell<State>,
}

/// Where a generator is.
pub(crate) struct State {
    pub status: Status,
    /// The next instruction.
    pub pc: u32,
    /// The next automatic key.
    pub key: f64,
    /// The registers while it is suspended; undefined ones while it runs.
    pub registers: Vec<Value>,
}

/// What a generator does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// Before its start or at a `yield`.
    Suspended,
    /// Its frame is on the stack.
    Running,
    /// It returned or threw.
    Done,
}

impl Generator {
    /// An iterator object that starts with these registers.
    pub(crate) fn value(
        unit: &UnitRef,
        proto: u32,
        registers: Vec<Value>,
        library: &Library,
    ) -> Value {
        memory::charge(registers.len() * size_of::<Value>());
        let class = library.class_named("Iterator").unwrap_or(ClassId(u32::MAX));
        let state = RefCell::new(State {
            status: Status::Suspended,
            pc: 0,
            key: 0.0,
            registers,
        });
        Value::Object(Object::generator(
            class,
            Generator {
                unit: unit.clone(),
                proto,
                state,
            },
        ))
    }

    /// It returned or threw: what it held is gone.
    pub(crate) fn finish(&self) {
        let mut state = self.state.borrow_mut();
        state.status = Status::Done;
        let registers = std::mem::take(&mut state.registers);
        memory::credit(registers.len() * size_of::<Value>());
        drop(state);
        drop(registers);
    }

    /// Whether an object is the iterator of a generator.
    #[inline]
    pub(crate) fn is(object: &Object) -> bool {
        object.as_generator().is_some()
    }

    /// The generator behind a value, if it is one.
    #[inline]
    pub(crate) fn of(value: &Value) -> Option<&Rc<Object>> {
        value
            .as_object()
            .filter(|object| object.as_generator().is_some())
    }
}

impl NativeObject for Generator {
    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Drop for Generator {
    fn drop(&mut self) {
        let registers = &mut self.state.get_mut().registers;
        memory::credit(registers.len() * size_of::<Value>());
        crate::graveyard::bury(registers.iter_mut());
    }
}
