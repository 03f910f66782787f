//! What a seed decides before anything happens: which troubles there are at all, and how much of each.
//!
//! Most seeds leave some kinds of trouble out, so that one does not hide what another would show.

use std::time::Duration;

use crate::dice::Dice;
use crate::limits::Limit;
use crate::net::Trouble;

/// A mistake that is planted, to see that the checks find it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Planted {
    /// None: the product as it is.
    #[default]
    None,
    /// 250 is said before the sync.
    NoSync,
    /// The disk says that it has synced and has not.
    LyingDisk,
    /// Some messages are stored and never handed to the queue.
    Forgotten,
    /// The queue lets one delivery more pass than the limit of a host.
    WrongLimit,
    /// Some connections are waited for without a time-out.
    NoTimeout,
}

/// A run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where all chance comes from.
    pub seed: u64,
    /// What is wrong on purpose.
    pub planted: Planted,
    pub(crate) network: Trouble,
    /// Questions of name resolution, of 1000, that fail.
    pub(crate) dns: u64,
    /// Phases of a session, of 1000, in which a sink does not do as it is asked.
    pub(crate) sinks: u64,
    /// How often the machine is stopped, and how often it is stopped in order.
    pub(crate) stops: u64,
    pub(crate) restarts: u64,
    /// How often the disk fails without a stop.
    pub(crate) faults: u64,
    /// How often limits and suspends are changed.
    pub(crate) changes: u64,
    /// How often an operator touches a message.
    pub(crate) wishes: u64,
    /// Scripts in the bundle.
    pub(crate) scripts: bool,
    /// Senders, and messages of each.
    pub(crate) senders: u64,
    pub(crate) messages: u64,
    /// `spool.minfree.bytes`
    pub(crate) minfree: u64,
    /// Bytes of a segment of the spool.
    pub(crate) segment: u64,
    /// How long there is trouble.
    pub(crate) trouble: Duration,
    /// The hosts, each with its limits.
    pub(crate) hosts: Vec<Limit>,
    /// `queues.concurrency.total`
    pub(crate) total: u32,
    /// Hosts whose names have a counter together, from the first, and their limits.
    pub(crate) group: Option<(usize, Limit)>,
    /// Source addresses of the machine, each with its limits; none: it has one without.
    pub(crate) sources: Vec<Limit>,
    /// `queues.maxmessages`
    pub(crate) room: u64,
    /// How often the configuration is read again, with other limits.
    pub(crate) reloads: u64,
    /// Connections are kept for further messages.
    pub(crate) pooling: bool,
    /// The window of rates is fixed.
    pub(crate) fixed_window: bool,
    /// `retry.maxage`, in seconds.
    pub(crate) maxage: u64,
}

impl Plan {
    /// The run of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Plan {
        let dice = Dice::new(seed, 1);
        let some = |of_1000: u64, least: u64, most: u64| {
            if dice.chance(of_1000) {
                dice.between(least, most)
            } else {
                0
            }
        };
        let network = Trouble {
            refuse: some(500, 10, 400),
            cut: some(600, 10, 500),
            stall: some(400, 1, 15),
            split: some(500, 10, 500),
        };
        let dns = some(400, 10, 300);
        let sinks = some(700, 10, 150);
        let stops = some(600, 1, 5);
        let restarts = some(300, 1, 2);
        let faults = some(400, 1, 6);
        let changes = some(600, 1, 12);
        let wishes = some(500, 1, 10);
        // Most have little mail: what goes wrong is easier to see.
        let busy = dice.chance(150);
        let count = dice.between(1, 4);
        let hosts = (0..count).map(|_| Plan::limit(&dice)).collect();
        let group = dice.chance(300).then(|| {
            let limit = Plan::limit(&dice);
            (dice.between(1, count) as usize, limit)
        });
        let sources = (0..some(300, 1, 3)).map(|_| Plan::limit(&dice)).collect();
        Plan {
            seed,
            planted: Planted::None,
            network,
            dns,
            sinks,
            stops,
            restarts,
            faults,
            changes,
            wishes,
            scripts: dice.chance(700),
            senders: dice.between(1, if busy { 8 } else { 4 }),
            messages: dice.between(1, if busy { 12 } else { 5 }),
            minfree: *dice.pick(&[0, 0, 30_000]),
            segment: dice.between(12_000, 80_000),
            trouble: dice.seconds(600, *dice.pick(&[1200, 5000, 9000])),
            hosts,
            total: dice.between(1, 12) as u32,
            group,
            sources,
            room: some(150, 2, 12),
            reloads: some(250, 1, 4),
            pooling: dice.chance(600),
            fixed_window: dice.chance(300),
            maxage: *dice.pick(&[1800, 7200, 432_000, 432_000]),
        }
    }

    /// The same run with a mistake in it.
    #[must_use]
    pub fn planting(self, planted: Planted) -> Plan {
        Plan { planted, ..self }
    }

    /// The same run with other limits, as a new configuration has them.
    pub(crate) fn with_other_limits(&self, dice: &Dice) -> Plan {
        let other = |limits: &[Limit]| limits.iter().map(|_| Plan::limit(dice)).collect();
        Plan {
            hosts: other(&self.hosts),
            sources: other(&self.sources),
            group: self.group.map(|(count, _)| (count, Plan::limit(dice))),
            total: dice.between(1, 12) as u32,
            ..self.clone()
        }
    }

    pub(crate) fn limit(dice: &Dice) -> Limit {
        Limit {
            concurrency: dice.chance(600).then(|| dice.between(1, 3) as u32),
            rate: dice
                .chance(300)
                .then(|| (dice.between(1, 5) as u32, dice.between(20, 120))),
            interval: dice.chance(200).then(|| dice.between(5, 60)),
            suspended: false,
        }
    }
}
