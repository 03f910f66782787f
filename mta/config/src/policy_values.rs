//! Values that only policies and suspends have: rates and labels.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use angarium_queue::policy::rate::Rate;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::policy::parse_rate;
use crate::types::text_type;

/// Messages in a time, `count/seconds`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateText(String, Rate);

text_type!(RateText, "rate");

impl RateText {
    /// The rate.
    #[must_use]
    pub fn rate(&self) -> Rate {
        self.1
    }
}

impl FromStr for RateText {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Ok(Self(text.to_owned(), parse_rate(text)?))
    }
}

impl fmt::Display for RateText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Longest label, in bytes.
const LONGEST_TAG: usize = 32;

/// A label of a policy or suspend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag(String);

text_type!(Tag, "tag");

impl FromStr for Tag {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "" => Err("must not be empty".to_owned()),
            _ if text.len() > LONGEST_TAG => {
                Err(format!("must be at most {LONGEST_TAG} bytes long"))
            }
            _ if text.chars().any(char::is_control) => {
                Err("must not have control characters".to_owned())
            }
            _ => Ok(Self(text.to_owned())),
        }
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
