//! Private and public keys: RSA with PKCS#1 v1.5 signatures and Ed25519 (RFC 8017 §8.2, RFC 8032).
//!
//! RSA of 2048 bits and more with SHA-256 or SHA-512 and Ed25519 are ring's. ring has neither shorter RSA keys, of which
//! there are many in use, nor SHA-1 and MD5 for signing: those go to the crate `rsa`
//! (docs/decisions/0040-mail-authentication.md).

use std::sync::OnceLock;

use md5::Digest as _;
use ring::digest;
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::signature::{
    self, Ed25519KeyPair, KeyPair as _, RsaKeyPair, RsaPublicKeyComponents, UnparsedPublicKey,
};
use rsa::pkcs1::DecodeRsaPrivateKey as _;
use rsa::pkcs8::DecodePrivateKey as _;
use rsa::{Pkcs1v15Sign, RsaPrivateKey};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject as _;

use super::der;

/// The shortest RSA key that a signature is taken from (RFC 8301 §3.2).
pub const MIN_RSA_BITS: usize = 1024;

/// A hash function of RSA signatures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the functions")]
pub enum Hash {
    Md5,
    Sha1,
    Sha256,
    Sha512,
}

impl Hash {
    /// The function with this name: md5, sha1, sha256 or sha512.
    #[must_use]
    pub fn from_name(name: &[u8]) -> Option<Hash> {
        Some(match name {
            b"md5" => Hash::Md5,
            b"sha1" => Hash::Sha1,
            b"sha256" => Hash::Sha256,
            b"sha512" => Hash::Sha512,
            _ => return None,
        })
    }

    /// The hash of `message`.
    #[must_use]
    pub fn of(self, message: &[u8]) -> Vec<u8> {
        let algorithm = match self {
            Hash::Md5 => return md5::Md5::digest(message).to_vec(),
            Hash::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            Hash::Sha256 => &digest::SHA256,
            Hash::Sha512 => &digest::SHA512,
        };
        digest::digest(algorithm, message).as_ref().to_vec()
    }

    /// What stands before the hash in the signed block: the DER of DigestInfo (RFC 8017 §9.2, note 1).
    fn prefix(self) -> &'static [u8] {
        match self {
            Hash::Md5 => {
                b"\x30\x20\x30\x0c\x06\x08\x2a\x86\x48\x86\xf7\x0d\x02\x05\x05\x00\x04\x10"
            }
            Hash::Sha1 => b"\x30\x21\x30\x09\x06\x05\x2b\x0e\x03\x02\x1a\x05\x00\x04\x14",
            Hash::Sha256 => {
                b"\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20"
            }
            Hash::Sha512 => {
                b"\x30\x51\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x03\x05\x00\x04\x40"
            }
        }
    }

    /// How `rsa` pads a hash of this function.
    fn padding(self) -> Pkcs1v15Sign {
        let prefix = self.prefix();
        Pkcs1v15Sign {
            // The last byte of the prefix is the length of the hash.
            hash_len: prefix.last().map(|&length| usize::from(length)),
            prefix: prefix.into(),
        }
    }
}

/// Why a key cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// It is in none of the known forms.
    #[error("the key is neither PEM (PKCS#1 or PKCS#8) nor an Ed25519 seed")]
    Form,
    /// It is a key of another kind.
    #[error("the key is no RSA key")]
    NotRsa,
    /// It is a key of another kind.
    #[error("the key is no Ed25519 key")]
    NotEd25519,
    /// Its parts do not fit together, or its length is beyond what can be computed with.
    #[error("the key is damaged or of a length that is not supported")]
    Damaged,
    /// It cannot make such a signature.
    #[error("no signature can be made with the key")]
    Signing,
}

/// An RSA private key.
pub struct RsaKey {
    /// ring's form, of keys from 2048 bits on.
    quick: Option<RsaKeyPair>,
    /// The form for shorter keys and older hashes; made when it is needed.
    plain: OnceLock<Option<RsaPrivateKey>>,
    der: Vec<u8>,
    form: RsaForm,
}

/// The form of an RSA private key's DER.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RsaForm {
    /// `RSAPrivateKey` (RFC 8017 §A.1.2).
    Pkcs1,
    /// `PrivateKeyInfo` (RFC 5208 §5).
    Pkcs8,
}

impl RsaKey {
    /// Reads a key.
    ///
    /// # Errors
    /// [`KeyError::Damaged`]
    pub fn from_der(der: &[u8], form: RsaForm) -> Result<RsaKey, KeyError> {
        let quick = match form {
            RsaForm::Pkcs1 => RsaKeyPair::from_der(der),
            RsaForm::Pkcs8 => RsaKeyPair::from_pkcs8(der),
        };
        let key = RsaKey {
            quick: quick.ok(),
            plain: OnceLock::new(),
            der: der.to_vec(),
            form,
        };
        if key.quick.is_none() && key.plain().is_none() {
            return Err(KeyError::Damaged);
        }
        Ok(key)
    }

    fn plain(&self) -> Option<&RsaPrivateKey> {
        let make = || match self.form {
            RsaForm::Pkcs1 => RsaPrivateKey::from_pkcs1_der(&self.der).ok(),
            RsaForm::Pkcs8 => RsaPrivateKey::from_pkcs8_der(&self.der).ok(),
        };
        self.plain.get_or_init(make).as_ref()
    }

    /// Signs the hash of `message`. The signature is the same each time.
    ///
    /// # Errors
    /// [`KeyError::Signing`] when the key is too short for the hash.
    pub fn sign(&self, hash: Hash, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let padding: Option<&'static dyn signature::RsaEncoding> = match hash {
            Hash::Sha256 => Some(&signature::RSA_PKCS1_SHA256),
            Hash::Sha512 => Some(&signature::RSA_PKCS1_SHA512),
            Hash::Md5 | Hash::Sha1 => None,
        };
        if let (Some(key), Some(padding)) = (&self.quick, padding) {
            let mut signature = vec![0; key.public().modulus_len()];
            key.sign(padding, &SystemRandom::new(), message, &mut signature)
                .map_err(|_| KeyError::Signing)?;
            return Ok(signature);
        }
        let plain = self.plain().ok_or(KeyError::Signing)?;
        plain
            .sign_with_rng(&mut Blinding, hash.padding(), &hash.of(message))
            .map_err(|_| KeyError::Signing)
    }
}

/// Random numbers that hide the key from who measures times. They do not show in the signature, so that no seed has to
/// bring them back.
struct Blinding;

impl rsa::rand_core::RngCore for Blinding {
    fn next_u32(&mut self) -> u32 {
        let mut bytes = [0; 4];
        self.fill_bytes(&mut bytes);
        u32::from_le_bytes(bytes)
    }

    fn next_u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.fill_bytes(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        // It fails on no system that has booted. Where it does, signing goes on without blinding.
        if SystemRandom::new().fill(bytes).is_err() {
            bytes.fill(1);
        }
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), rsa::rand_core::Error> {
        self.fill_bytes(bytes);
        Ok(())
    }
}

impl rsa::rand_core::CryptoRng for Blinding {}

/// A private key that mail is signed with.
pub enum PrivateKey {
    /// For rsa-sha256 and rsa-sha1.
    Rsa(Box<RsaKey>),
    /// For ed25519-sha256.
    Ed25519(Box<Ed25519KeyPair>),
}

impl std::fmt::Debug for PrivateKey {
    // The key must not reach a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            PrivateKey::Rsa(_) => "PrivateKey::Rsa",
            PrivateKey::Ed25519(_) => "PrivateKey::Ed25519",
        })
    }
}

impl PrivateKey {
    /// Reads a key from PEM text, or an Ed25519 seed from its 32 bytes or their base64.
    ///
    /// # Errors
    /// [`KeyError`]
    pub fn parse(text: &[u8]) -> Result<PrivateKey, KeyError> {
        if memchr::memmem::find(text, b"-----BEGIN").is_some() {
            return Self::from_pem(text);
        }
        if let Ok(key) = Self::from_seed(text) {
            return Ok(key);
        }
        let decoded = super::tags::base64(text).ok_or(KeyError::Form)?;
        Self::from_seed(&decoded).map_err(|_| KeyError::Form)
    }

    /// Reads a key from PEM text: PKCS#1 or PKCS#8.
    ///
    /// # Errors
    /// [`KeyError`]
    pub fn from_pem(text: &[u8]) -> Result<PrivateKey, KeyError> {
        match PrivateKeyDer::from_pem_slice(text).map_err(|_| KeyError::Form)? {
            PrivateKeyDer::Pkcs1(der) => {
                let key = RsaKey::from_der(der.secret_pkcs1_der(), RsaForm::Pkcs1)?;
                Ok(PrivateKey::Rsa(Box::new(key)))
            }
            PrivateKeyDer::Pkcs8(der) => Self::from_pkcs8(der.secret_pkcs8_der()),
            _ => Err(KeyError::Form),
        }
    }

    /// Reads the DER of a PKCS#8 key.
    ///
    /// # Errors
    /// [`KeyError`]
    pub fn from_pkcs8(der: &[u8]) -> Result<PrivateKey, KeyError> {
        if let Ok(key) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der) {
            return Ok(PrivateKey::Ed25519(Box::new(key)));
        }
        let key = RsaKey::from_der(der, RsaForm::Pkcs8)?;
        Ok(PrivateKey::Rsa(Box::new(key)))
    }

    /// An Ed25519 key of its seed of 32 bytes, or of seed and public key in 64.
    ///
    /// # Errors
    /// [`KeyError::NotEd25519`]
    pub fn from_seed(seed: &[u8]) -> Result<PrivateKey, KeyError> {
        let key = match seed.len() {
            32 => Ed25519KeyPair::from_seed_unchecked(seed),
            64 => {
                let (seed, public) = seed.split_at(32);
                Ed25519KeyPair::from_seed_and_public_key(seed, public)
            }
            _ => return Err(KeyError::NotEd25519),
        };
        let key = key.map_err(|_| KeyError::NotEd25519)?;
        Ok(PrivateKey::Ed25519(Box::new(key)))
    }

    /// Signs the hash of `message` with an RSA key.
    ///
    /// # Errors
    /// [`KeyError`]
    pub fn sign_rsa(&self, hash: Hash, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        match self {
            PrivateKey::Rsa(key) => key.sign(hash, message),
            PrivateKey::Ed25519(_) => Err(KeyError::NotRsa),
        }
    }

    /// Signs `message` itself with an Ed25519 key.
    ///
    /// # Errors
    /// [`KeyError`]
    pub fn sign_ed25519(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        match self {
            PrivateKey::Ed25519(key) => Ok(key.sign(message).as_ref().to_vec()),
            PrivateKey::Rsa(_) => Err(KeyError::NotEd25519),
        }
    }

    /// The algorithm that the key is for.
    #[must_use]
    pub fn algorithm(&self) -> super::Algorithm {
        match self {
            PrivateKey::Rsa(_) => super::Algorithm::RsaSha256,
            PrivateKey::Ed25519(_) => super::Algorithm::Ed25519Sha256,
        }
    }

    /// Whether a signature takes milliseconds: RSA of more than 2048 bits.
    #[must_use]
    pub fn is_slow(&self) -> bool {
        match self {
            PrivateKey::Rsa(key) => key
                .quick
                .as_ref()
                .is_some_and(|key| key.public().modulus_len() > 256),
            PrivateKey::Ed25519(_) => false,
        }
    }

    /// The DER of an RSA key and its form.
    #[must_use]
    pub fn rsa_der(&self) -> Option<(&[u8], RsaForm)> {
        match self {
            PrivateKey::Rsa(key) => Some((&key.der, key.form)),
            PrivateKey::Ed25519(_) => None,
        }
    }

    /// The public key of an Ed25519 key.
    #[must_use]
    pub fn ed25519_public(&self) -> Option<&[u8]> {
        match self {
            PrivateKey::Ed25519(key) => Some(key.public_key().as_ref()),
            PrivateKey::Rsa(_) => None,
        }
    }
}

/// The public half of an RSA key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RsaPublic {
    modulus: Vec<u8>,
    exponent: Vec<u8>,
}

impl RsaPublic {
    /// Reads the DER of an `RSAPublicKey`, or of a `SubjectPublicKeyInfo` around one: key records hold either.
    ///
    /// # Errors
    /// [`KeyError::NotRsa`] for a key of another kind, else [`KeyError::Damaged`].
    pub fn from_der(der: &[u8]) -> Result<RsaPublic, KeyError> {
        let inner = match der::rsa_in_spki(der) {
            der::Spki::Rsa(inner) => inner,
            der::Spki::Other => return Err(KeyError::NotRsa),
            der::Spki::None => der,
        };
        let (modulus, exponent) = der::two_integers(inner).ok_or(KeyError::Damaged)?;
        Ok(RsaPublic {
            modulus: modulus.to_vec(),
            exponent: exponent.to_vec(),
        })
    }

    /// The length of the modulus in bits.
    #[must_use]
    pub fn bits(&self) -> usize {
        let first = self.modulus.first().map_or(8, |byte| byte.leading_zeros());
        (self.modulus.len() * 8).saturating_sub(first as usize)
    }

    /// Whether `signature` is one of `message`. Keys of 1024 to 8192 bits can be checked with.
    #[must_use]
    pub fn verify(&self, hash: Hash, message: &[u8], signature: &[u8]) -> bool {
        let key = RsaPublicKeyComponents {
            n: &self.modulus,
            e: &self.exponent,
        };
        let quick = match hash {
            Hash::Sha1 => &signature::RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY,
            Hash::Sha256 => &signature::RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY,
            Hash::Sha512 => &signature::RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY,
            Hash::Md5 => return self.verify_md5(message, signature),
        };
        key.verify(quick, message, signature).is_ok()
    }

    /// ring has no MD5.
    fn verify_md5(&self, message: &[u8], signature: &[u8]) -> bool {
        let number = rsa::BigUint::from_bytes_be;
        rsa::RsaPublicKey::new(number(&self.modulus), number(&self.exponent)).is_ok_and(|key| {
            let hashed = Hash::Md5.of(message);
            key.verify(Hash::Md5.padding(), &hashed, signature).is_ok()
        })
    }
}

/// Whether `signature` is an Ed25519 signature of `message`.
#[must_use]
pub fn verify_ed25519(public: &[u8], message: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&signature::ED25519, public)
        .verify(message, signature)
        .is_ok()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A key of 1024 bits made for these tests.
    pub(crate) const RSA_1024: &str = include_str!("testdata/rsa1024.pem");
    /// A key of 2048 bits in PKCS#8.
    pub(crate) const RSA_2048: &str = include_str!("testdata/rsa2048.pem");
    /// The public halves, base64 of SubjectPublicKeyInfo.
    pub(crate) const RSA_1024_PUBLIC: &str = include_str!("testdata/rsa1024.pub");
    pub(crate) const RSA_2048_PUBLIC: &str = include_str!("testdata/rsa2048.pub");
    /// RFC 8463 §A.2: secret key and public key.
    pub(crate) const ED25519: &str = "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=";
    pub(crate) const ED25519_PUBLIC: &str = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";

    fn public(text: &str) -> RsaPublic {
        RsaPublic::from_der(&super::super::tags::base64(text.as_bytes()).unwrap()).unwrap()
    }

    #[test]
    fn signatures_of_every_hash_and_length_verify_and_others_do_not() {
        for (private, public_text, bits) in [
            (RSA_1024, RSA_1024_PUBLIC, 1024),
            (RSA_2048, RSA_2048_PUBLIC, 2048),
        ] {
            let key = PrivateKey::parse(private.as_bytes()).unwrap();
            let public = public(public_text);
            assert_eq!(public.bits(), bits);
            for hash in [Hash::Md5, Hash::Sha1, Hash::Sha256, Hash::Sha512] {
                let signature = key.sign_rsa(hash, b"text").unwrap();
                assert!(public.verify(hash, b"text", &signature), "{hash:?} {bits}");
                assert!(!public.verify(hash, b"texT", &signature));
                assert!(!public.verify(hash, b"text", b""));
                assert!(!public.verify(hash, b"text", &[0; 128]));
                assert_eq!(signature, key.sign_rsa(hash, b"text").unwrap());
            }
        }
    }

    #[test]
    fn the_ed25519_key_of_the_rfc_has_the_public_key_of_the_rfc() {
        let key = PrivateKey::parse(ED25519.as_bytes()).unwrap();
        let public = super::super::tags::base64(ED25519_PUBLIC.as_bytes()).unwrap();
        assert_eq!(key.ed25519_public().unwrap(), public);
        let signature = key.sign_ed25519(b"text").unwrap();
        assert!(verify_ed25519(&public, b"text", &signature));
        assert!(!verify_ed25519(&public, b"Text", &signature));
        assert!(!verify_ed25519(b"", b"text", &signature));
        assert_eq!(key.sign_rsa(Hash::Sha256, b""), Err(KeyError::NotRsa));
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for text in [
            "",
            "x",
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        ] {
            assert!(PrivateKey::parse(text.as_bytes()).is_err(), "{text}");
        }
        let cut = RSA_2048.replacen("MII", "MIJ", 1);
        assert!(PrivateKey::parse(cut.as_bytes()).is_err());
        for der in [&b""[..], b"\x30", b"\x30\x80", b"\x30\x84\xff\xff\xff\xff"] {
            assert!(RsaPublic::from_der(der).is_err());
        }
    }
}
