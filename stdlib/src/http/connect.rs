//! The way to a server: its addresses, a proxy in between (RFC 9110 §9.3.6, RFC 1928), TLS.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use angarium_effects::Connection;
use angarium_effects::clock::timeout;
use angarium_effects::dns::{Query, RecordData, RecordType};
use angarium_effects::net::Connect;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_rustls::TlsConnector;
use tokio_socks::TargetAddr;
use tokio_socks::tcp::{Socks4Stream, Socks5Stream};

use super::exchange::{HttpError, Outside};
use super::proxy::{Proxy, ProxyKind};
use super::request::{Request, basic};
use super::url::Url;
use crate::tls::server_name;

/// Bytes of a proxy's answer to CONNECT.
const MOST_PROXY: usize = 16 * 1024;

/// A stream of bytes, in clear or not.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

/// A stream on which the request can be sent.
pub(super) async fn connect(
    outside: &Outside,
    request: &Request,
) -> Result<Box<dyn Stream>, HttpError> {
    let connecting = open(outside, request);
    match request.connect_timeout {
        None => connecting.await,
        Some(limit) => timeout(&*outside.clock, limit, connecting)
            .await
            .ok_or(HttpError::ConnectTimeout)?,
    }
}

async fn open(outside: &Outside, request: &Request) -> Result<Box<dyn Stream>, HttpError> {
    let url = &request.url;
    let plain = match (&request.path, &request.proxy) {
        (Some(path), _) => outside
            .net
            .connect_local(path)
            .await
            .map_err(|error| HttpError::Connect(path.display().to_string(), error))?,
        (None, Some(proxy)) => {
            let stream = reach(outside, request, &proxy.at).await?;
            through(outside, request, proxy, stream).await?
        }
        (None, None) => reach(outside, request, url).await?,
    };
    if !url.secure {
        return Ok(Box::new(plain));
    }
    let mut tls = request.tls.clone();
    if request.verify_host {
        tls.names = Some(vec![url.host.clone()]);
    }
    let mut config = tls.client(true)?;
    Arc::make_mut(&mut config).alpn_protocols = vec![b"http/1.1".to_vec()];
    let stream = TlsConnector::from(config)
        .connect(server_name(&url.host), plain)
        .await
        .map_err(HttpError::Tls)?;
    Ok(Box::new(stream))
}

/// Connects to the first address of a host that answers.
async fn reach(
    outside: &Outside,
    request: &Request,
    url: &Url,
) -> Result<Box<dyn Connection>, HttpError> {
    let began = outside.clock.monotonic();
    let mut addresses = resolve(outside, &url.host, request.connect_timeout).await;
    if let Some(source) = request.source {
        addresses.retain(|address| address.is_ipv4() == source.is_ipv4());
    }
    let mut last = HttpError::Resolve(url.host.clone());
    let count = addresses.len();
    for (index, address) in addresses.into_iter().enumerate() {
        let to = SocketAddr::new(address, url.port);
        // An address that does not answer leaves time for those after it.
        let share = request.connect_timeout.map(|limit| {
            let left = limit.saturating_sub(outside.clock.monotonic().since(began));
            let behind = u32::try_from(count.saturating_sub(index)).unwrap_or(u32::MAX);
            left / behind.max(1)
        });
        let how = Connect {
            source: request.source,
            nonlocal: false,
            timeout: share,
        };
        match outside.net.connect(to, &how).await {
            Ok(connection) => return Ok(connection),
            Err(error) => last = HttpError::Connect(to.to_string(), error),
        }
    }
    Err(last)
}

async fn resolve(outside: &Outside, host: &str, limit: Option<Duration>) -> Vec<IpAddr> {
    if let Ok(address) = host.parse() {
        return vec![address];
    }
    let name = host.trim_end_matches('.');
    // RFC 6761 §6.3
    if name == "localhost" || name.ends_with(".localhost") {
        return vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    }
    let query = Query {
        timeout: limit,
        ..Query::default()
    };
    let four = outside.dns.query(name, RecordType::A, &query);
    let six = outside.dns.query(name, RecordType::Aaaa, &query);
    let (four, six) = futures_util::future::join(four, six).await;
    let records = [four, six]
        .into_iter()
        .flatten()
        .flat_map(|answer| answer.records);
    records
        .filter_map(|record| match record.data {
            RecordData::A(address) => Some(address.into()),
            RecordData::Aaaa(address) => Some(address.into()),
            _ => None,
        })
        .collect()
}

/// Has the proxy connect to the host, unless it is to read the request itself.
async fn through(
    outside: &Outside,
    request: &Request,
    proxy: &Proxy,
    mut stream: Box<dyn Connection>,
) -> Result<Box<dyn Connection>, HttpError> {
    let url = &request.url;
    if proxy.kind == ProxyKind::Http {
        if url.secure {
            tunnel(&mut *stream, url, &proxy.at).await?;
        }
        return Ok(stream);
    }
    let target = match proxy.kind {
        ProxyKind::Socks4a | ProxyKind::Socks5h => match url.host.parse::<IpAddr>() {
            Ok(address) => TargetAddr::Ip(SocketAddr::new(address, url.port)),
            Err(_) => TargetAddr::Domain(url.host.as_str().into(), url.port),
        },
        ProxyKind::Http | ProxyKind::Socks4 | ProxyKind::Socks5 => {
            let addresses = resolve(outside, &url.host, request.connect_timeout).await;
            let mut addresses = addresses.into_iter();
            let four_only = proxy.kind == ProxyKind::Socks4;
            let address = addresses.find(|address| address.is_ipv4() || !four_only);
            let address = address.ok_or_else(|| HttpError::Resolve(url.host.clone()))?;
            TargetAddr::Ip(SocketAddr::new(address, url.port))
        }
    };
    let user = proxy.at.user.as_ref().map(|(name, password)| {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (text(name), text(password))
    });
    let refused = |error: tokio_socks::Error| HttpError::Proxy(error.to_string());
    let five = matches!(proxy.kind, ProxyKind::Socks5 | ProxyKind::Socks5h);
    Ok(match user {
        Some((name, password)) if five => {
            Socks5Stream::connect_with_password_and_socket(stream, target, &name, &password)
                .await
                .map_err(refused)?
                .into_inner()
        }
        Some((name, _)) => Socks4Stream::connect_with_userid_and_socket(stream, target, &name)
            .await
            .map_err(refused)?
            .into_inner(),
        None if five => Socks5Stream::connect_with_socket(stream, target)
            .await
            .map_err(refused)?
            .into_inner(),
        None => Socks4Stream::connect_with_socket(stream, target)
            .await
            .map_err(refused)?
            .into_inner(),
    })
}

/// Has an HTTP proxy connect to the host (RFC 9110 §9.3.6).
async fn tunnel(stream: &mut dyn Connection, url: &Url, proxy: &Url) -> Result<(), HttpError> {
    let broken = |error: io::Error| HttpError::Proxy(error.to_string());
    let place = format!("{}:{}", url.written_host(), url.port);
    let mut line = format!("CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n");
    if let Some(user) = &proxy.user {
        line.push_str(&format!("Proxy-Authorization: {}\r\n", basic(user)));
    }
    line.push_str("\r\n");
    stream.write_all(line.as_bytes()).await.map_err(broken)?;
    stream.flush().await.map_err(broken)?;
    let mut head = Vec::new();
    let end = loop {
        let mut piece = [0; 1024];
        let count = stream.read(&mut piece).await.map_err(broken)?;
        head.extend_from_slice(piece.get(..count).unwrap_or_default());
        if let Some(end) = end_of_head(&head) {
            break end;
        }
        if count == 0 || head.len() > MOST_PROXY {
            return Err(HttpError::Proxy("it gave no answer".to_owned()));
        }
    };
    match status_of(&head) {
        // Whoever speaks before us speaks no TLS.
        Some(200..=299) if end == head.len() => Ok(()),
        Some(200..=299) => Err(HttpError::Proxy("it sent more than an answer".to_owned())),
        Some(status) => Err(HttpError::Proxy(format!("it answered {status}"))),
        None => Err(HttpError::Proxy("it does not speak HTTP".to_owned())),
    }
}

/// The length of a head with its blank line, once that is there.
pub(super) fn end_of_head(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let Some(next) = memchr::memchr(b'\n', bytes.get(at..)?) {
        at += next + 1;
        match bytes.get(at..) {
            Some([b'\n', ..]) => return Some(at + 1),
            Some([b'\r', b'\n', ..]) => return Some(at + 2),
            _ => {}
        }
    }
    None
}

/// The status of an answer that begins here.
pub(super) fn status_of(head: &[u8]) -> Option<u16> {
    let rest = head.strip_prefix(b"HTTP/1.")?.get(1..)?.trim_ascii_start();
    std::str::from_utf8(rest.get(..3)?).ok()?.parse().ok()
}
