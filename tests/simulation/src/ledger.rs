//! What became of every message that was answered with 250.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use angarium_effects::Monotonic;

use crate::console::Listed;
use crate::net::Line;
use crate::trace::Trace;

/// The header field by which a message is known wherever it comes out.
pub const KEY: &str = "X-Simulation-Key";

/// What is known of all messages.
pub struct Ledger {
    trace: Trace,
    accepted: Vec<Accepted>,
    /// By key and recipient.
    delivered: BTreeMap<(u64, String), Vec<Delivery>>,
    /// Failures of which the sender was told, by key and recipient.
    told: BTreeSet<(u64, String)>,
    /// Removals in the machine's log, by item.
    removed: BTreeSet<String>,
    /// Notifications of failures in the machine's log: the item that they are about, and their own.
    notices: BTreeMap<String, String>,
    /// Deliveries in the machine's log, by item.
    sent: BTreeSet<String>,
    /// Notifications that arrived and do not say which message they are about.
    pub nameless: usize,
    /// Items that an operator deleted.
    deleted: BTreeSet<String>,
    /// Items that an operator had written to files of their own; they may be in the queue too.
    unloaded: BTreeSet<String>,
    /// When the machine stopped without warning.
    stops: Vec<Monotonic>,
    /// The machine could not read all that is on its disk, and will try again.
    blind: bool,
    /// What was found wrong.
    pub wrong: Vec<String>,
}

/// A recipient of a message that was answered with 250.
struct Accepted {
    key: u64,
    transaction: String,
    /// The id of its item.
    item: String,
    recipient: String,
    /// Nobody can be told of a failure.
    null_sender: bool,
}

struct Delivery {
    at: Monotonic,
    line: Rc<Line>,
}

/// Numbers for people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Recipients that were answered with 250.
    pub accepted: usize,
    /// Those that have the message.
    pub delivered: usize,
    /// Those of whose failure the sender was told.
    pub bounced: usize,
}

impl Ledger {
    pub fn new(trace: &Trace) -> Ledger {
        Ledger {
            trace: trace.clone(),
            accepted: Vec::new(),
            delivered: BTreeMap::new(),
            told: BTreeSet::new(),
            removed: BTreeSet::new(),
            notices: BTreeMap::new(),
            sent: BTreeSet::new(),
            nameless: 0,
            deleted: BTreeSet::new(),
            unloaded: BTreeSet::new(),
            stops: Vec::new(),
            blind: false,
            wrong: Vec::new(),
        }
    }

    /// A sender has read a 250.
    pub fn accept(&mut self, key: u64, reply: &str, null_sender: bool, recipients: &[String]) {
        let id = reply.rsplit(' ').next().unwrap_or_default();
        if id.len() != 36 {
            let text = format!("the reply names no transaction: {reply}");
            return self.wrong.push(text);
        }
        self.trace
            .note(format!("accepted k{key} {id} {recipients:?}"));
        // Items count from 1, in the order of the recipients.
        self.accepted
            .extend((1..).zip(recipients).map(|(number, recipient)| Accepted {
                key,
                transaction: id.to_owned(),
                item: format!("{id}:{number}"),
                recipient: recipient.clone(),
                null_sender,
            }));
    }

    /// A sink has taken a message.
    pub fn deliver(&mut self, key: u64, recipient: &str, at: Monotonic, line: &Rc<Line>) {
        self.trace.note(format!("delivered k{key} {recipient}"));
        let deliveries = self.delivered.entry((key, recipient.to_owned()));
        let deliveries = deliveries.or_default();
        // Again only if the machine cannot know of the first time: it stopped, or the reply was lost.
        if let Some(last) = deliveries.last() {
            let unheard = last.line.ended.get().is_some() || last.line.left.get().is_some();
            let stopped = self.stops.iter().any(|stop| *stop >= last.at);
            let loaded = self.accepted.iter().any(|of| {
                of.key == key && of.recipient == recipient && self.unloaded.contains(&of.item)
            });
            if !unheard && !stopped && !loaded {
                self.wrong
                    .push(format!("k{key} was delivered twice to {recipient}"));
            }
        }
        let line = Rc::clone(line);
        deliveries.push(Delivery { at, line });
    }

    /// The sender of a message was told that it failed.
    pub fn tell(&mut self, key: u64, recipient: &str) {
        self.trace.note(format!("told k{key} {recipient}"));
        self.told.insert((key, recipient.to_owned()));
    }

    /// An operator's wish to delete was taken.
    pub fn delete(&mut self, item: String) {
        self.deleted.insert(item);
    }

    /// It was not deleted after all.
    pub fn keep(&mut self, item: &str) {
        self.deleted.remove(item);
    }

    /// An operator wishes to have an item in a file of its own.
    pub fn unload(&mut self, item: String) {
        self.unloaded.insert(item);
    }

    /// The machine stopped.
    pub fn stop(&mut self, at: Monotonic) {
        self.stops.push(at);
    }

    /// A line of the machine's log.
    pub fn log(&mut self, line: &str) {
        let value = |key: &str| {
            line.split(' ')
                .find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
                .map(str::to_owned)
        };
        if line.starts_with("delivery ") {
            let ends = matches!(value("result").as_deref(), Some("BOUNCE" | "DELETE"));
            let arrived = value("result").as_deref() == Some("DELIVERED");
            self.removed.extend(value("id").filter(|_| ends));
            self.sent.extend(value("id").filter(|_| arrived));
        } else if line.starts_with("queue: the spool cannot be loaded") {
            self.blind = true;
        } else if line.starts_with("dsn ") {
            let failed = value("action").as_deref() == Some("failed");
            if let (Some(about), Some(id), true) = (value("for"), value("id"), failed) {
                self.notices.insert(about, id);
            }
        }
    }

    /// Whether the machine has read all that is on its disk; asked after a while it has.
    pub fn sees_all(&mut self) -> bool {
        !std::mem::take(&mut self.blind)
    }

    /// Compares with what is in the queue now. Every message must be somewhere.
    pub fn check(&mut self, listing: &[Listed]) {
        let listed: BTreeSet<(&str, &str)> = (listing.iter())
            .map(|item| (item.transaction.as_str(), item.recipient.as_str()))
            .collect();
        let notices: BTreeSet<&String> = (listing.iter())
            .filter(|item| item.null_sender)
            .map(|item| &item.id)
            .collect();
        let known: BTreeSet<&String> = self.notices.values().collect();
        // Notifications of which the log says nothing: the machine stopped between their sync and the line.
        let mut unknown = notices.iter().filter(|id| !known.contains(*id)).count();
        let mut lost = Vec::new();
        for accepted in &self.accepted {
            let place = (accepted.transaction.as_str(), accepted.recipient.as_str());
            let is_told = self
                .notice_of(accepted)
                .is_some_and(|id| notices.contains(id));
            if listed.contains(&place)
                || is_told
                || self.unloaded.contains(&accepted.item)
                || self.is_over(accepted)
            {
                continue;
            }
            if !accepted.null_sender && unknown > 0 {
                unknown -= 1;
                continue;
            }
            lost.push(format!(
                "k{} to {} ({}) was answered with 250 and is nowhere",
                accepted.key, accepted.recipient, accepted.item
            ));
        }
        self.wrong.append(&mut lost);
    }

    /// What has neither arrived nor come back.
    pub fn open(&self) -> Vec<String> {
        let open = self.accepted.iter().filter(|of| !self.is_over(of));
        open.map(|of| format!("k{} to {}", of.key, of.recipient))
            .collect()
    }

    pub fn totals(&self) -> Totals {
        let place = |of: &Accepted| (of.key, of.recipient.clone());
        let count = |has: &dyn Fn(&Accepted) -> bool| {
            self.accepted
                .iter()
                .filter(|accepted| has(accepted))
                .count()
        };
        Totals {
            accepted: self.accepted.len(),
            delivered: count(&|of| self.delivered.contains_key(&place(of))),
            bounced: count(&|of| self.told.contains(&place(of))),
        }
    }

    fn is_over(&self, accepted: &Accepted) -> bool {
        let place = (accepted.key, accepted.recipient.clone());
        self.delivered.contains_key(&place)
            || self.told.contains(&place)
            || self.deleted.contains(&accepted.item)
            // Without a sender nobody is told: the log is all there is.
            || accepted.null_sender && self.removed.contains(&accepted.item)
            // The header could not be read when the notification was made; the sender was told all the same.
            || self.nameless > 0
                && self.notice_of(accepted).is_some_and(|id| self.sent.contains(id))
    }

    fn notice_of(&self, accepted: &Accepted) -> Option<&String> {
        self.notices.get(&accepted.item)
    }
}
