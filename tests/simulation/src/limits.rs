//! Whether the limits of the policies hold, as the hosts at the other end see it.
//!
//! A host's limits change as operators and scripts say; between two changes lies a *regime*. What happened at the very
//! moment of a change may belong to either side of it and is judged by the milder one. A delivery counts from the
//! moment at which the machine asked for the connection, or began to write on one that was open, to the last reply of
//! the host or the moment at which the machine left. The machine must hold its place at least that long, so that no
//! delay of the network makes a false alarm.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use angarium_effects::Monotonic;

use crate::net::Line;

/// The limits of a host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limit {
    /// Deliveries at once.
    pub concurrency: Option<u32>,
    /// Messages in so many seconds.
    pub rate: Option<(u32, u64)>,
    /// Seconds between connections.
    pub interval: Option<u64>,
    /// Nothing may go there.
    pub suspended: bool,
}

/// A host, a group of hosts, a source address or all together, with what was seen there.
pub struct Watched {
    pub name: String,
    /// Rates are counted in fixed windows.
    fixed_window: bool,
    regimes: Vec<(Monotonic, Limit)>,
    deliveries: Vec<Rc<Delivery>>,
    lines: Vec<Rc<Line>>,
}

/// A delivery as the host sees it.
pub struct Delivery {
    began: Monotonic,
    /// The first one on its connection.
    first: bool,
    line: Rc<Line>,
    replied: Cell<Option<Monotonic>>,
    /// The host has accepted the recipient.
    counts: Cell<bool>,
}

impl Delivery {
    /// One that began at this moment; `first` on its connection.
    pub fn new(began: Monotonic, line: &Rc<Line>, first: bool) -> Rc<Delivery> {
        Rc::new(Delivery {
            began,
            first,
            line: Rc::clone(line),
            replied: Cell::new(None),
            counts: Cell::new(false),
        })
    }

    /// The host has said its last word.
    pub fn end(&self, now: Monotonic) {
        if self.replied.get().is_none() {
            self.replied.set(Some(now));
        }
    }

    /// The recipient was accepted: it counts as a message.
    pub fn count(&self) {
        self.counts.set(true);
    }

    fn goes_on_at(&self, at: Monotonic) -> bool {
        let ends = [self.replied.get(), self.line.left.get()];
        self.began <= at && ends.into_iter().flatten().all(|end| at < end)
    }
}

impl Watched {
    pub fn new(name: String, fixed_window: bool) -> Watched {
        Watched {
            name,
            fixed_window,
            regimes: Vec::new(),
            deliveries: Vec::new(),
            lines: Vec::new(),
        }
    }

    /// These limits from now on, with nothing counted yet.
    pub fn begin(&mut self, now: Monotonic, limit: Limit) {
        self.regimes.push((now, limit));
    }

    /// These limits from now on, if they are others.
    pub fn change(&mut self, now: Monotonic, limit: Limit) {
        if self.limit() != limit {
            self.begin(now, limit);
        }
    }

    /// The limits as they are.
    pub fn limit(&self) -> Limit {
        self.regimes
            .last()
            .map(|(_, limit)| *limit)
            .unwrap_or_default()
    }

    /// A connection was made.
    pub fn connected(&mut self, line: &Rc<Line>) {
        self.lines.push(Rc::clone(line));
    }

    /// A delivery has begun that counts here.
    pub fn began(&mut self, delivery: &Rc<Delivery>) {
        self.deliveries.push(Rc::clone(delivery));
    }

    /// A connection has ended as the host sees it.
    pub fn end(&self, line: &Rc<Line>, now: Monotonic) {
        let here = self
            .deliveries
            .iter()
            .filter(|of| Rc::ptr_eq(&of.line, line));
        here.for_each(|delivery| delivery.end(now));
    }

    /// All limits that were exceeded, as sentences.
    pub fn check(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for (index, (from, limit)) in self.regimes.iter().enumerate() {
            let until = self.regimes.get(index + 1).map(|(at, _)| *at);
            let inside = |at: Monotonic| at > *from && until.is_none_or(|until| at < until);
            self.check_concurrency(limit, &inside, &mut wrong);
            self.check_rate(limit, &inside, &mut wrong);
            self.check_connections(limit, &inside, &mut wrong);
        }
        wrong
    }

    fn check_concurrency(
        &self,
        limit: &Limit,
        inside: &dyn Fn(Monotonic) -> bool,
        wrong: &mut Vec<String>,
    ) {
        for delivery in self.deliveries.iter().filter(|of| inside(of.began)) {
            let Some(most) = limit.concurrency else {
                continue;
            };
            let at = delivery.began;
            let others = self.deliveries.iter().filter(|other| other.goes_on_at(at));
            let count = others.count();
            if count > most as usize && !self.replaces_a_dead_one(delivery) {
                wrong.push(self.say(at, format!("{count} deliveries at once, not {most}")));
            }
        }
    }

    /// A bucket that is full at the beginning: any part of what a right one lets pass, it lets pass.
    fn check_rate(
        &self,
        limit: &Limit,
        inside: &dyn Fn(Monotonic) -> bool,
        wrong: &mut Vec<String>,
    ) {
        let Some((count, seconds)) = limit.rate else {
            return;
        };
        let (most, pace) = (f64::from(count), f64::from(count) / seconds as f64);
        let counted = self
            .deliveries
            .iter()
            .filter(|of| of.counts.get() && inside(of.began) && !self.replaces_a_dead_one(of));
        let mut moments: Vec<Monotonic> = counted.map(|of| of.began).collect();
        moments.sort();
        if self.fixed_window {
            // Two windows may meet in any time of that length.
            let most = count as usize * 2;
            for (first, last) in moments.iter().zip(moments.iter().skip(most)) {
                if last.since(*first) < Duration::from_secs(seconds) {
                    let text = format!("more than {most} messages within {seconds} s");
                    wrong.push(self.say(*last, text));
                }
            }
            return;
        }
        let (mut tokens, mut last) = (most, None);
        for at in moments.iter().copied() {
            let passed = last.map_or(0.0, |last| at.since(last).as_secs_f64());
            last = Some(at);
            tokens = (tokens + passed * pace).min(most) - 1.0;
            // A microsecond is the smallest time that the queue knows.
            if tokens < -0.001 {
                let before: Vec<f64> = moments.iter().map(|at| at.0.as_secs_f64()).collect();
                let text = format!("more than {count} messages in {seconds} s: {before:?}");
                wrong.push(self.say(at, text));
                return;
            }
        }
    }

    fn check_connections(
        &self,
        limit: &Limit,
        inside: &dyn Fn(Monotonic) -> bool,
        wrong: &mut Vec<String>,
    ) {
        let opened = self
            .deliveries
            .iter()
            .filter(|of| of.first && inside(of.began) && !self.replaces_a_dead_one(of));
        let mut opened: Vec<Monotonic> = opened.map(|of| of.began).collect();
        opened.sort();
        if let Some(seconds) = limit.interval {
            let least = Duration::from_secs(seconds);
            for pair in opened.windows(2) {
                let passed = pair[1].since(pair[0]);
                if passed + Duration::from_micros(2) < least {
                    wrong.push(self.say(pair[1], format!("a connection after {passed:?}")));
                }
            }
        }
        if limit.suspended {
            let began = self
                .deliveries
                .iter()
                .filter(|of| inside(of.began) && !self.replaces_a_dead_one(of));
            wrong.extend(
                began.map(|of| self.say(of.began, "a delivery while suspended".to_owned())),
            );
        }
    }

    /// A message whose connection turned out to be dead goes over a new one at once, under the leave that it had.
    fn replaces_a_dead_one(&self, delivery: &Delivery) -> bool {
        delivery.first
            && self.lines.iter().any(|line| {
                let ends = [line.left.get(), line.ended.get()];
                !Rc::ptr_eq(line, &delivery.line) && ends.contains(&Some(delivery.began))
            })
    }

    fn say(&self, at: Monotonic, what: String) -> String {
        format!("{} at {:.6}: {what}", self.name, at.0.as_secs_f64())
    }
}
