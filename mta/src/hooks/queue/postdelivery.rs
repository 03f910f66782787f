//! The postdelivery hook: after an attempt, and when a message is removed.

use angarium_queue::outcome::Verdict as Postdelivery;
use angarium_runtime::native::{ContextDecl, Cx, FnDecl, Outcome, Throw, VarDecl, opt};
use angarium_runtime::value::Value;

use super::metadata::{GET_METADATA, SET_METADATA};
use crate::hooks::compat::QueueSetters;
use crate::hooks::options::{DSN, QUEUEAGAIN, Reader, again, dsn_options};
use crate::hooks::queue_variables::MESSAGE;
use crate::hooks::variables::{always, join, sometimes, when};

/// After an attempt, and when a message is removed.
pub static POSTDELIVERY: ContextDecl = ContextDecl {
    name: "postdelivery",
    functions: &[&[
        FnDecl::plain(
            "Queue(options?: array)",
            "Queues the message again, also beyond the greatest number of retries.",
            |cx, args| {
                undelivered(cx, "Queue")?;
                Err(match again(cx, args.get(0)) {
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
                let older = cx.host.extension::<QueueSetters>();
                let dsn = reader.array("dsn")?.or_else(|| older?.dsn());
                let dsn = Box::new(dsn_options(cx, "Bounce", dsn)?);
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

/// Refuses what makes no sense after success.
///
/// # Errors
/// An Exception.
pub fn undelivered(cx: &Cx<'_>, function: &str) -> Outcome {
    match cx.host.extension::<Delivered>() {
        Some(_) => Err(Throw::error(format!(
            "{function}: {}",
            angarium_queue::outcome::AlreadyDelivered
        ))),
        None => Ok(Value::None),
    }
}
