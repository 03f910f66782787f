//! The predelivery hook: before an item is tried.

use angarium_queue::dsn::DsnOptions;
use angarium_queue::retry::Again;
use angarium_queue::text::Text;
use angarium_runtime::native::{ContextDecl, FnDecl, Throw, VarDecl, opt};
use angarium_stdlib::network::{Network, NoNames};

use super::attempt::{AddressBook, TRY, Try, read_try};
use super::metadata::{GET_METADATA, SET_METADATA};
use crate::hooks::compat::QueueSetters;
use crate::hooks::options::{DSN, QUEUEAGAIN, Reader, again, dsn_options};
use crate::hooks::queue_variables::MESSAGE;
use crate::hooks::variables::{always, join, sometimes};

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

/// Before an item enters the active queue.
pub static PREDELIVERY: ContextDecl = ContextDecl {
    name: "predelivery",
    functions: &[&[
        FnDecl::plain(
            "Try(options?: array)",
            "Tries to deliver now; what it sets counts for this attempt only.",
            |cx, args| {
                let book = cx.host.extension::<AddressBook>();
                let setters = cx.host.extension::<QueueSetters>();
                let merged = setters.map(|setters| setters.with_options(args.get(0)));
                let options = merged.as_ref().unwrap_or(args.get(0));
                let network = cx.host.extension::<Network>();
                let names = network.as_ref().map(|network| &*network.names);
                Err(
                    match read_try(options, book.as_deref(), names.unwrap_or(&NoNames)) {
                        Ok(attempt) => Throw::end(Predelivery::Try(Box::new(attempt))),
                        Err(error) => error,
                    },
                )
            },
        )
        .options(TRY),
        FnDecl::plain(
            "Queue(options?: array)",
            "Queues the message again without an attempt.",
            |cx, args| {
                Err(match again(cx, args.get(0)) {
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
            |cx, args| {
                let reader = Reader::new("Bounce", args.get(0));
                let older = cx.host.extension::<QueueSetters>();
                let dsn = reader.array("dsn")?.or_else(|| older?.dsn());
                let dsn = Box::new(dsn_options(cx, "Bounce", dsn)?);
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

/// Ends a script with the context's default verdict; used where a hook is missing.
#[must_use]
pub fn try_by_default() -> Predelivery {
    Predelivery::Try(Box::default())
}
