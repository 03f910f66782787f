//! Content-Transfer-Encoding: base64 and quoted-printable (RFC 2045 §6).

/// A transfer encoding by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransferEncoding {
    /// `7bit`, `8bit`, `binary`, or no field: the bytes are the content.
    Identity,
    /// `quoted-printable`.
    QuotedPrintable,
    /// `base64`.
    Base64,
    /// A name that this crate cannot decode, as `x-uuencode`.
    Unknown,
}

impl TransferEncoding {
    /// Finds the encoding that a field's value names; comments, quotes and what follows a `;` or `,` are tolerated.
    #[must_use]
    pub fn from_value(value: &[u8]) -> Self {
        let mut depth = 0_usize;
        let mut name = Vec::new();
        for &byte in value {
            match byte {
                b'(' => depth = depth.saturating_add(1),
                b')' => depth = depth.saturating_sub(1),
                _ if depth > 0 => {}
                b' ' | b'\t' | b';' | b',' if name.is_empty() => {}
                b' ' | b'\t' | b';' | b',' => break,
                b'"' | b'\'' => {}
                _ => name.push(byte.to_ascii_lowercase()),
            }
        }
        match name.as_slice() {
            b"" | b"7bit" | b"8bit" | b"binary" | b"7-bit" | b"8-bit" => Self::Identity,
            b"quoted-printable" => Self::QuotedPrintable,
            b"base64" => Self::Base64,
            _ => Self::Unknown,
        }
    }

    /// Undoes the encoding. Broken input gives what can be read of it.
    #[must_use]
    pub fn decode(self, body: &[u8]) -> Vec<u8> {
        match self {
            Self::Identity | Self::Unknown => body.to_vec(),
            Self::QuotedPrintable => quoted_printable_decode(body),
            Self::Base64 => base64_decode(body),
        }
    }
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Value of each byte in base64; 64 for bytes that have none.
const VALUES: [u8; 256] = {
    let mut table = [64_u8; 256];
    let mut i = 0;
    while i < 64 {
        table[ALPHABET[i] as usize] = i as u8;
        i += 1;
    }
    table
};

fn sextet(byte: u8) -> Option<u32> {
    VALUES
        .get(usize::from(byte))
        .filter(|&&v| v < 64)
        .map(|&v| u32::from(v))
}

/// Appends `bytes` in base64 with padding, on one line.
pub(crate) fn base64_encode(bytes: &[u8], out: &mut String) {
    for chunk in bytes.chunks(3) {
        let group = chunk
            .iter()
            .fold(0_u32, |group, &byte| group << 8 | u32::from(byte))
            << (8 * (3 - chunk.len()));
        for i in 0..4 {
            let index = (group >> (18 - 6 * i) & 63) as usize;
            match ALPHABET.get(index) {
                Some(&c) if i <= chunk.len() => out.push(char::from(c)),
                _ => out.push('='),
            }
        }
    }
}

/// Decodes base64 of a body: bytes outside the alphabet are skipped (RFC 2045 §6.8), a truncated end gives its whole bytes.
///
/// Padding ends a group. It ends the data too if what follows is no base64 alone, such as the footer of a mailing list; else
/// another piece follows, as some programs write them one after the other.
#[must_use]
pub fn base64_decode(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len() / 4 * 3);
    let mut group = 0_u32;
    let mut count = 0;
    // Behind the last byte that is neither base64 nor white space; looked for when it is asked for.
    let mut noise = None;
    for (at, &byte) in body.iter().enumerate() {
        if let Some(value) = sextet(byte) {
            group = group << 6 | value;
            count += 1;
            if count == 4 {
                out.extend_from_slice(group.to_be_bytes().get(1..).unwrap_or_default());
                (group, count) = (0, 0);
            }
        } else if byte == b'=' && count > 0 {
            flush(group, count, &mut out);
            (group, count) = (0, 0);
            if at < *noise.get_or_insert_with(|| end_of_noise(body)) {
                return out;
            }
        }
    }
    // What noise follows is damaged, not truncated.
    if count > 0 && end_of_noise(body) < end_of_digits(body) {
        flush(group, count, &mut out);
    }
    out
}

fn end_of_noise(body: &[u8]) -> usize {
    let is_noise = |&b: &u8| sextet(b).is_none() && b != b'=' && !b.is_ascii_whitespace();
    body.iter().rposition(is_noise).map_or(0, |at| at + 1)
}

fn end_of_digits(body: &[u8]) -> usize {
    let last = body.iter().rposition(|&b| sextet(b).is_some());
    last.map_or(0, |at| at + 1)
}

/// Appends the whole bytes of an unfinished group of `count` sextets.
fn flush(group: u32, count: u32, out: &mut Vec<u8>) {
    let bytes = (group << (24 - 6 * count)).to_be_bytes();
    let whole = match count {
        2 => 1,
        3 => 2,
        _ => 0,
    };
    out.extend_from_slice(bytes.get(1..=whole).unwrap_or_default());
}

/// Decodes the text of a `B` word: white space is skipped, padding may be missing, anything
/// else outside the alphabet is an error.
pub(crate) fn base64_decode_strict(text: &[u8]) -> Option<Vec<u8>> {
    let digits = text.iter().filter(|b| !b.is_ascii_whitespace());
    let mut count = 0_usize;
    let mut padding = 0_usize;
    for &byte in digits {
        match sextet(byte) {
            Some(_) if padding == 0 => count += 1,
            None if byte == b'=' => padding += 1,
            _ => return None,
        }
    }
    (count % 4 != 1 && padding <= 2).then(|| base64_decode(text))
}

/// Decodes quoted-printable: soft line breaks and white space at line ends are dropped, a
/// malformed `=` stays as it is (RFC 2045 §6.7).
#[must_use]
pub fn quoted_printable_decode(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len());
    for line in body.split_inclusive(|&b| b == b'\n') {
        let content = line.trim_ascii_end();
        let end = if line.ends_with(b"\r\n") {
            b"\r\n".as_slice()
        } else if line.ends_with(b"\n") {
            b"\n".as_slice()
        } else {
            b"".as_slice()
        };
        // Other control white space (form feed, lone CR) is content.
        let tail = line
            .get(content.len()..line.len() - end.len())
            .unwrap_or_default();
        let keep = tail
            .iter()
            .rposition(|b| !matches!(b, b' ' | b'\t'))
            .map_or(0, |at| at + 1);
        let soft = keep == 0 && content.ends_with(b"=");
        let content = if soft {
            content.get(..content.len() - 1).unwrap_or_default()
        } else {
            line.get(..content.len() + keep).unwrap_or_default()
        };
        quoted_line(content, &mut out);
        if !soft {
            out.extend_from_slice(end);
        }
    }
    out
}

fn quoted_line(line: &[u8], out: &mut Vec<u8>) {
    let mut rest = line;
    while let Some(at) = memchr::memchr(b'=', rest) {
        out.extend_from_slice(rest.get(..at).unwrap_or_default());
        let digits = rest.get(at + 1..at + 3).unwrap_or_default();
        let value = match *digits {
            [high, low] => char::from(high)
                .to_digit(16)
                .zip(char::from(low).to_digit(16))
                .and_then(|(high, low)| u8::try_from(high * 16 + low).ok()),
            _ => None,
        };
        let used = match value {
            Some(byte) => {
                out.push(byte);
                3
            }
            None => {
                out.push(b'=');
                1
            }
        };
        rest = rest.get(at + used..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn base64_tolerates_noise_and_truncation() {
        assert_eq!(base64_decode(b"aGVs\r\nbG8=\r\n"), b"hello");
        assert_eq!(base64_decode(b"aGVs*bG8"), b"hello");
        assert_eq!(base64_decode(b"YQ==YQ=="), b"aa");
        assert_eq!(base64_decode(b"Y"), b"");
        assert_eq!(base64_decode(b"aGVsbG8\r\n"), b"hello");
        assert_eq!(base64_decode(b"aGVsbG8=\n\n__\nThe list: a@b\n"), b"hello");
        assert_eq!(base64_decode(b"aGVs\nXX--bound--\n"), b"hel]v\xe8");
        assert_eq!(base64_decode_strict(b"Y"), None);
        assert_eq!(base64_decode_strict(b"YQ"), Some(b"a".to_vec()));
        assert_eq!(base64_decode_strict(b"Y*Q="), None);
    }

    #[test]
    fn quoted_printable_follows_rfc_2045() {
        for (from, to) in [
            ("a=3Db\r\n", "a=b\r\n"),
            ("soft=\r\nbreak", "softbreak"),
            ("soft=  \nbreak", "softbreak"),
            ("trailing  \r\nx", "trailing\r\nx"),
            ("bad =ZZ =", "bad =ZZ "),
            ("=c3=A5", "å"),
            ("\r\n\r\n", "\r\n\r\n"),
        ] {
            let decoded = quoted_printable_decode(from.as_bytes());
            assert_eq!(String::from_utf8_lossy(&decoded), to, "{from:?}");
        }
    }

    #[test]
    fn encodings_are_named_with_some_tolerance() {
        assert_eq!(
            TransferEncoding::from_value(b" Base64 ; x"),
            TransferEncoding::Base64
        );
        assert_eq!(
            TransferEncoding::from_value(b""),
            TransferEncoding::Identity
        );
        assert_eq!(
            TransferEncoding::from_value(b"(the usual) \"BASE64\", x"),
            TransferEncoding::Base64
        );
        assert_eq!(
            TransferEncoding::from_value(b"base64 charset=x"),
            TransferEncoding::Base64
        );
        assert_eq!(
            TransferEncoding::from_value(b"x-uue"),
            TransferEncoding::Unknown
        );
    }

    proptest! {
        #[test]
        fn base64_round_trips(data in proptest::collection::vec(any::<u8>(), 0..100)) {
            let mut text = String::new();
            base64_encode(&data, &mut text);
            prop_assert_eq!(text.len() % 4, 0);
            prop_assert_eq!(base64_decode(text.as_bytes()), data.clone());
            prop_assert_eq!(base64_decode_strict(text.as_bytes()), Some(data));
        }

        #[test]
        fn decoders_never_panic(data in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = base64_decode(&data);
            let _ = quoted_printable_decode(&data);
        }
    }
}
