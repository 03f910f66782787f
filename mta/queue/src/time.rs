//! Points in time, as the queue stores and compares them.
//!
//! The queue never reads a clock: every entry point takes the time as an argument. Times are wall
//! clock times, because retry times outlive the process.

use std::fmt;
use std::num::NonZeroU64;
use std::time::Duration;

/// A point in time: microseconds since the Unix epoch.
///
/// Arithmetic saturates, so that a foolish delay in a script ends far in the future and not in a
/// panic.
///
/// One more than the microseconds is stored, so that a time that may be missing takes no more room; the last
/// microsecond that a number can hold is lost for that.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(NonZeroU64);

impl Timestamp {
    /// The Unix epoch.
    pub const ZERO: Timestamp = Timestamp::from_micros(0);
    /// Later than any time that occurs: "never".
    pub const NEVER: Timestamp = Timestamp::from_micros(u64::MAX);

    /// Makes a time from microseconds since the Unix epoch.
    pub const fn from_micros(micros: u64) -> Self {
        Timestamp(NonZeroU64::MIN.saturating_add(micros))
    }

    /// Makes a time from whole seconds since the Unix epoch.
    pub const fn from_secs(secs: u64) -> Self {
        Timestamp::from_micros(secs.saturating_mul(1_000_000))
    }

    /// Makes a time from seconds with a fraction, as scripts and the control API give it.
    ///
    /// Negative values and NaN become the epoch.
    pub fn from_secs_f64(secs: f64) -> Self {
        // A float-to-integer cast saturates and turns NaN into zero.
        Timestamp::from_micros((secs * 1e6) as u64)
    }

    /// Makes a time from the time since the Unix epoch, as a clock gives it.
    pub fn from_unix(time: Duration) -> Self {
        Timestamp::from_micros(micros(time))
    }

    /// Microseconds since the Unix epoch.
    pub const fn as_micros(self) -> u64 {
        self.0.get() - 1
    }

    /// Seconds since the Unix epoch with a fraction, as scripts see `ts`.
    pub fn as_secs_f64(self) -> f64 {
        self.as_micros() as f64 / 1e6
    }

    /// The time `delay` later.
    #[must_use]
    pub fn after(self, delay: Duration) -> Self {
        Timestamp(self.0.saturating_add(micros(delay)))
    }

    /// How long `earlier` lies back; zero if it is later than `self`.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_micros(self.0.get().saturating_sub(earlier.0.get()))
    }
}

impl Default for Timestamp {
    fn default() -> Self {
        Timestamp::ZERO
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Timestamp::NEVER {
            return f.write_str("never");
        }
        let micros = self.as_micros();
        write!(f, "{}.{:06}", micros / 1_000_000, micros % 1_000_000)
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
    fn times_keep_their_microseconds_and_their_order() {
        for micros in [0, 1, 1_700_000_000_000_001, u64::MAX - 1] {
            assert_eq!(Timestamp::from_micros(micros).as_micros(), micros);
        }
        assert_eq!(Timestamp::from_micros(u64::MAX), Timestamp::NEVER);
        assert!(Timestamp::ZERO < Timestamp::from_micros(1));
        assert_eq!(size_of::<Option<Timestamp>>(), size_of::<u64>());
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
