//! Command lines: which verb, which argument (RFC 5321 §4.1.1 and §4.2.4).

use super::config::ProxyCommands;
use super::machine::Server;
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

const HELP: &str = "Commands: EHLO HELO MAIL RCPT DATA RSET NOOP VRFY HELP STARTTLS QUIT";

impl Server {
    /// Carries out one command line.
    pub(super) fn command(&mut self, line: &[u8]) {
        self.verb = "";
        // A TLS record in place of a command: nobody there will read or send another line.
        if line.first() == Some(&0x16) {
            self.reply(500, (5, 5, 2), "This port speaks SMTP in clear");
            return self.close(CloseBy::Local, None);
        }
        let is_text = |c: char| !c.is_control() || c == '\t';
        let line = match std::str::from_utf8(line) {
            Ok(line) if line.chars().all(is_text) => line,
            _ => return self.fault(500, (5, 5, 2), "Invalid character in command"),
        };
        let (verb, arguments) = line.split_once(' ').unwrap_or((line, ""));
        let verb = KNOWN
            .iter()
            .find(|known| known.eq_ignore_ascii_case(verb))
            .copied()
            .unwrap_or("");
        self.verb = verb;
        match verb {
            "HELO" => self.helo(HeloVerb::Helo, arguments),
            "EHLO" => self.helo(HeloVerb::Ehlo, arguments),
            "MAIL" => self.mail(arguments),
            "RCPT" => self.rcpt(arguments),
            "DATA" => self.data(arguments),
            "RSET" => self.rset(arguments),
            "NOOP" => self.reply(250, (2, 0, 0), "Ok"),
            "VRFY" => self.vrfy(arguments),
            "HELP" => self.reply(214, (2, 0, 0), HELP),
            "QUIT" if has_none(arguments) => self.quit(),
            "QUIT" => self.fault(501, (5, 5, 4), "QUIT takes no argument"),
            "STARTTLS" => self.starttls(arguments),
            "BDAT" => self.bdat(arguments),
            "AUTH" => self.auth(arguments),
            "EXPN" | "ETRN" | "TURN" | "XCLIENT" | "LHLO" => {
                self.fault(502, (5, 5, 1), "Command not implemented");
            }
            // A browser that was led here: what follows is a request under somebody else's control.
            "GET" | "POST" | "PUT" | "CONNECT" => {
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

/// Trailing white space is no argument (RFC 5321 §4.1.1).
pub(super) fn has_none(arguments: &str) -> bool {
    arguments.trim().is_empty()
}

/// Words that are answered as commands; in upper case they also name the state of a reply.
const KNOWN: &[&str] = &[
    "MAIL", "RCPT", "DATA", "EHLO", "QUIT", "RSET", "NOOP", "HELO", "STARTTLS", "AUTH", "VRFY",
    "HELP", "EXPN", "ETRN", "TURN", "BDAT", "XCLIENT", "LHLO", "GET", "POST", "PUT", "CONNECT",
];
