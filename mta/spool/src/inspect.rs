//! The spool of a stopped server, looked at by tools.

use std::sync::Arc;

use angarium_effects::disk::Disk;

use crate::config::{Config, OnCorrupt};
use crate::error::{OpenError, ReadError};
use crate::id::BodyRef;
use crate::reader::{self, BodyReader};
use crate::recovered::Recovered;
use crate::recovery::{self, Access};
use crate::shared::Shared;

/// A spool that is only read. It is locked meanwhile; nothing in it is changed.
///
/// What is damaged is told to the configuration's observer, as at a start, and skipped.
#[derive(Debug)]
pub struct Inspection {
    shared: Arc<Shared>,
}

impl Inspection {
    /// Opens the spool of a stopped server; the second part yields its items.
    pub fn open(disk: Arc<dyn Disk>, mut config: Config) -> Result<(Self, Recovered), OpenError> {
        config.corrupt = OnCorrupt::Ignore;
        let log = config.log();
        disk.list(&log).map_err(|source| OpenError::Io {
            action: "list",
            path: log,
            source,
        })?;
        let (shared, _, recovered) = recovery::open(disk, config, Access::Look)?;
        Ok((Self { shared }, recovered))
    }

    /// Opens a stored body.
    pub fn read(&self, body: BodyRef) -> Result<BodyReader, ReadError> {
        reader::open(&self.shared, body)
    }
}
