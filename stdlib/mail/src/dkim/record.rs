//! Key records: what the DNS says about a selector (RFC 6376 §3.6.1, RFC 8463 §4).

use super::keys::{KeyError, MIN_RSA_BITS, RsaPublic, verify_ed25519};
use super::signature::{Algorithm, Signature};
use super::tags::{TagError, TagList, base64, colons};

/// A public key that fits a signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublicKey {
    /// For rsa-sha256 and rsa-sha1.
    Rsa(RsaPublic),
    /// For ed25519-sha256: the 32 bytes.
    Ed25519(Vec<u8>),
}

/// Why a key record gives no key for a signature.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// It is no list of tags.
    #[error("bad key record: {0}")]
    Tags(#[from] TagError),
    /// It is a record of another version.
    #[error("the key record has another version")]
    Version,
    /// It has no `p=` tag.
    #[error("the key record has no key")]
    NoKey,
    /// Its `p=` tag is empty.
    #[error("the key is revoked")]
    Revoked,
    /// It is for another kind of key or hash.
    #[error("the key record is not for {0}")]
    Algorithm(&'static str),
    /// It is not for mail.
    #[error("the key is not for mail")]
    Service,
    /// It wants the identity in the domain itself.
    #[error("the key does not allow identities in subdomains")]
    Subdomain,
    /// The key cannot be read.
    #[error("bad key: {0}")]
    Key(#[from] KeyError),
    /// The key is too short to be trusted.
    #[error("the key has {0} bits, fewer than {MIN_RSA_BITS}")]
    Short(usize),
}

impl PublicKey {
    /// Takes the key for `signature` out of a TXT record.
    ///
    /// # Errors
    /// [`RecordError`]
    pub fn from_record(text: &[u8], signature: &Signature) -> Result<PublicKey, RecordError> {
        let key = Self::for_algorithm(text, signature.algorithm)?;
        let tags = TagList::parse(text)?;
        let flag = |name: &[u8]| {
            tags.get("t")
                .is_some_and(|flags| colons(flags).any(|flag| flag == name))
        };
        let subdomain = signature
            .identity_domain
            .as_ref()
            .is_some_and(|identity| *identity != signature.domain);
        if flag(b"s") && subdomain {
            return Err(RecordError::Subdomain);
        }
        Ok(key)
    }

    /// Takes the key for signatures of `algorithm` out of a TXT record.
    ///
    /// # Errors
    /// [`RecordError`]
    pub fn for_algorithm(text: &[u8], algorithm: Algorithm) -> Result<PublicKey, RecordError> {
        let tags = TagList::parse(text)?;
        if tags.get("v").is_some_and(|version| version != b"DKIM1") {
            return Err(RecordError::Version);
        }
        let (hash, kind) = algorithm.names();
        let refused = RecordError::Algorithm(algorithm.as_str());
        if !tags
            .get("k")
            .unwrap_or(b"rsa")
            .eq_ignore_ascii_case(kind.as_bytes())
        {
            return Err(refused);
        }
        let has = |value, names: &[&str]| {
            colons(value).any(|part| {
                names
                    .iter()
                    .any(|name| part.eq_ignore_ascii_case(name.as_bytes()))
            })
        };
        if tags.get("h").is_some_and(|hashes| !has(hashes, &[hash])) {
            return Err(refused);
        }
        if tags
            .get("s")
            .is_some_and(|kinds| !has(kinds, &["*", "email"]))
        {
            return Err(RecordError::Service);
        }
        let text = tags.get("p").ok_or(RecordError::NoKey)?;
        if text.is_empty() {
            return Err(RecordError::Revoked);
        }
        let der = base64(text).ok_or(KeyError::Form)?;
        if algorithm == Algorithm::Ed25519Sha256 {
            if der.len() != 32 {
                return Err(KeyError::NotEd25519.into());
            }
            return Ok(PublicKey::Ed25519(der));
        }
        let key = RsaPublic::from_der(&der)?;
        if key.bits() < MIN_RSA_BITS {
            return Err(RecordError::Short(key.bits()));
        }
        Ok(PublicKey::Rsa(key))
    }

    /// Whether `signature` was made of `data` with this key's other half.
    #[must_use]
    pub fn verify(&self, algorithm: Algorithm, data: &[u8], signature: &[u8]) -> bool {
        match self {
            PublicKey::Rsa(key) => key.verify(algorithm.hash(), data, signature),
            // RFC 8463 §3: Ed25519 signs the hash.
            PublicKey::Ed25519(key) => verify_ed25519(key, &algorithm.hash().of(data), signature),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::keys::tests::{ED25519_PUBLIC, RSA_1024_PUBLIC};
    use super::*;

    fn get(record: &str, algorithm: Algorithm) -> Result<PublicKey, RecordError> {
        PublicKey::for_algorithm(record.as_bytes(), algorithm)
    }

    #[test]
    fn a_record_is_for_the_kinds_of_signature_that_it_names() {
        use Algorithm::{Ed25519Sha256, RsaSha1, RsaSha256};
        let rsa = format!("p={RSA_1024_PUBLIC}");
        assert!(get(&rsa, RsaSha256).is_ok());
        assert!(get(&format!("v=DKIM1; k=RSA; {rsa}"), RsaSha256).is_ok());
        assert!(
            get(
                &format!("h=sha256:x; s=other:email; t=y:z; {rsa}"),
                RsaSha256
            )
            .is_ok()
        );
        assert!(get(&format!("s=*; g=*; n=note; {rsa}"), RsaSha1).is_ok());
        assert!(get(&format!("k=ed25519; p={ED25519_PUBLIC}"), Ed25519Sha256).is_ok());
        let refused = |record: String, algorithm: Algorithm| get(&record, algorithm).unwrap_err();
        let other = |algorithm: Algorithm| RecordError::Algorithm(algorithm.as_str());
        assert_eq!(refused(rsa.clone(), Ed25519Sha256), other(Ed25519Sha256));
        assert_eq!(
            refused(format!("k=ed25519; {rsa}"), RsaSha256),
            other(RsaSha256)
        );
        assert_eq!(refused(format!("h=sha256; {rsa}"), RsaSha1), other(RsaSha1));
        assert_eq!(
            refused(format!("s=tlsrpt; {rsa}"), RsaSha256),
            RecordError::Service
        );
        assert_eq!(
            refused(format!("v=DKIM2; {rsa}"), RsaSha256),
            RecordError::Version
        );
        assert_eq!(
            refused("v=DKIM1; p=".to_owned(), RsaSha256),
            RecordError::Revoked
        );
        assert_eq!(refused("v=DKIM1".to_owned(), RsaSha256), RecordError::NoKey);
        assert_eq!(
            refused(format!("k=ed25519; {rsa}"), Ed25519Sha256),
            RecordError::Key(KeyError::NotEd25519)
        );
    }

    #[test]
    fn a_short_key_is_not_trusted() {
        // 512 bits.
        let short = "p=MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAMZxDGVwdx7qYl7bUqtV0cZxG1xHhHkmR5Xq5pC5yuXJpyzFvDkW\
                     EMXbFVzEPBiFIyuZlCpnE8NqIlbq6t+wlWkCAwEAAQ==";
        assert_eq!(
            get(short, Algorithm::RsaSha256),
            Err(RecordError::Short(512))
        );
    }
}
