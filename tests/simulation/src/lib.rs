//! The whole MTA in one process and one thread, under a virtual clock, network, name resolution, disk and chance.
//!
//! ```text
//!  senders ──▶ SimNet ──▶ SMTP server, scripts ──▶ spool ──▶ queue, policies ──▶ SMTP client ──▶ SimNet ──▶ sinks
//!     │                        the machine: the product's own code on a SimDisk                              │
//!     └──────────────────────────▶ what was answered with 250 │ what arrived, when ◀──────────────────────────┘
//! ```
//!
//! A seed decides everything: the configuration, the mail, connections that break at any byte, answers that are late,
//! out of order or missing, hosts that refuse, hang and leave, limits and suspends that change meanwhile, operators,
//! writes that fail or are torn, and stops of the machine at any call of its disk, after which it starts again with what
//! is left there. After a while there is peace, and everything has to come to its end. What must hold:
//!
//! * A 250 is never lost: its message arrives, comes back to its sender, or is in the queue's listing. It is compared
//!   every few minutes and at the end, when the queue must be empty.
//! * No host sees more deliveries at once, more messages in a time or connections in quicker succession than the
//!   policies allow at that moment, and none at all while it is suspended.
//! * `audit` finds nothing, and within the virtual time every message ends.
//! * A message arrives as it was sent, and twice only if the first time could not be known.
//! * The same seed gives the same trace, to the byte.
//!
//! | module | what it holds |
//! |---|---|
//! | `plan` | what a seed decides beforehand |
//! | `world` | a run: trouble, then peace |
//! | `machine` | the product, put together as `app` does it, without threads |
//! | `net`, `names`, `executor`, `dice` | the virtual surroundings; the disk is [`angarium_effects::disk::SimDisk`] |
//! | `console`, `operator` | an operator at the control socket |
//! | `sender`, `sink`, `talk` | those who bring mail and take it |
//! | `bundle` | configuration and scripts |
//! | `ledger`, `limits` | what must hold |
//! | `trace` | what happened |

mod bundle;
mod console;
mod dice;
mod executor;
mod ledger;
mod limits;
mod machine;
mod names;
mod net;
mod operator;
mod panics;
mod plan;
mod sender;
mod sink;
mod talk;
mod trace;
mod world;

pub use ledger::Totals;
pub use plan::{Plan, Planted};
pub use world::{Failure, Outcome, run};
