//! Certificates and keys from PEM text (RFC 7468), and a self-signed pair for trying things out.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::{TlsError, provider};

/// A certificate with its chain, and the private key.
#[derive(Clone, Debug)]
pub struct KeyPair(pub(super) Arc<CertifiedKey>);

impl KeyPair {
    /// The pair as rustls takes it.
    #[must_use]
    pub fn certified(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.0)
    }

    /// Reads both. `certificate` holds the server's own certificate first and then the rest of the
    /// chain, `key` a key in PKCS#8, PKCS#1 or SEC 1 form; other sections are passed over.
    ///
    /// # Errors
    /// [`TlsError`] when there is none, when it is malformed, or when the two do not belong together.
    pub fn from_pem(certificate: &[u8], key: &[u8]) -> Result<KeyPair, TlsError> {
        let chain = CertificateDer::pem_slice_iter(certificate)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| TlsError::Certificate(error.to_string()))?;
        if chain.is_empty() {
            let reason = "there is no section BEGIN CERTIFICATE";
            return Err(TlsError::Certificate(reason.to_owned()));
        }
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| {
            TlsError::Key(match error {
                rustls::pki_types::pem::Error::NoItemsFound => {
                    "there is no section BEGIN PRIVATE KEY, BEGIN RSA PRIVATE KEY or \
                     BEGIN EC PRIVATE KEY (a key with a pass phrase cannot be used)"
                        .to_owned()
                }
                error => error.to_string(),
            })
        })?;
        match CertifiedKey::from_der(chain, key, provider()) {
            Ok(pair) => Ok(KeyPair(Arc::new(pair))),
            Err(rustls::Error::InconsistentKeys(_)) => Err(TlsError::Mismatch),
            Err(rustls::Error::InvalidCertificate(error)) => {
                Err(TlsError::Certificate(format!("{error:?}")))
            }
            Err(error) => Err(TlsError::Key(error.to_string())),
        }
    }
}

/// A self-signed certificate and its key, as PEM text.
#[derive(Clone, Debug)]
pub struct SelfSigned {
    /// The certificate.
    pub certificate: String,
    /// The private key, PKCS#8.
    pub key: String,
}

/// Makes a self-signed certificate for these host names or addresses: for tests and `demo`.
///
/// # Errors
/// When a name cannot stand in a certificate.
pub fn self_signed(names: &[&str]) -> Result<SelfSigned, TlsError> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(names)
        .map_err(|error| TlsError::Certificate(error.to_string()))?;
    Ok(SelfSigned {
        certificate: made.cert.pem(),
        key: made.signing_key.serialize_pem(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_is_read_and_two_halves_of_different_pairs_are_refused() {
        let one = self_signed(&["mx.example"]).expect("a pair");
        let other = self_signed(&["mx.example"]).expect("a pair");
        let read = |certificate: &str, key: &str| {
            KeyPair::from_pem(certificate.as_bytes(), key.as_bytes())
                .map(|_| ())
                .map_err(|error| error.to_string())
        };
        assert_eq!(read(&one.certificate, &one.key), Ok(()));
        // One file with both, in either order.
        let both = format!("{}{}", one.key, one.certificate);
        assert_eq!(read(&both, &both), Ok(()));
        assert_eq!(
            read(&one.certificate, &other.key),
            Err("the private key does not belong to the certificate".to_owned())
        );
        assert_eq!(
            read(&one.key, &one.key),
            Err("the certificate cannot be read: there is no section BEGIN CERTIFICATE".to_owned())
        );
        let error = read(&one.certificate, "").expect_err("no key");
        assert!(error.contains("BEGIN PRIVATE KEY"), "{error}");
        assert!(read("-----BEGIN CERTIFICATE-----\n*\n", &one.key).is_err());
        let broken = one.certificate.replace('M', "N");
        assert!(read(&broken, &one.key).is_err());
    }
}
