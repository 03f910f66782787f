//! What the script of one recipient works on, and what it has said so far.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use angarium_mail::edits::Edits;
use angarium_queue::item::Pairs;
use angarium_runtime::native::{Cx, Throw};
use angarium_smtp::address::{Mailbox, ReversePath};
use angarium_smtp::verdict::ReplyOptions;

use crate::hooks::eod;
use crate::hooks::outbox::Wish;

/// Where the copy at hand goes. The members up to `metadata` hold for the following recipients too.
#[derive(Clone, Debug)]
pub struct Routing {
    /// Envelope sender.
    pub sender: ReversePath,
    /// Address of the client.
    pub sender_ip: IpAddr,
    /// Name that the client gave.
    pub helo: Option<String>,
    /// `SetMetaData`
    pub metadata: Pairs,
    /// Envelope recipient.
    pub recipient: Mailbox,
    /// Transport.
    pub transport_id: String,
    /// `SetDelayedDeliver`
    pub delay: Duration,
}

/// What becomes of a recipient, from what decides the reply first to what decides it last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// 5xx
    Reject,
    /// 4xx
    Defer,
    /// 250, on hold.
    Quarantine,
    /// 250, dropped.
    Delete,
    /// 250, queued or delivered.
    Deliver,
}

/// A copy of the message that an action asks for.
#[derive(Clone, Debug)]
pub struct Copy {
    /// Envelope and options.
    pub wish: Wish,
    /// The changes made to the message until then.
    pub edits: Rc<Edits>,
    /// Address of the client.
    pub sender_ip: IpAddr,
    /// Name that the client gave.
    pub helo: Option<String>,
    /// Delivered before the reply, not queued.
    pub in_line: bool,
}

/// One call of Deliver, Reject, Defer, Delete or Quarantine.
#[derive(Clone, Debug)]
pub struct Action {
    /// How it counts for the reply.
    pub outcome: Outcome,
    /// What the script says about the reply.
    pub reply: ReplyOptions,
    /// What is to be kept or sent.
    pub copy: Option<Copy>,
}

impl Action {
    /// An action that keeps nothing.
    #[must_use]
    pub fn bare(outcome: Outcome, reply: ReplyOptions) -> Action {
        Action {
            outcome,
            reply,
            copy: None,
        }
    }
}

/// The run of a script for one recipient.
pub struct Turn {
    /// The message with the changes for this recipient.
    pub mail: Rc<eod::Mail>,
    /// Ids of the transports.
    pub transports: Rc<BTreeSet<String>>,
    /// Where the copy goes.
    pub routing: RefCell<Routing>,
    /// What the script said.
    pub actions: RefCell<Vec<Action>>,
}

impl Turn {
    /// The turn of this execution.
    ///
    /// # Errors
    /// An Exception where no message is at hand.
    pub fn of(cx: &Cx<'_>) -> Result<Rc<Turn>, Throw> {
        cx.host
            .extension::<Turn>()
            .ok_or_else(|| Throw::error("there is no message here"))
    }

    /// Notes an action, on the script's budget.
    ///
    /// # Errors
    /// The end of the script when its budget is used up.
    pub fn note(&self, cx: &mut Cx<'_>, action: Action) -> Result<(), Throw> {
        cx.charge(100);
        cx.reserve(1024)?;
        angarium_runtime::memory::charge(1024);
        self.actions.borrow_mut().push(action);
        Ok(())
    }
}
