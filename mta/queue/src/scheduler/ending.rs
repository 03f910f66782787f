//! From the end of an attempt, or of a wait, to the write of what was decided.

use std::sync::Arc;
use std::time::Duration;

use super::{Bound, Change, Ended, InputError, Output, Scheduler, Work, Writing};
use crate::attempt::{Attempt, AttemptError};
use crate::dsn::DsnSpec;
use crate::gate::Gate;
use crate::index::Slot;
use crate::item::{Item, ItemId, Pairs};
use crate::outcome::{Cause, Context, Decision, Situation, Verdict, decide, situation};
use crate::retry::{Again, RetryChange};
use crate::text::Text;
use crate::time::Timestamp;

/// The wait before a failed write is asked for again.
const REWRITE: Duration = Duration::from_secs(30);

impl<G: Gate> Scheduler<G> {
    /// The attempt ended before there was a host to contact.
    pub(super) fn not_found(&mut self, slot: Slot, error: AttemptError, bound: Bound) {
        let retry = self.retry_change(slot, &bound.plan, None, None);
        let cause = Cause::Attempt(Attempt::without_connection(error));
        self.end(slot, cause, bound, retry);
    }

    /// Has postdelivery run for an item that waited.
    pub(super) fn await_postdelivery(&mut self, slot: Slot, cause: Cause) {
        let bound = Bound {
            worker: self.worker(slot),
            plan: Arc::clone(&self.no_plan),
        };
        self.ended(slot, cause, bound);
    }

    pub(super) fn ended(&mut self, slot: Slot, cause: Cause, bound: Bound) {
        self.end(slot, cause, bound, None);
    }

    fn end(&mut self, slot: Slot, cause: Cause, bound: Bound, retry: Option<Arc<RetryChange>>) {
        self.await_turn(
            slot,
            Ended {
                cause: Arc::new(cause),
                bound,
                grouping: None,
                tags: vec![],
                policies: vec![],
                retry,
            },
        );
    }

    pub(super) fn await_turn(&mut self, slot: Slot, ended: Ended) {
        let turn = self.next_turn;
        self.next_turn += 1;
        self.finisher.insert(turn, slot);
        self.work.insert(slot, Work::Ended(Box::new(ended)));
    }

    pub(super) fn start_postdelivery(&mut self, now: Timestamp, slot: Slot) {
        let Some(Work::Ended(ended)) = self.work.remove(slot) else {
            return;
        };
        self.running.finishing += 1;
        let situation: Situation = self.judge(now, slot, &ended, situation);
        self.outputs.push_back(Output::RunPostdelivery {
            id: self.index.item(slot).id,
            worker: ended.bound.worker,
            cause: Arc::clone(&ended.cause),
            situation: Box::new(situation),
            grouping: ended.grouping.clone(),
            tags: ended.tags.clone(),
            policies: ended.policies.clone(),
        });
        self.work.insert(slot, Work::Postdelivery(ended));
    }

    fn judge<T>(
        &self,
        now: Timestamp,
        slot: Slot,
        ended: &Ended,
        judge: impl FnOnce(&Cause, &Context<'_>) -> T,
    ) -> T {
        let item = self.index.item(slot);
        let mut transport = self.transport(&item.transportid);
        if let Some(retry) = &ended.retry {
            let own = Arc::make_mut(&mut transport);
            own.retry = retry.over(&own.retry);
        }
        let request = item.dsn.overridden(&ended.bound.plan.dsn);
        let context = Context {
            item,
            transport: &transport,
            request: &request,
            success_is_delivered: ended.bound.plan.success_is_delivered,
            now,
        };
        judge(&ended.cause, &context)
    }

    pub(super) fn postdelivery_done(
        &mut self,
        now: Timestamp,
        id: ItemId,
        verdict: Verdict,
        metadata: Option<Pairs>,
        announced: Option<ItemId>,
    ) -> Result<(), InputError> {
        let what = "a postdelivery verdict";
        let slot = self.awaited(id, what, |w| matches!(w, Work::Postdelivery(_)))?;
        let Some(Work::Postdelivery(ended)) = self.work.remove(slot) else {
            return Ok(());
        };
        self.running.finishing -= 1;
        self.set_metadata(slot, metadata)?;
        // After a delivery the script's wish was an Exception; what is left is the default.
        let verdict = if ended.cause.is_success() {
            Verdict::Default
        } else {
            verdict
        };
        let random = self.random.next();
        let decision = self.judge(now, slot, &ended, |cause, context| {
            decide(cause, context, verdict, announced, random)
        });
        match decision {
            Ok(decision) => self.carry_out(now, slot, decision),
            Err(_) => self.carry_out(now, slot, Decision::Done(None)),
        }
        Ok(())
    }

    pub(super) fn carry_out(&mut self, now: Timestamp, slot: Slot, decision: Decision) {
        match decision {
            Decision::Done(dsn) => {
                self.counters.delivered += 1;
                self.write(slot, true, dsn);
            }
            Decision::Bounce(dsn) => {
                self.counters.failed += 1;
                self.write(slot, true, dsn);
            }
            Decision::Delete => {
                self.counters.failed += 1;
                self.write(slot, true, None);
            }
            Decision::Requeue {
                schedule,
                again,
                dsn,
            } => {
                self.counters.delayed += 1;
                let retry =
                    |item: &Item| Text::from(format!("retry of transport {}", item.transportid));
                let origin = again.origin.clone();
                let change = |item: &mut Item| {
                    item.waits_by = Some(origin.unwrap_or_else(|| retry(item)));
                    if again.hold {
                        item.put_on_hold(now);
                    } else {
                        item.end_hold(now);
                    }
                    schedule.apply(item, &again);
                };
                // Without the strings that the script gave, the item is as large as before.
                let modest = Again {
                    jobid: None,
                    transportid: None,
                    ..(*again).clone()
                };
                self.change_within_limit(slot, change, |item| schedule.apply(item, &modest));
                self.write(slot, false, dsn);
            }
        }
    }

    pub(super) fn set_metadata(
        &mut self,
        slot: Slot,
        metadata: Option<Pairs>,
    ) -> Result<(), InputError> {
        if let Some(metadata) = metadata {
            self.change_within_limit(slot, |item| item.metadata = metadata, |_| {});
        }
        Ok(())
    }

    /// Changes an item, or makes the other change if it could then not be stored.
    fn change_within_limit(
        &mut self,
        slot: Slot,
        change: impl FnOnce(&mut Item),
        otherwise: impl FnOnce(&mut Item),
    ) {
        let mut refused = false;
        let interner = &mut self.interner;
        let changed = self.index.change(slot, |item| {
            let before = item.clone();
            change(item);
            if item.encode().is_err() {
                *item = before;
                otherwise(item);
                refused = true;
            }
            item.share(interner);
        });
        debug_assert_eq!(changed, Ok(()), "the item is in UNKNOWN");
        if refused {
            let id = self.index.item(slot).id;
            self.outputs.push_back(Output::ChangeRefused { id });
        }
    }

    pub(super) fn write_update(&mut self, slot: Slot, dsn: Option<Box<DsnSpec>>) {
        self.write(slot, false, dsn);
    }

    pub(super) fn write(&mut self, slot: Slot, gone: bool, dsn: Option<Box<DsnSpec>>) {
        self.running.writing += 1;
        self.work.insert(
            slot,
            Work::Writing(Box::new(Writing {
                gone,
                dsn,
                again_at: None,
            })),
        );
        self.ask_to_write(slot);
    }

    fn ask_to_write(&mut self, slot: Slot) {
        let item = self.index.item(slot);
        let Some(Work::Writing(writing)) = self.work.get(slot) else {
            return;
        };
        let change = if writing.gone {
            Change::Done
        } else {
            // Every change was checked against the limit when it was made.
            Change::Update(item.encode().unwrap_or_default())
        };
        let (id, dsn) = (item.id, writing.dsn.clone());
        self.outputs.push_back(Output::Persist { id, change, dsn });
    }

    pub(super) fn persisted(&mut self, now: Timestamp, id: ItemId) -> Result<(), InputError> {
        let open = |work: &Work| matches!(work, Work::Writing(w) if w.again_at.is_none());
        let slot = self.awaited(id, "a write", open)?;
        let Some(Work::Writing(writing)) = self.work.remove(slot) else {
            return Ok(());
        };
        self.running.writing -= 1;
        if writing.gone {
            self.index.remove(slot)?;
        } else {
            self.settle(now, slot);
        }
        Ok(())
    }

    pub(super) fn persist_failed(&mut self, now: Timestamp, id: ItemId) -> Result<(), InputError> {
        let open = |work: &Work| matches!(work, Work::Writing(w) if w.again_at.is_none());
        let slot = self.awaited(id, "a write", open)?;
        if let Some(Work::Writing(writing)) = self.work.get_mut(slot) {
            let at = now.after(REWRITE);
            writing.again_at = Some(at);
            self.rewrites.insert((at, slot));
        }
        Ok(())
    }

    pub(super) fn write_again(&mut self, slot: Slot) {
        if let Some(Work::Writing(writing)) = self.work.get_mut(slot) {
            writing.again_at = None;
        }
        self.ask_to_write(slot);
    }
}
