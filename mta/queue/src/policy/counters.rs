//! The counters of the policies: found by their names once, and by their places from then on.
//!
//! Names hold values that peers choose (host names, domains), so they are hashed with keys that nobody outside knows.
//! Nothing is ever done in the order of that map: the places are gone through instead, which depend on what happened
//! before alone.

use std::collections::HashMap;
use std::sync::Arc;

use slab::Slab;

use super::compiled::{Applied, KeyPart};
use super::rate::{Algorithm, Meter};
use crate::time::Timestamp;

/// A policy, and the values of its fields.
pub(super) type CounterName = (u64, Box<[KeyPart]>);

/// What goes on under a policy for one set of values. No larger than a line of the cache, and none lies across two:
/// every pick-up meets one that was not looked at for long.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Counter {
    pub name: Arc<CounterName>,
    /// What applies, found at `version` of the policy.
    pub applied: Option<Arc<Applied>>,
    pub version: u64,
    /// Only a rate needs one.
    pub meter: Option<Box<Meter>>,
    /// No new connection before.
    pub connect_after: Timestamp,
    pub in_use: u32,
    /// The number of sweeps before it was made.
    born: u32,
}

/// The counters.
#[derive(Debug, Default)]
pub(super) struct Counters {
    list: Slab<Counter>,
    names: HashMap<Arc<CounterName>, u32>,
    sweeps: u32,
    after_sweep: usize,
}

/// Below this number of counters looking for those that say nothing saves nothing.
const SWEEP_FROM: usize = if cfg!(test) { 4 } else { 1024 };
/// Bits of a number that tell the place; fewer counters than that fit into the memory.
const PLACE_BITS: u32 = 32;
/// Bits of a number that tell after which sweep its counter was made.
const BORN_BITS: u32 = 28;

impl Counters {
    /// The place of the counter with this name.
    pub fn place(&self, name: &CounterName) -> Option<u32> {
        self.names.get(name).copied()
    }

    /// The counter at a place.
    pub fn get(&self, place: u32) -> Option<&Counter> {
        self.list.get(place as usize)
    }

    /// The counter at a place, to be changed in all but its name.
    pub fn get_mut(&mut self, place: u32) -> Option<&mut Counter> {
        self.list.get_mut(place as usize)
    }

    /// The number of the counter at a place: unlike the place another counter does not get it later.
    pub fn number(&self, place: u32) -> u64 {
        let born = self.get(place).map_or(0, |counter| counter.born);
        u64::from(born) << PLACE_BITS | u64::from(place)
    }

    /// The counter with a number, if it was not swept out.
    pub fn numbered(&self, number: u64) -> Option<&Counter> {
        let place = number as u32;
        self.get(place).filter(|_| self.number(place) == number)
    }

    /// Makes a counter that nothing goes on under. There is none with its name.
    pub fn insert(&mut self, name: CounterName, applied: Arc<Applied>, version: u64) -> u32 {
        let name = Arc::new(name);
        let counter = Counter {
            name: Arc::clone(&name),
            applied: Some(applied),
            version,
            meter: None,
            connect_after: Timestamp::ZERO,
            in_use: 0,
            born: self.sweeps,
        };
        let place = self.list.insert(counter) as u32;
        self.names.insert(name, place);
        place
    }

    /// The number of counters.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Every counter.
    pub fn iter(&self) -> impl Iterator<Item = &Counter> {
        self.list.iter().map(|(_, counter)| counter)
    }

    /// The places that are taken, in order.
    pub fn places(&self) -> impl Iterator<Item = u32> {
        self.list.iter().map(|(place, _)| place as u32)
    }

    /// Forgets counters that say nothing, when there are twice as many as after the last time. Whether it did: places
    /// may name other counters from then on.
    pub fn sweep(&mut self, algorithm: Algorithm, now: Timestamp) -> bool {
        if self.list.len() < (self.after_sweep * 2).max(SWEEP_FROM) {
            return false;
        }
        let names = &mut self.names;
        self.list.retain(|_, counter| {
            let kept = counter.says_something(algorithm, now);
            if !kept {
                names.remove(&counter.name);
            }
            kept
        });
        self.after_sweep = self.list.len();
        self.sweeps = (self.sweeps + 1) % (1 << BORN_BITS);
        true
    }
}

impl Counter {
    fn says_something(&mut self, algorithm: Algorithm, now: Timestamp) -> bool {
        let rate = self.applied.as_ref().and_then(|of| of.limits.rate);
        let full = match (&mut self.meter, rate) {
            (Some(meter), Some(rate)) => meter.is_full(algorithm, rate, now),
            _ => true,
        };
        self.in_use > 0 || self.connect_after > now || !full
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn insert(counters: &mut Counters, number: u64) -> u32 {
        let name = (number, Box::default());
        counters.insert(name, Arc::new(Applied::default()), 0)
    }

    #[test]
    fn a_counter_is_one_line_of_the_cache() {
        assert_eq!(size_of::<Counter>(), 64);
    }

    #[test]
    fn a_number_names_no_other_counter_after_its_own_is_gone() {
        let mut counters = Counters::default();
        let kept = insert(&mut counters, 0);
        counters.get_mut(kept).unwrap().in_use = 1;
        let gone = insert(&mut counters, 1);
        let (kept_number, gone_number) = (counters.number(kept), counters.number(gone));
        for number in 2..SWEEP_FROM as u64 {
            assert!(!counters.sweep(Algorithm::TokenBucket, Timestamp::ZERO));
            insert(&mut counters, number);
        }
        assert!(counters.sweep(Algorithm::TokenBucket, Timestamp::ZERO));
        assert_eq!((counters.len(), counters.names.len()), (1, 1));
        assert!(counters.numbered(kept_number).is_some());
        assert!(counters.numbered(gone_number).is_none());
        assert_eq!(counters.place(&(1, Box::default())), None);
        let again = (10_000..20_000).find(|number| insert(&mut counters, *number) == gone);
        assert!(again.is_some(), "places are used again");
        assert!(
            counters.numbered(gone_number).is_none(),
            "its place has another"
        );
        assert_ne!(counters.number(gone), gone_number);
    }
}
