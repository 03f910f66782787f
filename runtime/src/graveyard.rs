//! How values are freed: deep structures without recursion, large ones in pieces.
//!
//! Freeing a million small things takes longer than a script may keep its worker. Whoever drops a value that holds others
//! puts them here. (One block of memory is given back at once however large it is: that is the allocator's matter.) A little
//! is freed at once; the rest waits until the execution has given others their turn, and the execution waits until nothing
//! is left ([`crate::Execution::run`]). So an execution never has more garbage than it had values, and what is freed counts
//! for the account that it was charged to.
//!
//! Every execution has its own graveyard, exchanged like its memory account; what an execution leaves when it is dropped
//! is freed by those that run next on its thread. Outside of executions everything is freed at once.

use std::cell::{Cell, RefCell};
use std::mem::ManuallyDrop;

use crate::frozen::FrozenArray;
use crate::value::Value;

/// Units that one step of freeing takes: some tenths of a millisecond when nothing of it is in the caches. A unit is a value.
pub(crate) const PIECE: usize = 1024;
/// Lists and tables with more entries are freed in pieces.
pub(crate) const LARGE_ENTRIES: usize = 1024;
/// Values that are freed between two looks at the units left.
const STEP: usize = 64;
/// Units that a part is worth.
const PART: usize = 256;
/// Units that a long text is worth.
const TEXT: usize = 512;

/// Something large that is freed piece by piece.
enum Remains {
    /// The values of a list.
    List(Vec<Value>),
    /// What a table held: each step drops the key of an entry and gives its value.
    Entries(Box<dyn Iterator<Item = Value>>),
    /// The texts of a frozen tree.
    Texts(Vec<Box<[u8]>>),
    /// The arrays of a frozen tree.
    Arrays(Vec<FrozenArray>),
    /// Something else: frees a part of some hundred values at a time, and tells whether there are more.
    Parts(Box<dyn FnMut() -> bool>),
}

impl Remains {
    /// Frees as much as `units` are worth; whether something is left.
    fn free(&mut self, units: &mut usize) -> bool {
        match self {
            Remains::Parts(free) => {
                while *units > 0 {
                    if !free() {
                        return false;
                    }
                    *units = units.saturating_sub(PART + SPENT.take());
                }
                true
            }
            Remains::List(values) => {
                while *units > 0 && !values.is_empty() {
                    drop_last(values, STEP);
                    *units = units.saturating_sub(STEP + SPENT.take());
                }
                !values.is_empty()
            }
            Remains::Entries(entries) => {
                while *units > 0 {
                    if entries.next().is_none() {
                        return false;
                    }
                    *units = units.saturating_sub(1 + SPENT.take());
                }
                true
            }
            Remains::Texts(texts) => {
                while *units > 0
                    && let Some(text) = texts.pop()
                {
                    // What gives memory back to the system takes longer.
                    *units = units.saturating_sub(1 + text.len() / 128);
                    drop(text);
                }
                !texts.is_empty()
            }
            Remains::Arrays(arrays) => {
                while *units > 0
                    && let Some(array) = arrays.pop()
                {
                    *units = units.saturating_sub(1);
                    if let FrozenArray::Hash(table) = array
                        && table.len() > LARGE_ENTRIES
                    {
                        bury_entries(table.into_iter().map(|_| Value::None));
                    }
                }
                !arrays.is_empty()
            }
        }
    }
}

/// What is to be freed.
#[derive(Default)]
pub(crate) struct Graveyard {
    /// Values that hold others: they come first, so that this stays short.
    pending: Vec<Value>,
    remains: Vec<Remains>,
    /// Somebody is freeing: what that drops is only put here.
    busy: bool,
    /// Whoever owns it comes back to free the rest.
    patient: bool,
    /// Units that a patient one frees at once before its owner comes back.
    allowance: usize,
}

impl Graveyard {
    const fn new() -> Graveyard {
        Graveyard {
            pending: Vec::new(),
            remains: Vec::new(),
            busy: false,
            patient: false,
            allowance: 0,
        }
    }

    /// One whose owner frees what is in it with [`free`].
    pub(crate) const fn patient() -> Graveyard {
        let mut graveyard = Graveyard::new();
        graveyard.patient = true;
        graveyard.allowance = PIECE;
        graveyard
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pending.is_empty() && self.remains.is_empty()
    }

    fn append(&mut self, mut other: Graveyard) {
        self.pending.append(&mut other.pending);
        self.remains.append(&mut other.remains);
    }
}

thread_local! {
    /// The graveyard of the running execution, or the thread's. Never torn down, because values are dropped even while a
    /// thread ends.
    static CURRENT: ManuallyDrop<RefCell<Graveyard>> =
        const { ManuallyDrop::new(RefCell::new(Graveyard::new())) };
    /// What executions left.
    static ORPHANS: ManuallyDrop<RefCell<Graveyard>> =
        const { ManuallyDrop::new(RefCell::new(Graveyard::patient())) };
    /// Units that drops below the one that is counted have taken.
    static SPENT: Cell<usize> = const { Cell::new(0) };
}

/// Installs `graveyard` and gives the one that was there.
pub(crate) fn swap(graveyard: Graveyard) -> Graveyard {
    CURRENT.with(|current| current.replace(graveyard))
}

/// Leaves what is left of `graveyard` to the executions that run next.
pub(crate) fn bequeath(graveyard: Graveyard) {
    if !graveyard.is_empty() {
        ORPHANS.with(|orphans| orphans.borrow_mut().append(graveyard));
    }
}

/// Frees as much as `units` are worth of what executions left.
pub(crate) fn free_orphans(units: usize) {
    let waits = ORPHANS.with(|orphans| !orphans.borrow().is_empty());
    if waits {
        let current = swap(ORPHANS.with(|orphans| orphans.replace(Graveyard::patient())));
        free(units);
        bequeath(swap(current));
    }
}

/// Frees a piece, for the owner who comes back; whether something is left.
pub(crate) fn go_on() -> bool {
    CURRENT.with(|current| current.borrow_mut().allowance = PIECE);
    free(PIECE)
}

/// Adds something that is freed part by part when its turn comes.
pub(crate) fn leave(free: Box<dyn FnMut() -> bool>) {
    CURRENT.with(|current| current.borrow_mut().remains.push(Remains::Parts(free)));
}

/// Whether something waits to be freed.
#[inline]
pub(crate) fn is_waiting() -> bool {
    CURRENT.with(|current| !current.borrow().is_empty())
}

/// Drops the containers among `values` one after the other instead of inside each other, whatever holds what: arrays,
/// closures, shared variables, objects. The depth of a structure is then bounded by memory, not by the stack.
pub(crate) fn bury<'a>(values: impl Iterator<Item = &'a mut Value>) {
    let mut containers = values.filter(|value| value.is_container()).peekable();
    if containers.peek().is_none() {
        return;
    }
    put(|graveyard| {
        let before = graveyard.pending.len();
        graveyard
            .pending
            .extend(containers.map(|value| std::mem::replace(value, Value::None)));
        graveyard.pending.len() - before
    });
}

/// Frees the values of a list.
pub(crate) fn bury_list(mut values: Vec<Value>) {
    if values.len() > LARGE_ENTRIES {
        put_remains(Remains::List(values));
    } else {
        bury(values.iter_mut());
        if values.len() > STEP {
            SPENT.set(SPENT.get().saturating_add(values.len()));
        }
        drop_last(&mut values, usize::MAX);
    }
}

/// Drops so many values from the end. What needs no drop is only left: that is told here quicker than where each is dropped.
#[inline]
fn drop_last(values: &mut Vec<Value>, count: usize) {
    for _ in 0..count {
        match values.pop() {
            None => return,
            Some(value) if value.is_plain() => std::mem::forget(value),
            Some(value) => drop(value),
        }
    }
}

/// Frees the values of several lists.
#[cold]
pub(crate) fn bury_lists(lists: impl Iterator<Item = Vec<Value>>) {
    put(|graveyard| {
        let before = graveyard.remains.len();
        graveyard.remains.extend(lists.map(Remains::List));
        graveyard.remains.len() - before
    });
}

/// Frees the entries of a large table: `entries` drops their keys.
pub(crate) fn bury_entries(entries: impl Iterator<Item = Value> + 'static) {
    put_remains(Remains::Entries(Box::new(entries)));
}

/// Frees long texts, each of which is worth a part.
#[cold]
pub(crate) fn bury_texts(mut texts: Vec<Vec<u8>>) {
    put_remains(Remains::Parts(Box::new(move || {
        // What gives memory back to the system takes several times as long as what drops values.
        SPENT.set(SPENT.get().saturating_add(TEXT - PART));
        texts.pop().is_some()
    })));
}

/// Frees the texts and arrays of a frozen tree.
#[cold]
pub(crate) fn bury_tree(texts: Vec<Box<[u8]>>, arrays: Vec<FrozenArray>) {
    put(|graveyard| {
        graveyard.remains.push(Remains::Texts(texts));
        graveyard.remains.push(Remains::Arrays(arrays));
        2
    });
}

fn put_remains(remains: Remains) {
    put(|graveyard| {
        graveyard.remains.push(remains);
        1
    });
}

/// Puts something into the graveyard, and frees some of it if nobody else is at it: what one step drops can be much more than a
/// piece.
fn put(add: impl FnOnce(&mut Graveyard) -> usize) {
    let units = CURRENT.with(|current| {
        let mut graveyard = current.borrow_mut();
        let count = add(&mut graveyard);
        if graveyard.busy {
            SPENT.set(SPENT.get().saturating_add(count));
        }
        match (graveyard.busy, graveyard.patient) {
            (true, _) => 0,
            (false, true) => graveyard.allowance,
            (false, false) => usize::MAX,
        }
    });
    if units > 0 {
        let left = free_most(units);
        CURRENT.with(|current| current.borrow_mut().allowance = left);
    }
}

/// What is freed next.
enum Next {
    Value(Value),
    Remains(Remains),
}

/// Frees as much as `units` are worth; whether something is left.
pub(crate) fn free(units: usize) -> bool {
    free_most(units);
    is_waiting()
}

/// Frees as much as `units` are worth, and gives those that are left.
fn free_most(mut units: usize) -> usize {
    let begun = CURRENT.with(|current| {
        let mut graveyard = current.borrow_mut();
        let begins = !graveyard.busy && !graveyard.is_empty();
        graveyard.busy |= begins;
        begins
    });
    if !begun {
        return units;
    }
    SPENT.set(0);
    loop {
        let next = CURRENT.with(|current| {
            let mut graveyard = current.borrow_mut();
            let next = if units == 0 {
                None
            } else {
                let value = graveyard.pending.pop().map(Next::Value);
                value.or_else(|| graveyard.remains.pop().map(Next::Remains))
            };
            if next.is_none() {
                graveyard.busy = false;
                if graveyard.is_empty() && graveyard.pending.capacity() > PIECE {
                    graveyard.pending = Vec::new();
                }
            }
            next
        });
        match next {
            None => break,
            Some(Next::Value(value)) => {
                drop(value);
                units = units.saturating_sub(1 + SPENT.take());
            }
            Some(Next::Remains(mut remains)) => {
                if remains.free(&mut units) {
                    CURRENT.with(|current| current.borrow_mut().remains.push(remains));
                }
            }
        }
    }
    units
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::array::Array;
    use crate::memory::{self, Account};

    /// Drops `value` under an account and gives how many pieces it took, and what stays charged.
    fn pieces(value: impl FnOnce() -> Value) -> (usize, usize) {
        let account = memory::swap(Account::default());
        let graveyard = swap(Graveyard::patient());
        drop(value());
        let mut pieces = 2; // The one of the drop, and the one that finds nothing left.
        while free(PIECE) {
            pieces += 1;
        }
        swap(graveyard);
        (pieces, memory::swap(account).used)
    }

    #[test]
    fn a_long_list_of_lists_is_freed_in_pieces_and_counted_when_it_is_gone() {
        let list = || {
            let inner = || Value::from(Array::from_list(vec![Value::from(1.0); 30]));
            Value::from(Array::from_list((0..40_000).map(|_| inner()).collect()))
        };
        let (pieces, used) = pieces(list);
        assert!(pieces >= 40_000 / PIECE, "{pieces} pieces");
        assert_eq!(used, 0);
    }

    #[test]
    fn a_tower_of_lists_is_freed_in_pieces() {
        let tower = || {
            (0..100_000).fold(Value::None, |value, _| {
                Value::from(Array::from_list(vec![value]))
            })
        };
        let (pieces, used) = pieces(tower);
        assert!(pieces >= 100_000 / PIECE, "{pieces} pieces");
        assert_eq!(used, 0);
    }

    #[test]
    fn a_large_table_is_freed_in_pieces() {
        let table = || {
            let mut array = Array::new();
            for number in 0..50_000 {
                let key = format!("the key number {number}");
                array.insert(crate::array::Key::from(key.as_str()), Value::from(1.0));
            }
            Value::from(array)
        };
        let (pieces, used) = pieces(table);
        assert!(pieces >= 50_000 / PIECE, "{pieces} pieces");
        assert_eq!(used, 0);
    }

    #[test]
    fn what_an_execution_leaves_is_freed_in_pieces_by_others() {
        let outside = swap(Graveyard::patient());
        drop(Value::from(Array::from_list(
            (0..50_000)
                .map(|_| Value::from(Array::from_list(vec![Value::None])))
                .collect(),
        )));
        let left = swap(outside);
        assert!(!left.is_empty());
        bequeath(left);
        let left = || ORPHANS.with(|orphans| orphans.borrow().remains.len());
        assert_eq!(left(), 1);
        free_orphans(PIECE);
        assert_eq!(left(), 1, "one piece is not all");
        for _ in 0..50_000 / PIECE * 3 {
            free_orphans(PIECE);
        }
        assert_eq!(left(), 0);
        assert!(!is_waiting());
    }
}
