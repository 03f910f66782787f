//! Command lines: which verb, which argument (RFC 5321 §4.1.1 and §4.2.4).

use super::config::ProxyCommands;
use super::machine::Server;
use crate::reply::{EnhancedStatus, Reply};
use crate::session::{CloseBy, HeloVerb};

impl ProxyCommands {
    /// Whether the proxy hook runs on this line.
    pub(super) fn applies(&self, line: &[u8]) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::Starting(verbs) => {
                let line = String::from_utf8_lossy(line).to_lowercase();
                verbs
                    .iter()
                    .any(|verb| line.starts_with(&verb.to_lowercase()))
            }
        }
    }
}

impl Server {
    /// The commands that mean something in this session.
    fn help(&self) -> String {
        let offered = self.offered();
        let mut text = "Commands: EHLO HELO MAIL RCPT DATA".to_owned();
        for (on, verb) in [
            (offered.chunking, "BDAT"),
            (true, "RSET NOOP VRFY HELP"),
            (offered.starttls, "STARTTLS"),
            (offered.auth, "AUTH"),
            (offered.xclient, "XCLIENT"),
            (true, "QUIT"),
        ] {
            if on {
                text.push(' ');
                text.push_str(verb);
            }
        }
        text
    }

    /// Carries out one command line.
    pub(super) fn command(&mut self, line: &[u8]) {
        self.verb = "";
        let is_text = |c: char| !c.is_control() || c == '\t';
        let line = match std::str::from_utf8(line) {
            Ok(line) if line.chars().all(is_text) => line,
            _ => return self.fault(500, (5, 5, 2), "Invalid character in command"),
        };
        let (verb, arguments) = line.split_once(' ').unwrap_or((line, ""));
        let verb = known_verb(verb.as_bytes());
        self.verb = verb;
        if verb != "BDAT" {
            self.chunk_refused = false;
        }
        match verb {
            "HELO" => self.helo(HeloVerb::Helo, arguments),
            "EHLO" => self.helo(HeloVerb::Ehlo, arguments),
            "MAIL" => self.mail(arguments),
            "RCPT" => self.rcpt(arguments),
            "DATA" => self.data(arguments),
            "RSET" => self.rset(arguments),
            "NOOP" => self.reply(250, (2, 0, 0), "Ok"),
            "VRFY" => self.vrfy(arguments),
            "HELP" => {
                let text = self.help();
                let enhanced = EnhancedStatus::new(2, 0, 0);
                self.send(Reply::line(214, Some(enhanced), text), false);
            }
            "QUIT" if has_none(arguments) => self.quit(),
            "QUIT" => self.fault(501, (5, 5, 4), "QUIT takes no argument"),
            "STARTTLS" => self.starttls(arguments),
            "BDAT" => self.bdat(arguments),
            "AUTH" => self.auth(arguments),
            "XCLIENT" => self.xclient(arguments),
            "EXPN" | "ETRN" | "TURN" | "ATRN" | "SEND" | "SOML" | "SAML" | "LHLO" => {
                self.fault(502, (5, 5, 1), "Command not implemented");
            }
            _ if is_foreign(line) => {
                self.reply(500, (5, 5, 2), "This is an SMTP server");
                self.close(CloseBy::Local, None);
            }
            _ => self.fault(500, (5, 5, 2), "Command not recognized"),
        }
    }

    fn rset(&mut self, arguments: &str) {
        if !has_none(arguments) {
            return self.fault(501, (5, 5, 4), "RSET takes no argument");
        }
        self.renew_transaction();
        self.reply(250, (2, 0, 0), "Ok");
    }

    fn vrfy(&mut self, arguments: &str) {
        if has_none(arguments) {
            return self.fault(501, (5, 5, 4), "VRFY takes an address");
        }
        self.reply(
            252,
            (2, 0, 0),
            "Cannot verify, but will take a message and try to deliver it",
        );
    }
}

/// Whether an unknown line is the first of another protocol: of a browser that was led here, whose
/// next lines are under somebody else's control, or of a program that has the wrong port.
fn is_foreign(line: &str) -> bool {
    let mut words = line.split(' ');
    let first = words.next().unwrap_or_default();
    let last = words.next_back().unwrap_or_default();
    HTTP.iter().any(|method| method.eq_ignore_ascii_case(first))
        || ["HTTP/", "RTSP/", "SIP/"]
            .iter()
            .any(|protocol| last.starts_with(protocol))
        || first.starts_with("SSH-")
}

/// Methods of HTTP and the first word of HTTP/2 (RFC 9110 §9, RFC 5789, RFC 9113 §3.4).
const HTTP: &[&str] = &[
    "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "PRI",
];

/// Trailing white space is no argument (RFC 5321 §4.1.1).
pub(super) fn has_none(arguments: &str) -> bool {
    arguments.trim().is_empty()
}

/// The verb of a line as [`KNOWN`] has it; empty for one that is not known.
pub(super) fn known_verb(line: &[u8]) -> &'static str {
    let verb = line.split(|byte| *byte == b' ').next().unwrap_or_default();
    KNOWN
        .iter()
        .find(|known| known.as_bytes().eq_ignore_ascii_case(verb))
        .copied()
        .unwrap_or("")
}

/// Words that are answered as commands; in upper case they also name the state of a reply.
const KNOWN: &[&str] = &[
    "MAIL", "RCPT", "DATA", "EHLO", "QUIT", "RSET", "NOOP", "HELO", "STARTTLS", "AUTH", "VRFY",
    "HELP", "EXPN", "ETRN", "TURN", "ATRN", "SEND", "SOML", "SAML", "BDAT", "XCLIENT", "LHLO",
];
