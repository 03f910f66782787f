//! Strings. All of them count bytes and know no character set.

use angarium_runtime::array::Array;
use angarium_runtime::native::{Args, Cx, FnDecl, Outcome, Throw};
use angarium_runtime::pieces::{self, LARGE_BYTES, LARGE_ENTRIES};
use angarium_runtime::string::Str;
use angarium_runtime::value::Value;
use memchr::memmem;
use smallvec::SmallVec;

use crate::large;

/// The functions of this family.
pub const FUNCTIONS: &[FnDecl] = &[
    FnDecl::plain("chr(number: number): string", "Gives the byte with that number, counted modulo 256.", chr)
        .example("chr(65) // \"A\""),
    FnDecl::plain("ord(character: string): number", "Gives the number of the first byte; 0 for an empty string.", ord)
        .example("ord(\"A\") // 65"),
    FnDecl::plain(
        "str_repeat(string: string, multiplier: number): string",
        "Repeats a string. Empty when `multiplier` is below 1.",
        str_repeat,
    )
    .example(r#"str_repeat("ab", 2) // "abab""#),
    FnDecl::plain(
        "str_replace(search: string, replace: string, subject: string): string",
        "Replaces every occurrence of `search` in `subject`, from left to right without overlap. An empty `search` \
         changes nothing.",
        str_replace,
    )
    .example(r#"str_replace("a", "b", "banana") // "bbnbnb""#),
    FnDecl::plain(
        "str_split(string: string, delimiter: string, limit?: number = 0): array",
        "Splits at `delimiter`. With `limit` n at most n parts, the last of which keeps the rest; with -n at most n \
         parts counted from the right, the first of which keeps the rest. An empty `delimiter` gives one part a byte.",
        str_split,
    )
    .example("str_split(\"a b c\", \" \") // [0=>\"a\",1=>\"b\",2=>\"c\"]\nstr_split(\"how are you\", \" \", -2) // [0=>\"how are\",1=>\"you\"]"),
    FnDecl::plain(
        "str_find(string: string, substring: string, offset?: number = 0): number",
        "Gives the first position of `substring` at or after `offset`, or -1. A negative offset counts from the end.",
        str_find,
    )
    .example(r#"str_find("banana", "an", 2) // 3"#),
    FnDecl::plain(
        "str_rfind(string: string, substring: string, offset?: number = 0): number",
        "Gives the last position of `substring`, or -1. With `offset` the match ends that many bytes before the end \
         or earlier.",
        str_rfind,
    )
    .example("str_rfind(\"a.b.c\", \".\") // 3\nstr_rfind(\"a.b.c\", \".\", 2) // 1"),
    FnDecl::plain("str_lower(string: string): string", "Turns A to Z into lower case; other bytes stay.", mapped::<false>)
    .example(r#"str_lower("ABC") // "abc""#),
    FnDecl::plain("str_upper(string: string): string", "Turns a to z into upper case; other bytes stay.", mapped::<true>)
    .example(r#"str_upper("abc") // "ABC""#),
    FnDecl::plain(
        "str_slice(string: string, offset: number, length?: number): string",
        "Gives `length` bytes from `offset`, or all from there. A negative offset counts from the end; a negative \
         length leaves that many bytes off the end. Out of range gives an empty string.",
        str_slice,
    )
    .example("str_slice(\"abcdef\", 1, 3) // \"bcd\"\nstr_slice(\"abcdef\", -2) // \"ef\""),
    FnDecl::plain(
        "str_strip(string: string, characters?: string = \" \\t\\r\\n\"): string",
        "Removes the given bytes (white space) from both ends.",
        |cx, args| strip(cx, args, true, true),
    )
    .example(r#"str_strip("  x ") // "x""#),
    FnDecl::plain(
        "str_lstrip(string: string, characters?: string = \" \\t\\r\\n\"): string",
        "Removes the given bytes (white space) from the start.",
        |cx, args| strip(cx, args, true, false),
    )
    .example(r#"str_lstrip("  x ") // "x ""#),
    FnDecl::plain(
        "str_rstrip(string: string, characters?: string = \" \\t\\r\\n\"): string",
        "Removes the given bytes (white space) from the end.",
        |cx, args| strip(cx, args, false, true),
    )
    .example(r#"str_rstrip("xyz", "zy") // "x""#),
    FnDecl::plain(
        "str_chunk(string: string, length: number, firstlength?: number): array",
        "Cuts into pieces of `length` bytes, the first one of `firstlength` bytes if given. A length below 1 raises an \
         Exception.",
        str_chunk,
    )
    .since(">5.5")
    .example(r#"str_chunk("abcde", 2) // [0=>"ab",1=>"cd",2=>"e"]"#),
];

fn chr(_: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    Ok(Str::byte(args.integer(0, 0).rem_euclid(256) as u8).into())
}

fn ord(_: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    Ok(f64::from(args.bytes(0).first().copied().unwrap_or(0)).into())
}

fn str_repeat(cx: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    let string = args.bytes(0);
    let times = usize::try_from(args.integer(1, 0)).unwrap_or(0);
    let bytes = string.len().saturating_mul(times);
    if bytes > LARGE_BYTES {
        cx.fits(bytes)?;
        return Err(Throw::pieces(pieces::repeat(&text(&args, 0), times)));
    }
    cx.reserve(string.len().saturating_mul(times))?;
    Ok(string.repeat(times).into())
}

fn str_replace(cx: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    let (search, replace, subject) = (args.bytes(0), args.bytes(1), args.bytes(2));
    if search.is_empty() {
        return Ok(args.get(2).clone());
    }
    let in_pieces = || {
        let (search, replace, subject) = (text(&args, 0), text(&args, 1), text(&args, 2));
        Err(Throw::pieces(large::replace(&search, replace, subject)))
    };
    if is_large(subject) {
        return in_pieces();
    }
    cx.charge(subject.len() / 64);
    // Counted first: then the text has the right size at once.
    let mut count = 0;
    each_occurrence(subject, search, |_| count += 1);
    if count == 0 {
        return Ok(args.get(2).clone());
    }
    let kept = subject.len().saturating_sub(search.len() * count);
    let total = kept.saturating_add(replace.len().saturating_mul(count));
    if total > LARGE_BYTES {
        return in_pieces();
    }
    cx.charge(count);
    cx.reserve(total)?;
    let mut out = SmallVec::<[u8; SHORT_RESULT]>::with_capacity(total);
    let mut copied = 0;
    each_occurrence(subject, search, |at| {
        out.extend_from_slice(subject.get(copied..at).unwrap_or_default());
        out.extend_from_slice(replace);
        copied = at + search.len();
    });
    out.extend_from_slice(subject.get(copied..).unwrap_or_default());
    Ok(if out.spilled() {
        out.into_vec().into()
    } else {
        Value::bytes(&out)
    })
}

/// Results of this length are put together on the stack.
const SHORT_RESULT: usize = 128;

fn str_split(cx: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    split(cx, args.get(0), args.get(1), args.integer(2, 0))
}

/// `str_split` and, with swapped arguments, `explode`.
pub(crate) fn split(cx: &mut Cx<'_>, string: &Value, delimiter: &Value, limit: i64) -> Outcome {
    let most = match usize::try_from(limit.unsigned_abs()) {
        Ok(0) | Err(_) => usize::MAX,
        Ok(most) => most,
    };
    let (bytes, cut) = (string.as_bytes(), delimiter.as_bytes());
    let (bytes, cut) = (bytes.unwrap_or_default(), cut.unwrap_or_default());
    if is_large(bytes) {
        let text = |value: &Value| value.as_str().cloned().unwrap_or_default();
        let parts = large::split(text(string), &text(delimiter), most, limit < 0);
        return Err(Throw::pieces(parts));
    }
    let (string, delimiter) = (bytes, cut);
    cx.charge(string.len() / 64);
    if string.is_empty() {
        return Ok(Array::from_list(vec![Value::bytes(b"")]).into());
    }
    // Positions of the cuts: each is the end of one part and the start of the next.
    let mut parts: Vec<Value> = Vec::new();
    let mut add = |cx: &mut Cx<'_>, part: &[u8]| {
        if parts.len() % 1024 == 1023 {
            cx.fits_entries(parts.len() * 2)?;
            cx.charge(1024);
        }
        Value::push_bytes(&mut parts, part);
        Ok::<(), Throw>(())
    };
    if delimiter.is_empty() {
        let len = string.len();
        if len > most {
            if limit > 0 {
                for byte in &string[..most - 1] {
                    add(cx, &[*byte])?;
                }
                add(cx, &string[most - 1..])?;
            } else {
                add(cx, &string[..len - (most - 1)])?;
                for byte in &string[len - (most - 1)..] {
                    add(cx, &[*byte])?;
                }
            }
        } else {
            for byte in string {
                add(cx, &[*byte])?;
            }
        }
    } else if let ([byte], 0) = (delimiter, limit) {
        // Counted first: then the list has the right size at once.
        let mut count = 1;
        each_place(string, *byte, |_| count += 1);
        cx.fits_entries(count)?;
        cx.charge(if count < 1024 { 0 } else { count });
        let mut list = Vec::with_capacity(count);
        let mut start = 0;
        each_place(string, *byte, |at| {
            let part = string.get(start..at).unwrap_or_default();
            Value::push_bytes(&mut list, part);
            start = at + 1;
        });
        Value::push_bytes(&mut list, string.get(start..).unwrap_or_default());
        return Ok(Array::from_list(list).into());
    } else if limit >= 0 {
        let mut start = 0;
        for (count, at) in places(string, delimiter).enumerate() {
            if count + 1 >= most {
                break;
            }
            add(cx, &string[start..at])?;
            start = at + delimiter.len();
        }
        add(cx, &string[start..])?;
    } else {
        let mut end = string.len();
        let found = (delimiter.len() <= end).then(|| memmem::rfind_iter(string, delimiter));
        for (count, at) in found.into_iter().flatten().enumerate() {
            if count + 1 >= most {
                break;
            }
            add(cx, &string[at + delimiter.len()..end])?;
            end = at;
        }
        add(cx, &string[..end])?;
        parts.reverse();
    }
    Ok(Array::from_list(parts).into())
}

/// Up to this length a text is searched from first byte to first byte: preparing a better search takes longer.
const SHORT: usize = 256;

/// Calls `found` with each place of `byte`. A short text is looked through eight bytes at a time.
#[inline]
fn each_place(text: &[u8], byte: u8, mut found: impl FnMut(usize)) {
    if text.len() > SHORT {
        memchr::memchr_iter(byte, text).for_each(found);
        return;
    }
    const LOW: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    let (words, rest) = text.as_chunks::<8>();
    let mut start = 0;
    for word in words {
        // Bytes of 0 where it is: only their high bits stay.
        let other = u64::from_le_bytes(*word) ^ u64::from_ne_bytes([byte; 8]);
        let mut places = !(((other & LOW) + LOW) | other | LOW);
        while places != 0 {
            found(start + places.trailing_zeros() as usize / 8);
            places &= places - 1;
        }
        start += 8;
    }
    for (at, other) in rest.iter().enumerate() {
        if *other == byte {
            found(start + at);
        }
    }
}

/// Calls `found` with each place where `needle`, which is not empty, is found in `text`, from left to right without overlap.
fn each_occurrence(text: &[u8], needle: &[u8], mut found: impl FnMut(usize)) {
    match needle {
        [byte] => each_place(text, *byte, found),
        [first, ..] if text.len() <= SHORT => {
            let mut start = 0;
            each_place(text, *first, |at| {
                let here = text.get(at..).unwrap_or_default();
                if at >= start && here.starts_with(needle) {
                    start = at + needle.len();
                    found(at);
                }
            });
        }
        // What is longer need not be prepared for a search.
        _ if needle.len() > text.len() => {}
        _ => memmem::find_iter(text, needle).for_each(found),
    }
}

/// Where `needle`, which is not empty, is found in `text`, from left to right without overlap.
fn places<'a>(text: &'a [u8], needle: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
    let short = text.len() <= SHORT || needle.len() > text.len();
    let finder = (!short).then(|| memmem::find_iter(text, needle));
    let mut finder = finder.into_iter().flatten();
    let mut start = 0;
    std::iter::from_fn(move || {
        if !short {
            return finder.next();
        }
        let first = *needle.first()?;
        loop {
            let at = start + memchr::memchr(first, text.get(start..)?)?;
            if text.get(at..)?.starts_with(needle) {
                start = at + needle.len();
                return Some(at);
            }
            start = at + 1;
        }
    })
}

/// Whether a string is worked on in pieces.
pub(crate) fn is_large(bytes: &[u8]) -> bool {
    bytes.len() > LARGE_BYTES
}

/// A hold on a string argument.
pub(crate) fn text(args: &Args<'_>, index: usize) -> Str {
    args.get(index).as_str().cloned().unwrap_or_default()
}

fn str_find(cx: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    let (string, substring) = (args.bytes(0), args.bytes(1));
    let offset = args.integer(2, 0);
    let offset = if offset < 0 {
        (string.len() as i64).saturating_add(offset).max(0)
    } else {
        offset
    };
    let Some(rest) = usize::try_from(offset)
        .ok()
        .and_then(|offset| string.get(offset..))
    else {
        return Ok((-1.0).into());
    };
    if is_large(rest) {
        let (string, substring) = (text(&args, 0), text(&args, 1));
        return Err(Throw::pieces(large::find(
            string,
            &substring,
            offset as usize,
        )));
    }
    cx.charge(rest.len() / 64);
    let found = match substring {
        [byte] => memchr::memchr(*byte, rest),
        [] => Some(0),
        _ => places(rest, substring).next(),
    };
    Ok(match found {
        Some(at) => (offset as usize + at).into(),
        None => (-1.0).into(),
    })
}

fn str_rfind(cx: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    let (string, substring) = (args.bytes(0), args.bytes(1));
    let offset = args.integer(2, 0);
    // A negative offset counts from the start: the match ends within that many bytes.
    let end = if offset < 0 {
        offset.saturating_neg()
    } else {
        string.len() as i64 - offset
    };
    let Some(head) = usize::try_from(end)
        .ok()
        .map(|end| &string[..end.min(string.len())])
    else {
        return Ok((-1.0).into());
    };
    if is_large(head) {
        let (string, substring) = (text(&args, 0), text(&args, 1));
        return Err(Throw::pieces(large::rfind(string, &substring, head.len())));
    }
    cx.charge(head.len() / 64);
    let found = match substring {
        [byte] => memchr::memrchr(*byte, head),
        _ if substring.len() > head.len() => None,
        _ => memmem::rfind(head, substring),
    };
    Ok(match found {
        Some(at) => at.into(),
        None => (-1.0).into(),
    })
}

/// Changes a string byte by byte, in place when the script gave up its copy.
fn mapped<const UPPER: bool>(cx: &mut Cx<'_>, mut args: Args<'_>) -> Outcome {
    let change: fn(&mut [u8]) = if UPPER {
        <[u8]>::make_ascii_uppercase
    } else {
        <[u8]>::make_ascii_lowercase
    };
    if let Value::String(Str::Inline(len, bytes)) = args.get(0) {
        let (len, mut bytes) = (*len, *bytes);
        // What lies behind the text is 0, which no letter becomes.
        for byte in &mut bytes {
            *byte = if UPPER {
                byte.to_ascii_uppercase()
            } else {
                byte.to_ascii_lowercase()
            };
        }
        return Ok(Value::String(Str::Inline(len, bytes)));
    }
    let Value::String(string) = args.take(0) else {
        return Ok(Value::None);
    };
    if string.len() > LARGE_BYTES {
        cx.fits(string.len())?;
        return Err(Throw::pieces(large::mapped(string, change)));
    }
    cx.reserve(string.len())?;
    Ok(Value::String(string.map(change)))
}

fn str_slice(cx: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    let string = args.bytes(0);
    let len = string.len() as i64;
    let offset = args.integer(1, 0);
    let start = if offset < 0 {
        len.saturating_add(offset).max(0)
    } else {
        offset
    };
    let end = if args.has(2) {
        let length = args.integer(2, 0);
        if length < 0 {
            len.saturating_add(length)
        } else {
            start.saturating_add(length).min(len)
        }
    } else {
        len
    };
    if start >= len || end <= start {
        return Ok(Value::bytes(b""));
    }
    if (end - start) as usize > LARGE_BYTES {
        cx.fits((end - start) as usize)?;
        let part = large::slice(text(&args, 0), start as usize, end as usize);
        return Err(Throw::pieces(part));
    }
    cx.charge((end - start) as usize / 64);
    Ok(Value::bytes(&string[start as usize..end as usize]))
}

fn strip(cx: &mut Cx<'_>, mut args: Args<'_>, left: bool, right: bool) -> Outcome {
    let string = args.bytes(0);
    cx.charge(string.len() / 64);
    if is_large(string) || args.has(1) && is_large(args.bytes(1)) {
        let white = if args.has(1) {
            text(&args, 1)
        } else {
            Str::from(" \t\r\n")
        };
        let stripped = large::strip(text(&args, 0), white, left, right);
        return Err(Throw::pieces(stripped));
    }
    let (start, end) = if args.has(1) {
        let mut member = [false; 256];
        for byte in args.bytes(1) {
            member[usize::from(*byte)] = true;
        }
        ends(string, left, right, |byte| member[usize::from(byte)])
    } else {
        let white = |byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
        ends(string, left, right, white)
    };
    Ok(if start == 0 && end == string.len() {
        args.take(0)
    } else {
        Value::bytes(&string[start..end])
    })
}

/// Where the text begins and ends that is left without members at the left and at the right.
#[inline]
fn ends(string: &[u8], left: bool, right: bool, is_member: impl Fn(u8) -> bool) -> (usize, usize) {
    let mut start = 0;
    let mut end = string.len();
    while left && start < end && is_member(string[start]) {
        start += 1;
    }
    while right && start < end && is_member(string[end - 1]) {
        end -= 1;
    }
    (start, end)
}

fn str_chunk(cx: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    let string = args.bytes(0);
    let length = args.integer(1, 0);
    let first = args.integer(2, length);
    let (Ok(length), Ok(first)) = (usize::try_from(length), usize::try_from(first)) else {
        return Err(Throw::error("str_chunk: length must be at least 1"));
    };
    if length == 0 || first == 0 {
        return Err(Throw::error("str_chunk: length must be at least 1"));
    }
    if is_large(string) || string.len() / length > LARGE_ENTRIES {
        cx.fits_entries(string.len() / length + 1)?;
        return Err(Throw::pieces(large::chunk(text(&args, 0), first, length)));
    }
    cx.reserve_entries(string.len() / length + 1)?;
    let (head, rest) = string.split_at(first.min(string.len()));
    let head = (!head.is_empty()).then_some(head);
    Ok(head
        .into_iter()
        .chain(rest.chunks(length))
        .map(Value::bytes)
        .collect::<Array>()
        .into())
}
