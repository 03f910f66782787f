//! Our own certificate: the option `tls_client_cert` (stdlib.md, group X509PAIR).

use std::sync::Arc;

use angarium_mail::dkim::PrivateKey;
use angarium_mail::dkim::keys::RsaForm;
use angarium_runtime::convert::to_str;
use angarium_runtime::native::{Options, Throw};
use angarium_runtime::value::Value;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, SubjectPublicKeyInfoDer};
use rustls::sign::{CertifiedKey, Signer, SigningKey};
use rustls::{Error, InconsistentKeys, SignatureAlgorithm, SignatureScheme};

use super::provider;
use crate::keys::private_key;
use crate::network::Names;
use crate::x509;

/// Certificates that a pair may have besides its own.
const MOST_IN_CHAIN: usize = 32;

/// The certificate that the option `tls_client_cert` names or holds.
///
/// # Errors
/// An Exception for an id that is unknown and for a pair that cannot be used.
pub(crate) fn certificate(
    function: &str,
    options: &Options<'_>,
    names: &dyn Names,
) -> Result<Option<Arc<CertifiedKey>>, Throw> {
    let refuse = |why: String| Throw::error(format!("{function}: tls_client_cert: {why}"));
    let id = match options.get("tls_client_cert") {
        None => return Ok(None),
        Some(given @ Value::Array(_)) => return pair(&given).map(Some).map_err(refuse),
        Some(id) => to_str(&id).to_text().into_owned(),
    };
    let id = id.strip_prefix("pki:").unwrap_or(&id);
    match names.key_pair(id) {
        Some(Ok(pair)) => Ok(Some(pair)),
        Some(Err(why)) => Err(refuse(format!(
            "the key pair \"{id}\" cannot be used: {why}"
        ))),
        None => Err(refuse(format!("there is no key pair \"{id}\""))),
    }
}

/// The pair in an array of `x509`, `privatekey` and `chain`.
fn pair(given: &Value) -> Result<Arc<CertifiedKey>, String> {
    let get = |name: &str| given.as_array()?.get_str(name);
    let der = |name: &str, value: &Value| {
        let der = x509::der(value).ok_or_else(|| format!("{name}: an X509Resource is needed"))?;
        Ok::<_, String>(CertificateDer::from(der.to_vec()))
    };
    let mut certificates = vec![der("x509", &get("x509").unwrap_or_default())?];
    if let Some(chain) = get("chain").filter(|chain| !chain.is_none()) {
        let chain = chain.as_array().ok_or("chain: an array is needed")?;
        if chain.len() > MOST_IN_CHAIN {
            return Err(format!("chain: more than {MOST_IN_CHAIN} certificates"));
        }
        for certificate in chain.values() {
            certificates.push(der("chain", &certificate)?);
        }
    }
    let key = match get("privatekey") {
        Some(Value::Resource(resource)) => private_key(&resource),
        _ => None,
    };
    let key = key.ok_or("privatekey: a private key resource is needed")?;
    let pair = CertifiedKey::new(certificates, signing_key(key)?);
    match pair.keys_match() {
        Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(Arc::new(pair)),
        Err(Error::InconsistentKeys(_)) => {
            Err("the private key does not belong to the certificate".to_owned())
        }
        Err(error) => Err(error.to_string()),
    }
}

/// The key as rustls signs with it.
fn signing_key(key: Arc<PrivateKey>) -> Result<Arc<dyn SigningKey>, String> {
    let Some((der, form)) = key.rsa_der() else {
        return Ok(Arc::new(Ed25519(key)));
    };
    let der = match form {
        RsaForm::Pkcs1 => PrivateKeyDer::Pkcs1(der.to_vec().into()),
        RsaForm::Pkcs8 => PrivateKeyDer::Pkcs8(der.to_vec().into()),
    };
    let loaded = provider().key_provider.load_private_key(der);
    loaded.map_err(|_| "privatekey: TLS takes RSA keys from 2048 bits on".to_owned())
}

/// An Ed25519 key (RFC 8032), of which only the form that signs is kept.
#[derive(Debug)]
struct Ed25519(Arc<PrivateKey>);

impl SigningKey for Ed25519 {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let key = Arc::clone(&self.0);
        offered
            .contains(&SignatureScheme::ED25519)
            .then(|| Box::new(Ed25519(key)) as Box<dyn Signer>)
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        // RFC 8410 §4: the algorithm and no parameters, then 32 bytes.
        const HEAD: &[u8] = b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00";
        let public = self.0.ed25519_public()?;
        Some(SubjectPublicKeyInfoDer::from([HEAD, public].concat()))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ED25519
    }
}

impl Signer for Ed25519 {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let signed = self.0.sign_ed25519(message);
        signed.map_err(|error| Error::General(error.to_string()))
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ED25519
    }
}
