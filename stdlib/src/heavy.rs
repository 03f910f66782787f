//! Built-ins whose cost grows with their input: in the loop below a size, on the host's thread pool above it.

use angarium_runtime::frozen::{FreezeError, Pin, freeze};
use angarium_runtime::memory::{self, Account};
use angarium_runtime::native::{Cx, Finish, Heavy, Throw};
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
    cx.charge(size / 16);
    if size <= INLINE_BYTES {
        return Ok(Heavy::Done(work(values)?));
    }
    let Ok(frozen) = values.iter().map(freeze).collect::<Result<Vec<_>, _>>() else {
        return Ok(Heavy::Done(work(values)?));
    };
    let account = memory::swap(Account::default());
    memory::swap(account);
    Ok(Heavy::Offload(Box::new(move || {
        let before = memory::swap(account);
        let values: Vec<Value> = frozen.iter().map(|tree| Pin::new(tree).root()).collect();
        let result = work(&values);
        drop(values);
        let result = result.and_then(|value| Ok(freeze(&value)?));
        memory::swap(before);
        let finish: Finish = Box::new(move |cx| {
            let tree = result?;
            cx.reserve(tree.bytes().min(angarium_runtime::string::MAX_STRING))?;
            Ok(Pin::new(&tree).root())
        });
        finish
    })))
}
