//! When a message is tried again, and when it is given up.
//!
//! A transport has a table of intervals. The n-th retry waits for the n-th interval, the last one
//! serves for all that follow. A message expires by the number of retries or by its age, whichever
//! comes first.

use std::sync::Arc;
use std::time::Duration;

use crate::dsn::DsnOptions;
use crate::item::Item;
use crate::text::Text;
use crate::time::{Timestamp, micros};

/// One line of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval {
    /// The wait before the retry.
    pub delay: Duration,
    /// Whether the sender is told of the delay when this interval is first used.
    pub notify: bool,
}

impl Interval {
    /// An interval of so many seconds.
    pub const fn secs(secs: u64, notify: bool) -> Self {
        Interval {
            delay: Duration::from_secs(secs),
            notify,
        }
    }
}

/// The retry settings of a transport.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryRules {
    /// The most retries: `retry.count`.
    pub count: u32,
    /// The greatest age outside HOLD: `retry.maxage`.
    pub maxage: Duration,
    /// The longest time in HOLD: `hold.maxage`.
    pub holdage: Option<Duration>,
    /// The table: `retry.intervals`; if it is empty the default table serves.
    pub intervals: Arc<[Interval]>,
    /// The most that chance adds to an interval: `retry.jitter`.
    pub jitter: Duration,
}

impl Default for RetryRules {
    fn default() -> Self {
        RetryRules {
            count: 30,
            maxage: Duration::from_secs(432_000),
            holdage: None,
            intervals: DEFAULT_INTERVALS.into(),
            jitter: Duration::ZERO,
        }
    }
}

/// What a destination says of retries, over what the transport says.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct RetryChange {
    /// The most retries.
    pub count: Option<u32>,
    /// The table.
    pub intervals: Option<Arc<[Interval]>>,
}

impl RetryChange {
    /// The rules of a transport with this change.
    #[must_use]
    pub fn over(&self, rules: &RetryRules) -> RetryRules {
        RetryRules {
            count: self.count.unwrap_or(rules.count),
            intervals: (self.intervals.clone()).unwrap_or_else(|| Arc::clone(&rules.intervals)),
            ..rules.clone()
        }
    }
}

const DEFAULT_INTERVALS: [Interval; 5] = [
    Interval::secs(60, false),
    Interval::secs(900, false),
    Interval::secs(3600, true),
    Interval::secs(7200, false),
    Interval::secs(10800, false),
];

/// How long an item that a script queued again after its age had passed may wait for the attempt
/// that the script wants, beyond the delay that the script set.
const REPRIEVE: Duration = Duration::from_secs(3600);

/// The longest reason that is kept with an item, in bytes.
const REASON: usize = 512;

impl RetryRules {
    fn table(&self) -> &[Interval] {
        if self.intervals.is_empty() {
            &DEFAULT_INTERVALS
        } else {
            &self.intervals
        }
    }

    /// The interval after `retrycount` counted attempts, and its place in the table.
    fn interval(&self, retrycount: u32) -> (usize, Interval) {
        let table = self.table();
        let last = table.len().saturating_sub(1);
        let place = usize::try_from(retrycount).unwrap_or(last).min(last);
        // The table is never empty here; without a line there would be no wait.
        (
            place,
            table
                .get(place)
                .copied()
                .unwrap_or(Interval::secs(0, false)),
        )
    }

    /// Until when the item may be tried.
    pub fn deadline(&self, item: &Item) -> Timestamp {
        let end = item.aging_from.after(self.maxage);
        item.reprieve.map_or(end, |until| until.max(end))
    }

    /// When the item must leave HOLD, if ever.
    pub fn hold_deadline(&self, item: &Item) -> Option<Timestamp> {
        Some(
            item.held_since
                .unwrap_or(item.received)
                .after(self.holdage?),
        )
    }

    /// Whether the item's retries or its age are used up: `$arguments["expired"]`.
    pub fn expired(&self, item: &Item, now: Timestamp) -> bool {
        item.retrycount >= self.count || self.aged(item, now)
    }

    /// Whether the item's age is used up.
    pub fn aged(&self, item: &Item, now: Timestamp) -> bool {
        item.age(now) >= self.maxage
    }

    /// Until when an item with this schedule is tried, if every attempt fails for now and no script
    /// interferes: its last retry, or its age, whichever comes first.
    pub fn gives_up(&self, item: &Item, schedule: &Schedule) -> Timestamp {
        let renewed = Item {
            reprieve: schedule.reprieve,
            ..item.clone()
        };
        let mut last = schedule.at;
        let mut next = schedule.retrycount;
        while next < self.count {
            let (place, interval) = self.interval(next);
            let wait = interval.delay.saturating_add(self.jitter);
            let is_last = place.saturating_add(1) >= self.table().len();
            let times = if is_last {
                self.count.saturating_sub(next)
            } else {
                1
            };
            last = last.after(wait.saturating_mul(times));
            next = next.saturating_add(times);
        }
        last.min(self.deadline(&renewed))
    }

    /// Works out the next attempt that `again` asks for; `random` decides on the jitter.
    pub fn schedule(&self, item: &Item, again: &Again, now: Timestamp, random: u64) -> Schedule {
        let counted = if again.reset_retry {
            0
        } else {
            item.retrycount
        };
        let (place, interval) = self.interval(counted);
        let notified = 1u64 << place.min(63);
        let (delay, notify) = match again.delay {
            Some(delay) => (delay, false),
            None => {
                let jitter = random % micros(self.jitter).saturating_add(1).max(1);
                let delay = interval.delay.saturating_add(Duration::from_micros(jitter));
                let first = interval.notify && item.notified & notified == 0;
                (delay, first && !again.hold)
            }
        };
        let at = now.after(delay);
        let counts = again.increment_retry && !again.reset_retry && !again.hold;
        Schedule {
            at,
            retrycount: if counts {
                counted.saturating_add(1)
            } else {
                counted
            },
            notified: if notify {
                item.notified | notified
            } else {
                item.notified
            },
            notify,
            reprieve: (again.explicit && self.aged(item, now)).then(|| at.after(REPRIEVE)),
        }
    }
}

/// A wish to have an item queued again: the options of `Queue()`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Again {
    /// The wait; none: the transport's interval.
    pub delay: Option<Duration>,
    /// The reason to note.
    pub reason: Option<Text>,
    /// Whether the item goes to HOLD instead.
    pub hold: bool,
    /// Whether this counts as a retry.
    pub increment_retry: bool,
    /// Whether the count starts again at 0.
    pub reset_retry: bool,
    /// Another transport.
    pub transportid: Option<Text>,
    /// Another job.
    pub jobid: Option<Text>,
    /// Whether the sender is told of the delay now.
    pub dsn_delayed: bool,
    /// How that notice looks.
    pub dsn: DsnOptions,
    /// Whether a script asked, and not the default action.
    pub explicit: bool,
    /// Who asks: a script and its line.
    pub origin: Option<Text>,
}

impl Default for Again {
    /// `Queue()` without options.
    fn default() -> Self {
        Again {
            delay: None,
            reason: None,
            hold: false,
            increment_retry: true,
            reset_retry: false,
            transportid: None,
            jobid: None,
            dsn_delayed: false,
            dsn: DsnOptions::default(),
            explicit: true,
            origin: None,
        }
    }
}

impl Again {
    /// What the default action `QUEUE` does.
    pub fn by_default() -> Self {
        Again {
            explicit: false,
            ..Again::default()
        }
    }

    /// What a failed predelivery script does: five minutes later, not counted.
    pub fn after_script_error(message: &str) -> Self {
        Again {
            delay: Some(Duration::from_secs(300)),
            reason: Some(Text::from(message)),
            increment_retry: false,
            explicit: false,
            origin: Some(Text::from("an error of the predelivery script")),
            ..Again::default()
        }
    }
}

/// When an item is tried again, and what changes in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// When.
    pub at: Timestamp,
    /// The new count of attempts.
    pub retrycount: u32,
    /// The new set of intervals for which a delayed notice was due.
    pub notified: u64,
    /// Whether a delayed notice is due.
    pub notify: bool,
    /// The new [`Item::reprieve`].
    pub reprieve: Option<Timestamp>,
}

impl Schedule {
    /// Writes the schedule and the changes that `again` names into the item.
    pub fn apply(&self, item: &mut Item, again: &Again) {
        item.retrycount = self.retrycount;
        item.notified = self.notified;
        item.reprieve = self.reprieve;
        item.hold = again.hold;
        item.retryts = (!again.hold).then_some(self.at);
        if let Some(reason) = &again.reason {
            item.retryreason = Some(reason.truncated(REASON));
        }
        if let Some(transportid) = &again.transportid {
            item.transportid = transportid.clone();
        }
        if let Some(jobid) = &again.jobid {
            item.jobid = (!jobid.is_empty()).then(|| jobid.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::item::{Address, ItemId};

    fn item() -> Item {
        let id = ItemId {
            transaction: uuid::Uuid::nil(),
            queue: 1,
        };
        Item::new(id, T0, Address::default(), Address::default(), "mx".into())
    }

    const T0: Timestamp = Timestamp::from_secs(1_000_000);

    fn delay(rules: &RetryRules, item: &Item, again: &Again, random: u64) -> u64 {
        rules
            .schedule(item, again, T0, random)
            .at
            .since(T0)
            .as_secs()
    }

    #[test]
    fn the_default_table_lasts_for_three_and_a_half_days() {
        let rules = RetryRules::default();
        let mut item = item();
        let mut waits = Vec::new();
        let mut notices = Vec::new();
        let mut now = T0;
        while !rules.expired(&item, now) {
            let again = Again::by_default();
            let next = rules.schedule(&item, &again, now, 0);
            waits.push(next.at.since(now).as_secs());
            if next.notify {
                notices.push(waits.len());
            }
            next.apply(&mut item, &again);
            now = next.at;
        }
        assert_eq!(waits.len(), 30);
        assert_eq!(waits[..6], [60, 900, 3600, 7200, 10800, 10800]);
        assert_eq!(
            waits.iter().sum::<u64>(),
            60 + 900 + 3600 + 7200 + 26 * 10800
        );
        assert_eq!(notices, [3], "one delayed notice, with the third interval");
    }

    #[test]
    fn a_repeated_last_interval_notifies_once() {
        let rules = RetryRules {
            intervals: [Interval::secs(10, true)].into(),
            ..RetryRules::default()
        };
        let mut item = item();
        let again = Again::by_default();
        let first = rules.schedule(&item, &again, T0, 0);
        first.apply(&mut item, &again);
        let second = rules.schedule(&item, &again, T0, 0);
        assert_eq!((first.notify, second.notify), (true, false));
    }

    #[test]
    fn jitter_adds_up_to_its_bound() {
        let rules = RetryRules {
            jitter: Duration::from_secs(10),
            ..RetryRules::default()
        };
        let again = Again::by_default();
        let waits: Vec<_> = [0, 5_000_000, 10_000_000, 10_000_001, u64::MAX]
            .map(|random| delay(&rules, &item(), &again, random))
            .into();
        assert_eq!(waits[..4], [60, 65, 70, 60]);
        assert!((60..=70).contains(&waits[4]));
        let fixed = Again {
            delay: Some(Duration::from_secs(7)),
            ..Again::default()
        };
        assert_eq!(
            delay(&rules, &item(), &fixed, 5_000_000),
            7,
            "a delay that was asked for is kept"
        );
    }

    #[test]
    fn options_of_queue() {
        let rules = RetryRules::default();
        let tried = |n| Item {
            retrycount: n,
            ..item()
        };
        let queue = Again::default();
        // (options, attempts before) => (delay, attempts after)
        let rows: Vec<(Again, u32, u64, u32)> = vec![
            (queue.clone(), 0, 60, 1),
            (queue.clone(), 2, 3600, 3),
            (queue.clone(), 99, 10800, 100),
            (
                Again {
                    increment_retry: false,
                    ..queue.clone()
                },
                2,
                3600,
                2,
            ),
            (
                Again {
                    reset_retry: true,
                    ..queue.clone()
                },
                9,
                60,
                0,
            ),
            (
                Again {
                    delay: Some(Duration::from_secs(5)),
                    ..queue.clone()
                },
                1,
                5,
                2,
            ),
            (Again::after_script_error("line 3"), 4, 300, 4),
        ];
        for (again, before, want, after) in rows {
            let mut item = tried(before);
            let next = rules.schedule(&item, &again, T0, 0);
            next.apply(&mut item, &again);
            assert_eq!(
                (next.at.since(T0).as_secs(), item.retrycount),
                (want, after),
                "{again:?}"
            );
            assert_eq!(item.retryts, Some(next.at));
        }
    }

    #[test]
    fn hold_is_not_a_retry() {
        let rules = RetryRules::default();
        let mut item = item();
        let again = Again {
            hold: true,
            jobid: Some("".into()),
            ..Again::default()
        };
        item.jobid = Some("job".into());
        rules
            .schedule(&item, &again, T0, 0)
            .apply(&mut item, &again);
        assert_eq!((item.hold, item.retrycount, item.retryts), (true, 0, None));
        assert_eq!(item.jobid, None);
    }

    #[test]
    fn attempts_go_on_until_the_retries_or_the_age_are_used_up() {
        let mut rules = RetryRules {
            count: 4,
            intervals: [Interval::secs(60, false), Interval::secs(900, false)].into(),
            ..RetryRules::default()
        };
        let until = |rules: &RetryRules, retrycount| {
            let item = Item {
                retrycount,
                ..item()
            };
            let next = rules.schedule(&item, &Again::by_default(), T0, 0);
            rules.gives_up(&item, &next).since(T0).as_secs()
        };
        assert_eq!(until(&rules, 0), 60 + 3 * 900);
        assert_eq!(until(&rules, 1), 3 * 900);
        assert_eq!(until(&rules, 3), 900);
        assert_eq!(until(&rules, 7), 900, "a script went beyond the count");
        rules.jitter = Duration::from_secs(10);
        assert_eq!(
            until(&rules, 1),
            900 + 2 * 910,
            "the first is known already"
        );
        rules.maxage = Duration::from_secs(1000);
        assert_eq!(until(&rules, 0), 1000);
        rules.maxage = Duration::from_secs(u64::MAX / 4);
        rules.count = u32::MAX;
        assert!(until(&rules, 0) > 1_000_000_000_000);
        assert_eq!(
            until(&RetryRules::default(), 0),
            60 + 900 + 3600 + 7200 + 26 * 10800
        );
    }

    #[test]
    fn a_message_on_hold_keeps_its_notice_for_later() {
        let rules = RetryRules {
            intervals: [Interval::secs(60, true)].into(),
            ..RetryRules::default()
        };
        let mut item = item();
        let hold = Again {
            hold: true,
            ..Again::default()
        };
        let next = rules.schedule(&item, &hold, T0, 0);
        assert!(!next.notify);
        next.apply(&mut item, &hold);
        assert!(rules.schedule(&item, &Again::by_default(), T0, 0).notify);
    }

    #[test]
    fn a_script_that_queues_an_aged_message_gets_its_attempt() {
        let rules = RetryRules::default();
        let old = T0.after(rules.maxage);
        let mut item = item();
        assert_eq!(rules.deadline(&item), old);
        let again = Again {
            delay: Some(Duration::from_secs(600)),
            ..Again::default()
        };
        let next = rules.schedule(&item, &again, old, 0);
        next.apply(&mut item, &again);
        assert!(rules.deadline(&item) > next.at);
        assert!(
            rules.expired(&item, old),
            "a failure of that attempt ends it"
        );
        let plain = rules.schedule(&item, &Again::by_default(), old, 0);
        assert_eq!(plain.reprieve, None);
    }

    #[test]
    fn foolish_delays_end_far_in_the_future() {
        let again = Again {
            delay: Some(Duration::MAX),
            ..Again::default()
        };
        let next = RetryRules::default().schedule(&item(), &again, T0, 0);
        assert_eq!(next.at, Timestamp::NEVER);
    }
}
