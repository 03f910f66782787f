//! Objects of the script's own classes (language.md 12).

use std::any::Any;
use std::cell::RefCell;
use std::rc::Rc;

use crate::array::{Array, Key};
use crate::native::{ClassId, Throw};
use crate::object::{Function, NativeObject, Object, UserFunction};
use crate::string::Str;
use crate::value::Value;
use crate::vm::unit::{ClassTable, UnitRef};

/// The data of an instance.
pub struct Instance {
    unit: UnitRef,
    class: u32,
    /// Properties by name; keys are not cast.
    properties: RefCell<Array>,
}

/// Who uses a member: the class that the running function belongs to.
#[derive(Clone, Copy)]
pub(crate) struct Caller<'a> {
    pub unit: &'a UnitRef,
    pub class: Option<u32>,
}

impl NativeObject for Instance {
    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Instance {
    /// A new instance without properties.
    pub(crate) fn object(unit: &UnitRef, class: u32) -> Rc<Object> {
        let properties = RefCell::new(Array::new());
        Object::new(
            ClassId(u32::MAX),
            Instance {
                unit: unit.clone(),
                class,
                properties,
            },
        )
    }

    /// The instance behind an object, if it is one.
    #[inline]
    pub(crate) fn of(object: &Object) -> Option<&Instance> {
        object.downcast()
    }

    pub(crate) fn table(&self) -> Option<&ClassTable> {
        self.unit.classes.get(self.class as usize)
    }

    /// The name of its class.
    pub(crate) fn class_name(&self) -> &str {
        let class = self.unit.program.classes.get(self.class as usize);
        class.map_or("object", |class| &class.name)
    }

    pub(crate) fn unit(&self) -> &UnitRef {
        &self.unit
    }

    fn is_friend(&self, caller: Caller<'_>) -> bool {
        caller.class == Some(self.class) && caller.unit.same(&self.unit)
    }

    /// Throws when `caller` may not use the member `name`.
    pub(crate) fn check_access(&self, name: &Str, caller: Caller<'_>) -> Result<(), Throw> {
        match self.table() {
            Some(table) if table.private.contains(name.as_bytes()) && !self.is_friend(caller) => {
                Err(Throw::error(format!("{} is private", name.to_text())))
            }
            _ => Ok(()),
        }
    }

    /// Throws when `caller` may not write the property `name`.
    pub(crate) fn check_write(&self, name: &Str, caller: Caller<'_>) -> Result<(), Throw> {
        self.check_access(name, caller)?;
        let Some(table) = self.table() else {
            return Ok(());
        };
        if table.methods.contains_key(name.as_bytes()) {
            return Err(Throw::error(format!(
                "the function {} cannot be overwritten",
                name.to_text()
            )));
        }
        if table.readonly.contains(name.as_bytes()) && !self.is_friend(caller) {
            return Err(Throw::error(format!("{} is read-only", name.to_text())));
        }
        Ok(())
    }

    /// The function `name` of the class.
    pub(crate) fn method(&self, name: &Str) -> Option<u32> {
        self.table()?.methods.get(name.as_bytes()).copied()
    }

    /// The value of a property, or a function bound to the object; none when there is neither.
    pub(crate) fn get(
        &self,
        object: &Rc<Object>,
        name: &Str,
        caller: Caller<'_>,
    ) -> Result<Value, Throw> {
        self.check_access(name, caller)?;
        if let Some(value) = self.properties.borrow().get(&Key::String(name.clone())) {
            return Ok(value.clone());
        }
        Ok(self.method(name).map_or(Value::None, |proto| {
            Value::Function(Rc::new(Function::User(UserFunction {
                unit: self.unit.clone(),
                proto,
                captures: Box::default(),
                anonymous: false,
                this: Some(Rc::clone(object)),
            })))
        }))
    }

    /// The members that code outside the class can use: names, and whether each one is a function.
    pub(crate) fn public_members(&self) -> Vec<(String, bool)> {
        let Some(table) = self.table() else {
            return Vec::new();
        };
        let shown = |name: &[u8]| !table.private.contains(name);
        let text = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
        let methods = table.methods.keys().filter(|name| shown(name));
        let mut members: Vec<(String, bool)> = methods.map(|name| (text(name), true)).collect();
        for (key, _) in self.properties.borrow().iter() {
            if let Key::String(name) = key
                && shown(name.as_bytes())
            {
                members.push((text(name.as_bytes()), false));
            }
        }
        members
    }

    /// Whether the property exists and `caller` may see it.
    pub(crate) fn isset(&self, name: &Str, caller: Caller<'_>) -> bool {
        self.check_access(name, caller).is_ok()
            && self
                .properties
                .borrow()
                .contains(&Key::String(name.clone()))
    }

    /// Removes a property; whether it was there.
    pub(crate) fn unset(&self, name: &Str, caller: Caller<'_>) -> Result<bool, Throw> {
        self.check_write(name, caller)?;
        let removed = self
            .properties
            .borrow_mut()
            .remove(&Key::String(name.clone()));
        Ok(removed.is_some())
    }

    /// Sets a property whatever its access: initial values.
    pub(crate) fn init(&self, name: &Str, value: Value) {
        let old = std::mem::replace(
            self.properties.borrow_mut().slot(Key::String(name.clone())),
            value,
        );
        drop(old);
    }

    /// Does `change` with the place of a property, which is made when it is missing.
    pub(crate) fn with<T>(&self, name: &Str, change: impl FnOnce(&mut Value) -> T) -> T {
        change(self.properties.borrow_mut().slot(Key::String(name.clone())))
    }

    /// Does `change` with a property that is there.
    pub(crate) fn with_existing<T>(
        &self,
        name: &Str,
        change: impl FnOnce(&mut Value) -> T,
    ) -> Option<T> {
        self.properties
            .borrow_mut()
            .get_mut(&Key::String(name.clone()))
            .map(change)
    }

    /// Drops all properties: cycles among objects are taken apart so.
    pub(crate) fn clear(&self) {
        let properties = self.properties.take();
        drop(properties);
    }
}
