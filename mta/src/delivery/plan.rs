//! What the client does in one attempt: the transport's settings, over them those of the delivery
//! file for this destination, over these what `Try` says.

use std::sync::Arc;
use std::time::Duration;

use angarium_config::delivery::DeliveryPooling;
use angarium_queue::pool::{PoolDestination, PoolKey, PoolRules};
use angarium_queue::text::Text;
use angarium_smtp::client::{Config, Protocol, State, TlsMode as MachineTls};

use super::Core;
use super::attempt::{Task, requires_tls};
use super::dial::Proxy;
use super::idle::{Offer, Reservation};
use super::jobs::fnv1a;
use super::settings::{PoolPolicy, Settings, ciphers, protocols, tls_mode};
use super::tls_settings::TlsSettings;
use crate::hooks::queue::{Client, TlsMode};

/// The client's plan for an attempt.
pub(super) struct ClientPlan {
    pub config: Config,
    pub tls: TlsSettings,
    pub connect_timeout: Duration,
    /// The source address need not be this machine's.
    pub nonlocal: bool,
    /// Who opens the connection, if not we ourselves.
    pub proxy: Option<Proxy>,
    /// The message is sent by BDAT where the peer takes that.
    pub chunking: bool,
    /// None: the connection is not kept.
    pub pooling: Option<PoolRules>,
    pub pool_key: PoolKey,
}

impl ClientPlan {
    pub(super) fn new(settings: &Settings, task: &Task) -> ClientPlan {
        let transport = settings.client(&task.item.transportid);
        let destination = &task.destination;
        let script = &task.wishes.client;
        let source = task.source.as_ref();
        let of_source = source.and_then(|source| Some(source.helo.as_ref()?.to_string()));
        let helo = (of_source.clone().filter(|_| script.own_sources))
            .or_else(|| script.helo.clone())
            .or(of_source)
            .or_else(|| transport.helo.clone())
            .unwrap_or_else(|| settings.hostname.clone());
        let mut tls = transport.tls.clone();
        // The settings were checked when they were read.
        let by_destination = destination.tls.mode.and_then(|mode| tls_mode(mode).ok());
        tls.mode = script.tls.or(by_destination).unwrap_or(tls.mode);
        tls.sni = script.tls_sni.clone().unwrap_or(tls.sni);
        if let Some(list) = &script.tls_protocols {
            tls.protocols = Some(list.clone());
        } else if let Some(list) = &destination.tls.protocols {
            tls.protocols = protocols(list);
        }
        if let Some(list) = &script.tls_ciphers {
            tls.ciphers = Some(list.clone());
        } else if let Some(list) = &destination.tls.ciphers {
            tls.ciphers = ciphers(list);
        }
        tls.verify_host = script.tls_verify_host.unwrap_or(tls.verify_host);
        if !script.tls_verify_name.is_empty() {
            tls.verify_names.clone_from(&script.tls_verify_name);
        }
        if let Some(own) = &script.tls_client_cert {
            tls.certificate = Some(Arc::clone(own));
        }
        tls.default_ca = script.tls_default_ca.unwrap_or(tls.default_ca);
        if requires_tls(&task.item) && !task.item.sender.is_null() {
            // RFC 8689 §4.2.1: nothing less than TLS with the very host that was looked for.
            tls.mode = TlsMode::RequireVerify;
            tls.verify_host = true;
        }
        let mut timeouts = transport.timeouts.clone();
        let written = destination.timeout.smtp.given();
        let written = written.map(|(state, limit)| (state, *limit));
        let by_script = script.timeouts.iter();
        let by_script = by_script.map(|(state, limit)| (state.as_str(), *limit));
        for (state, limit) in written.chain(by_script) {
            // All sides have the names of hooks.md.
            if let Ok(state) = state.parse::<State>() {
                timeouts.set(state, limit);
                if state == State::Bdat {
                    timeouts.block = limit;
                }
            }
        }
        let lmtp = script.lmtp.unwrap_or(transport.lmtp);
        let config = Config {
            protocol: if lmtp { Protocol::Lmtp } else { Protocol::Smtp },
            helo,
            // Set anew for each connection.
            tls: MachineTls::Disabled,
            xclient: match &script.xclient {
                Some(attributes) => attributes.clone(),
                None => transport.xclient.clone(),
            },
            auth: match &script.auth {
                Some(auth) => Some(auth.clone()).filter(|auth| !auth.username.is_empty()),
                None => transport.auth.clone(),
            },
            pipelining: transport.pipelining,
            timeouts,
        };
        let of_destination = destination.proxyprotocol.as_ref().map(Proxy::from);
        let proxy = (script.proxy.clone())
            .or(of_destination)
            .or_else(|| settings.proxies.of_source(source).cloned())
            .or_else(|| transport.proxy.clone());
        let pool_key = pool_key(settings, task, (&config, &tls, proxy.as_ref()));
        ClientPlan {
            pooling: pooling(&destination.pooling, script),
            connect_timeout: script
                .connect_timeout
                .or(destination.timeout.connect.map(|limit| *limit))
                .unwrap_or(transport.connect_timeout),
            nonlocal: script.nonlocal.unwrap_or(transport.nonlocal),
            chunking: script
                .chunking
                .or(destination.chunking)
                .unwrap_or(transport.chunking),
            proxy,
            config,
            tls,
            pool_key,
        }
    }
}

fn pooling(destination: &DeliveryPooling, script: &Client) -> Option<PoolRules> {
    if !script.pooling.or(destination.enabled).unwrap_or(false) {
        return None;
    }
    let last = PoolRules::default();
    Some(PoolRules {
        timeout: script
            .pooling_timeout
            .or(destination.timeout.map(|timeout| *timeout))
            .unwrap_or(last.timeout),
        transactions: script
            .pooling_transactions
            .or(destination.transactions.map(u64::from))
            .unwrap_or(last.transactions),
        evictable: script
            .pooling_evictable
            .or(destination.evictable)
            .unwrap_or(last.evictable),
    })
}

/// A number that is equal for attempts that may share a connection; none if the connection of this
/// one is not kept. Attempts with one number belong on one worker.
pub(super) fn shared_by(settings: &Settings, task: &Task) -> Option<u64> {
    pooling(&task.destination.pooling, &task.wishes.client)?;
    let port = task.candidate.port.to_be_bytes();
    Some(match destination(settings, task) {
        PoolDestination::RemoteMx(name) => fnv1a([b"mx", name.as_bytes(), &port]),
        PoolDestination::Grouping(name) => fnv1a([b"grouping", name.as_bytes(), &port]),
        PoolDestination::RemoteIp(ip) => fnv1a([b"ip", ip.to_string().as_bytes(), &port]),
    })
}

/// The idle connection that was set aside for an attempt.
pub(super) fn reservation(settings: &Settings, task: &Task, core: &Core) -> Reservation {
    let offer = Offer {
        transportid: task.item.transportid.clone(),
        destination: destination(settings, task),
        localip: task.source.as_ref().map(|source| source.address),
    };
    Reservation::new(&core.idle, offer)
}

fn destination(settings: &Settings, task: &Task) -> PoolDestination {
    let candidate = &task.candidate;
    let by_name = || PoolDestination::RemoteMx(candidate.mx.to_ascii_lowercase());
    match settings.pool_policy {
        PoolPolicy::RemoteMx => by_name(),
        PoolPolicy::RemoteIp => PoolDestination::RemoteIp(candidate.ip),
        PoolPolicy::Grouping => match &task.grouping {
            Some(grouping) => PoolDestination::Grouping(grouping.clone()),
            None => by_name(),
        },
    }
}

fn pool_key(
    settings: &Settings,
    task: &Task,
    (config, tls, proxy): (&Config, &TlsSettings, Option<&Proxy>),
) -> PoolKey {
    let candidate = &task.candidate;
    let user = config.auth.as_ref().map(|auth| auth.username.as_str());
    // A certificate that was checked for one host proves nothing for another.
    let host = tls.verify_host.then_some(&candidate.mx);
    let session = format!(
        "{:?} {} {} {} {host:?} {user:?} {:?} {proxy:?}",
        config.protocol,
        config.helo,
        config.pipelining,
        tls.fingerprint(),
        config.xclient
    );
    PoolKey {
        destination: destination(settings, task),
        localip: task.source.as_ref().map(|source| source.address),
        port: candidate.port,
        session: Text::from(session),
    }
}
