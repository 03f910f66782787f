//! TLS towards a server as the transport, the destination and the script have it.

use std::fmt::Write as _;
use std::sync::Arc;

use angarium_stdlib::tls::{TlsError, TlsOptions};
use rustls::RootCertStore;
use rustls::sign::CertifiedKey;

use crate::hooks::queue::{Sni, TlsMode};
use crate::tls::{Check, ClientTls, Finding, system_roots};

/// TLS towards the peer.
#[derive(Clone, Debug)]
pub struct TlsSettings {
    /// Whether it is used.
    pub mode: TlsMode,
    /// From the first byte.
    pub implicit: bool,
    /// The name for SNI.
    pub sni: Sni,
    /// The versions, as a list of OpenSSL's; none: all that exist here.
    pub protocols: Option<String>,
    /// The ciphers, as a list of OpenSSL's; none: all that exist here.
    pub ciphers: Option<String>,
    /// In the verifying modes: the certificate must be for the host connected to.
    pub verify_host: bool,
    /// In the verifying modes: the certificate must be for one of these names.
    pub verify_names: Vec<String>,
    /// The system's certificate authorities are trusted.
    pub default_ca: bool,
    /// Our own certificate.
    pub certificate: Option<Arc<CertifiedKey>>,
}

impl Default for TlsSettings {
    fn default() -> Self {
        TlsSettings {
            mode: TlsMode::Disabled,
            implicit: false,
            sni: Sni::Off,
            protocols: None,
            ciphers: None,
            verify_host: false,
            verify_names: Vec::new(),
            default_ca: true,
            certificate: None,
        }
    }
}

impl TlsSettings {
    /// Whether versions, ciphers and our certificate are those that most transports have.
    pub(super) fn is_usual(&self) -> bool {
        self.protocols.is_none() && self.ciphers.is_none() && self.certificate.is_none()
    }

    /// TLS in this mode with a host, if it comes to that; and where it is noted what is wrong with its certificate.
    /// `authorities` are trusted instead of the system's. In the mode `optional_verify` a bad certificate ends the
    /// handshake if `strict`, and is only noted otherwise.
    ///
    /// # Errors
    /// What is asked for cannot be had.
    pub(super) fn with(
        &self,
        mode: TlsMode,
        host: &str,
        authorities: Option<&Arc<RootCertStore>>,
        strict: bool,
    ) -> Result<Option<(ClientTls, Finding)>, TlsError> {
        let check = match mode {
            TlsMode::Disabled => return Ok(None),
            TlsMode::Optional | TlsMode::Require => Check {
                roots: None,
                names: Vec::new(),
                enforce: false,
            },
            TlsMode::OptionalVerify => self.check(host, authorities, strict),
            TlsMode::RequireVerify => self.check(host, authorities, true),
        };
        let options = TlsOptions {
            protocols: self.protocols.clone(),
            ciphers: self.ciphers.clone(),
            certificate: self.certificate.clone(),
            ..TlsOptions::default()
        };
        let (config, finding) = options.checked(self.sni != Sni::Off, &check)?;
        Ok(Some((ClientTls::from_config(config), finding)))
    }

    fn check(&self, host: &str, authorities: Option<&Arc<RootCertStore>>, enforce: bool) -> Check {
        Check {
            roots: Some(match authorities {
                _ if !self.default_ca => Arc::new(RootCertStore::empty()),
                Some(authorities) => Arc::clone(authorities),
                None => system_roots(),
            }),
            names: match (&self.verify_names[..], self.verify_host) {
                ([], true) => vec![host.to_owned()],
                (names, _) => names.to_vec(),
            },
            enforce,
        }
    }

    /// The name that a host is asked for by SNI.
    pub(super) fn server_name<'a>(&'a self, host: &'a str) -> &'a str {
        match &self.sni {
            Sni::Name(name) => name,
            Sni::Host | Sni::Off => host,
        }
    }

    /// What sessions have to have in common to be shared.
    pub(super) fn fingerprint(&self) -> String {
        let TlsSettings {
            mode,
            implicit,
            sni,
            protocols,
            ciphers,
            verify_host,
            verify_names,
            default_ca,
            certificate,
        } = self;
        let mut text = format!(
            "{mode:?} {implicit} {sni:?} {protocols:?} {ciphers:?} {verify_host} {verify_names:?} {default_ca}"
        );
        // A certificate has one key, whose owner we are.
        for byte in certificate
            .iter()
            .flat_map(|own| own.end_entity_cert())
            .flat_map(|cert| cert.iter())
        {
            let _ = write!(text, "{byte:02x}");
        }
        text
    }
}
