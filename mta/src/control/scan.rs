//! Going over the queue in steps, so that a list of a million items never holds the queue up.
//!
//! Each step runs on the queue's thread over a few thousand items and gives way to what waits there.
//! An item that is in the queue all the time is seen exactly once.
//!
//! Items lie in memory nearly as they came, but their ids follow no order of memory: going over them by
//! id means waiting for memory at each. So [`scan`] goes as they lie, and [`scan_in_order`] by id, for
//! lists that end early.

use std::sync::Arc;

use angarium_queue::scheduler::View;

use super::filter::{Around, Filter};
use crate::delivery::{Handle, Stopped};

/// Items that are looked at in one step: about a millisecond.
const STEP: usize = 8192;
/// The same by id.
const STEP_IN_ORDER: usize = 4096;

/// What goes from step to step.
struct Journey<T, P> {
    state: T,
    place: P,
    over: bool,
}

/// Shows `see` every item that fits, in any order. It runs on the queue's thread and must be quick;
/// `state` comes back with what it gathered.
pub(super) async fn scan<T: Send + 'static>(
    queue: &Handle,
    filter: &Arc<Filter>,
    state: T,
    see: impl Fn(&mut T, &View<'_>, Around<'_>) + Send + Sync + 'static,
) -> Result<T, Stopped> {
    if filter.range().1.is_some() {
        // A few transactions: their ids lead there.
        let go_on = move |state: &mut T, view: &View<'_>, around: Around<'_>| {
            see(state, view, around);
            true
        };
        return scan_in_order(queue, filter, state, go_on).await;
    }
    let see = Arc::new(see);
    let mut journey = Journey {
        state,
        place: 0,
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
                let views = queue.views_lying_from(step.place);
                for (count, (next, view)) in views.enumerate() {
                    if count == STEP {
                        step.over = false;
                        break;
                    }
                    step.place = next;
                    if filter.fits(&view, around) {
                        see(&mut step.state, &view, around);
                    }
                }
                step
            })
            .await?;
    }
    Ok(journey.state)
}

/// Shows `see` every item that fits, in the order of ids, until it says false.
pub(super) async fn scan_in_order<T: Send + 'static>(
    queue: &Handle,
    filter: &Arc<Filter>,
    state: T,
    see: impl Fn(&mut T, &View<'_>, Around<'_>) -> bool + Send + Sync + 'static,
) -> Result<T, Stopped> {
    let see = Arc::new(see);
    let (after, last) = filter.range();
    let mut journey = Journey {
        state,
        place: after,
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
                for (count, view) in queue.views(step.place).enumerate() {
                    if count == STEP_IN_ORDER {
                        step.over = false;
                        break;
                    }
                    if last.is_some_and(|last| view.item.id.transaction > last) {
                        break;
                    }
                    step.place = Some(view.item.id);
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
