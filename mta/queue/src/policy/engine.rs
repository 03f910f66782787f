//! The counters, and the gate over them.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use super::changes::{Dynamics, EndedBySelf};
use super::compiled::{Applied, KeyPart, Policy, PolicyError, Suspend};
use super::rate::{Algorithm, Meter};
use super::spec::{PolicySpec, SuspendSpec};
use super::suspends::Suspends;
use crate::gate::{
    BlockKind, Blocked, Field, FieldSet, Fields, Gate, Grant, LimitId, Release, Reuse, Ticket,
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
    /// The number of the next policy, suspend, counter or ticket.
    next: u64,
    counters: HashMap<CounterName, u64>,
    by_number: HashMap<u64, Counter>,
    after_sweep: usize,
    tickets: HashMap<Ticket, Vec<Taken>>,
    /// Sets of limits that stop an item together, one for each source address, by limit of theirs.
    together: HashMap<LimitId, BTreeSet<LimitId>>,
    /// Whose turn it is among source addresses, by transport and destination.
    turns: HashMap<(Text, Option<Text>), usize>,
}

/// The counters that let a pick-up pass.
struct Asked {
    counters: Vec<(u64, Arc<Applied>)>,
    /// The time that must pass before a new connection is opened.
    wait: Option<Blocked>,
}

type CounterName = (u64, Box<[KeyPart]>);

#[derive(Debug)]
struct Counter {
    name: CounterName,
    in_use: u32,
    meter: Option<Meter>,
    /// No new connection before.
    connect_after: Timestamp,
    /// What applies, found at this version of the policy.
    applied: Option<Arc<Applied>>,
    version: u64,
}

/// What a pick-up took from a counter.
#[derive(Debug)]
struct Taken {
    counter: u64,
    /// When its message was counted, or in which window.
    window: Option<Timestamp>,
    /// `connect_after` before and since.
    connect: Option<(Timestamp, Timestamp)>,
}

/// A limit that is in the way, for people.
#[derive(Clone, Debug, PartialEq)]
pub struct Limited {
    /// Its kind.
    pub kind: BlockKind,
    /// The policy; none: a suspend.
    pub applied: Option<Arc<Applied>>,
    /// The values that name the counter, or that the suspend names.
    pub values: Vec<(Field, String)>,
    /// Deliveries that go on under the counter.
    pub in_use: u32,
    /// The id of a suspend that was set at run time.
    pub suspend: Option<Text>,
    /// Where it was set.
    pub origin: Text,
}

/// Counters of policies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CountersInUse {
    /// All of them; each counts deliveries at once.
    pub all: usize,
    /// Those with a rate.
    pub rates: usize,
    /// Those with a time between new connections.
    pub intervals: usize,
}

/// More turns than this are forgotten; they only even out the use of source addresses.
const MOST_TURNS: usize = 65_536;
/// Below this number of counters looking for those that say nothing saves nothing.
const SWEEP_FROM: usize = 1024;

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

    pub(super) fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Whether nothing is limited or suspended.
    pub fn is_empty(&self) -> bool {
        self.policies.is_empty() && self.suspends.is_empty()
    }

    /// The policies that apply to these values, in order.
    pub fn describe(&self, fields: &Fields, local: Option<IpAddr>, now: Timestamp) -> Vec<Applied> {
        let mut list = Vec::new();
        for policy in &self.policies {
            if let Some(applied) = policy.apply(&policy.key(fields, local), now) {
                let stop = applied.stop;
                list.push(applied);
                if stop {
                    break;
                }
            }
        }
        list
    }

    /// What a limit is that an answer named; none if it has gone.
    pub fn explain(&self, limit: LimitId) -> Option<Limited> {
        let (number, kind) = parts_of(limit)?;
        if let Some(suspend) = self.suspends.get(number) {
            let values = suspend.spec.when.iter().map(|(field, patterns)| {
                let texts: Vec<String> = patterns.iter().map(|p| p.written()).collect();
                (*field, texts.join(", "))
            });
            return Some(Limited {
                kind,
                applied: None,
                values: values.collect(),
                in_use: 0,
                suspend: suspend.id.clone(),
                origin: suspend.spec.origin.clone(),
            });
        }
        let counter = self.by_number.get(&number)?;
        let applied = counter.applied.clone()?;
        let parts = applied.fields.iter().zip(&counter.name.1);
        Some(Limited {
            kind,
            values: parts
                .map(|(field, part)| (*field, part.to_string()))
                .collect(),
            in_use: counter.in_use,
            suspend: None,
            origin: applied.origins.last().cloned().unwrap_or_default(),
            applied: Some(applied),
        })
    }

    /// Every limit that is reached now, by counter.
    pub fn reached(&mut self, now: Timestamp) -> Vec<Limited> {
        let numbers: BTreeSet<u64> = self.by_number.keys().copied().collect();
        let blocked: Vec<Blocked> = numbers
            .into_iter()
            .filter_map(|number| self.blocked(number, now).or(self.connect_wait(number, now)))
            .collect();
        blocked
            .into_iter()
            .filter_map(|blocked| self.explain(blocked.limit))
            .collect()
    }

    /// How many counters there are.
    pub fn counters(&self) -> CountersInUse {
        let rates = self.by_number.values().filter(|of| of.meter.is_some());
        let intervals = self.by_number.values().filter(|of| {
            let applied = of.applied.as_ref();
            applied.is_some_and(|applied| applied.limits.connect_interval.is_some())
        });
        CountersInUse {
            all: self.by_number.len(),
            rates: rates.count(),
            intervals: intervals.count(),
        }
    }

    /// Puts tokens into the buckets that `fits`; gives the number of buckets and the limits to wake.
    pub fn refill(
        &mut self,
        tokens: f64,
        mut fits: impl FnMut(&[Field], &[KeyPart]) -> bool,
    ) -> (usize, Vec<LimitId>) {
        let mut woken = Vec::new();
        for (number, counter) in &mut self.by_number {
            let fields = counter.applied.as_ref().map(|applied| &applied.fields[..]);
            if let Some(meter) = &mut counter.meter
                && fits(fields.unwrap_or(&[]), &counter.name.1)
            {
                meter.refill(self.algorithm, tokens);
                woken.push(limit_id(*number, BlockKind::Rate));
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

    /// Asks for one source address, and takes nothing yet.
    fn check(
        &mut self,
        fields: &Fields,
        local: Option<IpAddr>,
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
        for place in 0..self.policies.len() {
            let Some((number, applied)) = self.counter(place, fields, local, now) else {
                continue;
            };
            if let Some(blocked) = self.blocked(number, now) {
                return Err(blocked);
            }
            // The longest time counts: only one of them can be waited for.
            let connect = self.connect_wait(number, now);
            if connect.map(|of| of.until) > wait.map(|of| of.until) {
                wait = connect;
            }
            let stop = applied.stop;
            asked.push((number, applied));
            if stop {
                break;
            }
        }
        Ok(Asked {
            counters: asked,
            wait,
        })
    }

    /// The counter of a policy for these values, and what applies to it.
    fn counter(
        &mut self,
        place: usize,
        fields: &Fields,
        local: Option<IpAddr>,
        now: Timestamp,
    ) -> Option<(u64, Arc<Applied>)> {
        let policy = self.policies.get(place)?;
        let name = (policy.id, policy.key(fields, local));
        if let Some(number) = self.counters.get(&name)
            && let Some(counter) = self.by_number.get_mut(number)
        {
            let ended = |of: &Arc<Applied>| of.expires.is_some_and(|at| at <= now);
            if counter.version != policy.version || counter.applied.as_ref().is_none_or(ended) {
                counter.version = policy.version;
                counter.applied = policy.apply(&name.1, now).map(Arc::new);
            }
            return Some((*number, counter.applied.clone()?));
        }
        let applied = Arc::new(policy.apply(&name.1, now)?);
        let version = policy.version;
        let number = self.number();
        self.sweep(now);
        self.counters.insert(name.clone(), number);
        let counter = Counter {
            name,
            in_use: 0,
            meter: None,
            connect_after: Timestamp::ZERO,
            applied: Some(Arc::clone(&applied)),
            version,
        };
        self.by_number.insert(number, counter);
        Some((number, applied))
    }

    /// The time between new connections of a counter, if it is not over.
    fn connect_wait(&self, number: u64, now: Timestamp) -> Option<Blocked> {
        let counter = self.by_number.get(&number)?;
        let applied = counter.applied.as_ref()?;
        applied.limits.connect_interval?;
        (counter.connect_after > now).then(|| {
            let end = applied.expires.unwrap_or(Timestamp::NEVER);
            Blocked {
                limit: limit_id(number, BlockKind::ConnectInterval),
                until: Some(counter.connect_after.min(end)),
                kind: BlockKind::ConnectInterval,
            }
        })
    }

    /// The limit of a counter that is reached, but for the time between new connections.
    fn blocked(&mut self, number: u64, now: Timestamp) -> Option<Blocked> {
        let counter = self.by_number.get_mut(&number)?;
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
            let meter = counter.meter.get_or_insert_with(|| Meter::new(rate));
            if let Some(until) = meter.wait(self.algorithm, rate, now) {
                return block(BlockKind::Rate, Some(until));
            }
        }
        None
    }

    /// Takes what a pick-up needs from the counters that were asked.
    fn take(&mut self, asked: &[(u64, Arc<Applied>)], reuse: bool, now: Timestamp) -> Ticket {
        let mut list = Vec::with_capacity(asked.len());
        for (number, applied) in asked {
            let Some(counter) = self.by_number.get_mut(number) else {
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
                counter: *number,
                window,
                connect,
            });
        }
        let ticket = Ticket(self.number());
        self.tickets.insert(ticket, list);
        ticket
    }

    /// Among source addresses that take turns, one over which a connection is open and idle comes
    /// before those that need a new one.
    fn admit_over_idle(&mut self, fields: &Fields, now: Timestamp) -> Option<Grant> {
        self.idle.as_ref()?;
        if fields.sources.ordered || fields.sources.addresses.len() < 2 {
            return None;
        }
        for source in &*fields.sources.addresses {
            let local = Some(source.address);
            let Ok(asked) = self.check(fields, local, now) else {
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

    /// The limits that a name for several stands for; the limit itself if it is one.
    pub fn limits_behind(&self, limit: LimitId) -> Vec<LimitId> {
        if limit.0 & TOGETHER == 0 {
            return vec![limit];
        }
        let mut list: Vec<LimitId> = (self.together.iter())
            .filter(|(_, names)| names.contains(&limit))
            .map(|(limit, _)| *limit)
            .collect();
        list.sort_unstable();
        list
    }

    /// Forgets counters that say nothing, when there are twice as many as after the last time.
    fn sweep(&mut self, now: Timestamp) {
        if self.by_number.len() < (self.after_sweep * 2).max(SWEEP_FROM) {
            return;
        }
        let algorithm = self.algorithm;
        self.by_number.retain(|_, counter| {
            let rate = counter.applied.as_ref().and_then(|of| of.limits.rate);
            let full = match (&mut counter.meter, rate) {
                (Some(meter), Some(rate)) => meter.is_full(algorithm, rate, now),
                _ => true,
            };
            counter.in_use > 0 || counter.connect_after > now || !full
        });
        let kept = &self.by_number;
        self.counters.retain(|_, number| kept.contains_key(number));
        self.together
            .retain(|limit, _| parts_of(*limit).is_some_and(|(n, _)| kept.contains_key(&n)));
        self.after_sweep = self.by_number.len();
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
        let begin = fnv1a(&[name.0.as_bytes(), &self.next.to_le_bytes()]);
        let turn = self.turns.entry(name);
        // The remainder is smaller than the list.
        let turn = turn.or_insert((begin % count as u64) as usize);
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
        let Some(mut list) = self.tickets.remove(&ticket) else {
            return;
        };
        for place in 0..self.policies.len() {
            let Some((number, applied)) = self.counter(place, fields, local, now) else {
                continue;
            };
            let policy = self.policies.get(place).map(|policy| policy.id);
            let is_of_it = |taken: &Taken| {
                let counter = self.by_number.get(&taken.counter);
                counter.map(|counter| counter.name.0) == policy
            };
            if !list.iter().any(is_of_it)
                && let Some(counter) = self.by_number.get_mut(&number)
            {
                counter.in_use += 1;
                list.push(Taken {
                    counter: number,
                    window: None,
                    connect: None,
                });
            }
            if applied.stop {
                break;
            }
        }
        self.tickets.insert(ticket, list);
    }

    fn admit(&mut self, fields: &Fields, now: Timestamp) -> Result<Grant, Blocked> {
        self.expire(now);
        let addresses = &*fields.sources.addresses;
        if let Some(grant) = self.admit_over_idle(fields, now) {
            return Ok(grant);
        }
        let (later, first) = addresses.split_at(self.turn(fields).min(addresses.len()));
        let in_turn = first.iter().chain(later).map(Some);
        // Without a pool the system chooses.
        let system = addresses.is_empty().then_some(None);
        let mut blocks = Vec::new();
        for source in in_turn.chain(system) {
            let local = source.map(|source| source.address);
            match self.check(fields, local, now) {
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
        for taken in self.tickets.remove(&ticket).unwrap_or_default() {
            let Some(counter) = self.by_number.get_mut(&taken.counter) else {
                continue;
            };
            counter.in_use = counter.in_use.saturating_sub(1);
            freed.push(limit_id(taken.counter, BlockKind::Concurrency));
            let applied = counter.applied.as_ref();
            if applied.is_some_and(|of| of.limits.connect_interval.is_some()) {
                // The connection may be idle now, and another message may use it.
                freed.push(limit_id(taken.counter, BlockKind::ConnectInterval));
            }
            if how == Release::PutBack
                && let (Some(meter), Some(window)) = (&mut counter.meter, taken.window)
            {
                meter.give_back(self.algorithm, window, now);
                freed.push(limit_id(taken.counter, BlockKind::Rate));
            }
            if how != Release::Finished
                && let Some((before, since)) = taken.connect
                && counter.connect_after == since
            {
                counter.connect_after = before;
            }
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
const TOGETHER: u64 = 1 << 63;

fn limit_id(number: u64, kind: BlockKind) -> LimitId {
    LimitId((number << 3 | kind as u64) & !TOGETHER)
}

fn parts_of(limit: LimitId) -> Option<(u64, BlockKind)> {
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
            self.check(fields, local, now)
                .is_ok_and(|asked| asked.wait.is_none())
        })
    }
}
