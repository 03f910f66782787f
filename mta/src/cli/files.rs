//! The files that commands read and write, through the disk of the machine.

use std::io;
use std::path::Path;

use angarium_config::{FileSource, Listed};
use angarium_effects::disk::{Disk, FileKind, OpenMode, SystemDisk, create_dir_all, read_file};

use super::failure::Failure;

/// Larger files are refused: nothing that a command reads comes near.
const MAX_FILE: u64 = 1 << 30;

/// The files of the machine, as the configuration wants them.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemFiles;

impl FileSource for SystemFiles {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        read_file(&SystemDisk, path, MAX_FILE)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Listed>> {
        let entries = SystemDisk.list(path)?.into_iter();
        Ok(entries
            .map(|entry| {
                let folder = match entry.kind {
                    FileKind::Directory => true,
                    FileKind::File => false,
                    // A link counts as what it leads to; one that leads nowhere fails when it is read.
                    FileKind::Other => is_folder(&path.join(&entry.name)),
                };
                Listed {
                    name: entry.name,
                    folder,
                }
            })
            .collect())
    }
}

/// Whether `path` is a folder.
#[must_use]
pub fn is_folder(path: &Path) -> bool {
    SystemDisk
        .metadata(path)
        .is_ok_and(|found| found.kind == FileKind::Directory)
}

/// The content of a file.
///
/// # Errors
/// A sentence about why it cannot be read.
pub fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let error = match read_file(&SystemDisk, path, MAX_FILE) {
        Ok(bytes) => return Ok(bytes),
        Err(_) if is_folder(path) => io::ErrorKind::IsADirectory.into(),
        Err(error) => error,
    };
    Err(Failure::of_file("read", path, &error))
}

/// Writes a file in one step: whoever reads it sees the old content or the new one.
///
/// # Errors
/// A sentence about why it cannot be written.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    create_dir_all(&SystemDisk, folder)
        .map_err(|error| Failure::of_file("create the folder", folder, &error))?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let draft = folder.join(name);
    let written = || -> io::Result<()> {
        let file = SystemDisk.open(&draft, OpenMode::CreateEmpty)?;
        file.write_all_at(bytes, 0)?;
        file.sync_data()?;
        SystemDisk.rename(&draft, path)
    };
    written().map_err(|error| {
        // Best effort: the error that is reported is the first one.
        let _ = SystemDisk.unlink(&draft);
        Failure::of_file("write", path, &error)
    })
}

/// Writes a file that must not exist yet.
///
/// # Errors
/// When it exists or cannot be written.
pub fn write_new(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    if let Some(parent) = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
    {
        create_dir_all(&SystemDisk, parent)
            .map_err(|error| Failure::of_file("create the folder", parent, &error))?;
    }
    SystemDisk
        .open(path, OpenMode::CreateNew)
        .and_then(|file| file.write_all_at(bytes, 0))
        .map_err(|error| Failure::of_file("write", path, &error))
}

/// Creates a folder and those above it.
///
/// # Errors
/// A sentence about why it cannot be created.
pub fn create_folder(path: &Path) -> Result<(), Failure> {
    create_dir_all(&SystemDisk, path)
        .map_err(|error| Failure::of_file("create the folder", path, &error))
}

/// Whether a folder holds nothing, or is not there.
///
/// # Errors
/// A sentence about why it cannot be listed.
pub fn is_vacant(path: &Path) -> Result<bool, Failure> {
    match SystemDisk.list(path) {
        Ok(entries) => Ok(entries.is_empty()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(Failure::of_file("look into", path, &error)),
    }
}

/// The files and folders whose path begins with `part`, folders with a slash at their end.
#[must_use]
pub fn beginning_with(part: &str) -> Vec<String> {
    let (folder, name) = part.rsplit_once('/').map_or(("", part), |(_, name)| {
        part.split_at(part.len() - name.len())
    });
    let place = if folder.is_empty() { "." } else { folder };
    let Ok(entries) = SystemDisk.list(Path::new(place)) else {
        return Vec::new();
    };
    let mut found: Vec<String> = entries
        .into_iter()
        .filter_map(|entry| {
            let entry = entry.name.to_str()?.to_owned();
            let shown = entry.starts_with(name) && (!entry.starts_with('.') || !name.is_empty());
            let slash = if is_folder(&Path::new(place).join(&entry)) {
                "/"
            } else {
                ""
            };
            shown.then(|| format!("{folder}{entry}{slash}"))
        })
        .collect();
    found.sort();
    found
}
