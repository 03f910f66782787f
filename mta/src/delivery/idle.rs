//! Idle connections, kept for the next message to the same destination (`pooling`).
//!
//! Each worker has its own [`IdleConnections`], for a connection lives on one thread. How many there
//! are in the process, and which one makes room for another, is kept in one [`Ledger`]: a worker
//! that needs room may have to take it from another, which is then told to close.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use angarium_effects::{Clock, Monotonic};
use angarium_queue::attempt::Connection;
use angarium_queue::gate::{Field, Fields};
use angarium_queue::policy::IdleDoor;
use angarium_queue::pool::{Pool, PoolDestination, PoolKey, PoolRules, PoolStats, Put};
use angarium_queue::text::Text;
use angarium_queue::time::Timestamp;
use tokio::sync::{Notify, mpsc};

use super::link::Link;
use super::settings::PoolPolicy;
use crate::worker::Worker;

/// The idle connections of all workers: `queues.pooling.size` of them at most.
#[derive(Debug)]
pub(crate) struct Ledger(Mutex<Entries>);

#[derive(Debug)]
struct Entries {
    size: usize,
    next: u64,
    /// By age: whom to tell, and what the connection is offered for.
    idle: BTreeMap<u64, (mpsc::UnboundedSender<u64>, Offer)>,
    evictable: BTreeSet<u64>,
    offers: BTreeMap<Offer, Offered>,
    stats: PoolStats,
}

/// What is kept and what came of it, over all workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IdleCounts {
    /// Connections that are idle now.
    pub size: usize,
    /// `queues.pooling.size`.
    pub most: usize,
    /// Since the start.
    pub totals: PoolStats,
}

/// What an idle connection may be used for, as far as the queue can tell before an attempt.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Offer {
    pub transportid: Text,
    pub destination: PoolDestination,
    pub localip: Option<IpAddr>,
}

#[derive(Debug, Default)]
struct Offered {
    numbers: BTreeSet<u64>,
    /// Set aside for messages that may not open a connection.
    reserved: usize,
    /// Connections before this one did not suit.
    from: u64,
}

/// An idle connection that was set aside, until it is taken or given back.
#[derive(Debug)]
pub(crate) struct Reservation {
    ledger: Arc<Ledger>,
    offer: Offer,
}

impl Reservation {
    /// For an attempt whose pick-up reserved a connection.
    pub(crate) fn new(ledger: &Arc<Ledger>, offer: Offer) -> Reservation {
        Reservation {
            ledger: Arc::clone(ledger),
            offer,
        }
    }

    /// None of those that are idle now suits: they are not set aside again.
    pub(super) fn in_vain(&self) {
        let mut entries = self.ledger.entries();
        let next = entries.next;
        if let Some(offered) = entries.offers.get_mut(&self.offer) {
            offered.from = next;
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut entries = self.ledger.entries();
        if let Some(offered) = entries.offers.get_mut(&self.offer) {
            offered.reserved = offered.reserved.saturating_sub(1);
        }
        entries.forget_if_empty(&self.offer);
    }
}

/// What the queue's gate sees of the idle connections.
#[derive(Debug)]
pub(super) struct Door {
    pub ledger: Arc<Ledger>,
    pub policy: PoolPolicy,
}

impl Door {
    /// What a connection for these values would be offered for; none if they do not say.
    pub(super) fn offer(&self, fields: &Fields, local: Option<IpAddr>) -> Option<Offer> {
        let by_name = || {
            let name = fields.remotemx.as_ref()?.to_ascii_lowercase();
            Some(PoolDestination::RemoteMx(name))
        };
        Some(Offer {
            transportid: fields.transportid.clone(),
            destination: match self.policy {
                PoolPolicy::RemoteMx => by_name()?,
                PoolPolicy::RemoteIp => PoolDestination::RemoteIp(fields.remoteip?),
                PoolPolicy::Grouping => match &fields.grouping {
                    Some(grouping) => PoolDestination::Grouping(grouping.clone()),
                    None => by_name()?,
                },
            },
            localip: local,
        })
    }
}

impl IdleDoor for Door {
    fn field(&self) -> Field {
        match self.policy {
            PoolPolicy::RemoteMx => Field::RemoteMx,
            PoolPolicy::RemoteIp => Field::RemoteIp,
            PoolPolicy::Grouping => Field::Grouping,
        }
    }

    fn reserve(&self, fields: &Fields, local: Option<IpAddr>) -> bool {
        let Some(offer) = self.offer(fields, local) else {
            return false;
        };
        let mut entries = self.ledger.entries();
        let Some(offered) = entries.offers.get_mut(&offer) else {
            return false;
        };
        let free = offered.numbers.range(offered.from..).count();
        let reserve = free > offered.reserved;
        offered.reserved += usize::from(reserve);
        reserve
    }
}

impl Ledger {
    /// A ledger for at most `size` connections.
    pub(crate) fn new(size: usize) -> Ledger {
        Ledger(Mutex::new(Entries {
            size,
            next: 0,
            idle: BTreeMap::new(),
            evictable: BTreeSet::new(),
            offers: BTreeMap::new(),
            stats: PoolStats::default(),
        }))
    }

    /// What is kept, and what came of it.
    pub(crate) fn counts(&self) -> IdleCounts {
        let entries = self.entries();
        IdleCounts {
            size: entries.idle.len(),
            most: entries.size,
            totals: entries.stats,
        }
    }

    /// Counts what a worker met.
    fn count(&self, what: impl FnOnce(&mut PoolStats)) {
        what(&mut self.entries().stats);
    }

    /// Changes the size; connections that are too many are closed, the oldest first.
    pub(crate) fn resize(&self, size: usize) {
        let mut entries = self.entries();
        entries.size = size;
        while entries.idle.len() > size {
            let oldest = entries.evictable.first().or(entries.idle.keys().next());
            let Some(oldest) = oldest.copied() else {
                return;
            };
            entries.revoke(oldest);
        }
    }

    /// Enters a connection, which is told by its number through `owner` when it has to go. None if
    /// there is no room and no other connection that may be closed.
    fn enter(
        &self,
        owner: &mpsc::UnboundedSender<u64>,
        evictable: bool,
        offer: Offer,
    ) -> Option<u64> {
        let mut entries = self.entries();
        if entries.idle.len() >= entries.size {
            let Some(oldest) = entries.evictable.first().copied() else {
                entries.stats.skips += 1;
                return None;
            };
            entries.revoke(oldest);
        }
        let number = entries.next;
        entries.next += 1;
        let offered = entries.offers.entry(offer.clone()).or_default();
        offered.numbers.insert(number);
        entries.idle.insert(number, (owner.clone(), offer));
        if evictable {
            entries.evictable.insert(number);
        }
        Some(number)
    }

    /// Strikes out a connection that is not idle any more.
    fn leave(&self, number: u64) {
        self.entries().remove(number);
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entries {
    fn remove(&mut self, number: u64) -> Option<mpsc::UnboundedSender<u64>> {
        self.evictable.remove(&number);
        let (owner, offer) = self.idle.remove(&number)?;
        if let Some(offered) = self.offers.get_mut(&offer) {
            offered.numbers.remove(&number);
        }
        self.forget_if_empty(&offer);
        Some(owner)
    }

    fn forget_if_empty(&mut self, offer: &Offer) {
        let empty = |of: &Offered| of.numbers.is_empty() && of.reserved == 0;
        if self.offers.get(offer).is_some_and(empty) {
            self.offers.remove(offer);
        }
    }

    fn revoke(&mut self, number: u64) {
        if let Some(owner) = self.remove(number) {
            self.stats.evicts += 1;
            // An owner that is gone has closed its connections.
            let _ = owner.send(number);
        }
    }
}

/// A connection that waits for another message.
struct Idle {
    link: Link,
    about: Connection,
    /// Its number in the ledger.
    number: u64,
    since: Timestamp,
}

/// The idle connections of a worker.
pub(super) struct IdleConnections {
    pool: RefCell<Pool<Idle>>,
    /// A connection came that may have to go before all others.
    changed: Notify,
    owner: mpsc::UnboundedSender<u64>,
    /// Numbers of connections that have to make room. Held by the task that closes connections while
    /// it runs.
    revoked: RefCell<Option<mpsc::UnboundedReceiver<u64>>>,
    ledger: Arc<Ledger>,
    clock: Rc<dyn Clock>,
}

impl IdleConnections {
    pub(super) fn new(ledger: Arc<Ledger>, clock: Rc<dyn Clock>) -> Rc<IdleConnections> {
        let (owner, revoked) = mpsc::unbounded_channel();
        Rc::new(IdleConnections {
            // The ledger bounds all of them together.
            pool: RefCell::new(Pool::new(usize::MAX)),
            changed: Notify::new(),
            owner,
            revoked: RefCell::new(Some(revoked)),
            ledger,
            clock,
        })
    }

    /// Takes a connection that suits, may be used by `rules` and still lives.
    pub(super) fn take(
        &self,
        worker: &Rc<Worker>,
        key: &PoolKey,
        rules: PoolRules,
        suits: impl Fn(&Link) -> bool,
    ) -> Option<(Link, Connection)> {
        loop {
            let now = self.now();
            let mut pool = self.pool.borrow_mut();
            let Some(taken) = pool.take(key, now, |idle| suits(&idle.link)) else {
                self.ledger.count(|stats| stats.misses += 1);
                return None;
            };
            drop(pool);
            let mut idle = taken.handle;
            self.ledger.leave(idle.number);
            if !idle.link.entry().resume() {
                worker.spawn(idle.link.quit());
                continue;
            }
            if !idle.link.is_reusable() {
                continue;
            }
            // The rules may be stricter than those by which it was kept.
            let served = rules.transactions != 0 && taken.transactions >= rules.transactions;
            if served || now.since(idle.since) >= rules.timeout {
                worker.spawn(idle.link.quit());
                continue;
            }
            self.ledger.count(|stats| stats.hits += 1);
            return Some((idle.link, idle.about));
        }
    }

    /// Keeps a connection for the next message, or takes leave of it.
    pub(super) fn put(
        self: &Rc<Self>,
        worker: &Rc<Worker>,
        (transportid, key): (&Text, PoolKey),
        (link, about): (Link, Connection),
        rules: PoolRules,
    ) {
        let offer = Offer {
            transportid: transportid.clone(),
            destination: key.destination.clone(),
            localip: key.localip,
        };
        let transactions = u64::from(link.client().transactions());
        let served = rules.transactions != 0 && transactions >= rules.transactions;
        let room = match served || rules.timeout.is_zero() {
            true => None,
            false => self.ledger.enter(&self.owner, rules.evictable, offer),
        };
        let Some(number) = room else {
            return worker.spawn(link.quit());
        };
        let now = self.now();
        link.entry().rest(self.owner.clone(), number);
        let idle = Idle {
            link,
            about,
            number,
            since: now,
        };
        let (put, is_next) = {
            let mut pool = self.pool.borrow_mut();
            let before = pool.next_timer();
            let put = pool.put(key, idle, transactions, rules, now);
            (put, pool.next_timer() != before)
        };
        match put {
            Put::Kept => {}
            Put::Evicted(idle) | Put::Refused(idle) => {
                self.ledger.leave(idle.number);
                worker.spawn(idle.link.quit());
            }
        }
        if is_next {
            self.changed.notify_one();
        }
        if self.revoked.borrow().is_some() {
            let (own, worker_of) = (Rc::clone(self), Rc::clone(worker));
            worker.spawn(async move { own.close_in_time(&worker_of).await });
        }
    }

    /// Takes leave of connections whose time has passed and of those that make room for others, until
    /// there is none left; of all when the worker stops.
    async fn close_in_time(&self, worker: &Rc<Worker>) {
        let Some(mut revoked) = self.revoked.borrow_mut().take() else {
            return;
        };
        let mut stopped = std::pin::pin!(worker.stopped());
        loop {
            let next = self.pool.borrow().next_timer();
            let Some(next) = next else { break };
            let next = Monotonic(Duration::from_micros(next.as_micros()));
            let closed = tokio::select! {
                // Not by chance, so that a run can be repeated.
                biased;
                () = self.clock.sleep_until(next) => {
                    let now = self.now();
                    let mut pool = self.pool.borrow_mut();
                    let expired: Vec<Idle> = std::iter::from_fn(|| pool.expired(now)).collect();
                    let count = expired.len() as u64;
                    self.ledger.count(|stats| stats.expires += count);
                    expired
                }
                Some(number) = revoked.recv() => {
                    self.pool.borrow_mut().take_if(|idle| idle.number == number)
                }
                () = self.changed.notified() => Vec::new(),
                () = &mut stopped => self.pool.borrow_mut().take_if(|_| true),
            };
            for idle in closed {
                self.ledger.leave(idle.number);
                worker.spawn(idle.link.quit());
            }
        }
        *self.revoked.borrow_mut() = Some(revoked);
    }

    fn now(&self) -> Timestamp {
        let now = self.clock.monotonic().0.as_micros();
        Timestamp::from_micros(u64::try_from(now).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_of_all_workers_that_may_go_makes_room() {
        let ledger = Ledger::new(2);
        let offer = || Offer {
            transportid: "out".into(),
            destination: PoolDestination::RemoteMx("mx.test".into()),
            localip: None,
        };
        let (first, mut of_first) = mpsc::unbounded_channel();
        let (second, mut of_second) = mpsc::unbounded_channel();
        let oldest = ledger.enter(&first, true, offer()).expect("room");
        let fixed = ledger.enter(&second, false, offer()).expect("room");
        let newest = ledger.enter(&second, true, offer()).expect("room is made");
        assert_eq!(of_first.try_recv(), Ok(oldest));
        // One that is in use again has left already: who closes it finds nothing.
        ledger.leave(oldest);
        ledger.leave(newest);
        let other = ledger.enter(&first, false, offer()).expect("room");
        assert_eq!(
            ledger.enter(&first, true, offer()),
            None,
            "both have to stay"
        );
        ledger.resize(0);
        assert_eq!(of_second.try_recv(), Ok(fixed));
        assert_eq!(of_first.try_recv(), Ok(other));
        assert_eq!(ledger.enter(&first, true, offer()), None);
        let counts = ledger.counts();
        assert_eq!((counts.size, counts.most), (0, 0));
        assert_eq!((counts.totals.evicts, counts.totals.skips), (3, 2));
    }

    #[test]
    fn a_connection_is_set_aside_once_and_not_again_if_it_did_not_suit() {
        let ledger = Arc::new(Ledger::new(9));
        let (owner, _told) = mpsc::unbounded_channel();
        let door = Door {
            ledger: Arc::clone(&ledger),
            policy: PoolPolicy::RemoteMx,
        };
        let to = |mx: &str| Fields {
            transportid: "out".into(),
            remotemx: Some(mx.into()),
            ..Fields::default()
        };
        let here = to("MX.test");
        assert!(!door.reserve(&here, None));
        let offer = door.offer(&here, None).expect("known");
        let number = ledger.enter(&owner, true, offer.clone()).expect("room");
        assert!(!door.reserve(&to("other.test"), None));
        assert!(!door.reserve(&here, Some([127, 0, 0, 2].into())));
        assert!(door.reserve(&here, None));
        assert!(!door.reserve(&here, None), "there is only one");
        let reserved = Reservation::new(&ledger, offer.clone());
        reserved.in_vain();
        drop(reserved);
        assert!(!door.reserve(&here, None), "it does not suit");
        ledger.enter(&owner, true, offer.clone()).expect("room");
        assert!(door.reserve(&here, None), "another may");
        drop(Reservation::new(&ledger, offer));
        ledger.leave(number);
        ledger.leave(number + 1);
        assert!(ledger.entries().offers.is_empty());
    }
}
