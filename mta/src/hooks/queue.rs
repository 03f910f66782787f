//! The hooks of the queue: predelivery and postdelivery.

mod attempt;
mod metadata;
mod postdelivery;
mod predelivery;

pub(super) use attempt::TLS;
pub use attempt::{AddressBook, Client, Sni, TlsMode, Try, read_try};
pub use metadata::Metadata;
pub use postdelivery::{Delivered, POSTDELIVERY, undelivered};
pub use predelivery::{PREDELIVERY, Predelivery, try_by_default};
