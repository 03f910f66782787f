//! From the configuration as it is written to the settings of the machines and the queue.

use std::collections::BTreeMap;
use std::sync::Arc;

use angarium_config::running::Running;
use angarium_config::transport::{SourceAddress, Transport as Written};
use angarium_config::{HookType, Server};
use angarium_queue::destination::Families;
use angarium_queue::retry::{Interval, RetryRules};
use angarium_queue::text::Text;
use angarium_queue::transport::{SourceIp, Sources, Transport, Transports};
use angarium_smtp::network::Network;
use angarium_smtp::param::Extensions;
use angarium_smtp::server::{AuthConfig, Config, Hooks, Limits, ProxyCommands, Timeouts};

use crate::hooks::queue::AddressBook;

/// The settings of one server's sessions; `hostname` is the system's.
#[must_use]
pub fn server(server: &Server, hostname: &str) -> Config {
    let bound = |hook| !server.hook_ids(hook).is_empty();
    let size = |bytes: u32| usize::try_from(bytes).unwrap_or(usize::MAX);
    let extensions = &server.extensions;
    Config {
        hostname: server
            .hostname
            .as_ref()
            .map_or_else(|| hostname.to_owned(), ToString::to_string),
        hooks: Hooks {
            connect: bound(HookType::Connect),
            helo: bound(HookType::Helo),
            mailfrom: bound(HookType::MailFrom),
            rcptto: bound(HookType::RcptTo),
            proxy: proxy(server),
        },
        extensions: Extensions {
            pipelining: extensions.pipelining,
            size: extensions.size,
            eightbitmime: extensions.eightbitmime,
            smtputf8: extensions.smtputf8,
            enhancedstatuscodes: extensions.enhancedstatuscodes,
            starttls: server.tls.offers_starttls(),
            auth: bound(HookType::Auth),
            dsn: false,
            chunking: extensions.chunking,
            binarymime: extensions.offers_binarymime(),
            requiretls: extensions.requiretls,
            mtpriority: extensions.mtpriority,
            limits: extensions.limits,
            // By who connects.
            xclient: false,
        },
        auth: bound(HookType::Auth).then(|| auth(server)),
        helo_required: server.phases.helo.required,
        bare_lf: server.barelf,
        transport_id: server
            .transport
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
        relay: networks(&server.relay),
        xclient: networks(&server.xclient),
        limits: Limits {
            line: size(server.limits.line),
            auth_line: size(server.limits.authline),
            commands: server.limits.commands,
            errors: server.limits.errors,
            header: size(server.limits.header),
            headers: size(server.limits.headers),
            min_rate: u64::from(server.limits.minrate),
            recipients: usize::try_from(server.phases.rcptto.maxrecipients).unwrap_or(usize::MAX),
            messages: server.phases.mailfrom.maxmessages,
            size: server.phases.data.maxsize,
            hops: server.phases.data.maxhops,
        },
        timeouts: Timeouts {
            idle: *server.timeout.idle,
            command: *server.timeout.command,
            data: *server.timeout.data,
        },
    }
}

/// Which command lines run the proxy hook: all unless some are named.
fn proxy(server: &Server) -> ProxyCommands {
    let phase = &server.phases.proxy;
    match (&phase.hook, &phase.commands) {
        (None, _) => ProxyCommands::None,
        (Some(_), None) => ProxyCommands::All,
        (Some(_), Some(verbs)) => ProxyCommands::Starting(verbs.clone()),
    }
}

fn auth(server: &Server) -> AuthConfig {
    let phase = &server.phases.auth;
    let mechanisms = phase.mechanisms.iter();
    AuthConfig {
        mechanisms: mechanisms.map(|name| name.to_ascii_uppercase()).collect(),
        tls_only: phase.tls,
    }
}

/// Address blocks as the machines take them.
#[must_use]
pub fn networks(networks: &[angarium_config::types::Network]) -> Vec<Network> {
    // Both types take the same text.
    networks
        .iter()
        .filter_map(|network| network.to_string().parse().ok())
        .collect()
}

/// The source addresses of the configuration by id.
#[must_use]
pub fn addresses(running: &Running) -> AddressBook {
    let entries = running.addresses.iter().map(|(id, address)| {
        let source = SourceIp {
            id: Some(Text::from(id.to_string())),
            address: address.address.0,
            helo: address
                .hostname
                .as_ref()
                .map(|name| Text::from(name.to_string())),
        };
        (id.to_string(), source)
    });
    entries.collect()
}

/// All transports as the queue decides by them.
#[must_use]
pub fn transports(running: &Running) -> Transports {
    let book = addresses(running);
    running
        .transports
        .iter()
        .map(|(id, written)| {
            (
                Text::from(id.to_string()),
                Arc::new(transport(written, running, &book)),
            )
        })
        .collect::<BTreeMap<_, _>>()
}

fn transport(written: &Written, running: &Running, book: &AddressBook) -> Transport {
    let source = &written.connection.sourceip;
    let addresses: Vec<SourceIp> = source
        .addresses
        .iter()
        .filter_map(|address| match address {
            SourceAddress::Named(id) => book.get(id).cloned().or_else(|| {
                // The configuration has checked that it is an id or an address.
                let address = id.to_string().parse().ok()?;
                Some(SourceIp {
                    id: None,
                    address,
                    helo: None,
                })
            }),
            SourceAddress::Own(own) => Some(SourceIp {
                id: None,
                address: own.address.0,
                helo: own.helo.as_ref().map(|name| Text::from(name.to_string())),
            }),
        })
        .collect();
    let random = source.random.unwrap_or(running.queues.sourceip.random);
    let intervals: Vec<Interval> = written
        .retry
        .intervals
        .iter()
        .map(|interval| Interval {
            delay: *interval.interval,
            notify: interval.notify,
        })
        .collect();
    Transport {
        server: written
            .connection
            .server
            .as_ref()
            .map(|host| Text::from(host.to_string())),
        port: written.connection.port,
        mx: written.connection.uses_mx(),
        families: Families {
            ipv4: source.ipv4,
            ipv6: source.ipv6,
        },
        sources: Sources {
            addresses: addresses.into(),
            ordered: !random,
        },
        retry: RetryRules {
            count: written.retry.count,
            maxage: *written.retry.maxage,
            holdage: written.hold.maxage().map(|age| *age),
            intervals: intervals.into(),
            jitter: *written.retry.jitter,
        },
        dsn_transport: written
            .dsn
            .transport
            .as_ref()
            .map(|id| Text::from(id.to_string())),
        hold: written.hold.enabled(),
    }
}
