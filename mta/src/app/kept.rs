//! The files of the configuration in force.
//!
//! `smtpd-policy.yaml`, `smtpd-suspend.yaml` and `smtpd-delivery.yaml` are read again one by one: while one is, the
//! others are as they were when they were taken, so that a file that somebody is at work on keeps nobody from
//! reading another.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use angarium_config::{FileSource, Listed};

/// What each file held; none: it was not there.
pub(super) type Contents = HashMap<PathBuf, Option<Arc<[u8]>>>;

/// Files of which those that are read are noted.
pub(super) struct Recorder<'a> {
    files: &'a dyn FileSource,
    read: Mutex<Contents>,
}

impl<'a> Recorder<'a> {
    pub fn new(files: &'a dyn FileSource) -> Recorder<'a> {
        Recorder {
            files,
            read: Mutex::default(),
        }
    }

    /// What was read.
    pub fn contents(self) -> Contents {
        self.read
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl FileSource for Recorder<'_> {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let read = self.files.read(path);
        let content = match &read {
            Ok(bytes) => Some(Some(Arc::from(bytes.as_slice()))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Some(None),
            Err(_) => None,
        };
        if let Some(content) = content {
            let mut all = self.read.lock().unwrap_or_else(PoisonError::into_inner);
            all.insert(path.to_owned(), content);
        }
        read
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Listed>> {
        self.files.list(path)
    }
}

/// Files that are as they were, but for those with one name.
pub(super) struct Kept<'a> {
    /// The files as they are.
    pub files: &'a dyn FileSource,
    /// As they were.
    pub kept: &'a Contents,
    /// The name of the one that is read again.
    pub fresh: &'a OsStr,
}

impl FileSource for Kept<'_> {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        if path.file_name() == Some(self.fresh) {
            return self.files.read(path);
        }
        match self.kept.get(path) {
            Some(Some(bytes)) => Ok(bytes.to_vec()),
            Some(None) => Err(io::ErrorKind::NotFound.into()),
            None => self.files.read(path),
        }
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Listed>> {
        self.files.list(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use angarium_config::MemoryFiles;

    #[test]
    fn one_file_is_read_again_and_the_others_are_as_they_were() {
        let mut files: MemoryFiles = [("a/app", "1"), ("a/policy", "1")].into_iter().collect();
        let recorder = Recorder::new(&files);
        for name in ["a/app", "a/policy", "a/suspend"] {
            let _ = recorder.read(Path::new(name));
        }
        let kept = recorder.contents();
        for name in ["a/app", "a/policy", "a/suspend", "a/new"] {
            files.insert(name, "2");
        }
        let again = Kept {
            files: &files,
            kept: &kept,
            fresh: OsStr::new("policy"),
        };
        let read = |name: &str| again.read(Path::new(name)).ok();
        assert_eq!(read("a/app"), Some(b"1".to_vec()));
        assert_eq!(read("a/policy"), Some(b"2".to_vec()));
        assert_eq!(read("a/suspend"), None);
        assert_eq!(read("a/new"), Some(b"2".to_vec()));
    }
}
