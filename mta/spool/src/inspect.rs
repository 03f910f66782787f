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
use crate::spool::Stats;

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

    /// The bodies that items need.
    #[must_use]
    pub fn bodies(&self) -> Vec<BodyRef> {
        let index = &self.shared.index;
        let mut bodies: Vec<BodyRef> = (0..index.shard_count())
            .flat_map(|number| {
                index.with_shard(number, |shard| {
                    let entries = shard.bodies.iter();
                    let bodies = entries.map(|(id, entry)| BodyRef {
                        id: *id,
                        length: entry.length,
                    });
                    bodies.collect::<Vec<_>>()
                })
            })
            .collect();
        bodies.sort_unstable_by_key(|body| body.id);
        bodies
    }

    /// How much the log takes and holds.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats::of(&self.shared)
    }

    /// Opens a stored body.
    pub fn read(&self, body: BodyRef) -> Result<BodyReader, ReadError> {
        reader::open(&self.shared, body)
    }
}
