//! A server as a script names it, for `send()`, `smtp_lookup_rcpt` and `smtp_lookup_auth` (stdlib.md, group SERVER).

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use angarium_effects::Connection;
use angarium_effects::net::Connect;
use angarium_queue::destination::{Candidate, Families, OwnHosts, Target};
use angarium_queue::text::Text;
use angarium_queue::transport::{SourceIp, Sources, Transport};
use angarium_smtp::client as smtp;
use angarium_smtp::client::{State, Timeouts};
use angarium_stdlib::smtp::{Destination, ServerOptions, Sni as WishedSni, TlsMode as WishedMode};

use super::dial::{Proxy, dial};
use super::settings::{ClientSettings, Proxies};
use super::tls_settings::TlsSettings;
use crate::hooks::queue::{Sni, TlsMode};
use crate::worker::Effects;

/// Where to go, and how.
#[derive(Clone)]
pub struct Server {
    place: Place,
    /// The port.
    pub port: u16,
    /// The address families that may be used.
    pub families: Families,
    /// Only these MX names.
    pub mx_include: Vec<Text>,
    /// Not these MX names.
    pub mx_exclude: Vec<Text>,
    /// Names and sockets that are not connected to, because they are ourselves.
    pub own: Arc<OwnHosts>,
    /// Source addresses.
    pub sources: Sources,
    /// Bind an address that the system does not have.
    pub nonlocal: bool,
    /// The client's settings.
    pub client: ClientSettings,
    /// The proxy that the options name; that of the source address and that of a transport come after it.
    proxy: Option<Proxy>,
}

#[derive(Clone)]
enum Place {
    /// The mail exchangers of the recipient's domain.
    Recipient,
    /// Those of this one.
    MxOf(Text),
    Host(Text),
}

impl Server {
    /// The server of a transport with this client.
    #[must_use]
    pub fn of_transport(transport: &Transport, client: ClientSettings) -> Server {
        Server {
            place: match &transport.server {
                None => Place::Recipient,
                Some(host) if transport.mx => Place::MxOf(host.clone()),
                Some(host) => Place::Host(host.clone()),
            },
            port: transport.port,
            families: transport.families.and(transport.sources.families()),
            mx_include: Vec::new(),
            mx_exclude: Vec::new(),
            own: Arc::default(),
            sources: transport.sources.clone(),
            nonlocal: client.nonlocal,
            proxy: None,
            client,
        }
    }

    /// The server that these options describe. An explicit host may be ourselves, `own` is who else may not;
    /// `source` is the configured form of the source address.
    ///
    /// # Errors
    /// A sentence about an option.
    pub fn of_options(
        options: ServerOptions,
        own: &Arc<OwnHosts>,
        source: Option<SourceIp>,
    ) -> Result<Server, String> {
        let texts = |list: Vec<String>| list.into_iter().map(Text::from).collect();
        let mut timeouts = Timeouts::default();
        for (state, limit) in options.timeouts {
            let state: State = state
                .parse()
                .map_err(|error| format!("option timeout: {error}"))?;
            timeouts.set(state, limit);
        }
        if let Some(helo) = &options.helo
            && !angarium_smtp::address::is_greeting_name(helo)
        {
            return Err("option helo: this is no name of a host".to_owned());
        }
        let source = source.or_else(|| {
            let of_address = |address| SourceIp {
                id: None,
                address,
                helo: None,
            };
            options.source.map(of_address)
        });
        let sources = Sources {
            addresses: source.into_iter().collect(),
            ordered: true,
        };
        let (place, own) = match options.host {
            Destination::Unsaid | Destination::LookupMx => (Place::Recipient, Arc::clone(own)),
            Destination::Host(host) => (Place::Host(Text::from(host)), Arc::default()),
        };
        Ok(Server {
            place,
            port: options.port,
            families: sources.families(),
            mx_include: texts(options.mx_include),
            mx_exclude: texts(options.mx_exclude),
            own,
            sources,
            nonlocal: options.nonlocal,
            proxy: options.proxy.map(Proxy::from),
            client: ClientSettings {
                lmtp: options.lmtp,
                helo: options.helo,
                tls: TlsSettings {
                    mode: match options.tls {
                        WishedMode::Disabled => TlsMode::Disabled,
                        WishedMode::Optional => TlsMode::Optional,
                        WishedMode::OptionalVerify => TlsMode::OptionalVerify,
                        WishedMode::Require => TlsMode::Require,
                        WishedMode::RequireVerify => TlsMode::RequireVerify,
                    },
                    sni: match options.sni {
                        WishedSni::Off => Sni::Off,
                        WishedSni::Host => Sni::Host,
                        WishedSni::Name(name) => Sni::Name(name),
                    },
                    verify_host: options.verify_host,
                    verify_names: options.verify_names,
                    default_ca: options.default_ca,
                    protocols: options.protocols,
                    ciphers: options.ciphers,
                    certificate: options.certificate,
                    ..TlsSettings::default()
                },
                auth: options.auth.map(|(username, password)| smtp::Credentials {
                    username,
                    password,
                    mechanism: None,
                }),
                xclient: options.xclient,
                chunking: options.chunking,
                timeouts,
                connect_timeout: options.connect_timeout,
                ..ClientSettings::default()
            },
        })
    }

    /// The destination for mail to this domain; none: there is no domain, and no host either.
    #[must_use]
    pub fn target(&self, domain: Option<&Text>) -> Option<Target> {
        match &self.place {
            Place::Recipient => domain.map(|domain| Target::MxOf(domain.clone())),
            Place::MxOf(domain) => Some(Target::MxOf(domain.clone())),
            Place::Host(host) => Some(Target::Host(host.clone())),
        }
    }

    /// Connects to a candidate from `source`; one of `proxies` may be that of the source.
    ///
    /// # Errors
    /// What the system says of it, after the name of the place.
    pub(super) async fn dial(
        &self,
        effects: &Effects,
        candidate: &Candidate,
        source: Option<&SourceIp>,
        proxies: &Proxies,
    ) -> Result<Box<dyn Connection>, (String, io::Error)> {
        let to = SocketAddr::new(candidate.ip, candidate.port);
        let how = Connect {
            source: source.map(|source| source.address),
            nonlocal: self.nonlocal,
            timeout: Some(self.client.connect_timeout),
        };
        dial(effects, to, &how, self.proxy(source, proxies)).await
    }

    /// Who opens the connection from a source, if not we ourselves.
    pub(super) fn proxy<'a>(
        &'a self,
        source: Option<&SourceIp>,
        proxies: &'a Proxies,
    ) -> Option<&'a Proxy> {
        let of_source = || proxies.of_source(source);
        let of_transport = || self.client.proxy.as_ref();
        (self.proxy.as_ref())
            .or_else(of_source)
            .or_else(of_transport)
    }

    /// Settings of the client machine.
    pub(super) fn config(&self, mode: TlsMode, helo: String) -> smtp::Config {
        let client = &self.client;
        smtp::Config {
            protocol: match client.lmtp {
                true => smtp::Protocol::Lmtp,
                false => smtp::Protocol::Smtp,
            },
            helo,
            tls: match mode {
                TlsMode::Disabled => smtp::TlsMode::Disabled,
                TlsMode::Optional | TlsMode::OptionalVerify => smtp::TlsMode::Optional,
                TlsMode::Require | TlsMode::RequireVerify => smtp::TlsMode::Required,
            },
            xclient: client.xclient.clone(),
            auth: client.auth.clone(),
            pipelining: client.pipelining,
            timeouts: client.timeouts.clone(),
        }
    }
}
