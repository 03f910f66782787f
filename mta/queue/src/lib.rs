//! The queue of the mail transfer agent as pure logic.
//!
//! No I/O, no clock, no async: the time and events go in, actions come out. A service around it
//! runs scripts, look-ups, SMTP sessions and the spool; tests and the simulator drive the same code
//! under a virtual clock.
//!
//! # What is where
//!
//! - [`item`], [`codec`]: what is known about a message, and its form in the spool; [`text`] shares
//!   the strings that repeat.
//! - [`scheduler`]: the whole as one machine. Inside it [`index`] holds every item in exactly one
//!   state, and the sub-queues of ACTIVE take turns behind the [`gate`], which [`policy`] implements.
//! - [`transport`]: the settings the queue decides by; [`destination`]: from a domain to the
//!   addresses to try; [`pool`]: idle connections.
//! - [`attempt`]: how an attempt ended; [`outcome`]: what follows from that; [`retry`]: when to try
//!   again; [`dsn`]: what to tell the sender.
//!
//! # The contract with the service
//!
//! The service owns one [`Scheduler`](scheduler::Scheduler). For everything that happens it calls
//! `handle` with the wall clock's time, then takes every output from `poll` before it waits again.
//!
//! 1. **New mail.** Write and sync the item, answer 250, then give `Committed`. Before accepting
//!    ask `has_room`; without room new mail is deferred with 452. At start give `Loaded` for each
//!    item in the spool; on `InputError::Full` leave it there and go on when there is room.
//! 2. **`RunPredelivery`.** Run the script on the worker that the key stands for and keep its
//!    `$context` and those options of `Try` that are the client's. `SetMetaData` goes into
//!    `metadata`. A script error is `Predelivery::Failed`; no script is `Try` without options.
//! 3. **`Resolve`.** Take the steps of the machine, ask the look-ups in parallel, give the answers
//!    in any order, and hand its result to `Resolved`.
//! 4. **`StartAttempt`.** Take a pooled connection or open one to this candidate only, and report
//!    `AttemptDone` however it ends: the queue decides whether another candidate follows. Set the
//!    attempt's connection as soon as a candidate is chosen, also when connecting fails, and
//!    `after_envelope` on an error once the recipient was answered. A dead pooled connection is
//!    replaced without report. Idle connections count against `queues.concurrency.total` too:
//!    evict one from the pool when deliveries and idle ones together reach it.
//! 5. **`RunPostdelivery`.** Show the script the cause and the situation; if the situation has a
//!    notification, make an id for it, show that as well and return it as `announced`. After a
//!    success `Queue`, `Bounce` and `Delete` are exceptions. An error is `Verdict::Default`.
//! 6. **`Persist`.** Build the notification, if there is one, and write it with the change in one
//!    batch (or before it). `Persisted` after the sync for an update, at once for `Done` without a
//!    notification. `PersistFailed` leaves the item as it was; the request is repeated later. The
//!    notification comes back as `Committed`.
//! 7. **`SetTimer`.** Give `Tick` at that time. A tick too many does no harm.
//! 8. **Stop.** Give `Drain`, go on until `is_idle`, drop the rest: everything is on disk.
//!
//! Each request is answered exactly once; an answer that was not asked for is an error that changes
//! nothing. A worker that dies must be answered for: `PutBack` if nothing was sent, else an
//! `AttemptDone` with a temporary error.
//!
//! # Invariants
//!
//! - An item is in one state and in one ordered list ([`Scheduler::check`](scheduler::Scheduler::check)).
//! - An item that is not on hold has a timer, running work, a turn to come or a stated limit
//!   ([`Scheduler::why`](scheduler::Scheduler::why)); its age ends every wait.
//! - A change is durable before the item is seen in its next state.
//! - Nothing here touches the network, a file, a clock or a source of chance.

pub mod attempt;
pub mod codec;
pub mod destination;
pub mod dsn;
pub mod gate;
pub mod index;
pub mod item;
pub mod matcher;
mod nodes;
pub mod outcome;
pub mod policy;
pub mod pool;
mod random;
pub mod retry;
pub mod scheduler;
pub mod text;
pub mod time;
pub mod transport;
