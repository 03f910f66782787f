//! Canonicalisation: the form of header fields and bodies that is hashed (RFC 6376 §3.4).
//!
//! Lines end in CRLF on the wire. A message in memory may end its lines in LF alone: such a line end counts as CRLF, since it
//! becomes one when the message is sent. A CR that no LF follows is a byte like others.

/// How much a message may change on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Canon {
    /// Nearly nothing.
    Simple,
    /// White space, folding and the case of names.
    #[default]
    Relaxed,
}

impl Canon {
    /// The name in a `c=` tag.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Canon::Simple => "simple",
            Canon::Relaxed => "relaxed",
        }
    }

    /// The form with this name, in any case.
    #[must_use]
    pub fn from_name(name: &[u8]) -> Option<Canon> {
        if name.eq_ignore_ascii_case(b"simple") {
            Some(Canon::Simple)
        } else if name.eq_ignore_ascii_case(b"relaxed") {
            Some(Canon::Relaxed)
        } else {
            None
        }
    }

    /// Appends the canonical form of a header field; `raw` is the whole field, with or without its last line end.
    pub fn field(self, raw: &[u8], out: &mut Vec<u8>) {
        match self {
            Canon::Simple => {
                for line in raw.split_inclusive(|&byte| byte == b'\n') {
                    out.extend_from_slice(without_end(line));
                    out.extend_from_slice(b"\r\n");
                }
            }
            Canon::Relaxed => {
                let colon = memchr::memchr(b':', raw).unwrap_or(raw.len());
                let name = raw.get(..colon).unwrap_or_default().trim_ascii();
                out.extend(name.iter().map(u8::to_ascii_lowercase));
                out.push(b':');
                let start = out.len();
                let mut space = false;
                let value = raw.get(colon + 1..).unwrap_or_default();
                for line in value.split_inclusive(|&byte| byte == b'\n') {
                    for &byte in without_end(line) {
                        if matches!(byte, b' ' | b'\t') {
                            space = true;
                            continue;
                        }
                        if space && out.len() > start {
                            out.push(b' ');
                        }
                        space = false;
                        out.push(byte);
                    }
                }
                out.extend_from_slice(b"\r\n");
            }
        }
    }
}

/// A line without the LF or CRLF at its end.
fn without_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Output is handed on in pieces of about this size.
const PIECE: usize = 8 * 1024;

/// The canonical form of a body, made piece by piece.
pub struct BodyCanon {
    canon: Canon,
    out: Vec<u8>,
    /// Line ends since the last byte of content: those at the end of the body do not count.
    ends: u64,
    /// White space was seen that may be at the end of the line.
    space: bool,
    /// The last piece ended in CR.
    cr: bool,
    content: bool,
}

impl BodyCanon {
    /// A body of which nothing was seen yet.
    #[must_use]
    pub fn new(canon: Canon) -> Self {
        Self {
            canon,
            out: Vec::with_capacity(PIECE + PIECE / 4),
            ends: 0,
            space: false,
            cr: false,
            content: false,
        }
    }

    /// Takes the next piece of the body and gives what is ready to `sink`.
    pub fn feed(&mut self, piece: &[u8], sink: &mut impl FnMut(&[u8])) {
        let mut rest = piece;
        while let Some(&byte) = rest.first() {
            let mut used = 1;
            match byte {
                b'\n' => {
                    self.cr = false;
                    self.space = false;
                    self.ends = self.ends.saturating_add(1);
                }
                b'\r' => {
                    self.lone_cr(sink);
                    self.cr = true;
                }
                b' ' | b'\t' if self.canon == Canon::Relaxed => {
                    self.lone_cr(sink);
                    self.space = true;
                }
                _ => {
                    self.lone_cr(sink);
                    used = self.run(rest);
                    self.put(rest.get(..used).unwrap_or_default(), sink);
                }
            }
            rest = rest.get(used..).unwrap_or_default();
        }
    }

    /// How many bytes from here on are neither line ends nor white space.
    fn run(&self, rest: &[u8]) -> usize {
        match self.canon {
            Canon::Simple => memchr::memchr2(b'\r', b'\n', rest),
            Canon::Relaxed => rest
                .iter()
                .position(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n')),
        }
        .unwrap_or(rest.len())
        .max(1)
    }

    /// A CR that turned out to end no line.
    fn lone_cr(&mut self, sink: &mut impl FnMut(&[u8])) {
        if std::mem::take(&mut self.cr) {
            self.put(b"\r", sink);
        }
    }

    fn put(&mut self, content: &[u8], sink: &mut impl FnMut(&[u8])) {
        self.content = true;
        while self.ends > 0 {
            self.ends -= 1;
            self.out.extend_from_slice(b"\r\n");
            self.flush(PIECE, sink);
        }
        if std::mem::take(&mut self.space) {
            self.out.push(b' ');
        }
        self.out.extend_from_slice(content);
        self.flush(PIECE, sink);
    }

    fn flush(&mut self, above: usize, sink: &mut impl FnMut(&[u8])) {
        if self.out.len() > above {
            sink(&self.out);
            self.out.clear();
        }
    }

    /// The end of the body.
    pub fn finish(mut self, sink: &mut impl FnMut(&[u8])) {
        self.lone_cr(sink);
        // An empty body is a line end to the simple form and nothing to the relaxed one.
        if self.content || self.canon == Canon::Simple {
            self.out.extend_from_slice(b"\r\n");
        }
        self.flush(0, sink);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn body(canon: Canon, pieces: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut sink = |piece: &[u8]| out.extend_from_slice(piece);
        let mut body = BodyCanon::new(canon);
        for piece in pieces {
            body.feed(piece, &mut sink);
        }
        body.finish(&mut sink);
        out
    }

    fn field(canon: Canon, raw: &str) -> String {
        let mut out = Vec::new();
        canon.field(raw.as_bytes(), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_examples_of_the_rfc_come_out() {
        // RFC 6376 §3.4.5.
        assert_eq!(field(Canon::Relaxed, "A: X\r\n"), "a:X\r\n");
        assert_eq!(field(Canon::Relaxed, "B : Y\t\r\n\tZ  \r\n"), "b:Y Z\r\n");
        assert_eq!(
            field(Canon::Simple, "B : Y\t\r\n\tZ  \r\n"),
            "B : Y\t\r\n\tZ  \r\n"
        );
        let text: &[u8] = b" C \r\nD \t E\r\n\r\n\r\n";
        assert_eq!(body(Canon::Relaxed, &[text]), b" C\r\nD E\r\n");
        assert_eq!(body(Canon::Simple, &[text]), b" C \r\nD \t E\r\n");
    }

    #[test]
    fn an_empty_body_is_a_line_end_or_nothing() {
        for text in [&b""[..], b"\r\n", b"\r\n\r\n", b"\n\n"] {
            assert_eq!(body(Canon::Simple, &[text]), b"\r\n");
            assert_eq!(body(Canon::Relaxed, &[text]), b"");
        }
        assert_eq!(body(Canon::Relaxed, &[b" \t\r\n"]), b"");
        assert_eq!(body(Canon::Simple, &[b" \t\r\n"]), b" \t\r\n");
    }

    #[test]
    fn a_missing_last_line_end_is_added_and_bare_lf_is_crlf() {
        for canon in [Canon::Simple, Canon::Relaxed] {
            assert_eq!(body(canon, &[b"a\n\nb"]), b"a\r\n\r\nb\r\n");
            assert_eq!(body(canon, &[b"a\rb\r"]), b"a\rb\r\r\n");
        }
    }

    /// The rules of §3.4.3 and §3.4.4 said another way, over the whole body.
    fn model(canon: Canon, text: &[u8]) -> Vec<u8> {
        let mut lines: Vec<Vec<u8>> = text
            .split(|&byte| byte == b'\n')
            .map(|line| line.strip_suffix(b"\r").unwrap_or(line).to_vec())
            .collect();
        // What follows the last LF is no line end: its CR stays.
        if text.ends_with(b"\r")
            && let Some(last) = lines.last_mut()
        {
            last.push(b'\r');
        }
        if canon == Canon::Relaxed {
            for line in &mut lines {
                let mut relaxed: Vec<u8> = Vec::new();
                for &byte in line.iter() {
                    let white = matches!(byte, b' ' | b'\t');
                    if !white {
                        relaxed.push(byte);
                    } else if relaxed.last() != Some(&b' ') {
                        relaxed.push(b' ');
                    }
                }
                if relaxed.last() == Some(&b' ') {
                    relaxed.pop();
                }
                *line = relaxed;
            }
        }
        while lines.last().is_some_and(Vec::is_empty) {
            lines.pop();
        }
        if lines.is_empty() && canon == Canon::Relaxed {
            return Vec::new();
        }
        let mut out = lines.join(&b"\r\n"[..]);
        out.extend_from_slice(b"\r\n");
        out
    }

    proptest! {
        #[test]
        fn pieces_of_any_size_give_what_the_whole_gives(
            text in proptest::collection::vec(prop_oneof![
                Just(b'a'), Just(b' '), Just(b'\t'), Just(b'\r'), Just(b'\n'), Just(b'b')
            ], 0..60),
            cut in 0usize..60,
        ) {
            let cut = cut.min(text.len());
            let (first, second) = text.split_at(cut);
            for canon in [Canon::Simple, Canon::Relaxed] {
                let whole = body(canon, &[&text]);
                prop_assert_eq!(&whole, &body(canon, &[first, second]));
                prop_assert_eq!(&whole, &model(canon, &text));
            }
        }
    }
}
