//! The result of one delivery attempt, as the client reports it and a script sees it.
//!
//! `$arguments["attempt"]` of postdelivery is these types with their fields' names. Exactly one of
//! a [`Reply`] and an [`AttemptError`] ends an attempt.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::text::Text;

/// An enhanced status code (RFC 3463).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EnhancedStatus {
    /// 2, 4 or 5.
    pub class: u16,
    /// What it is about.
    pub subject: u16,
    /// The condition.
    pub detail: u16,
}

impl EnhancedStatus {
    /// Makes a status code.
    pub const fn new(class: u16, subject: u16, detail: u16) -> Self {
        EnhancedStatus {
            class,
            subject,
            detail,
        }
    }
}

impl fmt::Display for EnhancedStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.class, self.subject, self.detail)
    }
}

/// What the client was waiting for: the values of `attempt.result.state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are SMTP's")]
pub enum SmtpState {
    Banner,
    Helo,
    Ehlo,
    Lhlo,
    StartTls,
    AuthCramMd5,
    AuthPlain,
    AuthLogin,
    AuthLoginUser,
    Auth,
    Xclient,
    Mail,
    Rcpt,
    Data,
    Bdat,
    Eod,
    Rset,
    Noop,
    Quit,
}

impl SmtpState {
    /// Every state, in the order of a session.
    pub const ALL: [SmtpState; 19] = [
        SmtpState::Banner,
        SmtpState::Helo,
        SmtpState::Ehlo,
        SmtpState::Lhlo,
        SmtpState::StartTls,
        SmtpState::AuthCramMd5,
        SmtpState::AuthPlain,
        SmtpState::AuthLogin,
        SmtpState::AuthLoginUser,
        SmtpState::Auth,
        SmtpState::Xclient,
        SmtpState::Mail,
        SmtpState::Rcpt,
        SmtpState::Data,
        SmtpState::Bdat,
        SmtpState::Eod,
        SmtpState::Rset,
        SmtpState::Noop,
        SmtpState::Quit,
    ];

    /// The name that scripts see.
    pub fn as_str(self) -> &'static str {
        match self {
            SmtpState::Banner => "BANNER",
            SmtpState::Helo => "HELO",
            SmtpState::Ehlo => "EHLO",
            SmtpState::Lhlo => "LHLO",
            SmtpState::StartTls => "STARTTLS",
            SmtpState::AuthCramMd5 => "AUTH-CRAM-MD5",
            SmtpState::AuthPlain => "AUTH-PLAIN",
            SmtpState::AuthLogin => "AUTH-LOGIN",
            SmtpState::AuthLoginUser => "AUTH-LOGIN-USER",
            SmtpState::Auth => "AUTH",
            SmtpState::Xclient => "XCLIENT",
            SmtpState::Mail => "MAIL",
            SmtpState::Rcpt => "RCPT",
            SmtpState::Data => "DATA",
            SmtpState::Bdat => "BDAT",
            SmtpState::Eod => "EOD",
            SmtpState::Rset => "RSET",
            SmtpState::Noop => "NOOP",
            SmtpState::Quit => "QUIT",
        }
    }

    /// The state with that name; `CONNECT` is another word for `BANNER`.
    pub fn from_name(name: &str) -> Option<Self> {
        if name == "CONNECT" {
            return Some(SmtpState::Banner);
        }
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }

    /// Whether the session is still being set up, so that another host may serve as well.
    pub fn is_setup(self) -> bool {
        !matches!(
            self,
            SmtpState::Mail
                | SmtpState::Rcpt
                | SmtpState::Data
                | SmtpState::Bdat
                | SmtpState::Eod
                | SmtpState::Quit
        )
    }
}

/// A reply that ended an attempt: `attempt.result`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The reply code, 200 to 599.
    pub code: u16,
    /// The enhanced status code of the first line, if it had one.
    pub enhanced: Option<EnhancedStatus>,
    /// The lines' texts without codes.
    pub reason: Vec<Text>,
    /// What was waited for.
    pub state: SmtpState,
}

impl Reply {
    /// Whether the code says that the message was taken.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.code)
    }

    /// Whether the code is 5yz.
    pub fn is_permanent(&self) -> bool {
        (500..600).contains(&self.code)
    }
}

/// The kind of an error without reply: `attempt.error.type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The configuration names what is not there.
    Config,
    /// The destination was not found.
    Dns(DnsError),
    /// Connecting, reading or writing failed.
    Network,
    /// The peer is not the one that DANE promises.
    Dane,
    /// The peer does not speak SMTP.
    Protocol,
    /// The peer lacks what the message needs.
    Smtp,
    /// No safe TLS session.
    Tls,
    /// A delivery plugin failed.
    Plugin,
}

impl ErrorKind {
    /// The name that scripts see.
    pub fn as_str(self) -> &'static str {
        match self {
            ErrorKind::Config => "config",
            ErrorKind::Dns(_) => "dns",
            ErrorKind::Network => "network",
            ErrorKind::Dane => "dane",
            ErrorKind::Protocol => "protocol",
            ErrorKind::Smtp => "smtp",
            ErrorKind::Tls => "tls",
            ErrorKind::Plugin => "plugin",
        }
    }
}

/// Why a destination was not found: `attempt.error.dns`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DnsError {
    /// The domain does not exist.
    NxDomain,
    /// The domain takes no mail (RFC 7505).
    NullMx,
    /// Its hosts have no address.
    NoData,
    /// Its hosts have only addresses of a family that is not in use.
    IpFamily,
    /// Options excluded all hosts.
    Excluded,
    /// Anything else, such as a server failure.
    Other,
}

impl DnsError {
    /// The name that scripts see.
    pub fn as_str(self) -> &'static str {
        match self {
            DnsError::NxDomain => "nxdomain",
            DnsError::NullMx => "nullmx",
            DnsError::NoData => "nodata",
            DnsError::IpFamily => "ipfamily",
            DnsError::Excluded => "excluded",
            DnsError::Other => "other",
        }
    }
}

/// An attempt that ended without a reply: `attempt.error`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptError {
    /// Whether a later attempt may succeed.
    pub temporary: bool,
    /// What went wrong, for people.
    pub message: String,
    /// The kind.
    pub kind: ErrorKind,
    /// A more exact status for notifications than the kind gives.
    pub status: Option<EnhancedStatus>,
    /// Whether the message content was being sent or waited for, so that no other host may be
    /// tried: the peer may have taken the message.
    pub after_envelope: bool,
}

impl AttemptError {
    /// Makes an error of the session's set-up.
    pub fn new(kind: ErrorKind, temporary: bool, message: impl Into<String>) -> Self {
        AttemptError {
            temporary,
            message: message.into(),
            kind,
            status: None,
            after_envelope: false,
        }
    }
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// By a reply.
    Result(Reply),
    /// Without one.
    Error(AttemptError),
}

impl Outcome {
    /// Whether the message was taken.
    pub fn is_success(&self) -> bool {
        matches!(self, Outcome::Result(reply) if reply.is_success())
    }

    /// Whether no later attempt can succeed.
    pub fn is_permanent(&self) -> bool {
        match self {
            Outcome::Result(reply) => reply.is_permanent(),
            Outcome::Error(error) => !error.temporary,
        }
    }
}

/// The TLS part of a connection: `attempt.connection.tls`.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct TlsInfo {
    /// Whether the handshake succeeded.
    pub started: bool,
    /// The protocol version.
    pub protocol: Option<Text>,
    /// The cipher by OpenSSL's name.
    pub cipher: Option<Text>,
    /// The key size: 128 or 256.
    pub keysize: Option<u16>,
    /// The peer's certificate, if it has shown one.
    pub peercert: Option<Arc<PeerCert>>,
    /// The RFC 8460 result type of a failure.
    pub tlsrpt: Option<&'static str>,
    /// What the TLSA look-up gave, if there was one.
    pub tlsa: Option<Tlsa>,
}

/// A certificate that was shown: `attempt.connection.tls.peercert`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerCert {
    /// In DER: the peer's own first, then what it sent behind it.
    pub chain: Vec<Vec<u8>>,
    /// OpenSSL's number of what is wrong, 0 for nothing; none: nobody looked.
    pub error: Option<u32>,
}

/// The result of a TLSA look-up: `attempt.connection.tls.tlsa`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tlsa {
    /// The look-up failed.
    Error {
        /// Whether a later one may succeed.
        temporary: bool,
    },
    /// The records found.
    Records(Vec<TlsaRecord>),
}

/// A TLSA record (RFC 6698).
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the RFC's")]
pub struct TlsaRecord {
    pub usage: u8,
    pub selector: u8,
    pub mtype: u8,
    pub data: Text,
}

/// The connection of an attempt: `attempt.connection`.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Connection {
    /// The connection's id.
    pub id: Text,
    /// Transactions on the connection, this one included.
    pub transactions: u64,
    /// The source address.
    pub localip: Option<IpAddr>,
    /// The configured id of the source address.
    pub localipid: Option<Text>,
    /// The EHLO name sent.
    pub helo: Option<Text>,
    /// The peer's address.
    pub remoteip: Option<IpAddr>,
    /// The peer's host name.
    pub remotemx: Option<Text>,
    /// The lines of a 220 greeting.
    pub remotegreet: Vec<Text>,
    /// TLS, if it was tried.
    pub tls: Option<TlsInfo>,
    /// Whether the peer announced DSN (RFC 3461), so that the request went along.
    pub dsn: bool,
}

/// One attempt: `$arguments["attempt"]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// How it ended.
    pub outcome: Outcome,
    /// Over which connection; none if the destination was not found.
    pub connection: Option<Connection>,
    /// How long it took.
    pub duration: Duration,
    /// Whether the peer is the message's final destination (LMTP, a plugin).
    pub final_delivery: bool,
}

impl Attempt {
    /// An attempt that ended before there was a connection.
    pub fn without_connection(error: AttemptError) -> Self {
        Attempt {
            outcome: Outcome::Error(error),
            connection: None,
            duration: Duration::ZERO,
            final_delivery: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_is_found_by_its_name() {
        for state in SmtpState::ALL {
            assert_eq!(SmtpState::from_name(state.as_str()), Some(state));
        }
        assert_eq!(SmtpState::from_name("CONNECT"), Some(SmtpState::Banner));
        assert_eq!(SmtpState::from_name("banner"), None);
    }
}
