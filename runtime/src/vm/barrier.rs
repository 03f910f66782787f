//! `barrier` (language.md 15.2): one execution at a time in a block, with a shared value.
//!
//! Lock and value are those of the `memory_*` functions ([`crate::shared`]).

use std::rc::Rc;

use crate::convert::to_str;
use crate::frozen::{Pin, freeze};
use crate::native::Throw;
use crate::shared::SharedMemory;
use crate::value::Value;
use crate::vm::call::Called;
use crate::vm::execution::Exit;
use crate::vm::fiber::{Barrier, Fiber};

impl Fiber {
    fn shared_memory(&self) -> Result<Rc<SharedMemory>, Throw> {
        self.host
            .extension::<SharedMemory>()
            .ok_or_else(|| Throw::error("there is no shared memory here"))
    }

    /// Takes the lock of `name`, or waits for it; then [`Fiber::enter_barrier`] goes on.
    pub(crate) fn lock_barrier(&mut self, name: &Value, result: usize) -> Result<Called, Throw> {
        let memory = self.shared_memory()?;
        let name = match name {
            Value::String(name) => name.clone(),
            other => crate::vm::ops::text(other, &mut self.cx())?,
        };
        let execution = self.host.execution;
        if let Some(guard) = memory.try_lock(name.as_bytes(), execution) {
            self.acquired.replace(Some(guard));
            return Ok(Called::Value(Value::String(name)));
        }
        let lock = memory.lock(name.as_bytes(), execution);
        let acquired = Rc::clone(&self.acquired);
        self.waiting = Some(result);
        Ok(Called::exit(Exit::Wait(Box::pin(async move {
            match lock.await {
                Ok(guard) => {
                    acquired.replace(Some(guard));
                    Ok(Value::String(name))
                }
                Err(_) => Err(Throw::error(format!("deadlock on {}", name.to_text()))),
            }
        }))))
    }

    /// Enters the barrier whose lock was taken: its mark and the shared value.
    pub(crate) fn enter_barrier(
        &mut self,
        name: &Value,
        variable: bool,
    ) -> Result<(Value, Value), Throw> {
        let Some(guard) = self.acquired.take() else {
            return Err(Throw::error("the barrier has no lock"));
        };
        let name = to_str(name);
        let value = if variable {
            self.shared_memory()?.get(name.as_bytes())
        } else {
            None
        };
        let value = value.map_or(Value::Undefined, |tree| Pin::new(&tree).root());
        self.next_barrier += 1.0;
        let mark = self.next_barrier;
        self.barriers.push(Barrier {
            mark,
            name,
            guard,
            variable,
        });
        Ok((Value::Number(mark), value))
    }

    /// Leaves the barrier `mark`: stores the variable's value, or removes it, and lets the next execution in.
    pub(crate) fn leave_barrier(&mut self, mark: &Value, value: &Value) -> Result<(), Throw> {
        let Some(at) = self
            .barriers
            .iter()
            .rposition(|barrier| Some(barrier.mark) == mark.as_number())
        else {
            return Ok(());
        };
        let barrier = self.barriers.remove(at);
        if barrier.variable {
            let tree = match value {
                Value::Undefined => None,
                value => Some(freeze(value)?),
            };
            self.shared_memory()?.set(barrier.name.as_bytes(), tree)?;
        }
        drop(barrier.guard);
        Ok(())
    }
}
