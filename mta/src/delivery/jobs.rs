//! The jobs that the service sends to workers, and the answers that they owe.

use std::rc::Rc;
use std::sync::Arc;

use angarium_effects::LocalFuture;
use angarium_effects::random::uuid_text;
use angarium_queue::attempt::{Attempt, AttemptError, DnsError, ErrorKind, Outcome};
use angarium_queue::destination::Resolution;
use angarium_queue::item::{Item, ItemId};
use angarium_queue::outcome::{Cause, Verdict};
use angarium_queue::scheduler::{Input, Predelivery};
use angarium_queue::text::Text;
use angarium_queue::transport::Plan;
use tokio::sync::mpsc;

use super::attempt::{self, Task, Wishes};
use super::desk::{Bound, Desk};
use super::handle::Handle;
use super::hooks::{Before, QueueHook};
use super::log::Line;
use super::{Core, Ended, Live, resolve as resolver};
use crate::hooks::queue as script;
use crate::worker::Worker;

/// The answer that a job owes. Dropped without one it sends its fallback, so that no item waits for
/// a job that is gone: its worker stopped, or its code panicked.
pub(super) struct Answer {
    handle: Handle,
    /// Takes fallbacks without waiting.
    lost: mpsc::UnboundedSender<Input>,
    fallback: Option<Input>,
}

impl Answer {
    fn new(handle: &Handle, lost: &mpsc::UnboundedSender<Input>, fallback: Input) -> Answer {
        Answer {
            handle: handle.clone(),
            lost: lost.clone(),
            fallback: Some(fallback),
        }
    }

    pub(super) fn predelivery(
        handle: &Handle,
        lost: &mpsc::UnboundedSender<Input>,
        id: ItemId,
    ) -> Answer {
        let fallback = Input::PredeliveryVerdict {
            id,
            verdict: Predelivery::Failed("the script was interrupted".to_owned()),
            metadata: None,
        };
        Answer::new(handle, lost, fallback)
    }

    pub(super) fn resolve(
        handle: &Handle,
        lost: &mpsc::UnboundedSender<Input>,
        id: ItemId,
    ) -> Answer {
        let kind = ErrorKind::Dns(DnsError::Other);
        let error = AttemptError::new(kind, true, "the look-up was interrupted");
        let result = Err(error);
        Answer::new(handle, lost, Input::Resolved { id, result })
    }

    pub(super) fn attempt(
        handle: &Handle,
        lost: &mpsc::UnboundedSender<Input>,
        id: ItemId,
    ) -> Answer {
        Answer::new(handle, lost, Input::PutBack { id })
    }

    pub(super) fn postdelivery(
        handle: &Handle,
        lost: &mpsc::UnboundedSender<Input>,
        id: ItemId,
    ) -> Answer {
        let fallback = Input::PostdeliveryVerdict {
            id,
            verdict: Verdict::Default,
            metadata: None,
            announced: None,
        };
        Answer::new(handle, lost, fallback)
    }

    /// Gives the fallback as the answer.
    pub(super) fn give_up(self) {}

    /// Answers for a predelivery without a script.
    pub(super) fn try_now(mut self) {
        if let Some(Input::PredeliveryVerdict { id, .. }) = self.fallback.take() {
            let verdict = Predelivery::Try(Box::<Plan>::default());
            let _ = self.lost.send(Input::PredeliveryVerdict {
                id,
                verdict,
                metadata: None,
            });
        }
    }

    async fn send(mut self, input: Input) {
        self.fallback = None;
        self.handle.answer(input, None).await;
    }

    /// Answers with what the script wants of the attempt.
    async fn send_with(mut self, input: Input, wishes: Option<Arc<Wishes>>) {
        self.fallback = None;
        self.handle.answer(input, wishes).await;
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if let Some(fallback) = self.fallback.take() {
            let _ = self.lost.send(fallback);
        }
    }
}

/// A job's type.
pub(super) trait Job:
    FnOnce(Rc<Worker>) -> LocalFuture<'static, ()> + Send + 'static
{
}
impl<T: FnOnce(Rc<Worker>) -> LocalFuture<'static, ()> + Send + 'static> Job for T {}

/// Runs the predelivery script.
pub(super) fn predelivery(
    item: Item,
    core: Arc<Core>,
    live: Arc<Live>,
    answer: Answer,
) -> impl Job {
    move |worker: Rc<Worker>| {
        Box::pin(async move {
            let id = item.id;
            let Before {
                verdict,
                metadata,
                context,
            } = live.hooks.predelivery(&worker, &item).await;
            let mut bound = Bound {
                live: Arc::clone(&live),
                context,
                wishes: None,
            };
            let mut wishes = None;
            let desk = Desk::of(&worker, &core);
            let verdict = match verdict {
                Ok(script::Predelivery::Try(attempt)) => {
                    let script::Try { plan, client } = *attempt;
                    let wanted = Arc::new(Wishes {
                        dsn: item.dsn.overridden(&plan.dsn),
                        jobid: plan.jobid.clone(),
                        tenantid: plan.tenantid.clone(),
                        domain: plan.domain.clone(),
                        client,
                    });
                    bound.wishes = Some(Arc::clone(&wanted));
                    wishes = Some(wanted);
                    desk.bind(id, bound);
                    Predelivery::Try(Box::new(plan))
                }
                Ok(script::Predelivery::Bounce { reason, dsn }) => {
                    desk.bind(id, bound);
                    Predelivery::Bounce { reason, dsn }
                }
                Ok(script::Predelivery::Delete { reason }) => {
                    desk.bind(id, bound);
                    Predelivery::Delete { reason }
                }
                // Postdelivery does not run for these.
                Ok(script::Predelivery::Queue(again)) => {
                    desk.release(id);
                    Predelivery::Queue(again)
                }
                Err(message) => {
                    desk.release(id);
                    Predelivery::Failed(message)
                }
            };
            let verdict = Input::PredeliveryVerdict {
                id,
                verdict,
                metadata,
            };
            answer.send_with(verdict, wishes).await;
        })
    }
}

/// Finds the candidates of a destination.
pub(super) fn resolve(resolution: Resolution, answer: Answer) -> impl Job {
    move |worker: Rc<Worker>| {
        Box::pin(async move {
            let Some(Input::Resolved { id, .. }) = &answer.fallback else {
                return;
            };
            let id = *id;
            let result = resolver::resolve(&*worker.effects.dns, resolution).await;
            answer.send(Input::Resolved { id, result }).await;
        })
    }
}

/// Makes an attempt.
pub(super) fn attempt(
    task: Task,
    core: Arc<Core>,
    live: Arc<Live>,
    mut answer: Answer,
) -> impl Job {
    move |worker: Rc<Worker>| {
        Box::pin(async move {
            let id = task.item.id;
            // From here on something may have been sent.
            answer.fallback = Some(Input::AttemptDone {
                id,
                attempt: Box::new(interrupted()),
            });
            let input = match attempt::attempt(&worker, &core, &live, task).await {
                Some(attempt) => Input::AttemptDone {
                    id,
                    attempt: Box::new(attempt),
                },
                None => Input::PutBack { id },
            };
            answer.send(input).await;
        })
    }
}

/// The result of an attempt whose job is gone: another host may not be tried, because this one may
/// have the message.
fn interrupted() -> Attempt {
    let message = "the delivery was interrupted";
    let mut error = AttemptError::new(ErrorKind::Network, true, message);
    error.after_envelope = true;
    Attempt::without_connection(error)
}

/// Runs the postdelivery script.
pub(super) fn postdelivery(
    mut ended: Ended,
    core: Arc<Core>,
    live: Arc<Live>,
    answer: Answer,
) -> impl Job {
    move |worker: Rc<Worker>| {
        Box::pin(async move {
            let id = ended.item.id;
            let (live, context) = match Desk::of(&worker, &core).release(id) {
                Some(bound) => {
                    if let Some(wishes) = &bound.wishes {
                        wishes.as_tried(&mut ended.item);
                    }
                    (bound.live, bound.context)
                }
                None => (live, None),
            };
            if !live.hooks.has(QueueHook::Postdelivery) {
                return answer.give_up();
            }
            if ended.situation.dsn.action.is_some() {
                let uuid = uuid_text(&worker.effects.random.transaction_uuid());
                ended.dsn_id = uuid.parse().ok().map(|transaction| ItemId {
                    transaction,
                    queue: 1,
                });
            }
            let after = live.hooks.postdelivery(&worker, &ended, context).await;
            answer
                .send(Input::PostdeliveryVerdict {
                    id,
                    verdict: after.verdict,
                    metadata: after.metadata,
                    announced: ended.dsn_id,
                })
                .await;
        })
    }
}

/// Drops what predelivery left for an item.
pub(super) fn forget(id: ItemId, core: Arc<Core>) -> impl Job {
    move |worker: Rc<Worker>| {
        Box::pin(async move {
            Desk::of(&worker, &core).release(id);
        })
    }
}

/// Equal for items that are likely to share connections.
pub(super) fn destination_key(item: &Item) -> u64 {
    let domain = item.recipient.domain.to_ascii_lowercase();
    fnv1a([item.transportid.as_bytes(), &[0], domain.as_bytes()])
}

/// The FNV-1a hash of the parts together.
pub(super) fn fnv1a<const N: usize>(parts: [&[u8]; N]) -> u64 {
    parts
        .into_iter()
        .flatten()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
        })
}

/// The log line of an attempt, or of a removal without one.
pub(super) fn delivery_line(
    item: &Item,
    cause: &Cause,
    retry: u32,
    result: &str,
    delay: Option<f64>,
) -> Line {
    let line = Line::new("delivery")
        .with("id", item.id)
        .with("recipient", &item.recipient)
        .with("retry", retry);
    let attempt = match cause {
        Cause::Attempt(attempt) => Some(attempt),
        _ => None,
    };
    let connection = attempt.and_then(|attempt| attempt.connection.as_ref());
    let line = match connection {
        None => line,
        Some(connection) => {
            let tls = connection.tls.as_ref();
            let tls = tls.and_then(|tls| tls.protocol.clone());
            line.maybe("localip", connection.localip)
                .maybe("remotemx", connection.remotemx.as_ref())
                .maybe("remoteip", connection.remoteip)
                .maybe("tls", tls)
        }
    };
    let line = match attempt.map(|attempt| &attempt.outcome) {
        Some(Outcome::Result(reply)) => {
            let enhanced = reply.enhanced.map(|status| status.to_string());
            let words = enhanced
                .into_iter()
                .chain(reply.reason.iter().map(Text::to_string));
            let reason = words.collect::<Vec<_>>().join(" ");
            line.with("code", reply.code).text("reason", &reason)
        }
        Some(Outcome::Error(error)) => line
            .with("error", error.kind.as_str())
            .text("reason", &error.message),
        None => line.text("reason", &removal(cause)),
    };
    let duration = attempt.map(|attempt| format!("{:.3}", attempt.duration.as_secs_f64()));
    line.with("result", result)
        .maybe("delay", delay.map(|delay| format!("{delay:.0}")))
        .maybe("duration", duration)
}

/// Why a message was removed without an attempt.
fn removal(cause: &Cause) -> String {
    match cause {
        Cause::Attempt(_) => String::new(),
        Cause::Script { reason, .. } | Cause::Postponed { reason } => reason
            .as_ref()
            .map_or_else(|| "by the predelivery script".to_owned(), Text::to_string),
        Cause::Manual { diagnostic, .. } => diagnostic
            .as_ref()
            .map_or_else(|| "by the administrator".to_owned(), Text::to_string),
        Cause::Aged => "the greatest age has passed".to_owned(),
        Cause::Retention => "the longest time on hold has passed".to_owned(),
    }
}
