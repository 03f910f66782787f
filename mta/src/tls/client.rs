//! TLS of the sending side.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use angarium_smtp::session::{TlsInfo, TransportError};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
pub use tokio_rustls::client::TlsStream;

use super::{TlsError, Versions, failure, info, provider};

/// The TLS of a transport.
///
/// In the modes that check no certificate, `optional` and `require`, no property of the peer's certificate fails the handshake: an unauthenticated peer proves
/// nothing by a good one either, and mail in clear would be the worse result.
#[derive(Clone)]
pub struct ClientTls(Arc<ClientConfig>);

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientTls")
    }
}

impl ClientTls {
    /// TLS with these versions; `sni` says whether the peer is told the name asked for.
    ///
    /// # Errors
    /// [`TlsError::NoVersion`].
    pub fn new(versions: Versions, sni: bool) -> Result<ClientTls, TlsError> {
        let mut config = ClientConfig::builder_with_provider(Arc::clone(provider()))
            .with_protocol_versions(&versions.list()?)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anybody))
            .with_no_client_auth();
        config.enable_sni = sni;
        Ok(ClientTls(Arc::new(config)))
    }

    /// TLS as rustls has it.
    #[must_use]
    pub fn from_config(config: Arc<ClientConfig>) -> ClientTls {
        ClientTls(config)
    }

    /// Does the handshake of a client with the host of this name, at this address.
    ///
    /// # Errors
    /// What broke it.
    pub async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
        host: &str,
        address: IpAddr,
    ) -> Result<(TlsStream<S>, TlsInfo), TransportError> {
        // Names that DNS allows and certificates do not, such as those with an underscore.
        let name = ServerName::try_from(host.trim_end_matches('.').to_owned())
            .unwrap_or_else(|_| ServerName::from(address));
        let stream = TlsConnector::from(Arc::clone(&self.0))
            .connect(name.clone(), stream)
            .await
            .map_err(|error: io::Error| failure(&error))?;
        let sni = match &name {
            ServerName::DnsName(name) if self.0.enable_sni => Some(name.as_ref()),
            _ => None,
        };
        let info = info(stream.get_ref().1, sni);
        Ok((stream, info))
    }
}

/// Accepts every certificate, even one that cannot be parsed.
#[derive(Debug)]
pub(super) struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{KeyPair, ServerTls, self_signed};
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    fn pair(name: &str) -> KeyPair {
        let made = self_signed(&[name]).expect("a pair");
        KeyPair::from_pem(made.certificate.as_bytes(), made.key.as_bytes()).expect("a pair")
    }

    /// Shakes hands in memory; gives what both ends know, and the certificate that was shown.
    async fn shake(
        server: &ServerTls,
        client: &ClientTls,
        host: &str,
    ) -> Result<(TlsInfo, TlsInfo), TransportError> {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let (client, server) = tokio::join!(
            client.connect(ours, host, [192, 0, 2, 1].into()),
            server.accept(theirs, [192, 0, 2, 2].into())
        );
        let ((mut client, seen_by_client), (mut server, seen_by_server)) = (client?, server?);
        client.write_all(b"NOOP").await.expect("written");
        client.flush().await.expect("written");
        let mut bytes = [0; 4];
        server.read_exact(&mut bytes).await.expect("read");
        assert_eq!(&bytes, b"NOOP");
        Ok((seen_by_client, seen_by_server))
    }

    fn shown(info: &TlsInfo) -> &[u8] {
        &info.peer_cert.as_ref().expect("a certificate").chain[0]
    }

    #[tokio::test]
    async fn both_ends_agree_and_report_in_the_words_of_openssl() {
        let server = ServerTls::new(&pair("mx.example"), [], Versions::default()).expect("TLS");
        let client = ClientTls::new(Versions::default(), true).expect("TLS");
        let (ours, theirs) = shake(&server, &client, "mx.example").await.expect("TLS");
        assert_eq!(theirs.protocol, "TLSv1.3");
        assert_eq!(theirs.cipher, "TLS_AES_256_GCM_SHA384");
        assert_eq!(theirs.keysize, 256);
        assert_eq!(theirs.sni.as_deref(), Some("mx.example"));
        assert_eq!(
            (&ours.protocol, &ours.cipher),
            (&theirs.protocol, &theirs.cipher)
        );
        let old = Versions {
            tls12: true,
            tls13: false,
        };
        let client = ClientTls::new(old, false).expect("TLS");
        let (_, theirs) = shake(&server, &client, "mx.example").await.expect("TLS");
        assert_eq!(theirs.protocol, "TLSv1.2");
        assert_eq!(theirs.cipher, "ECDHE-ECDSA-AES256-GCM-SHA384");
        assert_eq!(theirs.sni, None);
    }

    #[tokio::test]
    async fn no_certificate_is_too_bad_and_no_host_name_too_odd() {
        let server = ServerTls::new(&pair("other.example"), [], Versions::default()).expect("TLS");
        let client = ClientTls::new(Versions::default(), true).expect("TLS");
        for host in ["mx.example", "under_score.example", "-", "", "192.0.2.1"] {
            assert!(shake(&server, &client, host).await.is_ok(), "{host}");
        }
    }

    #[tokio::test]
    async fn the_certificate_is_chosen_by_name() {
        let pairs = [pair("default"), pair("exact"), pair("below")];
        let names = [
            ("a.example".to_owned(), pairs[1].clone()),
            ("*.Example".to_owned(), pairs[2].clone()),
        ];
        let server = ServerTls::new(&pairs[0], names, Versions::default()).expect("TLS");
        let client = ClientTls::new(Versions::default(), true).expect("TLS");
        for (host, expected) in [
            ("A.example", 1),
            ("b.example", 2),
            ("x.b.example", 0),
            ("example", 0),
            ("192.0.2.1", 0),
        ] {
            let (ours, _) = shake(&server, &client, host).await.expect("TLS");
            assert!(shown(&ours) == pairs[expected].0.cert[0].as_ref(), "{host}");
        }
    }

    #[tokio::test]
    async fn ends_without_a_version_in_common_say_so() {
        let only = |tls12, tls13| Versions { tls12, tls13 };
        let server = ServerTls::new(&pair("mx"), [], only(false, true)).expect("TLS");
        let client = ClientTls::new(only(true, false), true).expect("TLS");
        let error = shake(&server, &client, "mx").await.expect_err("no version");
        assert!(error.reason.contains("alert"), "{error:?}");
        assert!(ClientTls::new(only(false, false), true).is_err());
    }
}
