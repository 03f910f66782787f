//! Events and time: arrival, waits, and what may start; predelivery's verdict.

use std::cmp::Reverse;
use std::sync::Arc;

use super::{Bound, Input, InputError, Output, Predelivery, Scheduler, Work, WorkerKey};
use crate::destination::Target;
use crate::dsn::DsnOptions;
use crate::gate::Gate;
use crate::index::{Slot, State};
use crate::item::{Item, ItemId, Pairs};
use crate::outcome::{Cause, Context, Removal, Verdict, decide};
use crate::random::fnv1a;
use crate::retry::Again;
use crate::text::Text;
use crate::time::Timestamp;
use crate::transport::Plan;

impl<G: Gate> Scheduler<G> {
    pub(super) fn take(&mut self, now: Timestamp, input: Input) -> Result<(), InputError> {
        match input {
            Input::Loaded(item) => self.arrive(now, item, false),
            Input::Committed(item) => self.arrive(now, item, true),
            Input::PredeliveryVerdict {
                id,
                verdict,
                metadata,
            } => self.predelivery_done(now, id, verdict, metadata),
            Input::Resolved { id, result } => self.resolved(id, result),
            Input::AttemptDone { id, attempt } => self.attempt_done(now, id, attempt),
            Input::PutBack { id } => self.put_back(now, id),
            Input::PostdeliveryVerdict {
                id,
                verdict,
                metadata,
                announced,
            } => self.postdelivery_done(now, id, verdict, metadata, announced),
            Input::Persisted { id } => self.persisted(now, id),
            Input::PersistFailed { id } => self.persist_failed(now, id),
            Input::Tick => Ok(()),
            Input::Control { id, action } => self.control(now, id, action),
            Input::Configure {
                transports,
                own,
                limits,
                policies,
            } => {
                self.limits = limits;
                self.transports = transports;
                self.own = own;
                self.renew_expiries();
                if policies {
                    self.regroup();
                }
                Ok(())
            }
            Input::PoliciesChanged => {
                self.regroup();
                Ok(())
            }
            Input::LimitsChanged => {
                self.index.wake_all();
                Ok(())
            }
            Input::Drain => {
                self.draining = true;
                Ok(())
            }
        }
    }

    /// Does what is due by `now`.
    pub(super) fn pass_time(&mut self, now: Timestamp) {
        self.gate.pass_time(now);
        self.index.wake_due(now);
        while let Some(slot) = self.index.next_expired(now) {
            self.expire(slot);
        }
        while let Some(slot) = self.index.next_due(now) {
            if self.index.due(slot).is_ok() {
                self.await_predelivery(slot);
            }
        }
        while let Some((at, slot)) = self.rewrites.first().copied().filter(|(at, _)| *at <= now) {
            self.rewrites.remove(&(at, slot));
            self.write_again(slot);
        }
    }

    /// Starts what the limits allow.
    pub(super) fn pump(&mut self, now: Timestamp) {
        while self.running.finishing < self.limits.finishing {
            let Some((_, slot)) = self.finisher.pop_first() else {
                break;
            };
            self.start_postdelivery(now, slot);
        }
        if self.draining {
            return;
        }
        while self.running.preparing < self.limits.preparing {
            let Some((_, slot)) = self.loader.pop_first() else {
                break;
            };
            self.index.set_expiry(slot, None);
            self.running.preparing += 1;
            let id = self.index.item(slot).id;
            let worker = self.worker(slot);
            self.work.insert(slot, Work::Predelivery(worker));
            self.outputs
                .push_back(Output::RunPredelivery { id, worker });
        }
        while self.running.deliveries < self.limits.deliveries && self.index.nodes().has_ready() {
            let Some((slot, grant)) = self.index.pick(&mut self.gate, now) else {
                break;
            };
            self.counters.pickups += 1;
            self.start_attempt(slot, grant);
        }
    }

    pub(super) fn set_timer(&mut self) {
        let rewrite = self.rewrites.first().map(|(at, _)| *at);
        let own = [self.index.next_timer(), rewrite, self.gate.next_end()];
        let timer = own.into_iter().flatten().min();
        if timer != self.timer {
            self.timer = timer;
            self.outputs.push_back(Output::SetTimer(timer));
        }
    }

    fn arrive(&mut self, now: Timestamp, mut item: Box<Item>, new: bool) -> Result<(), InputError> {
        if !self.has_room() {
            return Err(InputError::Full(self.index.len()));
        }
        if new {
            // What is loaded was decoded with the strings that are shared.
            item.share(&mut self.interner);
        }
        if item.hold {
            let since = item.received;
            item.held_since.get_or_insert(since);
        }
        let id = item.id;
        let holds = new && !item.hold && self.transport(&item.transportid).hold;
        let slot = self.index.insert(item).ok_or(InputError::Duplicate(id))?;
        if holds {
            self.index.change(slot, |item| {
                item.put_on_hold(now);
                item.waits_by = Some(Text::from(format!(
                    "hold of transport {}",
                    item.transportid
                )));
            })?;
            self.write_update(slot, None);
        } else {
            self.settle(now, slot);
        }
        Ok(())
    }

    /// The loader's rule: where an item in UNKNOWN with no work goes.
    pub(super) fn settle(&mut self, now: Timestamp, slot: Slot) {
        let item = self.index.item(slot);
        let rules = self.transport(&item.transportid);
        let expires = rules.retry.deadline(item);
        let moved = if self.index.is_freezing(slot) {
            self.index.freeze(slot, expires)
        } else if item.hold {
            let expires = rules.retry.hold_deadline(item);
            self.index.hold(slot, expires)
        } else if let Some(at) = item.retryts.filter(|at| *at > now) {
            self.index.defer(slot, at, expires)
        } else {
            self.await_predelivery(slot);
            Ok(())
        };
        debug_assert_eq!(moved, Ok(()), "every caller leaves the item in UNKNOWN");
    }

    fn await_predelivery(&mut self, slot: Slot) {
        let item = self.index.item(slot);
        let turn = (Reverse(item.priority), self.next_turn);
        let expires = self.transport(&item.transportid).retry.deadline(item);
        self.next_turn += 1;
        self.loader.insert(turn, slot);
        self.work.insert(slot, Work::Arriving(turn));
        self.index.set_expiry(slot, Some(expires));
    }

    /// Takes an item that waits in any state into UNKNOWN without work.
    ///
    /// # Errors
    /// A task runs for the item.
    pub(super) fn take_waiting(&mut self, slot: Slot) -> Result<(), InputError> {
        match (self.index.state(slot), self.work.get(slot)) {
            (State::Active, _) => self.index.withdraw(slot)?,
            (State::Defer, _) => self.index.due(slot)?,
            (State::Hold, _) => self.index.release(slot)?,
            (State::Update, _) => self.index.thaw(slot)?,
            (State::Unknown, Some(Work::Arriving(turn))) => {
                self.loader.remove(turn);
                self.index.set_expiry(slot, None);
            }
            (State::Unknown | State::Sending, _) => {
                return Err(InputError::Busy(self.index.item(slot).id));
            }
        }
        self.work.remove(slot);
        Ok(())
    }

    fn expire(&mut self, slot: Slot) {
        let cause = match self.index.state(slot) {
            State::Hold => Cause::Retention,
            _ => Cause::Aged,
        };
        match self.take_waiting(slot) {
            Ok(()) => self.await_postdelivery(slot, cause),
            // Items whose task runs have no expiry; their age is looked at when it ends.
            Err(_) => self.index.set_expiry(slot, None),
        }
    }

    fn predelivery_done(
        &mut self,
        now: Timestamp,
        id: ItemId,
        verdict: Predelivery,
        metadata: Option<Pairs>,
    ) -> Result<(), InputError> {
        let what = "a predelivery verdict";
        let slot = self.awaited(id, what, |w| matches!(w, Work::Predelivery(_)))?;
        let Some(Work::Predelivery(worker)) = self.work.remove(slot) else {
            return Ok(());
        };
        self.running.preparing -= 1;
        self.set_metadata(slot, metadata)?;
        match verdict {
            Predelivery::Try(plan) => {
                let plan = if *plan == *self.no_plan {
                    Arc::clone(&self.no_plan)
                } else {
                    Arc::from(plan)
                };
                self.resolve(slot, Bound { worker, plan });
            }
            Predelivery::Queue(again) => self.queue_again(now, slot, *again),
            Predelivery::Failed(message) => {
                self.queue_again(now, slot, Again::after_script_error(&message))
            }
            Predelivery::Bounce { reason, dsn } => {
                let cause = Cause::Script {
                    removal: Removal::Bounce,
                    reason,
                    dsn: *dsn,
                };
                self.ended(
                    slot,
                    cause,
                    Bound {
                        worker,
                        plan: Arc::clone(&self.no_plan),
                    },
                );
            }
            Predelivery::Delete { reason } => {
                let cause = Cause::Script {
                    removal: Removal::Delete,
                    reason,
                    dsn: DsnOptions::default(),
                };
                self.ended(
                    slot,
                    cause,
                    Bound {
                        worker,
                        plan: Arc::clone(&self.no_plan),
                    },
                );
            }
        }
        Ok(())
    }

    /// A plain `Queue` of predelivery: no postdelivery, but a `delayed` notice if one is due.
    fn queue_again(&mut self, now: Timestamp, slot: Slot, again: Again) {
        let cause = Cause::Postponed {
            reason: again.reason.clone(),
        };
        let random = self.random.next();
        let item = self.index.item(slot);
        let transport = self.transport(&item.transportid);
        let context = Context {
            item,
            transport: &transport,
            request: &item.dsn,
            success_is_delivered: false,
            now,
        };
        // Nothing was delivered, so `Queue` is always possible.
        let verdict = Verdict::Queue(Box::new(again));
        if let Ok(decision) = decide(&cause, &context, verdict, None, random) {
            self.carry_out(now, slot, decision);
        }
    }

    fn renew_expiries(&mut self) {
        let slots: Vec<Slot> = self.index.iter().map(|(slot, _)| slot).collect();
        for slot in slots {
            let item = self.index.item(slot);
            let rules = self.transport(&item.transportid);
            let waits = matches!(self.work.get(slot), None | Some(Work::Arriving(_)));
            let expires = match self.index.state(slot) {
                State::Hold => rules.retry.hold_deadline(item),
                State::Active | State::Defer | State::Update => Some(rules.retry.deadline(item)),
                State::Unknown if waits => Some(rules.retry.deadline(item)),
                State::Unknown | State::Sending => None,
            };
            self.index.set_expiry(slot, expires);
        }
    }

    pub(super) fn awaited(
        &self,
        id: ItemId,
        what: &'static str,
        awaits: impl Fn(&Work) -> bool,
    ) -> Result<Slot, InputError> {
        let slot = self.index.slot(id).ok_or(InputError::NotFound(id))?;
        match self.work.get(slot) {
            Some(work) if awaits(work) => Ok(slot),
            _ => Err(InputError::NotAwaited(id, what)),
        }
    }

    /// Items to one fixed host or one domain share a worker, and so its pooled connections.
    pub(super) fn worker(&self, slot: Slot) -> WorkerKey {
        let item = self.index.item(slot);
        let transport = self.transport(&item.transportid);
        let (Target::MxOf(to) | Target::Host(to)) =
            transport.target(&item.recipient, &Plan::default());
        WorkerKey(fnv1a(&[
            to.to_ascii_lowercase().as_bytes(),
            &transport.port.to_be_bytes(),
        ]))
    }
}
