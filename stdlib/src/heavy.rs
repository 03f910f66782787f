//! Built-ins whose cost grows with their input: in the loop below a size, on the host's thread pool above it.

use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use angarium_runtime::array::MAX_ENTRIES;
use angarium_runtime::frozen::{FreezeError, Freezer, Pin, Tree, freeze};
use angarium_runtime::memory::{self, Account};
use angarium_runtime::native::{Cx, Finish, Heavy, Input, Job, Outcome, Step, Task, Throw};
use angarium_runtime::pieces::PIECE_FREEZING;
use angarium_runtime::string::MAX_STRING;
use angarium_runtime::value::Value;

/// Input up to this size is worked on in the loop: some tens of microseconds.
pub const INLINE_BYTES: usize = 64 * 1024;

/// Why the work gave no value.
#[derive(Debug)]
pub enum Failure {
    /// An Exception with this message.
    Error(String),
    /// The memory budget is used up.
    Memory,
}

impl From<FreezeError> for Failure {
    fn from(error: FreezeError) -> Failure {
        match error {
            FreezeError::Memory => Failure::Memory,
            other => Failure::Error(other.to_string()),
        }
    }
}

impl From<Failure> for Throw {
    fn from(failure: Failure) -> Throw {
        match failure {
            Failure::Error(message) => Throw::error(message),
            Failure::Memory => Throw::limit("memory"),
        }
    }
}

/// Whether a result may have `bytes`: within the string limit and the memory budget. For work that may be on the pool, where
/// [`Cx::reserve`] is out of reach.
///
/// # Errors
/// Why not.
pub fn fits(bytes: usize) -> Result<(), Failure> {
    fits_budget(bytes)?;
    if bytes > MAX_STRING {
        return Err(Failure::Error("string too long".to_owned()));
    }
    Ok(())
}

/// Whether `bytes` more are within the memory budget: for what the work needs besides its result.
///
/// # Errors
/// [`Failure::Memory`]
pub fn fits_budget(bytes: usize) -> Result<(), Failure> {
    if memory::would_exceed(bytes) {
        return Err(Failure::Memory);
    }
    Ok(())
}

/// Whether an array may have `entries`; see [`fits`].
///
/// # Errors
/// Why not.
pub fn fits_entries(entries: usize) -> Result<(), Failure> {
    fits_budget(entries.saturating_mul(size_of::<Value>()))?;
    if entries > MAX_ENTRIES {
        return Err(Failure::Error("array too large".to_owned()));
    }
    Ok(())
}

/// Does `work` on `values`, here when `size` is small and on the pool otherwise.
///
/// Values cross to the pool and back in their frozen form. Values that cannot be frozen stay here.
///
/// # Errors
/// What `work` fails with.
pub fn run(
    cx: &mut Cx<'_>,
    size: usize,
    values: &[Value],
    work: impl FnOnce(&[Value]) -> Result<Value, Failure> + Send + 'static,
) -> Result<Heavy, Throw> {
    run_then(cx, size, values, work, |_, value| Ok(value))
}

/// As [`run`]; `then` makes the result of what `work` gives, on this thread.
///
/// # Errors
/// What `work` or `then` fails with.
pub fn run_then(
    cx: &mut Cx<'_>,
    size: usize,
    values: &[Value],
    work: impl FnOnce(&[Value]) -> Result<Value, Failure> + Send + 'static,
    then: impl FnOnce(&mut Cx<'_>, Value) -> Outcome + 'static,
) -> Result<Heavy, Throw> {
    cx.charge(size / 16);
    if size <= INLINE_BYTES {
        let value = work(values)?;
        return Ok(Heavy::Done(then(cx, value)?));
    }
    Err(Throw::later(FreezeAndRun {
        freezers: values.iter().map(Freezer::new).collect(),
        values: values.to_vec(),
        frozen: Vec::new(),
        work: Some(work),
        then: Some(then),
        finish: Rc::default(),
    }))
}

/// `work` on the values of these trees.
fn job(
    frozen: Vec<Arc<Tree>>,
    work: impl FnOnce(&[Value]) -> Result<Value, Failure> + Send + 'static,
) -> Job {
    let account = memory::swap(Account::default());
    memory::swap(account);
    Box::new(move || {
        let before = memory::swap(account);
        let values: Vec<Value> = frozen.iter().map(|tree| Pin::new(tree).root()).collect();
        let result = work(&values);
        drop((values, frozen));
        let result = result.and_then(|value| Ok(freeze(&value)?));
        memory::swap(before);
        let finish: Finish = Box::new(move |cx| {
            let tree = result?;
            cx.reserve(tree.bytes().min(MAX_STRING))?;
            Ok(Pin::new(&tree).root())
        });
        finish
    })
}

/// Freezes large values in pieces, and goes to the pool then.
struct FreezeAndRun<W, T> {
    values: Vec<Value>,
    freezers: VecDeque<Freezer>,
    frozen: Vec<Arc<Tree>>,
    work: Option<W>,
    /// Makes the result of what the work gave.
    then: Option<T>,
    finish: Rc<Cell<Option<Finish>>>,
}

impl<W, T> FreezeAndRun<W, T>
where
    T: FnOnce(&mut Cx<'_>, Value) -> Outcome,
{
    fn done(&mut self, cx: &mut Cx<'_>, value: Value) -> Result<Step, Throw> {
        match self.then.take() {
            Some(then) => Ok(Step::Done(then(cx, value)?)),
            None => Ok(Step::Done(value)),
        }
    }
}

impl<W, T> Task for FreezeAndRun<W, T>
where
    W: FnOnce(&[Value]) -> Result<Value, Failure> + Send + 'static,
    T: FnOnce(&mut Cx<'_>, Value) -> Outcome,
{
    fn resume(&mut self, cx: &mut Cx<'_>, _: Input) -> Result<Step, Throw> {
        if let Some(finish) = self.finish.take() {
            let value = finish(cx)?;
            return self.done(cx, value);
        }
        if let Some(freezer) = self.freezers.front_mut() {
            let mut spent = 0;
            let tree = freezer.go_on(&mut spent, PIECE_FREEZING);
            cx.charge(spent);
            match tree {
                Ok(Some(tree)) => {
                    self.frozen.push(tree);
                    self.freezers.pop_front();
                }
                Ok(None) => {}
                Err(FreezeError::Memory) => return Err(Throw::limit("memory")),
                Err(_) => {
                    let Some(work) = self.work.take() else {
                        return Err(Throw::error("the work was interrupted"));
                    };
                    let value = work(&self.values)?;
                    return self.done(cx, value);
                }
            }
            return Ok(Step::Again);
        }
        self.values.clear();
        let Some(work) = self.work.take() else {
            return Err(Throw::error("the work was interrupted"));
        };
        let run = cx
            .host
            .pool
            .run(job(std::mem::take(&mut self.frozen), work));
        let finish = Rc::clone(&self.finish);
        Ok(Step::Await(Box::pin(async move {
            finish.set(Some(run.await));
            Ok(Value::None)
        })))
    }
}
