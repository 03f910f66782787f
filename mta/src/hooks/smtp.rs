//! The phases of a session except eod: connect, helo, mailfrom, rcptto, disconnect.

use angarium_runtime::convert::to_str;
use angarium_runtime::native::{Args, ContextDecl, Cx, FnDecl, Outcome, Throw, opt};
use angarium_runtime::value::Value;
use angarium_smtp::verdict::{Accept, Function, Verdict};

use super::envelope;
use super::reply::{REASON, REFUSAL, REPLY_CODES, accept_reply, refusal};
use super::variables::{self as vars, always, join, sometimes};

/// Ends a script without a verdict of its own (`Pass()`).
#[derive(Debug, PartialEq, Eq)]
pub struct Pass;

const REJECT: &str = "Reject(reason?: string|array, options?: array)";
const DEFER: &str = "Defer(reason?: string|array, options?: array)";

/// Reject with the default code of its phase.
pub(super) const fn reject(doc: &'static str) -> FnDecl {
    FnDecl::plain(REJECT, doc, |_, args| Err(refusal(Function::Reject, &args)))
        .options(REFUSAL)
        .groups(&["REPLY"])
}

/// Defer with the default code of its phase.
pub(super) const fn defer(doc: &'static str) -> FnDecl {
    FnDecl::plain(DEFER, doc, |_, args| Err(refusal(Function::Defer, &args)))
        .options(REFUSAL)
        .groups(&["REPLY"])
}

/// Before the banner.
pub static CONNECT: ContextDecl = ContextDecl {
    name: "connect",
    functions: &[&[
        FnDecl::plain(
            "Accept(options?: array)",
            "Sends the banner and goes on.",
            connect_accept,
        )
        .options(&[
            opt(
                "reason",
                "string",
                "",
                "text of the banner; HOSTNAME ESMTP when absent",
            ),
            opt(
                "remoteip",
                "string",
                "",
                "take this as the client's address",
            ),
            opt("remoteptr", "string", "", "take this as the client's name"),
            REPLY_CODES,
        ]),
        reject("Answers 521 instead of the banner and closes."),
        defer("Answers 421 instead of the banner and closes."),
    ]],
    classes: &[],
    variables: &[
        always("$arguments.remoteip", "string", "address of the client"),
        always("$arguments.remoteport", "number", "port of the client"),
        sometimes(
            "$arguments.remoteptr",
            "string",
            "name of the client, confirmed forwards",
        ),
        sometimes(
            "$arguments.remoteptrresult",
            "array",
            "`reverse`, the answer for the address, and `forward`, by name the answers for its names",
        ),
        sometimes(
            "$arguments.remoteuid",
            "number",
            "user id of the client of a Unix socket",
        ),
        sometimes(
            "$arguments.remoteuser",
            "string",
            "name of the user of a Unix socket",
        ),
        always("$arguments.localip", "string", "address of the server"),
        always("$arguments.localport", "number", "port of the server"),
        always("$arguments.serverid", "string", "id of the server"),
        sometimes(
            "$arguments.proxyip",
            "string",
            "address of the peer that sent a PROXY header",
        ),
        sometimes(
            "$arguments.proxytlv",
            "string",
            "TLVs of a PROXY v2 header in hex",
        ),
        always("$connection.id", "string", "id of the connection"),
        always(
            "$connection.priority",
            "number",
            "priority of the connection",
        ),
        vars::TRANSACTION_ID,
        vars::CONTEXT,
    ],
};

fn connect_accept(_: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    let options = args.options(0);
    let mut accept = Accept {
        reply: accept_reply(options)?,
        ..Accept::default()
    };
    if let Some(address) = options.string("remoteip") {
        let parsed = address.to_text().parse();
        let parsed = parsed
            .map_err(|_| Throw::error(format!("Accept: {address:?} is not an IP address")))?;
        accept.remote_ip = Some(parsed);
    }
    accept.remote_ptr = options
        .string("remoteptr")
        .map(|name| name.to_text().into_owned());
    Err(Throw::end(Verdict::Accept(Box::new(accept))))
}

/// HELO and EHLO.
pub static HELO: ContextDecl = ContextDecl {
    name: "helo",
    functions: &[&[
        FnDecl::plain(
            "Accept(options?: array)",
            "Accepts the greeting.",
            helo_accept,
        )
        .options(&[
            opt(
                "extensions",
                "array",
                "",
                "complete list to announce; ignored for HELO",
            ),
            opt(
                "host",
                "string",
                "",
                "take this as the name that the client gave",
            ),
            opt(
                "reason",
                "string",
                "",
                "first line of the reply; the server's name when absent",
            ),
            REPLY_CODES,
        ]),
        reject("Answers 554."),
        defer("Answers 450."),
    ]],
    classes: &[],
    variables: &join!(
        &[
            always("$arguments.verb", "string", "HELO or EHLO"),
            always("$arguments.host", "string", "name that the client gave"),
            vars::when(
                "$arguments.extensions",
                "array",
                "EHLO only",
                "lines about to be announced"
            ),
        ],
        vars::CONNECTION,
        vars::AUTH,
        &[vars::TRANSACTION_ID, vars::CONTEXT]
    ),
};

fn helo_accept(_: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    let options = args.options(0);
    let mut accept = Accept {
        reply: accept_reply(options)?,
        ..Accept::default()
    };
    accept.host = options
        .string("host")
        .map(|name| name.to_text().into_owned());
    if let Some(list) = options.get("extensions") {
        let Some(list) = list.as_array() else {
            return Err(Throw::error("Accept: option extensions: expected array"));
        };
        accept.extensions = Some(list.values().map(|line| to_str(&line).into_vec()).collect());
    }
    Err(Throw::end(Verdict::Accept(Box::new(accept))))
}

/// MAIL FROM.
pub static MAILFROM: ContextDecl = ContextDecl {
    name: "mailfrom",
    functions: &[&[
        FnDecl::plain(
            "Accept(options?: array)",
            "Accepts the sender.",
            mailfrom_accept,
        )
        .options(&[
            opt(
                "sender",
                "string|array",
                "",
                "take this sender instead: an address, or `localpart` and `domain`",
            ),
            REASON,
            REPLY_CODES,
        ]),
        reject("Answers 554."),
        defer("Answers 450."),
    ]],
    classes: &[],
    variables: &join!(
        &[always(
            "$arguments.sender",
            "string",
            "sender in lower case; empty for the null sender"
        ),],
        vars::ADDRESS,
        &[always(
            "$arguments.params",
            "array",
            "parameters of MAIL, names in upper case"
        ),],
        vars::CONNECTION,
        vars::HELO,
        vars::AUTH,
        &[vars::TRANSACTION_ID, vars::CONTEXT]
    ),
};

fn mailfrom_accept(_: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    let options = args.options(0);
    let mut accept = Accept {
        reply: accept_reply(options)?,
        ..Accept::default()
    };
    if let Some(sender) = options.get("sender") {
        accept.sender = Some(envelope::reverse_path(&sender, "Accept: option sender")?);
    }
    Err(Throw::end(Verdict::Accept(Box::new(accept))))
}

/// RCPT TO.
pub static RCPTTO: ContextDecl = ContextDecl {
    name: "rcptto",
    functions: &[&[
        FnDecl::plain(
            "Accept(options?: array)",
            "Accepts the recipient.",
            rcptto_accept,
        )
        .options(&[
            opt(
                "recipient",
                "string|array",
                "",
                "take this recipient instead: an address, or `localpart` and `domain`",
            ),
            opt("transportid", "string", "", "take this transport instead"),
            REASON,
            REPLY_CODES,
        ]),
        reject("Answers 554."),
        defer("Answers 450."),
    ]],
    classes: &[],
    variables: &join!(
        &[always(
            "$arguments.recipient",
            "string",
            "recipient in lower case"
        ),],
        vars::ADDRESS,
        &[
            always(
                "$arguments.params",
                "array",
                "parameters of RCPT, names in upper case"
            ),
            always(
                "$arguments.transportid",
                "string",
                "transport of the server's configuration"
            ),
        ],
        vars::CONNECTION,
        vars::HELO,
        vars::AUTH,
        vars::TRANSACTION,
        &[vars::CONTEXT]
    ),
};

fn rcptto_accept(_: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    let options = args.options(0);
    let mut accept = Accept {
        reply: accept_reply(options)?,
        ..Accept::default()
    };
    if let Some(recipient) = options.get("recipient") {
        accept.recipient = Some(envelope::mailbox(&recipient, "Accept: option recipient")?);
    }
    accept.transport_id = options
        .string("transportid")
        .map(|id| id.to_text().into_owned());
    Err(Throw::end(Verdict::Accept(Box::new(accept))))
}

/// When a connection has ended.
pub static DISCONNECT: ContextDecl = ContextDecl {
    name: "disconnect",
    functions: &[&[FnDecl::plain(
        "Pass()",
        "Ends the script; nothing can be sent any more.",
        |_, _| Err(Throw::end(Pass)),
    )]],
    classes: &[],
    variables: &join!(
        &[
            always("$arguments.close", "string", "who closed: local or remote"),
            vars::when(
                "$arguments.reply.code",
                "number",
                "(if a reply was last sent)",
                "code of the last reply"
            ),
            sometimes(
                "$arguments.reply.enhanced",
                "array",
                "its enhanced status, three numbers"
            ),
            sometimes("$arguments.reply.reason", "array", "its lines"),
            sometimes(
                "$arguments.reply.state",
                "string",
                "the command that it answered"
            ),
            vars::when(
                "$arguments.error.reason",
                "string",
                "(on error)",
                "what went wrong"
            ),
            sometimes("$arguments.error.type", "string", "socket or tls"),
            sometimes(
                "$arguments.error.code",
                "number",
                "errno or TLS error number"
            ),
        ],
        vars::CONNECTION,
        vars::HELO,
        vars::AUTH,
        &[always("$transaction", "array", "empty"), vars::CONTEXT]
    ),
};

/// The value of the parameter list of MAIL or RCPT.
#[must_use]
pub fn params(params: &angarium_smtp::param::Params) -> Value {
    params
        .pairs()
        .map(|(name, value)| (angarium_runtime::array::Key::from(name), Value::from(value)))
        .collect::<angarium_runtime::array::Array>()
        .into()
}
