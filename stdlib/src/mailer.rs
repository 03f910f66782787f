//! The way of messages out of scripts: into the queue, and to a server at once.
//!
//! The classes of mail make a [`Content`]; the host's [`Mailer`] reads the envelope and the options, which are its
//! own business, and does the rest. A mistake of the script is an Exception before anything is written.

use std::rc::Rc;
use std::sync::Arc;

use angarium_mail::edits::Edits;
use angarium_mail::source::Source;
use angarium_runtime::host::Host;
use angarium_runtime::memory;
use angarium_runtime::native::{Cx, LocalFuture, OptDecl, Outcome, Throw, opt};
use angarium_runtime::value::Value;

/// The bytes of a message, for this thread and the thread pool.
pub type SharedSource = Arc<dyn Source + Send + Sync>;

/// A message that is to go out: its bytes and what was changed in them.
#[derive(Clone)]
pub struct Content {
    /// The message as it was read or built.
    pub source: SharedSource,
    /// The changes; a date that is written at delivery among them.
    pub edits: Arc<Edits>,
}

impl Content {
    /// A message without changes.
    #[must_use]
    pub fn whole(source: SharedSource) -> Content {
        let edits = Arc::new(Edits::none(source.len()));
        Content { source, edits }
    }
}

/// What a script wants of a message. The values are as it gave them.
pub struct Order<'a> {
    /// The name for complaints: `queue`, `send`, `mail`.
    pub function: &'static str,
    /// Sender: a string, or an array.
    pub sender: &'a Value,
    /// The recipient of `queue`, the list of `send`.
    pub recipients: &'a Value,
    /// The transport of `queue`, the server of `send`.
    pub to: &'a Value,
    /// The options of `queue`.
    pub options: &'a Value,
}

/// What is done with a message once the order has been found good.
pub type Deliver = Box<dyn FnOnce(Content) -> LocalFuture<Outcome>>;

/// The mailer of the process, as an extension of the [`Host`].
pub struct MailService(pub Rc<dyn Mailer>);

/// Takes messages from scripts.
pub trait Mailer {
    /// Puts a message into the queue, durably before it answers; in the eod hook with the hook's own commit. Gives
    /// `transaction` and `queue`, or none when it cannot be written.
    ///
    /// # Errors
    /// An Exception for an envelope, a transport or options that cannot be.
    fn queue(&self, order: Order<'_>) -> Result<Deliver, Throw>;

    /// Whether what is queued stays in memory until the script has ended: then it counts as the script's.
    fn keeps(&self) -> bool;

    /// Sends a message to a server now and gives what became of it (stdlib.md, group SENDRESULT).
    ///
    /// # Errors
    /// An Exception for an envelope, a server or options that cannot be.
    fn send(&self, order: Order<'_>) -> Result<Deliver, Throw>;
}

/// The mailer of this host.
///
/// # Errors
/// Where there is none.
pub fn service(host: &Host, function: &str) -> Result<Rc<MailService>, Throw> {
    host.extension()
        .ok_or_else(|| Throw::error(format!("{function}: there is no mail server here")))
}

/// Counts a message that is to be queued, and `size` bytes of it, where the host keeps it.
///
/// # Errors
/// The end of the script when its budget is used up.
pub fn charge(cx: &mut Cx<'_>, service: &MailService, size: usize) -> Result<(), Throw> {
    cx.charge(100);
    if service.0.keeps() {
        let bytes = size.saturating_add(1024);
        cx.reserve(bytes)?;
        memory::charge(bytes);
    }
    Ok(())
}

/// The complaint about a transport that there is not.
#[must_use]
pub fn unknown_transport(function: &str, id: &str) -> Throw {
    Throw::error(format!("{function}: unknown transport \"{id}\""))
}

/// Options of `queue()` (group QUEUEOPTS).
pub const QUEUEOPTS: &[OptDecl] = &[
    opt(
        "metadata",
        "array",
        "[]",
        "string pairs stored with the message",
    ),
    opt("hold", "boolean", "false", "put it into the hold queue"),
    opt("jobid", "string", "\"\"", "job"),
    opt("tenantid", "string", "\"\"", "tenant"),
    opt("priority", "number", "0", "0 normal, 1 high"),
    opt(
        "requiretls",
        "boolean",
        "false",
        "deliver over verified TLS to servers with REQUIRETLS, or not at all",
    ),
    opt("quotas", "array", "[]", "names of quotas that count it"),
    opt("delay", "number", "0", "seconds before the first attempt"),
    opt(
        "dsn",
        "array",
        "[]",
        "RFC 3461 data: envid, ret, notify, orcpt",
    ),
];

/// Members of the `server` array of `send()` (group SERVER).
pub const SERVER: &[OptDecl] = &[
    opt(
        "host",
        "string",
        "",
        "a host name, an address, or `lookup-mx` for the MX of the first recipient's domain",
    ),
    opt("port", "number", "25", "TCP port"),
    opt(
        "helo",
        "string",
        "",
        "name in EHLO; the system's host name when absent",
    ),
    opt("sourceip", "string", "", "connect from this address"),
    opt(
        "sourceipid",
        "string",
        "",
        "connect from the address with this id",
    ),
    opt(
        "nonlocal_source",
        "boolean",
        "false",
        "allow an address that the system does not have",
    ),
    opt("saslusername", "string", "", "AUTH before MAIL"),
    opt("saslpassword", "string", "", "AUTH before MAIL"),
    opt(
        "tls",
        "string",
        "disabled",
        "disabled, optional, optional_verify, dane, dane_require, dane_fallback_require_verify, require, require_verify",
    ),
    opt(
        "tls_sni",
        "string|boolean",
        "false",
        "name for SNI; true: the host connected to",
    ),
    opt(
        "tls_protocols",
        "string",
        "!SSLv2,!SSLv3",
        "versions, `!` excludes one",
    ),
    opt("tls_ciphers", "string", "", "cipher list"),
    opt(
        "tls_verify_host",
        "boolean",
        "false",
        "the certificate must be for the host",
    ),
    opt(
        "tls_verify_name",
        "array",
        "",
        "the certificate must be for one of these names",
    ),
    opt(
        "tls_default_ca",
        "boolean",
        "false",
        "trust the system's authorities",
    ),
    opt(
        "tls_client_cert",
        "string|array",
        "",
        "a certificate of our own",
    ),
    opt(
        "tls_capture_peer_cert",
        "boolean",
        "false",
        "give the peer's certificate",
    ),
    opt("xclient", "array", "", "attributes for XCLIENT"),
    opt("protocol", "string", "smtp", "smtp or lmtp"),
    opt(
        "mx_include",
        "array",
        "",
        "only MX names that fit one of these",
    ),
    opt(
        "mx_exclude",
        "array",
        "",
        "no MX names that fit one of these",
    ),
    opt("timeout", "array", "", "SMTP state => seconds"),
    opt("connect_timeout", "number", "30", "seconds"),
    opt(
        "chunking",
        "boolean",
        "true",
        "BDAT where the server has CHUNKING",
    ),
    opt(
        "proxyprotocol",
        "array",
        "",
        "server and port of a PROXY relay",
    ),
];
