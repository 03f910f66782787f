//! The value of a variable, an element or a register: 16 bytes, cheap to copy, by value.
//!
//! Strings and arrays are values: a copy shares the storage and the first write to a shared one copies it.
//! Functions, objects and resources are references. Counting is not atomic: a value never leaves its thread;
//! what crosses threads is frozen first ([`crate::frozen`]).

use std::fmt;
use std::rc::Rc;

use crate::array::{Array, View};
use crate::cell::VarCell;
use crate::frozen::Pin;
use crate::inline;
use crate::object::{Function, Object, Resource};
use crate::string::Str;

/// A value of the language (language.md 3).
#[derive(Clone, Default)]
pub enum Value {
    /// "No value": a missing index, `return` without value, a failed decode.
    #[default]
    None,
    /// `true` or `false`.
    Boolean(bool),
    /// An IEEE 754 double.
    Number(f64),
    /// Of the VM alone: a register without a value. Built-ins never see it. It stands here so that the kinds without
    /// anything to drop are neighbours, which one comparison tells from the others.
    #[doc(hidden)]
    Undefined,
    /// A byte string.
    String(Str),
    /// An ordered map, also the list type.
    Array(Rc<ArrayRef>),
    /// A function, closure, bound method or class.
    Function(Rc<Function>),
    /// An instance of a class.
    Object(Rc<Object>),
    /// An opaque handle of the library.
    Resource(Rc<Resource>),
    /// Of the VM alone: a register that holds a shared variable. Built-ins never see it.
    #[doc(hidden)]
    Cell(Rc<VarCell>),
}

/// What an array value holds: an array of this thread, or one inside a frozen tree until the first write.
#[derive(Clone)]
pub enum ArrayRef {
    /// An array of this thread.
    Local(Array),
    /// Array `0` of a pinned frozen tree.
    Frozen(u32, Pin),
}

impl ArrayRef {
    /// What two holds on one array have in common while either lives: an array inside a frozen tree is held anew by
    /// whoever reads it.
    pub(crate) fn identity(self: &Rc<ArrayRef>) -> (*const (), u32) {
        match &**self {
            ArrayRef::Local(_) => (Rc::as_ptr(self).cast(), u32::MAX),
            ArrayRef::Frozen(index, pin) => (pin.address(), *index),
        }
    }
}

const _: () = assert!(
    size_of::<Value>() == 16,
    "a value is two words wide: registers and arrays are built on it"
);

/// The type of a value as the language names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `none`
    None,
    /// `boolean`
    Boolean,
    /// `number`
    Number,
    /// `string`
    String,
    /// `array`
    Array,
    /// `function`
    Function,
    /// `object`
    Object,
    /// `resource`
    Resource,
}

impl Kind {
    /// The name used in messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Kind::None => "none",
            Kind::Boolean => "boolean",
            Kind::Number => "number",
            Kind::String => "string",
            Kind::Array => "array",
            Kind::Function => "function",
            Kind::Object => "object",
            Kind::Resource => "resource",
        }
    }

    /// A value of this kind, at the beginning of a sentence.
    #[must_use]
    pub fn with_article(self) -> &'static str {
        match self {
            Kind::None => "none",
            Kind::Boolean => "a boolean",
            Kind::Number => "a number",
            Kind::String => "a string",
            Kind::Array => "an array",
            Kind::Function => "a function",
            Kind::Object => "an object",
            Kind::Resource => "a resource",
        }
    }
}

impl Value {
    /// A string value with a copy of `bytes`.
    #[must_use]
    pub fn bytes(bytes: &[u8]) -> Value {
        Value::String(Str::new(bytes))
    }

    /// Adds a string value with a copy of `bytes` to a list. What is pushed is made on the stack and would be waited for there
    /// (see `inline`); what a list is extended by is made in its place.
    #[inline]
    pub fn push_bytes(list: &mut Vec<Value>, bytes: &[u8]) {
        match inline::of(bytes) {
            Some(words) => list.extend((0..1).map(|_| {
                let string = Str::Inline(bytes.len() as u8, inline::bytes(words));
                Value::String(string)
            })),
            None => list.push(Value::bytes(bytes)),
        }
    }

    /// The value's type.
    #[inline]
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Value::None | Value::Undefined | Value::Cell(_) => Kind::None,
            Value::Boolean(_) => Kind::Boolean,
            Value::Number(_) => Kind::Number,
            Value::String(_) => Kind::String,
            Value::Array(_) => Kind::Array,
            Value::Function(_) => Kind::Function,
            Value::Object(_) => Kind::Object,
            Value::Resource(_) => Kind::Resource,
        }
    }

    /// Whether this is `none`.
    #[inline]
    #[must_use]
    pub fn is_none(&self) -> bool {
        matches!(self, Value::None)
    }

    /// Whether dropping the value does nothing.
    #[inline]
    pub(crate) fn is_plain(&self) -> bool {
        matches!(
            self,
            Value::Undefined
                | Value::None
                | Value::Boolean(_)
                | Value::Number(_)
                | Value::String(Str::Inline(..))
        )
    }

    /// The bytes of a string; no conversion.
    #[inline]
    #[must_use]
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Value::String(string) => Some(string.as_bytes()),
            _ => None,
        }
    }

    /// The string; no conversion.
    #[inline]
    #[must_use]
    pub fn as_str(&self) -> Option<&Str> {
        match self {
            Value::String(string) => Some(string),
            _ => None,
        }
    }

    /// The number; no conversion.
    #[inline]
    #[must_use]
    pub fn as_number(&self) -> Option<f64> {
        match self {
            Value::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// A read-only view of an array, local or frozen; no conversion.
    #[inline]
    #[must_use]
    pub fn as_array(&self) -> Option<View<'_>> {
        match self {
            Value::Array(array) => Some(match &**array {
                ArrayRef::Local(array) => View::Local(array),
                ArrayRef::Frozen(index, pin) => View::Frozen(pin.array(*index), pin),
            }),
            _ => None,
        }
    }

    /// The function; no conversion.
    #[inline]
    #[must_use]
    pub fn as_function(&self) -> Option<&Rc<Function>> {
        match self {
            Value::Function(function) => Some(function),
            _ => None,
        }
    }

    /// The object; no conversion.
    #[inline]
    #[must_use]
    pub fn as_object(&self) -> Option<&Rc<Object>> {
        match self {
            Value::Object(object) => Some(object),
            _ => None,
        }
    }

    /// Makes this an array that only its holder sees, and gives write access to it.
    ///
    /// A frozen array is copied one level deep, a shared one likewise; none if this is not an array.
    #[inline]
    pub fn array_mut(&mut self) -> Option<&mut Array> {
        let Value::Array(array) = self else {
            return None;
        };
        let array = Rc::make_mut(array);
        if let ArrayRef::Frozen(index, pin) = array {
            *array = ArrayRef::Local(Array::thaw(pin.array(*index), pin));
        }
        match array {
            ArrayRef::Local(array) => Some(array),
            ArrayRef::Frozen(..) => None,
        }
    }

    /// Takes the value out and leaves `none`: a move out of a register.
    #[inline]
    pub fn take(&mut self) -> Value {
        if let Value::String(Str::Inline(length, bytes)) = self {
            // By its parts, as it was written.
            let taken = Value::String(Str::Inline(*length, inline::copy(bytes)));
            std::mem::forget(std::mem::take(self));
            return taken;
        }
        std::mem::take(self)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Value {
        Value::Boolean(value)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Value {
        Value::Number(value)
    }
}

impl From<u32> for Value {
    fn from(value: u32) -> Value {
        Value::Number(f64::from(value))
    }
}

impl From<usize> for Value {
    fn from(value: usize) -> Value {
        Value::Number(value as f64)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Value {
        Value::String(Str::from(value))
    }
}

impl From<String> for Value {
    fn from(value: String) -> Value {
        Value::String(Str::from(value))
    }
}

impl From<&[u8]> for Value {
    fn from(value: &[u8]) -> Value {
        Value::bytes(value)
    }
}

impl From<Vec<u8>> for Value {
    fn from(value: Vec<u8>) -> Value {
        Value::String(Str::from_vec(value))
    }
}

impl From<Str> for Value {
    fn from(value: Str) -> Value {
        Value::String(value)
    }
}

impl From<Array> for Value {
    fn from(value: Array) -> Value {
        Value::Array(Rc::new(ArrayRef::Local(value)))
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Value {
        value.map_or(Value::None, Into::into)
    }
}

impl fmt::Debug for Value {
    /// The dump form of the language (language.md 4.3), so that tests read like scripts.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&crate::convert::dump(self)))
    }
}
