//! Rate limits: token bucket and fixed window, in whole numbers.
//!
//! Times are microseconds. A bucket is kept as what was taken from it and has not flowed back yet,
//! in units of which a message costs as many as the interval has microseconds, and of which `count`
//! flow back each microsecond: nothing is rounded, so no number of small steps adds up to an error.

use std::time::Duration;

use crate::time::{Timestamp, micros};

/// So many messages in so much time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Messages; zero lets none pass.
    pub count: u32,
    /// In this time; zero is taken as a microsecond.
    pub interval: Duration,
}

impl Rate {
    fn interval(self) -> u64 {
        micros(self.interval).max(1)
    }
}

/// How a rate is counted: `rate.algorithm`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Algorithm {
    /// A bucket of `count`, refilled all the time.
    #[default]
    TokenBucket,
    /// At most `count` in each window; a window begins with the first pick-up in it.
    FixedWindow,
}

/// What was picked up under a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meter {
    /// Units that have not flowed back at `at`; messages in a fixed window.
    used: u128,
    /// When `used` was right; the beginning of the window, zero if there is none.
    at: Timestamp,
    /// The rate that `used` counts in.
    rate: Rate,
}

impl Meter {
    /// Nothing was picked up yet.
    pub fn new(rate: Rate) -> Self {
        Meter {
            used: 0,
            at: Timestamp::ZERO,
            rate,
        }
    }

    /// Brings the meter to `now` under `rate`, which may have changed since.
    fn advance(&mut self, algorithm: Algorithm, rate: Rate, now: Timestamp) {
        let interval = rate.interval();
        match algorithm {
            Algorithm::TokenBucket => {
                let before = self.rate.interval();
                if interval != before {
                    let scaled = self.used.saturating_mul(u128::from(interval));
                    self.used = scaled.div_ceil(u128::from(before));
                }
                let flowed = u128::from(micros(now.since(self.at))) * u128::from(rate.count);
                self.used = self.used.saturating_sub(flowed);
                self.at = self.at.max(now);
            }
            Algorithm::FixedWindow => {
                // A window begins with a pick-up, not with a question.
                if micros(now.since(self.at)) >= interval {
                    self.used = 0;
                    self.at = Timestamp::ZERO;
                }
            }
        }
        self.rate = rate;
    }

    /// When a message may pass: none at once, else the time to ask again.
    pub fn wait(&mut self, algorithm: Algorithm, rate: Rate, now: Timestamp) -> Option<Timestamp> {
        self.advance(algorithm, rate, now);
        let interval = u128::from(rate.interval());
        let count = u128::from(rate.count);
        match algorithm {
            Algorithm::FixedWindow if self.used < count => None,
            Algorithm::FixedWindow if count == 0 => Some(Timestamp::NEVER),
            Algorithm::FixedWindow => Some(self.at.after(rate.interval)),
            Algorithm::TokenBucket => {
                let missing = (self.used + interval).checked_sub(count * interval)?;
                if missing == 0 {
                    return None;
                }
                let wait = missing.checked_div(count).map(|_| missing.div_ceil(count));
                let wait = wait.and_then(|wait| u64::try_from(wait).ok());
                Some(wait.map_or(Timestamp::NEVER, |wait| {
                    self.at.after(Duration::from_micros(wait))
                }))
            }
        }
    }

    /// Counts a message that passes. Gives when, or the window that it belongs to, for [`give_back`].
    ///
    /// [`give_back`]: Meter::give_back
    pub fn take(&mut self, algorithm: Algorithm, now: Timestamp) -> Timestamp {
        if self.at == Timestamp::ZERO {
            self.at = now;
        }
        self.used = self.used.saturating_add(match algorithm {
            Algorithm::TokenBucket => u128::from(self.rate.interval()),
            Algorithm::FixedWindow => 1,
        });
        self.at
    }

    /// Takes back a message that was counted, as far as it has not flowed back since `taken`.
    pub fn give_back(&mut self, algorithm: Algorithm, taken: Timestamp, now: Timestamp) {
        match algorithm {
            Algorithm::TokenBucket => {
                let flowed = u128::from(micros(now.since(taken))) * u128::from(self.rate.count);
                let left = u128::from(self.rate.interval()).saturating_sub(flowed);
                self.used = self.used.saturating_sub(left);
            }
            Algorithm::FixedWindow if taken == self.at => {
                self.used = self.used.saturating_sub(1);
            }
            Algorithm::FixedWindow => {}
        }
    }

    /// Puts `tokens` back, at most as many as were taken.
    pub fn refill(&mut self, algorithm: Algorithm, tokens: f64) {
        let unit = match algorithm {
            Algorithm::TokenBucket => self.rate.interval() as f64,
            Algorithm::FixedWindow => 1.0,
        };
        // A float-to-integer cast saturates; a negative number becomes zero.
        self.used = self.used.saturating_sub((tokens * unit) as u128);
    }

    /// Whether the meter says nothing that a new one would not.
    pub fn is_full(&mut self, algorithm: Algorithm, rate: Rate, now: Timestamp) -> bool {
        self.advance(algorithm, rate, now);
        match algorithm {
            Algorithm::TokenBucket => self.used == 0,
            // A window that everything was put back into goes on all the same.
            Algorithm::FixedWindow => self.at == Timestamp::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Algorithm::{FixedWindow, TokenBucket};
    use proptest::prelude::*;

    const START: Timestamp = Timestamp::from_secs(1_000_000);

    fn rate(count: u32, secs: u64) -> Rate {
        Rate {
            count,
            interval: Duration::from_secs(secs),
        }
    }

    fn at(millis: u64) -> Timestamp {
        START.after(Duration::from_millis(millis))
    }

    /// The times, in ms, at which messages pass that are all there from the start.
    fn passes(algorithm: Algorithm, rate: Rate, until: u64) -> Vec<u64> {
        let mut meter = Meter::new(rate);
        let (mut now, mut times) = (START, Vec::new());
        while now <= at(until) {
            match meter.wait(algorithm, rate, now) {
                None => {
                    meter.take(algorithm, now);
                    times.push(micros(now.since(START)) / 1000);
                }
                Some(later) => {
                    assert!(later > now, "the time to ask again lies ahead");
                    now = later;
                }
            }
        }
        times
    }

    #[test]
    fn a_bucket_lets_a_burst_pass_and_then_its_rate() {
        assert_eq!(
            passes(TokenBucket, rate(3, 6), 9000),
            [0, 0, 0, 2000, 4000, 6000, 8000]
        );
    }

    #[test]
    fn a_window_begins_with_its_first_message() {
        assert_eq!(
            passes(FixedWindow, rate(2, 10), 25_000),
            [0, 0, 10_000, 10_000, 20_000, 20_000]
        );
    }

    #[test]
    fn a_rate_of_zero_lets_nothing_pass() {
        for algorithm in [TokenBucket, FixedWindow] {
            let mut meter = Meter::new(rate(0, 1));
            assert_eq!(
                meter.wait(algorithm, rate(0, 1), START),
                Some(Timestamp::NEVER)
            );
        }
    }

    #[test]
    fn what_is_given_back_can_be_taken_again() {
        for algorithm in [TokenBucket, FixedWindow] {
            let mut meter = Meter::new(rate(1, 60));
            assert_eq!(meter.wait(algorithm, rate(1, 60), START), None);
            let window = meter.take(algorithm, START);
            assert!(meter.wait(algorithm, rate(1, 60), at(1)).is_some());
            meter.give_back(algorithm, window, START);
            assert_eq!(meter.wait(algorithm, rate(1, 60), at(2)), None);
        }
    }

    #[test]
    fn a_change_of_rate_keeps_what_was_used() {
        let (old, new) = (rate(10, 10), rate(10, 100));
        let mut meter = Meter::new(old);
        for _ in 0..10 {
            assert_eq!(meter.wait(TokenBucket, old, START), None);
            meter.take(TokenBucket, START);
        }
        assert_eq!(meter.wait(TokenBucket, new, START), Some(at(10_000)));
    }

    proptest! {
        /// In any interval no more than a burst and what flows back meanwhile pass.
        #[test]
        fn no_more_than_the_burst_and_the_flow_pass(
            count in 1u32..20, secs in 1u64..100, asks in prop::collection::vec(0u64..3000, 1..200)
        ) {
            let rate = rate(count, secs);
            let mut meter = Meter::new(rate);
            let (mut now, mut passed) = (0, Vec::new());
            for pause in asks {
                now += pause;
                if meter.wait(TokenBucket, rate, at(now)).is_none() {
                    meter.take(TokenBucket, at(now));
                    passed.push(now);
                }
            }
            for (first, from) in passed.iter().enumerate() {
                for (last, to) in passed.iter().enumerate().skip(first) {
                    let most = u64::from(count) + (to - from) * u64::from(count) / (secs * 1000);
                    prop_assert!((last - first + 1) as u64 <= most + 1);
                    prop_assert!((last - first) as u64 <= most);
                }
            }
        }
    }
}
