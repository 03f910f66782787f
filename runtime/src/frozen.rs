//! Values that threads share: immutable trees without counts inside.
//!
//! What `memory_*`, `cache`, `barrier`, the literals of a compiled unit and data imports hold is a [`Tree`]: one
//! allocation arena behind one `Arc`. An execution that touches a tree takes a [`Pin`] on it (one atomic count per
//! tree and fetch); strings and arrays inside are then handed out as indexes into the tree beside the pin,
//! counted without atomics, and become local on first write. So a fetch costs O(1), whatever the size.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use indexmap::IndexMap;

use crate::array::{Key, KeyHash, KeyRef};
use crate::cell::VarCell;
use crate::graveyard;
use crate::memory;
use crate::native::{ClassId, NativeFn, Throw};
use crate::object::{Function, Object, UserFunction};
use crate::pieces::{LARGE_BYTES, PIECE_BYTES};
use crate::string::{INLINE, Str, StrBuf, hash_bytes};
use crate::value::{ArrayRef, Value};
use crate::vm::unit::{Unit, UnitRef};

/// An immutable tree of values, shared by all threads.
#[derive(Default)]
pub struct Tree {
    strings: Vec<Box<[u8]>>,
    arrays: Vec<FrozenArray>,
    objects: Vec<Arc<dyn FrozenObject>>,
    functions: Vec<FrozenFunction>,
    /// Variables that closures captured; one that several captured is here once.
    cells: Vec<FrozenValue>,
    /// The value that the tree stands for.
    root: FrozenValue,
    bytes: usize,
}

impl Drop for Tree {
    fn drop(&mut self) {
        if self.strings.len().max(self.arrays.len()) > graveyard::LARGE_ENTRIES
            || self.bytes > LARGE_BYTES
        {
            graveyard::bury_tree(
                std::mem::take(&mut self.strings),
                std::mem::take(&mut self.arrays),
            );
        }
    }
}

/// A library object in its frozen form (Map, Set, Regex, keys …).
///
/// `thaw` makes an independent object on the fetching thread in O(1): it may keep a reference to the shared data and
/// copy it at the first write.
pub trait FrozenObject: Send + Sync {
    /// The value that a fetch gives.
    fn thaw(&self, shared: &Arc<dyn FrozenObject>) -> Value;
    /// Access to the concrete type.
    fn as_any(&self) -> &dyn std::any::Any;
    /// The hold itself as one on the concrete type, for objects that keep the shared data.
    fn into_any(self: Arc<Self>) -> Arc<dyn std::any::Any + Send + Sync>;
    /// Estimated bytes held.
    fn bytes(&self) -> usize;
}

/// A value inside a [`Tree`].
#[derive(Clone, Copy, Debug, Default)]
pub enum FrozenValue {
    /// `none`
    #[default]
    None,
    /// A boolean.
    Boolean(bool),
    /// A number.
    Number(f64),
    /// A short string in place.
    Short(u8, [u8; INLINE]),
    /// String `0` of the tree.
    String(u32),
    /// Array `0` of the tree.
    Array(u32),
    /// Object `0` of the tree.
    Object(u32),
    /// Function `0` of the tree.
    Function(u32),
    /// A captured variable without a value.
    Undefined,
}

/// A function inside a [`Tree`].
enum FrozenFunction {
    Native(NativeFn),
    NativeClass(ClassId),
    BoundMethod(u32, NativeFn),
    UserClass(Arc<Unit>, u32),
    User {
        unit: Arc<Unit>,
        proto: u32,
        anonymous: bool,
        captures: Box<[u32]>,
    },
}

/// A key inside a [`Tree`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FrozenKey {
    /// `none`
    None,
    /// An integer.
    Integer(i64),
    /// A string.
    String(Box<[u8]>),
}

impl std::hash::Hash for FrozenKey {
    /// The same words as [`Key`] writes: a frozen array is searched with local keys.
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        match self {
            FrozenKey::None => state.write_u64(1),
            FrozenKey::Integer(number) => state.write_u64(*number as u64),
            FrozenKey::String(bytes) => state.write_u64(hash_bytes(bytes)),
        }
    }
}

/// An array inside a [`Tree`].
pub enum FrozenArray {
    /// Keys 0…n−1.
    List(Box<[FrozenValue]>),
    /// Any keys, in order.
    Hash(IndexMap<FrozenKey, FrozenValue, KeyHash>),
}

impl FrozenArray {
    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            FrozenArray::List(values) => values.len(),
            FrozenArray::Hash(table) => table.len(),
        }
    }

    /// Whether there are no entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the keys are 0…n−1 in order.
    #[must_use]
    pub fn is_list(&self) -> bool {
        matches!(self, FrozenArray::List(_))
    }

    /// The value at `key`.
    #[must_use]
    pub fn get(&self, key: &Key) -> Option<FrozenValue> {
        match (self, key) {
            (FrozenArray::List(values), Key::Integer(index)) => {
                values.get(usize::try_from(*index).ok()?).copied()
            }
            (FrozenArray::List(_), _) => None,
            (FrozenArray::Hash(table), key) => table.get(key).copied(),
        }
    }

    /// The value at a borrowed key.
    #[must_use]
    pub fn find(&self, key: KeyRef<'_>) -> Option<FrozenValue> {
        match (self, key) {
            (FrozenArray::List(values), KeyRef::Integer(index)) => {
                values.get(usize::try_from(index).ok()?).copied()
            }
            (FrozenArray::List(_), _) => None,
            (FrozenArray::Hash(table), key) => table.get(&key).copied(),
        }
    }

    /// The entry at position `position` of the order.
    #[must_use]
    pub fn entry_at(&self, position: usize) -> Option<(Key, FrozenValue)> {
        match self {
            FrozenArray::List(values) => values
                .get(position)
                .map(|value| (Key::from(position), *value)),
            FrozenArray::Hash(table) => table
                .get_index(position)
                .map(|(key, value)| (key.to_local(), *value)),
        }
    }

    /// The value at position `position` of the order.
    #[must_use]
    pub fn value_at(&self, position: usize) -> Option<FrozenValue> {
        match self {
            FrozenArray::List(values) => values.get(position).copied(),
            FrozenArray::Hash(table) => table.get_index(position).map(|(_, value)| *value),
        }
    }
}

impl FrozenKey {
    /// The local form.
    #[must_use]
    pub fn to_local(&self) -> Key {
        match self {
            FrozenKey::None => Key::None,
            FrozenKey::Integer(number) => Key::Integer(*number),
            FrozenKey::String(bytes) => Key::String(Str::new(bytes)),
        }
    }
}

/// Why a value cannot be frozen.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum FreezeError {
    /// User objects, sockets, files, iterators and other things bound to their execution.
    #[error("{0} cannot be stored in shared memory")]
    NotStorable(&'static str),
    /// A tree has at most 2^32 strings and arrays.
    #[error("value too large to be stored in shared memory")]
    TooLarge,
    /// The frozen form would exceed the memory budget of the running execution.
    #[error("not enough memory to store the value")]
    Memory,
}

impl From<FreezeError> for Throw {
    fn from(error: FreezeError) -> Throw {
        match error {
            FreezeError::Memory => Throw::limit("memory"),
            other => Throw::error(other.to_string()),
        }
    }
}

/// The frozen form of `value`, independent of this thread.
///
/// # Errors
/// [`FreezeError::NotStorable`] when `value` holds something that is bound to its execution, [`FreezeError::Memory`]
/// when the frozen form does not fit into the budget.
pub fn freeze(value: &Value) -> Result<Arc<Tree>, FreezeError> {
    let mut freezer = Freezer::new(value);
    loop {
        if let Some(tree) = freezer.go_on(&mut 0, usize::MAX)? {
            return Ok(tree);
        }
    }
}

/// Freezes a value, in parts if need be.
pub struct Freezer {
    root: Option<Value>,
    tree: Tree,
    work: Work,
    /// The array whose entries are being frozen.
    open: Option<Open>,
}

/// An array of which a part is frozen.
struct Open {
    index: u32,
    array: Value,
    /// The next entry.
    position: usize,
    frozen: Growing,
}

enum Growing {
    List(Vec<FrozenValue>),
    Hash(IndexMap<FrozenKey, FrozenValue, KeyHash>),
}

impl Freezer {
    /// Of a value.
    #[must_use]
    pub fn new(value: &Value) -> Freezer {
        Freezer {
            root: Some(value.clone()),
            tree: Tree::default(),
            work: Work::default(),
            open: None,
        }
    }

    /// Goes on until the tree is there or about `most` units of fuel are spent, which are added to `spent`.
    ///
    /// # Errors
    /// As [`freeze`].
    pub fn go_on(
        &mut self,
        spent: &mut usize,
        most: usize,
    ) -> Result<Option<Arc<Tree>>, FreezeError> {
        let end = spent.saturating_add(most);
        let (tree, work) = (&mut self.tree, &mut self.work);
        // An array's place is taken before its elements are known; the work list keeps deep nesting off the stack.
        if let Some(root) = self.root.take() {
            tree.root = tree.add(&root, work)?;
        }
        while *spent < end {
            if let Some(open) = &mut self.open {
                if open.go_on(tree, work, spent, end)?
                    && let Some(open) = self.open.take()
                {
                    let frozen = match open.frozen {
                        Growing::List(values) => FrozenArray::List(values.into_boxed_slice()),
                        Growing::Hash(table) => FrozenArray::Hash(table),
                    };
                    tree.grow(frozen.len().saturating_mul(size_of::<FrozenValue>()))?;
                    tree.arrays[open.index as usize] = frozen;
                }
                continue;
            }
            if let Some((index, text, copy)) = work.texts.last_mut() {
                let (start, text) = (copy.len(), text.as_bytes());
                copy.reserve_exact(text.len() - start);
                let next = text.len().min(start.saturating_add(PIECE_BYTES));
                copy.extend_from_slice(text.get(start..next).unwrap_or_default());
                *spent = spent.saturating_add(1 + (next - start) / 64);
                if next == text.len() {
                    tree.strings[*index as usize] = std::mem::take(copy).into_boxed_slice();
                    work.texts.pop();
                }
                continue;
            }
            if let Some((index, cell)) = work.cells.pop() {
                tree.cells[index as usize] = tree.add(&cell.get(), work)?;
                continue;
            }
            let Some((index, array)) = work.arrays.pop() else {
                return Ok(Some(Arc::new(std::mem::take(tree))));
            };
            let Some(view) = array.as_array() else {
                continue;
            };
            *spent = spent.saturating_add(1);
            let frozen = if view.is_list() {
                Growing::List(Vec::with_capacity(view.len()))
            } else {
                let table = IndexMap::with_capacity_and_hasher(view.len(), KeyHash);
                Growing::Hash(table)
            };
            self.open = Some(Open {
                index,
                array,
                position: 0,
                frozen,
            });
        }
        Ok(None)
    }
}

impl Open {
    /// Freezes entries; whether there are no more.
    fn go_on(
        &mut self,
        tree: &mut Tree,
        work: &mut Work,
        spent: &mut usize,
        end: usize,
    ) -> Result<bool, FreezeError> {
        let Some(view) = self.array.as_array() else {
            return Ok(true);
        };
        while *spent < end {
            let Some((key, value, next)) = view.entry_at(self.position) else {
                return Ok(true);
            };
            self.position = next;
            let before = tree.bytes;
            match &mut self.frozen {
                Growing::List(values) => values.push(tree.add(&value, work)?),
                Growing::Hash(table) => {
                    let key = match key {
                        Key::Integer(number) => FrozenKey::Integer(number),
                        Key::String(string) => FrozenKey::String(string.as_bytes().into()),
                        Key::None | Key::Gap => FrozenKey::None,
                    };
                    tree.grow(64)?;
                    table.insert(key, tree.add(&value, work)?);
                }
            }
            let more = (tree.bytes - before).min(LARGE_BYTES);
            *spent = spent.saturating_add(1 + more / 64);
        }
        Ok(false)
    }
}

/// What is still to be frozen, and the functions and variables that have a place already: closures may share
/// variables, and capture themselves.
#[derive(Default)]
struct Work {
    arrays: Vec<(u32, Value)>,
    /// Large texts, and how much of them is copied.
    texts: Vec<(u32, Str, Vec<u8>)>,
    cells: Vec<(u32, Rc<VarCell>)>,
    cell_index: HashMap<*const VarCell, u32>,
    function_index: HashMap<*const Function, u32>,
    /// Keeps what the indexes point at alive, so that no address is used twice.
    functions: Vec<Rc<Function>>,
    object_index: HashMap<*const Object, u32>,
    kept_objects: Vec<Rc<Object>>,
    array_index: HashMap<(*const (), u32), u32>,
    kept: Vec<Rc<ArrayRef>>,
    /// Long strings are there once, too.
    string_index: HashMap<*const StrBuf, u32>,
    kept_strings: Vec<Rc<StrBuf>>,
}

/// Strings that are shorter are copied without asking whether they were seen.
const LONG: usize = 256;

/// Whether something may be met again on the way through a value: it has a holder besides the one that was followed to it, and
/// the copy of the handle.
fn is_shared<T>(held: &Rc<T>) -> bool {
    Rc::strong_count(held) > 2
}

impl Tree {
    /// Counts `more` bytes.
    fn grow(&mut self, more: usize) -> Result<(), FreezeError> {
        self.bytes = self.bytes.saturating_add(more);
        if memory::would_exceed(self.bytes) {
            return Err(FreezeError::Memory);
        }
        Ok(())
    }

    fn add(&mut self, value: &Value, work: &mut Work) -> Result<FrozenValue, FreezeError> {
        let index = |len: usize| u32::try_from(len).map_err(|_| FreezeError::TooLarge);
        Ok(match value {
            Value::None => FrozenValue::None,
            Value::Boolean(boolean) => FrozenValue::Boolean(*boolean),
            Value::Number(number) => FrozenValue::Number(*number),
            Value::String(Str::Inline(len, bytes)) => FrozenValue::Short(*len, *bytes),
            Value::String(string) => {
                let long = match string {
                    Str::Heap(buffer) if string.len() >= LONG && is_shared(buffer) => Some(buffer),
                    _ => None,
                };
                if let Some(index) =
                    long.and_then(|buffer| work.string_index.get(&Rc::as_ptr(buffer)))
                {
                    return Ok(FrozenValue::String(*index));
                }
                let index = index(self.strings.len())?;
                self.grow(string.len().saturating_add(size_of::<Box<[u8]>>()))?;
                if string.len() > LARGE_BYTES {
                    // Copied in pieces, when its turn comes.
                    self.strings.push(Box::default());
                    work.texts.push((index, string.clone(), Vec::new()));
                } else {
                    self.strings.push(string.as_bytes().into());
                }
                if let Some(buffer) = long {
                    work.string_index.insert(Rc::as_ptr(buffer), index);
                    work.kept_strings.push(Rc::clone(buffer));
                }
                FrozenValue::String(index)
            }
            Value::Array(array) => {
                // A part that several arrays share is there once.
                let shared = is_shared(array) || matches!(**array, ArrayRef::Frozen(..));
                if shared && let Some(index) = work.array_index.get(&array.identity()) {
                    return Ok(FrozenValue::Array(*index));
                }
                let index = index(self.arrays.len())?;
                self.arrays.push(FrozenArray::List(Box::default()));
                work.arrays.push((index, value.clone()));
                if shared {
                    work.array_index.insert(array.identity(), index);
                    work.kept.push(Rc::clone(array));
                }
                FrozenValue::Array(index)
            }
            Value::Object(object) => {
                if let Some(index) = work.object_index.get(&Rc::as_ptr(object)) {
                    return Ok(FrozenValue::Object(*index));
                }
                let frozen = object.freeze()?;
                let index = index(self.objects.len())?;
                self.grow(frozen.bytes())?;
                self.objects.push(frozen);
                work.object_index.insert(Rc::as_ptr(object), index);
                work.kept_objects.push(Rc::clone(object));
                FrozenValue::Object(index)
            }
            Value::Undefined | Value::Cell(_) => FrozenValue::Undefined,
            Value::Function(function) => {
                if let Some(index) = work.function_index.get(&Rc::as_ptr(function)) {
                    return Ok(FrozenValue::Function(*index));
                }
                let frozen = match &**function {
                    Function::Native(native) => FrozenFunction::Native(*native),
                    Function::NativeClass(class) => FrozenFunction::NativeClass(*class),
                    Function::BoundMethod(object, method) => {
                        let frozen = object.freeze()?;
                        let object = index(self.objects.len())?;
                        self.grow(frozen.bytes())?;
                        self.objects.push(frozen);
                        FrozenFunction::BoundMethod(object, *method)
                    }
                    Function::UserClass(unit, class) => {
                        FrozenFunction::UserClass(Arc::clone(unit.unit()), *class)
                    }
                    Function::User(user) if user.this.is_some() => {
                        return Err(FreezeError::NotStorable("object"));
                    }
                    Function::User(user) => {
                        let mut captures = Vec::with_capacity(user.captures.len());
                        for cell in &user.captures {
                            captures.push(match work.cell_index.get(&Rc::as_ptr(cell)) {
                                Some(index) => *index,
                                None => {
                                    let index = index(self.cells.len())?;
                                    self.cells.push(FrozenValue::Undefined);
                                    work.cell_index.insert(Rc::as_ptr(cell), index);
                                    work.cells.push((index, Rc::clone(cell)));
                                    index
                                }
                            });
                        }
                        let captures = captures.into_boxed_slice();
                        let unit = Arc::clone(user.unit.unit());
                        FrozenFunction::User {
                            unit,
                            proto: user.proto,
                            anonymous: user.anonymous,
                            captures,
                        }
                    }
                };
                let index = index(self.functions.len())?;
                self.grow(size_of::<FrozenFunction>())?;
                self.functions.push(frozen);
                work.function_index.insert(Rc::as_ptr(function), index);
                work.functions.push(Rc::clone(function));
                FrozenValue::Function(index)
            }
            Value::Resource(resource) => {
                let frozen = resource.freeze()?;
                let index = index(self.objects.len())?;
                self.grow(frozen.bytes())?;
                self.objects.push(frozen);
                FrozenValue::Object(index)
            }
        })
    }

    /// Estimated bytes held by the tree.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

/// A counted hold on a [`Tree`] within one thread.
#[derive(Clone)]
pub struct Pin(Rc<Pinned>);

struct Pinned {
    tree: Arc<Tree>,
    /// The captured variables that were made of the tree's, so that closures of one tree share them again. Variables
    /// and pin hold each other until the execution ends, which empties its variables.
    cells: RefCell<HashMap<u32, Rc<VarCell>>>,
    /// The objects that were made of the tree's: each element is one object, however often it is read.
    objects: RefCell<HashMap<u32, Rc<VarCell>>>,
}

impl Pin {
    /// Pins `tree`: the one atomic count of a fetch.
    #[must_use]
    pub fn new(tree: &Arc<Tree>) -> Pin {
        Pin(Rc::new(Pinned {
            tree: Arc::clone(tree),
            cells: RefCell::default(),
            objects: RefCell::default(),
        }))
    }

    /// Where the tree is: tells trees apart while both are held.
    pub(crate) fn address(&self) -> *const () {
        Arc::as_ptr(&self.0.tree).cast()
    }

    /// The captured variable `index`.
    fn cell(&self, index: u32) -> Rc<VarCell> {
        let mut cells = self.0.cells.borrow_mut();
        if let Some(cell) = cells.get(&index) {
            return Rc::clone(cell);
        }
        let cell = VarCell::frozen(self.clone(), index);
        cells.insert(index, Rc::clone(&cell));
        cell
    }

    /// The value of the captured variable `index`.
    pub(crate) fn captured(&self, index: u32) -> Value {
        self.0
            .tree
            .cells
            .get(index as usize)
            .map_or(Value::Undefined, |value| self.value(*value))
    }

    /// The object `index`.
    fn object(&self, index: u32) -> Value {
        if let Some(object) = self.0.objects.borrow().get(&index) {
            return object.get();
        }
        let frozen = &self.0.tree.objects[index as usize];
        let object = frozen.thaw(frozen);
        let cell = VarCell::thawed(object.clone());
        self.0.objects.borrow_mut().insert(index, cell);
        object
    }

    fn function(&self, index: u32) -> Value {
        let function = match &self.0.tree.functions[index as usize] {
            FrozenFunction::Native(native) => Function::Native(*native),
            FrozenFunction::NativeClass(class) => Function::NativeClass(*class),
            FrozenFunction::BoundMethod(object, method) => match self.object(*object) {
                Value::Object(object) => Function::BoundMethod(object, *method),
                other => return other,
            },
            FrozenFunction::UserClass(unit, class) => {
                Function::UserClass(UnitRef::new(unit), *class)
            }
            FrozenFunction::User {
                unit,
                proto,
                anonymous,
                captures,
            } => Function::User(UserFunction {
                unit: UnitRef::new(unit),
                proto: *proto,
                anonymous: *anonymous,
                this: None,
                _charge: UserFunction::charge(captures.len()),
                captures: captures.iter().map(|index| self.cell(*index)).collect(),
            }),
        };
        Value::Function(Rc::new(function))
    }

    /// The value that the tree stands for.
    #[must_use]
    pub fn root(&self) -> Value {
        self.value(self.0.tree.root)
    }

    /// The bytes of string `index`.
    #[inline]
    #[must_use]
    pub fn string(&self, index: u32) -> &[u8] {
        &self.0.tree.strings[index as usize]
    }

    /// Array `index`.
    #[inline]
    #[must_use]
    pub fn array(&self, index: u32) -> &FrozenArray {
        &self.0.tree.arrays[index as usize]
    }

    /// The value that a frozen value of this tree stands for.
    #[inline]
    #[must_use]
    pub fn value(&self, value: FrozenValue) -> Value {
        match value {
            FrozenValue::None => Value::None,
            FrozenValue::Boolean(boolean) => Value::Boolean(boolean),
            FrozenValue::Number(number) => Value::Number(number),
            FrozenValue::Short(len, bytes) => Value::String(Str::Inline(len, bytes)),
            FrozenValue::String(index) => Value::String(Str::Frozen(index, self.clone())),
            FrozenValue::Array(index) => {
                Value::Array(Rc::new(ArrayRef::Frozen(index, self.clone())))
            }
            FrozenValue::Object(index) => self.object(index),
            FrozenValue::Function(index) => self.function(index),
            FrozenValue::Undefined => Value::Undefined,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::array::Array;

    fn sample() -> Value {
        let inner = Array::from_list(vec![
            Value::from("a string longer than the inline form"),
            Value::from(1.5),
        ]);
        let mut outer = Array::new();
        outer.insert(Key::from("list"), Value::from(inner));
        outer.insert(Key::from("7"), Value::from(true));
        outer.insert(Key::None, Value::None);
        Value::from(outer)
    }

    #[test]
    fn a_fetch_reads_like_the_stored_value() {
        let tree = freeze(&sample()).unwrap();
        let fetched = Pin::new(&tree).root();
        assert_eq!(format!("{fetched:?}"), format!("{:?}", sample()));
        assert!(
            fetched.as_array().unwrap().get_str("7").is_some(),
            "keys are cast alike"
        );
    }

    #[test]
    fn a_write_makes_the_value_local_and_leaves_the_tree_alone() {
        let tree = freeze(&sample()).unwrap();
        let mut fetched = Pin::new(&tree).root();
        fetched
            .array_mut()
            .unwrap()
            .insert(Key::from("new"), Value::from(1.0));
        assert_eq!(fetched.as_array().unwrap().len(), 4);
        assert_eq!(Pin::new(&tree).root().as_array().unwrap().len(), 3);
    }

    #[test]
    fn deep_values_are_frozen_and_dropped_without_recursion() {
        let mut value = Value::None;
        for _ in 0..200_000 {
            value = Value::from(Array::from_list(vec![value]));
        }
        let tree = freeze(&value).unwrap();
        assert!(tree.bytes() > 200_000);
    }
}
