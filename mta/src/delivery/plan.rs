//! What the client does in one attempt: the transport's settings with what `Try` overrides.

use std::time::Duration;

use angarium_queue::pool::{PoolDestination, PoolKey, PoolRules};
use angarium_queue::text::Text;
use angarium_smtp::client::{Config, Protocol, State, TlsMode as MachineTls};

use super::attempt::Task;
use super::settings::{PoolPolicy, Settings, Sni, TlsSettings};
use crate::tls::Versions;

/// The client's plan for an attempt.
pub(super) struct ClientPlan {
    pub config: Config,
    pub tls: TlsSettings,
    pub connect_timeout: Duration,
    /// None: the connection is not kept.
    pub pooling: Option<PoolRules>,
    pub pool_key: PoolKey,
}

impl ClientPlan {
    pub(super) fn new(settings: &Settings, task: &Task) -> ClientPlan {
        let transport = settings.client(&task.item.transportid);
        let script = &task.client;
        let source = task.source.as_ref();
        let helo = script
            .helo
            .clone()
            .or_else(|| source?.helo.as_ref().map(Text::to_string))
            .or_else(|| transport.helo.clone())
            .unwrap_or_else(|| settings.hostname.clone());
        let mut tls = transport.tls.clone();
        tls.mode = script.tls.unwrap_or(tls.mode);
        tls.sni = match &script.tls_sni {
            None => tls.sni,
            Some(name) if name.is_empty() => Sni::Host,
            Some(name) => Sni::Name(name.clone()),
        };
        if let Some(protocols) = &script.tls_protocols
            && let Ok(protocols) = protocols.parse()
        {
            tls.versions = Versions::from(&protocols);
        }
        tls.verify_host = script.tls_verify_host.unwrap_or(tls.verify_host);
        if !script.tls_verify_name.is_empty() {
            tls.verify_names.clone_from(&script.tls_verify_name);
        }
        tls.default_ca = script.tls_default_ca.unwrap_or(tls.default_ca);
        let mut timeouts = transport.timeouts.clone();
        for (state, limit) in &script.timeouts {
            // Both sides have the names of hooks.md.
            if let Ok(state) = state.as_str().parse::<State>() {
                timeouts.set(state, *limit);
            }
        }
        let lmtp = script.lmtp.unwrap_or(transport.lmtp);
        let config = Config {
            protocol: if lmtp { Protocol::Lmtp } else { Protocol::Smtp },
            helo,
            // Set anew for each connection.
            tls: MachineTls::Disabled,
            auth: transport.auth.clone(),
            pipelining: transport.pipelining,
            timeouts,
        };
        let pool_key = pool_key(settings, task, &config, &tls);
        ClientPlan {
            pooling: pooling(transport.pooling, task),
            connect_timeout: script.connect_timeout.unwrap_or(transport.connect_timeout),
            config,
            tls,
            pool_key,
        }
    }

    /// The name that the peer is asked for by SNI.
    pub(super) fn server_name<'a>(&'a self, host: &'a str) -> &'a str {
        match &self.tls.sni {
            Sni::Name(name) => name,
            Sni::Host | Sni::Off => host,
        }
    }
}

fn pooling(transport: Option<PoolRules>, task: &Task) -> Option<PoolRules> {
    let script = &task.client;
    let mut rules = match (script.pooling, transport) {
        (Some(false), _) | (None, None) => return None,
        (_, rules) => rules.unwrap_or_default(),
    };
    rules.timeout = script.pooling_timeout.unwrap_or(rules.timeout);
    rules.transactions = script.pooling_transactions.unwrap_or(rules.transactions);
    Some(rules)
}

fn pool_key(settings: &Settings, task: &Task, config: &Config, tls: &TlsSettings) -> PoolKey {
    let candidate = &task.candidate;
    let by_name = || PoolDestination::RemoteMx(candidate.mx.to_ascii_lowercase());
    let destination = match settings.pool_policy {
        PoolPolicy::RemoteMx => by_name(),
        PoolPolicy::RemoteIp => PoolDestination::RemoteIp(candidate.ip),
        PoolPolicy::Grouping => match &task.grouping {
            Some(grouping) => PoolDestination::Grouping(grouping.clone()),
            None => by_name(),
        },
    };
    let user = config.auth.as_ref().map(|auth| auth.username.as_str());
    // A certificate that was checked for one host proves nothing for another.
    let host = tls.verify_host.then_some(&candidate.mx);
    let session = format!(
        "{:?} {} {tls:?} {host:?} {user:?}",
        config.protocol, config.helo
    );
    PoolKey {
        destination,
        localip: task.source.as_ref().map(|source| source.address),
        port: candidate.port,
        session: Text::from(session),
    }
}
