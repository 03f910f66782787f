//! Functions that call a function with each value of an array.

use std::rc::Rc;

use angarium_runtime::array::{Key, View};
use angarium_runtime::convert::truthy;
use angarium_runtime::native::{Again, Args, Cx, Input, Step, Task, Throw};
use angarium_runtime::object::Function;
use angarium_runtime::pieces::LongArray;
use angarium_runtime::value::Value;
use smallvec::smallvec;

/// Calls a function with each value of an array and folds the answers into a state.
struct Walk<S: State> {
    callback: Rc<Function>,
    array: Value,
    position: usize,
    state: S,
    /// The result of a walk that an answer has ended.
    ended: Option<Value>,
    /// Takes an answer; a value ends the walk with that result.
    answer: Answer<S>,
    /// The result when every value was asked; none while there is work left to do.
    done: Done<S>,
}

/// See [`Walk::done`].
pub(super) type Done<S> = fn(&mut S, &mut Cx<'_>) -> Result<Option<Value>, Throw>;

/// What a walk folds the answers into.
pub(super) trait State: 'static {
    /// Whether it can take an answer at once.
    #[inline]
    fn is_ready(&self) -> bool {
        true
    }

    /// Does a piece of what it needs before it takes more; whether it is done.
    fn make_ready(&mut self, _: &mut Cx<'_>) -> Result<bool, Throw> {
        Ok(true)
    }
}

impl State for () {}

impl State for LongArray {
    #[inline]
    fn is_ready(&self) -> bool {
        LongArray::is_ready(self)
    }

    fn make_ready(&mut self, cx: &mut Cx<'_>) -> Result<bool, Throw> {
        LongArray::make_ready(self, cx)
    }
}

/// Takes the answer to the entry of an array at a position of its order.
pub(super) type Answer<S> = fn(&mut S, At<'_>, Value) -> Option<Value>;

/// An entry that was asked about.
pub(super) struct At<'a> {
    array: &'a Value,
    position: usize,
}

impl At<'_> {
    fn entry(&self) -> Option<(Key, Value)> {
        let entry = self.array.as_array()?.entry_at(self.position);
        entry.map(|(key, value, _)| (key, value))
    }

    /// Whether the key is the position.
    fn is_list(&self) -> bool {
        packed(self.array).is_some()
    }
}

/// The values of a packed list.
fn packed(array: &Value) -> Option<&[Value]> {
    match array.as_array()? {
        View::Local(array) => array.as_list(),
        View::Frozen(..) => None,
    }
}

/// The value at a position of the order of an array of this thread, and the position behind it.
#[inline]
fn next_of(array: &Value, position: usize) -> Option<(&Value, usize)> {
    match array.as_array()? {
        View::Local(array) => {
            let (_, value, next) = array.entry_ref(position)?;
            Some((value, next))
        }
        View::Frozen(..) => None,
    }
}

impl<S: State> Task for Walk<S> {
    fn again(&mut self, cx: &mut Cx<'_>, answer: &mut Value, arguments: &mut [Value]) -> Again {
        let next = next_of(&self.array, self.position);
        let (Some((next, behind)), [place, ..], true) = (next, arguments, self.state.is_ready())
        else {
            return Again::Answer;
        };
        place.clone_from(next);
        let at = At {
            array: &self.array,
            position: self.position.saturating_sub(1),
        };
        self.ended = (self.answer)(&mut self.state, at, answer.take());
        if self.ended.is_some() {
            return Again::Taken;
        }
        self.position = behind;
        cx.charge(1);
        Again::Call
    }

    fn resume(&mut self, cx: &mut Cx<'_>, input: Input) -> Result<Step, Throw> {
        if let Some(result) = self.ended.take() {
            return Ok(Step::Done(result));
        }
        if let Input::Value(answer) = input {
            // The position is behind the entry that was asked about.
            let at = At {
                array: &self.array,
                position: self.position.saturating_sub(1),
            };
            if let Some(result) = (self.answer)(&mut self.state, at, answer) {
                return Ok(Step::Done(result));
            }
        }
        if !self.state.make_ready(cx)? {
            return Ok(Step::Again);
        }
        cx.charge(1);
        let value = match packed(&self.array) {
            Some(values) => values.get(self.position).map(|value| {
                self.position += 1;
                value.clone()
            }),
            None => {
                let view = self.array.as_array();
                let entry = view.and_then(|array| array.entry_at(self.position));
                entry.map(|(_, value, next)| {
                    self.position = next;
                    value
                })
            }
        };
        Ok(match value {
            Some(value) => Step::Call(Rc::clone(&self.callback), smallvec![value]),
            None => (self.done)(&mut self.state, cx)?.map_or(Step::Again, Step::Done),
        })
    }
}

/// The callback and the array of a call `f(callback, array)`.
pub(super) fn callback_and_array(mut args: Args<'_>) -> Result<(Rc<Function>, Value), Throw> {
    let Value::Function(callback) = args.take(0) else {
        return Err(Throw::error("a function is needed"));
    };
    Ok((callback, args.take(1)))
}

pub(super) fn walk<S: State>(
    args: Args<'_>,
    state: S,
    answer: Answer<S>,
    done: Done<S>,
) -> Result<Box<dyn Task>, Throw> {
    let (callback, array) = callback_and_array(args)?;
    Ok(Box::new(Walk {
        callback,
        array,
        position: 0,
        state,
        ended: None,
        answer,
        done,
    }))
}

pub(super) fn array_every(_: &mut Cx<'_>, args: Args<'_>) -> Result<Box<dyn Task>, Throw> {
    walk(
        args,
        (),
        |(), _, answer| (!truthy(&answer)).then_some(Value::from(false)),
        |(), _| Ok(Some(Value::from(true))),
    )
}

pub(super) fn array_filter(_: &mut Cx<'_>, args: Args<'_>) -> Result<Box<dyn Task>, Throw> {
    walk(
        args,
        LongArray::default(),
        |kept, at, answer| {
            if truthy(&answer)
                && let Some((key, value)) = at.entry()
            {
                kept.insert(key, value);
            }
            None
        },
        LongArray::finish,
    )
}

pub(super) fn array_find(_: &mut Cx<'_>, args: Args<'_>) -> Result<Box<dyn Task>, Throw> {
    walk(
        args,
        (),
        |(), at, answer| {
            let found = truthy(&answer).then(|| at.entry()).flatten();
            found.map(|(_, value)| value)
        },
        |(), _| Ok(Some(Value::None)),
    )
}

pub(super) fn array_map(_: &mut Cx<'_>, args: Args<'_>) -> Result<Box<dyn Task>, Throw> {
    walk(
        args,
        LongArray::default(),
        |mapped, at, answer| {
            if at.is_list() {
                mapped.push(answer);
            } else if let Some((key, _)) = at.entry() {
                mapped.insert(key, answer);
            }
            None
        },
        LongArray::finish,
    )
}

struct Reduce {
    callback: Rc<Function>,
    array: Value,
    position: usize,
    carry: Option<Value>,
}

impl Task for Reduce {
    fn again(&mut self, cx: &mut Cx<'_>, answer: &mut Value, arguments: &mut [Value]) -> Again {
        let next = next_of(&self.array, self.position);
        let (Some((next, behind)), [carry, value, ..]) = (next, arguments) else {
            return Again::Answer;
        };
        value.clone_from(next);
        std::mem::swap(carry, answer);
        self.position = behind;
        cx.charge(1);
        Again::Call
    }

    fn resume(&mut self, cx: &mut Cx<'_>, input: Input) -> Result<Step, Throw> {
        if let Input::Value(carry) = input {
            self.carry = Some(carry);
        }
        cx.charge(1);
        loop {
            let entry = self
                .array
                .as_array()
                .and_then(|array| array.entry_at(self.position));
            let Some((_, value, next)) = entry else {
                return match self.carry.take() {
                    Some(carry) => Ok(Step::Done(carry)),
                    None => Err(Throw::error(
                        "array_reduce: empty array without an initial value",
                    )),
                };
            };
            self.position = next;
            match self.carry.take() {
                Some(carry) => {
                    return Ok(Step::Call(
                        Rc::clone(&self.callback),
                        smallvec![carry, value],
                    ));
                }
                None => self.carry = Some(value),
            }
        }
    }
}

pub(super) fn array_reduce(_: &mut Cx<'_>, mut args: Args<'_>) -> Result<Box<dyn Task>, Throw> {
    let carry = args.has(2).then(|| args.take(2));
    let (callback, array) = callback_and_array(args)?;
    Ok(Box::new(Reduce {
        callback,
        array,
        position: 0,
        carry,
    }))
}
