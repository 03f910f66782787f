//! Arrays.

mod sort;
mod walk;

use angarium_runtime::array::{Array, Key, View};
use angarium_runtime::convert::{
    Comparison, loose_equal_counted, strict_equal_counted, truthy, write_number,
};
use angarium_runtime::native::{Args, Cx, FnDecl, Input, Outcome, Step, Task, Throw, opt};
use angarium_runtime::pieces::{
    self, LARGE_BYTES, LARGE_ENTRIES, LongArray, PIECE_BYTES, PIECE_KEYS,
};
use angarium_runtime::scalars::{Scalars, Seen};
use angarium_runtime::value::Value;

use crate::{large, scratch};
use sort::array_sort;
use walk::{array_every, array_filter, array_find, array_map, array_reduce, walk};

/// Arrays up to this length are gone through at once where an entry takes some nanoseconds: in pieces it would take ten times as long.
const AT_ONCE: usize = 1 << 15;
/// The same in bytes for texts that are joined: they go to memory that is used again and again.
const JOINED_AT_ONCE: usize = 1 << 18;

/// The functions of this family.
pub const FUNCTIONS: &[FnDecl] = &[
    FnDecl::plain(
        "array_combine(keys: array, values: array, default_value?: any): array",
        "Makes an array from a list of keys and a list of values. A repeated key keeps its first place and gets the \
         last value. Keys without a value get `default_value`, or none; values without a key are left out.",
        array_combine,
    )
    .since(">5.5")
    .example(r#"array_combine(["a", "b"], [1, 2]) // ["a"=>1,"b"=>2]"#),
    FnDecl::task(
        "array_every(callback: function, array: array): boolean",
        "Tells whether `callback(value)` is true for every value. True for an empty array; stops at the first value \
         that fails.",
        array_every,
    )
    .since("5.3")
    .example("array_every(is_number, [1, 2, 3]) // true"),
    FnDecl::task(
        "array_filter(callback: function, array: array): array",
        "Keeps the entries for whose value `callback(value)` is true, with their keys.",
        array_filter,
    )
    .example(r#"array_filter(is_number, [0, "x", 2]) // [0=>0,2=>2]"#),
    FnDecl::task(
        "array_find(callback: function, array: array): any",
        "Gives the first value for which `callback(value)` is true, else none.",
        array_find,
    )
    .example("array_find(function ($x) { return $x > 1; }, [1, 2, 3]) // 2"),
    FnDecl::task(
        "array_includes(needle: any, array: array): boolean",
        "Tells whether a value is in the array, compared with `===`. A function as `needle` is called with each value \
         instead, until it answers true.",
        array_includes,
    )
    .example(r#"array_includes(false, [0, none, ""]) // false"#),
    FnDecl::plain(
        "array_join(array: array, separator?: string = \"\"): string",
        "Joins the values, each converted to string, with `separator` between them.",
        join,
    )
    .example(r#"array_join(["a", 1, true], "-") // "a-1-true""#),
    FnDecl::plain("array_keys(array: array): array", "Gives the keys as a list, in order.", array_keys)
        .example(r#"array_keys(["a" => 1, 2]) // [0=>"a",1=>0]"#),
    FnDecl::task(
        "array_map(callback: function, array: array): array",
        "Replaces each value by `callback(value)`; keys stay.",
        array_map,
    )
    .example(r#"array_map(str_upper, ["x" => "a"]) // ["x"=>"A"]"#),
    FnDecl::plain(
        "array_random(array: array): array|none",
        "Gives the key and the value of an entry chosen at random, each with the same chance; none for an empty array.",
        array_random,
    )
    .since(">5.5")
    .example(r#"array_random(["k" => 1]) // [0=>"k",1=>1]"#),
    FnDecl::plain(
        "array_range(start: number, stop: number, step?: number = 1): array",
        "Lists the numbers from `start` by `step`, without `stop`. Empty when `step` leads away from `stop`. A step \
         of 0 raises an Exception.",
        array_range,
    )
    .example("array_range(0, 3) // [0=>0,1=>1,2=>2]\narray_range(3, 0, -1) // [0=>3,1=>2,2=>1]"),
    FnDecl::task(
        "array_reduce(callback: function, array: array, initial?: any): any",
        "Folds the values from left to right with `callback(carry, value)`. Without `initial` the first value is the \
         start, and an empty array raises an Exception.",
        array_reduce,
    )
    .example("array_reduce(function ($a, $b) { return $a + $b; }, [1, 2, 3]) // 6"),
    FnDecl::plain(
        "array_reverse(array: array): array",
        "Reverses the order. Number keys are counted anew from 0, string keys stay with their values.",
        array_reverse,
    )
    .example(r#"array_reverse([1, "k" => 2, 3]) // [0=>3,"k"=>2,1=>1]"#),
    FnDecl::plain(
        "array_shuffle(array: array): array",
        "Puts the entries into a random order, every order with the same chance. Number keys are counted anew from \
         0, string keys stay with their values.",
        array_shuffle,
    )
    .since(">5.5")
    .example("length(array_shuffle([1, 2, 3])) // 3"),
    FnDecl::task(
        "array_sort(callback: function, array: array, options?: array): array",
        "Sorts by `callback(a, b)`, which tells whether `a` comes before `b`. Keys stay with their values (slice with \
         `[:]` to count them anew). Entries that the callback does not order keep their order.",
        array_sort,
    )
    .options(&[opt("keys", "boolean", "false", "compare keys instead of values")])
    .example("array_sort(function ($a, $b) { return $a < $b; }, [2, 3, 1]) // [2=>1,0=>2,1=>3]"),
    FnDecl::task(
        "array_unique(array: array): array",
        "Drops values that came before, compared with `===`; the first one keeps its key.",
        array_unique,
    )
    .since(">5.5")
    .example("array_unique([1, 2, 1, 3]) // [0=>1,1=>2,3=>3]"),
];

fn array_combine(cx: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    let (Some(keys), Some(values)) = (args.get(0).as_array(), args.get(1).as_array()) else {
        return Ok(Value::None);
    };
    if keys.len() > AT_ONCE {
        cx.fits_entries(keys.len())?;
        let (keys, values) = (args.get(0).clone(), args.get(1).clone());
        return Err(Throw::pieces(large::combine(
            keys,
            values,
            args.get(2).clone(),
        )));
    }
    cx.reserve_entries(keys.len())?;
    let missing = args.get(2);
    let mut result = Array::new();
    let mut add = |key: &Value, value: Value| {
        let Some(key) = Key::cast(key) else {
            return Err(Throw::error(format!(
                "array_combine: {} cannot be a key",
                key.kind().name()
            )));
        };
        result.insert(key, value);
        if result.len() == 1 {
            result.reserve(keys.len() - 1);
        }
        Ok(())
    };
    if let (Some(keys), Some(values)) = (keys.as_list(), values.as_list()) {
        for (at, key) in keys.iter().enumerate() {
            add(key, values.get(at).unwrap_or(missing).clone())?;
        }
    } else {
        let mut values = values.values();
        for key in keys.values() {
            add(&key, values.next().unwrap_or_else(|| missing.clone()))?;
        }
    }
    Ok(result.into())
}

/// `array_join` and, with swapped arguments, `implode`.
pub(crate) fn join(cx: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    let Some(array) = args.get(0).as_array() else {
        return Ok(Value::None);
    };
    let separator = args.bytes(1);
    let (mut large, mut total) = (array.len() > AT_ONCE, 0_usize);
    let mut look = |value: &Value| {
        large |= is_large(value);
        total += separator.len() + value.as_bytes().map_or(8, <[u8]>::len);
    };
    match array {
        _ if array.len() > AT_ONCE => {}
        View::Local(array) => match array.as_list() {
            Some(list) => list.iter().for_each(&mut look),
            None => array.values().for_each(&mut look),
        },
        View::Frozen(..) => array.values().for_each(|value| look(&value)),
    }
    if large || total > JOINED_AT_ONCE {
        let separator = crate::string::text(&args, 1);
        return Err(Throw::pieces(large::join(args.get(0).clone(), separator)));
    }
    cx.reserve(total)?;
    let mut out = scratch::buffer();
    out.reserve(total);
    let mut add = |cx: &mut Cx<'_>, at: usize, value: &Value| {
        if at > 0 {
            match separator {
                [byte] => out.push(*byte),
                separator => out.extend_from_slice(separator),
            }
        }
        match value {
            Value::Number(number) => write_number(&mut out, *number),
            Value::String(text) => text.append_to(&mut out),
            other => cx.write_str(&mut out, other)?,
        }
        Ok::<(), Throw>(())
    };
    match array {
        View::Local(array) => match array.as_list() {
            Some(list) => {
                for (at, value) in list.iter().enumerate() {
                    add(cx, at, value)?;
                }
            }
            None => {
                for (at, value) in array.values().enumerate() {
                    add(cx, at, value)?;
                }
            }
        },
        View::Frozen(..) => {
            for (at, value) in array.values().enumerate() {
                add(cx, at, &value)?;
            }
        }
    }
    cx.charge(array.len());
    Ok(scratch::finish(out))
}

fn array_keys(cx: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    let Some(array) = args.get(0).as_array() else {
        return Ok(Value::None);
    };
    if array.len() > AT_ONCE {
        cx.fits_entries(array.len())?;
        return Err(Throw::pieces(large::keys(args.get(0).clone())));
    }
    cx.reserve_entries(array.len())?;
    let mut keys = Vec::with_capacity(array.len());
    if array.is_list() {
        keys.extend((0..array.len()).map(Value::from));
    } else {
        keys.extend(array.iter().map(|(key, _)| key.to_value()));
    }
    Ok(Array::from_list(keys).into())
}

fn array_random(cx: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    let Some(array) = args.get(0).as_array().filter(|array| !array.is_empty()) else {
        return Ok(Value::None);
    };
    let chosen = cx.host.random.below(array.len() as u64) as usize;
    if !array.is_list() {
        cx.charge(chosen);
    }
    Ok(array
        .iter()
        .nth(chosen)
        .map(|(key, value)| Array::from_list(vec![key.to_value(), value]))
        .into())
}

fn array_range(cx: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    let (start, stop, step) = (
        args.number(0, 0.0),
        args.number(1, 0.0),
        args.number(2, 1.0),
    );
    if step == 0.0 || step.is_nan() {
        return Err(Throw::error("array_range: step must not be 0"));
    }
    range(cx, start, stop, step, false)
}

/// More numbers than any array may have entries: how many there are is not counted beyond.
const COUNTED: usize = 1 << 32;

/// Numbers from `start` by `step` up to `stop`, which belongs to them when `inclusive`.
pub(crate) fn range(cx: &mut Cx<'_>, start: f64, stop: f64, step: f64, inclusive: bool) -> Outcome {
    let inside = |index: usize| {
        let number = start + index as f64 * step;
        inclusive && number == stop
            || (if step > 0.0 {
                number < stop
            } else {
                number > stop
            })
    };
    // The quotient is one off where the numbers are rounded; negative and NaN become 0, infinite the largest count.
    let mut count = ((stop - start) / step).ceil() as usize;
    if inside(count) || count > 0 && !inside(count - 1) {
        let (mut low, mut high) = (0, count.saturating_add(2).min(COUNTED));
        while low < high {
            let middle = usize::midpoint(low, high);
            if inside(middle) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        count = low;
    }
    if count > LARGE_ENTRIES {
        cx.fits_entries(count)?;
        let number = move |index: usize| Value::Number(start + index as f64 * step);
        return Err(Throw::pieces(large::list(count, number)));
    }
    cx.reserve_entries(count)?;
    Ok((0..count)
        .map(|index| Value::Number(start + index as f64 * step))
        .collect::<Array>()
        .into())
}

/// Whether a value alone is worth work in pieces.
fn is_large(value: &Value) -> bool {
    match value {
        Value::String(string) => string.len() > PIECE_BYTES,
        Value::Array(_) => true,
        _ => false,
    }
}

/// Entries in a new order: number keys counted anew, string keys kept.
fn reordered(entries: impl Iterator<Item = (Key, Value)>) -> Array {
    let mut result = Array::new();
    for (key, value) in entries {
        match key {
            Key::Integer(_) => result.push(value),
            key => result.insert(key, value),
        }
    }
    result
}

fn array_reverse(cx: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    let Some(array) = args.get(0).as_array() else {
        return Ok(Value::None);
    };
    if array.len() > AT_ONCE {
        cx.fits_entries(array.len())?;
        let last = |_: &mut Cx<'_>, left: usize| left - 1;
        return Err(Throw::pieces(large::reordered(args.get(0).clone(), last)));
    }
    cx.reserve_entries(array.len())?;
    if let Some(list) = array.as_list() {
        let list = list.iter().rev().cloned().collect();
        return Ok(Array::from_list(list).into());
    }
    let mut entries: Vec<_> = array.iter().collect();
    entries.reverse();
    Ok(reordered(entries.into_iter()).into())
}

fn array_shuffle(cx: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    let Some(array) = args.get(0).as_array() else {
        return Ok(Value::None);
    };
    if array.len() > LARGE_ENTRIES {
        cx.fits_entries(array.len())?;
        let any = |cx: &mut Cx<'_>, left: usize| cx.host.random.below(left as u64) as usize;
        return Err(Throw::pieces(large::reordered(args.get(0).clone(), any)));
    }
    cx.reserve_entries(array.len())?;
    let mut entries: Vec<_> = array.iter().collect();
    for last in (1..entries.len()).rev() {
        entries.swap(last, cx.host.random.below(last as u64 + 1) as usize);
    }
    Ok(reordered(entries.into_iter()).into())
}

fn array_unique(cx: &mut Cx<'_>, mut args: Args<'_>) -> Result<Box<dyn Task>, Throw> {
    let array = args.take(0);
    cx.fits_entries(array.as_array().map_or(0, |array| array.len()))?;
    if let Some(unique) = unique_scalars(cx, &array) {
        return Ok(Box::new(Ready(unique)));
    }
    Ok(Box::new(Unique {
        array,
        position: 0,
        result: LongArray::default(),
        scalars: Scalars::default(),
        others: Vec::new(),
        entry: None,
        whole: false,
    }))
}

/// As [`array_unique`] in one go: for arrays of this thread that are not long and hold nothing but scalars.
fn unique_scalars(cx: &mut Cx<'_>, value: &Value) -> Option<Value> {
    let Some(View::Local(array)) = value.as_array() else {
        return None;
    };
    if array.len() > AT_ONCE {
        return None;
    }
    let mut seen = Seen::default();
    let (mut repeated, mut bytes) = (None, 0);
    for (at, entry) in array.values().enumerate() {
        bytes += entry.as_bytes().map_or(0, <[u8]>::len);
        if bytes > LARGE_BYTES {
            return None;
        }
        if !seen.add(entry)? {
            repeated = Some(at);
            break;
        }
    }
    cx.charge(array.len() + bytes / 64);
    let Some(first) = repeated else {
        return Some(value.clone());
    };
    let mut result = Array::new();
    for (at, (key, entry)) in array.iter().enumerate() {
        let is_new = at < first || {
            bytes += entry.as_bytes().map_or(0, <[u8]>::len);
            if bytes > LARGE_BYTES {
                return None;
            }
            seen.add(entry)?
        };
        if is_new {
            result.insert(key, entry.clone());
        }
    }
    Some(result.into())
}

/// Scalars are found by hash; the rest, rare here, by comparing with each other, a piece at a time.
struct Unique {
    array: Value,
    position: usize,
    result: LongArray,
    scalars: Scalars,
    others: Vec<Value>,
    /// What is compared with the others: the next of them, and the comparison that goes on.
    entry: Option<(Key, Value, usize, Option<Comparison>)>,
    whole: bool,
}

/// Units of fuel that a piece of work is worth before the budgets are looked at.
const PIECE: usize = 4096;

impl Task for Unique {
    fn resume(&mut self, cx: &mut Cx<'_>, _: Input) -> Result<Step, Throw> {
        if !self.result.make_ready(cx)? || !self.scalars.make_ready(cx)? {
            return Ok(Step::Again);
        }
        if self.whole {
            let result = self.result.finish(cx)?;
            return Ok(result.map_or(Step::Again, Step::Done));
        }
        let (mut work, mut entries) = (0, 0);
        while work < PIECE
            && entries < PIECE_KEYS
            && self.result.is_ready()
            && self.scalars.is_ready()
        {
            work += 1;
            if let Some((key, value, next, mut comparison)) = self.entry.take() {
                let Some(other) = self.others.get(next) else {
                    self.others.push(value.clone());
                    self.result.insert(key, value);
                    continue;
                };
                let going_on = comparison.get_or_insert_with(|| Comparison::new(other, &value));
                match going_on.go_on(&mut work, PIECE) {
                    Some(true) => {}
                    Some(false) => self.entry = Some((key, value, next + 1, None)),
                    None => self.entry = Some((key, value, next, comparison)),
                }
                continue;
            }
            let entry = self
                .array
                .as_array()
                .and_then(|array| array.entry_at(self.position));
            let Some((key, value, next)) = entry else {
                self.whole = true;
                break;
            };
            self.position = next;
            entries += 1;
            match self.scalars.add(&value) {
                Some(true) => self.result.insert(key, value),
                Some(false) => {}
                None => self.entry = Some((key, value, 0, None)),
            }
        }
        cx.charge(work);
        Ok(Step::Again)
    }
}

impl Drop for Unique {
    fn drop(&mut self) {
        pieces::discard(std::mem::take(&mut self.others).into_iter());
    }
}

/// A task that is done before it starts.
struct Ready(Value);

impl Task for Ready {
    fn resume(&mut self, _: &mut Cx<'_>, _: Input) -> Result<Step, Throw> {
        Ok(Step::Done(self.0.take()))
    }
}

fn array_includes(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Box<dyn Task>, Throw> {
    includes(cx, args, false)
}

/// `array_includes` and, with loose equality, `in_array`.
pub(crate) fn includes(
    cx: &mut Cx<'_>,
    args: Args<'_>,
    loose: bool,
) -> Result<Box<dyn Task>, Throw> {
    if args.get(0).as_function().is_some() {
        return walk(
            args,
            (),
            |(), _, answer| truthy(&answer).then_some(Value::from(true)),
            |(), _| Ok(Some(Value::from(false))),
        );
    }
    let needle = args.get(0);
    let long = |array: View<'_>| array.len() > AT_ONCE;
    if is_large(needle) || args.get(1).as_array().is_some_and(long) {
        let found = large::includes(needle.clone(), args.get(1).clone(), loose);
        return Ok(Box::new(pieces::Piecewise(found)));
    }
    let equal = if loose {
        loose_equal_counted
    } else {
        strict_equal_counted
    };
    if !loose
        && let Some(array) = args.get(1).as_array()
        && let Some(found) = includes_scalar(needle, array)
    {
        cx.charge(array.len() / 4);
        return Ok(Box::new(Ready(found.into())));
    }
    let found = args.get(1).as_array().is_some_and(|array| {
        let mut work = array.len();
        let found = array.values().any(|value| equal(needle, &value, &mut work));
        cx.charge(work);
        found
    });
    Ok(Box::new(Ready(found.into())))
}

/// Whether `needle` is among the values, strictly: for needles and arrays for which that is quickly told.
fn includes_scalar(needle: &Value, array: View<'_>) -> Option<bool> {
    let View::Local(array) = array else {
        return None;
    };
    match needle {
        Value::Number(needle) if !needle.is_nan() => Some(any(
            array,
            |value| matches!(value, Value::Number(value) if value == needle),
        )),
        // Comparing long ones is work of its own.
        Value::String(needle) if needle.len() <= 256 => Some(any(
            array,
            |value| matches!(value, Value::String(value) if value == needle),
        )),
        _ => None,
    }
}

#[inline]
fn any(array: &Array, is_it: impl Fn(&Value) -> bool) -> bool {
    match array.as_list() {
        Some(list) => list.iter().any(is_it),
        None => array.values().any(is_it),
    }
}
