//! What built-ins do to large values: the same as to small ones, in pieces ([`angarium_runtime::pieces`]).
//!
//! A built-in looks at the size of what it was given and leaves the work to a closure of this file when it is large.

mod search;

use angarium_runtime::array::{Array, Key};
use angarium_runtime::convert::{Comparison, loose_equal_counted, write_number};
use angarium_runtime::native::{Cx, Throw};
use angarium_runtime::pieces::{
    self, LongArray, LongList, LongText, PIECE_BYTES, PIECE_ENTRIES, PIECE_KEYS, Pieces, walk,
};
use angarium_runtime::string::Str;
use angarium_runtime::value::Value;

use search::{Search, Seen};

/// The bytes of `text` from `start` to `end`.
pub(crate) fn slice(text: Str, start: usize, end: usize) -> impl Pieces {
    let mut out = Vec::with_capacity(end.saturating_sub(start));
    move |cx: &mut Cx<'_>| {
        let at = start + out.len();
        let next = end.min(at + PIECE_BYTES);
        out.extend_from_slice(text.as_bytes().get(at..next).unwrap_or_default());
        cx.charge(PIECE_BYTES / 64);
        Ok((next >= end).then(|| std::mem::take(&mut out).into()))
    }
}

/// A value that is made at once, or in pieces.
pub(crate) enum Made {
    /// Here it is.
    Now(Value),
    /// It is long.
    Later(Box<dyn Pieces>),
}

/// The bytes of `text` from `start` to `end`, which is `text` itself when that is all.
///
/// # Errors
/// When there is no memory for a copy.
pub(crate) fn part(text: &Str, start: usize, end: usize, cx: &Cx<'_>) -> Result<Made, Throw> {
    if start == 0 && end == text.len() {
        return Ok(Made::Now(Value::String(text.clone())));
    }
    if end.saturating_sub(start) > PIECE_BYTES {
        cx.fits(end - start)?;
        let slice = slice(text.clone(), start, end);
        return Ok(Made::Later(Box::new(slice)));
    }
    let bytes = text.as_bytes().get(start..end).unwrap_or_default();
    Ok(Made::Now(Value::bytes(bytes)))
}

/// `text` without the bytes of `white` at its left and at its right end.
pub(crate) fn strip(text: Str, white: Str, left: bool, right: bool) -> impl Pieces {
    let (mut left, mut right) = (left, right);
    let (mut start, mut end) = (0, text.len());
    let mut members = [false; 256];
    let mut known = 0;
    let mut copying: Option<Box<dyn Pieces>> = None;
    move |cx: &mut Cx<'_>| {
        if let Some(work) = &mut copying {
            return work(cx);
        }
        if known < white.len() {
            let piece = white
                .as_bytes()
                .get(known..white.len().min(known + PIECE_BYTES));
            let piece = piece.unwrap_or_default();
            cx.charge(piece.len() / 64);
            piece
                .iter()
                .for_each(|byte| members[usize::from(*byte)] = true);
            known += piece.len();
            return Ok(None);
        }
        let bytes = text.as_bytes();
        let is_other = |byte: &u8| !members[usize::from(*byte)];
        if left {
            let piece = bytes.get(start..end.min(start + PIECE_BYTES));
            let piece = piece.unwrap_or_default();
            cx.charge(piece.len() / 64);
            let others = piece.iter().position(is_other);
            start += others.unwrap_or(piece.len());
            left = others.is_none() && start < end;
        } else if right {
            let piece = bytes.get(start.max(end.saturating_sub(PIECE_BYTES))..end);
            let piece = piece.unwrap_or_default();
            cx.charge(piece.len() / 64);
            let last = piece.iter().rposition(is_other);
            end -= piece.len() - last.map_or(0, |at| at + 1);
            right = last.is_none() && start < end;
        } else {
            match part(&text, start, end, cx)? {
                Made::Now(value) => return Ok(Some(value)),
                Made::Later(work) => copying = Some(work),
            }
        }
        Ok(None)
    }
}

/// What `code` makes of `text`, which it reads in chunks, each for itself.
pub(crate) fn coded(text: Str, code: fn(&[u8]) -> Vec<u8>) -> impl Pieces {
    let mut out = LongText::default();
    let mut at = 0;
    move |cx: &mut Cx<'_>| {
        let bytes = text.as_bytes();
        if at >= bytes.len() {
            return Ok(out.finish(cx));
        }
        let end = bytes.len().min(at + PIECE_BYTES / 4);
        let coded = code(bytes.get(at..end).unwrap_or_default());
        cx.append(&mut out.part, &coded)?;
        out.step(cx)?;
        at = end;
        Ok(None)
    }
}

/// A copy of `text`, changed byte by byte.
pub(crate) fn mapped(text: Str, change: fn(&mut [u8])) -> impl Pieces {
    let mut out = Vec::with_capacity(text.len());
    move |cx: &mut Cx<'_>| {
        let (at, bytes) = (out.len(), text.as_bytes());
        let next = bytes.len().min(at + PIECE_BYTES);
        out.extend_from_slice(bytes.get(at..next).unwrap_or_default());
        change(out.get_mut(at..).unwrap_or_default());
        cx.charge(PIECE_BYTES / 64);
        Ok((next >= bytes.len()).then(|| std::mem::take(&mut out).into()))
    }
}

/// `subject` with `new` for every occurrence of `search`, which is not empty. They are counted first, so that the text has the
/// right size at once.
pub(crate) fn replace(search: &Str, new: Str, subject: Str) -> impl Pieces {
    let mut search = Search::forward(search);
    let (mut at, mut count) = (0, 0_usize);
    let mut replacing: Option<Replacing> = None;
    move |cx: &mut Cx<'_>| {
        let bytes = subject.as_bytes();
        if let Some(replacing) = &mut replacing {
            let whole = replacing.go_on(&mut search, new.as_bytes(), bytes, cx);
            return Ok(whole.then(|| std::mem::take(&mut replacing.out).into()));
        }
        let (more, next) = search.count(bytes, at, cx);
        (at, count) = (next, count + more);
        if at < bytes.len() {
            return Ok(None);
        }
        if count == 0 {
            return Ok(Some(Value::String(subject.clone())));
        }
        let kept = bytes.len().saturating_sub(count * search.len());
        let total = kept.saturating_add(count.saturating_mul(new.len()));
        cx.fits(total)?;
        replacing = Some(Replacing {
            out: Vec::with_capacity(total),
            ..Replacing::default()
        });
        Ok(None)
    }
}

/// A text that is made from another one by replacing.
#[derive(Default)]
struct Replacing {
    out: Vec<u8>,
    /// How much of the subject is in `out`, replaced or not.
    copied: usize,
    /// Up to where nothing is found in the subject, and whether something is found there.
    clear: usize,
    found: bool,
    /// How much of the new text is written there.
    written: usize,
}

impl Replacing {
    /// Does a piece of it; whether the text is whole.
    fn go_on(&mut self, search: &mut Search, new: &[u8], subject: &[u8], cx: &mut Cx<'_>) -> bool {
        if let Some(byte) = search.byte()
            && new.len() <= SHORT
            && self.copied == self.clear
            && !self.found
        {
            return self.replace_bytes(byte, new, subject, cx);
        }
        let mut room = PIECE_BYTES;
        let mut places = PIECE_ENTRIES;
        while self.copied < subject.len() && room > 0 && places > 0 && !cx.is_due() {
            if self.copied < self.clear {
                let end = self.clear.min(self.copied + room);
                let piece = subject.get(self.copied..end).unwrap_or_default();
                self.out.extend_from_slice(piece);
                room -= piece.len();
                self.copied = end;
            } else if self.found {
                let rest = new.get(self.written..).unwrap_or_default();
                let piece = rest.get(..room).unwrap_or(rest);
                self.out.extend_from_slice(piece);
                room -= piece.len();
                self.written += piece.len();
                if self.written == new.len() {
                    places -= 1;
                    self.copied += search.len();
                    (self.clear, self.found, self.written) = (self.copied, false, 0);
                }
            } else {
                match search.look(subject, self.clear, subject.len(), cx) {
                    Seen::Here(place) => (self.clear, self.found) = (place, true),
                    Seen::Clear(place) => self.clear = place,
                }
            }
        }
        cx.charge((PIECE_BYTES - room) / 64);
        self.copied >= subject.len()
    }

    /// The same for a byte that becomes a short text: places lie close together, and are gone through in one search.
    fn replace_bytes(&mut self, byte: u8, new: &[u8], subject: &[u8], cx: &mut Cx<'_>) -> bool {
        let end = subject.len().min(self.copied + PIECE_BYTES / SHORT);
        let window = subject.get(self.copied..end).unwrap_or_default();
        let mut from = 0;
        for at in memchr::memchr_iter(byte, window) {
            let before = window.get(from..at).unwrap_or_default();
            self.out.extend_from_slice(before);
            self.out.extend_from_slice(new);
            from = at + 1;
        }
        let rest = window.get(from..).unwrap_or_default();
        self.out.extend_from_slice(rest);
        (self.copied, self.clear) = (end, end);
        cx.charge(1 + window.len() / 16);
        end == subject.len()
    }
}

/// Bytes of a short text: a piece that becomes such texts byte by byte is still one.
const SHORT: usize = 4;

/// The position of `search` in `text` from `at` on, or -1.
pub(crate) fn find(text: Str, search: &Str, at: usize) -> impl Pieces {
    let mut search = Search::forward(search);
    let mut at = at;
    move |cx: &mut Cx<'_>| {
        if search.len() == 0 {
            return Ok(Some(Value::from(at)));
        }
        Ok(match search.look(text.as_bytes(), at, text.len(), cx) {
            Seen::Here(place) => Some(Value::from(place)),
            Seen::Clear(place) if place >= text.len() => Some(Value::from(-1.0)),
            Seen::Clear(place) => {
                at = place;
                None
            }
        })
    }
}

/// The last position of `search` in the first `end` bytes of `text`, or -1.
pub(crate) fn rfind(text: Str, search: &Str, end: usize) -> impl Pieces {
    let mut search = Search::backward(search);
    let mut end = end;
    move |cx: &mut Cx<'_>| {
        if search.len() == 0 {
            return Ok(Some(Value::from(end)));
        }
        Ok(match search.look(text.as_bytes(), 0, end, cx) {
            Seen::Here(place) => Some(Value::from(place)),
            Seen::Clear(0) => Some(Value::from(-1.0)),
            Seen::Clear(place) => {
                end = place;
                None
            }
        })
    }
}

/// `str_split`: the parts of `text` between the occurrences of `delimiter`, `most` at most; `backwards` counts them from the
/// end.
pub(crate) fn split(text: Str, delimiter: &Str, most: usize, backwards: bool) -> impl Pieces {
    let mut most = most;
    let mut search = if backwards {
        Search::backward(delimiter)
    } else {
        Search::forward(delimiter)
    };
    let mut parts = LongList::default();
    // What is not split yet.
    let (mut start, mut end) = (0, text.len());
    // Up to where the first part, or from where on the last one is known to have no delimiter.
    let mut clear = if backwards { end } else { start };
    // A long part that is being copied.
    let mut copying: Option<Box<dyn Pieces>> = None;
    move |cx: &mut Cx<'_>| {
        let (bytes, needle) = (text.as_bytes(), search.len());
        if let Some(work) = &mut copying {
            if let Some(value) = work(cx)? {
                parts.push(value);
                copying = None;
            }
            return Ok(None);
        }
        if start == usize::MAX {
            return Ok(parts.finish(backwards, cx));
        }
        if let Some(byte) = search.byte()
            && most == usize::MAX
            && !backwards
            && clear - start < PIECE_BYTES
        {
            // Parts are mostly short, and are gone through in one search.
            let from = clear;
            clear = end.min(from + 4 * PIECE_ENTRIES);
            let window = bytes.get(from..clear).unwrap_or_default();
            for offset in memchr::memchr_iter(byte, window) {
                let place = from + offset;
                parts.push(Value::bytes(bytes.get(start..place).unwrap_or_default()));
                start = place + 1;
            }
            cx.charge(1 + window.len() / 8);
            if clear == end {
                most = 0;
            }
            cx.fits_entries(parts.len().saturating_mul(2))?;
            return Ok(None);
        }
        for _ in 0..PIECE_ENTRIES {
            let left = end - start;
            let found = if parts.len() + 1 >= most || (needle == 0 && left <= 1) {
                let all = (start, end);
                start = usize::MAX;
                Some(all)
            } else if needle == 0 && backwards {
                end -= 1;
                Some((end, end + 1))
            } else if needle == 0 {
                start += 1;
                Some((start - 1, start))
            } else if backwards {
                match search.look(bytes, start, clear, cx) {
                    Seen::Here(place) => {
                        let part = (place + needle, end);
                        (end, clear) = (place, place);
                        Some(part)
                    }
                    Seen::Clear(place) => {
                        clear = place;
                        None
                    }
                }
            } else {
                match search.look(bytes, clear, end, cx) {
                    Seen::Here(place) => {
                        let part = (start, place);
                        (start, clear) = (place + needle, place + needle);
                        Some(part)
                    }
                    Seen::Clear(place) => {
                        clear = place;
                        None
                    }
                }
            };
            match found {
                // No more are looked for: what is left is one part.
                None if clear == if backwards { start } else { end } => most = 0,
                None => {}
                Some((from, to)) => match part(&text, from, to, cx)? {
                    Made::Now(value) => {
                        cx.charge(1 + (to - from).min(PIECE_BYTES) / 8);
                        parts.push(value);
                    }
                    Made::Later(work) => copying = Some(work),
                },
            }
            if start == usize::MAX || copying.is_some() || cx.is_due() {
                break;
            }
        }
        cx.fits_entries(parts.len().saturating_mul(2))?;
        Ok(None)
    }
}

/// `str_chunk`: the parts of `text`, the first of `first` bytes and the others of `length`.
pub(crate) fn chunk(text: Str, first: usize, length: usize) -> impl Pieces {
    let mut parts = Array::with_capacity(text.len() / length + 1);
    let mut at = 0;
    // A long part that is being copied.
    let mut copying: Option<Box<dyn Pieces>> = None;
    move |cx: &mut Cx<'_>| {
        if let Some(work) = &mut copying {
            if let Some(value) = work(cx)? {
                parts.push(value);
                copying = None;
            }
            return Ok(None);
        }
        for _ in 0..PIECE_ENTRIES {
            if at >= text.len() {
                return Ok(Some(std::mem::take(&mut parts).into()));
            }
            let width = if at == 0 { first } else { length };
            let next = text.len().min(at.saturating_add(width));
            let made = part(&text, at, next, cx)?;
            cx.charge(1 + (next - at).min(PIECE_BYTES) / 8);
            at = next;
            match made {
                Made::Now(value) => parts.push(value),
                Made::Later(work) => {
                    copying = Some(work);
                    break;
                }
            }
            if cx.is_due() {
                break;
            }
        }
        Ok(None)
    }
}

/// `array_join`.
pub(crate) fn join(array: Value, separator: Str) -> impl Pieces {
    let mut out = LongText::default();
    let (mut position, mut whole) = (0, false);
    // The text of the value that is being written, and how far.
    let mut text: Option<Box<dyn Pieces>> = None;
    let mut writing: Option<(Str, usize)> = None;
    // Whether the separator before the next value is written, or none is needed.
    let mut separated = true;
    move |cx: &mut Cx<'_>| {
        if whole {
            return Ok(out.finish(cx));
        }
        let start = out.len();
        while !cx.is_due() && out.len() - start < PIECE_BYTES {
            out.step(cx)?;
            if let Some((part, at)) = &mut writing {
                let end = part.len().min(*at + PIECE_BYTES);
                let piece = part.as_bytes().get(*at..end).unwrap_or_default();
                cx.append(&mut out.part, piece)?;
                *at = end;
                if end == part.len() {
                    writing = None;
                }
                continue;
            }
            if let Some(work) = &mut text {
                if let Some(Value::String(done)) = work(cx)? {
                    text = None;
                    writing = Some((done, 0));
                }
                continue;
            }
            let entry = array.as_array().and_then(|view| view.entry_at(position));
            let Some((_, value, next)) = entry else {
                whole = true;
                return Ok(None);
            };
            if !std::mem::replace(&mut separated, true) {
                if separator.len() > PIECE_BYTES {
                    writing = Some((separator.clone(), 0));
                    continue;
                }
                cx.append(&mut out.part, separator.as_bytes())?;
            }
            cx.charge(1);
            (position, separated) = (next, false);
            match value {
                Value::Number(number) => write_number(&mut out.part, number),
                Value::String(part) if part.len() <= PIECE_BYTES => {
                    cx.append(&mut out.part, part.as_bytes())?;
                }
                Value::String(part) => writing = Some((part, 0)),
                Value::Array(_) => text = Some(Box::new(pieces::text_of(&value))),
                other => cx.write_str(&mut out.part, &other)?,
            }
        }
        Ok(None)
    }
}

/// The values that `value` gives for 0 to `count`.
pub(crate) fn list(count: usize, value: impl Fn(usize) -> Value + 'static) -> impl Pieces {
    let mut values = Array::with_capacity(count);
    move |cx: &mut Cx<'_>| {
        let next = count.min(values.len() + PIECE_ENTRIES);
        cx.charge(next - values.len());
        for at in values.len()..next {
            values.push(value(at));
        }
        Ok((next >= count).then(|| std::mem::take(&mut values).into()))
    }
}

/// `array_keys`.
pub(crate) fn keys(array: Value) -> impl Pieces {
    let mut keys = Array::with_capacity(array.as_array().map_or(0, |array| array.len()));
    let mut position = 0;
    move |cx: &mut Cx<'_>| {
        let behind = walk(&array, position, cx, |key, _| {
            keys.push(key.to_value());
            Ok(())
        })?;
        position = behind.unwrap_or(0);
        let whole = behind.is_none();
        Ok(whole.then(|| std::mem::take(&mut keys).into()))
    }
}

/// The entries in another order, which `choose` tells: the place of the entry that comes next, among so many that are left.
/// Number keys are counted anew.
pub(crate) fn reordered(
    array: Value,
    choose: impl Fn(&mut Cx<'_>, usize) -> usize + 'static,
) -> impl Pieces {
    let count = array.as_array().map_or(0, |array| array.len());
    let mut entries = Entries(Vec::with_capacity(count));
    let (mut position, mut read) = (0, false);
    let mut result = LongArray::default();
    move |cx: &mut Cx<'_>| {
        if !result.make_ready(cx)? {
            return Ok(None);
        }
        let entries = &mut entries.0;
        if !read {
            let behind = walk(&array, position, cx, |key, value| {
                entries.push((key, value));
                Ok(())
            })?;
            position = behind.unwrap_or(0);
            read = behind.is_none();
            return Ok(None);
        }
        for _ in 0..PIECE_KEYS {
            if entries.is_empty() {
                return result.finish(cx);
            }
            let chosen = choose(cx, entries.len());
            let last = entries.len() - 1;
            entries.swap(chosen.min(last), last);
            match entries.pop() {
                Some((Key::Integer(_), value)) => result.push(value),
                Some((key, value)) => result.insert(key, value),
                None => {}
            }
        }
        cx.charge(PIECE_KEYS);
        Ok(None)
    }
}

/// Entries that are freed in pieces.
struct Entries(Vec<(Key, Value)>);

impl Drop for Entries {
    fn drop(&mut self) {
        let entries = std::mem::take(&mut self.0).into_iter();
        pieces::discard(entries.map(|(_, value)| value));
    }
}

/// `array_combine`.
pub(crate) fn combine(keys: Value, values: Value, missing: Value) -> impl Pieces {
    let mut result = LongArray::default();
    let (mut position, mut value_position) = (Some(0), Some(0));
    move |cx: &mut Cx<'_>| {
        if !result.make_ready(cx)? {
            return Ok(None);
        }
        let Some(at) = position else {
            return result.finish(cx);
        };
        position = walk(&keys, at, cx, |_, key| {
            let key = Key::cast(&key).ok_or_else(|| {
                let kind = key.kind().name();
                Throw::error(format!("array_combine: {kind} cannot be a key"))
            })?;
            let entry = value_position
                .and_then(|at| values.as_array().and_then(|values| values.entry_at(at)));
            value_position = entry.as_ref().map(|(_, _, behind)| *behind);
            result.insert(
                key,
                entry.map_or_else(|| missing.clone(), |(_, value, _)| value),
            );
            Ok(())
        })?;
        Ok(None)
    }
}

/// Whether `needle` is among the values of `array`, compared loosely or strictly.
pub(crate) fn includes(needle: Value, array: Value, loose: bool) -> impl Pieces {
    let mut position = 0;
    let mut comparison: Option<Comparison> = None;
    move |cx: &mut Cx<'_>| {
        let mut work = 0;
        while work < PIECE_ENTRIES {
            if let Some(going_on) = &mut comparison {
                match going_on.go_on(&mut work, PIECE_ENTRIES) {
                    Some(true) => return Ok(Some(true.into())),
                    Some(false) => comparison = None,
                    None => break,
                }
            }
            let entry = array.as_array().and_then(|array| array.entry_at(position));
            let Some((_, value, next)) = entry else {
                return Ok(Some(false.into()));
            };
            position = next;
            work += 1;
            if needle.kind() == value.kind() {
                // Loosely equal is then the same.
                comparison = Some(Comparison::new(&needle, &value));
            } else if loose && loose_equal_counted(&needle, &value, &mut work) {
                return Ok(Some(true.into()));
            }
        }
        cx.charge(work);
        Ok(None)
    }
}
