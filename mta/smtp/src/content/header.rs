//! Watches the header of a message that streams by: sizes and hops.

use memchr::memchr;

/// Limits of a header, in bytes with line ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeaderLimits {
    /// One field with its continuation lines.
    pub field: usize,
    /// All fields together.
    pub total: usize,
}

/// Counts fields and `Received` fields of normalised content until the header ends.
///
/// The header ends at the empty line or at the first line that is no field.
#[derive(Debug, Clone)]
pub struct HeaderScan {
    limits: HeaderLimits,
    state: State,
    total: usize,
    field: usize,
    hops: u32,
    too_big: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    LineStart,
    /// In a field name: its length and how much of `received` it has matched.
    Name {
        length: usize,
        is_received: bool,
    },
    /// White space between name and colon.
    BeforeColon {
        is_received: bool,
    },
    Value,
    Done,
}

const RECEIVED: &[u8] = b"received";
/// A name longer than a line may be is no name: the text is a body without header.
const MAX_NAME: usize = 998;

impl HeaderScan {
    /// A scan at the first byte of content.
    #[must_use]
    pub const fn new(limits: HeaderLimits) -> Self {
        Self {
            limits,
            state: State::LineStart,
            total: 0,
            field: 0,
            hops: 0,
            too_big: false,
        }
    }

    /// `Received` fields seen so far.
    #[must_use]
    pub fn hops(&self) -> u32 {
        self.hops
    }

    /// Whether a limit was passed.
    #[must_use]
    pub fn too_big(&self) -> bool {
        self.too_big
    }

    /// Looks at the next piece of content.
    pub fn feed(&mut self, content: &[u8]) {
        let mut rest = content;
        while let (Some(&byte), false) = (rest.first(), self.state == State::Done) {
            let mut used = 1;
            match self.state {
                State::LineStart => self.line_start(byte),
                State::Name {
                    length,
                    is_received,
                } => self.name(byte, length, is_received),
                State::BeforeColon { is_received } => match byte {
                    b' ' | b'\t' => {}
                    b':' => self.value(is_received),
                    _ => self.state = State::Done,
                },
                State::Value => match memchr(b'\n', rest) {
                    Some(end) => {
                        used = end + 1;
                        self.state = State::LineStart;
                    }
                    None => used = rest.len(),
                },
                State::Done => {}
            }
            if self.state != State::Done {
                self.count(used);
            }
            rest = rest.get(used..).unwrap_or_default();
        }
    }

    fn line_start(&mut self, byte: u8) {
        match byte {
            // A continuation of the field before; without one this is no header.
            b' ' | b'\t' if self.total > 0 => self.state = State::Value,
            b'!'..=b'9' | b';'..=b'~' => {
                self.field = 0;
                self.name(byte, 0, true);
            }
            _ => self.state = State::Done,
        }
    }

    fn name(&mut self, byte: u8, length: usize, is_received: bool) {
        self.state = match byte {
            b':' => {
                let is_received = is_received && length == RECEIVED.len();
                return self.value(is_received);
            }
            b' ' | b'\t' => State::BeforeColon {
                is_received: is_received && length == RECEIVED.len(),
            },
            b'!'..=b'~' if length < MAX_NAME => State::Name {
                length: length + 1,
                is_received: is_received
                    && RECEIVED
                        .get(length)
                        .is_some_and(|known| byte.eq_ignore_ascii_case(known)),
            },
            _ => State::Done,
        };
    }

    fn value(&mut self, is_received: bool) {
        self.hops = self.hops.saturating_add(u32::from(is_received));
        self.state = State::Value;
    }

    fn count(&mut self, bytes: usize) {
        self.total = self.total.saturating_add(bytes);
        self.field = self.field.saturating_add(bytes);
        if self.total > self.limits.total || self.field > self.limits.field {
            self.too_big = true;
            self.state = State::Done;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HeaderLimits = HeaderLimits {
        field: 40,
        total: 100,
    };

    fn scan(content: &str) -> HeaderScan {
        let mut scan = HeaderScan::new(LIMITS);
        scan.feed(content.as_bytes());
        let mut bytewise = HeaderScan::new(LIMITS);
        for byte in content.as_bytes() {
            bytewise.feed(&[*byte]);
        }
        assert_eq!(
            (scan.hops(), scan.too_big()),
            (bytewise.hops(), bytewise.too_big()),
            "any split counts alike: {content:?}"
        );
        scan
    }

    #[test]
    fn received_fields_are_counted_in_the_header_only() {
        assert_eq!(
            scan("Received: a\r\nRECEIVED : b\r\n c\r\n\r\nReceived: d\r\n").hops(),
            2
        );
        assert_eq!(
            scan("X-Received: a\r\nReceivedX: b\r\nRecei: c\r\n").hops(),
            0
        );
        assert_eq!(scan("no header\r\nReceived: a\r\n").hops(), 0);
        assert_eq!(scan("\r\nReceived: a\r\n").hops(), 0);
    }

    #[test]
    fn a_field_is_limited_with_its_continuation_lines() {
        let fits = format!("A: {}\r\n {}\r\n", "x".repeat(15), "x".repeat(17));
        assert_eq!(fits.len(), 40);
        assert!(!scan(&fits).too_big());
        assert!(scan(&format!("A: {}\r\n {}\r\n", "x".repeat(15), "x".repeat(18))).too_big());
    }

    #[test]
    fn the_whole_header_is_limited() {
        let line = "A: 345678\r\n";
        assert!(!scan(&line.repeat(9)).too_big());
        assert!(scan(&line.repeat(10)).too_big());
        assert!(!scan(&format!("{line}\r\n{}", "x".repeat(500))).too_big());
    }

    #[test]
    fn a_body_without_header_has_no_limit() {
        let mut scan = HeaderScan::new(HeaderLimits {
            field: 2000,
            total: 2000,
        });
        scan.feed("x".repeat(100_000).as_bytes());
        assert!(!scan.too_big());
    }
}
