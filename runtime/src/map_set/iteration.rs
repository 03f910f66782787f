//! Walking over Maps and Sets: the class `Iterator`, and what `foreach` and spread walk (language.md 11).

use std::any::Any;
use std::cell::Cell;
use std::rc::Rc;

use super::{Entries, Key, SharedKey, State, Table, TableObject, Values, word_value};
use crate::array::Array;
use crate::library::Library;
use crate::memory;
use crate::native::{Args, ClassDecl, ClassId, Cx, FnDecl, Outcome, Throw};
use crate::object::{NativeIterator, NativeObject, Object};
use crate::pieces::{LARGE_ENTRIES, PIECE_ENTRIES, Pieces};
use crate::value::Value;

impl TableObject {
    /// Whether the keys are so many that an iteration notes them in pieces.
    pub(crate) fn is_large(&self) -> bool {
        self.0.len() > LARGE_ENTRIES
    }

    /// An Iterator over the entries, whose keys are noted in pieces.
    ///
    /// # Errors
    /// When there is no memory for the keys.
    pub(crate) fn iterator(&self, cx: &mut Cx<'_>) -> Result<impl Pieces, Throw> {
        let (table, count) = (Rc::clone(&self.0), self.0.len());
        cx.fits_entries(count)?;
        let mut keys = Vec::with_capacity(count);
        Ok(move |cx: &mut Cx<'_>| {
            cx.charge(PIECE_ENTRIES / 4);
            table.add_keys(&mut keys, PIECE_ENTRIES / 4);
            if keys.len() < count {
                return Ok(None);
            }
            let walk = walk(&table, std::mem::take(&mut keys));
            Ok(Some(Iteration::value(walk, cx.library)))
        })
    }
}

impl Table {
    /// Adds up to `most` keys to `keys`, which has those before them.
    pub(super) fn add_keys(&self, keys: &mut Vec<Value>, most: usize) {
        let places = keys.len()..self.len().min(keys.len() + most);
        let key_at = |at: usize| match &*self.state.borrow() {
            State::Local(Entries::Strings(entries)) => {
                entries.get_index(at).map(|(key, _)| key.clone().into())
            }
            State::Local(Entries::Words(entries)) => {
                entries.key(at).map(|word| word_value(word, self.keys))
            }
            State::Shared(table, _) => table.index.get_index(at).map(|key| match key {
                SharedKey::String(bytes) => Value::bytes(bytes),
                SharedKey::Word(word) => word_value(*word, self.keys),
            }),
        };
        keys.extend(places.filter_map(key_at));
    }
}

/// Walks the keys that were there at its start; those deleted meanwhile are skipped.
struct Walk {
    table: Rc<Table>,
    /// A list, which is counted and freed as one.
    keys: Array,
    next: Cell<usize>,
}

pub(super) fn walk(table: &Rc<Table>, keys: Vec<Value>) -> Rc<dyn NativeIterator> {
    Rc::new(Walk {
        table: Rc::clone(table),
        keys: Array::from_list(keys),
        next: Cell::new(0),
    })
}

impl NativeIterator for Walk {
    fn next(&self) -> Option<(Value, Value)> {
        let set = self.table.values == Values::Nothing;
        let begin = self.next.get();
        let rest = self.keys.as_list()?.get(begin..)?;
        let mut looked = 0;
        let found = rest.iter().find_map(|value| {
            looked += 1;
            let key = Key::of(value, self.table.keys)?;
            if set {
                return self.table.has(key).then(|| (value.clone(), value.clone()));
            }
            let found = self.table.get(key)?;
            Some((value.clone(), found))
        });
        self.next.set(begin + looked);
        if looked > 64 {
            memory::owe(looked);
        }
        found
    }

    fn keyed(&self) -> bool {
        self.table.values != Values::Nothing
    }
}

/// The data of an Iterator object over a source that never suspends.
pub struct Iteration {
    /// The source.
    pub source: Rc<dyn NativeIterator>,
}

impl Iteration {
    /// An Iterator object.
    #[must_use]
    pub fn value(source: Rc<dyn NativeIterator>, library: &Library) -> Value {
        let class = library.class_named("Iterator").unwrap_or(ClassId(u32::MAX));
        Value::Object(Object::new(class, Iteration { source }))
    }
}

impl NativeObject for Iteration {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn iterate(&self) -> Option<Rc<dyn NativeIterator>> {
        Some(Rc::clone(&self.source))
    }
}

/// The declaration of `Iterator` for the table of built-ins.
pub static ITERATOR: ClassDecl = ClassDecl {
    constructor: FnDecl::construct(
        "Iterator(): Iterator",
        "Walks over values one by one, once.",
    ),
    extends: None,
    methods: &[FnDecl::plain(
        "next(): any",
        "Gives the next value, false at the end. Iterators with keys give a list of key and value.",
        iterator_next,
    )
    .since("5.5")],
    statics: &[],
};

fn iterator_next(_cx: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    let source = &args.this::<Iteration>()?.source;
    Ok(match source.next() {
        None => Value::Boolean(false),
        Some((key, value)) if source.keyed() => Value::from(Array::from_list(vec![key, value])),
        Some((_, value)) => value,
    })
}
