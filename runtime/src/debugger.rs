//! What a debugger sees of a script: points that it has set, and what is thrown.
//!
//! A tool writes `__debug ["SESSION", "POINT"]` before statements. Scripts that were compiled with
//! [`Names::debugged`](crate::library::Names::debugged) call [`POINT`] there, which tells the [`Debugger`] of the host; the
//! script goes on when that lets it.

use crate::exception::Place;
use crate::native::{Args, Cx, FnDecl, LocalFuture, Outcome, Throw};
use crate::string::Str;
use crate::value::Value;

/// A script is at a debug point.
#[derive(Clone, Debug)]
pub struct Hit {
    /// The debug session that the point belongs to.
    pub session: Str,
    /// The point's own name.
    pub point: Str,
    /// The file, as messages call it.
    pub file: Str,
    /// Line and column where the statement begins, and those behind it.
    pub place: [u32; 4],
    /// The variables that have a value, by name.
    pub variables: Value,
    /// The functions that were called, innermost first; an empty name is the main program.
    pub calls: Vec<String>,
}

/// A script throws.
#[derive(Clone, Debug)]
pub struct Thrown<'a> {
    /// What.
    pub value: &'a Value,
    /// Nobody catches it.
    pub uncaught: bool,
    /// Where.
    pub place: Option<Place>,
    /// As [`Hit::calls`].
    pub calls: Vec<String>,
}

/// Watches the scripts of a host.
pub trait Debugger {
    /// A script is at a point; it goes on when the future is done.
    fn reached(&self, hit: Hit) -> LocalFuture<()>;

    /// A script throws. It goes on at once.
    fn thrown(&self, thrown: Thrown<'_>);
}

/// The built-in behind `__debug`.
pub const POINT: FnDecl = FnDecl::waiting(
    "__debug(session: string, point: string, file: string, place: array, variables: array): none",
    "Tells the debugger that a script is at one of its points. Calls are made by the compiler alone.",
    point,
);

fn point(cx: &mut Cx<'_>, args: Args<'_>) -> Result<LocalFuture<Outcome>, Throw> {
    let Some(debugger) = cx.host.debugger() else {
        return Ok(Box::pin(async { Ok(Value::None) }));
    };
    let text = |index: usize| args.get(index).as_str().cloned().unwrap_or_default();
    let mut place = [0; 4];
    if let Some(numbers) = args.get(3).as_array() {
        for (to, number) in place.iter_mut().zip(numbers.values()) {
            *to = number.as_number().unwrap_or_default() as u32;
        }
    }
    let hit = Hit {
        session: text(0),
        point: text(1),
        file: text(2),
        place,
        variables: args.get(4).clone(),
        calls: cx.host.calls(),
    };
    let released = debugger.reached(hit);
    Ok(Box::pin(async move {
        released.await;
        Ok(Value::None)
    }))
}
