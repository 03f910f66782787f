//! Work for the thread pool that a built-in finds to be necessary once it has looked at its object.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

use angarium_runtime::host::Host;
use angarium_runtime::native::{Cx, Finish, Input, LocalFuture, Outcome, Step, Task, Throw};
use angarium_runtime::value::Value;

/// Does `work` on the pool of `host`; none when the pool has ended.
pub fn on_pool<T: Send + 'static>(
    host: &Rc<Host>,
    work: impl FnOnce() -> T + Send + 'static,
) -> LocalFuture<Option<T>> {
    let slot = Arc::new(Mutex::new(None));
    let result = Arc::clone(&slot);
    let run = host.pool.run(Box::new(move || {
        let done = work();
        *result.lock().unwrap_or_else(PoisonError::into_inner) = Some(done);
        let finish: Finish = Box::new(|_| Ok(Value::None));
        finish
    }));
    Box::pin(async move {
        drop(run.await);
        slot.lock().unwrap_or_else(PoisonError::into_inner).take()
    })
}

/// Suspends the call that throws this, does `work` on the pool, and goes on with `then`, whose value is that of the
/// call.
pub fn later<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
    then: impl FnOnce(&mut Cx<'_>, T) -> Outcome + 'static,
) -> Throw {
    Throw::later(Pooled {
        work: Some(work),
        done: Rc::default(),
        then: Some(then),
    })
}

struct Pooled<T, W, F> {
    work: Option<W>,
    done: Rc<RefCell<Option<T>>>,
    then: Option<F>,
}

impl<T, W, F> Task for Pooled<T, W, F>
where
    T: Send + 'static,
    W: FnOnce() -> T + Send + 'static,
    F: FnOnce(&mut Cx<'_>, T) -> Outcome + 'static,
{
    fn resume(&mut self, cx: &mut Cx<'_>, _: Input) -> Result<Step, Throw> {
        if let Some(work) = self.work.take() {
            let run = on_pool(cx.host, work);
            let done = Rc::clone(&self.done);
            return Ok(Step::Await(Box::pin(async move {
                *done.borrow_mut() = run.await;
                Ok(Value::None)
            })));
        }
        let done = self.done.borrow_mut().take();
        match (done, self.then.take()) {
            (Some(done), Some(then)) => then(cx, done).map(Step::Done),
            _ => Err(Throw::error("the work was interrupted")),
        }
    }
}
