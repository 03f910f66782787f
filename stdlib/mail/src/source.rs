//! Where the bytes of a message come from.
//!
//! A message lies in memory or in a spool file. Everything in this crate reads it through
//! [`Source`], so that a body of many megabytes is never loaded to change a header.

use std::{io, ops::Range, rc::Rc, sync::Arc};

/// Random access to the bytes of a message.
///
/// The bytes must not change while a message that was parsed from them is in use.
pub trait Source {
    /// Length in bytes.
    fn len(&self) -> u64;

    /// Reads bytes from `offset` on into `buf` and returns how many were read.
    ///
    /// Fewer than `buf.len()` may be returned; 0 means that `offset` is at or past the end.
    ///
    /// # Errors
    /// What the medium reports.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize>;

    /// All bytes at once, when they lie in memory anyway.
    fn as_bytes(&self) -> Option<&[u8]> {
        None
    }

    /// Whether there are no bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads the bytes of `range`, cut at the end of the source.
    ///
    /// # Errors
    /// What the medium reports; `UnexpectedEof` if it is shorter than [`Source::len`] said.
    fn read_range(&self, range: Range<u64>) -> io::Result<Vec<u8>> {
        let end = range.end.min(self.len());
        let size = usize::try_from(end.saturating_sub(range.start))
            .map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
        let mut bytes = vec![0; size];
        read_full(self, range.start, &mut bytes)?;
        Ok(bytes)
    }
}

fn read_full<S: Source + ?Sized>(source: &S, mut offset: u64, buf: &mut [u8]) -> io::Result<()> {
    let mut rest = buf;
    while !rest.is_empty() {
        match source.read_at(offset, rest)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => {
                offset = offset.saturating_add(n as u64);
                rest = rest.get_mut(n..).unwrap_or_default();
            }
        }
    }
    Ok(())
}

impl Source for [u8] {
    fn len(&self) -> u64 {
        <[u8]>::len(self) as u64
    }
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let rest = usize::try_from(offset)
            .ok()
            .and_then(|at| self.get(at..))
            .unwrap_or_default();
        let n = rest.len().min(buf.len());
        if let (Some(to), Some(from)) = (buf.get_mut(..n), rest.get(..n)) {
            to.copy_from_slice(from);
        }
        Ok(n)
    }
    fn as_bytes(&self) -> Option<&[u8]> {
        Some(self)
    }
}

/// A source behind a pointer is a source.
macro_rules! delegate {
    ($($pointer:ty),+) => {$(
        impl<S: Source + ?Sized> Source for $pointer {
            fn len(&self) -> u64 {
                (**self).len()
            }
            fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
                (**self).read_at(offset, buf)
            }
            fn as_bytes(&self) -> Option<&[u8]> {
                (**self).as_bytes()
            }
        }
    )+};
}
delegate!(&S, Box<S>, Rc<S>, Arc<S>);

impl Source for Vec<u8> {
    fn len(&self) -> u64 {
        self.as_slice().len() as u64
    }
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.as_slice().read_at(offset, buf)
    }
    fn as_bytes(&self) -> Option<&[u8]> {
        Some(self)
    }
}

/// Bytes that a window reads at once from a source that is not in memory.
const WINDOW: usize = 64 * 1024;

/// A moving view of a source for scanners that go forward.
pub(crate) struct Window<'a, S: ?Sized> {
    source: &'a S,
    len: u64,
    bytes: Vec<u8>,
    start: u64,
}

impl<'a, S: Source + ?Sized> Window<'a, S> {
    pub(crate) fn new(source: &'a S) -> Self {
        Self {
            source,
            len: source.len(),
            bytes: Vec::new(),
            start: 0,
        }
    }

    /// The bytes from `offset` on: at least `want` of them, or all up to the end of the source.
    pub(crate) fn at(&mut self, offset: u64, want: usize) -> io::Result<&[u8]> {
        if let Some(all) = self.source.as_bytes() {
            let at = usize::try_from(offset).unwrap_or(usize::MAX);
            return Ok(all.get(at..).unwrap_or_default());
        }
        let left = self.len.saturating_sub(offset);
        let want = (want as u64).min(left);
        let have = self.start.saturating_add(self.bytes.len() as u64);
        if offset < self.start || offset.saturating_add(want) > have {
            let size = want.max(WINDOW as u64).min(left);
            self.bytes = self.source.read_range(offset..offset + size)?;
            self.start = offset;
        }
        let skip = usize::try_from(offset - self.start).unwrap_or(usize::MAX);
        Ok(self.bytes.get(skip..).unwrap_or_default())
    }

    /// The line that starts at `offset`, with its LF; cut at `end` and after `limit` bytes.
    /// Empty at the end.
    pub(crate) fn line(&mut self, offset: u64, end: u64, limit: usize) -> io::Result<&[u8]> {
        let cap = usize::try_from(end.saturating_sub(offset))
            .unwrap_or(usize::MAX)
            .min(limit);
        let mut want = cap.min(1024);
        loop {
            let view = self.at(offset, want)?;
            let size = view.len().min(cap);
            let found = memchr::memchr(b'\n', view.get(..size).unwrap_or_default());
            match found {
                Some(lf) => {
                    return Ok(self.at(offset, lf + 1)?.get(..=lf).unwrap_or_default());
                }
                None if size >= cap || size < want => {
                    return Ok(self.at(offset, size)?.get(..size).unwrap_or_default());
                }
                None => want = size.saturating_mul(2).max(want.saturating_mul(2)).min(cap),
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A source that is not in memory for the code under test and reads in small steps.
    pub(crate) struct Slow<'a>(pub(crate) &'a [u8]);

    impl Source for Slow<'_> {
        fn len(&self) -> u64 {
            self.0.len() as u64
        }
        fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
            let n = buf.len().min(1000);
            self.0.read_at(offset, &mut buf[..n])
        }
    }

    #[test]
    fn a_line_is_the_same_from_memory_and_from_a_slow_source() {
        let mut data = b"short\n".to_vec();
        data.extend(std::iter::repeat_n(b'x', 200_000));
        data.extend(b"\nlast");
        for at in [0, 6, 200_007] {
            let end = data.len() as u64;
            let fast = Window::new(&data)
                .line(at, end, usize::MAX)
                .unwrap()
                .to_vec();
            let slow = Window::new(&Slow(&data))
                .line(at, end, usize::MAX)
                .unwrap()
                .to_vec();
            assert_eq!(fast, slow);
        }
        let slow = Slow(&data);
        let mut window = Window::new(&slow);
        assert_eq!(window.line(6, 100, 50).unwrap().len(), 50);
        assert_eq!(window.line(6, 16, 50).unwrap().len(), 10);
    }
}
