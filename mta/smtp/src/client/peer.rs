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
    /// RFC 3030 §3, where there is CHUNKING too.
    pub binarymime: bool,
    /// RFC 8689; only what was announced under TLS counts.
    pub requiretls: bool,
    /// RFC 6710.
    pub mtpriority: bool,
    /// RFC 9422: transactions of a connection.
    pub mailmax: Option<u32>,
    /// RFC 9422: recipients of a transaction.
    pub rcptmax: Option<usize>,
    /// AUTH mechanisms in upper case.
    pub auth: Vec<String>,
    /// Attributes of XCLIENT in upper case.
    pub xclient: Vec<String>,
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
                Some("BINARYMIME") => peer.binarymime = true,
                Some("REQUIRETLS") => peer.requiretls = true,
                Some("MT-PRIORITY") => peer.mtpriority = true,
                Some("LIMITS") => peer.limits(words),
                Some("AUTH") => peer.auth = words.map(str::to_owned).collect(),
                Some("XCLIENT") => peer.xclient = words.map(str::to_owned).collect(),
                _ => {}
            }
        }
        peer.binarymime &= peer.chunking;
        peer
    }

    /// The parameters of LIMITS; what is unknown or no number of its form is passed over
    /// (RFC 9422 §4).
    fn limits<'a>(&mut self, words: impl Iterator<Item = &'a str>) {
        for (name, value) in words.filter_map(|word| word.split_once('=')) {
            let digits = value.len() <= 6 && value.bytes().all(|byte| byte.is_ascii_digit());
            let Some(limit) = value.parse().ok().filter(|limit| digits && *limit > 0) else {
                continue;
            };
            match name {
                "MAILMAX" => self.mailmax = Some(limit),
                "RCPTMAX" => self.rcptmax = usize::try_from(limit).ok(),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_and_what_is_odd_is_passed_over() {
        let peer = |line: &str| Peer::from_lines(&["mx.example".to_owned(), line.to_owned()]);
        let limits = |line: &str| (peer(line).mailmax, peer(line).rcptmax);
        let good = "limits RCPTMAX=20 FOO=3 MAILMAX=5 RCPTDOMAINMAX=1";
        assert_eq!(limits(good), (Some(5), Some(20)));
        for odd in [
            "LIMITS",
            "LIMITS MAILMAX=0 RCPTMAX=",
            "LIMITS MAILMAX=1000000 RCPTMAX=+1",
        ] {
            assert_eq!(limits(odd), (None, None), "{odd}");
        }
    }
}
