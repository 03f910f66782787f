//! Certificates of clients: who is asked for one, and what is found out about it.
//!
//! That the client has the key of the certificate is proven in the handshake, or there is no session:
//! scripts may go by a certificate that no authority has signed. Whether somebody who is trusted has
//! signed it is told in OpenSSL's numbers, and ends the handshake only where it is required.

use std::net::IpAddr;
use std::sync::Arc;

use angarium_config::server::ClientCert;
use angarium_stdlib::x509;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore,
    SignatureScheme,
};

use super::{TlsError, provider, system_roots};

/// Whom to ask, and whom to trust.
#[derive(Clone, Debug)]
pub struct ClientCerts {
    /// Who is asked, and whether an answer is required.
    pub from: ClientCert,
    /// PEM text of the authorities that sign the clients' certificates; none: those that the system
    /// trusts.
    pub authorities: Option<Vec<u8>>,
}

/// Asks for certificates and looks at them.
#[derive(Debug)]
pub(super) struct Asker {
    from: ClientCert,
    /// None: nobody is trusted.
    chain: Option<Arc<dyn ClientCertVerifier>>,
    /// The authorities that were named. A client may show one of them, such as its own self-signed one.
    named: Vec<CertificateDer<'static>>,
    /// What a client who has several certificates chooses by.
    hints: Vec<DistinguishedName>,
}

impl Asker {
    pub(super) fn new(clients: &ClientCerts) -> Result<Asker, TlsError> {
        let refused = |reason: &dyn ToString| TlsError::Authorities(reason.to_string());
        let mut named = Vec::new();
        let roots = match &clients.authorities {
            None => system_roots(),
            Some(text) => {
                let mut roots = RootCertStore::empty();
                for certificate in CertificateDer::pem_slice_iter(text) {
                    let certificate = certificate.map_err(|error| refused(&error))?;
                    roots
                        .add(certificate.clone())
                        .map_err(|error| refused(&error))?;
                    named.push(certificate);
                }
                if roots.is_empty() {
                    return Err(refused(&"there is no section BEGIN CERTIFICATE"));
                }
                Arc::new(roots)
            }
        };
        let chain = if roots.is_empty() {
            None
        } else {
            let builder =
                WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider()));
            Some(builder.build().map_err(|error| refused(&error))?)
        };
        if clients.from.requires() && chain.is_none() {
            return Err(refused(
                &"this system trusts no authority; name those of the clients in tls.clientcert.ca",
            ));
        }
        // Hints keep clients from showing others, which is good only where others are refused. The
        // system's authorities would be a list of many kilobytes.
        let hints = match &chain {
            Some(chain) if clients.from.requires() && !named.is_empty() => {
                chain.root_hint_subjects().to_vec()
            }
            _ => Vec::new(),
        };
        Ok(Asker {
            from: clients.from.clone(),
            chain,
            named,
            hints,
        })
    }

    /// Whether a client at this address is asked.
    pub(super) fn asks(&self, client: IpAddr) -> bool {
        self.from.asks(client)
    }

    fn check(
        &self,
        own: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        if self.named.iter().any(|named| named == own) {
            return match x509::validity(own) {
                Some((from, _)) if now.as_secs() < from => {
                    Err(CertificateError::NotValidYet.into())
                }
                Some((_, to)) if now.as_secs() > to => Err(CertificateError::Expired.into()),
                Some(_) => Ok(()),
                None => Err(CertificateError::BadEncoding.into()),
            };
        }
        match &self.chain {
            Some(chain) => chain.verify_client_cert(own, rest, now).map(drop),
            None => Err(CertificateError::UnknownIssuer.into()),
        }
    }

    /// What is wrong with a certificate that was shown, with the rest of its chain behind it: a number
    /// of OpenSSL, 0 for nothing.
    pub(super) fn verdict(&self, chain: &[CertificateDer<'_>]) -> u32 {
        let Some((own, rest)) = chain.split_first() else {
            return 0;
        };
        match self.check(own, rest, UnixTime::now()) {
            Ok(()) => 0,
            Err(error) => number(&error, chain),
        }
    }
}

/// The number that OpenSSL has for what is wrong with a chain (`X509_V_ERR_…`).
fn number(error: &Error, chain: &[CertificateDer<'_>]) -> u32 {
    if let Error::InvalidCertificate(error) = error {
        match error {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => return 10,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                return 9;
            }
            CertificateError::BadSignature => return 7,
            CertificateError::Revoked => return 23,
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
                return 26;
            }
            CertificateError::UnhandledCriticalExtension => return 34,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                return 62;
            }
            _ => {}
        }
    }
    // It leads to nobody who is trusted; OpenSSL goes by where it ends.
    let own = chain.first().is_some_and(|own| x509::is_self_issued(own));
    match chain {
        _ if own => 18,
        [_, rest @ ..] if rest.iter().any(|one| x509::is_self_issued(one)) => 19,
        [_] => 21,
        _ => 20,
    }
}

impl ClientCertVerifier for Asker {
    fn client_auth_mandatory(&self) -> bool {
        self.from.requires()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if self.from.requires() {
            self.check(end_entity, intermediates, now)?;
        }
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &provider().signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &provider().signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}
