//! The check of a peer's certificate: the chain to a trusted authority, and the name if asked for.
//!
//! What is found is kept for the result of the delivery (RFC 8460 §4.3); whether it ends the handshake
//! is the mode's business. The signature of the handshake is checked in any case: without it a good
//! certificate would prove nothing.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::{TlsError, provider};

/// What a certificate has to prove.
#[derive(Clone, Debug)]
pub struct Check {
    /// Whom to trust.
    pub roots: Arc<RootCertStore>,
    /// The certificate must be for one of these names; empty: the chain alone counts.
    pub names: Vec<String>,
    /// Whether a bad certificate ends the handshake.
    pub enforce: bool,
}

/// What a check found, once there was one.
#[derive(Clone, Debug, Default)]
pub struct Finding(Arc<Mutex<Option<&'static str>>>);

impl Finding {
    /// The RFC 8460 result type of what is wrong, if something is.
    #[must_use]
    pub fn failure(&self) -> Option<&'static str> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Checks as a [`Check`] says.
#[derive(Debug)]
pub(super) struct Checker {
    chain: Arc<WebPkiServerVerifier>,
    names: Vec<ServerName<'static>>,
    enforce: bool,
    finding: Finding,
}

impl Checker {
    /// A checker, and where it writes what it found.
    pub(super) fn new(check: &Check) -> Result<(Checker, Finding), TlsError> {
        let builder = WebPkiServerVerifier::builder_with_provider(
            Arc::clone(&check.roots),
            Arc::clone(provider()),
        );
        let chain = builder
            .build()
            .map_err(|error| TlsError::Authorities(error.to_string()))?;
        // A name that no certificate can have is not matched by any.
        let names = check
            .names
            .iter()
            .filter_map(|name| ServerName::try_from(name.trim_end_matches('.').to_owned()).ok())
            .collect::<Vec<_>>();
        if names.is_empty() && !check.names.is_empty() {
            return Err(TlsError::Authorities(format!(
                "\"{}\" is no name of a host",
                check.names.join("\", \"")
            )));
        }
        let finding = Finding::default();
        let checker = Checker {
            chain,
            names,
            enforce: check.enforce,
            finding: finding.clone(),
        };
        Ok((checker, finding))
    }

    fn check(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        host: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), Error> {
        let verify = |name: &ServerName<'_>| {
            self.chain
                .verify_server_cert(end_entity, intermediates, name, &[], now)
                .map(drop)
        };
        if self.names.is_empty() {
            return match verify(host) {
                // The name is looked at last: the chain is good.
                Err(error) if is_name(&error) => Ok(()),
                other => other,
            };
        }
        let mut last = Ok(());
        for name in &self.names {
            last = verify(name);
            if !matches!(&last, Err(error) if is_name(error)) {
                break;
            }
        }
        last
    }
}

fn is_name(error: &Error) -> bool {
    matches!(
        error,
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }
        )
    )
}

/// RFC 8460 §4.3.
fn result_type(error: &Error) -> &'static str {
    match error {
        _ if is_name(error) => "certificate-host-mismatch",
        Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        ) => "certificate-expired",
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => "certificate-not-trusted",
        _ => "validation-failure",
    }
}

impl ServerCertVerifier for Checker {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if let Err(error) = self.check(end_entity, intermediates, server_name, now) {
            *self
                .finding
                .0
                .lock()
                .unwrap_or_else(PoisonError::into_inner) = Some(result_type(&error));
            if self.enforce {
                return Err(error);
            }
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let checked = self.chain.verify_tls12_signature(message, cert, dss);
        self.signature(checked)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let checked = self.chain.verify_tls13_signature(message, cert, dss);
        self.signature(checked)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

impl Checker {
    fn signature(
        &self,
        checked: Result<HandshakeSignatureValid, Error>,
    ) -> Result<HandshakeSignatureValid, Error> {
        match checked {
            Err(_) if !self.enforce => {
                self.finding
                    .0
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .get_or_insert("validation-failure");
                Ok(HandshakeSignatureValid::assertion())
            }
            other => other,
        }
    }
}
