//! Message content on the wire (RFC 5321 §2.3.8, §4.1.1.4 and §4.5.2).
//!
//! Content inside Angarium has one form: lines that end in CRLF, no other CR or LF, no
//! dot-stuffing. The one exception is a message that came as BINARYMIME (RFC 3030 §3), which is kept
//! byte for byte and is sent in chunks or not at all. [`Decoder`] makes this form of what a client sends
//! after DATA or in chunks, [`Encoder`] puts it on the wire again, either way. Because the encoder normalises as well, whatever it is given, the bytes
//! that it writes hold no lone CR or LF, and after DATA no line of one dot but the last: a message cannot end
//! early at a peer, however lax that peer is about line ends.
//!
//! Both look for line ends with memchr and copy whole spans.

mod decode;
mod encode;
mod header;

pub use decode::Decoder;
pub use encode::Encoder;
pub use header::{HeaderLimits, HeaderScan};
