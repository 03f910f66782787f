//! `array_sort`.

use std::rc::Rc;

use angarium_runtime::array::Key;
use angarium_runtime::convert::truthy;
use angarium_runtime::native::{Again, Args, Cx, Input, Step, Task, Throw};
use angarium_runtime::object::Function;
use angarium_runtime::pieces::{self, LongArray, PIECE_KEYS};
use angarium_runtime::value::Value;
use smallvec::smallvec;

use super::walk::callback_and_array;
use super::{PIECE, Ready};

/// A bottom-up merge sort that asks for one comparison at a time. Stable, and any callback ends it: each step
/// moves one entry, whatever the answer.
struct Sort {
    callback: Rc<Function>,
    by_key: bool,
    /// The array, and the next entry to be read; none when all are.
    unread: Option<(Value, usize)>,
    from: Vec<Option<(Key, Value)>>,
    into: Vec<Option<(Key, Value)>>,
    /// Length of the sorted runs of `from`.
    width: usize,
    /// The runs being merged: `left..middle` and `right..end`.
    left: usize,
    middle: usize,
    right: usize,
    end: usize,
    /// The sorted entries, when there is nothing left to be compared.
    sorted: Option<LongArray>,
}

impl Sort {
    /// Starts on the next pair of runs; false when everything is sorted.
    fn next_pair(&mut self) -> bool {
        let len = self.from.len();
        let mut start = self.end;
        if start >= len {
            std::mem::swap(&mut self.from, &mut self.into);
            self.into.clear();
            self.width *= 2;
            if self.width >= len {
                return false;
            }
            start = 0;
        }
        self.left = start;
        self.middle = (start + self.width).min(len);
        self.right = self.middle;
        self.end = (self.middle + self.width).min(len);
        true
    }

    fn move_left(&mut self) {
        let entry = self.from[self.left].take();
        self.into.push(entry);
        self.left += 1;
    }

    fn move_right(&mut self) {
        let entry = self.from[self.right].take();
        self.into.push(entry);
        self.right += 1;
    }

    fn operand(&self, index: usize) -> Value {
        match &self.from[index] {
            Some((key, _)) if self.by_key => key.to_value(),
            Some((_, value)) => value.clone(),
            None => Value::None,
        }
    }

    /// Reads a piece of the entries; whether there are more.
    fn read(&mut self, cx: &mut Cx<'_>) -> Result<bool, Throw> {
        let Some((array, at)) = &mut self.unread else {
            return Ok(false);
        };
        let from = &mut self.from;
        let behind = pieces::walk(array, *at, cx, |key, value| {
            from.push(Some((key, value)));
            Ok(())
        })?;
        match behind {
            Some(behind) => *at = behind,
            None => self.unread = None,
        }
        self.middle = self.from.len().min(1);
        self.right = self.middle;
        self.end = self.from.len().min(2);
        Ok(behind.is_some())
    }

    /// Writes a piece of the sorted entries; the array when it is whole.
    fn write(&mut self, cx: &mut Cx<'_>) -> Result<Option<Value>, Throw> {
        let Some(sorted) = &mut self.sorted else {
            return Ok(None);
        };
        if !sorted.make_ready(cx)? {
            return Ok(None);
        }
        for _ in 0..PIECE_KEYS {
            match self.from.get_mut(self.left) {
                Some(entry) => {
                    if let Some((key, value)) = entry.take() {
                        sorted.insert(key, value);
                    }
                    self.left += 1;
                }
                None => return sorted.finish(cx),
            }
        }
        cx.charge(PIECE_KEYS);
        Ok(None)
    }
}

impl Task for Sort {
    fn again(&mut self, cx: &mut Cx<'_>, answer: &mut Value, arguments: &mut [Value]) -> Again {
        let [first, second, ..] = arguments else {
            return Again::Answer;
        };
        if truthy(answer) {
            self.move_right();
        } else {
            self.move_left();
        }
        if self.left >= self.middle || self.right >= self.end {
            return Again::Taken;
        }
        cx.charge(1);
        *first = self.operand(self.right);
        *second = self.operand(self.left);
        Again::Call
    }

    fn resume(&mut self, cx: &mut Cx<'_>, input: Input) -> Result<Step, Throw> {
        if let Input::Value(right_is_first) = input {
            if truthy(&right_is_first) {
                self.move_right();
            } else {
                self.move_left();
            }
        }
        if self.sorted.is_some() {
            return Ok(self.write(cx)?.map_or(Step::Again, Step::Done));
        }
        if self.read(cx)? {
            return Ok(Step::Again);
        }
        cx.charge(1);
        let mut moves = 0;
        loop {
            if self.left < self.middle && self.right < self.end {
                // Asking whether the right one comes first keeps equal entries in their order.
                let arguments = smallvec![self.operand(self.right), self.operand(self.left)];
                return Ok(Step::Call(Rc::clone(&self.callback), arguments));
            }
            while moves < PIECE && self.left < self.middle {
                self.move_left();
                moves += 1;
            }
            while moves < PIECE && self.right < self.end {
                self.move_right();
                moves += 1;
            }
            if moves >= PIECE {
                cx.charge(moves);
                return Ok(Step::Again);
            }
            if !self.next_pair() {
                self.left = 0;
                self.sorted = Some(LongArray::default());
                return Ok(Step::Again);
            }
        }
    }
}

impl Drop for Sort {
    fn drop(&mut self) {
        for entries in [&mut self.from, &mut self.into] {
            let entries = std::mem::take(entries).into_iter();
            pieces::discard(entries.map(|entry| entry.map_or(Value::None, |(_, value)| value)));
        }
    }
}

pub(super) fn array_sort(cx: &mut Cx<'_>, args: Args<'_>) -> Result<Box<dyn Task>, Throw> {
    let by_key = args.options(2).boolean("keys", false);
    let (callback, array) = callback_and_array(args)?;
    let len = array.as_array().map_or(0, |array| array.len());
    cx.fits_entries(len * 4)?;
    if len < 2 {
        return Ok(Box::new(Ready(array)));
    }
    Ok(Box::new(Sort {
        callback,
        by_key,
        unread: Some((array, 0)),
        from: Vec::with_capacity(len),
        into: Vec::with_capacity(len),
        width: 1,
        left: 0,
        middle: 0,
        right: 0,
        end: 0,
        sorted: None,
    }))
}
