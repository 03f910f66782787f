//! The older hook at the end of data, which runs once for each recipient (`phases.eod.perrecipient`).
//!
//! Its functions act on the recipient at hand: they change where its copy goes, the message of that copy, and say what
//! becomes of it. What all recipients' scripts said together makes the reply ([`decide`]).

mod actions;
pub mod decide;
mod headers;
mod tls;
mod turn;

use angarium_runtime::native::{ContextDecl, FnDecl, OptDecl, VarDecl, opt};
use angarium_stdlib::{dkim, dmarc};

use super::compat::variables as flat;
use super::reply::{DISCONNECT, REASON, REFUSAL, REPLY_CODES};
use super::variables::{self as vars, always, join};

pub use tls::{GET_TLS, TlsOf};

const RECIPIENT: OptDecl = opt(
    "recipient",
    "string|array",
    "",
    "another recipient: an address, or `localpart` and `domain`",
);
const TRANSPORT: OptDecl = opt("transportid", "string", "", "another transport");
const METADATA: OptDecl = opt(
    "metadata",
    "array",
    "",
    "string pairs beside those of SetMetaData",
);
const JOB: OptDecl = opt("jobid", "string", "", "job");
const QUOTAS: OptDecl = opt("quotas", "array", "", "names of quotas that count it");
const DONE: OptDecl = opt(
    "done",
    "boolean",
    "true",
    "end the script for this recipient",
);

/// End of data, for each recipient.
pub static EODRCPT: ContextDecl = ContextDecl {
    name: "eodrcpt",
    functions: &[
        ACTIONS,
        ROUTING,
        headers::FUNCTIONS,
        MESSAGE,
        dkim::LEGACY_EOD,
        dmarc::LEGACY_EOD,
    ],
    classes: &[],
    variables: VARIABLES,
};

const ACTIONS: &[FnDecl] = &[
    FnDecl::plain(
        "Deliver(options?: array)",
        "Queues the message for the recipient, as the end of the script does.",
        actions::deliver,
    )
    .options(&[
        RECIPIENT,
        TRANSPORT,
        METADATA,
        JOB,
        QUOTAS,
        opt("delay", "number", "0", "seconds before the first attempt"),
        DONE,
        opt(
            "queue",
            "boolean",
            "true",
            "false delivers before the reply, which then says how it went",
        ),
        DISCONNECT,
        REASON,
        REPLY_CODES,
    ]),
    FnDecl::plain(
        "Reject(reason?: string|array, options?: array)",
        "Answers 550.",
        actions::reject,
    )
    .options(REFUSAL)
    .groups(&["REPLY"]),
    FnDecl::plain(
        "Defer(reason?: string|array, options?: array)",
        "Answers 421; nothing of the message is kept.",
        actions::defer,
    )
    .options(REFUSAL)
    .groups(&["REPLY"]),
    FnDecl::plain(
        "Delete()",
        "Answers 250 and drops the recipient.",
        actions::delete,
    ),
    FnDecl::plain(
        "Quarantine(quarantineid: string, options?: array)",
        "Puts the message on hold, with the id in its metadata as `quarantineid`.",
        actions::quarantine,
    )
    .options(&[
        RECIPIENT,
        TRANSPORT,
        METADATA,
        JOB,
        QUOTAS,
        DONE,
        opt("reject", "boolean", "true", "answer 5xx; 250 otherwise"),
        REASON,
        REPLY_CODES,
    ]),
    FnDecl::plain(
        "Done()",
        "Ends the script. A recipient for which nothing was done is deferred.",
        actions::done,
    ),
];

const ROUTING: &[FnDecl] = &[
    FnDecl::plain(
        "SetRecipient(recipient: string|array): string|none",
        "Changes the recipient; gives it, or none when it is no address.",
        actions::set_recipient,
    ),
    FnDecl::plain(
        "SetMailTransport(id: string): none",
        "Changes the transport.",
        actions::set_transport,
    ),
    FnDecl::plain(
        "SetDelayedDeliver(delay: number): none",
        "Delays the first attempt by so many seconds.",
        actions::set_delay,
    ),
    FnDecl::plain(
        "SetMetaData(metadata: array): none",
        "Sets the metadata of the message for this recipient and those that follow.",
        actions::set_metadata,
    ),
    FnDecl::plain(
        "GetMetaData(): array",
        "Gives the metadata that was set.",
        actions::get_metadata,
    ),
    FnDecl::plain(
        "SetSender(sender: string|array): string|none",
        "Changes the sender for this recipient and those that follow; gives it, or none when it is no address.",
        actions::set_sender,
    ),
    FnDecl::plain(
        "SetSenderIP(ip: string): string|none",
        "Changes the address of the client for this recipient and those that follow; gives it, or none when it is none.",
        actions::set_sender_ip,
    ),
    FnDecl::plain(
        "SetSenderHELO(hostname: string): string|none",
        "Changes the name that the client gave for this recipient and those that follow; gives it, or none when it is none.",
        actions::set_sender_helo,
    ),
];

const MESSAGE: &[FnDecl] = &[
    FnDecl::plain(
        "GetMailMessage(): MailMessage",
        "Gives the message.",
        actions::mail_message,
    ),
    FnDecl::plain(
        "GetMailFile(options?: array): File",
        "Gives the message as a file, as it was received.",
        actions::mail_file,
    )
    .options(&[opt(
        "changes",
        "boolean",
        "false",
        "with the changes made so far",
    )]),
    GET_TLS,
];

const VARIABLES: &[VarDecl] = &join!(
    flat::CONNECT,
    &[flat::HELO_NAME, flat::TLS_STARTED],
    flat::SASL,
    &[vars::CONTEXT],
    flat::SENDER,
    &[
        always("$recipients", "array", "all recipients in lower case"),
        always("$recipientdomains", "array", "their domains"),
    ],
    flat::RECIPIENT,
    &[always(
        "$actionid",
        "number",
        "number that the next copy of this message gets, from 1",
    )],
);
