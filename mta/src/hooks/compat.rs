//! The spellings of release 5, for bundles that say `scripting.compat: 5`: flat variables beside the arrays, and setters
//! beside the options of the terminating functions.
//!
//! They are contexts of their own, with the names of those of today; a bundle sees one set or the other.

mod queue;
mod session;
pub(super) mod variables;

use std::sync::LazyLock;

use angarium_runtime::native::{ContextDecl, FnDecl, VarDecl};

pub use queue::{Carried, Setters as QueueSetters};
pub use session::Setters;
pub use variables::{
    TransportFacts, postdelivery_variables, predelivery_variables, session_variables,
    with_recipientparams,
};

/// What a context has beside that of today.
struct Older {
    functions: &'static [FnDecl],
    variables: &'static [VarDecl],
}

fn older(context: &str) -> Older {
    let (functions, variables): (&[FnDecl], &[VarDecl]) = match context {
        "connect" => (session::CONNECT, variables::CONNECT),
        "proxy" => (&[], variables::CONNECT),
        "helo" => (session::HELO, variables::HELO),
        "auth" => (session::GET_TLS, variables::AUTH),
        "mailfrom" => (session::MAILFROM, variables::MAILFROM),
        "rcptto" => (session::RCPTTO, variables::RCPTTO),
        "eod" => (&[], variables::EOD),
        "predelivery" => (queue::PREDELIVERY, variables::PREDELIVERY),
        "postdelivery" => (queue::POSTDELIVERY, variables::POSTDELIVERY),
        _ => (&[], &[]),
    };
    Older {
        functions,
        variables,
    }
}

/// The contexts of the hooks with the older spellings.
#[must_use]
pub fn contexts() -> &'static [&'static ContextDecl] {
    static CONTEXTS: LazyLock<Vec<&'static ContextDecl>> = LazyLock::new(|| {
        let contexts = super::CONTEXTS.iter();
        contexts.map(|context| with_older(context)).collect()
    });
    &CONTEXTS
}

/// Declarations live as long as the process; these are made once.
fn with_older(context: &'static ContextDecl) -> &'static ContextDecl {
    let older = older(context.name);
    if older.functions.is_empty() && older.variables.is_empty() {
        return context;
    }
    let mut functions = context.functions.to_vec();
    functions.push(older.functions);
    let mut variables = context.variables.to_vec();
    variables.extend_from_slice(older.variables);
    Box::leak(Box::new(ContextDecl {
        name: context.name,
        functions: Box::leak(functions.into_boxed_slice()),
        classes: context.classes,
        variables: Box::leak(variables.into_boxed_slice()),
    }))
}
