//! Copies of what is damaged, for a person to look at.

use std::ffi::OsStr;
use std::io;
use std::path::PathBuf;

use angarium_effects::disk::{Disk, OpenMode, create_dir_all, read_file};

use crate::config::{Config, Event, OnCorrupt};
use crate::error::Corruption;

/// Reports damage and, if the configuration says so, keeps a copy: of `bytes`, or of the whole file.
pub(crate) fn keep(disk: &dyn Disk, config: &Config, corruption: Corruption, bytes: Option<&[u8]>) {
    let mut quarantined = None;
    if config.corrupt == OnCorrupt::Quarantine {
        match copy(disk, config, &corruption, bytes) {
            Ok(path) => quarantined = Some(path),
            Err(error) => (config.observer)(Event::Background {
                action: "keep a copy of what is damaged",
                reason: error.to_string(),
            }),
        }
    }
    (config.observer)(Event::Corrupt {
        corruption,
        quarantined,
    });
}

/// Writes the copy, named after the file and the offset, so that the next start finds it done.
fn copy(
    disk: &dyn Disk,
    config: &Config,
    corruption: &Corruption,
    bytes: Option<&[u8]>,
) -> io::Result<PathBuf> {
    let directory = config.quarantine();
    create_dir_all(disk, &directory)?;
    let name = corruption
        .path
        .file_name()
        .unwrap_or(OsStr::new("unknown"))
        .to_string_lossy();
    let path = directory.join(format!("{name}.{:010}", corruption.start));
    let whole;
    let bytes = match bytes {
        Some(bytes) => bytes,
        None => {
            whole = read_file(disk, &corruption.path, u64::MAX)?;
            &whole
        }
    };
    let file = disk.open(&path, OpenMode::CreateEmpty)?;
    file.write_all_at(bytes, 0)?;
    file.sync_all()?;
    disk.sync_dir(&directory)?;
    Ok(path)
}
