//! What values refer to: functions, objects and resources.

use std::any::Any;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use crate::cell::VarCell;
use crate::frozen::{FreezeError, FrozenObject};
use crate::generator::Generator;
use crate::instance::Instance;
use crate::map_set::TableObject;
use crate::memory::Charge;
use crate::native::{ClassId, NativeFn};
use crate::regex::Regex;
use crate::value::Value;
use crate::vm::unit::UnitRef;

/// What a function value points at.
pub enum Function {
    /// A built-in function.
    Native(NativeFn),
    /// A built-in class: calling it makes an instance.
    NativeClass(ClassId),
    /// A method of a library object, bound to it.
    BoundMethod(Rc<Object>, NativeFn),
    /// A function of a script.
    User(UserFunction),
    /// A class of a script: calling it makes an instance.
    UserClass(UnitRef, u32),
}

/// A function of a script, with the variables that it captured.
pub struct UserFunction {
    pub(crate) unit: UnitRef,
    pub(crate) proto: u32,
    pub(crate) captures: Box<[Rc<VarCell>]>,
    /// Whether it comes from a function expression: each evaluation makes another one.
    pub(crate) anonymous: bool,
    /// The object that it is bound to.
    pub(crate) this: Option<Rc<Object>>,
    pub(crate) _charge: Charge,
}

impl UserFunction {
    /// What a function with so many captured variables takes.
    pub(crate) fn charge(captures: usize) -> Charge {
        Charge::new(size_of::<Function>() + 16 + captures * size_of::<Rc<VarCell>>())
    }

    /// Whether both are pointers to one named function; anonymous ones are told apart by identity.
    pub(crate) fn same(&self, other: &UserFunction) -> bool {
        {
            let bound = match (&self.this, &other.this) {
                (None, None) => true,
                (Some(a), Some(b)) => Rc::ptr_eq(a, b),
                _ => false,
            };
            bound
                && !self.anonymous
                && !other.anonymous
                && self.proto == other.proto
                && self.unit.same(&other.unit)
        }
    }
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("function")
    }
}

/// An instance of a class.
pub struct Object {
    class: ClassId,
    _charge: Charge,
    data: Data,
}

/// What an object is made of. Those that scripts make and use by the thousand lie in the object itself and are told
/// apart by their variant.
enum Data {
    Instance(Instance),
    Generator(Generator),
    Table(TableObject),
    Regex(Regex),
    Other(Box<dyn NativeObject>),
}

/// The data of a library object. State that methods change lives in cells of its own.
pub trait NativeObject: Any {
    /// Access to the concrete type.
    fn as_any(&self) -> &dyn Any;

    /// The form that other threads may hold.
    ///
    /// # Errors
    /// [`FreezeError::NotStorable`] unless the class is one of the library's data objects.
    fn freeze(&self) -> Result<Arc<dyn FrozenObject>, FreezeError> {
        Err(FreezeError::NotStorable("object"))
    }

    /// An iterator over the object, if `foreach` and spread may walk it.
    fn iterate(&self) -> Option<Rc<dyn NativeIterator>> {
        None
    }

    /// Bytes that it holds besides itself and has not charged: what is behind its references and belongs to it alone.
    fn held(&self) -> usize {
        0
    }

    /// The text that `string()` gives, `object` unless the class has its own (Exception, Regex).
    fn to_text(&self) -> Vec<u8> {
        b"object".to_vec()
    }
}

/// A source of entries for `foreach` and `next()` that never suspends.
pub trait NativeIterator {
    /// The next key and value; none at the end.
    fn next(&self) -> Option<(Value, Value)>;
    /// Whether the source has keys of its own (Map entries): then `next()` gives `[key, value]`.
    fn keyed(&self) -> bool;
}

impl Object {
    /// An instance of the library class `class`.
    #[must_use]
    pub fn new<T: NativeObject>(class: ClassId, data: T) -> Rc<Object> {
        let held = size_of::<T>().saturating_add(data.held());
        Object::with(class, held, Data::Other(Box::new(data)))
    }

    /// An instance of a class of a script.
    pub(crate) fn instance(class: ClassId, data: Instance) -> Rc<Object> {
        Object::with(class, 0, Data::Instance(data))
    }

    /// The iterator of a generator function.
    pub(crate) fn generator(class: ClassId, data: Generator) -> Rc<Object> {
        Object::with(class, 0, Data::Generator(data))
    }

    /// A Map or a Set.
    pub(crate) fn table(class: ClassId, data: TableObject) -> Rc<Object> {
        Object::with(class, data.held(), Data::Table(data))
    }

    /// A compiled regular expression.
    pub(crate) fn regex(class: ClassId, data: Regex) -> Rc<Object> {
        Object::with(class, data.held(), Data::Regex(data))
    }

    fn with(class: ClassId, held: usize, data: Data) -> Rc<Object> {
        let held = held.saturating_add(size_of::<Object>() + 48);
        Rc::new(Object {
            class,
            _charge: Charge::new(held),
            data,
        })
    }

    fn native(&self) -> &dyn NativeObject {
        match &self.data {
            Data::Instance(data) => data,
            Data::Generator(data) => data,
            Data::Table(data) => data,
            Data::Regex(data) => data,
            Data::Other(data) => &**data,
        }
    }

    /// The library class.
    #[inline]
    #[must_use]
    pub fn class(&self) -> ClassId {
        self.class
    }

    /// The instance's data when it is a `T`.
    #[must_use]
    pub fn downcast<T: 'static>(&self) -> Option<&T> {
        self.native().as_any().downcast_ref()
    }

    /// The data of an instance of a class of a script.
    #[inline]
    pub(crate) fn as_instance(&self) -> Option<&Instance> {
        match &self.data {
            Data::Instance(data) => Some(data),
            _ => None,
        }
    }

    /// The data of a generator's iterator.
    #[inline]
    pub(crate) fn as_generator(&self) -> Option<&Generator> {
        match &self.data {
            Data::Generator(data) => Some(data),
            _ => None,
        }
    }

    /// The data of a compiled regular expression.
    #[inline]
    #[must_use]
    pub fn as_regex(&self) -> Option<&Regex> {
        match &self.data {
            Data::Regex(data) => Some(data),
            _ => None,
        }
    }

    /// The data of a Map or Set.
    #[inline]
    pub(crate) fn as_table(&self) -> Option<&TableObject> {
        match &self.data {
            Data::Table(data) => Some(data),
            _ => None,
        }
    }

    /// See [`NativeObject::freeze`].
    ///
    /// # Errors
    /// As there.
    pub fn freeze(&self) -> Result<Arc<dyn FrozenObject>, FreezeError> {
        self.native().freeze()
    }

    /// See [`NativeObject::iterate`].
    #[must_use]
    pub fn iterate(&self) -> Option<Rc<dyn NativeIterator>> {
        self.native().iterate()
    }

    /// See [`NativeObject::to_text`].
    #[must_use]
    pub fn to_text(&self) -> Vec<u8> {
        self.native().to_text()
    }
}

/// An opaque handle of the library.
pub struct Resource {
    name: &'static str,
    data: Arc<dyn Any + Send + Sync>,
}

impl Resource {
    /// A handle whose type the library calls `name` (`X509Resource`, `FileResource` …).
    #[must_use]
    pub fn new(name: &'static str, data: Arc<dyn Any + Send + Sync>) -> Resource {
        Resource { name, data }
    }

    /// The resource type's name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Whether both are handles of one thing.
    #[must_use]
    pub fn same(&self, other: &Resource) -> bool {
        Arc::ptr_eq(&self.data, &other.data)
    }

    /// The handle's data when it is a `T`.
    #[must_use]
    pub fn downcast<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        Arc::clone(&self.data).downcast().ok()
    }

    /// The form that other threads may hold.
    ///
    /// # Errors
    /// [`FreezeError::NotStorable`] for handles that belong to one execution.
    pub fn freeze(&self) -> Result<Arc<dyn FrozenObject>, FreezeError> {
        Err(FreezeError::NotStorable(self.name))
    }
}
