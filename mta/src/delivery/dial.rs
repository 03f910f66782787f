//! Opening a connection to a mail server: straight, or by a proxy that is told where to (the PROXY protocol).

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use angarium_config::transport::ProxyServer;
use angarium_effects::Connection;
use angarium_effects::net::Connect;
use angarium_queue::destination::{Families, Request, Resolution, Target};
use angarium_queue::text::Text;
use tokio::io::AsyncWriteExt as _;
use uuid::Uuid;

use super::proxy_header;
use super::resolve::resolve;
use crate::worker::Effects;

/// A proxy that opens connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// Its name or address.
    pub server: Text,
    /// Its port.
    pub port: u16,
}

impl From<&ProxyServer> for Proxy {
    fn from(written: &ProxyServer) -> Proxy {
        Proxy {
            server: Text::from(written.server.to_string()),
            port: written.port,
        }
    }
}

impl From<SocketAddr> for Proxy {
    fn from(address: SocketAddr) -> Proxy {
        Proxy {
            server: Text::from(address.ip().to_string()),
            port: address.port(),
        }
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the proxy {}, port {}", self.server, self.port)
    }
}

/// Connects to a server, or has the proxy do so: then the source is the one that the proxy is told.
///
/// # Errors
/// What the system or the DNS says of it, after whom was called.
pub(super) async fn dial(
    effects: &Effects,
    to: SocketAddr,
    how: &Connect,
    proxy: Option<&Proxy>,
) -> Result<Box<dyn Connection>, (String, io::Error)> {
    let Some(proxy) = proxy else {
        let connected = effects.net.connect(to, how).await;
        return connected.map_err(|error| (to.to_string(), error));
    };
    let through = through(effects, to, how, proxy).await;
    through.map_err(|error| (proxy.to_string(), error))
}

async fn through(
    effects: &Effects,
    to: SocketAddr,
    how: &Connect,
    proxy: &Proxy,
) -> io::Result<Box<dyn Connection>> {
    let mut last = None;
    for address in addresses(effects, proxy).await? {
        let own = Connect {
            // It need not be an address of this machine.
            source: None,
            ..how.clone()
        };
        let mut connection = match effects.net.connect(address, &own).await {
            Ok(connection) => connection,
            Err(error) => {
                last = Some(error);
                continue;
            }
        };
        let from = match how.source {
            Some(source) => Some(SocketAddr::new(source, 0)),
            None => connection.local_addr().ok(),
        };
        connection
            .write_all(&proxy_header::version_2(from, to))
            .await?;
        connection.flush().await?;
        return Ok(connection);
    }
    Err(last.unwrap_or_else(|| io::ErrorKind::NotFound.into()))
}

/// Where the proxy is.
async fn addresses(effects: &Effects, proxy: &Proxy) -> io::Result<Vec<SocketAddr>> {
    if let Ok(address) = proxy.server.to_str().parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, proxy.port)]);
    }
    let resolution = Resolution::new(Request {
        target: Target::Host(proxy.server.clone()),
        port: proxy.port,
        families: Families::BOTH,
        mx_include: Vec::new(),
        mx_exclude: Vec::new(),
        ip_exclude: Vec::new(),
        own: Arc::default(),
        transaction: Uuid::nil(),
    });
    let found = resolve(&*effects.dns, resolution).await;
    let found = found.map_err(|error| io::Error::other(error.message.to_string()))?;
    let addresses = found.into_iter();
    Ok(addresses
        .map(|candidate| SocketAddr::new(candidate.ip, candidate.port))
        .collect())
}
