//! Line ends and dot-stuffing of content that leaves after DATA, line ends of what leaves in chunks.

use memchr::memchr2;

/// Writes content so that it cannot be mistaken for its own end.
///
/// CRLF stays; a lone LF becomes CRLF, a lone CR a space. After DATA a dot at the start of a line is doubled; chunks have
/// their size, and their dots are left alone (RFC 3030 §2).
#[derive(Debug, Clone)]
pub struct Encoder {
    /// Dots mean something.
    dots: bool,
    line_start: bool,
    after_cr: bool,
}

impl Default for Encoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Encoder {
    /// An encoder at the first byte of content that leaves after DATA.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            dots: true,
            line_start: true,
            after_cr: false,
        }
    }

    /// An encoder at the first byte of content that leaves in chunks.
    #[must_use]
    pub const fn lines() -> Self {
        Self {
            dots: false,
            ..Self::new()
        }
    }

    /// Appends the wire form of the next piece of content. A CR at its end waits for the next.
    pub fn encode(&mut self, input: &[u8], out: &mut Vec<u8>) {
        let mut input = input;
        if self.after_cr && !input.is_empty() {
            self.after_cr = false;
            if let Some(rest) = input.strip_prefix(b"\n") {
                out.extend_from_slice(b"\r\n");
                self.line_start = true;
                input = rest;
            } else {
                out.push(b' ');
                self.line_start = false;
            }
        }
        // `start..at` is good content that is not yet copied.
        let (mut start, mut at) = (0, 0);
        loop {
            if self.dots && self.line_start && input.get(at) == Some(&b'.') {
                out.extend_from_slice(input.get(start..at).unwrap_or_default());
                out.push(b'.');
                start = at;
            }
            let rest = input.get(at..).unwrap_or_default();
            if rest.is_empty() {
                break;
            }
            let Some(offset) = memchr2(b'\r', b'\n', rest) else {
                self.line_start = false;
                break;
            };
            let end = at + offset;
            if rest
                .get(offset..)
                .is_some_and(|tail| tail.starts_with(b"\r\n"))
            {
                at = end + 2;
                self.line_start = true;
                continue;
            }
            out.extend_from_slice(input.get(start..end).unwrap_or_default());
            at = end + 1;
            start = at;
            if input.get(end) == Some(&b'\n') {
                out.extend_from_slice(b"\r\n");
                self.line_start = true;
            } else if at == input.len() {
                self.after_cr = true;
            } else {
                out.push(b' ');
                self.line_start = false;
            }
        }
        out.extend_from_slice(input.get(start..).unwrap_or_default());
    }

    /// Ends the content: closes an open line, and after DATA appends the line of one dot.
    pub fn finish(self, out: &mut Vec<u8>) {
        if self.after_cr {
            out.push(b' ');
        }
        if self.after_cr || !self.line_start {
            out.extend_from_slice(b"\r\n");
        }
        if self.dots {
            out.extend_from_slice(b".\r\n");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Decoder;
    use super::*;
    use proptest::prelude::*;

    fn encode(pieces: &[&[u8]]) -> Vec<u8> {
        let (mut encoder, mut out) = (Encoder::new(), Vec::new());
        for piece in pieces {
            encoder.encode(piece, &mut out);
        }
        encoder.finish(&mut out);
        out
    }

    #[test]
    fn content_is_stuffed_and_ended() {
        for (content, wire) in [
            ("", ".\r\n"),
            ("a\r\n", "a\r\n.\r\n"),
            ("a", "a\r\n.\r\n"),
            (".\r\n", "..\r\n.\r\n"),
            ("a\r\n.", "a\r\n..\r\n.\r\n"),
            ("a\n.\nb", "a\r\n..\r\nb\r\n.\r\n"),
            ("a\n.\rb", "a\r\n.. b\r\n.\r\n"),
            ("a\r.\r\n", "a .\r\n.\r\n"),
            ("a\r\n.\r\r\n", "a\r\n.. \r\n.\r\n"),
            ("a\r", "a \r\n.\r\n"),
            ("a\r\n..\r\n", "a\r\n...\r\n.\r\n"),
        ] {
            let out = encode(&[content.as_bytes()]);
            assert_eq!(String::from_utf8(out).expect("UTF-8"), wire, "{content:?}");
        }
    }

    #[test]
    fn chunks_have_whole_lines_and_their_own_dots() {
        for (content, wire) in [
            ("", ""),
            (".\r\n..\r\n", ".\r\n..\r\n"),
            ("a\n.\rb", "a\r\n. b\r\n"),
            ("a\r", "a \r\n"),
        ] {
            let (mut encoder, mut out) = (Encoder::lines(), Vec::new());
            encoder.encode(content.as_bytes(), &mut out);
            encoder.finish(&mut out);
            assert_eq!(String::from_utf8(out).expect("UTF-8"), wire, "{content:?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_on_the_wire_is_ambiguous_and_all_of_it_comes_back(
            pieces in proptest::collection::vec(
                proptest::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'.'), Just(b'a'), Just(0u8)], 0..20), 0..5),
        ) {
            let slices: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
            let wire = encode(&slices);
            prop_assert_eq!(&wire, &encode(&[&pieces.concat()]));
            let crlf = wire.windows(2).filter(|pair| pair == b"\r\n").count();
            prop_assert_eq!(wire.iter().filter(|byte| **byte == b'\r').count(), crlf);
            prop_assert_eq!(wire.iter().filter(|byte| **byte == b'\n').count(), crlf);

            let (mut decoder, mut content) = (Decoder::new(), Vec::new());
            prop_assert_eq!(decoder.decode(&wire, &mut content), wire.len());
            prop_assert!(decoder.is_done());
            // Content in its normal form is carried unchanged.
            prop_assert_eq!(encode(&[&content]), wire);
        }
    }
}
