//! The predefined variables of the session's hooks: their declarations and their values.

use angarium_runtime::array::{Array, Key};
use angarium_runtime::native::VarDecl;
use angarium_runtime::value::Value;
use angarium_smtp::address::{Mailbox, ReversePath};
use angarium_smtp::reply::EnhancedStatus;
use angarium_smtp::server::Closing;
use angarium_smtp::session::{LookupResult, NameLookup, Session, TlsInfo};
use angarium_stdlib::x509;

use super::smtp::params;
use crate::server::Submission;

/// A read-only variable that is always there.
#[must_use]
pub const fn always(path: &'static str, types: &'static str, doc: &'static str) -> VarDecl {
    when(path, types, "always", doc)
}

/// A read-only variable whose key may be missing.
#[must_use]
pub const fn sometimes(path: &'static str, types: &'static str, doc: &'static str) -> VarDecl {
    when(path, types, "(not always)", doc)
}

/// A read-only variable with words of its own for when it is there.
#[must_use]
pub const fn when(
    path: &'static str,
    types: &'static str,
    available: &'static str,
    doc: &'static str,
) -> VarDecl {
    VarDecl {
        path,
        types,
        available,
        doc,
        writable: false,
    }
}

/// `$context`, the one variable that scripts write.
pub const CONTEXT: VarDecl = VarDecl {
    path: "$context",
    types: "any",
    available: "always",
    doc: "whatever the scripts of this connection want to remember",
    writable: true,
};

/// `$connection` of every hook after connect (group CONN).
pub const CONNECTION: &[VarDecl] = &[
    always("$connection.id", "string", "id of the connection"),
    always(
        "$connection.priority",
        "number",
        "priority of the connection",
    ),
    always("$connection.remoteip", "string", "address of the client"),
    always("$connection.remoteport", "number", "port of the client"),
    sometimes(
        "$connection.remoteptr",
        "string",
        "name of the client, confirmed forwards",
    ),
    sometimes(
        "$connection.remoteuid",
        "number",
        "user id of the client of a Unix socket",
    ),
    always("$connection.localip", "string", "address of the server"),
    always("$connection.localport", "number", "port of the server"),
    always("$connection.serverid", "string", "id of the server"),
    when(
        "$connection.tls.protocol",
        "string",
        "(if TLS started)",
        "version, such as TLSv1.3",
    ),
    when(
        "$connection.tls.cipher",
        "string",
        "(if TLS started)",
        "OpenSSL's name of the cipher",
    ),
    when(
        "$connection.tls.keysize",
        "number",
        "(if TLS started)",
        "128 or 256 bits",
    ),
    sometimes(
        "$connection.tls.sni",
        "string",
        "name that the client asked for",
    ),
    when(
        "$connection.tls.peercert.x509",
        "X509Resource",
        "(if the client sent one)",
        "certificate of the client",
    ),
    when(
        "$connection.tls.peercert.chain",
        "array",
        "(if the client sent one)",
        "its chain, X509Resource values",
    ),
    sometimes(
        "$connection.tls.peercert.error",
        "number",
        "OpenSSL's number of what is wrong with it, 0 for nothing",
    ),
];

/// The greeting in `$connection` (group HELO).
pub const HELO: &[VarDecl] = &[
    sometimes("$connection.helo.verb", "string", "HELO or EHLO"),
    sometimes(
        "$connection.helo.host",
        "string",
        "name that the client gave",
    ),
];

/// The log-in in `$connection` (group AUTH).
pub const AUTH: &[VarDecl] = &[
    when(
        "$connection.auth.mechanism",
        "string",
        "(if authenticated)",
        "SASL mechanism",
    ),
    sometimes("$connection.auth.username", "string", "user name"),
];

/// The address in `$arguments` of mailfrom and rcptto (group ADDRESS).
pub const ADDRESS: &[VarDecl] = &[
    always(
        "$arguments.address.localpart",
        "string",
        "its local part, unquoted, in its own case",
    ),
    always(
        "$arguments.address.domain",
        "string",
        "its domain, in its own case",
    ),
];

/// `$transaction` where nothing but its id is known.
pub const TRANSACTION_ID: VarDecl = always("$transaction.id", "string", "id of the transaction");

/// `$transaction` of proxy, rcptto and eod (group TXN).
pub const TRANSACTION: &[VarDecl] = &[
    TRANSACTION_ID,
    when(
        "$transaction.sender",
        "string",
        "after MAIL",
        "sender in lower case; empty for the null sender",
    ),
    when(
        "$transaction.senderaddress.localpart",
        "string",
        "after MAIL",
        "its local part, unquoted, in its own case",
    ),
    when(
        "$transaction.senderaddress.domain",
        "string",
        "after MAIL",
        "its domain, in its own case",
    ),
    when(
        "$transaction.senderparams",
        "array",
        "after MAIL",
        "parameters of MAIL, names in upper case",
    ),
    when(
        "$transaction.recipients",
        "array",
        "after MAIL",
        "recipients accepted so far: recipient, address, params, transportid",
    ),
];

/// Joins variable lists at compile time.
macro_rules! join {
    ($($list:expr),+ $(,)?) => {{
        const PARTS: &[&[angarium_runtime::native::VarDecl]] = &[$($list),+];
        const LEN: usize = {
            let mut len = 0;
            let mut at = 0;
            while at < PARTS.len() {
                len += PARTS[at].len();
                at += 1;
            }
            len
        };
        const JOINED: [angarium_runtime::native::VarDecl; LEN] = {
            let mut joined = [PARTS[0][0]; LEN];
            let (mut part, mut to) = (0, 0);
            while part < PARTS.len() {
                let mut at = 0;
                while at < PARTS[part].len() {
                    joined[to] = PARTS[part][at];
                    at += 1;
                    to += 1;
                }
                part += 1;
            }
            joined
        };
        JOINED
    }};
}
pub(crate) use join;

/// Builds an array from names and values.
#[derive(Default)]
pub struct Map(Array);

impl Map {
    /// Adds an entry.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Map {
        self.0.insert(Key::from(name), value.into());
        self
    }

    /// Adds an entry unless there is nothing to add.
    #[must_use]
    pub fn maybe<T: Into<Value>>(self, name: &str, value: Option<T>) -> Map {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }
}

impl From<Map> for Value {
    fn from(map: Map) -> Value {
        map.0.into()
    }
}

fn list(values: impl IntoIterator<Item = Value>) -> Value {
    values.into_iter().collect::<Array>().into()
}

/// The three numbers of an enhanced status.
#[must_use]
pub fn enhanced(status: EnhancedStatus) -> Value {
    list([
        u32::from(status.class).into(),
        u32::from(status.subject).into(),
        u32::from(status.detail).into(),
    ])
}

/// Group ADDRESS.
#[must_use]
pub fn address(localpart: &str, domain: &str) -> Value {
    Map::default()
        .with("localpart", localpart)
        .with("domain", domain)
        .into()
}

/// Group ADDRESS of a sender.
#[must_use]
pub fn sender_address(sender: &ReversePath) -> Value {
    address(sender.localpart(), sender.domain())
}

/// Group ADDRESS of a recipient.
#[must_use]
pub fn recipient_address(recipient: &Mailbox) -> Value {
    address(recipient.localpart(), recipient.domain())
}

fn tls(info: &TlsInfo) -> Value {
    Map::default()
        .with("protocol", info.protocol.as_str())
        .with("cipher", info.cipher.as_str())
        .with("keysize", info.keysize)
        .maybe("sni", info.sni.as_deref())
        .maybe("peercert", peer_cert(info))
        .into()
}

fn peer_cert(info: &TlsInfo) -> Option<Value> {
    let shown = info.peer_cert.as_ref()?;
    peercert(&shown.chain, shown.error)
}

/// Group PEERCERT: a certificate that was shown, and those behind it; none if it cannot be read.
#[must_use]
pub fn peercert(chain: &[Vec<u8>], error: Option<u32>) -> Option<Value> {
    let (own, rest) = chain.split_first()?;
    let own = x509::resource(own.clone())?;
    let rest = rest.iter().cloned().filter_map(x509::resource);
    let map = Map::default()
        .with("x509", own)
        .with("chain", list(rest))
        .maybe("error", error);
    Some(map.into())
}

/// One answer of the name service, as `dns_query` gives it.
fn lookup_result(answer: &LookupResult) -> Value {
    let map = match &answer.records {
        Ok(records) => {
            let records = records.iter().map(|text| Value::from(text.as_str()));
            Map::default().with("result", list(records))
        }
        Err(error) => Map::default().with("error", error.as_str()),
    };
    map.with("dnssec", answer.authenticated).into()
}

/// `remoteptrresult`: the answer for the address, and by name those for the names that were tried.
fn name_lookup(lookup: &NameLookup) -> Value {
    let forward = lookup
        .forward
        .iter()
        .fold(Map::default(), |map, (name, answer)| {
            map.with(name, lookup_result(answer))
        });
    Map::default()
        .with("reverse", lookup_result(&lookup.reverse))
        .with("forward", forward)
        .into()
}

/// `$arguments` of the connect hook.
#[must_use]
pub fn connect_arguments(session: &Session) -> Value {
    let connection = &session.connection;
    Map::default()
        .with("remoteip", connection.remote_ip.to_string())
        .with("remoteport", u32::from(connection.remote_port))
        .maybe("remoteptr", connection.remote_ptr.as_deref())
        .maybe(
            "remoteptrresult",
            connection.name_lookup.as_deref().map(name_lookup),
        )
        .maybe("remoteuid", connection.remote_uid)
        .maybe("remoteuser", connection.remote_user.as_deref())
        .with("localip", connection.local_ip.to_string())
        .with("localport", u32::from(connection.local_port))
        .with("serverid", connection.server_id.as_str())
        .maybe(
            "proxyip",
            connection.proxy_ip.map(|address| address.to_string()),
        )
        .maybe("proxytlv", connection.proxy_tlv.as_deref())
        .into()
}

/// `$connection` of the connect hook.
#[must_use]
pub fn early_connection(session: &Session) -> Value {
    Map::default()
        .with("id", session.connection.id.as_str())
        .with("priority", session.connection.priority as f64)
        .into()
}

/// `$connection` (group CONN); without the greeting for the helo hook itself.
#[must_use]
pub fn connection(session: &Session, with_helo: bool) -> Value {
    let connection = &session.connection;
    let helo = session.helo.as_ref().filter(|_| with_helo).map(|helo| {
        Value::from(
            Map::default()
                .with("verb", helo.verb.as_str())
                .with("host", helo.host.as_str()),
        )
    });
    let auth = session.auth.as_ref().map(|auth| {
        Value::from(
            Map::default()
                .with("mechanism", auth.mechanism.as_str())
                .maybe("username", auth.username.as_deref()),
        )
    });
    Map::default()
        .with("id", connection.id.as_str())
        .with("priority", connection.priority as f64)
        .with("remoteip", connection.remote_ip.to_string())
        .with("remoteport", u32::from(connection.remote_port))
        .maybe("remoteptr", connection.remote_ptr.as_deref())
        .maybe("remoteuid", connection.remote_uid)
        .with("localip", connection.local_ip.to_string())
        .with("localport", u32::from(connection.local_port))
        .with("serverid", connection.server_id.as_str())
        .maybe("helo", helo)
        .maybe("tls", session.tls.as_ref().map(tls))
        .maybe("auth", auth)
        .into()
}

/// `$arguments["http"]` of the eod hook: the request that submitted the message.
#[must_use]
pub fn http(submission: &Submission) -> Value {
    let fields = submission.fields.iter();
    let headers = fields.fold(Map::default(), |map, (name, value)| {
        map.with(name, Value::bytes(value))
    });
    let pairs = form_urlencoded(&submission.query);
    let query = pairs.fold(Map::default(), |map, (name, value)| {
        map.with(&name, value.as_slice())
    });
    Map::default()
        .with("method", submission.method.as_str())
        .with("path", submission.path.as_str())
        .with("query", query)
        .with("headers", headers)
        .into()
}

/// Names and values of the query of a URL, decoded.
fn form_urlencoded(query: &str) -> impl Iterator<Item = (String, Vec<u8>)> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = String::from_utf8_lossy(&percent_decoded(name)).into_owned();
        (name, percent_decoded(value))
    })
}

fn percent_decoded(text: &str) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        let escape = after.get(..2).and_then(|digits| {
            let digits = std::str::from_utf8(digits).ok()?;
            let hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
            u8::from_str_radix(digits, 16).ok().filter(|_| hex)
        });
        match (byte, escape) {
            (b'%', Some(byte)) => {
                decoded.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            (b'+', _) => decoded.push(b' '),
            (byte, _) => decoded.push(*byte),
        }
    }
    decoded
}

/// `$transaction` with nothing but its id.
#[must_use]
pub fn transaction_id(session: &Session) -> Value {
    Map::default()
        .with("id", session.transaction.id.as_str())
        .into()
}

/// `$transaction` (group TXN); `began` is the eod hook's `ts`.
#[must_use]
pub fn transaction(session: &Session, began: Option<f64>) -> Value {
    let map = Map::default()
        .with("id", session.transaction.id.as_str())
        .maybe("ts", began);
    let Some(envelope) = &session.transaction.envelope else {
        return map.into();
    };
    let recipients = envelope.recipients.iter().map(|recipient| {
        Map::default()
            .with("recipient", recipient.address.lower())
            .with("address", recipient_address(&recipient.address))
            .with("params", params(&recipient.params))
            .with("transportid", recipient.transport_id.as_str())
            .into()
    });
    map.with("sender", envelope.sender.lower())
        .with("senderaddress", sender_address(&envelope.sender))
        .with("senderparams", params(&envelope.params))
        .with("recipients", list(recipients))
        .into()
}

/// `$arguments` of the disconnect hook.
#[must_use]
pub fn disconnect_arguments(closing: &Closing) -> Value {
    let reply = closing.reply.as_ref().map(|reply| {
        Value::from(
            Map::default()
                .with("code", u32::from(reply.code))
                .maybe("enhanced", reply.enhanced.map(enhanced))
                .with(
                    "reason",
                    list(reply.reason.iter().map(|line| Value::bytes(line))),
                )
                .maybe("state", Some(reply.state).filter(|state| !state.is_empty())),
        )
    });
    let error = closing.error.as_ref().map(|error| {
        Value::from(
            Map::default()
                .with("reason", error.reason.as_str())
                .with("type", error.kind.as_str())
                .maybe("code", error.code.map(|code| code as f64)),
        )
    });
    Map::default()
        .with("close", closing.by.as_str())
        .maybe("reply", reply)
        .maybe("error", error)
        .into()
}
