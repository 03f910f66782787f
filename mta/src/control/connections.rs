//! `server connections` and `queue connections`: what is open now, and its end.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use angarium_control::proto::{
    PagingRequest, PagingResponse, QueueConnectionsCloseRequest, QueueConnectionsCloseResponse,
    QueueConnectionsListRequest, QueueConnectionsListResponse, ServerConnectionsCloseRequest,
    ServerConnectionsCloseResponse, ServerConnectionsListRequest, ServerConnectionsListResponse,
    queue_connections_list_request, queue_connections_list_response,
    server_connections_close_request, server_connections_list_request,
    server_connections_list_response,
};
use angarium_effects::Monotonic;
use angarium_queue::item::ItemId;
use angarium_smtp::network::Network;
use angarium_smtp::reply::{EnhancedStatus, Reply};

use super::convert::{item_id, read_item_id};
use super::server::Desk;
use crate::connections::{Inbound, Outbound};

/// Connections of a list if the request does not say.
const PAGE: u64 = 100;

/// An address or network that is asked for; none: all of them.
#[derive(Debug)]
struct Place(Option<Network>);

impl Place {
    fn read(key: &str, text: &str) -> Result<Place, String> {
        if text.is_empty() {
            return Ok(Place(None));
        }
        let network = text.parse();
        let network = network.map_err(|_| format!("{key}: {text} is no address or network"))?;
        Ok(Place(Some(network)))
    }

    fn has(&self, address: Option<IpAddr>) -> bool {
        match (&self.0, address) {
            (None, _) => true,
            (Some(network), Some(address)) => network.contains(address),
            (Some(_), None) => false,
        }
    }
}

fn is(wanted: &str, text: &str) -> bool {
    wanted.is_empty() || wanted == text
}

/// The part of a list that a request asks for, and the length of all of it.
fn page<T>(list: Vec<T>, wanted: Option<PagingRequest>) -> (Vec<T>, Option<PagingResponse>) {
    let total = list.len() as u64;
    let PagingRequest { offset, limit } = wanted.unwrap_or_default();
    let limit = if limit == 0 { PAGE } else { limit };
    let size = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    let part = list.into_iter().skip(size(offset)).take(size(limit));
    (part.collect(), Some(PagingResponse { total }))
}

/// Which inbound connections are meant.
struct OfServers {
    id: String,
    remote: Place,
    server: String,
    local: Place,
}

impl OfServers {
    fn new(of: server_connections_list_request::Condition) -> Result<OfServers, String> {
        Ok(OfServers {
            id: of.connectionid,
            remote: Place::read("remoteip", &of.remoteip)?,
            server: of.serverid,
            local: Place::read("localip", &of.localip)?,
        })
    }

    /// Those that fit, with the ids of their servers.
    fn find<'a>(&self, desk: &'a Desk) -> Vec<(&'a str, Arc<Inbound>)> {
        let servers = desk.backend.admin.servers().iter();
        let servers = servers.filter(|server| is(&self.server, &server.id));
        let all = servers.flat_map(|server| {
            let of_server = |connection| (server.id.as_str(), connection);
            server.connections.list().into_iter().map(of_server)
        });
        all.filter(|(_, connection)| {
            is(&self.id, &connection.id)
                && self.remote.has(Some(connection.remote.ip()))
                && self.local.has(Some(connection.local.ip()))
        })
        .collect()
    }
}

fn seconds(now: Monotonic, since: Monotonic) -> f64 {
    now.since(since).as_secs_f64()
}

pub(super) fn list_servers(
    desk: &Desk,
    wanted: &ServerConnectionsListRequest,
) -> Result<ServerConnectionsListResponse, String> {
    let condition = wanted.condition.clone().unwrap_or_default();
    let (found, paging) = page(OfServers::new(condition)?.find(desk), wanted.paging);
    let now = desk.clock.monotonic();
    let shown = |(server, of): (&str, Arc<Inbound>)| server_connections_list_response::Connection {
        connectionid: of.id.clone(),
        remoteip: of.remote.ip().to_string(),
        remoteptr: of.remote_ptr.get().cloned().unwrap_or_default(),
        serverid: server.to_owned(),
        duration: seconds(now, of.began),
        transactions: of.transactions.load(Ordering::Relaxed).into(),
        remoteport: of.remote.port().into(),
        localip: of.local.ip().to_string(),
        localport: of.local.port().into(),
    };
    Ok(ServerConnectionsListResponse {
        connections: found.into_iter().map(shown).collect(),
        paging,
    })
}

pub(super) fn close_servers(
    desk: &Desk,
    wanted: &ServerConnectionsCloseRequest,
) -> Result<ServerConnectionsCloseResponse, String> {
    let reply = farewell(wanted.reply.as_ref())?;
    let which = OfServers::new(server_connections_list_request::Condition {
        connectionid: wanted.connectionid.clone(),
        remoteip: wanted.remoteip.clone(),
        serverid: wanted.serverid.clone(),
        localip: wanted.localip.clone(),
    })?;
    let found = which.find(desk).into_iter();
    let closed = found.filter(|(_, connection)| connection.lever.pull(reply.clone()));
    Ok(ServerConnectionsCloseResponse {
        affected: closed.count() as u64,
    })
}

/// The reply that a client is told at the end.
fn farewell(wanted: Option<&server_connections_close_request::Reply>) -> Result<Reply, String> {
    let wanted = wanted.cloned().unwrap_or_default();
    let code = match u16::try_from(wanted.code) {
        Ok(0) => 421,
        Ok(code @ 400..=599) => code,
        _ => return Err(format!("reply: {} is no code from 400 to 599", wanted.code)),
    };
    let (status, text) = match EnhancedStatus::split_off(&wanted.reason) {
        Some((status, text)) if u16::from(status.class) == code / 100 => (status, text),
        Some((status, _)) => {
            return Err(format!(
                "reply: the status {status} does not fit the code {code}"
            ));
        }
        // 4 or 5, by the check above.
        None if code < 500 => (EnhancedStatus::new(4, 3, 2), wanted.reason.as_str()),
        None => (EnhancedStatus::new(5, 3, 2), wanted.reason.as_str()),
    };
    let text = match text {
        "" => "Connection closed by the administrator",
        text => text,
    };
    Ok(Reply::line(code, Some(status), text.to_owned()))
}

/// Which outbound connections are meant.
struct OfQueue {
    id: String,
    local: Place,
    remote: Place,
    proxy: Place,
    item: Option<ItemId>,
    /// In lower case.
    mx: String,
}

impl OfQueue {
    fn new(of: queue_connections_list_request::Condition) -> Result<OfQueue, String> {
        Ok(OfQueue {
            id: of.connectionid,
            local: Place::read("localip", &of.localip)?,
            remote: Place::read("remoteip", &of.remoteip)?,
            proxy: Place::read("proxyip", &of.proxyip)?,
            item: of
                .id
                .as_ref()
                .map(|id| read_item_id(Some(id)))
                .transpose()?,
            mx: of.remotemx.to_ascii_lowercase(),
        })
    }

    fn has(&self, connection: &Outbound) -> bool {
        let doing = connection.doing();
        // 0 stands for every message of the transaction.
        let carries = |wanted: ItemId| {
            doing.item.is_some_and(|item| {
                item.transaction == wanted.transaction
                    && (wanted.queue == 0 || item.queue == wanted.queue)
            })
        };
        is(&self.id, &connection.id.to_str())
            && self.local.has(doing.local)
            && self.remote.has(Some(connection.remote.ip()))
            // There are no outbound proxies.
            && self.proxy.has(None)
            && self.item.is_none_or(carries)
            && is(&self.mx, &connection.remotemx.to_str().to_ascii_lowercase())
    }

    fn find(&self, desk: &Desk) -> Vec<Arc<Outbound>> {
        let all = desk.backend.queue.connections().into_iter();
        all.filter(|connection| self.has(connection)).collect()
    }
}

pub(super) fn list_queue(
    desk: &Desk,
    wanted: &QueueConnectionsListRequest,
) -> Result<QueueConnectionsListResponse, String> {
    let condition = wanted.condition.clone().unwrap_or_default();
    let (found, paging) = page(OfQueue::new(condition)?.find(desk), wanted.paging);
    let now = desk.clock.monotonic();
    let shown = |of: Arc<Outbound>| {
        let doing = of.doing();
        queue_connections_list_response::Connection {
            connectionid: of.id.to_string(),
            localip: doing.local.map_or_else(String::new, |ip| ip.to_string()),
            localport: doing.localport.into(),
            remoteip: of.remote.ip().to_string(),
            remoteport: of.remote.port().into(),
            proxyip: String::new(),
            duration: seconds(now, of.began),
            transactions: doing.transactions.into(),
            state: doing.state.to_owned(),
            stateduration: seconds(now, doing.since),
            id: doing.item.and_then(item_id),
            remotemx: of.remotemx.to_string(),
        }
    };
    Ok(QueueConnectionsListResponse {
        connections: found.into_iter().map(shown).collect(),
        paging,
    })
}

pub(super) fn close_queue(
    desk: &Desk,
    wanted: &QueueConnectionsCloseRequest,
) -> Result<QueueConnectionsCloseResponse, String> {
    let which = OfQueue::new(queue_connections_list_request::Condition {
        connectionid: wanted.connectionid.clone(),
        localip: wanted.localip.clone(),
        remoteip: wanted.remoteip.clone(),
        proxyip: wanted.proxyip.clone(),
        id: wanted.id.clone(),
        remotemx: wanted.remotemx.clone(),
    })?;
    let found = which.find(desk).into_iter();
    Ok(QueueConnectionsCloseResponse {
        affected: found.filter(|connection| connection.close()).count() as u64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_farewell_has_a_code_and_a_status_that_fit() {
        let written = |code, reason: &str| {
            let reply = server_connections_close_request::Reply {
                code,
                reason: reason.to_owned(),
            };
            farewell(Some(&reply)).map(|reply| {
                let mut bytes = Vec::new();
                reply.write(&mut bytes, false);
                String::from_utf8(bytes).unwrap()
            })
        };
        let ok = |code, reason| written(code, reason).unwrap();
        assert_eq!(
            ok(0, ""),
            "421 4.3.2 Connection closed by the administrator\r\n"
        );
        assert_eq!(ok(554, "5.7.1 Go\r\n250 x"), "554 5.7.1 Go?250 x\r\n");
        assert_eq!(ok(521, "away"), "521 5.3.2 away\r\n");
        assert!(written(250, "").unwrap_err().contains("250"));
        assert!(written(421, "5.1.1 x").unwrap_err().contains("5.1.1"));
    }

    #[test]
    fn places_are_addresses_and_networks() {
        let at = |text| Place::read("remoteip", text).unwrap();
        let address = Some([192, 0, 2, 7].into());
        assert!(at("").has(None));
        assert!(at("192.0.2.0/24").has(address));
        assert!(at("192.0.2.7").has(address));
        assert!(!at("192.0.2.8").has(address));
        assert!(!at("192.0.2.8").has(None));
        let error = Place::read("remoteip", "x").unwrap_err();
        assert_eq!(error, "remoteip: x is no address or network");
    }
}
