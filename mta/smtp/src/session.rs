//! What is known about a connection, its session and its transaction.
//!
//! The server machine owns a [`Session`]; the driver reads it when it builds the variables of a
//! hook. Nothing here is copied per command.

use std::net::IpAddr;

use crate::Time;
use crate::address::{Mailbox, ReversePath};
use crate::param::{BodyType, Extensions, Params};
use crate::reply::EnhancedStatus;

/// The two ends of a connection (`$connection` of hooks.md, group CONN).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// Connection id, a UUID.
    pub id: String,
    /// Connection priority.
    pub priority: i64,
    /// Client address; a connect hook may replace it.
    pub remote_ip: IpAddr,
    /// Client port.
    pub remote_port: u16,
    /// Forward-confirmed name of the client; a connect hook may replace it.
    pub remote_ptr: Option<String>,
    /// User id of the client of a Unix socket.
    pub remote_uid: Option<u32>,
    /// The name of that user, if there is one.
    pub remote_user: Option<String>,
    /// Server address.
    pub local_ip: IpAddr,
    /// Server port.
    pub local_port: u16,
    /// Id of the server in the configuration.
    pub server_id: String,
    /// Address of the PROXY peer, if there was one.
    pub proxy_ip: Option<IpAddr>,
    /// TLVs of a PROXY v2 header in hex.
    pub proxy_tlv: Option<String>,
    /// How `remote_ptr` was looked for; kept until the connect hook has answered.
    pub name_lookup: Option<Box<NameLookup>>,
}

/// The questions behind the client's name (`$arguments.remoteptrresult` of connect).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameLookup {
    /// The names of the address.
    pub reverse: LookupResult,
    /// The addresses of each name that was tried, up to the one that led back.
    pub forward: Vec<(String, LookupResult)>,
}

/// The answer to one question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LookupResult {
    /// The records as text, or the name of the error (`NXDOMAIN`, `TRY_AGAIN` …).
    pub records: Result<Vec<String>, String>,
    /// Whether the resolver vouches for it (DNSSEC).
    pub authenticated: bool,
}

/// The greeting verb.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeloVerb {
    /// RFC 5321 §4.1.1.1, without extensions.
    Helo,
    /// With extensions.
    Ehlo,
    /// RFC 2033.
    Lhlo,
}

impl HeloVerb {
    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Helo => "HELO",
            Self::Ehlo => "EHLO",
            Self::Lhlo => "LHLO",
        }
    }
}

/// An accepted greeting (group HELO).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Helo {
    /// HELO or EHLO.
    pub verb: HeloVerb,
    /// The name given, or the one that the helo hook set.
    pub host: String,
}

/// A TLS layer (group TLS).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsInfo {
    /// e.g. `TLSv1.3`.
    pub protocol: String,
    /// OpenSSL's name of the cipher.
    pub cipher: String,
    /// 128 or 256 bits.
    pub keysize: u32,
    /// The name that the client asked for.
    pub sni: Option<String>,
    /// The certificate of the peer, if it sent one.
    pub peer_cert: Option<PeerCert>,
}

/// A peer certificate (group PEERCERT).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerCert {
    /// DER, the peer's own certificate first.
    pub chain: Vec<Vec<u8>>,
    /// OpenSSL verification result, 0 is good; absent when nothing was checked.
    pub error: Option<u32>,
}

/// A successful AUTH (group AUTH).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Auth {
    /// Upper case.
    pub mechanism: String,
    /// User name, if known.
    pub username: Option<String>,
}

/// An accepted recipient (group RECIPIENT).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    /// The address, perhaps replaced by the rcptto hook.
    pub address: Mailbox,
    /// RCPT parameters.
    pub params: Params,
    /// Transport id.
    pub transport_id: String,
}

/// What MAIL and RCPT have gathered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// When MAIL came, on the machine's clock.
    pub began: Time,
    /// The sender, perhaps replaced by the mailfrom hook.
    pub sender: ReversePath,
    /// MAIL parameters.
    pub params: Params,
    /// Declared size in bytes.
    pub size: Option<u64>,
    /// BODY=
    pub body: BodyType,
    /// SMTPUTF8 was asked for.
    pub utf8: bool,
    /// REQUIRETLS was asked for (RFC 8689).
    pub requiretls: bool,
    /// MT-PRIORITY as it was granted (RFC 6710), if one was asked for.
    pub priority: Option<i8>,
    /// Accepted recipients in order.
    pub recipients: Vec<Recipient>,
}

/// A transaction (group TXN); it has an id before MAIL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// UUID text, renewed at greeting, RSET, STARTTLS and after every message.
    pub id: String,
    /// Present after an accepted MAIL.
    pub envelope: Option<Envelope>,
}

/// All that a hook may see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Ends of the connection.
    pub connection: Connection,
    /// The accepted greeting.
    pub helo: Option<Helo>,
    /// TLS, if started.
    pub tls: Option<TlsInfo>,
    /// AUTH, if done.
    pub auth: Option<Auth>,
    /// The extensions in force: none before EHLO and after HELO.
    pub extensions: Extensions,
    /// The present transaction.
    pub transaction: Transaction,
}

impl Session {
    /// Whether the present transaction asked for SMTPUTF8.
    #[must_use]
    pub fn utf8(&self) -> bool {
        self.transaction
            .envelope
            .as_ref()
            .is_some_and(|envelope| envelope.utf8)
    }

    /// The `with` keyword of the Received field (RFC 3848, RFC 6531 §4.3).
    #[must_use]
    pub fn with_keyword(&self) -> &'static str {
        let tls = self.tls.is_some();
        let auth = self.auth.is_some();
        match self.helo.as_ref().map(|helo| helo.verb) {
            None | Some(HeloVerb::Helo) => "SMTP",
            Some(HeloVerb::Ehlo) => match (self.utf8(), tls, auth) {
                (false, false, false) => "ESMTP",
                (false, false, true) => "ESMTPA",
                (false, true, false) => "ESMTPS",
                (false, true, true) => "ESMTPSA",
                (true, false, false) => "UTF8SMTP",
                (true, false, true) => "UTF8SMTPA",
                (true, true, false) => "UTF8SMTPS",
                (true, true, true) => "UTF8SMTPSA",
            },
            Some(HeloVerb::Lhlo) => match (self.utf8(), tls, auth) {
                (false, false, false) => "LMTP",
                (false, false, true) => "LMTPA",
                (false, true, false) => "LMTPS",
                (false, true, true) => "LMTPSA",
                (true, false, false) => "UTF8LMTP",
                (true, false, true) => "UTF8LMTPA",
                (true, true, false) => "UTF8LMTPS",
                (true, true, true) => "UTF8LMTPSA",
            },
        }
    }
}

/// The last reply of a connection (`$arguments.reply` of the disconnect hook).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastReply {
    /// Reply code.
    pub code: u16,
    /// Enhanced status, if one was sent.
    pub enhanced: Option<EnhancedStatus>,
    /// Lines without codes.
    pub reason: Vec<Vec<u8>>,
    /// The command that caused it: a verb, `CONNECT` for the banner, `EOD` after the message; empty
    /// when none did (a time limit, an unknown command, a stopping server).
    pub state: &'static str,
}

/// Which end closed a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseBy {
    /// This server.
    Local,
    /// The client.
    Remote,
}

impl CloseBy {
    /// The word that the disconnect hook sees.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Remote => "remote",
        }
    }
}

/// A failure of the transport under a session, reported by the driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransportError {
    /// Where it happened.
    pub kind: TransportErrorKind,
    /// For people.
    pub reason: String,
    /// errno or TLS error number.
    pub code: Option<i64>,
}

/// Where a transport failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransportErrorKind {
    /// The socket.
    Socket,
    /// The TLS layer.
    Tls,
}

impl TransportErrorKind {
    /// The word that scripts see.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Socket => "socket",
            Self::Tls => "tls",
        }
    }
}
