//! TLS where both ends may have to prove who they are: the control socket over TCP.

use std::fmt;
use std::io;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::verify_server_name;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

use super::client::Anybody;
use super::{KeyPair, TlsError, Versions, provider, system_roots};

/// What one end shows and wants to see.
#[derive(Clone, Debug, Default)]
pub struct Side {
    /// What it shows.
    pub pair: Option<KeyPair>,
    /// PEM text of the authorities that sign the other end's certificate; none: those behind its own
    /// certificate, or else the system's.
    pub authorities: Option<Vec<u8>>,
    /// Whether the other end's certificate is checked.
    pub verify: bool,
    /// The name that must stand in it.
    pub name: Option<String>,
}

impl Side {
    fn roots(&self) -> Result<Arc<RootCertStore>, TlsError> {
        let mut roots = RootCertStore::empty();
        let mut add = |certificate: CertificateDer<'static>| {
            let added = roots.add(certificate);
            added.map_err(|error| TlsError::Authorities(error.to_string()))
        };
        if let Some(text) = &self.authorities {
            for certificate in CertificateDer::pem_slice_iter(text) {
                add(certificate.map_err(|error| TlsError::Authorities(error.to_string()))?)?;
            }
        } else if let Some(pair) = &self.pair {
            for certificate in pair.0.cert.iter().skip(1) {
                add(certificate.clone())?;
            }
        }
        match roots.is_empty() {
            true if self.authorities.is_some() => Err(TlsError::Authorities(
                "there is no section BEGIN CERTIFICATE".to_owned(),
            )),
            true => Ok(system_roots()),
            false => Ok(Arc::new(roots)),
        }
    }

    fn name(&self) -> Result<Option<ServerName<'static>>, TlsError> {
        self.name.as_deref().map(server_name).transpose()
    }
}

fn server_name(text: &str) -> Result<ServerName<'static>, TlsError> {
    ServerName::try_from(text.to_owned())
        .map_err(|_| TlsError::Authorities(format!("\"{text}\" is no name of a host")))
}

/// The end that is connected to.
#[derive(Clone)]
pub struct MutualServer {
    config: Arc<ServerConfig>,
    /// The client's certificate must be for this name.
    name: Option<ServerName<'static>>,
}

impl fmt::Debug for MutualServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MutualServer")
    }
}

impl MutualServer {
    /// Lays out what `side` says.
    ///
    /// # Errors
    /// It has no key pair, or there is nobody to check certificates with.
    pub fn new(side: &Side) -> Result<MutualServer, TlsError> {
        let missing = || TlsError::Certificate("there is none".to_owned());
        let pair = side.pair.as_ref().ok_or_else(missing)?;
        let config = ServerConfig::builder_with_provider(Arc::clone(provider()))
            .with_protocol_versions(&Versions::default().list()?)?;
        let config = if side.verify {
            let verifier =
                WebPkiClientVerifier::builder_with_provider(side.roots()?, Arc::clone(provider()));
            let verifier = verifier
                .build()
                .map_err(|error| TlsError::Authorities(error.to_string()))?;
            config.with_client_cert_verifier(verifier)
        } else {
            config.with_no_client_auth()
        };
        let resolver = SingleCertAndKey::from(Arc::clone(&pair.0));
        let mut config = config.with_cert_resolver(Arc::new(resolver));
        // A certificate is looked at in every connection, not only in the first.
        config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(MutualServer {
            config: Arc::new(config),
            name: side.name()?.filter(|_| side.verify),
        })
    }

    /// Does the handshake, and looks at the client's name.
    ///
    /// # Errors
    /// What broke it, or what is wrong with the client.
    pub async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
    ) -> io::Result<server::TlsStream<S>> {
        let stream = TlsAcceptor::from(Arc::clone(&self.config))
            .accept(stream)
            .await?;
        if let Some(name) = &self.name {
            let refused = |error: rustls::Error| io::Error::other(error);
            let (_, connection) = stream.get_ref();
            let shown = connection
                .peer_certificates()
                .and_then(|chain| chain.first());
            // A handshake without a certificate has failed.
            let shown = shown.ok_or_else(|| refused(rustls::Error::NoCertificatesPresented))?;
            let parsed = ParsedCertificate::try_from(shown).map_err(refused)?;
            verify_server_name(&parsed, name).map_err(refused)?;
        }
        Ok(stream)
    }
}

/// The end that connects.
#[derive(Clone)]
pub struct MutualClient {
    config: Arc<ClientConfig>,
    name: Option<ServerName<'static>>,
}

impl fmt::Debug for MutualClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MutualClient")
    }
}

impl MutualClient {
    /// Lays out what `side` says.
    ///
    /// # Errors
    /// There is nobody to check certificates with.
    pub fn new(side: &Side) -> Result<MutualClient, TlsError> {
        let config = ClientConfig::builder_with_provider(Arc::clone(provider()))
            .with_protocol_versions(&Versions::default().list()?)?;
        let config = if side.verify {
            let verifier =
                WebPkiServerVerifier::builder_with_provider(side.roots()?, Arc::clone(provider()));
            let verifier = verifier
                .build()
                .map_err(|error| TlsError::Authorities(error.to_string()))?;
            config.with_webpki_verifier(verifier)
        } else {
            config
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Anybody))
        };
        let config = match &side.pair {
            Some(pair) => {
                let resolver = SingleCertAndKey::from(Arc::clone(&pair.0));
                config.with_client_cert_resolver(Arc::new(resolver))
            }
            None => config.with_no_client_auth(),
        };
        Ok(MutualClient {
            config: Arc::new(config),
            name: side.name()?,
        })
    }

    /// Does the handshake with the host of this name or address.
    ///
    /// # Errors
    /// What broke it, or what is wrong with the server.
    pub async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
        host: &str,
    ) -> io::Result<client::TlsStream<S>> {
        let name = match &self.name {
            Some(name) => name.clone(),
            None => server_name(host).map_err(io::Error::other)?,
        };
        TlsConnector::from(Arc::clone(&self.config))
            .connect(name, stream)
            .await
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair as NewKey};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// An authority, and pairs that it signed, each with the authority behind it.
    struct Authority {
        pem: String,
        issuer: Issuer<'static, NewKey>,
    }

    impl Authority {
        fn new() -> Authority {
            let key = NewKey::generate().unwrap();
            let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let certificate = params.self_signed(&key).unwrap();
            Authority {
                pem: certificate.pem(),
                issuer: Issuer::new(params, key),
            }
        }

        fn pair(&self, name: &str) -> KeyPair {
            let key = NewKey::generate().unwrap();
            let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
            let certificate = params.signed_by(&key, &self.issuer).unwrap();
            let chain = format!("{}{}", certificate.pem(), self.pem);
            KeyPair::from_pem(chain.as_bytes(), key.serialize_pem().as_bytes()).unwrap()
        }

        fn side(&self, name: &str) -> Side {
            Side {
                pair: Some(self.pair(name)),
                verify: true,
                ..Side::default()
            }
        }
    }

    /// Whether both ends can talk; else what the server and the client say.
    async fn talk(server: &Side, client: &Side, host: &str) -> Result<(), String> {
        let server = MutualServer::new(server).map_err(|error| error.to_string())?;
        let client = MutualClient::new(client).map_err(|error| error.to_string())?;
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let serve = async move {
            let mut stream = server.accept(theirs).await?;
            let mut byte = [0];
            stream.read_exact(&mut byte).await?;
            stream.write_all(&byte).await?;
            stream.flush().await
        };
        let ask = async move {
            let mut stream = client.connect(ours, host).await?;
            stream.write_all(b"x").await?;
            stream.flush().await?;
            let mut byte = [0];
            stream.read_exact(&mut byte).await.map(|_| ())
        };
        let (served, asked): (io::Result<()>, io::Result<()>) = tokio::join!(serve, ask);
        match (served, asked) {
            (Ok(()), Ok(())) => Ok(()),
            (served, asked) => Err(format!("{served:?} {asked:?}")),
        }
    }

    #[tokio::test]
    async fn both_ends_prove_who_they_are() {
        let authority = Authority::new();
        let (server, client) = (authority.side("mx.test"), authority.side("admin.test"));
        assert_eq!(talk(&server, &client, "mx.test").await, Ok(()));
        let error = talk(&server, &client, "other.test").await.unwrap_err();
        assert!(error.contains("NotValidForName"), "{error}");
        let named = Side {
            name: Some("mx.test".to_owned()),
            ..client.clone()
        };
        assert_eq!(talk(&server, &named, "192.0.2.1").await, Ok(()));
        let nobody = Side {
            pair: None,
            authorities: Some(authority.pem.clone().into_bytes()),
            ..client.clone()
        };
        let error = talk(&server, &nobody, "mx.test").await.unwrap_err();
        assert!(error.contains("NoCertificatesPresented"), "{error}");
        let lenient = Side {
            verify: false,
            ..server.clone()
        };
        assert_eq!(talk(&lenient, &nobody, "mx.test").await, Ok(()));
    }

    #[tokio::test]
    async fn the_wrong_authority_and_the_wrong_name_are_refused() {
        let (ours, other) = (Authority::new(), Authority::new());
        let server = ours.side("mx.test");
        let stranger = Side {
            authorities: Some(ours.pem.clone().into_bytes()),
            ..other.side("admin.test")
        };
        let error = talk(&server, &stranger, "mx.test").await.unwrap_err();
        assert!(
            error.contains("UnknownIssuer") || error.contains("BadSignature"),
            "{error}"
        );
        let careful = other.side("admin.test");
        let error = talk(&server, &careful, "mx.test").await.unwrap_err();
        assert!(
            error.contains("UnknownIssuer") || error.contains("BadSignature"),
            "{error}"
        );
        let picky = Side {
            name: Some("admin.test".to_owned()),
            ..server
        };
        assert_eq!(
            talk(&picky, &ours.side("admin.test"), "mx.test").await,
            Ok(())
        );
        let error = talk(&picky, &ours.side("guest.test"), "mx.test").await;
        assert!(error.unwrap_err().contains("NotValidForName"));
    }

    #[test]
    fn what_is_missing_is_said() {
        let error = MutualServer::new(&Side::default()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the certificate cannot be read: there is none"
        );
        let empty = Side {
            authorities: Some(b"no certificates".to_vec()),
            verify: true,
            ..Side::default()
        };
        let error = MutualClient::new(&empty).unwrap_err().to_string();
        assert!(error.contains("BEGIN CERTIFICATE"), "{error}");
    }
}
