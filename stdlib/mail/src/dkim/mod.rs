//! DomainKeys Identified Mail (RFC 6376, RFC 8301, RFC 8463).
//!
//! Pure: who verifies asks the DNS for [`Signature::key_name`] between [`Signature::parse`] and
//! [`verify::verify`], so that a script can be suspended there. The same signature carries a link of an ARC chain
//! (RFC 8617 §4.1.2).

pub mod canon;
mod der;
pub mod keys;
pub mod record;
pub mod sign;
pub mod signature;
pub mod tags;
pub mod verify;

pub use canon::Canon;
pub use keys::PrivateKey;
pub use sign::{SignError, SignOptions, sign};
pub use signature::{Algorithm, Signature};
pub use tags::TagList;
pub use verify::{Failure, verify};

#[cfg(test)]
mod tests;

use std::io;

use ring::digest;

use crate::source::Source;
use canon::BodyCanon;

/// Bytes of a body that are read at once from a source that is not in memory.
const WINDOW: usize = 64 * 1024;

/// The hash of the canonical form of what follows `offset` in `source`, of no more than `limit` bytes of it, and how
/// many bytes the canonical form has in all.
fn body_hash<S: Source + ?Sized>(
    source: &S,
    offset: u64,
    canon: Canon,
    algorithm: &'static digest::Algorithm,
    limit: Option<u64>,
) -> io::Result<(Vec<u8>, u64)> {
    let mut context = digest::Context::new(algorithm);
    let mut total = 0_u64;
    let mut sink = |piece: &[u8]| {
        let left = limit.map_or(u64::MAX, |limit| limit.saturating_sub(total));
        let take = usize::try_from(left).unwrap_or(usize::MAX).min(piece.len());
        context.update(piece.get(..take).unwrap_or_default());
        total = total.saturating_add(piece.len() as u64);
    };
    let mut body = BodyCanon::new(canon);
    match source.as_bytes() {
        Some(bytes) => {
            let start = usize::try_from(offset).unwrap_or(usize::MAX);
            body.feed(bytes.get(start..).unwrap_or_default(), &mut sink);
        }
        None => {
            let mut at = offset;
            let mut window = vec![0; WINDOW];
            while at < source.len() {
                let count = source.read_at(at, &mut window)?;
                if count == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                body.feed(window.get(..count).unwrap_or_default(), &mut sink);
                at = at.saturating_add(count as u64);
            }
        }
    }
    body.finish(&mut sink);
    Ok((context.finish().as_ref().to_vec(), total))
}
