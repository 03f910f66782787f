//! Keys and certificates as both configuration files write them: `{path: …}` or `{data: …}`.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::types::{FilePath, Id};

/// A private key and its certificate.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["id"]))]
pub struct PrivateKey {
    /// Name by which other keys refer to this pair.
    pub id: Id,
    /// The private key in PEM form (PKCS#8, PKCS#1 or SEC 1).
    pub privatekey: Option<Material>,
    /// The certificate in PEM form, followed by the rest of its chain.
    pub certificate: Option<Material>,
}

/// A key or certificate: `path` names a file, `data` is the PEM text itself. Exactly one is given.
#[derive(Clone, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Material {
    /// Path of a PEM file.
    pub path: Option<FilePath>,
    /// PEM text.
    pub data: Option<String>,
}

/// A key pair after the startup and the running configuration are put together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPair {
    /// Where the private key is.
    pub privatekey: KeySource,
    /// Where the certificate and its chain are; a key that signs mail needs none.
    pub certificate: Option<KeySource>,
}

/// Where a key or certificate is.
#[derive(Clone, PartialEq, Eq)]
pub enum KeySource {
    /// In this PEM file.
    Path(std::path::PathBuf),
    /// In this PEM text.
    Data(String),
}

// A private key must not come into a log by way of `{:?}`.
impl fmt::Debug for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => write!(f, "Path({path:?})"),
            Self::Data(_) => f.write_str("Data(…)"),
        }
    }
}

impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.source() {
            Some(source) => source.fmt(f),
            None => f.write_str("neither or both of path and data"),
        }
    }
}

impl Material {
    /// The source, or `None` unless exactly one of `path` and `data` is given.
    #[must_use]
    pub fn source(&self) -> Option<KeySource> {
        match (&self.path, &self.data) {
            (Some(path), None) => Some(KeySource::Path(path.to_path_buf())),
            (None, Some(data)) => Some(KeySource::Data(data.clone())),
            _ => None,
        }
    }
}
