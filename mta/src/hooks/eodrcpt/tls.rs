//! `GetTLS` of older scripts.

use angarium_runtime::native::{Args, Cx, FnDecl, Outcome, opt};
use angarium_runtime::value::Value;
use angarium_smtp::session::TlsInfo;
use angarium_stdlib::x509;

use crate::hooks::variables::Map;

/// The TLS layer of the connection that the script runs for.
#[derive(Clone, Debug, Default)]
pub struct TlsOf {
    /// What was agreed on; none without TLS.
    pub info: Option<TlsInfo>,
    /// RFC 8460 result type of a delivery.
    pub tlsrpt: Option<&'static str>,
}

/// The function.
pub const GET_TLS: FnDecl = FnDecl::plain(
    "GetTLS(options?: array): array",
    "Gives `started` and, under TLS, `protocol`, `cipher`, `keysize`; of a client that showed a certificate `peer_cert`, as \
     getpeercert gives it, and `peer_cert_error`, OpenSSL's number.",
    get_tls,
)
.options(&[opt(
    "fingerprint",
    "string",
    "",
    "md5, sha1, sha256 or sha512",
)]);

fn get_tls(cx: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    let hash = args.options(0).string("fingerprint");
    let tls = cx.host.extension::<TlsOf>();
    let report = tls.as_ref().and_then(|tls| tls.tlsrpt);
    let Some(info) = tls.as_ref().and_then(|tls| tls.info.as_ref()) else {
        return Ok(Map::default()
            .with("started", false)
            .maybe("tlsrpt", report)
            .into());
    };
    let cert = info.peer_cert.as_ref();
    let own = match cert.and_then(|cert| cert.chain.first()) {
        Some(der) => Some(x509::summary(cx, der, hash.as_ref())?),
        None => None,
    };
    let map = Map::default()
        .with("started", true)
        .with("protocol", info.protocol.as_str())
        .with("cipher", info.cipher.as_str())
        .with("keysize", info.keysize)
        .maybe::<Value>("peer_cert", own)
        .maybe("peer_cert_error", cert.and_then(|cert| cert.error))
        .maybe("tlsrpt", report);
    Ok(map.into())
}
