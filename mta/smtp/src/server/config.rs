//! What a server machine has to know (mta.md 1.3); shared by all sessions of a server.

use std::time::Duration;

use crate::network::Network;
use crate::param::Extensions;

/// Configuration of one virtual server. A reload makes a new one; running sessions keep theirs.
#[derive(Debug, Clone)]
pub struct Config {
    /// Name in the banner and the greeting.
    pub hostname: String,
    /// Which phases run a hook.
    pub hooks: Hooks,
    /// What EHLO announces. `starttls` means: a certificate is there. `requiretls` is announced under
    /// TLS only, `binarymime` with `chunking` only, XCLIENT to those who may use it.
    pub extensions: Extensions,
    /// AUTH, if there is a hook for it.
    pub auth: Option<AuthConfig>,
    /// MAIL needs HELO or EHLO first.
    pub helo_required: bool,
    /// A bare LF ends a command line.
    pub bare_lf: bool,
    /// Transport of accepted recipients.
    pub transport_id: String,
    /// Who may relay where no rcptto hook decides.
    pub relay: Vec<Network>,
    /// Who may say by XCLIENT for whom they speak.
    pub xclient: Vec<Network>,
    /// Limits.
    pub limits: Limits,
    /// Time limits.
    pub timeouts: Timeouts,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            hostname: "localhost".to_owned(),
            hooks: Hooks::default(),
            extensions: Extensions::standard(),
            auth: None,
            helo_required: false,
            bare_lf: false,
            transport_id: String::new(),
            relay: Network::loopback(),
            xclient: Vec::new(),
            limits: Limits::default(),
            timeouts: Timeouts::default(),
        }
    }
}

/// AUTH; its hook decides.
#[derive(Debug, Clone)]
pub struct AuthConfig {
    /// Mechanisms to announce. PLAIN and LOGIN are decoded by the machine.
    pub mechanisms: Vec<String>,
    /// Only under TLS.
    pub tls_only: bool,
}

impl Default for AuthConfig {
    fn default() -> Self {
        Self {
            mechanisms: vec!["PLAIN".to_owned(), "LOGIN".to_owned()],
            tls_only: true,
        }
    }
}

/// Which phases have a hook. Eod is not among them: it is always reported.
#[derive(Debug, Clone, Default)]
pub struct Hooks {
    /// phases.connect
    pub connect: bool,
    /// phases.helo
    pub helo: bool,
    /// phases.mailfrom
    pub mailfrom: bool,
    /// phases.rcptto, for any domain
    pub rcptto: bool,
    /// phases.proxy
    pub proxy: ProxyCommands,
}

/// Which command lines run the proxy hook.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ProxyCommands {
    /// None.
    #[default]
    None,
    /// All.
    All,
    /// Those whose line starts with one of these, in any case.
    Starting(Vec<String>),
}

/// Limits; 0 stands for no limit where it says so.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of a command line without CRLF.
    pub line: usize,
    /// Bytes of an AUTH command or response without CRLF.
    pub auth_line: usize,
    /// Commands of a connection.
    pub commands: u32,
    /// Protocol errors of a connection; the next one closes it.
    pub errors: u32,
    /// Bytes of one header field with its continuation lines.
    pub header: usize,
    /// Bytes of all header fields.
    pub headers: usize,
    /// Least bytes per second during DATA; 0 for none.
    pub min_rate: u64,
    /// Recipients of a transaction.
    pub recipients: usize,
    /// Transactions of a connection; 0 for no limit.
    pub messages: u32,
    /// Bytes of a message; 0 for no limit.
    pub size: u64,
    /// `Received` fields.
    pub hops: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            line: 2048,
            auth_line: 12_288,
            commands: 10_000,
            errors: 20,
            header: 262_144,
            headers: 1_048_576,
            min_rate: 100,
            recipients: 1000,
            messages: 0,
            size: 50 << 20,
            hops: 30,
        }
    }
}

/// Time limits.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// Between commands.
    pub idle: Duration,
    /// From the first byte of a command line to its last, and for a TLS handshake.
    pub command: Duration,
    /// For each 64 KiB of content.
    pub data: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(300),
            command: Duration::from_secs(300),
            data: Duration::from_secs(600),
        }
    }
}
