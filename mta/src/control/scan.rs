//! Going over the queue in steps, so that a list of a million items never holds the queue up.
//!
//! Each step runs on the queue's thread over a few thousand items and gives way to what waits there.
//! An item that is in the queue all the time is seen exactly once.

use std::sync::Arc;

use angarium_queue::item::ItemId;
use angarium_queue::scheduler::View;

use super::filter::{Around, Filter};
use crate::delivery::{Handle, Stopped};

/// Items that are looked at in one step: about a millisecond.
const STEP: usize = 4096;

/// What goes from step to step.
struct Journey<T> {
    state: T,
    after: Option<ItemId>,
    over: bool,
}

/// Shows `see` every item that fits, in the order of ids, until it says false. It runs on the queue's
/// thread and must be quick; `state` comes back with what it gathered.
pub(super) async fn scan<T: Send + 'static>(
    queue: &Handle,
    filter: &Arc<Filter>,
    state: T,
    see: impl Fn(&mut T, &View<'_>, Around<'_>) -> bool + Send + Sync + 'static,
) -> Result<T, Stopped> {
    let see = Arc::new(see);
    let (after, last) = filter.range();
    let mut journey = Journey {
        state,
        after,
        over: false,
    };
    while !journey.over {
        let (filter, see) = (Arc::clone(filter), Arc::clone(&see));
        let mut step = journey;
        journey = queue
            .inspect_at(move |queue, now| {
                let policies = queue.gate().policies();
                let around = Around { policies, now };
                step.over = true;
                for (count, view) in queue.views(step.after).enumerate() {
                    if count == STEP {
                        step.over = false;
                        break;
                    }
                    if last.is_some_and(|last| view.item.id.transaction > last) {
                        break;
                    }
                    step.after = Some(view.item.id);
                    if filter.fits(&view, around) && !see(&mut step.state, &view, around) {
                        break;
                    }
                }
                step
            })
            .await?;
    }
    Ok(journey.state)
}
