//! Verifying (RFC 6376 §6).

use std::collections::HashMap;
use std::io;

use super::body_hash;
use super::canon::Canon;
use super::record::{PublicKey, RecordError};
use super::signature::{Signature, SignatureError, without_signature};
use crate::header::HeaderBlock;
use crate::source::Source;

/// Why a signature does not hold.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Its field is wrong.
    #[error("{0}")]
    Field(#[from] SignatureError),
    /// The key record is wrong, or not for it.
    #[error("{0}")]
    Record(#[from] RecordError),
    /// There is no key record.
    #[error("there is no key at {0}")]
    NoKey(String),
    /// The DNS could not tell whether there is a key record.
    #[error("the key at {name} could not be fetched: {reason}")]
    Fetch {
        /// Where the key should be.
        name: String,
        /// What the DNS said.
        reason: String,
    },
    /// It is past its time.
    #[error("the signature has expired")]
    Expired,
    /// The body is shorter than the part of it that was signed.
    #[error("the body is shorter than the signed length")]
    Length,
    /// The body is another one.
    #[error("the body hash does not match")]
    Body,
    /// The header is another one, or another key signed it.
    #[error("the signature does not match")]
    Signature,
    /// The message cannot be read.
    #[error("the message cannot be read: {0}")]
    Read(#[from] io::Error),
}

impl Failure {
    /// Whether another try may end otherwise.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        matches!(self, Failure::Fetch { .. } | Failure::Read(_))
    }

    /// Whether the signature could be checked and was found not to match, as opposed to one that cannot be checked.
    #[must_use]
    pub fn is_mismatch(&self) -> bool {
        matches!(self, Failure::Length | Failure::Body | Failure::Signature)
    }
}

/// Checks a signature of the message in `source` whose header is `header`. `now` is Unix seconds.
///
/// # Errors
/// Why the signature does not hold.
pub fn verify<S: Source + ?Sized>(
    header: &HeaderBlock,
    source: &S,
    signature: &Signature,
    key: &PublicKey,
    now: u64,
) -> Result<(), Failure> {
    if signature.expiration.is_some_and(|expires| now > expires) {
        return Err(Failure::Expired);
    }
    let (header_canon, body_canon) = signature.canon;
    let (hash, total) = body_hash(
        source,
        header.body_offset(),
        body_canon,
        signature.algorithm.digest(),
        signature.length,
    )?;
    if signature.length.is_some_and(|length| length > total) {
        return Err(Failure::Length);
    }
    if hash != signature.body_hash {
        return Err(Failure::Body);
    }
    let data = signed_data(header, &signature.headers, header_canon, &signature.field);
    if key.verify(signature.algorithm, &data, &signature.signature) {
        Ok(())
    } else {
        Err(Failure::Signature)
    }
}

/// What is signed: the named fields, of several with one name the lowest first, and the signature's own field without
/// its value and final line end (RFC 6376 §3.7, §5.4.2).
pub(super) fn signed_data(
    header: &HeaderBlock,
    names: &[Vec<u8>],
    canon: Canon,
    own: &[u8],
) -> Vec<u8> {
    let mut fields: HashMap<Vec<u8>, Vec<&[u8]>> = HashMap::new();
    for name in names {
        fields.entry(name.to_ascii_lowercase()).or_default();
    }
    for field in header.fields() {
        if let Some(list) = fields.get_mut(&field.name().to_ascii_lowercase()) {
            list.push(field.raw());
        }
    }
    let mut data = Vec::new();
    for name in names {
        let lowest = fields
            .get_mut(&name.to_ascii_lowercase())
            .and_then(Vec::pop);
        if let Some(raw) = lowest {
            canon.field(raw, &mut data);
        }
    }
    canon.field(&without_signature(own), &mut data);
    data.truncate(data.len().saturating_sub(2));
    data
}
