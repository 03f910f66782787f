//! The names by which a client asks for a certificate (RFC 6066 §3).

use std::borrow::{Borrow, Cow};
use std::fmt;
use std::ops::Deref;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::types::{HostName, text_newtype, text_type};

/// A host name, or `*.domain` for one label below the domain. Lower case, without a final dot.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SniName(String);

text_type!(SniName, "sni-name");
text_newtype!(SniName);

impl FromStr for SniName {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.strip_suffix('.').unwrap_or(text);
        let name = text.strip_prefix("*.").unwrap_or(text);
        if name.starts_with('[') || name.parse::<HostName>().is_err() {
            return Err(
                "must be a host name such as mx.example.com, or *.example.com for one label below it"
                    .to_owned(),
            );
        }
        Ok(Self(text.to_lowercase()))
    }
}
