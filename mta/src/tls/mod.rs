//! TLS towards clients and towards other servers: rustls with the ring provider.
//!
//! TLS 1.2 and 1.3 exist. What a session tells scripts is in OpenSSL's words (`names`).

mod client;
mod clients;
mod mutual;
mod names;
mod pem;
mod server;

use angarium_smtp::session::{PeerCert, TlsInfo, TransportError, TransportErrorKind};
use rustls::CommonState;

use angarium_stdlib::tls::provider;
pub use angarium_stdlib::tls::{Check, Finding, system_roots};
pub use client::{ClientTls, TlsStream};
pub use clients::ClientCerts;
pub use mutual::{MutualClient, MutualServer, Side};
pub use pem::{KeyPair, SelfSigned, self_signed};
pub use server::{ServerOptions, ServerTls};

/// Why a TLS configuration cannot be used; a complete sentence for the operator.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The PEM text of a certificate.
    #[error("the certificate cannot be read: {0}")]
    Certificate(String),
    /// The PEM text of a key.
    #[error("the private key cannot be read: {0}")]
    Key(String),
    /// The key is not the certificate's.
    #[error("the private key does not belong to the certificate")]
    Mismatch,
    /// No version of TLS is left.
    #[error("tls.protocols excludes every version of TLS that exists here (TLSv1.2 and TLSv1.3)")]
    NoVersion,
    /// Nobody to check certificates with, or for.
    #[error("certificates cannot be checked: {0}")]
    Authorities(String),
    /// Anything else that rustls refuses.
    #[error("TLS cannot be set up: {0}")]
    Setup(#[from] rustls::Error),
}

/// The versions of TLS that a side offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    /// TLS 1.2.
    pub tls12: bool,
    /// TLS 1.3.
    pub tls13: bool,
}

impl Default for Versions {
    fn default() -> Self {
        Versions {
            tls12: true,
            tls13: true,
        }
    }
}

impl From<&angarium_config::types::TlsProtocols> for Versions {
    fn from(protocols: &angarium_config::types::TlsProtocols) -> Self {
        Versions {
            tls12: protocols.tls12,
            tls13: protocols.tls13,
        }
    }
}

impl Versions {
    fn list(self) -> Result<Vec<&'static rustls::SupportedProtocolVersion>, TlsError> {
        let mut list = Vec::new();
        if self.tls13 {
            list.push(&rustls::version::TLS13);
        }
        if self.tls12 {
            list.push(&rustls::version::TLS12);
        }
        if list.is_empty() {
            return Err(TlsError::NoVersion);
        }
        Ok(list)
    }
}

/// What scripts may know about a finished handshake.
fn info(state: &CommonState, sni: Option<&str>) -> TlsInfo {
    let suite = state.negotiated_cipher_suite().map(|suite| suite.suite());
    let (cipher, keysize) = suite.map_or_else(Default::default, names::cipher);
    TlsInfo {
        protocol: state
            .protocol_version()
            .map_or_else(String::new, names::protocol),
        cipher,
        keysize,
        sni: sni.map(str::to_owned),
        peer_cert: state.peer_certificates().map(|chain| PeerCert {
            chain: chain.iter().map(|cert| cert.to_vec()).collect(),
            error: None,
        }),
    }
}

/// A failed handshake as the session machine takes it.
fn failure(error: &std::io::Error) -> TransportError {
    let tls = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match tls {
        Some(tls) => TransportError {
            kind: TransportErrorKind::Tls,
            reason: tls.to_string(),
            code: None,
        },
        None => TransportError {
            kind: TransportErrorKind::Socket,
            reason: error.to_string(),
            code: error.raw_os_error().map(i64::from),
        },
    }
}
