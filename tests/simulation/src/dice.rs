//! Chance, from a seed.

use std::rc::Rc;
use std::time::Duration;

use angarium_effects::{Random, SeededRandom};

/// A stream of chance. Clones draw from the same stream.
#[derive(Clone, Debug)]
pub struct Dice(Rc<SeededRandom>);

impl Dice {
    /// The stream of a seed for one purpose; streams of other purposes do not depend on how much is drawn from it.
    pub fn new(seed: u64, purpose: u64) -> Dice {
        let mixed = SeededRandom::new(seed ^ purpose.wrapping_mul(0xd134_2543_de82_ef95));
        Dice(Rc::new(SeededRandom::new(mixed.next_u64())))
    }

    /// A new stream.
    pub fn fork(&self) -> Dice {
        Dice::new(self.0.next_u64(), 0)
    }

    /// A number of 64 bits.
    pub fn number(&self) -> u64 {
        self.0.next_u64()
    }

    /// A number below `bound`.
    pub fn below(&self, bound: u64) -> u64 {
        self.0.below(bound)
    }

    /// A number from `least` to `most`, both included.
    pub fn between(&self, least: u64, most: u64) -> u64 {
        least + self.below(most.saturating_sub(least) + 1)
    }

    /// True in so many of 1000 cases.
    pub fn chance(&self, of_1000: u64) -> bool {
        self.below(1000) < of_1000
    }

    /// One of several, of which there must be one.
    pub fn pick<'a, T>(&self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len() as u64) as usize]
    }

    /// A time from `least` to `most` milliseconds, to the microsecond.
    pub fn millis(&self, least: u64, most: u64) -> Duration {
        Duration::from_micros(self.between(least * 1000, most * 1000))
    }

    /// A time of at most so many seconds.
    pub fn seconds(&self, least: u64, most: u64) -> Duration {
        self.millis(least * 1000, most * 1000)
    }

    /// Numbers for the machine's own use.
    pub fn random(&self) -> Rc<SeededRandom> {
        Rc::new(SeededRandom::new(self.number()))
    }
}
