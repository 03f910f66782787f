//! Identifiers of new messages (RFC 5322 §3.6.4, RFC 2046 §5.1.1), from randomness that the
//! caller supplies.

use std::fmt::Write as _;

/// A Message-ID with its brackets, from the time (Unix seconds), 16 random bytes and the name
/// of this host.
#[must_use]
pub fn message_id(now: i64, random: &[u8; 16], host: &str) -> String {
    let host: String = host
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '[' | ']' | ':'))
        .take(255)
        .collect();
    let host = if host.is_empty() { "localhost" } else { &host };
    format!("<{:x}.{}@{host}>", now.max(0), hex(random))
}

/// A MIME boundary that none of `contents` holds.
#[must_use]
pub fn boundary(random: &[u8; 16], contents: &[&[u8]]) -> String {
    let mut boundary = format!("=_{}", hex(random));
    // Another digit makes another boundary; contents cannot hold them all.
    while contents
        .iter()
        .any(|content| memchr::memmem::find(content, boundary.as_bytes()).is_some())
        && boundary.len() < 70
    {
        boundary.push('0');
    }
    boundary
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        // Writing to a string cannot fail.
        let _ = write!(out, "{byte:02x}");
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_id_is_one_token_whatever_the_host() {
        let id = message_id(255, &[1; 16], "mx.test\r\nX: <y>");
        assert_eq!(id, "<ff.01010101010101010101010101010101@mx.testX:y>");
        assert!(message_id(-1, &[0; 16], "").ends_with("@localhost>"));
    }

    #[test]
    fn a_boundary_avoids_the_contents() {
        let first = boundary(&[7; 16], &[]);
        let second = boundary(&[7; 16], &[b"x", format!("--{first}\r\n").as_bytes()]);
        assert_ne!(first, second);
        assert!(second.len() <= 70);
    }
}
