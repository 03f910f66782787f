//! Objects of the script's own classes (language.md 12).
//!
//! The properties of an object are a short list, in the order in which they were set. Objects that one constructor made
//! have them at the same places, so that an instruction that remembers where it found a name last time ([`Hint`])
//! mostly finds it there again.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use crate::array::KeyHash;
use crate::memory;
use crate::native::{ClassId, Throw};
use crate::object::{Function, NativeObject, Object, UserFunction};
use crate::string::Str;
use crate::value::Value;
use crate::vm::unit::{ClassTable, Member, UnitRef};

/// The data of an instance.
pub struct Instance {
    unit: UnitRef,
    class: u32,
    properties: RefCell<Properties>,
}

/// Who uses a member: the class that the running function belongs to.
#[derive(Clone, Copy)]
pub(crate) struct Caller<'a> {
    pub unit: &'a UnitRef,
    pub class: Option<u32>,
}

/// What was found the last time for a name. It may be wrong for the object at hand, and is checked.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Hint {
    /// The class that `target` is for: its number + 1 for a class of the unit, its id with [`Hint::NATIVE`] set for one
    /// of the library. 0 for none.
    pub class: u32,
    /// The built-in function.
    pub target: u32,
    /// What the class says of the name.
    pub member: Member,
    /// The place among the properties.
    pub slot: u16,
}

impl Hint {
    pub(crate) const NATIVE: u32 = 1 << 31;
}

/// What was found for one name, for some classes beside each other: a name such as `has` or `size` belongs to several.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hints([Cell<Hint>; 4]);

impl Hints {
    /// The hint for a class.
    #[inline]
    pub(crate) fn of(&self, class: u32) -> &Cell<Hint> {
        // Classes whose numbers are four apart, as those of Map and Set, get different ones.
        &self.0[(class ^ class >> 2) as usize % 4]
    }
}

/// Names and values of one object.
#[derive(Default)]
struct Properties {
    entries: Vec<(Str, Value)>,
    /// Where each name is, when there are many.
    index: Option<HashMap<Str, usize, KeyHash>>,
}

/// From how many properties on they have an index.
const MANY: usize = 12;

impl Properties {
    #[inline]
    fn find(&self, name: &Str, hint: &Cell<Hint>) -> Option<usize> {
        let at = usize::from(hint.get().slot);
        match self.entries.get(at) {
            Some((found, _)) if found == name => Some(at),
            _ => self.search(name, hint),
        }
    }

    fn search(&self, name: &Str, hint: &Cell<Hint>) -> Option<usize> {
        let at = match &self.index {
            Some(index) => index.get(name).copied()?,
            None => self.entries.iter().position(|(found, _)| found == name)?,
        };
        if let Ok(slot) = u16::try_from(at) {
            hint.set(Hint { slot, ..hint.get() });
        }
        Some(at)
    }

    /// The place of a property, which is made when it is missing.
    #[inline]
    fn slot(&mut self, name: &Str, hint: &Cell<Hint>) -> &mut Value {
        let at = match self.find(name, hint) {
            Some(at) => at,
            None => self.add(name, hint),
        };
        &mut self.entries[at].1
    }

    fn add(&mut self, name: &Str, hint: &Cell<Hint>) -> usize {
        let (at, before) = (self.entries.len(), self.entries.capacity());
        if before == 0 {
            self.entries.reserve_exact(4);
        }
        self.entries.push((name.clone(), Value::None));
        memory::charge((self.entries.capacity() - before) * size_of::<(Str, Value)>());
        if let Some(index) = &mut self.index {
            index.insert(name.clone(), at);
        } else if self.entries.len() > MANY {
            self.reindex();
        }
        if let Ok(slot) = u16::try_from(at) {
            hint.set(Hint { slot, ..hint.get() });
        }
        at
    }

    fn reindex(&mut self) {
        let names = self.entries.iter().enumerate();
        self.index = (self.entries.len() > MANY)
            .then(|| names.map(|(at, (name, _))| (name.clone(), at)).collect());
    }

    fn remove(&mut self, name: &Str) -> bool {
        let Some(at) = self.search(name, &Cell::default()) else {
            return false;
        };
        // The last one takes its place: their order shows nowhere.
        let removed = self.entries.swap_remove(at);
        if let Some(index) = &mut self.index {
            index.remove(name);
            if let Some((moved, _)) = self.entries.get(at) {
                index.insert(moved.clone(), at);
            }
        }
        drop(removed);
        true
    }
}

impl Drop for Properties {
    fn drop(&mut self) {
        memory::credit(self.entries.capacity() * size_of::<(Str, Value)>());
        crate::graveyard::bury(self.entries.iter_mut().map(|(_, value)| value));
    }
}

impl NativeObject for Instance {
    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Instance {
    /// A new instance without properties.
    pub(crate) fn object(unit: &UnitRef, class: u32) -> Rc<Object> {
        Object::instance(
            ClassId(u32::MAX),
            Instance {
                unit: unit.clone(),
                class,
                properties: RefCell::default(),
            },
        )
    }

    /// The instance behind an object, if it is one.
    #[inline]
    pub(crate) fn of(object: &Object) -> Option<&Instance> {
        object.as_instance()
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

    #[inline]
    fn is_friend(&self, caller: Caller<'_>) -> bool {
        caller.class == Some(self.class) && caller.unit.same(&self.unit)
    }

    /// What the class says of `name`. The hint is that of the caller's unit.
    #[inline]
    fn member(&self, name: &Str, caller: Caller<'_>, hints: &Hints) -> Member {
        let hint = hints.of(self.class);
        let known = hint.get();
        let own = caller.unit.same(&self.unit);
        if own && known.class == self.class + 1 {
            return known.member;
        }
        let table: Option<&ClassTable> = self.unit.classes.get(self.class as usize);
        let member = table.and_then(|table| table.members.get(name.as_bytes()));
        let member = member.copied().unwrap_or_default();
        if own {
            hint.set(Hint {
                class: self.class + 1,
                member,
                ..known
            });
        }
        member
    }

    /// Throws when `caller` may not use the member `name`.
    #[inline]
    fn check_access(&self, member: Member, name: &Str, caller: Caller<'_>) -> Result<(), Throw> {
        if member.private && !self.is_friend(caller) {
            return Err(Throw::error(format!("{} is private", name.to_text())));
        }
        Ok(())
    }

    /// Throws when `caller` may not write the property `name`.
    #[inline]
    pub(crate) fn check_write(
        &self,
        name: &Str,
        caller: Caller<'_>,
        hints: &Hints,
    ) -> Result<(), Throw> {
        let member = self.member(name, caller, hints);
        self.check_access(member, name, caller)?;
        if member.method.is_some() {
            return Err(Throw::error(format!(
                "the function {} cannot be overwritten",
                name.to_text()
            )));
        }
        if member.readonly && !self.is_friend(caller) {
            return Err(Throw::error(format!("{} is read-only", name.to_text())));
        }
        Ok(())
    }

    /// The function `name` of the class; none when there is none.
    ///
    /// # Errors
    /// When `caller` may not use the member.
    #[inline]
    pub(crate) fn method(
        &self,
        name: &Str,
        caller: Caller<'_>,
        hints: &Hints,
    ) -> Result<Option<u32>, Throw> {
        let member = self.member(name, caller, hints);
        self.check_access(member, name, caller)?;
        Ok(member.method)
    }

    /// The function that was found last time for the name that `hints` belong to, if it is of this class and `caller`
    /// may use it. It is one of the caller's unit.
    #[inline]
    pub(crate) fn hinted_method(&self, caller: Caller<'_>, hints: &Hints) -> Option<u32> {
        let hint = hints.of(self.class).get();
        let known = hint.class == self.class + 1 && caller.unit.same(&self.unit);
        let usable = !hint.member.private || caller.class == Some(self.class);
        hint.member.method.filter(|_| known && usable)
    }

    /// Does `read` with the property `name` at the place where it was found last time, if it is there and `caller` may
    /// read it.
    #[inline]
    pub(crate) fn hinted<T>(
        &self,
        name: &Str,
        caller: Caller<'_>,
        hints: &Hints,
        read: impl FnOnce(&Value) -> T,
    ) -> Option<T> {
        let hint = hints.of(self.class).get();
        let known = hint.class == self.class + 1 && caller.unit.same(&self.unit);
        let usable = !hint.member.private || caller.class == Some(self.class);
        if !(known && usable) {
            return None;
        }
        let at = usize::from(hint.slot);
        let properties = self.properties.borrow();
        let (found, value) = properties.entries.get(at)?;
        found.quick_equal(name).then(|| read(value))
    }

    /// Does `change` with the property `name` at the place where it was found last time, if it is there and `caller` may
    /// write it.
    #[inline]
    pub(crate) fn with_known<T>(
        &self,
        name: &Str,
        caller: Caller<'_>,
        hints: &Hints,
        change: impl FnOnce(&mut Value) -> T,
    ) -> Option<T> {
        let hint = hints.of(self.class).get();
        let known = hint.class == self.class + 1 && caller.unit.same(&self.unit);
        let guarded = hint.member.private || hint.member.readonly;
        let usable = !guarded || caller.class == Some(self.class);
        if !(known && usable && hint.member.method.is_none()) {
            return None;
        }
        let mut properties = self.properties.borrow_mut();
        let (found, value) = properties.entries.get_mut(usize::from(hint.slot))?;
        found.quick_equal(name).then(|| change(value))
    }

    /// Adds the property `name` with a number where it was found last time, as an object gets its properties one by
    /// one; false when it is not the next one, or `caller` may not write it.
    pub(crate) fn add_known(
        &self,
        name: &Str,
        caller: Caller<'_>,
        hints: &Hints,
        number: f64,
    ) -> bool {
        let cell = hints.of(self.class);
        let hint = cell.get();
        let known = hint.class == self.class + 1 && caller.unit.same(&self.unit);
        let guarded = hint.member.private || hint.member.readonly;
        let usable = !guarded || caller.class == Some(self.class);
        let mut properties = self.properties.borrow_mut();
        let next = properties.entries.len();
        if !(known && usable && hint.member.method.is_none())
            || usize::from(hint.slot) != next
            || next >= MANY
            || properties.entries.iter().any(|(own, _)| own == name)
        {
            return false;
        }
        let at = properties.add(name, cell);
        if let Some((_, value)) = properties.entries.get_mut(at) {
            *value = Value::Number(number);
        }
        true
    }

    /// The value of a property, or a function bound to the object; none when there is neither.
    #[inline]
    pub(crate) fn get(
        &self,
        object: &Rc<Object>,
        name: &Str,
        caller: Caller<'_>,
        hints: &Hints,
    ) -> Result<Value, Throw> {
        let member = self.member(name, caller, hints);
        self.check_access(member, name, caller)?;
        let properties = self.properties.borrow();
        if let Some(at) = properties.find(name, hints.of(self.class)) {
            return Ok(properties.entries[at].1.clone());
        }
        Ok(member.method.map_or(Value::None, |proto| {
            Value::Function(Rc::new(Function::User(UserFunction {
                unit: self.unit.clone(),
                proto,
                captures: Box::default(),
                anonymous: false,
                this: Some(Rc::clone(object)),
                _charge: UserFunction::charge(0),
            })))
        }))
    }

    /// The members that code outside the class can use: names, and whether each one is a function.
    pub(crate) fn public_members(&self) -> Vec<(String, bool)> {
        let Some(table) = self.table() else {
            return Vec::new();
        };
        let text = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
        let methods = table
            .members
            .iter()
            .filter(|(_, member)| member.method.is_some() && !member.private);
        let mut members: Vec<(String, bool)> =
            methods.map(|(name, _)| (text(name), true)).collect();
        for (name, _) in &self.properties.borrow().entries {
            let member = table.members.get(name.as_bytes());
            if member.is_none_or(|member| !member.private) {
                members.push((text(name.as_bytes()), false));
            }
        }
        members
    }

    /// Whether the property exists and `caller` may see it.
    pub(crate) fn isset(&self, name: &Str, caller: Caller<'_>) -> bool {
        let hints = Hints::default();
        let member = self.member(name, caller, &hints);
        self.check_access(member, name, caller).is_ok()
            && self
                .properties
                .borrow()
                .find(name, hints.of(self.class))
                .is_some()
    }

    /// Removes a property; whether it was there.
    pub(crate) fn unset(&self, name: &Str, caller: Caller<'_>) -> Result<bool, Throw> {
        self.check_write(name, caller, &Hints::default())?;
        Ok(self.properties.borrow_mut().remove(name))
    }

    /// Sets a property whatever its access: initial values.
    pub(crate) fn init(&self, name: &Str, value: Value) {
        let old = self.with(name, &Hints::default(), |slot| {
            std::mem::replace(slot, value)
        });
        drop(old);
    }

    /// Does `change` with the place of a property, which is made when it is missing.
    #[inline]
    pub(crate) fn with<T>(
        &self,
        name: &Str,
        hints: &Hints,
        change: impl FnOnce(&mut Value) -> T,
    ) -> T {
        change(
            self.properties
                .borrow_mut()
                .slot(name, hints.of(self.class)),
        )
    }

    /// Does `change` with a property that is there.
    #[inline]
    pub(crate) fn with_hinted<T>(
        &self,
        name: &Str,
        hints: &Hints,
        change: impl FnOnce(&mut Value) -> T,
    ) -> Option<T> {
        let mut properties = self.properties.borrow_mut();
        let at = properties.find(name, hints.of(self.class))?;
        Some(change(&mut properties.entries[at].1))
    }

    /// Does `change` with a property that is there.
    pub(crate) fn with_existing<T>(
        &self,
        name: &Str,
        change: impl FnOnce(&mut Value) -> T,
    ) -> Option<T> {
        self.with_hinted(name, &Hints::default(), change)
    }

    /// Drops all properties: cycles among objects are taken apart so.
    pub(crate) fn clear(&self) {
        let properties = self.properties.take();
        drop(properties);
    }
}
