//! Mail messages: structure, header editing, delivery status notifications, and who they are from: DKIM, SPF, DMARC.
//!
//! A pure library: it knows nothing of scripts, sockets or files. Time, randomness and the
//! bytes of a message are handed in.
//!
//! Start reading at [`message`]: a [`message::Message`] is parsed from a [`source::Source`],
//! answers questions about the original, and collects changes that become
//! [`edits::Edits`]. [`dsn`] builds the reports that the queue sends.
//!
//! Invariants: no input makes a function panic; parsing never fails on content; a byte that no
//! change names is never changed; no name, value or address that is put into a header can end
//! its field.

pub mod address;
pub mod body;
pub mod builder;
pub mod charset;
pub mod coding;
pub mod content_type;
pub mod date;
pub mod dkim;
pub mod dmarc;
pub mod dsn;
pub mod editor;
pub mod edits;
pub mod encoded_word;
pub mod envelope;
pub mod field;
pub mod header;
pub mod ident;
pub mod message;
pub mod parts;
pub mod source;
pub mod spf;
pub mod structure;
pub mod transfer;
