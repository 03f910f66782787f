//! What decides about deliveries: the queue's hooks, as the service asks them.

use std::any::Any;
use std::rc::Rc;
use std::sync::Arc;

use angarium_effects::LocalFuture;
use angarium_queue::item::{Item, ItemId, Pairs};
use angarium_queue::outcome::{Cause, Situation, Verdict};
use angarium_queue::policy::Applied;
use angarium_queue::text::Text;

use crate::hooks::queue::Predelivery;
use crate::worker::Worker;

/// Runs the hooks of the queue.
///
/// One value serves all workers; a reload makes a new one. An item's postdelivery asks the value that
/// answered its predelivery, so that `$context` is read by the script that wrote it.
pub trait QueueHooks: Send + Sync {
    /// Whether there is a script for this hook. Where there is none the service takes the default
    /// itself, which spares two hops between threads.
    fn has(&self, hook: QueueHook) -> bool;

    /// Runs predelivery for an item that is due.
    fn predelivery<'a>(&'a self, worker: &'a Rc<Worker>, item: &'a Item)
    -> LocalFuture<'a, Before>;

    /// Runs postdelivery; `context` is what predelivery left.
    fn postdelivery<'a>(
        &'a self,
        worker: &'a Rc<Worker>,
        ended: &'a Ended,
        context: Option<Box<dyn Any>>,
    ) -> LocalFuture<'a, After>;
}

/// A hook of the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueHook {
    /// Before an attempt.
    Predelivery,
    /// After an attempt, or when a message is removed.
    Postdelivery,
}

/// What predelivery said.
pub struct Before {
    /// The verdict, or the message of the error that ended the script.
    pub verdict: Result<Predelivery, String>,
    /// The new metadata, if it called `SetMetaData`.
    pub metadata: Option<Pairs>,
    /// `$context`, for the item's postdelivery.
    pub context: Option<Box<dyn Any>>,
}

/// What postdelivery said.
#[derive(Debug)]
pub struct After {
    /// The verdict; [`Verdict::Default`] after an error.
    pub verdict: Verdict,
    /// The new metadata, if it called `SetMetaData`.
    pub metadata: Option<Pairs>,
}

/// What postdelivery is told.
#[derive(Clone, Debug)]
pub struct Ended {
    /// The item, as it was for the attempt: with what `Try` changed.
    pub item: Item,
    /// Why the hook runs, with the attempt if there was one.
    pub cause: Arc<Cause>,
    /// The default action, and the notification that it would cause.
    pub situation: Situation,
    /// The id that the notification will have, if there will be one.
    pub dsn_id: Option<ItemId>,
    /// The matched grouping.
    pub grouping: Option<Text>,
    /// Tags of the policies that applied.
    pub tags: Vec<Text>,
    /// The policies that applied.
    pub policies: Vec<Arc<Applied>>,
}

/// Hooks that run no script.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoQueueHooks;

impl QueueHooks for NoQueueHooks {
    fn has(&self, _hook: QueueHook) -> bool {
        false
    }

    fn predelivery<'a>(&'a self, _: &'a Rc<Worker>, _: &'a Item) -> LocalFuture<'a, Before> {
        Box::pin(std::future::ready(Before {
            verdict: Ok(Predelivery::Try(Box::default())),
            metadata: None,
            context: None,
        }))
    }

    fn postdelivery<'a>(
        &'a self,
        _: &'a Rc<Worker>,
        _: &'a Ended,
        _: Option<Box<dyn Any>>,
    ) -> LocalFuture<'a, After> {
        Box::pin(std::future::ready(After {
            verdict: Verdict::Default,
            metadata: None,
        }))
    }
}
