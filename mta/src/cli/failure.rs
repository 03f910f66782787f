//! Why a command ends with another status than 0.

use std::io;
use std::path::Path;
use std::process::ExitCode;

/// What went wrong, as a sentence that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The arguments do not make sense together; status 2.
    #[error("{0}")]
    Usage(String),
    /// What was asked for did not work; status 1.
    #[error("{0}")]
    Failed(String),
    /// Messages that name their place themselves (`FILE:LINE:COLUMN: …`); status 1.
    #[error("{0}")]
    Report(String),
    /// Everything has been said already.
    #[error("status {0}")]
    Status(u8),
}

impl Failure {
    /// A file or folder that could not be worked on, in the words of the operator.
    #[must_use]
    pub fn of_file(doing: &str, path: &Path, error: &io::Error) -> Failure {
        Failure::Failed(format!(
            "cannot {doing} {}: {}",
            path.display(),
            reason(error)
        ))
    }

    /// Says on standard error what there is to say, and gives the status.
    pub(crate) fn report(&self, program: &str) -> ExitCode {
        let (text, status) = match self {
            Failure::Usage(text) => (format!("{program}: {text}\n"), 2),
            Failure::Failed(text) => (format!("{program}: {text}\n"), 1),
            Failure::Report(text) => (format!("{}\n", text.trim_end()), 1),
            Failure::Status(status) => (String::new(), *status),
        };
        super::terminal::error(&text);
        ExitCode::from(status)
    }
}

impl From<angarium_config::ConfigErrors> for Failure {
    fn from(errors: angarium_config::ConfigErrors) -> Failure {
        Failure::Report(errors.to_string())
    }
}

/// The system's reason in plain words, for the kinds that operators meet every day.
#[must_use]
pub fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file or folder".to_owned(),
        io::ErrorKind::PermissionDenied => {
            "permission denied: run it as a user who may, or choose another place".to_owned()
        }
        io::ErrorKind::NotADirectory => "a part of the path is no folder".to_owned(),
        io::ErrorKind::IsADirectory => "it is a folder".to_owned(),
        io::ErrorKind::AlreadyExists => "it is there already".to_owned(),
        io::ErrorKind::StorageFull => "the disk is full: make room and try again".to_owned(),
        io::ErrorKind::ReadOnlyFilesystem => "the file system can only be read".to_owned(),
        io::ErrorKind::FileTooLarge => "it is too large".to_owned(),
        io::ErrorKind::AddrInUse => {
            "another program uses the address: stop it or choose another port".to_owned()
        }
        io::ErrorKind::AddrNotAvailable => "this machine has no such address".to_owned(),
        io::ErrorKind::ConnectionRefused => "nobody listens there".to_owned(),
        _ => error.to_string(),
    }
}
