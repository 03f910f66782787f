//! `smtpd-app.yaml`, `transportgroups[]`: where messages go and how they get there.
//!
//! A transport inherits every key that it leaves out from its group, the group from the group
//! around it, and the outermost from the defaults here. [`Transport`] is both the schema and, after
//! [`crate::load`] has put the groups together, the settings in force.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::types::{
    Address, HeaderLine, Host, HostName, Id, OneLine, Seconds, TlsCiphers, TlsProtocols,
};

/// A group of transports and the settings that they share.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct TransportGroup {
    /// Groups inside this one; they inherit from it.
    pub transportgroups: Vec<TransportGroup>,
    /// The transports of the group.
    pub transports: Vec<Transport>,
    /// Settings for all transports of the group.
    #[serde(flatten)]
    pub common: Transport,
}

/// One way out: a destination and everything about delivery to it.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["id"]))]
pub struct Transport {
    /// Name of the transport; scripts see it as `transportid`.
    pub id: Id,
    /// Where to connect to.
    pub connection: Connection,
    /// What is said in the connection.
    pub session: Session,
    /// When a message that could not be delivered is tried again.
    pub retry: Retry,
    /// Delivery status notifications about messages of this transport.
    pub dsn: Dsn,
    /// Keep messages of this transport in HOLD: `true`, or an object.
    pub hold: Hold,
}

/// Where to connect to.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Connection {
    /// Host name or address of the next hop. Absent: the MX of the recipient's domain.
    pub server: Option<Host>,
    /// TCP port.
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,
    /// Look up MX records. Absent: `true` without `server`, `false` with it. `true` with `server` delivers to the MX of that name.
    pub mx: Option<bool>,
    /// Which addresses of this machine are used.
    pub sourceip: SourceIp,
    /// A proxy to which a PROXY header is sent.
    pub proxyprotocol: Option<ProxyServer>,
    /// Seconds that a connection may take to open.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub timeout: Seconds,
}

impl Default for Connection {
    fn default() -> Self {
        Self {
            server: None,
            port: 25,
            mx: None,
            sourceip: SourceIp::default(),
            proxyprotocol: None,
            timeout: Seconds::new(30),
        }
    }
}

impl Connection {
    /// Says whether the next hop is found by MX records.
    #[must_use]
    pub fn uses_mx(&self) -> bool {
        self.mx.unwrap_or(self.server.is_none())
    }
}

/// Which addresses of this machine are used.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SourceIp {
    /// The pool: ids of `addresses[]`, addresses, or objects. One that stands twice gets twice the share. Empty: the system chooses.
    pub addresses: Vec<SourceAddress>,
    /// Allow IPv4.
    pub ipv4: bool,
    /// Allow IPv6.
    pub ipv6: bool,
    /// Balance over the pool. `false` keeps its order. Absent: `queues.sourceip.random`.
    pub random: Option<bool>,
    /// Allow addresses that no interface of this machine has.
    pub nonlocal: bool,
}

impl Default for SourceIp {
    fn default() -> Self {
        Self {
            addresses: Vec::new(),
            ipv4: true,
            ipv6: true,
            random: None,
            nonlocal: false,
        }
    }
}

/// One source address.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum SourceAddress {
    /// An id of `addresses[]` or an address.
    Named(Id),
    /// An address with its own HELO name.
    Own(OwnAddress),
}

/// A source address with its own HELO name.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OwnAddress {
    /// The address.
    pub address: Address,
    /// Name in HELO and EHLO.
    #[serde(default)]
    pub helo: Option<HostName>,
}

/// A proxy that takes a PROXY header.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProxyServer {
    /// Host name or address of the proxy.
    pub server: Host,
    /// Its port.
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,
}

/// What is said in the connection.
#[derive(Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Session {
    /// Protocol.
    pub protocol: Protocol,
    /// Name in HELO and EHLO. Absent: the name of the source address, else the host name of the system.
    pub helo: Option<HostName>,
    /// TLS towards the peer.
    pub tls: ClientTls,
    /// Log in before MAIL.
    pub sasl: Sasl,
    /// XCLIENT attributes, sent if the peer announces XCLIENT.
    pub xclient: BTreeMap<String, OneLine>,
    /// Use BDAT if the peer announces CHUNKING.
    pub chunking: bool,
    /// Use PIPELINING if the peer announces it.
    pub pipelining: bool,
    /// Seconds to wait for the reply in each state.
    pub timeout: StateTimeouts,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The password stays out of logs.
        f.debug_struct("Session")
            .field("protocol", &self.protocol)
            .field("helo", &self.helo)
            .field("tls", &self.tls)
            .field("username", &self.sasl.username)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

impl Default for Session {
    fn default() -> Self {
        Self {
            protocol: Protocol::Smtp,
            helo: None,
            tls: ClientTls::default(),
            sasl: Sasl::default(),
            xclient: BTreeMap::new(),
            chunking: false,
            pipelining: true,
            timeout: StateTimeouts::default(),
        }
    }
}

/// The protocol of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// SMTP.
    #[default]
    Smtp,
    /// LMTP (RFC 2033).
    Lmtp,
}

/// TLS towards the peer.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ClientTls {
    /// Whether TLS is used and what is checked.
    pub mode: TlsMode,
    /// TLS from the first byte, without STARTTLS.
    pub implicit: bool,
    /// Name sent as SNI: `true` is the name of the host connected to.
    pub sni: Sni,
    /// Check that the certificate is for the host connected to.
    pub verifyhost: bool,
    /// Names of which the certificate must bear one.
    pub verifynames: Vec<String>,
    /// Trust the certificate authorities of the system.
    pub defaultca: bool,
    /// Versions that are offered, a comma list; `!` excludes one. TLS 1.2 and 1.3 exist.
    pub protocols: TlsProtocols,
    /// Cipher list in OpenSSL's form.
    pub ciphers: TlsCiphers,
    /// Id in `pki.private` of the key pair shown to the peer.
    pub clientcert: Option<Id>,
    /// Ask for the recipient domain's policy (RFC 8461) and keep to it.
    pub mtasts: bool,
}

impl Default for ClientTls {
    fn default() -> Self {
        Self {
            mode: TlsMode::Disabled,
            implicit: false,
            sni: Sni::Switch(false),
            verifyhost: false,
            verifynames: Vec::new(),
            defaultca: true,
            protocols: TlsProtocols::default(),
            ciphers: TlsCiphers::default(),
            clientcert: None,
            mtasts: false,
        }
    }
}

/// Whether TLS is used towards the peer and what is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TlsMode {
    /// No TLS.
    Disabled,
    /// TLS if the peer announces STARTTLS; no certificate is checked.
    Optional,
    /// As `optional`, and the result of checking the certificate is recorded.
    OptionalVerify,
    /// DANE if the peer has TLSA records, else as `optional`.
    Dane,
    /// TLS or no delivery; no certificate is checked.
    Require,
    /// TLS with a certificate that checks, or no delivery.
    RequireVerify,
    /// DANE or no delivery.
    DaneRequire,
    /// DANE if the peer has TLSA records, else as `require`.
    DaneFallbackRequire,
    /// DANE if the peer has TLSA records, else as `require_verify`.
    DaneFallbackRequireVerify,
}

/// The SNI name.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Sni {
    /// The name of the host connected to, or none.
    Switch(bool),
    /// This name.
    Name(HostName),
}

/// The login at the peer.
#[derive(Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Sasl {
    /// User name. Absent: no login.
    pub username: Option<String>,
    /// Password.
    pub password: Option<String>,
    /// Mechanism. Absent: the strongest that the peer announces.
    pub mechanism: Option<Mechanism>,
}

/// A way to log in at the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Mechanism {
    /// The password is proved and not sent (RFC 2195).
    #[serde(rename = "CRAM-MD5")]
    CramMd5,
    /// Name and password at once (RFC 4616).
    #[serde(rename = "PLAIN")]
    Plain,
    /// Name and password one after the other.
    #[serde(rename = "LOGIN")]
    Login,
}

/// Seconds to wait for the reply in each state of a delivery (RFC 5321 §4.5.3.2).
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "UPPERCASE")]
pub struct StateTimeouts {
    /// The greeting.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub banner: Seconds,
    /// The greeting, under another name. Absent: `BANNER`.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub connect: Option<Seconds>,
    /// HELO.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub helo: Seconds,
    /// EHLO.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub ehlo: Seconds,
    /// LHLO.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub lhlo: Seconds,
    /// STARTTLS.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub starttls: Seconds,
    /// AUTH.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub auth: Seconds,
    /// AUTH with CRAM-MD5.
    #[schemars(extend("exclusiveMinimum" = 0))]
    #[serde(rename = "AUTH-CRAM-MD5")]
    pub auth_cram_md5: Seconds,
    /// AUTH with PLAIN.
    #[schemars(extend("exclusiveMinimum" = 0))]
    #[serde(rename = "AUTH-PLAIN")]
    pub auth_plain: Seconds,
    /// AUTH with LOGIN.
    #[schemars(extend("exclusiveMinimum" = 0))]
    #[serde(rename = "AUTH-LOGIN")]
    pub auth_login: Seconds,
    /// The user name of AUTH LOGIN.
    #[schemars(extend("exclusiveMinimum" = 0))]
    #[serde(rename = "AUTH-LOGIN-USER")]
    pub auth_login_user: Seconds,
    /// XCLIENT.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub xclient: Seconds,
    /// MAIL.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub mail: Seconds,
    /// RCPT.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub rcpt: Seconds,
    /// DATA.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub data: Seconds,
    /// BDAT.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub bdat: Seconds,
    /// The end of the content.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub eod: Seconds,
    /// RSET.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub rset: Seconds,
    /// NOOP.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub noop: Seconds,
    /// QUIT.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub quit: Seconds,
}

impl Default for StateTimeouts {
    fn default() -> Self {
        Self {
            banner: Seconds::new(300),
            connect: None,
            helo: Seconds::new(300),
            ehlo: Seconds::new(300),
            lhlo: Seconds::new(300),
            starttls: Seconds::new(120),
            auth: Seconds::new(120),
            auth_cram_md5: Seconds::new(120),
            auth_plain: Seconds::new(120),
            auth_login: Seconds::new(120),
            auth_login_user: Seconds::new(120),
            xclient: Seconds::new(120),
            mail: Seconds::new(300),
            rcpt: Seconds::new(300),
            data: Seconds::new(120),
            bdat: Seconds::new(600),
            eod: Seconds::new(600),
            rset: Seconds::new(60),
            noop: Seconds::new(60),
            quit: Seconds::new(60),
        }
    }
}

impl StateTimeouts {
    /// Every state by its name and the time to wait in it.
    #[must_use]
    pub fn all(&self) -> [(&'static str, Duration); 19] {
        [
            ("BANNER", *self.greeting()),
            ("HELO", *self.helo),
            ("EHLO", *self.ehlo),
            ("LHLO", *self.lhlo),
            ("STARTTLS", *self.starttls),
            ("AUTH", *self.auth),
            ("AUTH-CRAM-MD5", *self.auth_cram_md5),
            ("AUTH-PLAIN", *self.auth_plain),
            ("AUTH-LOGIN", *self.auth_login),
            ("AUTH-LOGIN-USER", *self.auth_login_user),
            ("XCLIENT", *self.xclient),
            ("MAIL", *self.mail),
            ("RCPT", *self.rcpt),
            ("DATA", *self.data),
            ("BDAT", *self.bdat),
            ("EOD", *self.eod),
            ("RSET", *self.rset),
            ("NOOP", *self.noop),
            ("QUIT", *self.quit),
        ]
    }

    /// The time to wait for the greeting.
    #[must_use]
    pub fn greeting(&self) -> Seconds {
        self.connect.unwrap_or(self.banner)
    }
}

/// When a message that could not be delivered is tried again.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Retry {
    /// Retries before the message expires.
    pub count: u32,
    /// Age at which a message expires, seconds; checked in every state but HOLD.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub maxage: Seconds,
    /// Delays before the first, second, … retry. The last one is used again and again.
    #[schemars(length(min = 1, max = 64))]
    pub intervals: Vec<RetryInterval>,
    /// Up to this many seconds are added to each delay at random.
    pub jitter: Seconds,
}

impl Default for Retry {
    fn default() -> Self {
        let interval = |seconds, notify| RetryInterval {
            interval: Seconds::new(seconds),
            notify,
        };
        Self {
            count: 30,
            maxage: Seconds::new(432_000),
            intervals: vec![
                interval(60, false),
                interval(900, false),
                interval(3600, true),
                interval(7200, false),
                interval(10800, false),
            ],
            jitter: Seconds::default(),
        }
    }
}

impl Retry {
    /// The delay before the next attempt of a message that was retried `retries` times.
    #[must_use]
    pub fn interval(&self, retries: u32) -> RetryInterval {
        let last = self.intervals.len().saturating_sub(1);
        let index = usize::try_from(retries).unwrap_or(usize::MAX).min(last);
        self.intervals.get(index).copied().unwrap_or_default()
    }
}

/// One delay of the retry table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RetryInterval {
    /// Seconds.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub interval: Seconds,
    /// Tell the sender about the delay when this interval is used.
    #[serde(default)]
    pub notify: bool,
}

impl Default for RetryInterval {
    fn default() -> Self {
        Self {
            interval: Seconds::new(60),
            notify: false,
        }
    }
}

/// Delivery status notifications about messages of a transport.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Dsn {
    /// Transport that carries the notifications. Absent: none are sent.
    pub transport: Option<Id>,
    /// Address in From. Absent: `mail.postmaster`, else `MAILER-DAEMON@` and the host name.
    pub from: Option<OneLine>,
    /// Name in From. Absent: `Mail Delivery System`.
    pub from_name: Option<OneLine>,
    /// Subject. Absent: one that says what happened, with the original subject.
    pub subject: Option<OneLine>,
    /// Text in front of the subject.
    pub subject_prepend: Option<OneLine>,
    /// Header fields to add, each `Name: value`.
    pub headers: Vec<HeaderLine>,
    /// Send the original header fields along. Absent: yes.
    pub original_headers: Option<bool>,
    /// Send the whole original message along. Absent: as the sender asked by RET.
    pub original_message: Option<bool>,
    /// Sign with DKIM.
    pub dkim: Option<DsnDkim>,
}

/// The DKIM signature of a notification.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DsnDkim {
    /// Selector.
    pub selector: String,
    /// Domain.
    pub domain: String,
    /// Id in `pki.private`.
    pub key: Id,
}

/// Keeping messages in HOLD.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Hold {
    /// Put every message of the transport in HOLD, or none.
    Switch(bool),
    /// The same with a bound.
    Settings(HoldSettings),
}

impl Default for Hold {
    fn default() -> Self {
        Self::Switch(false)
    }
}

/// Keeping messages in HOLD, with a bound.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HoldSettings {
    /// Put every message of the transport in HOLD.
    pub enabled: bool,
    /// Age at which a message in HOLD expires, seconds. Absent: never.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub maxage: Option<Seconds>,
}

impl Hold {
    /// Says whether every message of the transport goes to HOLD.
    #[must_use]
    pub fn enabled(&self) -> bool {
        match self {
            Self::Switch(on) => *on,
            Self::Settings(settings) => settings.enabled,
        }
    }

    /// The age at which a message in HOLD expires.
    #[must_use]
    pub fn maxage(&self) -> Option<Seconds> {
        match self {
            Self::Switch(_) => None,
            Self::Settings(settings) => settings.maxage,
        }
    }
}
