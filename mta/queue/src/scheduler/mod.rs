//! The queue as one machine: events in, actions out.
//!
//! ```text
//!  Loaded, Committed      PredeliveryVerdict     Resolved          AttemptDone     PostdeliveryVerdict
//!        │                       │                  │                   │                  │
//!   ┌────▼───┐ RunPredelivery ┌──▼──┐  Resolve ┌────▼───┐ StartAttempt ┌─▼──┐ RunPostdel. ┌──▼───┐
//!   │ loader ├───────────────►│ Try ├─────────►│ ACTIVE ├─────────────►│ ⋯  ├────────────►│decide│
//!   └────▲───┘                └──┬──┘          └────────┘              └────┘             └──┬───┘
//!        │ due                   │ Queue, Bounce, Delete                                     │
//!   ┌────┴────────┐              ▼                                                           ▼
//!   │ DEFER, HOLD │◄───────── Persisted ◄───────────────────────────────────────────────── Persist
//!   └─────────────┘                                                     └──► gone
//! ```
//!
//! [`Scheduler::handle`] takes an [`Input`] with the time, [`Scheduler::poll`] gives the
//! [`Output`]s. The same inputs give the same outputs. What the service owes for each output is
//! said there; the crate's documentation has the whole contract.

mod control;
mod delivery;
mod ending;
mod flow;
#[cfg(test)]
mod tests;
mod view;
mod why;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use thiserror::Error;

pub use control::{Control, ItemUpdate, Then};
pub use view::View;
pub use why::{Finding, Why};

use crate::attempt::{Attempt, AttemptError};
use crate::destination::{Candidate, OwnHosts, Resolution, Walk};
use crate::dsn::{DsnOptions, DsnSpec};
use crate::gate::{FieldSet, Gate, Grant, Reuse};
use crate::index::{Index, PerSlot, QuotaUse, Slot, State, WrongState};
use crate::item::{Item, ItemId, Pairs, Priority};
use crate::outcome::{Cause, Situation, Verdict};
use crate::policy::Applied;
use crate::random::SplitMix;
use crate::retry::{Again, RetryChange};
use crate::text::{Interner, Text};
use crate::time::Timestamp;
use crate::transport::{Plan, SourceIp, Transport, Transports};

/// Something that happened.
#[derive(Debug)]
pub enum Input {
    /// An item was read from the spool at start-up, or once there is [room](Scheduler::has_room).
    Loaded(Box<Item>),
    /// A new item was written to the spool and synced.
    Committed(Box<Item>),
    /// The predelivery script ended.
    PredeliveryVerdict {
        /// The item.
        id: ItemId,
        /// What it said.
        verdict: Predelivery,
        /// The new metadata, if it called `SetMetaData`.
        metadata: Option<Pairs>,
    },
    /// The destination was found, or not.
    Resolved {
        /// The item.
        id: ItemId,
        /// The candidates in order, or the error.
        result: Result<Vec<Candidate>, AttemptError>,
    },
    /// The attempt with one candidate ended.
    AttemptDone {
        /// The item.
        id: ItemId,
        /// How. Its connection is set whenever a candidate was contacted, also in vain.
        attempt: Box<Attempt>,
    },
    /// The attempt was not begun: a plugin refused, a race was lost. Tokens are returned.
    PutBack {
        /// The item.
        id: ItemId,
    },
    /// The postdelivery script ended.
    PostdeliveryVerdict {
        /// The item.
        id: ItemId,
        /// What it said.
        verdict: Verdict,
        /// The new metadata, if it called `SetMetaData`.
        metadata: Option<Pairs>,
        /// The notification's id that the script was shown.
        announced: Option<ItemId>,
    },
    /// What [`Output::Persist`] asked for was done.
    Persisted {
        /// The item.
        id: ItemId,
    },
    /// What [`Output::Persist`] asked for failed; it will be asked for again.
    PersistFailed {
        /// The item.
        id: ItemId,
    },
    /// The time of [`Output::SetTimer`] has come.
    Tick,
    /// An operator's wish for one item.
    Control {
        /// The item.
        id: ItemId,
        /// The wish.
        action: Control,
    },
    /// The running configuration was reloaded.
    Configure {
        /// The new transports.
        transports: Transports,
        /// Our new names and sockets.
        own: Arc<OwnHosts>,
        /// How much goes on at once from now on; what runs goes on.
        limits: Limits,
        /// The gate has changed as well, as [`PoliciesChanged`](Input::PoliciesChanged) says: nothing is picked up in
        /// between.
        policies: bool,
    },
    /// The gate looks at other fields, or its suspends changed: every active item is looked at.
    PoliciesChanged,
    /// The gate's limits changed: everything that a limit stops is asked again.
    LimitsChanged,
    /// The process stops: start nothing more, end what runs.
    Drain,
}

/// What the predelivery script said.
#[derive(Debug, PartialEq, Eq)]
pub enum Predelivery {
    /// `Try(…)`, or the implicit end.
    Try(Box<Plan>),
    /// `Queue(…)`.
    Queue(Box<Again>),
    /// `Bounce(…)`.
    Bounce {
        /// The diagnostic text.
        reason: Option<Text>,
        /// How the notification looks.
        dsn: Box<DsnOptions>,
    },
    /// `Delete(…)`.
    Delete {
        /// The diagnostic text.
        reason: Option<Text>,
    },
    /// The script failed with this message.
    Failed(String),
}

/// Something to be done by the service.
#[derive(Debug)]
pub enum Output {
    /// Run the predelivery script on this worker; answer with [`Input::PredeliveryVerdict`].
    RunPredelivery {
        /// The item.
        id: ItemId,
        /// The worker.
        worker: WorkerKey,
    },
    /// Answer the machine's look-ups; give its result to [`Input::Resolved`].
    Resolve {
        /// The item.
        id: ItemId,
        /// The machine, not yet asked.
        resolution: Box<Resolution>,
    },
    /// Deliver to this candidate; answer with [`Input::AttemptDone`] or [`Input::PutBack`].
    ///
    /// After a failure another [`Output::StartAttempt`] for the same item may follow: the next
    /// candidate of the same attempt.
    StartAttempt {
        /// The item.
        id: ItemId,
        /// The worker.
        worker: WorkerKey,
        /// Where to.
        candidate: Candidate,
        /// From where; none: the system chooses.
        source: Option<SourceIp>,
        /// The grouping of the destination.
        grouping: Option<Text>,
        /// Whether an idle connection was set aside. Where it is required and gone, answer with
        /// [`Input::PutBack`].
        reuse: Reuse,
    },
    /// Run the postdelivery script on this worker; answer with [`Input::PostdeliveryVerdict`].
    RunPostdelivery {
        /// The item.
        id: ItemId,
        /// The worker.
        worker: WorkerKey,
        /// Why, with the attempt if there was one.
        cause: Arc<Cause>,
        /// The default action and the notification it would cause.
        situation: Box<Situation>,
        /// The matched grouping.
        grouping: Option<Text>,
        /// Tags of the policies that applied.
        tags: Vec<Text>,
        /// The policies that applied.
        policies: Vec<Arc<Applied>>,
    },
    /// Write the change and, durable no later than it, the notification; answer with
    /// [`Input::Persisted`] or [`Input::PersistFailed`].
    Persist {
        /// The item.
        id: ItemId,
        /// The change.
        change: Change,
        /// A notification to be built and queued; comes back as [`Input::Committed`].
        dsn: Option<Box<DsnSpec>>,
    },
    /// A script's change was left out because the item would become too large to be stored.
    ChangeRefused {
        /// The item.
        id: ItemId,
    },
    /// Give [`Input::Tick`] at this time; replaces the last one, none: no timer.
    SetTimer(Option<Timestamp>),
}

/// A change to an item in the spool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The item is now this blob. It must be synced before the answer.
    Update(Vec<u8>),
    /// The item is gone. Needs no sync of its own.
    Done,
}

/// Decides on the worker of an item, from predelivery to postdelivery. Equal for items whose
/// connections may be shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkerKey(pub u64);

/// An input that does not fit.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum InputError {
    /// No such item.
    #[error("{0} is not in the queue")]
    NotFound(ItemId),
    /// An item with this id is there already.
    #[error("{0} is in the queue already")]
    Duplicate(ItemId),
    /// `queues.maxmessages` is reached; the item stays on disk.
    #[error("the queue holds {0} messages, its limit")]
    Full(usize),
    /// The item is in transition.
    #[error("{0} is in transition")]
    Busy(ItemId),
    /// An answer to what was not asked.
    #[error("{0} does not wait for {1}")]
    NotAwaited(ItemId, &'static str),
    /// The item's state does not allow it.
    #[error(transparent)]
    WrongState(#[from] WrongState),
    /// The change would make the item too large to be stored.
    #[error("{0} would become too large")]
    TooLarge(ItemId),
}

/// How much may go on at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Deliveries: `queues.concurrency.total`.
    pub deliveries: usize,
    /// Items in predelivery. DNS has no limit here but the resolver's own, so that a domain whose
    /// servers are silent does not keep others from being prepared.
    pub preparing: usize,
    /// Items in postdelivery.
    pub finishing: usize,
    /// Items in memory: `queues.maxmessages`; 0: no limit.
    pub messages: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            deliveries: 10_000,
            preparing: 1000,
            finishing: 1000,
            messages: 0,
        }
    }
}

/// Counters since the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Counters {
    /// Messages delivered.
    pub delivered: u64,
    /// Attempts that ended in another try.
    pub delayed: u64,
    /// Messages that were bounced or deleted.
    pub failed: u64,
    /// Items picked up.
    pub pickups: u64,
    /// Items put back after pick-up.
    pub putbacks: u64,
}

/// What goes on now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Running {
    /// Items that wait for predelivery.
    pub loader: usize,
    /// Items in predelivery.
    pub preparing: usize,
    /// Items whose destination is looked up.
    pub resolving: usize,
    /// Deliveries.
    pub deliveries: usize,
    /// Items that wait for postdelivery.
    pub finisher: usize,
    /// Items in postdelivery.
    pub finishing: usize,
    /// Items that are being written.
    pub writing: usize,
}

/// The queue.
#[derive(Debug)]
pub struct Scheduler<G> {
    index: Index,
    transports: Transports,
    fallback: Arc<Transport>,
    /// The plan of items for which `Try` set nothing: nearly all.
    no_plan: Arc<Plan>,
    own: Arc<OwnHosts>,
    gate: G,
    limits: Limits,
    random: SplitMix,
    interner: Interner,
    routes: BTreeSet<Arc<[Candidate]>>,
    routes_swept: usize,
    work: PerSlot<Work>,
    /// Items in SENDING.
    sending: BTreeSet<Slot>,
    /// The fields by which the sub-queues are told apart.
    grouped_by: FieldSet,
    /// Items that wait for predelivery, in order.
    loader: BTreeMap<Turn, Slot>,
    /// Items that wait for postdelivery, in order.
    finisher: BTreeMap<u64, Slot>,
    /// Failed writes, by the time to try again.
    rewrites: BTreeSet<(Timestamp, Slot)>,
    next_turn: u64,
    running: Running,
    counters: Counters,
    timer: Option<Timestamp>,
    outputs: VecDeque<Output>,
    draining: bool,
    /// Events since every item was last looked at.
    #[cfg(debug_assertions)]
    events: usize,
}

/// The place of an item before predelivery: high priority first, then by arrival.
type Turn = (Reverse<Priority>, u64);

/// What an item in UNKNOWN, ACTIVE or SENDING is about.
#[derive(Debug)]
enum Work {
    /// UNKNOWN: waits for its turn to run predelivery.
    Arriving(Turn),
    /// UNKNOWN: predelivery runs.
    Predelivery(WorkerKey),
    /// UNKNOWN: DNS runs.
    Resolving(Box<Bound>),
    /// ACTIVE or SENDING.
    Routed(Box<Route>),
    /// UNKNOWN: waits for its turn to run postdelivery.
    Ended(Box<Ended>),
    /// UNKNOWN: postdelivery runs.
    Postdelivery(Box<Ended>),
    /// UNKNOWN: a change is being written.
    Writing(Box<Writing>),
}

/// What stays with an item from predelivery to postdelivery.
#[derive(Debug)]
struct Bound {
    /// The worker, where the scripts' `$context` lives.
    worker: WorkerKey,
    /// What `Try` set.
    plan: Arc<Plan>,
}

/// The way to a destination, for one attempt.
#[derive(Debug)]
struct Route {
    bound: Bound,
    candidates: Arc<[Candidate]>,
    walk: Walk,
    grouping: Option<Text>,
    /// What the gate granted, while a delivery runs: only a few of a long queue have it.
    grant: Option<Box<Grant>>,
    /// What the destination says of retries, as it was when the attempt began.
    retry: Option<Arc<RetryChange>>,
}

/// What is left of an attempt for postdelivery.
#[derive(Debug)]
struct Ended {
    cause: Arc<Cause>,
    bound: Bound,
    grouping: Option<Text>,
    tags: Vec<Text>,
    policies: Vec<Arc<Applied>>,
    retry: Option<Arc<RetryChange>>,
}

/// A change that is being written.
#[derive(Debug)]
struct Writing {
    gone: bool,
    dsn: Option<Box<DsnSpec>>,
    again_at: Option<Timestamp>,
}

impl<G: Gate> Scheduler<G> {
    /// Makes an empty queue. `seed` decides on jitter and on the choice of source addresses.
    pub fn new(
        transports: Transports,
        own: Arc<OwnHosts>,
        gate: G,
        limits: Limits,
        seed: u64,
    ) -> Self {
        Scheduler {
            index: Index::default(),
            transports,
            fallback: Arc::new(Transport::default()),
            no_plan: Arc::new(Plan::default()),
            own,
            gate,
            limits,
            random: SplitMix::new(seed),
            interner: Interner::new(),
            routes: BTreeSet::new(),
            routes_swept: 0,
            work: PerSlot::default(),
            sending: BTreeSet::new(),
            grouped_by: FieldSet::default(),
            loader: BTreeMap::new(),
            finisher: BTreeMap::new(),
            rewrites: BTreeSet::new(),
            next_turn: 0,
            running: Running::default(),
            counters: Counters::default(),
            timer: None,
            outputs: VecDeque::new(),
            draining: false,
            #[cfg(debug_assertions)]
            events: 0,
        }
    }

    /// Takes an event that happened at `now`, and everything whose time has come by then.
    ///
    /// # Errors
    /// The event does not fit; nothing has changed for the item.
    pub fn handle(&mut self, now: Timestamp, input: Input) -> Result<(), InputError> {
        self.index.set_now(now);
        self.count_under_new_limits(now);
        self.look_at_new_fields(&input);
        let result = self.take(now, input);
        self.pass_time(now);
        self.pump(now);
        self.set_timer();
        #[cfg(debug_assertions)]
        self.assert_none_forgotten();
        result
    }

    /// The next thing to do; none: wait for the next event.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// The item with this id, as it will be written.
    pub fn item(&self, id: ItemId) -> Option<&Item> {
        Some(self.index.item(self.index.slot(id)?))
    }

    /// The state of the item with this id.
    pub fn state(&self, id: ItemId) -> Option<State> {
        Some(self.index.state(self.index.slot(id)?))
    }

    /// What `Try` set for the attempt of this item that goes on.
    pub fn plan(&self, id: ItemId) -> Option<&Plan> {
        match self.work.get(self.index.slot(id)?)? {
            Work::Resolving(bound) => Some(&bound.plan),
            Work::Routed(route) => Some(&route.bound.plan),
            Work::Ended(ended) | Work::Postdelivery(ended) => Some(&ended.bound.plan),
            Work::Arriving(_) | Work::Predelivery(_) | Work::Writing(_) => None,
        }
    }

    /// Every item with its state, in the order of ids.
    pub fn items(&self) -> impl Iterator<Item = (&Item, State)> {
        self.index
            .iter()
            .map(|(slot, item)| (item, self.index.state(slot)))
    }

    /// The items of one transaction.
    pub fn transaction(&self, id: uuid::Uuid) -> impl Iterator<Item = (&Item, State)> {
        self.index
            .of_transaction(id)
            .map(|(slot, item)| (item, self.index.state(slot)))
    }

    /// The number of items.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether the queue is empty.
    pub fn is_empty(&self) -> bool {
        self.index.len() == 0
    }

    /// Whether `queues.maxmessages` allows another item; if not, new mail is deferred with 452.
    pub fn has_room(&self) -> bool {
        self.limits.messages == 0 || self.index.len() < self.limits.messages
    }

    /// The number of items in a state.
    pub fn count(&self, state: State) -> usize {
        self.index.count(state)
    }

    /// The number of active items of a class.
    pub fn active(&self, class: Priority) -> usize {
        self.index.active(class)
    }

    /// The number of sub-queues.
    pub fn nodes(&self) -> usize {
        self.index.nodes().len()
    }

    /// Times that the gate said no, and pick-ups that found nothing.
    pub fn skips_and_misses(&self) -> (u64, u64) {
        (self.index.nodes().skips, self.index.nodes().misses)
    }

    /// What is tied to a quota.
    pub fn quota(&self, name: &[u8]) -> QuotaUse {
        self.index.quota(name)
    }

    /// The number of quotas in use.
    pub fn quotas(&self) -> usize {
        self.index.quotas()
    }

    /// The number of items in transition that go to UPDATE when it is over.
    pub fn freezing(&self) -> usize {
        self.index.freezing()
    }

    /// How much may go on at once.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// What goes on now.
    pub fn running(&self) -> Running {
        Running {
            loader: self.loader.len(),
            finisher: self.finisher.len(),
            ..self.running
        }
    }

    /// Counters since the start.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Whether nothing runs, so that a draining process may stop.
    pub fn is_idle(&self) -> bool {
        let Running {
            preparing,
            resolving,
            deliveries,
            finishing,
            writing,
            ..
        } = self.running;
        preparing + resolving + deliveries + finishing + writing + self.finisher.len() == 0
    }

    /// The gate.
    pub fn gate(&self) -> &G {
        &self.gate
    }

    /// The gate, to change its policies; follow with [`Input::PoliciesChanged`].
    pub fn gate_mut(&mut self) -> &mut G {
        &mut self.gate
    }

    /// The table of strings in use, to decode items with.
    pub fn interner(&mut self) -> &mut Interner {
        &mut self.interner
    }

    fn transport(&self, id: &Text) -> Arc<Transport> {
        Arc::clone(self.transports.get(id).unwrap_or(&self.fallback))
    }
}
