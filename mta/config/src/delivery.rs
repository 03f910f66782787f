//! `smtpd-delivery.yaml`: settings of a delivery by its destination.
//!
//! They are looked up when the destination of an attempt is known. What a script's `Try` says wins
//! over them, they win over the transport. For each setting the first condition counts that matches
//! and has it, then `default`.

use angarium_queue::matcher::Lists;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::check::Checker;
use crate::condition::{Condition, ConditionFields, Fields};
use crate::path::KeyPath;
use crate::transport::{ProxyServer, RetryInterval, TlsMode};
use crate::types::{Seconds, TlsCiphers, TlsProtocols, Version};

/// Everything that `smtpd-delivery.yaml` says, as it is written.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["version"]))]
pub struct DeliveryDocument {
    /// Version of the configuration language, `"5.0"` to `"6.99"`. All are treated alike.
    pub version: Version,
    /// Settings of deliveries by destination.
    pub delivery: DeliverySection,
}

/// Settings of deliveries by destination.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DeliverySection {
    /// Settings for some deliveries. For each setting the first entry counts that matches and has it.
    pub conditions: Vec<DeliveryCondition>,
    /// Settings for all deliveries for which no condition has them.
    #[serde(rename = "default")]
    pub fallback: DeliverySettings,
}

/// Settings for some deliveries.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DeliveryCondition {
    /// Which deliveries are meant: every field that is given must match. Empty: all.
    #[serde(rename = "if")]
    pub fields: ConditionFields,
    /// Their settings.
    pub then: DeliverySettings,
}

/// Settings of a delivery. What is left out is taken from the transport.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DeliverySettings {
    /// Keeping the connection open for the next message.
    pub pooling: DeliveryPooling,
    /// TLS towards the peer.
    pub tls: DeliveryTls,
    /// How long the peer may take.
    pub timeout: DeliveryTimeout,
    /// When a message that could not be delivered is tried again.
    pub retry: DeliveryRetry,
    /// A proxy to which a PROXY header is sent.
    pub proxyprotocol: Option<ProxyServer>,
    /// Use BDAT if the peer announces CHUNKING.
    pub chunking: Option<bool>,
}

/// Keeping the connection open for the next message.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DeliveryPooling {
    /// Keep the connection open. Absent: no.
    pub enabled: Option<bool>,
    /// Seconds that a connection may be idle. Absent: 30.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub timeout: Option<Seconds>,
    /// Messages on one connection, 0 for any number. Absent: 0.
    pub transactions: Option<u32>,
    /// Whether the connection may be closed to make room for another when `queues.pooling.size` is reached. Absent: yes.
    pub evictable: Option<bool>,
}

/// TLS towards the peer.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DeliveryTls {
    /// Whether TLS is used and what is checked.
    pub mode: Option<TlsMode>,
    /// Versions that are offered, a comma list; `!` excludes one.
    pub protocols: Option<TlsProtocols>,
    /// Cipher list in OpenSSL's form.
    pub ciphers: Option<TlsCiphers>,
}

/// How long the peer may take.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DeliveryTimeout {
    /// Seconds that a connection may take to open.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub connect: Option<Seconds>,
    /// Seconds to wait for the reply in each state.
    pub smtp: StateLimits,
}

/// When a message that could not be delivered is tried again.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DeliveryRetry {
    /// Retries before the message expires.
    pub count: Option<u32>,
    /// Delays before the first, second, … retry.
    pub intervals: Option<Vec<RetryInterval>>,
}

macro_rules! state_limits {
    ($($(#[$meta:meta])* $field:ident = $name:literal;)*) => {
        /// Seconds to wait for the reply in each state.
        #[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
        #[serde(default, deny_unknown_fields)]
        pub struct StateLimits {
            $(
                $(#[$meta])*
                #[serde(rename = $name)]
                #[schemars(extend("exclusiveMinimum" = 0))]
                pub $field: Option<Seconds>,
            )*
        }

        impl StateLimits {
            /// Every state that has a limit, by its name, and the limit.
            pub fn given(&self) -> impl Iterator<Item = (&'static str, Seconds)> {
                [$(($name, self.$field)),*]
                    .into_iter()
                    .filter_map(|(name, limit)| Some((name, limit?)))
            }

            fn fill(&mut self, from: &Self) {
                $(self.$field = self.$field.or(from.$field);)*
            }
        }
    };
}

state_limits! {
    /// The greeting.
    banner = "BANNER";
    /// The greeting, under another name.
    connect = "CONNECT";
    /// HELO.
    helo = "HELO";
    /// EHLO.
    ehlo = "EHLO";
    /// LHLO.
    lhlo = "LHLO";
    /// STARTTLS.
    starttls = "STARTTLS";
    /// AUTH.
    auth = "AUTH";
    /// AUTH with CRAM-MD5.
    auth_cram_md5 = "AUTH-CRAM-MD5";
    /// AUTH with PLAIN.
    auth_plain = "AUTH-PLAIN";
    /// AUTH with LOGIN.
    auth_login = "AUTH-LOGIN";
    /// The user name of AUTH LOGIN.
    auth_login_user = "AUTH-LOGIN-USER";
    /// XCLIENT.
    xclient = "XCLIENT";
    /// MAIL.
    mail = "MAIL";
    /// RCPT.
    rcpt = "RCPT";
    /// DATA.
    data = "DATA";
    /// BDAT.
    bdat = "BDAT";
    /// The end of the content.
    eod = "EOD";
    /// RSET.
    rset = "RSET";
    /// NOOP.
    noop = "NOOP";
    /// QUIT.
    quit = "QUIT";
}

impl DeliverySettings {
    /// Takes from `from` what is not set here.
    fn fill(&mut self, from: &Self) {
        let (pooling, other) = (&mut self.pooling, &from.pooling);
        pooling.enabled = pooling.enabled.or(other.enabled);
        pooling.timeout = pooling.timeout.or(other.timeout);
        pooling.transactions = pooling.transactions.or(other.transactions);
        pooling.evictable = pooling.evictable.or(other.evictable);
        let (tls, other) = (&mut self.tls, &from.tls);
        tls.mode = tls.mode.or(other.mode);
        tls.protocols = tls.protocols.take().or_else(|| other.protocols.clone());
        tls.ciphers = tls.ciphers.take().or_else(|| other.ciphers.clone());
        self.timeout.connect = self.timeout.connect.or(from.timeout.connect);
        self.timeout.smtp.fill(&from.timeout.smtp);
        let (retry, other) = (&mut self.retry, &from.retry);
        retry.count = retry.count.or(other.count);
        retry.intervals = retry.intervals.take().or_else(|| other.intervals.clone());
        self.proxyprotocol = self
            .proxyprotocol
            .take()
            .or_else(|| from.proxyprotocol.clone());
        self.chunking = self.chunking.or(from.chunking);
    }
}

/// The delivery settings in force.
#[derive(Debug, Clone, Default)]
pub struct Delivery {
    conditions: Vec<(Condition, DeliverySettings)>,
    fallback: DeliverySettings,
}

impl Delivery {
    /// The settings of a delivery.
    #[must_use]
    pub fn settings(&self, fields: &Fields<'_>) -> DeliverySettings {
        let mut settings = DeliverySettings::default();
        for (condition, then) in &self.conditions {
            if condition.matches(fields) {
                settings.fill(then);
            }
        }
        settings.fill(&self.fallback);
        settings
    }

    /// The settings of every condition, and of `default`.
    pub fn all(&self) -> impl Iterator<Item = &DeliverySettings> {
        let conditions = self.conditions.iter().map(|(_, settings)| settings);
        conditions.chain([&self.fallback])
    }
}

impl Checker<'_, '_> {
    /// The settings in force, for what the file says.
    pub fn delivery(&mut self, written: DeliveryDocument, lists: &Lists) -> Delivery {
        let DeliverySection {
            conditions,
            fallback,
        } = written.delivery;
        let path = KeyPath::root().keys(&["delivery", "conditions"]);
        let conditions = conditions.into_iter().enumerate();
        let conditions = conditions.map(|(index, entry)| {
            let path = path.index(index).key("if");
            let condition = self.condition(&path, &entry.fields, lists);
            (condition, entry.then)
        });
        Delivery {
            conditions: conditions.collect(),
            fallback,
        }
    }
}
