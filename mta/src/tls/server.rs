//! TLS of the receiving side.

use std::fmt;
use std::io;
use std::sync::Arc;

use angarium_smtp::session::{TlsInfo, TransportError};
use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;

use super::{KeyPair, TlsError, Versions, failure, info, provider};

/// The TLS of a server: certificates, versions and the state of resumption. A reload makes a new
/// one; sessions that use the old one are not touched.
#[derive(Clone)]
pub struct ServerTls(Arc<ServerConfig>);

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerTls")
    }
}

/// Chooses the certificate by the name that the client asks for.
#[derive(Debug)]
struct ByName {
    default: Arc<CertifiedKey>,
    /// Lower-cased host names, or `*.domain` for one label below it.
    names: Vec<(String, Arc<CertifiedKey>)>,
}

impl ByName {
    fn find(&self, name: Option<&str>) -> &Arc<CertifiedKey> {
        let exact = |wanted: &str| {
            self.names
                .iter()
                .find(|(name, _)| name.as_str() == wanted)
                .map(|(_, pair)| pair)
        };
        name.map(str::to_ascii_lowercase)
            .and_then(|name| {
                exact(&name).or_else(|| {
                    let (_, parent) = name.split_once('.')?;
                    exact(&format!("*.{parent}"))
                })
            })
            .unwrap_or(&self.default)
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(self.find(hello.server_name())))
    }
}

impl ServerTls {
    /// Shows `default` unless the client asks for one of `names`: host names, or `*.domain`.
    ///
    /// # Errors
    /// [`TlsError::NoVersion`], or when the system has no random numbers.
    pub fn new(
        default: &KeyPair,
        names: impl IntoIterator<Item = (String, KeyPair)>,
        versions: Versions,
    ) -> Result<ServerTls, TlsError> {
        let resolver = ByName {
            default: Arc::clone(&default.0),
            names: names
                .into_iter()
                .map(|(name, pair)| (name.to_ascii_lowercase(), pair.0))
                .collect(),
        };
        let mut config = ServerConfig::builder_with_provider(Arc::clone(provider()))
            .with_protocol_versions(&versions.list()?)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(resolver));
        config.ignore_client_order = true;
        config.ticketer = rustls::crypto::ring::Ticketer::new()?;
        Ok(ServerTls(Arc::new(config)))
    }

    /// Does the handshake of a server.
    ///
    /// # Errors
    /// What broke it; an alert has been sent where there is one to send.
    pub async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
    ) -> Result<(tokio_rustls::server::TlsStream<S>, TlsInfo), TransportError> {
        let stream = TlsAcceptor::from(Arc::clone(&self.0))
            .accept(stream)
            .await
            .map_err(|error: io::Error| failure(&error))?;
        let (_, connection) = stream.get_ref();
        let info = info(connection, connection.server_name());
        Ok((stream, info))
    }
}
