//! What the server announced (RFC 5321 §4.1.1.1).

/// The extensions of the server; none after HELO.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Peer {
    /// RFC 2920.
    pub pipelining: bool,
    /// RFC 1870; the limit is 0 when none was given.
    pub size: Option<u64>,
    /// RFC 6152.
    pub eightbitmime: bool,
    /// RFC 6531.
    pub smtputf8: bool,
    /// RFC 3461.
    pub dsn: bool,
    /// RFC 3207.
    pub starttls: bool,
    /// RFC 3030.
    pub chunking: bool,
    /// AUTH mechanisms in upper case.
    pub auth: Vec<String>,
}

impl Peer {
    /// Reads the lines of an EHLO reply; the first is the name of the server.
    pub(super) fn from_lines(lines: &[String]) -> Self {
        let mut peer = Self::default();
        for line in lines.iter().skip(1) {
            let line = line.to_ascii_uppercase();
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("PIPELINING") => peer.pipelining = true,
                Some("SIZE") => {
                    peer.size = Some(words.next().and_then(|size| size.parse().ok()).unwrap_or(0));
                }
                Some("8BITMIME") => peer.eightbitmime = true,
                Some("SMTPUTF8") => peer.smtputf8 = true,
                Some("DSN") => peer.dsn = true,
                Some("STARTTLS") => peer.starttls = true,
                Some("CHUNKING") => peer.chunking = true,
                Some("AUTH") => peer.auth = words.map(str::to_owned).collect(),
                _ => {}
            }
        }
        peer
    }
}
