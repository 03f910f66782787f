//! The constructors and methods of `Map` and `Set`, and those that the loop of the VM does itself.

use std::rc::Rc;

use indexmap::IndexMap;

use super::{Entries, Iteration, Key, State, Table, TableObject, Values};
use crate::array::KeyHash;
use crate::library::Library;
use crate::memory;
use crate::native::{Args, ClassDecl, ClassId, Cx, FnDecl, Outcome, PlainFn, Throw};
use crate::object::{NativeObject as _, Object};
use crate::string::Str;
use crate::value::{Kind, Value};
use crate::vm::add_values;

/// The declaration of `Map` for the table of built-ins.
pub static MAP: ClassDecl = ClassDecl {
    constructor: FnDecl::plain(
        "Map(keytype: string, valuetype: string): Map",
        "Creates a table from keys of one type (`string`, `number`, `boolean`) to values of one type or `any`.",
        new_map,
    )
    .since("5.5"),
    extends: None,
    methods: &[
        FnDecl::plain("set(key: any, value: any): boolean", "Adds or replaces an entry. Gives true if the key is new.", map_set),
        FnDecl::plain("has(key: any): boolean", "Tells whether there is an entry for the key.", table_has),
        FnDecl::plain("get(key: any): any", "Gives the value of the key, or none.", map_get),
        FnDecl::plain("delete(key: any): boolean", "Removes the entry of the key. Gives whether it was there.", table_delete),
        FnDecl::plain(
            "merge(key: any, value: any): boolean",
            "Adds to the value of the key with the `+` operator, or sets it. Gives whether the key was there.",
            map_merge,
        ),
        FnDecl::plain("size(): number", "Gives the number of entries.", table_size),
        FnDecl::plain("clear(): none", "Removes all entries.", table_clear),
        FnDecl::plain("entries(): Iterator", "Gives an iterator over the entries.", table_iterator),
    ],
    statics: &[],
};

/// The declaration of `Set` for the table of built-ins.
pub static SET: ClassDecl = ClassDecl {
    constructor: FnDecl::plain(
        "Set(keytype: string): Set",
        "Creates a set of keys of one type (`string`, `number`, `boolean`).",
        new_set,
    )
    .since("5.5"),
    extends: None,
    methods: &[
        FnDecl::plain(
            "add(key: any): boolean",
            "Adds a key. Gives true if it is new.",
            set_add,
        ),
        FnDecl::plain(
            "has(key: any): boolean",
            "Tells whether the key is in the set.",
            table_has,
        ),
        FnDecl::plain(
            "delete(key: any): boolean",
            "Removes the key. Gives whether it was there.",
            table_delete,
        ),
        FnDecl::plain("size(): number", "Gives the number of keys.", table_size),
        FnDecl::plain("clear(): none", "Removes all keys.", table_clear),
        FnDecl::plain(
            "values(): Iterator",
            "Gives an iterator over the keys.",
            table_iterator,
        ),
    ],
    statics: &[],
};

fn key_type(class: &str, name: &[u8]) -> Result<Kind, Throw> {
    match name {
        b"string" => Ok(Kind::String),
        b"number" => Ok(Kind::Number),
        b"boolean" => Ok(Kind::Boolean),
        other => Err(Throw::error(format!(
            "{class}: unknown key type {}",
            String::from_utf8_lossy(other)
        ))),
    }
}

fn make(cx: &Cx<'_>, name: &str, keys: Kind, values: Values) -> Value {
    let class = cx.library.class_named(name).unwrap_or(ClassId(u32::MAX));
    let table = Table::new(class, keys, values);
    Value::Object(Object::table(class, TableObject(Rc::new(table))))
}

/// A Map with string keys and values of any type, for data files.
#[must_use]
pub fn map_of(entries: impl IntoIterator<Item = (Str, Value)>, library: &Library) -> Value {
    filled("Map", Values::Any, entries.into_iter().collect(), library)
}

/// A Set of strings, for data files.
#[must_use]
pub fn set_of(keys: impl IntoIterator<Item = Str>, library: &Library) -> Value {
    let entries = keys.into_iter().map(|key| (key, Value::None));
    filled("Set", Values::Nothing, entries.collect(), library)
}

fn filled(
    name: &str,
    values: Values,
    entries: IndexMap<Str, Value, KeyHash>,
    library: &Library,
) -> Value {
    let class = library.class_named(name).unwrap_or(ClassId(u32::MAX));
    let table = Table::new(class, Kind::String, values);
    let entries = Entries::Strings(entries);
    memory::charge(entries.bytes());
    table.charged.set(entries.bytes());
    table.state.replace(State::Local(entries));
    Value::Object(Object::table(class, TableObject(Rc::new(table))))
}

fn new_map(cx: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    let keys = key_type("Map", args.bytes(0))?;
    let values = match args.bytes(1) {
        b"any" => Values::Any,
        b"string" => Values::Only(Kind::String),
        b"number" => Values::Only(Kind::Number),
        b"boolean" => Values::Only(Kind::Boolean),
        b"array" => Values::Only(Kind::Array),
        b"object" => Values::Only(Kind::Object),
        b"function" => Values::Only(Kind::Function),
        other => {
            return Err(Throw::error(format!(
                "Map: unknown value type {}",
                String::from_utf8_lossy(other)
            )));
        }
    };
    Ok(make(cx, "Map", keys, values))
}

fn new_set(cx: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    let keys = key_type("Set", args.bytes(0))?;
    Ok(make(cx, "Set", keys, Values::Nothing))
}

#[inline]
fn table<'a>(args: &Args<'a>) -> Result<&'a Rc<Table>, Throw> {
    match args.this.and_then(|object| object.as_table()) {
        Some(object) => Ok(&object.0),
        None => Err(Throw::error("method called on a wrong object")),
    }
}

/// The methods that the loop of the VM does itself where they only look, or write a number over a number.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Quick {
    /// `has`
    Has,
    /// `get`
    Get,
    /// `Map.set`
    Set,
    /// `Set.add`
    Add,
}

/// What such a method gives.
pub(crate) enum Answer {
    /// A boolean.
    Truth(bool),
    /// A number.
    Number(f64),
}

impl Quick {
    /// The method that a built-in is.
    pub(crate) fn of(function: PlainFn) -> Option<Quick> {
        let known: [(PlainFn, Quick); 4] = [
            (table_has, Quick::Has),
            (map_get, Quick::Get),
            (map_set, Quick::Set),
            (set_add, Quick::Add),
        ];
        let own = |(own, _): &(PlainFn, Quick)| std::ptr::fn_addr_eq(*own, function);
        known.into_iter().find(own).map(|(_, quick)| quick)
    }

    /// What the method gives; none, with nothing changed, where it has to be called.
    #[inline]
    pub(crate) fn answer(self, object: &TableObject, args: &[Value]) -> Option<Answer> {
        let table = &object.0;
        let key = |value| Key::of(value, table.keys);
        match (self, args) {
            (Quick::Has, [value]) => Some(Answer::Truth(table.has(key(value)?))),
            (Quick::Add, [value]) => table.has(key(value)?).then_some(Answer::Truth(false)),
            (Quick::Set, [value, Value::Number(number)]) => table
                .put_number(key(value)?, *number)
                .then_some(Answer::Truth(false)),
            (Quick::Get, [value]) => {
                let State::Local(entries) = &*table.state.borrow() else {
                    return None;
                };
                match entries.value(table.find(entries, key(value)?)?)? {
                    Value::Number(number) => Some(Answer::Number(*number)),
                    Value::Boolean(truth) => Some(Answer::Truth(*truth)),
                    _ => None,
                }
            }
            _ => None,
        }
    }
}

fn map_set(cx: &mut Cx<'_>, mut args: Args<'_>) -> Outcome {
    if let Value::Number(number) = *args.get(1) {
        let table = table(&args)?;
        if table.put_number(table.key(args.get(0))?, number) {
            return Ok(Value::Boolean(false));
        }
    }
    let value = args.take(1);
    let table = table(&args)?;
    let key = table.key(args.get(0))?;
    table.check_value(&value)?;
    if table.must_grow(key) {
        return Err(put_later(table, args.get(0), value, true));
    }
    Ok(Value::Boolean(table.put(key, value, cx)?))
}

/// Adds an entry to a table that has to grow for it, which takes long; gives `answer`.
#[cold]
fn put_later(table: &Rc<Table>, key: &Value, mut value: Value, answer: bool) -> Throw {
    let (own, key) = (Rc::clone(table), key.clone());
    Table::grow(table, move |cx| {
        own.put(own.key(&key)?, value.take(), cx)?;
        Ok(Value::Boolean(answer))
    })
}

fn set_add(cx: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    let table = table(&args)?;
    let key = table.key(args.get(0))?;
    if table.has(key) {
        return Ok(Value::Boolean(false));
    }
    if table.must_grow(key) {
        return Err(put_later(table, args.get(0), Value::None, true));
    }
    Ok(Value::Boolean(table.put(key, Value::None, cx)?))
}

fn table_has(_cx: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    let table = table(&args)?;
    Ok(Value::Boolean(table.has(table.key(args.get(0))?)))
}

fn map_get(_cx: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    let table = table(&args)?;
    let key = table.key(args.get(0))?;
    if let State::Local(entries) = &*table.state.borrow() {
        let found = table.find(entries, key).and_then(|at| entries.value(at));
        // By its parts: a value that is copied as a whole is often read before it was written.
        return Ok(match found {
            None => Value::None,
            Some(Value::Number(number)) => Value::Number(*number),
            Some(value) => value.clone(),
        });
    }
    Ok(table.get(key).unwrap_or_default())
}

fn table_delete(cx: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    let table = table(&args)?;
    let key = table.key(args.get(0))?;
    if matches!(&*table.state.borrow(), State::Shared(..)) && !table.has(key) {
        return Ok(Value::Boolean(false));
    }
    let old = table.write(cx, |entries| Ok(entries.remove(key)))?;
    Ok(Value::Boolean(old.is_some()))
}

fn map_merge(cx: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    let table = table(&args)?;
    let key = table.key(args.get(0))?;
    let Some(mut merged) = table.get(key) else {
        table.check_value(args.get(1))?;
        if table.must_grow(key) {
            return Err(put_later(table, args.get(0), args.get(1).clone(), false));
        }
        table.put(key, args.get(1).clone(), cx)?;
        return Ok(Value::Boolean(false));
    };
    // The sum is made beside the table, which keeps its value when there is none.
    add_values(&mut merged, args.get(1), cx)?;
    table.check_value(&merged)?;
    table.put(key, merged, cx)?;
    Ok(Value::Boolean(true))
}

fn table_size(_cx: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    Ok(Value::from(table(&args)?.len()))
}

fn table_clear(_cx: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    let table = table(&args)?;
    let empty = State::Local(Entries::new(table.keys));
    let old = table.state.replace(empty);
    memory::credit(table.charged.replace(0));
    if let State::Local(mut entries) = old {
        entries.bury();
    }
    Ok(Value::None)
}

fn table_iterator(cx: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    let object = args.this.and_then(|object| object.as_table());
    let object = object.ok_or_else(|| Throw::error("method called on a wrong object"))?;
    if object.is_large() {
        return Err(Throw::pieces(object.iterator(cx)?));
    }
    cx.reserve_entries(object.0.len())?;
    Ok(object
        .iterate()
        .map_or(Value::None, |source| Iteration::value(source, cx.library)))
}
