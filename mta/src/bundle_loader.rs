//! Files that scripts may read: those of a bundle, and those below the script root on the disk.
//!
//! Nothing outside the root is reached: paths come normalised, and links are followed to where they lead before
//! anything is opened.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use angarium_config::Running;
use angarium_effects::disk::{Disk, DiskFile, FileKind, OpenMode, SystemDisk, read_file};
use angarium_lang::modules::{Loader, resolve_path};
use angarium_runtime::host::{FileData, Files};
use angarium_runtime::string::hash_bytes;

use crate::scripts::Root;

/// The largest file that a script may read: the longest string of the language.
const MAX_FILE: u64 = 256 << 20;

/// The files below a folder of the machine.
#[derive(Clone, Debug)]
pub struct SystemRoot {
    /// The folder, free of links; none when it does not exist, so that there are no files.
    folder: Option<PathBuf>,
    /// The folder as it was named, for messages.
    written: PathBuf,
}

impl SystemRoot {
    /// The files below `folder`.
    #[must_use]
    pub fn new(folder: &Path) -> SystemRoot {
        SystemRoot {
            folder: folder.canonicalize().ok(),
            written: folder.to_owned(),
        }
    }

    /// The path below the root of a file given by its path on the machine; none if it lies elsewhere.
    #[must_use]
    pub fn path_of(&self, file: &Path) -> Option<String> {
        let file = file.canonicalize().ok()?;
        let below = file.strip_prefix(self.folder.as_ref()?).ok()?;
        below.to_str().map(str::to_owned)
    }

    fn find(&self, path: &str) -> Option<PathBuf> {
        let folder = self.folder.as_ref()?;
        // A link may lead anywhere: what counts is where it ends.
        let file = folder.join(path).canonicalize().ok()?;
        // A pipe would hang and a device never end.
        let inside =
            file.starts_with(folder) && SystemDisk.metadata(&file).ok()?.kind == FileKind::File;
        inside.then_some(file)
    }
}

/// A file of the disk.
struct OnDisk {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
}

impl FileData for OnDisk {
    fn length(&self) -> u64 {
        self.file.metadata().map_or(0, |known| known.length)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    fn path(&self) -> Option<&Path> {
        Some(&self.path)
    }
}

impl Root for SystemRoot {
    fn read(&self, path: &str) -> Option<Arc<[u8]>> {
        let file = self.find(path)?;
        read_file(&SystemDisk, &file, MAX_FILE).ok().map(Into::into)
    }

    fn open(&self, path: &str) -> Option<Arc<dyn FileData>> {
        let path = self.find(path)?;
        let file = SystemDisk.open(&path, OpenMode::Read).ok()?;
        Some(Arc::new(OnDisk { file, path }))
    }

    fn stamp(&self, path: &str) -> Option<u64> {
        let file = SystemDisk.metadata(&self.find(path)?).ok()?;
        let modified = file.modified.as_nanos().to_le_bytes();
        Some(hash_bytes(
            &[&modified[..], &file.length.to_le_bytes()].concat(),
        ))
    }

    fn locate(&self, path: &str) -> Option<PathBuf> {
        self.find(path)?;
        Some(self.written.join(path))
    }
}

/// What a tool's scripts may read: the files of a bundle first, then those below a root.
#[derive(Clone)]
pub struct ScriptFiles {
    bundle: Option<Arc<Running>>,
    roots: Vec<Arc<dyn Root>>,
}

impl ScriptFiles {
    /// The files of `bundle` and then those of `roots`, the first one that has a name wins.
    #[must_use]
    pub fn new(bundle: Option<Arc<Running>>, roots: Vec<Arc<dyn Root>>) -> ScriptFiles {
        ScriptFiles { bundle, roots }
    }

    fn bundled(&self, path: &str) -> Option<Arc<[u8]>> {
        self.bundle.as_ref()?.file(path)
    }
}

impl Loader for ScriptFiles {
    fn load(&self, path: &str) -> Option<Arc<[u8]>> {
        self.bundled(path)
            .or_else(|| self.roots.iter().find_map(|root| root.read(path)))
    }

    fn extra(&self, name: &str) -> Option<Arc<[u8]>> {
        angarium_stdlib::extras::source(name).map(Into::into)
    }

    fn display(&self, path: &str) -> String {
        let bundle = self.bundle.as_ref();
        if let Some(file) = bundle.and_then(|bundle| bundle.files.get(path)) {
            return file.file.to_string();
        }
        let root = self.roots.iter().find(|root| root.stamp(path).is_some());
        match root.and_then(|root| root.locate(path)) {
            Some(file) => from_here(&file).display().to_string(),
            None => path.to_owned(),
        }
    }
}

/// A path as it is named in the folder where the program runs.
fn from_here(path: &Path) -> &Path {
    let here = std::env::current_dir().ok();
    let below = here.and_then(|here| path.strip_prefix(here).ok());
    below.unwrap_or_else(|| path.strip_prefix(".").unwrap_or(path))
}

impl Files for ScriptFiles {
    fn open(&self, name: &str) -> Option<Arc<dyn FileData>> {
        let path = resolve_path(name, "")?;
        match self.bundled(&path) {
            Some(data) => Some(Arc::new(data)),
            None => self.roots.iter().find_map(|root| root.open(&path)),
        }
    }

    fn stamp(&self, name: &str) -> Option<u64> {
        let path = resolve_path(name, "")?;
        let bundle = self.bundle.as_ref().and_then(|bundle| bundle.file(&path));
        match bundle {
            Some(content) => Some(hash_bytes(&content)),
            None => self.roots.iter().find_map(|root| root.stamp(&path)),
        }
    }
}

#[cfg(test)]
#[allow(
    clippy::disallowed_methods,
    reason = "the test makes the files that it reads"
)]
mod tests {
    use super::*;

    #[test]
    fn nothing_outside_the_root_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        std::fs::create_dir_all(root.join("sub")).unwrap();
        std::fs::write(folder.path().join("secret"), "s").unwrap();
        std::fs::write(root.join("sub/a.hsl"), "a").unwrap();
        std::os::unix::fs::symlink("../secret", root.join("out")).unwrap();
        std::os::unix::fs::symlink("sub/a.hsl", root.join("in")).unwrap();
        let files = SystemRoot::new(&root);
        assert_eq!(files.read("sub/a.hsl").as_deref(), Some(&b"a"[..]));
        assert_eq!(files.read("in").as_deref(), Some(&b"a"[..]));
        for path in ["out", "../secret", "sub", "missing", "/etc/passwd"] {
            assert_eq!(files.read(path), None, "{path}");
            assert!(files.open(path).is_none(), "{path}");
        }
        let open = files.open("in").expect("a file");
        assert_eq!((open.length(), open.bytes()), (1, None));
        assert_eq!(
            open.path(),
            root.join("sub/a.hsl").canonicalize().ok().as_deref()
        );
        assert_eq!(
            files.path_of(&root.join("sub/a.hsl")).as_deref(),
            Some("sub/a.hsl")
        );
        assert_eq!(files.path_of(&folder.path().join("secret")), None);
    }

    #[test]
    fn a_root_that_does_not_exist_has_no_files() {
        let files = SystemRoot::new(Path::new("/nonexistent/folder"));
        assert_eq!(files.read("a"), None);
    }
}
