//! `queue why` and `queue audit`: what keeps a message, who set that, and when it will go.

use std::fmt::Write as _;

use angarium_control::proto::queue_why_response::{Limit, Reason};
use angarium_control::proto::{
    QueueAuditResponse, QueueItemId, QueueWhyResponse, queue_audit_response,
};
use angarium_queue::gate::{BlockKind, Blocked, LimitId};
use angarium_queue::index::State;
use angarium_queue::item::ItemId;
use angarium_queue::policy::{Limited, Policies};
use angarium_queue::scheduler::{View, Why};
use angarium_queue::text::Text;
use angarium_queue::time::Timestamp;

use super::convert::{double, item_id, rate, read_item_id, unsigned};
use crate::delivery::Handle;
use crate::delivery::service::Queue;

/// Carries out `queue why`.
pub(super) async fn why(
    queue: &Handle,
    wanted: Option<&QueueItemId>,
) -> Result<QueueWhyResponse, String> {
    let id = read_item_id(wanted)?;
    let answer = queue.inspect_at(move |queue, now| {
        let id = the_one(queue, id)?;
        let (why, view) = (queue.why(id), queue.view(id));
        let (Some(why), Some(view)) = (why, view) else {
            return Err(format!("{id} is not in the queue"));
        };
        Ok(explain(queue, &why, &view, now))
    });
    answer.await.map_err(|stopped| stopped.to_string())?
}

/// The item that an id means; number 0 is the only one of its transaction.
pub(super) fn the_one(queue: &Queue, id: ItemId) -> Result<ItemId, String> {
    if id.queue != 0 {
        return Ok(id);
    }
    let mut items = queue.transaction(id.transaction).map(|(item, _)| item.id);
    match (items.next(), items.next()) {
        (Some(only), None) => Ok(only),
        (None, _) => Err(format!("{} is not in the queue", id.transaction)),
        (Some(_), Some(_)) => {
            let count = queue.transaction(id.transaction).count();
            let uuid = id.transaction;
            Err(format!(
                "{uuid} has {count} copies in the queue: name one as UUID:N"
            ))
        }
    }
}

fn explain(queue: &Queue, why: &Why, view: &View<'_>, now: Timestamp) -> QueueWhyResponse {
    let policies = queue.gate().policies();
    let mut answer = QueueWhyResponse {
        id: item_id(view.item.id),
        state: view.state.to_string(),
        since: view.since.as_secs_f64(),
        expires: view.expires.and_then(|at| double(at.as_secs_f64())),
        transportid: view.item.transportid.to_string(),
        remotemx: (view.candidate()).map_or_else(String::new, |to| to.mx.to_string()),
        remoteip: (view.candidate()).map_or_else(String::new, |to| to.ip.to_string()),
        grouping: view.grouping().map_or_else(String::new, Text::to_string),
        retrycount: u64::from(view.item.retrycount),
        ..QueueWhyResponse::default()
    };
    let mut at = None;
    let reason = match why {
        Why::Loader { before } => {
            answer.before = unsigned(*before as u64);
            Reason::Loader
        }
        Why::Finisher { before } => {
            answer.before = unsigned(*before as u64);
            Reason::Finisher
        }
        Why::Running(step) => {
            answer.step = (*step).to_owned();
            Reason::Running
        }
        Why::WriteFailed { at: again } => {
            at = Some(*again);
            Reason::Write
        }
        Why::Deferred {
            at: due,
            retrycount: _,
            reason,
        } => {
            at = Some(*due);
            answer.retryreason = reason.as_ref().map_or_else(String::new, Text::to_string);
            Reason::Retry
        }
        Why::Ready {
            before,
            at_total_limit,
            draining,
        } => {
            answer.before = unsigned(*before as u64);
            match (draining, at_total_limit) {
                (true, _) => Reason::Stopping,
                (false, true) => Reason::Total,
                (false, false) => Reason::Turn,
            }
        }
        Why::Blocked { by, before } => {
            answer.before = unsigned(*before as u64);
            at = by.until;
            answer.limits = limits(policies, by, now);
            answer.limits.first().map_or(Reason::Limit, Limit::reason)
        }
        Why::Held { .. } => {
            at = view.expires;
            Reason::Hold
        }
        Why::Frozen => {
            at = view.expires;
            Reason::Update
        }
    };
    answer.reason = reason.into();
    answer.origin = match reason {
        Reason::Total => "queues.concurrency.total".to_owned(),
        Reason::Retry | Reason::Hold | Reason::Update => origin(view),
        _ => answer
            .limits
            .first()
            .map_or_else(String::new, |limit| limit.origin.clone()),
    };
    answer.at = at.and_then(|at| double(at.as_secs_f64()));
    answer.delay = at.and_then(|at| double(at.since(now).as_secs_f64()));
    answer.text = sentence(queue, &answer, now);
    answer
}

/// Who made the item wait.
fn origin(view: &View<'_>) -> String {
    match &view.item.waits_by {
        Some(origin) => origin.to_string(),
        None if view.state == State::Update => "queue update (control socket)".to_owned(),
        None => String::new(),
    }
}

/// The limits behind an answer of the gate: several, if each source address has its own.
fn limits(policies: &Policies, by: &Blocked, now: Timestamp) -> Vec<Limit> {
    let explained = |id: &LimitId| policies.explain(*id);
    let list: Vec<Limited> = (policies.limits_behind(by.limit).iter())
        .filter_map(explained)
        .collect();
    let until = by.until.and_then(|at| double(at.since(now).as_secs_f64()));
    list.iter().map(|limited| limit(limited, until)).collect()
}

fn limit(limited: &Limited, until: Option<angarium_control::proto::DoubleValue>) -> Limit {
    let reason = match limited.kind {
        BlockKind::Suspend | BlockKind::DynamicSuspend => Reason::Suspend,
        BlockKind::Concurrency => Reason::Concurrency,
        BlockKind::Rate => Reason::Rate,
        BlockKind::ConnectInterval => Reason::Connectinterval,
    };
    let applied = limited.applied.as_deref();
    let values = limited.values.iter();
    let numbers = applied.map(|applied| &applied.limits);
    let dynamic = applied.and_then(|applied| applied.dynamic.first());
    let id = limited.suspend.as_ref().or(dynamic.map(|(id, _)| id));
    Limit {
        reason: reason.into(),
        values: values
            .map(|(field, value)| (field.to_string(), value.clone()))
            .collect(),
        origin: limited.origin.to_string(),
        id: id.map_or_else(String::new, Text::to_string),
        policy: applied
            .and_then(|applied| applied.name.as_ref())
            .map_or_else(String::new, Text::to_string),
        tags: applied.map_or_else(Vec::new, |of| of.tags.iter().map(Text::to_string).collect()),
        concurrency: numbers
            .filter(|_| reason == Reason::Concurrency)
            .and_then(|of| unsigned(u64::from(of.concurrency?))),
        inuse: u64::from(limited.in_use),
        rate: numbers
            .filter(|_| reason == Reason::Rate)
            .and_then(|of| of.rate.map(rate)),
        connectinterval: numbers
            .filter(|_| reason == Reason::Connectinterval)
            .and_then(|of| double(of.connect_interval?.as_secs_f64())),
        delay: until,
        origins: applied.map_or_else(Vec::new, |of| {
            of.origins.iter().map(Text::to_string).collect()
        }),
    }
}

/// What the answer says, for people.
fn sentence(queue: &Queue, answer: &QueueWhyResponse, now: Timestamp) -> String {
    let mut text = format!("{}: ", answer.state);
    // Writing to a string cannot fail.
    let before = answer.before.as_ref().map_or(0, |of| of.value);
    let place = match before {
        0 => "it is the next of its row".to_owned(),
        1 => "one message is before it".to_owned(),
        count => format!("{count} messages are before it"),
    };
    let seconds = |seconds: f64| format!("in {seconds:.1} s");
    match answer.reason() {
        Reason::Loader => _ = write!(text, "waits for its turn to be prepared; {place}"),
        Reason::Finisher => _ = write!(text, "waits for its turn in postdelivery; {place}"),
        Reason::Running => _ = write!(text, "{} is under way", answer.step),
        Reason::Write => _ = write!(text, "its change could not be written"),
        Reason::Retry => {
            let count = answer.retrycount;
            _ = write!(text, "waits for its next attempt, after {count}");
            if !answer.retryreason.is_empty() {
                _ = write!(text, "; the last one said: {}", answer.retryreason);
            }
        }
        Reason::Turn => _ = write!(text, "may be picked up; {place}"),
        Reason::Total => {
            let most = queue.limits().deliveries;
            _ = write!(text, "{most} deliveries go on, which is the limit; {place}");
        }
        Reason::Stopping => _ = write!(text, "the server stops and begins nothing more"),
        Reason::Hold => _ = write!(text, "is on hold until it is released"),
        Reason::Update => _ = write!(text, "is frozen until it is updated or released"),
        Reason::Limit => _ = write!(text, "a limit that has gone meanwhile; {place}"),
        Reason::Suspend | Reason::Concurrency | Reason::Rate | Reason::Connectinterval => {
            let limits: Vec<String> = answer.limits.iter().map(limit_words).collect();
            _ = write!(text, "{}; {place}", limits.join(", and "));
        }
    }
    if let Some(delay) = &answer.delay {
        let word = match answer.reason() {
            Reason::Hold | Reason::Update => "its age ends that",
            _ => "it goes on",
        };
        _ = write!(text, "; {word} {}", seconds(delay.value));
    }
    let shown = answer
        .limits
        .iter()
        .any(|limit| limit.origin == answer.origin);
    if !answer.origin.is_empty() && !shown {
        _ = write!(text, "; set by {}", answer.origin);
    }
    if let Some(expires) = &answer.expires
        && !matches!(answer.reason(), Reason::Hold | Reason::Update)
    {
        let left = expires.value - now.as_secs_f64();
        _ = write!(text, "; its age ends its wait {}", seconds(left.max(0.0)));
    }
    text
}

fn limit_words(limit: &Limit) -> String {
    let values = limit.values.iter();
    let values: Vec<String> = values
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let of = match values.is_empty() {
        true => String::new(),
        false => format!(" for {}", values.join(" ")),
    };
    let what = match limit.reason() {
        Reason::Suspend => format!("a suspend{of}"),
        Reason::Concurrency => {
            let most = limit.concurrency.as_ref().map_or(0, |of| of.value);
            format!("{} of {most} deliveries at once go on{of}", limit.inuse)
        }
        Reason::Rate => {
            let rate = limit.rate.unwrap_or_default();
            format!(
                "the rate of {} in {} s is used up{of}",
                rate.count, rate.interval
            )
        }
        Reason::Connectinterval => {
            let interval = limit.connectinterval.as_ref().map_or(0.0, |of| of.value);
            format!("the time of {interval} s between connections has not passed{of}")
        }
        _ => "a limit".to_owned(),
    };
    let mut text = what;
    if !limit.id.is_empty() {
        _ = write!(text, ", id {}", limit.id);
    }
    if !limit.origin.is_empty() {
        _ = write!(text, ", set by {}", limit.origin);
    }
    text
}

/// Carries out `queue audit`.
pub(super) async fn audit(queue: &Handle) -> Result<QueueAuditResponse, String> {
    let found = queue.inspect_at(|queue, now| (queue.len(), queue.audit(now)));
    let (checked, findings) = found.await.map_err(|stopped| stopped.to_string())?;
    let finding = |finding: &angarium_queue::scheduler::Finding| queue_audit_response::Finding {
        id: item_id(finding.id),
        state: finding.state.to_string(),
        text: finding.what.to_owned(),
    };
    Ok(QueueAuditResponse {
        checked: checked as u64,
        findings: findings.iter().map(finding).collect(),
    })
}
