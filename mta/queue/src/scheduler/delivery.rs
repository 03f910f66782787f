//! From `Try` to the end of an attempt: destination, pick-up, candidates.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::{Bound, Ended, Input, InputError, Output, Route, Scheduler, Work};
use crate::attempt::{Attempt, AttemptError, DnsError, ErrorKind};
use crate::destination::{Candidate, Request, Resolution, Walk, WalkStep};
use crate::gate::{Fields, Gate, Grant, Release};
use crate::index::{Slot, State};
use crate::item::ItemId;
use crate::outcome::Cause;
use crate::retry::RetryChange;
use crate::text::Text;
use crate::time::Timestamp;
use crate::transport::Plan;

impl<G: Gate> Scheduler<G> {
    pub(super) fn resolve(&mut self, slot: Slot, bound: Bound) {
        let plan = &bound.plan;
        let item = self.index.item(slot);
        let Some(transport) = self.transports.get(&item.transportid) else {
            let message = format!("there is no transport {}", item.transportid);
            let error = AttemptError::new(ErrorKind::Config, false, message);
            return self.not_found(slot, error, bound);
        };
        let sources = transport.pool(plan);
        let resolution = Resolution::new(Request {
            target: transport.target(&item.recipient, plan),
            port: plan.port.unwrap_or(transport.port),
            families: transport.families.and(sources.families()),
            mx_include: plan.mx_include.clone(),
            mx_exclude: plan.mx_exclude.clone(),
            ip_exclude: plan.ip_exclude.clone(),
            own: Arc::clone(&self.own),
            transaction: item.id.transaction,
        });
        let id = item.id;
        match resolution.result() {
            Some(result) => {
                let result = result.clone();
                self.candidates_found(slot, bound, result);
            }
            None => {
                self.running.resolving += 1;
                self.work.insert(slot, Work::Resolving(Box::new(bound)));
                let resolution = Box::new(resolution);
                self.outputs.push_back(Output::Resolve { id, resolution });
            }
        }
    }

    pub(super) fn resolved(
        &mut self,
        id: ItemId,
        result: Result<Vec<Candidate>, AttemptError>,
    ) -> Result<(), InputError> {
        let slot = self.awaited(id, "a resolution", |w| matches!(w, Work::Resolving(_)))?;
        let Some(Work::Resolving(bound)) = self.work.remove(slot) else {
            return Ok(());
        };
        self.running.resolving -= 1;
        self.candidates_found(slot, *bound, result);
        Ok(())
    }

    fn candidates_found(
        &mut self,
        slot: Slot,
        bound: Bound,
        result: Result<Vec<Candidate>, AttemptError>,
    ) {
        let candidates = match result {
            Ok(list) if !list.is_empty() => self.share_route(list),
            Ok(_) => {
                let kind = ErrorKind::Dns(DnsError::NoData);
                let error = AttemptError::new(kind, false, "the destination has no address");
                return self.not_found(slot, error, bound);
            }
            Err(error) => {
                return self.not_found(slot, error, bound);
            }
        };
        let walk = Walk::default();
        let mut route = Route {
            bound,
            candidates,
            walk,
            grouping: None,
            grant: None,
            retry: None,
        };
        let fields = self.first_fields(slot, &mut route);
        self.activate(slot, route, fields);
    }

    /// Chooses the first candidate that is not suspended, or the first if all are.
    fn first_fields(&mut self, slot: Slot, route: &mut Route) -> Fields {
        for place in 0..route.candidates.len() {
            route.walk = Walk::starting_at(place);
            let fields = self.fields(slot, route);
            if !self.gate.is_suspended(&fields) {
                return fields;
            }
        }
        route.walk = Walk::default();
        self.fields(slot, route)
    }

    fn activate(&mut self, slot: Slot, route: Route, fields: Fields) {
        let item = self.index.item(slot);
        let expires = self.transport(&item.transportid).retry.deadline(item);
        let moved = if self.index.is_freezing(slot) {
            self.index.freeze(slot, expires)
        } else {
            self.work.insert(slot, Work::Routed(Box::new(route)));
            self.index.activate(slot, fields, expires)
        };
        debug_assert_eq!(moved, Ok(()), "the item was in UNKNOWN");
    }

    /// One copy of each list of candidates: a million items to one destination share it.
    fn share_route(&mut self, list: Vec<Candidate>) -> Arc<[Candidate]> {
        if let Some(shared) = self.routes.get(list.as_slice()) {
            return Arc::clone(shared);
        }
        if self.routes.len() >= (self.routes_swept * 2).max(1024) {
            self.routes.retain(|route| Arc::strong_count(route) > 1);
            self.routes_swept = self.routes.len();
        }
        let shared: Arc<[Candidate]> = list.into();
        self.routes.insert(Arc::clone(&shared));
        shared
    }

    /// The values that decide on the pick-up of an item with its current candidate.
    fn fields(&mut self, slot: Slot, route: &mut Route) -> Fields {
        let candidate = route.candidates.get(route.walk.place());
        let fields = self.all_fields(slot, &route.bound.plan, candidate);
        route.grouping.clone_from(&fields.grouping);
        fields.projected(self.gate.fields())
    }

    /// What the destination says of retries.
    pub(super) fn retry_change(
        &mut self,
        slot: Slot,
        plan: &Plan,
        candidate: Option<&Candidate>,
        local: Option<IpAddr>,
    ) -> Option<Arc<RetryChange>> {
        if !self.gate.has_retry() {
            return None;
        }
        let fields = self.all_fields(slot, plan, candidate);
        let change = self.gate.retry(&fields, local);
        (change != RetryChange::default()).then(|| Arc::new(change))
    }

    /// Every value of an item towards a candidate.
    fn all_fields(&mut self, slot: Slot, plan: &Plan, candidate: Option<&Candidate>) -> Fields {
        let item = self.index.item(slot);
        let domain = plan.domain.as_ref().unwrap_or(&item.recipient.domain);
        let mut domain = domain.to_ascii_lowercase();
        self.interner.share(&mut domain);
        let grouping = candidate.and_then(|to| self.gate.grouping(to, &domain));
        let sources = self.transport(&item.transportid).pool(plan);
        let sources = match candidate {
            Some(to) => sources.towards(to.ip),
            None => sources,
        };
        let over = |plan: &Option<Text>, own: &Option<Text>| match plan {
            Some(text) => (!text.is_empty()).then(|| text.clone()),
            None => own.clone(),
        };
        Fields {
            transportid: item.transportid.clone(),
            jobid: over(&plan.jobid, &item.jobid),
            grouping,
            remotemx: candidate.map(|to| to.mx.clone()),
            remoteip: candidate.map(|to| to.ip),
            tenantid: over(&plan.tenantid, &item.tenantid),
            recipientdomain: Some(domain),
            sources,
        }
    }

    /// Regroups when the gate looks at other fields than before and nobody has said so yet: under the values that a
    /// sub-queue has, a limit by a field which is not among them would not be found.
    pub(super) fn look_at_new_fields(&mut self, input: &Input) {
        let is_told = matches!(
            input,
            Input::PoliciesChanged | Input::Configure { policies: true, .. }
        );
        if !is_told && self.gate.fields() != self.grouped_by {
            self.regroup();
        }
    }

    pub(super) fn regroup(&mut self) {
        self.grouped_by = self.gate.fields();
        let mut fields = BTreeMap::new();
        let active: Vec<Slot> = (self.index.iter())
            .map(|(slot, _)| slot)
            .filter(|slot| self.index.state(*slot) == State::Active)
            .collect();
        for slot in active {
            if let Some(Work::Routed(mut route)) = self.work.remove(slot) {
                let again = if route.walk.is_fresh() {
                    self.first_fields(slot, &mut route)
                } else {
                    self.fields(slot, &mut route)
                };
                fields.insert(slot, again);
                self.work.insert(slot, Work::Routed(route));
            }
        }
        self.index.regroup(|slot, _| fields.remove(&slot));
    }

    /// Has deliveries under way counted under limits that were set meanwhile, before anything else is picked up under
    /// them: the host at the other end sees them too.
    pub(super) fn count_under_new_limits(&mut self, now: Timestamp) {
        if !self.gate.has_new_limits() {
            return;
        }
        let sending: Vec<Slot> = self.sending.iter().copied().collect();
        for slot in sending {
            let Some(Work::Routed(route)) = self.work.get(slot) else {
                continue;
            };
            let Some(grant) = &route.grant else { continue };
            let local = grant.source.as_ref().map(|source| source.address);
            let (ticket, plan) = (grant.ticket, Arc::clone(&route.bound.plan));
            let candidate = route.candidates.get(route.walk.place()).cloned();
            let fields = self.all_fields(slot, &plan, candidate.as_ref());
            self.gate.goes_on(ticket, &fields, local, now);
        }
    }

    /// Begins the attempt with the current candidate; the item is in SENDING.
    pub(super) fn start_attempt(&mut self, slot: Slot, grant: Grant) {
        let turn = self.random.next();
        let Some(Work::Routed(mut route)) = self.work.remove(slot) else {
            return;
        };
        let Some(candidate) = route.candidates.get(route.walk.place()).cloned() else {
            return;
        };
        self.running.deliveries += 1;
        self.sending.insert(slot);
        let item = self.index.item(slot);
        let id = item.id;
        let source = grant.source.clone().or_else(|| {
            let transport = self.transport(&item.transportid);
            let sources = transport.pool(&route.bound.plan);
            sources.choose(candidate.ip, turn).cloned()
        });
        let local = source.as_ref().map(|source| source.address);
        route.retry = self.retry_change(slot, &route.bound.plan, Some(&candidate), local);
        let reuse = grant.reuse;
        route.grant = Some(Box::new(grant));
        let worker = route.bound.worker;
        let grouping = route.grouping.clone();
        self.work.insert(slot, Work::Routed(route));
        self.outputs.push_back(Output::StartAttempt {
            id,
            worker,
            candidate,
            source,
            grouping,
            reuse,
        });
    }

    pub(super) fn attempt_done(
        &mut self,
        now: Timestamp,
        id: ItemId,
        attempt: Box<Attempt>,
    ) -> Result<(), InputError> {
        let connection = attempt.connection.as_ref();
        let how = match connection.map_or(0, |connection| connection.transactions) {
            0 | 1 => Release::Finished,
            _ => Release::Reused,
        };
        let (slot, mut route, grant) = self.end_delivery(now, id, "the end of an attempt", how)?;
        match route.walk.failed(attempt, route.candidates.len()) {
            WalkStep::Next(_) => {
                let fields = self.fields(slot, &mut route);
                let granted = if self.draining {
                    None
                } else {
                    self.gate.admit(&fields, now).ok()
                };
                self.work.insert(slot, Work::Routed(route));
                match granted {
                    Some(grant) => self.start_attempt(slot, grant),
                    None => self.back_to_active(slot, fields)?,
                }
            }
            WalkStep::End(attempt) => {
                self.index.attempted(slot)?;
                let cause = Arc::new(Cause::Attempt(*attempt));
                let Route {
                    bound,
                    grouping,
                    retry,
                    ..
                } = *route;
                let Grant { tags, policies, .. } = grant;
                self.await_turn(
                    slot,
                    Ended {
                        cause,
                        bound,
                        grouping,
                        tags,
                        policies,
                        retry,
                    },
                );
            }
        }
        Ok(())
    }

    pub(super) fn put_back(&mut self, now: Timestamp, id: ItemId) -> Result<(), InputError> {
        let (slot, mut route, _) = self.end_delivery(now, id, "a put-back", Release::PutBack)?;
        let fields = self.fields(slot, &mut route);
        self.work.insert(slot, Work::Routed(route));
        self.back_to_active(slot, fields)
    }

    fn back_to_active(&mut self, slot: Slot, fields: Fields) -> Result<(), InputError> {
        self.counters.putbacks += 1;
        let item = self.index.item(slot);
        let expires = self.transport(&item.transportid).retry.deadline(item);
        self.index.put_back(slot, fields, expires)?;
        if self.index.is_freezing(slot) {
            self.work.remove(slot);
            self.index.freeze(slot, expires)?;
        }
        Ok(())
    }

    /// Ends the delivery of an item in SENDING and gives back what the gate granted.
    fn end_delivery(
        &mut self,
        now: Timestamp,
        id: ItemId,
        what: &'static str,
        how: Release,
    ) -> Result<(Slot, Box<Route>, Grant), InputError> {
        let sending = |work: &Work| matches!(work, Work::Routed(route) if route.grant.is_some());
        let slot = self.awaited(id, what, sending)?;
        let awaited = InputError::NotAwaited(id, what);
        let Some(Work::Routed(mut route)) = self.work.remove(slot) else {
            return Err(awaited);
        };
        let grant = route
            .grant
            .take()
            .map_or_else(Grant::default, |grant| *grant);
        self.running.deliveries -= 1;
        self.sending.remove(&slot);
        let mut freed = Vec::new();
        self.gate.release(grant.ticket, how, now, &mut freed);
        freed.into_iter().for_each(|limit| self.index.wake(limit));
        Ok((slot, route, grant))
    }
}
