//! The check of a peer's certificate: the chain to a trusted authority (RFC 5280 §6), and the name (RFC 6125).
//!
//! What is found is kept for whoever reports it (RFC 8460 §4.3); whether it ends the handshake is the caller's wish. The
//! signature of the handshake is checked along with the certificate: without it a good certificate would prove nothing.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::{TlsError, provider};

/// What a certificate has to prove.
#[derive(Clone, Debug)]
pub struct Check {
    /// Whom to trust; none: the chain does not matter.
    pub roots: Option<Arc<RootCertStore>>,
    /// The certificate must be for one of these names; empty: any will do.
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

    fn note(&self, failure: &'static str) {
        let mut found = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        found.get_or_insert(failure);
    }
}

impl Check {
    /// A verifier for one connection, and where it writes what it found.
    ///
    /// # Errors
    /// [`TlsError::NoName`]
    pub fn verifier(&self) -> Result<(Arc<dyn ServerCertVerifier>, Finding), TlsError> {
        // A name that no certificate can have is not matched by any.
        let names: Vec<ServerName<'static>> = self
            .names
            .iter()
            .filter_map(|name| ServerName::try_from(name.trim_end_matches('.').to_owned()).ok())
            .collect();
        if names.is_empty() && !self.names.is_empty() {
            return Err(TlsError::NoName);
        }
        let finding = Finding::default();
        let verifier = Verifier {
            roots: self.roots.clone(),
            names,
            enforce: self.enforce,
            finding: finding.clone(),
        };
        Ok((Arc::new(verifier), finding))
    }
}

/// Checks as a [`Check`] says.
#[derive(Debug)]
struct Verifier {
    roots: Option<Arc<RootCertStore>>,
    names: Vec<ServerName<'static>>,
    enforce: bool,
    finding: Finding,
}

impl Verifier {
    /// Whether anything is asked of the certificate. If not, none is too bad: a peer that has to prove nothing may show
    /// what cannot even be read.
    fn checks(&self) -> bool {
        self.roots.is_some() || !self.names.is_empty()
    }

    fn check(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        let certificate = ParsedCertificate::try_from(end_entity)?;
        if let Some(roots) = &self.roots
            && !is_trusted_itself(end_entity, roots, now)
        {
            let algorithms = provider().signature_verification_algorithms.all;
            verify_server_cert_signed_by_trust_anchor(
                &certificate,
                roots,
                intermediates,
                now,
                algorithms,
            )?;
        }
        let is_for = |name: &ServerName<'_>| {
            verify_server_name(&certificate, name).is_ok() || common_name_is(end_entity, name)
        };
        if !self.names.is_empty() && !self.names.iter().any(is_for) {
            return Err(CertificateError::NotValidForName.into());
        }
        Ok(())
    }

    fn signature(
        &self,
        checked: Result<HandshakeSignatureValid, Error>,
    ) -> Result<HandshakeSignatureValid, Error> {
        match checked {
            Err(_) if !self.enforce => {
                self.finding.note("validation-failure");
                Ok(HandshakeSignatureValid::assertion())
            }
            other => other,
        }
    }
}

/// Whether the certificate is one of an authority in `roots` and in its time. A server that shows the certificate that it
/// signed itself and that is trusted as such is trusted; the search for a chain takes no authority as the end of one.
fn is_trusted_itself(
    certificate: &CertificateDer<'_>,
    roots: &RootCertStore,
    now: UnixTime,
) -> bool {
    let Ok(anchor) = webpki::anchor_from_trusted_cert(certificate) else {
        return false;
    };
    let known = roots.roots.iter().any(|root| {
        root.subject == anchor.subject
            && root.subject_public_key_info == anchor.subject_public_key_info
    });
    known && is_in_time(certificate, now)
}

/// Whether a certificate is valid now.
pub(crate) fn is_in_time(certificate: &[u8], now: UnixTime) -> bool {
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    X509Certificate::from_der(certificate).is_ok_and(|(_, certificate)| {
        let validity = certificate.validity();
        (validity.not_before.timestamp()..=validity.not_after.timestamp()).contains(&now)
    })
}

/// Whether the common name of a certificate is this host: only where the certificate has no other names of hosts
/// (RFC 6125 §6.4.4). A wildcard stands for one whole label.
fn common_name_is(certificate: &CertificateDer<'_>, name: &ServerName<'_>) -> bool {
    let ServerName::DnsName(host) = name else {
        return false;
    };
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else {
        return false;
    };
    let names_hosts = match certificate.subject_alternative_name() {
        Ok(Some(extension)) => extension
            .value
            .general_names
            .iter()
            .any(|name| matches!(name, GeneralName::DNSName(_))),
        Ok(None) => false,
        // What cannot be read says nothing for the certificate.
        Err(_) => true,
    };
    let common = certificate.subject().iter_common_name().last();
    let common = common.and_then(|common| common.as_str().ok());
    !names_hosts && common.is_some_and(|common| matches_host(common, host.as_ref()))
}

fn matches_host(pattern: &str, host: &str) -> bool {
    let below = pattern.strip_prefix("*.").filter(|rest| rest.contains('.'));
    match (below, host.split_once('.')) {
        (Some(rest), Some((_, domain))) => rest.eq_ignore_ascii_case(domain),
        _ => pattern.eq_ignore_ascii_case(host),
    }
}

/// RFC 8460 §4.3.
fn result_type(error: &Error) -> &'static str {
    match error {
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => "certificate-host-mismatch",
        Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        ) => "certificate-expired",
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => "certificate-not-trusted",
        _ => "validation-failure",
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.checks()
            && let Err(error) = self.check(end_entity, intermediates, now)
        {
            self.finding.note(result_type(&error));
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
        if !self.checks() {
            return Ok(HandshakeSignatureValid::assertion());
        }
        let algorithms = &provider().signature_verification_algorithms;
        self.signature(verify_tls12_signature(message, cert, dss, algorithms))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if !self.checks() {
            return Ok(HandshakeSignatureValid::assertion());
        }
        let algorithms = &provider().signature_verification_algorithms;
        self.signature(verify_tls13_signature(message, cert, dss, algorithms))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DnType, IsCa, KeyPair};

    fn made(common_name: &str, names: &[&str], authority: bool) -> CertificateDer<'static> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names");
        params
            .distinguished_name
            .push(DnType::CommonName, common_name);
        if authority {
            params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        }
        let key = KeyPair::generate().expect("a key");
        params
            .self_signed(&key)
            .expect("a certificate")
            .der()
            .clone()
    }

    fn verdict(check: Check, certificate: &CertificateDer<'_>) -> Option<&'static str> {
        let (verifier, finding) = check.verifier().expect("a verifier");
        let name = ServerName::try_from("unused.example").expect("a name");
        let result = verifier.verify_server_cert(certificate, &[], &name, &[], UnixTime::now());
        assert_eq!(
            result.is_err(),
            check.enforce && finding.failure().is_some()
        );
        finding.failure()
    }

    fn named(names: &[&str]) -> Check {
        Check {
            roots: None,
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            enforce: true,
        }
    }

    #[test]
    fn the_common_name_counts_only_where_no_other_name_of_a_host_stands() {
        const WRONG: Option<&str> = Some("certificate-host-mismatch");
        let alone = made("mx.example", &[], false);
        assert_eq!(verdict(named(&["MX.example"]), &alone), None);
        assert_eq!(verdict(named(&["other.example"]), &alone), WRONG);
        let wild = made("*.example.com", &[], false);
        assert_eq!(verdict(named(&["mx.example.com."]), &wild), None);
        assert_eq!(verdict(named(&["a.mx.example.com"]), &wild), WRONG);
        assert_eq!(verdict(named(&["example.com"]), &wild), WRONG);
        assert_eq!(
            verdict(named(&["x.com"]), &made("*.com", &[], false)),
            WRONG
        );
        let both = made("mx.example", &["www.example"], false);
        assert_eq!(verdict(named(&["www.example"]), &both), None);
        assert_eq!(verdict(named(&["mx.example"]), &both), WRONG);
        let address = made("mx.example", &["192.0.2.1"], false);
        assert_eq!(verdict(named(&["192.0.2.1"]), &address), None);
        assert_eq!(verdict(named(&["192.0.2.2", "mx.example"]), &address), None);
        assert!(named(&["no name"]).verifier().is_err());
        assert_eq!(verdict(named(&[]), &CertificateDer::from(&b"no"[..])), None);
    }

    #[test]
    fn a_certificate_that_is_trusted_itself_needs_no_chain() {
        let trusted = |certificates: &[&CertificateDer<'static>], enforce| {
            let mut roots = RootCertStore::empty();
            for certificate in certificates {
                roots.add((*certificate).clone()).expect("an authority");
            }
            Check {
                roots: Some(Arc::new(roots)),
                names: Vec::new(),
                enforce,
            }
        };
        let [authority, plain, other] = [true, false, true].map(|ca| made("mx.example", &[], ca));
        assert_eq!(verdict(trusted(&[&authority], true), &authority), None);
        assert_eq!(verdict(trusted(&[&plain], true), &plain), None);
        const WRONG: Option<&str> = Some("certificate-not-trusted");
        assert_eq!(verdict(trusted(&[], true), &plain), WRONG);
        assert_eq!(verdict(trusted(&[], false), &plain), WRONG);
        // The name of an authority is not its key.
        assert!(verdict(trusted(&[&other], true), &authority).is_some());
        assert!(!is_in_time(
            &plain,
            UnixTime::since_unix_epoch(std::time::Duration::MAX)
        ));
    }
}
