//! A task that panics is stopped by its executor, and nobody would hear of it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Once;

thread_local! {
    static SEEN: RefCell<Option<Rc<Cell<bool>>>> = const { RefCell::new(None) };
}

/// A flag that is set by the next panic of this thread.
pub fn watch() -> Rc<Cell<bool>> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let _ = SEEN.try_with(|seen| {
                if let Ok(seen) = seen.try_borrow()
                    && let Some(seen) = &*seen
                {
                    seen.set(true);
                }
            });
            before(info);
        }));
    });
    let flag = Rc::new(Cell::new(false));
    SEEN.set(Some(Rc::clone(&flag)));
    flag
}
