//! The Regex object: what a `#/…/` literal and the library's class of that name are.

use std::any::Any;
use std::sync::Arc;

use crate::frozen::{FreezeError, FrozenObject};
use crate::host::CompiledRegex;
use crate::library::Library;
use crate::native::ClassId;
use crate::object::{NativeObject, Object};
use crate::value::Value;

/// The data of a Regex object.
#[derive(Clone)]
pub struct Regex {
    /// The compiled pattern.
    pub compiled: Arc<dyn CompiledRegex>,
    class: ClassId,
}

impl Regex {
    /// A Regex object for a compiled pattern.
    #[must_use]
    pub fn value(compiled: Arc<dyn CompiledRegex>, library: &Library) -> Value {
        let class = library.class_named("Regex").unwrap_or(ClassId(u32::MAX));
        Value::Object(Object::regex(class, Regex { compiled, class }))
    }
}

impl NativeObject for Regex {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn freeze(&self) -> Result<Arc<dyn FrozenObject>, FreezeError> {
        Ok(Arc::new(self.clone()))
    }

    fn to_text(&self) -> Vec<u8> {
        self.compiled.text().to_vec()
    }

    fn held(&self) -> usize {
        self.compiled.memory()
    }
}

impl FrozenObject for Regex {
    fn thaw(&self, _shared: &Arc<dyn FrozenObject>) -> Value {
        Value::Object(Object::regex(self.class, self.clone()))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }

    fn bytes(&self) -> usize {
        size_of::<Regex>() + self.compiled.memory()
    }
}
