//! Idle connections that wait for another message.
//!
//! The bookkeeping only: the connections themselves are the worker's `H`. Nothing is closed here;
//! what has to be closed is handed back.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use crate::text::Text;
use crate::time::Timestamp;

/// For which messages a connection may be used again.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PoolKey {
    /// The value of the field that `queues.pooling.policy` names.
    pub destination: PoolDestination,
    /// The source address, if one was chosen.
    pub localip: Option<IpAddr>,
    /// The remote port.
    pub port: u16,
    /// What else the session was set up with, in a form of the client's: TLS requirements, SASL
    /// user, proxy, protocol.
    pub session: Text,
}

/// The destination by which connections are shared: `queues.pooling.policy`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PoolDestination {
    /// Any address of the same host name.
    RemoteMx(Text),
    /// Any host of the same grouping.
    Grouping(Text),
    /// The same address.
    RemoteIp(IpAddr),
}

/// The pooling settings of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolRules {
    /// How long a connection may stay idle.
    pub timeout: Duration,
    /// The most transactions on a connection; 0: no limit.
    pub transactions: u64,
    /// Whether the connection may be dropped to make room for another.
    pub evictable: bool,
}

impl Default for PoolRules {
    fn default() -> Self {
        PoolRules {
            timeout: Duration::from_secs(30),
            transactions: 0,
            evictable: true,
        }
    }
}

/// What became of a connection that was offered to the pool.
#[derive(Debug, PartialEq, Eq)]
pub enum Put<H> {
    /// It waits in the pool.
    Kept,
    /// It waits in the pool; this older one must be closed.
    Evicted(H),
    /// It must be closed: the pool is full, or it has served its transactions.
    Refused(H),
}

/// A connection taken out of the pool.
#[derive(Debug, PartialEq, Eq)]
pub struct Pooled<H> {
    /// The connection.
    pub handle: H,
    /// Transactions that it has served.
    pub transactions: u64,
}

/// Counters of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct PoolStats {
    /// Connections taken out for use.
    pub hits: u64,
    /// Requests that found none.
    pub misses: u64,
    /// Connections that were idle for too long.
    pub expires: u64,
    /// Connections that made room for others.
    pub evicts: u64,
    /// Connections that found no room.
    pub skips: u64,
}

/// A pool of idle connections.
#[derive(Debug)]
pub struct Pool<H> {
    size: usize,
    /// By age: number to connection.
    idle: BTreeMap<u64, Idle<H>>,
    by_key: BTreeMap<PoolKey, BTreeSet<u64>>,
    by_deadline: BTreeSet<(Timestamp, u64)>,
    evictable: BTreeSet<u64>,
    next: u64,
    stats: PoolStats,
}

#[derive(Debug)]
struct Idle<H> {
    key: PoolKey,
    handle: H,
    transactions: u64,
    deadline: Timestamp,
}

impl<H> Pool<H> {
    /// Makes a pool for at most `size` connections.
    pub fn new(size: usize) -> Self {
        Pool {
            size,
            idle: BTreeMap::new(),
            by_key: BTreeMap::new(),
            by_deadline: BTreeSet::new(),
            evictable: BTreeSet::new(),
            next: 0,
            stats: PoolStats::default(),
        }
    }

    /// Offers a connection that has served `transactions`.
    pub fn put(
        &mut self,
        key: PoolKey,
        handle: H,
        transactions: u64,
        rules: PoolRules,
        now: Timestamp,
    ) -> Put<H> {
        let served = rules.transactions != 0 && transactions >= rules.transactions;
        if served || rules.timeout.is_zero() {
            return Put::Refused(handle);
        }
        let mut evicted = None;
        if self.idle.len() >= self.size {
            evicted = self
                .evictable
                .first()
                .copied()
                .and_then(|oldest| self.remove(oldest));
            if evicted.is_none() {
                self.stats.skips += 1;
                return Put::Refused(handle);
            }
            self.stats.evicts += 1;
        }
        let number = self.next;
        self.next += 1;
        let deadline = now.after(rules.timeout);
        self.by_key.entry(key.clone()).or_default().insert(number);
        self.by_deadline.insert((deadline, number));
        if rules.evictable {
            self.evictable.insert(number);
        }
        self.idle.insert(
            number,
            Idle {
                key,
                handle,
                transactions,
                deadline,
            },
        );
        evicted.map_or(Put::Kept, |idle| Put::Evicted(idle.handle))
    }

    /// Takes the connection with this key that was used last and that `suits`.
    ///
    /// A connection whose time has passed is left for [`Pool::expired`].
    pub fn take(
        &mut self,
        key: &PoolKey,
        now: Timestamp,
        suits: impl Fn(&H) -> bool,
    ) -> Option<Pooled<H>> {
        let usable = |number: &&u64| {
            self.idle
                .get(*number)
                .is_some_and(|idle| idle.deadline > now && suits(&idle.handle))
        };
        let numbers = self.by_key.get(key);
        let found = numbers.and_then(|numbers| numbers.iter().rev().find(usable).copied());
        let Some(idle) = found.and_then(|number| self.remove(number)) else {
            self.stats.misses += 1;
            return None;
        };
        self.stats.hits += 1;
        Some(Pooled {
            handle: idle.handle,
            transactions: idle.transactions,
        })
    }

    /// Takes a connection whose idle time has passed; to be called until it gives none.
    pub fn expired(&mut self, now: Timestamp) -> Option<H> {
        let (_, number) = self
            .by_deadline
            .first()
            .copied()
            .filter(|(at, _)| *at <= now)?;
        self.stats.expires += 1;
        self.remove(number).map(|idle| idle.handle)
    }

    /// When [`Pool::expired`] has something to give.
    pub fn next_timer(&self) -> Option<Timestamp> {
        self.by_deadline.first().map(|(at, _)| *at)
    }

    /// Takes the oldest connection that may be dropped, to make room for a new one elsewhere.
    pub fn evict(&mut self) -> Option<H> {
        let oldest = self.evictable.first().copied()?;
        self.stats.evicts += 1;
        self.remove(oldest).map(|idle| idle.handle)
    }

    /// Takes every connection for which `gone` says so, such as those that the peer closed.
    pub fn take_if(&mut self, gone: impl Fn(&H) -> bool) -> Vec<H> {
        let numbers: Vec<u64> = self
            .idle
            .iter()
            .filter(|(_, idle)| gone(&idle.handle))
            .map(|(n, _)| *n)
            .collect();
        numbers
            .into_iter()
            .filter_map(|n| self.remove(n))
            .map(|idle| idle.handle)
            .collect()
    }

    /// Changes the size and takes the connections that are too many, the oldest first.
    pub fn resize(&mut self, size: usize) -> Vec<H> {
        self.size = size;
        let mut out = Vec::new();
        while self.idle.len() > size {
            let oldest = self
                .evictable
                .first()
                .or_else(|| self.idle.keys().next())
                .copied();
            out.extend(oldest.and_then(|n| self.remove(n)).map(|idle| idle.handle));
        }
        out
    }

    /// The number of idle connections.
    pub fn len(&self) -> usize {
        self.idle.len()
    }

    /// Whether the pool is empty.
    pub fn is_empty(&self) -> bool {
        self.idle.is_empty()
    }

    /// The counters.
    pub fn stats(&self) -> PoolStats {
        self.stats
    }

    fn remove(&mut self, number: u64) -> Option<Idle<H>> {
        let idle = self.idle.remove(&number)?;
        self.by_deadline.remove(&(idle.deadline, number));
        self.evictable.remove(&number);
        if let Some(numbers) = self.by_key.get_mut(&idle.key) {
            numbers.remove(&number);
            if numbers.is_empty() {
                self.by_key.remove(&idle.key);
            }
        }
        Some(idle)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(mx: &str) -> PoolKey {
        PoolKey {
            destination: PoolDestination::RemoteMx(mx.into()),
            localip: None,
            port: 25,
            session: Text::default(),
        }
    }

    const T0: Timestamp = Timestamp::from_secs(1000);

    fn secs(n: u64) -> Timestamp {
        T0.after(Duration::from_secs(n))
    }

    fn keep(pool: &mut Pool<u32>, mx: &str, handle: u32, now: Timestamp) {
        assert_eq!(
            pool.put(key(mx), handle, 1, PoolRules::default(), now),
            Put::Kept
        );
    }

    #[test]
    fn the_connection_used_last_is_used_next() {
        let mut pool = Pool::new(10);
        keep(&mut pool, "a", 1, T0);
        keep(&mut pool, "a", 2, T0);
        keep(&mut pool, "b", 3, T0);
        let any = |_: &u32| true;
        assert_eq!(
            pool.take(&key("a"), T0, any),
            Some(Pooled {
                handle: 2,
                transactions: 1
            })
        );
        assert_eq!(pool.take(&key("a"), T0, any).unwrap().handle, 1);
        assert_eq!(pool.take(&key("a"), T0, any), None);
        assert_eq!(
            pool.stats(),
            PoolStats {
                hits: 2,
                misses: 1,
                ..PoolStats::default()
            }
        );
        assert_eq!(pool.len(), 1);
    }

    #[test]
    fn a_key_is_more_than_the_destination() {
        let mut pool = Pool::new(10);
        keep(&mut pool, "a", 1, T0);
        let other = [
            PoolKey {
                port: 587,
                ..key("a")
            },
            PoolKey {
                localip: Some("192.0.2.1".parse().unwrap()),
                ..key("a")
            },
            PoolKey {
                session: "tls=require".into(),
                ..key("a")
            },
            PoolKey {
                destination: PoolDestination::Grouping("a".into()),
                ..key("a")
            },
        ];
        for other in other {
            assert_eq!(pool.take(&other, T0, |_| true), None, "{other:?}");
        }
        assert_eq!(
            pool.take(&key("a"), T0, |handle| *handle == 2),
            None,
            "it must suit"
        );
    }

    #[test]
    fn idle_connections_expire() {
        let mut pool = Pool::new(10);
        keep(&mut pool, "a", 1, T0);
        keep(&mut pool, "a", 2, secs(10));
        assert_eq!(pool.next_timer(), Some(secs(30)));
        assert_eq!(pool.expired(secs(29)), None);
        assert_eq!(
            pool.take(&key("a"), secs(40), |_| true),
            None,
            "too old to be used"
        );
        assert_eq!(pool.expired(secs(40)), Some(1));
        assert_eq!(pool.expired(secs(40)), Some(2));
        assert!(pool.is_empty() && pool.next_timer().is_none());
    }

    #[test]
    fn a_connection_serves_so_many_transactions() {
        let mut pool = Pool::new(10);
        let rules = PoolRules {
            transactions: 3,
            ..PoolRules::default()
        };
        assert_eq!(pool.put(key("a"), 1, 2, rules, T0), Put::Kept);
        assert_eq!(pool.put(key("a"), 2, 3, rules, T0), Put::Refused(2));
    }

    #[test]
    fn a_full_pool_evicts_the_oldest_that_may_go() {
        let mut pool = Pool::new(2);
        let fixed = PoolRules {
            evictable: false,
            ..PoolRules::default()
        };
        assert_eq!(pool.put(key("a"), 1, 1, fixed, T0), Put::Kept);
        keep(&mut pool, "a", 2, T0);
        assert_eq!(pool.put(key("b"), 3, 1, fixed, T0), Put::Evicted(2));
        assert_eq!(pool.put(key("b"), 4, 1, fixed, T0), Put::Refused(4));
        assert_eq!((pool.stats().evicts, pool.stats().skips), (1, 1));
        assert_eq!(pool.evict(), None);
        assert_eq!(pool.resize(1), [1]);
        assert_eq!(pool.take_if(|handle| *handle == 3), [3]);
        assert_eq!(Pool::new(0).put(key("a"), 1, 1, fixed, T0), Put::Refused(1));
    }
}
