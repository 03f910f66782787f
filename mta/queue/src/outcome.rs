//! From the end of an attempt to what happens to the message.
//!
//! Two questions, two functions: [`situation`] says what the default action would be, which is
//! what the postdelivery script is shown; [`decide`] joins it with the script's verdict.
//!
//! Loop safety: a message from the null reverse-path never causes a notification, and every
//! notification is sent from the null reverse-path (RFC 3461 §5.2, RFC 5321 §4.5.5).

use thiserror::Error;

use crate::attempt::{Attempt, DnsError, EnhancedStatus, ErrorKind, Outcome, Reply};
use crate::dsn::{Diagnostic, DsnAction, DsnOptions, DsnRequest, DsnSpec, Notify};
use crate::item::{Item, ItemId};
use crate::retry::{Again, Schedule};
use crate::text::Text;
use crate::time::Timestamp;
use crate::transport::Transport;

/// Why postdelivery runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// After an attempt.
    Attempt(Attempt),
    /// The predelivery script said `Bounce` or `Delete`.
    Script {
        /// What it said.
        removal: Removal,
        /// Its reason.
        reason: Option<Text>,
        /// How the notification looks.
        dsn: DsnOptions,
    },
    /// The predelivery script said `Queue`; postdelivery does not run.
    Postponed {
        /// Its reason.
        reason: Option<Text>,
    },
    /// An operator removed the message.
    Manual {
        /// How.
        removal: Removal,
        /// The status to notify.
        status: Option<EnhancedStatus>,
        /// The diagnostic text to notify.
        diagnostic: Option<Text>,
    },
    /// The greatest age passed while the message waited.
    Aged,
    /// The longest time in HOLD passed.
    Retention,
}

/// The two ways to remove a message without delivering it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// Tell the sender.
    Bounce,
    /// Tell nobody.
    Delete,
}

/// The default action: `$arguments["action"]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Remove the message, tell nobody.
    Delete,
    /// Remove the message, tell the sender.
    Bounce,
    /// Try again later.
    Queue,
}

impl Action {
    /// The name that scripts see.
    pub fn as_str(self) -> &'static str {
        match self {
            Action::Delete => "DELETE",
            Action::Bounce => "BOUNCE",
            Action::Queue => "QUEUE",
        }
    }
}

/// What is known about the message when its attempt is over.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The message.
    pub item: &'a Item,
    /// Its transport.
    pub transport: &'a Transport,
    /// Its RFC 3461 data, with what `Try` overrode.
    pub request: &'a DsnRequest,
    /// Whether `Try` said that success at a peer without DSN is delivery.
    pub success_is_delivered: bool,
    /// The time.
    pub now: Timestamp,
}

/// What the postdelivery script is shown, apart from the attempt itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Situation {
    /// `$arguments["expired"]`.
    pub expired: bool,
    /// `$arguments["action"]`; none after success.
    pub action: Option<Action>,
    /// `$arguments["dsn"]`.
    pub dsn: DsnArguments,
}

/// `$arguments["dsn"]`: the notification that the default action would cause.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct DsnArguments {
    /// Its action; none if there will be no notification.
    pub action: Option<DsnAction>,
    /// The status.
    pub status: Option<EnhancedStatus>,
    /// Type and text of the diagnostic.
    pub diagnostic: Option<Diagnostic>,
}

/// What the postdelivery script said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// `Default()`, the implicit end, or a script error.
    Default,
    /// `Queue(…)`.
    Queue(Box<Again>),
    /// `Bounce(…)`.
    Bounce {
        /// A text that replaces the diagnostic's.
        reason: Option<Text>,
        /// How the notification looks.
        dsn: Box<DsnOptions>,
    },
    /// `Delete()`.
    Delete,
}

/// What happens to the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It was delivered; a `delivered` or `relayed` notification may be due.
    Done(Option<Box<DsnSpec>>),
    /// It stays: in DEFER until the schedule's time, or in HOLD.
    Requeue {
        /// When, and what changes in the item.
        schedule: Schedule,
        /// The options, with the reason filled in.
        again: Box<Again>,
        /// A `delayed` notification that is due.
        dsn: Option<Box<DsnSpec>>,
    },
    /// It is gone; a `failed` notification may be due.
    Bounce(Option<Box<DsnSpec>>),
    /// It is gone.
    Delete,
}

/// `Queue`, `Bounce` and `Delete` are not allowed after a successful delivery: for the script an
/// Exception.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the message was delivered: only Default() is possible")]
pub struct AlreadyDelivered;

impl Cause {
    fn attempt(&self) -> Option<&Attempt> {
        match self {
            Cause::Attempt(attempt) => Some(attempt),
            _ => None,
        }
    }

    /// The options for a notification that came with the cause.
    fn options(&self) -> DsnOptions {
        match self {
            Cause::Script { dsn, .. } => dsn.clone(),
            _ => DsnOptions::default(),
        }
    }

    /// Whether the message was delivered.
    pub fn is_success(&self) -> bool {
        self.attempt()
            .is_some_and(|attempt| attempt.outcome.is_success())
    }
}

/// Works out the default action and the notification that it would cause.
pub fn situation(cause: &Cause, context: &Context<'_>) -> Situation {
    let Context {
        item,
        transport,
        now,
        ..
    } = *context;
    let expired = *cause == Cause::Aged || transport.retry.expired(item, now);
    if let Some(attempt) = cause
        .attempt()
        .filter(|attempt| attempt.outcome.is_success())
    {
        let action = success_notice(attempt, context);
        let dsn = match action {
            Some(_) => DsnArguments {
                action,
                status: Some(status(cause, false)),
                diagnostic: diagnostic(cause, None),
            },
            None => DsnArguments::default(),
        };
        return Situation {
            expired,
            action: None,
            dsn,
        };
    }
    let options = cause.options();
    let wanted = match cause {
        Cause::Attempt(attempt) if attempt.outcome.is_permanent() || expired => Action::Bounce,
        Cause::Attempt(_) | Cause::Postponed { .. } => Action::Queue,
        Cause::Script { removal, .. } | Cause::Manual { removal, .. } => match removal {
            Removal::Bounce => Action::Bounce,
            Removal::Delete => Action::Delete,
        },
        Cause::Aged => Action::Bounce,
        Cause::Retention => Action::Delete,
    };
    let notices = notice_transport(context, &options).is_some();
    let action = if wanted == Action::Bounce && !notices {
        Action::Delete
    } else {
        wanted
    };
    let notice = match action {
        Action::Delete => None,
        Action::Bounce => Some(DsnAction::Failed),
        Action::Queue => {
            let next = transport.retry.schedule(item, &Again::by_default(), now, 0);
            next.notify.then_some(DsnAction::Delayed)
        }
    };
    Situation {
        expired,
        action: Some(action),
        dsn: DsnArguments {
            action: notice.filter(|notice| may_notify(*notice, context, &options)),
            status: Some(status(cause, expired && action != Action::Queue)),
            diagnostic: diagnostic(cause, None),
        },
    }
}

/// Joins the default action with the script's verdict.
///
/// `announced` is the id of the notification that the script was shown, if any; `random` decides
/// on the jitter of the retry.
///
/// # Errors
/// The verdict needs a message, but it was delivered.
pub fn decide(
    cause: &Cause,
    context: &Context<'_>,
    verdict: Verdict,
    announced: Option<ItemId>,
    random: u64,
) -> Result<Decision, AlreadyDelivered> {
    let shown = situation(cause, context);
    let spec = |action, reason: Option<&Text>, options: DsnOptions, until| {
        let expired = shown.expired && action == DsnAction::Failed;
        notification(cause, context, action, expired, reason, options, until).map(|spec| {
            Box::new(DsnSpec {
                id: announced,
                ..spec
            })
        })
    };
    let Some(default) = shown.action else {
        return match verdict {
            Verdict::Default => {
                Ok(Decision::Done(shown.dsn.action.and_then(|action| {
                    spec(action, None, cause.options(), None)
                })))
            }
            _ => Err(AlreadyDelivered),
        };
    };
    let requeue = |mut again: Again| {
        let schedule = context
            .transport
            .retry
            .schedule(context.item, &again, context.now, random);
        again.reason = again
            .reason
            .or_else(|| diagnostic(cause, None).map(|diagnostic| Text::from(diagnostic.text())));
        let retry = &context.transport.retry;
        let until = (!again.hold).then(|| retry.gives_up(context.item, &schedule));
        let dsn = (schedule.notify || again.dsn_delayed)
            .then(|| {
                spec(
                    DsnAction::Delayed,
                    again.reason.as_ref(),
                    again.dsn.clone(),
                    until,
                )
            })
            .flatten();
        Decision::Requeue {
            schedule,
            again: Box::new(again),
            dsn,
        }
    };
    Ok(match (verdict, default) {
        (Verdict::Queue(again), _) => requeue(*again),
        (Verdict::Default, Action::Queue) => requeue(Again::by_default()),
        (Verdict::Bounce { reason, dsn }, _) => {
            Decision::Bounce(spec(DsnAction::Failed, reason.as_ref(), *dsn, None))
        }
        (Verdict::Default, Action::Bounce) => {
            Decision::Bounce(spec(DsnAction::Failed, None, cause.options(), None))
        }
        (Verdict::Delete, _) | (Verdict::Default, Action::Delete) => Decision::Delete,
    })
}

/// The notification after success, if one is wanted and the peer will not send it.
fn success_notice(attempt: &Attempt, context: &Context<'_>) -> Option<DsnAction> {
    let forwarded = attempt
        .connection
        .as_ref()
        .is_some_and(|connection| connection.dsn);
    let action = if attempt.final_delivery || context.success_is_delivered {
        DsnAction::Delivered
    } else {
        DsnAction::Relayed
    };
    (!forwarded && may_notify(action, context, &DsnOptions::default())).then_some(action)
}

/// The transport of a notification; none if notifications are off.
fn notice_transport<'a>(context: &'a Context<'_>, options: &'a DsnOptions) -> Option<&'a Text> {
    options
        .transportid
        .as_ref()
        .or(context.transport.dsn_transport.as_ref())
}

/// Whether a notification may be sent: to whom, by what, and does the sender want it (RFC 3461
/// §5.2)?
fn may_notify(action: DsnAction, context: &Context<'_>, options: &DsnOptions) -> bool {
    let wanted = match (action, context.request.notify) {
        (DsnAction::Failed | DsnAction::Delayed, None) => true,
        (DsnAction::Delivered | DsnAction::Relayed, None) => false,
        (DsnAction::Failed, Some(notify)) => notify.has(Notify::FAILURE),
        (DsnAction::Delayed, Some(notify)) => notify.has(Notify::DELAY),
        (DsnAction::Delivered | DsnAction::Relayed, Some(notify)) => notify.has(Notify::SUCCESS),
    };
    let nobody = options.recipient.as_ref().is_some_and(|to| to.is_null());
    wanted
        && !context.item.sender.is_null()
        && !nobody
        && notice_transport(context, options).is_some()
}

fn notification(
    cause: &Cause,
    context: &Context<'_>,
    action: DsnAction,
    expired: bool,
    reason: Option<&Text>,
    options: DsnOptions,
    will_retry_until: Option<Timestamp>,
) -> Option<DsnSpec> {
    if !may_notify(action, context, &options) {
        return None;
    }
    let transportid = notice_transport(context, &options)?.clone();
    let attempt = cause.attempt();
    // A failed notice replaces the diagnostic's text only by a reason that a script gave.
    let reason = reason.filter(|_| action == DsnAction::Failed);
    Some(DsnSpec {
        id: None,
        original: context.item.clone(),
        action,
        status: status(cause, expired),
        diagnostic: diagnostic(cause, reason),
        in_reply_to: attempt.and_then(|attempt| match &attempt.outcome {
            Outcome::Result(reply) => Some(reply.state.as_str()),
            Outcome::Error(_) => None,
        }),
        remote_mta: attempt.and_then(|attempt| attempt.connection.as_ref()?.remotemx.clone()),
        request: context.request.clone(),
        recipient: options
            .recipient
            .clone()
            .unwrap_or_else(|| context.item.sender.clone()),
        transportid,
        options,
        last_attempt: attempt.map(|_| context.now),
        will_retry_until,
    })
}

/// The `Status` of a notification: the reply's own, else by what went wrong.
fn status(cause: &Cause, expired: bool) -> EnhancedStatus {
    let by_class = |class| match class {
        4 if expired => EXPIRED,
        class => EnhancedStatus::new(class, 0, 0),
    };
    match cause {
        Cause::Attempt(attempt) => match &attempt.outcome {
            Outcome::Result(Reply {
                enhanced: Some(status),
                ..
            }) => *status,
            Outcome::Result(reply) => by_class(reply.code / 100),
            Outcome::Error(error) => match (error.status, error.kind) {
                (Some(status), _) => status,
                (None, ErrorKind::Dns(DnsError::NxDomain)) => EnhancedStatus::new(5, 1, 2),
                (None, ErrorKind::Dns(DnsError::NullMx)) => EnhancedStatus::new(5, 1, 10),
                (None, ErrorKind::Tls | ErrorKind::Dane) => EnhancedStatus::new(4, 7, 5),
                (None, ErrorKind::Network) if !expired => EnhancedStatus::new(4, 4, 1),
                (None, _) => by_class(if error.temporary { 4 } else { 5 }),
            },
        },
        Cause::Script { .. } | Cause::Retention => by_class(5),
        Cause::Postponed { .. } => by_class(4),
        Cause::Manual { status, .. } => status.unwrap_or_else(|| by_class(5)),
        Cause::Aged => EXPIRED,
    }
}

/// RFC 3463 §3.5: delivery time expired.
const EXPIRED: EnhancedStatus = EnhancedStatus::new(4, 4, 7);

/// The diagnostic of a cause; `reason` replaces its text, but not the codes of a reply.
fn diagnostic(cause: &Cause, reason: Option<&Text>) -> Option<Diagnostic> {
    let own = |text: &str| {
        Some(Diagnostic::Error(
            reason.map_or_else(|| text.to_owned(), |text| text.to_string()),
        ))
    };
    let given = |text: &Option<Text>, default: &str| match text {
        Some(text) => own(&text.to_str()),
        None => own(default),
    };
    match cause {
        Cause::Attempt(attempt) => match &attempt.outcome {
            Outcome::Result(reply) => Some(Diagnostic::Smtp(reply_text(reply, reason))),
            Outcome::Error(error) => own(&error.message),
        },
        Cause::Script {
            removal: Removal::Bounce,
            reason,
            ..
        } => given(reason, "bounced by policy"),
        Cause::Script {
            removal: Removal::Delete,
            reason,
            ..
        } => given(reason, "deleted by policy"),
        Cause::Manual {
            removal: Removal::Bounce,
            diagnostic,
            ..
        } => given(diagnostic, "bounced by the administrator"),
        Cause::Manual {
            removal: Removal::Delete,
            diagnostic,
            ..
        } => given(diagnostic, "deleted by the administrator"),
        Cause::Aged => own("the message could not be delivered in time"),
        Cause::Postponed { reason } => reason
            .as_ref()
            .map(|reason| Diagnostic::Error(reason.to_string())),
        Cause::Retention => own("the message was held for its longest time"),
    }
}

/// A reply in one line: `550 5.1.1 no such user`.
fn reply_text(reply: &Reply, reason: Option<&Text>) -> String {
    let mut words = vec![reply.code.to_string()];
    words.extend(reply.enhanced.map(|enhanced| enhanced.to_string()));
    match reason {
        Some(reason) => words.push(reason.to_string()),
        None => words.extend(reply.reason.iter().map(Text::to_string)),
    }
    words.retain(|word| !word.is_empty());
    words.join(" ")
}

#[cfg(test)]
mod tests;
