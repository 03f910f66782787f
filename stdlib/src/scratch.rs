//! A buffer for results whose length is not known before: a text that grows from nothing is moved again and again.

use std::cell::Cell;

use angarium_runtime::value::Value;

thread_local! {
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Longer texts keep the buffer that they were written to, others are copied out of it.
const SHORT: usize = 8 * 1024;

/// A buffer of this thread, empty; [`finish`] takes it back.
pub(crate) fn buffer() -> Vec<u8> {
    let mut out = SPARE.take();
    out.clear();
    out
}

/// The text that was written to a buffer.
pub(crate) fn finish(out: Vec<u8>) -> Value {
    if out.len() > SHORT {
        return out.into();
    }
    let text = Value::bytes(&out);
    keep(out);
    text
}

/// Takes a buffer back without its text.
pub(crate) fn keep(out: Vec<u8>) {
    if out.capacity() <= 4 * SHORT {
        SPARE.set(out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_every_length_come_out_whole_and_the_next_one_begins_empty() {
        for len in [0, 1, 100, SHORT, SHORT + 1, 5 * SHORT, 3] {
            let mut out = buffer();
            assert!(out.is_empty());
            out.resize(len, b'a');
            let text = finish(out);
            assert_eq!(text.as_bytes().map(<[u8]>::len), Some(len));
        }
        assert!(buffer().capacity() <= 4 * SHORT);
    }
}
