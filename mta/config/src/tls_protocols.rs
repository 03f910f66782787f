//! The list of TLS versions that a side offers.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::types::text_type;

/// The TLS versions that a side offers, from a list such as `!SSLv2,!SSLv3,!TLSv1,!TLSv1.1`.
///
/// Only TLS 1.2 and 1.3 exist here: older ones can be excluded, not asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsProtocols {
    /// TLS 1.2 is offered.
    pub tls12: bool,
    /// TLS 1.3 is offered.
    pub tls13: bool,
    text: String,
}

text_type!(TlsProtocols, "tls-protocols");

impl Default for TlsProtocols {
    fn default() -> Self {
        Self {
            tls12: true,
            tls13: true,
            text: "!SSLv2,!SSLv3,!TLSv1,!TLSv1.1".to_owned(),
        }
    }
}

impl FromStr for TlsProtocols {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let items = || {
            text.split(',')
                .map(str::trim)
                .filter(|item| !item.is_empty())
        };
        // A list that names what it wants starts from nothing, one that only excludes from all.
        let from_all = items().all(|item| item.starts_with('!'));
        let mut result = Self {
            tls12: from_all,
            tls13: from_all,
            text: text.to_owned(),
        };
        for item in items() {
            let (wanted, name) = match item.strip_prefix('!') {
                Some(name) => (false, name),
                None => (true, item),
            };
            match name.to_ascii_lowercase().as_str() {
                "tlsv1.2" => result.tls12 = wanted,
                "tlsv1.3" => result.tls13 = wanted,
                "sslv2" | "sslv3" | "tlsv1" | "tlsv1.0" | "tlsv1.1" if !wanted => {}
                "sslv2" | "sslv3" | "tlsv1" | "tlsv1.0" | "tlsv1.1" => {
                    return Err(format!(
                        "asks for {name}, which is not available: TLSv1.2 and TLSv1.3 are"
                    ));
                }
                _ => {
                    return Err(format!(
                        "names {name:?}, which is no protocol: SSLv2, SSLv3, TLSv1, TLSv1.1, TLSv1.2 and TLSv1.3 are, with `!` to exclude"
                    ));
                }
            }
        }
        if !result.tls12 && !result.tls13 {
            return Err(
                "excludes every available protocol: TLSv1.2 or TLSv1.3 must stay".to_owned(),
            );
        }
        Ok(result)
    }
}

impl fmt::Display for TlsProtocols {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
