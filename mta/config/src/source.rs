//! Where configuration files come from.
//!
//! The crate reads files through [`FileSource`] only; the program supplies the disk, tests and
//! embedded bundles use [`MemoryFiles`].

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::{ConfigError, ConfigErrors, Problem};
use crate::schema::FileKind;

/// A place to read files from.
pub trait FileSource {
    /// Reads a file.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] if there is none; otherwise what the system says.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// Lists a folder, in any order. Symbolic links count as what they lead to.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] if there is none; otherwise what the system says.
    fn list(&self, path: &Path) -> io::Result<Vec<Listed>>;
}

/// An entry of a folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listed {
    /// Its name.
    pub name: OsString,
    /// It is a folder.
    pub folder: bool,
}

/// Files in memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemoryFiles(BTreeMap<PathBuf, Vec<u8>>);

impl MemoryFiles {
    /// No files.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a file, or replaces it.
    pub fn insert(&mut self, path: impl Into<PathBuf>, data: impl Into<Vec<u8>>) {
        self.0.insert(path.into(), data.into());
    }

    /// Takes a file out.
    pub fn remove(&mut self, path: &Path) {
        self.0.remove(path);
    }

    /// All files in the order of their paths.
    pub fn iter(&self) -> impl Iterator<Item = (&Path, &[u8])> {
        self.0
            .iter()
            .map(|(path, data)| (path.as_path(), data.as_slice()))
    }
}

impl<P: Into<PathBuf>, D: Into<Vec<u8>>> FromIterator<(P, D)> for MemoryFiles {
    fn from_iter<I: IntoIterator<Item = (P, D)>>(files: I) -> Self {
        Self(
            files
                .into_iter()
                .map(|(path, data)| (path.into(), data.into()))
                .collect(),
        )
    }
}

impl FileSource for MemoryFiles {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.0
            .get(path)
            .cloned()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Listed>> {
        let mut entries = BTreeSet::new();
        for file in self.0.keys() {
            let Ok(below) = file.strip_prefix(path) else {
                continue;
            };
            let mut parts = below.iter();
            if let Some(name) = parts.next() {
                entries.insert(Listed {
                    name: name.to_owned(),
                    folder: parts.next().is_some(),
                });
            }
        }
        if entries.is_empty() {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(entries.into_iter().collect())
    }
}

/// What to serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A source tree: the bundle's folder, or its `src`.
    Tree(PathBuf),
    /// A packed configuration, by the path of its `smtpd.yaml`.
    Packed(PathBuf),
}

/// The folders of a source tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    /// The bundle's folder, below which relative paths and `file://` paths lie.
    pub root: PathBuf,
    /// The folder that holds `config`, `hooks` and `files`.
    pub src: PathBuf,
}

impl Tree {
    /// Finds the source tree that `dir` names: its `src`, or itself.
    ///
    /// # Errors
    /// The folder is no source tree, or cannot be read.
    pub fn find(files: &dyn FileSource, dir: &Path) -> Result<Self, ConfigErrors> {
        let inner = dir.join("src");
        let has_config = |src: &Path| match files.list(&src.join("config")) {
            Ok(_) => Ok(true),
            Err(error) if is_absent(&error) => Ok(false),
            Err(error) => Err(ConfigErrors::from(unreadable(&src.join("config"), &error))),
        };
        if has_config(&inner)? {
            return Ok(Self {
                root: dir.to_owned(),
                src: inner,
            });
        }
        if has_config(dir)? {
            let parent = dir.parent().filter(|_| dir.ends_with("src"));
            let root = parent.map_or_else(|| dir.to_owned(), Path::to_owned);
            return Ok(Self {
                root,
                src: dir.to_owned(),
            });
        }
        let problem =
            Problem::Invalid("is no bundle: there is no folder `src/config` in it".to_owned());
        let shown = dir.display();
        let packed = dir.join(FileKind::Startup.file_name());
        let is_file = files.read(dir).is_ok();
        let hint = if is_file {
            format!("a packed configuration is named with `-c {shown}`")
        } else if files.read(&packed).is_ok() {
            format!(
                "a packed configuration is named with `-c {}`",
                packed.display()
            )
        } else {
            format!("`angarium init {shown}` writes a bundle to start from")
        };
        Err(ConfigError::of_file(dir.display().to_string(), problem)
            .with_hint(hint)
            .into())
    }

    /// The path of a configuration file.
    #[must_use]
    pub fn config(&self, name: &str) -> PathBuf {
        self.src.join("config").join(name)
    }
}

/// There is no such file or folder.
pub(crate) fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// Why a file or folder cannot be used, in plain words for what operators meet every day.
#[must_use]
pub fn plain_reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file or folder".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        io::ErrorKind::IsADirectory => "it is a folder".to_owned(),
        io::ErrorKind::NotADirectory => "a part of the path is no folder".to_owned(),
        io::ErrorKind::AddrInUse => "another program uses it".to_owned(),
        io::ErrorKind::ReadOnlyFilesystem => "the file system can only be read".to_owned(),
        _ => error.to_string(),
    }
}

/// The error for a file that cannot be read.
pub(crate) fn unreadable(path: &Path, error: &io::Error) -> ConfigError {
    let reason = plain_reason(error);
    ConfigError::of_file(path.display().to_string(), Problem::Unreadable(reason))
}
