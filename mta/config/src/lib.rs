//! Configuration files: typed, validated with key paths, packed and unpacked.
//!
//! The typed structs of [`startup`], [`server`], [`transport`], [`running`] and [`delivery`] are the one
//! schema.
//! From them come the JSON schema, the validation of a file, and the reference page. [`load`] turns
//! files into a [`Config`] that never changes; a reload makes a new [`Running`].
//!
//! This crate does no input or output of its own: files come through [`FileSource`].

pub mod bundle;
mod check;
pub mod condition;
pub mod delivery;
mod document;
pub mod emit;
pub mod error;
pub mod grouping;
mod groups;
mod ignore;
mod load;
pub mod matcher;
pub mod pack;
pub mod path;
pub mod pki;
pub mod policy;
mod policy_values;
pub mod reference;
pub mod running;
pub mod schema;
pub mod script;
pub mod server;
mod sni;
pub mod source;
pub mod startup;
pub mod support;
mod survey;
mod tls_ciphers;
mod tls_protocols;
pub mod transport;
mod tree;
pub mod types;
mod validate;
pub mod yaml;

pub use error::{ConfigError, ConfigErrors, Problem};
pub use load::{Config, Loaded, Options, Override, load, reload};
pub use pack::{PackOptions, Packed, Unpacked, pack, unpack};
pub use running::Running;
pub use schema::{FileKind, json_schema};
pub use script::{HookType, Script, VirtualFile};
pub use server::Server;
pub use source::{FileSource, Listed, MemoryFiles, Source, Tree, plain_reason};
pub use startup::Startup;
pub use survey::{KeyReport, Survey, survey};
pub use transport::Transport;
pub use validate::KeyUse;
