//! TLS towards peers that a script chooses: what its options say, as rustls takes it.
//!
//! The chain of a certificate and its name are checked apart, as scripts ask for one, both or none.

mod pair;
pub(crate) mod verify;

use std::sync::{Arc, OnceLock};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::ServerName;
use rustls::server::WebPkiClientVerifier;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    CipherSuite, ClientConfig, Error, RootCertStore, ServerConfig, SupportedProtocolVersion,
};

pub(crate) use pair::certificate;
pub use verify::{Check, Finding};

/// Why TLS cannot be set up as asked: a sentence for the log.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// No version is left.
    #[error("tls_protocols leaves no version of TLS that exists here (TLSv1.2 and TLSv1.3)")]
    NoVersion,
    /// No cipher is left.
    #[error("tls_ciphers leaves no cipher that exists here")]
    NoCipher,
    /// No name is one.
    #[error("none of the names to verify is the name of a host")]
    NoName,
    /// A server without a certificate.
    #[error("a server needs a certificate: tls_client_cert")]
    NoCertificate,
    /// Clients cannot be checked.
    #[error("certificates of clients cannot be checked: {0}")]
    Clients(String),
    /// What rustls refuses.
    #[error(transparent)]
    Rustls(#[from] Error),
}

/// What the options say.
#[derive(Clone, Default)]
pub struct TlsOptions {
    /// Versions, as OpenSSL's list has them.
    pub protocols: Option<String>,
    /// Ciphers, as OpenSSL's list has them.
    pub ciphers: Option<String>,
    /// Whether the chain is checked.
    pub verify_chain: bool,
    /// Whether the system's authorities are trusted.
    pub system_roots: bool,
    /// The names of which the certificate must have one; none: any name will do.
    pub names: Option<Vec<String>>,
    /// Our own certificate.
    pub certificate: Option<Arc<CertifiedKey>>,
}

/// The one provider of cryptography.
#[must_use]
pub fn provider() -> &'static Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    PROVIDER.get_or_init(|| Arc::new(rustls::crypto::ring::default_provider()))
}

/// The authorities that the system trusts, read once.
#[must_use]
pub fn system_roots() -> Arc<RootCertStore> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    let read = || {
        let mut roots = RootCertStore::empty();
        // Files that cannot be read leave the store smaller; a check then says what it misses.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Arc::new(roots)
    };
    Arc::clone(ROOTS.get_or_init(read))
}

impl TlsOptions {
    fn versions(&self) -> Result<Vec<&'static SupportedProtocolVersion>, TlsError> {
        let written = self.protocols.as_deref().unwrap_or_default();
        let (tls12, tls13) = versions(written);
        let mut list = Vec::new();
        if tls13 {
            list.push(&rustls::version::TLS13);
        }
        if tls12 {
            list.push(&rustls::version::TLS12);
        }
        if list.is_empty() {
            return Err(TlsError::NoVersion);
        }
        Ok(list)
    }

    fn provider(&self) -> Result<Arc<CryptoProvider>, TlsError> {
        let Some(written) = self
            .ciphers
            .as_deref()
            .filter(|list| !list.trim().is_empty())
        else {
            return Ok(Arc::clone(provider()));
        };
        let mut own = (**provider()).clone();
        let wanted = Ciphers::parse(written);
        own.cipher_suites
            .retain(|suite| wanted.has(openssl_name(suite.suite())));
        if own.cipher_suites.is_empty() {
            return Err(TlsError::NoCipher);
        }
        Ok(Arc::new(own))
    }

    fn roots(&self) -> Arc<RootCertStore> {
        if self.system_roots {
            system_roots()
        } else {
            Arc::new(RootCertStore::empty())
        }
    }

    /// The client's side; `sni` says whether the peer is told the name. A certificate that fails the checks ends the
    /// handshake.
    ///
    /// # Errors
    /// What cannot be had.
    pub fn client(&self, sni: bool) -> Result<Arc<ClientConfig>, TlsError> {
        let check = Check {
            roots: self.verify_chain.then(|| self.roots()),
            names: match &self.names {
                None => Vec::new(),
                Some(names) if names.is_empty() => return Err(TlsError::NoName),
                Some(names) => names.clone(),
            },
            enforce: true,
        };
        Ok(self.checked(sni, &check)?.0)
    }

    /// The same with a check of the caller's, for one connection: what is found is in the [`Finding`].
    ///
    /// # Errors
    /// What cannot be had.
    pub fn checked(
        &self,
        sni: bool,
        check: &Check,
    ) -> Result<(Arc<ClientConfig>, Finding), TlsError> {
        let (verifier, finding) = check.verifier()?;
        let builder = ClientConfig::builder_with_provider(self.provider()?)
            .with_protocol_versions(&self.versions()?)?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match &self.certificate {
            Some(pair) => builder
                .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(pair)))),
            None => builder.with_no_client_auth(),
        };
        config.enable_sni = sni;
        Ok((Arc::new(config), finding))
    }

    /// The server's side.
    ///
    /// # Errors
    /// What cannot be had.
    pub fn server(&self) -> Result<Arc<ServerConfig>, TlsError> {
        let pair = self.certificate.as_ref().ok_or(TlsError::NoCertificate)?;
        let provider = self.provider()?;
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&self.versions()?)?;
        let builder = if self.verify_chain {
            let clients = WebPkiClientVerifier::builder_with_provider(self.roots(), provider)
                .build()
                .map_err(|error| TlsError::Clients(error.to_string()))?;
            builder.with_client_cert_verifier(clients)
        } else {
            builder.with_no_client_auth()
        };
        let resolver = SingleCertAndKey::from(Arc::clone(pair));
        Ok(Arc::new(builder.with_cert_resolver(Arc::new(resolver))))
    }
}

/// A name for the handshake; one that certificates cannot have becomes one that nobody has.
pub(crate) fn server_name(host: &str) -> ServerName<'static> {
    let host = host.trim_end_matches('.').to_owned();
    ServerName::try_from(host).unwrap_or_else(|_| ServerName::from(std::net::IpAddr::from([0; 4])))
}

/// Whether a list such as `!SSLv2,!TLSv1.2` leaves TLS 1.2 and 1.3. One that names what it wants starts from nothing, one
/// that only excludes from all. Versions that do not exist here are passed over.
fn versions(written: &str) -> (bool, bool) {
    let items = || {
        written
            .split([',', ' ', ':'])
            .filter(|item| !item.is_empty())
    };
    let from_all = items().all(|item| item.starts_with('!'));
    let (mut tls12, mut tls13) = (from_all, from_all);
    for item in items() {
        let (wanted, name) = match item.strip_prefix('!') {
            Some(name) => (false, name),
            None => (true, item),
        };
        match name.to_ascii_lowercase().as_str() {
            "tlsv1.2" => tls12 = wanted,
            "tlsv1.3" => tls13 = wanted,
            _ => {}
        }
    }
    (tls12, tls13)
}

/// A cipher list in OpenSSL's words, as far as they name what exists here.
struct Ciphers {
    wanted: Vec<String>,
    unwanted: Vec<String>,
    all: bool,
}

impl Ciphers {
    fn parse(written: &str) -> Ciphers {
        let mut list = Ciphers {
            wanted: Vec::new(),
            unwanted: Vec::new(),
            all: false,
        };
        for item in written.split([':', ',', ' ', ';']) {
            match item.as_bytes().first() {
                None | Some(b'@' | b'+') => {}
                Some(b'!' | b'-') => list
                    .unwanted
                    .push(item.get(1..).unwrap_or_default().to_ascii_uppercase()),
                Some(_) => match item.to_ascii_uppercase().as_str() {
                    // Everything that exists here is high by OpenSSL's count.
                    "ALL" | "DEFAULT" | "HIGH" | "SECURE" | "TLSV1.2" => list.all = true,
                    name => list.wanted.push(name.to_owned()),
                },
            }
        }
        list
    }

    fn has(&self, name: &str) -> bool {
        let fits = |list: &[String]| {
            list.iter().any(|item| {
                // `ECDHE+AESGCM`: all of these.
                item.split('+').all(|part| {
                    name == part || name.split(['-', '_']).any(|word| word == part) || {
                        match part {
                            "AESGCM" => name.contains("AES") && name.contains("GCM"),
                            "AES" => name.contains("AES"),
                            "EECDH" | "KEECDHE" => name.starts_with("ECDHE"),
                            "ARSA" => name.contains("RSA"),
                            "AECDSA" => name.contains("ECDSA"),
                            _ => false,
                        }
                    }
                })
            })
        };
        // The suites of TLS 1.3 have a list of their own in OpenSSL: they stay unless one of them is named.
        let of_13 = name.starts_with("TLS_");
        let names_13 = self.wanted.iter().any(|item| item.starts_with("TLS_"));
        let wanted = self.all || fits(&self.wanted) || (of_13 && !names_13);
        wanted && !fits(&self.unwanted)
    }
}

/// OpenSSL's name of a cipher suite.
fn openssl_name(suite: CipherSuite) -> &'static str {
    match suite {
        CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 => "ECDHE-ECDSA-AES256-GCM-SHA384",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 => "ECDHE-ECDSA-AES128-GCM-SHA256",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 => {
            "ECDHE-ECDSA-CHACHA20-POLY1305"
        }
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 => "ECDHE-RSA-AES256-GCM-SHA384",
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => "ECDHE-RSA-AES128-GCM-SHA256",
        CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 => "ECDHE-RSA-CHACHA20-POLY1305",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_versions_are_those_of_openssl() {
        for (list, expected) in [
            ("", (true, true)),
            ("!SSLv2,!SSLv3", (true, true)),
            ("!TLSv1.3", (true, false)),
            ("TLSv1.2", (true, false)),
            ("TLSv1.3,!TLSv1.2", (false, true)),
            ("TLSv1,TLSv1.1", (false, false)),
            ("!tlsv1.2,!tlsv1.3", (false, false)),
        ] {
            assert_eq!(versions(list), expected, "{list}");
        }
    }

    #[test]
    fn lists_of_ciphers_choose_among_what_exists() {
        let left = |list: &str| {
            let list = Ciphers::parse(list);
            let suites = provider().cipher_suites.iter();
            suites
                .map(|suite| openssl_name(suite.suite()))
                .filter(|name| list.has(name) && !name.starts_with("TLS_"))
                .collect::<Vec<_>>()
        };
        assert_eq!(left("HIGH:!aNULL").len(), 6);
        assert_eq!(
            left("ECDHE-RSA-AES256-GCM-SHA384"),
            ["ECDHE-RSA-AES256-GCM-SHA384"]
        );
        assert_eq!(left("ECDHE+AESGCM:!ECDSA").len(), 2);
        assert_eq!(left("RC4-MD5").len(), 0);
        let only_13 = Ciphers::parse("TLS_AES_128_GCM_SHA256");
        assert!(only_13.has("TLS_AES_128_GCM_SHA256"));
        assert!(!only_13.has("TLS_AES_256_GCM_SHA384"));
    }

    #[test]
    fn every_suite_has_a_name() {
        for suite in &provider().cipher_suites {
            assert_ne!(openssl_name(suite.suite()), "");
        }
    }
}
