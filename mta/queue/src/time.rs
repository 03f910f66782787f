//! Points in time, as the queue stores and compares them.
//!
//! The queue never reads a clock: every entry point takes the time as an argument. Times are wall
//! clock times, because retry times outlive the process.

use std::fmt;
use std::time::Duration;

/// A point in time: microseconds since the Unix epoch.
///
/// Arithmetic saturates, so that a foolish delay in a script ends far in the future and not in a
/// panic.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The Unix epoch.
    pub const ZERO: Timestamp = Timestamp(0);
    /// Later than any time that occurs: "never".
    pub const NEVER: Timestamp = Timestamp(u64::MAX);

    /// Makes a time from microseconds since the Unix epoch.
    pub const fn from_micros(micros: u64) -> Self {
        Timestamp(micros)
    }

    /// Makes a time from whole seconds since the Unix epoch.
    pub const fn from_secs(secs: u64) -> Self {
        Timestamp(secs.saturating_mul(1_000_000))
    }

    /// Makes a time from seconds with a fraction, as scripts and the control API give it.
    ///
    /// Negative values and NaN become the epoch.
    pub fn from_secs_f64(secs: f64) -> Self {
        // A float-to-integer cast saturates and turns NaN into zero.
        Timestamp((secs * 1e6) as u64)
    }

    /// Makes a time from the time since the Unix epoch, as a clock gives it.
    pub fn from_unix(time: Duration) -> Self {
        Timestamp(micros(time))
    }

    /// Microseconds since the Unix epoch.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// Seconds since the Unix epoch with a fraction, as scripts see `ts`.
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// The time `delay` later.
    #[must_use]
    pub fn after(self, delay: Duration) -> Self {
        Timestamp(self.0.saturating_add(micros(delay)))
    }

    /// How long `earlier` lies back; zero if it is later than `self`.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Timestamp::NEVER {
            return f.write_str("never");
        }
        write!(f, "{}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

/// The duration in microseconds, saturating.
pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_floats_become_the_nearest_time_that_exists() {
        assert_eq!(Timestamp::from_secs_f64(-3.0), Timestamp::ZERO);
        assert_eq!(Timestamp::from_secs_f64(f64::NAN), Timestamp::ZERO);
        assert_eq!(Timestamp::from_secs_f64(f64::INFINITY), Timestamp::NEVER);
        assert_eq!(Timestamp::from_secs_f64(1.5).as_micros(), 1_500_000);
    }

    #[test]
    fn arithmetic_saturates() {
        assert_eq!(
            Timestamp::from_secs(1).after(Duration::MAX),
            Timestamp::NEVER
        );
        assert_eq!(
            Timestamp::from_secs(1).since(Timestamp::from_secs(2)),
            Duration::ZERO
        );
    }
}
