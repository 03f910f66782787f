//! `ctl server connections` and `ctl queue connections`.

use angarium_control::proto::{
    PagingRequest, QueueConnectionsCloseRequest, QueueConnectionsCloseResponse,
    QueueConnectionsListRequest, QueueConnectionsListResponse, QueueItemId,
    ServerConnectionsCloseRequest, ServerConnectionsCloseResponse, ServerConnectionsListRequest,
    ServerConnectionsListResponse, queue_connections_list_request, queue_connections_list_response,
    server_connections_close_request, server_connections_list_request,
};
use clap::{Args, Subcommand};

use super::Ctl;
use super::conditions::item;
use super::table::{Table, span};
use crate::cli::Failure;
use crate::cli::terminal::print;

/// `ctl server …`
#[derive(Debug, Subcommand)]
pub(super) enum Server {
    /// Connections of clients
    Connections {
        #[command(subcommand)]
        command: Inbound,
    },
}

/// `ctl server connections …`
#[derive(Debug, Subcommand)]
pub(super) enum Inbound {
    /// List them
    List {
        #[command(flatten)]
        which: Clients,
        #[command(flatten)]
        page: Page,
    },
    /// Tell clients to go
    Close {
        #[command(flatten)]
        which: Clients,
        /// All of them: needed without any other condition
        #[arg(long)]
        all: bool,
        /// Code of the reply
        #[arg(long, value_name = "CODE", default_value_t = 421)]
        code: u32,
        /// Text of the reply, such as "4.7.0 Come back tomorrow"
        #[arg(long, value_name = "TEXT", default_value = "")]
        reason: String,
    },
}

/// Which clients.
#[derive(Debug, Args)]
pub(super) struct Clients {
    /// The connection with this id
    #[arg(long, value_name = "ID", default_value = "")]
    connectionid: String,
    /// Address or network of the client
    #[arg(long, value_name = "ADDRESS", default_value = "")]
    remoteip: String,
    /// Server that it is connected to
    #[arg(long, value_name = "ID", default_value = "")]
    serverid: String,
    /// Address or network of ours
    #[arg(long, value_name = "ADDRESS", default_value = "")]
    localip: String,
}

impl Clients {
    fn is_empty(&self) -> bool {
        let texts = [
            &self.connectionid,
            &self.remoteip,
            &self.serverid,
            &self.localip,
        ];
        texts.iter().all(|text| text.is_empty())
    }
}

/// `ctl queue connections …`
#[derive(Debug, Subcommand)]
pub(super) enum Outbound {
    /// List them
    List {
        #[command(flatten)]
        which: Peers,
        #[command(flatten)]
        page: Page,
    },
    /// Close connections: with QUIT if they wait for a message, at once if they carry one
    Close {
        #[command(flatten)]
        which: Peers,
        /// All of them: needed without any other condition
        #[arg(long)]
        all: bool,
    },
}

/// Which connections to other servers.
#[derive(Debug, Args)]
pub(super) struct Peers {
    /// The connection with this id
    #[arg(long, value_name = "ID", default_value = "")]
    connectionid: String,
    /// Address or network of ours
    #[arg(long, value_name = "ADDRESS", default_value = "")]
    localip: String,
    /// Address or network of the other server
    #[arg(long, value_name = "ADDRESS", default_value = "")]
    remoteip: String,
    /// Address or network of a proxy
    #[arg(long, value_name = "ADDRESS", default_value = "")]
    proxyip: String,
    /// The message that it carries: UUID:N, or UUID for any of its recipients
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// Host name of the other server
    #[arg(long, value_name = "NAME", default_value = "")]
    remotemx: String,
}

impl Peers {
    fn is_empty(&self) -> bool {
        let texts = [
            &self.connectionid,
            &self.localip,
            &self.remoteip,
            &self.proxyip,
            &self.remotemx,
        ];
        self.id.is_none() && texts.iter().all(|text| text.is_empty())
    }
}

/// Which part of a list.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct Page {
    /// Leave out so many
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    offset: u64,
    /// Show at most so many
    #[arg(long, value_name = "NUMBER", default_value_t = 100)]
    limit: u64,
}

impl Page {
    fn request(self) -> Option<PagingRequest> {
        Some(PagingRequest {
            offset: self.offset,
            limit: self.limit,
        })
    }
}

fn all_or_some(empty: bool, all: bool) -> Result<(), Failure> {
    match empty == all {
        true => Ok(()),
        false if empty => Err(Failure::Usage(
            "say which connections, or --all for every one".to_owned(),
        )),
        false => Err(Failure::Usage(
            "--all goes with no other condition".to_owned(),
        )),
    }
}

pub(super) async fn server(ctl: &mut Ctl, command: Server) -> Result<(), Failure> {
    let Server::Connections { command } = command;
    match command {
        Inbound::List { which, page } => {
            let wanted = ServerConnectionsListRequest {
                condition: Some(server_connections_list_request::Condition {
                    connectionid: which.connectionid,
                    remoteip: which.remoteip,
                    serverid: which.serverid,
                    localip: which.localip,
                }),
                paging: page.request(),
            };
            let answer = ctl
                .ask::<ServerConnectionsListResponse>(b'N', Some(&wanted))
                .await?;
            let Some(answer) = answer else { return Ok(()) };
            let titles = [
                "connectionid",
                "serverid",
                "remoteip",
                "remoteport",
                "remoteptr",
                "localip",
                "localport",
                "duration",
                "transactions",
            ];
            let mut table = Table::new(titles).right([3, 6, 7, 8]);
            for of in answer.connections {
                table.row([
                    of.connectionid,
                    of.serverid,
                    of.remoteip,
                    of.remoteport.to_string(),
                    of.remoteptr,
                    of.localip,
                    of.localport.to_string(),
                    span(of.duration),
                    of.transactions.to_string(),
                ]);
            }
            table.print()
        }
        Inbound::Close {
            which,
            all,
            code,
            reason,
        } => {
            all_or_some(which.is_empty(), all)?;
            let wanted = ServerConnectionsCloseRequest {
                reply: Some(server_connections_close_request::Reply { code, reason }),
                connectionid: which.connectionid,
                remoteip: which.remoteip,
                serverid: which.serverid,
                localip: which.localip,
            };
            let answer = ctl
                .ask::<ServerConnectionsCloseResponse>(b'Q', Some(&wanted))
                .await?;
            closed(answer.map(|answer| answer.affected))
        }
    }
}

fn item_id(text: &str) -> Result<QueueItemId, Failure> {
    let (transaction, queue) = item(text)?;
    Ok(QueueItemId { transaction, queue })
}

fn closed(affected: Option<u64>) -> Result<(), Failure> {
    match affected {
        Some(0) => Err(Failure::Failed("there is no such connection".to_owned())),
        Some(1) => print("1 connection closed\n"),
        Some(count) => print(&format!("{count} connections closed\n")),
        None => Ok(()),
    }
}

pub(super) async fn queue(ctl: &mut Ctl, command: Outbound) -> Result<(), Failure> {
    match command {
        Outbound::List { which, page } => {
            let id = which.id.as_deref().map(item_id).transpose()?;
            let wanted = QueueConnectionsListRequest {
                condition: Some(queue_connections_list_request::Condition {
                    connectionid: which.connectionid,
                    localip: which.localip,
                    remoteip: which.remoteip,
                    proxyip: which.proxyip,
                    id,
                    remotemx: which.remotemx,
                }),
                paging: page.request(),
            };
            let answer = ctl
                .ask::<QueueConnectionsListResponse>(b'R', Some(&wanted))
                .await?;
            let Some(answer) = answer else { return Ok(()) };
            let titles = [
                "connectionid",
                "localip",
                "localport",
                "remotemx",
                "remoteip",
                "remoteport",
                "state",
                "since",
                "duration",
                "transactions",
                "id",
            ];
            let mut table = Table::new(titles).right([2, 5, 7, 8, 9]);
            for of in answer.connections {
                table.row(row(of));
            }
            table.print()
        }
        Outbound::Close { which, all } => {
            all_or_some(which.is_empty(), all)?;
            let wanted = QueueConnectionsCloseRequest {
                id: which.id.as_deref().map(item_id).transpose()?,
                connectionid: which.connectionid,
                localip: which.localip,
                remoteip: which.remoteip,
                proxyip: which.proxyip,
                remotemx: which.remotemx,
            };
            let answer = ctl
                .ask::<QueueConnectionsCloseResponse>(b'S', Some(&wanted))
                .await?;
            closed(answer.map(|answer| answer.affected))
        }
    }
}

fn row(of: queue_connections_list_response::Connection) -> [String; 11] {
    let id = of.id.map(|id| format!("{}:{}", id.transaction, id.queue));
    let port = |port: u32| match port {
        0 => String::new(),
        port => port.to_string(),
    };
    [
        of.connectionid,
        of.localip,
        port(of.localport),
        of.remotemx,
        of.remoteip,
        port(of.remoteport),
        of.state,
        span(of.stateduration),
        span(of.duration),
        of.transactions.to_string(),
        id.unwrap_or_default(),
    ]
}
