//! The hooks of the queue: predelivery and postdelivery.

mod attempt;
mod metadata;
mod postdelivery;
mod predelivery;

pub use attempt::{AddressBook, Client, Sni, TlsMode, Try};
pub use metadata::Metadata;
pub use postdelivery::{Delivered, POSTDELIVERY};
pub use predelivery::{PREDELIVERY, Predelivery, try_by_default};
