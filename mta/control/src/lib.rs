//! The control protocol (mta.md 5.1 and 5.2) without I/O.
//!
//! - [`frame`]: requests and answers as bytes, taken apart as they arrive.
//! - [`command`]: the commands by letter, with the names of their messages.
//! - [`proto`]: the messages, made from `proto/*.proto`.
//! - [`encode`]: writes messages straight from borrowed data, for lists of a million items.
//! - [`json`]: messages as JSON, as the proto3 mapping has it.

pub mod command;
pub mod encode;
pub mod frame;
pub mod json;

/// The messages of the protocol. Their meaning is told in the `.proto` files.
#[allow(missing_docs, reason = "the .proto files have the documentation")]
#[allow(
    clippy::all,
    rust_2018_idioms,
    unused_qualifications,
    reason = "generated"
)]
pub mod proto {
    include!(concat!(env!("OUT_DIR"), "/smtpd.rs"));
}

pub use command::Command;
pub use prost::Message;
