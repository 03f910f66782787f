//! The counters, and the gate over them.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use slab::Slab;

use super::changes::{Dynamics, EndedBySelf};
use super::compiled::{Applied, KeyPart, Policy, PolicyError, Suspend};
use super::counters::Counters;
use super::look::Limited;
use super::rate::{Algorithm, Meter};
use super::spec::{PolicySpec, SuspendSpec};
use super::suspends::Suspends;
use crate::gate::{
    BlockKind, Blocked, Field, FieldSet, Fields, Gate, Grant, LimitId, Memo, Release, Reuse, Ticket,
};
use crate::matcher::Lists;
use crate::random::fnv1a;
use crate::text::Text;
use crate::time::Timestamp;
use crate::transport::SourceIp;

/// What the configuration says.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    /// `rate.algorithm`
    pub algorithm: Algorithm,
    /// `policies`
    pub policies: Vec<PolicySpec>,
    /// `suspends`
    pub suspends: Vec<SuspendSpec>,
    /// `queues.lists`
    pub lists: Lists,
}

/// Idle connections, over which a message may go before the time between new connections is over.
pub trait IdleDoor: std::fmt::Debug + Send + Sync {
    /// The field by which connections are found again.
    fn field(&self) -> Field;

    /// Sets one aside that leads where these values say; whether there is one.
    fn reserve(&self, fields: &Fields, local: Option<IpAddr>) -> bool;
}

/// The policies and suspends in force, with their counters.
#[derive(Debug, Default)]
pub struct Policies {
    pub(super) algorithm: Algorithm,
    pub(super) lists: Lists,
    /// Those of the configuration, then those that exist for conditions set at run time.
    pub(super) policies: Vec<Policy>,
    /// How many are the configuration's.
    pub(super) configured: usize,
    pub(super) dynamics: Dynamics,
    pub(super) suspends: Suspends,
    /// When what was set at run time ends by itself, by its number.
    pub(super) ends: BTreeSet<(Timestamp, u64)>,
    /// The fields that are looked at; it grows until the next configuration, so that what ends and
    /// begins again does not divide the queue anew each time.
    pub(super) looked: FieldSet,
    /// What ended by itself and was not asked for yet.
    pub(super) ended: Vec<EndedBySelf>,
    idle: Option<Arc<dyn IdleDoor>>,
    /// Something was set that deliveries under way are not counted under.
    pub(super) is_new: bool,
    /// The number of the next policy or suspend.
    next: u64,
    pub(super) counters: Counters,
    /// Changes of the policies, and sweeps of the counters: what was found before is found anew.
    changes: u64,
    /// What pick-ups took, each with the upper half of its ticket; the lower half is its place.
    tickets: Slab<(u32, Vec<Taken>)>,
    next_ticket: u32,
    /// Sets of limits that stop an item together, one for each source address, by limit of theirs.
    pub(super) together: HashMap<LimitId, BTreeSet<LimitId>>,
    /// Whose turn it is among source addresses, by transport and destination.
    turns: HashMap<(Text, Option<Text>), usize>,
    /// Destinations that had a first turn.
    begun: u64,
}

/// The counters that let a pick-up pass.
struct Asked {
    counters: Vec<(u32, Arc<Applied>)>,
    /// The time that must pass before a new connection is opened.
    wait: Option<Blocked>,
}

/// What a pick-up took from a counter.
#[derive(Debug)]
struct Taken {
    /// The counter's place; it stays there, because it is in use.
    counter: u32,
    /// When its message was counted, or in which window.
    window: Option<Timestamp>,
    /// `connect_after` before and since.
    connect: Option<(Timestamp, Timestamp)>,
}

/// More turns than this are forgotten; they only even out the use of source addresses.
const MOST_TURNS: usize = 65_536;

impl Policies {
    /// Lays out a configuration.
    ///
    /// # Errors
    /// A policy or suspend cannot be used.
    pub fn new(setup: Setup) -> Result<Self, PolicyError> {
        let mut policies = Policies::default();
        policies.configure(setup)?;
        Ok(policies)
    }

    /// Takes a new configuration. Counters of policies whose fields stay are kept, and what was set
    /// at run time. Follow with [`PoliciesChanged`](crate::scheduler::Input::PoliciesChanged).
    ///
    /// # Errors
    /// A policy or suspend cannot be used; nothing has changed.
    pub fn configure(&mut self, setup: Setup) -> Result<(), PolicyError> {
        let mut next = self.next;
        let mut fresh = Vec::new();
        for spec in &setup.policies {
            fresh.push(Policy::new(next, spec, &setup.lists)?);
            next += 1;
        }
        let mut suspends = Suspends::default();
        for spec in &setup.suspends {
            let suspend = Suspend::new(next, spec.clone(), &setup.lists)?;
            suspends.insert(suspend, &setup.lists)?;
            next += 1;
        }
        for suspend in self.suspends.iter().filter(|of| of.id.is_some()) {
            suspends.insert(suspend.clone(), &setup.lists)?;
        }
        let dynamics = std::mem::take(&mut self.dynamics);
        // A condition set at run time may find in the files the policy that it had to make itself, or lose it: the
        // counters are the same.
        let mut old = std::mem::take(&mut self.policies);
        let mut as_before = |policy: &mut Policy| {
            if let Some(place) = old.iter().position(|of| of.has_same_counters(policy)) {
                let same = old.remove(place);
                policy.id = same.id;
                policy.version += same.version + 1;
            }
        };
        fresh.iter_mut().for_each(&mut as_before);
        self.next = next;
        self.have_changed();
        self.configured = fresh.len();
        self.is_new = !fresh.is_empty();
        self.policies = fresh;
        self.suspends = suspends;
        self.algorithm = setup.algorithm;
        self.lists = setup.lists;
        self.looked = FieldSet::default();
        for (number, dynamic) in dynamics.by_number {
            self.put(number, dynamic);
        }
        let own = self.policies.iter_mut().skip(self.configured);
        own.for_each(as_before);
        self.look();
        Ok(())
    }

    /// Makes use of idle connections. Follow with
    /// [`PoliciesChanged`](crate::scheduler::Input::PoliciesChanged).
    pub fn use_idle(&mut self, idle: Arc<dyn IdleDoor>) {
        self.idle = Some(idle);
        self.look();
    }

    /// Adds to the fields that are looked at.
    pub(super) fn look(&mut self) {
        // The gate chooses the source address, so it always looks at the pool.
        let mut set = self.looked.with(Field::LocalIp);
        for policy in &self.policies {
            set = set.union(policy.field_set);
            if policy.has_connect_interval
                && let Some(idle) = &self.idle
            {
                set = set.with(idle.field());
            }
        }
        // By the address a connection is found again only where the queue knows it.
        if let Some(idle) = &self.idle
            && idle.field() == Field::RemoteIp
        {
            set = set.with(Field::RemoteIp);
        }
        self.looked = set.union(self.suspends.field_set());
    }

    /// Notes that what was found for a sub-queue may not be so any more.
    pub(super) fn have_changed(&mut self) {
        self.changes += 1;
    }

    /// The number of a new policy or suspend: no other has it or had it.
    pub(super) fn number(&mut self) -> u64 {
        let number = self.next;
        self.next += 1;
        number
    }

    /// Whether nothing is limited or suspended.
    pub fn is_empty(&self) -> bool {
        self.policies.is_empty() && self.suspends.is_empty()
    }

    /// Every limit that is reached now, by counter.
    pub fn reached(&mut self, now: Timestamp) -> Vec<Limited> {
        let places: Vec<u32> = self.counters.places().collect();
        let blocked: Vec<Blocked> = places
            .into_iter()
            .filter_map(|place| self.blocked(place, now).or(self.connect_wait(place, now)))
            .collect();
        blocked
            .into_iter()
            .filter_map(|blocked| self.explain(blocked.limit))
            .collect()
    }

    /// Puts tokens into the buckets that `fits`; gives the number of buckets and the limits to wake.
    pub fn refill(
        &mut self,
        tokens: f64,
        mut fits: impl FnMut(&[Field], &[KeyPart]) -> bool,
    ) -> (usize, Vec<LimitId>) {
        let mut woken = Vec::new();
        let places: Vec<u32> = self.counters.places().collect();
        for place in places {
            let number = self.counters.number(place);
            let Some(counter) = self.counters.get_mut(place) else {
                continue;
            };
            let fields = counter.applied.as_ref().map(|applied| &applied.fields[..]);
            if let Some(meter) = &mut counter.meter
                && fits(fields.unwrap_or(&[]), &counter.name.1)
            {
                meter.refill(self.algorithm, tokens);
                woken.push(limit_id(number, BlockKind::Rate));
            }
        }
        woken.sort_unstable();
        let found = woken.len();
        let more: Vec<_> = woken
            .iter()
            .filter_map(|of| self.together.get(of))
            .collect();
        let more: Vec<LimitId> = more.into_iter().flatten().copied().collect();
        woken.extend(more);
        (found, woken)
    }

    /// Asks for one source address, the one at `turn` in its list, and takes nothing yet.
    fn check(
        &mut self,
        fields: &Fields,
        (turn, local): (usize, Option<IpAddr>),
        memo: &mut Memo,
        now: Timestamp,
    ) -> Result<Asked, Blocked> {
        if let Some(suspend) = self.suspends.covering(fields, local) {
            let kind = match suspend.id {
                Some(_) => BlockKind::DynamicSuspend,
                None => BlockKind::Suspend,
            };
            return Err(Blocked {
                limit: limit_id(suspend.number, kind),
                until: suspend.expires,
                kind,
            });
        }
        let mut asked = Vec::with_capacity(self.policies.len());
        let mut wait: Option<Blocked> = None;
        let policies = self.policies.len();
        for policy in 0..policies {
            let at = turn * policies + policy;
            let found = match memo.known(at) {
                Some(None) => continue,
                Some(Some(counter)) => self.renewed(policy, counter, now),
                None => self.counter(policy, fields, local, now),
            };
            memo.note(at, found.as_ref().map(|(counter, _)| *counter));
            let Some((counter, applied)) = found else {
                continue;
            };
            if let Some(blocked) = self.blocked(counter, now) {
                return Err(blocked);
            }
            // The longest time counts: only one of them can be waited for.
            let connect = self.connect_wait(counter, now);
            if connect.map(|of| of.until) > wait.map(|of| of.until) {
                wait = connect;
            }
            let stop = applied.stop;
            asked.push((counter, applied));
            if stop {
                break;
            }
        }
        Ok(Asked {
            counters: asked,
            wait,
        })
    }

    /// The place of a policy's counter for these values, and what applies to it.
    fn counter(
        &mut self,
        policy: usize,
        fields: &Fields,
        local: Option<IpAddr>,
        now: Timestamp,
    ) -> Option<(u32, Arc<Applied>)> {
        let rules = self.policies.get_mut(policy)?;
        let name = (rules.id, rules.key(fields, local));
        if let Some(place) = self.counters.place(&name) {
            return self.renewed(policy, place, now);
        }
        let applied = rules.shared(&name.1, now)?;
        let version = rules.version;
        let place = self.counters.insert(name, Arc::clone(&applied), version);
        Some((place, applied))
    }

    /// The same for a counter that is there: what applies to it may have changed.
    fn renewed(
        &mut self,
        policy: usize,
        place: u32,
        now: Timestamp,
    ) -> Option<(u32, Arc<Applied>)> {
        let rules = self.policies.get_mut(policy)?;
        let counter = self.counters.get_mut(place)?;
        let ended = |of: &Arc<Applied>| of.expires.is_some_and(|at| at <= now);
        if counter.version != rules.version || counter.applied.as_ref().is_none_or(ended) {
            counter.version = rules.version;
            counter.applied = rules.shared(&counter.name.1, now);
        }
        Some((place, counter.applied.clone()?))
    }

    /// The time between new connections of a counter, if it is not over.
    fn connect_wait(&self, place: u32, now: Timestamp) -> Option<Blocked> {
        let counter = self.counters.get(place)?;
        let applied = counter.applied.as_ref()?;
        applied.limits.connect_interval?;
        (counter.connect_after > now).then(|| {
            let end = applied.expires.unwrap_or(Timestamp::NEVER);
            Blocked {
                limit: limit_id(self.counters.number(place), BlockKind::ConnectInterval),
                until: Some(counter.connect_after.min(end)),
                kind: BlockKind::ConnectInterval,
            }
        })
    }

    /// The limit of a counter that is reached, but for the time between new connections.
    fn blocked(&mut self, place: u32, now: Timestamp) -> Option<Blocked> {
        let number = self.counters.number(place);
        let counter = self.counters.get_mut(place)?;
        let applied = counter.applied.as_ref()?;
        let limits = applied.limits;
        let block = |kind, until: Option<Timestamp>| {
            // A condition that ends lets others pass, and no release tells of that.
            let until = match (until, applied.expires) {
                (Some(until), Some(expires)) => Some(until.min(expires)),
                (until, expires) => until.or(expires),
            };
            Some(Blocked {
                limit: limit_id(number, kind),
                until: until.filter(|at| *at != Timestamp::NEVER),
                kind,
            })
        };
        if limits
            .concurrency
            .is_some_and(|most| counter.in_use >= most)
        {
            return block(BlockKind::Concurrency, None);
        }
        if let Some(rate) = limits.rate {
            let meter = counter
                .meter
                .get_or_insert_with(|| Box::new(Meter::new(rate)));
            if let Some(until) = meter.wait(self.algorithm, rate, now) {
                return block(BlockKind::Rate, Some(until));
            }
        }
        None
    }

    /// Takes what a pick-up needs from the counters that were asked.
    fn take(&mut self, asked: &[(u32, Arc<Applied>)], reuse: bool, now: Timestamp) -> Ticket {
        let mut list = Vec::with_capacity(asked.len());
        for (place, applied) in asked {
            let Some(counter) = self.counters.get_mut(*place) else {
                continue;
            };
            counter.in_use += 1;
            let limits = applied.limits;
            let meter = counter.meter.as_mut().filter(|_| limits.rate.is_some());
            let window = meter.map(|meter| meter.take(self.algorithm, now));
            let interval = limits.connect_interval.filter(|_| !reuse);
            let connect = interval.map(|interval| {
                let before = counter.connect_after;
                counter.connect_after = now.after(interval);
                (before, counter.connect_after)
            });
            list.push(Taken {
                counter: *place,
                window,
                connect,
            });
        }
        self.next_ticket = self.next_ticket.wrapping_add(1);
        let number = self.next_ticket;
        let place = self.tickets.insert((number, list)) as u64;
        Ticket(u64::from(number) << 32 | place)
    }

    /// What a pick-up took.
    fn taken(&mut self, ticket: Ticket) -> Option<&mut Vec<Taken>> {
        let place = ticket.0 as u32 as usize;
        let (number, taken) = self.tickets.get_mut(place)?;
        (u64::from(*number) == ticket.0 >> 32).then_some(taken)
    }

    /// Among source addresses that take turns, one over which a connection is open and idle comes
    /// before those that need a new one.
    fn admit_over_idle(
        &mut self,
        fields: &Fields,
        memo: &mut Memo,
        now: Timestamp,
    ) -> Option<Grant> {
        self.idle.as_ref()?;
        if fields.sources.ordered || fields.sources.addresses.len() < 2 {
            return None;
        }
        for (turn, source) in fields.sources.addresses.iter().enumerate() {
            let local = Some(source.address);
            let Ok(asked) = self.check(fields, (turn, local), memo, now) else {
                continue;
            };
            if self.may_reuse(fields, local) {
                let reuse = match asked.wait {
                    Some(_) => Reuse::Required,
                    None => Reuse::Preferred,
                };
                return Some(self.grant(asked, Some(source), reuse, now));
            }
        }
        None
    }

    /// Takes what was asked for.
    fn grant(
        &mut self,
        asked: Asked,
        source: Option<&SourceIp>,
        reuse: Reuse,
        now: Timestamp,
    ) -> Grant {
        // One that is preferred may be gone, and a new one is counted; Release::Reused takes it back.
        let ticket = self.take(&asked.counters, reuse == Reuse::Required, now);
        let asked = asked.counters.into_iter();
        let policies: Vec<_> = asked.map(|(_, applied)| applied).collect();
        Grant {
            ticket,
            source: source.cloned(),
            tags: policies.iter().flat_map(|of| of.tags.clone()).collect(),
            policies,
            reuse,
        }
    }

    fn may_reuse(&self, fields: &Fields, local: Option<IpAddr>) -> bool {
        let idle = self.idle.as_ref();
        idle.is_some_and(|idle| idle.reserve(fields, local))
    }

    /// Names what stops an item from each of its source addresses.
    fn together(&mut self, mut blocks: Vec<Blocked>) -> Blocked {
        blocks.sort_by_key(|blocked| blocked.limit);
        blocks.dedup_by_key(|blocked| blocked.limit);
        let until = blocks.iter().filter_map(|blocked| blocked.until).min();
        let Some(first) = blocks.first().copied() else {
            // Not reached: an item is stopped by something.
            return Blocked {
                limit: LimitId(0),
                until: None,
                kind: BlockKind::Suspend,
            };
        };
        if blocks.len() == 1 {
            return first;
        }
        let names: Vec<[u8; 8]> = blocks.iter().map(|of| of.limit.0.to_le_bytes()).collect();
        let names: Vec<&[u8]> = names.iter().map(<[u8; 8]>::as_slice).collect();
        let limit = LimitId(fnv1a(&names) | TOGETHER);
        for blocked in &blocks {
            self.together
                .entry(blocked.limit)
                .or_default()
                .insert(limit);
        }
        Blocked {
            limit,
            until,
            kind: first.kind,
        }
    }

    /// Forgets counters that say nothing, if there are many more than there were.
    fn sweep(&mut self, now: Timestamp) {
        if self.counters.sweep(self.algorithm, now) {
            self.have_changed();
            let kept = &self.counters;
            self.together.retain(|limit, _| {
                parts_of(*limit).is_some_and(|(n, _)| kept.numbered(n).is_some())
            });
        }
    }

    /// The place of the address to ask for first: the first, or the one whose turn it is.
    fn turn(&mut self, fields: &Fields) -> usize {
        let count = fields.sources.addresses.len();
        if count < 2 || fields.sources.ordered {
            return 0;
        }
        if self.turns.len() >= MOST_TURNS {
            self.turns.clear();
        }
        let destination = fields.grouping.clone().or_else(|| fields.remotemx.clone());
        let name = (fields.transportid.clone(), destination);
        let begun = &mut self.begun;
        let turn = self.turns.entry(name).or_insert_with_key(|(transport, _)| {
            *begun += 1;
            let begin = fnv1a(&[transport.as_bytes(), &begun.to_le_bytes()]);
            // The remainder is smaller than the list.
            (begin % count as u64) as usize
        });
        let at = *turn % count;
        *turn = at + 1;
        at
    }
}

impl Gate for Policies {
    fn fields(&self) -> FieldSet {
        self.looked.with(Field::LocalIp)
    }

    fn is_suspended(&self, fields: &Fields) -> bool {
        let covered = |local| self.suspends.covering(fields, local).is_some();
        match &*fields.sources.addresses {
            [] => covered(None),
            list => list.iter().all(|source| covered(Some(source.address))),
        }
    }

    fn next_end(&self) -> Option<Timestamp> {
        self.ends.first().map(|(at, _)| *at)
    }

    fn pass_time(&mut self, now: Timestamp) {
        self.expire(now);
    }

    fn has_new_limits(&mut self) -> bool {
        std::mem::take(&mut self.is_new)
    }

    fn goes_on(&mut self, ticket: Ticket, fields: &Fields, local: Option<IpAddr>, now: Timestamp) {
        let Some(taken) = self.taken(ticket) else {
            return;
        };
        let mut list = std::mem::take(taken);
        for place in 0..self.policies.len() {
            let Some((found, applied)) = self.counter(place, fields, local, now) else {
                continue;
            };
            let policy = self.policies.get(place).map(|policy| policy.id);
            let is_of_it = |taken: &Taken| {
                let counter = self.counters.get(taken.counter);
                counter.map(|counter| counter.name.0) == policy
            };
            if !list.iter().any(is_of_it)
                && let Some(counter) = self.counters.get_mut(found)
            {
                counter.in_use += 1;
                list.push(Taken {
                    counter: found,
                    window: None,
                    connect: None,
                });
            }
            if applied.stop {
                break;
            }
        }
        if let Some(taken) = self.taken(ticket) {
            *taken = list;
        }
    }

    fn admit(&mut self, fields: &Fields, now: Timestamp) -> Result<Grant, Blocked> {
        self.admit_known(fields, &mut Memo::default(), now)
    }

    fn admit_known(
        &mut self,
        fields: &Fields,
        memo: &mut Memo,
        now: Timestamp,
    ) -> Result<Grant, Blocked> {
        self.expire(now);
        // Before anything is found: the places of counters are good until the end.
        self.sweep(now);
        memo.renew(self.changes);
        let addresses = &*fields.sources.addresses;
        if let Some(grant) = self.admit_over_idle(fields, memo, now) {
            return Ok(grant);
        }
        let first = self.turn(fields);
        let in_turn = (first..addresses.len()).chain(0..first.min(addresses.len()));
        let in_turn = in_turn.map(|turn| (turn, addresses.get(turn)));
        // Without a pool the system chooses.
        let system = addresses.is_empty().then_some((0, None));
        let mut blocks = Vec::new();
        for (turn, source) in in_turn.chain(system) {
            let local = source.map(|source| source.address);
            match self.check(fields, (turn, local), memo, now) {
                Err(blocked) => blocks.push(blocked),
                Ok(asked) => {
                    let mut reuse = Reuse::No;
                    if let Some(blocked) = asked.wait {
                        if !self.may_reuse(fields, local) {
                            blocks.push(blocked);
                            continue;
                        }
                        reuse = Reuse::Required;
                    }
                    return Ok(self.grant(asked, source, reuse, now));
                }
            }
        }
        Err(self.together(blocks))
    }

    fn release(&mut self, ticket: Ticket, how: Release, now: Timestamp, freed: &mut Vec<LimitId>) {
        let taken = self.taken(ticket).map(std::mem::take);
        if taken.is_some() {
            self.tickets.remove(ticket.0 as u32 as usize);
        }
        for taken in taken.unwrap_or_default() {
            let number = self.counters.number(taken.counter);
            let Some(counter) = self.counters.get_mut(taken.counter) else {
                continue;
            };
            counter.in_use = counter.in_use.saturating_sub(1);
            freed.push(limit_id(number, BlockKind::Concurrency));
            let applied = counter.applied.as_ref();
            if applied.is_some_and(|of| of.limits.connect_interval.is_some()) {
                // The connection may be idle now, and another message may use it.
                freed.push(limit_id(number, BlockKind::ConnectInterval));
            }
            if how == Release::PutBack
                && let (Some(meter), Some(window)) = (&mut counter.meter, taken.window)
            {
                meter.give_back(self.algorithm, window, now);
                freed.push(limit_id(number, BlockKind::Rate));
            }
            if how != Release::Finished
                && let Some((before, since)) = taken.connect
                && counter.connect_after == since
            {
                counter.connect_after = before;
            }
        }
        if self.together.is_empty() {
            return;
        }
        let together: BTreeSet<LimitId> = (freed.iter())
            .filter_map(|limit| self.together.get(limit))
            .flatten()
            .copied()
            .collect();
        freed.extend(together);
    }
}

/// Set in the name of several limits that stop an item together.
pub(super) const TOGETHER: u64 = 1 << 63;

fn limit_id(number: u64, kind: BlockKind) -> LimitId {
    LimitId((number << 3 | kind as u64) & !TOGETHER)
}

pub(super) fn parts_of(limit: LimitId) -> Option<(u64, BlockKind)> {
    if limit.0 & TOGETHER != 0 {
        return None;
    }
    let kinds = [
        BlockKind::Suspend,
        BlockKind::DynamicSuspend,
        BlockKind::Concurrency,
        BlockKind::Rate,
        BlockKind::ConnectInterval,
    ];
    let kind = kinds.into_iter().find(|kind| *kind as u64 == limit.0 & 7)?;
    Some((limit.0 >> 3, kind))
}

#[cfg(test)]
impl Policies {
    /// Whether nothing is in the way; takes nothing.
    pub(crate) fn would_admit(&mut self, fields: &Fields, now: Timestamp) -> bool {
        let addresses = &*fields.sources.addresses;
        let system = addresses.is_empty().then_some(None);
        let each = addresses.iter().map(|source| Some(source.address));
        each.chain(system).any(|local| {
            self.check(fields, (0, local), &mut Memo::default(), now)
                .is_ok_and(|asked| asked.wait.is_none())
        })
    }
}
