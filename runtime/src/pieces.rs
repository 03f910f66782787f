//! Work on large values, in pieces between which others have their turn.
//!
//! A copy of a hundred megabytes takes a tenth of a second, most of which goes into fresh memory; an executor that waits
//! for it serves nobody else. So what an instruction or a built-in does to a value of more than [`LARGE_BYTES`] or
//! [`LARGE_ENTRIES`] is a closure that does about [`PIECE_BYTES`] or [`PIECE_ENTRIES`] at a time, charges for it, and is
//! called until it gives a value. A built-in leaves it to the VM with [`Throw::pieces`]. After each piece the VM looks at the time,
//! so that pieces can be short: how long one takes is known only roughly before.
//!
//! Instructions whose result is no register of their own are done again when the work is done, and find its result with
//! [`prepared`]: by what was done, and to which values.

use std::rc::Rc;

use smallvec::SmallVec;

use crate::array::{Array, Key, View};
use crate::dump::{Dumped, Dumper};
use crate::graveyard;
use crate::native::{Cx, Input, Step, Task, Throw};
use crate::number_text::NumberText;
use crate::string::Str;
use crate::value::Value;

/// Texts up to this size are worked on at once. Fresh memory can take four nanoseconds a byte, because the system gives it page by
/// page: that is a quarter of a millisecond.
pub const LARGE_BYTES: usize = 1 << 16;
/// Arrays up to this length are worked on at once, for the same reason.
pub const LARGE_ENTRIES: usize = 1 << 12;
/// Bytes of a piece that is written.
pub const PIECE_BYTES: usize = 1 << 14;
/// Bytes of a piece that is only read.
pub const PIECE_READ: usize = 1 << 18;
/// Bytes of a part of a text that is being made. The allocator takes much larger blocks from the system one by one, and gives
/// them back so.
const PART_BYTES: usize = 1 << 15;
/// Entries of a piece.
pub const PIECE_ENTRIES: usize = 1 << 10;
/// The same of entries that go to places all over a table: each may be the first in fresh memory.
pub const PIECE_KEYS: usize = 1 << 7;

/// Units of fuel that a piece of freezing may take: an array that holds another one is one unit, and takes as long as several
/// entries of a list.
pub const PIECE_FREEZING: usize = 1 << 9;

/// Work in pieces: called until it gives a value.
pub trait Pieces: FnMut(&mut Cx<'_>) -> Result<Option<Value>, Throw> + 'static {}

impl<F: FnMut(&mut Cx<'_>) -> Result<Option<Value>, Throw> + 'static> Pieces for F {}

/// A task of work in pieces.
pub struct Piecewise<F>(pub F);

impl<F: Pieces> Task for Piecewise<F> {
    fn resume(&mut self, cx: &mut Cx<'_>, _: Input) -> Result<Step, Throw> {
        Ok((self.0)(cx)?.map_or(Step::Again, Step::Done))
    }
}

impl Throw {
    /// As [`Throw::later`], for a closure that is called until it gives the result.
    #[cold]
    #[must_use]
    pub fn pieces(work: impl Pieces) -> Throw {
        Throw::later(Piecewise(work))
    }
}

/// What was done for an instruction that is done again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// A copy of an array that only its holder sees.
    Copy,
    /// The same of a list whose entries are to have keys of their own.
    Keyed,
    /// The text of an array.
    Text,
    /// Texts joined.
    Join,
    /// A text formatted.
    Format,
    /// Two arrays added.
    Merge,
    /// An array without values.
    Subtract,
    /// A text or an array repeated.
    Repeat,
    /// An array with another one in place of a slice.
    Replace,
    /// An array without a slice.
    Remove,
    /// Whether two values are equal.
    Equal,
    /// An iterator over a Map or Set.
    Walk,
    /// The number that a text spells; none when it is no number.
    Number,
    /// The order of two texts as bytes: a number below, at or above 0.
    Order,
}

/// The result of work for an instruction, and what it was done to.
pub(crate) struct Prepared {
    work: Work,
    operands: SmallVec<[Value; 2]>,
    result: Value,
}

/// Whether two values are one and the same: the same number, the same hold on a text or array.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::String(Str::Heap(a)), Value::String(Str::Heap(b))) => Rc::ptr_eq(a, b),
        (Value::String(Str::Block(a)), Value::String(Str::Block(b))) => Rc::ptr_eq(a, b),
        (Value::String(Str::Frozen(a, x)), Value::String(Str::Frozen(b, y))) => {
            a == b && x.address() == y.address()
        }
        (Value::String(a @ Str::Inline(..)), Value::String(b @ Str::Inline(..))) => a == b,
        (Value::Array(a), Value::Array(b)) => a.identity() == b.identity(),
        (Value::Number(a), Value::Number(b)) => a.to_bits() == b.to_bits(),
        (Value::Boolean(a), Value::Boolean(b)) => a == b,
        (Value::None | Value::Undefined, Value::None | Value::Undefined) => true,
        (Value::Function(a), Value::Function(b)) => Rc::ptr_eq(a, b),
        (Value::Object(a), Value::Object(b)) => Rc::ptr_eq(a, b),
        (Value::Resource(a), Value::Resource(b)) => Rc::ptr_eq(a, b),
        (Value::Cell(a), Value::Cell(b)) => Rc::ptr_eq(a, b),
        _ => false,
    }
}

/// The result of `work` on `operands`, if it was done. It is given once, so that its holder is the only one; texts and
/// comparisons stay until the instruction is done, because it may need several.
pub(crate) fn prepared(cx: &Cx<'_>, work: Work, operands: &[&Value]) -> Option<Value> {
    let mut all = cx.host.prepared.borrow_mut();
    let at = all.iter().position(|prepared| {
        prepared.work == work
            && prepared.operands.len() == operands.len()
            && prepared
                .operands
                .iter()
                .zip(operands)
                .all(|(a, b)| same(a, b))
    })?;
    if matches!(work, Work::Text | Work::Equal | Work::Number) {
        return all.get(at).map(|prepared| prepared.result.clone());
    }
    Some(all.swap_remove(at).result)
}

struct Prepare<F> {
    work: Work,
    operands: SmallVec<[Value; 2]>,
    pieces: F,
}

impl<F: Pieces> Task for Prepare<F> {
    fn resume(&mut self, cx: &mut Cx<'_>, _: Input) -> Result<Step, Throw> {
        let Some(result) = (self.pieces)(cx)? else {
            return Ok(Step::Again);
        };
        cx.host.prepared.borrow_mut().push(Prepared {
            work: self.work,
            operands: std::mem::take(&mut self.operands),
            result,
        });
        Ok(Step::Done(Value::Undefined))
    }
}

/// Does `work` on `operands`, and then the instruction again. The operands have to be where they were: an instruction that
/// took them puts them back.
#[cold]
pub(crate) fn prepare(work: Work, operands: &[&Value], pieces: impl Pieces) -> Throw {
    Throw::again(Prepare {
        work,
        operands: operands.iter().map(|value| (*value).clone()).collect(),
        pieces,
    })
}

/// Appends up to a piece of `text` from `at` on to `out`; the position behind it.
fn copy_piece(out: &mut Vec<u8>, text: &[u8], at: usize, cx: &mut Cx<'_>) -> usize {
    let end = text.len().min(at.saturating_add(PIECE_BYTES));
    let piece = text.get(at..end).unwrap_or_default();
    cx.charge(piece.len() / 64);
    out.extend_from_slice(piece);
    end
}

/// A text that is made step by step, whose length is not known before: in parts, because a buffer that grows is copied as a
/// whole each time.
#[derive(Default)]
pub struct LongText {
    /// Full parts.
    parts: Vec<Vec<u8>>,
    length: usize,
    /// The part that is being written.
    pub part: Vec<u8>,
    /// When the text is whole: the buffer that the parts are put into, and the next of them.
    whole: Option<(Vec<u8>, usize)>,
}

impl LongText {
    /// Bytes so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.length + self.part.len()
    }

    /// Whether there is nothing so far.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Closes the part when it is long enough; called after each step.
    ///
    /// # Errors
    /// When the text is longer than texts may be, or does not fit into the budget with the buffer that it goes to.
    #[inline]
    pub fn step(&mut self, cx: &mut Cx<'_>) -> Result<(), Throw> {
        if self.part.len() >= PART_BYTES {
            self.close();
            cx.fits(self.length)?;
            if !cx.fits_growing(self.length) {
                return Err(cx.over());
            }
        }
        Ok(())
    }

    fn close(&mut self) {
        self.length += self.part.len();
        // The next one is long too, and a buffer that grows would be moved again and again into fresh memory.
        let next = Vec::with_capacity(2 * PART_BYTES);
        self.parts.push(std::mem::replace(&mut self.part, next));
    }

    /// Puts the parts together, a piece at a time; the text when it is whole.
    pub fn finish(&mut self, cx: &mut Cx<'_>) -> Option<Value> {
        if self.parts.is_empty() {
            return Some(std::mem::take(&mut self.part).into());
        }
        if self.whole.is_none() {
            self.close();
            self.whole = Some((Vec::with_capacity(self.length), 0));
        }
        let (out, next) = self.whole.as_mut()?;
        let start = out.len();
        while out.len() - start < PIECE_BYTES
            && let Some(part) = self.parts.get_mut(*next)
        {
            out.append(part);
            // The memory goes as it is copied.
            *part = Vec::new();
            *next += 1;
        }
        cx.charge((out.len() - start) / 64);
        (*next >= self.parts.len()).then(|| std::mem::take(out).into())
    }
}

impl Drop for LongText {
    /// Giving hundreds of parts back at once takes the system as long as taking them.
    fn drop(&mut self) {
        if !self.parts.is_empty() {
            graveyard::bury_texts(std::mem::take(&mut self.parts));
        }
    }
}

/// The same for a list. What is left of it is freed in pieces too.
#[derive(Default)]
pub struct LongList {
    parts: Vec<Vec<Value>>,
    length: usize,
    /// The part that is being written.
    part: Vec<Value>,
    whole: Option<(Vec<Value>, usize)>,
}

impl LongList {
    /// Values so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.length + self.part.len()
    }

    /// Whether there are none so far.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds a value.
    #[inline]
    pub fn push(&mut self, value: Value) {
        if self.part.len() == PIECE_ENTRIES {
            self.close();
        }
        self.part.push(value);
    }

    /// Adds a text.
    #[inline]
    pub fn push_bytes(&mut self, bytes: &[u8]) {
        if self.part.len() == PIECE_ENTRIES {
            self.close();
        }
        Value::push_bytes(&mut self.part, bytes);
    }

    fn close(&mut self) {
        self.length += self.part.len();
        let next = Vec::with_capacity(PIECE_ENTRIES);
        self.parts.push(std::mem::replace(&mut self.part, next));
    }

    /// Puts the parts together, a piece at a time, backwards if the values were added so; the list when it is whole.
    pub fn finish(&mut self, backwards: bool, cx: &mut Cx<'_>) -> Option<Value> {
        if self.parts.is_empty() {
            let mut list = std::mem::take(&mut self.part);
            if backwards {
                list.reverse();
            }
            return Some(Array::from_list(list).into());
        }
        if self.whole.is_none() {
            self.length += self.part.len();
            self.parts.push(std::mem::take(&mut self.part));
            if backwards {
                self.parts.reverse();
            }
            self.whole = Some((Vec::with_capacity(self.length), 0));
        }
        let (out, next) = self.whole.as_mut()?;
        if let Some(part) = self.parts.get_mut(*next) {
            if backwards {
                part.reverse();
            }
            cx.charge(part.len());
            out.append(part);
            *part = Vec::new();
            *next += 1;
        }
        let whole = *next >= self.parts.len();
        whole.then(|| Array::from_list(std::mem::take(out)).into())
    }
}

impl Drop for LongList {
    fn drop(&mut self) {
        let whole = self.whole.take().map(|(whole, _)| whole);
        let lists = self.parts.drain(..).chain(whole);
        graveyard::bury_lists(lists.chain([std::mem::take(&mut self.part)]));
    }
}

/// The texts one after the other, in a buffer with room for `capacity` bytes.
pub fn join(parts: Vec<Str>, capacity: usize) -> impl Pieces {
    let mut out = Vec::with_capacity(capacity);
    let (mut part, mut at) = (0, 0);
    move |cx: &mut Cx<'_>| {
        let start = out.len();
        while let Some(text) = parts.get(part) {
            at = copy_piece(&mut out, text.as_bytes(), at, cx);
            if at >= text.len() {
                (part, at) = (part + 1, 0);
            }
            if out.len() - start >= PIECE_BYTES {
                return Ok(None);
            }
        }
        Ok(Some(std::mem::take(&mut out).into()))
    }
}

/// The text `count` times. Whoever calls it has reserved the bytes.
pub fn repeat(text: &Str, count: usize) -> impl Pieces {
    let total = text.len().saturating_mul(count);
    // Short texts are copied by many.
    let times = (PIECE_BYTES / text.len().max(1)).clamp(1, count.max(1));
    let block = if times == 1 {
        text.clone()
    } else {
        Str::from_vec(text.as_bytes().repeat(times))
    };
    let mut out = Vec::with_capacity(total);
    let mut at = 0;
    move |cx: &mut Cx<'_>| {
        let block = block.as_bytes();
        let rest = block.len().min(at + (total - out.len()));
        at = copy_piece(&mut out, block.get(..rest).unwrap_or_default(), at, cx);
        if at >= block.len() {
            at = 0;
        }
        Ok((out.len() >= total).then(|| std::mem::take(&mut out).into()))
    }
}

/// The number that a text spells, none when it is no number.
pub fn number_of(text: Str) -> impl Pieces {
    let mut reader = NumberText::default();
    move |cx: &mut Cx<'_>| {
        cx.charge(PIECE_READ / 16);
        Ok(reader.go_on(text.as_bytes(), PIECE_READ).map(Value::from))
    }
}

/// The order of two texts as bytes: a number below, at or above 0.
pub(crate) fn order_of(a: Str, b: Str) -> impl Pieces {
    let mut at = 0;
    move |cx: &mut Cx<'_>| {
        cx.charge(PIECE_READ / 64);
        let [x, y] = [&a, &b].map(|text| {
            let rest = text.as_bytes().get(at..).unwrap_or_default();
            rest.get(..PIECE_READ).unwrap_or(rest)
        });
        let order = x.cmp(y);
        at += PIECE_READ;
        let is_end = at >= a.len().max(b.len());
        Ok((is_end || order.is_ne()).then(|| Value::from(f64::from(order as i8))))
    }
}

/// The string conversion of a value, in pieces.
pub fn text_of(value: &Value) -> impl Pieces {
    text(Dumper::new(value), Vec::new())
}

/// The text of an array: `out` has its beginning, which `dumper` wrote.
pub(crate) fn text(mut dumper: Dumper, out: Vec<u8>) -> impl Pieces {
    let mut text = LongText::default();
    text.part = out;
    let mut dumped = Dumped::Part;
    move |cx: &mut Cx<'_>| {
        if dumped == Dumped::Whole {
            return Ok(text.finish(cx));
        }
        text.step(cx)?;
        let (before, start) = (text.length, text.part.len());
        dumped = dumper.write(&mut text.part, start + PIECE_BYTES, |len| {
            cx.fits_growing(before + len)
        });
        // What was only looked at counts too, so that the time is looked at.
        cx.charge(((text.part.len() - start) / 32).max(PIECE_ENTRIES / 8));
        match dumped {
            Dumped::Over => Err(cx.over()),
            Dumped::Whole | Dumped::Part => Ok(None),
        }
    }
}

/// The entries of `from` from position `position` on, as far as a piece goes, by `add`; the position behind them, none at
/// the end.
pub fn walk(
    from: &Value,
    position: usize,
    cx: &mut Cx<'_>,
    add: impl FnMut(Key, Value) -> Result<(), Throw>,
) -> Result<Option<usize>, Throw> {
    walk_most(from, position, usize::MAX, cx, add)
}

/// As [`walk`], `most` entries at most.
pub(crate) fn walk_most(
    from: &Value,
    position: usize,
    most: usize,
    cx: &mut Cx<'_>,
    mut add: impl FnMut(Key, Value) -> Result<(), Throw>,
) -> Result<Option<usize>, Throw> {
    let Some(view) = from.as_array() else {
        return Ok(None);
    };
    let mut next = position;
    let piece = if view.is_packed() {
        PIECE_ENTRIES
    } else {
        PIECE_KEYS
    };
    for _ in 0..piece.min(most) {
        let Some((key, value, behind)) = view.entry_at(next) else {
            cx.charge(next - position);
            return Ok(None);
        };
        next = behind;
        add(key, value)?;
    }
    cx.charge(next - position);
    Ok(Some(next))
}

/// How an entry is added to an array.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Keys {
    /// With its key.
    All,
    /// With its key when that is a string or none; number keys are counted anew.
    Named,
    /// Under the next number.
    None,
}

fn add(array: &mut Array, keys: Keys, key: Key, value: Value) {
    match (keys, key) {
        (Keys::None, _) | (Keys::Named, Key::Integer(_)) => array.push(value),
        (_, key) => array.insert(key, value),
    }
}

/// `into` with the entries of all of `from` behind its own. Nobody else may hold `into`.
pub fn extend(into: Value, sources: SmallVec<[(Value, Keys); 2]>) -> impl Pieces {
    let mut into = into;
    let (mut source, mut position) = (0, 0);
    move |cx: &mut Cx<'_>| {
        let Some((from, keys)) = sources.get(source) else {
            return Ok(Some(into.take()));
        };
        let Some(array) = into.array_mut() else {
            return Err(Throw::error("not an array"));
        };
        let list = match from.as_array() {
            Some(View::Local(array)) => array.as_list(),
            _ => None,
        };
        if position == 0 && source == 0 {
            // Once for all: an array that grows moves.
            let more = sources
                .iter()
                .map(|(from, _)| from.as_array().map_or(0, View::len));
            array.reserve(more.sum());
        }
        let behind = match list {
            // The common case.
            Some(list) => {
                let most = if array.as_list().is_some() {
                    PIECE_ENTRIES
                } else {
                    PIECE_KEYS
                };
                let end = list.len().min(position + most);
                let piece = list.get(position..end).unwrap_or_default();
                cx.charge(piece.len());
                for value in piece {
                    array.push(value.clone());
                }
                (end < list.len()).then_some(end)
            }
            None => walk(from, position, cx, |key, value| {
                add(array, *keys, key, value);
                Ok(())
            })?,
        };
        (source, position) = match behind {
            Some(position) => (source, position),
            None => (source + 1, 0),
        };
        Ok(None)
    }
}

/// A copy of an array that only its holder sees, with room for `capacity` entries; a packed list stays one unless it is to be
/// `keyed`.
pub(crate) fn copy(from: &Value, capacity: usize, keyed: bool) -> impl Pieces {
    let all = SmallVec::from_iter([(from.clone(), Keys::All)]);
    let is_list = from.as_array().is_some_and(View::is_packed);
    let mut into = if is_list && !keyed {
        Array::new()
    } else {
        Array::keyed()
    };
    into.reserve(capacity);
    extend(Value::from(into), all)
}

/// An array that is built entry by entry and whose size is not known before: it moves to a larger place, or gets keys of its
/// own, in pieces.
#[derive(Default)]
pub struct LongArray {
    array: Array,
    /// What is being moved, and how far.
    moving: Option<(Value, usize)>,
    /// Entries that wait for the end of that; without a key: under the next number.
    pending: Vec<(Option<Key>, Value)>,
}

impl LongArray {
    /// An empty one whose entries have keys of their own.
    #[must_use]
    pub fn keyed() -> LongArray {
        LongArray::from(Array::keyed())
    }

    /// The entries so far, but those that wait.
    #[must_use]
    pub fn array(&self) -> &Array {
        &self.array
    }

    /// Whether nothing waits. Otherwise [`LongArray::make_ready`] is to be called.
    #[inline]
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.moving.is_none() && self.pending.is_empty()
    }

    /// Adds a value under the next number.
    #[inline]
    pub fn push(&mut self, value: Value) {
        if self.is_ready() && !self.array.is_full_and_large() {
            self.array.push(value);
        } else {
            self.pending.push((None, value));
        }
    }

    /// Adds an entry, or gives one another value.
    #[inline]
    pub fn insert(&mut self, key: Key, value: Value) {
        let waits = self.array.is_full_and_large() || self.array.is_large_list_without(&key);
        if self.is_ready() && !waits {
            self.array.insert(key, value);
        } else {
            self.pending.push((Some(key), value));
        }
    }

    /// Does a piece of what has to be done before entries are added: whether it is done.
    ///
    /// # Errors
    /// When there is no memory for more entries.
    pub fn make_ready(&mut self, cx: &mut Cx<'_>) -> Result<bool, Throw> {
        if let Some((old, position)) = &mut self.moving {
            let array = &mut self.array;
            let list = array.as_list().is_some();
            let most = if list { PIECE_ENTRIES } else { PIECE_KEYS };
            let behind = walk_most(old, *position, most, cx, |key, value| {
                array.insert(key, value);
                Ok(())
            })?;
            match behind {
                Some(behind) => *position = behind,
                None => self.moving = None,
            }
            return Ok(false);
        }
        if self.pending.is_empty() {
            return Ok(true);
        }
        let unkeyed = |(key, _): &(Option<Key>, Value)| {
            let key = key.as_ref();
            key.is_some_and(|key| self.array.is_large_list_without(key))
        };
        let keyed = self.array.as_list().is_none() || self.pending.iter().any(unkeyed);
        let (len, more) = (self.array.len(), self.pending.len() + PIECE_ENTRIES);
        if self.array.room() < self.pending.len() || keyed != self.array.as_list().is_none() {
            // Twice the size, if that fits.
            let capacity = if cx.fits_entries(len * 2 + more).is_ok() {
                len * 2 + more
            } else {
                len + len / 8 + more
            };
            cx.fits_entries(capacity)?;
            let mut array = if keyed { Array::keyed() } else { Array::new() };
            array.reserve(capacity);
            let old = std::mem::replace(&mut self.array, array);
            self.moving = Some((Value::from(old), 0));
            return Ok(false);
        }
        cx.charge(self.pending.len());
        for (key, value) in std::mem::take(&mut self.pending) {
            match key {
                Some(key) => self.array.insert(key, value),
                None => self.array.push(value),
            }
        }
        Ok(true)
    }

    /// The array, when nothing waits.
    ///
    /// # Errors
    /// As [`LongArray::make_ready`].
    pub fn finish(&mut self, cx: &mut Cx<'_>) -> Result<Option<Value>, Throw> {
        Ok(self
            .make_ready(cx)?
            .then(|| std::mem::take(&mut self.array).into()))
    }
}

impl From<Array> for LongArray {
    fn from(array: Array) -> LongArray {
        LongArray {
            array,
            ..LongArray::default()
        }
    }
}

/// Frees values that are no array's, in pieces when there are many.
pub fn discard(values: impl ExactSizeIterator<Item = Value> + 'static) {
    if values.len() > graveyard::LARGE_ENTRIES {
        graveyard::bury_entries(values);
    } else {
        drop(values);
    }
}
