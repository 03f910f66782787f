//! Un-stuffing and line ends of content that arrives after DATA.

use memchr::memchr2;

/// Reads content up to the line of one dot.
///
/// Only CRLF `.` CRLF ends it. A bare LF becomes CRLF but what follows it is no line start for
/// the dot rules; a lone CR becomes a space. Any split of the input gives the same output.
#[derive(Debug, Clone)]
pub struct Decoder {
    state: State,
    form: Form,
}

/// What the bytes mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// DATA: lines, and dots at their starts mean something.
    Stuffed,
    /// BDAT: lines, and a dot is a dot.
    Counted,
    /// BDAT under BINARYMIME: bytes.
    Binary,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// After CRLF, or at the very start.
    LineStart,
    /// After a dot at a line start.
    Dot,
    /// After a dot at a line start and a CR.
    DotCr,
    /// Inside a line.
    Middle,
    /// After a CR inside a line.
    Cr,
    /// The end was seen.
    End,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder {
    /// A decoder at the first byte of content.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            state: State::LineStart,
            form: Form::Stuffed,
        }
    }

    /// A decoder for counted content (BDAT), in which a dot is a dot.
    #[must_use]
    pub const fn counted() -> Self {
        Self {
            state: State::LineStart,
            form: Form::Counted,
        }
    }

    /// A decoder for counted content that is kept byte for byte (BINARYMIME).
    #[must_use]
    pub const fn binary() -> Self {
        Self {
            state: State::LineStart,
            form: Form::Binary,
        }
    }

    /// Ends counted content: a CR that waits for its LF is a lone one.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        if self.state == State::Cr {
            out.push(b' ');
            self.state = State::Middle;
        }
    }

    /// Whether the end of data was read.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.state == State::End
    }

    /// Appends decoded content to `out` and returns how many bytes of `input` were used: all of
    /// them, unless the end of data is among them. At most two bytes come out for one that goes in.
    pub fn decode(&mut self, input: &[u8], out: &mut Vec<u8>) -> usize {
        if self.form == Form::Binary {
            out.extend_from_slice(input);
            return input.len();
        }
        let mut at = 0;
        while let Some(&byte) = input.get(at) {
            match self.state {
                State::LineStart if byte == b'.' && self.form == Form::Stuffed => {
                    self.state = State::Dot;
                    at += 1;
                }
                State::Dot if byte == b'\r' => {
                    self.state = State::DotCr;
                    at += 1;
                }
                State::DotCr if byte == b'\n' => {
                    self.state = State::End;
                    return at + 1;
                }
                State::DotCr => {
                    out.push(b' ');
                    self.state = State::Middle;
                }
                State::Cr if byte == b'\n' => {
                    out.extend_from_slice(b"\r\n");
                    self.state = State::LineStart;
                    at += 1;
                }
                State::Cr => {
                    out.push(b' ');
                    self.state = State::Middle;
                }
                State::LineStart | State::Dot | State::Middle => at = self.lines(input, at, out),
                State::End => break,
            }
        }
        at
    }

    /// Copies from the middle of a line on, over as many lines as hold nothing special; returns
    /// where it stopped.
    fn lines(&mut self, input: &[u8], from: usize, out: &mut Vec<u8>) -> usize {
        // `start..at` is good content that is not yet copied.
        let mut start = from;
        let mut at = from;
        loop {
            let rest = input.get(at..).unwrap_or_default();
            let Some(offset) = memchr2(b'\r', b'\n', rest) else {
                out.extend_from_slice(input.get(start..).unwrap_or_default());
                self.state = State::Middle;
                return input.len();
            };
            let end = at + offset;
            if input.get(end) == Some(&b'\n') {
                out.extend_from_slice(input.get(start..end).unwrap_or_default());
                out.extend_from_slice(b"\r\n");
                at = end + 1;
                start = at;
                continue;
            }
            match (input.get(end + 1), input.get(end + 2)) {
                (Some(b'\n'), Some(byte)) if *byte != b'.' => at = end + 2,
                (Some(b'\n'), _) => {
                    out.extend_from_slice(input.get(start..end + 2).unwrap_or_default());
                    self.state = State::LineStart;
                    return end + 2;
                }
                _ => {
                    out.extend_from_slice(input.get(start..end).unwrap_or_default());
                    self.state = State::Cr;
                    return end + 1;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decode(pieces: &[&[u8]]) -> (Vec<u8>, Option<Vec<u8>>) {
        let (mut decoder, mut out) = (Decoder::new(), Vec::new());
        let mut rest = None;
        for piece in pieces {
            if let Some(rest) = &mut rest {
                Vec::extend_from_slice(rest, piece);
                continue;
            }
            let used = decoder.decode(piece, &mut out);
            if decoder.is_done() {
                rest = Some(piece[used..].to_vec());
            } else {
                assert_eq!(used, piece.len());
            }
        }
        (out, rest)
    }

    fn whole(input: &str) -> (String, Option<String>) {
        let (out, rest) = decode(&[input.as_bytes()]);
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
        (text(out), rest.map(text))
    }

    #[test]
    fn only_a_line_of_one_dot_between_crlf_ends_data() {
        for (input, content) in [
            (".\r\n", ""),
            ("a\r\n.\r\n", "a\r\n"),
            ("a\r\n..\r\n.\r\n", "a\r\n.\r\n"),
            ("a\r\n.b\r\n.\r\n", "a\r\nb\r\n"),
            ("a\n.\n\r\n.\r\n", "a\r\n.\r\n\r\n"),
            ("a\n.\r\n\r\n.\r\n", "a\r\n.\r\n\r\n"),
            ("a\n.\rb\r\n.\r\n", "a\r\n. b\r\n"),
            ("a\r.\nb\r\n.\r\n", "a .\r\nb\r\n"),
            ("a\r.\rb\r\n.\r\n", "a . b\r\n"),
            ("a\r\n.\nb\r\n.\r\n", "a\r\n\r\nb\r\n"),
            ("a\r\n.\rb\r\n.\r\n", "a\r\n b\r\n"),
            ("a\r\n\0.\r\n.\r\n", "a\r\n\0.\r\n"),
            ("a\r\r\n.\r\n", "a \r\n"),
            ("a\r\n.\r\r\n.\r\n", "a\r\n \r\n"),
        ] {
            let (out, rest) = whole(&format!("{input}NEXT"));
            assert_eq!(
                (out.as_str(), rest.as_deref()),
                (content, Some("NEXT")),
                "{input:?}"
            );
        }
    }

    #[test]
    fn counted_content_has_no_end_of_its_own() {
        let (mut decoder, mut out) = (Decoder::counted(), Vec::new());
        let input = b".\r\na\r\n.\r\n..\n.\rb\r";
        assert_eq!(decoder.decode(input, &mut out), input.len());
        decoder.finish(&mut out);
        decoder.finish(&mut out);
        assert_eq!(out, b".\r\na\r\n.\r\n..\r\n. b ");
        assert!(!decoder.is_done());
    }

    #[test]
    fn binary_content_is_kept_as_it_is() {
        let (mut decoder, mut out) = (Decoder::binary(), Vec::new());
        let input = b".\r\n.\r\n\0\n\r\r\n.\n\xff\r";
        assert_eq!(decoder.decode(input, &mut out), input.len());
        decoder.finish(&mut out);
        assert_eq!(out, input);
        assert!(!decoder.is_done());
    }

    /// The rules once more, a byte at a time.
    fn model(input: &[u8]) -> (Vec<u8>, Option<usize>) {
        let mut out = Vec::new();
        let (mut at, mut line_start) = (0, true);
        while at < input.len() {
            let rest = &input[at..];
            if line_start && rest.starts_with(b".\r\n") {
                return (out, Some(at + 3));
            }
            if line_start && rest[0] == b'.' {
                (at, line_start) = (at + 1, false);
            } else if rest.starts_with(b"\r\n") {
                out.extend_from_slice(b"\r\n");
                (at, line_start) = (at + 2, true);
            } else {
                match rest[0] {
                    b'\n' => out.extend_from_slice(b"\r\n"),
                    b'\r' => out.push(b' '),
                    other => out.push(other),
                }
                (at, line_start) = (at + 1, false);
            }
        }
        (out, None)
    }

    proptest! {
        #[test]
        fn any_split_gives_what_the_rules_give(
            input in proptest::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'.'), Just(b'a')], 0..60),
            cuts in proptest::collection::vec(0usize..61, 0..6),
        ) {
            // A final CRLF keeps the model free of the undecided last byte.
            let mut input = input;
            input.extend_from_slice(b"z\r\nz");
            let (expected, end) = model(&input);
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(input.len())).collect();
            cuts.sort_unstable();
            let mut pieces = Vec::new();
            let mut from = 0;
            for cut in cuts {
                pieces.push(&input[from..cut]);
                from = cut;
            }
            pieces.push(&input[from..]);
            let (out, rest) = decode(&pieces);
            prop_assert_eq!(out, expected);
            prop_assert_eq!(rest, end.map(|end| input[end..].to_vec()));
        }
    }
}
