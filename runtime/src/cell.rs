//! Shared variables.

use std::cell::{Ref, RefCell};
use std::rc::{Rc, Weak};

use crate::frozen::Pin;
use crate::memory::Charge;
use crate::object::Function;
use crate::value::Value;

/// A variable that closures, functions (`global`) or modules share.
#[derive(Default)]
pub struct VarCell {
    value: RefCell<Value>,
    /// Where the value is still to be fetched from: a variable of a closure that came out of shared memory. Fetched
    /// when somebody looks, because a closure may have captured itself.
    frozen: RefCell<Option<(Pin, u32)>>,
    read_only: bool,
    _charge: Charge,
}

/// What a variable takes: itself, its counts, and the note that its execution keeps of it.
const CELL_BYTES: usize = size_of::<VarCell>() + 32;

impl VarCell {
    pub(crate) fn new(value: Value) -> Rc<VarCell> {
        Rc::new(VarCell {
            value: RefCell::new(value),
            frozen: RefCell::new(None),
            read_only: false,
            _charge: Charge::new(CELL_BYTES),
        })
    }

    pub(crate) fn undefined() -> Rc<VarCell> {
        VarCell::new(Value::Undefined)
    }

    pub(crate) fn read_only(value: Value) -> Rc<VarCell> {
        Rc::new(VarCell {
            value: RefCell::new(value),
            frozen: RefCell::new(None),
            read_only: true,
            _charge: Charge::new(CELL_BYTES),
        })
    }

    pub(crate) fn frozen(pin: Pin, index: u32) -> Rc<VarCell> {
        let frozen = RefCell::new(Some((pin, index)));
        let cell = Rc::new(VarCell {
            value: RefCell::new(Value::Undefined),
            frozen,
            read_only: false,
            _charge: Charge::new(CELL_BYTES),
        });
        note_thawed(&cell);
        cell
    }

    /// The place of an object that came out of shared memory.
    pub(crate) fn thawed(object: Value) -> Rc<VarCell> {
        let cell = VarCell::new(object);
        note_thawed(&cell);
        cell
    }

    /// Whether scripts may only read it.
    pub(crate) fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// The value; undefined when there is none.
    #[inline]
    pub(crate) fn get(&self) -> Value {
        let value = self.value.borrow();
        if matches!(*value, Value::Undefined) {
            drop(value);
            self.fetch();
            return self.value.borrow().clone();
        }
        value.clone()
    }

    /// A look at the value without taking a copy; undefined as long as it is still to be fetched.
    #[inline]
    pub(crate) fn borrow(&self) -> Ref<'_, Value> {
        self.value.borrow()
    }

    /// Writes a number over a number; false, with nothing changed, when that is not what it holds.
    #[inline]
    pub(crate) fn put(&self, number: f64) -> bool {
        if let Value::Number(old) = &mut *self.value.borrow_mut()
            && !self.read_only
        {
            *old = number;
            return true;
        }
        false
    }

    #[cold]
    fn fetch(&self) {
        if let Some((pin, index)) = self.frozen.take() {
            let value = pin.captured(index);
            *self.value.borrow_mut() = value;
        }
    }

    /// Replaces the value.
    #[inline]
    pub(crate) fn set(&self, value: Value) {
        if self.value.borrow().kind_is_undefined() {
            self.frozen.take();
        }
        let old = self.value.replace(value);
        drop(old);
    }

    /// Changes the value in place.
    pub(crate) fn with<T>(&self, change: impl FnOnce(&mut Value) -> T) -> T {
        if self.value.borrow().kind_is_undefined() {
            self.fetch();
        }
        change(&mut self.value.borrow_mut())
    }
}

thread_local! {
    /// Variables of closures that came out of shared memory, until the running execution takes note of them: it
    /// takes cycles among its variables apart at its end.
    static THAWED: RefCell<Vec<Weak<VarCell>>> = const { RefCell::new(Vec::new()) };
}

fn note_thawed(cell: &Rc<VarCell>) {
    THAWED.with_borrow_mut(|cells| {
        // A thread that runs no execution takes no note of them.
        if cells.len() >= 1024 && cells.len().is_power_of_two() {
            cells.retain(|cell| cell.strong_count() > 0);
        }
        cells.push(Rc::downgrade(cell));
    });
}

/// The variables that were thawed since the last call.
pub(crate) fn take_thawed() -> Vec<Weak<VarCell>> {
    THAWED.take()
}

impl Value {
    #[inline]
    fn kind_is_undefined(&self) -> bool {
        matches!(self, Value::Undefined)
    }

    /// Whether dropping it may drop other values.
    #[inline]
    pub(crate) fn is_container(&self) -> bool {
        match self {
            Value::Array(_) | Value::Object(_) | Value::Cell(_) => true,
            Value::Function(function) => {
                matches!(&**function, Function::User(_) | Function::BoundMethod(..))
            }
            _ => false,
        }
    }
}

impl Drop for VarCell {
    fn drop(&mut self) {
        crate::graveyard::bury(std::iter::once(self.value.get_mut()));
    }
}
