//! What built-ins do to large values: the same as to small ones, in pieces ([`angarium_runtime::pieces`]).
//!
//! A built-in looks at the size of what it was given and leaves the work to a closure of this file when it is large.

use angarium_runtime::array::{Array, Key};
use angarium_runtime::convert::{Comparison, loose_equal_counted, write_number};
use angarium_runtime::native::{Cx, Throw};
use angarium_runtime::pieces::{
    self, LongArray, LongList, LongText, PIECE_BYTES, PIECE_ENTRIES, PIECE_KEYS, Pieces, walk,
};
use angarium_runtime::string::Str;
use angarium_runtime::value::Value;
use memchr::memmem::{Finder, FinderRev};

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

/// What is searched for in long texts.
enum Needle {
    Byte(u8),
    Text(Box<Finder<'static>>),
}

impl Needle {
    fn new(text: &[u8]) -> Needle {
        match text {
            [byte] => Needle::Byte(*byte),
            text => Needle::Text(Box::new(Finder::new(text).into_owned())),
        }
    }

    fn len(&self) -> usize {
        match self {
            Needle::Byte(_) => 1,
            Needle::Text(finder) => finder.needle().len(),
        }
    }

    #[inline]
    fn find(&self, text: &[u8]) -> Option<usize> {
        match self {
            Needle::Byte(byte) => memchr::memchr(*byte, text),
            Needle::Text(finder) => finder.find(text),
        }
    }

    /// How often it is found, and where the last place ends.
    fn count(&self, text: &[u8]) -> (usize, usize) {
        match self {
            Needle::Byte(byte) => (memchr::memchr_iter(*byte, text).count(), 0),
            Needle::Text(finder) => finder
                .find_iter(text)
                .fold((0, 0), |(count, _), at| (count + 1, at + self.len())),
        }
    }
}

/// `subject` with `new` for every occurrence of `search`, which is not empty. They are counted first, so that the text has the
/// right size at once.
pub(crate) fn replace(search: &Str, new: Str, subject: Str) -> impl Pieces {
    let needle = Needle::new(search.as_bytes());
    let (mut at, mut count) = (0, 0_usize);
    let mut out: Option<Vec<u8>> = None;
    // How much of `new` is written at the place that was found last.
    let mut written = new.len();
    move |cx: &mut Cx<'_>| {
        let bytes = subject.as_bytes();
        // An occurrence may go on in the next piece.
        let end = bytes.len().min(at + PIECE_BYTES + needle.len() - 1);
        let Some(out) = &mut out else {
            let (more, last) = needle.count(bytes.get(at..end).unwrap_or_default());
            cx.charge(PIECE_BYTES / 64 + more);
            count += more;
            at = end.min(at + PIECE_BYTES.max(last));
            if at < bytes.len() {
                return Ok(None);
            }
            if count == 0 {
                return Ok(Some(Value::String(subject.clone())));
            }
            let kept = bytes.len().saturating_sub(count * needle.len());
            let total = kept.saturating_add(count.saturating_mul(new.len()));
            cx.fits(total)?;
            out = Some(Vec::with_capacity(total));
            at = 0;
            return Ok(None);
        };
        let before = out.len();
        let enough = before + PIECE_BYTES;
        let mut copied = at;
        loop {
            if let Some(rest) = new.as_bytes().get(written..)
                && !rest.is_empty()
            {
                let piece = rest.get(..PIECE_BYTES).unwrap_or(rest);
                out.extend_from_slice(piece);
                written += piece.len();
            }
            if out.len() >= enough {
                break;
            }
            let rest = bytes.get(copied..end).unwrap_or_default();
            let Some(offset) = needle.find(rest) else {
                // What is left of the piece, up to where the next one begins.
                let next = if end == bytes.len() {
                    end
                } else {
                    copied.max(at + PIECE_BYTES)
                };
                out.extend_from_slice(bytes.get(copied..next).unwrap_or_default());
                copied = next;
                break;
            };
            out.extend_from_slice(rest.get(..offset).unwrap_or_default());
            copied += offset + needle.len();
            written = 0;
        }
        cx.charge((out.len() - before + (copied - at)) / 64 + 1);
        at = copied;
        let whole = at >= bytes.len() && written >= new.len();
        Ok(whole.then(|| std::mem::take(out).into()))
    }
}

/// The position of `search` in `text` from `at` on, or -1.
pub(crate) fn find(text: Str, search: &Str, at: usize) -> impl Pieces {
    let finder = Finder::new(search.as_bytes()).into_owned();
    let mut at = at;
    move |cx: &mut Cx<'_>| {
        let bytes = text.as_bytes();
        let end = bytes
            .len()
            .min(at + 4 * PIECE_BYTES + finder.needle().len());
        cx.charge((end - at.min(end)) / 64);
        Ok(match finder.find(bytes.get(at..end).unwrap_or_default()) {
            Some(offset) => Some(Value::from(at + offset)),
            None if end == bytes.len() => Some(Value::from(-1.0)),
            None => {
                at += 4 * PIECE_BYTES;
                None
            }
        })
    }
}

/// The last position of `search` in the first `end` bytes of `text`, or -1.
pub(crate) fn rfind(text: Str, search: &Str, end: usize) -> impl Pieces {
    let finder = FinderRev::new(search.as_bytes()).into_owned();
    let mut end = end;
    move |cx: &mut Cx<'_>| {
        let bytes = text.as_bytes();
        let start = end.saturating_sub(4 * PIECE_BYTES + finder.needle().len());
        cx.charge((end - start) / 64);
        Ok(
            match finder.rfind(bytes.get(start..end).unwrap_or_default()) {
                Some(offset) => Some(Value::from(start + offset)),
                None if start == 0 => Some(Value::from(-1.0)),
                None => {
                    end -= 4 * PIECE_BYTES;
                    None
                }
            },
        )
    }
}

/// `str_split`: the parts of `text` between the occurrences of `delimiter`, `most` at most; `backwards` counts them from the
/// end.
pub(crate) fn split(text: Str, delimiter: &Str, most: usize, backwards: bool) -> impl Pieces {
    let forward = Needle::new(delimiter.as_bytes());
    let backward = FinderRev::new(delimiter.as_bytes()).into_owned();
    let mut parts = LongList::default();
    // What is not split yet.
    let (mut start, mut end) = (0, text.len());
    // How far the first or last part is known to have no delimiter.
    let mut searched = 0;
    move |cx: &mut Cx<'_>| {
        let (bytes, needle) = (text.as_bytes(), forward.len());
        if start == usize::MAX {
            return Ok(parts.finish(backwards, cx));
        }
        for _ in 0..PIECE_ENTRIES {
            if start == usize::MAX {
                break;
            }
            let rest = bytes.get(start..end).unwrap_or_default();
            if parts.len() + 1 >= most || (needle == 0 && rest.len() <= 1) {
                parts.push(Value::bytes(rest));
                start = usize::MAX;
                break;
            }
            if needle == 0 {
                let at = if backwards { rest.len() - 1 } else { 0 };
                parts.push(Value::bytes(rest.get(at..=at).unwrap_or_default()));
                if backwards {
                    end -= 1;
                } else {
                    start += 1;
                }
                continue;
            }
            // A window of the rest, from where the search has got.
            let width = PIECE_BYTES + needle;
            let found = if backwards {
                let to = rest.len().saturating_sub(searched);
                let from = to.saturating_sub(width);
                backward
                    .rfind(rest.get(from..to).unwrap_or_default())
                    .map(|offset| from + offset)
            } else {
                let to = rest.len().min(searched + width);
                forward
                    .find(rest.get(searched..to).unwrap_or_default())
                    .map(|offset| searched + offset)
            };
            match found {
                Some(at) => {
                    let (head, tail) = rest.split_at(at);
                    let tail = tail.get(needle..).unwrap_or_default();
                    let part = if backwards { tail } else { head };
                    cx.charge(part.len() / 32);
                    parts.push(Value::bytes(part));
                    if backwards {
                        end = start + at;
                    } else {
                        start += at + needle;
                    }
                    searched = 0;
                }
                None if searched + width >= rest.len() => {
                    parts.push(Value::bytes(rest));
                    start = usize::MAX;
                }
                None => {
                    searched += PIECE_BYTES;
                    cx.charge(PIECE_BYTES / 64);
                }
            }
            if cx.is_due() {
                break;
            }
        }
        cx.charge(PIECE_ENTRIES);
        cx.fits_entries(parts.len().saturating_mul(2))?;
        Ok(None)
    }
}

/// `str_chunk`: the parts of `text`, the first of `first` bytes and the others of `length`.
pub(crate) fn chunk(text: Str, first: usize, length: usize) -> impl Pieces {
    let mut parts = Array::with_capacity(text.len() / length + 1);
    let mut at = 0;
    move |cx: &mut Cx<'_>| {
        let bytes = text.as_bytes();
        for _ in 0..PIECE_ENTRIES {
            if at >= bytes.len() {
                return Ok(Some(std::mem::take(&mut parts).into()));
            }
            let width = if at == 0 { first } else { length };
            let next = bytes.len().min(at.saturating_add(width));
            let part = bytes.get(at..next).unwrap_or_default();
            cx.charge(1 + part.len() / 32);
            parts.push(Value::bytes(part));
            at = next;
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
    let mut first = true;
    move |cx: &mut Cx<'_>| {
        if whole {
            return Ok(out.finish(cx));
        }
        while !cx.is_due() {
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
            if !std::mem::take(&mut first) {
                cx.append(&mut out.part, separator.as_bytes())?;
            }
            cx.charge(1);
            position = next;
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
