//! `barrier` (language.md 15.2): one execution at a time in a block, with a shared value.
//!
//! Lock and value are those of the `memory_*` functions ([`crate::shared`]).

use std::rc::Rc;

use crate::convert::to_str;
use crate::frozen::{Freezer, Pin};
use crate::native::{Cx, Throw};
use crate::pieces::{PIECE_FREEZING, Piecewise};
use crate::shared::{SharedMemory, check_key};
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
        check_key(name.as_bytes())?;
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
            frozen: Rc::default(),
            is_frozen: Rc::default(),
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
        if self
            .barriers
            .get(at)
            .is_some_and(|barrier| barrier.variable)
        {
            self.freeze_value(at, value)?;
        }
        let barrier = self.barriers.remove(at);
        if barrier.variable {
            let tree = barrier.frozen.take().transpose()?;
            self.shared_memory()?.set(barrier.name.as_bytes(), tree)?;
        }
        drop(barrier.guard);
        Ok(())
    }

    /// Freezes the value of a barrier's variable. A large one is frozen in pieces, and then the instruction is done again.
    fn freeze_value(&mut self, at: usize, value: &Value) -> Result<(), Throw> {
        let Some(barrier) = self.barriers.get(at) else {
            return Ok(());
        };
        if matches!(value, Value::Undefined) || barrier.is_frozen.get() {
            return Ok(());
        }
        let (frozen, is_frozen) = (Rc::clone(&barrier.frozen), Rc::clone(&barrier.is_frozen));
        let mut freezer = Freezer::new(value);
        let mut freeze = move |cx: &mut Cx<'_>| {
            let mut spent = 0;
            let tree = freezer.go_on(&mut spent, PIECE_FREEZING).transpose();
            cx.charge(spent);
            is_frozen.set(tree.is_some());
            // An error is thrown when the barrier has been left.
            frozen.set(tree);
            Ok(is_frozen.get().then_some(Value::None))
        };
        match freeze(&mut self.cx())? {
            Some(_) => Ok(()),
            None => Err(Throw::again(Piecewise(freeze))),
        }
    }
}
