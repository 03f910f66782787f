//! What of the running configuration delivery works by, in the forms of the queue and the client.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use angarium_config::Running;
use angarium_config::condition::Fields;
use angarium_config::delivery::{Delivery, DeliverySettings};
use angarium_config::grouping::Groupings;
use angarium_config::running::PoolingPolicy;
use angarium_config::transport::{self as config, Sni as ConfigSni};
use angarium_config::types::{Id, TlsCiphers, TlsProtocols};
use angarium_mail::dsn::{ExtraHeader, ExtraHeaderError};
use angarium_queue::destination::{Candidate, OwnHosts};
use angarium_queue::dsn::Signer;
use angarium_queue::item::Item;
use angarium_queue::policy::{Policies, PolicyError, Setup};
use angarium_queue::scheduler::Limits;
use angarium_queue::text::Text;
use angarium_queue::transport::{SourceIp, Transports};
use angarium_smtp::client::{Credentials, Mechanism, State, Timeouts};

use angarium_stdlib::smtp::xclient_attributes;
use rustls::RootCertStore;

use super::attempt::Wishes;
use super::dial::Proxy;
use super::tls_settings::TlsSettings;
use crate::hooks::queue::{Sni, TlsMode};
use crate::scripts::Keys;
use crate::signing::PrivateKeys;

/// The settings of delivery. They never change; a reload makes new ones.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Our host name: the last resort for EHLO, and in notifications.
    pub hostname: String,
    /// `mail.postmaster`: From of notifications.
    pub postmaster: Option<String>,
    /// What the queue knows of the transports.
    pub transports: Transports,
    /// What the client knows of them.
    pub clients: BTreeMap<Text, Arc<ClientSettings>>,
    /// `addresses[].proxyprotocol`, by the ids of addresses.
    pub proxies: Proxies,
    /// How notifications about their messages look.
    pub dsn: BTreeMap<Text, Arc<DsnSettings>>,
    /// Names and sockets that are ourselves.
    pub own: Arc<OwnHosts>,
    /// How much goes on at once.
    pub limits: Limits,
    /// `queues.grouping`
    pub groupings: Arc<Groupings>,
    /// Policies and suspends.
    pub policies: Arc<Setup>,
    /// `smtpd-delivery.yaml`: settings by destination, over those of the transport.
    pub by_destination: Arc<Delivery>,
    /// `queues.pooling.size`: idle connections of the process.
    pub pool_size: usize,
    /// `queues.pooling.policy`.
    pub pool_policy: PoolPolicy,
    /// The certificate authorities; none: the system's.
    pub authorities: Option<Arc<RootCertStore>>,
}

/// The proxies through which connections from an address go, by its id.
#[derive(Clone, Debug, Default)]
pub struct Proxies(Arc<BTreeMap<Text, Proxy>>);

impl Proxies {
    /// Those of a configuration.
    #[must_use]
    pub fn of(running: &Running) -> Proxies {
        let with_proxy = running.addresses.iter().filter_map(|(id, address)| {
            let proxy = address.proxyprotocol.as_ref()?;
            Some((Text::from(id.to_string()), Proxy::from(proxy)))
        });
        Proxies(Arc::new(with_proxy.collect()))
    }

    /// That of an address.
    #[must_use]
    pub fn of_source(&self, source: Option<&SourceIp>) -> Option<&Proxy> {
        self.0.get(source?.id.as_ref()?)
    }
}

/// By what an idle connection is found again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PoolPolicy {
    /// The group of the destination; the host name if it has none.
    Grouping,
    /// The host name.
    #[default]
    RemoteMx,
    /// The address.
    RemoteIp,
}

/// The client's side of a transport; `Try` overrides.
#[derive(Clone, Debug)]
pub struct ClientSettings {
    /// LMTP instead of SMTP.
    pub lmtp: bool,
    /// `session.helo`
    pub helo: Option<String>,
    /// `session.tls`
    pub tls: TlsSettings,
    /// `session.sasl`
    pub auth: Option<Credentials>,
    /// `session.xclient`: attributes, names in upper case.
    pub xclient: Vec<(String, String)>,
    /// `session.pipelining`
    pub pipelining: bool,
    /// `session.chunking`
    pub chunking: bool,
    /// `session.timeout`
    pub timeouts: Timeouts,
    /// `connection.timeout`
    pub connect_timeout: Duration,
    /// `connection.sourceip.nonlocal`
    pub nonlocal: bool,
    /// `connection.proxyprotocol`
    pub proxy: Option<Proxy>,
}

impl Default for ClientSettings {
    fn default() -> Self {
        ClientSettings {
            lmtp: false,
            helo: None,
            tls: TlsSettings::default(),
            auth: None,
            xclient: Vec::new(),
            pipelining: true,
            chunking: false,
            timeouts: Timeouts::default(),
            connect_timeout: Duration::from_secs(30),
            nonlocal: false,
            proxy: None,
        }
    }
}

/// `dsn` of a transport; the options of a script override.
#[derive(Clone, Debug, Default)]
pub struct DsnSettings {
    /// Address in From.
    pub from: Option<String>,
    /// Name in From.
    pub from_name: Option<String>,
    /// The whole subject.
    pub subject: Option<String>,
    /// Text in front of the subject.
    pub subject_prepend: Option<String>,
    /// More fields.
    pub headers: Vec<ExtraHeader>,
    /// Whether the original's header is included.
    pub original_headers: Option<bool>,
    /// Whether the original is included.
    pub original_message: Option<bool>,
    /// What signs them.
    pub dkim: Option<Signer>,
}

/// A setting that delivery cannot carry out.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A TLS mode that is not there yet.
    #[error("transports[{transport}].session.tls.mode: {reason}")]
    TlsMode {
        /// The transport.
        transport: String,
        /// Why.
        reason: String,
    },
    /// A certificate of ours that cannot be shown.
    #[error(
        "transports[{transport}].session.tls.clientcert: the key pair \"{id}\" cannot be used: {reason}"
    )]
    Certificate {
        /// The transport.
        transport: String,
        /// The key pair.
        id: String,
        /// Why.
        reason: String,
    },
    /// Attributes for XCLIENT that cannot be sent.
    #[error("transports[{transport}].session.xclient: {reason}")]
    Xclient {
        /// The transport.
        transport: String,
        /// Why.
        reason: String,
    },
    /// The same as for a transport, by destination.
    #[error("smtpd-delivery.yaml: tls.mode: {reason}")]
    Destination {
        /// Why.
        reason: String,
    },
    /// Policies or suspends.
    #[error("policies and suspends: {0}")]
    Policies(#[from] PolicyError),
    /// Notifications cannot be signed so.
    #[error("transports[{transport}].dsn.dkim: {reason}")]
    Dkim {
        /// The transport.
        transport: String,
        /// Why.
        reason: String,
    },
    /// A header of notifications.
    #[error("transports[{transport}].dsn.headers: {error}")]
    Header {
        /// The transport.
        transport: String,
        /// What is wrong.
        error: ExtraHeaderError,
    },
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            hostname: "localhost".to_owned(),
            postmaster: None,
            transports: Transports::new(),
            clients: BTreeMap::new(),
            proxies: Proxies::default(),
            dsn: BTreeMap::new(),
            own: Arc::new(OwnHosts::default()),
            limits: Limits::default(),
            groupings: Arc::default(),
            policies: Arc::default(),
            by_destination: Arc::default(),
            pool_size: 1000,
            pool_policy: PoolPolicy::default(),
            authorities: None,
        }
    }
}

impl Settings {
    /// The settings that a configuration with these key pairs gives. `sockets` are those on which mail is taken, for the
    /// guard against loops; `hostname` is the system's, or the one configured for it.
    ///
    /// # Errors
    /// A setting that cannot be carried out.
    pub fn from_config(
        running: &Running,
        keys: &Keys,
        hostname: &str,
        sockets: Vec<(IpAddr, u16)>,
    ) -> Result<Settings, SettingsError> {
        Policies::new((*running.policies).clone())?;
        let mut names = vec![hostname.to_ascii_lowercase()];
        for server in running.servers.values() {
            names.extend(
                server
                    .hostname
                    .as_ref()
                    .map(|name| name.to_ascii_lowercase()),
            );
        }
        names.sort();
        names.dedup();
        let queues = &running.queues;
        let mut settings = Settings {
            hostname: hostname.to_owned(),
            postmaster: running.mail.postmaster.as_ref().map(ToString::to_string),
            own: Arc::new(OwnHosts { names, sockets }),
            limits: Limits {
                deliveries: count(queues.concurrency.total),
                ..Limits::default()
            },
            policies: Arc::clone(&running.policies),
            groupings: Arc::new(running.groupings.clone()),
            by_destination: Arc::new(running.delivery.clone()),
            pool_size: count(queues.pooling.size),
            pool_policy: match queues.pooling.policy {
                PoolingPolicy::Grouping => PoolPolicy::Grouping,
                PoolingPolicy::RemoteMx => PoolPolicy::RemoteMx,
                PoolingPolicy::RemoteIp => PoolPolicy::RemoteIp,
            },
            transports: crate::settings::transports(running),
            proxies: Proxies::of(running),
            ..Settings::default()
        };
        for written in running.delivery.all() {
            if let Some(mode) = written.tls.mode {
                tls_mode(mode).map_err(|reason| SettingsError::Destination { reason })?;
            }
        }
        for (id, transport) in &running.transports {
            let key = Text::from(id.to_string());
            let client = client_side(transport, keys)?;
            settings.clients.insert(key.clone(), Arc::new(client));
            settings.dsn.insert(key, Arc::new(dsn_side(transport)?));
        }
        Ok(settings)
    }

    /// Adds what signs notifications, with the keys of the configuration.
    ///
    /// # Errors
    /// For a key or a name that nothing can be signed with.
    pub fn sign_with(
        mut self,
        running: &Running,
        keys: &PrivateKeys,
    ) -> Result<Settings, SettingsError> {
        for (id, transport) in &running.transports {
            let Some(written) = &transport.dsn.dkim else {
                continue;
            };
            let signer = keys.signer(written).map_err(|reason| SettingsError::Dkim {
                transport: id.to_string(),
                reason,
            })?;
            if let Some(dsn) = self.dsn.get_mut(&Text::from(id.to_string())) {
                Arc::make_mut(dsn).dkim = Some(signer);
            }
        }
        Ok(self)
    }

    /// What `smtpd-delivery.yaml` says of an attempt.
    pub(super) fn of_destination<'a>(
        &self,
        item: &'a Item,
        wishes: &'a Wishes,
        candidate: &Candidate,
        source: Option<&SourceIp>,
        grouping: Option<&Text>,
    ) -> DeliverySettings {
        let over = |wished: &'a Option<Text>, own: &'a Option<Text>| match wished {
            // An empty one takes away what the item has.
            Some(text) => Some(text).filter(|text| !text.is_empty()),
            None => own.as_ref(),
        };
        self.by_destination.settings(&Fields {
            tenantid: over(&wishes.tenantid, &item.tenantid),
            jobid: over(&wishes.jobid, &item.jobid),
            transportid: &item.transportid,
            localip: source.map(|source| source.address),
            grouping,
            remoteip: Some(candidate.ip),
            remotemx: Some(&candidate.mx),
            recipientdomain: wishes.domain.as_ref().unwrap_or(&item.recipient.domain),
        })
    }

    /// The client's settings of a transport.
    #[must_use]
    pub fn client(&self, transport: &Text) -> Arc<ClientSettings> {
        self.clients.get(transport).cloned().unwrap_or_default()
    }
}

fn count(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

pub(super) fn client_side(
    from: &config::Transport,
    keys: &Keys,
) -> Result<ClientSettings, SettingsError> {
    let session = &from.session;
    let tls = &session.tls;
    let mode = tls_mode(tls.mode).map_err(|reason| SettingsError::TlsMode {
        transport: from.id.to_string(),
        reason,
    })?;
    let auth = session.sasl.username.as_ref().map(|username| Credentials {
        username: username.clone(),
        password: session.sasl.password.clone().unwrap_or_default(),
        mechanism: session.sasl.mechanism.map(|mechanism| match mechanism {
            config::Mechanism::CramMd5 => Mechanism::CramMd5,
            config::Mechanism::Plain => Mechanism::Plain,
            config::Mechanism::Login => Mechanism::Login,
        }),
    });
    let certificate = |id: &Id| {
        let unusable = |reason| SettingsError::Certificate {
            transport: from.id.to_string(),
            id: id.to_string(),
            reason,
        };
        match keys.get(id) {
            Some(pair) => pair.clone().map_err(unusable),
            None => Err(unusable("there is no such key pair".to_owned())),
        }
    };
    let attributes = session.xclient.iter();
    let attributes = attributes.map(|(name, value)| (name.clone(), value.to_string()));
    let xclient = xclient_attributes(attributes).map_err(|reason| SettingsError::Xclient {
        transport: from.id.to_string(),
        reason,
    })?;
    Ok(ClientSettings {
        lmtp: session.protocol == config::Protocol::Lmtp,
        helo: session.helo.as_ref().map(ToString::to_string),
        tls: TlsSettings {
            mode,
            implicit: tls.implicit,
            sni: match &tls.sni {
                ConfigSni::Switch(false) => Sni::Off,
                ConfigSni::Switch(true) => Sni::Host,
                ConfigSni::Name(name) => Sni::Name(name.to_string()),
            },
            protocols: protocols(&tls.protocols),
            ciphers: ciphers(&tls.ciphers),
            verify_host: tls.verifyhost,
            verify_names: tls.verifynames.clone(),
            default_ca: tls.defaultca,
            certificate: tls.clientcert.as_ref().map(certificate).transpose()?,
        },
        auth,
        xclient,
        pipelining: session.pipelining,
        chunking: session.chunking,
        timeouts: timeouts(&session.timeout),
        connect_timeout: *from.connection.timeout,
        nonlocal: from.connection.sourceip.nonlocal,
        proxy: from.connection.proxyprotocol.as_ref().map(Proxy::from),
    })
}

/// The client's mode for one of the configuration; what is missing for it.
pub(super) fn tls_mode(mode: config::TlsMode) -> Result<TlsMode, String> {
    match mode {
        config::TlsMode::Disabled => Ok(TlsMode::Disabled),
        config::TlsMode::Optional => Ok(TlsMode::Optional),
        config::TlsMode::OptionalVerify => Ok(TlsMode::OptionalVerify),
        config::TlsMode::Require => Ok(TlsMode::Require),
        config::TlsMode::RequireVerify => Ok(TlsMode::RequireVerify),
        config::TlsMode::Dane
        | config::TlsMode::DaneRequire
        | config::TlsMode::DaneFallbackRequire
        | config::TlsMode::DaneFallbackRequireVerify => Err("DANE is not available yet".to_owned()),
    }
}

/// A list of ciphers; none when it is all that exist, which is the usual case.
pub(super) fn ciphers(list: &TlsCiphers) -> Option<String> {
    let chosen = list.suites();
    (!TlsCiphers::all().eq(chosen.iter().copied())).then(|| chosen.join(":"))
}

/// A list of versions; none when it is all that exist.
pub(super) fn protocols(list: &TlsProtocols) -> Option<String> {
    (!(list.tls12 && list.tls13)).then(|| list.to_string())
}

fn timeouts(from: &config::StateTimeouts) -> Timeouts {
    let mut timeouts = Timeouts::default();
    for (state, limit) in [
        (State::Banner, from.greeting()),
        (State::Helo, from.helo),
        (State::Ehlo, from.ehlo),
        (State::Lhlo, from.lhlo),
        (State::StartTls, from.starttls),
        (State::Auth, from.auth),
        (State::AuthCramMd5, from.auth_cram_md5),
        (State::AuthPlain, from.auth_plain),
        (State::AuthLogin, from.auth_login),
        (State::AuthLoginUser, from.auth_login_user),
        (State::Xclient, from.xclient),
        (State::Mail, from.mail),
        (State::Rcpt, from.rcpt),
        (State::Data, from.data),
        (State::Bdat, from.bdat),
        (State::Eod, from.eod),
        (State::Rset, from.rset),
        (State::Noop, from.noop),
        (State::Quit, from.quit),
    ] {
        timeouts.set(state, *limit);
    }
    timeouts.block = *from.bdat;
    timeouts
}

fn dsn_side(from: &config::Transport) -> Result<DsnSettings, SettingsError> {
    let dsn = &from.dsn;
    let header = |line: &angarium_config::types::HeaderLine| {
        ExtraHeader::parse(line.as_bytes()).map_err(|error| SettingsError::Header {
            transport: from.id.to_string(),
            error,
        })
    };
    let headers: Result<Vec<ExtraHeader>, _> = dsn.headers.iter().map(header).collect();
    let text =
        |text: &Option<angarium_config::types::OneLine>| text.as_ref().map(ToString::to_string);
    Ok(DsnSettings {
        from: text(&dsn.from),
        from_name: text(&dsn.from_name),
        subject: text(&dsn.subject),
        subject_prepend: text(&dsn.subject_prepend),
        headers: headers?,
        original_headers: dsn.original_headers,
        original_message: dsn.original_message,
        dkim: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transport(yaml: serde_json::Value) -> config::Transport {
        serde_json::from_value(yaml).expect("a transport")
    }

    #[test]
    fn a_transport_is_split_between_queue_and_client() {
        let from = transport(serde_json::json!({
            "id": "out",
            "connection": { "server": "relay.test", "port": 2525, "timeout": 7 },
            "session": {
                "protocol": "lmtp",
                "helo": "me.test",
                "tls": { "mode": "require", "sni": true },
                "timeout": { "CONNECT": 11, "EOD": 12 }
            },
            "retry": { "count": 3, "intervals": [ { "interval": 5, "notify": true } ] },
            "dsn": { "transport": "out", "headers": ["X-A: b"] }
        }));
        let client = client_side(&from, &Keys::new()).expect("settings");
        assert!(client.lmtp);
        assert_eq!(client.tls.mode, TlsMode::Require);
        assert_eq!(client.tls.sni, Sni::Host);
        assert_eq!(client.timeouts.get(State::Banner), Duration::from_secs(11));
        assert_eq!(client.timeouts.get(State::Eod), Duration::from_secs(12));
        assert_eq!(client.connect_timeout, Duration::from_secs(7));
        assert_eq!(dsn_side(&from).expect("settings").headers.len(), 1);
    }

    #[test]
    fn what_is_not_there_yet_is_refused_by_name() {
        let from = transport(serde_json::json!({
            "id": "out", "session": { "tls": { "mode": "dane" } }
        }));
        let error = client_side(&from, &Keys::new()).expect_err("refused");
        assert_eq!(
            error.to_string(),
            "transports[out].session.tls.mode: DANE is not available yet"
        );
    }
}
