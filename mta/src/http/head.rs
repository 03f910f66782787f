//! The head of a request, as far as its length depends on it (RFC 9112 §6).
//!
//! Two programs that read the same bytes as different requests let a client smuggle one past the first of them. So
//! whatever leaves a choice is refused: two lengths, a length beside a transfer coding, a coding other than chunked, a line
//! that ends in a bare LF, a second Host.

/// Bytes of a head, its blank line included.
pub const MOST: usize = 16 * 1024;
/// Fields of a head.
pub const MOST_FIELDS: usize = 64;

/// Where a request ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// So many bytes after the head.
    Length(u64),
    /// By its chunks.
    Chunked,
}

/// Why a head is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A length and a transfer coding (RFC 9112 §6.3, rule 3).
    #[error("Content-Length beside Transfer-Encoding")]
    TwoFramings,
    /// Several lengths, or one that is no number.
    #[error("Content-Length is not one number")]
    Length,
    /// A coding that is not `chunked` alone.
    #[error("the only transfer coding that is understood is chunked")]
    Coding,
    /// A transfer coding in HTTP/1.0 (RFC 9112 §6.1).
    #[error("Transfer-Encoding in HTTP/1.0")]
    OldCoding,
    /// No Host, or several (RFC 9112 §3.2).
    #[error("a request has one Host field")]
    Host,
    /// A line that ends in LF without CR.
    #[error("a line ends without CR")]
    BareLf,
    /// It is no head of HTTP/1.
    #[error("this is no HTTP/1.1 request")]
    Syntax,
}

/// The length of the head at the beginning of `bytes`, its blank line included, once that is there.
/// A blank line that ends in a bare LF counts: [`read`] refuses it, and nobody waits for another.
#[must_use]
pub fn end(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    // Blank lines before a request are skipped (RFC 9112 §2.2).
    while let Some(b'\r' | b'\n') = bytes.get(at) {
        at += 1;
    }
    loop {
        at += memchr::memchr(b'\n', bytes.get(at..)?)? + 1;
        match bytes.get(at..) {
            Some([b'\n', ..]) => return Some(at + 1),
            Some([b'\r', b'\n', ..]) => return Some(at + 2),
            _ => {}
        }
    }
}

/// What a whole head says of the body behind it.
///
/// # Errors
/// [`Fault`]
pub fn read(head: &[u8]) -> Result<Framing, Fault> {
    for at in memchr::memchr_iter(b'\n', head) {
        if at == 0 || head.get(at - 1) != Some(&b'\r') {
            return Err(Fault::BareLf);
        }
    }
    let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(head) {
        Ok(httparse::Status::Complete(_)) => {}
        _ => return Err(Fault::Syntax),
    }
    let is_old = request.version == Some(0);
    let (mut length, mut chunked, mut hosts) = (None, false, 0_usize);
    for field in request.headers.iter() {
        let is = |name: &str| field.name.eq_ignore_ascii_case(name);
        if is("content-length") {
            let value = number(field.value).ok_or(Fault::Length)?;
            if length.replace(value).is_some() {
                return Err(Fault::Length);
            }
        } else if is("transfer-encoding") {
            if chunked || !field.value.trim_ascii().eq_ignore_ascii_case(b"chunked") {
                return Err(Fault::Coding);
            }
            chunked = true;
        } else if is("host") {
            hosts += 1;
        }
    }
    if hosts > 1 || (hosts == 0 && !is_old) {
        return Err(Fault::Host);
    }
    match (length, chunked) {
        (Some(_), true) => Err(Fault::TwoFramings),
        (None, true) if is_old => Err(Fault::OldCoding),
        (None, true) => Ok(Framing::Chunked),
        (length, false) => Ok(Framing::Length(length.unwrap_or(0))),
    }
}

/// Digits and nothing else: `+1`, `0x1` and `1, 1` are no lengths.
fn number(value: &[u8]) -> Option<u64> {
    let value = value.trim_ascii();
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(fields: &str) -> Result<Framing, Fault> {
        read(format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n").as_bytes())
    }

    #[test]
    fn a_head_ends_at_its_blank_line() {
        assert_eq!(end(b"GET / HTTP/1.1\r\nA: b\r\n\r\nbody\r\n\r\n"), Some(24));
        assert_eq!(end(b"\r\nGET / HTTP/1.1\r\n\r\n"), Some(20));
        assert_eq!(end(b"GET / HTTP/1.1\n\nx"), Some(16));
        assert_eq!(end(b"GET / HTTP/1.1\r\nA: b\r\n"), None);
        assert_eq!(end(b"\r\n\r\n"), None);
        assert_eq!(end(b""), None);
    }

    #[test]
    fn a_request_has_one_length() {
        assert_eq!(of(""), Ok(Framing::Length(0)));
        assert_eq!(of("content-length:  12 \r\n"), Ok(Framing::Length(12)));
        assert_eq!(of("Transfer-Encoding: Chunked\r\n"), Ok(Framing::Chunked));
        for (fields, fault) in [
            (
                "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
                Fault::TwoFramings,
            ),
            (
                "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
                Fault::TwoFramings,
            ),
            ("Content-Length: 4\r\nContent-Length: 4\r\n", Fault::Length),
            ("Content-Length: 4, 4\r\n", Fault::Length),
            ("Content-Length: +4\r\n", Fault::Length),
            ("Content-Length: -1\r\n", Fault::Length),
            ("Content-Length: 0x4\r\n", Fault::Length),
            ("Content-Length:\r\n", Fault::Length),
            ("Content-Length: 18446744073709551616\r\n", Fault::Length),
            ("Transfer-Encoding: gzip, chunked\r\n", Fault::Coding),
            ("Transfer-Encoding: chunked, chunked\r\n", Fault::Coding),
            ("Transfer-Encoding: xchunked\r\n", Fault::Coding),
            (
                "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
                Fault::Coding,
            ),
            ("Transfer-Encoding : chunked\r\n", Fault::Syntax),
            ("Host: b\r\n", Fault::Host),
            ("A: b\nContent-Length: 4\r\n", Fault::BareLf),
            (" Content-Length: 4\r\n", Fault::Syntax),
            ("A: b\r\n Transfer-Encoding: chunked\r\n", Fault::Syntax),
            ("A: \0\r\n", Fault::Syntax),
        ] {
            assert_eq!(of(fields), Err(fault), "{fields:?}");
        }
        assert_eq!(read(b"GET / HTTP/1.1\r\n\r\n"), Err(Fault::Host));
        assert_eq!(read(b"GET / HTTP/1.0\r\n\r\n"), Ok(Framing::Length(0)));
        assert_eq!(
            read(b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"),
            Err(Fault::OldCoding)
        );
        assert_eq!(read(b"EHLO a\r\n\r\n"), Err(Fault::Syntax));
        let many = "A: b\r\n".repeat(MOST_FIELDS - 1);
        assert_eq!(of(&many), Ok(Framing::Length(0)));
        assert_eq!(of(&format!("{many}A: b\r\n")), Err(Fault::Syntax));
    }
}
