//! `smtpd-app.yaml`, the running configuration: reloaded as a whole, or not at all.
//!
//! [`RunningDocument`] is the schema of the file; [`Running`] is what [`crate::load`] makes of it:
//! groups put together, references checked, scripts taken out.

use std::collections::BTreeMap;
use std::sync::Arc;

use angarium_queue::policy::Setup;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::delivery::Delivery;
use crate::grouping::Groupings;
use crate::pki::{KeyPair, PrivateKey};
use crate::script::{HookType, Script, VirtualFile};
use crate::server::{RcptHook, Server};
use crate::transport::{ProxyServer, Transport, TransportGroup};
use crate::types::{
    Address, AddressMatcher, DomainMatcher, FileId, HostName, Id, MetricName, OneLine, Seconds,
    SocketTarget, Version,
};

/// Everything that `smtpd-app.yaml` says, as it is written.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["version"]))]
pub struct RunningDocument {
    /// Version of the configuration language, `"5.0"` to `"6.99"`. All are treated alike.
    pub version: Version,
    /// What each server does.
    pub servers: Vec<Server>,
    /// Hooks and files. The packer fills them in from the source tree.
    pub scripting: RunningScripting,
    /// Addresses of this machine by name.
    pub addresses: Vec<NamedAddress>,
    /// Certificates, with or without their keys.
    pub pki: RunningPki,
    /// Transports in groups. A transport inherits from its group what it leaves out.
    // Inheritance works on what is written, so the groups are kept as they are.
    #[schemars(with = "Vec<TransportGroup>")]
    pub transportgroups: Vec<serde_json::Value>,
    /// Settings of the queue.
    pub queues: Queues,
    /// Settings of DNS.
    pub resolver: Resolver,
    /// Settings of native plugins.
    pub plugins: Vec<RunningPlugin>,
    /// Settings of metrics and health.
    pub monitor: RunningMonitor,
    /// Settings of mail that this server writes.
    pub mail: Mail,
}

/// Hooks and files.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RunningScripting {
    /// The hooks of each type.
    pub hooks: Hooks,
    /// Release whose spellings scripts may use besides today's: 5 or 6.
    #[schemars(extend("enum" = [5, 6]))]
    pub compat: u8,
    /// Files for `include`, `import` and `File()`.
    pub files: Vec<FileEntry>,
}

impl Default for RunningScripting {
    fn default() -> Self {
        Self {
            hooks: Hooks::default(),
            compat: 6,
            files: Vec::new(),
        }
    }
}

/// The hooks of each type. The session's are attached to servers by id, the queue has one of each.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Hooks {
    /// Scripts for the connect phase.
    pub connect: Vec<HookEntry>,
    /// Scripts for the disconnect phase.
    pub disconnect: Vec<HookEntry>,
    /// Scripts for the proxy phase.
    pub proxy: Vec<HookEntry>,
    /// Scripts for the helo phase.
    pub helo: Vec<HookEntry>,
    /// Scripts for the auth phase.
    pub auth: Vec<HookEntry>,
    /// Scripts for the mailfrom phase.
    pub mailfrom: Vec<HookEntry>,
    /// Scripts for the rcptto phase.
    pub rcptto: Vec<HookEntry>,
    /// Scripts for the eod phase.
    pub eod: Vec<HookEntry>,
    /// Script that runs before each delivery attempt.
    pub predelivery: String,
    /// Script that runs after each delivery attempt.
    pub postdelivery: String,
}

impl Hooks {
    /// The entries of a session hook; none for the queue's.
    #[must_use]
    pub fn of(&self, hook: HookType) -> &[HookEntry] {
        match hook {
            HookType::Connect => &self.connect,
            HookType::Proxy => &self.proxy,
            HookType::Helo => &self.helo,
            HookType::Auth => &self.auth,
            HookType::MailFrom => &self.mailfrom,
            HookType::RcptTo => &self.rcptto,
            HookType::Eod => &self.eod,
            HookType::Disconnect => &self.disconnect,
            HookType::PreDelivery | HookType::PostDelivery => &[],
        }
    }
}

/// A hook.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HookEntry {
    /// Name of the hook.
    pub id: Id,
    /// Text of the script.
    pub data: String,
}

/// A file.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// Path of the file, with `/` between folders.
    pub id: FileId,
    /// Content: text, or base64 with `binary`.
    pub data: String,
    /// `data` is base64.
    #[serde(default)]
    pub binary: bool,
}

/// An address of this machine.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NamedAddress {
    /// Name of the address.
    pub id: Id,
    /// The address.
    pub address: Address,
    /// Name in HELO and EHLO from this address.
    #[serde(default)]
    pub hostname: Option<HostName>,
    /// A proxy through which connections from this address go.
    #[serde(default)]
    pub proxyprotocol: Option<ProxyServer>,
}

/// Certificates, with or without their keys.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RunningPki {
    /// Key pairs. What an entry leaves out is taken from the entry of the same id in the startup configuration.
    pub private: Vec<PrivateKey>,
}

/// Settings of the queue.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Queues {
    /// How many outbound connections may be open at once.
    pub concurrency: QueueConcurrency,
    /// Keeping outbound connections open for the next message.
    pub pooling: Pooling,
    /// Putting destinations into named groups.
    pub grouping: Grouping,
    /// Named lists, by field and name, for `@name` in conditions.
    pub lists: BTreeMap<String, BTreeMap<String, Vec<String>>>,
    /// Choosing among source addresses.
    pub sourceip: QueueSourceIp,
}

/// How many outbound connections may be open at once.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct QueueConcurrency {
    /// In all.
    #[schemars(range(min = 1))]
    pub total: u32,
}

impl Default for QueueConcurrency {
    fn default() -> Self {
        Self { total: 10000 }
    }
}

/// Keeping outbound connections open for the next message.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Pooling {
    /// Idle connections that are kept.
    pub size: u32,
    /// By what an idle connection is found again.
    pub policy: PoolingPolicy,
}

impl Default for Pooling {
    fn default() -> Self {
        Self {
            size: 1000,
            policy: PoolingPolicy::RemoteMx,
        }
    }
}

/// By what an idle connection is found again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PoolingPolicy {
    /// The destination's group.
    Grouping,
    /// The host name of the peer.
    RemoteMx,
    /// The address of the peer.
    RemoteIp,
}

/// Putting destinations into named groups.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Grouping {
    /// Group of a destination that no entry matches: a field, or none.
    #[serde(rename = "default")]
    pub fallback: GroupingDefault,
    /// Groups; the first that matches counts.
    pub groupings: Vec<GroupingEntry>,
}

/// Group of a destination that no entry matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum GroupingDefault {
    /// None.
    #[default]
    #[serde(rename = "")]
    None,
    /// The host name of the peer.
    RemoteMx,
    /// The recipient's domain.
    RecipientDomain,
}

/// A group of destinations: those that one of the fields names.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["id"]))]
pub struct GroupingEntry {
    /// Name of the group; conditions and scripts see it with `&` in front.
    pub id: Id,
    /// Host names of peers.
    pub remotemx: Vec<DomainMatcher>,
    /// Recipient domains.
    pub recipientdomain: Vec<DomainMatcher>,
    /// Addresses of peers.
    pub remoteip: Vec<AddressMatcher>,
}

/// Choosing among source addresses.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct QueueSourceIp {
    /// Balance over the pool. `false` keeps its order.
    pub random: bool,
}

impl Default for QueueSourceIp {
    fn default() -> Self {
        Self { random: true }
    }
}

/// Settings of DNS.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Resolver {
    /// The cache of answers.
    pub cache: ResolverCache,
    /// Queries that may run at once; others wait.
    #[schemars(range(min = 1))]
    pub concurrency: u32,
    /// Servers to ask: addresses with or without a port, or objects. Empty: those of the system.
    pub servers: Vec<ResolverServer>,
    /// Seconds to wait for an answer.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub timeout: Seconds,
    /// How often a query is sent.
    #[schemars(range(min = 1, max = 10))]
    pub tries: u32,
    /// Records that are known without asking.
    pub local: Vec<LocalRecord>,
}

impl Default for Resolver {
    fn default() -> Self {
        Self {
            cache: ResolverCache::default(),
            concurrency: 1000,
            servers: Vec::new(),
            timeout: Seconds::new(5),
            tries: 2,
            local: Vec::new(),
        }
    }
}

/// The cache of DNS answers.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ResolverCache {
    /// Entries that are kept.
    pub size: u32,
    /// How long they are kept.
    pub ttl: ResolverTtl,
}

impl Default for ResolverCache {
    fn default() -> Self {
        Self {
            size: 10000,
            ttl: ResolverTtl::default(),
        }
    }
}

/// How long DNS answers are kept.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ResolverTtl {
    /// At least this many seconds, whatever the answer says.
    pub min: Seconds,
}

/// A DNS server.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum ResolverServer {
    /// Its address, with or without a port.
    Address(SocketTarget),
    /// The same with what is known about it.
    Described(DescribedResolver),
}

/// A DNS server and what is known about it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DescribedResolver {
    /// Its address, with or without a port.
    pub address: SocketTarget,
    /// Believe this server when it says that an answer is secured by DNSSEC. Servers on loopback are believed anyway.
    #[serde(default)]
    pub trusted: bool,
}

impl ResolverServer {
    /// Where to send queries.
    #[must_use]
    pub fn socket(&self) -> std::net::SocketAddr {
        let target = match self {
            Self::Address(target) => target,
            Self::Described(server) => &server.address,
        };
        std::net::SocketAddr::new(target.address, target.port.unwrap_or(53))
    }
}

/// A DNS record that is known without asking.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LocalRecord {
    /// Owner name.
    pub name: String,
    /// Record type.
    #[serde(rename = "type")]
    pub kind: RecordType,
    /// The record's data in the form of a zone file.
    pub data: String,
    /// Seconds that the record may be kept.
    #[serde(default)]
    pub ttl: Option<u32>,
}

/// A type of DNS record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
#[allow(
    missing_docs,
    reason = "the variants are the names of the record types"
)]
pub enum RecordType {
    A,
    Aaaa,
    Mx,
    Txt,
    Ptr,
    Tlsa,
    Cname,
}

/// Settings of a native plugin.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["id"]))]
pub struct RunningPlugin {
    /// Name of the plugin, as in `smtpd.yaml`.
    pub id: Id,
    /// Handed to the plugin as it is, at start and at each reload.
    pub config: serde_json::Value,
}

/// Settings of metrics and health.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RunningMonitor {
    /// Keys of which whoever reads `/metrics` presents one. Empty: everybody may read.
    pub apikeys: Vec<String>,
    /// What the names of the server's own metrics begin with.
    pub prefix: MetricName,
    /// When the server counts as healthy.
    pub healthy: Healthy,
    /// Metrics of your own, for the `metrics_*` functions.
    pub metrics: Vec<Metric>,
}

impl Default for RunningMonitor {
    fn default() -> Self {
        Self {
            apikeys: Vec::new(),
            prefix: "mta_".parse().unwrap_or_default(),
            healthy: Healthy::default(),
            metrics: Vec::new(),
        }
    }
}

/// When the server counts as healthy.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Healthy {
    /// By the number of queued messages.
    pub maxmessages: HealthyMessages,
}

/// Health by the number of queued messages.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HealthyMessages {
    /// Unhealthy above this number.
    pub upper: Option<u64>,
    /// Healthy again below this number.
    pub lower: Option<u64>,
}

/// A metric of your own.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Metric {
    /// Name.
    pub name: MetricName,
    /// What it counts.
    #[serde(rename = "type")]
    pub kind: MetricType,
    /// What it means, for people.
    #[serde(default)]
    pub help: String,
    /// Upper bounds of a histogram's buckets.
    #[serde(default)]
    pub buckets: Vec<f64>,
}

/// What a metric counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MetricType {
    /// Only grows.
    Counter,
    /// Grows and falls.
    Gauge,
    /// How often values fell into buckets.
    Histogram,
}

/// Settings of mail that this server writes.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Mail {
    /// From address of notifications whose transport names none. Absent: `MAILER-DAEMON@` and the host name.
    pub postmaster: Option<OneLine>,
}

/// The running configuration in force. It never changes; a reload makes a new one.
#[derive(Debug, Clone)]
pub struct Running {
    /// Servers by id.
    pub servers: BTreeMap<Id, Server>,
    /// Session hooks that a server can run, and the queue's, by type and id.
    pub scripts: BTreeMap<(HookType, Id), Script>,
    /// Files of the bundle by id.
    pub files: BTreeMap<String, VirtualFile>,
    /// Release whose spellings scripts may use.
    pub compat: u8,
    /// Addresses of this machine by name.
    pub addresses: BTreeMap<Id, NamedAddress>,
    /// Key pairs by id, those of the startup configuration included.
    pub pki: BTreeMap<Id, KeyPair>,
    /// Transports by id, each with everything that it inherits.
    pub transports: BTreeMap<Id, Transport>,
    /// Settings of the queue.
    pub queues: Queues,
    /// Groups of destinations.
    pub groupings: Groupings,
    /// Settings of deliveries by destination.
    pub delivery: Delivery,
    /// Policies and suspends.
    pub policies: Arc<Setup>,
    /// Settings of DNS.
    pub resolver: Resolver,
    /// Settings of metrics and health.
    pub monitor: RunningMonitor,
    /// Settings of mail that this server writes.
    pub mail: Mail,
}

impl Running {
    /// The hook that `server` runs at a point of the session, if it has one.
    ///
    /// For [`HookType::RcptTo`] `domain` is the recipient's domain; other types ignore it.
    #[must_use]
    pub fn session_hook(&self, server: &Server, hook: HookType, domain: &str) -> Option<&Script> {
        let id = match (hook, &server.phases.rcptto.hook) {
            (HookType::RcptTo, rcptto) => rcptto
                .as_ref()
                .and_then(|hooks: &RcptHook| hooks.for_domain(domain)),
            _ => server.hook_ids(hook).into_iter().next(),
        }?;
        self.scripts.get(&(hook, id.clone()))
    }

    /// The predelivery or postdelivery hook, if there is one.
    #[must_use]
    pub fn queue_hook(&self, hook: HookType) -> Option<&Script> {
        self.scripts
            .values()
            .find(|script| script.hook == hook && HookType::QUEUE.contains(&hook))
    }

    /// The text of a file of the bundle.
    #[must_use]
    pub fn file(&self, id: &str) -> Option<Arc<[u8]>> {
        self.files.get(id).map(|file| Arc::clone(&file.data))
    }
}
