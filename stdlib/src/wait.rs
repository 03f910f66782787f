//! Built-ins that wait for something and then make a value of what came.
//!
//! A future runs outside of the execution, so that a value made in it would be charged to nobody. Here the
//! future gives plain data, and the value is made when the script goes on.

use std::cell::RefCell;
use std::rc::Rc;

use angarium_runtime::native::{Cx, Input, LocalFuture, Outcome, Step, Task, Throw};
use angarium_runtime::value::Value;

/// Waits for `future`, then has `finish` make the result of the call.
pub(crate) fn then<T: 'static>(
    future: impl Future<Output = T> + 'static,
    finish: impl FnOnce(&mut Cx<'_>, T) -> Outcome + 'static,
) -> Box<dyn Task> {
    Box::new(Then {
        future: Some(Box::pin(future)),
        came: Rc::default(),
        finish: Some(finish),
    })
}

/// A result that is there already.
pub(crate) fn ready(value: Value) -> Box<dyn Task> {
    Box::new(Ready(value))
}

struct Ready(Value);

impl Task for Ready {
    fn resume(&mut self, _: &mut Cx<'_>, _: Input) -> Result<Step, Throw> {
        Ok(Step::Done(self.0.take()))
    }
}

struct Then<T, F> {
    future: Option<LocalFuture<T>>,
    came: Rc<RefCell<Option<T>>>,
    finish: Option<F>,
}

impl<T, F> Task for Then<T, F>
where
    T: 'static,
    F: FnOnce(&mut Cx<'_>, T) -> Outcome,
{
    fn resume(&mut self, cx: &mut Cx<'_>, _: Input) -> Result<Step, Throw> {
        if let Some(future) = self.future.take() {
            let came = Rc::clone(&self.came);
            return Ok(Step::Await(Box::pin(async move {
                let result = future.await;
                came.borrow_mut().replace(result);
                Ok(Value::None)
            })));
        }
        match (self.came.take(), self.finish.take()) {
            (Some(came), Some(finish)) => Ok(Step::Done(finish(cx, came)?)),
            _ => Err(Throw::error("resumed out of order")),
        }
    }
}
