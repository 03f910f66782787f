//! Matchers as files write them: a name, `*.domain`, `/pattern/`, an address, a network, or `@list`.
//!
//! What they mean is the business of [`angarium_queue::matcher`]; here they get their place in the
//! schema, so that a wrong one is reported with its path.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use angarium_queue::gate::Field;
use angarium_queue::matcher::Pattern;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::types::text_type;

/// One matcher, or a list of which any may match.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum OneOrMore<T> {
    /// One.
    One(T),
    /// Any of these.
    More(Vec<T>),
}

impl<T> OneOrMore<T> {
    /// The matchers.
    pub fn as_slice(&self) -> &[T] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::More(more) => more,
        }
    }
}

/// Gives a matcher its type, whose values are read as those of a field.
macro_rules! matcher {
    ($(#[$doc:meta])* $name:ident, $format:literal, $field:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name(Pattern);

        text_type!($name, $format);

        impl FromStr for $name {
            type Err = String;
            fn from_str(text: &str) -> Result<Self, String> {
                Pattern::parse($field, text).map(Self).map_err(|error| error.to_string())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0.written())
            }
        }

        impl AsRef<Pattern> for $name {
            fn as_ref(&self) -> &Pattern {
                &self.0
            }
        }
    };
}

matcher!(
    /// A matcher of a name that is compared exactly: `tenantid`, `jobid`, `transportid`.
    TextMatcher,
    "match-text",
    Field::TransportId
);
matcher!(
    /// A matcher of a domain, `remotemx` and `recipientdomain`, or of a `grouping`.
    DomainMatcher,
    "match-domain",
    Field::RemoteMx
);
matcher!(
    /// A matcher of an address: `localip`, `remoteip`.
    AddressMatcher,
    "match-address",
    Field::RemoteIp
);
