//! `smtpd-app.yaml`, `servers[]`: what each server does with its sessions.
//!
//! These structs are the schema, as in [`crate::startup`].

use std::collections::BTreeMap;
use std::net::IpAddr;

use angarium_queue::destination::to_ascii;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use crate::pki::Material;
use crate::script::HookType;
use crate::startup::ServerKind;
use crate::types::{HostName, Id, Network, Seconds, SniName, TlsCiphers, TlsProtocols};

/// Settings of one server.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["id"]))]
pub struct Server {
    /// Name of the server, as in `smtpd.yaml`. Hooks see it as `serverid`.
    pub id: Id,
    /// What the server speaks, as in `smtpd.yaml`.
    #[serde(rename = "type")]
    pub kind: ServerKind,
    /// Transport of accepted recipients. The rcptto hook sees it and can choose another.
    pub transport: Option<Id>,
    /// Who may relay where no rcptto hook decides. Others are answered 550 5.7.1 unless authenticated.
    pub relay: Vec<Network>,
    /// Bounds on what a client may send.
    pub limits: Limits,
    /// Name in the banner, the EHLO reply and the Received field. Absent: the host name of the system.
    pub hostname: Option<HostName>,
    /// Hooks and settings of each phase of a session.
    pub phases: Phases,
    /// How many connections may be open at once.
    pub concurrency: ServerConcurrency,
    /// How long the server waits for a client.
    pub timeout: ServerTimeouts,
    /// TLS towards clients.
    pub tls: ServerTls,
    /// Which ESMTP extensions are announced. STARTTLS, AUTH and XCLIENT follow from `tls`, `phases.auth` and `xclient`; DSN and others are announced by the helo hook.
    pub extensions: Extensions,
    /// Look up the name of a client's address and check that it leads back to the address.
    pub remoteptr: bool,
    /// Clients that may say by XCLIENT for whom they speak. The session then begins anew, connect hook and all. XCLIENT is announced to these clients only.
    pub xclient: Vec<Network>,
    /// What is logged about this server.
    pub logging: ServerLogging,
    /// Keys that clients of an `http` or `https` server may present.
    pub apikeys: Vec<String>,
    /// Let a bare LF end a command line. `false` answers 500 5.5.2 and closes.
    pub barelf: bool,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            id: Id::default(),
            kind: ServerKind::default(),
            transport: None,
            relay: ["127.0.0.0/8", "::1"]
                .iter()
                .filter_map(|net| net.parse().ok())
                .collect(),
            limits: Limits::default(),
            hostname: None,
            phases: Phases::default(),
            concurrency: ServerConcurrency::default(),
            timeout: ServerTimeouts::default(),
            tls: ServerTls::default(),
            extensions: Extensions::default(),
            remoteptr: true,
            xclient: Vec::new(),
            logging: ServerLogging::default(),
            apikeys: Vec::new(),
            barelf: false,
        }
    }
}

/// Bounds on what a client may send.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Bytes of a command line without its CRLF. A longer one is answered 500 5.5.2.
    #[schemars(range(min = 1))]
    pub line: u32,
    /// Bytes of an AUTH continuation line without its CRLF.
    #[schemars(range(min = 1))]
    pub authline: u32,
    /// Commands in one connection. One more is answered 421 and the connection closed.
    #[schemars(range(min = 1))]
    pub commands: u32,
    /// Errors in one connection. One more is answered 421 and the connection closed.
    #[schemars(range(min = 1))]
    pub errors: u32,
    /// Bytes of one header field.
    #[schemars(range(min = 1))]
    pub header: u32,
    /// Bytes of all header fields together.
    #[schemars(range(min = 1))]
    pub headers: u32,
    /// Least bytes a second while content is received; 0 is no bound.
    pub minrate: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            line: 2048,
            authline: 12288,
            commands: 10000,
            errors: 20,
            header: 262_144,
            headers: 1_048_576,
            minrate: 100,
        }
    }
}

/// Hooks and settings of each phase of a session.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Phases {
    /// A client has connected.
    pub connect: HookPhase,
    /// A command line has come in, before the server looks at it.
    pub proxy: ProxyPhase,
    /// HELO or EHLO.
    pub helo: HeloPhase,
    /// AUTH.
    pub auth: AuthPhase,
    /// MAIL.
    pub mailfrom: MailFromPhase,
    /// RCPT, once for each recipient.
    pub rcptto: RcptToPhase,
    /// Content is received.
    pub data: DataPhase,
    /// The message is complete, before it is answered.
    pub eod: EodPhase,
    /// The connection has ended.
    pub disconnect: HookPhase,
}

/// A phase that has a hook and nothing else.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HookPhase {
    /// Id of the hook.
    pub hook: Option<Id>,
}

/// The proxy phase.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ProxyPhase {
    /// Id of the hook.
    pub hook: Option<Id>,
    /// What the lines begin with that run the hook, in any case: verbs, or beginnings of them. Absent: every line.
    pub commands: Option<Vec<String>>,
}

/// The helo phase.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HeloPhase {
    /// Id of the hook.
    pub hook: Option<Id>,
    /// Refuse MAIL until the client has sent HELO or EHLO.
    pub required: bool,
}

/// The auth phase.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AuthPhase {
    /// Id of the hook. AUTH is announced only with a hook.
    pub hook: Option<Id>,
    /// Mechanisms that are announced. PLAIN and LOGIN are built in, the hook handles others.
    pub mechanisms: Vec<String>,
    /// Announce AUTH only under TLS.
    pub tls: bool,
}

impl Default for AuthPhase {
    fn default() -> Self {
        Self {
            hook: None,
            mechanisms: vec!["PLAIN".to_owned(), "LOGIN".to_owned()],
            tls: true,
        }
    }
}

/// The mailfrom phase.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MailFromPhase {
    /// Id of the hook.
    pub hook: Option<Id>,
    /// Transactions in one connection; 0 is no bound.
    pub maxmessages: u32,
}

/// The rcptto phase.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RcptToPhase {
    /// Id of the hook, or an object that chooses one by the recipient's domain.
    pub hook: Option<RcptHook>,
    /// Recipients of one message. One more is answered 452 4.5.3.
    #[schemars(range(min = 1))]
    pub maxrecipients: u32,
}

impl Default for RcptToPhase {
    fn default() -> Self {
        Self {
            hook: None,
            maxrecipients: 1000,
        }
    }
}

/// Which rcptto hook runs.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum RcptHook {
    /// One hook for all recipients.
    One(Id),
    /// A hook by the recipient's domain.
    ByDomain(DomainHooks),
}

/// Hooks by the recipient's domain.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DomainHooks {
    /// Id of the hook for domains that are not listed.
    pub id: Option<Id>,
    /// Domain, or `*.domain` for everything below it, to the id of its hook. The most exact entry wins.
    #[serde(deserialize_with = "by_domain")]
    pub recipientdomains: BTreeMap<String, Id>,
}

/// The table as it is looked up: each domain in the one form that stands for all its spellings.
fn by_domain<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, Id>, D::Error> {
    let written = BTreeMap::<String, Id>::deserialize(from)?;
    let mut table = BTreeMap::new();
    for (domain, id) in written {
        if table.insert(spelled(&domain), id).is_some() {
            let text = format!("`{domain}` has two entries");
            return Err(serde::de::Error::custom(text));
        }
    }
    Ok(table)
}

/// A domain in lower case, with the A-labels of DNS: a client may send either form.
fn spelled(domain: &str) -> String {
    let (below, name) = match domain.strip_prefix("*.") {
        Some(name) => ("*.", name),
        None => ("", domain),
    };
    match to_ascii(name.as_bytes()) {
        Some(name) => format!("{below}{name}"),
        // Address literals are none.
        None => domain.to_lowercase(),
    }
}

impl RcptHook {
    /// The hook for recipients of `domain`: exact, then the nearest `*.parent`, then the default.
    #[must_use]
    pub fn for_domain(&self, domain: &str) -> Option<&Id> {
        let hooks = match self {
            Self::One(id) => return Some(id),
            Self::ByDomain(hooks) => hooks,
        };
        let domain = spelled(domain);
        let mut parents = domain.match_indices('.').filter_map(|(dot, _)| {
            let parent = domain.get(dot..)?;
            hooks.recipientdomains.get(&format!("*{parent}"))
        });
        let exact = hooks.recipientdomains.get(&domain);
        exact.or_else(|| parents.next()).or(hooks.id.as_ref())
    }
}

/// The data phase. It has no hook.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DataPhase {
    /// Bytes of a message, announced as SIZE. A longer one is answered 552 5.3.4.
    #[schemars(range(min = 1))]
    pub maxsize: u64,
    /// Received fields in a message. One with more is answered 554 5.4.6, since it goes round in a loop.
    #[schemars(range(min = 1))]
    pub maxhops: u32,
    /// Take the MIME structure apart for the eod hook. `false` gives the hook only the outer header and the body.
    pub multipart: bool,
}

impl Default for DataPhase {
    fn default() -> Self {
        Self {
            maxsize: 50 << 20,
            maxhops: 30,
            multipart: true,
        }
    }
}

/// The eod phase.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EodPhase {
    /// Id of the hook. Without one every recipient is queued on its transport.
    pub hook: Option<Id>,
    /// Run the hook once for each recipient, as releases before 5 did.
    pub perrecipient: bool,
}

/// How many connections may be open at once. One more is answered 421 4.7.0, no hook runs.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ServerConcurrency {
    /// In all.
    #[schemars(range(min = 1))]
    pub total: u32,
    /// From one IPv4 address or one IPv6 /64; 0 is no bound.
    pub ip: u32,
}

impl Default for ServerConcurrency {
    fn default() -> Self {
        Self {
            total: 10000,
            ip: 0,
        }
    }
}

/// How long the server waits for a client, seconds.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ServerTimeouts {
    /// For the next command. Then 421 4.4.2 and the connection is closed.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub idle: Seconds,
    /// For the rest of a command line that has begun.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub command: Seconds,
    /// For each 64 KiB of content.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub data: Seconds,
}

impl Default for ServerTimeouts {
    fn default() -> Self {
        Self {
            idle: Seconds::new(300),
            command: Seconds::new(300),
            data: Seconds::new(600),
        }
    }
}

/// TLS towards clients.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ServerTls {
    /// Which key pairs are shown.
    pub certs: ServerCerts,
    /// Announce STARTTLS. Absent: if a certificate is set.
    pub starttls: Option<bool>,
    /// TLS from the first byte: on every listener, or on the listeners of these ids.
    pub implicit: Implicit,
    /// Versions that are offered, a comma list; `!` excludes one. TLS 1.2 and 1.3 exist.
    pub protocols: TlsProtocols,
    /// Ciphers that are offered, a list in OpenSSL's form. Its order is the order of preference.
    pub ciphers: TlsCiphers,
    /// Ask for a client certificate: everybody, nobody, clients from these networks, or an object with more to say. What is wrong with a certificate is told to the hooks and ends nothing, unless the object says so.
    pub clientcert: ClientCert,
}

impl Default for ServerTls {
    fn default() -> Self {
        Self {
            certs: ServerCerts::default(),
            starttls: None,
            implicit: Implicit::All(false),
            protocols: TlsProtocols::default(),
            ciphers: TlsCiphers::default(),
            clientcert: ClientCert::Switch(false),
        }
    }
}

impl ServerTls {
    /// Says whether STARTTLS is announced.
    #[must_use]
    pub fn offers_starttls(&self) -> bool {
        self.certs.cert.is_some() && self.starttls.unwrap_or(true)
    }
}

/// Which key pairs a server shows.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ServerCerts {
    /// Id in `pki.private` of the key pair that is shown unless `sni` has a better one. TLS needs it.
    pub cert: Option<Id>,
    /// Key pairs by the name that the client asks for.
    pub sni: Vec<SniCert>,
}

/// A key pair for one name.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SniCert {
    /// Host name, or `*.domain` for one label below it. An exact name goes before `*`.
    pub hostname: SniName,
    /// Id in `pki.private`.
    pub cert: Id,
}

/// On which listeners TLS starts with the first byte.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Implicit {
    /// On all or none.
    All(bool),
    /// On the listeners of these ids.
    Listeners(Vec<Id>),
}

/// Whom a server asks for a client certificate.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum ClientCert {
    /// Everybody or nobody.
    Switch(bool),
    /// Clients from these networks.
    From(Vec<Network>),
    /// As this says.
    Detailed(ClientCertSettings),
}

/// How a server asks for client certificates.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ClientCertSettings {
    /// Who is asked. Absent: everybody.
    pub from: Option<Vec<Network>>,
    /// End the handshake unless the client shows a certificate that is good.
    pub require: bool,
    /// Certificates of the authorities that sign the clients'. Absent: those that the system trusts.
    pub ca: Option<Material>,
}

impl ClientCert {
    /// Says whether a client at this address is asked.
    #[must_use]
    pub fn asks(&self, client: IpAddr) -> bool {
        let within = |networks: &[Network]| networks.iter().any(|network| network.contains(client));
        match self {
            Self::Switch(all) => *all,
            Self::From(networks) => within(networks),
            Self::Detailed(settings) => settings.from.as_deref().is_none_or(within),
        }
    }

    /// Says whether anybody is asked.
    #[must_use]
    pub fn is_on(&self) -> bool {
        match self {
            Self::Switch(all) => *all,
            Self::From(networks) => !networks.is_empty(),
            Self::Detailed(settings) => settings.from.as_ref().is_none_or(|from| !from.is_empty()),
        }
    }

    /// Says whether who is asked must show a good one.
    #[must_use]
    pub fn requires(&self) -> bool {
        matches!(self, Self::Detailed(settings) if settings.require)
    }

    /// The authorities that are named.
    #[must_use]
    pub fn ca(&self) -> Option<&Material> {
        match self {
            Self::Detailed(settings) => settings.ca.as_ref(),
            _ => None,
        }
    }
}

/// Which ESMTP extensions are announced.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Extensions {
    /// PIPELINING (RFC 2920).
    pub pipelining: bool,
    /// SIZE (RFC 1870).
    pub size: bool,
    /// 8BITMIME (RFC 6152).
    #[serde(rename = "8bitmime")]
    pub eightbitmime: bool,
    /// SMTPUTF8 (RFC 6531).
    pub smtputf8: bool,
    /// CHUNKING (RFC 3030): BDAT in place of DATA.
    pub chunking: bool,
    /// BINARYMIME (RFC 3030): messages of any bytes, kept as they are. They are sent on in chunks, and bounce with 5.6.3 where the next server has no BINARYMIME. Absent: as `chunking`, which it needs.
    pub binarymime: Option<bool>,
    /// REQUIRETLS (RFC 8689), under TLS: messages that are delivered over verified TLS or not at all.
    pub requiretls: bool,
    /// MT-PRIORITY (RFC 6710). A priority of 1 or more makes the message's queue priority 1; only clients in `relay` and authenticated ones are given more than 0.
    pub mtpriority: bool,
    /// LIMITS (RFC 9422): tells `phases.mailfrom.maxmessages` and `phases.rcptto.maxrecipients`.
    pub limits: bool,
    /// ENHANCEDSTATUSCODES (RFC 2034).
    pub enhancedstatuscodes: bool,
}

impl Default for Extensions {
    fn default() -> Self {
        Self {
            pipelining: true,
            size: true,
            eightbitmime: true,
            smtputf8: true,
            chunking: false,
            binarymime: None,
            requiretls: false,
            mtpriority: false,
            limits: false,
            enhancedstatuscodes: true,
        }
    }
}

impl Extensions {
    /// Says whether BINARYMIME is announced.
    #[must_use]
    pub fn offers_binarymime(&self) -> bool {
        self.chunking && self.binarymime.unwrap_or(true)
    }
}

/// What is logged about a server.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ServerLogging {
    /// Log every command and reply.
    pub verbose: bool,
}

impl Server {
    /// The ids of all hooks of a type that this server can run, in the order of the file.
    #[must_use]
    pub fn hook_ids(&self, hook: HookType) -> Vec<&Id> {
        let phases = &self.phases;
        let one = match hook {
            HookType::Connect => &phases.connect.hook,
            HookType::Proxy => &phases.proxy.hook,
            HookType::Helo => &phases.helo.hook,
            HookType::Auth => &phases.auth.hook,
            HookType::MailFrom => &phases.mailfrom.hook,
            HookType::Eod => &phases.eod.hook,
            HookType::Disconnect => &phases.disconnect.hook,
            HookType::RcptTo => {
                return match &phases.rcptto.hook {
                    None => Vec::new(),
                    Some(RcptHook::One(id)) => vec![id],
                    Some(RcptHook::ByDomain(hooks)) => hooks
                        .id
                        .iter()
                        .chain(hooks.recipientdomains.values())
                        .collect(),
                };
            }
            HookType::PreDelivery | HookType::PostDelivery => return Vec::new(),
        };
        one.iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_exact_domain_chooses_the_rcptto_hook() {
        let id = |text: &str| text.parse::<Id>().unwrap();
        let table = [
            ("example.com", "exact"),
            ("*.example.com", "below"),
            ("*.b.example.com", "nearest"),
            ("bücher.example", "books"),
            ("*.xn--bcher-kva.example", "underneath"),
            ("[192.0.2.1]", "literal"),
        ];
        let domains: BTreeMap<&str, &str> = table.into_iter().collect();
        let written = serde_json::json!({ "id": "rest", "recipientdomains": domains });
        let hook: RcptHook = serde_json::from_value(written).unwrap();
        let rows = [
            ("Example.COM", "exact"),
            ("a.example.com", "below"),
            ("x.y.example.com", "below"),
            ("a.b.example.com", "nearest"),
            ("b.example.com", "below"),
            ("notexample.com", "rest"),
            ("", "rest"),
            ("BÜcher.example", "books"),
            ("XN--bcher-kva.Example", "books"),
            ("a.bücher.example", "underneath"),
            ("[192.0.2.1]", "literal"),
        ];
        for (domain, expected) in rows {
            assert_eq!(hook.for_domain(domain), Some(&id(expected)), "{domain}");
        }
        let twice = serde_json::json!({ "recipientdomains": { "a.test": "x", "A.test": "y" } });
        assert!(serde_json::from_value::<RcptHook>(twice).is_err());
    }
}
