//! `smtpd.yaml`, the startup configuration: read once, when the server starts.
//!
//! These structs are the schema of the file. The doc comment of a field is its text in the JSON
//! schema and in the reference page, its `Default` is the default that both print.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::pki::PrivateKey;
use crate::script::HookType;
use crate::types::{Address, FilePath, HostName, Id, Network, Octal, Seconds, Version};

/// Everything that `smtpd.yaml` says.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["version"]))]
pub struct Startup {
    /// Version of the configuration language, `"5.0"` to `"6.99"`. All are treated alike.
    pub version: Version,
    /// The sockets of each server. What a server does is said in the running configuration under the same id.
    pub servers: Vec<Sockets>,
    /// Settings of the script engine.
    pub scripting: StartupScripting,
    /// Named thread pools, where releases from 6 on have them.
    pub threads: StartupThreads,
    /// Sizes of the queue's thread pools and of the queue in memory.
    pub queues: StartupQueues,
    /// The queue on disk.
    pub spool: Spool,
    /// Key pairs for TLS.
    pub pki: StartupPki,
    /// The cluster service that counts the hosts.
    pub cluster: Cluster,
    /// The rate service that shares its counts with other hosts.
    pub rated: BTreeMap<String, serde_json::Value>,
    /// The HTTP listener for metrics and health.
    pub monitor: StartupMonitor,
    /// Native plugins to load.
    pub plugins: Vec<StartupPlugin>,
    /// Other files, the control socket, and what the process asks of the system.
    pub environment: Environment,
    /// Where the log goes besides standard error.
    pub logging: Logging,
    /// The store of past messages.
    pub history: History,
}

/// The sockets of one server.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["id"]))]
pub struct Sockets {
    /// Name of the server. A server of the same id and type must stand in the running configuration.
    pub id: Id,
    /// What the server speaks.
    #[serde(rename = "type")]
    pub kind: ServerKind,
    /// Where the server listens. Needed by every type except `plugin`; `http` and `https` take exactly one.
    pub listeners: Vec<Listener>,
    /// Peers that must send a PROXY header before anything else.
    pub proxyprotocol: Vec<Network>,
    /// Sizes of this server's thread pools.
    pub threads: ServerThreads,
}

/// What a server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ServerKind {
    /// SMTP.
    #[default]
    Smtp,
    /// Submission over HTTP.
    Http,
    /// Submission over HTTP with TLS.
    Https,
    /// Messages that a native plugin injects; there is no socket.
    Plugin,
}

/// One listening socket.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Listener {
    /// TCP port.
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<u16>,
    /// Address to listen on. Absent: every IPv4 and IPv6 address of the machine.
    pub address: Option<Address>,
    /// Length of the queue of connections that are not accepted yet. Absent: the system's.
    #[schemars(range(min = 1, max = 65535))]
    pub backlog: Option<u32>,
    /// Name of the listener, by which `servers[].tls.implicit` of the running configuration refers to it.
    pub id: Option<Id>,
    /// Path of a Unix socket to listen on in place of a port. Its clients count as clients of this machine; hooks see their user as `remoteuid`.
    pub path: Option<FilePath>,
    /// User who owns the Unix socket. Absent: the user of the process.
    pub owner: Option<String>,
    /// Group of the Unix socket. Absent: the group of the process.
    pub group: Option<String>,
    /// Mode of the Unix socket, an octal string. Absent: `"0660"`.
    pub chmod: Option<Octal>,
}

/// Sizes of one server's thread pools.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ServerThreads {
    /// Worker threads that this server asks for. The workers are shared: the sum over all servers is the number of workers. Absent everywhere: one for each processor core.
    #[schemars(range(min = 1, max = 1024))]
    pub event: Option<u32>,
    /// Threads for hooks. Hooks run on the workers and never hold one while they wait, so there is nothing to size.
    #[schemars(range(min = 1, max = 65535))]
    pub script: Option<u32>,
    /// Stack size of a thread, bytes.
    pub stacksize: Option<u64>,
    /// Scheduling priority of the threads.
    pub priority: Option<i64>,
}

/// Settings of the script engine.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StartupScripting {
    /// Folder below which `file://` paths of `File()`, `import` and `include` lie; no path leaves it. Absent: `/`, or the bundle's folder for a source tree.
    pub rootpath: Option<FilePath>,
    /// What one execution of a script may use.
    pub limits: ScriptLimits,
    /// Allow the FFI class: `true` for every library, or a list of the paths of the allowed ones.
    pub ffi: Ffi,
    /// Named thread pools. Hooks run on the workers, so there is nothing to size.
    pub threads: Vec<ScriptThreads>,
}

/// What one execution of a script may use.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ScriptLimits {
    /// Instructions.
    #[schemars(range(min = 1))]
    pub fuel: u64,
    /// Seconds, waiting included.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub time: Seconds,
    /// Bytes of memory.
    #[schemars(range(min = 65536))]
    pub memory: u64,
    /// Other limits for single hook types. What a hook type leaves out is taken from above.
    pub hooks: HookLimits,
}

impl Default for ScriptLimits {
    fn default() -> Self {
        Self {
            fuel: 500_000_000,
            time: Seconds::new(300),
            memory: 256 << 20,
            hooks: HookLimits::default(),
        }
    }
}

/// What one execution of one hook may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExecutionLimits {
    /// Instructions.
    pub fuel: u64,
    /// Time, waiting included.
    pub time: Duration,
    /// Bytes of memory.
    pub memory: u64,
}

impl ScriptLimits {
    /// The limits of a hook type.
    #[must_use]
    pub fn of(&self, hook: HookType) -> ExecutionLimits {
        let own = match hook {
            HookType::Connect => &self.hooks.connect,
            HookType::Disconnect => &self.hooks.disconnect,
            HookType::Proxy => &self.hooks.proxy,
            HookType::Helo => &self.hooks.helo,
            HookType::Auth => &self.hooks.auth,
            HookType::MailFrom => &self.hooks.mailfrom,
            HookType::RcptTo => &self.hooks.rcptto,
            HookType::Eod => &self.hooks.eod,
            HookType::PreDelivery => &self.hooks.predelivery,
            HookType::PostDelivery => &self.hooks.postdelivery,
        };
        ExecutionLimits {
            fuel: own.fuel.unwrap_or(self.fuel),
            time: *own.time.unwrap_or(self.time),
            memory: own.memory.unwrap_or(self.memory),
        }
    }
}

/// Limits for single hook types.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HookLimits {
    /// Limits of the connect hooks.
    pub connect: HookLimit,
    /// Limits of the disconnect hooks.
    pub disconnect: HookLimit,
    /// Limits of the proxy hooks.
    pub proxy: HookLimit,
    /// Limits of the helo hooks.
    pub helo: HookLimit,
    /// Limits of the auth hooks.
    pub auth: HookLimit,
    /// Limits of the mailfrom hooks.
    pub mailfrom: HookLimit,
    /// Limits of the rcptto hooks.
    pub rcptto: HookLimit,
    /// Limits of the eod hooks.
    pub eod: HookLimit,
    /// Limits of the predelivery hooks.
    pub predelivery: HookLimit,
    /// Limits of the postdelivery hooks.
    pub postdelivery: HookLimit,
}

/// Limits for one hook type.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HookLimit {
    /// Instructions. Absent: `scripting.limits.fuel`.
    #[schemars(range(min = 1))]
    pub fuel: Option<u64>,
    /// Seconds, waiting included. Absent: `scripting.limits.time`.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub time: Option<Seconds>,
    /// Bytes of memory. Absent: `scripting.limits.memory`.
    #[schemars(range(min = 65536))]
    pub memory: Option<u64>,
}

/// Which libraries the FFI class may load.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Ffi {
    /// All or none.
    Switch(bool),
    /// These paths only.
    Only(Vec<FilePath>),
}

impl Default for Ffi {
    fn default() -> Self {
        Self::Switch(false)
    }
}

/// Named thread pools.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StartupThreads {
    /// Pools for scripts. Hooks run on the workers, so there is nothing to size.
    pub scripts: Vec<ScriptThreads>,
}

/// A named pool of script threads.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ScriptThreads {
    /// Name of the pool.
    pub id: Id,
    /// Number of threads.
    pub threads: Option<u32>,
    /// Scripts that may run at once.
    pub maxscripts: Option<u32>,
}

/// Sizes of the queue's thread pools and of the queue in memory.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StartupQueues {
    /// Sizes of the queue's thread pools.
    pub threads: QueueThreads,
    /// Messages that the queue holds in memory; 0 is no bound. Beyond it messages wait on disk and new mail is deferred with 452.
    pub maxmessages: u64,
}

/// Sizes of the queue's thread pools. The queue runs on the shared workers, so there is nothing to size.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct QueueThreads {
    /// Threads for the predelivery and postdelivery hooks.
    #[schemars(range(min = 1, max = 65535))]
    pub script: Option<u32>,
    /// Threads for outbound connections.
    #[schemars(range(min = 1, max = 65535))]
    pub event: Option<u32>,
    /// Threads that load the spool.
    #[schemars(range(min = 1, max = 65535))]
    pub loader: Option<u32>,
}

/// The queue on disk.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Spool {
    /// Folder of the queue.
    pub path: FilePath,
    /// Folder of messages that are still being received. It must be on the same file system as `spool.path`.
    pub tmp: FilePath,
    /// Wait until a message is on disk before it is answered with 250. With `false` a crash can lose accepted mail.
    pub fsync: bool,
    /// Free space that must be left. With less, MAIL is answered 452 4.3.1.
    pub minfree: MinFree,
    /// What to do at start with a part of the queue that cannot be read.
    pub corrupt: Corrupt,
    /// Bytes of memory for the bodies of messages that are being received. When they are used up, DATA is answered 452 4.3.1.
    #[schemars(range(min = 262144))]
    pub memory: u64,
}

impl Default for Spool {
    fn default() -> Self {
        Self {
            path: FilePath::from(std::path::PathBuf::from("/var/spool/angarium/queue")),
            tmp: FilePath::from(std::path::PathBuf::from("/var/spool/angarium/tmp")),
            fsync: true,
            minfree: MinFree::default(),
            corrupt: Corrupt::default(),
            memory: 256 << 20,
        }
    }
}

/// Free space that must be left on the file system of the spool.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MinFree {
    /// Bytes.
    pub bytes: u64,
    /// Inodes.
    pub inodes: u64,
}

impl Default for MinFree {
    fn default() -> Self {
        Self {
            bytes: 1 << 30,
            inodes: 1000,
        }
    }
}

/// What to do at start with a part of the queue that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Corrupt {
    /// Move it to the folder `corrupt` beside `spool.path` and go on.
    #[default]
    Quarantine,
    /// Leave it, log an error and go on.
    Ignore,
    /// Refuse to start.
    Abort,
}

/// Key pairs for TLS in the startup configuration.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StartupPki {
    /// Private keys with their certificates. A certificate may stand in the running configuration under the same id instead, so that it can be renewed by a reload.
    pub private: Vec<PrivateKey>,
}

/// The cluster service that counts the hosts.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Cluster {
    /// Host of the cluster service.
    pub address: Option<HostName>,
    /// Its port.
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,
}

impl Default for Cluster {
    fn default() -> Self {
        Self {
            address: None,
            port: 2530,
        }
    }
}

/// The HTTP listener for metrics and health.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StartupMonitor {
    /// Where it listens.
    pub listener: MonitorListener,
}

/// Where the monitor listens.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MonitorListener {
    /// TCP port. Absent: there is no monitor.
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<u16>,
    /// Address to listen on. Absent: all.
    pub address: Option<Address>,
}

/// A native plugin.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["id"]))]
pub struct StartupPlugin {
    /// Name of the plugin.
    pub id: Id,
    /// Path of its library. Absent: `<id>.so` in the plugin folder.
    pub path: Option<FilePath>,
    /// Handed to the plugin as it is.
    pub config: serde_json::Value,
    /// `false` leaves the plugin out.
    pub enabled: bool,
}

impl Default for StartupPlugin {
    fn default() -> Self {
        Self {
            id: Id::default(),
            path: None,
            config: serde_json::Value::Null,
            enabled: true,
        }
    }
}

/// Other files, the control socket, and what the process asks of the system.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Environment {
    /// Path of the running configuration. Absent: `smtpd-app.yaml` beside this file, else `/etc/angarium/smtpd-app.yaml`. A source tree always uses its own.
    pub appconf: Option<FilePath>,
    /// Path of the pickup policies. Absent: `smtpd-policy.yaml` beside this file. A file that does not exist is empty.
    pub policyconf: Option<FilePath>,
    /// Path of the suspends. Absent: `smtpd-suspend.yaml` beside this file. A file that does not exist is empty.
    pub suspendconf: Option<FilePath>,
    /// Path of the delivery settings. Absent: `smtpd-delivery.yaml` beside this file. A file that does not exist is empty.
    pub deliveryconf: Option<FilePath>,
    /// The control socket.
    pub controlsocket: ControlSocket,
    /// Whom the process becomes after its sockets are bound.
    pub privdrop: PrivDrop,
    /// Mode bits that new files never get, an octal string.
    pub umask: Option<Octal>,
    /// Limits of the process.
    pub rlimit: Rlimit,
    /// How ids of transactions are made.
    pub uuid: UuidSettings,
    /// The system log.
    pub syslog: Syslog,
    /// There is no licence to check.
    pub licensekey: Option<serde_json::Value>,
}

/// The control socket.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ControlSocket {
    /// Path of the Unix socket.
    pub path: Option<FilePath>,
    /// User who owns the socket. Absent: the user of the process.
    pub owner: Option<String>,
    /// Group of the socket.
    pub group: Option<String>,
    /// Mode of the socket, an octal string. Absent: `"0660"`.
    pub chmod: Option<Octal>,
    /// TCP port in place of `path`. Without `tls` whoever reaches it commands the server.
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<u16>,
    /// Address for `port`. Absent: 127.0.0.1.
    pub address: Option<Address>,
    /// Mutual TLS for the TCP control socket.
    pub tls: ControlTls,
}

/// Mutual TLS for the TCP control socket.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ControlTls {
    /// The side that listens.
    pub server: Option<ControlTlsSide>,
    /// The side that connects.
    pub client: Option<ControlTlsSide>,
}

/// One side of the control socket's TLS. The listening side needs a certificate; with `verify` it takes only clients that show a good one.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ControlTlsSide {
    /// Certificate of this side, followed by the rest of its chain.
    pub certificate: Option<crate::pki::Material>,
    /// Private key of this side.
    pub privatekey: Option<crate::pki::Material>,
    /// Certificates of the authorities that sign the other side's certificate. Absent: those behind this side's certificate in its chain; if there are none, those that the system trusts.
    pub ca: Option<crate::pki::Material>,
    /// Check the other side's certificate.
    pub verify: bool,
    /// Name that must stand in the other side's certificate. Absent: for the side that connects, the host that it connects to; for the other, any.
    pub verifyname: Option<HostName>,
}

impl Default for ControlTlsSide {
    fn default() -> Self {
        Self {
            certificate: None,
            privatekey: None,
            ca: None,
            verify: true,
            verifyname: None,
        }
    }
}

/// Whom the process becomes after its sockets are bound.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PrivDrop {
    /// User.
    pub user: Option<String>,
    /// Group. Absent: the user's own.
    pub group: Option<String>,
}

/// Limits of the process.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Rlimit {
    /// Open files. Absent: what the system gives.
    #[schemars(range(min = 64))]
    pub nofile: Option<u64>,
}

/// How ids of transactions are made.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct UuidSettings {
    /// Version of RFC 9562: 4 is random, 1 is made from time.
    #[schemars(extend("enum" = [1, 4]))]
    pub version: u8,
}

impl Default for UuidSettings {
    fn default() -> Self {
        Self { version: 4 }
    }
}

/// The system log, which `angarium serve --log` turns on.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Syslog {
    /// Which severities are logged, wherever the log goes: bit n stands for severity n of RFC 5424.
    #[schemars(range(max = 255))]
    pub mask: u8,
    /// Name of the program in the log.
    pub ident: String,
    /// Facility.
    pub facility: Facility,
}

impl Default for Syslog {
    fn default() -> Self {
        Self {
            mask: 255,
            ident: "smtpd".to_owned(),
            facility: Facility::Mail,
        }
    }
}

/// A facility of the system log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the variants are the names of RFC 5424")]
pub enum Facility {
    Kern,
    User,
    Mail,
    Daemon,
    Auth,
    Syslog,
    Lpr,
    News,
    Uucp,
    Cron,
    Authpriv,
    Ftp,
    Local0,
    Local1,
    Local2,
    Local3,
    Local4,
    Local5,
    Local6,
    Local7,
}

/// Where the log goes besides standard error.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Logging {
    /// A file with one JSON object a line.
    pub json: JsonLog,
}

/// A file with one JSON object a line.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct JsonLog {
    /// Path of the file. It is opened again at SIGUSR1, when it was moved away.
    pub path: Option<FilePath>,
}

/// The store of past messages.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct History {
    /// Path of the database.
    pub path: Option<FilePath>,
    /// Days to keep.
    pub retention: Option<u32>,
}

impl Startup {
    /// The number of worker threads that `servers[].threads.event` asks for, if any server does.
    #[must_use]
    pub fn workers(&self) -> Option<usize> {
        let asked: Vec<u32> = self
            .servers
            .iter()
            .filter_map(|server| server.threads.event)
            .collect();
        let sum = asked
            .iter()
            .fold(0_u32, |sum, count| sum.saturating_add(*count));
        (!asked.is_empty()).then(|| usize::try_from(sum).unwrap_or(usize::MAX).max(1))
    }
}
