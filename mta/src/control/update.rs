//! `queue update`: changes of the items that fit.
//!
//! Items in transition cannot be changed; they are counted as working, and with `freeze` they go to
//! UPDATE when what runs for them is over.

use std::sync::Arc;
use std::time::Duration;

use angarium_control::proto::{
    ActionType, Freeze, Queue, QueueUpdateRequest, QueueUpdateResponse,
    queue_update_request as request,
};
use angarium_queue::attempt::EnhancedStatus;
use angarium_queue::index::State;
use angarium_queue::item::{ItemId, Priority};
use angarium_queue::scheduler::{Control, InputError, ItemUpdate, Then};
use angarium_queue::text::Text;
use angarium_queue::time::Timestamp;

use super::filter::{Filter, moment};
use super::scan::scan_in_order;
use crate::delivery::Handle;

/// Items that are changed in one step on the queue's thread.
const STEP: usize = 256;

/// A request, laid out.
pub(super) struct Changes {
    update: ItemUpdate,
    /// The most that chance adds to the time of the next attempt, in seconds.
    jitter: u64,
    freeze: bool,
}

impl Changes {
    /// Lays out a request.
    pub fn new(wanted: &QueueUpdateRequest, now: Timestamp) -> Result<Changes, String> {
        let text = |of: &Option<angarium_control::proto::StringValue>| {
            of.as_ref().map(|of| Text::from(of.value.as_str()))
        };
        let sender = wanted.sender.clone().unwrap_or_default();
        let recipient = wanted.recipient.clone().unwrap_or_default();
        let retrycount = wanted.retrycount.as_ref().map(|of| {
            u32::try_from(of.value).map_err(|_| format!("retrycount: {} is too large", of.value))
        });
        let priority = wanted.priority.as_ref().map(|of| {
            Priority::from_number(of.value)
                .ok_or_else(|| format!("priority: {} is not 0 or 1", of.value))
        });
        if text(&wanted.transportid).is_some_and(|id| id.is_empty()) {
            return Err("transportid: is empty".to_owned());
        }
        let metadata = wanted.metadata.iter();
        let mut changes = Changes {
            update: ItemUpdate {
                transportid: text(&wanted.transportid),
                metadata: metadata
                    .map(|(name, value)| (name.as_str().into(), value.as_str().into()))
                    .collect(),
                sender_localpart: text(&sender.localpart),
                sender_domain: text(&sender.domain),
                recipient_localpart: text(&recipient.localpart),
                recipient_domain: text(&recipient.domain),
                retrycount: retrycount.transpose()?,
                priority: priority.transpose()?,
                jobid: text(&wanted.jobid),
                tenantid: text(&wanted.tenantid),
                then: None,
            },
            jitter: 0,
            freeze: wanted.freeze,
        };
        changes.task(wanted.task.as_ref(), now)?;
        if changes.update == ItemUpdate::default() {
            match (wanted.freeze, wanted.duplicate) {
                (true, _) => changes.update.then = Some(Then::Freeze),
                (false, true) => {}
                (false, false) => return Err("Nothing to update".to_owned()),
            }
        }
        Ok(changes)
    }

    fn task(&mut self, task: Option<&request::Task>, now: Timestamp) -> Result<(), String> {
        let bounce = |dsn: Option<&request::action::Dsn>| {
            let status = dsn.and_then(|dsn| dsn.status.as_ref()).map(|status| {
                let part = |number: u32| u16::try_from(number).ok();
                let class = part(status.class).filter(|class| matches!(class, 2 | 4 | 5));
                let read = class.zip(part(status.subject)).zip(part(status.detail));
                read.map(|((class, subject), detail)| EnhancedStatus {
                    class,
                    subject,
                    detail,
                })
                .ok_or("status: is no status code of RFC 3463".to_owned())
            });
            let diagnostic = dsn.map(|dsn| dsn.diagnosticcode.as_str());
            Ok::<_, String>(Then::Bounce {
                status: status.transpose()?,
                diagnostic: diagnostic.filter(|text| !text.is_empty()).map(Text::from),
            })
        };
        self.update.then = match task {
            None => None,
            Some(request::Task::Actiontype(kind)) if *kind == ActionType::Bounce as i32 => {
                Some(bounce(None)?)
            }
            Some(request::Task::Actiontype(_)) => Some(Then::Delete),
            Some(request::Task::Action(action)) => Some(match action.r#type() {
                ActionType::Bounce => bounce(action.dsn.as_ref())?,
                ActionType::Delete => Then::Delete,
            }),
            Some(request::Task::Move(to)) => {
                self.jitter = to.retrytsjitter.as_ref().map_or(0, |of| of.value);
                let at = to.retryts.as_ref().and_then(|time| moment(time, now));
                match to.to.as_ref() {
                    Some(request::r#move::To::Freeze(freeze)) if *freeze == Freeze::Hold as i32 => {
                        Some(Then::Hold)
                    }
                    Some(request::r#move::To::Freeze(_)) => Some(Then::Freeze),
                    Some(request::r#move::To::Queue(queue)) if *queue == Queue::Defer as i32 => {
                        let at = at.ok_or("retryts: DEFER needs a time")?;
                        Some(Then::Defer(Timestamp::from_secs_f64(at)))
                    }
                    Some(request::r#move::To::Queue(_)) => Some(match at {
                        Some(at) => Then::Defer(Timestamp::from_secs_f64(at)),
                        None => Then::Retry,
                    }),
                    None => return Err("move: names no state".to_owned()),
                }
            }
        };
        Ok(())
    }

    /// The change of one item; `chance` is a number below 1.
    pub fn of_item(&self, chance: f64) -> ItemUpdate {
        let mut update = self.update.clone();
        if let Some(Then::Defer(at)) = &mut update.then
            && self.jitter > 0
        {
            #[expect(clippy::cast_precision_loss, reason = "a number of seconds")]
            let most = self.jitter.min(u64::from(u32::MAX)) as f64;
            *at = at.after(Duration::from_secs_f64(most * chance));
        }
        update
    }

    fn control(&self, chance: f64) -> Control {
        let update = self.of_item(chance);
        if update.changes_item() {
            return Control::Update(Box::new(update));
        }
        // Without a change of the item nothing is written that need not be.
        match update.then {
            None | Some(Then::Freeze) => Control::Freeze,
            Some(Then::Hold) => Control::Hold,
            Some(Then::Retry) => Control::Retry,
            Some(Then::Defer(at)) => Control::Defer(at),
            Some(Then::Bounce { status, diagnostic }) => Control::Bounce { status, diagnostic },
            Some(Then::Delete) => Control::Delete,
        }
    }
}

/// The items that fit, and whether each is in transition; at most so many.
pub(super) async fn chosen(
    queue: &Handle,
    filter: &Arc<Filter>,
    limit: u64,
) -> Result<Vec<(ItemId, bool)>, String> {
    let most = match limit {
        0 => usize::MAX,
        limit => usize::try_from(limit).unwrap_or(usize::MAX),
    };
    let see = move |list: &mut Vec<(ItemId, bool)>,
                    view: &angarium_queue::scheduler::View<'_>,
                    _: super::filter::Around<'_>| {
        let working = matches!(view.state, State::Unknown | State::Sending);
        list.push((view.item.id, working));
        list.len() < most
    };
    let list = scan_in_order(queue, filter, Vec::new(), see).await;
    list.map_err(|stopped| stopped.to_string())
}

/// Carries out a request on the items that fit.
pub(super) async fn update(
    queue: &Handle,
    filter: Arc<Filter>,
    changes: Changes,
    limit: u64,
    mut chance: impl FnMut() -> f64,
) -> Result<QueueUpdateResponse, String> {
    let mut response = QueueUpdateResponse::default();
    let list = chosen(queue, &filter, limit).await?;
    for ids in list.chunks(STEP) {
        let wishes = ids.iter().map(|(id, _)| (*id, changes.control(chance())));
        let results = queue.controls(wishes.collect()).await;
        let results = results.map_err(|stopped| stopped.to_string())?;
        let mut freeze = Vec::new();
        for ((id, working), result) in ids.iter().zip(results) {
            match result {
                // A freeze of an item in transition takes effect later.
                Ok(()) if *working => {
                    response.working += 1;
                }
                Ok(()) => response.affected += 1,
                Err(InputError::Busy(_)) => {
                    response.working += 1;
                    if changes.freeze || changes.update.then == Some(Then::Freeze) {
                        freeze.push((*id, Control::Freeze));
                    }
                }
                // It has gone, or it is too large with the change: nothing was changed.
                Err(InputError::TooLarge(id)) => return Err(InputError::TooLarge(id).to_string()),
                Err(_) => {}
            }
        }
        if !freeze.is_empty() {
            let frozen = queue.controls(freeze).await;
            frozen.map_err(|stopped| stopped.to_string())?;
        }
    }
    Ok(response)
}
