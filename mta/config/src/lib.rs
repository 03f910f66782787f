//! Configuration files: typed, validated with key paths, packed and unpacked.
//!
//! The typed structs of [`startup`], [`server`], [`transport`] and [`running`] are the one schema.
//! From them come the JSON schema, the validation of a file, and the reference page. [`load`] turns
//! files into a [`Config`] that never changes; a reload makes a new [`Running`].
//!
//! This crate does no input or output of its own: files come through [`FileSource`].

pub mod emit;
pub mod pki;
pub mod running;
pub mod script;
pub mod server;
pub mod startup;
pub mod transport;
pub mod types;
pub mod yaml;

pub use running::Running;
pub use script::{HookType, Script, VirtualFile};
pub use server::Server;
pub use startup::Startup;
pub use transport::Transport;
