//! The classes `Map` and `Set` (language.md 17).
//!
//! Both are one [`Table`]: strongly typed keys in insertion order, for a Set without values. In shared memory a table
//! is an immutable index beside a frozen list of values; a fetch takes a hold on it in constant time, and the first
//! write makes a table of its own.

mod iteration;
mod methods;

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use indexmap::map::Entry;
use indexmap::{Equivalent, IndexMap, IndexSet};

use crate::array::{Array, KeyHash};
use crate::frozen::{FreezeError, FrozenObject, Pin, Tree, freeze};
use crate::graveyard;
use crate::memory;
use crate::native::{ClassId, Cx, Throw};
use crate::object::{NativeIterator, NativeObject, Object};
use crate::pieces::{LARGE_ENTRIES, PIECE_KEYS};
use crate::string::{Str, hash_bytes};
use crate::value::{Kind, Value};
use crate::words::Words;

use iteration::walk;
pub use iteration::{ITERATOR, Iteration};
pub(crate) use methods::{Answer, Quick};
pub use methods::{MAP, SET, map_of, set_of};

/// Estimated bytes of an entry: key, value, cached hash, index slot.
const ENTRY: usize = 16 + 16 + 8 + 8;

/// A key for looking up. The type is that of the table, so keys of different types never meet; numbers and booleans
/// are words.
#[derive(Clone, Copy, Debug)]
enum Key<'a> {
    String(&'a Str),
    Word(u64),
}

impl Key<'_> {
    /// The key that `value` is, if it is of `kind`. All NaNs are one key, and both zeros.
    #[inline]
    fn of(value: &Value, kind: Kind) -> Option<Key<'_>> {
        match (value, kind) {
            (Value::String(string), Kind::String) => Some(Key::String(string)),
            (Value::Number(number), Kind::Number) => {
                let number = if number.is_nan() {
                    f64::NAN
                } else {
                    number + 0.0
                };
                Some(Key::Word(number.to_bits()))
            }
            (Value::Boolean(boolean), Kind::Boolean) => Some(Key::Word(u64::from(*boolean))),
            _ => None,
        }
    }
}

/// The value of a word as a key of `kind`.
fn word_value(word: u64, kind: Kind) -> Value {
    if kind == Kind::Boolean {
        Value::Boolean(word != 0)
    } else {
        Value::Number(f64::from_bits(word))
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum SharedKey {
    String(Box<[u8]>),
    Word(u64),
}

impl std::hash::Hash for Key<'_> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        match self {
            Key::String(string) => string.hash(state),
            Key::Word(word) => state.write_u64(*word),
        }
    }
}

impl std::hash::Hash for SharedKey {
    /// The same words as [`Key`] writes: a shared table is searched with local keys.
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        match self {
            SharedKey::String(bytes) => state.write_u64(hash_bytes(bytes)),
            SharedKey::Word(word) => state.write_u64(*word),
        }
    }
}

impl Equivalent<SharedKey> for Key<'_> {
    fn equivalent(&self, other: &SharedKey) -> bool {
        match (self, other) {
            (Key::String(a), SharedKey::String(b)) => a.as_bytes() == &**b,
            (Key::Word(a), SharedKey::Word(b)) => a == b,
            _ => false,
        }
    }
}

/// A key on its way from a table to another.
enum OwnKey {
    String(Str),
    Word(u64),
}

/// The entries of a table of this thread, by the kind of its keys.
enum Entries {
    Strings(IndexMap<Str, Value, KeyHash>),
    Words(Words),
}

impl Entries {
    fn new(keys: Kind) -> Entries {
        if keys == Kind::String {
            Entries::Strings(IndexMap::default())
        } else {
            Entries::Words(Words::default())
        }
    }

    fn len(&self) -> usize {
        match self {
            Entries::Strings(entries) => entries.len(),
            Entries::Words(entries) => entries.len(),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Entries::Strings(entries) => entries.capacity() * ENTRY,
            Entries::Words(entries) => entries.bytes(),
        }
    }

    /// The place of a key.
    #[inline]
    fn find(&self, key: Key<'_>) -> Option<usize> {
        match (self, key) {
            (Entries::Words(entries), Key::Word(word)) => entries.find(word),
            (Entries::Strings(entries), Key::String(string)) => entries.get_index_of(string),
            _ => None,
        }
    }

    /// Whether a key is at a place.
    #[inline]
    fn is_at(&self, at: usize, key: Key<'_>) -> bool {
        match (self, key) {
            (Entries::Words(entries), Key::Word(word)) => entries.is_at(at, word),
            (Entries::Strings(entries), Key::String(string)) => {
                entries.get_index(at).is_some_and(|(own, _)| own == string)
            }
            _ => false,
        }
    }

    #[inline]
    fn value(&self, at: usize) -> Option<&Value> {
        match self {
            Entries::Words(entries) => entries.value(at),
            Entries::Strings(entries) => entries.get_index(at).map(|(_, value)| value),
        }
    }

    #[inline]
    fn value_mut(&mut self, at: usize) -> Option<&mut Value> {
        match self {
            Entries::Words(entries) => entries.value_mut(at),
            Entries::Strings(entries) => entries.get_index_mut(at).map(|(_, value)| value),
        }
    }

    fn insert(&mut self, key: Key<'_>, value: Value) {
        match (self, key) {
            (Entries::Words(entries), Key::Word(word)) => entries.insert(word, value),
            (Entries::Strings(entries), Key::String(string)) => {
                drop(entries.insert(string.clone(), value));
            }
            _ => {}
        }
    }

    /// Whether there is no room for one more, and there are many.
    fn is_full_and_large(&self) -> bool {
        let full = match self {
            Entries::Strings(entries) => entries.len() == entries.capacity(),
            Entries::Words(entries) => entries.is_full(),
        };
        full && self.len() >= LARGE_ENTRIES
    }

    /// An empty one for the same keys.
    fn with_twice_the_room(&self) -> Entries {
        match self {
            Entries::Strings(entries) => {
                let capacity = entries.len() * 2;
                Entries::Strings(IndexMap::with_capacity_and_hasher(capacity, KeyHash))
            }
            Entries::Words(entries) => Entries::Words(entries.with_twice_the_room()),
        }
    }

    fn into_entries(self) -> Box<dyn Iterator<Item = (OwnKey, Value)>> {
        match self {
            Entries::Strings(entries) => Box::new(
                entries
                    .into_iter()
                    .map(|(key, value)| (OwnKey::String(key), value)),
            ),
            Entries::Words(entries) => Box::new(
                entries
                    .into_iter()
                    .map(|(key, value)| (OwnKey::Word(key), value)),
            ),
        }
    }

    fn insert_owned(&mut self, key: OwnKey, value: Value) {
        match (self, key) {
            (Entries::Words(entries), OwnKey::Word(word)) => entries.insert(word, value),
            (Entries::Strings(entries), OwnKey::String(string)) => {
                drop(entries.insert(string, value));
            }
            _ => {}
        }
    }

    /// The order of the others is not promised, so the last one takes the place.
    fn remove(&mut self, key: Key<'_>) -> Option<Value> {
        match (self, key) {
            (Entries::Words(entries), Key::Word(word)) => entries.swap_remove(word),
            (Entries::Strings(entries), Key::String(string)) => entries.swap_remove(string),
            _ => None,
        }
    }

    fn values(&self) -> Vec<Value> {
        match self {
            Entries::Strings(entries) => entries.values().cloned().collect(),
            Entries::Words(entries) => entries.values().cloned().collect(),
        }
    }

    /// Drops what the values hold, however deep; many of them in pieces.
    fn bury(&mut self) {
        let large = self.len() > graveyard::LARGE_ENTRIES;
        match self {
            Entries::Strings(entries) if large => {
                let entries = std::mem::take(entries).into_iter();
                graveyard::bury_entries(entries.map(|(_, value)| value));
            }
            Entries::Words(entries) if large => {
                let entries = std::mem::take(entries).into_iter();
                graveyard::bury_entries(entries.map(|(_, value)| value));
            }
            Entries::Strings(entries) => graveyard::bury(entries.values_mut()),
            Entries::Words(entries) => graveyard::bury(entries.values_mut()),
        }
    }

    fn share(&self) -> IndexSet<SharedKey, KeyHash> {
        match self {
            Entries::Strings(entries) => entries
                .keys()
                .map(|string| SharedKey::String(string.as_bytes().into()))
                .collect(),
            Entries::Words(entries) => entries.keys().map(SharedKey::Word).collect(),
        }
    }
}

/// What the values of a Map may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Values {
    /// It is a Set.
    Nothing,
    Any,
    Only(Kind),
}

enum State {
    Local(Entries),
    Shared(Arc<SharedTable>, Pin),
}

/// The data of a Map or Set.
struct Table {
    class: ClassId,
    keys: Kind,
    values: Values,
    state: RefCell<State>,
    /// Where a key was found last: what is asked for is mostly read or written next.
    last: Cell<usize>,
    charged: Cell<usize>,
}

/// A table in shared memory.
struct SharedTable {
    class: ClassId,
    keys: Kind,
    values: Values,
    index: IndexSet<SharedKey, KeyHash>,
    /// The values as a list, in the order of the index; an empty one for a Set.
    list: Arc<Tree>,
}

impl Table {
    fn new(class: ClassId, keys: Kind, values: Values) -> Table {
        Table {
            class,
            keys,
            values,
            state: RefCell::new(State::Local(Entries::new(keys))),
            last: Cell::new(0),
            charged: Cell::new(0),
        }
    }

    fn name(&self) -> &'static str {
        if self.values == Values::Nothing {
            "Set"
        } else {
            "Map"
        }
    }

    #[inline]
    fn key<'a>(&self, value: &'a Value) -> Result<Key<'a>, Throw> {
        Key::of(value, self.keys).ok_or_else(|| self.wrong_key(value))
    }

    #[cold]
    fn wrong_key(&self, value: &Value) -> Throw {
        let (name, wanted, got) = (self.name(), self.keys.name(), value.kind().name());
        Throw::error(format!(
            "{name}: expected a key of type {wanted}, got {got}"
        ))
    }

    fn check_value(&self, value: &Value) -> Result<(), Throw> {
        match self.values {
            Values::Only(kind) if value.kind() != kind => {
                let (wanted, got) = (kind.name(), value.kind().name());
                Err(Throw::error(format!(
                    "Map: expected a value of type {wanted}, got {got}"
                )))
            }
            _ => Ok(()),
        }
    }

    fn len(&self) -> usize {
        match &*self.state.borrow() {
            State::Local(entries) => entries.len(),
            State::Shared(table, _) => table.index.len(),
        }
    }

    /// The place of a key among entries of our own.
    #[inline]
    fn find(&self, entries: &Entries, key: Key<'_>) -> Option<usize> {
        if let (Entries::Words(entries), Key::Word(word)) = (entries, key) {
            // The list of small numbers tells as quickly as looking at the last place.
            return entries.find(word);
        }
        if entries.is_at(self.last.get(), key) {
            return Some(self.last.get());
        }
        let at = entries.find(key)?;
        self.last.set(at);
        Some(at)
    }

    fn get(&self, key: Key<'_>) -> Option<Value> {
        match &*self.state.borrow() {
            State::Local(entries) => {
                let at = self.find(entries, key)?;
                entries.value(at).cloned()
            }
            State::Shared(table, pin) => table
                .index
                .get_index_of(&key)
                .map(|at| shared_value(pin, at)),
        }
    }

    /// Writes a number over a number; false, with nothing changed, when there is none.
    #[inline]
    fn put_number(&self, key: Key<'_>, number: f64) -> bool {
        if let State::Local(entries) = &mut *self.state.borrow_mut()
            && let Some(at) = self.find(entries, key)
            && let Some(Value::Number(old)) = entries.value_mut(at)
        {
            *old = number;
            return true;
        }
        false
    }

    fn has(&self, key: Key<'_>) -> bool {
        match &*self.state.borrow() {
            State::Local(entries) => self.find(entries, key).is_some(),
            State::Shared(table, _) => table.index.contains(&key),
        }
    }

    /// Does `change` with entries of our own.
    fn write<T>(
        &self,
        cx: &mut Cx<'_>,
        change: impl FnOnce(&mut Entries) -> Result<T, Throw>,
    ) -> Result<T, Throw> {
        let mut state = self.state.borrow_mut();
        if let State::Shared(table, pin) = &*state {
            *state = State::Local(self.fetch(table, pin, cx)?);
        }
        let State::Local(entries) = &mut *state else {
            return Err(Throw::error("not a table"));
        };
        let result = change(entries)?;
        let bytes = entries.bytes();
        let before = self.charged.replace(bytes);
        if bytes != before {
            memory::charge(bytes);
            memory::credit(before);
        }
        Ok(result)
    }

    /// A copy of shared entries.
    #[cold]
    fn fetch(&self, table: &SharedTable, pin: &Pin, cx: &mut Cx<'_>) -> Result<Entries, Throw> {
        cx.reserve_entries(table.index.len())?;
        let mut entries = Entries::new(self.keys);
        for (at, key) in table.index.iter().enumerate() {
            let value = shared_value(pin, at);
            match key {
                SharedKey::String(bytes) => entries.insert(Key::String(&Str::new(bytes)), value),
                SharedKey::Word(word) => entries.insert(Key::Word(*word), value),
            }
        }
        Ok(entries)
    }
}

fn shared_value(pin: &Pin, at: usize) -> Value {
    pin.root()
        .as_array()
        .and_then(|view| view.entry_at(at))
        .map_or(Value::None, |(_, value, _)| value)
}

impl Drop for Table {
    fn drop(&mut self) {
        memory::credit(self.charged.get());
        if let State::Local(entries) = self.state.get_mut() {
            entries.bury();
        }
    }
}

/// What the objects hold: shared with iterators over them.
pub(crate) struct TableObject(Rc<Table>);

impl NativeObject for TableObject {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn freeze(&self) -> Result<Arc<dyn FrozenObject>, FreezeError> {
        let table = &self.0;
        let state = table.state.borrow();
        let entries = match &*state {
            State::Shared(shared, _) => return Ok(Arc::clone(shared) as Arc<dyn FrozenObject>),
            State::Local(entries) => entries,
        };
        if let Some(frozen) = Level::known(table) {
            return Ok(frozen);
        }
        let level = Level::enter()?;
        let list = if table.values == Values::Nothing {
            Arc::new(Tree::default())
        } else {
            freeze(&Value::from(Array::from_list(entries.values())))?
        };
        let index = entries.share();
        let frozen = Arc::new(SharedTable {
            class: table.class,
            keys: table.keys,
            values: table.values,
            index,
            list,
        });
        level.done(table, &frozen);
        Ok(frozen)
    }

    fn iterate(&self) -> Option<Rc<dyn NativeIterator>> {
        let mut keys = Vec::new();
        self.0.add_keys(&mut keys, usize::MAX);
        Some(walk(&self.0, keys))
    }
}

/// Maps in Maps are frozen by calls inside each other: this bounds how deep, and remembers what was frozen already, because
/// Maps may share Maps.
struct Level;

#[derive(Default)]
struct Levels {
    depth: u32,
    /// The tables are held by the value that is being frozen: no address is used twice.
    frozen: HashMap<*const Table, Arc<SharedTable>>,
}

thread_local! {
    static LEVELS: RefCell<Levels> = RefCell::default();
}

impl Level {
    const MOST: u32 = 64;

    fn enter() -> Result<Level, FreezeError> {
        LEVELS.with_borrow_mut(|levels| {
            if levels.depth >= Level::MOST {
                return Err(FreezeError::TooLarge);
            }
            levels.depth += 1;
            Ok(Level)
        })
    }

    fn known(table: &Rc<Table>) -> Option<Arc<SharedTable>> {
        LEVELS.with_borrow(|levels| levels.frozen.get(&Rc::as_ptr(table)).cloned())
    }

    fn done(self, table: &Rc<Table>, frozen: &Arc<SharedTable>) {
        LEVELS.with_borrow_mut(|levels| {
            levels.frozen.insert(Rc::as_ptr(table), Arc::clone(frozen));
        });
    }
}

impl Drop for Level {
    fn drop(&mut self) {
        let known = LEVELS.with_borrow_mut(|levels| {
            levels.depth = levels.depth.saturating_sub(1);
            (levels.depth == 0).then(|| std::mem::take(&mut levels.frozen))
        });
        drop(known);
    }
}

impl FrozenObject for SharedTable {
    fn thaw(&self, shared: &Arc<dyn FrozenObject>) -> Value {
        // The table itself is behind `shared`; a clone of that hold is all that a fetch costs.
        let Some(table) = SharedTable::hold(shared) else {
            return Value::None;
        };
        let pin = Pin::new(&table.list);
        let local = Table {
            class: table.class,
            keys: table.keys,
            values: table.values,
            state: RefCell::new(State::Shared(table, pin)),
            last: Cell::new(0),
            charged: Cell::new(0),
        };
        Value::Object(Object::table(self.class, TableObject(Rc::new(local))))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }

    fn bytes(&self) -> usize {
        (self.index.len() * ENTRY).saturating_add(self.list.bytes())
    }
}

impl SharedTable {
    fn hold(shared: &Arc<dyn FrozenObject>) -> Option<Arc<SharedTable>> {
        Arc::clone(shared).into_any().downcast().ok()
    }
}

impl Table {
    /// Whether one more entry makes the table move, and that takes long and fits into the budget.
    fn must_grow(&self, key: Key<'_>) -> bool {
        let state = self.state.borrow();
        let State::Local(entries) = &*state else {
            return false;
        };
        entries.is_full_and_large()
            && self.find(entries, key).is_none()
            && !memory::would_exceed(entries.bytes() * 2)
    }

    /// Moves the entries to a table with room for twice as many, in pieces, and then does what was to be done.
    fn grow(
        table: &Rc<Table>,
        mut then: impl FnMut(&mut Cx<'_>) -> Result<Value, Throw> + 'static,
    ) -> Throw {
        let table = Rc::clone(table);
        let old = table.state.replace(State::Local(Entries::new(table.keys)));
        let State::Local(old) = old else {
            return Throw::error("not a table");
        };
        let mut new = old.with_twice_the_room();
        let mut rest = Some(old.into_entries());
        Throw::pieces(move |cx: &mut Cx<'_>| {
            if let Some(entries) = &mut rest {
                cx.charge(PIECE_KEYS);
                for _ in 0..PIECE_KEYS {
                    let Some((key, value)) = entries.next() else {
                        rest = None;
                        let new = std::mem::replace(&mut new, Entries::new(table.keys));
                        table.state.replace(State::Local(new));
                        return Ok(None);
                    };
                    new.insert_owned(key, value);
                }
                return Ok(None);
            }
            then(cx).map(Some)
        })
    }

    /// Adds or replaces an entry; whether the key is new.
    fn put(&self, key: Key<'_>, value: Value, cx: &mut Cx<'_>) -> Result<bool, Throw> {
        // What was there is dropped when the table is free again: it may lead back to it.
        let old = self.write(cx, |entries| {
            let last = self.last.get();
            if matches!(key, Key::String(_))
                && entries.is_at(last, key)
                && let Some(slot) = entries.value_mut(last)
            {
                return Ok(Some(std::mem::replace(slot, value)));
            }
            let full = entries.len() >= crate::array::MAX_ENTRIES;
            let too_large = || Err(Throw::error(format!("{} too large", self.name())));
            match (entries, key) {
                (Entries::Words(entries), Key::Word(word)) => match entries.find(word) {
                    Some(at) => Ok(entries
                        .value_mut(at)
                        .map(|old| std::mem::replace(old, value))),
                    None if full => too_large(),
                    None => {
                        entries.add(word, value);
                        Ok(None)
                    }
                },
                (Entries::Strings(entries), Key::String(string)) => {
                    match entries.entry(string.clone()) {
                        Entry::Occupied(mut entry) => Ok(Some(entry.insert(value))),
                        Entry::Vacant(_) if full => too_large(),
                        Entry::Vacant(entry) => {
                            entry.insert(value);
                            Ok(None)
                        }
                    }
                }
                _ => Ok(None),
            }
        })?;
        Ok(old.is_none())
    }
}
