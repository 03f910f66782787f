//! The flat variables of release 5: their declarations and values.

use angarium_queue::attempt::Outcome;
use angarium_queue::item::Item;
use angarium_queue::outcome::{Action, Cause, Situation};
use angarium_queue::text::Text;
use angarium_runtime::array::{Array, Key};
use angarium_runtime::native::VarDecl;
use angarium_runtime::value::Value;
use angarium_smtp::address::{Mailbox, ReversePath};
use angarium_smtp::server::{AuthArguments, Hook};
use angarium_smtp::session::Session;

use crate::hooks::smtp::params;
use crate::hooks::variables::{always, join, sometimes, when};

/// Names without `$`, and values.
pub type Variables = Vec<(&'static str, Value)>;

pub(in crate::hooks) const CONNECT: &[VarDecl] = &[
    always("$senderip", "string", "address of the client"),
    always("$senderport", "number", "port of the client"),
    always("$serverip", "string", "address of the server"),
    always("$serverport", "number", "port of the server"),
    always("$serverid", "string", "id of the server"),
    always("$messageid", "string", "id of the transaction"),
];

pub(in crate::hooks) const HELO_NAME: VarDecl = always(
    "$senderhelo",
    "string",
    "name that the client gave; empty before",
);

pub(in crate::hooks) const TLS_STARTED: VarDecl =
    always("$tlsstarted", "boolean", "whether the session uses TLS");

const GREETING: &[VarDecl] = &[
    HELO_NAME,
    always("$senderhelotype", "string", "HELO or EHLO; empty before"),
    TLS_STARTED,
];

pub(in crate::hooks) const SASL: &[VarDecl] = &[
    always("$saslauthed", "boolean", "whether the client has logged in"),
    always(
        "$saslusername",
        "string",
        "user name; empty if there is none",
    ),
];

pub(in crate::hooks) const SENDER: &[VarDecl] = &[
    always(
        "$sender",
        "string",
        "sender in lower case; empty for the null sender",
    ),
    always("$senderlocalpart", "string", "its local part"),
    always("$senderdomain", "string", "its domain"),
    always(
        "$senderparams",
        "array",
        "parameters of MAIL, names in upper case",
    ),
];

pub(in crate::hooks) const RECIPIENT: &[VarDecl] = &[
    always("$recipient", "string", "recipient in lower case"),
    always("$recipientlocalpart", "string", "its local part"),
    always("$recipientdomain", "string", "its domain"),
    always(
        "$recipientparams",
        "array",
        "parameters of RCPT, names in upper case",
    ),
    always("$transportid", "string", "transport"),
];

pub(super) const HELO: &[VarDecl] = &join!(CONNECT, GREETING, SASL);
pub(super) const AUTH: &[VarDecl] = &join!(
    CONNECT,
    GREETING,
    &[
        when(
            "$saslusername",
            "string",
            "PLAIN, LOGIN",
            "name of the user"
        ),
        when("$saslpassword", "string", "PLAIN, LOGIN", "password"),
        always("$saslmechanism", "string", "mechanism in upper case"),
        when(
            "$saslstate",
            "number",
            "other mechanisms",
            "0 on AUTH, one more after each Reply"
        ),
        when(
            "$saslresponse",
            "string",
            "other mechanisms",
            "what the client answered, decoded"
        ),
    ]
);
pub(super) const MAILFROM: &[VarDecl] = &join!(CONNECT, GREETING, SASL, SENDER);
pub(super) const RCPTTO: &[VarDecl] = &join!(
    CONNECT,
    GREETING,
    SASL,
    SENDER,
    RECIPIENT,
    &[
        always("$recipients", "array", "recipients accepted so far"),
        always("$recipientdomains", "array", "their domains"),
    ]
);
pub(super) const EOD: &[VarDecl] = &join!(CONNECT, GREETING, SASL, SENDER);

const QUEUE: &[VarDecl] = &join!(
    &[
        always(
            "$senderip",
            "string",
            "address of the client; empty for mail of our own"
        ),
        always("$senderhelo", "string", "name that the client gave"),
        always("$messageid", "string", "id of the transaction"),
        always("$queueid", "number", "number within the transaction"),
        always("$actionid", "number", "the same number"),
        always(
            "$receivedtime",
            "number",
            "Unix time when the transaction began"
        ),
        always("$serverid", "string", "server that received it"),
        always("$retry", "number", "attempts counted so far"),
        always("$retries", "number", "greatest number of attempts"),
    ],
    SASL,
    SENDER,
    RECIPIENT,
);
pub(super) const PREDELIVERY: &[VarDecl] = &join!(
    QUEUE,
    &[
        always(
            "$sourceip",
            "string",
            "source address of the transport; empty when the system chooses"
        ),
        always(
            "$destination",
            "string",
            "host of the transport; empty for the MX"
        ),
        always("$destinationport", "number", "port of the transport"),
    ]
);
pub(super) const POSTDELIVERY: &[VarDecl] = &join!(
    QUEUE,
    &[
        always(
            "$action",
            "string",
            "DELETE, BOUNCE or RETRY; empty after success"
        ),
        always("$errorcode", "number", "code of the reply, 0 without one"),
        always(
            "$errormsg",
            "string",
            "text of the reply, or what went wrong"
        ),
        always(
            "$errorndr",
            "string",
            "enhanced status, such as 5.1.1; empty without one"
        ),
        always("$transfertime", "number", "seconds that the attempt took"),
        always(
            "$sourceip",
            "string",
            "source address, as far as it was chosen"
        ),
        sometimes("$serverip", "string", "address of the peer"),
        always("$serverport", "number", "port of the transport"),
    ]
);

fn list(texts: impl Iterator<Item = String>) -> Value {
    texts.map(Value::from).collect::<Array>().into()
}

fn sender(variables: &mut Variables, sender: &ReversePath) {
    variables.extend([
        ("sender", sender.lower().into()),
        ("senderlocalpart", sender.localpart().into()),
        ("senderdomain", sender.domain().into()),
    ]);
}

fn recipient(variables: &mut Variables, recipient: &Mailbox) {
    variables.extend([
        ("recipient", recipient.lower().into()),
        ("recipientlocalpart", recipient.localpart().into()),
        ("recipientdomain", recipient.domain().into()),
    ]);
}

/// The flat variables of a session's hook; those that its context does not have are not looked at.
#[must_use]
pub fn session_variables(session: &Session, hook: &Hook) -> Variables {
    let connection = &session.connection;
    let (mut host, mut verb) = match &session.helo {
        Some(helo) => (helo.host.as_str(), helo.verb.as_str()),
        None => ("", ""),
    };
    if let Hook::Helo {
        verb: said,
        host: name,
        ..
    } = hook
    {
        (host, verb) = (name, said.as_str());
    }
    let user = session
        .auth
        .as_ref()
        .and_then(|auth| auth.username.as_deref());
    let mut variables = vec![
        ("senderip", connection.remote_ip.to_string().into()),
        ("senderport", u32::from(connection.remote_port).into()),
        ("serverip", connection.local_ip.to_string().into()),
        ("serverport", u32::from(connection.local_port).into()),
        ("serverid", connection.server_id.as_str().into()),
        ("messageid", session.transaction.id.as_str().into()),
        ("senderhelo", host.into()),
        ("senderhelotype", verb.into()),
        ("tlsstarted", session.tls.is_some().into()),
        ("saslauthed", session.auth.is_some().into()),
    ];
    let envelope = session.transaction.envelope.as_ref();
    match hook {
        Hook::Auth {
            mechanism,
            arguments,
        } => {
            variables.push(("saslmechanism", mechanism.as_str().into()));
            match arguments {
                AuthArguments::Credentials { username, password } => variables.extend([
                    ("saslusername", username.as_str().into()),
                    ("saslpassword", password.as_str().into()),
                    ("saslstate", Value::None),
                    ("saslresponse", Value::None),
                ]),
                AuthArguments::Exchange { state, response } => variables.extend([
                    ("saslusername", Value::None),
                    ("saslpassword", Value::None),
                    ("saslstate", (*state).into()),
                    (
                        "saslresponse",
                        response.as_deref().map_or(Value::None, Value::from),
                    ),
                ]),
            }
            return variables;
        }
        Hook::MailFrom {
            sender: path,
            params: given,
        } => {
            sender(&mut variables, path);
            variables.push(("senderparams", params(given)));
        }
        _ => {
            if let Some(envelope) = envelope {
                sender(&mut variables, &envelope.sender);
                variables.push(("senderparams", params(&envelope.params)));
            }
        }
    }
    variables.push(("saslusername", user.unwrap_or_default().into()));
    if let Hook::RcptTo {
        recipient: mailbox,
        params: given,
        transport_id,
    } = hook
    {
        recipient(&mut variables, mailbox);
        let accepted = || {
            envelope
                .into_iter()
                .flat_map(|envelope| &envelope.recipients)
        };
        variables.extend([
            ("recipientparams", params(given)),
            ("transportid", transport_id.as_str().into()),
            (
                "recipients",
                list(accepted().map(|known| known.address.lower())),
            ),
            (
                "recipientdomains",
                list(accepted().map(|known| known.address.domain().to_owned())),
            ),
        ]);
    }
    variables
}

/// `$transaction` whose recipients have their parameters as `recipientparams` too.
#[must_use]
pub fn with_recipientparams(transaction: &Value) -> Value {
    let Some(array) = transaction.as_array() else {
        return transaction.clone();
    };
    let named = |recipient: Value| {
        let Some(entry) = recipient.as_array() else {
            return recipient;
        };
        let params = entry.get_str("params").unwrap_or_default();
        let mut entry: Array = entry.iter().collect();
        entry.insert(Key::from("recipientparams"), params);
        entry.into()
    };
    let mut array: Array = array.iter().collect();
    let slot = array.slot(Key::from("recipients"));
    let list = slot.take();
    *slot = match list.as_array() {
        Some(list) => list.values().map(named).collect::<Array>().into(),
        None => list,
    };
    array.into()
}

/// What a transport of the configuration says, as far as the flat variables tell it.
#[derive(Clone, Debug, Default)]
pub struct TransportFacts {
    /// `connection.server`
    pub server: String,
    /// `connection.port`
    pub port: u16,
    /// The first of `connection.sourceip.addresses`.
    pub source: String,
    /// `retry.count`
    pub retries: u32,
}

fn queue(item: &Item, transport: &TransportFacts) -> Variables {
    let text = |text: &Option<Text>| {
        let text = text.as_ref();
        Value::bytes(text.map_or(&b""[..], |text| text.as_bytes()))
    };
    let number = item.id.queue as f64;
    let ip = item.senderip.map(|address| address.to_string());
    let pairs = |pairs: &angarium_queue::item::Pairs| {
        let pairs = pairs.iter().map(|(name, value)| {
            let key = Key::from(&*name.to_str());
            (key, Value::bytes(value.as_bytes()))
        });
        Value::from(pairs.collect::<Array>())
    };
    let mut variables: Variables = vec![
        ("senderip", ip.unwrap_or_default().into()),
        ("senderhelo", text(&item.senderhelo)),
        ("messageid", item.id.transaction.to_string().into()),
        ("queueid", number.into()),
        ("actionid", number.into()),
        ("receivedtime", item.received.as_secs_f64().into()),
        ("serverid", Value::bytes(item.serverid.as_bytes())),
        ("retry", item.retrycount.into()),
        ("retries", transport.retries.into()),
        ("saslauthed", item.saslusername.is_some().into()),
        ("saslusername", text(&item.saslusername)),
        ("senderparams", pairs(&item.senderparams)),
        ("recipientparams", pairs(&item.recipientparams)),
        ("transportid", Value::bytes(item.transportid.as_bytes())),
    ];
    let lower = |address: &angarium_queue::item::Address| match address.is_null() {
        true => String::new(),
        false => address.to_string().to_lowercase(),
    };
    let part = |text: &Text| Value::bytes(text.as_bytes());
    variables.extend([
        ("sender", lower(&item.sender).into()),
        ("senderlocalpart", part(&item.sender.localpart)),
        ("senderdomain", part(&item.sender.domain)),
        ("recipient", lower(&item.recipient).into()),
        ("recipientlocalpart", part(&item.recipient.localpart)),
        ("recipientdomain", part(&item.recipient.domain)),
    ]);
    variables
}

/// The flat variables of predelivery.
#[must_use]
pub fn predelivery_variables(item: &Item, transport: &TransportFacts) -> Variables {
    let mut variables = queue(item, transport);
    variables.extend([
        ("sourceip", transport.source.as_str().into()),
        ("destination", transport.server.as_str().into()),
        ("destinationport", u32::from(transport.port).into()),
    ]);
    variables
}

/// The flat variables of postdelivery.
#[must_use]
pub fn postdelivery_variables(
    item: &Item,
    transport: &TransportFacts,
    cause: &Cause,
    situation: &Situation,
) -> Variables {
    let mut variables = queue(item, transport);
    let attempt = match cause {
        Cause::Attempt(attempt) => Some(attempt),
        _ => None,
    };
    let (code, message, status) = match attempt.map(|attempt| &attempt.outcome) {
        Some(Outcome::Result(reply)) => {
            let lines: Vec<_> = reply.reason.iter().map(|line| line.to_str()).collect();
            let status = reply
                .enhanced
                .map(|status| format!("{}.{}.{}", status.class, status.subject, status.detail));
            (u32::from(reply.code), lines.join("\n"), status)
        }
        Some(Outcome::Error(error)) => (0, error.message.to_string(), None),
        None => (0, String::new(), None),
    };
    let connection = attempt.and_then(|attempt| attempt.connection.as_ref());
    let source = connection.and_then(|connection| connection.localip);
    let peer = connection.and_then(|connection| connection.remoteip);
    let ip = |address: Option<std::net::IpAddr>| {
        let text = address.map(|address| address.to_string());
        Value::from(text.unwrap_or_default())
    };
    let action = match situation.action {
        None => "",
        Some(Action::Queue) => "RETRY",
        Some(action) => action.as_str(),
    };
    let seconds = attempt.map_or(0.0, |attempt| attempt.duration.as_secs_f64());
    variables.extend([
        ("action", action.into()),
        ("errorcode", code.into()),
        ("errormsg", message.into()),
        ("errorndr", status.unwrap_or_default().into()),
        ("transfertime", seconds.into()),
        ("sourceip", ip(source)),
        ("serverip", ip(peer)),
        ("serverport", u32::from(transport.port).into()),
    ]);
    variables
}
