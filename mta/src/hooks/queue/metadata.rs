//! `SetMetaData` and `GetMetaData` of the queue's hooks.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use angarium_queue::item::Pairs;
use angarium_runtime::array::{Array, Key};
use angarium_runtime::native::{Cx, FnDecl, Throw};
use angarium_runtime::string::Str;
use angarium_runtime::value::Value;

use crate::hooks::options::pairs;

/// The metadata of the message that the script runs for.
#[derive(Debug, Default)]
pub struct Metadata {
    /// As stored, or as the script set it.
    pub pairs: RefCell<Pairs>,
    /// Whether the script set it.
    pub changed: Cell<bool>,
}

pub(super) const SET_METADATA: FnDecl = FnDecl::plain(
    "SetMetaData(metadata: array): none",
    "Replaces the metadata of the message, which is kept across retries. Keys and values are strings.",
    |cx, args| {
        let new = pairs("SetMetaData", args.get(0))?;
        let metadata = metadata(cx)?;
        metadata.pairs.replace(new);
        metadata.changed.set(true);
        Ok(Value::None)
    },
);

pub(super) const GET_METADATA: FnDecl = FnDecl::plain(
    "GetMetaData(): array",
    "Gives the metadata of the message.",
    |cx, _| Ok(pairs_value(&metadata(cx)?.pairs.borrow())),
);

fn metadata(cx: &Cx<'_>) -> Result<Rc<Metadata>, Throw> {
    cx.host
        .extension()
        .ok_or_else(|| Throw::error("there is no message here"))
}

/// String pairs as an array.
fn pairs_value(pairs: &Pairs) -> Value {
    pairs
        .iter()
        .map(|(name, value)| {
            (
                Key::from_string(Str::new(name.as_bytes())),
                Value::bytes(value.as_bytes()),
            )
        })
        .collect::<Array>()
        .into()
}
