//! TLS of the receiving side.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use angarium_config::types::TlsCiphers;
use angarium_smtp::session::{TlsInfo, TransportError};
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, NoClientAuth, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;

use super::clients::{Asker, ClientCerts};
use super::{KeyPair, TlsError, Versions, failure, info, names, provider};

/// What a server offers and asks for.
#[derive(Clone, Debug, Default)]
pub struct ServerOptions {
    /// The versions.
    pub versions: Versions,
    /// The ciphers, best first.
    pub ciphers: TlsCiphers,
    /// Who is asked for a certificate; none: nobody.
    pub clients: Option<ClientCerts>,
}

/// The TLS of a server: certificates, versions and the state of resumption. A reload makes a new
/// one; sessions that use the old one are not touched.
#[derive(Clone)]
pub struct ServerTls {
    /// For clients that are asked for no certificate.
    plain: Arc<ServerConfig>,
    /// For the others. What they may resume is kept apart.
    asking: Option<(Arc<ServerConfig>, Arc<Asker>)>,
}

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
    names: BTreeMap<String, Arc<CertifiedKey>>,
}

impl ByName {
    fn find(&self, name: Option<&str>) -> &Arc<CertifiedKey> {
        let find = |name: &str| {
            let name = name.to_ascii_lowercase();
            self.names.get(&name).or_else(|| {
                let (_, parent) = name.split_once('.')?;
                self.names.get(&format!("*.{parent}"))
            })
        };
        name.and_then(find).unwrap_or(&self.default)
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
        let options = ServerOptions {
            versions,
            ..ServerOptions::default()
        };
        ServerTls::with(default, names, &options)
    }

    /// The same with everything that can be chosen.
    ///
    /// # Errors
    /// Nothing is left of versions and ciphers, there is nobody to check clients with, or the system
    /// has no random numbers.
    pub fn with(
        default: &KeyPair,
        names: impl IntoIterator<Item = (String, KeyPair)>,
        options: &ServerOptions,
    ) -> Result<ServerTls, TlsError> {
        let resolver: Arc<dyn ResolvesServerCert> = Arc::new(ByName {
            default: Arc::clone(&default.0),
            names: names
                .into_iter()
                .map(|(name, pair)| (name.to_ascii_lowercase(), pair.0))
                .collect(),
        });
        let provider = offering(&options.ciphers);
        let config = |clients: Arc<dyn ClientCertVerifier>| -> Result<_, TlsError> {
            let mut config = ServerConfig::builder_with_provider(Arc::clone(&provider))
                .with_protocol_versions(&options.versions.list()?)?
                .with_client_cert_verifier(clients)
                .with_cert_resolver(Arc::clone(&resolver));
            config.ignore_client_order = true;
            config.ticketer = rustls::crypto::ring::Ticketer::new()?;
            Ok(Arc::new(config))
        };
        let asking = match &options.clients {
            None => None,
            Some(clients) => {
                let asker = Arc::new(Asker::new(clients)?);
                Some((config(Arc::<Asker>::clone(&asker))?, asker))
            }
        };
        Ok(ServerTls {
            plain: config(Arc::new(NoClientAuth))?,
            asking,
        })
    }

    /// Does the handshake of a server with a client at this address.
    ///
    /// # Errors
    /// What broke it; an alert has been sent where there is one to send.
    pub async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
        client: IpAddr,
    ) -> Result<(tokio_rustls::server::TlsStream<S>, TlsInfo), TransportError> {
        let asking = self.asking.as_ref().filter(|(_, asker)| asker.asks(client));
        let config = asking.map_or(&self.plain, |(config, _)| config);
        let stream = TlsAcceptor::from(Arc::clone(config))
            .accept(stream)
            .await
            .map_err(|error: io::Error| failure(&error))?;
        let (_, connection) = stream.get_ref();
        let mut info = info(connection, connection.server_name());
        if let (Some((_, asker)), Some(shown), Some(chain)) =
            (asking, &mut info.peer_cert, connection.peer_certificates())
        {
            shown.error = Some(asker.verdict(chain));
        }
        Ok((stream, info))
    }
}

/// The provider with these suites alone, in their order.
fn offering(ciphers: &TlsCiphers) -> Arc<CryptoProvider> {
    let mut own = (**provider()).clone();
    let all = std::mem::take(&mut own.cipher_suites);
    let wanted = ciphers.suites().iter();
    own.cipher_suites = wanted
        .filter_map(|name| {
            all.iter()
                .find(|suite| names::cipher(suite.suite()).0 == *name)
        })
        .copied()
        .collect();
    Arc::new(own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ciphers_of_the_configuration_are_those_that_exist() {
        let own = offering(&TlsCiphers::default());
        assert_eq!(own.cipher_suites.len(), provider().cipher_suites.len());
        for (one, other) in own.cipher_suites.iter().zip(&provider().cipher_suites) {
            assert_eq!(one.suite(), other.suite());
        }
        let few = offering(&"CHACHA20:AES128+aRSA".parse().expect("a list"));
        let names: Vec<String> = few.cipher_suites[3..]
            .iter()
            .map(|suite| names::cipher(suite.suite()).0)
            .collect();
        assert_eq!(
            names,
            [
                "ECDHE-ECDSA-CHACHA20-POLY1305",
                "ECDHE-RSA-CHACHA20-POLY1305",
                "ECDHE-RSA-AES128-GCM-SHA256"
            ]
        );
    }
}
