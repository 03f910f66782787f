//! The hooks of the queue: predelivery and postdelivery.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use angarium_queue::attempt::SmtpState;
use angarium_queue::dsn::DsnOptions;
use angarium_queue::item::{Address, Pairs};
use angarium_queue::outcome::Verdict as Postdelivery;
use angarium_queue::retry::Again;
use angarium_queue::text::Text;
use angarium_queue::transport::{HostOverride, Plan, SourceIp, Sources};
use angarium_runtime::array::{Array, Key};
use angarium_runtime::convert::{to_number, to_str};
use angarium_runtime::native::{ContextDecl, Cx, FnDecl, OptDecl, Outcome, Throw, VarDecl, opt};
use angarium_runtime::string::Str;
use angarium_runtime::value::Value;

use super::envelope;
use super::options::{QUEUEAGAIN, Reader, again, dsn_options, dsn_request, pairs};
use super::variables::{always, join, sometimes, when};

/// What the predelivery script said.
#[derive(Debug)]
pub enum Predelivery {
    /// `Try(…)`, or the end of the script.
    Try(Box<Try>),
    /// `Queue(…)`
    Queue(Box<Again>),
    /// `Bounce(…)`
    Bounce {
        /// The diagnostic text.
        reason: Option<Text>,
        /// How the notification looks.
        dsn: Box<DsnOptions>,
    },
    /// `Delete(…)`
    Delete {
        /// The diagnostic text.
        reason: Option<Text>,
    },
}

/// What `Try` sets for one attempt.
#[derive(Debug, Default)]
pub struct Try {
    /// What the queue must know.
    pub plan: Plan,
    /// What only the client needs.
    pub client: Client,
}

/// Settings of the SMTP client for one attempt; what is none comes from the transport.
#[derive(Debug, Default, Clone)]
pub struct Client {
    /// `protocol`: LMTP instead of SMTP.
    pub lmtp: Option<bool>,
    /// `helo`
    pub helo: Option<String>,
    /// The address of MAIL; an empty one is the null sender.
    pub sender: Option<Address>,
    /// Parameters of MAIL.
    pub senderparams: Option<Pairs>,
    /// The address of RCPT.
    pub recipient: Option<Address>,
    /// Parameters of RCPT.
    pub recipientparams: Option<Pairs>,
    /// `tls`
    pub tls: Option<TlsMode>,
    /// `tls_sni`: a name, or the empty string for the host connected to.
    pub tls_sni: Option<String>,
    /// `tls_verify_host`
    pub tls_verify_host: Option<bool>,
    /// `tls_verify_name`
    pub tls_verify_name: Vec<String>,
    /// `tls_default_ca`
    pub tls_default_ca: Option<bool>,
    /// `tls_protocols`
    pub tls_protocols: Option<String>,
    /// `timeout`
    pub timeouts: Vec<(SmtpState, Duration)>,
    /// `connect_timeout`
    pub connect_timeout: Option<Duration>,
    /// `pooling.enabled`
    pub pooling: Option<bool>,
    /// `pooling.timeout`
    pub pooling_timeout: Option<Duration>,
    /// `pooling.transactions`
    pub pooling_transactions: Option<u64>,
    /// `pooling.evictable`
    pub pooling_evictable: Option<bool>,
}

/// How the client uses TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsMode {
    /// Never.
    Disabled,
    /// When offered; no property of a certificate matters; without TLS if the handshake fails.
    Optional,
    /// When offered; whether the certificate is good is recorded.
    OptionalVerify,
    /// Always, with any certificate.
    Require,
    /// Always, with a good certificate.
    RequireVerify,
}

impl TlsMode {
    /// The mode called `name`; an error text for one that is unknown or not there yet.
    ///
    /// # Errors
    /// What is wrong with the name.
    pub fn from_name(name: &str) -> Result<TlsMode, String> {
        match name {
            "disabled" => Ok(TlsMode::Disabled),
            "optional" => Ok(TlsMode::Optional),
            "optional_verify" => Ok(TlsMode::OptionalVerify),
            "require" => Ok(TlsMode::Require),
            "require_verify" => Ok(TlsMode::RequireVerify),
            _ if name.starts_with("dane") => Err(format!("the mode {name} is not available yet")),
            _ => Err(format!(
                "\"{name}\" is none of disabled, optional, optional_verify, require, require_verify"
            )),
        }
    }
}

/// The metadata of the message that the script runs for.
#[derive(Debug, Default)]
pub struct Metadata {
    /// As stored, or as the script set it.
    pub pairs: RefCell<Pairs>,
    /// Whether the script set it.
    pub changed: std::cell::Cell<bool>,
}

const SET_METADATA: FnDecl = FnDecl::plain(
    "SetMetaData(metadata: array): none",
    "Replaces the metadata of the message, which is kept across retries. Keys and values are strings.",
    |cx, args| {
        let new = pairs("SetMetaData", args.get(0))?;
        let metadata = metadata(cx)?;
        metadata.pairs.replace(new);
        metadata.changed.set(true);
        Ok(Value::None)
    },
);

const GET_METADATA: FnDecl = FnDecl::plain(
    "GetMetaData(): array",
    "Gives the metadata of the message.",
    |cx, _| Ok(pairs_value(&metadata(cx)?.pairs.borrow())),
);

fn metadata(cx: &Cx<'_>) -> Result<std::rc::Rc<Metadata>, Throw> {
    cx.host
        .extension()
        .ok_or_else(|| Throw::error("there is no message here"))
}

/// String pairs as an array.
#[must_use]
pub fn pairs_value(pairs: &Pairs) -> Value {
    pairs
        .iter()
        .map(|(name, value)| {
            (
                Key::from_string(Str::new(name.as_bytes())),
                Value::bytes(value.as_bytes()),
            )
        })
        .collect::<Array>()
        .into()
}

const DSN: OptDecl = opt("dsn", "array", "", "how the notification looks");

/// `$message` (group MESSAGE).
const MESSAGE: &[VarDecl] = &[
    always("$message.id.transaction", "string", "id of the transaction"),
    always(
        "$message.id.queue",
        "number",
        "queue id within the transaction",
    ),
    always("$message.ts", "number", "Unix time of the transaction"),
    always("$message.serverid", "string", "server that received it"),
    always(
        "$message.sender",
        "string",
        "sender in lower case; empty for the null sender",
    ),
    always(
        "$message.senderaddress.localpart",
        "string",
        "its local part",
    ),
    always("$message.senderaddress.domain", "string", "its domain"),
    always("$message.recipient", "string", "recipient in lower case"),
    always(
        "$message.recipientaddress.localpart",
        "string",
        "its local part",
    ),
    always("$message.recipientaddress.domain", "string", "its domain"),
    always("$message.transportid", "string", "transport"),
    sometimes("$message.tenantid", "string", "tenant"),
    sometimes("$message.jobid", "string", "job"),
    always("$message.priority", "number", "queue priority, 0 or 1"),
    always("$message.size", "number", "bytes, with modifications"),
    always(
        "$message.file.original",
        "FileResource",
        "the message as received, for File()",
    ),
    always(
        "$message.file.modified",
        "FileResource",
        "the message as it will be sent, for File()",
    ),
    sometimes("$message.dsn.envid", "string", "ENVID, decoded"),
    sometimes("$message.dsn.ret", "string", "HDRS or FULL"),
    sometimes(
        "$message.dsn.notify",
        "string",
        "NEVER, or a list of SUCCESS, FAILURE and DELAY",
    ),
    sometimes("$message.dsn.orcpt", "string", "ORCPT, decoded"),
];

/// Before an item enters the active queue.
pub static PREDELIVERY: ContextDecl = ContextDecl {
    name: "predelivery",
    functions: &[&[
        FnDecl::plain(
            "Try(options?: array)",
            "Tries to deliver now; what it sets counts for this attempt only.",
            |cx, args| {
                let book = cx.host.extension::<AddressBook>();
                Err(match read_try(args.get(0), book.as_deref()) {
                    Ok(attempt) => Throw::end(Predelivery::Try(Box::new(attempt))),
                    Err(error) => error,
                })
            },
        )
        .options(TRY),
        FnDecl::plain(
            "Queue(options?: array)",
            "Queues the message again without an attempt.",
            |_, args| {
                Err(match again(args.get(0)) {
                    Ok(again) => Throw::end(Predelivery::Queue(Box::new(again))),
                    Err(error) => error,
                })
            },
        )
        .options(QUEUEAGAIN)
        .groups(&["QUEUEAGAIN"]),
        FnDecl::plain(
            "Bounce(options?: array)",
            "Gives the message up and tells its sender.",
            |_, args| {
                let reader = Reader::new("Bounce", args.get(0));
                let dsn = Box::new(dsn_options("Bounce", reader.array("dsn")?)?);
                Err(Throw::end(Predelivery::Bounce {
                    reason: reader.text("reason")?,
                    dsn,
                }))
            },
        )
        .options(&[opt("reason", "string", "", "diagnostic text"), DSN]),
        FnDecl::plain(
            "Delete(options?: array)",
            "Gives the message up and tells nobody.",
            |_, args| {
                let reason = Reader::new("Delete", args.get(0)).text("reason")?;
                Err(Throw::end(Predelivery::Delete { reason }))
            },
        )
        .options(&[opt("reason", "string", "", "diagnostic text")]),
        SET_METADATA,
        GET_METADATA,
    ]],
    classes: &[],
    variables: &join!(
        &[
            always(
                "$arguments.retry",
                "number",
                "attempts counted so far, 0 on the first"
            ),
            sometimes(
                "$arguments.queue.plugin.return",
                "any",
                "value from a queue plugin"
            ),
        ],
        MESSAGE,
        &[VarDecl {
            path: "$context",
            types: "any",
            available: "always",
            doc: "handed to the postdelivery script of this attempt",
            writable: true,
        }]
    ),
};

const TRY: &[OptDecl] = &[
    opt(
        "host",
        "string",
        "",
        "address, host name or lookup-mx, instead of the transport's",
    ),
    opt("port", "number", "", "port, instead of the transport's"),
    opt("protocol", "string", "", "smtp or lmtp"),
    opt(
        "sender",
        "string|array",
        "",
        "address of MAIL: a string, or localpart, domain and params",
    ),
    opt("recipient", "string|array", "", "address of RCPT likewise"),
    opt("helo", "string", "", "name for EHLO"),
    opt(
        "sourceip",
        "array",
        "",
        "source addresses: ids, or arrays of id or address and name for EHLO",
    ),
    opt(
        "sourceip_random",
        "boolean",
        "true",
        "false tries the addresses in their order",
    ),
    opt(
        "nonlocal_source",
        "boolean",
        "false",
        "bind addresses that are not this machine's; not available yet",
    ),
    opt(
        "proxyprotocol",
        "array",
        "",
        "connect through a PROXY relay; not available yet",
    ),
    opt(
        "saslusername",
        "string",
        "",
        "log in with this name; not available yet",
    ),
    opt(
        "saslpassword",
        "string",
        "",
        "and this password; not available yet",
    ),
    opt(
        "tls",
        "string",
        "",
        "disabled, optional, optional_verify, require or require_verify",
    ),
    opt(
        "tls_sni",
        "string|boolean",
        "false",
        "name for SNI; true for the host connected to",
    ),
    opt("tls_protocols", "string", "!SSLv2,!SSLv3", "TLS versions"),
    opt(
        "tls_ciphers",
        "string",
        "",
        "cipher list; not available yet",
    ),
    opt(
        "tls_verify_host",
        "boolean",
        "false",
        "check the certificate's name against the host",
    ),
    opt(
        "tls_verify_name",
        "array",
        "",
        "names that the certificate may have",
    ),
    opt(
        "tls_default_ca",
        "boolean",
        "true",
        "trust the system's certificate authorities",
    ),
    opt(
        "tls_client_cert",
        "string|array",
        "",
        "client certificate; not available yet",
    ),
    opt(
        "xclient",
        "array",
        "",
        "XCLIENT attributes; not available yet",
    ),
    opt("mx_include", "array", "", "use only these MX names"),
    opt("mx_exclude", "array", "", "do not use these MX names"),
    opt(
        "ip_exclude",
        "array",
        "",
        "do not use these addresses or networks",
    ),
    opt("jobid", "string", "", "job for the policies"),
    opt("tenantid", "string", "", "tenant for the policies"),
    opt("timeout", "array", "", "seconds by SMTP state"),
    opt("connect_timeout", "number", "30", "seconds"),
    opt(
        "dsn",
        "array",
        "",
        "RFC 3461 data for this attempt, and `success`: relayed or delivered",
    ),
    opt(
        "plugin",
        "array",
        "",
        "deliver through a plugin; not available yet",
    ),
    opt(
        "pooling",
        "array",
        "",
        "enabled, timeout, transactions, evictable",
    ),
    opt(
        "chunking",
        "boolean",
        "false",
        "send with BDAT; not available yet",
    ),
];

/// Options that ask for what the client cannot do yet: set, they are refused.
const NOT_YET: &[&str] = &[
    "nonlocal_source",
    "proxyprotocol",
    "saslusername",
    "saslpassword",
    "tls_ciphers",
    "tls_client_cert",
    "xclient",
    "plugin",
    "chunking",
];

/// Reads the options of `Try`.
fn read_try(value: &Value, book: Option<&AddressBook>) -> Result<Try, Throw> {
    let reader = Reader::new("Try", value);
    for name in NOT_YET {
        if reader
            .get(name)
            .is_some_and(|value| angarium_runtime::convert::truthy(&value))
        {
            return Err(reader.refuse(name, "not available yet"));
        }
    }
    let string =
        |name: &str| Ok::<_, Throw>(reader.text(name)?.map(|text| text.to_str().into_owned()));
    let strings = |name: &str| {
        Ok::<Vec<String>, Throw>(
            reader
                .texts(name)?
                .iter()
                .map(|text| text.to_str().into_owned())
                .collect(),
        )
    };
    let mut attempt = Try::default();
    let (plan, client) = (&mut attempt.plan, &mut attempt.client);
    plan.host = reader.text("host")?.map(|host| match host.as_bytes() {
        b"lookup-mx" => HostOverride::LookupMx,
        _ => HostOverride::Host(host),
    });
    if let Some(port) = reader.get("port") {
        let port = to_number(&port);
        if port.fract() != 0.0 || !(1.0..=65_535.0).contains(&port) {
            return Err(reader.refuse("port", "expected a number from 1 to 65535"));
        }
        plan.port = Some(port as u16);
    }
    client.lmtp = match string("protocol")?.as_deref() {
        None => None,
        Some("smtp") => Some(false),
        Some("lmtp") => Some(true),
        Some(other) => {
            return Err(reader.refuse("protocol", &format!("\"{other}\" is neither smtp nor lmtp")));
        }
    };
    if let Some(sender) = reader.get("sender") {
        let path = envelope::reverse_path(&sender, "Try: option sender")?;
        client.sender = Some(Address::new(path.localpart(), path.domain()));
        client.senderparams = Reader::new("Try", &sender).pairs("params")?;
    }
    if let Some(recipient) = reader.get("recipient") {
        let mailbox = envelope::mailbox(&recipient, "Try: option recipient")?;
        plan.domain = Some(Text::from(mailbox.domain()));
        client.recipient = Some(Address::new(mailbox.localpart(), mailbox.domain()));
        client.recipientparams = Reader::new("Try", &recipient).pairs("params")?;
    }
    client.helo = string("helo")?;
    if let Some(list) = reader.array("sourceip")? {
        let mut addresses = Vec::new();
        for entry in list.as_array().into_iter().flat_map(|list| list.values()) {
            addresses.push(source(&entry, book)?);
        }
        let ordered = reader.boolean("sourceip_random") == Some(false);
        plan.sources = Some(Sources {
            addresses: addresses.into(),
            ordered,
        });
    }
    client.tls = match string("tls")? {
        Some(name) => Some(TlsMode::from_name(&name).map_err(|why| reader.refuse("tls", &why))?),
        None => None,
    };
    client.tls_sni = match reader.get("tls_sni") {
        None | Some(Value::Boolean(false)) => None,
        Some(Value::Boolean(true)) => Some(String::new()),
        Some(name) => Some(to_str(&name).to_text().into_owned()),
    };
    client.tls_verify_host = reader.boolean("tls_verify_host");
    client.tls_verify_name = strings("tls_verify_name")?;
    client.tls_default_ca = reader.boolean("tls_default_ca");
    client.tls_protocols = string("tls_protocols")?;
    plan.mx_include = reader.texts("mx_include")?;
    plan.mx_exclude = reader.texts("mx_exclude")?;
    for network in strings("ip_exclude")? {
        let parsed = network
            .parse()
            .or_else(|_| network.parse::<IpAddr>().map(Into::into));
        plan.ip_exclude.push(
            parsed.map_err(|_| {
                reader.refuse("ip_exclude", &format!("\"{network}\" is no network"))
            })?,
        );
    }
    plan.jobid = reader.text("jobid")?;
    plan.tenantid = reader.text("tenantid")?;
    if let Some(timeouts) = reader.array("timeout")? {
        for (state, seconds) in timeouts.as_array().into_iter().flat_map(|list| list.iter()) {
            let name = to_str(&state.to_value()).to_text().into_owned();
            let Some(state) = SmtpState::from_name(&name) else {
                return Err(reader.refuse("timeout", &format!("\"{name}\" is no SMTP state")));
            };
            let seconds = to_number(&seconds);
            if !seconds.is_finite() || seconds <= 0.0 {
                return Err(reader.refuse("timeout", "expected numbers of seconds"));
            }
            client
                .timeouts
                .push((state, Duration::from_secs_f64(seconds.min(86_400.0))));
        }
    }
    client.connect_timeout = reader.seconds("connect_timeout")?;
    if let Some(dsn) = reader.array("dsn")? {
        plan.dsn = dsn_request("Try", &dsn)?;
        plan.success_is_delivered = match Reader::new("Try", &dsn)
            .text("success")?
            .as_ref()
            .map(Text::as_bytes)
        {
            None | Some(b"relayed") => false,
            Some(b"delivered") => true,
            Some(_) => return Err(reader.refuse("dsn.success", "expected relayed or delivered")),
        };
    }
    if let Some(pooling) = reader.array("pooling")? {
        let pooling = Reader::new("Try", &pooling);
        client.pooling = pooling.boolean("enabled");
        client.pooling_timeout = pooling.seconds("timeout")?;
        client.pooling_transactions = pooling
            .get("transactions")
            .map(|number| to_number(&number) as u64);
        client.pooling_evictable = pooling.boolean("evictable");
    }
    Ok(attempt)
}

/// The configured source addresses by id.
#[derive(Debug, Default)]
pub struct AddressBook(pub HashMap<String, SourceIp>);

/// One entry of `sourceip`: an id or address, or an array with `id` or `address`, and `helo`.
fn source(entry: &Value, book: Option<&AddressBook>) -> Result<SourceIp, Throw> {
    let text = |value: Value| to_str(&value).to_text().into_owned();
    let (name, helo) = match entry.as_array() {
        Some(array) => {
            // Scripts of the vendor write ["id or address", "name for EHLO"] too.
            let first = |name: &str, position: usize| {
                let value = array
                    .get_str(name)
                    .or_else(|| array.get(&Key::from(position)));
                value.filter(|value| !value.is_none()).map(text)
            };
            (
                array
                    .get_str("address")
                    .map(text)
                    .or_else(|| first("id", 0)),
                first("helo", 1),
            )
        }
        None => (Some(text(entry.clone())), None),
    };
    let name =
        name.ok_or_else(|| Throw::error("Try: option sourceip: an entry needs id or address"))?;
    let mut source = match (
        book.and_then(|book| book.0.get(&name)),
        name.parse::<IpAddr>(),
    ) {
        (Some(source), _) => source.clone(),
        (None, Ok(address)) => SourceIp {
            id: None,
            address,
            helo: None,
        },
        (None, Err(_)) => {
            return Err(Throw::error(format!(
                "Try: option sourceip: \"{name}\" is no address and no configured id"
            )));
        }
    };
    if let Some(helo) = helo {
        source.helo = Some(Text::from(helo));
    }
    Ok(source)
}

/// After an attempt, and when a message is removed.
pub static POSTDELIVERY: ContextDecl = ContextDecl {
    name: "postdelivery",
    functions: &[&[
        FnDecl::plain(
            "Queue(options?: array)",
            "Queues the message again, also beyond the greatest number of retries.",
            |cx, args| {
                undelivered(cx, "Queue")?;
                Err(match again(args.get(0)) {
                    Ok(again) => Throw::end(Postdelivery::Queue(Box::new(again))),
                    Err(error) => error,
                })
            },
        )
        .options(QUEUEAGAIN)
        .groups(&["QUEUEAGAIN"]),
        FnDecl::plain(
            "Bounce(options?: array)",
            "Gives the message up and tells its sender.",
            |cx, args| {
                undelivered(cx, "Bounce")?;
                let reader = Reader::new("Bounce", args.get(0));
                let dsn = Box::new(dsn_options("Bounce", reader.array("dsn")?)?);
                Err(Throw::end(Postdelivery::Bounce {
                    reason: reader.text("reason")?,
                    dsn,
                }))
            },
        )
        .options(&[
            DSN,
            opt("reason", "string", "", "text that replaces the diagnostic"),
        ]),
        FnDecl::plain(
            "Delete()",
            "Gives the message up and tells nobody.",
            |cx, _| {
                undelivered(cx, "Delete")?;
                Err(Throw::end(Postdelivery::Delete))
            },
        ),
        FnDecl::plain(
            "Default()",
            "Does what $arguments[\"action\"] says.",
            |_, _| Err(Throw::end(Postdelivery::Default)),
        ),
        SET_METADATA,
        GET_METADATA,
    ]],
    classes: &[],
    variables: &join!(
        &[
            always(
                "$arguments.retry",
                "number",
                "number of this attempt, 0 for the first"
            ),
            always(
                "$arguments.expired",
                "boolean",
                "whether the greatest age or number of retries has passed"
            ),
            when(
                "$arguments.action",
                "string",
                "(missing after success)",
                "default action: DELETE, BOUNCE or QUEUE"
            ),
            sometimes("$arguments.grouping", "string", "matched grouping"),
            when(
                "$arguments.policy.tags",
                "array",
                "(if an attempt was made)",
                "tags of the applied policies"
            ),
            when(
                "$arguments.policy.policies",
                "array",
                "(if an attempt was made)",
                "the applied policies"
            ),
            when(
                "$arguments.attempt.result.code",
                "number",
                "(if an SMTP reply)",
                "reply code"
            ),
            sometimes(
                "$arguments.attempt.result.enhanced",
                "array",
                "enhanced status, three numbers"
            ),
            when(
                "$arguments.attempt.result.reason",
                "array",
                "(if an SMTP reply)",
                "reply lines"
            ),
            when(
                "$arguments.attempt.result.state",
                "string",
                "(if an SMTP reply)",
                "what the reply answered"
            ),
            when(
                "$arguments.attempt.error.temporary",
                "boolean",
                "(if no SMTP reply)",
                "whether a later attempt may succeed"
            ),
            when(
                "$arguments.attempt.error.message",
                "string",
                "(if no SMTP reply)",
                "what went wrong"
            ),
            when(
                "$arguments.attempt.error.type",
                "string",
                "(6.x)",
                "config, dns, network, dane, protocol, smtp, tls or plugin"
            ),
            when(
                "$arguments.attempt.error.dns",
                "string",
                "(type dns)",
                "other, nxdomain, nullmx, ipfamily, nodata or excluded"
            ),
            when(
                "$arguments.attempt.connection.id",
                "string",
                "(6.x)",
                "id of the connection"
            ),
            when(
                "$arguments.attempt.connection.transactions",
                "number",
                "(6.x)",
                "transactions on it, this one included"
            ),
            when(
                "$arguments.attempt.connection.localip",
                "string",
                "(if chosen)",
                "source address"
            ),
            sometimes(
                "$arguments.attempt.connection.localipid",
                "string",
                "id of the source address"
            ),
            when(
                "$arguments.attempt.connection.helo",
                "string",
                "(6.x)",
                "EHLO name sent"
            ),
            when(
                "$arguments.attempt.connection.remoteip",
                "string",
                "(if chosen)",
                "address of the peer"
            ),
            when(
                "$arguments.attempt.connection.remotemx",
                "string",
                "(if chosen)",
                "host name of the peer"
            ),
            when(
                "$arguments.attempt.connection.remotegreet",
                "array",
                "(220 only)",
                "lines of the greeting"
            ),
            when(
                "$arguments.attempt.connection.tls.started",
                "boolean",
                "(if TLS was tried)",
                "whether TLS was started"
            ),
            sometimes(
                "$arguments.attempt.connection.tls.protocol",
                "string",
                "TLS version"
            ),
            sometimes(
                "$arguments.attempt.connection.tls.cipher",
                "string",
                "cipher"
            ),
            sometimes(
                "$arguments.attempt.connection.tls.keysize",
                "number",
                "bits"
            ),
            sometimes(
                "$arguments.attempt.connection.tls.peercert.x509",
                "X509Resource",
                "certificate of the peer"
            ),
            sometimes(
                "$arguments.attempt.connection.tls.peercert.chain",
                "array",
                "its chain, X509Resource values"
            ),
            sometimes(
                "$arguments.attempt.connection.tls.peercert.error",
                "number",
                "OpenSSL's number of what is wrong with it, 0 for nothing"
            ),
            sometimes(
                "$arguments.attempt.connection.tls.tlsrpt",
                "string",
                "RFC 8460 result type of a failure"
            ),
            when(
                "$arguments.attempt.connection.tls.tlsa.error.temporary",
                "boolean",
                "(TLSA lookup failed)",
                "whether a later look-up may succeed"
            ),
            when(
                "$arguments.attempt.connection.tls.tlsa.records",
                "array",
                "(TLSA found)",
                "the records, a list"
            ),
            sometimes(
                "$arguments.attempt.connection.tls.tlsa.records.usage",
                "number",
                "certificate usage of a record"
            ),
            sometimes(
                "$arguments.attempt.connection.tls.tlsa.records.selector",
                "number",
                "selector of a record"
            ),
            sometimes(
                "$arguments.attempt.connection.tls.tlsa.records.mtype",
                "number",
                "matching type of a record"
            ),
            sometimes(
                "$arguments.attempt.connection.tls.tlsa.records.data",
                "string",
                "data of a record in hex"
            ),
            when(
                "$arguments.attempt.duration",
                "number",
                "(attempt)",
                "seconds"
            ),
            when(
                "$arguments.attempt.plugin.return",
                "any",
                "(plugin)",
                "value from a delivery plugin"
            ),
            sometimes(
                "$arguments.dsn.action",
                "string",
                "notification about to be sent: delayed, failed, relayed or delivered"
            ),
            when(
                "$arguments.dsn.id",
                "array",
                "(if generated)",
                "transaction and queue of the notification"
            ),
            sometimes(
                "$arguments.dsn.status",
                "array",
                "its status, three numbers"
            ),
            sometimes("$arguments.dsn.diagnostictype", "string", "smtp or x-error"),
            sometimes(
                "$arguments.dsn.diagnosticcode",
                "string",
                "such as 550 5.1.1 no such user"
            ),
            sometimes(
                "$arguments.queue.plugin.return",
                "any",
                "value from a queue plugin"
            ),
        ],
        MESSAGE,
        &[VarDecl {
            path: "$context",
            types: "any",
            available: "(only after predelivery)",
            doc: "what predelivery left",
            writable: false,
        }]
    ),
};

/// Set for a postdelivery script that runs after success.
#[derive(Debug, Clone, Copy)]
pub struct Delivered;

fn undelivered(cx: &Cx<'_>, function: &str) -> Outcome {
    match cx.host.extension::<Delivered>() {
        Some(_) => Err(Throw::error(format!(
            "{function}: {}",
            angarium_queue::outcome::AlreadyDelivered
        ))),
        None => Ok(Value::None),
    }
}

/// Ends a script with the context's default verdict; used where a hook is missing.
#[must_use]
pub fn try_by_default() -> Predelivery {
    Predelivery::Try(Box::default())
}
